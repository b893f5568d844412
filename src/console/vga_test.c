/*
 * VGA: registers, the planar memory's write and read modes, the Bochs display interface, and pictures of each kind of
 * mode.
 */
#include "console/vga_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WINDOW = 0xa0000, FRAME = 0x1000000, SLOT = 2 };

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct pci_root *root;
	struct msi_sink sink;
	struct vga *vga;
};

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct error error;

	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	r->root = pci_root_create(r->bus, &r->sink, &r->log);
	r->vga = vga_create(r->root, r->bus, r->clock, SLOT, NULL, &error);
	pci_config_access_write(r->root, SLOT << 3, 0x10, 4, FRAME);
	pci_config_access_write(r->root, SLOT << 3, 4, 2, 3);
	bus_out(r->bus, 0x3c2, 1, 0x67);
	*state = r;
	return r->vga ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	pci_root_destroy(r->root);
	vga_destroy(r->vga);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	free(r);
	return 0;
}

static void set(struct rig *r, unsigned port, unsigned index, unsigned value)
{
	bus_out(r->bus, (uint16_t)port, 2, index | value << 8);
}

static void set_attribute(struct rig *r, unsigned index, unsigned value)
{
	bus_in(r->bus, 0x3da, 1);
	bus_out(r->bus, 0x3c0, 1, index);
	bus_out(r->bus, 0x3c0, 1, value);
	bus_out(r->bus, 0x3c0, 1, 0x20);
}

static void set_color(struct rig *r, unsigned index, unsigned red, unsigned green, unsigned blue)
{
	bus_out(r->bus, 0x3c8, 1, index);
	bus_out(r->bus, 0x3c9, 1, red);
	bus_out(r->bus, 0x3c9, 1, green);
	bus_out(r->bus, 0x3c9, 1, blue);
}

static uint8_t peek(struct rig *r, unsigned offset)
{
	return (uint8_t)bus_read(r->bus, WINDOW + offset, 1, false);
}

static void poke(struct rig *r, unsigned offset, unsigned value)
{
	bus_write(r->bus, WINDOW + offset, 1, value, false);
}

static void planar_write_and_read_modes(void **state)
{
	struct rig *r = *state;

	set(r, 0x3ce, 6, 0x05); /* graphics, 64 KiB at A0000H */
	set(r, 0x3c4, 4, 0x06);
	set(r, 0x3c4, 2, 0x0f);
	set(r, 0x3ce, 8, 0xff);
	poke(r, 100, 0x5a);
	for (unsigned plane = 0; plane < 4; plane++) {
		set(r, 0x3ce, 4, plane);
		assert_int_equal(peek(r, 100), 0x5a);
	}
	set(r, 0x3c4, 2, 0x02); /* one plane */
	poke(r, 100, 0xff);
	set(r, 0x3ce, 4, 0);
	assert_int_equal(peek(r, 100), 0x5a);
	set(r, 0x3ce, 4, 1);
	assert_int_equal(peek(r, 100), 0xff);
	set(r, 0x3c4, 2, 0x0f);
	set(r, 0x3ce, 5, 1); /* write mode 1 copies the latches */
	peek(r, 100);
	poke(r, 101, 0);
	assert_int_equal(peek(r, 101), 0xff);
	set(r, 0x3ce, 5, 2); /* write mode 2: a colour for the pixels of the bit mask */
	set(r, 0x3ce, 8, 0x0f);
	peek(r, 101);
	poke(r, 101, 0x04);
	set(r, 0x3ce, 4, 2);
	assert_int_equal(peek(r, 101), 0x5f);
	set(r, 0x3ce, 4, 1);
	assert_int_equal(peek(r, 101), 0xf0);
	set(r, 0x3ce, 5, 3); /* write mode 3: set/reset through data as mask */
	set(r, 0x3ce, 8, 0xff);
	set(r, 0x3ce, 0, 0x01);
	peek(r, 101);
	poke(r, 101, 0xc0);
	set(r, 0x3ce, 4, 0);
	assert_int_equal(peek(r, 101), 0xd0 | 0xc0);
	set(r, 0x3ce, 5, 8); /* read mode 1: where is colour 1? */
	set(r, 0x3ce, 2, 0x01);
	set(r, 0x3ce, 7, 0x0f);
	assert_int_equal(peek(r, 101) & 0xc0, 0xc0);
	set(r, 0x3ce, 5, 0); /* rotate and XOR in write mode 0 */
	set(r, 0x3ce, 3, 0x18 | 4);
	set(r, 0x3ce, 4, 0);
	poke(r, 200, 0);
	peek(r, 100);
	poke(r, 100, 0xf0);
	assert_int_equal(peek(r, 100), 0x5a ^ 0x0f);
}

static void chained_and_text_memory(void **state)
{
	struct rig *r = *state;

	set(r, 0x3ce, 6, 0x05);
	set(r, 0x3c4, 4, 0x0e);
	set(r, 0x3c4, 2, 0x0f);
	for (unsigned i = 0; i < 8; i++)
		poke(r, i, i);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(r->vga->memory[i], i);
	set(r, 0x3c4, 4, 0x02);
	set(r, 0x3ce, 5, 0x10);
	set(r, 0x3ce, 6, 0x0e); /* odd/even, 32 KiB at B8000H */
	set(r, 0x3c4, 2, 0x03);
	poke(r, 0x18000, 'A');
	poke(r, 0x18001, 0x07);
	poke(r, 0x18002, 'B');
	assert_int_equal(r->vga->memory[0], 'A');
	assert_int_equal(r->vga->memory[1], 7);
	assert_int_equal(r->vga->memory[4], 'B');
	assert_int_equal(peek(r, 0x18002), 'B');
	assert_int_equal(peek(r, 0), 0xff); /* nothing at A0000H now */
}

static void registers(void **state)
{
	struct rig *r = *state;

	set(r, 0x3d4, 0x11, 0x80);
	set(r, 0x3d4, 0x00, 0x55); /* protected */
	set(r, 0x3d4, 0x07, 0xff);
	bus_out(r->bus, 0x3d4, 1, 0);
	assert_int_equal(bus_in(r->bus, 0x3d5, 1), 0);
	bus_out(r->bus, 0x3d4, 1, 7);
	assert_int_equal(bus_in(r->bus, 0x3d5, 1), 0x10);
	assert_int_equal(bus_in(r->bus, 0x3b5, 1), 0xff); /* colour ports are chosen */
	set_color(r, 17, 63, 1, 0xff);
	bus_out(r->bus, 0x3c7, 1, 17);
	assert_int_equal(bus_in(r->bus, 0x3c9, 1), 63);
	assert_int_equal(bus_in(r->bus, 0x3c9, 1), 1);
	assert_int_equal(bus_in(r->bus, 0x3c9, 1), 63); /* six bits */
}

static void dispi(struct rig *r, unsigned index, unsigned value)
{
	bus_out(r->bus, 0x1ce, 2, index);
	bus_out(r->bus, 0x1cf, 2, value);
}

static unsigned dispi_get(struct rig *r, unsigned index)
{
	bus_out(r->bus, 0x1ce, 2, index);
	return bus_in(r->bus, 0x1cf, 2);
}

static void pixel(const struct picture *p, unsigned x, unsigned y, unsigned rgb)
{
	const uint8_t *at = p->rgb + 3 * (y * p->width + x);

	assert_int_equal(at[0] << 16 | at[1] << 8 | at[2], rgb);
}

static void linear_frame_buffer(void **state)
{
	struct rig *r = *state;
	struct picture p;

	assert_int_equal(dispi_get(r, 0), 0xb0c5);
	assert_int_equal(dispi_get(r, 10), 256);
	dispi(r, 4, 2);
	assert_int_equal(dispi_get(r, 1), 2560);
	dispi(r, 4, 0);
	dispi(r, 1, 640);
	dispi(r, 2, 480);
	dispi(r, 3, 32);
	dispi(r, 4, 0x41);
	dispi(r, 6, 1024);
	assert_int_equal(dispi_get(r, 6), 1024);
	bus_write(r->bus, FRAME + (10 * 1024 + 20) * 4, 4, 0x123456, false);
	vga_picture(r->vga, &p);
	assert_int_equal(p.width, 640);
	assert_int_equal(p.height, 480);
	pixel(&p, 20, 10, 0x123456);
	pixel(&p, 21, 10, 0);
	free(p.rgb);
	dispi(r, 8, 20);
	dispi(r, 9, 10);
	vga_picture(r->vga, &p);
	pixel(&p, 0, 0, 0x123456);
	free(p.rgb);
	dispi(r, 9, 0xffff); /* far outside: black, and no further */
	vga_picture(r->vga, &p);
	free(p.rgb);
	dispi(r, 4, 0);
	dispi(r, 3, 16);
	dispi(r, 4, 0x41);
	bus_write(r->bus, FRAME, 2, 0xf81f, false);
	vga_picture(r->vga, &p);
	pixel(&p, 0, 0, 0xff00ff);
	free(p.rgb);
	/* The banked window. */
	dispi(r, 5, 3);
	poke(r, 0x10, 0x99);
	assert_int_equal(bus_read(r->bus, FRAME + 0x30010, 1, false), 0x99);
}

/* Mode 3 with a font of one character. */
static void text_picture(void **state)
{
	struct rig *r = *state;
	struct picture p;
	char name[64] = "/tmp/softvt-vga-XXXXXX", magic[8] = "";
	struct error error;
	FILE *file;
	int fd;

	set(r, 0x3d4, 0x01, 79);
	set(r, 0x3d4, 0x07, 0x1f);
	set(r, 0x3d4, 0x09, 0x4f);
	set(r, 0x3d4, 0x12, 0x8f);
	set(r, 0x3d4, 0x13, 40);
	set(r, 0x3d4, 0x0a, 0x20);
	set(r, 0x3c4, 4, 0x02);
	set(r, 0x3ce, 5, 0x10);
	set(r, 0x3ce, 6, 0x0e);
	for (unsigned i = 0; i < 16; i++)
		set_attribute(r, i, i);
	set_attribute(r, 0x10, 0x04);
	set_color(r, 1, 0, 0, 63);
	set_color(r, 7, 42, 42, 42);
	r->vga->memory[4 * (32 * 'X') + 2] = 0x81; /* first row: two dots */
	set(r, 0x3c4, 2, 0x03);
	poke(r, 0x18000 + 160, 'X');
	poke(r, 0x18000 + 161, 0x17);
	vga_picture(r->vga, &p);
	assert_int_equal(p.width, 720);
	assert_int_equal(p.height, 400);
	pixel(&p, 0, 16, 0xaaaaaa);
	pixel(&p, 1, 16, 0x0000ff);
	pixel(&p, 7, 16, 0xaaaaaa);
	pixel(&p, 8, 16, 0x0000ff);
	pixel(&p, 0, 17, 0x0000ff);
	free(p.rgb);
	fd = mkstemp(name);
	assert_true(fd >= 0);
	close(fd);
	assert_true(vga_screendump(r->vga, name, &error));
	file = fopen(name, "rb");
	assert_int_equal(fread(magic, 1, 8, file), 8);
	fclose(file);
	unlink(name);
	assert_memory_equal(magic, "\211PNG\r\n\032\n", 8);
	assert_false(vga_screendump(r->vga, "/nonexistent/x.png", &error));
}

/* Without firmware: blank text in grey on black, to which a program may write at once. */
static void text_mode_without_firmware(void **state)
{
	struct rig *r = *state;
	struct picture p;

	vga_text_mode(r->vga);
	r->vga->memory[4 * (32 * 'X') + 2] = 0x80;
	poke(r, 0x18000, 'X');
	assert_int_equal(peek(r, 0x18001), 0x07);
	vga_picture(r->vga, &p);
	assert_int_equal(p.width, 720);
	assert_int_equal(p.height, 400);
	pixel(&p, 0, 0, 0xaaaaaa);
	pixel(&p, 1, 0, 0);
	free(p.rgb);
}

/* All registers at random: a picture is made of anything. */
static void random_registers(void **state)
{
	static const uint16_t ports[] = {0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3c6, 0x3c8, 0x3c9,
					 0x3ce, 0x3cf, 0x3d4, 0x3d5, 0x3da, 0x1ce, 0x1cf};
	struct rig *r = *state;
	uint32_t seed = 9;

	for (unsigned round = 0; round < 60; round++) {
		struct picture p;

		for (unsigned i = 0; i < 400; i++) {
			seed = seed * 1664525 + 1013904223;
			bus_out(r->bus, ports[(seed >> 8) % 14], 1 + (seed >> 30 & 1),
				seed >> 16 & (seed & 16 ? 0x3f : 0xffff));
			poke(r, (seed >> 4) % 0x20000, seed >> 24);
			peek(r, (seed >> 6) % 0x20000);
		}
		vga_picture(r->vga, &p);
		free(p.rgb);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(planar_write_and_read_modes),
		TEST(chained_and_text_memory),
		TEST(registers),
		TEST(linear_frame_buffer),
		TEST(text_picture),
		TEST(text_mode_without_firmware),
		TEST(random_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
