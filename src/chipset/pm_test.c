/* ACPI block, APM and TCO against the ICH9 datasheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/bits.h"
#include "chipset/pm.h"

#define BASE 0x600
enum {
	PM1_STS = BASE,
	PM1_EN = BASE + 2,
	PM1_CNT = BASE + 4,
	PM_TMR = BASE + 8,
	GPE0_STS = BASE + 0x20,
	SMI_EN = BASE + 0x30,
	SMI_STS = BASE + 0x34,
	TCO_RLD = BASE + 0x60,
	TCO1_STS = BASE + 0x64,
	TCO2_STS = BASE + 0x66,
	TCO1_CNT = BASE + 0x68,
	TCO_TMR = BASE + 0x72
};

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct pm *pm;
	bool sci;
	unsigned smis, requests;
	enum machine_request last;
};

static void sci(void *listener, unsigned line, bool level)
{
	((struct fixture *)listener)->sci = level;
}

static void smi(void *ctx)
{
	((struct fixture *)ctx)->smis++;
}

static void request(void *ctx, enum machine_request what)
{
	struct fixture *f = ctx;

	f->requests++;
	f->last = what;
}

static void run(struct fixture *f, vtime_t ns)
{
	vtime_t to = clock_now(f->clock) + ns, next;

	while ((next = clock_next(f->clock)) <= to) {
		clock_advance_to(f->clock, next);
		clock_fire_due(f->clock);
	}
	clock_advance_to(f->clock, to);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pm_wires wires = {{sci, f, 0}, smi, f, {request, f}};

	f->bus = bus_create(&quiet);
	f->clock = clock_create();
	f->pm = pm_create(f->bus, f->clock, &wires, &quiet);
	pm_set_base(f->pm, true, BASE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pm_destroy(f->pm);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static void base(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_in(f->bus, PM1_CNT, 2), 0);
	pm_set_base(f->pm, true, 0xb000);
	assert_int_equal(bus_in(f->bus, PM1_CNT, 2), 0xffff);
	assert_int_equal(bus_in(f->bus, 0xb004, 2), 0);
	pm_set_base(f->pm, false, 0xb000);
	assert_int_equal(bus_in(f->bus, 0xb004, 2), 0xffff);
}

static void timer(void **state)
{
	struct fixture *f = *state;

	run(f, NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, PM_TMR, 4), 3579545);
	run(f, 4 * NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, PM_TMR, 4), 5 * 3579545 - (1 << 24)); /* 24 bits */
	bus_out(f->bus, PM_TMR, 4, 0);
	assert_int_equal(bus_in(f->bus, PM_TMR, 4), 5 * 3579545 - (1 << 24));
}

static void timer_overflow(void **state)
{
	struct fixture *f = *state;

	run(f, 2 * NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, PM1_STS, 2), 0);
	run(f, NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, PM1_STS, 2), 1); /* bit 23 changed at 2.34 s */
	bus_out(f->bus, PM1_STS, 2, 1);
	assert_int_equal(bus_in(f->bus, PM1_STS, 2), 0);
	bus_out(f->bus, PM1_EN, 2, 0xffff);
	assert_int_equal(bus_in(f->bus, PM1_EN, 2), 0x4521);
	run(f, 2 * NS_PER_SECOND);
	assert_false(f->sci); /* SCI_EN is 0 */
	bus_out(f->bus, PM1_CNT, 2, 1);
	assert_true(f->sci);
	bus_out(f->bus, PM1_STS, 2, 1);
	assert_false(f->sci);
	run(f, 3 * NS_PER_SECOND);
	assert_true(f->sci);
}

static void power_button(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, PM1_CNT, 2, 1);
	pm_power_button(f->pm);
	assert_false(f->sci);
	bus_out(f->bus, PM1_EN, 2, 0x100);
	assert_true(f->sci);
	bus_out(f->bus, PM1_STS + 1, 1, 1); /* by bytes */
	assert_false(f->sci);
}

static void soft_off(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, PM1_CNT, 2, 1 << 10 | 1 << 13);
	assert_int_equal(f->requests, 0);		       /* no S3 here */
	assert_int_equal(bus_in(f->bus, PM1_CNT, 2), 1 << 10); /* SLP_EN is write-only */
	bus_out(f->bus, PM1_CNT, 2, 1 << 13);
	assert_int_equal(f->requests, 1);
	assert_int_equal(f->last, REQUEST_POWER_OFF);
	bus_out(f->bus, PM1_CNT, 2, 7 << 10 | 1 << 13);
	assert_int_equal(f->requests, 2);
}

static void smis(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, 0xb3, 1, 0x5a);
	bus_out(f->bus, 0xb2, 1, 0x77);
	assert_int_equal(bus_in(f->bus, 0xb2, 1), 0x77);
	assert_int_equal(bus_in(f->bus, 0xb3, 1), 0x5a);
	assert_int_equal(f->smis, 0);
	bus_out(f->bus, SMI_STS, 4, 0xffffffff);
	bus_out(f->bus, SMI_EN, 4, 0x20);
	bus_out(f->bus, 0xb2, 1, 0x77);
	assert_int_equal(f->smis, 0); /* GBL_SMI_EN */
	bus_out(f->bus, SMI_EN, 4, 0x21);
	bus_out(f->bus, 0xb2, 1, 0x77);
	assert_int_equal(f->smis, 1);
	assert_int_equal(bus_in(f->bus, SMI_STS, 4), 0x20);
	bus_out(f->bus, SMI_STS, 4, 0x20);
	assert_int_equal(bus_in(f->bus, SMI_STS, 4), 0);
	/* Locked: GBL_SMI_EN stays as it is. */
	pm_set_smi_lock(f->pm, true);
	bus_out(f->bus, SMI_EN, 4, 0x20);
	assert_int_equal(bus_in(f->bus, SMI_EN, 4), 0x21);
	pm_set_smi_lock(f->pm, false);
	bus_out(f->bus, SMI_EN, 4, 0x20);
	pm_set_smi_lock(f->pm, true);
	bus_out(f->bus, SMI_EN, 4, 0x21);
	assert_int_equal(bus_in(f->bus, SMI_EN, 4), 0x20);
	pm_set_smi_lock(f->pm, false);
	bus_out(f->bus, SMI_EN, 4, 0x21);
	pm_set_smi_lock(f->pm, true);
	bus_out(f->bus, SMI_EN, 4, 0);
	assert_int_equal(bus_in(f->bus, SMI_EN, 4), 1);
	/* ACPI enable and disable. */
	bus_out(f->bus, 0xb2, 1, 2);
	assert_int_equal(bus_in(f->bus, PM1_CNT, 2), 1);
	bus_out(f->bus, 0xb2, 1, 3);
	assert_int_equal(bus_in(f->bus, PM1_CNT, 2), 0);
	/* Sleeping can be the handler's decision. */
	bus_out(f->bus, SMI_EN, 4, 0x11);
	bus_out(f->bus, PM1_CNT, 2, 1 << 13);
	assert_int_equal(f->smis, 2);
	assert_int_equal(f->requests, 0);
}

/* A board whose SMI# goes nowhere says so by an APMC_EN that is set already. */
static void without_smm(void **state)
{
	struct fixture *f = *state;
	struct pm_wires wires = {.sci = {sci, f, 0}};
	struct pm *pm = pm_create(f->bus, f->clock, &wires, &quiet);

	pm_set_base(pm, true, 0x700);
	assert_int_equal(bus_in(f->bus, 0x730, 4), 0x20);
	assert_int_equal(bus_in(f->bus, SMI_EN, 4), 0);
	pm_destroy(pm);
	f->requests = 0;
}

static void watchdog(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, SMI_EN, 4, 0x2001);
	bus_out(f->bus, TCO_TMR, 2, 10);
	bus_out(f->bus, TCO1_CNT, 2, 0); /* not halted */
	bus_out(f->bus, TCO_RLD, 2, 1);
	run(f, 3 * NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, TCO_RLD, 2), 5);
	run(f, 2999999999);
	assert_int_equal(bus_in(f->bus, TCO1_STS, 2), 0);
	run(f, 1);
	assert_int_equal(bus_in(f->bus, TCO1_STS, 2), 8);
	assert_int_equal(f->smis, 1);
	run(f, 5 * NS_PER_SECOND);
	bus_out(f->bus, TCO_RLD, 2, 1);
	run(f, 5 * NS_PER_SECOND);
	assert_int_equal(f->requests, 0);
	run(f, NS_PER_SECOND);
	assert_int_equal(bus_in(f->bus, TCO2_STS, 2), 2);
	assert_int_equal(f->requests, 1);
	assert_int_equal(f->last, REQUEST_RESET);
	pm_set_no_reboot(f->pm, true);
	run(f, 20 * NS_PER_SECOND);
	assert_int_equal(f->requests, 1);
	bus_out(f->bus, TCO1_CNT, 2, 0x800); /* halted */
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	bus_out(f->bus, TCO_TMR, 2, 0); /* no period at all */
	bus_out(f->bus, TCO_RLD, 2, 1);
	assert_int_equal(bus_in(f->bus, TCO_RLD, 2), 2);
	pm_reset(f->pm);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
}

static void every_offset(void **state)
{
	struct fixture *f = *state;

	for (unsigned size = 1; size <= 4; size *= 2) {
		for (unsigned offset = 0; offset < 128; offset++) {
			bus_out(f->bus, (uint16_t)(BASE + offset), size, 0xffffffff);
			bus_in(f->bus, (uint16_t)(BASE + offset), size);
		}
	}
	assert_int_equal(bus_in(f->bus, GPE0_STS, 4), 0);
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	bus_out(f->bus, PM1_EN, 2, 1);
	bus_out(f->bus, PM1_CNT, 2, 1);
	pm_state(f->pm, save);
	data = state_data(save, &size);
	pm_reset(f->pm);
	restore = state_restore(data, size);
	pm_state(f->pm, restore);
	assert_false(state_failed(restore));
	run(f, 3 * NS_PER_SECOND);
	assert_true(f->sci);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(base), TEST(timer),       TEST(timer_overflow), TEST(power_button), TEST(soft_off),
		TEST(smis), TEST(without_smm), TEST(watchdog),	     TEST(every_offset), TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
