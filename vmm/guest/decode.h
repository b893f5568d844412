/*
 * Instructions that move data between a register and memory which is a device: those that systems use for that. SDM vol. 2,
 * "Instruction Format", "Opcode Map".
 */
#ifndef VMM_GUEST_DECODE_H
#define VMM_GUEST_DECODE_H

#include "lib/types.h"

enum { INSTRUCTION_MAX = 15 /* bytes */ };

/* The first eight in the order of opcode bits 5:3 and of ModRM.reg in group 1. */
enum mmio_operation {
	MMIO_ADD, MMIO_OR, MMIO_ADC, MMIO_SBB, MMIO_AND, MMIO_SUB, MMIO_XOR, MMIO_CMP, MMIO_TEST,
	MMIO_LOAD,	  /* register = memory, extended with zeros to register_size */
	MMIO_LOAD_SIGNED, /* the same with the sign */
	MMIO_STORE,	  /* memory = register or immediate */
	MMIO_EXCHANGE,
	MMIO_STOS, /* memory = RAX, RDI moves on; with repeat: RCX times */
	MMIO_MOVS  /* memory at ES:RDI = memory at segment:RSI, either of them may be the device; both move on */
};

struct mmio_instruction {
	enum mmio_operation operation;
	unsigned length;	/* bytes of the instruction */
	unsigned size;		/* bytes of memory: 1, 2, 4, 8 */
	unsigned register_size; /* of the register operand */
	unsigned reg;
	bool high_byte;		/* the register is AH, CH, DH, BH, and reg is 0 to 3 */
	bool to_register;	/* ADD to CMP: reg is the first operand, which gets the result */
	bool has_immediate;	/* and that is the operand, not reg */
	uint64_t immediate;	/* sign-extended */
	unsigned address_size;	/* 2, 4, 8: of MMIO_STOS and MMIO_MOVS */
	bool repeat;
	unsigned segment; /* of MMIO_MOVS; ES is 0 */
};

/* The instruction in the first available bytes, in 16-, 32- or 64-bit code (mode). False: it is none of these, or is not
   complete. */
MUST_CHECK bool mmio_decode(const uint8_t *bytes, unsigned available, unsigned mode, struct mmio_instruction *instruction);

#endif
