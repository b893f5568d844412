/*
 * The loop of engine 1: attention, finding the block at RIP, running it; and the cold ends of handlers.
 */
#include "base/error.h"
#include "bus/bus.h"
#include "exec/host.h"
#include "interp/op.h"
#include <stdlib.h>

static void bind_form(void *ctx, struct form *form)
{
	form->exec = form->class == CLASS_INVALID ? exec_undefined : exec_lookup(form);
}

struct interp *interp_create(const struct log *log)
{
	struct interp *interp = xcalloc(1, sizeof(*interp));

	interp->log = log;
	interp->decoder = decoder_create(&(struct decoder_ops){.bind = bind_form});
	cache_create(interp);
	return interp;
}

void interp_destroy(struct interp *interp)
{
	cache_destroy(interp);
	decoder_destroy(interp->decoder);
	free(interp);
}

void interp_add_cpu(struct interp *interp, struct cpu *cpu)
{
	if (!interp->cpus)
		cache_set_ram(interp, bus_ram(cpu->bus), bus_ram_size(cpu->bus));
	interp->cpu[interp->cpus++] = cpu;
	mem_connect_code(cpu,
			 &(struct code_ops){.written = cache_written, .ctx = interp, .code_pages = interp->code_pages});
}

void interp_ram_written(struct interp *interp, const uint8_t *host, size_t size)
{
	if (!interp->code_pages || host < interp->ram)
		return;
	while (size) {
		size_t now = min_u64(size, PAGE_SIZE - ((uintptr_t)host & ~PAGE_MASK));
		uint64_t page = (uint64_t)(host - interp->ram) / PAGE_SIZE;

		if (page >= interp->ram_pages)
			return;
		if (interp->code_pages[page])
			for (unsigned i = 0; i < interp->cpus; i++)
				cache_written(interp, interp->cpu[i], host, now);
		host += now;
		size -= now;
	}
}

/* The block's instructions from insn on were counted and did not run. */
static void give_back(struct cpu *cpu, const struct insn *insn, unsigned done)
{
	cpu->budget += cpu->block->count - insn->index_in_block - (int)done;
	cpu->insn = NULL;
}

const struct insn *op_fault(struct cpu *cpu, const struct insn *insn)
{
	op_sync(cpu, insn);
	give_back(cpu, insn, 0);
	cpu->rip = cpu->insn_rip;
	exec_fault(cpu);
	return NULL;
}

const struct insn *op_leave_after(struct cpu *cpu, const struct insn *insn)
{
	op_sync(cpu, insn);
	give_back(cpu, insn, 1);
	return NULL;
}

const struct insn *op_leave_to(struct cpu *cpu, const struct insn *insn, uint64_t rip)
{
	cpu->rip = rip;
	cpu->insn = NULL;
	return NULL;
}

const struct insn *op_exec(struct cpu *cpu, const struct insn *insn)
{
	op_sync(cpu, insn);
	switch (insn->form->exec(cpu, insn)) {
	case STEP_NEXT:
		/* Below 0: run_idle() has used what the rest of the block was to have. */
		if (likely(!cpu->attention && cpu->budget >= 0))
			NEXT(cpu, insn);
		give_back(cpu, insn, 1);
		return NULL;
	case STEP_LEAVE: give_back(cpu, insn, 1); return NULL;
	default:
		give_back(cpu, insn, 0);
		cpu->rip = cpu->insn_rip;
		exec_fault(cpu);
		return NULL;
	}
}

static bool at_breakpoint(const struct interp *interp, const struct cpu *cpu)
{
	la_t la = code_linear(cpu, cpu->rip);

	for (unsigned i = 0; i < interp->breakpoints; i++)
		if (interp->breakpoint[i] == la)
			return true;
	return false;
}

void interp_set_breakpoint(struct interp *interp, la_t la, bool set)
{
	for (unsigned i = 0; i < interp->breakpoints; i++)
		if (interp->breakpoint[i] == la) {
			if (!set)
				interp->breakpoint[i] = interp->breakpoint[--interp->breakpoints];
			return;
		}
	if (set && interp->breakpoints < ARRAY_SIZE(interp->breakpoint))
		interp->breakpoint[interp->breakpoints++] = la;
}

/* Must every instruction be run on its own now? */
static bool stepping(const struct interp *interp, const struct cpu *cpu)
{
	return unlikely(interp->breakpoints || (cpu->attention & (ATTEND_SHADOW | ATTEND_TRAP)));
}

static void log_run(const struct interp *interp, const struct cpu *cpu, const struct block *block)
{
	log_line(interp->log, LOG_EXEC, "cpu %u: rip %#llx mode %x insns %u budget %lld", cpu->number,
		 (unsigned long long)cpu->rip, cpu->mode, block->count, (long long)cpu->budget);
}

/* One block, or as much of it as the turn allows, and what is chained to it. */
static void run_block(struct interp *interp, struct cpu *cpu)
{
	bool single = stepping(interp, cpu);
	struct block *previous = cpu->block, *block;
	uint64_t emptied = interp->stats.cache_emptied;
	unsigned link = cpu->link, count;
	const struct insn *insn;
	int64_t held = 0;
	bool cached;

	cpu->link = 0;
	block = cache_find(interp, cpu, cpu->rip, &cached);
	if (unlikely(!block)) {
		exec_fault(cpu);
		return;
	}
	if (link && cached && interp->stats.cache_emptied == emptied && previous->mode == cpu->mode &&
	    !previous->apart && ((uintptr_t)previous->host ^ (uintptr_t)block->host) < PAGE_SIZE)
		previous->next[link - 1] = block;
	count = single ? 1 : block->count;
	if (count > cpu->budget)
		count = (unsigned)cpu->budget;
	if (unlikely(count < block->count))
		block = cache_part(interp, block, count);
	if (log_on(interp->log, LOG_EXEC))
		log_run(interp, cpu, block);
	/* A branch would go on to a block that is chained or in the jump table: not with nothing left of the turn. What goes on behind it stays
	   within the turn by itself: a repeated string instruction, which would do but one element of what is left. */
	if (unlikely(single) && (!block->insn->form || block->insn->form->ends_block))
		held = cpu->budget - count;
	cpu->turn -= held;
	cpu->budget -= held + count;
	cpu->accesses += block->accesses;
	cpu->blocks++;
	cpu->block = block;
	cpu->r[R_BLOCK] = cpu->rip;
	insn = block->insn;
	while (insn)
		insn = insn->fn(cpu, insn);
	cpu->turn += held;
	cpu->budget += held;
}

void interp_run(struct interp *interp, struct cpu *cpu)
{
	cpu->insn = NULL;
	while (cpu->budget > 0) {
		if (unlikely(cpu->attention)) {
			unsigned leave = ATTEND_STOP | ATTEND_DEADLINE | ATTEND_YIELD;

			cpu->attention &= ~ATTEND_CODE;
			if (cpu->attention &
			    leave) /* first: exec_attend() counts on an instruction being run after it */
				break;
			if (cpu->attention & (ATTEND_PINS | ATTEND_TRAP | ATTEND_SHADOW)) {
				cpu->link = 0;
				exec_attend(cpu);
			}
			if (cpu->attention & leave)
				break;
		}
		if (unlikely(cpu->activity != ACTIVITY_ACTIVE ||
			     cpu->budget <= 0)) /* delivering a fault takes a tick */
			break;
		if (unlikely(interp->breakpoints) && !interp->resumed && at_breakpoint(interp, cpu)) {
			cpu_attend(cpu, ATTEND_STOP);
			break;
		}
		interp->resumed = false;
		run_block(interp, cpu);
	}
	cpu->link = 0;
	host_mxcsr_sync(cpu);
}

void interp_resume(struct interp *interp)
{
	interp->resumed = true;
}

struct interp_stats interp_stats(const struct interp *interp)
{
	return interp->stats;
}
