/*
 * Private to storage/: an ATA disk or an ATAPI CD-ROM drive as its controller sees it: a command in, data both ways, a
 * result out.
 */
#pragma once

#include "base/state.h"
#include "storage/block.h"

enum { ATA_ERR = 0x01, ATA_DRQ = 0x08, ATA_DSC = 0x10, ATA_DF = 0x20, ATA_DRDY = 0x40, ATA_BSY = 0x80 };
enum { ATA_ABRT = 0x04, ATA_IDNF = 0x10, ATA_UNC = 0x40 };

enum { ATA_SECTOR = 512, CD_SECTOR = 2048, PACKET_SIZE = 12, ATA_CHUNK = 65536 };

struct ata_device {
	struct block *block; /* NULL: a drive without a disc */
	bool cdrom;
	char serial[21];
	uint64_t sectors; /* of 512 bytes */
	/* What commands left behind. */
	uint8_t multiple; /* SET MULTIPLE MODE */
	uint8_t transfer; /* SET FEATURES, subcommand 03H */
	bool write_cache;
	uint8_t ncq_log[16]; /* first bytes of log 10H: the last queued command that failed */
	uint8_t sense_key, asc, ascq;
	bool media_event; /* GET EVENT STATUS NOTIFICATION has something new to say */
	uint8_t buffer[ATA_CHUNK];
};

enum ata_protocol { ATA_NON_DATA, ATA_PIO_IN, ATA_PIO_OUT, ATA_DMA, ATA_QUEUED, ATA_PACKET };

struct ata_command {
	uint8_t command, device;
	uint16_t features, count;
	uint64_t lba; /* 48 bits */
	const uint8_t *packet;
	/* The controller's data path: the next bytes of the guest's buffer. False: the buffer is too short or was
	 * refused. */
	bool (*to_guest)(void *ctx, const void *bytes, size_t size);
	bool (*from_guest)(void *ctx, void *bytes, size_t size);
	void *ctx;
};

struct ata_result {
	enum ata_protocol protocol;
	uint8_t status, error;
	uint64_t lba;
	uint16_t count;
};

void ata_init(struct ata_device *device, struct block *block, bool cdrom, const char *serial);
void ata_reset(struct ata_device *device);
void ata_execute(struct ata_device *device, const struct ata_command *command, struct ata_result *result);
void ata_state(struct ata_device *device, struct state *state);

/* CD-ROM: a packet command. Fills status and error, and the sense data that REQUEST SENSE gives. */
void atapi_execute(struct ata_device *device, const struct ata_command *command, struct ata_result *result);
/* Text in the byte order of ATA strings, padded with spaces. */
void ata_text(uint8_t *to, const char *text, size_t size);
