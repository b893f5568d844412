/*
 * Forms: what all encodings that differ only in registers, displacement and immediate have in common, learnt from Zydis
 * once.
 */
#pragma once

#include "decode/insn.h"

struct form_cache;

/*
 * What selects a form: prefixes that change the meaning, map, opcode, ModRM.reg, register or memory. Equal keys decode
 * alike. The layout is private to decode.c, which builds it.
 */
typedef uint64_t form_key_t;

/* What the decoder must know besides what engines want. */
struct form_record {
	struct form form; /* first, so that a struct form * leads here */
	form_key_t key;
	uint8_t imm_bytes, imm2_bytes; /* sizes of the immediates in the code */
	bool imm_signed;
	bool moffs;		  /* the immediate is a memory offset of the address size */
	bool byte_reg, byte_rm;	  /* FIELD_REG, or FIELD_RM and FIELD_OPCODE, name a byte register */
	bool eight_reg, eight_rm; /* they name one of eight registers, whatever REX says: segment, MMX, mask, x87 */
	bool vsib;		  /* the SIB index is a vector register */
	bool opcode_reg;	  /* the register is in the opcode's low bits */
	bool gpr_reg, gpr_rm, mask_reg,
		mask_vvvv;	 /* VEX and EVEX: classes, for the extension bits that must be clear or do not count */
	uint8_t size, addr_size; /* bytes */
};

struct form_cache *form_cache_create(const struct decoder_ops *ops);
void form_cache_destroy(struct form_cache *cache);

/* The form of a key. `bytes` is an instruction that has this key, for the first time it is met. NULL: more bytes are
 * needed. */
const struct form_record *form_find(struct form_cache *cache, form_key_t key, const uint8_t *bytes, size_t size,
				    uint32_t mode);

/* The form of what is #UD. */
const struct form *form_invalid(const struct form_cache *cache);
