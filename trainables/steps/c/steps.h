/* The steps in C: what Python calls. trainables/steps/extension.py declares the same.
 */

#ifndef STEPS_H
#define STEPS_H

#include <stdint.h>

/* One network in the caller's memory, changed in place. Arrays of one pointer per
   layer: weights (outputs x inputs) and biases (outputs), of float or, in a build with
   DOUBLE, of double; velocities NULL without momentum. */
typedef struct {
    int64_t layers;
    const int64_t *widths; /* layers + 1: inputs, hidden layers, outputs */
    void **weights, **biases, **weight_velocities, **bias_velocities;
} Parameters;

/* Batches of examples. Batch t begins at positions[t * stride], labels[t * stride]. */
typedef struct {
    int64_t steps, batch, stride;
    const uint8_t *images; /* 0 to 255, widths[0] bytes each */
    const int64_t *positions, *labels;
} Batches;

typedef struct {
    double lr, weight_decay, momentum, rho, alpha, epsilon;
} Hyperparameters;

/* Sums over the examples, of the logits before each step. */
typedef struct {
    double loss, correct;
} Sums;

/* Sizes of the structs above in their order, which the caller compares with its own. */
extern const int64_t struct_sizes[4];

/* Name and version, as "gcc 12.2.0". */
extern const char compiler[80];

/* Tell whether this processor has the instruction set that this file is compiled for.
 */
int is_supported(void);

/* Train a network, batch after batch. Return 0, or 1 if memory runs out. */
int train(const Parameters *parameters, const Batches *batches,
          const Hyperparameters *hyperparameters, Sums *sums);

/* Test a network on the examples of one batch. Return 0, or 1 if memory runs out. */
int test(const Parameters *parameters, const Batches *batches, Sums *sums);

#endif
