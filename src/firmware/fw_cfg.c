/*
 * fw_cfg. "QEMU Firmware Configuration (fw_cfg) Device": selector and data ports, DMA, directory.
 */
#include "firmware/fw_cfg.h"

#include "base/bits.h"
#include "firmware/firmware.h"
#include "firmware/image.h"
#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_FILE = 0x20, MAX_FILES = 96, NAME = 56, ITEMS = 160 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

struct item {
	uint16_t key;
	uint8_t *bytes;
	size_t size;
	char name[NAME]; /* empty: not a file */
};

struct fw_cfg {
	struct bus *bus;
	struct item item[ITEMS];
	unsigned items, files;
	uint16_t selected;
	uint32_t offset;
	uint32_t dma_high;
};

static struct item *find(struct fw_cfg *fw, uint16_t key)
{
	for (unsigned i = 0; i < fw->items; i++) {
		if (fw->item[i].key == key)
			return &fw->item[i];
	}
	return NULL;
}

static struct item *set(struct fw_cfg *fw, uint16_t key, const void *bytes, size_t size)
{
	struct item *item = find(fw, key);

	if (!item && fw->items == ITEMS)
		return NULL;
	if (!item) {
		item = &fw->item[fw->items++];
		item->key = key;
	}
	free(item->bytes);
	item->bytes = xcalloc(1, size ? size : 1);
	memcpy(item->bytes, bytes, size);
	item->size = size;
	return item;
}

void fw_cfg_add(struct fw_cfg *fw, uint16_t key, const void *bytes, size_t size)
{
	set(fw, key, bytes, size);
}

void fw_cfg_add_number(struct fw_cfg *fw, uint16_t key, unsigned size, uint64_t value)
{
	set(fw, key, &value, size);
}

/* The directory is a blob as well, big-endian: renewed with each file. */
static void renew_directory(struct fw_cfg *fw)
{
	uint8_t directory[4 + MAX_FILES * (8 + NAME)] = {0}, *entry = directory + 4;

	store_le(directory, 4, htobe32(fw->files));
	for (unsigned i = 0; i < fw->items; i++) {
		if (!fw->item[i].name[0])
			continue;
		store_le(entry, 4, htobe32((uint32_t)fw->item[i].size));
		store_le(entry + 4, 2, htobe16(fw->item[i].key));
		memcpy(entry + 8, fw->item[i].name, NAME);
		entry += 8 + NAME;
	}
	set(fw, FW_CFG_DIRECTORY, directory, (size_t)(entry - directory));
}

bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *bytes, size_t size)
{
	uint16_t key = (uint16_t)(FIRST_FILE + fw->files);
	struct item *item;

	if (!*name || strlen(name) >= NAME)
		return false;
	for (unsigned i = 0; i < fw->items; i++) {
		if (!strcmp(fw->item[i].name, name))
			key = fw->item[i].key;
	}
	if (key == FIRST_FILE + fw->files && fw->files == MAX_FILES)
		return false;
	item = set(fw, key, bytes, size);
	if (!item)
		return false;
	fw->files += !item->name[0];
	strcpy(item->name, name);
	renew_directory(fw);
	return true;
}

/* One byte at the read pointer; beyond the end, and for an unknown key, zeros. */
static uint8_t next_byte(struct fw_cfg *fw)
{
	const struct item *item = find(fw, fw->selected);

	if (!item || fw->offset >= item->size)
		return 0;
	return item->bytes[fw->offset++];
}

static void select_key(struct fw_cfg *fw, uint16_t key)
{
	fw->selected = key;
	fw->offset = 0;
}

/* "Guest-side DMA Interface". The descriptor and what it points to are the guest's: any address, any length. */
static void run_dma(struct fw_cfg *fw, pa_t descriptor)
{
	uint8_t bytes[16], chunk[4096];
	uint32_t control, length;
	pa_t address;
	const struct item *item;

	bus_read_bytes(fw->bus, descriptor, bytes, sizeof(bytes));
	control = be32toh((uint32_t)load_le(bytes, 4));
	length = be32toh((uint32_t)load_le(bytes + 4, 4));
	address = be64toh(load_le(bytes + 8, 8));
	if (control & DMA_SELECT)
		select_key(fw, (uint16_t)(control >> 16));
	item = find(fw, fw->selected);
	/* What lies beyond the item reads as zeros; a request for gigabytes of them is cut at the size of memory. */
	if (length > bus_ram_size(fw->bus))
		length = (uint32_t)bus_ram_size(fw->bus);
	if (control & DMA_READ) {
		while (length) {
			size_t part = length < sizeof(chunk) ? length : sizeof(chunk), have = 0;

			if (item && fw->offset < item->size) {
				have = item->size - fw->offset < part ? item->size - fw->offset : part;
				memcpy(chunk, item->bytes + fw->offset, have);
				fw->offset += (uint32_t)have;
			}
			memset(chunk + have, 0, part - have);
			bus_write_bytes(fw->bus, address, chunk, part);
			address += part;
			length -= (uint32_t)part;
		}
		control = 0;
	} else if (control & DMA_WRITE) {
		control = DMA_ERROR; /* nothing here is writable */
	} else if (control & DMA_SKIP) {
		if (item && fw->offset < item->size)
			fw->offset += (uint32_t)min_u64(length, item->size - fw->offset);
		control = 0;
	} else {
		control = 0;
	}
	store_le(bytes, 4, htobe32(control));
	bus_write_bytes(fw->bus, descriptor, bytes, 4);
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct fw_cfg *fw = device;

	return offset == 1 && size == 1 ? next_byte(fw) : 0;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == 0 && size == 2)
		select_key(device, (uint16_t)value);
}

/* The address register is big-endian: its first port is the high half; writing the low half starts the transfer. */
static uint64_t dma_port_read(void *device, uint64_t offset, unsigned size)
{
	static const char signature[] = "QEMU CFG";

	return load_le(signature + offset, offset + size <= 8 ? size : 1);
}

static void dma_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct fw_cfg *fw = device;

	if (size != 4)
		return;
	if (offset == 0) {
		fw->dma_high = be32toh((uint32_t)value);
	} else if (offset == 4) {
		pa_t descriptor = (pa_t)fw->dma_high << 32 | be32toh((uint32_t)value);

		fw->dma_high = 0;
		run_dma(fw, descriptor);
	}
}

static const struct device_ops port_ops = {.read = port_read, .write = port_write, .max_size = 2};
static const struct device_ops dma_ops = {.read = dma_port_read, .write = dma_port_write};

struct fw_cfg *fw_cfg_create(struct bus *bus)
{
	struct fw_cfg *fw = xcalloc(1, sizeof(*fw));

	fw->bus = bus;
	fw_cfg_add(fw, FW_CFG_SIGNATURE, "QEMU", 4);
	fw_cfg_add_number(fw, FW_CFG_ID, 4, 3); /* ports and DMA */
	renew_directory(fw);
	bus_add_ports(bus, "fw_cfg", 0x510, 2, &port_ops, fw);
	bus_add_ports(bus, "fw_cfg-dma", 0x514, 8, &dma_ops, fw);
	return fw;
}

void fw_cfg_destroy(struct fw_cfg *fw)
{
	if (!fw)
		return;
	for (unsigned i = 0; i < fw->items; i++)
		free(fw->item[i].bytes);
	free(fw);
}

void fw_cfg_reset(struct fw_cfg *fw)
{
	select_key(fw, 0);
	fw->dma_high = 0;
}

void fw_cfg_state(struct fw_cfg *fw, struct state *state)
{
	/* The blobs come from the options, which a restored machine shares. */
	state_section(state, "fw_cfg");
	state_var(state, fw->selected);
	state_var(state, fw->offset);
	state_var(state, fw->dma_high);
}

void fw_cfg_add_board(struct fw_cfg *fw, const struct memory_layout *layout, unsigned cpus, unsigned max_cpus)
{
	static const uint8_t system_states[6] = {0}; /* sleep states S3 and S4 are not offered */
	struct e820_entry map[ARRAY_SIZE(layout->map)];
	uint64_t above_ram = layout->pci64_base;
	unsigned entries = 0;
	bool ok;

	fw_cfg_add_number(fw, FW_CFG_RAM_SIZE, 8, layout->low_ram + layout->high_ram);
	fw_cfg_add_number(fw, FW_CFG_NOGRAPHIC, 2, 0);
	fw_cfg_add_number(fw, FW_CFG_CPUS, 2, cpus);
	fw_cfg_add_number(fw, FW_CFG_MAX_CPUS, 2, max_cpus);
	fw_cfg_add_number(fw, FW_CFG_BOOT_MENU, 2, 0);
	fw_cfg_add_number(fw, FW_CFG_IRQ0_OVERRIDE, 1, 1);
	/* Firmware divides the first mebibyte itself: it is told of RAM as a whole. */
	map[entries++] = (struct e820_entry){0, layout->low_ram, E820_RAM};
	if (layout->high_ram)
		map[entries++] = (struct e820_entry){UINT64_C(4) << 30, layout->high_ram, E820_RAM};
	ok = fw_cfg_add_file(fw, "etc/e820", map, entries * sizeof(map[0])) &&
	     fw_cfg_add_file(fw, "etc/system-states", system_states, sizeof(system_states)) &&
	     (!above_ram || fw_cfg_add_file(fw, "etc/reserved-memory-end", &above_ram, sizeof(above_ram)));
	(void)ok; /* there is always room for the first few */
}

bool fw_cfg_add_kernel(struct fw_cfg *fw, const char *kernel, const char *initrd, const char *append,
		       struct error *error)
{
	struct file file;
	size_t setup;

	if (!file_read(&file, "kernel", kernel, error))
		return false;
	if (file.size < 0x250 || memcmp(file.bytes + 0x202, "HdrS", 4)) {
		file_free(&file);
		return error_set(error, "firmware can only start a Linux bzImage, and '%s' is none", kernel);
	}
	setup = (file.bytes[0x1f1] ? file.bytes[0x1f1] + 1u : 5u) * 512;
	if (setup > file.size)
		setup = file.size;
	fw_cfg_add_number(fw, FW_CFG_SETUP_SIZE, 4, setup);
	fw_cfg_add(fw, FW_CFG_SETUP_DATA, file.bytes, setup);
	fw_cfg_add_number(fw, FW_CFG_KERNEL_SIZE, 4, file.size - setup);
	fw_cfg_add(fw, FW_CFG_KERNEL_DATA, file.bytes + setup, file.size - setup);
	file_free(&file);
	if (initrd) {
		if (!file_read(&file, "initrd", initrd, error))
			return false;
		fw_cfg_add_number(fw, FW_CFG_INITRD_SIZE, 4, file.size);
		fw_cfg_add(fw, FW_CFG_INITRD_DATA, file.bytes, file.size);
		file_free(&file);
	}
	if (!append)
		append = "";
	fw_cfg_add_number(fw, FW_CFG_CMDLINE_SIZE, 4, strlen(append) + 1);
	fw_cfg_add(fw, FW_CFG_CMDLINE_DATA, append, strlen(append) + 1);
	return true;
}
