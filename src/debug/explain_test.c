/*
 * Explanations: five rules broken at once, who wrote the fields, instructions that fail, MSR lists, aborts, triple
 * faults, repetition. Each looks for the words that a reader needs, not for the whole text.
 */
#include "debug/explain.h"

#include "debug/tiny_elf.h"
#include "exec/fixture.h"
#include "vmx/check_test.h"

struct rig {
	struct fixture *fixture;
	struct cpu *cpu;
	struct scene scene;
	struct symbols *symbols;
	char *text;
	size_t size;
	FILE *to;
	struct explain *explain;
};

#define VMWRITE_AT (TINY_CODE + 0x14)
#define LIST_AT	   0x6000

static const struct tiny_symbol symbols[] = {{"fill", TINY_CODE + 0x10, 0x40, 2, 1},
					     {"enter", TINY_CODE + 0x50, 8, 2, 1}};

static void rig_text(struct rig *r, bool json)
{
	if (r->explain) {
		explain_destroy(r->explain);
		fclose(r->to);
		free(r->text);
	}
	r->to = open_memstream(&r->text, &r->size);
	r->explain = explain_create(r->to, json, r->symbols);
}

static int create(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	uint8_t bytes[4096];
	struct vmx *vmx;

	fixture_create((void **)&r->fixture);
	r->cpu = r->fixture->cpu;
	scene_start(&r->scene, GUEST_64);
	vmx_create(r->cpu, &r->scene.caps);
	vmx = r->cpu->vmx;
	vmx->on = true;
	vmx->vmxon_pointer = SCENE_VMXON;
	vmx->current = SCENE_CURRENT;
	memcpy(r->fixture->ram, r->scene.memory, sizeof(r->scene.memory));
	r->cpu->insn_rip = TINY_CODE + 0x52;
	r->cpu->retired = 5132;
	r->cpu->efer |= EFER_LMA; /* what the scene's host state wants */
	r->symbols = symbols_create();
	symbols_add(r->symbols, bytes, tiny_elf(bytes, true, TINY_CODE, symbols, ARRAY_SIZE(symbols)));
	rig_text(r, false);
	*state = r;
	return 0;
}

static int destroy(void **state)
{
	struct rig *r = *state;

	explain_destroy(r->explain);
	fclose(r->to);
	free(r->text);
	symbols_destroy(r->symbols);
	vmx_destroy(r->cpu);
	fixture_destroy((void **)&r->fixture);
	free(r);
	return 0;
}

static void assert_says(struct rig *r, const char *words)
{
	fflush(r->to);
	if (!r->text || !strstr(r->text, words))
		fail_msg("no \"%s\" in:\n%s", words, r->text);
}

static unsigned count(struct rig *r, const char *words)
{
	unsigned found = 0;

	fflush(r->to);
	for (const char *at = r->text; (at = strstr(at, words)); at++)
		found++;
	return found;
}

static const enum vmx_check five[] = {VMX_CHECK_CTL_CR3_TARGET_COUNT, VMX_CHECK_HOST_CS_NONNULL,
				      VMX_CHECK_HOST_TR_NONNULL, VMX_CHECK_GUEST_RFLAGS_BIT1,
				      VMX_CHECK_GUEST_ACTIVITY_RANGE};

static void break_five(struct rig *r)
{
	struct vmcs *v = &r->cpu->vmx->vmcs;

	*v = r->scene.vmcs;
	vmcs_set(v, CR3_TARGET_COUNT, 5);
	vmcs_set(v, HOST_CS_SELECTOR, 0);
	vmcs_set(v, HOST_TR_SELECTOR, 0);
	vmcs_set(v, GUEST_RFLAGS, 0);
	vmcs_set(v, GUEST_ACTIVITY_STATE, 4);
	v->writer[VMCS_CR3_TARGET_COUNT] = (struct vmcs_writer){.rip = VMWRITE_AT, .count = 77, .value = 5};
}

static const struct vmx_failed_entry failed = {
	.launch = true, .error = VMX_ERROR_CONTROL_FIELDS, .rule = VMX_CHECK_CTL_CR3_TARGET_COUNT};

static void all_broken_rules(void **state)
{
	struct rig *r = *state;

	break_five(r);
	explain_entry(r->explain, r->cpu, &failed);
	assert_says(r, "softvt: #1: VMLAUNCH failed, VMfailValid(7): VM entry with invalid control fields\n"
		       "  CPU 0, VMX root operation, at 0x401052 <enter+0x2>, instruction 5132, VMCS 0x1000\n"
		       "  5 rules are broken; a processor stops at the first:\n"
		       "  ctl.cr3_target.count: VMfailValid(7)\n"
		       "    must hold: ");
	for (unsigned i = 0; i < ARRAY_SIZE(five); i++)
		assert_says(r, vmx_check_info[five[i]].id);
	assert_int_equal(count(r, "must hold"), 5);
	assert_says(r, ", VMWRITE at 0x401014 <fill+0x4>, instruction 77\n");
	assert_says(r, "HOST_CS_SELECTOR = 0x0, which no VMWRITE is known to have written\n");
	assert_says(r, "SDM vol. 3, \"Checks on Guest RIP, RFLAGS, and SSP\"\n");
}

static void as_json(void **state)
{
	struct rig *r = *state;

	rig_text(r, true);
	break_five(r);
	explain_entry(r->explain, r->cpu, &failed);
	assert_says(r, "{\"event\": \"entry_failed\", \"number\": 1, \"what\": \"VMLAUNCH failed, VMfailValid(7): ");
	assert_says(r, "\"rip\": \"0x401052\", \"symbol\": \"enter\", \"offset\": \"0x2\", \"instructions\": 5132, "
		       "\"vmcs\": \"0x1000\", \"rules\": [{\"id\": \"ctl.cr3_target.count\", ");
	assert_says(r, "\"CR3_TARGET_COUNT\": {\"rip\": \"0x401014\", \"symbol\": \"fill\", \"offset\": \"0x4\", "
		       "\"instructions\": 77, \"value\": \"0x5\"}");
	assert_says(r, "\"HOST_CS_SELECTOR\": null");
	assert_int_equal(count(r, "\n"), 1);
	assert_int_equal(count(r, "{"), count(r, "}"));
}

/* The same failure is told once; another VMCS that breaks other rules at the same place is another failure. */
static void repetition(void **state)
{
	struct rig *r = *state;

	break_five(r);
	for (unsigned i = 0; i < 10; i++)
		explain_entry(r->explain, r->cpu, &failed);
	assert_int_equal(count(r, "softvt: #"), 1);
	vmcs_set(&r->cpu->vmx->vmcs, CR3_TARGET_COUNT, 0);
	explain_entry(r->explain, r->cpu,
		      &(struct vmx_failed_entry){.launch = true, .error = VMX_ERROR_HOST_STATE, .rule = five[1]});
	assert_says(r, "softvt: #2: VMLAUNCH failed, VMfailValid(8): ");
	explain_conclude(r->explain);
	assert_says(r, "softvt: #1: VMLAUNCH failed, VMfailValid(7): VM entry with invalid control fields "
		       "(repeated 9 times)\n");
	assert_int_equal(count(r, "(repeated"), 1);
}

/* Another VMCS was current meanwhile; and a value that is not the one written is the processor's. */
static void writers_are_remembered(void **state)
{
	struct rig *r = *state;

	break_five(r);
	r->cpu->vmx->vmcs.writer[VMCS_GUEST_RFLAGS] = (struct vmcs_writer){.rip = VMWRITE_AT, .count = 78, .value = 2};
	explain_vmcs_leaves(r->explain, r->cpu);
	memset(r->cpu->vmx->vmcs.writer, 0, sizeof(r->cpu->vmx->vmcs.writer));
	explain_entry(r->explain, r->cpu, &failed);
	assert_says(r, "CR3_TARGET_COUNT = 0x5, VMWRITE at 0x401014 <fill+0x4>, instruction 77\n");
	assert_says(r, "GUEST_RFLAGS = 0x0, set by the processor after the VMWRITE of 0x2 at 0x401014 <fill+0x4>, "
		       "instruction 78\n");
}

static void flood(void **state)
{
	struct rig *r = *state;
	const struct vmx_instruction what = {.operation = ZYDIS_MNEMONIC_VMRESUME,
					     .error = VMX_ERROR_VMRESUME_NOT_LAUNCHED};

	for (unsigned i = 0; i < 1000; i++) {
		r->cpu->insn_rip = i;
		explain_instruction(r->explain, r->cpu, &what);
	}
	explain_conclude(r->explain);
	assert_int_equal(count(r, "softvt: #"), 200);
	assert_says(r, "softvt: 800 more failures of other kinds were not explained\n");
}

#define INSTRUCTION(r, name, ...)                   \
	explain_instruction((r)->explain, (r)->cpu, \
			    &(struct vmx_instruction){.operation = ZYDIS_MNEMONIC_##name, __VA_ARGS__})

static void instructions(void **state)
{
	struct rig *r = *state;

	INSTRUCTION(r, VMPTRLD, .error = VMX_ERROR_VMPTRLD_ADDRESS, .operand = 0x1008);
	assert_says(r, "VMPTRLD failed, VMfailValid(9): ");
	assert_says(r, "address 0x1008 must have bits 11:0 clear");
	INSTRUCTION(r, VMPTRLD, .error = VMX_ERROR_VMPTRLD_REVISION, .operand = 0x7000);
	assert_says(r, "the region at 0x7000 must begin with the VMCS revision identifier 0x53565401, which "
		       "IA32_VMX_BASIC[30:0] reports; it begins with 0x0\n");
	INSTRUCTION(r, VMCLEAR, .error = VMX_ERROR_VMCLEAR_ADDRESS, .operand = BIT(60));
	assert_says(r, "address 0x1000000000000000 must not have a bit beyond bit ");
	INSTRUCTION(r, VMREAD, .error = VMX_ERROR_UNSUPPORTED_COMPONENT, .operand = 0x7e);
	assert_says(r, "no VMCS field has the encoding 0x7e");
	INSTRUCTION(r, VMWRITE, .error = VMX_ERROR_READ_ONLY_COMPONENT, .operand = 0x4402);
	assert_says(r, "EXIT_REASON is VM-exit information, which can be written where ");
	r->cpu->insn_rip++;
	INSTRUCTION(r, VMREAD, .error = VMX_ERROR_UNSUPPORTED_COMPONENT, .operand = 0x401c);
	assert_says(r,
		    "0x401c is TPR_THRESHOLD, which this CPU model lacks: it comes with the control \"Use TPR shadow\" "
		    "(vmx-flexpriority of -cpu)");
	INSTRUCTION(r, VMRESUME, .error = VMX_ERROR_VMRESUME_NOT_LAUNCHED);
	assert_says(r, "it is clear: VMLAUNCH enters it");
	r->cpu->vmx->current = ~UINT64_C(0);
	INSTRUCTION(r, VMLAUNCH, .invalid = true);
	assert_says(r, "VMLAUNCH failed, VMfailInvalid\n");
	assert_says(r, "there is no current VMCS");
}

static void msr_lists(void **state)
{
	struct rig *r = *state;

	vmcs_set(&r->cpu->vmx->vmcs, VM_ENTRY_MSR_LOAD_ADDRESS, LIST_AT);
	vmcs_set(&r->cpu->vmx->vmcs, VM_EXIT_MSR_LOAD_ADDRESS, LIST_AT);
	poke(r->fixture, LIST_AT + 16, 8, 0xc0000100);
	poke(r->fixture, LIST_AT + 24, 8, 0x1234);
	poke(r->fixture, LIST_AT + 32, 8, 0xc0000080);
	poke(r->fixture, LIST_AT + 40, 8, 0xfe);
	explain_entry(r->explain, r->cpu, &(struct vmx_failed_entry){.msr_entry = 2});
	assert_says(r, "VMRESUME failed, exit reason 34, qualification 2: ");
	assert_says(r, "entry 2, at 0x6010: MSR 0xc0000100 IA32_FS_BASE, value 0x1234: no VM entry loads it");
	assert_says(r, "msr.fs_gs_base: VM-entry failure, exit reason 34, qualification 2\n");
	explain_entry(r->explain, r->cpu, &(struct vmx_failed_entry){.msr_entry = 3});
	assert_says(r, "MSR 0xc0000080 IA32_EFER, value 0xfe: WRMSR would raise #GP(0)");
	explain_abort(r->explain, r->cpu, VMX_ABORT_LOAD_MSR, 3);
	assert_says(r, "VMX abort, indicator 4: an MSR of the host could not be loaded\n");
	assert_says(r, "VM_EXIT_MSR_LOAD_ADDRESS = 0x6000, which no VMWRITE");
}

static void corrupted_host_state(void **state)
{
	struct rig *r = *state;

	r->cpu->vmx->vmcs = r->scene.vmcs;
	vmcs_set(&r->cpu->vmx->vmcs, HOST_TR_SELECTOR, 0);
	vmcs_set(&r->cpu->vmx->vmcs, GUEST_RFLAGS, 0);
	explain_abort(r->explain, r->cpu, VMX_ABORT_CORRUPTED, 0);
	assert_says(r, "VMX abort, indicator 3: the current VMCS has been corrupted\n");
	assert_says(r, "  1 rule is broken:\n  host.tr.nonnull: ");
}

static void triple_faults(void **state)
{
	struct rig *r = *state;
	struct fixture *f = r->fixture;
	struct fault_chain chain = {.count = 3,
				    .link = {{.vector = VECTOR_PF, .has_error = true, .error = 2, .address = 0xdead000},
					     {.vector = VECTOR_DF, .has_error = true},
					     {.vector = VECTOR_NP, .has_error = true, .error = VECTOR_DF * 8 + 3}}};

	r->cpu->efer = 0;
	r->cpu->vmx->on = false;
	fixture_protected(f, 0);
	put_gate(f, IDT_AT + VECTOR_PF * 8, FREE_SEL, 0x12345678, TYPE_INTERRUPT, 0, 0);
	put_gate(f, IDT_AT + VECTOR_DF * 8, CODE0, 0x12345678, TYPE_INTERRUPT, 0, 0);
	f->ram[IDT_AT + VECTOR_DF * 8 + 5] &= 0x7f;
	r->cpu->rip = TINY_CODE + 0x11;
	explain_triple_fault(r->explain, r->cpu, &chain);
	assert_says(r, "softvt: #1: triple fault\n  CPU 0, outside VMX operation, at 0x401011 <fill+0x1>, ");
	assert_says(r, "  #PF(0x2): linear 0xdead000, write to a page that is not present, supervisor\n  #DF(0)\n");
	assert_says(r, "  #NP(0x43) when #DF was to be delivered: IDT entry 8 at 0x2040 (0x");
	assert_says(r, ") is not present\n");
	chain.link[1] = (struct fault_link){.vector = VECTOR_GP, .has_error = true, .error = FREE_SEL};
	explain_triple_fault(r->explain, r->cpu, &chain);
	assert_says(r,
		    "  #GP(0x48) when #PF was to be delivered: selector 0x48 of the GDT; IDT entry 14 at 0x2070 (0x");
	assert_says(r, ") leads to 0x48:0x12345678, whose ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_broken_rules), TEST(as_json),	 TEST(repetition),    TEST(writers_are_remembered), TEST(flood),
		TEST(instructions),	TEST(msr_lists), TEST(triple_faults), TEST(corrupted_host_state),
	};

	return cmocka_run_group_tests_name("debug/explain", tests, NULL, NULL);
}
