/* A network in memory, and the functions of its forward and backward passes. */

#ifndef NETWORK_H
#define NETWORK_H

#include "kernels.h"

/* The forward and backward passes of a step. BASE is the pass at the weights w. ASCENT
   is the pass at another point: for SAM, this is the ascent point (see `ascend`). */
typedef enum { BASE, ASCENT, PASSES } PassName;

#define GRADIENTS 3 /* the largest number of gradients that a method stores */

/* A part: a block of parameters whose gradient is
   sum_b errors[row][b] * input_rows[b][column] / batch. It has the weights and biases
   of a layer, or only its weights, or only its biases. */
typedef struct {
    long rows, columns, row_length;  /* row_length is a multiple of LANES */
    bool has_bias;                   /* after the columns of weights */
    long start, count;               /* the part's slice of the network's vectors */
    real *arrays[KINDS];             /* NULL if not used */
    real *gradient;                  /* see `gradients`; NULL if it is not stored */
    real *column_lrs, *column_roots; /* for Adam with units' ages, else NULL: Update */
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
    bool is_first, is_last; /* of its chain */
    real *logits;           /* of the last layer of a chain, in panels; else NULL */
    Part *matrix, *offset;  /* offset is NULL without layer norm */
    struct {
        real *inputs; /* in panels of row_length features */
        real *normal; /* only with layer norm: see normalize */
        vec *scale;
    } passes[PASSES];
} Layer;

/* The gradient of an update: share * sums + other_share * other, or share * sums if
   `other` is NULL. If `sums` is NULL, a gradient that is not stored takes the place of
   share * sums: the gradient of BASE if there is an `other`, otherwise a mixture. */
typedef struct {
    const real *sums, *other;
    double share, other_share;
} Gradient;

typedef struct {
    long layers, chains, parts, batch, panels;
    Activation activation;
    Method method; /* MIXTURE also if there is no ascent step */
    bool is_normalized, has_ascent, has_noise, has_utility, limits_norm, is_parseval;
    bool is_small_batch, is_scaled; /* is_scaled: the ascent step is as in ASAM */
    Layer *layer;
    Part *part;
    /* Vectors with the numbers of all parts. A mixture uses only gradients[0]: first
       for batch * the gradient at w, then (with utilities) for the mixture itself. If
       the first layer is implicit, gradients[0] and `point` leave it out. */
    long count;
    real *arrays[KINDS], *gradients[GRADIENTS];
    real *point;               /* the weights in the pass ASCENT */
    real *targets;             /* TARGETS numbers per example, only with 2 chains */
    real *output_errors;       /* a layer's output errors, if units have two outputs */
    real *next_row;            /* the next example, only if `is_fused` */
    real *scratch, *noise_row; /* for the updates of weights */
    Units units;               /* see `Units` */
    real *activity, *centre;   /* one number per hidden unit: see units.c */
    long hidden_units;
    real *weight_panels; /* the weights of a layer, only for Parseval */
    real *spectral;      /* five rows and a panel, for limit_spectral_norm */
    /* Only for an implicit first layer (see is_first_explicit) or for LookSAM: */
    real *input_products; /* h h^T + 1, in panels of examples */
    real *error_products; /* e e^T */
    /* Only for an implicit first layer, otherwise NULL: */
    real *first_outputs; /* outputs before the activation */
    real *ascent_errors; /* e * rho / (batch * (norm + epsilon)) */
    void *memory;
} Network;

/* Compute the outputs of all layers, up to the logits. If has_first is true, the first
   layer's z (see steps.c) are already computed. */
void forward(const Network *net, PassName name, bool has_first);

/* Compute the errors of the last layer of each chain. If `sums` is not NULL, add the
   losses and the number of correct predictions to `sums`. */
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

/* Write the extra examples of a part (see penalties.c). The gradient of the penalty is
   share * the sum of the outer products of their errors and inputs. */
void penalize(const Network *net, const Part *part, PassName name,
              const Hyperparameters *h, double share);

/* Scale the weights of the last hidden layer of each chain down to a spectral norm of
   `bound`, if their norm is larger and finite. */
void limit_spectral_norm(const Network *net, double bound);

/* Before an update, measure the units' outputs in the pass BASE. Do nothing if the
   intervention replaces no units. */
void observe_units(const Network *net, const Hyperparameters *h);

/* Before an update of Adam in which units have ages, compute the lr and root_share of
   each unit. They belong to a column of the next layer (see `Update`). */
void find_unit_lrs(const Network *net, const Hyperparameters *h);

/* After an update, return whether units must be replaced now. */
bool judge_units(const Network *net, const Hyperparameters *h);

/* Compute the gradient of a method that is not a mixture, after the forward pass at w.
   For WSAM, also store the correction in gradients[1]. */
Gradient find_gradient(const Network *net, const int64_t *labels, Sums *sums,
                       const Hyperparameters *h);

#endif
