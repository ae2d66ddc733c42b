"""Datasets in IDX files: grey images of 28 x 28 pixels in ten classes.

MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) and
Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718) have files of the same names.
MNIST's files are therefore recognized by their checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset, MissingFile, download
from trainables.problems import MNIST
from trainables.usage import UsageError

TORCHVISION: dict[str, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
}
"""The name of the class in torchvision.datasets that downloads each dataset."""

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")

MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The SHA-256 checksums of MNIST's decompressed files."""


def read_idx(name: str, folder: Path | None) -> Dataset:
    """Return a dataset from its four IDX files, with or without .gz.

    Raises:
        MissingFile: A file is not there.
        UsageError: A file is damaged, is not an IDX file or belongs to another dataset.
    """
    root = folder or download(name, TORCHVISION[name])
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
    raise MissingFile(f"there is no {stem} or {stem}.gz in {folders[0]}")


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
