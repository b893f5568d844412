/*
 * The command line as boot/multiboot.c finds it.
 */
#ifndef VMM_BOOT_OPTIONS_H
#define VMM_BOOT_OPTIONS_H

void options_set(const char *line); /* to boot_info.command_line; what is longer is cut */

#endif
