"""Verdicts: what the paired difference of two settings tells, among many others.

A setting of which some runs diverged is not tested: the runs that survived are no fair
sample of what it does, and a test over them would be biased in its favour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import Runs
from analysis.statistics.metrics import find_metric
from analysis.statistics.paired import Paired, holm, paired_difference

LEVEL = 0.05
"""A corrected p-value below it is a difference."""


def pair_up(
    runs: Runs, other: Runs | None, name: str, seeds: Collection[int]
) -> dict[str, Any]:
    """Return the paired difference over those of the seeds that both have.

    metric; mean and baseline_mean over the pairs; pairs, how many; difference, lo, hi,
    p and effect as `paired_difference` has them; and as text ("0 3") the seeds:
    paired_seeds, diverged_seeds of the setting, baseline_diverged_seeds, and
    missing_seeds, of which one of the two has no whole run for another reason.
    """
    metric = find_metric(name)
    shared = set(seeds) & set(runs.seeds) & set(other.seeds if other else ())
    one = metric(runs.on(shared).matrix)
    two = metric(other.on(shared).matrix) if other else one
    lost = set(seeds) & set(runs.diverged)
    base_lost = set(seeds) & set(other.diverged if other else ())
    missing = set(seeds) - shared - lost - base_lost if other else set()
    found = paired_difference(one, two)
    return {
        "metric": name,
        "mean": one.mean() if shared else np.nan,
        "baseline_mean": two.mean() if shared else np.nan,
        "pairs": len(shared),
        **dict(
            zip(("difference", *Paired._fields[1:]), map(float, found), strict=True)
        ),
        "paired_seeds": _text(shared),
        "diverged_seeds": _text(lost),
        "baseline_diverged_seeds": _text(base_lost),
        "missing_seeds": _text(missing),
    }


def judge(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a frame, with p_holm and verdict.

    p_holm is corrected over all tests in the frame. A pair of settings that stands in
    it twice, where the matched baseline is the best one too, is tested once. verdict:
    better, worse or undecided; diverged: not tested, since some runs were; n/a: not
    tested, for want of a baseline, of two pairs, or of differences that vary.
    """
    if not rows:
        return pd.DataFrame()
    data = pd.DataFrame(rows)
    lost = (data["diverged_seeds"] != "") | (data["baseline_diverged_seeds"] != "")
    data.loc[lost, "p"] = np.nan
    which = ["study", "setting_id", "baseline_id", "metric", "paired_seeds"]
    once = ~data.duplicated(which)
    tests = data.loc[once, which].assign(p_holm=holm(data.loc[once, "p"].to_numpy()))
    data = data.merge(tests, on=which, how="left", validate="many_to_one")
    good = np.array([1 if find_metric(m).higher else -1 for m in data["metric"]])
    data["verdict"] = np.select(
        [lost, data["p_holm"].isna(), data["p_holm"] >= LEVEL],
        ["diverged", "n/a", "undecided"],
        np.where(good * data["difference"] > 0, "better", "worse"),
    )
    return data


def _text(seeds: Iterable[int]) -> str:
    """Return seeds as a cell of a table."""
    return " ".join(map(str, sorted(seeds)))
