/* Products, activations and sums over the examples of a batch.

A `real` is a float, or a double if DOUBLE is defined. A vector has LANES reals, as many
as a register holds. Numbers are stored as rows or as panels. A row has the numbers of
one example, or the weights of one output. Its length `row_length` is a multiple of
LANES. A panel has the activations of LANES examples, feature after feature. In a panel,
a vector is one feature of LANES examples, so layers of any width fill whole vectors.

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

#ifdef __aarch64__
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

/* ---- vectors as wide as the registers of the processor ---- */

#ifdef DOUBLE
typedef double real;
typedef int64_t integer; /* as wide as a real */
#define EXP exp
#define LOG log
#define LOG1P log1p
#define TANH_OF tanh
#define SIN sin
#define COS cos
#define REAL_EPSILON DBL_EPSILON
#define REAL_BYTES 8
#else
typedef float real;
typedef int32_t integer;
#define EXP expf
#define LOG logf
#define LOG1P log1pf
#define TANH_OF tanhf
#define SIN sinf
#define COS cosf
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
#error "C steps need AVX2 and FMA, or NEON: use torch (PLASTICITY_ENGINE=torch)"
#endif

/* Sizes of tiles, whose sums must fit into the registers. A tile of `multiply` has at
   most SINGLE_ROWS rows if it covers one panel, and PAIR_ROWS if it covers two. A tile
   of `outer_product` has at most OUTER_ROWS rows of OUTER_VECTORS vectors. */
#define SINGLE_ROWS 12
#define PAIR_ROWS (REGISTERS == 16 ? 6 : 12)
#define OUTER_ROWS (REGISTERS == 16 ? 3 : 5)
#define OUTER_VECTORS (REGISTERS == 16 ? 4 : 5)

#define SCRATCH_ROWS OUTER_ROWS

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

/* Loops with a constant number of iterations. The compiler unrolls them, so that the
   arrays in the loops stay in registers. */
#define REPEAT(i, count) UNROLL for (int i = 0; i < (count); i++)
#define REPEAT_HALVING(n, start) UNROLL for (int n = (start); n > 0; n /= 2)

/* Return the square root of each element. */
#if defined __aarch64__ && defined DOUBLE
#define SQRT_OF(x) ((vec)vsqrtq_f64((float64x2_t)(x)))
#elif defined __aarch64__
#define SQRT_OF(x) ((vec)vsqrtq_f32((float32x4_t)(x)))
#elif defined __AVX512F__ && defined DOUBLE
#define SQRT_OF(x) ((vec)_mm512_sqrt_pd((__m512d)(x)))
#elif defined __AVX512F__
#define SQRT_OF(x) ((vec)_mm512_sqrt_ps((__m512)(x)))
#elif defined DOUBLE
#define SQRT_OF(x) ((vec)_mm256_sqrt_pd((__m256d)(x)))
#else
#define SQRT_OF(x) ((vec)_mm256_sqrt_ps((__m256)(x)))
#endif

/* Return the larger of each two elements, or the element of b if one is NaN. */
INLINE vec max_of(vec a, vec b) {
    lane_numbers is_larger = a > b;
    return (vec)(((lane_numbers)a & is_larger) | ((lane_numbers)b & ~is_larger));
}

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

/* Noise for the rows of one part: see `draw_row`. */
typedef struct {
    Distribution distribution;
    uint32_t seed, update, part;
    real size, bias_share; /* factors: of all numbers, and also of the bias's */
} Noise;

/* How `outer_product` uses an element of the outer product, which is called sum here.

   If sum_output is not NULL, the element is stored:
       sum_output = share * sum + other_share * other    (without other if it is NULL)

   Otherwise, the weight w is updated with the gradient:
       gradient = share * sum + other_share * other
       gradient += init_decay * (w - origin)            (with an origin: L2-init)
       gradient = (gradient + noise) / (1 + exp(gate_share * utility))
                                                        (with a utility: UPGD)
   With moments m and v (Adam), the field lr is learning rate / (1 - beta1^t), and
   root_share is 1 / sqrt(1 - beta2^t):
       gradient += weight_decay * w
       m += (1 - beta1) * (gradient - m)
       v = beta2 * v + (1 - beta2) * gradient^2
       w -= lr * m / (sqrt(v) * root_share + adam_eps)
   If column_lrs is not NULL, each row and each column has its own lr and root_share,
   and an element uses the larger of the two. If row_lrs is NULL, all rows use the
   fields lr and root_share.
   Otherwise, with velocity v:
       v = momentum * v + gradient + weight_decay * w
       w = w - lr * v
   Otherwise:
       w = (1 - lr * weight_decay) * w - lr * gradient
   With a correction (WSAM), then:
       w -= correction_share * correction
   With noise and without a utility, then:
       w = keep * w + noise
   With an average (Hare and Tortoise), finally:
       average += (1 - hare_ema) * (w - average)
   1 - beta1, 1 - beta2 and 1 - hare_ema (first_share, second_share and average_share)
   are computed in double. In float, the subtraction would lose digits. */
typedef struct {
    real *sum_output;
    real share, other_share;
    const real *other;
    real lr, weight_decay, momentum;
    real first_share, beta2, second_share, root_share, adam_eps;
    const real *row_lrs, *row_roots, *column_lrs, *column_roots; /* NULL if not used */
    real init_decay, average_share;
    real gate_share, keep;
    Noise noise;     /* its distribution is NO_NOISE if not used */
    real *noise_row; /* the noise of a row, with `columns` weights and a bias */
    long columns;
    const real *correction; /* NULL if not used */
    real correction_share;
    real *scratch;       /* SCRATCH_ROWS rows, used unless is_only_sgd */
    real *arrays[KINDS]; /* NULL if not used */
} Update;

/* Compute C[row][b] = sum_k A[row][k] X[k][b] for `rows` rows. If `add` is true, add
   the product to C instead. */
void multiply(Matrix a, int64_t rows, int64_t depth, Panels x, Panels c, int64_t panels,
              bool add);

/* Compute sum_b E[row][b] H[b][i] for all rows of E, and apply `update` to it. `e` are
   panels of `rows` features. `h` are `batch` rows. */
void outer_product(const real *e, int64_t rows, const real *h, int64_t row_length,
                   int64_t batch, const Update *update);

/* Do the same as `outer_product`, but with given sums instead of an outer product. */
void update_weights(const real *sums, int64_t rows, int64_t row_length,
                    const Update *update);

/* Update the utilities of UPGD, and return the largest of the first `count` numbers of
   all rows:
       utility = decay * utility - share * gradient * w */
real update_utilities(real *utilities, const real *gradient, const real *w,
                      int64_t rows, int64_t count, int64_t row_length, real decay,
                      real share);

/* Write the noise of a row: `columns` numbers for weights, one for a bias, and zeros up
   to row_length. `to` must have space for 32 more numbers. */
void draw_row(const Noise *noise, int64_t row, int64_t columns, int64_t row_length,
              real *to);

/* Update the weights as `outer_product` does for one example. With the new weights,
   compute C[row] = sum_k W[row][k] next[k]. C is one panel of one example. */
void outer_product_then_multiply(const real *e, int64_t rows, const real *h,
                                 int64_t row_length, const Update *update,
                                 const real *next, real *c);

/* Compute C[row][b] = sum_k A[row][k] H[b][k]. A and H are rows, and C is one panel. */
void multiply_small_batch(const real *a, int64_t rows, const real *h,
                          int64_t row_length, int64_t batch, real *c);

/* Compute C[i][b] = sum_o E[o][b] W[o][i] for all i below `inputs`. E and C are one
   panel each, and W is rows. */
void multiply_back_small_batch(const real *e, int64_t outputs, const real *w,
                               int64_t row_length, int64_t inputs, int64_t batch,
                               real *c);

/* Compute to[i] = sum_o E[o] W[o][i] for one example. E is its panel, and W is `rows`
   rows. */
void sum_rows(const real *e, int64_t rows, const real *w, int64_t row_length, real *to);

/* Convert rows to panels, or panels to rows. */
void rows_to_panels(const real *rows, int64_t row_length, int64_t panels, real *to);
void panels_to_rows(const real *from, int64_t row_length, int64_t panels, real *rows);

/* Return the number of outputs per unit of an activation: 1, or 2 for CReLU and
   sine-cosine. */
int64_t unit_outputs(Activation activation);

/* Replace the units' z by their outputs, in one panel. The second outputs, if any,
   follow the first outputs of all units. NaN stays NaN, so that a diverged network can
   be detected. */
void activate(Activation activation, real *z, int64_t units);

/* Compute the errors dL/dz of units from `e`, the errors of their outputs h. `errors`
   may be the same array as `e`. */
void activate_backward(Activation activation, const real *h, const real *e,
                       int64_t units, real *errors);

/* Normalize the units of each example in one panel (layer norm). Store
   (z - mean) / sqrt(var + 1e-5) in `normal`, and 1 / sqrt(var + 1e-5) in `scale`.
   Replace z by normal + offset, where the offset of a unit is offset[unit * LANES]. */
void normalize(real *z, int64_t units, const real *offset, real *normal, vec *scale);

/* Go backward through `normalize`: compute `errors`, the errors of z, from `e`, the
   errors of its outputs. */
void normalize_backward(const real *e, int64_t units, const real *normal,
                        const vec *scale, real *errors);

/* Compute errors = softmax(logits) - onehot(labels), for panels of `outputs` features.
   The errors in lanes beyond the batch do not change. If `sums` is not NULL, add the
   losses and the number of correct predictions to `sums`. */
void softmax_error(const real *logits, int64_t outputs, int64_t batch,
                   const int64_t *labels, real *errors, Sums *sums);

/* Compute the errors of the actor's logits and of the critic's values for the loss of
   PPO (see trainables/steps/ppo_loss.py, which has the same constants). Each example
   has TARGETS targets: the action, the advantage, the log of the action's probability
   before the updates, and the target of the critic. The errors in lanes beyond the
   batch do not change. */
#define TARGETS 4
#define LEAST_RATIO ((real)0.8)
#define MOST_RATIO ((real)1.2)
#define ENTROPY ((real)0.01)
#define VALUE_SHARE ((real)0.5)
void ppo_error(const real *logits, int64_t actions, const real *values, int64_t batch,
               const real *targets, real *errors, real *value_errors);

/* Store a x + b y in `to`, elementwise. `to` may be the same array as x or y. */
void combine(real *to, real a, const real *x, real b, const real *y, int64_t count);

/* Store a x + b (y - c z) in `to`, elementwise. `to` may be the same array as x. */
void combine_difference(real *to, real a, const real *x, real b, const real *y, real c,
                        const real *z, int64_t count);

/* Return the sum of (x - a y)^2. */
double distance_squares(const real *x, real a, const real *y, int64_t count);

/* Return the sum of |x|. `count` need not be a multiple of LANES. */
double sum_sizes(const real *x, int64_t count);

/* Return the sum of x * y. */
double dot(const real *x, const real *y, int64_t count);

/* Return the sum of a * b over all pairs of examples. `a` and `b` are square matrices
   in panels, with panels * LANES examples on each side. If the sum is below its
   rounding error, return the rounding error. */
double pair_sum(const real *a, const real *b, int64_t panels, int64_t batch);

#endif
