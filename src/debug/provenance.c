/*
 * Writers of VMCS fields, by the VMCS' address. Whether the field still has the value that was written is for who asks
 * to see: the processor writes fields too, and memory may hold another VMCS by now.
 */
#include "debug/provenance.h"

#include <stdlib.h>

#include "base/error.h"

enum { VMCSS = 64 };

struct note {
	pa_t vmcs;
	uint64_t used; /* 0: free; else higher is later */
	struct vmcs_writer writer[VMCS_FIELD_COUNT];
};

struct provenance {
	uint64_t clock;
	struct note *note[VMCSS]; /* NULL: not used yet */
};

struct provenance *provenance_create(void)
{
	return xcalloc(1, sizeof(struct provenance));
}

void provenance_destroy(struct provenance *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < VMCSS; i++)
		free(p->note[i]);
	free(p);
}

static struct note *find(const struct provenance *p, pa_t vmcs)
{
	for (unsigned i = 0; i < VMCSS; i++)
		if (p->note[i] && p->note[i]->used && p->note[i]->vmcs == vmcs)
			return p->note[i];
	return NULL;
}

/* A free place, or that of the VMCS that left longest ago. */
static struct note *new_note(struct provenance *p, pa_t vmcs)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < VMCSS; i++) {
		if (!p->note[i])
			p->note[i] = xcalloc(1, sizeof(*p->note[i]));
		if (p->note[i]->used < p->note[oldest]->used)
			oldest = i;
		if (!p->note[oldest]->used)
			break;
	}
	memset(p->note[oldest], 0, sizeof(*p->note[oldest]));
	p->note[oldest]->vmcs = vmcs;
	return p->note[oldest];
}

void provenance_keep(struct provenance *p, pa_t vmcs, const struct vmcs *v)
{
	struct note *note = find(p, vmcs);

	if (!note)
		note = new_note(p, vmcs);
	note->used = ++p->clock;
	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++)
		if (vmcs_written(&v->writer[field]))
			note->writer[field] = v->writer[field];
}

bool provenance_find(const struct provenance *p, pa_t vmcs, enum vmcs_field field, struct vmcs_writer *writer)
{
	const struct note *note = find(p, vmcs);

	if (!note || !vmcs_written(&note->writer[field]))
		return false;
	*writer = note->writer[field];
	return true;
}
