"""Estimate the cost of a run.

The cost is the number of training examples, the number of floating-point operations,
the work (to which the time of the run is proportional), and the GPU memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from trainables.data import DATASETS
from trainables.networks import ActorCritic
from trainables.networks.architecture import Layer
from trainables.setting import Setting

COPIES = 12
"""The most arrays that one seed needs on a GPU, each as large as the weights.

The arrays are the weights, the momentum, and the gradient of a probe (a measurement of
the network). The other arrays belong to the CUDA graphs of a step, for example the
perturbed weights. There is one graph for full batches and one for short batches.
"""

FLOAT32 = 4  # bytes of a float32 number

# the fraction of a GPU's memory for the seeds; images, libraries and fragmentation need
# the rest
USABLE = 0.7


UPDATE_EXAMPLES = 3
"""The part of an update that does not depend on the batch takes as long as 3 examples.

An update reads and writes all weights, however small its batch is. So with batches of
one example, an example takes four times as long as in large batches (docs/speed.md).
"""


class Cost(NamedTuple):
    """The number of training examples, the number of operations, and the work.

    Only the floating-point operations of matrix products are counted. The work adds the
    operations of `UPDATE_EXAMPLES` more examples to each batch, so that the time of a
    run is proportional to the work at every batch size.
    """

    examples: float
    flops: float
    work: float


def run_cost(setting: Setting) -> Cost:
    """Return the training examples, the operations and the work of one run.

    A task with c of the k classes counts as c / k of the dataset. The share is exact if
    all classes have equally many examples. The sum of the shares is also exact for the
    tasks of `pairwise` with all pairs of classes.

    A training pass on one example costs 6 operations per weight: 2 for the forward
    pass, 2 for the gradient of the weight, and 2 for the gradient of the layer's input.
    A weight of a convolution costs 6 operations at each position of its kernel.
    The first layer does not need the gradient of its input. A test on one example costs
    one forward pass.
    """
    products = [n.inputs * n.units * n.positions for n in _layers(setting)]
    if setting.problem.control is not None:
        return _control_cost(setting, products)
    source = DATASETS[setting.dataset]
    first = setting.problem.task(0, 0, setting.form)
    share = len(first.classes) / setting.form.classes
    if setting.problem.grows:  # the mean over the tasks
        tasks = (setting.problem.task(0, i, setting.form) for i in range(setting.tasks))
        total = sum(len(task.classes) for task in tasks)
        share = total / setting.tasks / setting.form.classes
    forward = 2 * sum(products)
    one_pass = 3 * forward - 2 * products[0]
    examples = min(share * source.train, setting.examples or math.inf)
    trained = setting.tasks * setting.epochs * examples
    # random labels can only be memorized, so they are tested on the training examples
    tested = setting.tasks * (examples if first.shuffled else share * source.test)
    update = one_pass * setting.optimizer.passes
    flops = trained * update + tested * forward
    work = flops + trained * update * UPDATE_EXAMPLES / setting.batch_size
    return Cost(trained, flops, work)


def _control_cost(setting: Setting, products: list[int]) -> Cost:
    """Return the cost of a run of a problem of control.

    An update costs as much as an update on images. Besides the updates, two forward
    passes are counted for each step of the environment. With DQN, one forward pass is
    counted for each step of the environment, and one for each step of a batch.
    """
    forward = 2 * sum(products)
    first = products[0]
    if isinstance(setting.architecture, ActorCritic):  # the critic has a first layer
        first += products[len(products) // 2]
    played = setting.tasks * setting.problem.examples
    trained: float = setting.epochs * played
    read: float = 2 * played
    if setting.learner is not None:
        trained *= setting.batch_size / setting.learner.steps_per_update
        read = played + trained
    update = (3 * forward - 2 * first) * setting.optimizer.passes
    flops = trained * update + read * forward
    work = flops + trained * update * UPDATE_EXAMPLES / setting.batch_size
    return Cost(trained, flops, work)


def bytes_per_seed(setting: Setting) -> int:
    """Return an upper bound on the GPU memory of one seed of a trial, in bytes."""
    # import `trainables.probes` late: it imports torch, which would make --help slow
    from trainables.probes import EXAMPLES

    layers = _layers(setting)
    weights = sum((layer.inputs + 1) * layer.units for layer in layers)
    numbers = setting.form.pixels + sum(layer.numbers for layer in layers)
    # the arrays of a forward and a backward pass on the examples of a probe or a step
    activations = 3 * numbers * max(EXAMPLES, setting.batch_size)
    return FLOAT32 * (COPIES * weights + activations)


def seeds_that_fit(setting: Setting, memory: float) -> int:
    """Return how many seeds of a setting fit into `memory` bytes of a GPU.

    The result is at least 1.
    """
    return max(1, int(USABLE * memory / bytes_per_seed(setting)))


def _layers(setting: Setting) -> list[Layer]:
    return setting.architecture.layers(setting.form, [*setting.hidden, setting.outputs])
