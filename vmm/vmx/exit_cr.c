/*
 * Accesses to control registers that exit: SDM vol. 3, "Exit Qualification for Control-Register Accesses", vol. 2, "MOV -
 * Move to/from Control Registers", "CLTS", "LMSW". Most do not: see mode.c.
 */
#include "cpu/x86.h"
#include "lib/print.h"
#include "vmx/exit.h"
#include "vmx/mode.h"

enum { CR0_KEPT = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD };
enum { AR_TYPE = 0xf, AR_L = 1 << 13, BUSY_TSS_16 = 3 };
enum { LAPIC_TPR = 0x80 };

static uint64_t physical_bits(void) { return cpuid(0x80000008, 0).eax & 0xff; }

/* SDM vol. 3, "PDPTE Registers": with EPT, they are the VMCS's. False: #GP(0), none is changed. */
static bool load_pdptes(struct vcpu *vcpu, uint64_t cr3)
{
	uint64_t pdptes[4], reserved = BITS(2, 1) | BITS(8, 5) | BITS(63, physical_bits());

	if (!vm_read(vcpu->vm, cr3 & BITS(31, 5), pdptes, sizeof(pdptes)))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(pdptes); i++)
		if ((pdptes[i] & 1) && (pdptes[i] & reserved))
			return false;
	for (unsigned i = 0; i < ARRAY_SIZE(pdptes); i++)
		vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, pdptes[i]);
	return true;
}

/* Those below return false for #GP(0). */

static bool may_start_paging(uint64_t cr4, uint64_t efer)
{
	if (!(efer & EFER_LME))
		return true;
	return (cr4 & CR4_PAE) && !(vmread(VMCS_GUEST_CS_AR) & AR_L) && (vmread(VMCS_GUEST_TR_AR) & AR_TYPE) != BUSY_TSS_16;
}

static bool set_cr0(struct vcpu *vcpu, uint64_t value)
{
	uint64_t old = vcpu_cr0(vcpu), cr3 = vcpu_cr3(vcpu), cr4 = vcpu_cr4(vcpu), efer = vcpu_efer(vcpu);
	bool pae;

	if (value >> 32)
		return false;
	value = (value & (CR0_KEPT | CR0_PG)) | CR0_ET;
	if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
		return false;
	if ((value & ~old & CR0_PG) && !may_start_paging(cr4, efer))
		return false;
	if ((old & ~value & CR0_PG) && ((cr4 & CR4_PCIDE) || vcpu_in_64bit_mode()))
		return false;
	pae = (value & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
	if (pae && ((old ^ value) & (CR0_PG | CR0_CD | CR0_NW)) && !load_pdptes(vcpu, cr3))
		return false;
	if (!(value & CR0_PE) && !VCPU_HAS(vcpu, PROCBASED_CTLS2, UNRESTRICTED_GUEST)) {
		vm_stop(vcpu->vm, "it goes to real mode, which needs unrestricted guest, and this CPU has not that");
		return true;
	}
	vcpu_set_mode(vcpu, value, cr3, cr4, efer);
	return true;
}

static bool set_cr3(struct vcpu *vcpu, uint64_t value)
{
	uint64_t cr0 = vcpu_cr0(vcpu), cr4 = vcpu_cr4(vcpu), efer = vcpu_efer(vcpu);

	if (efer & EFER_LMA) {
		if (cr4 & CR4_PCIDE)
			value &= ~BIT(63); /* "keep the translations" is a hint */
		if (value & BITS(63, physical_bits()))
			return false;
	} else if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !load_pdptes(vcpu, value)) {
		return false;
	}
	vcpu_set_mode(vcpu, cr0, value, cr4, efer);
	return true;
}

static bool set_cr4(struct vcpu *vcpu, uint64_t value)
{
	uint64_t cr0 = vcpu_cr0(vcpu), cr3 = vcpu_cr3(vcpu), old = vcpu_cr4(vcpu), efer = vcpu_efer(vcpu);
	bool pae = (cr0 & CR0_PG) && (value & CR4_PAE) && !(efer & EFER_LMA);

	if (value & ~vcpu_cr4_offered())
		return false;
	if ((efer & EFER_LMA) && !(value & CR4_PAE))
		return false;
	if ((value & ~old & CR4_PCIDE) && (!(efer & EFER_LMA) || (cr3 & BITS(11, 0))))
		return false;
	if (pae && ((old ^ value) & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)) && !load_pdptes(vcpu, cr3))
		return false;
	vcpu_set_mode(vcpu, cr0, cr3, value, efer);
	return true;
}

static bool set_cr8(struct vcpu *vcpu, uint64_t value)
{
	if (value > 15)
		return false;
	lapic_write(vcpu, LAPIC_TPR, value << 4);
	return true;
}

static bool write(struct vcpu *vcpu, unsigned cr, uint64_t value)
{
	switch (cr) {
	case 0: return set_cr0(vcpu, value);
	case 3: return set_cr3(vcpu, value);
	case 4: return set_cr4(vcpu, value);
	default: return set_cr8(vcpu, value);
	}
}

/* LMSW writes PE, MP, EM and TS, and never clears PE. */
static uint64_t lmsw(uint64_t cr0, uint64_t source) { return (cr0 & ~(uint64_t)(CR0_MP | CR0_EM | CR0_TS)) | (source & 0xf); }

void exit_cr_access(struct vcpu *vcpu)
{
	enum { MOV_TO, MOV_FROM, CLTS, LMSW };
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION), value;
	unsigned cr = qualification & 0xf, n = qualification >> 8 & 0xf;
	bool ok = true;

	switch (qualification >> 4 & 3) {
	case MOV_TO:
		value = vcpu_register(vcpu, n);
		ok = write(vcpu, cr, vcpu_in_64bit_mode() ? value : value & BITS(31, 0));
		break;
	case MOV_FROM: /* of the others, the read shadow is the guest's answer */
		vcpu_set_register(vcpu, n, cr == 3 ? vcpu_cr3(vcpu) : lapic_read(vcpu, LAPIC_TPR) >> 4);
		break;
	case CLTS:
		ok = set_cr0(vcpu, vcpu_cr0(vcpu) & ~(uint64_t)CR0_TS);
		break;
	case LMSW:
		ok = set_cr0(vcpu, lmsw(vcpu_cr0(vcpu), qualification >> 16));
		break;
	}
	if (ok)
		vcpu_skip(vcpu);
	else
		vcpu_raise_gp(vcpu);
}
