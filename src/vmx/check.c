/*
 * VM entry's rules: the table, running a section of them, and what several sections ask. SDM vol. 3, "VM Entries".
 */
#include "cpu/msr.h"
#include "vmx/rule.h"

const struct vmx_check_section_info vmx_check_section_info[VMX_SECTION_COUNT] = {
#define CHECK_SECTION(name, group, title) {VMX_GROUP_##group, title},
#include "vmx_checks.def"
#undef CHECK_SECTION
};

const struct vmx_check_info vmx_check_info[VMX_CHECK_COUNT] = {
/* An outcome in one number, because it is handed through macros. */
#define FAIL(error)		    ((error) << 16)
#define EXIT(reason, qualification) ((reason) << 8 | (qualification))
#define ENTRY			    0
#define CHECK(name, id, section, outcome, text) \
	[VMX_CHECK_##name] = {id, VMX_SECTION_##section, (outcome) >> 16, (outcome) >> 8 & 0xff, (outcome)&0xff, text},
#include "vmx_checks.def"
#undef CHECK
#undef ENTRY
};

void check_verdict(struct check *c, enum vmx_check rule, bool holds)
{
	const uint64_t *present = c->input->present;
	bool unknown = c->unknown;

	for (unsigned i = 0; i < VMX_FIELD_WORDS; i++) {
		unknown = unknown || (present && (c->read[i] & ~present[i]));
		if (rule == c->wanted)
			c->fields[i] = c->read[i];
		c->read[i] = 0;
	}
	c->unknown = false;
	if (unknown)
		c->result->unjudged[rule / 64] |= BIT(rule % 64);
	else if (!holds) {
		c->result->broken[rule / 64] |= BIT(rule % 64);
		if (c->result->first == VMX_CHECK_OK)
			c->result->first = rule;
	}
}

bool check_returns_from_smm(struct check *c)
{
	return c->input->cpu && c->input->cpu->smm && !ON_ENTRY(c, ENTRY_TO_SMM);
}

bool check_returns_to_root(struct check *c)
{
	return check_returns_from_smm(c) && get(c, EXECUTIVE_VMCS_POINTER) == c->input->cpu->vmxon;
}

uint64_t check_get_execution(struct check *c, enum vmcs_field field)
{
	const struct vmx_check_cpu *cpu = c->input->cpu;

	if (!check_returns_from_smm(c))
		return check_get(c, field);
	if (check_returns_to_root(c) || !cpu->executive)
		return 0;
	return cpu->executive->field[field];
}

bool check_caps_known(struct check *c)
{
	if (!c->input->caps)
		c->unknown = true;
	return c->input->caps;
}

/* Linear addresses have 48 or 57 bits, physical ones 36 to 52 where VMX is. */
bool check_canonical(struct check *c, uint64_t address)
{
	const struct vmx_capability *caps = c->input->caps;

	if (caps)
		return (uint64_t)sign_extend(address, caps->linear_bits) == address;
	if ((uint64_t)sign_extend(address, 57) != address)
		return false;
	c->unknown = c->unknown || (uint64_t)sign_extend(address, 48) != address;
	return true;
}

bool check_same_beyond_linear_width(struct check *c, uint64_t address)
{
	const struct vmx_capability *caps = c->input->caps;
	unsigned bits = caps ? caps->linear_bits : 57;
	uint64_t beyond = address & BITS(63, bits);

	if (beyond && beyond != BITS(63, bits))
		return false;
	if (!caps && (address & BITS(63, 48)) && (address & BITS(63, 48)) != BITS(63, 48))
		c->unknown = true;
	return true;
}

bool check_in_width(struct check *c, uint64_t address)
{
	const struct vmx_capability *caps = c->input->caps;

	if (caps)
		return !(address >> (vmx_may(caps, BASIC, ADDRESSES_32) ? 32 : caps->physical_bits));
	if (address >> 52)
		return false;
	c->unknown = c->unknown || address >> 36;
	return true;
}

bool check_cr0_fixed(struct check *c, uint64_t cr0, uint64_t free)
{
	const struct vmx_capability *caps = c->input->caps;
	/* The same on all processors so far. */
	uint64_t fixed0 = caps ? caps->cr0_fixed0 : CR0_PE | CR0_NE | CR0_PG,
		 fixed1 = caps ? caps->cr0_fixed1 : BITS(31, 0);

	return !(~cr0 & fixed0 & ~free) && !(cr0 & ~fixed1 & ~free);
}

bool check_cr4_fixed(struct check *c, uint64_t cr4)
{
	const struct vmx_capability *caps = c->input->caps;

	if (caps)
		return !(~cr4 & caps->cr4_fixed0) && !(cr4 & ~caps->cr4_fixed1);
	if (!(cr4 & CR4_VMXE))
		return false;
	/* What the first processors with VMX and Intel 64 had. */
	c->unknown = c->unknown || (cr4 & ~(BITS(10, 0) | CR4_VMXE));
	return true;
}

/* SDM vol. 3, "IA32_PAT MSR": memory types, and UC-. */
bool check_pat(uint64_t value)
{
	for (unsigned byte = 0; byte < 8; byte++) {
		uint64_t type = value >> (8 * byte) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

bool check_efer(struct check *c, uint64_t value)
{
	return !(value & ~(c->input->caps ? c->input->caps->efer_allowed : EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
}

/* Which bits are not reserved is for the model to say. */
bool check_perf_global_ctrl(struct check *c, uint64_t value)
{
	return !value || !check_caps_known(c) || !(value & ~c->input->caps->perf_global_ctrl_allowed);
}

bool check_debugctl(struct check *c, uint64_t value)
{
	return !(value & ~(DEBUGCTL_LBR | DEBUGCTL_BTF)) || !check_caps_known(c) ||
	       !(value & ~c->input->caps->debugctl_allowed);
}

static void (*const sections[VMX_SECTION_COUNT])(struct check *) = {
	[VMX_SECTION_EXECUTION] = check_execution,	     [VMX_SECTION_EXIT_CONTROLS] = check_exit_controls,
	[VMX_SECTION_ENTRY_CONTROLS] = check_entry_controls, [VMX_SECTION_EXECUTIVE] = check_executive,
	[VMX_SECTION_HOST_REGISTERS] = check_host_registers, [VMX_SECTION_HOST_SEGMENTS] = check_host_segments,
	[VMX_SECTION_ADDRESS_SPACE] = check_address_space,   [VMX_SECTION_GUEST_REGISTERS] = check_guest_registers,
	[VMX_SECTION_GUEST_SEGMENTS] = check_guest_segments, [VMX_SECTION_GUEST_TABLES] = check_guest_tables,
	[VMX_SECTION_GUEST_RIP] = check_guest_rip,	     [VMX_SECTION_GUEST_NONREGISTER] = check_guest_nonregister,
	[VMX_SECTION_GUEST_PDPTES] = check_guest_pdptes,
};

void vmx_check_section(const struct vmx_check_input *input, enum vmx_check_section section,
		       struct vmx_check_result *result)
{
	struct check check = {.input = input, .result = result, .tracks = input->present};

	if (sections[section])
		sections[section](&check);
}

void vmx_check_group(const struct vmx_check_input *input, enum vmx_check_group group, struct vmx_check_result *result)
{
	for (unsigned section = 0; section < VMX_SECTION_COUNT; section++)
		if (vmx_check_section_info[section].group == group)
			vmx_check_section(input, (enum vmx_check_section)section, result);
}

void vmx_check_fields(const struct vmx_check_input *input, enum vmx_check rule, uint64_t fields[VMX_FIELD_WORDS])
{
	struct vmx_check_result result = {0};
	struct check check = {.input = input, .result = &result, .tracks = true, .wanted = rule, .fields = fields};
	enum vmx_check_section section = vmx_check_info[rule].section;

	memset(fields, 0, VMX_FIELD_WORDS * sizeof(*fields));
	if (sections[section])
		sections[section](&check);
}

/* SDM vol. 3, "Loading MSRs". What WRMSR refuses is not seen here. */
enum vmx_check vmx_check_msr_load(uint64_t entry, bool smm)
{
	uint32_t index = (uint32_t)entry;

	if (index == 0xc0000100 || index == 0xc0000101)
		return VMX_CHECK_MSR_FS_GS_BASE;
	if (index >> 8 == 8)
		return VMX_CHECK_MSR_X2APIC;
	if (index == MSR_SMM_MONITOR_CTL && !smm)
		return VMX_CHECK_MSR_SMM_ONLY;
	if (index == 0x79 || index == 0x8b)
		return VMX_CHECK_MSR_MODEL;
	if (entry >> 32)
		return VMX_CHECK_MSR_RESERVED;
	return VMX_CHECK_OK;
}
