"""Draw a figure of recorded results into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pandas as pd

from analysis.comparing.fresh import FRESH
from analysis.figures import FIGURES
from analysis.figures.picture import FORMATS, SIZES
from analysis.records.load import KEY, load, load_records
from analysis.records.write import write_file
from analysis.statistics.metrics import find_metric
from trainables.usage import UsageError, choose


@attrs.frozen(kw_only=True)
class FigureRequest:
    """Which figure to draw, of which records."""

    name: str  # one of `FIGURES`
    results: str  # as for `analysis.records.load.load`
    study: str | None = None  # needed if there are several
    problem: str | None = None  # only this problem
    metric: str | None = None  # for a figure of metrics
    settings: Sequence[str] = ()  # only these, by setting_id
    where: str | None = None  # a filter of the records
    size: str | None = None  # one of `SIZES`; None: the figure's own width


def draw_to_file(request: FigureRequest, file: str) -> None:
    """Write a figure, or its data as csv; equal records give equal bytes.

    Args:
        request: What to draw.
        file: Its suffix is the format: one of `FORMATS`, or csv: the figure's data in
            full precision.

    Raises:
        UsageError: A name or the suffix is unknown, there are no records, or the
            figure cannot be drawn.
    """
    picture = FIGURES[choose("figure", request.name, FIGURES)]
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in (*FORMATS, "csv"):
        known = ", ".join(f".{suffix}" for suffix in (*FORMATS, "csv"))
        raise UsageError(f"cannot draw {file}: its suffix must be one of {known}")
    width = SIZES[choose("size", request.size, SIZES)] if request.size else None
    metrics = _choose_metrics(request)
    records = load_records(request.results, picture.columns, request.where)
    frame = select(records.to_frame(), request)
    if any(find_metric(metric).relative for metric in metrics):
        frame = _add_fresh(frame, request.results, picture.columns)
    data = picture.data(frame, metrics, records.columns)
    if suffix == "csv":
        content = data.to_csv(index=False, lineterminator="\n").encode()
    else:
        content, _ = picture.render(data, suffix, width)
    write_file(file, content)


def _choose_metrics(request: FigureRequest) -> tuple[str, ...]:
    """Return the metrics to show."""
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
