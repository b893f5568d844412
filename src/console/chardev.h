/*
 * Character back ends: where the bytes of a serial port, a debug port or the monitor come from and go to on the host.
 *
 * Output is kept until the host takes it, so it is never lost while somebody can read it, and a host that does not read
 * slows the guest down but never stops it for good. Input is read by chardev_poll() only, so the machine decides when
 * the outside world is let in. A multiplexed back end serves a serial port and the monitor on one terminal.
 */
#pragma once

#include "base/error.h"
#include "base/types.h"
#include <poll.h>

struct chardev;

enum chardev_front { CHARDEV_SERIAL, CHARDEV_MONITOR, CHARDEV_FRONTS };

/* Who takes the input of a front: told that there is some, and reads when it likes. chosen: Ctrl-A c came to this
 * front; or NULL. */
struct chardev_client {
	void (*ready)(void *ctx);
	void (*chosen)(void *ctx);
	void *ctx;
};

/*
 * spec is what -serial, -monitor and -debugcon take, or what -chardev takes:
 *   stdio | mon:stdio | null | none | file:PATH | pipe:PATH | unix:PATH[,server][,nowait] |
 * tcp:HOST:PORT[,server][,nowait] stdio[,mux=on][,signal=off] | null | file,path=PATH[,append=on] | pipe,path=PATH
 *   socket,path=PATH | socket,host=HOST,port=PORT  with [,server=on][,wait=off]
 * Unknown keys (id=, logfile=) are ignored. "none" gives a back end that does nothing, like null. A terminal on
 * standard input is put into raw mode until the back end is destroyed or the process exits; with mon: or signal=off
 * Ctrl-C goes to the guest. NULL: *error says why.
 */
struct chardev *chardev_create(const char *spec, struct error *error);
/* Waits a few seconds at most for the host to take pending output. NULL is allowed. */
void chardev_destroy(struct chardev *chardev);

void chardev_connect(struct chardev *chardev, enum chardev_front front, const struct chardev_client *client);
/* What Ctrl-A x does. */
void chardev_on_quit(struct chardev *chardev, void (*quit)(void *ctx), void *ctx);

/* NULL is a back end that swallows everything. */
void chardev_write(struct chardev *chardev, const void *bytes, size_t size);
/* Take up to size bytes of input; 0 when there are none. */
size_t chardev_read(struct chardev *chardev, enum chardev_front front, void *bytes, size_t size);

/* Let the host in: accept connections, read input, write pending output. Never waits. */
void chardev_poll(struct chardev *chardev);
/* What a sleeping machine should wait for: fills at most 2 entries, returns how many. */
unsigned chardev_poll_fds(const struct chardev *chardev, struct pollfd *fds);
