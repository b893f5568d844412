/*
 * Character back ends. See chardev.h for what a caller may rely on.
 *
 * Descriptors that we did not open (standard input and output) are never made non-blocking, because that would reach
 * whoever shares them: poll() is asked first, and then no more is written than a pipe or terminal takes without
 * waiting. Not here: telnet negotiation, pty.
 */
#include "console/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum {
	FLUSH_AT = 1024,    /* bytes: do not let the reader wait for more than this */
	SLOW_AT = 16 << 20, /* bytes pending: from here each write waits for the host a little */
	SLOW_MS = 100,
	CLOSE_MS = 3000, /* at the end: give up when the host takes nothing for so long */
	INPUT = 4096,
	ESCAPE = 1, /* Ctrl-A */
};

struct input {
	uint8_t bytes[INPUT];
	size_t head, size;
};

struct chardev {
	int in, out, listener; /* -1: absent */
	bool stdio, regular;   /* descriptors are not ours; output never waits */
	bool mux, escaped;
	enum chardev_front focus;
	struct input input[CHARDEV_FRONTS];
	struct chardev_client client[CHARDEV_FRONTS];
	void (*quit)(void *ctx);
	void *quit_ctx;
	uint8_t *pending;
	size_t pending_size, pending_room;
	char *unlink_path; /* of our listening Unix socket */
};

/*
 * The terminal belongs to the process, not to a machine, and must be given back however the process ends; exit() offers
 * its hook no argument. So this alone is at file scope.
 */
static struct termios terminal;
static bool terminal_changed;

static void restore_terminal(void)
{
	if (terminal_changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
	terminal_changed = false;
}

static void raw_terminal(bool signals)
{
	struct termios raw;
	pid_t foreground = tcgetpgrp(STDIN_FILENO);

	/* In the background of the terminal's session tcsetattr() would stop us; where it is no session's of ours it
	 * will not. */
	if (terminal_changed || tcgetattr(STDIN_FILENO, &terminal) || (foreground >= 0 && foreground != getpgrp()))
		return;
	raw = terminal;
	raw.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_oflag |= OPOST;
	raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		raw.c_lflag &= (tcflag_t)~ISIG;
	raw.c_cflag = (raw.c_cflag & (tcflag_t) ~(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		return;
	terminal_changed = true;
	atexit(restore_terminal);
}

/* Options after the first word: "key=value" or a bare "key" (or "nokey"), separated by commas. */
static bool option(const char *list, const char *key, char *value, size_t size)
{
	size_t length = strlen(key);

	while (list && *list) {
		size_t item = strcspn(list, ",");

		if (item >= length && !strncmp(list, key, length) && (item == length || list[length] == '=')) {
			const char *from = item == length ? "on" : list + length + 1;
			size_t count = item == length ? 2 : item - length - 1;

			if (count >= size)
				count = size - 1;
			memcpy(value, from, count);
			value[count] = 0;
			return true;
		}
		list += item + (list[item] == ',');
	}
	return false;
}

static bool option_on(const char *list, const char *key, bool otherwise)
{
	char value[8];

	if (!option(list, key, value, sizeof(value)))
		return otherwise;
	return strcmp(value, "off") && strcmp(value, "no");
}

static bool open_path(int *fd, const char *path, int flags, struct error *error)
{
	*fd = open(path, flags | O_CLOEXEC, 0666);
	if (*fd < 0)
		return error_set(error, "could not open '%s': %s", path, strerror(errno));
	return true;
}

static bool open_pipe(struct chardev *c, const char *path, struct error *error)
{
	char *in = xasprintf("%s.in", path), *out = xasprintf("%s.out", path);
	bool ok;

	/* Read and write, so that opening does not wait for the other side. */
	if (access(in, F_OK) == 0 && access(out, F_OK) == 0) {
		ok = open_path(&c->in, in, O_RDWR | O_NONBLOCK, error) &&
		     open_path(&c->out, out, O_RDWR | O_NONBLOCK, error);
	} else {
		ok = open_path(&c->in, path, O_RDWR | O_NONBLOCK, error);
		c->out = c->in;
	}
	free(in);
	free(out);
	return ok;
}

static void connected(struct chardev *c, int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	c->in = c->out = fd;
}

/* fd is bound or connected here, once for Unix and once for TCP addresses. */
static bool use_socket(struct chardev *c, int fd, const struct sockaddr *address, socklen_t size, bool server,
		       bool wait)
{
	int one = 1;

	if (!server) {
		if (connect(fd, address, size))
			return false;
		connected(c, fd);
		return true;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, address, size) || listen(fd, 1))
		return false;
	c->listener = fd;
	if (wait) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0) {
			c->listener = -1;
			return false;
		}
		connected(c, peer);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return true;
}

static bool open_unix(struct chardev *c, const char *path, bool server, bool wait, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat old;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(error, "the socket path '%s' is too long", path);
	strcpy(address.sun_path, path);
	/* A socket that an earlier run left is in the way of bind(); anything else is the user's and stays. */
	if (server && lstat(path, &old) == 0 && S_ISSOCK(old.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || !use_socket(c, fd, (struct sockaddr *)&address, sizeof(address), server, wait)) {
		error_set(error, "could not use socket '%s': %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (server)
		c->unlink_path = xstrdup(path);
	return true;
}

static bool open_tcp(struct chardev *c, const char *host, const char *port, bool server, bool wait, struct error *error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0}, *list;
	int bad = getaddrinfo(*host ? host : NULL, port, &hints, &list), why = 0;

	if (bad)
		return error_set(error, "could not find the address '%s:%s': %s", host, port, gai_strerror(bad));
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

		if (fd >= 0 && use_socket(c, fd, a->ai_addr, a->ai_addrlen, server, wait)) {
			freeaddrinfo(list);
			return true;
		}
		why = errno;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return error_set(error, "could not use the address '%s:%s': %s", host, port, strerror(why));
}

static void open_stdio(struct chardev *c, bool mux, bool signals)
{
	struct stat status;

	c->in = STDIN_FILENO;
	c->out = STDOUT_FILENO;
	c->stdio = true;
	c->mux = mux;
	c->regular = fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode);
	if (isatty(STDIN_FILENO))
		raw_terminal(signals);
}

/* "-serial" form with a colon. `rest` is what follows it, `options` what follows the first comma, or NULL. */
static bool open_colon(struct chardev *c, const char *spec, struct error *error)
{
	const char *rest = strchr(spec, ':') + 1;
	const char *comma = strchr(rest, ',');
	char *name = xstrdup(rest), *port;
	bool server, wait, ok;

	if (comma)
		name[comma - rest] = 0;
	server = comma && option_on(comma + 1, "server", false);
	wait = comma && option_on(comma + 1, "wait", !option_on(comma + 1, "nowait", false));
	if (!strncmp(spec, "file:", 5)) {
		/* The whole rest is the name, commas too. */
		c->regular = true;
		ok = open_path(&c->out, rest, O_WRONLY | O_CREAT | O_TRUNC, error);
	} else if (!strncmp(spec, "pipe:", 5)) {
		ok = open_pipe(c, rest, error);
	} else if (!strncmp(spec, "unix:", 5)) {
		ok = open_unix(c, name, server, wait, error);
	} else if (!strncmp(spec, "tcp:", 4)) {
		port = strrchr(name, ':');
		if (port) {
			*port = 0;
			ok = open_tcp(c, name, port + 1, server, wait, error);
		} else {
			ok = error_set(error, "'%s' has no port number: tcp:HOST:PORT is wanted", spec);
		}
	} else {
		ok = error_set(error, "unknown character device '%s'", spec);
	}
	free(name);
	return ok;
}

static bool open_keys(struct chardev *c, const char *spec, struct error *error)
{
	size_t word = strcspn(spec, ",");
	const char *options = spec[word] ? spec + word + 1 : "";
	char path[PATH_MAX], port[32];
	bool server = option_on(options, "server", false);
	bool wait = server && option_on(options, "wait", !option_on(options, "nowait", false));

	if (word == 5 && !strncmp(spec, "stdio", word)) {
		open_stdio(c, option_on(options, "mux", false), option_on(options, "signal", true));
		return true;
	}
	if (word == 4 && (!strncmp(spec, "null", word) || !strncmp(spec, "none", word)))
		return true;
	if (word == 6 && !strncmp(spec, "socket", word) && option(options, "host", path, sizeof(path)) &&
	    option(options, "port", port, sizeof(port)))
		return open_tcp(c, path, port, server, wait, error);
	if (word == 6 && !strncmp(spec, "socket", word) && option(options, "port", port, sizeof(port)))
		return open_tcp(c, "", port, server, wait, error);
	if (!option(options, "path", path, sizeof(path)))
		return error_set(error, "unknown or incomplete character device '%s'", spec);
	if (word == 4 && !strncmp(spec, "file", word)) {
		c->regular = true;
		return open_path(&c->out, path,
				 O_WRONLY | O_CREAT | (option_on(options, "append", false) ? O_APPEND : O_TRUNC),
				 error);
	}
	if (word == 4 && !strncmp(spec, "pipe", word))
		return open_pipe(c, path, error);
	if (word == 6 && !strncmp(spec, "socket", word))
		return open_unix(c, path, server, wait, error);
	return error_set(error, "unknown character device '%s'", spec);
}

struct chardev *chardev_create(const char *spec, struct error *error)
{
	struct chardev *c = xcalloc(1, sizeof(*c));
	size_t colon = strcspn(spec, ":"), comma = strcspn(spec, ",");
	bool ok = true;

	c->in = c->out = c->listener = -1;
	if (!strcmp(spec, "mon:stdio"))
		open_stdio(c, true, false);
	else if (spec[colon] && colon < comma)
		ok = open_colon(c, spec, error);
	else
		ok = open_keys(c, spec, error);
	if (ok)
		return c;
	chardev_destroy(c);
	return NULL;
}

void chardev_connect(struct chardev *c, enum chardev_front front, const struct chardev_client *client)
{
	c->client[front] = *client;
}

void chardev_on_quit(struct chardev *c, void (*quit)(void *ctx), void *ctx)
{
	c->quit = quit;
	c->quit_ctx = ctx;
}

static void hang_up(struct chardev *c)
{
	if (!c->stdio) {
		if (c->in >= 0)
			close(c->in);
		if (c->out >= 0 && c->out != c->in)
			close(c->out);
	}
	c->in = c->out = -1;
	c->pending_size = 0;
}

/* One write of what goes without waiting. False: nothing went. */
static bool flush_some(struct chardev *c)
{
	struct pollfd fd = {.fd = c->out, .events = POLLOUT};
	size_t size = c->pending_size;
	ssize_t done;

	if (c->out < 0 || size == 0)
		return false;
	if (!c->regular) {
		if (poll(&fd, 1, 0) != 1)
			return false;
		if (size > PIPE_BUF)
			size = PIPE_BUF;
	}
	done = write(c->out, c->pending, size);
	if (done < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return false;
		/* Nobody will ever read it: a closed pipe, a full disk. Input may still come. */
		if (c->listener >= 0 || c->out == c->in) {
			hang_up(c);
		} else {
			c->pending_size = 0;
			if (!c->stdio)
				close(c->out);
			c->out = -1;
		}
		return false;
	}
	memmove(c->pending, c->pending + done, c->pending_size - (size_t)done);
	c->pending_size -= (size_t)done;
	return done > 0;
}

static void flush(struct chardev *c)
{
	while (flush_some(c))
		;
}

void chardev_write(struct chardev *c, const void *bytes, size_t size)
{
	if (!c || c->out < 0 || size == 0)
		return;
	if (c->pending_size + size > c->pending_room) {
		c->pending_room = 2 * (c->pending_size + size);
		c->pending = xrealloc(c->pending, c->pending_room);
	}
	memcpy(c->pending + c->pending_size, bytes, size);
	c->pending_size += size;
	if (c->pending_size >= FLUSH_AT || memchr(bytes, '\n', size))
		flush(c);
	if (c->pending_size > SLOW_AT) {
		struct pollfd fd = {.fd = c->out, .events = POLLOUT};

		poll(&fd, 1, SLOW_MS);
		flush(c);
	}
}

static void deliver(struct chardev *c, uint8_t byte)
{
	struct input *input = &c->input[c->focus];

	if (input->size < INPUT)
		input->bytes[(input->head + input->size++) % INPUT] = byte;
}

static const char help[] = "\r\nCtrl-A h    this help\r\nCtrl-A x    quit\r\n"
			   "Ctrl-A c    switch between the serial port and the monitor\r\n"
			   "Ctrl-A Ctrl-A  send Ctrl-A\r\n";

static void typed(struct chardev *c, uint8_t byte)
{
	if (!c->mux) {
		deliver(c, byte);
		return;
	}
	if (!c->escaped) {
		if (byte == ESCAPE)
			c->escaped = true;
		else
			deliver(c, byte);
		return;
	}
	c->escaped = false;
	switch (byte) {
	case 'x':
		if (c->quit)
			c->quit(c->quit_ctx);
		break;
	case 'c':
		if (!c->client[CHARDEV_MONITOR].ready)
			break;
		c->focus = c->focus == CHARDEV_SERIAL ? CHARDEV_MONITOR : CHARDEV_SERIAL;
		if (c->client[c->focus].chosen)
			c->client[c->focus].chosen(c->client[c->focus].ctx);
		break;
	case 'h':
	case '?': chardev_write(c, help, sizeof(help) - 1); break;
	case ESCAPE: deliver(c, ESCAPE); break;
	default: break;
	}
}

/* How many bytes may be read without a front running out of room for them. */
static size_t room(const struct chardev *c)
{
	size_t full = c->input[CHARDEV_SERIAL].size;

	if (c->mux && c->input[CHARDEV_MONITOR].size > full)
		full = c->input[CHARDEV_MONITOR].size;
	return INPUT - full;
}

static void take_input(struct chardev *c)
{
	uint8_t bytes[INPUT];
	struct pollfd fd = {.fd = c->in, .events = POLLIN};
	ssize_t size;

	if (c->in < 0 || room(c) == 0 || poll(&fd, 1, 0) != 1)
		return;
	size = read(c->in, bytes, room(c));
	if (size > 0) {
		for (ssize_t i = 0; i < size; i++)
			typed(c, bytes[i]);
		return;
	}
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (c->in == c->out)
		hang_up(c);
	else
		c->in = -1; /* end of file: output goes on */
}

size_t chardev_read(struct chardev *c, enum chardev_front front, void *bytes, size_t size)
{
	struct input *input;
	size_t count = 0;

	if (!c)
		return 0;
	input = &c->input[front];
	while (count < size && input->size) {
		((uint8_t *)bytes)[count++] = input->bytes[input->head];
		input->head = (input->head + 1) % INPUT;
		input->size--;
	}
	return count;
}

void chardev_poll(struct chardev *c)
{
	if (!c)
		return;
	if (c->listener >= 0 && c->in < 0) {
		int peer = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);

		if (peer >= 0)
			connected(c, peer);
	}
	flush(c);
	take_input(c);
	for (int front = 0; front < CHARDEV_FRONTS; front++) {
		if (c->input[front].size && c->client[front].ready)
			c->client[front].ready(c->client[front].ctx);
	}
}

unsigned chardev_poll_fds(const struct chardev *c, struct pollfd *fds)
{
	unsigned count = 0;

	if (!c)
		return 0;
	if (c->in >= 0 && room(c))
		fds[count++] = (struct pollfd){.fd = c->in, .events = POLLIN};
	else if (c->in < 0 && c->listener >= 0)
		fds[count++] = (struct pollfd){.fd = c->listener, .events = POLLIN};
	if (c->out >= 0 && c->pending_size && !c->regular)
		fds[count++] = (struct pollfd){.fd = c->out, .events = POLLOUT};
	return count;
}

void chardev_destroy(struct chardev *c)
{
	if (!c)
		return;
	for (;;) {
		struct pollfd fd = {.fd = c->out, .events = POLLOUT};

		flush(c);
		if (c->out < 0 || !c->pending_size || poll(&fd, 1, CLOSE_MS) != 1)
			break;
	}
	if (c->stdio)
		restore_terminal();
	hang_up(c);
	if (c->listener >= 0)
		close(c->listener);
	if (c->unlink_path)
		unlink(c->unlink_path);
	free(c->unlink_path);
	free(c->pending);
	free(c);
}
