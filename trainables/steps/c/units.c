/* Measure the hidden units for SNR and continual backprop, which replace units.

trainables/interventions/units has the equations and their sources. `observe_units` runs
before each update, and `judge_units` runs after it. If units must be replaced, `train`
returns, and Python replaces them.
*/

#include "network.h"

#include <string.h>

/* Return the outputs of a hidden layer's units in the pass BASE, a row per example. */
static const real *unit_rows(const Layer *layer) {
    return (layer + 1)->matrix->passes[BASE].input_rows;
}

/* Count for how many updates each unit has been silent. If a silence ends, add it to
   the unit's histogram of lengths. */
static void count_silences(const Network *net) {
    const Units *units = &net->units;
    long unit = 0;
    const Layer *last = net->layer + net->layers - 1;
    for (const Layer *layer = net->layer; layer < last; layer++) {
        const real *rows = unit_rows(layer);
        long row_length = (layer + 1)->matrix->row_length;
        real *is_active = net->activity;
        memset(is_active, 0, layer->outputs * sizeof(real));
        for (long b = 0; b < net->batch; b++, rows += row_length)
            for (long o = 0; o < layer->outputs; o++)
                is_active[o] = rows[o] <= 0 ? is_active[o] : 1;
        for (long o = 0; o < layer->outputs; o++, unit++) {
            int64_t *silence = units->silence + unit;
            if (is_active[o] > 0) {
                units->silences[unit * units->silence_lengths + *silence] += 1;
                *silence = 0;
            } else {
                *silence += 1;
            }
        }
    }
}

/* Store how much each unit's output varies: the mean of |output - f|, where f is the
   running average of the unit's output. For the printed utility, f is 0. */
static void average_outputs(const Network *net, const Hyperparameters *h) {
    const Units *units = &net->units;
    real *averages = units->mean_output, *activity = net->activity;
    double correction = 1;
    int64_t last_age = -1;
    const Layer *last = net->layer + net->layers - 1;
    for (const Layer *layer = net->layer; layer < last; layer++) {
        const real *rows = unit_rows(layer);
        long row_length = (layer + 1)->matrix->row_length, count = layer->outputs;
        real *centre = net->centre;
        memset(centre, 0, count * sizeof(real));
        if (h->is_printed == 0) {
            for (long b = 0; b < net->batch; b++)
                for (long o = 0; o < count; o++) centre[o] += rows[b * row_length + o];
            for (long o = 0; o < count; o++) {
                int64_t age = units->age[averages - (real *)units->mean_output + o] + 1;
                if (age != last_age) correction = 1 - pow(h->utility_decay, age);
                last_age = age;
                averages[o] +=
                    (1 - h->utility_decay) * (centre[o] / net->batch - averages[o]);
                centre[o] = averages[o] / correction;
            }
        }
        memset(activity, 0, count * sizeof(real));
        for (long b = 0; b < net->batch; b++)
            for (long o = 0; o < count; o++) {
                real difference = rows[b * row_length + o] - centre[o];
                activity[o] += difference < 0 ? -difference : difference;
            }
        for (long o = 0; o < count; o++) activity[o] /= net->batch;
        averages += count;
        activity += count;
    }
}

/* Update the utilities of units, with the weights after the update. */
static void average_utilities(const Network *net, const Hyperparameters *h) {
    real *utility = net->units.utility, *outgoing = net->centre;
    const real *activity = net->activity;
    const Layer *last = net->layer + net->layers - 1;
    for (const Layer *layer = net->layer; layer < last; layer++) {
        const Part *part = layer->matrix, *next = (layer + 1)->matrix;
        const real *row = part->arrays[VALUE], *next_row = next->arrays[VALUE];
        memset(outgoing, 0, layer->outputs * sizeof(real));
        for (long k = 0; k < next->rows; k++, next_row += next->row_length)
            for (long o = 0; o < layer->outputs; o++)
                outgoing[o] += next_row[o] < 0 ? -next_row[o] : next_row[o];
        for (long o = 0; o < layer->outputs; o++, row += part->row_length) {
            real use = activity[o] * outgoing[o];
            if (h->is_printed == 0) {
                double incoming = sum_sizes(row, part->columns) / part->columns;
                if (incoming < REAL_EPSILON) incoming = REAL_EPSILON;
                use = use / next->rows / incoming;
            }
            utility[o] += (1 - h->utility_decay) * (use - utility[o]);
        }
        utility += layer->outputs;
        activity += layer->outputs;
    }
}

/* Add 1 to each unit's age. Add replacement_rate * the number of a layer's mature units
   to the account of the layer. Return whether an account is large enough to replace a
   unit. */
static bool grow_accounts(const Network *net, const Hyperparameters *h) {
    int64_t *age = net->units.age;
    bool pays = false;
    for (long l = 0; l < net->layers - 1; l++) {
        double *account = net->units.account + l, mature = 0;
        for (long o = 0; o < net->layer[l].outputs; o++) {
            *age += 1;
            mature += *age++ > h->maturity;
        }
        /* volatile: the compiler must round the product first, as Python does */
        volatile double growth = h->replacement_rate * mature;
        *account += growth;
        pays |= h->is_printed == 0 ? *account >= 1 : *account > 1 && mature > 0;
    }
    return pays;
}

void find_unit_lrs(const Network *net, const Hyperparameters *h) {
    const int64_t *age = net->units.age;
    real lr = 0, root_share = 0;
    for (long l = 0; l < net->layers - 1; l++) {
        const Part *next = net->layer[l + 1].matrix;
        for (long o = 0; o < net->layer[l].outputs; o++, age++) {
            if (o == 0 || *age != age[-1]) { /* most units have the same age */
                lr = h->lr / (1 - pow(h->beta1, *age + 1));
                root_share = 1 / sqrt(1 - pow(h->beta2, *age + 1));
            }
            next->column_lrs[o] = lr;
            next->column_roots[o] = root_share;
        }
    }
}

void observe_units(const Network *net, const Hyperparameters *h) {
    if (net->units.silence) count_silences(net);
    if (net->units.age) average_outputs(net, h);
}

bool judge_units(const Network *net, const Hyperparameters *h) {
    if (net->units.age) {
        average_utilities(net, h);
        return grow_accounts(net, h);
    }
    bool is_any_due = false;
    for (long unit = 0; unit < net->hidden_units && net->units.silence; unit++)
        is_any_due |= net->units.silence[unit] >= net->units.threshold[unit];
    return is_any_due;
}
