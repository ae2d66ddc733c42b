"""The comparison as it is printed: sheets, what they mean, and the verdict in words.

What is compared is in `compare`, how it is set in `comparison_table`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd

from analysis.comparing.compare import AGAINST, CHOSEN_BY, compare, confirm
from analysis.comparing.verdicts import LEVEL
from analysis.records.load import load
from analysis.records.runs import NEEDED
from analysis.statistics.metrics import find_metric
from analysis.tables.accuracy import LONGEST
from analysis.tables.comparison_table import comparison_sheets
from analysis.tables.formats import FORMATS
from analysis.tables.printing import print_sheets
from analysis.tables.winners import winner_sheets
from trainables.usage import UsageError, choose

VERDICTS = {
    "better": "better",
    "worse": "worse",
    "undecided": "undecided",
    "diverged": "not tested because it or the baseline diverged",
    "n/a": "not to be tested",
}
"""What can come out, and how it is said."""

ALWAYS_TOLD = ("better", "worse", "undecided")

EXPLANATION = (
    "difference: the setting's metric less the baseline's with the same seed, mean "
    "over the n seeds that both have, ± half of its 95% t-interval (of this difference "
    "by itself). p: paired t-test, two-sided. effect: Cohen's d_z, the mean difference "
    "over its standard deviation, with Hedges' correction for small samples.",
    "Not tested: settings or baselines of which some runs diverged (a difference over "
    "those that survived is biased, and only shown), and differences of fewer than two "
    "seeds or that do not vary (n/a).",
    f"The best baseline, as the winner, has the highest {CHOSEN_BY.replace('_', ' ')} "
    "over the seeds that all settings have, and none of its runs diverged. On the "
    "seeds that chose it a winner looks too good: only others can confirm it.",
)
"""What a reader of the comparison needs to know."""

AGAINST_FRESH = (
    "relative: of accuracy less that of a network that is reset at every task, task by "
    "task and seed by seed: one of the same optimizer and hyperparameters where the "
    "records have it, else of plain SGD with the same learning rate."
)


def print_comparison(
    results: str = "results",
    baseline: str = "sgd",
    metric: str = "plasticity_loss",
    format: str = "rich",
    study: str | None = None,
    problem: str | None = None,
) -> None:
    """Print how every setting does against a baseline, and how the winner does.

    Args:
        results: What `analysis.records.load.load` takes.
        baseline: An optimizer, an intervention or "none".
        metric: Of `analysis.statistics.metrics`.
        format: One of `formats.FORMATS`, or csv: full-precision numbers, the
            notes and the verdict going to standard error.
        study: Only this study.
        problem: Only this problem.

    Raises:
        UsageError: There are no records, a name is unknown, or there is nothing but
            the baseline.
    """
    choose("format", format, [*FORMATS, "csv"])
    find_metric(metric)
    frame = load(results, [*NEEDED, "test_accuracy"])
    for column, value in (("study", study), ("problem", problem)):
        if value is not None:
            choose(column, value, frame[column].unique())
    data = compare(frame, metric, baseline, study, problem)
    if data.empty:
        raise UsageError(
            f"all settings in {results} have {baseline}: there is nothing to compare"
        )
    won = confirm(frame, metric, baseline, study, problem)
    sheets = [*comparison_sheets(data, baseline), *winner_sheets(won, data, baseline)]
    words = [*verdicts(data, baseline)]
    rows = pd.concat([data, won], ignore_index=True)
    fresh = [AGAINST_FRESH] if find_metric(metric).relative else []
    print_sheets(rows, sheets, [*EXPLANATION, *fresh, family(data), *words], format)
    if format == "csv":
        for line in words:
            print(f"note: {line}", file=sys.stderr)


def family(data: pd.DataFrame) -> str:
    """Return over which tests the p-values of a comparison are corrected."""
    pairs = ["study", "setting_id", "baseline_id"]
    tests = len(data.dropna(subset="p").drop_duplicates(pairs))
    return (
        f"p (Holm): corrected over the {tests} tests of different pairs of settings in "
        f"this comparison (Holm 1979); below {LEVEL:g} a setting is better or worse. "
        "The winners' are a family of their own: what is tested on confirming seeds."
    )


def verdicts(data: pd.DataFrame, baseline: str) -> Iterator[str]:
    """Yield for each study and problem how many settings do better, worse, neither."""
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        said = []
        for against, name in zip(
            AGAINST,
            (f"{baseline} with all else equal", f"the best {baseline}"),
            strict=True,
        ):
            these = part[part["against"] == against]
            counts = these["verdict"].value_counts()
            told = ", ".join(
                f"{counts.get(verdict, 0)} {word}"
                for verdict, word in VERDICTS.items()
                if verdict in counts or verdict in ALWAYS_TOLD
            )
            said.append(f"against {name} {told}")
        lost = part.loc[part["diverged_seeds"] != "", "label"].drop_duplicates()
        names = ", ".join(lost[:LONGEST])
        if len(lost) > LONGEST:
            names += f" and {len(lost) - LONGEST} more"
        ended = f" Diverged with some seed: {names}." if names else ""
        count = part["setting_id"].nunique()
        metric = part["metric"].iloc[0].replace("_", " ")
        yield (
            f"{problem}, study {study}, {metric}: of {count} settings, "
            f"{'; '.join(said)}.{ended}"
        )
