/*
 * Requests of devices to memory: may the function ask, where does the address lead, and is it a message rather than
 * memory.
 *
 * PCI Local Bus 3.0, "Device Control" (Bus Master); SDM vol. 3, "Message Address Register Format" (FEExxxxxH).
 */
#include "pci/dma.h"
#include "base/bits.h"
#include "pci/root.h"

#define MESSAGES_FIRST UINT64_C(0xfee00000)
#define MESSAGES_LAST  UINT64_C(0xfeefffff)

static bool send_message(struct pci_function *function, iova_t iova, const void *from, size_t size)
{
	struct msi msi = {.address = iova, .requester = pci_bdf(function)};
	const struct msi_sink *sink = function->root->sink;

	if (size != 4 || !is_aligned(iova, 4) || !sink->send)
		return false;
	msi.data = (uint32_t)load_le(from, 4);
	sink->send(sink->ctx, &msi);
	return true;
}

static bool aborted(void *to, size_t size)
{
	if (to)
		memset(to, 0xff, size);
	return false;
}

/*
 * One request that the path keeps together, a read (to) or a write (from). *size shrinks to what was done; false: a
 * part was aborted.
 */
static bool request(struct pci_function *function, iova_t iova, void *to, const void *from, size_t *size)
{
	struct pci_root *root = function->root;
	size_t whole = *size;
	pa_t pa = iova;

	if (iova >= MESSAGES_FIRST && iova <= MESSAGES_LAST) {
		*size = min_u64(whole, MESSAGES_LAST - iova + 1);
		return from ? send_message(function, iova, from, *size) : aborted(to, *size);
	}
	if (iova < MESSAGES_FIRST)
		*size = whole = min_u64(whole, MESSAGES_FIRST - iova);
	if (root->dma.translate) {
		if (!root->dma.translate(root->dma.ctx, pci_bdf(function), iova, from != NULL, &pa, size)) {
			*size = min_u64(whole, 4096 - iova % 4096);
			return aborted(to, *size);
		}
		*size = max_u64(1, min_u64(*size, whole));
	}
	return from ? bus_write_bytes(root->bus, pa, from, *size) : bus_read_bytes(root->bus, pa, to, *size);
}

bool dma_read(struct pci_function *function, iova_t iova, void *to, size_t size)
{
	bool all = true;

	if (!pci_bus_master(function))
		return aborted(to, size);
	for (size_t done = 0, some; done < size; done += some) {
		some = size - done;
		all &= request(function, iova + done, (uint8_t *)to + done, NULL, &some);
	}
	return all;
}

bool dma_write(struct pci_function *function, iova_t iova, const void *from, size_t size)
{
	bool all = true;

	if (!pci_bus_master(function))
		return false;
	for (size_t done = 0, some; done < size; done += some) {
		some = size - done;
		all &= request(function, iova + done, NULL, (const uint8_t *)from + done, &some);
	}
	return all;
}
