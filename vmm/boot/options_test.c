/* The command line: as boot loaders quote it, and word by word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "boot/boot.h"
#include "boot/options.h"

struct boot_info boot_info;

static void expect(const char *name, const char *value)
{
	char buffer[16];
	const char *found = boot_option(name, buffer, sizeof(buffer));

	if (value)
		assert_string_equal(found, value);
	else
		assert_null(found);
}

static void words(void **unused)
{
	options_set("/boot/vmm.elf report  slice=500 vm=a,append=\"demo=no console=x\" demo=all console= reports=1");
	expect("report", "");
	expect("reports", "1");
	expect("rep", NULL);
	expect("slice", "500");
	expect("demo", "all");
	expect("console", "");
	expect("x", NULL);
	expect("/boot/vmm.elf", "");
	options_set("");
	expect("report", NULL);
	options_set("report");
	expect("report", "");
	options_set("demo=\"a b\" report");
	expect("report", "");
}

static void cut_values(void **unused)
{
	options_set("name=0123456789abcdefgh");
	expect("name", "0123456789abcde");
}

/* What GRUB makes of 'vm=a,append="x y"', and what others leave as it is. */
static void quotes(void **unused)
{
	static const char *const lines[][2] = {
		{"\"vm=a,append=\\\"x y\\\"\" report", "vm=a,append=\"x y\" report"},
		{"vm=a,append=\"x y\" report", "vm=a,append=\"x y\" report"},
		{"vm=a,append=\"x \"\"y\" b", "vm=a,append=\"x \"\"y\" b"},
		{"a\\'b c\\\\d e\\f", "a'b c\\d e\\f"},
		{"\"open", "open"},
		{"end\\", "end\\"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		options_set(lines[i][0]);
		assert_string_equal(boot_info.command_line, lines[i][1]);
	}
}

static void long_lines(void **unused)
{
	static char line[2 * COMMAND_LINE_MAX];

	memset(line, 'x', sizeof(line) - 1);
	options_set(line);
	assert_int_equal(strlen(boot_info.command_line), COMMAND_LINE_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(cut_values),
		cmocka_unit_test(quotes),
		cmocka_unit_test(long_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
