/*
 * A vCPU's registers as text, in the layout that QEMU users know.
 */
#include "debug/debug.h"

#include "machine/parts.h"

static const char *const segment_names[SEG_ALL] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"};

static const char *const register_names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					       "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
/* The order in which they are shown. */
static const uint8_t shown[16] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15};

static void dump_flags(uint64_t rflags, char text[8])
{
	static const struct {
		uint64_t bit;
		char letter;
	} flags[] = {{RFLAGS_DF, 'D'}, {RFLAGS_OF, 'O'}, {RFLAGS_SF, 'S'}, {RFLAGS_ZF, 'Z'},
		     {RFLAGS_AF, 'A'}, {RFLAGS_PF, 'P'}, {RFLAGS_CF, 'C'}};

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
		text[i] = rflags & flags[i].bit ? flags[i].letter : '-';
	text[ARRAY_SIZE(flags)] = 0;
}

static const char *mode_name(const struct cpu *cpu)
{
	if (!cpu_protected(cpu))
		return "real mode";
	if (cpu_v86(cpu))
		return "virtual-8086 mode";
	if (cpu_64bit(cpu))
		return "64-bit mode";
	if (cpu_long_mode(cpu))
		return "compatibility mode";
	return cpu->seg[CS].ar & AR_DB ? "32-bit protected mode" : "16-bit protected mode";
}

void dump_cpu(const struct cpu *cpu, FILE *to)
{
	static const char *const activities[] = {"active", "halted", "shut down", "waiting for SIPI", "in MWAIT"};
	uint64_t rflags = cpu_rflags(cpu);
	char flags[8];

	dump_flags(rflags, flags);
	fprintf(to, "CPU#%u: %s, %s\n", cpu->number, mode_name(cpu), activities[cpu->activity]);
	for (unsigned i = 0; i < 16; i++)
		fprintf(to, "%s=%016llx%c", register_names[shown[i]], (unsigned long long)cpu->r[shown[i]],
			i % 4 == 3 ? '\n' : ' ');
	fprintf(to, "RIP=%016llx RFL=%08llx [%s] CPL=%u II=%u A20=1 SMM=%u HLT=%u\n", (unsigned long long)cpu->rip,
		(unsigned long long)rflags, flags, cpu->cpl, cpu->shadow != 0, cpu->in_smm,
		cpu->activity == ACTIVITY_HLT);
	for (unsigned i = 0; i < SEG_ALL; i++) {
		const struct segment *s = &cpu->seg[i];

		fprintf(to, "%-3s=%04x %016llx %08x %08x\n", segment_names[i], s->selector, (unsigned long long)s->base,
			s->limit, s->ar << 8);
	}
	fprintf(to, "GDT=     %016llx %08x\n", (unsigned long long)cpu->gdtr.base, cpu->gdtr.limit);
	fprintf(to, "IDT=     %016llx %08x\n", (unsigned long long)cpu->idtr.base, cpu->idtr.limit);
	fprintf(to, "CR0=%08llx CR2=%016llx CR3=%016llx CR4=%08llx CR8=%llx\n", (unsigned long long)cpu->cr0,
		(unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3, (unsigned long long)cpu->cr4,
		(unsigned long long)cpu->cr8);
	for (unsigned i = 0; i < 4; i++)
		fprintf(to, "DR%u=%016llx%c", i, (unsigned long long)cpu->dr[i], i == 3 ? '\n' : ' ');
	fprintf(to, "DR6=%016llx DR7=%016llx\n", (unsigned long long)cpu->dr6, (unsigned long long)cpu->dr7);
	fprintf(to, "EFER=%016llx XCR0=%llx MXCSR=%08x\n", (unsigned long long)cpu->efer,
		(unsigned long long)cpu->fpu.xcr0, cpu->fpu.mxcsr);
}
