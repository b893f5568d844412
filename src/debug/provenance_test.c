/* Writers of fields outlive the time that a VMCS is current, for as many VMCSs as are kept. */
#include "debug/provenance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void outlives(void **state)
{
	struct provenance *p = provenance_create();
	struct vmcs_writer found = {0};
	struct vmcs v = {0};

	v.writer[VMCS_GUEST_RIP] = (struct vmcs_writer){.rip = 0x1000, .count = 5, .value = 7};
	provenance_keep(p, 0x4000, &v);
	assert_true(provenance_find(p, 0x4000, VMCS_GUEST_RIP, &found));
	assert_int_equal(found.rip, 0x1000);
	assert_int_equal(found.value, 7);
	assert_false(provenance_find(p, 0x4000, VMCS_GUEST_RSP, &found));
	assert_false(provenance_find(p, 0x5000, VMCS_GUEST_RIP, &found));

	/* Current once more: what is written then is newer, the rest stays. */
	v.writer[VMCS_GUEST_RIP] = (struct vmcs_writer){0};
	v.writer[VMCS_GUEST_RSP] = (struct vmcs_writer){.rip = 0x2000};
	provenance_keep(p, 0x4000, &v);
	assert_true(provenance_find(p, 0x4000, VMCS_GUEST_RIP, &found));
	assert_int_equal(found.rip, 0x1000);
	assert_true(provenance_find(p, 0x4000, VMCS_GUEST_RSP, &found));
	assert_int_equal(found.rip, 0x2000);
	provenance_destroy(p);
}

/* The one that left longest ago makes room. */
static void has_an_end(void **state)
{
	struct provenance *p = provenance_create();
	struct vmcs_writer found;
	struct vmcs v = {0};

	v.writer[VMCS_GUEST_RIP].rip = 1;
	for (pa_t vmcs = 0; vmcs < 64; vmcs++)
		provenance_keep(p, vmcs << 12, &v);
	provenance_keep(p, 0, &v);
	provenance_keep(p, 64 << 12, &v);
	assert_true(provenance_find(p, 0, VMCS_GUEST_RIP, &found));
	assert_false(provenance_find(p, 1 << 12, VMCS_GUEST_RIP, &found));
	assert_true(provenance_find(p, 2 << 12, VMCS_GUEST_RIP, &found));
	assert_true(provenance_find(p, 64 << 12, VMCS_GUEST_RIP, &found));
	provenance_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(outlives), cmocka_unit_test(has_an_end)};

	return cmocka_run_group_tests_name("debug/provenance", tests, NULL, NULL);
}
