/* Vectors as wide as the instruction set has them, and tiles that fit its registers. */

#ifndef VECTOR_H
#define VECTOR_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef DOUBLE
typedef double real;
typedef int64_t integer; /* as wide as a real */
#define EXP exp
#define LOG log
#define REAL_EPSILON DBL_EPSILON
#define REAL_BYTES 8
#else
typedef float real;
typedef int32_t integer;
#define EXP expf
#define LOG logf
#define REAL_EPSILON FLT_EPSILON
#define REAL_BYTES 4
#endif

/* PAIR_ROWS, SINGLE_ROWS: rows of a tile of `multiply` over two panels and over one.
   OUTER_ROWS, OUTER_VECTORS: rows of a tile of `outer_product`, and vectors per row. */
#define SINGLE_ROWS 12
#if defined __AVX512F__
#define VECTOR_BYTES 64
#define PAIR_ROWS 12
#define OUTER_ROWS 5
#define OUTER_VECTORS 5
#elif defined __AVX2__ && defined __FMA__
#define VECTOR_BYTES 32
#define PAIR_ROWS 6
#define OUTER_ROWS 3
#define OUTER_VECTORS 4
#elif defined __aarch64__
#define VECTOR_BYTES 16
#define PAIR_ROWS 12
#define OUTER_ROWS 5
#define OUTER_VECTORS 5
#else
#error "without AVX2 and FMA, or NEON, torch is faster"
#endif

#define LANES (VECTOR_BYTES / REAL_BYTES)

typedef real vec __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef integer lane_numbers __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define UNROLL _Pragma("GCC unroll 16")
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (lane_numbers){__VA_ARGS__})
#endif

/* Loops of a known number of turns, unrolled so that arrays stay in registers. */
#define REPEAT(i, count) UNROLL for (int i = 0; i < (count); i++)
#define REPEAT_HALVING(n, start) UNROLL for (int n = (start); n > 0; n /= 2)

INLINE long min(long a, long b) { return a < b ? a : b; }
INLINE long ceil_div(long n, long unit) { return (n + unit - 1) / unit; }

#endif
