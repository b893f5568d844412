/*
 * The cache of forms. A form that was never met is decoded by Zydis, whose description is cut down to what engines
 * need.
 */
#include "decode/form.h"
#include "base/error.h"
#include "cpu/mode.h"
#include <stdlib.h>

#define BUCKETS 16384

struct entry {
	struct form_record record;
	struct entry *next;
};

struct form_cache {
	struct decoder_ops ops;
	ZydisDecoder zydis[4]; /* 16, 32, 64 bits; real mode */
	struct form_record invalid;
	struct entry *bucket[BUCKETS];
};

static void zydis_init(ZydisDecoder *decoder, ZydisMachineMode mode, ZydisStackWidth width)
{
	ZydisDecoderInit(decoder, mode, width);
	/* Extensions that no model offers decode as what the encodings were before: NOPs, WBINVD. */
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
}

struct form_cache *form_cache_create(const struct decoder_ops *ops)
{
	struct form_cache *cache = xcalloc(1, sizeof(*cache));

	cache->ops = *ops;
	zydis_init(&cache->zydis[MODE_CODE16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	zydis_init(&cache->zydis[MODE_CODE32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	zydis_init(&cache->zydis[MODE_CODE64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	zydis_init(&cache->zydis[3], ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
	cache->invalid.form = (struct form){.class = CLASS_INVALID, .ends_block = true};
	cache->invalid.size = 4;
	cache->invalid.addr_size = 4;
	ops->bind(ops->ctx, &cache->invalid.form);
	return cache;
}

void form_cache_destroy(struct form_cache *cache)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		while (cache->bucket[i]) {
			struct entry *next = cache->bucket[i]->next;

			free(cache->bucket[i]);
			cache->bucket[i] = next;
		}
	free(cache);
}

static bool is_vector_class(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM || class == ZYDIS_REGCLASS_ZMM ||
	       class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_X87 || class == ZYDIS_REGCLASS_MASK;
}

static bool is_host_extension(ZydisISAExt extension)
{
	switch (extension) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ: return true;
	default: return false;
	}
}

/* What only other makers' processors have: undefined on Intel's. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW || z->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
	    z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX)
		return true;
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW:
	case ZYDIS_ISA_EXT_AMD_INVLPGB:
	case ZYDIS_ISA_EXT_CLZERO:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_KNCE:
	case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_PADLOCK:
	case ZYDIS_ISA_EXT_RDPRU:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_XOP: return true;
	default: return false;
	}
}

static enum form_class classify(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
	if (is_host_extension(z->meta.isa_ext))
		return CLASS_HOST;
	if (z->meta.category == ZYDIS_CATEGORY_CONVERT &&
	    (z->meta.isa_set == ZYDIS_ISA_SET_SSE || z->meta.isa_set == ZYDIS_ISA_SET_SSE2))
		return CLASS_HOST; /* CVTSD2SI and its like from memory name no vector register */
	for (unsigned i = 0; i < z->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    is_vector_class(ZydisRegisterGetClass(operands[i].reg.value)))
			return CLASS_HOST;
	if (z->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT || z->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR)
		return CLASS_BRANCH;
	switch (z->meta.category) {
	case ZYDIS_CATEGORY_CONVERT: /* CVTSS2SI and its like from memory name no vector register */
		return z->meta.isa_ext == ZYDIS_ISA_EXT_SSE || z->meta.isa_ext == ZYDIS_ISA_EXT_SSE2 ? CLASS_HOST
												     : CLASS_INTEGER;
	case ZYDIS_CATEGORY_STRINGOP:
	case ZYDIS_CATEGORY_IOSTRINGOP: return CLASS_STRING;
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT:
	case ZYDIS_CATEGORY_UNCOND_BR: /* far */
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET: return CLASS_SYSTEM;
	default: return CLASS_INTEGER;
	}
}

static enum operand_field field_of(ZydisOperandEncoding encoding)
{
	switch (encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: return FIELD_REG;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: return FIELD_RM;
	case ZYDIS_OPERAND_ENCODING_OPCODE: return FIELD_OPCODE;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: return FIELD_VVVV;
	case ZYDIS_OPERAND_ENCODING_IS4: return FIELD_IMM4;
	case ZYDIS_OPERAND_ENCODING_MASK: return FIELD_MASK;
	case ZYDIS_OPERAND_ENCODING_NONE: return FIELD_FIXED;
	default: return FIELD_IMM;
	}
}

static bool has_eight(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_X87 || class == ZYDIS_REGCLASS_MASK ||
	       class == ZYDIS_REGCLASS_SEGMENT;
}

static bool is_gpr(ZydisRegisterClass class)
{
	return class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;
}

static void take_operand(struct form_record *record, const ZydisDecodedOperand *z, struct form_operand *operand)
{
	operand->where = field_of(z->encoding);
	operand->actions = z->actions;
	operand->bytes = (uint16_t)((z->size + 7) / 8);
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		operand->kind = operand->where == FIELD_FIXED ? OPERAND_FIXED : OPERAND_REG;
		operand->class = ZydisRegisterGetClass(z->reg.value);
		operand->fixed = z->reg.value;
		if (operand->where == FIELD_REG) {
			record->byte_reg = operand->class == ZYDIS_REGCLASS_GPR8;
			record->mask_reg = operand->class == ZYDIS_REGCLASS_MASK;
			record->eight_reg = has_eight(operand->class);
			record->gpr_reg = is_gpr(operand->class);
		} else if (operand->where == FIELD_RM || operand->where == FIELD_OPCODE) {
			record->byte_rm = operand->class == ZYDIS_REGCLASS_GPR8;
			record->eight_rm = has_eight(operand->class);
			record->gpr_rm = is_gpr(operand->class);
			record->opcode_reg |= operand->where == FIELD_OPCODE;
		}
		if (operand->where == FIELD_VVVV)
			record->mask_vvvv = operand->class == ZYDIS_REGCLASS_MASK;
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		operand->kind = OPERAND_MEM;
		record->form.memory |= z->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM;
		if (z->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
			operand->where = FIELD_VSIB;
			record->vsib = true;
		}
		break;
	case ZYDIS_OPERAND_TYPE_POINTER: operand->kind = OPERAND_FAR; break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE: operand->kind = z->imm.is_relative ? OPERAND_REL : OPERAND_IMM; break;
	default: operand->kind = OPERAND_NONE; break;
	}
}

static uint16_t vector_length(const ZydisDecodedInstruction *z)
{
	if (z->avx.vector_length)
		return z->avx.vector_length / 8;
	return 0;
}

static void take(struct form_record *record, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
	struct form *form = &record->form;
	static const uint8_t pp[] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};

	form->valid = true;
	form->operation = (uint16_t)z->mnemonic;
	form->feature = (uint16_t)z->meta.isa_set;
	form->category = (uint8_t)z->meta.category;
	form->class = classify(z, operands);
	form->encoding = (uint8_t)z->encoding;
	form->map = (uint8_t)z->opcode_map;
	switch (z->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX: form->pp = z->raw.vex.pp; break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX: form->pp = z->raw.evex.pp; break;
	default:
		for (unsigned i = 0; i < z->raw.prefix_count; i++)
			if (z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
				form->pp = pp[z->raw.prefixes[i].value];
	}
	form->operands = z->operand_count < FORM_OPERANDS ? z->operand_count : FORM_OPERANDS;
	for (unsigned i = 0; i < form->operands; i++)
		take_operand(record, &operands[i], &form->operand[i]);
	if (z->cpu_flags) {
		form->flags_read = z->cpu_flags->tested;
		form->flags_written = z->cpu_flags->modified | z->cpu_flags->set_0 | z->cpu_flags->set_1;
		form->flags_undefined = z->cpu_flags->undefined;
	}
	form->has_modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	form->vector_bytes = vector_length(z);
	form->ends_block = z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
			   z->meta.category == ZYDIS_CATEGORY_SYSCALL || z->meta.category == ZYDIS_CATEGORY_SYSRET ||
			   z->meta.category == ZYDIS_CATEGORY_INTERRUPT || z->meta.category == ZYDIS_CATEGORY_RET;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t bytes = z->raw.imm[i].size / 8;

		if (i == 0) {
			record->imm_bytes = bytes;
			record->imm_signed = z->raw.imm[i].is_signed;
		} else {
			record->imm2_bytes = bytes;
		}
	}
	if (!form->has_modrm &&
	    z->raw.disp.size) { /* MOV AL, moffs and its like: Zydis takes the offset as a displacement */
		record->moffs = true;
		record->imm_bytes = z->raw.disp.size / 8;
		record->imm_signed = false;
	}
	record->size = z->operand_width ? z->operand_width / 8 : 4;
	record->addr_size = z->address_width / 8;
}

/* Zydis' word for a fault that lies in the register numbers, which keys leave out: another instruction with this key
 * may be valid. */
static bool is_register_error(ZyanStatus status)
{
	return status == ZYDIS_STATUS_BAD_REGISTER;
}

const struct form_record *form_find(struct form_cache *cache, form_key_t key, const uint8_t *bytes, size_t size,
				    uint32_t mode)
{
	struct entry **bucket = &cache->bucket[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 50];
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	const ZydisDecoder *decoder;
	struct entry *entry;
	ZyanStatus status;

	for (entry = *bucket; entry; entry = entry->next)
		if (likely(entry->record.key == key))
			return &entry->record;
	decoder = &cache->zydis[(mode & MODE_CODE) == MODE_CODE16 && !(mode & MODE_PROTECTED) ? 3 : mode & MODE_CODE];
	status = ZydisDecoderDecodeFull(decoder, bytes, size, &z, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return NULL;
	if (is_register_error(status))
		return &cache->invalid;
	entry = xcalloc(1, sizeof(*entry));
	entry->record = cache->invalid;
	entry->record.key = key;
	if (ZYAN_SUCCESS(status) && !is_foreign(&z)) {
		entry->record.form = (struct form){0};
		take(&entry->record, &z, operands);
		cache->ops.bind(cache->ops.ctx, &entry->record.form);
	}
	entry->next = *bucket;
	*bucket = entry;
	return &entry->record;
}

const struct form *form_invalid(const struct form_cache *cache)
{
	return &cache->invalid.form;
}
