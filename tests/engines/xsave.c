/*
 * XSAVE, XSAVEOPT, XSAVEC and XRSTOR against the host CPU: the image that is saved, the state that is restored, and
 * what is refused. SDM vol. 1, "Managing State Using the XSAVE Feature Set".
 *
 * Where the standard format has a component is up to the processor, so images are put in the layout of each. Left out:
 * the x87 instruction's address and opcode, which makers keep differently, and MXCSR_MASK.
 */
#include <cpuid.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "layout.h"
#include "xsave.h"

enum kind { XSAVE, XSAVEOPT, XSAVEC, XRSTOR, KINDS };

#define TRIED	 UINT64_C(0xe7) /* x87, SSE, AVX, and the three of AVX-512 */
#define HEADER	 512
#define EXTENDED 576
#define AREA	 2696
#define COMPACT	 BIT(63)

/* At the same place in DATA for both. */
struct image {
	uint8_t legacy[HEADER];
	uint64_t bv, comp, reserved[6];
	uint8_t component[8][1024];
};

struct run {
	enum kind kind;
	uint64_t rfbm;
	unsigned native_at[8], engine_at[8]; /* standard format */
	unsigned size[8];
	struct image before, native, engine;
};

static bool is_extended(unsigned i)
{
	return i >= 2 && (TRIED >> i & 1);
}

static void find_components(struct run *r, const struct engine *engine)
{
	for (unsigned i = 2; i < 8; i++) {
		uint32_t out[4] = {0};

		if (!is_extended(i))
			continue;
		__cpuid_count(0xd, i, out[0], out[1], out[2], out[3]);
		r->size[i] = out[0];
		r->native_at[i] = out[1];
		engine_cpuid(engine, 0xd, i, out);
		r->engine_at[i] = out[1];
	}
}

/* The compacted format has the components that XCOMP_BV names, one behind the other. */
static void compacted(const struct run *r, uint64_t comp, unsigned at[8])
{
	unsigned next = EXTENDED;

	for (unsigned i = 2; i < 8; i++)
		if (is_extended(i) && (comp >> i & 1)) {
			at[i] = next;
			next += r->size[i];
		}
}

static void copy_image(const struct run *r, struct image *image, uint8_t *area, const unsigned standard[8],
		       bool to_area)
{
	uint64_t comp = r->kind == XSAVEC ? r->rfbm | COMPACT : r->kind == XRSTOR ? r->before.comp : 0, mask = TRIED;
	unsigned at[8];

	memcpy(at, standard, sizeof(at));
	if (comp & COMPACT) {
		compacted(r, comp, at);
		mask &= comp;
	}
	if (to_area)
		memcpy(area, image, EXTENDED);
	else
		memcpy(image, area, EXTENDED);
	for (unsigned i = 2; i < 8; i++) {
		if (!is_extended(i) || !(mask >> i & 1))
			continue;
		if (to_area)
			memcpy(area + at[i], image->component[i], r->size[i]);
		else
			memcpy(image->component[i], area + at[i], r->size[i]);
	}
}

static void fill(struct random *random, void *to, size_t size)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)random_next(random);
}

/* The 160 bytes of x87 state in FXSAVE's layout, as a program could have made it. */
static void fill_x87(struct random *random, uint8_t *x87)
{
	memset(x87, 0, 160);
	store_le(x87, 2, (random_next(random) & 0x1f00) | 0x7f); /* all masked, so that no exception is pending */
	store_le(x87 + 2, 2, random_next(random) & 0x7f7f);
	x87[4] = (uint8_t)random_next(random);
	for (unsigned i = 0; i < 8; i++)
		fill(random, x87 + 32 + 16 * i, 10);
}

static void fill_state(struct random *random, struct state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		s->r[i] = random_next(random);
	s->rflags = 0x202;
	s->mxcsr = random_below(random, 3) ? 0x1f80 : (uint32_t)random_next(random) & 0xffff;
	fill_x87(random, s->x87);
	/* Each component is in its initial configuration now and then. */
	for (unsigned i = 0; i < 32; i++) {
		fill(random, s->v[i].b, 64);
	}
	fill(random, s->k, sizeof(s->k));
	if (random_below(random, 4) == 0)
		memset(s->k, 0, sizeof(s->k));
	if (random_below(random, 4) == 0)
		memset(s->v + 16, 0, 16 * 64);
	for (unsigned part = 0, bytes[] = {0, 16, 32, 64}; part < 3; part++)
		if (random_below(random, 4) == 0)
			for (unsigned i = 0; i < 16; i++)
				memset(s->v[i].b + bytes[part], 0, bytes[part + 1] - bytes[part]);
	if (random_below(random, 6) == 0) {
		memset(s->x87, 0, sizeof(s->x87));
		store_le(s->x87, 2, 0x37f);
	}
}

static void fill_image(struct run *r, struct random *random)
{
	struct image *image = &r->before;

	fill(random, image, sizeof(*image));
	if (r->kind != XRSTOR)
		return;
	fill_x87(random, image->legacy);
	store_le(image->legacy + 24, 4, random_next(random) & 0xffff);
	if (random_below(random, 16) == 0)
		image->legacy[26] = 0x10; /* reserved in MXCSR */
	image->bv = random_next(random) & TRIED;
	image->comp = random_below(random, 2) ? 0 : COMPACT | image->bv | (random_next(random) & TRIED);
	memset(image->reserved, 0, sizeof(image->reserved));
	switch (random_below(random, 24)) {
	case 0: image->bv |= BIT(40); break;
	case 1: image->comp ^= BIT(random_below(random, 8)); break;
	case 2: image->comp |= BIT(40); break;
	case 3: image->reserved[random_below(random, 6)] = BIT(random_below(random, 64)); break;
	case 4: image->comp ^= COMPACT; break;
	default: break;
	}
}

static const char *compare_legacy(const struct run *r)
{
	const uint8_t *n = r->native.legacy, *e = r->engine.legacy;

	if (memcmp(n, e, 5))
		return "x87 environment in the image";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(n + 32 + 16 * i, e + 32 + 16 * i, 10))
			return "x87 register in the image";
	if (memcmp(n + 24, e + 24, 4))
		return "MXCSR in the image";
	if (memcmp(n + 160, e + 160, HEADER - 160))
		return "XMM register in the image";
	return NULL;
}

/* A component may count as in use although it has its initial values; then its area may be written or not. */
static const char *compare_saved(const struct run *r)
{
	static const uint8_t zero[1024];
	uint64_t extra = r->native.bv & ~r->engine.bv;

	if (r->engine.bv & ~r->native.bv)
		return "XSTATE_BV";
	if (r->native.comp != r->engine.comp ||
	    memcmp(r->native.reserved, r->engine.reserved, sizeof(r->native.reserved)))
		return "header";
	for (unsigned i = 2; i < 8; i++) {
		if (!is_extended(i))
			continue;
		if (extra >> i & 1) {
			if (memcmp(r->native.component[i], zero, r->size[i]))
				return "component in use";
		} else if (memcmp(r->native.component[i], r->engine.component[i], r->size[i])) {
			return "component";
		}
	}
	return extra & 3 ? NULL : compare_legacy(r);
}

static const char *compare_state(const struct state *n, const struct state *e)
{
	if (memcmp(n->r, e->r, sizeof(n->r)))
		return "general register";
	if (n->mxcsr != e->mxcsr)
		return "MXCSR";
	if (memcmp(n->k, e->k, sizeof(n->k)))
		return "opmask";
	if (memcmp(n->v, e->v, sizeof(n->v)))
		return "vector register";
	if (memcmp(n->x87, e->x87, 5))
		return "x87 environment";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(n->x87 + 32 + 16 * i, e->x87 + 32 + 16 * i, 10))
			return "x87 register";
	return NULL;
}

bool xsave_compare(struct engine *engine, struct random *random, enum xsave_result *result)
{
	/* The form of [RDI]; with REX.W it is another mnemonic, which differs in what is not compared. */
	static const uint8_t opcode[KINDS][3] = {
		{0x0f, 0xae, 0x27}, {0x0f, 0xae, 0x37}, {0x0f, 0xc7, 0x27}, {0x0f, 0xae, 0x2f}};
	static const char *const names[KINDS] = {"XSAVE", "XSAVEOPT", "XSAVEC", "XRSTOR"};
	uint64_t at = CODE + 256 + 64 * random_below(random, 1000), address;
	static struct run run;
	struct run *r = &run;
	struct state native, emulated;
	struct outcome no, eo;
	const char *what;
	uint8_t code[9] = {0x48};
	unsigned prefix = random_below(random, 2);

	memset(r, 0, sizeof(*r));
	r->kind = (enum kind)random_below(random, KINDS);
	find_components(r, engine);
	fill_state(random, &native);
	r->rfbm = random_below(random, 4) ? random_next(random) & TRIED : TRIED;
	fill_image(r, random);
	address = DATA + 64 * random_below(random, (DATA_SIZE - AREA) / 64);
	native.r[RDI] = address;
	native.r[RAX] = r->rfbm | (random_next(random) & BITS(31, 20)); /* bits that XCR0 has nowhere */
	if (random_below(random, 16) == 0)
		native.r[RDI] = random_below(random, 2) ? DATA - 4096 : address + 1 + random_below(random, 63);
	copy_image(r, &r->before, (uint8_t *)address, r->native_at, true);
	copy_image(r, &r->before, engine_data(engine) + (address - DATA), r->engine_at, true);

	memcpy(code + prefix, opcode[r->kind], 3);
	code[prefix + 3] = 0xe9;
	store_le(code + prefix + 4, 4, LANDING64 - (at + prefix + 8));
	native_write_code(at, code, prefix + 8);
	engine_write_code(engine, at, code, prefix + 8);
	emulated = native;
	native_run(true, true, at, &native, &no);
	engine_run(engine, true, true, at, &emulated, &eo);
	memset(code, 0xcc, sizeof(code));
	native_write_code(at, code, sizeof(code));
	engine_write_code(engine, at, code, sizeof(code));

	copy_image(r, &r->native, (uint8_t *)address, r->native_at, false);
	copy_image(r, &r->engine, engine_data(engine) + (address - DATA), r->engine_at, false);
	*result = no.vector >= 0 ? XSAVE_FAULTED : XSAVE_RAN;
	what = no.vector != eo.vector ? "exception" : compare_state(&native, &emulated);
	if (!what)
		what = compare_saved(r);
	memcpy(engine_data(engine), (void *)DATA, DATA_SIZE);
	if (!what)
		return true;
	printf("FAIL %s%s: %s differs: RFBM %" PRIx64 "; header before %" PRIx64 " %" PRIx64 ", native %" PRIx64
	       " %" PRIx64 ", engine %" PRIx64 " %" PRIx64 "; vector native %d engine %d\n",
	       names[r->kind], prefix ? "" : "64", what, r->rfbm, r->before.bv, r->before.comp, r->native.bv,
	       r->native.comp, r->engine.bv, r->engine.comp, no.vector, eo.vector);
	return false;
}
