/* Emulated accesses: arithmetic and its flags against this processor, and where data goes. */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

#include "guest/emulate.c"

enum { ARITHMETIC_FLAGS = CF | PF | AF | ZF | SF | OF, DEVICE = 0xfec00010 };

static struct fixture {
	struct vm vm;
	struct vcpu vcpu;
	uint8_t code[PAGE]; /* at 1000H; there is no other page */
	uint8_t ram[64];
	uint64_t device, written, absent; /* a linear address that is not mapped */
	unsigned size, writes, skipped, stops;
	bool apic;
} f;

bool lapic_is_at(const struct vcpu *vcpu, gpa_t gpa) { return f.apic; }
uint32_t lapic_read(struct vcpu *vcpu, unsigned offset) { return (uint32_t)f.device; }
uint64_t mmio_read(struct vm *vm, gpa_t gpa, unsigned size) { return f.device; }
void vm_stop(struct vm *vm, const char *format, ...) { f.stops++; }
void vcpu_skip_bytes(struct vcpu *vcpu, unsigned length) { f.skipped = length; }
bool vm_is_ram(const struct vm *vm, gpa_t gpa, uint64_t size) { return gpa < sizeof(f.ram); }

bool vm_read(struct vm *vm, gpa_t gpa, void *to, size_t size)
{
	memcpy(to, f.ram + gpa, size);
	return true;
}

bool vm_write(struct vm *vm, gpa_t gpa, const void *from, size_t size)
{
	memcpy(f.ram + gpa, from, size);
	return true;
}

bool vcpu_access(struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, bool write, gpa_t *gpas)
{
	if (offset == f.absent)
		return false;
	for (unsigned i = 0; i < size; i++)
		gpas[i] = offset + i;
	return true;
}

int format_text(char *to, size_t size, const char *format, ...) { return 0; }

void mmio_write(struct vm *vm, gpa_t gpa, unsigned size, uint64_t value)
{
	f.written = value;
	f.size = size;
	f.writes++;
}

void lapic_write(struct vcpu *vcpu, unsigned offset, uint32_t value) { mmio_write(NULL, 0, 4, value); }

bool vcpu_read_linear(struct vcpu *vcpu, gva_t la, void *to, size_t size)
{
	if (la < 0x1000 || la + size > 0x2000)
		return false;
	memcpy(to, f.code + (la - 0x1000), size);
	return true;
}

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	f = (struct fixture){.vcpu.vm = &f.vm, .device = 0x8877665544332211};
	vmwrite(VMCS_GUEST_RIP, 0x1000);
	vmwrite(VMCS_GUEST_CS_AR, CS_L);
	vmwrite(VMCS_VM_ENTRY_CTLS, CTL(ENTRY_CTLS, IA32E_MODE_GUEST));
	for (unsigned i = 0; i < REGISTERS; i++)
		f.vcpu.registers[i] = UINT64_C(0x0101010101010101) * (0x90 + i);
	return 0;
}

static bool run(const char *code, size_t length)
{
	unsigned stops = f.stops;

	memcpy(f.code + vmread(VMCS_GUEST_RIP) - 0x1000, code, length);
	emulate_mmio(&f.vcpu, DEVICE);
	return f.stops == stops;
}
#define RUN(code) assert_true(run(code, sizeof(code) - 1)); assert_int_equal(f.skipped, sizeof(code) - 1)

#define HOST(name, type, instruction) \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t *flags) \
	{ \
		type x = (type)a, y = (type)b; \
		__asm__("push %2; popf; " instruction " %3, %0; pushf; pop %1" : "+r"(x), "=&r"(*flags) : "r"(*flags), "r"(y) : "cc"); \
		return x; \
	}
#define HOST_ALL(name) \
	HOST(name##1, uint8_t, #name "b") HOST(name##2, uint16_t, #name "w") \
	HOST(name##4, uint32_t, #name "l") HOST(name##8, uint64_t, #name "q")
HOST_ALL(add) HOST_ALL(or) HOST_ALL(adc) HOST_ALL(sbb) HOST_ALL(and) HOST_ALL(sub) HOST_ALL(xor) HOST_ALL(cmp) HOST_ALL(test)

static void flags_as_this_processor(void **state)
{
#define ROW(name) {name##1, name##2, name##4, name##8}
	static uint64_t (*const table[][4])(uint64_t, uint64_t, uint64_t *) = {ROW(add), ROW(or), ROW(adc), ROW(sbb), ROW(and),
									      ROW(sub), ROW(xor), ROW(cmp), ROW(test)};
	static const uint64_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
					 INT64_MAX, BIT(63), UINT64_MAX};

	srand(3);
	for (unsigned n = 0; n < 400000; n++) {
		unsigned operation = n % ARRAY_SIZE(table), width = n / 16 % 4, size = 1u << width;
		uint64_t a = edges[(unsigned)rand() % ARRAY_SIZE(edges)] + (uint64_t)(rand() % 3);
		uint64_t b = edges[(unsigned)rand() % ARRAY_SIZE(edges)] + (uint64_t)(rand() % 3);
		uint64_t before = 2 | (rand() % 2 ? CF : 0), flags = before, want, got;
		bool keeps = operation == MMIO_CMP || operation == MMIO_TEST;
		/* AF is undefined after the logical ones. */
		bool logical = operation == MMIO_OR || operation == MMIO_AND || operation == MMIO_XOR || operation == MMIO_TEST;
		uint64_t defined = logical ? ARITHMETIC_FLAGS & ~AF : ARITHMETIC_FLAGS;

		want = table[operation][width](a, b, &flags);
		vmwrite(VMCS_GUEST_RFLAGS, before);
		got = compute(operation, low(a, size), low(b, size), size);
		if ((!keeps && got != want) || ((vmread(VMCS_GUEST_RFLAGS) ^ flags) & defined))
			fail_msg("operation %u of %u bytes: %lx, %lx: %lx with flags %lx, not %lx with %lx", operation, size, a, b, got,
				 vmread(VMCS_GUEST_RFLAGS), want, flags);
	}
}

static void parts_of_registers(void **state)
{
	RUN("\x8b\x08"); /* mov (%rax), %ecx */
	assert_int_equal(f.vcpu.registers[RCX], 0x44332211);
	RUN("\x66\x8b\x10");
	assert_int_equal(f.vcpu.registers[RDX], 0x9292929292922211);
	RUN("\x8a\x38"); /* %bh */
	assert_int_equal(f.vcpu.registers[RBX], 0x9393939393931193);
	RUN("\x48\x8b\x30");
	assert_int_equal(f.vcpu.registers[RSI], f.device);
	f.device = 0xff85;
	RUN("\x0f\xb6\x08"); /* movzbl */
	assert_int_equal(f.vcpu.registers[RCX], 0x85);
	RUN("\x48\x0f\xbe\x08"); /* movsbq */
	assert_int_equal(f.vcpu.registers[RCX], (uint64_t)-0x7b);
	RUN("\x0f\xbf\x08"); /* movswl */
	assert_int_equal(f.vcpu.registers[RCX], 0xffffff85);
	assert_int_equal(f.writes, 0);
}

static void stores(void **state)
{
	RUN("\x89\x08");
	assert_int_equal(f.written, 0x91919191);
	assert_int_equal(f.size, 4);
	RUN("\x88\x20"); /* %ah */
	assert_int_equal(f.written, 0x90);
	RUN("\xc7\x00\x78\x56\x34\x12");
	assert_int_equal(f.written, 0x12345678);
	RUN("\x87\x08");
	assert_int_equal(f.written, 0x91919191);
	assert_int_equal(f.vcpu.registers[RCX], 0x44332211);
	RUN("\x83\x08\x88"); /* orl $-120, (%rax) */
	assert_int_equal(f.written, 0xffffff99);
	RUN("\x23\x10"); /* and (%rax), %edx */
	assert_int_equal(f.vcpu.registers[RDX], 0x92929292 & 0x44332211);
	assert_int_equal(f.writes, 5);
	RUN("\xf7\x00\x00\x00\x00\x40");
	assert_false(vmread(VMCS_GUEST_RFLAGS) & ZF);
}

static void strings(void **state)
{
	f.vcpu.registers[RCX] = 2;
	f.vcpu.registers[RDI] = 0x5000;
	assert_true(run("\xf3\xab", 2));
	assert_int_equal(f.skipped, 0); /* the processor comes here again */
	assert_int_equal(f.vcpu.registers[RDI], 0x5004);
	RUN("\xf3\xab");
	assert_int_equal(f.vcpu.registers[RCX], 0);
	vmwrite(VMCS_GUEST_RFLAGS, DF);
	RUN("\xaa");
	assert_int_equal(f.vcpu.registers[RDI], 0x5007);
	assert_int_equal(f.written, 0x90);
}

static void moved_strings(void **state)
{
	f.vcpu.registers[RSI] = DEVICE;
	f.vcpu.registers[RDI] = 0x10;
	f.vcpu.registers[RCX] = 1;
	RUN("\xf3\xa5"); /* from the device */
	assert_memory_equal(f.ram + 0x10, "\x11\x22\x33\x44", 4);
	assert_int_equal(f.vcpu.registers[RCX], 0);
	assert_int_equal(f.vcpu.registers[RSI], DEVICE + 4);
	assert_int_equal(f.writes, 0);
	f.vcpu.registers[RSI] = 0x11;
	f.vcpu.registers[RDI] = DEVICE;
	RUN("\x66\xa5"); /* to it */
	assert_int_equal(f.written, 0x3322);
	assert_int_equal(f.size, 2);
	f.skipped = 0;
	f.absent = f.vcpu.registers[RSI]; /* a page fault in the middle */
	assert_true(run("\xa4", 1));
	assert_int_equal(f.skipped, 0);
	assert_int_equal(f.vcpu.registers[RDI], DEVICE + 2);
	assert_int_equal(f.writes, 1);
}

static void registers_of_the_apic_are_dwords(void **state)
{
	f.apic = true;
	RUN("\x48\x8b\x08");
	assert_int_equal(f.vcpu.registers[RCX], 0x44332211);
	RUN("\x88\x08");
	assert_int_equal(f.writes, 0);
	RUN("\x48\x89\x10");
	assert_int_equal(f.written, 0x92929292);
}

static void what_is_not_known_stops(void **state)
{
	assert_false(run("\x0f\xb1\x08", 3));
	assert_int_equal(f.stops, 1);
	vmwrite(VMCS_GUEST_RIP, 0x1ffe);
	RUN("\x89\x08"); /* the next page is not needed, */
	assert_false(run("\x89\x48", 2)); /* or it is */
	assert_int_equal(f.stops, 2);
	vmwrite(VMCS_GUEST_RIP, 0x9000); /* the code is gone */
	emulate_mmio(&f.vcpu, DEVICE);
	assert_int_equal(f.stops, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(flags_as_this_processor), TEST(parts_of_registers), TEST(stores), TEST(strings), TEST(moved_strings),
		TEST(registers_of_the_apic_are_dwords),
		TEST(what_is_not_known_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
