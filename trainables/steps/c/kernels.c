#include "kernels.h"

#define DEPTH 224 /* columns of A per block: the panels then fit into the L1 cache */

#define SUMMED_ROWS 8 /* rows that `sum_rows` reads at once */

/* ---- matrix product C = A X: the sums of a tile of C stay in registers ---- */

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
    if (a.column_stride == 1) { /* a constant stride: compiled to faster code */
        a.column_stride = 1;
        multiply_tiles(a, rows, depth, x, c, panels, add);
    } else {
        a.row_stride = 1;
        multiply_tiles(a, rows, depth, x, c, panels, add);
    }
}

/* ---- outer products sum_b e h^T, and updates of weights with them ---- */

INLINE vec *at(real *const *arrays, Kind kind, long i) {
    return (vec *)(arrays[kind] + i);
}

/* Return x. If x is a product, the compiler cannot fuse it with a later addition. So
   all builds and all functions round in the same way. */
INLINE vec rounded(vec x) {
#ifdef __aarch64__
    __asm__("" : "+w"(x));
#else
    __asm__("" : "+v"(x));
#endif
    return x;
}

INLINE vec gradient_at(const Update *u, long i, vec sum) {
    vec gradient = rounded(u->share * sum);
    if (u->other) gradient += u->other_share * *(const vec *)(u->other + i);
    return gradient;
}

/* Take a step of SGD, with or without momentum, and return the new weights. */
INLINE vec descend_sgd(const Update *u, long i, vec gradient) {
    vec *w = at(u->arrays, VALUE, i);
    if (!u->arrays[VELOCITY])
        return *w = (1 - u->lr * u->weight_decay) * *w - u->lr * gradient;
    vec *v = at(u->arrays, VELOCITY, i);
    *v = u->momentum * *v + gradient + u->weight_decay * *w;
    return *w -= u->lr * *v;
}

/* Take a step of SGD whose gradient is the sum: see `is_plain_sgd`. The new weights are
   those of `descend_sgd`, to the last bit. */
INLINE vec descend_plain(const Update *u, long i, vec sum) {
    return *at(u->arrays, VALUE, i) -= rounded(u->lr * rounded(sum));
}

/* Return a / b, where b is above 0. */
INLINE vec quotient(vec a, vec b) {
#if defined __AVX512F__ && !defined DOUBLE
    /* An exact quotient takes as long as several other operations. Instead, a step of
       Newton's method improves an approximation from 14 to about 24 correct bits. */
    vec inverse = (vec)_mm512_rcp14_ps((__m512)b);
    inverse += inverse * ((real)1 - b * inverse);
    return a * inverse;
#else
    return a / b;
#endif
}

/* Return m / (sqrt(v) * share + eps), where eps is above 0. */
INLINE vec adam_ratio(vec m, vec v, vec share, real eps) {
#if defined __AVX512F__ && !defined DOUBLE
    /* an approximate root, for the same reason as in `quotient` */
    vec tiny = (vec){0} + (real)1e-37;
    vec x = (vec)_mm512_max_ps((__m512)v, (__m512)tiny);
    vec inverse = (vec)_mm512_rsqrt14_ps((__m512)x), root = x * inverse;
    root += root * ((real)0.5 - root * ((real)0.5 * inverse));
#else
    vec root = SQRT_OF(v);
#endif
    return quotient(m, root * share + eps);
}

INLINE vec descend_adam(const Update *u, long i, long column, vec gradient) {
    vec *w = at(u->arrays, VALUE, i);
    vec *m = at(u->arrays, FIRST, i), *v = at(u->arrays, SECOND, i);
    gradient += u->weight_decay * *w;
    *m += u->first_share * (gradient - *m);
    *v = u->beta2 * *v + u->second_share * gradient * gradient;
    vec lr = (vec){0} + u->lr, share = (vec){0} + u->root_share;
    if (u->column_lrs) {
        lr = max_of(lr, *(const vec *)(u->column_lrs + column));
        share = max_of(share, *(const vec *)(u->column_roots + column));
    }
    return *w -= lr * adam_ratio(*m, *v, share, u->adam_eps);
}

/* Return e^x. In float, x is first limited to [-87, 88]. */
INLINE vec exp_of(vec x) {
#ifdef DOUBLE
    for (int i = 0; i < LANES; i++) x[i] = EXP(x[i]);
    return x;
#else
    /* x = n log(2) + rest, where n is a whole number. Adding 1.5 * 2^23 rounds a number
       to a whole number, which is then in the lower bits of the sum. The coefficients
       are from the Cephes library, expf.c (S. Moshier, netlib.org/cephes). */
    const real shift = 0x1.8p23;
    x = max_of(-max_of(-x, (vec){0} - 88), (vec){0} - 87);
    vec shifted = x * (real)1.44269504088896341 + shift, n = shifted - shift;
    vec rest = x - n * (real)0.693359375 + n * (real)2.12194440e-4;
    vec sum = (real)1.9875691500e-4 * rest + (real)1.3981999507e-3;
    sum = sum * rest + (real)8.3334519073e-3;
    sum = sum * rest + (real)4.1665795894e-2;
    sum = sum * rest + (real)1.6666665459e-1;
    sum = sum * rest + (real)5.0000001201e-1;
    vec power = sum * rest * rest + rest + 1;
    return (vec)((lane_numbers)power + ((lane_numbers)shifted << 23));
#endif
}

/* Update one vector of weights as `Update` describes, and return the new weights.
   `noise` is NULL without noise. Each caller passes either always NULL or never, so
   that the compiler removes the test for it. `column` is the first column of the
   vector. It is used only with column_lrs. */
INLINE vec apply(const Update *u, long i, long column, vec sum, const vec *noise) {
    vec gradient = gradient_at(u, i, sum);
    if (u->arrays[ORIGIN])
        gradient +=
            u->init_decay * (*at(u->arrays, VALUE, i) - *at(u->arrays, ORIGIN, i));
    if (noise && u->arrays[UTILITY])
        gradient = quotient(gradient + *noise,
                            1 + exp_of(u->gate_share * *at(u->arrays, UTILITY, i)));
    vec w = u->arrays[SECOND] ? descend_adam(u, i, column, gradient)
                              : descend_sgd(u, i, gradient);
    if (u->correction)
        w = *at(u->arrays, VALUE, i) -=
            u->correction_share * *(const vec *)(u->correction + i);
    if (noise && !u->arrays[UTILITY])
        w = *at(u->arrays, VALUE, i) = u->keep * w + *noise;
    if (u->arrays[AVERAGE]) {
        vec *average = at(u->arrays, AVERAGE, i);
        *average += u->average_share * (w - *average);
    }
    return w;
}

/* Return whether an update is only a step of SGD, with or without momentum. */
INLINE bool is_only_sgd(const Update *u) {
    return !u->arrays[ORIGIN] && !u->arrays[SECOND] && !u->arrays[AVERAGE] &&
           !u->noise.distribution && !u->correction;
}

/* Return whether an update is only w -= lr * sum. */
INLINE bool is_plain_sgd(const Update *u) {
    return is_only_sgd(u) && !u->arrays[VELOCITY] && !u->other && u->share == 1 &&
           u->weight_decay == 0;
}

/* Apply an update to `rows` rows of weights, from row number `row` on. `sums` has the
   elements of the outer product for these rows. */
INLINE void update_rows(const Update *update, long row, long rows, long row_length,
                        const real *sums) {
    const Update u = *update; /* a local copy: see `outer_tile` */
    long start = row * row_length;
#define EACH(update, noise) \
    for (long i = 0; i < row_length; i += LANES) \
    apply(update, start + i, i, *(const vec *)(sums + i), noise)
    if (u.column_lrs) {
        for (; rows > 0; rows--, row++, start += row_length, sums += row_length) {
            Update own = u;
            if (u.row_lrs) {
                own.lr = u.row_lrs[row];
                own.root_share = u.row_roots[row];
            }
            EACH(&own, NULL);
        }
        return;
    }
    /* Two frequent updates have their own loops, because the compiler leaves out of a
       loop what the tests before it make impossible. */
    const bool is_short =
        !u.other && !u.arrays[ORIGIN] && !u.correction && !u.arrays[AVERAGE];
    for (; rows > 0; rows--, row++, start += row_length, sums += row_length)
        if (u.noise.distribution) {
            draw_row(&update->noise, row, u.columns, row_length, u.noise_row);
            if (is_short && !u.arrays[SECOND] && !u.arrays[UTILITY])
                EACH(&u, (const vec *)(u.noise_row + i));
            else
                EACH(&u, (const vec *)(u.noise_row + i));
        } else if (is_short && u.arrays[SECOND]) {
            EACH(&u, NULL);
        } else {
            EACH(&u, NULL);
        }
#undef EACH
}

INLINE void outer_tile(const int rows, const int vectors, const real *e,
                       long panel_stride, const real *h, long row_length, long batch,
                       const Update *update, long start) {
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
    if (update->sum_output) {
        const Update u = *update;
        REPEAT (o, rows)
            REPEAT (i, vectors) {
                long at = start + o * row_length + i * LANES;
                *(vec *)(u.sum_output + at) = gradient_at(&u, at, sum[o][i]);
            }
    } else {
        /* a local copy: the compiler knows that no write to an array can change it */
        const Update u = *update;
        REPEAT (o, rows)
            REPEAT (i, vectors) {
                long at = start + o * row_length + i * LANES;
                descend_sgd(&u, at, gradient_at(&u, at, sum[o][i]));
            }
    }
}

/* Store the elements of an outer product, or use them for a whole step of SGD. */
static void outer_tiles(const real *e, long panel_stride, long rows, const real *h,
                        long row_length, long batch, const Update *update) {
    long row_vectors = row_length / LANES;
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

void outer_product(const real *e, int64_t rows, const real *h, int64_t row_length,
                   int64_t batch, const Update *update) {
    if (batch == 1 && !update->sum_output && is_plain_sgd(update)) {
        /* there is nothing to add up, so read the weights in their order in memory */
        const Update u = *update; /* a local copy: see `outer_tile` */
        for (long o = 0; o < rows; o++)
            for (long i = 0; i < row_length; i += LANES)
                descend_plain(&u, o * row_length + i,
                              e[o * LANES] * *(const vec *)(h + i));
        return;
    }
    if (update->sum_output || is_only_sgd(update)) {
        outer_tiles(e, rows * LANES, rows, h, row_length, batch, update);
        return;
    }
    /* store a few rows of sums in the L1 cache, then read all arrays row by row */
    real *sums = update->scratch;
    for (long o = 0; o < rows; o += OUTER_ROWS) {
        long count = min(OUTER_ROWS, rows - o);
        outer_tiles(e + o * LANES, rows * LANES, count, h, row_length, batch,
                    &(Update){.sum_output = sums, .share = 1});
        update_rows(update, o, count, row_length, sums);
    }
}

void update_weights(const real *sums, int64_t rows, int64_t row_length,
                    const Update *update) {
    update_rows(update, 0, rows, row_length, sums);
}

real update_utilities(real *utilities, const real *gradient, const real *w,
                      int64_t rows, int64_t count, int64_t row_length, real decay,
                      real share) {
    real most = -INFINITY;
    vec mosts = (vec){0} - INFINITY;
    for (long o = 0; o < rows; o++)
        for (long i = 0; i < row_length; i += LANES) {
            long start = o * row_length + i;
            vec *u = (vec *)(utilities + start);
            *u = decay * *u -
                 share * *(const vec *)(gradient + start) * *(const vec *)(w + start);
            if (i + LANES <= count)
                mosts = max_of(mosts, *u);
            else
                for (long j = 0; j < count - i; j++) most = fmax(most, (*u)[j]);
        }
    for (int i = 0; i < LANES; i++) most = fmax(most, mosts[i]);
    return most;
}

/* ---- convert rows to panels, and panels to rows ---- */

/* Arguments of SHUFFLE that interleave the lower halves (LOWER) or the upper halves
   (UPPER) of two vectors. */
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

/* In this section, a vector is a part of one row, not one feature of many examples. */

/* Add the lanes of each of LANES vectors. Lane i of the result is the total of
   sum[i]. */
INLINE vec add_lanes(vec *sum) {
    transpose_square(sum); /* then adding vectors adds the lanes of all sums */
    REPEAT_HALVING (n, LANES / 2)
        REPEAT (i, n) sum[i] += sum[i + n];
    return sum[0];
}

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
            vec totals = add_lanes(sum);
            for (long i = 0; i < min(LANES, rows - first); i++)
                c[(first + i) * LANES + b] = totals[i];
        }
    }
}

/* Which terms an update can have: a loop with fewer terms is faster. */
typedef enum { ANY_TERMS, ONLY_SGD, PLAIN_SGD } Terms;

/* Update `rows` rows of weights, from element `start` on. Multiply the new rows with
   `next`, and store the products in `sum`, with one vector to add up for each row. */
INLINE void fused_tile(const int rows, const Terms terms, const real *e, const real *h,
                       long row_length, const Update *update, long start,
                       const real *next, vec *sum) {
    const Update u = *update; /* a local copy: see `outer_tile` */
    vec total[4] = {{0}};
    for (long k = 0; k < row_length; k += LANES) {
        vec part = *(const vec *)(h + k), next_part = *(const vec *)(next + k);
        REPEAT (o, rows) {
            long at = start + o * row_length + k;
            vec product = e[o * LANES] * part;
            vec w = terms == PLAIN_SGD ? descend_plain(&u, at, product)
                    : terms == ONLY_SGD
                        ? descend_sgd(&u, at, gradient_at(&u, at, product))
                        : apply(&u, at, 0, product, NULL);
            total[o] += w * next_part;
        }
    }
    REPEAT (o, rows) sum[o] = total[o];
}

void outer_product_then_multiply(const real *e, int64_t rows, const real *h,
                                 int64_t row_length, const Update *update,
                                 const real *next, real *c) {
    for (long first = 0; first < rows; first += LANES) {
        long end = min(first + LANES, rows);
        vec sum[LANES] = {{0}};
#define TILE(n, terms) \
    fused_tile(n, terms, e + o * LANES, h, row_length, update, o * row_length, next, \
               sum + o - first)
        long o = first;
        if (is_plain_sgd(update)) {
            for (; o + 4 <= end; o += 4) TILE(4, PLAIN_SGD);
            for (; o < end; o++) TILE(1, PLAIN_SGD);
        } else if (is_only_sgd(update)) {
            for (; o + 4 <= end; o += 4) TILE(4, ONLY_SGD);
            for (; o < end; o++) TILE(1, ONLY_SGD);
        }
        for (; o < end; o++) TILE(1, ANY_TERMS);
#undef TILE
        vec totals = add_lanes(sum);
        for (long i = first; i < end; i++) c[i * LANES] = totals[i - first];
    }
}

/* Add factor * row to `vectors` sums. */
INLINE void add_row(const int vectors, real factor, const real *row, vec *sum) {
    REPEAT (v, vectors) sum[v] += factor * *(const vec *)(row + v * LANES);
}

/* Compute `vectors` vectors of E^T W for one example, and store the first `count`
   elements in c. */
INLINE void back_tile(const int vectors, const real *e, long outputs, const real *w,
                      long row_length, long count, real *c) {
    vec sum[4][3] = {{{0}}}; /* the processor adds several sums in parallel */
    long o = 0;
    for (; o + 4 <= outputs; o += 4)
        REPEAT (k, 4)
            add_row(vectors, e[(o + k) * LANES], w + (o + k) * row_length, sum[k]);
    REPEAT (k, 3)
        if (o + k < outputs)
            add_row(vectors, e[(o + k) * LANES], w + (o + k) * row_length, sum[k]);
    REPEAT (v, vectors) {
        vec total = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
        for (long j = 0; j < min(LANES, count - v * LANES); j++)
            c[(v * LANES + j) * LANES] = total[j];
    }
}

void multiply_back_small_batch(const real *e, int64_t outputs, const real *w,
                               int64_t row_length, int64_t inputs, int64_t batch,
                               real *c) {
    for (long i = 0; i < inputs; i += 3 * LANES)
        for (long b = 0; b < batch; b++) {
            const long left = inputs - i;
            real *to = c + i * LANES + b;
            if (left > 2 * LANES)
                back_tile(3, e + b, outputs, w + i, row_length, left, to);
            else if (left > LANES)
                back_tile(2, e + b, outputs, w + i, row_length, left, to);
            else
                back_tile(1, e + b, outputs, w + i, row_length, left, to);
        }
}

void sum_rows(const real *e, int64_t rows, const real *w, int64_t row_length,
              real *to) {
    for (long o = 0; o < rows; o += SUMMED_ROWS) {
        real factor[SUMMED_ROWS];
        const real *row[SUMMED_ROWS]; /* rows past the end repeat the last row */
        REPEAT (j, SUMMED_ROWS) {
            row[j] = w + min(o + j, rows - 1) * row_length;
            factor[j] = o + j < rows ? e[(o + j) * LANES] : 0;
        }
        for (long i = 0; i < row_length; i += LANES) {
            vec sum = o ? *(vec *)(to + i) : (vec){0};
            REPEAT (j, SUMMED_ROWS) sum += factor[j] * *(const vec *)(row[j] + i);
            *(vec *)(to + i) = sum;
        }
    }
}

/* ---- activations ---- */

int64_t unit_outputs(Activation activation) {
    return activation == CRELU || activation == SINE_COSINE ? 2 : 1;
}

/* Store x in `to`, but slope * x where h is not above 0. (The compiler would not make
   vectors of a loop with a product that only some elements need.) */
static void scale_below(real slope, const real *h, const real *x, long count,
                        real *to) {
    for (long i = 0; i < count; i += LANES) {
        vec value = *(const vec *)(x + i), below = slope * value;
        lane_numbers is_above = *(const vec *)(h + i) > 0;
        *(vec *)(to + i) =
            (vec)(((lane_numbers)value & is_above) | ((lane_numbers)below & ~is_above));
    }
}

void activate(Activation activation, real *z, int64_t units) {
    long count = units * LANES;
    real *second = z + count;
#define EACH(...) \
    for (long i = 0; i < count; i++) { \
        __VA_ARGS__; \
    } \
    break
    switch (activation) {
    case RELU: EACH(z[i] = z[i] < 0 ? 0 : z[i]);
    case LEAKY_RELU: scale_below(0.01, z, z, count, z); break;
    case LEAKY_RELU_TENTH: scale_below(0.1, z, z, count, z); break;
    case TANH: EACH(z[i] = TANH_OF(z[i]));
    case CRELU: EACH(second[i] = z[i] > 0 ? 0 : -z[i]; z[i] = z[i] < 0 ? 0 : z[i]);
    case SINE_COSINE: EACH(second[i] = COS(z[i]); z[i] = SIN(z[i]));
    }
}

void activate_backward(Activation activation, const real *h, const real *e,
                       int64_t units, real *errors) {
    long count = units * LANES;
    const real *second = h + count, *e2 = e + count;
    switch (activation) {
    case RELU: EACH(errors[i] = h[i] <= 0 ? 0 : e[i]);
    case LEAKY_RELU: scale_below(0.01, h, e, count, errors); break;
    case LEAKY_RELU_TENTH: scale_below(0.1, h, e, count, errors); break;
    case TANH: EACH(errors[i] = e[i] * (1 - h[i] * h[i]));
    case CRELU: EACH(errors[i] = (h[i] <= 0 ? 0 : e[i]) - (second[i] <= 0 ? 0 : e2[i]));
    case SINE_COSINE: EACH(errors[i] = e[i] * second[i] - e2[i] * h[i]);
    }
#undef EACH
}

void normalize(real *z, int64_t units, const real *offset, real *normal, vec *scale) {
    vec *from = (vec *)z, *to = (vec *)normal, mean = {0}, variance = {0};
    for (long i = 0; i < units; i++) mean += from[i];
    mean /= (real)units;
    for (long i = 0; i < units; i++) {
        to[i] = from[i] - mean;
        variance += to[i] * to[i];
    }
    *scale = (real)1 / SQRT_OF(variance / (real)units + (real)1e-5);
    for (long i = 0; i < units; i++) {
        to[i] *= *scale;
        from[i] = to[i] + offset[i * LANES];
    }
}

void normalize_backward(const real *e, int64_t units, const real *normal,
                        const vec *scale, real *errors) {
    const vec *from = (const vec *)e, *n = (const vec *)normal;
    vec mean = {0}, slope = {0};
    for (long i = 0; i < units; i++) {
        mean += from[i];
        slope += from[i] * n[i];
    }
    mean /= (real)units;
    slope /= (real)units;
    for (long i = 0; i < units; i++)
        ((vec *)errors)[i] = *scale * (from[i] - mean - slope * n[i]);
}

void softmax_error(const real *logits, int64_t outputs, int64_t batch,
                   const int64_t *labels, real *errors, Sums *sums) {
    for (long b = 0; b < batch; b++) {
        long start = b / LANES * outputs * LANES + b % LANES;
        const real *z = logits + start;
        real *e = errors + start, sum = 0, others = 0;
        long best = 0;
        for (long o = 1; o < outputs; o++)
            if (z[o * LANES] > z[best * LANES]) best = o;
        real largest = z[best * LANES];
        for (long o = 0; o < outputs; o++) {
            sum += e[o * LANES] = EXP(z[o * LANES] - largest);
            if (o != best) others += e[o * LANES];
        }
        for (long o = 0; o < outputs; o++) e[o * LANES] *= 1 / sum;
        e[labels[b] * LANES] -= 1;
        if (sums) {
            /* log(sum) would lose digits if the sum is near 1: use log(1 + others) */
            sums->loss += LOG1P(others) + (largest - z[labels[b] * LANES]);
            sums->correct += best == labels[b];
        }
    }
}

void ppo_error(const real *logits, int64_t actions, const real *values, int64_t batch,
               const real *targets, real *errors, real *value_errors) {
    for (long b = 0; b < batch; b++, targets += TARGETS) {
        long start = b / LANES * actions * LANES + b % LANES;
        long chosen = targets[0] * LANES;
        const real *z = logits + start;
        real *e = errors + start, largest = z[0], sum = 0, entropy = 0;
        real advantage = targets[1], before = targets[2];
        for (long o = 1; o < actions; o++)
            largest = z[o * LANES] > largest ? z[o * LANES] : largest;
        for (long o = 0; o < actions; o++) sum += EXP(z[o * LANES] - largest);
        real offset = largest + LOG(sum);
        for (long o = 0; o < actions; o++) {
            real log = z[o * LANES] - offset;
            entropy -= EXP(log) * log;
        }
        real ratio = EXP(z[chosen] - offset - before), gain = ratio * advantage;
        real limited = ratio < LEAST_RATIO  ? LEAST_RATIO
                       : ratio > MOST_RATIO ? MOST_RATIO
                                            : ratio;
        real pull = gain <= limited * advantage ? gain : 0;
        for (long o = 0; o < actions; o++) {
            real log = z[o * LANES] - offset, share = EXP(log);
            e[o * LANES] = pull * share + ENTROPY * share * (log + entropy);
        }
        e[chosen] -= pull;
        value_errors[b] = 2 * VALUE_SHARE * (values[b] - targets[3]);
    }
}

/* ---- sums ---- */

void combine(real *to, real a, const real *x, real b, const real *y, int64_t count) {
    for (long i = 0; i < count; i += LANES)
        *(vec *)(to + i) = a * *(const vec *)(x + i) + b * *(const vec *)(y + i);
}

void combine_difference(real *to, real a, const real *x, real b, const real *y, real c,
                        const real *z, int64_t count) {
    for (long i = 0; i < count; i += LANES) {
        vec difference = *(const vec *)(y + i) - c * *(const vec *)(z + i);
        *(vec *)(to + i) = a * *(const vec *)(x + i) + b * difference;
    }
}

/* Return the sum of all lanes of four vectors. */
INLINE double add_all(const vec *sum) {
    vec lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = 0;
    for (int i = 0; i < LANES; i++) total += lanes[i];
    return total;
}

double distance_squares(const real *x, real a, const real *y, int64_t count) {
    vec sum[4] = {{0}};
    const vec *xs = (const vec *)x, *ys = (const vec *)y;
    for (long i = 0; i < count / LANES; i++) {
        vec difference = xs[i] - a * ys[i];
        sum[i % 4] += difference * difference;
    }
    return add_all(sum);
}

double dot(const real *x, const real *y, int64_t count) {
    vec sum[4] = {{0}};
    const vec *xs = (const vec *)x, *ys = (const vec *)y;
    for (long i = 0; i < count / LANES; i++) sum[i % 4] += xs[i] * ys[i];
    return add_all(sum);
}

double sum_sizes(const real *x, int64_t count) {
    vec sum[4] = {{0}};
    long i = 0;
    for (long v = 0; i + LANES <= count; i += LANES, v++)
        sum[v % 4] += max_of(*(const vec *)(x + i), -*(const vec *)(x + i));
    double total = add_all(sum);
    for (; i < count; i++) total += fabs(x[i]);
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
