"""The cost of a run: training examples and floating-point operations."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from trainables.data import DATASETS
from trainables.problems import CLASSES, PIXELS
from trainables.setting import Setting


class Cost(NamedTuple):
    """Training examples, and floating-point operations of their matrix products."""

    examples: float
    flops: float


def run_cost(setting: Setting) -> Cost:
    """Return the cost of one run.

    A task of c of the ten classes counts as c tenths of the examples: exact for
    balanced datasets, and for all 45 pairs of any dataset together. A training pass
    costs 2 operations per weight forward, 2 for the weight's gradient, and 2 for the
    gradient of its layer's input, which the first layer does not need. A test costs one
    forward pass.
    """
    source = DATASETS[setting.dataset]
    share = len(setting.problem.task(0, 0).classes) / CLASSES
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    forward = 2 * sum(weights)
    one_pass = 3 * forward - 2 * weights[0]
    trained = setting.tasks * setting.epochs * share * source.train
    tested = setting.tasks * share * source.test
    flops = trained * one_pass * setting.optimizer.passes + tested * forward
    return Cost(trained, flops)
