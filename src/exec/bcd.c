/*
 * Decimal arithmetic on AL and AX: SDM vol. 2, "AAA", "AAD", "AAM", "AAS", "DAA", "DAS". Not in 64-bit mode.
 *
 * What the manual leaves undefined: SF, ZF and PF follow AL, and OF is 0; after AAD and AAM also CF and AF are 0.
 */
#include "exec/integer.h"

static void set_al(struct cpu *cpu, uint8_t al, uint64_t carries)
{
	reg_set(cpu, RAX, 1, al);
	cc_set_exact(cpu, result_flags(al, 1) | carries);
}

/* AAA and AAS: adjust is 106H or -106H: AL by 6 and AH by 1 at once. */
static enum step ascii_adjust(struct cpu *cpu, unsigned adjust)
{
	uint16_t ax = (uint16_t)cpu->r[RAX];
	bool carry = (ax & 15) > 9 || (cc_flags(&cpu->cc) & RFLAGS_AF);

	if (carry)
		ax = (uint16_t)(ax + adjust);
	reg_set(cpu, RAX, 2, ax & 0xff0f);
	set_al(cpu, ax & 15, flag_if(carry, RFLAGS_AF | RFLAGS_CF));
	return STEP_NEXT;
}

static enum step aaa(struct cpu *cpu, const struct insn *insn)
{
	return ascii_adjust(cpu, 0x106);
}

static enum step aas(struct cpu *cpu, const struct insn *insn)
{
	return ascii_adjust(cpu, -0x106u);
}

static enum step aad(struct cpu *cpu, const struct insn *insn)
{
	uint16_t ax = (uint16_t)cpu->r[RAX];
	uint8_t al = (uint8_t)(ax + (ax >> 8) * (uint8_t)insn->imm);

	reg_set(cpu, RAX, 2, al);
	set_al(cpu, al, 0);
	return STEP_NEXT;
}

static enum step aam(struct cpu *cpu, const struct insn *insn)
{
	uint8_t al = (uint8_t)cpu->r[RAX], base = (uint8_t)insn->imm;

	if (base == 0)
		return raise_fault(cpu, VECTOR_DE);
	reg_set(cpu, RAX, 2, (uint64_t)(al / base) << 8);
	set_al(cpu, al % base, 0);
	return STEP_NEXT;
}

static enum step daa(struct cpu *cpu, const struct insn *insn)
{
	uint64_t flags = cc_flags(&cpu->cc);
	uint8_t old = (uint8_t)cpu->r[RAX], al = old;
	bool low = (old & 15) > 9 || (flags & RFLAGS_AF), high = old > 0x99 || (flags & RFLAGS_CF);

	if (low)
		al += 6;
	if (high)
		al += 0x60;
	set_al(cpu, al, flag_if(low, RFLAGS_AF) | flag_if(high, RFLAGS_CF));
	return STEP_NEXT;
}

/* Unlike DAA, a borrow from the low digit's correction sets CF too. */
static enum step das(struct cpu *cpu, const struct insn *insn)
{
	uint64_t flags = cc_flags(&cpu->cc);
	uint8_t old = (uint8_t)cpu->r[RAX], al = old;
	bool low = (old & 15) > 9 || (flags & RFLAGS_AF), high = old > 0x99 || (flags & RFLAGS_CF);
	bool carry = high || (low && old < 6);

	if (low)
		al -= 6;
	if (high)
		al -= 0x60;
	set_al(cpu, al, flag_if(low, RFLAGS_AF) | flag_if(carry, RFLAGS_CF));
	return STEP_NEXT;
}

const struct exec_entry exec_bcd_entries[] = {
	ENTRY(AAA, aaa), ENTRY(AAS, aas), ENTRY(AAD, aad), ENTRY(AAM, aam), ENTRY(DAA, daa), ENTRY(DAS, das), {0},
};
