/*
 * The turn loop: vCPUs in turns of a fixed number of instructions, deadlines at exact instructions, and the outside
 * world between turns.
 *
 * Virtual time is the sum of what all vCPUs retire, so a run depends on nothing but the machine and its input. A vCPU's
 * turn is cut where the next deadline falls, or where a performance counter overflows that interrupts then. When all
 * vCPUs wait, time jumps to the next deadline; if somebody could type meanwhile, the host sleeps for as long first, so
 * that a guest's second is not over in a millisecond. The outside world is polled after a fixed number of turns, never
 * by host time.
 */
#include "machine/parts.h"

#include <assert.h>
#include <poll.h>
#include <time.h>

#include "exec/pmu.h"
#include "exec/run.h"
#include "exec/system.h"
#include "machine/machine.h"

enum {
	TURN = 20000,	    /* instructions; short enough that a vCPU that waits for another one does not wait long */
	SERVICE_TURNS = 50, /* turns between looks at the outside world */
};

/* How far virtual time may be behind the host's and still catch up by not sleeping. */
#define PACE_CREDIT (NS_PER_SECOND / 10)
/* Sleeping for less costs more than it is worth. */
#define PACE_LEAST UINT64_C(50000)

static vtime_t host_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (vtime_t)now.tv_sec * NS_PER_SECOND + (vtime_t)now.tv_nsec;
}

/* clock_ops: what the running vCPU has retired of its turn. */
vtime_t run_clock_elapsed(void *ctx)
{
	const struct machine *m = ctx;

	return m->running ? run_elapsed(m->running) << m->icount_shift : 0;
}

void run_clock_sooner(void *ctx)
{
	struct machine *m = ctx;

	if (m->running)
		cpu_attend(m->running, ATTEND_DEADLINE);
}

/* Leave the instruction stream, so that the loop sees what was asked for. */
static void interrupt_turn(struct machine *m)
{
	if (m->running)
		cpu_attend(m->running, ATTEND_STOP);
}

void machine_end(struct machine *m, int status)
{
	if (m->ended)
		return;
	m->ended = true;
	m->status = status;
	interrupt_turn(m);
}

void machine_request_reset(struct machine *m)
{
	m->reset_wanted = true;
	interrupt_turn(m);
}

void machine_request_power_off(struct machine *m)
{
	if (m->no_shutdown)
		run_stop(m, STOP_POWERED_OFF, 0);
	else
		machine_end(m, 0);
}

void run_stop(struct machine *m, enum machine_stop why, unsigned cpu)
{
	if (m->stopped != STOP_NONE)
		return;
	m->stopped = why;
	m->stopped_cpu = cpu;
	m->stop_unsaid = true;
	interrupt_turn(m);
}

void machine_pause(struct machine *m)
{
	run_stop(m, STOP_ASKED, 0);
}

void machine_resume(struct machine *m)
{
	/* A machine that has powered off or shut down has nothing to go on with until it is reset. */
	if (m->stopped == STOP_POWERED_OFF || m->stopped == STOP_SHUTDOWN)
		return;
	m->stopped = STOP_NONE;
	interp_resume(m->interp);
}

void machine_step(struct machine *m, unsigned cpu)
{
	machine_resume(m);
	m->stepping = m->stopped == STOP_NONE ? machine_cpu(m, cpu) : NULL;
}

enum machine_stop machine_stopped(const struct machine *m)
{
	return m->stopped;
}

unsigned machine_stopped_cpu(const struct machine *m)
{
	return m->stopped_cpu;
}

void machine_on_stop(struct machine *m, void (*stopped)(void *ctx), void *ctx)
{
	m->on_stop = stopped;
	m->on_stop_ctx = ctx;
}

int machine_status(const struct machine *m)
{
	return m->status;
}

const char *machine_failure(const struct machine *m)
{
	return m->failure.text[0] ? m->failure.text : NULL;
}

void machine_watch(struct machine *m, int fd, void (*ready)(void *ctx), void *ctx)
{
	assert(m->watches < MACHINE_WATCHES);
	m->watch[m->watches++] = (struct watch){.fd = fd, .ready = ready, .ctx = ctx};
}

/* Everything a sleeping machine waits for; watches first. Returns how many; *input: somebody could still type. */
static unsigned gather(struct machine *m, struct pollfd *fds, bool *input)
{
	unsigned count = 0;

	*input = false;
	for (unsigned i = 0; i < m->watches; i++)
		fds[count++] = (struct pollfd){.fd = m->watch[i].fd, .events = POLLIN};
	for (unsigned i = 0; i < m->chardevs; i++) {
		unsigned first = count;

		count += chardev_poll_fds(m->chardev[i], fds + count);
		for (; first < count; first++)
			*input |= (fds[first].events & POLLIN) != 0;
	}
	return count;
}

/* Let the outside world in; wait for it for at most `wait` ns first (VTIME_NEVER: for as long as it takes). */
static void service(struct machine *m, vtime_t wait)
{
	struct pollfd fds[MACHINE_WATCHES + 2 * MACHINE_CHARDEVS];
	struct timespec time = {.tv_sec = (time_t)(wait / NS_PER_SECOND), .tv_nsec = (long)(wait % NS_PER_SECOND)};
	bool input;
	unsigned count = gather(m, fds, &input);

	m->turns_to_service = SERVICE_TURNS;
	if (wait && count == 0 && wait == VTIME_NEVER) {
		/* Nothing can ever happen again. */
		machine_end(m, 0);
		return;
	}
	if (ppoll(fds, count, wait == VTIME_NEVER ? NULL : &time, NULL) > 0) {
		for (unsigned i = 0; i < m->watches; i++) {
			if (fds[i].revents)
				m->watch[i].ready(m->watch[i].ctx);
		}
	}
	for (unsigned i = 0; i < m->chardevs; i++)
		chardev_poll(m->chardev[i]);
}

/* Wakes a vCPU that waits, when its pins or its monitored line say so. */
static bool is_ready(struct cpu *cpu)
{
	if (likely(cpu->activity == ACTIVITY_ACTIVE))
		return true;
	if (cpu->activity == ACTIVITY_MWAIT && exec_mwait_ended(cpu))
		return true;
	if (cpu->activity != ACTIVITY_ACTIVE && cpu->attention & ATTEND_PINS)
		exec_attend(cpu);
	return cpu->activity == ACTIVITY_ACTIVE;
}

static void run_some(struct machine *m, struct cpu *cpu, uint64_t instructions)
{
	uint64_t used;

	cpu->budget = cpu->turn = (int64_t)instructions;
	cpu->idle = 0; /* what woke it passed outside any turn */
	m->running = cpu;
	interp_run(m->interp, cpu);
	m->running = NULL;
	used = (uint64_t)(cpu->turn - cpu->budget);
	cpu->retired += used - cpu->idle;
	cpu->cycles += used;
	cpu->turn = cpu->budget = 0;
	cpu->idle = 0;
	clock_advance_to(m->clock, clock_now(m->clock) + (used << m->icount_shift));
	if (unlikely(cpu->pmu.active))
		pmu_settle(cpu);
}

/* The loop has to look at something else before the vCPU goes on. */
static bool is_interrupted(const struct machine *m)
{
	return m->ended || m->reset_wanted || m->stopped != STOP_NONE || m->time_is_up;
}

/*
 * The rest of one vCPU's turn, which ends at m->turn_end. False: interrupted, the turn goes on later; so a pause
 * changes nothing in the order in which vCPUs run.
 */
static bool run_turn(struct machine *m, struct cpu *cpu)
{
	for (;;) {
		vtime_t now = clock_now(m->clock), next, until;
		uint64_t ticks;
		uint32_t why;

		clock_fire_due(m->clock);
		next = clock_next(m->clock);
		if (is_interrupted(m))
			return false;
		if (now >= m->turn_end || !is_ready(cpu))
			return true;
		until = min_u64(m->turn_end, max_u64(next, now + 1)) - now;
		ticks = ((until - 1) >> m->icount_shift) + 1; /* the instruction in which that falls is the last */
		run_some(m, cpu, unlikely(cpu->pmu.active) ? min_u64(ticks, pmu_ticks_left(cpu)) : ticks);
		why = cpu->attention;
		cpu->attention &= ~(uint32_t)(ATTEND_STOP | ATTEND_DEADLINE | ATTEND_YIELD);
		if (why & ATTEND_STOP && !is_interrupted(m))
			run_stop(m, STOP_BREAKPOINT, cpu->number);
		else if (why & ATTEND_YIELD)
			return true;
	}
}

static void run_step(struct machine *m)
{
	struct cpu *cpu = m->stepping;

	m->stepping = NULL;
	if (is_ready(cpu)) {
		run_some(m, cpu, 1);
		cpu->attention &= ~(uint32_t)(ATTEND_STOP | ATTEND_DEADLINE | ATTEND_YIELD);
		clock_fire_due(m->clock);
	}
	run_stop(m, STOP_STEPPED, cpu->number);
}

/* Could an interrupt still wake somebody, so that it is worth hurrying to the next deadline? */
static bool is_dead(const struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		const struct cpu *cpu = &m->cpu[i];

		if (cpu->nonroot || cpu->activity == ACTIVITY_MWAIT ||
		    (cpu->activity == ACTIVITY_HLT && cpu->rflags & RFLAGS_IF))
			return false;
	}
	return true;
}

/* All vCPUs wait: sleep if the host's time is to pass, then go to the next deadline, or to when the sleep was cut
 * short. */
static void run_idle_time(struct machine *m)
{
	struct pollfd fds[MACHINE_WATCHES + 2 * MACHINE_CHARDEVS];
	vtime_t now = clock_now(m->clock), next = clock_next(m->clock), host, lead;
	bool input;

	if (next == VTIME_NEVER) {
		service(m, VTIME_NEVER);
		return;
	}
	gather(m, fds, &input);
	if (m->never_wait || !(input || m->follow_host || is_dead(m))) {
		clock_advance_to(m->clock, next);
		clock_fire_due(m->clock);
		m->turns_to_service--;
		return;
	}
	/* pace_* is a moment at which both clocks agreed. */
	host = host_time();
	if (host - m->pace_host > now - m->pace_virtual + PACE_CREDIT && !m->follow_host) {
		m->pace_host = host - PACE_CREDIT;
		m->pace_virtual = now;
	}
	lead = next - m->pace_virtual > host - m->pace_host ? (next - m->pace_virtual) - (host - m->pace_host) : 0;
	if (lead < PACE_LEAST) {
		clock_advance_to(m->clock, next);
		m->turns_to_service--;
	} else {
		service(m, lead);
		/* Time that passed here passes in the machine, but never beyond the deadline. */
		clock_advance_to(m->clock, now + min_u64(next - now, host_time() - host));
	}
	clock_fire_due(m->clock);
}

static void fire_pause(void *ctx)
{
	struct machine *m = ctx;

	m->time_is_up = true;
	interrupt_turn(m);
}

/* One round: everybody's turn. */
static void run_round(struct machine *m)
{
	bool somebody = false;

	for (unsigned i = 0; i < m->cpus; i++) {
		struct cpu *cpu = &m->cpu[m->turn_cpu];

		if (is_ready(cpu)) {
			somebody = true;
			m->turns_to_service--;
			if (!m->turn_end)
				m->turn_end = clock_now(m->clock) + ((vtime_t)TURN << m->icount_shift);
			if (!run_turn(m, cpu))
				return;
		}
		m->turn_end = 0;
		m->turn_cpu = (m->turn_cpu + 1) % m->cpus;
	}
	if (!somebody)
		run_idle_time(m);
}

bool machine_run(struct machine *m, vtime_t time)
{
	struct deadline limit;

	deadline_init(&limit, fire_pause, m);
	if (time != VTIME_NEVER)
		clock_arm_outside(m->clock, &limit, clock_now(m->clock) + time);
	m->time_is_up = false;
	m->pace_host = host_time();
	m->pace_virtual = clock_now(m->clock);
	m->turns_to_service = 0;
	while (!m->ended && !m->time_is_up) {
		if (m->stop_unsaid) {
			m->stop_unsaid = false;
			if (m->on_stop)
				m->on_stop(m->on_stop_ctx);
		}
		if (m->reset_wanted)
			run_reset(m);
		else if (m->stopped != STOP_NONE)
			service(m, VTIME_NEVER);
		else if (m->stepping)
			run_step(m);
		else if (m->turns_to_service <= 0)
			service(m, 0);
		else
			run_round(m);
	}
	clock_cancel(m->clock, &limit);
	for (unsigned i = 0; i < m->chardevs; i++)
		chardev_poll(m->chardev[i]);
	return m->ended;
}
