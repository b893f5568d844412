/*
 * A guest's control registers, IA32_EFER and so its paging mode: as the guest sees them, and as the VMCS must have them.
 */
#ifndef VMM_VMX_MODE_H
#define VMM_VMX_MODE_H

#include "vmx/vcpu.h"

/* Of the current vCPU, as a guest reads them. */
uint64_t vcpu_cr0(const struct vcpu *vcpu);
uint64_t vcpu_cr3(const struct vcpu *vcpu);
uint64_t vcpu_cr4(const struct vcpu *vcpu);
uint64_t vcpu_efer(const struct vcpu *vcpu);
bool vcpu_in_64bit_mode(void);

/* Gives the guest these values, which are consistent with each other: EFER.LMA follows from the rest. Cached translations are
   invalidated. */
void vcpu_set_mode(struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer);

/* Bits of CR4 that the guest's CPUID offers. */
uint64_t vcpu_cr4_offered(void);

/* Guest-physical page with the identity map for guests without paging on CPUs without "unrestricted guest". */
#define UNPAGED_TABLE UINT64_C(0xfef00000)
void mode_make_unpaged_table(uint32_t *table);

#endif
