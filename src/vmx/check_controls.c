/*
 * VM entry: are the controls valid?
 *
 * SDM vol. 3, "Checks on VMX Controls", one function per subsection, and "Checks on the Executive-VMCS Pointer Field"
 * of VM entries that return from SMM. The order is the manual's. Changes nothing; entry and the VMCS checker share it.
 */
#include "vmx/rule.h"

/* Does every bit have a value that the capability MSRs allow? */
static bool allowed(struct check *c, enum vmx_word word, uint64_t value)
{
	const struct vmx_capability *caps = c->input->caps;

	if (!check_caps_known(c))
		return true;
	return !(value & ~vmx_allowed1(caps, word)) && !(~value & vmx_allowed0(caps, word));
}

static bool page_aligned(uint64_t address)
{
	return is_aligned(address, 4096);
}

/* The address of a page that is used if a control is 1. */
#define PAGE(NAME, FIELD, used)                                                                     \
	do {                                                                                        \
		rule(c, CTL_##NAME##_ALIGN, !(used) || page_aligned(get_execution(c, FIELD)));      \
		rule(c, CTL_##NAME##_WIDTH, !(used) || check_in_width(c, get_execution(c, FIELD))); \
	} while (0)

static void check_addresses(struct check *c)
{
	PAGE(IO_BITMAP_A, IO_BITMAP_A, PROC(c, USE_IO_BITMAPS));
	PAGE(IO_BITMAP_B, IO_BITMAP_B, PROC(c, USE_IO_BITMAPS));
	PAGE(MSR_BITMAP, MSR_BITMAP, PROC(c, USE_MSR_BITMAPS));
	PAGE(VIRTUAL_APIC, VIRTUAL_APIC_ADDRESS, PROC(c, USE_TPR_SHADOW));
	PAGE(APIC_ACCESS, APIC_ACCESS_ADDRESS, PROC2(c, VIRTUALIZE_APIC_ACCESSES));
	PAGE(PML, PML_ADDRESS, PROC2(c, ENABLE_PML));
	PAGE(SPPTP, SPPTP, PROC2(c, SUBPAGE_WRITE_PERMISSIONS));
	PAGE(EPTP_LIST, EPTP_LIST,
	     PROC2(c, ENABLE_VM_FUNCTIONS) && (get_execution(c, VM_FUNCTION_CTLS) & FUNCTION_CTLS_EPTP_SWITCHING));
	PAGE(VMREAD_BITMAP, VMREAD_BITMAP, PROC2(c, VMCS_SHADOWING));
	PAGE(VMWRITE_BITMAP, VMWRITE_BITMAP, PROC2(c, VMCS_SHADOWING));
	PAGE(VE_INFO, VE_INFORMATION, PROC2(c, EPT_VIOLATION_VE));
}

/* Is TPR threshold[3:0] at most VTPR[7:4]? VTPR is at offset 80H of the virtual-APIC page; an address that is no page's
 * breaks its own rule. */
static bool threshold_below_vtpr(struct check *c)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;
	uint64_t page = get_execution(c, VIRTUAL_APIC_ADDRESS);
	unsigned threshold = get_execution(c, TPR_THRESHOLD) & 15;
	uint8_t vtpr = 0xff;

	if (!threshold)
		return true;
	if (!cpu) {
		c->unknown = true;
		return true;
	}
	if (!page_aligned(page) || !check_in_width(c, page))
		return true;
	return !cpu->read(cpu->ctx, page + 0x80, &vtpr, 1) || threshold <= vtpr >> 4;
}

static void check_apic(struct check *c)
{
	rule(c, CTL_TPR_THRESHOLD_RESERVED,
	     !PROC(c, USE_TPR_SHADOW) || PROC2(c, VIRTUAL_INTERRUPT_DELIVERY) ||
		     !(get_execution(c, TPR_THRESHOLD) & BITS(31, 4)));
	rule(c, CTL_TPR_THRESHOLD_VTPR,
	     !PROC(c, USE_TPR_SHADOW) || PROC2(c, VIRTUALIZE_APIC_ACCESSES) || PROC2(c, VIRTUAL_INTERRUPT_DELIVERY) ||
		     threshold_below_vtpr(c));
	rule(c, CTL_VIRTUAL_NMIS, !PIN(c, VIRTUAL_NMIS) || PIN(c, NMI_EXITING));
	rule(c, CTL_NMI_WINDOW, !PROC(c, NMI_WINDOW_EXITING) || PIN(c, VIRTUAL_NMIS));
	rule(c, CTL_TPR_SHADOW_X2APIC, !PROC2(c, VIRTUALIZE_X2APIC_MODE) || PROC(c, USE_TPR_SHADOW));
	rule(c, CTL_TPR_SHADOW_APIC_REG, !PROC2(c, APIC_REGISTER_VIRTUALIZATION) || PROC(c, USE_TPR_SHADOW));
	rule(c, CTL_TPR_SHADOW_VID, !PROC2(c, VIRTUAL_INTERRUPT_DELIVERY) || PROC(c, USE_TPR_SHADOW));
	rule(c, CTL_TPR_SHADOW_IPI, !PROC3(c, IPI_VIRTUALIZATION) || PROC(c, USE_TPR_SHADOW));
	rule(c, CTL_X2APIC_NO_APIC_ACCESS, !PROC2(c, VIRTUALIZE_X2APIC_MODE) || !PROC2(c, VIRTUALIZE_APIC_ACCESSES));
	rule(c, CTL_VID_EXTINT, !PROC2(c, VIRTUAL_INTERRUPT_DELIVERY) || PIN(c, EXTERNAL_INTERRUPT_EXITING));
	rule(c, CTL_POSTED_VID, !PIN(c, PROCESS_POSTED_INTERRUPTS) || PROC2(c, VIRTUAL_INTERRUPT_DELIVERY));
	/* In a return from SMM both are of the executive VMCS, whose exits they are about. */
	rule(c, CTL_POSTED_ACK,
	     !PIN(c, PROCESS_POSTED_INTERRUPTS) || (get_execution(c, VM_EXIT_CTLS) & EXIT_CTLS_ACKNOWLEDGE_INTERRUPT));
	rule(c, CTL_POSTED_VECTOR,
	     !PIN(c, PROCESS_POSTED_INTERRUPTS) || !(get_execution(c, POSTED_INTERRUPT_VECTOR) & BITS(15, 8)));
	rule(c, CTL_POSTED_DESC_ALIGN,
	     !PIN(c, PROCESS_POSTED_INTERRUPTS) || is_aligned(get_execution(c, POSTED_INTERRUPT_DESCRIPTOR), 64));
	rule(c, CTL_POSTED_DESC_WIDTH,
	     !PIN(c, PROCESS_POSTED_INTERRUPTS) || check_in_width(c, get_execution(c, POSTED_INTERRUPT_DESCRIPTOR)));
	rule(c, CTL_IPI_TABLE_ALIGN,
	     !PROC3(c, IPI_VIRTUALIZATION) || is_aligned(get_execution(c, PID_POINTER_TABLE), 8));
	rule(c, CTL_IPI_TABLE_WIDTH,
	     !PROC3(c, IPI_VIRTUALIZATION) || check_in_width(c, get_execution(c, PID_POINTER_TABLE)));
	/* The table's own address breaks the rule above, and could wrap around here. */
	rule(c, CTL_IPI_LAST_WIDTH,
	     !PROC3(c, IPI_VIRTUALIZATION) || !check_in_width(c, get_execution(c, PID_POINTER_TABLE)) ||
		     check_in_width(c, get_execution(c, PID_POINTER_TABLE) +
					       8 * get_execution(c, LAST_PID_POINTER_INDEX)));
}

static bool eptp_memory_type(struct check *c)
{
	switch (get_execution(c, EPTP) & 7) {
	case 0: return CAPABLE(c, EPT_VPID_CAP, UC);
	case 6: return CAPABLE(c, EPT_VPID_CAP, WB);
	default: return false;
	}
}

static bool eptp_walk(struct check *c)
{
	switch (bits_get(get_execution(c, EPTP), 5, 3)) {
	case 3: return CAPABLE(c, EPT_VPID_CAP, PAGE_WALK_4);
	case 4: return CAPABLE(c, EPT_VPID_CAP, PAGE_WALK_5);
	default: return false;
	}
}

static void check_ept(struct check *c)
{
	rule(c, CTL_VPID_NONZERO, !PROC2(c, ENABLE_VPID) || get_execution(c, VPID));
	rule(c, CTL_EPTP_MEMTYPE, !PROC2(c, ENABLE_EPT) || eptp_memory_type(c));
	rule(c, CTL_EPTP_WALK, !PROC2(c, ENABLE_EPT) || eptp_walk(c));
	rule(c, CTL_EPTP_AD,
	     !PROC2(c, ENABLE_EPT) || !(get_execution(c, EPTP) & BIT(6)) || CAPABLE(c, EPT_VPID_CAP, ACCESSED_DIRTY));
	/* Bit 7: newer editions define it in the field's format, but still list it as reserved among the checks;
	 * processors with CET take it. */
	rule(c, CTL_EPTP_SSS,
	     !PROC2(c, ENABLE_EPT) || !(get_execution(c, EPTP) & BIT(7)) ||
		     CAPABLE(c, EPT_VPID_CAP, SUPERVISOR_SHADOW_STACK));
	rule(c, CTL_EPTP_RESERVED, !PROC2(c, ENABLE_EPT) || !(get_execution(c, EPTP) & BITS(11, 8)));
	rule(c, CTL_EPTP_WIDTH, !PROC2(c, ENABLE_EPT) || check_in_width(c, get_execution(c, EPTP)));
	rule(c, CTL_EPT_REQUIRED_PML, !PROC2(c, ENABLE_PML) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_UNRESTRICTED, !PROC2(c, UNRESTRICTED_GUEST) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_MBEC, !PROC2(c, MODE_BASED_EXECUTE) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_SPP, !PROC2(c, SUBPAGE_WRITE_PERMISSIONS) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_HLAT, !PROC3(c, ENABLE_HLAT) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_PAGING_WRITE, !PROC3(c, EPT_PAGING_WRITE_CONTROL) || PROC2(c, ENABLE_EPT));
	rule(c, CTL_EPT_REQUIRED_GUEST_PAGING, !PROC3(c, GUEST_PAGING_VERIFICATION) || PROC2(c, ENABLE_EPT));
}

void check_execution(struct check *c)
{
	/* Root operation has no such controls, and a pointer to no VMCS breaks another rule. */
	if (check_returns_to_root(c) || (check_returns_from_smm(c) && !c->input->cpu->executive))
		return;
	rule(c, CTL_PIN_RESERVED, allowed(c, VMX_PINBASED_CTLS, get_execution(c, VM_PINBASED_CTLS)));
	rule(c, CTL_PROC_RESERVED, allowed(c, VMX_PROCBASED_CTLS, get_execution(c, VM_PROCBASED_CTLS)));
	rule(c, CTL_PROC2_RESERVED,
	     !PROC(c, ACTIVATE_SECONDARY_CONTROLS) ||
		     allowed(c, VMX_PROCBASED_CTLS2, get_execution(c, VM_PROCBASED_CTLS2)));
	rule(c, CTL_PROC3_RESERVED,
	     !PROC(c, ACTIVATE_TERTIARY_CONTROLS) ||
		     allowed(c, VMX_PROCBASED_CTLS3, get_execution(c, VM_PROCBASED_CTLS3)));
	/* The manual's text says 4; the number is a capability. 0 needs none. */
	rule(c, CTL_CR3_TARGET_COUNT,
	     !get_execution(c, CR3_TARGET_COUNT) || !check_caps_known(c) ||
		     get_execution(c, CR3_TARGET_COUNT) <= VMX_CR3_TARGETS);
	check_addresses(c);
	check_apic(c);
	check_ept(c);
	rule(c, CTL_VMFUNC_RESERVED,
	     !PROC2(c, ENABLE_VM_FUNCTIONS) || allowed(c, VMX_FUNCTION_CTLS, get_execution(c, VM_FUNCTION_CTLS)));
	rule(c, CTL_VMFUNC_EPTP_SWITCHING_EPT,
	     !PROC2(c, ENABLE_VM_FUNCTIONS) || !(get_execution(c, VM_FUNCTION_CTLS) & FUNCTION_CTLS_EPTP_SWITCHING) ||
		     PROC2(c, ENABLE_EPT));
	rule(c, CTL_TSC_MULTIPLIER, !PROC2(c, USE_TSC_SCALING) || get_execution(c, TSC_MULTIPLIER));
	rule(c, CTL_HLATP_RESERVED, !PROC3(c, ENABLE_HLAT) || !(get_execution(c, HLATP) & (BITS(2, 0) | BITS(11, 5))));
	rule(c, CTL_HLATP_WIDTH, !PROC3(c, ENABLE_HLAT) || check_in_width(c, get_execution(c, HLATP)));
}

/* Does the last byte of an area of `count` MSRs lie within the width? The address is within, so the sum does not wrap
 * around. */
static bool last_in_width(struct check *c, uint64_t address, uint64_t count)
{
	return !check_in_width(c, address) || check_in_width(c, address + 16 * count - 1);
}

#define MSR_AREA(NAME, FIELD)                                                                                      \
	do {                                                                                                       \
		rule(c, CTL_##NAME##_ALIGN, !get(c, FIELD##_COUNT) || is_aligned(get(c, FIELD##_ADDRESS), 16));    \
		rule(c, CTL_##NAME##_WIDTH, !get(c, FIELD##_COUNT) || check_in_width(c, get(c, FIELD##_ADDRESS))); \
		rule(c, CTL_##NAME##_LAST,                                                                         \
		     !get(c, FIELD##_COUNT) || last_in_width(c, get(c, FIELD##_ADDRESS), get(c, FIELD##_COUNT)));  \
	} while (0)

void check_exit_controls(struct check *c)
{
	rule(c, CTL_EXIT_RESERVED, allowed(c, VMX_EXIT_CTLS, get(c, VM_EXIT_CTLS)));
	rule(c, CTL_EXIT2_RESERVED,
	     !ON_EXIT(c, ACTIVATE_SECONDARY_CONTROLS) || allowed(c, VMX_EXIT_CTLS2, get(c, VM_EXIT_CTLS2)));
	/* Returns from SMM do not ask: the pin-based controls are of another VMCS. SDM vol. 3, "VM Entries That Return
	 * from SMM", "Checks on VM-Execution Control Fields". */
	rule(c, CTL_EXIT_SAVE_TIMER,
	     !ON_EXIT(c, SAVE_PREEMPTION_TIMER) || check_returns_from_smm(c) || PIN(c, PREEMPTION_TIMER));
	MSR_AREA(EXIT_MSR_STORE, VM_EXIT_MSR_STORE);
	MSR_AREA(EXIT_MSR_LOAD, VM_EXIT_MSR_LOAD);
}

/* Exceptions that push an error code; #CP (21) is not among them: IA32_VMX_BASIC[56] comes with CET. */
static bool has_error_code(unsigned vector)
{
	return vector < 32 && (BIT(vector) & (BIT(VECTOR_DF) | BITS(VECTOR_PF, VECTOR_TS) | BIT(VECTOR_AC)));
}

/* Real mode, for the rules on error codes: they ask for the control, not just for CR0.PE. */
static bool unrestricted_real(struct check *c)
{
	return PROC2(c, UNRESTRICTED_GUEST) && !(get(c, GUEST_CR0) & CR0_PE);
}

static void check_injection(struct check *c)
{
	uint64_t info = get(c, VM_ENTRY_INTERRUPTION_INFO);
	unsigned vector = info & 0xff, type = bits_get(info, 10, 8);
	bool valid = info & INTERRUPTION_VALID, hardware = type == INTERRUPTION_HARDWARE_EXCEPTION;
	bool software = type == INTERRUPTION_SOFTWARE || type == INTERRUPTION_PRIVILEGED ||
			type == INTERRUPTION_SOFTWARE_EXCEPTION;
	bool with_code = info & INTERRUPTION_ERROR_CODE;

	/* `info` is read for every rule, so every rule has to say so. */
#define EVENT_RULE(NAME, holds) (note(c, VMCS_VM_ENTRY_INTERRUPTION_INFO), rule(c, NAME, !valid || (holds)))
	EVENT_RULE(CTL_INJECT_TYPE1, type != 1);
	EVENT_RULE(CTL_INJECT_TYPE7, type != INTERRUPTION_OTHER || CAPABLE(c, PROCBASED_CTLS, MONITOR_TRAP_FLAG));
	EVENT_RULE(CTL_INJECT_NMI_VECTOR, type != INTERRUPTION_NMI || vector == VECTOR_NMI);
	EVENT_RULE(CTL_INJECT_HW_VECTOR, !hardware || vector <= 31);
	EVENT_RULE(CTL_INJECT_OTHER_VECTOR, type != INTERRUPTION_OTHER || vector == 0);
	EVENT_RULE(CTL_INJECT_EC_REQUIRED, !hardware || !has_error_code(vector) || with_code || unrestricted_real(c) ||
						   CAPABLE(c, BASIC, ANY_ERROR_CODE));
	EVENT_RULE(CTL_INJECT_EC_NOT_HW, !with_code || hardware);
	EVENT_RULE(CTL_INJECT_EC_REAL_MODE, !with_code || !unrestricted_real(c));
	EVENT_RULE(CTL_INJECT_EC_FORBIDDEN, !with_code || !hardware || vector > 31 || has_error_code(vector) ||
						    CAPABLE(c, BASIC, ANY_ERROR_CODE));
	EVENT_RULE(CTL_INJECT_NESTED, !(info & BIT(13)) || (hardware && CAPABLE(c, BASIC, NESTED_EXCEPTION)));
	EVENT_RULE(CTL_INJECT_RESERVED, !(info & (BITS(30, 14) | BIT(12))));
	/* Editions of 2016 reserve bit 15 too, which #PF of SGX has since taken. */
	EVENT_RULE(CTL_INJECT_ERROR_CODE, !with_code || !(get(c, VM_ENTRY_ERROR_CODE) & BITS(31, 16)));
	EVENT_RULE(CTL_INJECT_ILEN_MAX, !software || get(c, VM_ENTRY_INSTRUCTION_LENGTH) <= 15);
	EVENT_RULE(CTL_INJECT_ILEN_ZERO,
		   !software || get(c, VM_ENTRY_INSTRUCTION_LENGTH) || CAPABLE(c, MISC, ZERO_LENGTH_INJECTION));
#undef EVENT_RULE
}

static bool outside_smm(struct check *c)
{
	if (!c->input->cpu)
		c->unknown = true;
	return c->input->cpu && !c->input->cpu->smm;
}

void check_entry_controls(struct check *c)
{
	rule(c, CTL_ENTRY_RESERVED, allowed(c, VMX_ENTRY_CTLS, get(c, VM_ENTRY_CTLS)));
	check_injection(c);
	MSR_AREA(ENTRY_MSR_LOAD, VM_ENTRY_MSR_LOAD);
	rule(c, CTL_ENTRY_SMM_OUTSIDE, !ON_ENTRY(c, ENTRY_TO_SMM) || !outside_smm(c));
	rule(c, CTL_ENTRY_DEACT_OUTSIDE, !ON_ENTRY(c, DEACTIVATE_DUAL_MONITOR) || !outside_smm(c));
	rule(c, CTL_ENTRY_SMM_BOTH, !ON_ENTRY(c, ENTRY_TO_SMM) || !ON_ENTRY(c, DEACTIVATE_DUAL_MONITOR));
	rule(c, SMM_INJECT_MTF,
	     (get(c, VM_ENTRY_INTERRUPTION_INFO) & (INTERRUPTION_VALID | BITS(10, 0))) !=
			     (INTERRUPTION_VALID | INTERRUPTION_OTHER << 8) ||
		     !check_returns_to_root(c));
}

/* SDM vol. 3, "Checks on the Executive-VMCS Pointer Field". */
void check_executive(struct check *c)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;
	uint32_t revision = ~0u;

	if (!check_returns_from_smm(c))
		return;
	rule(c, SMM_EXEC_PTR_ALIGN, page_aligned(get(c, EXECUTIVE_VMCS_POINTER)));
	rule(c, SMM_EXEC_PTR_WIDTH, check_in_width(c, get(c, EXECUTIVE_VMCS_POINTER)));
	rule(c, SMM_EXEC_PTR_REVISION,
	     !page_aligned(get(c, EXECUTIVE_VMCS_POINTER)) || !check_in_width(c, get(c, EXECUTIVE_VMCS_POINTER)) ||
		     (cpu->read(cpu->ctx, get(c, EXECUTIVE_VMCS_POINTER), &revision, 4) && revision == VMX_REVISION));
	rule(c, SMM_EXEC_PTR_LAUNCHED,
	     ON_ENTRY(c, DEACTIVATE_DUAL_MONITOR) || check_returns_to_root(c) || !cpu->executive ||
		     cpu->executive_launched);
	rule(c, SMM_EXEC_PTR_DEACTIVATE, !ON_ENTRY(c, DEACTIVATE_DUAL_MONITOR) || check_returns_to_root(c));
}
