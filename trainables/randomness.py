"""Random numbers that depend on what they are for, and on nothing else.

Each purpose, seed, task and epoch has a generator of its own, so that nothing has to
be replayed after a stop, and a draw more in one place changes nothing in another.
They are NumPy's, on the CPU, whatever the device: a GPU meets the same stream.
"""

from __future__ import annotations

import numpy as np

PURPOSES: dict[str, int] = {
    "weights": 0,
    "stream": 1,
    "order": 2,
    "probe": 3,
    "lanczos": 10,
    "hutchinson": 11,
    "perturb": 16,
    "head": 17,
    "replace": 18,
    "recycle": 19,
}

SEEDS = 2**32
"""Seeds are whole numbers from 0 up to but not including this."""


def generator(
    purpose: str, seed: int, task: int = 0, epoch: int = 0
) -> np.random.Generator:
    """Return the generator of one purpose in one place of one seed's stream.

    The four numbers are always all given to `SeedSequence`, which would not tell
    [1, 2] from [1, 2, 0].
    """
    entropy = [seed, PURPOSES[purpose], task, epoch]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
