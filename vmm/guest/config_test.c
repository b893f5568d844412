/* vm= of the command line: what it may say, and a sentence for what it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot.h"
#include "guest/config.h"
#include "lib/print.h"

static const struct module kernel = {.name = "vmlinuz", .size = 1}, initrd = {.name = "initrd", .size = 1};
static char said[100000];

const struct module *boot_module(const char *name)
{
	return !strcmp(name, kernel.name) ? &kernel : !strcmp(name, initrd.name) ? &initrd : NULL;
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said + strlen(said), sizeof(said) - strlen(said), format, args);
	va_end(args);
}

static bool first(const char *line, struct vm_config *config)
{
	said[0] = 0;
	return config_next(&line, config);
}

static void every_key(void **unused)
{
	struct vm_config config;

	assert_true(first("report vm=deb-1_A,mem=1G,cpus=2,kernel=vmlinuz,initrd=initrd,append=\"console=ttyS0,115200 quiet a=b\" "
			  "slice=1", &config));
	assert_string_equal(config.name, "deb-1_A");
	assert_int_equal(config.memory, 1 << 30);
	assert_int_equal(config.cpus, 2);
	assert_ptr_equal(config.kernel, &kernel);
	assert_ptr_equal(config.initrd, &initrd);
	assert_null(config.image);
	assert_string_equal(config.append, "console=ttyS0,115200 quiet a=b");
	assert_string_equal(said, "");
}

static void quotes_in_quotes(void **unused)
{
	struct vm_config config;

	assert_true(first("vm=a,kernel=vmlinuz,append=\"quiet run=\"\"echo a,b; ls\"\" end\",cpus=2 vm=b", &config));
	assert_string_equal(config.append, "quiet run=\"echo a,b; ls\" end");
	assert_int_equal(config.cpus, 2);
	assert_true(first("vm=a,kernel=vmlinuz,append=\"run=\"\"x y\"\"\"", &config));
	assert_string_equal(config.append, "run=\"x y\"");
	assert_true(first("vm=a,kernel=vmlinuz,append=\"\"", &config));
	assert_string_equal(config.append, "");
}

static void defaults(void **unused)
{
	struct vm_config config;

	assert_true(first("vm=a,kernel=vmlinuz", &config));
	assert_int_equal(config.memory, 256 << 20);
	assert_int_equal(config.cpus, 1);
	assert_string_equal(config.append, "");
	assert_true(first("vm=a,image=initrd", &config));
	assert_int_equal(config.memory, 4 << 20);
	assert_ptr_equal(config.image, &initrd);
	assert_null(config.kernel);
}

static void one_after_the_other(void **unused)
{
	const char *at = "x vm=a,kernel=vmlinuz  vm=bad vm=b,image=initrd \"vm=c,kernel=vmlinuz\" avm=d";
	struct vm_config config;

	said[0] = 0;
	assert_true(config_next(&at, &config));
	assert_string_equal(config.name, "a");
	assert_true(config_next(&at, &config));
	assert_string_equal(config.name, "b");
	assert_false(config_next(&at, &config));
	assert_false(config_next(&at, &config));
	assert_string_equal(said, "vmm: vm=bad: it has neither kernel= nor image=.\n");
}

static void refusals(void **unused)
{
	static const char *const lines[][2] = {
		{"vm=", "a VM's name has 1 to 31"},
		{"vm=,kernel=vmlinuz", "a VM's name"},
		{"vm=all,kernel=vmlinuz", "a VM's name"},
		{"vm=a.b,kernel=vmlinuz", "a VM's name"},
		{"vm=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,kernel=vmlinuz", "a VM's name"},
		{"vm=a", "it has neither kernel= nor image="},
		{"vm=a,initrd=initrd", "it has neither"},
		{"vm=a,kernel=vmlinuz,image=initrd", "it has both"},
		{"vm=a,image=initrd,initrd=initrd", "are for kernel="},
		{"vm=a,image=initrd,append=x", "are for kernel="},
		{"vm=a,kernel=none", "kernel=none: the boot loader has brought no module"},
		{"vm=a,kernel=", "no module"},
		{"vm=a,kernel=vmlinuz,mem=14M", "16M or more"},
		{"vm=a,kernel=vmlinuz,mem=256", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=3M", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=0", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=4G", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=-2M", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=99999999999999999999G", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,mem=", "not a multiple of 2M"},
		{"vm=a,kernel=vmlinuz,cpus=0", "not a number from 1 to 4"},
		{"vm=a,kernel=vmlinuz,cpus=5", "not a number from 1 to 4"},
		{"vm=a,kernel=vmlinuz,cpus=2K", "not a number from 1 to 4"},
		{"vm=a,kernel=vmlinuz,disc=x", "there is no key \"disc\""},
		{"vm=a,kernel=vmlinuz,quiet", "\"quiet\" is no KEY=VALUE"},
		{"vm=a,kernel=vmlinuz,", "\"\" is no KEY=VALUE"},
		{"vm=a,,kernel=vmlinuz", "\"\" is no KEY=VALUE"},
		{"vm=a,kernel=vmlinuz,=1", "there is no key \"\""},
		{"vm=a,kernel=vmlinuz,append=\"x y", "open quote"},
	};
	struct vm_config config;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (first(lines[i][0], &config) || !strstr(said, lines[i][1]) || strncmp(said, "vmm: ", 5) ||
		    !strstr(said, ".\n"))
			fail_msg("%s: %s", lines[i][0], said);
		assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one sentence each */
	}
}

static void long_texts(void **unused)
{
	char line[8000], text[6000];
	struct vm_config config;

	for (size_t length = 1000; length < 1100; length++) {
		memset(text, 'x', length);
		text[length] = 0;
		snprintf(line, sizeof(line), "vm=a,kernel=vmlinuz,append=%s", text);
		assert_int_equal(first(line, &config), length < sizeof(config.append));
		if (length < sizeof(config.append))
			assert_string_equal(config.append, text);
		else
			assert_non_null(strstr(said, "long"));
		snprintf(line, sizeof(line), "vm=%s", text);
		assert_false(first(line, &config));
		snprintf(line, sizeof(line), "vm=a,%s=x", text);
		assert_false(first(line, &config));
		snprintf(line, sizeof(line), "vm=a,mem=%s", text);
		assert_false(first(line, &config));
	}
}

/* Any text at all: no access outside (the sanitizers see it), no endless loop, and a name whenever there is a VM. */
static void noise(void **unused)
{
	static const char *const pieces[] = {"vm=",  "a",  ",",	     "=",	"\"", " ",    "kernel=vmlinuz", "image=initrd",
					     "mem=", "2M", "cpus=2", "append=", "\\", "\xff", "vm"};
	struct vm_config config;

	srand(1);
	for (unsigned run = 0; run < 50000; run++) {
		char line[400] = "";
		const char *at = line;

		for (int n = rand() % 16; n; n--)
			strcat(line, pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))]);
		said[0] = 0;
		while (config_next(&at, &config)) {
			assert_true(config.name[0] && strlen(config.name) < sizeof(config.name));
			assert_true(config.memory && config.memory % (2 << 20) == 0 && config.cpus >= 1 && config.cpus <= 4);
			assert_true(!config.kernel != !config.image);
		}
		assert_int_equal(*at, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key),
		cmocka_unit_test(quotes_in_quotes),
		cmocka_unit_test(defaults),
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(refusals),
		cmocka_unit_test(long_texts),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
