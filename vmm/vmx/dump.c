/*
 * The current vCPU in words: registers as a reader of a crash wants them, and the whole VMCS.
 */
#include "cpu/x86.h"
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/controls.h"
#include "vmx/mode.h"

static const char *mode_name(struct vcpu *vcpu)
{
	if (vcpu_in_64bit_mode())
		return "64-bit mode";
	if (vcpu_efer(vcpu) & EFER_LMA)
		return "compatibility mode";
	if (!(vcpu_cr0(vcpu) & CR0_PE))
		return "real mode";
	return vmread(VMCS_GUEST_RFLAGS) & RFLAGS_VM ? "virtual-8086 mode"
	       : vcpu_cr0(vcpu) & CR0_PG	     ? "protected mode"
						     : "protected mode without paging";
}

static void print_code(struct vcpu *vcpu)
{
	uint64_t rip = vmread(VMCS_GUEST_RIP);
	gva_t la = vcpu_in_64bit_mode() ? rip : (uint32_t)(vmread(VMCS_GUEST_CS_BASE) + rip);

	print("  code at RIP:");
	for (unsigned i = 0; i < 15; i++) {
		uint8_t byte;

		if (!vcpu_read_linear(vcpu, la + i, &byte, 1))
			break;
		print(" %02x", byte);
	}
	print("\n");
}

void vcpu_print_registers(struct vcpu *vcpu)
{
	static const char names[REGISTERS][4] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
						 "R8",	"R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
	static const char segments[][5] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
	uint64_t reason = vmread(VMCS_EXIT_REASON), vectoring = vmread(VMCS_IDT_VECTORING_INFO);

	print("vm %s, vCPU %u, %s\n", vcpu->vm->config->name, vcpu->index, mode_name(vcpu));
	for (unsigned n = 0; n < REGISTERS; n++)
		print("  %-3s %016lx%s", names[n], vcpu_register(vcpu, n), n % 4 == 3 ? "\n" : "");
	print("  RIP %016lx  RFLAGS %08lx  CR0 %08lx  CR2 %016lx\n", vmread(VMCS_GUEST_RIP), vmread(VMCS_GUEST_RFLAGS),
	      vcpu_cr0(vcpu), vcpu->cr2);
	print("  CR3 %016lx  CR4 %08lx  EFER %03lx  DR7 %08lx\n", vcpu_cr3(vcpu), vcpu_cr4(vcpu), vcpu_efer(vcpu),
	      vmread(VMCS_GUEST_DR7));
	for (unsigned n = 0; n < ARRAY_SIZE(segments); n++)
		print("  %-4s %04lx base %016lx limit %08lx rights %05lx\n", segments[n], vmread(VMCS_GUEST_ES_SELECTOR + 2 * n),
		      vmread(VMCS_GUEST_ES_BASE + 2 * n), vmread(VMCS_GUEST_ES_LIMIT + 2 * n), vmread(VMCS_GUEST_ES_AR + 2 * n));
	print("  GDTR base %016lx limit %04lx  IDTR base %016lx limit %04lx\n", vmread(VMCS_GUEST_GDTR_BASE),
	      vmread(VMCS_GUEST_GDTR_LIMIT), vmread(VMCS_GUEST_IDTR_BASE), vmread(VMCS_GUEST_IDTR_LIMIT));
	print("  last exit %lx (%s), qualification %lx, guest-physical address %lx", reason, exit_reason_title(reason & 0xffff),
	      vmread(VMCS_EXIT_QUALIFICATION), vmread(VMCS_GUEST_PHYSICAL_ADDRESS));
	if (vectoring & BIT(31))
		print(", while event %lx was delivered", vectoring);
	print("\n");
	print_code(vcpu);
}

static void print_controls(enum vmx_word word, const char *name)
{
	uint64_t value;

	if (!vmcs_field_exists(controls_field(word)))
		return;
	value = vmread(controls_field(word));
	print("  %s %lx\n", name, value);
	if (vmx_print_titles(0, "", word, value))
		print("\n");
}

void vcpu_print_vmcs(struct vcpu *vcpu)
{
	static const uint16_t fields[] = {
#define F(encoding, name, condition, checks) encoding,
#include "vmcs_fields.def"
	};
	unsigned printed = 0;

	print("VMCS of vm %s, vCPU %u\n", vcpu->vm->config->name, vcpu->index);
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (vmcs_field_exists(fields[i]))
			print("  %-29s %016lx%s", vmcs_field_name(fields[i]), vmread(fields[i]), ++printed % 3 ? "" : "\n");
	print("%s", printed % 3 ? "\n" : "");
	print_controls(WORD_PINBASED_CTLS, "pin-based controls");
	print_controls(WORD_PROCBASED_CTLS, "processor-based controls");
	print_controls(WORD_PROCBASED_CTLS2, "secondary processor-based controls");
	print_controls(WORD_EXIT_CTLS, "VM-exit controls");
	print_controls(WORD_ENTRY_CTLS, "VM-entry controls");
}
