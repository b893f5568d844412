/*
 * A ticket lock. Interrupts are off wherever the VMM holds one (they are on only where a CPU idles), so a holder is never
 * interrupted. Order, where two are held: a VM's before the console's.
 */
#ifndef VMM_LIB_LOCK_H
#define VMM_LIB_LOCK_H

#include "lib/types.h"

struct lock {
	uint32_t next, serving;
};

static inline void lock_take(struct lock *lock)
{
	uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);

	while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket)
		__builtin_ia32_pause();
}

static inline void lock_release(struct lock *lock)
{
	__atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}

#endif
