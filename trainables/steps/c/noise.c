/* Random numbers for the weights.

trainables/interventions/noise.py defines these numbers and names the sources. A row of
weights has STREAMS generators. Their first states are functions of the seed, the
update, the part and the row. Each generator makes every STREAMS-th word of the row. So
the words do not depend on the number of lanes.
*/

#include "kernels.h"

#include <string.h>

#define STREAMS 16
#define LANES_OF_BITS (VECTOR_BYTES / 4)
#define VECTORS (STREAMS / LANES_OF_BITS) /* vectors for a word of each generator */

typedef uint32_t bits __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t signed_words __attribute__((vector_size(4 * LANES)));

#ifdef DOUBLE
#define SIGN_BIT INT64_MIN
#else
#define SIGN_BIT INT32_MIN
#endif

#define ROTATE(x, count) ((x) << (count) | (x) >> (32 - (count)))

/* The state of each generator, which is four words. */
typedef bits States[4][VECTORS];

/* Compute the first states of a row's generators with Threefry 4x32, in 20 rounds. */
INLINE void start_streams(States states, const Noise *noise, uint32_t row) {
    static const int counts[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                     {6, 20},  {17, 11}, {25, 10}, {18, 20}};
    const uint32_t keys[5] = {noise->seed, 0, 0, 0, noise->seed ^ 0x1BD11BDA};
    REPEAT (v, VECTORS) {
        bits x[4] = {{0}};
        for (int i = 0; i < LANES_OF_BITS; i++) x[0][i] = v * LANES_OF_BITS + i;
        x[0] += row * STREAMS + keys[0];
        x[1] += noise->part + keys[1];
        x[2] += noise->update + keys[2];
        x[3] += keys[3];
        REPEAT (turn, 5) {
            REPEAT (round, 4) {
                const int *count = counts[turn % 2 * 4 + round];
                const int a = round % 2 ? 3 : 1, b = 4 - a; /* mixed into x[0], x[2] */
                x[0] += x[a];
                x[2] += x[b];
                x[a] = ROTATE(x[a], count[0]) ^ x[0];
                x[b] = ROTATE(x[b], count[1]) ^ x[2];
            }
            REPEAT (i, 4) x[i] += keys[(turn + 1 + i) % 5];
            x[3] += turn + 1;
        }
        REPEAT (i, 4) states[i][v] = x[i];
    }
}

/* Store the next word of each generator (xoshiro128++) in `to`. */
INLINE void next_words(States states, uint32_t *to) {
    REPEAT (v, VECTORS) {
        bits a = states[0][v], b = states[1][v], c = states[2][v], d = states[3][v];
        ((bits *)to)[v] = ROTATE(a + d, 7) + a;
        bits shifted = b << 9;
        c ^= a;
        d ^= b;
        states[1][v] = b ^ c;
        states[0][v] = a ^ d;
        states[2][v] = c ^ shifted;
        states[3][v] = ROTATE(d, 11);
    }
}

/* ---- numbers from words ---- */

#ifdef DOUBLE /* only for tests: exact, not fast */
#define EACH_LANE(name, function) \
    INLINE vec name(vec x) { \
        for (int i = 0; i < LANES; i++) x[i] = function(x[i]); \
        return x; \
    }
EACH_LANE(log_of, log)
EACH_LANE(sine_of, SIN)
EACH_LANE(cosine_of, COS)
#else
/* Return the sum of coefficients[i] * x^(count - 1 - i). */
INLINE vec polynomial(const int count, const float *coefficients, vec x) {
    vec sum = (vec){0} + coefficients[0];
    REPEAT (i, count - 1) sum = sum * x + coefficients[i + 1];
    return sum;
}

/* The coefficients are from the Cephes library (S. Moshier, netlib.org/cephes): logf.c
   and sinf.c. The errors are about the rounding error of a float. */
INLINE vec log_of(vec x) {
    static const float terms[9] = {
        7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
        -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
        2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    /* x = (1 + y) 2^exponent, with 1 + y from sqrt(0.5) to sqrt(2) */
    lane_numbers representation = (lane_numbers)x;
    lane_numbers exponent = (representation - 0x3F3504F3) >> 23;
    vec y = (vec)(representation - (exponent << 23)) - 1;
    vec square = y * y;
    vec small = polynomial(9, terms, y) * y * square - (real)0.5 * square + y;
    return small + __builtin_convertvector(exponent, vec) * (real)0.6931471805599453;
}

/* Return sin x (and below, cos x), for x from -pi / 4 to pi / 4. */
INLINE vec sine_of(vec x) {
    static const float terms[3] = {-1.9515295891e-4f, 8.3321608736e-3f,
                                   -1.6666654611e-1f};
    vec square = x * x;
    return polynomial(3, terms, square) * square * x + x;
}

INLINE vec cosine_of(vec x) {
    static const float terms[3] = {2.443315711809948e-5f, -1.388731625493765e-3f,
                                   4.166664568298827e-2f};
    vec square = x * x;
    return (polynomial(3, terms, square) * square - (real)0.5) * square + 1;
}
#endif

/* Convert words to lanes as wide as a real. A word's upper bit becomes the sign. */
INLINE lane_numbers as_integers(words x) {
    return __builtin_convertvector((signed_words)x, lane_numbers);
}
INLINE vec as_reals(words x) { return __builtin_convertvector((signed_words)x, vec); }

/* Return numbers in [-1, 1), from the upper 24 bits of the words. */
INLINE vec uniform(const uint32_t *from) {
    return as_reals(*(const words *)from >> 8) * (real)0x1p-23 - 1;
}

/* Compute pairs of normal numbers from pairs of words (Box and Muller 1958): the first
   word gives a radius, and the second an angle. */
INLINE void normal(const uint32_t *radius_words, const uint32_t *angle_words,
                   vec *first, vec *second) {
    words x = *(const words *)radius_words, y = *(const words *)angle_words;
    vec share = as_reals((x >> 8) + 1) * (real)0x1p-24; /* in (0, 1] */
    vec radius = SQRT_OF((real)-2 * log_of(share));
    /* The angle is a multiple of 90 degrees plus a rest of at most 45 degrees. The two
       upper bits of y are the multiple, after adding 2^29 has rounded it. */
    vec rest = as_reals(y << 2) * (real)(0x1p-33 * M_PI);
    lane_numbers sine = (lane_numbers)sine_of(rest);
    lane_numbers cosine = (lane_numbers)cosine_of(rest);
    words multiple = y + (1u << 29);
    lane_numbers swap = (sine ^ cosine) & -as_integers(multiple >> 30 & 1);
    lane_numbers sine_sign = as_integers(multiple) & SIGN_BIT;
    lane_numbers cosine_sign = as_integers(multiple + (1u << 30)) & SIGN_BIT;
    *first = radius * (vec)(cosine ^ swap ^ cosine_sign);
    *second = radius * (vec)(sine ^ swap ^ sine_sign);
}

void draw_row(const Noise *noise, int64_t row, int64_t columns, int64_t row_length,
              real *to) {
    _Alignas(VECTOR_BYTES) uint32_t from[2 * STREAMS];
    States states;
    start_streams(states, noise, row);
    const real size = noise->size;
    for (real *group = to; group <= to + columns; group += 2 * STREAMS) {
        next_words(states, from);
        next_words(states, from + STREAMS);
        if (noise->distribution == UNIFORM)
            REPEAT (v, 2 * STREAMS / LANES)
                *(vec *)(group + v * LANES) = size * uniform(from + v * LANES);
        else
            REPEAT (v, STREAMS / LANES) {
                vec first, second;
                normal(from + v * LANES, from + STREAMS + v * LANES, &first, &second);
                *(vec *)(group + v * LANES) = size * first;
                *(vec *)(group + STREAMS + v * LANES) = size * second;
            }
    }
    to[columns] *= noise->bias_share;
    for (long i = columns + 1; i < row_length; i++) to[i] = 0;
}
