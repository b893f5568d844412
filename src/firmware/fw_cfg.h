/*
 * fw_cfg: the box of named and numbered blobs that firmware reads at ports 510H, 511H and, by DMA, 514H.
 *
 * As QEMU documents it ("QEMU Firmware Configuration (fw_cfg) Device"). Not there: writable files, except what
 * fw_cfg_add_file() was told to let the guest write.
 */
#pragma once

#include "bus/bus.h"

enum {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_UUID = 0x02,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_CPUS = 0x05,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_DIRECTORY = 0x19,
	FW_CFG_IRQ0_OVERRIDE = 0x8002,
	FW_CFG_E820 = 0x8003,
};

struct fw_cfg;
struct memory_layout;

struct fw_cfg *fw_cfg_create(struct bus *bus);
void fw_cfg_destroy(struct fw_cfg *fw);
void fw_cfg_reset(struct fw_cfg *fw);
void fw_cfg_state(struct fw_cfg *fw, struct state *state);

/* Bytes are copied; a second blob for the same key or name replaces the first. */
void fw_cfg_add(struct fw_cfg *fw, uint16_t key, const void *bytes, size_t size);
/* A number, little-endian, of 1 to 8 bytes. */
void fw_cfg_add_number(struct fw_cfg *fw, uint16_t key, unsigned size, uint64_t value);
/* name: at most 55 characters. False when the name is too long or the directory is full. */
MUST_CHECK bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *bytes, size_t size);

/* What every board offers: memory, CPUs, e820, and how firmware is to behave. */
void fw_cfg_add_board(struct fw_cfg *fw, const struct memory_layout *layout, unsigned cpus, unsigned max_cpus);
/* Kernel, initrd and command line for firmware that boots them itself (OVMF). NULL: absent. */
MUST_CHECK bool fw_cfg_add_kernel(struct fw_cfg *fw, const char *kernel, const char *initrd, const char *append,
				  struct error *error);
