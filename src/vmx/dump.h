/*
 * VMCSs as hypervisors print them: the kernel log's of KVM (old and new layouts), Xen's console, and SoftVT's own.
 *
 * The text may have been through a logger: prefixes of any kind, lines left out, lines cut off, several dumps in a row.
 * Any bytes will do.
 */
#pragma once

#include <stdio.h>

#include "vmx/vmcs.h"

enum vmx_dump_layout { VMX_DUMP_KVM, VMX_DUMP_XEN, VMX_DUMP_SOFTVT };

#define VMX_DUMP_MSRS 512

struct vmx_dump {
	enum vmx_dump_layout layout;
	unsigned line; /* where it begins, from 1 */
	unsigned fields;
	struct vmcs vmcs;
	uint64_t present[(VMCS_FIELD_COUNT + 63) / 64]; /* fields that the text shows whole */
	unsigned msrs; /* of the VM-entry MSR-load area, in its order; more than fit are left out */
	uint32_t msr[VMX_DUMP_MSRS];
};

/* Text still to be read. Set text, size and line (1); the text is borrowed. */
struct vmx_dump_reader {
	const char *text;
	size_t size;
	unsigned line;
};

/* The next dump. False: there is none. */
bool vmx_dump_next(struct vmx_dump_reader *reader, struct vmx_dump *dump);

/* Print a VMCS in SoftVT's layout: every field that the processor has. */
void vmx_dump_print(const struct vmcs *v, const struct vmx_capability *caps, FILE *file);
