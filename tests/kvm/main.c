/*
 * Drives /dev/kvm with small guests and checks what it sees: a line "ok NAME: what" or "FAIL NAME: what" for each
 * check, and "N passed, M failed" at the end. With arguments, only the tests of these names run.
 *
 * Each test is a process of its own, so that a machine that hangs or a KVM call that fails ends that test alone.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm.h"

enum { SECONDS = 20 }; /* of the machine's time, for one test */

static const struct test {
	const char *name;
	void (*run)(void);
} tests[] = {
	{"real_mode", test_real_mode},
	{"climb", test_climb},
	{"protected", test_protected},
	{"paged", test_paged},
	{"pae", test_pae},
	{"long", test_long},
	{"user", test_user},
	{"interrupts", test_interrupts},
	{"nmi", test_nmi},
	{"irqchip", test_irqchip},
	{"x2apic", test_x2apic},
	{"smi", test_smi},
	{"two_vcpus", test_two_vcpus},
	{"sipi", test_sipi},
	{"mp_state", test_mp_state},
	{"dirty_log", test_dirty_log},
	{"slots", test_slots},
	{"single_step", test_single_step},
	{"breakpoints", test_breakpoints},
	{"own_debug", test_own_debug},
	{"shutdown", test_shutdown},
	{"state", test_state},
	{"time", test_time},
	{"kick", test_kick},
	{"nested", test_nested},
};

static struct counts {
	unsigned passed, failed;
} * counts; /* shared by the processes */

static const char *current;

static void say(bool good, const char *format, va_list arguments)
{
	char text[300];

	vsnprintf(text, sizeof(text), format, arguments);
	__atomic_add_fetch(good ? &counts->passed : &counts->failed, 1, __ATOMIC_SEQ_CST);
	printf("%s %s: %s\n", good ? "ok" : "FAIL", current, text);
	fflush(stdout);
}

void check(bool good, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(good, format, arguments);
	va_end(arguments);
}

void same(uint64_t found, uint64_t expected, const char *what)
{
	if (found == expected)
		check(true, "%s", what);
	else
		check(false, "%s is %#llx, not %#llx", what, (unsigned long long)found, (unsigned long long)expected);
}

void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(false, format, arguments);
	va_end(arguments);
	_exit(0);
}

/* Time is up: KVM_RUN ends, which is not what the test waits for, and it says where the guest is. The next time is the
 * last. */
static void late(int number)
{
	signal(number, SIG_DFL);
	alarm(5);
}

static void run_test(const struct test *test)
{
	unsigned before = counts->passed + counts->failed;
	int status = 0;
	pid_t child;

	current = test->name;
	child = fork();
	if (child == 0) {
		sigaction(SIGALRM, &(struct sigaction){.sa_handler = late}, NULL);
		alarm(SECONDS);
		test->run();
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		check(false, "cannot run");
	else if (WIFSIGNALED(status))
		check(false, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (before == counts->passed + counts->failed)
		check(false, "checked nothing");
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int n = 1; n < argc; n++)
		if (!strcmp(argv[n], name))
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED) {
		perror("kvm_guest");
		return 2;
	}
	if (argc == 2 && !strcmp(argv[1], "-demo")) {
		current = "demo";
		demo();
		return counts->failed != 0;
	}
	for (size_t n = 0; n < sizeof(tests) / sizeof(tests[0]); n++)
		if (wanted(tests[n].name, argc, argv))
			run_test(&tests[n]);
	printf("%u passed, %u failed\n", counts->passed, counts->failed);
	return counts->failed || !counts->passed;
}
