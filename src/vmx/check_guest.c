/*
 * VM entry: may this guest state be loaded?
 *
 * SDM vol. 3, "Checks on the Guest State Area": one function per subsection, in the manual's order; "Checks on Guest
 * Segment Registers" is check_segments.c. Changes nothing; entry and the VMCS checker share it.
 */
#include "vmx/rule.h"

/* SDM vol. 3, "Checks on Guest Control Registers, Debug Registers, and MSRs". */
void check_guest_registers(struct check *c)
{
	/* NW and CD are never checked: VM entry does not load them. */
	rule(c, GUEST_CR0_FIXED,
	     check_cr0_fixed(c, get(c, GUEST_CR0),
			     CR0_NW | CR0_CD | (PROC2(c, UNRESTRICTED_GUEST) ? CR0_PE | CR0_PG : 0)));
	/* Without "unrestricted guest" the rule above has asked for PE. */
	rule(c, GUEST_CR0_PG_PE,
	     !(get(c, GUEST_CR0) & CR0_PG) || (get(c, GUEST_CR0) & CR0_PE) || !PROC2(c, UNRESTRICTED_GUEST));
	rule(c, GUEST_CR4_FIXED, check_cr4_fixed(c, get(c, GUEST_CR4)));
	rule(c, GUEST_CR4_CET_WP, !(get(c, GUEST_CR4) & CR4_CET) || (get(c, GUEST_CR0) & CR0_WP));
	rule(c, GUEST_DEBUGCTL_RESERVED,
	     !ON_ENTRY(c, LOAD_DEBUG_CONTROLS) || check_debugctl(c, get(c, GUEST_DEBUGCTL)));
	rule(c, GUEST_IA32E_PG, !ON_ENTRY(c, IA32E_MODE_GUEST) || (get(c, GUEST_CR0) & CR0_PG));
	rule(c, GUEST_IA32E_PAE, !ON_ENTRY(c, IA32E_MODE_GUEST) || (get(c, GUEST_CR4) & CR4_PAE));
	rule(c, GUEST_IA32E_PCIDE, ON_ENTRY(c, IA32E_MODE_GUEST) || !(get(c, GUEST_CR4) & CR4_PCIDE));
	rule(c, GUEST_CR3_WIDTH, check_in_width(c, get(c, GUEST_CR3)));
	rule(c, GUEST_DR7_HIGH, !ON_ENTRY(c, LOAD_DEBUG_CONTROLS) || !(get(c, GUEST_DR7) >> 32));
	rule(c, GUEST_SYSENTER_ESP, check_canonical(c, get(c, GUEST_SYSENTER_ESP)));
	rule(c, GUEST_SYSENTER_EIP, check_canonical(c, get(c, GUEST_SYSENTER_EIP)));
	rule(c, GUEST_S_CET_CANONICAL, !ON_ENTRY(c, LOAD_CET) || check_canonical(c, get(c, GUEST_S_CET)));
	rule(c, GUEST_SSP_TABLE_CANONICAL, !ON_ENTRY(c, LOAD_CET) || check_canonical(c, get(c, GUEST_SSP_TABLE)));
	rule(c, GUEST_PERF_GLOBAL_CTRL,
	     !ON_ENTRY(c, LOAD_PERF_GLOBAL_CTRL) || check_perf_global_ctrl(c, get(c, GUEST_PERF_GLOBAL_CTRL)));
	rule(c, GUEST_PAT, !ON_ENTRY(c, LOAD_PAT) || check_pat(get(c, GUEST_PAT)));
	rule(c, GUEST_EFER_RESERVED, !ON_ENTRY(c, LOAD_EFER) || check_efer(c, get(c, GUEST_EFER)));
	rule(c, GUEST_EFER_LMA,
	     !ON_ENTRY(c, LOAD_EFER) || !!(get(c, GUEST_EFER) & EFER_LMA) == ON_ENTRY(c, IA32E_MODE_GUEST));
	rule(c, GUEST_EFER_LME,
	     !ON_ENTRY(c, LOAD_EFER) || !(get(c, GUEST_CR0) & CR0_PG) ||
		     !(get(c, GUEST_EFER) & EFER_LME) == !(get(c, GUEST_EFER) & EFER_LMA));
	rule(c, GUEST_BNDCFGS_RESERVED, !ON_ENTRY(c, LOAD_BNDCFGS) || !(get(c, GUEST_BNDCFGS) & BITS(11, 2)));
	rule(c, GUEST_BNDCFGS_CANONICAL,
	     !ON_ENTRY(c, LOAD_BNDCFGS) || check_canonical(c, get(c, GUEST_BNDCFGS) & BITS(63, 12)));
	rule(c, GUEST_S_CET_RESERVED, !ON_ENTRY(c, LOAD_CET) || !(get(c, GUEST_S_CET) & S_CET_RESERVED));
	rule(c, GUEST_S_CET_SUPPRESS_TRACKER,
	     !ON_ENTRY(c, LOAD_CET) ||
		     (get(c, GUEST_S_CET) & (S_CET_SUPPRESS | S_CET_TRACKER)) != (S_CET_SUPPRESS | S_CET_TRACKER));
	rule(c, GUEST_PKRS, !ON_ENTRY(c, LOAD_PKRS) || !(get(c, GUEST_PKRS) >> 32));
}

/* SDM vol. 3, "Checks on Guest Descriptor-Table Registers". */
void check_guest_tables(struct check *c)
{
	rule(c, GUEST_GDTR_BASE, check_canonical(c, get(c, GUEST_GDTR_BASE)));
	rule(c, GUEST_GDTR_LIMIT, !(get(c, GUEST_GDTR_LIMIT) >> 16));
	rule(c, GUEST_IDTR_BASE, check_canonical(c, get(c, GUEST_IDTR_BASE)));
	rule(c, GUEST_IDTR_LIMIT, !(get(c, GUEST_IDTR_LIMIT) >> 16));
}

static bool mode64(struct check *c)
{
	return ON_ENTRY(c, IA32E_MODE_GUEST) && (get(c, GUEST_CS_AR) & AR_L);
}

static bool injects(struct check *c)
{
	return get(c, VM_ENTRY_INTERRUPTION_INFO) & INTERRUPTION_VALID;
}

static unsigned injected_type(struct check *c)
{
	return bits_get(get(c, VM_ENTRY_INTERRUPTION_INFO), 10, 8);
}

static unsigned injected_vector(struct check *c)
{
	return get(c, VM_ENTRY_INTERRUPTION_INFO) & 0xff;
}

static bool injects_type(struct check *c, unsigned type)
{
	return injects(c) && injected_type(c) == type;
}

/* SDM vol. 3, "Checks on Guest RIP, RFLAGS, and SSP". */
void check_guest_rip(struct check *c)
{
	rule(c, GUEST_RIP_HIGH, !(get(c, GUEST_RIP) >> 32) || mode64(c));
	/* Not canonical: bit N - 1 may differ, and the guest then faults on its first fetch. */
	rule(c, GUEST_RIP_IDENTITY, !mode64(c) || check_same_beyond_linear_width(c, get(c, GUEST_RIP)));
	rule(c, GUEST_RFLAGS_RESERVED, !(get(c, GUEST_RFLAGS) & (BITS(63, 22) | BIT(15) | BIT(5) | BIT(3))));
	rule(c, GUEST_RFLAGS_BIT1, get(c, GUEST_RFLAGS) & RFLAGS_1);
	rule(c, GUEST_RFLAGS_VM,
	     !(get(c, GUEST_RFLAGS) & RFLAGS_VM) || (!ON_ENTRY(c, IA32E_MODE_GUEST) && (get(c, GUEST_CR0) & CR0_PE)));
	rule(c, GUEST_RFLAGS_IF_EXTINT, !injects_type(c, INTERRUPTION_EXTERNAL) || (get(c, GUEST_RFLAGS) & RFLAGS_IF));
	rule(c, GUEST_SSP_ALIGN, !ON_ENTRY(c, LOAD_CET) || is_aligned(get(c, GUEST_SSP), 4));
	rule(c, GUEST_SSP_IDENTITY, !ON_ENTRY(c, LOAD_CET) || check_same_beyond_linear_width(c, get(c, GUEST_SSP)));
	/* The manual says this where it loads SSP, not among the checks. */
	rule(c, GUEST_SSP_HIGH, !ON_ENTRY(c, LOAD_CET) || !(get(c, GUEST_SSP) >> 32) || mode64(c));
}

enum activity { ACTIVE, HLT, SHUTDOWN, WAIT_FOR_SIPI };

#define BLOCKING_STI	BIT(0)
#define BLOCKING_MOV_SS BIT(1)
#define BLOCKING_SMI	BIT(2)
#define BLOCKING_NMI	BIT(3)
#define ENCLAVE		BIT(4)

static bool activity_supported(struct check *c)
{
	switch (get(c, GUEST_ACTIVITY_STATE)) {
	case ACTIVE: return true;
	case HLT: return CAPABLE(c, MISC, ACTIVITY_HLT);
	case SHUTDOWN: return CAPABLE(c, MISC, ACTIVITY_SHUTDOWN);
	case WAIT_FOR_SIPI: return CAPABLE(c, MISC, ACTIVITY_WAIT_SIPI);
	default: return false;
	}
}

static bool activity_is(struct check *c, enum activity activity)
{
	return get(c, GUEST_ACTIVITY_STATE) == activity;
}

static bool injects_exception(struct check *c, unsigned vector)
{
	return injects_type(c, INTERRUPTION_HARDWARE_EXCEPTION) && injected_vector(c) == vector;
}

static bool wakes_hlt(struct check *c)
{
	return injects_type(c, INTERRUPTION_EXTERNAL) || injects_type(c, INTERRUPTION_NMI) ||
	       injects_exception(c, VECTOR_DB) || injects_exception(c, VECTOR_MC) ||
	       (injects_type(c, INTERRUPTION_OTHER) && injected_vector(c) == 0);
}

static bool in_smm(struct check *c)
{
	if (!c->input->cpu)
		c->unknown = true;
	return c->input->cpu && c->input->cpu->smm;
}

static void check_activity(struct check *c)
{
	rule(c, GUEST_ACTIVITY_RANGE, activity_supported(c));
	/* SS DPL is the guest's CPL, also where SS is unusable. */
	rule(c, GUEST_ACTIVITY_HLT_DPL, !activity_is(c, HLT) || !(get(c, GUEST_SS_AR) & AR_DPL));
	rule(c, GUEST_ACTIVITY_BLOCKING,
	     activity_is(c, ACTIVE) || !(get(c, GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)));
	rule(c, GUEST_ACTIVITY_INJECT_HLT, !activity_is(c, HLT) || !injects(c) || wakes_hlt(c));
	rule(c, GUEST_ACTIVITY_INJECT_SHUTDOWN,
	     !activity_is(c, SHUTDOWN) || !injects(c) || injects_type(c, INTERRUPTION_NMI) ||
		     injects_exception(c, VECTOR_MC));
	rule(c, GUEST_ACTIVITY_INJECT_SIPI, !activity_is(c, WAIT_FOR_SIPI) || !injects(c));
	rule(c, GUEST_ACTIVITY_SMM_SIPI, !activity_is(c, WAIT_FOR_SIPI) || !ON_ENTRY(c, ENTRY_TO_SMM));
	rule(c, SMM_ACTIVITY_ROOT, !activity_is(c, WAIT_FOR_SIPI) || !check_returns_to_root(c));
}

static void check_interruptibility(struct check *c)
{
#define BLOCKED(mask) (get(c, GUEST_INTERRUPTIBILITY) & (mask))
	rule(c, GUEST_INTR_RESERVED, !BLOCKED(BITS(31, 5)));
	rule(c, GUEST_INTR_STI_MOVSS, BLOCKED(BLOCKING_STI | BLOCKING_MOV_SS) != (BLOCKING_STI | BLOCKING_MOV_SS));
	rule(c, GUEST_INTR_STI_IF, !BLOCKED(BLOCKING_STI) || (get(c, GUEST_RFLAGS) & RFLAGS_IF));
	rule(c, GUEST_INTR_EXTINT, !BLOCKED(BLOCKING_STI | BLOCKING_MOV_SS) || !injects_type(c, INTERRUPTION_EXTERNAL));
	rule(c, GUEST_INTR_NMI_MOVSS, !BLOCKED(BLOCKING_MOV_SS) || !injects_type(c, INTERRUPTION_NMI));
	/* Older editions left this to the implementation; the qualification, 3, is this rule's own. */
	rule(c, GUEST_INTR_NMI_STI, !BLOCKED(BLOCKING_STI) || !injects_type(c, INTERRUPTION_NMI));
	rule(c, GUEST_INTR_SMI_OUTSIDE, !BLOCKED(BLOCKING_SMI) || in_smm(c));
	rule(c, GUEST_INTR_SMI_ENTRY, BLOCKED(BLOCKING_SMI) || !ON_ENTRY(c, ENTRY_TO_SMM));
	rule(c, GUEST_INTR_VIRTUAL_NMI,
	     !BLOCKED(BLOCKING_NMI) || !injects_type(c, INTERRUPTION_NMI) || !PIN(c, VIRTUAL_NMIS));
	rule(c, GUEST_INTR_ENCLAVE_MOVSS, !BLOCKED(ENCLAVE) || !BLOCKED(BLOCKING_MOV_SS));
	/* No model has SGX. */
	rule(c, GUEST_INTR_ENCLAVE_SGX, !BLOCKED(ENCLAVE) || !check_caps_known(c));
}

#define PENDING_BS   BIT(14)
#define PENDING_RTM  BIT(16)
#define DEBUGCTL_BTF BIT(1)

/* BS has to agree with single-stepping where a debug trap of the instruction before may be pending. */
static bool single_step_matters(struct check *c)
{
	return BLOCKED(BLOCKING_STI | BLOCKING_MOV_SS) || activity_is(c, HLT);
}

static bool single_steps(struct check *c)
{
	/* The field counts, whether or not the entry loads it. */
	return (get(c, GUEST_RFLAGS) & RFLAGS_TF) && !(get(c, GUEST_DEBUGCTL) & DEBUGCTL_BTF);
}

static void check_pending_debug(struct check *c)
{
#define PENDING(mask) (get(c, GUEST_PENDING_DEBUG) & (mask))
	rule(c, GUEST_PENDING_DBG_RESERVED, !PENDING(BITS(10, 4) | BIT(13) | BIT(15) | BITS(63, 17)));
	/* No model has OS bus-lock detection, or RTM. */
	rule(c, GUEST_PENDING_DBG_BIT11, !PENDING(BIT(11)) || !check_caps_known(c));
	rule(c, GUEST_PENDING_DBG_BS_SET, PENDING(PENDING_BS) || !single_step_matters(c) || !single_steps(c));
	rule(c, GUEST_PENDING_DBG_BS_CLEAR, !PENDING(PENDING_BS) || !single_step_matters(c) || single_steps(c));
	rule(c, GUEST_PENDING_DBG_RTM_BITS,
	     !PENDING(PENDING_RTM) || get(c, GUEST_PENDING_DEBUG) == (PENDING_RTM | BIT(12)));
	rule(c, GUEST_PENDING_DBG_RTM_CPU, !PENDING(PENDING_RTM) || !check_caps_known(c));
	rule(c, GUEST_PENDING_DBG_RTM_MOVSS, !PENDING(PENDING_RTM) || !BLOCKED(BLOCKING_MOV_SS));
#undef PENDING
#undef BLOCKED
}

static bool links(struct check *c)
{
	return get(c, VMCS_LINK_POINTER) != ~UINT64_C(0);
}

/* May memory be read at the link pointer? If not, that breaks a rule of its own. */
static bool link_readable(struct check *c)
{
	if (!c->input->cpu)
		c->unknown = true;
	return c->input->cpu && is_aligned(get(c, VMCS_LINK_POINTER), 4096) &&
	       check_in_width(c, get(c, VMCS_LINK_POINTER));
}

static uint32_t linked_revision(struct check *c)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;
	uint32_t revision = ~0u;

	return cpu->read(cpu->ctx, get(c, VMCS_LINK_POINTER), &revision, 4) ? revision : ~0u;
}

static void check_link(struct check *c)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;

	rule(c, GUEST_LINK_ALIGN, !links(c) || is_aligned(get(c, VMCS_LINK_POINTER), 4096));
	rule(c, GUEST_LINK_WIDTH, !links(c) || check_in_width(c, get(c, VMCS_LINK_POINTER)));
	rule(c, GUEST_LINK_REVISION,
	     !links(c) || !link_readable(c) || (linked_revision(c) & ~VMCS_SHADOW) == VMX_REVISION);
	rule(c, GUEST_LINK_SHADOW_BIT,
	     !links(c) || !link_readable(c) || !!(linked_revision(c) & VMCS_SHADOW) == PROC2(c, VMCS_SHADOWING));
	/* In a return from SMM the current VMCS is the SMM-transfer VMCS, and the guest's own is the executive VMCS. */
	rule(c, GUEST_LINK_NOT_CURRENT,
	     !links(c) || check_returns_from_smm(c) || !link_readable(c) || get(c, VMCS_LINK_POINTER) != cpu->current);
	rule(c, GUEST_LINK_NOT_EXECUTIVE,
	     !links(c) || !check_returns_from_smm(c) || get(c, VMCS_LINK_POINTER) != get(c, EXECUTIVE_VMCS_POINTER));
}

/* SDM vol. 3, "Checks on Guest Non-Register State". */
void check_guest_nonregister(struct check *c)
{
	check_activity(c);
	check_interruptibility(c);
	check_pending_debug(c);
	check_link(c);
}

static bool pdpte_valid(struct check *c, uint64_t pdpte)
{
	return !(pdpte & BIT(0)) || (!(pdpte & (BITS(2, 1) | BITS(8, 5))) && check_in_width(c, pdpte));
}

static bool pae(struct check *c)
{
	return !ON_ENTRY(c, IA32E_MODE_GUEST) && (get(c, GUEST_CR0) & CR0_PG) && (get(c, GUEST_CR4) & CR4_PAE);
}

static bool pdptes_in_memory(struct check *c)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;
	uint64_t pdpte[4];
	bool valid = true;

	if (!cpu) {
		c->unknown = true;
		return true;
	}
	if (cpu->pdptes_unchanged || !cpu->read(cpu->ctx, get(c, GUEST_CR3) & BITS(31, 5), pdpte, sizeof(pdpte)))
		return cpu->pdptes_unchanged;
	for (unsigned i = 0; i < ARRAY_SIZE(pdpte); i++)
		valid = valid && pdpte_valid(c, pdpte[i]);
	return valid;
}

/* SDM vol. 3, "Checks on Guest Page-Directory-Pointer-Table Entries". */
void check_guest_pdptes(struct check *c)
{
	rule(c, GUEST_PDPTE_FIELDS,
	     !pae(c) || !PROC2(c, ENABLE_EPT) ||
		     (pdpte_valid(c, get(c, GUEST_PDPTE0)) && pdpte_valid(c, get(c, GUEST_PDPTE1)) &&
		      pdpte_valid(c, get(c, GUEST_PDPTE2)) && pdpte_valid(c, get(c, GUEST_PDPTE3))));
	rule(c, GUEST_PDPTE_MEMORY, !pae(c) || PROC2(c, ENABLE_EPT) || pdptes_in_memory(c));
}
