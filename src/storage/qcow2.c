/*
 * qcow2 images, versions 2 and 3: "qcow2 Image File Format" (docs/interop/qcow2). Reads standard, zero and
 * zlib-compressed clusters and backing files; writes standard clusters.
 *
 * A process can be killed between any two writes, so each change is made in an order in which the file is valid after
 * every step: a cluster is counted before it is filled, filled before a table points to it, and given up only after
 * nothing does. The worst that is left behind is a counted cluster without a user. New clusters are taken at the end of
 * the file.
 *
 * The file is untrusted: offsets from tables are checked for alignment and for lying in the file before they are used.
 * Refused: encryption, external data files, zstd, extended L2 entries. Internal snapshots are kept intact, not used.
 */
#include "base/bits.h"
#include "storage/block_driver.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define COPIED	    BIT(63)
#define COMPRESSED  BIT(62)
#define ZERO	    BIT(0)
#define OFFSET_MASK BITS(55, 9)

enum { INCOMPATIBLE_DIRTY = 1, INCOMPATIBLE_CORRUPT = 2 };
enum { EXTENSION_END = 0, FORMAT_NAME = (int)0xe2792aca };
enum { L1_MAX = 32 << 20, REFCOUNT_TABLE_MAX = 8 << 20, CACHE = 32 };

/* A cluster of a table, as on disk (big-endian). */
struct cached {
	uint64_t offset; /* in the file; 0: empty */
	uint64_t used;	 /* when last, in look-ups */
	uint8_t *bytes;
};

struct qcow2 {
	struct block block;
	int fd;
	unsigned version, cluster_bits, refcount_order;
	uint64_t cluster_size;
	uint64_t end; /* of the file, in whole clusters: where new ones go */
	uint64_t *l1;
	uint64_t l1_size, l1_offset;
	uint64_t *refcount_table;
	uint64_t refcount_table_size, refcount_table_offset; /* entries; bytes */
	struct cached l2[CACHE], refcounts[CACHE];
	uint64_t look_ups;
	struct block *backing;
	uint8_t *buffer;	 /* one cluster */
	uint8_t *unpacked;	 /* one cluster: the last compressed one read */
	uint64_t unpacked_entry; /* its L2 entry, 0: none */
};

static uint64_t be_read(const uint8_t *bytes, unsigned size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | *bytes++;
	return value;
}

static void be_write(uint8_t *bytes, unsigned size, uint64_t value)
{
	while (size--) {
		bytes[size] = (uint8_t)value;
		value >>= 8;
	}
}

/* May a table or data cluster be at this offset? */
static bool good_offset(const struct qcow2 *q, uint64_t offset)
{
	return offset && is_aligned(offset, q->cluster_size) && offset < q->end;
}

/* A table's cluster through a cache. NULL: the host failed. */
static struct cached *load(struct qcow2 *q, struct cached cache[CACHE], uint64_t offset)
{
	struct cached *oldest = &cache[0];

	for (unsigned i = 0; i < CACHE; i++) {
		if (cache[i].offset == offset) {
			cache[i].used = ++q->look_ups;
			return &cache[i];
		}
		if (cache[i].used < oldest->used)
			oldest = &cache[i];
	}
	if (!oldest->bytes)
		oldest->bytes = xcalloc(1, q->cluster_size);
	oldest->offset = 0;
	if (!file_read_at(q->fd, offset, oldest->bytes, q->cluster_size))
		return NULL;
	oldest->offset = offset;
	oldest->used = ++q->look_ups;
	return oldest;
}

/* Change `size` bytes of a cached table, in memory once the file has them. */
static bool store(struct qcow2 *q, struct cached *table, uint64_t at, unsigned size, uint64_t value)
{
	uint8_t bytes[8];

	be_write(bytes, size, value);
	if (!file_write_at(q->fd, table->offset + at, bytes, size))
		return false;
	memcpy(table->bytes + at, bytes, size);
	return true;
}

/* "Host cluster management": counts of 1 to 64 bits. Those below a byte fill it from its low end. */
static uint64_t get_count(const struct qcow2 *q, const uint8_t *bytes, uint64_t index)
{
	unsigned bits = 1u << q->refcount_order;

	if (bits >= 8)
		return be_read(bytes + index * (bits / 8), bits / 8);
	return bytes[index * bits / 8] >> (index * bits % 8) & ((1u << bits) - 1);
}

static void put_count(const struct qcow2 *q, uint8_t *bytes, uint64_t index, uint64_t count)
{
	unsigned bits = 1u << q->refcount_order, shift = (unsigned)(index * bits % 8);
	uint8_t *byte = bytes + index * bits / 8;

	if (bits >= 8)
		be_write(byte, bits / 8, count);
	else
		*byte = (uint8_t)((*byte & ~(((1u << bits) - 1) << shift)) | (unsigned)count << shift);
}

static uint64_t counts_per_block(const struct qcow2 *q)
{
	return (q->cluster_size * 8) >> q->refcount_order;
}

/* The block that counts a cluster. *block is NULL when there is none yet. False: broken image or host failure. */
static bool find_counts(struct qcow2 *q, uint64_t cluster, struct cached **block)
{
	uint64_t index = cluster / counts_per_block(q), offset;

	*block = NULL;
	if (index >= q->refcount_table_size || q->refcount_table[index] == 0)
		return true;
	offset = q->refcount_table[index];
	if (!good_offset(q, offset))
		return false;
	*block = load(q, q->refcounts, offset);
	return *block != NULL;
}

static bool set_count(struct qcow2 *q, struct cached *block, uint64_t cluster, uint64_t count)
{
	unsigned bits = 1u << q->refcount_order;
	uint64_t index = cluster % counts_per_block(q), at = index * bits / 8;
	uint8_t copy[8];

	if (bits >= 8)
		return store(q, block, at, bits / 8, count);
	copy[0] = block->bytes[at];
	put_count(q, copy, index * bits % 8 / bits, count);
	return store(q, block, at, 1, copy[0]);
}

/* Give up one use of a cluster. A broken count is left alone: a leak is allowed, losing a used cluster is not. */
static void drop(struct qcow2 *q, uint64_t offset)
{
	uint64_t cluster = offset >> q->cluster_bits, count;
	struct cached *block;

	if (!find_counts(q, cluster, &block) || !block)
		return;
	count = get_count(q, block->bytes, cluster % counts_per_block(q));
	if (count)
		(void)!set_count(q, block, cluster, count - 1);
}

/*
 * The table is full: a larger one, together with the count blocks for the range in which all this lies. They count
 * themselves, and are complete before the header names them.
 */
static bool grow_refcount_table(struct qcow2 *q, uint64_t cluster)
{
	uint64_t per_block = counts_per_block(q), first = cluster / per_block, blocks = 1, table_clusters, entries,
		 total;
	uint64_t old_offset = q->refcount_table_offset, old_size = q->refcount_table_size, *table;
	uint8_t header[12], *bytes;
	bool ok = true;

	for (;; blocks++) {
		entries = (first + blocks) * 3 / 2 + 1;
		table_clusters = (entries * 8 + q->cluster_size - 1) >> q->cluster_bits;
		total = blocks + table_clusters;
		if (cluster + total <= (first + blocks) * per_block)
			break;
	}
	entries = table_clusters * q->cluster_size / 8;
	if (entries * 8 > REFCOUNT_TABLE_MAX)
		return false;
	bytes = xcalloc(blocks, q->cluster_size);
	for (uint64_t i = 0; i < total; i++)
		put_count(q, bytes + ((cluster + i) / per_block - first) * q->cluster_size, (cluster + i) % per_block,
			  1);
	ok = file_write_at(q->fd, cluster << q->cluster_bits, bytes, blocks * q->cluster_size);
	free(bytes);

	table = xcalloc(entries, 8);
	memcpy(table, q->refcount_table, old_size * 8);
	for (uint64_t i = 0; i < blocks; i++)
		table[first + i] = (cluster + i) << q->cluster_bits;
	bytes = xcalloc(entries, 8);
	for (uint64_t i = 0; i < entries; i++)
		be_write(bytes + 8 * i, 8, table[i]);
	ok = ok && file_write_at(q->fd, (cluster + blocks) << q->cluster_bits, bytes, entries * 8);
	free(bytes);

	be_write(header, 8, (cluster + blocks) << q->cluster_bits);
	be_write(header + 8, 4, table_clusters);
	if (!ok || !file_write_at(q->fd, 48, header, sizeof(header))) {
		free(table);
		return false;
	}
	free(q->refcount_table);
	q->refcount_table = table;
	q->refcount_table_size = entries;
	q->refcount_table_offset = (cluster + blocks) << q->cluster_bits;
	q->end = max_u64(q->end, (cluster + total) << q->cluster_bits);
	for (uint64_t i = 0; i < old_size * 8; i += q->cluster_size)
		drop(q, old_offset + i);
	return true;
}

/* A new count block for the range of `cluster`, which it becomes itself and counts. */
static bool add_counts(struct qcow2 *q, uint64_t cluster)
{
	uint64_t index = cluster / counts_per_block(q), offset = cluster << q->cluster_bits;
	uint8_t entry[8];

	if (index >= q->refcount_table_size)
		return grow_refcount_table(q, cluster);
	memset(q->buffer, 0, q->cluster_size);
	put_count(q, q->buffer, cluster % counts_per_block(q), 1);
	be_write(entry, 8, offset);
	if (!file_write_at(q->fd, offset, q->buffer, q->cluster_size) ||
	    !file_write_at(q->fd, q->refcount_table_offset + 8 * index, entry, 8))
		return false;
	q->refcount_table[index] = offset;
	q->end = max_u64(q->end, offset + q->cluster_size);
	return true;
}

/* A counted cluster at the end of the file; 0: none. Destroys q->buffer. */
static uint64_t allocate(struct qcow2 *q)
{
	for (;;) {
		uint64_t cluster = q->end >> q->cluster_bits;
		struct cached *block;

		if (q->end >= BIT(55) || !find_counts(q, cluster, &block))
			return 0;
		if (!block) {
			if (!add_counts(q, cluster))
				return 0;
			continue;
		}
		q->end += q->cluster_size;
		/* Counted although beyond the end: somebody's, leave it. */
		if (get_count(q, block->bytes, cluster % counts_per_block(q)))
			continue;
		return set_count(q, block, cluster, 1) ? cluster << q->cluster_bits : 0;
	}
}

/* The L2 table for a guest offset; *table is NULL when there is none. */
static bool find_l2(struct qcow2 *q, uint64_t offset, struct cached **table)
{
	uint64_t entry = q->l1[offset >> (2 * q->cluster_bits - 3)];

	*table = NULL;
	if ((entry & OFFSET_MASK) == 0)
		return true;
	if (!good_offset(q, entry & OFFSET_MASK))
		return false;
	*table = load(q, q->l2, entry & OFFSET_MASK);
	return *table != NULL;
}

static uint64_t l2_index(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> q->cluster_bits) & ((q->cluster_size / 8) - 1);
}

/* "Compressed Clusters Descriptor". */
static uint64_t compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *size)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t offset = entry & (BIT(x) - 1);

	*size = (bits_get(entry, 61, x) + 1) * 512 - (offset & 511);
	return offset;
}

static bool unpack(struct qcow2 *q, uint64_t entry)
{
	uint64_t size, offset = compressed_place(q, entry, &size);
	z_stream stream = {0};
	uint8_t *packed;
	bool ok;

	if (q->unpacked_entry == entry)
		return true;
	if (offset >= q->end)
		return false;
	packed = xcalloc(1, size); /* at most a cluster and a half */
	q->unpacked_entry = 0;
	ok = file_read_at(q->fd, offset, packed, size) && inflateInit2(&stream, -12) == Z_OK;
	if (ok) {
		stream.next_in = packed;
		stream.avail_in = (uInt)size;
		stream.next_out = q->unpacked;
		stream.avail_out = (uInt)q->cluster_size;
		ok = inflate(&stream, Z_FINISH) != Z_STREAM_ERROR && stream.avail_out == 0;
		inflateEnd(&stream);
	}
	free(packed);
	if (ok)
		q->unpacked_entry = entry;
	return ok;
}

static bool read_backing(struct qcow2 *q, uint64_t offset, uint8_t *to, size_t size)
{
	size_t have = 0;

	if (q->backing && offset < q->backing->size) {
		have = min_u64(size, q->backing->size - offset);
		if (!block_read(q->backing, offset, to, have))
			return false;
	}
	memset(to + have, 0, size - have);
	return true;
}

/* Bytes of one cluster, as its L2 entry says. */
static bool read_entry(struct qcow2 *q, uint64_t entry, uint64_t offset, uint8_t *to, size_t size)
{
	uint64_t inside = offset & (q->cluster_size - 1), host = entry & OFFSET_MASK;

	if (entry & COMPRESSED) {
		if (!unpack(q, entry))
			return false;
		memcpy(to, q->unpacked + inside, size);
		return true;
	}
	if (q->version >= 3 && (entry & ZERO)) {
		memset(to, 0, size);
		return true;
	}
	if (!host)
		return read_backing(q, offset, to, size);
	return good_offset(q, host) && file_read_at(q->fd, host + inside, to, size);
}

static bool qcow2_read(struct block *block, uint64_t offset, void *to, size_t size)
{
	struct qcow2 *q = (struct qcow2 *)block;
	uint8_t *bytes = to;

	while (size) {
		size_t part = min_u64(size, q->cluster_size - (offset & (q->cluster_size - 1)));
		struct cached *table;
		uint64_t entry = 0;

		if (!find_l2(q, offset, &table))
			return false;
		if (table)
			entry = be_read(table->bytes + 8 * l2_index(q, offset), 8);
		if (!read_entry(q, entry, offset, bytes, part))
			return false;
		bytes += part;
		offset += part;
		size -= part;
	}
	return true;
}

/* An L2 table that is ours alone: a new one, or a copy of one that a snapshot uses too. */
static bool own_l2(struct qcow2 *q, uint64_t offset, struct cached **table)
{
	uint64_t index = offset >> (2 * q->cluster_bits - 3), old = q->l1[index], fresh;
	uint8_t entry[8];

	if (!find_l2(q, offset, table))
		return false;
	if (*table && (old & COPIED))
		return true;
	fresh = allocate(q);
	if (!fresh)
		return false;
	/* Allocation does not touch the L2 cache, so *table still holds. */
	if (*table)
		memcpy(q->buffer, (*table)->bytes, q->cluster_size);
	else
		memset(q->buffer, 0, q->cluster_size);
	be_write(entry, 8, fresh | COPIED);
	if (!file_write_at(q->fd, fresh, q->buffer, q->cluster_size) ||
	    !file_write_at(q->fd, q->l1_offset + 8 * index, entry, 8))
		return false;
	q->l1[index] = fresh | COPIED;
	if (*table)
		drop(q, old & OFFSET_MASK);
	*table = load(q, q->l2, fresh);
	return *table != NULL;
}

static void drop_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t size, offset;

	if (!(entry & COMPRESSED)) {
		if (entry & OFFSET_MASK)
			drop(q, entry & OFFSET_MASK);
		return;
	}
	offset = compressed_place(q, entry, &size);
	q->unpacked_entry = 0;
	for (uint64_t c = offset >> q->cluster_bits; c <= (offset + size - 1) >> q->cluster_bits; c++)
		drop(q, c << q->cluster_bits);
}

/* Part of a cluster that needs a new place, or a cluster of zeros that keeps its own: the rest is filled in. */
static bool write_whole(struct qcow2 *q, struct cached *table, uint64_t entry, uint64_t offset, const uint8_t *from,
			size_t size)
{
	uint64_t start = offset & ~(q->cluster_size - 1), inside = offset - start;
	bool keep = !(entry & COMPRESSED) && (entry & COPIED) && good_offset(q, entry & OFFSET_MASK);
	uint64_t table_offset = table->offset, host = keep ? entry & OFFSET_MASK : allocate(q);

	if (!host || !read_entry(q, entry, start, q->buffer, q->cluster_size))
		return false;
	memcpy(q->buffer + inside, from, size);
	if (!file_write_at(q->fd, host, q->buffer, q->cluster_size))
		return false;
	table = load(q, q->l2, table_offset);
	if (!table || !store(q, table, 8 * l2_index(q, offset), 8, host | COPIED))
		return false;
	if (!keep)
		drop_entry(q, entry);
	return true;
}

static bool qcow2_write(struct block *block, uint64_t offset, const void *from, size_t size)
{
	struct qcow2 *q = (struct qcow2 *)block;
	const uint8_t *bytes = from;

	while (size) {
		uint64_t inside = offset & (q->cluster_size - 1), entry;
		size_t part = min_u64(size, q->cluster_size - inside);
		struct cached *table;
		bool zero;

		if (!own_l2(q, offset, &table))
			return false;
		entry = be_read(table->bytes + 8 * l2_index(q, offset), 8);
		zero = q->version >= 3 && (entry & ZERO);
		if ((entry & COPIED) && !(entry & COMPRESSED) && !zero && (entry & OFFSET_MASK)) {
			if (!good_offset(q, entry & OFFSET_MASK) ||
			    !file_write_at(q->fd, (entry & OFFSET_MASK) + inside, bytes, part))
				return false;
		} else if (!write_whole(q, table, entry, offset, bytes, part)) {
			return false;
		}
		bytes += part;
		offset += part;
		size -= part;
	}
	return true;
}

static bool qcow2_flush(struct block *block)
{
	return fdatasync(((struct qcow2 *)block)->fd) == 0;
}

static void qcow2_close(struct block *block)
{
	struct qcow2 *q = (struct qcow2 *)block;

	if (!block->read_only)
		fdatasync(q->fd);
	close(q->fd);
	for (unsigned i = 0; i < CACHE; i++) {
		free(q->l2[i].bytes);
		free(q->refcounts[i].bytes);
	}
	block_close(q->backing);
	free(q->l1);
	free(q->refcount_table);
	free(q->buffer);
	free(q->unpacked);
	free(q);
}

static const struct block_driver qcow2_driver = {qcow2_read, qcow2_write, qcow2_flush, qcow2_close};

static bool read_table(struct qcow2 *q, uint64_t offset, uint64_t entries, uint64_t **table)
{
	uint8_t *bytes = xcalloc(entries + 1, 8);

	*table = xcalloc(entries + 1, 8);
	if (!file_read_at(q->fd, offset, bytes, entries * 8)) {
		free(bytes);
		return false;
	}
	for (uint64_t i = 0; i < entries; i++)
		(*table)[i] = be_read(bytes + 8 * i, 8);
	free(bytes);
	return true;
}

/* "Header extensions": the backing file's format, which must not be guessed when it is said. */
static enum block_format backing_format(struct qcow2 *q, uint64_t at)
{
	uint8_t extension[8], name[8];

	while (at + 8 <= q->cluster_size && file_read_at(q->fd, at, extension, 8)) {
		uint32_t type = (uint32_t)be_read(extension, 4), size = (uint32_t)be_read(extension + 4, 4);

		if (type == EXTENSION_END || size > q->cluster_size)
			break;
		if (type == (uint32_t)FORMAT_NAME && size <= sizeof(name) && file_read_at(q->fd, at + 8, name, size))
			return size == 3 && !memcmp(name, "raw", 3) ? BLOCK_RAW : BLOCK_QCOW2;
		at += 8 + ((size + 7) & ~UINT64_C(7));
	}
	return BLOCK_PROBE;
}

static bool open_backing(struct qcow2 *q, const char *name, const uint8_t *header, unsigned depth, struct error *error)
{
	uint64_t offset = be_read(header + 8, 8), size = be_read(header + 16, 4);
	uint64_t extensions = q->version >= 3 ? be_read(header + 100, 4) : 72;
	const char *slash = strrchr(name, '/');
	char backing[1024], *path;

	if (!offset)
		return true;
	if (size >= sizeof(backing) || offset > q->cluster_size || size > q->cluster_size - offset)
		return error_set(error, "the name of the backing file of '%s' is broken", name);
	if (!file_read_at(q->fd, offset, backing, size))
		return error_set(error, "could not read '%s': %s", name, strerror(errno));
	backing[size] = 0;
	path = backing[0] == '/' || !slash ? xstrdup(backing)
					   : xasprintf("%.*s/%s", (int)(slash - name), name, backing);
	q->backing = open_image(path, backing_format(q, extensions), true, depth + 1, error);
	free(path);
	return q->backing || error_prefix(error, "backing file of '%s'", name);
}

static bool check_features(struct qcow2 *q, const char *name, const uint8_t *header, struct error *error)
{
	uint64_t incompatible, header_length;

	q->refcount_order = 4;
	if (q->version == 2)
		return true;
	incompatible = be_read(header + 72, 8);
	header_length = be_read(header + 100, 4);
	q->refcount_order = (unsigned)be_read(header + 96, 4);
	if (incompatible & ~(uint64_t)(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT))
		return error_set(error, "the image '%s' uses a feature that is not supported (%#llx)", name,
				 (unsigned long long)incompatible);
	if (incompatible && !q->block.read_only)
		return error_set(error, "the image '%s' is marked as damaged: repair it with qemu-img check -r all",
				 name);
	if (q->refcount_order > 6 || header_length < 104 || header_length > q->cluster_size)
		return error_set(error, "the header of '%s' is broken", name);
	return true;
}

static bool read_header(struct qcow2 *q, const char *name, unsigned depth, struct error *error)
{
	uint8_t header[112];
	uint64_t autoclear = 0, needed, l1_span, table_clusters;
	struct stat status;

	if (!file_read_at(q->fd, 0, header, sizeof(header)) || fstat(q->fd, &status))
		return error_set(error, "could not read '%s': %s", name, strerror(errno));
	q->version = (unsigned)be_read(header + 4, 4);
	q->cluster_bits = (unsigned)be_read(header + 20, 4);
	if (memcmp(header, "QFI\xfb", 4) || q->version < 2 || q->version > 3)
		return error_set(error, "'%s' is not a qcow2 image of version 2 or 3", name);
	if (q->cluster_bits < 9 || q->cluster_bits > 21)
		return error_set(error, "the header of '%s' is broken: clusters of 2^%u bytes", name, q->cluster_bits);
	q->cluster_size = UINT64_C(1) << q->cluster_bits;
	if (be_read(header + 32, 4))
		return error_set(error, "the image '%s' is encrypted, which is not supported", name);
	if (!check_features(q, name, header, error))
		return false;
	q->end = ((uint64_t)status.st_size + q->cluster_size - 1) & ~(q->cluster_size - 1);
	if (S_ISBLK(status.st_mode))
		return error_set(error, "'%s': qcow2 on a block device is not supported", name);

	q->block.size = be_read(header + 24, 8);
	q->l1_size = be_read(header + 36, 4);
	q->l1_offset = be_read(header + 40, 8);
	q->refcount_table_offset = be_read(header + 48, 8);
	table_clusters = be_read(header + 56, 4);
	l1_span = UINT64_C(1) << (2 * q->cluster_bits - 3);
	needed = q->block.size / l1_span + !!(q->block.size % l1_span);
	q->refcount_table_size = table_clusters << (q->cluster_bits - 3);
	if (q->block.size % 512 || q->block.size > BIT(56) || q->l1_size * 8 > L1_MAX || needed > q->l1_size ||
	    (q->l1_size && !good_offset(q, q->l1_offset)) || !good_offset(q, q->refcount_table_offset) ||
	    q->refcount_table_size * 8 > REFCOUNT_TABLE_MAX)
		return error_set(error, "the header of '%s' is broken: sizes or offsets of its tables are impossible",
				 name);
	if (!read_table(q, q->l1_offset, q->l1_size, &q->l1) ||
	    !read_table(q, q->refcount_table_offset, q->refcount_table_size, &q->refcount_table))
		return error_set(error, "could not read the tables of '%s': %s", name, strerror(errno));
	if (!open_backing(q, name, header, depth, error))
		return false;
	/* "autoclear_features": who writes without knowing a feature clears its bit. We know none. */
	if (q->version >= 3 && !q->block.read_only && be_read(header + 88, 8) &&
	    !file_write_at(q->fd, 88, &autoclear, 8))
		return error_set(error, "could not write to '%s': %s", name, strerror(errno));
	return true;
}

struct block *qcow2_open(int fd, const char *name, bool read_only, unsigned depth, struct error *error)
{
	struct qcow2 *q = xcalloc(1, sizeof(*q));

	q->block.driver = &qcow2_driver;
	q->block.read_only = read_only;
	q->fd = fd;
	if (!read_header(q, name, depth, error)) {
		qcow2_close(&q->block);
		return NULL;
	}
	q->buffer = xcalloc(1, q->cluster_size);
	q->unpacked = xcalloc(1, q->cluster_size);
	return &q->block;
}
