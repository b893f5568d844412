/* Statistics of VM exits: counts, times until the next entry, several VMCSs, and both ways of printing. */
#include "debug/exit_stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/error.h"
#include "clock/clock.h"

struct rig {
	struct cpu *cpu;
	struct exit_stats *stats;
};

static int create(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));

	r->cpu = aligned_alloc(64, (sizeof(*r->cpu) + 63) / 64 * 64);
	memset(r->cpu, 0, sizeof(*r->cpu));
	r->cpu->vmx = xcalloc(1, sizeof(*r->cpu->vmx));
	r->cpu->clock = clock_create();
	r->stats = exit_stats_create();
	*state = r;
	return 0;
}

static int destroy(void **state)
{
	struct rig *r = *state;

	exit_stats_destroy(r->stats);
	clock_destroy(r->cpu->clock);
	free(r->cpu->vmx);
	free(r->cpu);
	free(r);
	return 0;
}

static void after(struct rig *r, vtime_t time)
{
	clock_advance_to(r->cpu->clock, clock_now(r->cpu->clock) + time);
}

static void enter(struct rig *r, pa_t vmcs)
{
	r->cpu->vmx->current = vmcs;
	exit_stats_entered(r->stats, r->cpu);
}

static void leave(struct rig *r, uint32_t reason)
{
	r->cpu->vmx->exit.reason = reason;
	exit_stats_exits(r->stats, r->cpu);
}

static char *print(struct rig *r, void (*how)(const struct exit_stats *, FILE *))
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	how(r->stats, to);
	fclose(to);
	return text;
}

static void run(struct rig *r)
{
	enter(r, 0x1000);
	after(r, 500);
	leave(r, VMX_EXIT_CPUID);
	after(r, 100);
	enter(r, 0x1000);
	leave(r, VMX_EXIT_HLT);
	after(r, 1000);
	enter(r, 0x2000); /* another guest, while the first waits */
	after(r, 50);
	leave(r, VMX_EXIT_VMCALL);
	after(r, 700);
	enter(r, 0x1000);
	after(r, 7);
	leave(r, VMX_EXIT_CPUID);
	after(r, 300);
	enter(r, 0x1000);
	leave(r, VMX_EXIT_CPUID); /* no entry follows: counted, but it has no time */
}

static void counts_and_times(void **state)
{
	struct rig *r = *state;
	char *text;

	run(r);
	text = print(r, exit_stats_print);
	assert_non_null(
		strstr(text, "VM exits of VMCS 0x1000: 4 entries, 4 exits, 0.51us in the guest, 2.15us between\n"));
	assert_non_null(strstr(text, " CPUID          3    75.00%    18.60%       0.10us       0.30us       0.20us\n"));
	assert_non_null(strstr(text, " HLT          1    25.00%    81.40%       1.75us       1.75us       1.75us\n"));
	assert_true(strstr(text, " CPUID ") < strstr(text, " HLT "));
	assert_non_null(
		strstr(text, "VM exits of VMCS 0x2000: 1 entries, 1 exits, 0.05us in the guest, 0.00us between\n"));
	free(text);
}

static void json(void **state)
{
	struct rig *r = *state;
	char *text;

	run(r);
	text = print(r, exit_stats_print_json);
	assert_non_null(strstr(
		text, "{\"vmcs\": \"0x1000\", \"entries\": 4, \"exits\": 4, \"guest_ns\": 507, \"root_ns\": 2150, "));
	assert_non_null(strstr(text, "{\"reason\": 10, \"name\": \"CPUID\", \"count\": 3, \"share\": 0.750000, "
				     "\"time_ns\": 400, \"time_share\": 0.186047, \"min_ns\": 100, \"max_ns\": 300, "
				     "\"avg_ns\": 200.0}"));
	free(text);
}

/* More VMCSs than are kept apart, and reasons that do not exist. */
static void hostile(void **state)
{
	struct rig *r = *state;
	char *text;

	for (unsigned i = 0; i < 3000; i++) {
		enter(r, (pa_t)i << 12);
		leave(r, i % 2 ? 0xffff : VMX_EXIT_PAUSE);
	}
	text = print(r, exit_stats_print);
	assert_non_null(strstr(text, "VM exits of all other VMCSs: 1977 entries, "));
	free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(counts_and_times), TEST(json), TEST(hostile)};

	return cmocka_run_group_tests_name("debug/exit_stats", tests, NULL, NULL);
}
