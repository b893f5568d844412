/* Register numbers and the bits of control registers, RFLAGS, access rights: SDM vol. 1 and 3. */
#pragma once

#include "base/bits.h"

enum {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15,
	R_ZERO,	 /* reads as 0: an absent base or index */
	R_BLOCK, /* RIP of the first instruction of the running block: base of RIP-relative operands, which carry the
		    rest in disp */
	R_REACH, /* reads as REACH: the index of a RIP-relative operand whose displacement is too near 2^31 for that */
	R_COUNT
};

#define REACH 0x2000 /* more than a block is long */

enum segment_number { ES, CS, SS, DS, FS, GS, SEG_COUNT, LDTR = SEG_COUNT, TR, SEG_ALL };

#define RFLAGS_CF    BIT(0)
#define RFLAGS_1     BIT(1)
#define RFLAGS_PF    BIT(2)
#define RFLAGS_AF    BIT(4)
#define RFLAGS_ZF    BIT(6)
#define RFLAGS_SF    BIT(7)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_DF    BIT(10)
#define RFLAGS_OF    BIT(11)
#define RFLAGS_IOPL  BITS(13, 12)
#define RFLAGS_NT    BIT(14)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_VM    BIT(17)
#define RFLAGS_AC    BIT(18)
#define RFLAGS_VIF   BIT(19)
#define RFLAGS_VIP   BIT(20)
#define RFLAGS_ID    BIT(21)
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR3_PCID    BITS(11, 0)
#define CR3_NOFLUSH BIT(63)

#define CR4_VME	       BIT(0)
#define CR4_PVI	       BIT(1)
#define CR4_TSD	       BIT(2)
#define CR4_DE	       BIT(3)
#define CR4_PSE	       BIT(4)
#define CR4_PAE	       BIT(5)
#define CR4_MCE	       BIT(6)
#define CR4_PGE	       BIT(7)
#define CR4_PCE	       BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE	       BIT(22)
#define CR4_CET	       BIT(23)
#define CR4_PKS	       BIT(24)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* Access rights, in the layout of the VMCS: SDM vol. 3, "Guest Register State". */
#define AR_TYPE	    BITS(3, 0)
#define AR_ACCESSED BIT(0)
#define AR_WRITABLE BIT(1) /* data; readable for code */
#define AR_DOWN	    BIT(2) /* data: expand-down; code: conforming */
#define AR_CODE	    BIT(3)
#define AR_S	    BIT(4)
#define AR_DPL	    BITS(6, 5)
#define AR_P	    BIT(7)
#define AR_AVL	    BIT(12)
#define AR_L	    BIT(13)
#define AR_DB	    BIT(14)
#define AR_G	    BIT(15)
#define AR_UNUSABLE BIT(16)

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_XM = 19,
	VECTOR_VE = 20,
	VECTOR_CP = 21,
};

/* IA32_DEBUGCTL: SDM vol. 3, "IA32_DEBUGCTL MSR". */
#define DEBUGCTL_LBR		       BIT(0)
#define DEBUGCTL_BTF		       BIT(1)
#define DEBUGCTL_TR		       BIT(6)
#define DEBUGCTL_FREEZE_PERFMON_ON_PMI BIT(12)

/* Page-fault error code: SDM vol. 3, "Page-Fault Exceptions". */
#define PF_P	BIT(0)
#define PF_W	BIT(1)
#define PF_U	BIT(2)
#define PF_RSVD BIT(3)
#define PF_I	BIT(4)
#define PF_PK	BIT(5)
#define PF_HLAT BIT(7)

#define DR6_FIXED (BITS(31, 16) | BITS(11, 4)) /* bits that read as 1, with RTM and bus-lock debugging absent */
#define DR6_BD	  BIT(13)
#define DR6_BS	  BIT(14)
#define DR6_BT	  BIT(15)
#define DR7_GD	  BIT(13)
#define DR7_1	  BIT(10)
