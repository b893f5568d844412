/*
 * Choosing a handler for each instruction of a block.
 */
#include "interp/branch.h"

/* More than 15 bytes: SDM vol. 3, "Interrupt 13: General Protection Exception (#GP)". */
HANDLER(too_long)
{
	raise_gp0(cpu);
	return op_fault(cpu, insn);
}

/* An instruction that the model's CPUID does not offer. */
HANDLER(not_offered)
{
	op_sync(cpu, insn);
	exec_undefined(cpu, insn);
	return op_fault(cpu, insn);
}

/* The end of a block that no branch ends. */
HANDLER(fall_through)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->off;

	if ((cpu->mode & MODE_CODE) != MODE_CODE64)
		rip = (uint32_t)rip;
	return op_successor(cpu, insn, 1, rip);
}

HANDLER(fall_out)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->off;

	if ((cpu->mode & MODE_CODE) != MODE_CODE64)
		rip = (uint32_t)rip;
	return op_leave_to(cpu, insn, rip);
}

/* Behind an instruction over a page boundary: both pages were checked before it ran. */
HANDLER(fall_to_second_page)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->off;

	if ((cpu->mode & MODE_CODE) != MODE_CODE64)
		rip = (uint32_t)rip;
	return op_jump(cpu, insn, rip);
}

/* Before it: is the second part of the instruction still where it was decoded from? imm: its offset. If not, look
 * everything up again. */
HANDLER(second_page_guard)
{
	la_t la = cpu->r[R_BLOCK] + insn->imm;
	const struct tlb_entry *entry;

	if ((cpu->mode & MODE_CODE) != MODE_CODE64)
		la = (uint32_t)la;
	entry = tlb_slot(cpu->bank, la);
	if (likely(entry->exec == la && (const uint8_t *)HOST(entry, la) == cpu->block->host2))
		NEXT(cpu, insn);
	cpu->budget += cpu->block->count;
	return op_leave_to(cpu, insn, cpu->r[R_BLOCK]);
}

static insn_fn *choose(struct cpu *cpu, struct block *block, struct insn *insn, const struct insn *previous)
{
	insn_fn *fn;

	if (!insn->form)
		return too_long;
	if (!exec_offered(cpu->model, insn->form))
		return not_offered;
	if (insn->form->class == CLASS_BRANCH && insn->form->category != ZYDIS_CATEGORY_SYSCALL) {
		if (insn->prefixes & PREFIX_LOCK)
			return not_offered;
		return branch_handler(block, insn, previous);
	}
	if (insn->form->class != CLASS_INTEGER || (insn->prefixes & PREFIX_LOCK))
		return op_exec;
	if ((fn = alu_handler(insn)) || (fn = move_handler(insn)) || (fn = stack_handler(insn, block->mode)))
		return fn;
	return op_exec;
}

void interp_bind(struct cpu *cpu, struct block *block, struct insn *insn, const struct insn *previous)
{
	insn_fn *fused;

	insn->fn = choose(cpu, block, insn, previous);
	if (!previous || !insn->form || insn->form->category != ZYDIS_CATEGORY_COND_BR || previous->fn == op_exec ||
	    previous->fn == not_offered || !(block->mode & MODE_FLAT) || (insn->size != 8 && insn->size != 4))
		return;
	fused = fused_handler(previous, insn);
	if (fused)
		block->insn[insn->index_in_block - 1].fn = fused;
}

void interp_unfuse(struct insn *insn)
{
	uint16_t operation = insn->form ? insn->form->operation : 0;

	if ((operation == ZYDIS_MNEMONIC_CMP || operation == ZYDIS_MNEMONIC_TEST) && insn->fn != op_exec &&
	    insn->fn != not_offered)
		insn->fn = alu_handler(insn);
}

void interp_terminate(struct block *block)
{
	struct insn *end = &block->insn[block->count];
	const struct insn *last = end - 1;
	uint64_t page = (uintptr_t)block->host & ~PAGE_MASK;

	if (!block->count)
		return;
	*end = (struct insn){
		.off = (uint16_t)(last->off + last->len), .index_in_block = (uint8_t)block->count, .size = 8};
	end->fn = fall_out;
	if (!block->apart && (block->mode & MODE_FLAT)) {
		end->fn = fall_through;
		end->imm2 = page + end->off < PAGE_SIZE ? CHAIN_NEXT : 0;
	}
}

void interp_guard_second_page(struct block *block)
{
	block->insn[2] = block->insn[1];
	block->insn[2].fn = fall_to_second_page;
	block->insn[1] = block->insn[0];
	block->insn[0] = (struct insn){.fn = second_page_guard, .imm = block->bytes, .size = 8};
}
