/*
 * VMCSs that hold, and how each rule is broken: for the tests of VM entry's checks. One case of break_rule() is one row
 * of spec/vmx_checks.def.
 */
#pragma once

#include "vmx/check.h"

/* A VM entry about to be made. */
struct scene {
	struct vmcs vmcs, executive;
	struct vmx_capability caps;
	struct vmx_check_cpu cpu;
	uint8_t memory[0x8000];	    /* physical 0 and up */
	uint64_t msr;		    /* bits 63:0 of an entry of the VM-entry MSR-load area */
	enum vmx_check unavoidable; /* another rule that this state cannot but break too */
};

enum guest { GUEST_64, GUEST_PAE, GUEST_V86, GUEST_REAL, GUEST_COUNT };

#define SCENE_CURRENT	0x1000
#define SCENE_VMXON	0x2000
#define SCENE_LINK	0x3000
#define SCENE_EXECUTIVE 0x4000
#define SCENE_APIC	0x5000
#define SCENE_PAGES	0x6000

void scene_start(struct scene *s, enum guest guest);
void break_rule(struct scene *s, enum vmx_check rule);
