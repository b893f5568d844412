/*
 * What the command line asks for: docs/vmm.md, "Command line".
 *
 *   vm=NAME[,mem=256M][,cpus=1],kernel=MODULE[,initrd=MODULE][,append="..."][,disk=MODULE]   a Linux guest;
 *                          within the quotes of append, "" is a quote
 *   vm=NAME[,mem=4M],image=MODULE                          a flat image of 16-bit code, started at 0:7C00H in real mode
 *   demo=all | demo=NAME[,NAME...]                         demonstrations (demo/), one after the other, before the VMs
 *   console=NAME                                           the guest that has the console first; by default the first
 *   slice=MICROSECONDS                                     of the scheduler, by default 10000
 *   quiet                                                  without the capability report
 */
#ifndef VMM_GUEST_CONFIG_H
#define VMM_GUEST_CONFIG_H

#include "lib/types.h"

struct module;

struct vm_config {
	char name[32];
	uint64_t memory; /* bytes: a multiple of 2 MiB, at most 3 GiB */
	unsigned cpus;
	/* NULL: not given. Neither kernel nor image: a demonstration, which loads itself. */
	const struct module *kernel, *initrd, *image;
	const struct module *disk; /* what is on its disk at first; NULL: it has none */
	char append[1024];
};

/* Reads the next vm= of the command line after *at (start with the line itself), and moves *at behind it. False at the end.
   A fault in the text: prints one sentence about it and goes on to the next. */
bool config_next(const char **at, struct vm_config *config);

#endif
