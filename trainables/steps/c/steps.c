/* Train and test one network on a CPU, close to the peak speed of its arithmetic.

The equations are those of trainables/steps/fast.py. A layer's weights are stored as
rows, one row per output. The bias is one more column of weights, whose input is always
1. Activations are stored in panels, and also as rows for the gradient (see kernels.h).
All steps of a block of batches run one after the other, so that the weights stay in the
core's cache.

An error e is batch * dL/dz, where z is a layer's output before the ReLU. Lanes beyond
the batch have e = 0.
*/

#include "steps.h"

#include <stdlib.h>
#include <string.h>

#ifndef __aarch64__
#include <immintrin.h>
#endif

#include "kernels.h"

#ifdef __SANITIZE_ADDRESS__ /* leave gaps between arrays, to detect wrong accesses */
#include <sanitizer/asan_interface.h>
#define GAP VECTOR_BYTES
#else
#define GAP 0
#define ASAN_POISON_MEMORY_REGION(start, size) (void)(start)
#endif

#define TEST_BATCH 64 /* number of examples that are tested at once */

const int64_t struct_sizes[4] = {sizeof(Parameters), sizeof(Batches),
                                 sizeof(Hyperparameters), sizeof(Sums)};

#ifdef __clang__
const char compiler[80] = __VERSION__;
#else
const char compiler[80] = "gcc " __VERSION__;
#endif

/* Test for all instructions that the compiler flags of setup.py allow. */
int is_supported(void) {
#if defined __AVX512F__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#elif defined __AVX2__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1; /* every 64-bit ARM processor has NEON */
#endif
}

/* ---- denormal numbers ---- */

/* Without a gradient, momentum and the moments of Adam shrink until they are denormal
   (below 1e-38 as a float), and stay so. Processors take up to a hundred times as long
   for such numbers. This thread's control register therefore counts them as 0 during a
   call. */
#ifdef __aarch64__
typedef uint64_t Control;
#define FLUSH (UINT64_C(1) << 24) /* FZ */
static Control get_control(void) {
    Control control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static void set_control(Control control) {
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}
#else
typedef unsigned Control;
#define FLUSH 0x8040u /* FTZ and DAZ */
static Control get_control(void) { return _mm_getcsr(); }
static void set_control(Control control) { _mm_setcsr(control); }
#endif

static Control flush_denormals(void) {
    Control previous = get_control();
    set_control(previous | FLUSH);
    return previous;
}

/* ---- a network in memory ---- */

/* The passes of a step. BASE goes forward and backward at the weights w. For SAM,
   GNP and ASAM, ASCENT does the same at the ascent point (see ascend). */
typedef enum { BASE, ASCENT, PASSES } PassName;

typedef struct {
    real *weights;    /* weights at this point; NULL if implicit (see is_explicit) */
    real *inputs;     /* in panels of row_length features */
    real *input_rows; /* the same inputs as rows, one row per example */
    real *errors;     /* in panels of `outputs` features */
} Pass;

/* One layer. row_length is inputs + 1, rounded up to a multiple of LANES. */
typedef struct {
    long inputs, outputs, row_length;
    real *velocity; /* NULL without momentum */
    real *gradient; /* batch * gradient; NULL if it is not stored */
    Pass passes[PASSES];
} Layer;

typedef struct {
    long layers, batch, panels;
    bool is_small_batch, is_scaled; /* is_scaled: the ascent step is that of ASAM */
    Layer *layer;
    real *logits;
    /* Only for an implicit first layer (see is_explicit), otherwise NULL: */
    real *first_outputs;  /* outputs before the ReLU */
    real *input_products; /* h h^T + 1, in panels of examples */
    real *error_products; /* e e^T */
    real *ascent_errors;  /* e * rho / (batch * (norm + epsilon)) */
    void *memory;
} Network;

/* A block of memory from which `take` takes arrays. If `start` is NULL, `take` only
   counts the bytes. */
typedef struct {
    char *start;
    size_t used;
} Arena;

static real *take(Arena *arena, long count) {
    size_t offset = arena->used;
    arena->used += ceil_div(count * (long)sizeof(real), VECTOR_BYTES) * VECTOR_BYTES;
    size_t end = arena->used;
    arena->used += GAP;
    if (!arena->start) return NULL;
    ASAN_POISON_MEMORY_REGION(arena->start + end, GAP);
    return (real *)(arena->start + offset);
}

/* Return whether a layer's weights at the ascent point are stored (explicit).

   The first layer has the same inputs in both passes. It can therefore do without these
   weights (implicit), if this takes fewer multiplications. With the weights, the
   gradient and the second product take 2 * batch * inputs * outputs. Without the
   weights, h h^T takes batch^2 * inputs, and e e^T and its use take batch^2 * outputs
   each. The other layers always store these weights, and so does ASAM, which scales
   each of them. */
static bool is_explicit(const Network *net, long l, long inputs, long outputs) {
    if (l > 0 || net->is_scaled) return true;
    return net->batch * (inputs + 2 * outputs) > 2 * inputs * outputs;
}

static void lay_out(Network *net, Arena *arena, const int64_t *widths, bool has_ascent,
                    bool has_velocity) {
    long examples = net->panels * LANES;
    for (long l = 0; l < net->layers; l++) {
        Layer *layer = &net->layer[l];
        Pass *base = &layer->passes[BASE], *ascent = &layer->passes[ASCENT];
        layer->inputs = widths[l];
        layer->outputs = widths[l + 1];
        layer->row_length = ceil_div(layer->inputs + 1, LANES) * LANES;
        long weights = layer->outputs * layer->row_length;
        long inputs = examples * layer->row_length;
        bool has_gradient =
            has_ascent && is_explicit(net, l, layer->inputs, layer->outputs);
        base->weights = take(arena, weights);
        layer->velocity = has_velocity ? take(arena, weights) : NULL;
        layer->gradient = has_gradient ? take(arena, weights) : NULL;
        ascent->weights = has_gradient ? take(arena, weights) : NULL;
        base->inputs = take(arena, inputs);
        base->input_rows = take(arena, inputs);
        ascent->inputs = l && has_ascent ? take(arena, inputs) : base->inputs;
        ascent->input_rows = l && has_ascent ? take(arena, inputs) : base->input_rows;
        base->errors = take(arena, examples * layer->outputs);
        ascent->errors = has_ascent ? take(arena, examples * layer->outputs) : NULL;
    }
    const Layer *first = net->layer, *last = first + net->layers - 1;
    net->logits = take(arena, examples * last->outputs);
    if (has_ascent && !first->gradient) {
        net->first_outputs = take(arena, examples * first->outputs);
        net->ascent_errors = take(arena, examples * first->outputs);
        net->input_products = take(arena, examples * examples);
        net->error_products = take(arena, examples * examples);
    }
}

/* Copy the caller's weights and biases into rows. If `store` is true, copy the rows
   back to the caller instead. */
static void copy_rows(const Layer *layer, real *rows, real *w, real *b, bool store) {
    size_t size = layer->inputs * sizeof(real);
    for (long o = 0; o < layer->outputs; o++) {
        real *row = rows + o * layer->row_length, *weights = w + o * layer->inputs;
        if (store) {
            memcpy(weights, row, size);
            b[o] = row[layer->inputs];
        } else {
            memcpy(row, weights, size);
            row[layer->inputs] = b[o];
        }
    }
}

static void copy_parameters(const Network *net, const Parameters *caller, bool store) {
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        copy_rows(layer, layer->passes[BASE].weights, caller->weights[l],
                  caller->biases[l], store);
        if (layer->velocity)
            copy_rows(layer, layer->velocity, caller->weight_velocities[l],
                      caller->bias_velocities[l], store);
    }
}

/* Set the last input of each layer to 1. The weights of this input are the biases. */
static void set_ones(const Network *net) {
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        const Pass *base = &layer->passes[BASE], *ascent = &layer->passes[ASCENT];
        for (long example = 0; example < net->panels * LANES; example++) {
            long p = example / LANES, lane = example % LANES;
            long i = (p * layer->row_length + layer->inputs) * LANES + lane;
            base->inputs[i] = ascent->inputs[i] = 1;
            if (l == 0)
                base->input_rows[example * layer->row_length + layer->inputs] = 1;
        }
    }
}

/* Create a network with the caller's parameters. Return 0, or 1 if memory runs out. */
static int create(Network *net, const Parameters *parameters, long batch,
                  bool has_ascent, bool is_scaled) {
    *net = (Network){.layers = parameters->layers,
                     .batch = batch,
                     .panels = ceil_div(batch, LANES),
                     .is_small_batch = batch <= SMALL_BATCH,
                     .is_scaled = is_scaled};
    bool has_velocity = parameters->weight_velocities != NULL;
    Arena arena = {NULL, 0};
    net->layer = malloc(net->layers * sizeof(Layer));
    if (!net->layer) return 1;
    lay_out(net, &arena, parameters->widths, has_ascent, has_velocity);
    net->memory = arena.start = aligned_alloc(VECTOR_BYTES, arena.used);
    if (!arena.start) {
        free(net->layer);
        return 1;
    }
    memset(arena.start, 0, arena.used);
    arena.used = 0;
    lay_out(net, &arena, parameters->widths, has_ascent, has_velocity);
    set_ones(net);
    copy_parameters(net, parameters, false);
    return 0;
}

static void destroy(Network *net) {
    free(net->memory);
    free(net->layer);
}

/* Read the images of a batch as reals in [0, 1]. If next_positions is not NULL, also
   prefetch the images of the next batch. */
static void read_images(const Network *net, const uint8_t *images,
                        const int64_t *positions, const int64_t *next_positions) {
    const Layer *first = net->layer;
    const Pass *base = &first->passes[BASE];
    for (long b = 0; b < net->batch; b++) {
        const uint8_t *image = images + positions[b] * first->inputs;
        real *row = base->input_rows + b * first->row_length;
        for (long i = 0; i < first->inputs; i++) row[i] = image[i] * (real)(1 / 255.0);
        if (next_positions)
            for (long i = 0; i < first->inputs; i += 64)
                __builtin_prefetch(images + next_positions[b] * first->inputs + i);
    }
    if (!net->is_small_batch)
        rows_to_panels(base->input_rows, first->row_length, net->panels, base->inputs);
}

/* ---- a step ---- */

/* Write the first layer's outputs at the ascent point, without its weights there. They
   are z + s (h h^T + 1) e, where z are the outputs at w and s e are ascent_errors. */
static void forward_implicit(const Network *net, real *z, long z_stride) {
    const Layer *first = net->layer;
    long stride = first->outputs * LANES;
    for (long p = 0; p < net->panels; p++) {
        Panels to = {z + p * z_stride, 0};
        memcpy(to.values, net->first_outputs + p * stride, stride * sizeof(real));
        for (long q = 0; q < net->panels; q++) {
            Matrix errors = {net->ascent_errors + q * stride, LANES, 1};
            Panels products = {
                net->input_products + (p * net->panels + q) * LANES * LANES, 0};
            multiply(errors, first->outputs, LANES, products, to, 1, true);
        }
    }
}

/* Compute the outputs of all layers, up to the logits. */
static void forward(const Network *net, PassName name) {
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l], *next = layer + 1;
        const Pass *pass = &layer->passes[name];
        bool is_last = l == net->layers - 1;
        Panels z = {net->logits, layer->outputs * LANES};
        if (!is_last) z = (Panels){next->passes[name].inputs, next->row_length * LANES};
        if (!pass->weights) {
            forward_implicit(net, z.values, z.stride);
        } else if (net->is_small_batch) {
            multiply_small_batch(pass->weights, layer->outputs, pass->input_rows,
                                 layer->row_length, net->batch, z.values);
        } else {
            Matrix weights = {pass->weights, layer->row_length, 1};
            Panels inputs = {pass->inputs, layer->row_length * LANES};
            multiply(weights, layer->outputs, layer->inputs + 1, inputs, z, net->panels,
                     false);
        }
        long count = layer->outputs * LANES;
        for (long p = 0; p < net->panels; p++) {
            real *panel = z.values + p * z.stride;
            if (l == 0 && name == BASE && net->first_outputs)
                memcpy(net->first_outputs + p * count, panel, count * sizeof(real));
            if (!is_last) relu(panel, count);
        }
        if (!is_last)
            panels_to_rows(z.values, next->row_length, net->panels,
                           next->passes[name].input_rows);
    }
}

/* Compute the errors of all layers, from the last layer to the first. If `sums` is not
   NULL, add the losses and the number of correct predictions to `sums`. */
static void backward(const Network *net, PassName name, const int64_t *labels,
                     Sums *sums) {
    const Layer *last = &net->layer[net->layers - 1];
    softmax_error(net->logits, last->outputs, net->batch, labels,
                  last->passes[name].errors, sums);
    for (const Layer *layer = last; layer > net->layer; layer--) {
        const Pass *pass = &layer->passes[name];
        Panels from = {pass->errors, layer->outputs * LANES};
        Panels to = {(layer - 1)->passes[name].errors, layer->inputs * LANES};
        if (net->is_small_batch) {
            multiply_back_small_batch(from.values, layer->outputs, pass->weights,
                                      layer->row_length, layer->inputs, net->batch,
                                      to.values);
        } else {
            Matrix transposed = {pass->weights, 1, layer->row_length};
            multiply(transposed, layer->inputs, layer->outputs, from, to, net->panels,
                     false);
        }
        for (long p = 0; p < net->panels; p++)
            relu_backward(pass->inputs + p * layer->row_length * LANES,
                          to.values + p * to.stride, to.stride);
    }
}

/* Compute batch * the gradient of a layer in a pass, and use it as `update` says. */
static void use_gradient(const Network *net, const Layer *layer, PassName name,
                         const Update *update) {
    const Pass *pass = &layer->passes[name];
    outer_product(pass->errors, layer->outputs, pass->input_rows, layer->row_length,
                  net->batch, update);
}

/* Return ||batch * gradient||^2 of the first layer without storing the gradient. The
   result is sum((h h^T + 1) * (e e^T)), elementwise. Keep h h^T + 1 in input_products
   for `forward_implicit`. */
static double implicit_squares(const Network *net) {
    const Layer *first = net->layer;
    const Pass *base = &first->passes[BASE];
    Panels inputs = {base->inputs, first->row_length * LANES};
    Panels errors = {base->errors, first->outputs * LANES};
    long stride = net->panels * LANES * LANES;
    for (long q = 0; q < net->panels; q++) {
        Panels input_products = {net->input_products + q * LANES * LANES, stride};
        Panels error_products = {net->error_products + q * LANES * LANES, stride};
        if (net->is_small_batch) {
            multiply_small_batch(base->input_rows, net->batch, base->input_rows,
                                 first->row_length, net->batch, net->input_products);
        } else {
            Matrix examples = {inputs.values + q * inputs.stride, 1, LANES};
            multiply(examples, LANES, first->inputs + 1, inputs, input_products,
                     net->panels, false);
        }
        Matrix examples = {errors.values + q * errors.stride, 1, LANES};
        multiply(examples, LANES, first->outputs, errors, error_products, net->panels,
                 false);
    }
    return pair_sum(net->input_products, net->error_products, net->panels, net->batch);
}

/* Multiply a layer's gradient by |w| + eta. Leave the biases if they are not scaled. */
static void scale_gradient(const Layer *layer, const Hyperparameters *h) {
    long count = layer->inputs + (h->scales_biases != 0);
    for (long o = 0; o < layer->outputs; o++) {
        const real *w = layer->passes[BASE].weights + o * layer->row_length;
        real *gradient = layer->gradient + o * layer->row_length;
        for (long i = 0; i < count; i++)
            gradient[i] *= (w[i] < 0 ? -w[i] : w[i]) + (real)h->eta;
    }
}

/* Compute the weights at the ascent point, w + rho gradient / (norm + epsilon), or
   w + rho T^2 gradient / (norm of T gradient + epsilon) for ASAM. For an implicit first
   layer, compute only ascent_errors. ASAM overwrites the gradient, which it does not
   need any more. */
static void ascend(const Network *net, const Hyperparameters *h) {
    double squares = 0;
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        if (layer->gradient) {
            use_gradient(net, layer, BASE, &(Update){.sum_output = layer->gradient});
            if (net->is_scaled) scale_gradient(layer, h);
            squares +=
                sum_of_squares(layer->gradient, layer->outputs * layer->row_length);
        } else {
            squares += implicit_squares(net);
        }
    }
    real scale = h->rho / net->batch / (sqrt(squares) / net->batch + h->epsilon);
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        const Pass *base = &layer->passes[BASE], *ascent = &layer->passes[ASCENT];
        if (net->is_scaled) scale_gradient(layer, h);
        if (layer->gradient)
            for (long i = 0; i < layer->outputs * layer->row_length; i++)
                ascent->weights[i] = base->weights[i] + scale * layer->gradient[i];
        else
            for (long i = 0; i < net->panels * layer->outputs * LANES; i++)
                net->ascent_errors[i] = scale * base->errors[i];
    }
}

static bool has_ascent(const Hyperparameters *h) { return h->rho > 0 && h->alpha > 0; }

/* Update the weights with (1 - alpha) * base gradient + alpha * ascent gradient. */
static void descend(const Network *net, const Hyperparameters *h) {
    double alpha = h->alpha;
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        const Pass *base = &layer->passes[BASE], *ascent = &layer->passes[ASCENT];
        Update update = {.share = 1.0 / net->batch,
                         .lr = h->lr,
                         .weight_decay = h->weight_decay,
                         .momentum = h->momentum,
                         .weights = base->weights,
                         .velocity = layer->velocity};
        if (!has_ascent(h)) {
            use_gradient(net, layer, BASE, &update);
            continue;
        }
        if (!layer->gradient) { /* both passes have the same inputs: mix the errors */
            for (long i = 0; i < net->panels * layer->outputs * LANES; i++)
                ascent->errors[i] = (real)(1 - alpha) * base->errors[i] +
                                    (real)alpha * ascent->errors[i];
        } else if (alpha < 1) {
            update.share = alpha / net->batch;
            update.other_share = (1 - alpha) / net->batch;
            update.other = layer->gradient;
        }
        use_gradient(net, layer, ASCENT, &update);
    }
}

int train(const Parameters *parameters, const Batches *batches,
          const Hyperparameters *hyperparameters, Sums *sums) {
    const Hyperparameters *h = hyperparameters;
    Network net;
    bool is_scaled = has_ascent(h) && h->eta > 0;
    if (create(&net, parameters, batches->batch, has_ascent(h), is_scaled)) return 1;
    Control control = flush_denormals();
    *sums = (Sums){0};
    for (long t = 0; t < batches->steps; t++) {
        const int64_t *positions = batches->positions + t * batches->stride;
        const int64_t *labels = batches->labels + t * batches->stride;
        bool is_last = t == batches->steps - 1;
        read_images(&net, batches->images, positions,
                    is_last ? NULL : positions + batches->stride);
        forward(&net, BASE);
        backward(&net, BASE, labels, sums);
        if (has_ascent(h)) {
            ascend(&net, h);
            forward(&net, ASCENT);
            backward(&net, ASCENT, labels, NULL);
        }
        descend(&net, h);
    }
    set_control(control);
    copy_parameters(&net, parameters, true);
    destroy(&net);
    return 0;
}

int test(const Parameters *parameters, const Batches *batches, Sums *sums) {
    long batch = min(batches->batch, TEST_BATCH);
    Network net;
    if (create(&net, parameters, batch, false, false)) return 1;
    Control control = flush_denormals();
    *sums = (Sums){0};
    for (long first = 0; first < batches->batch; first += batch) {
        net.batch = min(batch, batches->batch - first);
        const int64_t *positions = batches->positions + first;
        bool is_next_full = first + net.batch + batch <= batches->batch;
        read_images(&net, batches->images, positions,
                    is_next_full ? positions + batch : NULL);
        forward(&net, BASE);
        softmax_error(net.logits, net.layer[net.layers - 1].outputs, net.batch,
                      batches->labels + first,
                      net.layer[net.layers - 1].passes[BASE].errors, sums);
    }
    set_control(control);
    destroy(&net);
    return 0;
}
