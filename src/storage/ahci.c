/*
 * AHCI host bus adapter: "Serial ATA AHCI 1.3.1 Specification", "HBA Memory Registers", "System Memory Structures",
 * "HBA State Machine". What a command means is in ata.c and atapi.c; here are registers, FISes and the way of data.
 *
 * Commands run a fixed time after they were issued, so that a driver sees the order of a real controller: it always
 * returns from its register write first. Not modelled, and announced as absent: port multipliers, command completion
 * coalescing, enclosure management, staggered spin-up, hot plug, power states, FIS-based switching, the legacy IDE
 * registers.
 */
#include "storage/ahci.h"

#include "base/bits.h"
#include "pci/dma.h"
#include "storage/ata.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CAP = 0x00, GHC = 0x04, IS = 0x08, PI = 0x0c, VS = 0x10 };
enum { GHC_HR = 1, GHC_IE = 2 };
#define GHC_AE UINT32_C(0x80000000)
/* 64-bit addresses, NCQ, AHCI only, 3 Gbit/s, 32 slots. */
#define CAP_BITS (UINT32_C(0xc0000000) | 1 << 18 | 2 << 20 | 31 << 8 | (AHCI_PORTS - 1))

enum { PORTS_BASE = 0x100, PORT_SIZE = 0x80, ABAR_SIZE = 0x1000 };
enum {
	PxCLB = 0x00,
	PxCLBU = 0x04,
	PxFB = 0x08,
	PxFBU = 0x0c,
	PxIS = 0x10,
	PxIE = 0x14,
	PxCMD = 0x18,
	PxTFD = 0x20,
	PxSIG = 0x24,
	PxSSTS = 0x28,
	PxSCTL = 0x2c,
	PxSERR = 0x30,
	PxSACT = 0x34,
	PxCI = 0x38
};
enum {
	CMD_ST = 1 << 0,
	CMD_SUD = 1 << 1,
	CMD_POD = 1 << 2,
	CMD_CLO = 1 << 3,
	CMD_FRE = 1 << 4,
	CMD_FR = 1 << 14,
	CMD_CR = 1 << 15,
	CMD_ATAPI = 1 << 24,
	CMD_WRITABLE = CMD_ST | CMD_FRE | CMD_ATAPI
};
enum {
	IS_DHRS = 1 << 0,
	IS_PSS = 1 << 1,
	IS_SDBS = 1 << 3,
	IS_DPS = 1 << 5,
	IS_PCS = 1 << 6,
	IS_OFS = 1 << 24,
	IS_TFES = 1 << 30
};
enum { SERR_N = 1 << 16, SERR_X = 1 << 26, IE_WRITABLE = 0x7dc0007f, IS_W1C = IE_WRITABLE & ~(IS_PCS | 1 << 22) };
enum { SSTS_UP = 0x123, SIG_DISK = 0x00000101 };
#define SIG_CDROM   UINT32_C(0xeb140101)
#define SIG_NOTHING UINT32_C(0xffffffff)

enum { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_PIO_SETUP = 0x5f, FIS_SDB = 0xa1 };
enum { RFIS_PIO_SETUP = 0x20, RFIS_D2H = 0x40, RFIS_SDB = 0x58, FIS_INTERRUPT = 0x40 };
enum { HEADER_SIZE = 32, TABLE_PACKET = 0x40, TABLE_PRDT = 0x80, PRD_SIZE = 16, COMMAND_NS = 10000 };

struct port {
	struct ata_device *device; /* NULL: nothing is plugged in */
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
	uint8_t next; /* slot from which to look for a command */
	bool halted;  /* a command failed: nothing more until ST is cleared */
	bool srst;
};

struct ahci {
	struct pci_function function;
	struct clock *clock;
	struct deadline work;
	uint32_t ghc, is;
	struct port port[AHCI_PORTS];
	struct ahci_counters counters;
};

/* The guest's buffer of one command: its PRD table and how far it is used. */
struct buffer {
	struct ahci *ahci;
	uint64_t table;
	uint32_t entries, entry;
	uint64_t base; /* of the current piece */
	uint32_t left; /* bytes of it */
	uint32_t done; /* bytes in all */
};

static struct ahci *from_function(struct pci_function *function)
{
	return CONTAINER_OF(function, struct ahci, function);
}

/* The interrupt wire follows IS and GHC.IE; a message is sent for each event. */
static void update(struct ahci *ahci, bool event)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		if (ahci->port[i].is & ahci->port[i].ie)
			ahci->is |= 1u << i;
	}
	if (pci_msi_enabled(&ahci->function)) {
		pci_set_intx(&ahci->function, false);
		if (event && ahci->is && (ahci->ghc & GHC_IE))
			pci_send_msi(&ahci->function, 0);
	} else {
		pci_set_intx(&ahci->function, ahci->is && (ahci->ghc & GHC_IE));
	}
}

static void raise(struct ahci *ahci, struct port *port, uint32_t bits)
{
	port->is |= bits;
	update(ahci, true);
}

static void store_fis(struct ahci *ahci, struct port *port, unsigned offset, const uint8_t *fis, size_t size)
{
	if (port->cmd & CMD_FRE)
		dma_write(&ahci->function, port->fb + offset, fis, size);
}

static void fill_fis(const struct ata_result *r, uint8_t device, uint8_t *fis)
{
	fis[2] = r->status;
	fis[3] = r->error;
	store_le(fis + 4, 3, r->lba);
	fis[7] = device;
	store_le(fis + 8, 3, r->lba >> 24);
	store_le(fis + 12, 2, r->count);
}

static void send_d2h(struct ahci *ahci, struct port *port, const struct ata_result *r, uint8_t device, bool interrupt)
{
	uint8_t fis[20] = {FIS_D2H, interrupt ? FIS_INTERRUPT : 0};

	fill_fis(r, device, fis);
	store_fis(ahci, port, RFIS_D2H, fis, sizeof(fis));
	port->tfd = (uint32_t)r->error << 8 | r->status;
	if (interrupt)
		port->is |= IS_DHRS;
}

static void send_pio_setup(struct ahci *ahci, struct port *port, const struct ata_result *r, uint8_t device,
			   uint32_t size, bool to_host)
{
	uint8_t fis[20] = {FIS_PIO_SETUP, (uint8_t)(FIS_INTERRUPT | (to_host ? 0x20 : 0))};

	fill_fis(r, device, fis);
	fis[2] = ATA_DRDY | ATA_DSC | ATA_DRQ;
	fis[15] = r->status; /* E_Status */
	store_le(fis + 16, 2, size);
	store_fis(ahci, port, RFIS_PIO_SETUP, fis, sizeof(fis));
	port->tfd = (uint32_t)r->error << 8 | r->status;
	port->is |= IS_PSS;
}

static void send_sdb(struct ahci *ahci, struct port *port, const struct ata_result *r, uint32_t finished)
{
	uint8_t fis[8] = {FIS_SDB, FIS_INTERRUPT, r->status & 0x77, r->error};

	store_le(fis + 4, 4, finished);
	store_fis(ahci, port, RFIS_SDB, fis, sizeof(fis));
	port->tfd = (uint32_t)r->error << 8 | (port->tfd & 0x88) | (r->status & 0x77);
	port->sact &= ~finished;
	port->is |= IS_SDBS;
}

/* The next piece of the buffer, or false at its end. "Physical Region Descriptor Table". */
static bool next_piece(struct buffer *b)
{
	uint8_t prd[PRD_SIZE];

	while (!b->left) {
		if (b->entry == b->entries)
			return false;
		if (!dma_read(&b->ahci->function, b->table + (uint64_t)b->entry++ * PRD_SIZE, prd, sizeof(prd)))
			return false;
		b->base = load_le(prd, 8) & ~UINT64_C(1);
		b->left = ((uint32_t)load_le(prd + 12, 4) & 0x3ffffe) +
			  2; /* bit 0 is 1: an even number of bytes, less one */
	}
	return true;
}

static bool move(struct buffer *b, uint8_t *bytes, size_t size, bool to_guest)
{
	while (size) {
		size_t part;

		if (!next_piece(b))
			return false;
		part = min_u64(size, b->left);
		if (to_guest ? !dma_write(&b->ahci->function, b->base, bytes, part)
			     : !dma_read(&b->ahci->function, b->base, bytes, part))
			return false;
		bytes += part;
		b->base += part;
		b->left -= (uint32_t)part;
		b->done += (uint32_t)part;
		size -= part;
	}
	return true;
}

static bool to_guest(void *ctx, const void *bytes, size_t size)
{
	struct buffer *b = ctx;

	b->ahci->counters.bytes_read += size;
	return move(b, (uint8_t *)bytes, size, true);
}

static bool from_guest(void *ctx, void *bytes, size_t size)
{
	struct buffer *b = ctx;

	b->ahci->counters.bytes_written += size;
	return move(b, bytes, size, false);
}

static uint32_t signature(const struct port *port)
{
	return !port->device ? SIG_NOTHING : port->device->cdrom ? SIG_CDROM : SIG_DISK;
}

/* "Device signature" after COMRESET or SRST, as a D2H Register FIS without interrupt. */
static void send_signature(struct ahci *ahci, struct port *port)
{
	struct ata_result r = {.status = port->device->cdrom ? 0 : ATA_DRDY | ATA_DSC,
			       .error = 1,
			       .lba = port->device->cdrom ? 0xeb1401 : 1,
			       .count = 1};

	ata_reset(port->device);
	port->sig = signature(port);
	send_d2h(ahci, port, &r, 0, false);
}

/* A FIS with C = 0 writes the Device Control register: SRST going down ends a software reset. */
static void control(struct ahci *ahci, struct port *port, const uint8_t *fis)
{
	bool srst = fis[15] & 4;

	if (port->srst && !srst)
		send_signature(ahci, port);
	else if (srst)
		port->tfd = ATA_BSY;
	port->srst = srst;
}

static void finish(struct ahci *ahci, struct port *port, unsigned slot, const struct ata_result *r, uint8_t device,
		   uint32_t size)
{
	bool failed = r->status & ATA_ERR;

	if (r->protocol == ATA_QUEUED) {
		/* Accepted at once, so CI is clear even if the transfer failed; SACT of a failed command stays. */
		port->ci &= ~(1u << slot);
		send_sdb(ahci, port, r, failed ? 0 : 1u << slot);
	} else {
		/* Data comes in one burst; the ending status of PIO reads is in their own FIS. */
		if (!failed && (r->protocol == ATA_PIO_IN || (r->protocol == ATA_PACKET && size)))
			send_pio_setup(ahci, port, r, device, size, true);
		if (failed || r->protocol != ATA_PIO_IN)
			send_d2h(ahci, port, r, device, true);
		if (!failed)
			port->ci &= ~(1u << slot);
	}
	if (failed) {
		ahci->counters.errors++;
		port->halted = true;
		port->is |= IS_TFES;
	}
	raise(ahci, port, 0);
}

/* One command header and its table: "Command List Structure", "Command Table". */
static void run(struct ahci *ahci, struct port *port, unsigned slot)
{
	uint8_t header[HEADER_SIZE], fis[64], packet[16];
	uint64_t header_at = port->clb + slot * HEADER_SIZE, table;
	struct buffer buffer = {.ahci = ahci};
	struct ata_command command;
	struct ata_result result;

	ahci->counters.commands++;
	dma_read(&ahci->function, header_at, header, sizeof(header));
	table = load_le(header + 8, 8) & ~UINT64_C(127);
	dma_read(&ahci->function, table, fis, sizeof(fis));
	dma_read(&ahci->function, table + TABLE_PACKET, packet, sizeof(packet));
	if (fis[0] != FIS_H2D || !(fis[1] & 0x80)) {
		if (fis[0] == FIS_H2D)
			control(ahci, port, fis);
		port->ci &= ~(1u << slot);
		return;
	}
	buffer.table = table + TABLE_PRDT;
	buffer.entries = (uint32_t)load_le(header + 2, 2);
	command = (struct ata_command){
		.command = fis[2],
		.device = fis[7],
		.features = (uint16_t)(fis[3] | fis[11] << 8),
		.count = (uint16_t)load_le(fis + 12, 2),
		.lba = load_le(fis + 4, 3) | load_le(fis + 8, 3) << 24,
		.packet = packet,
		.to_guest = to_guest,
		.from_guest = from_guest,
		.ctx = &buffer,
	};
	port->cmd = (uint32_t)bits_set(port->cmd, 12, 8, slot);
	ata_execute(port->device, &command, &result);
	store_le(header + 4, 4, buffer.done);
	dma_write(&ahci->function, header_at + 4, header + 4, 4);
	finish(ahci, port, slot, &result, fis[7], buffer.done);
}

static bool may_run(const struct port *port)
{
	return port->device && (port->cmd & CMD_ST) && port->ci && !port->halted;
}

static void work(void *owner)
{
	struct ahci *ahci = owner;

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct port *port = &ahci->port[i];

		/* Each slot at most once: what is issued meanwhile waits for its own turn. */
		for (unsigned tried = 0; tried < 32 && may_run(port); tried++) {
			unsigned slot = port->next;

			port->next = (port->next + 1) & 31;
			if (port->ci >> slot & 1)
				run(ahci, port, slot);
		}
	}
}

static void schedule(struct ahci *ahci)
{
	if (ahci->work.at == VTIME_NEVER)
		clock_arm(ahci->clock, &ahci->work, clock_now(ahci->clock) + COMMAND_NS);
}

static void reset_port(struct port *port)
{
	port->tfd = 0x7f;
	port->sig = SIG_NOTHING;
	port->ssts = 0;
	port->sact = port->ci = 0;
	port->halted = port->srst = false;
	port->next = 0;
}

/* COMRESET: SCTL.DET 1, then 0. "PxSCTL: Port x Serial ATA Control". */
static void write_sctl(struct ahci *ahci, struct port *port, uint32_t value)
{
	unsigned old = port->sctl & 15, det = value & 15;

	port->sctl = value & 0xfff;
	if (det == 1 || det == 4)
		reset_port(port);
	if (det == 0 && old && port->device) {
		port->ssts = SSTS_UP;
		port->serr |= SERR_X | SERR_N;
		send_signature(ahci, port);
		raise(ahci, port, IS_PCS);
	}
}

static void write_cmd(struct ahci *ahci, struct port *port, uint32_t value)
{
	uint32_t old = port->cmd;

	port->cmd = (old & ~(uint32_t)CMD_WRITABLE) | (value & CMD_WRITABLE);
	/* Running and receiving follow at once. */
	port->cmd = (uint32_t)bits_set(port->cmd, 15, 15, !!(value & CMD_ST));
	port->cmd = (uint32_t)bits_set(port->cmd, 14, 14, !!(value & CMD_FRE));
	if (!(value & CMD_ST)) {
		if (value & CMD_CLO)
			port->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
		port->ci = port->sact = 0;
		port->halted = false;
		port->cmd &= ~(uint32_t)BITS(12, 8);
		port->next = 0;
	}
	/* The FIS of the reset that ended before anybody received: "PxSIG". */
	if ((value & ~old & CMD_FRE) && port->device && port->sig == SIG_NOTHING && port->ssts)
		send_signature(ahci, port);
	schedule(ahci);
}

static uint32_t port_read(const struct port *port, unsigned offset)
{
	switch (offset) {
	case PxCLB: return (uint32_t)port->clb;
	case PxCLBU: return (uint32_t)(port->clb >> 32);
	case PxFB: return (uint32_t)port->fb;
	case PxFBU: return (uint32_t)(port->fb >> 32);
	/* PCS shows SERR.DIAG.X, PRCS SERR.DIAG.N. */
	case PxIS: return port->is | (port->serr & SERR_X ? IS_PCS : 0) | (port->serr & SERR_N ? 1u << 22 : 0);
	case PxIE: return port->ie;
	case PxCMD: return port->cmd;
	case PxTFD: return port->tfd;
	case PxSIG: return port->sig;
	case PxSSTS: return port->ssts;
	case PxSCTL: return port->sctl;
	case PxSERR: return port->serr;
	case PxSACT: return port->sact;
	case PxCI: return port->ci;
	default: return 0;
	}
}

static void port_write(struct ahci *ahci, struct port *port, unsigned offset, uint32_t value)
{
	switch (offset) {
	case PxCLB: port->clb = bits_set(port->clb, 31, 0, value & ~UINT32_C(1023)); break;
	case PxCLBU: port->clb = bits_set(port->clb, 63, 32, value); break;
	case PxFB: port->fb = bits_set(port->fb, 31, 0, value & ~UINT32_C(255)); break;
	case PxFBU: port->fb = bits_set(port->fb, 63, 32, value); break;
	case PxIS:
		port->is &= ~(value & (uint32_t)IS_W1C);
		update(ahci, false);
		break;
	case PxIE:
		port->ie = value & IE_WRITABLE;
		update(ahci, true);
		break;
	case PxCMD: write_cmd(ahci, port, value); break;
	case PxSCTL: write_sctl(ahci, port, value); break;
	case PxSERR:
		port->serr &= ~value;
		if (!(port->serr & SERR_X))
			port->is &= ~(uint32_t)IS_PCS;
		update(ahci, false);
		break;
	case PxSACT:
		if (port->cmd & CMD_ST)
			port->sact |= value;
		break;
	case PxCI:
		if (port->cmd & CMD_ST) {
			port->ci |= value;
			schedule(ahci);
		}
		break;
	default: break;
	}
}

/* "HBA Reset": everything but what the hardware was configured with. */
static void reset_hba(struct ahci *ahci)
{
	clock_cancel(ahci->clock, &ahci->work);
	ahci->ghc = GHC_AE;
	ahci->is = 0;
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct port *port = &ahci->port[i];

		reset_port(port);
		port->clb = port->fb = 0;
		port->is = port->ie = port->sctl = port->serr = 0;
		port->cmd = CMD_SUD | CMD_POD;
		if (port->device) {
			/* The link comes up by itself; the signature arrives once FRE is set, but TFD and SIG show it
			 * now. */
			port->ssts = SSTS_UP;
			port->serr = SERR_X | SERR_N;
			send_signature(ahci, port);
		}
	}
	update(ahci, false);
}

static uint64_t abar_read(void *device, uint64_t offset, unsigned size)
{
	struct ahci *ahci = device;
	unsigned at = (unsigned)offset & ~3u;

	if (at >= PORTS_BASE && (at - PORTS_BASE) / PORT_SIZE < AHCI_PORTS)
		return port_read(&ahci->port[(at - PORTS_BASE) / PORT_SIZE], at % PORT_SIZE);
	switch (at) {
	case CAP: return CAP_BITS;
	case GHC: return ahci->ghc;
	case IS: return ahci->is;
	case PI: return (1u << AHCI_PORTS) - 1;
	case VS: return 0x00010300;
	default: return 0;
	}
}

static void abar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;
	unsigned at = (unsigned)offset & ~3u;

	if (at >= PORTS_BASE && (at - PORTS_BASE) / PORT_SIZE < AHCI_PORTS) {
		port_write(ahci, &ahci->port[(at - PORTS_BASE) / PORT_SIZE], at % PORT_SIZE, (uint32_t)value);
		return;
	}
	switch (at) {
	case GHC:
		if (value & GHC_HR) {
			reset_hba(ahci);
		} else {
			ahci->ghc = GHC_AE | ((uint32_t)value & GHC_IE);
			update(ahci, true);
		}
		break;
	case IS:
		/* A port that still has something to say sets its bit again. */
		ahci->is &= ~(uint32_t)value;
		update(ahci, false);
		break;
	default: break;
	}
}

static const struct device_ops abar_ops = {.read = abar_read, .write = abar_write, .min_size = 4, .max_size = 4};

static void reset(struct pci_function *function)
{
	reset_hba(from_function(function));
}

static void save(struct pci_function *function, struct state *state)
{
	struct ahci *ahci = from_function(function);

	state_section(state, "ahci");
	state_var(state, ahci->ghc);
	state_var(state, ahci->is);
	clock_deadline_state(ahci->clock, &ahci->work, state);
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct port *port = &ahci->port[i];

		state_var(state, port->clb);
		state_var(state, port->fb);
		state_var(state, port->is);
		state_var(state, port->ie);
		state_var(state, port->cmd);
		state_var(state, port->tfd);
		state_var(state, port->sig);
		state_var(state, port->ssts);
		state_var(state, port->sctl);
		state_var(state, port->serr);
		state_var(state, port->sact);
		state_var(state, port->ci);
		state_var(state, port->next);
		state_var(state, port->halted);
		state_var(state, port->srst);
		if (port->device)
			ata_state(port->device, state);
		if (state_restoring(state) && port->next > 31)
			state_refuse(state, "an AHCI command slot beyond 31");
	}
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	update(from_function(function), false);
}

static const struct pci_function_ops function_ops = {.config_written = config_written, .reset = reset, .state = save};

struct ahci *ahci_create(struct pci_root *root, struct clock *clock, uint8_t slot, uint8_t number, struct error *error)
{
	struct ahci *ahci = xcalloc(1, sizeof(*ahci));
	struct pci_function *f = &ahci->function;
	unsigned sata;

	ahci->clock = clock;
	deadline_init(&ahci->work, work, ahci);
	f->name = "ich9-ahci";
	f->ops = &function_ops;
	pci_identity(f, 0x8086, 0x2922, 0x010601, 2, 0x1af4, 0x1100);
	pci_set_pin(f, 1);
	pci_add_bar(f, 5, PCI_BAR_MEM32, ABAR_SIZE, &abar_ops, ahci);
	pci_add_msi(f, 0, true);
	/* "Serial ATA Capability": no index-data pair. */
	sata = pci_add_capability(f, 0x12, 8);
	store_le(f->config + sata + 2, 2, 0x0010);
	f->config[0x90] = 0x40; /* MAP: AHCI mode */
	if (!pci_add(root, f, slot, number, error)) {
		free(ahci);
		return NULL;
	}
	reset_hba(ahci);
	return ahci;
}

void ahci_destroy(struct ahci *ahci)
{
	if (!ahci)
		return;
	clock_cancel(ahci->clock, &ahci->work);
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		free(ahci->port[i].device);
	free(ahci);
}

void ahci_attach(struct ahci *ahci, unsigned port, struct block *block, bool cdrom, const char *serial)
{
	assert(port < AHCI_PORTS && !ahci->port[port].device && (block || cdrom));
	ahci->port[port].device = xcalloc(1, sizeof(struct ata_device));
	ata_init(ahci->port[port].device, block, cdrom, serial);
	reset_hba(ahci);
}

bool ahci_attached(const struct ahci *ahci, unsigned port)
{
	return port < AHCI_PORTS && ahci->port[port].device;
}

const struct ahci_counters *ahci_counters(const struct ahci *ahci)
{
	return &ahci->counters;
}
