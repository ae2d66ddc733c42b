"""The figure of published curves and the curves of our runs.

The other settings on the same stream are drawn too. A published curve has no runs in
the records, so its rows get the published mean, interval and number of runs.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from analysis.comparing.published import (
    COLUMNS,
    Publication,
    published_numbers,
    repeated_runs,
)
from analysis.figures.curves.data import KEPT, curve, describe_runs, in_stream
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import Kind
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.picture import Picture
from analysis.records.runs import Runs, by_setting, labels
from analysis.statistics.metrics import MEASURES
from trainables.usage import UsageError

KIND = Kind(
    most=8,
    band="95% interval at each task",
    note="The published curve has the band that follows from its standard error.",
)


def replication_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the published curves, and the curves of all runs on the same stream.

    Some runs repeat the publication. The other runs differ, for example in the
    optimizer. No curve is smoothed, because the published curves are not. The columns
    are as in `analysis.figures.curves.data.by_task`.

    Raises:
        UsageError: No setting with a complete run repeats a published curve.
    """
    parts = []
    for publication, runs in repeated_runs(frame):
        numbers = published_numbers(publication.name).dropna(subset=["task"])
        if not numbers.empty:
            parts.append(_curves(frame, publication, runs, numbers))
    if not parts:
        raise UsageError(
            "no setting with a complete run repeats a published curve: run python -m "
            "study.sweep dohare-2024"
        )
    return pd.concat(parts, ignore_index=True)


def _curves(
    frame: pd.DataFrame, publication: Publication, repeated: Runs, numbers: pd.DataFrame
) -> pd.DataFrame:
    measure = publication.measure
    unit = MEASURES[measure].unit
    title = {"measure": measure, "title": f"{measure.replace('_', ' ')} ({unit})"}
    group = [
        runs
        for runs in by_setting(frame, measure)
        if runs.seeds and runs.peers == repeated.peers
    ]
    parts = []
    for runs, label in zip(group, labels([r.setting for r in group]), strict=True):
        tasks = np.arange(runs.matrix.shape[1])
        points = curve(runs.matrix, tasks, window=1)
        parts.append(pd.DataFrame({**describe_runs(runs, label), **title, **points}))
    own = in_stream(pd.concat(parts, ignore_index=True), frame)
    shown = numbers[numbers["task"].between(own["task"].min(), own["task"].max())]
    published = pd.DataFrame(
        {
            "study": repeated.study,
            "setting_id": publication.name,
            **{name: repeated.setting[name] for name in KEPT},
            "optimizer": "published",
            "label": f"{publication.name}, published",
            **dict.fromkeys(("runs", "expected"), publication.runs),
            "diverged": 0,
            **title,
            "task": shown["task"].astype(int),
            "mean": shown["value"],
            "lo": shown["lo"],
            "hi": shown["hi"],
            "window": 1,
            "seed_values": [()] * len(shown),
        }
    )
    # The published curve comes last, so that it is drawn on top of our curves, which
    # usually have wider bands, because the publication has more runs.
    return pd.concat([own, published], ignore_index=True)


FIGURE = Picture(
    title="Published curves and ours",
    meaning="a published curve and the runs that repeat it, by task, with the other "
    "settings on the same stream",
    columns=COLUMNS,
    data=lambda frame, view, columns: replication_curves(frame),
    draw=functools.partial(draw_by_task, kind=KIND),
    numbers=by_task_sheets,
    needs_labels=True,
)
