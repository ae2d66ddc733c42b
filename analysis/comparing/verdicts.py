"""Verdicts: what the paired difference of two settings shows, among many comparisons.

A setting of which some runs diverged is not tested: the surviving runs are no fair
sample, and a test of them would be biased in its favour.
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
"""A corrected p-value below it is a difference."""


def pair_up(
    runs: Runs, other: Runs | None, metric: Metric, seeds: Collection[int]
) -> dict[str, Any]:
    """Return the paired difference over those of the seeds that both settings have.

    Columns: metric, its name; mean and baseline_mean over the pairs; pairs, their
    number; difference, lo, hi, p and effect of `paired_difference`; and as text ("0 3")
    paired_seeds, diverged_seeds of the setting, baseline_diverged_seeds, and
    missing_seeds, of which one of the two lacks a complete run for another reason.
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
    """Return rows of `pair_up` as a frame, with p_holm and verdict.

    p_holm is corrected over all tests in the frame. A pair of settings that occurs
    twice, because the matched baseline is also the best one, counts once. verdict:
    better, worse or undecided; diverged: not tested because some runs diverged; n/a:
    not tested, without a baseline, two pairs, or differences that vary.

    Args:
        rows: With the columns that name the settings.
        metrics: The metrics of the rows.
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
