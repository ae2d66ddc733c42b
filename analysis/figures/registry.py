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
from typing import TYPE_CHECKING, Any

from analysis.figures import capacity as capacity_figure
from analysis.figures import profile as profile_figure
from analysis.figures import rho as rho_figure
from analysis.figures import sharpness as sharpness_figure
from analysis.figures.accuracy import accuracy_by_task, draw_panels
from analysis.figures.capacity import capacity_by_task, draw_capacity
from analysis.figures.forgetting import draw_forgetting, forgetting_by_task
from analysis.figures.numbers import by_label, by_measure, over_cells, related_numbers
from analysis.figures.numbers import task_labels as told_tasks
from analysis.figures.profile import draw_profiles, profile
from analysis.figures.relation import draw_relation, relation_by_setting
from analysis.figures.rho import draw_grids, rho_grid
from analysis.figures.sharpness import draw_measures, measures_by_task
from analysis.figures.style import FORMATS, SIZES, STYLE, render, write_whole
from analysis.figures.tasks import draw_tasks, pictured_tasks
from trainables.usage import UsageError, choose

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.tables.formats import Sheet

DATA = "csv"
"""The suffix of a file that has the numbers drawn, in full precision."""


@dataclass(frozen=True)
class Picture:
    """A figure: what it shows, its data, its drawing, and its numbers as text."""

    meaning: str
    columns: tuple[str, ...]
    """Of the records, what it needs besides `analysis.records.runs.NEEDED`."""
    data: Callable[..., pd.DataFrame]
    """Of the records and, where there are any to choose, the metrics."""
    draw: Callable[[pd.DataFrame, float | None], Figure]
    """Of the data, as wide as it likes or as many inches wide as it is told."""
    numbers: Callable[[pd.DataFrame], list[Sheet]]
    """Of the data, what a reader wants to look up."""
    metrics: tuple[str, ...] = ()
    """Those that it shows if no other is asked for."""
    adapts: bool = True
    """Whether it can stand on a dark ground, being nothing but lines and text."""
    cropped: bool = True
    """Whether it is to be cut to what is drawn; else it is as wide as it says."""

    @property
    def saved(self) -> dict[str, Any]:
        """What `analysis.figures.style.render` is told."""
        return {} if self.cropped else {"bbox_inches": None}


def draw_to_file(
    name: str,
    results: str,
    file: str,
    study: str | None = None,
    problem: str | None = None,
    settings: Sequence[str] = (),
    metric: str | None = None,
    where: str | None = None,
    size: str | None = None,
) -> None:
    """Draw the figure `name` of the records under `results` into a file.

    The same records give the same bytes.

    Args:
        name: One of `FIGURES`.
        results: What `analysis.records.load.load` takes.
        file: Where to; its suffix is its format, .csv for the numbers alone.
        study: Which study, if there are several.
        problem: Only this problem.
        settings: Only these settings, by setting_id.
        metric: Show this one, where the figure is of metrics.
        where: Only these records, in the language of `analysis.records.where`.
        size: One of `SIZES`, a paper's columns; None: as wide as it likes.

    Raises:
        UsageError: An unknown name, suffix, study, problem or setting, no records, or
            more settings than can be told apart.
    """
    picture = find_figure(name)
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in FORMATS and suffix != DATA:
        known = ", ".join(f".{known}" for known in (*FORMATS, DATA))
        raise UsageError(f"cannot draw {file}: give it a suffix among {known}")
    width = None if size is None else SIZES[choose("size", size, SIZES)]
    from analysis.records.load import load
    from analysis.records.runs import NEEDED

    metrics = _metrics(name, metric)
    columns = [*NEEDED, *picture.columns]
    frame = load(results, columns, where)
    frame = select(frame, results, study, problem, settings)
    data = figure_data(name, frame, metrics, _fresh(results, columns, metrics))
    if suffix == DATA:
        write_whole(file, data.to_csv(index=False, lineterminator="\n").encode())
        return
    from matplotlib import rc_context

    with rc_context(STYLE):
        content = render(picture.draw(data, width), suffix, **picture.saved)
    write_whole(file, content)


def find_figure(name: str) -> Picture:
    """Return a figure by its name.

    Raises:
        UsageError: There is none.
    """
    return FIGURES[choose("figure", name, FIGURES)]


def figure_data(
    name: str,
    frame: pd.DataFrame,
    metrics: Sequence[str] = (),
    fresh: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return what a figure shows.

    Args:
        name: One of `FIGURES`.
        frame: The records, of one study, with `NEEDED` and the figure's columns.
        metrics: Those that are shown, where the figure is of metrics.
        fresh: Records of the networks that these metrics are relative to.

    Raises:
        UsageError: It cannot be drawn of them.
    """
    import pandas as pd

    from analysis.records.load import KEY

    picture = FIGURES[name]
    if fresh is not None:  # they may be of another study
        frame = pd.concat([frame, fresh]).drop_duplicates(KEY, ignore_index=True)
    return picture.data(frame, metrics) if picture.metrics else picture.data(frame)


def _fresh(
    results: str, columns: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame | None:
    """Return the records of fresh networks, if a metric is relative to them."""
    from analysis.comparing.fresh import FRESH
    from analysis.records.load import load
    from analysis.statistics.metrics import find_metric

    if not any(find_metric(each).relative for each in metrics):
        return None
    try:
        return load(results, columns, f"intervention = '{FRESH}'")
    except UsageError:  # there are none, and the metric says so
        return None


def _metrics(name: str, metric: str | None) -> tuple[str, ...]:
    """Return the metrics that a figure is to show.

    Raises:
        UsageError: It shows none, or there is none of this name.
    """
    from analysis.statistics.metrics import find_metric

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


def select(
    frame: pd.DataFrame,
    results: str,
    study: str | None = None,
    problem: str | None = None,
    settings: Sequence[str] = (),
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
        ("test_accuracy",),
        accuracy_by_task,
        draw_panels,
        by_label,
    ),
    "rho": Picture(
        "plasticity loss and mean accuracy over rho and learning rate, a heat map an "
        "optimizer",
        ("test_accuracy",),
        rho_grid,
        draw_grids,
        over_cells,
        rho_figure.SHOWN,
        adapts=False,
    ),
    "profile": Picture(
        "accuracy change against rho, a line a learning rate",
        ("test_accuracy",),
        profile,
        draw_profiles,
        over_cells,
        profile_figure.SHOWN,
        adapts=False,
    ),
    "sharpness": Picture(
        "sharpness, dormant units, rank and weight norm by task, beside accuracy",
        tuple(sharpness_figure.MEASURES),
        measures_by_task,
        draw_measures,
        by_measure,
        cropped=False,
    ),
    "capacity": Picture(
        "dormant units, ranks, norms and distances by task",
        ("test_accuracy", *capacity_figure.CAPACITY),
        capacity_by_task,
        draw_capacity,
        by_measure,
        cropped=False,
    ),
    "relate": Picture(
        "how sharpness before a task goes with accuracy on it, a row a setting",
        ("test_accuracy", "start_sharpness"),
        relation_by_setting,
        draw_relation,
        related_numbers,
        cropped=False,
    ),
    "tasks": Picture(
        "what a permuted and a pairwise task look like (Figures 2 and 3)",
        ("task_label",),
        pictured_tasks,
        draw_tasks,
        told_tasks,
        adapts=False,
        cropped=False,
    ),
    "forgetting": Picture(
        "accuracy on the task just learned and on those before it (Figure 1)",
        ("test_accuracy", "backward_accuracy"),
        forgetting_by_task,
        draw_forgetting,
        by_measure,
        cropped=False,
    ),
}
