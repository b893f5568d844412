/*
 * PAE paging: page-directory pointers in registers, execute-disable, reserved bits, and a kernel-like load with demand
 * paging and copy on write.
 *
 * SDM vol. 3, "PAE Paging", "PDPTE Registers", "Page-Fault Exceptions". The first 64 MiB are mapped one to one for
 * everyone by 2-MiB pages; experiments look at the window at WINDOW.
 */
#include "page_model.h"

const char chapter[] = "paging_pae";

#define WINDOW	     0x40000000u
#define IDENTITY_MIB 64u
#define RESERVED_TOP (1ull << physical_bits()) /* the lowest reserved address bit */

static u64 *pdpt, *low_dir, *window_dir, *window;
static u8 *data;
static ulong read_code, write_code;

static void setup(void)
{
	pdpt = page_alloc();
	low_dir = page_alloc();
	window_dir = page_alloc();
	window = page_alloc();
	data = page_alloc();
	for (u32 i = 0; i < IDENTITY_MIB / 2; i++)
		low_dir[i] = (u64)i << 21 | PTE_ALL | PTE_PS;
	window_dir[0] = (u32)window | PTE_ALL;
	window[0] = (u32)data | PTE_ALL;
	pdpt[0] = (u32)low_dir | PTE_P;
	pdpt[1] = (u32)window_dir | PTE_P;
	memcpy(data, (u8[]){0xcd, VECTOR_END}, 2);
	write_cr4(read_cr4() | CR4_PAE);
	write_cr3((u32)pdpt);
	write_cr0(read_cr0() | CR0_PG);
}

static void flush(void)
{
	write_cr3((u32)pdpt);
}

static void rights(void)
{
	struct page_mode m = {0};

	page_matrix("plain", m, &window_dir[0], &window[0], WINDOW, (u32)data, read_code, write_code);
	m.wp = true;
	write_cr0(read_cr0() | CR0_WP);
	page_matrix("wp", m, &window_dir[0], &window[0], WINDOW, (u32)data, read_code, write_code);
	if (HAS_NX) {
		/* Without NXE bit 63 is reserved. */
		window[0] |= PTE_XD;
		flush();
		T("nx/reserved-without-nxe", "#PF(0x9)+0 cr2=0x40000000", RING0, read_code);
		window[0] &= ~PTE_XD;
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
		m.nxe = true;
		page_matrix("nx", m, &window_dir[0], &window[0], WINDOW, (u32)data, read_code, write_code);
	} else {
		absent("nx");
	}
	write_cr0(read_cr0() & ~CR0_WP);
}

/* SDM vol. 3, "PDPTE Registers": loaded and checked when CR3 is. */
static void pdptes(void)
{
	struct ctx c;
	ulong load = CODE("mov %eax, %cr3");

	static const struct {
		const char *name;
		u64 bits;
	} reserved[] = {{"bit-1", 2},	 {"bit-2", 4},	   {"bit-5", 0x20},   {"bit-6", 0x40},
			{"bit-7", 0x80}, {"bit-8", 0x100}, {"bit-63", PTE_XD}};

	for (u32 i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		char name[40];

		pdpt[3] = (u32)window_dir | PTE_P | reserved[i].bits;
		T(format_text(name, sizeof(name), "pdpte/reserved-%s", reserved[i].name), "#GP(0x0)+0", RING0, load,
		  .ax = (u32)pdpt);
		pdpt[3] &= ~1ull;
		T(format_text(name, sizeof(name), "pdpte/not-present-%s", reserved[i].name), "ok", RING0, load,
		  .ax = (u32)pdpt);
	}
	if (physical_bits() < 52) {
		pdpt[3] = (u32)window_dir | PTE_P | RESERVED_TOP;
		T("pdpte/reserved-maxphyaddr", "#GP(0x0)+0", RING0, load, .ax = (u32)pdpt);
	} else {
		absent("pdpte/reserved-maxphyaddr");
	}
	pdpt[3] = (u32)window_dir | PTE_P | 0xe18;
	T("pdpte/pwt-pcd-available", "ok", RING0, load, .ax = (u32)pdpt);
	c = TRY(RING0, CODE("movl 0xc0000000, %eax"));
	check("pdpte/second-mapping", "ok 1", "%s %u", outcome(c), (u32)c.ax == *(u32 *)data);
	/* The registers keep what was loaded, whatever happens to memory. */
	pdpt[3] = 0;
	invlpg((void *)0xc0000000);
	T("pdpte/registers-not-memory", "ok", RING0, CODE("movl 0xc0000000, %eax"));
	flush();
	T("pdpte/not-present-after-mov-cr3", "#PF(0x0)+0 cr2=0xc0000000", RING0, CODE("movl 0xc0000000, %eax"));
	/* CR3 takes bits 31:5 of the table's address. */
	u64 *second = (u64 *)((u8 *)pdpt + 0x20);
	memcpy(second, pdpt, 32);
	second[2] = (u32)window_dir | PTE_P;
	c = TRY(RING0, CODE("mov %eax, %cr3; movl 0x80000000, %ecx"), .ax = (u32)second);
	check("cr3/32-byte-aligned", "ok 1", "%s %u", outcome(c), (u32)c.cx == *(u32 *)data);
	flush();
	/* MOV to CR4 that changes PGE or PSE, and to CR0 that changes CD, NW or PG, reload them too. */
	if (HAS_PGE) {
		pdpt[3] = (u32)window_dir | PTE_P;
		T("pdpte/reloaded-by-cr4-pge", "ok", RING0,
		  CODE("mov %cr4, %eax; xor $0x80, %eax; mov %eax, %cr4; movl 0xc0000000, %ecx"));
		write_cr4(read_cr4() & ~CR4_PGE);
		pdpt[3] |= 2;
		T("pdpte/reserved-by-cr4-pge", "#GP(0x0)+5", RING0,
		  CODE("mov %cr4, %eax; xor $0x80, %al; mov %eax, %cr4"));
	}
	pdpt[3] = 0;
	write_cr4(read_cr4() & ~CR4_PGE);
	flush();
}

/* SDM vol. 3, "Page-Fault Exceptions", bit 3 (RSVD). */
static void reserved_bits(void)
{
	struct ctx c;

	if (physical_bits() < 52) {
		window[0] = (u32)data | PTE_ALL | RESERVED_TOP;
		flush();
		T("reserved/pte", "#PF(0x9)+0 cr2=0x40000000", RING0, read_code);
		T("reserved/pte-user-write", "#PF(0xf)+0 cr2=0x40000000", RING3, write_code);
		window[0] &= ~1ull;
		flush();
		T("reserved/not-present-pte", "#PF(0x0)+0 cr2=0x40000000", RING0, read_code);
		window[0] = (u32)data | PTE_ALL;
		window_dir[0] |= RESERVED_TOP;
		flush();
		T("reserved/pde", "#PF(0x9)+0 cr2=0x40000000", RING0, read_code);
		window_dir[0] &= ~RESERVED_TOP;
	} else {
		absent("reserved");
	}
	u64 table = window_dir[0];
	window_dir[0] = (2u << 21) | PTE_ALL | PTE_PS;
	flush();
	*(u32 *)(0x400000 + 0x1234) = 0xfeed;
	c = TRY(RING3, CODE("movl 0x40001234, %eax; movl %eax, 0x40001238"));
	check("2m/maps", "ok feed feed ad=60", "%s %x %x ad=%x", outcome(c), (u32)c.ax, *(u32 *)(0x400000 + 0x1238),
	      (u32)window_dir[0] & (PTE_A | PTE_D));
	for (u32 bit = 13; bit <= 20; bit++) {
		char name[32];

		window_dir[0] = (2u << 21) | PTE_ALL | PTE_PS | 1u << bit;
		flush();
		T(format_text(name, sizeof(name), "2m/reserved-bit-%u", bit), "#PF(0x9)+0 cr2=0x40000000", RING0,
		  read_code);
	}
	window_dir[0] = (2u << 21) | PTE_ALL | PTE_PS | 1u << 12;
	flush();
	T("2m/pat-bit", "ok", RING0, read_code);
	window_dir[0] = table;
	flush();
	window[0] = (u32)data | PTE_ALL | 0xe00;
	flush();
	T("pte/available-bits", "ok", RING0, read_code);
	window[0] = (u32)data | PTE_ALL;
	flush();
}

/*
 * A kernel's life: four processes with their own tables over the same 4 MiB of user addresses. Pages appear on demand,
 * are shared copy-on-write after a fork, and are thrown out and brought back. Ring 3 computes; the same sums without
 * paging say what must come out.
 */
#define PROCESSES  4
#define USER_PAGES 1024u
#define STEPS	   3000u
static struct process {
	u64 *pdpt, *dir, *tables[2];
	struct ctx c;
	u32 *flat; /* the model's memory */
	u32 flat_x;
} process[PROCESSES];
static u8 *next_page;
static u32 faults_demand, faults_cow, faults_swap;

static void *big_alloc(u32 size)
{
	void *p = next_page;

	memset(p, 0, size);
	next_page += size;
	return p;
}

static u64 *user_pte(struct process *p, u32 address)
{
	u32 n = (address - WINDOW) >> 12;

	return &p->tables[n / 512][n % 512];
}

/* SDM vol. 3, "Page-Fault Exceptions": the error code tells demand from copy on write. Bit 9 marks copy on write, 10 a
 * page thrown out. */
static bool page_fault(struct process *p, struct ctx *c)
{
	u64 *pte;

	if (c->vector != VEC_PF || c->cr2 < WINDOW || c->cr2 >= WINDOW + USER_PAGES * 4096)
		return false;
	pte = user_pte(p, c->cr2);
	if (!(c->error & 1) && *pte & 0x400) {
		*pte = (*pte & ~0x400ull) | PTE_P;
		faults_swap++;
	} else if (!(c->error & 1)) {
		*pte = (u32)big_alloc(4096) | PTE_ALL;
		faults_demand++;
	} else if (c->error == 7 && *pte & 0x200) {
		void *copy = next_page;

		next_page += 4096;
		memcpy(copy, (void *)((u32)*pte & ~0xfffu), 4096);
		*pte = (u32)copy | PTE_ALL;
		invlpg((void *)(c->cr2 & ~0xfffu));
		faults_cow++;
	} else {
		return false;
	}
	return true;
}

static void new_process(struct process *p)
{
	p->pdpt = big_alloc(4096);
	p->dir = big_alloc(4096);
	for (u32 t = 0; t < 2; t++) {
		p->tables[t] = big_alloc(4096);
		p->dir[t] = (u32)p->tables[t] | PTE_ALL;
	}
	p->pdpt[0] = (u32)low_dir | PTE_P;
	p->pdpt[1] = (u32)p->dir | PTE_P;
}

/* Both sides go on sharing every page, read-only. */
static void fork_process(struct process *parent, struct process *child)
{
	new_process(child);
	for (u32 i = 0; i < USER_PAGES; i++) {
		u64 *pte = user_pte(parent, WINDOW + i * 4096);

		if (!*pte)
			continue;
		*pte = (*pte & ~(u64)(PTE_RW | PTE_D)) | 0x200;
		*user_pte(child, WINDOW + i * 4096) = *pte;
	}
	child->c = parent->c;
	child->c.ax += 12345;
	memcpy(child->flat, parent->flat, USER_PAGES * 4096);
	child->flat_x = parent->c.ax + 12345;
	write_cr3(read_cr3());
}

static void kernel_load(void)
{
	/* EAX: the generator; each step changes one word by it. */
	ulong code = CODE("1: imul $1664525, %eax, %eax; add $1013904223, %eax; mov %eax, %ebx; shr $8, %ebx; and "
			  "$0x3ffffc, %ebx;"
			  "add $0x40000000, %ebx; mov (%ebx), %edx; lea (%edx,%edx,2), %edx; add %eax, %edx; mov %edx, "
			  "(%ebx); loop 1b");
	u32 live = 1, wrong = 0;

	next_page = (u8 *)0x1000000;
	for (u32 i = 0; i < PROCESSES; i++)
		process[i].flat = big_alloc(USER_PAGES * 4096);
	new_process(&process[0]);
	process[0].c = (struct ctx){RING3, .ip = code, .ax = 1};
	process[0].flat_x = 1;
	for (u32 round = 0; round < 6; round++) {
		for (u32 i = 0; i < live; i++) {
			struct process *p = &process[i];

			write_cr3((u32)p->pdpt);
			p->c.ip = code;
			p->c.cx = STEPS;
			for (;;) {
				p->c = run(p->c);
				if (p->c.vector == VECTOR_END)
					break;
				if (!page_fault(p, &p->c)) {
					check("load/unexpected", "no event", "%s", outcome(p->c));
					write_cr3((u32)pdpt);
					return;
				}
			}
			for (u32 k = 0; k < STEPS; k++) {
				u32 *word;

				p->flat_x = p->flat_x * 1664525 + 1013904223;
				word = &p->flat[(p->flat_x >> 8 & 0x3ffffc) / 4];
				*word = *word * 3 + p->flat_x;
			}
			/* Throw out every seventh page. */
			for (u32 n = round; n < USER_PAGES; n += 7) {
				u64 *pte = user_pte(p, WINDOW + n * 4096);

				if (*pte & PTE_P)
					*pte = (*pte & ~(u64)PTE_P) | 0x400;
			}
			write_cr3((u32)p->pdpt);
		}
		if (live < PROCESSES) {
			fork_process(&process[round % live], &process[live]);
			live++;
		}
	}
	write_cr3((u32)pdpt);
	for (u32 i = 0; i < PROCESSES; i++)
		for (u32 n = 0; n < USER_PAGES; n++) {
			u64 pte = *user_pte(&process[i], WINDOW + n * 4096);
			static const u8 zero[4096];
			const void *page = pte ? (void *)((u32)pte & ~0xfffu) : zero;

			wrong += memcmp(page, process[i].flat + n * 1024, 4096) != 0;
		}
	check("load/memory", "0 pages differ from the model", "%u pages differ from the model", wrong);
	check("load/faults", "demand=1079 cow=5940 swap=2453", "demand=%u cow=%u swap=%u", faults_demand, faults_cow,
	      faults_swap);
	check("load/dirty-flags", "0", "%u", ({
		      u32 clean = 0;
		      for (u32 n = 0; n < USER_PAGES; n++) {
			      u64 pte = *user_pte(&process[0], WINDOW + n * 4096);
			      clean += pte && !(pte & PTE_A);
		      }
		      clean;
	      }));
}

void chapter_main(void)
{
	if (!HAS_PAE) {
		absent("pae");
		return;
	}
	read_code = CODE("movl 0x40000000, %eax");
	write_code = CODE("movb $0xcd, 0x40000000");
	setup();
	rights();
	pdptes();
	reserved_bits();
	kernel_load();
}
