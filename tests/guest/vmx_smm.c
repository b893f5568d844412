/*
 * The default treatment of SMIs and SMM in VMX operation.
 *
 * SDM vol. 3, "Default Treatment of SMI Delivery", "Default Treatment of RSM", "Protection of CR4.VMXE in SMM". SMIs
 * come by way of the APM port, from root operation and from guests. A board without SMIs is reported absent.
 */
#include "vmx.h"
#include "vmx_smi.h"

const char chapter[] = "vmx_smm";

#define LOG SMI_LOG

static void outside(void)
{
	write_cr4(read_cr4() & ~(ulong)CR4_VMXE);
	smi_now();
	check("outside/vmxe-clear-stays", "0", "%lx", read_cr4() & CR4_VMXE);
	write_cr4(read_cr4() | CR4_VMXE);
	smi_now();
	check("outside/vmxe-in-smm", "0", "%x", LOG->cr4 & CR4_VMXE);
	check("outside/vmxe-in-map", "0", "%x", LOG->map_cr4 & CR4_VMXE);
	check("outside/vmxe-comes-back", "2000", "%lx", read_cr4() & CR4_VMXE);
}

static void root(void)
{
	ulong out = CODE("out %al, $0xb2; 1: cmpl $0, 0x6000; loope 1b");
	struct ctx c;

	vm_fresh(G64, CODE("vmcall"));
	vm_write(GUEST_SYSENTER_CS, 0x1234);
	LOG->count = 0;
	c = TRY(RING0, out, .cx = 100000);
	check("root/goes-on", "ok count=1", "%s count=%u", outcome(c), LOG->count);
	check("root/vmxe-in-smm", "0", "%x", LOG->cr4 & CR4_VMXE);
	check("root/vmxe-in-map", "0", "%x", LOG->map_cr4 & CR4_VMXE);
	check("root/vmxe-comes-back", "2000", "%lx", read_cr4() & CR4_VMXE);
	check("root/current-vmcs", "1", "%u", vmx_vmptrst() == (u64)vmcs_region);
	check("root/vmcs-is-kept", "1234", "%lx", vm_read(GUEST_SYSENTER_CS));
	check("root/still-vmx-operation", "VMfail(15)", "%s", vmx_result(vmx_vmxon((u64)vmxon_region)));
	smi_order(SMI_POKE, MAP_EPT, 0xffffffff);
	smi_now();
	check("root/enable-ept-in-map", "0", "%x", LOG->map_ept);
	smi_order(SMI_SET_VMXE, 0, 0);
	check("smm/mov-cr4-vmxe", "13", "%u", LOG->vector);
	/* What the save map says is not believed where VMX operation is about it. */
	smi_order(SMI_POKE, MAP_CR0, (u32)read_cr0() & ~(u32)CR0_NE);
	check("root/ne-is-fixed", "20", "%lx", read_cr0() & CR0_NE);
	LOG->count = 0;
	LOG->where = MAP_CS;
	LOG->value = SEL_CODE0 | 3 | 0xa9b0000;
	LOG->order = SMI_POKE;
	c = TRY(RING0, out, .cx = 100000);
	check("root/cs-rpl", "ok cs=8", "%s cs=%x", outcome(c), (u32)c.cs);
}

static void guest(void)
{
	/* Between the SMI and the VMCALL the guest's registers are as they were. */
	ulong code = CODE("mov $0x1234, %esi; out %al, $0xb2; mov $100000, %ecx; 1: cmpl $0, 0x6000; loope 1b;"
			  "mov %esi, %edi; mov $1, %ecx; vmcall");

	LOG->count = 0;
	V("guest/goes-on", "VMCALL len=3 +29", G64, code);
	vm_line("guest/registers", "di=1234 cr4=2000 count=1", "di=%lx cr4=%lx count=%u", regs.di,
		vm_read(GUEST_CR4) & CR4_VMXE, LOG->count);
	vm_line("guest/vmxe-in-smm", "0", "%x", LOG->cr4 & CR4_VMXE);
	vm_line("guest/enable-ept-in-map", "0", "%x", LOG->map_ept);
	LOG->count = 0;
	V("guest/ept-and-vpid", "VMCALL len=3 +29", G64, code, vm_ept(), sec(ENABLE_VPID), vm_write(VPID, 5));
	vm_line("guest/ept-in-map", "1 1", "%x %u", LOG->map_ept,
		((u64)LOG->map_eptp[1] << 32 | LOG->map_eptp[0]) == vm_read(EPTP));
	LOG->count = 0;
	V("guest/virtual-nmi-blocking", "VMCALL len=3 +29", G64, code, pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("guest/virtual-nmi-blocking-saved", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	LOG->count = 0;
	V("guest/nmi-blocking", "VMCALL len=3 +29", G64, code, vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("guest/nmi-blocking-saved", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	LOG->count = 0;
	V("guest/real-mode", "VMCALL len=3 +15", GREAL,
	  CODE16("out %al, $0xb2; mov $50000, %cx; 1: cmpl $0, 0x6000; loope 1b; mov %cs, %ax; vmcall"));
	vm_line("guest/real-mode-cs", "1000", "%lx", regs.ax & 0xffff);
	/* SMIs come before a pending MTF VM exit, and it stays pending. */
	LOG->count = 0;
	V("guest/mtf-after-smi", "MONITOR_TRAP_FLAG +2", G64, CODE("out %al, $0xb2; nop; nop"), pri(MONITOR_TRAP_FLAG));
	vm_line("guest/mtf-after-smi-count", "1", "%u", LOG->count);
}

void chapter_main(void)
{
	u32 smram;

	if (!cpu_has(1, 0, 2, 5)) {
		absent("");
		return;
	}
	smram = smi_begin();
	if (!smram) {
		absent("");
		return;
	}
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	outside();
	if (!vm_begin())
		return;
	root();
	guest();
	vm_report();
	pci_byte_write(0, 0, smram, SMRAM_CLOSED);
}
