/*
 * A decoded instruction, and what all instructions of one form share.
 *
 * SDM vol. 2, "Instruction Format". decode() parses prefixes, opcode, ModRM, SIB, displacement and immediate; what the
 * form means (operation, operand roles, flags, feature) comes from Zydis once per form and is cached as a struct form.
 */
#pragma once

#include "base/types.h"
#include "cpu/cpu.h"
#include <Zydis/Zydis.h>

struct insn;
struct block;

/* Engine 1's handler: runs the instruction and goes on to the next by itself (interp/). */
typedef const struct insn *insn_fn(struct cpu *cpu, const struct insn *insn);
/* The meaning of an instruction, for all engines (exec/). */
typedef enum step exec_fn(struct cpu *cpu, const struct insn *insn);

enum operand_kind {
	OPERAND_NONE,
	OPERAND_REG,
	OPERAND_MEM,
	OPERAND_IMM,
	OPERAND_REL,
	OPERAND_FAR,
	OPERAND_FIXED /* implied register */
};

/* One explicit or implied operand of a form. */
struct form_operand {
	uint8_t kind;	 /* enum operand_kind */
	uint8_t where;	 /* which field names it: enum operand_field */
	uint8_t class;	 /* ZydisRegisterClass for registers */
	uint8_t actions; /* ZydisOperandActions */
	uint16_t bytes;	 /* size */
	uint16_t fixed;	 /* ZydisRegister when kind is OPERAND_FIXED */
};

enum operand_field {
	FIELD_REG,
	FIELD_RM,
	FIELD_VVVV,
	FIELD_OPCODE,
	FIELD_IMM,
	FIELD_IMM4,
	FIELD_FIXED,
	FIELD_MASK,
	FIELD_VSIB
};

#define FORM_OPERANDS 6

struct form {
	uint16_t operation; /* ZydisMnemonic */
	uint16_t feature;   /* ZydisISASet: which CPUID bit it needs: exec/ maps */
	uint8_t category;   /* ZydisInstructionCategory, truncated to fit */
	uint8_t class;	    /* enum form_class */
	uint8_t encoding;   /* ZydisInstructionEncoding: legacy, VEX, EVEX ... */
	uint8_t operands;   /* how many of operand[] */
	struct form_operand operand[FORM_OPERANDS];
	uint32_t flags_read;	/* RFLAGS_* */
	uint32_t flags_written; /* set, cleared or modified */
	uint32_t flags_undefined;
	bool has_modrm;
	bool memory;		/* ModRM names memory (mod != 3) */
	bool ends_block;	/* branches, and whatever may change mode, bank or interruptibility */
	bool valid;		/* false: #UD */
	uint16_t vector_bytes;	/* 16, 32, 64: length of vector operands, 0 otherwise */
	uint8_t map;		/* opcode map as in EVEX.mmm: 0 one byte, 1 0FH, 2 0F38H, 3 0F3AH, 5, 6 */
	uint8_t pp;		/* mandatory prefix as in VEX.pp: 0 none, 1 66H, 2 F3H, 3 F2H */
	exec_fn *exec;		/* bound by decoder_ops.bind() */
	struct host_form *host; /* exec/host: what it keeps for a CLASS_HOST form */
	const void *engine[2];	/* each engine's own binding */
};

/* How an engine runs it; chosen by the decoder from the operation. */
enum form_class {
	CLASS_INTEGER, /* unprivileged integer, general registers, flags and memory */
	CLASS_BRANCH,  /* near branches */
	CLASS_STRING,
	CLASS_SYSTEM, /* helper only: privileged, far, stateful */
	CLASS_HOST,   /* x87, MMX, SSE, AVX, AES ...: runs on the host CPU (exec/host) */
	CLASS_INVALID,
};

enum prefix {
	PREFIX_LOCK = 1,
	PREFIX_REP = 2,
	PREFIX_REPNE = 4,
	PREFIX_OPSIZE = 8,
	PREFIX_ADDRSIZE = 16,
	PREFIX_REX = 32,
	PREFIX_REX_W = 64, /* REX.W, VEX.W or EVEX.W */
	PREFIX_SEG = 128,  /* a segment override that counts */
};

/* How an effective address becomes linear. */
enum ea_kind {
	EA_NONE,    /* no memory operand */
	EA_PLAIN,   /* linear = offset: 64-bit mode, not FS or GS, 64-bit address size */
	EA_PLAIN32, /* linear = low 32 bits of offset: flat 32-bit code, or address size 32 in 64-bit mode */
	EA_FSGS,    /* 64-bit mode: segment base + offset (masked by address size) */
	EA_CHECKED, /* a segment with base and limit: exec's segment_linear() */
};

/* Registers are numbers into cpu->r. A byte register's number is its byte offset there: 8 * number, + 1 for AH CH DH
 * BH. */
struct insn {
	insn_fn *fn;
	const struct form *form;
	uint64_t imm;  /* immediate, sign-extended as the manual says; branch: displacement; moffs: offset; far pointer:
			  offset */
	int32_t disp;  /* displacement; RIP-relative: to be added to r[R_BLOCK] (already holds the offset of the next
			  instruction) and r[index], which is 0 or REACH */
	uint16_t off;  /* of this instruction from the block's first byte */
	uint16_t imm2; /* far pointer: selector; ENTER: nesting level */
	uint8_t base, index, scale; /* into cpu->r; scale 0 to 3 (shift) */
	uint8_t seg;		    /* enum segment_number that counts for the memory operand */
	uint8_t ea;		    /* enum ea_kind */
	uint8_t addr_size;	    /* 2, 4, 8 */
	uint8_t size; /* operand size: 1, 2, 4, 8 (of the operation; forms may have others in form->operand) */
	uint8_t reg;  /* ModRM.reg with REX/EVEX bits; byte-register offset when that operand is a byte register */
	uint8_t rm;   /* ModRM.rm when it names a register, or the opcode's register; likewise. VSIB: the index vector
			 register */
	uint8_t vvvv; /* VEX/EVEX second source */
	uint8_t len;  /* 1 to 15 */
	uint8_t prefixes;      /* enum prefix */
	uint8_t opcode, modrm; /* last opcode byte; ModRM as in the code (0 without) */
	uint8_t index_in_block;
	uint8_t evex; /* EVEX P2: z, L'L, b, V', aaa; VEX: 0 */
};

/* How often it accesses memory: its operands there, and the stack. REP string instructions: for each element. */
static inline unsigned insn_accesses(const struct insn *insn)
{
	unsigned accesses = 0;

	for (unsigned i = 0; insn->form && i < insn->form->operands; i++)
		accesses += insn->form->operand[i].kind == OPERAND_MEM;
	return accesses;
}

struct decoder;

struct decoder_ops {
	/* A form was met for the first time: set form->exec and form->engine[]. */
	void (*bind)(void *ctx, struct form *form);
	void *ctx;
};

struct decoder *decoder_create(const struct decoder_ops *ops);
void decoder_destroy(struct decoder *decoder);

enum decode_result {
	DECODE_OK,
	DECODE_INVALID, /* #UD: insn->form is the invalid form; len is what was consumed */
	DECODE_SHORT,	/* more bytes are needed than there are: fetch the next page */
	DECODE_LONG,	/* more than 15 bytes: #GP(0) */
};

/*
 * Decode one instruction of at most `available` bytes (1 to 15 are looked at) for a mode key. Does not set fn, off's
 * relation to a block is `offset`: the instruction's distance from the block's first byte. The form lives as long as
 * the decoder.
 */
enum decode_result decode(struct decoder *decoder, const uint8_t *bytes, size_t available, uint32_t mode,
			  unsigned offset, struct insn *insn);

/* Assembly text of an instruction at an address, for logs and the monitor. Returns its length; 1 for what is none. */
unsigned decode_text(const uint8_t *bytes, size_t size, uint32_t mode, uint64_t rip, char *text, size_t text_size);
