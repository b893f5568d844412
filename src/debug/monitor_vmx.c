/*
 * info vmx, info vmcs and info ept: what the monitor shows of VT-x. SDM vol. 3, "Virtual Machine Control Structures",
 * "The Extended Page Table Mechanism (EPT)".
 */
#include "debug/monitor.h"

#include <inttypes.h>

#include "debug/expression.h"
#include "vmx/dump.h"
#include "vmx/vmx.h"

bool vmx_level(const struct cpu *cpu, char *text, size_t size)
{
	*text = 0;
	if (!cpu->vmx || !cpu->vmx->on)
		return false;
	if (cpu->nonroot)
		snprintf(text, size, "non-root, VMCS 0x%" PRIx64, cpu->vmx->current);
	else
		snprintf(text, size, "root");
	return true;
}

static void show_counters(const struct vmx *vmx, FILE *to)
{
	uint64_t exits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(vmx->exits); i++)
		exits += vmx->exits[i];
	fprintf(to, "  %" PRIu64 " VM entries, %" PRIu64 " VM exits\n", vmx->entered, exits);
	for (unsigned i = 0; i < ARRAY_SIZE(vmx->exits); i++) {
		const char *title = vmx_exit_text(i);

		if (vmx->exits[i])
			fprintf(to, "    %-32s %" PRIu64 "\n", title ? title : "reserved", vmx->exits[i]);
	}
}

static void show_smm(const struct cpu *cpu, FILE *to)
{
	const struct vmx *vmx = cpu->vmx;

	if (vmx->smi.on)
		fprintf(to, "  in SMM, which RSM leaves for VMX %s operation\n",
			vmx->smi.nonroot ? "non-root" : "root");
	if (!vmx->dual_monitor)
		return;
	fprintf(to, "  dual-monitor treatment of SMIs and SMM: ");
	if (cpu->in_smm)
		fprintf(to, "in SMM\n");
	else
		fprintf(to, "SMM-transfer VMCS 0x%" PRIx64 "%s\n", vmx->transfer,
			vmx->smi_blocked ? ", SMIs are blocked" : "");
}

static void show_vmx(const struct cpu *cpu, FILE *to)
{
	const struct vmx *vmx = cpu->vmx;

	fprintf(to, "CPU#%u: ", cpu->number);
	if (!vmx) {
		fprintf(to, "this CPU model has no VMX\n");
		return;
	}
	if (!vmx->on) {
		fprintf(to, "outside VMX operation; CR4.VMXE %u, IA32_FEATURE_CONTROL %#" PRIx64 "\n",
			(cpu->cr4 & CR4_VMXE) != 0, cpu->feature_control);
		show_smm(cpu, to);
		return;
	}
	fprintf(to, "VMX %s operation%s; VMXON pointer 0x%" PRIx64 "\n", cpu->nonroot ? "non-root" : "root",
		vmx->aborted ? ", in shutdown by a VMX abort" : "", vmx->vmxon_pointer);
	if (vmx_has_current(vmx))
		fprintf(to, "  current VMCS 0x%" PRIx64 ", %s%s\n", vmx->current,
			vmx->vmcs.launched ? "launched" : "clear", vmx->vmcs.shadow ? ", a shadow VMCS" : "");
	else
		fprintf(to, "  no current VMCS\n");
	if (cpu->nonroot)
		fprintf(to, "  EPT pointer 0x%" PRIx64 ", VPID %u\n", cpu->eptp, cpu->vpid);
	show_smm(cpu, to);
	show_counters(vmx, to);
}

void monitor_info_vmx(struct monitor *mon, const char *arguments, FILE *to)
{
	for (unsigned i = 0; i < machine_cpus(mon->machine); i++)
		show_vmx(machine_cpu(mon->machine, i), to);
}

/* The current CPU's, or NULL: it has none, which has been said. */
static const struct vmx *current_vmcs(struct monitor *mon, FILE *to)
{
	const struct vmx *vmx = machine_cpu(mon->machine, mon->cpu)->vmx;

	if (vmx && vmx->on && vmx_has_current(vmx))
		return vmx;
	fprintf(to, "CPU#%u has no current VMCS\n", mon->cpu);
	return NULL;
}

void monitor_info_vmcs(struct monitor *mon, const char *arguments, FILE *to)
{
	const struct vmx *vmx = current_vmcs(mon, to);

	if (!vmx)
		return;
	fprintf(to, "CPU#%u, VMCS at 0x%" PRIx64 ", %s%s\n", mon->cpu, vmx->current,
		vmx->vmcs.launched ? "launched" : "clear",
		machine_cpu(mon->machine, mon->cpu)->nonroot ? "; guest state is of the last VM entry" : "");
	vmx_dump_print(&vmx->vmcs, vmx->caps, to);
}

static const char *memory_type(unsigned type)
{
	static const char *const names[8] = {"UC", "WC", "reserved", "reserved", "WT", "WP", "WB", "reserved"};

	return names[type & 7];
}

/* SDM vol. 3, "Format of an EPT Page-Table Entry that Maps a 4-KByte Page" and its neighbours. */
static void show_entry(const struct ept_entry *e, bool mode_based, FILE *to)
{
	static const char *const names[] = {NULL, "PTE", "PDE", "PDPTE", "PML4E", "PML5E"};
	uint64_t entry = e->entry;

	fprintf(to, "  %-5s at 0x%" PRIx64 " = 0x%016" PRIx64 "  %c%c%c", names[e->level], e->at, entry,
		entry & BIT(0) ? 'r' : '-', entry & BIT(1) ? 'w' : '-', entry & BIT(2) ? 'x' : '-');
	if (mode_based)
		putc(entry & BIT(10) ? 'u' : '-', to);
	switch (e->end) {
	case EPT_NOT_PRESENT: fprintf(to, "  not present: an access is an EPT violation\n"); break;
	case EPT_MISCONFIGURED: fprintf(to, "  reserved bits or rights: an access is an EPT misconfiguration\n"); break;
	case EPT_GOES_ON: fprintf(to, "%s\n", entry & BIT(8) ? "  A" : ""); break;
	case EPT_MAPS_PAGE:
		fprintf(to, "  %s page, %s%s%s%s\n",
			e->level == 1	? "4-KiB"
			: e->level == 2 ? "2-MiB"
					: "1-GiB",
			memory_type((unsigned)bits_get(entry, 5, 3)), entry & BIT(6) ? " ignoring PAT" : "",
			entry & BIT(8) ? ", A" : "", entry & BIT(9) ? " D" : "");
		break;
	}
}

static void show_ept(struct cpu *cpu, uint64_t eptp, gpa_t gpa, FILE *to)
{
	uint32_t controls = vmx_ept_controls(cpu->vmx);
	struct ept_entry path[EPT_MOST_LEVELS];
	unsigned used = mem_debug_ept(cpu, eptp, controls, gpa, path);
	uint64_t allowed = 7;

	fprintf(to, "EPT pointer 0x%" PRIx64 ": %u levels, %s%s\n", eptp, (unsigned)bits_get(eptp, 5, 3) + 1,
		memory_type((unsigned)bits_get(eptp, 2, 0)), eptp & BIT(6) ? ", accessed and dirty flags" : "");
	if (!used)
		fprintf(to, "0x%" PRIx64 " has more bits than 4 levels map: an access is an EPT violation\n", gpa);
	for (unsigned i = 0; i < used; i++) {
		show_entry(&path[i], controls & EPT_MODE_BASED_EXECUTE, to);
		allowed &= path[i].entry;
	}
	if (used && path[used - 1].end == EPT_MAPS_PAGE) {
		uint64_t size = UINT64_C(1) << (12 + 9 * (path[used - 1].level - 1));

		fprintf(to, "guest-physical 0x%" PRIx64 " is physical 0x%" PRIx64 ", %c%c%c\n", gpa,
			(path[used - 1].entry & BITS(51, 12) & ~(size - 1)) | (gpa & (size - 1)),
			allowed & BIT(0) ? 'r' : '-', allowed & BIT(1) ? 'w' : '-', allowed & BIT(2) ? 'x' : '-');
	}
}

void monitor_info_ept(struct monitor *mon, const char *arguments, FILE *to)
{
	struct cpu *cpu = machine_cpu(mon->machine, mon->cpu);
	const struct vmx *vmx;
	uint64_t gpa, eptp = 0;
	struct error error;

	if (!*arguments) {
		fprintf(to, "info ept ADDRESS [EPTP]: the guest-physical address is missing\n");
		return;
	}
	if (!expression_parse(&arguments, cpu, &gpa, &error) ||
	    (*arguments && !expression_parse(&arguments, cpu, &eptp, &error))) {
		fprintf(to, "%s\n", error.text);
		return;
	}
	vmx = current_vmcs(mon, to);
	if (!vmx)
		return;
	if (!eptp && vmx_proc2(vmx, ENABLE_EPT))
		eptp = vmcs_get(&vmx->vmcs, EPTP);
	if (eptp)
		show_ept(cpu, eptp, gpa, to);
	else
		fprintf(to, "the current VMCS does not enable EPT\n");
}
