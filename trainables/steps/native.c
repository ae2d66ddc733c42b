/* Many steps of one network on a CPU, close to the speed of its arithmetic.

The equations are those of trainables/fast.py; here they are laid out for a core.

Layout. A layer's weights are the rows of a matrix (outputs x inputs), followed by the
bias as one more column: its input is 1. An activation is kept transposed in panels of
LANES examples, feature after feature, so that a vector holds one feature of LANES
examples, whatever the widths:

    multiply   C[m][b] = sum_k A[m][k] X[k][b]     forward, backward, products h h^T
    outer      W[o][i] = sum_b E[o][b] H[b][i]     the gradient, fused with the update

For `outer` activations are also kept as rows, an example each. A batch that would fill
only a few lanes is multiplied from those (`multiply_few`). All keep a tile of the
result in registers. A network's steps follow each other, so
that its weights stay in the core's cache. Every sum has one order: the same numbers
give the same bits, whoever shares the stack.

e stands for batch * dL/dz = softmax(logits) - onehot(labels), and what follows from it.
Lanes beyond the batch have e = 0. Comparisons are written so that NaN stays NaN.
*/

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef DOUBLE
typedef double real;
typedef int64_t integer;
#define EXP exp
#define LOG log
#define ROUNDING DBL_EPSILON
#define BYTES_OF_REAL 8
#else
typedef float real;
typedef int32_t integer;
#define EXP expf
#define LOG logf
#define ROUNDING FLT_EPSILON
#define BYTES_OF_REAL 4
#endif

/* A vector as wide as the machine's, and tiles that fit its registers. */
#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX2__ && defined __FMA__
#define BYTES 32
#elif defined __aarch64__
#define BYTES 16
#else
#error "without AVX2 and FMA torch is the faster"
#endif
#define LANES (BYTES / BYTES_OF_REAL)
#if BYTES == 32
#define PAIR_ROWS 6 /* of a tile over two panels */
#define OUTER_ROWS 3
#define OUTER_VECTORS 4
#else
#define PAIR_ROWS 12
#define OUTER_ROWS 5
#define OUTER_VECTORS 5
#endif
#define TOGETHER 64    /* examples that are tested at once */
#define SINGLE_ROWS 12 /* of a tile over one panel */
#define DEPTH 224      /* features that are summed over at once: they fit the L1 cache */
#define FEW (LANES / 3) /* the largest batch for which multiply_few is the faster */

typedef real vec __attribute__((vector_size(BYTES), may_alias));
typedef integer mask __attribute__((vector_size(BYTES)));
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long ceil_div(long n, long unit) { return (n + unit - 1) / unit; }

/* ---- C = A X, where A[m][k] lies at a[m * am + k * ak] ---- */

INLINE void multiply_tile(const int rows, const int panels, const real *a, long am,
                          long ak, long depth, const real *x, long xs, real *c,
                          long cs, int add) {
    vec sum[SINGLE_ROWS][2];
    UNROLL for (int m = 0; m < rows; m++) UNROLL for (int p = 0; p < panels; p++)
        sum[m][p] = add ? *(vec *)(c + p * cs + m * LANES) : (vec){0};
    for (long k = 0; k < depth; k++) {
        vec at[2];
        UNROLL for (int p = 0; p < panels; p++)
            at[p] = *(const vec *)(x + p * xs + k * LANES);
        UNROLL for (int m = 0; m < rows; m++) {
            real one = a[m * am + k * ak];
            UNROLL for (int p = 0; p < panels; p++) sum[m][p] += one * at[p];
        }
    }
    UNROLL for (int m = 0; m < rows; m++) UNROLL for (int p = 0; p < panels; p++)
        *(vec *)(c + p * cs + m * LANES) = sum[m][p];
}

INLINE void multiply_rows(const int panels, long rows, const real *a, long am, long ak,
                          long depth, const real *x, long xs, real *c, long cs,
                          int add) {
    switch (rows) {
#define ROWS(n) \
    case n: multiply_tile(n, panels, a, am, ak, depth, x, xs, c, cs, add); break;
        ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
        ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
    }
}

INLINE void multiply_strided(const real *a, long am, long ak, long m, long k,
                             const real *x, long xs, long panels, real *c, long cs,
                             int add) {
    for (long k0 = 0; k0 < k; k0 += DEPTH) {
        long depth = smaller(DEPTH, k - k0);
        for (long p = 0; p < panels; p += 2) {
            int two = p + 1 < panels;
            long tiles = ceil_div(m, two ? PAIR_ROWS : SINGLE_ROWS);
            for (long t = 0; t < tiles; t++) {
                long first = t * m / tiles, rows = (t + 1) * m / tiles - first;
                const real *from = a + first * am + k0 * ak;
                const real *with = x + p * xs + k0 * LANES;
                real *to = c + p * cs + first * LANES;
                if (two)
                    multiply_rows(2, rows, from, am, ak, depth, with, xs, to, cs, add);
                else
                    multiply_rows(1, rows, from, am, ak, depth, with, xs, to, cs, add);
            }
        }
        add = 1;
    }
}

/* C[p] = A X[p], or C[p] += A X[p], for each of so many panels of X (k features, xs
   reals apart) and of C (m features, cs apart). One of A's strides is 1. */
static void multiply(const real *a, long am, long ak, long m, long k, const real *x,
                     long xs, long panels, real *c, long cs, int add) {
    if (ak == 1)
        multiply_strided(a, am, 1, m, k, x, xs, panels, c, cs, add);
    else
        multiply_strided(a, 1, ak, m, k, x, xs, panels, c, cs, add);
}

/* ---- sum_b e h^T, and what becomes of it ---- */

/* What an element of the sum becomes:
       slope = share * sum + rest * mixed      (mixed: another such sum, or none)
       w = keep * w - lr * slope               without a velocity
       v = momentum * v + slope + decay * w, w = w - lr * v       with one
   or it is only stored, where `store` is given. */
typedef struct {
    real share, rest, lr, decay, momentum;
    const real *mixed;
    real *w, *v, *store;
} Update;

INLINE void apply(const Update *how, long at, vec sum) {
    if (how->store) {
        *(vec *)(how->store + at) = sum;
        return;
    }
    vec slope = how->share * sum;
    if (how->mixed) slope += how->rest * *(const vec *)(how->mixed + at);
    vec *w = (vec *)(how->w + at);
    if (how->v) {
        vec *v = (vec *)(how->v + at);
        *v = how->momentum * *v + slope + how->decay * *w;
        *w -= how->lr * *v;
    } else {
        *w = (1 - how->lr * how->decay) * *w - how->lr * slope;
    }
}

INLINE void outer_tile(const int rows, const int vectors, const real *e, long es,
                       const real *h, long ld, long batch, const Update *how, long at) {
    vec sum[5][5]; /* as many of them as registers are used */
    UNROLL for (int o = 0; o < rows; o++) UNROLL for (int i = 0; i < vectors; i++) 
        sum[o][i] = (vec){0};
    for (long b0 = 0; b0 < batch; b0 += LANES, e += es) {
        long lanes = smaller(LANES, batch - b0);
        for (long lane = 0; lane < lanes; lane++, h += ld) {
            UNROLL for (int o = 0; o < rows; o++) {
                real one = e[o * LANES + lane];
                UNROLL for (int i = 0; i < vectors; i++)
                    sum[o][i] += one * *(const vec *)(h + i * LANES);
            }
        }
    }
    UNROLL for (int o = 0; o < rows; o++) UNROLL for (int i = 0; i < vectors; i++)
        apply(how, at + o * ld + i * LANES, sum[o][i]);
}

/* e: panels of so many outputs; h: `batch` rows of ld reals. */
static void outer(const real *e, long outputs, const real *h, long ld, long batch,
                  const Update *how) {
    long es = outputs * LANES, wide = ld / LANES;
    long across = ceil_div(wide, OUTER_VECTORS), down = ceil_div(outputs, OUTER_ROWS);
    for (long c = 0; c < across; c++) {
        long i = c * wide / across, vectors = (c + 1) * wide / across - i;
        for (long r = 0; r < down; r++) {
            long o = r * outputs / down, rows = (r + 1) * outputs / down - o;
            switch (rows * 8 + vectors) {
#define OUTER(n, m) \
    case n * 8 + m: \
        outer_tile(n, m, e + o * LANES, es, h + i * LANES, ld, batch, how, \
                   o * ld + i * LANES); \
        break;
#define OUTERS(n) OUTER(n, 1) OUTER(n, 2) OUTER(n, 3) OUTER(n, 4) OUTER(n, 5)
                OUTERS(1) OUTERS(2) OUTERS(3) OUTERS(4) OUTERS(5)
            }
        }
    }
}

/* ---- between rows of features and panels ---- */

#if LANES == 2
#define LOW 0, 2
#define HIGH 1, 3
#elif LANES == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* Transpose a square: interleaving row i with row i + LANES / 2, as often as LANES can
   be halved, transposes it. */
INLINE void transpose_square(vec *square) {
    vec half[LANES];
    UNROLL for (int n = LANES; n > 1; n /= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            half[2 * i] = INTERLEAVE(square[i], square[i + LANES / 2], LOW);
            half[2 * i + 1] = INTERLEAVE(square[i], square[i + LANES / 2], HIGH);
        }
        UNROLL for (int i = 0; i < LANES; i++) square[i] = half[i];
    }
}

/* Transpose a square whose rows lie fs apart to where they lie ts apart. */
INLINE void transpose(const real *from, long fs, real *to, long ts) {
    vec square[LANES];
    UNROLL for (int i = 0; i < LANES; i++) square[i] = *(const vec *)(from + i * fs);
    transpose_square(square);
    UNROLL for (int i = 0; i < LANES; i++) *(vec *)(to + i * ts) = square[i];
}

/* ---- the products where a batch fills only a few lanes ---- */

/* C[m][b] = sum_k A[m][k] H[b][k], from rows of ld reals, to one panel. */
static void multiply_few(const real *a, long m, const real *h, long ld, long batch,
                         real *c) {
    for (long m0 = 0; m0 < m; m0 += LANES) {
        const real *row[LANES];
        for (long i = 0; i < LANES; i++) row[i] = a + smaller(m0 + i, m - 1) * ld;
        for (long b = 0; b < batch; b++) {
            vec sum[LANES];
            UNROLL for (int i = 0; i < LANES; i++) sum[i] = (vec){0};
            for (long k = 0; k < ld; k += LANES) {
                vec at = *(const vec *)(h + b * ld + k);
                UNROLL for (int i = 0; i < LANES; i++)
                    sum[i] += *(const vec *)(row[i] + k) * at;
            }
            transpose_square(sum);
            UNROLL for (int n = LANES / 2; n > 0; n /= 2)
                UNROLL for (int i = 0; i < n; i++) sum[i] += sum[i + n];
            for (long i = 0; i < smaller(LANES, m - m0); i++)
                c[(m0 + i) * LANES + b] = sum[0][i];
        }
    }
}

/* C[i][b] = sum_o E[o][b] W[o][i], from a panel and rows of ld reals, to one panel. */
static void multiply_back_few(const real *e, long outputs, const real *w, long ld,
                              long inputs, long batch, real *c) {
    for (long i = 0; i < inputs; i += LANES)
        for (long b = 0; b < batch; b++) {
            vec sum[4] = {{0}};
            for (long o = 0; o < outputs; o++)
                sum[o % 4] += e[o * LANES + b] * *(const vec *)(w + o * ld + i);
            vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            for (long j = 0; j < smaller(LANES, inputs - i); j++)
                c[(i + j) * LANES + b] = all[j];
        }
}

/* ---- a network ---- */

typedef struct {
    long in, out, ld; /* ld: in + 1, up to whole vectors */
    real *w, *v, *g;  /* weights, velocity or none, gradient: out x ld */
    real *perturbed;  /* w + rho grad / ||grad||, where it is written out */
    real *h, *h2;     /* inputs, here and there: panels of ld features */
    real *rows, *rows2;
    real *e, *e2; /* errors: panels of out features */
} Layer;

typedef struct {
    long layers, batch, panels;
    int few; /* whether the batch is too small for vectors of examples */
    Layer *layer;
    void *memory;
    real *z;       /* the first layer's output, before its ReLU */
    real *kernel;  /* h h^T + 1 of the first layer: panels of examples */
    real *product; /* e e^T */
    real *logits, *ascent_e;
} Net;

INLINE void relu(real *z, long n) {
    for (long i = 0; i < n; i++) z[i] = z[i] < 0 ? 0 : z[i];
}

/* Set e to 0 where a unit was off. */
INLINE void relu_backward(const real *h, real *e, long n) {
    for (long i = 0; i < n; i++) e[i] = h[i] <= 0 ? 0 : e[i];
}

/* Put panels of a layer's inputs into rows. */
static void lay_rows(const Net *net, const Layer *at, const real *h, real *rows) {
    for (long p = 0; p < net->panels; p++)
        for (long i = 0; i < at->ld; i += LANES)
            transpose(h + (p * at->ld + i) * LANES, LANES,
                      rows + p * LANES * at->ld + i, at->ld);
}

/* e = softmax(logits) - onehot; beyond the batch it stays 0. Where `loss` is given, add
   the losses to it, and to `right` how many examples are labelled rightly. */
static void softmax_error(const Net *net, const int64_t *labels, real *e, double *loss,
                  double *right) {
    long outputs = net->layer[net->layers - 1].out;
    for (long b = 0; b < net->batch; b++) {
        long at = b / LANES * outputs * LANES + b % LANES;
        const real *z = net->logits + at;
        real *to = e + at, sum = 0;
        long best = 0;
        for (long o = 1; o < outputs; o++)
            if (z[o * LANES] > z[best * LANES]) best = o;
        real most = z[best * LANES];
        for (long o = 0; o < outputs; o++)
            sum += to[o * LANES] = EXP(z[o * LANES] - most);
        for (long o = 0; o < outputs; o++) to[o * LANES] *= 1 / sum;
        to[labels[b] * LANES] -= 1;
        if (loss) {
            *loss += LOG(sum) + most - z[labels[b] * LANES];
            *right += best == labels[b];
        }
    }
}

/* Go forward to the logits at w, or `there`, at the perturbed weights. */
static void forward(const Net *net, int there) {
    long panels = net->panels, last = net->layers - 1;
    for (long l = 0; l <= last; l++) {
        const Layer *at = net->layer + l, *next = at + 1;
        const real *w = there ? at->perturbed : at->w, *h = there ? at->h2 : at->h;
        real *z = l == last ? net->logits : there ? next->h2 : next->h;
        long zs = (l == last ? at->out : next->ld) * LANES;
        if (w && net->few)
            multiply_few(w, at->out, there ? at->rows2 : at->rows, at->ld, net->batch, z);
        else if (w)
            multiply(w, at->ld, 1, at->out, at->in + 1, h, at->ld * LANES, panels, z,
                     zs, 0);
        else /* the first layer there: z + s (h h^T + 1) e */
            for (long p = 0; p < panels; p++) {
                real *to = z + p * zs, *from = net->z + p * at->out * LANES;
                memcpy(to, from, at->out * LANES * sizeof(real));
                for (long q = 0; q < panels; q++)
                    multiply(net->ascent_e + q * at->out * LANES, LANES, 1, at->out, LANES,
                             net->kernel + (p * panels + q) * LANES * LANES, 0, 1, to,
                             0, 1);
            }
        for (long p = 0; p < panels; p++) {
            if (l == 0 && !there && net->z)
                memcpy(net->z + p * at->out * LANES, z + p * zs,
                       at->out * LANES * sizeof(real));
            if (l < last) relu(z + p * zs, at->out * LANES);
        }
        if (l < last) lay_rows(net, next, z, there ? next->rows2 : next->rows);
    }
}

/* Go back from the logits to the errors of all layers. */
static void backward(const Net *net, int there, const int64_t *labels, double *loss,
                     double *right) {
    long panels = net->panels;
    const Layer *top = net->layer + net->layers - 1;
    softmax_error(net, labels, there ? top->e2 : top->e, loss, right);
    for (const Layer *at = top; at > net->layer; at--) {
        const Layer *below = at - 1;
        const real *h = there ? at->h2 : at->h;
        real *e = there ? below->e2 : below->e;
        const real *w = there ? at->perturbed : at->w, *from = there ? at->e2 : at->e;
        if (net->few)
            multiply_back_few(from, at->out, w, at->ld, at->in, net->batch, e);
        else
            multiply(w, 1, at->ld, at->in, at->out, from, at->out * LANES, panels, e,
                     at->in * LANES, 0);
        for (long p = 0; p < panels; p++)
            relu_backward(h + p * at->ld * LANES, e + p * at->in * LANES, at->in * LANES);
    }
}

/* ---- a step ---- */

typedef struct {
    double lr, decay, momentum, rho, alpha;
} Optimizer;

/* Leave the products of a layer's errors and inputs where `how` says. */
static void gradient(const Net *net, const Layer *at, int there, const Update *how) {
    outer(there ? at->e2 : at->e, at->out, there ? at->rows2 : at->rows, at->ld,
          net->batch, how);
}

/* Return the sum of the squares of batch * gradient of a layer that is written out. */
static double squares_written(const Net *net, const Layer *at) {
    Update how = {.store = at->g};
    gradient(net, at, 0, &how);
    vec sum[4] = {{0}};
    long n = at->out * at->ld / LANES;
    const vec *g = (const vec *)at->g;
    for (long i = 0; i < n; i++) sum[i % 4] += g[i] * g[i];
    vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = 0;
    for (int i = 0; i < LANES; i++) total += all[i];
    return total;
}

/* Return the same of the first layer as sum((h h^T + 1) * (e e^T)), kept above its
   rounding error, and leave h h^T + 1 in net->kernel (see `trainables.steps.fast._norm`). */
static double squares_implicit(const Net *net) {
    const Layer *at = net->layer;
    long size = net->panels * LANES, hs = at->ld * LANES, es = at->out * LANES;
    for (long q = 0; q < net->panels; q++) {
        long to = q * LANES * LANES;
        if (net->few)
            multiply_few(at->rows, net->batch, at->rows, at->ld, net->batch,
                         net->kernel);
        else
            multiply(at->h + q * hs, 1, LANES, LANES, at->in + 1, at->h, hs,
                     net->panels, net->kernel + to, size * LANES, 0);
        multiply(at->e + q * es, 1, LANES, LANES, at->out, at->e, es, net->panels,
                 net->product + to, size * LANES, 0);
    }
    double sum = 0, diagonal = 0;
    for (long p = 0; p < net->panels; p++)
        for (long b = 0; b < net->batch; b++)
            for (long lane = 0; lane < LANES; lane++) {
                long i = (p * size + b) * LANES + lane;
                double one = (double)net->kernel[i] * net->product[i];
                sum += one;
                if (p * LANES + lane == b) diagonal += one;
            }
    double floor = diagonal * net->batch * ROUNDING;
    return sum < floor ? floor : sum;
}

/* Go to w + rho grad / ||grad||: write it out, but for an implicit first layer. */
static void ascend(const Net *net, double rho, double epsilon) {
    double squares = 0;
    for (long l = 0; l < net->layers; l++) {
        const Layer *at = net->layer + l;
        squares += at->g ? squares_written(net, at) : squares_implicit(net);
    }
    real scale = rho / net->batch / (sqrt(squares) / net->batch + epsilon);
    for (long l = 0; l < net->layers; l++) {
        const Layer *at = net->layer + l;
        if (at->g)
            for (long i = 0; i < at->out * at->ld; i++)
                at->perturbed[i] = at->w[i] + scale * at->g[i];
        else
            for (long i = 0; i < net->panels * at->out * LANES; i++)
                net->ascent_e[i] = scale * at->e[i];
    }
}

static void step(const Net *net, const Optimizer *o, double epsilon,
                 const int64_t *labels, double *loss, double *right) {
    int two = o->rho > 0 && o->alpha > 0;
    double alpha = two ? o->alpha : 0;
    forward(net, 0);
    backward(net, 0, labels, loss, right);
    if (two) {
        ascend(net, o->rho, epsilon);
        forward(net, 1);
        backward(net, 1, labels, NULL, NULL);
    }
    for (long l = 0; l < net->layers; l++) {
        const Layer *at = net->layer + l;
        Update how = {.share = 1.0 / net->batch, .lr = o->lr, .decay = o->decay,
                   .momentum = o->momentum, .w = at->w, .v = at->v};
        if (two && !at->g) { /* one product: the inputs are the same in both passes */
            for (long i = 0; i < net->panels * at->out * LANES; i++)
                at->e2[i] = (real)(1 - alpha) * at->e[i] + (real)alpha * at->e2[i];
        } else if (alpha > 0 && alpha < 1) {
            how.share = alpha / net->batch;
            how.rest = (1 - alpha) / net->batch;
            how.mixed = at->g;
        }
        gradient(net, at, two, &how);
    }
}

/* ---- memory ---- */

/* One piece of memory, from which vectors are taken; first only counted. */
typedef struct {
    char *start;
    size_t used;
} Arena;

static real *take(Arena *arena, long n) {
    size_t at = arena->used;
    arena->used += ceil_div(n * (long)sizeof(real), BYTES) * BYTES;
    return arena->start ? (real *)(arena->start + at) : NULL;
}

static void lay_out(Net *net, Arena *arena, const int64_t *sizes, int two, int moving) {
    long size = net->panels * LANES;
    for (long l = 0; l < net->layers; l++) {
        Layer *at = net->layer + l;
        at->in = sizes[l];
        at->out = sizes[l + 1];
        at->ld = ceil_div(at->in + 1, LANES) * LANES;
        long weights = at->out * at->ld, inputs = size * at->ld;
        /* Multiplications: written out, the gradient and the forward product at the
           perturbed weights take 2 b in out; implicit, h h^T takes b^2 in, e e^T and
           its use b^2 out each. Other layers have another h there: no such saving. */
        int written =
            two && (l || net->batch * (at->in + 2 * at->out) > 2 * at->in * at->out);
        at->w = take(arena, weights);
        at->v = moving ? take(arena, weights) : NULL;
        at->g = written ? take(arena, weights) : NULL;
        at->perturbed = written ? take(arena, weights) : NULL;
        at->h = take(arena, inputs);
        at->rows = take(arena, inputs);
        at->h2 = l && two ? take(arena, inputs) : at->h;
        at->rows2 = l && two ? take(arena, inputs) : at->rows;
        at->e = take(arena, size * at->out);
        at->e2 = two ? take(arena, size * at->out) : NULL;
    }
    const Layer *first = net->layer, *last = first + net->layers - 1;
    int implicit = two && !first->g;
    net->logits = take(arena, size * last->out);
    net->z = implicit ? take(arena, size * first->out) : NULL;
    net->ascent_e = implicit ? take(arena, size * first->out) : NULL;
    net->kernel = implicit ? take(arena, size * size) : NULL;
    net->product = implicit ? take(arena, size * size) : NULL;
}

static void pack(const Layer *at, real *to, const real *w, const real *b) {
    for (long o = 0; o < at->out; o++) {
        memcpy(to + o * at->ld, w + o * at->in, at->in * sizeof(real));
        to[o * at->ld + at->in] = b[o];
    }
}

static void unpack(const Layer *at, const real *from, real *w, real *b) {
    for (long o = 0; o < at->out; o++) {
        memcpy(w + o * at->in, from + o * at->ld, at->in * sizeof(real));
        b[o] = from[o * at->ld + at->in];
    }
}

/* The features that are always 1, by which biases are weights. */
static void set_ones(const Net *net) {
    for (long l = 0; l < net->layers; l++) {
        const Layer *at = net->layer + l;
        for (long p = 0; p < net->panels; p++)
            for (long i = 0; i < LANES; i++) {
                long one = (p * at->ld + at->in) * LANES + i;
                at->h[one] = at->h2[one] = 1;
                if (!l) at->rows[(p * LANES + i) * at->ld + at->in] = 1;
            }
    }
}

/* Read a batch of images as reals in [0, 1], and touch the next one's. */
static void read_batch(const Net *net, const uint8_t *images, const int64_t *positions,
                 const int64_t *next) {
    const Layer *at = net->layer;
    for (long b = 0; b < net->batch; b++) {
        const uint8_t *image = images + positions[b] * at->in;
        real *row = at->rows + b * at->ld;
        for (long i = 0; i < at->in; i++) row[i] = image[i] * (real)(1 / 255.0);
        if (next)
            for (long i = 0; i < at->in; i += 64)
                __builtin_prefetch(images + next[b] * at->in + i);
    }
    for (long p = 0; p < (net->few ? 0 : net->panels); p++)
        for (long i = 0; i < at->ld; i += LANES)
            transpose(at->rows + p * LANES * at->ld + i, at->ld,
                      at->h + (p * at->ld + i) * LANES, LANES);
}

/* Make a network of these weights. Returns 0, or 1 where there is no memory. */
static int begin(Net *net, long layers, const int64_t *sizes, long batch, int two,
                 real **weights, real **biases, int moving) {
    *net = (Net){.layers = layers, .batch = batch, .panels = ceil_div(batch, LANES),
                 .few = batch <= FEW};
    Arena arena = {NULL, 0};
    net->layer = malloc(layers * sizeof(Layer));
    if (!net->layer) return 1;
    lay_out(net, &arena, sizes, two, moving);
    net->memory = arena.start = aligned_alloc(BYTES, arena.used);
    if (!arena.start) {
        free(net->layer);
        return 1;
    }
    memset(arena.start, 0, arena.used);
    arena.used = 0;
    lay_out(net, &arena, sizes, two, moving);
    set_ones(net);
    for (long l = 0; l < layers; l++)
        pack(net->layer + l, net->layer[l].w, weights[l], biases[l]);
    return 0;
}

static void end(Net *net) {
    free(net->memory);
    free(net->layer);
}

/* Train one network, step after step.

   sizes: layers + 1 widths. positions, labels: of `steps` batches, `apart` elements
   from one to the next. weights, biases and, with momentum, velocities of both: one
   pointer a layer, (outputs x inputs) and (outputs), changed in place. hyperparameters:
   lr, weight decay, momentum, rho, alpha, epsilon. told: the sum of the losses and the
   number of examples that were right before each step.
   Returns 0, or 1 where there is no memory. */
int train(int64_t layers, const int64_t *sizes, int64_t batch, int64_t steps,
          int64_t apart, const uint8_t *images, const int64_t *positions,
          const int64_t *labels, real **weights, real **biases, real **velocities,
          real **bias_velocities, const double *hyperparameters, double *told) {
    const double *p = hyperparameters;
    Optimizer optimizer = {p[0], p[1], p[2], p[3], p[4]};
    int two = optimizer.rho > 0 && optimizer.alpha > 0;
    Net net;
    if (begin(&net, layers, sizes, batch, two, weights, biases, velocities != NULL))
        return 1;
    for (long l = 0; velocities && l < layers; l++)
        pack(net.layer + l, net.layer[l].v, velocities[l], bias_velocities[l]);
    told[0] = told[1] = 0;
    for (long t = 0; t < steps; t++) {
        const int64_t *next = t + 1 < steps ? positions + (t + 1) * apart : NULL;
        read_batch(&net, images, positions + t * apart, next);
        step(&net, &optimizer, p[5], labels + t * apart, told, told + 1);
    }
    for (long l = 0; l < layers; l++) {
        unpack(net.layer + l, net.layer[l].w, weights[l], biases[l]);
        if (velocities)
            unpack(net.layer + l, net.layer[l].v, velocities[l], bias_velocities[l]);
    }
    end(&net);
    return 0;
}

/* Test one network on `count` examples: the sum of the losses and how many were right.
   Returns 0, or 1 where there is no memory. */
int test(int64_t layers, const int64_t *sizes, int64_t count, const uint8_t *images,
         const int64_t *positions, const int64_t *labels, real **weights, real **biases,
         double *told) {
    long batch = smaller(count, TOGETHER);
    Net net;
    if (begin(&net, layers, sizes, batch, 0, weights, biases, 0)) return 1;
    told[0] = told[1] = 0;
    for (long first = 0; first < count; first += net.batch) {
        net.batch = smaller(batch, count - first);
        long left = count - first - net.batch;
        read_batch(&net, images, positions + first,
                   left >= net.batch ? positions + first + net.batch : NULL);
        forward(&net, 0);
        softmax_error(&net, labels + first, net.layer[layers - 1].e, told, told + 1);
    }
    end(&net);
    return 0;
}
