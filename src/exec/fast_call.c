/*
 * Fast system calls: SYSCALL SYSRET SYSENTER SYSEXIT SWAPGS. SDM vol. 2 for each, as Intel processors have them:
 * SYSCALL and SYSRET in 64-bit mode only.
 */
#include "exec/entries.h"
#include "exec/protect.h"

#define AR_CODE_FLAT (AR_CODE | AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_G)
#define AR_DATA_FLAT (AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_G | AR_DB)

/* CS and SS get fixed contents; their descriptors are not read. */
static void enter(struct cpu *cpu, unsigned cpl, uint16_t cs, uint16_t ss, bool wide)
{
	cpu->seg[CS] = (struct segment){
		.selector = cs,
		.limit = UINT32_MAX,
		.ar = AR_CODE_FLAT | cpl << 5 | (uint32_t)(wide ? AR_L : AR_DB),
	};
	cpu->seg[SS] = (struct segment){.selector = ss, .limit = UINT32_MAX, .ar = AR_DATA_FLAT | cpl << 5};
	cpu->cpl = (uint8_t)cpl;
	exec_privilege_changed(cpu);
}

static enum step exec_syscall(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = (uint16_t)(cpu->star >> 32);
	uint64_t flags = cpu_rflags(cpu);

	if (!cpu_64bit(cpu) || !(cpu->efer & EFER_SCE))
		return raise_fault(cpu, VECTOR_UD);
	cpu->r[RCX] = cpu->rip;
	cpu->r[R11] = flags & ~RFLAGS_RF;
	cpu->rip = cpu->lstar;
	cpu_set_rflags(cpu, flags & ~cpu->fmask & ~RFLAGS_RF);
	if (!(cpu->rflags & RFLAGS_TF))
		cpu->shadow &= ~SHADOW_STEP; /* masked, TF does not trap after this instruction either */
	enter(cpu, 0, selector & 0xfffc, (selector & 0xfffc) + 8, true);
	return STEP_LEAVE;
}

static enum step exec_sysret(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = (uint16_t)(cpu->star >> 48);
	bool wide = insn->prefixes & PREFIX_REX_W;

	if (!cpu_64bit(cpu) || !(cpu->efer & EFER_SCE))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0 || (wide && !cpu_canonical(cpu, cpu->r[RCX])))
		return raise_gp0(cpu);
	cpu->rip = wide ? cpu->r[RCX] : (uint32_t)cpu->r[RCX];
	cpu_set_rflags(cpu, cpu->r[R11] & RFLAGS_DEFINED & ~(RFLAGS_RF | RFLAGS_VM));
	enter(cpu, 3, (uint16_t)(selector + (wide ? 16 : 0)) | 3, (uint16_t)(selector + 8) | 3, wide);
	exec_recheck_events(cpu);
	return STEP_LEAVE;
}

static enum step exec_sysenter(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->sysenter_cs & 0xfffc;
	bool wide = cpu_long_mode(cpu);

	if (!cpu_protected(cpu) || !selector)
		return raise_gp0(cpu);
	cpu->rflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
	cpu->r[RSP] = wide ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
	cpu->rip = wide ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
	enter(cpu, 0, selector, selector + 8, wide);
	return STEP_LEAVE;
}

static enum step exec_sysexit(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->sysenter_cs & 0xfffc;
	bool wide = insn->prefixes & PREFIX_REX_W;

	if (!cpu_protected(cpu) || !selector || cpu->cpl > 0)
		return raise_gp0(cpu);
	if (wide && (!cpu_canonical(cpu, cpu->r[RCX]) || !cpu_canonical(cpu, cpu->r[RDX])))
		return raise_gp0(cpu);
	selector = (uint16_t)(selector + (wide ? 32 : 16)) | 3;
	cpu->r[RSP] = wide ? cpu->r[RCX] : (uint32_t)cpu->r[RCX];
	cpu->rip = wide ? cpu->r[RDX] : (uint32_t)cpu->r[RDX];
	enter(cpu, 3, selector, selector + 8, wide);
	return STEP_LEAVE;
}

static enum step exec_swapgs(struct cpu *cpu, const struct insn *insn)
{
	uint64_t base = cpu->seg[GS].base;

	if (!cpu_64bit(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	cpu->seg[GS].base = cpu->fs_kernel_gs;
	cpu->fs_kernel_gs = base;
	return STEP_NEXT;
}

const struct exec_entry exec_fast_call_entries[] = {
	ENTRY(SYSCALL, exec_syscall), ENTRY(SYSRET, exec_sysret), ENTRY(SYSENTER, exec_sysenter),
	ENTRY(SYSEXIT, exec_sysexit), ENTRY(SWAPGS, exec_swapgs), {0},
};
