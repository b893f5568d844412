/*
 * What the files of exec/host share. host.c finds the function for a form; host_code.c owns code memory and SIGFPE;
 * host_encode.c makes thunks; host_run.c runs them; host_x87.c, host_move.c and host_irregular.c are what is not a
 * thunk alone.
 */
#pragma once

#include "exec/host.h"
#include "exec/host_code.h"
#include "exec/operand.h"

/*
 * A thunk loads the operands that are registers, executes the guest's instruction, and stores what it may have written.
 *
 * reg, vvvv, rm: where the operands named by those fields are (a vector register, MMX register, general register or
 * opmask of the guest), or for rm the host address of the memory operand. mask: the write-mask's opmask, or the vector
 * register in imm8[7:4]. Returns RFLAGS when the instruction writes arithmetic flags; THUNK_FAULT | MXCSR when it
 * raised an unmasked SIMD floating-point exception and wrote nothing; else 0.
 */
typedef uint64_t thunk_fn(void *reg, void *vvvv, void *mask, uint64_t flags, void *rm, struct cpu *cpu);

enum host_operand { HOST_NONE, HOST_VECTOR, HOST_MMX, HOST_GPR, HOST_MASK };

/* What must be enabled: SDM vol. 2, "Exception Conditions". */
enum host_gate { GATE_SSE, GATE_MMX, GATE_AVX, GATE_AVX512, GATE_X87 };

/*
 * What is known of a form. The decoder's forms differ when masking, zeroing, broadcast, rounding or length does, so
 * thunks differ in the immediate alone.
 */
struct host_form {
	struct form *form;
	thunk_fn *thunk;       /* without an immediate */
	thunk_fn **by_imm;     /* 256, with one */
	uint8_t gate;	       /* enum host_gate */
	uint8_t reg, vvvv, rm; /* enum host_operand */
	struct host_place {    /* where an operand with a number is: base + (number << shift), in bytes of struct cpu */
		uint32_t base;
		uint8_t shift;
	} reg_at, vvvv_at, rm_at;
	bool fourth; /* imm8[7:4] names a vector register */
	bool has_imm;
	bool memory, writes_memory;
	bool aligned;  /* #GP(0) unless the memory operand is aligned to its size */
	bool floating; /* obeys MXCSR */
	bool writes_flags;
	bool xmm0, pcmpestr; /* implied operands: XMM0; EAX, EDX */
	bool writes_xmm0, writes_ecx;
	bool vmaskmov;	/* the mask is the sign bits of the vvvv operand */
	bool mmx_state; /* enters MMX state: SDM vol. 1, "Effects of MMX Instructions on x87 Floating-Point State" */
	uint8_t mmx_written; /* 1: reg, 2: rm is an MMX register that is written */
	bool upper;	     /* uses YMM or ZMM registers 0 to 15 */
	bool suppress;	     /* masked-off elements of the memory operand do not fault */
	bool packed;	/* memory holds only the elements whose mask bit is set, without gaps (VPEXPAND, VPCOMPRESS) */
	bool broadcast; /* one or a few elements, used for all */
	uint16_t memory_bytes;		 /* of the whole memory operand */
	uint8_t element_bytes, elements; /* of the memory operand */
	uint8_t mask_bits;		 /* elements of the operation, as the mask sees it */
	uint8_t L, W;			 /* of the encoding */
};

/* host_encode.c. Describe the form of an instruction. False: not one for thunks. */
bool host_describe(const struct insn *insn, bool code64, struct host_form *h);
/* NULL: no room. */
thunk_fn *host_make_thunk(const struct insn *insn, const struct host_form *h);
/* x87: fxrstor, the instruction on memory at r8, fxsave. */
thunk_fn *host_make_x87_thunk(uint8_t opcode, uint8_t modrm, bool flags_in, bool flags_out);

/* host_run.c. */
exec_fn *host_run_for(const struct host_form *h);
/* STEP_NEXT, or the fault that keeps this gate's instructions from running. */
enum step host_gate(struct cpu *cpu, enum host_gate gate);
/* #AC for an unaligned operand, unless a page fault comes first. */
static inline enum step host_alignment_fault(struct cpu *cpu, la_t la, unsigned bytes, unsigned access)
{
	return mem_probe(cpu, la, bytes, access) ? STEP_FAULT : raise_error(cpu, VECTOR_AC, 0);
}

/* Of an operand longer than 8 bytes without its own alignment rule: is it #AC? SDM vol. 3, "Alignment Checking". */
static inline bool host_misaligned(const struct cpu *cpu, la_t la, unsigned bytes)
{
	return cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags & RFLAGS_AC) && !is_aligned(la, bytes);
}

/* SDM vol. 1, "Effects of MMX Instructions on x87 Floating-Point State". */
void host_enter_mmx(struct fpu *fpu);
/* host_x87.c. #MF when an unmasked x87 exception is pending. */
enum step host_x87_pending(struct cpu *cpu);

/* NULL: not theirs. */
exec_fn *host_move_lookup(struct form *form);
exec_fn *host_irregular_lookup(struct form *form);
exec_fn *host_x87_lookup(struct form *form);
