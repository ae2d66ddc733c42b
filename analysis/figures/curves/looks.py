"""The color and the dashes of each line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.figures.picture import COLORS, SPARE

SERIES = (*COLORS.values(), *SPARE[:-1])
"""Colors for settings when a color cannot stand for one optimizer.

The last color of `SPARE`, yellow, is left out because it is too pale for a line.
"""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


def line_looks(
    settings: Sequence[tuple[str, float]], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """Return the color and the dashes of each setting's line. All lines differ.

    The color shows the optimizer, and the dashes show the learning rate. But if two
    settings have the same optimizer and learning rate, or if there are too many
    optimizers or learning rates, each setting gets the next free combination of color
    and dashes.

    Args:
        settings: The optimizer and the learning rate of each setting; at most `LINES`.
        rates: All learning rates. The first rate gets the first entry of `DASHES`.

    Returns:
        For each setting, keyword arguments of `Axes.plot`.
    """
    others = [name for name, _ in settings if name not in COLORS]
    colors = COLORS | dict(zip(dict.fromkeys(others), SPARE, strict=False))
    unique = len(set(settings)) == len(settings)
    known = all(name in colors for name, _ in settings)
    if unique and known and len(rates) <= len(DASHES):
        looks = [(DASHES[rates.index(lr)], colors[name]) for name, lr in settings]
    else:
        looks = list(itertools.product(DASHES, SERIES))[: len(settings)]
    return [{"color": c, "linestyle": d, "linewidth": 1.4} for d, c in looks]


def rates_of(data: pd.DataFrame) -> list[float]:
    """Return the learning rates of settings with complete runs, largest first."""
    return sorted(set(rates_of_rows(data.loc[data["runs"] > 0])), reverse=True)


def rates_of_rows(data: pd.DataFrame) -> list[float]:
    """Return the learning rate of each row; 0 if it is unknown."""
    rates: list[float] = data["lr"].astype(float).fillna(0.0).tolist()
    return rates
