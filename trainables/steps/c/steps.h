/* The C functions and structs that Python uses. trainables/steps/extension.py declares
   the same structs. */

#ifndef STEPS_H
#define STEPS_H

#include <stdint.h>

/* One network in the caller's memory, which is changed in place. Each array has one
   pointer per layer. The pointers are to weights (outputs x inputs), to biases
   (outputs), and to their velocities. The numbers are float, or double if DOUBLE is
   defined. Without momentum, the arrays of velocities are NULL. */
typedef struct {
    int64_t layers;
    const int64_t *widths; /* layers + 1 numbers: inputs, hidden layers, outputs */
    void **weights, **biases, **weight_velocities, **bias_velocities;
} Parameters;

/* Batches of examples. Batch t begins at positions[t * stride] and labels[t * stride].
   `positions` are numbers of images. */
typedef struct {
    int64_t steps, batch, stride;
    const uint8_t *images; /* widths[0] bytes per image, each from 0 to 255 */
    const int64_t *positions, *labels;
} Batches;

/* If eta is above 0, the ascent step is that of ASAM: scaled by |w| + eta. The ascent
   step of the biases is scaled only if scales_biases is not 0. */
typedef struct {
    double lr, weight_decay, momentum, rho, alpha, epsilon, eta, scales_biases;
} Hyperparameters;

/* Sums of the losses and of the correct predictions over all examples. They are
   computed from the logits before each step. */
typedef struct {
    double loss, correct;
} Sums;

/* Sizes of the structs above, in this order. Python compares these sizes with the sizes
   of its own structs. */
extern const int64_t struct_sizes[4];

/* Name and version of the compiler, for example "gcc 12.2.0". */
extern const char compiler[80];

/* Return whether this processor has the instruction set for which this file is
   compiled. */
int is_supported(void);

/* Train a network on one batch after another. Return 0, or 1 if memory runs out. */
int train(const Parameters *parameters, const Batches *batches,
          const Hyperparameters *hyperparameters, Sums *sums);

/* Test a network on the examples of one batch. Return 0, or 1 if memory runs out. */
int test(const Parameters *parameters, const Batches *batches, Sums *sums);

#endif
