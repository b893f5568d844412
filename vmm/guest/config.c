/*
 * vm= of the command line: what guest/config.h says. A word ends at a blank, a key at a comma, unless between quotes.
 */
#include "guest/config.h"

#include "boot/boot.h"
#include "guest/vm.h"
#include "lib/print.h"
#include "lib/string.h"

enum { MEMORY_STEP = 2 << 20, LINUX_LEAST = 16 << 20, LINUX_DEFAULT = 256 << 20, FLAT_DEFAULT = 4 << 20 };
#define MEMORY_MOST (UINT64_C(3) << 30) /* above begins what a PC has its devices in */

/* The end of text that starts at at: stop, or the end of the string. */
static const char *find_end(const char *at, char stop, bool *open)
{
	*open = false;
	for (; *at && (*open || *at != stop); at++)
		*open ^= *at == '"';
	return at;
}

/* Copies [from, end) without its quotes; two of them between quotes are one that is meant. False if it had to be cut. */
static bool copy_plain(char *to, size_t size, const char *from, const char *end)
{
	bool open = false;

	for (; from < end; from++) {
		if (*from == '"') {
			bool meant = open && from + 1 < end && from[1] == '"';

			open = meant || !open;
			if (!meant)
				continue;
			from++;
		}
		if (!--size)
			break;
		*to++ = *from;
	}
	*to = 0;
	return from == end;
}

static bool is_in(char c, char first, char last) { return c >= first && c <= last; }

/* "all" is what console= calls everybody; the prompt ends a name at a dot. */
static bool good_name(const char *name)
{
	if (!*name || !strcmp(name, "all"))
		return false;
	for (; *name; name++) {
		if (!is_in(*name, 'a', 'z') && !is_in(*name, 'A', 'Z') && !is_in(*name, '0', '9') && *name != '-' && *name != '_')
			return false;
	}
	return true;
}

/* One key and its value; false, and a sentence, if there is something wrong with them. */
static bool set(struct vm_config *config, const char *key, const char *value)
{
	const struct { const char *key; const struct module **module; } modules[] = {
		{"kernel", &config->kernel}, {"initrd", &config->initrd}, {"image", &config->image}, {"disk", &config->disk},
	};
	uint64_t number;

	if (!strcmp(key, "mem")) {
		if (!string_number(value, true, &number) || number % MEMORY_STEP || !number || number > MEMORY_MOST) {
			print("vmm: vm=%s: mem=%s is not a multiple of 2M up to 3G.\n", config->name, value);
			return false;
		}
		config->memory = number;
		return true;
	}
	if (!strcmp(key, "cpus")) {
		if (!string_number(value, false, &number) || !number || number > VCPUS_MAX) {
			print("vmm: vm=%s: cpus=%s is not a number from 1 to %u.\n", config->name, value, VCPUS_MAX);
			return false;
		}
		config->cpus = (unsigned)number;
		return true;
	}
	if (!strcmp(key, "append")) {
		if (string_copy(config->append, sizeof(config->append), value))
			return true;
		print("vmm: vm=%s: append= is longer than %zu characters.\n", config->name, sizeof(config->append) - 1);
		return false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(modules); i++) {
		if (strcmp(key, modules[i].key))
			continue;
		*modules[i].module = boot_module(value);
		if (!*modules[i].module)
			print("vmm: vm=%s: %s=%s: the boot loader has brought no module of this name.\n", config->name, key,
			      value);
		return *modules[i].module;
	}
	print("vmm: vm=%s: there is no key \"%s\"; there are mem, cpus, kernel, initrd, append, image and disk.\n", config->name,
	      key);
	return false;
}

/* What the keys say together. */
static bool complete(struct vm_config *config)
{
	const char *wrong = NULL;

	if (!config->kernel && !config->image)
		wrong = "it has neither kernel= nor image=";
	else if (config->kernel && config->image)
		wrong = "it has both kernel= and image=";
	else if (config->image && (config->initrd || *config->append))
		wrong = "initrd= and append= are for kernel=";
	else if (config->kernel && config->memory && config->memory < LINUX_LEAST)
		wrong = "a Linux guest needs mem=16M or more";
	if (wrong)
		print("vmm: vm=%s: %s.\n", config->name, wrong);
	if (!config->memory)
		config->memory = config->kernel ? LINUX_DEFAULT : FLAT_DEFAULT;
	return !wrong;
}

/* The word [at, end), behind vm=. */
static bool parse(struct vm_config *config, const char *at, const char *end)
{
	char item[sizeof(config->append) + 16];
	bool open;
	const char *comma = find_end(at, ',', &open);

	*config = (struct vm_config){.cpus = 1};
	comma = comma < end ? comma : end;
	if (!copy_plain(config->name, sizeof(config->name), at, comma) || !good_name(config->name)) {
		print("vmm: vm=%s: a VM's name has 1 to %zu letters, digits, \"-\" and \"_\", and is not \"all\".\n",
		      config->name, sizeof(config->name) - 1);
		return false;
	}
	while (comma < end) {
		const char *start = comma + 1;
		char *equals;
		bool fits;

		comma = find_end(start, ',', &open);
		comma = comma < end ? comma : end;
		fits = copy_plain(item, sizeof(item), start, comma);
		equals = strchr(item, '=');
		if (!fits || !equals) {
			item[40] = 0;
			print("vmm: vm=%s: \"%s\" is %s.\n", config->name, item, fits ? "no KEY=VALUE" : "too long");
			return false;
		}
		*equals = 0;
		if (!set(config, item, equals + 1))
			return false;
	}
	return complete(config);
}

bool config_next(const char **at, struct vm_config *config)
{
	while (**at) {
		const char *word = *at, *end;
		bool open;

		end = find_end(word, ' ', &open);
		*at = *end ? end + 1 : end;
		if (strncmp(word, "vm=", 3))
			continue;
		if (open)
			print("vmm: the command line ends in an open quote, so there is no VM of its vm=.\n");
		else if (parse(config, word + 3, end))
			return true;
	}
	return false;
}
