/*
 * What is in a VM's memory and in its first vCPU's registers when it starts.
 */
#ifndef VMM_GUEST_LOAD_H
#define VMM_GUEST_LOAD_H

#include "guest/vm.h"

/* Linux, "The Linux/x86 Boot Protocol": its 32-bit entry point, paging off. NULL, or why it cannot be. */
MUST_CHECK const char *load_linux(struct vm *vm);

/* 0:7C00H in real mode, DL 80H. */
MUST_CHECK const char *load_flat(struct vm *vm);

/* The ACPI tables of the virtual platform, guest/acpi.c: the first of them, the RSDP, at 0E0000H. */
enum { RSDP_ADDRESS = 0xe0000 };
void load_acpi(struct vm *vm);

/* How vcpu starts: set by the two above in the VMCS, which is current. */
void vcpu_start_protected(struct vcpu *vcpu, uint32_t eip, uint32_t esi); /* flat 32-bit segments, paging off */
void vcpu_start_real(struct vcpu *vcpu, uint16_t cs, uint16_t ip);

#endif
