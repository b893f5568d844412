/*
 * A guest that treats its devices badly: the input is a sequence of operations, each a byte and its operands: accesses
 * of all sizes to ports, BARs, fixed memory-mapped registers and configuration space, writes to RAM where descriptors,
 * queues and command lists are then found, time that passes, instructions that run.
 */
#include "apic/apic.h"
#include "firmware/firmware.h"
#include "whole.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS = 300 };

static const uint16_t ports[] = {0x00,	0x20,  0x40,  0x60,  0x70,  0x80,  0x92,  0xa0,	 0xb2,	 0xc0,
				 0xe0,	0xf0,  0x1ce, 0x2e8, 0x2f8, 0x3b0, 0x3c0, 0x3d0, 0x3e8,	 0x3f8,
				 0x402, 0x4d0, 0x501, 0x510, 0x600, 0x620, 0x660, 0xcf8, 0x2000, 0x2010};
static const pa_t windows[] = {0xa0000,	  0xb8000,   0xc0000,	 0xf0000,    ECAM_BASE, IOAPIC_BASE,
			       HPET_BASE, RCBA_BASE, LAPIC_BASE, 0xff000000, 0xfffffff0};

/* The n-th function there is, counting from 0 again after the last. */
static struct pci_function *function(struct machine *m, unsigned n)
{
	struct pci_function *found[64];
	unsigned count = 0;

	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned number = 0; number < 8 && count < ARRAY_SIZE(found); number++) {
			found[count] = pci_find(m->pci, 0, (uint8_t)slot, (uint8_t)number);
			count += found[count] != NULL;
		}
	}
	return found[n % count];
}

static uint16_t bdf(const struct pci_function *f)
{
	return (uint16_t)(f->slot << 3 | f->number);
}

static void access_bar(struct machine *m, struct input *in, bool write, unsigned size)
{
	uint64_t where = input_take(in, 1), offset = input_take(in, 2);
	struct pci_function *f = function(m, where / 8 & 15);
	unsigned bar = where % 8 % 6;
	uint64_t base;

	for (unsigned i = 0; i < PCI_BARS && !f->bar[bar].kind; i++)
		bar = (bar + 1) % PCI_BARS;
	base = pci_config_dword(f, 0x10 + 4 * bar);
	if (f->bar[bar].kind == PCI_BAR_IO && size < 8) {
		uint16_t port = (uint16_t)((base & ~UINT64_C(3)) + offset % 64);

		if (write)
			bus_out(m->bus, port, size, (uint32_t)input_take(in, size));
		else
			bus_in(m->bus, port, size);
		return;
	}
	if (f->bar[bar].kind >= PCI_BAR_MEM64)
		base |= (uint64_t)pci_config_dword(f, 0x14 + 4 * bar) << 32;
	base = (base & ~UINT64_C(15)) + offset;
	if (write)
		bus_write(m->bus, base, size, where & 0x80 ? input_take(in, 2) << 4 : input_take(in, size), false);
	else
		bus_read(m->bus, base, size, false);
}

static void access_port(struct machine *m, struct input *in, bool write, unsigned size, bool anywhere)
{
	unsigned port = (unsigned)input_take(in, 1);

	port = anywhere ? port << 8 | (unsigned)input_take(in, 1)
			: ports[port % ARRAY_SIZE(ports)] + (unsigned)input_take(in, 1) % 32;
	if (size == 8)
		size = 4;
	if (write)
		bus_out(m->bus, (uint16_t)port, size, (uint32_t)input_take(in, size));
	else
		bus_in(m->bus, (uint16_t)port, size);
}

static void access_window(struct machine *m, struct input *in, bool write, unsigned size)
{
	pa_t pa = windows[input_take(in, 1) % ARRAY_SIZE(windows)];

	pa += input_take(in, 2);
	if (write)
		bus_write(m->bus, pa, size, input_take(in, size), size == 2);
	else
		bus_read(m->bus, pa, size, size == 2);
}

static void access_config(struct machine *m, struct input *in, bool write, unsigned size)
{
	struct pci_function *f = function(m, (unsigned)input_take(in, 1));
	unsigned offset;

	if (size == 8)
		size = 4;
	offset = (unsigned)input_take(in, 2) & (PCI_CONFIG_SIZE - size) & ~(size - 1);
	if (offset & 0x800)
		offset &= 0xff & ~(size - 1);
	if (write)
		pci_config_access_write(m->pci, bdf(f), offset, size, (uint32_t)input_take(in, size));
	else
		pci_config_access_read(m->pci, bdf(f), offset, size);
}

/* Input, or the address of somewhere in RAM. */
static void write_ram(struct machine *m, struct input *in, bool pointer)
{
	pa_t pa = input_take(in, 2) << 4;
	uint8_t bytes[64];
	uint64_t size = pointer ? 8 : input_take(in, 1) % sizeof(bytes) + 1;

	if (pointer)
		store_le(bytes, 8, input_take(in, 2) << 4 | input_take(in, 1));
	for (unsigned i = 0; i < size && !pointer; i++)
		bytes[i] = (uint8_t)input_take(in, 1);
	bus_write_bytes(m->bus, pa, bytes, size);
}

static void access_apic(struct machine *m, struct input *in, bool write)
{
	struct apic *apic = m->cpu[input_take(in, 1) % m->cpus].apic;
	unsigned offset = (unsigned)input_take(in, 1) << 4;

	if (write)
		apic_write(apic, offset, (uint32_t)input_take(in, 4));
	else
		apic_read(apic, offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct error error;
	struct machine *m;

	if (size < 4 || size > 4096)
		return 0;
	m = whole_machine();
	for (unsigned i = 0; i < OPERATIONS && in.at < in.end; i++) {
		uint64_t what = input_take(&in, 1);
		bool write = what & 0x10;
		unsigned bytes = 1u << (what >> 5 & 3);

		switch (what & 15) {
		case 0:
		case 1: access_port(m, &in, write, bytes, false); break;
		case 2: access_port(m, &in, write, bytes, true); break;
		case 3:
		case 4:
		case 5: access_bar(m, &in, write, bytes); break;
		case 6: access_window(m, &in, write, bytes); break;
		case 7: access_config(m, &in, write, bytes); break;
		case 8:
		case 9: write_ram(m, &in, false); break;
		case 10: write_ram(m, &in, true); break;
		case 11: access_apic(m, &in, write); break;
		case 12: whole_pass(m, UINT64_C(1) << input_take(&in, 1) % 34, 50); break;
		case 13:
			pci_config_access_write(m->pci, bdf(function(m, (unsigned)input_take(&in, 1))), 4, 2, 7);
			break;
		case 14: machine_run(m, 200); break;
		default:
			if (write)
				machine_press_power(m);
			else
				(void)!machine_send_keys(m, bytes == 1 ? "a" : "ctrl-alt-delete", &error);
		}
		if (m->reset_wanted && !power_on(m, &error))
			__builtin_trap();
		m->ended = false;
		m->stopped = STOP_NONE;
	}
	whole_pass(m, NS_PER_SECOND, 100);
	return 0;
}
