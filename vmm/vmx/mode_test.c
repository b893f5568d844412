/* What a guest sees of its control registers, and what the VMCS has. SDM vol. 3, "Guest/Host Masks and Read Shadows for CR0
   and CR4". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

static void invvpid_single(uint16_t vpid) {}

#include "vmx/mode.c"

struct vmx_caps vmx_caps;

static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static uint64_t efer_loaded;

void msr_area_set_efer(struct vcpu *of, uint64_t efer) { efer_loaded = efer; }

void vcpu_control(struct vcpu *of, enum vmx_word word, uint64_t bits, bool on)
{
	enum vmcs_field field = word == WORD_ENTRY_CTLS ? VMCS_VM_ENTRY_CTLS : VMCS_VM_PROCBASED_CTLS;

	of->controls[word] = on ? of->controls[word] | bits : of->controls[word] & ~bits;
	fields[field] = of->controls[word];
}

static void setup(bool unrestricted)
{
	memset(fields, 0, sizeof(fields));
	memset(&vcpu, 0, sizeof(vcpu));
	vcpu.vm = &vm;
	vmx_caps = (struct vmx_caps){
		.cr0_must = CR0_PE | CR0_NE | CR0_PG, .cr0_may = UINT32_MAX, .cr4_must = CR4_VMXE, .cr4_may = 0x773fff};
	if (unrestricted)
		vcpu.controls[WORD_PROCBASED_CTLS2] = CTL(PROCBASED_CTLS2, UNRESTRICTED_GUEST);
}

/* SDM vol. 3, "Checks on Guest Control Registers, Debug Registers, and MSRs", as far as it is about these registers. */
static void entry_accepts(void)
{
	bool unrestricted = VCPU_HAS(&vcpu, PROCBASED_CTLS2, UNRESTRICTED_GUEST);
	bool ia32e = fields[VMCS_VM_ENTRY_CTLS] & CTL(ENTRY_CTLS, IA32E_MODE_GUEST);
	uint64_t cr0 = fields[VMCS_GUEST_CR0], cr4 = fields[VMCS_GUEST_CR4];

	assert_int_equal(~cr0 & vmx_caps.cr0_must & (unrestricted ? ~(uint64_t)CR0_PE & ~CR0_PG : ~UINT64_C(0)), 0);
	assert_int_equal(cr4 & vmx_caps.cr4_must, vmx_caps.cr4_must);
	assert_int_equal(cr4 & ~vmx_caps.cr4_may, 0);
	assert_true(!(cr0 & CR0_PG) || (cr0 & CR0_PE));
	assert_true(!ia32e || ((cr0 & CR0_PG) && (cr4 & CR4_PAE)));
	assert_true(ia32e || !(cr4 & CR4_PCIDE));
	assert_true(!!(efer_loaded & EFER_LMA) == ia32e);
	assert_true(!(cr0 & CR0_PG) || !!(efer_loaded & EFER_LME) == ia32e);
}

/* What was written is what is read, and a VM entry takes it, in each mode that a guest may be in. */
static void every_mode_is_seen_as_it_was_set(void **state)
{
	static const struct {
		uint64_t cr0, cr4, efer;
	} modes[] = {
		{CR0_ET | CR0_NW | CR0_CD, 0, 0},
		{CR0_ET | CR0_PE, 0, 0},
		{CR0_ET | CR0_PE | CR0_TS, CR4_PAE | CR4_SMEP, EFER_LME},
		{CR0_ET | CR0_PE | CR0_PG, CR4_PSE, 0},
		{CR0_ET | CR0_PE | CR0_PG | CR0_WP, CR4_PAE | CR4_MCE, EFER_NXE},
		{CR0_ET | CR0_PE | CR0_PG | CR0_NE, CR4_PAE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMAP, EFER_LME | EFER_SCE},
	};

	for (unsigned unrestricted = 0; unrestricted <= 1; unrestricted++) {
		for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
			uint64_t cr0 = modes[i].cr0, lma = (cr0 & CR0_PG) && (modes[i].efer & EFER_LME) ? EFER_LMA : 0;

			setup(unrestricted);
			vcpu_set_mode(&vcpu, cr0, 0x5000, modes[i].cr4, modes[i].efer);
			assert_int_equal(vcpu_cr0(&vcpu), cr0);
			assert_int_equal(vcpu_cr3(&vcpu), 0x5000);
			assert_int_equal(vcpu_cr4(&vcpu), modes[i].cr4);
			assert_int_equal(vcpu_efer(&vcpu), modes[i].efer | lma);
			entry_accepts();
		}
	}
}

static void without_unrestricted_guest_no_paging_is_paging_on_our_table(void **state)
{
	const uint64_t exiting = CTL(PROCBASED_CTLS, CR3_LOAD_EXITING) | CTL(PROCBASED_CTLS, CR3_STORE_EXITING);

	setup(false);
	vcpu_set_mode(&vcpu, CR0_ET | CR0_PE, 0x5000, CR4_PAE | CR4_SMEP, EFER_LME);
	assert_int_equal(fields[VMCS_GUEST_CR3], UNPAGED_TABLE);
	assert_int_equal(fields[VMCS_GUEST_CR4] & (CR4_PSE | CR4_PAE | CR4_SMEP), CR4_PSE);
	assert_int_equal(fields[VMCS_CR4_MASK], ~UINT64_C(0));
	assert_int_equal(fields[VMCS_VM_PROCBASED_CTLS] & exiting, exiting);
	vcpu_set_mode(&vcpu, CR0_ET | CR0_PE | CR0_PG, vcpu_cr3(&vcpu), vcpu_cr4(&vcpu), vcpu_efer(&vcpu));
	assert_int_equal(fields[VMCS_GUEST_CR3], 0x5000);
	assert_int_equal(fields[VMCS_VM_PROCBASED_CTLS] & exiting, 0);
	assert_int_equal(fields[VMCS_VM_ENTRY_CTLS], CTL(ENTRY_CTLS, IA32E_MODE_GUEST));
}

/* An unrestricted guest with paging owns all that it may change: no VM exit. */
static void the_guest_owns_what_is_not_ours(void **state)
{
	setup(true);
	vcpu_set_mode(&vcpu, CR0_ET, 0, 0, 0);
	assert_int_equal(fields[VMCS_CR0_MASK] & UINT32_MAX, CR0_NE | CR0_CD | CR0_NW);
	assert_int_equal(fields[VMCS_CR4_MASK] & vcpu_cr4_offered(), CR4_MCE);
	assert_int_equal(vcpu_cr4_offered() & (CR4_VMXE | CR4_SMXE | CR4_LA57), 0);
	fields[VMCS_GUEST_CR0] |= CR0_PE | CR0_TS;
	assert_int_equal(vcpu_cr0(&vcpu), CR0_ET | CR0_PE | CR0_TS);
}

static void the_table_maps_each_address_to_itself(void **state)
{
	uint32_t table[1024];

	mode_make_unpaged_table(table);
	for (uint32_t i = 0; i < 1024; i++)
		assert_int_equal(table[i], i << 22 | 0xe7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mode_is_seen_as_it_was_set),
		cmocka_unit_test(without_unrestricted_guest_no_paging_is_paging_on_our_table),
		cmocka_unit_test(the_guest_owns_what_is_not_ours),
		cmocka_unit_test(the_table_maps_each_address_to_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
