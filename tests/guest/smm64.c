/*
 * System management mode entered from IA-32e mode: smm.c says what it checks.
 */
#include "smm.c"
