/*
 * Is address bit 20 masked? Then a word of the image, which lies from 1 MiB on, is also seen 1 MiB lower. Port 92H opens the
 * gate in every PC since the PS/2; boot loaders have done so long before.
 */
#include "boot/a20.h"

#include "cpu/x86.h"

enum { PORT_92 = 0x92, PORT_92_A20 = 2, PORT_92_RESET = 1 };

static bool masked(void)
{
	static volatile uint32_t word;
	const volatile uint32_t *alias = at_pa(pa_of((const void *)(uintptr_t)&word) ^ BIT(20));

	/* One value may be there by chance, and two not. */
	word = 0x5a5a5a5a;
	if (*alias != word)
		return false;
	word = 0xa5a5a5a5;
	return *alias == word;
}

bool a20_open(void)
{
	if (masked())
		out8(PORT_92, (uint8_t)((in8(PORT_92) & ~PORT_92_RESET) | PORT_92_A20));
	return !masked();
}
