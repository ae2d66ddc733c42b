"""The dataset `none` has no images. The problems of control make their own examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset
from trainables.problems import Form

NOTHING = "none"


def read_nothing(name: str, form: Form, folder: Path | None) -> Dataset:
    """Return a dataset without images."""
    images, labels = np.zeros((0, form.pixels), np.uint8), np.zeros(0, np.uint8)
    return Dataset(name, images, labels, images, labels)
