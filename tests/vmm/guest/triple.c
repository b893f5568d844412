/*
 * A guest that kills itself: an exception without an IDT. The VMM stops it and says why.
 */
#include "guest.h"

int main(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	put("triple: now\r\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	return 0;
}
