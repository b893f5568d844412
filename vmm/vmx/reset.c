/*
 * A VMCS as a vCPU starts with it: SDM vol. 3, "Software Use of Virtual-Machine Control Structures", "Host-State Area", and
 * table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT" of "Processor State After Reset".
 */
#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "guest/load.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/apicv.h"
#include "vmx/controls.h"
#include "vmx/fpu.h"
#include "vmx/mode.h"
#include "vmx/msr.h"
#include "vmx/msr_area.h"

enum { VECTOR_DB = 1, VECTOR_AC = 17, VECTOR_MC = 18 };
enum { PLE_GAP_TICKS = 128, PLE_WINDOW_TICKS = 4096 };

/* Access rights: type, S, P, and D and G for flat segments. */
enum { AR_CODE = 0x9b, AR_DATA = 0x93, AR_LDT = 0x82, AR_BUSY_TSS = 0x8b, AR_FLAT = 0xc000 };

/* Only those that software may write: bits 11:10 of an encoding are the field's type, and 1 is read-only. */
static void clear_all_fields(void)
{
	static const uint16_t fields[] = {
#define F(encoding, name, condition, checks) encoding,
#include "vmcs_fields.def"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if ((fields[i] >> 10 & 3) != 1 && vmcs_field_exists(fields[i]))
			vmwrite(fields[i], 0);
}

struct PACKED table_register {
	uint16_t limit;
	uint64_t base;
};

static void host_state(void)
{
	extern const char vmx_exit[]; /* entry.S */
	struct table_register gdtr, idtr;
	uint16_t cs, ss, tr;

	__asm__ volatile("sgdt %0; sidt %1; mov %%cs, %2; mov %%ss, %3; str %4"
			 : "=m"(gdtr), "=m"(idtr), "=r"(cs), "=r"(ss), "=r"(tr));
	vmwrite(VMCS_HOST_CS_SELECTOR, cs);
	vmwrite(VMCS_HOST_SS_SELECTOR, ss);
	vmwrite(VMCS_HOST_TR_SELECTOR, tr);
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_FS_BASE, rdmsr(IA32_FS_BASE));
	vmwrite(VMCS_HOST_GS_BASE, rdmsr(IA32_GS_BASE));
	vmwrite(VMCS_HOST_TR_BASE, pa_of(this_cpu()->tss));
	vmwrite(VMCS_HOST_GDTR_BASE, gdtr.base);
	vmwrite(VMCS_HOST_IDTR_BASE, idtr.base);
	vmwrite(VMCS_HOST_RIP, pa_of(vmx_exit));
	/* HOST_RSP is written at each VM entry: entry.S. SYSENTER MSRs stay 0: the VMM has no such entry. */
}

static void controls(struct vcpu *vcpu)
{
	static const enum vmx_word words[] = {WORD_PINBASED_CTLS, WORD_PROCBASED_CTLS, WORD_PROCBASED_CTLS2, WORD_EXIT_CTLS,
					      WORD_ENTRY_CTLS};
	struct vm *vm = vcpu->vm;

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		vmwrite(controls_field(words[i]), vcpu->controls[words[i]]);
	/* #DB and #AC can come again and again in their own delivery, with no interrupt between: so that the VMM gets the CPU
	   back. */
	vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VECTOR_DB) | BIT(VECTOR_AC) | BIT(VECTOR_MC));
	vmwrite(VMCS_IO_BITMAP_A, pa_of(vm->io_bitmap_a));
	vmwrite(VMCS_IO_BITMAP_B, pa_of(vm->io_bitmap_b));
	vmwrite(VMCS_MSR_BITMAP, pa_of(vm->msr_bitmap));
	vmwrite(VMCS_EPTP, vm->ept.eptp);
	vmwrite(VMCS_VMCS_LINK_POINTER, ~UINT64_C(0));
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, ENABLE_VPID))
		vmwrite(VMCS_VPID, 1 + vm->index * VCPUS_MAX + vcpu->index);
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, ENABLE_ENCLS_EXITING))
		vmwrite(VMCS_ENCLS_EXITING_BITMAP, ~UINT64_C(0));
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, ENABLE_ENCLV_EXITING))
		vmwrite(VMCS_ENCLV_EXITING_BITMAP, ~UINT64_C(0));
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, PAUSE_LOOP_EXITING)) {
		vmwrite(VMCS_PLE_GAP, PLE_GAP_TICKS);
		vmwrite(VMCS_PLE_WINDOW, PLE_WINDOW_TICKS);
	}
}

/* Selector, base, limit and access rights of ES and CS to TR have encodings 2 apart, in that order. */
enum segment { ES, CS, SS, DS, FS, GS, LDTR, TR };

static void segment(enum segment n, uint16_t selector, uint64_t base, uint32_t limit, uint32_t rights)
{
	vmwrite(VMCS_GUEST_ES_SELECTOR + 2 * n, selector);
	vmwrite(VMCS_GUEST_ES_BASE + 2 * n, base);
	vmwrite(VMCS_GUEST_ES_LIMIT + 2 * n, limit);
	vmwrite(VMCS_GUEST_ES_AR + 2 * n, rights);
}

/* Registers after INIT; RESET adds what INIT leaves: vcpu_reset(). */
static void guest_registers(struct vcpu *vcpu)
{
	memset(vcpu->registers, 0, sizeof(vcpu->registers));
	vcpu->registers[RDX] = cpuid(1, 0).eax;
	vcpu->cr2 = 0;
	memset(vcpu->debug_registers, 0, sizeof(vcpu->debug_registers));
	vcpu->dr6 = 0xffff0ff0;
	vcpu_load_debug_registers(vcpu);
	vmwrite(VMCS_GUEST_DR7, 0x400);
	vmwrite(VMCS_GUEST_RSP, 0);
	vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
	for (enum segment n = ES; n <= GS; n++)
		segment(n, 0, 0, 0xffff, n == CS ? AR_CODE : AR_DATA);
	segment(LDTR, 0, 0, 0xffff, AR_LDT);
	segment(TR, 0, 0, 0xffff, AR_BUSY_TSS);
	vmwrite(VMCS_GUEST_GDTR_BASE, 0);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	vmwrite(VMCS_GUEST_IDTR_BASE, 0);
	vmwrite(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	vcpu->event = (struct event){0};
	vcpu->nmi_pending = false;
}

void vcpu_start_real(struct vcpu *vcpu, uint16_t cs, uint16_t ip)
{
	guest_registers(vcpu);
	vcpu_set_mode(vcpu, CR0_ET | CR0_NW | CR0_CD, 0, 0, 0);
	segment(CS, cs, (uint64_t)cs << 4, 0xffff, AR_CODE);
	vmwrite(VMCS_GUEST_RIP, ip);
}

void vcpu_start_protected(struct vcpu *vcpu, uint32_t eip, uint32_t esi)
{
	guest_registers(vcpu);
	vcpu->registers[RDX] = 0;
	vcpu->registers[RSI] = esi;
	vcpu_set_mode(vcpu, CR0_ET | CR0_PE, 0, 0, 0);
	/* Selectors as the boot protocol of Linux names them: __BOOT_CS, __BOOT_DS. */
	segment(CS, 0x10, 0, 0xffffffff, AR_CODE | AR_FLAT);
	for (enum segment n = ES; n <= GS; n++)
		if (n != CS)
			segment(n, 0x18, 0, 0xffffffff, AR_DATA | AR_FLAT);
	vmwrite(VMCS_GUEST_RIP, eip);
}

void vcpu_reset(struct vcpu *vcpu)
{
	vcpu_put_away(vcpu);
	vmclear(vcpu->vmcs);
	if (controls_choose(vcpu))
		panic("controls that were there when the vCPU was made are gone");
	fpu_reset(vcpu);
	msr_reset(vcpu);
	lapic_reset(vcpu, true);
	vcpu->state = vcpu->index ? VCPU_WAIT_SIPI : VCPU_RUNNABLE;
	vcpu->in_guest = false;
	vcpu_switch(vcpu);
	clear_all_fields();
	controls(vcpu);
	host_state();
	apicv_reset(vcpu);
	msr_area_init(vcpu);
	msr_area_set_pat(vcpu, vcpu->pat);
	vcpu->tsc_offset = vcpu->vm->tsc_offset;
	vmwrite(VMCS_TSC_OFFSET, vcpu->tsc_offset);
	/* The reset vector: FFFFFFF0H. */
	vcpu_start_real(vcpu, 0xf000, 0xfff0);
	vmwrite(VMCS_GUEST_CS_BASE, 0xffff0000);
}
