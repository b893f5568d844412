/*
 * INS and OUTS against a guest's segments and page tables, and the walk of those tables. SDM vol. 2, "INS/INSB/INSW/INSD -
 * Input from Port to String"; vol. 3, "Paging".
 */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

#include "guest/walk.c"
#undef ADDRESS
#include "guest/access.c"
#include "vmx/string_io.c"

static uint8_t memory[64 * 4096];
static struct vm vm = {.state = VM_RUNNING, .memory = memory};
static struct vcpu vcpu = {.vm = &vm};
static uint64_t cr0, cr3, cr4, efer;
static unsigned raised, raised_error, skipped;
static uint64_t raised_at;
static char written[256];
static unsigned written_size;

uint64_t vcpu_cr0(const struct vcpu *of) { return cr0; }
uint64_t vcpu_cr3(const struct vcpu *of) { return cr3; }
uint64_t vcpu_cr4(const struct vcpu *of) { return cr4; }
uint64_t vcpu_efer(const struct vcpu *of) { return efer; }
bool vcpu_in_64bit_mode(void) { return efer & EFER_LMA; }
void vm_stop(struct vm *of, const char *format, ...) { of->state = VM_STOPPED; }
void vcpu_skip(struct vcpu *of) { skipped++; }

void vcpu_raise(struct vcpu *of, unsigned vector, bool has_error, uint32_t error)
{
	raised = vector;
	raised_error = error;
}

void vcpu_raise_pf(struct vcpu *of, gva_t address, uint32_t error)
{
	vcpu_raise(of, 14, true, error);
	raised_at = address;
}

bool vm_read(struct vm *of, gpa_t gpa, void *to, size_t size)
{
	if (gpa + size > sizeof(memory))
		return false;
	memcpy(to, memory + gpa, size);
	return true;
}

bool vm_write(struct vm *of, gpa_t gpa, const void *from, size_t size)
{
	if (gpa + size > sizeof(memory))
		return false;
	memcpy(memory + gpa, from, size);
	return true;
}

uint32_t port_read(struct vm *of, uint16_t port, unsigned size) { return 0x44332211; }

void port_write(struct vm *of, uint16_t port, unsigned size, uint32_t value)
{
	memcpy(written + written_size, &value, size);
	written_size += size;
}

enum { CODE = 0x1000, DATA = 0x2000, TABLES = 0x10000 };

/* Flat 32-bit segments, no paging. */
static int setup(void **state)
{
	memset(memory, 0, sizeof(memory));
	memset(fields, 0, sizeof(fields));
	memset(&vcpu, 0, sizeof(vcpu));
	vcpu.vm = &vm;
	vm.state = VM_RUNNING;
	cr0 = CR0_PE;
	cr3 = cr4 = efer = 0;
	raised = raised_error = skipped = written_size = 0;
	fields[VMCS_GUEST_CR0] = CR0_PE;
	fields[VMCS_GUEST_RIP] = CODE;
	for (unsigned i = ES; i <= GS; i++) {
		fields[VMCS_GUEST_ES_AR + 2 * i] = i == CS ? 0xc09b : 0xc093;
		fields[VMCS_GUEST_ES_LIMIT + 2 * i] = UINT32_MAX;
	}
	vcpu.registers[RSI] = vcpu.registers[RDI] = DATA;
	return 0;
}

static void code(const char *bytes)
{
	memcpy(memory + CODE, bytes, strlen(bytes));
	fields[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = strlen(bytes);
}

static void outs(unsigned size) { string_io(&vcpu, 0x80, size, false); }
static void ins(unsigned size) { string_io(&vcpu, 0x80, size, true); }

static void outsb_writes_a_byte_and_moves_on(void **state)
{
	code("\x6e");
	memcpy(memory + DATA, "x", 1);
	outs(1);
	assert_memory_equal(written, "x", 1);
	assert_int_equal(vcpu.registers[RSI], DATA + 1);
	assert_int_equal(skipped, 1);
}

static void rep_ends_with_the_count_and_backwards_with_df(void **state)
{
	code("\xf3\x6d");
	fields[VMCS_GUEST_RFLAGS] = RFLAGS_DF;
	vcpu.registers[RCX] = 3;
	ins(4);
	assert_int_equal(vcpu.registers[RCX], 0);
	assert_int_equal(vcpu.registers[RDI], DATA - 12);
	assert_memory_equal(memory + DATA - 8, "\x11\x22\x33\x44\x11\x22\x33\x44\x11\x22\x33\x44", 12);
	assert_int_equal(skipped, 1);
}

static void a_long_rep_gives_interrupts_a_chance(void **state)
{
	code("\xf3\x6e");
	vcpu.registers[RCX] = REPEAT_MAX + 1;
	outs(1);
	assert_int_equal(vcpu.registers[RCX], 1);
	assert_int_equal(skipped, 0);
	outs(1);
	assert_int_equal(skipped, 1);
}

static void rep_of_nothing_does_nothing(void **state)
{
	code("\xf3\x6e");
	outs(1);
	assert_int_equal(written_size, 0);
	assert_int_equal(skipped, 1);
}

/* 67H: 16-bit addresses, whose registers keep their upper halves. */
static void address_size_and_segment_are_the_prefixes(void **state)
{
	code("\x67\x64\x6e");
	vcpu.registers[RSI] = 0xabcd0000 | 0xffff;
	fields[VMCS_GUEST_ES_BASE + 2 * FS] = DATA;
	memory[DATA + 0xffff] = 'f';
	outs(1);
	assert_memory_equal(written, "f", 1);
	assert_int_equal(vcpu.registers[RSI], 0xabcd0000);
}

static void segments_are_checked(void **state)
{
	static const struct {
		unsigned segment;
		uint64_t rights, limit;
		unsigned vector_in, vector_out;
	} cases[] = {
		{ES, 0xc093, DATA + 3, 0, 0}, {ES, 0xc093, DATA + 2, VECTOR_GP, 0}, {ES, 0xc091, UINT32_MAX, VECTOR_GP, 0},
		{ES, 0x1c093, UINT32_MAX, VECTOR_GP, 0}, {DS, 0xc09b, UINT32_MAX, 0, 0}, {DS, 0xc099, UINT32_MAX, 0, VECTOR_GP},
		{DS, 0xc097, DATA - 1, 0, 0}, {DS, 0xc097, DATA, 0, VECTOR_GP}, {ES, 0xc09b, UINT32_MAX, VECTOR_GP, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned in = 0; in <= 1; in++) {
			setup(NULL);
			code(in ? "\x6d" : "\x6f");
			fields[VMCS_GUEST_ES_AR + 2 * cases[i].segment] = cases[i].rights;
			fields[VMCS_GUEST_ES_LIMIT + 2 * cases[i].segment] = cases[i].limit;
			if (in)
				ins(4);
			else
				outs(4);
			assert_int_equal(raised, in ? cases[i].vector_in : cases[i].vector_out);
			assert_int_equal(skipped, !raised);
		}
	}
	setup(NULL);
	code("\x36\x6f");
	fields[VMCS_GUEST_SS_LIMIT] = DATA;
	outs(4);
	assert_int_equal(raised, VECTOR_SS);
}

static void put64(gpa_t at, uint64_t entry) { memcpy(memory + at, &entry, 8); }
static void put32(gpa_t at, uint32_t entry) { memcpy(memory + at, &entry, 4); }
static uint64_t get64(gpa_t at) { return *(uint64_t *)(memory + at); }

/* 4-level paging: the first 2 MiB map to themselves, and the page at 200000H to DATA. */
static void paging_4_level(uint64_t leaf)
{
	cr0 |= CR0_PG | CR0_WP;
	cr4 = CR4_PAE;
	efer = EFER_LME | EFER_LMA;
	cr3 = TABLES;
	put64(TABLES, (TABLES + 0x1000) | PRESENT | WRITABLE | USER);
	put64(TABLES + 0x1000, (TABLES + 0x2000) | PRESENT | WRITABLE | USER);
	put64(TABLES + 0x2000, PRESENT | WRITABLE | USER | LARGE);
	put64(TABLES + 0x2008, (TABLES + 0x3000) | PRESENT | WRITABLE | USER);
	put64(TABLES + 0x3000, DATA | leaf);
}

static void ins_goes_through_page_tables_and_marks_them(void **state)
{
	paging_4_level(PRESENT | WRITABLE | USER);
	code("\x6d");
	vcpu.registers[RDI] = 0x200004;
	ins(4);
	assert_memory_equal(memory + DATA + 4, "\x11\x22\x33\x44", 4);
	assert_int_equal(get64(TABLES + 0x3000), DATA | PRESENT | WRITABLE | USER | ACCESSED | DIRTY);
	assert_true(get64(TABLES) & ACCESSED);
	assert_int_equal(get64(TABLES) & DIRTY, 0);
}

static void page_faults_are_the_guests(void **state)
{
	static const struct {
		uint64_t leaf;
		unsigned cpl;
		bool in;
		uint32_t error;
	} cases[] = {
		{0, 0, true, WALK_WRITE}, {0, 3, false, WALK_USER}, {PRESENT | USER, 0, true, PRESENT | WALK_WRITE},
		{PRESENT | WRITABLE, 3, false, PRESENT | WALK_USER}, {PRESENT | USER, 3, true, PRESENT | WALK_WRITE | WALK_USER},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		paging_4_level(cases[i].leaf);
		code(cases[i].in ? "\x6d" : "\x6f");
		fields[VMCS_GUEST_SS_AR] |= cases[i].cpl << AR_DPL_SHIFT;
		vcpu.registers[RDI] = vcpu.registers[RSI] = 0x1ffffe; /* the fault is in the second page */
		if (cases[i].in)
			ins(4);
		else
			outs(4);
		assert_int_equal(raised, 14);
		assert_int_equal(raised_error, cases[i].error);
		assert_int_equal(raised_at, 0x200000);
		assert_int_equal(written_size, 0);
		assert_int_equal(vcpu.registers[RDI], 0x1ffffe);
	}
}

static void smap_keeps_a_supervisor_from_user_pages_without_ac(void **state)
{
	paging_4_level(PRESENT | WRITABLE | USER);
	cr4 |= CR4_SMAP;
	code("\x6e");
	vcpu.registers[RSI] = 0x200000;
	outs(1);
	assert_int_equal(raised_error, PRESENT);
	raised = 0;
	fields[VMCS_GUEST_RFLAGS] = RFLAGS_AC;
	outs(1);
	assert_int_equal(raised, 0);
}

static void in_64_bit_mode_an_address_must_be_canonical(void **state)
{
	paging_4_level(PRESENT | WRITABLE | USER);
	code("\x6f");
	vcpu.registers[RSI] = UINT64_C(0x7ffffffffffe);
	outs(4);
	assert_int_equal(raised, VECTOR_GP);
}

static bool finds(gva_t la, gpa_t expected)
{
	gpa_t gpa;

	return translate(&vcpu, la, &gpa) && gpa == expected;
}

static void paging_32_bit_has_pages_of_4_kib_and_4_mib(void **state)
{
	cr0 |= CR0_PG;
	cr3 = TABLES;
	put32(TABLES, (TABLES + 0x1000) | PRESENT);
	put32(TABLES + 0x1000 + 5 * 4, 0x7000 | PRESENT);
	put32(TABLES + 4, 0x00c02000 | LARGE | PRESENT); /* bits 20:13 are 39:32 */
	assert_true(finds(0x5123, 0x7123));
	assert_false(finds(0x6000, 0));
	cr4 = CR4_PSE;
	assert_true(finds(0x412345, UINT64_C(0x100c12345)));
}

static void paging_pae_starts_at_the_pdptes(void **state)
{
	cr0 |= CR0_PG;
	cr4 = CR4_PAE;
	fields[VMCS_GUEST_PDPTE0 + 2 * 3] = TABLES | PRESENT;
	put64(TABLES + 8, 0x600000 | LARGE | PRESENT);
	assert_true(finds(0xc0212345, 0x612345));
	assert_false(finds(0x212345, 0));
}

static void without_paging_an_address_is_itself(void **state) { assert_true(finds(0x12345, 0x12345)); }

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(outsb_writes_a_byte_and_moves_on),
		TEST(rep_ends_with_the_count_and_backwards_with_df),
		TEST(a_long_rep_gives_interrupts_a_chance),
		TEST(rep_of_nothing_does_nothing),
		TEST(address_size_and_segment_are_the_prefixes),
		TEST(segments_are_checked),
		TEST(ins_goes_through_page_tables_and_marks_them),
		TEST(page_faults_are_the_guests),
		TEST(smap_keeps_a_supervisor_from_user_pages_without_ac),
		TEST(in_64_bit_mode_an_address_must_be_canonical),
		TEST(paging_32_bit_has_pages_of_4_kib_and_4_mib),
		TEST(paging_pae_starts_at_the_pdptes),
		TEST(without_paging_an_address_is_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
