/* The virtio disk against VIRTIO 1.0, with a driver of a few lines; and drivers that lie. */
#include "devices/fake_vm.h"
#include <string.h>

enum { COMMON = 0x000, ISR = 0x100, CONFIG = 0x200, NOTIFY = 0x300 };
enum { FEATURE_SELECT = 0, FEATURE = 4, DRIVER_SELECT = 8, DRIVER = 12, STATUS = 20, SELECT = 22, SIZE = 24, ENABLE = 28, DESC = 32, AVAIL = 40, USED = 48 };
enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8 };
enum { NEXT = 1, WRITE = 2 };
/* In the guest's memory. */
enum { DESCRIPTORS = 0x1000, AVAILABLE = 0x2000, USED_RING = 0x3000, HEADER = 0x4000, STATUS_BYTE = 0x4100, DATA = 0x5000 };

static uint32_t config_read(struct fake *f, unsigned offset)
{
	port_write(&f->vm, 0xcf8, 4, 0x80000800 | offset);
	return port_read(&f->vm, 0xcfc, 4);
}

static void config_write(struct fake *f, unsigned offset, unsigned size, uint32_t value)
{
	port_write(&f->vm, 0xcf8, 4, 0x80000800 | (offset & ~3u));
	port_write(&f->vm, (uint16_t)(0xcfc + (offset & 3)), size, value);
}

static uint64_t get(struct fake *f, unsigned offset, unsigned size) { return mmio_read(&f->vm, VIRTIO_BAR + offset, size); }
static void put(struct fake *f, unsigned offset, unsigned size, uint64_t value) { mmio_write(&f->vm, VIRTIO_BAR + offset, size, value); }
static bool intx(const struct fake *f) { return f->vm.devices.pic[1].lines >> 3 & 1; }

static void begin(struct fake *f)
{
	config_write(f, 4, 2, 0x0006);
	put(f, STATUS, 1, 0);
	put(f, STATUS, 1, 3);
	put(f, DRIVER_SELECT, 4, 0);
	put(f, DRIVER, 4, 0x206);
	put(f, DRIVER_SELECT, 4, 1);
	put(f, DRIVER, 4, 1);
	put(f, STATUS, 1, 11);
	assert_int_equal(get(f, STATUS, 1), 11);
	put(f, SELECT, 2, 0);
	put(f, SIZE, 2, 8);
	put(f, DESC, 4, DESCRIPTORS);
	put(f, DESC + 4, 4, 0);
	put(f, AVAIL, 8, AVAILABLE);
	put(f, USED, 4, USED_RING);
	put(f, ENABLE, 2, 1);
	put(f, STATUS, 1, 15);
}

static void descriptor(struct fake *f, unsigned index, uint64_t gpa, uint32_t size, uint16_t flags, uint16_t next)
{
	uint8_t *at = f->memory + DESCRIPTORS + index * 16;

	memcpy(at, &gpa, 8);
	memcpy(at + 8, &size, 4);
	memcpy(at + 12, &flags, 2);
	memcpy(at + 14, &next, 2);
}

static uint16_t get16(struct fake *f, unsigned at) { return (uint16_t)(f->memory[at] | f->memory[at + 1] << 8); }

static void offer(struct fake *f, uint16_t head)
{
	uint16_t index = get16(f, AVAILABLE + 2);

	memcpy(f->memory + AVAILABLE + 4 + index % 8 * 2, &head, 2);
	index++;
	memcpy(f->memory + AVAILABLE + 2, &index, 2);
}

static void header(struct fake *f, uint32_t type, uint64_t sector)
{
	memset(f->memory + HEADER, 0, 16);
	memcpy(f->memory + HEADER, &type, 4);
	memcpy(f->memory + HEADER + 8, &sector, 8);
	f->memory[STATUS_BYTE] = 0xee;
}

/* Header, data and status in descriptors of their own; returns the status. */
static uint8_t request(struct fake *f, uint32_t type, uint64_t sector, uint32_t size)
{
	header(f, type, sector);
	descriptor(f, 0, HEADER, 16, NEXT, size ? 1 : 2);
	descriptor(f, 1, DATA, size, (uint16_t)(NEXT | (type == T_OUT ? 0 : WRITE)), 2);
	descriptor(f, 2, STATUS_BYTE, 1, WRITE, 0);
	offer(f, 0);
	put(f, NOTIFY, 2, 0);
	run(f, 10000000);
	return f->memory[STATUS_BYTE];
}

static uint32_t used_size(struct fake *f)
{
	uint32_t size;

	memcpy(&size, f->memory + USED_RING + 4 + (get16(f, USED_RING + 2) - 1) % 8 * 8 + 4, 4);
	return size;
}

static void configuration_space(void **state)
{
	struct fake *f = *state;
	unsigned types = 0;

	assert_int_equal(config_read(f, 0x08), 0x01000001);
	assert_int_equal(config_read(f, 0x3c), 0x010b);
	assert_int_equal(config_read(f, 0x10), VIRTIO_BAR);
	config_write(f, 0x10, 4, 0xffffffff);
	assert_int_equal(config_read(f, 0x10), 0xfffff000);
	config_write(f, 0x10, 4, VIRTIO_BAR);
	config_write(f, 0x3c, 1, 5);
	assert_int_equal(config_read(f, 0x3c), 0x0105);
	assert_int_equal(config_read(f, 0x04), 0x00100000);
	assert_int_equal((uint32_t)get(f, STATUS, 4), 0xffffffff); /* memory space is off */
	config_write(f, 0x04, 2, 0xffff);
	assert_int_equal(config_read(f, 0x04), 0x00100406);
	for (unsigned at = config_read(f, 0x34); at; at = config_read(f, at) >> 8 & 0xff) {
		assert_int_equal(config_read(f, at) & 0xff, 0x09);
		types |= 1u << (config_read(f, at) >> 24);
	}
	assert_int_equal(types, 0x3e);
}

static void the_window_reaches_the_registers(void **state)
{
	struct fake *f = *state;

	config_write(f, 0x8c, 4, STATUS);
	config_write(f, 0x90, 4, 1);
	config_write(f, 0x94, 4, 3);
	assert_int_equal(config_read(f, 0x94), 3);
	assert_int_equal(f->vm.devices.virtio_blk.status, 3);
	config_write(f, 0x8c, 4, 0xfffffffe);
	config_write(f, 0x90, 4, 2);
	assert_int_equal(config_read(f, 0x94), 0);
}

static void negotiation(void **state)
{
	struct fake *f = *state;

	config_write(f, 4, 2, 2);
	assert_int_equal(get(f, 18, 2), 1);
	assert_int_equal(get(f, FEATURE, 4), 0x206);
	put(f, FEATURE_SELECT, 4, 1);
	assert_int_equal(get(f, FEATURE, 4), 1);
	put(f, FEATURE_SELECT, 4, 2);
	assert_int_equal(get(f, FEATURE, 4), 0);
	put(f, STATUS, 1, 11); /* without version 1 */
	assert_int_equal(get(f, STATUS, 1), 3);
	put(f, DRIVER_SELECT, 4, 1);
	put(f, DRIVER, 4, 3); /* with what is not offered */
	put(f, STATUS, 1, 11);
	assert_int_equal(get(f, STATUS, 1), 3);
	begin(f);
	assert_int_equal(get(f, SIZE, 2), 8);
	assert_int_equal(get(f, ENABLE, 2), 1);
	assert_int_equal(get(f, AVAIL, 4), AVAILABLE);
	put(f, SIZE, 2, 16); /* too late */
	assert_int_equal(get(f, SIZE, 2), 8);
	put(f, SELECT, 2, 1);
	assert_int_equal(get(f, SIZE, 2), 0);
	put(f, STATUS, 1, 0);
	put(f, SELECT, 2, 0);
	assert_int_equal(get(f, SIZE, 2), 128);
	assert_int_equal(get(f, ENABLE, 2), 0);
	assert_int_equal(get(f, CONFIG, 8), FAKE_DISK / 512);
	assert_int_equal(get(f, CONFIG + 12, 4), 126);
}

static void reads_and_writes(void **state)
{
	struct fake *f = *state;

	begin(f);
	for (unsigned i = 0; i < FAKE_DISK; i++)
		f->disk[i] = (uint8_t)(i * 7 + i / 512);
	assert_int_equal(request(f, T_IN, 3, 1024), 0);
	assert_memory_equal(f->memory + DATA, f->disk + 3 * 512, 1024);
	assert_int_equal(used_size(f), 1025);
	memset(f->memory + DATA, 0x5a, 512);
	assert_int_equal(request(f, T_OUT, 127, 512), 0);
	assert_memory_equal(f->disk + 127 * 512, f->memory + DATA, 512);
	assert_int_equal(used_size(f), 1);
	assert_int_equal(request(f, T_FLUSH, 0, 0), 0);
	assert_int_equal(request(f, T_GET_ID, 0, 20), 0);
	assert_string_equal((char *)f->memory + DATA, "SoftVT RAM disk");
	assert_int_equal(get16(f, USED_RING + 2), 4);
}

static void refusals(void **state)
{
	struct fake *f = *state;

	begin(f);
	assert_int_equal(request(f, T_IN, 128, 512), 1);
	assert_int_equal(request(f, T_IN, 127, 1024), 1);
	assert_int_equal(request(f, T_OUT, UINT64_MAX, 512), 1);
	assert_int_equal(request(f, T_IN, 0, 100), 1);
	assert_int_equal(request(f, T_IN, 0, 0xfffffe00), 1);
	assert_int_equal(request(f, 99, 0, 512), 2);
	assert_int_equal(get(f, STATUS, 1), 15);
}

static void interrupts(void **state)
{
	struct fake *f = *state;

	begin(f);
	request(f, T_FLUSH, 0, 0);
	assert_true(intx(f));
	assert_int_equal(config_read(f, 4) >> 19 & 1, 1);
	config_write(f, 4, 2, 0x0406);
	assert_false(intx(f));
	config_write(f, 4, 2, 0x0006);
	assert_true(intx(f));
	assert_int_equal(get(f, ISR, 1), 1);
	assert_false(intx(f));
	assert_int_equal(get(f, ISR, 1), 0);
	f->memory[AVAILABLE] = 1; /* VIRTQ_AVAIL_F_NO_INTERRUPT */
	request(f, T_FLUSH, 0, 0);
	assert_false(intx(f));
}

static void other_framings(void **state)
{
	struct fake *f = *state;

	begin(f);
	memset(f->disk, 0x77, 512);
	header(f, T_IN, 0); /* the header in halves, data and status in one */
	descriptor(f, 3, HEADER, 8, NEXT, 1);
	descriptor(f, 1, HEADER + 8, 8, NEXT, 7);
	descriptor(f, 7, DATA, 0, NEXT | WRITE, 2);
	descriptor(f, 2, DATA, 513, WRITE, 0);
	f->memory[DATA + 512] = 0xee;
	offer(f, 3);
	put(f, NOTIFY, 2, 0);
	run(f, 1);
	assert_memory_equal(f->memory + DATA, f->disk, 512);
	assert_int_equal(f->memory[DATA + 512], 0);
}

/* Much work at once is done in pieces: there is time for others between them. */
static void long_work_has_pauses(void **state)
{
	struct fake *f = *state;

	begin(f);
	header(f, T_IN, 0);
	descriptor(f, 0, HEADER, 16, NEXT, 1);
	for (uint16_t i = 1; i < 7; i++)
		descriptor(f, i, DATA, 0x8000, NEXT | WRITE, i + 1); /* 192 KiB: not in the disk, but work */
	descriptor(f, 7, STATUS_BYTE, 1, WRITE, 0);
	for (unsigned i = 0; i < 8; i++)
		offer(f, 0);
	put(f, NOTIFY, 2, 0);
	devices_tick(&f->vm, f->now);
	assert_in_range(get16(f, USED_RING + 2), 1, 7);
	put(f, NOTIFY, 2, 0);
	assert_in_range(devices_deadline(&f->vm), f->now + 1, f->now + 1000000);
	run(f, 2000000);
	assert_int_equal(get16(f, USED_RING + 2), 8);
}

static void broken(struct fake *f, const char *what)
{
	put(f, NOTIFY, 2, 0);
	run(f, 1);
	if (get(f, STATUS, 1) != (64 | 15) || !(get(f, ISR, 1) & 2))
		fail_msg("not noticed: %s", what);
	memset(f->memory, 0, FAKE_MEMORY);
	begin(f);
	header(f, T_FLUSH, 0);
	descriptor(f, 0, HEADER, 16, NEXT, 1);
	descriptor(f, 1, STATUS_BYTE, 1, WRITE, 0);
}

static void lies(void **state)
{
	struct fake *f = *state;

	begin(f);
	offer(f, 8);
	broken(f, "head beyond the table");
	descriptor(f, 1, STATUS_BYTE, 1, WRITE | NEXT, 1);
	offer(f, 0);
	broken(f, "a loop");
	descriptor(f, 1, STATUS_BYTE, 1, WRITE | NEXT, 8);
	offer(f, 0);
	broken(f, "next beyond the table");
	descriptor(f, 1, STATUS_BYTE, 1, WRITE | 4, 0);
	offer(f, 0);
	broken(f, "an indirect descriptor");
	descriptor(f, 1, STATUS_BYTE, 1, WRITE | NEXT, 2);
	descriptor(f, 2, HEADER, 16, 0, 0);
	offer(f, 0);
	broken(f, "to read behind to write");
	descriptor(f, 0, HEADER, 15, NEXT, 1);
	offer(f, 0);
	broken(f, "a short header");
	descriptor(f, 0, HEADER, 16, 0, 0);
	offer(f, 0);
	broken(f, "no status");
	descriptor(f, 1, FAKE_MEMORY, 1, WRITE, 0);
	offer(f, 0);
	broken(f, "a status outside memory");
	descriptor(f, 0, UINT64_MAX - 7, 16, NEXT, 1);
	offer(f, 0);
	broken(f, "a header around the end");
	put(f, STATUS, 1, 0);
	put(f, STATUS, 1, 3);
	put(f, DRIVER_SELECT, 4, 1);
	put(f, DRIVER, 4, 1);
	put(f, STATUS, 1, 15);
	put(f, AVAIL, 8, UINT64_C(1) << 40);
	put(f, ENABLE, 2, 1);
	broken(f, "a ring outside memory");
	put(f, NOTIFY, 2, 0);
	run(f, 1);
	assert_int_equal(get(f, STATUS, 1), 15);
}

static void random_drivers(void **state)
{
	struct fake *f = *state;
	uint64_t seed = 1;
	unsigned done = 0;

	for (unsigned i = 0; i < 300000; i++) {
		uint32_t value = (uint32_t)((seed = seed * 6364136223846793005 + 1442695040888963407) >> 32), random = (uint32_t)(seed >> 16);
		unsigned size = 1u << random % 4;

		if (i % 1000 == 0 || (f->vm.devices.virtio_blk.status & STATUS_NEEDS_RESET)) { /* begins well */
			done += f->vm.devices.virtio_blk.queue.next_used;
			memset(f->memory, 0, HEADER);
			begin(f);
			header(f, random % 2 ? T_IN : T_OUT, random % 128);
			for (unsigned head = 0; head < 8; head += 2) {
				descriptor(f, head, HEADER, 16, NEXT, (uint16_t)(head + 1));
				descriptor(f, head + 1, DATA, 513, WRITE, 0);
			}
		}
		switch (value >> 28) {
		case 0 ... 3: /* rings and descriptors, mostly of small values */
			f->memory[(value & 1 ? DESCRIPTORS : AVAILABLE) + (random >> 8) % 128] = (uint8_t)(value & 2 ? value >> 8 : value >> 8 & 7);
			break;
		case 4 ... 5:
			descriptor(f, value & 7, value & 8 ? HEADER : DATA, value & 8 ? 16 : 513, (uint16_t)(value >> 4 & 3), value >> 6 & 7);
			break;
		case 6 ... 9:
			offer(f, value & 6);
			put(f, NOTIFY, 2, 0);
			break;
		case 10:
			if (i % 16 == 0)
				put(f, random & 0xfff, size, seed);
			break;
		case 11:
			get(f, random & 0xfff, size);
			break;
		case 12:
			config_write(f, 0x84 + random % 20, 1u << random % 3, value);
			break;
		default:
			run(f, value & 0xfffff);
		}
	}
	assert_true(done > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(configuration_space), TEST(the_window_reaches_the_registers), TEST(negotiation), TEST(reads_and_writes), TEST(refusals),
		TEST(interrupts), TEST(other_framings), TEST(long_work_has_pauses), TEST(lies), TEST(random_drivers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
