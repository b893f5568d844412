/*
 * The gdb stub.
 *
 * gdb manual, "Remote Protocol". A client that speaks while the machine runs stops it. Not there: watchpoints (Z2 to Z4
 * get the empty answer, so gdb single-steps instead), non-stop mode, reverse execution, file I/O.
 */
#include "debug/debug.h"

#include <stdlib.h>
#include <string.h>

#include "debug/gdb_registers.h"
#include "debug/monitor.h"
#include "machine/parts.h"

enum { PACKET = 4096, SIGNAL_INT = 2, SIGNAL_TRAP = 5 };

struct gdb {
	struct machine *machine;
	struct chardev *chardev;
	struct monitor *monitor; /* for "monitor ..." in gdb */
	char *target_xml;
	char packet[PACKET + 1]; /* being received, or just received; always ends in 0 */
	unsigned size;
	enum { IDLE, BODY, SUM1, SUM2 } receiving;
	uint8_t sum, sum_said;
	bool no_ack;
	bool awaited;  /* the client has resumed and waits for a stop */
	bool physical; /* m and M mean physical addresses */
	unsigned cpu;  /* thread of g, G, m, M ...: H */
};

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static void send_packet(struct gdb *gdb, const char *body, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	char *packet = xcalloc(size + 4, 1);
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += (uint8_t)body[i];
	packet[0] = '$';
	memcpy(packet + 1, body, size);
	packet[size + 1] = '#';
	packet[size + 2] = hex[sum >> 4];
	packet[size + 3] = hex[sum & 15];
	chardev_write(gdb->chardev, packet, size + 4);
	free(packet);
}

static void answer(struct gdb *gdb, const char *text)
{
	send_packet(gdb, text, strlen(text));
}

static void answer_hex(struct gdb *gdb, const uint8_t *bytes, size_t size)
{
	char *text = xcalloc(2 * size + 1, 1);

	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	answer(gdb, text);
	free(text);
}

/* Pairs of digits into bytes, up to `most`; returns how many. */
static size_t take_hex(const char *text, uint8_t *bytes, size_t most)
{
	size_t count = 0;

	while (count < most && digit(text[0]) >= 0 && digit(text[1]) >= 0) {
		bytes[count++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
		text += 2;
	}
	return count;
}

static struct cpu *current(struct gdb *gdb)
{
	return machine_cpu(gdb->machine, gdb->cpu);
}

static void answer_stop(struct gdb *gdb)
{
	enum machine_stop why = machine_stopped(gdb->machine);
	char text[64];

	gdb->cpu = machine_stopped_cpu(gdb->machine);
	snprintf(text, sizeof(text), "T%02xthread:%02x;", why == STOP_ASKED ? SIGNAL_INT : SIGNAL_TRAP, gdb->cpu + 1);
	answer(gdb, text);
}

static void stopped(void *ctx)
{
	struct gdb *gdb = ctx;

	if (!gdb->awaited)
		return;
	gdb->awaited = false;
	answer_stop(gdb);
}

/* A thread number, "-1" (all) and "0" (any). False: there is no such vCPU. */
static bool thread(struct gdb *gdb, const char *text, unsigned *cpu)
{
	unsigned long number = strtoul(text, NULL, 16);

	if (!strncmp(text, "-1", 2) || number == 0)
		return true;
	if (number > machine_cpus(gdb->machine))
		return false;
	*cpu = (unsigned)number - 1;
	return true;
}

static void resume(struct gdb *gdb, bool step, unsigned cpu)
{
	gdb->awaited = true;
	if (step)
		machine_step(gdb->machine, cpu);
	else
		machine_resume(gdb->machine);
	/* Powered off or shut down: it stays where it is. */
	if (machine_stopped(gdb->machine) != STOP_NONE)
		stopped(gdb);
}

/* vCont;s:1;c and the like: a step of one thread, or all go on. */
static void resume_list(struct gdb *gdb, const char *list)
{
	unsigned cpu = gdb->cpu;

	for (; *list == ';'; list += strcspn(list + 1, ";") + 1) {
		const char *where = strchr(list + 1, ':');
		bool step = (list[1] | 32) == 's';

		if (!step && (list[1] | 32) != 'c') {
			answer(gdb, "E22");
			return;
		}
		if (!step)
			continue;
		if (where && where < list + 1 + strcspn(list + 1, ";") && !thread(gdb, where + 1, &cpu)) {
			answer(gdb, "E22");
			return;
		}
		resume(gdb, true, cpu);
		return;
	}
	resume(gdb, false, 0);
}

static size_t read_memory(struct gdb *gdb, uint64_t at, uint8_t *bytes, size_t size)
{
	struct cpu *cpu = current(gdb);

	if (!gdb->physical)
		return mem_debug_read(cpu, at, bytes, size);
	return bus_read_bytes(gdb->machine->bus, at, bytes, size) ? size : 0;
}

static size_t write_memory(struct gdb *gdb, uint64_t at, const uint8_t *bytes, size_t size)
{
	struct cpu *cpu = current(gdb);

	if (!gdb->physical)
		return mem_debug_write(cpu, at, bytes, size);
	return bus_write_bytes(gdb->machine->bus, at, bytes, size) ? size : 0;
}

/* m ADDRESS,LENGTH and M ADDRESS,LENGTH:BYTES. */
static void memory(struct gdb *gdb, const char *text)
{
	uint8_t bytes[PACKET / 2];
	char *rest;
	uint64_t at = strtoull(text + 1, &rest, 16);
	size_t size = *rest == ',' ? strtoull(rest + 1, &rest, 16) : 0;

	if (size > sizeof(bytes))
		size = sizeof(bytes);
	if (*text == 'm') {
		size = read_memory(gdb, at, bytes, size);
		if (size)
			answer_hex(gdb, bytes, size);
		else
			answer(gdb, "E14");
		return;
	}
	size = *rest == ':' ? take_hex(rest + 1, bytes, size) : 0;
	answer(gdb, write_memory(gdb, at, bytes, size) == size ? "OK" : "E14");
}

static void all_registers(struct gdb *gdb)
{
	uint8_t bytes[2048];
	size_t size = 0;

	for (unsigned i = 0; i < gdb_register_count(); i++)
		size += gdb_register_get(current(gdb), i, bytes + size);
	answer_hex(gdb, bytes, size);
}

static void set_all_registers(struct gdb *gdb, const char *text)
{
	uint8_t bytes[2048 + 16] = {0};
	size_t size = take_hex(text, bytes, 2048), at = 0;

	for (unsigned i = 0; i < gdb_register_count() && at < size; i++)
		at += gdb_register_set(current(gdb), i, bytes + at);
	machine_cpu_changed(gdb->machine, gdb->cpu);
	answer(gdb, "OK");
}

static void one_register(struct gdb *gdb, const char *text)
{
	uint8_t bytes[16] = {0};
	char *rest;
	unsigned number = (unsigned)strtoul(text + 1, &rest, 16), size;

	if (*text == 'p') {
		size = gdb_register_get(current(gdb), number, bytes);
		if (size)
			answer_hex(gdb, bytes, size);
		else
			answer(gdb, "E01");
		return;
	}
	if (*rest == '=')
		take_hex(rest + 1, bytes, sizeof(bytes));
	size = gdb_register_set(current(gdb), number, bytes);
	machine_cpu_changed(gdb->machine, gdb->cpu);
	answer(gdb, size ? "OK" : "E01");
}

/* qXfer:features:read:target.xml:OFFSET,LENGTH */
static void transfer_features(struct gdb *gdb, const char *text)
{
	static const char name[] = "target.xml:";
	size_t offset, length, size = strlen(gdb->target_xml);
	char *rest, *piece;

	if (strncmp(text, name, sizeof(name) - 1)) {
		answer(gdb, "E00");
		return;
	}
	offset = strtoull(text + sizeof(name) - 1, &rest, 16);
	length = *rest == ',' ? strtoull(rest + 1, NULL, 16) : 0;
	if (offset > size)
		offset = size;
	if (length > PACKET - 8)
		length = PACKET - 8;
	if (length > size - offset)
		length = size - offset;
	piece = xasprintf("%c%.*s", offset + length < size ? 'm' : 'l', (int)length, gdb->target_xml + offset);
	answer(gdb, piece);
	free(piece);
}

/* qRcmd,HEX: a monitor command; what it says goes back as console output. */
static void monitor_command(struct gdb *gdb, const char *text)
{
	uint8_t line[PACKET / 2 + 1] = {0};
	char *said = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&said, &size);

	take_hex(text, line, PACKET / 2);
	if (to) {
		monitor_execute(gdb->monitor, (const char *)line, to);
		fclose(to);
	}
	for (size_t at = 0; at < size; at += PACKET / 4) {
		char piece[PACKET / 2 + 2] = "O";
		size_t count = min_u64(size - at, PACKET / 4);

		for (size_t i = 0; i < count; i++)
			sprintf(piece + 1 + 2 * i, "%02x", (uint8_t)said[at + i]);
		answer(gdb, piece);
	}
	free(said);
	answer(gdb, "OK");
}

static void threads(struct gdb *gdb)
{
	char text[4 * MACHINE_MAX_CPUS + 2] = "m";
	size_t size = 1;

	for (unsigned i = 0; i < machine_cpus(gdb->machine); i++)
		size += (size_t)sprintf(text + size, "%s%02x", i ? "," : "", i + 1);
	answer(gdb, text);
}

static void thread_info(struct gdb *gdb, const char *text)
{
	unsigned cpu = gdb->cpu;
	char info[128], level[48];
	const struct cpu *of;
	int size;

	if (!thread(gdb, text, &cpu)) {
		answer(gdb, "E22");
		return;
	}
	of = machine_cpu(gdb->machine, cpu);
	size = snprintf(info, sizeof(info), "CPU#%u [%s%s%s]", cpu,
			of->activity == ACTIVITY_ACTIVE ? "running" : "halted ",
			vmx_level(of, level, sizeof(level)) ? ", " : "", level);
	answer_hex(gdb, (const uint8_t *)info, (size_t)size);
}

static bool begins(const char *text, const char *with, const char **rest)
{
	size_t size = strlen(with);

	*rest = text + size;
	return !strncmp(text, with, size);
}

static void query(struct gdb *gdb, const char *text)
{
	const char *rest;
	char reply[32];

	if (begins(text, "qSupported", &rest)) {
		snprintf(reply, sizeof(reply), "PacketSize=%x;", PACKET);
		char *all = xasprintf("%sqXfer:features:read+;vContSupported+;QStartNoAckMode+", reply);

		answer(gdb, all);
		free(all);
	} else if (begins(text, "qXfer:features:read:", &rest)) {
		transfer_features(gdb, rest);
	} else if (begins(text, "qRcmd,", &rest)) {
		monitor_command(gdb, rest);
	} else if (begins(text, "qThreadExtraInfo,", &rest)) {
		thread_info(gdb, rest);
	} else if (begins(text, "qAttached", &rest)) {
		answer(gdb, "1");
	} else if (!strcmp(text, "qfThreadInfo")) {
		threads(gdb);
	} else if (!strcmp(text, "qsThreadInfo")) {
		answer(gdb, "l");
	} else if (!strcmp(text, "qC")) {
		snprintf(reply, sizeof(reply), "QC%02x", gdb->cpu + 1);
		answer(gdb, reply);
	} else if (!strcmp(text, "qqemu.PhyMemMode")) {
		answer(gdb, gdb->physical ? "1" : "0");
	} else {
		answer(gdb, "");
	}
}

static void setting(struct gdb *gdb, const char *text)
{
	const char *rest;

	if (!strcmp(text, "QStartNoAckMode")) {
		answer(gdb, "OK");
		gdb->no_ack = true;
	} else if (begins(text, "Qqemu.PhyMemMode:", &rest)) {
		gdb->physical = *rest == '1';
		answer(gdb, "OK");
	} else {
		answer(gdb, "");
	}
}

/* Z0,ADDRESS,KIND and Z1; z takes it away. */
static void breakpoint(struct gdb *gdb, const char *text)
{
	if ((text[1] != '0' && text[1] != '1') || text[2] != ',') {
		answer(gdb, "");
		return;
	}
	machine_set_breakpoint(gdb->machine, strtoull(text + 3, NULL, 16), *text == 'Z');
	answer(gdb, "OK");
}

/* c and s may name where to go on; C and S have a signal before it, which means nothing here. */
static void old_resume(struct gdb *gdb, const char *text)
{
	const char *address = *text == 'c' || *text == 's' ? text + 1 : strchr(text, ';') ? strchr(text, ';') + 1 : "";

	if (*address) {
		current(gdb)->rip = strtoull(address, NULL, 16);
		machine_cpu_changed(gdb->machine, gdb->cpu);
	}
	resume(gdb, (*text | 32) == 's', gdb->cpu);
}

static void detach(struct gdb *gdb)
{
	gdb->awaited = gdb->no_ack = gdb->physical = false;
	machine_resume(gdb->machine);
}

static void command(struct gdb *gdb, const char *text)
{
	const char *rest;

	if (machine_stopped(gdb->machine) == STOP_NONE)
		machine_pause(gdb->machine);
	switch (*text) {
	case '?': answer_stop(gdb); break;
	case '!': answer(gdb, "OK"); break;
	case 'g': all_registers(gdb); break;
	case 'G': set_all_registers(gdb, text + 1); break;
	case 'p':
	case 'P': one_register(gdb, text); break;
	case 'm':
	case 'M': memory(gdb, text); break;
	case 'c':
	case 'C':
	case 's':
	case 'S': old_resume(gdb, text); break;
	case 'Z':
	case 'z': breakpoint(gdb, text); break;
	case 'H': answer(gdb, thread(gdb, text + 2, &gdb->cpu) ? "OK" : "E22"); break;
	case 'T': {
		unsigned unused;

		answer(gdb, thread(gdb, text + 1, &unused) ? "OK" : "E22");
		break;
	}
	case 'q': query(gdb, text); break;
	case 'Q': setting(gdb, text); break;
	case 'v':
		if (!strcmp(text, "vCont?"))
			answer(gdb, "vCont;c;C;s;S");
		else if (begins(text, "vCont", &rest) && *rest == ';')
			resume_list(gdb, rest);
		else if (begins(text, "vKill", &rest))
			answer(gdb, "OK"), machine_end(gdb->machine, 0);
		else
			answer(gdb, "");
		break;
	case 'D':
		answer(gdb, "OK");
		detach(gdb);
		break;
	case 'k': machine_end(gdb->machine, 0); break;
	default: answer(gdb, ""); break;
	}
}

static void received(struct gdb *gdb)
{
	bool good = gdb->sum == gdb->sum_said;

	/* The first thing that a new client says: what its predecessor agreed on is over. */
	if (!strncmp(gdb->packet, "qSupported", 10))
		gdb->no_ack = gdb->awaited = gdb->physical = false;
	if (!gdb->no_ack)
		chardev_write(gdb->chardev, good ? "+" : "-", 1);
	gdb->packet[gdb->size] = 0;
	if (good || gdb->no_ack)
		command(gdb, gdb->packet);
}

static void receive(struct gdb *gdb, uint8_t byte)
{
	switch (gdb->receiving) {
	case IDLE:
		if (byte == '$') {
			gdb->receiving = BODY;
			gdb->size = 0;
			gdb->sum = 0;
		} else if (byte == 3) {
			if (machine_stopped(gdb->machine) == STOP_NONE)
				machine_pause(gdb->machine);
			else
				stopped(gdb);
		}
		break;
	case BODY:
		if (byte == '#') {
			gdb->receiving = SUM1;
		} else if (byte == '$' || gdb->size == PACKET) {
			gdb->receiving = byte == '$' ? BODY : IDLE;
			gdb->size = 0;
			gdb->sum = 0;
		} else {
			gdb->packet[gdb->size++] = (char)byte;
			gdb->sum += byte;
		}
		break;
	case SUM1:
		gdb->sum_said = (uint8_t)(digit((char)byte) << 4);
		gdb->receiving = SUM2;
		break;
	case SUM2:
		gdb->sum_said |= (uint8_t)(digit((char)byte) & 15);
		gdb->receiving = IDLE;
		received(gdb);
		break;
	}
}

static void ready(void *ctx)
{
	struct gdb *gdb = ctx;
	uint8_t bytes[256];
	size_t size;

	while ((size = chardev_read(gdb->chardev, CHARDEV_SERIAL, bytes, sizeof(bytes))) > 0) {
		for (size_t i = 0; i < size; i++)
			receive(gdb, bytes[i]);
	}
}

struct gdb *gdb_create(struct machine *machine, struct chardev *chardev)
{
	struct gdb *gdb = xcalloc(1, sizeof(*gdb));

	gdb->machine = machine;
	gdb->chardev = chardev;
	gdb->monitor = monitor_create(machine, NULL, CHARDEV_MONITOR);
	gdb->target_xml = gdb_target_xml();
	chardev_connect(chardev, CHARDEV_SERIAL, &(struct chardev_client){.ready = ready, .ctx = gdb});
	machine_on_stop(machine, stopped, gdb);
	return gdb;
}

void gdb_destroy(struct gdb *gdb)
{
	char text[8];

	if (!gdb)
		return;
	if (gdb->awaited) {
		snprintf(text, sizeof(text), "W%02x", machine_status(gdb->machine) & 0xff);
		answer(gdb, text);
	}
	chardev_connect(gdb->chardev, CHARDEV_SERIAL, &(struct chardev_client){0});
	machine_on_stop(gdb->machine, NULL, NULL);
	monitor_destroy(gdb->monitor);
	free(gdb->target_xml);
	free(gdb);
}
