/*
 * Conditions of Jcc, SETcc, CMOVcc, with what compilers make first: a CMP or TEST before them. The rest is
 * cpu/flags.c's. SDM vol. 1, "EFLAGS Condition Codes".
 */
#pragma once

#include "interp/op.h"

/* Condition codes without their lowest bit, which negates. */
enum { COND_O, COND_B, COND_Z, COND_BE, COND_S, COND_P, COND_L, COND_LE };

#define SUB_CONDITION(T, S)                                \
	{                                                  \
		T b = (T)cc->src, a = (T)((T)cc->dst + b); \
		switch (n >> 1) {                          \
		case COND_B: return a < b;                 \
		case COND_BE: return a <= b;               \
		case COND_L: return (S)a < (S)b;           \
		case COND_LE: return (S)a <= (S)b;         \
		default: break;                            \
		}                                          \
		break;                                     \
	}

static inline bool op_base_condition(const struct lazy_flags *cc, unsigned n)
{
	if (likely(cc->op >= 4)) { /* not CC_EXACT: dst is the result */
		static const uint64_t masks[4] = {0xff, 0xffff, 0xffffffff, ~UINT64_C(0)};
		uint64_t mask = masks[cc->op & 3];

		if (n >> 1 == COND_Z)
			return !(cc->dst & mask);
		if (n >> 1 == COND_S)
			return cc->dst & (mask ^ mask >> 1);
	}
	switch (cc->op) {
	case CC(CC_SUB, LOG2_u8): SUB_CONDITION(uint8_t, int8_t)
	case CC(CC_SUB, LOG2_u16): SUB_CONDITION(uint16_t, int16_t)
	case CC(CC_SUB, LOG2_u32): SUB_CONDITION(uint32_t, int32_t)
	case CC(CC_SUB, LOG2_u64): SUB_CONDITION(uint64_t, int64_t)
	default: break;
	}
	return cc_condition(cc, n & ~1u);
}

static inline bool op_condition(const struct cpu *cpu, unsigned n)
{
	return op_base_condition(&cpu->cc, n) ^ (n & 1);
}
