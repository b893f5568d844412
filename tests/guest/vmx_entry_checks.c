/*
 * VM entries that fail: one rule broken at a time. A line has the id that spec/vmx_checks.def gives the rule, and after
 * '/' which of its cases.
 *
 * SDM vol. 3, "Checks on VMX Controls and Host-State Area", "Checking and Loading Guest State", "Loading MSRs". Rules
 * of the dual-monitor treatment are not here.
 */
#include "vmx.h"

const char chapter[] = "vmx_entry_checks";

#define CR4_CET (1ul << 23)
#define HAS_CET cpu_has(7, 0, 2, 7)
#define HAS_RTM cpu_has(7, 0, 1, 11)
#define BAD	(1ul << 60) /* not canonical */

static u64 page, wide;
static ulong code[G_MODES];

#define CTL(id, ...)	     V(id, "VMfail(7)", G64, code[G64], ##__VA_ARGS__)
#define HOST(id, ...)	     V(id, "VMfail(8)", G64, code[G64], ##__VA_ARGS__)
#define GUEST(id, mode, ...) V(id, "INVALID_GUEST_STATE q=0", mode, code[mode], ##__VA_ARGS__)
#define GUEST_Q(id, q, ...)  V(id, "INVALID_GUEST_STATE q=" #q, G64, code[G64], ##__VA_ARGS__)
#define GOOD(id, mode, ...)  V(id, "ok", mode, code[mode], ##__VA_ARGS__)
#define inject(info)	     vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | (info))
#define EPT_OFF(bits)	     vm_ept(), vm_write(EPTP, vm_read(EPTP) bits)
#define FIELD_PAGE(id, field, ...)                                \
	CTL(id ".align", __VA_ARGS__, vm_write(field, page + 8)); \
	CTL(id ".width", __VA_ARGS__, vm_write(field, page | wide))

/* Every bit of a control word whose setting is fixed, flipped alone. */
static void reserved_controls(void)
{
	static const struct {
		const char *id;
		u32 field, msr, true_msr;
	} words[] = {{"ctl.pin.reserved", VM_PINBASED_CTLS, 0x481, 0x48d},
		     {"ctl.proc.reserved", VM_PROCBASED_CTLS, 0x482, 0x48e},
		     {"ctl.exit.reserved", VM_EXIT_CTLS, 0x483, 0x48f},
		     {"ctl.entry.reserved", VM_ENTRY_CTLS, 0x484, 0x490},
		     {"ctl.proc2.reserved", VM_PROCBASED_CTLS2, 0x48b, 0}};

	for (u32 i = 0; i < 5; i++) {
		u32 tried = 0, refused = 0;
		u64 msr = rdmsr(words[i].msr), loose = msr;

		if (words[i].true_msr && rdmsr(MSR_VMX_BASIC) >> BASIC_TRUE_CTLS & 1)
			loose = rdmsr(words[i].true_msr);
		for (u32 bit = 0; bit < 32; bit++) {
			bool must = words[i].true_msr && loose >> bit & 1, may = msr >> (32 + bit) & 1;

			if (may && !must)
				continue;
			vm_fresh(G64, code[G64]);
			if (!words[i].true_msr)
				pri(ACTIVATE_SECONDARY_CONTROLS);
			vm_write(words[i].field, vm_read(words[i].field) ^ 1ul << bit);
			vm_run();
			tried++;
			refused += vmx_result(vmx_flags)[7] == '7';
		}
		check(words[i].id, "all", "%s", tried && tried == refused ? "all" : "not all");
	}
}

static void execution_controls(void)
{
	CTL("ctl.cr3_target.count", vm_write(CR3_TARGET_COUNT, 5));
	FIELD_PAGE("ctl.io_bitmap_a", IO_BITMAP_A, pri(USE_IO_BITMAPS));
	FIELD_PAGE("ctl.io_bitmap_b", IO_BITMAP_B, pri(USE_IO_BITMAPS));
	FIELD_PAGE("ctl.msr_bitmap", MSR_BITMAP, pri(USE_MSR_BITMAPS));
	FIELD_PAGE("ctl.virtual_apic", VIRTUAL_APIC_ADDRESS, pri(USE_TPR_SHADOW));
	FIELD_PAGE("ctl.apic_access", APIC_ACCESS_ADDRESS, sec(VIRTUALIZE_APIC_ACCESSES));
	FIELD_PAGE("ctl.pml", PML_ADDRESS, EPT_OFF(), sec(ENABLE_PML));
	FIELD_PAGE("ctl.spptp", SPPTP, EPT_OFF(), sec(SUBPAGE_WRITE_PERMISSIONS));
	FIELD_PAGE("ctl.eptp_list", EPTP_LIST, EPT_OFF(), vm_control(VM_FUNCTION, FUNCTION_CTLS_EPTP_SWITCHING));
	FIELD_PAGE("ctl.vmread_bitmap", VMREAD_BITMAP, sec(VMCS_SHADOWING));
	FIELD_PAGE("ctl.vmwrite_bitmap", VMWRITE_BITMAP, sec(VMCS_SHADOWING));
	FIELD_PAGE("ctl.ve_info", VE_INFORMATION, EPT_OFF(), sec(EPT_VIOLATION_VE));
	CTL("ctl.tpr_threshold.reserved", pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page),
	    vm_write(TPR_THRESHOLD, 0x10));
	CTL("ctl.tpr_threshold.vtpr", pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page),
	    vm_write(TPR_THRESHOLD, 1));
	CTL("ctl.virtual_nmis", pin(VIRTUAL_NMIS));
	CTL("ctl.nmi_window", pri(NMI_WINDOW_EXITING), pin(NMI_EXITING));
	CTL("ctl.tpr_shadow.x2apic", sec(VIRTUALIZE_X2APIC_MODE));
	CTL("ctl.tpr_shadow.apic_reg", sec(APIC_REGISTER_VIRTUALIZATION));
	CTL("ctl.tpr_shadow.vid", sec(VIRTUAL_INTERRUPT_DELIVERY), pin(EXTERNAL_INTERRUPT_EXITING));
	CTL("ctl.x2apic.no_apic_access", pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page),
	    sec(VIRTUALIZE_X2APIC_MODE), sec(VIRTUALIZE_APIC_ACCESSES), vm_write(APIC_ACCESS_ADDRESS, page));
	CTL("ctl.vid.extint", pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page),
	    sec(VIRTUAL_INTERRUPT_DELIVERY));
#define POSTED(id, ...)                                                                                        \
	CTL(id, pin(PROCESS_POSTED_INTERRUPTS), pin(EXTERNAL_INTERRUPT_EXITING), pri(USE_TPR_SHADOW),          \
	    sec(VIRTUAL_INTERRUPT_DELIVERY), vm_write(VIRTUAL_APIC_ADDRESS, page), exi(ACKNOWLEDGE_INTERRUPT), \
	    vm_write(POSTED_INTERRUPT_DESCRIPTOR, page), ##__VA_ARGS__)
	POSTED("ctl.posted.vid", vm_and(VM_PROCBASED_CTLS2, ~(1ul << PROCBASED_CTLS2_VIRTUAL_INTERRUPT_DELIVERY)));
	POSTED("ctl.posted.ack", vm_and(VM_EXIT_CTLS, ~(1ul << EXIT_CTLS_ACKNOWLEDGE_INTERRUPT)));
	POSTED("ctl.posted.vector", vm_write(POSTED_INTERRUPT_VECTOR, 0x100));
	POSTED("ctl.posted.desc.align", vm_write(POSTED_INTERRUPT_DESCRIPTOR, page + 32));
	POSTED("ctl.posted.desc.width", vm_write(POSTED_INTERRUPT_DESCRIPTOR, page | wide));
	CTL("ctl.vpid.nonzero", sec(ENABLE_VPID));
	CTL("ctl.eptp.memtype", EPT_OFF(^7));
	CTL("ctl.eptp.walk", EPT_OFF(^8));
	CTL("ctl.eptp.reserved", EPT_OFF(| 0x100));
	CTL("ctl.eptp.reserved/11", EPT_OFF(| 0x800));
	CTL("ctl.eptp.width", EPT_OFF(| wide));
	CTL("ctl.ept.required.unrestricted", sec(UNRESTRICTED_GUEST));
	CTL("ctl.ept.required.pml", sec(ENABLE_PML), vm_write(PML_ADDRESS, page));
	CTL("ctl.ept.required.mbec", sec(MODE_BASED_EXECUTE));
	CTL("ctl.ept.required.spp", sec(SUBPAGE_WRITE_PERMISSIONS), vm_write(SPPTP, page));
	CTL("ctl.vmfunc.reserved", EPT_OFF(), sec(ENABLE_VM_FUNCTIONS), vm_write(VM_FUNCTION_CTLS, 2));
	CTL("ctl.vmfunc.eptp_switching.ept", vm_control(VM_FUNCTION, FUNCTION_CTLS_EPTP_SWITCHING),
	    vm_write(EPTP_LIST, page));
	CTL("ctl.tsc_multiplier", sec(USE_TSC_SCALING));
	CTL("ctl.eptp.ad", vm_needs(!has_cap(ACCESSED_DIRTY)), EPT_OFF(| 0x40));
	CTL("ctl.eptp.sss", vm_needs(!has_cap(SUPERVISOR_SHADOW_STACK)), EPT_OFF(| 0x80));
	CTL("ctl.proc3.reserved", pri(ACTIVATE_TERTIARY_CONTROLS), vm_write(VM_PROCBASED_CTLS3, 1ul << 63));
	CTL("ctl.tpr_shadow.ipi", ter(IPI_VIRTUALIZATION));
#define IPI pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page), ter(IPI_VIRTUALIZATION)
	CTL("ctl.ipi.table.align", IPI, vm_write(PID_POINTER_TABLE, page + 4));
	CTL("ctl.ipi.table.width", IPI, vm_write(PID_POINTER_TABLE, page | wide));
	CTL("ctl.ipi.last.width", IPI, vm_write(PID_POINTER_TABLE, wide - 8), vm_write(LAST_PID_POINTER_INDEX, 1));
	CTL("ctl.ept.required.hlat", ter(ENABLE_HLAT), vm_write(HLATP, page));
	CTL("ctl.ept.required.paging_write", ter(EPT_PAGING_WRITE_CONTROL));
	CTL("ctl.ept.required.guest_paging", ter(GUEST_PAGING_VERIFICATION));
	CTL("ctl.hlatp.reserved", EPT_OFF(), ter(ENABLE_HLAT), vm_write(HLATP, page | 1));
	CTL("ctl.hlatp.width", EPT_OFF(), ter(ENABLE_HLAT), vm_write(HLATP, page | wide));
}

/* The VM-exit and VM-entry controls, their MSR areas, and event injection. */
static void exit_and_entry_controls(void)
{
	CTL("ctl.exit.save_timer", exi(SAVE_PREEMPTION_TIMER));
#define AREA(id, address, count)                                              \
	CTL(id ".align", vm_write(count, 1), vm_write(address, page + 8));    \
	CTL(id ".width", vm_write(count, 1), vm_write(address, page | wide)); \
	CTL(id ".last", vm_write(count, 2), vm_write(address, wide - 16))
	AREA("ctl.exit.msr_store", VM_EXIT_MSR_STORE_ADDRESS, VM_EXIT_MSR_STORE_COUNT);
	AREA("ctl.exit.msr_load", VM_EXIT_MSR_LOAD_ADDRESS, VM_EXIT_MSR_LOAD_COUNT);
	AREA("ctl.entry.msr_load", VM_ENTRY_MSR_LOAD_ADDRESS, VM_ENTRY_MSR_LOAD_COUNT);
	CTL("ctl.exit2.reserved", exi(ACTIVATE_SECONDARY_CONTROLS), vm_write(VM_EXIT_CTLS2, 1ul << 63));
	CTL("ctl.inject.type7", vm_needs(!has_pri(MONITOR_TRAP_FLAG)), inject(EVENT_OTHER));
	CTL("ctl.inject.nested", inject(EVENT_EXCEPTION | VEC_UD | 1 << 13));
	CTL("ctl.inject.type1", inject(1 << 8 | 0x30));
	CTL("ctl.inject.nmi_vector", inject(2 << 8 | 3));
	CTL("ctl.inject.hw_vector", inject(EVENT_EXCEPTION | 32));
	CTL("ctl.inject.other_vector", inject(EVENT_OTHER | 1));
	CTL("ctl.inject.ec_not_hw", inject(EVENT_EXTERNAL | EVENT_ERROR_CODE | 0x30), vm_or(GUEST_RFLAGS, FLAG_IF));
	CTL("ctl.inject.ec_not_hw/soft", inject(EVENT_SOFT_INT | EVENT_ERROR_CODE | 13),
	    vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 2));
	V("ctl.inject.ec_real_mode", "VMfail(7)", GREAL, code[GREAL],
	  inject(EVENT_EXCEPTION | EVENT_ERROR_CODE | VEC_GP));
	CTL("ctl.inject.reserved/12", inject(EVENT_EXCEPTION | VEC_UD | 1 << 12));
	CTL("ctl.inject.reserved/30", inject(EVENT_EXCEPTION | VEC_UD | 1 << 30));
	CTL("ctl.inject.error_code", inject(EVENT_EXCEPTION | EVENT_ERROR_CODE | VEC_GP),
	    vm_write(VM_ENTRY_ERROR_CODE, 0x10000));
	CTL("ctl.inject.ilen_max", inject(EVENT_SOFT_INT | 0x30), vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 16));
	CTL("ctl.inject.ilen_zero", vm_needs(!has_misc(ZERO_LENGTH_INJECTION)), inject(EVENT_SOFT_INT | 0x30));
	CTL("ctl.entry.smm_outside", vm_control(ENTRY, ENTRY_CTLS_ENTRY_TO_SMM));
	CTL("ctl.entry.smm_both", vm_control(ENTRY, ENTRY_CTLS_ENTRY_TO_SMM),
	    vm_control(ENTRY, ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR));
	CTL("ctl.entry.deact_outside", vm_control(ENTRY, ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR));
	/* Which vectors have an error code: both ways, unless IA32_VMX_BASIC[56] leaves the choice. */
	bool any = rdmsr(MSR_VMX_BASIC) >> BASIC_ANY_ERROR_CODE & 1;
	u32 with = 0, without = 0;

	for (u32 vector = 0; vector < 32; vector++)
		for (u32 k = 0; k < 2; k++) {
			vm_fresh(G64, code[G64]);
			inject(EVENT_EXCEPTION | vector | (k ? EVENT_ERROR_CODE : 0));
			vm_run();
			if (!(vmx_flags & FLAG_ZF))
				*(k ? &with : &without) |= 1u << vector;
		}
	/* #CP has one where the processor has CET. */
	check("ctl.inject.ec_required", any ? "ffffffff" : "fffd82ff|ffdd82ff", "%x", without);
	check("ctl.inject.ec_forbidden", any ? "ffffffff" : "27d00|227d00", "%x", with);
}

static void host_state(void)
{
	HOST("host.cr0.fixed", vm_write(HOST_CR0, read_cr0() & ~(ulong)CR0_NE));
	HOST("host.cr0.fixed/pe", vm_write(HOST_CR0, read_cr0() & ~(ulong)CR0_PE));
	HOST("host.cr0.fixed/pg", vm_write(HOST_CR0, read_cr0() & ~CR0_PG));
	HOST("host.cr0.fixed/32", vm_write(HOST_CR0, read_cr0() | 1ul << 32));
	HOST("host.cr4.fixed", vm_write(HOST_CR4, read_cr4() & ~(ulong)CR4_VMXE));
	HOST("host.cr4.fixed/31", vm_write(HOST_CR4, read_cr4() | 1ul << 31));
	HOST("host.cr3.width", vm_write(HOST_CR3, read_cr3() | wide));
	HOST("host.sysenter_esp", vm_write(HOST_SYSENTER_ESP, BAD));
	HOST("host.sysenter_eip", vm_write(HOST_SYSENTER_EIP, BAD));
	HOST("host.perf_global_ctrl", exi(LOAD_PERF_GLOBAL_CTRL), vm_write(HOST_PERF_GLOBAL_CTRL, 1ul << 60));
	HOST("host.pat", exi(LOAD_PAT), vm_write(HOST_PAT, 2));
	HOST("host.pat/byte7", exi(LOAD_PAT), vm_write(HOST_PAT, 0x0800000000000000));
	HOST("host.efer.reserved", exi(LOAD_EFER), vm_write(HOST_EFER, rdmsr(MSR_EFER) | 2));
	HOST("host.efer.lma", exi(LOAD_EFER), vm_write(HOST_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_LMA));
	HOST("host.efer.lme", exi(LOAD_EFER), vm_write(HOST_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_LME));
	HOST("host.pkrs", exi(LOAD_PKRS), vm_write(HOST_PKRS, 1ul << 32));
	HOST("host.cr4.cet_wp", vm_needs(HAS_CET), vm_write(HOST_CR4, read_cr4() | CR4_CET),
	     vm_write(HOST_CR0, read_cr0() & ~(ulong)CR0_WP));
	write_cr4(read_cr4() & ~CR4_CET); /* where the entry succeeded all the same */
	write_cr0(read_cr0() | CR0_WP);
	HOST("host.s_cet.reserved", exi(LOAD_CET), vm_write(HOST_S_CET, 1 << 6));
	HOST("host.s_cet.suppress_tracker", exi(LOAD_CET), vm_write(HOST_S_CET, 3 << 10));
	HOST("host.ssp.align", exi(LOAD_CET), vm_write(HOST_SSP, 2));
	HOST("addr.host64.s_cet", exi(LOAD_CET), vm_write(HOST_S_CET, BAD));
	HOST("addr.host64.ssp", exi(LOAD_CET), vm_write(HOST_SSP, BAD));
	HOST("addr.ssp_table", exi(LOAD_CET), vm_write(HOST_SSP_TABLE, BAD));
	static const char seg[6][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
	char name[48];

	for (u32 i = 0; i < 6; i++) {
		HOST(format_text(name, sizeof(name), "host.%s.selector/rpl", seg[i]),
		     vm_write(HOST_ES_SELECTOR + 2 * i, SEL_DATA0 | 3));
		HOST(format_text(name, sizeof(name), "host.%s.selector", seg[i]),
		     vm_write(HOST_ES_SELECTOR + 2 * i, SEL_DATA0 | 4));
	}
	HOST("host.tr.selector/rpl", vm_write(HOST_TR_SELECTOR, SEL_TSS | 1));
	HOST("host.tr.selector", vm_write(HOST_TR_SELECTOR, SEL_TSS | 4));
	HOST("host.cs.nonnull", vm_write(HOST_CS_SELECTOR, 0));
	HOST("host.tr.nonnull", vm_write(HOST_TR_SELECTOR, 0));
	V("host.ss.nonnull/64-bit-host", "ok", G64, code[G64], vm_write(HOST_SS_SELECTOR, 0));
	HOST("host.fs.base", vm_write(HOST_FS_BASE, BAD));
	HOST("host.gs.base", vm_write(HOST_GS_BASE, BAD));
	HOST("host.gdtr.base", vm_write(HOST_GDTR_BASE, BAD));
	HOST("host.idtr.base", vm_write(HOST_IDTR_BASE, BAD));
	HOST("host.tr.base", vm_write(HOST_TR_BASE, BAD));
	V("addr.lma1.host", "VMfail(7)|VMfail(8)", G32, code[G32],
	  vm_and(VM_EXIT_CTLS, ~(1ul << EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE)));
	HOST("addr.host64.pae", vm_write(HOST_CR4, read_cr4() & ~(ulong)CR4_PAE));
	HOST("addr.host64.rip", vm_write(HOST_RIP, BAD));
}

static void guest_registers(void)
{
	GUEST("guest.cr0.fixed", G64, vm_and(GUEST_CR0, ~(u64)CR0_NE));
	GUEST("guest.cr0.fixed/pe-pg", G32, vm_and(GUEST_CR0, ~(u64)(CR0_PG | CR0_PE)));
	GUEST("guest.cr0.fixed/32", G64, vm_or(GUEST_CR0, 1ul << 32));
	GUEST("guest.cr0.pg_pe", GFLAT, vm_write(GUEST_CR0, CR0_PG | CR0_NE));
	GUEST("guest.cr4.fixed", G64, vm_and(GUEST_CR4, ~(u64)CR4_VMXE));
	GUEST("guest.cr4.fixed/31", G64, vm_or(GUEST_CR4, 1ul << 31));
	GUEST("guest.debugctl.reserved", G64, ent(LOAD_DEBUG_CONTROLS), vm_write(GUEST_DEBUGCTL, 1ul << 40));
	GUEST("guest.ia32e.pg", GFLAT, ent(IA32E_MODE_GUEST), vm_or(GUEST_CR4, CR4_PAE));
	GUEST("guest.ia32e.pae", G64, vm_and(GUEST_CR4, ~(u64)CR4_PAE));
	GUEST("guest.ia32e.pcide", G32, vm_needs(HAS_PCID), vm_or(GUEST_CR4, CR4_PCIDE));
	GUEST("guest.cr3.width", G64, vm_or(GUEST_CR3, wide));
	GUEST("guest.dr7.high", G64, ent(LOAD_DEBUG_CONTROLS), vm_or(GUEST_DR7, 1ul << 32));
	GUEST("guest.sysenter_esp", G64, vm_write(GUEST_SYSENTER_ESP, BAD));
	GUEST("guest.sysenter_eip", G64, vm_write(GUEST_SYSENTER_EIP, BAD));
	GUEST("guest.perf_global_ctrl", G64, ent(LOAD_PERF_GLOBAL_CTRL), vm_write(GUEST_PERF_GLOBAL_CTRL, 1ul << 60));
	GUEST("guest.pat", G64, ent(LOAD_PAT), vm_write(GUEST_PAT, 3ul << 8));
	GUEST("guest.efer.reserved", G64, ent(LOAD_EFER), vm_or(GUEST_EFER, 1ul << 32));
	GUEST("guest.efer.lma", G64, ent(LOAD_EFER), vm_and(GUEST_EFER, ~(u64)EFER_LMA));
	GUEST("guest.efer.lme", G64, ent(LOAD_EFER), vm_and(GUEST_EFER, ~(u64)EFER_LME));
	GUEST("guest.pkrs", G64, ent(LOAD_PKRS), vm_write(GUEST_PKRS, 1ul << 32));
	GUEST("guest.bndcfgs.reserved", G64, ent(LOAD_BNDCFGS), vm_write(GUEST_BNDCFGS, 1 << 2));
	GUEST("guest.bndcfgs.canonical", G64, ent(LOAD_BNDCFGS), vm_write(GUEST_BNDCFGS, BAD));
	GUEST("guest.cr4.cet_wp", G64, vm_needs(HAS_CET), vm_or(GUEST_CR4, CR4_CET), vm_and(GUEST_CR0, ~(u64)CR0_WP));
	GUEST("guest.s_cet.reserved", G64, ent(LOAD_CET), vm_write(GUEST_S_CET, 1 << 6));
	GUEST("guest.s_cet.suppress_tracker", G64, ent(LOAD_CET), vm_write(GUEST_S_CET, 3 << 10));
	GUEST("guest.s_cet.canonical", G64, ent(LOAD_CET), vm_write(GUEST_S_CET, BAD));
	GUEST("guest.ssp_table.canonical", G64, ent(LOAD_CET), vm_write(GUEST_SSP_TABLE, BAD));
	GUEST("guest.ssp.align", G64, ent(LOAD_CET), vm_write(GUEST_SSP, 2));
	GUEST("guest.ssp.identity", G64, ent(LOAD_CET), vm_write(GUEST_SSP, BAD));
	GUEST("guest.ssp.high", GCOMPAT, ent(LOAD_CET), vm_write(GUEST_SSP, 1ul << 32));
	GOOD("guest.efer.lme/no-paging", GFLAT, ent(LOAD_EFER), vm_write(GUEST_EFER, EFER_LME));
}

static void guest_segments(void)
{
	static const struct {
		const char *name;
		u32 n; /* from ES on */
	} data[] = {{"ds", 3}, {"es", 0}, {"fs", 4}, {"gs", 5}},
	  all[] = {{"cs", 1}, {"ss", 2}, {"ds", 3}, {"es", 0}, {"fs", 4}, {"gs", 5}},
	  tables[] = {{"tr", 7}, {"ldtr", 6}};
	char name[48];

#define NAME(row, id) format_text(name, sizeof(name), "guest.%s." id, (row).name)
#define SEL(n)	      (GUEST_ES_SELECTOR + 2 * (n))
#define BASE(n)	      (GUEST_ES_BASE + 2 * (n))
#define LIMIT(n)      (GUEST_ES_LIMIT + 2 * (n))
#define AR(n)	      (GUEST_ES_AR + 2 * (n))
#define USE_LDTR      (vm_write(AR(6), 0x82), vm_write(LIMIT(6), 0xff))
	GUEST("guest.tr.selector.ti", G64, vm_write(SEL(7), 4));
	GUEST("guest.ldtr.selector.ti", G64, USE_LDTR, vm_write(SEL(6), 4));
	GUEST("guest.ss.selector.rpl", G64, vm_write(SEL(2), SEL_DATA0 | 3), vm_write(AR(2), 0xc0f3));
	GOOD("guest.ss.selector.rpl/unrestricted", GFLAT, vm_write(SEL(2), SEL_DATA0 | 3));
	for (u32 i = 0; i < 6; i++) {
		GUEST(NAME(all[i], "v86.base"), GV86, vm_write(BASE(all[i].n), 0x5000));
		GUEST(NAME(all[i], "v86.limit"), GV86, vm_write(LIMIT(all[i].n), 0xfffff));
		GUEST(NAME(all[i], "v86.ar"), GV86, vm_write(AR(all[i].n), 0x93));
	}
	GUEST("guest.tr.base.canonical", G64, vm_write(BASE(7), BAD));
	GUEST("guest.fs.base.canonical", G64, vm_write(BASE(4), BAD));
	GUEST("guest.gs.base.canonical", G64, vm_write(BASE(5), BAD));
	GUEST("guest.fs.base.canonical/unusable", G64, vm_write(BASE(4), BAD), vm_write(AR(4), AR_UNUSABLE));
	GUEST("guest.ldtr.base.canonical", G64, USE_LDTR, vm_write(BASE(6), BAD));
	GOOD("guest.ldtr.base.canonical/unusable", G64, vm_write(BASE(6), BAD));
	GUEST("guest.cs.base.high", G64, vm_write(BASE(1), 1ul << 32));
	GUEST("guest.ss.base.high", G64, vm_write(BASE(2), 1ul << 32));
	GUEST("guest.ds.base.high", G64, vm_write(BASE(3), 1ul << 32));
	GUEST("guest.es.base.high", G64, vm_write(BASE(0), 1ul << 32));
	/* Types. */
	u32 good_types = 0;

	for (u32 type = 0; type < 16; type++) {
		vm_fresh(G64, code[G64]);
		vm_write(AR(1), 0xa090 | type);
		vm_run();
		good_types |= (u32)(vm_vector() == 0x80) << type;
	}
	check("guest.cs.ar.type", "aa00", "%x", good_types);
	if (vm_has(GFLAT)) {
		good_types = 0;
		for (u32 type = 0; type < 16; type++) {
			vm_fresh(GFLAT, code[GFLAT]);
			vm_write(AR(1), 0xc090 | type);
			vm_run();
			good_types |= (u32) !(vm_read(EXIT_REASON) >> 31) << type;
		}
		check("guest.cs.ar.type_ug", "aa08", "%x", good_types);
	} else {
		absent("guest.cs.ar.type_ug");
	}
	good_types = 0;
	for (u32 type = 0; type < 16; type++) {
		vm_fresh(G64, code[G64]);
		vm_write(AR(2), 0xc090 | type);
		vm_run();
		good_types |= (u32) !(vm_read(EXIT_REASON) >> 31) << type;
	}
	check("guest.ss.ar.type", "88", "%x", good_types);
	for (u32 i = 0; i < 4; i++) {
		good_types = 0;
		for (u32 type = 0; type < 16; type++) {
			vm_fresh(G64, code[G64]);
			vm_write(AR(data[i].n), 0xc090 | type);
			vm_run();
			good_types |= (u32) !(vm_read(EXIT_REASON) >> 31) << type;
		}
		/* Accessed, and readable if code. */
		check(NAME(data[i], "ar.type_accessed"), "88aa", "%x", good_types);
		check(NAME(data[i], "ar.type_readable"), "0", "%x", good_types & 0x2200);
	}
	for (u32 i = 0; i < 6; i++) {
		u64 rights = all[i].n == 1 ? 0xa09b : 0xc093;

		GUEST(NAME(all[i], "ar.s"), G64, vm_write(AR(all[i].n), rights & ~0x10ul));
		GUEST(NAME(all[i], "ar.p"), G64, vm_write(AR(all[i].n), rights & ~0x80ul));
		GUEST(NAME(all[i], "ar.reserved"), G64, vm_write(AR(all[i].n), rights | 0x100));
		GUEST(NAME(all[i], "ar.reserved/17"), G64, vm_write(AR(all[i].n), rights | 0x20000));
		GUEST(NAME(all[i], "ar.g_low"), G64, vm_write(LIMIT(all[i].n), 0xfffff000));
		GUEST(NAME(all[i], "ar.g_high"), G64, vm_write(LIMIT(all[i].n), 0x100fff),
		      vm_write(AR(all[i].n), rights & ~0x8000ul));
		if (all[i].n != 1)
			GOOD(NAME(all[i], "unusable"), G64, vm_write(AR(all[i].n), AR_UNUSABLE),
			     vm_write(LIMIT(all[i].n), 0xfffff000));
	}
	GUEST("guest.cs.ar.dpl_nonconforming", G64, vm_write(AR(1), 0xa0fb));
	GUEST("guest.cs.ar.dpl_conforming", G64, vm_write(AR(1), 0xa0ff));
	GUEST("guest.ss.ar.dpl_rpl", G64, vm_write(AR(2), 0xc0f3));
	GUEST("guest.ss.ar.dpl_real", GREAL, vm_write(AR(2), 0xf3));
	GUEST("guest.cs.ar.dpl_type3", GFLAT, vm_write(AR(1), 0xc0f3), vm_write(AR(2), 0xc0f3),
	      vm_write(SEL(2), SEL_DATA0));
	for (u32 i = 0; i < 4; i++)
		GUEST(NAME(data[i], "ar.dpl"), G64, vm_write(SEL(data[i].n), SEL_DATA0 | 3),
		      vm_write(AR(data[i].n), 0xc093));
	GUEST("guest.cs.ar.db_l", G64, vm_write(AR(1), 0xe09b));
	GUEST("guest.tr.ar.type", G32, vm_write(AR(7), 0x89));
	GUEST("guest.tr.ar.type_ia32e", G64, vm_write(AR(7), 0x83));
	GUEST("guest.ldtr.ar.type", G64, USE_LDTR, vm_write(AR(6), 0x89));
	GUEST("guest.tr.ar.usable", G64, vm_or(AR(7), AR_UNUSABLE));
	for (u32 i = 0; i < 2; i++) {
		u32 n = tables[i].n, rights = n == 7 ? 0x8b : 0x82;

		GUEST(NAME(tables[i], "ar.s"), G64, USE_LDTR, vm_write(AR(n), rights | 0x10));
		GUEST(NAME(tables[i], "ar.p"), G64, USE_LDTR, vm_write(AR(n), rights & ~0x80u));
		GUEST(NAME(tables[i], "ar.reserved"), G64, USE_LDTR, vm_write(AR(n), rights | 0x800));
		GUEST(NAME(tables[i], "ar.reserved/17"), G64, USE_LDTR, vm_write(AR(n), rights | 0x20000));
		GUEST(NAME(tables[i], "ar.g_low"), G64, USE_LDTR, vm_write(AR(n), rights | 0x8000),
		      vm_write(LIMIT(n), 0x1000));
		GUEST(NAME(tables[i], "ar.g_high"), G64, USE_LDTR, vm_write(LIMIT(n), 0x100fff));
	}
	GUEST("guest.gdtr.base", G64, vm_write(GUEST_GDTR_BASE, BAD));
	GUEST("guest.gdtr.limit", G64, vm_write(GUEST_GDTR_LIMIT, 0x10000));
	GUEST("guest.idtr.base", G64, vm_write(GUEST_IDTR_BASE, BAD));
	GUEST("guest.idtr.limit", G64, vm_write(GUEST_IDTR_LIMIT, 0x10000));
}

static void guest_rip_and_flags(void)
{
	GUEST("guest.rip.high", GCOMPAT, vm_or(GUEST_RIP, 1ul << 32));
	GUEST("guest.rip.high/32", G32, vm_or(GUEST_RIP, 1ul << 32));
	GUEST("guest.rip.identity", G64, vm_write(GUEST_RIP, BAD));
	for (u32 i = 0; i < 64; i++) {
		char name[40];

		if (i != 3 && i != 5 && i != 15 && i < 22)
			continue;
		if (i > 23 && i < 62)
			continue;
		GUEST(format_text(name, sizeof(name), "guest.rflags.reserved/%u", i), G64,
		      vm_or(GUEST_RFLAGS, 1ul << i));
	}
	GUEST("guest.rflags.bit1", G64, vm_write(GUEST_RFLAGS, 0));
	GUEST("guest.rflags.vm", G64, vm_or(GUEST_RFLAGS, FLAG_VM));
	GUEST("guest.rflags.vm/real", GREAL, vm_or(GUEST_RFLAGS, FLAG_VM));
	GUEST("guest.rflags.if_extint", G64, inject(EVENT_EXTERNAL | 0x30));
}

static void guest_non_register(void)
{
#define ACTIVITY(state) vm_write(GUEST_ACTIVITY_STATE, state)
#define BLOCKED(bits)	vm_write(GUEST_INTERRUPTIBILITY, bits)
#define PENDING(bits)	vm_write(GUEST_PENDING_DEBUG, bits)
	u64 *link = (u64 *)page;

	GUEST("guest.activity.range", G64, ACTIVITY(4));
	GUEST("guest.activity.hlt_dpl", G64_U, ACTIVITY(HALTED));
	GUEST("guest.activity.blocking", G64, ACTIVITY(HALTED), BLOCKED(BLOCKED_BY_MOV_SS));
	GUEST("guest.activity.blocking/sti", G64, ACTIVITY(SHUT_DOWN), BLOCKED(BLOCKED_BY_STI),
	      vm_or(GUEST_RFLAGS, FLAG_IF));
	GUEST("guest.activity.inject_hlt", G64, ACTIVITY(HALTED), inject(EVENT_EXCEPTION | VEC_UD));
	GUEST("guest.activity.inject_shutdown", G64, ACTIVITY(SHUT_DOWN), inject(EVENT_EXCEPTION | VEC_UD));
	GUEST("guest.activity.inject_sipi", G64, ACTIVITY(WAIT_FOR_SIPI), inject(EVENT_NMI));
	GUEST("guest.intr.reserved", G64, BLOCKED(1 << 5));
	GUEST("guest.intr.reserved/31", G64, BLOCKED(1u << 31));
	GUEST("guest.intr.sti_movss", G64, BLOCKED(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS), vm_or(GUEST_RFLAGS, FLAG_IF));
	GUEST("guest.intr.sti_if", G64, BLOCKED(BLOCKED_BY_STI));
	GUEST("guest.intr.extint", G64, BLOCKED(BLOCKED_BY_MOV_SS), inject(EVENT_EXTERNAL | 0x30),
	      vm_or(GUEST_RFLAGS, FLAG_IF));
	GUEST("guest.intr.nmi_movss", G64, BLOCKED(BLOCKED_BY_MOV_SS), inject(EVENT_NMI));
	GUEST_Q("guest.intr.nmi_sti", 3, BLOCKED(BLOCKED_BY_STI), inject(EVENT_NMI), vm_or(GUEST_RFLAGS, FLAG_IF));
	GUEST("guest.intr.smi_outside", G64, BLOCKED(BLOCKED_BY_SMI));
	GUEST("guest.intr.virtual_nmi", G64, BLOCKED(BLOCKED_BY_NMI), inject(EVENT_NMI), pin(NMI_EXITING),
	      pin(VIRTUAL_NMIS));
	GUEST("guest.intr.enclave_sgx", G64, vm_needs(!cpu_has(7, 0, 1, 2)), BLOCKED(1 << 4));
	GUEST("guest.pending_dbg.reserved", G64, PENDING(1 << 4));
	GUEST("guest.pending_dbg.reserved/13", G64, PENDING(1 << 13));
	GUEST("guest.pending_dbg.reserved/63", G64, PENDING(1ul << 63));
	GUEST("guest.intr.enclave_movss", G64, vm_needs(cpu_has(7, 0, 1, 2)), BLOCKED(1 << 4 | BLOCKED_BY_MOV_SS));
	GUEST("guest.pending_dbg.bit11", G64, vm_needs(!cpu_has(7, 0, 2, 24)), PENDING(1 << 11));
	GUEST("guest.pending_dbg.rtm_cpu", G64, vm_needs(!HAS_RTM), PENDING(1 << 16 | 1 << 12));
	GUEST("guest.pending_dbg.rtm_bits", G64, vm_needs(HAS_RTM), PENDING(1 << 16 | 1 << 12 | 1));
	GUEST("guest.pending_dbg.rtm_movss", G64, vm_needs(HAS_RTM), PENDING(1 << 16 | 1 << 12),
	      BLOCKED(BLOCKED_BY_MOV_SS));
	GUEST("guest.pending_dbg.bs_set", G64, BLOCKED(BLOCKED_BY_MOV_SS), vm_or(GUEST_RFLAGS, FLAG_TF));
	GUEST("guest.pending_dbg.bs_clear", G64, BLOCKED(BLOCKED_BY_MOV_SS), PENDING(1 << 14));
	GUEST("guest.pending_dbg.bs_set/halted", G64, ACTIVITY(HALTED), vm_or(GUEST_RFLAGS, FLAG_TF),
	      pin(PREEMPTION_TIMER)); /* which ends the run where the entry succeeds */
	GUEST_Q("guest.link.align", 4, vm_write(VMCS_LINK_POINTER, page + 8));
	GUEST_Q("guest.link.width", 4, vm_write(VMCS_LINK_POINTER, page | wide));
	*link = 0x12345;
	GUEST_Q("guest.link.revision", 4, vm_write(VMCS_LINK_POINTER, page));
	*link = (rdmsr(MSR_VMX_BASIC) & 0x7fffffff) | 1u << 31;
	GUEST_Q("guest.link.shadow_bit", 4, vm_write(VMCS_LINK_POINTER, page));
	*link = rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
	GUEST_Q("guest.link.shadow_bit/shadowing", 4, vm_write(VMCS_LINK_POINTER, page), sec(VMCS_SHADOWING),
		vm_write(VMREAD_BITMAP, page + 0x1000), vm_write(VMWRITE_BITMAP, page + 0x1000));
	GUEST_Q("guest.link.not_current", 4, vm_write(VMCS_LINK_POINTER, (u64)vmcs_region));
	GOOD("guest.link.not_current/other", G64, vm_write(VMCS_LINK_POINTER, page));
	*link = 0;
}

static void guest_pdptes(void)
{
	u64 *table = page_alloc();

	for (u64 i = 0; i < 4; i++)
		table[i] = (u64)page_dirs[i] | 1;
	table[1] |= 2;
	V("guest.pdpte.memory", "INVALID_GUEST_STATE q=2", G32, code[G32], vm_or(GUEST_CR4, CR4_PAE),
	  vm_write(GUEST_CR3, (u64)table));
	table[1] = 0x1e6;
	GOOD("guest.pdpte.memory/not-present", G32, vm_or(GUEST_CR4, CR4_PAE), vm_write(GUEST_CR3, (u64)table));
	V("guest.pdpte.fields", "INVALID_GUEST_STATE q=2", G32, code[G32], vm_or(GUEST_CR4, CR4_PAE),
	  vm_write(GUEST_CR3, (u64)table), vm_ept(), vm_write(GUEST_PDPTE0, table[0] | 1ul << 51));
}

/* "Loading MSRs": the exit qualification is the number of the entry. */
static void msr_load(void)
{
	struct {
		u32 index, reserved;
		u64 value;
	} *list = (void *)page;

#define LIST(id, expected, n, ...)                                                                                     \
	memset(list, 0, 64), list[0].index = MSR_SYSENTER_CS, list[1].index = MSR_SYSENTER_CS, (void)0, ##__VA_ARGS__, \
			     V(id, expected, G64, code[G64], vm_write(VM_ENTRY_MSR_LOAD_ADDRESS, page),                \
			       vm_write(VM_ENTRY_MSR_LOAD_COUNT, n))
	LIST("msr.ok", "ok", 2);
	LIST("msr.fs_gs_base", "MSR_LOADING q=1", 2, list[0].index = MSR_FS_BASE);
	LIST("msr.fs_gs_base/gs", "MSR_LOADING q=2", 2, list[1].index = MSR_GS_BASE);
	LIST("msr.x2apic", "MSR_LOADING q=2", 2, list[1].index = 0x808);
	LIST("msr.smm_only", "MSR_LOADING q=1", 1, list[0].index = 0x9b);
	LIST("msr.model", "MSR_LOADING q=1|ok", 1, list[0].index = 0x79);
	LIST("msr.reserved", "MSR_LOADING q=2", 2, list[1].reserved = 1);
	LIST("msr.wrmsr", "MSR_LOADING q=1", 1, list[0].index = MSR_PAT, list[0].value = 2);
	LIST("msr.wrmsr/unknown", "MSR_LOADING q=1", 1, list[0].index = 0x12345678);
	LIST("msr.wrmsr/efer", "MSR_LOADING q=1", 1, list[0].index = MSR_EFER, list[0].value = EFER_LMA);
	LIST("msr.count-0", "ok", 0, list[0].index = 0x12345678);
	/* The VMCS is not launched, and the entries before the bad one have been loaded and replaced by the host's
	 * state. */
	LIST("msr.not-launched", "MSR_LOADING q=2", 2, list[0].value = 0x77, list[1].index = 0x12345678);
	check("msr.not-launched:state", "0 VMfail(5)", "%lx %s", rdmsr(MSR_SYSENTER_CS), ({
		      u64 flags;
		      asm volatile("vmresume; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
		      vmx_result(flags);
	      }));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	ulong nops[G_MODES] = {CODE("nop"),   CODE("nop"),   CODE32("nop"), CODE32("nop"), CODE32("nop"),
			       CODE32("nop"), CODE16("nop"), CODE16("nop"), CODE32("nop")};

	memcpy(code, nops, sizeof(code));
	page = (u64)page_alloc();
	page_alloc();
	wide = 1ul << physical_bits();
	reserved_controls();
	execution_controls();
	exit_and_entry_controls();
	host_state();
	guest_registers();
	guest_segments();
	guest_rip_and_flags();
	guest_non_register();
	guest_pdptes();
	msr_load();
	vm_report();
}
