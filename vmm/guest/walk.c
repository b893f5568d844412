/*
 * A guest's own paging: SDM vol. 3, "Paging", in its 32-bit, PAE and 4-level modes. 5-level paging is not offered to guests.
 *
 * Not looked at: reserved bits, protection keys, and SMEP, since no instruction is fetched here that the processor has not
 * fetched before.
 */
#include "guest/walk.h"

#include "cpu/x86.h"
#include "vmx/mode.h"

enum { PRESENT = 1 << 0, WRITABLE = 1 << 1, USER = 1 << 2, ACCESSED = 1 << 5, DIRTY = 1 << 6, LARGE = 1 << 7 };
enum { RFLAGS_AC = 1 << 18 };
#define ADDRESS BITS(51, 12)

static bool is_allowed(const struct vcpu *vcpu, uint64_t rights, unsigned access)
{
	bool user = access & WALK_USER;

	if (user && !(rights & USER))
		return false;
	if (!user && (rights & USER) && (vcpu_cr4(vcpu) & CR4_SMAP) && !(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_AC))
		return false;
	return !(access & WALK_WRITE) || (rights & WRITABLE) || (!user && !(vcpu_cr0(vcpu) & CR0_WP));
}

/* Physical address that a leaf gives to la. page: its size. */
static gpa_t in_page(uint64_t entry, gva_t la, uint64_t page, bool wide)
{
	gpa_t base = entry & ADDRESS;

	if (!wide && page > PAGE) /* 4 MiB: bits 39:32 are the entry's bits 20:13 */
		base = (entry & BITS(31, 22)) | (entry & BITS(20, 13)) << 19;
	return (base & ~(page - 1)) | (la & (page - 1));
}

bool vcpu_walk(struct vcpu *vcpu, gva_t la, unsigned access, gpa_t *gpa, uint32_t *error)
{
	uint64_t cr3 = vcpu_cr3(vcpu), cr4 = vcpu_cr4(vcpu), rights = WRITABLE | USER;
	bool ia32e = vcpu_efer(vcpu) & EFER_LMA, wide = ia32e || (cr4 & CR4_PAE);
	unsigned level = ia32e ? 4 : 2, index_bits = wide ? 9 : 10, size = wide ? 8 : 4;
	gpa_t table = cr3 & ADDRESS;

	*error = access & (WALK_WRITE | WALK_USER);
	if (!(vcpu_cr0(vcpu) & CR0_PG)) {
		*gpa = la & BITS(31, 0);
		return true;
	}
	if (wide && !ia32e) {
		uint64_t pdpte = vmread(VMCS_GUEST_PDPTE0 + 2 * (la >> 30 & 3));

		if (!(pdpte & PRESENT))
			return false;
		table = pdpte & ADDRESS;
	}
	for (;; level--) {
		unsigned shift = 12 + index_bits * (level - 1);
		gpa_t at = table + (la >> shift & (BIT(index_bits) - 1)) * size;
		uint64_t entry = 0, marks = 0;
		bool leaf;

		if (!vm_read(vcpu->vm, at, &entry, size) || !(entry & PRESENT))
			return false;
		rights &= entry;
		leaf = level == 1 || ((entry & LARGE) && level < 4 && (wide || (cr4 & CR4_PSE)));
		if (leaf && !is_allowed(vcpu, rights, access)) {
			*error |= PRESENT;
			return false;
		}
		if (access & WALK_MARK)
			marks = ACCESSED | (leaf && (access & WALK_WRITE) ? DIRTY : 0);
		if (marks & ~entry) {
			entry |= marks;
			if (!vm_write(vcpu->vm, at, &entry, size))
				return false;
		}
		if (leaf) {
			*gpa = in_page(entry, la, BIT(shift), wide);
			return true;
		}
		table = entry & (wide ? ADDRESS : BITS(31, 12));
	}
}

/* Whatever the guest's SMAP says: this is no access of its. */
static bool translate(struct vcpu *vcpu, gva_t la, gpa_t *gpa)
{
	uint32_t error;

	return vcpu_walk(vcpu, la, 0, gpa, &error) || vcpu_walk(vcpu, la, WALK_USER, gpa, &error);
}

bool vcpu_read_linear(struct vcpu *vcpu, gva_t la, void *to, size_t size)
{
	uint8_t *bytes = to;

	while (size) {
		size_t piece = min_u64(size, PAGE - la % PAGE);
		gpa_t gpa;

		if (!translate(vcpu, la, &gpa) || !vm_read(vcpu->vm, gpa, bytes, piece))
			return false;
		la += piece;
		bytes += piece;
		size -= piece;
	}
	return true;
}
