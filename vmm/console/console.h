/*
 * One serial line for everybody: the guest that has the console is shown and typed to; what others print is kept and shown when they get it.
 * Ctrl-] opens the prompt; Ctrl-] again gives the line to the next guest.
 */
#ifndef VMM_CONSOLE_CONSOLE_H
#define VMM_CONSOLE_CONSOLE_H

#include "guest/vm.h"

enum { SWITCH_KEY = 0x1d /* Ctrl-] */ };

void console_init(void);	  /* COM1, 115200 8N1; works before anything else does */
void console_write(const char *text, size_t size); /* of the VMM itself: at once, on a line of its own */
void console_guest(struct vm *vm, uint8_t byte);   /* a byte from a guest's UART */
void console_input(void);			   /* COM1 has interrupted: takes what was typed */
void console_focus(struct vm *vm);

/* The prompt: a line of text, as typed. console/prompt.c. Runs with no lock held, from the scheduler's loop of CPU 0. */
void prompt_line(const char *line);
bool prompt_pending(void); /* a line waits for that */
void prompt_run(void);

void stats_print(struct vm *vm); /* console/stats.c: count, share and mean cycles for each exit reason */

#endif
