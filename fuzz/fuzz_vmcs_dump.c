/*
 * Text that may hold VMCS dumps: every dump is read to its end, holds no bits beyond its fields' widths, and is judged
 * with and without a processor's capabilities; what is judged without them must come out the same with them.
 */
#include "base/error.h"
#include "exec/host.h"
#include "vmx/check.h"
#include "vmx/dump.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vmx_check_result judge(const struct vmx_dump *dump, const struct vmx_capability *caps)
{
	const struct vmx_check_input input = {.vmcs = &dump->vmcs, .present = dump->present, .caps = caps};
	struct vmx_check_result result = {0};

	for (unsigned section = 0; section < VMX_SECTION_COUNT; section++)
		vmx_check_section(&input, (enum vmx_check_section)section, &result);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmx_dump_reader reader = {.text = (const char *)data, .size = size, .line = 1};
	struct vmx_capability caps;
	struct cpu_model model;
	struct error error;
	struct vmx_dump dump;

	if (!cpu_model_parse("max", host_has_feature, &model, &error, &error))
		abort();
	vmx_capability_init(&caps, &model, NULL, &error);
	while (vmx_dump_next(&reader, &dump)) {
		struct vmx_check_result without = judge(&dump, NULL), with = judge(&dump, &caps);
		unsigned fields = 0;

		for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
			fields += vmx_check_in(dump.present, field);
			if (dump.vmcs.field[field] & ~vmcs_field_mask((enum vmcs_field)field))
				abort();
		}
		if (fields != dump.fields)
			abort();
		for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
			if (vmx_check_in(without.broken, rule) && !vmx_check_in(with.broken, rule))
				abort();
			if (!vmx_check_in(without.unjudged, rule) && vmx_check_in(with.unjudged, rule))
				abort();
			if (vmx_check_in(with.broken, rule) && vmx_check_in(with.unjudged, rule))
				abort();
		}
		for (unsigned i = 0; i < dump.msrs; i++)
			if (vmx_check_msr_load(dump.msr[i], false) >= VMX_CHECK_COUNT)
				abort();
	}
	return 0;
}
