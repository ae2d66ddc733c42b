"""Checks of a hyperparameter's value: one line that names it, the value, the range."""

from __future__ import annotations

import math
import sys
from typing import Any

from trainables.usage import UsageError


def real(
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """Return a finite real in [low, high] as float.

    Args:
        name: The hyperparameter's name.
        value: What was given.
        low: The least value; excluded if `above`.
        high: The greatest value; excluded if `below`.
        above: Exclude `low`.
        below: Exclude `high`.

    Raises:
        UsageError: It is no such number.
    """
    inside = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
        and (value > low if above else value >= low)
        and (value < high if below else value <= high)
    )
    if inside:
        return float(value) + 0.0  # -0.0 becomes 0.0, whose hash is another
    least = f"{'above' if above else 'at least'} {low:g}"
    most = f" and {'below' if below else 'at most'} {high:g}"
    bounds = least + (most if math.isfinite(high) else "")
    raise UsageError(f"{name} is {value!r}: it must be a number {bounds}")


def whole(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return a whole number in [low, high].

    Raises:
        UsageError: It is no such number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        number = int(value)
        if number >= low and (high is None or number <= high):
            return number
    most = "" if high is None else f" and at most {high}"
    raise UsageError(
        f"{name} is {value!r}: it must be a whole number, at least {low}{most}"
    )
