/* What the chipset asks of the machine as a whole. The machine acts on it between instructions. */
#pragma once

enum machine_request {
	REQUEST_RESET,	   /* everything */
	REQUEST_INIT,	   /* INIT# to the processors: port 92H, or CF9H without SYS_RST */
	REQUEST_POWER_OFF, /* ACPI S5 */
};

struct request_hook {
	void (*request)(void *ctx, enum machine_request what);
	void *ctx;
};
