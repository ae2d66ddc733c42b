"""Estimate what a run costs: operations, work and GPU memory."""

from __future__ import annotations

import math
from typing import NamedTuple

from trainables.data import DATASETS
from trainables.networks import ActorCritic
from trainables.networks.architecture import Layer
from trainables.setting import Setting

# The most arrays that one seed needs on a GPU, each as large as the weights: the
# weights before the task, before the stream and now, those of the joint stack, the
# moments of Adam and of a remedy, the gradient of a probe, and those of CUDA graphs.
COPIES = 20
FLOAT32 = 4  # bytes of a float32 number
# The fraction of a GPU's memory for the seeds. Images, libraries and fragmentation need
# the rest.
USABLE = 0.7
# The part of an update that is the same for all batches takes as long as 3 examples,
# because each update reads and writes all weights. So with batches of one example, an
# example takes four times as long as in large batches (docs/speed.md).
UPDATE_EXAMPLES = 3


class Cost(NamedTuple):
    """The number of training examples, the number of operations, and the work.

    The operations are those of matrix products. The work adds the operations of
    `UPDATE_EXAMPLES` examples to each batch, so that the time of a run is proportional
    to the work at every batch size.
    """

    examples: float
    flops: float
    work: float


def run_cost(setting: Setting) -> Cost:
    """Return the training examples, the operations and the work of one run.

    A task with c of the k classes counts as c / k of the dataset, as if all classes had
    equally many examples.

    A training pass on one example costs 6 operations per weight: 2 for the forward
    pass, 2 for the gradient of the weight, and 2 for the gradient of the layer's input,
    which the first layer does not need. A weight of a convolution costs this at each
    position of its kernel. A test on one example costs one forward pass.
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
    return _cost(setting, trained, one_pass, tested * forward)


def _control_cost(setting: Setting, products: list[int]) -> Cost:
    """Return the cost of a run of a problem of control.

    Besides the updates, PPO needs two forward passes for each step of the environment.
    DQN needs one for each step of the environment, and one for each step of a batch.
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
    return _cost(setting, trained, 3 * forward - 2 * first, read * forward)


def _cost(setting: Setting, trained: float, one_pass: int, other_flops: float) -> Cost:
    """Return the cost of training on `trained` examples, plus `other_flops`.

    `one_pass` is the number of operations of a training pass on one example.
    """
    training = trained * (one_pass * setting.optimizer.passes)
    flops = training + other_flops
    return Cost(trained, flops, flops + training * UPDATE_EXAMPLES / setting.batch_size)


def bytes_per_seed(setting: Setting) -> int:
    """Return an upper bound on the GPU memory of one seed of a trial, in bytes."""
    # imported late, because torch would make --help slow
    from trainables.probes import EXAMPLES

    layers = _layers(setting)
    weights = sum((layer.inputs + 1) * layer.units for layer in layers)
    numbers = setting.form.pixels + sum(layer.numbers for layer in layers)
    # the arrays of a forward and a backward pass on the examples of a probe or a step
    activations = 3 * numbers * max(EXAMPLES, setting.batch_size)
    return FLOAT32 * (COPIES * weights + activations)


def seeds_that_fit(setting: Setting, memory: float) -> int:
    """Return how many seeds fit into `memory` bytes of a GPU, but at least 1."""
    return max(1, int(USABLE * memory / bytes_per_seed(setting)))


def _layers(setting: Setting) -> list[Layer]:
    return setting.architecture.layers(setting.form, [*setting.hidden, setting.outputs])
