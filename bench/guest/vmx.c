/*
 * The bench image's hypervisor: the running kernel becomes its own guest, with EPT and a VPID where there are any, so
 * that the same loops run in VMX non-root operation, and a CPUID there is a VM exit.
 *
 * SDM vol. 3, "Enabling and Entering VMX Operation", "Algorithms for Determining VMX Capabilities", and "Preparation and
 * Launching a Virtual Machine". The one handler, in vmx_exit.S, knows CPUID; every other exit stops the image.
 */
#include "vmx.h"

#define F(encoding, name, ...) name = encoding,
enum {
#include "vmcs_fields.def"
};
#define C(word, bit, name, ...) word##_##name = bit,
enum {
#include "vmx_controls.def"
};

#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC	    0x480
#define MSR_VMX_CR0_FIXED0  0x486
#define MSR_VMX_CR4_FIXED0  0x488
#define MSR_VMX_PROC2	    0x48b
#define MSR_EFER	    0xc0000080
#define CR4_VMXE	    (1u << 13)
#define EPT_LARGE_RWX_WB    (7u | 6u << 3 | 1u << 7)

typedef uint64_t page[512] __attribute__((aligned(4096)));
static page vmxon_region, vmcs_region, ept_pml4, ept_pdpt, ept_pd;

void vmx_exit(void);
extern uint8_t vmx_exit_stack_top[];

static uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | (uint64_t)high << 32;
}

static void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index));
}

static void vmwrite(uint64_t field, uint64_t value)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"(field), "rm"(value) : "cc");
}

/* Wanted bits that this processor allows, and those that it requires. MSR 481H + n, or 48DH + n where TRUE ones exist. */
static uint64_t control(unsigned int n, uint32_t wanted)
{
	uint64_t allowed = rdmsr((rdmsr(MSR_VMX_BASIC) >> BASIC_TRUE_CTLS & 1 ? 0x48d : 0x481) + n);

	return (wanted & (uint32_t)(allowed >> 32)) | (uint32_t)allowed;
}

static int has_vmx(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 5 & 1;
}

static void make_ept(void)
{
	for (unsigned int i = 0; i < 512; i++)
		ept_pd[i] = (uint64_t)i << 21 | EPT_LARGE_RWX_WB;
	ept_pdpt[0] = (uint64_t)ept_pd | 7;
	ept_pml4[0] = (uint64_t)ept_pdpt | 7;
}

static void write_controls(void)
{
	uint32_t second = (uint32_t)(rdmsr(MSR_VMX_PROC2) >> 32) &
			  (1u << PROCBASED_CTLS2_ENABLE_EPT | 1u << PROCBASED_CTLS2_ENABLE_VPID);

	vmwrite(VM_PINBASED_CTLS, control(0, 0));
	vmwrite(VM_PROCBASED_CTLS, control(1, 1u << PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS));
	vmwrite(VM_PROCBASED_CTLS2, second);
	vmwrite(VM_EXIT_CTLS, control(2, 1u << EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE | 1u << EXIT_CTLS_LOAD_EFER));
	vmwrite(VM_ENTRY_CTLS, control(3, 1u << ENTRY_CTLS_IA32E_MODE_GUEST | 1u << ENTRY_CTLS_LOAD_EFER));
	vmwrite(EPTP, (uint64_t)ept_pml4 | 3 << 3 | 6);
	vmwrite(VPID, 1);
	vmwrite(VMCS_LINK_POINTER, ~0ul);
}

/* Host and guest are what runs now; FS, GS and LDTR are not used. */
static void write_state(uint64_t tss, const uint16_t *gdt, const uint16_t *idt)
{
	uint64_t cr0, cr3, cr4, gdt_base, idt_base;

	__asm__("mov %%cr0, %0" : "=r"(cr0));
	__asm__("mov %%cr3, %0" : "=r"(cr3));
	__asm__("mov %%cr4, %0" : "=r"(cr4));
	__builtin_memcpy(&gdt_base, gdt + 1, 8);
	__builtin_memcpy(&idt_base, idt + 1, 8);
	vmwrite(HOST_CR0, cr0);
	vmwrite(HOST_CR3, cr3);
	vmwrite(HOST_CR4, cr4);
	vmwrite(HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(HOST_CS_SELECTOR, 0x08);
	vmwrite(HOST_SS_SELECTOR, 0x10);
	vmwrite(HOST_DS_SELECTOR, 0x10);
	vmwrite(HOST_ES_SELECTOR, 0x10);
	vmwrite(HOST_TR_SELECTOR, 0x28);
	vmwrite(HOST_TR_BASE, tss);
	vmwrite(HOST_GDTR_BASE, gdt_base);
	vmwrite(HOST_IDTR_BASE, idt_base);
	vmwrite(HOST_RIP, (uint64_t)vmx_exit);
	vmwrite(HOST_RSP, (uint64_t)vmx_exit_stack_top);
	vmwrite(GUEST_CR0, cr0);
	vmwrite(GUEST_CR3, cr3);
	vmwrite(GUEST_CR4, cr4);
	vmwrite(GUEST_EFER, rdmsr(MSR_EFER));
	vmwrite(GUEST_DR7, 0x400);
	vmwrite(GUEST_RFLAGS, 2);
	vmwrite(GUEST_CS_SELECTOR, 0x08);
	vmwrite(GUEST_SS_SELECTOR, 0x10);
	vmwrite(GUEST_DS_SELECTOR, 0x10);
	vmwrite(GUEST_ES_SELECTOR, 0x10);
	vmwrite(GUEST_TR_SELECTOR, 0x28);
	vmwrite(GUEST_CS_AR, 0xa09b);
	vmwrite(GUEST_SS_AR, 0xc093);
	vmwrite(GUEST_DS_AR, 0xc093);
	vmwrite(GUEST_ES_AR, 0xc093);
	vmwrite(GUEST_FS_AR, 0x10000);
	vmwrite(GUEST_GS_AR, 0x10000);
	vmwrite(GUEST_LDTR_AR, 0x10000);
	vmwrite(GUEST_TR_AR, 0x8b);
	vmwrite(GUEST_CS_LIMIT, 0xffffffff);
	vmwrite(GUEST_SS_LIMIT, 0xffffffff);
	vmwrite(GUEST_DS_LIMIT, 0xffffffff);
	vmwrite(GUEST_ES_LIMIT, 0xffffffff);
	vmwrite(GUEST_TR_LIMIT, 0x67);
	vmwrite(GUEST_TR_BASE, tss);
	vmwrite(GUEST_GDTR_BASE, gdt_base);
	vmwrite(GUEST_GDTR_LIMIT, gdt[0]);
	vmwrite(GUEST_IDTR_BASE, idt_base);
	vmwrite(GUEST_IDTR_LIMIT, idt[0]);
}

/* VMLAUNCH, after which this function returns in the guest. True: it did not. */
static int launch(void)
{
	uint8_t failed;

	__asm__ volatile("vmwrite %%rsp, %[rsp]\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "vmwrite %%rax, %[rip]\n\t"
			 "vmlaunch\n\t"
			 "mov $1, %[failed]\n\t"
			 "jmp 2f\n"
			 "1:	xor %[failed], %[failed]\n"
			 "2:"
			 : [failed] "=&b"(failed)
			 : [rsp] "r"((uint64_t)GUEST_RSP), [rip] "r"((uint64_t)GUEST_RIP)
			 : "rax", "cc", "memory");
	return failed;
}

const char *kernel_become_guest(uint64_t tss, const uint16_t *gdt, const uint16_t *idt)
{
	static int done;
	uint64_t cr0, cr4, vmxon = (uint64_t)vmxon_region, vmcs = (uint64_t)vmcs_region;

	if (done)
		return 0;
	if (!has_vmx())
		return "no VMX";
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	__asm__("mov %%cr0, %0" : "=r"(cr0));
	__asm__("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | rdmsr(MSR_VMX_CR0_FIXED0)));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | rdmsr(MSR_VMX_CR4_FIXED0) | CR4_VMXE));
	vmxon_region[0] = vmcs_region[0] = (uint32_t)rdmsr(MSR_VMX_BASIC);
	make_ept();
	__asm__ volatile("vmxon %0" : : "m"(vmxon) : "cc", "memory");
	__asm__ volatile("vmclear %0" : : "m"(vmcs) : "cc", "memory");
	__asm__ volatile("vmptrld %0" : : "m"(vmcs) : "cc", "memory");
	write_controls();
	write_state(tss, gdt, idt);
	if (launch())
		return "VMLAUNCH failed";
	done = 1;
	return 0;
}
