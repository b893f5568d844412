/*
 * What a machine is to be made of: the answer of the options, the input of machine_create(). Strings are borrowed and
 * must live until machine_create() returned; back ends (chardevs, the log file) belong to the caller and must outlive
 * the machine.
 */
#pragma once

#include "base/log.h"
#include "console/chardev.h"
#include "cpu/cpuid.h"
#include "cpu/topology.h"
#include "vmx/capability.h"

#define SOFTVT_VERSION "0.1.0"

#define MACHINE_MAX_CPUS 64
#define MACHINE_SERIALS	 4
#define MACHINE_DRIVES	 16
#define MACHINE_DEVICES	 32
#define MACHINE_GLOBALS	 32
#define MACHINE_FW_CFG	 32
#define MACHINE_CHARDEVS 24

enum drive_interface { DRIVE_SATA, DRIVE_VIRTIO, DRIVE_NONE /* a -device names it by its id */ };

struct drive_config {
	const char *file;   /* NULL: an empty CD drive */
	const char *format; /* "raw", "qcow2", or NULL to look */
	const char *id;	    /* or NULL */
	enum drive_interface interface;
	int index; /* port on the controller, -1: the next free one */
	bool cdrom, read_only, snapshot;
};

/* -global DRIVER.KEY=VALUE: what a -device of that name has for a property that it does not mention. */
struct global_config {
	char *driver; /* owned; key and value point into it */
	const char *key, *value;
};

/* -fw_cfg name=NAME,file=FILE or string=TEXT. */
struct fw_cfg_config {
	const char *name, *file, *string;
};

struct machine_config {
	const char *name;  /* for messages, or NULL */
	uint8_t uuid[16];  /* as SMBIOS and fw_cfg key 2 give it */
	uint64_t ram_size; /* bytes, a multiple of 1 MiB */
	unsigned cpus;	   /* 1 to MACHINE_MAX_CPUS */
	/* Of those and of places for more; all 0: one socket of that many cores. */
	struct cpu_topology topology;
	struct cpu_model model;
	struct vmx_capability vmx; /* used when the model has VMX */

	/* The board: what may be left out. */
	bool hpet, pit, i8042, vga;
	bool smm; /* SMI# is connected */

	/* Boot. */
	const char *kernel, *initrd, *append; /* direct boot when kernel is not NULL */
	const char *bios;		      /* firmware image, or NULL for the default one */
	const char *firmware_path[8];	      /* -L: where firmware is looked for first */
	char boot_order[8];		      /* letters a c d n; empty: disk, then CD */
	bool boot_menu;

	/* Time. */
	int64_t rtc_base; /* seconds since 1970 that the RTC shows at power-on */
	bool follow_host; /* -rtc clock=host: idle time passes as the host's does */
	bool never_wait;  /* -icount sleep=off: idle time is skipped even when input could come */
	unsigned icount_shift; /* an instruction takes 2^this ns */

	/* What ends the machine. */
	bool no_reboot, no_shutdown;

	/* Back ends. */
	struct log log;
	struct chardev *serial[MACHINE_SERIALS];   /* COM1 to COM4; NULL: the port is absent */
	struct chardev *debugcon;		   /* port E9H, or NULL */
	struct chardev *chardev[MACHINE_CHARDEVS]; /* all of them, to be polled */
	const char *chardev_id[MACHINE_CHARDEVS];  /* ids that a -device may name, or NULL */
	unsigned chardevs;

	struct drive_config drive[MACHINE_DRIVES];
	unsigned drives;
	const char *device[MACHINE_DEVICES]; /* arguments of -device, in order */
	unsigned devices;
	struct global_config global[MACHINE_GLOBALS];
	unsigned globals;
	struct fw_cfg_config fw_cfg[MACHINE_FW_CFG];
	unsigned fw_cfgs;
};
