/*
 * Disk images against qemu-img: what we write, it must check and read as we do; what it makes, we must read.
 */
#include "storage/block.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include <cmocka.h>

#define SIZE (UINT64_C(12) << 20)

static char directory[64];

static int run(const char *format, ...)
{
	char command[1024], text[900];
	va_list arguments;
	int status;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(command, sizeof(command), "cd %s && qemu-img %s >log 2>&1", directory, text);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A small generator, so that each run does the same. */
static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static const char *path(const char *name)
{
	static char text[2][128];
	static unsigned turn;

	turn ^= 1;
	snprintf(text[turn], sizeof(text[0]), "%s/%s", directory, name);
	return text[turn];
}

static void save(const char *name, const uint8_t *bytes, size_t size)
{
	FILE *file = fopen(path(name), "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	fclose(file);
}

static struct block *open_it(const char *name, enum block_format format, bool read_only, bool snapshot)
{
	struct error error = {""};
	struct block *block = block_open(path(name), format, read_only, snapshot, &error);

	if (!block)
		fail_msg("%s", error.text);
	return block;
}

/* Random reads and writes, checked against `mirror` as they go. */
static void exercise(struct block *block, uint8_t *mirror, unsigned count, uint32_t seed)
{
	uint8_t *bytes = malloc(256 << 10);

	for (unsigned i = 0; i < count; i++) {
		size_t size = (next(&seed) % (i % 8 ? 64 : 512) + 1) * 512;
		uint64_t offset = next(&seed) % ((SIZE - size) / 512 + 1) * 512;

		if (next(&seed) % 3) {
			for (size_t j = 0; j < size; j++)
				bytes[j] = (uint8_t)(next(&seed) >> 4);
			assert_true(block_write(block, offset, bytes, size));
			memcpy(mirror + offset, bytes, size);
		} else {
			assert_true(block_read(block, offset, bytes, size));
			assert_memory_equal(bytes, mirror + offset, size);
		}
	}
	free(bytes);
}

/* The whole image equals `mirror`, read by us and by qemu-img, and qemu-img finds nothing wrong and nothing lost. */
static void judge(const char *name, const uint8_t *mirror)
{
	struct block *block = open_it(name, BLOCK_PROBE, true, false);
	uint8_t *bytes = malloc(SIZE);

	assert_int_equal(block_size(block), SIZE);
	assert_true(block_read(block, 0, bytes, SIZE));
	assert_memory_equal(bytes, mirror, SIZE);
	block_close(block);
	free(bytes);
	save("mirror.raw", mirror, SIZE);
	assert_int_equal(run("check -f qcow2 %s", name), 0);
	assert_int_equal(run("compare -f raw -F qcow2 mirror.raw %s", name), 0);
}

static void new_image(const char *options, uint32_t seed)
{
	uint8_t *mirror = calloc(1, SIZE);
	struct block *block;

	assert_int_equal(run("create -f qcow2 %s t.qcow2 12M", options), 0);
	for (unsigned round = 0; round < 2; round++) {
		block = open_it("t.qcow2", BLOCK_QCOW2, false, false);
		exercise(block, mirror, 60, seed + round);
		assert_true(block_flush(block));
		block_close(block);
	}
	judge("t.qcow2", mirror);
	free(mirror);
}

static void writes_are_what_qemu_img_reads(void **state)
{
	new_image("", 1);
	new_image("-o compat=0.10", 2);
	new_image("-o compat=1.1,lazy_refcounts=off,cluster_size=2M", 3);
	new_image("-o preallocation=metadata", 4);
}

/* Clusters of 512 bytes: many L2 tables, more of them than are cached, and the refcount table grows several times. */
static void refcount_tables_grow(void **state)
{
	new_image("-o cluster_size=512", 5);
	new_image("-o cluster_size=512,compat=0.10", 6);
	new_image("-o cluster_size=4096,refcount_bits=1", 7);
	new_image("-o cluster_size=512,refcount_bits=64", 8);
	new_image("-o cluster_size=1024,refcount_bits=4", 9);
}

static uint8_t *random_disk(const char *name, uint32_t seed)
{
	uint8_t *mirror = calloc(1, SIZE);

	/* Half of it compressible, a quarter zero. */
	for (size_t i = 0; i < SIZE; i++)
		mirror[i] = (i >> 18) % 4 == 0 ? 0 : (i >> 16) % 2 ? (uint8_t)(next(&seed) >> 3) : (uint8_t)(i >> 9);
	save(name, mirror, SIZE);
	return mirror;
}

static void compressed_clusters_are_read_and_replaced(void **state)
{
	uint8_t *mirror = random_disk("base.raw", 10);
	struct block *block;

	assert_int_equal(run("convert -c -f raw -O qcow2 base.raw t.qcow2"), 0);
	judge("t.qcow2", mirror);
	block = open_it("t.qcow2", BLOCK_QCOW2, false, false);
	exercise(block, mirror, 80, 11);
	block_close(block);
	judge("t.qcow2", mirror);
	free(mirror);
}

static void backing_files_shine_through(void **state)
{
	static const char *const backing[] = {"-b base.raw -F raw", "-b base.qcow2 -F qcow2"};
	uint8_t *mirror = random_disk("base.raw", 12);

	assert_int_equal(run("convert -f raw -O qcow2 base.raw base.qcow2"), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *copy = malloc(SIZE);
		struct block *block;

		memcpy(copy, mirror, SIZE);
		assert_int_equal(run("create -f qcow2 %s t.qcow2 12M", backing[i]), 0);
		judge("t.qcow2", copy);
		block = open_it("t.qcow2", BLOCK_QCOW2, false, false);
		exercise(block, copy, 60, 13);
		block_close(block);
		judge("t.qcow2", copy);
		free(copy);
	}
	free(mirror);
}

static void internal_snapshots_stay_as_they_were(void **state)
{
	uint8_t *mirror = random_disk("base.raw", 14), *before = malloc(SIZE);
	struct block *block;

	assert_int_equal(run("convert -f raw -O qcow2 base.raw t.qcow2"), 0);
	assert_int_equal(run("snapshot -c one t.qcow2"), 0);
	memcpy(before, mirror, SIZE);
	block = open_it("t.qcow2", BLOCK_QCOW2, false, false);
	exercise(block, mirror, 60, 15);
	block_close(block);
	judge("t.qcow2", mirror);
	assert_int_equal(run("snapshot -a one t.qcow2"), 0);
	judge("t.qcow2", before);
	free(before);
	free(mirror);
}

static void snapshot_option_leaves_the_image_alone(void **state)
{
	uint8_t *mirror = random_disk("base.raw", 16), *bytes = malloc(SIZE);
	struct block *block = open_it("base.raw", BLOCK_RAW, false, true);
	FILE *file;

	memcpy(bytes, mirror, SIZE);
	exercise(block, bytes, 100, 17);
	assert_true(block_flush(block));
	block_close(block);
	file = fopen(path("base.raw"), "rb");
	assert_int_equal(fread(bytes, 1, SIZE, file), SIZE);
	fclose(file);
	assert_memory_equal(bytes, mirror, SIZE);
	free(bytes);
	free(mirror);
}

static void raw_images(void **state)
{
	uint8_t *mirror = random_disk("base.raw", 18), bytes[512] = {0};
	struct block *block = open_it("base.raw", BLOCK_RAW, false, false), *second;
	struct error error;

	exercise(block, mirror, 60, 19);
	assert_false(block_read(block, SIZE - 511, bytes, 512));
	assert_false(block_read(block, UINT64_MAX, bytes, 512));
	assert_false(block_write(block, SIZE, bytes, 1));
	second = block_open(path("base.raw"), BLOCK_RAW, false, false, &error);
	assert_null(second); /* two writers */
	block_close(block);
	block = open_it("base.raw", BLOCK_RAW, true, false);
	assert_true(block_read_only(block));
	assert_false(block_write(block, 0, bytes, 512));
	block_close(block);
	free(mirror);
}

/* Killed while it writes, many times: the image is always one that qemu-img accepts, lost clusters aside (status 3). */
static void kill_amid_writes(void **state)
{
	assert_int_equal(run("create -f qcow2 -o cluster_size=512 t.qcow2 12M"), 0);
	for (unsigned round = 0; round < 25; round++) {
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (child == 0) {
			struct error error;
			struct block *block = block_open(path("t.qcow2"), BLOCK_QCOW2, false, false, &error);
			static uint8_t bytes[16384];
			uint32_t seed = 100 + round;

			while (block && block_write(block, next(&seed) % (SIZE / 512 - 32) * 512, bytes,
						    512 * (next(&seed) % 32 + 1)))
				;
			_exit(1);
		}
		usleep(2000 + 1700 * round);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status)); /* it did not fail by itself */
		status = run("check -f qcow2 t.qcow2");
		assert_true(status == 0 || status == 3);
	}
}

/* Broken headers and tables: refused or failed, never more than that. */
static void hostile_images(void **state)
{
	uint8_t *image = NULL;
	uint32_t seed = 99;
	size_t size;
	FILE *file;

	assert_int_equal(run("create -f qcow2 -o cluster_size=512 t.qcow2 1M"), 0);
	struct block *block = open_it("t.qcow2", BLOCK_QCOW2, false, false);
	static uint8_t bytes[1 << 20];

	assert_true(block_write(block, 0, bytes, 1 << 18));
	block_close(block);
	file = fopen(path("t.qcow2"), "rb");
	fseek(file, 0, SEEK_END);
	size = (size_t)ftell(file);
	rewind(file);
	image = malloc(size);
	assert_int_equal(fread(image, 1, size, file), size);
	fclose(file);
	for (unsigned round = 0; round < 1500; round++) {
		uint8_t *broken = malloc(size);
		struct error error = {""};

		memcpy(broken, image, size);
		for (unsigned i = 0; i < 1 + round % 5; i++) {
			size_t at = round % 2 ? next(&seed) % 104 : next(&seed) % 6000;

			broken[at] = (uint8_t)(next(&seed) % 4 ? next(&seed) : next(&seed) % 2 * 255);
		}
		/* No long names of other files, no backing file. */
		memset(broken + 8, 0, 8);
		save("broken.qcow2", broken, round % 7 ? size : next(&seed) % size);
		free(broken);
		block = block_open(path("broken.qcow2"), BLOCK_QCOW2, round % 3 == 0, false, &error);
		if (!block) {
			assert_true(strlen(error.text) > 10);
			continue;
		}
		for (unsigned i = 0; i < 40; i++) {
			uint64_t offset = next(&seed) % ((1 << 20) - 8192);

			(void)!block_read(block, offset, bytes, 8192);
			(void)!block_write(block, offset, bytes, next(&seed) % 8192);
		}
		block_close(block);
	}
	free(image);
}

static int set_up(void **state)
{
	strcpy(directory, "/tmp/softvt-block-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_are_what_qemu_img_reads),
		cmocka_unit_test(refcount_tables_grow),
		cmocka_unit_test(compressed_clusters_are_read_and_replaced),
		cmocka_unit_test(backing_files_shine_through),
		cmocka_unit_test(internal_snapshots_stay_as_they_were),
		cmocka_unit_test(snapshot_option_leaves_the_image_alone),
		cmocka_unit_test(raw_images),
		cmocka_unit_test(kill_amid_writes),
		cmocka_unit_test(hostile_images),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
