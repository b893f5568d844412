/*
 * qcow2 images from strangers. Input: four operations of 8 bytes {offset in the disk: a shift and 5 bytes, length,
 * kind}, then the image.
 */
#include "storage/block.h"
#include "whole.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS = 4, OPERATION = 8 };

static void operate(struct block *block, const uint8_t *op)
{
	uint64_t offset = (load_le(op + 1, 5) << op[0] % 32) % (block_size(block) + 1);
	uint8_t *bytes = malloc((size_t)op[6] * 700 + 1);
	size_t size = min_u64((uint64_t)op[6] * 700, block_size(block) - offset);

	memset(bytes, op[7], size);
	if (op[7] & 1)
		(void)!block_write(block, offset, bytes, size);
	if (op[7] & 2)
		(void)!block_read(block, offset, bytes, size);
	if (op[7] & 4)
		(void)!block_flush(block);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory_file file;
	struct block *block;
	struct error error;

	if (size < OPERATIONS * OPERATION || size > 65536)
		return 0;
	if (!file.name[0])
		memory_file_create(&file);
	memory_file_set(&file, data + OPERATIONS * OPERATION, size - OPERATIONS * OPERATION);
	block = block_open(file.name, BLOCK_QCOW2, data[7] & 8, data[7] & 16, &error);
	if (!block)
		return 0;
	for (unsigned i = 0; i < OPERATIONS; i++)
		operate(block, data + i * OPERATION);
	block_close(block);
	return 0;
}
