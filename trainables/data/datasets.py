"""The datasets that runs can use. Each dataset has an entry in `DATASETS`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from trainables.data.cifar import read_cifar
from trainables.data.dataset import NOTHING, Dataset, MissingFile, Source
from trainables.data.digits import read_digits
from trainables.data.emnist import read_emnist
from trainables.data.idx import read_idx
from trainables.data.mnist_1d import read_mnist_1d
from trainables.data.tiny_imagenet import read_tiny_imagenet
from trainables.problems import Form
from trainables.usage import UsageError, choose

DEBIAN = Path("/usr/share/datasets")
"""The folder in which Debian's packages install datasets, for example Fashion-MNIST."""

DOWNLOAD_HINT = "leave out --data-dir and unset $PLASTICITY_DATA"
IDX = (
    "put the four IDX files into this folder. To download them instead, "
    f"{DOWNLOAD_HINT}"
)
FASHION = (
    "put the four IDX files into this folder. To use Debian's package "
    f"dataset-fashion-mnist or to download the files instead, {DOWNLOAD_HINT}"
)
CIFAR = (
    "unpack the version for Python (www.cs.toronto.edu/~kriz/cifar.html) there, or "
    f"{DOWNLOAD_HINT} to download it"
)
TINY_IMAGENET = (
    "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip in a folder and give this "
    "folder as --data-dir; the images need 1.4 GB of memory"
)


def _read_nothing(name: str, form: Form, folder: Path | None) -> Dataset:
    images, labels = np.zeros((0, form.pixels), np.uint8), np.zeros(0, np.uint8)
    return Dataset(name, images, labels, images, labels)


DATASETS: dict[str, Source] = {
    "mnist": Source(read_idx, 60_000, 10_000, hint=IDX),
    "fashion-mnist": Source(read_idx, 60_000, 10_000, hint=FASHION),
    "kmnist": Source(read_idx, 60_000, 10_000, hint=IDX),
    "mnist-5k": Source(read_digits, 4_290, 710),
    "emnist": Source(read_emnist, 112_800, 18_800, Form(28, 28, 1, 47), IDX),
    "emnist-letters": Source(read_emnist, 124_800, 20_800, Form(28, 28, 1, 26), IDX),
    "cifar-10": Source(read_cifar, 50_000, 10_000, Form(32, 32, 3, 10), CIFAR),
    "cifar-100": Source(read_cifar, 50_000, 10_000, Form(32, 32, 3, 100), CIFAR),
    "tiny-imagenet": Source(
        read_tiny_imagenet, 100_000, 10_000, Form(64, 64, 3, 200), TINY_IMAGENET
    ),
    "mnist-1d": Source(read_mnist_1d, 4_000, 1_000, Form(1, 40, 1, 10)),
    NOTHING: Source(_read_nothing, 0, 0, Form(1, 1, 1, 1)),
}


def find_folder(name: str, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder with the datasets' files, or None to download the dataset.

    The result is `folder` if it is given, else $PLASTICITY_DATA if it is set, else
    Debian's folder if the dataset is installed there.
    """
    if given := folder or os.environ.get("PLASTICITY_DATA"):
        return Path(given)
    return DEBIAN if (DEBIAN / name).is_dir() else None


def load(name: str, folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Return the dataset `name`, a key of `DATASETS`.

    The files are read from FOLDER/NAME or from the folder that torchvision uses, for
    example FOLDER/MNIST/raw for MNIST. FOLDER is the result of `find_folder`. If it is
    None, the files are downloaded once to the user's cache.

    Raises:
        UsageError: The name is unknown, the download failed, or a file is missing, is
            damaged, has the wrong format or belongs to another dataset.
    """
    source = DATASETS[choose("dataset", name, DATASETS)]
    root = find_folder(name, folder)
    if source.hint and root is not None and not root.is_dir():
        raise UsageError(
            f"{root} is not a folder: set --data-dir or $PLASTICITY_DATA to a folder "
            f"with the files of {name}"
        )
    try:
        dataset = source.read(name, source.form, root)
    except MissingFile as missing:
        raise UsageError(f"{name}: {missing}: {source.hint}") from missing
    _check(dataset, source.form)
    return dataset


def _check(dataset: Dataset, form: Form) -> None:
    """Check that the images and labels have the form that `DATASETS` says.

    Raises:
        UsageError: The images are not rows of uint8 pixels, or a label is no class.
    """
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        shape = len(labels), form.pixels
        if images.dtype != np.uint8 or images.shape != shape:
            raise UsageError(
                f"{dataset.name}: the images are {images.dtype} of shape "
                f"{images.shape}, and must be uint8 of shape {shape}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < form.classes:
            raise UsageError(
                f"{dataset.name}: the labels are from {labels.min()} to "
                f"{labels.max()}, and must be from 0 to {form.classes - 1}"
            )
