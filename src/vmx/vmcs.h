/*
 * A VMCS: the values of its fields, as the processor keeps them while the VMCS is active, and its region in memory. SDM
 * vol. 3, "Virtual Machine Control Structures".
 *
 * Which VMCS is current, and the pointers, are the instructions' business. Nothing here judges a value: VM entry's
 * checks do.
 */
#pragma once

#include "cpu/regs.h"
#include "vmx/capability.h"
#include "vmx/reason.h"

/* A region: the manual defines its first 8 bytes (SDM vol. 3, "Format of the VMCS Region"), the rest is the processor's
 * own. */
#define VMCS_REGION_REVISION 0	/* 32 bits: revision identifier, and VMCS_SHADOW */
#define VMCS_REGION_ABORT    4	/* 32 bits: VMX-abort indicator, which only a VMX abort and software write */
#define VMCS_REGION_STATE    8	/* 32 bits: 1 launched, else clear */
#define VMCS_REGION_FIELDS   16 /* 64 bits each, in the order of enum vmcs_field */
#define VMCS_IMAGE_SIZE	     (VMCS_REGION_FIELDS + 8 * VMCS_FIELD_COUNT)
#define VMCS_SHADOW	     BIT(31)

/* SDM vol. 3, "VMX Aborts": what the VMX-abort indicator says. */
enum vmx_abort {
	VMX_ABORT_SAVE_MSR = 1,
	VMX_ABORT_HOST_PDPTE = 2,
	VMX_ABORT_CORRUPTED = 3,
	VMX_ABORT_LOAD_MSR = 4,
	VMX_ABORT_MACHINE_CHECK = 5,
	VMX_ABORT_ADDRESS_SIZE = 6,
};

/* Which VMWRITE last wrote a field. RIP and count 0: none since the VMCS was loaded from memory. */
struct vmcs_writer {
	uint64_t rip;
	uint64_t count; /* instructions that the vCPU had retired */
	uint64_t value; /* of the field then: vmcs_write() fills it. Another value now is the processor's */
};

static inline bool vmcs_written(const struct vmcs_writer *writer)
{
	return writer->rip || writer->count;
}

struct vmcs {
	uint64_t
		field[VMCS_FIELD_COUNT]; /* no bits above the field's width; 0 where this processor has no such field */
	uint32_t written; /* enum vmcs_checks that read a field which changed; who runs the checks clears them */
	bool launched;
	bool shadow;
	struct vmcs_writer writer[VMCS_FIELD_COUNT];
};

/* vmcs_get(v, GUEST_CR4). Always inside the field's width. */
#define vmcs_get(v, name) ((v)->field[VMCS_##name])
/* vmcs_has(v, GUEST, CR4, PAE) is CR4_PAE of GUEST_CR4; vmcs_has(v, VM, ENTRY_CTLS, IA32E_MODE_GUEST). */
#define vmcs_has(v, owner, reg, bit) ((vmcs_get(v, owner##_##reg) & (reg##_##bit)) != 0)
/* The processor writes a field; no VMWRITE is remembered. */
#define vmcs_set(v, name, value) \
	vmcs_store(v, VMCS_##name, vmcs_encoding_mask(VMCS_ENCODING_##name), VMCS_CHECKS_##name, value)
#define vmcs_set_bit(v, owner, reg, bit) vmcs_set(v, owner##_##reg, vmcs_get(v, owner##_##reg) | (reg##_##bit))
#define vmcs_clear_bit(v, owner, reg, bit) \
	vmcs_set(v, owner##_##reg, vmcs_get(v, owner##_##reg) & ~(uint64_t)(reg##_##bit))

/* Bits of a field that no rule of VM entry asks for, so that they change without a check: of those that each exit
 * changes. */
static inline uint64_t vmcs_free_bits(enum vmcs_field field)
{
	return field == VMCS_GUEST_RIP ? BITS(30, 0) : field == VMCS_GUEST_RFLAGS ? RFLAGS_ARITH : 0;
}

static inline void vmcs_store(struct vmcs *v, enum vmcs_field field, uint64_t mask, uint32_t checks, uint64_t value)
{
	uint64_t changed = v->field[field] ^ (value &= mask);

	v->field[field] = value;
	if (changed & ~vmcs_free_bits(field))
		v->written |= checks;
}

static inline void vmcs_put(struct vmcs *v, enum vmcs_field field, uint64_t value)
{
	vmcs_store(v, field, vmcs_field_mask(field), vmcs_field_info[field].checks, value);
}

/*
 * VMREAD and VMWRITE: SDM vol. 3, "VMREAD - Read Field from Virtual-Machine Control Structure" and "VMWRITE - ...".
 * encoding is the whole register operand (zero-extended outside 64-bit mode). VMX_OK, or the error for VMfailValid:
 * VMX_ERROR_UNSUPPORTED_COMPONENT, VMX_ERROR_READ_ONLY_COMPONENT.
 */
MUST_CHECK enum vmx_error vmcs_read(const struct vmcs *v, const struct vmx_capability *caps, uint64_t encoding,
				    bool mode64, uint64_t *value);
MUST_CHECK enum vmx_error vmcs_write(struct vmcs *v, const struct vmx_capability *caps, uint64_t encoding, bool mode64,
				     uint64_t value, struct vmcs_writer writer);

/* May VMPTRLD make a region current that begins so? SDM vol. 3, "VMPTRLD - Load Pointer to Virtual-Machine Control
 * Structure". */
bool vmcs_revision_valid(const struct vmx_capability *caps, uint32_t first);

/*
 * The VMCS becomes active: take it from the VMCS_IMAGE_SIZE bytes at the region's start. Any bytes will do: bits beyond
 * a field's width and fields that this processor has not are dropped. All checks count as to be run.
 */
void vmcs_load(struct vmcs *v, const struct vmx_capability *caps, const void *image);
/* Write what the processor keeps to the region's first VMCS_IMAGE_SIZE bytes, but not the revision identifier and the
 * VMX-abort indicator. */
void vmcs_flush(const struct vmcs *v, void *image);
