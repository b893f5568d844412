/*
 * Event injection: every type through the guest's own tables in every mode, error codes, return addresses, faults on
 * the way.
 *
 * SDM vol. 3, "Event Injection", "Vectored-Event Injection", "Details of Vectored-Event Injection", "VM Exits During
 * Event Injection", "Event Injection for VM Entries to Real-Address Mode". What an injection must look like is checked
 * in vmx_entry_checks.c; task gates and the monitor trap flag are in vmx_exits_event.c.
 */
#include "vmx.h"

const char chapter[] = "vmx_inject";

#define BAD	 (1ul << 60)
#define UNMAPPED (1ul << 33)

#define inject(info)		  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | (info))
#define inject_code(info, code)	  (inject((info) | EVENT_ERROR_CODE), vm_write(VM_ENTRY_ERROR_CODE, code))
#define inject_soft(info, length) (inject(info), vm_write(VM_ENTRY_INSTRUCTION_LENGTH, length))
#define exception(vector)	  vm_or(EXCEPTION_BITMAP, 1u << (vector))

static const char mode_name[G_MODES][10] = {"64",	"64-ring3", "compat", "compat-r3", "32",
					    "32-ring3", "v86",	    "real",   "flat"};

/* What the guest's handler found on its stack, from the top: RIP, CS, RFLAGS, and with a change of privilege RSP and
 * SS. */
static u64 frame(u32 word)
{
	u64 sp = vm_read(GUEST_SS_BASE) + vm_read(GUEST_RSP);
	bool long_mode = vm_read(VM_ENTRY_CTLS) >> ENTRY_CTLS_IA32E_MODE_GUEST & 1;

	if (!(vm_read(GUEST_CR0) & CR0_PE))
		return ((u16 *)sp)[word];
	return long_mode ? ((u64 *)sp)[word] : ((u32 *)sp)[word];
}

static void all_types(void)
{
	static const struct {
		const char *name, *text;
		u32 info, length, code;
	} events[] = {
		{"external", "int 0x30+0", EVENT_EXTERNAL | 0x30},
		{"external-low-vector", "#UD+0", EVENT_EXTERNAL | 6},
		{"nmi", "NMI+0", EVENT_NMI},
		{"de", "#DE+0", EVENT_EXCEPTION | VEC_DE},
		{"db", "#DB+0", EVENT_EXCEPTION | VEC_DB},
		{"ud", "#UD+0", EVENT_EXCEPTION | VEC_UD},
		{"df", "#DF(0x0)+0", EVENT_EXCEPTION | VEC_DF, 0, 1},
		{"ts", "#TS(0x77)+0", EVENT_EXCEPTION | VEC_TS, 0, 0x77},
		{"np", "#NP(0x77)+0", EVENT_EXCEPTION | VEC_NP, 0, 0x77},
		{"ss", "#SS(0x77)+0", EVENT_EXCEPTION | VEC_SS, 0, 0x77},
		{"gp", "#GP(0x77)+0", EVENT_EXCEPTION | VEC_GP, 0, 0x77},
		{"pf", "#PF(0x7)+0 cr2=0x123450", EVENT_EXCEPTION | VEC_PF, 0, 7},
		{"ac", "#AC(0x0)+0", EVENT_EXCEPTION | VEC_AC, 0, 1},
		{"mc", "#MC+0", EVENT_EXCEPTION | VEC_MC},
		{"int-n", "int 0x21+2", EVENT_SOFT_INT | 0x21, 2},
		{"int-n-long", "int 0x21+15", EVENT_SOFT_INT | 0x21, 15},
		{"int1", "#DB+1", EVENT_INT1, 1},
		{"int3", "#BP+1", EVENT_SOFT_EXCEPTION | VEC_BP, 1},
		{"into", "#OF+1", EVENT_SOFT_EXCEPTION | VEC_OF, 1},
	};
	ulong code[G_MODES] = {CODE("nop"),   CODE("nop"),   CODE32("nop"), CODE32("nop"), CODE32("nop"),
			       CODE32("nop"), CODE16("nop"), CODE16("nop"), CODE32("nop")};
	char name[64], expected[64];

	write_cr2(0x123450);
	for (u32 mode = 0; mode < G_MODES; mode++)
		for (u32 i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
			bool has_code = events[i].code && mode != GREAL;
			const char *text = events[i].text;

			vm_fresh(mode, code[mode]);
			if ((events[i].info & 0x700) == EVENT_EXTERNAL)
				vm_or(GUEST_RFLAGS, FLAG_IF);
			inject(events[i].info | (has_code ? EVENT_ERROR_CODE : 0));
			vm_write(VM_ENTRY_ERROR_CODE, events[i].code == 1 ? 0 : events[i].code);
			vm_write(VM_ENTRY_INSTRUCTION_LENGTH, events[i].length);
			vm_run();
			/* No error codes in real-address mode; the text then has 0. */
			for (u32 k = 0; mode == GREAL && text[k]; k++)
				if (text[k] == '(') {
					text = format_text(expected, sizeof(expected), "%c%c%c(0x0)+0%s", text[0],
							   text[1], text[2],
							   events[i].code == 7 ? " cr2=0x123450" : "");
					break;
				}
			vm_check(format_text(name, sizeof(name), "%s/%s", mode_name[mode], events[i].name), text);
		}
}

/* The frame is as for delivery, but RF is pushed as it was loaded. */
static void frames(void)
{
	ulong nop64 = CODE("nop"), nop32 = CODE32("nop"), nop16 = CODE16("nop");

#define FRAME(name, expected, mode, code, has_code, ...)                                                         \
	(vm_fresh(mode, code), (void)0, ##__VA_ARGS__, vm_run(),                                                 \
	 vm_line(name, expected, "cs=%lx flags=%lx ss=%lx now cs=%lx flags=%lx", frame(1 + (has_code)) & 0xffff, \
		 frame(2 + (has_code)), frame(4 + (has_code)) & 0xffff, vm_read(GUEST_CS_SELECTOR),              \
		 vm_read(GUEST_RFLAGS)))
	FRAME("frame/64", "cs=8 flags=202 ss=10 now cs=8 flags=2", G64, nop64, 0, inject(EVENT_EXTERNAL | 0x30),
	      vm_or(GUEST_RFLAGS, FLAG_IF));
	FRAME("frame/64-rf", "cs=8 flags=10002 ss=10 now cs=8 flags=2", G64, nop64, 0, inject(EVENT_EXCEPTION | VEC_UD),
	      vm_or(GUEST_RFLAGS, FLAG_RF));
	FRAME("frame/64-no-rf", "cs=8 flags=2 ss=10 now cs=8 flags=2", G64, nop64, 1,
	      inject_code(EVENT_EXCEPTION | VEC_GP, 0));
	FRAME("frame/64-tf-nt", "cs=8 flags=4102 ss=10 now cs=8 flags=2", G64, nop64, 0,
	      inject_soft(EVENT_SOFT_INT | 0x30, 2), vm_or(GUEST_RFLAGS, FLAG_TF | FLAG_NT));
	FRAME("frame/64-ring3", "cs=33 flags=8d7 ss=2b now cs=8 flags=8d7", G64_U, nop64, 0,
	      inject_soft(EVENT_SOFT_INT | 0x30, 2), vm_or(GUEST_RFLAGS, FLAG_ARITHMETIC));
	FRAME("frame/compat-ring3", "cs=23 flags=2 ss=2b now cs=8 flags=2", GCOMPAT_U, nop32, 0, inject(EVENT_NMI));
	FRAME("frame/32-ring3", "cs=23 flags=2 ss=2b now cs=18 flags=2", G32_U, nop32, 0,
	      inject(EVENT_EXCEPTION | VEC_UD));
	FRAME("frame/v86", "cs=1000 flags=23002 ss=2000 now cs=18 flags=3002", GV86, nop16, 0,
	      inject(EVENT_EXCEPTION | VEC_UD));
	vm_fresh(GREAL, nop16);
	inject(EVENT_EXTERNAL | 0x30);
	vm_or(GUEST_RFLAGS, FLAG_IF | FLAG_TF | FLAG_AC);
	vm_run();
	vm_line("frame/real", "ip=0 cs=1000 flags=302 now cs=3000 flags=2",
		"ip=%lx cs=%lx flags=%lx now cs=%lx flags=%lx", frame(0), frame(1), frame(2),
		vm_read(GUEST_CS_SELECTOR), vm_read(GUEST_RFLAGS));
	V("frame/64-non-zero-rip-wraps", "#BP elsewhere|#BP@elsewhere|#BP+1", G64, nop64,
	  inject_soft(EVENT_SOFT_EXCEPTION | VEC_BP, 1));
}

static void effects(void)
{
	ulong nop = CODE("nop");

	write_dr6(0xffff0ff0);
	V("effect/db-leaves-dr6", "#DB+0", G64, nop, inject(EVENT_EXCEPTION | VEC_DB), ent(LOAD_DEBUG_CONTROLS),
	  vm_write(GUEST_DR7, 0x2400), exi(SAVE_DEBUG_CONTROLS));
	vm_line("effect/db-debug-registers", "dr6=ffff0ff0 dr7=2400", "dr6=%lx dr7=%lx", read_dr6(),
		vm_read(GUEST_DR7));
	write_cr2(0x777);
	V("effect/pf-leaves-cr2", "#PF(0x4)+0 cr2=0x777", G64, nop, inject_code(EVENT_EXCEPTION | VEC_PF, 4));
	V("effect/valid-bit-cleared", "#UD+0", G64, nop, inject(EVENT_EXCEPTION | VEC_UD));
	vm_line("effect/valid-bit-cleared-value", "0 306", "%lx %lx", vm_read(VM_ENTRY_INTERRUPTION_INFO) >> 31,
		vm_read(VM_ENTRY_INTERRUPTION_INFO) & 0x7fffffff);
	V("effect/valid-bit-kept-by-failure", "INVALID_GUEST_STATE q=0", G64, nop, inject(EVENT_EXCEPTION | VEC_UD),
	  vm_write(GUEST_RFLAGS, 0));
	vm_line("effect/valid-bit-kept-value", "80000306", "%lx", vm_read(VM_ENTRY_INTERRUPTION_INFO));
	V("effect/no-intercept", "#UD+0", G64, nop, inject(EVENT_EXCEPTION | VEC_UD), exception(VEC_UD));
	V("effect/no-intercept-nmi", "NMI+0", G64, nop, inject(EVENT_NMI), pin(NMI_EXITING));
	V("effect/no-intercept-external", "int 0x30+0", G64, nop, inject(EVENT_EXTERNAL | 0x30),
	  pin(EXTERNAL_INTERRUPT_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF));
	run((struct ctx){RING0, .ip = nop}); /* IRET: NMIs again */
	vm_line("effect/no-idt-vectoring", "0", "%lx", vm_read(IDT_VECTORING_INFO) >> 31);
	V("effect/mov-ss-blocking-ends", "#UD+0", G64, nop, inject(EVENT_EXCEPTION | VEC_UD),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	vm_line("effect/mov-ss-blocking-after", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("effect/halted-becomes-active", "int 0x30+0", G64, nop, inject(EVENT_EXTERNAL | 0x30),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_ACTIVITY_STATE, HALTED));
	vm_line("effect/halted-activity-after", "0", "%lx", vm_read(GUEST_ACTIVITY_STATE));
	V("effect/nmi-blocks", "NMI+0", G64, nop, inject(EVENT_NMI));
	vm_line("effect/nmi-blocking-after", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	/* NMIs are still blocked, but the next VM entry takes that from the field. */
	V("effect/nmi-blocking-from-field", "ok", G64, nop);
	vm_line("effect/nmi-blocking-from-field-after", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	run((struct ctx){RING0, .ip = nop});
	V("effect/error-code-upper-half", "#GP(0x7fff)+0", G64, nop, inject_code(EVENT_EXCEPTION | VEC_GP, 0x7fff));
	V("effect/length-0", "int 0x21+0", G64, nop, vm_needs(has_misc(ZERO_LENGTH_INJECTION)),
	  inject_soft(EVENT_SOFT_INT | 0x21, 0));
	V("effect/launched-despite-exit", "EXCEPTION_NMI hard 13(0x33) idt=hard 6", G64, nop,
	  inject(EVENT_EXCEPTION | VEC_UD), vm_write(GUEST_IDTR_LIMIT, 6 * 16), exception(VEC_GP));
	inject(EVENT_EXCEPTION | VEC_DE);
	vm_run(); /* VMRESUME: the library's flag says launched */
	vm_check("effect/then-resumed", "#DE+0");
}

/* DPL is looked at for software interrupts and exceptions only; IOPL in virtual-8086 mode never. */
static void privilege(void)
{
	ulong nop = CODE("nop"), nop16 = CODE16("nop");

	V("dpl/int-n", "EXCEPTION_NMI hard 13(0x32) idt=soft 6", G64_U, nop, inject_soft(EVENT_SOFT_INT | 6, 2),
	  exception(VEC_GP));
	vm_line("dpl/int-n-length-and-rip", "2 +0", "%lu +%u", vm_read(VM_EXIT_INSTRUCTION_LENGTH), vm_offset());
	V("dpl/int-n-guest", "#GP(0x32)+0", G64_U, nop, inject_soft(EVENT_SOFT_INT | 6, 2));
	V("dpl/exception", "#UD+0", G64_U, nop, inject(EVENT_EXCEPTION | VEC_UD));
	V("dpl/external", "#UD+0", G64_U, nop, inject(EVENT_EXTERNAL | 6), vm_or(GUEST_RFLAGS, FLAG_IF));
	V("dpl/int1", "#DB+1", G64_U, nop, inject_soft(EVENT_INT1, 1));
	V("dpl/v86-iopl", "int 0x21+2", GV86, nop16, inject_soft(EVENT_SOFT_INT | 0x21, 2),
	  vm_and(GUEST_RFLAGS, ~(u64)FLAG_IOPL));
	V("dpl/v86-dpl", "#GP(0x32)+0", GV86, nop16, inject_soft(EVENT_SOFT_INT | 6, 2));
	V("dpl/v86-int3", "#BP+1", GV86, nop16, inject_soft(EVENT_SOFT_EXCEPTION | VEC_BP, 1),
	  vm_and(GUEST_RFLAGS, ~(u64)FLAG_IOPL));
}

/* Faults on the way: RIP does not move, EXT says whether it was software's event, the pair may be a double fault. */
static void faults(void)
{
	ulong nop = CODE("nop"), nop32 = CODE32("nop"), nop16 = CODE16("nop");
	const u64 short_idt = 0x20 * 16;

	V("fault/external", "EXCEPTION_NMI hard 13(0x183) idt=intr 48", G32, nop32, inject(EVENT_EXTERNAL | 0x30),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_IDTR_LIMIT, 0xff), exception(VEC_GP));
	V("fault/external-guest", "#GP(0x183)+0", G64, nop, inject(EVENT_EXTERNAL | 0x30), vm_or(GUEST_RFLAGS, FLAG_IF),
	  vm_write(GUEST_IDTR_LIMIT, short_idt));
	V("fault/int-n", "EXCEPTION_NMI hard 13(0x182) idt=soft 48", G64, nop, inject_soft(EVENT_SOFT_INT | 0x30, 7),
	  vm_write(GUEST_IDTR_LIMIT, short_idt), exception(VEC_GP));
	vm_line("fault/int-n-length-and-rip", "7 +0", "%lu +%u", vm_read(VM_EXIT_INSTRUCTION_LENGTH), vm_offset());
	V("fault/int-n-guest", "#GP(0x182)+0", G64, nop, inject_soft(EVENT_SOFT_INT | 0x30, 7),
	  vm_write(GUEST_IDTR_LIMIT, short_idt));
	V("fault/int3", "EXCEPTION_NMI hard 13(0x1a) idt=softexc 3", G64, nop,
	  inject_soft(EVENT_SOFT_EXCEPTION | VEC_BP, 1), vm_write(GUEST_IDTR_LIMIT, 47), exception(VEC_GP));
	V("fault/int1", "EXCEPTION_NMI hard 13(0xb) idt=priv 1", G64, nop, inject_soft(EVENT_INT1, 1),
	  vm_write(GUEST_IDTR_LIMIT, 15), exception(VEC_GP));
	V("fault/nmi", "EXCEPTION_NMI hard 13(0x13) idt=nmi 2", G64, nop, inject(EVENT_NMI),
	  vm_write(GUEST_IDTR_LIMIT, 31), exception(VEC_GP));
	V("fault/gp-code", "EXCEPTION_NMI hard 14(0x2) at=1fffffff8 idt=hard 17(0x0)", G64, nop,
	  inject_code(EVENT_EXCEPTION | VEC_AC, 0), vm_write(GUEST_RSP, UNMAPPED), exception(VEC_PF));
	V("fault/stack-not-canonical", "EXCEPTION_NMI hard 12(0x1) idt=hard 6|EXCEPTION_NMI hard 12(0x0) idt=hard 6",
	  G64, nop, inject(EVENT_EXCEPTION | VEC_UD), vm_write(GUEST_RSP, BAD), exception(VEC_SS));
	V("fault/ist-page-fault", "EXCEPTION_NMI hard 14(0x2) at=1fffffff8 idt=intr 48", G64, nop,
	  inject(EVENT_EXTERNAL | 0x30), vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_RSP, UNMAPPED),
	  exception(VEC_PF));
	/* A contributory pair: #DF, whose own VM exit is not one during delivery; without its bit a triple fault. */
	V("fault/double", "EXCEPTION_NMI hard 8(0x0)", G64, nop, inject_code(EVENT_EXCEPTION | VEC_GP, 0),
	  vm_write(GUEST_IDTR_LIMIT, 6 * 16), exception(VEC_DF));
	V("fault/double-bitmap-of-second", "EXCEPTION_NMI hard 13(0x6b) idt=hard 13(0x0)", G64, nop,
	  inject_code(EVENT_EXCEPTION | VEC_GP, 0), vm_write(GUEST_IDTR_LIMIT, 6 * 16), exception(VEC_DF),
	  exception(VEC_GP));
	V("fault/injected-double", "EXCEPTION_NMI hard 13(0x43) idt=hard 8(0x0)", G64, nop,
	  inject_code(EVENT_EXCEPTION | VEC_DF, 0), vm_write(GUEST_IDTR_LIMIT, 6 * 16), exception(VEC_GP));
	V("fault/injected-double-triple", "TRIPLE_FAULT", G64, nop, inject_code(EVENT_EXCEPTION | VEC_DF, 0),
	  vm_write(GUEST_IDTR_LIMIT, 6 * 16));
	V("fault/triple", "TRIPLE_FAULT", G64, nop, inject(EVENT_EXCEPTION | VEC_UD), vm_write(GUEST_IDTR_LIMIT, 0));
	V("fault/benign-then-gp", "#GP(0x83)+0", G64, nop, inject(EVENT_EXCEPTION | VEC_MF),
	  vm_write(GUEST_IDTR_LIMIT, 15 * 16));
	V("fault/gate-not-present", "EXCEPTION_NMI hard 11(0x183) idt=intr 48", G32, nop32,
	  inject(EVENT_EXTERNAL | 0x30), vm_or(GUEST_RFLAGS, FLAG_IF), vm_idt32[0x30] &= ~(1ul << 47),
	  exception(VEC_NP));
	V("fault/gate-selector", "EXCEPTION_NMI hard 13(0x1f1) idt=intr 48", G32, nop32, inject(EVENT_EXTERNAL | 0x30),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_idt32[0x30] = gate_descriptor(0x1f0, 0, ACC_INT, 0), exception(VEC_GP));
	V("fault/real-idt-limit", "EXCEPTION_NMI hard 13 idt=intr 48", GREAL, nop16, inject(EVENT_EXTERNAL | 0x30),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_IDTR_LIMIT, 0xbf), exception(VEC_GP));
	V("fault/real-stack-limit", "EXCEPTION_NMI hard 12 idt=soft 48", GREAL, nop16,
	  inject_soft(EVENT_SOFT_INT | 0x30, 2), vm_write(GUEST_RSP, 1), vm_write(GUEST_SS_LIMIT, 0xffff),
	  exception(VEC_SS));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	all_types();
	frames();
	effects();
	privilege();
	faults();
	vm_report();
}
