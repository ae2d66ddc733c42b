"""Print tables that compare every setting, and the best one, with a baseline."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import pandas as pd

from analysis.comparing.compare import AGAINST, CHOSEN_BY, compare, confirm
from analysis.comparing.verdicts import LEVEL
from analysis.records.load import load
from analysis.records.runs import varying_columns
from analysis.statistics.metrics import find_metric
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import (
    ALWAYS,
    first_and_count,
    metric_and_unit,
    metric_difference,
    metric_value,
    name_seeds,
    plain_rows,
    settings_of,
    shorten,
    unit_of,
    value_cell,
)
from trainables.usage import UsageError, choose

VERDICTS = {
    "better": "better",
    "worse": "worse",
    "undecided": "undecided",
    "diverged": "not tested because a run diverged",
    "n/a": "not testable",
}
"""The words for each verdict. Better, worse and undecided always get a count."""

EXPLANATION = (
    "difference: the metric of the setting minus the metric of the baseline with the "
    "same seed. The mean is over the n seeds that both settings have, ± half of its "
    "95% t-interval. p: the p-value of a two-sided paired t-test. effect: Cohen's d_z, "
    "which is the mean of the differences divided by their standard deviation, with "
    "Hedges' correction for small samples.",
    "A setting is not tested if one of its runs or of the baseline's runs diverged. "
    "Its difference is shown, but biased, because it is over the remaining runs only. "
    "n/a: a setting is also not tested if it has no baseline, if the two share fewer "
    "than two seeds, or if all differences are equal.",
    "The best baseline is the baseline setting with the highest "
    f"{CHOSEN_BY.replace('_', ' ')} over the seeds that all settings have. The winner "
    "is the best of the other settings. A setting with a diverged run on these seeds "
    "cannot be chosen. The seeds that chose the winner overstate its accuracy, so only "
    "other seeds can confirm it.",
)

RELATIVE_EXPLANATION = (
    "relative: from the accuracy on each task, the accuracy of a fresh network on the "
    "same task and seed is subtracted first. A fresh network is reset at every task. "
    "Its optimizer and hyperparameters are those of the setting. If the records have "
    "no such network, plain SGD with the same learning rate takes its place."
)


def print_comparison(
    results: str = "results",
    baseline: str = "sgd",
    metric: str = "plasticity_loss",
    format: str = "rich",
    study: str | None = None,
    problem: str | None = None,
) -> None:
    """Print how every setting, and the best setting, compare with a baseline.

    Raises:
        UsageError: There are no readable records, the name of an argument is unknown,
            or all settings belong to the baseline.
    """
    measure = find_metric(metric)
    frame = load(results, ["test_accuracy"])
    for column, value in (("study", study), ("problem", problem)):
        if value is not None:
            choose(column, value, frame[column].unique())
    data = compare(frame, measure, baseline, study, problem)
    if data.empty:
        raise UsageError(
            f"there is nothing to compare: all settings in {results} belong to the "
            f"baseline {baseline} (choose another with --baseline)"
        )
    winners = confirm(frame, measure, baseline, study, problem)
    sheets = [
        *comparison_sheets(data, baseline),
        *winner_sheets(winners, data, baseline),
    ]
    verdicts = [*describe_verdicts(data, baseline)]
    relative = [RELATIVE_EXPLANATION] if measure.relative else []
    explanation = [*EXPLANATION, *relative, describe_correction(data), *verdicts]
    all_rows = pd.concat([data, winners], ignore_index=True)
    print_sheets(all_rows, sheets, explanation, format)
    if format == "csv":
        for line in verdicts:
            print(f"note: {line}", file=sys.stderr)


def describe_correction(data: pd.DataFrame) -> str:
    """Return a sentence on the number of tests in the result of `compare`."""
    pairs = ["study", "setting_id", "baseline_id"]
    tests = len(data.dropna(subset="p").drop_duplicates(pairs))
    return (
        "p (Holm): the p-value with Holm's correction (Holm 1979) for the number of "
        f"tests in this comparison, which is {tests}. A setting with p (Holm) below "
        f"{LEVEL:g} is better or worse than the baseline. The tests of the winners on "
        "confirming seeds are corrected separately."
    )


def describe_verdicts(data: pd.DataFrame, baseline: str) -> Iterator[str]:
    """Yield a text per study and problem that counts the settings by verdict."""
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
            clauses.append(f"Against {name}: {numbers}.")
        diverged = part.loc[part["diverged_seeds"] != "", "label"].unique().tolist()
        ending = f" Settings with a diverged run: {first_and_count(diverged)}."
        yield (
            f"{problem}, study {study}, {part['metric'].iloc[0].replace('_', ' ')}: "
            f"{part['setting_id'].nunique()} settings. {' '.join(clauses)}"
            f"{ending if diverged else ''}"
        )


def comparison_sheets(data: pd.DataFrame, baseline: str) -> Iterator[Sheet]:
    """Yield one sheet per study, problem and kind of baseline from a `compare`."""
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        for against in AGAINST:
            rows = plain_rows(part[part["against"] == against])
            yield _sheet(f"{problem}, study {study}", rows, baseline)


def _sheet(title: str, rows: Sequence[Row], baseline: str) -> Sheet:
    metric = find_metric(rows[0]["metric"])
    level = unit_of(metric) if metric.relative or metric.per_task else "%"
    differing = [
        n for n in varying_columns(settings_of(rows, "label")) if n not in ALWAYS
    ]
    named = [n for n in (*ALWAYS, *differing) if any(r[n] is not None for r in rows)]
    opponent, several = f"the best {baseline}", False
    if rows[0]["against"] == "matched":
        opponent = f"{baseline} with all else equal"
    elif best := {row["baseline_label"] for row in rows if row["baseline_label"]}:
        several = len(best) > 1
        opponent += "" if several else f", {best.pop()}"
    cells: Cells = {
        **{Column(n, right=n != "optimizer"): value_cell(n) for n in named},
        **({Column("baseline"): _baseline} if several else {}),
        number("n"): _pairs,
        number("setting", level): partial(metric_value, name="mean"),
        number("baseline's" if several else "baseline", level): partial(
            metric_value, name="baseline_mean"
        ),
        number("difference", unit_of(metric)): metric_difference,
        **TESTED,
        Column("verdict"): value_cell("verdict"),
    }
    better = "higher" if metric.higher else "lower"
    return make_sheet(
        f"{title}: against {opponent}",
        f"{metric.name.replace('_', ' ')}: {metric.definition} ({better} is better)",
        cells,
        rows,
        _notes(rows, baseline),
    )


def _baseline(row: Row) -> str:
    return row["baseline_label"] or "none"


def _pairs(row: Row) -> str:
    """Return the number of paired seeds, as "2 of 3" if a seed has no pair."""
    columns = ("diverged_seeds", "baseline_diverged_seeds", "missing_seeds")
    lost = {seed for name in columns for seed in row[name].split()}
    total = row["pairs"] + len(lost)
    return f"{row['pairs']} of {total}" if lost else str(row["pairs"])


def write_p(p: float | None) -> str:
    """Return a p-value as text: with three decimals, or in scientific notation.

    >>> write_p(0.04321), write_p(0.0000321), write_p(1.0), write_p(0.0), write_p(None)
    ('0.043', '3e-05', '1.000', '<1e-99', 'n/a')
    """
    if p is None:
        return "n/a"
    if p < 1e-99:
        return "<1e-99"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


TESTED: Cells = {
    number("effect", "d_z"): (
        lambda row: "n/a" if row["effect"] is None else f"{row['effect']:.2f}"
    ),
    number("p"): lambda row: write_p(row["p"]),
    number("p", "Holm"): lambda row: write_p(row["p_holm"]),
}
"""The table columns for the effect size and the p-values."""


def _notes(rows: Sequence[Row], baseline: str) -> Iterator[str]:
    """Yield notes on seeds that are not compared and on missing baselines."""
    notes: dict[str, list[str]] = {"diverged": [], "missing": [], "no baseline": []}
    for row in rows:
        label, opponent = row["label"], row["baseline_label"]
        if row["baseline_diverged_seeds"]:
            seeds = name_seeds(row["baseline_diverged_seeds"])
            notes["diverged"].append(f"The baseline {opponent} diverged with {seeds}.")
        if row["against"] == "best":
            continue
        if row["diverged_seeds"]:
            seeds = name_seeds(row["diverged_seeds"])
            notes["diverged"].append(f"{label} diverged with {seeds}.")
        if row["missing_seeds"]:
            seeds = name_seeds(row["missing_seeds"])
            line = f"{label} or its baseline has no complete run of {seeds}."
            notes["missing"].append(line)
        if opponent is None:
            line = f"{label} has no single {baseline} baseline with all else equal."
            notes["no baseline"].append(line)
    for kind, lines in notes.items():
        yield from shorten(list(dict.fromkeys(lines)), f" ({kind})")
    if rows[0]["against"] == "best" and any(not row["baseline_id"] for row in rows):
        yield (
            f"Rows without a baseline: no {baseline} setting could be chosen. The best "
            "baseline must have a complete run of every seed that all settings have."
        )


def winner_sheets(
    winners: pd.DataFrame, data: pd.DataFrame, baseline: str
) -> Iterator[Sheet]:
    """Yield one sheet per study that compares each winner with the best baseline.

    A winner is the best setting of a problem. The rows are for the seeds that chose
    the winner (choosing) and for other seeds (confirming).

    Args:
        winners: The result of `confirm`.
        data: The result of `compare`.
        baseline: The name of the baseline.
    """
    for study, part in data.groupby("study", sort=False):
        own = plain_rows(winners[winners["study"] == study]) if len(winners) else []
        yield make_sheet(
            f"study {study}: the winner against the best {baseline}",
            "the choosing seeds chose the winner by mean accuracy, so they overstate "
            "its accuracy; only the confirming seeds are tested",
            WINNER,
            own,
            _winner_notes(own, str(study), part["problem"].unique()),
        )


def _winner_verdict(row: Row) -> str:
    return "chosen" if row["against"] == "choosing" else str(row["verdict"])


WINNER: Cells = {
    Column("problem"): value_cell("problem"),
    Column("winner"): value_cell("label"),
    Column("baseline"): value_cell("baseline_label"),
    Column("metric"): metric_and_unit,
    Column("seeds"): value_cell("against"),
    number("n"): _pairs,
    number("difference"): metric_difference,
    **TESTED,
    Column("verdict"): _winner_verdict,
}
"""The columns of the sheets that `winner_sheets` yields."""


def _winner_notes(
    rows: Sequence[Row], study: str, problems: Iterable[str]
) -> Iterator[str]:
    """Yield notes on the seeds of the winners, and how to run confirming seeds."""
    for row in rows:
        if row["metric"] == CHOSEN_BY:
            seeds = name_seeds(row["paired_seeds"]) if row["pairs"] else "none yet"
            yield f"{row['problem']}, {row['label']}, {row['against']} seeds: {seeds}."
    confirming = [row for row in rows if row["against"] == "confirming"]
    if any(row["metric"] == CHOSEN_BY and not row["pairs"] for row in confirming):
        yield (
            "A winner has no confirming seeds yet. To run ten seeds of the winner and "
            "of the best baseline, run python -m study.sweep "
            f"{study} --confirm-seeds 10."
        )
    for row in confirming:
        if row["missing_seeds"]:
            metric, seeds = row["metric"].replace("_", " "), row["missing_seeds"]
            yield (
                f"{row['problem']}: {row['label']} or {row['baseline_label']} has no "
                f"{metric} with {name_seeds(seeds)}."
            )
    for problem in problems:
        if all(row["problem"] != problem for row in rows):
            yield (
                f"{problem}: there is no winner. A winner and its best baseline must "
                "have a complete run of every seed that all settings have."
            )
