/*
 * For the unit tests of exec/: a vCPU in flat 64-bit mode at CPL 0 on 4 MiB of RAM with 4-KiB pages, linear = physical,
 * of which page RIG_HOLE is not present; and one instruction at a time through the decoder and exec_lookup().
 */
#pragma once

#include "clock/clock.h"
#include "bus/bus.h"
#include "cpu/msr.h"
#include "cpu/mode.h"
#include "exec/exec.h"
#include "exec/run.h"
#include "mem/tlb.h"
#include "mem/mem.h"
#include <stdlib.h>

#define RIG_RAM	  0x400000
#define RIG_HOLE  0x1ff000
#define RIG_DATA  0x200000
#define RIG_TABLE 0x10000
#define RIG_CODE  0x1000

struct rig {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct decoder *decoder;
	struct block *block;
	uint8_t *ram;
	uint16_t port;	  /* of the last access */
	unsigned in, out; /* accesses so far */
	uint32_t written;
};

static bool rig_host_has(enum feature feature)
{
	return true;
}

static void rig_bind(void *ctx, struct form *form)
{
	form->exec = form->valid ? exec_lookup(form) : exec_undefined;
}

static uint64_t rig_in(void *device, uint64_t offset, unsigned size)
{
	struct rig *rig = device;

	rig->port = (uint16_t)offset;
	return rig->in++ + 1;
}

static void rig_out(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct rig *rig = device;

	rig->port = (uint16_t)offset;
	rig->written = (uint32_t)value;
	rig->out++;
}

static struct rig *rig_create(const char *model)
{
	static const struct device_ops ports = {.read = rig_in, .write = rig_out, .max_size = 4};
	struct rig *rig = aligned_alloc(64, (sizeof(*rig) + 63) / 64 * 64);
	struct cpu *cpu = &rig->cpu;
	struct error error, warning;
	uint32_t data = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | AR_G;

	memset(rig, 0, sizeof(*rig));
	if (!cpu_model_parse(model, rig_host_has, &rig->model, &warning, &error) || warning.text[0])
		abort();
	rig->log.file = stderr;
	cpu->model = &rig->model;
	cpu->cpus = 1;
	cpu->log = &rig->log;
	cpu->clock = clock_create();
	cpu->bus = bus_create(&rig->log);
	if (!bus_create_ram(cpu->bus, RIG_RAM, &error))
		abort();
	bus_add_ram(cpu->bus, 0, RIG_RAM, 0, 0);
	bus_add_ports(cpu->bus, "rig", 0, 0x10000, &ports, rig);
	rig->ram = bus_ram(cpu->bus);
	cpu->msr = msr_table_create();
	msr_claim_cpu(cpu->msr);
	mem_cpu_create(cpu);
	cpu_reset(cpu, false);

	store_le(rig->ram + RIG_TABLE, 8, RIG_TABLE + 0x1000 + 7);
	store_le(rig->ram + RIG_TABLE + 0x1000, 8, RIG_TABLE + 0x2000 + 7);
	for (unsigned i = 0; i < 2; i++)
		store_le(rig->ram + RIG_TABLE + 0x2000 + 8 * i, 8, RIG_TABLE + 0x3000 + 0x1000 * i + 7);
	for (uint64_t page = 0; page < RIG_RAM; page += PAGE_SIZE)
		store_le(rig->ram + RIG_TABLE + 0x3000 + page / PAGE_SIZE * 8, 8, page | (page == RIG_HOLE ? 0 : 7));

	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){.limit = UINT32_MAX, .ar = data | (i == CS ? AR_CODE | AR_L : AR_DB)};
	cpu->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
	cpu->cr3 = RIG_TABLE;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_LME | EFER_LMA;
	exec_context_changed(cpu);
	rig->decoder = decoder_create(&(struct decoder_ops){.bind = rig_bind});
	rig->block = calloc(1, sizeof(*rig->block) + 2 * sizeof(struct insn));
	rig->block->count = 1;
	cpu->block = rig->block;
	return rig;
}

static void rig_destroy(struct rig *rig)
{
	decoder_destroy(rig->decoder);
	mem_cpu_destroy(&rig->cpu);
	msr_table_destroy(rig->cpu.msr);
	bus_destroy(rig->cpu.bus);
	clock_destroy(rig->cpu.clock);
	free(rig->block);
	free(rig);
}

/* 16-, 32- or 64-bit code; the segments stay flat. */
static inline void rig_mode(struct rig *rig, unsigned bits)
{
	struct cpu *cpu = &rig->cpu;

	cpu->seg[CS].ar = (cpu->seg[CS].ar & ~(AR_L | AR_DB)) | (bits == 64 ? AR_L : bits == 32 ? AR_DB : 0);
	exec_context_changed(cpu);
}

/* Run one instruction as an engine would, with `ticks` left in the turn. */
static enum step rig_run_ticks(struct rig *rig, const void *bytes, size_t size, int64_t ticks)
{
	struct cpu *cpu = &rig->cpu;
	struct insn *insn = &rig->block->insn[0];
	uint8_t code[64] = {0};
	enum step step;

	memcpy(code, bytes, size);
	decode(rig->decoder, code, sizeof(code), cpu->mode, 0, insn);
	cpu->r[R_BLOCK] = RIG_CODE;
	cpu->insn_rip = RIG_CODE;
	cpu->rip = RIG_CODE + insn->len;
	cpu->insn = insn;
	cpu->turn = ticks;
	cpu->budget = ticks - 1; /* the block was counted when it was entered */
	if (!insn->form->valid || !exec_offered(cpu->model, insn->form))
		step = exec_undefined(cpu, insn);
	else
		step = insn->form->exec(cpu, insn);
	if (step == STEP_FAULT)
		cpu->rip = cpu->insn_rip;
	return step;
}

static inline enum step rig_run(struct rig *rig, const void *bytes, size_t size)
{
	return rig_run_ticks(rig, bytes, size, 1000000);
}

/* RIG_RUN(rig, 0x0f, 0xa2) */
#define RIG_RUN(rig, ...) rig_run(rig, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
