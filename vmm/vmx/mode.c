/*
 * Who owns which bit of CR0, CR4 and IA32_EFER: SDM vol. 3, "Guest/Host Masks and Read Shadows for CR0 and CR4",
 * "Restrictions on VMX Operation" and "Unrestricted Guests".
 *
 * The guest owns what it can, so that few of its accesses exit. Ours are the bits that VMX operation fixes, the cache bits
 * that VM entries and exits do not switch (CD, NW), CR4.MCE (a machine check is the host's business) and the bits of what
 * CPUID does not offer.
 *
 * Without "unrestricted guest", CR0.PE and CR0.PG are fixed to 1. A guest in protected mode without paging then runs with
 * 32-bit paging on a table that maps each address to itself, in pages of 4 MiB; it does not see that, since the bits and CR3
 * are ours while that lasts. Real mode cannot be had.
 */
#include "cpu/x86.h"
#include "vmx/caps.h"
#include "vmx/mode.h"
#include "vmx/msr_area.h"

enum { CS_AR_L = 1 << 13 };

static bool is_unrestricted(const struct vcpu *vcpu) { return VCPU_HAS(vcpu, PROCBASED_CTLS2, UNRESTRICTED_GUEST); }

static uint64_t seen(enum vmcs_field field, enum vmcs_field mask, enum vmcs_field shadow)
{
	uint64_t ours = vmread(mask);

	return (vmread(field) & ~ours) | (vmread(shadow) & ours);
}

uint64_t vcpu_cr0(const struct vcpu *vcpu) { return seen(VMCS_GUEST_CR0, VMCS_CR0_MASK, VMCS_CR0_READ_SHADOW); }
uint64_t vcpu_cr4(const struct vcpu *vcpu) { return seen(VMCS_GUEST_CR4, VMCS_CR4_MASK, VMCS_CR4_READ_SHADOW); }

uint64_t vcpu_cr3(const struct vcpu *vcpu)
{
	bool unpaged = !is_unrestricted(vcpu) && !(vcpu_cr0(vcpu) & CR0_PG);

	return unpaged ? vcpu->unpaged_cr3 : vmread(VMCS_GUEST_CR3);
}

/* An unrestricted guest may enter and leave IA-32e mode by itself; VM exits report it in the control. */
uint64_t vcpu_efer(const struct vcpu *vcpu)
{
	bool ia32e = vmread(VMCS_VM_ENTRY_CTLS) & CTL(ENTRY_CTLS, IA32E_MODE_GUEST);

	return vcpu->efer | (ia32e ? EFER_LMA : 0);
}

bool vcpu_in_64bit_mode(void)
{
	return (vmread(VMCS_VM_ENTRY_CTLS) & CTL(ENTRY_CTLS, IA32E_MODE_GUEST)) && (vmread(VMCS_GUEST_CS_AR) & CS_AR_L);
}

/* Left out: LA57, CET, protection keys for supervisor pages, user interrupts; VMX and SMX. */
uint64_t vcpu_cr4_offered(void)
{
	return vmx_caps.cr4_may &
	       (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE);
}

void vcpu_set_mode(struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	const uint64_t paging_fixed = CR0_PE | CR0_PG,
		       cr3_exiting = CTL(PROCBASED_CTLS, CR3_LOAD_EXITING) | CTL(PROCBASED_CTLS, CR3_STORE_EXITING);
	bool unpaged = !is_unrestricted(vcpu) && !(cr0 & CR0_PG), ia32e = (efer & EFER_LME) && (cr0 & CR0_PG);
	uint64_t cr0_must = vmx_caps.cr0_must & ~(is_unrestricted(vcpu) ? paging_fixed : 0);
	uint64_t cr4_real = (cr4 & vcpu_cr4_offered()) | vmx_caps.cr4_must | (vmx_caps.cr4_may & CR4_MCE);

	vmwrite(VMCS_CR0_MASK, cr0_must | ~vmx_caps.cr0_may | CR0_CD | CR0_NW);
	vmwrite(VMCS_CR0_READ_SHADOW, cr0);
	vmwrite(VMCS_GUEST_CR0, ((cr0 & ~(uint64_t)(CR0_CD | CR0_NW)) | cr0_must) & vmx_caps.cr0_may);

	/* The table's pages are user pages, and small entries are 4 bytes. */
	if (unpaged)
		cr4_real = (cr4_real & ~(uint64_t)(CR4_PAE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)) | CR4_PSE;
	vmwrite(VMCS_CR4_MASK, unpaged ? ~UINT64_C(0) : ~(vcpu_cr4_offered() & ~(uint64_t)CR4_MCE));
	vmwrite(VMCS_CR4_READ_SHADOW, cr4);
	vmwrite(VMCS_GUEST_CR4, cr4_real);

	if (unpaged)
		vcpu->unpaged_cr3 = cr3;
	vmwrite(VMCS_GUEST_CR3, unpaged ? UNPAGED_TABLE : cr3);
	vcpu_control(vcpu, WORD_PROCBASED_CTLS, cr3_exiting & ~vmx_caps.must[WORD_PROCBASED_CTLS], unpaged);

	vcpu->efer = efer & ~(uint64_t)EFER_LMA;
	vcpu_control(vcpu, WORD_ENTRY_CTLS, CTL(ENTRY_CTLS, IA32E_MODE_GUEST), ia32e);
	msr_area_set_efer(vcpu, (unpaged ? vcpu->efer & ~(uint64_t)EFER_LME : vcpu->efer) | (ia32e ? EFER_LMA : 0));

	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, ENABLE_VPID))
		invvpid_single(vmread(VMCS_VPID));
}

void mode_make_unpaged_table(uint32_t *table)
{
	enum { PRESENT = 1 << 0, WRITABLE = 1 << 1, USER = 1 << 2, ACCESSED = 1 << 5, DIRTY = 1 << 6, LARGE = 1 << 7 };

	for (uint32_t i = 0; i < 1024; i++)
		table[i] = i << 22 | PRESENT | WRITABLE | USER | ACCESSED | DIRTY | LARGE;
}
