/* Reset, INIT, the mode key, RFLAGS, save and restore of a vCPU. */
#include "cpu/control.h"
#include "cpu/flags.h"
#include "cpu/mode.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct cpu_model model = {
	.family = 6, .model = 0x5e, .stepping = 3, .physical_bits = 39, .linear_bits = 48, .xcr0_allowed = 7};

static struct cpu *make_cpu(unsigned number)
{
	struct cpu *cpu = aligned_alloc(64, (sizeof(*cpu) + 63) / 64 * 64);

	memset(cpu, 0xa5, sizeof(*cpu));
	cpu->model = &model;
	cpu->number = number;
	cpu_reset(cpu, false);
	return cpu;
}

/* SDM vol. 3, the table of processor states following power-up, reset, or INIT. */
static void reset_state(void **state)
{
	struct cpu *cpu = make_cpu(0);

	assert_int_equal(cpu_rflags(cpu), 2);
	assert_int_equal(cpu->rip, 0xfff0);
	assert_int_equal(cpu->cr0, 0x60000010);
	assert_int_equal(cpu->seg[CS].selector, 0xf000);
	assert_int_equal(cpu->seg[CS].base, 0xffff0000);
	assert_int_equal(cpu->seg[CS].limit, 0xffff);
	assert_int_equal(cpu->seg[DS].ar, 0x93);
	assert_int_equal(cpu->r[RDX], 0x506e3);
	assert_int_equal(cpu->r[RAX], 0);
	assert_int_equal(cpu->dr6, 0xffff0ff0);
	assert_int_equal(cpu->dr7, 0x400);
	assert_int_equal(cpu->fpu.mxcsr, 0x1f80);
	assert_int_equal(cpu->fpu.xcr0, 1);
	assert_int_equal(cpu->apic_base, 0xfee00900);
	assert_int_equal(cpu->smbase, 0x30000);
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	assert_int_equal(cpu->mode, MODE_CODE16);
	free(cpu);
	cpu = make_cpu(1);
	assert_int_equal(cpu->apic_base, 0xfee00800);
	assert_int_equal(cpu->activity, ACTIVITY_WAIT_SIPI);
	free(cpu);
}

static void init_keeps(void **state)
{
	struct cpu *cpu = make_cpu(0);

	cpu->fpu.v[3].q[0] = 7;
	cpu->fpu.mxcsr = 0x1f00;
	cpu->pat = 6;
	cpu->lstar = 5;
	cpu->smbase = 0x40000;
	cpu->mtrr_def_type = 0xc06;
	cpu->apic_base |= BIT(10);
	cpu->cr0 = CR0_PE | CR0_PG | CR0_NW | CR0_CD;
	cpu->efer = EFER_LME | EFER_LMA;
	cpu->cr4 = CR4_PAE;
	cpu_reset(cpu, true);
	assert_int_equal(cpu->cr0, CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(cpu->efer | cpu->cr4, 0);
	assert_int_equal(cpu->fpu.v[3].q[0], 7);
	assert_int_equal(cpu->fpu.mxcsr, 0x1f00);
	assert_int_equal(cpu->pat, 6);
	assert_int_equal(cpu->lstar, 5);
	assert_int_equal(cpu->smbase, 0x40000);
	assert_int_equal(cpu->mtrr_def_type, 0xc06);
	assert_true(cpu->apic_base & BIT(10));
	cpu->cr0 = CR0_PE;
	cpu_reset(cpu, true);
	assert_int_equal(cpu->cr0, CR0_ET);
	free(cpu);
}

static void flat(struct cpu *cpu)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){.limit = UINT32_MAX, .ar = i == CS ? 0xc09b : 0xc093};
	cpu->cr0 = CR0_PE | CR0_ET;
	cpu->efer = 0;
	cpu->rflags = 2;
	cpu_mode_changed(cpu);
}

static void mode_key(void **state)
{
	struct cpu *cpu = make_cpu(0);
	uint32_t full = MODE_CODE32 | MODE_STACK32 | MODE_FLAT | MODE_PROTECTED;
	static const enum segment_number must_be_flat[] = {ES, CS, SS, DS};

	flat(cpu);
	assert_int_equal(cpu->mode, full);
	for (unsigned i = 0; i < ARRAY_SIZE(must_be_flat); i++) {
		struct segment *segment = &cpu->seg[must_be_flat[i]];

		segment->base = 1;
		cpu_mode_changed(cpu);
		assert_int_equal(cpu->mode, full & ~MODE_FLAT);
		flat(cpu);
		segment->limit--;
		cpu_mode_changed(cpu);
		assert_int_equal(cpu->mode, full & ~MODE_FLAT);
		flat(cpu);
		segment->ar &= ~AR_WRITABLE; /* readable, for CS */
		cpu_mode_changed(cpu);
		assert_int_equal(cpu->mode, full & ~MODE_FLAT);
		flat(cpu);
		segment->ar |= AR_UNUSABLE;
		cpu_mode_changed(cpu);
		assert_int_equal(cpu->mode, full & ~MODE_FLAT);
		flat(cpu);
		if (must_be_flat[i] != CS) {
			segment->ar |= AR_DOWN;
			cpu_mode_changed(cpu);
			assert_int_equal(cpu->mode, full & ~MODE_FLAT);
			flat(cpu);
			segment->ar |= AR_CODE;
			cpu_mode_changed(cpu);
			assert_int_equal(cpu->mode, full & ~MODE_FLAT);
			flat(cpu);
		}
	}
	cpu->seg[FS].base = 5;
	cpu_mode_changed(cpu);
	assert_int_equal(cpu->mode, full);
	cpu->rflags |= RFLAGS_VM;
	cpu_mode_changed(cpu);
	assert_int_equal(cpu->mode, full & ~MODE_PROTECTED);
	flat(cpu);
	cpu->seg[SS].ar &= ~AR_DB;
	cpu->seg[CS].ar &= ~AR_DB;
	cpu_mode_changed(cpu);
	assert_int_equal(cpu->mode, MODE_CODE16 | MODE_FLAT | MODE_PROTECTED);
	cpu->efer = EFER_LMA;
	cpu->seg[CS].ar |= AR_L;
	cpu->seg[DS].ar = AR_UNUSABLE;
	cpu_mode_changed(cpu);
	assert_int_equal(cpu->mode, MODE_CODE64 | MODE_STACK64 | MODE_FLAT | MODE_PROTECTED);
	free(cpu);
}

static void rflags_round_trip(void **state)
{
	struct cpu *cpu = make_cpu(0);

	cpu->cc = (struct lazy_flags){.dst = 0, .src = 1, .op = CC(CC_ADD, 0)}; /* FFH + 1 */
	assert_int_equal(cpu_rflags(cpu), 2 | RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF);
	cpu_set_rflags(cpu, RFLAGS_SF | RFLAGS_IF);
	assert_int_equal(cpu_rflags(cpu), 2 | RFLAGS_SF | RFLAGS_IF);
	assert_int_equal(cpu->rflags, 2 | RFLAGS_IF);
	free(cpu);
}

static void digest(struct cpu *cpu, char text[33])
{
	struct state *state = state_digest();

	cpu_state(cpu, state);
	state_digest_text(state, text);
	state_free(state);
}

static void save_and_restore(void **unused)
{
	struct cpu *cpu = make_cpu(0), *other = make_cpu(1);
	struct state *saved = state_save(), *state;
	char want[33], got[33];
	const void *data;
	size_t size;

	for (unsigned i = 0; i < 16; i++)
		cpu->r[i] = i * 0x1111;
	cpu->cc = (struct lazy_flags){.dst = 0x80, .src = 1, .op = CC(CC_SUB, 0)};
	cpu->seg[GS].base = 0xffff888000000000;
	cpu->cr3 = 0x1234000;
	cpu->fpu.v[31].b[63] = 9;
	cpu->nmi_blocked = true;
	cpu_state(cpu, saved);
	data = state_data(saved, &size);
	state = state_restore(data, size);
	cpu_state(other, state);
	assert_false(state_failed(state));
	state_free(state);
	/* The same flags in another form have the same digest. */
	digest(cpu, want);
	cpu_set_rflags(cpu, cpu_rflags(cpu));
	digest(cpu, got);
	assert_string_equal(got, want);
	digest(other, got);
	assert_string_equal(got, want);
	assert_int_equal(other->r[R15], 15 * 0x1111);
	other->fpu.v[31].b[63] = 8;
	digest(other, got);
	assert_string_not_equal(got, want);
	state_free(saved);

	cpu->cpl = 4;
	saved = state_save();
	cpu_state(cpu, saved);
	data = state_data(saved, &size);
	state = state_restore(data, size);
	cpu_state(other, state);
	assert_true(state_failed(state));
	state_free(state);
	state_free(saved);
	free(cpu);
	free(other);
}

static void control_register_values(void **state)
{
	struct cpu_model none = {.physical_bits = 36};

	assert_true(cpu_cr0_valid(CR0_PE | CR0_PG | CR0_CD | CR0_NW));
	assert_false(cpu_cr0_valid(CR0_PG));
	assert_false(cpu_cr0_valid(CR0_NW));
	assert_false(cpu_cr0_valid(BIT(40)));
	assert_int_equal(cpu_cr4_allowed(&none), CR4_PCE);
	none.features[FEATURE_VME / 64] |= BIT(FEATURE_VME % 64);
	assert_int_equal(cpu_cr4_allowed(&none), CR4_PCE | CR4_VME | CR4_PVI);
	assert_true(cpu_cr3_valid(&none, BITS(35, 0), true));
	assert_false(cpu_cr3_valid(&none, BIT(36), true));
	assert_false(cpu_cr3_valid(&none, BIT(32), false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_state),	    cmocka_unit_test(init_keeps),
		cmocka_unit_test(mode_key),	    cmocka_unit_test(rflags_round_trip),
		cmocka_unit_test(save_and_restore), cmocka_unit_test(control_register_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
