/*
 * The VMM's own address space: all memory where it is.
 */
#ifndef VMM_BOOT_PAGING_H
#define VMM_BOOT_PAGING_H

#include "lib/types.h"

#define PAGING_END BIT(39) /* one page-directory-pointer table: 512 GiB. What lies beyond is not used */

/* Maps [first, end), from 4 GiB on; false if there is no memory for its tables. */
MUST_CHECK bool paging_add(pa_t first, pa_t end);

/* From now on, page 0 faults: null pointers. */
void paging_guard_null(void);

#endif
