/* See whole.h. */
#include "whole.h"
#include "base/state.h"
#include "exec/host.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DISK = 64 << 10, DISKS = 3 /* SATA, virtio, CD */ };

struct whole {
	struct machine *machine;
	struct state *after_reset;
	struct memory_file disk[DISKS];
	uint8_t contents[DISK];
};

static void fail(const struct error *error)
{
	fprintf(stderr, "fuzz: %s\n", error->text);
	exit(1);
}

void memory_file_create(struct memory_file *file)
{
	file->fd = memfd_create("fuzz", MFD_CLOEXEC);
	snprintf(file->name, sizeof(file->name), "/proc/self/fd/%d", file->fd);
}

void memory_file_set(const struct memory_file *file, const void *bytes, size_t size)
{
	if (file->fd < 0 || ftruncate(file->fd, 0) || ftruncate(file->fd, (off_t)size) ||
	    pwrite(file->fd, bytes, size, 0) != (ssize_t)size) {
		perror("fuzz: memory file");
		exit(1);
	}
}

uint64_t input_take(struct input *input, unsigned size)
{
	uint8_t bytes[8] = {0};
	size_t have = min_u64(size, (uint64_t)(input->end - input->at));

	memcpy(bytes, input->at, have);
	input->at += have;
	return load_le(bytes, 8);
}

/* Multiboot's "OS image format" with the address fields, loaded at 8000H: HLT, and back to it. */
static void make_kernel(struct memory_file *file)
{
	static const uint32_t kernel[] = {0x1badb002, 0x10000,	 -(0x1badb002u + 0x10000), 0x8000, 0x8000, 0, 0,
					  0x8020,     0xf4fdebf4};

	memory_file_create(file);
	memory_file_set(file, kernel, sizeof(kernel));
}

static void fill_disks(struct whole *whole)
{
	for (unsigned i = 0; i < DISKS; i++)
		memory_file_set(&whole->disk[i], whole->contents, DISK);
}

static struct whole *create(void)
{
	struct whole *whole = calloc(1, sizeof(*whole));
	struct machine_config config = {.ram_size = WHOLE_RAM,
					.cpus = 2,
					.hpet = true,
					.pit = true,
					.i8042 = true,
					.vga = true,
					.smm = true,
					.never_wait = true,
					.chardevs = 1,
					.chardev_id = {"null"},
					.drives = DISKS,
					.devices = 5};
	static const char *const devices[] = {"edu", "pci-testdev", "pc-testdev", "isa-debug-exit",
					      "isa-debugcon,chardev=null,iobase=0x402"};
	struct memory_file kernel;
	struct error error, warning;

	for (unsigned i = 0; i < DISK; i++)
		whole->contents[i] = (uint8_t)(i >> 8 ^ i);
	make_kernel(&kernel);
	config.kernel = kernel.name;
	for (unsigned i = 0; i < DISKS; i++) {
		memory_file_create(&whole->disk[i]);
		config.drive[i] = (struct drive_config){.file = whole->disk[i].name,
							.format = "raw",
							.index = -1,
							.cdrom = i == 2,
							.interface = i == 1 ? DRIVE_VIRTIO : DRIVE_SATA};
	}
	fill_disks(whole);
	memcpy(config.device, devices, sizeof(devices));
	if (!cpu_model_parse("max", host_has_feature, &config.model, &warning, &error) ||
	    !(config.chardev[0] = chardev_create("null", &error)))
		fail(&error);
	vmx_capability_init(&config.vmx, &config.model, NULL, &warning);
	for (unsigned i = 0; i < MACHINE_SERIALS; i++)
		config.serial[i] = config.chardev[0];
	config.debugcon = config.chardev[0];
	whole->machine = machine_create(&config, &error);
	if (!whole->machine)
		fail(&error);
	whole->after_reset = state_save();
	machine_state(whole->machine, whole->after_reset);
	return whole;
}

static struct whole *the_whole(void)
{
	static struct whole *whole;

	if (!whole)
		whole = create();
	return whole;
}

const uint8_t *whole_state(size_t *size)
{
	return state_data(the_whole()->after_reset, size);
}

void whole_settle(struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		mem_flush_all(&m->cpu[i]);
		machine_cpu_changed(m, i);
	}
	m->ended = m->reset_wanted = m->stop_unsaid = false;
	m->stopped = STOP_NONE;
	m->failure.text[0] = 0;
}

struct machine *whole_machine(void)
{
	struct whole *whole = the_whole();
	size_t size;
	const void *bytes = state_data(whole->after_reset, &size);
	struct state *state = state_restore(bytes, size);

	machine_state(whole->machine, state);
	if (state_failed(state)) {
		fprintf(stderr, "fuzz: the machine's own state is refused: %s\n", state_why(state));
		abort();
	}
	state_free(state);
	whole_settle(whole->machine);
	fill_disks(whole);
	return whole->machine;
}

void whole_pass(struct machine *m, vtime_t time, unsigned most)
{
	vtime_t end = clock_now(m->clock) + time;

	for (; most && clock_next(m->clock) <= end; most--) {
		clock_advance_to(m->clock, clock_next(m->clock));
		clock_fire_due(m->clock);
	}
	clock_advance_to(m->clock, end);
	clock_fire_due(m->clock);
}
