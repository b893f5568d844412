/*
 * ACPI tables of the board. ACPI 3.0, "ACPI Software Programming Model": each builder is named after its table.
 *
 * All tables but the RSDP lie in one blob that starts at no particular address: pointers in it hold offsets, and a list
 * says where they are. acpi_place() adds the address, firmware does the same by the table-loader script. The list makes
 * both.
 */
#include "firmware/acpi.h"

#include "base/bits.h"
#include "dsdt.h"
#include "firmware/firmware.h"
#include "firmware/fw_cfg.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 36, CHECKSUM = 9, RSDP_SIZE = 36, RSDP_V1_SIZE = 20, TABLES = 32, POINTERS = 80, ALIGN = 64 };

struct pointer {
	bool in_rsdp;	 /* else in the blob */
	uint32_t offset; /* of the field */
	uint8_t size;	 /* 4 or 8 */
};

struct acpi_tables {
	uint8_t rsdp[RSDP_SIZE];
	uint8_t *blob;
	size_t size;
	uint32_t table[TABLES]; /* offsets of what the RSDT lists, FADT first */
	unsigned tables;
	struct pointer pointer[POINTERS];
	unsigned pointers;
	uint32_t dsdt, facs, rsdt, xsdt;
};

/* Room for `size` zero bytes, aligned, at the end of the blob. */
static uint32_t grow(struct acpi_tables *t, size_t size, size_t alignment)
{
	size_t at = (t->size + alignment - 1) & ~(alignment - 1);

	t->blob = xrealloc(t->blob, at + size);
	memset(t->blob + t->size, 0, at + size - t->size);
	t->size = at + size;
	return (uint32_t)at;
}

static void put(struct acpi_tables *t, size_t offset, unsigned size, uint64_t value)
{
	store_le(t->blob + offset, size, value);
}

static void put_pointer(struct acpi_tables *t, bool in_rsdp, uint32_t offset, uint8_t size, uint32_t target)
{
	assert(t->pointers < POINTERS);
	store_le((in_rsdp ? t->rsdp : t->blob) + offset, size, target);
	t->pointer[t->pointers++] = (struct pointer){in_rsdp, offset, size};
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum = (uint8_t)(sum + *bytes++);
	return (uint8_t)-sum;
}

static uint32_t table_length(const struct acpi_tables *t, uint32_t at)
{
	return (uint32_t)load_le(t->blob + at + 4, 4);
}

static void sum_table(uint8_t *table)
{
	table[CHECKSUM] = 0;
	table[CHECKSUM] = checksum(table, load_le(table + 4, 4));
}

/* "System Description Table Header". */
static uint32_t begin(struct acpi_tables *t, const char *signature, uint8_t revision, size_t size)
{
	uint32_t at = grow(t, size, ALIGN);

	memcpy(t->blob + at, signature, 4);
	put(t, at + 4, 4, size);
	t->blob[at + 8] = revision;
	memcpy(t->blob + at + 10, "SOFTVTSOFTVTPC", 14);
	put(t, at + 24, 4, 1);
	memcpy(t->blob + at + 28, "SVT ", 4);
	put(t, at + 32, 4, 1);
	return at;
}

static void list(struct acpi_tables *t, uint32_t at)
{
	assert(t->tables < TABLES);
	t->table[t->tables++] = at;
}

/* A table that grew by appending: its length is what was added since `at`. */
static void end(struct acpi_tables *t, uint32_t at)
{
	put(t, at + 4, 4, t->size - at);
	list(t, at);
}

static void build_facs(struct acpi_tables *t)
{
	t->facs = grow(t, 64, ALIGN);
	memcpy(t->blob + t->facs, "FACS", 4);
	put(t, t->facs + 4, 4, 64);
}

static void build_dsdt(struct acpi_tables *t)
{
	t->dsdt = grow(t, sizeof(dsdt_aml), ALIGN);
	memcpy(t->blob + t->dsdt, dsdt_aml, sizeof(dsdt_aml));
}

/* "Fixed ACPI Description Table (FADT)", revision 3. */
static void build_fadt(struct acpi_tables *t, const struct acpi_config *config)
{
	enum {
		WBINVD = 1 << 0,
		PROC_C1 = 1 << 2,
		SLP_BUTTON = 1 << 5,
		RTC_S4 = 1 << 7,
		RESET_REG = 1 << 10,
		USE_PLATFORM_CLOCK = 1 << 15
	};
	uint32_t at = begin(t, "FACP", 3, 244);

	put_pointer(t, false, at + 36, 4, t->facs);
	put_pointer(t, false, at + 40, 4, t->dsdt);
	put(t, at + 44, 1, 1);	  /* INT_MODEL: multiple APIC */
	put(t, at + 46, 2, 9);	  /* SCI_INT */
	put(t, at + 48, 4, 0xb2); /* SMI_CMD, ACPI_ENABLE, ACPI_DISABLE: the chipset itself obeys */
	put(t, at + 52, 1, 2);
	put(t, at + 53, 1, 3);
	put(t, at + 56, 4, PM_BASE);	  /* PM1a_EVT_BLK */
	put(t, at + 64, 4, PM_BASE + 4);  /* PM1a_CNT_BLK */
	put(t, at + 76, 4, PM_BASE + 8);  /* PM_TMR_BLK */
	put(t, at + 80, 4, PM_BASE + 32); /* GPE0_BLK */
	put(t, at + 88, 1, 4);		  /* their lengths */
	put(t, at + 89, 1, 2);
	put(t, at + 91, 1, 4);
	put(t, at + 92, 1, 16);
	put(t, at + 96, 2, 0xfff); /* P_LVL2_LAT, P_LVL3_LAT: no C2, no C3 */
	put(t, at + 98, 2, 0xfff);
	put(t, at + 108, 1, 0x32); /* CENTURY */
	/* IAPC_BOOT_ARCH: legacy devices, 8042. */
	put(t, at + 109, 2, (unsigned)(1 | (config->i8042 ? 2 : 0)));
	put(t, at + 112, 4, WBINVD | PROC_C1 | SLP_BUTTON | RTC_S4 | RESET_REG | USE_PLATFORM_CLOCK);
	put(t, at + 116, 4, 1 | 8 << 8); /* RESET_REG: I/O space, 8 bits */
	put(t, at + 120, 8, 0xcf9);
	put(t, at + 128, 1, 0x0f);
	list(t, at);
}

/* "Multiple APIC Description Table (MADT)". */
static void build_madt(struct acpi_tables *t, const struct acpi_config *config)
{
	static const struct {
		uint8_t irq, gsi;
		uint16_t flags;
	} overrides[] = {
		{0, 2, 0}, {5, 5, 0xd}, {9, 9, 0xd}, {10, 10, 0xd}, {11, 11, 0xd}, /* active high, level */
	};
	uint32_t at = begin(t, "APIC", 1, 44), entry;

	put(t, at + 36, 4, LAPIC_BASE);
	put(t, at + 40, 4, 1); /* PCAT_COMPAT */
	for (unsigned number = 0; number < topology_all(&config->topology); number++) {
		uint32_t id = topology_apic_id(&config->topology, number);
		bool wide = id >= 255;

		entry = grow(t, wide ? 16 : 8, 1);
		put(t, entry, 2, wide ? 9 | 16 << 8 : 0 | 8 << 8);
		if (wide) {
			put(t, entry + 4, 4, id);
			put(t, entry + 8, 4, number < config->cpus);
			put(t, entry + 12, 4, number);
		} else {
			put(t, entry + 2, 2, number | id << 8);
			put(t, entry + 4, 4, number < config->cpus);
		}
	}
	entry = grow(t, 12, 1); /* I/O APIC */
	put(t, entry, 2, 1 | 12 << 8);
	put(t, entry + 4, 4, IOAPIC_BASE);
	for (unsigned i = 0; i < ARRAY_SIZE(overrides); i++) {
		entry = grow(t, 10, 1);
		put(t, entry, 2, 2 | 10 << 8);
		put(t, entry + 3, 1, overrides[i].irq);
		put(t, entry + 4, 4, overrides[i].gsi);
		put(t, entry + 8, 2, overrides[i].flags);
	}
	entry = grow(t, 6, 1); /* NMI at LINT1 of all */
	put(t, entry, 2, 4 | 6 << 8);
	put(t, entry + 2, 1, 0xff);
	put(t, entry + 5, 1, 1);
	end(t, at);
}

/* PCI Firmware Specification, "MCFG Table Description". */
static void build_mcfg(struct acpi_tables *t)
{
	uint32_t at = begin(t, "MCFG", 1, 60);

	put(t, at + 44, 8, ECAM_BASE);
	put(t, at + 55, 1, 255);
	list(t, at);
}

/* IA-PC HPET Specification, "The ACPI 2.0 HPET Description Table (HPET)". */
static void build_hpet(struct acpi_tables *t)
{
	uint32_t at = begin(t, "HPET", 1, 56);

	put(t, at + 36, 4, 0x8086a201);
	put(t, at + 44, 8, HPET_BASE);
	list(t, at);
}

/*
 * AML, "ACPI Machine Language (AML) Specification": only what the SSDT below is made of. `length` is the size of what
 * follows the package length field, which always takes two bytes here (so at most 4093).
 */
static void aml_byte(struct acpi_tables *t, uint8_t byte)
{
	uint32_t at = grow(t, 1, 1); /* moves the blob */

	t->blob[at] = byte;
}

static void aml_text(struct acpi_tables *t, const char *text, size_t size)
{
	uint32_t at = grow(t, size, 1);

	memcpy(t->blob + at, text, size);
}

static void aml_length(struct acpi_tables *t, unsigned length)
{
	length += 2;
	aml_byte(t, (uint8_t)(1 << 6 | (length & 0xf)));
	aml_byte(t, (uint8_t)(length >> 4));
}

static void aml_name_integer(struct acpi_tables *t, const char *name4, uint64_t value)
{
	aml_byte(t, 0x08); /* NameOp */
	aml_text(t, name4, 4);
	aml_byte(t, 0x0e); /* QWordPrefix */
	put(t, grow(t, 8, 1), 8, value);
}

/* Device (\_SB.Cnnn) with _HID ACPI0007 and _UID: "Declaring Processors". */
static void aml_processor(struct acpi_tables *t, unsigned number)
{
	static const char digits[] = "0123456789ABCDEF";
	const char name[4] = {'C', digits[number >> 8 & 15], digits[number >> 4 & 15], digits[number & 15]};

	aml_byte(t, 0x5b); /* ExtOpPrefix DeviceOp */
	aml_byte(t, 0x82);
	aml_length(t, 10 + 15 + 14);
	aml_byte(t, '\\'); /* RootChar */
	aml_byte(t, 0x2e); /* DualNamePrefix */
	aml_text(t, "_SB_", 4);
	aml_text(t, name, 4);
	aml_byte(t, 0x08);
	aml_text(t, "_HID", 4);
	aml_byte(t, 0x0d); /* StringPrefix */
	aml_text(t, "ACPI0007", 9);
	aml_name_integer(t, "_UID", number);
}

static void build_ssdt(struct acpi_tables *t, const struct acpi_config *config)
{
	uint32_t at = begin(t, "SSDT", 2, HEADER);
	const struct memory_layout *layout = config->layout;
	uint64_t length = layout->pci64_end - layout->pci64_base;

	aml_name_integer(t, "M64B", layout->pci64_base);
	aml_name_integer(t, "M64E", layout->pci64_end - !!length);
	aml_name_integer(t, "M64L", length);
	aml_name_integer(t, "HASC", (unsigned)config->serial[0] | (unsigned)config->serial[1] << 1);
	aml_name_integer(t, "HASK", config->i8042);
	aml_name_integer(t, "HAST", config->hpet);
	for (unsigned number = 0; number < config->cpus; number++)
		aml_processor(t, number);
	end(t, at);
}

struct acpi_tables *acpi_create(const struct acpi_config *config)
{
	struct acpi_tables *t = xcalloc(1, sizeof(*t));

	build_facs(t);
	build_dsdt(t);
	build_fadt(t, config);
	build_madt(t, config);
	build_ssdt(t, config);
	build_mcfg(t);
	if (config->hpet)
		build_hpet(t);
	return t;
}

void acpi_destroy(struct acpi_tables *t)
{
	if (!t)
		return;
	free(t->blob);
	free(t);
}

void acpi_add(struct acpi_tables *t, const void *table, size_t size)
{
	uint32_t at = grow(t, size, ALIGN);

	memcpy(t->blob + at, table, size);
	put(t, at + 4, 4, size);
	list(t, at);
}

/* "Root System Description Table (RSDT)", XSDT and RSDP: last, because they list the others. Works on a copy. */
static struct acpi_tables *finish(const struct acpi_tables *from)
{
	struct acpi_tables *t = xcalloc(1, sizeof(*t));

	*t = *from;
	t->blob = xcalloc(1, from->size);
	memcpy(t->blob, from->blob, from->size);
	t->rsdt = begin(t, "RSDT", 1, HEADER + 4 * t->tables);
	t->xsdt = begin(t, "XSDT", 1, HEADER + 8 * t->tables);
	for (unsigned i = 0; i < t->tables; i++) {
		put_pointer(t, false, t->rsdt + HEADER + 4 * i, 4, t->table[i]);
		put_pointer(t, false, t->xsdt + HEADER + 8 * i, 8, t->table[i]);
	}
	memcpy(t->rsdp, "RSD PTR ", 8);
	memcpy(t->rsdp + 9, "SOFTVT", 6);
	t->rsdp[15] = 2;
	store_le(t->rsdp + 20, 4, RSDP_SIZE);
	put_pointer(t, true, 16, 4, t->rsdt);
	put_pointer(t, true, 24, 8, t->xsdt);
	return t;
}

pa_t acpi_place(const struct acpi_tables *tables, struct bus *bus, pa_t base)
{
	struct acpi_tables *t = finish(tables);
	pa_t blob = (base + RSDP_SIZE + ALIGN - 1) & ~(pa_t)(ALIGN - 1), end = blob + t->size;

	for (unsigned i = 0; i < t->pointers; i++) {
		const struct pointer *p = &t->pointer[i];
		uint8_t *field = (p->in_rsdp ? t->rsdp : t->blob) + p->offset;

		store_le(field, p->size, load_le(field, p->size) + blob);
	}
	for (unsigned i = 0; i < t->tables; i++)
		sum_table(t->blob + t->table[i]);
	sum_table(t->blob + t->dsdt);
	sum_table(t->blob + t->rsdt);
	sum_table(t->blob + t->xsdt);
	t->rsdp[8] = checksum(t->rsdp, RSDP_V1_SIZE);
	t->rsdp[32] = checksum(t->rsdp, RSDP_SIZE);
	bus_write_bytes(bus, base, t->rsdp, RSDP_SIZE);
	bus_write_bytes(bus, blob, t->blob, t->size);
	acpi_destroy(t);
	return end;
}

/* The table-loader script: "COMMAND_ALLOCATE" and so on, 128 bytes each. */
enum { COMMAND = 128, ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3, NAME = 56, ZONE_HIGH = 1, ZONE_FSEG = 2 };
static const char tables_name[] = "etc/acpi/tables", rsdp_name[] = "etc/acpi/rsdp";

struct script {
	uint8_t *bytes;
	size_t size;
};

static uint8_t *command(struct script *s, unsigned code, const char *file)
{
	uint8_t *c;

	s->bytes = xrealloc(s->bytes, s->size + COMMAND);
	c = s->bytes + s->size;
	s->size += COMMAND;
	memset(c, 0, COMMAND);
	store_le(c, 4, code);
	strncpy((char *)c + 4, file, NAME - 1);
	return c;
}

static void allocate(struct script *s, const char *file, unsigned alignment, unsigned zone)
{
	uint8_t *c = command(s, ALLOCATE, file);

	store_le(c + 4 + NAME, 4, alignment);
	c[8 + NAME] = (uint8_t)zone;
}

static void add_checksum(struct script *s, const char *file, uint32_t offset, uint32_t start, uint32_t length)
{
	uint8_t *c = command(s, ADD_CHECKSUM, file);

	store_le(c + 4 + NAME, 4, offset);
	store_le(c + 8 + NAME, 4, start);
	store_le(c + 12 + NAME, 4, length);
}

static void checksum_table(struct script *s, const struct acpi_tables *t, uint32_t at)
{
	t->blob[at + CHECKSUM] = 0;
	add_checksum(s, tables_name, at + CHECKSUM, at, table_length(t, at));
}

void acpi_offer(const struct acpi_tables *tables, struct fw_cfg *fw)
{
	struct acpi_tables *t = finish(tables);
	struct script s = {0};
	bool ok;

	allocate(&s, rsdp_name, 16, ZONE_FSEG);
	allocate(&s, tables_name, ALIGN, ZONE_HIGH);
	for (unsigned i = 0; i < t->pointers; i++) {
		const struct pointer *p = &t->pointer[i];
		uint8_t *c = command(&s, ADD_POINTER, p->in_rsdp ? rsdp_name : tables_name);

		strcpy((char *)c + 4 + NAME, tables_name);
		store_le(c + 4 + 2 * NAME, 4, p->offset);
		c[8 + 2 * NAME] = p->size;
	}
	for (unsigned i = 0; i < t->tables; i++)
		checksum_table(&s, t, t->table[i]);
	checksum_table(&s, t, t->dsdt);
	checksum_table(&s, t, t->rsdt);
	checksum_table(&s, t, t->xsdt);
	add_checksum(&s, rsdp_name, 8, 0, RSDP_V1_SIZE);
	add_checksum(&s, rsdp_name, 32, 0, RSDP_SIZE);
	ok = fw_cfg_add_file(fw, rsdp_name, t->rsdp, RSDP_SIZE) && fw_cfg_add_file(fw, tables_name, t->blob, t->size) &&
	     fw_cfg_add_file(fw, "etc/table-loader", s.bytes, s.size);
	assert(ok); /* the board's own files come before the user's */
	free(s.bytes);
	acpi_destroy(t);
}
