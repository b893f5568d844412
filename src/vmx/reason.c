/*
 * The texts of instruction errors and exit reasons, from spec/.
 */
#include "vmx/reason.h"

const char *vmx_error_text(unsigned number)
{
	static const char *const text[] = {
#define X(number, name, text) [number] = text,
#include "vmx_errors.def"
	};

	return number < ARRAY_SIZE(text) ? text[number] : NULL;
}

const char *vmx_exit_text(unsigned basic_reason)
{
	static const char *const text[] = {
#define X(number, name, title) [number] = title,
#include "vmx_exit_reasons.def"
	};

	return basic_reason < ARRAY_SIZE(text) ? text[basic_reason] : NULL;
}
