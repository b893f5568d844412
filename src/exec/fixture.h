/*
 * For unit tests: one vCPU with real decoder, memory and RAM, and an engine of one instruction. Tables lie at fixed
 * places below 64 KiB; paging is off unless a test turns it on.
 */
#pragma once

#include "apic/apic.h"
#include "bus/bus.h"
#include "decode/block.h"
#include "cpu/mode.h"
#include "exec/host.h"
#include "exec/protect.h"
#include "exec/run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define RAM_SIZE   0x200000
#define GDT_AT	   0x1000
#define LDT_AT	   0x1800
#define IDT_AT	   0x2000
#define TSS_AT	   0x3000
#define TSS2_AT	   0x3400
#define PAGES_AT   0x4000
#define CODE_AT	   0x10000
#define STACK0_TOP 0x21000
#define STACK3_TOP 0x23000
#define IST_TOP	   0x25000

/* GDT selectors that fixture_protected() and fixture_long() make. */
enum { CODE0 = 0x08, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, TSS_SEL = 0x28, TSS2_SEL = 0x38, FREE_SEL = 0x48 };

#define AR_CODE0 (AR_P | AR_S | AR_CODE | AR_WRITABLE)
#define AR_DATA0 (AR_P | AR_S | AR_WRITABLE)
#define AR_DPL3	 (3 << 5)
#define AR_32	 (AR_G | AR_DB)
#define AR_64	 (AR_G | AR_L)

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct apic_bus *apics;
	struct decoder *decoder;
	struct log log;
	struct cpu_model model;
	struct cpu *cpu;
	struct block *block;
	uint8_t *ram;
	unsigned events[8]; /* by enum cpu_event */
	int vector;	    /* of the next acknowledge */
};

static inline void fixture_bind(void *ctx, struct form *form)
{
	form->exec = form->class == CLASS_INVALID ? exec_undefined : exec_lookup(form);
}

static inline void fixture_event(struct cpu *cpu, enum cpu_event event)
{
	((struct fixture *)cpu->machine)->events[event]++;
}

static inline int fixture_acknowledge(struct cpu *cpu)
{
	cpu_set_pin(cpu, PIN_INTR, false);
	return ((struct fixture *)cpu->machine)->vector;
}

static inline int fixture_create(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct error error, warning;

	f->bus = bus_create(&f->log);
	assert_true(bus_create_ram(f->bus, RAM_SIZE, &error));
	bus_add_ram(f->bus, 0, RAM_SIZE, 0, 0);
	f->ram = bus_ram(f->bus);
	f->clock = clock_create();
	f->decoder = decoder_create(&(struct decoder_ops){.bind = fixture_bind});
	assert_true(cpu_model_parse("max", host_has_feature, &f->model, &warning, &error));
	f->cpu = aligned_alloc(64, (sizeof(*f->cpu) + 63) / 64 * 64);
	memset(f->cpu, 0, sizeof(*f->cpu));
	f->cpu->model = &f->model;
	f->cpu->cpus = 1;
	f->cpu->bus = f->bus;
	f->cpu->clock = f->clock;
	f->cpu->log = &f->log;
	f->cpu->machine = f;
	f->cpu->event = fixture_event;
	f->cpu->acknowledge = fixture_acknowledge;
	cpu_reset(f->cpu, false);
	f->apics = apic_bus_create(f->clock, &f->log);
	f->cpu->apic = apic_create(f->apics, f->cpu, 0);
	f->cpu->acknowledge = fixture_acknowledge;
	mem_cpu_create(f->cpu);
	f->block = xcalloc(1, sizeof(*f->block) + 2 * sizeof(struct insn));
	f->block->count = 1;
	f->cpu->attention = 0;
	*state = f;
	return 0;
}

static inline int fixture_destroy(void **state)
{
	struct fixture *f = *state;

	mem_cpu_destroy(f->cpu);
	apic_destroy(f->cpu->apic);
	apic_bus_destroy(f->apics);
	decoder_destroy(f->decoder);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
	free(f->cpu);
	free(f->block);
	free(f);
	return 0;
}

/* Decode and execute the instruction at CS:RIP, as an engine does, but leave a fault to the test. */
static inline enum step fixture_step(struct fixture *f)
{
	struct cpu *cpu = f->cpu;
	la_t la = cpu_64bit(cpu) ? cpu->rip : (uint32_t)(cpu->seg[CS].base + cpu->rip);
	struct insn *insn = &f->block->insn[0];
	const uint8_t *bytes;
	bool cacheable;
	enum step step;
	size_t left;

	if (mem_fetch(cpu, la, &bytes, &left, &cacheable))
		return STEP_FAULT;
	assert_int_not_equal(decode(f->decoder, bytes, left, cpu->mode, 0, insn), DECODE_SHORT);
	f->block->insn[0].index_in_block = 0;
	cpu->turn = 1000000;
	cpu->budget = cpu->turn - 1; /* the block was counted when it was entered */
	cpu->block = f->block;
	cpu->insn = insn;
	cpu->r[R_BLOCK] = cpu->insn_rip = cpu->rip;
	cpu->rip += insn->len;
	step = insn->form->exec(cpu, insn);
	cpu->insn = NULL;
	if (step == STEP_FAULT)
		cpu->rip = cpu->insn_rip;
	return step;
}

/* The same with faults delivered and attention paid: one turn of an engine's loop. */
static inline void fixture_run(struct fixture *f)
{
	if (fixture_step(f) == STEP_FAULT)
		exec_fault(f->cpu);
	if (f->cpu->attention)
		exec_attend(f->cpu);
}

#define CODE_BYTES(f, at, ...)                                   \
	do {                                                     \
		static const uint8_t bytes_[] = {__VA_ARGS__};   \
		memcpy((f)->ram + (at), bytes_, sizeof(bytes_)); \
	} while (0)

/* Put code at CODE_AT and go there. */
#define RUN_AT(f, ...)                               \
	do {                                         \
		CODE_BYTES(f, CODE_AT, __VA_ARGS__); \
		(f)->cpu->rip = CODE_AT;             \
	} while (0)

#define assert_fault(f, wanted_vector, wanted_error)                     \
	do {                                                             \
		assert_int_equal(fixture_step(f), STEP_FAULT);           \
		assert_int_equal((f)->cpu->fault.vector, wanted_vector); \
		assert_int_equal((f)->cpu->fault.error, wanted_error);   \
	} while (0)

static inline uint64_t peek(const struct fixture *f, uint64_t at, unsigned size)
{
	return load_le(f->ram + at, size);
}

static inline void poke(struct fixture *f, uint64_t at, unsigned size, uint64_t value)
{
	store_le(f->ram + at, size, value);
}

static inline void put_descriptor(struct fixture *f, uint16_t selector, uint64_t base, uint32_t limit, uint32_t ar)
{
	uint64_t low = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(ar & 0xf0ff) << 40 |
		       (uint64_t)(limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56;

	poke(f, (selector & 4 ? LDT_AT : GDT_AT) + (selector & 0xfff8), 8, low);
}

static inline void put_gate(struct fixture *f, uint64_t at, uint16_t selector, uint64_t offset, unsigned type,
			    unsigned dpl, unsigned extra)
{
	poke(f, at, 8,
	     (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)extra << 32 |
		     (uint64_t)(0x80 | dpl << 5 | type) << 40 | (offset >> 16 & 0xffff) << 48);
}

static inline void load_segment(struct fixture *f, enum segment_number number, uint16_t selector)
{
	struct descriptor d = {.low = peek(f, GDT_AT + (selector & 0xfff8), 8) | BIT(40)};

	descriptor_to_segment(&d, selector, &f->cpu->seg[number]);
}

/* Registers for ring 0 or 3 with the tables of the mode. */
static inline void enter_ring(struct fixture *f, unsigned cpl)
{
	f->cpu->rflags &= ~RFLAGS_VM;
	load_segment(f, CS, cpl ? CODE3 : CODE0);
	load_segment(f, SS, cpl ? DATA3 : DATA0);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		if (i != CS && i != SS)
			load_segment(f, i, DATA3);
	f->cpu->cpl = (uint8_t)cpl;
	f->cpu->r[RSP] = cpl ? STACK3_TOP : STACK0_TOP;
	f->cpu->rip = CODE_AT;
	exec_context_changed(f->cpu);
	f->cpu->attention = 0;
}

static inline void tables(struct fixture *f, uint32_t code_width)
{
	put_descriptor(f, CODE0, 0, 0xfffff, AR_CODE0 | AR_G | code_width);
	put_descriptor(f, DATA0, 0, 0xfffff, AR_DATA0 | AR_32);
	put_descriptor(f, CODE3, 0, 0xfffff, AR_CODE0 | AR_G | code_width | AR_DPL3);
	put_descriptor(f, DATA3, 0, 0xfffff, AR_DATA0 | AR_32 | AR_DPL3);
	put_descriptor(f, TSS_SEL, TSS_AT, 0x3ff, AR_P | TYPE_TSS_BUSY);
	f->cpu->gdtr = (struct table_register){.base = GDT_AT, .limit = 0x7f};
	f->cpu->idtr = (struct table_register){.base = IDT_AT, .limit = 0xfff};
	f->cpu->seg[TR] =
		(struct segment){.selector = TSS_SEL, .base = TSS_AT, .limit = 0x3ff, .ar = AR_P | TYPE_TSS_BUSY};
	f->cpu->seg[LDTR] = (struct segment){.ar = AR_UNUSABLE};
	poke(f, TSS_AT + 0x66, 2, 0x100);
}

/* 32-bit protected mode without paging; 32-bit TSS with a ring-0 stack. */
static inline void fixture_protected(struct fixture *f, unsigned cpl)
{
	f->cpu->seg[CS].ar &= ~AR_L; /* paging cannot be left from 64-bit mode */
	assert_false(exec_write_cr0(f->cpu, CR0_PE | CR0_NE | CR0_ET));
	f->cpu->efer = 0;
	assert_false(exec_write_cr4(f->cpu, 0));
	tables(f, AR_DB);
	poke(f, TSS_AT + 4, 4, STACK0_TOP);
	poke(f, TSS_AT + 8, 4, DATA0);
	enter_ring(f, cpl);
}

/* 64-bit mode with the first 2 MiB mapped one to one, user and writable. */
static inline void fixture_long(struct fixture *f, unsigned cpl)
{
	poke(f, PAGES_AT, 8, (PAGES_AT + 0x1000) | 7);
	poke(f, PAGES_AT + 0x1000, 8, (PAGES_AT + 0x2000) | 7);
	poke(f, PAGES_AT + 0x2000, 8, 0x87 | 0x60);
	assert_false(exec_write_cr4(f->cpu, CR4_PAE));
	assert_false(exec_write_cr3(f->cpu, PAGES_AT));
	f->cpu->efer = EFER_LME | EFER_SCE | EFER_NXE;
	assert_false(exec_write_cr0(f->cpu, CR0_PE | CR0_NE | CR0_ET | CR0_PG | CR0_WP));
	tables(f, AR_L);
	poke(f, TSS_AT + 4, 8, STACK0_TOP);
	poke(f, TSS_AT + 0x24, 8, IST_TOP);
	enter_ring(f, cpl);
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)
