/*
 * The console.
 */
#include "console/console.h"

#include "console/serial.h"
#include "lib/lock.h"

static struct lock lock;

void console_init(void)
{
	serial_init();
}

void console_write(const char *text, size_t size)
{
	lock_take(&lock);
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '\n')
			serial_put('\r');
		serial_put((uint8_t)text[i]);
	}
	lock_release(&lock);
}
