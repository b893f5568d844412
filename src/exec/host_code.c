/*
 * Executable memory for thunks, and the SIGFPE handler.
 *
 * Both belong to the process, not to a machine, so this file holds the one thing that machines share: made with the
 * first host_simd_create(), freed with the last host_simd_destroy(). A lock guards what grows; thunks never change once
 * made.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include "base/bits.h"
#include "exec/host_code.h"

/* Address space; memory is used as thunks are made, about 80 bytes each. */
#define CODE_SIZE (64u << 20)

struct host_block {
	struct host_block *next;
	uint64_t bytes[];
};

struct host_simd {
	unsigned users;
	uint8_t *write, *execute; /* two views of the same memory, because hosts may refuse one that is both */
	size_t used;
	const uint8_t *fault_exit;
	struct host_block *blocks; /* descriptions of forms, freed together */
	struct sigaction chained;
};

static struct host_simd simd;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * An unmasked SIMD floating-point exception inside a thunk: go on at the fault exit with the reason in RAX. Thunks have
 * nothing on the stack then. Touches only the interrupted context, so it is safe at any time.
 */
static void on_sigfpe(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];

	if (rip - (uintptr_t)simd.execute < CODE_SIZE) {
		uc->uc_mcontext.gregs[REG_RAX] = (greg_t)(THUNK_FAULT | uc->uc_mcontext.fpregs->mxcsr);
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)simd.fault_exit;
		uc->uc_mcontext.fpregs->mxcsr = MXCSR_RESET;
		return;
	}
	if (simd.chained.sa_flags & SA_SIGINFO) {
		simd.chained.sa_sigaction(signal, info, context);
	} else if (simd.chained.sa_handler != SIG_DFL && simd.chained.sa_handler != SIG_IGN) {
		simd.chained.sa_handler(signal);
	} else {
		/* Ours is a real one: let it happen again without us. */
		struct sigaction fatal = {.sa_handler = SIG_DFL};

		sigaction(SIGFPE, &fatal, NULL);
	}
}

static void *install(const uint8_t *code, size_t size)
{
	uint8_t *at = simd.execute + simd.used;

	if (simd.used + size > CODE_SIZE)
		return NULL;
	memcpy(simd.write + simd.used, code, size);
	simd.used += (size + 15) & ~(size_t)15;
	return at;
}

static bool map_code(struct error *error)
{
	int file = memfd_create("softvt-thunks", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, CODE_SIZE))
		return error_set(error, "cannot create memory for generated code: %m");
	simd.write = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	simd.execute = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	close(file);
	if (simd.write == MAP_FAILED || simd.execute == MAP_FAILED)
		return error_set(error, "cannot map memory for generated code: %m");
	return true;
}

static bool start(struct error *error)
{
	static const uint8_t plain[] = {0xdb, 0xe3, 0xc3};		   /* FNINIT, which cannot fault itself; RET */
	static const uint8_t avx[] = {0xdb, 0xe3, 0xc5, 0xf8, 0x77, 0xc3}; /* FNINIT; VZEROUPPER; RET */
	struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	if (!map_code(error))
		return false;
	simd.fault_exit = __builtin_cpu_supports("avx") ? install(avx, sizeof(avx)) : install(plain, sizeof(plain));
	sigaction(SIGFPE, &action, &simd.chained);
	return true;
}

static void stop(void)
{
	sigaction(SIGFPE, &simd.chained, NULL);
	munmap(simd.write, CODE_SIZE);
	munmap(simd.execute, CODE_SIZE);
	while (simd.blocks) {
		struct host_block *next = simd.blocks->next;

		free(simd.blocks);
		simd.blocks = next;
	}
	simd = (struct host_simd){0};
}

struct host_simd *host_simd_create(struct error *error)
{
	bool good;

	pthread_mutex_lock(&lock);
	good = simd.users || start(error);
	simd.users += good;
	pthread_mutex_unlock(&lock);
	return good ? &simd : NULL;
}

void host_simd_destroy(struct host_simd *unused)
{
	pthread_mutex_lock(&lock);
	if (unused && --simd.users == 0)
		stop();
	pthread_mutex_unlock(&lock);
}

void *host_install(const uint8_t *code, size_t size)
{
	void *at;

	pthread_mutex_lock(&lock);
	at = install(code, size);
	pthread_mutex_unlock(&lock);
	return at;
}

bool host_ready(void)
{
	return simd.users;
}

void *host_alloc(size_t size)
{
	struct host_block *block = xcalloc(1, sizeof(*block) + size);

	pthread_mutex_lock(&lock);
	block->next = simd.blocks;
	simd.blocks = block;
	pthread_mutex_unlock(&lock);
	return block->bytes;
}
