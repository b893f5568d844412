/* Local APICs against SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "apic/apic.h"
#include "cpu/msr.h"

#define CPUS 4

enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	APR = 0x90,
	PPR = 0xa0,
	EOI = 0xb0,
	RRD = 0xc0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	CMCI = 0x2f0,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER = 0x320,
	LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360,
	LVT_ERROR = 0x370,
	INITIAL = 0x380,
	CURRENT = 0x390,
	DCR = 0x3e0,
	SELF_IPI = 0x3f0
};

static const struct log quiet;

struct fixture {
	struct clock *clock;
	struct apic_bus *bus;
	struct cpu cpu[CPUS];
	struct cpu_model model;
	unsigned eois, acknowledged;
	uint8_t eoi_vector;
};

/* The MSR table of this test: claims in order, the last wins. */
static struct {
	uint32_t first, last;
	const struct msr_ops *ops;
} claims[8];
static unsigned claim_count;

void msr_claim(struct msr_table *table, uint32_t first, uint32_t last, const struct msr_ops *ops)
{
	claims[claim_count].first = first;
	claims[claim_count].last = last;
	claims[claim_count++].ops = ops;
}

static const struct msr_ops *owner(uint32_t index)
{
	for (unsigned i = claim_count; i--;)
		if (index >= claims[i].first && index <= claims[i].last)
			return claims[i].ops;
	fail_msg("nobody claims MSR %x", index);
	return NULL;
}

static bool wrmsr(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return owner(index)->write(cpu, index, value);
}

static bool rdmsr(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return owner(index)->read(cpu, index, value);
}

static uint64_t rd(struct cpu *cpu, uint32_t index)
{
	uint64_t value = 0xdead;

	assert_true(rdmsr(cpu, index, &value));
	return value;
}

static void eoi(void *ctx, uint8_t vector)
{
	struct fixture *f = ctx;

	f->eois++;
	f->eoi_vector = vector;
}

static int acknowledge(void *ctx)
{
	((struct fixture *)ctx)->acknowledged++;
	return 0x08;
}

static void offer(struct cpu_model *model, enum feature feature)
{
	model->features[feature / 64] |= UINT64_C(1) << feature % 64;
}

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(64, sizeof(*f) + 63 - (sizeof(*f) + 63) % 64);

	memset(f, 0, sizeof(*f));
	f->clock = clock_create();
	f->bus = apic_bus_create(f->clock, &quiet);
	f->model.physical_bits = 40;
	offer(&f->model, FEATURE_X2APIC);
	offer(&f->model, FEATURE_TSC_DEADLINE);
	for (unsigned i = 0; i < CPUS; i++) {
		f->cpu[i].number = i;
		f->cpu[i].model = &f->model;
		apic_create(f->bus, &f->cpu[i], i);
		apic_write(f->cpu[i].apic, SVR, 0x1ff);
	}
	apic_bus_on_eoi(f->bus, eoi, f);
	apic_bus_connect_extint(f->bus, &(struct extint_ops){acknowledge, f});
	claim_count = 0;
	apic_claim_msrs(NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < CPUS; i++)
		apic_destroy(f->cpu[i].apic);
	apic_bus_destroy(f->bus);
	clock_destroy(f->clock);
	free(f);
	return 0;
}

static bool intr(const struct cpu *cpu)
{
	return cpu->pins & BIT(PIN_INTR);
}

static bool pin(struct cpu *cpu, enum pin which)
{
	bool level = cpu->pins & BIT(which);

	cpu_set_pin(cpu, which, false);
	return level;
}

static bool bit(struct apic *apic, unsigned base, unsigned vector)
{
	return apic_read(apic, base + vector / 32 * 16) >> vector % 32 & 1;
}

static void fixed(struct fixture *f, uint32_t destination, uint8_t vector, bool level)
{
	struct interrupt interrupt = {
		.destination = destination, .vector = vector, .narrow = true, .level = level, .assert = true};

	assert_true(apic_deliver(f->bus, &interrupt));
}

static void advance(struct fixture *f, vtime_t to)
{
	vtime_t next;

	while ((next = clock_next(f->clock)) <= to) {
		clock_advance_to(f->clock, next);
		clock_fire_due(f->clock);
	}
	clock_advance_to(f->clock, to);
}

static void to_x2apic(struct cpu *cpu)
{
	assert_true(wrmsr(cpu, 0x1b, cpu->apic_base | 0xc00));
}

static void reset_values(void **state)
{
	struct fixture *f = *state;
	struct apic *apic = f->cpu[1].apic;

	assert_int_equal(f->cpu[0].apic_base, 0xfee00900);
	assert_int_equal(f->cpu[1].apic_base, 0xfee00800);
	apic_reset(apic, false);
	assert_int_equal(apic_read(apic, ID), 1 << 24);
	assert_int_equal(apic_read(apic, VERSION) & 0xff00ff, 0x050014);
	assert_int_equal(apic_read(apic, SVR), 0xff);
	assert_int_equal(apic_read(apic, DFR), 0xffffffff);
	assert_int_equal(apic_read(apic, LDR), 0);
	assert_int_equal(apic_read(apic, TPR), 0);
	for (unsigned offset = LVT_TIMER; offset <= LVT_ERROR; offset += 16)
		assert_int_equal(apic_read(apic, offset), 0x10000);
	assert_int_equal(apic_read(apic, INITIAL), 0);
	assert_int_equal(apic_read(apic, CURRENT), 0);
	assert_int_equal(apic_read(apic, DCR), 0);
	/* INIT: the same, but the APIC ID stays. */
	apic_write(apic, ID, 9 << 24);
	apic_write(apic, TPR, 0x20);
	apic_reset(apic, true);
	assert_int_equal(apic_read(apic, ID), 9 << 24);
	assert_int_equal(apic_read(apic, TPR), 0);
	assert_int_equal(f->cpu[1].apic_base, 0xfee00800);
}

static void fixed_interrupt(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	fixed(f, 0, 0x31, false);
	assert_true(intr(cpu));
	assert_false(intr(&f->cpu[1]));
	assert_true(bit(cpu->apic, IRR, 0x31));
	assert_false(bit(cpu->apic, TMR, 0x31));
	assert_int_equal(apic_acknowledge(cpu), 0x31);
	assert_false(intr(cpu));
	assert_false(bit(cpu->apic, IRR, 0x31));
	assert_true(bit(cpu->apic, ISR, 0x31));
	assert_int_equal(apic_read(cpu->apic, PPR), 0x30);
	/* The same class waits, a higher one does not. */
	fixed(f, 0, 0x3f, false);
	assert_false(intr(cpu));
	fixed(f, 0, 0x40, true);
	assert_true(intr(cpu));
	assert_true(bit(cpu->apic, TMR, 0x40));
	assert_int_equal(apic_acknowledge(cpu), 0x40);
	apic_write(cpu->apic, EOI, 0);
	assert_int_equal(f->eois, 1);
	assert_int_equal(f->eoi_vector, 0x40);
	assert_false(intr(cpu));
	apic_write(cpu->apic, EOI, 0);
	assert_int_equal(f->eois, 1); /* edge-triggered: no broadcast */
	assert_true(intr(cpu));
	assert_int_equal(apic_acknowledge(cpu), 0x3f);
	assert_int_equal(apic_acknowledge(cpu), -1);
	apic_write(cpu->apic, EOI, 0);
	apic_write(cpu->apic, EOI, 0); /* nothing in service */
}

static void priorities(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	for (unsigned tpr = 0; tpr < 256; tpr++) {
		for (unsigned vector = 16; vector < 256; vector += 13) {
			apic_write(cpu->apic, TPR, tpr);
			assert_int_equal(apic_read(cpu->apic, PPR), tpr);
			fixed(f, 0, vector, false);
			assert_int_equal(intr(cpu), vector >> 4 > tpr >> 4);
			apic_set_tpr(cpu->apic, 0);
			assert_int_equal(apic_acknowledge(cpu), vector);
			/* PPR is the higher of TPR and the class in service. */
			apic_set_tpr(cpu->apic, tpr);
			assert_int_equal(apic_read(cpu->apic, PPR), tpr >> 4 >= vector >> 4 ? tpr : vector & 0xf0);
			apic_write(cpu->apic, EOI, 0);
		}
	}
	apic_set_tpr(cpu->apic, 0x52);
	assert_int_equal(apic_get_tpr(cpu->apic), 0x52);
}

static void illegal_vectors(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	apic_write(cpu->apic, LVT_ERROR, 0x33);
	fixed(f, 0, 0x0f, false);
	assert_int_equal(apic_read(cpu->apic, ESR), 0); /* until it is written */
	assert_int_equal(apic_acknowledge(cpu), 0x33);
	apic_write(cpu->apic, EOI, 0);
	apic_write(cpu->apic, ICR, 0x40005); /* self, vector 5 */
	assert_false(intr(cpu));	     /* armed again only by a write of ESR */
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0x60);
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0);
	apic_write(cpu->apic, 0x400, 1);
	assert_int_equal(apic_acknowledge(cpu), 0x33);
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0x80);
	apic_read(cpu->apic, CMCI); /* IA32_MCG_CAP has no CMCI */
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0x80);
	apic_read(cpu->apic, APR); /* reserved, but no error */
	apic_write(cpu->apic, RRD, 0);
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0);
	/* An error interrupt with an illegal vector does not chase itself. */
	apic_write(cpu->apic, LVT_ERROR, 0x03);
	fixed(f, 0, 1, false);
	apic_write(cpu->apic, ESR, 0);
	assert_int_equal(apic_read(cpu->apic, ESR), 0x40);
}

static void software_disable(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];
	struct interrupt interrupt = {.vector = 0x50, .narrow = true};

	apic_write(cpu->apic, LVT_TIMER, 0x30);
	fixed(f, 0, 0x41, false);
	apic_write(cpu->apic, SVR, 0xff);
	assert_int_equal(apic_read(cpu->apic, LVT_TIMER), 0x10030);
	apic_write(cpu->apic, LVT_TIMER, 0x31);
	assert_int_equal(apic_read(cpu->apic, LVT_TIMER), 0x10031);
	assert_true(intr(cpu)); /* what was accepted is held */
	assert_false(apic_deliver(f->bus, &interrupt));
	interrupt.delivery = APIC_NMI;
	assert_true(apic_deliver(f->bus, &interrupt));
	assert_true(pin(cpu, PIN_NMI));
	apic_write(cpu->apic, SVR, 0x1ff);
	assert_int_equal(apic_read(cpu->apic, LVT_TIMER), 0x10031);
	apic_write(cpu->apic, LVT_TIMER, 0x31);
	assert_int_equal(apic_read(cpu->apic, LVT_TIMER), 0x31);
}

static void suppressed_eoi(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	assert_true(apic_read(cpu->apic, VERSION) >> 24 & 1);
	apic_write(cpu->apic, SVR, 0x11ff);
	fixed(f, 0, 0x40, true);
	apic_acknowledge(cpu);
	apic_write(cpu->apic, EOI, 0);
	assert_int_equal(f->eois, 0);
	assert_false(bit(cpu->apic, ISR, 0x40));
}

static void logical_destinations(void **state)
{
	struct fixture *f = *state;
	struct interrupt interrupt = {.vector = 0x60, .narrow = true, .logical = true};

	/* Flat: one bit each. */
	for (unsigned i = 0; i < CPUS; i++)
		apic_write(f->cpu[i].apic, LDR, 1u << (24 + i));
	for (unsigned mask = 0; mask < 256; mask++) {
		interrupt.destination = mask;
		assert_int_equal(apic_deliver(f->bus, &interrupt), (mask & 15) != 0);
		for (unsigned i = 0; i < CPUS; i++) {
			assert_int_equal(intr(&f->cpu[i]), mask >> i & 1);
			if (intr(&f->cpu[i])) {
				assert_int_equal(apic_acknowledge(&f->cpu[i]), 0x60);
				apic_write(f->cpu[i].apic, EOI, 0);
			}
		}
	}
	/* Cluster: 0 and 1 in cluster 2, 2 and 3 in cluster 3. */
	for (unsigned i = 0; i < CPUS; i++) {
		apic_write(f->cpu[i].apic, DFR, 0x0fffffff);
		apic_write(f->cpu[i].apic, LDR, (2 + i / 2) << 28 | 1u << (24 + i % 2));
	}
	for (unsigned destination = 0; destination < 256; destination++) {
		interrupt.destination = destination;
		apic_deliver(f->bus, &interrupt);
		for (unsigned i = 0; i < CPUS; i++) {
			bool cluster = destination >> 4 == 15 || destination >> 4 == 2 + i / 2;

			assert_int_equal(intr(&f->cpu[i]), cluster && (destination >> i % 2 & 1));
			if (intr(&f->cpu[i])) {
				apic_acknowledge(&f->cpu[i]);
				apic_write(f->cpu[i].apic, EOI, 0);
			}
		}
	}
}

static void lowest_priority(void **state)
{
	struct fixture *f = *state;
	struct interrupt interrupt = {
		.vector = 0x60, .narrow = true, .logical = true, .delivery = APIC_LOWEST, .destination = 0x0f};

	for (unsigned i = 0; i < CPUS; i++) {
		apic_write(f->cpu[i].apic, LDR, 1u << (24 + i));
		apic_write(f->cpu[i].apic, TPR, 0x40 - 0x10 * i);
	}
	apic_write(f->cpu[3].apic, SVR, 0xff); /* does not take part */
	assert_true(apic_deliver(f->bus, &interrupt));
	assert_true(intr(&f->cpu[2]));
	assert_false(intr(&f->cpu[0]) || intr(&f->cpu[1]) || intr(&f->cpu[3]));
	interrupt.destination = 0x08;
	assert_false(apic_deliver(f->bus, &interrupt));
	/* Equal priorities: the first. */
	apic_write(f->cpu[0].apic, TPR, 0);
	apic_write(f->cpu[1].apic, TPR, 0);
	interrupt.destination = 0x03;
	interrupt.vector = 0x61;
	assert_true(apic_deliver(f->bus, &interrupt));
	assert_true(intr(&f->cpu[0]));
	assert_false(intr(&f->cpu[1]));
	/* A wide sender's everybody reaches xAPICs too. */
	interrupt = (struct interrupt){.vector = 0x62, .logical = true, .destination = UINT32_MAX};
	assert_true(apic_deliver(f->bus, &interrupt));
	assert_true(bit(f->cpu[1].apic, IRR, 0x62));
}

static void ipis(void **state)
{
	struct fixture *f = *state;
	struct apic *apic = f->cpu[1].apic;

	apic_write(apic, ICR_HIGH, 2u << 24);
	apic_write(apic, ICR, 0x4071);
	assert_int_equal(apic_read(apic, ICR), 0x4071); /* delivery status: idle */
	assert_int_equal(apic_acknowledge(&f->cpu[2]), 0x71);
	apic_write(apic, ICR, 0x44072); /* self */
	assert_int_equal(apic_acknowledge(&f->cpu[1]), 0x72);
	apic_write(apic, ICR, 0xc4073); /* all others */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(bit(f->cpu[i].apic, IRR, 0x73), i != 1);
	apic_write(apic, ICR, 0x84074); /* all */
	for (unsigned i = 0; i < CPUS; i++)
		assert_true(bit(f->cpu[i].apic, IRR, 0x74));
	apic_write(apic, ICR_HIGH, 0xffu << 24); /* broadcast */
	apic_write(apic, ICR, 0xc075);		 /* level: IPIs are edge all the same */
	for (unsigned i = 0; i < CPUS; i++) {
		assert_true(bit(f->cpu[i].apic, IRR, 0x75));
		assert_false(bit(f->cpu[i].apic, TMR, 0x75));
	}
	apic_write(apic, ICR, 0x4700); /* ExtINT is reserved in the ICR */
	assert_int_equal(f->acknowledged, 0);
}

static void init_and_startup(void **state)
{
	struct fixture *f = *state;
	struct apic *apic = f->cpu[0].apic;

	apic_write(apic, ICR_HIGH, 3u << 24);
	apic_write(apic, ICR, 0x4699); /* SIPI to a running CPU */
	assert_false(pin(&f->cpu[3], PIN_SIPI));
	apic_write(apic, ICR, 0x8500); /* INIT level de-assert: nothing */
	assert_false(f->cpu[3].pins & BIT(PIN_INIT));
	apic_write(apic, ICR, 0xc500);
	assert_true(f->cpu[3].pins & BIT(PIN_INIT));
	apic_write(apic, ICR, 0x4699); /* before the CPU took its INIT */
	assert_true(pin(&f->cpu[3], PIN_SIPI));
	assert_int_equal(f->cpu[3].sipi_vector, 0x99);
	f->cpu[2].activity = ACTIVITY_WAIT_SIPI;
	apic_write(apic, ICR, 0xc4602);
	assert_true(pin(&f->cpu[2], PIN_SIPI));
	assert_int_equal(f->cpu[2].sipi_vector, 2);
	apic_write(apic, ICR, 0xc4200);
	assert_true(pin(&f->cpu[1], PIN_SMI));
	assert_false(pin(&f->cpu[0], PIN_SMI));
}

static void local_pins(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	/* Masked: nothing. */
	apic_set_lint0(f->bus, 0, true);
	assert_false(intr(cpu));
	/* Virtual wire. */
	apic_write(cpu->apic, LVT_LINT0, 0x700);
	assert_true(intr(cpu));
	assert_int_equal(apic_acknowledge(cpu), 8);
	assert_int_equal(f->acknowledged, 1);
	assert_true(intr(cpu)); /* the wire is still high */
	apic_set_tpr(cpu->apic, 0xff);
	assert_true(intr(cpu)); /* ExtINT does not know TPR */
	apic_set_lint0(f->bus, 0, false);
	assert_false(intr(cpu));
	apic_set_tpr(cpu->apic, 0);
	/* Fixed, edge. */
	apic_write(cpu->apic, LVT_LINT0, 0x45);
	apic_set_lint0(f->bus, 0, true);
	assert_int_equal(apic_acknowledge(cpu), 0x45);
	apic_write(cpu->apic, EOI, 0);
	assert_false(intr(cpu));
	/* Fixed, level: accepted once, again after EOI while the wire is high. */
	apic_write(cpu->apic, LVT_LINT0, 0x8046);
	assert_int_equal(apic_read(cpu->apic, LVT_LINT0), 0xc046);
	assert_int_equal(apic_acknowledge(cpu), 0x46);
	assert_false(intr(cpu));
	apic_write(cpu->apic, EOI, 0);
	assert_true(intr(cpu));
	apic_set_lint0(f->bus, 0, false);
	assert_int_equal(apic_acknowledge(cpu), 0x46);
	apic_write(cpu->apic, EOI, 0);
	assert_false(intr(cpu));
	assert_int_equal(apic_read(cpu->apic, LVT_LINT0), 0x8046);
	/* NMI on LINT1 at the edge. */
	apic_write(cpu->apic, LVT_LINT1, 0x400);
	apic_set_nmi(f->bus, 0, true);
	assert_true(pin(cpu, PIN_NMI));
	apic_set_nmi(f->bus, 0, true);
	assert_false(pin(cpu, PIN_NMI));
	assert_false(pin(&f->cpu[1], PIN_NMI));
}

static void timer_divisors(void **state)
{
	static const struct {
		uint32_t dcr;
		unsigned by;
	} table[] = {
		{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1},
	};
	struct fixture *f = *state;
	struct apic *apic = f->cpu[0].apic;

	apic_write(apic, LVT_TIMER, 0x10030);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		vtime_t start = clock_now(f->clock);

		apic_write(apic, DCR, table[i].dcr);
		apic_write(apic, INITIAL, 1000);
		assert_int_equal(apic_read(apic, CURRENT), 1000);
		clock_advance_to(f->clock, start + 10 * table[i].by);
		assert_int_equal(apic_read(apic, CURRENT), 990);
		clock_advance_to(f->clock, start + 5000 * table[i].by);
		assert_int_equal(apic_read(apic, CURRENT), 0);
		assert_int_equal(apic_read(apic, INITIAL), 1000);
	}
	/* The divisor changes on the way: what is left counts at the new rate. */
	apic_write(apic, DCR, 11);
	apic_write(apic, INITIAL, 1000);
	clock_advance_to(f->clock, clock_now(f->clock) + 600);
	apic_write(apic, DCR, 0);
	clock_advance_to(f->clock, clock_now(f->clock) + 600);
	assert_int_equal(apic_read(apic, CURRENT), 100);
}

static void timer_one_shot_and_periodic(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	apic_write(cpu->apic, DCR, 11);
	apic_write(cpu->apic, LVT_TIMER, 0x30);
	apic_write(cpu->apic, INITIAL, 1000);
	advance(f, 999);
	assert_false(intr(cpu));
	advance(f, 1000);
	assert_int_equal(apic_acknowledge(cpu), 0x30);
	apic_write(cpu->apic, EOI, 0);
	advance(f, 9000);
	assert_false(intr(cpu));

	apic_write(cpu->apic, LVT_TIMER, 0x20031);
	apic_write(cpu->apic, INITIAL, 100);
	for (unsigned i = 1; i < 20; i++) {
		advance(f, 9000 + 100 * i - 1);
		assert_false(intr(cpu));
		assert_int_equal(apic_read(cpu->apic, CURRENT), 1);
		advance(f, 9000 + 100 * i);
		assert_int_equal(apic_acknowledge(cpu), 0x31);
		apic_write(cpu->apic, EOI, 0);
		assert_int_equal(apic_read(cpu->apic, CURRENT), 100);
	}
	/* Masked: it goes on, silently and for nothing. */
	apic_write(cpu->apic, LVT_TIMER, 0x30031);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	advance(f, 20050);
	assert_int_equal(apic_read(cpu->apic, CURRENT), 50);
	apic_write(cpu->apic, LVT_TIMER, 0x20031);
	assert_int_equal(clock_next(f->clock), 20100);
	apic_write(cpu->apic, INITIAL, 0);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
}

static void timer_tsc_deadline(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];

	cpu->tsc_offset = 5000;
	assert_true(wrmsr(cpu, 0x6e0, 6000)); /* not in that mode: ignored */
	assert_int_equal(rd(cpu, 0x6e0), 0);
	apic_write(cpu->apic, LVT_TIMER, 0x40032);
	assert_true(wrmsr(cpu, 0x6e0, 6000));
	assert_int_equal(rd(cpu, 0x6e0), 6000);
	apic_write(cpu->apic, INITIAL, 77); /* ignored */
	assert_int_equal(apic_read(cpu->apic, INITIAL), 0);
	assert_int_equal(apic_read(cpu->apic, CURRENT), 0);
	advance(f, 999);
	assert_false(intr(cpu));
	advance(f, 1000);
	assert_int_equal(apic_acknowledge(cpu), 0x32);
	apic_write(cpu->apic, EOI, 0);
	assert_int_equal(rd(cpu, 0x6e0), 0);
	/* The past is now. */
	assert_true(wrmsr(cpu, 0x6e0, 1));
	advance(f, 1000);
	assert_int_equal(apic_acknowledge(cpu), 0x32);
	apic_write(cpu->apic, EOI, 0);
	/* 0 disarms; the TSC may be moved; another mode disarms. */
	assert_true(wrmsr(cpu, 0x6e0, 9000));
	assert_true(wrmsr(cpu, 0x6e0, 0));
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	assert_true(wrmsr(cpu, 0x6e0, 9000));
	cpu->tsc_offset = 4000;
	advance(f, 4000);
	assert_false(intr(cpu));
	assert_int_equal(clock_next(f->clock), 5000);
	cpu->tsc_offset = 4900;
	apic_tsc_changed(cpu->apic);
	assert_int_equal(clock_next(f->clock), 4100);
	apic_write(cpu->apic, LVT_TIMER, 0x32);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	/* A far deadline does not overflow. */
	apic_write(cpu->apic, LVT_TIMER, 0x40032);
	assert_true(wrmsr(cpu, 0x6e0, UINT64_MAX));
	assert_true(clock_next(f->clock) > UINT64_MAX / 2);
	memset(f->model.features, 0, sizeof(f->model.features));
	assert_false(wrmsr(cpu, 0x6e0, 0));
}

/* "x2APIC State Transitions": every pair of states. */
static void base_transitions(void **state)
{
	struct fixture *f = *state;
	static const bool allowed[4][4] = {
		/* from, to: bits 11:10 */
		[0] = {[0] = true, [2] = true},
		[2] = {[0] = true, [2] = true, [3] = true},
		[3] = {[0] = true, [3] = true},
	};

	for (unsigned from = 0; from < 4; from++) {
		for (unsigned to = 0; to < 4 && from != 1; to++) {
			struct cpu *cpu = &f->cpu[1];

			cpu->apic_base = 0xfee00000 | from << 10;
			assert_int_equal(wrmsr(cpu, 0x1b, 0xfee00000 | to << 10), allowed[from][to]);
			assert_int_equal(cpu->apic_base, 0xfee00000 | (allowed[from][to] ? to : from) << 10);
		}
	}
	for (unsigned i = 0; i < 64; i++) {
		bool reserved = i < 8 || i == 9 || i >= 40;

		f->cpu[1].apic_base = 0xfee00800;
		assert_int_equal(wrmsr(&f->cpu[1], 0x1b, 0xfee00800 | BIT(i)), !reserved);
	}
	f->cpu[1].apic_base = 0xfee00800;
	memset(f->model.features, 0, sizeof(f->model.features));
	assert_false(wrmsr(&f->cpu[1], 0x1b, 0xfee00c00));
}

static void disabled(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];
	struct interrupt interrupt = {.vector = 0x50, .narrow = true};

	apic_write(cpu->apic, TPR, 0x10);
	assert_true(wrmsr(cpu, 0x1b, 0xfee00000));
	assert_false(apic_deliver(f->bus, &interrupt));
	interrupt.delivery = APIC_NMI;
	assert_false(apic_deliver(f->bus, &interrupt));
	assert_false(pin(cpu, PIN_NMI));
	apic_set_lint0(f->bus, 0, true);
	assert_true(intr(cpu)); /* LINT0 is INTR */
	assert_int_equal(apic_acknowledge(cpu), 8);
	apic_set_nmi(f->bus, 0, true);
	assert_true(pin(cpu, PIN_NMI));
	assert_int_equal(apic_read(cpu->apic, VERSION), 0);
	assert_true(wrmsr(cpu, 0x1b, 0xfee00800));
	assert_false(intr(cpu));
	assert_int_equal(apic_read(cpu->apic, TPR), 0);
	assert_int_equal(apic_read(cpu->apic, SVR), 0xff);
}

/* Who may be read and written in x2APIC mode: "x2APIC Register Address Space". */
static void x2apic_access(void **state)
{
	static const struct {
		uint16_t msr;
		bool read, write;
	} table[] = {
		{0x802, 1, 0}, {0x803, 1, 0}, {0x808, 1, 1}, {0x80a, 1, 0}, {0x80b, 0, 1}, {0x80d, 1, 0}, {0x80f, 1, 1},
		{0x828, 1, 1}, {0x830, 1, 1}, {0x832, 1, 1}, {0x833, 1, 1}, {0x834, 1, 1}, {0x835, 1, 1}, {0x836, 1, 1},
		{0x837, 1, 1}, {0x838, 1, 1}, {0x839, 1, 0}, {0x83e, 1, 1}, {0x83f, 0, 1},
	};
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[1];
	uint64_t value;

	assert_false(rdmsr(cpu, 0x802, &value)); /* not yet in x2APIC mode */
	assert_false(wrmsr(cpu, 0x80b, 0));
	to_x2apic(cpu);
	for (unsigned msr = 0x800; msr <= 0x8ff; msr++) {
		bool read = msr >= 0x810 && msr <= 0x827, write = false;

		for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
			if (table[i].msr == msr) {
				read = table[i].read;
				write = table[i].write;
			}
		}
		assert_int_equal(rdmsr(cpu, msr, &value), read);
		assert_int_equal(wrmsr(cpu, msr, msr == 0x83f ? 0x40 : 0), write);
		assert_false(wrmsr(cpu, msr, BIT(32)) && msr != 0x830);
	}
	/* The page is gone. */
	assert_int_equal(apic_read(cpu->apic, VERSION), 0);
	assert_int_equal(apic_peek(cpu->apic, VERSION) & 0xff, 0x14); /* but not for a debugger */
}

static void x2apic_reserved_bits(void **state)
{
	static const struct {
		uint16_t msr;
		uint64_t allowed;
	} table[] = {
		{0x808, 0xff},	     {0x80b, 0},       {0x80f, 0x13ff},	 {0x828, 0},
		{0x832, 0x710ff},    {0x833, 0x117ff}, {0x835, 0x1f7ff}, {0x837, 0x110ff},
		{0x838, 0xffffffff}, {0x83e, 0xb},     {0x83f, 0xff},
	};
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[1];

	to_x2apic(cpu);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		for (unsigned n = 0; n < 64; n++)
			assert_int_equal(wrmsr(cpu, table[i].msr, BIT(n)), table[i].allowed >> n & 1);
	/* ICR: bit 12, delivery status, is gone but tolerated. */
	for (unsigned n = 0; n < 32; n++)
		assert_int_equal(wrmsr(cpu, 0x830, BIT(n) | (n < 8 ? 0x40 : 0)), UINT32_C(0xcdfff) >> n & 1);
}

static void x2apic_messages(void **state)
{
	struct fixture *f = *state;
	struct interrupt interrupt = {.vector = 0x80, .destination = UINT32_MAX};

	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(&f->cpu[i]);
	assert_int_equal(rd(&f->cpu[3], 0x802), 3);
	assert_int_equal(rd(&f->cpu[3], 0x80d), 8);
	assert_true(wrmsr(&f->cpu[0], 0x830, UINT64_C(0x300000045)));
	assert_true(rd(&f->cpu[0], 0x830) == UINT64_C(0x300000045));
	assert_int_equal(apic_acknowledge(&f->cpu[3]), 0x45);
	assert_true(wrmsr(&f->cpu[0], 0x830, UINT64_C(0x600000846))); /* logical: cluster 0, bits 1 and 2 */
	assert_int_equal(apic_acknowledge(&f->cpu[1]), 0x46);
	assert_int_equal(apic_acknowledge(&f->cpu[2]), 0x46);
	assert_int_equal(apic_acknowledge(&f->cpu[3]), -1);
	assert_true(wrmsr(&f->cpu[0], 0x830, UINT64_C(0x1000600000847))); /* cluster 1: nobody */
	assert_int_equal(rd(&f->cpu[2], 0x822), 0);
	assert_true(wrmsr(&f->cpu[0], 0x83f, 0x48));
	assert_int_equal(apic_acknowledge(&f->cpu[0]), 0x48);
	assert_true(apic_deliver(f->bus, &interrupt)); /* everybody */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(rd(&f->cpu[i], 0x824), 1);
	/* FFH is an ordinary ID unless the sender is narrow. */
	interrupt.destination = 0xff;
	assert_false(apic_deliver(f->bus, &interrupt));
	interrupt.narrow = true;
	assert_true(apic_deliver(f->bus, &interrupt));
	/* Back to nothing, and then xAPIC again with everything as after reset. */
	assert_true(wrmsr(&f->cpu[0], 0x1b, 0xfee00100));
	assert_false(intr(&f->cpu[0]));
	assert_true(wrmsr(&f->cpu[0], 0x1b, 0xfee00900));
	assert_int_equal(apic_read(f->cpu[0].apic, SVR), 0xff);
}

static void messages_from_devices(void **state)
{
	struct fixture *f = *state;

	apic_send_msi(f->bus, &(struct msi){0xfee02000, 0x51, 0});
	assert_int_equal(apic_acknowledge(&f->cpu[2]), 0x51);
	assert_false(bit(f->cpu[2].apic, TMR, 0x51));
	apic_send_msi(f->bus, &(struct msi){0xfee02000, 0xc061, 0}); /* level, assert */
	assert_int_equal(apic_acknowledge(&f->cpu[2]), 0x61);
	assert_true(bit(f->cpu[2].apic, TMR, 0x61));
	apic_send_msi(f->bus, &(struct msi){0xfee02000, 0x8071, 0}); /* level, de-assert */
	assert_int_equal(apic_acknowledge(&f->cpu[2]), -1);
	apic_send_msi(f->bus, &(struct msi){0xfeeff000, 0x81, 0}); /* broadcast */
	assert_int_equal(apic_acknowledge(&f->cpu[0]), 0x81);
	assert_int_equal(apic_acknowledge(&f->cpu[3]), 0x81);
	apic_send_msi(f->bus, &(struct msi){0xfee01000, 0x0400, 0});
	assert_true(pin(&f->cpu[1], PIN_NMI));
	apic_send_msi(f->bus, &(struct msi){0xfee01000, 0x0700, 0}); /* ExtINT */
	assert_int_equal(apic_acknowledge(&f->cpu[1]), 8);
	assert_false(intr(&f->cpu[1]) && !bit(f->cpu[1].apic, IRR, 0x81));
	/* Redirection: logical 3 with hint goes to one. */
	apic_write(f->cpu[0].apic, LDR, 1u << 24);
	apic_write(f->cpu[1].apic, LDR, 2u << 24);
	apic_write(f->cpu[0].apic, TPR, 0x20);
	apic_send_msi(f->bus, &(struct msi){0xfee0300c, 0x91, 0});
	assert_int_equal(bit(f->cpu[0].apic, IRR, 0x91) + bit(f->cpu[1].apic, IRR, 0x91), 1);
}

/* The page as the bus offers it: other sizes and places do no harm. */
static void icr_across_modes(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[1];

	apic_write(cpu->apic, ICR_HIGH, 0x02000000);
	apic_write(cpu->apic, ICR, 0x4071);
	to_x2apic(cpu);
	assert_int_equal(rd(cpu, 0x830), 0x4071); /* the upper half had another format */
	assert_true(wrmsr(cpu, 0x830, UINT64_C(0x200004072)));
	assert_true(wrmsr(cpu, 0x1b, 0xfee00c00)); /* no transition */
	assert_true(rd(cpu, 0x830) == UINT64_C(0x200004072));
}

static void who_accepts(void **state)
{
	static const enum apic_delivery table[] = {APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_NMI, APIC_INIT, APIC_EXTINT};
	struct fixture *f = *state;
	struct interrupt interrupt = {.vector = 0x40, .narrow = true};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		interrupt.delivery = table[i];
		interrupt.destination = 2;
		assert_true(apic_deliver(f->bus, &interrupt));
		interrupt.destination = 9;
		assert_false(apic_deliver(f->bus, &interrupt));
	}
	interrupt.destination = 2;
	interrupt.delivery = APIC_RESERVED;
	assert_false(apic_deliver(f->bus, &interrupt));
	interrupt.delivery = APIC_STARTUP;
	pin(&f->cpu[2], PIN_INIT);
	assert_false(apic_deliver(f->bus, &interrupt));
}

static void reserved_timer_modes(void **state)
{
	struct fixture *f = *state;
	struct apic *apic = f->cpu[0].apic;

	apic_write(apic, LVT_TIMER, 0x60030);
	assert_int_equal(apic_read(apic, LVT_TIMER), 0x30);
	memset(f->model.features, 0, sizeof(f->model.features));
	apic_write(apic, LVT_TIMER, 0x40030);
	assert_int_equal(apic_read(apic, LVT_TIMER), 0x30);
}

static void page(void **state)
{
	struct fixture *f = *state;
	struct apic *apic = f->cpu[0].apic;

	assert_int_equal(apic_page_ops.min_size, 4);
	assert_int_equal(apic_page_ops.max_size, 4);
	apic_page_ops.write(apic, TPR, 4, 0x30);
	apic_page_ops.write(apic, TPR + 4, 4, 0x50);
	assert_int_equal(apic_page_ops.read(apic, TPR, 4), 0x30);
	assert_int_equal(apic_page_ops.read(apic, TPR + 4, 4), 0);
	for (unsigned offset = 0; offset < 4096; offset += 4) {
		apic_page_ops.read(apic, offset, 4);
		apic_page_ops.write(apic, offset, 4, offset * 0x9e3779b9u);
	}
}

/* Anything anywhere, in every mode, by pages, MSRs and messages. */
static void nonsense(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		struct cpu *cpu = &f->cpu[seed >> 40 & 3];
		uint64_t value;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		value = seed >> (seed >> 58);
		switch (seed >> 44 & 7) {
		case 0: apic_send_msi(f->bus, &(struct msi){0xfee00000 | (seed & 0xfffff), (uint32_t)value, 0}); break;
		case 1: wrmsr(cpu, 0x1b, 0xfee00000 | (value & 0xd00)); break;
		case 2: wrmsr(cpu, 0x800 + (seed >> 48 & 0x3f), value); break;
		case 3: wrmsr(cpu, 0x6e0, clock_now(f->clock) + value); break;
		case 4: rdmsr(cpu, 0x800 + (seed >> 48 & 0x3f), &value); break;
		case 5: apic_acknowledge(cpu); break;
		default:
			apic_write(cpu->apic, seed >> 48 & 0x3f0, (uint32_t)value);
			apic_read(cpu->apic, seed >> 48 & 0x3f0);
		}
		if (i % 1024 == 0) {
			wrmsr(cpu, 0x1b, 0xfee00800);
			apic_write(cpu->apic, SVR, 0x1ff);
		}
		apic_set_lint0(f->bus, 0, seed >> 62 & 1);
		apic_set_nmi(f->bus, 0, seed >> 63);
		advance(f, clock_now(f->clock) + (seed >> 50 & 0x3f));
		if (intr(cpu) && cpu->apic_base & 0x800)
			assert_int_not_equal(apic_acknowledge(cpu), -1);
	}
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	apic_write(cpu->apic, DCR, 11);
	apic_write(cpu->apic, LVT_TIMER, 0x20031);
	apic_write(cpu->apic, INITIAL, 100);
	fixed(f, 0, 0x77, false);
	advance(f, 50);
	apic_state(cpu->apic, save);
	data = state_data(save, &size);
	apic_reset(cpu->apic, false);
	assert_false(intr(cpu));
	restore = state_restore(data, size);
	apic_state(cpu->apic, restore);
	assert_false(state_failed(restore));
	assert_int_equal(apic_acknowledge(cpu), 0x77);
	assert_int_equal(apic_read(cpu->apic, CURRENT), 50);
	assert_int_equal(clock_next(f->clock), 100);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(reset_values),
		TEST(fixed_interrupt),
		TEST(priorities),
		TEST(illegal_vectors),
		TEST(software_disable),
		TEST(suppressed_eoi),
		TEST(logical_destinations),
		TEST(lowest_priority),
		TEST(ipis),
		TEST(init_and_startup),
		TEST(local_pins),
		TEST(timer_divisors),
		TEST(timer_one_shot_and_periodic),
		TEST(timer_tsc_deadline),
		TEST(base_transitions),
		TEST(disabled),
		TEST(x2apic_access),
		TEST(x2apic_reserved_bits),
		TEST(x2apic_messages),
		TEST(messages_from_devices),
		TEST(icr_across_modes),
		TEST(who_accepts),
		TEST(reserved_timer_modes),
		TEST(page),
		TEST(nonsense),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
