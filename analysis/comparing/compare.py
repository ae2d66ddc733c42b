"""Comparison: every setting against the baseline, and the winner on seeds of its own.

Each setting stands against the baseline with all else equal ("matched") and against the
best of the baseline's settings ("best"). What is best is chosen by mean accuracy, which
no setting gets by learning nothing, on the seeds that all settings have; by a metric
that only looks at a trend, the best is one that has nothing to lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.baselines import find_baseline
from analysis.comparing.fresh import runs_for
from analysis.comparing.verdicts import judge, pair_up
from analysis.comparing.winners import best_baselines, common_seeds, winners
from analysis.records.runs import Runs, labels
from analysis.statistics.metrics import find_metric

CHOSEN_BY = "mean_accuracy"
AGAINST = ("matched", "best")


def compare(
    frame: pd.DataFrame,
    metric: str = "plasticity_loss",
    baseline: str = "sgd",
    study: str | None = None,
    problem: str | None = None,
) -> pd.DataFrame:
    """Return two rows a setting: against the baseline matched, and against its best.

    Columns: study, setting_id and the columns `WHAT`; label, a short name; against
    ("matched" or "best"); baseline_id and baseline_label, null where there is none; and
    what `verdicts` adds. The seeds are those that the settings of a problem
    should all have; those that a few were given in addition are left to `confirm`.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        metric: Of `METRICS` or `RELATIVE`.
        baseline: An optimizer, an intervention or "none".
        study: Only this one; fresh networks come from all.
        problem: Only this one.

    Raises:
        UsageError: A name is unknown, or a relative metric has no fresh network.
    """
    found = _runs(frame, metric, study, problem)
    base = find_baseline(baseline, found)
    groups, names = base.groups(found), names_of(found)
    plain = _runs(frame, CHOSEN_BY, study, problem)
    bests = best_baselines(base, plain, find_metric(CHOSEN_BY))
    rows = []
    for runs in (runs for runs in found if not base.has(runs)):
        group = groups.get(base.group(runs), [])
        best = bests.get(base.group(runs))
        chosen = [one for one in group if best and one.setting_id == best.setting_id]
        for against, others in zip(
            AGAINST, (base.matches(runs, group), chosen), strict=True
        ):
            # several that fit equally well are none
            other = others[0] if len(others) == 1 else None
            seeds = _usual(runs) | (_usual(other) if other else set())
            rows.append(
                _who(runs, other, names)
                | {"against": against}
                | pair_up(runs, other, metric, seeds)
            )
    return judge(rows)


def confirm(
    frame: pd.DataFrame,
    metric: str = "plasticity_loss",
    baseline: str = "sgd",
    study: str | None = None,
    problem: str | None = None,
) -> pd.DataFrame:
    """Return how the best setting does against the best baseline, on which seeds.

    For each stream and way of training it the mean accuracy, which chose the two, and
    the metric (if it is another), each on the seeds that chose ("choosing") and on
    those that both settings have and that did not choose ("confirming"): so it stands
    in the column against, and the others are those of `compare`. A p-value on the
    choosing seeds would mean nothing, and is null.
    """
    measured = {
        name: _runs(frame, name, study, problem)
        for name in dict.fromkeys((CHOSEN_BY, metric))
    }
    plain = measured[CHOSEN_BY]
    base = find_baseline(baseline, plain)
    common, names = common_seeds(plain), names_of(plain)
    rows = []
    for one, other in winners(base, plain, find_metric(CHOSEN_BY)):
        choosing = common[one.peers]
        rest = (one.present & other.present) - choosing
        for name, found in measured.items():
            these = {runs.key: runs for runs in found}
            for on, seeds in (("choosing", choosing), ("confirming", rest)):
                row = pair_up(these[one.key], these[other.key], name, seeds)
                if on == "choosing":
                    row["p"] = np.nan
                rows.append(_who(one, other, names) | {"against": on} | row)
    return judge(rows)


def best_settings(
    frame: pd.DataFrame, metric: str = CHOSEN_BY, baseline: str = "sgd"
) -> dict[str, list[str]]:
    """Return by problem the settings to be confirmed: the best, and the best baseline.

    For each stream and way of training it (`baselines.GROUP`) the best of the
    settings that are not the baseline's, and the best of the baseline's that it is
    compared with: one of the two is the best of all. Both are chosen on the seeds that
    all settings of the problem have. A problem with nothing to choose from has none.

    Args:
        frame: Records with `runs.NEEDED` and test_accuracy, of one study.
        metric: Which chooses.
        baseline: An optimizer, an intervention or "none".

    Raises:
        UsageError: A name is unknown.
    """
    found = _runs(frame, metric)
    chosen: dict[str, list[str]] = {runs.setting["problem"]: [] for runs in found}
    base = find_baseline(baseline, found)
    for pair in winners(base, found, find_metric(metric)):
        mine = chosen[pair[0].setting["problem"]]
        mine += [runs.setting_id for runs in pair if runs.setting_id not in mine]
    return chosen


def _runs(
    frame: pd.DataFrame,
    metric: str,
    study: str | None = None,
    problem: str | None = None,
) -> list[Runs]:
    """Return the runs that a metric is taken of, of one study and problem if named."""
    return [
        runs
        for runs in runs_for(frame, find_metric(metric))
        if study in (None, runs.study) and problem in (None, runs.setting["problem"])
    ]


def names_of(found: Sequence[Runs]) -> dict[tuple[str, str], str]:
    """Return a short name of each setting, that tells it from others of its problem."""
    names: dict[tuple[str, str], str] = {}
    for problem in {runs.setting["problem"] for runs in found}:
        these = [runs for runs in found if runs.setting["problem"] == problem]
        said = labels([runs.setting for runs in these])
        names |= {runs.key: name for runs, name in zip(these, said, strict=True)}
    return names


def _who(
    runs: Runs, other: Runs | None, names: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """Return the columns that say which two are compared."""
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        **runs.setting,
        "label": names[runs.key],
        "baseline_id": other and other.setting_id,
        "baseline_label": other and names[other.key],
    }


def _usual(runs: Runs) -> set[int]:
    """Return the seeds that a setting should have, as its peers do."""
    return (runs.present | set(runs.missing)) - set(runs.extra)
