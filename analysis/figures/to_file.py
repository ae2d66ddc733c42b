"""Draw a figure of recorded results into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pandas as pd

from analysis.comparing.fresh import FRESH
from analysis.figures import FIGURES
from analysis.figures.style import FORMATS, SIZES, STYLE, render
from analysis.records.load import KEY, load, load_records
from analysis.records.write import write_file
from analysis.statistics.metrics import find_metric
from trainables.usage import UsageError, choose

DATA_SUFFIX = "csv"
"""The suffix of a file with the figure's data, in full precision."""


@attrs.frozen(kw_only=True)
class FigureRequest:
    """Which figure to draw, of which records.

    Attributes:
        name: One of `FIGURES`.
        results: As for `analysis.records.load.load`.
        study: The study to draw, if there are several.
        problem: Only this problem.
        metric: The metric to draw, for a figure of metrics.
        settings: Only these settings, by setting_id.
        where: A filter of the records; all if None.
        size: One of `SIZES`; None: the figure's own width.
    """

    name: str
    results: str
    study: str | None = None
    problem: str | None = None
    metric: str | None = None
    settings: Sequence[str] = ()
    where: str | None = None
    size: str | None = None


def draw_to_file(request: FigureRequest, file: str) -> None:
    """Write a figure, or its data as csv; equal records give equal bytes.

    Args:
        request: What to draw.
        file: Its suffix is the format: one of `FORMATS` or csv.

    Raises:
        UsageError: A name or the suffix is unknown, there are no records, or the
            figure cannot be drawn.
    """
    picture = FIGURES[choose("figure", request.name, FIGURES)]
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in (*FORMATS, DATA_SUFFIX):
        known = ", ".join(f".{suffix}" for suffix in (*FORMATS, DATA_SUFFIX))
        raise UsageError(f"cannot draw {file}: its suffix must be one of {known}")
    width = SIZES[choose("size", request.size, SIZES)] if request.size else None
    metrics = _choose_metrics(request)
    records = load_records(request.results, picture.columns, request.where)
    frame = select(records.to_frame(), request)
    if any(find_metric(metric).relative for metric in metrics):
        frame = _add_fresh(frame, request.results, picture.columns)
    data = picture.data(frame, metrics, records.columns)
    if suffix == DATA_SUFFIX:
        write_file(file, data.to_csv(index=False, lineterminator="\n").encode())
        return
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = picture.draw(data, width)
        write_file(file, render(figure, suffix, cropped=picture.cropped))


def _choose_metrics(request: FigureRequest) -> tuple[str, ...]:
    """Return the metrics to show.

    Raises:
        UsageError: The metric is unknown, or the figure shows none.
    """
    default = FIGURES[request.name].metrics
    if request.metric is None:
        return default
    find_metric(request.metric)
    if not default:
        others = ", ".join(name for name, other in FIGURES.items() if other.metrics)
        raise UsageError(
            f"the figure {request.name} shows no metric: leave out --metric "
            f"{request.metric} (only {others} takes it)"
        )
    return (request.metric,)


def select(frame: pd.DataFrame, request: FigureRequest) -> pd.DataFrame:
    """Return the records to draw.

    Raises:
        UsageError: A name is unknown, or there are several studies and none is named.
    """
    studies = sorted(set(frame["study"].tolist()))
    if request.study is None and len(studies) > 1:
        raise UsageError(
            f"{request.results} has several studies: choose one with --study "
            f"({', '.join(studies)})"
        )
    for column, names in (
        ("study", [request.study] if request.study else []),
        ("problem", [request.problem] if request.problem else []),
        ("setting_id", request.settings),
    ):
        if names:
            kind, known = column.removesuffix("_id"), frame[column].unique()
            frame = frame[frame[column].isin([choose(kind, n, known) for n in names])]
    return frame


def _add_fresh(
    frame: pd.DataFrame, results: str, columns: Sequence[str]
) -> pd.DataFrame:
    """Add the records of fresh networks, which may be in another study."""
    try:
        fresh = load(results, columns, f"intervention = '{FRESH}'")
    except UsageError:  # there are none; the metric reports that
        return frame
    return pd.concat([frame, fresh]).drop_duplicates(KEY, ignore_index=True)
