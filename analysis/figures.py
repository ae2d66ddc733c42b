"""Figures: what is drawn as data, the drawing of it, and the file.

A figure is data, then drawing: a pure function of the records gives a tidy frame, one
row per point, and another draws part of it on given axes. So the data can be tested
without pixels, and the axes can stand in a figure of your own. To add one: two
functions and a line in `FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis import profile_figure, rho_figure
from analysis.accuracy_figure import accuracy_by_task, draw_panels
from analysis.profile_figure import draw_profiles, profile
from analysis.rho_figure import draw_grids, rho_grid
from analysis.sharpness_figure import MEASURES, draw_measures, measures_by_task
from analysis.style import FORMATS, STYLE, save
from trainables.command_line import UsageError, choose

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure: what it shows, its data and its drawing."""

    meaning: str
    measure: str
    """The column of the records that it shows."""
    data: Callable[..., pd.DataFrame]
    """Of the records and, where there are any to choose, the metrics."""
    draw: Callable[[pd.DataFrame], Figure]
    metrics: tuple[str, ...] = ()
    """Those that it shows if no other is asked for."""
    also: tuple[str, ...] = ()
    """More columns of the records."""


def draw_to_file(
    name: str,
    results: str,
    file: str,
    study: str | None = None,
    problem: str | None = None,
    settings: Sequence[str] = (),
    metric: str | None = None,
) -> None:
    """Draw the figure `name` of the records under `results` into a file.

    The same records give the same bytes.

    Args:
        name: One of `FIGURES`.
        results: What `analysis.load.load` takes.
        file: Where to; its suffix is its format.
        study: Which study, if there are several.
        problem: Only this problem.
        settings: Only these settings, by setting_id.
        metric: Show this one, where the figure is of metrics.

    Raises:
        UsageError: An unknown name, suffix, study, problem or setting, no records, or
            more settings than can be told apart.
    """
    picture = FIGURES[choose("figure", name, FIGURES)]
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        known = ", ".join(f".{known}" for known in FORMATS)
        raise UsageError(f"cannot draw {file}: give it a suffix among {known}")
    from matplotlib import rc_context

    from analysis.fresh import FRESH
    from analysis.load import load
    from analysis.metrics import find_metric
    from analysis.runs import NEEDED

    metrics = _metrics(name, metric)
    frame = load(results, [*NEEDED, picture.measure, *picture.also])
    shown = _select(frame, results, study, problem, settings)
    if any(find_metric(each).relative for each in metrics):
        # the networks they are relative to may be of another study
        fresh = frame[frame["intervention"] == FRESH]
        shown = frame.loc[shown.index.union(fresh.index)]
    data = picture.data(shown, metrics) if metrics else picture.data(shown)
    with rc_context(STYLE):
        save(picture.draw(data), file, suffix)


def _metrics(name: str, metric: str | None) -> tuple[str, ...]:
    """Return the metrics that a figure is to show.

    Raises:
        UsageError: It shows none, or there is none of this name.
    """
    from analysis.metrics import find_metric

    metrics = FIGURES[name].metrics
    if metric is None:
        return metrics
    find_metric(metric)
    if not metrics:
        several = [each for each, picture in FIGURES.items() if picture.metrics]
        raise UsageError(
            f"the figure {name} shows no metric: leave out --metric {metric} "
            f"({', '.join(several)} would take it)"
        )
    return (metric,)


def _select(
    frame: pd.DataFrame,
    results: str,
    study: str | None,
    problem: str | None,
    settings: Sequence[str],
) -> pd.DataFrame:
    """Return the records that are to be drawn.

    Raises:
        UsageError: There are none, or of several studies.
    """
    studies = sorted(set(frame["study"].tolist()))
    if study is not None:
        frame = frame[frame["study"] == choose("study", study, studies)]
    elif len(studies) > 1:
        raise UsageError(
            f"{results} has several studies: choose one with --study "
            f"({', '.join(studies)})"
        )
    if problem is not None:
        known = frame["problem"].unique()
        frame = frame[frame["problem"] == choose("problem", problem, known)]
    if settings:
        known = frame["setting_id"].unique()
        chosen = [choose("setting", setting, known) for setting in settings]
        frame = frame[frame["setting_id"].isin(chosen)]
    return frame


FIGURES: dict[str, Picture] = {
    "accuracy": Picture(
        "test accuracy by task, a panel a problem, a line a setting (Figures 4 and 5)",
        "test_accuracy",
        accuracy_by_task,
        draw_panels,
    ),
    "rho": Picture(
        "plasticity loss and mean accuracy over rho and learning rate, a heat map an "
        "optimizer",
        "test_accuracy",
        rho_grid,
        draw_grids,
        rho_figure.SHOWN,
    ),
    "profile": Picture(
        "accuracy change against rho, a line a learning rate",
        "test_accuracy",
        profile,
        draw_profiles,
        profile_figure.SHOWN,
    ),
    "sharpness": Picture(
        "sharpness, dormant units, rank and weight norm by task, beside accuracy",
        "test_accuracy",
        measures_by_task,
        draw_measures,
        also=tuple(name for name in MEASURES if name != "test_accuracy"),
    ),
}
