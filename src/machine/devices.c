/*
 * The devices that -device can add: one row each, and the function that makes it from its properties.
 */
#include "machine/devices.h"

#include <stdlib.h>
#include <string.h>

#include "machine/board.h"
#include "machine/keyvals.h"
#include "machine/nearest.h"
#include "testdev/testdev.h"

struct device_row {
	const char *name, *what;
	const char *properties; /* lines "KEY  what it means" */
	bool (*add)(struct machine *m, struct keyvals *kv, struct error *error);
};

PART_DESTROY(debug_exit)
PART_DESTROY(debugcon)
PART_DESTROY(pc_testdev)
PART_STATE(pc_testdev)
PART_DESTROY(pci_testdev)
PART_DESTROY(edu)

static const struct part_ops debug_exit_ops = {"isa-debug-exit", .destroy = debug_exit_part_destroy};
static const struct part_ops debugcon_ops = {"isa-debugcon", .destroy = debugcon_part_destroy};
static const struct part_ops pc_testdev_ops = {"pc-testdev", .destroy = pc_testdev_part_destroy,
					       .state = pc_testdev_part_state};
static const struct part_ops pci_testdev_ops = {"pci-testdev", .destroy = pci_testdev_part_destroy};
static const struct part_ops edu_ops = {"edu", .destroy = edu_part_destroy};

static void debug_exit_written(void *ctx, unsigned status)
{
	machine_end(ctx, (int)(status & 0xff));
}

static bool take_port(struct keyvals *kv, uint64_t *port, struct error *error)
{
	if (!keyvals_number(kv, "iobase", port, error))
		return false;
	return *port < 0x10000 || error_set(error, "iobase=%#llx: ports end at 0xffff", (unsigned long long)*port);
}

static bool add_debug_exit(struct machine *m, struct keyvals *kv, struct error *error)
{
	uint64_t port = 0x501, size = 2;

	if (!take_port(kv, &port, error) || !keyvals_number(kv, "iosize", &size, error))
		return false;
	if (size != 1 && size != 2 && size != 4)
		return error_set(error, "iosize=%llu: it is 1, 2 or 4", (unsigned long long)size);
	part_add(m, &debug_exit_ops, debug_exit_create(m->bus, (uint16_t)port, (unsigned)size, debug_exit_written, m));
	return true;
}

static bool add_debugcon(struct machine *m, struct keyvals *kv, struct error *error)
{
	const struct machine_config *config = m->board->config;
	const char *id = keyvals_get(kv, "chardev");
	uint64_t port = 0xe9, readback = 0xe9;
	struct nearest nearest = {.word = id ? id : ""};
	struct chardev *chardev = NULL;
	char text[128];

	if (!take_port(kv, &port, error) || !keyvals_number(kv, "readback", &readback, error))
		return false;
	if (!id)
		return error_set(error, "chardev=ID is missing");
	for (unsigned i = 0; i < config->chardevs; i++) {
		if (config->chardev_id[i] && !strcmp(config->chardev_id[i], id))
			chardev = config->chardev[i];
		else if (config->chardev_id[i])
			nearest_offer(&nearest, config->chardev_id[i]);
	}
	if (!chardev)
		return error_set(error, "there is no -chardev with id=%s%s", id,
				 nearest_text(&nearest, "", text, sizeof(text)));
	part_add(m, &debugcon_ops, debugcon_create(m->bus, (uint16_t)port, (uint8_t)readback, chardev));
	return true;
}

static bool add_pc_testdev(struct machine *m, struct keyvals *kv, struct error *error)
{
	struct irq irq[24];

	for (unsigned line = 0; line < 24; line++)
		irq[line] = board_irq(m, line);
	part_add(m, &pc_testdev_ops, pc_testdev_create(m->bus, irq));
	return true;
}

static bool add_pci_testdev(struct machine *m, struct keyvals *kv, struct error *error)
{
	int slot = board_slot(m, keyvals_get(kv, "addr"), error);
	struct pci_testdev *device = slot < 0 ? NULL : pci_testdev_create(m->pci, (uint8_t)slot, error);

	if (device)
		part_add(m, &pci_testdev_ops, device);
	return device;
}

static bool add_edu(struct machine *m, struct keyvals *kv, struct error *error)
{
	int slot = board_slot(m, keyvals_get(kv, "addr"), error);
	uint64_t mask = 0;
	struct edu *device;

	if (slot < 0 || !keyvals_number(kv, "dma_mask", &mask, error))
		return false;
	device = edu_create(m->pci, m->clock, (uint8_t)slot, mask, error);
	if (device)
		part_add(m, &edu_ops, device);
	return device;
}

#define SERIAL_MOST 20 /* IDENTIFY DEVICE, and VIRTIO_BLK_T_GET_ID */

/* serial=: what a guest finds the disk by. */
static bool take_serial(struct keyvals *kv, struct drive *drive, struct error *error)
{
	const char *serial = keyvals_get(kv, "serial");

	if (serial && strlen(serial) > SERIAL_MOST)
		return error_set(error, "serial=%s: a serial number has at most %d characters", serial, SERIAL_MOST);
	if (serial)
		drive->serial = xstrdup(serial);
	return true;
}

static bool add_disk(struct machine *m, struct keyvals *kv, bool cdrom, struct error *error)
{
	const char *id = keyvals_get(kv, "drive"), *bus = keyvals_get(kv, "bus");
	struct drive *drive;
	uint64_t port = UINT64_MAX;

	keyvals_get(kv, "unit");
	keyvals_get(kv, "bootindex");
	if (bus && (strncmp(bus, "ide.", 4) || !parse_number(bus + 4, &port)))
		return error_set(error, "bus=%s: the ports are ide.0 to ide.%d", bus, AHCI_PORTS - 1);
	drive = id ? board_drive(m, id, error) : NULL;
	if (!drive)
		return id ? false : error_set(error, "drive=ID is missing");
	drive->cdrom |= cdrom;
	return take_serial(kv, drive, error) &&
	       board_attach_sata(m, drive, port == UINT64_MAX ? -1 : (int)min_u64(port, AHCI_PORTS), error);
}

static bool add_ide_disk(struct machine *m, struct keyvals *kv, struct error *error)
{
	return add_disk(m, kv, false, error);
}

static bool add_ide_cd(struct machine *m, struct keyvals *kv, struct error *error)
{
	return add_disk(m, kv, true, error);
}

static bool add_virtio_blk(struct machine *m, struct keyvals *kv, struct error *error)
{
	const char *id = keyvals_get(kv, "drive");
	int slot = board_slot(m, keyvals_get(kv, "addr"), error);
	struct drive *drive;

	keyvals_get(kv, "bootindex");
	keyvals_get(kv, "disable-legacy");
	keyvals_get(kv, "disable-modern");
	drive = id ? board_drive(m, id, error) : NULL;
	if (!drive)
		return id ? false : error_set(error, "drive=ID is missing");
	return slot >= 0 && take_serial(kv, drive, error) && board_attach_virtio(m, drive, slot, error);
}

static bool add_vga(struct machine *m, struct keyvals *kv, struct error *error)
{
	int slot = board_slot(m, keyvals_get(kv, "addr"), error);

	return slot >= 0 && board_add_vga(m, slot, error);
}

#define DRIVE "drive  id of a -drive if=none\nserial  serial number, at most 20 characters\n"
#define ADDR  "addr  SLOT or SLOT.0 on PCI bus 0; by default the lowest that is free\n"

static const struct device_row table[] = {
	{"VGA", "graphics card with the Bochs display interface", ADDR, add_vga},
	{"edu", "PCI device for learners: factorial, interrupts, DMA",
	 ADDR "dma_mask  address bits that its DMA can use\n", add_edu},
	{"ide-cd", "CD drive on the AHCI controller", DRIVE "bus  ide.PORT\n", add_ide_cd},
	{"ide-hd", "disk on the AHCI controller", DRIVE "bus  ide.PORT\n", add_ide_disk},
	{"isa-debug-exit", "a port that ends the machine with status (value << 1) | 1",
	 "iobase  port, by default 0x501\niosize  1, 2 or 4\n", add_debug_exit},
	{"isa-debugcon", "a port whose bytes go to a -chardev",
	 "chardev  id of a -chardev\niobase  port, by default 0xe9\nreadback  what reading gives, by default 0xe9\n",
	 add_debugcon},
	{"pc-testdev", "ports and memory for kvm-unit-tests", "", add_pc_testdev},
	{"pci-testdev", "PCI device for kvm-unit-tests", ADDR, add_pci_testdev},
	{"virtio-blk-pci", "virtio disk", DRIVE ADDR, add_virtio_blk},
};

void devices_list(FILE *to)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		fprintf(to, "name \"%s\", desc \"%s\"\n", table[i].name, table[i].what);
}

static const struct device_row *find(const char *name, struct error *error)
{
	struct nearest nearest = {.word = name};
	char text[128];

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i].name, name))
			return &table[i];
		nearest_offer(&nearest, table[i].name);
	}
	error_set(error, "device '%s' is not modelled%s", name, nearest_text(&nearest, "", text, sizeof(text)));
	return NULL;
}

bool devices_help(const char *name, FILE *to, struct error *error)
{
	const struct device_row *row = find(name, error);

	if (row)
		fprintf(to, "%s: %s\n%s", row->name, row->what, row->properties);
	return row;
}

bool devices_add(struct machine *m, const char *argument, struct error *error)
{
	const struct machine_config *config = m->board->config;
	const struct device_row *row = NULL;
	struct keyvals kv;
	const char *name;
	bool good = keyvals_parse(&kv, argument, "driver", error);

	if (!good)
		return false;
	name = keyvals_get(&kv, "driver");
	keyvals_get(&kv, "id");
	if (name)
		row = find(name, error);
	else
		error_set(error, "the name of a device is missing");
	for (unsigned i = 0; row && i < config->globals; i++) {
		if (!strcmp(config->global[i].driver, row->name))
			keyvals_default(&kv, config->global[i].key, config->global[i].value);
	}
	good = row && row->add(m, &kv, error) && keyvals_end(&kv, row->name, error);
	keyvals_free(&kv);
	return good || error_prefix(error, "-device %s", argument);
}
