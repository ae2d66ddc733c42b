"""Random number generators that depend only on purpose, seed, task and epoch.

Each combination of purpose, seed, task and epoch has its own generator. To resume at a
task, a run therefore does not need the random numbers of earlier tasks. If the code
draws more numbers for one purpose, the numbers for other purposes do not change. NumPy
draws the numbers, so that a run on a GPU gets the same numbers as a run on a CPU.
"""

from __future__ import annotations

import numpy as np

PURPOSES: dict[str, int] = {
    **{"weights": 0, "stream": 1, "order": 2, "probe": 3},
    **{"examples": 4, "labels": 5, "orientation": 6, "share": 7},
    **{"lanczos": 10, "hutchinson": 11, "spectrum": 12},
    **{"perturb": 16, "head": 17, "replace": 18, "recycle": 19},
    **{"silence": 20, "play": 21, "goal": 22, "walk": 23},
}

SEEDS = 2**32
"""The number of possible seeds. A seed is a whole number from 0 to SEEDS - 1."""


def generator(
    purpose: str, seed: int, task: int = 0, epoch: int = 0
) -> np.random.Generator:
    """Return the random generator for this purpose, seed, task and epoch.

    If a purpose has no epochs, `epoch` can be another number that distinguishes the
    draws within a task.
    """
    # always four numbers, because [1, 2] and [1, 2, 0] give the same generator
    entropy = [seed, PURPOSES[purpose], task, epoch]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
