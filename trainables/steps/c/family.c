/* The sharpness-aware methods whose gradient is not a mixture of two gradients.

The equations and their sources are in trainables/optimizers. Here, g[0] is the gradient
at the weights w. The other g[i] are gradients at other points, or differences of
gradients. Each is a vector over all parts of the network.
*/

#include "network.h"

#define ROUNDING 64 /* see trainables/optimizers/surface.py */

static double norm(const Network *net, const real *vector) {
    return sqrt(dot(vector, vector, net->count));
}

/* Store the gradient of a pass. */
static void store_gradient(const Network *net, PassName name, real *to) {
    for (const Part *part = net->part; part < net->part + net->parts; part++)
        use_gradient(
            net, part, name,
            &(Update){.sum_output = to + part->start, .share = (real)1 / net->batch});
}

/* Store the gradient at the point `from` + factor * `direction`. */
static void gradient_at(const Network *net, const int64_t *labels, const real *from,
                        double factor, const real *direction, real *to) {
    combine(net->point, 1, from, factor, direction, net->count);
    forward(net, ASCENT, false);
    backward(net, ASCENT, labels, NULL);
    store_gradient(net, ASCENT, to);
}

/* Return the factor that gives `direction` the length `radius`. If `direction` is a
   difference, `operand` is one of its two vectors. The factor is 0 if the difference
   may be a rounding error. */
static double scale_to(const Network *net, const Hyperparameters *h, double radius,
                       const real *direction, const real *operand) {
    double size = norm(net, direction);
    if (operand && size <= ROUNDING * REAL_EPSILON * norm(net, operand)) return 0;
    return radius / (size + h->epsilon);
}

/* Split `other` into a part along `summed` and a part orthogonal to it. Store in `to`
   summed - share * (the orthogonal part). */
static void subtract_orthogonal(const Network *net, const Hyperparameters *h,
                                double share, const real *summed, const real *other,
                                real *to) {
    double size = norm(net, summed), other_size = norm(net, other);
    double cosine = dot(other, summed, net->count) / (other_size * size + h->epsilon);
    double along = cosine * other_size / (size + h->epsilon);
    combine(to, 1 + share * along, summed, -share, other, net->count);
}

/* average += share * (gradient - average). The first time, the average becomes the
   gradient. */
static void average(const Network *net, const Hyperparameters *h, double share) {
    real *average = net->arrays[ASCENT_AVERAGE];
    if (h->ascent_begun == 0) share = 1;
    combine(average, 1 - share, average, share, net->gradients[0], net->count);
}

static void find_looksam(const Network *net, const int64_t *labels,
                         const Hyperparameters *h) {
    real *const *g = net->gradients, *reused = net->arrays[DIRECTION];
    long n = net->count;
    if (fmod(h->looksam_updates, h->looksam_every) != 0) {
        combine(g[0], 1, g[0], h->looksam_alpha * norm(net, g[0]), reused, n);
        return;
    }
    double ascent = scale_to(net, h, h->rho, g[0], NULL);
    gradient_at(net, labels, net->arrays[VALUE], ascent, g[0], g[1]);
    double squares = dot(g[0], g[0], n) + h->epsilon * h->epsilon;
    combine(reused, 1, g[1], -dot(g[0], g[1], n) / squares, g[0], n);
    combine(reused, scale_to(net, h, 1, reused, g[1]), reused, 0, reused, n);
    combine(g[0], 1, g[1], 0, g[1], n);
}

static void find_gam(const Network *net, const int64_t *labels,
                     const Hyperparameters *h) {
    real *const *g = net->gradients, *w = net->arrays[VALUE];
    long n = net->count;
    gradient_at(net, labels, w, scale_to(net, h, h->rho, g[0], NULL), g[0], g[1]);
    combine(g[3], 1, g[1], -1, g[0], n);
    gradient_at(net, labels, w, scale_to(net, h, h->gam_rho, g[3], g[0]), g[3], g[2]);
    double ascent = scale_to(net, h, h->rho, g[2], NULL);
    gradient_at(net, labels, net->point, ascent, g[2], g[3]);
    combine(g[3], h->gam_beta1, g[1], 1 - h->gam_beta1, g[3], n);
    combine(g[0], 1, g[0], 1 - h->gam_beta0, g[2], n);
    subtract_orthogonal(net, h, h->gam_gamma, g[3], g[0], g[0]);
}

void find_gradient(const Network *net, const int64_t *labels, Sums *sums,
                   const Hyperparameters *h) {
    real *const *g = net->gradients, *w = net->arrays[VALUE], *direction = g[0];
    double sign = 1;
    if (net->method == MSAM) { /* needs no gradient at w */
        output_error(net, BASE, labels, sums);
        direction = net->arrays[FIRST] ? net->arrays[FIRST] : net->arrays[VELOCITY];
        sign = -1;
    } else {
        backward(net, BASE, labels, sums);
        store_gradient(net, BASE, g[0]);
    }
    switch (net->method) {
    case LOOKSAM: find_looksam(net, labels, h); return;
    case GAM: find_gam(net, labels, h); return;
    case VASSO:
        average(net, h, h->vasso_theta);
        direction = net->arrays[ASCENT_AVERAGE];
        break;
    case FSAM:
        direction = net->point;
        combine(direction, 1, g[0], -h->fsam_sigma, net->arrays[ASCENT_AVERAGE],
                net->count);
        average(net, h, 1 - h->fsam_lambda);
        break;
    default: break;
    }
    double ascent =
        scale_to(net, h, sign * h->rho, direction, net->method == FSAM ? g[0] : NULL);
    bool uses_both = net->method == WSAM || net->method == GSAM;
    gradient_at(net, labels, w, ascent, direction, g[uses_both]);
    if (net->method == WSAM) combine(g[1], h->alpha, g[1], -h->alpha, g[0], net->count);
    if (net->method == GSAM)
        subtract_orthogonal(net, h, h->gsam_alpha, g[1], g[0], g[0]);
}
