/*
 * ACPI Specification: "Root System Description Pointer (RSDP)", "Fixed ACPI Description Table (FADT)", "Multiple APIC
 * Description Table (MADT)", "PM1 Control Registers". The machine's tables are trusted as far as their checksums and lengths
 * go.
 */
#include "cpu/acpi.h"

#include "cpu/apic.h"
#include "cpu/time.h"
#include "cpu/x86.h"
#include "lib/string.h"

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length; /* from here on: revision 2 */
	uint64_t xsdt;
} PACKED;

struct table {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} PACKED;

struct address { /* "Generic Address Structure" */
	uint8_t space, width, offset, size;
	uint64_t address;
} PACKED;

struct fadt {
	struct table header;
	uint32_t facs, dsdt;
	uint8_t reserved, profile;
	uint16_t sci;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	uint8_t lengths[20];
	uint32_t flags;
	struct address reset_register;
	uint8_t reset_value;
	uint16_t arm_boot;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
} PACKED;

struct madt {
	struct table header;
	uint32_t local_apic, flags;
} PACKED;

struct madt_entry {
	uint8_t type, length;
} PACKED;

struct madt_lapic {
	struct madt_entry entry;
	uint8_t processor, id;
	uint32_t flags;
} PACKED;

struct madt_x2apic {
	struct madt_entry entry;
	uint16_t reserved;
	uint32_t id, flags, processor;
} PACKED;

enum { MADT_LAPIC = 0, MADT_X2APIC = 9, MADT_ENABLED = 1 };
enum { PM1_SCI_EN = 1 << 0, PM1_SLP_TYP_SHIFT = 10, PM1_SLP_EN = 1 << 13 };
enum { BIOS_AREA = 0xe0000, BIOS_AREA_END = 0x100000, EBDA_SEGMENT = 0x40e, EBDA_SEARCH = 1024 };
enum { ENABLE_US = 300000, POWER_OFF_US = 100000 };

static const struct fadt *fadt;
static const struct madt *madt;
static bool has_s5;
static uint8_t s5_type_a, s5_type_b;

static bool sums_to_0(const void *bytes, size_t size)
{
	uint8_t sum = 0;

	for (const uint8_t *byte = bytes; size; size--)
		sum += *byte++;
	return !sum;
}

static const struct rsdp *search(pa_t from, pa_t to)
{
	for (; from + 20 <= to; from += 16) {
		if (!memcmp(at_pa(from), "RSD PTR ", 8) && sums_to_0(at_pa(from), 20))
			return at_pa(from);
	}
	return NULL;
}

/* "Finding the RSDP on IA-PC Systems". */
static const struct rsdp *find_rsdp(void)
{
	pa_t ebda = *(const volatile uint16_t *)at_pa(EBDA_SEGMENT) * UINT64_C(16);
	const struct rsdp *rsdp = ebda ? search(ebda, ebda + EBDA_SEARCH) : NULL;

	return rsdp ? rsdp : search(BIOS_AREA, BIOS_AREA_END);
}

/* NULL: no table there that says so itself. */
static const struct table *table_at(pa_t pa, const char *signature)
{
	const struct table *table = at_pa(pa);

	if (!pa || memcmp(table->signature, signature, 4) || table->length < sizeof(*table) || !sums_to_0(table, table->length))
		return NULL;
	return table;
}

static const void *find_table(const struct rsdp *rsdp, const char *signature, size_t size)
{
	bool wide = rsdp->revision >= 2 && rsdp->xsdt;
	const struct table *root = wide ? table_at(rsdp->xsdt, "XSDT") : table_at(rsdp->rsdt, "RSDT"), *found;
	const uint8_t *end = (const uint8_t *)root + (root ? root->length : 0);

	for (const uint8_t *at = (const uint8_t *)(root + 1); root && at < end; at += wide ? 8 : 4) {
		pa_t pa = 0;

		memcpy(&pa, at, wide ? 8 : 4);
		found = table_at(pa, signature);
		if (found && found->length >= size)
			return found;
	}
	return NULL;
}

/* The next element of a package, *at on: \_S5 has bytes and the constants 0 and 1, and there is no need for more of AML here.
   Past the end: 0. */
static uint8_t next_element(const uint8_t **at, const uint8_t *end)
{
	enum { BYTE_PREFIX = 0x0a };

	if (*at < end && **at == BYTE_PREFIX)
		++*at;
	return *at < end ? *(*at)++ : 0;
}

/* "\_Sx (System States)": NameOp, _S5_ (perhaps from the root), PackageOp, PkgLength of 1 to 4 bytes, NumElements, elements. */
static void read_s5(const struct table *dsdt)
{
	enum { NAME_OP = 0x08, NAME_AND_LENGTHS = 7 };
	const uint8_t *start = (const uint8_t *)dsdt, *end = start + dsdt->length;

	for (const uint8_t *at = start + sizeof(*dsdt); at + NAME_AND_LENGTHS <= end; at++) {
		const uint8_t *element = at + 5;

		if (memcmp(at, "_S5_\x12", 5) || (at[-1] != NAME_OP && at[-1] != '\\'))
			continue;
		element += 1 + (*element >> 6) + 1;
		s5_type_a = next_element(&element, end) & 7;
		s5_type_b = next_element(&element, end) & 7;
		has_s5 = true;
		return;
	}
}

void acpi_init(const void *told)
{
	const struct rsdp *rsdp = told ? told : find_rsdp();
	const struct table *dsdt = NULL;

	if (!rsdp)
		return;
	madt = find_table(rsdp, "APIC", sizeof(*madt));
	fadt = find_table(rsdp, "FACP", offsetof(struct fadt, reset_register));
	if (fadt && fadt->header.length >= sizeof(*fadt))
		dsdt = table_at(fadt->x_dsdt, "DSDT");
	if (fadt && !dsdt)
		dsdt = table_at(fadt->dsdt, "DSDT");
	if (dsdt)
		read_s5(dsdt);
}

unsigned acpi_processors(uint32_t *apic_ids, unsigned max)
{
	const uint8_t *at = (const uint8_t *)(madt + 1), *end = (const uint8_t *)madt + (madt ? madt->header.length : 0);
	unsigned count = 0;

	while (madt && at + sizeof(struct madt_entry) <= end && count < max) {
		const struct madt_entry *entry = (const void *)at;
		const struct madt_lapic *lapic = (const void *)at;
		const struct madt_x2apic *x2apic = (const void *)at;

		at += entry->length;
		if (entry->length < sizeof(*entry) || at > end)
			break;
		if (entry->type == MADT_LAPIC && entry->length >= sizeof(*lapic) && lapic->flags & MADT_ENABLED)
			apic_ids[count++] = lapic->id;
		else if (entry->type == MADT_X2APIC && entry->length >= sizeof(*x2apic) && x2apic->flags & MADT_ENABLED)
			apic_ids[count++] = x2apic->id;
	}
	if (!count)
		apic_ids[count++] = apic_id();
	return count;
}

static void sleep(uint32_t port, uint8_t type)
{
	uint16_t value;

	if (!port)
		return;
	value = in16((uint16_t)port) & ~(7 << PM1_SLP_TYP_SHIFT | PM1_SLP_EN);
	out16((uint16_t)port, (uint16_t)(value | type << PM1_SLP_TYP_SHIFT | PM1_SLP_EN));
}

void acpi_power_off(void)
{
	uint16_t control;

	if (!fadt || !has_s5)
		return;
	control = (uint16_t)fadt->pm1a_control;
	if (!(in16(control) & PM1_SCI_EN) && fadt->smi_command && fadt->acpi_enable) {
		out8((uint16_t)fadt->smi_command, fadt->acpi_enable);
		for (unsigned us = 0; us < ENABLE_US && !(in16(control) & PM1_SCI_EN); us += 10)
			time_delay_us(10);
	}
	sleep(fadt->pm1a_control, s5_type_a);
	sleep(fadt->pm1b_control, s5_type_b);
	time_delay_us(POWER_OFF_US);
}
