/*
 * Snapshots from strangers: a good one with patches. Input: {offset, 3 bytes; length, 1 byte; bytes} again and again;
 * offsets beyond the end count from the start again. What a restore accepts runs, is looked at, saved and restored
 * again.
 */
#include "whole.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool restore(struct machine *m, const void *bytes, size_t size)
{
	struct state *state = state_restore(bytes, size);
	bool good;

	machine_state(m, state);
	good = !state_failed(state);
	state_free(state);
	whole_settle(m);
	return good;
}

/* Read what reading may change. */
static void look(struct machine *m)
{
	for (unsigned port = 0; port < 0x700; port++)
		bus_in(m->bus, (uint16_t)port, 1);
	for (unsigned offset = 0; offset < 0x400; offset += 16)
		apic_read(m->cpu[0].apic, offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct machine *m = whole_machine();
	struct state *again;
	size_t length;
	const uint8_t *good = whole_state(&length);
	uint8_t *bad = malloc(length);
	const void *bytes;

	memcpy(bad, good, length);
	while (in.at < in.end) {
		size_t at = input_take(&in, 3) % length, count = input_take(&in, 1) % 32 + 1;

		for (; count-- && in.at < in.end; at = (at + 1) % length)
			bad[at] = (uint8_t)input_take(&in, 1);
	}
	if (restore(m, bad, length)) {
		machine_run(m, 3000);
		whole_pass(m, NS_PER_SECOND, 50);
		m->ended = m->reset_wanted = false;
		look(m);
		again = state_save();
		machine_state(m, again);
		bytes = state_data(again, &length);
		if (!restore(m, bytes, length))
			__builtin_trap();
		state_free(again);
		machine_run(m, 1000);
	}
	free(bad);
	return 0;
}
