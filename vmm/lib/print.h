/*
 * Lines of the VMM's own: they go to the console (console/console.h), whichever guest has it. The text has the \n that ends
 * a line.
 *
 * Formats: %s %c %d %u %x %p %%, with 0, -, a width, and the lengths l, ll, z. No floating point.
 */
#ifndef VMM_LIB_PRINT_H
#define VMM_LIB_PRINT_H

#include <stdarg.h>
#include "lib/types.h"

void print(const char *format, ...) PRINTF(1, 2);
void vprint(const char *format, va_list args);

/* As the C library's: returns the length that the whole text has; the copy is cut to fit and ends with 0. */
int format_text(char *to, size_t size, const char *format, ...) PRINTF(3, 4);
int vformat_text(char *to, size_t size, const char *format, va_list args);

/* The VMM itself is wrong, or the machine is: says so and stops every CPU. No guest action reaches it. */
_Noreturn void panic(const char *format, ...) PRINTF(1, 2);

#endif
