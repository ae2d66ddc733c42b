"""What a run costs: examples and floating-point operations, counted from the shapes."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from trainables.datasets import DATASETS
from trainables.problems import CLASSES, PIXELS
from trainables.setting import Setting


class Cost(NamedTuple):
    """Examples trained on, and floating-point operations of their matrix products."""

    examples: float
    flops: float


def run_cost(setting: Setting) -> Cost:
    """Return the cost of one run.

    A task of c of the ten classes is taken to have c tenths of the examples: exact
    for balanced datasets, and for all 45 pairs together of any. A pass costs 2
    operations a weight forward, 2 for its gradient, and 2 for the gradient of its
    layer's input, which the first layer does not need; a test costs one forward pass.
    """
    source = DATASETS[setting.dataset]
    share = len(setting.problem.task(0, 0).classes) / CLASSES
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    products = [a * b for a, b in itertools.pairwise(sizes)]
    forward = 2 * sum(products)
    both = 3 * forward - 2 * products[0]
    trained = setting.tasks * setting.epochs * share * source.train
    tested = setting.tasks * share * source.test
    flops = trained * both * setting.optimizer.passes + tested * forward
    return Cost(trained, flops)
