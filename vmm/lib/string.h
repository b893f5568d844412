/*
 * Bytes and strings: what the compiler may call in a freestanding program, and the few that the VMM uses itself.
 */
#ifndef VMM_LIB_STRING_H
#define VMM_LIB_STRING_H

#include "lib/types.h"

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t size);
char *strchr(const char *s, int c);

/* Copies at most size - 1 bytes and ends the copy with 0. False if from was cut. */
bool string_copy(char *to, size_t size, const char *from);

/* A number in decimal, or hexadecimal after 0x, with K, M or G as factor if suffix is true. False if text is anything else. */
MUST_CHECK bool string_number(const char *text, bool suffix, uint64_t *value);

#endif
