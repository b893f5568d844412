/*
 * What a vCPU tells of VMX, and of triple faults, to whoever explains, traces or counts: debug/ does, the machine's
 * builder connects it, and nothing here prints.
 *
 * Failures are told before they change any state. While everything works, and nobody listens to transitions, all of it
 * costs a test per transition.
 */
#pragma once

#include "vmx/vmx.h"

/* A VMX instruction that did, or did not do, what it is for. VMREAD, VMWRITE, INVEPT and INVVPID: failures alone. */
struct vmx_instruction {
	uint16_t operation; /* enum ZydisMnemonic_ */
	bool invalid;	    /* VMfailInvalid */
	enum vmx_error
		error;	  /* VMfailValid(error), or the reason of VMfailInvalid that would have been it; VMX_OK: none */
	uint64_t operand; /* the region, the field's encoding, the type of INVEPT and INVVPID; else 0 */
};

/* A VM entry that failed: SDM vol. 3, "VM Entries". */
struct vmx_failed_entry {
	bool launch;
	enum vmx_error error; /* VMfailValid(error); VMX_OK: a failure that looks like a VM exit */
	enum vmx_check rule; /* the first broken one; VMX_CHECK_OK: an entry of the MSR-load area */
	uint32_t msr_entry;  /* then its number, from 1 */
};

/*
 * Faults on the way to a triple fault, each met while the one before was delivered; the oldest are left out when there
 * are more.
 */
#define FAULT_CHAIN 6
struct fault_chain {
	unsigned count;
	struct fault_link {
		uint8_t vector;
		bool has_error;
		uint32_t error;
		uint64_t address; /* page faults: the linear address */
	} link[FAULT_CHAIN];
};

struct vmx_reporter {
	void *ctx;
	bool transitions; /* tell instructions that succeeded, entries and exits too; -d vmx does that by itself */
	void (*instruction)(void *ctx, struct cpu *cpu, const struct vmx_instruction *what);
	void (*entry_failed)(void *ctx, struct cpu *cpu, const struct vmx_failed_entry *what);
	void (*entered)(void *ctx, struct cpu *cpu, bool launch); /* guest state is loaded, no event injected yet */
	void (*exits)(void *ctx, struct cpu *cpu);		  /* cpu->vmx->exit says why, cpu->rip where */
	/* entry: which one of the list of MSRs, from 1; 0: it is not about one. */
	void (*aborts)(void *ctx, struct cpu *cpu, enum vmx_abort why, uint32_t entry);
	void (*vmcs_leaves)(void *ctx, struct cpu *cpu); /* the current VMCS goes back to memory */
	/* In non-root operation too, where a VM exit follows. */
	void (*triple_fault)(void *ctx, struct cpu *cpu, const struct fault_chain *chain);
};

static inline bool vmx_reports_transitions(const struct cpu *cpu)
{
	return unlikely(cpu->reporter && (cpu->reporter->transitions || log_on(cpu->log, LOG_VMX)));
}

/* One more fault on the way. */
static inline void fault_chain_add(struct fault_chain *chain, const struct fault *fault)
{
	if (chain->count == FAULT_CHAIN) {
		for (unsigned i = 1; i < FAULT_CHAIN; i++)
			chain->link[i - 1] = chain->link[i];
		chain->count--;
	}
	chain->link[chain->count++] = (struct fault_link){
		.vector = fault->vector,
		.has_error = fault->has_error,
		.error = fault->error,
		.address = fault->address,
	};
}
