"""MNIST-1D: signals of 40 numbers in ten classes (Greydanus & Kobak 2024).

Their package `mnist1d` makes the signals (arXiv 2011.14439;
greydanus/mnist1d@01ea44f:mnist1d/data.py:64-97). A signal is an image with one row.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset
from trainables.problems import Form
from trainables.usage import UsageError


def read_mnist_1d(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return the authors' 4,000 signals to train on and 1,000 to test on.

    The numbers are stored as uint8, like the pixels of an image. 0 is the smallest
    number of the training signals, and 255 is the largest. Numbers of test signals
    outside this range are clipped to it.

    Raises:
        UsageError: The package mnist1d is not installed.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise UsageError(
            f"{name} needs the package mnist1d: run pip install mnist1d==0.0.2.post1"
        ) from error
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:  # the package seeds the global generators
        data = make_dataset(get_dataset_args())
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    low, high = data["x"].min(), data["x"].max()
    images = [
        np.rint((data[part] - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
        for part in ("x", "x_test")
    ]
    labels = [data[part].astype(np.uint8) for part in ("y", "y_test")]
    return Dataset(name, images[0], labels[0], images[1], labels[1])
