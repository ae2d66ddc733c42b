/* Convolutions of several networks on a CPU, each with a maximum and a ReLU after it.

A convolution (trainables/networks/conv.py) is followed by the maximum over squares of 2
x 2 positions and by the ReLU. One function does all three, so that the outputs before
the maximum are never stored. A dense layer is a convolution of images of one position.

Numbers are stored in lines of 64 bytes. A line has the same number of LINE examples: 16
floats or 8 doubles. An image is height x width x channels lines, in this order. A
weight is multiplied with whole lines, so that kernels of any size use whole vectors. A
group of LINE examples is called a panel. In lanes beyond the batch, images and errors
are 0.

Weights are stored as in torch: each unit has rows x columns x channels numbers. They
are copied to tiles: a tile has, for each of these numbers, the weights of UNITS units.
`add_products` then reads all memory in order. The same function, with kernels that are
turned by 180 degrees, gives the errors of the images.

The numbers of a network do not depend on the other networks. */

#include "kernels.h"

#define LINE_BYTES 64
#define LINE (LINE_BYTES / REAL_BYTES)
#define VECTORS (LINE_BYTES / VECTOR_BYTES) /* vectors of a line */
#define UNITS (VECTORS == 1 ? 8 : 4) /* units of a tile, with sums in registers */
#define SQUARE 2                     /* side of the squares of the maximum */
#define DEAD (SQUARE * SQUARE)       /* the value in `places` if the ReLU is 0 */

/* a tile of the weights' gradient */
#define GRADIENT_UNITS 4
#define GRADIENT_INPUTS 3

typedef struct {
    vec part[VECTORS];
} Line;

typedef struct {
    lane_numbers part[VECTORS];
} Places;

/* The sizes that follow from those of a convolution: of the squares, of the outputs
   after the maximum, of the outputs before it that are in a square, and of a kernel. */
typedef struct {
    long square_rows, square_columns, out_rows, out_columns, rows, columns;
    long inputs, row_inputs; /* numbers that a kernel reads; in one row of the image */
    long tiles, padded_units, channel_tiles;
} Sizes;

static Sizes sizes_of(const Convolution *c) {
    long rows = c->height - c->rows + 1, columns = c->width - c->columns + 1;
    Sizes s = {.square_rows = min(SQUARE, rows),
               .square_columns = min(SQUARE, columns)};
    s.out_rows = rows / s.square_rows, s.out_columns = columns / s.square_columns;
    s.rows = s.out_rows * s.square_rows, s.columns = s.out_columns * s.square_columns;
    s.row_inputs = c->columns * c->channels, s.inputs = c->rows * s.row_inputs;
    s.tiles = ceil_div(c->units, UNITS), s.padded_units = s.tiles * UNITS;
    s.channel_tiles = ceil_div(c->channels, UNITS);
    return s;
}

int64_t convolution_scratch(const Convolution *c) {
    Sizes s = sizes_of(c);
    long forward = s.tiles * s.inputs * UNITS;
    long backward = s.channel_tiles * c->rows * c->columns * s.padded_units * UNITS;
    return forward + backward + s.rows * s.columns * s.padded_units * LINE;
}

/* Do sum[u] += sum_k lines[k] * weights[k][u] for a tile. */
INLINE void add_products(Line *sum, const Line *lines, const real *weights,
                         long count) {
    Line total[UNITS];
    REPEAT (u, UNITS) total[u] = sum[u];
    for (long k = 0; k < count; k++, weights += UNITS) {
        Line line = lines[k];
        REPEAT (u, UNITS) {
            REPEAT (v, VECTORS) total[u].part[v] += weights[u] * line.part[v];
        }
    }
    REPEAT (u, UNITS) sum[u] = total[u];
}

/* Copy the weights of one network to tiles of units: [tile][input][unit]. */
static void pack(const Convolution *c, const Sizes *s, const real *weights, real *to) {
    for (long t = 0; t < s->tiles; t++) {
        for (long k = 0; k < s->inputs; k++) {
            for (long u = t * UNITS; u < (t + 1) * UNITS; u++) {
                *to++ = u < c->units ? weights[u * s->inputs + k] : 0;
            }
        }
    }
}

/* Copy the weights of one network to tiles of channels, with the columns of the kernel
   in reverse: [tile][row][column][unit][channel]. */
static void pack_back(const Convolution *c, const Sizes *s, const real *weights,
                      real *to) {
    for (long t = 0; t < s->channel_tiles; t++) {
        for (long row = 0; row < c->rows; row++) {
            for (long column = c->columns - 1; column >= 0; column--) {
                const real *from = weights + (row * c->columns + column) * c->channels;
                for (long u = 0; u < s->padded_units; u++) {
                    for (long i = t * UNITS; i < (t + 1) * UNITS; i++) {
                        bool is_weight = u < c->units && i < c->channels;
                        *to++ = is_weight ? from[u * s->inputs + i] : 0;
                    }
                }
            }
        }
    }
}

/* Compute the outputs of one tile of units after the maximum and the ReLU, in one
   panel. Unless `places` is NULL, store the position of each maximum in its square
   there. NaN stays NaN, so that a diverged network can be detected. */
static void convolve_tile(const Convolution *c, const Sizes *s, const Line *image,
                          const real *weights, const real *biases, long units,
                          Line *outputs, Places *places) {
    for (long square = 0; square < s->out_rows * s->out_columns; square++) {
        long top = square / s->out_columns * s->square_rows;
        long left = square % s->out_columns * s->square_columns;
        Line best[UNITS];
        Places place[UNITS];
        for (long i = 0; i < s->square_rows * s->square_columns; i++) {
            long row = top + i / s->square_columns,
                 column = left + i % s->square_columns;
            Line sum[UNITS];
            REPEAT (u, UNITS) {
                real bias = u < units ? biases[u] : 0;
                REPEAT (v, VECTORS) sum[u].part[v] = (vec){0} + bias;
            }
            for (long k = 0; k < c->rows; k++) {
                add_products(sum, image + ((row + k) * c->width + column) * c->channels,
                             weights + k * s->row_inputs * UNITS, s->row_inputs);
            }
            REPEAT (u, UNITS) {
                REPEAT (v, VECTORS) {
                    vec z = sum[u].part[v], old = best[u].part[v];
                    lane_numbers is_new =
                        (lane_numbers)(z > old) | (z != z) | -(i == 0);
                    best[u].part[v] = (vec)(((lane_numbers)z & is_new) |
                                            ((lane_numbers)old & ~is_new));
                    place[u].part[v] = (((lane_numbers){0} + (integer)i) & is_new) |
                                       (place[u].part[v] & ~is_new);
                }
            }
        }
        for (long u = 0; u < units; u++) {
            REPEAT (v, VECTORS) {
                lane_numbers is_dead = (best[u].part[v] <= 0) & -(integer)!c->is_linear;
                lane_numbers dead = {0};
                dead += DEAD;
                outputs[square * c->units + u].part[v] =
                    (vec)((lane_numbers)best[u].part[v] & ~is_dead);
                if (places) {
                    places[square * c->units + u].part[v] =
                        (dead & is_dead) | (place[u].part[v] & ~is_dead);
                }
            }
        }
    }
}

void convolve(const Convolution *c, const void *images, const void *weights,
              const void *biases, void *outputs, void *places, void *scratch) {
    Sizes s = sizes_of(c);
    long image = c->height * c->width * c->channels;
    long output = s.out_rows * s.out_columns * c->units;
    for (long net = 0; net < c->networks; net++) {
        pack(c, &s, (const real *)weights + net * c->units * s.inputs, scratch);
        for (long t = 0; t < s.tiles; t++) {
            long unit = t * UNITS;
            const real *own = (const real *)biases + net * c->units + unit;
            for (long p = net * c->panels; p < (net + 1) * c->panels; p++) {
                long start = p * output + unit;
                convolve_tile(c, &s, (const Line *)images + p * image,
                              (real *)scratch + unit * s.inputs, own,
                              min(UNITS, c->units - unit), (Line *)outputs + start,
                              places ? (Places *)places + start : NULL);
            }
        }
    }
}

/* Copy the errors of one panel's outputs to the positions of the maxima. The errors at
   all other positions become 0. */
static void spread(const Convolution *c, const Sizes *s, const Line *errors,
                   const Places *places, Line *to) {
    for (long square = 0; square < s->out_rows * s->out_columns; square++) {
        long top = square / s->out_columns * s->square_rows;
        long left = square % s->out_columns * s->square_columns;
        for (long i = 0; i < s->square_rows * s->square_columns; i++) {
            long row = top + i / s->square_columns,
                 column = left + i % s->square_columns;
            Line *line = to + (row * s->columns + column) * s->padded_units;
            for (long u = 0; u < c->units; u++) {
                REPEAT (v, VECTORS) {
                    vec e = errors[square * c->units + u].part[v];
                    lane_numbers is_here =
                        places[square * c->units + u].part[v] == (integer)i;
                    line[u].part[v] = (vec)((lane_numbers)e & is_here);
                }
            }
        }
    }
}

/* Return the sum of all lanes. */
INLINE real sum_lanes(vec x) {
    real sum = 0;
    REPEAT (b, LANES) sum += x[b];
    return sum;
}

/* Add one panel's part of the gradient of a tile of weights. The tile has
   GRADIENT_UNITS units and `inputs` numbers that are neighbors in memory. */
INLINE void add_gradient(const Convolution *c, const Sizes *s, const Line *image,
                         const Line *errors, long units, int inputs, real *gradient) {
    vec sum[GRADIENT_UNITS][GRADIENT_INPUTS] = {0};
    for (long row = 0; row < s->rows; row++) {
        const Line *x = image + row * c->width * c->channels;
        const Line *e = errors + row * s->columns * s->padded_units;
        for (long column = 0; column < s->columns; column++) {
            REPEAT (v, VECTORS) {
                REPEAT (u, GRADIENT_UNITS) {
                    REPEAT (k, inputs) sum[u][k] += e[u].part[v] * x[k].part[v];
                }
            }
            x += c->channels, e += s->padded_units;
        }
    }
    for (long u = 0; u < min(GRADIENT_UNITS, units); u++) {
        REPEAT (k, inputs) gradient[u * s->inputs + k] += sum_lanes(sum[u][k]);
    }
}

/* Add one panel's part of the gradient of all weights and biases. */
static void add_gradients(const Convolution *c, const Sizes *s, const Line *image,
                          const Line *errors, real *weights, real *biases) {
    for (long row = 0; row < c->rows; row++) {
        const Line *x = image + row * c->width * c->channels;
        for (long k = 0; k < s->row_inputs; k += GRADIENT_INPUTS) {
            long left = s->row_inputs - k;
            for (long u = 0; u < c->units; u += GRADIENT_UNITS) {
                real *to = weights + u * s->inputs + row * s->row_inputs + k;
                if (left >= 3) {
                    add_gradient(c, s, x + k, errors + u, c->units - u, 3, to);
                } else if (left == 2) {
                    add_gradient(c, s, x + k, errors + u, c->units - u, 2, to);
                } else {
                    add_gradient(c, s, x + k, errors + u, c->units - u, 1, to);
                }
            }
        }
    }
    for (long u = 0; u < c->units; u++) {
        vec sum = {0};
        for (long position = 0; position < s->rows * s->columns; position++) {
            REPEAT (v, VECTORS) sum += errors[position * s->padded_units + u].part[v];
        }
        biases[u] += sum_lanes(sum);
    }
}

/* Compute the errors of one panel's images. */
static void go_back(const Convolution *c, const Sizes *s, const Line *errors,
                    const real *weights, Line *to) {
    long kernel_row = c->columns * s->padded_units; /* of a tile of weights */
    for (long t = 0; t < s->channel_tiles; t++) {
        const real *tile = weights + t * c->rows * kernel_row * UNITS;
        for (long row = 0; row < c->height; row++) {
            for (long column = 0; column < c->width; column++) {
                Line sum[UNITS] = {0};
                /* the columns of outputs that read this column of the image */
                long first = column - c->columns + 1 > 0 ? column - c->columns + 1 : 0;
                long stop = min(column + 1, s->columns);
                long reverse = first - (column - c->columns + 1);
                for (long k = 0; k < c->rows && stop > first; k++) {
                    if (row - k < 0 || row - k >= s->rows) continue;
                    const Line *e =
                        errors + ((row - k) * s->columns + first) * s->padded_units;
                    const real *w =
                        tile + (k * kernel_row + reverse * s->padded_units) * UNITS;
                    add_products(sum, e, w, (stop - first) * s->padded_units);
                }
                Line *line = to + (row * c->width + column) * c->channels + t * UNITS;
                for (long i = 0; i < min(UNITS, c->channels - t * UNITS); i++) {
                    line[i] = sum[i];
                }
            }
        }
    }
}

void convolve_back(const Convolution *c, const void *images, const void *weights,
                   const void *places, const void *errors, void *weight_gradient,
                   void *bias_gradient, void *image_errors, void *scratch) {
    Sizes s = sizes_of(c);
    long image = c->height * c->width * c->channels;
    long output = s.out_rows * s.out_columns * c->units;
    long lines = s.rows * s.columns * s.padded_units;
    Line *spread_errors = (Line *)scratch;
    real *tiles = (real *)(spread_errors + lines);
    for (long i = 0; i < lines; i++) spread_errors[i] = (Line){0};
    for (long net = 0; net < c->networks; net++) {
        const real *own = (const real *)weights + net * c->units * s.inputs;
        real *weight_sums = (real *)weight_gradient + net * c->units * s.inputs;
        real *bias_sums = (real *)bias_gradient + net * c->units;
        if (image_errors) pack_back(c, &s, own, tiles);
        for (long i = 0; i < c->units * s.inputs; i++) weight_sums[i] = 0;
        for (long u = 0; u < c->units; u++) bias_sums[u] = 0;
        for (long p = net * c->panels; p < (net + 1) * c->panels; p++) {
            spread(c, &s, (const Line *)errors + p * output,
                   (const Places *)places + p * output, spread_errors);
            add_gradients(c, &s, (const Line *)images + p * image, spread_errors,
                          weight_sums, bias_sums);
            if (image_errors) {
                go_back(c, &s, spread_errors, tiles, (Line *)image_errors + p * image);
            }
        }
    }
}
