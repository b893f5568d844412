/*
 * VMCS fields: names, encodings and what an encoding says. SDM vol. 3, "VMREAD, VMWRITE, and Encodings of VMCS Fields".
 */
#pragma once

#include "base/bits.h"

/* VMCS_GUEST_CR4 and so on: also the field's place in a VMCS region. */
enum vmcs_field {
#define F(encoding, name, condition, checks) VMCS_##name,
#include "vmcs_fields.def"
	VMCS_FIELD_COUNT
};

/* Groups of VM entry's checks, by the section of SDM vol. 3, "Checks on VMX Controls and Host-State Area" and "Checking
 * and Loading Guest State". */
enum vmcs_checks {
	IN_EXECUTION = BIT(0),	 /* "VM-Execution Control Fields" */
	IN_EXIT = BIT(1),	 /* "VM-Exit Control Fields" */
	IN_ENTRY = BIT(2),	 /* "VM-Entry Control Fields" */
	IN_HOST = BIT(3),	 /* the host-state area, and "Checks Related to Address-Space Size" */
	IN_REGISTERS = BIT(4),	 /* "Checks on Guest Control Registers, Debug Registers, and MSRs" */
	IN_SEGMENTS = BIT(5),	 /* "Checks on Guest Segment Registers" */
	IN_TABLES = BIT(6),	 /* "Checks on Guest Descriptor-Table Registers" */
	IN_RIP = BIT(7),	 /* "Checks on Guest RIP, RFLAGS, and SSP" */
	IN_NONREGISTER = BIT(8), /* "Checks on Guest Non-Register State" */
	IN_PDPTE = BIT(9),	 /* "Checks on Guest Page-Directory-Pointer-Table Entries" */
	IN_ALL = BITS(9, 0),
};

enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };
enum vmcs_type { VMCS_TYPE_CONTROL, VMCS_TYPE_EXIT_INFORMATION, VMCS_TYPE_GUEST, VMCS_TYPE_HOST };

struct vmcs_field_info {
	const char *name;  /* as in enum vmcs_field, without the prefix */
	uint16_t encoding; /* of the full field */
	uint16_t checks;   /* enum vmcs_checks */
};
extern const struct vmcs_field_info vmcs_field_info[VMCS_FIELD_COUNT];

/*
 * The field that an encoding (a whole 64-bit operand) names, or VMCS_FIELD_COUNT. *high: it is the high half of a
 * 64-bit field. Whether this processor has the field is vmx_has_field()'s answer.
 */
enum vmcs_field vmcs_field_find(uint64_t encoding, bool *high);

static inline enum vmcs_width vmcs_field_width(enum vmcs_field field)
{
	return (enum vmcs_width)bits_get(vmcs_field_info[field].encoding, 14, 13);
}

static inline enum vmcs_type vmcs_field_type(enum vmcs_field field)
{
	return (enum vmcs_type)bits_get(vmcs_field_info[field].encoding, 11, 10);
}

/* The rows again, for expressions that the compiler is to work out: VMCS_ENCODING_GUEST_CR4, VMCS_CHECKS_GUEST_CR4. */
enum vmcs_constants {
#define F(encoding, name, condition, checks) VMCS_ENCODING_##name = encoding, VMCS_CHECKS_##name = checks,
#include "vmcs_fields.def"
};

/* The bits that a field of this encoding holds; natural-width ones hold 64. */
static inline uint64_t vmcs_encoding_mask(unsigned encoding)
{
	switch (bits_get(encoding, 14, 13)) {
	case VMCS_WIDTH_16: return BITS(15, 0);
	case VMCS_WIDTH_32: return BITS(31, 0);
	default: return BITS(63, 0);
	}
}

static inline uint64_t vmcs_field_mask(enum vmcs_field field)
{
	return vmcs_encoding_mask(vmcs_field_info[field].encoding);
}
