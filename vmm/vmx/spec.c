/*
 * Names of the manual's numbers, from the tables in spec/, for reports and dumps.
 */
#include "vmx/spec.h"

const char *exit_reason_title(unsigned reason)
{
	static const char *const titles[EXIT_REASONS] = {
#define X(number, name, title) [number] = title,
#include "vmx_exit_reasons.def"
	};

	return reason < EXIT_REASONS && titles[reason] ? titles[reason] : "?";
}

const char *vmx_error_title(unsigned number)
{
	static const char *const titles[] = {
#define X(error, name, title) [error] = title,
#include "vmx_errors.def"
	};

	return number < ARRAY_SIZE(titles) && titles[number] ? titles[number] : "?";
}

const char *vmcs_field_name(unsigned encoding)
{
	switch (encoding) {
#define F(number, name, condition, checks)                                                                             \
	case number:                                                                                                   \
		return #name;
#include "vmcs_fields.def"
	}
	return "?";
}

const char *vmx_control_title(enum vmx_word word, unsigned bit)
{
	static const struct {
		uint8_t word, bit;
		const char *title;
	} controls[] = {
#define C(of, number, name, since, feature, option, text) {WORD_##of, number, text},
#include "vmx_controls.def"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++)
		if (controls[i].word == word && controls[i].bit == bit)
			return controls[i].title;
	return NULL;
}
