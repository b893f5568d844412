/* The console: whose text is shown when, how lines of different writers stay apart, and who is typed to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "console/console.h"
#include "console/serial.h"
#include "lib/print.h"

static char shown[100000];
static size_t shown_size;
static const char *typed_text = "";
static char keys[100], received[10000];
static size_t room;

struct vm *vms[VMS_MAX];
unsigned vms_count;
struct cpu cpus[CPUS_MAX];

static struct vm_config configs[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
static struct vm made[3];

void serial_init(void) {}
void cpu_kick(struct cpu *cpu) {}

static void append(char *text, uint8_t byte)
{
	size_t length = strlen(text);

	text[length] = (char)byte;
	text[length + 1] = 0;
}

void prompt_key(uint8_t key) { append(keys, key); }

void serial_put(uint8_t byte)
{
	shown[shown_size++] = (char)byte;
	shown[shown_size] = 0;
}

bool serial_get(uint8_t *byte)
{
	*byte = (uint8_t)*typed_text;
	return *typed_text && typed_text++;
}

bool uart_receive(struct vm *vm, uint8_t byte)
{
	if (!room)
		return false;
	room--;
	append(received, byte);
	return true;
}

struct vm *vm_find(const char *name)
{
	return *name >= 'a' && *name <= 'c' && !name[1] ? vms[*name - 'a'] : NULL;
}

void print(const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	console_write(text, strlen(text));
}

static void forget(void)
{
	shown_size = 0;
	shown[0] = keys[0] = received[0] = 0;
}

static int begin(void **unused)
{
	for (vms_count = 0; vms_count < 3; vms_count++) {
		made[vms_count] = (struct vm){.config = &configs[vms_count], .index = vms_count};
		vms[vms_count] = &made[vms_count];
		console_focus(vms[vms_count]); /* what a test before has left */
	}
	room = 1000;
	console_start(NULL);
	print("\n");
	forget();
	return 0;
}

static void say(unsigned vm, const char *text)
{
	for (; *text; text++)
		console_guest(vms[vm], (uint8_t)*text);
}

static void lines_stay_apart(void **unused)
{
	say(0, "half");
	print("vmm: x\n");
	say(0, " of it\r\nwhole\r\n");
	print("vmm: y\n");
	assert_string_equal(shown, "half\r\nvmm: x\r\n of it\r\nwhole\r\nvmm: y\r\n");
}

static void others_are_kept(void **unused)
{
	say(1, "one\r\n");
	say(0, "zero\r\n");
	say(1, "two");
	assert_string_equal(shown, "zero\r\n");
	console_focus(vms[1]);
	assert_string_equal(shown, "zero\r\none\r\ntwo");
	say(0, "kept");
	say(1, "!\r\n");
	assert_string_equal(shown, "zero\r\none\r\ntwo!\r\n");
	console_end();
	assert_string_equal(shown, "zero\r\none\r\ntwo!\r\nvmm: what vm a wrote last:\r\nkept");
}

static void the_latest_is_kept(void **unused)
{
	for (unsigned i = 0; i < 20000; i++)
		console_guest(vms[1], (uint8_t)('0' + i % 10));
	console_focus(vms[1]);
	assert_int_equal(shown_size, 16384);
	assert_int_equal(shown[0], '0' + (20000 - 16384) % 10);
	assert_int_equal(shown[16383], '9');
}

static void the_prompt_has_the_line(void **unused)
{
	say(0, "/ # ");
	console_prompt();
	assert_true(console_prompting());
	console_echo("vmm> ");
	say(0, "kept");
	console_echo("v\r\n");
	print("answer\n");
	assert_string_equal(shown, "/ # \r\nvmm> v\r\nanswer\r\n");
	assert_ptr_equal(console_owner(), vms[0]);
	console_focus(vms[0]);
	assert_false(console_prompting());
	assert_string_equal(shown, "/ # \r\nvmm> v\r\nanswer\r\nkept");
}

static void lines_go_above_the_prompt(void **unused)
{
	console_prompt();
	console_echo("vmm> ");
	console_echo("xy");
	console_echo("\b \b");
	print("vmm: vm b: powered off\n");
	assert_string_equal(shown, "vmm> xy\b \b\r\033[Kvmm: vm b: powered off\r\nvmm> x");
	console_echo("z\r\n");
	forget();
	print("answer\n");
	assert_string_equal(shown, "answer\r\n");
	console_echo("vmm> ");
	console_focus(vms[0]);
	forget();
	print("vmm: more\n");
	say(0, "text");
	assert_string_equal(shown, "vmm: more\r\ntext");
}

static void all_with_names(void **unused)
{
	char long_line[600];

	console_start("all");
	say(1, "one\r");
	say(0, "zero\r\n\n");
	say(1, "\n");
	say(2, "never whole");
	assert_string_equal(shown, "a| zero\r\na| \r\nb| one\r\n");
	console_end();
	assert_string_equal(shown, "a| zero\r\na| \r\nb| one\r\nc| never whole\r\n");
	memset(long_line, 'x', sizeof(long_line));
	long_line[599] = 0;
	forget();
	say(0, long_line);
	say(0, "\n");
	assert_int_equal(shown_size, 599 + 3 * 5);
}

static void typing(void **unused)
{
	typed_text = "abc\r";
	assert_false(console_serve());
	assert_string_equal(received, "abc\r");
	room = 2;
	typed_text = "defg";
	assert_true(console_serve());
	assert_true(console_serve());
	assert_string_equal(received, "abc\rde");
	room = 1000;
	assert_false(console_serve());
	assert_string_equal(received, "abc\rdefg");

	made[0].state = VM_PAUSED;
	typed_text = "h";
	assert_false(console_serve());
	assert_string_equal(received, "abc\rdefg");
	made[0].state = VM_RUNNING;
	assert_false(console_serve());
	assert_string_equal(received, "abc\rdefgh");

	typed_text = "i\035";
	console_serve();
	assert_string_equal(keys, "\035");
	console_prompt();
	typed_text = "vms\r";
	console_serve();
	assert_string_equal(keys, "\035vms\r");
	assert_string_equal(received, "abc\rdefghi");
}

static void too_much_is_typed(void **unused)
{
	static char text[10001];

	memset(text, 'x', sizeof(text) - 1);
	room = 0;
	typed_text = text;
	assert_true(console_serve());
	room = 9999;
	assert_false(console_serve());
	assert_int_equal(strlen(received), 4096);
}

static void the_next_follows_one_that_ended(void **unused)
{
	say(2, "here\r\n");
	made[0].state = VM_OFF;
	made[1].state = VM_STOPPED;
	console_serve();
	assert_ptr_equal(console_owner(), vms[2]);
	assert_string_equal(shown, "vmm: the console is vm c's\r\nhere\r\n");
	made[2].state = VM_OFF;
	console_serve();
	assert_ptr_equal(console_owner(), vms[2]);
}

static void who_is_first(void **unused)
{
	console_start("b");
	assert_ptr_equal(console_owner(), vms[1]);
	console_start("z");
	assert_ptr_equal(console_owner(), vms[0]);
	assert_string_equal(shown, "vmm: console=z: there is no VM of this name.\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(lines_stay_apart, begin),
		cmocka_unit_test_setup(others_are_kept, begin),
		cmocka_unit_test_setup(the_latest_is_kept, begin),
		cmocka_unit_test_setup(the_prompt_has_the_line, begin),
		cmocka_unit_test_setup(lines_go_above_the_prompt, begin),
		cmocka_unit_test_setup(all_with_names, begin),
		cmocka_unit_test_setup(typing, begin),
		cmocka_unit_test_setup(too_much_is_typed, begin),
		cmocka_unit_test_setup(the_next_follows_one_that_ended, begin),
		cmocka_unit_test_setup(who_is_first, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
