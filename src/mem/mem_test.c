/*
 * Paging and the TLB, in every mode: rights, error codes, A and D bits, reserved bits, invalidation, split accesses,
 * code pages, watchpoints.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include "bus/bus.h"
#include "mem/access.h"
#include <cmocka.h>

#define P  1u
#define RW 2u
#define US 4u
#define A  0x20u
#define D  0x40u
#define PS 0x80u
#define G  0x100u
#define XD BIT(63)

#define RAM  (UINT64_C(16) << 20)
#define PML4 0x1000
#define PDPT 0x2000
#define PD   0x3000
#define PT   0x4000
#define PAGE 0x100000

struct fixture {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct bus *bus;
	uint8_t *ram;
	unsigned written; /* calls of code_ops.written */
	uint8_t code_pages[RAM / 4096];
};

static struct fixture *f;

static uint64_t *at(pa_t pa)
{
	return (uint64_t *)(f->ram + pa);
}

static void changed(void)
{
	mem_context_changed(&f->cpu);
	mem_flush_all(&f->cpu);
}

/* Long mode with one page at linear 0, pa PAGE, and everything allowed; more by each test. */
static int setup(void **state)
{
	struct error error;

	f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	memset(f, 0, sizeof(*f));
	f->model.physical_bits = 40;
	f->model.features[FEATURE_PDPE1GB / 64] |= BIT(FEATURE_PDPE1GB % 64);
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
	*at(PML4) = PDPT | P | RW | US;
	*at(PDPT) = PD | P | RW | US;
	*at(PD) = PT | P | RW | US;
	*at(PT) = PAGE | P | RW | US;
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

static void expect_fault(bool faulted, unsigned vector, uint32_t error, uint64_t address)
{
	assert_true(faulted);
	assert_int_equal(f->cpu.fault.vector, vector);
	assert_int_equal(f->cpu.fault.error, error);
	if (vector == VECTOR_PF)
		assert_int_equal(f->cpu.fault.address, address);
}

/* SDM vol. 3, "Determination of Access Rights", as sentences: may this access go through a page of these rights? */
static bool sdm_allows(bool user_mode, bool user_page, bool writable, bool xd, unsigned access, bool wp, bool smep,
		       bool smap, bool ac)
{
	if (user_mode && !user_page)
		return false;
	if (access == ACCESS_EXEC)
		return !xd && (user_mode || !user_page || !smep);
	if (!user_mode && user_page && smap && !ac)
		return false;
	if (access == ACCESS_WRITE)
		return writable || (!user_mode && !wp);
	return true;
}

static void rights_follow_every_combination(void **state)
{
	static const unsigned accesses[] = {ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC};

	for (unsigned bits = 0; bits < 512; bits++)
		for (unsigned i = 0; i < 3; i++) {
			bool us = bits & 1, rw = bits & 2, xd = bits & 4, user = bits & 8, wp = bits & 16,
			     smep = bits & 32, smap = bits & 64, ac = bits & 128, upper = bits & 256, allowed;
			uint64_t entry = (us ? US : 0) | (rw ? RW : 0) | (xd ? XD : 0);

			/* the rights come from the last entry, or from one above it */
			*at(PT) = PAGE | P | (upper ? RW | US : entry);
			*at(PD) = PT | P | (upper ? entry : RW | US);
			f->cpu.cr0 = CR0_PE | CR0_PG | (wp ? CR0_WP : 0);
			f->cpu.cr4 = CR4_PAE | (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0);
			f->cpu.rflags = ac ? RFLAGS_AC : 0;
			f->cpu.cpl = user ? 3 : 0;
			changed();
			allowed = sdm_allows(user, us, rw, xd, accesses[i], wp, smep, smap, ac);
			if (allowed) {
				assert_false(access_at(0x10, accesses[i]));
				assert_false(access_at(0x10, accesses[i])); /* and from the TLB */
			} else {
				expect_fault(access_at(0x10, accesses[i]), VECTOR_PF,
					     PF_P | (user ? PF_U : 0) | (accesses[i] == ACCESS_WRITE ? PF_W : 0) |
						     (accesses[i] == ACCESS_EXEC ? PF_I : 0),
					     0x10);
			}
			/* what one access brought into the TLB must not let another through */
			for (unsigned k = 0; k < 3; k++)
				assert_int_equal(access_at(0x20, accesses[k]),
						 !sdm_allows(user, us, rw, xd, accesses[k], wp, smep, smap, ac));
		}
}

static void a_and_d_bits(void **state)
{
	assert_false(access_at(0, ACCESS_READ));
	assert_int_equal(*at(PT) & (A | D), A);
	assert_int_equal(*at(PML4) & (A | D), A);
	assert_false(access_at(0, ACCESS_WRITE));
	assert_int_equal(*at(PT) & (A | D), A | D);
	assert_int_equal(*at(PD) & D, 0);
	*at(PT) = PAGE | P; /* a faulting write sets neither */
	changed();
	expect_fault(access_at(0, ACCESS_WRITE), VECTOR_PF, PF_P | PF_W, 0);
	assert_int_equal(*at(PT) & (A | D), 0);
}

static void protection_keys(void **state)
{
	f->cpu.cr4 |= CR4_PKE;
	*at(PT) = PAGE | P | RW | US | UINT64_C(5) << 59;
	f->cpu.fpu.pkru = 1 << 10; /* AD of key 5 */
	changed();
	expect_fault(access_at(0, ACCESS_READ), VECTOR_PF, PF_P | PF_PK, 0);
	assert_false(access_at(0, ACCESS_EXEC));
	f->cpu.fpu.pkru = 2 << 10; /* WD */
	changed();
	assert_false(access_at(0, ACCESS_READ));
	expect_fault(access_at(0, ACCESS_WRITE), VECTOR_PF, PF_P | PF_W | PF_PK, 0);
	f->cpu.cr0 &= ~CR0_WP;
	changed();
	assert_false(access_at(0, ACCESS_WRITE));
	/* The error code says what the key forbids, also where other rights forbid it, too; and nothing of fetches. */
	f->cpu.cr0 |= CR0_WP;
	f->cpu.efer |= EFER_NXE;
	*at(PT) = PAGE | P | US | UINT64_C(5) << 59 | XD;
	changed();
	expect_fault(access_at(0, ACCESS_WRITE), VECTOR_PF, PF_P | PF_W | PF_PK, 0);
	f->cpu.fpu.pkru = 1 << 10;
	changed();
	expect_fault(access_at(0, ACCESS_EXEC), VECTOR_PF, PF_P | PF_I, 0);
}

static void reserved_bits(void **state)
{
	static const struct {
		pa_t entry;
		uint64_t bits;
	} cases[] = {{PML4, PS},    {PML4, BIT(40)},	{PDPT, BIT(51)},     {PD, BIT(45)},
		     {PT, BIT(41)}, {PD, PS | BIT(13)}, {PDPT, PS | BIT(29)}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t kept = *at(cases[i].entry);

		*at(cases[i].entry) |= cases[i].bits;
		changed();
		expect_fault(access_at(0, ACCESS_READ), VECTOR_PF, PF_P | PF_RSVD, 0);
		*at(cases[i].entry) = kept;
	}
	*at(PT) |= XD;
	f->cpu.efer &= ~EFER_NXE; /* then bit 63 is reserved */
	changed();
	expect_fault(access_at(0, ACCESS_READ), VECTOR_PF, PF_P | PF_RSVD, 0);
}

static void large_pages_and_invlpg(void **state)
{
	uint8_t value;

	*at(PD) = 0x400000 | P | RW | US | PS;
	f->ram[0x400000] = 1;
	f->ram[0x5ff000] = 2;
	f->ram[0x600000] = 3;
	changed();
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_int_equal(value, 1);
	assert_false(mem_read8(&f->cpu, 0x1ff000, &value));
	assert_int_equal(value, 2);
	/* one INVLPG drops all of the page */
	*at(PD) = 0x600000 | P | RW | US | PS;
	mem_flush_page(&f->cpu, 0x1ff123);
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_int_equal(value, 3);
}

static void a_page_fault_invalidates_its_page(void **state)
{
	static const struct {
		uint64_t before, after; /* of the entry */
		unsigned access;
		bool large;
	} cases[] = {
		{PAGE | P | US, (PAGE + 0x1000) | P | RW | US, ACCESS_WRITE, false},
		{PAGE | P | RW | US | XD, (PAGE + 0x1000) | P | US, ACCESS_EXEC, false},
		{0x400000 | P | US | PS, 0x600000 | P | RW | US | PS, ACCESS_WRITE, true},
	};
	uint8_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (unsigned k = 0; k < 2; k++) { /* read at the same place, then elsewhere in the large page */
			uint64_t *entry = at(cases[i].large ? PD : PT);
			la_t la = k && cases[i].large ? 0x5000 : 0;

			*entry = cases[i].before;
			f->ram[PAGE] = f->ram[0x400000 + la] = 1;
			f->ram[PAGE + 0x1000] = f->ram[0x600000 + la] = 2;
			changed();
			assert_false(mem_read8(&f->cpu, la, &value));
			assert_int_equal(value, 1);
			assert_true(access_at(0, cases[i].access));
			*entry = cases[i].after;
			assert_false(mem_read8(&f->cpu, la, &value));
			assert_int_equal(value, 2);
			*at(PD) = PT | P | RW | US;
		}
}

static void global_pages_survive_mov_cr3(void **state)
{
	uint8_t value;

	*at(PT) |= G;
	*at(PT + 8) = (PAGE + 0x1000) | P | RW | US;
	f->ram[PAGE] = 1;
	f->ram[PAGE + 0x1000] = 2;
	changed();
	assert_false(mem_read8(&f->cpu, 0, &value));
	assert_false(mem_read8(&f->cpu, 0x1000, &value));
	*at(PT) = *at(PT + 8) = 0;
	mem_flush_pcid(&f->cpu, 0);
	assert_false(mem_read8(&f->cpu, 0, &value));
	expect_fault(mem_read8(&f->cpu, 0x1000, &value), VECTOR_PF, 0, 0x1000);
	mem_flush_page(&f->cpu, 0); /* INVLPG takes global ones too */
	expect_fault(mem_read8(&f->cpu, 0, &value), VECTOR_PF, 0, 0);
}

static void pcids_keep_their_translations(void **state)
{
	uint8_t value;

	f->cpu.cr4 |= CR4_PCIDE;
	f->ram[PAGE] = 7;
	f->cpu.cr3 = PML4 | 1;
	changed();
	assert_false(mem_read8(&f->cpu, 0, &value));
	*at(PT) = 0;
	f->cpu.cr3 = PML4 | 2;
	mem_context_changed(&f->cpu);
	expect_fault(mem_read8(&f->cpu, 0, &value), VECTOR_PF, 0, 0);
	f->cpu.cr3 = PML4 | 1;
	mem_context_changed(&f->cpu);
	assert_false(mem_read8(&f->cpu, 0, &value)); /* PCID 1 was not flushed */
	mem_flush_pcid(&f->cpu, 1);
	expect_fault(mem_read8(&f->cpu, 0, &value), VECTOR_PF, 0, 0);
}

static void pse36_and_32bit_paging(void **state)
{
	uint8_t value;

	f->cpu.efer = 0;
	f->cpu.cr4 = CR4_PSE;
	f->cpu.seg[CS].ar = AR_DB | AR_P | AR_S | AR_CODE;
	*(uint32_t *)at(PML4 + 4) = 0x800000 | P | RW | US | PS; /* 4 MiB at linear 4 MiB */
	f->ram[0x812345] = 9;
	changed();
	assert_false(mem_read8(&f->cpu, 0x412345, &value));
	assert_int_equal(value, 9);
	*(uint32_t *)at(PML4 + 4) |= 1u << 21;
	changed();
	expect_fault(mem_read8(&f->cpu, 0x412345, &value), VECTOR_PF, PF_P | PF_RSVD, 0x412345);
	/* bit 13 is physical address bit 32: outside RAM, so all ones are read */
	*(uint32_t *)at(PML4 + 4) = 0x800000 | P | RW | US | PS | 1u << 13;
	changed();
	assert_false(mem_read8(&f->cpu, 0x412345, &value));
	assert_int_equal(value, 0xff);
}

static void pdptes_are_registers(void **state)
{
	uint64_t pdpte[4] = {1, 2, 3, 4};

	*at(0x5000) = PD | P;
	*at(0x5008) = PD | P | RW; /* bits 1 and 2 are reserved here */
	assert_true(mem_read_pdptes(&f->cpu, 0x5000, pdpte));
	assert_int_equal(pdpte[0], 1);
	*at(0x5008) = 0x1e6; /* not present: anything goes */
	assert_false(mem_read_pdptes(&f->cpu, 0x5000, pdpte));
	assert_int_equal(pdpte[0], PD | P);
}

static void split_accesses_are_whole(void **state)
{
	uint64_t value;

	*at(PT + 8) = (PAGE + 0x5000) | P | RW | US;
	changed();
	assert_false(mem_write64(&f->cpu, 0xffd, UINT64_C(0x8877665544332211)));
	assert_int_equal(f->ram[PAGE + 0xffd], 0x11);
	assert_int_equal(f->ram[PAGE + 0x5000], 0x44);
	assert_false(mem_read64(&f->cpu, 0xffd, &value));
	assert_int_equal(value, UINT64_C(0x8877665544332211));
	/* the second page refuses: nothing is written, CR2 is where it begins */
	*at(PT + 8) = 0;
	mem_flush_page(&f->cpu, 0x1000);
	expect_fault(mem_write64(&f->cpu, 0xffd, 0), VECTOR_PF, PF_W, 0x1000);
	assert_int_equal(f->ram[PAGE + 0xffd], 0x11);
}

static void non_canonical_is_gp_or_ss(void **state)
{
	uint8_t value;

	expect_fault(mem_read8(&f->cpu, UINT64_C(0x800000000000), &value), VECTOR_GP, 0, 0);
	expect_fault(
		mem_read_slow(&f->cpu, UINT64_C(0x7fffffffffff) + 5, 8, (uint64_t[1]){0}, ACCESS_READ | ACCESS_STACK),
		VECTOR_SS, 0, 0);
}

static void alignment_checks(void **state)
{
	uint32_t value;

	f->cpu.cr0 |= CR0_AM;
	f->cpu.rflags = RFLAGS_AC;
	f->cpu.cpl = 3;
	changed();
	assert_false(mem_read32(&f->cpu, 4, &value));
	expect_fault(mem_read32(&f->cpu, 5, &value), VECTOR_AC, 0, 0);
	assert_false(mem_read_bytes(&f->cpu, 5, &value, 4, ACCESS_SYSTEM));
	f->cpu.cpl = 0;
	changed();
	assert_false(mem_read32(&f->cpu, 5, &value));
}

static void a20m_clears_bit_20(void **state)
{
	uint8_t value;

	f->cpu.cr0 = CR0_PE;
	changed();
	f->ram[0x234] = 1;
	f->ram[0x100234] = 2;
	assert_false(mem_read8(&f->cpu, 0x100234, &value));
	assert_int_equal(value, 2);
	mem_set_a20m(&f->cpu, true);
	assert_false(mem_read8(&f->cpu, 0x100234, &value));
	assert_int_equal(value, 1);
	assert_false(mem_read8(&f->cpu, 0x300234, &value)); /* is 200234H */
	assert_int_equal(value, 0);
	mem_block_a20m(&f->cpu, true);
	assert_false(mem_read8(&f->cpu, 0x100234, &value));
	assert_int_equal(value, 2);
	mem_block_a20m(&f->cpu, false);
	assert_false(mem_read8(&f->cpu, 0x100234, &value));
	assert_int_equal(value, 1);
	mem_set_a20m(&f->cpu, false);
	assert_false(mem_read8(&f->cpu, 0x100234, &value));
	assert_int_equal(value, 2);
}

static void note_write(void *ctx, struct cpu *writer, const uint8_t *host, size_t size)
{
	f->written++;
	assert_ptr_equal(host, f->ram + PAGE + 8);
}

static void writes_to_code_pages_are_told(void **state)
{
	uint8_t value;

	mem_connect_code(&f->cpu, &(struct code_ops){.written = note_write, .code_pages = f->code_pages});
	assert_false(mem_write8(&f->cpu, 8, 1));
	assert_int_equal(f->written, 0);
	f->code_pages[PAGE / 4096] = 1;
	mem_code_page_flagged(&f->cpu, f->ram + PAGE);
	assert_false(mem_write8(&f->cpu, 8, 2));
	assert_false(mem_read8(&f->cpu, 8, &value));
	assert_false(mem_write8(&f->cpu, 8, 3)); /* still told after a read filled the TLB */
	assert_int_equal(f->written, 2);
	assert_int_equal(f->ram[PAGE + 8], 3);
}

static void data_breakpoints_hit_by_overlap(void **state)
{
	uint8_t value;

	f->cpu.dr[1] = 0x100;
	f->cpu.dr7 = DR7_1 | 1 << 2 | 1 << 20 | 3u << 22; /* L1, write, 4 bytes */
	changed();
	assert_false(mem_read8(&f->cpu, 0x102, &value));
	assert_int_equal(f->cpu.pending_debug, 0);
	assert_false(mem_write8(&f->cpu, 0x104, 0));
	assert_int_equal(f->cpu.pending_debug, 0);
	assert_false(mem_write16(&f->cpu, 0xff, 0));
	assert_int_equal(f->cpu.pending_debug, 2);
	assert_true(f->cpu.attention & ATTEND_TRAP);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(rights_follow_every_combination),
		T(a_and_d_bits),
		T(protection_keys),
		T(reserved_bits),
		T(large_pages_and_invlpg),
		T(a_page_fault_invalidates_its_page),
		T(global_pages_survive_mov_cr3),
		T(pcids_keep_their_translations),
		T(pse36_and_32bit_paging),
		T(pdptes_are_registers),
		T(split_accesses_are_whole),
		T(non_canonical_is_gp_or_ss),
		T(alignment_checks),
		T(writes_to_code_pages_are_told),
		T(data_breakpoints_hit_by_overlap),
		T(a20m_clears_bit_20),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
