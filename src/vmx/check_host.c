/*
 * VM entry: could this host state be loaded by a later VM exit?
 *
 * SDM vol. 3, "Checks on Host Control Registers, MSRs, and SSP", "Checks on Host Segment and Descriptor-Table
 * Registers" and "Checks Related to Address-Space Size". Changes nothing; entry and the VMCS checker share it.
 */
#include "vmx/rule.h"

void check_host_registers(struct check *c)
{
	/* NW and CD are not checked, because no VM exit changes them. */
	rule(c, HOST_CR0_FIXED, check_cr0_fixed(c, get(c, HOST_CR0), CR0_NW | CR0_CD));
	rule(c, HOST_CR4_FIXED, check_cr4_fixed(c, get(c, HOST_CR4)));
	rule(c, HOST_CR4_CET_WP, !(get(c, HOST_CR4) & CR4_CET) || (get(c, HOST_CR0) & CR0_WP));
	rule(c, HOST_CR3_WIDTH, check_in_width(c, get(c, HOST_CR3)));
	rule(c, HOST_SYSENTER_ESP, check_canonical(c, get(c, HOST_SYSENTER_ESP)));
	rule(c, HOST_SYSENTER_EIP, check_canonical(c, get(c, HOST_SYSENTER_EIP)));
	rule(c, HOST_PERF_GLOBAL_CTRL,
	     !ON_EXIT(c, LOAD_PERF_GLOBAL_CTRL) || check_perf_global_ctrl(c, get(c, HOST_PERF_GLOBAL_CTRL)));
	rule(c, HOST_PAT, !ON_EXIT(c, LOAD_PAT) || check_pat(get(c, HOST_PAT)));
	rule(c, HOST_EFER_RESERVED, !ON_EXIT(c, LOAD_EFER) || check_efer(c, get(c, HOST_EFER)));
	rule(c, HOST_EFER_LMA,
	     !ON_EXIT(c, LOAD_EFER) || !!(get(c, HOST_EFER) & EFER_LMA) == ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE));
	rule(c, HOST_EFER_LME,
	     !ON_EXIT(c, LOAD_EFER) || !!(get(c, HOST_EFER) & EFER_LME) == ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE));
	rule(c, HOST_S_CET_RESERVED, !ON_EXIT(c, LOAD_CET) || !(get(c, HOST_S_CET) & S_CET_RESERVED));
	rule(c, HOST_S_CET_SUPPRESS_TRACKER,
	     !ON_EXIT(c, LOAD_CET) ||
		     (get(c, HOST_S_CET) & (S_CET_SUPPRESS | S_CET_TRACKER)) != (S_CET_SUPPRESS | S_CET_TRACKER));
	rule(c, HOST_SSP_ALIGN, !ON_EXIT(c, LOAD_CET) || is_aligned(get(c, HOST_SSP), 4));
	rule(c, HOST_PKRS, !ON_EXIT(c, LOAD_PKRS) || !(get(c, HOST_PKRS) >> 32));
}

void check_host_segments(struct check *c)
{
#define SELECTOR(S) rule(c, HOST_##S##_SELECTOR, !(get(c, HOST_##S##_SELECTOR) & 7))
	SELECTOR(CS);
	SELECTOR(SS);
	SELECTOR(DS);
	SELECTOR(ES);
	SELECTOR(FS);
	SELECTOR(GS);
	SELECTOR(TR);
	rule(c, HOST_CS_NONNULL, get(c, HOST_CS_SELECTOR));
	rule(c, HOST_TR_NONNULL, get(c, HOST_TR_SELECTOR));
	rule(c, HOST_SS_NONNULL, ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || get(c, HOST_SS_SELECTOR));
#define BASE(R) rule(c, HOST_##R##_BASE, check_canonical(c, get(c, HOST_##R##_BASE)))
	BASE(FS);
	BASE(GS);
	BASE(GDTR);
	BASE(IDTR);
	BASE(TR);
}

/* IA32_EFER.LMA of the processor that makes the entry. */
static bool mode_is(struct check *c, bool lma)
{
	if (!c->input->cpu)
		c->unknown = true;
	return c->input->cpu && c->input->cpu->lma == lma;
}

void check_address_space(struct check *c)
{
	/* In this order of operands nothing has to be known of the processor if the controls alone satisfy the rule. */
	rule(c, ADDR_LMA0_GUEST, !ON_ENTRY(c, IA32E_MODE_GUEST) || !mode_is(c, false));
	rule(c, ADDR_LMA0_HOST, !ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !mode_is(c, false));
	rule(c, ADDR_LMA1_HOST, ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !mode_is(c, true));
	rule(c, ADDR_HOST32_GUEST, ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !ON_ENTRY(c, IA32E_MODE_GUEST));
	rule(c, ADDR_HOST32_PCIDE, ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !(get(c, HOST_CR4) & CR4_PCIDE));
	rule(c, ADDR_HOST32_RIP, ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !(get(c, HOST_RIP) >> 32));
	rule(c, ADDR_HOST32_S_CET,
	     ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !ON_EXIT(c, LOAD_CET) || !(get(c, HOST_S_CET) >> 32));
	rule(c, ADDR_HOST32_SSP,
	     ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !ON_EXIT(c, LOAD_CET) || !(get(c, HOST_SSP) >> 32));
	rule(c, ADDR_HOST64_PAE, !ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || (get(c, HOST_CR4) & CR4_PAE));
	rule(c, ADDR_HOST64_RIP, !ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || check_canonical(c, get(c, HOST_RIP)));
	rule(c, ADDR_HOST64_S_CET,
	     !ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !ON_EXIT(c, LOAD_CET) || check_canonical(c, get(c, HOST_S_CET)));
	rule(c, ADDR_HOST64_SSP,
	     !ON_EXIT(c, HOST_ADDRESS_SPACE_SIZE) || !ON_EXIT(c, LOAD_CET) || check_canonical(c, get(c, HOST_SSP)));
	rule(c, ADDR_SSP_TABLE, !ON_EXIT(c, LOAD_CET) || check_canonical(c, get(c, HOST_SSP_TABLE)));
}
