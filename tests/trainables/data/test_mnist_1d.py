"""MNIST-1D: what is done to the signals that the authors' package makes.

The package is optional. A stand-in with its two functions makes other signals here, as
deep in the global random generators as the real one.
"""

from __future__ import annotations

import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import jaxtyping
import numpy as np
import pytest

from trainables.data import DATASETS, load
from trainables.usage import UsageError


def make_dataset(args: Any) -> dict[str, np.ndarray]:
    random.seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002
    x, y = np.random.randn(50, 40), np.arange(50) % 10  # noqa: NPY002
    return {"x": x[:40], "x_test": x[40:], "y": y[:40], "y_test": y[40:]}


def states() -> tuple[Any, ...]:
    """Return the states of the global generators."""
    return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def test_signals_are_images_of_one_row(monkeypatch):
    module: Any = ModuleType("mnist1d.data")
    module.make_dataset = make_dataset
    module.get_dataset_args = lambda: SimpleNamespace(seed=42)
    monkeypatch.setitem(sys.modules, "mnist1d", ModuleType("mnist1d"))
    monkeypatch.setitem(sys.modules, "mnist1d.data", module)
    # the checks of types draw from the global generator themselves
    jaxtyping.config.update("jaxtyping_disable", True)
    before = states()
    data = load("mnist-1d")
    assert states() == before
    assert data.form.pixels == 40
    made = np.random.RandomState(42).randn(50, 40)
    assert data.train_labels.tolist() == (np.arange(40) % 10).tolist()
    assert (data.train_images.min(), data.train_images.max()) == (0, 255)
    low, high = made[:40].min(), made[:40].max()
    step = (high - low) / 255
    for images, signals in (
        (data.train_images, made[:40]),
        (data.test_images, made[40:]),
    ):
        assert images.dtype == np.uint8
        error = low + images * step - signals.clip(low, high)
        assert np.abs(error).max() <= step / 2 + 1e-9


def test_without_the_package_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    with pytest.raises(
        UsageError, match=r"^mnist-1d needs the package mnist1d: run pip"
    ):
        load("mnist-1d")
    assert DATASETS["mnist-1d"].train == 4000
