/*
 * Lazy arithmetic flags: from what an instruction left behind to CF PF AF ZF SF OF. SDM vol. 1, "Status Flags" and
 * "EFLAGS Condition Codes".
 */
#include "cpu/flags.h"

/* Result, second operand and the first operand, cut to the operand size. */
struct parts {
	uint64_t dst, src, a, sign;
};

static struct parts parts_of(const struct lazy_flags *cc)
{
	uint64_t mask = bytes_mask(1u << cc->op % 4);
	struct parts p = {.dst = cc->dst & mask, .src = cc->src & mask, .sign = mask ^ mask >> 1};

	switch ((cc->op & ~CC_ROTATED) / 4) {
	case CC_ADD: p.a = p.dst - p.src; break;
	case CC_ADC: p.a = p.dst - p.src - 1; break;
	case CC_SUB: p.a = p.dst + p.src; break;
	case CC_SBB: p.a = p.dst + p.src + 1; break;
	default: break;
	}
	p.a &= mask;
	return p;
}

static bool carry(unsigned kind, const struct parts *p)
{
	switch (kind) {
	case CC_ADD: return p->dst < p->src;
	case CC_ADC: return p->dst <= p->src;
	case CC_SUB: return p->a < p->src;
	case CC_SBB: return p->a <= p->src;
	case CC_SHL: return p->src & p->sign;
	case CC_EXACT:
	case CC_INC:
	case CC_DEC:
	case CC_SHR:
	case CC_SAR: return p->src & 1; /* CF is bit 0 of RFLAGS */
	default: return false;
	}
}

static bool overflow(unsigned kind, const struct parts *p)
{
	switch (kind) {
	case CC_ADD:
	case CC_ADC: return ~(p->a ^ p->src) & (p->a ^ p->dst) & p->sign;
	case CC_SUB:
	case CC_SBB: return (p->a ^ p->src) & (p->a ^ p->dst) & p->sign;
	case CC_INC: return p->dst == p->sign;
	case CC_DEC: return p->dst == p->sign - 1;
	case CC_SHL:
	case CC_SHR: return (p->src ^ p->dst) & p->sign;
	default: return false;
	}
}

static bool adjust(unsigned kind, const struct parts *p)
{
	switch (kind) {
	case CC_ADD:
	case CC_ADC:
	case CC_SUB:
	case CC_SBB: return (p->a ^ p->src ^ p->dst) & 0x10;
	case CC_INC: return (p->dst & 0xf) == 0;
	case CC_DEC: return (p->dst & 0xf) == 0xf;
	default: return false;
	}
}

uint32_t cc_flags(const struct lazy_flags *cc)
{
	unsigned kind = (cc->op & ~CC_ROTATED) / 4;
	uint64_t flags = 0;
	struct parts p;

	if (kind == CC_EXACT)
		return (uint32_t)(cc->src & RFLAGS_ARITH);
	p = parts_of(cc);
	flags |= carry(kind, &p) ? RFLAGS_CF : 0;
	flags |= __builtin_parity((unsigned)(p.dst & 0xff)) ? 0 : RFLAGS_PF;
	flags |= adjust(kind, &p) ? RFLAGS_AF : 0;
	flags |= p.dst == 0 ? RFLAGS_ZF : 0;
	flags |= p.dst & p.sign ? RFLAGS_SF : 0;
	flags |= overflow(kind, &p) ? RFLAGS_OF : 0;
	if (cc->op & CC_ROTATED)
		flags = (flags & ~(RFLAGS_CF | RFLAGS_OF)) | cc->rotated;
	return (uint32_t)flags;
}

bool cc_carry(const struct lazy_flags *cc)
{
	struct parts p = parts_of(cc);

	return cc->op & CC_ROTATED ? cc->rotated & RFLAGS_CF : carry(cc->op / 4, &p);
}

bool cc_condition(const struct lazy_flags *cc, unsigned condition)
{
	uint32_t flags = cc_flags(cc);
	bool holds = false;

	switch (condition >> 1) {
	case 0: holds = flags & RFLAGS_OF; break;
	case 1: holds = flags & RFLAGS_CF; break;
	case 2: holds = flags & RFLAGS_ZF; break;
	case 3: holds = flags & (RFLAGS_CF | RFLAGS_ZF); break;
	case 4: holds = flags & RFLAGS_SF; break;
	case 5: holds = flags & RFLAGS_PF; break;
	case 6: holds = !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF); break;
	case 7: holds = (flags & RFLAGS_ZF) || !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF); break;
	default: break;
	}
	return holds != (condition & 1);
}
