/*
 * Memory operands: SDM vol. 3, "Limit Checking", "Type Checking", "Paging". The processor checks most before a VM exit; not
 * those of INS and OUTS, nor the second one of MOVS.
 */
#include "guest/access.h"

#include "cpu/x86.h"
#include "guest/walk.h"
#include "vmx/mode.h"
#include "vmx/vcpu.h"

enum { AR_DPL_SHIFT = 5, AR_DB = 1 << 14, AR_UNUSABLE = 1 << 16 };
enum { TYPE_WRITABLE = 1 << 1 /* of data */, TYPE_READABLE = 1 << 1 /* of code */ };
enum { TYPE_EXPAND_DOWN = 1 << 2, TYPE_CODE = 1 << 3 };
enum { VECTOR_SS = 12, VECTOR_GP = 13 };

/* SDM vol. 3, "Limit Checking", "Type Checking". In 64-bit mode: canonical. */
static bool segment_allows(const struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, bool write)
{
	uint64_t rights = vmread(VMCS_GUEST_ES_AR + 2 * segment), limit = vmread(VMCS_GUEST_ES_LIMIT + 2 * segment);
	uint64_t last = offset + size - 1, highest = rights & AR_DB ? BITS(31, 0) : BITS(15, 0);

	if (rights & AR_UNUSABLE)
		return false;
	if ((rights & TYPE_CODE) && (vmread(VMCS_GUEST_CR0) & CR0_PE) ? write || !(rights & TYPE_READABLE)
								      : write && !(rights & TYPE_WRITABLE))
		return false;
	if (!(rights & TYPE_CODE) && (rights & TYPE_EXPAND_DOWN))
		return offset > limit && last <= highest;
	return last <= limit;
}

static bool is_canonical(uint64_t la) { return (uint64_t)((int64_t)(la << 16) >> 16) == la; }

/* Linear address of the memory operand. False: an exception was raised. */
static bool linear_address(struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, bool write, gva_t *la)
{
	bool wide = vcpu_in_64bit_mode(), allowed;

	*la = offset + (!wide || segment >= FS ? vmread(VMCS_GUEST_ES_BASE + 2 * segment) : 0);
	if (!wide)
		*la = (uint32_t)*la;
	allowed = wide ? is_canonical(*la) && is_canonical(*la + size - 1) : segment_allows(vcpu, segment, offset, size, write);
	if (!allowed)
		vcpu_raise(vcpu, segment == SS ? VECTOR_SS : VECTOR_GP, true, 0);
	return allowed;
}

bool vcpu_access(struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, bool write, gpa_t *gpas)
{
	bool user = (vmread(VMCS_GUEST_SS_AR) >> AR_DPL_SHIFT & 3) == 3;
	unsigned access = WALK_MARK | (write ? WALK_WRITE : 0) | (user ? WALK_USER : 0);
	uint32_t error;
	gva_t la;

	if (!linear_address(vcpu, segment, offset, size, write, &la))
		return false;
	for (unsigned i = 0; i < size; i++) {
		if (!vcpu_walk(vcpu, la + i, access, &gpas[i], &error)) {
			vcpu_raise_pf(vcpu, la + i, error);
			return false;
		}
	}
	return true;
}
