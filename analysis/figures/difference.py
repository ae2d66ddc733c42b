"""The figure of the paired difference to the matched baseline by task.

Runs with the same seed see the same tasks. So what affects both runs alike, for example
a task that is hard for every setting, cancels in their difference.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from analysis.comparing.baselines import find_baseline
from analysis.figures.curves.data import curve, describe_runs, in_stream
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import Kind
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.forest import no_baseline
from analysis.figures.picture import Picture, View
from analysis.records.runs import by_problem, by_setting
from analysis.statistics.bands import simultaneous_band
from analysis.statistics.metrics import MEASURE, MEASURES
from analysis.tables.words import baseline_words

KIND = Kind(
    signed=True,
    most=8,
    band="95% interval for the whole curve",
    note="Each run minus the run of the baseline with the same seed.",
)


def difference_by_task(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return the difference of each setting to its matched baseline after each task.

    The matched baseline equals the setting in all but one part. The differences are
    between complete runs with the same seed. Extra seeds are left out, as in
    `analysis.comparing.compare.compare`.

    Returns:
        The columns of `by_task` and the columns baseline_id and baseline_label. lo and
        hi are the ends of a band that contains the whole true curve with a probability
        of 95%. They are NaN if there are fewer than two pairs of runs. They are also
        NaN if a run of the setting or of the baseline diverged, because the other runs
        are not a fair sample.

    Raises:
        UsageError: The baseline is unknown, or no setting has a matched baseline with
            complete runs of the same seeds.
    """
    settings = by_setting(frame, view.measure)
    matches = find_baseline(view.baseline, settings).matches(settings)
    unit = MEASURES[view.measure].unit_of_difference
    measure, name = view.measure.replace("_", " "), baseline_words(view.baseline)
    title = f"difference in {measure} to {name}, all else equal ({unit})"
    parts = []
    for _, group, labels in by_problem(settings):
        names = {runs.key: label for runs, label in zip(group, labels, strict=True)}
        for runs in group:
            if not (other := matches.get(runs.key)):
                continue
            extra = {*runs.extra, *other.extra}
            shared = set(runs.seeds) & set(other.seeds) - extra
            if not shared:
                continue
            difference = (
                runs.select_seeds(shared).matrix - other.select_seeds(shared).matrix
            )
            tasks = np.arange(difference.shape[1])
            part = pd.DataFrame(
                {
                    **describe_runs(runs, names[runs.key]),
                    "runs": len(shared),
                    "expected": runs.expected - len(runs.extra),
                    "baseline_id": other.setting_id,
                    "baseline_label": names[other.key],
                    "measure": view.measure,
                    "title": title,
                    **curve(difference, tasks, simultaneous_band),
                }
            )
            if {*runs.diverged, *other.diverged} - extra:
                part[["lo", "hi"]] = float("nan")
            parts.append(part)
    if not parts:
        raise no_baseline(view.baseline)
    return in_stream(pd.concat(parts, ignore_index=True), frame)


FIGURE = Picture(
    title="Difference to the baseline by task",
    meaning="difference to the baseline with all else equal, seed by seed: a panel per "
    "problem, a line per setting",
    columns=(MEASURE,),
    data=lambda frame, view, columns: difference_by_task(frame, view),
    draw=functools.partial(draw_by_task, kind=KIND),
    numbers=by_task_sheets,
    any_measure=True,
    most=KIND.most,
    compares=True,
)
