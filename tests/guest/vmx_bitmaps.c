/*
 * MSR bitmaps and I/O bitmaps: which accesses of a guest exit.
 *
 * SDM vol. 3, "MSR-Bitmap Address", "I/O-Bitmap Addresses", "Instructions That Cause VM Exits Conditionally", "Relative
 * Priority of Faults and VM Exits".
 */
#include "vmx.h"

const char chapter[] = "vmx_bitmaps";

static u8 *msr_bitmap, *io_bitmap;

/* The bit of an MSR: four maps of 1 KByte, for reads and writes of low and of high numbers. */
static void set_msr_bit(u32 msr, bool write, bool value)
{
	u8 *map = msr_bitmap + (write ? 2048 : 0) + (msr >= 0xc0000000 ? 1024 : 0);

	memset(msr_bitmap, value ? 0 : 0xff, 4096);
	map[(msr & 0x1fff) / 8] ^= 1 << (msr & 7);
}

static void msrs(void)
{
	static const struct {
		u32 msr;
		bool mapped, known;
	} rows[] = {{0, true, false},		{MSR_SYSENTER_CS, true, true},	  {0x1fff, true, false},
		    {0x2000, false, false},	{0x40000000, false, false},	  {0xbfffffff, false, false},
		    {0xc0000000, true, false},	{MSR_KERNEL_GS_BASE, true, true}, {0xc0001fff, true, false},
		    {0xc0002000, false, false}, {0xffffffff, false, false}};
	ulong code[2] = {CODE("rdmsr"), CODE("wrmsr")};
	char name[64];

	/* MSR 0 is IA32_P5_MC_ADDR, where there is one. */
	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (u32 write = 0; write < 2; write++)
			for (u32 bit = 0; bit < 2; bit++) {
				const char *exits = write ? "WRMSR len=2" : "RDMSR len=2";

				format_text(name, sizeof(name), "msr/%x-%s-%u", rows[i].msr, write ? "write" : "read",
					    bit);
				set_msr_bit(rows[i].msr, write, bit);
				V(name,
				  bit || !rows[i].mapped ? exits
				  : rows[i].known	 ? "ok"
				  : rows[i].msr		 ? "#GP(0x0)+0"
							 : "#GP(0x0)+0|ok",
				  G64, code[write], pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)msr_bitmap),
				  regs.cx = rows[i].msr);
			}
	set_msr_bit(MSR_SYSENTER_CS, true, true);
	V("msr/other-direction", "ok", G64, code[0], pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)msr_bitmap),
	  regs.cx = MSR_SYSENTER_CS);
	memset(msr_bitmap, 0, 4096);
	V("msr/rcx-upper-half-ignored", "ok", G64, code[0], pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)msr_bitmap),
	  regs.cx = 1ul << 32 | MSR_SYSENTER_CS);
	V("msr/ring3", "#GP(0x0)+0", G64_U, code[0], pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)msr_bitmap),
	  regs.cx = 0x40000000);
	V("msr/bad-value-no-exit", "#GP(0x0)+0", G64, code[1], pri(USE_MSR_BITMAPS),
	  vm_write(MSR_BITMAP, (u64)msr_bitmap), regs.cx = MSR_PAT, regs.ax = 2);
	V("msr/fs-base-written", "ok", G64, code[1], pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)msr_bitmap),
	  regs.cx = MSR_FS_BASE, regs.ax = 0x123000);
	vm_line("msr/fs-base-saved", "123000", "%lx", vm_read(GUEST_FS_BASE));
}

static void set_port(u32 port, bool value)
{
	memset(io_bitmap, value ? 0 : 0xff, 8192);
	io_bitmap[port / 8] ^= 1 << (port & 7);
}

#define IO(name, expected, mode, code, ...)                                                       \
	V(name, expected, mode, code, pri(USE_IO_BITMAPS), vm_write(IO_BITMAP_A, (u64)io_bitmap), \
	  vm_write(IO_BITMAP_B, (u64)io_bitmap + 4096), ##__VA_ARGS__)

static void ports(void)
{
	static const u32 port[] = {0, 0x70, 0x7fff, 0x8000, 0x80fe, 0xffff};
	ulong in1 = CODE("inb %dx"), in2 = CODE("inw %dx"), in4 = CODE("inl %dx");
	char name[64], expected[64];

	for (u32 i = 0; i < sizeof(port) / sizeof(port[0]); i++)
		for (u32 bit = 0; bit < 2; bit++) {
			set_port(port[i], bit);
			format_text(name, sizeof(name), "io/%x-%u", port[i], bit);
			format_text(expected, sizeof(expected), bit ? "IO_INSTRUCTION in1 port=%x dx len=1" : "ok",
				    port[i]);
			IO(name, expected, G64, in1, regs.dx = port[i]);
		}
	/* An access exits for any of its bytes. */
	set_port(0x73, true);
	IO("io/word-second-byte", "IO_INSTRUCTION in2 port=72 dx len=2", G64, in2, regs.dx = 0x72);
	IO("io/dword-last-byte", "IO_INSTRUCTION in4 port=70 dx len=1", G64, in4, regs.dx = 0x70);
	IO("io/dword-after", "ok", G64, in4, regs.dx = 0x74);
	IO("io/dword-before", "ok", G64, in4, regs.dx = 0x6f - 3);
	set_port(0x8000, true);
	IO("io/across-the-maps", "IO_INSTRUCTION in2 port=7fff dx len=2", G64, in2, regs.dx = 0x7fff);
	memset(io_bitmap, 0, 8192);
	IO("io/wraps", "IO_INSTRUCTION in2 port=ffff dx len=2", G64, in2, regs.dx = 0xffff);
	IO("io/wraps-dword", "IO_INSTRUCTION in4 port=fffd dx len=1", G64, in4, regs.dx = 0xfffd);
	IO("io/last-dword", "ok", G64, in4, regs.dx = 0xfffc);
	IO("io/unconditional-ignored", "ok", G64, in1, regs.dx = 0x70, pri(UNCONDITIONAL_IO_EXITING));
	IO("io/ring3", "#GP(0x0)+0", G64_U, in1, regs.dx = 0x70);
	memset(io_bitmap, 0xff, 8192);
	IO("io/ring3-exit-later", "#GP(0x0)+0", G64_U, in1, regs.dx = 0x70);
	IO("io/ring3-iopl", "IO_INSTRUCTION in1 port=70 dx len=1", G64_U, in1, regs.dx = 0x70,
	   vm_or(GUEST_RFLAGS, FLAG_IOPL));
	IO("io/rep-insb", "IO_INSTRUCTION in1 port=70 dx rep str a64 len=2", G64, CODE("rep insb"), regs.dx = 0x70,
	   regs.di = 0x5000, regs.cx = 4);
	vm_line("io/rep-insb-count", "4", "%lx", regs.cx);
	/* The processor's own I/O permission bitmap is asked first. */
	memset(main_tss.bitmap, 0, 64);
	main_tss.bitmap[0x71 / 8] |= 2;
	main_tss.t.iomap = (u8 *)main_tss.bitmap - (u8 *)&main_tss;
	IO("io/ring3-tss-allows", "IO_INSTRUCTION in1 port=70 dx len=1", G64_U, in1, regs.dx = 0x70);
	IO("io/ring3-tss-forbids", "#GP(0x0)+0", G64_U, in1, regs.dx = 0x71);
	memset(io_bitmap, 0, 8192);
	IO("io/ring3-tss-and-map-allow", "ok", G64_U, in1, regs.dx = 0x70);
	main_tss.t.iomap = IOMAP_NONE;
	IO("io/v86", "#GP(0x0)+0", GV86, CODE16("inb %dx"), regs.dx = 0x70);
	IO("io/real", "ok", GREAL, CODE16("inb %dx"), regs.dx = 0x70);
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	msr_bitmap = page_alloc();
	io_bitmap = page_alloc();
	page_alloc(); /* the pool goes upwards: two pages in a row */
	msrs();
	ports();
	vm_report();
}
