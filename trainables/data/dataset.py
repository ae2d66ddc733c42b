"""A dataset in memory, and the facts about it that are known without its files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import platformdirs

from trainables.patience import first_line
from trainables.problems import MNIST, Form
from trainables.usage import UsageError

BLOCK_IMAGES = 1000
"""The number of images to process at once, which limits the memory of their copies."""

NOTHING = "none"
"""The dataset without images. The problems of control make their own examples."""


@attrs.frozen(eq=False)
class Dataset:
    """Images and labels for training and testing, as uint8."""

    name: str  # the key of the dataset in `DATASETS`
    train_images: np.ndarray  # (n, pixels), 0 to 255, in the order of `Form`
    train_labels: np.ndarray  # (n,), 0 to classes - 1
    test_images: np.ndarray  # (m, pixels)
    test_labels: np.ndarray  # (m,)

    @property
    def form(self) -> Form:
        """The size of the images, and the number of classes."""
        from trainables.data.datasets import DATASETS

        return DATASETS[self.name].form

    @functools.cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel of train_images / 255."""
        images, form = self.train_images, self.form
        sums = np.zeros((2, form.pixels), np.uint64)  # of pixels and squares, exact
        for start in range(0, len(images), BLOCK_IMAGES):
            block = images[start : start + BLOCK_IMAGES].astype(np.uint32)
            sums += block.sum(0), (block**2).sum(0)
        count = len(images) * form.height * form.width
        mean, square = sums.reshape(2, -1, form.channels).sum(1) / count
        return mean / 255, np.sqrt(square - mean**2) / 255


@attrs.frozen
class Source:
    """The function that reads a dataset, and facts that are known without its files."""

    # takes name, form and folder; if the folder is None, downloads the files
    read: Callable[[str, Form, Path | None], Dataset]
    train: int  # number of training examples
    test: int  # number of test examples
    form: Form = MNIST
    hint: str = ""  # how to get the files; empty if the dataset has no files


class MissingFile(Exception):
    """A file of a dataset is missing. The message names the file and its folder.

    `load` adds the name of the dataset and the hint (see `Source`) to the message.
    """


def download(name: str, kind: str, **options: str) -> Path:
    """Download a dataset into a folder of the user's cache, and return this folder.

    Files that are already in the folder are not downloaded again. `kind` is the name of
    a class in torchvision.datasets, and `options` are arguments of the class.

    Raises:
        UsageError: The download failed.
    """
    import torchvision.datasets

    root = platformdirs.user_cache_path("plasticity-study")
    try:
        getattr(torchvision.datasets, kind)(root, download=True, **options)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"{name} could not be downloaded ({first_line(error)}): give a folder with "
            "its files as --data-dir, or use --dataset mnist-5k, which needs no "
            "download"
        ) from error
    return root
