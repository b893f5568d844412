/*
 * Choosing controls: SDM vol. 3, "Algorithms for Determining VMX Capabilities": what must be 1, what we require, and what we
 * want and the CPU allows, without those whose prerequisites (SDM vol. 3, "VM-Execution Control Fields" in "Checks on VMX
 * Controls") are missing.
 *
 * Not wanted is as telling: MOV to and from CR3, INVLPG, RDTSC, page faults and segments are the guest's own affair, and cost
 * no VM exit.
 */
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/controls.h"

#define PIN(name) CTL(PINBASED_CTLS, name)
#define PROC(name) CTL(PROCBASED_CTLS, name)
#define PROC2(name) CTL(PROCBASED_CTLS2, name)
#define EXIT(name) CTL(EXIT_CTLS, name)
#define ENTRY(name) CTL(ENTRY_CTLS, name)

static const uint64_t required[WORDS] = {
	[WORD_PINBASED_CTLS] = PIN(EXTERNAL_INTERRUPT_EXITING) | PIN(NMI_EXITING) | PIN(VIRTUAL_NMIS),
	[WORD_PROCBASED_CTLS] = PROC(USE_TSC_OFFSETTING) | PROC(HLT_EXITING) | PROC(MWAIT_EXITING) | PROC(MONITOR_EXITING) |
				PROC(RDPMC_EXITING) | PROC(USE_IO_BITMAPS) | PROC(USE_MSR_BITMAPS) |
				PROC(ACTIVATE_SECONDARY_CONTROLS),
	[WORD_PROCBASED_CTLS2] = PROC2(ENABLE_EPT),
	[WORD_EXIT_CTLS] = EXIT(SAVE_DEBUG_CONTROLS) | EXIT(HOST_ADDRESS_SPACE_SIZE) | EXIT(ACKNOWLEDGE_INTERRUPT),
	[WORD_ENTRY_CTLS] = ENTRY(LOAD_DEBUG_CONTROLS),
};

static const uint64_t wanted[WORDS] = {
	[WORD_PINBASED_CTLS] = PIN(PREEMPTION_TIMER) | PIN(PROCESS_POSTED_INTERRUPTS),
	[WORD_PROCBASED_CTLS] = PROC(USE_TPR_SHADOW),
	[WORD_PROCBASED_CTLS2] = PROC2(ENABLE_VPID) | PROC2(UNRESTRICTED_GUEST) | PROC2(WBINVD_EXITING) |
				 PROC2(ENABLE_RDTSCP) | PROC2(ENABLE_INVPCID) | PROC2(ENABLE_XSAVES) |
				 PROC2(VIRTUALIZE_APIC_ACCESSES) | PROC2(APIC_REGISTER_VIRTUALIZATION) |
				 PROC2(VIRTUAL_INTERRUPT_DELIVERY),
	[WORD_EXIT_CTLS] = EXIT(LOAD_PAT) | EXIT(LOAD_EFER) | EXIT(SAVE_EFER),
	[WORD_ENTRY_CTLS] = ENTRY(LOAD_PAT) | ENTRY(LOAD_EFER),
};

/* The first is dropped where the second is missing. What stands in a later row may be dropped by an earlier one. */
static const struct {
	enum vmx_word word;
	uint64_t bits;
	enum vmx_word needs;
	uint64_t needed;
} prerequisites[] = {
#define NEEDS(word, name, other, prerequisite) {WORD_##word, CTL(word, name), WORD_##other, CTL(other, prerequisite)}
	/* The one without the other would leave the host's MSR to the guest, or the guest's to the host. */
	NEEDS(ENTRY_CTLS, LOAD_EFER, EXIT_CTLS, LOAD_EFER),
	NEEDS(ENTRY_CTLS, LOAD_EFER, EXIT_CTLS, SAVE_EFER),
	NEEDS(EXIT_CTLS, LOAD_EFER, ENTRY_CTLS, LOAD_EFER),
	NEEDS(EXIT_CTLS, SAVE_EFER, ENTRY_CTLS, LOAD_EFER),
	NEEDS(ENTRY_CTLS, LOAD_PAT, EXIT_CTLS, LOAD_PAT),
	NEEDS(EXIT_CTLS, LOAD_PAT, ENTRY_CTLS, LOAD_PAT),
	/* Ours: without the virtual-APIC page behind it, an APIC access is better emulated from an EPT violation. */
	NEEDS(PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES, PROCBASED_CTLS, USE_TPR_SHADOW),
	NEEDS(PROCBASED_CTLS2, APIC_REGISTER_VIRTUALIZATION, PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES),
	/* Ours: so that every EOI and TPR write is the processor's, which knows RVI and SVI, and none is emulated. */
	NEEDS(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY, PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES),
	NEEDS(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS, PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY),
#undef NEEDS
};

const char *vmx_lacks(void)
{
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++) {
		uint64_t missing = required[word] & ~vmx_caps.may[word];

		if (missing)
			return vmx_control_title(word, __builtin_ctzll(missing));
	}
	if (!HAS(EPT_VPID_CAP, PAGE_WALK_4))
		return vmx_control_title(WORD_EPT_VPID_CAP, SHIFT_EPT_VPID_CAP_PAGE_WALK_4);
	return NULL;
}

const char *controls_choose(struct vcpu *vcpu)
{
	const char *lacking = vmx_lacks();

	if (lacking)
		return lacking;
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++)
		vcpu->controls[word] = vmx_caps.must[word] | required[word] | (wanted[word] & vmx_caps.may[word]);
	/* A VPID that cannot be invalidated cannot be used. */
	if (!HAS(EPT_VPID_CAP, INVVPID) || !(HAS(EPT_VPID_CAP, INVVPID_SINGLE) || HAS(EPT_VPID_CAP, INVVPID_ALL)))
		vcpu->controls[WORD_PROCBASED_CTLS2] &= ~PROC2(ENABLE_VPID);
	/* One that spins alone waits for nobody. */
	if (vcpu->vm->config->cpus > 1)
		vcpu->controls[WORD_PROCBASED_CTLS2] |= vmx_caps.may[WORD_PROCBASED_CTLS2] & PROC2(PAUSE_LOOP_EXITING);
	/* A CPU with SGX: it is not offered, and nothing but these turns its instructions off. */
	vcpu->controls[WORD_PROCBASED_CTLS2] |=
		vmx_caps.may[WORD_PROCBASED_CTLS2] & (PROC2(ENABLE_ENCLS_EXITING) | PROC2(ENABLE_ENCLV_EXITING));
	for (unsigned i = 0; i < ARRAY_SIZE(prerequisites); i++)
		if (!vcpu_has(vcpu, prerequisites[i].needs, prerequisites[i].needed))
			vcpu->controls[prerequisites[i].word] &= ~prerequisites[i].bits;
	/* CR8 is the TPR: in the virtual-APIC page, or ours to emulate. */
	if (!VCPU_HAS(vcpu, PROCBASED_CTLS, USE_TPR_SHADOW))
		vcpu->controls[WORD_PROCBASED_CTLS] |= PROC(CR8_LOAD_EXITING) | PROC(CR8_STORE_EXITING);
	return NULL;
}

enum vmcs_field controls_field(enum vmx_word word)
{
	switch (word) {
	case WORD_PINBASED_CTLS: return VMCS_VM_PINBASED_CTLS;
	case WORD_PROCBASED_CTLS: return VMCS_VM_PROCBASED_CTLS;
	case WORD_PROCBASED_CTLS2: return VMCS_VM_PROCBASED_CTLS2;
	case WORD_PROCBASED_CTLS3: return VMCS_VM_PROCBASED_CTLS3;
	case WORD_EXIT_CTLS: return VMCS_VM_EXIT_CTLS;
	case WORD_EXIT_CTLS2: return VMCS_VM_EXIT_CTLS2;
	case WORD_ENTRY_CTLS: return VMCS_VM_ENTRY_CTLS;
	case WORD_FUNCTION_CTLS: return VMCS_VM_FUNCTION_CTLS;
	default: panic("capability word %u is no word of controls", word);
	}
}

void vcpu_control(struct vcpu *vcpu, enum vmx_word word, uint64_t bits, bool on)
{
	/* VM exits write "IA-32e mode guest" (SDM vol. 3, "Saving Control Registers, Debug Registers, and MSRs"). */
	if (word == WORD_ENTRY_CTLS)
		vcpu->controls[word] = vmread(VMCS_VM_ENTRY_CTLS);
	if (on)
		vcpu->controls[word] |= bits;
	else
		vcpu->controls[word] &= ~bits;
	vmwrite(controls_field(word), vcpu->controls[word]);
}

/* Of what was wanted. */
static void report(const struct vcpu *vcpu, const char *heading, bool taken)
{
	unsigned column = 0;

	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++)
		column = vmx_print_titles(column, heading, word,
					  wanted[word] & (taken ? vcpu->controls[word] : ~vcpu->controls[word]));
	if (column)
		print("\n");
}

void vcpu_report_controls(struct vcpu *vcpu)
{
	print("vmm: vm %s: beside the controls that it requires\n", vcpu->vm->config->name);
	report(vcpu, "it has", true);
	report(vcpu, "it lacks", false);
}
