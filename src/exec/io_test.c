/*
 * Who may use which port, and what IN, OUT, INS and OUTS move. SDM vol. 1, "Protected-Mode I/O".
 */
#include "exec/io.h"
#include "exec/rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define TSS 0x80000

static struct rig *user_create(void)
{
	struct rig *rig = rig_create("max");

	rig->cpu.cpl = 3;
	rig->cpu.seg[TR] = (struct segment){.base = TSS, .limit = 0x67 + 8192 + 1, .ar = AR_P | 11};
	store_le(rig->ram + TSS + 0x66, 2, 0x68);
	exec_context_changed(&rig->cpu);
	return rig;
}

static void bit_map(void **state)
{
	struct rig *rig = user_create();
	struct cpu *cpu = &rig->cpu;

	for (unsigned size = 1; size <= 4; size *= 2) {
		for (unsigned at = 0x100; at < 0x110; at++) {
			rig->ram[TSS + 0x68 + at / 8] = (uint8_t)(1 << at % 8);
			for (unsigned port = 0xf8; port < 0x118; port++)
				assert_int_equal(io_check(cpu, (uint16_t)port, size), port <= at && at < port + size);
			rig->ram[TSS + 0x68 + at / 8] = 0;
		}
	}
	assert_false(io_check(cpu, 0xffff, 1));
	rig_destroy(rig);
}

static void no_bit_map(void **state)
{
	struct rig *rig = user_create();
	struct cpu *cpu = &rig->cpu;

	cpu->seg[TR].limit = 0x68 + 0x20; /* ports up to FFH: two bytes are read */
	assert_false(io_check(cpu, 0xff, 1));
	assert_true(io_check(cpu, 0x100, 1));
	assert_int_equal(cpu->fault.vector, VECTOR_GP);
	assert_int_equal(cpu->fault.error, 0);
	cpu->seg[TR].limit = 0x66;
	assert_true(io_check(cpu, 0, 1));
	cpu->seg[TR].limit = 0xffff;
	cpu->seg[TR].ar = AR_P | 3; /* a 16-bit TSS has none */
	assert_true(io_check(cpu, 0, 1));
	cpu->rflags |= RFLAGS_IOPL;
	assert_false(io_check(cpu, 0, 1));
	cpu->rflags = (cpu->rflags & ~RFLAGS_IOPL) | 2 << 12;
	assert_true(io_check(cpu, 0, 1));
	cpu->cpl = 2;
	assert_false(io_check(cpu, 0, 1));
	cpu->cr0 &= ~CR0_PE;
	cpu->cpl = 0;
	assert_false(io_check(cpu, 0, 1));
	rig_destroy(rig);
}

static void bit_map_in_a_hole(void **state)
{
	struct rig *rig = user_create();

	rig->cpu.seg[TR].base = RIG_HOLE - 0x68;
	store_le(rig->ram + RIG_HOLE - 2, 2, 0x68);
	assert_true(io_check(&rig->cpu, 0, 1));
	assert_int_equal(rig->cpu.fault.vector, VECTOR_PF);
	assert_int_equal(rig->cpu.fault.error & PF_U, 0); /* a supervisor's access */
	rig_destroy(rig);
}

static void in_and_out(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RAX] = UINT64_C(0x1122334455667788);
	RIG_RUN(rig, 0xe6, 0x80);
	assert_int_equal(rig->port, 0x80);
	assert_int_equal(rig->written, 0x88);
	cpu->r[RDX] = 0xff0cfc;
	RIG_RUN(rig, 0x66, 0xef);
	assert_int_equal(rig->port, 0xcfc);
	assert_int_equal(rig->written, 0x7788);
	RIG_RUN(rig, 0xec);
	assert_int_equal(cpu->r[RAX], UINT64_C(0x1122334455667701));
	RIG_RUN(rig, 0xed);
	assert_int_equal(cpu->r[RAX], 2);
	assert_true(cpu->idle > 0);
	cpu->cpl = 3;
	cpu->seg[TR].limit = 0;
	assert_int_equal(RIG_RUN(rig, 0xec), STEP_FAULT);
	assert_int_equal(rig->in, 2);
	rig_destroy(rig);
}

/* A page fault comes before the port gives anything up, and what was moved before it stays moved. */
static void string_io(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->attention = 0;
	cpu->r[RDX] = 0x1f0;
	cpu->r[RCX] = 10;
	cpu->r[RDI] = RIG_HOLE - 6;
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x66, 0x6d), STEP_FAULT);
	assert_int_equal(cpu->fault.vector, VECTOR_PF);
	assert_int_equal(rig->in, 3);
	assert_int_equal(cpu->r[RCX], 7);
	assert_int_equal(cpu->r[RDI], RIG_HOLE);
	assert_int_equal(rig->ram[RIG_HOLE - 6], 1);
	assert_int_equal(rig->ram[RIG_HOLE - 2], 3);

	cpu->r[RCX] = 3;
	cpu->r[RSI] = RIG_HOLE - 2;
	cpu->rflags |= RFLAGS_DF;
	assert_int_equal(RIG_RUN(rig, 0xf3, 0x66, 0x6f), STEP_NEXT);
	assert_int_equal(rig->out, 3);
	assert_int_equal(rig->written, 1);
	assert_int_equal(cpu->r[RSI], RIG_HOLE - 8);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bit_map),    cmocka_unit_test(no_bit_map), cmocka_unit_test(bit_map_in_a_hole),
		cmocka_unit_test(in_and_out), cmocka_unit_test(string_io),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
