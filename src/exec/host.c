/*
 * Which function runs a CLASS_HOST form.
 */
#include "exec/host_private.h"

/* The first execution learns what the form is: only an instruction shows the opcode. */
static enum step first_run(struct cpu *cpu, const struct insn *insn)
{
	struct host_form *h = insn->form->host;

	h->form->exec = host_describe(insn, cpu_64bit(cpu), h) ? host_run_for(h) : exec_undefined;
	return h->form->exec(cpu, insn);
}

exec_fn *host_lookup(struct form *form)
{
	exec_fn *exec;

	if (!host_ready())
		return exec_undefined;
	if ((exec = host_x87_lookup(form)) || (exec = host_irregular_lookup(form)) || (exec = host_move_lookup(form)))
		return exec;
	form->host = host_alloc(sizeof(*form->host));
	form->host->form = form;
	return first_run;
}
