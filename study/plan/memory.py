"""How many seeds fit a GPU side by side."""

from __future__ import annotations

import itertools

from trainables.problems import PIXELS
from trainables.setting import Setting

COPIES = 12
"""How many times its weights a seed takes at most, in a step or in a probe.

The weights and their momentum; what a captured step keeps for a whole and for a short
batch, perturbed weights and gradients among it; and a probe's gradient.
"""

REAL = 4
"""Bytes of a float32."""

USABLE = 0.7
"""Of a GPU's memory; the rest is the images, the libraries and what lies between."""


def bytes_per_seed(setting: Setting) -> int:
    """Return how much of a GPU's memory one seed of a stack takes at most."""
    # probes import torch, which help should not wait for
    from trainables.probes import EXAMPLES

    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    # forward and backward of the probes' examples, or of a step's if they are more
    activations = 3 * sum(sizes) * max(EXAMPLES, setting.batch_size)
    return REAL * (COPIES * weights + activations)


def seeds_that_fit(setting: Setting, memory: float) -> int:
    """Return how many seeds fit, at least 1.

    Args:
        setting: What they run.
        memory: Bytes that the trial has of its GPU.
    """
    return max(1, int(USABLE * memory / bytes_per_seed(setting)))
