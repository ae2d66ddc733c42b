/* Products, activations and sums over the examples of a batch.

Numbers are stored as rows or as panels. A row is one example or one output. It is
`row_length` reals long, a multiple of LANES. A panel has the activations of LANES
examples, feature after feature. A vector is then one feature of LANES examples. Layers
of any width can therefore use whole vectors.

All memory is aligned to VECTOR_BYTES. The terms of a sum are always added in the same
order, so that equal inputs give equal bits.
*/

#ifndef KERNELS_H
#define KERNELS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "steps.h"

/* ---- vectors of the width of the instruction set ---- */

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
#error "C steps need AVX2 and FMA, or NEON: use the engine torch, which is faster here"
#endif

/* Sizes of tiles, which must fit the registers. SINGLE_ROWS and PAIR_ROWS are the rows
   of a tile of `multiply` over one panel and over two panels. OUTER_ROWS are the rows
   of a tile of `outer_product`, and OUTER_VECTORS the vectors per row. */
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

/* Loops with a constant number of iterations. The compiler unrolls the loops, so that
   arrays stay in registers. */
#define REPEAT(i, count) UNROLL for (int i = 0; i < (count); i++)
#define REPEAT_HALVING(n, start) UNROLL for (int n = (start); n > 0; n /= 2)

INLINE long min(long a, long b) { return a < b ? a : b; }
INLINE long ceil_div(long n, long unit) { return (n + unit - 1) / unit; }

/* ---- kernels ---- */

/* The largest batch for which the functions named small_batch are faster. */
#define SMALL_BATCH (LANES / 3)

/* A matrix. Element [row][column] is values[row * row_stride + column * column_stride].
   One of the two strides is 1. */
typedef struct {
    const real *values;
    int64_t row_stride, column_stride;
} Matrix;

/* A matrix in panels. Panel p starts at values[p * stride]. */
typedef struct {
    real *values;
    int64_t stride;
} Panels;

/* How `outer_product` uses an element of the outer product, which is called sum here.

   If sum_output is not NULL, the element is stored:
       sum_output = sum

   Otherwise, the weight w is updated with the gradient:
       gradient = share * sum + other_share * other     (without other if it is NULL)
   Without velocity:
       w = (1 - lr * weight_decay) * w - lr * gradient
   With velocity v:
       v = momentum * v + gradient + weight_decay * w
       w = w - lr * v */
typedef struct {
    real *sum_output;
    real share, other_share;
    const real *other;
    real lr, weight_decay, momentum;
    real *weights, *velocity;
} Update;

/* Compute C[row][b] = sum_k A[row][k] X[k][b] for `rows` rows. If `add` is true, add
   the product to C instead. */
void multiply(Matrix a, int64_t rows, int64_t depth, Panels x, Panels c, int64_t panels,
              bool add);

/* Compute sum_b E[row][b] H[b][i] for all rows of E, and use it as `update` says.
   `e` are panels of `rows` features. `h` are `batch` rows. */
void outer_product(const real *e, int64_t rows, const real *h, int64_t row_length,
                   int64_t batch, const Update *update);

/* Compute C[row][b] = sum_k A[row][k] H[b][k]. A and H are rows, and C is one panel. */
void multiply_small_batch(const real *a, int64_t rows, const real *h,
                          int64_t row_length, int64_t batch, real *c);

/* Compute C[i][b] = sum_o E[o][b] W[o][i] for all i below `inputs`. E and C are one
   panel each, and W is rows. */
void multiply_back_small_batch(const real *e, int64_t outputs, const real *w,
                               int64_t row_length, int64_t inputs, int64_t batch,
                               real *c);

/* Convert rows to panels, or panels to rows. */
void rows_to_panels(const real *rows, int64_t row_length, int64_t panels, real *to);
void panels_to_rows(const real *from, int64_t row_length, int64_t panels, real *rows);

/* Set z to max(z, 0). NaN stays NaN, so that a diverged network can be detected. */
void relu(real *z, int64_t count);

/* Set e to 0 where h, the output of a ReLU, is 0. */
void relu_backward(const real *h, real *e, int64_t count);

/* Compute errors = softmax(logits) - onehot(labels), for panels of `outputs` features.
   Lanes beyond the batch do not change. If `sums` is not NULL, add the losses and the
   number of correct predictions to `sums`. */
void softmax_error(const real *logits, int64_t outputs, int64_t batch,
                   const int64_t *labels, real *errors, Sums *sums);

double sum_of_squares(const real *values, int64_t count);

/* Return the sum of a * b over all pairs of examples. `a` and `b` are square matrices
   in panels, with panels * LANES examples on each side. If the sum is below its
   rounding error, return the rounding error. */
double pair_sum(const real *a, const real *b, int64_t panels, int64_t batch);

#endif
