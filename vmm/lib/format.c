/*
 * Text from a format, as the C library's snprintf() makes it, of the formats that lib/print.h lists.
 */
#include "lib/print.h"
#include "lib/string.h"

struct output {
	char *to;
	size_t size, length;
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->to[out->length] = c;
	out->length++;
}

static void put_padded(struct output *out, const char *text, size_t length, size_t width, bool left)
{
	size_t padding = length < width ? width - length : 0;

	for (size_t i = 0; !left && i < padding; i++)
		put(out, ' ');
	for (size_t i = 0; i < length; i++)
		put(out, text[i]);
	for (size_t i = 0; left && i < padding; i++)
		put(out, ' ');
}

static void put_number(struct output *out, uint64_t value, unsigned base, const char *sign, size_t width, bool left, bool zeros)
{
	char digits[24];
	size_t at = sizeof(digits), prefix = strlen(sign);

	do
		digits[--at] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (zeros && !left && at && sizeof(digits) - at + prefix < width)
		digits[--at] = '0';
	at -= prefix;
	memcpy(digits + at, sign, prefix);
	put_padded(out, digits + at, sizeof(digits) - at, width, left);
}

int vformat_text(char *to, size_t size, const char *format, va_list args)
{
	struct output out = {to, size, 0};

	for (; *format; format++) {
		bool left = false, zeros = false;
		unsigned longs = 0;
		size_t width = 0;
		int64_t number;

		if (*format != '%') {
			put(&out, *format);
			continue;
		}
		for (format++; *format == '-' || *format == '0'; format++)
			*(*format == '-' ? &left : &zeros) = true;
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (size_t)(*format - '0');
		for (; *format == 'l' || *format == 'z'; format++)
			longs++;
		switch (*format) {
		case 's': {
			const char *text = va_arg(args, const char *);
			put_padded(&out, text, strlen(text), width, left);
			break;
		}
		case 'c': {
			char c = (char)va_arg(args, int);
			put_padded(&out, &c, 1, width, left);
			break;
		}
		case 'd':
			number = longs ? va_arg(args, int64_t) : va_arg(args, int);
			put_number(&out, number < 0 ? -(uint64_t)number : (uint64_t)number, 10, number < 0 ? "-" : "", width, left, zeros);
			break;
		case 'u':
		case 'x':
			put_number(&out, longs ? va_arg(args, uint64_t) : va_arg(args, unsigned), *format == 'u' ? 10 : 16, "", width, left, zeros);
			break;
		case 'p':
			put_number(&out, va_arg(args, uintptr_t), 16, "0x", width, left, zeros);
			break;
		case '%':
			put(&out, '%');
			break;
		default: /* the compiler has checked the others away */
			__builtin_trap();
		}
	}
	if (size)
		to[out.length < size ? out.length : size - 1] = 0;
	return (int)out.length;
}

int format_text(char *to, size_t size, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vformat_text(to, size, format, args);
	va_end(args);
	return length;
}
