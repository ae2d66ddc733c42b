/* Products, activations and sums over the examples of a batch.

Rows are examples or outputs: one after the other, each `row_length` reals long, a
multiple of LANES. Panels hold the same activations transposed: LANES examples per
panel, feature after feature, so that a vector is one feature of LANES examples,
whatever the width. All memory is aligned to VECTOR_BYTES. Every sum has one fixed
order: equal numbers give equal bits.
*/

#ifndef KERNELS_H
#define KERNELS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "steps.h"

/* ---- vectors as wide as the instruction set has them ---- */

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

#if defined __AVX512F__
#define VECTOR_BYTES 64
#define REGISTERS 32
#elif defined __AVX2__ && defined __FMA__
#define VECTOR_BYTES 32
#define REGISTERS 16
#elif defined __aarch64__
#define VECTOR_BYTES 16
#define REGISTERS 32
#else
#error "without AVX2 and FMA, or NEON, torch is faster"
#endif

/* Rows of a tile of `multiply` over one panel and over two; rows of a tile of
   `outer_product`, and vectors per row. A tile fits the registers. */
#define SINGLE_ROWS 12
#define PAIR_ROWS (REGISTERS == 16 ? 6 : 12)
#define OUTER_ROWS (REGISTERS == 16 ? 3 : 5)
#define OUTER_VECTORS (REGISTERS == 16 ? 4 : 5)

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

/* ---- kernels ---- */

/* The largest batch for which the small-batch products are faster. */
#define SMALL_BATCH (LANES / 3)

/* An element [row][column] lies at values[row * row_stride + column * column_stride].
   One of the strides is 1. */
typedef struct {
    const real *values;
    int64_t row_stride, column_stride;
} Matrix;

/* Panel p starts at values[p * stride]. */
typedef struct {
    real *values;
    int64_t stride;
} Panels;

/* What becomes of each element of an outer product `sum`:

       sum_output = sum                                     if sum_output is given
   else
       gradient = share * sum + other_share * other         (other: may be NULL)
       w = (1 - lr * weight_decay) * w - lr * gradient                  or, with
   velocity: v = momentum * v + gradient + weight_decay * w,  w = w - lr * v */
typedef struct {
    real *sum_output;
    real share, other_share;
    const real *other;
    real lr, weight_decay, momentum;
    real *weights, *velocity;
} Update;

/* C[row][b] = sum_k A[row][k] X[k][b] for `rows` rows, or C += A X. */
void multiply(Matrix a, int64_t rows, int64_t depth, Panels x, Panels c, int64_t panels,
              bool add);

/* sum_b E[row][b] H[b][i] for all rows of E, and its use.
   e: panels of `rows` features; h: `batch` rows. */
void outer_product(const real *e, int64_t rows, const real *h, int64_t row_length,
                   int64_t batch, const Update *update);

/* C[row][b] = sum_k A[row][k] H[b][k], from rows of A and H to one panel. */
void multiply_small_batch(const real *a, int64_t rows, const real *h,
                          int64_t row_length, int64_t batch, real *c);

/* C[i][b] = sum_o E[o][b] W[o][i] for i below `inputs`, from a panel and rows. */
void multiply_back_small_batch(const real *e, int64_t outputs, const real *w,
                               int64_t row_length, int64_t inputs, int64_t batch,
                               real *c);

void rows_to_panels(const real *rows, int64_t row_length, int64_t panels, real *to);
void panels_to_rows(const real *from, int64_t row_length, int64_t panels, real *rows);

/* Set z to max(z, 0). NaN stays NaN, so that divergence is not hidden. */
void relu(real *z, int64_t count);

/* Set e to 0 where h, the output of a ReLU, is 0. */
void relu_backward(const real *h, real *e, int64_t count);

/* errors = softmax(logits) - onehot(labels), for panels of `outputs` features; lanes
   beyond the batch are not touched. Add losses and hits to `sums`, unless it is NULL.
 */
void softmax_error(const real *logits, int64_t outputs, int64_t batch,
                   const int64_t *labels, real *errors, Sums *sums);

double sum_of_squares(const real *values, int64_t count);

/* Return the sum of a * b over all pairs of examples: matrices of panels * LANES
   examples each way, in panels. The sum is at least its own rounding error. */
double pair_sum(const real *a, const real *b, int64_t panels, int64_t batch);

#endif
