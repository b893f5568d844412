/*
 * The VMM's end when it is wrong itself, or the machine is. What it says goes to the serial port past the console, whose
 * lock may be held.
 */
#include "lib/print.h"

#include "console/serial.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/trap.h"
#include "cpu/x86.h"

enum { LINE_MAX = 512, CALLERS_MAX = 16 };

static bool panicking;

/* SDM vol. 3, "Exceptions and Interrupts". */
static const char *const exceptions[32] = {
	"#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR BOUND range exceeded", "#UD invalid opcode",
	"#NM no math coprocessor", "#DF double fault", "9", "#TS invalid TSS", "#NP segment not present", "#SS stack-segment fault",
	"#GP general protection", "#PF page fault", "15", "#MF math fault", "#AC alignment check", "#MC machine check",
	"#XM SIMD exception", "#VE virtualization exception", "#CP control protection exception", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
};

bool panic_here(void)
{
	return __atomic_load_n(&panicking, __ATOMIC_ACQUIRE);
}

void cpu_stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void say(const char *format, ...) PRINTF(1, 2);
static void say(const char *format, ...)
{
	char line[LINE_MAX];
	va_list args;

	va_start(args, format);
	vformat_text(line, sizeof(line), format, args);
	va_end(args);
	for (const char *c = line; *c; c++) {
		if (*c == '\n')
			serial_put('\r');
		serial_put((uint8_t)*c);
	}
}

/* The first CPU that comes here speaks. An NMI also stops CPUs that spin with interrupts off, and those in a guest. */
static void begin(void)
{
	interrupts_off();
	if (__atomic_exchange_n(&panicking, true, __ATOMIC_ACQ_REL))
		cpu_stop();
	for (unsigned i = 0; i < CPUS_MAX; i++) {
		if (cpus[i].online && &cpus[i] != this_cpu())
			apic_send_nmi(cpus[i].apic_id);
	}
}

/* Return addresses: every function keeps a frame pointer. */
static void say_callers(uint64_t frame)
{
	uint64_t top = pa_of(this_cpu()->stack_top);

	say("vmm: called from");
	for (unsigned i = 0; i < CALLERS_MAX && frame >= top - CPU_STACK && frame <= top - 16; i++) {
		const uint64_t *at = at_pa(frame);

		say(" %lx", at[1]);
		frame = at[0];
	}
	say("\n");
}

void panic(const char *format, ...)
{
	char line[LINE_MAX];
	va_list args;

	begin();
	va_start(args, format);
	vformat_text(line, sizeof(line), format, args);
	va_end(args);
	say("\nvmm: panic on CPU %u: %s\n", this_cpu()->index, line);
	say_callers(pa_of(__builtin_frame_address(0)));
	cpu_stop();
}

void panic_trap(const struct trap *t)
{
	begin();
	say("\nvmm: panic on CPU %u: %s, error code %lx\n", this_cpu()->index, exceptions[t->vector % 32], t->error);
	say("vmm: RIP %016lx CS  %04lx RFLAGS %08lx\n", t->rip, t->cs, t->rflags);
	say("vmm: RAX %016lx RCX %016lx RDX %016lx RBX %016lx\n", t->rax, t->rcx, t->rdx, t->rbx);
	say("vmm: RSP %016lx RBP %016lx RSI %016lx RDI %016lx\n", t->rsp, t->rbp, t->rsi, t->rdi);
	say("vmm: R8  %016lx R9  %016lx R10 %016lx R11 %016lx\n", t->r8, t->r9, t->r10, t->r11);
	say("vmm: R12 %016lx R13 %016lx R14 %016lx R15 %016lx\n", t->r12, t->r13, t->r14, t->r15);
	say("vmm: CR0 %016lx CR2 %016lx CR3 %016lx CR4 %016lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
	say_callers(t->rbp);
	cpu_stop();
}
