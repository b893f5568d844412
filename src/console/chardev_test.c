/*
 * Host back ends: files, pipes, sockets, the escapes of a shared terminal, and words that mean nothing.
 */
#include "console/chardev.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];

static int set_up(void **state)
{
	strcpy(directory, "/tmp/softvt-chardev-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static struct chardev *create(const char *format)
{
	char spec[256];
	struct error error = {""};
	struct chardev *c;

	snprintf(spec, sizeof(spec), format, directory);
	c = chardev_create(spec, &error);
	if (!c)
		fail_msg("%s: %s", spec, error.text);
	return c;
}

static void output_to_a_file(void **state)
{
	static const char *const spec[] = {"file:%s/out", "file,id=x,path=%s/out"};
	char path[128], text[64] = "";

	snprintf(path, sizeof(path), "%s/out", directory);
	for (unsigned i = 0; i < 2; i++) {
		struct chardev *c = create(spec[i]);
		int fd;

		chardev_write(c, "hello ", 6);
		chardev_write(c, "world", 5);
		assert_int_equal(chardev_read(c, CHARDEV_SERIAL, text, 1), 0);
		chardev_destroy(c);
		fd = open(path, O_RDONLY);
		assert_int_equal(read(fd, text, sizeof(text)), 11);
		close(fd);
		assert_memory_equal(text, "hello world", 11);
	}
}

/* A reader that comes late finds everything: far more than a socket holds. */
static void nothing_is_lost(void **state)
{
	enum { LINES = 50000 };
	struct chardev *c = create("unix:%s/sock,server,nowait");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char line[32], bytes[4096];
	size_t total = 0, at = 0;
	char *all;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", directory);
	chardev_write(c, "dropped", 7); /* nobody is there yet */
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	chardev_poll(c);
	for (unsigned i = 0; i < LINES; i++) {
		total += (size_t)snprintf(line, sizeof(line), "line %u\n", i);
		chardev_write(c, line, strlen(line));
	}
	all = malloc(total);
	while (at < total) {
		ssize_t size;

		chardev_poll(c);
		size = read(fd, bytes, sizeof(bytes));
		assert_true(size > 0 && at + (size_t)size <= total);
		memcpy(all + at, bytes, (size_t)size);
		at += (size_t)size;
	}
	at = 0;
	for (unsigned i = 0; i < LINES; i++) {
		size_t size = (size_t)snprintf(line, sizeof(line), "line %u\n", i);

		assert_memory_equal(all + at, line, size);
		at += size;
	}
	free(all);
	/* Input, a hang-up, and a second caller. */
	assert_int_equal(write(fd, "in", 2), 2);
	chardev_poll(c);
	assert_int_equal(chardev_read(c, CHARDEV_SERIAL, bytes, 10), 2);
	close(fd);
	chardev_poll(c);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	chardev_poll(c);
	chardev_write(c, "again\n", 6);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 6);
	close(fd);
	chardev_destroy(c);
	assert_int_not_equal(access(address.sun_path, F_OK), 0);
}

struct events {
	unsigned ready[CHARDEV_FRONTS], chosen, quits;
};

static void serial_ready(void *ctx)
{
	((struct events *)ctx)->ready[CHARDEV_SERIAL]++;
}

static void monitor_ready(void *ctx)
{
	((struct events *)ctx)->ready[CHARDEV_MONITOR]++;
}

static void monitor_chosen(void *ctx)
{
	((struct events *)ctx)->chosen++;
}

static void quit(void *ctx)
{
	((struct events *)ctx)->quits++;
}

/* Standard input is a pipe here, standard output a file. */
static void escapes_of_a_shared_terminal(void **state)
{
	int in[2], old_in = dup(0), old_out = dup(1), out;
	struct events events = {0};
	struct chardev_client serial = {.ready = serial_ready, .ctx = &events};
	struct chardev_client monitor = {.ready = monitor_ready, .chosen = monitor_chosen, .ctx = &events};
	struct chardev *c;
	struct error error;
	char path[128], text[32] = "";

	snprintf(path, sizeof(path), "%s/out", directory);
	fflush(stdout);
	assert_int_equal(pipe(in), 0);
	out = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	dup2(in[0], 0);
	dup2(out, 1);
	c = chardev_create("mon:stdio", &error);
	chardev_connect(c, CHARDEV_SERIAL, &serial);
	chardev_connect(c, CHARDEV_MONITOR, &monitor);
	chardev_on_quit(c, quit, &events);
	(void)!write(in[1], "ab\001\001c\001cinfo\001cd\001x", 16);
	chardev_poll(c);
	chardev_write(c, "shown\n", 6);
	chardev_destroy(c);
	dup2(old_in, 0);
	dup2(old_out, 1);
	assert_int_equal(events.quits, 1);
	assert_int_equal(events.chosen, 1);
	assert_int_equal(events.ready[CHARDEV_SERIAL], 1);
	assert_int_equal(events.ready[CHARDEV_MONITOR], 1);
	assert_int_equal(pread(out, text, sizeof(text), 0), 6);
	close(out);
	close(in[0]);
	close(in[1]);
	close(old_in);
	close(old_out);
}

static void input_of_each_front(void **state)
{
	int in[2], old_in = dup(0);
	struct events events = {0};
	struct chardev_client monitor = {.ready = monitor_ready, .ctx = &events};
	struct chardev *c;
	struct error error;
	char text[32];

	assert_int_equal(pipe(in), 0);
	dup2(in[0], 0);
	c = chardev_create("stdio,id=con,mux=on,signal=off", &error);
	chardev_connect(c, CHARDEV_MONITOR, &monitor);
	(void)!write(in[1], "ab\001\001\001cinfo", 10);
	chardev_poll(c);
	assert_int_equal(chardev_read(c, CHARDEV_SERIAL, text, sizeof(text)), 3);
	assert_memory_equal(text, "ab\001", 3);
	assert_int_equal(chardev_read(c, CHARDEV_MONITOR, text, sizeof(text)), 4);
	assert_memory_equal(text, "info", 4);
	close(in[1]); /* end of file: no more, and no spinning */
	chardev_poll(c);
	assert_int_equal(chardev_poll_fds(c, (struct pollfd[2]){{0}}), 0);
	chardev_destroy(c);
	dup2(old_in, 0);
	close(old_in);
	close(in[0]);
}

static void words_that_mean_nothing(void **state)
{
	static const char *const specs[] = {"nonsense",
					    "nonsense:x",
					    "file:/nonexistent/x",
					    "tcp:localhost",
					    "socket,id=x",
					    "file,id=x",
					    "unix:/nonexistent/x",
					    "pipe:/nonexistent/x",
					    "",
					    ":",
					    "file,path=",
					    "tcp:256.0.0.1:x"};

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
		struct error error = {""};

		assert_null(chardev_create(specs[i], &error));
		assert_true(strlen(error.text) > 10);
	}
	chardev_write(NULL, "x", 1);
	chardev_poll(NULL);
	chardev_destroy(NULL);
	assert_int_equal(chardev_read(NULL, CHARDEV_SERIAL, NULL, 1), 0);
	chardev_destroy(create("null"));
	chardev_destroy(create("none"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(output_to_a_file),	   TEST(nothing_is_lost),	  TEST(escapes_of_a_shared_terminal),
		TEST(input_of_each_front), TEST(words_that_mean_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
