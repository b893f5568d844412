/* Which event the next VM entry delivers. SDM vol. 3, "Interrupt 8—Double Fault Exception (#DF)", "VM-Entry Controls for
   Event Injection". */
#include "vmx/fake_vmcs.h"

#include <string.h>

#include "vmx/inject.c"

static struct fixture {
	struct vm vm;
	struct vcpu vcpu;
	unsigned stops, resets, starts, started_at, statuses, acknowledged;
	bool extint;
	int pending, next; /* lapic_pending() before and after an acknowledge */
	int threshold;
} f;

bool i8259_pending(const struct vm *vm) { return f.extint; }
bool lapic_takes_extint(const struct vcpu *vcpu) { return true; }
int lapic_pending(struct vcpu *vcpu) { return f.pending; }
void apicv_set_status(struct vcpu *vcpu) { f.statuses++; }
void apicv_set_threshold(struct vcpu *vcpu, int vector) { f.threshold = vector; }
void apicv_update(struct vcpu *vcpu) {}
void vm_stop(struct vm *vm, const char *format, ...) { f.stops++; }

unsigned i8259_acknowledge(struct vm *vm)
{
	f.extint = false;
	return 0x30;
}

void lapic_acknowledge(struct vcpu *vcpu, unsigned vector)
{
	f.acknowledged = vector;
	f.pending = f.next;
}

void vcpu_control(struct vcpu *vcpu, enum vmx_word word, uint64_t bits, bool on)
{
	vcpu->controls[word] = on ? vcpu->controls[word] | bits : vcpu->controls[word] & ~bits;
}

void vcpu_reset(struct vcpu *vcpu)
{
	f.resets++;
	vcpu->apic.init = vcpu->apic.startup = false;
	vcpu->state = VCPU_WAIT_SIPI;
}

void vcpu_start_real(struct vcpu *vcpu, uint16_t cs, uint16_t ip)
{
	f.starts++;
	f.started_at = cs;
}

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	f = (struct fixture){.pending = -1, .next = -1, .threshold = -2};
	f.vcpu.vm = &f.vm;
	f.vcpu.state = VCPU_RUNNABLE;
	vmwrite(VMCS_GUEST_CR0, CR0_PE);
	vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
	return 0;
}

static uint32_t injected(void)
{
	uint32_t info;

	vmwrite(VMCS_VM_ENTRY_INTERRUPTION_INFO, 0); /* as a VM exit does with bit 31 */
	vcpu_prepare_events(&f.vcpu);
	info = (uint32_t)vmread(VMCS_VM_ENTRY_INTERRUPTION_INFO);
	assert_true(f.vcpu.in_guest);
	return info;
}

static bool window(void) { return vcpu_has(&f.vcpu, WORD_PROCBASED_CTLS, CTL(PROCBASED_CTLS, INTERRUPT_WINDOW_EXITING)); }
static bool nmi_window(void) { return vcpu_has(&f.vcpu, WORD_PROCBASED_CTLS, CTL(PROCBASED_CTLS, NMI_WINDOW_EXITING)); }

/* The table of the manual, by a second way. */
static void double_faults(void **state)
{
	static const uint8_t contributory[] = {0, 10, 11, 12, 13, 21}, faults[] = {14, 20};

	for (unsigned first = 0; first < 32; first++) {
		for (unsigned second = 0; second < 32; second++) {
			bool c1 = memchr(contributory, (int)first, sizeof(contributory));
			bool c2 = memchr(contributory, (int)second, sizeof(contributory));
			bool p1 = memchr(faults, (int)first, sizeof(faults)), p2 = memchr(faults, (int)second, sizeof(faults));

			setup(NULL);
			vcpu_raise(&f.vcpu, first, false, 0);
			vcpu_raise(&f.vcpu, second, true, 0x18);
			assert_int_equal(f.stops, first == 8 && (c2 || p2 || second == 8));
			if (f.stops)
				continue;
			if ((c1 && c2) || (p1 && (c2 || p2))) {
				assert_int_equal(injected(), 0x80000b08);
				assert_int_equal(vmread(VMCS_VM_ENTRY_ERROR_CODE), 0);
			} else {
				assert_int_equal(injected(), 0x80000b00 | second);
				assert_int_equal(vmread(VMCS_VM_ENTRY_ERROR_CODE), 0x18);
			}
		}
	}
}

static void real_mode_has_no_error_codes(void **state)
{
	vmwrite(VMCS_GUEST_CR0, 0);
	vcpu_raise_gp(&f.vcpu);
	assert_int_equal(injected(), 0x8000030d);
}

static void page_fault_has_its_address(void **state)
{
	vcpu_raise_pf(&f.vcpu, 0x123456789, 2);
	assert_int_equal(f.vcpu.cr2, 0x123456789);
	assert_int_equal(injected(), 0x80000b0e);
	assert_int_equal(vmread(VMCS_VM_ENTRY_ERROR_CODE), 2);
}

static void what_was_cut_short_comes_again(void **state)
{
	static const struct {
		uint32_t vectoring, injected;
	} rows[] = {{0x80000031, 0x80000031}, {0x80001202, 0x80000202}, {0x80000b0e, 0x80000b0e}, {0x80001430, 0x80000430},
		    {0x80000603, 0x80000603}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		setup(NULL);
		vmwrite(VMCS_IDT_VECTORING_INFO, rows[i].vectoring);
		vmwrite(VMCS_IDT_VECTORING_ERROR_CODE, 7);
		vmwrite(VMCS_VM_EXIT_INSTRUCTION_LENGTH, 2);
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI);
		vcpu_keep_vectoring(&f.vcpu);
		f.pending = 0x80;
		assert_int_equal(injected(), rows[i].injected);
		assert_true(window());
		assert_int_equal(vmread(VMCS_VM_ENTRY_ERROR_CODE), rows[i].injected & INFO_ERROR ? 7 : 0);
		assert_int_equal(vmread(VMCS_VM_ENTRY_INSTRUCTION_LENGTH),
				 INFO_TYPE(rows[i].injected) >= SOFTWARE_INTERRUPT ? 2 : 0);
		assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), INFO_TYPE(rows[i].injected) == NMI ? 0 : BLOCKING_BY_NMI);
		vmwrite(VMCS_IDT_VECTORING_INFO, 0);
		vcpu_keep_vectoring(&f.vcpu);
		f.pending = -1;
		assert_int_equal(injected(), 0); /* once */
	}
}

static void nmis(void **state)
{
	static const unsigned blocking[] = {BLOCKING_BY_STI, BLOCKING_BY_MOV_SS, BLOCKING_BY_NMI};

	for (size_t i = 0; i < ARRAY_SIZE(blocking); i++) {
		f.vcpu.nmi_pending = true;
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocking[i]);
		assert_int_equal(injected(), 0);
		assert_true(nmi_window());
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
		assert_int_equal(injected(), 0x80000202);
		assert_false(nmi_window());
		assert_false(f.vcpu.nmi_pending);
	}
	f.vcpu.nmi_pending = true; /* after the exception */
	vcpu_raise_ud(&f.vcpu);
	assert_int_equal(injected(), 0x80000306);
	assert_true(nmi_window());
}

static void fixed_interrupts_by_injection(void **state)
{
	f.pending = 0x41;
	vmwrite(VMCS_GUEST_RFLAGS, 0);
	assert_int_equal(injected(), 0);
	assert_true(window());
	vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI);
	assert_int_equal(injected(), 0);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI);
	f.next = 0x52; /* a second one, higher, is due as soon as the first one's handler allows it */
	assert_int_equal(injected(), 0x80000041);
	assert_int_equal(f.acknowledged, 0x41);
	assert_true(window());
	f.next = -1;
	assert_int_equal(injected(), 0x80000052);
	assert_false(window());
	assert_int_equal(f.threshold, -2);
	f.vcpu.controls[WORD_PROCBASED_CTLS] |= CTL(PROCBASED_CTLS, USE_TPR_SHADOW);
	injected();
	assert_int_equal(f.threshold, -1);
}

static void fixed_interrupts_by_the_processor(void **state)
{
	f.vcpu.controls[WORD_PROCBASED_CTLS2] = CTL(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY);
	f.pending = 0x41;
	assert_int_equal(injected(), 0);
	assert_int_equal(f.statuses, 1);
	assert_false(window());
	f.extint = true; /* is not one of those */
	vmwrite(VMCS_GUEST_RFLAGS, 0);
	assert_int_equal(injected(), 0);
	assert_true(window());
	vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
	assert_int_equal(injected(), 0x80000030);
	assert_false(window());
}

static void extint_goes_first(void **state)
{
	f.extint = true;
	f.pending = 0x41;
	assert_int_equal(injected(), 0x80000030);
	assert_true(window());
	assert_int_equal(injected(), 0x80000041);
}

static void halted(void **state)
{
	assert_false(vcpu_has_work(&f.vcpu));
	f.pending = 0x41;
	assert_true(vcpu_has_work(&f.vcpu));
	vmwrite(VMCS_GUEST_RFLAGS, 0);
	assert_false(vcpu_has_work(&f.vcpu));
	f.extint = true;
	assert_false(vcpu_has_work(&f.vcpu));
	f.vcpu.nmi_pending = true;
	assert_true(vcpu_has_work(&f.vcpu));
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI);
	assert_false(vcpu_has_work(&f.vcpu));
}

static void init_and_startup(void **state)
{
	f.vcpu.apic.init = true;
	assert_false(vcpu_obey_signals(&f.vcpu));
	assert_int_equal(f.resets, 1);
	assert_false(vcpu_has_work(&f.vcpu));
	f.vcpu.apic.startup = true;
	f.vcpu.apic.startup_vector = 0x9a;
	assert_true(vcpu_has_work(&f.vcpu));
	assert_int_equal(f.started_at, 0x9a00);
	assert_int_equal(f.vcpu.state, VCPU_RUNNABLE);
	f.vcpu.apic.init = f.vcpu.apic.startup = true; /* both before it looks */
	assert_true(vcpu_obey_signals(&f.vcpu));
	assert_int_equal(f.resets, 2);
	assert_int_equal(f.starts, 2);
	f.vcpu.apic.base = APIC_BASE_BSP;
	f.vcpu.apic.init = true;
	assert_false(vcpu_obey_signals(&f.vcpu));
	assert_int_equal(f.stops, 1);
	assert_int_equal(f.resets, 2);
}

static void iret_that_faulted_blocks_nmis_again(void **state)
{
	vmwrite(VMCS_EXIT_REASON, EXIT_EPT_VIOLATION);
	vmwrite(VMCS_EXIT_QUALIFICATION, BIT(12));
	vcpu_keep_vectoring(&f.vcpu);
	assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_NMI);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(double_faults), TEST(real_mode_has_no_error_codes), TEST(page_fault_has_its_address), TEST(what_was_cut_short_comes_again),
		TEST(nmis),
		TEST(fixed_interrupts_by_injection), TEST(fixed_interrupts_by_the_processor), TEST(extint_goes_first),
		TEST(halted),
		TEST(init_and_startup), TEST(iret_that_faulted_blocks_nmis_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
