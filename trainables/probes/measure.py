"""How a column of measurements is declared: beside the function that computes it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import attrs
from torch import Tensor

Function = Callable[[Any], Tensor]


@attrs.frozen
class Measure:
    """A column of the records that describes a network or how it learns.

    Attributes:
        column: The column's name.
        function: Measures S networks; returns float64 of shape (S,), or (S, layers) if
            `is_list`. None: the training loop computes the column.
        unit: Empty for a number that has none.
        source: Who defined the measure.
        meaning: One line, for tables and files.
        subject: What the function looks at: a `Snapshot` ("network") or a `Landscape`
            ("landscape"). "accuracy": the loss and accuracy of training and testing.
        is_list: Whether the column is a list: a number per layer, or per task.
        before_task: Whether it is measured before a task, not after it; then always
            of a `Landscape`.
    """

    column: str
    function: Function | None
    unit: str
    source: str
    meaning: str
    subject: Literal["accuracy", "network", "landscape"] = "accuracy"
    is_list: bool = False
    before_task: bool = False


MEASURES: dict[str, Measure] = {}
"""All measures by column. Importing a module of probes adds those that it declares."""


def declare(measure: Measure) -> None:
    """Add a measure to `MEASURES`.

    Raises:
        ValueError: Another measure has this column.
    """
    if measure.column in MEASURES:
        raise ValueError(f"two measures are named {measure.column}")
    MEASURES[measure.column] = measure


def probe(
    subject: Literal["network", "landscape"],
    *,
    unit: str,
    source: str,
    meaning: str,
    is_list: bool = False,
    also_before: bool = False,
) -> Callable[[Function], Function]:
    """Declare a function as the probe whose column has the function's name.

    Args:
        subject: See `Measure`.
        unit: See `Measure`.
        source: See `Measure`.
        meaning: See `Measure`.
        is_list: See `Measure`.
        also_before: Declare `start_<name>` too, the same probe before the task.
    """

    def add(function: Function) -> Function:
        name = function.__name__
        measure = functools.partial(Measure, unit=unit, source=source, is_list=is_list)
        declare(measure(name, function, meaning=meaning, subject=subject))
        if also_before:
            before = function
            if subject == "network":
                before = lambda landscape: function(landscape.snapshot)  # noqa: E731
            declare(
                measure(
                    f"start_{name}",
                    before,
                    meaning=f"{name}, before the task",
                    subject="landscape",
                    before_task=True,
                )
            )
        return function

    return add


network_probe = functools.partial(probe, "network")
"""Declares a function of a `Snapshot` as a probe, measured after every task."""

landscape_probe = functools.partial(probe, "landscape")
"""Declares a function of a `Landscape`, measured every `--landscape-every` tasks."""
