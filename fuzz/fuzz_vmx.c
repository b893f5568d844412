/*
 * A hypervisor that treats its processor badly, and guests that do: the input is {guest, wishes, guest code}, then
 * operations, each a byte and its operands, on one of the PC's two vCPUs: VMWRITE, raw writes to whatever VMX reads
 * from memory, VMX instructions, VM entries, events, code, MSRs, time, an SMM monitor, snapshots.
 *
 * What becomes of each VM entry must be what the checker says of the same VMCS: VMfail with the first broken rule's
 * error, a VM-entry failure with its exit reason and qualification, or a guest. What `softvt check` says of the VMCS's
 * dump must not contradict either.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/rules.h"
#include "hypervisor.h"
#include "vmx/dump.h"
#include "vmx/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS = 48, CODE = 64, SNAPSHOTS = 1 /* they take long */ };

#define ensure(condition)                                                                             \
	do {                                                                                          \
		if (!(condition)) {                                                                   \
			fprintf(stderr, "fuzz: %s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                      \
		}                                                                                     \
	} while (0)

enum outcome_kind { FAIL_INVALID, FAIL_VALID, FAILED_ENTRY, ENTERED, NOTHING };
struct outcome {
	enum outcome_kind kind;
	uint32_t number; /* the VM-instruction error or the basic exit reason */
	uint64_t qualification;
};

static struct vmx_check_result judge(struct cpu *cpu, bool guest_too)
{
	struct vmx_check_result result = {0};
	struct vmx_check_cpu about;
	struct vmx_check_input input;

	vmx_entry_input(cpu, &about, &input);
	vmx_check_group(&input, VMX_GROUP_CONTROL, &result);
	vmx_check_group(&input, VMX_GROUP_HOST, &result);
	if (guest_too)
		vmx_check_group(&input, VMX_GROUP_GUEST, &result);
	return result;
}

/* SDM vol. 3, "VMLAUNCH/VMRESUME - Launch/Resume Virtual Machine". */
static struct outcome expect(struct cpu *cpu, bool launch, bool mov_ss)
{
	const struct vmx *vmx = cpu->vmx;
	struct vmx_check_result result;
	const struct vmx_check_info *info;

	if (!vmx_has_current(vmx) || vmx->vmcs.shadow)
		return (struct outcome){.kind = FAIL_INVALID};
	if (mov_ss)
		return (struct outcome){FAIL_VALID, VMX_ERROR_BLOCKED_BY_MOV_SS, 0};
	if (launch && vmx->vmcs.launched)
		return (struct outcome){FAIL_VALID, VMX_ERROR_VMLAUNCH_NOT_CLEAR, 0};
	if (!launch && !vmx->vmcs.launched)
		return (struct outcome){FAIL_VALID, VMX_ERROR_VMRESUME_NOT_LAUNCHED, 0};
	result = judge(cpu, true);
	info = &vmx_check_info[result.first];
	if (result.first == VMX_CHECK_OK)
		return (struct outcome){.kind = ENTERED};
	if (vmx_check_section_info[info->section].group == VMX_GROUP_GUEST)
		return (struct outcome){FAILED_ENTRY, info->exit_reason, info->qualification};
	if (vmx_returns_from_smm(cpu) && info->section == VMX_SECTION_EXECUTION)
		return (struct outcome){FAIL_VALID, VMX_ERROR_EXECUTIVE_CONTROL_FIELDS, 0};
	return (struct outcome){FAIL_VALID, info->error, 0};
}

static struct outcome observe(const struct cpu *cpu, uint64_t entered)
{
	const struct vmx *vmx = cpu->vmx;
	uint64_t reason = vmcs_get(&vmx->vmcs, EXIT_REASON), flags = cpu_rflags(cpu) & RFLAGS_ARITH;

	if (vmx->entered != entered)
		return (struct outcome){.kind = ENTERED};
	if (vmx_has_current(vmx) && (reason & BIT(31)))
		return (struct outcome){FAILED_ENTRY, (uint16_t)reason, vmcs_get(&vmx->vmcs, EXIT_QUALIFICATION)};
	if (flags == RFLAGS_CF)
		return (struct outcome){.kind = FAIL_INVALID};
	if (flags == RFLAGS_ZF)
		return (struct outcome){FAIL_VALID, (uint32_t)vmcs_get(&vmx->vmcs, VM_INSTRUCTION_ERROR), 0};
	return (struct outcome){.kind = NOTHING};
}

/* How many entries of the list hold by their index alone; what WRMSR says of the values is the processor's. */
static uint32_t loadable(struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint64_t list = vmcs_get(v, VM_ENTRY_MSR_LOAD_ADDRESS);
	uint32_t count = (uint32_t)vmcs_get(v, VM_ENTRY_MSR_LOAD_COUNT), i;

	for (i = 0; i < count && i < 512; i++)
		if (vmx_check_msr_load(bus_read(cpu->bus, list + 16 * (uint64_t)i, 8, cpu->in_smm), cpu->in_smm))
			break;
	return i;
}

/* The VMCS as text and back, judged without memory and processor, contradicts neither what is so nor what is not. */
static void judge_dump(struct cpu *cpu)
{
	struct vmx_check_result whole = judge(cpu, true), dumped = {0};
	struct vmx_dump_reader reader = {.line = 1};
	struct vmx_check_input input = {.caps = cpu->vmx->caps};
	static struct vmx_dump dump;
	char *text;
	FILE *to = open_memstream(&text, &reader.size);

	vmx_dump_print(&cpu->vmx->vmcs, cpu->vmx->caps, to);
	fclose(to);
	reader.text = text;
	ensure(vmx_dump_next(&reader, &dump));
	input.vmcs = &dump.vmcs;
	input.present = dump.present;
	for (unsigned section = 0; section < VMX_SECTION_COUNT; section++)
		vmx_check_section(&input, (enum vmx_check_section)section, &dumped);
	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
		bool broken = vmx_check_in(whole.broken, rule);

		if (vmx_check_in(dumped.broken, rule) != broken && !vmx_check_in(dumped.unjudged, rule)) {
			fprintf(stderr, "fuzz: %s\n", vmx_check_info[rule].id);
			abort();
		}
	}
	free(text);
}

static void say(const char *who, const struct outcome *o)
{
	static const char *const kinds[] = {"VMfailInvalid", "VMfailValid", "VM-entry failure", "entered", "nothing"};

	fprintf(stderr, "fuzz: %s: %s %u, qualification %#llx\n", who, kinds[o->kind], o->number,
		(unsigned long long)o->qualification);
}

static void enter(struct machine *m, struct cpu *cpu, uint8_t how)
{
	struct vmx *vmx = cpu->vmx;
	bool wrong = (how & 7) == 7, mov_ss = (how >> 3 & 7) == 7, twisted = how >> 6 == 3;
	bool launch = vmx->vmcs.launched == wrong;
	const uint8_t code[] = {0x8e, 0xd0, 0x0f, 0x01, launch ? 0xc2 : 0xc3}; /* MOV SS, EAX; VMLAUNCH */
	struct outcome expected, observed;
	uint64_t entered = vmx->entered;
	uint32_t loads;

	hypervisor_at(m, cpu, vmx_on_exit(vmx, HOST_ADDRESS_SPACE_SIZE) != twisted, code, sizeof(code));
	if (mov_ss) {
		cpu->r[RAX] = 0x10;
		hypervisor_step(m, cpu);
		ensure(cpu->rip == AT(PAGE_ROOT_CODE) + 2);
	} else {
		cpu->rip += 2;
	}
	if (vmx_has_current(vmx)) {
		vmcs_set(&vmx->vmcs, EXIT_REASON, 0);
		if (!cpu->in_smm && (how & 0x38) == 0x10)
			judge_dump(cpu);
	}
	expected = expect(cpu, launch, mov_ss);
	loads = loadable(cpu);
	if (expected.kind == ENTERED && loads < vmcs_get(&vmx->vmcs, VM_ENTRY_MSR_LOAD_COUNT))
		expected = (struct outcome){FAILED_ENTRY, VMX_EXIT_MSR_LOADING, loads + 1};
	hypervisor_step(m, cpu);
	observed = observe(cpu, entered);
	if (expected.kind != FAIL_INVALID && observed.kind == FAILED_ENTRY && observed.number == VMX_EXIT_MSR_LOADING &&
	    observed.qualification && observed.qualification <= loads)
		return; /* a value that WRMSR refuses */
	if (memcmp(&expected, &observed, sizeof(expected)) != 0) {
		say("expected", &expected);
		say("observed", &observed);
		abort();
	}
}

/* A guest may be a hypervisor too, in root operation after an SMM monitor returned there. */
static void on_failed_entry(void *ctx, struct cpu *cpu, const struct vmx_failed_entry *what)
{
	if (what->rule != VMX_CHECK_OK)
		ensure(judge(cpu, what->error == VMX_OK).first == what->rule);
}

static void on_instruction(void *ctx, struct cpu *cpu, const struct vmx_instruction *what)
{
}

static void on_entered(void *ctx, struct cpu *cpu, bool launch)
{
	ensure(cpu->vmx->on);
}

static void on_exit_or_leave(void *ctx, struct cpu *cpu)
{
	ensure(cpu->vmx->on);
}

static void on_abort(void *ctx, struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
	ensure(why);
}

static void on_triple_fault(void *ctx, struct cpu *cpu, const struct fault_chain *chain)
{
	ensure(chain->count);
}

static const struct vmx_reporter reporter = {
	.transitions = true,
	.instruction = on_instruction,
	.entry_failed = on_failed_entry,
	.entered = on_entered,
	.exits = on_exit_or_leave,
	.aborts = on_abort,
	.vmcs_leaves = on_exit_or_leave,
	.triple_fault = on_triple_fault,
};

/* A value that could mean something. */
static uint64_t take_value(struct input *in, uint64_t old)
{
	uint64_t how = input_take(in, 1), bit = how >> 2;

	switch (how & 3) {
	case 0: return old ^ BIT(bit);
	case 1: return AT(input_take(in, 1)) | bit;
	case 2: return bit & 1 ? ~UINT64_C(0) << bit : BIT(bit) - 1;
	default: return input_take(in, bit % 8 + 1);
	}
}

static void write_field(struct cpu *cpu, struct input *in, bool control)
{
	static const uint16_t controls[] = {VMCS_VM_PINBASED_CTLS,	 VMCS_VM_PROCBASED_CTLS,
					    VMCS_VM_PROCBASED_CTLS2,	 VMCS_VM_PROCBASED_CTLS3,
					    VMCS_VM_EXIT_CTLS,		 VMCS_VM_ENTRY_CTLS,
					    VMCS_GUEST_INTERRUPTIBILITY, VMCS_VM_ENTRY_INTERRUPTION_INFO};
	uint64_t which = input_take(in, 1);
	enum vmcs_field field =
		(enum vmcs_field)(control ? controls[which % ARRAY_SIZE(controls)] : which % VMCS_FIELD_COUNT);
	struct vmx *vmx = cpu->vmx;
	uint64_t value = take_value(in, vmx->vmcs.field[field]);

	if (vmx->on && !cpu->nonroot && vmx_has_current(vmx) &&
	    vmcs_write(&vmx->vmcs, vmx->caps, vmcs_field_info[field].encoding, true, value,
		       (struct vmcs_writer){.rip = 1}) == VMX_OK)
		ensure(vmx->vmcs.field[field] == (value & vmcs_field_mask(field)));
}

static void write_memory(struct machine *m, struct input *in)
{
	uint64_t page = input_take(in, 1), offset = input_take(in, 2) & 0xff8;
	uint8_t bytes[8];

	bus_read_bytes(m->bus, AT(page) + offset, bytes, 8);
	store_le(bytes, 8, take_value(in, load_le(bytes, 8)));
	bus_write_bytes(m->bus, AT(page) + offset, bytes, 8);
}

static void write_code(struct machine *m, struct input *in)
{
	uint64_t where = input_take(in, 1), size = min_u64(CODE, (uint64_t)(in->end - in->at));
	uint8_t code[CODE];

	if (where & 0x80)
		size = min_u64(size, where & 15);
	for (unsigned i = 0; i < size; i++)
		code[i] = (uint8_t)input_take(in, 1);
	bus_write_bytes(m->bus, AT(PAGE_GUEST_CODE) + (where & 0x7f), code, size);
}

/* Instructions of a hypervisor that take a region. */
static void use_region(struct machine *m, struct cpu *cpu, struct input *in)
{
	uint64_t what = input_take(in, 1), region = AT(PAGE_VMXON + (what >> 3) % 8) | (what >> 6 == 3 ? 8 : 0);
	enum vmx_error error = VMX_OK;
	struct vmx *vmx = cpu->vmx;

	if (cpu->nonroot || (cpu->in_smm && !vmx->dual_monitor))
		return;
	if (!vmx->on) {
		hypervisor_at(m, cpu, true, "", 1);
		(void)vmx_start(cpu, region);
		return;
	}
	switch (what & 7) {
	case 0: vmx->dual_monitor ? (void)0 : vmx_stop(cpu); break;
	case 1:
	case 2: error = vmx_clear(cpu, region); break;
	default: error = vmx_load_pointer(cpu, region); break;
	}
	if (error != VMX_OK)
		vmx_fail(cpu, error);
}

static void call_monitor(struct machine *m, struct cpu *cpu)
{
	static const uint8_t vmcall[] = {0x0f, 0x01, 0xc1};

	if (cpu->nonroot || !cpu->vmx->on)
		return;
	cpu->vmx->smm_monitor_ctl |= AT(PAGE_MSEG) | 1;
	hypervisor_at(m, cpu, true, vmcall, sizeof(vmcall));
	hypervisor_step(m, cpu);
}

static void raise_event(struct machine *m, struct cpu *cpu, struct input *in)
{
	uint64_t what = input_take(in, 1);

	cpu->sipi_vector = (uint8_t)(AT(PAGE_GUEST_CODE) >> 12);
	switch (what & 7) {
	case 0:
	case 1: cpu_set_pin(cpu, PIN_NMI, true); break;
	case 2: cpu_set_pin(cpu, PIN_SMI, true); break;
	case 3: cpu_set_pin(cpu, PIN_INIT, true); break;
	case 4: cpu_set_pin(cpu, PIN_SIPI, true); break;
	default:
		apic_deliver(m->apic_bus, &(struct interrupt){.destination = cpu->apic_id,
							      .vector = (uint8_t)(what < 128 ? 0xf2 : what),
							      .assert = true});
	}
}

static void restore(struct machine *m, const void *bytes, size_t size)
{
	struct state *state = state_restore(bytes, size);

	machine_state(m, state);
	ensure(!state_failed(state));
	state_free(state);
	whole_settle(m);
}

/* A snapshot here goes on in the same way each time, whatever the machine did before. */
static void run_twice(struct machine *m, unsigned time)
{
	struct state *saved = state_save();
	size_t size;
	const void *bytes;
	char before[33], first[33], second[33];

	machine_digest(m, before);
	machine_state(m, saved);
	bytes = state_data(saved, &size);
	restore(m, bytes, size);
	machine_digest(m, first);
	ensure(!strcmp(before, first));
	machine_run(m, time);
	machine_digest(m, first);
	restore(m, bytes, size);
	machine_run(m, time);
	machine_digest(m, second);
	ensure(!strcmp(first, second));
	state_free(saved);
}

static void set_registers(struct cpu *cpu)
{
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			cpu->r[i] = AT(PAGE_VMXON + i) + (i & 1 ? 0x80 : 0);
}

/* False: the machine has come to an end of some kind. */
static bool operate(struct machine *m, struct cpu *cpu, struct input *in, unsigned *snapshots)
{
	uint64_t what = input_take(in, 1);

	switch (what & 15) {
	case 0:
	case 1: write_field(cpu, in, false); break;
	case 2: write_field(cpu, in, true); break;
	case 3: write_memory(m, in); break;
	case 4: write_code(m, in); break;
	case 5: use_region(m, cpu, in); break;
	case 6: raise_event(m, cpu, in); break;
	case 7: call_monitor(m, cpu); break;
	case 8:
		if ((*snapshots)++ < SNAPSHOTS)
			run_twice(m, 1 + (unsigned)what * 2);
		break;
	case 9: whole_pass(m, UINT64_C(1) << (what >> 4), 20); break;
	case 10: cpu->r[what >> 4] = take_value(in, cpu->r[what >> 4]); break;
	case 11:
		if (vmx_has_current(cpu->vmx) && !cpu->nonroot)
			hypervisor_fill(cpu, (enum guest)((what >> 4) % GUEST_COUNT), (unsigned)input_take(in, 1));
		break;
	default:
		if (!cpu->nonroot && cpu->vmx->on) {
			enter(m, cpu, (uint8_t)input_take(in, 1));
			set_registers(cpu);
		}
		machine_run(m, 1 + what);
		break;
	}
	ensure(!cpu->nonroot || (cpu->vmx->on && vmx_has_current(cpu->vmx)));
	return !m->reset_wanted && !m->ended && m->stopped == STOP_NONE && cpu->activity != ACTIVITY_SHUTDOWN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	unsigned snapshots = 0;
	uint8_t guest, wishes;
	struct machine *m;
	struct cpu *cpu;

	if (size < 4 || size > 1024)
		return 0;
	m = whole_machine();
	guest = (uint8_t)input_take(&in, 1);
	wishes = (uint8_t)input_take(&in, 1);
	cpu = &m->cpu[guest >> 7];
	cpu->reporter = &reporter;
	m->turn_cpu = cpu->number;
	m->turn_end = 0;
	hypervisor_pages(m);
	write_code(m, &in);
	hypervisor_at(m, cpu, true, "", 1);
	ensure(vmx_start(cpu, AT(PAGE_VMXON)));
	ensure(vmx_load_pointer(cpu, AT(PAGE_VMCS)) == VMX_OK);
	hypervisor_fill(cpu, (enum guest)(guest % GUEST_COUNT), wishes);
	set_registers(cpu);
	for (unsigned i = 0; i < OPERATIONS && in.at < in.end && operate(m, cpu, &in, &snapshots); i++)
		;
	cpu->reporter = NULL;
	return 0;
}
