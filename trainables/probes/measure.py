"""The declaration of a measure's column, beside the function that computes it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from trainables.hyperparameter import REAL, REALS, Column

Function = Callable[[Any], Tensor]
"""A probe of S networks: it returns float64 of shape (S,), or (S, layers) for lists."""

# The keys are column names. Importing a module of probes adds its columns.
MEASURES: dict[str, Column] = {}  # all measures, also those that no probe computes
PROBES: dict[str, Function] = {}  # take a `Snapshot`, after every task
LANDSCAPE: dict[str, Function] = {}  # take a `Landscape`, after some tasks
START: dict[str, Function] = {}  # take a `Landscape`, before the same tasks


def declare(
    name: str, *, source: str, meaning: str, unit: str = "", is_list: bool = False
) -> None:
    """Add a column to `MEASURES`.

    Args:
        name: The column's name.
        source: The publication that defines the measure.
        meaning: The meaning in one line, for tables and files.
        unit: The unit, or "" for a number without a unit.
        is_list: Whether a value is a list with one number per layer or per task.

    Raises:
        ValueError: Another measure has the same name.
    """
    if name in MEASURES:
        raise ValueError(f"two measures are named {name}: rename one of them")
    kind = REALS if is_list else REAL
    MEASURES[name] = Column(kind, True, "measure", unit, meaning, source)


def _probe(
    subject: Literal["snapshot", "landscape"],
    *,
    also_before: bool = False,
    **column: Any,
) -> Callable[[Function], Function]:
    """Return a decorator that declares a function as a probe.

    The column has the name of the function, and its meaning is the first line of the
    docstring. `also_before` also declares `start_<name>`, the same measure before the
    task. `column` has the other arguments of `declare`.
    """

    def add(function: Function) -> Function:
        name = function.__name__
        declare(name, meaning=_meaning(function), **column)
        (PROBES if subject == "snapshot" else LANDSCAPE)[name] = function
        if also_before:
            declare(f"start_{name}", meaning=f"{name}, before the task", **column)
            START[f"start_{name}"] = (
                function
                if subject == "landscape"
                else lambda landscape: function(landscape.snapshot)
            )
        return function

    return add


def _meaning(function: Function) -> str:
    """Return the docstring's first line for a table, without capital and full stop."""
    line = (function.__doc__ or "").partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


network_probe = functools.partial(_probe, "snapshot")
"""Declares a function of a `Snapshot` as a probe, measured after every task."""

landscape_probe = functools.partial(_probe, "landscape")
"""Declares a function of a `Landscape`, measured every `--landscape-every` tasks."""
