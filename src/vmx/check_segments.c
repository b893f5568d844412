/*
 * VM entry: may these segment registers be loaded?
 *
 * SDM vol. 3, "Checks on Guest Segment Registers", in the manual's order: selectors, bases, limits, access rights.
 * Virtual-8086 mode has rules of its own for limits and access rights; an unusable segment has fewer. Changes nothing;
 * entry and the VMCS checker share it.
 */
#include "vmx/rule.h"

#define DATA_NOT_STACK(ROW) ROW(DS) ROW(ES) ROW(FS) ROW(GS)
#define CODE_AND_DATA(ROW)  ROW(CS) ROW(SS) DATA_NOT_STACK(ROW)

/* Nearly every rule asks these, so they are short. V86: the guest will be in virtual-8086 mode. CS and TR have to be
 * usable. */
#define V86	     (get(c, GUEST_RFLAGS) & RFLAGS_VM)
#define AR(S)	     get(c, GUEST_##S##_AR)
#define USABLE(S)    (!(AR(S) & AR_UNUSABLE))
#define TYPE(S)	     (AR(S) & AR_TYPE)
#define DPL(S)	     bits_get(AR(S), 6, 5)
#define RPL(S)	     (get(c, GUEST_##S##_SELECTOR) & 3)
#define LIMIT(S)     get(c, GUEST_##S##_LIMIT)
#define BASE(S)	     get(c, GUEST_##S##_BASE)
#define AR_RESERVED  (BITS(11, 8) | BITS(31, 17))
#define UNRESTRICTED PROC2(c, UNRESTRICTED_GUEST)

/* Does the rule on access rights apply? CS is looked at even if it says it is unusable. */
#define APPLIES_CS   (!V86)
#define APPLIES_SS   (!V86 && USABLE(SS))
#define APPLIES_DS   (!V86 && USABLE(DS))
#define APPLIES_ES   (!V86 && USABLE(ES))
#define APPLIES_FS   (!V86 && USABLE(FS))
#define APPLIES_GS   (!V86 && USABLE(GS))
#define APPLIES_TR   true
#define APPLIES_LDTR USABLE(LDTR)

static void check_bases(struct check *c)
{
	rule(c, GUEST_TR_SELECTOR_TI, !(get(c, GUEST_TR_SELECTOR) & BIT(2)));
	rule(c, GUEST_LDTR_SELECTOR_TI, !USABLE(LDTR) || !(get(c, GUEST_LDTR_SELECTOR) & BIT(2)));
	/* Even if SS is unusable. */
	rule(c, GUEST_SS_SELECTOR_RPL, V86 || UNRESTRICTED || RPL(SS) == RPL(CS));
#define ROW(S) rule(c, GUEST_##S##_V86_BASE, !V86 || BASE(S) == get(c, GUEST_##S##_SELECTOR) << 4);
	CODE_AND_DATA(ROW)
#undef ROW
	rule(c, GUEST_TR_BASE_CANONICAL, check_canonical(c, BASE(TR)));
	rule(c, GUEST_FS_BASE_CANONICAL, check_canonical(c, BASE(FS)));
	rule(c, GUEST_GS_BASE_CANONICAL, check_canonical(c, BASE(GS)));
	rule(c, GUEST_LDTR_BASE_CANONICAL, !USABLE(LDTR) || check_canonical(c, BASE(LDTR)));
	rule(c, GUEST_CS_BASE_HIGH, !(BASE(CS) >> 32));
	rule(c, GUEST_SS_BASE_HIGH, !USABLE(SS) || !(BASE(SS) >> 32));
	rule(c, GUEST_DS_BASE_HIGH, !USABLE(DS) || !(BASE(DS) >> 32));
	rule(c, GUEST_ES_BASE_HIGH, !USABLE(ES) || !(BASE(ES) >> 32));
}

static void check_v86(struct check *c)
{
#define ROW(S) rule(c, GUEST_##S##_V86_LIMIT, !V86 || LIMIT(S) == 0xffff);
	CODE_AND_DATA(ROW)
#undef ROW
#define ROW(S) rule(c, GUEST_##S##_V86_AR, !V86 || AR(S) == 0xf3);
	CODE_AND_DATA(ROW)
#undef ROW
}

static bool accessed_code(uint64_t type)
{
	return (type & (AR_CODE | AR_ACCESSED)) == (AR_CODE | AR_ACCESSED);
}

static void check_types(struct check *c)
{
	rule(c, GUEST_CS_AR_TYPE, V86 || UNRESTRICTED || accessed_code(TYPE(CS)));
	/* Type 3, data, is what real mode has. */
	rule(c, GUEST_CS_AR_TYPE_UG, V86 || !UNRESTRICTED || TYPE(CS) == 3 || accessed_code(TYPE(CS)));
	rule(c, GUEST_SS_AR_TYPE, !APPLIES_SS || TYPE(SS) == 3 || TYPE(SS) == 7);
#define ROW(S)                                                                        \
	rule(c, GUEST_##S##_AR_TYPE_ACCESSED, !APPLIES_##S || (AR(S) & AR_ACCESSED)); \
	rule(c, GUEST_##S##_AR_TYPE_READABLE, !APPLIES_##S || !(AR(S) & AR_CODE) || (AR(S) & AR_WRITABLE));
	DATA_NOT_STACK(ROW)
#undef ROW
#define ROW(S) rule(c, GUEST_##S##_AR_S, !APPLIES_##S || (AR(S) & AR_S));
	CODE_AND_DATA(ROW)
#undef ROW
}

static void check_privilege(struct check *c)
{
	rule(c, GUEST_CS_AR_DPL_TYPE3, V86 || TYPE(CS) != 3 || DPL(CS) == 0);
	/* SS DPL counts even if SS is unusable: it is the CPL. */
	rule(c, GUEST_CS_AR_DPL_NONCONFORMING, V86 || (TYPE(CS) != 9 && TYPE(CS) != 11) || DPL(CS) == DPL(SS));
	rule(c, GUEST_CS_AR_DPL_CONFORMING, V86 || (TYPE(CS) != 13 && TYPE(CS) != 15) || DPL(CS) <= DPL(SS));
	rule(c, GUEST_SS_AR_DPL_RPL, V86 || UNRESTRICTED || DPL(SS) == RPL(SS));
	rule(c, GUEST_SS_AR_DPL_REAL, V86 || (TYPE(CS) != 3 && (get(c, GUEST_CR0) & CR0_PE)) || DPL(SS) == 0);
	/* Conforming code, types 12 to 15, has no lower bound. */
#define ROW(S) rule(c, GUEST_##S##_AR_DPL, !APPLIES_##S || UNRESTRICTED || TYPE(S) > 11 || DPL(S) >= RPL(S));
	DATA_NOT_STACK(ROW)
#undef ROW
}

/* What the limit says about G: bits 11:0 of it are all 1 when it counts pages, bits 31:20 are 0 when it counts bytes.
 */
#define GRANULARITY(S)                                                                                             \
	rule(c, GUEST_##S##_AR_G_LOW, !APPLIES_##S || (LIMIT(S) & BITS(11, 0)) == BITS(11, 0) || !(AR(S) & AR_G)); \
	rule(c, GUEST_##S##_AR_G_HIGH, !APPLIES_##S || !(LIMIT(S) & BITS(31, 20)) || (AR(S) & AR_G));

static void check_rest(struct check *c)
{
#define ROW(S) rule(c, GUEST_##S##_AR_P, !APPLIES_##S || (AR(S) & AR_P));
	CODE_AND_DATA(ROW)
#undef ROW
#define ROW(S) rule(c, GUEST_##S##_AR_RESERVED, !APPLIES_##S || !(AR(S) & AR_RESERVED));
	CODE_AND_DATA(ROW)
#undef ROW
	rule(c, GUEST_CS_AR_DB_L, V86 || !ON_ENTRY(c, IA32E_MODE_GUEST) || !(AR(CS) & AR_L) || !(AR(CS) & AR_DB));
	CODE_AND_DATA(GRANULARITY)
}

#define SYSTEM(S)                                                                 \
	rule(c, GUEST_##S##_AR_S, !APPLIES_##S || !(AR(S) & AR_S));               \
	rule(c, GUEST_##S##_AR_P, !APPLIES_##S || (AR(S) & AR_P));                \
	rule(c, GUEST_##S##_AR_RESERVED, !APPLIES_##S || !(AR(S) & AR_RESERVED)); \
	GRANULARITY(S)

static void check_system_segments(struct check *c)
{
	rule(c, GUEST_TR_AR_TYPE, ON_ENTRY(c, IA32E_MODE_GUEST) || TYPE(TR) == 3 || TYPE(TR) == 11);
	rule(c, GUEST_TR_AR_TYPE_IA32E, !ON_ENTRY(c, IA32E_MODE_GUEST) || TYPE(TR) == 11);
	SYSTEM(TR)
	rule(c, GUEST_TR_AR_USABLE, USABLE(TR));
	rule(c, GUEST_LDTR_AR_TYPE, !USABLE(LDTR) || TYPE(LDTR) == 2);
	SYSTEM(LDTR)
}

void check_guest_segments(struct check *c)
{
	check_bases(c);
	check_v86(c);
	check_types(c);
	check_privilege(c);
	check_rest(c);
	check_system_segments(c);
}
