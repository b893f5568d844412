/*
 * Is VT-x there, and what can it do? SDM vol. 3, "Discovering Support for VMX", "Enabling and Entering VMX Operation" and
 * appendix "VMX Capability Reporting Facility".
 */
#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/caps.h"

enum { IA32_VMX_CR0_FIXED0 = 0x486, IA32_VMX_CR0_FIXED1, IA32_VMX_CR4_FIXED0, IA32_VMX_CR4_FIXED1 };
enum { FEATURE_LOCK = 1 << 0, FEATURE_VMX_OUTSIDE_SMX = 1 << 2 };
enum { LEAF1_ECX_VMX = 1 << 5 };

struct vmx_caps vmx_caps;

/* Where each word is reported. PLAIN: one bit of the MSR for each bit of the word. */
#define PLAIN 1
static const struct word {
	const char *name;
	uint32_t msr, true_msr;
} words[WORDS] = {
#define WORD(word, msr, true_msr, default1) [WORD_##word] = {#word, msr, true_msr},
#include "vmx_controls.def"
};

const char *vmx_available(void)
{
	uint64_t control;

	if (!(cpuid(1, 0).ecx & LEAF1_ECX_VMX))
		return "this CPU has no VMX (CPUID.1:ECX.VMX, bit 5, is 0)";
	/* A processor without the MSR (some virtual ones) has nothing to unlock. */
	if (!rdmsr_safe(IA32_FEATURE_CONTROL, &control))
		return NULL;
	if (control & FEATURE_LOCK)
		return control & FEATURE_VMX_OUTSIDE_SMX
			       ? NULL
			       : "the firmware has locked IA32_FEATURE_CONTROL with VMX off (bit 0 is 1, bit 2 is 0)";
	if (!wrmsr_safe(IA32_FEATURE_CONTROL, control | FEATURE_LOCK | FEATURE_VMX_OUTSIDE_SMX))
		return "IA32_FEATURE_CONTROL does not take VMX outside SMX (bit 2)";
	return NULL;
}

/* An MSR that this CPU has not is one where nothing is allowed: so no caller must know which MSR depends on which control. */
static uint64_t capability(uint32_t msr)
{
	uint64_t value;

	return rdmsr_safe(msr, &value) ? value : 0;
}

static bool is_plain(enum vmx_word word) { return words[word].true_msr == PLAIN; }

static void read_caps(struct vmx_caps *caps)
{
	uint64_t basic = capability(words[WORD_BASIC].msr);

	memset(caps, 0, sizeof(*caps));
	for (enum vmx_word word = 0; word < WORDS; word++) {
		bool has_true = (basic & CTL(BASIC, TRUE_CTLS)) && words[word].true_msr > PLAIN;
		uint64_t value = capability(has_true ? words[word].true_msr : words[word].msr);

		caps->must[word] = is_plain(word) ? 0 : value & BITS(31, 0);
		caps->may[word] = is_plain(word) ? value : value >> 32;
	}
	caps->revision = basic & BITS(30, 0);
	caps->cr0_must = capability(IA32_VMX_CR0_FIXED0);
	caps->cr0_may = capability(IA32_VMX_CR0_FIXED1);
	caps->cr4_must = capability(IA32_VMX_CR4_FIXED0);
	caps->cr4_may = capability(IA32_VMX_CR4_FIXED1);
}

void vmx_caps_read(void) { read_caps(&vmx_caps); }

bool vmx_caps_agree(void)
{
	struct vmx_caps own;

	read_caps(&own);
	return !memcmp(&own, &vmx_caps, sizeof(own));
}

unsigned vmx_print_titles(unsigned column, const char *heading, enum vmx_word word, uint64_t bits)
{
	enum { COLUMNS = 120, INDENT = 12 };

	for (unsigned bit = 0; bit < 64; bit++) {
		const char *title = vmx_control_title(word, bit);

		if (!title || !(bits & BIT(bit)))
			continue;
		if (column && column + strlen(title) + 3 <= COLUMNS) {
			print(", %s", title);
			column += 2 + (unsigned)strlen(title);
		} else {
			print("%s  %-9s %s", column ? ",\n" : "", column ? "" : heading, title);
			column = INDENT + (unsigned)strlen(title);
		}
	}
	return column;
}

static void print_list(const char *heading, enum vmx_word word, uint64_t bits)
{
	if (vmx_print_titles(0, heading, word, bits))
		print("\n");
}

void vmx_caps_report(void)
{
	const uint64_t misc = vmx_caps.may[WORD_MISC], basic = vmx_caps.may[WORD_BASIC];

	print("VMX: VMCS revision %x, regions of %u bytes, timer 1 tick in 2^%u of the TSC, %u CR3-target values\n",
	      vmx_caps.revision, (unsigned)(basic >> 32 & 0x1fff), (unsigned)(misc & 0x1f), (unsigned)(misc >> 16 & 0x1ff));
	print("VMX: CR0 must %lx may %lx, CR4 must %lx may %lx\n", vmx_caps.cr0_must, vmx_caps.cr0_may, vmx_caps.cr4_must,
	      vmx_caps.cr4_may);
	for (enum vmx_word word = 0; word < WORDS; word++) {
		uint64_t must = vmx_caps.must[word], may = vmx_caps.may[word];

		print("IA32_VMX_%s, MSR %x: must %lx, may %lx\n", words[word].name, words[word].msr, must, may);
		print_list("required:", word, must);
		print_list("allowed:", word, may & ~must);
		print_list("absent:", word, ~may);
	}
}
