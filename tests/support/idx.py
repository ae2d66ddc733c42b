"""Write files in the IDX format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def to_idx(array: np.ndarray) -> bytes:
    """Return an array as the bytes of an IDX file of uint8."""
    shape = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def write_idx(path: Path, array: np.ndarray, zipped: bool = False) -> Path:
    """Write an IDX file and return its path, which gets .gz if it is zipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = to_idx(array)
    if zipped:
        path, raw = path.with_name(f"{path.name}.gz"), gzip.compress(raw, 1)
    path.write_bytes(raw)
    return path
