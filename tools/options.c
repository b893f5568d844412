/*
 * The command line.
 *
 * One row of table[] per option: what it is called, what it takes, what it does, who parses it. -help prints the rows
 * and README repeats them (a test compares). What is accepted works, or is harmless by nature (a tuning hint, a device
 * to be left out that does not exist); anything else is refused with a sentence. QEMU's options that ask for hardware
 * which is not modelled are listed in refused[], so that the sentence can say so.
 */
#include "options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "machine/devices.h"
#include "machine/keyvals.h"
#include "machine/nearest.h"

#define MIB	    UINT64_C(0x100000)
#define DEFAULT_RAM (1024 * MIB)
/* Firmware, the board's windows and 40 bits of physical address leave room for less than this. */
#define MAX_RAM (UINT64_C(1) << 39)
/* 2026-01-01T00:00:00Z. A fixed date, so that a run repeats; -rtc base=utc asks for the host's. */
#define DEFAULT_DATE INT64_C(1767225600)

struct option {
	const char *name;     /* NULL: a heading */
	const char *argument; /* NULL: takes none; "[=...]": may have one, in the same word */
	const char *help;     /* NULL: the same as the row before */
	bool (*parse)(struct options *o, const char *argument, struct error *error);
};

static const struct option table[];

static bool one_of(const char *word, const char *const *known)
{
	for (; *known; known++) {
		if (!strcmp(word, *known))
			return true;
	}
	return false;
}

#define ONE_OF(word, ...) one_of(word, (const char *const[]){__VA_ARGS__, NULL})

static bool is_help(const char *argument)
{
	return ONE_OF(argument, "help", "?");
}

static void print_line(void *ctx, const char *text)
{
	fprintf(ctx, "%s\n", text);
}

/* Free a list of items after use, whatever the result. */
static bool finish(struct keyvals *kv, const char *owner, bool good, struct error *error)
{
	good = good && keyvals_end(kv, owner, error);
	keyvals_free(kv);
	return good;
}

/* Values were taken over: the text lives as long as the options. */
static bool keep(struct options *o, struct keyvals *kv)
{
	o->kept = xrealloc(o->kept, (o->kept_count + 1) * sizeof(*o->kept));
	o->kept[o->kept_count++] = kv->text;
	return true;
}

/* The keys that change nothing here, whatever their value. */
static void ignore(struct keyvals *kv, const char *const *keys)
{
	for (; *keys; keys++)
		keyvals_get(kv, *keys);
}

#define IGNORE(kv, ...) ignore(kv, (const char *const[]){__VA_ARGS__, NULL})

static bool full(const char *what, struct error *error)
{
	return error_set(error, "there are too many %s options", what);
}

/* ---- The machine ---- */

static bool known_accelerators(const char *list, struct error *error)
{
	char *copy = xstrdup(list), *rest = copy, *word;
	bool good = true;

	while (good && (word = strsep(&rest, ":"))) {
		if (!ONE_OF(word, "tcg", "kvm", "softvt"))
			good = error_set(
				error, "accelerator '%s' is unknown; tcg and kvm are accepted, and mean the one engine",
				word);
	}
	free(copy);
	return good;
}

static bool parse_machine(struct options *o, const char *argument, struct error *error)
{
	struct machine_config *m = &o->machine;
	struct keyvals kv;
	const char *value;
	bool good = true, unused = false, wanted;

	if (is_help(argument)) {
		puts("Supported machines are:\nq35                  Q35 + ICH9 (default)");
		return o->done = true;
	}
	if (!keyvals_parse(&kv, argument, "type", error))
		return false;
	keyvals_allow_underscores(&kv);
	value = keyvals_get(&kv, "type");
	if (value && strcmp(value, "q35") && strncmp(value, "pc-q35-", 7))
		good = error_set(error, "machine '%s' is unknown; the nearest known one is 'q35'", value);
	if (good && (value = keyvals_get(&kv, "accel")))
		good = known_accelerators(value, error);
	if (good && (value = keyvals_get(&kv, "kernel-irqchip")) && !ONE_OF(value, "on", "off", "split"))
		good = error_set(error, "kernel-irqchip=%s: it is on, off or split, and changes nothing here", value);
	if (good && (value = keyvals_get(&kv, "smm"))) {
		if (strcmp(value, "auto") != 0 && !parse_bool(value, &m->smm))
			good = error_set(error, "smm=%s: it is on, off or auto", value);
	}
	wanted = true;
	good = good && keyvals_bool(&kv, "pit", &m->pit, error) && keyvals_bool(&kv, "hpet", &m->hpet, error) &&
	       keyvals_bool(&kv, "i8042", &m->i8042, error) && keyvals_bool(&kv, "pic", &wanted, error) &&
	       keyvals_bool(&kv, "acpi", &wanted, error) && keyvals_bool(&kv, "sata", &wanted, error);
	if (good && !wanted)
		good = error_set(error, "pic=off, acpi=off and sata=off: the machine always has these parts");
	good = good && keyvals_bool(&kv, "usb", &unused, error) && keyvals_bool(&kv, "nvdimm", &unused, error) &&
	       keyvals_bool(&kv, "fd-bootchk", &unused, error);
	IGNORE(&kv, "vmport", "graphics", "mem-merge", "dump-guest-core", "smbus", "firmware", "suppress-vmdesc");
	return finish(&kv, "the machine", good, error);
}

static bool parse_accel(struct options *o, const char *argument, struct error *error)
{
	struct keyvals kv;
	const char *value;
	bool good = true;

	if (is_help(argument)) {
		puts("Accelerators supported (one engine, whichever is asked for):\ntcg\nkvm");
		return o->done = true;
	}
	if (!keyvals_parse(&kv, argument, "accel", error))
		return false;
	keyvals_allow_underscores(&kv);
	if ((value = keyvals_get(&kv, "accel")))
		good = known_accelerators(value, error);
	IGNORE(&kv, "thread", "tb-size", "one-insn-per-tb", "split-wx", "kernel-irqchip", "kvm-shadow-mem",
	       "dirty-ring-size");
	return finish(&kv, "-accel", good, error);
}

static bool parse_nothing(struct options *o, const char *argument, struct error *error)
{
	return true;
}

static bool parse_cpu(struct options *o, const char *argument, struct error *error)
{
	if (is_help(argument)) {
		puts("Available CPUs:");
		cpu_model_list(print_line, stdout);
		return o->done = true;
	}
	o->cpu = argument;
	return true;
}

/* Small enough that no product of them overflows. */
static bool smp_count(struct keyvals *kv, const char *key, uint64_t *count, struct error *error)
{
	if (!keyvals_number(kv, key, count, error))
		return false;
	if (keyvals_get(kv, key) && *count == 0)
		return error_set(
			error,
			"Invalid CPU topology: CPU topology parameters must be greater than zero, which %s is not",
			key);
	if (*count > 4096)
		return error_set(error, "%s=%s: there can be 1 to %d CPUs", key, keyvals_get(kv, key),
				 MACHINE_MAX_CPUS);
	return true;
}

/* What is not said follows from the rest, cores first, as QEMU has it since its 6.2. */
static bool complete_topology(uint64_t *cpus, uint64_t *most, uint64_t *sockets, uint64_t dies, uint64_t *cores,
			      uint64_t *threads, struct error *error)
{
	uint64_t wanted = *most ? *most : *cpus ? *cpus : 1;
	bool any = *cpus || *most;

	if (any && !*cores) {
		*sockets += !*sockets;
		*threads += !*threads;
		*cores = wanted / (*sockets * dies * *threads);
	} else if (any && !*sockets) {
		*threads += !*threads;
		*sockets = wanted / (dies * *cores * *threads);
	} else if (any && !*threads) {
		*threads = wanted / (*sockets * dies * *cores);
	}
	*sockets += !any && !*sockets;
	*cores += !any && !*cores;
	*threads += !any && !*threads;
	if (!*most)
		*most = any ? *cpus : *sockets * dies * *cores * *threads;
	if (!*cpus)
		*cpus = *most;
	if (*sockets * dies * *cores * *threads != *most)
		return error_set(error,
				 "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (%u) * "
				 "dies (%u) * cores (%u) * threads (%u) != maxcpus (%u)",
				 (unsigned)*sockets, (unsigned)dies, (unsigned)*cores, (unsigned)*threads,
				 (unsigned)*most);
	if (*cpus > *most)
		return error_set(error,
				 "Invalid CPU topology: maxcpus must be equal to or greater than smp: maxcpus (%u) < "
				 "smp_cpus (%u)",
				 (unsigned)*most, (unsigned)*cpus);
	return true;
}

static bool parse_smp(struct options *o, const char *argument, struct error *error)
{
	enum { CPUS, SOCKETS, DIES, CLUSTERS, CORES, THREADS, MOST, KEYS };
	uint64_t n[KEYS] = {[DIES] = 1};
	struct keyvals kv;
	bool good;

	if (!keyvals_parse(&kv, argument, "cpus", error))
		return false;
#define COUNT(key, which) good = good && smp_count(&kv, key, &n[which], error)
	good = true;
	COUNT("cpus", CPUS);
	COUNT("sockets", SOCKETS);
	COUNT("dies", DIES);
	COUNT("clusters", CLUSTERS);
	COUNT("cores", CORES);
	COUNT("threads", THREADS);
	COUNT("maxcpus", MOST);
#undef COUNT
	if (good && n[CLUSTERS] > 1)
		good = error_set(error, "clusters not supported by this machine's CPU topology");
	good = good && complete_topology(&n[CPUS], &n[MOST], &n[SOCKETS], n[DIES], &n[CORES], &n[THREADS], error);
	if (good && n[MOST] > MACHINE_MAX_CPUS)
		good = error_set(error, "Invalid SMP CPUs %u. The max CPUs supported by machine 'q35' is %d",
				 (unsigned)n[MOST], MACHINE_MAX_CPUS);
	o->machine.cpus = (unsigned)n[CPUS];
	o->machine.topology = (struct cpu_topology){(unsigned)n[SOCKETS], (unsigned)n[DIES], (unsigned)n[CORES],
						    (unsigned)n[THREADS]};
	return finish(&kv, "-smp", good, error);
}

static bool parse_memory(struct options *o, const char *argument, struct error *error)
{
	struct keyvals kv;
	const char *size, *most;
	uint64_t bytes = DEFAULT_RAM, most_bytes;
	bool good = true;

	if (!keyvals_parse(&kv, argument, "size", error))
		return false;
	size = keyvals_get(&kv, "size");
	most = keyvals_get(&kv, "maxmem");
	IGNORE(&kv, "slots");
	if (size && !parse_size(size, MIB, &bytes))
		good = error_set(error, "'%s' is not a size; 512, 512M and 2G are", size);
	if (good && (bytes < MIB || bytes > MAX_RAM || bytes % MIB))
		good = error_set(error, "RAM must be a whole number of MiB, from 1M to 512G, which '%s' is not",
				 argument);
	if (good && most && (!parse_size(most, MIB, &most_bytes) || most_bytes != bytes))
		good = error_set(error, "maxmem must be the size itself: memory cannot be added later");
	o->machine.ram_size = bytes;
	return finish(&kv, "-m", good, error);
}

static bool parse_name(struct options *o, const char *argument, struct error *error)
{
	o->machine.name = argument;
	return true;
}

static bool parse_uuid(struct options *o, const char *argument, struct error *error)
{
	unsigned digits = 0;

	memset(o->machine.uuid, 0, sizeof(o->machine.uuid));
	for (const char *c = argument; *c; c++) {
		if (*c == '-' && (digits == 8 || digits == 12 || digits == 16 || digits == 20))
			continue;
		if (!isxdigit((unsigned char)*c) || digits == 32)
			return error_set(error, "'%s' is not a UUID", argument);
		o->machine.uuid[digits / 2] |= (uint8_t)((isdigit((unsigned char)*c) ? *c - '0' : (*c | 32) - 'a' + 10)
							 << (digits % 2 ? 0 : 4));
		digits++;
	}
	return digits == 32 || error_set(error, "'%s' is not a UUID", argument);
}

static bool parse_device(struct options *o, const char *argument, struct error *error)
{
	size_t name = strcspn(argument, ",");

	if (is_help(argument)) {
		devices_list(stdout);
		return o->done = true;
	}
	if (!strcmp(argument + name, ",help") || !strcmp(argument + name, ",?")) {
		char *driver = xasprintf("%.*s", (int)name, argument);
		bool good = devices_help(driver, stdout, error);

		free(driver);
		o->done = good;
		return good;
	}
	if (o->machine.devices == MACHINE_DEVICES)
		return full("-device", error);
	o->machine.device[o->machine.devices++] = argument;
	return true;
}

static bool parse_global(struct options *o, const char *argument, struct error *error)
{
	struct global_config global = {.driver = xstrdup(argument)};
	char *dot = strchr(global.driver, '.'), *equals = strchr(global.driver, '=');

	if (!dot || !equals || equals < dot) {
		free(global.driver);
		return error_set(error, "'%s' is not of the form DRIVER.PROPERTY=VALUE", argument);
	}
	if (o->machine.globals == MACHINE_GLOBALS) {
		free(global.driver);
		return full("-global", error);
	}
	*dot = *equals = 0;
	global.key = dot + 1;
	global.value = equals + 1;
	o->machine.global[o->machine.globals++] = global;
	return true;
}

static bool parse_vga(struct options *o, const char *argument, struct error *error)
{
	if (!ONE_OF(argument, "std", "none"))
		return error_set(error, "graphics card '%s' is not modelled; the nearest known one is 'std'", argument);
	o->machine.vga = !strcmp(argument, "std");
	return o->vga_said = true;
}

static bool parse_no_hpet(struct options *o, const char *argument, struct error *error)
{
	o->machine.hpet = false;
	return true;
}

/* ---- Boot ---- */

static bool parse_kernel(struct options *o, const char *argument, struct error *error)
{
	o->machine.kernel = argument;
	return true;
}

static bool parse_initrd(struct options *o, const char *argument, struct error *error)
{
	o->machine.initrd = argument;
	return true;
}

static bool parse_append(struct options *o, const char *argument, struct error *error)
{
	o->machine.append = argument;
	return true;
}

static bool parse_bios(struct options *o, const char *argument, struct error *error)
{
	o->machine.bios = argument;
	return true;
}

static bool parse_path(struct options *o, const char *argument, struct error *error)
{
	for (unsigned i = 0; i < ARRAY_SIZE(o->machine.firmware_path); i++) {
		if (!o->machine.firmware_path[i]) {
			o->machine.firmware_path[i] = argument;
			return true;
		}
	}
	return full("-L", error);
}

static bool parse_boot(struct options *o, const char *argument, struct error *error)
{
	struct keyvals kv;
	const char *order, *once;
	bool good;

	if (!keyvals_parse(&kv, argument, "order", error))
		return false;
	order = keyvals_get(&kv, "order");
	once = keyvals_get(&kv, "once");
	order = once ? once : order;
	good = keyvals_bool(&kv, "menu", &o->machine.boot_menu, error);
	IGNORE(&kv, "strict", "reboot-timeout", "splash-time");
	if (good && order && strspn(order, "acdn") != strlen(order))
		good = error_set(error, "boot order '%s': the letters are c (disk) and d (CD); a and n are skipped",
				 order);
	if (good && order)
		snprintf(o->machine.boot_order, sizeof(o->machine.boot_order), "%s", order);
	return finish(&kv, "-boot", good, error);
}

static bool parse_fw_cfg(struct options *o, const char *argument, struct error *error)
{
	struct fw_cfg_config entry = {0};
	struct keyvals kv;
	bool good = true;

	if (o->machine.fw_cfgs == MACHINE_FW_CFG)
		return full("-fw_cfg", error);
	if (!keyvals_parse(&kv, argument, "name", error))
		return false;
	entry.name = keyvals_get(&kv, "name");
	entry.file = keyvals_get(&kv, "file");
	entry.string = keyvals_get(&kv, "string");
	if (!entry.name || !*entry.name || !entry.file == !entry.string)
		good = error_set(error, "name=NAME and one of file=FILE and string=TEXT are wanted");
	else if (strlen(entry.name) > 55)
		good = error_set(error, "the name '%s' is longer than 55 characters", entry.name);
	good = good && keyvals_end(&kv, "-fw_cfg", error);
	if (good)
		o->machine.fw_cfg[o->machine.fw_cfgs++] = entry;
	return keep(o, &kv) && good;
}

/* ---- Disks ---- */

static bool add_drive(struct options *o, const struct drive_config *drive, struct error *error)
{
	if (o->machine.drives == MACHINE_DRIVES)
		return full("drive", error);
	o->machine.drive[o->machine.drives++] = *drive;
	return true;
}

static bool parse_drive(struct options *o, const char *argument, struct error *error)
{
	struct drive_config drive = {.index = -1};
	const char *interface, *media;
	uint64_t index = UINT64_MAX;
	struct keyvals kv;
	bool good;

	if (!keyvals_parse(&kv, argument, "file", error))
		return false;
	drive.file = keyvals_get(&kv, "file");
	drive.format = keyvals_get(&kv, "format");
	drive.id = keyvals_get(&kv, "id");
	interface = keyvals_get(&kv, "if");
	media = keyvals_get(&kv, "media");
	IGNORE(&kv, "cache", "aio", "discard", "detect-zeroes", "werror", "rerror", "copy-on-read", "unit",
	       "bus");
	good = keyvals_number(&kv, "index", &index, error) && keyvals_bool(&kv, "readonly", &drive.read_only, error) &&
	       keyvals_bool(&kv, "read-only", &drive.read_only, error) &&
	       keyvals_bool(&kv, "snapshot", &drive.snapshot, error);
	if (good && drive.format && !ONE_OF(drive.format, "raw", "qcow2"))
		good = error_set(error, "image format '%s' is unknown; raw and qcow2 are known", drive.format);
	if (good && interface && !ONE_OF(interface, "ide", "sata", "virtio", "none"))
		good = error_set(error, "interface '%s' is not modelled; ide, virtio and none are%s", interface,
				 strcmp(interface, "pflash") ? "" : " (firmware is loaded with -bios)");
	if (good && media && !ONE_OF(media, "disk", "cdrom"))
		good = error_set(error, "media=%s: it is disk or cdrom", media);
	drive.cdrom = media && !strcmp(media, "cdrom");
	if (good && !drive.file && !drive.cdrom)
		good = error_set(error, "file=FILE is missing");
	if (good && drive.file && !strncmp(drive.file, "fat:", 4))
		good = error_set(error, "a directory as a disk (fat:) is not modelled");
	if (interface)
		drive.interface = !strcmp(interface, "virtio") ? DRIVE_VIRTIO
				  : !strcmp(interface, "none") ? DRIVE_NONE
							       : DRIVE_SATA;
	if (index != UINT64_MAX)
		drive.index = index < 32 ? (int)index : 31;
	good = good && keyvals_end(&kv, "-drive", error) && add_drive(o, &drive, error);
	return keep(o, &kv) && good;
}

static bool parse_cdrom(struct options *o, const char *argument, struct error *error)
{
	struct drive_config drive = {.file = argument, .format = "raw", .index = 2, .cdrom = true, .read_only = true};

	return add_drive(o, &drive, error);
}

static bool add_disk(struct options *o, const char *file, int index, struct error *error)
{
	struct drive_config drive = {.file = file, .index = index};

	return add_drive(o, &drive, error);
}

static bool parse_hda(struct options *o, const char *argument, struct error *error)
{
	return add_disk(o, argument, 0, error);
}

static bool parse_hdb(struct options *o, const char *argument, struct error *error)
{
	return add_disk(o, argument, 1, error);
}

static bool parse_hdc(struct options *o, const char *argument, struct error *error)
{
	return add_disk(o, argument, 2, error);
}

static bool parse_hdd(struct options *o, const char *argument, struct error *error)
{
	return add_disk(o, argument, 3, error);
}

static bool parse_snapshot(struct options *o, const char *argument, struct error *error)
{
	return o->snapshot = true;
}

/* ---- Consoles ---- */

static bool parse_display(struct options *o, const char *argument, struct error *error)
{
	if (is_help(argument)) {
		puts("Available display backend types:\nnone");
		return o->done = true;
	}
	if (strcmp(argument, "none"))
		return error_set(error,
				 "display '%s' is not modelled; the nearest known one is 'none' (see -screendump)",
				 argument);
	return true;
}

static bool parse_vnc(struct options *o, const char *argument, struct error *error)
{
	if (strcmp(argument, "none"))
		return error_set(error, "-vnc: there is no window; see -screendump");
	return true;
}

static bool parse_serial(struct options *o, const char *argument, struct error *error)
{
	if (o->serials == MACHINE_SERIALS)
		return full("-serial", error);
	o->serial[o->serials++] = argument;
	return true;
}

static bool parse_chardev(struct options *o, const char *argument, struct error *error)
{
	if (is_help(argument)) {
		puts("Available chardev backend types:\nfile\nnull\npipe\nsocket\nstdio");
		return o->done = true;
	}
	if (o->chardevs == MACHINE_CHARDEVS - MACHINE_SERIALS - 3)
		return full("-chardev", error);
	o->chardev[o->chardevs++] = argument;
	return true;
}

static bool parse_debugcon(struct options *o, const char *argument, struct error *error)
{
	o->debugcon = argument;
	return true;
}

static bool parse_monitor(struct options *o, const char *argument, struct error *error)
{
	o->monitor = argument;
	o->monitor_by_id = false;
	return true;
}

static bool parse_mon(struct options *o, const char *argument, struct error *error)
{
	const char *chardev, *mode;
	struct keyvals kv;
	bool good = true;

	if (!keyvals_parse(&kv, argument, "chardev", error))
		return false;
	chardev = keyvals_get(&kv, "chardev");
	mode = keyvals_get(&kv, "mode");
	if (mode && strcmp(mode, "readline"))
		good = error_set(error, "mode=%s: only the monitor for people, 'readline', is there", mode);
	else if (!chardev)
		good = error_set(error, "chardev=ID is missing");
	good = good && keyvals_end(&kv, "-mon", error);
	if (good)
		o->monitor = chardev;
	o->monitor_by_id = good;
	return keep(o, &kv) && good;
}

static bool parse_parallel(struct options *o, const char *argument, struct error *error)
{
	return ONE_OF(argument, "none", "null") ||
	       error_set(error, "parallel ports are not modelled; only 'none' is accepted");
}

static bool parse_screendump(struct options *o, const char *argument, struct error *error)
{
	o->screendump = argument;
	return true;
}

static bool parse_no_network(struct options *o, const char *argument, struct error *error)
{
	return !strcmp(argument, "none") || error_set(error, "networks are not modelled; only 'none' is accepted");
}

/* ---- Time and life ---- */

/* A day that its month does not have is no date: timegm() would call it one of the next month. */
static bool parse_date(const char *text, int64_t *seconds)
{
	struct tm tm = {0};
	int day;
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest || *rest) {
		tm = (struct tm){0};
		rest = strptime(text, "%Y-%m-%d", &tm);
	}
	if (!rest || *rest)
		return false;
	day = tm.tm_mday;
	*seconds = timegm(&tm);
	return tm.tm_mday == day;
}

static bool parse_rtc(struct options *o, const char *argument, struct error *error)
{
	const char *base, *clock, *drift;
	time_t now = time(NULL);
	struct keyvals kv;
	struct tm local;
	bool good = true;

	if (!keyvals_parse(&kv, argument, NULL, error))
		return false;
	base = keyvals_get(&kv, "base");
	clock = keyvals_get(&kv, "clock");
	drift = keyvals_get(&kv, "driftfix");
	if (base && !strcmp(base, "utc"))
		o->machine.rtc_base = now;
	else if (base && !strcmp(base, "localtime") && localtime_r(&now, &local))
		o->machine.rtc_base = timegm(&local);
	else if (base && !parse_date(base, &o->machine.rtc_base))
		good = error_set(error, "base=%s: it is utc, localtime or a date like 2026-06-17T16:01:21", base);
	if (good && clock && !ONE_OF(clock, "host", "rt", "vm"))
		good = error_set(error, "clock=%s: it is vm (virtual time, the default), host or rt", clock);
	if (good && clock)
		o->machine.follow_host = strcmp(clock, "vm") != 0;
	if (good && drift && !ONE_OF(drift, "none", "slew"))
		good = error_set(error, "driftfix=%s: it is none or slew, and no tick is ever lost", drift);
	return finish(&kv, "-rtc", good, error);
}

/* align=on would hold back a machine that is ahead of the host's clock: not there. */
static bool parse_icount(struct options *o, const char *argument, struct error *error)
{
	bool sleep = true, align = false, good;
	const char *shift;
	struct keyvals kv;
	uint64_t bits = 0;

	if (!keyvals_parse(&kv, argument, "shift", error))
		return false;
	shift = keyvals_get(&kv, "shift");
	good = keyvals_bool(&kv, "sleep", &sleep, error) && keyvals_bool(&kv, "align", &align, error);
	if (good && shift && strcmp(shift, "auto") && (!parse_number(shift, &bits) || bits > 10))
		good = error_set(error, "icount: Invalid shift value: '%s' is not 0 to 10 or auto", shift);
	if (good && align)
		good = error_set(error, "align=on: only off is there; -rtc clock=host keeps idle time with the host's");
	if (good && keyvals_get(&kv, "rr"))
		good = error_set(
			error, "record and replay (rr) is not there; without input from outside every run is the same");
	o->machine.never_wait = !sleep;
	o->machine.icount_shift = (unsigned)bits;
	return finish(&kv, "-icount", good, error);
}

static bool parse_no_reboot(struct options *o, const char *argument, struct error *error)
{
	return o->machine.no_reboot = true;
}

static bool parse_no_shutdown(struct options *o, const char *argument, struct error *error)
{
	return o->machine.no_shutdown = true;
}

static bool parse_action(struct options *o, const char *argument, struct error *error)
{
	const char *reboot, *shutdown;
	struct keyvals kv;
	bool good = true;

	if (!keyvals_parse(&kv, argument, NULL, error))
		return false;
	reboot = keyvals_get(&kv, "reboot");
	shutdown = keyvals_get(&kv, "shutdown");
	IGNORE(&kv, "panic", "watchdog"); /* devices that do not exist */
	if (reboot && !ONE_OF(reboot, "reset", "shutdown"))
		good = error_set(error, "reboot=%s: it is reset or shutdown", reboot);
	else if (reboot)
		o->machine.no_reboot = !strcmp(reboot, "shutdown");
	if (good && shutdown && !ONE_OF(shutdown, "poweroff", "pause"))
		good = error_set(error, "shutdown=%s: it is poweroff or pause", shutdown);
	else if (good && shutdown)
		o->machine.no_shutdown = !strcmp(shutdown, "pause");
	return finish(&kv, "-action", good, error);
}

static bool parse_paused(struct options *o, const char *argument, struct error *error)
{
	return o->paused = true;
}

static bool parse_restore(struct options *o, const char *argument, struct error *error)
{
	o->restore = argument;
	return true;
}

static bool parse_pidfile(struct options *o, const char *argument, struct error *error)
{
	o->pid_file = argument;
	return true;
}

static bool parse_overcommit(struct options *o, const char *argument, struct error *error)
{
	struct keyvals kv;
	bool unused, good;

	if (!keyvals_parse(&kv, argument, NULL, error))
		return false;
	good = keyvals_bool(&kv, "cpu-pm", &unused, error) && keyvals_bool(&kv, "mem-lock", &unused, error);
	return finish(&kv, "-overcommit", good, error);
}

static bool parse_no_defaults(struct options *o, const char *argument, struct error *error)
{
	return o->no_defaults = true;
}

/* ---- Debugging ---- */

static bool parse_s(struct options *o, const char *argument, struct error *error)
{
	o->gdb = "tcp::1234";
	return true;
}

static bool parse_gdb(struct options *o, const char *argument, struct error *error)
{
	o->gdb = argument;
	return true;
}

static bool parse_log(struct options *o, const char *argument, struct error *error)
{
	static const struct {
		const char *word, *help;
	} categories[] = {
#define X(name, word, help) {word, help},
		LOG_CATEGORIES(X)
#undef X
	};
	struct nearest nearest = {0};
	char unknown[32], text[128];

	if (is_help(argument)) {
		puts("Log items (comma separated; all is every one):");
		for (unsigned i = 0; i < ARRAY_SIZE(categories); i++)
			printf("%-15s %s\n", categories[i].word, categories[i].help);
		return o->done = true;
	}
	if (log_parse(argument, &o->log_enabled, unknown, sizeof(unknown)))
		return true;
	nearest.word = unknown;
	for (unsigned i = 0; i < ARRAY_SIZE(categories); i++)
		nearest_offer(&nearest, categories[i].word);
	return error_set(error, "log item '%s' is unknown%s", unknown, nearest_text(&nearest, "", text, sizeof(text)));
}

static bool parse_log_file(struct options *o, const char *argument, struct error *error)
{
	o->log_file = argument;
	return true;
}

static bool parse_stats(struct options *o, const char *argument, struct error *error)
{
	return o->stats = true;
}

static bool parse_explain(struct options *o, const char *argument, struct error *error)
{
	o->explain_said = true;
	o->explain = EXPLAIN_TEXT;
	if (!argument || !strcmp(argument, "text"))
		return true;
	if (!ONE_OF(argument, "json", "off"))
		return error_set(error, "it is text, json or off");
	o->explain = !strcmp(argument, "json") ? EXPLAIN_JSON : EXPLAIN_OFF;
	return true;
}

static bool parse_exits(struct options *o, const char *argument, struct error *error)
{
	o->exits = true;
	o->exits_file = argument;
	return !argument || *argument || error_set(error, "the name of a file is missing after '='");
}

static bool parse_version(struct options *o, const char *argument, struct error *error)
{
	puts(SOFTVT_BANNER);
	return o->done = true;
}

static bool parse_help(struct options *o, const char *argument, struct error *error);

static const struct option table[] = {
	{NULL, NULL, "Machine", NULL},
	{"machine", "q35[,KEY=VALUE...]",
	 "the board; keys: pit, hpet, i8042=on|off, smm=on|off|auto (on); accel and others that change nothing",
	 parse_machine},
	{"M", "...", "short for -machine", parse_machine},
	{"cpu", "MODEL[,+FEATURE][,-FEATURE]", "CPU model, by default max; -cpu help lists them", parse_cpu},
	{"smp", "N[,KEY=N...]",
	 "number of CPUs, by default 1; keys: cpus, sockets, dies, cores, threads, maxcpus (more cannot be added "
	 "later)",
	 parse_smp},
	{"m", "SIZE", "RAM in MiB, or with K, M, G, T; by default 1G, of which the host pays what the guest touches",
	 parse_memory},
	{"accel", "NAME", "tcg and kvm are accepted; there is one engine", parse_accel},
	{"enable-kvm", NULL, "accepted; there is one engine", parse_nothing},
	{"device", "NAME[,KEY=VALUE...]", "add a device; -device help lists them, -device NAME,help its keys",
	 parse_device},
	{"global", "NAME.KEY=VALUE", "a default for that key of each such device; unknown names are ignored",
	 parse_global},
	{"vga", "std|none", "the graphics card", parse_vga},
	{"usb", NULL, "accepted; there is no USB", parse_nothing},
	{"no-hpet", NULL, "short for -machine hpet=off", parse_no_hpet},
	{"name", "NAME", "the machine's name, as the monitor says it", parse_name},
	{"uuid", "UUID", "the machine's UUID, for firmware and SMBIOS", parse_uuid},
	{"nodefaults", NULL, "no serial port, graphics card or CD drive but those asked for", parse_no_defaults},
	{"no-user-config", NULL, "accepted; there are no configuration files", parse_nothing},
	{"overcommit", "KEY=on|off", "accepted; a tuning hint", parse_overcommit},
	{"mem-prealloc", NULL, "accepted; a tuning hint", parse_nothing},
	{"msg", "KEY=on|off", "accepted; messages stay sentences without a time", parse_nothing},

	{NULL, NULL, "Boot", NULL},
	{"kernel", "FILE", "start this bzImage, Multiboot 1 or 2, or PVH image directly, without firmware",
	 parse_kernel},
	{"initrd", "FILE", "its initial RAM disk; for Multiboot the modules, as \"FILE ARGS,FILE ARGS\"", parse_initrd},
	{"append", "TEXT", "its command line", parse_append},
	{"bios", "FILE",
	 "firmware, by default SeaBIOS when there is no -kernel; with both, firmware is told of the kernel (OVMF "
	 "starts it)",
	 parse_bios},
	{"L", "DIRECTORY", "look for firmware here first", parse_path},
	{"boot", "ORDER", "letters c (disk) and d (CD); also order=,once=,menu=on", parse_boot},
	{"fw_cfg", "name=NAME,file=FILE", "a file for the guest's fw_cfg; or string=TEXT", parse_fw_cfg},

	{NULL, NULL, "Disks", NULL},
	{"drive", "file=FILE[,KEY=VALUE...]",
	 "a disk; keys: if=ide|virtio|none, format=raw|qcow2, media=disk|cdrom, index, id, readonly, snapshot",
	 parse_drive},
	{"hda", "FILE", "a disk on the first port of the AHCI controller", parse_hda},
	{"hdb", "FILE", "... on the second", parse_hdb},
	{"hdc", "FILE", "... on the third", parse_hdc},
	{"hdd", "FILE", "... on the fourth", parse_hdd},
	{"cdrom", "FILE", "a CD in the drive on the third port", parse_cdrom},
	{"snapshot", NULL, "what the guest writes to disks is forgotten at the end", parse_snapshot},

	{NULL, NULL, "Consoles", NULL},
	{"nographic", NULL,
	 "accepted; there is never a window, and COM1 is on the terminal with the monitor (Ctrl-A h)", parse_nothing},
	{"display", "none", "accepted; there is never a window", parse_display},
	{"vnc", "none", "accepted; there is never a window", parse_vnc},
	{"serial", "WHERE",
	 "the next serial port: stdio, mon:stdio, file:FILE, pipe:PATH, unix:PATH, tcp:HOST:PORT, chardev:ID, null, "
	 "none",
	 parse_serial},
	{"chardev", "KIND,id=ID[,KEY=VALUE...]",
	 "a back end that -serial, -device, -mon and -gdb may name: stdio, file, pipe, socket, null", parse_chardev},
	{"debugcon", "WHERE", "what the guest writes to port 0xe9 goes there, as for -serial", parse_debugcon},
	{"monitor", "WHERE", "the monitor, as for -serial", parse_monitor},
	{"mon", "chardev=ID", "the monitor on a -chardev", parse_mon},
	{"screendump", "FILE.png", "write the screen there when the machine ends", parse_screendump},
	{"parallel", "none", "accepted; there is no parallel port", parse_parallel},
	{"k", "LAYOUT", "accepted; the keyboard sends what its keys are in the US", parse_nothing},
	{"net", "none", "accepted; there is no network", parse_no_network},
	{"nic", "none", "accepted; there is no network", parse_no_network},

	{NULL, NULL, "Time and life", NULL},
	{"rtc", "KEY=VALUE", "base=utc|localtime|DATE (by default 2026-01-01, so that runs repeat); clock=vm|host",
	 parse_rtc},
	{"icount", "shift=N",
	 "an instruction takes 2^N ns, N from 0 (the default, also auto) to 10; sleep=off skips idle time even with a "
	 "terminal",
	 parse_icount},
	{"no-reboot", NULL, "a reset ends the machine", parse_no_reboot},
	{"no-shutdown", NULL, "power-off pauses the machine", parse_no_shutdown},
	{"action", "KEY=VALUE", "reboot=reset|shutdown, shutdown=poweroff|pause", parse_action},
	{"S", NULL, "start paused, for the monitor's cont or a debugger", parse_paused},
	{"restore", "FILE", "go on where the monitor's savevm FILE was", parse_restore},
	{"pidfile", "FILE", "write the process number there", parse_pidfile},

	{NULL, NULL, "Debugging", NULL},
	{"s", NULL, "short for -gdb tcp::1234", parse_s},
	{"gdb", "WHERE", "wait for gdb: tcp:HOST:PORT, unix:PATH, stdio, chardev:ID, none", parse_gdb},
	{"d", "ITEM[,ITEM...]", "log these; -d help lists them", parse_log},
	{"D", "FILE", "log into this file, not to stderr", parse_log_file},
	{"explain", "[=text|json|off]",
	 "say on stderr why a VMX instruction or VM entry failed, or a triple fault came; by default on a terminal",
	 parse_explain},
	{"exits", "[=FILE]", "at the end, count, share and time of VM exits, to stderr or FILE; .json is JSON",
	 parse_exits},
	{"stats", NULL, "at the end, say on stderr what ran how fast, and a digest of the machine's state",
	 parse_stats},

	{NULL, NULL, "About", NULL},
	{"version", NULL, "print the version", parse_version},
	{"help", NULL, "print this", parse_help},
	{"h", NULL, "print this", parse_help},
};

/* Options of QEMU's that ask for what is not modelled. */
static const struct {
	const char *name, *why;
} refused[] = {
	{"fda", "floppy drives are not modelled"},
	{"fdb", "floppy drives are not modelled"},
	{"pflash", "flash that the guest can write is not modelled; firmware is loaded with -bios"},
	{"netdev", "networks are not modelled"},
	{"qmp", "there is no QMP; -monitor has commands for people"},
	{"daemonize", "there is no background mode; start it with '&'"},
	{"incoming", "migration is not modelled; see -restore"},
	{"loadvm", "snapshots are files of their own; see -restore"},
	{"spice", "there is no window; see -screendump"},
	{"usbdevice", "USB is not modelled"},
	{"audio", "sound is not modelled"},
	{"audiodev", "sound is not modelled"},
	{"virtfs", "9p is not modelled"},
	{"fsdev", "9p is not modelled"},
	{"tpmdev", "TPMs are not modelled"},
	{"numa", "the machine has one NUMA node"},
	{"object", "objects such as memory back ends are not modelled"},
	{"smbios", "there are no SMBIOS tables of the machine's own"},
	{"mem-path", "RAM is not shared with other programs"},
	{"sandbox", "there is no sandbox"},
	{"trace", "there are no trace points; see -d help"},
	{"dfilter", "a log is of all addresses"},
	{"no-acpi", "the machine always has ACPI"},
	{"dtb", "a PC has no device tree"},
	{"sdl", "there is no window; see -screendump"},
	{"curses", "there is no window; see -screendump"},
	{"watchdog", "watchdogs are not modelled"},
};

static bool is_inline(const struct option *row)
{
	return row->argument && row->argument[0] == '[';
}

static bool parse_help(struct options *o, const char *argument, struct error *error)
{
	puts(SOFTVT_BANNER
	     "\n"
	     "usage: softvt [options] [disk image]\n"
	     "       softvt caps [-cpu MODEL] [-json]    what the VMX capability MSRs of a CPU model say\n"
	     "       softvt check [-cpu MODEL] [-json] FILE    which rules of VM entry the VMCS dumps in a file break\n"
	     "\n"
	     "A PC that takes the options of QEMU's qemu-system-x86_64: what has the same name means the same. One "
	     "dash or two are\n"
	     "the same, and of options that say the same thing the last one counts.");
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		const struct option *row = &table[i];
		char left[64];

		if (!row->name) {
			printf("\n%s:\n", row->help);
			continue;
		}
		snprintf(left, sizeof(left), "-%s%s%s", row->name, row->argument && !is_inline(row) ? " " : "",
			 row->argument ? row->argument : "");
		if (strlen(left) > 26)
			printf("  %s\n  %-27s%s\n", left, "", row->help);
		else
			printf("  %-27s%s\n", left, row->help);
	}
	return o->done = true;
}

static bool unknown(const char *argument, const char *name, struct error *error)
{
	struct nearest nearest = {.word = name};
	char text[128];

	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		if (!strcmp(refused[i].name, name))
			return error_set(error, "%s: %s", argument, refused[i].why);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].name)
			nearest_offer(&nearest, table[i].name);
	}
	return error_set(error, "option '%s' is unknown%s", argument, nearest_text(&nearest, "-", text, sizeof(text)));
}

static const struct option *find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].name && !strcmp(table[i].name, name))
			return &table[i];
	}
	return NULL;
}

/* -NAME=VALUE. NULL: that is none of the options that are written so. */
static const struct option *find_inline(const char *word, const char **value)
{
	size_t size = strcspn(word, "=");

	for (unsigned i = 0; word[size] && i < ARRAY_SIZE(table); i++) {
		const struct option *row = &table[i];

		if (row->name && is_inline(row) && strlen(row->name) == size && !memcmp(row->name, word, size)) {
			*value = word + size + 1;
			return row;
		}
	}
	return NULL;
}

/* What can only be said when all options are known. */
static bool conclude(struct options *o, struct error *error)
{
	struct machine_config *m = &o->machine;

	if (m->initrd && !m->kernel)
		return error_set(error, "-initrd goes with -kernel, which is missing");
	if (m->append && !m->kernel)
		return error_set(error, "-append goes with -kernel, which is missing");
	if (o->no_defaults && !o->vga_said)
		m->vga = false;
	for (unsigned i = 0; i < m->drives; i++)
		m->drive[i].snapshot |= o->snapshot;
	/* COM1 is on the terminal unless something else was asked for, or is there already. */
	if (!o->serials && !o->no_defaults)
		o->serial[o->serials++] = o->monitor && !strcmp(o->monitor, "stdio") ? "null" : "mon:stdio";
	return true;
}

bool options_parse(struct options *o, int argc, char *const argv[], struct error *error)
{
	*o = (struct options){.machine = {.cpus = 1,
					  .ram_size = DEFAULT_RAM,
					  .rtc_base = DEFAULT_DATE,
					  .pit = true,
					  .hpet = true,
					  .smm = true,
					  .i8042 = true,
					  .vga = true},
			      .cpu = "max"};
	for (int i = 1; i < argc; i++) {
		const char *argument = argv[i], *name = argument, *value;
		const struct option *row;

		if (*name != '-' || !name[1]) {
			if (!add_disk(o, argument, 0, error))
				return false;
			continue;
		}
		name += name[1] == '-' ? 2 : 1;
		row = find(name);
		if (!row && (row = find_inline(name, &value))) {
			if (!row->parse(o, value, error))
				return error_prefix(error, "%s", argument);
			continue;
		}
		if (!row)
			return unknown(argument, name, error);
		if (is_inline(row)) {
			if (!row->parse(o, NULL, error))
				return error_prefix(error, "%s", argument);
			continue;
		}
		if (row->argument && ++i == argc)
			return error_set(error, "%s: %s is missing after it", argument, row->argument);
		if (!row->parse(o, row->argument ? argv[i] : NULL, error))
			return error_prefix(error, "%s%s%s", argument, row->argument ? " " : "",
					    row->argument ? argv[i] : "");
		if (o->done)
			return true;
	}
	return conclude(o, error);
}

void options_free(struct options *o)
{
	for (unsigned i = 0; i < o->machine.globals; i++)
		free(o->machine.global[i].driver);
	for (unsigned i = 0; i < o->kept_count; i++)
		free(o->kept[i]);
	free(o->kept);
}
