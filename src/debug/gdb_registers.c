/*
 * The registers that gdb sees.
 *
 * gdb manual, "i386 Features": the core and SSE features. The order is QEMU's, which clients without the description
 * assume: system registers stand between the x87's and the XMM ones. One table gives the description and the access.
 */
#include "debug/gdb_registers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "exec/host.h"

enum kind {
	KIND_PLAIN, /* `bytes` of struct cpu at `at` */
	KIND_FLAGS,
	KIND_SELECTOR, /* struct segment at `at` */
	KIND_ST,       /* number `at` of the x87 stack */
	KIND_X87_WORD, /* 16 bits of the FXSAVE image at `at`, shown as 32 */
	KIND_X87_TAGS,
	KIND_X87_DWORD, /* 32 bits of the image */
};

struct gdb_register {
	const char *name, *type;
	uint8_t bytes, kind;
	uint16_t at;
};

#define GPR(name, number)                                                     \
	{                                                                     \
		name, "int64", 8, KIND_PLAIN, offsetof(struct cpu, r[number]) \
	}
#define POINTER(name, number)                                                    \
	{                                                                        \
		name, "data_ptr", 8, KIND_PLAIN, offsetof(struct cpu, r[number]) \
	}
#define SELECTOR(name, number)                                                     \
	{                                                                          \
		name, "int32", 4, KIND_SELECTOR, offsetof(struct cpu, seg[number]) \
	}
#define SYSTEM(name, member)                                               \
	{                                                                  \
		name, "int64", 8, KIND_PLAIN, offsetof(struct cpu, member) \
	}
#define ST(number)                                            \
	{                                                     \
		"st" #number, "i387_ext", 10, KIND_ST, number \
	}
#define XMM(number)                                                                          \
	{                                                                                    \
		"xmm" #number, "vec128", 16, KIND_PLAIN, offsetof(struct cpu, fpu.v[number]) \
	}

static const struct gdb_register table[] = {
	GPR("rax", RAX),
	GPR("rbx", RBX),
	GPR("rcx", RCX),
	GPR("rdx", RDX),
	GPR("rsi", RSI),
	GPR("rdi", RDI),
	POINTER("rbp", RBP),
	POINTER("rsp", RSP),
	GPR("r8", R8),
	GPR("r9", R9),
	GPR("r10", R10),
	GPR("r11", R11),
	GPR("r12", R12),
	GPR("r13", R13),
	GPR("r14", R14),
	GPR("r15", R15),
	{"rip", "code_ptr", 8, KIND_PLAIN, offsetof(struct cpu, rip)},
	{"eflags", "i386_eflags", 4, KIND_FLAGS, 0},
	SELECTOR("cs", CS),
	SELECTOR("ss", SS),
	SELECTOR("ds", DS),
	SELECTOR("es", ES),
	SELECTOR("fs", FS),
	SELECTOR("gs", GS),
	ST(0),
	ST(1),
	ST(2),
	ST(3),
	ST(4),
	ST(5),
	ST(6),
	ST(7),
	{"fctrl", "int", 4, KIND_X87_WORD, X87_FCW},
	{"fstat", "int", 4, KIND_X87_WORD, X87_FSW},
	{"ftag", "int", 4, KIND_X87_TAGS, X87_FTW},
	{"fiseg", "int", 4, KIND_X87_DWORD, X87_FCS},
	{"fioff", "int", 4, KIND_X87_DWORD, X87_FIP},
	{"foseg", "int", 4, KIND_X87_DWORD, X87_FDS},
	{"fooff", "int", 4, KIND_X87_DWORD, X87_FDP},
	{"fop", "int", 4, KIND_X87_WORD, X87_FOP},
	SYSTEM("fs_base", seg[FS].base),
	SYSTEM("gs_base", seg[GS].base),
	SYSTEM("k_gs_base", fs_kernel_gs),
	SYSTEM("cr0", cr0),
	SYSTEM("cr2", cr2),
	SYSTEM("cr3", cr3),
	SYSTEM("cr4", cr4),
	SYSTEM("cr8", cr8),
	SYSTEM("efer", efer),
	XMM(0),
	XMM(1),
	XMM(2),
	XMM(3),
	XMM(4),
	XMM(5),
	XMM(6),
	XMM(7),
	XMM(8),
	XMM(9),
	XMM(10),
	XMM(11),
	XMM(12),
	XMM(13),
	XMM(14),
	XMM(15),
	{"mxcsr", "i386_mxcsr", 4, KIND_PLAIN, offsetof(struct cpu, fpu.mxcsr)},
};

static const char types[] = "<flags id=\"i386_eflags\" size=\"4\">"
			    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
			    "<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
			    "<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"TF\" start=\"8\" end=\"8\"/>"
			    "<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
			    "<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
			    "<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"VM\" start=\"17\" end=\"17\"/>"
			    "<field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"ID\" start=\"21\" end=\"21\"/>"
			    "</flags>";

static const char vector_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
	"<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
	"<field name=\"uint128\" type=\"uint128\"/></union>"
	"<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" "
	"end=\"1\"/>"
	"<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
	"<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/></flags>";

char *gdb_target_xml(void)
{
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return xstrdup("");
	fprintf(to,
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
		"<architecture>i386:x86-64</architecture><feature name=\"org.gnu.gdb.i386.core\">%s",
		types);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i].name, "xmm0"))
			fprintf(to, "</feature><feature name=\"org.gnu.gdb.i386.sse\">%s", vector_types);
		fprintf(to, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>", table[i].name,
			table[i].bytes * 8u, table[i].type, i);
	}
	fputs("</feature></target>", to);
	fclose(to);
	return text;
}

unsigned gdb_register_count(void)
{
	return ARRAY_SIZE(table);
}

int gdb_register_number(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i].name, name))
			return (int)i;
	}
	return -1;
}

unsigned gdb_register_get(const struct cpu *cpu, unsigned number, uint8_t bytes[16])
{
	const struct gdb_register *r = &table[number];

	if (number >= ARRAY_SIZE(table))
		return 0;
	memset(bytes, 0, 16);
	switch ((enum kind)r->kind) {
	case KIND_PLAIN: memcpy(bytes, (const uint8_t *)cpu + r->at, r->bytes); break;
	case KIND_FLAGS: store_le(bytes, 4, cpu_rflags(cpu)); break;
	case KIND_SELECTOR:
		store_le(bytes, 4, ((const struct segment *)((const uint8_t *)cpu + r->at))->selector);
		break;
	case KIND_ST: memcpy(bytes, cpu->fpu.x87 + X87_ST + 16 * r->at, 10); break;
	case KIND_X87_WORD: memcpy(bytes, cpu->fpu.x87 + r->at, 2); break;
	case KIND_X87_TAGS: store_le(bytes, 4, x87_full_tag(&cpu->fpu)); break;
	case KIND_X87_DWORD: memcpy(bytes, cpu->fpu.x87 + r->at, 4); break;
	}
	return r->bytes;
}

unsigned gdb_register_set(struct cpu *cpu, unsigned number, const uint8_t bytes[16])
{
	const struct gdb_register *r = &table[number];

	if (number >= ARRAY_SIZE(table))
		return 0;
	switch ((enum kind)r->kind) {
	case KIND_PLAIN: memcpy((uint8_t *)cpu + r->at, bytes, r->bytes); break;
	case KIND_FLAGS: cpu_set_rflags(cpu, load_le(bytes, 4) | RFLAGS_1); break;
	case KIND_SELECTOR: break;
	case KIND_ST: memcpy(cpu->fpu.x87 + X87_ST + 16 * r->at, bytes, 10); break;
	case KIND_X87_WORD: memcpy(cpu->fpu.x87 + r->at, bytes, 2); break;
	case KIND_X87_TAGS: cpu->fpu.x87[r->at] = x87_short_tag((uint16_t)load_le(bytes, 2)); break;
	case KIND_X87_DWORD: memcpy(cpu->fpu.x87 + r->at, bytes, 4); break;
	}
	return r->bytes;
}
