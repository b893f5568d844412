/*
 * The ACPI tables of the virtual platform, where a BIOS would leave them: ACPI Specification 3.0, "ACPI Software Programming Model". The structures
 * are named as its sections are, and their members as its tables' fields.
 */
#include "dsdt.h"
#include "guest/load.h"
#include "lib/string.h"

enum { LOCAL_APIC_ADDRESS = 0xfee00000, SCI_LINE = 9 };

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes, which are all that revision 0 had */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_address;
	uint32_t length;
	uint64_t xsdt_address;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;
enum { RSDP_REVISION_0 = 20 };

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* "Generic Address Structure", in I/O space. */
struct gas {
	uint8_t address_space_id, register_bit_width, register_bit_offset, access_size;
	uint64_t address;
} PACKED;
enum { GAS_IO = 1 };

struct fadt {
	struct header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd; /* 0: there is no other mode than ACPI's */
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value, reserved2[3];
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
} PACKED;
enum { WBINVD = 1 << 0, PROC_C1 = 1 << 2, PWR_BUTTON = 1 << 4, SLP_BUTTON = 1 << 5, FIX_RTC = 1 << 6, RESET_REG_SUP = 1 << 10 };
enum { LEGACY_DEVICES = 1 << 0, VGA_NOT_PRESENT = 1 << 2 };
enum { NO_C2 = 101, NO_C3 = 1001 }; /* latencies that mean so */

struct facs {
	char signature[4];
	uint32_t length;
	uint8_t rest[56]; /* for sleep states that are not offered */
} PACKED;

struct madt {
	struct header header;
	uint32_t local_apic_address, flags;
	struct { /* "I/O APIC Structure" */
		uint8_t type, length, id, reserved;
		uint32_t address, global_system_interrupt_base;
	} PACKED io_apic;
	struct { /* "Interrupt Source Override Structure" */
		uint8_t type, length, bus, source;
		uint32_t global_system_interrupt;
		uint16_t flags;
	} PACKED overrides[2];
	struct { /* "Processor Local APIC Structure" */
		uint8_t type, length, acpi_processor_id, apic_id;
		uint32_t flags;
	} PACKED local_apics[VCPUS_MAX];
} PACKED;
enum { PCAT_COMPAT = 1, ENABLED = 1 };
enum { TYPE_LOCAL_APIC = 0, TYPE_IO_APIC = 1, TYPE_OVERRIDE = 2 };
enum { AS_THE_BUS = 0, ACTIVE_HIGH_LEVEL = 0xd };

/* All of them, from RSDP_ADDRESS on. */
struct tables {
	struct rsdp rsdp;
	struct facs facs ALIGNED(64);
	struct {
		struct header header;
		uint32_t tables[2];
	} PACKED rsdt ALIGNED(8);
	struct {
		struct header header;
		uint64_t tables[2];
	} PACKED xsdt ALIGNED(8);
	struct fadt fadt ALIGNED(8);
	struct madt madt ALIGNED(8);
	uint8_t dsdt[sizeof(dsdt_aml)] ALIGNED(8);
};
#define ADDRESS(table) (uint32_t)(RSDP_ADDRESS + offsetof(struct tables, table))

static uint8_t checksum(const void *from, size_t size)
{
	const uint8_t *bytes = from;
	uint8_t sum = 0;

	while (size--)
		sum += *bytes++;
	return (uint8_t)-sum;
}

/* The header of a table of length bytes, whose other members have been set. */
static void finish(struct header *header, const char *signature, uint8_t revision, size_t length)
{
	memcpy(header->signature, signature, 4);
	header->length = (uint32_t)length;
	header->revision = revision;
	memcpy(header->oem_id, "SOFTVT", 6);
	memcpy(header->oem_table_id, "SOFTVMM ", 8);
	header->oem_revision = 1;
	memcpy(header->creator_id, "SVT ", 4);
	header->creator_revision = 1;
	header->checksum = checksum(header, length);
}

static struct gas io(uint16_t port, unsigned bits, unsigned access_bytes)
{
	return (struct gas){GAS_IO, (uint8_t)bits, 0, (uint8_t)(access_bytes == 4 ? 3 : access_bytes), port};
}

static void make_fadt(struct fadt *fadt)
{
	*fadt = (struct fadt){
		.firmware_ctrl = ADDRESS(facs),
		.dsdt = ADDRESS(dsdt),
		.sci_int = SCI_LINE,
		.pm1a_evt_blk = PM_EVENT,
		.pm1a_cnt_blk = PM_CONTROL,
		.pm_tmr_blk = PM_TIMER,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.p_lvl2_lat = NO_C2,
		.p_lvl3_lat = NO_C3,
		.century = RTC_CENTURY,
		.iapc_boot_arch = LEGACY_DEVICES | VGA_NOT_PRESENT, /* and no 8042 */
		/* Of the buttons and the RTC's wake-up, none is in the fixed registers. */
		.flags = WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC | RESET_REG_SUP,
		.reset_reg = io(PM_RESET, 8, 1),
		.reset_value = PM_RESET_VALUE,
		.x_dsdt = ADDRESS(dsdt),
		.x_pm1a_evt_blk = io(PM_EVENT, 32, 2),
		.x_pm1a_cnt_blk = io(PM_CONTROL, 16, 2),
		.x_pm_tmr_blk = io(PM_TIMER, 32, 4),
	};
	finish(&fadt->header, "FACP", 3, sizeof(*fadt));
}

static void make_madt(struct madt *madt, unsigned cpus)
{
	*madt = (struct madt){
		.local_apic_address = LOCAL_APIC_ADDRESS,
		.flags = PCAT_COMPAT,
		.io_apic = {TYPE_IO_APIC, sizeof(madt->io_apic), 0, 0, IOAPIC_ADDRESS, 0},
		.overrides = {
			{TYPE_OVERRIDE, sizeof(madt->overrides[0]), 0, 0, 2, AS_THE_BUS},
			{TYPE_OVERRIDE, sizeof(madt->overrides[0]), 0, SCI_LINE, SCI_LINE, ACTIVE_HIGH_LEVEL},
		},
	};
	for (unsigned i = 0; i < cpus; i++) {
		madt->local_apics[i].type = TYPE_LOCAL_APIC;
		madt->local_apics[i].length = sizeof(madt->local_apics[i]);
		madt->local_apics[i].acpi_processor_id = (uint8_t)i;
		madt->local_apics[i].apic_id = (uint8_t)i;
		madt->local_apics[i].flags = ENABLED;
	}
	finish(&madt->header, "APIC", 1, offsetof(struct madt, local_apics) + cpus * sizeof(madt->local_apics[0]));
}

void load_acpi(struct vm *vm)
{
	struct tables *t = (struct tables *)(vm->memory + RSDP_ADDRESS);

	memcpy(t->dsdt, dsdt_aml, sizeof(dsdt_aml));
	memcpy(t->facs.signature, "FACS", 4);
	t->facs.length = sizeof(t->facs);
	make_fadt(&t->fadt);
	make_madt(&t->madt, vm->vcpus_count);
	t->rsdt.tables[0] = ADDRESS(fadt);
	t->rsdt.tables[1] = ADDRESS(madt);
	finish(&t->rsdt.header, "RSDT", 1, sizeof(t->rsdt));
	t->xsdt.tables[0] = ADDRESS(fadt);
	t->xsdt.tables[1] = ADDRESS(madt);
	finish(&t->xsdt.header, "XSDT", 1, sizeof(t->xsdt));

	memcpy(t->rsdp.signature, "RSD PTR ", 8);
	memcpy(t->rsdp.oem_id, "SOFTVT", 6);
	t->rsdp.revision = 2;
	t->rsdp.rsdt_address = ADDRESS(rsdt);
	t->rsdp.length = sizeof(t->rsdp);
	t->rsdp.xsdt_address = ADDRESS(xsdt);
	t->rsdp.checksum = checksum(&t->rsdp, RSDP_REVISION_0);
	t->rsdp.extended_checksum = checksum(&t->rsdp, sizeof(t->rsdp));
}
