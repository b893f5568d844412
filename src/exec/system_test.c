/*
 * System instructions, waiting, suspended strings, and what models do to decoding.
 */
#include "cpu/flags.h"
#include "exec/rig.h"
#include "exec/system.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void expect_fault(struct rig *rig, enum step step, unsigned vector)
{
	assert_int_equal(step, STEP_FAULT);
	assert_int_equal(rig->cpu.fault.vector, vector);
}

static bool is_one_of(unsigned operation, const uint16_t *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (list[i] == operation)
			return true;
	return false;
}

static bool means_undefined(unsigned operation)
{
	static const uint16_t list[] = {ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_UD2};

	return is_one_of(operation, list, ARRAY_SIZE(list));
}

/* What no model has: SMX, CET, SGX, TDX, PT, TSX, user interrupts and others. */
static bool is_absent(unsigned operation)
{
	static const uint16_t list[] = {
#define N(name) ZYDIS_MNEMONIC_##name,
		N(CLRSSBSY) N(CLUI) N(ENCLS) N(ENCLU) N(ENCLV) N(ENQCMD) N(ENQCMDS) N(GETSEC) N(HRESET) N(INCSSPD)
			N(INCSSPQ) N(PCONFIG) N(PTWRITE) N(RSTORSSP) N(SAVEPREVSSP) N(SEAMCALL) N(SEAMOPS) N(SEAMRET)
				N(SENDUIPI) N(SETSSBSY) N(STUI) N(TDCALL) N(TESTUI) N(UIRET) N(WRSSD) N(WRSSQ)
					N(WRUSSD) N(WRUSSQ) N(XABORT) N(XBEGIN) N(XEND) N(XRESLDTRK) N(XSUSLDTRK)
						N(XTEST)
#undef N
	};

	return is_one_of(operation, list, ARRAY_SIZE(list));
}

/* Every form of the one-, two- and three-byte maps that is offered has a meaning. */
static void every_offered_form_is_bound(void **state)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
	struct rig *rig = rig_create("max");
	char text[128];

	for (unsigned n = 0; n < BIT(20); n++) {
		bool code64 = n & 1;
		unsigned prefix = n >> 1 & 3, map = n >> 3 & 3, opcode = n >> 5 & 255, reg = n >> 13 & 7,
			 rm = n >> 16 & 7, mod = n >> 19 & 1;
		uint8_t code[32] = {0}, *p = code;
		struct insn insn;

		if (prefixes[prefix])
			*p++ = prefixes[prefix];
		if (map)
			*p++ = 0x0f;
		if (map >= 2)
			*p++ = map == 2 ? 0x38 : 0x3a;
		*p++ = (uint8_t)opcode;
		*p++ = (uint8_t)(mod * 0xc0 | reg << 3 | rm);
		rig_mode(rig, code64 ? 64 : 32);
		if (decode(rig->decoder, code, sizeof(code), rig->cpu.mode, 0, &insn) != DECODE_OK)
			continue;
		if (insn.form->class == CLASS_BRANCH || insn.form->class == CLASS_HOST ||
		    means_undefined(insn.form->operation))
			continue;
		if (exec_offered(&rig->model, insn.form) == is_absent(insn.form->operation)) {
			decode_text(code, sizeof(code), rig->cpu.mode, 0, text, sizeof(text));
			fail_msg("%u-bit %s: is it offered or not?", code64 ? 64 : 32, text);
		}
		if (is_absent(insn.form->operation))
			continue;
		if (insn.form->exec == exec_undefined) {
			decode_text(code, sizeof(code), rig->cpu.mode, 0, text, sizeof(text));
			fail_msg("%u-bit %s (%02x %02x %02x %02x): no function", code64 ? 64 : 32, text, code[0],
				 code[1], code[2], code[3]);
		}
	}
	rig_destroy(rig);
}

static void older_models_lack_instructions(void **state)
{
	struct rig *rig = rig_create("qemu64");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RCX] = 0x100;
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x0f, 0xbc, 0xc1), STEP_NEXT); /* TZCNT is BSF: CF stays */
	assert_int_equal(cpu->r[RAX], 8);
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x0f, 0xbd, 0xc1), STEP_NEXT); /* LZCNT is BSR */
	assert_int_equal(cpu->r[RAX], 8);
	expect_fault(rig, RIG_RUN(rig, 0xf3, 0x0f, 0xb8, 0xc1), VECTOR_UD);	  /* POPCNT */
	expect_fault(rig, RIG_RUN(rig, 0xc4, 0xe2, 0x70, 0xf2, 0xc1), VECTOR_UD); /* ANDN */
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x38, 0xf0, 0x06), VECTOR_UD);	  /* MOVBE */
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xf9), VECTOR_UD);		  /* RDTSCP */
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0xc7, 0xf0), VECTOR_UD);		  /* RDRAND */
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x0f, 0x1e, 0xfa), STEP_NEXT);	  /* ENDBR64 is a NOP */
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0x1e, 0xc8), STEP_NEXT);  /* so is RDSSPQ */
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x0d, 0x0e), STEP_NEXT);		  /* and PREFETCHW */
	assert_int_equal(cpu->r[RAX], 8);
	rig_destroy(rig);
	rig = rig_create("max");
	rig->cpu.r[RCX] = 0x100;
	RIG_RUN(rig, 0xf3, 0x0f, 0xbd, 0xc1);
	assert_int_equal(rig->cpu.r[RAX], 23);
	rig_destroy(rig);
}

static bool is_offered(const char *model, const char *hex)
{
	struct rig *rig = rig_create(model);
	uint8_t code[32] = {0};
	struct insn insn;
	bool offered;

	for (unsigned i = 0; hex[2 * i]; i++)
		code[i] = (uint8_t)strtoul((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
	assert_int_equal(decode(rig->decoder, code, sizeof(code), rig->cpu.mode, 0, &insn), DECODE_OK);
	offered = exec_offered(&rig->model, insn.form);
	rig_destroy(rig);
	return offered;
}

/* SDM vol. 2 gives each form its feature bits; a vector length, an encoding and an operation may need one each. */
static void vectors_need_all_their_features(void **state)
{
	static const struct {
		const char *hex, *has, *has_not;
	} form[] = {
		{"660f3817c1", "Penryn", "Conroe"},			  /* PTEST */
		{"0f10c1", "qemu64", "qemu64,-sse"},			  /* MOVUPS */
		{"c5f058c2", "SandyBridge", "Westmere"},		  /* VADDPS xmm */
		{"c5f5fec2", "Haswell", "IvyBridge"},			  /* VPADDD ymm */
		{"c4e27918c2", "Haswell", "IvyBridge"},			  /* VBROADCASTSS xmm, xmm */
		{"c4e271dcc2", "SandyBridge", "SandyBridge,-aes"},	  /* VAESENC xmm */
		{"c4e275dcc2", "Icelake-Server", "Haswell"},		  /* VAESENC ymm */
		{"62f1744858c2", "Skylake-Server", "Broadwell"},	  /* VADDPS zmm */
		{"62f1740858c2", "Skylake-Server", "max,-avx512vl"},	  /* VADDPS xmm, EVEX */
		{"62f1760858c2", "max,-avx512vl", "Broadwell"},		  /* VADDSS: scalar */
		{"c5f441c2", "Skylake-Server", "Broadwell"},		  /* KANDW */
		{"62f2754850c2", "Cascadelake-Server", "Skylake-Server"}, /* VPDPBUSD zmm */
		{"0f38c8c1", "Icelake-Server", "Skylake-Server"},	  /* SHA1NEXTE */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(form); i++) {
		if (!is_offered(form[i].has, form[i].hex))
			fail_msg("%s lacks %s", form[i].has, form[i].hex);
		if (is_offered(form[i].has_not, form[i].hex))
			fail_msg("%s has %s", form[i].has_not, form[i].hex);
	}
}

static void msr_access(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RCX] = MSR_LSTAR;
	cpu->r[RAX] = UINT64_C(0xdead00001234);
	cpu->r[RDX] = UINT64_C(0xdeadffff8000);
	cpu->r[RDX] = 0xffffffff;
	cpu->r[RAX] = 0x80001234;
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x30), STEP_LEAVE);
	assert_int_equal(cpu->lstar, UINT64_C(0xffffffff80001234));
	cpu->r[RAX] = cpu->r[RDX] = ~UINT64_C(0);
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x32), STEP_NEXT);
	assert_int_equal(cpu->r[RAX], 0x80001234);
	assert_int_equal(cpu->r[RDX], 0xffffffff);
	cpu->r[RDX] = 0x80000000;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x30), VECTOR_GP);
	cpu->r[RCX] = 0x12345;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x32), VECTOR_GP);
	cpu->r[RCX] = MSR_LSTAR;
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x32), VECTOR_GP);
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x30), VECTOR_GP);
	rig_destroy(rig);
}

static void time_and_random_numbers(void **state)
{
	struct rig *rig = rig_create("max"), *other = rig_create("max");
	struct cpu *cpu = &rig->cpu;
	uint64_t first;

	cpu->tsc_offset = UINT64_C(0x500000000);
	cpu->tsc_aux = 7;
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0xf9), STEP_NEXT);
	assert_int_equal(cpu->r[RDX], 5);
	assert_int_equal(cpu->r[RCX], 7);
	assert_true(cpu->idle > 0);
	cpu->cr4 |= CR4_TSD;
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x31), STEP_NEXT);
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x31), VECTOR_GP);
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x33), VECTOR_GP); /* RDPMC */
	cpu->cpl = 0;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x33), VECTOR_GP);

	RIG_RUN(rig, 0x48, 0x0f, 0xc7, 0xf0);
	first = cpu->r[RAX];
	assert_int_equal(cc_flags(&cpu->cc), RFLAGS_CF);
	RIG_RUN(other, 0x48, 0x0f, 0xc7, 0xf0);
	assert_int_equal(other->cpu.r[RAX], first); /* the same run, the same number */
	RIG_RUN(rig, 0x48, 0x0f, 0xc7, 0xf8);
	assert_int_not_equal(cpu->r[RAX], first);
	rig_destroy(rig);
	rig_destroy(other);
}

static void segment_bases(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	expect_fault(rig, RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0xae, 0xd0), VECTOR_UD); /* CR4.FSGSBASE is 0 */
	cpu->cr4 |= CR4_FSGSBASE;
	exec_context_changed(cpu);
	cpu->r[RAX] = UINT64_C(0xffff800000001000);
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0xae, 0xd0), STEP_NEXT);
	assert_int_equal(cpu->seg[FS].base, UINT64_C(0xffff800000001000));
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x0f, 0xae, 0xd8), STEP_NEXT); /* 32 bits: zero-extended */
	assert_int_equal(cpu->seg[GS].base, 0x1000);
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0xae, 0xcb), STEP_NEXT);
	assert_int_equal(cpu->r[RBX], 0x1000);
	cpu->r[RAX] = UINT64_C(0x800000000000); /* for 57 bits, although CR4.LA57 is 0 */
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0xae, 0xd0), STEP_NEXT);
	cpu->r[RAX] = UINT64_C(0x100000000000000);
	expect_fault(rig, RIG_RUN(rig, 0xf3, 0x48, 0x0f, 0xae, 0xd0), VECTOR_GP);
	rig_mode(rig, 32);
	expect_fault(rig, RIG_RUN(rig, 0xf3, 0x0f, 0xae, 0xd0), VECTOR_UD);
	rig_destroy(rig);
}

/* SDM vol. 2, "INVPCID". */
static void invpcid(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RSI] = RIG_DATA;
	for (cpu->r[RAX] = 0; cpu->r[RAX] < 4; cpu->r[RAX]++)
		assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), STEP_LEAVE);
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_GP);
	cpu->r[RAX] = 1;
	store_le(rig->ram + RIG_DATA, 8, 1); /* a PCID without CR4.PCIDE */
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_GP);
	cpu->cr4 |= CR4_PCIDE;
	exec_context_changed(cpu);
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), STEP_LEAVE);
	store_le(rig->ram + RIG_DATA, 8, 0x1000);
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_GP);
	cpu->r[RAX] = 2;
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), STEP_LEAVE); /* reserved bits do not count */
	cpu->r[RAX] = 0;
	store_le(rig->ram + RIG_DATA, 8, 0);
	store_le(rig->ram + RIG_DATA + 8, 8, UINT64_C(0x800000000000));
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), STEP_LEAVE); /* the CPU has LA57 */
	store_le(rig->ram + RIG_DATA + 8, 8, UINT64_C(0x100000000000000));
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_GP);
	cpu->r[RSI] = RIG_HOLE;
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_PF);
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0x82, 0x06), VECTOR_GP);
	rig_destroy(rig);
}

static void invlpg_makes_a_new_translation_seen(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RSI] = RIG_DATA;
	RIG_RUN(rig, 0x8a, 0x06);
	store_le(rig->ram + RIG_TABLE + 0x3000 + RIG_DATA / 0x1000 * 8, 8, 0);
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0x3e), STEP_LEAVE);
	expect_fault(rig, RIG_RUN(rig, 0x8a, 0x06), VECTOR_PF);
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0x3e), VECTOR_GP);
	rig_destroy(rig);
}

static void cache_lines(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RSI] = RIG_HOLE;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0xae, 0x3e), VECTOR_PF);	    /* CLFLUSH */
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0xae, 0x3e), VECTOR_PF); /* CLFLUSHOPT */
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0xae, 0x36), VECTOR_PF); /* CLWB */
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x18, 0x0e), STEP_NEXT);	    /* PREFETCHT0 never faults */
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x1f, 0x06), STEP_NEXT);	    /* nor does NOP */
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x09), STEP_NEXT);
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x09), VECTOR_GP);
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x08), VECTOR_GP);
	rig_destroy(rig);
}

/* SDM vol. 2, "MOVDIR64B". */
static void movdir64b(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	for (unsigned i = 0; i < 64; i++)
		rig->ram[RIG_DATA + 3 + i] = (uint8_t)(i + 1);
	cpu->r[RSI] = RIG_DATA + 3;
	cpu->r[RDI] = RIG_DATA + 0x100;
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0x38, 0xf8, 0x3e), STEP_NEXT);
	assert_memory_equal(rig->ram + RIG_DATA + 0x100, rig->ram + RIG_DATA + 3, 64);
	cpu->r[RDI]++;
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0x38, 0xf8, 0x3e), VECTOR_GP);
	rig_destroy(rig);
}

static void mwait_ends_with_a_write(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0xc9), STEP_NEXT); /* nothing armed: MWAIT does not wait */
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	cpu->r[RAX] = RIG_DATA + 70;
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0xc8), STEP_NEXT);
	cpu->r[RAX] = 0;
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0xc9), STEP_LEAVE);
	assert_int_equal(cpu->activity, ACTIVITY_MWAIT);
	rig->ram[RIG_DATA + 63] = 1; /* the line before */
	assert_false(exec_mwait_ended(cpu));
	rig->ram[RIG_DATA + 127] = 1;
	assert_true(exec_mwait_ended(cpu));
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	assert_false(exec_mwait_ended(cpu));

	cpu->r[RAX] = RIG_DATA;
	RIG_RUN(rig, 0x0f, 0x01, 0xc8);
	rig->ram[RIG_DATA + 1] = 1; /* between MONITOR and MWAIT */
	assert_int_equal(RIG_RUN(rig, 0x0f, 0x01, 0xc9), STEP_NEXT);

	cpu->r[RCX] = 1;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xc8), VECTOR_GP);
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xc9), VECTOR_GP);
	cpu->r[RCX] = 0;
	cpu->r[RAX] = RIG_HOLE;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xc8), VECTOR_PF);
	cpu->cpl = 3;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xc8), VECTOR_UD);
	cpu->cpl = 0;
	cpu->misc_enable = 0;
	expect_fault(rig, RIG_RUN(rig, 0x0f, 0x01, 0xc9), VECTOR_UD);
	rig_destroy(rig);
}

static void tpause_waits_in_the_turn(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RDX] = 0;
	cpu->r[RAX] = 500;
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0xae, 0xf1), STEP_NEXT);
	assert_int_equal(cpu->idle, 500);
	assert_int_equal(cc_flags(&cpu->cc), 0);
	cpu->umwait_control = 100;
	assert_int_equal(RIG_RUN(rig, 0x66, 0x0f, 0xae, 0xf1), STEP_NEXT);
	assert_int_equal(cpu->idle, 600);
	assert_int_equal(cc_flags(&cpu->cc), RFLAGS_CF);
	cpu->r[RCX] = 2;
	expect_fault(rig, RIG_RUN(rig, 0x66, 0x0f, 0xae, 0xf1), VECTOR_GP);
	rig_destroy(rig);
}

static void pause_yields_among_several(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->attention = 0;
	RIG_RUN(rig, 0xf3, 0x90);
	assert_int_equal(cpu->attention, 0);
	assert_true(cpu->idle > 0);
	cpu->cpus = 2;
	RIG_RUN(rig, 0xf3, 0x90);
	assert_int_equal(cpu->attention, ATTEND_YIELD);
	rig_destroy(rig);
}

/* A long string gives up when the turn ends: it is not counted, time passes, and RF is saved by what is delivered
 * meanwhile. */
static void strings_are_suspended(void **state)
{
	static const uint8_t stosb[] = {0xf3, 0xaa};
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;
	uint64_t before, pieces = 0;

	cpu->attention = 0;
	cpu->r[RDI] = RIG_DATA + 10;
	cpu->r[RCX] = 10000;
	cpu->r[RAX] = 0x5a;
	while (rig_run_ticks(rig, stosb, 2, 100) == STEP_LEAVE) {
		assert_int_equal(cpu->rip, cpu->insn_rip);
		assert_true(cpu->budget <= 0);
		assert_int_equal((int64_t)cpu->idle, cpu->turn - cpu->budget); /* all of it idle: nothing retired */
		assert_true(cpu->rflags & RFLAGS_RF);
		cpu->idle = 0;
		pieces++;
	}
	assert_in_range(pieces, 6, 7); /* 16 bytes a tick */
	assert_int_equal(cpu->r[RCX], 0);
	assert_int_equal(cpu->r[RDI], RIG_DATA + 10010);
	assert_int_equal(rig->ram[RIG_DATA + 9], 0);
	assert_int_equal(rig->ram[RIG_DATA + 10009], 0x5a);
	assert_int_equal(rig->ram[RIG_DATA + 10010], 0);

	/* With something to look up, one element at a time. */
	cpu->attention = ATTEND_PINS;
	cpu->r[RCX] = 3;
	before = cpu->r[RDI];
	assert_int_equal(rig_run_ticks(rig, stosb, 2, 100), STEP_LEAVE);
	assert_int_equal(cpu->r[RDI], before + 1);
	assert_int_equal(cpu->r[RCX], 2);
	/* The last element needs no second visit. */
	cpu->r[RCX] = 1;
	assert_int_equal(rig_run_ticks(rig, stosb, 2, 100), STEP_NEXT);
	rig_destroy(rig);
}

/* Pointers of 16 and 32 bits wrap, and the bits above stay or are cleared as for any write of that width. */
static void string_pointers_wrap(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	rig_mode(rig, 32);
	cpu->attention = 0;
	cpu->seg[ES].base = RIG_DATA;
	exec_context_changed(cpu);
	cpu->r[RDI] = 0x1234fffc;
	cpu->r[RCX] = 0xabcd0008;
	cpu->r[RAX] = 0x77;
	assert_int_equal(RIG_RUN(rig, 0x67, 0xf3, 0xaa), STEP_NEXT);
	assert_int_equal(cpu->r[RDI], 0x12340004);
	assert_int_equal(cpu->r[RCX], 0xabcd0000);
	assert_int_equal(rig->ram[RIG_DATA + 0xfffb], 0);
	assert_int_equal(rig->ram[RIG_DATA + 0xfffc], 0x77);
	assert_int_equal(rig->ram[RIG_DATA + 3], 0x77);
	assert_int_equal(rig->ram[RIG_DATA + 4], 0);
	rig_destroy(rig);
}

/* A segment limit stops a string at the exact element. */
static void strings_stop_at_the_limit(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	rig_mode(rig, 32);
	cpu->attention = 0;
	cpu->seg[ES].limit = RIG_DATA + 0x105;
	cpu->seg[ES].ar &= ~AR_G;
	exec_context_changed(cpu);
	cpu->r[RDI] = RIG_DATA + 0x100;
	cpu->r[RCX] = 16;
	expect_fault(rig, RIG_RUN(rig, 0xf3, 0xaa), VECTOR_GP);
	assert_int_equal(cpu->r[RCX], 10);
	assert_int_equal(cpu->r[RDI], RIG_DATA + 0x106);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_offered_form_is_bound),
		cmocka_unit_test(older_models_lack_instructions),
		cmocka_unit_test(vectors_need_all_their_features),
		cmocka_unit_test(msr_access),
		cmocka_unit_test(time_and_random_numbers),
		cmocka_unit_test(segment_bases),
		cmocka_unit_test(invpcid),
		cmocka_unit_test(invlpg_makes_a_new_translation_seen),
		cmocka_unit_test(cache_lines),
		cmocka_unit_test(movdir64b),
		cmocka_unit_test(mwait_ends_with_a_write),
		cmocka_unit_test(tpause_waits_in_the_turn),
		cmocka_unit_test(pause_yields_among_several),
		cmocka_unit_test(strings_are_suspended),
		cmocka_unit_test(string_pointers_wrap),
		cmocka_unit_test(strings_stop_at_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
