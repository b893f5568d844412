/*
 * The integer instructions against the host's CPU: random and edge operands, every form in 64-bit mode, registers,
 * defined flags, memory and faults compared. Guest and host memory have the same addresses, with a hole below. What
 * 64-bit mode does not have (decimal arithmetic) is compared with the manual's own words.
 */
#include <signal.h>
#include "cpu/flags.h"
#include "exec/rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <cmocka.h>

#define CASES	  600
#define DATA_SIZE 0x4000
#define FLAGS	  (RFLAGS_ARITH | RFLAGS_DF)

struct context {
	uint64_t r[16], flags, host_rsp;
};

enum option {
	BYTE = 1, /* byte operands: a 66H prefix changes nothing */
	REG = 2,  /* ModRM names a register only */
	MEM = 4,  /* ... memory only */
	LOCKABLE = 8,
	BITS_IN = 16, /* the register operand is a bit number: keep memory near */
	DIVIDE = 32,  /* make the dividend small enough for some quotients to fit */
	ONLY64 = 64,  /* REX.W always */
	NO16 = 128,   /* no 66H prefix */
	NEED66 = 256, /* 66H is part of the opcode */
	NEEDF3 = 512,
	NEEDF2 = 1024,
};

/* Opcode bytes and then: /r, /0 to /7, +r, ib, iz, iv (as wide as the operand). */
struct pattern {
	const char *text;
	unsigned options;
};

/* clang-format off */
static const struct pattern patterns[] = {
	{"00/r", BYTE | LOCKABLE}, {"01/r", LOCKABLE}, {"02/r", BYTE}, {"03/r", 0}, {"04ib", BYTE}, {"05iz", 0},
	{"08/r", BYTE | LOCKABLE}, {"09/r", LOCKABLE}, {"0a/r", BYTE}, {"0b/r", 0}, {"0cib", BYTE}, {"0diz", 0},
	{"10/r", BYTE | LOCKABLE}, {"11/r", LOCKABLE}, {"12/r", BYTE}, {"13/r", 0}, {"14ib", BYTE}, {"15iz", 0},
	{"18/r", BYTE | LOCKABLE}, {"19/r", LOCKABLE}, {"1a/r", BYTE}, {"1b/r", 0}, {"1cib", BYTE}, {"1diz", 0},
	{"20/r", BYTE | LOCKABLE}, {"21/r", LOCKABLE}, {"22/r", BYTE}, {"23/r", 0}, {"24ib", BYTE}, {"25iz", 0},
	{"28/r", BYTE | LOCKABLE}, {"29/r", LOCKABLE}, {"2a/r", BYTE}, {"2b/r", 0}, {"2cib", BYTE}, {"2diz", 0},
	{"30/r", BYTE | LOCKABLE}, {"31/r", LOCKABLE}, {"32/r", BYTE}, {"33/r", 0}, {"34ib", BYTE}, {"35iz", 0},
	{"38/r", BYTE}, {"39/r", 0}, {"3a/r", BYTE}, {"3b/r", 0}, {"3cib", BYTE}, {"3diz", 0},
	{"80/0ib", BYTE | LOCKABLE}, {"80/2ib", BYTE}, {"80/7ib", BYTE}, {"81/1iz", LOCKABLE}, {"81/3iz", 0}, {"83/4ib", LOCKABLE},
	{"83/5ib", 0}, {"83/6ib", 0}, {"83/7ib", 0}, {"84/r", BYTE}, {"85/r", 0}, {"a8ib", BYTE}, {"a9iz", 0}, {"f6/0ib", BYTE}, {"f7/0iz", 0},
	{"fe/0", BYTE | LOCKABLE}, {"ff/0", LOCKABLE}, {"fe/1", BYTE}, {"ff/1", 0}, {"f6/2", BYTE | LOCKABLE}, {"f7/2", 0},
	{"f6/3", BYTE}, {"f7/3", LOCKABLE}, {"98", 0}, {"99", 0}, {"0f38f6/r", NEED66}, {"0f38f6/r", NEEDF3},
	{"f6/4", BYTE}, {"f7/4", 0}, {"f6/5", BYTE}, {"f7/5", 0}, {"0faf/r", 0}, {"69/riz", 0}, {"6b/rib", 0},
	{"f6/6", BYTE | DIVIDE}, {"f7/6", DIVIDE}, {"f6/7", BYTE | DIVIDE}, {"f7/7", DIVIDE},
	{"c0/0ib", BYTE}, {"c1/0ib", 0}, {"d0/0", BYTE}, {"d1/0", 0}, {"d2/0", BYTE}, {"d3/0", 0},
	{"c0/1ib", BYTE}, {"c1/1ib", 0}, {"d0/1", BYTE}, {"d1/1", 0}, {"d2/1", BYTE}, {"d3/1", 0},
	{"c0/2ib", BYTE}, {"c1/2ib", 0}, {"d0/2", BYTE}, {"d1/2", 0}, {"d2/2", BYTE}, {"d3/2", 0},
	{"c0/3ib", BYTE}, {"c1/3ib", 0}, {"d0/3", BYTE}, {"d1/3", 0}, {"d2/3", BYTE}, {"d3/3", 0},
	{"c0/4ib", BYTE}, {"c1/4ib", 0}, {"d0/4", BYTE}, {"d1/4", 0}, {"d2/4", BYTE}, {"d3/4", 0},
	{"c0/5ib", BYTE}, {"c1/5ib", 0}, {"d0/5", BYTE}, {"d1/5", 0}, {"d2/5", BYTE}, {"d3/5", 0},
	{"c0/7ib", BYTE}, {"c1/7ib", 0}, {"d0/7", BYTE}, {"d1/7", 0}, {"d2/7", BYTE}, {"d3/7", 0},
	{"0fa4/rib", 0}, {"0fa5/r", 0}, {"0fac/rib", 0}, {"0fad/r", 0},
	{"0fa3/r", BITS_IN}, {"0fab/r", BITS_IN | LOCKABLE}, {"0fb3/r", BITS_IN}, {"0fbb/r", BITS_IN},
	{"0fba/4ib", 0}, {"0fba/5ib", LOCKABLE}, {"0fba/6ib", 0}, {"0fba/7ib", 0},
	{"0fbc/r", 0}, {"0fbd/r", 0}, {"0fbc/r", NEEDF3}, {"0fbd/r", NEEDF3}, {"0fb8/r", NEEDF3},
	{"0f38f0/r", BYTE | NEEDF2}, {"0f38f1/r", NEEDF2}, {"0f38f0/r", MEM}, {"0f38f1/r", MEM},
	{"86/r", BYTE | LOCKABLE}, {"87/r", LOCKABLE}, {"90+r", 0}, {"0fc0/r", BYTE | LOCKABLE}, {"0fc1/r", LOCKABLE},
	{"0fb0/r", BYTE | LOCKABLE}, {"0fb1/r", LOCKABLE}, {"0fc7/1", MEM | NO16},
	{"88/r", BYTE}, {"89/r", 0}, {"8a/r", BYTE}, {"8b/r", 0}, {"b0+rib", BYTE}, {"b8+riv", 0}, {"c6/0ib", BYTE}, {"c7/0iz", 0},
	{"8d/r", MEM}, {"0fb6/r", 0}, {"0fb7/r", 0}, {"0fbe/r", 0}, {"0fbf/r", 0}, {"63/r", 0}, {"0fc8+r", NO16}, {"0fc3/r", MEM | NO16},
	{"0f40/r", 0}, {"0f41/r", 0}, {"0f42/r", 0}, {"0f43/r", 0}, {"0f44/r", 0}, {"0f45/r", 0}, {"0f46/r", 0}, {"0f47/r", 0},
	{"0f48/r", 0}, {"0f49/r", 0}, {"0f4a/r", 0}, {"0f4b/r", 0}, {"0f4c/r", 0}, {"0f4d/r", 0}, {"0f4e/r", 0}, {"0f4f/r", 0},
	{"0f90/0", BYTE}, {"0f91/0", BYTE}, {"0f92/0", BYTE}, {"0f93/0", BYTE}, {"0f94/0", BYTE}, {"0f95/0", BYTE}, {"0f96/0", BYTE},
	{"0f97/0", BYTE}, {"0f98/0", BYTE}, {"0f99/0", BYTE}, {"0f9a/0", BYTE}, {"0f9b/0", BYTE}, {"0f9c/0", BYTE}, {"0f9d/0", BYTE},
	{"0f9e/0", BYTE}, {"0f9f/0", BYTE},
	{"f5", 0}, {"f8", 0}, {"f9", 0}, {"fc", 0}, {"9e", 0}, {"9f", 0}, {"0f1f/0", 0}, {"0fae/7", MEM | NO16}, {"0f0d/1", MEM},
};
/* clang-format on */

/* VEX forms on general registers: map, pp, opcode, ModRM.reg or -1. */
static const struct {
	uint8_t map, pp, opcode;
	int8_t reg;
	bool vvvv, immediate;
} vex_patterns[] = {
	{2, 0, 0xf2, -1, true, false}, /* ANDN */
	{2, 0, 0xf3, 1, true, false},  /* BLSR */
	{2, 0, 0xf3, 2, true, false},  /* BLSMSK */
	{2, 0, 0xf3, 3, true, false},  /* BLSI */
	{2, 0, 0xf5, -1, true, false}, /* BZHI */
	{2, 2, 0xf5, -1, true, false}, /* PEXT */
	{2, 3, 0xf5, -1, true, false}, /* PDEP */
	{2, 3, 0xf6, -1, true, false}, /* MULX */
	{2, 0, 0xf7, -1, true, false}, /* BEXTR */
	{2, 1, 0xf7, -1, true, false}, /* SHLX */
	{2, 2, 0xf7, -1, true, false}, /* SARX */
	{2, 3, 0xf7, -1, true, false}, /* SHRX */
	{3, 3, 0xf0, -1, false, true}, /* RORX */
};

static uint64_t seed = 1;

static uint64_t random64(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
	return (unsigned)(random64() % n);
}

static uint64_t operand(void)
{
	static const uint64_t edge[] = {0,
					1,
					2,
					0x7f,
					0x80,
					0xff,
					0x100,
					0x7fff,
					0x8000,
					0xffff,
					0x10000,
					0x7fffffff,
					0x80000000,
					0xffffffff,
					UINT64_C(0x100000000),
					INT64_MAX,
					UINT64_C(1) << 63,
					UINT64_MAX,
					UINT64_MAX - 1};

	switch (below(4)) {
	case 0: return edge[below(ARRAY_SIZE(edge))];
	case 1: return random64() >> below(64);
	case 2: return (uint64_t)((int64_t)random64() >> below(64));
	default: return random64();
	}
}

/* The host's side: one instruction between a load and a store of all registers but RSP. */
static uint8_t *thunk;
static struct context *host;
static volatile int caught; /* the signal, or 0 */
static uint8_t *after_it;   /* where the registers are stored */

/* An instruction that faults is passed over: what it left in the registers is stored like any other result. */
static void on_signal(int number, siginfo_t *info, void *at)
{
	ucontext_t *context = at;

	caught = number;
	context->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)after_it;
}

static uint8_t *emit(uint8_t *p, const char *hex)
{
	for (; *hex; hex += 2) {
		char byte[3] = {hex[0], hex[1], 0};

		*p++ = (uint8_t)strtoul(byte, NULL, 16);
	}
	return p;
}

static uint8_t *emit_address(uint8_t *p, const void *at)
{
	uint32_t address = (uint32_t)(uintptr_t)at;

	memcpy(p, &address, 4);
	return p + 4;
}

static uint8_t *emit_move(uint8_t *p, unsigned number, bool load)
{
	*p++ = (uint8_t)(0x48 | (number >> 3) << 2);
	*p++ = load ? 0x8b : 0x89;
	*p++ = (uint8_t)(4 | (number & 7) << 3);
	*p++ = 0x25;
	return emit_address(p, &host->r[number]);
}

/* Run on the host; the signal, or 0. */
static int run_host(const uint8_t *code, size_t size)
{
	uint8_t *p = emit(thunk, "535541544155415641574889"
				 "2425");

	p = emit_address(p, &host->host_rsp);
	p = emit_address(emit(p, "ff3425"), &host->flags);
	p = emit(p, "9d");
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = emit_move(p, i, true);
	memcpy(p, code, size);
	after_it = p += size;
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = emit_move(p, i, false);
	p = emit(p, "488b2425");
	p = emit_address(p, &host->host_rsp);
	p = emit_address(emit(p, "9c8f0425"), &host->flags);
	emit(p, "fc415f415e415d415c5d5bc3");
	caught = 0;
	((void (*)(void))(uintptr_t)thunk)();
	return caught;
}

/* In each test: cmocka puts its own handlers in between. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	int signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS};

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static int start_host(void **state)
{
	thunk = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	host = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (thunk == MAP_FAILED || host == MAP_FAILED ||
	    mmap((void *)RIG_DATA, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		 -1, 0) == MAP_FAILED)
		return -1;
	*state = rig_create("max");
	((struct rig *)*state)->cpu.cr4 |= CR4_OSFXSR;
	return 0;
}

static int stop_host(void **state)
{
	rig_destroy(*state);
	return 0;
}

static void set_state(struct rig *rig)
{
	uint8_t *data = (uint8_t *)RIG_DATA;

	memcpy(rig->cpu.r, host->r, sizeof(host->r));
	cpu_set_rflags(&rig->cpu, host->flags);
	for (unsigned i = 0; i < DATA_SIZE; i += 8)
		store_le(data + i, 8, random64());
	memcpy(rig->ram + RIG_DATA, data, DATA_SIZE);
}

static const char *code_text(const uint8_t *code, size_t size)
{
	static char text[256];

	decode_text(code, size, MODE_CODE64, RIG_CODE, text, sizeof(text));
	for (size_t i = 0; i < size; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %02x", code[i]);
	return text;
}

/* SHLD and SHRD of 16 bits by more than 16 leave all flags undefined. */
static uint64_t undefined_flags(const struct insn *insn, const struct context *before)
{
	unsigned operation = insn->form->operation;

	if ((operation == ZYDIS_MNEMONIC_SHLD || operation == ZYDIS_MNEMONIC_SHRD) && insn->size == 2 &&
	    ((insn->opcode & 1 ? before->r[RCX] : insn->imm) & 31) > 16)
		return RFLAGS_ARITH;
	return insn->form->flags_undefined;
}

/* Both sides from the same state; all that is defined must agree. */
static void compare_run(struct rig *rig, const uint8_t *code, size_t size, int64_t ticks)
{
	struct context before = *host;
	struct cpu *cpu = &rig->cpu;
	uint64_t defined, flags;
	enum step step;
	int number;

	host->r[RSP] = cpu->r[RSP];
	set_state(rig);
	number = run_host(code, size);
	do
		step = rig_run_ticks(rig, code, size, ticks);
	while (step == STEP_LEAVE && cpu->rip == cpu->insn_rip);

	defined = FLAGS & ~undefined_flags(cpu->insn, &before);
	flags = cpu_rflags(cpu);
	if ((number != 0) != (step == STEP_FAULT))
		fail_msg("%s: signal %d, step %d vector %d", code_text(code, size), number, step, cpu->fault.vector);
	for (unsigned i = 0; i < 16; i++)
		if (cpu->r[i] != host->r[i])
			fail_msg("%s: register %u is %#llx, host has %#llx; rax %#llx rcx %#llx rdx %#llx, flags %#llx",
				 code_text(code, size), i, (unsigned long long)cpu->r[i],
				 (unsigned long long)host->r[i], (unsigned long long)before.r[RAX],
				 (unsigned long long)before.r[RCX], (unsigned long long)before.r[RDX],
				 (unsigned long long)before.flags);
	if ((flags ^ host->flags) & defined && !number)
		fail_msg("%s: flags %#llx, host has %#llx, before %#llx; rax %#llx rcx %#llx", code_text(code, size),
			 (unsigned long long)flags, (unsigned long long)host->flags, (unsigned long long)before.flags,
			 (unsigned long long)before.r[RAX], (unsigned long long)before.r[RCX]);
	if (memcmp(rig->ram + RIG_DATA, (void *)RIG_DATA, DATA_SIZE) != 0)
		fail_msg("%s: memory differs", code_text(code, size));
}

static void random_state(void)
{
	for (unsigned i = 0; i < 16; i++)
		host->r[i] = operand();
	host->flags = (random64() & RFLAGS_ARITH) | RFLAGS_1 | RFLAGS_IF;
}

struct instruction {
	uint8_t bytes[32], *end;
	uint8_t rex;
	uint8_t *rex_at;
};

static void put(struct instruction *i, unsigned byte)
{
	*i->end++ = (uint8_t)byte;
}

static unsigned not_rsp(bool extended)
{
	unsigned number;

	do
		number = below(extended ? 16 : 8);
	while (number == RSP);
	return number;
}

/* ModRM and what follows it. *rex gets R, X, B. The base register is made to point into the data. */
static void put_modrm(struct instruction *i, int reg, unsigned options, uint8_t *rex)
{
	bool memory = options & MEM || (!(options & REG) && below(2));
	unsigned field = reg >= 0 ? (unsigned)reg : not_rsp(true), base, index, mod;
	int32_t displacement;

	if (reg < 0)
		*rex |= (field >> 3) << 2;
	field &= 7;
	base = not_rsp(true);
	*rex |= base >> 3;
	if (!memory) {
		put(i, 0xc0 | field << 3 | (base & 7));
		return;
	}
	mod = 1 + below(2);
	displacement = (int8_t)random64();
	host->r[base] = RIG_DATA + 0x1800 + below(256);
	if (below(2)) {
		do
			index = not_rsp(true);
		while (index == base);
		host->r[index] = below(64);
		*rex |= (index >> 3) << 1;
		put(i, mod << 6 | field << 3 | 4);
		put(i, below(4) << 6 | (index & 7) << 3 | (base & 7));
	} else {
		put(i, mod << 6 | field << 3 | ((base & 7) == 4 ? 4 : (base & 7)));
		if ((base & 7) == 4)
			put(i, 0x24);
	}
	memcpy(i->end, &displacement, 4);
	i->end += mod == 1 ? 1 : 4;
}

static void put_immediate(struct instruction *i, unsigned bytes)
{
	uint64_t value = operand();

	memcpy(i->end, &value, bytes);
	i->end += bytes;
}

/* One random instance of a pattern, and registers that suit it. False: the instance would not be valid. */
static void build(const struct pattern *pattern, struct instruction *i)
{
	unsigned options = pattern->options, size, tail = 0;
	bool opsize = options & NEED66 || (!(options & (NO16 | NEED66)) && below(4) == 0);
	bool wide = options & ONLY64 || below(3) == 0;
	uint8_t body[24], rex = wide ? 8 : 0;
	struct instruction rest = {.end = body};
	const char *t = pattern->text;

	random_state();
	size = wide ? 8 : opsize && !(options & NEED66) ? 2 : 4;
	for (; *t; t += 2) {
		if (*t == '/') {
			put_modrm(&rest, t[1] == 'r' ? -1 : t[1] - '0', options, &rex);
		} else if (*t == '+') {
			unsigned number = not_rsp(true);

			rest.end[-1] |= number & 7;
			rex |= number >> 3;
		} else if (*t == 'i') {
			put_immediate(&rest, t[1] == 'b' ? 1 : t[1] == 'v' ? size : size == 8 ? 4 : size);
			tail = 1;
		} else {
			rest.end = emit(rest.end, (char[]){t[0], t[1], 0});
		}
	}
	(void)tail;
	i->end = i->bytes;
	if (opsize)
		put(i, 0x66);
	if (options & NEEDF3)
		put(i, 0xf3);
	if (options & NEEDF2)
		put(i, 0xf2);
	if (rex || below(4) == 0)
		put(i, 0x40 | rex);
	memcpy(i->end, body, (size_t)(rest.end - body));
	i->end += rest.end - body;
}

static bool names_rsp(const struct insn *insn, unsigned options)
{
	/* Without REX, byte register 4 is AH, so only true RSP matters: it belongs to the host here. */
	for (unsigned n = 0; n < insn->form->operands; n++) {
		const struct form_operand *o = &insn->form->operand[n];
		unsigned number = o->where == FIELD_REG ? insn->reg : insn->rm;

		if (o->kind != OPERAND_REG || o->where == FIELD_VVVV)
			continue;
		if (o->class == ZYDIS_REGCLASS_GPR8 ? number == 8 * RSP : number == RSP)
			return true;
	}
	return false;
}

static void one_case(struct rig *rig, const struct pattern *pattern)
{
	struct instruction i;
	struct insn insn;
	uint8_t code[64] = {0};
	size_t size;

	build(pattern, &i);
	size = (size_t)(i.end - i.bytes);
	memcpy(code, i.bytes, size);
	if (decode(rig->decoder, code, sizeof(code), rig->cpu.mode, 0, &insn) != DECODE_OK)
		fail_msg("%s: not decoded", code_text(code, size));
	assert_int_equal(insn.len, size);
	if (names_rsp(&insn, pattern->options))
		return;
	if (pattern->options & BITS_IN && insn.ea != EA_NONE && insn.base != insn.reg && insn.index != insn.reg)
		host->r[insn.reg] = (host->r[insn.reg] & 0x3ff) - (below(2) ? 0x200 : 0);
	else if (pattern->options & BITS_IN && insn.ea != EA_NONE)
		return;
	if (pattern->options & DIVIDE && below(4)) {
		host->r[RDX] = below(2) ? 0 : operand() >> 60;
		if (insn.ea == EA_NONE && insn.rm == RDX)
			return;
	}
	if (pattern->options & DIVIDE && insn.ea != EA_NONE && (insn.base == RDX || insn.index == RDX))
		return;
	if (pattern->options & LOCKABLE && insn.ea != EA_NONE && below(4) == 0) {
		memmove(code + 1, code, size++);
		code[0] = 0xf0;
	}
	compare_run(rig, code, size, 1000000);
}

static void agrees_with_the_host(void **state)
{
	catch_signals();
	for (unsigned p = 0; p < ARRAY_SIZE(patterns); p++)
		for (unsigned n = 0; n < CASES; n++)
			one_case(*state, &patterns[p]);
}

static void vex_forms_agree_with_the_host(void **state)
{
	struct rig *rig = *state;

	catch_signals();
	for (unsigned p = 0; p < ARRAY_SIZE(vex_patterns); p++) {
		for (unsigned n = 0; n < CASES; n++) {
			struct instruction rest, i = {.end = i.bytes};
			uint8_t rex = 0, vvvv = (uint8_t)not_rsp(true);
			struct insn insn;
			uint8_t code[64] = {0};
			size_t size;

			random_state();
			rest.end = rest.bytes;
			put_modrm(&rest, vex_patterns[p].reg, 0, &rex);
			if (vex_patterns[p].immediate)
				put_immediate(&rest, 1);
			put(&i, 0xc4);
			put(&i, (~rex & 7) << 5 | vex_patterns[p].map);
			put(&i, below(2) << 7 | (vex_patterns[p].vvvv ? ~vvvv & 15 : 15) << 3 | vex_patterns[p].pp);
			put(&i, vex_patterns[p].opcode);
			memcpy(i.end, rest.bytes, (size_t)(rest.end - rest.bytes));
			size = (size_t)(i.end - i.bytes) + (size_t)(rest.end - rest.bytes);
			memcpy(code, i.bytes, size);
			if (decode(rig->decoder, code, sizeof(code), rig->cpu.mode, 0, &insn) != DECODE_OK)
				fail_msg("%s: not decoded", code_text(code, size));
			compare_run(rig, code, size, 1000000);
		}
	}
}

/* Strings: any size, direction, distance of source and destination, with and without REP, across pages and into the
 * hole below the data. */
static void strings_agree_with_the_host(void **state)
{
	static const uint8_t opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

	catch_signals();
	for (unsigned n = 0; n < 20000; n++) {
		struct instruction i = {.end = i.bytes};
		unsigned kind = below(4), opcode = opcodes[below(ARRAY_SIZE(opcodes))];
		int64_t ticks = below(3) ? 1000000 : 1 + below(4);

		random_state();
		host->r[RSI] = RIG_DATA + (below(4) ? 0x1000 : 0) + below(0x1000);
		host->r[RDI] =
			below(2) ? host->r[RSI] + below(40) - 20 : RIG_DATA + (below(4) ? 0x1000 : 0) + below(0x1000);
		host->r[RCX] = below(below(2) ? 600 : 4);
		host->flags |= below(3) ? 0 : RFLAGS_DF;
		if (kind == 1)
			put(&i, 0xf3);
		if (kind == 2 && opcode >= 0xa6 && opcode != 0xaa && opcode != 0xab && opcode != 0xac && opcode != 0xad)
			put(&i, 0xf2);
		if (below(3) == 0)
			put(&i, 0x66);
		if (below(4) == 0) {
			put(&i, 0x67);
			host->r[RCX] |= random64() << 32;
		}
		if (below(3) == 0)
			put(&i, 0x48);
		put(&i, opcode);
		if (i.bytes[0] == 0xf3 && below(2) && opcode >= 0xa6 && opcode <= 0xa7)
			host->r[RSI] = host->r[RDI]; /* equal strings */
		compare_run(*state, i.bytes, (size_t)(i.end - i.bytes), ticks);
	}
}

/* SDM vol. 2, "DAA" and "DAS": packed sums and differences of all pairs of two digits. */
static void packed_decimal(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	rig_mode(rig, 32);
	for (unsigned a = 0; a < 100; a++) {
		for (unsigned b = 0; b < 100; b++) {
			unsigned pa = a / 10 << 4 | a % 10, pb = b / 10 << 4 | b % 10, r;

			cpu->r[RAX] = 0xab00 | pa;
			cpu->r[RBX] = pb;
			RIG_RUN(rig, 0x00, 0xd8);
			RIG_RUN(rig, 0x27);
			r = (a + b) % 100;
			assert_int_equal(cpu->r[RAX], 0xab00 | r / 10 << 4 | r % 10);
			assert_int_equal(cc_carry(&cpu->cc), a + b > 99);
			cpu->r[RAX] = pa;
			RIG_RUN(rig, 0x28, 0xd8);
			RIG_RUN(rig, 0x2f);
			r = (100 + a - b) % 100;
			assert_int_equal(cpu->r[RAX], r / 10 << 4 | r % 10);
			assert_int_equal(cc_carry(&cpu->cc), a < b);
		}
	}
	rig_destroy(rig);
}

/* "AAA", "AAS", "AAM", "AAD". */
static void unpacked_decimal(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	rig_mode(rig, 32);
	for (unsigned a = 0; a < 10; a++) {
		for (unsigned b = 0; b < 10; b++) {
			cpu->r[RAX] = 0x300 | a;
			cpu->r[RBX] = b;
			RIG_RUN(rig, 0x00, 0xd8);
			RIG_RUN(rig, 0x37);
			assert_int_equal(cpu->r[RAX], (a + b > 9 ? 0x400 : 0x300) | (a + b) % 10);
			assert_int_equal(cc_flags(&cpu->cc) & (RFLAGS_CF | RFLAGS_AF),
					 a + b > 9 ? RFLAGS_CF | RFLAGS_AF : 0);
			cpu->r[RAX] = 0x300 | a;
			RIG_RUN(rig, 0x28, 0xd8);
			RIG_RUN(rig, 0x3f);
			assert_int_equal(cpu->r[RAX], (a < b ? 0x200 : 0x300) | (10 + a - b) % 10);
			cpu->r[RAX] = a * b;
			RIG_RUN(rig, 0xd4, 10);
			assert_int_equal(cpu->r[RAX], a * b / 10 << 8 | a * b % 10);
			cpu->r[RAX] = a << 8 | b;
			RIG_RUN(rig, 0xd5, 10);
			assert_int_equal(cpu->r[RAX], 10 * a + b);
		}
	}
	assert_int_equal(RIG_RUN(rig, 0xd4, 0), STEP_FAULT);
	assert_int_equal(cpu->fault.vector, VECTOR_DE);
	rig_destroy(rig);
}

static void cmpxchg16b(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	cpu->r[RSI] = RIG_DATA;
	store_le(rig->ram + RIG_DATA, 8, 1);
	store_le(rig->ram + RIG_DATA + 8, 8, 2);
	cpu->r[RAX] = 1;
	cpu->r[RDX] = 2;
	cpu->r[RBX] = 3;
	cpu->r[RCX] = 4;
	assert_int_equal(RIG_RUN(rig, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), STEP_NEXT);
	assert_true(cc_flags(&cpu->cc) & RFLAGS_ZF);
	assert_int_equal(load_le(rig->ram + RIG_DATA, 8), 3);
	assert_int_equal(load_le(rig->ram + RIG_DATA + 8, 8), 4);
	assert_int_equal(RIG_RUN(rig, 0x48, 0x0f, 0xc7, 0x0e), STEP_NEXT);
	assert_false(cc_flags(&cpu->cc) & RFLAGS_ZF);
	assert_int_equal(cpu->r[RAX], 3);
	assert_int_equal(cpu->r[RDX], 4);
	cpu->r[RSI] += 8;
	assert_int_equal(RIG_RUN(rig, 0x48, 0x0f, 0xc7, 0x0e), STEP_FAULT);
	assert_int_equal(cpu->fault.vector, VECTOR_GP);
	rig_destroy(rig);
}

/* The low half of the register becomes 0. */
static void bswap_of_16_bits(void **state)
{
	struct rig *rig = rig_create("max");

	rig->cpu.r[RBX] = UINT64_C(0x1122334455667788);
	RIG_RUN(rig, 0x66, 0x0f, 0xcb);
	assert_int_equal(rig->cpu.r[RBX], UINT64_C(0x1122334455660000));
	rig_destroy(rig);
}

/* LOCK is for a memory destination of a few operations. */
static void lock_where_it_may_not_be(void **state)
{
	struct rig *rig = rig_create("max");

	assert_int_equal(RIG_RUN(rig, 0xf0, 0x01, 0xd8), STEP_FAULT); /* add eax, ebx */
	assert_int_equal(rig->cpu.fault.vector, VECTOR_UD);
	assert_int_equal(RIG_RUN(rig, 0xf0, 0x03, 0x1e), STEP_FAULT); /* add ebx, [rsi] */
	assert_int_equal(RIG_RUN(rig, 0xf0, 0x39, 0x1e), STEP_FAULT); /* cmp [rsi], ebx */
	assert_int_equal(RIG_RUN(rig, 0xf0, 0x89, 0x1e), STEP_FAULT); /* mov [rsi], ebx */
	rig_destroy(rig);
}

static void xlat_and_offsets(void **state)
{
	struct rig *rig = rig_create("max");
	struct cpu *cpu = &rig->cpu;

	rig->ram[RIG_DATA + 0x85] = 0x5a;
	cpu->r[RBX] = RIG_DATA + 5;
	cpu->r[RAX] = 0x1180;
	RIG_RUN(rig, 0xd7);
	assert_int_equal(cpu->r[RAX], 0x115a);
	RIG_RUN(rig, 0xa1, 0x85, 0x00, 0x20, 0, 0, 0, 0, 0); /* mov eax, [200085h] */
	assert_int_equal(cpu->r[RAX], 0x5a);
	cpu->r[RAX] = 0x77;
	RIG_RUN(rig, 0xa2, 0x86, 0x00, 0x20, 0, 0, 0, 0, 0);
	assert_int_equal(rig->ram[RIG_DATA + 0x86], 0x77);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_host),
		cmocka_unit_test(vex_forms_agree_with_the_host),
		cmocka_unit_test(strings_agree_with_the_host),
		cmocka_unit_test(packed_decimal),
		cmocka_unit_test(unpacked_decimal),
		cmocka_unit_test(cmpxchg16b),
		cmocka_unit_test(bswap_of_16_bits),
		cmocka_unit_test(lock_where_it_may_not_be),
		cmocka_unit_test(xlat_and_offsets),
	};

	return cmocka_run_group_tests(tests, start_host, stop_host);
}
