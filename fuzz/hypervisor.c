/* See hypervisor.h. */
#include "hypervisor.h"
#include "exec/exec.h"
#include "exec/run.h"

#define APIC_PAGE UINT64_C(0xfee00000)
#define PDPTES	  (AT(PAGE_TABLES32) + 0x800) /* of PAE paging */
#define TSS32	  (AT(PAGE_TSS) + 0x800)
#define PAT	  UINT64_C(0x0007040600070406)
/* Of EPT entries; for supervisor and user. */
#define RWX (BIT(10) | 7)
#define WB  (6 << 3)

static void put(struct machine *m, uint64_t at, unsigned size, uint64_t value)
{
	uint8_t bytes[8];

	store_le(bytes, 8, value);
	bus_write_bytes(m->bus, at, bytes, size);
}

static void page_tables(struct machine *m)
{
	put(m, AT(PAGE_TABLES), 8, AT(PAGE_TABLES + 1) | 7);
	put(m, AT(PAGE_TABLES + 1), 8, AT(PAGE_TABLES + 2) | 7);
	put(m, AT(PAGE_TABLES + 1) + 3 * 8, 8, AT(PAGE_TABLES + 2) | 7);
	put(m, AT(PAGE_TABLES + 2), 8, 0x87);
	put(m, AT(PAGE_TABLES + 2) + (APIC_PAGE >> 21 & 511) * 8, 8, APIC_PAGE | 0x9f);
	put(m, AT(PAGE_TABLES32), 4, 0x87);
	put(m, PDPTES, 8, AT(PAGE_TABLES + 2) | 1);
	put(m, PDPTES + 3 * 8, 8, AT(PAGE_TABLES + 2) | 1);
}

static void ept(struct machine *m)
{
	put(m, AT(PAGE_EPT), 8, AT(PAGE_EPT + 1) | RWX);
	put(m, AT(PAGE_EPT + 1), 8, AT(PAGE_EPT + 2) | RWX);
	put(m, AT(PAGE_EPT + 1) + 3 * 8, 8, AT(PAGE_EPT + 4) | RWX);
	put(m, AT(PAGE_EPT + 2), 8, AT(PAGE_EPT + 3) | RWX);
	put(m, AT(PAGE_EPT + 4) + (APIC_PAGE >> 21 & 511) * 8, 8, APIC_PAGE | BIT(7) | RWX);
	for (unsigned page = 0; page < 512; page++)
		put(m, AT(PAGE_EPT + 3) + 8 * page, 8, AT(page) | WB | RWX);
	/* Sub-page permissions and HLAT paging begin with something to follow. */
	for (unsigned level = 0; level < 3; level++) {
		put(m, AT(PAGE_SPPT + level), 8, AT(PAGE_SPPT + level + 1) | 1);
		put(m, AT(PAGE_HLAT + level), 8, level == 2 ? 0x87 : AT(PAGE_HLAT + level + 1) | 7);
	}
}

void hypervisor_code(struct machine *m)
{
	static const uint64_t gdt[] = {0,
				       0x00af9b000000ffff,
				       0x00cf93000000ffff,
				       0x00cf9b000000ffff,
				       0x00cff3000000ffff,
				       0x00affb000000ffff,
				       0x00008b01b00003ff,
				       0};

	page_tables(m);
	for (unsigned i = 0; i < ARRAY_SIZE(gdt); i++)
		put(m, AT(PAGE_GDT) + 8 * i, 8, gdt[i]);
}

/* Every vector leads to one place. */
static void gates(struct machine *m)
{
	for (unsigned vector = 0; vector < 256; vector++) {
		put(m, AT(PAGE_IDT) + 16 * vector, 8, 0x00028e0000080000 | (AT(PAGE_HANDLER) & 0xffff));
		put(m, AT(PAGE_IDT32) + 8 * vector, 8, 0x00028e0000180000 | (AT(PAGE_HANDLER) & 0xffff));
		put(m, 4 * vector, 4, AT(PAGE_HANDLER) >> 4 << 16);
	}
}

void hypervisor_pages(struct machine *m)
{
	static const uint8_t handler[] = {0x0f, 0xa2, 0xcf}; /* CPUID; IRET */
	static const uint8_t rsm[] = {0x0f, 0xaa};

	hypervisor_code(m);
	ept(m);
	gates(m);
	bus_write_bytes(m->bus, AT(PAGE_HANDLER), handler, sizeof(handler));
	for (unsigned i = 0; i < m->cpus; i++)
		bus_write_bytes(m->bus, m->cpu[i].smbase + 0x8000, rsm, sizeof(rsm));
	for (unsigned page = PAGE_VMXON; page < PAGE_SHADOW; page++)
		put(m, AT(page), 4, VMX_REVISION);
	put(m, AT(PAGE_SHADOW), 4, VMX_REVISION | VMCS_SHADOW);
	put(m, AT(PAGE_TSS) + 4, 8, AT(PAGE_STACK));
	put(m, TSS32 + 4, 8, AT(PAGE_STACK) | UINT64_C(0x10) << 32); /* and SS */
	put(m, AT(PAGE_TSS) + 0x66, 2, 0x68);
	put(m, TSS32 + 0x66, 2, 0x68);
	put(m, AT(PAGE_ENTRY_LOAD), 8, 0x277);
	put(m, AT(PAGE_ENTRY_LOAD) + 8, 8, PAT);
	put(m, AT(PAGE_EXIT_LOAD), 8, 0xc0000102);
	put(m, AT(PAGE_EXIT_STORE), 8, 0x10);
	put(m, AT(PAGE_EPTP_LIST), 8, AT(PAGE_EPT) | 3 << 3 | 6);
	put(m, AT(PAGE_PID_TABLE), 8, AT(PAGE_POSTED) | 1);
	put(m, AT(PAGE_POSTED) + 32, 8, 0xf2 << 16);
	put(m, AT(PAGE_MSEG) + 4, 4, 1);
	put(m, AT(PAGE_MSEG) + 16, 4, 8);
	put(m, AT(PAGE_MSEG) + 20, 4, AT(PAGE_ROOT_CODE) - AT(PAGE_MSEG));
	put(m, AT(PAGE_MSEG) + 28, 4, AT(PAGE_TABLES) - AT(PAGE_MSEG));
}

#define SET(name, value)  vmx_put_field(vmx, VMCS_##name, value)
#define WISH(name, value) SET(name, vmcs_get(&vmx->vmcs, name) | (value))
#define ALLOWED0(word)	  vmx_allowed0(vmx->caps, VMX_##word)
#define SEGMENTS(ROW)	  ROW(CS) ROW(SS) ROW(DS) ROW(ES) ROW(FS) ROW(GS)

static void fill_segments(struct vmx *vmx, enum guest guest)
{
	bool small = guest == GUEST_V86 || guest == GUEST_REAL;

#define ROW(S)                                               \
	SET(GUEST_##S##_SELECTOR, small ? 0 : 0x10);         \
	SET(GUEST_##S##_BASE, 0);                            \
	SET(GUEST_##S##_LIMIT, small ? 0xffff : 0xffffffff); \
	SET(GUEST_##S##_AR, guest == GUEST_V86 ? 0xf3 : guest == GUEST_REAL ? 0x93 : 0xc093);
	SEGMENTS(ROW)
#undef ROW
	if (small) {
		SET(GUEST_CS_SELECTOR, AT(PAGE_GUEST_CODE) >> 4);
		SET(GUEST_CS_BASE, AT(PAGE_GUEST_CODE));
	} else {
		SET(GUEST_CS_SELECTOR, guest == GUEST_64 ? 0x08 : 0x18);
		SET(GUEST_CS_AR, guest == GUEST_64 ? 0xa09b : 0xc09b);
	}
	SET(GUEST_RIP, small ? 0 : AT(PAGE_GUEST_CODE));
	SET(GUEST_RSP, small ? 0x2000 : AT(PAGE_STACK + 1));
	SET(GUEST_TR_SELECTOR, 0x30);
	SET(GUEST_TR_BASE, guest == GUEST_64 ? AT(PAGE_TSS) : TSS32);
	SET(GUEST_TR_LIMIT, 0x3ff);
	SET(GUEST_TR_AR, 0x8b);
	SET(GUEST_LDTR_AR, AR_UNUSABLE);
	SET(GUEST_GDTR_BASE, AT(PAGE_GDT));
	SET(GUEST_GDTR_LIMIT, 0x3f);
	SET(GUEST_IDTR_BASE, guest == GUEST_REAL ? 0 : AT(guest == GUEST_64 ? PAGE_IDT : PAGE_IDT32));
	SET(GUEST_IDTR_LIMIT, 0xfff);
}

static void fill_guest(struct vmx *vmx, enum guest guest)
{
	bool real = guest == GUEST_REAL || guest == GUEST_FLAT, wide = guest == GUEST_64;

	SET(GUEST_CR0, CR0_ET | CR0_NE | CR0_MP | (guest == GUEST_REAL ? 0 : CR0_PE) | (real ? 0 : CR0_PG));
	SET(GUEST_CR3, guest == GUEST_V86 ? AT(PAGE_TABLES32) : guest == GUEST_PAE ? PDPTES : AT(PAGE_TABLES));
	SET(GUEST_CR4, CR4_VMXE | CR4_OSFXSR | CR4_OSXSAVE |
			       (wide || guest == GUEST_PAE ? CR4_PAE
				: guest == GUEST_V86	   ? CR4_PSE
							   : 0));
	SET(GUEST_PDPTE0, AT(PAGE_TABLES + 2) | 1);
	SET(GUEST_EFER, wide ? EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE : 0);
	SET(GUEST_PAT, PAT);
	SET(GUEST_DR7, DR7_1);
	SET(GUEST_RFLAGS, RFLAGS_1 | (guest == GUEST_V86 ? RFLAGS_VM | RFLAGS_IOPL : 0));
	SET(VMCS_LINK_POINTER, ~UINT64_C(0));
	if (wide)
		WISH(VM_ENTRY_CTLS, ENTRY_CTLS_IA32E_MODE_GUEST);
	if (real) {
		WISH(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_UNRESTRICTED_GUEST | PROCBASED_CTLS2_ENABLE_EPT);
		SET(EPTP, AT(PAGE_EPT) | 3 << 3 | 6);
	}
	fill_segments(vmx, guest);
}

static void fill_host(struct vmx *vmx, bool wide)
{
	SET(HOST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_PG);
	SET(HOST_CR3, wide ? AT(PAGE_TABLES) : AT(PAGE_TABLES32));
	SET(HOST_CR4, CR4_VMXE | CR4_OSFXSR | CR4_OSXSAVE | (wide ? CR4_PAE : CR4_PSE));
	SET(HOST_EFER, wide ? EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE : 0);
	SET(HOST_PAT, PAT);
	SET(HOST_CS_SELECTOR, wide ? 0x08 : 0x18);
	SET(HOST_SS_SELECTOR, 0x10);
	SET(HOST_TR_SELECTOR, 0x30);
	SET(HOST_TR_BASE, AT(PAGE_TSS));
	SET(HOST_GDTR_BASE, AT(PAGE_GDT));
	SET(HOST_IDTR_BASE, AT(PAGE_IDT));
	SET(HOST_RSP, AT(PAGE_STACK + 2));
	SET(HOST_RIP, AT(PAGE_ROOT_CODE) + 0x100);
}

/* Where everything lies, asked for or not. */
static void fill_addresses(struct vmx *vmx)
{
	SET(IO_BITMAP_A, AT(PAGE_IO_BITMAPS));
	SET(IO_BITMAP_B, AT(PAGE_IO_BITMAPS + 1));
	SET(MSR_BITMAP, AT(PAGE_MSR_BITMAP));
	SET(VM_EXIT_MSR_STORE_ADDRESS, AT(PAGE_EXIT_STORE));
	SET(VM_EXIT_MSR_LOAD_ADDRESS, AT(PAGE_EXIT_LOAD));
	SET(VM_ENTRY_MSR_LOAD_ADDRESS, AT(PAGE_ENTRY_LOAD));
	SET(PML_ADDRESS, AT(PAGE_PML));
	SET(PML_INDEX, 511);
	SET(VIRTUAL_APIC_ADDRESS, AT(PAGE_VIRTUAL_APIC));
	SET(APIC_ACCESS_ADDRESS, AT(PAGE_APIC_ACCESS));
	SET(POSTED_INTERRUPT_DESCRIPTOR, AT(PAGE_POSTED));
	SET(POSTED_INTERRUPT_VECTOR, 0xf2);
	SET(PID_POINTER_TABLE, AT(PAGE_PID_TABLE));
	SET(EPTP, AT(PAGE_EPT) | BIT(6) | 3 << 3 | 6);
	SET(EPTP_LIST, AT(PAGE_EPTP_LIST));
	SET(VPID, 1);
	SET(VMREAD_BITMAP, AT(PAGE_VMREAD_BITMAP));
	SET(VMWRITE_BITMAP, AT(PAGE_VMWRITE_BITMAP));
	SET(VE_INFORMATION, AT(PAGE_VE));
	SET(SPPTP, AT(PAGE_SPPT));
	SET(HLATP, AT(PAGE_HLAT));
	SET(TSC_MULTIPLIER, BIT(48));
	SET(PREEMPTION_TIMER, 2);
}

static void fill_wishes(struct vmx *vmx, unsigned wishes)
{
	if (wishes & WISH_EPT)
		WISH(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_VPID);
	if (wishes & (WISH_APIC | WISH_INTERRUPTS)) {
		WISH(VM_PROCBASED_CTLS, PROCBASED_CTLS_USE_TPR_SHADOW);
		WISH(VM_PROCBASED_CTLS2,
		     PROCBASED_CTLS2_VIRTUALIZE_APIC_ACCESSES | PROCBASED_CTLS2_APIC_REGISTER_VIRTUALIZATION);
	}
	if (wishes & WISH_INTERRUPTS) {
		WISH(VM_PINBASED_CTLS, PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING |
					       PINBASED_CTLS_PROCESS_POSTED_INTERRUPTS | PINBASED_CTLS_NMI_EXITING |
					       PINBASED_CTLS_VIRTUAL_NMIS);
		WISH(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_VIRTUAL_INTERRUPT_DELIVERY);
		WISH(VM_PROCBASED_CTLS, PROCBASED_CTLS_ACTIVATE_TERTIARY_CONTROLS);
		SET(VM_PROCBASED_CTLS3, PROCBASED_CTLS3_IPI_VIRTUALIZATION);
		WISH(VM_EXIT_CTLS, EXIT_CTLS_ACKNOWLEDGE_INTERRUPT);
	}
	if (wishes & WISH_BITMAPS) {
		WISH(VM_PROCBASED_CTLS, PROCBASED_CTLS_USE_IO_BITMAPS | PROCBASED_CTLS_USE_MSR_BITMAPS);
		WISH(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_VMCS_SHADOWING);
		SET(VMCS_LINK_POINTER, AT(PAGE_SHADOW));
	}
	if (wishes & WISH_TIMER) {
		WISH(VM_PINBASED_CTLS, PINBASED_CTLS_PREEMPTION_TIMER);
		WISH(VM_EXIT_CTLS, EXIT_CTLS_SAVE_PREEMPTION_TIMER);
	}
	if (wishes & WISH_PAGES) {
		WISH(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_PML |
						 PROCBASED_CTLS2_EPT_VIOLATION_VE | PROCBASED_CTLS2_MODE_BASED_EXECUTE |
						 PROCBASED_CTLS2_SUBPAGE_WRITE_PERMISSIONS |
						 PROCBASED_CTLS2_ENABLE_VM_FUNCTIONS);
		SET(VM_FUNCTION_CTLS, FUNCTION_CTLS_EPTP_SWITCHING);
		WISH(VM_PROCBASED_CTLS, PROCBASED_CTLS_ACTIVATE_TERTIARY_CONTROLS);
		WISH(VM_PROCBASED_CTLS3, PROCBASED_CTLS3_ENABLE_HLAT | PROCBASED_CTLS3_EPT_PAGING_WRITE_CONTROL |
						 PROCBASED_CTLS3_GUEST_PAGING_VERIFICATION);
	}
	if (wishes & WISH_LISTS) {
		SET(VM_ENTRY_MSR_LOAD_COUNT, 1);
		SET(VM_EXIT_MSR_STORE_COUNT, 1);
		SET(VM_EXIT_MSR_LOAD_COUNT, 1);
	}
}

void hypervisor_fill(struct cpu *cpu, enum guest guest, unsigned wishes)
{
	struct vmx *vmx = cpu->vmx;
	bool wide = !(wishes & WISH_HOST32) || guest == GUEST_64;

	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		vmx_put_field(vmx, (enum vmcs_field)i, 0);
	SET(VM_PINBASED_CTLS, ALLOWED0(PINBASED_CTLS));
	SET(VM_PROCBASED_CTLS, ALLOWED0(PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	SET(VM_EXIT_CTLS, ALLOWED0(EXIT_CTLS) | EXIT_CTLS_LOAD_EFER | EXIT_CTLS_SAVE_EFER | EXIT_CTLS_LOAD_PAT |
				  (wide ? EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE : 0));
	SET(VM_ENTRY_CTLS,
	    ALLOWED0(ENTRY_CTLS) | ENTRY_CTLS_LOAD_EFER | ENTRY_CTLS_LOAD_PAT | ENTRY_CTLS_LOAD_DEBUG_CONTROLS);
	fill_addresses(vmx);
	fill_host(vmx, wide);
	fill_guest(vmx, guest);
	fill_wishes(vmx, wishes);
}

void hypervisor_at(struct machine *m, struct cpu *cpu, bool wide, const void *code, size_t size)
{
	hypervisor_code(m);
	bus_write_bytes(m->bus, AT(PAGE_ROOT_CODE), code, size);
	cpu->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_PG;
	cpu->cr3 = wide ? AT(PAGE_TABLES) : AT(PAGE_TABLES32);
	cpu->cr4 = CR4_VMXE | CR4_OSFXSR | CR4_OSXSAVE | (wide ? CR4_PAE : CR4_PSE);
	cpu->efer = wide ? EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE : 0;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){.limit = UINT32_MAX, .ar = 0xc093, .selector = 0x10};
	cpu->seg[CS].ar = wide ? 0xa09b : 0xc09b;
	cpu->seg[CS].selector = wide ? 0x08 : 0x18;
	cpu->gdtr = (struct table_register){.base = AT(PAGE_GDT), .limit = 0x3f};
	cpu->cpl = 0;
	cpu_set_rflags(cpu, RFLAGS_1);
	cpu->rip = AT(PAGE_ROOT_CODE);
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->shadow = 0;
	cpu->pending_debug = 0;
	cpu->dr7 = DR7_1;
	cpu->debugctl = 0;
	cpu_mode_changed(cpu);
	exec_context_changed(cpu);
	mem_flush_all(cpu);
}

void hypervisor_step(struct machine *m, struct cpu *cpu)
{
	uint8_t pins = cpu->pins;
	uint64_t used;

	cpu->pins = 0;
	cpu->attention &= ATTEND_SHADOW;
	cpu->budget = cpu->turn = 1;
	m->running = cpu;
	interp_run(m->interp, cpu);
	m->running = NULL;
	used = (uint64_t)(cpu->turn - cpu->budget);
	cpu->retired += used - cpu->idle;
	cpu->cycles += used;
	cpu->turn = cpu->budget = 0;
	cpu->idle = 0;
	cpu->attention &= ~(uint32_t)(ATTEND_STOP | ATTEND_DEADLINE | ATTEND_YIELD);
	cpu->pins |= pins;
	cpu_attend(cpu, ATTEND_PINS);
	clock_advance_to(m->clock, clock_now(m->clock) + used);
	clock_fire_due(m->clock);
}
