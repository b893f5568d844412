/*
 * Regions, the flat views built from them, and accesses that find their way through a view.
 *
 * Memory as usual, memory as seen in SMM, and the I/O ports are three views of one kind: sorted spans without holes,
 * found by binary search. A view is rebuilt at once when a region changes; an access copies what it needs from a span
 * before it calls a device, because the device may change the map.
 */
#include "bus/bus.h"
#include "base/bits.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#define DEPTH_MAX 8 /* of accesses that devices make while they are accessed */

struct region {
	struct bus *bus;
	const char *name;
	enum region_kind kind;
	uint64_t base, size;
	uint8_t *bytes; /* RAM, ROM and memory regions */
	const struct device_ops *ops;
	void *device;
	int priority;
	bool port;
	bool enabled, readable, writable;
	enum region_view view;
};

struct span {
	uint64_t first, last;
	struct region *read, *write;
};

struct flat {
	struct span *spans;
	unsigned count;
	unsigned hit; /* where the last search ended */
};

/* Devices whose handlers are running, innermost first. */
struct frame {
	const void *device;
	const struct frame *outer;
	unsigned depth;
};

enum { NORMAL, SMM, PORTS, FLATS };

struct bus {
	const struct log *log;
	struct region **regions; /* in order of registration */
	unsigned count;
	struct flat *flat; /* [FLATS] */
	const struct frame *frame;
	uint64_t generation;
	uint8_t *ram;
	uint64_t ram_size;
	void (*changed)(void *ctx);
	void *changed_ctx;
	void (*written)(void *ctx, const uint8_t *host, size_t size);
	void *written_ctx;
};

static uint64_t region_last(const struct region *region)
{
	uint64_t last = region->base + region->size - 1;

	return last < region->base ? UINT64_MAX : last; /* a BAR may be put where it does not fit */
}

static int compare_addresses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool answers(const struct region *region, unsigned which)
{
	if (!region->enabled || region->port != (which == PORTS))
		return false;
	return which == PORTS || (region->view & (which == SMM ? VIEW_SMM : VIEW_NORMAL));
}

/* The answers at one address; `active` is in the order of precedence. */
static void resolve(struct region **active, unsigned count, struct span *span)
{
	span->read = span->write = NULL;
	for (unsigned i = 0; i < count && !(span->read && span->write); i++) {
		struct region *region = active[i];

		if (span->first < region->base || span->first > region_last(region))
			continue;
		if (!span->read && region->readable)
			span->read = region;
		if (!span->write)
			span->write = region;
	}
}

static void rebuild(struct bus *bus, unsigned which)
{
	struct flat *flat = &bus->flat[which];
	struct region **active = xcalloc(bus->count + 1, sizeof(*active));
	uint64_t *starts = xcalloc(2 * bus->count + 1, sizeof(*starts));
	struct span *spans = xcalloc(2 * bus->count + 1, sizeof(*spans));
	unsigned actives = 0, points = 1, count = 0;

	for (unsigned i = 0; i < bus->count; i++) {
		struct region *region = bus->regions[i];
		unsigned at = actives;

		if (!answers(region, which))
			continue;
		for (; at && active[at - 1]->priority < region->priority; at--)
			active[at] = active[at - 1];
		active[at] = region;
		actives++;
		starts[points++] = region->base;
		if (region_last(region) != UINT64_MAX)
			starts[points++] = region_last(region) + 1;
	}
	qsort(starts, points, sizeof(*starts), compare_addresses);
	for (unsigned i = 0; i < points; i++) {
		struct span span = {.first = starts[i]};

		if (i && starts[i] == starts[i - 1])
			continue;
		resolve(active, actives, &span);
		if (count && spans[count - 1].read == span.read && spans[count - 1].write == span.write)
			continue;
		if (count)
			spans[count - 1].last = span.first - 1;
		spans[count++] = span;
	}
	spans[count - 1].last = UINT64_MAX;
	free(flat->spans);
	*flat = (struct flat){.spans = spans, .count = count};
	free(starts);
	free(active);
}

static void map_changed(struct bus *bus, bool port)
{
	if (port) {
		rebuild(bus, PORTS);
		return;
	}
	rebuild(bus, NORMAL);
	rebuild(bus, SMM);
	bus->generation++;
	if (bus->changed)
		bus->changed(bus->changed_ctx);
}

static const struct span *find(struct flat *flat, uint64_t address)
{
	const struct span *span = &flat->spans[flat->hit];
	unsigned low = 0, high = flat->count - 1;

	if (likely(address >= span->first && address <= span->last))
		return span;
	while (low < high) {
		unsigned middle = (low + high + 1) / 2;

		if (flat->spans[middle].first <= address)
			low = middle;
		else
			high = middle - 1;
	}
	flat->hit = low;
	return &flat->spans[low];
}

struct bus *bus_create(const struct log *log)
{
	struct bus *bus = xcalloc(1, sizeof(*bus));

	bus->log = log;
	bus->flat = xcalloc(FLATS, sizeof(*bus->flat));
	for (unsigned i = 0; i < FLATS; i++)
		rebuild(bus, i);
	return bus;
}

void bus_destroy(struct bus *bus)
{
	for (unsigned i = 0; i < bus->count; i++)
		free(bus->regions[i]);
	for (unsigned i = 0; i < FLATS; i++)
		free(bus->flat[i].spans);
	if (bus->ram)
		munmap(bus->ram, bus->ram_size);
	free(bus->flat);
	free(bus->regions);
	free(bus);
}

bool bus_create_ram(struct bus *bus, uint64_t size, struct error *error)
{
	void *ram;

	assert(!bus->ram && size && is_aligned(size, 4096));
	ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		return error_set(error, "the host cannot give the machine %llu MiB of memory",
				 (unsigned long long)(size >> 20));
	bus->ram = ram;
	bus->ram_size = size;
	return true;
}

uint8_t *bus_ram(const struct bus *bus)
{
	return bus->ram;
}

uint64_t bus_ram_size(const struct bus *bus)
{
	return bus->ram_size;
}

static struct region *add(struct bus *bus, struct region from)
{
	struct region *region = xcalloc(1, sizeof(*region));

	assert(from.size);
	*region = from;
	region->bus = bus;
	region->enabled = region->readable = true;
	region->view = VIEW_BOTH;
	bus->regions = xrealloc(bus->regions, (bus->count + 1) * sizeof(*bus->regions));
	bus->regions[bus->count++] = region;
	map_changed(bus, region->port);
	return region;
}

struct region *bus_add_ram(struct bus *bus, pa_t base, uint64_t size, uint64_t ram_offset, int priority)
{
	assert(is_aligned(base | size | ram_offset, 4096) && ram_offset <= bus->ram_size &&
	       size <= bus->ram_size - ram_offset);
	return add(bus, (struct region){.name = "ram",
					.kind = REGION_RAM,
					.base = base,
					.size = size,
					.bytes = bus->ram + ram_offset,
					.priority = priority,
					.writable = true});
}

struct region *bus_add_rom(struct bus *bus, pa_t base, uint64_t size, uint8_t *bytes, int priority)
{
	assert(is_aligned(base | size, 4096));
	return add(bus, (struct region){.name = "rom",
					.kind = REGION_ROM,
					.base = base,
					.size = size,
					.bytes = bytes,
					.priority = priority});
}

struct region *bus_add_memory(struct bus *bus, const char *name, pa_t base, uint64_t size, uint8_t *bytes, int priority)
{
	return add(bus, (struct region){.name = name,
					.kind = REGION_RAM,
					.base = base,
					.size = size,
					.bytes = bytes,
					.priority = priority,
					.writable = true});
}

struct region *bus_add_device(struct bus *bus, const char *name, pa_t base, uint64_t size, const struct device_ops *ops,
			      void *device, int priority)
{
	assert(!ops->min_size || size % ops->min_size == 0);
	return add(bus, (struct region){.name = name,
					.kind = REGION_DEVICE,
					.base = base,
					.size = size,
					.ops = ops,
					.device = device,
					.priority = priority,
					.writable = true});
}

struct region *bus_add_ports(struct bus *bus, const char *name, uint16_t base, unsigned size,
			     const struct device_ops *ops, void *device)
{
	assert(base + size <= 65536 && (!ops->min_size || size % ops->min_size == 0));
	return add(bus, (struct region){.name = name,
					.kind = REGION_DEVICE,
					.base = base,
					.size = size,
					.ops = ops,
					.device = device,
					.port = true,
					.writable = true});
}

const char *region_name(const struct region *region)
{
	return region->name;
}

void region_move(struct region *region, uint64_t base)
{
	bool was = region->enabled;

	if (region->base == base)
		return;
	region->base = base;
	if (was)
		map_changed(region->bus, region->port);
}

void region_enable(struct region *region, bool enabled)
{
	if (region->enabled == enabled)
		return;
	region->enabled = enabled;
	map_changed(region->bus, region->port);
}

void region_set_view(struct region *region, enum region_view view)
{
	if (region->view == view)
		return;
	region->view = view;
	map_changed(region->bus, region->port);
}

void region_set_writable(struct region *region, bool writable)
{
	if (region->writable == writable)
		return;
	region->writable = writable;
	map_changed(region->bus, region->port);
}

void region_set_readable(struct region *region, bool readable)
{
	if (region->readable == readable)
		return;
	region->readable = readable;
	map_changed(region->bus, region->port);
}

void bus_lookup(const struct bus *bus, pa_t pa, bool smm, struct bus_span *span)
{
	const struct span *found = find(&bus->flat[smm ? SMM : NORMAL], pa);

	*span = (struct bus_span){.base = found->first, .end = found->last + 1, .region = found->read};
	if (found->read && found->read->bytes) {
		span->host = found->read->bytes + (found->first - found->read->base);
		span->writable = found->read == found->write && found->read->writable;
	}
}

uint64_t bus_generation(const struct bus *bus)
{
	return bus->generation;
}

void bus_on_change(struct bus *bus, void (*changed)(void *ctx), void *ctx)
{
	bus->changed = changed;
	bus->changed_ctx = ctx;
}

void bus_on_ram_write(struct bus *bus, void (*written)(void *ctx, const uint8_t *host, size_t size), void *ctx)
{
	bus->written = written;
	bus->written_ctx = ctx;
}

/* How many of `size` bytes at offset one call of the handler may carry: a power of two. */
static unsigned piece(const struct region *region, uint64_t offset, uint64_t size)
{
	unsigned most = region->ops->max_size ? region->ops->max_size : region->port ? 4 : 8, bytes = 1;

	while (2 * bytes <= most && 2 * bytes <= size && (region->port || is_aligned(offset, 2 * bytes)))
		bytes *= 2;
	return bytes;
}

/*
 * May a device's handler be entered from here? DMA must not come back to a device that is at work, however a guest
 * points it.
 */
static bool may_enter(const struct bus *bus, const struct region *region)
{
	if (!bus->frame)
		return true;
	if (bus->frame->depth >= DEPTH_MAX)
		return false;
	for (const struct frame *frame = bus->frame; frame; frame = frame->outer)
		if (frame->device == region->device)
			return false;
	return true;
}

static uint64_t device_read(struct bus *bus, struct region *region, uint64_t offset, unsigned size)
{
	struct frame frame = {region->device, bus->frame, bus->frame ? bus->frame->depth + 1 : 1};
	unsigned least = region->ops->min_size, shift = 0;
	uint64_t value;

	bus->frame = &frame;
	if (unlikely(size < least)) {
		shift = 8 * (unsigned)(offset & (least - 1));
		value = region->ops->read(region->device, offset & ~(uint64_t)(least - 1), least) >> shift;
	} else {
		value = region->ops->read(region->device, offset, size);
	}
	bus->frame = frame.outer;
	value &= bytes_mask(size);
	if (log_on(bus->log, LOG_IO))
		log_line(bus->log, LOG_IO, "%s read %s+%llx size %u: %llx", region->port ? "port" : "memory",
			 region->name, (unsigned long long)offset, size, (unsigned long long)value);
	return value;
}

static void device_write(struct bus *bus, struct region *region, uint64_t offset, unsigned size, uint64_t value)
{
	struct frame frame = {region->device, bus->frame, bus->frame ? bus->frame->depth + 1 : 1};

	value &= bytes_mask(size);
	if (log_on(bus->log, LOG_IO))
		log_line(bus->log, LOG_IO, "%s write %s+%llx size %u: %llx", region->port ? "port" : "memory",
			 region->name, (unsigned long long)offset, size, (unsigned long long)value);
	if (unlikely(size < region->ops->min_size)) {
		log_line(bus->log, LOG_GUEST_ERRORS, "write of %u bytes to %s+%llx, which takes no less than %u", size,
			 region->name, (unsigned long long)offset, region->ops->min_size);
		return;
	}
	bus->frame = &frame;
	region->ops->write(region->device, offset, size, value);
	bus->frame = frame.outer;
}

static void log_unclaimed(const struct bus *bus, const char *what, bool port, uint64_t address, uint64_t size)
{
	if (log_on(bus->log, LOG_GUEST_ERRORS))
		log_line(bus->log, LOG_GUEST_ERRORS, "%s of %llu bytes at %s %llx, where nothing answers", what,
			 (unsigned long long)size, port ? "port" : "address", (unsigned long long)address);
}

/*
 * Reads up to the end of one span and returns how many bytes that was; *answered becomes false when nothing was there.
 */
static uint64_t read_some(struct bus *bus, unsigned which, uint64_t address, uint8_t *to, uint64_t size, bool *answered)
{
	const struct span *span = find(&bus->flat[which], address);
	struct region *region = span->read;
	uint64_t length = min_u64(size - 1, span->last - address) + 1, offset;

	if (!region || (!region->bytes && !may_enter(bus, region))) {
		memset(to, 0xff, length);
		*answered = false;
		log_unclaimed(bus, "read", which == PORTS, address, length);
		return length;
	}
	offset = address - region->base;
	if (region->bytes) {
		memcpy(to, region->bytes + offset, length);
		return length;
	}
	length = piece(region, offset, length);
	store_le(to, (unsigned)length, device_read(bus, region, offset, (unsigned)length));
	return length;
}

static uint64_t write_some(struct bus *bus, unsigned which, uint64_t address, const uint8_t *from, uint64_t size,
			   bool *answered)
{
	const struct span *span = find(&bus->flat[which], address);
	struct region *region = span->write;
	uint64_t length = min_u64(size - 1, span->last - address) + 1, offset;

	if (!region || !region->writable || (!region->bytes && !may_enter(bus, region))) {
		*answered = false;
		log_unclaimed(bus, "write", which == PORTS, address, length);
		return length;
	}
	offset = address - region->base;
	if (region->bytes) {
		if (bus->written)
			bus->written(bus->written_ctx, region->bytes + offset, length);
		memcpy(region->bytes + offset, from, length);
		return length;
	}
	length = piece(region, offset, length);
	device_write(bus, region, offset, (unsigned)length, load_le(from, (unsigned)length));
	return length;
}

static uint64_t read_value(struct bus *bus, unsigned which, uint64_t address, unsigned size)
{
	uint8_t bytes[8];
	bool answered;

	for (unsigned done = 0; done < size;)
		done += (unsigned)read_some(bus, which, address + done, bytes + done, size - done, &answered);
	return load_le(bytes, size);
}

static void write_value(struct bus *bus, unsigned which, uint64_t address, unsigned size, uint64_t value)
{
	uint8_t bytes[8];
	bool answered;

	store_le(bytes, size, value);
	for (unsigned done = 0; done < size;)
		done += (unsigned)write_some(bus, which, address + done, bytes + done, size - done, &answered);
}

uint64_t bus_read(struct bus *bus, pa_t pa, unsigned size, bool smm)
{
	return read_value(bus, smm ? SMM : NORMAL, pa, size);
}

void bus_write(struct bus *bus, pa_t pa, unsigned size, uint64_t value, bool smm)
{
	write_value(bus, smm ? SMM : NORMAL, pa, size, value);
}

bool bus_read_bytes(struct bus *bus, pa_t pa, void *to, size_t size)
{
	bool answered = true;

	for (uint64_t done = 0; done < size;)
		done += read_some(bus, NORMAL, pa + done, (uint8_t *)to + done, size - done, &answered);
	return answered;
}

bool bus_write_bytes(struct bus *bus, pa_t pa, const void *from, size_t size)
{
	bool answered = true;

	for (uint64_t done = 0; done < size;)
		done += write_some(bus, NORMAL, pa + done, (const uint8_t *)from + done, size - done, &answered);
	return answered;
}

uint32_t bus_in(struct bus *bus, uint16_t port, unsigned size)
{
	return (uint32_t)read_value(bus, PORTS, port, size);
}

void bus_out(struct bus *bus, uint16_t port, unsigned size, uint32_t value)
{
	write_value(bus, PORTS, port, size, value);
}

void bus_state(struct bus *bus, struct state *state)
{
	state_section(state, "ram");
	if (state_restoring(state) && bus->ram && bus->written)
		bus->written(bus->written_ctx, bus->ram, bus->ram_size);
	state_memory(state, bus->ram, bus->ram_size);
}
