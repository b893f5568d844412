/*
 * EPT: rights, misconfigurations, qualifications, flags, page-modification log, page sizes, and what the tags of VPID
 * and EPT pointer keep apart.
 *
 * The guest has 2 MiB at HOST, mapped by 4-KByte EPT entries; its own paging structures map linear address 0 to PAGE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include "bus/bus.h"
#include "mem/access.h"
#include <cmocka.h>

/* Guest paging structures, guest-physical. */
#define P    1u
#define RW   2u
#define US   4u
#define A    0x20u
#define D    0x40u
#define PS   0x80u
#define G    0x100u
#define XD   BIT(63)
#define PML4 0x10000
#define PDPT 0x11000
#define PD   0x12000
#define PT   0x13000
#define PAGE 0x20000

/* EPT paging structures, physical. */
#define R     1u
#define W     2u
#define X     4u
#define WB    (6u << 3)
#define LARGE 0x80u
#define EA    0x100u
#define ED    0x200u
#define UX    0x400u
#define EPML4 0x1000
#define EPDPT 0x2000
#define EPD   0x3000
#define EPT   0x4000
#define EPML5 0x5000
#define LOG   0x6000
#define HOST  UINT64_C(0x800000)

#define EPTP	(EPML4 | 6u | 3u << 3)
#define EPTP_AD (EPTP | 1u << 6)

#define VIOLATION 48
#define MISCONFIG 49
#define PML_FULL  62
#define APIC_ACCESS 44
#define LINEAR	  0x80u
#define FINAL	  0x100u

#define RAM (UINT64_C(16) << 20)

struct fixture {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct bus *bus;
	uint8_t *ram;
};

static struct fixture *f;

static uint64_t *at(pa_t pa)
{
	return (uint64_t *)(f->ram + pa);
}

static uint64_t *guest(pa_t gpa)
{
	return at(HOST + gpa);
}

/* The EPT entry of a guest-physical page below 2 MiB. */
static uint64_t *ept_pte(pa_t gpa)
{
	return at(EPT + gpa / 4096 * 8);
}

static void changed(void)
{
	mem_context_changed(&f->cpu);
	mem_flush_all(&f->cpu);
}

static int setup(void **state)
{
	struct error error;

	f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	memset(f, 0, sizeof(*f));
	f->model.physical_bits = 40;
	f->bus = bus_create(&f->log);
	assert_true(bus_create_ram(f->bus, RAM, &error));
	bus_add_ram(f->bus, 0, RAM, 0, 0);
	f->ram = bus_ram(f->bus);
	f->cpu.bus = f->bus;
	f->cpu.model = &f->model;
	f->cpu.log = &f->log;
	f->cpu.cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->cpu.cr4 = CR4_PAE | CR4_PGE;
	f->cpu.efer = EFER_LME | EFER_LMA | EFER_NXE;
	f->cpu.cr3 = PML4;
	f->cpu.seg[CS].ar = AR_L | AR_P | AR_S | AR_CODE;
	*guest(PML4) = PDPT | P | RW | US;
	*guest(PDPT) = PD | P | RW | US;
	*guest(PD) = PT | P | RW | US;
	*guest(PT) = PAGE | P | RW | US;
	*at(EPML5) = EPML4 | R | W | X | UX;
	*at(EPML4) = EPDPT | R | W | X | UX;
	*at(EPDPT) = EPD | R | W | X | UX;
	*at(EPD) = EPT | R | W | X | UX;
	for (pa_t gpa = 0; gpa < 0x200000; gpa += 4096)
		*ept_pte(gpa) = (HOST + gpa) | WB | R | W | X | UX;
	f->cpu.nonroot = true;
	f->cpu.eptp = EPTP;
	f->cpu.vpid = 1;
	f->cpu.ept_controls = EPT_EXECUTE_ONLY | EPT_PAGES_2M | EPT_PAGES_1G;
	mem_cpu_create(&f->cpu);
	return 0;
}

static int teardown(void **state)
{
	mem_cpu_destroy(&f->cpu);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static bool access_at(la_t la, unsigned access)
{
	const uint8_t *code;
	uint8_t value;
	bool cacheable;
	size_t left;

	if (access & ACCESS_EXEC)
		return mem_fetch(&f->cpu, la, &code, &left, &cacheable);
	return access & ACCESS_WRITE ? mem_write8(&f->cpu, la, 1) : mem_read8(&f->cpu, la, &value);
}

static void expect_exit(bool faulted, uint32_t reason, uint64_t qualification, la_t la, pa_t gpa)
{
	assert_true(faulted);
	assert_int_equal(f->cpu.fault.kind, FAULT_VM_EXIT);
	assert_int_equal(f->cpu.fault.reason, reason);
	assert_int_equal(f->cpu.fault.qualification, qualification);
	assert_int_equal(f->cpu.fault.linear, la);
	assert_int_equal(f->cpu.fault.physical, gpa);
}

static void expect_pf(bool faulted, uint32_t error)
{
	assert_true(faulted);
	assert_int_equal(f->cpu.fault.kind, FAULT_EXCEPTION);
	assert_int_equal(f->cpu.fault.vector, VECTOR_PF);
	assert_int_equal(f->cpu.fault.error, error);
}

static unsigned kind_of(unsigned access)
{
	return access == ACCESS_READ ? 1 : access == ACCESS_WRITE ? 2 : 4;
}

/* SDM vol. 3, "Information That May Be Cached" and "Operations that Invalidate Cached Mappings": a guest-physical
 * mapping outlives what flushes linear and combined ones, but not INVEPT; and whoever gives more rights needs none. */
static void guest_physical_mappings(void **state)
{
	f->cpu.eptp = EPTP_AD;
	changed();
	assert_false(access_at(0x10, ACCESS_READ));
	*ept_pte(PAGE) = 0;
	mem_flush_vpid(&f->cpu, 1, false);
	assert_false(access_at(0x10, ACCESS_READ));
	mem_flush_ept(&f->cpu, EPTP_AD);
	expect_exit(access_at(0x10, ACCESS_READ), VIOLATION, LINEAR | FINAL | 1, 0x10, PAGE + 0x10);

	*ept_pte(PAGE) = (HOST + PAGE) | WB | R | EA;
	mem_flush_vpid(&f->cpu, 1, false);
	assert_false(access_at(0x10, ACCESS_READ));
	expect_exit(access_at(0x10, ACCESS_WRITE), VIOLATION, LINEAR | FINAL | 2 | R << 3, 0x10, PAGE + 0x10);
	*ept_pte(PAGE) = (HOST + PAGE) | WB | R | W | EA;
	assert_false(access_at(0x10, ACCESS_WRITE));
	assert_true(*ept_pte(PAGE) & ED); /* though a mapping without the flag was known */

	*ept_pte(PAGE) &= ~(uint64_t)ED;
	mem_flush_vpid(&f->cpu, 1, false);
	assert_false(access_at(0x10, ACCESS_READ)); /* by the mapping, but then the flag is asked for again */
	assert_false(access_at(0x10, ACCESS_WRITE));
	assert_true(*ept_pte(PAGE) & ED);
	*ept_pte(PT) &= ~(uint64_t)ED;
	mem_flush_vpid(&f->cpu, 1, false);
	assert_false(access_at(0x10, ACCESS_WRITE)); /* that of a table by the mapping alone */
	assert_false(*ept_pte(PT) & ED);
}

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
	const uint64_t *entry = device;

	return offset ? 0 : *entry;
}

/* Guest paging structures in pages whose mappings are known: what their entries ask for is still done. */
static void known_pages_of_guest_tables(void **state)
{
	static const struct device_ops ops = {.read = device_read};
	const pa_t table = 0x14000, other = 0x21000;
	uint64_t entry = PAGE | P | RW | US | A | D;
	uint8_t value;

	*guest(PD + 8) = table | P | RW | US;
	*guest(table) = PAGE | P | RW | US;
	*guest(PT + 8) = table | P | RW | US;
	*guest(PAGE) = 1;
	*guest(other) = 2;

	/* known by a read of data, which set no dirty flag as the walk does */
	f->cpu.eptp = EPTP_AD;
	changed();
	assert_false(access_at(0x1000, ACCESS_READ));
	assert_false(*ept_pte(table) & ED);
	assert_false(access_at(0x200000, ACCESS_READ));
	assert_true(*ept_pte(table) & ED);

	/* readable, which is not enough for setting an A flag, nor for EPT's own */
	*ept_pte(table) = (HOST + table) | WB | R | ED;
	f->cpu.eptp = EPTP;
	changed();
	assert_false(access_at(0x200000, ACCESS_READ));
	*guest(table) &= ~(uint64_t)A;
	mem_flush_vpid(&f->cpu, 1, false);
	expect_exit(access_at(0x200000, ACCESS_READ), VIOLATION, LINEAR | 3 | R << 3, 0x200000, table);
	f->cpu.eptp = EPTP_AD;
	changed();
	assert_false(access_at(0x1000, ACCESS_READ));
	expect_exit(access_at(0x200000, ACCESS_READ), VIOLATION, LINEAR | 3 | R << 3, 0x200000, table);
	*ept_pte(table) = (HOST + table) | WB | R | W;

	/* SMM has other memory there */
	region_set_view(bus_add_ram(f->bus, HOST + table, 4096, 0x9000, 20), VIEW_SMM);
	*at(0x9000) = other | P | RW | US;
	f->cpu.eptp = EPTP;
	changed();
	assert_false(mem_read8(&f->cpu, 0x200000, &value));
	assert_int_equal(value, 1);
	f->cpu.in_smm = true;
	mem_context_changed(&f->cpu);
	assert_false(mem_read8(&f->cpu, 0x200000, &value));
	assert_int_equal(value, 2);
	f->cpu.in_smm = false;

	/* a device answers each walk anew */
	bus_add_device(f->bus, "tables", HOST + table, 4096, &ops, &entry, 30);
	changed();
	assert_false(mem_read8(&f->cpu, 0x200000, &value));
	assert_int_equal(value, 1);
	entry = other | P | RW | US | A | D;
	mem_flush_vpid(&f->cpu, 1, false);
	assert_false(mem_read8(&f->cpu, 0x200000, &value));
	assert_int_equal(value, 2);
}

/* All rights of the last entry or one above it, with and without mode-based execute control and execute-only pages. */
static void every_combination_of_rights(void **state)
{
	static const unsigned accesses[] = {ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC};
	static const pa_t levels[] = {EPT + PAGE / 4096 * 8, EPD};

	for (unsigned bits = 0; bits < 256; bits++)
		for (unsigned i = 0; i < 3; i++) {
			bool mbec = bits & 16, only = bits & 32, user = bits & 64, upper = bits & 128, allowed;
			unsigned rwx = bits & 7, ux = bits & 8 ? UX : 0, execute = mbec && user ? ux : rwx & X;
			uint64_t kept, *entry = at(levels[upper]), qualification;

			/* an upper entry also serves the guest's paging structures: map those by the entry beside it */
			kept = *entry;
			*entry = (kept & ~(uint64_t)(R | W | X | UX)) | rwx | ux;
			if (upper) {
				*at(EPD + 8) = EPT | R | W | X | UX;
				f->cpu.cr3 = 0x200000 + PML4;
				*guest(PML4) = (0x200000 + PDPT) | P | RW | US;
				*guest(PDPT) = (0x200000 + PD) | P | RW | US;
				*guest(PD) = (0x200000 + PT) | P | RW | US;
			}
			*guest(PT) = PAGE | P | RW | (user ? US : 0);
			f->cpu.cpl = user ? 3 : 0;
			f->cpu.ept_controls = (mbec ? EPT_MODE_BASED_EXECUTE : 0) | (only ? EPT_EXECUTE_ONLY : 0);
			changed();
			if (!rwx && !(mbec && ux)) {
				expect_exit(access_at(0x10, accesses[i]), VIOLATION,
					    LINEAR | FINAL | kind_of(accesses[i]), 0x10, PAGE + 0x10);
			} else if (!(rwx & R) && ((rwx & W) || (!only && ((rwx & X) || (mbec && ux))))) {
				expect_exit(access_at(0x10, accesses[i]), MISCONFIG, 0, 0, PAGE + 0x10);
			} else {
				allowed = accesses[i] == ACCESS_EXEC ? execute : rwx & kind_of(accesses[i]);
				qualification =
					LINEAR | FINAL | kind_of(accesses[i]) | rwx << 3 | (mbec && ux ? 0x40 : 0);
				for (unsigned again = 0; again < 2; again++)
					if (allowed)
						assert_false(access_at(0x10, accesses[i]));
					else
						expect_exit(access_at(0x10, accesses[i]), VIOLATION, qualification,
							    0x10, PAGE + 0x10);
				/* what one access brought into the TLB must not let another through */
				for (unsigned k = 0; k < 3; k++)
					assert_int_equal(
						access_at(0x20, accesses[k]),
						!(accesses[k] == ACCESS_EXEC ? execute : rwx & kind_of(accesses[k])));
			}
			*entry = kept;
			f->cpu.cr3 = PML4;
			*guest(PML4) = PDPT | P | RW | US;
			*guest(PDPT) = PD | P | RW | US;
			*guest(PD) = PT | P | RW | US;
		}
}

static void misconfigurations(void **state)
{
	static const struct {
		pa_t entry;
		uint64_t clear, set;
		bool fine;
	} cases[] = {
		{EPML4, 0, 8, false},
		{EPML4, 0, 0x10, false},
		{EPML4, 0, 0x20, false},
		{EPML4, 0, 0x40, false},
		{EPML4, 0, LARGE, false},
		{EPML4, 0, BIT(40), false},
		{EPML4, 0, BIT(51), false},
		{EPDPT, 0, 8, false},
		{EPDPT, 0, 0x40, false},
		{EPDPT, 0, LARGE | BIT(12), false},
		{EPDPT, 0, LARGE | BIT(29), false},
		{EPDPT, 0, BIT(40), false},
		{EPD, 0, 8, false},
		{EPD, 0, 0x10, false},
		{EPD, 0, 0x20, false},
		{EPD, 0, 0x40, false},
		{EPD, 0, LARGE | BIT(12), false},
		{EPD, 0, LARGE | BIT(20), false},
		{EPD, 0, BIT(51), false},
		{EPT + PAGE / 512, WB, 2 << 3, false},
		{EPT + PAGE / 512, WB, 3 << 3, false},
		{EPT + PAGE / 512, WB, 7 << 3, false},
		{EPT + PAGE / 512, 0, BIT(40), false},
		{EPT + PAGE / 512, 0, BIT(51), false},
		{EPT + PAGE / 512, R, 0, false},
		{EPT + PAGE / 512, R | X, 0, false},
		{EPD, R, 0, false},
		/* and what is none */
		{EPT + PAGE / 512, WB, 0, true},
		{EPT + PAGE / 512, WB, 1 << 3, true},
		{EPT + PAGE / 512, WB, 4 << 3, true},
		{EPT + PAGE / 512, WB, 5 << 3, true},
		{EPT + PAGE / 512, 0, 0x40 | LARGE | EA | ED | 0x800 | BITS(63, 52), true},
		{EPML4, 0, EA | ED | 0x800 | BITS(63, 52), true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t kept = *at(cases[i].entry);
		bool last = cases[i].entry >= EPT && cases[i].entry < EPT + 0x1000;

		*at(cases[i].entry) = (kept & ~cases[i].clear) | cases[i].set;
		changed();
		if (cases[i].fine)
			assert_false(access_at(0, ACCESS_READ));
		else
			expect_exit(access_at(0, ACCESS_READ), MISCONFIG, 0, 0, last ? PAGE : PML4);
		*at(cases[i].entry) = kept;
	}
	/* page sizes that are not offered */
	f->cpu.ept_controls = 0;
	*at(EPD) = HOST | WB | LARGE | R | W | X;
	changed();
	expect_exit(access_at(0, ACCESS_READ), MISCONFIG, 0, 0, PML4);
	f->cpu.ept_controls = EPT_PAGES_2M;
	changed();
	assert_false(access_at(0, ACCESS_READ));
	*at(EPDPT) = WB | LARGE | R | W | X;
	changed();
	expect_exit(access_at(0, ACCESS_READ), MISCONFIG, 0, 0, PML4);
	/* an entry that is not present may hold anything */
	*at(EPDPT) = BITS(63, 3) & ~(uint64_t)UX;
	changed();
	expect_exit(access_at(0, ACCESS_READ), VIOLATION, LINEAR | 1, 0, PML4);
}

/* Bit 8: is it the access, or one to each of the paging structures? */
static void violations_of_the_guests_walk(void **state)
{
	static const pa_t tables[] = {PML4, PDPT, PD, PT};

	for (unsigned i = 0; i < 4; i++) {
		uint64_t kept = *ept_pte(tables[i]);

		*ept_pte(tables[i]) = 0;
		changed();
		expect_exit(access_at(0x123, ACCESS_WRITE), VIOLATION, LINEAR | 1, 0x123, tables[i]);
		*ept_pte(tables[i]) = (kept & ~(uint64_t)R) & ~(uint64_t)W; /* execute only: not for reading entries */
		expect_exit(access_at(0x123, ACCESS_EXEC), VIOLATION, LINEAR | 1 | X << 3, 0x123, tables[i]);
		/* read only, and no A or D bit to set: fine. One to set is a write */
		*guest(tables[i]) |= A | D;
		*ept_pte(tables[i]) = kept & ~(uint64_t)W;
		assert_false(access_at(0x123, ACCESS_WRITE));
		*guest(tables[i]) &= ~(uint64_t)A;
		mem_flush_all(&f->cpu);
		expect_exit(access_at(0x123, ACCESS_READ), VIOLATION, LINEAR | 3 | (R | X) << 3, 0x123, tables[i]);
		assert_int_equal(*guest(tables[i]) & A, 0);
		/* with EPT's own flags every access to them is a write too */
		*guest(tables[i]) |= A | D;
		f->cpu.eptp = EPTP_AD;
		changed();
		expect_exit(access_at(0x123, ACCESS_READ), VIOLATION, LINEAR | 3 | (R | X) << 3, 0x123, tables[i]);
		f->cpu.eptp = EPTP;
		*ept_pte(tables[i]) = kept;
	}
	/* the guest's D bit in a read-only table */
	*guest(PT) = PAGE | P | RW | A;
	*ept_pte(PT) &= ~(uint64_t)W;
	changed();
	assert_false(access_at(0, ACCESS_READ));
	expect_exit(access_at(0, ACCESS_WRITE), VIOLATION, LINEAR | 3 | (R | X) << 3, 0, PT);
}

static void faults_of_the_guest_come_first(void **state)
{
	*ept_pte(PAGE) = 0;
	*guest(PT) = PAGE | P;
	changed();
	expect_pf(access_at(0, ACCESS_WRITE), PF_P | PF_W);
	*ept_pte(PT) = 0; /* but not that of an entry that cannot be read */
	changed();
	expect_exit(access_at(0, ACCESS_WRITE), VIOLATION, LINEAR | 1, 0, PT);
}

static void advanced_information(void **state)
{
	uint64_t base = LINEAR | FINAL | 1;

	*ept_pte(PAGE) = 0;
	for (unsigned bits = 0; bits < 16; bits++) {
		bool user = bits & 1, writable = bits & 2, xd = bits & 4, offered = bits & 8;

		*guest(PT) = PAGE | P | (user ? US : 0) | (writable ? RW : 0) | (xd ? XD : 0);
		f->cpu.ept_controls = offered ? EPT_ADVANCED_INFO : 0;
		changed();
		expect_exit(access_at(0, ACCESS_READ), VIOLATION, base | (offered ? (uint64_t)(bits & 7) << 9 : 0), 0,
			    PAGE);
	}
	/* nothing of the kind for paging structures; a user-mode address that may be written without paging */
	*ept_pte(PD) = 0;
	changed();
	expect_exit(access_at(0, ACCESS_READ), VIOLATION, LINEAR | 1, 0, PD);
	f->cpu.cr0 = CR0_PE;
	f->cpu.efer = 0;
	changed();
	expect_exit(access_at(PAGE + 4, ACCESS_READ), VIOLATION, base | 3 << 9, PAGE + 4, PAGE + 4);
}

static void read_modify_write_is_both(void **state)
{
	struct mem_rmw rmw;
	uint64_t value;

	*ept_pte(PAGE) = (HOST + PAGE) | WB | X;
	changed();
	expect_exit(mem_rmw_begin(&f->cpu, &rmw, 8, 4, &value), VIOLATION, LINEAR | FINAL | 3 | X << 3, 8, PAGE + 8);
}

static void addresses_and_page_sizes(void **state)
{
	uint8_t value;

	f->ram[HOST + PAGE + 5] = 7;
	assert_false(mem_read8(&f->cpu, 5, &value));
	assert_int_equal(value, 7);
	*at(EPD) = HOST | WB | LARGE | R | W | X;
	changed();
	assert_false(mem_read8(&f->cpu, 5, &value));
	assert_int_equal(value, 7);
	*guest(PT) = (HOST + PAGE) | P; /* and a table in a page that maps all as it is */
	*at(EPDPT) = WB | LARGE | R | W | X;
	memcpy(at(PML4), guest(PML4), 0x4000);
	changed();
	assert_false(mem_read8(&f->cpu, 5, &value));
	assert_int_equal(value, 7);
	f->cpu.eptp = EPML5 | 6u | 4u << 3; /* 5 levels */
	changed();
	assert_false(mem_read8(&f->cpu, 5, &value));
	assert_int_equal(value, 7);
	*at(EPML5) = 0;
	changed();
	expect_exit(mem_read8(&f->cpu, 5, &value), VIOLATION, LINEAR | 1, 5, PML4);
}

static void four_levels_end_at_bit_48(void **state)
{
	f->model.physical_bits = 52;
	mem_cpu_destroy(&f->cpu);
	mem_cpu_create(&f->cpu);
	*guest(PT) = PAGE | BIT(48) | P;
	expect_exit(access_at(0, ACCESS_READ), VIOLATION, LINEAR | FINAL | 1, 0, PAGE | BIT(48));
	/* the index above is another one with 5 levels: not present */
	f->cpu.eptp = EPML5 | 6u | 4u << 3;
	*at(EPML5 + 8) = *at(EPML5);
	changed();
	assert_false(access_at(0, ACCESS_READ));
}

/* What debuggers see: each entry, where the walk ends and why, and nothing changed; the controls are the caller's. */
static void entries_for_debuggers(void **state)
{
	const uint32_t all = EPT_EXECUTE_ONLY | EPT_PAGES_2M | EPT_PAGES_1G;
	struct ept_entry path[EPT_MOST_LEVELS];

	f->cpu.ept_controls = 0;
	f->cpu.eptp = 0;
	assert_int_equal(mem_debug_ept(&f->cpu, EPTP_AD, all, PAGE + 5, path), 4);
	assert_int_equal(path[0].level, 4);
	assert_int_equal(path[0].at, EPML4);
	assert_int_equal(path[0].end, EPT_GOES_ON);
	assert_int_equal(path[3].level, 1);
	assert_int_equal(path[3].at, EPT + PAGE / 4096 * 8);
	assert_int_equal(path[3].entry, (HOST + PAGE) | WB | R | W | X | UX);
	assert_int_equal(path[3].end, EPT_MAPS_PAGE);
	assert_int_equal(*at(EPML4), path[0].entry); /* no accessed flag */

	*at(EPD) = HOST | WB | LARGE | R | W | X;
	assert_int_equal(mem_debug_ept(&f->cpu, EPML5 | 6u | 4u << 3, all, PAGE, path), 4);
	assert_int_equal(path[0].level, 5);
	assert_int_equal(path[3].end, EPT_MAPS_PAGE);
	assert_int_equal(mem_debug_ept(&f->cpu, EPTP, all & ~(uint32_t)EPT_PAGES_2M, PAGE, path), 3);
	assert_int_equal(path[2].end, EPT_MISCONFIGURED); /* bit 7 is reserved then */
	*at(EPD) = UX;
	assert_int_equal(mem_debug_ept(&f->cpu, EPTP, all, PAGE, path), 3);
	assert_int_equal(path[2].end, EPT_NOT_PRESENT);
	assert_int_equal(mem_debug_ept(&f->cpu, EPTP, all | EPT_MODE_BASED_EXECUTE, PAGE, path), 4);
	assert_int_equal(mem_debug_ept(&f->cpu, EPTP, all, BIT(48), path), 0);
	assert_int_equal(f->cpu.ept_controls, 0);
}

static void pdptes_are_read_through_ept(void **state)
{
	uint64_t pdpte[4] = {9};

	f->cpu.eptp = EPTP_AD;
	changed();
	*guest(0x30020) = PD | P;
	assert_false(mem_read_pdptes(&f->cpu, 0x30020, pdpte));
	assert_int_equal(pdpte[0], PD | P);
	assert_int_equal(*ept_pte(0x30000) & (EA | ED), EA); /* a read, whatever the flags */
	*ept_pte(0x30000) &= ~(uint64_t)(R | W);
	mem_flush_epts(&f->cpu);
	expect_exit(mem_read_pdptes(&f->cpu, 0x30020, pdpte), VIOLATION, 1 | X << 3, 0, 0x30020);
	*ept_pte(0x30000) = (HOST + 0x30000) | R; /* UC */
	*guest(0x30020) = PD | P | RW;
	assert_true(mem_read_pdptes(&f->cpu, 0x30020, pdpte));
	assert_int_equal(f->cpu.fault.kind, FAULT_EXCEPTION);
	assert_int_equal(f->cpu.fault.vector, VECTOR_GP);
}

static void accessed_and_dirty_flags(void **state)
{
	assert_false(access_at(0, ACCESS_WRITE)); /* without the EPT pointer's bit 6: none */
	assert_int_equal(*ept_pte(PAGE) & (EA | ED), 0);
	f->cpu.eptp = EPTP_AD;
	changed();
	assert_false(access_at(0, ACCESS_READ));
	assert_int_equal(*ept_pte(PAGE) & (EA | ED), EA);
	assert_int_equal(*ept_pte(PML4) & (EA | ED), EA | ED);
	assert_int_equal(*ept_pte(PT) & (EA | ED), EA | ED);
	assert_int_equal(*at(EPML4) & (EA | ED), EA);
	assert_int_equal(*at(EPD) & (EA | ED), EA);
	assert_false(access_at(0, ACCESS_WRITE)); /* the read has not made it writable in the TLB */
	assert_int_equal(*ept_pte(PAGE) & (EA | ED), EA | ED);
	/* an access that exits sets none */
	*ept_pte(PAGE) = (HOST + PAGE) | WB | R;
	mem_flush_ept(&f->cpu, EPTP_AD);
	assert_true(access_at(0, ACCESS_WRITE));
	assert_int_equal(*ept_pte(PAGE) & (EA | ED), 0);
}

static void page_modification_log(void **state)
{
	pa_t pa;

	f->cpu.eptp = EPTP_AD;
	f->cpu.ept_controls |= EPT_PML;
	f->cpu.pml_address = LOG;
	f->cpu.pml_index = 5;
	changed();
	assert_false(access_at(0x123, ACCESS_READ)); /* the four tables are written */
	assert_int_equal(f->cpu.pml_index, 1);
	assert_int_equal(*at(LOG + 5 * 8), PML4);
	assert_int_equal(*at(LOG + 2 * 8), PT);
	assert_false(access_at(0x123, ACCESS_WRITE));
	assert_int_equal(*at(LOG + 8), PAGE);
	assert_int_equal(f->cpu.pml_index, 0);
	mem_flush_all(&f->cpu);
	assert_false(access_at(0x124, ACCESS_WRITE)); /* D is set already */
	assert_int_equal(f->cpu.pml_index, 0);
	*guest(PT + 8) = (PAGE + 0x1000) | P | RW;
	assert_false(access_at(0x1000, ACCESS_WRITE));
	assert_int_equal(f->cpu.pml_index, 0xffff);
	*guest(PT + 16) = (PAGE + 0x2000) | P | RW; /* full: even for an A bit */
	expect_exit(access_at(0x2000, ACCESS_READ), PML_FULL, 0, 0, 0);
	assert_int_equal(*ept_pte(PAGE + 0x2000) & (EA | ED), 0);
	assert_true(mem_debug_translate(&f->cpu, 0x2000, &pa)); /* debuggers log nothing */
	assert_int_equal(pa, HOST + PAGE + 0x2000);
	assert_false(access_at(0, ACCESS_WRITE)); /* nothing to set, no exit */
	f->cpu.pml_index = 511;
	assert_false(access_at(0x2000, ACCESS_WRITE));
	assert_int_equal(*at(LOG + 511 * 8), PAGE + 0x2000);
	assert_int_equal(f->cpu.pml_index, 510);
	f->cpu.eptp = EPTP; /* no flags, no log */
	*ept_pte(PAGE) &= ~(uint64_t)(EA | ED);
	changed();
	assert_false(access_at(0, ACCESS_WRITE));
	assert_int_equal(f->cpu.pml_index, 510);
}

/* Be in a context, have linear 0 cached there with its value, and then see whether an invalidation made the CPU look
 * again. */
static void enter(uint16_t vpid, uint64_t eptp, unsigned pcid)
{
	f->cpu.nonroot = vpid || eptp;
	f->cpu.vpid = vpid;
	f->cpu.eptp = eptp;
	f->cpu.cr3 = PML4 | pcid;
	mem_context_changed(&f->cpu);
}

#define EPTP2 (0x7000 | 6u | 3u << 3)

/* vpid, eptp, pcid; global at linear 1000H */
static const struct {
	uint16_t vpid;
	uint64_t eptp;
	unsigned pcid;
} contexts[] = {{0, 0, 0},     {0, 0, 1},    {1, EPTP, 0}, {1, EPTP, 1},
		{1, EPTP2, 0}, {2, EPTP, 0}, {2, 0, 0},	   {3, EPTP_AD, 0}};

static void fill_all(void)
{
	*guest(PT) = PAGE | P | RW | US;
	*guest(PT + 8) = (PAGE + 0x1000) | P | RW | US | G;
	f->ram[HOST + PAGE] = f->ram[HOST + PAGE + 0x1000] = 1;
	f->ram[HOST + PAGE + 0x2000] = f->ram[HOST + PAGE + 0x3000] = 2;
	for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++) {
		enter(contexts[i].vpid, contexts[i].eptp, contexts[i].pcid);
		mem_flush_vpid(&f->cpu, f->cpu.vpid, false);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++) {
		enter(contexts[i].vpid, contexts[i].eptp, contexts[i].pcid);
		assert_false(access_at(0, ACCESS_READ));
		assert_false(access_at(0x1000, ACCESS_READ));
	}
	*guest(PT) = (PAGE + 0x2000) | P | RW | US;
	*guest(PT + 8) = (PAGE + 0x3000) | P | RW | US | G;
}

/* Bit 2i: context i looked again at linear 0; bit 2i + 1: at the global page. */
static unsigned looked_again(void)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++)
		for (unsigned k = 0; k < 2; k++) {
			uint8_t value = 0;

			enter(contexts[i].vpid, contexts[i].eptp, contexts[i].pcid);
			assert_false(mem_read8(&f->cpu, k * 0x1000, &value));
			bits |= value == 2 ? 1u << (2 * i + k) : 0;
		}
	return bits;
}

static void tags_and_invalidation(void **state)
{
	memcpy(at(0x7000), at(EPML4), 0x1000);
	memcpy(at(PML4), guest(PML4), 0x3000); /* for contexts without EPT */
	*at(PD) = (HOST + PT) | P | RW | US;
	f->cpu.cr4 |= CR4_PCIDE;
	/* without EPT the guest's addresses are physical: give them the same bytes by way of a page that both see */
	for (unsigned i = 0; i < 4; i++)
		*ept_pte(PAGE + i * 0x1000) = (PAGE + i * 0x1000) | WB | R | W | X;
#define CASE(call, expected)                                       \
	do {                                                       \
		fill_all();                                        \
		f->ram[PAGE] = f->ram[PAGE + 0x1000] = 1;          \
		f->ram[PAGE + 0x2000] = f->ram[PAGE + 0x3000] = 2; \
		call;                                              \
		assert_int_equal(looked_again(), expected);        \
	} while (0)
	CASE((void)0, 0); /* going through all of them flushes nothing */
	CASE(mem_flush_all(&f->cpu), 0xffff);
	CASE(mem_flush_vpid(&f->cpu, 0, false), 0x000f);
	CASE(mem_flush_vpid(&f->cpu, 1, false), 0x03f0);
	CASE(mem_flush_vpid(&f->cpu, 1, true), 0x0150);
	CASE(mem_flush_vpid_page(&f->cpu, 1, 0x1234), 0x02a0);
	CASE(mem_flush_vpid_page(&f->cpu, 2, 0), 0x1400);
	CASE(mem_flush_vpids(&f->cpu), 0xfff0);
	CASE(mem_flush_ept(&f->cpu, EPTP), 0xccf0); /* the same table with flags is the same root */
	CASE(mem_flush_ept(&f->cpu, EPTP2), 0x0300);
	CASE(mem_flush_ept(&f->cpu, 0), 0);
	CASE(mem_flush_epts(&f->cpu), 0xcff0);
	/* in non-root operation, of the current VPID alone */
	CASE((enter(1, EPTP, 0), mem_flush_pcid(&f->cpu, 0)), 0x0110);
	CASE((enter(1, EPTP, 0), mem_flush_pcid(&f->cpu, 1)), 0x0040);
	CASE((enter(1, EPTP, 0), mem_flush_page(&f->cpu, 0x1000)), 0x02a0);
	CASE((enter(1, EPTP, 0), mem_flush_page_pcid(&f->cpu, 1, 0)), 0x0040);
	CASE((enter(1, EPTP, 0), mem_flush_non_global(&f->cpu)), 0x0150);
	CASE((enter(0, 0, 0), mem_flush_page(&f->cpu, 0)), 0x0005);
	/* MOV to CR4 in one VPID */
	CASE((enter(1, EPTP, 0), f->cpu.cr4 ^= CR4_PGE, mem_context_changed(&f->cpu), f->cpu.cr4 ^= CR4_PGE,
	      mem_context_changed(&f->cpu)),
	     0x03f0);
	/* VM exit to a host with other control registers, and back */
	CASE((enter(1, EPTP, 0), f->cpu.cr4 ^= CR4_SMEP, f->cpu.cr0 ^= CR0_WP, enter(4, 0, 0), f->cpu.cr4 ^= CR4_SMEP,
	      f->cpu.cr0 ^= CR0_WP, enter(1, EPTP, 0)),
	     0);
}

static void guest_large_pages_and_invlpg(void **state)
{
	uint8_t value;

	/* a 2-MByte page of the guest on 4-KByte pages of EPT: one INVLPG drops all of it */
	*guest(PD) = P | RW | US | PS;
	f->ram[HOST] = 1;
	changed();
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_int_equal(value, 1);
	*guest(PD) = PT | P | RW | US;
	f->ram[HOST + PAGE] = 2;
	mem_flush_page(&f->cpu, 0x1ff000);
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_int_equal(value, 2);
	/* a 4-KByte page of the guest on a large one of EPT: only that one goes */
	*at(EPD) = HOST | WB | LARGE | R | W | X;
	*guest(PT + 8) = PAGE | P;
	changed();
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_false(mem_read8(&f->cpu, 0x1000, &value));
	*guest(PT) = *guest(PT + 8) = 0;
	mem_flush_page(&f->cpu, 0x1000);
	assert_false(mem_read8(&f->cpu, 0, &value));
	expect_pf(mem_read8(&f->cpu, 0x1000, &value), 0);
}

static void a_violation_invalidates_its_page(void **state)
{
	uint8_t value;

	*ept_pte(PAGE) &= ~(uint64_t)W;
	changed();
	f->ram[HOST + PAGE] = 1;
	f->ram[HOST + 0x50000] = 2;
	f->cpu.cpl = 3;
	mem_context_changed(&f->cpu);
	assert_false(mem_read8(&f->cpu, 0, &value));
	f->cpu.cpl = 0;
	mem_context_changed(&f->cpu);
	assert_true(access_at(0, ACCESS_WRITE));
	*ept_pte(PAGE) = (HOST + 0x50000) | WB | R | W | X;
	f->cpu.cpl = 3;
	mem_context_changed(&f->cpu);
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_int_equal(value, 2);
}

static void control_registers_changed_by_an_entry_count(void **state)
{
	f->cpu.cr0 &= ~CR0_WP;
	*guest(PT) = PAGE | P;
	changed();
	assert_false(access_at(0, ACCESS_WRITE));
	f->cpu.cr0 |= CR0_WP;
	enter(0, 0, 0);
	enter(1, EPTP, 0);
	expect_pf(access_at(0, ACCESS_WRITE), PF_P | PF_W);
}

static void more_contexts_than_spaces(void **state)
{
	for (unsigned round = 0; round < 2; round++)
		for (uint16_t vpid = 1; vpid < 80; vpid++) {
			uint8_t value = 0;

			enter(vpid, EPTP, 0);
			f->ram[HOST + PAGE] = (uint8_t)vpid;
			assert_false(mem_read8(&f->cpu, 0, &value));
			assert_int_equal(value, vpid);
		}
}

/* SDM vol. 3, "Convertible EPT Violations": bit 63 counts where an entry is not present or maps a page, else not. */
static void convertible_violations(void **state)
{
	static const pa_t entries[] = {EPML4, EPDPT, EPD, EPT + PAGE / 512};

	*guest(PT) = (PAGE + 0x200000) | P | RW;
	*at(EPD + 8) = EPT | R | W | X;
	for (unsigned control = 0; control < 2; control++)
		for (unsigned i = 0; i < 4; i++)
			for (unsigned bits = 0; bits < 4; bits++) {
				bool suppress = bits & 1, present = bits & 2;
				uint64_t kept = *at(entries[i]);

				f->cpu.ept_controls = control ? EPT_VIOLATION_VE : 0;
				*ept_pte(PAGE) &= ~(uint64_t)W;
				*at(entries[i]) = (suppress ? BIT(63) : 0) | (present ? *at(entries[i]) : 0);
				changed();
				assert_true(access_at(0, ACCESS_WRITE));
				assert_int_equal(f->cpu.fault.kind, FAULT_VM_EXIT);
				assert_int_equal(f->cpu.fault.convertible,
						 control && !(suppress && (!present || i == 3)));
				*at(entries[i]) = kept;
			}
	/* neither a misconfiguration nor an address that no entry is about */
	f->cpu.ept_controls = EPT_VIOLATION_VE;
	*ept_pte(PAGE) = HOST | W;
	changed();
	assert_true(access_at(0, ACCESS_READ));
	assert_int_equal(f->cpu.fault.reason, MISCONFIG);
	assert_false(f->cpu.fault.convertible);
	f->model.physical_bits = 52;
	mem_cpu_destroy(&f->cpu);
	mem_cpu_create(&f->cpu);
	*guest(PT) = BIT(48) | P | RW;
	assert_true(access_at(0, ACCESS_READ));
	assert_int_equal(f->cpu.fault.reason, VIOLATION);
	assert_false(f->cpu.fault.convertible);
}

#define SPPL4	0x60000 /* sub-page permission tables, physical */
#define SPPL3	0x61000
#define SPPL2	0x62000
#define SPPL1	0x63000
#define SUBPAGE 66
#define MISS	0x800u
#define SPP	BIT(61)

static uint64_t *subpages_of(pa_t gpa)
{
	*at(SPPL4) = SPPL3 | 1;
	*at(SPPL3) = SPPL2 | 1;
	*at(SPPL2) = SPPL1 | 1;
	f->cpu.spptp = SPPL4;
	f->cpu.ept_controls = EPT_SUBPAGE;
	*ept_pte(gpa) = (HOST + gpa) | WB | R | X | SPP;
	changed();
	return at(SPPL1 + gpa / 4096 * 8);
}

static void sub_page_write_permissions(void **state)
{
	uint64_t *vector = subpages_of(PAGE), value;

	for (unsigned sub = 0; sub < 32; sub++) {
		*vector = BIT(2 * sub);
		for (unsigned i = 0; i < 4096; i += 64) {
			bool faulted = access_at(i, ACCESS_WRITE);

			if (i / 128 == sub)
				assert_false(faulted);
			else
				expect_exit(faulted, VIOLATION, LINEAR | FINAL | 2 | 0x28, i, PAGE + i);
			assert_false(mem_read64(&f->cpu, i, &value)); /* fills the TLB */
		}
		assert_false(mem_write64(&f->cpu, sub * 128 + 120, 1));
		if (sub < 31)
			assert_true(mem_write64(&f->cpu, sub * 128 + 121, 1)); /* of two sub-pages */
	}
	*vector = 5; /* sub-pages 0 and 1 */
	assert_false(mem_write64(&f->cpu, 124, UINT64_C(0x1122334455667788)));
	assert_int_equal(load_le(guest(PAGE + 124), 8), UINT64_C(0x1122334455667788));
	assert_false(mem_write64(&f->cpu, 248, 1));
	assert_true(mem_write64(&f->cpu, 249, 1));
	/* reads and fetches never ask */
	*at(SPPL4) = 0;
	assert_false(access_at(0, ACCESS_READ));
	assert_false(access_at(0, ACCESS_EXEC));
}

static void sub_page_tables_can_be_wrong(void **state)
{
	static const pa_t entries[] = {SPPL4, SPPL3, SPPL2};
	uint64_t *vector = subpages_of(PAGE);

	*vector = 1;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t kept = *at(entries[i]);

		for (unsigned bit = 0; bit < 64; bit++) {
			if (bit >= 12 && bit < 40)
				continue;
			*at(entries[i]) = kept ^ BIT(bit);
			expect_exit(access_at(0x10, ACCESS_WRITE), SUBPAGE, bit ? 0 : MISS, 0x10, PAGE + 0x10);
		}
		*at(entries[i]) = kept;
		assert_false(access_at(0x10, ACCESS_WRITE));
	}
	for (unsigned bit = 1; bit < 64; bit += 2) {
		*vector = 1 | BIT(bit);
		expect_exit(access_at(0x10, ACCESS_WRITE), SUBPAGE, 0, 0x10, PAGE + 0x10);
	}
}

/* Bit 61 counts for writes that the write bit of a 4-KByte page alone forbids. */
static void what_sub_pages_are_not_for(void **state)
{
	*subpages_of(PAGE) = ~UINT64_C(0) / 3;
	assert_false(access_at(0, ACCESS_WRITE));
	*at(EPD) &= ~(uint64_t)W; /* above */
	changed();
	assert_true(access_at(0, ACCESS_WRITE));
	*at(EPD) |= W;
	f->cpu.ept_controls = EPT_EXECUTE_ONLY; /* the control */
	changed();
	assert_true(access_at(0, ACCESS_WRITE));
	f->cpu.ept_controls = EPT_SUBPAGE | EPT_EXECUTE_ONLY;
	*ept_pte(PAGE) &= ~SPP; /* the bit */
	changed();
	assert_true(access_at(0, ACCESS_WRITE));
	*ept_pte(PAGE) |= SPP;
	*ept_pte(PAGE) &= ~(uint64_t)R; /* a read that is not allowed, together with the write */
	changed();
	assert_true(mem_rmw_begin(&f->cpu, &(struct mem_rmw){0}, 0, 1, &(uint64_t){0}));
	expect_exit(true, VIOLATION, LINEAR | FINAL | 3 | 0x20, 0, PAGE);
	/* guest paging structures */
	*ept_pte(PAGE) |= R | W;
	*subpages_of(PT) = ~UINT64_C(0) / 3;
	*guest(PT) = PAGE | P | RW;
	expect_exit(access_at(0, ACCESS_READ), VIOLATION, LINEAR | 3 | 0x28, 0, PT);
}

static void sub_page_writes_are_dirty_and_logged(void **state)
{
	*subpages_of(PAGE) = 1;
	f->cpu.eptp = EPTP_AD;
	changed();
	assert_false(access_at(0, ACCESS_READ));
	f->cpu.ept_controls |= EPT_PML;
	f->cpu.pml_address = LOG;
	f->cpu.pml_index = 5;
	changed();
	assert_int_equal(*ept_pte(PAGE) & ED, 0);
	assert_false(access_at(8, ACCESS_WRITE));
	assert_int_equal(*ept_pte(PAGE) & ED, ED);
	assert_int_equal(*at(LOG + 8 * 5), PAGE);
	assert_true(access_at(128, ACCESS_WRITE)); /* the TLB does not let it through */
}

#define VERIFY	   BIT(57)
#define PAGING	   BIT(58)
#define UNVERIFIED 0x8000u

/* Guest paging structures on a page that is not writable: A and D bits, and all accesses when EPT has such flags. */
static void paging_write_control(void **state)
{
	for (unsigned flags = 0; flags < 2; flags++)
		for (unsigned control = 0; control < 2; control++)
			for (unsigned bit = 0; bit < 2; bit++)
				for (unsigned above = 0; above < 2; above++) {
					bool allowed = control && bit && above, faulted;

					f->cpu.eptp = flags ? EPTP_AD : EPTP;
					f->cpu.ept_controls = EPT_EXECUTE_ONLY | (control ? EPT_PAGING_WRITE : 0);
					*ept_pte(PT) = (HOST + PT) | WB | R | X | (bit ? PAGING : 0);
					*at(EPD + 8) = EPT | R | X | (above ? W : 0);
					*guest(PD) = (PT + 0x200000) | P | RW | US;
					*guest(PT) = PAGE | P | RW;
					changed();
					faulted = access_at(0, ACCESS_READ);
					if (allowed)
						assert_false(faulted);
					else
						expect_exit(faulted, VIOLATION, LINEAR | 3 | 0x28, 0, PT + 0x200000);
					assert_int_equal((*guest(PT) & A) != 0, allowed);
					assert_int_equal((*ept_pte(PT) & ED) != 0, allowed && flags);
				}
	/* other writes there are not allowed */
	*guest(PT) = PT | P | RW;
	*guest(PD) = PT | P | RW | US;
	f->cpu.eptp = EPTP;
	changed();
	expect_exit(access_at(0, ACCESS_WRITE), VIOLATION, LINEAR | FINAL | 2 | 0x28, 0, PT);
	/* bit 58 without bit 0, in an entry that maps a page */
	*ept_pte(PAGE) = (HOST + PAGE) | WB | X | PAGING;
	*guest(PT) = PAGE | P | RW | A;
	changed();
	expect_exit(access_at(0, ACCESS_EXEC), MISCONFIG, 0, 0, PAGE);
	f->cpu.ept_controls = EPT_EXECUTE_ONLY;
	*ept_pte(PT) |= W;
	changed();
	assert_false(access_at(0, ACCESS_EXEC));
}

static void guest_paging_verification(void **state)
{
	static const pa_t tables[] = {PML4, PDPT, PD, PT};
	static const unsigned controls[] = {0, EPT_PAGING_WRITE, EPT_VERIFY_PAGING,
					    EPT_PAGING_WRITE | EPT_VERIFY_PAGING};
	static const unsigned accesses[] = {ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC};

	for (unsigned c = 0; c < 4; c++)
		for (unsigned bits = 0; bits < 32; bits++)
			for (unsigned i = 0; i < 3; i++) {
				f->cpu.ept_controls = controls[c];
				for (unsigned k = 0; k < 4; k++)
					*ept_pte(tables[k]) =
						(HOST + tables[k]) | WB | R | W | (bits & 1u << k ? PAGING : 0);
				*ept_pte(PAGE) = (HOST + PAGE) | WB | R | W | X | (bits & 16 ? VERIFY : 0);
				changed();
				if (c == 3 && (bits & 16) && bits != 31)
					expect_exit(access_at(0, accesses[i]), VIOLATION,
						    LINEAR | FINAL | kind_of(accesses[i]) | 0x38 | UNVERIFIED, 0, PAGE);
				else
					assert_false(access_at(0, accesses[i]));
			}
	/* no paging, no structures */
	f->cpu.cr0 &= ~CR0_PG;
	f->cpu.efer = 0;
	*ept_pte(PAGE) |= VERIFY;
	changed();
	assert_false(access_at(PAGE, ACCESS_READ));
}

#define HPML4	 0x30000 /* guest-physical */
#define HPDPT	 0x31000
#define HPD	 0x32000
#define HPT	 0x33000
#define HPAGE	 0x34000
#define RESTART	 0x800u
#define HALF	 UINT64_C(0xffff800000000000)

/* Both roots map linear address 0 and the first of the upper half: by CR3 to PAGE, by HLATP to HPAGE. */
static void start_hlat(uint16_t prefix)
{
	*guest(PML4 + 0x800) = PDPT | P | RW | US;
	*guest(HPML4) = *guest(HPML4 + 0x800) = HPDPT | P | RW | US;
	*guest(HPDPT) = HPD | P | RW | US;
	*guest(HPD) = HPT | P | RW | US;
	*guest(HPT) = HPAGE | P | RW | US;
	f->cpu.hlatp = HPML4 | 0x18;
	f->cpu.hlat_prefix_size = prefix;
	f->cpu.ept_controls = EPT_HLAT;
	f->ram[HOST + PAGE] = 1;
	f->ram[HOST + HPAGE] = 2;
	changed();
}

static unsigned read_at(la_t la)
{
	uint8_t value = 0;

	assert_false(mem_read8(&f->cpu, la, &value));
	return value;
}

static void hlat_paging_begins_at_its_own_root(void **state)
{
	start_hlat(0);
	assert_int_equal(read_at(0), 2);
	assert_int_equal(read_at(HALF), 2);
	start_hlat(1);
	assert_int_equal(read_at(0), 1);
	assert_int_equal(read_at(HALF), 2);
	f->cpu.ept_controls = 0; /* the control */
	changed();
	assert_int_equal(read_at(HALF), 1);
	/* neither PAE paging nor none */
	start_hlat(0);
	f->cpu.efer = 0;
	f->cpu.seg[CS].ar = AR_DB | AR_P | AR_S | AR_CODE;
	f->cpu.pdpte[0] = PD | P;
	changed();
	assert_int_equal(read_at(0), 1);
	f->cpu.cr0 &= ~CR0_PG;
	changed();
	assert_int_equal(read_at(HPAGE), 2);
}

static void hlat_paging_restarts(void **state)
{
	static const pa_t entries[] = {HPML4, HPDPT, HPD, HPT};

	for (unsigned i = 0; i < 4; i++) {
		start_hlat(0);
		*guest(entries[i]) |= RESTART;
		*guest(HPML4) &= ~(uint64_t)(RW | US); /* rights of HLAT entries do not count then */
		*guest(PML4) &= ~(uint64_t)A;
		f->cpu.cpl = 3;
		changed();
		assert_false(access_at(0, ACCESS_WRITE));
		assert_int_equal(read_at(0), 1);
		assert_int_equal(*guest(PML4) & A, A);
		assert_int_equal(*guest(HPML4) & A, 0);
		/* an entry that is not present says nothing */
		*guest(entries[i]) = RESTART;
		changed();
		expect_pf(access_at(0, ACCESS_READ), PF_U | PF_HLAT);
		f->cpu.cpl = 0;
	}
	/* in ordinary paging the bit is ignored */
	start_hlat(1);
	*guest(PT) |= RESTART;
	changed();
	assert_int_equal(read_at(0), 1);
	/* a large page that a restart led to is cached as no larger than what restarted: INVLPG elsewhere leaves it */
	start_hlat(0);
	*guest(HPT) |= RESTART;
	*guest(HPT + 8) = HPAGE | P;
	*guest(PD) = P | RW | US | PS;
	f->ram[HOST] = 1;
	changed();
	assert_int_equal(read_at(0), 1);
	f->ram[HOST + PAGE] = 3;
	*guest(PD) = PT | P | RW | US;
	*guest(PT) = PAGE | P | RW | US;
	mem_flush_page(&f->cpu, 0x1000);
	assert_int_equal(read_at(0), 1);
	mem_flush_page(&f->cpu, 0);
	assert_int_equal(read_at(0), 3);
}

static void hlat_faults_say_so(void **state)
{
	static const pa_t entries[] = {HPML4, HPDPT, HPD, HPT};

	for (unsigned i = 0; i < 4; i++) {
		start_hlat(0);
		*guest(entries[i]) &= ~(uint64_t)P;
		changed();
		expect_pf(access_at(0, ACCESS_READ), PF_HLAT);
		*guest(entries[i]) |= P | BIT(45);
		changed();
		expect_pf(access_at(0, ACCESS_WRITE), PF_P | PF_W | PF_RSVD | PF_HLAT);
	}
	start_hlat(0);
	*guest(HPT) &= ~(uint64_t)RW; /* access rights are no fault of HLAT's */
	changed();
	expect_pf(access_at(0, ACCESS_WRITE), PF_P | PF_W);
	*guest(HPT) |= RESTART;
	*guest(PT) = 0; /* after a restart */
	changed();
	expect_pf(access_at(0, ACCESS_READ), 0);
}

static void paging_of_32_bits(void **state)
{
	uint8_t value;

	f->cpu.efer = 0;
	f->cpu.cr4 = CR4_PSE;
	f->cpu.seg[CS].ar = AR_DB | AR_P | AR_S | AR_CODE;
	*(uint32_t *)guest(PML4) = PT | P | RW;
	*(uint32_t *)guest(PT) = PAGE | P | RW;
	f->ram[HOST + PAGE + 3] = 9;
	changed();
	assert_false(mem_read8(&f->cpu, 3, &value));
	assert_int_equal(value, 9);
	*ept_pte(PT) = 0;
	changed();
	expect_exit(mem_read8(&f->cpu, 3, &value), VIOLATION, LINEAR | 1, 3, PT);
}

/* The APIC-access page is a physical one: behind EPT, and below its violations. */
static void apic_access_page(void **state)
{
	uint64_t pdpte[4], kept = *guest(PT);

	f->cpu.apic_access_page = HOST + PAGE;
	f->cpu.virtual_apic_page = 0x7000;
	f->cpu.vapic_controls = VAPIC_ACCESSES | VAPIC_TPR_SHADOW;
	f->cpu.eptp = EPTP_AD;
	changed();
	*at(0x7080) = 0x50;
	*ept_pte(PAGE) &= ~(uint64_t)W;
	expect_exit(access_at(0x30, ACCESS_WRITE), VIOLATION, LINEAR | FINAL | 2 | (R | X) << 3, 0x30, PAGE + 0x30);
	*ept_pte(PAGE) |= W;
	assert_false(*guest(PT) & D);
	expect_exit(access_at(0x30, ACCESS_WRITE), APIC_ACCESS, 1 << 12 | 0x30, 0, 0);
	assert_true(*guest(PT) & D); /* the flags come before the exit */
	assert_true(*ept_pte(PAGE) & ED);
	expect_exit(access_at(0x30, ACCESS_READ), APIC_ACCESS, 0x30, 0, 0);
	expect_exit(access_at(0x30, ACCESS_EXEC), APIC_ACCESS, 2 << 12 | 0x30, 0, 0);
	assert_false(access_at(0x80, ACCESS_WRITE));
	assert_int_equal(*at(0x7080), 1);
	assert_int_equal(*guest(PAGE + 0x80), 0);
	f->cpu.vapic_write = 0;
	*guest(PT) = kept;

	/* guest paging structures there, and PDPTEs */
	f->cpu.apic_access_page = HOST + PT;
	changed();
	expect_exit(access_at(0x80, ACCESS_READ), APIC_ACCESS, 15 << 12, 0, 0);
	f->cpu.vapic_controls |= VAPIC_REGISTERS;
	expect_exit(access_at(0x80, ACCESS_READ), APIC_ACCESS, 15 << 12, 0, 0);
	expect_exit(mem_read_pdptes(&f->cpu, PT, pdpte), APIC_ACCESS, 15 << 12, 0, 0);
	assert_false(mem_read_pdptes(&f->cpu, 0x30000, pdpte));
	f->cpu.vapic_controls = 0;
	changed();
	assert_false(access_at(0x80, ACCESS_READ));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_combination_of_rights),
		T(guest_physical_mappings),
		T(known_pages_of_guest_tables),
		T(misconfigurations),
		T(violations_of_the_guests_walk),
		T(faults_of_the_guest_come_first),
		T(advanced_information),
		T(read_modify_write_is_both),
		T(addresses_and_page_sizes),
		T(four_levels_end_at_bit_48),
		T(entries_for_debuggers),
		T(pdptes_are_read_through_ept),
		T(accessed_and_dirty_flags),
		T(page_modification_log),
		T(tags_and_invalidation),
		T(guest_large_pages_and_invlpg),
		T(a_violation_invalidates_its_page),
		T(more_contexts_than_spaces),
		T(control_registers_changed_by_an_entry_count),
		T(convertible_violations),
		T(sub_page_write_permissions),
		T(sub_page_tables_can_be_wrong),
		T(what_sub_pages_are_not_for),
		T(sub_page_writes_are_dirty_and_logged),
		T(paging_write_control),
		T(guest_paging_verification),
		T(hlat_paging_begins_at_its_own_root),
		T(hlat_paging_restarts),
		T(hlat_faults_say_so),
		T(paging_of_32_bits),
		T(apic_access_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
