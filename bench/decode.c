/*
 * How long the decoder takes for an instruction: a linear sweep over the .text section of an ELF64 program.
 *
 *   bench_decode FILE      prints: instructions, ns for each in decode(), ns for each in Zydis alone (the minimal mode)
 *
 * The first sweep lets the decoder meet every form; of the next five the fastest counts.
 */
#include "decode/insn.h"
#include "cpu/mode.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct text {
	uint8_t *bytes;
	size_t size;
};

static void bind(void *ctx, struct form *form)
{
	(void)ctx;
	(void)form;
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct text read_text(const char *name)
{
	FILE *file = fopen(name, "rb");
	Elf64_Ehdr header;
	Elf64_Shdr sections[64], *found = NULL;
	struct text text;
	char names[4096] = "";

	if (!file || fread(&header, sizeof(header), 1, file) != 1 || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_shnum > 64 || header.e_shstrndx >= header.e_shnum || fseek(file, (long)header.e_shoff, SEEK_SET) ||
	    fread(sections, sizeof(sections[0]), header.e_shnum, file) != header.e_shnum ||
	    fseek(file, (long)sections[header.e_shstrndx].sh_offset, SEEK_SET) ||
	    !fread(names, 1, sizeof(names) - 1, file)) {
		fprintf(stderr, "bench_decode: '%s' is no ELF64 program with sections\n", name);
		exit(1);
	}
	for (int i = 0; i < header.e_shnum; i++)
		if (sections[i].sh_name < sizeof(names) && !strcmp(names + sections[i].sh_name, ".text"))
			found = &sections[i];
	text = (struct text){.size = found ? found->sh_size : 0};
	text.bytes = malloc(text.size + 16);
	if (!found || !text.bytes || fseek(file, (long)found->sh_offset, SEEK_SET) ||
	    fread(text.bytes, 1, text.size, file) != text.size) {
		fprintf(stderr, "bench_decode: '%s' has no .text that can be read\n", name);
		exit(1);
	}
	fclose(file);
	memset(text.bytes + text.size, 0x90, 16);
	return text;
}

/* Both sweeps give the number of instructions. What is no instruction is stepped over bytewise. */

static size_t sweep_ours(struct decoder *decoder, const struct text *text)
{
	const uint32_t mode = MODE_CODE64 | MODE_STACK64 | MODE_FLAT | MODE_PROTECTED;
	struct insn insn;
	size_t count = 0;

	for (size_t at = 0; at < text->size; count++)
		at += decode(decoder, text->bytes + at, 15, mode, 0, &insn) == DECODE_OK ? insn.len : 1;
	return count;
}

static size_t sweep_zydis(const ZydisDecoder *decoder, const struct text *text)
{
	ZydisDecodedInstruction insn;
	size_t count = 0;

	for (size_t at = 0; at < text->size; count++)
		at += ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, text->bytes + at, 15, &insn))
			      ? insn.length
			      : 1;
	return count;
}

int main(int argc, char **argv)
{
	struct decoder_ops ops = {.bind = bind};
	struct decoder *ours = decoder_create(&ops);
	ZydisDecoder zydis;
	double best_ours = 1e18, best_zydis = 1e18;
	struct text text;
	size_t count, zydis_count = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: bench_decode FILE\n");
		return 2;
	}
	text = read_text(argv[1]);
	ZydisDecoderInit(&zydis, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(&zydis, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
	count = sweep_ours(ours, &text);
	for (int pass = 0; pass < 5; pass++) {
		double begin = cpu_ns(), between;

		sweep_ours(ours, &text);
		between = cpu_ns();
		zydis_count = sweep_zydis(&zydis, &text);
		best_ours = between - begin < best_ours ? between - begin : best_ours;
		best_zydis = cpu_ns() - between < best_zydis ? cpu_ns() - between : best_zydis;
	}
	printf("%zu %.1f %.1f\n", count, best_ours / (double)count, best_zydis / (double)zydis_count);
	decoder_destroy(ours);
	free(text.bytes);
	return 0;
}
