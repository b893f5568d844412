/*
 * Self-modifying and cross-modifying code.
 *
 * SDM vol. 3, "Handling Self- and Cross-Modifying Code": on one processor a write to the code about to run is seen by
 * the next instruction fetched after a jump, and in practice by the very next instruction; this processor family
 * detects it, so the tests expect it at once. Code is written through its own address, through another mapping, by
 * string instructions and by locked ones.
 */
#include "chips.h"

const char chapter[] = "smc";

#define CODE_AT 0x400000ul   /* two pages of code, in identity-mapped memory */
#define ALIAS	0x40000000ul /* the same pages once more */

static u8 *const code = (u8 *)CODE_AT;

/* Puts bytes at code + offset, ended by INT 0x80. */
static void place(u32 offset, const u8 *bytes, u32 n)
{
	memcpy(code + offset, bytes, n);
	memcpy(code + offset + n, (u8[]){0xcd, VECTOR_END}, 2);
}
#define PLACE(offset, ...) place(offset, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static struct ctx go(u32 offset)
{
	return run((struct ctx){RING0, .ip = CODE_AT + offset, .bx = CODE_AT, .si = CODE_AT + 0x800, .di = ALIAS});
}

static void own_code(void)
{
	struct ctx c;

	/* movb $0x42, 4(%rbx): the immediate of the instruction that follows. */
	PLACE(0, 0xc6, 0x43, 5, 0x42, 0xb0, 0x11); /* mov $0x11, %al at 4 */
	c = go(0);
	check("next-instruction/immediate", "42", "%lx", c.ax & 0xff);
	/* The opcode of the next instruction: inc %eax becomes dec %eax. */
	PLACE(0, 0x31, 0xc0, 0xc6, 0x43, 7, 0xc8, 0xff,
	      0xc0); /* xor; movb $0xc8, 7(%rbx); ff c0 = inc -> ff c8 = dec */
	c = go(0);
	check("next-instruction/opcode", "ffffffff", "%lx", c.ax);
	/* A longer instruction takes the place of two. */
	PLACE(0, 0x31, 0xc0, 0x66, 0xc7, 0x43, 8, 0xb0, 0x77, 0x90,
	      0x90); /* movw $0x77b0, 8(%rbx): nop nop -> mov $0x77, %al */
	c = go(0);
	check("next-instruction/two-become-one", "77", "%lx", c.ax);
	/* Behind a jump. */
	PLACE(0, 0xc6, 0x43, 0x21, 0x55, 0xeb, 0x1a);
	PLACE(0x20, 0xb0, 0x11);
	c = go(0);
	check("after-jump", "55", "%lx", c.ax & 0xff);
	/* Its own bytes: the instruction that writes is complete; the change shows the second time. */
	PLACE(0, 0xc6, 0x43, 3, 0x99, 0x8a, 0x43, 3);
	c = go(0);
	check("own-immediate", "99", "%lx", c.ax & 0xff);
	/* A loop that rewrites its own body each time: add $n, %eax with n = 1, 2, 3 ... */
	PLACE(0, 0x31, 0xc0, 0xb9, 100, 0, 0, 0, /* xor %eax,%eax; mov $100,%ecx */
	      0x83, 0xc0, 0x01,			 /* 7: add $1, %eax */
	      0xfe, 0x43, 0x09,			 /* incb 9(%rbx) */
	      0xe2, 0xf8);			 /* loop 7 */
	c = go(0);
	check("loop-rewrites-itself", "5050", "%u", (u32)c.ax);
	/* Backwards: code that has run already, then runs again. */
	PLACE(0, 0x31, 0xc0, 0x31, 0xc9,	      /* xor %eax,%eax; xor %ecx,%ecx */
	      0x04, 0x01,			      /* 4: add $1, %al */
	      0xc6, 0x43, 0x05, 0x10,		      /* movb $0x10, 5(%rbx) */
	      0xff, 0xc1, 0x83, 0xf9, 3, 0x75, 0xf3); /* inc %ecx; cmp $3; jne 4 */
	c = go(0);
	check("earlier-in-block", "21", "%lx", c.ax & 0xff);
	/* By string store over the instructions that follow REP STOSB itself. */
	PLACE(0, 0x48, 0x8d, 0x7b, 0x10,	   /* lea 16(%rbx), %rdi */
	      0xb0, 0x90, 0xb9, 4, 0, 0, 0,	   /* mov $0x90, %al; mov $4, %ecx */
	      0xf3, 0xaa, 0x90, 0x90, 0x90,	   /* rep stosb */
	      0x0f, 0x0b, 0x0f, 0x0b, 0xb0, 0x33); /* ud2; ud2 -> nops; mov $0x33, %al */
	c = go(0);
	check("rep-stos-over-what-follows", "33 vector=80", "%lx vector=%lx", c.ax & 0xff, c.vector);
	/* REP MOVSB that overwrites itself with NOPs goes on or stops at an iteration; afterwards the new bytes are
	 * there. */
	memset(code + 0x800, 0x90, 16);
	PLACE(0, 0x48, 0x8d, 0x7b, 0x09, 0xb9, 4, 0, 0, 0, 0xf3, 0xa4, 0x90, 0x90, 0xb0, 0x44);
	c = go(0);
	check("rep-movs-over-itself", "44 bytes=90909090|44 bytes=90", "%lx bytes=%x", c.ax & 0xff,
	      *(u32 *)(code + 9) == 0x90909090 ? 0x90909090 : code[9]);
	/* PUSH, CALL and a locked instruction as writers. */
	PLACE(0, 0x48, 0x8d, 0x63, 0x18,				  /* lea 24(%rbx), %rsp */
	      0x48, 0xb8, 0xb0, 0x66, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, /* mov $..., %rax: mov $0x66, %al; nops */
	      0x50, 0x90,						  /* push %rax: writes bytes 16 to 23 */
	      0xb0, 0x11, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,		  /* 16: mov $0x11, %al */
	      0x48, 0x89, 0xdc, 0x48, 0x81, 0xc4, 0, 0x0e, 0, 0);	  /* mov %rbx,%rsp; add $0xe00,%rsp */
	c = go(0);
	check("push-over-what-follows", "66", "%lx", c.ax & 0xff);
	PLACE(0, 0xb8, 0x22, 0, 0, 0, 0xf0, 0x00, 0x43, 0x0a, 0xb1, 0x11); /* lock add %al, 10(%rbx); mov $0x11, %cl */
	c = go(0);
	check("lock-add-over-what-follows", "33", "%lx", c.cx & 0xff);
}

static void page_boundary(void)
{
	struct ctx c;

	/* An instruction across the page boundary; its tail is written. */
	code[0xffe] = 0xb8;
	PLACE(0xfff, 0x11, 0x22, 0x33, 0x44);
	c = go(0xffe);
	check("boundary/first", "44332211", "%lx", c.ax);
	code[0x1001] = 0x99;
	c = go(0xffe);
	check("boundary/second-page-written", "44992211", "%lx", c.ax);
	code[0xfff] = 0x77;
	c = go(0xffe);
	check("boundary/first-page-written", "44992277", "%lx", c.ax);
	/* The writer on one page, its target the next instruction on the next page. */
	PLACE(0xff9, 0xc6, 0x83, 0x01, 0x10, 0, 0, 0x5a, 0xb0,
	      0x11); /* movb $0x5a, 0x1001(%rbx); mov $0x11, %al at 0x1000 */
	c = go(0xff9);
	check("boundary/writes-next-page", "5a", "%lx", c.ax & 0xff);
	/* A write that straddles both pages. */
	PLACE(0xfe0, 0xb8, 0x90, 0x90, 0xb0, 0x6b, 0x89, 0x83, 0xfe, 0x0f, 0,
	      0); /* mov $0x6bb09090,%eax; mov %eax,0xffe(%rbx) */
	memset(code + 0xfeb, 0x90, 0x13);
	PLACE(0xffe, 0xf4, 0xf4, 0xf4, 0xf4);
	c = go(0xfe0);
	check("boundary/straddling-write", "6b", "%lx", c.ax & 0xff);
}

static void other_mappings(void)
{
	struct ctx c;
	u64 *table = page_alloc();

	page_dirs[1][0] = (u64)table | 7;
	table[0] = CODE_AT | 7;
	table[1] = (CODE_AT + 0x1000) | 7;
	write_cr3(read_cr3());
	PLACE(0, 0xb0, 0x11);
	go(0);
	((volatile u8 *)ALIAS)[1] = 0x22;
	c = go(0);
	check("alias/written-by-alias", "22", "%lx", c.ax & 0xff);
	c = run((struct ctx){RING0, .ip = ALIAS});
	check("alias/run-by-alias", "22", "%lx", c.ax & 0xff);
	code[1] = 0x33;
	c = run((struct ctx){RING0, .ip = ALIAS});
	check("alias/written-by-the-other", "33", "%lx", c.ax & 0xff);
	/* Within one run: write by the alias, then a serialising instruction, then run. */
	PLACE(0, 0xc6, 0x47, 0x0d, 0x66, 0x31, 0xc0, 0x53, 0x0f, 0xa2, 0x5b, 0x90, 0x90, 0xb0,
	      0x11); /* movb $0x66, 13(%rdi); xor; push; cpuid; pop; nops; mov */
	c = go(0);
	check("alias/cpuid-between", "66", "%lx", c.ax & 0xff);
	/* The mapping changes, not the memory. */
	PLACE(0, 0xb0, 0x44);
	PLACE(0x1000, 0xb0, 0x55);
	c = run((struct ctx){RING0, .ip = ALIAS});
	check("remap/before", "44", "%lx", c.ax & 0xff);
	table[0] = (CODE_AT + 0x1000) | 7;
	invlpg((void *)ALIAS);
	c = run((struct ctx){RING0, .ip = ALIAS});
	check("remap/after-invlpg", "55", "%lx", c.ax & 0xff);
	table[0] = CODE_AT | 7;
	write_cr3(read_cr3());
	c = run((struct ctx){RING0, .ip = ALIAS});
	check("remap/after-mov-cr3", "44", "%lx", c.ax & 0xff);
	/* The same bytes in another mode: 64-bit code, then 32-bit code. */
	PLACE(0, 0x48, 0xff, 0xc0); /* inc %rax; in 32-bit code: dec %eax; inc %eax */
	c = run((struct ctx){RING0, .ip = CODE_AT, .ax = 0xffffffff});
	check("mode/64-bit", "100000000", "%lx", c.ax);
	c = run((struct ctx){RING3_32, .ip = CODE_AT, .ax = 5});
	check("mode/32-bit-same-bytes", "5", "%lx", c.ax);
	c = run((struct ctx){RING0, .ip = CODE_AT, .ax = 0xffffffff});
	check("mode/64-bit-again", "100000000", "%lx", c.ax);
	/* Ring 3 writes its own code, too. */
	PLACE(0, 0xc6, 0x43, 5, 0x42, 0xb0, 0x11);
	c = run((struct ctx){RING3, .ip = CODE_AT, .bx = CODE_AT});
	check("ring3/next-instruction", "42", "%lx", c.ax & 0xff);
	/* Data next to code: writes to the page, not to instructions. */
	PLACE(0, 0xb9, 0x10, 0x27, 0, 0, 0xff, 0x83, 0, 0x08, 0, 0, 0xe2,
	      0xf8); /* mov $10000, %ecx; 5: incl 0x800(%rbx); loop 5 */
	*(u32 *)(code + 0x800) = 0;
	c = go(0);
	check("data-on-code-page", "10000 vector=80", "%u vector=%lx", *(u32 *)(code + 0x800), c.vector);
	/* A small generator: a thousand different routines at one place, each run once. */
	u32 wrong = 0;
	for (u32 i = 0; i < 1000; i++) {
		u32 k = i * 2654435761u;

		PLACE(0, 0xb8, (u8)k, (u8)(k >> 8), (u8)(k >> 16), (u8)(k >> 24), 0x05, (u8)i, (u8)(i >> 8), 0,
		      0); /* mov $k, %eax; add $i, %eax */
		c = go(0);
		wrong += (u32)c.ax != k + i;
	}
	check("generator/1000-routines", "0 wrong", "%u wrong", wrong);
}

/*
 * Another processor runs what this one writes. SDM: the writer stores the code, then a flag; the other sees the flag,
 * executes a serialising instruction (CPUID), then the code.
 */
asm(".pushsection .snippet,\"ax\"\n"
    ".code32\n"
    "ap_loop: 1: cmpl $0, cross_go; jne 2f; pause; jmp 1b\n"
    "2: xor %eax, %eax; cpuid; call *cross_target; mov %eax, cross_result; movl $0, cross_go; jmp 1b\n"
    ".code64\n"
    ".popsection\n");
extern u8 ap_loop[];
volatile u32 cross_go, cross_stop, cross_target = CODE_AT, cross_result;

static void cross_modifying(void)
{
	u32 wrong = 0, late = 0;

	if (!start_second_cpu((ulong)ap_loop)) {
		absent("cross");
		return;
	}
	for (u32 i = 0; i < 200; i++) {
		u32 k = i * 2654435761u;

		/* mov $k, %eax; ret: at one place, and across a page boundary */
		cross_target = i & 1 ? CODE_AT + 0xffd : CODE_AT;
		memcpy((u8 *)(ulong)cross_target, (u8[]){0xb8, (u8)k, (u8)(k >> 8), (u8)(k >> 16), (u8)(k >> 24), 0xc3},
		       6);
		cross_go = 1;
		late += !reaches(&cross_go, 0);
		wrong += cross_result != k;
	}
	check("cross/200-routines", "0 wrong, 0 late", "%u wrong, %u late", wrong, late);
	/*
	 * Only an immediate of a routine that the other one is running all the time: it sees the old or the new, and in
	 * the end the new. 0: mov $1, %eax; cmp $2, %eax; je 19; cmpl $0, cross_stop; je 0; 19: ret
	 */
	u32 stop = (u32)(ulong)&cross_stop;
	cross_target = CODE_AT;
	memcpy(code, (u8[]){0xb8, 1, 0, 0, 0, 0x83, 0xf8, 2, 0x74, 9, 0x83, 0x3d}, 12);
	memcpy(code + 12, &stop, 4);
	memcpy(code + 16, (u8[]){0, 0x74, 0xed, 0xc3}, 4);
	cross_go = 1;
	pause_for(1000);
	((volatile u8 *)code)[1] = 2;
	late = !reaches(&cross_go, 0);
	cross_stop = 1;
	check("cross/seen-by-a-running-loop", "2 late=0", "%x late=%u", cross_result, late);
	apic_write(APIC_ICR, 0xc4500); /* INIT: let it rest */
}

void chapter_main(void)
{
	own_code();
	page_boundary();
	other_mappings();
	cross_modifying();
}
