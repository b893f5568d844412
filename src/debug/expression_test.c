/*
 * The monitor's expressions, and the registers as gdb numbers them.
 */
#include "debug/expression.h"
#include "debug/gdb_registers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cpu *make_cpu(void)
{
	struct cpu *cpu = aligned_alloc(64, sizeof(*cpu));

	memset(cpu, 0, sizeof(*cpu));
	for (unsigned i = 0; i < 16; i++)
		cpu->r[i] = 0x1000 + i;
	cpu->rip = 0xfff0;
	cpu->rflags = RFLAGS_1 | RFLAGS_IF;
	cpu->seg[CS].selector = 0xf000;
	cpu->fpu.mxcsr = 0x1f80;
	return cpu;
}

static void values(void **unused)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{"1+2*3", 7},
		{"(1+2)*3", 9},
		{" 0x10 - 020 ", 0},
		{"-1", UINT64_MAX},
		{"~0", UINT64_MAX},
		{"7/2%2", 1},
		{"6&3|8^1", (((6 & 3) | 8) ^ 1)},
		{"'A'", 65},
		{"$rax", 0x1000},
		{"$rbx+1", 0x1000 + RBX + 1},
		{"$pc", 0xfff0},
		{"$cs*16+$rip", 0xffff0},
		{"--5", 5},
		{"0xffffffffffffffff", UINT64_MAX},
		{"$r15", 0x100f},
	};
	struct cpu *cpu = make_cpu();

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text = cases[i].text;
		struct error error = {""};
		uint64_t value;

		if (!expression_parse(&text, cpu, &value, &error))
			fail_msg("%s: %s", cases[i].text, error.text);
		if (*text || value != cases[i].value)
			fail_msg("%s is %llx, then '%s'", cases[i].text, (unsigned long long)value, text);
	}
	free(cpu);
}

static void refused(void **unused)
{
	static const char *const cases[] = {"", "+", "1+", "(1", "$xyz", "1/0", "1%(2-2)", "'a", "x"};
	struct cpu *cpu = make_cpu();
	char deep[200];
	const char *text = deep;
	struct error error;
	uint64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		text = cases[i];
		error.text[0] = 0;
		assert_false(expression_parse(&text, cpu, &value, &error));
		assert_true(error.text[0]);
	}
	memset(deep, '(', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	text = deep;
	assert_false(expression_parse(&text, cpu, &value, &error));
	free(cpu);
}

/* Order and widths of QEMU's target description. */
static void numbers(void **unused)
{
	static const struct {
		const char *name;
		int number;
		unsigned bytes;
	} cases[] = {{"rax", 0, 8},    {"rbx", 1, 8},	  {"rcx", 2, 8},      {"rsp", 7, 8},  {"r15", 15, 8},
		     {"rip", 16, 8},   {"eflags", 17, 4}, {"cs", 18, 4},      {"gs", 23, 4},  {"st0", 24, 10},
		     {"fctrl", 32, 4}, {"fop", 39, 4},	  {"fs_base", 40, 8}, {"cr0", 43, 8}, {"efer", 48, 8},
		     {"xmm0", 49, 16}, {"xmm15", 64, 16}, {"mxcsr", 65, 4}};
	struct cpu *cpu = make_cpu();
	uint8_t bytes[16];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(gdb_register_number(cases[i].name), cases[i].number);
		assert_int_equal(gdb_register_get(cpu, (unsigned)cases[i].number, bytes), cases[i].bytes);
	}
	assert_int_equal(gdb_register_count(), 66);
	assert_int_equal(gdb_register_get(cpu, 66, bytes), 0);
	assert_int_equal(gdb_register_number("rzx"), -1);
	free(cpu);
}

/* What is written is read back, wherever it may be written. */
static void round_trip(void **unused)
{
	struct cpu *cpu = make_cpu();
	uint8_t out[16], in[16];

	for (unsigned i = 0; i < gdb_register_count(); i++) {
		unsigned size = gdb_register_get(cpu, i, out);
		bool selector = i >= 18 && i <= 23, tags = i == 34, word = i == 32 || i == 33 || i == 39;

		for (unsigned j = 0; j < 16; j++)
			out[j] = j < size && !(word && j > 1) ? (uint8_t)(i + 7 * j + 1) : 0;
		if (i == 17)
			store_le(out, 4, 0x246);
		if (selector || tags)
			continue;
		assert_int_equal(gdb_register_set(cpu, i, out), size);
		assert_int_equal(gdb_register_get(cpu, i, in), size);
		assert_memory_equal(in, out, size);
	}
	free(cpu);
}

static void description(void **unused)
{
	char *xml = gdb_target_xml();

	assert_non_null(strstr(xml, "<architecture>i386:x86-64</architecture>"));
	assert_non_null(strstr(xml, "<reg name=\"rax\" bitsize=\"64\" type=\"int64\" regnum=\"0\"/>"));
	assert_non_null(strstr(xml, "<reg name=\"mxcsr\" bitsize=\"32\" type=\"i386_mxcsr\" regnum=\"65\"/>"));
	assert_string_equal(xml + strlen(xml) - 9, "</target>");
	free(xml);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),     cmocka_unit_test(refused),     cmocka_unit_test(numbers),
		cmocka_unit_test(round_trip), cmocka_unit_test(description),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
