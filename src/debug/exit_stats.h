/*
 * Statistics of VM exits, for each VMCS and exit reason: how many, and how long root operation took until the next VM
 * entry, in the machine's time; as `perf kvm stat` shows them.
 */
#pragma once

#include <stdio.h>

#include "vmx/vmx.h"

struct exit_stats;

struct exit_stats *exit_stats_create(void);
void exit_stats_destroy(struct exit_stats *stats);

void exit_stats_entered(struct exit_stats *stats, const struct cpu *cpu);
void exit_stats_exits(struct exit_stats *stats, const struct cpu *cpu);

void exit_stats_print(const struct exit_stats *stats, FILE *to);
void exit_stats_print_json(const struct exit_stats *stats, FILE *to);
