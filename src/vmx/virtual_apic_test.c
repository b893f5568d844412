/*
 * APIC virtualization, operation by operation, on a virtual-APIC page and a VMCS that only it reads: TPR, PPR, EOI and
 * self-IPI virtualization, evaluation and delivery, APIC-write emulation, x2APIC MSRs, posted interrupts, IPIs. Which
 * memory accesses are virtualized is mem/apic_access_test.c's; boundaries and priorities are
 * exec/virtual_apic_test.c's.
 */
#include "vmx/virtual_apic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "apic/apic.h"
#include "bus/bus.h"

#define RAM_SIZE   0x20000
#define PAGE	   0x6000
#define DESCRIPTOR 0x7000
#define OTHER	   0x7040
#define TABLE	   0x8000
#define NOTIFY	   0xf2

struct machine {
	struct cpu cpu[2];
	struct cpu_model model;
	struct log log;
	struct vmx_capability caps;
	struct vmx vmx;
	struct bus *bus;
	struct clock *clock;
	struct apic_bus *apics;
	uint8_t *ram;
};

static struct machine *m;
static struct cpu *cpu;

#define set(name, value) (m->vmx.vmcs.field[VMCS_##name] = (value))
#define get(name)	 (m->vmx.vmcs.field[VMCS_##name])
#define PRI(name)	 PROCBASED_CTLS_##name
#define SEC(name)	 PROCBASED_CTLS2_##name

/* use TPR shadow, and these secondary controls */
static void start(uint64_t secondary)
{
	memset(m->ram, 0, RAM_SIZE);
	memset(&m->vmx, 0, sizeof(m->vmx));
	m->vmx.caps = &m->caps;
	set(VM_PROCBASED_CTLS,
	    PRI(USE_TPR_SHADOW) | PRI(ACTIVATE_SECONDARY_CONTROLS) | PRI(ACTIVATE_TERTIARY_CONTROLS));
	set(VM_PROCBASED_CTLS2, secondary);
	set(VIRTUAL_APIC_ADDRESS, PAGE);
	for (unsigned i = 0; i < 2; i++) {
		apic_reset(m->cpu[i].apic, false);
		apic_write(m->cpu[i].apic, 0xf0, 0x1ff);
		m->cpu[i].pins = 0;
		m->cpu[i].attention = 0;
	}
	cpu->nonroot = true;
	cpu->vapic_write = 0;
}

static int create(void **state)
{
	struct error error;

	m = aligned_alloc(64, (sizeof(*m) + 63) / 64 * 64);
	memset(m, 0, sizeof(*m));
	cpu = &m->cpu[0];
	m->model.physical_bits = 40;
	m->model.features[FEATURE_X2APIC / 64] |= BIT(FEATURE_X2APIC % 64);
	m->clock = clock_create();
	m->bus = bus_create(&m->log);
	if (!bus_create_ram(m->bus, RAM_SIZE, &error))
		return 1;
	bus_add_ram(m->bus, 0, RAM_SIZE, 0, 0);
	m->ram = bus_ram(m->bus);
	m->apics = apic_bus_create(m->clock, &m->log);
	memset(m->caps.offers, 0xff, sizeof(m->caps.offers));
	for (unsigned i = 0; i < 2; i++) {
		m->cpu[i] =
			(struct cpu){.model = &m->model, .bus = m->bus, .clock = m->clock, .log = &m->log, .number = i};
		apic_create(m->apics, &m->cpu[i], i + 4);
	}
	cpu->vmx = &m->vmx;
	return 0;
}

static int destroy(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		apic_destroy(m->cpu[i].apic);
	apic_bus_destroy(m->apics);
	bus_destroy(m->bus);
	clock_destroy(m->clock);
	free(m);
	return 0;
}

static uint32_t *reg(unsigned offset)
{
	return (uint32_t *)(m->ram + PAGE + offset);
}

static bool vector_in(unsigned vectors, uint8_t vector)
{
	return *reg(vectors + vector / 32 * 16) >> vector % 32 & 1;
}

static void put_vector(unsigned vectors, uint8_t vector)
{
	*reg(vectors + vector / 32 * 16) |= BIT(vector % 32);
}

static bool recognized(void)
{
	return cpu->pins & BIT(PIN_VIRTUAL);
}

static void expect_exit(bool exits, uint32_t reason, uint64_t qualification)
{
	assert_true(exits);
	assert_int_equal(m->vmx.exit.reason, reason);
	assert_int_equal(m->vmx.exit.qualification, qualification);
	m->vmx.exit = (struct vmx_exit_record){0};
}

/* A 4-byte write to the APIC-access page has been virtualized. */
static bool written(unsigned offset, uint32_t value)
{
	*reg(offset) = value;
	vmx_apic_written(cpu, offset, 4);
	assert_int_equal(cpu->attention & ATTEND_TRAP, ATTEND_TRAP);
	return vmx_emulate_apic_write(cpu);
}

static void tpr_threshold(void **state)
{
	for (unsigned threshold = 0; threshold < 16; threshold++)
		for (unsigned tpr = 0; tpr < 256; tpr++) {
			start(0);
			set(TPR_THRESHOLD, threshold);
			if (tpr >> 4 < threshold)
				expect_exit(written(0x80, tpr), VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
			else
				assert_false(written(0x80, tpr));
			assert_int_equal(cpu->vapic_write, 0);
			start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
			set(TPR_THRESHOLD, threshold);
			assert_false(written(0x80, tpr));
		}
}

static void cr8(void **state)
{
	start(0);
	assert_true(vmx_cr8_is_virtual(cpu));
	for (unsigned value = 0; value < 16; value++) {
		store_le(m->ram + PAGE + 0x80, 8, ~UINT64_C(0));
		vmx_write_cr8(cpu, value);
		assert_int_equal(load_le(m->ram + PAGE + 0x80, 8), UINT64_C(0xffffffff00000000) | value << 4);
		assert_int_equal(cpu->vapic_write, 0x80);
		*reg(0x80) |= 9;
		assert_int_equal(vmx_read_cr8(cpu), value);
	}
	set(TPR_THRESHOLD, 5);
	vmx_write_cr8(cpu, 4);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
	set(VM_PROCBASED_CTLS, 0);
	assert_false(vmx_cr8_is_virtual(cpu));
}

static void processor_priority(void **state)
{
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	for (unsigned tpr = 0; tpr < 256; tpr += 5)
		for (unsigned svi = 0; svi < 256; svi += 3) {
			set(GUEST_INTERRUPT_STATUS, svi << 8);
			*reg(0xa0) = UINT32_MAX;
			assert_false(written(0x80, 0xabcdef00 | tpr));
			assert_int_equal(*reg(0x80), tpr); /* bytes 3:1 are cleared */
			assert_int_equal(*reg(0xa0), tpr >> 4 >= svi >> 4 ? tpr : svi & 0xf0);
		}
}

static void evaluation(void **state)
{
	for (unsigned rvi = 0; rvi < 256; rvi += 7)
		for (unsigned tpr = 0; tpr < 256; tpr += 16)
			for (unsigned window = 0; window < 2; window++) {
				start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
				if (window)
					get(VM_PROCBASED_CTLS) |= PRI(INTERRUPT_WINDOW_EXITING);
				set(GUEST_INTERRUPT_STATUS, rvi);
				assert_false(written(0x80, tpr));
				assert_int_equal(recognized(), !window && rvi >> 4 > tpr >> 4);
				assert_int_equal((cpu->attention & ATTEND_PINS) != 0, recognized());
			}
	/* without the control nothing is recognized */
	start(0);
	set(GUEST_INTERRUPT_STATUS, 0xf0);
	assert_false(written(0x80, 0));
	assert_false(recognized());
}

static void delivery(void **state)
{
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	put_vector(0x200, 0x31);
	put_vector(0x200, 0x5f);
	put_vector(0x200, 0x60);
	put_vector(0x100, 0x20);
	set(GUEST_INTERRUPT_STATUS, 0x2060);
	assert_false(written(0x80, 0));
	assert_true(recognized());
	assert_int_equal(vmx_take_virtual_interrupt(cpu), 0x60);
	assert_false(recognized());
	assert_true(vector_in(0x100, 0x60));
	assert_true(vector_in(0x100, 0x20));
	assert_false(vector_in(0x200, 0x60));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0x605f);
	assert_int_equal(*reg(0xa0), 0x60);
	/* the last one */
	memset(reg(0x200), 0, 0x80);
	put_vector(0x200, 0xff);
	set(GUEST_INTERRUPT_STATUS, 0xff);
	assert_int_equal(vmx_take_virtual_interrupt(cpu), 0xff);
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0xff00);
	assert_int_equal(*reg(0xa0), 0xf0);
}

static void eoi(void **state)
{
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	put_vector(0x100, 0x41);
	put_vector(0x100, 0x92);
	*reg(0x80) = 0x20;
	set(GUEST_INTERRUPT_STATUS, 0x9250);
	assert_false(written(0xb0, 0x12345678));
	assert_int_equal(*reg(0xb0), 0);
	assert_false(vector_in(0x100, 0x92));
	assert_true(vector_in(0x100, 0x41));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0x4150);
	assert_int_equal(*reg(0xa0), 0x40);
	assert_true(recognized());
	assert_false(written(0xb0, 0));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0x50);
	assert_int_equal(*reg(0xa0), 0x20);
	/* nothing in service */
	assert_false(written(0xb0, 0));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0x50);
}

static void eoi_exit_bitmap(void **state)
{
	for (unsigned vector = 0; vector < 256; vector++) {
		start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
		put_vector(0x100, (uint8_t)vector);
		set(GUEST_INTERRUPT_STATUS, vector << 8 | 0xff);
		for (unsigned i = 0; i < 4; i++)
			m->vmx.vmcs.field[VMCS_EOI_EXIT_BITMAP0 + i] = ~UINT64_C(0);
		m->vmx.vmcs.field[VMCS_EOI_EXIT_BITMAP0 + vector / 64] &= ~BIT(vector % 64);
		assert_false(written(0xb0, 0));
		assert_true(recognized());
		cpu->pins = 0;
		for (unsigned i = 0; i < 4; i++)
			m->vmx.vmcs.field[VMCS_EOI_EXIT_BITMAP0 + i] ^= ~UINT64_C(0);
		set(GUEST_INTERRUPT_STATUS, vector << 8 | 0xff);
		put_vector(0x100, (uint8_t)vector);
		expect_exit(written(0xb0, 0), VMX_EXIT_VIRTUALIZED_EOI, vector);
		assert_false(vector_in(0x100, (uint8_t)vector));
		assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0xff);
		assert_false(recognized()); /* the exit comes instead of the evaluation */
	}
}

/* The ICR of the page: each bit alone against what may be virtualized. */
static void self_ipi(void **state)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t icr = 0x40063 ^ (uint32_t)BIT(bit);
		bool ignored = bit < 8 || bit == 11 || bit == 14; /* vector; destination mode; level */

		start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
		if (ignored) {
			assert_false(written(0x300, icr));
			assert_true(vector_in(0x200, (uint8_t)icr));
			assert_int_equal(get(GUEST_INTERRUPT_STATUS), icr & 0xff);
			assert_true(recognized());
		} else {
			expect_exit(written(0x300, icr), VMX_EXIT_APIC_WRITE, 0x300);
			assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0);
		}
		assert_int_equal(*reg(0x300), icr);
	}
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	expect_exit(written(0x300, 0x4000f), VMX_EXIT_APIC_WRITE, 0x300);
	assert_false(written(0x300, 0x40010));
	set(GUEST_INTERRUPT_STATUS, 0x80);
	assert_false(written(0x300, 0x40031)); /* a higher one is requested already */
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0x80);
	assert_true(vector_in(0x200, 0x31));
	start(SEC(APIC_REGISTER_VIRTUALIZATION));
	expect_exit(written(0x300, 0x40063), VMX_EXIT_APIC_WRITE, 0x300);
}

static void writes_of_other_registers(void **state)
{
	static const uint16_t exits[] = {0x020, 0x0d0, 0x0e0, 0x0f0, 0x280, 0x320, 0x330,
					 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0};

	start(SEC(APIC_REGISTER_VIRTUALIZATION) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
	for (unsigned i = 0; i < ARRAY_SIZE(exits); i++) {
		expect_exit(written(exits[i], 0x12345678), VMX_EXIT_APIC_WRITE, exits[i]);
		assert_int_equal(*reg(exits[i]), 0x12345678);
	}
	assert_false(written(0x310, 0x12345678));
	assert_int_equal(*reg(0x310), 0x12000000);
	for (unsigned byte = 1; byte < 4; byte++) {
		start(SEC(APIC_REGISTER_VIRTUALIZATION) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
		*reg(0x80) = *reg(0xb0) = *reg(0x300) = *reg(0x310) = 0x00040061;
		for (unsigned i = 0; i < 3; i++) {
			unsigned offset = (const unsigned[]){0x80, 0xb0, 0x300}[i];

			vmx_apic_written(cpu, offset + byte, 1);
			expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_APIC_WRITE, offset + byte);
			assert_int_equal(*reg(offset), 0x00040061);
		}
		vmx_apic_written(cpu, 0x310 + byte, 1);
		assert_false(vmx_emulate_apic_write(cpu));
		assert_int_equal(*reg(0x310), 0);
	}
	start(SEC(APIC_REGISTER_VIRTUALIZATION));
	expect_exit(written(0xb0, 1), VMX_EXIT_APIC_WRITE, 0xb0);
	assert_int_equal(*reg(0xb0), 1);
}

static void entry(void **state)
{
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	*reg(0x80) = 0x30;
	*reg(0xa0) = 0xff;
	set(GUEST_INTERRUPT_STATUS, 0x2040);
	vmx_vapic_enter(cpu);
	assert_int_equal(*reg(0xa0), 0x30);
	assert_true(recognized());
	assert_int_equal(cpu->vapic_write, 0);
	set(GUEST_INTERRUPT_STATUS, 0x4040);
	vmx_vapic_enter(cpu);
	assert_int_equal(*reg(0xa0), 0x40);
	assert_false(recognized());

	start(SEC(VIRTUALIZE_APIC_ACCESSES));
	set(TPR_THRESHOLD, 4);
	*reg(0x80) = 0x12345630;
	vmx_vapic_enter(cpu);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
	assert_int_equal(*reg(0x80), 0x12345630);
	*reg(0x80) = 0x12345640;
	vmx_vapic_enter(cpu);
	assert_int_equal(cpu->vapic_write, 0);
	assert_int_equal(*reg(0x80), 0x12345640);

	start(0);
	vmx_vapic_enter(cpu);
	assert_int_equal(cpu->vapic_write, 0);
	set(VM_PROCBASED_CTLS, PRI(ACTIVATE_SECONDARY_CONTROLS));
	set(VM_PROCBASED_CTLS2, SEC(VIRTUALIZE_APIC_ACCESSES));
	vmx_vapic_enter(cpu);
	assert_int_equal(cpu->vapic_write, 0);
}

static void x2apic_reads(void **state)
{
	uint64_t value;

	for (unsigned i = 0; i < 256; i++) {
		start(SEC(VIRTUALIZE_X2APIC_MODE));
		for (unsigned k = 0; k < 256; k++)
			store_le(m->ram + PAGE + 16 * k, 8, UINT64_C(0x1122334400000000) + k);
		if (i == 8) {
			assert_int_equal(vmx_x2apic_read(cpu, 0x808, &value), VMX_X2APIC_DONE);
			assert_int_equal(value, UINT64_C(0x1122334400000008));
		} else {
			assert_int_equal(vmx_x2apic_read(cpu, 0x800 + i, &value), VMX_X2APIC_NORMAL);
		}
		set(VM_PROCBASED_CTLS2, SEC(VIRTUALIZE_X2APIC_MODE) | SEC(APIC_REGISTER_VIRTUALIZATION));
		assert_int_equal(vmx_x2apic_read(cpu, 0x800 + i, &value), VMX_X2APIC_DONE);
		assert_int_equal(value, UINT64_C(0x1122334400000000) + i);
		set(VM_PROCBASED_CTLS2, SEC(APIC_REGISTER_VIRTUALIZATION));
		assert_int_equal(vmx_x2apic_read(cpu, 0x800 + i, &value), VMX_X2APIC_NORMAL);
	}
	start(SEC(VIRTUALIZE_X2APIC_MODE) | SEC(APIC_REGISTER_VIRTUALIZATION));
	assert_int_equal(vmx_x2apic_read(cpu, 0x7ff, &value), VMX_X2APIC_NORMAL);
	assert_int_equal(vmx_x2apic_read(cpu, 0x900, &value), VMX_X2APIC_NORMAL);
}

/* Each register's reserved bits, one by one, and whether anything is written. */
static void x2apic_writes(void **state)
{
	static const struct {
		uint16_t index;
		bool needs_interrupts, needs_ipis;
		uint64_t reserved;
	} cases[] = {
		{0x808, false, false, ~UINT64_C(0xff)},
		{0x80b, true, false, ~UINT64_C(0)},
		{0x83f, true, false, ~UINT64_C(0xff)},
		{0x830, false, true, 0xfff32000},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (unsigned bit = 0; bit < 64; bit++)
			for (unsigned controls = 0; controls < 8; controls++) {
				bool virtual = (controls & 1) && ((controls & 2) || !cases[i].needs_interrupts) &&
					       ((controls & 4) || !cases[i].needs_ipis);
				uint64_t *at = (uint64_t *)(m->ram + PAGE + (cases[i].index & 0xff) * 16);
				enum vmx_x2apic result;

				start((controls & 1 ? SEC(VIRTUALIZE_X2APIC_MODE) : 0) |
				      (controls & 2 ? SEC(VIRTUAL_INTERRUPT_DELIVERY) : 0));
				set(VM_PROCBASED_CTLS3, controls & 4 ? PROCBASED_CTLS3_IPI_VIRTUALIZATION : 0);
				*at = 0x5555;
				result = vmx_x2apic_write(cpu, cases[i].index, BIT(bit));
				if (!virtual)
					assert_int_equal(result, VMX_X2APIC_NORMAL);
				else if (cases[i].reserved >> bit & 1)
					assert_int_equal(result, VMX_X2APIC_GP);
				else
					assert_int_equal(result, VMX_X2APIC_DONE);
				assert_int_equal(*at, result == VMX_X2APIC_DONE ? BIT(bit) : 0x5555);
				assert_int_equal(cpu->vapic_write,
						 result == VMX_X2APIC_DONE ? (cases[i].index & 0xff) * 16 : 0);
			}
	for (unsigned i = 0; i < 256; i++) {
		start(SEC(VIRTUALIZE_X2APIC_MODE) | SEC(APIC_REGISTER_VIRTUALIZATION) |
		      SEC(VIRTUAL_INTERRUPT_DELIVERY));
		if (i != 0x08 && i != 0x0b && i != 0x3f)
			assert_int_equal(vmx_x2apic_write(cpu, 0x800 + i, 0), VMX_X2APIC_NORMAL);
	}
}

static void x2apic_effects(void **state)
{
	start(SEC(VIRTUALIZE_X2APIC_MODE) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
	assert_int_equal(vmx_x2apic_write(cpu, 0x83f, 0x31), VMX_X2APIC_DONE);
	assert_false(vmx_emulate_apic_write(cpu));
	assert_true(vector_in(0x200, 0x31));
	assert_true(recognized());
	assert_int_equal(vmx_x2apic_write(cpu, 0x83f, 0x0f), VMX_X2APIC_DONE);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_APIC_WRITE, 0x3f0);
	assert_int_equal(vmx_x2apic_write(cpu, 0x808, 0x30), VMX_X2APIC_DONE);
	assert_false(vmx_emulate_apic_write(cpu));
	assert_int_equal(*reg(0xa0), 0x30);
	assert_false(recognized());
	put_vector(0x100, 0x77);
	set(GUEST_INTERRUPT_STATUS, 0x7700);
	assert_int_equal(vmx_x2apic_write(cpu, 0x80b, 0), VMX_X2APIC_DONE);
	assert_false(vmx_emulate_apic_write(cpu));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0);
	assert_false(vector_in(0x100, 0x77));
}

static uint64_t *notify(pa_t descriptor)
{
	return (uint64_t *)(m->ram + descriptor + 32);
}

static void posted(void)
{
	start(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	set(VM_PINBASED_CTLS, PINBASED_CTLS_PROCESS_POSTED_INTERRUPTS);
	set(POSTED_INTERRUPT_VECTOR, NOTIFY);
	set(POSTED_INTERRUPT_DESCRIPTOR, DESCRIPTOR);
}

static void notification_vector(void **state)
{
	posted();
	for (int vector = -1; vector < 256; vector++)
		assert_int_equal(vmx_is_notification(cpu, vector), vector == NOTIFY);
	set(VM_PINBASED_CTLS, 0);
	assert_false(vmx_is_notification(cpu, NOTIFY));
}

static void posted_interrupts(void **state)
{
	const struct interrupt notification = {.destination = 4, .vector = NOTIFY, .narrow = true, .assert = true};

	posted();
	assert_true(apic_deliver(m->apics, &notification));
	assert_int_equal(apic_acknowledge(cpu), NOTIFY);
	*notify(DESCRIPTOR) = UINT64_C(0xffffffffffffffff);
	m->ram[DESCRIPTOR + 0x31 / 8] = 1 << 0x31 % 8;
	m->ram[DESCRIPTOR + 0xe7 / 8] = 1 << 0xe7 % 8;
	put_vector(0x200, 0x45);
	set(GUEST_INTERRUPT_STATUS, 0x45);
	*reg(0xa0) = 0xd0;
	vmx_process_posted_interrupts(cpu);
	assert_int_equal(*notify(DESCRIPTOR), UINT64_C(0xfffffffffffffffe));
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(m->ram[DESCRIPTOR + i], 0);
	assert_true(vector_in(0x200, 0x31));
	assert_true(vector_in(0x200, 0x45));
	assert_true(vector_in(0x200, 0xe7));
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0xe7);
	assert_true(recognized());
	assert_int_equal(apic_peek(cpu->apic, 0x170), 0); /* EOI: nothing is in service */
	/* none, and a lower one: RVI stays */
	vmx_process_posted_interrupts(cpu);
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0xe7);
	m->ram[DESCRIPTOR + 0x20 / 8] = 1 << 0x20 % 8;
	vmx_process_posted_interrupts(cpu);
	assert_int_equal(get(GUEST_INTERRUPT_STATUS), 0xe7);
	assert_true(vector_in(0x200, 0x20));
	/* the priority counts: not recognized any more */
	*reg(0xa0) = 0xe0;
	vmx_process_posted_interrupts(cpu);
	assert_false(recognized());
}

static void ipis(uint64_t secondary)
{
	start(secondary);
	set(VM_PROCBASED_CTLS3, PROCBASED_CTLS3_IPI_VIRTUALIZATION);
	set(PID_POINTER_TABLE, TABLE);
	set(LAST_PID_POINTER_INDEX, 9);
	store_le(m->ram + TABLE + 8 * 9, 8, OTHER | 1);
	*notify(OTHER) = UINT64_C(5) << 40 | NOTIFY << 16;
}

static bool notified(void)
{
	bool is = m->cpu[1].pins & BIT(PIN_INTR);

	if (is)
		assert_int_equal(apic_acknowledge(&m->cpu[1]), NOTIFY);
	apic_eoi(m->cpu[1].apic);
	return is;
}

static void ipi_virtualization(void **state)
{
	ipis(0);
	assert_true(vmx_virtualize_ipi(cpu, 0x93, 9));
	assert_int_equal(m->ram[OTHER + 0x93 / 8], 1 << 0x93 % 8);
	assert_int_equal(*notify(OTHER), UINT64_C(5) << 40 | NOTIFY << 16 | 1);
	assert_true(notified());
	/* outstanding: posted, nobody is told again */
	assert_true(vmx_virtualize_ipi(cpu, 0x10, 9));
	assert_int_equal(m->ram[OTHER + 2], 1);
	assert_false(notified());
	/* suppressed */
	*notify(OTHER) = UINT64_C(5) << 40 | NOTIFY << 16 | 2;
	assert_true(vmx_virtualize_ipi(cpu, 0xff, 9));
	assert_int_equal(m->ram[OTHER + 31], 0x80);
	assert_false(notified());
	assert_int_equal(*notify(OTHER) & 3, 2);
	/* illegal vectors, indexes, entries */
	*notify(OTHER) = UINT64_C(5) << 40 | NOTIFY << 16;
	for (unsigned vector = 0; vector < 16; vector++)
		assert_false(vmx_virtualize_ipi(cpu, (uint8_t)vector, 9));
	assert_false(vmx_virtualize_ipi(cpu, 0x20, 10));
	assert_false(vmx_virtualize_ipi(cpu, 0x20, UINT32_MAX));
	assert_false(vmx_virtualize_ipi(cpu, 0x20, 8));
	for (unsigned bit = 0; bit < 64; bit++) {
		store_le(m->ram + TABLE + 8 * 9, 8, (OTHER | 1) ^ BIT(bit));
		assert_int_equal(vmx_virtualize_ipi(cpu, 0x20, 9), bit >= 6 && bit < 40);
	}
}

static void ipis_by_the_page(void **state)
{
	for (unsigned bit = 8; bit < 32; bit++) {
		ipis(0);
		*reg(0x310) = 9u << 24;
		if (bit == 14)
			assert_false(written(0x300, 0x63 | (uint32_t)BIT(bit)));
		else
			expect_exit(written(0x300, 0x63 | (uint32_t)BIT(bit)), VMX_EXIT_APIC_WRITE, 0x300);
		assert_int_equal(notified(), bit == 14);
	}
	ipis(0);
	*reg(0x310) = 9u << 24;
	assert_false(written(0x300, 0x63));
	assert_true(notified());
	*reg(0x310) = 7u << 24;
	expect_exit(written(0x300, 0x63), VMX_EXIT_APIC_WRITE, 0x300);
	/* to itself it is self-IPI virtualization's */
	ipis(SEC(VIRTUAL_INTERRUPT_DELIVERY));
	assert_false(written(0x300, 0x40063));
	assert_true(vector_in(0x200, 0x63));
}

static void ipis_by_msr(void **state)
{
	ipis(SEC(VIRTUALIZE_X2APIC_MODE) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
	assert_int_equal(vmx_x2apic_write(cpu, 0x830, UINT64_C(9) << 32 | 0x63), VMX_X2APIC_DONE);
	assert_false(vmx_emulate_apic_write(cpu));
	assert_true(notified());
	assert_int_equal(m->ram[OTHER + 0x63 / 8], 1 << 0x63 % 8);
	assert_int_equal(vmx_x2apic_write(cpu, 0x830, UINT64_C(0x1000009) << 32 | 0x63), VMX_X2APIC_DONE);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_APIC_WRITE, 0x300);
	/* the shorthand self is for the SELF IPI register */
	assert_int_equal(vmx_x2apic_write(cpu, 0x830, UINT64_C(9) << 32 | 0x40063), VMX_X2APIC_DONE);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_APIC_WRITE, 0x300);
	assert_int_equal(vmx_x2apic_write(cpu, 0x830, UINT64_C(9) << 32 | 0x1063), VMX_X2APIC_DONE);
	expect_exit(vmx_emulate_apic_write(cpu), VMX_EXIT_APIC_WRITE, 0x300);
}

/* The destination as the sender's local APIC has its own. */
static void notification_of_an_x2apic(void **state)
{
	ipis(0);
	cpu->apic_base |= BIT(10);
	m->cpu[1].apic_base |= BIT(10);
	*notify(OTHER) = UINT64_C(5) << 32 | NOTIFY << 16;
	assert_true(vmx_virtualize_ipi(cpu, 0x63, 9));
	assert_true(notified());
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(tpr_threshold),
		cmocka_unit_test(cr8),
		cmocka_unit_test(processor_priority),
		cmocka_unit_test(evaluation),
		cmocka_unit_test(delivery),
		cmocka_unit_test(eoi),
		cmocka_unit_test(eoi_exit_bitmap),
		cmocka_unit_test(self_ipi),
		cmocka_unit_test(writes_of_other_registers),
		cmocka_unit_test(entry),
		cmocka_unit_test(x2apic_reads),
		cmocka_unit_test(x2apic_writes),
		cmocka_unit_test(x2apic_effects),
		cmocka_unit_test(notification_vector),
		cmocka_unit_test(posted_interrupts),
		cmocka_unit_test(ipi_virtualization),
		cmocka_unit_test(ipis_by_the_page),
		cmocka_unit_test(ipis_by_msr),
		cmocka_unit_test(notification_of_an_x2apic),
	};

	return cmocka_run_group_tests(tests, create, destroy);
}
