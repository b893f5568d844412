/*
 * Every form of every instruction that can be tried: found by walking the opcode space with Zydis, and instances of
 * them with random registers, addressing, immediates and prefixes.
 */
#pragma once

#include <Zydis/Zydis.h>
#include "base/types.h"

/* The fixed part of an encoding. */
struct template
{
	uint8_t encoding; /* 0 legacy, 1 VEX, 2 EVEX */
	uint8_t map, opcode, pp, W, L;
	bool opsize; /* legacy: 66H as an operand-size prefix, besides pp */
	bool has_modrm, memory, vsib;
	int8_t digit; /* ModRM.reg when it selects the instruction, else -1 */
	int8_t rm;    /* likewise ModRM.rm */
	bool vvvv;    /* is an operand */
	uint8_t z, b, masked;
	bool code64; /* which of the two modes it is for */
	uint16_t mnemonic;
};

struct forms {
	struct template *list;
	unsigned count;
	/* By mnemonic: each one's templates are list[first] to list[first + number - 1]. */
	struct group {
		uint16_t mnemonic;
		unsigned first, number;
	} * group;
	unsigned groups;
};

/* accept: shall this one be tried? */
void forms_find(struct forms *forms,
		bool (*accept)(void *ctx, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o,
			       const uint8_t *bytes, bool code64),
		void *ctx);
void forms_free(struct forms *forms);

/* Random numbers: splitmix64. */
struct random {
	uint64_t state;
};
uint64_t random_next(struct random *random);
/* Below n. */
static inline unsigned random_below(struct random *random, unsigned n)
{
	return (unsigned)(random_next(random) >> 32) % n;
}

/* Writes one instance, at most 15 bytes of instruction into bytes[16]; returns how many. */
unsigned form_instance(const struct template *t, struct random *random, uint8_t bytes[16]);
