/*
 * The registers that gdb sees: their order, and what they are called in the target description.
 */
#pragma once

#include "cpu/cpu.h"

/* The target description, an XML text in new memory that the caller frees. */
char *gdb_target_xml(void);

unsigned gdb_register_count(void);
/* -1: no register has that name. */
int gdb_register_number(const char *name);
/* Bytes of register `number` into or from `bytes` (16 at most), little-endian. Returns their count; 0: there is no such
 * register. */
unsigned gdb_register_get(const struct cpu *cpu, unsigned number, uint8_t bytes[16]);
/* The caller tells the machine that the vCPU changed. Segment registers keep their descriptor: only fs_base and gs_base
 * can be set. */
unsigned gdb_register_set(struct cpu *cpu, unsigned number, const uint8_t bytes[16]);
