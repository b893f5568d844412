/*
 * ATA disks: ATA8-ACS, "Command descriptions". 48-bit addresses, DMA, PIO and native command queuing.
 *
 * Not offered, and aborted: SMART, security, host protected area, TRIM, power-up in standby, streaming.
 */
#include "storage/ata.h"

#include "base/bits.h"
#include <string.h>

enum {
	RECALIBRATE = 0x10,
	READ_SECTORS = 0x20,
	READ_SECTORS_EXT = 0x24,
	READ_DMA_EXT = 0x25,
	READ_MULTIPLE_EXT = 0x29,
	READ_LOG_EXT = 0x2f,
	WRITE_SECTORS = 0x30,
	WRITE_SECTORS_EXT = 0x34,
	WRITE_DMA_EXT = 0x35,
	WRITE_MULTIPLE_EXT = 0x39,
	WRITE_DMA_FUA_EXT = 0x3d,
	READ_VERIFY = 0x40,
	READ_VERIFY_EXT = 0x42,
	READ_LOG_DMA_EXT = 0x47,
	READ_FPDMA_QUEUED = 0x60,
	WRITE_FPDMA_QUEUED = 0x61,
	SEEK = 0x70,
	EXECUTE_DEVICE_DIAGNOSTIC = 0x90,
	INITIALIZE_DEVICE_PARAMETERS = 0x91,
	PACKET = 0xa0,
	IDENTIFY_PACKET_DEVICE = 0xa1,
	READ_MULTIPLE = 0xc4,
	WRITE_MULTIPLE = 0xc5,
	SET_MULTIPLE_MODE = 0xc6,
	READ_DMA = 0xc8,
	WRITE_DMA = 0xca,
	STANDBY_IMMEDIATE = 0xe0,
	IDLE_IMMEDIATE = 0xe1,
	STANDBY = 0xe2,
	IDLE = 0xe3,
	CHECK_POWER_MODE = 0xe5,
	SLEEP = 0xe6,
	FLUSH_CACHE = 0xe7,
	FLUSH_CACHE_EXT = 0xea,
	IDENTIFY_DEVICE = 0xec,
	SET_FEATURES = 0xef,
};

enum { QUEUE_DEPTH = 32, MULTIPLE_MAX = 16, NCQ_ERROR_LOG = 0x10, FUA = 0x80, READY = ATA_DRDY | ATA_DSC };

void ata_text(uint8_t *to, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		to[i ^ 1] = (uint8_t)(*text ? *text : ' ');
		text += *text != 0;
	}
}

static void word(uint8_t *page, unsigned index, uint64_t value)
{
	store_le(page + 2 * index, 2, value);
}

static void checksum(uint8_t *page)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < ATA_SECTOR - 1; i++)
		sum = (uint8_t)(sum + page[i]);
	page[ATA_SECTOR - 1] = (uint8_t)-sum;
}

/* What disks and drives say alike. */
static void identify_common(const struct ata_device *d, uint8_t *page, const char *model)
{
	memset(page, 0, ATA_SECTOR);
	ata_text(page + 20, d->serial, 20);
	ata_text(page + 46, "1.0", 8);
	ata_text(page + 54, model, 40);
	word(page, 49, 0x0f00); /* LBA, DMA, IORDY */
	word(page, 50, 0x4000);
	word(page, 53, 0x0007);
	word(page, 63, 0x0007 | (d->transfer >> 3 == 4 ? 0x100u << (d->transfer & 7) : 0)); /* multiword DMA 0-2 */
	word(page, 64, 0x0003);								    /* PIO 3, 4 */
	for (unsigned i = 65; i <= 68; i++)
		word(page, i, 120); /* cycle times in ns */
	word(page, 80, 0x01f0);
	word(page, 88, 0x003f | (d->transfer >> 3 == 8 ? 0x100u << (d->transfer & 7) : 0)); /* UDMA 0-5 */
}

static void identify_disk(const struct ata_device *d, uint8_t *page)
{
	uint64_t cylinders = min_u64(d->sectors / (16 * 63), 16383), chs = cylinders * 16 * 63;

	identify_common(d, page, "SoftVT disk");
	word(page, 0, 0x0040);
	word(page, 1, cylinders);
	word(page, 3, 16);
	word(page, 6, 63);
	word(page, 47, 0x8000 | MULTIPLE_MAX);
	word(page, 54, cylinders);
	word(page, 55, 16);
	word(page, 56, 63);
	store_le(page + 114, 4, chs);
	word(page, 59, d->multiple ? 0x0100 | d->multiple : 0);
	store_le(page + 120, 4, min_u64(d->sectors, 0x0fffffff));
	word(page, 75, QUEUE_DEPTH - 1);
	word(page, 76, 0x0106); /* 1.5 and 3 Gbit/s, NCQ */
	word(page, 82, 0x4020); /* NOP, write cache */
	word(page, 83, 0x7400); /* FLUSH CACHE (EXT), 48-bit addresses */
	word(page, 84, 0x4060); /* WRITE DMA FUA EXT, general purpose logging */
	word(page, 85, d->write_cache ? 0x4020 : 0x4000);
	word(page, 86, 0x3400);
	word(page, 87, 0x4060);
	store_le(page + 200, 8, d->sectors);
	word(page, 106, 0x4000);
	word(page, 217, 1); /* no moving parts */
	page[510] = 0xa5;
	checksum(page);
}

static void identify_cdrom(const struct ata_device *d, uint8_t *page)
{
	identify_common(d, page, "SoftVT CD-ROM");
	word(page, 0, 0x85c0); /* CD-ROM, removable, 12-byte packets */
	word(page, 76, 0x0006);
	word(page, 82, 0x4010); /* NOP, PACKET */
	word(page, 83, 0x4000);
	word(page, 84, 0x4000);
	word(page, 85, 0x4010);
	word(page, 87, 0x4000);
	page[510] = 0xa5;
	checksum(page);
}

static void fail(struct ata_result *r, uint8_t error)
{
	r->status = READY | ATA_ERR;
	r->error = error;
}

static void send(const struct ata_command *c, struct ata_result *r, enum ata_protocol protocol, const uint8_t *bytes,
		 size_t size)
{
	r->protocol = protocol;
	if (!c->to_guest(c->ctx, bytes, size))
		fail(r, ATA_ABRT);
}

/* Sectors between image and guest. The range lies on the disk or nothing happens. */
static void transfer(struct ata_device *d, const struct ata_command *c, struct ata_result *r, uint64_t lba,
		     uint64_t sectors, bool write)
{
	if (lba > d->sectors || sectors > d->sectors - lba) {
		fail(r, ATA_IDNF);
		return;
	}
	while (sectors) {
		uint64_t part = min_u64(sectors, ATA_CHUNK / ATA_SECTOR);
		size_t size = part * ATA_SECTOR;
		bool moved;

		if (write) {
			moved = c->from_guest(c->ctx, d->buffer, size);
			if (moved && !block_write(d->block, lba * ATA_SECTOR, d->buffer, size)) {
				fail(r, ATA_ABRT);
				return;
			}
		} else {
			if (!block_read(d->block, lba * ATA_SECTOR, d->buffer, size)) {
				fail(r, ATA_UNC);
				r->lba = lba;
				return;
			}
			moved = c->to_guest(c->ctx, d->buffer, size);
		}
		if (!moved) {
			fail(r, ATA_ABRT);
			return;
		}
		lba += part;
		sectors -= part;
	}
}

static uint64_t lba28(const struct ata_command *c)
{
	return (c->lba & 0xffffff) | (uint64_t)(c->device & 15) << 24;
}

static uint64_t count28(const struct ata_command *c)
{
	return c->count & 0xff ? c->count & 0xff : 256;
}

static uint64_t count48(uint16_t count)
{
	return count ? count : 65536;
}

static void flush(struct ata_device *d, struct ata_result *r)
{
	if (!block_flush(d->block))
		fail(r, ATA_ABRT);
}

static void queued(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	bool write = c->command == WRITE_FPDMA_QUEUED;

	r->protocol = ATA_QUEUED;
	transfer(d, c, r, c->lba, count48(c->features), write);
	if (write && (c->device & FUA) && !(r->status & ATA_ERR))
		flush(d, r);
	if (!(r->status & ATA_ERR))
		return;
	/* "NCQ Command Error log". */
	memset(d->ncq_log, 0, sizeof(d->ncq_log));
	d->ncq_log[0] = (uint8_t)(c->count >> 3 & 31);
	d->ncq_log[2] = r->status;
	d->ncq_log[3] = r->error;
	store_le(d->ncq_log + 4, 3, r->lba);
	d->ncq_log[7] = c->device;
	store_le(d->ncq_log + 8, 3, r->lba >> 24);
}

static void read_log(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[ATA_SECTOR] = {0};
	unsigned log = (unsigned)(c->lba & 0xff);

	if (c->count != 1 || (log != 0 && log != NCQ_ERROR_LOG)) {
		fail(r, ATA_ABRT);
		return;
	}
	if (log == 0) {
		word(page, 0, 1); /* version of the directory */
		word(page, NCQ_ERROR_LOG, 1);
	} else {
		memcpy(page, d->ncq_log, sizeof(d->ncq_log));
		checksum(page);
	}
	send(c, r, c->command == READ_LOG_DMA_EXT ? ATA_DMA : ATA_PIO_IN, page, sizeof(page));
}

static void set_features(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t mode = (uint8_t)c->count;

	switch (c->features & 0xff) {
	case 0x02: d->write_cache = true; break;
	case 0x82:
		d->write_cache = false;
		if (d->block)
			flush(d, r);
		break;
	case 0x03: /* PIO default, PIO 0-4, multiword DMA 0-2, UDMA 0-5 */
		if (mode <= 1 || (mode >= 8 && mode <= 12) || (mode >= 0x20 && mode <= 0x22) ||
		    (mode >= 0x40 && mode <= 0x45))
			d->transfer = mode;
		else
			fail(r, ATA_ABRT);
		break;
	case 0x55: /* read look-ahead off and on, reverting to defaults: nothing to do */
	case 0xaa:
	case 0x66:
	case 0xcc: break;
	default: fail(r, ATA_ABRT); break;
	}
}

/* SRST and EXECUTE DEVICE DIAGNOSTIC: "Device signature". */
static void signature(const struct ata_device *d, struct ata_result *r)
{
	r->status = d->cdrom ? 0 : READY;
	r->error = 1;
	r->lba = d->cdrom ? 0xeb1401 : 1;
	r->count = 1;
}

static void execute_disk(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[ATA_SECTOR];

	switch (c->command) {
	case IDENTIFY_DEVICE:
		identify_disk(d, page);
		send(c, r, ATA_PIO_IN, page, sizeof(page));
		break;
	case READ_SECTORS:
	case READ_SECTORS + 1:
	case READ_MULTIPLE:
		r->protocol = ATA_PIO_IN;
		transfer(d, c, r, lba28(c), count28(c), false);
		break;
	case READ_SECTORS_EXT:
	case READ_MULTIPLE_EXT:
		r->protocol = ATA_PIO_IN;
		transfer(d, c, r, c->lba, count48(c->count), false);
		break;
	case WRITE_SECTORS:
	case WRITE_SECTORS + 1:
	case WRITE_MULTIPLE:
		r->protocol = ATA_PIO_OUT;
		transfer(d, c, r, lba28(c), count28(c), true);
		break;
	case WRITE_SECTORS_EXT:
	case WRITE_MULTIPLE_EXT:
		r->protocol = ATA_PIO_OUT;
		transfer(d, c, r, c->lba, count48(c->count), true);
		break;
	case READ_DMA:
	case READ_DMA + 1:
	case WRITE_DMA:
	case WRITE_DMA + 1:
		r->protocol = ATA_DMA;
		transfer(d, c, r, lba28(c), count28(c), c->command >= WRITE_DMA);
		break;
	case READ_DMA_EXT:
	case WRITE_DMA_EXT:
	case WRITE_DMA_FUA_EXT:
		r->protocol = ATA_DMA;
		transfer(d, c, r, c->lba, count48(c->count), c->command != READ_DMA_EXT);
		if (c->command == WRITE_DMA_FUA_EXT && !(r->status & ATA_ERR))
			flush(d, r);
		break;
	case READ_FPDMA_QUEUED:
	case WRITE_FPDMA_QUEUED: queued(d, c, r); break;
	case READ_VERIFY:
	case READ_VERIFY + 1:
		if (lba28(c) + count28(c) > d->sectors)
			fail(r, ATA_IDNF);
		break;
	case READ_VERIFY_EXT:
		if (c->lba + count48(c->count) > d->sectors)
			fail(r, ATA_IDNF);
		break;
	case READ_LOG_EXT:
	case READ_LOG_DMA_EXT: read_log(d, c, r); break;
	case FLUSH_CACHE:
	case FLUSH_CACHE_EXT: flush(d, r); break;
	case SET_MULTIPLE_MODE:
		/* 0 switches it off; powers of two up to the maximum. */
		if ((c->count & 0xff) > MULTIPLE_MAX || (c->count & (c->count - 1) & 0xff))
			fail(r, ATA_ABRT);
		else
			d->multiple = (uint8_t)c->count;
		break;
	case RECALIBRATE:
	case SEEK:
	case INITIALIZE_DEVICE_PARAMETERS: break;
	default: fail(r, ATA_ABRT); break;
	}
}

static void execute_cdrom(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[ATA_SECTOR];

	switch (c->command) {
	case IDENTIFY_PACKET_DEVICE:
		identify_cdrom(d, page);
		send(c, r, ATA_PIO_IN, page, sizeof(page));
		break;
	case PACKET: atapi_execute(d, c, r); break;
	case IDENTIFY_DEVICE: /* "ABRT, with the signature": so that a host learns what this is */
		signature(d, r);
		fail(r, ATA_ABRT);
		break;
	default: fail(r, ATA_ABRT); break;
	}
}

void ata_execute(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	*r = (struct ata_result){.protocol = ATA_NON_DATA, .status = READY, .lba = c->lba, .count = c->count};
	switch (c->command) {
	case EXECUTE_DEVICE_DIAGNOSTIC: signature(d, r); break;
	case SET_FEATURES: set_features(d, c, r); break;
	case CHECK_POWER_MODE: r->count = 0xff; break; /* active */
	case STANDBY_IMMEDIATE:
	case IDLE_IMMEDIATE:
	case STANDBY:
	case IDLE:
	case SLEEP: break;
	default:
		if (d->cdrom)
			execute_cdrom(d, c, r);
		else
			execute_disk(d, c, r);
	}
}

void ata_reset(struct ata_device *d)
{
	d->multiple = MULTIPLE_MAX;
	d->transfer = 0x45;
	d->write_cache = true;
	d->sense_key = d->asc = d->ascq = 0;
	d->media_event = d->cdrom && d->block;
}

void ata_init(struct ata_device *d, struct block *block, bool cdrom, const char *serial)
{
	memset(d, 0, sizeof(*d));
	d->block = block;
	d->cdrom = cdrom;
	d->sectors = block ? block_size(block) / ATA_SECTOR : 0;
	strncpy(d->serial, serial, sizeof(d->serial) - 1);
	ata_reset(d);
}

void ata_state(struct ata_device *d, struct state *state)
{
	state_section(state, "ata");
	state_var(state, d->multiple);
	state_var(state, d->transfer);
	state_var(state, d->write_cache);
	state_bytes(state, d->ncq_log, sizeof(d->ncq_log));
	state_var(state, d->sense_key);
	state_var(state, d->asc);
	state_var(state, d->ascq);
	state_var(state, d->media_event);
}
