"""What a figure is: data made from records, and a drawing made from the data.

So the data can be tested without pixels, and be drawn on the axes of another figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trainables.record import Column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.tables.formats import Sheet

Columns = Mapping[str, Column]
"""The columns of records by name: type, unit and meaning."""


@attrs.frozen(kw_only=True)
class Picture:
    """A figure.

    Attributes:
        title: The heading of its part of a report.
        meaning: What it shows, in one line.
        columns: The columns of the records that it needs besides
            `analysis.records.runs.NEEDED`.
        data: From records of one study, the metrics to show (see `metrics`) and the
            columns of the records to a frame with one row per point.
        draw: From that frame and a width in inches (None: the figure's own) to a
            figure.
        numbers: From that frame to text that a reader looks numbers up in.
        metrics: The metrics it shows by default; empty if it shows none.
        cropped: Whether the file is cut to what is drawn; else it has its exact width.
        line_per_setting: Whether many settings are too many to draw.
    """

    title: str
    meaning: str
    columns: tuple[str, ...]
    data: Callable[[pd.DataFrame, tuple[str, ...], Columns], pd.DataFrame]
    draw: Callable[[pd.DataFrame, float | None], Figure]
    numbers: Callable[[Any], list[Sheet]]
    metrics: tuple[str, ...] = ()
    cropped: bool = False
    line_per_setting: bool = False
