/*
 * The debug chapter in 64-bit mode: debug.c says what it checks.
 */
#include "debug.c"
