/*
 * Every row of spec/vmcs_fields.def: found by its encoding, there when its control may be 1, written and read in each
 * mode and by each half; and the region in memory.
 */
#include "vmx/vmcs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/regs.h"

static const struct vmcs_writer nobody;

/* A processor that has every field. */
static struct vmx_capability everything(void)
{
	struct vmx_capability caps = {0};

	memset(caps.offers, 0xff, sizeof(caps.offers));
	vmx_find_fields(&caps);
	return caps;
}

/* ... or only those that always exist. */
static struct vmx_capability nothing(void)
{
	struct vmx_capability caps = {0};

	vmx_find_fields(&caps);
	return caps;
}

#define EACH_FIELD(f) (unsigned f = 0; f < VMCS_FIELD_COUNT; f++)

static uint64_t encoding_of(unsigned f)
{
	return vmcs_field_info[f].encoding;
}

static bool is_64(unsigned f)
{
	return vmcs_field_width((enum vmcs_field)f) == VMCS_WIDTH_64;
}

static void encodings_find_their_fields(void **state)
{
	bool high;

	for
		EACH_FIELD(f)
		{
			assert_int_equal(encoding_of(f) & 1, 0);
			assert_int_equal(vmcs_field_find(encoding_of(f), &high), f);
			assert_false(high);
			assert_int_equal(vmcs_field_find(encoding_of(f) | 1, &high), is_64(f) ? f : VMCS_FIELD_COUNT);
			/* Bit 12 and bits 63:15 are reserved. */
			assert_int_equal(vmcs_field_find(encoding_of(f) | BIT(12), &high), VMCS_FIELD_COUNT);
			for (unsigned bit = 15; bit < 64; bit++)
				assert_int_equal(vmcs_field_find(encoding_of(f) | BIT(bit), &high), VMCS_FIELD_COUNT);
		}
	assert_int_equal(vmcs_field_find(0x6804, &high), VMCS_GUEST_CR4);
	assert_int_equal(vmcs_field_find(0x201b, &high), VMCS_EPTP);
	assert_true(high);
	assert_int_equal(vmcs_field_find(0x482c, &high), VMCS_FIELD_COUNT);
}

static void no_encoding_finds_two_fields(void **state)
{
	unsigned found = 0, wide = 0;
	bool high;

	for (uint64_t encoding = 0; encoding < 0x10000; encoding++) {
		enum vmcs_field f = vmcs_field_find(encoding, &high);

		if (f == VMCS_FIELD_COUNT)
			continue;
		assert_int_equal(encoding_of(f), encoding & ~UINT64_C(1));
		found++;
		wide += high;
	}
	assert_int_equal(found - wide, VMCS_FIELD_COUNT);
	for
		EACH_FIELD(f)
	wide -= is_64(f);
	assert_int_equal(wide, 0);
}

static void names_say_what_encodings_say(void **state)
{
	for
		EACH_FIELD(f)
		{
			const char *name = vmcs_field_info[f].name;
			unsigned checks = vmcs_field_info[f].checks;

			if (!strncmp(name, "HOST_", 5))
				assert_int_equal(vmcs_field_type((enum vmcs_field)f), VMCS_TYPE_HOST);
			if (strstr(name, "SELECTOR"))
				assert_int_equal(vmcs_field_width((enum vmcs_field)f), VMCS_WIDTH_16);
			if (strstr(name, "_BASE") || strstr(name, "_CR"))
				assert_true(vmcs_field_width((enum vmcs_field)f) == VMCS_WIDTH_NATURAL ||
					    strstr(name, "SMBASE"));
			/* No check of VM entry reads what a VM exit reports; host fields are read with the host checks
			 * only. */
			if (vmcs_field_type((enum vmcs_field)f) == VMCS_TYPE_EXIT_INFORMATION)
				assert_int_equal(checks, 0);
			if (vmcs_field_type((enum vmcs_field)f) == VMCS_TYPE_HOST)
				assert_int_equal(checks & ~IN_HOST, 0);
			for (unsigned other = 0; other < f; other++)
				assert_string_not_equal(name, vmcs_field_info[other].name);
		}
}

static void every_field_is_written_and_read(void **state)
{
	static const uint64_t patterns[] = {0, ~UINT64_C(0), 0x8123456789abcdef, 0x7edcba9876543210};
	struct vmx_capability caps = everything();
	struct vmcs v = {0};
	uint64_t value;

	for
		EACH_FIELD(f)
		{
			uint64_t mask = vmcs_field_mask((enum vmcs_field)f);

			for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
				/* 64-bit mode: the field's width decides. */
				assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, patterns[i], nobody),
						 VMX_OK);
				assert_int_equal(v.field[f], patterns[i] & mask);
				assert_int_equal(vmcs_read(&v, &caps, encoding_of(f), true, &value), VMX_OK);
				assert_int_equal(value, patterns[i] & mask);
				/* Else 32 bits are read, and written with the rest cleared. */
				assert_int_equal(vmcs_read(&v, &caps, encoding_of(f), false, &value), VMX_OK);
				assert_int_equal(value, patterns[i] & mask & BITS(31, 0));
				v.field[f] = mask;
				assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), false, patterns[i], nobody),
						 VMX_OK);
				assert_int_equal(v.field[f], patterns[i] & mask & BITS(31, 0));
			}
			v.field[f] = 0;
		}
	for
		EACH_FIELD(f)
	assert_int_equal(v.field[f], 0);
}

static void high_halves(void **state)
{
	struct vmx_capability caps = everything();
	struct vmcs v = {0};
	uint64_t value;

	for
		EACH_FIELD(f)
		{
			for (unsigned mode64 = 0; mode64 < 2; mode64++) {
				v.field[f] = vmcs_field_mask((enum vmcs_field)f) & 0x1111111122222222;
				if (!is_64(f)) {
					assert_int_equal(vmcs_read(&v, &caps, encoding_of(f) | 1, mode64, &value),
							 VMX_ERROR_UNSUPPORTED_COMPONENT);
					assert_int_equal(vmcs_write(&v, &caps, encoding_of(f) | 1, mode64, 0, nobody),
							 VMX_ERROR_UNSUPPORTED_COMPONENT);
					continue;
				}
				assert_int_equal(vmcs_read(&v, &caps, encoding_of(f) | 1, mode64, &value), VMX_OK);
				assert_int_equal(value, 0x11111111);
				assert_int_equal(
					vmcs_write(&v, &caps, encoding_of(f) | 1, mode64, 0x9999999987654321, nobody),
					VMX_OK);
				assert_int_equal(v.field[f], 0x8765432122222222);
			}
		}
}

/* Each condition alone: with either control its fields are there, without both they are not; others do not care. */
static void fields_exist_when_their_control_may_be_1(void **state)
{
	static const struct {
		const char *condition;
		uint8_t word_a, word_b;
		uint64_t bit_a, bit_b;
	} conditions[] = {
#define NEED(condition, word_a, bit_a, word_b, bit_b) \
	{#condition, VMX_##word_a, VMX_##word_b, word_a##_##bit_a, word_b##_##bit_b},
#include "vmcs_fields.def"
	};
	static const char *const condition_of[] = {
#define F(encoding, name, condition, checks) #condition,
#include "vmcs_fields.def"
	};
	struct vmcs v = {0};
	unsigned used = 0;
	uint64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(conditions); i++) {
		for (unsigned which = 0; which < 3; which++) {
			struct vmx_capability caps = {0};
			bool any = false;

			if (which == 0)
				caps.offers[conditions[i].word_a] |= conditions[i].bit_a;
			if (which == 1)
				caps.offers[conditions[i].word_b] |= conditions[i].bit_b;
			vmx_find_fields(&caps);
			for
				EACH_FIELD(f)
				{
					bool mine = !strcmp(condition_of[f], conditions[i].condition);

					any |= mine;
					if (!mine && strcmp(condition_of[f], "ALWAYS") != 0)
						continue;
					assert_int_equal(vmx_has_field(&caps, (enum vmcs_field)f), which < 2 || !mine);
					assert_int_equal(vmcs_read(&v, &caps, encoding_of(f), true, &value),
							 which < 2 || !mine ? VMX_OK : VMX_ERROR_UNSUPPORTED_COMPONENT);
					if (which < 2 || !mine)
						continue;
					assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, 1, nobody),
							 VMX_ERROR_UNSUPPORTED_COMPONENT);
					assert_int_equal(v.field[f], 0);
				}
			assert_true(any); /* a condition that no field has would be a mistake */
		}
		used++;
	}
	assert_true(used > 40);
}

static void exit_information_is_read_only_where_misc_says_so(void **state)
{
	struct vmx_capability caps = everything();
	struct vmcs v = {0};
	unsigned fields = 0;

	for
		EACH_FIELD(f)
		{
			bool information = vmcs_field_type((enum vmcs_field)f) == VMCS_TYPE_EXIT_INFORMATION;

			caps.offers[VMX_MISC] = 0;
			assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, 1, nobody),
					 information ? VMX_ERROR_READ_ONLY_COMPONENT : VMX_OK);
			assert_int_equal(v.field[f], !information);
			caps.offers[VMX_MISC] = MISC_VMWRITE_ANY;
			assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, 1, nobody), VMX_OK);
			assert_int_equal(v.field[f], 1);
			fields += information;
		}
	assert_int_equal(fields, 17);
	/* "Unsupported" comes first. */
	caps = nothing();
	assert_int_equal(vmcs_write(&v, &caps, 0x2400, true, 1, nobody), VMX_ERROR_UNSUPPORTED_COMPONENT);
}

static void writes_leave_their_author_and_what_to_check(void **state)
{
	struct vmx_capability caps = everything();
	struct vmcs v = {0};

	for
		EACH_FIELD(f)
		{
			struct vmcs_writer writer = {.rip = 0x1000 + f, .count = 77 + f};
			/* Of RIP and RFLAGS no rule asks for the bits that change here. */
			uint32_t checks = vmcs_free_bits((enum vmcs_field)f) ? 0 : vmcs_field_info[f].checks;

			v.written = 0;
			assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, 0x55, writer), VMX_OK);
			assert_int_equal(v.written, checks);
			assert_int_equal(v.writer[f].rip, 0x1000 + f);
			assert_int_equal(v.writer[f].count, 77 + f);
			assert_int_equal(v.writer[f].value, v.field[f]);
			/* The same value again: nothing to check, but another author. */
			v.written = 0;
			writer.rip = 0x2000;
			assert_int_equal(vmcs_write(&v, &caps, encoding_of(f), true, 0x55, writer), VMX_OK);
			assert_int_equal(v.written, 0);
			assert_int_equal(v.writer[f].rip, 0x2000);
			/* The processor's own writes are checked too, and leave the author alone. */
			vmcs_put(&v, (enum vmcs_field)f, 0x44);
			assert_int_equal(v.written, checks);
			assert_int_equal(v.writer[f].rip, 0x2000);
		}
	assert_int_equal(vmcs_field_info[VMCS_GUEST_RIP].checks, IN_RIP);
	v.written = 0;
	vmcs_put(&v, VMCS_GUEST_RIP, BIT(31));
	assert_int_equal(v.written, IN_RIP);
	vmcs_put(&v, VMCS_GUEST_RFLAGS, RFLAGS_TF);
	assert_int_equal(v.written, vmcs_field_info[VMCS_GUEST_RFLAGS].checks | IN_RIP);
	assert_true(vmcs_field_info[VMCS_VM_ENTRY_CTLS].checks & IN_HOST);
}

static void bits_by_name(void **state)
{
	struct vmcs v = {0};

	vmcs_set(&v, GUEST_CR4, CR4_PAE | CR4_PGE);
	assert_true(vmcs_has(&v, GUEST, CR4, PAE));
	vmcs_clear_bit(&v, GUEST, CR4, PAE);
	assert_false(vmcs_has(&v, GUEST, CR4, PAE));
	assert_int_equal(vmcs_get(&v, GUEST_CR4), CR4_PGE);
	vmcs_set_bit(&v, VM, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS);
	assert_int_equal(vmcs_get(&v, VM_PROCBASED_CTLS), 0x80000000);
	assert_true(vmcs_has(&v, VM, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS));
	vmcs_clear_bit(&v, VM, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS);
	assert_int_equal(vmcs_get(&v, VM_PROCBASED_CTLS), 0);
	vmcs_set(&v, GUEST_CS_SELECTOR, 0x12345);
	assert_int_equal(vmcs_get(&v, GUEST_CS_SELECTOR), 0x2345);
}

static void the_region_keeps_all_but_what_is_softwares(void **state)
{
	struct vmx_capability caps = everything();
	uint8_t image[VMCS_IMAGE_SIZE + 8];
	struct vmcs v = {0}, again;

	for
		EACH_FIELD(f)
	vmcs_put(&v, (enum vmcs_field)f, UINT64_C(0x0123456789abcdef) * (f + 1));
	v.launched = true;
	memset(image, 0xa5, sizeof(image));
	vmcs_flush(&v, image);
	assert_int_equal(load_le(image + VMCS_REGION_REVISION, 4), 0xa5a5a5a5);
	assert_int_equal(load_le(image + VMCS_REGION_ABORT, 4), 0xa5a5a5a5);
	assert_int_equal(load_le(image + VMCS_IMAGE_SIZE, 8), 0xa5a5a5a5a5a5a5a5);

	store_le(image, 4, VMX_REVISION);
	vmcs_load(&again, &caps, image);
	assert_memory_equal(again.field, v.field, sizeof(v.field));
	assert_true(again.launched);
	assert_false(again.shadow);
	assert_int_equal(again.written, IN_ALL);
	assert_int_equal(again.writer[VMCS_GUEST_RIP].count, 0);

	store_le(image, 4, VMX_REVISION | VMCS_SHADOW);
	vmcs_load(&again, &caps, image);
	assert_true(again.shadow);
	v.launched = false;
	vmcs_flush(&v, image);
	vmcs_load(&again, &caps, image);
	assert_false(again.launched);
}

/* Whatever software left in the region, a value stays in its width, and a field that is not there is 0. */
static void any_bytes_can_be_loaded(void **state)
{
	struct vmx_capability all = everything(), few = nothing();
	uint8_t image[VMCS_IMAGE_SIZE];
	struct vmcs v;

	memset(image, 0xff, sizeof(image));
	vmcs_load(&v, &all, image);
	assert_false(v.launched);
	for
		EACH_FIELD(f)
	assert_int_equal(v.field[f], vmcs_field_mask((enum vmcs_field)f));
	vmcs_load(&v, &few, image);
	for
		EACH_FIELD(f)
	assert_int_equal(v.field[f], vmx_has_field(&few, (enum vmcs_field)f) ? vmcs_field_mask((enum vmcs_field)f) : 0);
	assert_int_equal(vmcs_get(&v, EPTP), 0);
}

static void revisions(void **state)
{
	struct vmx_capability caps = everything();

	assert_true(vmcs_revision_valid(&caps, VMX_REVISION));
	assert_true(vmcs_revision_valid(&caps, VMX_REVISION | VMCS_SHADOW));
	for (unsigned bit = 0; bit < 31; bit++)
		assert_false(vmcs_revision_valid(&caps, VMX_REVISION ^ (uint32_t)BIT(bit)));
	caps.offers[VMX_PROCBASED_CTLS2] &= ~(uint64_t)PROCBASED_CTLS2_VMCS_SHADOWING;
	assert_true(vmcs_revision_valid(&caps, VMX_REVISION));
	assert_false(vmcs_revision_valid(&caps, VMX_REVISION | VMCS_SHADOW));
}

static void errors_and_reasons_have_texts(void **state)
{
	static const unsigned unused[] = {0, 14, 21, 27, 29, 1000};
	static const unsigned reserved[] = {35, 38, 42, 76, 77, 1000};

	for (unsigned i = 0; i < ARRAY_SIZE(unused); i++)
		assert_null(vmx_error_text(unused[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++)
		assert_null(vmx_exit_text(reserved[i]));
	for (unsigned i = 1; i <= 28; i++)
		assert_int_equal(vmx_error_text(i) != NULL, i != 14 && i != 21 && i != 27);
	for (unsigned i = 0; i <= 34; i++)
		assert_non_null(vmx_exit_text(i));
	assert_int_equal(VMX_ERROR_UNSUPPORTED_COMPONENT, 12);
	assert_int_equal(VMX_ERROR_INVEPT_INVVPID_OPERAND, 28);
	assert_string_equal(vmx_exit_text(10), "CPUID");
	assert_string_equal(vmx_exit_text(VMX_EXIT_EPT_VIOLATION), "EPT violation");
	assert_int_equal(VMX_EXIT_EPT_VIOLATION, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodings_find_their_fields),
		cmocka_unit_test(no_encoding_finds_two_fields),
		cmocka_unit_test(names_say_what_encodings_say),
		cmocka_unit_test(every_field_is_written_and_read),
		cmocka_unit_test(high_halves),
		cmocka_unit_test(fields_exist_when_their_control_may_be_1),
		cmocka_unit_test(exit_information_is_read_only_where_misc_says_so),
		cmocka_unit_test(writes_leave_their_author_and_what_to_check),
		cmocka_unit_test(bits_by_name),
		cmocka_unit_test(the_region_keeps_all_but_what_is_softwares),
		cmocka_unit_test(any_bytes_can_be_loaded),
		cmocka_unit_test(revisions),
		cmocka_unit_test(errors_and_reasons_have_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
