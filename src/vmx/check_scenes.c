/*
 * For tests: valid states of several kinds, and for each rule of VM entry one that breaks just this rule.
 */
#include "vmx/check_test.h"

#include <string.h>

#include "cpu/regs.h"
#include "vmx/interruption.h"

#define SET(name, value)     vmcs_set(&s->vmcs, name, value)
#define GET(name)	     vmcs_get(&s->vmcs, name)
#define ON(owner, reg, bit)  vmcs_set_bit(&s->vmcs, owner, reg, bit)
#define OFF(owner, reg, bit) vmcs_clear_bit(&s->vmcs, owner, reg, bit)
#define XOR(name, bits)	     vmcs_set(&s->vmcs, name, vmcs_get(&s->vmcs, name) ^ (bits))
#define PIN(bit)	     ON(VM, PINBASED_CTLS, bit)
#define PROC(bit)	     ON(VM, PROCBASED_CTLS, bit)
#define PROC2(bit)	     ON(VM, PROCBASED_CTLS2, bit)
#define PROC3(bit)	     (PROC(ACTIVATE_TERTIARY_CONTROLS), ON(VM, PROCBASED_CTLS3, bit))
#define INCAPABLE(word, bit) (s->caps.offers[VMX_##word] &= ~(uint64_t)word##_##bit)
#define SEGMENTS(ROW)	     ROW(CS) ROW(SS) ROW(DS) ROW(ES) ROW(FS) ROW(GS)
#define NOT_CANONICAL	     BIT(60)
#define BEYOND_WIDTH	     BIT(46)

static bool read_memory(void *ctx, pa_t at, void *to, unsigned bytes)
{
	const struct scene *s = ctx;

	if (at > sizeof(s->memory) - bytes)
		return false;
	memcpy(to, s->memory + at, bytes);
	return true;
}

/* A processor that may do everything that has a name, but for what takes rules away. */
static void all_capabilities(struct scene *s)
{
	s->caps = (struct vmx_capability){
		.cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
		.cr0_fixed1 = BITS(31, 0),
		.cr4_fixed0 = CR4_VMXE,
		.cr4_fixed1 = BITS(24, 0) & ~(BIT(15) | BIT(19)),
		.efer_allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
		.physical_bits = 46,
		.linear_bits = 48,
	};
	for (unsigned i = 0; i < vmx_bit_count; i++)
		s->caps.offers[vmx_bit_info[i].word] |= BIT(vmx_bit_info[i].bit);
	INCAPABLE(BASIC, ADDRESSES_32);
	INCAPABLE(BASIC, ANY_ERROR_CODE);
	INCAPABLE(BASIC, NESTED_EXCEPTION);
}

static void start_controls(struct scene *s)
{
	SET(VM_PINBASED_CTLS, vmx_allowed0(&s->caps, VMX_PINBASED_CTLS) | PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING |
				      PINBASED_CTLS_NMI_EXITING);
	SET(VM_PROCBASED_CTLS, vmx_allowed0(&s->caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS |
				       PROCBASED_CTLS_HLT_EXITING);
	PROC2(ENABLE_EPT);
	PROC2(ENABLE_VPID);
	SET(VPID, 1);
	SET(EPTP, SCENE_PAGES | 3 << 3 | 6);
	SET(VM_EXIT_CTLS, vmx_allowed0(&s->caps, VMX_EXIT_CTLS) | EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE |
				  EXIT_CTLS_LOAD_EFER | EXIT_CTLS_LOAD_PAT);
	SET(VM_ENTRY_CTLS, vmx_allowed0(&s->caps, VMX_ENTRY_CTLS) | ENTRY_CTLS_LOAD_EFER | ENTRY_CTLS_LOAD_PAT |
				   ENTRY_CTLS_LOAD_DEBUG_CONTROLS);
	SET(VMCS_LINK_POINTER, ~UINT64_C(0));
}

static void start_host(struct scene *s)
{
	SET(HOST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	SET(HOST_CR3, 0x7000);
	SET(HOST_CR4, CR4_PAE | CR4_VMXE);
	SET(HOST_EFER, EFER_LME | EFER_LMA);
	SET(HOST_PAT, UINT64_C(0x0007040600070406));
	SET(HOST_CS_SELECTOR, 0x8);
	SET(HOST_SS_SELECTOR, 0x10);
	SET(HOST_TR_SELECTOR, 0x40);
	SET(HOST_RIP, UINT64_C(0xffffffff81000000));
	SET(HOST_GDTR_BASE, UINT64_C(0xfffffe0000001000));
	SET(HOST_IDTR_BASE, UINT64_C(0xfffffe0000000000));
	SET(HOST_TR_BASE, UINT64_C(0xfffffe0000003000));
}

static void flat_segments(struct scene *s, uint32_t code, uint32_t data)
{
#define ROW(S)                              \
	SET(GUEST_##S##_SELECTOR, 0x18);    \
	SET(GUEST_##S##_BASE, 0);           \
	SET(GUEST_##S##_LIMIT, 0xffffffff); \
	SET(GUEST_##S##_AR, data);
	SEGMENTS(ROW)
#undef ROW
	SET(GUEST_CS_SELECTOR, 0x10);
	SET(GUEST_CS_AR, code);
}

/* As real and virtual-8086 mode have them. */
static void paragraph_segments(struct scene *s, uint32_t ar)
{
#define ROW(S)                             \
	SET(GUEST_##S##_SELECTOR, 0x1200); \
	SET(GUEST_##S##_BASE, 0x12000);    \
	SET(GUEST_##S##_LIMIT, 0xffff);    \
	SET(GUEST_##S##_AR, ar);
	SEGMENTS(ROW)
#undef ROW
}

static void start_guest(struct scene *s)
{
	SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	SET(GUEST_CR3, 0x7000);
	SET(GUEST_CR4, CR4_PAE | CR4_VMXE);
	SET(GUEST_PAT, UINT64_C(0x0007040600070406));
	SET(GUEST_DR7, DR7_1);
	SET(GUEST_RFLAGS, RFLAGS_1);
	SET(GUEST_RIP, 0x1000);
	SET(GUEST_TR_SELECTOR, 0x28);
	SET(GUEST_TR_LIMIT, 0x67);
	SET(GUEST_TR_AR, 0x8b);
	SET(GUEST_LDTR_SELECTOR, 0x30);
	SET(GUEST_LDTR_LIMIT, 0xfff);
	SET(GUEST_LDTR_AR, 0x82);
	SET(GUEST_GDTR_LIMIT, 0xffff);
	SET(GUEST_IDTR_LIMIT, 0xfff);
}

void scene_start(struct scene *s, enum guest guest)
{
	memset(s, 0, sizeof(*s));
	s->cpu = (struct vmx_check_cpu){
		.lma = true, .current = SCENE_CURRENT, .vmxon = SCENE_VMXON, .read = read_memory, .ctx = s};
	all_capabilities(s);
	start_controls(s);
	start_host(s);
	start_guest(s);
	store_le(s->memory + SCENE_LINK, 4, VMX_REVISION);
	store_le(s->memory + SCENE_CURRENT, 4, VMX_REVISION);
	store_le(s->memory + SCENE_EXECUTIVE, 4, VMX_REVISION);
	store_le(s->memory + SCENE_VMXON, 4, VMX_REVISION);
	flat_segments(s, guest == GUEST_64 ? 0xa09b : 0xc09b, 0xc093);
	switch (guest) {
	case GUEST_64:
		ON(VM, ENTRY_CTLS, IA32E_MODE_GUEST);
		SET(GUEST_EFER, EFER_LME | EFER_LMA);
		break;
	case GUEST_PAE: SET(GUEST_PDPTE0, 0x8001); break;
	case GUEST_V86:
		SET(GUEST_CR4, CR4_VMXE);
		SET(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_VM);
		paragraph_segments(s, 0xf3);
		break;
	default:
		PROC2(UNRESTRICTED_GUEST);
		SET(GUEST_CR0, CR0_ET | CR0_NE);
		SET(GUEST_CR4, CR4_VMXE);
		paragraph_segments(s, 0x93);
		break;
	}
}

/* A host that runs in protected mode, with a PAE guest. */
static void host32(struct scene *s)
{
	scene_start(s, GUEST_PAE);
	OFF(VM, EXIT_CTLS, HOST_ADDRESS_SPACE_SIZE);
	SET(HOST_EFER, 0);
	SET(HOST_RIP, 0x1000);
	s->cpu.lma = false;
}

/* An entry that returns from SMM to VMX non-root operation: the executive VMCS has the VM-execution controls. */
static void returning(struct scene *s)
{
	scene_start(s, GUEST_64);
	s->cpu.smm = true;
	s->executive = s->vmcs;
	s->cpu.executive = &s->executive;
	s->cpu.executive_launched = true;
	SET(EXECUTIVE_VMCS_POINTER, SCENE_EXECUTIVE);
}

static void returning_to_root(struct scene *s)
{
	returning(s);
	s->cpu.executive = NULL;
	SET(EXECUTIVE_VMCS_POINTER, SCENE_VMXON);
}

static void entering_smm(struct scene *s)
{
	scene_start(s, GUEST_64);
	s->cpu.smm = true;
	ON(VM, ENTRY_CTLS, ENTRY_TO_SMM);
	SET(GUEST_INTERRUPTIBILITY, BIT(2));
}

static void inject(struct scene *s, unsigned type, unsigned vector)
{
	SET(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | type << 8 | vector);
	SET(VM_ENTRY_INSTRUCTION_LENGTH, 1);
}

static void user(struct scene *s)
{
	flat_segments(s, 0xa0fb, 0xc0f3);
	XOR(GUEST_CS_SELECTOR, 3);
	XOR(GUEST_SS_SELECTOR, 3);
}

static void cet(struct scene *s)
{
	ON(VM, ENTRY_CTLS, LOAD_CET);
	ON(VM, EXIT_CTLS, LOAD_CET);
}

static void virtual_apic(struct scene *s)
{
	PROC(USE_TPR_SHADOW);
	SET(VIRTUAL_APIC_ADDRESS, SCENE_APIC);
}

static void virtual_interrupts(struct scene *s)
{
	virtual_apic(s);
	PROC2(VIRTUAL_INTERRUPT_DELIVERY);
}

static void posted(struct scene *s)
{
	virtual_interrupts(s);
	PIN(PROCESS_POSTED_INTERRUPTS);
	ON(VM, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT);
}

static void ipis(struct scene *s)
{
	virtual_apic(s);
	PROC3(IPI_VIRTUALIZATION);
	SET(LAST_PID_POINTER_INDEX, 1);
}

static void eptp_switching(struct scene *s)
{
	PROC2(ENABLE_VM_FUNCTIONS);
	SET(VM_FUNCTION_CTLS, FUNCTION_CTLS_EPTP_SWITCHING);
}

static void without_ept(struct scene *s)
{
	OFF(VM, PROCBASED_CTLS2, ENABLE_EPT);
}

/* The state needs another rule broken too. */
#define WITH(name) (s->unavoidable = VMX_CHECK_##name)

static void break_control(struct scene *s, enum vmx_check rule);
static void break_host(struct scene *s, enum vmx_check rule);
static void break_guest(struct scene *s, enum vmx_check rule);

void break_rule(struct scene *s, enum vmx_check rule)
{
	scene_start(s, GUEST_64);
	switch (vmx_check_section_info[vmx_check_info[rule].section].group) {
	case VMX_GROUP_CONTROL: break_control(s, rule); break;
	case VMX_GROUP_HOST: break_host(s, rule); break;
	default: break_guest(s, rule); break;
	}
}

#define CASE(name) case VMX_CHECK_##name
#define PAGE(NAME, FIELD, prepare)          \
	CASE(CTL_##NAME##_ALIGN) : prepare; \
	SET(FIELD, 0x8800);                 \
	break;                              \
	CASE(CTL_##NAME##_WIDTH) : prepare; \
	SET(FIELD, BEYOND_WIDTH);           \
	break;
#define MSR_AREA(NAME, FIELD)                             \
	CASE(CTL_##NAME##_ALIGN) : SET(FIELD##_COUNT, 1); \
	SET(FIELD##_ADDRESS, 8);                          \
	break;                                            \
	CASE(CTL_##NAME##_WIDTH) : SET(FIELD##_COUNT, 1); \
	SET(FIELD##_ADDRESS, BEYOND_WIDTH);               \
	break;                                            \
	CASE(CTL_##NAME##_LAST) : SET(FIELD##_COUNT, 2);  \
	SET(FIELD##_ADDRESS, BEYOND_WIDTH - 16);          \
	break;

static void break_control(struct scene *s, enum vmx_check rule)
{
	switch (rule) {
		/* clang-format off */
	CASE(CTL_PIN_RESERVED): XOR(VM_PINBASED_CTLS, BIT(8)); break;
	CASE(CTL_PROC_RESERVED): XOR(VM_PROCBASED_CTLS, BIT(1)); break;
	CASE(CTL_PROC2_RESERVED): XOR(VM_PROCBASED_CTLS2, BIT(29)); break;
	CASE(CTL_PROC3_RESERVED): PROC(ACTIVATE_TERTIARY_CONTROLS); SET(VM_PROCBASED_CTLS3, BIT(63)); break;
	CASE(CTL_CR3_TARGET_COUNT): SET(CR3_TARGET_COUNT, 5); break;
	PAGE(IO_BITMAP_A, IO_BITMAP_A, PROC(USE_IO_BITMAPS))
	PAGE(IO_BITMAP_B, IO_BITMAP_B, PROC(USE_IO_BITMAPS))
	PAGE(MSR_BITMAP, MSR_BITMAP, PROC(USE_MSR_BITMAPS))
	PAGE(VIRTUAL_APIC, VIRTUAL_APIC_ADDRESS, PROC(USE_TPR_SHADOW))
	PAGE(APIC_ACCESS, APIC_ACCESS_ADDRESS, PROC2(VIRTUALIZE_APIC_ACCESSES))
	PAGE(PML, PML_ADDRESS, PROC2(ENABLE_PML))
	PAGE(SPPTP, SPPTP, PROC2(SUBPAGE_WRITE_PERMISSIONS))
	PAGE(EPTP_LIST, EPTP_LIST, eptp_switching(s))
	PAGE(VMREAD_BITMAP, VMREAD_BITMAP, PROC2(VMCS_SHADOWING))
	PAGE(VMWRITE_BITMAP, VMWRITE_BITMAP, PROC2(VMCS_SHADOWING))
	PAGE(VE_INFO, VE_INFORMATION, PROC2(EPT_VIOLATION_VE))
	CASE(CTL_TPR_THRESHOLD_RESERVED): virtual_apic(s); SET(TPR_THRESHOLD, BIT(4)); break;
	CASE(CTL_TPR_THRESHOLD_VTPR): virtual_apic(s); SET(TPR_THRESHOLD, 3); s->memory[SCENE_APIC + 0x80] = 0x2f; break;
	CASE(CTL_VIRTUAL_NMIS): PIN(VIRTUAL_NMIS); OFF(VM, PINBASED_CTLS, NMI_EXITING); break;
	CASE(CTL_NMI_WINDOW): PROC(NMI_WINDOW_EXITING); break;
	CASE(CTL_TPR_SHADOW_X2APIC): PROC2(VIRTUALIZE_X2APIC_MODE); break;
	CASE(CTL_TPR_SHADOW_APIC_REG): PROC2(APIC_REGISTER_VIRTUALIZATION); break;
	CASE(CTL_TPR_SHADOW_VID): PROC2(VIRTUAL_INTERRUPT_DELIVERY); break;
	CASE(CTL_TPR_SHADOW_IPI): PROC3(IPI_VIRTUALIZATION); break;
	CASE(CTL_X2APIC_NO_APIC_ACCESS): virtual_apic(s); PROC2(VIRTUALIZE_X2APIC_MODE); PROC2(VIRTUALIZE_APIC_ACCESSES); break;
	CASE(CTL_VID_EXTINT): virtual_interrupts(s); OFF(VM, PINBASED_CTLS, EXTERNAL_INTERRUPT_EXITING); break;
	CASE(CTL_POSTED_VID): posted(s); OFF(VM, PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY); break;
	CASE(CTL_POSTED_ACK): posted(s); OFF(VM, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT); break;
	CASE(CTL_POSTED_VECTOR): posted(s); SET(POSTED_INTERRUPT_VECTOR, 0x1f2); break;
	CASE(CTL_POSTED_DESC_ALIGN): posted(s); SET(POSTED_INTERRUPT_DESCRIPTOR, 0x20); break;
	CASE(CTL_POSTED_DESC_WIDTH): posted(s); SET(POSTED_INTERRUPT_DESCRIPTOR, BEYOND_WIDTH); break;
	CASE(CTL_IPI_TABLE_ALIGN): ipis(s); SET(PID_POINTER_TABLE, 4); break;
	CASE(CTL_IPI_TABLE_WIDTH): ipis(s); SET(PID_POINTER_TABLE, BEYOND_WIDTH); break;
	CASE(CTL_IPI_LAST_WIDTH): ipis(s); SET(PID_POINTER_TABLE, BEYOND_WIDTH - 8); break;
	CASE(CTL_VPID_NONZERO): SET(VPID, 0); break;
	CASE(CTL_EPTP_MEMTYPE): XOR(EPTP, 2); break;
	CASE(CTL_EPTP_WALK): XOR(EPTP, 1 << 3); break;
	CASE(CTL_EPTP_AD): INCAPABLE(EPT_VPID_CAP, ACCESSED_DIRTY); XOR(EPTP, BIT(6)); break;
	CASE(CTL_EPTP_SSS): INCAPABLE(EPT_VPID_CAP, SUPERVISOR_SHADOW_STACK); XOR(EPTP, BIT(7)); break;
	CASE(CTL_EPTP_RESERVED): XOR(EPTP, BIT(8)); break;
	CASE(CTL_EPTP_WIDTH): XOR(EPTP, BEYOND_WIDTH); break;
	CASE(CTL_EPT_REQUIRED_PML): without_ept(s); PROC2(ENABLE_PML); break;
	CASE(CTL_EPT_REQUIRED_UNRESTRICTED): without_ept(s); PROC2(UNRESTRICTED_GUEST); break;
	CASE(CTL_EPT_REQUIRED_MBEC): without_ept(s); PROC2(MODE_BASED_EXECUTE); break;
	CASE(CTL_EPT_REQUIRED_SPP): without_ept(s); PROC2(SUBPAGE_WRITE_PERMISSIONS); break;
	CASE(CTL_EPT_REQUIRED_HLAT): without_ept(s); PROC3(ENABLE_HLAT); break;
	CASE(CTL_EPT_REQUIRED_PAGING_WRITE): without_ept(s); PROC3(EPT_PAGING_WRITE_CONTROL); break;
	CASE(CTL_EPT_REQUIRED_GUEST_PAGING): without_ept(s); PROC3(GUEST_PAGING_VERIFICATION); break;
	CASE(CTL_VMFUNC_RESERVED): PROC2(ENABLE_VM_FUNCTIONS); SET(VM_FUNCTION_CTLS, BIT(5)); break;
	CASE(CTL_VMFUNC_EPTP_SWITCHING_EPT): without_ept(s); eptp_switching(s); break;
	CASE(CTL_TSC_MULTIPLIER): PROC2(USE_TSC_SCALING); break;
	CASE(CTL_HLATP_RESERVED): PROC3(ENABLE_HLAT); SET(HLATP, BIT(5)); break;
	CASE(CTL_HLATP_WIDTH): PROC3(ENABLE_HLAT); SET(HLATP, BEYOND_WIDTH); break;

	CASE(CTL_EXIT_RESERVED): XOR(VM_EXIT_CTLS, BIT(0)); break;
	CASE(CTL_EXIT2_RESERVED): ON(VM, EXIT_CTLS, ACTIVATE_SECONDARY_CONTROLS); SET(VM_EXIT_CTLS2, BIT(40)); break;
	CASE(CTL_EXIT_SAVE_TIMER): ON(VM, EXIT_CTLS, SAVE_PREEMPTION_TIMER); break;
	MSR_AREA(EXIT_MSR_STORE, VM_EXIT_MSR_STORE)
	MSR_AREA(EXIT_MSR_LOAD, VM_EXIT_MSR_LOAD)

	CASE(CTL_ENTRY_RESERVED): XOR(VM_ENTRY_CTLS, BIT(31)); break;
	CASE(CTL_INJECT_TYPE1): inject(s, 1, 3); break;
	CASE(CTL_INJECT_TYPE7): inject(s, INTERRUPTION_OTHER, 0); INCAPABLE(PROCBASED_CTLS, MONITOR_TRAP_FLAG); break;
	CASE(CTL_INJECT_NMI_VECTOR): inject(s, INTERRUPTION_NMI, 3); break;
	CASE(CTL_INJECT_HW_VECTOR): inject(s, INTERRUPTION_HARDWARE_EXCEPTION, 32); break;
	CASE(CTL_INJECT_OTHER_VECTOR): inject(s, INTERRUPTION_OTHER, 1); break;
	CASE(CTL_INJECT_EC_REQUIRED): inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_GP); break;
	CASE(CTL_INJECT_EC_NOT_HW): inject(s, INTERRUPTION_SOFTWARE, 0x80); XOR(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_ERROR_CODE); break;
	CASE(CTL_INJECT_EC_REAL_MODE):
		scene_start(s, GUEST_REAL);
		inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_GP);
		XOR(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_ERROR_CODE);
		break;
	CASE(CTL_INJECT_EC_FORBIDDEN):
		inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_CP);
		XOR(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_ERROR_CODE);
		break;
	CASE(CTL_INJECT_NESTED): inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_UD); XOR(VM_ENTRY_INTERRUPTION_INFO, BIT(13)); break;
	CASE(CTL_INJECT_RESERVED): inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_UD); XOR(VM_ENTRY_INTERRUPTION_INFO, BIT(12)); break;
	CASE(CTL_INJECT_ERROR_CODE):
		inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_GP);
		XOR(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_ERROR_CODE);
		SET(VM_ENTRY_ERROR_CODE, 0x10000);
		break;
	CASE(CTL_INJECT_ILEN_MAX): inject(s, INTERRUPTION_SOFTWARE_EXCEPTION, VECTOR_BP); SET(VM_ENTRY_INSTRUCTION_LENGTH, 16); break;
	CASE(CTL_INJECT_ILEN_ZERO):
		inject(s, INTERRUPTION_PRIVILEGED, VECTOR_DB);
		SET(VM_ENTRY_INSTRUCTION_LENGTH, 0);
		INCAPABLE(MISC, ZERO_LENGTH_INJECTION);
		break;
	MSR_AREA(ENTRY_MSR_LOAD, VM_ENTRY_MSR_LOAD)
	CASE(CTL_ENTRY_SMM_OUTSIDE): entering_smm(s); s->cpu.smm = false; WITH(GUEST_INTR_SMI_OUTSIDE); break;
	CASE(CTL_ENTRY_DEACT_OUTSIDE): ON(VM, ENTRY_CTLS, DEACTIVATE_DUAL_MONITOR); break;
	CASE(CTL_ENTRY_SMM_BOTH): entering_smm(s); ON(VM, ENTRY_CTLS, DEACTIVATE_DUAL_MONITOR); break;
	CASE(SMM_INJECT_MTF): returning_to_root(s); inject(s, INTERRUPTION_OTHER, 0); break;

	CASE(SMM_EXEC_PTR_ALIGN): returning(s); s->cpu.executive = NULL; SET(EXECUTIVE_VMCS_POINTER, 0x4008); break;
	CASE(SMM_EXEC_PTR_WIDTH): returning(s); s->cpu.executive = NULL; SET(EXECUTIVE_VMCS_POINTER, BEYOND_WIDTH); break;
	CASE(SMM_EXEC_PTR_REVISION): returning(s); s->cpu.executive = NULL; s->memory[SCENE_EXECUTIVE] ^= 1; break;
	CASE(SMM_EXEC_PTR_LAUNCHED): returning(s); s->cpu.executive_launched = false; break;
	CASE(SMM_EXEC_PTR_DEACTIVATE): returning(s); ON(VM, ENTRY_CTLS, DEACTIVATE_DUAL_MONITOR); break;
	/* clang-format on */
	default: break;
	}
}

static void break_host(struct scene *s, enum vmx_check rule)
{
	switch (rule) {
		/* clang-format off */
	CASE(HOST_CR0_FIXED): XOR(HOST_CR0, CR0_NE); break;
	CASE(HOST_CR4_FIXED): XOR(HOST_CR4, CR4_VMXE); break;
	CASE(HOST_CR4_CET_WP): XOR(HOST_CR4, CR4_CET); XOR(HOST_CR0, CR0_WP); break;
	CASE(HOST_CR3_WIDTH): XOR(HOST_CR3, BEYOND_WIDTH); break;
	CASE(HOST_SYSENTER_ESP): SET(HOST_SYSENTER_ESP, NOT_CANONICAL); break;
	CASE(HOST_SYSENTER_EIP): SET(HOST_SYSENTER_EIP, NOT_CANONICAL); break;
	CASE(HOST_PERF_GLOBAL_CTRL): ON(VM, EXIT_CTLS, LOAD_PERF_GLOBAL_CTRL); SET(HOST_PERF_GLOBAL_CTRL, BIT(8)); break;
	CASE(HOST_PAT): SET(HOST_PAT, UINT64_C(2) << 56); break;
	CASE(HOST_EFER_RESERVED): XOR(HOST_EFER, BIT(1)); break;
	CASE(HOST_EFER_LMA): XOR(HOST_EFER, EFER_LMA); break;
	CASE(HOST_EFER_LME): XOR(HOST_EFER, EFER_LME); break;
	CASE(HOST_S_CET_RESERVED): cet(s); SET(HOST_S_CET, BIT(6)); break;
	CASE(HOST_S_CET_SUPPRESS_TRACKER): cet(s); SET(HOST_S_CET, BIT(10) | BIT(11)); break;
	CASE(HOST_SSP_ALIGN): cet(s); SET(HOST_SSP, 2); break;
	CASE(HOST_PKRS): ON(VM, EXIT_CTLS, LOAD_PKRS); SET(HOST_PKRS, BIT(32)); break;
#define SELECTOR(S) CASE(HOST_##S##_SELECTOR): XOR(HOST_##S##_SELECTOR, 4); break;
	SEGMENTS(SELECTOR)
	SELECTOR(TR)
	CASE(HOST_CS_NONNULL): SET(HOST_CS_SELECTOR, 0); break;
	CASE(HOST_TR_NONNULL): SET(HOST_TR_SELECTOR, 0); break;
	CASE(HOST_SS_NONNULL): host32(s); SET(HOST_SS_SELECTOR, 0); break;
#define BASE(R) CASE(HOST_##R##_BASE): SET(HOST_##R##_BASE, NOT_CANONICAL); break;
	BASE(FS)
	BASE(GS)
	BASE(GDTR)
	BASE(IDTR)
	BASE(TR)
	CASE(ADDR_LMA0_GUEST): s->cpu.lma = false; WITH(ADDR_LMA0_HOST); break;
	CASE(ADDR_LMA0_HOST): scene_start(s, GUEST_PAE); s->cpu.lma = false; break;
	CASE(ADDR_LMA1_HOST): host32(s); s->cpu.lma = true; break;
	CASE(ADDR_HOST32_GUEST): OFF(VM, EXIT_CTLS, HOST_ADDRESS_SPACE_SIZE); SET(HOST_EFER, 0); SET(HOST_RIP, 0); WITH(ADDR_LMA1_HOST); break;
	CASE(ADDR_HOST32_PCIDE): host32(s); XOR(HOST_CR4, CR4_PCIDE); break;
	CASE(ADDR_HOST32_RIP): host32(s); SET(HOST_RIP, BIT(32)); break;
	CASE(ADDR_HOST32_S_CET): host32(s); cet(s); SET(HOST_S_CET, BIT(32)); break;
	CASE(ADDR_HOST32_SSP): host32(s); cet(s); SET(HOST_SSP, BIT(32)); break;
	CASE(ADDR_HOST64_PAE): XOR(HOST_CR4, CR4_PAE); break;
	CASE(ADDR_HOST64_RIP): SET(HOST_RIP, NOT_CANONICAL); break;
	CASE(ADDR_HOST64_S_CET): cet(s); SET(HOST_S_CET, NOT_CANONICAL); break;
	CASE(ADDR_HOST64_SSP): cet(s); SET(HOST_SSP, NOT_CANONICAL); break;
	CASE(ADDR_SSP_TABLE): cet(s); SET(HOST_SSP_TABLE, NOT_CANONICAL); break;
	/* clang-format on */
	default: break;
	}
}

static void step_with_blocking(struct scene *s)
{
	SET(GUEST_INTERRUPTIBILITY, BIT(0));
	SET(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF | RFLAGS_TF);
}

#define V86(name, change)                       \
	CASE(name) : scene_start(s, GUEST_V86); \
	change;                                 \
	break;
#define GRANULARITY(S)                                                   \
	CASE(GUEST_##S##_AR_G_LOW) : SET(GUEST_##S##_LIMIT, 0xfff00ffe); \
	SET(GUEST_##S##_AR, GET(GUEST_##S##_AR) | AR_G);                 \
	break;                                                           \
	CASE(GUEST_##S##_AR_G_HIGH) : SET(GUEST_##S##_LIMIT, 0x100fff);  \
	SET(GUEST_##S##_AR, GET(GUEST_##S##_AR) & ~AR_G);                \
	break;

static void break_guest(struct scene *s, enum vmx_check rule)
{
	switch (rule) {
		/* clang-format off */
	CASE(GUEST_CR0_FIXED): XOR(GUEST_CR0, CR0_NE); break;
	CASE(GUEST_CR0_PG_PE): scene_start(s, GUEST_REAL); XOR(GUEST_CR0, CR0_PG); break;
	CASE(GUEST_CR4_FIXED): XOR(GUEST_CR4, BIT(15)); break;
	CASE(GUEST_CR4_CET_WP): XOR(GUEST_CR4, CR4_CET); break;
	CASE(GUEST_DEBUGCTL_RESERVED): SET(GUEST_DEBUGCTL, BIT(3)); break;
	CASE(GUEST_IA32E_PG): PROC2(UNRESTRICTED_GUEST); XOR(GUEST_CR0, CR0_PG); break;
	CASE(GUEST_IA32E_PAE): XOR(GUEST_CR4, CR4_PAE); break;
	CASE(GUEST_IA32E_PCIDE): scene_start(s, GUEST_PAE); XOR(GUEST_CR4, CR4_PCIDE); break;
	CASE(GUEST_CR3_WIDTH): XOR(GUEST_CR3, BEYOND_WIDTH); break;
	CASE(GUEST_DR7_HIGH): XOR(GUEST_DR7, BIT(32)); break;
	CASE(GUEST_SYSENTER_ESP): SET(GUEST_SYSENTER_ESP, NOT_CANONICAL); break;
	CASE(GUEST_SYSENTER_EIP): SET(GUEST_SYSENTER_EIP, NOT_CANONICAL); break;
	CASE(GUEST_S_CET_CANONICAL): cet(s); SET(GUEST_S_CET, NOT_CANONICAL); break;
	CASE(GUEST_SSP_TABLE_CANONICAL): cet(s); SET(GUEST_SSP_TABLE, NOT_CANONICAL); break;
	CASE(GUEST_PERF_GLOBAL_CTRL): ON(VM, ENTRY_CTLS, LOAD_PERF_GLOBAL_CTRL); SET(GUEST_PERF_GLOBAL_CTRL, BIT(35)); break;
	CASE(GUEST_PAT): SET(GUEST_PAT, UINT64_C(3) << 8); break;
	CASE(GUEST_EFER_RESERVED): XOR(GUEST_EFER, BIT(12)); break;
	CASE(GUEST_EFER_LMA): SET(GUEST_EFER, 0); break;
	CASE(GUEST_EFER_LME): XOR(GUEST_EFER, EFER_LME); break;
	CASE(GUEST_BNDCFGS_RESERVED): ON(VM, ENTRY_CTLS, LOAD_BNDCFGS); SET(GUEST_BNDCFGS, BIT(2)); break;
	CASE(GUEST_BNDCFGS_CANONICAL): ON(VM, ENTRY_CTLS, LOAD_BNDCFGS); SET(GUEST_BNDCFGS, NOT_CANONICAL | 3); break;
	CASE(GUEST_S_CET_RESERVED): cet(s); SET(GUEST_S_CET, BIT(9)); break;
	CASE(GUEST_S_CET_SUPPRESS_TRACKER): cet(s); SET(GUEST_S_CET, BIT(10) | BIT(11)); break;
	CASE(GUEST_PKRS): ON(VM, ENTRY_CTLS, LOAD_PKRS); SET(GUEST_PKRS, BIT(63)); break;

	CASE(GUEST_TR_SELECTOR_TI): XOR(GUEST_TR_SELECTOR, 4); break;
	CASE(GUEST_LDTR_SELECTOR_TI): XOR(GUEST_LDTR_SELECTOR, 4); break;
	CASE(GUEST_SS_SELECTOR_RPL): XOR(GUEST_CS_SELECTOR, 3); break;
#define ROW(S) V86(GUEST_##S##_V86_BASE, XOR(GUEST_##S##_BASE, 0x10))
	SEGMENTS(ROW)
#undef ROW
#define ROW(S) CASE(GUEST_##S##_BASE_CANONICAL): SET(GUEST_##S##_BASE, NOT_CANONICAL); break;
	ROW(TR) ROW(FS) ROW(GS) ROW(LDTR)
#undef ROW
#define ROW(S) CASE(GUEST_##S##_BASE_HIGH): SET(GUEST_##S##_BASE, BIT(32)); break;
	ROW(CS) ROW(SS) ROW(DS) ROW(ES)
#undef ROW
#define ROW(S) V86(GUEST_##S##_V86_LIMIT, SET(GUEST_##S##_LIMIT, 0xfffff))
	SEGMENTS(ROW)
#undef ROW
#define ROW(S) V86(GUEST_##S##_V86_AR, XOR(GUEST_##S##_AR, AR_AVL))
	SEGMENTS(ROW)
#undef ROW
	CASE(GUEST_CS_AR_TYPE): XOR(GUEST_CS_AR, AR_ACCESSED); break;
	CASE(GUEST_CS_AR_TYPE_UG): scene_start(s, GUEST_REAL); XOR(GUEST_CS_AR, AR_ACCESSED); break;
	CASE(GUEST_SS_AR_TYPE): XOR(GUEST_SS_AR, AR_WRITABLE); break;
#define ROW(S)                                                                                             \
	CASE(GUEST_##S##_AR_TYPE_ACCESSED): XOR(GUEST_##S##_AR, AR_ACCESSED); break;                       \
	CASE(GUEST_##S##_AR_TYPE_READABLE): XOR(GUEST_##S##_AR, AR_CODE | AR_WRITABLE); break;             \
	CASE(GUEST_##S##_AR_DPL): XOR(GUEST_##S##_SELECTOR, 1); break;
	ROW(DS) ROW(ES) ROW(FS) ROW(GS)
#undef ROW
#define ROW(S)                                                                                             \
	CASE(GUEST_##S##_AR_S): XOR(GUEST_##S##_AR, AR_S); break;                                          \
	CASE(GUEST_##S##_AR_P): XOR(GUEST_##S##_AR, AR_P); break;                                          \
	CASE(GUEST_##S##_AR_RESERVED): XOR(GUEST_##S##_AR, BIT(31)); break;                                \
	GRANULARITY(S)
	SEGMENTS(ROW) ROW(TR) ROW(LDTR)
#undef ROW
	CASE(GUEST_CS_AR_DPL_TYPE3): scene_start(s, GUEST_REAL); XOR(GUEST_CS_AR, BIT(5)); break;
	CASE(GUEST_CS_AR_DPL_NONCONFORMING): XOR(GUEST_CS_AR, AR_DPL); break;
	CASE(GUEST_CS_AR_DPL_CONFORMING): XOR(GUEST_CS_AR, AR_DPL | AR_DOWN); break;
	CASE(GUEST_SS_AR_DPL_RPL): XOR(GUEST_SS_AR, AR_DPL); XOR(GUEST_CS_AR, AR_DPL); break;
	CASE(GUEST_SS_AR_DPL_REAL): scene_start(s, GUEST_REAL); XOR(GUEST_SS_AR, AR_DPL); break;
	CASE(GUEST_CS_AR_DB_L): XOR(GUEST_CS_AR, AR_DB); break;
	CASE(GUEST_TR_AR_TYPE): scene_start(s, GUEST_PAE); XOR(GUEST_TR_AR, AR_WRITABLE); break;
	CASE(GUEST_TR_AR_TYPE_IA32E): XOR(GUEST_TR_AR, AR_CODE); break;
	CASE(GUEST_TR_AR_USABLE): XOR(GUEST_TR_AR, AR_UNUSABLE); break;
	CASE(GUEST_LDTR_AR_TYPE): XOR(GUEST_LDTR_AR, AR_ACCESSED); break;

	CASE(GUEST_GDTR_BASE): SET(GUEST_GDTR_BASE, NOT_CANONICAL); break;
	CASE(GUEST_GDTR_LIMIT): SET(GUEST_GDTR_LIMIT, 0x10000); break;
	CASE(GUEST_IDTR_BASE): SET(GUEST_IDTR_BASE, NOT_CANONICAL); break;
	CASE(GUEST_IDTR_LIMIT): SET(GUEST_IDTR_LIMIT, 0x10000); break;
	CASE(GUEST_RIP_HIGH): XOR(GUEST_CS_AR, AR_L); SET(GUEST_RIP, BIT(32)); break;
	CASE(GUEST_RIP_IDENTITY): SET(GUEST_RIP, BIT(48)); break;
	CASE(GUEST_RFLAGS_RESERVED): XOR(GUEST_RFLAGS, BIT(15)); break;
	CASE(GUEST_RFLAGS_BIT1): XOR(GUEST_RFLAGS, RFLAGS_1); break;
	CASE(GUEST_RFLAGS_VM): scene_start(s, GUEST_V86); PROC2(UNRESTRICTED_GUEST); XOR(GUEST_CR0, CR0_PE | CR0_PG); break;
	CASE(GUEST_RFLAGS_IF_EXTINT): inject(s, INTERRUPTION_EXTERNAL, 0x40); break;
	CASE(GUEST_SSP_ALIGN): cet(s); SET(GUEST_SSP, 1); break;
	CASE(GUEST_SSP_IDENTITY): cet(s); SET(GUEST_SSP, BIT(50)); break;
	CASE(GUEST_SSP_HIGH): cet(s); XOR(GUEST_CS_AR, AR_L); SET(GUEST_SSP, BIT(32)); break;

	CASE(GUEST_ACTIVITY_RANGE): SET(GUEST_ACTIVITY_STATE, 4); break;
	CASE(GUEST_ACTIVITY_HLT_DPL): user(s); SET(GUEST_ACTIVITY_STATE, 1); break;
	CASE(GUEST_ACTIVITY_BLOCKING): SET(GUEST_ACTIVITY_STATE, 2); SET(GUEST_INTERRUPTIBILITY, BIT(1)); break;
	CASE(GUEST_ACTIVITY_INJECT_HLT): SET(GUEST_ACTIVITY_STATE, 1); inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_UD); break;
	CASE(GUEST_ACTIVITY_INJECT_SHUTDOWN): SET(GUEST_ACTIVITY_STATE, 2); inject(s, INTERRUPTION_HARDWARE_EXCEPTION, VECTOR_DB); break;
	CASE(GUEST_ACTIVITY_INJECT_SIPI): SET(GUEST_ACTIVITY_STATE, 3); inject(s, INTERRUPTION_NMI, VECTOR_NMI); break;
	CASE(GUEST_ACTIVITY_SMM_SIPI): entering_smm(s); SET(GUEST_ACTIVITY_STATE, 3); break;
	CASE(SMM_ACTIVITY_ROOT): returning_to_root(s); SET(GUEST_ACTIVITY_STATE, 3); break;
	CASE(GUEST_INTR_RESERVED): SET(GUEST_INTERRUPTIBILITY, BIT(5)); break;
	CASE(GUEST_INTR_STI_MOVSS): SET(GUEST_INTERRUPTIBILITY, BIT(0) | BIT(1)); XOR(GUEST_RFLAGS, RFLAGS_IF); break;
	CASE(GUEST_INTR_STI_IF): SET(GUEST_INTERRUPTIBILITY, BIT(0)); break;
	CASE(GUEST_INTR_EXTINT): SET(GUEST_INTERRUPTIBILITY, BIT(1)); XOR(GUEST_RFLAGS, RFLAGS_IF); inject(s, INTERRUPTION_EXTERNAL, 0x40); break;
	CASE(GUEST_INTR_NMI_MOVSS): SET(GUEST_INTERRUPTIBILITY, BIT(1)); inject(s, INTERRUPTION_NMI, VECTOR_NMI); break;
	CASE(GUEST_INTR_NMI_STI):
		SET(GUEST_INTERRUPTIBILITY, BIT(0));
		XOR(GUEST_RFLAGS, RFLAGS_IF);
		inject(s, INTERRUPTION_NMI, VECTOR_NMI);
		break;
	CASE(GUEST_INTR_SMI_OUTSIDE): SET(GUEST_INTERRUPTIBILITY, BIT(2)); break;
	CASE(GUEST_INTR_SMI_ENTRY): entering_smm(s); SET(GUEST_INTERRUPTIBILITY, 0); break;
	CASE(GUEST_INTR_VIRTUAL_NMI):
		PIN(VIRTUAL_NMIS);
		SET(GUEST_INTERRUPTIBILITY, BIT(3));
		inject(s, INTERRUPTION_NMI, VECTOR_NMI);
		break;
	/* No processor here has SGX, or RTM. */
	CASE(GUEST_INTR_ENCLAVE_MOVSS): SET(GUEST_INTERRUPTIBILITY, BIT(1) | BIT(4)); WITH(GUEST_INTR_ENCLAVE_SGX); break;
	CASE(GUEST_INTR_ENCLAVE_SGX): SET(GUEST_INTERRUPTIBILITY, BIT(4)); break;
	CASE(GUEST_PENDING_DBG_RESERVED): SET(GUEST_PENDING_DEBUG, BIT(4)); break;
	CASE(GUEST_PENDING_DBG_BIT11): SET(GUEST_PENDING_DEBUG, BIT(11)); break;
	CASE(GUEST_PENDING_DBG_BS_SET): step_with_blocking(s); break;
	CASE(GUEST_PENDING_DBG_BS_CLEAR): step_with_blocking(s); SET(GUEST_DEBUGCTL, BIT(1)); SET(GUEST_PENDING_DEBUG, BIT(14)); break;
	CASE(GUEST_PENDING_DBG_RTM_BITS): SET(GUEST_PENDING_DEBUG, BIT(16)); WITH(GUEST_PENDING_DBG_RTM_CPU); break;
	CASE(GUEST_PENDING_DBG_RTM_CPU): SET(GUEST_PENDING_DEBUG, BIT(16) | BIT(12)); break;
	CASE(GUEST_PENDING_DBG_RTM_MOVSS):
		SET(GUEST_PENDING_DEBUG, BIT(16) | BIT(12));
		SET(GUEST_INTERRUPTIBILITY, BIT(1));
		WITH(GUEST_PENDING_DBG_RTM_CPU);
		break;
	CASE(GUEST_LINK_ALIGN): SET(VMCS_LINK_POINTER, SCENE_LINK + 8); break;
	CASE(GUEST_LINK_WIDTH): SET(VMCS_LINK_POINTER, BEYOND_WIDTH); break;
	CASE(GUEST_LINK_REVISION): SET(VMCS_LINK_POINTER, SCENE_LINK); s->memory[SCENE_LINK] ^= 2; break;
	CASE(GUEST_LINK_SHADOW_BIT): SET(VMCS_LINK_POINTER, SCENE_LINK); s->memory[SCENE_LINK + 3] ^= 0x80; break;
	CASE(GUEST_LINK_NOT_CURRENT): SET(VMCS_LINK_POINTER, SCENE_CURRENT); break;
	CASE(GUEST_LINK_NOT_EXECUTIVE): returning(s); SET(VMCS_LINK_POINTER, SCENE_EXECUTIVE); break;

	CASE(GUEST_PDPTE_FIELDS): scene_start(s, GUEST_PAE); SET(GUEST_PDPTE3, 0x8003); break;
	CASE(GUEST_PDPTE_MEMORY): scene_start(s, GUEST_PAE); without_ept(s); store_le(s->memory + 0x7018, 8, BEYOND_WIDTH | 1); break;

	CASE(MSR_FS_GS_BASE): s->msr = 0xc0000101; break;
	CASE(MSR_X2APIC): s->msr = 0x8ff; break;
	CASE(MSR_SMM_ONLY): s->msr = 0x9b; break;
	CASE(MSR_MODEL): s->msr = 0x79; break;
	CASE(MSR_RESERVED): s->msr = BIT(32) | 0x10; break;
	/* clang-format on */
	default: break;
	}
}
