/*
 * The loops themselves; see loops.h. Freestanding C, no calls to a library, plain x86-64 (SSE2) as every machine has
 * it.
 */
#include "loops.h"

#include <emmintrin.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One loop runs at a time, so they share their memory. */
static union {
	uint8_t bytes[4 << 20];
	uint32_t words[1 << 20];
	uint64_t quads[1 << 19];
	double doubles[1 << 19];
	float floats[1 << 20];
} arena __attribute__((aligned(4096)));

/* A linear congruential generator: the same numbers everywhere. */
static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void fill_text(uint8_t *text, size_t size)
{
	static const char words[][8] = {"the",	 "guest", "page", "of",	   "a",	     "table", "entry", "and",
					"fault", "to",	  "read", "write", "memory", "is",    "exit",  "that"};
	uint32_t seed = 42;
	size_t at = 0;

	while (at < size) {
		const char *word = words[next_random(&seed) % COUNT(words)];

		for (; *word && at < size; word++)
			text[at++] = (uint8_t)*word;
		if (at < size)
			text[at++] = next_random(&seed) % 12 ? ' ' : '\n';
	}
}

static uint64_t loop_crc(void)
{
	uint32_t table[256];
	uint8_t *data = arena.bytes;
	uint32_t crc = ~0u;

	for (uint32_t i = 0; i < COUNT(table); i++) {
		uint32_t value = i;

		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
		table[i] = value;
	}
	for (size_t i = 0; i < 1 << 16; i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	for (int round = 0; round < 16; round++)
		for (size_t i = 0; i < 1 << 16; i++)
			crc = table[(uint8_t)(crc ^ data[i])] ^ crc >> 8;
	return ~crc;
}

struct node {
	struct node *next;
	uint64_t value;
};

/* Nodes in a scattered order, so that the next one is seldom near. */
static uint64_t loop_list(void)
{
	enum { NODES = 1 << 15 };
	struct node *nodes = (struct node *)arena.bytes;
	uint64_t sum = 0;
	size_t at = 0;

	for (size_t i = 0; i < NODES; i++) {
		size_t next = (at + 12345) % NODES; /* an odd stride visits all of a power of two */

		nodes[at] = (struct node){.next = i + 1 < NODES ? &nodes[next] : NULL, .value = i};
		at = next;
	}
	for (int round = 0; round < 32; round++)
		for (const struct node *n = &nodes[0]; n; n = n->next)
			sum = sum * 3 + n->value;
	return sum;
}

static int compare_words(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Quicksort as libraries have it: comparison through a pointer, recursion on the smaller part. */
static void sort(uint32_t *low, uint32_t *high, int (*compare)(const void *, const void *))
{
	while (low < high) {
		uint32_t pivot = low[(high - low) / 2];
		uint32_t *i = low, *j = high;

		do {
			while (compare(i, &pivot) < 0)
				i++;
			while (compare(j, &pivot) > 0)
				j--;
			if (i <= j) {
				uint32_t t = *i;

				*i++ = *j;
				*j-- = t;
			}
		} while (i <= j);
		if (j - low < high - i) {
			sort(low, j, compare);
			low = i;
		} else {
			sort(i, high, compare);
			high = j;
		}
	}
}

static uint64_t loop_qsort(void)
{
	enum { WORDS = 30000 };
	uint32_t *words = arena.words;
	int (*volatile compare)(const void *, const void *) = compare_words;
	uint32_t seed = 1;
	uint64_t sum = 0;

	for (size_t i = 0; i < WORDS; i++)
		words[i] = next_random(&seed);
	sort(words, words + WORDS - 1, compare);
	for (size_t i = 0; i < WORDS; i++)
		sum = sum * 31 + words[i];
	return sum;
}

/* Not inlined and not turned into a loop: calls and returns are the point. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static uint64_t fib(unsigned int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t loop_fib(void)
{
	return fib(25);
}

enum opcode { OP_PUSH, OP_ADD, OP_MUL, OP_LOAD, OP_STORE, OP_XOR, OP_SHIFT, OP_LESS, OP_JUMP_IF, OP_END };

/* A stack machine: s = 1; for (i = 0; i < 60000; i++) s = (s * 5 + i) ^ (s >> 3); */
static uint64_t loop_bytecode(void)
{
	static const int32_t program[] = {
		OP_PUSH,	 1, OP_STORE, 0,	OP_PUSH, 0,	  OP_STORE, 1,
		/* 8 */ OP_LOAD, 0, OP_PUSH,  5,	OP_MUL,	 OP_LOAD, 1,	    OP_ADD,	OP_LOAD, 0,
		OP_SHIFT,	 3, OP_XOR,   OP_STORE, 0,	 OP_LOAD, 1,	    OP_PUSH,	1,	 OP_ADD,
		OP_STORE,	 1, OP_LOAD,  1,	OP_PUSH, 60000,	  OP_LESS,  OP_JUMP_IF, 8,	 OP_END,
	};
	const int32_t *volatile start = program; /* the compiler must not see what is interpreted */
	const int32_t *pc = start;
	uint64_t stack[16], variables[4] = {0};
	uint64_t *top = stack;

	for (;;) {
		switch (*pc++) {
		case OP_PUSH: *top++ = (uint64_t)*pc++; break;
		case OP_ADD:
			top--;
			top[-1] += top[0];
			break;
		case OP_MUL:
			top--;
			top[-1] *= top[0];
			break;
		case OP_LOAD: *top++ = variables[*pc++]; break;
		case OP_STORE: variables[*pc++] = *--top; break;
		case OP_XOR:
			top--;
			top[-1] ^= top[0];
			break;
		case OP_SHIFT: top[-1] >>= *pc++; break;
		case OP_LESS:
			top--;
			top[-1] = top[-1] < top[0];
			break;
		case OP_JUMP_IF: pc = *--top ? start + *pc : pc + 1; break;
		default: return variables[0];
		}
	}
}

/* Open addressing in a table of 2 MiB: counts how often each key comes. */
static uint64_t loop_hash(void)
{
	enum { SLOTS = 1 << 17, KEYS = 90000 };
	struct slot {
		uint64_t key, count;
	} *slots = (struct slot *)arena.bytes;
	uint32_t seed = 7;
	uint64_t sum = 0;

	for (size_t i = 0; i < SLOTS; i++)
		slots[i] = (struct slot){0, 0};
	for (int i = 0; i < 3 * KEYS; i++) {
		uint64_t key = next_random(&seed) % KEYS + 1;
		size_t at = key * 0x9e3779b97f4a7c15 >> 47;

		while (slots[at].key && slots[at].key != key)
			at = (at + 1) % SLOTS;
		slots[at].key = key;
		sum += ++slots[at].count * at;
	}
	return sum;
}

static uint32_t rotate(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/* FIPS 180-4. The constants are the fractions of cube roots; computed once here, in integers, they need no table. */
static uint64_t loop_sha256(void)
{
	enum { BLOCKS = 1024 };
	uint32_t k[64],
		h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	uint32_t found = 0;

	for (uint32_t n = 2; found < COUNT(k); n++) {
		int prime = 1;
		unsigned __int128 low = 0, high = (unsigned __int128)8 << 32;

		for (uint32_t d = 2; d * d <= n; d++)
			prime &= n % d != 0;
		if (!prime)
			continue;
		while (high - low > 1) { /* the cube root of n with 32 bits after the point */
			unsigned __int128 middle = (low + high) / 2;

			if (middle * middle * middle >> 32 <= (unsigned __int128)n << 64)
				low = middle;
			else
				high = middle;
		}
		k[found++] = (uint32_t)low;
	}
	for (size_t i = 0; i < BLOCKS * 16; i++)
		arena.words[i] = (uint32_t)i * 2654435761u;
	for (size_t block = 0; block < BLOCKS; block++) {
		uint32_t w[64], s[8];

		for (int i = 0; i < 16; i++)
			w[i] = __builtin_bswap32(arena.words[block * 16 + (size_t)i]);
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (int i = 0; i < 8; i++)
			s[i] = h[i];
		for (int i = 0; i < 64; i++) {
			uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
				      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
			uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
				      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

			s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + t1;
			s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			h[i] += s[i];
	}
	return (uint64_t)h[0] << 32 | h[7];
}

/* Schoolbook products of 2048-bit numbers, each the next one's factor: MUL, ADC. */
static uint64_t loop_bignum(void)
{
	enum { LIMBS = 32 };
	uint64_t a[LIMBS], b[LIMBS], product[2 * LIMBS];

	for (int i = 0; i < LIMBS; i++) {
		a[i] = 0x0123456789abcdef * (uint64_t)(2 * i + 1);
		b[i] = 0xfedcba9876543210 ^ (uint64_t)i << 40;
	}
	for (int round = 0; round < 800; round++) {
		for (int i = 0; i < 2 * LIMBS; i++)
			product[i] = 0;
		for (int i = 0; i < LIMBS; i++) {
			uint64_t carry = 0;

			for (int j = 0; j < LIMBS; j++) {
				unsigned __int128 t = (unsigned __int128)a[i] * b[j] + product[i + j] + carry;

				product[i + j] = (uint64_t)t;
				carry = (uint64_t)(t >> 64);
			}
			product[i + LIMBS] = carry;
		}
		for (int i = 0; i < LIMBS; i++)
			a[i] = product[i + LIMBS / 2] | 1;
	}
	return a[0] ^ a[LIMBS - 1];
}

static uint64_t loop_sieve(void)
{
	enum { LIMIT = 1 << 20 };
	uint8_t *composite = arena.bytes;
	uint64_t primes = 0, sum = 0;

	for (size_t i = 0; i < LIMIT; i++)
		composite[i] = 0;
	for (size_t n = 2; n < LIMIT; n++) {
		if (composite[n])
			continue;
		primes++;
		sum += n;
		for (size_t m = n * n; m < LIMIT; m += n)
			composite[m] = 1;
	}
	return primes << 40 ^ sum;
}

static uint64_t loop_wc(void)
{
	enum { SIZE = 1 << 16 };
	uint64_t lines = 0, words = 0, longest = 0;

	fill_text(arena.bytes, SIZE);
	for (int round = 0; round < 12; round++) {
		uint64_t length = 0;
		int inside = 0;

		for (size_t i = 0; i < SIZE; i++) {
			uint8_t c = arena.bytes[i];

			if (c == '\n') {
				lines++;
				longest = length > longest ? length : longest;
				length = 0;
			} else {
				length++;
			}
			if (c == ' ' || c == '\n' || c == '\t') {
				inside = 0;
			} else if (!inside) {
				inside = 1;
				words++;
			}
		}
	}
	return lines << 40 ^ words << 16 ^ longest;
}

/* Eight bytes at a time, by plain moves; build flags keep the compiler from calling memcpy or using vectors. */
__attribute__((noinline, optimize("no-tree-vectorize"))) static void copy8(uint64_t *to, const uint64_t *from,
									   size_t count)
{
	for (size_t i = 0; i < count; i++)
		to[i] = from[i];
}

static uint64_t loop_memcpy8(void)
{
	enum { QUADS = 4096 };
	uint64_t *quads = arena.quads, sum = 0;

	for (size_t i = 0; i < 2 * QUADS + 8; i++)
		quads[i] = i * i;
	for (size_t round = 0; round < 400; round++)
		copy8(quads + QUADS + round % 8, quads + round % 16, QUADS - 16);
	for (size_t i = 0; i < 2 * QUADS; i++)
		sum = sum * 7 + quads[i];
	return sum;
}

/* LZ77 with a hash of three bytes, then back again. */
static uint64_t loop_lz(void)
{
	enum { SIZE = 100000, HASHES = 4096, WINDOW = 32768 };
	uint8_t *text = arena.bytes, *packed = text + (1 << 20), *again = packed + (1 << 20);
	uint32_t *recent = (uint32_t *)(again + (1 << 20)); /* position + 1 of the last three bytes with this hash */
	size_t in = 0, out = 0, size;
	uint64_t sum = 0;

	fill_text(text, SIZE);
	for (size_t i = 0; i < HASHES; i++)
		recent[i] = 0;
	while (in + 3 <= SIZE) {
		uint32_t key = (uint32_t)(text[in] | text[in + 1] << 8 | text[in + 2] << 16);
		uint32_t *entry = &recent[key * 2654435761u >> 20];
		size_t before = *entry, length = 0;

		*entry = (uint32_t)in + 1;
		if (before && in - (before - 1) < WINDOW)
			while (length < 127 && in + length < SIZE && text[before - 1 + length] == text[in + length])
				length++;
		if (length >= 4) {
			size_t distance = in - (before - 1);

			packed[out++] = (uint8_t)(0x80 | length);
			packed[out++] = (uint8_t)distance;
			packed[out++] = (uint8_t)(distance >> 8);
			in += length;
		} else {
			packed[out++] = text[in++] & 0x7f;
		}
	}
	size = in;
	for (size_t i = 0, to = 0; i < out;) {
		uint8_t c = packed[i++];

		if (c & 0x80) {
			size_t distance = (size_t)(packed[i] | packed[i + 1] << 8);

			i += 2;
			for (size_t n = c & 0x7f; n--; to++)
				again[to] = again[to - distance];
		} else {
			again[to++] = c;
		}
	}
	for (size_t i = 0; i < size; i++)
		sum += again[i] == text[i];
	return sum << 32 | out;
}

static uint64_t loop_syscall(void)
{
	enum { CALLS = 50000 };

	for (int i = 0; i < CALLS; i++)
		bench_syscall();
	return CALLS;
}

/* Touches fresh pages, so that each costs a page fault, a cleared page and a mapping. */
static uint64_t loop_pagefault(void)
{
	uint64_t sum = 0;

	for (int round = 0; round < 8; round++) {
		uint8_t *pages = bench_fresh_pages();

		for (size_t i = 0; i < BENCH_FRESH_PAGES; i++) {
			sum += pages[i * 4096 + 8];
			pages[i * 4096] = (uint8_t)i;
		}
		for (size_t i = 0; i < BENCH_FRESH_PAGES; i++)
			sum += pages[i * 4096];
		bench_drop_pages(pages);
	}
	return sum;
}

static uint64_t bits_of(double x)
{
	union {
		double d;
		uint64_t q;
	} u = {.d = x};

	return u.q;
}

/* A product of matrices of doubles: scalar SSE2, strided loads. */
static uint64_t loop_dmm(void)
{
	enum { N = 64 };
	double *a = arena.doubles, *b = a + N * N, *c = b + N * N;
	double trace = 0;

	for (int i = 0; i < N * N; i++) {
		a[i] = (i % 17 - 8) * 0.25;
		b[i] = (i % 23 - 11) * 0.125;
	}
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double sum = 0;

			for (int k = 0; k < N; k++)
				sum += a[i * N + k] * b[k * N + j];
			c[i * N + j] = sum / 3;
		}
	for (int i = 0; i < N; i++)
		trace += c[i * N + i];
	return bits_of(trace);
}

/* Packed single precision and packed integers together: a colour conversion with saturation. */
static uint64_t loop_sse(void)
{
	enum { PIXELS = 8192, ROUNDS = 100 };
	float *in = arena.floats;
	uint8_t *out = arena.bytes + (1 << 20);
	const __m128 scale = _mm_set1_ps(0.59f), offset = _mm_set1_ps(-3.25f), limit = _mm_set1_ps(4000.0f);
	uint64_t sum = 0;

	for (int i = 0; i < PIXELS; i++)
		in[i] = (float)(i * 7 % 1009);
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < PIXELS; i += 8) {
			__m128 x = _mm_loadu_ps(in + i), y = _mm_loadu_ps(in + i + 4);
			__m128i p, q;

			x = _mm_min_ps(_mm_add_ps(_mm_mul_ps(x, scale), offset), limit);
			y = _mm_min_ps(_mm_add_ps(_mm_mul_ps(y, scale), _mm_sqrt_ps(x)), limit);
			p = _mm_packs_epi32(_mm_cvttps_epi32(x), _mm_cvttps_epi32(y));
			q = _mm_srai_epi16(_mm_adds_epi16(p, _mm_shuffle_epi32(p, 0x4e)), 2);
			_mm_storel_epi64((__m128i *)(out + i), _mm_packus_epi16(_mm_max_epi16(p, q), q));
		}
	for (int i = 0; i < PIXELS; i++)
		sum = sum * 31 + out[i];
	return sum;
}

/* y += a * x, as compilers vectorise it. */
static uint64_t loop_axpy(void)
{
	enum { N = 8192 };
	double *x = arena.doubles, *y = x + N, sum = 0;

	for (int i = 0; i < N; i++) {
		x[i] = i * 0.5;
		y[i] = N - i;
	}
	for (int round = 0; round < 100; round++) {
		double a = 1.0 / (round + 1);

		for (int i = 0; i < N; i++)
			y[i] += a * x[i];
	}
	for (int i = 0; i < N; i++)
		sum += y[i];
	return bits_of(sum);
}

#define ROW(name, calls) {#name, loop_##name, calls},
const struct bench_loop bench_loops[] = {BENCH_LOOPS(ROW, ROW)};
const size_t bench_loop_count = COUNT(bench_loops);
