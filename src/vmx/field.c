/*
 * VMCS fields by encoding. SDM vol. 3, "VMREAD, VMWRITE, and Encodings of VMCS Fields": access type in bit 0, index in
 * bits 9:1, type in bits 11:10, width in bits 14:13, the rest reserved.
 */
#include "vmx/field.h"

const struct vmcs_field_info vmcs_field_info[VMCS_FIELD_COUNT] = {
#define F(encoding, name, condition, checks) {#name, encoding, checks},
#include "vmcs_fields.def"
};

#define RESERVED	(~BITS(14, 0) | BIT(12))
#define CLASS(encoding) (((encoding) >> 13 & 3) << 2 | ((encoding) >> 10 & 3)) /* width and type */
#define INDEX(encoding) ((encoding) >> 1 & 0x1ff)
#define INDICES		64 /* no row has a higher index, or the table would not compile */

/* 1 + field, 0: none. */
static const uint8_t field_at[16][INDICES] = {
#define F(encoding, name, condition, checks) [CLASS(encoding)][INDEX(encoding)] = 1 + VMCS_##name,
#include "vmcs_fields.def"
};
_Static_assert(VMCS_FIELD_COUNT < 255, "a field number and 1 must fit a byte");

enum vmcs_field vmcs_field_find(uint64_t encoding, bool *high)
{
	unsigned found;

	*high = encoding & 1;
	if ((encoding & RESERVED) || INDEX(encoding) >= INDICES)
		return VMCS_FIELD_COUNT;
	found = field_at[CLASS(encoding)][INDEX(encoding)];
	if (!found || (*high && bits_get(encoding, 14, 13) != VMCS_WIDTH_64))
		return VMCS_FIELD_COUNT;
	return (enum vmcs_field)(found - 1);
}
