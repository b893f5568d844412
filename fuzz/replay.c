/*
 * Runs a fuzzer's entry function over its corpus with any compiler: replay FILE-OR-FOLDER...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Exactly as many bytes as there are, so that a sanitizer sees a read beyond them. */
static int replay(const char *name)
{
	FILE *stream = fopen(name, "rb");
	uint8_t *bytes, *exact;
	size_t size;

	if (!stream)
		return perror(name), 1;
	bytes = malloc(1 << 20);
	size = fread(bytes, 1, 1 << 20, stream);
	fclose(stream);
	exact = malloc(size ? size : 1);
	memcpy(exact, bytes, size);
	free(bytes);
	fprintf(stderr, "%s: %zu bytes\n", name, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = argc < 2, count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		struct dirent *entry;

		while (folder && (entry = readdir(folder))) {
			char name[4096];

			if (entry->d_name[0] == '.')
				continue;
			snprintf(name, sizeof(name), "%s/%s", argv[i], entry->d_name);
			failed |= replay(name);
			count++;
		}
		if (folder)
			closedir(folder);
		else
			failed |= replay(argv[i]);
		count += !folder;
	}
	printf("%d inputs\n", count);
	return failed || !count;
}
