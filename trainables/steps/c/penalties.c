/* Spectral regularization, Parseval regularization and spectral normalization.

The Python files in trainables/interventions/penalties and weights have the equations
and their sources. The gradient of a penalty is a sum of outer products, like the
gradient of a batch. It is therefore written as the errors and inputs of extra examples,
which the update adds to the examples of the batch. The extra examples have their own
panels, after the panels of the batch.
*/

#include "network.h"

#include <string.h>

#define TINY 1e-12 /* see spectral_regularization.py */
#define MOST_STEPS 1000

/* Compute W x, where W are the weights of a part without its biases, and x is a row.
   The result has one number per output, LANES reals apart. */
static void multiply_one(const Part *part, const real *x, real *to) {
    multiply_small_batch(part->arrays[VALUE], part->rows, x, part->row_length, 1, to);
}

/* Compute W^T y, where y has one number per output, LANES reals apart. The result is a
   row. */
static void multiply_back_one(const Part *part, const real *y, real *to) {
    sum_rows(y, part->rows, part->arrays[VALUE], part->row_length, to);
    long rest = part->row_length - part->columns;
    memset(to + part->columns, 0, rest * sizeof(real));
}

static double norm_of_outputs(const Part *part, const real *y) {
    double squares = 0;
    for (long o = 0; o < part->rows * LANES; o += LANES) squares += (double)y[o] * y[o];
    return sqrt(squares);
}

/* Do one iteration of the power method. Then write two extra examples. The first is for
   the weights: its outer product is that of the singular vectors u and v. The second is
   for the biases: its only input is the 1 of the biases. */
static void penalize_spectrum(const Network *net, const Part *part, PassName name,
                              const Hyperparameters *h, double share) {
    real *u = extra_errors(net, part, name), *v = extra_inputs(net, part, name);
    const real *w = part->arrays[VALUE];
    for (long o = 0; o < part->rows; o++) u[o * LANES] = part->direction[o];
    multiply_back_one(part, u, v);
    double length = sqrt(dot(v, v, part->row_length));
    combine(v, 1 / (length < TINY ? TINY : length), v, 0, v, part->row_length);
    multiply_one(part, v, u);
    double size = norm_of_outputs(part, u), k = h->spectral_power, squares = 0;
    double factor = 2 * k * h->spectral_strength / share;
    double slope = factor * (pow(size, k) - 1) * pow(size, k - 1);
    for (long o = 0; o < part->rows; o++) {
        double bias = w[o * part->row_length + part->columns];
        squares += bias * bias;
        part->direction[o] = u[o * LANES] / (size < TINY ? TINY : size);
        u[o * LANES] = slope * part->direction[o];
    }
    slope = factor * pow(squares, k - 1);
    for (long o = 0; o < part->rows; o++)
        u[o * LANES + 1] = slope * w[o * part->row_length + part->columns];
    v[part->row_length + part->columns] = 1;
}

/* Write an extra example for each unit of a layer. Its inputs are the unit's weights,
   and its errors are a column of factor * (W W^T - 2 I), where W has a row per unit. */
static void penalize_products(const Network *net, const Part *part, PassName name,
                              const Hyperparameters *h, double share) {
    real *errors = extra_errors(net, part, name), *copy = extra_inputs(net, part, name);
    const real *w = part->arrays[VALUE];
    long units = part->rows, row_length = part->row_length, stride = units * LANES;
    long panels = ceil_div(units, LANES);
    memcpy(copy, w, part->count * sizeof(real));
    for (long o = 0; o < units; o++) copy[o * row_length + part->columns] = 0;
    rows_to_panels(copy, row_length, panels, net->weight_panels);
    /* W W^T is symmetric: for each two panels of columns, skip the rows above them */
    for (long p = 0; p < panels; p += 2) {
        long first = p * LANES;
        Panels inputs = {net->weight_panels + first * row_length, row_length * LANES};
        Panels products = {errors + p * stride + first * LANES, stride};
        multiply((Matrix){w + first * row_length, row_length, 1}, units - first,
                 part->columns, inputs, products, min(2, panels - p), false);
    }
    for (long unit = 0; unit < units; unit++) {
        real *column = errors + unit / LANES * stride + unit % LANES;
        for (long o = 0; o < unit / (2 * LANES) * (2 * LANES); o++)
            column[o * LANES] = errors[o / LANES * stride + unit * LANES + o % LANES];
        column[unit * LANES] -= 2;
    }
    double factor = 4 * h->parseval_strength * (64.0 / units) * (64.0 / units);
    combine(errors, factor / share, errors, 0, errors, panels * stride);
}

void penalize(const Network *net, const Part *part, PassName name,
              const Hyperparameters *h, double share) {
    if (part->direction)
        penalize_spectrum(net, part, name, h, share);
    else
        penalize_products(net, part, name, h, share);
}

/* Return the largest singular value of the weights of a part.

   Its square is the maximum of x^T A x over unit vectors x, where A = W^T W. The method
   is conjugate gradients. Each step chooses a unit vector p that is orthogonal to x,
   and moves x to the best point on the circle through x and p. p is the gradient plus a
   multiple of the last p, so that the two are conjugate with respect to
   A - (x^T A x) I. The steps end when the gain is only a rounding error. The element
   for the biases is 0 in all vectors. */
static double largest_singular_value(const Network *net, const Part *part) {
    long n = part->row_length;
    real *x = net->spectral, *ax = x + n, *p = ax + n, *ap = p + n, *r = ap + n;
    real *y = r + n;
    memset(x, 0, 5 * n * sizeof(real));
    for (long i = 0; i < part->columns; i++) x[i] = 1 + (real)1 / (i + 1);
    combine(x, 1 / sqrt(dot(x, x, n)), x, 0, x, n);
    multiply_one(part, x, y);
    multiply_back_one(part, y, ax);
    double value = dot(x, ax, n), gain = INFINITY;
    for (long step = 0; step < MOST_STEPS && gain > REAL_EPSILON * value; step++) {
        combine(r, 1, ax, -value, x, n);
        double curvature = dot(p, ap, n) - value * dot(p, p, n);
        double slope = dot(r, ap, n) - value * dot(r, p, n);
        combine(p, curvature < 0 ? -slope / curvature : 0, p, 1, r, n);
        combine(p, 1, p, -dot(p, x, n), x, n);
        double length = sqrt(dot(p, p, n));
        if (!(length > 0)) break;
        combine(p, 1 / length, p, 0, p, n);
        multiply_one(part, p, y);
        multiply_back_one(part, y, ap);
        /* turn x towards p by the angle for which x^T A x is largest */
        double middle = dot(p, ax, n), half = (value - dot(p, ap, n)) / 2;
        double sum = half + hypot(half, middle);
        if (!(sum > 0)) break;
        double tangent = middle / sum;
        double cosine = 1 / hypot(1, tangent), sine = cosine * tangent;
        combine(r, cosine, p, -sine, x, n);
        combine(x, cosine, x, sine, p, n);
        memcpy(p, r, n * sizeof(real));
        combine(r, cosine, ap, -sine, ax, n);
        combine(ax, cosine, ax, sine, ap, n);
        memcpy(ap, r, n * sizeof(real));
        gain = middle * tangent;
        value += gain;
    }
    return sqrt(value);
}

void limit_spectral_norm(const Network *net, double bound) {
    for (const Layer *layer = net->layer; layer < net->layer + net->layers; layer++) {
        if (!layer->is_last) continue;
        const Part *part = (layer - 1)->matrix;
        double size = largest_singular_value(net, part);
        if (!isfinite(size) || size <= bound) continue;
        real *w = part->arrays[VALUE], scale = bound / size;
        for (long o = 0; o < part->rows; o++)
            for (long i = 0; i < part->columns; i++)
                w[o * part->row_length + i] *= scale;
    }
}
