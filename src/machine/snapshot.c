/*
 * The machine's whole state: one walk over all parts that saves, restores or digests.
 *
 * A snapshot file is a gzip stream of one line that names the format and the walk's bytes. It fits the same
 * configuration only: the same options, the same disks. What the disks hold is not in it.
 */
#include "machine/parts.h"
#include "vmx/vmx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const char format_line[] = "SoftVT snapshot 1\n";

/* Refuse what was saved from another configuration. */
static void check_same(struct state *state, const char *what, uint64_t mine)
{
	uint64_t saved = mine;
	char why[128];

	state_var(state, saved);
	if (saved == mine || state_failed(state))
		return;
	snprintf(why, sizeof(why), "it is of a machine with another %s", what);
	state_refuse(state, why);
}

static uint64_t model_fingerprint(const struct cpu_model *model, const struct vmx_capability *vmx)
{
	uint64_t sum = model->family ^ (uint64_t)model->model << 8 ^ (uint64_t)model->stepping << 16;

	for (unsigned i = 0; i < ARRAY_SIZE(model->features); i++)
		sum = (sum ^ model->features[i]) * UINT64_C(0x9e3779b97f4a7c15);
	for (unsigned i = 0; model_has(model, FEATURE_VMX) && i < VMX_WORD_COUNT; i++)
		sum = (sum ^ vmx->offers[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return sum;
}

void machine_state(struct machine *m, struct state *state)
{
	state_section(state, "machine");
	check_same(state, "number of CPUs", m->cpus);
	check_same(state, "CPU topology",
		   m->topology.dies | (uint64_t)m->topology.cores << 16 | (uint64_t)m->topology.threads << 32);
	check_same(state, "length of an instruction (-icount)", m->icount_shift);
	check_same(state, "size of RAM", bus_ram_size(m->bus));
	check_same(state, "CPU model", model_fingerprint(&m->model, &m->vmx));
	check_same(state, "set of devices", m->parts);
	if (state_failed(state))
		return;
	state_var(state, m->turn_cpu);
	state_var(state, m->turn_end);
	if (m->turn_cpu >= m->cpus) {
		m->turn_cpu = 0;
		state_refuse(state, "the running CPU does not exist");
		return;
	}
	clock_state(m->clock, state);
	bus_state(m->bus, state);
	for (unsigned i = 0; i < m->cpus; i++) {
		cpu_state(&m->cpu[i], state);
		if (m->cpu[i].vmx)
			vmx_state(&m->cpu[i], state);
		apic_state(m->cpu[i].apic, state);
	}
	for (unsigned i = 0; i < m->parts; i++) {
		if (m->part[i].ops->state)
			m->part[i].ops->state(m->part[i].part, state);
		if (state_failed(state))
			return;
	}
}

void machine_digest(struct machine *m, char text[33])
{
	struct state *state = state_digest();

	machine_state(m, state);
	state_digest_text(state, text);
	state_free(state);
}

/* Whole or not at all: the file appears under its name when it is complete. */
bool machine_save(struct machine *m, const char *file, struct error *error)
{
	char *partial = xasprintf("%s.partial", file);
	struct state *state = state_save();
	gzFile out = gzopen(partial, "wb1");
	const uint8_t *bytes;
	size_t size;
	bool good;

	machine_state(m, state);
	bytes = state_data(state, &size);
	good = out && gzwrite(out, format_line, sizeof(format_line) - 1) > 0;
	for (size_t done = 0; good && done < size;) {
		unsigned piece = (unsigned)min_u64(size - done, 1 << 20);

		good = gzwrite(out, bytes + done, piece) == (int)piece;
		done += piece;
	}
	if (out)
		good = gzclose(out) == Z_OK && good;
	good = good && rename(partial, file) == 0;
	if (!good) {
		error_set(error, "could not write snapshot '%s': %s", file, strerror(errno));
		unlink(partial);
	}
	state_free(state);
	free(partial);
	return good;
}

/* The rest of a stream, at most `most` bytes, in new memory. NULL: unreadable or longer. */
static uint8_t *read_all(gzFile in, size_t most, size_t *size)
{
	uint8_t *bytes = NULL;
	size_t room = 0;
	int got;

	*size = 0;
	do {
		if (room - *size < 1 << 20) {
			room = 2 * room + (1 << 20);
			bytes = xrealloc(bytes, room);
		}
		got = gzread(in, bytes + *size, 1 << 20);
		if (got > 0)
			*size += (size_t)got;
	} while (got > 0 && *size <= most);
	if (got == 0)
		return bytes;
	free(bytes);
	return NULL;
}

bool machine_restore(struct machine *m, const char *file, struct error *error)
{
	char line[sizeof(format_line)] = "";
	gzFile in = gzopen(file, "rb");
	uint8_t *bytes = NULL;
	struct state *state;
	size_t size = 0;
	bool good;

	if (!in)
		return error_set(error, "could not open snapshot '%s': %s", file, strerror(errno));
	if (gzread(in, line, sizeof(line) - 1) == (int)sizeof(line) - 1 && !strcmp(line, format_line))
		bytes = read_all(in, 2 * bus_ram_size(m->bus) + (UINT64_C(256) << 20), &size);
	gzclose(in);
	if (!bytes)
		return error_set(error, "'%s' is not a whole snapshot", file);
	state = state_restore(bytes, size);
	machine_state(m, state);
	good = !state_failed(state);
	if (!good)
		error_set(error, "snapshot '%s' does not fit: %s", file, state_why(state));
	state_free(state);
	free(bytes);
	for (unsigned i = 0; i < m->cpus; i++) {
		mem_flush_all(&m->cpu[i]);
		machine_cpu_changed(m, i);
	}
	/* Half a state is none. */
	if (!good)
		machine_request_reset(m);
	return good;
}
