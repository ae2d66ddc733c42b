#include "kernels.h"

#define DEPTH 224 /* columns of A to use at once, so that panels fit the L1 cache */

/* ---- matrix product C = A X: a tile of C stays in registers during its sums ---- */

INLINE void multiply_tile(const int rows, const int panels, Matrix a, long depth,
                          Panels x, Panels c, bool add) {
    vec sum[SINGLE_ROWS][2];
    REPEAT (m, rows)
        REPEAT (p, panels)
            sum[m][p] = add ? *(vec *)(c.values + p * c.stride + m * LANES) : (vec){0};
    for (long k = 0; k < depth; k++) {
        vec column[2];
        REPEAT (p, panels)
            column[p] = *(const vec *)(x.values + p * x.stride + k * LANES);
        REPEAT (m, rows) {
            real factor = a.values[m * a.row_stride + k * a.column_stride];
            REPEAT (p, panels) sum[m][p] += factor * column[p];
        }
    }
    REPEAT (m, rows)
        REPEAT (p, panels) *(vec *)(c.values + p * c.stride + m * LANES) = sum[m][p];
}

/* Call the version of `multiply_tile` that is compiled for this number of rows. */
INLINE void multiply_rows(const int panels, long rows, Matrix a, long depth, Panels x,
                          Panels c, bool add) {
#define CASE(n) \
    case n: multiply_tile(n, panels, a, depth, x, c, add); break;
#define CASES(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3) CASE(n + 4) CASE(n + 5)
    switch (rows) { CASES(1) CASES(7) }
#undef CASES
#undef CASE
}

INLINE void multiply_tiles(Matrix a, long rows, long all_depth, Panels x, Panels c,
                           long panels, bool add) {
    for (long k = 0; k < all_depth; k += DEPTH) {
        long depth = min(DEPTH, all_depth - k);
        for (long p = 0; p < panels; p += 2) {
            bool is_pair = p + 1 < panels;
            long tiles = ceil_div(rows, is_pair ? PAIR_ROWS : SINGLE_ROWS);
            for (long t = 0; t < tiles; t++) {
                long row = t * rows / tiles, count = (t + 1) * rows / tiles - row;
                Matrix block = a;
                block.values += row * a.row_stride + k * a.column_stride;
                Panels from = {x.values + p * x.stride + k * LANES, x.stride};
                Panels to = {c.values + p * c.stride + row * LANES, c.stride};
                if (is_pair)
                    multiply_rows(2, count, block, depth, from, to, add);
                else
                    multiply_rows(1, count, block, depth, from, to, add);
            }
        }
        add = true;
    }
}

void multiply(Matrix a, int64_t rows, int64_t depth, Panels x, Panels c, int64_t panels,
              bool add) {
    if (a.column_stride == 1) { /* two versions, each with one constant stride */
        a.column_stride = 1;
        multiply_tiles(a, rows, depth, x, c, panels, add);
    } else {
        a.row_stride = 1;
        multiply_tiles(a, rows, depth, x, c, panels, add);
    }
}

/* ---- outer products sum_b e h^T, and updates of weights with them ---- */

INLINE void apply(const Update *update, long at, vec sum) {
    if (update->sum_output) {
        *(vec *)(update->sum_output + at) = sum;
        return;
    }
    vec gradient = update->share * sum;
    if (update->other)
        gradient += update->other_share * *(const vec *)(update->other + at);
    vec *w = (vec *)(update->weights + at);
    if (update->velocity) {
        vec *v = (vec *)(update->velocity + at);
        *v = update->momentum * *v + gradient + update->weight_decay * *w;
        *w -= update->lr * *v;
    } else {
        *w = (1 - update->lr * update->weight_decay) * *w - update->lr * gradient;
    }
}

INLINE void outer_tile(const int rows, const int vectors, const real *e,
                       long panel_stride, const real *h, long row_length, long batch,
                       const Update *update, long at) {
    vec sum[5][5];
    REPEAT (o, rows)
        REPEAT (i, vectors) sum[o][i] = (vec){0};
    for (long first = 0; first < batch; first += LANES, e += panel_stride) {
        long lanes = min(LANES, batch - first);
        for (long lane = 0; lane < lanes; lane++, h += row_length) {
            REPEAT (o, rows) {
                real factor = e[o * LANES + lane];
                REPEAT (i, vectors) sum[o][i] += factor * *(const vec *)(h + i * LANES);
            }
        }
    }
    REPEAT (o, rows)
        REPEAT (i, vectors) apply(update, at + o * row_length + i * LANES, sum[o][i]);
}

void outer_product(const real *e, int64_t rows, const real *h, int64_t row_length,
                   int64_t batch, const Update *update) {
    long panel_stride = rows * LANES, row_vectors = row_length / LANES;
    long across = ceil_div(row_vectors, OUTER_VECTORS);
    long down = ceil_div(rows, OUTER_ROWS);
#define CASE(n, m) \
    case n * 8 + m: \
        outer_tile(n, m, e + o * LANES, panel_stride, h + i * LANES, row_length, \
                   batch, update, o * row_length + i * LANES); \
        break;
#define CASES(n) CASE(n, 1) CASE(n, 2) CASE(n, 3) CASE(n, 4) CASE(n, 5)
    for (long c = 0; c < across; c++) {
        long i = c * row_vectors / across;
        long vectors = (c + 1) * row_vectors / across - i;
        for (long r = 0; r < down; r++) {
            long o = r * rows / down, count = (r + 1) * rows / down - o;
            switch (count * 8 + vectors) {
                CASES(1) CASES(2) CASES(3) CASES(4) CASES(5)
            }
        }
    }
#undef CASES
#undef CASE
}

/* ---- convert rows to panels, and panels to rows ---- */

/* Lane numbers that interleave two vectors: LOWER interleaves their lower halves, and
   UPPER their upper halves. */
#if LANES == 2
#define LOWER 0, 2
#define UPPER 1, 3
#elif LANES == 4
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#elif LANES == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

/* Transpose a square of LANES vectors. For this, interleave row i with row
   i + LANES / 2, and do this log2(LANES) times. */
INLINE void transpose_square(vec *square) {
    vec next[LANES];
    REPEAT_HALVING (n, LANES / 2) {
        REPEAT (i, LANES / 2) {
            next[2 * i] = SHUFFLE(square[i], square[i + LANES / 2], LOWER);
            next[2 * i + 1] = SHUFFLE(square[i], square[i + LANES / 2], UPPER);
        }
        REPEAT (i, LANES) square[i] = next[i];
    }
}

INLINE void transpose(const real *from, long from_stride, real *to, long to_stride) {
    vec square[LANES];
    REPEAT (i, LANES) square[i] = *(const vec *)(from + i * from_stride);
    transpose_square(square);
    REPEAT (i, LANES) *(vec *)(to + i * to_stride) = square[i];
}

void rows_to_panels(const real *rows, int64_t row_length, int64_t panels, real *to) {
    for (long p = 0; p < panels; p++)
        for (long i = 0; i < row_length; i += LANES)
            transpose(rows + p * LANES * row_length + i, row_length,
                      to + (p * row_length + i) * LANES, LANES);
}

void panels_to_rows(const real *from, int64_t row_length, int64_t panels, real *rows) {
    for (long p = 0; p < panels; p++)
        for (long i = 0; i < row_length; i += LANES)
            transpose(from + (p * row_length + i) * LANES, LANES,
                      rows + p * LANES * row_length + i, row_length);
}

/* ---- products for small batches, which would fill only a few lanes of a panel ---- */

/* A vector holds a part of one row here, instead of one feature of many examples. */

void multiply_small_batch(const real *a, int64_t rows, const real *h,
                          int64_t row_length, int64_t batch, real *c) {
    for (long first = 0; first < rows; first += LANES) {
        const real *row[LANES]; /* rows past the end repeat the last row */
        for (long i = 0; i < LANES; i++)
            row[i] = a + min(first + i, rows - 1) * row_length;
        for (long b = 0; b < batch; b++) {
            vec sum[LANES];
            REPEAT (i, LANES) sum[i] = (vec){0};
            for (long k = 0; k < row_length; k += LANES) {
                vec part = *(const vec *)(h + b * row_length + k);
                REPEAT (i, LANES) sum[i] += *(const vec *)(row[i] + k) * part;
            }
            transpose_square(sum); /* now add the lanes of all sums at once */
            REPEAT_HALVING (n, LANES / 2)
                REPEAT (i, n) sum[i] += sum[i + n];
            for (long i = 0; i < min(LANES, rows - first); i++)
                c[(first + i) * LANES + b] = sum[0][i];
        }
    }
}

void multiply_back_small_batch(const real *e, int64_t outputs, const real *w,
                               int64_t row_length, int64_t inputs, int64_t batch,
                               real *c) {
    for (long i = 0; i < inputs; i += LANES)
        for (long b = 0; b < batch; b++) {
            vec sum[4] = {{0}}; /* the processor adds four sums in parallel */
            for (long o = 0; o < outputs; o++)
                sum[o % 4] += e[o * LANES + b] * *(const vec *)(w + o * row_length + i);
            vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            for (long j = 0; j < min(LANES, inputs - i); j++)
                c[(i + j) * LANES + b] = total[j];
        }
}

/* ---- activations ---- */

void relu(real *z, int64_t count) {
    for (long i = 0; i < count; i++) z[i] = z[i] < 0 ? 0 : z[i];
}

void relu_backward(const real *h, real *e, int64_t count) {
    for (long i = 0; i < count; i++) e[i] = h[i] <= 0 ? 0 : e[i];
}

void softmax_error(const real *logits, int64_t outputs, int64_t batch,
                   const int64_t *labels, real *errors, Sums *sums) {
    for (long b = 0; b < batch; b++) {
        long start = b / LANES * outputs * LANES + b % LANES;
        const real *z = logits + start;
        real *e = errors + start, sum = 0;
        long best = 0;
        for (long o = 1; o < outputs; o++)
            if (z[o * LANES] > z[best * LANES]) best = o;
        real largest = z[best * LANES];
        for (long o = 0; o < outputs; o++)
            sum += e[o * LANES] = EXP(z[o * LANES] - largest);
        for (long o = 0; o < outputs; o++) e[o * LANES] *= 1 / sum;
        e[labels[b] * LANES] -= 1;
        if (sums) {
            sums->loss += LOG(sum) + largest - z[labels[b] * LANES];
            sums->correct += best == labels[b];
        }
    }
}

/* ---- sums ---- */

double sum_of_squares(const real *values, int64_t count) {
    vec sum[4] = {{0}};
    const vec *vectors = (const vec *)values;
    for (long i = 0; i < count / LANES; i++) sum[i % 4] += vectors[i] * vectors[i];
    vec lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = 0;
    for (int i = 0; i < LANES; i++) total += lanes[i];
    return total;
}

double pair_sum(const real *a, const real *b, int64_t panels, int64_t batch) {
    double sum = 0, diagonal = 0;
    for (long p = 0; p < panels; p++)
        for (long row = 0; row < batch; row++)
            for (long lane = 0; lane < LANES; lane++) {
                long i = (p * panels * LANES + row) * LANES + lane;
                double product = (double)a[i] * b[i];
                sum += product;
                if (p * LANES + lane == row) diagonal += product;
            }
    double rounding = diagonal * batch * REAL_EPSILON;
    return sum < rounding ? rounding : sum;
}
