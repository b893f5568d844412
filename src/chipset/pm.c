/*
 * PM1 event and control blocks, PM timer, GPE0, SMI enables and status, TCO watchdog, APM ports.
 *
 * Two choices of ours, made so that firmware and tables written for the usual virtual Q35 work: SLP_TYP 0 is soft off
 * as well as the ICH9's 7, and the values 2 and 3 to port B2H set and clear SCI_EN, which on a board is the SMI
 * handler's work. Not modelled: sleep states S1 to S4 (no table offers them), GPE sources, GPIO, the periodic and
 * software SMI timers; their enable bits read 0.
 */
#include "chipset/pm.h"
#include "base/bits.h"

#include <stdlib.h>

#define SIZE 128

enum {
	PM1_STS = 0x00,
	PM1_EN = 0x02,
	PM1_CNT = 0x04,
	PM1_TMR = 0x08,
	GPE0_STS = 0x20,
	GPE0_EN = 0x28,
	SMI_EN = 0x30,
	SMI_STS = 0x34,
	TCO_RLD = 0x60,
	TCO_DAT_IN = 0x62,
	TCO_DAT_OUT = 0x63,
	TCO1_STS = 0x64,
	TCO2_STS = 0x66,
	TCO1_CNT = 0x68,
	TCO2_CNT = 0x6a,
	TCO_MESSAGE = 0x6c,
	TCO_WDCNT = 0x6e,
	TCO_TMR = 0x72
};

#define PM1_TMROF	BIT(0)
#define PM1_GBL		BIT(5)
#define PM1_PWRBTN	BIT(8)
#define PM1_RTC		BIT(10)
#define PM1_SCI_SOURCES (PM1_TMROF | PM1_GBL | PM1_PWRBTN | PM1_RTC)
#define CNT_SCI_EN	BIT(0)
#define CNT_GBL_RLS	BIT(2)
#define CNT_SLP_TYP	BITS(12, 10)
#define CNT_SLP_EN	BIT(13)
#define SMI_BIOS	BIT(2)
#define SMI_SLP		BIT(4)
#define SMI_APM		BIT(5)
#define SMI_TCO		BIT(13)
#define SMI_GBL_EN	BIT(0)
#define TCO_TIMEOUT	BIT(3)	/* TCO1_STS */
#define TCO_SECOND	BIT(1)	/* TCO2_STS */
#define TCO_HALT	BIT(11) /* TCO1_CNT */

#define TCO_TICK (NS_PER_SECOND * 6 / 10)

#define APM_ACPI_ENABLE	 2
#define APM_ACPI_DISABLE 3

/* What software may write, and what it clears by writing 1. */
static const struct {
	uint8_t offset, size;
	uint32_t writable, w1c;
} rights[] = {
	{PM1_STS, 2, 0, 0xcd31},       {PM1_EN, 2, 0x4521, 0},		{PM1_CNT, 4, 0x1c03, 0},
	{GPE0_EN, 4, 0xffffffff, 0},   {GPE0_EN + 4, 4, 0xffffffff, 0}, {SMI_EN, 4, 0x2037, 0},
	{SMI_STS, 4, 0, 0x2034},       {TCO_DAT_IN, 1, 0xff, 0},	{TCO_DAT_OUT, 1, 0xff, 0},
	{TCO1_STS, 2, 0, TCO_TIMEOUT}, {TCO2_STS, 2, 0, TCO_SECOND},	{TCO1_CNT, 2, TCO_HALT, 0},
	{TCO_MESSAGE, 2, 0xffff, 0},   {TCO_WDCNT, 1, 0xff, 0},		{TCO_TMR, 2, 0x3ff, 0},
};

struct pm {
	struct clock *clock;
	const struct log *log;
	struct pm_wires wires;
	struct region *region;
	uint8_t bytes[SIZE], writable[SIZE], w1c[SIZE];
	uint8_t apm[2]; /* APM_CNT, APM_STS */
	bool smi_lock, no_reboot;
	uint64_t turns; /* of bit 23 of the timer that have been seen */
	vtime_t tco_start;
	struct deadline timer, tco;
};

static uint32_t get(const struct pm *pm, unsigned offset, unsigned size)
{
	return (uint32_t)load_le(pm->bytes + offset, size);
}

static void set_bits(struct pm *pm, unsigned offset, unsigned size, uint32_t bits)
{
	store_le(pm->bytes + offset, size, get(pm, offset, size) | bits);
}

static uint64_t ticks(const struct pm *pm)
{
	return clock_ticks(clock_now(pm->clock), PM_TIMER_HZ);
}

static bool smi_enabled(const struct pm *pm, uint32_t source)
{
	return (get(pm, SMI_EN, 4) & source) && (get(pm, SMI_EN, 4) & SMI_GBL_EN);
}

static void smi(struct pm *pm, uint32_t source)
{
	set_bits(pm, SMI_STS, 4, source);
	if (smi_enabled(pm, source) && pm->wires.smi)
		pm->wires.smi(pm->wires.smi_ctx);
}

static void update_sci(struct pm *pm)
{
	bool pending = get(pm, PM1_STS, 2) & get(pm, PM1_EN, 2) & PM1_SCI_SOURCES;

	irq_set(&pm->wires.sci, pending && (get(pm, PM1_CNT, 2) & CNT_SCI_EN));
}

/* TMROF_STS is set whenever bit 23, the counter's highest, changes. */
static void catch_up(struct pm *pm)
{
	uint64_t turns = ticks(pm) >> 23;

	if (turns != pm->turns)
		set_bits(pm, PM1_STS, 2, PM1_TMROF);
	pm->turns = turns;
	update_sci(pm);
}

static void arm_timer(struct pm *pm)
{
	bool wanted = (get(pm, PM1_EN, 2) & PM1_TMROF) && !(get(pm, PM1_STS, 2) & PM1_TMROF);

	clock_arm(pm->clock, &pm->timer, wanted ? clock_when((pm->turns + 1) << 23, PM_TIMER_HZ) : VTIME_NEVER);
}

static void timer_fire(void *owner)
{
	catch_up(owner);
	arm_timer(owner);
}

/* "TCO_TMR": 0 and 1 are not to be used. */
static uint32_t tco_period(const struct pm *pm)
{
	return (uint32_t)max_u64(2, get(pm, TCO_TMR, 2));
}

/* "TCO Watchdog Timer": counts TCO_TMR ticks of 0.6 s down, twice. */
static void tco_restart(struct pm *pm)
{
	bool counts = !(get(pm, TCO1_CNT, 2) & TCO_HALT);

	pm->tco_start = clock_now(pm->clock);
	clock_arm(pm->clock, &pm->tco, counts ? pm->tco_start + tco_period(pm) * TCO_TICK : VTIME_NEVER);
}

static uint32_t tco_left(const struct pm *pm)
{
	uint64_t gone = (clock_now(pm->clock) - pm->tco_start) / TCO_TICK;

	return (uint32_t)(gone < tco_period(pm) ? tco_period(pm) - gone : 0);
}

static void tco_fire(void *owner)
{
	struct pm *pm = owner;

	if (get(pm, TCO1_STS, 2) & TCO_TIMEOUT) {
		set_bits(pm, TCO2_STS, 2, TCO_SECOND);
		if (!pm->no_reboot && pm->wires.hook.request)
			pm->wires.hook.request(pm->wires.hook.ctx, REQUEST_RESET);
	} else {
		set_bits(pm, TCO1_STS, 2, TCO_TIMEOUT);
		smi(pm, SMI_TCO);
	}
	tco_restart(pm);
}

static void sleep_enabled(struct pm *pm)
{
	unsigned type = bits_get(get(pm, PM1_CNT, 2), 12, 10);

	if (get(pm, SMI_EN, 4) & SMI_SLP) { /* the handler decides */
		smi(pm, SMI_SLP);
	} else if (type == 0 || type == 7) {
		if (pm->wires.hook.request)
			pm->wires.hook.request(pm->wires.hook.ctx, REQUEST_POWER_OFF);
	} else if (log_on(pm->log, LOG_UNIMP)) {
		log_line(pm->log, LOG_UNIMP, "SLP_EN with SLP_TYP %u: this machine has no such sleep state", type);
	}
}

static bool touches(unsigned offset, unsigned size, unsigned what)
{
	return offset <= what && what < offset + size;
}

static uint64_t block_read(void *device, uint64_t offset, unsigned size)
{
	struct pm *pm = device;
	uint64_t value = 0;

	catch_up(pm);
	arm_timer(pm);
	store_le(pm->bytes + PM1_TMR, 4, ticks(pm) & 0xffffff);
	store_le(pm->bytes + TCO_RLD, 2, tco_left(pm));
	for (unsigned i = 0; i < size && offset + i < SIZE; i++)
		value |= (uint64_t)pm->bytes[offset + i] << 8 * i;
	return value;
}

static void block_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *pm = device;
	uint32_t locked = get(pm, SMI_EN, 4) & SMI_GBL_EN, written = 0;

	catch_up(pm);
	for (unsigned i = 0; i < size && offset + i < SIZE; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i), *at = &pm->bytes[offset + i];

		*at = (*at & ~pm->writable[offset + i]) | (byte & pm->writable[offset + i]);
		*at &= ~(byte & pm->w1c[offset + i]);
		if (offset + i == PM1_CNT || offset + i == PM1_CNT + 1)
			written |= (uint32_t)byte << 8 * (offset + i - PM1_CNT);
	}
	if (pm->smi_lock)
		pm->bytes[SMI_EN] = (uint8_t)((pm->bytes[SMI_EN] & ~SMI_GBL_EN) | locked);
	if (touches((unsigned)offset, size, TCO_RLD) || touches((unsigned)offset, size, TCO1_CNT + 1))
		tco_restart(pm);
	if (written & CNT_GBL_RLS)
		smi(pm, SMI_BIOS);
	update_sci(pm);
	arm_timer(pm);
	if (written & CNT_SLP_EN)
		sleep_enabled(pm);
}

static uint64_t apm_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct pm *)device)->apm[offset];
}

static void apm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *pm = device;

	pm->apm[offset] = (uint8_t)value;
	if (offset)
		return;
	if (value == APM_ACPI_ENABLE)
		pm->bytes[PM1_CNT] |= CNT_SCI_EN;
	else if (value == APM_ACPI_DISABLE)
		pm->bytes[PM1_CNT] &= ~CNT_SCI_EN;
	update_sci(pm);
	smi(pm, SMI_APM);
}

static const struct device_ops block_ops = {block_read, block_write, 1, 4};
static const struct device_ops apm_ops = {apm_read, apm_write, 1, 1};

struct pm *pm_create(struct bus *bus, struct clock *clock, const struct pm_wires *wires, const struct log *log)
{
	struct pm *pm = xcalloc(1, sizeof(*pm));

	pm->clock = clock;
	pm->wires = *wires;
	pm->log = log;
	for (unsigned i = 0; i < ARRAY_SIZE(rights); i++) {
		store_le(pm->writable + rights[i].offset, rights[i].size, rights[i].writable);
		store_le(pm->w1c + rights[i].offset, rights[i].size, rights[i].w1c);
	}
	deadline_init(&pm->timer, timer_fire, pm);
	deadline_init(&pm->tco, tco_fire, pm);
	pm->region = bus_add_ports(bus, "acpi-pm", 0, SIZE, &block_ops, pm);
	region_enable(pm->region, false);
	bus_add_ports(bus, "apm", 0xb2, 2, &apm_ops, pm);
	pm_reset(pm);
	return pm;
}

void pm_destroy(struct pm *pm)
{
	clock_cancel(pm->clock, &pm->timer);
	clock_cancel(pm->clock, &pm->tco);
	free(pm);
}

void pm_reset(struct pm *pm)
{
	memset(pm->bytes, 0, sizeof(pm->bytes));
	memset(pm->apm, 0, sizeof(pm->apm));
	/* Without SMM firmware must not wait for its handler: APMC_EN says, as on a warm start, that this is settled
	 * already. */
	if (!pm->wires.smi)
		store_le(pm->bytes + SMI_EN, 4, SMI_APM);
	store_le(pm->bytes + TCO_TMR, 2, 4);
	store_le(pm->bytes + TCO1_CNT, 2, TCO_HALT); /* firmware would halt it; there may be none */
	pm->smi_lock = pm->no_reboot = false;
	pm->turns = ticks(pm) >> 23;
	tco_restart(pm);
	arm_timer(pm);
	update_sci(pm);
}

void pm_set_base(struct pm *pm, bool enabled, uint16_t base)
{
	region_move(pm->region, base);
	region_enable(pm->region, enabled);
}

void pm_set_smi_lock(struct pm *pm, bool locked)
{
	pm->smi_lock = locked;
}

void pm_set_no_reboot(struct pm *pm, bool no_reboot)
{
	pm->no_reboot = no_reboot;
}

void pm_power_button(struct pm *pm)
{
	set_bits(pm, PM1_STS, 2, PM1_PWRBTN);
	update_sci(pm);
}

void pm_state(struct pm *pm, struct state *state)
{
	state_section(state, "pm");
	store_le(pm->bytes + PM1_TMR, 4, 0); /* computed when read */
	store_le(pm->bytes + TCO_RLD, 2, 0);
	state_var(state, pm->bytes);
	state_var(state, pm->apm);
	state_bool(state, &pm->smi_lock);
	state_bool(state, &pm->no_reboot);
	state_var(state, pm->turns);
	state_var(state, pm->tco_start);
	clock_deadline_state(pm->clock, &pm->timer, state);
	clock_deadline_state(pm->clock, &pm->tco, state);
}
