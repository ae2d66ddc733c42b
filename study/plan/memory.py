"""How many seeds fit a GPU side by side."""

from __future__ import annotations

import itertools

from trainables.problems import PIXELS
from trainables.setting import Setting

COPIES = 12
"""Most copies of its weights that a seed needs in a step or in a probe.

The weights and their momentum; what a captured step keeps for a full and for a short
batch, such as perturbed weights and gradients; and the gradient of a probe.
"""

FLOAT32 = 4
"""Bytes of a number."""

USABLE = 0.7
"""Usable fraction of a GPU's memory; images, libraries and gaps take the rest."""


def bytes_per_seed(setting: Setting) -> int:
    """Return the most GPU memory that one seed of a stack needs, in bytes."""
    # probes import torch, which --help must not wait for
    from trainables.probes import EXAMPLES

    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    # forward and backward pass over the examples of a probe or a step
    activations = 3 * sum(sizes) * max(EXAMPLES, setting.batch_size)
    return FLOAT32 * (COPIES * weights + activations)


def seeds_that_fit(setting: Setting, memory: float) -> int:
    """Return how many seeds fit, at least 1.

    Args:
        setting: Their setting.
        memory: GPU memory of their trial, in bytes.
    """
    return max(1, int(USABLE * memory / bytes_per_seed(setting)))
