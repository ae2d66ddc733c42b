"""Turn images about their center."""

from __future__ import annotations

import itertools

import numpy as np

from trainables.data.dataset import BLOCK_IMAGES
from trainables.problems import Form


def rotated(images: np.ndarray, form: Form, degrees: float) -> np.ndarray:
    """Return uint8 images, of shape (n, pixels), turned counterclockwise.

    Each new pixel comes from a point of the image. Its value is the bilinear
    interpolation of the four pixels around this point, rounded to the nearest whole
    number. Pixels outside the image count as 0.
    """
    places, weights = _sources(form, degrees)
    turned = np.empty_like(images)
    shape = (-1, form.height * form.width, form.channels)
    for start in range(0, len(images), BLOCK_IMAGES):
        block = images[start : start + BLOCK_IMAGES].reshape(shape)
        sums = np.zeros(block.shape)
        for place, weight in zip(places, weights, strict=True):
            sums += weight[:, None] * block[:, place]
        turned[start : start + BLOCK_IMAGES] = np.rint(sums).reshape(-1, form.pixels)
    return turned


def _sources(form: Form, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the four source pixels of each pixel, and the weight of each source.

    Both have the shape (4, height x width).
    """
    height, width = form.height, form.width
    angle = np.deg2rad(degrees)
    rows, columns = np.indices((height, width))
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    row = np.cos(angle) * down + np.sin(angle) * right + (height - 1) / 2
    column = np.cos(angle) * right - np.sin(angle) * down + (width - 1) / 2
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    places, weights = [], []
    for below, beside in itertools.product((0, 1), repeat=2):
        y, x = top + below, left + beside
        weight = (1 - abs(row - y)) * (1 - abs(column - x))
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        places.append(np.where(inside, y * width + x, 0).ravel())
        weights.append(np.where(inside, weight, 0.0).ravel())
    return np.array(places), np.array(weights)
