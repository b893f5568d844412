/*
 * Which device has which ports: ports.c has the table, the devices have these functions.
 */
#ifndef VMM_DEVICES_PORTS_H
#define VMM_DEVICES_PORTS_H

#include "lib/types.h"

struct vm;

/* An access of size bytes (1; 2 and 4 only where the table says that the device takes them) at vm_time() now. */
typedef uint32_t port_reader(struct vm *vm, uint16_t port, unsigned size, uint64_t now);
typedef void port_writer(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now);

#endif
