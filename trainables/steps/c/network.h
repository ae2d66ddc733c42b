/* A network in memory, and the functions of its forward and backward passes. */

#ifndef NETWORK_H
#define NETWORK_H

#include "kernels.h"

/* The passes of a step. BASE goes forward and backward at the weights w. ASCENT goes
   forward and backward at another point, for SAM the ascent point (see ascend). */
typedef enum { BASE, ASCENT, PASSES } PassName;

#define GRADIENTS 3 /* the largest number of gradients that a method stores */

/* A part: a block of parameters whose gradient is
   sum_b errors[row][b] * input_rows[b][column] / batch. It has the weights and biases
   of a layer, or only its weights, or only its biases. */
typedef struct {
    long rows, columns, row_length;  /* row_length is a multiple of LANES */
    bool has_bias;                   /* after the columns of weights */
    long start, count;               /* its place in the network's vectors */
    real *arrays[KINDS];             /* NULL if not used */
    real *gradient;                  /* see `gradients`; NULL if it is not stored */
    real *column_lrs, *column_roots; /* only for Adam with units' ages: see Update */
    long extra;      /* the number of extra examples, which give a penalty's gradient */
    real *direction; /* a singular vector of spectral regularization, or NULL */
    real noise, bias_noise; /* factors of the noise */
    struct {
        real *weights;    /* weights at this point; NULL if implicit */
        real *errors;     /* in panels of `rows` features */
        real *input_rows; /* one row per example */
    } passes[PASSES];
} Part;

/* One layer. With layer norm, hidden layers have their biases in `offset`, otherwise
   all biases are in `matrix`. */
typedef struct {
    long inputs, outputs;
    Part *matrix, *offset; /* offset is NULL without layer norm */
    struct {
        real *inputs; /* in panels of row_length features */
        real *normal; /* only with layer norm: see normalize */
        vec *scale;
    } passes[PASSES];
} Layer;

/* The gradient along which the weights are updated: share * sums + other_share * other,
   or share * sums if `other` is NULL. If `sums` is NULL, the gradient of a pass takes
   the place of share * sums: of BASE if there is an `other`, otherwise a mixture. */
typedef struct {
    const real *sums, *other;
    double share, other_share;
} Gradient;

typedef struct {
    long layers, parts, batch, panels;
    Activation activation;
    Method method; /* MIXTURE also if there is no ascent step */
    bool is_normalized, has_ascent, has_noise, has_utility, limits_norm, is_parseval;
    bool is_small_batch, is_scaled; /* is_scaled: the ascent step is as in ASAM */
    Layer *layer;
    Part *part;
    /* Vectors with the numbers of all parts. A mixture uses only gradients[0]. It
       stores batch * the gradient at w, and with utilities also the mixture. If the
       first layer is implicit, gradients[0] and `point` do not contain this layer. */
    long count;
    real *arrays[KINDS], *gradients[GRADIENTS];
    real *point; /* the weights in the pass ASCENT */
    real *logits;
    real *output_errors;       /* errors of all outputs of a layer, if units have two */
    real *next_row;            /* the next example, only if `is_fused` */
    real *scratch, *noise_row; /* for the updates of weights */
    Units units;               /* see `Parameters`, and below the number of units */
    real *activity, *centre;   /* of hidden units: see units.c */
    long hidden_units;
    real *weight_panels; /* the weights of a layer, only for Parseval */
    real *spectral;      /* five rows and a panel, to limit the spectral norm */
    /* Only for an implicit first layer (see is_explicit) or for LookSAM: */
    real *input_products; /* h h^T + 1, in panels of examples */
    real *error_products; /* e e^T */
    /* Only for an implicit first layer, otherwise NULL: */
    real *first_outputs; /* outputs before the activation */
    real *ascent_errors; /* e * rho / (batch * (norm + epsilon)) */
    void *memory;
} Network;

/* Compute the outputs of all layers, up to the logits. If `has_first` is true, the z of
   the first layer have already been computed. */
void forward(const Network *net, PassName name, bool has_first);

/* Compute the errors of the last layer. If `sums` is not NULL, add the losses and the
   number of correct predictions to `sums`. */
void output_error(const Network *net, PassName name, const int64_t *labels, Sums *sums);

/* Call output_error, then compute the errors of all other layers, last to first. */
void backward(const Network *net, PassName name, const int64_t *labels, Sums *sums);

/* Compute batch * the gradient of a part in a pass, and apply `update` to it. */
void use_gradient(const Network *net, const Part *part, PassName name,
                  const Update *update);

/* Return the norm of the gradient in the pass BASE, without storing the gradient. */
double implicit_norm(const Network *net);

/* Return where the errors or the inputs of a part's extra examples are. */
INLINE real *extra_errors(const Network *net, const Part *part, PassName name) {
    return part->passes[name].errors + net->panels * part->rows * LANES;
}
INLINE real *extra_inputs(const Network *net, const Part *part, PassName name) {
    return part->passes[name].input_rows + net->panels * LANES * part->row_length;
}

/* Write the extra examples of a part, so that share * (the sum of the outer products of
   their errors and inputs) is the gradient of the penalty. */
void penalize(const Network *net, const Part *part, PassName name,
              const Hyperparameters *h, double share);

/* Scale the weights of the last hidden layer down to a spectral norm of `bound`, if
   their norm is larger and finite. */
void limit_spectral_norm(const Network *net, double bound);

/* If units are replaced: measure their outputs in the pass BASE, before an update. */
void observe_units(const Network *net, const Hyperparameters *h);

/* Before an update of Adam, if units have ages: compute the lr and root_share of each
   unit, which are those of columns of the next part. */
void find_unit_lrs(const Network *net, const Hyperparameters *h);

/* After an update, return whether units are to be replaced now. */
bool judge_units(const Network *net, const Hyperparameters *h);

/* For a method that is not a mixture: compute its gradient. The forward pass at w must
   be done. For WSAM, also store the correction in gradients[1]. */
Gradient find_gradient(const Network *net, const int64_t *labels, Sums *sums,
                       const Hyperparameters *h);

#endif
