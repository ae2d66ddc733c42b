"""Decide which settings are better or worse than their baseline setting.

If a run of a setting diverged, the setting is not tested. The runs that did not diverge
are not a random sample, so a test of these runs alone would favour the setting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import Runs
from analysis.statistics.metrics import Metric
from analysis.statistics.paired import holm, paired_difference

LEVEL = 0.05
"""A setting counts as better or worse if its corrected p-value is below this level."""


def pair_up(
    runs: Runs, other: Runs | None, metric: Metric, seeds: Collection[int]
) -> dict[str, Any]:
    """Return the paired difference of two settings as a row (column name to value).

    A pair is a seed with a complete run of the setting and of its baseline setting.

    Columns:

    - metric: the name of the metric
    - mean, baseline_mean: the mean of the metric over the pairs, for each setting
    - pairs: the number of pairs
    - difference, lo, hi, p, effect: the result of `paired_difference`
    - paired_seeds: the seeds of the pairs; here and below as text such as "0 3"
    - diverged_seeds: the seeds whose run of the setting diverged
    - baseline_diverged_seeds: the seeds whose run of the baseline setting diverged
    - missing_seeds: the other seeds for which a complete run is missing

    Args:
        runs: The runs of the setting.
        other: The runs of the baseline setting; None if there is no such setting.
        metric: The metric to compare.
        seeds: Use only these seeds.
    """
    shared = set(seeds) & set(runs.seeds) & set(other.seeds if other else ())
    values = metric(runs.select_seeds(shared).matrix)
    baseline = metric(other.select_seeds(shared).matrix) if other else values
    diverged = set(seeds) & set(runs.diverged)
    baseline_diverged = set(seeds) & set(other.diverged if other else ())
    missing = set(seeds) - shared - diverged - baseline_diverged if other else set()
    test = paired_difference(values, baseline)
    return {
        "metric": metric.name,
        "mean": values.mean() if shared else np.nan,
        "baseline_mean": baseline.mean() if shared else np.nan,
        "pairs": len(shared),
        "difference": float(test.mean),
        "lo": float(test.lo),
        "hi": float(test.hi),
        "p": float(test.p),
        "effect": float(test.effect),
        "paired_seeds": _to_text(shared),
        "diverged_seeds": _to_text(diverged),
        "baseline_diverged_seeds": _to_text(baseline_diverged),
        "missing_seeds": _to_text(missing),
    }


def judge(rows: list[dict[str, Any]], metrics: Iterable[Metric]) -> pd.DataFrame:
    """Return the rows of `pair_up` as a frame, with the columns p_holm and verdict.

    p_holm is the p-value after Holm's correction for all tests in the frame. A pair of
    settings can occur twice, if the matched baseline setting (equal in everything else)
    is also the best one. Such a pair counts as one test.

    The column verdict is one of:

    - better, worse or undecided: the result of the test
    - diverged: not tested, because a run of one of the two settings diverged
    - n/a: not tested, because there is no baseline setting, there are fewer than two
      pairs, or all differences are equal

    Args:
        rows: Rows of `pair_up`, with the columns study, setting_id and baseline_id.
        metrics: The metrics that occur in the rows.
    """
    if not rows:
        return pd.DataFrame()
    data = pd.DataFrame(rows)
    diverged = (data["diverged_seeds"] != "") | (data["baseline_diverged_seeds"] != "")
    data.loc[diverged, "p"] = np.nan
    test = ["study", "setting_id", "baseline_id", "metric", "paired_seeds"]
    once = ~data.duplicated(test)
    p_holm = holm(data.loc[once, "p"].to_numpy())
    corrected = data.loc[once, test].assign(p_holm=p_holm)
    data = data.merge(corrected, on=test, how="left", validate="many_to_one")
    signs = {metric.name: 1 if metric.higher else -1 for metric in metrics}
    data["verdict"] = np.select(
        [diverged, data["p_holm"].isna(), data["p_holm"] >= LEVEL],
        ["diverged", "n/a", "undecided"],
        np.where(data["metric"].map(signs) * data["difference"] > 0, "better", "worse"),
    )
    return data


def _to_text(seeds: Iterable[int]) -> str:
    return " ".join(map(str, sorted(seeds)))
