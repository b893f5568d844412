/* EPT paging structures, read as the processor reads them. SDM vol. 3, "EPT Translation Mechanism". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

#include "vmx/ept.c"

struct vmx_caps vmx_caps;

void *pool_take(uint64_t size, uint64_t align) { return memset(aligned_alloc(align, size), 0, size); }

enum { TABLES = 8, MIB = 1 << 20 };
#define GIB UINT64_C(0x40000000)
#define WHERE UINT64_C(0x4000000000) /* physical: any that is aligned to 1 GiB */

static struct ept ept;

static int setup(void **state)
{
	vmx_caps.may[WORD_EPT_VPID_CAP] = CTL(EPT_VPID_CAP, WB) | CTL(EPT_VPID_CAP, PAGES_2M) | CTL(EPT_VPID_CAP, PAGES_1G);
	ept_create(&ept, TABLES);
	return 0;
}

static int teardown(void **state)
{
	free(ept.pages);
	return 0;
}

/* What a walk finds: physical address and size of the page, 0 if there is none. */
static pa_t walk(gpa_t gpa, uint64_t *size)
{
	uint64_t *entry = ept_entry(&ept, gpa, size);

	return entry ? (*entry & ADDRESS & ~(*size - 1)) + (gpa & (*size - 1)) : 0;
}

static void maps(gpa_t gpa, pa_t pa, uint64_t size)
{
	uint64_t found;

	assert_int_equal(walk(gpa, &found), pa);
	assert_int_equal(found, size);
}

static void no_page(gpa_t gpa)
{
	uint64_t size;

	assert_null(ept_entry(&ept, gpa, &size));
}

static void pages_are_as_large_as_alignment_allows(void **state)
{
	assert_true(ept_map(&ept, 0, WHERE, 2 * GIB, EPT_ALL, MEMORY_WB));
	maps(0, WHERE, GIB);
	maps(GIB + 5, WHERE + GIB + 5, GIB);
	assert_true(ept_map(&ept, 2 * GIB, WHERE + 2 * MIB, 4 * MIB + PAGE, EPT_ALL, MEMORY_WB));
	maps(2 * GIB, WHERE + 2 * MIB, 2 * MIB);
	maps(2 * GIB + 4 * MIB, WHERE + 6 * MIB, PAGE);
	no_page(2 * GIB + 4 * MIB + PAGE);
}

static void without_large_pages_all_are_small(void **state)
{
	vmx_caps.may[WORD_EPT_VPID_CAP] = CTL(EPT_VPID_CAP, WB);
	assert_true(ept_map(&ept, 0, WHERE, 4 * MIB, EPT_ALL, MEMORY_WB));
	maps(0, WHERE, PAGE);
	maps(4 * MIB - 1, WHERE + 4 * MIB - 1, PAGE);
}

static void a_leaf_has_access_type_and_ignore_pat(void **state)
{
	uint64_t size;

	assert_true(ept_map(&ept, PAGE, WHERE, PAGE, EPT_READ, MEMORY_WB));
	assert_int_equal(*ept_entry(&ept, PAGE, &size), WHERE | EPT_READ | MEMORY_WB << 3 | BIT(6));
	assert_true(ept_map(&ept, 2 * MIB, WHERE, 2 * MIB, EPT_READ | EPT_WRITE, MEMORY_UC));
	assert_int_equal(*ept_entry(&ept, 2 * MIB, &size), WHERE | EPT_READ | EPT_WRITE | BIT(6) | BIT(7));
}

static void a_hole_splits_large_pages_and_leaves_the_rest(void **state)
{
	assert_true(ept_map(&ept, 0, WHERE, GIB, EPT_ALL, MEMORY_WB));
	assert_true(ept_unmap(&ept, 2 * MIB + PAGE, PAGE));
	no_page(2 * MIB + PAGE);
	maps(2 * MIB, WHERE + 2 * MIB, PAGE);
	maps(2 * MIB + 2 * PAGE, WHERE + 2 * MIB + 2 * PAGE, PAGE);
	maps(0, WHERE, 2 * MIB);
	maps(4 * MIB, WHERE + 4 * MIB, 2 * MIB);
	maps(GIB - 1, WHERE + GIB - 1, 2 * MIB);
}

static void tables_run_out(void **state)
{
	for (unsigned i = 0; i < TABLES - 3; i++)
		assert_true(ept_map(&ept, i * 2 * MIB, WHERE, PAGE, EPT_ALL, MEMORY_WB));
	assert_false(ept_map(&ept, TABLES * 2 * MIB, WHERE, PAGE, EPT_ALL, MEMORY_WB));
	no_page(TABLES * 2 * MIB);
}

/* SDM vol. 3, "Extended-Page-Table Pointer (EPTP)". */
static void the_pointer_says_what_the_cpu_can(void **state)
{
	assert_int_equal(ept.eptp, pa_of(ept.root) | 3 << 3 | MEMORY_WB);
	free(ept.pages);
	vmx_caps.may[WORD_EPT_VPID_CAP] |= CTL(EPT_VPID_CAP, ACCESSED_DIRTY);
	ept_create(&ept, TABLES);
	assert_int_equal(ept.eptp, pa_of(ept.root) | 3 << 3 | MEMORY_WB | BIT(6));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_are_as_large_as_alignment_allows),
		TEST(without_large_pages_all_are_small),
		TEST(a_leaf_has_access_type_and_ignore_pat),
		TEST(a_hole_splits_large_pages_and_leaves_the_rest),
		TEST(tables_run_out),
		TEST(the_pointer_says_what_the_cpu_can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
