"""How a column of measurements is declared: beside the function that computes it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from trainables.hyperparameter import REAL, REALS, Column

Function = Callable[[Any], Tensor]
"""Measures S networks; returns float64 of shape (S,), or (S, layers) for a list."""

# by column; importing a module of probes adds those that it declares
MEASURES: dict[str, Column] = {}  # all measures, with those that no probe computes
PROBES: dict[str, Function] = {}  # of a `Snapshot`, after every task
LANDSCAPE: dict[str, Function] = {}  # of a `Landscape`, at some tasks
START: dict[str, Function] = {}  # of a `Landscape`, before these tasks


def declare(
    name: str, *, source: str, meaning: str, unit: str = "", is_list: bool = False
) -> None:
    """Add a column to `MEASURES`.

    Args:
        name: The column's name.
        source: Who defined the measure.
        meaning: One line, for tables and files.
        unit: Empty for a number that has none.
        is_list: Whether the column is a list: a number per layer, or per task.

    Raises:
        ValueError: Another measure has this column.
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
    """Declare a function as the probe whose column has the function's name.

    The meaning is the docstring's first line; `also_before` declares `start_<name>`
    too, the same probe before the task. The other arguments are those of `declare`.
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
    """Return the docstring's first line as a table has it: no capital, no full stop."""
    line = (function.__doc__ or "").partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


network_probe = functools.partial(_probe, "snapshot")
"""Declares a function of a `Snapshot` as a probe, measured after every task."""

landscape_probe = functools.partial(_probe, "landscape")
"""Declares a function of a `Landscape`, measured every `--landscape-every` tasks."""
