/* Writes of control registers that exit: what is #GP, and what mode the guest is in then. SDM vol. 2, "MOV - Move to/from
   Control Registers". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

static void invvpid_single(uint16_t vpid) {}

#include "vmx/exit_cr.c"
#include "vmx/mode.c"

struct vmx_caps vmx_caps;

static uint8_t memory[2 * 4096];
static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static unsigned faults, skipped, stops, tpr;

void msr_area_set_efer(struct vcpu *of, uint64_t efer) {}
void vm_stop(struct vm *of, const char *format, ...) { stops++; }
void vcpu_skip(struct vcpu *of) { skipped++; }
uint32_t lapic_read(struct vcpu *of, unsigned offset) { return tpr; }
void lapic_write(struct vcpu *of, unsigned offset, uint32_t value) { tpr = value; }

void vcpu_raise(struct vcpu *of, unsigned vector, bool has_error, uint32_t error)
{
	assert_int_equal(vector, 13);
	faults++;
}

void vcpu_control(struct vcpu *of, enum vmx_word word, uint64_t bits, bool on)
{
	enum vmcs_field field = word == WORD_ENTRY_CTLS ? VMCS_VM_ENTRY_CTLS : VMCS_VM_PROCBASED_CTLS;

	of->controls[word] = on ? of->controls[word] | bits : of->controls[word] & ~bits;
	fields[field] = of->controls[word];
}

bool vm_read(struct vm *of, gpa_t gpa, void *to, size_t size)
{
	if (gpa + size > sizeof(memory))
		return false;
	memcpy(to, memory + gpa, size);
	return true;
}

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	memset(memory, 0, sizeof(memory));
	memset(&vcpu, 0, sizeof(vcpu));
	vcpu.vm = &vm;
	vmx_caps = (struct vmx_caps){
		.cr0_must = CR0_PE | CR0_NE | CR0_PG, .cr0_may = UINT32_MAX, .cr4_must = CR4_VMXE, .cr4_may = 0x773fff};
	vcpu.controls[WORD_PROCBASED_CTLS2] = CTL(PROCBASED_CTLS2, UNRESTRICTED_GUEST);
	fields[VMCS_GUEST_TR_AR] = 0x8b;
	faults = skipped = stops = tpr = 0;
	return 0;
}

static void mode(uint64_t cr0, uint64_t cr4, uint64_t efer) { vcpu_set_mode(&vcpu, cr0 | CR0_ET, 0x1000, cr4, efer); }

static void write_register(unsigned cr, uint64_t value)
{
	faults = skipped = 0;
	vcpu.registers[RBX] = value;
	fields[VMCS_EXIT_QUALIFICATION] = cr | RBX << 8;
	exit_cr_access(&vcpu);
}

#define OK(cr, value)                                                                                                  \
	do {                                                                                                           \
		write_register(cr, value);                                                                             \
		assert_int_equal(skipped, 1);                                                                          \
		assert_int_equal(faults, 0);                                                                           \
	} while (0)
#define GP(cr, value)                                                                                                  \
	do {                                                                                                           \
		write_register(cr, value);                                                                             \
		assert_int_equal(skipped, 0);                                                                          \
		assert_int_equal(faults, 1);                                                                           \
	} while (0)

static void cr0_must_be_consistent(void **state)
{
	mode(CR0_PE, 0, 0);
	GP(0, CR0_PG);
	GP(0, CR0_PE | CR0_NW);
	OK(0, CR0_PE | CR0_NW | CR0_CD);
	assert_int_equal(vcpu_cr0(&vcpu), CR0_PE | CR0_ET | CR0_NW | CR0_CD);
	assert_int_equal(fields[VMCS_GUEST_CR0] & (CR0_NW | CR0_CD), 0);
	OK(0, CR0_PE | BIT(10)); /* reserved bits are ignored */
	assert_int_equal(vcpu_cr0(&vcpu), CR0_PE | CR0_ET);
}

static void ia32e_mode_begins_with_paging(void **state)
{
	mode(CR0_PE, 0, EFER_LME);
	GP(0, CR0_PE | CR0_PG); /* without PAE */
	mode(CR0_PE, CR4_PAE, EFER_LME);
	fields[VMCS_GUEST_CS_AR] = AR_L;
	GP(0, CR0_PE | CR0_PG);
	fields[VMCS_GUEST_CS_AR] = 0;
	fields[VMCS_GUEST_TR_AR] = BUSY_TSS_16;
	GP(0, CR0_PE | CR0_PG);
	fields[VMCS_GUEST_TR_AR] = 0x8b;
	OK(0, CR0_PE | CR0_PG);
	assert_int_equal(vcpu_efer(&vcpu), EFER_LME | EFER_LMA);
}

static void ia32e_mode_ends_in_compatibility_mode_only(void **state)
{
	mode(CR0_PE | CR0_PG, CR4_PAE, EFER_LME);
	fields[VMCS_GUEST_CS_AR] = AR_L;
	GP(0, CR0_PE);
	GP(4, 0); /* PAE stays */
	GP(0, BIT(32) | CR0_PE | CR0_PG);
	fields[VMCS_GUEST_CS_AR] = 0;
	OK(0, CR0_PE);
	assert_int_equal(vcpu_efer(&vcpu), EFER_LME);
}

static void pcid_needs_ia32e_mode_and_keeps_paging(void **state)
{
	mode(CR0_PE | CR0_PG, CR4_PAE, 0);
	GP(4, CR4_PAE | CR4_PCIDE);
	mode(CR0_PE | CR0_PG, CR4_PAE, EFER_LME);
	OK(4, CR4_PAE | CR4_PCIDE);
	GP(0, CR0_PE);
	vcpu_set_mode(&vcpu, CR0_ET | CR0_PE | CR0_PG, 0x1001, CR4_PAE, EFER_LME);
	GP(4, CR4_PAE | CR4_PCIDE);
}

static void what_cpuid_does_not_offer_is_gp_in_cr4(void **state)
{
	mode(CR0_PE, 0, 0);
	for (unsigned bit = 0; bit < 32; bit++) {
		if (BIT(bit) == CR4_PCIDE || BIT(bit) == CR4_PAE)
			continue;
		if (vcpu_cr4_offered() & BIT(bit))
			OK(4, BIT(bit));
		else
			GP(4, BIT(bit));
	}
}

static void pae_paging_loads_pdptes_and_checks_them(void **state)
{
	uint64_t *pdptes = (uint64_t *)(memory + 0x1000);

	pdptes[0] = 0x5001;
	pdptes[3] = 0x6001;
	mode(CR0_PE, CR4_PAE, 0);
	OK(0, CR0_PE | CR0_PG);
	assert_int_equal(fields[VMCS_GUEST_PDPTE0], 0x5001);
	assert_int_equal(fields[VMCS_GUEST_PDPTE3], 0x6001);
	pdptes[1] = 0x5001 | BIT(5);
	GP(3, 0x1000);
	GP(3, 0x100000); /* no RAM */
	pdptes[1] = BIT(5); /* not present: not checked */
	OK(3, 0x1000);
}

static void without_unrestricted_guest_real_mode_stops_the_vm(void **state)
{
	vcpu.controls[WORD_PROCBASED_CTLS2] = 0;
	mode(CR0_PE, 0, 0);
	OK(3, 0x5000);
	assert_int_equal(vcpu_cr3(&vcpu), 0x5000);
	OK(0, CR0_PE | CR0_TS);
	assert_int_equal(stops, 0);
	write_register(0, 0);
	assert_int_equal(stops, 1);
}

static void cr8_is_the_tpr(void **state)
{
	mode(CR0_PE | CR0_PG, CR4_PAE, EFER_LME);
	fields[VMCS_GUEST_CS_AR] = AR_L;
	OK(8, 9);
	assert_int_equal(tpr, 0x90);
	GP(8, 16);
	fields[VMCS_EXIT_QUALIFICATION] = 8 | 1 << 4 | RSI << 8;
	exit_cr_access(&vcpu);
	assert_int_equal(vcpu.registers[RSI], 9);
}

/* LMSW writes the low four bits, but does not clear PE; CLTS clears TS. */
static void lmsw_and_clts(void **state)
{
	mode(CR0_PE | CR0_MP, 0, 0);
	fields[VMCS_EXIT_QUALIFICATION] = 3 << 4 | (uint64_t)(CR0_TS | 0xff0) << 16;
	exit_cr_access(&vcpu);
	assert_int_equal(vcpu_cr0(&vcpu), CR0_PE | CR0_TS | CR0_ET);
	fields[VMCS_EXIT_QUALIFICATION] = 2 << 4;
	exit_cr_access(&vcpu);
	assert_int_equal(vcpu_cr0(&vcpu), CR0_PE | CR0_ET);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cr0_must_be_consistent),
		TEST(ia32e_mode_begins_with_paging),
		TEST(ia32e_mode_ends_in_compatibility_mode_only),
		TEST(pcid_needs_ia32e_mode_and_keeps_paging),
		TEST(what_cpuid_does_not_offer_is_gp_in_cr4),
		TEST(pae_paging_loads_pdptes_and_checks_them),
		TEST(without_unrestricted_guest_real_mode_stops_the_vm),
		TEST(cr8_is_the_tpr),
		TEST(lmsw_and_clts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
