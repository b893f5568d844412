/*
 * Reading VMCS dumps: layouts, prefixes, cut lines, several in a row, and SoftVT's own there and back. Whole dumps are
 * in tests/vmx/dumps, which tests/cli reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmx/check_test.h"
#include "vmx/dump.h"

static struct vmx_dump_reader reader_of(const char *text)
{
	return (struct vmx_dump_reader){.text = text, .size = strlen(text), .line = 1};
}

/* The first dump of a text. */
static struct vmx_dump *first(const char *text)
{
	static struct vmx_dump dump;
	struct vmx_dump_reader reader = reader_of(text);

	assert_true(vmx_dump_next(&reader, &dump));
	return &dump;
}

static bool shows(const struct vmx_dump *dump, enum vmcs_field field)
{
	return vmx_check_in(dump->present, field);
}

#define EXPECT(dump, name, value)                                       \
	do {                                                            \
		assert_true(shows(dump, VMCS_##name));                  \
		assert_int_equal(vmcs_get(&(dump)->vmcs, name), value); \
	} while (0)

static void softvt_there_and_back(void **state)
{
	static struct scene s;
	static struct vmx_dump dump;
	struct vmx_dump_reader reader = {.line = 1};
	char *text = NULL;
	FILE *file = open_memstream(&text, &reader.size);

	scene_start(&s, GUEST_64);
	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++)
		vmcs_put(&s.vmcs, (enum vmcs_field)field, UINT64_C(0x9e3779b97f4a7c15) * (field + 1));
	vmx_dump_print(&s.vmcs, &s.caps, file);
	vmx_dump_print(&s.vmcs, &s.caps, file);
	fclose(file);
	reader.text = text;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(vmx_dump_next(&reader, &dump));
		assert_int_equal(dump.layout, VMX_DUMP_SOFTVT);
		for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
			assert_int_equal(shows(&dump, (enum vmcs_field)field),
					 vmx_has_field(&s.caps, (enum vmcs_field)field));
			if (shows(&dump, (enum vmcs_field)field))
				assert_int_equal(dump.vmcs.field[field], s.vmcs.field[field]);
		}
	}
	assert_false(vmx_dump_next(&reader, &dump));
	free(text);
}

static void kvm_segments_and_sysenter(void **state)
{
	struct vmx_dump *d = first("*** Guest State ***\n"
				   "Sysenter RSP=00000000deadbee0 CS:RIP=0010:0000000012345678\n"
				   "CS:   sel=0xf000, attr=0x0009b, limit=0x0000ffff, base=0x00000000ffff0000\n"
				   "GDTR:                           limit=0x0000abcd, base=0x0000000000001230\n"
				   "LDTR: sel=0x0008, attr=0x10000, limit=0x00000007, base=0x0000000000005550\n"
				   "RFLAGS=0x00010246         DR7 = 0x0000000000000400\n");

	assert_int_equal(d->layout, VMX_DUMP_KVM);
	EXPECT(d, GUEST_SYSENTER_ESP, 0xdeadbee0);
	EXPECT(d, GUEST_SYSENTER_CS, 0x10);
	EXPECT(d, GUEST_SYSENTER_EIP, 0x12345678);
	EXPECT(d, GUEST_CS_SELECTOR, 0xf000);
	EXPECT(d, GUEST_CS_AR, 0x9b);
	EXPECT(d, GUEST_CS_LIMIT, 0xffff);
	EXPECT(d, GUEST_CS_BASE, 0xffff0000);
	EXPECT(d, GUEST_GDTR_LIMIT, 0xabcd);
	EXPECT(d, GUEST_GDTR_BASE, 0x1230);
	EXPECT(d, GUEST_LDTR_AR, 0x10000);
	EXPECT(d, GUEST_RFLAGS, 0x10246);
	EXPECT(d, GUEST_DR7, 0x400);
	assert_false(shows(d, VMCS_GUEST_RSP));
	assert_false(shows(d, VMCS_GUEST_RIP));
	assert_int_equal(d->fields, 15);
}

static void xen_table(void **state)
{
	struct vmx_dump *d = first(
		"(XEN) *** Guest State ***\n"
		"(XEN) RSP = 0x0000000000007ff0 (0x0000000000001111)  RIP = 0x0000000000008000 (0x0000000000002222)\n"
		"(XEN)        sel  attr  limit   base\n"
		"(XEN)   CS: e030 0a09b ffffffff 0000000000000000\n"
		"(XEN) GDTR:            0000e02f ffff830000001000\n"
		"(XEN)   TR: e040 0008b 00000067 ffff830000003000\n"
		"(XEN) EFER(VMCS) = 0x0000000000000d01  PAT = 0x0007010600070106\n");

	assert_int_equal(d->layout, VMX_DUMP_XEN);
	EXPECT(d, GUEST_RSP, 0x7ff0);
	EXPECT(d, GUEST_RIP, 0x8000);
	EXPECT(d, GUEST_CS_SELECTOR, 0xe030);
	EXPECT(d, GUEST_CS_AR, 0xa09b);
	EXPECT(d, GUEST_CS_LIMIT, 0xffffffff);
	EXPECT(d, GUEST_GDTR_LIMIT, 0xe02f);
	EXPECT(d, GUEST_GDTR_BASE, UINT64_C(0xffff830000001000));
	EXPECT(d, GUEST_TR_BASE, UINT64_C(0xffff830000003000));
	EXPECT(d, GUEST_EFER, 0xd01);
}

/* The same words mean other fields in other states, and both layouts of the controls are read. */
static void states_and_control_layouts(void **state)
{
	struct vmx_dump *d =
		first("host kernel: kvm_intel: *** Host State ***\r\n"
		      "host kernel: kvm_intel: CS=0010 SS=0018 DS=0000 ES=0000 FS=0000 GS=0000 TR=0040\r\n"
		      "host kernel: kvm_intel: CR0=0000000080050033 CR3=0000000000001000 CR4=00000000000026f0\r\n"
		      "*** Control State ***\n"
		      "PinBased=0000003f CPUBased=b6a1edfa SecondaryExec=000000eb\n"
		      "EntryControls=0x0000d1ff ExitControls=0x002befff\n"
		      "VMEntry: intr_info=80000b0e errcode=00000002 ilen=00000000\n"
		      "VMExit: intr_info=80000306 errcode=00000000 ilen=00000003\n"
		      "        reason=80000021 qualification=0000000000000004\n"
		      "SVI|RVI = 00|00 TPR Threshold = 0x05\n");

	EXPECT(d, HOST_CS_SELECTOR, 0x10);
	EXPECT(d, HOST_TR_SELECTOR, 0x40);
	EXPECT(d, HOST_CR4, 0x26f0);
	EXPECT(d, VM_PINBASED_CTLS, 0x3f);
	EXPECT(d, VM_PROCBASED_CTLS, 0xb6a1edfa);
	EXPECT(d, VM_PROCBASED_CTLS2, 0xeb);
	EXPECT(d, VM_ENTRY_CTLS, 0xd1ff);
	EXPECT(d, VM_EXIT_CTLS, 0x2befff);
	EXPECT(d, VM_ENTRY_INTERRUPTION_INFO, 0x80000b0e);
	EXPECT(d, VM_ENTRY_ERROR_CODE, 2);
	EXPECT(d, VM_EXIT_INTERRUPTION_INFO, 0x80000306);
	EXPECT(d, EXIT_REASON, 0x80000021);
	EXPECT(d, EXIT_QUALIFICATION, 4);
	EXPECT(d, TPR_THRESHOLD, 5);
	assert_false(shows(d, VMCS_GUEST_CR0));
}

static void cut_numbers_are_not_taken(void **state)
{
	struct vmx_dump *d = first("*** Guest State ***\n"
				   "CR3 = 0x00000000fff\n"
				   "CS:   sel=0x0008, attr=0x0c0\n"
				   "SS:   sel=0x0010, attr=0x0c093, limit=0xffffffff, base=0x0000000000000\n"
				   "RIP = 0x00000000000000000000000000001234\n"
				   "RSP = 0x000000000000zzzz\n"
				   "DebugCtl = 0x000000000");

	assert_false(shows(d, VMCS_GUEST_CR3));
	EXPECT(d, GUEST_CS_SELECTOR, 8);
	assert_false(shows(d, VMCS_GUEST_CS_AR));
	EXPECT(d, GUEST_SS_LIMIT, 0xffffffff);
	assert_false(shows(d, VMCS_GUEST_SS_BASE));
	assert_false(shows(d, VMCS_GUEST_RIP));
	assert_false(shows(d, VMCS_GUEST_RSP));
	assert_false(shows(d, VMCS_GUEST_DEBUGCTL));
}

/* An EFER that KVM takes from elsewhere is not the field's; MSRs of the host's list, and those stored, are not loaded
 * at VM entry. */
static void what_is_not_the_field(void **state)
{
	struct vmx_dump *d = first("*** Guest State ***\n"
				   "EFER= 0x0000000000000500 (effective)\n"
				   "MSR guest autoload:\n"
				   "   0: msr=0xc0000100 value=0x0000000000000000\n"
				   "   1: msr=0x00000174 value=0x0000000000000010\n"
				   "MSR autostore:\n"
				   "   0: msr=0x00000010 value=0x0000000000000000\n"
				   "*** Host State ***\n"
				   "MSR host autoload:\n"
				   "   0: msr=0xc0000101 value=0x0000000000000000\n");

	assert_false(shows(d, VMCS_GUEST_EFER));
	assert_int_equal(d->msrs, 2);
	assert_int_equal(d->msr[0], 0xc0000100);
	assert_int_equal(d->msr[1], 0x174);
}

static void several_dumps_in_a_row(void **state)
{
	static const char text[] = "noise CR3 = 0x0000000000009000\n"
				   "*** Guest State ***\nCR3 = 0x0000000000001000\n"
				   "*** Control State ***\nPinBased=0000003f\n"
				   "*** Guest State ***\nCR3 = 0x0000000000002000\n"
				   "*** SoftVT VMCS ***\nGUEST_CR3 6802 = 0x0000000000003000\n";
	struct vmx_dump_reader reader = reader_of(text);
	static struct vmx_dump dump;

	assert_true(vmx_dump_next(&reader, &dump));
	assert_int_equal(dump.line, 2);
	EXPECT(&dump, GUEST_CR3, 0x1000);
	EXPECT(&dump, VM_PINBASED_CTLS, 0x3f);
	assert_true(vmx_dump_next(&reader, &dump));
	assert_int_equal(dump.line, 6);
	EXPECT(&dump, GUEST_CR3, 0x2000);
	assert_false(shows(&dump, VMCS_VM_PINBASED_CTLS));
	assert_true(vmx_dump_next(&reader, &dump));
	EXPECT(&dump, GUEST_CR3, 0x3000);
	assert_false(vmx_dump_next(&reader, &dump));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(softvt_there_and_back),
		cmocka_unit_test(kvm_segments_and_sysenter),
		cmocka_unit_test(xen_table),
		cmocka_unit_test(states_and_control_layouts),
		cmocka_unit_test(cut_numbers_are_not_taken),
		cmocka_unit_test(what_is_not_the_field),
		cmocka_unit_test(several_dumps_in_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
