/*
 * PCI with a host bridge and, if the VM has one, a virtio disk: PCI Local Bus Specification 3.0, "Configuration Space"; configuration mechanism #1.
 */
#ifndef VMM_DEVICES_PCI_H
#define VMM_DEVICES_PCI_H

#include "devices/ports.h"

struct pci {
	uint32_t address; /* CONFIG_ADDRESS */
};

port_reader pci_read; /* 0CF8H to 0CFFH, but for 0CF9H */
port_writer pci_write;

#endif
