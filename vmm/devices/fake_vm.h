/*
 * For the devices' tests on the host: a VM that is its devices alone, and records what they ask of the rest.
 */
#ifndef VMM_DEVICES_FAKE_VM_H
#define VMM_DEVICES_FAKE_VM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "guest/vm.h"

enum { FAKE_MEMORY = 1 << 18, FAKE_DISK = 1 << 16 };

struct fake {
	struct vm vm; /* first: the devices are handed it */
	struct vcpu vcpu;
	uint64_t now; /* vm_time() */
	bool takes_extint;
	unsigned wakes, resets, power_offs;
	struct apic_message message; /* the last, and how many */
	unsigned messages;
	char sent[64]; /* the last characters to the console, and how many in all */
	unsigned sent_count;
	uint8_t clock[RTC_BYTES]; /* of the machine */
	uint8_t memory[FAKE_MEMORY], disk[FAKE_DISK];
};

/* A cmocka set-up and tear-down; *state is the fake, after devices_reset(). The machine's clock shows 2026-11-28, 23:59:58. */
int fake_setup(void **state);
int fake_teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

void out(struct fake *f, uint16_t port, uint8_t value);
uint8_t in(struct fake *f, uint16_t port);
void run_to(struct fake *f, uint64_t ns); /* time passes; the devices have their turns at their deadlines, as a scheduler sees to it */
void run(struct fake *f, uint64_t ns);

#endif
