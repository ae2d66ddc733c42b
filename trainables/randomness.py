"""Random numbers that depend only on their purpose, seed, task and epoch.

Each combination of these four has its own generator. A resumed run therefore does not
repeat earlier draws, and one more draw for one purpose changes no numbers of another.
The generators are NumPy's, so that a GPU gets the same numbers as a CPU.
"""

from __future__ import annotations

import numpy as np

PURPOSES: dict[str, int] = {
    **{"weights": 0, "stream": 1, "order": 2, "probe": 3},
    **{"lanczos": 10, "hutchinson": 11},
    **{"perturb": 16, "head": 17, "replace": 18, "recycle": 19},
}

SEEDS = 2**32
"""Seeds are whole numbers of at least 0 and below this number."""


def generator(
    purpose: str, seed: int, task: int = 0, epoch: int = 0
) -> np.random.Generator:
    """Return the generator for one purpose at one point of one seed's stream.

    `SeedSequence` always gets four numbers, because it gives the same generator for
    [1, 2] and [1, 2, 0]. Where there is no epoch, `epoch` may be any other number that
    distinguishes the draws.
    """
    entropy = [seed, PURPOSES[purpose], task, epoch]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
