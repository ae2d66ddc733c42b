"""Print how every setting and the best of each method compare with a baseline."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import attrs
import pandas as pd

from analysis.comparing.compare import AGAINST, Question, compare_and_confirm
from analysis.comparing.verdicts import VERDICTS
from analysis.records.load import EVERYTHING, Selection, load
from analysis.records.runs import plain_rows, varying_columns
from analysis.statistics.metrics import MEASURES, Metric
from analysis.statistics.power import LEVEL, seeds_needed
from analysis.tables.cautions import cautions
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.headline import headlines
from analysis.tables.words import (
    ALWAYS,
    baseline_words,
    best_words,
    first_and_count,
    metric_cell,
    name_seeds,
    settings_of,
    shorten,
    unit_of_difference,
    unit_of_level,
    value_cell,
    write_difference,
    write_interval,
    write_p,
    write_value,
)
from trainables.usage import UsageError, choose

RELATIVE_EXPLANATION = (
    "relative: before the metric is computed, the accuracy of a network that is reset "
    "at every task is subtracted, on the same task and seed. That network has the same "
    "optimizer and hyperparameters if the records have such a network. Otherwise it "
    "has plain SGD with the same learning rate."
)


def print_comparison(
    results: str,
    question: Question,
    format: str = "rich",
    *,
    detect: float | None = None,
    selection: Selection = EVERYTHING,
) -> None:
    """Print how every setting, and the best of each method, compare with a baseline.

    If `detect` is given, a difference in the unit of the table, print how many seeds
    are needed to find it. The other arguments are as in `print_tables`.

    Raises:
        UsageError: There are no readable records, a name is unknown, or no setting is
            left to compare with the baseline.
    """
    frame = load(results, (), *selection, measure=question.metric.measure)
    for column in ("study", "problem"):
        value = getattr(question, column)
        if value is not None:
            choose(column, value, frame[column].unique())
    data, winners = compare_and_confirm(frame, question)
    if data.empty:
        raise UsageError(
            f"nothing to compare in {results}: every setting that has a "
            f"{question.metric.words} belongs to the baseline {question.baseline}; "
            "choose another baseline with --baseline"
        )
    sheets = [
        *comparison_sheets(data, question),
        *method_sheets(winners, data, question),
    ]
    verdicts = [
        *headlines(winners, question),
        *describe_verdicts(data, question),
        *describe_power(data, question, detect),
    ]
    all_rows = pd.concat([data, winners], ignore_index=True)
    print_sheets(all_rows, sheets, [*explain(data, question), *verdicts], format)
    if format == "csv":
        for line in verdicts:
            print(f"note: {line}", file=sys.stderr)


def explain(data: pd.DataFrame, question: Question) -> list[str]:
    """Return sentences that explain the tables of a comparison."""
    metric = question.metric
    margin = f"{write_value(question.margin, metric)} {unit_of_difference(metric)}"
    lines = [
        "difference: the metric of the setting minus the metric of the baseline with "
        "the same seed. It is the mean over the n seeds that the setting and the "
        "baseline both have, ± half of its 95% t-interval. p: two-sided paired t-test.",
        f"p (Holm): corrected for all tests of one study, problem and metric (Holm "
        f"1979). A setting with a corrected p below {LEVEL:g} is better or worse. The "
        "tests of the methods' best settings are corrected separately.",
        "detectable: the smallest true difference that this test would find with a "
        "probability of 80%, given the spread of the differences and the correction.",
        f"the same: the difference is shown to be within ± {margin} (two one-sided "
        "t-tests at 5%, not corrected), or exactly 0 with every seed. undecided: "
        "neither a difference nor sameness is shown, so undecided does not mean equal.",
    ]
    if metric.trend:
        level = metric.level
        limit = f"{write_value(question.margin, level)} {unit_of_difference(level)}"
        lines.append(
            f"better: the trend is better, and the {level.words} is not lower "
            f"by more than {limit} (95% interval). flatter but lower: the trend is "
            "better, but the level is lower. A network that never learns is as flat as "
            "can be. flatter, level open: the trend is better, and the level is "
            "possibly lower."
        )
    lines.append(
        "not tested: pairs with a run that diverged (the difference of the other runs "
        "is shown, but it is biased); pairs in which neither setting learned more than "
        "chance; and pairs with fewer than two seeds, or whose differences are equal "
        "and not 0 (n/a)."
    )
    if metric.relative:
        lines.append(RELATIVE_EXPLANATION)
    else:
        lines += cautions(plain_rows(data))
    return lines


def describe_verdicts(data: pd.DataFrame, question: Question) -> Iterator[str]:
    """Yield a sentence for each study and problem that counts the verdicts."""
    baseline = question.baseline
    names = (f"{baseline_words(baseline)} with all else equal", best_words(baseline))
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        clauses = []
        for against, name in zip(AGAINST, names, strict=True):
            counts = part.loc[part["against"] == against, "verdict"].value_counts()
            numbers = ", ".join(
                f"{counts.get(verdict, 0)} {words}"
                for verdict, words in VERDICTS.items()
                if verdict in counts or verdict in ("better", "worse", "undecided")
            )
            clauses.append(f"{name}: {numbers}")
        diverged = part.loc[part["diverged_seeds"] != "", "label"].unique().tolist()
        ending = f" Diverged with some seed: {first_and_count(diverged)}."
        count = part["setting_id"].nunique()
        yield (
            f"{problem}, study {study}, {question.metric.words}: {count} "
            f"setting{'' if count == 1 else 's'}. Against {'; against '.join(clauses)}."
            f"{ending if diverged else ''}"
        )


def describe_power(
    data: pd.DataFrame, question: Question, detect: float | None = None
) -> Iterator[str]:
    """Yield a sentence for each study and problem on the power of its tests.

    The sentence says which difference half of the tests would have found. If `detect`
    is given, a difference in the unit of the table, the sentence also says how many
    seeds would find it with a probability of 80%.
    """
    metric = question.metric
    unit = unit_of_difference(metric)
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        part = part[(part["against"] == "matched") & part["p"].notna()]
        if part.empty:
            continue
        steps = [metric.steps(tasks) for tasks in part["tasks"]]
        detectable = (part["detectable"] * steps).median()
        line = (
            f"{problem}, study {study}: {part['tests'].iloc[0]:.0f} tests are "
            "corrected together. Half of the tests with all else equal would have "
            f"found a true difference of {write_value(detectable, metric)} {unit} with "
            "a probability of 80%."
        )
        if detect is not None:
            spread = float((part["sd"] * steps).median())
            effect = detect / MEASURES[metric.measure].scale / spread
            needed = seeds_needed(effect, int(part["tests"].iloc[0]))
            count = "more than 1000" if needed is None else needed
            line += f" To find {detect:g} {unit}, {count} seeds are needed."
        yield line


def comparison_sheets(data: pd.DataFrame, question: Question) -> Iterator[Sheet]:
    """Yield a sheet for each study, problem and kind of baseline."""
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        for against in AGAINST:
            rows = plain_rows(part[part["against"] == against])
            yield _sheet(f"{problem}, study {study}", rows, question)


def _sheet(title: str, rows: Sequence[Row], question: Question) -> Sheet:
    metric, baseline = question.metric, question.baseline
    names = dict.fromkeys([*ALWAYS, *varying_columns(settings_of(rows, "label"))])
    named = [n for n in names if any(row[n] is not None for row in rows)]
    several = False
    if rows[0]["against"] == "matched":
        opponent, chosen = f"{baseline_words(baseline)} with all else equal", ""
    else:
        opponent = best_words(baseline)
        if best := {row["baseline_label"] for row in rows if row["baseline_label"]}:
            several = len(best) > 1
            opponent += "" if several else f", {best.pop()}"
        chosen = (
            "; one half of the seeds chose the best baseline by its "
            f"{metric.level.absolute.words}, the other half is compared"
        )
    base = number("baseline's" if several else "baseline", unit_of_level(metric))
    cells: Cells = {
        **{Column(n, right=n != "optimizer"): value_cell(n) for n in named},
        Column("baseline"): lambda row: row["baseline_label"] or "none",
        number("n"): _pairs,
        number("setting", unit_of_level(metric)): metric_cell("mean", metric),
        base: metric_cell("baseline_mean", metric),
        **_tested(metric),
    }
    if not several:
        del cells[Column("baseline")]
    better = "higher" if metric.higher else "lower"
    return make_sheet(
        f"{title}: against {opponent}",
        f"{metric.words}: {metric.definition} ({better} is better){chosen}",
        cells,
        rows,
        _notes(rows, question),
    )


def _tested(metric: Metric) -> Cells:
    """Return the columns of the difference, the test and the verdict."""
    beside = "level" if metric.trend else "trend"
    other = metric.level if metric.trend else attrs.evolve(metric, per_task=True)
    unit = unit_of_difference(metric)
    return {
        number("difference", unit): partial(write_difference, metric=metric),
        number("detectable", unit): metric_cell("detectable", metric),
        number("p"): lambda row: write_p(row["p"]),
        number("p", "Holm"): lambda row: write_p(row["p_holm"]),
        number(f"{beside} beside", unit_of_difference(other)): partial(
            # `beside` is already a change over the stream. The level is not a rate per
            # task, so `write_interval` does not multiply `beside` by the tasks again.
            write_interval,
            name="beside",
            metric=metric.level,
        ),
        Column("verdict"): lambda row: (
            "chosen" if row["against"] == "choosing" else str(row["verdict"])
        ),
    }


def _pairs(row: Row) -> str:
    """Return the number of pairs, as in "8 of 10" if two seeds have no pair."""
    columns = ("diverged_seeds", "baseline_diverged_seeds", "missing_seeds")
    without_pair = {seed for name in columns for seed in row[name].split()}
    total = row["pairs"] + len(without_pair)
    return f"{row['pairs']} of {total}" if without_pair else str(row["pairs"])


def _notes(rows: Sequence[Row], question: Question) -> Iterator[str]:
    """Yield which seeds are not compared, and why. Name each setting once."""
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
            fresh = " or no fresh network" if question.metric.relative else ""
            line = f"{label} or its baseline has no complete run{fresh} of {seeds}."
            notes["missing"].append(line)
        if opponent is None:
            words = baseline_words(question.baseline)
            line = (
                f"{label} has no baseline: a baseline must be the only setting with "
                f"{words} and otherwise equal values."
            )
            notes["no baseline"].append(line)
    for kind, lines in notes.items():
        yield from shorten(list(dict.fromkeys(lines)), f" ({kind})")
    if rows[0]["against"] == "best" and any(not row["baseline_id"] for row in rows):
        yield (
            "Where the baseline is none, no setting can be the best baseline. Such a "
            f"setting needs {baseline_words(question.baseline)}, otherwise the same "
            "method, and complete runs of all seeds that choose the best baseline."
        )


def method_sheets(
    winners: pd.DataFrame, data: pd.DataFrame, question: Question
) -> Iterator[Sheet]:
    """Yield a sheet per study: the best of each method against the best baseline.

    `winners` is as `confirm` returns it, and `data` is as `compare` returns it.
    """
    metric = question.metric
    cells: Cells = {
        Column("problem"): value_cell("problem"),
        Column("best setting"): value_cell("label"),
        Column("baseline"): value_cell("baseline_label"),
        Column("seeds"): value_cell("against"),
        number("n"): _pairs,
        **_tested(metric),
    }
    for study, part in data.groupby("study", sort=False):
        own = plain_rows(winners[winners["study"] == study]) if len(winners) else []
        yield make_sheet(
            f"study {study}: the best of each method against "
            f"{best_words(question.baseline, metric)}",
            f"{metric.words}; the choosing seeds chose the best setting by "
            f"{metric.level.absolute.words}, so its difference is too good on these "
            "seeds; the other seeds judge it",
            cells,
            own,
            _method_notes(own, str(study), part["problem"].unique()),
        )


def _method_notes(
    rows: Sequence[Row], study: str, problems: Iterable[str]
) -> Iterator[str]:
    """Yield which seeds chose and which judged, and how to run more seeds."""
    problems_of: dict[str, dict[str, None]] = {}
    for row in rows:
        seeds = name_seeds(row["paired_seeds"]) if row["pairs"] else "no seed"
        names = problems_of.setdefault(f"{row['against']}: {seeds}", {})
        names[str(row["problem"])] = None
    for line, names in problems_of.items():
        yield f"{line} ({', '.join(names)})."
    if any(row["against"] == "held out" for row in rows):
        yield (
            "Half of the study's seeds judge. To judge the best setting of each method "
            f"by ten new seeds, run python -m study.sweep {study} --confirm-seeds 10."
        )
    for row in rows:
        if row["missing_seeds"]:
            yield (
                f"{row['problem']}: {row['label']} or {row['baseline_label']} has no "
                f"complete run of {name_seeds(row['missing_seeds'])}."
            )
    for problem in problems:
        if all(row["problem"] != problem for row in rows):
            yield (
                f"{problem}: no method has a best setting, because no setting, or no "
                "baseline, has complete runs of all seeds that choose the best one."
            )
