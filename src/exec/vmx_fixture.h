/* For unit tests of VMX: a vCPU in 64-bit mode that has it, VMX instructions, and a VMCS with a guest and a host. */
#pragma once

#include "cpu/msr.h"
#include "exec/fixture.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

#define VMXON_AT   0x30000
#define VMCS_AT	   0x31000
#define VMCS2_AT   0x32000
#define LIST_AT	   0x33000
#define POINTER_AT 0x34000
#define GUEST_AT   (CODE_AT + 0x100)
#define HOST_AT	   (CODE_AT + 0x200)
#define PAT	   UINT64_C(0x0007040600070406)

/* At CODE_AT: an instruction whose memory operand is at POINTER_AT. */
#define MEMORY(modrm) modrm, 0x25, 0x00, 0x40, 0x03, 0x00
#define VMXON	      0xf3, 0x0f, 0xc7, MEMORY(0x34)
#define VMCLEAR	      0x66, 0x0f, 0xc7, MEMORY(0x34)
#define VMPTRLD	      0x0f, 0xc7, MEMORY(0x34)
#define VMPTRST	      0x0f, 0xc7, MEMORY(0x3c)
#define VMREAD	      0x0f, 0x78, 0xc3 /* RBX = field RAX */
#define VMWRITE	      0x0f, 0x79, 0xc3 /* field RAX = RBX */
#define VMCALL	      0x0f, 0x01, 0xc1
#define VMLAUNCH      0x0f, 0x01, 0xc2
#define VMRESUME      0x0f, 0x01, 0xc3
#define VMXOFF	      0x0f, 0x01, 0xc4
#define INVEPT	      0x66, 0x0f, 0x38, 0x80, MEMORY(0x04) /* type in RAX */
#define INVVPID	      0x66, 0x0f, 0x38, 0x81, MEMORY(0x04)

static struct vmx_capability caps;

static inline int create(void **state)
{
	struct error warning;
	struct fixture *f;

	fixture_create(state);
	f = *state;
	f->model.features[FEATURE_VMX / 64] |= BIT(FEATURE_VMX % 64);
	vmx_capability_init(&caps, &f->model, NULL, &warning);
	f->cpu->msr = msr_table_create();
	msr_claim_cpu(f->cpu->msr);
	vmx_claim_msrs(f->cpu->msr);
	vmx_create(f->cpu, &caps);
	fixture_long(f, 0);
	assert_false(exec_write_cr4(f->cpu, CR4_PAE | CR4_VMXE));
	f->cpu->feature_control = 5;
	poke(f, VMXON_AT, 4, VMX_REVISION);
	poke(f, VMCS_AT, 4, VMX_REVISION);
	poke(f, VMCS2_AT, 4, VMX_REVISION);
	return 0;
}

static inline int destroy(void **state)
{
	struct fixture *f = *state;

	vmx_destroy(f->cpu);
	msr_table_destroy(f->cpu->msr);
	return fixture_destroy(state);
}

/* CF is VMfailInvalid, ZF VMfailValid; all the other arithmetic flags are 0. */
static inline void assert_result(struct fixture *f, uint64_t wanted)
{
	assert_int_equal(cpu_rflags(f->cpu) & RFLAGS_ARITH, wanted);
}
#define SUCCEED	     0
#define FAIL_INVALID RFLAGS_CF
#define FAIL_VALID   RFLAGS_ZF

#define RUN(f, result, ...)                                        \
	do {                                                       \
		RUN_AT(f, __VA_ARGS__);                            \
		assert_int_not_equal(fixture_step(f), STEP_FAULT); \
		assert_result(f, result);                          \
	} while (0)

/* With a pointer operand. */
#define POINT(f, pointer, result, ...)           \
	do {                                     \
		poke(f, POINTER_AT, 8, pointer); \
		RUN(f, result, __VA_ARGS__);     \
	} while (0)

static inline void put(struct fixture *f, enum vmcs_field field, uint64_t value)
{
	f->cpu->r[RAX] = vmcs_field_info[field].encoding;
	f->cpu->r[RBX] = value;
	RUN(f, SUCCEED, VMWRITE);
}

static inline uint64_t get(struct fixture *f, enum vmcs_field field)
{
	f->cpu->r[RAX] = vmcs_field_info[field].encoding;
	RUN(f, SUCCEED, VMREAD);
	return f->cpu->r[RBX];
}
#define PUT(name, value)	  put(f, VMCS_##name, value)
#define assert_field(name, value) assert_int_equal(get(f, VMCS_##name), value)
#define assert_error(number)	  assert_field(VM_INSTRUCTION_ERROR, number)

static inline void start(struct fixture *f)
{
	POINT(f, VMXON_AT, SUCCEED, VMXON);
	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
}

/* A VMCS whose guest and host differ wherever they can. */
static inline void fill(struct fixture *f)
{
	PUT(VM_PINBASED_CTLS, vmx_allowed0(&caps, VMX_PINBASED_CTLS));
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS));
	PUT(VM_EXIT_CTLS, vmx_allowed0(&caps, VMX_EXIT_CTLS) | EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE | EXIT_CTLS_SAVE_PAT |
				  EXIT_CTLS_LOAD_PAT | EXIT_CTLS_SAVE_EFER | EXIT_CTLS_LOAD_EFER |
				  EXIT_CTLS_SAVE_DEBUG_CONTROLS);
	PUT(VM_ENTRY_CTLS, vmx_allowed0(&caps, VMX_ENTRY_CTLS) | ENTRY_CTLS_IA32E_MODE_GUEST | ENTRY_CTLS_LOAD_PAT |
				   ENTRY_CTLS_LOAD_EFER | ENTRY_CTLS_LOAD_DEBUG_CONTROLS);
	PUT(VMCS_LINK_POINTER, ~UINT64_C(0));
	PUT(HOST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	PUT(HOST_CR3, PAGES_AT);
	PUT(HOST_CR4, CR4_PAE | CR4_VMXE | CR4_PGE);
	PUT(HOST_EFER, EFER_LME | EFER_LMA | EFER_SCE);
	PUT(HOST_PAT, PAT);
	PUT(HOST_CS_SELECTOR, CODE0);
	PUT(HOST_SS_SELECTOR, DATA0);
	PUT(HOST_FS_SELECTOR, DATA0);
	PUT(HOST_TR_SELECTOR, TSS_SEL);
	PUT(HOST_FS_BASE, 0x1234);
	PUT(HOST_GS_BASE, 0x5678);
	PUT(HOST_TR_BASE, TSS_AT);
	PUT(HOST_GDTR_BASE, GDT_AT);
	PUT(HOST_IDTR_BASE, IDT_AT);
	PUT(HOST_SYSENTER_CS, 0x11);
	PUT(HOST_SYSENTER_ESP, 0x22);
	PUT(HOST_SYSENTER_EIP, 0x33);
	PUT(HOST_RSP, STACK0_TOP);
	PUT(HOST_RIP, HOST_AT);

	PUT(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	PUT(GUEST_CR3, PAGES_AT);
	PUT(GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_TSD);
	PUT(GUEST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	PUT(GUEST_PAT, PAT ^ 6);
	PUT(GUEST_DR7, DR7_1 | BIT(8));
	PUT(GUEST_DEBUGCTL, 2);
	PUT(GUEST_RSP, STACK3_TOP);
	PUT(GUEST_RIP, GUEST_AT);
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_CF | RFLAGS_AC);
	PUT(GUEST_SYSENTER_CS, 0x44);
	PUT(GUEST_SYSENTER_ESP, 0x55);
	PUT(GUEST_SYSENTER_EIP, 0x66);
	PUT(GUEST_GDTR_BASE, GDT_AT);
	PUT(GUEST_GDTR_LIMIT, 0x5f);
	PUT(GUEST_IDTR_BASE, IDT_AT);
	PUT(GUEST_IDTR_LIMIT, 0xfff);
	PUT(GUEST_CS_SELECTOR, CODE0);
	PUT(GUEST_CS_LIMIT, 0xffffffff);
	PUT(GUEST_CS_AR, 0xa09b);
	PUT(GUEST_SS_SELECTOR, DATA0);
	PUT(GUEST_SS_LIMIT, 0xffffffff);
	PUT(GUEST_SS_AR, 0xc093);
	PUT(GUEST_DS_AR, AR_UNUSABLE);
	PUT(GUEST_ES_AR, AR_UNUSABLE);
	PUT(GUEST_FS_AR, 0xc093);
	PUT(GUEST_FS_LIMIT, 0xffffffff);
	PUT(GUEST_FS_BASE, 0x9abc);
	PUT(GUEST_GS_AR, AR_UNUSABLE);
	PUT(GUEST_GS_BASE, 0xdef0);
	PUT(GUEST_LDTR_AR, AR_UNUSABLE);
	PUT(GUEST_TR_SELECTOR, TSS_SEL);
	PUT(GUEST_TR_BASE, TSS_AT);
	PUT(GUEST_TR_LIMIT, 0x3ff);
	PUT(GUEST_TR_AR, 0x8b);
}

/* The entry instruction only: what is pending at the guest's first boundary is not taken. */
#define ENTER(f, ...)                                          \
	do {                                                   \
		RUN_AT(f, __VA_ARGS__);                        \
		assert_int_equal(fixture_step(f), STEP_LEAVE); \
	} while (0)

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
