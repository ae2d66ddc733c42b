"""Draw a figure from the records of a study and write it to a file."""

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
    """The figure to draw, and the records to draw it from."""

    name: str  # the name of the figure, a key of `FIGURES`
    results: str  # the folder of results, as in `analysis.records.load.load_records`
    study: str | None = None  # the study to draw; required if there are several studies
    problem: str | None = None  # the problem to draw; None means all
    metric: str | None = None  # the metric to draw; None means the figure's defaults
    settings: Sequence[str] = ()  # the setting_ids to draw; empty means all
    where: str | None = None  # an SQL filter of the records; None means all records
    size: str | None = None  # a key of `SIZES`; None means the figure's default width


def draw_to_file(request: FigureRequest, file: str) -> None:
    """Write a figure to a file, or write the data of the figure as CSV.

    Equal records give equal bytes.

    Args:
        request: The figure and the records.
        file: The path of the file. Its suffix sets the format: a key of `FORMATS`, or
            csv. A CSV file has the data of the figure in full precision.

    Raises:
        UsageError: A name or the suffix is unknown, there are no records, the figure
            cannot be drawn, or the file cannot be written.
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
    """Return the requested metric, or the default metrics of the figure.

    Raises:
        UsageError: The metric is unknown, or the figure shows no metric.
    """
    default = FIGURES[request.name].metrics
    if request.metric is None:
        return default
    find_metric(request.metric)
    if not default:
        others = ", ".join(name for name, other in FIGURES.items() if other.metrics)
        raise UsageError(
            f"the figure {request.name} shows no metric: leave out --metric "
            f"{request.metric} (figures that show a metric: {others})"
        )
    return (request.metric,)


def select(frame: pd.DataFrame, request: FigureRequest) -> pd.DataFrame:
    """Return the records of the requested study, problem and settings.

    Raises:
        UsageError: A name is unknown, or the records have several studies and the
            request names no study.
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
    """Add the records of the intervention "fresh" from all studies.

    "fresh" resets the network before every task. A relative metric subtracts the
    accuracy of these runs.
    """
    try:
        fresh = load(results, columns, f"intervention = '{FRESH}'")
    except UsageError:  # No record is of "fresh". The metric reports this later.
        return frame
    return pd.concat([frame, fresh]).drop_duplicates(KEY, ignore_index=True)
