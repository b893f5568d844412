/* See bare.h. */
#include "bare.h"
#include "exec/exec.h"
#include <stdio.h>
#include <stdlib.h>

#define TABLES 0x1f0000 /* page tables of long mode */

static void on_event(struct cpu *cpu, enum cpu_event event)
{
	struct bare *bare = cpu->machine;

	bare->stopped |= event == CPU_SHUTDOWN;
}

static int no_interrupt(struct cpu *cpu)
{
	return -1;
}

static vtime_t elapsed(void *ctx)
{
	return run_elapsed(ctx);
}

static void sooner(void *ctx)
{
	cpu_attend(ctx, ATTEND_DEADLINE);
}

static void fail(const struct error *error)
{
	fprintf(stderr, "fuzz: %s\n", error->text);
	exit(1);
}

static struct bare *create(void)
{
	struct bare *bare = aligned_alloc(64, (sizeof(*bare) + 63) & ~(size_t)63);
	struct error error, warning;
	struct cpu *cpu = &bare->cpu;

	memset(bare, 0, sizeof(*bare));
	if (!host_simd_create(&error) || !cpu_model_parse("max", host_has_feature, &bare->model, &warning, &error))
		fail(&error);
	bare->bus = bus_create(&bare->log);
	if (!bus_create_ram(bare->bus, BARE_RAM, &error))
		fail(&error);
	bus_add_ram(bare->bus, 0, BARE_RAM, 0, 0);
	bare->ram = bus_ram(bare->bus);
	bare->clock = clock_create();
	clock_connect(bare->clock, &(struct clock_ops){elapsed, sooner, cpu});
	cpu->model = &bare->model;
	cpu->cpus = 1;
	cpu->bus = bare->bus;
	cpu->clock = bare->clock;
	cpu->log = &bare->log;
	cpu->machine = bare;
	cpu->event = on_event;
	cpu->acknowledge = no_interrupt;
	cpu->msr = msr_table_create();
	msr_claim_cpu(cpu->msr);
	cpu_reset(cpu, false);
	mem_cpu_create(cpu);
	bare->interp = interp_create(&bare->log);
	interp_add_cpu(bare->interp, cpu);
	return bare;
}

struct bare *bare_machine(void)
{
	static struct bare *bare;

	if (!bare)
		bare = create();
	interp_ram_written(bare->interp, bare->ram, BARE_RAM);
	memset(bare->ram, 0, BARE_RAM);
	cpu_reset(&bare->cpu, false);
	bare->cpu.pins = 0;
	bare->cpu.attention = 0;
	bare->stopped = false;
	mem_flush_all(&bare->cpu);
	return bare;
}

static void long_tables(struct bare *bare)
{
	store_le(bare->ram + TABLES, 8, (TABLES + 0x1000) | 7);
	store_le(bare->ram + TABLES + 0x1000, 8, (TABLES + 0x2000) | 7);
	store_le(bare->ram + TABLES + 0x2000, 8, 0x87);
	bare->cpu.cr3 = TABLES;
	bare->cpu.cr4 |= CR4_PAE;
	bare->cpu.efer |= EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	bare->cpu.cr0 |= CR0_PG;
}

void bare_enter(struct bare *bare, enum bare_mode mode, uint64_t rip)
{
	static const uint32_t code[BARE_MODES] = {0x9b, 0x9b, 0xc09b, 0xfb, 0xc09b, 0xa09b, 0xa0fb};
	struct cpu *cpu = &bare->cpu;
	bool user = mode == BARE_LONG_USER || mode == BARE_V86, small = mode == BARE_REAL || mode == BARE_V86;

	cpu->cr0 = CR0_ET | CR0_NE | CR0_MP | (mode == BARE_REAL ? 0 : CR0_PE);
	cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->fpu.xcr0 = cpu->model->xcr0_allowed;
	if (mode >= BARE_COMPATIBILITY)
		long_tables(bare);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){.limit = small || mode == BARE_PROTECTED16 ? 0xffff : 0xffffffff,
					       .ar = small  ? (user ? 0xf3 : 0x93)
						     : user ? 0xc0f3
							    : 0xc093,
					       .selector = small  ? 0
							   : user ? 0x1b
								  : 0x10};
	cpu->seg[CS].ar = small ? (user ? 0xf3 : 0x9b) : code[mode];
	cpu->seg[TR] = (struct segment){.base = 0x1000, .limit = 0xff, .ar = 0x8b, .selector = 0x28};
	cpu->gdtr = (struct table_register){.base = 0x2000, .limit = 0xff};
	cpu->idtr = (struct table_register){.base = 0x3000, .limit = 0xfff};
	cpu->cpl = user ? 3 : 0;
	cpu_set_rflags(cpu, RFLAGS_1 | (mode == BARE_V86 ? RFLAGS_VM | RFLAGS_IOPL : 0));
	for (unsigned i = 0; i < 16; i++)
		cpu->r[i] = 0x8000 + 0x1010 * i;
	cpu->rip = rip;
	exec_context_changed(cpu);
	mem_flush_all(cpu);
}

void bare_run(struct bare *bare, unsigned instructions)
{
	struct cpu *cpu = &bare->cpu;

	for (unsigned turns = 0; instructions && !bare->stopped && turns < 10000; turns++) {
		uint64_t used;

		cpu->budget = cpu->turn = instructions;
		interp_run(bare->interp, cpu);
		used = (uint64_t)(cpu->turn - cpu->budget);
		clock_advance_to(bare->clock, clock_now(bare->clock) + used);
		instructions -= used < instructions ? (unsigned)used : instructions;
		cpu->attention &= ~(ATTEND_DEADLINE | ATTEND_YIELD | ATTEND_STOP);
		if (cpu->activity != ACTIVITY_ACTIVE)
			break;
	}
}
