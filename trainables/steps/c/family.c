/* The sharpness-aware methods whose gradient is not (1 - alpha) g1 + alpha g2.

The equations and their sources are in trainables/optimizers. In this file, g[0] is the
gradient at the weights w. The other g[i] are gradients at other points, or differences
of gradients. Each g[i] is a vector with the numbers of all parts of the network.
*/

#include "network.h"

#define ROUNDING 64 /* see trainables/optimizers/surface.py */

static double norm(const Network *net, const real *vector) {
    return sqrt(dot(vector, vector, net->count));
}

/* Store the gradient of a pass in `to`. */
static void store_gradient(const Network *net, PassName name, real *to) {
    for (const Part *part = net->part; part < net->part + net->parts; part++)
        use_gradient(
            net, part, name,
            &(Update){.sum_output = to + part->start, .share = (real)1 / net->batch});
}

/* Do a forward and a backward pass at the point `from` + factor * `direction`. */
static void pass_at(const Network *net, const int64_t *labels, const real *from,
                    double factor, const real *direction) {
    combine(net->point, 1, from, factor, direction, net->count);
    forward(net, ASCENT, false);
    backward(net, ASCENT, labels, NULL);
}

/* Return the factor that scales a vector of length `size` to the length `radius`. If
   the vector is a difference x - y, operand_size is the length of x or y, otherwise 0.
   The factor is 0 if the difference may be only a rounding error. */
static double scale_to(const Hyperparameters *h, double radius, double size,
                       double operand_size) {
    if (operand_size > 0 && size <= ROUNDING * REAL_EPSILON * operand_size) return 0;
    return radius / (size + h->epsilon);
}

/* Split `other` into a part along `summed` and a part orthogonal to it. Return
   summed - share * (the orthogonal part). */
static Gradient subtract_orthogonal(const Network *net, const Hyperparameters *h,
                                    double share, const real *summed,
                                    const real *other) {
    double size = norm(net, summed), other_size = norm(net, other);
    double cosine = dot(other, summed, net->count) / (other_size * size + h->epsilon);
    double along = cosine * other_size / (size + h->epsilon);
    return (Gradient){summed, other, 1 + share * along, -share};
}

/* average += share * (gradient - average). The first time, the average becomes the
   gradient. */
static void average(const Network *net, const Hyperparameters *h, double share) {
    real *average = net->arrays[ASCENT_AVERAGE];
    if (h->ascent_begun == 0) share = 1;
    combine(average, 1 - share, average, share, net->gradients[0], net->count);
}

/* Return whether `implicit_norm` takes fewer multiplications than computing the
   gradient and its norm. */
static bool has_few_examples(const Network *net) {
    long sums = 0, products = 0;
    for (const Layer *layer = net->layer; layer < net->layer + net->layers; layer++) {
        sums += layer->inputs + layer->outputs;
        products += layer->inputs * layer->outputs;
    }
    return net->batch * sums <= products;
}

static Gradient find_looksam(const Network *net, const int64_t *labels, Sums *sums,
                             const Hyperparameters *h) {
    real *const *g = net->gradients, *reused = net->arrays[DIRECTION];
    long n = net->count;
    bool is_kth = fmod(h->looksam_updates, h->looksam_every) == 0;
    backward(net, BASE, labels, sums);
    if (!is_kth && !net->has_utility && has_few_examples(net))
        return (Gradient){NULL, reused, 1, h->looksam_alpha * implicit_norm(net)};
    store_gradient(net, BASE, g[0]);
    double size = norm(net, g[0]);
    if (!is_kth) return (Gradient){g[0], reused, 1, h->looksam_alpha * size};
    pass_at(net, labels, net->arrays[VALUE], scale_to(h, h->rho, size, 0), g[0]);
    store_gradient(net, ASCENT, g[1]);
    double along = dot(g[0], g[1], n) / (size * size + h->epsilon * h->epsilon);
    double orthogonal = sqrt(distance_squares(g[1], along, g[0], n));
    double scale = scale_to(h, 1, orthogonal, norm(net, g[1]));
    combine_difference(reused, 0, reused, scale, g[1], along, g[0], n);
    return (Gradient){g[1], .share = 1};
}

static Gradient find_gam(const Network *net, const int64_t *labels,
                         const Hyperparameters *h) {
    real *const *g = net->gradients, *w = net->arrays[VALUE];
    long n = net->count;
    double size = norm(net, g[0]);
    pass_at(net, labels, w, scale_to(h, h->rho, size, 0), g[0]);
    store_gradient(net, ASCENT, g[1]);
    double change = sqrt(distance_squares(g[1], 1, g[0], n));
    combine_difference(net->point, 1, w, scale_to(h, h->gam_rho, change, size), g[1], 1,
                       g[0], n);
    forward(net, ASCENT, false);
    backward(net, ASCENT, labels, NULL);
    store_gradient(net, ASCENT, g[2]);
    pass_at(net, labels, net->point, scale_to(h, h->rho, norm(net, g[2]), 0), g[2]);
    for (const Part *part = net->part; part < net->part + net->parts; part++)
        use_gradient(net, part, ASCENT,
                     &(Update){.sum_output = g[1] + part->start,
                               .share = (1 - h->gam_beta1) / net->batch,
                               .other = g[1] + part->start,
                               .other_share = h->gam_beta1});
    combine(g[0], 1, g[0], 1 - h->gam_beta0, g[2], n);
    return subtract_orthogonal(net, h, h->gam_gamma, g[1], g[0]);
}

Gradient find_gradient(const Network *net, const int64_t *labels, Sums *sums,
                       const Hyperparameters *h) {
    real *const *g = net->gradients, *direction = g[0];
    double sign = 1, operand_size = 0;
    if (net->method == LOOKSAM) return find_looksam(net, labels, sums, h);
    if (net->method == MSAM) { /* needs no gradient at w */
        output_error(net, BASE, labels, sums);
        direction = net->arrays[FIRST] ? net->arrays[FIRST] : net->arrays[VELOCITY];
        sign = -1;
    } else {
        backward(net, BASE, labels, sums);
        store_gradient(net, BASE, g[0]);
    }
    switch (net->method) {
    case GAM: return find_gam(net, labels, h);
    case VASSO:
        average(net, h, h->vasso_theta);
        direction = net->arrays[ASCENT_AVERAGE];
        break;
    case FSAM:
        direction = net->point;
        combine(direction, 1, g[0], -h->fsam_sigma, net->arrays[ASCENT_AVERAGE],
                net->count);
        average(net, h, 1 - h->fsam_lambda);
        operand_size = norm(net, g[0]);
        break;
    default: break;
    }
    double ascent = scale_to(h, sign * h->rho, norm(net, direction), operand_size);
    pass_at(net, labels, net->arrays[VALUE], ascent, direction);
    if (net->method != WSAM && net->method != GSAM) return (Gradient){NULL};
    store_gradient(net, ASCENT, g[1]);
    if (net->method == GSAM)
        return subtract_orthogonal(net, h, h->gsam_alpha, g[1], g[0]);
    combine(g[1], h->alpha, g[1], -h->alpha, g[0], net->count);
    return (Gradient){g[0], .share = 1};
}
