/*
 * Who answers RDMSR and WRMSR, and the MSRs that are the processor's own state: SDM vol. 4.
 *
 * What a write means for translation (EFER.NXE, the APIC page) is exec/'s affair: nothing here knows of TLBs.
 */
#include "cpu/msr.h"
#include "clock/clock.h"
#include "cpu/control.h"
#include <stdlib.h>

struct claim {
	uint32_t first, last;
	const struct msr_ops *ops;
};

struct msr_table {
	struct claim *claim;
	size_t claims;
};

struct msr_table *msr_table_create(void)
{
	return xcalloc(1, sizeof(struct msr_table));
}

void msr_table_destroy(struct msr_table *table)
{
	free(table->claim);
	free(table);
}

void msr_claim(struct msr_table *table, uint32_t first, uint32_t last, const struct msr_ops *ops)
{
	table->claim = xrealloc(table->claim, (table->claims + 1) * sizeof(*table->claim));
	table->claim[table->claims++] = (struct claim){first, last, ops};
}

static const struct msr_ops *owner(const struct msr_table *table, uint32_t index)
{
	for (size_t i = table->claims; i-- > 0;)
		if (index >= table->claim[i].first && index <= table->claim[i].last)
			return table->claim[i].ops;
	return NULL;
}

bool msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	const struct msr_ops *ops = owner(cpu->msr, index);

	return ops && ops->read(cpu, index, value);
}

bool msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	const struct msr_ops *ops = owner(cpu->msr, index);

	return ops && ops->write(cpu, index, value);
}

#define MTRR_VARIABLE (ARRAY_SIZE(((struct cpu *)0)->mtrr_base))

/*
 * Nothing is speculated, so nothing leaks: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO,
 * TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
 */
#define ARCH_CAPABILITIES                                                                                       \
	(BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | BIT(20) | \
	 BIT(24) | BIT(26) | BIT(27) | BIT(62))

/* A revision of microcode that is newer than any for which a kernel knows an erratum. */
#define MICROCODE_REVISION UINT64_C(0x7fff0000)

#define FEATURE_ALWAYS FEATURE_COUNT

static bool offered(const struct cpu *cpu, unsigned feature)
{
	return feature == FEATURE_ALWAYS || model_has(cpu->model, (enum feature)feature);
}

/* Checks of STORED rows. */

static bool check_any(const struct cpu *cpu, uint64_t value)
{
	return true;
}

static bool check_canonical(const struct cpu *cpu, uint64_t value)
{
	return cpu_fits_linear_width(cpu, value);
}

/* SDM vol. 3, "Memory Types That Can Be Encoded in MTRRs": UC, WC, WT, WP, WB. */
static bool check_memory_type(const struct cpu *cpu, uint64_t value)
{
	return BIT(value & 7) & (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6)) && (value & 0xf8) == 0;
}

static bool check_memory_types(const struct cpu *cpu, uint64_t value)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!check_memory_type(cpu, value >> i & 0xff))
			return false;
	return true;
}

/* SDM vol. 3, "Memory Types That Can Be Encoded With PAT": also UC-. */
static bool check_page_attributes(const struct cpu *cpu, uint64_t value)
{
	for (unsigned i = 0; i < 64; i += 8)
		if ((value >> i & 0xff) != 7 && !check_memory_type(cpu, value >> i & 0xff))
			return false;
	return true;
}

/* Accessors of ACTIVE rows. */

uint64_t cpu_tsc(const struct cpu *cpu)
{
	return clock_now(cpu->clock) + cpu->tsc_offset;
}

static bool read_tsc(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu_tsc(cpu);
	return true;
}

/* SDM vol. 3, "Time-Stamp Counter Adjustment": a write to either moves both. */
static bool move_tsc(struct cpu *cpu, uint64_t by)
{
	cpu->tsc_offset += by;
	cpu->tsc_adjust += by;
	if (cpu->event)
		cpu->event(cpu, CPU_TSC_MOVED);
	return true;
}

static bool write_tsc(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return move_tsc(cpu, value - cpu_tsc(cpu));
}

static bool read_tsc_adjust(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->tsc_adjust;
	return true;
}

static bool write_tsc_adjust(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return move_tsc(cpu, value - cpu->tsc_adjust);
}

static bool read_tsc_aux(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->tsc_aux;
	return offered(cpu, FEATURE_RDTSCP) || offered(cpu, FEATURE_RDPID);
}

static bool write_tsc_aux(struct cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t old;

	if (!read_tsc_aux(cpu, index, &old) || value >> 32)
		return false;
	cpu->tsc_aux = value;
	return true;
}

/* Once the lock bit is set, only a reset clears it. */
static bool read_feature_control(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->feature_control;
	return true;
}

static bool write_feature_control(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if ((cpu->feature_control & BIT(0)) || (value & ~(BIT(0) | BIT(2) /* VMX outside SMX */)))
		return false;
	cpu->feature_control = value;
	return true;
}

static bool read_spec_ctrl(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->spec_ctrl;
	return true;
}

static bool write_spec_ctrl(struct cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t bits = BIT(0) | (offered(cpu, FEATURE_STIBP) ? BIT(1) : 0) |
			(offered(cpu, FEATURE_SSBD) ? BIT(2) : 0) | (offered(cpu, FEATURE_BHI_CTRL) ? BIT(10) : 0);

	if (value & ~bits)
		return false;
	cpu->spec_ctrl = value;
	return true;
}

/* IA32_PRED_CMD, IA32_FLUSH_CMD: write-only, one command. */
static bool read_command(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return false;
}

static bool write_command(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return (value & ~BIT(0)) == 0;
}

/* Microcode updates are accepted and change nothing: the revision stays. */
static bool read_update(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return false;
}

static bool write_update(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return true;
}

/* Software writes 0 and executes CPUID, which puts the revision here: it is there always. */
static bool read_signature(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = MICROCODE_REVISION << 32;
	return true;
}

static bool write_signature(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return true;
}

static bool read_misc_enable(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->misc_enable;
	return true;
}

/* What is unavailable is read-only and reads as unavailable. */
static bool write_misc_enable(struct cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t fixed = MISC_ENABLE_BTS_ABSENT | MISC_ENABLE_PEBS_ABSENT | MISC_ENABLE_PERFMON;
	uint64_t bits = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_LIMIT_CPUID | MISC_ENABLE_IDLE |
			(offered(cpu, FEATURE_NX) ? MISC_ENABLE_XD_DISABLE : 0) |
			(offered(cpu, FEATURE_MONITOR) ? MISC_ENABLE_MONITOR : 0);

	if (value & ~(bits | fixed))
		return false;
	cpu->misc_enable = (value & bits) | (cpu->misc_enable & fixed);
	return true;
}

static bool read_debugctl(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->debugctl;
	return true;
}

static bool write_debugctl(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if (value & ~cpu_debugctl_allowed(cpu->model))
		return false;
	cpu->debugctl = cpu_debugctl_kept(value);
	return true;
}

/* IA32_MTRR_PHYSBASEn and IA32_MTRR_PHYSMASKn, in turn. SDM vol. 3, "Variable Range MTRRs". */
static bool read_mtrr_variable(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	unsigned n = index - MSR_MTRR_PHYSBASE0;

	*value = n & 1 ? cpu->mtrr_mask[n / 2] : cpu->mtrr_base[n / 2];
	return true;
}

static bool write_mtrr_variable(struct cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t address = BITS(cpu->model->physical_bits - 1, 12);
	unsigned n = index - MSR_MTRR_PHYSBASE0;

	if (n & 1) {
		if (value & ~(address | BIT(11)))
			return false;
		cpu->mtrr_mask[n / 2] = value;
		return true;
	}
	if ((value & ~(address | 0xff)) || !check_memory_type(cpu, value & 0xff))
		return false;
	cpu->mtrr_base[n / 2] = value;
	return true;
}

static bool read_efer(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->efer;
	return cpu_efer_allowed(cpu->model) != 0;
}

/* LMA is the processor's; LME is frozen while paging is on. */
static bool write_efer(struct cpu *cpu, uint32_t index, uint64_t value)
{
	uint64_t allowed = cpu_efer_allowed(cpu->model) & ~EFER_LMA;

	if (cpu->misc_enable & MISC_ENABLE_XD_DISABLE)
		allowed &= ~EFER_NXE;
	if (!allowed || (value & ~(allowed | EFER_LMA)))
		return false;
	if ((cpu->cr0 & CR0_PG) && ((value ^ cpu->efer) & EFER_LME))
		return false;
	cpu->efer = (value & allowed) | (cpu->efer & EFER_LMA);
	return true;
}

static bool own_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	switch (index) {
#define STORED(number, name, feature, member, bits, check) \
	case number:                                       \
		*value = cpu->member;                      \
		return offered(cpu, FEATURE_##feature);
#define FIXED(number, name, feature, constant) \
	case number:                           \
		*value = constant;             \
		return offered(cpu, FEATURE_##feature);
#define ACTIVE(first, last, name, feature, accessor) \
	case first ... last:                         \
		return offered(cpu, FEATURE_##feature) && read_##accessor(cpu, index, value);
#define OTHER(number, name)
#include "msrs.def"
	default: return false;
	}
}

static bool own_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	switch (index) {
#define STORED(number, name, feature, member, bits, check)                                                         \
	case number:                                                                                               \
		if (!offered(cpu, FEATURE_##feature) || (value & ~(uint64_t)(bits)) || !check_##check(cpu, value)) \
			return false;                                                                              \
		cpu->member = value;                                                                               \
		return true;
#define FIXED(number, name, feature, constant)
#define ACTIVE(first, last, name, feature, accessor) \
	case first ... last:                         \
		return offered(cpu, FEATURE_##feature) && write_##accessor(cpu, index, value);
#define OTHER(number, name)
#include "msrs.def"
	default: return false;
	}
}

void msr_claim_cpu(struct msr_table *table)
{
	static const struct msr_ops ops = {own_read, own_write};

	msr_claim(table, 0, 0x1fff, &ops);
	msr_claim(table, 0xc0000000, 0xc0001fff, &ops);
}
