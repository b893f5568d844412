/*
 * libsoftvt: a PC in software, to be embedded.
 *
 * A machine is described by the same options as on softvt's command line. All functions of one machine belong to one
 *thread; a process may hold several machines. Nothing here ends the process, except that a host without memory does.
 *
 *	struct softvt *vt;
 *	char error[512];
 *
 *	if (softvt_create(&vt, argc, argv, error, sizeof(error)) == SOFTVT_OK) {
 *		while (!softvt_run(vt, 1000000))
 *			;
 *		status = softvt_status(vt);
 *		softvt_destroy(vt);
 *	}
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTVT_API     __attribute__((visibility("default")))
#define SOFTVT_FOREVER UINT64_MAX

struct softvt;

enum softvt_result {
	SOFTVT_OK,
	SOFTVT_ERROR, /* the sentence is in error */
	SOFTVT_TOLD,  /* the options only asked for text (-help, -version, -device help), which went to standard output
		       */
};

/*
 * Make a machine. argv[0] is not looked at; the strings must live until softvt_destroy(). On success *vt is at its
 * first instruction; otherwise it is NULL. error may be NULL.
 */
SOFTVT_API enum softvt_result softvt_create(struct softvt **vt, int argc, char *const argv[], char *error,
					    size_t error_size);

/* NULL is allowed. Writes what is pending to back ends, and gives the terminal back. */
SOFTVT_API void softvt_destroy(struct softvt *vt);

/*
 * Run for so many nanoseconds of the machine's own time, of which one is one instruction; SOFTVT_FOREVER: until the
 * end. An idle machine whose back ends could receive input sleeps as long as its guest does. True: the machine has
 * ended.
 */
SOFTVT_API bool softvt_run(struct softvt *vt, uint64_t nanoseconds);

/* End the machine at the next boundary between instructions. From a softvt_watch() callback or between two
 * softvt_run(). */
SOFTVT_API void softvt_stop(struct softvt *vt, int status);

/* After the end: the exit status; 0 after power-off, (value << 1) | 1 after isa-debug-exit, 1 after softvt_failure().
 */
SOFTVT_API int softvt_status(const struct softvt *vt);
/* NULL, or what of the host's failed and ended the machine. */
SOFTVT_API const char *softvt_failure(const struct softvt *vt);

/* Nanoseconds of the machine's time since power-on. */
SOFTVT_API uint64_t softvt_time(const struct softvt *vt);

/* A 128-bit digest of the whole state of the machine, as 32 hexadecimal digits. Equal runs have equal digests. */
SOFTVT_API void softvt_digest(struct softvt *vt, char text[33]);

/* Save to a file; softvt_create() with "-restore FILE" and otherwise the same options goes on from there. */
SOFTVT_API bool softvt_save(struct softvt *vt, const char *file, char *error, size_t error_size);

/* During softvt_run(), call ready(ctx) when fd can be read; at most 8 of them. */
SOFTVT_API void softvt_watch(struct softvt *vt, int fd, void (*ready)(void *ctx), void *ctx);

#ifdef __cplusplus
}
#endif
