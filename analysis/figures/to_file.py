"""Draw a figure from the records of a study and write it to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pandas as pd

from analysis.comparing.fresh import FRESH
from analysis.figures import FIGURES
from analysis.figures.picture import FORMATS, SIZES, Picture, View
from analysis.records.load import KEY, load, load_records, no_measure
from analysis.records.measure import OWN_MEASURES, default_measure
from analysis.records.write import write_file
from analysis.statistics.metrics import MEASURE, find_metric
from trainables.usage import UsageError, choose


@attrs.frozen(kw_only=True)
class FigureRequest:
    """The figure to draw, and the records to draw it from."""

    name: str  # the name of the figure, a key of `FIGURES`
    results: str  # the folder, file or URI of the records; see `load_records`
    study: str | None = None  # the study to draw; required if there are several studies
    problem: str | None = None  # the problem to draw; None means all
    metric: str | None = None  # the metric to draw; None means the figure's defaults
    # the measure to draw, or the measure of the metric; None means `default_measure`
    measure: str | None = None
    baseline: str = "sgd"  # the baseline of a figure that compares settings
    settings: Sequence[str] = ()  # the setting_ids to draw; empty means all
    where: str | None = None  # as in `load_records`
    tasks: str | None = None  # as in `load_records`
    size: str | None = None  # a key of `SIZES`; None means the figure's default width


def draw_to_file(request: FigureRequest, file: str) -> None:
    """Write a figure to a file, or write the data of the figure as CSV.

    The suffix of the file sets the format: a key of `FORMATS`, or csv. A CSV file has
    the data in full precision. Equal records give equal bytes.

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
    columns = (*picture.columns_for(view.measure), *OWN_MEASURES)
    records = load_records(request.results, columns, request.where, request.tasks)
    frame = _select(records.to_frame(), request)
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
    """Check the options of the request, and return what the figure should show."""
    measure = request.measure or MEASURE
    if request.metric is not None:
        find_metric(request.metric, measure)
        _check_option("metric", request, [n for n, f in FIGURES.items() if f.metrics])
    if measure != MEASURE:
        names = [n for n, f in FIGURES.items() if f.any_measure]
        _check_option("measure", request, names)
    if picture.any_measure and request.measure is None:
        measure = default_measure(request.results)
    return View(
        metrics=picture.metrics if request.metric is None else (request.metric,),
        measure=measure,
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


def _select(frame: pd.DataFrame, request: FigureRequest) -> pd.DataFrame:
    """Return the records of the requested study, problem and settings.

    A figure that compares settings keeps all settings, because it needs the baselines.
    """
    studies = sorted(set(frame["study"].tolist()))
    if request.study is None and len(studies) > 1:
        raise UsageError(
            f"{request.results} has several studies: choose one with --study "
            f"({', '.join(studies)})"
        )
    for column, name in (("study", request.study), ("problem", request.problem)):
        frame = frame if name is None else _choose(frame, column, [name])
    compares = FIGURES[request.name].compares
    return frame if compares else _choose(frame, "setting_id", request.settings)


def _choose(frame: pd.DataFrame, column: str, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows with one of the names in a column; without names, all rows."""
    if not names:
        return frame
    kind, known = column.removesuffix("_id"), frame[column].unique()
    return frame[frame[column].isin([choose(kind, name, known) for name in names])]


def _add_fresh(
    frame: pd.DataFrame, request: FigureRequest, columns: Sequence[str]
) -> pd.DataFrame:
    """Add the records of the fresh networks of all studies, for a relative metric."""
    everything = load(request.results, columns, None, request.tasks)
    fresh = everything[everything["intervention"] == FRESH]
    records = pd.concat([frame, fresh]).drop_duplicates(KEY, ignore_index=True)
    records.attrs |= frame.attrs  # `concat` keeps only attributes that are equal
    return records
