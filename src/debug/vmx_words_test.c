/* Exits, interruptions and page faults in words: SDM vol. 3's tables of exit qualifications, one case each. */
#include "debug/vmx_words.h"

#include <Zydis/Zydis.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "vmx/interruption.h"

static void assert_qualification(const struct vmx_exit_record *exit, const char *wanted)
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_int_equal(qualification_words(exit, to), *wanted != 0);
	fclose(to);
	assert_string_equal(text, wanted);
	free(text);
}

#define QUALIFIES(why, number, wanted) \
	assert_qualification(&(struct vmx_exit_record){.reason = VMX_EXIT_##why, .qualification = number}, wanted)

static void qualifications(void **state)
{
	QUALIFIES(CR_ACCESS, 0x603, "CR3 = RSI");
	QUALIFIES(CR_ACCESS, 0xf18, "R15 = CR8");
	QUALIFIES(CR_ACCESS, 0x20, "CLTS");
	QUALIFIES(CR_ACCESS, 0x310070, "LMSW 0x31 from memory");
	QUALIFIES(MOV_DR, 0x307, "DR7 = RBX");
	QUALIFIES(MOV_DR, 0x16, "RAX = DR6");
	QUALIFIES(IO_INSTRUCTION, 0x3f80000, "out 1 byte to port 0x3f8");
	QUALIFIES(IO_INSTRUCTION, 0x1f0003b, "rep ins 4 bytes from port 0x1f0");
	QUALIFIES(APIC_ACCESS, 0x10b0, "write at offset 0xb0");
	QUALIFIES(TASK_SWITCH, 0xc0000038, "to selector 0x38 by a task gate in the IDT");
	QUALIFIES(INVLPG, 0x7000, "of linear 0x7000");
	QUALIFIES(SIPI, 0x9a, "vector 0x9a");
	QUALIFIES(CPUID, 0, "");
	QUALIFIES(VMPTRLD, 0x10, "qualification 0x10");
	assert_qualification(&(struct vmx_exit_record){.reason = VMX_EXIT_EPT_VIOLATION,
						       .qualification = 0x18a,
						       .physical = 0xfee00000,
						       .linear = 0x1234},
			     "write of guest-physical 0xfee00000, EPT allows r--, linear 0x1234");
	assert_qualification(&(struct vmx_exit_record){.reason = VMX_EXIT_EXCEPTION_NMI,
						       .qualification = 0x5000,
						       .interruption = INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_PF,
						       .interruption_error = 0x15},
			     "at linear 0x5000: fetch from a page that does not allow it, user");
}

/* Every reason has its words, whatever its qualification. */
static void any_record(void **state)
{
	for (unsigned reason = 0; reason < 100; reason++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			const struct vmx_exit_record exit = {
				.reason = reason, .qualification = BIT(bit), .interruption = 0x80000300 | bit};
			char *text;
			size_t size;
			FILE *to = open_memstream(&text, &size);

			qualification_words(&exit, to);
			interruption_words((uint32_t)BIT(bit % 32) | 0x80000000, 0, to);
			fclose(to);
			assert_true(size > 0);
			free(text);
		}
	}
}

static void assert_interruption(uint32_t information, uint32_t error, const char *wanted)
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	interruption_words(information, error, to);
	fclose(to);
	assert_string_equal(text, wanted);
	free(text);
}

static void interruptions(void **state)
{
	assert_interruption(0x80000030, 0, "external interrupt 0x30");
	assert_interruption(0x80000b0e, 2, "exception #PF(0x2)");
	assert_interruption(0x80000306, 0, "exception #UD");
	assert_interruption(0x80000202, 0, "NMI, vector 0x2");
	assert_interruption(0x80000480, 0, "INT 0x80");
	assert_interruption(0x80000603, 0, "software exception #BP");
}

static void names(void **state)
{
	char text[16];

	assert_string_equal(msr_words(0xc0000080), "EFER");
	assert_null(msr_words(0x4000));
	assert_string_equal(vmx_mnemonic(ZYDIS_MNEMONIC_VMPTRLD, text, sizeof(text)), "VMPTRLD");
	assert_string_equal(vector_words(0x30, text, sizeof(text)), "vector 0x30");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qualifications),
		cmocka_unit_test(any_record),
		cmocka_unit_test(interruptions),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("debug/vmx_words", tests, NULL, NULL);
}
