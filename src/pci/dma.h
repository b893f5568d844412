/*
 * The only door from a device to memory. Requests carry the function's requester ID, so that VT-d can stand in the path
 * without any change in devices.
 */
#pragma once

#include "pci/pci.h"

/* VT-d's place. translate == NULL: addresses are physical. Set by machine/build.c on the root. */
struct dma_ops {
	/*
	 * Translate up to *size bytes at iova for one requester; *size shrinks to what is contiguous. False: the
	 * request is aborted.
	 */
	bool (*translate)(void *ctx, uint16_t requester, iova_t iova, bool write, pa_t *pa, size_t *size);
	void *ctx;
};
void pci_root_connect_dma(struct pci_root *root, const struct dma_ops *ops);

/*
 * False when Bus Master Enable is clear or a part of the request was aborted; reads then give FFH for that part. A
 * write of one aligned dword to FEE00000H-FEEFFFFFH is an interrupt message and goes to the root's msi_sink; other
 * requests to that range are aborted.
 */
bool dma_read(struct pci_function *function, iova_t iova, void *to, size_t size);
bool dma_write(struct pci_function *function, iova_t iova, const void *from, size_t size);

static inline uint64_t dma_read_le(struct pci_function *function, iova_t iova, unsigned size)
{
	uint64_t value = 0;

	dma_read(function, iova, &value, size);
	return value;
}
