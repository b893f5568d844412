/*
 * The bench image: runs the loops at CPL 3 and says on COM1 when each begins and ends, so that the one who measures can
 * read the emulator's CPU time at that moment. Nothing here needs a clock.
 *
 *   bench begin
 *   loop NAME begin CALLS
 *   loop NAME end CALLS CHECKSUM        or: loop NAME unstable, when two calls gave different checksums
 *   bench end
 *
 * With `vmx` on the command line the image then becomes its own guest (vmx.c), and each loop follows once more with
 * "guest:" before its name; so does cpuid, of which each call is CPUID_EXITS VM exits. With `guest` it does that at once. The
 * command line takes `scale=N`, which multiplies the calls of each loop, `calls=N`, which sets them, and names of loops, all of
 * them by default. At the end the machine is switched off by the means that softvt, QEMU (isa-debug-exit) and Bochs have.
 */
#include "../loops.h"
#include "vmx.h"

#define COM1		 0x3f8
#define DEBUG_EXIT	 0xf4
#define BOCHS_SHUTDOWN	 0x8900
#define FRESH_BASE	 0x40000000ul
#define PAGE_SIZE	 4096
#define PTE_PRESENT_RW_U 7
#define PF_PRESENT	 1
#define CPUID_EXITS	 10000

void guest_main(const char *command_line) __attribute__((noreturn));
void kernel_nothing(void);
void kernel_drop_pages(void);
void kernel_page_fault(uint64_t address, uint64_t error_code);
void kernel_unexpected(void);

extern uint64_t pt_fresh[512];
static uint8_t page_pool[BENCH_FRESH_PAGES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static size_t pool_used;

static void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1 + 5) & 0x20)) /* LSR.THRE */
			;
		outb(COM1, (uint8_t)*text);
	}
}

static void put_number(uint64_t value, unsigned int base)
{
	char digits[21];
	char *at = digits + sizeof(digits) - 1;

	*at = 0;
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put(at);
}

/* Ring 0 from here: what boot.S calls. */

void kernel_nothing(void)
{
}

void kernel_drop_pages(void)
{
	for (size_t i = 0; i < BENCH_FRESH_PAGES; i++) {
		pt_fresh[i] = 0;
		__asm__ volatile("invlpg (%0)" : : "r"(FRESH_BASE + i * PAGE_SIZE) : "memory");
	}
	pool_used = 0;
}

static void stop(const char *why) __attribute__((noreturn));
static void stop(const char *why)
{
	put(why);
	outb(DEBUG_EXIT, 0x10);
	for (const char *word = "Shutdown"; *word; word++)
		outb(BOCHS_SHUTDOWN, (uint8_t)*word);
	for (;;)
		__asm__ volatile("pause");
}

void kernel_page_fault(uint64_t address, uint64_t error_code)
{
	size_t page = (address - FRESH_BASE) / PAGE_SIZE;
	uint8_t *fresh = page_pool[pool_used];
	uint8_t *to = fresh;
	size_t quads = PAGE_SIZE / 8;

	if (page >= BENCH_FRESH_PAGES || error_code & PF_PRESENT || pool_used == BENCH_FRESH_PAGES)
		stop("bench: page fault at an address that is no fresh page\n");
	pool_used++;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(quads) : "a"(0ul) : "memory");
	pt_fresh[page] = (uint64_t)fresh | PTE_PRESENT_RW_U;
}

void kernel_unexpected(void)
{
	stop("bench: an exception that should not happen\n");
}

/* Ring 3 from here. */

static uint64_t system_call(uint64_t number)
{
	__asm__ volatile("syscall" : "+a"(number) : : "rcx", "r11", "memory");
	return number;
}

void bench_syscall(void)
{
	system_call(0);
}

uint8_t *bench_fresh_pages(void)
{
	return (uint8_t *)FRESH_BASE;
}

void bench_drop_pages(uint8_t *pages)
{
	(void)pages;
	system_call(1);
}

/* The length of the word at *at, and *at moved to its first letter; 0 at the end. */
static size_t next_word(const char **at)
{
	size_t length = 0;

	while (**at == ' ')
		(*at)++;
	while ((*at)[length] && (*at)[length] != ' ')
		length++;
	return length;
}

static int is_word(const char *at, size_t length, const char *word)
{
	size_t i = 0;

	while (i < length && word[i] && at[i] == word[i])
		i++;
	return i == length && !word[i];
}

/* The value of NAME=VALUE on the command line, or 0. */
static unsigned int option(const char *line, const char *name)
{
	size_t length;

	for (; (length = next_word(&line)); line += length) {
		unsigned int value = 0;
		size_t i = 0;

		while (name[i] && line[i] == name[i])
			i++;
		if (name[i] || line[i] != '=')
			continue;
		for (i++; line[i] >= '0' && line[i] <= '9'; i++)
			value = value * 10 + (unsigned int)(line[i] - '0');
		return value;
	}
	return 0;
}

static int chosen(const char *line, const struct bench_loop *loop)
{
	int any = 0;
	size_t length;

	for (; (length = next_word(&line)); line += length) {
		if (is_word(line, length, loop->name))
			return 1;
		for (size_t i = 0; i < bench_loop_count; i++)
			any |= is_word(line, length, bench_loops[i].name);
	}
	return !any;
}

static uint64_t run_cpuid(void)
{
	for (unsigned int i = 0; i < CPUID_EXITS; i++)
		__asm__ volatile("cpuid" : : "a"(0), "c"(0) : "rbx", "rdx");
	return 0;
}

static const struct bench_loop cpuid_loop = {"cpuid", run_cpuid, 10};

static void time_loop(const char *prefix, const struct bench_loop *loop, unsigned int calls)
{
	uint64_t checksum = 0;
	int stable = 1;

	put("loop ");
	put(prefix);
	put(loop->name);
	put(" begin ");
	put_number(calls, 10);
	put("\n");
	for (unsigned int i = 0; i < calls; i++) {
		uint64_t sum = loop->run();

		stable &= i == 0 || sum == checksum;
		checksum = sum;
	}
	put("loop ");
	put(prefix);
	put(loop->name);
	if (!stable) {
		put(" unstable\n");
		return;
	}
	put(" end ");
	put_number(calls, 10);
	put(" ");
	put_number(checksum, 16);
	put("\n");
}

static int has_word(const char *line, const char *word)
{
	size_t length;

	for (; (length = next_word(&line)); line += length)
		if (is_word(line, length, word))
			return 1;
	return 0;
}

static void time_chosen(const char *prefix, const char *command_line)
{
	unsigned int scale = option(command_line, "scale"), calls = option(command_line, "calls");

	for (size_t i = 0; i < bench_loop_count; i++)
		if (chosen(command_line, &bench_loops[i]))
			time_loop(prefix, &bench_loops[i], calls ? calls : bench_loops[i].calls * (scale ? scale : 1));
}

void guest_main(const char *command_line)
{
	unsigned int scale = option(command_line, "scale");
	int guest = has_word(command_line, "guest");
	const char *why;

	outb(COM1 + 3, 0x03); /* LCR: 8 data bits; after reset it says 5 */
	put("bench begin\n");
	if (!guest)
		time_chosen("", command_line);
	if (guest || has_word(command_line, "vmx")) {
		why = (const char *)system_call(2);
		if (why)
			stop(why);
		time_chosen("guest:", command_line);
		time_loop("guest:", &cpuid_loop, cpuid_loop.calls * (scale ? scale * scale : 1));
	}
	stop("bench end\n");
}
