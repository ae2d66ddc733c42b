"""Print the comparison of every setting with a baseline."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd

from analysis.comparing.compare import AGAINST, CHOSEN_BY, compare, confirm
from analysis.comparing.verdicts import LEVEL
from analysis.records.load import load
from analysis.statistics.metrics import find_metric
from analysis.tables.comparison_sheets import comparison_sheets, winner_sheets
from analysis.tables.formats import FORMATS
from analysis.tables.printing import print_sheets
from analysis.tables.words import first_and_count
from trainables.usage import UsageError, choose

VERDICTS = {
    "better": "better",
    "worse": "worse",
    "undecided": "undecided",
    "diverged": "not tested because it or the baseline diverged",
    "n/a": "not testable",
}
"""How a sentence says each verdict; the first three always appear."""

EXPLANATION = (
    "difference: the setting's metric minus the baseline's on the same seed, mean over "
    "the n seeds that both have, ± half of its own 95% t-interval. p: two-sided paired "
    "t-test. effect: Cohen's d_z, the mean difference over its standard deviation, "
    "with Hedges' correction for small samples.",
    "Not tested: pairs of which a run diverged (the difference over the surviving runs "
    "is biased, and shown only), and pairs with fewer than two seeds or with equal "
    "differences (n/a).",
    "The winner and the best baseline have the highest "
    f"{CHOSEN_BY.replace('_', ' ')} over the seeds that all settings have, among the "
    "settings of which no run diverged. The seeds that chose a winner overstate it: "
    "only other seeds can confirm it.",
)

RELATIVE_EXPLANATION = (
    "relative: the metric of accuracy minus the accuracy of a network that is reset at "
    "every task, on the same task and seed. That network has the same optimizer and "
    "hyperparameters if the records have one, else plain SGD with the same learning "
    "rate."
)


def print_comparison(
    results: str = "results",
    baseline: str = "sgd",
    metric: str = "plasticity_loss",
    format: str = "rich",
    study: str | None = None,
    problem: str | None = None,
) -> None:
    """Print how every setting and the winner compare with a baseline.

    Args:
        results: As for `analysis.records.load.load`.
        baseline: An optimizer, an intervention or "none".
        metric: A name known to `analysis.statistics.metrics.find_metric`.
        format: One of `FORMATS`, or csv with notes and verdicts on standard error.
        study: Only this study.
        problem: Only this problem.

    Raises:
        UsageError: There are no readable records, a name is unknown, or all settings
            have the baseline.
    """
    choose("format", format, [*FORMATS, "csv"])
    measure = find_metric(metric)
    frame = load(results, ["test_accuracy"])
    for column, value in (("study", study), ("problem", problem)):
        if value is not None:
            choose(column, value, frame[column].unique())
    data = compare(frame, measure, baseline, study, problem)
    if data.empty:
        raise UsageError(
            f"all settings in {results} have {baseline}: there is nothing to compare"
        )
    winners = confirm(frame, measure, baseline, study, problem)
    sheets = [
        *comparison_sheets(data, baseline),
        *winner_sheets(winners, data, baseline),
    ]
    verdicts = [*describe_verdicts(data, baseline)]
    explanation = [*EXPLANATION, *([RELATIVE_EXPLANATION] if measure.relative else [])]
    explanation += [describe_correction(data), *verdicts]
    print_sheets(
        pd.concat([data, winners], ignore_index=True), sheets, explanation, format
    )
    if format == "csv":
        for line in verdicts:
            print(f"note: {line}", file=sys.stderr)


def describe_correction(data: pd.DataFrame) -> str:
    """Return how many tests the p-values of a `compare` are corrected for."""
    pairs = ["study", "setting_id", "baseline_id"]
    tests = len(data.dropna(subset="p").drop_duplicates(pairs))
    return (
        f"p (Holm): corrected for the {tests} tests of different pairs of settings in "
        f"this comparison (Holm 1979); a setting with p below {LEVEL:g} is better or "
        "worse. The winners' tests on confirming seeds are corrected separately."
    )


def describe_verdicts(data: pd.DataFrame, baseline: str) -> Iterator[str]:
    """Yield for each study and problem how many settings are better, worse, neither."""
    names = (f"{baseline} with all else equal", f"the best {baseline}")
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        clauses = []
        for against, name in zip(AGAINST, names, strict=True):
            counts = part.loc[part["against"] == against, "verdict"].value_counts()
            numbers = ", ".join(
                f"{counts.get(verdict, 0)} {word}"
                for verdict, word in VERDICTS.items()
                if verdict in counts or verdict not in ("diverged", "n/a")
            )
            clauses.append(f"against {name} {numbers}")
        diverged = part.loc[part["diverged_seeds"] != "", "label"].unique().tolist()
        ending = f" Diverged with some seed: {first_and_count(diverged)}."
        yield (
            f"{problem}, study {study}, {part['metric'].iloc[0].replace('_', ' ')}: of "
            f"{part['setting_id'].nunique()} settings, {'; '.join(clauses)}."
            f"{ending if diverged else ''}"
        )
