"""A dataset in memory, and what is known about it before it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import platformdirs

from trainables.patience import first_line
from trainables.problems import MNIST, Form
from trainables.usage import UsageError


@attrs.frozen(eq=False)
class Dataset:
    """Images and labels for training and testing, as uint8."""

    name: str  # the key of the dataset in `DATASETS`
    train_images: np.ndarray  # (n, 784), 0 to 255
    train_labels: np.ndarray  # (n,), 0 to 9
    test_images: np.ndarray  # (m, 784)
    test_labels: np.ndarray  # (m,)

    @property
    def form(self) -> Form:
        """The size of the images, and the number of classes."""
        from trainables.data.datasets import DATASETS

        return DATASETS[self.name].form


@attrs.frozen
class Source:
    """The function that reads a dataset, its size, and how to get its files."""

    # called with the dataset's name and a folder; without a folder, it downloads files
    read: Callable[[str, Path | None], Dataset]
    train: int  # number of training examples
    test: int  # number of test examples
    form: Form = MNIST
    hint: str = ""  # how to get the files; empty if the dataset has no files


class MissingFile(Exception):
    """A file of a dataset is not there. The message says which one and where.

    `load` adds the name of the dataset and its hint.
    """


def download(name: str, kind: str) -> Path:
    """Download a dataset to the user's cache, unless it is there; return the folder.

    `kind` is the name of a class in torchvision.datasets.

    Raises:
        UsageError: The download failed.
    """
    import torchvision.datasets

    root = platformdirs.user_cache_path("plasticity-study")
    try:
        getattr(torchvision.datasets, kind)(root, download=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"{name} could not be downloaded ({first_line(error)}): give a folder with "
            "its files as --data-dir, or use --dataset mnist-5k, which needs no "
            "download"
        ) from error
    return root
