/*
 * The schematic: which parts there are, and how they are wired. Read from top to bottom, it follows the board from the
 * CPUs to the slots.
 */
#include "machine/board.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cpu/msr.h"
#include "exec/host.h"
#include "exec/pmu.h"
#include "firmware/image.h"
#include "machine/devices.h"
#include "machine/nearest.h"
#include "vmx/vmx.h"

/* The source ID of the I/O APIC's messages: a function that the root bus does not have. */
#define IOAPIC_REQUESTER 0xf0f8

PART_DESTROY(q35)
PART_DESTROY(lpc)
PART_DESTROY(pm)
PART_RESET(pm)
PART_STATE(pm)
PART_DESTROY(pic)
PART_RESET(pic)
PART_STATE(pic)
PART_DESTROY(ioapic)
PART_RESET(ioapic)
PART_STATE(ioapic)
PART_DESTROY(pit)
PART_RESET(pit)
PART_STATE(pit)
PART_DESTROY(rtc)
PART_RESET(rtc)
PART_STATE(rtc)
PART_DESTROY(hpet)
PART_RESET(hpet)
PART_STATE(hpet)
PART_DESTROY(uart)
PART_RESET(uart)
PART_STATE(uart)
PART_DESTROY(i8042)
PART_RESET(i8042)
PART_STATE(i8042)
PART_DESTROY(fw_cfg)
PART_RESET(fw_cfg)
PART_STATE(fw_cfg)
PART_DESTROY(debugcon)
PART_DESTROY(vga)
PART_DESTROY(ahci)

PART_DESTROY(virtio_blk)
PART_RESET(pci)
PART_STATE(pci)

static void ahci_part_stats(void *part, FILE *to)
{
	const struct ahci_counters *c = ahci_counters(part);

	fprintf(to, "AHCI: %llu commands, %llu bytes read, %llu written, %llu errors\n",
		(unsigned long long)c->commands, (unsigned long long)c->bytes_read,
		(unsigned long long)c->bytes_written, (unsigned long long)c->errors);
}

static void virtio_blk_part_stats(void *part, FILE *to)
{
	const struct virtio_blk_counters *c = virtio_blk_counters(part);

	fprintf(to, "virtio-blk: %llu requests, %llu bytes read, %llu written, %llu errors\n",
		(unsigned long long)c->requests, (unsigned long long)c->bytes_read,
		(unsigned long long)c->bytes_written, (unsigned long long)c->errors);
}

static void uart_part_stats(void *part, FILE *to)
{
	const struct uart_counters *c = uart_counters(part);

	fprintf(to, "UART: %llu characters sent, %llu received\n", (unsigned long long)c->sent,
		(unsigned long long)c->received);
}

/* The bridges are PCI functions: reset and saved with their bus. */
static const struct part_ops q35_ops = {"Q35 host bridge", .destroy = q35_part_destroy};
static const struct part_ops lpc_ops = {"ICH9 LPC bridge", .destroy = lpc_part_destroy};
static const struct part_ops pm_ops = {"ICH9 power management", pm_part_destroy, pm_part_reset, pm_part_state, NULL};
static const struct part_ops pic_ops = {"8259A pair", pic_part_destroy, pic_part_reset, pic_part_state, NULL};
static const struct part_ops ioapic_ops = {"I/O APIC", ioapic_part_destroy, ioapic_part_reset, ioapic_part_state, NULL};
static const struct part_ops pit_ops = {"8254", pit_part_destroy, pit_part_reset, pit_part_state, NULL};
static const struct part_ops rtc_ops = {"RTC", rtc_part_destroy, rtc_part_reset, rtc_part_state, NULL};
static const struct part_ops hpet_ops = {"HPET", hpet_part_destroy, hpet_part_reset, hpet_part_state, NULL};
static const struct part_ops uart_ops = {"16550 UART", uart_part_destroy, uart_part_reset, uart_part_state,
					 uart_part_stats};
static const struct part_ops i8042_ops = {"i8042", i8042_part_destroy, i8042_part_reset, i8042_part_state, NULL};
static const struct part_ops fw_cfg_ops = {"fw_cfg", fw_cfg_part_destroy, fw_cfg_part_reset, fw_cfg_part_state, NULL};
static const struct part_ops debugcon_ops = {"debug console", .destroy = debugcon_part_destroy};
static const struct part_ops vga_ops = {"VGA", .destroy = vga_part_destroy};
static const struct part_ops virtio_blk_ops = {"virtio-blk", .destroy = virtio_blk_part_destroy,
					       .stats = virtio_blk_part_stats};
static const struct part_ops ahci_ops = {"AHCI", .destroy = ahci_part_destroy, .stats = ahci_part_stats};
static const struct part_ops pci_ops = {"PCI", .reset = pci_part_reset, .state = pci_part_state};

void part_add(struct machine *m, const struct part_ops *ops, void *part)
{
	m->part[m->parts++] = (struct part){.ops = ops, .part = part};
}

/* ---- CPUs and their local APICs ---- */

static void ram_written(void *ctx, const uint8_t *host, size_t size)
{
	interp_ram_written(ctx, host, size);
}

/* What answers an address has changed: no TLB may know better. */
static void map_changed(void *ctx)
{
	struct machine *m = ctx;

	for (unsigned i = 0; i < m->cpus; i++)
		mem_flush_all(&m->cpu[i]);
}

static void build_cpu(struct machine *m, unsigned number)
{
	struct cpu *cpu = &m->cpu[number];

	cpu->number = number;
	cpu->cpus = m->cpus;
	cpu->topology = m->topology;
	cpu->apic_id = topology_apic_id(&m->topology, number);
	cpu->tick_shift = (uint8_t)m->icount_shift;
	cpu->model = &m->model;
	cpu->msr = m->msr;
	cpu->bus = m->bus;
	cpu->clock = m->clock;
	cpu->log = &m->log;
	cpu->machine = m;
	cpu->acknowledge = apic_acknowledge;
	cpu->event = cpu_said;
	mem_cpu_create(cpu);
	if (model_has(cpu->model, FEATURE_VMX))
		vmx_create(cpu, &m->vmx);
	cpu->apic = apic_create(m->apic_bus, cpu, cpu->apic_id);
	mem_connect_apic(cpu, &apic_page_ops, cpu->apic);
	interp_add_cpu(m->interp, cpu);
}

static bool build_cpus(struct machine *m, const struct machine_config *config, struct error *error)
{
	m->simd = host_simd_create(error);
	if (!m->simd)
		return false;
	m->msr = msr_table_create();
	msr_claim_cpu(m->msr);
	apic_claim_msrs(m->msr);
	vmx_claim_msrs(m->msr);
	pmu_claim_msrs(m->msr);
	m->apic_bus = apic_bus_create(m->clock, &m->log);
	m->interp = interp_create(&m->log);
	m->cpu = aligned_alloc(64, config->cpus * sizeof(*m->cpu));
	if (!m->cpu)
		return error_set(error, "out of memory");
	memset(m->cpu, 0, config->cpus * sizeof(*m->cpu));
	m->cpus = config->cpus;
	m->topology = config->topology.threads ? config->topology : (struct cpu_topology){1, 1, config->cpus, 1};
	for (unsigned i = 0; i < m->cpus; i++)
		build_cpu(m, i);
	bus_on_ram_write(m->bus, ram_written, m->interp);
	bus_on_change(m->bus, map_changed, m);
	return true;
}

/* ---- Chipset: host bridge, LPC bridge, and what is behind it ---- */

static void requested(void *ctx, enum machine_request what)
{
	struct machine *m = ctx;

	switch (what) {
	case REQUEST_RESET: machine_request_reset(m); break;
	case REQUEST_POWER_OFF: machine_request_power_off(m); break;
	case REQUEST_INIT:
		for (unsigned i = 0; i < m->cpus; i++)
			cpu_set_pin(&m->cpu[i], PIN_INIT, true);
		break;
	}
}

/*
 * In a PC, SMI# reaches all processors. Port B2H of QEMU's Q35 interrupts only the one that writes it, unless firmware asks for more by fw_cfg,
 * and SeaBIOS relies on that: it gives an SMM handler to the processor that it runs on, and to no other.
 */
static void smi(void *ctx)
{
	struct machine *m = ctx;

	if (m->running) {
		cpu_set_pin(m->running, PIN_SMI, true);
		return;
	}
	for (unsigned i = 0; i < m->cpus; i++)
		cpu_set_pin(&m->cpu[i], PIN_SMI, true);
}

static void keyboard_reset(void *ctx)
{
	machine_request_reset(ctx);
}

static void keyboard_a20(void *ctx, bool enabled)
{
	struct machine *m = ctx;

	lpc_set_keyboard_a20(m->board->lpc, enabled);
}

/* Port 92H and the keyboard controller meet in the LPC bridge, which drives A20M#. */
static void gate_a20(void *ctx, bool enabled)
{
	struct machine *m = ctx;

	for (unsigned i = 0; i < m->cpus; i++)
		mem_set_a20m(&m->cpu[i], !enabled);
}

void board_ferr(struct machine *m)
{
	lpc_set_ferr(m->board->lpc);
}

struct irq board_irq(struct machine *m, unsigned line)
{
	return (struct irq){.set = line < 16 ? lpc_set_isa : lpc_set_gsi, .listener = m->board->lpc, .line = line};
}

/* What BIOSes keep in CMOS: base and extended memory, memory above 16 MiB and 4 GiB, the number of CPUs. */
static void fill_cmos(struct rtc *rtc, const struct memory_layout *layout, unsigned cpus)
{
	uint64_t above_1m = min_u64((layout->low_ram - min_u64(layout->low_ram, 1 << 20)) >> 10, 0xffff);
	uint64_t above_16m = min_u64((layout->low_ram - min_u64(layout->low_ram, 16 << 20)) >> 16, 0xffff);
	uint64_t above_4g = layout->high_ram >> 16;
	const struct {
		uint8_t index, bytes;
		uint64_t value;
	} words[] = {{0x15, 2, 640},	   {0x17, 2, above_1m}, {0x30, 2, above_1m},
		     {0x34, 2, above_16m}, {0x5b, 3, above_4g}, {0x5f, 1, cpus - 1}};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		for (unsigned byte = 0; byte < words[i].bytes; byte++)
			rtc_set_cmos(rtc, (uint8_t)(words[i].index + byte), (uint8_t)(words[i].value >> 8 * byte));
	}
}

/*
 * Everything that interrupts meets in the LPC bridge, which knows how lines go on to the 8259s and to the I/O APIC;
 * their messages, like those of PCI functions, go to the local APICs.
 */
static void build_chipset(struct machine *m, const struct machine_config *config)
{
	struct board *board = m->board;
	const struct request_hook hook = {.request = requested, .ctx = m};
	const struct lpc_hooks lpc_hooks = {.hook = hook, .a20 = gate_a20, .a20_ctx = m};
	const struct irq intr = {.set = apic_set_lint0, .listener = m->apic_bus};
	struct lpc_parts behind = {0};
	struct pm_wires pm_wires;
	struct irq timer, alarm, keyboard, mouse;

	m->msi = (struct msi_sink){.send = apic_send_msi, .ctx = m->apic_bus};
	m->pci = pci_root_create(m->bus, &m->msi, &m->log);
	part_add(m, &pci_ops, m->pci);
	part_add(m, &q35_ops, q35_create(m->bus, m->pci, &m->log));
	board->lpc = lpc_create(m->bus, m->pci, m->clock, &lpc_hooks, &m->log);
	part_add(m, &lpc_ops, board->lpc);
	timer = board_irq(m, 0);
	alarm = board_irq(m, 8);
	keyboard = board_irq(m, 1);
	mouse = board_irq(m, 12);

	behind.pic = board->pic = pic_create(m->bus, &m->log, &intr);
	part_add(m, &pic_ops, board->pic);
	apic_bus_connect_extint(m->apic_bus, &(struct extint_ops){.acknowledge = pic_acknowledge, .ctx = board->pic});
	behind.ioapic = board->ioapic = ioapic_create(m->bus, &m->msi, IOAPIC_REQUESTER, &m->log);
	part_add(m, &ioapic_ops, board->ioapic);
	apic_bus_on_eoi(m->apic_bus, ioapic_eoi, board->ioapic);

	pm_wires = (struct pm_wires){.sci = {.set = lpc_set_sci, .listener = board->lpc}, .smi_ctx = m, .hook = hook};
	pm_wires.smi = config->smm ? smi : NULL; /* -machine smm=off: SMI# is not connected */
	behind.pm = board->pm = pm_create(m->bus, m->clock, &pm_wires, &m->log);
	part_add(m, &pm_ops, board->pm);
	behind.rtc = rtc_create(m->bus, m->clock, &alarm, config->rtc_base, &m->log);
	part_add(m, &rtc_ops, behind.rtc);
	fill_cmos(behind.rtc, &board->layout, m->cpus);
	if (config->pit) {
		behind.pit = pit_create(m->bus, m->clock, &timer, &m->log);
		part_add(m, &pit_ops, behind.pit);
	}
	lpc_connect(board->lpc, &behind);
	if (config->hpet) {
		const struct hpet_wires wires = {.pin = lpc_set_hpet_pin,
						 .legacy = lpc_set_hpet_legacy,
						 .route = lpc_route_hpet,
						 .ctx = board->lpc};

		part_add(m, &hpet_ops, hpet_create(m->bus, m->clock, &wires, &m->log));
	}
	if (config->i8042) {
		const struct i8042_hooks hooks = {.a20 = keyboard_a20, .reset = keyboard_reset, .ctx = m};

		board->i8042 = i8042_create(m->bus, m->clock, &keyboard, &mouse, &hooks);
		part_add(m, &i8042_ops, board->i8042);
	}
}

/* ---- Serial ports, keyboard, display, debug console ---- */

static void build_serial(struct machine *m, const struct machine_config *config)
{
	static const struct {
		uint16_t port;
		uint8_t line;
	} com[MACHINE_SERIALS] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

	for (unsigned i = 0; i < MACHINE_SERIALS; i++) {
		struct irq irq = board_irq(m, com[i].line);

		if (config->serial[i])
			part_add(m, &uart_ops, uart_create(m->bus, m->clock, com[i].port, &irq, config->serial[i]));
	}
}

/* Firmware images by name: as given, then in the directories of -L, then where Debian's packages put them. */
static char *find_firmware(const struct machine_config *config, const char *name)
{
	static const char *const usual[] = {"/usr/share/seabios", "/usr/share/qemu", "/usr/share/ovmf",
					    "/usr/share/OVMF"};
	unsigned mine = ARRAY_SIZE(config->firmware_path);

	if (access(name, F_OK) == 0)
		return xstrdup(name);
	for (unsigned i = 0; i < mine + ARRAY_SIZE(usual); i++) {
		const char *directory = i < mine ? config->firmware_path[i] : usual[i - mine];
		char *path = directory ? xasprintf("%s/%s", directory, name) : NULL;

		if (path && access(path, F_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

bool board_add_vga(struct machine *m, int slot, struct error *error)
{
	char *rom;

	if (m->board->vga)
		return error_set(error, "there is one graphics card already");
	rom = find_firmware(m->board->config, "vgabios-stdvga.bin");
	m->board->vga = vga_create(m->pci, m->bus, m->clock, (uint8_t)slot, rom, error);
	free(rom);
	if (m->board->vga)
		part_add(m, &vga_ops, m->board->vga);
	return m->board->vga;
}

/* ---- Disks ---- */

static bool build_ahci(struct machine *m, struct error *error)
{
	m->board->ahci = ahci_create(m->pci, m->clock, 0x1f, 2, error);
	if (m->board->ahci)
		part_add(m, &ahci_ops, m->board->ahci);
	return m->board->ahci;
}

static bool open_drives(struct machine *m, const struct machine_config *config, struct error *error)
{
	struct board *board = m->board;

	for (unsigned i = 0; i < config->drives; i++) {
		const struct drive_config *from = &config->drive[i];
		struct drive *drive = &board->drive[i];
		enum block_format format = !from->format		 ? BLOCK_PROBE
					   : strcmp(from->format, "raw") ? BLOCK_QCOW2
									 : BLOCK_RAW;

		drive->file = from->file ? xstrdup(from->file) : NULL;
		drive->id = from->id ? xstrdup(from->id) : NULL;
		drive->cdrom = from->cdrom;
		board->drives++;
		if (!from->file)
			continue;
		drive->block = block_open(from->file, format, from->read_only || from->cdrom, from->snapshot, error);
		if (!drive->block)
			return false;
	}
	return true;
}

struct drive *board_drive(struct machine *m, const char *id, struct error *error)
{
	struct nearest nearest = {.word = id};
	char text[128];

	for (unsigned i = 0; i < m->board->drives; i++) {
		struct drive *drive = &m->board->drive[i];

		if (drive->id && !strcmp(drive->id, id)) {
			if (!drive->where)
				return drive;
			error_set(error, "drive '%s' is in use already", id);
			return NULL;
		}
		if (drive->id)
			nearest_offer(&nearest, drive->id);
	}
	error_set(error, "there is no -drive with id=%s%s", id, nearest_text(&nearest, "", text, sizeof(text)));
	return NULL;
}

/* Unless the user gave it a serial number. */
static void name_drive(struct machine *m, struct drive *drive)
{
	if (!drive->serial)
		drive->serial = xasprintf("SVT%05u", (unsigned)(drive - m->board->drive) + 1);
}

bool board_attach_sata(struct machine *m, struct drive *drive, int port, struct error *error)
{
	struct ahci *ahci = m->board->ahci;

	/* Without a wish a CD goes to the third port, where -cdrom puts it. */
	if (port < 0 && drive->cdrom && !ahci_attached(ahci, 2))
		port = 2;
	if (port < 0) {
		for (port = 0; port < AHCI_PORTS && ahci_attached(ahci, (unsigned)port); port++)
			;
	}
	if (port >= AHCI_PORTS)
		return error_set(error, "the AHCI controller has %d ports", AHCI_PORTS);
	if (ahci_attached(ahci, (unsigned)port))
		return error_set(error, "port ide.%d is in use already", port);
	name_drive(m, drive);
	drive->where = xasprintf("ide.%d", port);
	drive->path = xasprintf("/pci@i0cf8/pci8086,2922@1f,2/drive@%x/disk@0", (unsigned)port);
	ahci_attach(ahci, (unsigned)port, drive->block, drive->cdrom, drive->serial);
	return true;
}

bool board_attach_virtio(struct machine *m, struct drive *drive, int slot, struct error *error)
{
	struct virtio_blk *blk;

	if (!drive->block)
		return error_set(error, "a virtio disk needs an image");
	name_drive(m, drive);
	blk = virtio_blk_create(m->pci, m->clock, (uint8_t)slot, drive->block, drive->serial, error);
	if (!blk)
		return false;
	part_add(m, &virtio_blk_ops, blk);
	drive->where = xasprintf("virtio at 00:%02x.0", (unsigned)slot);
	drive->path = xasprintf("/pci@i0cf8/scsi@%x/disk@0,0", (unsigned)slot);
	return true;
}

int board_slot(struct machine *m, const char *text, struct error *error)
{
	char *end;
	unsigned long slot;
	int free_slot;

	if (!text) {
		free_slot = pci_free_slot(m->pci);
		if (free_slot < 0)
			error_set(error, "no PCI slot is free");
		return free_slot;
	}
	slot = strtoul(text, &end, 16);
	if (end == text || (*end && strcmp(end, ".0")) || slot > 31) {
		error_set(error, "addr=%s: a slot is from 1 to 1f", text);
		return -1;
	}
	return (int)slot;
}

/* Drives that no -device names; disks first where the user gave places. */
static bool attach_drives(struct machine *m, const struct machine_config *config, struct error *error)
{
	for (unsigned i = 0; i < config->drives; i++) {
		const struct drive_config *from = &config->drive[i];
		struct drive *drive = &m->board->drive[i];
		int slot;
		bool good = true;

		if (from->interface == DRIVE_VIRTIO) {
			slot = board_slot(m, NULL, error);
			good = slot >= 0 && board_attach_virtio(m, drive, slot, error);
		} else if (from->interface == DRIVE_SATA) {
			good = board_attach_sata(m, drive, from->index, error);
		}
		if (!good)
			return error_prefix(error, "-drive %s", from->file ? from->file : "(empty)");
	}
	return true;
}

/* ---- What firmware asks for ---- */

/* fw_cfg's "bootorder": Open Firmware paths as SeaBIOS matches them, disks before CDs unless the order says otherwise.
 */
static bool offer_boot_order(struct machine *m, const char *order)
{
	char *list = xstrdup("");
	size_t size;
	bool good;

	for (const char *letter = *order ? order : "cd"; *letter; letter++) {
		for (unsigned i = 0; i < m->board->drives; i++) {
			const struct drive *drive = &m->board->drive[i];
			char *longer;

			if (!drive->path || (*letter != 'c' && *letter != 'd') || drive->cdrom != (*letter == 'd'))
				continue;
			longer = xasprintf("%s%s%s", list, *list ? "\n" : "", drive->path);
			free(list);
			list = longer;
		}
	}
	size = strlen(list) + 1;
	good = size == 1 || fw_cfg_add_file(m->board->fw_cfg, "bootorder", list, size);
	free(list);
	return good;
}

static bool offer_user_files(struct machine *m, const struct machine_config *config, struct error *error)
{
	for (unsigned i = 0; i < config->fw_cfgs; i++) {
		const struct fw_cfg_config *entry = &config->fw_cfg[i];
		struct file file = {0};
		bool good;

		if (entry->file && !file_read(&file, "fw_cfg", entry->file, error))
			return false;
		good = fw_cfg_add_file(m->board->fw_cfg, entry->name,
				       entry->file ? (void *)file.bytes : (void *)entry->string,
				       entry->file ? file.size : strlen(entry->string));
		file_free(&file);
		if (!good)
			return error_set(error, "-fw_cfg %s: there are too many files", entry->name);
	}
	return true;
}

/* What firmware writes to IA32_FEATURE_CONTROL of every CPU, as QEMU tells it: VMX outside SMX, locked. */
static bool offer_feature_control(struct machine *m)
{
	static const uint8_t value[8] = {0x05};

	return !model_has(&m->model, FEATURE_VMX) ||
	       fw_cfg_add_file(m->board->fw_cfg, "etc/msr_feature_control", value, sizeof(value));
}

static bool build_fw_cfg(struct machine *m, const struct machine_config *config, struct error *error)
{
	struct board *board = m->board;
	unsigned last = topology_all(&m->topology) - 1;
	struct acpi_config acpi = {.cpus = m->cpus,
				   .topology = m->topology,
				   .layout = &board->layout,
				   .serial = {config->serial[0], config->serial[1]},
				   .i8042 = config->i8042,
				   .hpet = config->hpet};

	board->fw_cfg = fw_cfg_create(m->bus);
	part_add(m, &fw_cfg_ops, board->fw_cfg);
	/* What QEMU calls the number of CPUs there can be is how far APIC IDs go; firmware relies on that. */
	fw_cfg_add_board(board->fw_cfg, &board->layout, m->cpus, topology_apic_id(&m->topology, last) + 1);
	fw_cfg_add(board->fw_cfg, FW_CFG_UUID, config->uuid, sizeof(config->uuid));
	fw_cfg_add_number(board->fw_cfg, FW_CFG_BOOT_MENU, 2, config->boot_menu);
	board->acpi = acpi_create(&acpi);
	acpi_offer(board->acpi, board->fw_cfg);
	if (!offer_boot_order(m, config->boot_order))
		return error_set(error, "too many drives for fw_cfg");
	if (!offer_feature_control(m))
		return error_set(error, "too many files for fw_cfg");
	if (config->kernel && config->bios &&
	    !fw_cfg_add_kernel(board->fw_cfg, config->kernel, config->initrd, config->append, error))
		return false;
	return offer_user_files(m, config, error);
}

/* Firmware when it is asked for or nothing else could boot; a kernel otherwise. */
static bool build_boot(struct machine *m, const struct machine_config *config, struct error *error)
{
	const char *name = config->bios ? config->bios : "bios-256k.bin";
	char *file;

	if (config->kernel && !config->bios) {
		m->board->kernel = xstrdup(config->kernel);
		m->board->initrd = config->initrd ? xstrdup(config->initrd) : NULL;
		m->board->append = config->append ? xstrdup(config->append) : NULL;
		return true;
	}
	file = find_firmware(config, name);
	if (!file)
		return error_set(
			error, "could not find firmware '%s'%s", name,
			config->bios
				? ""
				: " (SeaBIOS, of Debian's package seabios), which starts a machine without -kernel");
	m->board->rom = load_rom(m->bus, file, error);
	free(file);
	return m->board->rom;
}

/* SDM vol. 3, "Virtual Wire Mode": as firmware leaves the bootstrap processor's APIC, for systems that use the 8259s.
 */
static void set_virtual_wire(struct apic *apic)
{
	apic_write(apic, 0xf0, 0x10f);	/* SVR: enabled, spurious vector 0FH */
	apic_write(apic, 0x350, 0x700); /* LINT0: ExtINT */
	apic_write(apic, 0x360, 0x400); /* LINT1: NMI */
}

bool board_boot(struct machine *m, struct error *error)
{
	const struct board *board = m->board;
	struct boot boot = {.bus = m->bus,
			    .pci = m->pci,
			    .cpu = &m->cpu[0],
			    .layout = &board->layout,
			    .acpi = board->acpi,
			    .kernel = board->kernel,
			    .initrd = board->initrd,
			    .append = board->append};

	if (!board->kernel)
		return true;
	set_virtual_wire(m->cpu[0].apic);
	if (board->vga)
		vga_text_mode(board->vga);
	return boot_direct(&boot, error);
}

/* ---- The whole ---- */

static void quit(void *ctx)
{
	machine_end(ctx, 0);
}

static void take_config(struct machine *m, const struct machine_config *config)
{
	m->log = config->log;
	m->model = config->model;
	m->vmx = config->vmx;
	m->follow_host = config->follow_host;
	m->never_wait = config->never_wait;
	m->icount_shift = config->icount_shift;
	m->no_reboot = config->no_reboot;
	m->no_shutdown = config->no_shutdown;
	m->board->config = config;
	for (unsigned i = 0; i < config->chardevs; i++) {
		m->chardev[m->chardevs++] = config->chardev[i];
		chardev_on_quit(config->chardev[i], quit, m);
	}
}

static vtime_t time_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (vtime_t)now.tv_sec * NS_PER_SECOND + (vtime_t)now.tv_nsec;
}

static bool build(struct machine *m, const struct machine_config *config, struct error *error)
{
	int slot;

	/* RAM first: the host bridge maps it, and the CPUs cache what it holds. */
	memory_layout(config->ram_size, config->model.physical_bits, &m->board->layout);
	if (!bus_create_ram(m->bus, config->ram_size, error) || !build_cpus(m, config, error))
		return false;
	build_chipset(m, config);
	if (!build_ahci(m, error))
		return false;
	build_serial(m, config);
	if (config->debugcon)
		part_add(m, &debugcon_ops, debugcon_create(m->bus, 0xe9, 0xe9, config->debugcon));
	if (config->vga) {
		slot = board_slot(m, NULL, error);
		if (slot < 0 || !board_add_vga(m, slot, error))
			return false;
	}
	if (!open_drives(m, config, error) || !attach_drives(m, config, error))
		return false;
	for (unsigned i = 0; i < config->devices; i++) {
		if (!devices_add(m, config->device[i], error))
			return false;
	}
	return build_fw_cfg(m, config, error) && build_boot(m, config, error);
}

struct machine *machine_create(const struct machine_config *config, struct error *error)
{
	struct machine *m = xcalloc(1, sizeof(*m));

	m->board = xcalloc(1, sizeof(*m->board));
	m->host_begin = time_of(CLOCK_MONOTONIC);
	m->cpu_begin = time_of(CLOCK_PROCESS_CPUTIME_ID);
	take_config(m, config);
	m->clock = clock_create();
	clock_connect(m->clock,
		      &(struct clock_ops){.elapsed = run_clock_elapsed, .sooner = run_clock_sooner, .ctx = m});
	m->bus = bus_create(&m->log);
	if (!build(m, config, error) || !power_on(m, error)) {
		machine_destroy(m);
		return NULL;
	}
	m->board->config = NULL;
	return m;
}

static void destroy_board(struct board *board)
{
	for (unsigned i = 0; i < board->drives; i++) {
		struct drive *drive = &board->drive[i];

		block_close(drive->block);
		free(drive->file);
		free(drive->id);
		free(drive->serial);
		free(drive->where);
		free(drive->path);
	}
	rom_free(board->rom);
	if (board->acpi)
		acpi_destroy(board->acpi);
	free(board->kernel);
	free(board->initrd);
	free(board->append);
	free(board);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	if (m->pci)
		pci_root_destroy(m->pci); /* while its functions are there: it frees what it gave them */
	for (unsigned i = m->parts; i-- > 0;) {
		if (m->part[i].ops->destroy)
			m->part[i].ops->destroy(m->part[i].part);
	}
	for (unsigned i = 0; i < m->cpus; i++) {
		if (m->cpu[i].vmx)
			vmx_destroy(&m->cpu[i]);
		if (m->cpu[i].apic)
			apic_destroy(m->cpu[i].apic);
		if (m->cpu[i].mem)
			mem_cpu_destroy(&m->cpu[i]);
	}
	free(m->cpu);
	if (m->interp)
		interp_destroy(m->interp);
	if (m->apic_bus)
		apic_bus_destroy(m->apic_bus);
	if (m->msr)
		msr_table_destroy(m->msr);
	if (m->simd)
		host_simd_destroy(m->simd);
	destroy_board(m->board);
	bus_destroy(m->bus);
	clock_destroy(m->clock);
	for (unsigned i = 0; i < m->chardevs; i++)
		chardev_on_quit(m->chardev[i], NULL, NULL);
	free(m);
}
