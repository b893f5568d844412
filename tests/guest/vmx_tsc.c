/*
 * The guest's time-stamp counter, offset and scaled, and loops of PAUSE.
 *
 * SDM vol. 3, "Time-Stamp Counter Offset and Multiplier", "Changes to Instruction Behavior in VMX Non-Root Operation"
 * (RDMSR, RDTSC, RDTSCP, PAUSE), "Controls for PAUSE-Loop Exiting".
 */
#include "vmx.h"

const char chapter[] = "vmx_tsc";

#define OFFSET	 (1ul << 50)
#define ONE_TIME (1ul << 48)

static u64 no_msr_exits;

static u64 now(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

/* The guest reads its counter: is it what the host's makes of it? "in range", or too low or high. */
static const char *reads(u64 multiplier, u64 offset)
{
	u64 before = now(), seen, after;

	vm_run();
	after = now();
	seen = (regs.ax & 0xffffffff) | regs.dx << 32;
	before = (u64)((unsigned __int128)before * multiplier >> 48) + offset;
	after = (u64)((unsigned __int128)after * multiplier >> 48) + offset;
	return seen < before ? "too low" : seen > after ? "too high" : "in range";
}

#define TSC(name, code, multiplier, offset, ...)                         \
	({                                                               \
		const char *range;                                       \
                                                                         \
		vm_fresh(G64, code);                                     \
		(void)0, ##__VA_ARGS__;                                  \
		range = reads(multiplier, offset);                       \
		vm_line(name, "in range ok", "%s %s", range, vm_text()); \
	})

static void counters(void)
{
	ulong code[3] = {CODE("rdtsc"), CODE("rdtscp"), CODE("mov $0x10, %ecx; rdmsr")};
	static const char names[3][8] = {"rdtsc", "rdtscp", "rdmsr"};
	char name[64];

	for (u32 i = 0; i < 3; i++) {
#define NAME(what) format_text(name, sizeof(name), "%s/" what, names[i])
#define COMMON	   pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, no_msr_exits), sec(ENABLE_RDTSCP)
		TSC(NAME("plain"), code[i], ONE_TIME, 0, COMMON);
		TSC(NAME("offset-field-alone"), code[i], ONE_TIME, 0, COMMON, vm_write(TSC_OFFSET, OFFSET));
		TSC(NAME("offset"), code[i], ONE_TIME, OFFSET, COMMON, pri(USE_TSC_OFFSETTING),
		    vm_write(TSC_OFFSET, OFFSET));
		TSC(NAME("negative-offset"), code[i], ONE_TIME, -1000ul, COMMON, pri(USE_TSC_OFFSETTING),
		    vm_write(TSC_OFFSET, -1000ul));
		TSC(NAME("scaled-twice"), code[i], 2 * ONE_TIME, 0, COMMON, pri(USE_TSC_OFFSETTING),
		    sec(USE_TSC_SCALING), vm_write(TSC_MULTIPLIER, 2 * ONE_TIME));
		TSC(NAME("scaled-half-and-offset"), code[i], ONE_TIME / 2, OFFSET, COMMON, pri(USE_TSC_OFFSETTING),
		    sec(USE_TSC_SCALING), vm_write(TSC_MULTIPLIER, ONE_TIME / 2), vm_write(TSC_OFFSET, OFFSET));
		TSC(NAME("scaling-without-offsetting"), code[i], ONE_TIME, 0, COMMON, sec(USE_TSC_SCALING),
		    vm_write(TSC_MULTIPLIER, 2 * ONE_TIME));
	}
	/* WRMSR of the counter is no guest matter: the value written is the processor's. */
	u64 before = now();

	vm_fresh(G64, CODE("mov $0x10, %ecx; xor %eax, %eax; mov $0x1000, %edx; wrmsr"));
	pri(USE_TSC_OFFSETTING);
	pri(USE_MSR_BITMAPS);
	vm_write(MSR_BITMAP, no_msr_exits);
	vm_write(TSC_OFFSET, OFFSET);
	vm_run();
	vm_line("wrmsr/not-offset", "ok 1", "%s %u", vm_text(), now() >= 0x1000ul << 32 && now() < 0x1001ul << 32);
	wrmsr(MSR_TSC, before);
}

static void pauses(void)
{
	ulong loop = CODE("1: pause; dec %rbx; jnz 1b"),
	      slow = CODE("1: pause; mov $3000, %ecx; 2: dec %ecx; jnz 2b; dec %rbx; jnz 1b");

#define PLE(gap, window) sec(PAUSE_LOOP_EXITING), vm_write(PLE_GAP, gap), vm_write(PLE_WINDOW, window)
	V("pause/loop-exits", "PAUSE len=2", G64, loop, regs.bx = 1000000, PLE(1000, 20000));
	vm_line("pause/loop-has-run", "1", "%u", regs.bx < 1000000 && regs.bx > 900000);
	V("pause/window-not-over", "ok", G64, loop, regs.bx = 100, PLE(1000, 0x7fffffff));
	V("pause/gap-starts-anew", "ok", G64, slow, regs.bx = 50, PLE(1000, 20000));
	V("pause/ring3", "ok", G64_U, loop, regs.bx = 20000, PLE(1000, 20000));
	V("pause/window-0-second", "PAUSE len=2", G64, loop, regs.bx = 5, PLE(0x7fffffff, 0));
	vm_line("pause/window-0-second-count", "4", "%lu", regs.bx);
	V("pause/exiting-counts-first", "PAUSE len=2", G64, loop, regs.bx = 100, PLE(1000, 0x7fffffff),
	  pri(PAUSE_EXITING));
	vm_line("pause/exiting-counts-first-count", "100", "%lu", regs.bx);
	V("pause/exiting-ring3", "PAUSE len=2", G64_U, loop, regs.bx = 100, PLE(1000, 0x7fffffff), pri(PAUSE_EXITING));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	no_msr_exits = (u64)page_alloc();
	counters();
	pauses();
	vm_report();
}
