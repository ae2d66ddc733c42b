"""Declare the column of a measure next to the function that computes the measure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from trainables.hyperparameter import REAL, REALS, Column

Function = Callable[[Any], Tensor]
"""The type of a probe: a function that measures the networks of S seeds.

It returns float64 numbers of shape (S,), or of shape (S, layers) if the column is a
list.
"""

# The keys of these dicts are column names. Importing a module of probes fills them.
MEASURES: dict[str, Column] = {}  # all measures, with and without a probe
PROBES: dict[str, Function] = {}  # `Snapshot` probes, after every task
LANDSCAPE: dict[str, Function] = {}  # `Landscape` probes, after some tasks
START: dict[str, Function] = {}  # `Landscape` probes, before the same tasks


def declare(
    name: str, *, source: str, meaning: str, unit: str = "", is_list: bool = False
) -> None:
    """Add the column of a measure to `MEASURES`.

    Args:
        name: The column's name.
        source: The publication that defines the measure.
        meaning: The meaning in one line, for tables and files.
        unit: The unit, or "" for a number without a unit.
        is_list: Whether each value is a list, with one number per layer or per task.

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
    only_before: bool = False,
    **column: Any,
) -> Callable[[Function], Function]:
    """Return a decorator that declares a function as a probe.

    The column has the name of the function, and the meaning in the first line of its
    docstring.

    Args:
        subject: The type of the function's argument: a `Snapshot` or a `Landscape`.
        also_before: Whether to also declare `start_<name>`, the same measure before the
            task.
        only_before: Whether to declare only `start_<name>`.
        column: The other arguments of `declare`, for example `unit`.
    """

    def add(function: Function) -> Function:
        name, meaning = function.__name__, _meaning(function)
        if not only_before:
            declare(name, meaning=meaning, **column)
            (PROBES if subject == "snapshot" else LANDSCAPE)[name] = function
            meaning = name
        if also_before or only_before:
            declare(f"start_{name}", meaning=f"{meaning}, before the task", **column)
            START[f"start_{name}"] = (
                function
                if subject == "landscape"
                else lambda landscape: function(landscape.snapshot)
            )
        return function

    return add


def _meaning(function: Function) -> str:
    """Return the first line of the docstring, as it reads within a sentence."""
    line = (function.__doc__ or "").partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


network_probe = functools.partial(_probe, "snapshot")
"""Declares a probe that measures a `Snapshot` after every task."""

landscape_probe = functools.partial(_probe, "landscape")
"""Declares a probe that measures a `Landscape` every `--landscape-every` tasks."""
