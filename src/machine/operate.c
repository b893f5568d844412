/*
 * What a person does to a machine from outside: keys, the power button, a look at the screen; and lists of what is in
 * it.
 */
#include "machine/board.h"

#include <stdlib.h>
#include <string.h>

vtime_t machine_time(const struct machine *m)
{
	return clock_now(m->clock);
}

unsigned machine_cpus(const struct machine *m)
{
	return m->cpus;
}

struct cpu *machine_cpu(struct machine *m, unsigned number)
{
	return &m->cpu[number];
}

void machine_cpu_changed(struct machine *m, unsigned number)
{
	cpu_mode_changed(&m->cpu[number]);
	mem_context_changed(&m->cpu[number]);
}

void machine_set_breakpoint(struct machine *m, la_t la, bool set)
{
	interp_set_breakpoint(m->interp, la, set);
}

void machine_press_power(struct machine *m)
{
	pm_power_button(m->board->pm);
}

void machine_print_interrupts(struct machine *m, FILE *to)
{
	for (unsigned chip = 0; chip < 2; chip++) {
		uint8_t r[4];

		pic_peek(m->board->pic, chip, r);
		fprintf(to, "8259 %s: IRR %02x, ISR %02x, IMR %02x, ELCR %02x\n", chip ? "slave" : "master", r[0], r[1],
			r[2], r[3]);
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic_entry(m->board->ioapic, pin);

		fprintf(to, "I/O APIC pin %2u: %016llx vector %02x, %s, %s%s\n", pin, (unsigned long long)entry,
			(unsigned)(entry & 0xff), entry & BIT(15) ? "level" : "edge",
			entry & BIT(16) ? "masked" : "open", entry & BIT(14) ? ", waiting for EOI" : "");
	}
}

bool machine_screendump(struct machine *m, const char *file, struct error *error)
{
	if (!m->board->vga)
		return error_set(error, "the machine has no graphics card");
	return vga_screendump(m->board->vga, file, error);
}

bool machine_send_keys(struct machine *m, const char *keys, struct error *error)
{
	char *copy = xstrdup(keys), *rest = copy, *name[16];
	unsigned pressed = 0;
	bool good = m->board->i8042 || error_set(error, "the machine has no keyboard");

	while (good && (name[pressed] = strsep(&rest, "-"))) {
		good = i8042_key(m->board->i8042, name[pressed], true) ||
		       error_set(error, "there is no key '%s'", name[pressed]);
		pressed += good;
		if (good && pressed == ARRAY_SIZE(name))
			good = error_set(error, "more than %u keys at once", pressed - 1);
	}
	while (pressed--)
		i8042_key(m->board->i8042, name[pressed], false);
	free(copy);
	return good;
}

void machine_print_drives(struct machine *m, FILE *to)
{
	for (unsigned i = 0; i < m->board->drives; i++) {
		const struct drive *drive = &m->board->drive[i];

		fprintf(to, "%s: %s%s%s", drive->where ? drive->where : "not attached",
			drive->cdrom ? "CD drive, " : "", drive->file ? drive->file : "empty",
			drive->id ? ", id " : "");
		fprintf(to, "%s", drive->id ? drive->id : "");
		if (drive->block)
			fprintf(to, ", %llu bytes%s", (unsigned long long)block_size(drive->block),
				block_read_only(drive->block) ? ", read-only" : "");
		fputc('\n', to);
	}
}
