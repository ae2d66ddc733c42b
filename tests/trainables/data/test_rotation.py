"""Images that are turned about their centre."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.data.rotation import rotated
from trainables.problems import Form

FORM = Form(6, 6, 3, 2)


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (5, FORM.pixels), np.uint8)


@pytest.mark.parametrize("turns", range(5))
def test_a_right_angle_moves_pixels_as_rot90_does(images, turns):
    grid = images.reshape(5, 6, 6, 3)
    expected = np.rot90(grid, turns, axes=(1, 2)).reshape(5, -1)
    np.testing.assert_array_equal(rotated(images, FORM, 90.0 * turns), expected)


def test_an_image_that_is_not_square_turns_upside_down(images):
    form = Form(4, 9, 3, 2)
    expected = images.reshape(5, 4, 9, 3)[:, ::-1, ::-1].reshape(5, -1)
    np.testing.assert_array_equal(rotated(images, form, 180.0), expected)


def test_a_disc_in_the_centre_stays_a_disc():
    form = Form(40, 40, 1, 2)
    rows, columns = np.indices((40, 40)) - 19.5
    disc = (200 * (np.hypot(rows, columns) < 12)).astype(np.uint8).reshape(1, -1)
    turned = rotated(disc, form, 33.0)
    assert turned.sum(dtype=int) == pytest.approx(disc.sum(dtype=int), rel=0.01)
    assert np.abs(turned.astype(int) - disc).mean() < 200 * 0.03


def test_a_turn_of_45_degrees_is_a_bilinear_mean():
    """By hand: the point at (1, 2) comes from (1 + s, 1 + s), with s = sqrt(1/2)."""
    form, s = Form(3, 3, 1, 2), np.sqrt(0.5)
    image = np.arange(0, 180, 20, dtype=np.uint8)
    turned = rotated(image[None], form, 45.0).reshape(3, 3)
    a, b, c, d = image.reshape(3, 3)[1:, 1:].ravel().tolist()
    assert turned[1, 2] == round(
        (1 - s) * ((1 - s) * a + s * b) + s * ((1 - s) * c + s * d)
    )
    assert turned[1, 1] == 80
