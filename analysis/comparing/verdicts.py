"""Verdicts: what the paired difference of two settings shows, among many comparisons.

Plasticity is a level (how well the network still learns late in the stream) and a trend
(how accuracy changes along the stream). A network that never learns has the best
possible trend, because it has nothing to lose. So a better trend alone never makes a
setting "better": its level must not be lower either.

A setting is not tested if one of its runs diverged: the other runs are not a fair
sample, and a test of them would be biased in favor of the setting. Two networks that
learned no more than chance are not tested either: they have nothing to compare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import Runs
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import Metric, PerRun
from analysis.statistics.paired import holm, paired_difference
from analysis.statistics.power import LEVEL, detectable_effect, is_equivalent

VERDICTS = {
    "better": "better",
    "worse": "worse",
    "flatter but lower": "flatter but lower",
    "flatter, level open": "flatter, with a level that is possibly lower",
    "steeper but higher": "steeper but higher",
    "the same": "the same within the margin",
    "undecided": "undecided",
    "diverged": "not tested because the setting or the baseline diverged",
    "at chance": "not tested because neither setting learned more than chance",
    "n/a": "not testable",
}
"""The verdicts, and the words for each of them in a sentence."""

LOWER = ("flatter but lower", "flatter, level open")
"""The verdicts on a setting that loses less than its baseline, but whose level is lower
than that of the baseline, or possibly lower."""

FAMILY = ["study", "problem", "metric"]
"""Tests with equal values in these columns are corrected together."""


def pair_up(
    runs: Runs,
    other: Runs | None,
    metric: Metric,
    seeds: Collection[int],
    margin: float,
) -> dict[str, Any]:
    """Return how a setting differs from its baseline, seed by seed.

    A seed does not count if one of the two settings did not finish the stream with it.

    Args:
        runs: The setting.
        other: The baseline, or None if the setting has none.
        metric: The metric that is compared.
        seeds: The seeds that should be compared.
        margin: Smaller differences count as zero. The unit is that of the metric; for a
            metric per task, it is the change over the whole stream.

    Returns:
        The columns difference, lo, hi, p and effect of `paired_difference`, and:

        - metric: its name; pairs: the number of seeds; mean, baseline_mean
        - sd: the standard deviation of the differences
        - same: whether the difference is shown to be within the margin, or is 0 with
          every seed
        - beside, beside_lo, beside_hi: the difference in the metric `Metric.beside`;
          beside_setting, beside_baseline: the means of this metric
        - paired_seeds, diverged_seeds, baseline_diverged_seeds: seeds as text ("0 3")
        - missing_seeds: the other seeds without a complete run of both settings
    """
    shared = set(seeds) & set(runs.seeds) & set(other.seeds if other else ())
    own = runs.select_seeds(shared).matrix
    base = other.select_seeds(shared).matrix if other else own
    diverged = set(seeds) & set(runs.diverged)
    baseline_diverged = set(seeds) & set(other.diverged if other else ())
    missing = set(seeds) - shared - diverged - baseline_diverged if other else set()
    values, baseline = metric(own), metric(base)
    test = paired_difference(values, baseline)
    own_beside, base_beside = metric.beside(own), metric.beside(base)
    differences = values - baseline
    limit = margin / metric.steps(runs.setting["tasks"])
    equal = len(shared) > 1 and not differences.any()
    # If all differences are equal and not 0, they have no spread, so neither the paired
    # t-test nor the test of equivalence is possible.
    similar = not np.isnan(test.p) and is_equivalent(differences, limit)

    def mean(values: PerRun) -> float:
        return float(values.mean()) if shared else np.nan

    return {
        "metric": metric.name,
        "pairs": len(shared),
        "mean": mean(values),
        "baseline_mean": mean(baseline),
        "difference": float(test.mean),
        "lo": float(test.lo),
        "hi": float(test.hi),
        "sd": float(differences.std(ddof=1)) if len(shared) > 1 else np.nan,
        "p": float(test.p),
        "effect": float(test.effect),
        "same": other is not None and (equal or similar),
        "beside_setting": mean(own_beside),
        "beside_baseline": mean(base_beside),
        **mean_interval(own_beside - base_beside).columns("beside"),
        "paired_seeds": _to_text(shared),
        "diverged_seeds": _to_text(diverged),
        "baseline_diverged_seeds": _to_text(baseline_diverged),
        "missing_seeds": _to_text(missing),
    }


def judge(rows: list[dict[str, Any]], metric: Metric, margin: float) -> pd.DataFrame:
    """Return rows of `pair_up` as a frame, with the verdicts.

    The tests of one study, problem and metric are one family. A pair of settings that
    occurs twice with the same seeds, because the matched baseline is also the best one,
    counts as one test.

    Args:
        rows: Rows of `pair_up`, with the columns that name the settings, and the column
            at_chance, which says who learned no more than chance: "setting",
            "baseline", "both", or "" for neither.
        metric: The metric of the rows.
        margin: As for `pair_up`.

    Returns:
        The rows with four more columns: tests, the number of tests of the family;
        p_holm, the p-value with Holm's correction for these tests; detectable, the
        smallest true difference that the test of this row finds with a probability of
        80%; and verdict, a key of `VERDICTS`.
    """
    if not rows:
        return pd.DataFrame()
    data = pd.DataFrame(rows)
    diverged = (data["diverged_seeds"] != "") | (data["baseline_diverged_seeds"] != "")
    idle = data["at_chance"] == "both"
    data.loc[diverged | idle, "p"] = np.nan
    test = [*FAMILY, "setting_id", "baseline_id", "paired_seeds"]
    once = data.loc[~data.duplicated(test), [*test, "p"]]
    families = once.groupby(FAMILY, sort=False)["p"]
    once = once.assign(
        p_holm=families.transform(lambda p: holm(p.to_numpy())),
        tests=families.transform("count"),
    )
    data = data.merge(once.drop(columns="p"), on=test, how="left")
    data["detectable"] = [
        sd * detectable_effect(pairs, max(tests, 1)) if sd > 0 else np.nan
        for sd, pairs, tests in zip(
            data["sd"], data["pairs"], data["tests"], strict=True
        )
    ]
    same, untested = data["same"].astype(bool), data["p_holm"].isna()
    data["verdict"] = np.select(
        [diverged, idle, untested & same, untested],
        ["diverged", "at chance", "the same", "n/a"],
        _decide(data, metric, margin),
    )
    return data


def _decide(data: pd.DataFrame, metric: Metric, margin: float) -> Any:
    """Return the verdict of each row that was tested."""
    sign = 1 if metric.higher else -1
    good = sign * data["difference"] > 0
    tested = data["p_holm"] < LEVEL
    small = np.where(data["same"].astype(bool), "the same", "undecided")
    if not metric.trend:
        return np.where(tested, np.where(good, "better", "worse"), small)
    level = metric.level
    lo, hi = data["beside_lo"], data["beside_hi"]
    if not level.higher:
        lo, hi = -hi, -lo
    cases = {
        "better": tested & good & (lo >= -margin),
        "flatter but lower": tested & good & (hi < 0),
        "flatter, level open": tested & good,
        "steeper but higher": tested & (lo > 0),
        "worse": tested,
    }
    return np.select([*cases.values()], [*cases], small)


def _to_text(seeds: Iterable[int]) -> str:
    return " ".join(map(str, sorted(seeds)))
