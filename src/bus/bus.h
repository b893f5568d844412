/*
 * The physical address space and the I/O ports: which RAM, ROM or device answers an address.
 *
 * Regions are registered once, can be moved, enabled and disabled (BARs, PAM, SMRAM), and overlap by priority. Two
 * views exist: the usual one and the one of a CPU in SMM, which may see other memory at A0000H and TSEG. The flat
 * result is rebuilt when a region changes and the generation tells whoever caches translations (mem/).
 */
#pragma once

#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "base/types.h"

struct bus;
struct region;

/*
 * A device's answer to an access. offset is from the region's start; size is 1, 2, 4 or 8 for memory and 1, 2 or 4 for
 * ports; accesses are split by the bus so that they never exceed max_size nor cross the region's end, and are combined
 * from min_size when the device only knows larger ones. Memory accesses are naturally aligned to offset; port accesses
 * come as the CPU made them. Values are little-endian, only the low size bytes count. A handler may change the map.
 * While it runs, DMA to a region of the same device is refused, so it is entered once.
 */
struct device_ops {
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
	uint8_t min_size; /* 0 means 1: smaller accesses are widened for reads and dropped for writes */
	uint8_t max_size; /* 0 means 8 (memory) or 4 (ports): larger accesses are split, low address first */
};

enum region_kind { REGION_RAM, REGION_ROM, REGION_DEVICE };
enum region_view { VIEW_NORMAL = 1, VIEW_SMM = 2, VIEW_BOTH = 3 };

struct bus *bus_create(const struct log *log);
void bus_destroy(struct bus *bus);

/*
 * The machine's RAM: one host mapping of `size` bytes (a multiple of 4 KiB) that costs host memory only where touched.
 * Where it appears in the physical address space is up to regions made with bus_add_ram().
 */
MUST_CHECK bool bus_create_ram(struct bus *bus, uint64_t size, struct error *error);
uint8_t *bus_ram(const struct bus *bus);
uint64_t bus_ram_size(const struct bus *bus);

/*
 * Memory regions. base and size are multiples of 4 KiB for RAM and ROM (device regions may be any). Higher priority
 * wins; RAM is 0 by custom, devices 10, overlays 20 and up, PCI BARs below 0: what the board decodes itself wins over
 * them. At the same priority the region registered first wins. Regions start enabled. They live as long as the bus.
 */
struct region *bus_add_ram(struct bus *bus, pa_t base, uint64_t size, uint64_t ram_offset, int priority);
/* Read-only bytes owned by the caller; writes are dropped. */
struct region *bus_add_rom(struct bus *bus, pa_t base, uint64_t size, uint8_t *bytes, int priority);
struct region *bus_add_device(struct bus *bus, const char *name, pa_t base, uint64_t size, const struct device_ops *ops,
			      void *device, int priority);
/* Device memory that CPUs may access directly, e.g. a frame buffer; owned by the caller. */
struct region *bus_add_memory(struct bus *bus, const char *name, pa_t base, uint64_t size, uint8_t *bytes,
			      int priority);

/* Port regions: base + size <= 65536. Where two overlap, the one registered first wins. */
struct region *bus_add_ports(struct bus *bus, const char *name, uint16_t base, unsigned size,
			     const struct device_ops *ops, void *device);

/* Change where and whether a region answers. Cheap when nothing changes. */
void region_move(struct region *region, uint64_t base);
void region_enable(struct region *region, bool enabled);
void region_set_view(struct region *region, enum region_view view);
/* RAM regions only: reads and writes answered by this region (PAM). Default both. Without write, writes are dropped. */
void region_set_writable(struct region *region, bool writable);
/* RAM regions only: without read, what lies below answers reads (PAM: "read ROM, write RAM"). */
void region_set_readable(struct region *region, bool readable);

/* What it was registered as; "ram" or "rom" for those. */
const char *region_name(const struct region *region);

/* What answers at an address: valid until bus_generation() changes. */
struct bus_span {
	pa_t base, end;	       /* the span [base, end) has one answer; end may be 0 for 2^64 */
	uint8_t *host;	       /* host address of base, or NULL when a device or nothing answers */
	bool writable;	       /* with host: may be written directly; else a write goes through bus_write() */
	struct region *region; /* answers reads; NULL: nothing does, they are all ones */
};
void bus_lookup(const struct bus *bus, pa_t pa, bool smm, struct bus_span *span);

/* Changes whenever the flat view changes; wakes the listener below too. */
uint64_t bus_generation(const struct bus *bus);
/* Called after each change of the memory map, so that TLBs can be dropped. */
void bus_on_change(struct bus *bus, void (*changed)(void *ctx), void *ctx);
/*
 * Called before RAM changes by DMA, by bus_write() or by a restore, so that cached code there is dropped
 * (mem/code_pages). [host, host + size) lies in one RAM span.
 */
void bus_on_ram_write(struct bus *bus, void (*written)(void *ctx, const uint8_t *host, size_t size), void *ctx);

/* One access as a CPU makes it, 1, 2, 4 or 8 bytes, any alignment (split at 8 bytes and region ends). */
uint64_t bus_read(struct bus *bus, pa_t pa, unsigned size, bool smm);
void bus_write(struct bus *bus, pa_t pa, unsigned size, uint64_t value, bool smm);

/*
 * Any length, for DMA and loaders: goes to RAM, ROM (reads) and devices alike. False: a part had no answer (reads give
 * FFH there).
 */
bool bus_read_bytes(struct bus *bus, pa_t pa, void *to, size_t size);
bool bus_write_bytes(struct bus *bus, pa_t pa, const void *from, size_t size);

/* Port access by IN and OUT, 1, 2 or 4 bytes; unclaimed ports read all ones. */
uint32_t bus_in(struct bus *bus, uint16_t port, unsigned size);
void bus_out(struct bus *bus, uint16_t port, unsigned size, uint32_t value);

/* RAM contents. */
void bus_state(struct bus *bus, struct state *state);
