"""Say what a reader of a table could misread in the settings that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

UNEVEN = (
    "odd_reward: every second level has other rewards. So change, slope and trend "
    "compare levels that are not alike, and late is possibly about levels of one kind. "
    "The metric relative_accuracy_slope (compare --metric) first subtracts the return "
    "of a fresh network in the same level."
)


def cautions(settings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield sentences about settings, which are given as dicts by column name."""
    if any(row.get("odd_reward") not in (None, 1) for row in settings):
        yield UNEVEN
