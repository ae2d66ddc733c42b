"""Tiny ImageNet: color images of 64 x 64 pixels in 200 classes of ImageNet.

The dataset was made for the course CS231n at Stanford (Le & Yang 2015). The training
images are `train/CLASS/images/*.JPEG`. The images in `val` are the test images here,
because the images in `test` have no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset, MissingFile
from trainables.problems import Form
from trainables.usage import UsageError

AGAIN = "unpack tiny-imagenet-200.zip again"


def read_tiny_imagenet(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return Tiny ImageNet from the folder FOLDER/tiny-imagenet-200.

    The label of a class is its position in wnids.txt. All images together need 1.4 GB
    of memory.

    Raises:
        MissingFile: No folder is given, or a file is missing.
        UsageError: A file or an image is damaged, or some images are missing.
    """
    if folder is None:
        raise MissingFile("no folder with its files is given")
    root = folder / "tiny-imagenet-200"
    classes = _read_lines(root / "wnids.txt")
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    if len(label_of) != form.classes:
        raise UsageError(
            f"{root / 'wnids.txt'} has {len(label_of)} classes, not {form.classes}: "
            f"{AGAIN}"
        )
    train = [
        (path, wnid)
        for wnid in classes
        for path in sorted((root / "train" / wnid / "images").glob("*.JPEG"))
    ]
    annotations = root / "val" / "val_annotations.txt"
    test = []
    for line in _read_lines(annotations):
        file, wnid = (*line.split("\t"), "")[:2]
        if wnid not in label_of:
            raise UsageError(
                f"{annotations} has the class {wnid!r}, which is not in wnids.txt: "
                f"{AGAIN}"
            )
        test.append((root / "val" / "images" / file, wnid))
    parts: list[np.ndarray] = []
    for place, examples in (("train", train), ("val", test)):
        counts = Counter(wnid for _, wnid in examples)
        most = max(counts.values(), default=1)
        for wnid in classes:
            if counts[wnid] < most:
                raise UsageError(
                    f"{root / place} has {counts[wnid]} images of the class {wnid}, "
                    f"but {most} of another class: {AGAIN}"
                )
        images = _read_images([path for path, _ in examples], form)
        parts += [images, np.array([label_of[w] for _, w in examples], np.uint8)]
    return Dataset(name, *parts)


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise MissingFile(f"there is no {path}")
    return path.read_text("latin-1").split("\n")[:-1]


def _read_images(paths: Sequence[Path], form: Form) -> np.ndarray:
    """Return the images, of shape (n, pixels). A gray image becomes a color image."""
    from PIL import Image

    images = np.empty((len(paths), form.height, form.width, form.channels), np.uint8)
    for path, into in zip(paths, images, strict=True):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error}): {AGAIN}") from error
        if pixels.shape != into.shape:
            raise UsageError(
                f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, not "
                f"{form.height} x {form.width}: {AGAIN}"
            )
        into[:] = pixels
    return images.reshape(len(paths), form.pixels)
