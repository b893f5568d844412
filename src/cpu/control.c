/*
 * Which values control registers accept. SDM vol. 3, "Control Registers"; vol. 4, "IA32_EFER".
 *
 * Not modelled: CET, SMX, LAM, user interrupts, protection keys for supervisor pages; their CR bits are reserved.
 */
#include "cpu/control.h"

uint64_t cpu_cr4_allowed(const struct cpu_model *model)
{
	static const struct {
		enum feature feature;
		uint64_t bits;
	} row[] = {
		{FEATURE_VME, CR4_VME | CR4_PVI}, {FEATURE_TSC, CR4_TSD},     {FEATURE_DE, CR4_DE},
		{FEATURE_PSE, CR4_PSE},		  {FEATURE_PAE, CR4_PAE},     {FEATURE_MCE, CR4_MCE},
		{FEATURE_PGE, CR4_PGE},		  {FEATURE_FXSR, CR4_OSFXSR}, {FEATURE_SSE, CR4_OSXMMEXCPT},
		{FEATURE_UMIP, CR4_UMIP},	  {FEATURE_LA57, CR4_LA57},   {FEATURE_VMX, CR4_VMXE},
		{FEATURE_FSGSBASE, CR4_FSGSBASE}, {FEATURE_PCID, CR4_PCIDE},  {FEATURE_XSAVE, CR4_OSXSAVE},
		{FEATURE_SMEP, CR4_SMEP},	  {FEATURE_SMAP, CR4_SMAP},   {FEATURE_PKU, CR4_PKE},
	};
	uint64_t allowed = CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(row); i++)
		if (model_has(model, row[i].feature))
			allowed |= row[i].bits;
	return allowed;
}

uint64_t cpu_efer_allowed(const struct cpu_model *model)
{
	return (model_has(model, FEATURE_SYSCALL) ? EFER_SCE : 0) |
	       (model_has(model, FEATURE_LM) ? EFER_LME | EFER_LMA : 0) | (model_has(model, FEATURE_NX) ? EFER_NXE : 0);
}

uint64_t cpu_debugctl_allowed(const struct cpu_model *model)
{
	return DEBUGCTL_LBR | DEBUGCTL_BTF | (model_has(model, FEATURE_PERFMON) ? DEBUGCTL_FREEZE_PERFMON_ON_PMI : 0);
}

uint64_t cpu_perf_global_ctrl_allowed(const struct cpu_model *model)
{
	return model_has(model, FEATURE_PERFMON) ? BITS(PMU_COUNTERS - 1, 0) | BITS(32 + PMU_FIXED - 1, 32) : 0;
}

bool cpu_cr0_valid(uint64_t value)
{
	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	return !((value & CR0_NW) && !(value & CR0_CD));
}

bool cpu_cr3_valid(const struct cpu_model *model, uint64_t value, bool long_mode)
{
	if (!long_mode)
		return value >> 32 == 0;
	return (value & BITS(63, 0) << model->physical_bits) == 0;
}
