/*
 * Turns of the interpreter: where they end.
 */
#include "exec/fixture.h"
#include "interp/interp.h"

#define TSC_TICKS 20 /* as in exec/system.c */

/* A turn of so many ticks at CODE_AT. */
static void turn(struct fixture *f, struct interp *interp, unsigned ticks)
{
	f->cpu->rip = CODE_AT;
	f->cpu->idle = 0;
	f->cpu->turn = f->cpu->budget = ticks;
	interp_run(interp, f->cpu);
}

/* Ticks that RDTSC costs are the turn's, too: it ends at the same instruction however the code is cut into blocks. */
static void idle_ticks_count_in_the_middle_of_a_block(void **state)
{
	struct fixture *f = *state;
	struct interp *interp = interp_create(&f->log);

	fixture_long(f, 0);
	interp_add_cpu(interp, f->cpu);
	memset(f->ram + CODE_AT, 0x90, 64);    /* NOP */
	CODE_BYTES(f, CODE_AT + 4, 0x0f, 0x31); /* RDTSC */
	CODE_BYTES(f, CODE_AT + 64, 0xeb, 0xfe);
	for (unsigned ticks = 1; ticks < 60; ticks++) {
		unsigned used = ticks <= 4 ? ticks : ticks < 5 + TSC_TICKS ? 5 + TSC_TICKS : ticks;
		unsigned instructions = ticks <= 4 ? ticks : used - TSC_TICKS;

		turn(f, interp, ticks);
		assert_int_equal(run_elapsed(f->cpu), used);
		assert_int_equal(run_elapsed(f->cpu) - f->cpu->idle, instructions);
		assert_int_equal(f->cpu->rip, CODE_AT + instructions + (instructions > 4));
	}
	interp_destroy(interp);
}

/* An instruction of more than 15 bytes has no form, and is #GP(0): also when each is run on its own. There is no IDT, so that ends in shutdown. */
static void too_long_an_instruction_on_its_own(void **state)
{
	struct fixture *f = *state;
	struct interp *interp = interp_create(&f->log);

	fixture_long(f, 0);
	interp_add_cpu(interp, f->cpu);
	memset(f->ram + CODE_AT, 0x66, 15);
	CODE_BYTES(f, CODE_AT + 15, 0x90);
	interp_set_breakpoint(interp, 0, true); /* anywhere */
	turn(f, interp, 10);
	assert_int_equal(f->cpu->activity, ACTIVITY_SHUTDOWN);
	interp_destroy(interp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(idle_ticks_count_in_the_middle_of_a_block, fixture_create, fixture_destroy),
		cmocka_unit_test_setup_teardown(too_long_an_instruction_on_its_own, fixture_create, fixture_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
