"""CIFAR-10 and CIFAR-100: color images of 32 x 32 pixels (Krizhevsky 2009).

torchvision reads the files, and has the MD5 checksum of each file. The classes of
CIFAR-100 are its 100 fine classes, and not its 20 superclasses.
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

    `reader` is the class that reads the files. It has the names and the checksums of
    the files. The default is the class of torchvision for this dataset.

    Raises:
        MissingFile: The folder or a file is missing.
        UsageError: A file has a wrong checksum.
    """
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity

    reader = reader or getattr(torchvision.datasets, TORCHVISION[name])
    root = folder or download(name, TORCHVISION[name])
    files = root / reader.base_folder
    if not files.is_dir():
        raise MissingFile(f"there is no folder {files.name} in {root}")
    # the reader has the same message for all missing and damaged files: check each file
    meta = (reader.meta["filename"], reader.meta["md5"])
    for file, checksum in (*reader.train_list, *reader.test_list, meta):
        if not (files / file).is_file():
            raise MissingFile(f"there is no {file} in {files}")
        if not check_integrity(files / file, checksum):
            raise UsageError(
                f"{files / file} is damaged, because its MD5 checksum is wrong: "
                f"download {reader.filename} again"
            )
    parts: list[np.ndarray] = []
    for train in (True, False):
        part = reader(root, train)  # its images have the shape (n, 32, 32, 3)
        images = part.data.reshape(-1, form.pixels)
        parts += [images, np.array(part.targets, np.uint8)]
    return Dataset(name, *parts)
