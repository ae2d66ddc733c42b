/* The C functions and structs that Python uses. trainables/steps/extension.py declares
   the same structs. */

#ifndef STEPS_H
#define STEPS_H

#include <stdint.h>

/* The numbers that are stored for each weight and each bias: its value, the velocity of
   momentum, the two moments of Adam, the initial value for L2-init, the running average
   of Hare and Tortoise, the average of gradients of VaSSO and F-SAM, the direction
   that LookSAM reuses, and the utility of UPGD. */
typedef enum {
    VALUE,
    VELOCITY,
    FIRST,
    SECOND,
    ORIGIN,
    AVERAGE,
    ASCENT_AVERAGE,
    DIRECTION,
    UTILITY,
    KINDS
} Kind;

/* How to compute the gradient g along which the weights are updated. A mixture is
   (1 - alpha) g1 + alpha g2, as in SGD, SAM, GNP and ASAM. For the other methods, see
   family.c. WSAM here means decoupled WSAM; coupled WSAM is a mixture. */
typedef enum { MIXTURE, VASSO, FSAM, MSAM, WSAM, GSAM, LOOKSAM, GAM } Method;

/* The functions after the hidden layers (see trainables/networks/activations.py). */
typedef enum {
    RELU,
    LEAKY_RELU,
    LEAKY_RELU_TENTH,
    TANH,
    CRELU,
    SINE_COSINE
} Activation;

/* The distribution of noise: none, uniform in [-1, 1), or N(0, 1). If the array UTILITY
   exists, the noise is added to the gradient, otherwise to the updated weights. */
typedef enum { NO_NOISE, UNIFORM, NORMAL } Distribution;

/* Statistics of the hidden units of one network, layer after layer. The pointers of a
   method that is not used are NULL. */
typedef struct {
    /* SNR: for each unit, the number of updates for which it has been silent, the
       number at which it is reset, and a histogram: how many of its silences ended
       after 0, 1, ... updates (silence_lengths numbers). */
    int64_t *silence, *threshold;
    int32_t *silences;
    int64_t silence_lengths;
    /* Continual backprop: for each unit, two running averages (of the type of the
       weights) and its age in updates, and for each layer, an account: the number of
       units to replace. */
    void *utility, *mean_output;
    int64_t *age;
    double *account;
} Units;

/* One network in the caller's memory, which is changed in place. For each kind of
   number, there is one pointer per layer to the weights (outputs x inputs) and one to
   the biases (outputs). The numbers are float, or double if DOUBLE is defined. The
   arrays of a kind that is not used are NULL.

   A network is one chain of layers. With 2 chains, it is an actor and a critic, which
   read the same inputs and have equally many layers. The actor's layers are first. */
typedef struct {
    int64_t layers, chains, activation, is_normalized; /* 1 with layer norm, else 0 */
    const int64_t *widths; /* layers + 1 numbers: inputs, outputs of each layer */
    void **weights[KINDS], **biases[KINDS];
    /* Factors of the noise: one per layer for its weights, then one per layer for its
       biases. NULL without noise. */
    const double *noise;
    /* The singular vectors of spectral regularization: one number per output of each
       layer, of the same type as the weights. NULL if not used. */
    void *directions;
    Units units;
} Parameters;

/* Batches of examples. Batch t begins at positions[t * stride] and labels[t * stride].
   `positions` are numbers of images. For 2 chains, `positions` are numbers of rows of
   `inputs` and `targets`, and there are no images and labels. */
typedef struct {
    int64_t steps, batch, stride;
    const uint8_t *images; /* widths[0] bytes per image, each from 0 to 255 */
    const int64_t *positions, *labels;
    const void *inputs;  /* widths[0] reals per row */
    const void *targets; /* TARGETS reals per row: see `ppo_error` */
    double low; /* the input for a black pixel (0); for a white pixel (255), it is 1 */
} Batches;

/* The hyperparameters of a run. `epsilon` is added to norms that divide.

   If eta is above 0, the ascent step is scaled by |w| + eta, as in ASAM. The ascent
   step of the biases is scaled only if scales_biases is not 0.

   rho and gam_rho are multiplied by rho_level. If rho_warmup is above 0, they are also
   multiplied by a number that rises from 0 to 1 in the first rho_warmup updates. If
   rho_follows is not 0, lr is multiplied by the same factors.

   `updates`, rho_updates and looksam_updates are numbers of updates before the first
   batch. ascent_begun is 1 if VaSSO or F-SAM has an average already, otherwise 0. */
typedef struct {
    double lr, weight_decay, momentum;
    double rho, alpha, epsilon, eta, scales_biases;
    double beta1, beta2, adam_eps; /* Adam: used if the arrays FIRST and SECOND exist */
    double init_decay;             /* L2-init: used if the array ORIGIN exists */
    double hare_ema, hare_every;   /* Hare and Tortoise: if the array AVERAGE exists */
    double distribution, seed;     /* of the noise; distribution: a `Distribution` */
    double step_shrink;            /* shrink and perturb: used if there is noise */
    double upgd_decay;             /* UPGD: used if the array UTILITY exists */
    double updates;
    double spectral_strength, spectral_power; /* used if there are `directions` */
    double spectral_bound;                    /* spectral normalization; 0: none */
    double parseval_strength;                 /* Parseval regularization; 0: none */
    /* continual backprop: is_printed is 1 if `utility` is "printed", otherwise 0 */
    double replacement_rate, maturity, utility_decay, is_printed;
    double rho_level, rho_warmup, rho_follows, rho_updates;
    double method; /* a `Method` */
    double vasso_theta, fsam_sigma, fsam_lambda, ascent_begun;
    double gsam_alpha;
    double looksam_every, looksam_alpha, looksam_updates;
    double gam_rho, gam_beta0, gam_beta1, gam_gamma;
} Hyperparameters;

/* The sum of the losses and the number of correct predictions of all examples. They are
   computed from the logits before each step, but only for 1 chain. `steps` is the
   number of steps. */
typedef struct {
    double loss, correct, steps;
} Sums;

/* The sizes of a convolution of several networks (see convolution.c), each with
   `panels` panels of examples. */
typedef struct {
    int64_t networks, panels;
    int64_t height, width, channels; /* of the images */
    int64_t rows, columns;           /* of the kernels */
    int64_t units, is_linear;        /* 1 without the ReLU, else 0 */
} Convolution;

/* Sizes of the structs above, in this order. Python compares these sizes with the sizes
   of its own structs. */
extern const int64_t struct_sizes[5];

/* Name and version of the compiler, for example "gcc 12.2.0". */
extern const char compiler[80];

/* Return whether this processor has the instruction set for which this file is
   compiled. */
int is_supported(void);

/* Train a network on one batch after another. Stop after a step if units must be
   replaced: Python replaces them. Return 0, or 1 if memory runs out. */
int train(const Parameters *parameters, const Batches *batches,
          const Hyperparameters *hyperparameters, Sums *sums);

/* Test a network on the examples of one batch. Return 0, or 1 if memory runs out. */
int test(const Parameters *parameters, const Batches *batches, Sums *sums);

/* Return how many reals of scratch memory a convolution needs. */
int64_t convolution_scratch(const Convolution *c);

/* Compute the outputs of a convolution after the maximum and the ReLU. `images` and
   `outputs` are panels of lines, [network][panel][row][column][channel]. `places` gets
   the position of each maximum in its square, in the same layout, as integers that are
   as wide as the reals. It may be NULL. `weights` are
   [network][unit][row][column][channel], and `biases` are [network][unit]. All arrays
   but weights and biases are aligned to 64 bytes. */
void convolve(const Convolution *c, const void *images, const void *weights,
              const void *biases, void *outputs, void *places, void *scratch);

/* Compute the gradients of weights and biases from `errors`, the errors of the outputs.
   Unless `image_errors` is NULL, also compute the errors of the images. `places` is
   from `convolve`, and the arrays have the same layouts as there. */
void convolve_back(const Convolution *c, const void *images, const void *weights,
                   const void *places, const void *errors, void *weight_gradient,
                   void *bias_gradient, void *image_errors, void *scratch);

#endif
