/* A VM's local APICs against SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/msrs.h"
#include "cpu/time.h"
#include "guest/vm.h"
#include "vmx/apicv.h"

enum { FIXED, LOWEST, NMI = 4, INIT, STARTUP };
enum { SELF = 1 << 18, ALL = 2 << 18, OTHERS = 3 << 18, LOGICAL = 1 << 11 };
enum { MASKED = 1 << 16, PERIODIC = 1 << 17, TSC_DEADLINE = 2 << 17 };
enum { VCPUS = 3, TICK = 1000000000 / APIC_TIMER_HZ };

uint64_t tsc_hz = 1000000000;

static struct fixture {
	struct vm vm;
	struct vcpu vcpus[VCPUS];
	struct cpu cpus[VCPUS];
	uint64_t now;
	unsigned eois, wakes, notified, stops, updates;
	unsigned eoi_vector;
} f;

uint64_t vm_time(const struct vm *vm) { return f.now; }
bool vm_is_ram(const struct vm *vm, gpa_t gpa, uint64_t size) { return gpa < 0x1000000; }
void vm_stop(struct vm *vm, const char *format, ...) { f.stops++; }
void vcpu_wake(struct vcpu *vcpu) { f.wakes++; }
void apicv_update(struct vcpu *vcpu) { f.updates++; }

void ioapic_eoi(struct vm *vm, unsigned vector)
{
	f.eois++;
	f.eoi_vector = vector;
}

void apic_send(uint32_t apic_id, unsigned vector)
{
	assert_int_equal(vector, VECTOR_POSTED);
	f.notified++;
}

static int setup(void **state)
{
	f = (struct fixture){.vm.vcpus_count = VCPUS};
	for (unsigned i = 0; i < VCPUS; i++) {
		struct vcpu *vcpu = &f.vcpus[i];

		f.vm.vcpus[i] = vcpu;
		*vcpu = (struct vcpu){.vm = &f.vm, .index = i, .cpu = &f.cpus[i], .state = VCPU_RUNNABLE};
		vcpu->apic.page = aligned_alloc(PAGE, PAGE);
		vcpu->apic.posted = aligned_alloc(64, sizeof(*vcpu->apic.posted));
		lapic_reset(vcpu, true);
		lapic_write(vcpu, APIC_SVR * 16, 0x1ff);
	}
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		free(f.vcpus[i].apic.page);
		free(f.vcpus[i].apic.posted);
	}
	return 0;
}

static uint32_t get(unsigned vcpu, enum apic_register index) { return lapic_read(&f.vcpus[vcpu], index * 16); }
static void put(unsigned vcpu, enum apic_register index, uint32_t value) { lapic_write(&f.vcpus[vcpu], index * 16, value); }
static bool requested(unsigned vcpu, unsigned vector) { return get(vcpu, APIC_IRR + vector / 32) >> vector % 32 & 1; }

static void send(uint32_t destination, uint32_t icr)
{
	put(0, APIC_ICR_HIGH, destination << 24);
	put(0, APIC_ICR, icr);
}

static unsigned take(unsigned vcpu)
{
	int vector = lapic_pending(&f.vcpus[vcpu]);

	assert_true(vector >= 16);
	lapic_acknowledge(&f.vcpus[vcpu], (unsigned)vector);
	return (unsigned)vector;
}

static void after_reset(void **state)
{
	uint64_t value;

	lapic_reset(&f.vcpus[1], true);
	assert_int_equal(get(1, APIC_ID), 1 << 24);
	assert_int_equal(get(1, APIC_VERSION) & 0xff, 0x14);
	assert_int_equal(get(1, APIC_DFR), UINT32_MAX);
	assert_int_equal(get(1, APIC_SVR), 0xff);
	for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt++)
		assert_int_equal(get(1, lvt), MASKED);
	assert_false(lapic_takes_extint(&f.vcpus[1]));
	assert_true(lapic_takes_extint(&f.vcpus[0])); /* virtual wire mode */
	assert_true(lapic_read_msr(&f.vcpus[0], IA32_APIC_BASE, &value));
	assert_int_equal(value, 0xfee00900);
	assert_true(lapic_read_msr(&f.vcpus[1], IA32_APIC_BASE, &value));
	assert_int_equal(value, 0xfee00800);
	assert_false(lapic_read_msr(&f.vcpus[1], 0x802, &value));
}

static void registers_keep_what_is_settable(void **state)
{
	for (unsigned index = 1; index < 0x100; index++) { /* 0 stands for rows that cannot be written */
		static const struct {
			unsigned index;
			uint32_t settable;
		} rows[] = {
#define W 0
#define RW 1
#define R 0
#define NONE 0
#define APIC_REGISTER(number, name, xapic, x2apic, settable, tolerated) {xapic ? number : 0, settable},
#include "apic_registers.def"
#undef APIC_REGISTER
		};
		uint32_t old = get(1, index), want = old;

		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
			if (rows[i].index == index)
				want = rows[i].settable;
		switch (index) {
		case APIC_ID: want = 1 << 24; break;
		case APIC_DFR: want = UINT32_MAX; break;
		case APIC_SVR: want &= ~(1u << 12); break; /* suppression of EOI broadcasts is not offered */
		case APIC_ESR: put(1, index, 0); want = 0; break; /* read out */
		case APIC_ICR: continue;
		}
		put(1, index, UINT32_MAX);
		assert_int_equal(get(1, index), want);
	}
}

static void processor_priority(void **state)
{
	lapic_accept(&f.vcpus[0], 0x51, false);
	put(0, APIC_TPR, 0x60);
	assert_int_equal(get(0, APIC_PPR), 0x60);
	assert_int_equal(lapic_pending(&f.vcpus[0]), -1);
	put(0, APIC_TPR, 0x50);
	assert_int_equal(lapic_pending(&f.vcpus[0]), -1);
	put(0, APIC_TPR, 0x4f);
	assert_int_equal(take(0), 0x51);
	assert_int_equal(get(0, APIC_PPR), 0x50);
	lapic_accept(&f.vcpus[0], 0x5f, false); /* the same class waits */
	assert_int_equal(lapic_pending(&f.vcpus[0]), -1);
	lapic_accept(&f.vcpus[0], 0x60, false);
	assert_int_equal(take(0), 0x60);
	put(0, APIC_EOI, 0);
	assert_int_equal(get(0, APIC_PPR), 0x50);
	put(0, APIC_EOI, 0);
	assert_int_equal(get(0, APIC_PPR), 0x4f);
	assert_int_equal(take(0), 0x5f);
	put(0, APIC_EOI, 0);
	put(0, APIC_EOI, 0); /* one too many */
	assert_int_equal(f.eois, 0);
}

static void eoi_of_a_level_goes_on(void **state)
{
	f.vcpus[0].apic.changed = false;
	lapic_accept(&f.vcpus[0], 0x44, true);
	assert_true(f.vcpus[0].apic.changed);
	assert_int_equal(get(0, APIC_TMR + 2), 1 << 4);
	take(0);
	put(0, APIC_EOI, 0);
	assert_int_equal(f.eois, 1);
	assert_int_equal(f.eoi_vector, 0x44);
	lapic_accept(&f.vcpus[0], 0x44, false);
	assert_int_equal(get(0, APIC_TMR + 2), 0);
	take(0);
	put(0, APIC_EOI, 0);
	assert_int_equal(f.eois, 1);
}

/* Who of three is meant: a bit for each. */
static void destinations(void **state)
{
	static const struct {
		uint32_t destination, icr;
		unsigned who;
	} rows[] = {
		{0, 0, 1}, {1, 0, 2}, {2, 0, 4}, {3, 0, 0}, {0xff, 0, 7}, {0x81, 0, 0},
		{0, SELF, 1}, {0, ALL, 7}, {0, OTHERS, 6}, {2, SELF, 1},
		/* LDRs are 1, 2, 4 */
		{1, LOGICAL, 1}, {6, LOGICAL, 6}, {0xf8, LOGICAL, 0}, {0xff, LOGICAL, 7},
	}, cluster_rows[] = {
		/* 11H, 12H, 21H */
		{0x11, LOGICAL, 1}, {0x13, LOGICAL, 3}, {0x2f, LOGICAL, 4}, {0xf1, LOGICAL, 5}, {0xf2, LOGICAL, 2}, {0x31, LOGICAL, 0},
		{0xff, LOGICAL, 7},
	};
	static const uint8_t clusters[] = {0x11, 0x12, 0x21};
	unsigned vector = 0x40;

	for (unsigned i = 0; i < VCPUS; i++)
		put(i, APIC_LDR, 1u << i << 24);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++, vector++) {
		send(rows[i].destination, rows[i].icr | vector);
		for (unsigned n = 0; n < VCPUS; n++)
			assert_int_equal(requested(n, vector), rows[i].who >> n & 1);
	}
	for (unsigned i = 0; i < VCPUS; i++) {
		put(i, APIC_DFR, 0);
		put(i, APIC_LDR, (uint32_t)clusters[i] << 24);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cluster_rows); i++, vector++) {
		send(cluster_rows[i].destination, cluster_rows[i].icr | vector);
		for (unsigned n = 0; n < VCPUS; n++)
			assert_int_equal(requested(n, vector), cluster_rows[i].who >> n & 1);
	}
}

static void lowest_priority_is_one(void **state)
{
	put(0, APIC_TPR, 0x30);
	put(1, APIC_TPR, 0x20);
	put(2, APIC_TPR, 0x20);
	send(0xff, LOWEST << 8 | 0x71);
	assert_false(requested(0, 0x71));
	assert_true(requested(1, 0x71));
	assert_false(requested(2, 0x71));
	put(1, APIC_SVR, 0xff); /* a software-disabled APIC takes none */
	send(0xff, LOWEST << 8 | 0x72);
	assert_true(requested(2, 0x72));
}

static void signals(void **state)
{
	send(1, NMI << 8);
	assert_true(f.vcpus[1].nmi_pending);
	send(2, STARTUP << 8 | 0x9a);
	assert_false(f.vcpus[2].apic.startup); /* it runs */
	send(2, INIT << 8 | 1 << 15); /* level de-assert */
	assert_false(f.vcpus[2].apic.init);
	send(2, INIT << 8 | 3 << 14);
	assert_true(f.vcpus[2].apic.init);
	send(2, STARTUP << 8 | 0x9a);
	assert_true(f.vcpus[2].apic.startup);
	assert_int_equal(f.vcpus[2].apic.startup_vector, 0x9a);
	f.vcpus[1].state = VCPU_WAIT_SIPI;
	send(1, STARTUP << 8 | 0x12);
	assert_int_equal(f.vcpus[1].apic.startup_vector, 0x12);
	assert_int_equal(f.wakes, 4);
}

static void requests_while_in_the_guest_are_posted(void **state)
{
	struct vcpu *vcpu = &f.vcpus[1];

	vcpu->apic.changed = false;
	vcpu->in_guest = true;
	lapic_accept(vcpu, 0x61, false);
	assert_false(requested(1, 0x61));
	assert_int_equal(f.wakes, 1);
	vcpu->controls[WORD_PINBASED_CTLS] = CTL(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS);
	lapic_take_posted(vcpu);
	assert_true(requested(1, 0x61));
	assert_true(vcpu->apic.changed);
	vcpu->apic.changed = false; /* as a VM entry does */
	lapic_accept(vcpu, 0x62, false);
	lapic_accept(vcpu, 0x9f, false);
	assert_int_equal(f.notified, 1); /* ON is still set */
	lapic_accept(vcpu, 0xa0, true); /* a level needs its EOI-exit bitmap */
	assert_int_equal(f.notified, 1);
	assert_int_equal(f.wakes, 2);
	vcpu->in_guest = false;
	assert_int_equal(take(1), 0xa0);
	assert_true(requested(1, 0x62));
	lapic_accept(vcpu, 0x63, false);
	assert_int_equal(f.wakes + f.notified, 3);
	vcpu->state = VCPU_HALTED;
	lapic_accept(vcpu, 0x64, false);
	assert_int_equal(f.wakes, 3);
}

static void errors(void **state)
{
	put(0, APIC_LVT_ERROR, 0x33);
	send(0, 0x0f); /* vectors 0 to 15 are not for use */
	put(0, APIC_ESR, 0);
	assert_int_equal(get(0, APIC_ESR), 1 << 5);
	assert_int_equal(take(0), 0x33);
	lapic_read(&f.vcpus[0], 0x3f0);
	lapic_accept(&f.vcpus[0], 3, false);
	put(0, APIC_ESR, 0);
	assert_int_equal(get(0, APIC_ESR), 1 << 7 | 1 << 6);
	put(0, APIC_ESR, 0);
	assert_int_equal(get(0, APIC_ESR), 0);
	put(0, APIC_LVT_ERROR, 2); /* an error about the error's own vector */
	send(0, 0x0f);
	put(0, APIC_ESR, 0);
	assert_int_equal(get(0, APIC_ESR), 1 << 5 | 1 << 6);
}

static void software_disabled(void **state)
{
	put(1, APIC_LVT_TIMER, 0x40);
	lapic_accept(&f.vcpus[1], 0x50, false);
	put(1, APIC_SVR, 0xff);
	assert_int_equal(get(1, APIC_LVT_TIMER), 0x40 | MASKED);
	put(1, APIC_LVT_TIMER, 0x40);
	assert_int_equal(get(1, APIC_LVT_TIMER), 0x40 | MASKED);
	lapic_accept(&f.vcpus[1], 0x51, false);
	assert_int_equal(take(1), 0x50); /* what was pending stays */
	assert_int_equal(lapic_pending(&f.vcpus[1]), -1);
	send(1, NMI << 8);
	assert_true(f.vcpus[1].nmi_pending);
}

static void base(void **state)
{
	struct vcpu *vcpu = &f.vcpus[1];

	assert_false(lapic_write_msr(vcpu, IA32_APIC_BASE, 0xfee00c00)); /* EXTD */
	assert_false(lapic_write_msr(vcpu, IA32_APIC_BASE, 0xfee00801));
	assert_false(lapic_write_msr(vcpu, IA32_APIC_BASE, BIT(63) | 0xfee00800));
	assert_true(lapic_is_at(vcpu, 0xfee00123));
	assert_true(lapic_write_msr(vcpu, IA32_APIC_BASE, 0xd0000800));
	assert_false(lapic_is_at(vcpu, 0xfee00000));
	assert_true(lapic_is_at(vcpu, 0xd0000ff0));
	lapic_accept(vcpu, 0x50, false);
	assert_true(lapic_write_msr(vcpu, IA32_APIC_BASE, 0xfee00000)); /* off */
	assert_false(lapic_is_at(vcpu, 0xfee00000));
	assert_int_equal(lapic_pending(vcpu), -1);
	send(1, NMI << 8);
	assert_false(vcpu->nmi_pending);
	assert_int_equal(f.updates, 2);
	assert_true(lapic_write_msr(vcpu, IA32_APIC_BASE, 0x100800)); /* RAM */
	assert_int_equal(f.stops, 1);
}

static void one_shot(void **state)
{
	struct vcpu *vcpu = &f.vcpus[0];

	put(0, APIC_LVT_TIMER, 0x40);
	put(0, APIC_DCR, 0xb); /* by 1 */
	f.now = 1000;
	put(0, APIC_INITIAL_COUNT, 100);
	assert_int_equal(lapic_deadline(vcpu), 1000 + 100 * TICK);
	f.now += 10 * TICK;
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 90);
	put(0, APIC_DCR, 0); /* by 2, in the middle */
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 90);
	f.now += 2 * TICK;
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 89);
	assert_int_equal(lapic_deadline(vcpu), f.now + 2 * 89 * TICK);
	f.now += 2 * 89 * TICK - 1;
	lapic_tick(vcpu, f.now);
	assert_int_equal(lapic_pending(vcpu), -1);
	f.now++;
	lapic_tick(vcpu, f.now);
	assert_int_equal(take(0), 0x40);
	assert_int_equal(lapic_deadline(vcpu), NEVER);
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 0);
}

static void periodic(void **state)
{
	struct vcpu *vcpu = &f.vcpus[0];

	put(0, APIC_LVT_TIMER, PERIODIC | 0x40);
	put(0, APIC_DCR, 0xb);
	put(0, APIC_INITIAL_COUNT, 1000);
	f.now = 1000 * TICK;
	lapic_tick(vcpu, f.now);
	take(0);
	assert_int_equal(lapic_deadline(vcpu), 2000 * TICK);
	f.now = 5500 * TICK; /* late: the periods in between are one interrupt, and the next is in step */
	lapic_tick(vcpu, f.now);
	put(0, APIC_EOI, 0);
	assert_int_equal(take(0), 0x40);
	assert_int_equal(lapic_deadline(vcpu), 6000 * TICK);
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 500);
	put(0, APIC_INITIAL_COUNT, 0); /* stops it */
	assert_int_equal(lapic_deadline(vcpu), NEVER);
	put(0, APIC_INITIAL_COUNT, 1); /* 40 ns: as far apart as is good for the guest */
	f.now += TICK;
	lapic_tick(vcpu, f.now);
	assert_true(lapic_deadline(vcpu) >= f.now + 10000);
	assert_true(get(0, APIC_CURRENT_COUNT) <= 1);
}

static void masked_timer_is_silent(void **state)
{
	struct vcpu *vcpu = &f.vcpus[0];

	put(0, APIC_LVT_TIMER, MASKED | 0x40);
	put(0, APIC_INITIAL_COUNT, 1000);
	assert_int_equal(lapic_deadline(vcpu), NEVER);
	f.now = 10000 * TICK;
	put(0, APIC_LVT_TIMER, 0x40); /* too late */
	lapic_tick(vcpu, f.now);
	assert_int_equal(lapic_pending(vcpu), -1);
}

static void tsc_deadline(void **state)
{
	struct vcpu *vcpu = &f.vcpus[0];
	uint64_t value, far = BIT(50);

	assert_true(lapic_write_msr(vcpu, IA32_TSC_DEADLINE, far)); /* not in this mode */
	assert_true(lapic_read_msr(vcpu, IA32_TSC_DEADLINE, &value));
	assert_int_equal(value, 0);
	put(0, APIC_LVT_TIMER, TSC_DEADLINE | 0x40);
	f.vm.tsc_offset = -(uint64_t)__builtin_ia32_rdtsc();
	assert_true(lapic_write_msr(vcpu, IA32_TSC_DEADLINE, far));
	assert_true(lapic_read_msr(vcpu, IA32_TSC_DEADLINE, &value));
	assert_int_equal(value, far);
	assert_in_range(lapic_deadline(vcpu), far - BIT(40), far + 1); /* less what the test has taken */
	put(0, APIC_INITIAL_COUNT, 5); /* ignored */
	assert_int_equal(get(0, APIC_INITIAL_COUNT), 0);
	assert_int_equal(get(0, APIC_CURRENT_COUNT), 0);
	vcpu->tsc_adjust = 2 * far;
	lapic_tsc_changed(vcpu);
	assert_true(lapic_deadline(vcpu) <= f.now + 1);
	f.now++;
	lapic_tick(vcpu, f.now);
	assert_int_equal(take(0), 0x40);
	assert_true(lapic_read_msr(vcpu, IA32_TSC_DEADLINE, &value));
	assert_int_equal(value, 0);
	assert_true(lapic_write_msr(vcpu, IA32_TSC_DEADLINE, UINT64_MAX)); /* centuries */
	assert_int_equal(lapic_deadline(vcpu), NEVER);
	put(0, APIC_LVT_TIMER, 0x40); /* another mode disarms */
	assert_true(lapic_read_msr(vcpu, IA32_TSC_DEADLINE, &value));
	assert_int_equal(value, 0);
}

static void extint(void **state)
{
	put(0, APIC_LVT_LINT0, 7 << 8 | MASKED);
	assert_false(lapic_takes_extint(&f.vcpus[0]));
	put(0, APIC_LVT_LINT0, 7 << 8);
	assert_true(lapic_takes_extint(&f.vcpus[0]));
	put(0, APIC_LVT_LINT0, 0x40);
	assert_false(lapic_takes_extint(&f.vcpus[0]));
	assert_true(lapic_write_msr(&f.vcpus[0], IA32_APIC_BASE, 0xfee00100));
	assert_true(lapic_takes_extint(&f.vcpus[0]));
	assert_true(lapic_write_msr(&f.vcpus[1], IA32_APIC_BASE, 0xfee00000));
	assert_false(lapic_takes_extint(&f.vcpus[1]));
}

/* Whatever is written: it stays in the page, nothing is requested that must not be, and the timer's next deadline is in the
   future. */
static void hostile(void **state)
{
	srand(2);
	for (unsigned n = 0; n < 300000; n++) {
		unsigned i = (unsigned)rand() % VCPUS;
		struct vcpu *vcpu = &f.vcpus[i];
		uint32_t value = rand() % 3 ? 1u << rand() % 32 | (uint32_t)(rand() & 0xff) : (uint32_t)rand() << 1;
		int vector;

		vcpu->in_guest = rand() % 2;
		f.now += (uint64_t)(rand() % 100000);
		switch (rand() % 5) {
		case 0: lapic_write(vcpu, (unsigned)rand() & 0xfff, value); break;
		case 1: lapic_write(vcpu, (unsigned)rand() & 0xff0, value); break;
		case 2: lapic_read(vcpu, (unsigned)rand() & 0xff0); break;
		case 3:
			if (!lapic_write_msr(vcpu, rand() % 2 ? IA32_TSC_DEADLINE : IA32_APIC_BASE,
					     rand() % 2 ? value : 0xfee00800))
				continue;
			break;
		case 4: lapic_accept(vcpu, (unsigned)rand() & 0xff, rand() % 2); break;
		}
		vcpu->in_guest = false;
		if (lapic_deadline(vcpu) <= f.now)
			lapic_tick(vcpu, f.now);
		assert_true(lapic_deadline(vcpu) > f.now);
		vector = lapic_pending(vcpu);
		assert_true(vector == -1 || (vector >= 16 && vector < 256));
		if (vector >= 0)
			lapic_acknowledge(vcpu, (unsigned)vector);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(after_reset), TEST(registers_keep_what_is_settable), TEST(processor_priority), TEST(eoi_of_a_level_goes_on),
		TEST(destinations),
		TEST(lowest_priority_is_one), TEST(signals), TEST(requests_while_in_the_guest_are_posted), TEST(errors),
		TEST(software_disabled),
		TEST(base), TEST(one_shot), TEST(periodic), TEST(masked_timer_is_silent), TEST(tsc_deadline), TEST(extint),
		TEST(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
