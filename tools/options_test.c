/*
 * The command line: what is understood, and what the sentences say. The machine's lists are stood in for.
 */
#include "options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "machine/devices.h"

void devices_list(FILE *to)
{
}

bool devices_help(const char *name, FILE *to, struct error *error)
{
	return error_set(error, "no %s", name);
}

void cpu_model_list(void (*line)(void *ctx, const char *text), void *ctx)
{
}

#define ARGUMENTS 32

/* The words of a line, separated by single spaces; "~" in a word stands for a space. */
static bool parse(const char *line, struct options *options, struct error *error)
{
	static char text[1024];
	char *argv[ARGUMENTS] = {"softvt"};
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		for (char *c = word; *c; c++)
			*c = *c == '~' ? ' ' : *c;
		assert_true(argc < ARGUMENTS);
		argv[argc++] = word;
	}
	return options_parse(options, argc, argv, error);
}

static struct options good(const char *line)
{
	struct options options;
	struct error error = {""};

	if (!parse(line, &options, &error))
		fail_msg("'%s': %s", line, error.text);
	return options;
}

static void defaults(void **unused)
{
	struct options o = good("");

	assert_int_equal(o.machine.cpus, 1);
	assert_true(o.machine.ram_size == UINT64_C(1) << 30);
	assert_string_equal(o.cpu, "max");
	assert_int_equal(o.serials, 1);
	assert_string_equal(o.serial[0], "mon:stdio");
	assert_true(o.machine.hpet && o.machine.pit && o.machine.i8042 && o.machine.vga);
	assert_false(o.machine.no_reboot || o.machine.follow_host || o.machine.never_wait);
	options_free(&o);
	o = good("-nodefaults");
	assert_int_equal(o.serials, 0);
	assert_false(o.machine.vga);
	assert_true(o.machine.smm);
	options_free(&o);
	o = good("-nodefaults -vga std -kernel k");
	assert_true(o.machine.vga && o.machine.smm);
	options_free(&o);
	o = good("-M smm=on -kernel k -M smm=off -M smm=auto");
	assert_false(o.machine.smm);
	options_free(&o);
	o = good("-monitor stdio");
	assert_string_equal(o.serial[0], "null");
	options_free(&o);
}

/* One dash or two; of those that say the same the last counts. */
static void dashes_and_order(void **unused)
{
	struct options o =
		good("--smp 4 -smp 2 --no-reboot -m 64 --m 2G -cpu qemu64 --kernel a -kernel b --append x~y");

	assert_int_equal(o.machine.cpus, 2);
	assert_true(o.machine.no_reboot);
	assert_true(o.machine.ram_size == UINT64_C(2) << 30);
	assert_string_equal(o.cpu, "qemu64");
	assert_string_equal(o.machine.kernel, "b");
	assert_string_equal(o.machine.append, "x y");
	options_free(&o);
}

/* What the runner of kvm-unit-tests passes. */
static void kvm_unit_tests(void **unused)
{
	struct options o =
		good("--no-reboot -nodefaults -global kvm-pit.lost_tick_policy=discard -device pc-testdev "
		     "-device isa-debug-exit,iobase=0xf4,iosize=0x4 -display none -serial stdio -device pci-testdev "
		     "-machine accel=kvm:tcg -kernel f -smp 1 -append a -initrd env -cpu max -m 256");

	assert_int_equal(o.machine.devices, 3);
	assert_string_equal(o.machine.device[1], "isa-debug-exit,iobase=0xf4,iosize=0x4");
	assert_int_equal(o.machine.globals, 1);
	assert_string_equal(o.machine.global[0].driver, "kvm-pit");
	assert_string_equal(o.machine.global[0].key, "lost_tick_policy");
	assert_string_equal(o.machine.global[0].value, "discard");
	assert_true(o.machine.ram_size == UINT64_C(256) << 20);
	options_free(&o);
	o = good("-M q35,kernel-irqchip=split,pit=off -enable-kvm -accel kvm -overcommit cpu-pm=on -usb -k de "
		 "-parallel none -net none");
	assert_false(o.machine.pit);
	options_free(&o);
	/* What its runner and its groups passed over the years. */
	o = good("-nodefaults -vnc none -machine kernel_irqchip=split,accel=kvm -cpu host,host-phys-bits=on -smp 4 "
		 "-accel tcg,tb_size=4 -mem-prealloc -msg timestamp=on");
	assert_int_equal(o.machine.cpus, 4);
	options_free(&o);
}

static void drives(void **unused)
{
	struct options o =
		good("-snapshot -drive file=a,,b.qcow2,if=virtio,format=qcow2,cache=none -cdrom c -hdb d disk "
		     "-drive if=none,id=x,file=e,readonly=on");

	assert_int_equal(o.machine.drives, 5);
	assert_string_equal(o.machine.drive[0].file, "a,b.qcow2");
	assert_string_equal(o.machine.drive[0].format, "qcow2");
	assert_int_equal(o.machine.drive[0].interface, DRIVE_VIRTIO);
	assert_true(o.machine.drive[0].snapshot && o.machine.drive[3].snapshot);
	assert_true(o.machine.drive[1].cdrom && o.machine.drive[1].index == 2);
	assert_int_equal(o.machine.drive[2].index, 1);
	assert_string_equal(o.machine.drive[3].file, "disk");
	assert_int_equal(o.machine.drive[4].interface, DRIVE_NONE);
	assert_string_equal(o.machine.drive[4].id, "x");
	assert_true(o.machine.drive[4].read_only);
	options_free(&o);
}

/* What is left out is filled in as QEMU does. */
static void smp(void **unused)
{
	static const struct {
		const char *line;
		unsigned cpus;
		struct cpu_topology topology;
	} cases[] = {
		{"-smp 4", 4, {1, 1, 4, 1}},
		{"-smp cpus=4", 4, {1, 1, 4, 1}},
		{"-smp cores=3", 3, {1, 1, 3, 1}},
		{"-smp sockets=2,cores=2,threads=2", 8, {2, 1, 2, 2}},
		{"-smp 8,sockets=2", 8, {2, 1, 4, 1}},
		{"-smp 8,threads=2", 8, {1, 1, 4, 2}},
		{"-smp 8,cores=2", 8, {4, 1, 2, 1}},
		{"-smp 8,sockets=2,cores=2", 8, {2, 1, 2, 2}},
		{"-smp 8,dies=2", 8, {1, 2, 4, 1}},
		{"-smp 2,maxcpus=8", 2, {1, 1, 8, 1}},
		{"-smp maxcpus=8,threads=2", 8, {1, 1, 4, 2}},
		{"-smp 1,sockets=1,clusters=1,maxcpus=1", 1, {1, 1, 1, 1}},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct options o = good(cases[i].line);

		assert_int_equal(o.machine.cpus, cases[i].cpus);
		assert_memory_equal(&o.machine.topology, &cases[i].topology, sizeof(cases[i].topology));
		options_free(&o);
	}
}

static void icount(void **unused)
{
	struct options o = good("-icount 7");

	assert_int_equal(o.machine.icount_shift, 7);
	assert_false(o.machine.never_wait);
	options_free(&o);
	o = good("-icount shift=10,align=off,sleep=off -icount shift=auto");
	assert_int_equal(o.machine.icount_shift, 0);
	options_free(&o);
}

static void time_and_ids(void **unused)
{
	struct options o =
		good("-rtc base=2006-06-17T16:01:21,clock=host -icount shift=auto,sleep=off -boot order=dc,menu=on "
		     "-uuid 00112233-4455-6677-8899-aabbccddeeff -fw_cfg name=opt/a,string=b -d int,cpu_reset -s");

	assert_true(o.machine.rtc_base == 1150560081);
	assert_true(o.machine.follow_host && o.machine.never_wait && o.machine.boot_menu);
	assert_string_equal(o.machine.boot_order, "dc");
	assert_int_equal(o.machine.uuid[0], 0x00);
	assert_int_equal(o.machine.uuid[15], 0xff);
	assert_int_equal(o.machine.uuid[7], 0x77);
	assert_string_equal(o.machine.fw_cfg[0].name, "opt/a");
	assert_string_equal(o.machine.fw_cfg[0].string, "b");
	assert_true(o.log_enabled == (1u << LOG_INT | 1u << LOG_CPU_RESET));
	assert_string_equal(o.gdb, "tcp::1234");
	options_free(&o);
}

static void sentences(void **unused)
{
	static const struct {
		const char *line, *sentence;
	} cases[] = {
		{"-krenel x", "option '-krenel' is unknown; the nearest known one is '-kernel'"},
		{"--seriel x", "option '--seriel' is unknown; the nearest known one is '-serial'"},
		{"-kernel", "-kernel: FILE is missing after it"},
		{"-netdev user,id=n", "-netdev: networks are not modelled"},
		{"-M pc", "-M pc: machine 'pc' is unknown; the nearest known one is 'q35'"},
		{"-M q35,ptt=off", "-M q35,ptt=off: the machine has no property 'ptt'; the nearest known one is 'pit'"},
		{"-accel hvf",
		 "-accel hvf: accelerator 'hvf' is unknown; tcg and kvm are accepted, and mean the one engine"},
		{"-m 0", "-m 0: RAM must be a whole number of MiB, from 1M to 512G, which '0' is not"},
		{"-m 5x", "-m 5x: '5x' is not a size; 512, 512M and 2G are"},
		{"-smp 0x100", "-smp 0x100: Invalid SMP CPUs 256. The max CPUs supported by machine 'q35' is 64"},
		{"-smp 0",
		 "-smp 0: Invalid CPU topology: CPU topology parameters must be greater than zero, which cpus "
		 "is not"},
		{"-smp 2,maxcpus=0", "-smp 2,maxcpus=0: Invalid CPU topology: CPU topology parameters must be greater "
				     "than zero, which maxcpus is not"},
		{"-smp 99999999999", "-smp 99999999999: cpus=99999999999: there can be 1 to 64 CPUs"},
		{"-rtc base=2026-02-29",
		 "-rtc base=2026-02-29: base=2026-02-29: it is utc, localtime or a date like 2026-06-17T16:01:21"},
		{"-smp 4,threads=3", "-smp 4,threads=3: Invalid CPU topology: product of the hierarchy must match "
				     "maxcpus: sockets (1) * dies (1) * cores (1) * threads (3) != maxcpus (4)"},
		{"-smp 4,maxcpus=2", "-smp 4,maxcpus=2: Invalid CPU topology: maxcpus must be equal to or greater than "
				     "smp: maxcpus (2) < smp_cpus (4)"},
		{"-smp 4,clusters=2", "-smp 4,clusters=2: clusters not supported by this machine's CPU topology"},
		{"-vga cirrus", "-vga cirrus: graphics card 'cirrus' is not modelled; the nearest known one is 'std'"},
		{"-vnc :1", "-vnc :1: -vnc: there is no window; see -screendump"},
		{"-object x", "-object: objects such as memory back ends are not modelled"},
		{"-M kernel_irqchipp=on",
		 "-M kernel_irqchipp=on: the machine has no property 'kernel-irqchipp'; the nearest known one is "
		 "'kernel-irqchip'"},
		{"-uuid 12", "-uuid 12: '12' is not a UUID"},
		{"-global a=b.c", "-global a=b.c: 'a=b.c' is not of the form DRIVER.PROPERTY=VALUE"},
		{"-drive format=raw", "-drive format=raw: file=FILE is missing"},
		{"-drive file=x,if=scsi",
		 "-drive file=x,if=scsi: interface 'scsi' is not modelled; ide, virtio and none are"},
		{"-d intt", "-d intt: log item 'intt' is unknown; the nearest known one is 'int'"},
		{"-icount shift=11", "-icount shift=11: icount: Invalid shift value: '11' is not 0 to 10 or auto"},
		{"-icount 1,align=on",
		 "-icount 1,align=on: align=on: only off is there; -rtc clock=host keeps idle time "
		 "with the host's"},
		{"-initrd x", "-initrd goes with -kernel, which is missing"},
		{"-append x", "-append goes with -kernel, which is missing"},
		{"-device thing,help", "-device thing,help: no thing"},
		{"-explain=loud", "-explain=loud: it is text, json or off"},
		{"-exits=", "-exits=: the name of a file is missing after '='"},
		{"-stats=x", "option '-stats=x' is unknown; the nearest known one is '-stats'"},
		{"-nic user", "-nic user: networks are not modelled; only 'none' is accepted"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct options o;
		struct error error = {""};

		assert_false(parse(cases[i].line, &o, &error));
		assert_string_equal(error.text, cases[i].sentence);
		options_free(&o);
	}
}

/* Options whose argument may be left out have it in the same word. */
static void inline_arguments(void **unused)
{
	struct options o = good("");

	assert_false(o.explain_said);
	assert_false(o.exits);
	o = good("-explain -exits disk.img");
	assert_int_equal(o.explain, EXPLAIN_TEXT);
	assert_true(o.explain_said);
	assert_true(o.exits);
	assert_null(o.exits_file);
	assert_int_equal(o.machine.drives, 1);
	o = good("--explain=json -exits=a=b.json");
	assert_int_equal(o.explain, EXPLAIN_JSON);
	assert_string_equal(o.exits_file, "a=b.json");
	o = good("-explain -explain=off");
	assert_int_equal(o.explain, EXPLAIN_OFF);
	assert_true(o.explain_said);
}

/* Lists have an end, and say so. */
static void too_many(void **unused)
{
	char line[1024] = "";
	struct options o;
	struct error error = {""};

	for (int i = 0; i < MACHINE_SERIALS + 1; i++)
		strcat(line, "-serial null ");
	assert_false(parse(line, &o, &error));
	assert_string_equal(error.text, "-serial null: there are too many -serial options");
	options_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(dashes_and_order),
		cmocka_unit_test(kvm_unit_tests),
		cmocka_unit_test(drives),
		cmocka_unit_test(smp),
		cmocka_unit_test(icount),
		cmocka_unit_test(time_and_ids),
		cmocka_unit_test(sentences),
		cmocka_unit_test(too_many),
		cmocka_unit_test(inline_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
