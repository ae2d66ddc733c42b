"""Print the comparison of every setting with a baseline, and the winners."""

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

    Raises:
        UsageError: There are no readable records, a name is unknown, or all settings
            have the baseline.
    """
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
    relative = [RELATIVE_EXPLANATION] if measure.relative else []
    explanation = [*EXPLANATION, *relative, describe_correction(data), *verdicts]
    all_rows = pd.concat([data, winners], ignore_index=True)
    print_sheets(all_rows, sheets, explanation, format)
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


def comparison_sheets(data: pd.DataFrame, baseline: str) -> Iterator[Sheet]:
    """Yield a sheet for each study, problem and kind of baseline of a `compare`."""
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
    """Return the number of pairs, and of the seeds that could have made one."""
    columns = ("diverged_seeds", "baseline_diverged_seeds", "missing_seeds")
    lost = {seed for name in columns for seed in row[name].split()}
    total = row["pairs"] + len(lost)
    return f"{row['pairs']} of {total}" if lost else str(row["pairs"])


def write_p(p: float | None) -> str:
    """Return a p-value to the digits that matter.

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
"""The columns of the effect size and of the p-values."""


def _notes(rows: Sequence[Row], baseline: str) -> Iterator[str]:
    """Yield which seeds are not compared, and why; each setting once."""
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
            f"baseline none: no {baseline} setting has a complete run of every seed "
            "that all settings have."
        )


def winner_sheets(
    winners: pd.DataFrame, data: pd.DataFrame, baseline: str
) -> Iterator[Sheet]:
    """Yield a sheet per study: each winner on choosing and on confirming seeds.

    `winners` is as `confirm` returns it, and `data` as `compare`.
    """
    for study, part in data.groupby("study", sort=False):
        own = plain_rows(winners[winners["study"] == study]) if len(winners) else []
        yield make_sheet(
            f"study {study}: the winner against the best {baseline}, "
            "on seeds that did not choose it",
            "chosen by mean accuracy; the choosing seeds overstate the winner and are "
            "shown for comparison",
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
"""The columns of a `winner_sheets`."""


def _winner_notes(
    rows: Sequence[Row], study: str, problems: Iterable[str]
) -> Iterator[str]:
    """Yield which seeds chose the winners, and how to run others."""
    for row in rows:
        if row["metric"] == CHOSEN_BY:
            seeds = name_seeds(row["paired_seeds"]) if row["pairs"] else "no seeds yet"
            yield f"{row['problem']}: {row['label']}, {row['against']}: {seeds}."
    confirming = [row for row in rows if row["against"] == "confirming"]
    if any(row["metric"] == CHOSEN_BY and not row["pairs"] for row in confirming):
        yield (
            f"A winner has no confirming seeds yet: python -m study.sweep {study} "
            "--confirm-seeds 10 runs ten for it and ten for the best baseline."
        )
    for row in confirming:
        if row["missing_seeds"]:
            metric, seeds = row["metric"].replace("_", " "), row["missing_seeds"]
            yield (
                f"{row['problem']}: {row['label']} or {row['baseline_label']} has no "
                f"{metric} of {name_seeds(seeds)}."
            )
    for problem in problems:
        if all(row["problem"] != problem for row in rows):
            yield (
                f"{problem}: there is no winner, because no setting (or no baseline of "
                "one) has a complete run of every seed that all settings have."
            )
