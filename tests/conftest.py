"""Set up all tests: shape checks, fixed random numbers, one thread, shared fixtures."""

from __future__ import annotations

import os

# Before numpy is imported: its threads and those of torch wait by running in circles,
# for each other and for the other workers of xdist, which are as many as the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import gc
import pkgutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from analysis.report.report import Report
    from trainables.data import Dataset

TRAINABLES = Path(__file__).parents[1] / "trainables"
UNCHECKED = {"setting", "optimizers", "bases", "interventions", "trainable"}
"""Modules without checks of shapes and types.

Users choose the arguments of these modules, which raise their own errors. Only
`trainable` is different: Ray passes its arguments.
"""

# Check every shape and type in a signature at each call. An int may stand for a float,
# as in PEP 484. The hook must be installed before the package is imported.
jaxtyping.install_import_hook(
    [
        f"trainables.{module.name}"
        for module in pkgutil.iter_modules([str(TRAINABLES)])
        if module.name not in UNCHECKED
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

torch.set_num_threads(1)
# `pytest --hypothesis-profile=many` draws more
for profile, examples in (("tests", 20), ("many", 500)):
    settings.register_profile(
        profile, derandomize=True, database=None, deadline=None, max_examples=examples
    )
settings.load_profile("tests")

gc.disable()  # until all is imported, of which nothing is garbage

SHAPES_CHECKED_IN_ONE_OF = 8
"""One test case in this many checks shapes. Checking all would take 50% more time.

Its name decides, so that a new test does not change what others check.
"""

UNCHECKED_SHAPES = pytest.StashKey[bool]()

RAY_MODULES = {"test_cluster_lab"}
RAY_FIXTURES = {"cluster", "nodes", "whole"}
"""Tests in these modules, or with these fixtures, start or join a Ray cluster."""


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, and give all tests with Ray to the same worker.

    In parallel, tests with Ray would only wait for each other. They run first, because
    they take longest. Their worker keeps its normal priority, because Ray's processes
    inherit the priority. The other workers have a low priority, and use the time in
    which this worker waits. So there is one more worker than cores.
    """
    items.sort(key=lambda item: not _runs_ray(item))
    for item in items:
        number = zlib.crc32(item.nodeid.encode())
        item.stash[UNCHECKED_SHAPES] = bool(number % SHAPES_CHECKED_IN_ONE_OF)
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """Let the garbage collector never again look at what was imported.

    It would look at the millions of objects of torch, Ray and pandas again and again.
    """
    gc.freeze()
    gc.enable()


def _group(item: pytest.Item) -> str | None:
    """Return the name of the group of tests that must run in the same worker.

    The tests of a group share a slow fixture, which each worker would create again.
    """
    if _runs_ray(item):
        return "ray"
    if {"reports", "browser"} & set(item.fixturenames):
        return "reports"
    definitions = item._fixtureinfo.name2fixturedefs.values()
    is_shared = any(each[-1].scope == "module" for each in definitions)
    return item.path.stem if is_shared else None


def _runs_ray(item: pytest.Item) -> bool:
    fixtures = RAY_FIXTURES & set(item.fixturenames)
    return bool(fixtures) or item.path.stem in RAY_MODULES


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lower the priority of workers without Ray, and set whether shapes are checked."""
    if "PYTEST_XDIST_WORKER" in os.environ and not _runs_ray(item) and not os.nice(0):
        os.nice(19)
    jaxtyping.config.update("jaxtyping_disable", item.stash[UNCHECKED_SHAPES])


TRAIN_COUNTS = (12, 10, 13, 9, 12, 15, 11, 8, 14, 12)
"""The number of training examples of each class in `few`. The numbers must differ."""

TEST_COUNTS = (5, 5, 4, 5, 6, 5, 5, 3, 5, 5)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The 5,000 real digits."""
    from trainables.data import load

    return load("mnist-5k")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    """A small part of the digits, with classes of different sizes."""
    return cut(digits)


def cut(digits: Dataset) -> Dataset:
    """Return a dataset of the first few digits of each class, in random order."""
    train = _first(digits.train_labels, TRAIN_COUNTS)
    test = _first(digits.test_labels, TEST_COUNTS)
    return type(digits)(
        digits.name,
        digits.train_images[train],
        digits.train_labels[train],
        digits.test_images[test],
        digits.test_labels[test],
    )


def _first(labels: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """Return the positions of the first counts[c] examples of each class c, mixed."""
    positions = [np.flatnonzero(labels == c)[:n] for c, n in enumerate(counts)]
    return np.random.default_rng(0).permutation(np.concatenate(positions))


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """The report of a study that has the data for every table and figure."""
    from analysis.report.report import make_reports
    from tests.support.reported import put_whole

    folder = tmp_path_factory.mktemp("reported")
    put_whole(folder)
    return make_reports(str(folder))


@pytest.fixture(scope="session")
def report_page(
    reports: list[Report], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The file of the report as an HTML page."""
    from analysis.report.report import make_page

    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(make_page(reports), "utf-8", errors="replace")
    return file
