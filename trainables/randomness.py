"""Random numbers that depend only on their purpose, seed, task and epoch.

Each of these has its own generator. So a resumed run replays nothing, and one more draw
for one purpose changes no other. The generators are NumPy's: a GPU gets the same
numbers as a CPU.
"""

from __future__ import annotations

import numpy as np

PURPOSES: dict[str, int] = {
    **{"weights": 0, "stream": 1, "order": 2, "probe": 3},
    **{"lanczos": 10, "hutchinson": 11},
    **{"perturb": 16, "head": 17, "replace": 18, "recycle": 19},
}

SEEDS = 2**32
"""Seeds are whole numbers from 0 up to but not including this."""


def generator(
    purpose: str, seed: int, task: int = 0, epoch: int = 0
) -> np.random.Generator:
    """Return the generator for one purpose at one point of one seed's stream.

    `SeedSequence` always gets four numbers: to it, [1, 2] and [1, 2, 0] are the same.

    `epoch` may be another number that tells draws apart.
    """
    entropy = [seed, PURPOSES[purpose], task, epoch]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
