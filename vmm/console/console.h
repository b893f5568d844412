/*
 * One serial line for everybody: the guest that has the console is shown and typed to; what others print is kept and shown when
 * they get it. Ctrl-] opens the prompt; Ctrl-] again gives the line to the next guest.
 */
#ifndef VMM_CONSOLE_CONSOLE_H
#define VMM_CONSOLE_CONSOLE_H

#include "guest/vm.h"

enum { SWITCH_KEY = 0x1d /* Ctrl-] */ };

void console_init(void);	  /* COM1, 115200 8N1; works before anything else does */

/* When all VMs are made; who: what console= says, the VM that has the console first, "all", or NULL for the first VM. */
void console_start(const char *who);

void console_write(const char *text, size_t size); /* of the VMM itself: at once, on a line of its own */
void console_guest(struct vm *vm, uint8_t byte);   /* a byte from a guest's UART */
void console_input(void);			   /* COM1 has interrupted CPU 0 */

/* The loop of CPU 0: takes what was typed, runs the prompt. True: a guest has no room for all that it was typed, and is to
   be asked again soon. */
bool console_serve(void);

struct vm *console_owner(void);	   /* who has the console, also while the prompt is open; NULL: there are no VMs */
void console_focus(struct vm *vm); /* gives it the console, and shows what was kept; closes the prompt. CPU 0 */
void console_end(void);		   /* closes the prompt for good, and shows what is still kept of all */

/* The prompt, console/prompt.c. With no lock held, on CPU 0: SWITCH_KEY, which opens it, and what is typed while it is open. */
void prompt_key(uint8_t key);
void console_prompt(void); /* opens it: guests' text is kept */
bool console_prompting(void);
void console_echo(const char *text); /* shown as it is */

void stats_print(struct vm *vm); /* console/stats.c: count, share and mean cycles for each exit reason */

#endif
