"""EMNIST: handwritten letters and digits (Cohen et al. 2017, arXiv 1702.05373).

The files have the IDX format. `emnist` is the split "balanced", with 47 classes: 10
digits, 26 capital letters and 11 small letters. The other 15 small letters look like
their capital letters, and are in the same classes. `emnist-letters` is the split
"letters", with 26 classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset, download
from trainables.data.idx import read_examples
from trainables.problems import Form

SPLITS: dict[str, tuple[str, int]] = {
    "emnist": ("balanced", 0),
    "emnist-letters": ("letters", 1),
}
"""The split of each dataset, and the label of its first class in the files.

In the split "letters", a has label 1 (torchvision has a class "N/A" before it).
"""


def read_emnist(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return a split of EMNIST from its four IDX files.

    Raises:
        MissingFile: A file is missing.
        UsageError: A file is damaged or is not an IDX file.
    """
    split, first = SPLITS[name]
    root = folder or download(name, "EMNIST", split=split)
    folders = [root / "emnist", root / "EMNIST" / "raw"]
    parts: list[np.ndarray] = []
    for part in ("train", "test"):
        stem = f"emnist-{split}-{part}"
        images, labels = read_examples(name, folders, stem, form, first)
        # in the files, the rows and the columns of each image are exchanged
        upright = images.reshape(-1, form.width, form.height).transpose(0, 2, 1)
        parts += [upright.reshape(images.shape), labels]
    return Dataset(name, *parts)
