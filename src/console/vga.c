/*
 * VGA registers and memory: IBM "VGA Technical Reference", "Registers", "Video Memory Organization"; and the Bochs
 * display interface.
 */
#include "console/vga_private.h"

#include "base/bits.h"
#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LEGACY_BASE = 0xa0000, LEGACY_SIZE = 0x20000, PRIORITY = 10, ROM_MAX = 256 << 10, MMIO_SIZE = 4096 };
enum { MMIO_VGA = 0x400, MMIO_DISPI = 0x500 };
enum { MAX_X = 2560, MAX_Y = 1600, MAX_BPP = 32, DISPI_ID0 = 0xb0c0, DISPI_ID5 = 0xb0c5 };
enum { MISC_COLOR = 1, SR4_CHAIN4 = 8, GR5_ODD_EVEN = 0x10, CR11_PROTECT = 0x80 };

/* Retrace bits of Input Status 1, from a picture of 70 Hz with 449 lines: programs only wait for them to change. */
static uint8_t input_status(const struct vga *v)
{
	vtime_t line = clock_now(v->clock) / 31777, in_line = clock_now(v->clock) % 31777;
	bool vertical = line % 449 >= 412;

	return (uint8_t)((vertical ? 0x08 : 0) | (vertical || line % 449 >= 400 || in_line > 25000 ? 0x01 : 0));
}

static uint8_t dac_read(struct vga *v)
{
	uint8_t value = v->dac[3 * v->dac_read + v->dac_part];

	if (++v->dac_part == 3) {
		v->dac_part = 0;
		v->dac_read++;
	}
	return value;
}

static void dac_write(struct vga *v, uint8_t value)
{
	v->dac_latch[v->dac_part] = v->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC ? value : value & 63;
	if (++v->dac_part == 3) {
		memcpy(v->dac + 3 * v->dac_write++, v->dac_latch, 3);
		v->dac_part = 0;
	}
}

/* Does a port of the CRT controller (3B0H to 3BFH, 3D0H to 3DFH) answer? "Miscellaneous Output Register": one set at a
 * time. */
static bool answers(const struct vga *v, unsigned port)
{
	if (port >= 0x3c0 && port <= 0x3cf)
		return true;
	return (port >= 0x3d0) == (bool)(v->misc & MISC_COLOR);
}

static uint8_t port_in(struct vga *v, unsigned port)
{
	if (!answers(v, port))
		return 0xff;
	switch (port) {
	case 0x3c0: return v->ar_index;
	case 0x3c1: return v->ar[v->ar_index & 31];
	case 0x3c2: return 0x10; /* Input Status 0: monitor sense */
	case 0x3c4: return v->sr_index;
	case 0x3c5: return v->sr[v->sr_index & 7];
	case 0x3c6: return v->dac_mask;
	case 0x3c7: return v->dac_reading ? 3 : 0;
	case 0x3c8: return v->dac_write;
	case 0x3c9: return dac_read(v);
	case 0x3ca: return v->feature;
	case 0x3cc: return v->misc;
	case 0x3ce: return v->gr_index;
	case 0x3cf: return v->gr[v->gr_index & 15];
	case 0x3b4:
	case 0x3d4: return v->cr_index;
	case 0x3b5:
	case 0x3d5: return v->cr[v->cr_index & 31];
	case 0x3ba:
	case 0x3da: v->ar_data = false; return input_status(v);
	default: return 0xff;
	}
}

static void write_crtc(struct vga *v, uint8_t value)
{
	unsigned index = v->cr_index & 31;

	/* Protected: all of 0 to 7 but the line compare bit of the overflow register. */
	if ((v->cr[0x11] & CR11_PROTECT) && index <= 7) {
		if (index == 7)
			v->cr[7] = (v->cr[7] & (uint8_t)~0x10) | (value & 0x10);
		return;
	}
	v->cr[index] = value;
}

static void write_attribute(struct vga *v, uint8_t value)
{
	if (!v->ar_data)
		v->ar_index = value & 63;
	else if ((v->ar_index & 31) < 21)
		v->ar[v->ar_index & 31] = (v->ar_index & 31) < 16 ? value & 63 : value;
	v->ar_data = !v->ar_data;
}

static void port_out(struct vga *v, unsigned port, uint8_t value)
{
	static const uint8_t sr_mask[SEQUENCERS] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
	static const uint8_t gr_mask[GRAPHICS] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

	if (!answers(v, port))
		return;
	switch (port) {
	case 0x3c0: write_attribute(v, value); break;
	case 0x3c2: v->misc = value & 0xef; break;
	case 0x3c4: v->sr_index = value & 7; break;
	case 0x3c5: v->sr[v->sr_index] = value & sr_mask[v->sr_index]; break;
	case 0x3c6: v->dac_mask = value; break;
	case 0x3c7:
		v->dac_read = value;
		v->dac_part = 0;
		v->dac_reading = true;
		break;
	case 0x3c8:
		v->dac_write = value;
		v->dac_part = 0;
		v->dac_reading = false;
		break;
	case 0x3c9: dac_write(v, value); break;
	case 0x3ce: v->gr_index = value & 15; break;
	case 0x3cf: v->gr[v->gr_index] = value & gr_mask[v->gr_index]; break;
	case 0x3b4:
	case 0x3d4: v->cr_index = value & 31; break;
	case 0x3b5:
	case 0x3d5: write_crtc(v, value); break;
	case 0x3ba:
	case 0x3da: v->feature = value & 0x10; break;
	default: break;
	}
}

static uint16_t dispi_read(const struct vga *v)
{
	if (v->dispi_index >= DISPIS)
		return 0;
	if (v->dispi[DISPI_ENABLE] & DISPI_GETCAPS) {
		switch (v->dispi_index) {
		case DISPI_XRES: return MAX_X;
		case DISPI_YRES: return MAX_Y;
		case DISPI_BPP: return MAX_BPP;
		default: break;
		}
	}
	switch (v->dispi_index) {
	case DISPI_VIRT_HEIGHT: {
		uint32_t stride = (uint32_t)v->dispi[DISPI_VIRT_WIDTH] * ((v->dispi[DISPI_BPP] + 7u) / 8);

		return stride ? (uint16_t)min_u64(VGA_MEMORY / stride, UINT16_MAX) : 0;
	}
	case DISPI_MEMORY_64K: return VGA_MEMORY >> 16;
	default: return v->dispi[v->dispi_index];
	}
}

/* Bytes that a mode with the registers as they are would show. */
static uint64_t dispi_size(const struct vga *v, unsigned width, unsigned height)
{
	return (uint64_t)width * height * ((v->dispi[DISPI_BPP] + 7u) / 8);
}

static void dispi_enable(struct vga *v, uint16_t value)
{
	bool on = (value & DISPI_ENABLED) && !(v->dispi[DISPI_ENABLE] & DISPI_ENABLED);

	if (on) {
		uint64_t size = dispi_size(v, v->dispi[DISPI_XRES], v->dispi[DISPI_YRES]);

		if (!size || size > VGA_MEMORY)
			return; /* no such mode */
		v->dispi[DISPI_VIRT_WIDTH] = v->dispi[DISPI_XRES];
		v->dispi[DISPI_X_OFFSET] = v->dispi[DISPI_Y_OFFSET] = v->dispi[DISPI_BANK] = 0;
		if (!(value & DISPI_NOCLEAR))
			memset(v->memory, 0, size);
	}
	v->dispi[DISPI_ENABLE] = value;
}

static void dispi_write(struct vga *v, uint16_t value)
{
	switch (v->dispi_index) {
	case DISPI_ID:
		if (value >= DISPI_ID0 && value <= DISPI_ID5)
			v->dispi[DISPI_ID] = value;
		break;
	case DISPI_XRES:
		if (value <= MAX_X && !(value & 7))
			v->dispi[DISPI_XRES] = value;
		break;
	case DISPI_YRES:
		if (value <= MAX_Y)
			v->dispi[DISPI_YRES] = value;
		break;
	case DISPI_BPP:
		if (value == 0)
			value = 8;
		if (value == 4 || value == 8 || value == 15 || value == 16 || value == 24 || value == 32)
			v->dispi[DISPI_BPP] = value;
		break;
	case DISPI_ENABLE: dispi_enable(v, value); break;
	case DISPI_BANK:
		if (value < VGA_MEMORY >> 16)
			v->dispi[DISPI_BANK] = value;
		break;
	case DISPI_VIRT_WIDTH:
		if (value >= v->dispi[DISPI_XRES] && dispi_size(v, value, v->dispi[DISPI_YRES]) <= VGA_MEMORY)
			v->dispi[DISPI_VIRT_WIDTH] = value;
		break;
	case DISPI_X_OFFSET:
	case DISPI_Y_OFFSET: v->dispi[v->dispi_index] = value; break;
	default: break;
	}
}

/* Offset in the planar memory's window of an address from A0000H, or -1: "Graphics Controller: Miscellaneous Register".
 */
static int64_t window(const struct vga *v, uint64_t offset)
{
	switch (v->gr[6] >> 2 & 3) {
	case 0: return (int64_t)offset;
	case 1: return offset < 0x10000 ? (int64_t)offset : -1;
	case 2: return offset >= 0x10000 && offset < 0x18000 ? (int64_t)offset - 0x10000 : -1;
	default: return offset >= 0x18000 ? (int64_t)offset - 0x18000 : -1;
	}
}

/* In DISPI modes 64 KiB at A0000H show one bank. */
static bool banked(const struct vga *v, uint64_t offset, uint64_t *at)
{
	*at = (uint64_t)v->dispi[DISPI_BANK] << 16 | offset;
	return (v->dispi[DISPI_ENABLE] & DISPI_ENABLED) && offset < 0x10000;
}

static uint8_t read_planar(struct vga *v, uint64_t at)
{
	const uint8_t *planes = v->memory + (4 * at & (VGA_PLANAR - 1));
	uint8_t same = 0xff;

	memcpy(v->latch, planes, 4);
	if (!(v->gr[5] & 8))
		return planes[v->gr[4] & 3];
	/* Read mode 1: ones where all planes that matter have the compared colour. */
	for (unsigned p = 0; p < 4; p++) {
		uint8_t compare = v->gr[2] >> p & 1 ? 0xff : 0;

		if (v->gr[7] >> p & 1)
			same &= (uint8_t) ~(planes[p] ^ compare);
	}
	return same;
}

static uint8_t combine(const struct vga *v, uint8_t value, uint8_t latch, uint8_t mask)
{
	switch (v->gr[3] >> 3 & 3) {
	case 1: value &= latch; break;
	case 2: value |= latch; break;
	case 3: value ^= latch; break;
	default: break;
	}
	return (uint8_t)((value & mask) | (latch & ~mask));
}

/* "Graphics Controller: Mode Register", write modes 0 to 3. */
static void write_planar(struct vga *v, uint64_t at, uint8_t value)
{
	uint8_t *planes = v->memory + (4 * at & (VGA_PLANAR - 1)), mask = v->gr[8];
	unsigned rotate = v->gr[3] & 7, mode = v->gr[5] & 3;
	uint8_t rotated = (uint8_t)(value >> rotate | value << (8 - rotate));

	if (mode == 3)
		mask &= rotated;
	for (unsigned p = 0; p < 4; p++) {
		uint8_t set = v->gr[0] >> p & 1 ? 0xff : 0, result;

		if (!(v->sr[2] >> p & 1))
			continue;
		switch (mode) {
		case 0: result = combine(v, v->gr[1] >> p & 1 ? set : rotated, v->latch[p], mask); break;
		case 1: result = v->latch[p]; break;
		case 2: result = combine(v, value >> p & 1 ? 0xff : 0, v->latch[p], mask); break;
		default: result = combine(v, set, v->latch[p], mask); break;
		}
		planes[p] = result;
	}
}

static uint64_t legacy_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *v = device;
	uint64_t linear;
	int64_t at;

	if (banked(v, offset, &linear))
		return v->memory[linear];
	at = window(v, offset);
	if (at < 0)
		return 0xff;
	if (v->sr[4] & SR4_CHAIN4)
		return v->memory[at & (VGA_PLANAR - 1)];
	if (v->gr[5] & GR5_ODD_EVEN)
		return v->memory[((at & ~INT64_C(1)) << 1 | (v->gr[4] & 2) | (at & 1)) & (VGA_PLANAR - 1)];
	return read_planar(v, (uint64_t)at);
}

static void legacy_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *v = device;
	unsigned plane;
	uint64_t linear;
	int64_t at;

	if (banked(v, offset, &linear)) {
		v->memory[linear] = (uint8_t)value;
		return;
	}
	at = window(v, offset);
	if (at < 0)
		return;
	if (v->sr[4] & SR4_CHAIN4) {
		if (v->sr[2] >> (at & 3) & 1)
			v->memory[at & (VGA_PLANAR - 1)] = (uint8_t)value;
	} else if (v->gr[5] & GR5_ODD_EVEN) {
		plane = (unsigned)((v->gr[4] & 2) | (at & 1));
		if (v->sr[2] >> plane & 1)
			v->memory[((at & ~INT64_C(1)) << 1 | plane) & (VGA_PLANAR - 1)] = (uint8_t)value;
	} else {
		write_planar(v, (uint64_t)at, (uint8_t)value);
	}
}

static uint64_t ports_3b0_read(void *device, uint64_t offset, unsigned size)
{
	return port_in(device, 0x3b0 + (unsigned)offset);
}

static void ports_3b0_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	port_out(device, 0x3b0 + (unsigned)offset, (uint8_t)value);
}

static uint64_t dispi_port_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *v = device;

	return offset == 0 ? v->dispi_index : dispi_read(v);
}

static void dispi_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *v = device;

	if (offset == 0)
		v->dispi_index = (uint16_t)value;
	else
		dispi_write(v, (uint16_t)value);
}

/* BAR 2: VGA ports from 3C0H by bytes, DISPI registers by words. */
static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *v = device;
	uint16_t index = v->dispi_index, value;

	if (offset >= MMIO_VGA && offset < MMIO_VGA + 0x20)
		return port_in(v, 0x3c0 + (unsigned)offset - MMIO_VGA);
	if (offset < MMIO_DISPI || offset >= MMIO_DISPI + 2 * DISPIS)
		return UINT64_MAX;
	v->dispi_index = (uint16_t)((offset - MMIO_DISPI) / 2);
	value = dispi_read(v);
	v->dispi_index = index;
	return value;
}

static void mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *v = device;
	uint16_t index = v->dispi_index;

	if (offset >= MMIO_VGA && offset < MMIO_VGA + 0x20) {
		port_out(v, 0x3c0 + (unsigned)offset - MMIO_VGA, (uint8_t)value);
	} else if (offset >= MMIO_DISPI && offset < MMIO_DISPI + 2 * DISPIS) {
		v->dispi_index = (uint16_t)((offset - MMIO_DISPI) / 2);
		dispi_write(v, (uint16_t)value);
		v->dispi_index = index;
	}
}

static const struct device_ops legacy_ops = {.read = legacy_read, .write = legacy_write, .max_size = 1};
static const struct device_ops ports_ops = {.read = ports_3b0_read, .write = ports_3b0_write, .max_size = 1};
static const struct device_ops dispi_ops = {.read = dispi_port_read, .write = dispi_port_write, .max_size = 2};
static const struct device_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .max_size = 2};

static void reset(struct pci_function *function)
{
	struct vga *v = CONTAINER_OF(function, struct vga, function);

	v->misc = v->feature = 0;
	memset(v->latch, 0, sizeof(v->latch));
	v->sr_index = v->gr_index = v->cr_index = v->ar_index = 0;
	v->ar_data = v->dac_reading = false;
	memset(v->sr, 0, sizeof(v->sr));
	memset(v->gr, 0, sizeof(v->gr));
	memset(v->ar, 0, sizeof(v->ar));
	memset(v->cr, 0, sizeof(v->cr));
	memset(v->dac, 0, sizeof(v->dac));
	v->dac_mask = 0xff;
	v->dac_read = v->dac_write = v->dac_part = 0;
	memset(v->dispi, 0, sizeof(v->dispi));
	v->dispi_index = 0;
	v->dispi[DISPI_ID] = DISPI_ID5;
	v->dispi[DISPI_BPP] = 8;
}

/* VGA addresses answer as PCI's command register allows, whatever the BARs say. */
static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct vga *v = CONTAINER_OF(function, struct vga, function);

	region_enable(v->legacy, pci_config_word(function, 4) & 2);
}

static void save(struct pci_function *function, struct state *state)
{
	struct vga *v = CONTAINER_OF(function, struct vga, function);

	state_section(state, "vga");
	state_memory(state, v->memory, VGA_MEMORY);
	state_var(state, v->misc);
	state_var(state, v->feature);
	state_bytes(state, v->latch, sizeof(v->latch));
	state_var(state, v->sr_index);
	state_var(state, v->gr_index);
	state_var(state, v->cr_index);
	state_var(state, v->ar_index);
	state_var(state, v->ar_data);
	state_bytes(state, v->sr, sizeof(v->sr));
	state_bytes(state, v->gr, sizeof(v->gr));
	state_bytes(state, v->ar, sizeof(v->ar));
	state_bytes(state, v->cr, sizeof(v->cr));
	state_bytes(state, v->dac, sizeof(v->dac));
	state_var(state, v->dac_mask);
	state_var(state, v->dac_read);
	state_var(state, v->dac_write);
	state_var(state, v->dac_part);
	state_bytes(state, v->dac_latch, sizeof(v->dac_latch));
	state_var(state, v->dac_reading);
	state_var(state, v->dispi_index);
	state_bytes(state, v->dispi, sizeof(v->dispi));
	if (!state_restoring(state))
		return;
	if (v->sr_index > 7 || v->gr_index > 15 || v->dac_part > 2 || v->dispi[DISPI_BANK] >= VGA_MEMORY >> 16)
		state_refuse(state, "an impossible VGA register");
	config_written(function, 4, 2);
}

static const struct pci_function_ops function_ops = {.config_written = config_written, .reset = reset, .state = save};

/* The option ROM, padded to a power of two. NULL: *error says why. */
static uint8_t *read_rom(const char *name, size_t *size, struct error *error)
{
	FILE *file = fopen(name, "rb");
	uint8_t *bytes;
	size_t count;

	if (!file) {
		error_set(error, "could not open the VGA BIOS '%s': %s", name, strerror(errno));
		return NULL;
	}
	bytes = xcalloc(1, ROM_MAX + 1);
	count = fread(bytes, 1, ROM_MAX + 1, file);
	fclose(file);
	if (count < 512 || count > ROM_MAX || bytes[0] != 0x55 || bytes[1] != 0xaa) {
		error_set(error, "'%s' is not an option ROM", name);
		free(bytes);
		return NULL;
	}
	for (*size = 4096; *size < count;)
		*size *= 2;
	return bytes;
}

struct vga *vga_create(struct pci_root *root, struct bus *bus, struct clock *clock, uint8_t slot, const char *rom,
		       struct error *error)
{
	struct vga *v = xcalloc(1, sizeof(*v));
	struct pci_function *f = &v->function;

	v->clock = clock;
	/* Fresh pages are zero, and cost nothing until they are used. */
	v->memory = mmap(NULL, VGA_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v->memory == MAP_FAILED)
		v->memory = NULL;
	if (!v->memory || (rom && !(v->rom = read_rom(rom, &v->rom_size, error)))) {
		if (!v->memory)
			error_set(error, "the host has no memory for the VGA");
		vga_destroy(v);
		return NULL;
	}
	f->name = "VGA";
	f->ops = &function_ops;
	pci_identity(f, 0x1234, 0x1111, 0x030000, 2, 0x1af4, 0x1100);
	pci_add_memory_bar(f, 0, PCI_BAR_MEM32, VGA_MEMORY, v->memory);
	pci_add_bar(f, 2, PCI_BAR_MEM32, MMIO_SIZE, &mmio_ops, v);
	if (v->rom)
		pci_add_memory_bar(f, PCI_ROM_BAR, PCI_BAR_MEM32, v->rom_size, v->rom);
	if (!pci_add(root, f, slot, 0, error)) {
		vga_destroy(v);
		return NULL;
	}
	v->legacy = bus_add_device(bus, "VGA", LEGACY_BASE, LEGACY_SIZE, &legacy_ops, v, PRIORITY);
	bus_add_ports(bus, "VGA", 0x3b0, 0x30, &ports_ops, v);
	bus_add_ports(bus, "VGA-dispi", 0x1ce, 3, &dispi_ops, v);
	region_enable(v->legacy, false);
	reset(f);
	return v;
}

void vga_destroy(struct vga *v)
{
	if (!v)
		return;
	if (v->memory)
		munmap(v->memory, VGA_MEMORY);
	free(v->rom);
	free(v);
}

bool vga_screendump(struct vga *v, const char *name, struct error *error)
{
	struct picture picture;
	png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
	bool ok;

	vga_picture(v, &picture);
	image.width = picture.width;
	image.height = picture.height;
	ok = png_image_write_to_file(&image, name, 0, picture.rgb, 0, NULL);
	free(picture.rgb);
	return ok || error_set(error, "could not write the picture '%s': %s", name, image.message);
}
