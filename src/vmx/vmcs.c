/*
 * VMCS fields read and written, by the processor and by VMREAD and VMWRITE, and the region in memory. SDM vol. 3,
 * "Virtual Machine Control Structures".
 *
 * The region is guest memory: what comes out of it may be anything.
 */
#include "vmx/vmcs.h"

_Static_assert(VMCS_IMAGE_SIZE <= VMX_REGION_SIZE, "the fields must fit the region that IA32_VMX_BASIC promises");

static enum vmcs_field find(const struct vmx_capability *caps, uint64_t encoding, bool *high)
{
	enum vmcs_field field = vmcs_field_find(encoding, high);

	return field != VMCS_FIELD_COUNT && vmx_has_field(caps, field) ? field : VMCS_FIELD_COUNT;
}

enum vmx_error vmcs_read(const struct vmcs *v, const struct vmx_capability *caps, uint64_t encoding, bool mode64,
			 uint64_t *value)
{
	bool high;
	enum vmcs_field field = find(caps, encoding, &high);

	if (field == VMCS_FIELD_COUNT)
		return VMX_ERROR_UNSUPPORTED_COMPONENT;
	*value = high ? v->field[field] >> 32 : v->field[field];
	if (!mode64)
		*value &= BITS(31, 0);
	return VMX_OK;
}

enum vmx_error vmcs_write(struct vmcs *v, const struct vmx_capability *caps, uint64_t encoding, bool mode64,
			  uint64_t value, struct vmcs_writer writer)
{
	bool high;
	enum vmcs_field field = find(caps, encoding, &high);

	if (field == VMCS_FIELD_COUNT)
		return VMX_ERROR_UNSUPPORTED_COMPONENT;
	if (vmcs_field_type(field) == VMCS_TYPE_EXIT_INFORMATION && !vmx_may(caps, MISC, VMWRITE_ANY))
		return VMX_ERROR_READ_ONLY_COMPONENT;
	/* Outside 64-bit mode the full encoding clears the field's upper half: the operand has 32 bits, and is
	 * zero-extended. */
	if (!mode64)
		value &= BITS(31, 0);
	if (high)
		value = bits_set(v->field[field], 63, 32, value);
	vmcs_put(v, field, value);
	v->writer[field] = writer;
	v->writer[field].value = v->field[field];
	return VMX_OK;
}

bool vmcs_revision_valid(const struct vmx_capability *caps, uint32_t first)
{
	return (first & ~VMCS_SHADOW) == VMX_REVISION &&
	       (!(first & VMCS_SHADOW) || vmx_may(caps, PROCBASED_CTLS2, VMCS_SHADOWING));
}

void vmcs_load(struct vmcs *v, const struct vmx_capability *caps, const void *image)
{
	const uint8_t *bytes = image;

	*v = (struct vmcs){
		.written = IN_ALL,
		.launched = load_le(bytes + VMCS_REGION_STATE, 4) == 1,
		.shadow = load_le(bytes + VMCS_REGION_REVISION, 4) & VMCS_SHADOW,
	};
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		if (vmx_has_field(caps, (enum vmcs_field)i))
			v->field[i] =
				load_le(bytes + VMCS_REGION_FIELDS + 8 * i, 8) & vmcs_field_mask((enum vmcs_field)i);
}

void vmcs_flush(const struct vmcs *v, void *image)
{
	uint8_t *bytes = image;

	store_le(bytes + VMCS_REGION_STATE, 8, v->launched);
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		store_le(bytes + VMCS_REGION_FIELDS + 8 * i, 8, v->field[i]);
}
