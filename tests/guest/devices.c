/*
 * The board's chips as their data sheets describe them: 8259A, 8254, MC146818, 16550, 8042, HPET, PM timer, PCI
 * configuration by ports, and QEMU's fw_cfg.
 *
 * Chips that a board does not have are reported absent. Nothing depends on the speed of a clock, only on its going on.
 */
#include "chips.h"

const char chapter[] = "devices";

static ulong open_window;

static u32 take(void)
{
	struct ctx c = run((struct ctx){RING0, .ip = open_window});

	return c.vector == VECTOR_END ? 0 : c.vector;
}

/* COM1's transmitter-empty interrupt (IRQ 4) on and off: a source that can be raised and dropped at will. */
static void irq4(bool on)
{
	if (on) {
		while (!(inb(0x3f8 + 5) & 0x40))
			;
		inb(0x3f8 + 2);
		outb(0x3f8 + 4, 0x0b);
		outb(0x3f8 + 1, 2);
	} else {
		inb(0x3f8 + 2);
		outb(0x3f8 + 1, 0);
		outb(0x3f8 + 4, 3);
	}
}

/* Waits until the master 8259 has seen a request; the report must not use COM1 meanwhile. */
static u32 wait_irr(u8 mask)
{
	for (u32 i = 0; i < 10000000 && !(pic_irr(0x20) & mask); i++)
		;
	return pic_irr(0x20) & mask;
}

static void pic_setup(u8 icw4)
{
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 4);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, 0x28);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

/* 8259A data sheet. */
static void pic(void)
{
	u32 v, a, b;

	pic_setup(1);
	outb(0x21, 0xa5);
	check("8259/imr-reads-back", "a5", "%x", inb(0x21));
	outb(0x21, 0xff);
	irq4(true);
	a = wait_irr(0x10);
	b = take();
	outb(0x21, 0xef);
	v = take();
	u8 isr = pic_isr(0x20), irr = pic_irr(0x20);
	irq4(false);
	check("8259/irr-while-masked", "10", "%x", a);
	check("8259/masked", "0", "%x", b);
	check("8259/vector-and-isr", "24 isr=10 irr=0", "%x isr=%x irr=%x", v, isr, irr & 0x10);
	outb(0x20, 0x20);
	check("8259/eoi", "0", "%x", pic_isr(0x20));
	/* Fixed priorities: IRQ 0 before IRQ 4, and IRQ 4 waits while IRQ 0 is in service. */
	outb(0x21, 0xee);
	irq4(true);
	wait_irr(0x10);
	raise_irq0();
	v = take();
	a = take();
	outb(0x20, 0x60); /* specific EOI */
	b = take();
	outb(0x43, 0x30);
	raise_irq0();
	u32 nested = take();
	isr = pic_isr(0x20);
	outb(0x20, 0x20);
	u8 isr_after = pic_isr(0x20);
	irq4(false);
	check("8259/irq-0-first", "20", "%x", v);
	check("8259/lower-waits", "0", "%x", a);
	check("8259/specific-eoi", "24", "%x", b);
	check("8259/higher-nests", "20 isr=11", "%x isr=%x", nested, isr);
	check("8259/non-specific-eoi-ends-the-highest", "10", "%x", isr_after);
	outb(0x20, 0x20);
	outb(0x43, 0x30);
	/* Rotation: after "rotate on non-specific EOI" of IRQ 0 it is the lowest. */
	raise_irq0();
	take();
	outb(0x20, 0xa0);
	outb(0x43, 0x30);
	irq4(true);
	wait_irr(0x10);
	raise_irq0();
	v = take();
	irq4(false);
	outb(0x20, 0x20);
	a = take();
	outb(0x20, 0x20);
	outb(0x43, 0x30);
	outb(0x20, 0xc7); /* set priority: IRQ 7 lowest again */
	check("8259/rotated", "24 then 20", "%x then %x", v, a);
	/* Special mask mode: a masked level in service does not hold back lower ones. */
	raise_irq0();
	take();
	irq4(true);
	wait_irr(0x10);
	outb(0x20, 0x68);
	outb(0x21, 0xef);
	v = take();
	irq4(false);
	check("8259/special-mask", "24", "%x", v);
	outb(0x20, 0x64);
	outb(0x20, 0x60);
	outb(0x20, 0x48);
	outb(0x43, 0x30);
	/* Poll. */
	pic_setup(1);
	outb(0x21, 0xef);
	irq4(true);
	wait_irr(0x10);
	outb(0x20, 0x0c);
	v = inb(0x20);
	isr = pic_isr(0x20);
	irq4(false);
	outb(0x20, 0x20);
	outb(0x20, 0x0c);
	a = inb(0x20);
	check("8259/poll", "84 isr=10 then 0", "%x isr=%x then %x", v & 0x87, isr, a & 0x80);
	/* Automatic EOI. */
	pic_setup(3);
	outb(0x21, 0xef);
	irq4(true);
	wait_irr(0x10);
	v = take();
	isr = pic_isr(0x20);
	irq4(false);
	check("8259/automatic-eoi", "24 isr=0", "%x isr=%x", v, isr);
	pic_setup(1);
	/* The slave: the clock chip's update is too slow to wait for, so its periodic interrupt (IRQ 8). */
	outb(0x70, 0x0b);
	u8 reg_b = inb(0x71);
	outb(0x70, 0x0a);
	u8 reg_a = inb(0x71);
	outb(0x70, 0x0a);
	outb(0x71, 0x26);
	outb(0x70, 0x0c); /* nothing old may be pending, and nothing new be lost */
	inb(0x71);
	outb(0x70, 0x0b);
	outb(0x71, reg_b | 0x40);
	outb(0x21, 0xfb);
	outb(0xa1, 0xfe);
	for (u32 i = 0; i < 100000000 && !(pic_irr(0xa0) & 1); i++)
		;
	v = take();
	check("8259/slave", "28 master-isr=4 slave-isr=1", "%x master-isr=%x slave-isr=%x", v, pic_isr(0x20),
	      pic_isr(0xa0));
	outb(0x70, 0x0c);
	v = inb(0x71);
	check("rtc/c-says-periodic", "c0", "%x", v & 0xc0);
	outb(0x70, 0x0c);
	outb(0x70, 0x0b);
	outb(0x71, reg_b);
	outb(0x70, 0x0a);
	outb(0x71, reg_a);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	pic_setup(1);
	/* Edge and level control of the chipset. */
	u8 elcr = inb(0x4d1);
	outb(0x4d1, 0x0e);
	check("elcr/irqs-10-and-11-can-be-level", "e", "%x", inb(0x4d1) & 0x0e);
	outb(0x4d1, 0xff);
	check("elcr/irqs-8-and-13-cannot", "0", "%x", inb(0x4d1) & 0x21);
	outb(0x4d1, elcr);
	outb(0x4d0, 0xff);
	check("elcr/irqs-0-1-2-cannot", "0", "%x", inb(0x4d0) & 7);
	outb(0x4d0, 0);
}

/* Read-back command: status byte of a channel. */
static u8 pit_status(u32 channel)
{
	outb(0x43, 0xe0 | 2 << channel);
	return inb(0x40 + channel);
}

static u32 pit_count(u32 channel)
{
	u32 low;

	outb(0x43, channel << 6);
	low = inb(0x40 + channel);
	return low | inb(0x40 + channel) << 8;
}

/* 8254 data sheet. */
static void pit(void)
{
	u32 a, b;

	outb(0x43, 0x34);
	outb(0x40, 0);
	outb(0x40, 0);
	check("8254/status-mode-2", "34", "%x", pit_status(0) & 0x3f);
	a = pit_count(0);
	for (u32 i = 0; i < 10000 && (b = pit_count(0)) == a; i++)
		;
	check("8254/counts", "1", "%u", a != b);
	outb(0x43, 0x36);
	outb(0x40, 0);
	outb(0x40, 0x80);
	check("8254/status-mode-3", "36", "%x", pit_status(0) & 0x3f);
	outb(0x43, 0x00); /* latched: stays until read */
	for (u32 i = 0; i < 1000; i++)
		inb(0x80);
	a = inb(0x40) | inb(0x40) << 8;
	outb(0x43, 0);
	outb(0x43, 0);
	b = inb(0x40) | inb(0x40) << 8;
	check("8254/latch-in-range", "1 1", "%u %u", a <= 0x8000, b <= 0x8000);
	outb(0x43, 0x30);
	check("8254/mode-0-output-low", "0", "%x", pit_status(0) & 0x80);
	check("8254/null-count-before-load", "40", "%x", pit_status(0) & 0x40);
	outb(0x40, 10);
	outb(0x40, 0);
	for (a = 0; a < 10000000 && !(pit_status(0) & 0x80); a++)
		;
	check("8254/mode-0-output-high-at-zero", "80", "%x", pit_status(0) & 0x80);
	check("8254/null-count-after-load", "0", "%x", pit_status(0) & 0x40);
	outb(0x43, 0x10); /* only the low byte */
	outb(0x40, 0xff);
	a = inb(0x40);
	outb(0x43, 0x20); /* only the high byte */
	outb(0x40, 0x40);
	for (u32 i = 0; i < 100; i++)
		inb(0x80);
	b = inb(0x40);
	check("8254/access-modes", "1 1", "%u %u", a <= 0xff, b <= 0x40);
	check("8254/status-access-mode", "20", "%x", pit_status(0) & 0x3f);
	outb(0x43, 0x31); /* BCD */
	outb(0x40, 0x00);
	outb(0x40, 0x10);
	for (u32 i = 0; i < 300; i++)
		inb(0x80);
	a = pit_count(0);
	check("8254/bcd-digits", "1", "%u",
	      (a & 15) < 10 && (a >> 4 & 15) < 10 && (a >> 8 & 15) < 10 && (a >> 12 & 15) < 10);
	outb(0x43, 0x30);
	/* Channel 2: gate and output at port 0x61. */
	outb(0x61, 0);
	outb(0x43, 0xb0);
	outb(0x42, 0x20);
	outb(0x42, 0);
	for (u32 i = 0; i < 1000; i++)
		inb(0x80);
	check("8254/gate-low-holds", "0 gate=0", "%x gate=%u", inb(0x61) & 0x20, inb(0x61) & 1);
	outb(0x61, 1);
	for (a = 0; a < 10000000 && !(inb(0x61) & 0x20); a++)
		;
	check("8254/gate-high-runs-out", "20", "%x", inb(0x61) & 0x20);
	outb(0x61, 3);
	check("61/speaker-bits-read-back", "3", "%x", inb(0x61) & 3);
	outb(0x61, 0);
	a = inb(0x61) & 0x10;
	for (b = 0; b < 1000000 && (inb(0x61) & 0x10) == a; b++)
		;
	check("61/refresh-toggles", "1", "%u", b < 1000000);
}

static u8 cmos(u8 reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static void cmos_write(u8 reg, u8 v)
{
	outb(0x70, reg);
	outb(0x71, v);
}

/* MC146818 data sheet. */
static void rtc(void)
{
	u8 b = cmos(0x0b), old = cmos(0x40);
	u32 i;

	check("rtc/d-valid-ram", "80", "%x", cmos(0x0d));
	cmos_write(0x40, 0x5a);
	check("rtc/ram-reads-back", "5a", "%x", cmos(0x40));
	cmos_write(0x40, old);
	check("rtc/a-divider", "20", "%x", cmos(0x0a) & 0x70);
	for (i = 0; i < 100000000 && cmos(0x0a) & 0x80; i++)
		;
	check("rtc/b-24-hours", "2", "%x", b & 2);
	u8 second = cmos(0), minute = cmos(2), hour = cmos(4), day = cmos(7), month = cmos(8);
	check("rtc/bcd-ranges", "1 1 1 1 1", "%u %u %u %u %u", second <= 0x59 && (second & 15) < 10,
	      minute <= 0x59 && (minute & 15) < 10, hour <= 0x23 && (hour & 15) < 10, day >= 1 && day <= 0x31,
	      month >= 1 && month <= 0x12);
	/* SET holds the clock, so that it can be written. */
	cmos_write(0x0b, b | 0x80);
	cmos_write(0, 0x12);
	cmos_write(2, 0x34);
	check("rtc/set-mode-holds", "12 34", "%x %x", cmos(0), cmos(2));
	cmos_write(0x0b, (b | 0x80) & ~0x02);
	cmos_write(0x0b, b);
	check("rtc/c-clear-by-reading", "0", "%x", ({
		      cmos(0x0c);
		      cmos(0x0c) & 0x40;
	      }));
}

/* 16550 data sheet, in its loopback mode where it can. */
static void uart(void)
{
	u32 i;

	outb(0x3f8 + 7, 0xa7);
	check("16550/scratch", "a7", "%x", inb(0x3f8 + 7));
	while (!(inb(0x3f8 + 5) & 0x40))
		;
	u8 lcr = inb(0x3f8 + 3);
	outb(0x3f8 + 3, lcr | 0x80);
	check("16550/divisor-reads-back", "1 0", "%x %x", inb(0x3f8), inb(0x3f8 + 1));
	outb(0x3f8 + 3, lcr);
	check("16550/ier-has-4-bits", "f", "%x", ({
		      outb(0x3f8 + 1, 0xff);
		      u8 ier = inb(0x3f8 + 1);
		      outb(0x3f8 + 1, 0);
		      ier;
	      }));
	/* In loopback nothing can be printed, and nothing may still be on its way. */
	while (!(inb(0x3f8 + 5) & 0x40))
		;
	outb(0x3f8 + 4, 0x10);
	u8 lines_low = inb(0x3f8 + 6);
	outb(0x3f8 + 4, 0x1f);
	u8 lines = inb(0x3f8 + 6);
	outb(0x3f8 + 2, 0);
	while (inb(0x3f8 + 5) & 1)
		inb(0x3f8);
	outb(0x3f8, 'S');
	for (i = 0; i < 10000000 && !(inb(0x3f8 + 5) & 1); i++)
		;
	u8 data = inb(0x3f8), ready = inb(0x3f8 + 5) & 1;
	outb(0x3f8 + 4, 3);
	check("16550/loopback-modem-lines", "0 then f0", "%x then %x", lines_low & 0xf0, lines & 0xf0);
	check("16550/loopback-data", "53", "%x", data);
	check("16550/data-ready-cleared", "0", "%x", ready);
	outb(0x3f8 + 2, 7);
	check("16550/iir-fifos-on-nothing-pending", "c1", "%x", inb(0x3f8 + 2));
	while (!(inb(0x3f8 + 5) & 0x40))
		;
	outb(0x3f8 + 1, 2);
	u8 first = inb(0x3f8 + 2), second = inb(0x3f8 + 2);
	outb(0x3f8 + 1, 0);
	check("16550/iir-transmitter-empty", "c2 then c1", "%x then %x", first, second);
	outb(0x3f8 + 1, 0);
	outb(0x3f8 + 2, 0);
	check("16550/iir-fifos-off", "1", "%x", inb(0x3f8 + 2));
	outb(0x3f8 + 2, 7);
}

static bool kbd_wait(u8 mask, u8 value)
{
	for (u32 i = 0; i < 10000000; i++)
		if ((inb(0x64) & mask) == value)
			return true;
	return false;
}

static void kbd_command(u8 c)
{
	kbd_wait(2, 0);
	outb(0x64, c);
}

static void kbd_data(u8 c)
{
	kbd_wait(2, 0);
	outb(0x60, c);
}

/* What comes next, or 0x100 for nothing. */
static u32 kbd_read(void)
{
	return kbd_wait(1, 1) ? inb(0x60) : 0x100;
}

/* 8042 and PS/2 keyboard and mouse. */
static void keyboard(void)
{
	u32 a, b, c;

	for (u32 i = 0; i < 100 && inb(0x64) & 1; i++)
		inb(0x60);
	kbd_command(0xad);
	kbd_command(0xa7);
	for (u32 i = 0; i < 100 && inb(0x64) & 1; i++)
		inb(0x60);
	kbd_command(0xaa);
	check("8042/self-test", "55", "%x", kbd_read());
	kbd_command(0xab);
	check("8042/keyboard-interface-test", "0", "%x", kbd_read());
	kbd_command(0x60);
	kbd_data(0x44);
	kbd_command(0x20);
	check("8042/command-byte-reads-back", "44", "%x", kbd_read() & ~0x30);
	kbd_command(0xd2);
	kbd_data(0x77);
	check("8042/keyboard-output-buffer", "77 status=1", "%x status=%x", ({
		      kbd_wait(1, 1);
		      a = inb(0x64) & 0x21;
		      kbd_read();
	      }),
	      a);
	kbd_command(0xd3);
	kbd_data(0x66);
	check("8042/mouse-output-buffer", "66 status=21", "%x status=%x", ({
		      kbd_wait(1, 1);
		      a = inb(0x64) & 0x21;
		      kbd_read();
	      }),
	      a);
	/* IRQ 1 follows the output buffer when the command byte allows it. */
	kbd_command(0x60);
	kbd_data(0x45);
	pic_mask(0xfd, 0xff);
	kbd_command(0xd2);
	kbd_data(0x55);
	wait_irr(2);
	a = take();
	check("8042/irq-1", "21", "%x", a);
	inb(0x60);
	outb(0x20, 0x20);
	pic_mask(0xff, 0xff);
	kbd_command(0xae);
	kbd_data(0xee);
	check("keyboard/echo", "ee", "%x", kbd_read());
	kbd_data(0xff);
	a = kbd_read();
	b = kbd_read();
	check("keyboard/reset", "fa aa", "%x %x", a, b);
	kbd_data(0xf5);
	check("keyboard/disable-scanning", "fa", "%x", kbd_read());
	kbd_command(0x60);
	kbd_data(0x04); /* no translation, so that the ID comes as it is */
	kbd_data(0xf2);
	a = kbd_read();
	b = kbd_read();
	c = kbd_read();
	check("keyboard/identify", "fa ab 83", "%x %x %x", a, b, c);
	kbd_data(0xf4);
	check("keyboard/enable-scanning", "fa", "%x", kbd_read());
	kbd_command(0xa8);
	kbd_command(0xd4);
	kbd_data(0xff);
	a = kbd_read();
	b = kbd_read();
	c = kbd_read();
	if (a == 0x100) {
		absent("mouse");
	} else {
		check("mouse/reset", "fa aa 0", "%x %x %x", a, b, c);
		kbd_command(0xd4);
		kbd_data(0xf2);
		a = kbd_read();
		b = kbd_read();
		check("mouse/identify", "fa 0", "%x %x", a, b);
	}
	kbd_command(0xd0);
	check("8042/output-port-a20-on", "3", "%x", kbd_read() & 3);
	outb(0x92, (inb(0x92) & 0xfe) | 2);
	check("port-92/a20-reads-back", "2", "%x", inb(0x92) & 2);
	kbd_command(0x60);
	kbd_data(0x45);
}

static u32 pci_read(u32 bus, u32 device, u32 function, u32 reg)
{
	outl(0xcf8, 1u << 31 | bus << 16 | device << 11 | function << 8 | (reg & 0xfc));
	return inl(0xcfc);
}

static void pci_write(u32 bus, u32 device, u32 function, u32 reg, u32 v)
{
	outl(0xcf8, 1u << 31 | bus << 16 | device << 11 | function << 8 | (reg & 0xfc));
	outl(0xcfc, v);
}

/* PCI Local Bus Specification, "Configuration Mechanism #1". */
static void pci(void)
{
	u32 id;

	outl(0xcf8, 0x80000000);
	check("pci/address-reads-back", "80000000", "%x", inl(0xcf8));
	id = pci_read(0, 0, 0, 0);
	check("pci/host-bridge-is-intel's", "8086", "%x", id & 0xffff);
	outl(0xcf8, 0x80000000);
	check("pci/byte-and-word-access", "86 80 1 1", "%x %x %u %u", inb(0xcfc), inb(0xcfd), inw(0xcfe) == id >> 16,
	      inw(0xcfc) == (u16)id);
	check("pci/class-is-host-bridge", "600", "%x", pci_read(0, 0, 0, 8) >> 16);
	outl(0xcf8, 0x00000000);
	check("pci/enable-clear-is-no-cycle", "ffffffff", "%x", inl(0xcfc));
	check("pci/nobody", "ffffffff", "%x", pci_read(0, 0x17, 0, 0));
	check("pci/nobody-on-bus-ff", "ffffffff", "%x", pci_read(0xff, 0, 0, 0));
	pci_write(0, 0, 0, 0, 0x12345678);
	check("pci/ids-are-read-only", "1", "%u", pci_read(0, 0, 0, 0) == id);
	pci_write(0, 0x17, 0, 4, 7);
	u32 functions = 0, bad = 0;
	for (u32 d = 0; d < 32; d++)
		for (u32 f = 0; f < 8; f++) {
			u32 v = pci_read(0, d, f, 0);

			if (v == 0xffffffff)
				continue;
			functions++;
			bad += !(v & 0xffff) || (pci_read(0, d, f, 8) >> 24) > 0x12;
			if (f && !(pci_read(0, d, 0, 0xc) >> 16 & 0x80))
				bad++;
		}
	check("pci/functions-make-sense", "1 0", "%u %u", functions >= 2, bad);
	if ((id >> 16) == 0x29c0) {
		check("q35/lpc", "2918 601", "%x %x", pci_read(0, 0x1f, 0, 0) >> 16, pci_read(0, 0x1f, 0, 8) >> 16);
		check("q35/ahci", "2922 106", "%x %x", pci_read(0, 0x1f, 2, 0) >> 16, pci_read(0, 0x1f, 2, 8) >> 16);
		check("q35/multi-function", "80", "%x", pci_read(0, 0x1f, 0, 0xc) >> 16 & 0x80);
		/* PCIEXBAR: the same registers in memory. */
		u32 ecam = pci_read(0, 0, 0, 0x60);
		check("q35/ecam-enabled", "b0000001", "%x", ecam);
		check("q35/ecam-same-registers", "1 1", "%u %u", *(volatile u32 *)(ecam & ~0xfffffffu) == id,
		      *(volatile u16 *)((ecam & ~0xfffffffu) + (0x1f << 15) + 2) == 0x2918);
		check("q35/ecam-nobody", "ffffffff", "%x", *(volatile u32 *)((ecam & ~0xfffffffu) + (0x17 << 15)));
		/* BAR sizing on the AHCI function's ABAR. */
		u32 bar = pci_read(0, 0x1f, 2, 0x24);
		pci_write(0, 0x1f, 2, 0x24, 0xffffffff);
		check("q35/bar-sizing", "fffff000", "%x", pci_read(0, 0x1f, 2, 0x24));
		pci_write(0, 0x1f, 2, 0x24, bar);
		check("q35/bar-restored", "1", "%u", pci_read(0, 0x1f, 2, 0x24) == bar);
		u32 pmbase = pci_read(0, 0x1f, 0, 0x40);
		check("q35/pmbase", "601", "%x", pmbase);
		u32 a = inl((pmbase & 0xff80) + 8), b = a;
		for (u32 i = 0; i < 1000000 && (b = inl((pmbase & 0xff80) + 8)) == a; i++)
			;
		check("pm-timer/counts", "1 0", "%u %x", a != b, (a | b) >> 24);
		outl((pmbase & 0xff80) + 8, 0);
		check("pm-timer/read-only", "1", "%u", inl((pmbase & 0xff80) + 8) != 0);
		outw((pmbase & 0xff80) + 0, 0xffff);
		check("pm1/status-write-1-clears", "0", "%x", inw(pmbase & 0xff80) & 0x8520);
		outw((pmbase & 0xff80) + 2, 0x0120);
		check("pm1/enable-reads-back", "120", "%x", inw((pmbase & 0xff80) + 2));
		outw((pmbase & 0xff80) + 2, 0);
	} else {
		absent("q35");
		absent("pm-timer");
		absent("pm1");
	}
}

/* IA-PC HPET Specification. */
static void hpet(void)
{
	volatile u32 *h = (volatile u32 *)0xfed00000;
	u32 a, b;

	if (h[0] == 0xffffffff || h[0] == 0 || !h[1]) {
		absent("hpet");
		return;
	}
	check("hpet/id", "8086 1", "%x %x", h[0] >> 16, h[0] & 0xff);
	check("hpet/period-at-most-100-ns", "1", "%u", h[1] <= 0x05f5e100 && h[1] >= 100000);
	check("hpet/at-least-3-timers", "1", "%u", (h[0] >> 8 & 31) >= 2);
	h[0x10 / 4] = 0;
	h[0xf0 / 4] = 0;
	h[0xf4 / 4] = 0;
	a = h[0xf0 / 4];
	for (u32 i = 0; i < 1000; i++)
		inb(0x80);
	check("hpet/halted", "1", "%u", h[0xf0 / 4] == a);
	h[0x10 / 4] = 1;
	for (u32 i = 0; i < 1000000 && (b = h[0xf0 / 4]) == a; i++)
		;
	check("hpet/runs", "1", "%u", b != a);
	h[0x10 / 4] = 0;
	h[0xf0 / 4] = 0x12345678;
	h[0xf4 / 4] = 0x9a;
	check("hpet/counter-written-while-halted", "12345678 9a", "%x %x", h[0xf0 / 4], h[0xf4 / 4]);
	h[0x100 / 4] = 0x0004; /* timer 0: interrupt enable only, not yet routed anywhere */
	check("hpet/timer-config", "4", "%x", h[0x100 / 4] & 0x4e);
	h[0x100 / 4] = 0;
	/* Legacy replacement: timer 0 is IRQ 0. */
	if (!(h[0] & 1 << 15)) {
		absent("hpet/legacy");
		return;
	}
	h[0xf0 / 4] = 0;
	h[0xf4 / 4] = 0;
	h[0x100 / 4] = 0x0004;
	h[0x108 / 4] = 1000;
	h[0x10c / 4] = 0;
	pic_mask(0xfe, 0xff);
	outb(0x20, 0x20);
	h[0x10 / 4] = 3;
	for (u32 i = 0; i < 10000000 && !(pic_irr(0x20) & 1); i++)
		;
	a = take();
	check("hpet/legacy-irq-0", "20", "%x", a);
	outb(0x20, 0x20);
	h[0x100 / 4] = 0;
	h[0x10 / 4] = 0;
	pic_mask(0xff, 0xff);
}

/* QEMU's docs/specs/fw_cfg: ports 0x510, 0x511, DMA at 0x514. */
static void fw_cfg(void)
{
	char signature[5] = "";
	u32 n;

	outw(0x510, 0);
	for (u32 i = 0; i < 4; i++)
		signature[i] = inb(0x511);
	if (memcmp(signature, "QEMU", 4)) {
		absent("fw_cfg");
		return;
	}
	check("fw_cfg/signature", "QEMU", "%s", signature);
	check("fw_cfg/beyond-item-is-0", "0", "%x", inb(0x511));
	outw(0x510, 1);
	check("fw_cfg/id", "3", "%x", inb(0x511));
	outw(0x510, 5);
	n = inb(0x511);
	check("fw_cfg/cpus", "1", "%u", n >= 1);
	outw(0x510, 3);
	u64 ram = 0;
	for (u32 i = 0; i < 8; i++)
		ram |= (u64)inb(0x511) << i * 8;
	check("fw_cfg/ram", "10000000", "%llx", (unsigned long long)ram);
	outw(0x510, 0x7fff);
	check("fw_cfg/no-such-item", "0", "%x", inb(0x511));
	/* The directory: big-endian, sorted by name. */
	outw(0x510, 0x19);
	n = (u32)inb(0x511) << 24;
	n |= (u32)inb(0x511) << 16;
	n |= (u32)inb(0x511) << 8;
	n |= inb(0x511);
	char name[2][57] = {"", ""};
	bool sane = n > 0 && n < 200, acpi = false;
	for (u32 i = 0; sane && i < n; i++) {
		u8 entry[64];

		for (u32 k = 0; k < 64; k++)
			entry[k] = inb(0x511);
		sane &= (entry[4] << 8 | entry[5]) >= 0x20;
		memcpy(name[i & 1], entry + 8, 56);
		acpi |= !memcmp(entry + 8, "etc/e820", 9);
	}
	check("fw_cfg/directory", "sane=1 etc/e820=1", "sane=%u etc/e820=%u", sane, acpi);
	/* DMA: read the signature into memory. */
	static struct __attribute__((packed)) {
		u32 control, length;
		u64 address;
	} dma __attribute__((aligned(16)));
	static volatile char text[8];
	dma.control = __builtin_bswap32(8 | 2);
	dma.length = __builtin_bswap32(4);
	dma.address = __builtin_bswap64((ulong)text);
	check("fw_cfg/dma-signature", "51454d55", "%x", __builtin_bswap32(inl(0x514)));
	outl(0x514, 0);
	asm volatile("" : : : "memory");
	outl(0x518, __builtin_bswap32((u32)(ulong)&dma));
	asm volatile("" : : : "memory");
	check("fw_cfg/dma", "control=0 QEMU", "control=%x %s", ((volatile u32 *)&dma)[0], (const char *)text);
	dma.control = __builtin_bswap32(5u << 16 | 8 | 4);
	dma.length = __builtin_bswap32(1);
	outl(0x518, __builtin_bswap32((u32)(ulong)&dma));
	check("fw_cfg/dma-skip", "0", "%x", ((volatile u32 *)&dma)[0]);
}

void chapter_main(void)
{
	open_window = CODE("sti; nop; nop; nop; cli");
	virtual_wire();
	pic();
	pit();
	rtc();
	uart();
	keyboard();
	pci();
	hpet();
	fw_cfg();
}
