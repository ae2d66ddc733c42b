"""CIFAR-10 and CIFAR-100: color images of 32 x 32 pixels (Krizhevsky 2009).

torchvision reads the files. It knows the MD5 checksum of each. CIFAR-100 has its 100
fine classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.dataset import Dataset, MissingFile, download
from trainables.problems import Form
from trainables.usage import UsageError

TORCHVISION: dict[str, str] = {"cifar-10": "CIFAR10", "cifar-100": "CIFAR100"}
"""The name of the class in torchvision.datasets that reads each dataset."""


def read_cifar(
    name: str, form: Form, folder: Path | None, reader: Any = None
) -> Dataset:
    """Return CIFAR-10 or CIFAR-100 from the files of the version for Python.

    `reader` is a class like torchvision.datasets.CIFAR10, which is the default: it
    knows the names and checksums of the files.

    Raises:
        MissingFile: The folder or a file is not there.
        UsageError: A file has another checksum.
    """
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity

    reader = reader or getattr(torchvision.datasets, TORCHVISION[name])
    root = folder or download(name, TORCHVISION[name])
    files = root / reader.base_folder
    if not files.is_dir():
        raise MissingFile(f"there is no folder {files.name} in {root}")
    # the reader says of a missing and of a damaged file only that one of them is wrong
    meta = (reader.meta["filename"], reader.meta["md5"])
    for file, checksum in (*reader.train_list, *reader.test_list, meta):
        if not (files / file).is_file():
            raise MissingFile(f"there is no {file} in {files}")
        if not check_integrity(files / file, checksum):
            raise UsageError(
                f"{files / file} is damaged, because its MD5 checksum is not the "
                f"checksum of {name}'s file: download {reader.filename} again"
            )
    parts: list[np.ndarray] = []
    for train in (True, False):
        part = reader(root, train)  # its images have the shape (n, 32, 32, 3)
        images = part.data.reshape(-1, form.pixels)
        parts += [images, np.array(part.targets, np.uint8)]
    return Dataset(name, *parts)
