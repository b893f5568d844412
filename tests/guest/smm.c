/*
 * System management mode by way of the APM port, built for 32-bit and 64-bit mode.
 *
 * SDM vol. 3, "System Management Mode": "SMM Execution Environment", "SMRAM State Save Map", "SMBASE Relocation",
 * "Exiting From SMM". The chipset part is smi.h's. A board without SMIs is reported absent. The save area has Intel's
 * layout or, where the revision identifier ends in 64H, AMD's.
 */
#include "smi.h"

#ifdef __x86_64__
const char chapter[] = "smm64";
#else
const char chapter[] = "smm";
#endif

/* What the handler leaves at 0x6000, and what it is told at 0x6040. */
struct log {
	u32 count, cs, cr0, cr4, flags, dr7, ds_ss, es, revision, at_fef8, at_ff00, ip, count_after_nested, at_fec8,
		pad[2];
	u32 command, poke_offset, poke_value, poke_value_high;
};
#define LOG ((volatile struct log *)0x6000)
enum { POKE = 1, NESTED = 2 };

asm(".pushsection .snippet,\"ax\"\n"
    ".code16\n"
    "smi_handler: mov $0x5f00, %esp; incl 0x6000; movw %cs, 0x6004; mov %cr0, %eax; mov %eax, 0x6008; mov %cr4, %eax; "
    "mov %eax, 0x600c\n"
    "pushfl; popl 0x6010; mov %dr7, %eax; mov %eax, 0x6014; movw %ds, 0x6018; movw %ss, 0x601a; movw %es, 0x601c\n"
    "mov %cs, %ax; mov %ax, %fs; mov %fs:0xfefc, %eax; mov %eax, 0x6020; mov %fs:0xfef8, %eax; mov %eax, 0x6024; mov "
    "%fs:0xff00, %eax;"
    "mov %eax, 0x6028; mov %fs:0xfec8, %eax; mov %eax, 0x6034\n"
    "call 1f; 1: pop %ax; movw %ax, 0x602c\n"
    "mov 0x6040, %eax; movl $0, 0x6040; cmp $1, %eax; jne 2f\n"
    "mov 0x6044, %bx; mov 0x6048, %ecx; mov %ecx, %fs:(%bx); mov 0x604c, %ecx; cmp $0xffffffff, %ecx; je 2f; mov %ecx, "
    "%fs:4(%bx)\n"
    "2: cmp $2, %eax; jne 3f; mov $0x55, %al; out %al, $0xb2; mov $1000, %cx; 4: loop 4b; mov 0x6000, %eax; mov %eax, "
    "0x6030\n"
    "3: rsm\n"
    "smi_handler_end:\n"
#ifdef __x86_64__
    ".code64\n"
#else
    ".code32\n"
#endif
    ".popsection\n");
extern u8 smi_handler[], smi_handler_end[];
static ulong trigger_code;

/* One SMI, and everything before and after. The loop gives it time to arrive. */
static struct ctx smi(ulong ax)
{
	return TRY(RING0, trigger_code, .ax = ax, .cx = 100000, .bx = (ulong)0x1122334455667788, .dx = 0xd, .si = 0x51,
		   .di = 0xd1, .bp = 0xb9, .flags = FLAG_FIXED | FLAG_CF | FLAG_DF);
}

static void install(u32 smbase)
{
	memcpy((void *)(ulong)(smbase + 0x8000), smi_handler, smi_handler_end - smi_handler);
}

static u32 ioapic_id;

/* Programs the I/O APIC's pin of the 8254. */
static void pin_2(u32 low)
{
	*(volatile u32 *)0xfec00000ul = 0x15;
	*(volatile u32 *)0xfec00010ul = ioapic_id << 24;
	*(volatile u32 *)0xfec00000ul = 0x14;
	*(volatile u32 *)0xfec00010ul = low;
}

/* HLT with an SMI from the 8254 to come soon, and a timer interrupt (vector 41H) to end it much later. */
static struct ctx halt(ulong code)
{
	struct ctx c;

	LOG->count = 0;
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, 0x41);
	outb(0x43, 0x30);
	pin_2(0x200);
	outb(0x40, 200);
	apic_write(APIC_TIMER_INITIAL, 200000000);
	outb(0x40, 0);
	c = run((struct ctx){RING0, .ip = code});
	apic_write(APIC_TIMER_INITIAL, 0);
	if (c.vector == 0x41)
		apic_write(APIC_EOI, 0);
	pin_2(0x10000);
	outb(0x43, 0x30);
	return c;
}

/* SDM vol. 3, "Auto HALT Restart", "I/O Instruction Restart". */
static void restarts(bool amd)
{
	struct ctx c;
	ulong hlt = CODE("sti; hlt; cli");

	ioapic_id = apic_read(APIC_ID) >> 24;
	c = halt(hlt);
	if (!LOG->count || !(amd ? LOG->at_fec8 >> 8 & 1 : LOG->at_ff00 >> 16 & 1)) {
		absent("halt");
	} else {
		check("halt/halts-again", "int 0x41+2 count=1", "%s count=%u", outcome(c), LOG->count);
		LOG->command = POKE;
		LOG->poke_offset = amd ? 0xfec8 : 0xff00;
		LOG->poke_value = 0;
		LOG->poke_value_high = 0xffffffff;
		c = halt(hlt);
		check("halt/goes-on-when-told", "ok count=1", "%s count=%u", outcome(c), LOG->count);
	}
	LOG->count = 0;
	LOG->command = POKE;
	LOG->poke_offset = amd ? 0xfec8 : 0xff00;
	LOG->poke_value = 0xff;
	LOG->poke_value_high = 0xffffffff;
	c = smi(0x17);
	for (u32 i = 0; i < 100000 && LOG->count < 2; i++)
		asm volatile("pause");
	/* Bit 16 of the revision identifier promises it; AMD's map has the slot in any case. */
	if (LOG->count == 1 && !(LOG->revision & 1 << 16)) {
		absent("io");
		return;
	}
	check("io/restarted-out-raises-a-second", "ok count=2", "%s count=%u", outcome(c), LOG->count);
}

void chapter_main(void)
{
	u32 smram;
	u8 control;
	struct ctx c;

	trigger_code = CODE("out %al, $0xb2; 1: cmpl $0, 0x6000; loope 1b; std; cld");
	memset((void *)LOG, 0, sizeof(*LOG));
	smram = smi_enable();
	if (!smram) {
		absent("smi");
		return;
	}
	control = pci_byte(0, 0, smram);
	/* D_OPEN: SMRAM is visible outside SMM while the handler is put there. The processor's SMBASE is the reset
	 * value or SMRAM. */
	pci_byte_write(0, 0, smram, SMRAM_OPEN);
	install(0xa0000);
	install(0x30000);
	bool visible = !memcmp((void *)0xa8000, smi_handler, smi_handler_end - smi_handler);
	pci_byte_write(0, 0, smram, SMRAM_CLOSED);
	bool hidden = memcmp((void *)0xa8000, smi_handler, smi_handler_end - smi_handler);
	/* Open again from here on: in SMM it makes no difference. */
	pci_byte_write(0, 0, smram, SMRAM_OPEN);
	c = smi(0x77);
	if (!LOG->count) {
		absent("smi");
		return;
	}
	check("smram/open-shows-closed-hides", "1 1", "%u %u", visible, hidden);
	bool amd = (LOG->revision & 0xff) == 0x64;
	u32 smbase = amd ? LOG->at_ff00 : LOG->at_fef8;
	check("entry/once", "1", "%u", LOG->count);
	check("entry/smbase-slot", "1", "%u", smbase == 0x30000 || smbase == 0xa0000);
	check("entry/cs-is-smbase", "1", "%u", (LOG->cs & 0xffff) == smbase >> 4);
	check("entry/ip-near-8000", "1", "%u", (LOG->ip & 0xffff) > 0x8000 && (LOG->ip & 0xffff) < 0x8100);
	check("entry/segments-0", "0 0", "%x %x", LOG->ds_ss, LOG->es & 0xffff);
	/* "PE, EM, TS, and PG flags are cleared; others unmodified." */
	check("entry/cr0", "0", "%x", LOG->cr0 & (u32)(CR0_PE | CR0_EM | CR0_TS | CR0_PG));
	check("entry/cr0-ne-kept", "20", "%x", LOG->cr0 & CR0_NE);
	check("entry/cr4-cleared", "0", "%x", LOG->cr4);
	check("entry/flags-cleared", "2", "%x", LOG->flags);
	check("entry/dr7", "400", "%x", LOG->dr7);
	check("entry/revision-says-relocation", "1", "%u", LOG->revision >> 17 & 1);
	check("rsm/registers",
	      IS_64 ? "ok ax=77 bx=1122334455667788 dx=d si=51 di=d1 bp=b9 df=0"
		    : "ok ax=77 bx=55667788 dx=d si=51 di=d1 bp=b9 df=0",
	      "%s ax=%lx bx=%lx dx=%lx si=%lx di=%lx bp=%lx df=%lx", outcome(c), c.ax, c.bx, c.dx, c.si, c.di, c.bp,
	      c.flags & FLAG_DF);
	check("rsm/stack-and-segments", "1 cs=8 ss=10 ds=10", "%u cs=%x ss=%x ds=%x",
	      c.sp == (ulong)ring0_stack_top || IS_64, (u32)c.cs, (u32)c.ss, (u32)c.ds);
	/* Modes: ring 3 with IOPL, and hidden parts of segment registers that no descriptor has any more. */
	LOG->count = 0;
	c = TRY(RING3, trigger_code, .ax = 0x78, .cx = 100000, .flags = FLAG_FIXED | FLAG_IOPL);
	check("rsm/ring3", IS_64 ? "ok cs=33 ss=2b flags.iopl=3 count=1" : "ok cs=23 ss=2b flags.iopl=3 count=1",
	      "%s cs=%x ss=%x flags.iopl=%u count=%u", outcome(c), (u32)c.cs, (u32)c.ss, (u32)c.flags >> 12 & 3,
	      LOG->count);
#ifdef __x86_64__
	LOG->count = 0;
	c = TRY(RING3_32, CODE32("out %al, $0xb2; 1: cmpl $0, 0x6000; loope 1b; mov %cs, %edx; .byte 0x40"), .ax = 0x78,
		.cx = 100000, .flags = FLAG_FIXED | FLAG_IOPL);
	check("rsm/compatibility-mode", "ok cs=23 eax=79 count=1", "%s cs=%x eax=%lx count=%u", outcome(c), (u32)c.dx,
	      c.ax, LOG->count);
	LOG->count = 0;
	wrmsr(MSR_FS_BASE, 0x100000);
	c = TRY(RING0, CODE("mov $0xc0000100, %ecx; mov $0x100000, %eax; xor %edx, %edx; wrmsr; out %al, $0xb2; mov "
			    "$100000, %ecx; 1: cmpl $0, 0x6000; loope 1b;"
			    "movl %fs:0, %ebx; mov $0xc0000080, %ecx; rdmsr"));
	check("rsm/fs-base-and-efer", "ok fs=1 lme=1 lma=1", "%s fs=%u lme=%u lma=%u", outcome(c),
	      (u32)c.bx == *(u32 *)0x100000, (u32)c.ax >> 8 & 1, (u32)c.ax >> 10 & 1);
#else
	set_descriptor(SEL_TEST, 0x100000, 0xfffff, ACC_DATA0, SEG_D | SEG_G);
	LOG->count = 0;
	c = TRY(RING0, CODE("mov $0x70, %eax; mov %eax, %fs; movl $0, gdt + 0x70; movl $0, gdt + 0x74; out %al, $0xb2; "
			    "mov $100000, %ecx;"
			    "1: cmpl $0, 0x6000; loope 1b; movl %fs:0, %ebx"));
	check("rsm/hidden-segment-parts", "ok 1 fs=70 count=1", "%s %u fs=%x count=%u", outcome(c),
	      (u32)c.bx == *(u32 *)0x100000, (u32)c.fs, LOG->count);
#endif
	/* The saved image may be changed: RAX. */
	LOG->count = 0;
	LOG->command = POKE;
	LOG->poke_offset = amd ? 0xfff8 : (LOG->revision & 0xffff) >= 0x100 ? 0xff5c : 0xffd0;
	LOG->poke_value = 0xabcd;
	LOG->poke_value_high = IS_64 ? 0 : 0xffffffff;
	c = smi(0x11);
	check("rsm/changed-rax", "ok abcd", "%s %lx", outcome(c), c.ax);
	/* A second SMI from inside is latched until RSM. */
	LOG->count = 0;
	LOG->count_after_nested = 0;
	LOG->command = NESTED;
	smi(0x12);
	for (u32 i = 0; i < 1000000 && LOG->count < 2; i++)
		asm volatile("pause");
	check("nested/latched-until-rsm", "inside=1 in the end 2", "inside=%u in the end %u", LOG->count_after_nested,
	      LOG->count);
	/* SMBASE relocation: takes effect with RSM; the next SMI starts at the new place. */
	install(0x40000);
	LOG->count = 0;
	LOG->command = POKE;
	LOG->poke_offset = amd ? 0xff00 : 0xfef8;
	LOG->poke_value = 0x40000;
	LOG->poke_value_high = 0xffffffff;
	smi(0x13);
	LOG->count = 0;
	c = smi(0x14);
	check("smbase/relocated", "ok count=1 cs=4000", "%s count=%u cs=%x", outcome(c), LOG->count, LOG->cs & 0xffff);
	LOG->count = 0;
	LOG->command = POKE;
	LOG->poke_value = smbase;
	smi(0x15);
	LOG->count = 0;
	smi(0x16);
	check("smbase/and-back", "1", "%u", (LOG->cs & 0xffff) == smbase >> 4);
	/* By a local APIC's SMI message. */
	virtual_wire();
	LOG->count = 0;
	apic_send(apic_read(APIC_ID) >> 24, 0x4200);
	for (u32 i = 0; i < 1000000 && !LOG->count; i++)
		asm volatile("pause");
	check("apic/smi-delivery-mode", "1", "%u", LOG->count);
	restarts(amd);
	pci_byte_write(0, 0, smram, control);
}
