/*
 * Snapshots in the middle of virtual machines: snapshots IMAGE...
 *
 * Each image runs three times: to its end; with pauses after VM entries of every kind, where the whole state is saved;
 * and on from each of these. All ends must have the same digest, and so must each state and what a restore made of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec/host.h"
#include "machine/parts.h"
#include "vmx/interruption.h"
#include "vmx/report.h"

enum { SAVES = 24, OF_A_KIND = 2, LONGEST = 12 };

/* Now, or for the first instruction. */
#define BLOCKING ((SHADOW_STI | SHADOW_MOV_SS) * (1 + BIT(SHADOW_NEXT)))

/* What a guest was entered with. */
#define KINDS(KIND)                                                                                        \
	KIND(EPT, "EPT", cpu->eptp)                                                                        \
	KIND(VPID, "VPID", cpu->vpid)                                                                      \
	KIND(APIC, "a virtual APIC", cpu->vapic_controls)                                                  \
	KIND(INTERRUPT, "a virtual interrupt", vmcs_get(v, GUEST_INTERRUPT_STATUS))                        \
	KIND(TIMER, "the preemption timer", cpu->vmx->timer_end != VTIME_NEVER)                            \
	KIND(MTF, "the monitor trap flag", vmx_proc(cpu->vmx, MONITOR_TRAP_FLAG) || cpu->vmx->mtf_pending) \
	KIND(INJECTION, "an injected event", vmcs_get(v, VM_ENTRY_INTERRUPTION_INFO) & INTERRUPTION_VALID) \
	KIND(DEBUG, "a pending debug exception", cpu->pending_debug)                                       \
	KIND(NMI, "virtual NMIs blocked", cpu->vmx->virtual_nmi_blocked)                                   \
	KIND(SHADOW, "blocking by STI or MOV SS", cpu->shadow &BLOCKING)                                   \
	KIND(ACTIVITY, "an inactive guest", cpu->activity != ACTIVITY_ACTIVE)                              \
	KIND(PML, "page-modification logging", cpu->ept_controls &EPT_PML)                                 \
	KIND(LINK, "a shadow VMCS", vmx_proc2(cpu->vmx, VMCS_SHADOWING))                                   \
	KIND(MONITOR, "two SMM monitors", cpu->vmx->dual_monitor)                                          \
	KIND(ROOT, "a return from SMM to root operation", !cpu->nonroot)

enum kind {
#define KIND(name, words, condition) KIND_##name,
	KINDS(KIND)
#undef KIND
		KIND_COUNT
};
static const char *const kind_words[KIND_COUNT] = {
#define KIND(name, words, condition) words,
	KINDS(KIND)
#undef KIND
};

struct saved {
	struct state *state;
	char digest[33];
	vtime_t time;
};

struct watch_entries {
	struct vmx_reporter reporter;
	struct machine *machine;
	bool chosen;
	unsigned entries, sets;
	struct {
		uint32_t kinds;
		unsigned seen;
	} set[256];
	uint32_t kinds; /* of the entry that was chosen */
};

static void fail(const char *image, const char *what)
{
	printf("FAIL %s: %s\n", image, what);
	printf("0 passed, 1 failed\n");
	exit(1);
}

static uint32_t kinds_of(const struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint32_t kinds = 0;

#define KIND(name, words, condition) kinds |= (condition) ? BIT(KIND_##name) : 0;
	KINDS(KIND)
#undef KIND
	return kinds;
}

/* Pause at the first entries of each combination. */
static void on_entered(void *ctx, struct cpu *cpu, bool launch)
{
	struct watch_entries *watch = ctx;
	uint32_t kinds = kinds_of(cpu);
	unsigned i;

	watch->entries++;
	for (i = 0; i < watch->sets && watch->set[i].kinds != kinds; i++)
		;
	if (i == ARRAY_SIZE(watch->set))
		return;
	watch->sets = i == watch->sets ? i + 1 : watch->sets;
	watch->set[i].kinds = kinds;
	if (watch->set[i].seen++ >= OF_A_KIND)
		return;
	watch->kinds = kinds;
	watch->chosen = true;
	watch->machine->time_is_up = true;
	cpu_attend(cpu, ATTEND_STOP);
}

static void ignore_instruction(void *ctx, struct cpu *cpu, const struct vmx_instruction *what)
{
}

static void ignore_failure(void *ctx, struct cpu *cpu, const struct vmx_failed_entry *what)
{
}

static void ignore(void *ctx, struct cpu *cpu)
{
}

static void ignore_abort(void *ctx, struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
}

static void ignore_triple_fault(void *ctx, struct cpu *cpu, const struct fault_chain *chain)
{
}

static struct machine *create(const char *image)
{
	struct machine_config config = {.ram_size = UINT64_C(256) << 20,
					.cpus = 2,
					.hpet = true,
					.pit = true,
					.i8042 = true,
					.vga = true,
					.smm = true,
					.never_wait = true,
					.no_reboot = true,
					.kernel = image,
					.chardevs = 1,
					.chardev_id = {"null"},
					.device = {"isa-debug-exit,iobase=0xf4,iosize=0x4"},
					.devices = 1};
	struct error error, warning;
	struct machine *m;

	if (!cpu_model_parse("max", host_has_feature, &config.model, &warning, &error) ||
	    !(config.chardev[0] = chardev_create("null", &error)))
		fail(image, error.text);
	vmx_capability_init(&config.vmx, &config.model, NULL, &warning);
	for (unsigned i = 0; i < MACHINE_SERIALS; i++)
		config.serial[i] = config.chardev[0];
	config.debugcon = config.chardev[0];
	m = machine_create(&config, &error);
	if (!m)
		fail(image, error.text);
	return m;
}

static void destroy(struct machine *m)
{
	struct chardev *chardev = m->chardev[0];

	machine_destroy(m);
	chardev_destroy(chardev);
}

static void run_to_end(struct machine *m, const char *image, char digest[33])
{
	if (!machine_run(m, LONGEST * NS_PER_SECOND))
		fail(image, "it does not end");
	machine_digest(m, digest);
}

static unsigned run_with_saves(const char *image, struct saved saved[SAVES], const char *end,
			       unsigned saved_kinds[KIND_COUNT])
{
	struct watch_entries watch = {
		.machine = create(image),
		.reporter = {.ctx = &watch,
			     .transitions = true,
			     .instruction = ignore_instruction,
			     .entry_failed = ignore_failure,
			     .entered = on_entered,
			     .exits = ignore,
			     .aborts = ignore_abort,
			     .vmcs_leaves = ignore,
			     .triple_fault = ignore_triple_fault},
	};
	struct machine *m = watch.machine;
	char digest[33];
	unsigned count = 0;

	for (unsigned i = 0; i < m->cpus; i++)
		m->cpu[i].reporter = &watch.reporter;
	while (!machine_run(m, LONGEST * NS_PER_SECOND)) {
		if (!watch.chosen)
			fail(image, "it does not end");
		watch.chosen = false;
		if (count == SAVES)
			continue;
		/* Here, or some instructions later. */
		if (watch.entries % 3 && machine_run(m, watch.entries % 7 + 1))
			break;
		saved[count].state = state_save();
		machine_state(m, saved[count].state);
		saved[count].time = clock_now(m->clock);
		machine_digest(m, saved[count].digest);
		for (unsigned kind = 0; kind < KIND_COUNT; kind++)
			saved_kinds[kind] += watch.kinds >> kind & 1;
		count++;
	}
	machine_digest(m, digest);
	if (strcmp(digest, end) != 0)
		fail(image, "pauses changed the end");
	destroy(m);
	return count;
}

static void restore(struct machine *m, const char *image, const struct saved *saved)
{
	size_t size;
	const void *bytes = state_data(saved->state, &size);
	struct state *state = state_restore(bytes, size);
	char digest[33];

	machine_state(m, state);
	if (state_failed(state))
		fail(image, state_why(state));
	state_free(state);
	for (unsigned i = 0; i < m->cpus; i++) {
		mem_flush_all(&m->cpu[i]);
		machine_cpu_changed(m, i);
	}
	m->ended = m->reset_wanted = false;
	machine_digest(m, digest);
	if (strcmp(digest, saved->digest) != 0)
		fail(image, "a restore made another state");
}

static void test(const char *image, unsigned saved_kinds[KIND_COUNT])
{
	struct machine *m = create(image);
	struct saved saved[SAVES];
	char end[33], digest[33];
	unsigned count;

	run_to_end(m, image, end);
	count = run_with_saves(image, saved, end, saved_kinds);
	for (unsigned i = 0; i < count; i++) {
		restore(m, image, &saved[i]);
		run_to_end(m, image, digest);
		if (strcmp(digest, end) != 0) {
			printf("from %llu ns on, save %u of %u\n", (unsigned long long)saved[i].time, i, count);
			fail(image, "it ends in another way when it goes on from a snapshot");
		}
		state_free(saved[i].state);
	}
	destroy(m);
	printf("ok %s: %u snapshots\n", strrchr(image, '/') ? strrchr(image, '/') + 1 : image, count);
}

int main(int argc, char **argv)
{
	unsigned saved_kinds[KIND_COUNT] = {0}, failed = 0;

	for (int i = 1; i < argc; i++)
		test(argv[i], saved_kinds);
	for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
		printf("%s with %s: %u\n", saved_kinds[kind] ? "ok" : "FAIL", kind_words[kind], saved_kinds[kind]);
		failed += !saved_kinds[kind];
	}
	printf("%u passed, %u failed\n", (unsigned)argc - 1 + KIND_COUNT - failed, failed);
	return failed || argc < 2;
}
