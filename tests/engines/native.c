/*
 * One instruction on the host CPU, in a sandbox of pages at fixed addresses, with every register given and every
 * register taken.
 *
 * Faults and traps arrive as signals, whose context has the vector, the error code and CR2 from the kernel. The handler
 * leaves the registers as they are and continues in the stub, which saves them.
 */
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <asm/prctl.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>
#include "layout.h"
#include "state.h"

extern const uint8_t stub_begin[], stub_enter64[], stub_enter32[], stub_return[], stub_end[];

/* Where this host keeps the components of XSAVE's standard format. */
static struct {
	unsigned ymm, k, zmm, high;
} at;

static volatile bool running;
static volatile uint64_t runs, runs_at_alarm;
static volatile struct outcome caught;
static volatile uint64_t caught_rsp;
static struct sigaction previous_sigfpe; /* host_simd_create() came first */

static bool is_canonical(uint64_t la)
{
	return (uint64_t)sign_extend(la, 48) == la;
}

static uint64_t *context(uint64_t at)
{
	return (uint64_t *)at;
}

static void on_signal(int signal, siginfo_t *info, void *raw)
{
	ucontext_t *uc = raw;
	greg_t *g = uc->uc_mcontext.gregs;

	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~RFLAGS_AC);
	if (!running && signal == SIGALRM)
		return;
	if (!running) { /* the engine's own SIGFPE, or a mistake */
		if (signal == SIGFPE)
			previous_sigfpe.sa_sigaction(signal, info, raw);
		else
			sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		return;
	}
	if (signal == SIGALRM && runs != runs_at_alarm && is_canonical((uint64_t)g[REG_RSP])) { /* this one is young */
		runs_at_alarm = runs;
		return;
	}
	running = false;
	caught.vector = signal == SIGALRM ? NATIVE_ENDLESS : (int)g[REG_TRAPNO];
	caught.error = (uint32_t)g[REG_ERR];
	caught.address = (uint64_t)g[REG_CR2];
	caught.rip = (uint64_t)g[REG_RIP];
	/* Some hypervisors cannot return from a signal to a stack pointer that is not canonical. */
	caught_rsp = (uint64_t)g[REG_RSP];
	g[REG_RSP] = (greg_t)DATA;
	g[REG_RIP] = (greg_t)(STUB + (stub_return - stub_begin));
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | USER_CS64;
}

static bool map_at(uint64_t where, size_t size, int protection, struct error *error)
{
	if (mmap((void *)where, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1,
		 0) == (void *)where)
		return true;
	return error_set(error, "cannot map the sandbox at %#llx: %m", (unsigned long long)where);
}

static unsigned component_offset(unsigned component)
{
	uint32_t a, b, c, d;

	__cpuid_count(0xd, component, a, b, c, d);
	return b;
}

bool native_create(struct error *error)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
	struct itimerval often = {{0, 100000}, {0, 100000}};
	static const uint8_t land64[] = {
		0xff, 0x24, 0x25, RETURN & 0xff, RETURN >> 8 & 0xff, RETURN >> 16 & 0xff, RETURN >> 24};
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	uint64_t back = STUB + (uint64_t)(stub_return - stub_begin);
	uint8_t land32[7] = {0xea, 0, 0, 0, 0, USER_CS64, 0};
	stack_t stack = {.ss_size = 65536};

	if (!map_at(CODE, CODE_SIZE + 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, error) ||
	    !map_at(DATA, DATA_SIZE + 0x1000, PROT_READ | PROT_WRITE, error) ||
	    !map_at(CONTEXT, CONTEXT_SIZE, PROT_READ | PROT_WRITE, error) ||
	    !map_at(STUB, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, error))
		return false;
	memset((void *)CODE, 0xcc, CODE_SIZE + 0x1000);
	memcpy((void *)LANDING64, land64, sizeof(land64));
	store_le(land32 + 1, 4, back);
	memcpy((void *)LANDING32, land32, sizeof(land32));
	memcpy((void *)STUB, stub_begin, (size_t)(stub_end - stub_begin));
	at.ymm = component_offset(2);
	at.k = component_offset(5);
	at.zmm = component_offset(6);
	at.high = component_offset(7);
	*context(RETURN) = back;
	*context(DEFAULT_MXCSR) = 0x1f80;
	mprotect((void *)CODE, CODE_SIZE + 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
	mprotect((void *)READ_ONLY, 0x1000, PROT_READ);
	stack.ss_sp = malloc(stack.ss_size);
	if (sigaltstack(&stack, NULL) || syscall(SYS_arch_prctl, ARCH_SET_GS, DATA))
		return error_set(error, "cannot prepare the sandbox: %m");
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(USER_DS));
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, signals[i] == SIGFPE ? &previous_sigfpe : NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	return true;
}

bool native_has_code32(void)
{
	uint32_t rights = 0;
	bool valid;

	__asm__("lar %2, %0" : "=r"(rights), "=@ccz"(valid) : "r"(USER_CS32));
	return valid && (rights & AR_CODE << 8) && (rights & AR_DB << 8);
}

void native_write_code(uint64_t where, const uint8_t *bytes, size_t size)
{
	memcpy((void *)where, bytes, size);
}

static bool is_zero(const void *bytes, size_t size)
{
	const uint8_t *b = bytes;

	while (size && !*b)
		b++, size--;
	return size == 0;
}

/* XSTATE_BV: what has its initial value is loaded as that, so that the host does not count it as in use. */
static uint64_t in_use(const struct state *s)
{
	uint64_t bv = BIT(0);

	for (unsigned i = 0; i < 16; i++)
		bv |= (is_zero(s->v[i].b, 16) ? 0 : BIT(1)) | (is_zero(s->v[i].b + 16, 16) ? 0 : BIT(2)) |
		      (is_zero(s->v[i].b + 32, 32) ? 0 : BIT(6)) | (is_zero(&s->v[16 + i], 64) ? 0 : BIT(7));
	return bv | (is_zero(s->k, sizeof(s->k)) ? 0 : BIT(5));
}

static void put_vectors(const struct state *s)
{
	uint8_t *area = (uint8_t *)IN_XSAVE;

	memcpy(area, s->x87, sizeof(s->x87));
	store_le(area + 24, 4, s->mxcsr);
	store_le(area + 28, 4, 0xffff);
	memset(area + 512, 0, 64);
	store_le(area + 512, 8, in_use(s));
	for (unsigned i = 0; i < 16; i++) {
		memcpy(area + 160 + 16 * i, s->v[i].b, 16);
		memcpy(area + at.ymm + 16 * i, s->v[i].b + 16, 16);
		memcpy(area + at.zmm + 32 * i, s->v[i].b + 32, 32);
		memcpy(area + at.high + 64 * i, s->v[16 + i].b, 64);
	}
	memcpy(area + at.k, s->k, 64);
}

static void get_vectors(struct state *s)
{
	const uint8_t *area = (const uint8_t *)OUT_XSAVE;

	memcpy(s->x87, area, 5);
	memset(s->x87 + 5, 0, 27);
	memcpy(s->x87 + 32, area + 32, 128);
	s->mxcsr = (uint32_t)load_le(area + 24, 4);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(s->v[i].b, area + 160 + 16 * i, 16);
		memcpy(s->v[i].b + 16, area + at.ymm + 16 * i, 16);
		memcpy(s->v[i].b + 32, area + at.zmm + 32 * i, 32);
		memcpy(s->v[16 + i].b, area + at.high + 64 * i, 64);
	}
	memcpy(s->k, area + at.k, 64);
}

void native_run(bool code64, bool vectors, uint64_t rip, struct state *state, struct outcome *outcome)
{
	const uint8_t *enter = code64 ? stub_enter64 : stub_enter32;

	memcpy(context(IN_GPR), state->r, sizeof(state->r));
	*context(IN_RFLAGS) = state->rflags;
	*context(ENTRY) = code64 ? rip : rip | (uint64_t)USER_CS32 << 32;
	*context(WITH_VECTORS) = vectors;
	if (vectors)
		put_vectors(state);
	caught.vector = -1;
	runs++;
	running = true;
	((void (*)(void))(STUB + (enter - stub_begin)))();
	running = false;
	memcpy(state->r, context(OUT_GPR), sizeof(state->r));
	state->rflags = *context(OUT_RFLAGS);
	if (vectors)
		get_vectors(state);
	*outcome = caught;
	if (outcome->vector != -1)
		state->r[RSP] = caught_rsp;
	else
		outcome->rip = code64 ? LANDING64 : LANDING32;
}
