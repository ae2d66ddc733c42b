"""Datasets in IDX files: gray images of 28 x 28 pixels in ten classes.

MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) and
Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718) have files of the same names.
The code therefore recognizes MNIST's files by their checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset, MissingFile, download
from trainables.problems import Form
from trainables.usage import UsageError

TORCHVISION: dict[str, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
}
"""The name of the class in torchvision.datasets that downloads each dataset."""

MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The SHA-256 checksums of MNIST's decompressed files."""


def read_idx(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return MNIST or a dataset with the same file names from its four IDX files.

    Raises:
        MissingFile: A file is missing.
        UsageError: A file is damaged, is not an IDX file or belongs to another dataset.
    """
    kind = TORCHVISION[name]
    root = folder or download(name, kind)
    folders = [root / name, root / kind / "raw"]
    if name == "mnist":  # the checksums reject files of other datasets
        folders.append(root)
    train = read_examples(name, folders, "train", form)
    return Dataset(name, *train, *read_examples(name, folders, "t10k", form))


def read_examples(
    name: str, folders: Sequence[Path], stem: str, form: Form, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, of shape (n, pixels), and the labels, of shape (n,).

    They are in the files STEM-images-idx3-ubyte and STEM-labels-idx1-ubyte, with or
    without .gz, in one of the folders. `first` is the lowest label in the file. The
    labels in the result begin at 0.

    Raises:
        MissingFile: A file is missing.
        UsageError: A file is damaged, is not an IDX file or belongs to another dataset.
    """
    images, labels = (
        _read_part(name, folders, f"{stem}-{part}", form, first)
        for part in ("images", "labels")
    )
    if len(images) != len(labels):
        raise UsageError(
            f"{folders[0]}: {name} has {len(images)} {stem} images but {len(labels)} "
            "labels: download the files again"
        )
    return images, labels


def _read_part(
    name: str, folders: Sequence[Path], part: str, form: Form, first: int
) -> np.ndarray:
    """Return the images or labels in a file of the dataset, after checking the file."""
    path = _find(folders, part)
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): download the file again"
        ) from error
    if part.endswith("images"):
        sides = form.height, form.width
        array = _parse_idx(path, raw, *sides).reshape(-1, form.pixels)
    else:
        array, last = _parse_idx(path, raw), first + form.classes - 1
        wrong = array[(array < first) | (array > last)]
        if wrong.size:
            raise UsageError(
                f"{path} has label {wrong.max()}: labels must be {first} to {last}, so "
                "download the file again"
            )
        array = array - np.uint8(first)
    is_mnist = hashlib.sha256(raw).hexdigest() == MNIST_SHA256.get(part)
    if is_mnist != (name == "mnist"):
        verb = "is" if is_mnist else "is not"
        raise UsageError(
            f"{path} is not a file of {name}, because the SHA-256 checksum of its "
            f"unpacked content {verb} the checksum of MNIST's file: download the file "
            "again"
        )
    return array


def _find(folders: Sequence[Path], part: str) -> Path:
    """Return the path of the IDX file of a part, with or without .gz."""
    name = f"{part}-idx{3 if part.endswith('images') else 1}-ubyte"
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise MissingFile(f"there is no {name} or {name}.gz in {folders[0]}")


def _parse_idx(path: Path, raw: bytes, *sides: int) -> np.ndarray:
    """Return the array in an IDX file: labels, or images with the given sides.

    An IDX file consists of two zero bytes, the type (8 for uint8), the number of
    dimensions, the size of each dimension as a big-endian uint32, and the data.
    """
    dimensions = 1 + len(sides)
    header = 4 + 4 * dimensions
    size = " x ".join(map(str, sides))
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) < header:
        content = f"{size} images" if sides else "labels"
        raise UsageError(
            f"{path} is not an IDX file of {content}: download the file again"
        )
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).astype(int)
    if (own := tuple(shape[1:])) != sides:
        raise UsageError(
            f"{path} has images of {own[0]} x {own[1]} pixels, not of {size}: download "
            "the file again"
        )
    if missing := header + int(shape.prod()) - len(raw):
        fault = "too few" if missing > 0 else "too many"
        raise UsageError(
            f"{path} is damaged: it has {abs(missing)} bytes {fault}: "
            "download the file again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
