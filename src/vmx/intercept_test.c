/*
 * What exits in VMX non-root operation: for each instruction, decoded from bytes, the control off and on, and what the
 * exit records; bitmaps at their edges, masks bit by bit; events; altered behaviour.
 */
#include "vmx/intercept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "bus/bus.h"
#include "clock/clock.h"
#include "cpu/mode.h"
#include "cpu/msr.h"

#define RAM_SIZE 0x20000
#define IO_A	 0x1000
#define IO_B	 0x2000
#define MSRS	 0x3000
#define VMREADS	 0x4000
#define VMWRITES 0x5000
#define RIP	 0x400000

struct machine {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct vmx_capability caps;
	struct vmx vmx;
	struct decoder *decoder;
	struct insn insn;
	uint8_t *ram;
};

static struct machine *m;
static struct cpu *cpu;

#define V		 (&m->vmx.vmcs)
#define set(name, value) (m->vmx.vmcs.field[VMCS_##name] = (value))
#define PRI(name)	 PROCBASED_CTLS_##name
#define SEC(name)	 PROCBASED_CTLS2_##name

static bool has_all(enum feature feature)
{
	return true;
}

static void no_bind(void *ctx, struct form *form)
{
}

static void set_mode(unsigned bits)
{
	cpu->seg[CS].ar = (cpu->seg[CS].ar & ~(AR_L | AR_DB)) | (bits == 64 ? AR_L : bits == 32 ? AR_DB : 0);
	cpu->efer = bits == 64 ? EFER_LME | EFER_LMA : 0;
	cpu->mode = (bits == 64 ? MODE_CODE64 | MODE_FLAT : bits == 32 ? MODE_CODE32 : MODE_CODE16) | MODE_PROTECTED;
}

/* 64-bit mode, CPL 0, general registers 1000H, 2000H ..., no control on. */
static void start(void)
{
	memset(m->ram, 0, RAM_SIZE);
	memset(&m->vmx, 0, sizeof(m->vmx));
	m->vmx.caps = &m->caps;
	for (unsigned i = RAX; i <= R15; i++)
		cpu->r[i] = 0x1000 * (i + 1);
	cpu->r[R_BLOCK] = RIP;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){
			.base = 0x100000 * (i + 1), .limit = UINT32_MAX, .ar = AR_P | AR_S | AR_WRITABLE};
	cpu->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
	cpu->cr4 = CR4_PAE | CR4_VMXE;
	cpu->rflags = RFLAGS_1;
	cpu->cpl = 0;
	cpu->shadow = 0;
	cpu->nonroot = true;
	cpu->in_smm = cpu->nmi_blocked = cpu->monitor_armed = false;
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->tsc_offset = 0;
	cpu->fpu.xss = 0;
	set_mode(64);
	set(IO_BITMAP_A, IO_A);
	set(IO_BITMAP_B, IO_B);
	set(MSR_BITMAP, MSRS);
	set(VMREAD_BITMAP, VMREADS);
	set(VMWRITE_BITMAP, VMWRITES);
}

static int create(void **state)
{
	struct error error, warning;

	m = aligned_alloc(64, (sizeof(*m) + 63) / 64 * 64);
	memset(m, 0, sizeof(*m));
	cpu = &m->cpu;
	if (!cpu_model_parse("max", has_all, &m->model, &warning, &error))
		return 1;
	cpu->model = &m->model;
	cpu->log = &m->log;
	cpu->vmx = &m->vmx;
	cpu->clock = clock_create();
	cpu->bus = bus_create(&m->log);
	if (!bus_create_ram(cpu->bus, RAM_SIZE, &error))
		return 1;
	bus_add_ram(cpu->bus, 0, RAM_SIZE, 0, 0);
	m->ram = bus_ram(cpu->bus);
	m->decoder = decoder_create(&(struct decoder_ops){.bind = no_bind});
	memset(m->caps.offers, 0xff, sizeof(m->caps.offers));
	return 0;
}

static int destroy(void **state)
{
	decoder_destroy(m->decoder);
	bus_destroy(cpu->bus);
	clock_destroy(cpu->clock);
	free(m);
	return 0;
}

static enum vmx_verdict ask_of(const uint8_t *code, size_t size, uint64_t operand)
{
	uint8_t bytes[16] = {0};

	memcpy(bytes, code, size);
	assert_int_equal(decode(m->decoder, bytes, sizeof(bytes), cpu->mode, 0, &m->insn), DECODE_OK);
	assert_int_equal(m->insn.len, size);
	memset(&m->vmx.exit, 0x5a, sizeof(m->vmx.exit));
	return vmx_intercept(cpu, &m->insn, operand);
}

#define ASK_WITH(operand, ...) ask_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), operand)
#define ASK(...)	       ASK_WITH(0, __VA_ARGS__)

static void expect(enum vmx_verdict verdict, unsigned reason, uint64_t qualification, uint32_t info)
{
	const struct vmx_exit_record *exit = &m->vmx.exit;

	assert_int_equal(verdict, VMX_EXITS);
	assert_int_equal(exit->reason, reason);
	assert_int_equal(exit->qualification, qualification);
	assert_int_equal(exit->instruction_info, info);
	assert_int_equal(exit->instruction_length, m->insn.len);
	assert_int_equal(exit->physical, 0);
	assert_int_equal(exit->interruption, 0);
	assert_int_equal(exit->interruption_error, 0);
}

#define MEM  0x58102 /* [RAX + RCX * 4 + 10H]: scale 4, 64-bit addresses, DS, index 1, base 0 */
#define REG2 (2u << 28)
#define LEN(...)                                \
	sizeof((const uint8_t[]){__VA_ARGS__}), \
	{                                       \
		__VA_ARGS__                     \
	}
#define UD   VMX_WHEN_AFTER_UD
#define PRIV VMX_WHEN_AFTER_PRIVILEGE

/* By one control: 0 in both columns always exits. */
static const struct simple {
	unsigned when;
	uint32_t primary, secondary, needs;
	unsigned reason;
	uint64_t qualification;
	uint32_t info;
	size_t size;
	uint8_t code[12];
} simple[] = {
	{UD, 0, 0, 0, 10, 0, 0, LEN(0x0f, 0xa2)},			       /* CPUID */
	{UD, 0, 0, 0, 11, 0, 0, LEN(0x0f, 0x37)},			       /* GETSEC */
	{PRIV, 0, 0, 0, 13, 0, 0, LEN(0x0f, 0x08)},			       /* INVD */
	{PRIV, 0, 0, 0, 55, 0, 0, LEN(0x0f, 0x01, 0xd1)},		       /* XSETBV */
	{UD, 0, 0, 0, 18, 0, 0, LEN(0x0f, 0x01, 0xc1)},			       /* VMCALL */
	{UD, 0, 0, 0, 20, 0, 0, LEN(0x0f, 0x01, 0xc2)},			       /* VMLAUNCH */
	{UD, 0, 0, 0, 24, 0, 0, LEN(0x0f, 0x01, 0xc3)},			       /* VMRESUME */
	{UD, 0, 0, 0, 26, 0, 0, LEN(0x0f, 0x01, 0xc4)},			       /* VMXOFF */
	{UD, 0, 0, 0, 19, 0x10, MEM, LEN(0x66, 0x0f, 0xc7, 0x74, 0x88, 0x10)}, /* VMCLEAR */
	{UD, 0, 0, 0, 21, 0x10, MEM, LEN(0x0f, 0xc7, 0x74, 0x88, 0x10)},       /* VMPTRLD */
	{UD, 0, 0, 0, 22, 0x10, MEM, LEN(0x0f, 0xc7, 0x7c, 0x88, 0x10)},       /* VMPTRST */
	{UD, 0, 0, 0, 27, 0x10, MEM, LEN(0xf3, 0x0f, 0xc7, 0x74, 0x88, 0x10)}, /* VMXON */
	{UD, 0, 0, 0, 23, 0x10, MEM | REG2, LEN(0x0f, 0x78, 0x54, 0x88, 0x10)},
	{UD, 0, 0, 0, 25, 0x10, MEM | REG2, LEN(0x0f, 0x79, 0x54, 0x88, 0x10)},
	{UD, 0, 0, 0, 23, 0, 1u << 10 | 11u << 3 | 10u << 28, LEN(0x45, 0x0f, 0x78, 0xd3)}, /* VMREAD R11, R10 */
	{UD, 0, 0, 0, 25, 0, 1u << 10 | 3u << 3 | 2u << 28, LEN(0x0f, 0x79, 0xd3)},	    /* VMWRITE RDX, RBX */
	{UD, 0, 0, 0, 50, 0x10, MEM | REG2, LEN(0x66, 0x0f, 0x38, 0x80, 0x54, 0x88, 0x10)}, /* INVEPT */
	{UD, 0, 0, 0, 53, 0x10, MEM | REG2, LEN(0x66, 0x0f, 0x38, 0x81, 0x54, 0x88, 0x10)}, /* INVVPID */
	{PRIV, PRI(INVLPG_EXITING), 0, SEC(ENABLE_INVPCID), 58, 0x10, MEM | REG2,
	 LEN(0x66, 0x0f, 0x38, 0x82, 0x54, 0x88, 0x10)},
	{PRIV, PRI(HLT_EXITING), 0, 0, 12, 0, 0, LEN(0xf4)},
	{PRIV, PRI(INVLPG_EXITING), 0, 0, 14, 0x9010, 0, LEN(0x0f, 0x01, 0x7c, 0x88, 0x10)},
	{PRIV, PRI(INVLPG_EXITING), 0, 0, 14, 0x509010, 0, LEN(0x64, 0x0f, 0x01, 0x7c, 0x88, 0x10)}, /* FS */
	{PRIV, PRI(RDPMC_EXITING), 0, 0, 15, 0, 0, LEN(0x0f, 0x33)},
	{PRIV, PRI(RDTSC_EXITING), 0, 0, 16, 0, 0, LEN(0x0f, 0x31)},
	{PRIV, PRI(RDTSC_EXITING), 0, SEC(ENABLE_RDTSCP), 51, 0, 0, LEN(0x0f, 0x01, 0xf9)},
	{PRIV, PRI(RDTSC_EXITING), 0, SEC(ENABLE_USER_WAIT_AND_PAUSE), 68, 0, 3 << 3, LEN(0x66, 0x0f, 0xae, 0xf3)},
	{PRIV, PRI(RDTSC_EXITING), 0, SEC(ENABLE_USER_WAIT_AND_PAUSE), 67, 0, 11 << 3,
	 LEN(0xf2, 0x41, 0x0f, 0xae, 0xf3)},
	{UD, PRI(MONITOR_EXITING), 0, 0, 39, 0, 0, LEN(0x0f, 0x01, 0xc8)},
	{UD, PRI(MWAIT_EXITING), 0, 0, 36, 0, 0, LEN(0x0f, 0x01, 0xc9)},
	{UD, PRI(PAUSE_EXITING), 0, 0, 40, 0, 0, LEN(0xf3, 0x90)},
	{VMX_WHEN_FIRST, PRI(MOV_DR_EXITING), 0, 0, 29, 0x307, 0, LEN(0x0f, 0x23, 0xfb)},	/* MOV DR7, RBX */
	{VMX_WHEN_FIRST, PRI(MOV_DR_EXITING), 0, 0, 29, 0xb12, 0, LEN(0x41, 0x0f, 0x21, 0xd3)}, /* MOV R11, DR2 */
	{PRIV, PRI(CR3_STORE_EXITING), 0, 0, 28, 0x313, 0, LEN(0x0f, 0x20, 0xdb)},		/* MOV RBX, CR3 */
	{PRIV, PRI(CR3_LOAD_EXITING), 0, 0, 28, 0x303, 0, LEN(0x0f, 0x22, 0xdb)},
	{PRIV, PRI(CR8_STORE_EXITING), 0, 0, 28, 0xb18, 0, LEN(0x45, 0x0f, 0x20, 0xc3)}, /* MOV R11, CR8 */
	{PRIV, PRI(CR8_LOAD_EXITING), 0, 0, 28, 0xb08, 0, LEN(0x45, 0x0f, 0x22, 0xc3)},
	{PRIV, 0, SEC(WBINVD_EXITING), 0, 54, 0, 0, LEN(0x0f, 0x09)},
	{PRIV, 0, SEC(WBINVD_EXITING), 0, 54, 1, 0, LEN(0xf3, 0x0f, 0x09)}, /* WBNOINVD */
	{UD, 0, SEC(RDRAND_EXITING), 0, 57, 0, 3 << 3, LEN(0x66, 0x0f, 0xc7, 0xf3)},
	{UD, 0, SEC(RDRAND_EXITING), 0, 57, 0, 15 << 3 | 1 << 11, LEN(0x41, 0x0f, 0xc7, 0xf7)},
	{UD, 0, SEC(RDSEED_EXITING), 0, 61, 0, 4 << 3 | 2 << 11, LEN(0x48, 0x0f, 0xc7, 0xfc)},
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 46, 0x10, MEM, LEN(0x0f, 0x01, 0x44, 0x88, 0x10)}, /* SGDT */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 46, 0x10, MEM | 1u << 28,
	 LEN(0x0f, 0x01, 0x4c, 0x88, 0x10)}, /* SIDT */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 46, 0x10, MEM | 2u << 28,
	 LEN(0x0f, 0x01, 0x54, 0x88, 0x10)}, /* LGDT */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 46, 0x10, MEM | 3u << 28,
	 LEN(0x0f, 0x01, 0x5c, 0x88, 0x10)},							       /* LIDT */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 47, 0x10, MEM, LEN(0x0f, 0x00, 0x44, 0x88, 0x10)}, /* SLDT */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 47, 0, 1u << 10 | 3 << 3 | 1u << 28,
	 LEN(0x0f, 0x00, 0xcb)}, /* STR EBX */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 47, 0, 1u << 10 | 9 << 3 | 2u << 28,
	 LEN(0x41, 0x0f, 0x00, 0xd1)}, /* LLDT R9W */
	{PRIV, 0, SEC(DESCRIPTOR_TABLE_EXITING), 0, 47, 0x10, MEM | 3u << 28,
	 LEN(0x0f, 0x00, 0x5c, 0x88, 0x10)}, /* LTR */
};

static void each_instruction_by_its_control(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(simple); i++) {
		const struct simple *s = &simple[i];
		bool always = !s->primary && !s->secondary;
		enum vmx_when when;

		start();
		set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
		set(VM_PROCBASED_CTLS2, s->needs);
		assert_int_equal(ask_of(s->code, s->size, 0), always ? VMX_EXITS : VMX_PROCEED);
		assert_true(vmx_when(m->insn.form, &when));
		assert_int_equal(when, s->when);

		/* Every other control of the two words, but "VMCS shadowing", which is for VMREAD and VMWRITE. */
		set(VM_PROCBASED_CTLS, UINT32_MAX & ~s->primary);
		set(VM_PROCBASED_CTLS2, (UINT32_MAX & ~s->secondary & ~SEC(VMCS_SHADOWING)) | s->needs);
		assert_int_equal(ask_of(s->code, s->size, 0), always ? VMX_EXITS : VMX_PROCEED);

		set(VM_PROCBASED_CTLS, s->primary | PRI(ACTIVATE_SECONDARY_CONTROLS));
		set(VM_PROCBASED_CTLS2, s->secondary | s->needs);
		expect(ask_of(s->code, s->size, 0), s->reason, s->qualification, s->info);
		assert_int_equal(m->vmx.exit.linear, 0);
		assert_false(vmx_disabled(cpu, m->insn.form));

		/* Secondary controls count for nothing unless they are activated. */
		if (s->secondary || s->needs) {
			set(VM_PROCBASED_CTLS, s->primary);
			assert_int_equal(ask_of(s->code, s->size, 0), s->needs ? VMX_UNDEFINED : VMX_PROCEED);
			assert_int_equal(vmx_disabled(cpu, m->insn.form), s->needs != 0);
			set(VM_PROCBASED_CTLS, s->primary | PRI(ACTIVATE_SECONDARY_CONTROLS));
			set(VM_PROCBASED_CTLS2, UINT32_MAX & ~(s->needs ? s->needs : s->secondary));
			assert_int_equal(ask_of(s->code, s->size, 0), s->needs ? VMX_UNDEFINED : VMX_PROCEED);
		}
	}
}

static void some_are_undefined_and_never_exit(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, UINT32_MAX);
	set(VM_PROCBASED_CTLS2, UINT32_MAX & ~(SEC(ENABLE_RDTSCP) | SEC(ENABLE_USER_WAIT_AND_PAUSE)));
	assert_int_equal(ASK(0xf3, 0x0f, 0xc7, 0xfb), VMX_UNDEFINED); /* RDPID */
	assert_int_equal(ASK(0xf3, 0x0f, 0xae, 0xf3), VMX_UNDEFINED); /* UMONITOR */
	set(VM_PROCBASED_CTLS2, SEC(ENABLE_RDTSCP) | SEC(ENABLE_USER_WAIT_AND_PAUSE));
	assert_int_equal(ASK(0xf3, 0x0f, 0xc7, 0xfb), VMX_PROCEED);
	assert_int_equal(ASK(0xf3, 0x0f, 0xae, 0xf3), VMX_PROCEED);
}

static void others_never_exit(void **state)
{
	enum vmx_when when;

	start();
	set(VM_PROCBASED_CTLS, UINT32_MAX);
	set(VM_PROCBASED_CTLS2, UINT32_MAX);
	assert_int_equal(ASK(0x48, 0x89, 0xc3), VMX_PROCEED); /* MOV RBX, RAX */
	assert_false(vmx_when(m->insn.form, &when));
	assert_int_equal(ASK(0x8e, 0xd8), VMX_PROCEED);	      /* MOV DS, EAX */
	assert_int_equal(ASK(0xcd, 0x80), VMX_PROCEED);	      /* INT 80H */
	assert_int_equal(ASK(0x0f, 0x01, 0xe3), VMX_PROCEED); /* SMSW EBX */
	assert_int_equal(ASK(0x0f, 0x20, 0xd3), VMX_PROCEED); /* MOV RBX, CR2 */
	assert_int_equal(ASK(0x0f, 0x22, 0xd3), VMX_PROCEED); /* MOV CR2, RBX */
}

static void mwait_says_whether_it_is_armed(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, PRI(MWAIT_EXITING));
	cpu->monitor_armed = true;
	expect(ASK(0x0f, 0x01, 0xc9), 36, 1, 0);
}

static void rsm_exits_in_smm(void **state)
{
	start();
	assert_int_equal(ASK(0x0f, 0xaa), VMX_PROCEED);
	cpu->in_smm = true;
	expect(ASK(0x0f, 0xaa), 17, 0, 0);
	cpu->in_smm = false;
}

static void vmfunc_exits_for_functions_that_are_off(void **state)
{
	start();
	assert_int_equal(ASK(0x0f, 0x01, 0xd4), VMX_UNDEFINED);
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
	set(VM_PROCBASED_CTLS2, SEC(ENABLE_VM_FUNCTIONS));
	for (unsigned f = 0; f < 64; f++) {
		cpu->r[RAX] = BIT(32) | f; /* EAX counts */
		set(VM_FUNCTION_CTLS, ~BIT(f));
		expect(ASK(0x0f, 0x01, 0xd4), 59, 0, 0);
		set(VM_FUNCTION_CTLS, BIT(f));
		assert_int_equal(ASK(0x0f, 0x01, 0xd4), VMX_PROCEED);
	}
	cpu->r[RAX] = 64;
	set(VM_FUNCTION_CTLS, ~UINT64_C(0));
	assert_int_equal(ASK(0x0f, 0x01, 0xd4), VMX_UNDEFINED);
	set(VM_FUNCTION_CTLS, 0);
	assert_int_equal(ASK(0x0f, 0x01, 0xd4), VMX_UNDEFINED);
}

static void memory_operands_in_every_mode(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS) | PRI(INVLPG_EXITING));
	set(VM_PROCBASED_CTLS2, SEC(DESCRIPTOR_TABLE_EXITING));
	/* LGDT [RIP + 20H] and [RIP - 8]; no base, no index. */
	expect(ASK(0x0f, 0x01, 0x15, 0x20, 0, 0, 0), 46, RIP + 7 + 0x20,
	       0x100 | 3 << 15 | 1 << 22 | 1 << 27 | 2u << 28);
	expect(ASK(0x0f, 0x01, 0x15, 0xf8, 0xff, 0xff, 0xff), 46, RIP + 7 - 8,
	       0x100 | 3 << 15 | 1 << 22 | 1 << 27 | 2u << 28);
	/* LGDT GS:[R12 - 1]; SS for RBP; 32-bit addresses. */
	expect(ASK(0x65, 0x41, 0x0f, 0x01, 0x54, 0x24, 0xff), 46, ~UINT64_C(0),
	       0x100 | 5 << 15 | 1 << 22 | 12u << 23 | 2u << 28);
	expect(ASK(0x0f, 0x01, 0x55, 0x00), 46, 0, 0x100 | 2 << 15 | 1 << 22 | 5u << 23 | 2u << 28);
	expect(ASK(0x67, 0x0f, 0x01, 0x10), 46, 0, 0x080 | 3 << 15 | 1 << 22 | 2u << 28);
	set_mode(32);
	expect(ASK(0x0f, 0x01, 0x50, 0x10), 46, 0x10, 0x880 | 3 << 15 | 1 << 22 | 2u << 28);
	expect(ASK(0x66, 0x0f, 0x01, 0x50, 0x10), 46, 0x10, 0x080 | 3 << 15 | 1 << 22 | 2u << 28);
	/* INVLPG ES:[EAX - 1]: the base counts, and 32 bits of the sum. */
	expect(ASK(0x26, 0x0f, 0x01, 0x78, 0xff), 14, 0x100fff, 0);
	cpu->seg[ES].base = 0xfffff001;
	expect(ASK(0x26, 0x0f, 0x01, 0x78, 0xff), 14, 0, 0);
	set_mode(16);
	/* LGDT [BX + SI + 10H] */
	expect(ASK(0x0f, 0x01, 0x50, 0x10), 46, 0x10, 3 << 15 | 6 << 18 | 3u << 23 | 2u << 28);
}

/* For all bits: value, shadow and mask alone decide. */
static void mov_to_cr0_and_cr4_by_mask_and_shadow(void **state)
{
	start();
	for (unsigned bit = 0; bit < 64; bit++) {
		for (unsigned n = 0; n < 8; n++) {
			bool differs = (n & 1) && ((n >> 1 ^ n >> 2) & 1);

			set(CR0_MASK, n & 1 ? BIT(bit) : 0);
			set(CR4_MASK, 0);
			set(CR0_READ_SHADOW, n & 2 ? BIT(bit) : 0);
			cpu->r[RBX] = n & 4 ? BIT(bit) : 0;
			cpu->cr0 = ~cpu->r[RBX];
			assert_int_equal(ASK(0x0f, 0x22, 0xe3), VMX_PROCEED); /* CR4 */
			if (differs)
				expect(ASK(0x0f, 0x22, 0xc3), 28, 0x300, 0);
			else
				assert_int_equal(ASK(0x0f, 0x22, 0xc3), VMX_PROCEED);
			assert_int_equal(ASK(0x0f, 0x20, 0xc3), VMX_PROCEED);

			set(CR4_MASK, n & 1 ? BIT(bit) : 0);
			set(CR4_READ_SHADOW, n & 2 ? BIT(bit) : 0);
			set(CR0_MASK, 0);
			assert_int_equal(ASK(0x0f, 0x22, 0xc3), VMX_PROCEED); /* CR0 */
			if (differs)
				expect(ASK(0x0f, 0x22, 0xe3), 28, 0x304, 0);
			else
				assert_int_equal(ASK(0x0f, 0x22, 0xe3), VMX_PROCEED);
			assert_int_equal(ASK(0x0f, 0x20, 0xe3), VMX_PROCEED);
		}
	}
}

static void clts_by_mask_and_shadow(void **state)
{
	start();
	for (unsigned n = 0; n < 4; n++) {
		set(CR0_MASK, n & 1 ? CR0_TS : ~CR0_TS);
		set(CR0_READ_SHADOW, n & 2 ? CR0_TS : ~CR0_TS);
		if (n == 3)
			expect(ASK(0x0f, 0x06), 28, 0x20, 0);
		else
			assert_int_equal(ASK(0x0f, 0x06), VMX_PROCEED);
	}
}

static void lmsw_by_mask_and_shadow(void **state)
{
	enum vmx_when when;

	start();
	for (unsigned bit = 0; bit < 16; bit++) {
		for (unsigned n = 0; n < 8; n++) {
			bool source = n & 4, shadow = n & 2;
			bool exits = (n & 1) && bit < 4 && source != shadow && (bit || source);

			set(CR0_MASK, n & 1 ? BIT(bit) : 0);
			set(CR0_READ_SHADOW, shadow ? BIT(bit) : 0);
			if (exits) {
				expect(ASK_WITH(source ? BIT(bit) : 0, 0x0f, 0x01, 0xf3), 28,
				       0x30 | (source ? BIT(bit) : 0) << 16, 0);
				assert_int_equal(m->vmx.exit.linear, 0);
			} else {
				assert_int_equal(ASK_WITH(source ? BIT(bit) : 0, 0x0f, 0x01, 0xf3), VMX_PROCEED);
			}
		}
	}
	assert_true(vmx_when(m->insn.form, &when));
	assert_int_equal(when, VMX_WHEN_AFTER_OPERAND);
	/* From memory: bit 6 and the linear address; 16 bits of the source. */
	set(CR0_MASK, CR0_TS);
	set(CR0_READ_SHADOW, 0);
	expect(ASK_WITH(0x1fff8, 0x64, 0x0f, 0x01, 0x74, 0x88, 0x10), 28, 0xfff80070, 0);
	assert_int_equal(m->vmx.exit.linear, 0x509010);
}

static void cr3_targets(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, PRI(CR3_LOAD_EXITING));
	for (unsigned i = 0; i < 4; i++)
		V->field[VMCS_CR3_TARGET_VALUE0 + i] = 0x1230000 + i * 0x1000;
	for (unsigned count = 0; count <= 4; count++) {
		set(CR3_TARGET_COUNT, count);
		for (unsigned i = 0; i < 4; i++) {
			cpu->r[RBX] = 0x1230000 + i * 0x1000;
			assert_int_equal(ASK(0x0f, 0x22, 0xdb), i < count ? VMX_PROCEED : VMX_EXITS);
			cpu->r[RBX] |= BIT(63);
			assert_int_equal(ASK(0x0f, 0x22, 0xdb), VMX_EXITS);
		}
	}
	set_mode(32); /* the upper half of the register is not there */
	assert_int_equal(ASK(0x0f, 0x22, 0xdb), VMX_PROCEED);
}

static void io_qualifications(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, PRI(UNCONDITIONAL_IO_EXITING));
	cpu->r[RDX] = 0xabc03f8;
	expect(ASK(0xe4, 0x60), 30, 0x600048, 0);  /* IN AL, 60H */
	expect(ASK(0xe7, 0x80), 30, 0x800043, 0);  /* OUT 80H, EAX */
	expect(ASK(0x66, 0xed), 30, 0x3f80009, 0); /* IN AX, DX */
	expect(ASK(0x48, 0xed), 30, 0x3f8000b, 0); /* IN EAX, DX, with REX.W */
	expect(ASK(0xee), 30, 0x3f80000, 0);	   /* OUT DX, AL */
	assert_int_equal(m->vmx.exit.linear, 0);
	expect(ASK(0x6c), 30, 0x3f80018, 2 << 7); /* INSB: ES:[RDI], base not used */
	assert_int_equal(m->vmx.exit.linear, 0x8000);
	expect(ASK(0xf3, 0x66, 0x6d), 30, 0x3f80039, 2 << 7);	  /* REP INSW */
	expect(ASK(0x64, 0x6f), 30, 0x3f80013, 2 << 7 | 4 << 15); /* OUTSD FS:[RSI] */
	assert_int_equal(m->vmx.exit.linear, 0x507000);
	cpu->r[RSI] = 0xffffffff00007000;
	expect(ASK(0xf3, 0x67, 0x6e), 30, 0x3f80030, 1 << 7 | 3 << 15);
	assert_int_equal(m->vmx.exit.linear, 0x7000);
	set_mode(16);
	cpu->r[RDI] = 0x15555;
	expect(ASK(0x6c), 30, 0x3f80018, 0);
	assert_int_equal(m->vmx.exit.linear, 0x105555);
	m->caps.offers[VMX_BASIC] &= ~(uint64_t)BASIC_INS_OUTS;
	set_mode(64);
	expect(ASK(0x64, 0x6f), 30, 0x3f80013, 0);
	m->caps.offers[VMX_BASIC] |= BASIC_INS_OUTS;
}

static void port_bit(unsigned port, bool value)
{
	uint8_t *byte = m->ram + (port < 0x8000 ? IO_A : IO_B) + port % 0x8000 / 8;

	*byte = (uint8_t)((*byte & ~(1 << port % 8)) | value << port % 8);
}

static void io_bitmaps(void **state)
{
	static const unsigned sizes[] = {1, 2, 4};

	start();
	assert_false(vmx_intercepts_io(cpu, 0x80, 1));
	set(VM_PROCBASED_CTLS, PRI(UNCONDITIONAL_IO_EXITING));
	assert_true(vmx_intercepts_io(cpu, 0x80, 1));
	set(VM_PROCBASED_CTLS, PRI(UNCONDITIONAL_IO_EXITING) | PRI(USE_IO_BITMAPS)); /* bitmaps win */
	assert_false(vmx_intercepts_io(cpu, 0x80, 1));
	for (unsigned port = 0; port < 0x10000;
	     port += port < 16 || port >= 0xfff0 || (port & 0x7fff) >= 0x7ff0 || (port & 0x7fff) < 16 ? 1 : 13) {
		port_bit(port, true);
		for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
			for (int at = (int)port - 5; at <= (int)port + 5; at++)
				if (at >= 0 && at < 0x10000)
					assert_int_equal(vmx_intercepts_io(cpu, (uint16_t)at, sizes[s]),
							 (at <= (int)port && (int)port < at + (int)sizes[s]) ||
								 at + sizes[s] > 0x10000);
		port_bit(port, false);
	}
	assert_false(vmx_intercepts_io(cpu, 0xfffc, 4));
	assert_true(vmx_intercepts_io(cpu, 0xfffd, 4));
	assert_true(vmx_intercepts_io(cpu, 0xffff, 2));
	assert_true(vmx_intercepts_io(cpu, 0xffff, 4));
	assert_false(vmx_intercepts_io(cpu, 0xffff, 1));
	/* The instruction asks for its own port and size. */
	cpu->r[RDX] = 0xffff;
	assert_int_equal(ASK(0xec), VMX_PROCEED);
	expect(ASK(0x66, 0xed), 30, 0xffff0009, 0);
}

static void msr_bitmaps(void **state)
{
	static const uint32_t first[] = {0, 0xc0000000}, in_page[] = {0, 0x400};
	static const uint32_t outside[] = {0x2000,     0x3fff,	   0x40000000, 0x80000000,
					   0xbfffffff, 0xc0002000, 0xe0000000, 0xffffffff};

	start();
	assert_true(vmx_intercepts_msr(cpu, 0x10, false));
	assert_true(vmx_intercepts_msr(cpu, 0x10, true));
	set(VM_PROCBASED_CTLS, PRI(USE_MSR_BITMAPS));
	for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
		assert_true(vmx_intercepts_msr(cpu, outside[i], false));
		assert_true(vmx_intercepts_msr(cpu, outside[i], true));
	}
	for (unsigned half = 0; half < 2; half++) {
		for (unsigned n = 0; n < 0x2000; n++) {
			for (unsigned write = 0; write < 2; write++) {
				uint8_t *byte = m->ram + MSRS + in_page[half] + write * 0x800 + n / 8;

				assert_false(vmx_intercepts_msr(cpu, first[half] + n, write));
				*byte = (uint8_t)(1 << n % 8);
				assert_true(vmx_intercepts_msr(cpu, first[half] + n, write));
				assert_false(vmx_intercepts_msr(cpu, first[half] + n, !write));
				assert_false(vmx_intercepts_msr(cpu, first[!half] + n, write));
				*byte = 0;
			}
		}
	}
	cpu->r[RCX] = 0x10;
	assert_int_equal(ASK(0x0f, 0x32), VMX_PROCEED);
	assert_int_equal(ASK(0x0f, 0x30), VMX_PROCEED);
	m->ram[MSRS + 2] = 1;
	expect(ASK(0x0f, 0x32), 31, 0, 0);
	assert_int_equal(ASK(0x0f, 0x30), VMX_PROCEED);
	m->ram[MSRS + 0x802] = 1;
	expect(ASK(0x0f, 0x30), 32, 0, 0);
}

static void vmcs_shadowing_bitmaps(void **state)
{
	static const unsigned encodings[] = {0, 7, 8, 0x6804, 0x7ffe, 0x7fff};

	start();
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
	set(VM_PROCBASED_CTLS2, SEC(VMCS_SHADOWING));
	for (unsigned i = 0; i < ARRAY_SIZE(encodings); i++) {
		unsigned n = encodings[i];

		cpu->r[RDX] = n;
		assert_int_equal(ASK(0x0f, 0x78, 0xd3), VMX_PROCEED);
		assert_int_equal(ASK(0x0f, 0x79, 0xd3), VMX_PROCEED);
		m->ram[VMREADS + n / 8] = (uint8_t)(1 << n % 8);
		expect(ASK(0x0f, 0x78, 0xd3), 23, 0, 1u << 10 | 3 << 3 | 2u << 28);
		assert_int_equal(ASK(0x0f, 0x79, 0xd3), VMX_PROCEED);
		m->ram[VMREADS + n / 8] = 0;
		m->ram[VMWRITES + n / 8] = (uint8_t)(1 << n % 8);
		expect(ASK(0x0f, 0x79, 0xd3), 25, 0, 1u << 10 | 3 << 3 | 2u << 28);
		assert_int_equal(ASK(0x0f, 0x78, 0xd3), VMX_PROCEED);
		m->ram[VMWRITES + n / 8] = 0;
	}
	for (unsigned bit = 15; bit < 64; bit++) {
		cpu->r[RDX] = BIT(bit);
		set_mode(64);
		assert_int_equal(ASK(0x0f, 0x78, 0xd3), VMX_EXITS);
		set_mode(32);
		assert_int_equal(ASK(0x0f, 0x78, 0xd3), bit < 32 ? VMX_EXITS : VMX_PROCEED);
	}
}

static void xsaves_by_xss_and_bitmap(void **state)
{
	static const uint8_t code[][6] = {{0x0f, 0xc7, 0x6c, 0x88, 0x10},
					  {0x0f, 0xc7, 0x5c, 0x88, 0x10},
					  {0x48, 0x0f, 0xc7, 0x6c, 0x88, 0x10},
					  {0x48, 0x0f, 0xc7, 0x5c, 0x88, 0x10}};

	start();
	for (unsigned i = 0; i < 4; i++) {
		size_t size = i < 2 ? 5 : 6;

		set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
		set(VM_PROCBASED_CTLS2, 0);
		assert_int_equal(ask_of(code[i], size, 0), VMX_UNDEFINED);
		set(VM_PROCBASED_CTLS2, SEC(ENABLE_XSAVES));
		for (unsigned bit = 0; bit < 64; bit++) {
			for (unsigned n = 0; n < 8; n++) {
				uint64_t mask = n & 1 ? BIT(bit) : ~BIT(bit);

				cpu->r[RAX] = (uint32_t)mask | BIT(40); /* the upper halves do not count */
				cpu->r[RDX] = mask >> 32 | BIT(40);
				cpu->fpu.xss = n & 2 ? BIT(bit) : 0;
				set(XSS_EXITING_BITMAP, n & 4 ? BIT(bit) : 0);
				if (n == 7)
					expect(ask_of(code[i], size, 0), i & 1 ? 64 : 63, 0x10, MEM);
				else
					assert_int_equal(ask_of(code[i], size, 0), VMX_PROCEED);
			}
		}
		cpu->r[RAX] = 0x1000;
	}
}

static bool pause_at(uint64_t ticks)
{
	cpu->tsc_offset = 0;
	cpu->tsc_offset = ticks - cpu_tsc(cpu);
	return ASK(0xf3, 0x90) == VMX_EXITS;
}

static void pause_loops(void **state)
{
	start();
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
	set(VM_PROCBASED_CTLS2, SEC(PAUSE_LOOP_EXITING));
	set(PLE_GAP, 10);
	set(PLE_WINDOW, 100);
	assert_false(pause_at(5)); /* the first since VM entry, however soon */
	for (unsigned t = 15; t <= 105; t += 10)
		assert_false(pause_at(t)); /* 100 after the first is not more than the window */
	cpu->cpl = 3;
	assert_false(pause_at(106)); /* counts for nothing */
	cpu->cpl = 0;
	assert_true(pause_at(106));
	expect(ASK(0xf3, 0x90), 40, 0, 0);
	assert_false(pause_at(117)); /* 11 after the last: a new loop */
	assert_false(pause_at(127));
	m->vmx.pause_loop = (struct vmx_pause_loop){0};
	set(PLE_WINDOW, 0);
	assert_false(pause_at(127));
	assert_true(pause_at(128));
	set(VM_PROCBASED_CTLS, PRI(PAUSE_EXITING)); /* at any CPL */
	cpu->cpl = 3;
	assert_true(pause_at(1000));
}

static void exceptions_by_bitmap(void **state)
{
	start();
	for (unsigned bit = 0; bit < 32; bit++) {
		set(EXCEPTION_BITMAP, BIT(bit));
		for (unsigned vector = 0; vector < 32; vector++)
			assert_int_equal(vmx_intercepts_exception(cpu, vector, 0), vector == bit);
	}
}

static void page_faults_by_mask_and_match(void **state)
{
	start();
	for (unsigned n = 0; n < 2 * 8 * 8 * 8; n++) {
		unsigned error = n >> 1 & 7, mask = n >> 4 & 7, match = n >> 7 & 7;

		set(EXCEPTION_BITMAP, n & 1 ? BIT(VECTOR_PF) : 0);
		set(PAGE_FAULT_ERROR_CODE_MASK, mask);
		set(PAGE_FAULT_ERROR_CODE_MATCH, match);
		assert_int_equal(vmx_intercepts_exception(cpu, VECTOR_PF, error), ((error & mask) == match) == (n & 1));
		assert_false(vmx_intercepts_exception(cpu, VECTOR_GP, error));
	}
}

static void exception_exits(void **state)
{
	struct fault fault = {.vector = VECTOR_PF, .has_error = true, .error = 7, .address = 0xffff800012345678};
	const struct vmx_exit_record *exit = &m->vmx.exit;

	start();
	vmx_exit_exception(cpu, INTERRUPTION_HARDWARE_EXCEPTION, &fault, 0, false);
	assert_int_equal(exit->reason, 0);
	assert_int_equal(exit->qualification, fault.address);
	assert_int_equal(exit->interruption, 0x80000b0e);
	assert_int_equal(exit->interruption_error, 7);
	assert_int_equal(exit->instruction_length, 0);
	vmx_exit_exception(cpu, INTERRUPTION_HARDWARE_EXCEPTION, &fault, 0, true);
	assert_int_equal(exit->interruption, 0x80001b0e);

	fault = (struct fault){.vector = VECTOR_GP, .has_error = true, .error = 0x18};
	cpu->cr0 = 0; /* real mode delivers none */
	vmx_exit_exception(cpu, INTERRUPTION_HARDWARE_EXCEPTION, &fault, 0, false);
	assert_int_equal(exit->interruption, 0x8000030d);
	assert_int_equal(exit->interruption_error, 0);
	assert_int_equal(exit->qualification, 0);

	fault = (struct fault){.vector = VECTOR_DB, .dr6 = ~UINT64_C(0)};
	vmx_exit_exception(cpu, INTERRUPTION_HARDWARE_EXCEPTION, &fault, 0, false);
	assert_int_equal(exit->interruption, 0x80000301);
	assert_int_equal(exit->qualification, 0x600f);
	vmx_exit_exception(cpu, INTERRUPTION_PRIVILEGED, &(struct fault){.vector = VECTOR_DB}, 1, false); /* INT1 */
	assert_int_equal(exit->interruption, 0x80000501);
	assert_int_equal(exit->qualification, 0);
	assert_int_equal(exit->instruction_length, 1);
	vmx_exit_exception(cpu, INTERRUPTION_SOFTWARE_EXCEPTION, &(struct fault){.vector = VECTOR_BP}, 1,
			   false); /* INT3 */
	assert_int_equal(exit->interruption, 0x80000603);
	vmx_exit_nmi(cpu);
	assert_int_equal(exit->reason, 0);
	assert_int_equal(exit->interruption, 0x80000202);
	vmx_exit_triple_fault(cpu);
	assert_int_equal(exit->reason, 2);
	assert_int_equal(exit->interruption, 0);
	vmx_exit_sipi(cpu, 0x9a);
	assert_int_equal(exit->reason, 4);
	assert_int_equal(exit->qualification, 0x9a);
}

static void interrupts_and_nmis(void **state)
{
	start();
	assert_false(vmx_intercepts_interrupt(cpu));
	assert_false(vmx_intercepts_nmi(cpu));
	assert_false(vmx_acknowledges(cpu));
	set(VM_PINBASED_CTLS, PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING);
	assert_true(vmx_intercepts_interrupt(cpu));
	assert_false(vmx_intercepts_nmi(cpu));
	set(VM_EXIT_CTLS, EXIT_CTLS_ACKNOWLEDGE_INTERRUPT);
	assert_true(vmx_acknowledges(cpu));
	vmx_exit_interrupt(cpu, 0xec);
	assert_int_equal(m->vmx.exit.reason, 1);
	assert_int_equal(m->vmx.exit.interruption, 0x800000ec);
	vmx_exit_interrupt(cpu, -1);
	assert_int_equal(m->vmx.exit.interruption, 0);

	for (unsigned n = 0; n < 4; n++) { /* NMI exiting, virtual NMIs */
		set(VM_PINBASED_CTLS,
		    (n & 1 ? PINBASED_CTLS_NMI_EXITING : 0) | (n & 2 ? PINBASED_CTLS_VIRTUAL_NMIS : 0));
		assert_int_equal(vmx_intercepts_nmi(cpu), n & 1);
		cpu->nmi_blocked = m->vmx.virtual_nmi_blocked = true;
		vmx_iret(cpu);
		assert_int_equal(cpu->nmi_blocked, n != 0);
		assert_int_equal(m->vmx.virtual_nmi_blocked, !(n & 2));
	}
}

static void windows(void **state)
{
	start();
	for (unsigned n = 0; n < 64; n++) {
		bool sti = n & 1, mov_ss = n & 2, nmi = n & 4, interrupt = n & 8, control = n & 16, other = n & 32;

		cpu->shadow = (uint8_t)((sti ? SHADOW_STI : 0) | (mov_ss ? SHADOW_MOV_SS : 0));
		m->vmx.virtual_nmi_blocked = nmi;
		cpu->rflags = interrupt ? RFLAGS_IF : 0;
		set(VM_PROCBASED_CTLS,
		    (control ? PRI(INTERRUPT_WINDOW_EXITING) : 0) | (other ? PRI(NMI_WINDOW_EXITING) : 0));
		assert_int_equal(vmx_interrupt_window(cpu), control && interrupt && !sti && !mov_ss);
		assert_int_equal(vmx_nmi_window(cpu), other && !nmi && !sti && !mov_ss);
	}
	start();
	set(VM_PROCBASED_CTLS, PRI(INTERRUPT_WINDOW_EXITING) | PRI(NMI_WINDOW_EXITING));
	cpu->rflags = RFLAGS_IF;
	for (enum activity a = ACTIVITY_ACTIVE; a <= ACTIVITY_MWAIT; a++) {
		cpu->activity = a;
		assert_int_equal(vmx_interrupt_window(cpu), a != ACTIVITY_SHUTDOWN && a != ACTIVITY_WAIT_SIPI);
		assert_int_equal(vmx_nmi_window(cpu), a != ACTIVITY_WAIT_SIPI);
	}
}

static void task_switches(void **state)
{
	start();
	vmx_exit_task_switch(cpu, 0xfff8, VMX_TASK_GATE, 2);
	assert_int_equal(m->vmx.exit.reason, 9);
	assert_int_equal(m->vmx.exit.qualification, 0xc000fff8);
	assert_int_equal(m->vmx.exit.instruction_length, 2);
	assert_int_equal(vmx_qualify_task_switch(0x28, VMX_TASK_CALL), 0x28);
	assert_int_equal(vmx_qualify_task_switch(0x28, VMX_TASK_IRET), 0x40000028);
	assert_int_equal(vmx_qualify_task_switch(0x28, VMX_TASK_JMP), 0x80000028);
}

static void control_registers_are_merged(void **state)
{
	start();
	for (unsigned bit = 0; bit < 64; bit++) {
		for (unsigned n = 0; n < 8; n++) {
			uint64_t b = BIT(bit), mask = n & 1 ? b : 0, shadow = n & 2 ? b : 0, reg = n & 4 ? b : 0;

			set(CR0_MASK, mask);
			set(CR4_MASK, mask);
			set(CR0_READ_SHADOW, shadow);
			set(CR4_READ_SHADOW, shadow);
			cpu->cr0 = cpu->cr4 = reg;
			assert_int_equal(vmx_read_cr0(cpu), mask ? shadow : reg);
			assert_int_equal(vmx_read_cr4(cpu), mask ? shadow : reg);
			for (unsigned v = 0; v < 2; v++) {
				assert_int_equal(vmx_merge_cr0(cpu, v ? b : 0), mask ? reg : v ? b : 0);
				assert_int_equal(vmx_merge_cr4(cpu, v ? b : 0), mask ? reg : v ? b : 0);
			}
		}
	}
}

static void time_stamps(void **state)
{
	start();
	set(TSC_OFFSET, (uint64_t)-1000);
	set(TSC_MULTIPLIER, UINT64_C(3) << 47); /* 1.5 */
	set(VM_PROCBASED_CTLS2, SEC(USE_TSC_SCALING));
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
	assert_int_equal(vmx_tsc(cpu, 5000), 5000); /* scaling needs offsetting */
	assert_int_equal(vmx_delay(cpu, 3000), 3000);
	set(VM_PROCBASED_CTLS, PRI(USE_TSC_OFFSETTING));
	assert_int_equal(vmx_tsc(cpu, 5000), 4000);
	assert_int_equal(vmx_delay(cpu, 3000), 3000);
	set(VM_PROCBASED_CTLS, PRI(USE_TSC_OFFSETTING) | PRI(ACTIVATE_SECONDARY_CONTROLS));
	assert_int_equal(vmx_tsc(cpu, 5001), 6501);
	assert_int_equal(vmx_tsc(cpu, BIT(63)), BIT(62) + BIT(63) - 1000); /* a product of more than 64 bits */
	assert_int_equal(vmx_delay(cpu, 3000), 2000);
	set(TSC_MULTIPLIER, 1);
	assert_int_equal(vmx_delay(cpu, BIT(20)), UINT64_MAX);
	set(TSC_MULTIPLIER, 0);
	assert_int_equal(vmx_delay(cpu, 7), 7);
}

static void mwait_falls_through(void **state)
{
	start();
	for (unsigned n = 0; n < 16; n++) {
		cpu->r[RCX] = n & 1;
		cpu->rflags = n & 2 ? RFLAGS_IF : 0;
		set(VM_PROCBASED_CTLS, n & 4 ? PRI(INTERRUPT_WINDOW_EXITING) : 0);
		assert_int_equal(vmx_mwait_falls_through(cpu, n & 8), (n & 1) && !(n & 2) && (n & 12));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_instruction_by_its_control),
		cmocka_unit_test(some_are_undefined_and_never_exit),
		cmocka_unit_test(others_never_exit),
		cmocka_unit_test(mwait_says_whether_it_is_armed),
		cmocka_unit_test(rsm_exits_in_smm),
		cmocka_unit_test(vmfunc_exits_for_functions_that_are_off),
		cmocka_unit_test(memory_operands_in_every_mode),
		cmocka_unit_test(mov_to_cr0_and_cr4_by_mask_and_shadow),
		cmocka_unit_test(clts_by_mask_and_shadow),
		cmocka_unit_test(lmsw_by_mask_and_shadow),
		cmocka_unit_test(cr3_targets),
		cmocka_unit_test(io_qualifications),
		cmocka_unit_test(io_bitmaps),
		cmocka_unit_test(msr_bitmaps),
		cmocka_unit_test(vmcs_shadowing_bitmaps),
		cmocka_unit_test(xsaves_by_xss_and_bitmap),
		cmocka_unit_test(pause_loops),
		cmocka_unit_test(exceptions_by_bitmap),
		cmocka_unit_test(page_faults_by_mask_and_match),
		cmocka_unit_test(exception_exits),
		cmocka_unit_test(interrupts_and_nmis),
		cmocka_unit_test(windows),
		cmocka_unit_test(task_switches),
		cmocka_unit_test(control_registers_are_merged),
		cmocka_unit_test(time_stamps),
		cmocka_unit_test(mwait_falls_through),
	};

	return cmocka_run_group_tests(tests, create, destroy);
}
