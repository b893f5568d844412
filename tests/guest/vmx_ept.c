/*
 * EPT: violations and what they record, misconfigurations, accessed and dirty flags, page-modification logging,
 * invalidation, guests without paging and with PAE paging, VPIDs.
 *
 * SDM vol. 3, "The Extended Page Table Mechanism (EPT)", "Caching Translation Information", "Exit Qualification for EPT
 * Violations", "Page-Modification Logging". INVEPT's and INVVPID's own checks are in vmx_basics.c, #VE and EPTP
 * switching in vmx_functions.c.
 */
#include "vmx.h"

const char chapter[] = "vmx_ept";

#define PAGE	0x600000ul /* the page that experiments take away; it has code that ends an experiment */
#define NEXT	(PAGE + 0x1000)
#define PRESENT (EPT_RWX | EPT_WB)

enum access { READ, WRITE, FETCH, MODIFY };
static const char access_name[4][8] = {"read", "write", "fetch", "modify"};
static ulong access_code[4];

#define page(bits) (*ept_page(PAGE) = PAGE | (bits))

/* Bits 2:0 of the exit qualification, or 0 when the access is allowed. */
static u32 denied(enum access access, u32 rights)
{
	switch (access) {
	case READ: return rights & EPT_R ? 0 : 1;
	case WRITE: return rights & EPT_W ? 0 : 2;
	case FETCH: return rights & EPT_X ? 0 : 4;
	default: return rights & EPT_W ? 0 : 2;
	}
}

/* Each combination of rights in a leaf and one entry above it, each access, from ring 0 and 3. */
static void rights(void)
{
	static const u32 offered[] = {0, EPT_R, EPT_R | EPT_W, EPT_R | EPT_X, EPT_RWX, EPT_X};
	char name[64], expected[96];

	for (u32 i = 0; i < 6; i++)
		for (u32 k = 0; k < 4; k++)
			for (u32 upper = 0; upper < 2; upper++) {
				u32 all = upper ? offered[i] & (EPT_R | EPT_X) : offered[i], bad = denied(k, all);

				if (upper && offered[i] == EPT_X)
					all = EPT_X, bad = denied(k, all);
				format_text(name, sizeof(name), "rights/%s-%c%c%c%s", access_name[k],
					    offered[i] & 1 ? 'r' : '-', offered[i] & 2 ? 'w' : '-',
					    offered[i] & 4 ? 'x' : '-', upper ? "-upper-r-x" : "");
				vm_fresh(upper ? G64_U : G64, access_code[k]);
				vm_needs(offered[i] != EPT_X || has_cap(EXECUTE_ONLY));
				vm_ept();
				if (!vm_missing()) {
					page(offered[i] ? offered[i] | EPT_WB : 0);
					if (upper)
						ept_pd[0][PAGE >> 21] &= ~(u64)EPT_W;
				}
				regs.bx = PAGE;
				regs.ax = 0xcd;
				vm_run();
				if (!bad)
					format_text(expected, sizeof(expected), "ok");
				else if (k == MODIFY && !(all & EPT_R)) /* "bit 0 is implementation-dependent" */
					format_text(expected, sizeof(expected),
						    "EPT_VIOLATION q=%x gpa=600000|EPT_VIOLATION q=%x gpa=600000",
						    0x182 | all << 3, 0x183 | all << 3);
				else if (k == MODIFY)
					format_text(expected, sizeof(expected),
						    "EPT_VIOLATION q=%x gpa=600000|EPT_VIOLATION q=%x gpa=600000",
						    0x183 | all << 3, 0x182 | all << 3);
				else
					format_text(expected, sizeof(expected), "EPT_VIOLATION q=%x gpa=600000%s",
						    0x180 | all << 3 | bad, k == FETCH ? " elsewhere" : "");
				vm_check(name, expected);
			}
}

static void not_present(void)
{
	ulong read = access_code[READ];

	V("absent/pdpte", "EPT_VIOLATION q=181 gpa=80000123", G64, read, vm_ept(), regs.bx = 0x80000123,
	  ept_pdpt[2] = 0);
	vm_line("absent/linear-address", "80000123", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	V("absent/pde", "EPT_VIOLATION q=182 gpa=80000123", G64, access_code[WRITE], vm_ept(), regs.bx = 0x80000123,
	  ept_pd[2][0] = 0);
	V("absent/fetch", "EPT_VIOLATION q=184 gpa=600000 elsewhere", G64, access_code[FETCH], vm_ept(), regs.bx = PAGE,
	  page(0));
	V("absent/fetch-offset", "EPT_VIOLATION q=184 gpa=600008 elsewhere", G64, access_code[FETCH], vm_ept(),
	  regs.bx = PAGE + 8, page(0));
	V("absent/ignored-bits", "EPT_VIOLATION q=181 gpa=600000", G64, read, vm_ept(), regs.bx = PAGE, page(~7ull));
	V("absent/crossing", "EPT_VIOLATION q=181 gpa=601000", G64, CODE("mov (%rbx), %rax"), vm_ept(),
	  regs.bx = NEXT - 4, *ept_page(NEXT) = 0);
	V("absent/crossing-first", "EPT_VIOLATION q=181 gpa=600ffc|EPT_VIOLATION q=181 gpa=601000", G64,
	  CODE("mov (%rbx), %rax"), vm_ept(), regs.bx = NEXT - 4, page(0), *ept_page(NEXT) = 0);
	V("absent/stack-push", "EPT_VIOLATION q=182 gpa=600ff8", G64, CODE("push %rax"), vm_ept(),
	  vm_write(GUEST_RSP, NEXT), page(0));
	vm_line("absent/rf-saved", "10000", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	V("absent/rep-movs", "EPT_VIOLATION q=182 gpa=601000", G64, CODE("rep movsb"), vm_ept(), regs.si = 0x5000,
	  regs.di = NEXT - 4, regs.cx = 8, *ept_page(NEXT) = 0);
	vm_line("absent/rep-movs-state", "cx=4 si=5004 di=601000", "cx=%lx si=%lx di=%lx", regs.cx, regs.si, regs.di);
	V("absent/real-mode", "EPT_VIOLATION q=181 gpa=24321", GREAL, CODE16("movb 0x4321, %al"),
	  vm_write(GUEST_DS_BASE, 0x20000), vm_write(GUEST_DS_SELECTOR, 0x2000), *ept_page(0x24000) = 0);
	vm_line("absent/real-mode-linear-address", "24321", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	V("absent/flat", "EPT_VIOLATION q=182 gpa=600000", GFLAT, CODE32("movb %al, 0x600000"), page(0));
	/* A #PF of the guest's own paging comes first. */
	V("absent/page-fault-first", "#PF(0x0)+0 cr2=0x200000000", G64, read, vm_ept(), regs.bx = 1ul << 33, page(0));
	/* The exit comes before the access has any effect. */
	V("absent/xchg-unchanged",
	  "EPT_VIOLATION q=183 gpa=600000|EPT_VIOLATION q=182 gpa=600000|EPT_VIOLATION q=181 gpa=600000", G64,
	  CODE("xchg %rax, (%rbx)"), vm_ept(), regs.bx = PAGE, regs.ax = 0x55, page(0));
	vm_line("absent/xchg-register", "55", "%lx", regs.ax);
}

/* Bit 8 of the qualification is 0 for the guest's own paging structures. */
static void paging_structures(void)
{
	u64 pd = (u64)page_dirs[1], top = (u64)pml4;
	ulong read = access_code[READ];
	char expected[96];

	format_text(expected, sizeof(expected), "EPT_VIOLATION q=81 gpa=%lx", pd + (PAGE >> 21) * 8);
	V("walk/page-directory", expected, G64, read, vm_ept(), regs.bx = PAGE + 0x40000000, *ept_page(pd) = 0);
	vm_line("walk/page-directory-linear-address", "40600000", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	/* PDPT and PML4 are read for the first fetch. */
	vm_fresh(G64, read);
	vm_ept();
	if (!vm_missing())
		*ept_page(top) = 0;
	vm_run();
	vm_line("walk/pml4", "EPT_VIOLATION 81 1", "%s %lx %u",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(), vm_read(EXIT_QUALIFICATION) & 0x1bf,
		vm_read(GUEST_PHYSICAL_ADDRESS) == top);
	/* A read-only page directory whose entry has its accessed flag still to be set: a write. */
	vm_fresh(G64, read);
	vm_ept();
	regs.bx = PAGE + 0x40000000;
	page_dirs[1][PAGE >> 21] &= ~0x20ul;
	if (!vm_missing())
		*ept_page((u64)page_dirs[1]) &= ~(u64)EPT_W;
	vm_run();
	vm_line("walk/accessed-flag", "EPT_VIOLATION 1 aa|EPT_VIOLATION 1 ab", "%s %u %lx",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(),
		vm_read(GUEST_PHYSICAL_ADDRESS) == (u64)page_dirs[1] + (PAGE >> 21) * 8,
		vm_read(EXIT_QUALIFICATION) & 0x1bf);
	page_dirs[1][PAGE >> 21] |= 0x20;
	/* With EPT's accessed and dirty flags every access to them is a write. */
	vm_fresh(G64, read);
	vm_ept();
	vm_needs(has_cap(ACCESSED_DIRTY));
	regs.bx = PAGE + 0x40000000;
	if (!vm_missing()) {
		vm_or(EPTP, 0x40);
		*ept_page((u64)page_dirs[1]) &= ~(u64)EPT_W;
	}
	vm_run();
	vm_line("walk/read-only-with-accessed-dirty", "EPT_VIOLATION ab", "%s %lx",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(), vm_read(EXIT_QUALIFICATION) & 0x1bf);
}

/* "EPT Misconfigurations": rights that do not go together, reserved bits, memory types. */
static void misconfigurations(void)
{
	ulong read = access_code[READ];
	const u64 beyond = 1ull << physical_bits();
	static const u32 memory_types[] = {0, 1, 2, 3, 4, 5, 6, 7};
	char name[64];

#define M(name, expected, ...) V(name, expected, G64, read, vm_ept(), regs.bx = PAGE, page(PRESENT), ##__VA_ARGS__)
#define BROKEN		       "EPT_MISCONFIGURATION gpa=600000"
	M("misconfigured/write-only", BROKEN, page(EPT_W | EPT_WB));
	M("misconfigured/write-execute", BROKEN, page(EPT_W | EPT_X | EPT_WB));
	M("misconfigured/execute-only", "EPT_VIOLATION q=1a1 gpa=600000|" BROKEN, page(EPT_X | EPT_WB));
	for (u32 i = 0; i < 8; i++) {
		format_text(name, sizeof(name), "misconfigured/memory-type-%u", memory_types[i]);
		M(name, i == 2 || i == 3 || i == 7 ? BROKEN : "ok", page(EPT_RWX | i << 3));
	}
	M("misconfigured/leaf-address", BROKEN, page(PRESENT | beyond), vm_needs(physical_bits() < 52));
	M("misconfigured/leaf-ignored", "ok", page(PRESENT | 0xf00 | 0x3full << 52 | EPT_PS));
	M("misconfigured/pde-reserved", BROKEN, ept_pd[0][PAGE >> 21] |= 0x8);
	M("misconfigured/pde-bit-6", BROKEN, ept_pd[0][PAGE >> 21] |= 0x40);
	M("misconfigured/pde-address", BROKEN, ept_pd[0][PAGE >> 21] |= beyond, vm_needs(physical_bits() < 52));
	M("misconfigured/pde-write-only", BROKEN, ept_pd[0][PAGE >> 21] ^= EPT_R | EPT_X);
	M("misconfigured/2m-reserved", BROKEN, ept_pd[0][PAGE >> 21] = PAGE | 0x1000 | EPT_PS | PRESENT);
	M("misconfigured/2m-memory-type", BROKEN, ept_pd[0][PAGE >> 21] = PAGE | EPT_PS | EPT_RWX | 7 << 3);
	M("misconfigured/2m", "ok", ept_pd[0][PAGE >> 21] = PAGE | EPT_PS | PRESENT);
#undef M
#define M(name, expected, ...) V(name, expected, G64, read, vm_ept(), regs.bx = 0x80000000, ##__VA_ARGS__)
#define BROKEN_2	       "EPT_MISCONFIGURATION gpa=80000000"
	M("misconfigured/pdpte-reserved", BROKEN_2, ept_pdpt[2] |= 0x10);
	M("misconfigured/pdpte-write-only", BROKEN_2, ept_pdpt[2] ^= EPT_R | EPT_X);
	M("misconfigured/1g-reserved", BROKEN_2, ept_pdpt[2] = 0x80000000 | 1 << 12 | EPT_PS | PRESENT,
	  vm_needs(has_cap(PAGES_1G)));
	M("misconfigured/1g-bit-29", BROKEN_2, ept_pdpt[2] = 0x80000000 | 1 << 29 | EPT_PS | PRESENT,
	  vm_needs(has_cap(PAGES_1G)));
	M("1g", "ok", ept_pdpt[0] = EPT_PS | PRESENT, regs.bx = PAGE, vm_needs(has_cap(PAGES_1G)));
	vm_fresh(G64, read);
	vm_ept();
	if (!vm_missing())
		ept_pml4[0] |= 0x80;
	vm_run();
	vm_line("misconfigured/pml4e-bit-7", "1", "%u", vm_exited(EXIT_EPT_MISCONFIGURATION));
	/* Before the violation that a lower entry would have made. */
	M("misconfigured/before-violation", BROKEN_2, ept_pdpt[2] |= 0x10, ept_pd[2][0] = 0);
	M("misconfigured/violation-ends-walk", "EPT_VIOLATION q=181 gpa=80000000", ept_pdpt[2] = 0,
	  ept_pd[2][0] = EPT_W);
#undef M
}

/* Accessed flags in every entry used, dirty in the leaf by writes. */
static void accessed_dirty(void)
{
	char name[64];

	for (u32 on = 0; on < 2; on++)
		for (u32 k = 0; k < 4; k++) {
			format_text(name, sizeof(name), "flags/%s%s", access_name[k], on ? "" : "-off");
			vm_fresh(G64, access_code[k]);
			vm_ept();
			vm_needs(has_cap(ACCESSED_DIRTY));
			if (vm_missing()) {
				absent(name);
				continue;
			}
			page(PRESENT);
			if (on)
				vm_or(EPTP, 0x40);
			regs.bx = PAGE;
			regs.ax = 0xcd;
			vm_run();
			vm_line(name,
				!on			    ? "ok leaf=0 pde=0 pdpte=0 pml4e=0"
				: k == WRITE || k == MODIFY ? "ok leaf=300 pde=100 pdpte=100 pml4e=100"
							    : "ok leaf=100 pde=100 pdpte=100 pml4e=100",
				"%s leaf=%lx pde=%lx pdpte=%lx pml4e=%lx", vm_text(), *ept_page(PAGE) & 0x300,
				ept_pd[0][PAGE >> 21] & 0x300, ept_pdpt[0] & 0x300, ept_pml4[0] & 0x300);
			if (k == FETCH)
				*(u32 *)PAGE = 0x000080cd;
		}
	/* The guest's paging structures are written to, as far as EPT is concerned. */
	vm_fresh(G64, access_code[READ]);
	vm_ept();
	vm_needs(has_cap(ACCESSED_DIRTY));
	regs.bx = PAGE;
	if (!vm_missing()) {
		vm_or(EPTP, 0x40);
		ept_page((u64)page_dirs[0]);
	}
	vm_run();
	vm_line("flags/page-directory-is-dirty", "ok 300", "%s %lx", vm_text(),
		vm_missing() ? 0 : *ept_page((u64)page_dirs[0]) & 0x300);
}

/* The log: 512 entries from the last to the first; full when the index is out of range. */
static void modification_log(void)
{
	u64 *log = page_alloc();
	ulong two = CODE("movb %al, (%rbx); movb %al, 0x1000(%rbx); movb %al, 8(%rbx)");

#define L(name, expected, code, ...)                                                                                  \
	V(name, expected, G64, code, vm_ept(), vm_needs(has_cap(ACCESSED_DIRTY)), sec(ENABLE_PML), vm_or(EPTP, 0x40), \
	  vm_write(PML_ADDRESS, (u64)log), vm_write(PML_INDEX, 511), regs.bx = PAGE, regs.ax = 0xcd,                  \
	  page(PRESENT | EPT_A), *ept_page(NEXT) = NEXT | PRESENT | EPT_A, ##__VA_ARGS__)
	/* Other pages are logged too (paging structures, stack): all of those are made dirty before. */
	vm_fresh(G64, two);
	vm_ept();
	bool there = !vm_missing() && has_cap(ACCESSED_DIRTY) && has_sec(ENABLE_PML);
	if (!there) {
		absent("log");
		return;
	}
	/* "an accessed or dirty flag": all others are set. */
#define ALL_DIRTY                                                                            \
	({                                                                                   \
		for (u32 i = 0; i < 2048; i++)                                               \
			ept_pd[i / 512][i % 512] |= i == PAGE >> 21 ? EPT_A : EPT_A | EPT_D; \
		for (u32 i = 0; i < 4; i++)                                                  \
			ept_pdpt[i] |= EPT_A;                                                \
		ept_pml4[0] |= EPT_A;                                                        \
	})
	memset(log, 0, 4096);
	L("log/writes", "ok", two, ALL_DIRTY);
	vm_line("log/writes-logged", "index=1fd 600000 601000 0", "index=%lx %lx %lx %lx", vm_read(PML_INDEX), log[511],
		log[510], log[509]);
	L("log/reads-do-not", "ok", access_code[READ], ALL_DIRTY);
	vm_line("log/reads-index", "1ff", "%lx", vm_read(PML_INDEX));
	L("log/dirty-already", "ok", access_code[WRITE], ALL_DIRTY, page(PRESENT | EPT_A | EPT_D));
	vm_line("log/dirty-already-index", "1ff", "%lx", vm_read(PML_INDEX));
	L("log/last-entry", "ok", access_code[WRITE], ALL_DIRTY, vm_write(PML_INDEX, 0));
	vm_line("log/last-entry-index", "ffff 600000", "%lx %lx", vm_read(PML_INDEX), log[0]);
	L("log/full", "PML_FULL", access_code[WRITE], ALL_DIRTY, vm_write(PML_INDEX, 0xffff));
	vm_line("log/full-not-dirty", "0 ffff", "%lx %lx", *ept_page(PAGE) & EPT_D, vm_read(PML_INDEX));
	L("log/full-not-needed", "ok", access_code[READ], ALL_DIRTY, vm_write(PML_INDEX, 0xffff));
	L("log/full-accessed", "PML_FULL", access_code[READ], ALL_DIRTY, vm_write(PML_INDEX, 0xffff), page(PRESENT));
	vm_line("log/full-not-accessed", "0", "%lx", *ept_page(PAGE) & EPT_A);
	L("log/second-page-full", "PML_FULL +2", two, ALL_DIRTY, vm_write(PML_INDEX, 0));
	L("log/violation-does-not", "EPT_VIOLATION q=1aa gpa=600000", access_code[WRITE], ALL_DIRTY,
	  page((PRESENT & ~EPT_W)));
	vm_line("log/violation-index", "1ff", "%lx", vm_read(PML_INDEX));
}

/* During delivery of an event, and by IRET. */
static void delivery(void)
{
	V("delivery/stack", "EPT_VIOLATION q=182 gpa=600ff8 idt=hard 6", G64, CODE("ud2"), vm_ept(),
	  vm_write(GUEST_RSP, NEXT), page(0));
	V("delivery/int-n", "EPT_VIOLATION q=182 gpa=600ff8 idt=soft 128", G64, CODE("int $0x80"), vm_ept(),
	  vm_write(GUEST_RSP, NEXT), page(0));
	vm_line("delivery/int-n-length", "2 rip+0", "%lu rip+%u", vm_read(VM_EXIT_INSTRUCTION_LENGTH), vm_offset());
	V("delivery/injected", "EPT_VIOLATION q=182 gpa=600ff8 idt=hard 13(0x77)", G64, CODE("nop"), vm_ept(),
	  vm_write(GUEST_RSP, NEXT), page(0),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | VEC_GP),
	  vm_write(VM_ENTRY_ERROR_CODE, 0x77));
	V("delivery/idt", "EPT_VIOLATION q=181 gpa=600060 idt=hard 6", G64, CODE("ud2"), vm_ept(),
	  vm_write(GUEST_IDTR_BASE, PAGE), page(0));
	V("delivery/iret-unblocking",
	  "EPT_VIOLATION q=181 unblocking gpa=600800|EPT_VIOLATION q=181 unblocking gpa=600810", G64, CODE("iretq"),
	  vm_ept(), vm_write(GUEST_RSP, PAGE + 0x800), page(0), pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("delivery/iret-unblocked", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("delivery/iret-not-blocked", "EPT_VIOLATION q=181 gpa=600800|EPT_VIOLATION q=181 gpa=600810", G64,
	  CODE("iretq"), vm_ept(), vm_write(GUEST_RSP, PAGE + 0x800), page(0), pin(NMI_EXITING), pin(VIRTUAL_NMIS));
	V("delivery/real-mode", "EPT_VIOLATION q=181 gpa=18 idt=hard 6", GREAL, CODE16("ud2"), *ept_page(0) = 0);
}

/* "Advanced VM-exit information for EPT violations": the guest's own rights in bits 11:9. */
static void advanced(void)
{
	static const struct {
		const char *name;
		enum guest_mode mode;
		u64 set, clear;
		u32 bits;
	} rows[] = {
		{"supervisor", G64, 0, 4, 0x400},
		{"user", G64_U, 0, 0, 0x600},
		{"user-seen-by-ring0", G64, 0, 0, 0x600},
		{"read-only", G64, 0, 2, 0x200},
		{"execute-disable", G64, 1ul << 63, 0, 0xe00},
		{"no-paging", GFLAT, 0, 0, 0x600},
	};
	ulong code[2] = {CODE("movb (%rbx), %al"), CODE32("movb (%ebx), %al")};
	u64 *pde = &page_dirs[0][PAGE >> 21], kept = *pde;
	char name[64], expected[8];

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		vm_fresh(rows[i].mode, code[rows[i].mode == GFLAT]);
		vm_ept();
		vm_needs(has_cap(ADVANCED_EXIT_INFO));
		*pde = (kept | rows[i].set) & ~rows[i].clear;
		if (!vm_missing())
			page(0);
		regs.bx = PAGE;
		vm_run();
		format_text(expected, sizeof(expected), "%x", rows[i].bits);
		format_text(name, sizeof(name), "advanced/%s", rows[i].name);
		vm_line(name, expected, "%lx", vm_read(EXIT_QUALIFICATION) & 0xe00);
		*pde = kept;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
}

/* Mode-based execute control: bit 2 for supervisor-mode linear addresses, bit 10 for user-mode ones. */
static void mode_based(void)
{
	u64 *pde = &page_dirs[0][PAGE >> 21], kept = *pde;
	char name[64], expected[64];

	for (u32 user = 0; user < 2; user++)
		for (u32 bits = 0; bits < 4; bits++) {
			u64 entry = EPT_R | EPT_W | EPT_WB | (bits & 1 ? EPT_X : 0) | (bits & 2 ? EPT_XU : 0);
			bool allowed = bits >> user & 1;

			format_text(name, sizeof(name), "mbec/%s-%c%c", user ? "user" : "supervisor",
				    bits & 1 ? 's' : '-', bits & 2 ? 'u' : '-');
			vm_fresh(user ? G64_U : G64, access_code[FETCH]);
			vm_ept();
			sec(MODE_BASED_EXECUTE);
			*pde = user ? kept : kept & ~4ul;
			if (!vm_missing()) {
				for (u32 i = 0; i < 2048; i++)
					ept_pd[i / 512][i % 512] |= EPT_XU;
				for (u32 i = 0; i < 4; i++)
					ept_pdpt[i] |= EPT_XU;
				ept_pml4[0] |= EPT_XU;
				page(entry);
				ept_pd[0][PAGE >> 21] |= EPT_XU;
			}
			regs.bx = PAGE;
			vm_run();
			if (allowed)
				format_text(expected, sizeof(expected), "ok");
			else
				format_text(expected, sizeof(expected), "EPT_VIOLATION q=%x gpa=600000 elsewhere",
					    0x184 | 3 << 3 | (bits & 1) << 5 | (bits & 2 ? 0x40 : 0));
			vm_check(name, expected);
			*pde = kept;
		}
}

/* PAE paging: PDPTEs from the VMCS at VM entry, from memory by MOV to CR3. */
static void pae(void)
{
	u64 *table = page_alloc(), *other = page_alloc();

	for (u64 i = 0; i < 4; i++)
		table[i] = other[i] = (u64)page_dirs[i] | 1;
#define A(name, expected, code, ...)                                                                           \
	V(name, expected, G32, code, vm_ept(), vm_write(GUEST_CR4, CR4_VMXE | CR4_PAE),                        \
	  vm_write(GUEST_CR3, (u64)table), vm_write(GUEST_PDPTE0, table[0]), vm_write(GUEST_PDPTE1, table[1]), \
	  vm_write(GUEST_PDPTE2, table[2]), vm_write(GUEST_PDPTE3, table[3]), ##__VA_ARGS__)
	A("pae/runs", "ok", CODE32("nop"));
	A("pae/from-the-vmcs", "#PF(0x0)+0 cr2=0x80000000", CODE32("movb 0x80000000, %al"), vm_write(GUEST_PDPTE2, 0));
	table[2] = 0;
	A("pae/not-from-memory", "ok", CODE32("movb 0x80000000, %al"), vm_write(GUEST_PDPTE2, other[2]));
	A("pae/mov-cr3-from-memory", "#PF(0x0)+3 cr2=0x80000000", CODE32("mov %ebx, %cr3; movb 0x80000000, %al"),
	  regs.bx = (u64)table, vm_write(GUEST_PDPTE2, other[2]));
	vm_line("pae/saved", "1 0", "%u %lx", vm_read(GUEST_PDPTE0) == table[0], vm_read(GUEST_PDPTE2) & 1);
	table[2] = 0x1e6;
	A("pae/entry-reserved-not-present", "ok", CODE32("nop"), vm_write(GUEST_PDPTE2, 0x1e6));
	A("pae/entry-reserved", "INVALID_GUEST_STATE q=2|INVALID_GUEST_STATE q=0", CODE32("nop"),
	  vm_write(GUEST_PDPTE2, table[0] | 2));
	table[2] = other[2] | 2;
	A("pae/mov-cr3-reserved", "#GP(0x0)+0", CODE32("mov %ebx, %cr3"), regs.bx = (u64)table,
	  vm_write(GUEST_PDPTE2, other[2]));
	table[2] = other[2];
	vm_fresh(G32, CODE32("mov %ebx, %cr3"));
	vm_ept();
	vm_write(GUEST_CR4, CR4_VMXE | CR4_PAE);
	vm_write(GUEST_CR3, (u64)table);
	for (u32 i = 0; i < 4; i++)
		vm_write(GUEST_PDPTE0 + 2 * i, table[i]);
	regs.bx = (u64)other;
	if (!vm_missing())
		*ept_page((u64)other) = 0;
	vm_run();
	/* "Bit 7 is 0 for a load of PDPTEs by MOV to CR": then bit 8 is 0 too, and there is no linear address. */
	vm_line("pae/mov-cr3-violation", "EPT_VIOLATION 1 1", "%s %lx %u",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(), vm_read(EXIT_QUALIFICATION) & 0x1bf,
		vm_read(GUEST_PHYSICAL_ADDRESS) == (u64)other);
}

/* What must be seen after an invalidation, in a guest that runs on with the same VMCS. */
static void invalidation(void)
{
	ulong loop = CODE("1: movb (%rbx), %al; vmcall; jmp 1b");
	u64 *pde = &page_dirs[1][0], kept = *pde, descriptor[2];

#define AGAIN() (vm_write(GUEST_RIP, vm_read(GUEST_RIP) + 3), vm_run())
	*(u8 *)PAGE = 0xcd;
	*(u8 *)(PAGE + 0x1000) = 0x5a;
	vm_fresh(G64, loop);
	vm_ept();
	sec(ENABLE_VPID);
	vm_write(VPID, 7);
	regs.bx = PAGE;
	if (!vm_missing())
		page(PRESENT);
	vm_run();
	vm_line("invept/before", "VMCALL len=3 +2 al=cd", "%s al=%lx", vm_text(), regs.ax & 0xff);
	if (!vm_missing()) {
		*ept_page(PAGE) = (PAGE + 0x1000) | PRESENT;
		descriptor[0] = vm_read(EPTP);
		descriptor[1] = 0;
		asm volatile("invept %0, %1" : : "m"(descriptor), "r"(1ul) : "cc", "memory");
		AGAIN();
	}
	vm_line("invept/single-context", "VMCALL len=3 +2 al=5a", "%s al=%lx", vm_text(), regs.ax & 0xff);
	if (!vm_missing()) {
		*ept_page(PAGE) = 0;
		invept_all();
		AGAIN();
	}
	vm_line("invept/all-context", "EPT_VIOLATION q=181 gpa=600000", "%s", vm_text());
	/* Linear mappings of a VPID: the guest's page directory changes under it. */
	static const struct {
		const char *name;
		u64 type;
		u32 capability;
	} rows[] = {{"individual-address", 0, EPT_VPID_CAP_INVVPID_ADDRESS},
		    {"single-context", 1, EPT_VPID_CAP_INVVPID_SINGLE},
		    {"all-context", 2, EPT_VPID_CAP_INVVPID_ALL},
		    {"retaining-globals", 3, EPT_VPID_CAP_INVVPID_RETAIN_GLOBALS}};
	char name[64];

	for (u32 i = 0; i < 4; i++) {
		vm_fresh(G64, loop);
		sec(ENABLE_VPID);
		vm_needs(vm_ept_vpid_cap() >> rows[i].capability & 1);
		vm_write(VPID, 9 + i);
		regs.bx = 0x40000000;
		*pde = 0x600087;
		*(u8 *)PAGE = 0xcd;
		vm_run();
		u64 first = regs.ax & 0xff;

		*(u8 *)(0x800000) = 0x77;
		*pde = 0x8000a7;
		if (!vm_missing()) {
			descriptor[0] = 9 + i;
			descriptor[1] = 0x40000000;
			asm volatile("invvpid %0, %1" : : "m"(descriptor), "r"(rows[i].type) : "cc", "memory");
			AGAIN();
		}
		vm_line(format_text(name, sizeof(name), "invvpid/%s", rows[i].name), "cd 77", "%lx %lx", first,
			regs.ax & 0xff);
	}
	/* Without VPIDs each VM entry and exit invalidates. */
	vm_fresh(G64, loop);
	regs.bx = 0x40000000;
	*pde = 0x600087;
	vm_run();
	u64 first = regs.ax & 0xff;

	*pde = 0x8000a7;
	AGAIN();
	vm_line("no-vpid/entry-invalidates", "cd 77", "%lx %lx", first, regs.ax & 0xff);
	*pde = kept;
	write_cr3(read_cr3());
}

/* An unrestricted guest turns paging on and off by itself. */
static void unrestricted(void)
{
	V("unrestricted/real-to-protected", "CPUID len=2 +14", GREAL,
	  CODE16("mov %cr0, %eax; or $1, %al; mov %eax, %cr0; nop; nop; nop; nop; nop; nop; cpuid"));
	vm_line("unrestricted/cr0-saved", "31", "%lx", vm_read(GUEST_CR0));
	V("unrestricted/real-pe-kept-clear", "ok", GREAL, CODE16("mov %cr0, %eax; mov %eax, %cr0"));
	V("unrestricted/ne-fixed", "#GP(0x0)+0", GFLAT, CODE32("mov %ebx, %cr0"), regs.bx = CR0_PE);
	V("unrestricted/flat-to-paging", "#PF(0x0)+3 cr2=0x80000000", GFLAT,
	  CODE32("mov %ebx, %cr0; movb (%ecx), %al; nop; nop; nop; nop"), vm_write(GUEST_CR3, 0x700000),
	  memset((void *)0x700000, 0, 4096), *(u32 *)0x700000 = 0xe7, ent(LOAD_EFER), vm_write(GUEST_EFER, 0),
	  vm_write(GUEST_CR4, CR4_VMXE | CR4_PSE), regs.bx = 0x80000031, regs.cx = 0x80000000);
	/* Without "load IA32_EFER" LME is still the host's. */
	V("unrestricted/flat-to-paging-lme", "#GP(0x0)+0", GFLAT, CODE32("mov %ebx, %cr0"), regs.bx = 0x80000031);
	V("unrestricted/v86-in-real-cs", "ok", GREAL, CODE16("push %cs; pop %ds; movb %cs:0, %al"));
	V("unrestricted/real-gp", "#GP(0x0)+0", GREAL, CODE16("movl 0xfffe, %eax"));
	V("unrestricted/real-int", "int 0x21+2", GREAL, CODE16("int $0x21"));
	V("unrestricted/real-far-limit", "ok", GREAL, CODE16("addr32 movb %fs:0x100000, %al"),
	  vm_write(GUEST_FS_LIMIT, 0xffffffff), vm_write(GUEST_FS_AR, 0x8093));
}

void chapter_main(void)
{
	ulong code[4] = {CODE("movb (%rbx), %al"), CODE("movb %al, (%rbx)"), CODE("jmp *%rbx"),
			 CODE("lock orb $0, (%rbx)")};

	if (!vm_begin())
		return;
	if (!has_sec(ENABLE_EPT)) {
		absent("");
		vm_report();
		return;
	}
	memcpy(access_code, code, sizeof(code));
	memset((void *)PAGE, 0, 0x2000);
	*(u32 *)PAGE = 0x000080cd; /* INT 80H */
	rights();
	not_present();
	paging_structures();
	misconfigurations();
	accessed_dirty();
	modification_log();
	delivery();
	advanced();
	mode_based();
	pae();
	invalidation();
	unrestricted();
	vm_report();
}
