/*
 * The softvt command: a machine from the command line, run until it ends; or one of the commands that start none.
 *
 * Signals that ask the process to end arrive through a descriptor, so that the machine ends between two instructions,
 * what the guest has written reaches its files, and the terminal is given back.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "command.h"
#include "softvt.h"

struct signals {
	struct softvt *vt;
	int fd;
	struct signalfd_siginfo info; /* the one that came */
};

static void signalled(void *ctx)
{
	struct signals *signals = ctx;
	struct signalfd_siginfo *info = &signals->info;

	if (read(signals->fd, info, sizeof(*info)) != sizeof(*info))
		return;
	fprintf(stderr, "softvt: terminating on signal %u", info->ssi_signo);
	if (info->ssi_code <= 0)
		fprintf(stderr, " from pid %u", info->ssi_pid);
	fputc('\n', stderr);
	softvt_stop(signals->vt, 0);
}

int main(int argc, char **argv)
{
	struct signals signals;
	char error[1024];
	sigset_t set;
	int status;

	if (argc > 1 && !strcmp(argv[1], "caps"))
		return caps_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "check"))
		return check_main(argc - 1, argv + 1);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	/* A reader of our output that is gone shows as an error of the write. */
	signal(SIGPIPE, SIG_IGN);
	switch (softvt_create(&signals.vt, argc, argv, error, sizeof(error))) {
	case SOFTVT_OK: break;
	case SOFTVT_TOLD: return fflush(stdout) ? 1 : 0;
	case SOFTVT_ERROR: fprintf(stderr, "softvt: %s\n", error); return 1;
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals.fd >= 0)
		softvt_watch(signals.vt, signals.fd, signalled, &signals);
	softvt_run(signals.vt, SOFTVT_FOREVER);
	if (softvt_failure(signals.vt))
		fprintf(stderr, "softvt: %s\n", softvt_failure(signals.vt));
	status = softvt_status(signals.vt);
	softvt_destroy(signals.vt);
	return status;
}
