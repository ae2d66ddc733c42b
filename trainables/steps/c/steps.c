/* Train and test one network on a CPU, close to the peak speed of its arithmetic.

trainables/steps/fast.py explains the equations. A layer's weights are stored as
rows, one row per output. The bias is one more column of weights, whose input is always
1. With layer norm, the biases of hidden layers form a separate `Part`. Activations are
stored in panels, and also as rows for the gradient (see kernels.h). One call computes
all steps of a block of batches, so that the weights stay in the core's cache.

z is a layer's output before layer norm and the activation. An error e is batch * dL/dz.
Lanes beyond the batch have e = 0.
*/

#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "network.h"

#ifdef __SANITIZE_ADDRESS__ /* leave gaps between arrays, to detect wrong accesses */
#include <sanitizer/asan_interface.h>
#define GAP VECTOR_BYTES
#else
#define GAP 0
#define ASAN_POISON_MEMORY_REGION(start, size) (void)(start)
#endif

#define TEST_BATCH 64 /* number of examples that are tested at once */

const int64_t struct_sizes[5] = {sizeof(Parameters), sizeof(Batches),
                                 sizeof(Hyperparameters), sizeof(Sums),
                                 sizeof(Convolution)};

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

/* If the gradient of a weight stays 0, its velocity or its moments of Adam shrink until
   they are denormal (below 1e-38 as a float). Processors take up to a hundred times as
   long for denormal numbers. During a call, a setting of this thread therefore makes
   the processor treat them as 0. */
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

/* Return whether the first layer stores its weights at the ascent point (explicit).

   The first layer has the same inputs in both passes. It can therefore do without these
   weights (implicit), and does so if that takes fewer multiplications. The explicit way
   takes 2 * batch * inputs * outputs, for the gradient and the second product. The
   implicit way takes batch^2 * inputs for h h^T, batch^2 * outputs for the product of
   h h^T with e, and batch^2 * outputs for e e^T, which is only for the norm.

   ASAM, UPGD and methods that are not a mixture need each element of the gradient, so
   their first layer is explicit. All other layers are always explicit. */
static bool is_first_explicit(const Network *net) {
    long inputs = net->layer->inputs, outputs = net->layer->outputs;
    if (net->is_scaled || net->method != MIXTURE || net->has_utility) return true;
    return net->batch * (inputs + 2 * outputs) > 2 * inputs * outputs;
}

static void destroy(Network *net) {
    free(net->memory);
    free(net->layer);
    free(net->part);
}

/* Return whether to merge the update of the first layer's weights with computing z of
   the next example. With one example per batch, most time goes into reading and writing
   these weights. If the two are merged, a step reads the weights only once. */
static bool is_fused(const Network *net) {
    return net->is_small_batch && net->batch == 1 && !net->arrays[AVERAGE] &&
           !net->has_noise && !net->part->extra && !net->spectral &&
           !net->part->column_lrs && net->method == MIXTURE && net->chains == 1;
}

/* Return the number of gradients that a method stores. */
static int stored_gradients(Method method) {
    if (method == GAM) return 3;
    return method == WSAM || method == GSAM || method == LOOKSAM ? 2 : 1;
}

static real *slice(const real *vector, long start) {
    return vector ? (real *)vector + start : NULL;
}

/* Allocate the vectors of a network (weights, gradients, ...) in the arena, and give
   each part its slices of them. */
static void lay_out_vectors(Network *net, Arena *arena, const Parameters *caller) {
    bool is_explicit = is_first_explicit(net);
    Part *end = net->part + net->parts;
    net->count = 0;
    for (Part *part = net->part; part < end; part++) {
        part->start = net->count;
        part->count = part->rows * part->row_length;
        net->count += part->count;
    }
    for (Kind kind = 0; kind < KINDS; kind++)
        net->arrays[kind] = caller->weights[kind] ? take(arena, net->count) : NULL;
    long skipped = is_explicit ? 0 : net->part->count;
    int gradients =
        net->has_ascent || net->has_utility ? stored_gradients(net->method) : 0;
    for (int i = 0; i < gradients; i++)
        net->gradients[i] = take(arena, net->count - skipped);
    if (net->has_ascent) net->point = take(arena, net->count - skipped);
    for (Part *part = net->part; part < end; part++) {
        for (Kind kind = 0; kind < KINDS; kind++)
            part->arrays[kind] = slice(net->arrays[kind], part->start);
        part->passes[BASE].weights = part->arrays[VALUE];
        if (part == net->part && !is_explicit) continue;
        part->gradient = slice(net->gradients[0], part->start - skipped);
        part->passes[ASCENT].weights = slice(net->point, part->start - skipped);
    }
}

/* Allocate everything that a network needs in the arena. */
static void lay_out(Network *net, Arena *arena, const Parameters *caller) {
    long examples = net->panels * LANES, per_unit = unit_outputs(net->activation);
    long most = 0, longest = 0; /* the most inputs of a layer; the longest row */
    long most_weights = 0;
    real *direction = caller->directions;
    net->hidden_units = 0;
    net->parts = 0;
    for (long l = 0; l < net->layers; l++) {
        Layer *layer = &net->layer[l];
        long length = net->layers / net->chains;
        layer->is_first = l % length == 0, layer->is_last = (l + 1) % length == 0;
        Part *matrix = layer->matrix = &net->part[net->parts++];
        bool has_offset = net->is_normalized && !layer->is_last;
        layer->inputs =
            layer->is_first ? caller->widths[0] : caller->widths[l] * per_unit;
        layer->outputs = caller->widths[l + 1];
        layer->logits = layer->is_last ? take(arena, examples * layer->outputs) : NULL;
        if (!layer->is_last) net->hidden_units += layer->outputs;
        if (!layer->is_first && layer->inputs > most) most = layer->inputs;
        long row_length = ceil_div(layer->inputs + 1, LANES) * LANES;
        if (row_length > longest) longest = row_length;
        *matrix = (Part){layer->outputs, layer->inputs, row_length, !has_offset};
        if (net->has_noise) {
            matrix->noise = caller->noise[l];
            matrix->bias_noise = caller->noise[net->layers + l];
        }
        if (direction) {
            matrix->extra = 2; /* see `penalize` */
            matrix->direction = direction;
            direction += layer->outputs;
        } else if (net->is_parseval && !layer->is_last) {
            matrix->extra = layer->outputs;
        }
        long extra = ceil_div(matrix->extra, LANES) * LANES, rooms = examples + extra;
        if (net->is_parseval && extra * row_length > most_weights)
            most_weights = extra * row_length;
        if (net->units.age && caller->weights[SECOND]) {
            matrix->column_lrs = take(arena, row_length); /* 0 in the first layer */
            matrix->column_roots = take(arena, row_length);
        }
        layer->offset = NULL;
        if (has_offset) {
            layer->offset = &net->part[net->parts++];
            *layer->offset = (Part){layer->outputs, 0, LANES, true};
            real *ones = take(arena, net->batch * LANES);
            for (PassName name = 0; name < PASSES; name++)
                layer->offset->passes[name].input_rows = ones;
        }
        for (PassName name = 0; name < PASSES; name++) {
            if (name == ASCENT && !net->has_ascent) continue;
            /* all passes and all chains have the same inputs */
            bool is_shared = layer->is_first && (name == ASCENT || l > 0);
            real *inputs = is_shared ? net->layer->passes[BASE].inputs
                                     : take(arena, examples * row_length);
            real *rows = is_shared ? net->part->passes[BASE].input_rows
                                   : take(arena, rooms * row_length);
            layer->passes[name].inputs = inputs;
            matrix->passes[name].input_rows = rows;
            matrix->passes[name].errors = take(arena, rooms * layer->outputs);
            if (!has_offset) continue;
            layer->offset->passes[name].errors = take(arena, examples * layer->outputs);
            layer->passes[name].normal = take(arena, examples * layer->outputs);
            layer->passes[name].scale = (vec *)take(arena, examples);
        }
    }
    const Layer *first = net->layer, *last = first + net->layers - 1;
    lay_out_vectors(net, arena, caller);
    net->targets = net->chains > 1 ? take(arena, net->batch * TARGETS) : NULL;
    net->output_errors = per_unit > 1 ? take(arena, examples * most) : NULL;
    net->scratch = take(arena, SCRATCH_ROWS * longest);
    net->noise_row = take(arena, longest + 32); /* see draw_row */
    if (net->units.silence || net->units.age) {
        net->activity = take(arena, net->hidden_units);
        net->centre = take(arena, net->hidden_units);
    }
    if (most_weights) net->weight_panels = take(arena, most_weights);
    if (net->limits_norm) {
        const Layer *hidden = last - 1; /* see limit_spectral_norm */
        net->spectral =
            take(arena, 5 * hidden->matrix->row_length + hidden->outputs * LANES);
    }
    net->next_row = is_fused(net) ? take(arena, first->matrix->row_length) : NULL;
    if (net->has_ascent && (net->method == LOOKSAM || !first->matrix->gradient)) {
        net->input_products = take(arena, examples * examples);
        net->error_products = take(arena, examples * examples);
    }
    if (net->has_ascent && !first->matrix->gradient) {
        net->first_outputs = take(arena, examples * first->outputs);
        net->ascent_errors = take(arena, examples * first->outputs);
    }
}

/* Copy the caller's weights w and biases b into the rows of a part. If `store` is true,
   copy the rows back to w and b instead. */
static void copy_rows(const Part *part, real *rows, real *w, real *b, bool store) {
    size_t size = part->columns * sizeof(real);
    for (long o = 0; o < part->rows; o++) {
        real *row = rows + o * part->row_length, *weights = w + o * part->columns;
        memcpy(store ? weights : row, store ? row : weights, size);
        if (!part->has_bias) continue;
        if (store)
            b[o] = row[part->columns];
        else
            row[part->columns] = b[o];
    }
}

static void copy_parameters(const Network *net, const Parameters *caller, bool store) {
    for (long l = 0; l < net->layers; l++)
        for (Kind kind = 0; kind < KINDS; kind++) {
            if (!caller->weights[kind]) continue;
            real *w = caller->weights[kind][l], *b = caller->biases[kind][l];
            const Part *matrix = net->layer[l].matrix, *offset = net->layer[l].offset;
            copy_rows(matrix, matrix->arrays[kind], w, b, store);
            if (offset) copy_rows(offset, offset->arrays[kind], w, b, store);
        }
}

/* Set the inputs of all biases to 1. */
static void set_ones(const Network *net) {
    if (net->next_row) net->next_row[net->layer->inputs] = 1;
    for (long l = 0; l < net->layers; l++) {
        const Layer *layer = &net->layer[l];
        const Part *matrix = layer->matrix;
        for (long example = 0; example < net->panels * LANES; example++) {
            if (layer->offset) {
                if (example < net->batch)
                    layer->offset->passes[BASE].input_rows[example * LANES] = 1;
                continue;
            }
            long p = example / LANES, lane = example % LANES;
            long i = (p * matrix->row_length + layer->inputs) * LANES + lane;
            layer->passes[BASE].inputs[i] = 1;
            if (net->has_ascent) layer->passes[ASCENT].inputs[i] = 1;
            if (l == 0)
                matrix->passes[BASE]
                    .input_rows[example * matrix->row_length + layer->inputs] = 1;
        }
    }
}

/* Create a network with the caller's parameters. Return 0, or 1 if memory runs out.
   `h` is NULL for a network that is only tested. */
static int create(Network *net, const Parameters *caller, long batch,
                  const Hyperparameters *h) {
    bool has_ascent = h && h->rho > 0 && h->alpha > 0;
    *net = (Network){.layers = caller->layers,
                     .chains = caller->chains,
                     .batch = batch,
                     .panels = ceil_div(batch, LANES),
                     .activation = caller->activation,
                     .method = has_ascent ? (Method)h->method : MIXTURE,
                     .is_normalized = caller->is_normalized,
                     .has_ascent = has_ascent,
                     .has_noise = h && caller->noise,
                     .has_utility = h && caller->weights[UTILITY],
                     .units = h ? caller->units : (Units){NULL},
                     .is_parseval = h && h->parseval_strength > 0,
                     .limits_norm = h && h->spectral_bound > 0,
                     /* the functions for small batches need the biases in the rows */
                     .is_small_batch = batch <= SMALL_BATCH && !caller->is_normalized,
                     .is_scaled = has_ascent && h->eta > 0};
    Arena arena = {NULL, 0};
    net->layer = calloc(net->layers, sizeof(Layer));
    net->part = calloc(2 * net->layers, sizeof(Part));
    if (net->layer && net->part) {
        lay_out(net, &arena, caller);
        net->memory = arena.start = aligned_alloc(VECTOR_BYTES, arena.used);
    }
    if (!net->memory) {
        destroy(net);
        return 1;
    }
    memset(arena.start, 0, arena.used);
    arena.used = 0;
    lay_out(net, &arena, caller);
    set_ones(net);
    copy_parameters(net, caller, false);
    return 0;
}

/* Read the inputs and the targets of a batch of a network with 2 chains. */
static void read_steps(const Network *net, const Batches *batches,
                       const int64_t *positions) {
    const Layer *first = net->layer;
    const real *inputs = batches->inputs, *targets = batches->targets;
    long row_length = first->matrix->row_length, width = first->inputs;
    real *rows = first->matrix->passes[BASE].input_rows;
    for (long b = 0; b < net->batch; b++) {
        memcpy(rows + b * row_length, inputs + positions[b] * width,
               width * sizeof(real));
        memcpy(net->targets + b * TARGETS, targets + positions[b] * TARGETS,
               TARGETS * sizeof(real));
    }
    if (!net->is_small_batch)
        rows_to_panels(rows, row_length, net->panels, first->passes[BASE].inputs);
}

/* Read the images of a batch into `rows`, as reals in [low, 1]. If next_positions is
   not NULL, also prefetch the images of the next batch. */
static void read_images(const Network *net, const Batches *batches, real *rows,
                        const int64_t *positions, const int64_t *next_positions) {
    const Layer *first = net->layer;
    long row_length = first->matrix->row_length;
    real scale = (1 - batches->low) / 255, low = batches->low;
    for (long b = 0; b < net->batch; b++) {
        const uint8_t *image = batches->images + positions[b] * first->inputs;
        real *row = rows + b * row_length;
        for (long i = 0; i < first->inputs; i++) row[i] = image[i] * scale + low;
        if (next_positions)
            for (long i = 0; i < first->inputs; i += 64)
                __builtin_prefetch(batches->images + next_positions[b] * first->inputs +
                                   i);
    }
    if (!net->is_small_batch)
        rows_to_panels(rows, row_length, net->panels, first->passes[BASE].inputs);
}

/* ---- a step ---- */

/* Write the first layer's outputs at the ascent point, without computing the weights at
   that point. The outputs are z + s (h h^T + 1) e, where z are the outputs at w and s e
   are ascent_errors. */
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

/* Compute z of one layer from its inputs. */
static void multiply_layer(const Network *net, const Layer *layer, PassName name,
                           Panels z) {
    const Part *matrix = layer->matrix;
    real *weights = matrix->passes[name].weights;
    if (!weights) {
        forward_implicit(net, z.values, z.stride);
    } else if (net->is_small_batch) {
        multiply_small_batch(weights, layer->outputs, matrix->passes[name].input_rows,
                             matrix->row_length, net->batch, z.values);
    } else {
        Matrix a = {weights, matrix->row_length, 1};
        Panels inputs = {layer->passes[name].inputs, matrix->row_length * LANES};
        multiply(a, layer->outputs, layer->inputs + matrix->has_bias, inputs, z,
                 net->panels, false);
    }
}

/* Return where to write z of a layer: into the inputs of the next layer, or for the
   last layer of a chain into the logits. */
static Panels layer_outputs(const Layer *layer, PassName name) {
    if (layer->is_last) return (Panels){layer->logits, layer->outputs * LANES};
    const Layer *next = layer + 1;
    return (Panels){next->passes[name].inputs, next->matrix->row_length * LANES};
}

void forward(const Network *net, PassName name, bool has_first) {
    const Layer *end = net->layer + net->layers;
    for (const Layer *layer = net->layer; layer < end; layer++) {
        Panels z = layer_outputs(layer, name);
        if (!has_first || layer > net->layer) multiply_layer(net, layer, name, z);
        long count = layer->outputs * LANES;
        for (long p = 0; p < net->panels; p++) {
            real *panel = z.values + p * z.stride;
            if (layer == net->layer && name == BASE && net->first_outputs)
                memcpy(net->first_outputs + p * count, panel, count * sizeof(real));
            if (layer->is_last) continue;
            if (layer->offset)
                normalize(panel, layer->outputs, layer->offset->passes[name].weights,
                          layer->passes[name].normal + p * count,
                          layer->passes[name].scale + p);
            activate(net->activation, panel, layer->outputs);
        }
        if (!layer->is_last) {
            const Part *next = (layer + 1)->matrix;
            panels_to_rows(z.values, next->row_length, net->panels,
                           next->passes[name].input_rows);
        }
    }
}

void output_error(const Network *net, PassName name, const int64_t *labels,
                  Sums *sums) {
    const Layer *last = &net->layer[net->layers - 1];
    real *errors = last->matrix->passes[name].errors;
    if (net->chains > 1) {
        const Layer *actor = &net->layer[net->layers / net->chains - 1];
        ppo_error(actor->logits, actor->outputs, last->logits, net->batch, net->targets,
                  actor->matrix->passes[name].errors, errors);
    } else {
        softmax_error(last->logits, last->outputs, net->batch, labels, errors, sums);
    }
}

void backward(const Network *net, PassName name, const int64_t *labels, Sums *sums) {
    const Layer *last = &net->layer[net->layers - 1];
    output_error(net, name, labels, sums);
    for (const Layer *layer = last; layer > net->layer; layer--) {
        if (layer->is_first) continue;
        const Layer *below = layer - 1;
        const Part *matrix = layer->matrix;
        real *weights = matrix->passes[name].weights;
        real *errors = below->matrix->passes[name].errors;
        Panels from = {matrix->passes[name].errors, layer->outputs * LANES};
        Panels to = {net->output_errors ? net->output_errors : errors,
                     layer->inputs * LANES};
        if (net->is_small_batch) {
            multiply_back_small_batch(from.values, layer->outputs, weights,
                                      matrix->row_length, layer->inputs, net->batch,
                                      to.values);
        } else {
            Matrix transposed = {weights, 1, matrix->row_length};
            multiply(transposed, layer->inputs, layer->outputs, from, to, net->panels,
                     false);
        }
        for (long p = 0; p < net->panels; p++) {
            const real *h = layer->passes[name].inputs + p * matrix->row_length * LANES;
            long start = p * below->outputs * LANES;
            real *e = below->offset ? below->offset->passes[name].errors : errors;
            activate_backward(net->activation, h, to.values + p * to.stride,
                              below->outputs, e + start);
            if (below->offset)
                normalize_backward(e + start, below->outputs,
                                   below->passes[name].normal + start,
                                   below->passes[name].scale + p, errors + start);
        }
    }
}

void use_gradient(const Network *net, const Part *part, PassName name,
                  const Update *update) {
    outer_product(part->passes[name].errors, part->rows, part->passes[name].input_rows,
                  part->row_length, net->batch, update);
}

/* Return ||batch * gradient||^2 of a layer in the pass BASE, without storing the
   gradient. The result is sum((h h^T + 1) * (e e^T)), elementwise. h h^T + 1 stays in
   input_products, where `forward_implicit` needs it. With layer norm, the biases are
   separate, so the + 1 is left out. */
static double implicit_squares(const Network *net, const Layer *layer) {
    const Part *matrix = layer->matrix;
    Panels inputs = {layer->passes[BASE].inputs, matrix->row_length * LANES};
    Panels errors = {matrix->passes[BASE].errors, layer->outputs * LANES};
    const real *rows = matrix->passes[BASE].input_rows;
    long stride = net->panels * LANES * LANES;
    for (long q = 0; q < net->panels; q++) {
        Panels input_products = {net->input_products + q * LANES * LANES, stride};
        Panels error_products = {net->error_products + q * LANES * LANES, stride};
        if (net->is_small_batch) {
            multiply_small_batch(rows, net->batch, rows, matrix->row_length, net->batch,
                                 net->input_products);
        } else {
            Matrix examples = {inputs.values + q * inputs.stride, 1, LANES};
            multiply(examples, LANES, layer->inputs + matrix->has_bias, inputs,
                     input_products, net->panels, false);
        }
        Matrix examples = {errors.values + q * errors.stride, 1, LANES};
        multiply(examples, LANES, layer->outputs, errors, error_products, net->panels,
                 false);
    }
    return pair_sum(net->input_products, net->error_products, net->panels, net->batch);
}

double implicit_norm(const Network *net) {
    double squares = 0;
    for (const Layer *layer = net->layer; layer < net->layer + net->layers; layer++) {
        squares += implicit_squares(net, layer);
        const Part *offset = layer->offset;
        if (!offset) continue;
        use_gradient(net, offset, BASE,
                     &(Update){.sum_output = offset->gradient, .share = 1});
        squares += dot(offset->gradient, offset->gradient, offset->count);
    }
    return sqrt(squares) / net->batch;
}

/* Multiply a part's gradient by |w| + eta. Skip the biases if they are not scaled. */
static void scale_gradient(const Part *part, const Hyperparameters *h) {
    long count = part->columns + (part->has_bias && h->scales_biases != 0);
    for (long o = 0; o < part->rows; o++) {
        const real *w = part->arrays[VALUE] + o * part->row_length;
        real *gradient = part->gradient + o * part->row_length;
        for (long i = 0; i < count; i++)
            gradient[i] *= (w[i] < 0 ? -w[i] : w[i]) + (real)h->eta;
    }
}

/* Compute the weights at the ascent point: w + rho gradient / (norm + epsilon). For
   ASAM, compute w + rho T^2 gradient / (norm of T gradient + epsilon), where T
   multiplies each element by |w| + eta. ASAM overwrites the gradient, which it does not
   need later. For an implicit first layer, compute only ascent_errors. */
static void ascend(const Network *net, const Hyperparameters *h) {
    double squares = 0;
    const Part *end = net->part + net->parts;
    for (const Part *part = net->part; part < end; part++) {
        if (part->gradient) {
            use_gradient(net, part, BASE,
                         &(Update){.sum_output = part->gradient, .share = 1});
            if (net->is_scaled) scale_gradient(part, h);
            squares += dot(part->gradient, part->gradient, part->count);
        } else {
            squares += implicit_squares(net, net->layer);
        }
    }
    real scale = h->rho / net->batch / (sqrt(squares) / net->batch + h->epsilon);
    for (const Part *part = net->part; part < end; part++) {
        const real *w = part->arrays[VALUE], *errors = part->passes[BASE].errors;
        real *ascent = part->passes[ASCENT].weights;
        if (net->is_scaled) scale_gradient(part, h);
        if (part->gradient)
            for (long i = 0; i < part->count; i++)
                ascent[i] = w[i] + scale * part->gradient[i];
        else
            for (long i = 0; i < net->panels * part->rows * LANES; i++)
                net->ascent_errors[i] = scale * errors[i];
    }
}

/* Return the update of a part for the gradient of the last pass (see `Update`). */
static Update describe_update(const Network *net, const Part *part,
                              const Hyperparameters *h) {
    Update update = {.share = 1.0 / net->batch,
                     .lr = h->lr,
                     .weight_decay = h->weight_decay,
                     .momentum = h->momentum,
                     .init_decay = h->init_decay,
                     .average_share = 1 - h->hare_ema,
                     .scratch = net->scratch};
    memcpy(update.arrays, part->arrays, sizeof update.arrays);
    if (part->arrays[SECOND]) {
        update.lr = h->lr / (1 - pow(h->beta1, h->updates));
        update.root_share = 1 / sqrt(1 - pow(h->beta2, h->updates));
        update.first_share = 1 - h->beta1;
        update.beta2 = h->beta2;
        update.second_share = 1 - h->beta2;
        update.adam_eps = h->adam_eps;
    }
    update.column_lrs = part->column_lrs;
    update.column_roots = part->column_roots;
    if (part->column_lrs && part + 1 < net->part + net->parts) {
        update.row_lrs = part[1].column_lrs;
        update.row_roots = part[1].column_roots;
    }
    if (net->has_noise) {
        real size = part->noise;
        update.noise = (Noise){.distribution = (Distribution)h->distribution,
                               .seed = (int64_t)h->seed,
                               .update = (int64_t)h->updates,
                               .part = part - net->part,
                               .size = size,
                               .bias_share = size ? part->bias_noise / size : 0};
        update.noise_row = net->noise_row;
        update.columns = part->columns;
        update.keep = 1 - h->step_shrink;
    }
    return update;
}

/* Change an update so that it uses the mixture of both gradients, and not only the
   gradient of the last pass. */
static void mix_gradients(const Network *net, const Part *part,
                          const Hyperparameters *h, Update *update) {
    if (!net->has_ascent || h->alpha == 1) return;
    update->share = h->alpha / net->batch;
    update->other_share = (1 - h->alpha) / net->batch;
    update->other = part->gradient;
}

/* Store the mixture of both gradients in gradients[0]. */
static void store_mixture(const Network *net, const Hyperparameters *h) {
    for (const Part *part = net->part; part < net->part + net->parts; part++) {
        Update update = {.sum_output = part->gradient, .share = 1.0 / net->batch};
        mix_gradients(net, part, h, &update);
        use_gradient(net, part, net->has_ascent ? ASCENT : BASE, &update);
    }
}

/* Update the utilities of UPGD, and return gate_share (see `Update`), which is
   1 / (the largest utility * (1 - decay^t)). If the largest utility is 0, use 1. */
static double find_gate_share(const Network *net, const Hyperparameters *h) {
    double most = -INFINITY;
    for (const Part *part = net->part; part < net->part + net->parts; part++)
        most = fmax(most,
                    update_utilities(part->arrays[UTILITY], part->gradient,
                                     part->arrays[VALUE], part->rows,
                                     part->columns + part->has_bias, part->row_length,
                                     h->upgd_decay, 1 - h->upgd_decay));
    return 1 / ((most != 0 ? most : 1) * (1 - pow(h->upgd_decay, h->updates)));
}

/* Update the weights along a stored gradient. For UPGD and penalties, first move the
   gradient to gradients[0]. */
static void descend_stored(const Network *net, const Hyperparameters *h, Gradient g) {
    double gate_share = 0;
    if (net->has_utility || net->part->extra) {
        real *own = net->gradients[0];
        if (g.sums != own || g.other)
            combine(own, g.share, g.sums, g.other_share, g.other ? g.other : g.sums,
                    net->count);
        g = (Gradient){own, .share = 1};
    }
    if (net->has_utility) gate_share = find_gate_share(net, h);
    for (const Part *part = net->part; part < net->part + net->parts; part++) {
        Update update = describe_update(net, part, h);
        update.share = g.share;
        update.other_share = g.other_share;
        update.other = slice(g.other, part->start);
        update.gate_share = gate_share;
        if (net->method == WSAM) {
            update.correction = net->gradients[1] + part->start;
            update.correction_share = h->lr;
        }
        if (part->extra) {
            penalize(net, part, BASE, h, 1);
            update.other = g.sums + part->start;
            update.other_share = 1;
            outer_product(extra_errors(net, part, BASE), part->rows,
                          extra_inputs(net, part, BASE), part->row_length, part->extra,
                          &update);
        } else {
            update_weights(g.sums + part->start, part->rows, part->row_length, &update);
        }
    }
}

/* Update the weights along a gradient that is not stored. If has_next is true, also
   compute z of the first layer for the next example, which is in next_row. */
static void descend(const Network *net, const Hyperparameters *h, Gradient g,
                    bool has_next) {
    double alpha = h->alpha;
    for (const Part *part = net->part; part < net->part + net->parts; part++) {
        Update update = describe_update(net, part, h);
        PassName name = net->has_ascent && !g.other ? ASCENT : BASE;
        real *errors = part->passes[name].errors;
        if (g.other) {
            update.other_share = g.other_share;
            update.other = g.other + part->start;
        } else if (net->has_ascent && !part->gradient) {
            /* both passes have the same inputs: mix the errors */
            for (long i = 0; i < net->panels * part->rows * LANES; i++)
                errors[i] = (real)(1 - alpha) * part->passes[BASE].errors[i] +
                            (real)alpha * errors[i];
        } else {
            mix_gradients(net, part, h, &update);
        }
        const real *inputs = part->passes[name].input_rows;
        long examples = net->batch;
        if (part->extra) {
            penalize(net, part, name, h, update.share);
            /* examples between the batch and the extra ones have e = 0 */
            examples = net->panels * LANES + part->extra;
        }
        if (part == net->part && has_next)
            outer_product_then_multiply(errors, part->rows, inputs, part->row_length,
                                        &update, net->next_row,
                                        layer_outputs(net->layer, BASE).values);
        else
            outer_product(errors, part->rows, inputs, part->row_length, examples,
                          &update);
    }
}

/* For spectral normalization, limit the spectral norm. For Hare and Tortoise, replace
   the weights by their running averages every hare_every updates. */
static void end_update(const Network *net, const Hyperparameters *h) {
    if (net->limits_norm) limit_spectral_norm(net, h->spectral_bound);
    if (!net->arrays[AVERAGE] || fmod(h->updates, h->hare_every) != 0) return;
    memcpy(net->arrays[VALUE], net->arrays[AVERAGE], net->count * sizeof(real));
}

/* Make the next example the current one, by exchanging their memory. */
static void take_next_row(Network *net) {
    real *row = net->part->passes[BASE].input_rows;
    net->part->passes[BASE].input_rows = net->next_row;
    net->part->passes[ASCENT].input_rows = net->next_row;
    net->next_row = row;
}

/* Return the hyperparameters at update t of a block, counted from 0. `updates` and
   rho_updates count update t too, but looksam_updates does not. */
static Hyperparameters at_update(const Hyperparameters *h, long t) {
    Hyperparameters now = *h;
    now.updates += t + 1;
    now.rho_updates += t + 1;
    now.looksam_updates += t;
    if (t > 0) now.ascent_begun = 1;
    double share = h->rho_level;
    if (h->rho_warmup > 0) share *= fmin(1, now.rho_updates / h->rho_warmup);
    now.rho *= share;
    now.gam_rho *= share;
    if (h->rho_follows != 0) now.lr *= share;
    return now;
}

int train(const Parameters *parameters, const Batches *batches,
          const Hyperparameters *h, Sums *sums) {
    Network net;
    if (create(&net, parameters, batches->batch, h)) return 1;
    Control control = flush_denormals();
    *sums = (Sums){0};
    long stride = batches->stride;
    bool has_first = false; /* whether the first layer's z are computed already */
    for (long t = 0; t < batches->steps; t++) {
        const int64_t *positions = batches->positions + t * stride;
        const int64_t *labels = net.chains > 1 ? NULL : batches->labels + t * stride;
        const int64_t *next = t + 1 < batches->steps ? positions + stride : NULL;
        Hyperparameters now = at_update(h, t);
        if (net.chains > 1)
            read_steps(&net, batches, positions);
        else if (!has_first)
            read_images(&net, batches, net.part->passes[BASE].input_rows, positions,
                        next);
        forward(&net, BASE, has_first);
        observe_units(&net, &now);
        Gradient gradient = {NULL};
        if (net.method != MIXTURE) {
            gradient = find_gradient(&net, labels, sums, &now);
        } else {
            backward(&net, BASE, labels, sums);
            if (net.has_ascent) {
                ascend(&net, &now);
                forward(&net, ASCENT, false);
                backward(&net, ASCENT, labels, NULL);
            }
        }
        if (net.has_utility && !gradient.sums) {
            store_mixture(&net, &now);
            gradient = (Gradient){net.gradients[0], .share = 1};
        }
        if (net.part->column_lrs) find_unit_lrs(&net, &now);
        if (gradient.sums) {
            descend_stored(&net, &now, gradient);
        } else {
            has_first = next && net.next_row;
            if (has_first)
                read_images(&net, batches, net.next_row, next,
                            t + 2 < batches->steps ? next + stride : NULL);
            descend(&net, &now, gradient, has_first);
            if (has_first) take_next_row(&net);
        }
        end_update(&net, &now);
        sums->steps += 1;
        if (judge_units(&net, &now)) break;
    }
    set_control(control);
    copy_parameters(&net, parameters, true);
    destroy(&net);
    return 0;
}

int test(const Parameters *parameters, const Batches *batches, Sums *sums) {
    long batch = min(batches->batch, TEST_BATCH);
    Network net;
    if (create(&net, parameters, batch, NULL)) return 1;
    Control control = flush_denormals();
    *sums = (Sums){0};
    for (long first = 0; first < batches->batch; first += batch) {
        net.batch = min(batch, batches->batch - first);
        const int64_t *positions = batches->positions + first;
        bool is_next_full = first + net.batch + batch <= batches->batch;
        read_images(&net, batches, net.part->passes[BASE].input_rows, positions,
                    is_next_full ? positions + batch : NULL);
        forward(&net, BASE, false);
        output_error(&net, BASE, batches->labels + first, sums);
    }
    set_control(control);
    destroy(&net);
    return 0;
}
