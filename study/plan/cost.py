"""Estimate the cost of a run: training examples, operations, and GPU memory."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from trainables.data import DATASETS
from trainables.problems import CLASSES, PIXELS
from trainables.setting import Setting

COPIES = 12
"""The most arrays of the size of its weights that a seed needs in a step or a probe.

They are the weights, the momentum, the gradient of a probe, and the arrays that a
captured step keeps for a full and for a short batch, such as perturbed weights.
"""

FLOAT32 = 4  # bytes of a number

USABLE = 0.7  # fraction of a GPU's memory; images, libraries and gaps take the rest


class Cost(NamedTuple):
    """Training examples, and floating-point operations in matrix products."""

    examples: float
    flops: float


def run_cost(setting: Setting) -> Cost:
    """Return the cost of one run.

    A task with c of the ten classes counts as c tenths of the examples. This is exact
    for balanced datasets, and for all 45 pairs of any dataset together. A training pass
    costs 2 operations per weight forward, 2 for the weight's gradient, and 2 for the
    gradient of its layer's input, which the first layer does not need. A test costs one
    forward pass.
    """
    source = DATASETS[setting.dataset]
    share = len(setting.problem.task(0, 0).classes) / CLASSES
    weights = [a * b for a, b in itertools.pairwise(_layer_sizes(setting))]
    forward = 2 * sum(weights)
    one_pass = 3 * forward - 2 * weights[0]
    trained = setting.tasks * setting.epochs * share * source.train
    tested = setting.tasks * share * source.test
    flops = trained * one_pass * setting.optimizer.passes + tested * forward
    return Cost(trained, flops)


def bytes_per_seed(setting: Setting) -> int:
    """Return the most GPU memory that one seed of a stack needs, in bytes."""
    # `trainables.probes` imports torch, and --help must not wait for torch
    from trainables.probes import EXAMPLES

    sizes = _layer_sizes(setting)
    weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    # forward and backward pass over the examples of a probe or a step
    activations = 3 * sum(sizes) * max(EXAMPLES, setting.batch_size)
    return FLOAT32 * (COPIES * weights + activations)


def seeds_that_fit(setting: Setting, memory: float) -> int:
    """Return how many seeds, at least 1, fit into `memory` bytes of a GPU."""
    return max(1, int(USABLE * memory / bytes_per_seed(setting)))


def _layer_sizes(setting: Setting) -> list[int]:
    return [PIXELS, *setting.hidden, setting.problem.outputs]
