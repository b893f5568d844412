/*
 * CD-ROM drive: MMC-5 ("Commands for MM Drives") and SPC-3 packet commands, one data track of 2048-byte sectors. Read
 * only.
 *
 * Not modelled, and refused as invalid commands: audio, subchannels, writing, DVD structures, changing the disc.
 */
#include "storage/ata.h"

#include "base/bits.h"
#include <string.h>

enum {
	TEST_UNIT_READY = 0x00,
	REQUEST_SENSE = 0x03,
	INQUIRY = 0x12,
	MODE_SENSE_6 = 0x1a,
	START_STOP_UNIT = 0x1b,
	PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1e,
	READ_CAPACITY = 0x25,
	READ_10 = 0x28,
	SEEK_10 = 0x2b,
	SYNCHRONIZE_CACHE = 0x35,
	READ_TOC = 0x43,
	GET_CONFIGURATION = 0x46,
	GET_EVENT_STATUS = 0x4a,
	READ_DISC_INFORMATION = 0x51,
	MODE_SENSE_10 = 0x5a,
	READ_12 = 0xa8,
	SET_CD_SPEED = 0xbb,
	MECHANISM_STATUS = 0xbd,
	READ_CD = 0xbe,
};

enum { NO_SENSE = 0, NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5 };
enum { INVALID_COMMAND = 0x20, OUT_OF_RANGE = 0x21, INVALID_FIELD = 0x24, NO_MEDIUM = 0x3a, UNRECOVERED_READ = 0x11 };
enum { LEAD_OUT = 0xaa, DATA_TRACK = 0x14 };

static uint32_t get_be(const uint8_t *bytes, unsigned size)
{
	uint32_t value = 0;

	while (size--)
		value = value << 8 | *bytes++;
	return value;
}

static void put_be(uint8_t *bytes, unsigned size, uint32_t value)
{
	while (size--) {
		bytes[size] = (uint8_t)value;
		value >>= 8;
	}
}

static void sense(struct ata_device *d, struct ata_result *r, uint8_t key, uint8_t asc)
{
	d->sense_key = key;
	d->asc = asc;
	d->ascq = 0;
	r->status = ATA_DRDY | ATA_DSC | ATA_ERR;
	r->error = (uint8_t)(key << 4 | ATA_ABRT);
}

static uint32_t sectors(const struct ata_device *d)
{
	return (uint32_t)min_u64(block_size(d->block) / CD_SECTOR, UINT32_MAX);
}

/* Data of a reply, cut to what the host asked for. */
static void reply(struct ata_device *d, const struct ata_command *c, struct ata_result *r, const uint8_t *bytes,
		  size_t size, size_t allocation)
{
	size = min_u64(size, allocation);
	if (size && !c->to_guest(c->ctx, bytes, size))
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
}

static void inquiry(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[36] = {0x05, 0x80, 0x05, 0x21, 31};

	if (c->packet[1] & 1) { /* vital product data */
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
		return;
	}
	memcpy(page + 8, "SoftVT  CD-ROM          1.0 ", 28);
	reply(d, c, r, page, sizeof(page), get_be(c->packet + 3, 2));
}

static void request_sense(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[18] = {0x70, 0, d->sense_key, [7] = 10, [12] = d->asc, [13] = d->ascq};

	d->sense_key = d->asc = d->ascq = 0;
	reply(d, c, r, page, sizeof(page), c->packet[4]);
}

static void read(struct ata_device *d, const struct ata_command *c, struct ata_result *r, uint32_t lba, uint32_t count)
{
	uint64_t offset = (uint64_t)lba * CD_SECTOR, left = (uint64_t)count * CD_SECTOR;

	if (lba > sectors(d) || count > sectors(d) - lba) {
		sense(d, r, ILLEGAL_REQUEST, OUT_OF_RANGE);
		return;
	}
	while (left) {
		size_t part = min_u64(left, ATA_CHUNK);

		if (!block_read(d->block, offset, d->buffer, part)) {
			sense(d, r, MEDIUM_ERROR, UNRECOVERED_READ);
			return;
		}
		if (!c->to_guest(c->ctx, d->buffer, part)) {
			sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
			return;
		}
		offset += part;
		left -= part;
	}
}

/* Only the user data of mode 1 sectors is there to be read. */
static void read_cd(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	unsigned fields = c->packet[9] & 0xf8;

	if (fields == 0x10)
		read(d, c, r, get_be(c->packet + 2, 4), get_be(c->packet + 6, 3));
	else if (fields)
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
}

static void put_address(uint8_t *to, uint32_t lba, bool msf)
{
	if (msf) {
		lba += 150;
		put_be(to, 4, lba / 75 / 60 << 16 | lba / 75 % 60 << 8 | lba % 75);
	} else {
		put_be(to, 4, lba);
	}
}

static void read_toc(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	bool msf = c->packet[1] & 2;
	unsigned format = c->packet[2] & 15, from = c->packet[6], allocation = get_be(c->packet + 7, 2);
	uint8_t toc[20] = {0, 0, 1, 1}, *entry = toc + 4;

	if (format == 0)
		format = c->packet[9] >> 6; /* where older hosts say it */
	if (format > 1 || (format == 0 && from > 1 && from != LEAD_OUT)) {
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
		return;
	}
	if (format == 1 || from <= 1) { /* format 1: the first track of the last session, which is the same */
		entry[1] = DATA_TRACK;
		entry[2] = 1;
		put_address(entry + 4, 0, msf);
		entry += 8;
	}
	if (format == 0) {
		entry[1] = DATA_TRACK;
		entry[2] = LEAD_OUT;
		put_address(entry + 4, sectors(d), msf);
		entry += 8;
	}
	put_be(toc, 2, (uint32_t)(entry - toc) - 2);
	reply(d, c, r, toc, (size_t)(entry - toc), allocation);
}

/* Profile list, core, morphing, removable medium, random readable, CD read. */
static void get_configuration(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	static const struct {
		uint16_t code;
		uint8_t flags, size, data[12];
	} features[] = {
		{0x0000, 0x03, 8, {0x00, 0x08, 0x01, 0, 0x00, 0x10, 0, 0}}, /* CD-ROM is the current profile */
		{0x0001, 0x0b, 8, {0, 0, 0, 0x02, 1, 0, 0, 0}},
		{0x0002, 0x07, 4, {0x02, 0, 0, 0}},
		{0x0003, 0x03, 4, {0x21, 0, 0, 0}},
		{0x0010, 0x01, 8, {0, 0, 0x08, 0, 0, 1, 0, 0}},
		{0x001e, 0x09, 4, {0, 0, 0, 0}},
	};
	unsigned request = c->packet[1] & 3, start = get_be(c->packet + 2, 2);
	uint8_t page[8 + 6 * 16] = {0};
	size_t size = 8;

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		if (request == 2 ? features[i].code != start : features[i].code < start)
			continue;
		put_be(page + size, 2, features[i].code);
		page[size + 2] = features[i].flags;
		page[size + 3] = features[i].size;
		memcpy(page + size + 4, features[i].data, features[i].size);
		size += 4 + features[i].size;
	}
	put_be(page, 4, (uint32_t)size - 4);
	put_be(page + 6, 2, d->block ? 0x0008 : 0);
	reply(d, c, r, page, size, get_be(c->packet + 7, 2));
}

/* Polled only. The one event there is: a disc was there from the beginning. */
static void get_event_status(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[8] = {0, 0, 0, 1 << 4};
	bool media = c->packet[4] & 1 << 4;

	if (!(c->packet[1] & 1)) {
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
		return;
	}
	page[1] = media ? 6 : 2;
	page[2] = media ? 4 : 0x80;
	if (media) {
		page[4] = d->media_event ? 2 : 0; /* new media */
		page[5] = d->block ? 2 : 0;	  /* present */
		d->media_event = false;
	}
	reply(d, c, r, page, media ? 8 : 4, get_be(c->packet + 7, 2));
}

static void mode_sense(struct ata_device *d, const struct ata_command *c, struct ata_result *r, bool ten)
{
	static const uint8_t error_recovery[8] = {0x01, 6, 0, 5},
			     capabilities[22] = {0x2a, 20, [2] = 0x03, [4] = 0x71, [6] = 0x29};
	uint8_t page[64] = {0};
	size_t header = ten ? 8 : 4, size = header;
	unsigned code = c->packet[2] & 0x3f;

	if (code != 0x01 && code != 0x2a && code != 0x3f) {
		sense(d, r, ILLEGAL_REQUEST, INVALID_FIELD);
		return;
	}
	if (code != 0x2a) {
		memcpy(page + size, error_recovery, sizeof(error_recovery));
		size += sizeof(error_recovery);
	}
	if (code != 0x01) {
		memcpy(page + size, capabilities, sizeof(capabilities));
		put_be(page + size + 8, 2, 706);  /* kB/s: 4 times */
		put_be(page + size + 12, 2, 512); /* kB of buffer */
		put_be(page + size + 14, 2, 706);
		size += sizeof(capabilities);
	}
	if (ten)
		put_be(page, 2, (uint32_t)size - 2);
	else
		page[0] = (uint8_t)(size - 1);
	page[ten ? 2 : 1] = d->block ? 0x01 : 0x70; /* medium type */
	reply(d, c, r, page, size, ten ? get_be(c->packet + 7, 2) : c->packet[4]);
}

static void read_capacity(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	uint8_t page[8];

	put_be(page, 4, sectors(d) - 1);
	put_be(page + 4, 4, CD_SECTOR);
	reply(d, c, r, page, sizeof(page), sizeof(page));
}

static void read_disc_information(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	/* A finished disc with one complete session and one track. */
	uint8_t page[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};

	reply(d, c, r, page, sizeof(page), get_be(c->packet + 7, 2));
}

static bool needs_disc(uint8_t operation)
{
	switch (operation) {
	case REQUEST_SENSE:
	case INQUIRY:
	case MODE_SENSE_6:
	case MODE_SENSE_10:
	case START_STOP_UNIT:
	case PREVENT_ALLOW_MEDIUM_REMOVAL:
	case GET_CONFIGURATION:
	case GET_EVENT_STATUS:
	case SET_CD_SPEED:
	case MECHANISM_STATUS: return false;
	default: return true;
	}
}

void atapi_execute(struct ata_device *d, const struct ata_command *c, struct ata_result *r)
{
	static const uint8_t mechanism[8] = {0};
	const uint8_t *packet = c->packet;

	r->protocol = ATA_PACKET;
	r->count = 3; /* interrupt reason: status */
	if (packet[0] != REQUEST_SENSE)
		d->sense_key = d->asc = d->ascq = 0;
	if (!d->block && needs_disc(packet[0])) {
		sense(d, r, NOT_READY, NO_MEDIUM);
		return;
	}
	switch (packet[0]) {
	case REQUEST_SENSE: request_sense(d, c, r); break;
	case INQUIRY: inquiry(d, c, r); break;
	case MODE_SENSE_6: mode_sense(d, c, r, false); break;
	case MODE_SENSE_10: mode_sense(d, c, r, true); break;
	case READ_CAPACITY: read_capacity(d, c, r); break;
	case READ_10: read(d, c, r, get_be(packet + 2, 4), get_be(packet + 7, 2)); break;
	case READ_12: read(d, c, r, get_be(packet + 2, 4), get_be(packet + 6, 4)); break;
	case READ_CD: read_cd(d, c, r); break;
	case READ_TOC: read_toc(d, c, r); break;
	case GET_CONFIGURATION: get_configuration(d, c, r); break;
	case GET_EVENT_STATUS: get_event_status(d, c, r); break;
	case READ_DISC_INFORMATION: read_disc_information(d, c, r); break;
	case MECHANISM_STATUS: reply(d, c, r, mechanism, sizeof(mechanism), get_be(packet + 8, 2)); break;
	case TEST_UNIT_READY:
	case START_STOP_UNIT: /* the tray does not open */
	case PREVENT_ALLOW_MEDIUM_REMOVAL:
	case SEEK_10:
	case SYNCHRONIZE_CACHE:
	case SET_CD_SPEED: break;
	default: sense(d, r, ILLEGAL_REQUEST, INVALID_COMMAND); break;
	}
}
