/*
 * info: what the monitor shows of the machine. One table of subjects.
 */
#include "debug/monitor.h"

#include <string.h>

#include "debug/paging.h"

static void info_registers(struct monitor *mon, const char *arguments, FILE *to)
{
	bool all = !strcmp(arguments, "-a");

	for (unsigned i = 0; i < machine_cpus(mon->machine); i++) {
		if (all || i == mon->cpu)
			dump_cpu(machine_cpu(mon->machine, i), to);
	}
}

static void info_cpus(struct monitor *mon, const char *arguments, FILE *to)
{
	for (unsigned i = 0; i < machine_cpus(mon->machine); i++) {
		const struct cpu *cpu = machine_cpu(mon->machine, i);
		char level[48];

		fprintf(to, "%c CPU #%u: rip=0x%016llx%s", i == mon->cpu ? '*' : ' ', i, (unsigned long long)cpu->rip,
			cpu->activity == ACTIVITY_ACTIVE ? "" : " (halted)");
		fprintf(to, vmx_level(cpu, level, sizeof(level)) ? " [%s]\n" : "\n", level);
	}
}

struct listing {
	FILE *to;
	unsigned lines;
	struct mapping run; /* of equal rights, not printed yet; size 0: none */
};

#define LINES_MAX 20000

static bool list_page(void *ctx, const struct mapping *m)
{
	struct listing *l = ctx;

	fprintf(l->to, "%016llx: %016llx %c%c%c%c%c%c%c%c%c\n", (unsigned long long)m->la, (unsigned long long)m->pa,
		m->no_execute ? 'X' : '-', m->entry & BIT(8) ? 'G' : '-', m->size > 4096 ? 'P' : '-',
		m->entry & BIT(6) ? 'D' : '-', m->entry & BIT(5) ? 'A' : '-', m->entry & BIT(4) ? 'C' : '-',
		m->entry & BIT(3) ? 'T' : '-', m->user ? 'U' : '-', m->writable ? 'W' : '-');
	return ++l->lines < LINES_MAX;
}

static void end_run(struct listing *l)
{
	const struct mapping *m = &l->run;

	if (m->size)
		fprintf(l->to, "%016llx-%016llx %016llx %c%c%c\n", (unsigned long long)m->la,
			(unsigned long long)(m->la + m->size), (unsigned long long)m->size, m->user ? 'u' : '-', 'r',
			m->writable ? 'w' : '-');
	l->run.size = 0;
	l->lines++;
}

static bool list_run(void *ctx, const struct mapping *m)
{
	struct listing *l = ctx;

	if (l->run.size && l->run.la + l->run.size == m->la && l->run.user == m->user &&
	    l->run.writable == m->writable) {
		l->run.size += m->size;
		return true;
	}
	end_run(l);
	l->run = *m;
	return l->lines < LINES_MAX;
}

static void info_tlb(struct monitor *mon, const char *arguments, FILE *to)
{
	struct listing l = {.to = to};

	if (!paging_list(machine_cpu(mon->machine, mon->cpu), list_page, &l))
		fprintf(to, "PG disabled\n");
}

static void info_mem(struct monitor *mon, const char *arguments, FILE *to)
{
	struct listing l = {.to = to};

	if (!paging_list(machine_cpu(mon->machine, mon->cpu), list_run, &l))
		fprintf(to, "PG disabled\n");
	else
		end_run(&l);
}

static void info_mtree(struct monitor *mon, const char *arguments, FILE *to)
{
	struct bus *bus = mon->machine->bus;
	pa_t at = 0;

	fprintf(to, "memory as a CPU outside SMM sees it:\n");
	do {
		struct bus_span span;

		bus_lookup(bus, at, false, &span);
		if (span.region)
			fprintf(to, "  %016llx-%016llx %s%s\n", (unsigned long long)span.base,
				(unsigned long long)(span.end - 1), region_name(span.region),
				span.host && !span.writable ? " (read-only)" : "");
		at = span.end;
	} while (at);
}

static void show_function(const struct pci_function *f, FILE *to)
{
	fprintf(to, "  Bus %2u, device %3u, function %u: %s\n    class %06x, %04x:%04x, IRQ %u, pin %c\n", f->bus,
		f->slot, f->number, f->name, pci_config_dword(f, 8) >> 8, pci_config_word(f, 0), pci_config_word(f, 2),
		pci_config_byte(f, 0x3c), pci_config_byte(f, 0x3d) ? 'A' + pci_config_byte(f, 0x3d) - 1 : '-');
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint64_t value = pci_config_dword(f, 0x10 + 4 * i);

		switch (f->bar[i].kind) {
		case PCI_BAR_NONE: continue;
		case PCI_BAR_IO:
			fprintf(to, "      BAR%u: I/O at 0x%04llx, %llu bytes\n", i, (unsigned long long)value & 0xfffc,
				(unsigned long long)f->bar[i].size);
			break;
		case PCI_BAR_MEM64:
		case PCI_BAR_MEM64_PREFETCH:
			value |= (uint64_t)pci_config_dword(f, 0x14 + 4 * i) << 32;
			__attribute__((fallthrough));
		case PCI_BAR_MEM32:
			fprintf(to, "      BAR%u: memory at 0x%08llx, 0x%llx bytes\n", i,
				(unsigned long long)value & ~0xfULL, (unsigned long long)f->bar[i].size);
			break;
		}
	}
}

static void info_pci(struct monitor *mon, const char *arguments, FILE *to)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned number = 0; number < 8; number++) {
			const struct pci_function *f = pci_find(mon->machine->pci, 0, (uint8_t)slot, (uint8_t)number);

			if (f)
				show_function(f, to);
		}
	}
}

/* Eight 32-bit registers, 16 bytes apart, that are one bit per vector: SDM vol. 3, "Interrupt Acceptance for Fixed
 * Interrupts". */
static void show_vectors(struct apic *apic, const char *name, unsigned offset, FILE *to)
{
	fprintf(to, "  %s", name);
	for (unsigned vector = 0; vector < 256; vector++) {
		if (apic_peek(apic, offset + 16 * (vector / 32)) >> (vector % 32) & 1)
			fprintf(to, " %02x", vector);
	}
	fputc('\n', to);
}

static void info_lapic(struct monitor *mon, const char *arguments, FILE *to)
{
	static const struct {
		const char *name;
		uint16_t offset;
	} registers[] = {{"ID", 0x20},
			 {"TPR", 0x80},
			 {"LDR", 0xd0},
			 {"DFR", 0xe0},
			 {"SVR", 0xf0},
			 {"ESR", 0x280},
			 {"ICR", 0x300},
			 {"LVT timer", 0x320},
			 {"LVT thermal", 0x330},
			 {"LVT performance", 0x340},
			 {"LVT LINT0", 0x350},
			 {"LVT LINT1", 0x360},
			 {"LVT error", 0x370},
			 {"timer initial count", 0x380},
			 {"timer current count", 0x390},
			 {"timer divide", 0x3e0}};
	struct cpu *cpu = machine_cpu(mon->machine, mon->cpu);

	fprintf(to, "CPU#%u: IA32_APIC_BASE %#llx\n", mon->cpu, (unsigned long long)cpu->apic_base);
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		fprintf(to, "  %-20s%08x\n", registers[i].name, apic_peek(cpu->apic, registers[i].offset));
	show_vectors(cpu->apic, "ISR", 0x100, to);
	show_vectors(cpu->apic, "TMR", 0x180, to);
	show_vectors(cpu->apic, "IRR", 0x200, to);
}

static void info_status(struct monitor *mon, const char *arguments, FILE *to)
{
	static const char *const why[] = {
		[STOP_ASKED] = "paused",
		[STOP_STEPPED] = "paused after one instruction",
		[STOP_BREAKPOINT] = "paused at a breakpoint",
		[STOP_POWERED_OFF] = "powered off",
		[STOP_SHUTDOWN] = "shut down",
	};
	enum machine_stop stop = machine_stopped(mon->machine);

	fprintf(to, "VM status: %s\n", stop == STOP_NONE ? "running" : why[stop]);
}

static void info_version(struct monitor *mon, const char *arguments, FILE *to)
{
	fprintf(to, "SoftVT " SOFTVT_VERSION "\n");
}

static void info_parts(struct monitor *mon, const char *arguments, FILE *to)
{
	for (unsigned i = 0; i < mon->machine->parts; i++)
		fprintf(to, "%s\n", mon->machine->part[i].ops->name);
}

static void info_stats(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_print_stats(mon->machine, to);
}

static void info_pic(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_print_interrupts(mon->machine, to);
}

static void info_irq(struct monitor *mon, const char *arguments, FILE *to)
{
	for (unsigned i = 0; i < machine_cpus(mon->machine); i++) {
		const struct cpu *cpu = machine_cpu(mon->machine, i);

		fprintf(to, "CPU#%u: %llu interrupts, %llu exceptions\n", i, (unsigned long long)cpu->interrupts,
			(unsigned long long)cpu->exceptions);
	}
}

static void info_block(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_print_drives(mon->machine, to);
}

static const struct monitor_command subjects[] = {
	{"block", "", "disks", info_block},
	{"cpus", "", "the CPUs", info_cpus},
	{"ept", "ADDRESS [EPTP]", "the EPT entries that a guest-physical address means, and where they end",
	 monitor_info_ept},
	{"irq", "", "counts of interrupts", info_irq},
	{"lapic", "", "the current CPU's local APIC", info_lapic},
	{"mem", "", "ranges of linear addresses that are mapped", info_mem},
	{"mtree", "", "who answers which physical address", info_mtree},
	{"pci", "", "PCI functions", info_pci},
	{"pic", "", "the interrupt controllers of the chipset", info_pic},
	{"qtree", "", "the parts of the machine", info_parts},
	{"registers", "[-a]", "registers of the current CPU, or of all", info_registers},
	{"stats", "", "what ran how fast", info_stats},
	{"status", "", "running or paused", info_status},
	{"tlb", "", "every mapped page", info_tlb},
	{"vmcs", "", "the current CPU's current VMCS, as softvt check reads it", monitor_info_vmcs},
	{"vmx", "", "VMX operation of each CPU, its VMCS and its VM exits", monitor_info_vmx},
	{"version", "", "the version", info_version},
};

void monitor_info(struct monitor *mon, const char *subject, FILE *to)
{
	if (*subject)
		monitor_dispatch(mon, subjects, ARRAY_SIZE(subjects), "subject", subject, to);
	else
		monitor_list(subjects, ARRAY_SIZE(subjects), "info ", to);
}
