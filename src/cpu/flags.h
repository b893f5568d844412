/*
 * Lazy arithmetic flags: how lazy_flags.op, dst and src give CF PF AF ZF SF OF. SDM vol. 1, "Status Flags".
 *
 * op = kind * 4 + log2(operand size in bytes). dst is the result, src the second operand (or what the kind says), both
 * as stored by the handler: only the low `size` bytes count.
 */
#pragma once

#include "cpu/cpu.h"

enum cc_kind {
	CC_EXACT, /* src holds the flags themselves, at their places in RFLAGS */
	CC_ADD,	  /* dst = a + src */
	CC_ADC,	  /* dst = a + src + 1: ADC with carry in; without one it is CC_ADD */
	CC_SUB,	  /* dst = a - src */
	CC_SBB,	  /* dst = a - src - 1 */
	CC_LOGIC, /* dst; CF = OF = AF = 0 */
	CC_INC,	  /* dst = a + 1; src = CF before (0 or 1) */
	CC_DEC,	  /* dst = a - 1; src = CF before */
	CC_SHL,	  /* dst = a << n; src = a << (n - 1); AF = 0 */
	CC_SHR, /* dst = a >> n, logical; src = a >> (n - 1) ; OF as for n = 1: the sign of src xor the sign of dst; AF
		   = 0 */
	CC_SAR, /* dst = a >> n, arithmetic; src = a >> (n - 1); OF = 0; AF = 0 */
	CC_KINDS
};

#define CC(kind, log2_size) ((uint32_t)(kind)*4 + (log2_size))

/* Added to an op that is not CC_EXACT: a rotate came after it, whose CF and OF are in `rotated`; the other flags are as
 * the op says. */
#define CC_ROTATED (UINT32_C(1) << 16)

/* All six flags at their RFLAGS places. */
uint32_t cc_flags(const struct lazy_flags *cc);

static inline void cc_set_exact(struct cpu *cpu, uint64_t arith_flags)
{
	cpu->cc.op = CC(CC_EXACT, 0);
	cpu->cc.src = arith_flags & RFLAGS_ARITH;
}

/* CF and OF of a rotate; the other flags stay. */
static inline void cc_set_rotated(struct cpu *cpu, bool carry, bool overflow)
{
	uint32_t flags = (uint32_t)carry | (uint32_t)overflow << 11;

	if (cpu->cc.op < 4) {
		cpu->cc.src = (cpu->cc.src & ~(RFLAGS_CF | RFLAGS_OF)) | flags;
	} else {
		cpu->cc.op |= CC_ROTATED;
		cpu->cc.rotated = flags;
	}
}

/* Carry alone, which ADC, SBB, RCL, INC ... want. */
bool cc_carry(const struct lazy_flags *cc);

/* Condition code 0-15 as in Jcc, SETcc, CMOVcc: SDM vol. 1, "EFLAGS Condition Codes". */
bool cc_condition(const struct lazy_flags *cc, unsigned condition);
