/*
 * The engine as a user-mode CPU: 4-level paging with the sandbox's pages at the same linear addresses, an IDT whose
 * handlers loop on the spot, and the selectors that Linux gives to its processes.
 */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include "bus/bus.h"
#include "cpu/cpuid.h"
#include "cpu/mode.h"
#include "exec/host.h"
#include "interp/interp.h"
#include "layout.h"
#include "mem/mem.h"
#include "mem/tlb.h"
#include "state.h"

/* Physical layout: page tables, then the sandbox. */
#define RAM_SIZE     0x400000
#define PA_TABLES    0x1000
#define PA_KERNEL    0x10000
#define PA_DATA	     0x20000
#define PA_READ_ONLY 0x22000
#define PA_CODE	     0x100000

#define IDT	 KERNEL
#define GDT	 (KERNEL + 0x200)
#define TSS	 (KERNEL + 0x280)
#define HANDLERS (KERNEL + 0x1000) /* 16 bytes each */
#define STACK	 (KERNEL + KERNEL_SIZE)

#define PRESENT 1
#define WRITE	2
#define USER	4

struct engine {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct bus *bus;
	struct interp *interp;
	struct decoder *decoder;
	struct host_simd *simd;
	uint8_t *ram;
	unsigned tables;		 /* page tables handed out */
	struct segment user[2][SEG_ALL]; /* 32-bit, 64-bit code */
};

static uint64_t *table_entry(struct engine *e, pa_t table, la_t la, unsigned level)
{
	return (uint64_t *)(e->ram + table) + (la >> (12 + 9 * (level - 1)) & 511);
}

static void map(struct engine *e, la_t la, pa_t pa, size_t size, unsigned rights)
{
	for (size_t done = 0; done < size; done += 4096) {
		pa_t table = PA_TABLES;

		for (unsigned level = 4; level > 1; level--) {
			uint64_t *entry = table_entry(e, table, la + done, level);

			if (!*entry)
				*entry = (PA_TABLES + 4096 * ++e->tables) | PRESENT | WRITE | USER;
			table = *entry & PAGE_MASK;
		}
		*table_entry(e, table, la + done, 1) = (pa + done) | rights;
	}
}

static void put_kernel(struct engine *e, uint64_t at, unsigned size, uint64_t value)
{
	store_le(e->ram + PA_KERNEL + (at - KERNEL), size, value);
}

static void make_kernel(struct engine *e)
{
	for (unsigned vector = 0; vector < 32; vector++) {
		uint64_t handler = HANDLERS + 16 * vector;
		/* BP and OF may be raised by software, as Linux has it. */
		unsigned dpl = vector == VECTOR_BP || vector == VECTOR_OF ? 3 : 0;

		put_kernel(e, IDT + 16 * vector, 8,
			   (handler & 0xffff) | 0x08 << 16 | (uint64_t)(0x8e | dpl << 5) << 40 | (handler >> 16) << 48);
		put_kernel(e, IDT + 16 * vector + 8, 8, handler >> 32);
		put_kernel(e, handler, 2, 0xfeeb); /* JMP $ */
	}
	put_kernel(e, GDT + 0x08, 8, 0x00af9b000000ffff); /* kernel code, 64 bits */
	put_kernel(e, GDT + USER_CS32 - 3, 8, 0x00cffb000000ffff);
	put_kernel(e, GDT + USER_DS - 3, 8, 0x00cff3000000ffff);
	put_kernel(e, GDT + USER_CS64 - 3, 8, 0x00affb000000ffff);
	put_kernel(e, TSS + 4, 8, STACK); /* RSP0 */
	put_kernel(e, TSS + 102, 2, 104); /* no I/O bitmap */
}

static void make_segments(struct engine *e)
{
	struct segment data = {.limit = 0xffffffff, .ar = 0xc0f3, .selector = USER_DS};
	struct segment null = {.ar = AR_UNUSABLE};

	for (unsigned code64 = 0; code64 < 2; code64++) {
		struct segment *s = e->user[code64];

		s[CS] = (struct segment){.limit = 0xffffffff,
					 .ar = code64 ? 0xa0fb : 0xc0fb,
					 .selector = code64 ? USER_CS64 : USER_CS32};
		s[DS] = s[ES] = s[SS] = data;
		s[FS] = s[GS] = null;
		s[GS].base = DATA;
		s[LDTR] = null;
		s[TR] = (struct segment){.base = TSS, .limit = 103, .ar = 0x8b, .selector = 0x40};
	}
}

static bool host_reports(const struct feature_info *f)
{
	uint32_t out[4] = {0};

	return __get_cpuid_count(f->leaf, f->subleaf, &out[0], &out[1], &out[2], &out[3]) &&
	       (out[f->reg] >> f->bit & 1);
}

/* What the engine has and this host has too, so that both say #UD to the same instructions. */
static bool make_model(struct cpu_model *model, struct error *error)
{
	struct error warning;

	if (!cpu_model_parse("max", host_has_feature, model, &warning, error))
		return false;
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (!host_reports(&feature_info[i]))
			model->features[i / 64] &= ~BIT(i % 64);
	return true;
}

static void bind(void *ctx, struct form *form)
{
}

struct engine *engine_create(struct error *error)
{
	struct engine *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);
	struct cpu *cpu = &e->cpu;

	memset(e, 0, sizeof(*e));
	e->simd = host_simd_create(error);
	if (!e->simd)
		return NULL;
	if (!make_model(&e->model, error))
		return NULL;
	e->bus = bus_create(&e->log);
	if (!bus_create_ram(e->bus, RAM_SIZE, error))
		return NULL;
	bus_add_ram(e->bus, 0, RAM_SIZE, 0, 0);
	e->ram = bus_ram(e->bus);
	map(e, CODE, PA_CODE, CODE_SIZE + 0x1000, PRESENT | WRITE | USER);
	map(e, DATA, PA_DATA, DATA_SIZE, PRESENT | WRITE | USER);
	map(e, READ_ONLY, PA_READ_ONLY, 0x1000, PRESENT | USER);
	map(e, KERNEL, PA_KERNEL, KERNEL_SIZE, PRESENT | WRITE);
	memset(e->ram + PA_CODE, 0xcc, CODE_SIZE + 0x1000);
	store_le(e->ram + PA_CODE + (LANDING64 - CODE), 2, 0xfeeb); /* JMP $ */
	store_le(e->ram + PA_CODE + (LANDING32 - CODE), 2, 0xfeeb);
	make_kernel(e);
	make_segments(e);
	cpu->model = &e->model;
	cpu->bus = e->bus;
	cpu->log = &e->log;
	cpu->cpus = 1;
	mem_cpu_create(cpu);
	cpu_reset(cpu, false);
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	cpu->cr3 = PA_TABLES;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | CR4_UMIP | CR4_PGE;
	cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	cpu->fpu.xcr0 = 0xe7;
	cpu->idtr = (struct table_register){IDT, 32 * 16 - 1};
	cpu->gdtr = (struct table_register){GDT, 0x7f};
	e->interp = interp_create(&e->log);
	interp_add_cpu(e->interp, cpu);
	e->decoder = decoder_create(&(struct decoder_ops){.bind = bind});
	return e;
}

void engine_destroy(struct engine *e)
{
	decoder_destroy(e->decoder);
	interp_destroy(e->interp);
	mem_cpu_destroy(&e->cpu);
	bus_destroy(e->bus);
	host_simd_destroy(e->simd);
	free(e);
}

void engine_write_code(struct engine *e, uint64_t at, const uint8_t *bytes, size_t size)
{
	uint8_t *host = e->ram + PA_CODE + (at - CODE);

	interp_ram_written(e->interp, host, size);
	memcpy(host, bytes, size);
}

uint8_t *engine_data(struct engine *e)
{
	return e->ram + PA_DATA;
}

uint8_t *engine_read_only(struct engine *e)
{
	return e->ram + PA_READ_ONLY;
}

bool engine_offers(const struct engine *e, bool code64, const uint8_t *bytes, size_t size)
{
	uint32_t mode = (code64 ? MODE_CODE64 | MODE_STACK64 : MODE_CODE32 | MODE_STACK32) | MODE_FLAT | MODE_PROTECTED;
	struct insn insn;

	return decode(e->decoder, bytes, size, mode, 0, &insn) == DECODE_OK && exec_offered(&e->model, insn.form);
}

void engine_cpuid(const struct engine *e, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	cpuid_get(&e->cpu, leaf, subleaf, out);
}

static bool has_error_code(unsigned vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == VECTOR_AC;
}

/* The handler that loops at RIP says the vector; its stack says the rest. */
static void read_frame(struct engine *e, struct state *state, struct outcome *outcome)
{
	struct cpu *cpu = &e->cpu;
	const uint8_t *frame = e->ram + PA_KERNEL + (cpu->r[RSP] - KERNEL);

	outcome->vector = (int)((cpu->rip - HANDLERS) / 16);
	if (has_error_code((unsigned)outcome->vector)) {
		outcome->error = (uint32_t)load_le(frame, 8);
		frame += 8;
	}
	outcome->address = cpu->cr2;
	outcome->rip = load_le(frame, 8);
	state->rflags = load_le(frame + 16, 8);
	state->r[RSP] = load_le(frame + 24, 8);
}

void engine_run(struct engine *e, bool code64, bool vectors, uint64_t rip, struct state *state, struct outcome *outcome)
{
	uint64_t landing = code64 ? LANDING64 : LANDING32;
	struct cpu *cpu = &e->cpu;

	memcpy(cpu->seg, e->user[code64], sizeof(cpu->seg));
	cpu->cpl = 3;
	cpu_set_rflags(cpu, state->rflags | RFLAGS_1);
	memcpy(cpu->r, state->r, sizeof(state->r));
	cpu->rip = rip;
	if (vectors) {
		memcpy(cpu->fpu.x87, state->x87, sizeof(state->x87));
		memcpy(cpu->fpu.v, state->v, sizeof(state->v));
		memcpy(cpu->fpu.k, state->k, sizeof(state->k));
		cpu->fpu.mxcsr = state->mxcsr;
	}
	exec_context_changed(cpu);
	for (unsigned rounds = 0; rounds < 300 && cpu->rip != landing && cpu->cpl == 3; rounds++) {
		cpu->budget = cpu->turn = 2;
		interp_run(e->interp, cpu);
	}
	memcpy(state->r, cpu->r, sizeof(state->r));
	state->rflags = cpu_rflags(cpu);
	*outcome = (struct outcome){.vector = -1, .rip = cpu->rip};
	if (cpu->cpl != 3)
		read_frame(e, state, outcome);
	if (vectors) {
		memcpy(state->x87, cpu->fpu.x87, 5);
		memset(state->x87 + 5, 0, 27);
		memcpy(state->x87 + 32, cpu->fpu.x87 + 32, 128);
		memcpy(state->v, cpu->fpu.v, sizeof(state->v));
		memcpy(state->k, cpu->fpu.k, sizeof(state->k));
		state->mxcsr = cpu->fpu.mxcsr;
	}
}
