"""Draw a figure from the records of a study and write it to a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import pandas as pd

from analysis.comparing.fresh import FRESH
from analysis.figures import FIGURES
from analysis.figures.picture import FORMATS, SIZES, Picture, View
from analysis.records.load import KEY, load, load_records, no_measure
from analysis.records.write import write_file
from analysis.statistics.metrics import MEASURE, find_metric
from trainables.usage import UsageError, choose


@attrs.frozen(kw_only=True)
class FigureRequest:
    """The figure to draw, and the records to draw it from."""

    name: str  # the name of the figure, a key of `FIGURES`
    results: str  # the folder of results, as in `analysis.records.load.load_records`
    study: str | None = None  # the study to draw; required if there are several studies
    problem: str | None = None  # the problem to draw; None means all
    metric: str | None = None  # the metric to draw; None means the figure's defaults
    measure: str = MEASURE  # the measure to draw, or the measure of the metric
    baseline: str = "sgd"  # the baseline of a figure that compares settings
    settings: Sequence[str] = ()  # the setting_ids to draw; empty means all
    where: str | None = None  # an SQL filter of the records; None means all records
    tasks: str | None = None  # the tasks to use, as START:STOP; None means all
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
    view = _choose_view(request, picture)
    columns = picture.columns_for(view.measure)
    records = load_records(request.results, columns, request.where, request.tasks)
    frame = select(records.to_frame(), request)
    if picture.any_measure and frame[view.measure].isna().all():
        raise no_measure(view.measure)
    if any(find_metric(metric).relative for metric in view.metrics):
        frame = _add_fresh(frame, request, columns)
    data = picture.data(frame, view, records.columns)
    if picture.compares and request.settings:
        data = _choose(data, "setting_id", request.settings)
    if suffix == "csv":
        content = data.to_csv(index=False, lineterminator="\n").encode()
    else:
        content, _ = picture.render(data, suffix, width)
    write_file(file, content)


def _choose_view(request: FigureRequest, picture: Picture) -> View:
    """Return the choices of the request about what the figure shows.

    Raises:
        UsageError: A metric is unknown, or the figure does not use an option.
    """
    if request.metric is not None:
        find_metric(request.metric, request.measure)
        _check_option("metric", request, [n for n, f in FIGURES.items() if f.metrics])
    if request.measure != MEASURE:
        names = [name for name, other in FIGURES.items() if other.any_measure]
        _check_option("measure", request, names)
    return View(
        metrics=picture.metrics if request.metric is None else (request.metric,),
        measure=request.measure,
        baseline=request.baseline,
    )


def _check_option(option: str, request: FigureRequest, names: Sequence[str]) -> None:
    """Check that the figure is one of `names`, the figures that use the option."""
    if request.name not in names:
        raise UsageError(
            f"--{option} {getattr(request, option)} has no effect on the figure "
            f"{request.name}: leave out --{option} (figures that use it: "
            f"{', '.join(names)})"
        )


def select(frame: pd.DataFrame, request: FigureRequest) -> pd.DataFrame:
    """Return the records of the requested study, problem and settings.

    A figure that compares settings keeps all settings, because it needs the baselines.

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
    chosen = () if FIGURES[request.name].compares else request.settings
    frame = _choose(frame, "study", filter(None, [request.study]))
    frame = _choose(frame, "problem", filter(None, [request.problem]))
    return _choose(frame, "setting_id", chosen)


def _choose(frame: pd.DataFrame, column: str, names: Iterable[str]) -> pd.DataFrame:
    """Return the rows that have one of the names in a column; without names, all rows.

    Raises:
        UsageError: A name is unknown.
    """
    if not (names := list(names)):
        return frame
    kind, known = column.removesuffix("_id"), frame[column].unique()
    return frame[frame[column].isin([choose(kind, name, known) for name in names])]


def _add_fresh(
    frame: pd.DataFrame, request: FigureRequest, columns: Sequence[str]
) -> pd.DataFrame:
    """Return the records, and those of the intervention "fresh" from all studies.

    "fresh" resets the network before every task. A relative metric subtracts the
    accuracy of these runs.
    """
    everything = load(request.results, columns, None, request.tasks)
    fresh = everything[everything["intervention"] == FRESH]
    records = pd.concat([frame, fresh]).drop_duplicates(KEY, ignore_index=True)
    records.attrs |= frame.attrs  # `concat` keeps only attributes that are equal
    return records
