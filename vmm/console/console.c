/*
 * The console: who is shown, and who is typed to.
 *
 * What is shown is shared between CPUs, under a lock. What is typed is CPU 0's alone: COM1 interrupts it, and its scheduler's
 * loop takes it.
 */
#include "console/console.h"

#include "console/serial.h"
#include "lib/lock.h"
#include "lib/print.h"
#include "lib/string.h"

enum { KEPT = 16384, TYPED = 4096, LINE = 256 };

static struct lock lock;

/* What is in the middle of its line. */
static enum writer { NOBODY, VMM, PROMPT, GUEST } writing;

static struct vm *owner; /* who has the console */
static bool prompting;	 /* the prompt has it in between: the owner's text is kept too */
static char prompt_line[LINE]; /* what stands there of the prompt's line */
static unsigned prompt_length;
static bool show_all;	 /* console=all: lines of all, with their names */

static struct guest_text {
	char kept[KEPT]; /* a ring */
	uint32_t kept_end, kept_count;
	char line[LINE]; /* with console=all, until it is whole */
	uint32_t line_length;
	uint8_t typed[TYPED]; /* a ring, of CPU 0 */
	uint32_t typed_first, typed_count;
} guests[VMS_MAX];

void console_init(void)
{
	serial_init();
}

static void put_all(const char *text)
{
	for (; *text; text++)
		serial_put((uint8_t)*text);
}

/* Half a line of somebody else is made a whole one, but the prompt's is taken away: write_vmm() shows it again. The lock is
   held. */
static void begin(enum writer who)
{
	if (writing == NOBODY || writing == who)
		return;
	put_all(writing == PROMPT ? "\r\033[K" : "\r\n"); /* ECMA-48, "EL - Erase in Line" */
	writing = NOBODY;
}

static void put(enum writer who, char c)
{
	if (c == '\n' && who == VMM)
		serial_put('\r');
	serial_put((uint8_t)c);
	if (c != '\r')
		writing = c == '\n' ? NOBODY : who;
}

static void write_vmm(const char *text, size_t size)
{
	begin(VMM);
	for (size_t i = 0; i < size; i++)
		put(VMM, text[i]);
	if (writing == NOBODY && prompt_length) {
		put_all(prompt_line);
		writing = PROMPT;
	}
}

void console_write(const char *text, size_t size)
{
	lock_take(&lock);
	write_vmm(text, size);
	lock_release(&lock);
}

void console_echo(const char *text)
{
	lock_take(&lock);
	begin(PROMPT);
	for (; *text; text++) {
		put(PROMPT, *text);
		if (*text == '\n')
			prompt_length = 0;
		else if (*text == '\b' && prompt_length)
			prompt_length--;
		else if (*text != '\r' && prompt_length < LINE - 1)
			prompt_line[prompt_length++] = *text;
		prompt_line[prompt_length] = 0;
	}
	lock_release(&lock);
}

static void keep(struct guest_text *guest, char c)
{
	guest->kept[guest->kept_end] = c;
	guest->kept_end = (guest->kept_end + 1) % KEPT;
	if (guest->kept_count < KEPT)
		guest->kept_count++;
}

static void show_kept(struct guest_text *guest)
{
	begin(GUEST);
	for (uint32_t at = guest->kept_end + KEPT - guest->kept_count; guest->kept_count; at++, guest->kept_count--)
		put(GUEST, guest->kept[at % KEPT]);
}

static void show_line(struct vm *vm, struct guest_text *guest)
{
	write_vmm(vm->config->name, strlen(vm->config->name));
	write_vmm("| ", 2);
	write_vmm(guest->line, guest->line_length);
	write_vmm("\n", 1);
	guest->line_length = 0;
}

static void add_to_line(struct vm *vm, struct guest_text *guest, char c)
{
	if (c != '\n' && c != '\r')
		guest->line[guest->line_length++] = c;
	if (c == '\n' || guest->line_length == LINE)
		show_line(vm, guest);
}

void console_guest(struct vm *vm, uint8_t byte)
{
	struct guest_text *guest = &guests[vm->index];

	lock_take(&lock);
	if (show_all) {
		add_to_line(vm, guest, (char)byte);
	} else if (vm == owner && !prompting) {
		begin(GUEST);
		put(GUEST, (char)byte);
	} else {
		keep(guest, (char)byte);
	}
	lock_release(&lock);
}

void console_input(void)
{
	cpu_kick(&cpus[0]);
}

void console_focus(struct vm *vm)
{
	lock_take(&lock);
	owner = vm;
	prompting = false;
	prompt_length = 0;
	show_kept(&guests[vm->index]);
	lock_release(&lock);
}

void console_prompt(void)
{
	lock_take(&lock);
	prompting = true;
	lock_release(&lock);
}

bool console_prompting(void)
{
	return prompting;
}

void console_end(void)
{
	prompting = false;
	prompt_length = 0;
	for (unsigned i = 0; i < vms_count; i++) {
		if (guests[i].line_length)
			console_guest(vms[i], '\n');
		if (!guests[i].kept_count)
			continue;
		print("vmm: what vm %s wrote last:\n", vms[i]->config->name);
		console_focus(vms[i]);
	}
}

struct vm *console_owner(void)
{
	return owner;
}

void console_start(const char *who)
{
	struct vm *vm = who ? vm_find(who) : NULL;

	show_all = who && !strcmp(who, "all");
	if (who && !vm && !show_all)
		print("vmm: console=%s: there is no VM of this name.\n", who);
	if (vms_count)
		console_focus(vm ? vm : vms[0]);
}

static bool alive(struct vm *vm)
{
	return vm->state != VM_STOPPED && vm->state != VM_OFF;
}

/* A VM that has ended needs no console: the next that has not gets it. */
static void leave_ended(void)
{
	if (!owner || alive(owner) || prompting)
		return;
	for (unsigned i = 1; i < vms_count; i++) {
		struct vm *vm = vms[(owner->index + i) % vms_count];

		if (!alive(vm))
			continue;
		print("vmm: the console is vm %s's\n", vm->config->name);
		console_focus(vm);
		return;
	}
}

/* For the guest that has the console. What it never takes is lost at the end. */
static void type(struct guest_text *guest, uint8_t byte)
{
	if (guest->typed_count == TYPED)
		return;
	guest->typed[(guest->typed_first + guest->typed_count++) % TYPED] = byte;
}

/* Gives a guest's UART what it has room for; true: something is left. */
static bool deliver(struct vm *vm, struct guest_text *guest)
{
	bool left;

	if (!guest->typed_count)
		return false;
	lock_take(&vm->lock);
	if (!alive(vm))
		guest->typed_count = 0;
	while (vm->state == VM_RUNNING && guest->typed_count && uart_receive(vm, guest->typed[guest->typed_first])) {
		guest->typed_first = (guest->typed_first + 1) % TYPED;
		guest->typed_count--;
	}
	left = vm->state == VM_RUNNING && guest->typed_count;
	lock_release(&vm->lock);
	return left;
}

bool console_serve(void)
{
	bool left = false;
	uint8_t byte;

	leave_ended();
	while (serial_get(&byte)) {
		if (prompting || byte == SWITCH_KEY)
			prompt_key(byte);
		else if (owner)
			type(&guests[owner->index], byte);
	}
	for (unsigned i = 0; i < vms_count; i++)
		left |= deliver(vms[i], &guests[i]);
	return left;
}
