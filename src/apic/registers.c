/*
 * The registers of a local APIC as software reads and writes them: the page of xAPIC mode and what it shares with the
 * MSRs of x2APIC mode (msr.c).
 *
 * SDM vol. 3, "The Local APIC Block Diagram", "x2APIC Register Address Space". Rights and bits are rows of
 * spec/apic_registers.def.
 */
#include "apic/local.h"

/*
 * An integrated APIC, 6 LVT entries, suppression of EOI broadcasts: "Local APIC Version
 * Register".
 */
#define VERSION (0x14 | (LVT_COUNT - 1) << 16 | 1 << 24)

struct apic_access apic_access(unsigned index)
{
	static const struct apic_access table[0x40] = {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) [index] = {xapic, x2apic, settable, tolerated},
#include "apic_registers.def"
#undef APIC_REGISTER
	};

	if (index >= APIC_ISR && index < APIC_IRR + 8)
		return (struct apic_access){.xapic = R, .x2apic = R};
	return index < ARRAY_SIZE(table) ? table[index] : (struct apic_access){0};
}

uint32_t apic_logical_id(const struct apic *apic)
{
	if (apic_mode(apic) != APIC_X2APIC)
		return apic->ldr;
	/* "Logical x2APIC ID": cluster in 31:16, one bit of 15:0. */
	return apic->initial_id >> 4 << 16 | 1u << (apic->initial_id & 15);
}

uint32_t apic_get(struct apic *apic, unsigned index)
{
	switch (index) {
	case APIC_ID: return apic_mode(apic) == APIC_X2APIC ? apic->initial_id : (uint32_t)apic->id << 24;
	case APIC_VERSION: return VERSION;
	case APIC_TPR: return apic->tpr;
	case APIC_PPR: return apic_ppr(apic);
	case APIC_LDR: return apic_logical_id(apic);
	case APIC_DFR: return apic->dfr;
	case APIC_SVR: return apic->svr;
	case APIC_ISR ... APIC_ISR + 7: return apic->isr[index - APIC_ISR];
	case APIC_TMR ... APIC_TMR + 7: return apic->tmr[index - APIC_TMR];
	case APIC_IRR ... APIC_IRR + 7: return apic->irr[index - APIC_IRR];
	case APIC_ESR: return apic->esr;
	case APIC_ICR: return (uint32_t)apic->icr;
	case APIC_ICR_HIGH: return (uint32_t)(apic->icr >> 32);
	case APIC_LVT_TIMER ... APIC_LVT_ERROR: return apic->lvt[index - APIC_LVT_TIMER];
	case APIC_INITIAL_COUNT: return apic->initial_count;
	case APIC_CURRENT_COUNT: return apic_timer_current(apic);
	case APIC_DCR: return apic->dcr;
	default: return 0;
	}
}

static void set_lvt(struct apic *apic, enum lvt which, uint32_t value)
{
	/* "Software disabled": the mask bits of all entries are set, and stay set. */
	if (!(apic->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (which == LVT_TIMER)
		apic_timer_set_lvt(apic, value);
	else if (which == LVT_LINT0 || which == LVT_LINT1)
		apic_set_lint_lvt(apic, which - LVT_LINT0, value);
	else
		apic->lvt[which] = value;
}

static void set_svr(struct apic *apic, uint32_t value)
{
	apic->svr = value;
	for (unsigned i = 0; !(value & SVR_ENABLE) && i < LVT_COUNT; i++)
		set_lvt(apic, i, apic->lvt[i]);
}

void apic_set(struct apic *apic, unsigned index, uint32_t value)
{
	value &= apic_access(index).settable;
	switch (index) {
	case APIC_ID: apic->id = (uint8_t)(value >> 24); break;
	case APIC_TPR: apic->tpr = (uint8_t)value; break;
	case APIC_EOI: apic_eoi(apic); break;
	case APIC_LDR: apic->ldr = value; break;
	case APIC_DFR: apic->dfr = value | 0x0fffffff; break;
	case APIC_SVR: set_svr(apic, value); break;
	case APIC_ESR:
		apic->esr = apic->errors;
		apic->errors = 0;
		break;
	case APIC_ICR:
		apic->icr = bits_set(apic->icr, 31, 0, value);
		apic_send_ipi(apic, apic->icr);
		break;
	case APIC_ICR_HIGH: apic->icr = bits_set(apic->icr, 63, 32, value); break;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR: set_lvt(apic, index - APIC_LVT_TIMER, value); break;
	case APIC_INITIAL_COUNT: apic_timer_set_initial(apic, value); break;
	case APIC_DCR: apic_timer_set_divide(apic, value); break;
	}
	apic_update(apic);
}

/* APR and RRD: reserved, but no error is reported (footnote of the register address map). */
static bool is_silent(unsigned index)
{
	return index == 0x09 || index == 0x0c;
}

uint32_t apic_read(struct apic *apic, unsigned offset)
{
	unsigned index = offset >> 4;

	/* Registers are dwords at 16-byte steps; what lies between is undefined, and zero here. */
	if (apic_mode(apic) != APIC_XAPIC || offset & 15)
		return 0;
	if (apic_access(index).xapic & R)
		return apic_get(apic, index);
	if (!apic_access(index).xapic && !is_silent(index))
		apic_error(apic, ESR_ILLEGAL_REGISTER);
	return 0;
}

void apic_write(struct apic *apic, unsigned offset, uint32_t value)
{
	unsigned index = offset >> 4;

	if (apic_mode(apic) != APIC_XAPIC || offset & 15)
		return;
	if (apic_access(index).xapic & W)
		apic_set(apic, index, value);
	else if (!apic_access(index).xapic && !is_silent(index))
		apic_error(apic, ESR_ILLEGAL_REGISTER);
}

uint32_t apic_peek(struct apic *apic, unsigned offset)
{
	return apic_get(apic, offset >> 4);
}

static uint64_t page_read(void *device, uint64_t offset, unsigned size)
{
	return apic_read(device, (unsigned)offset);
}

static void page_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	apic_write(device, (unsigned)offset, (uint32_t)value);
}

const struct device_ops apic_page_ops = {page_read, page_write, 4, 4};
