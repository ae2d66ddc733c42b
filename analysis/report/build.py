"""Build the parts of a report with the functions that the commands call.

If a part cannot be made, the report shows the reason instead. To add a part, write a
function and add a line to `PARTS`. For a figure in `FIGURES`, only add the line.
"""

from __future__ import annotations

import functools
import shlex
import sys
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pandas as pd

from analysis.comparing import published
from analysis.comparing.claims import claims
from analysis.comparing.compare import Question, compare, confirm
from analysis.comparing.evidence import UNMEASURED
from analysis.comparing.relations import indicators, relation
from analysis.figures import FIGURES
from analysis.figures.picture import SIZES, Columns, View
from analysis.records.measure import common_measure
from analysis.records.runs import by_problem, by_setting
from analysis.statistics.metrics import DEFAULT, MEASURE, MEASURES, METRICS
from analysis.tables import TABLES, about, comparison, relations
from analysis.tables import claims as claim_tables
from analysis.tables import replication as replication_tables
from analysis.tables.definitions import definition_sheets
from analysis.tables.formats import Sheet
from analysis.tables.headline import headlines
from trainables.usage import UsageError

BASELINE = "sgd"
"""The baseline of the comparison in a report."""

PROBES = ["start_sharpness"]
"""The measurements that a report correlates with accuracy."""


@attrs.frozen
class Svg:
    """A picture of a figure."""

    text: str  # an SVG file
    inches: float  # its width


@attrs.frozen(kw_only=True)
class Drawing:
    """A figure in a report."""

    figure: str  # one of `analysis.figures.FIGURES`
    data: pd.DataFrame  # the numbers that the figure draws
    alt: str  # a description in words, for screen readers
    numbers: list[Sheet]  # the numbers as text
    wide: Svg  # for a wide screen
    narrow: Svg  # for a phone


@attrs.frozen(kw_only=True)
class Part:
    """A section of a report: its content, or the reason why it was left out."""

    key: str  # unique in the report
    title: str
    command: str = ""  # the shell command that prints or draws this part alone
    lead: str = ""  # sentences that say what the part shows
    findings: tuple[str, ...] = ()  # sentences that state the results
    sheets: tuple[Sheet, ...] = ()
    explanation: tuple[str, ...] = ()  # sentences that explain the sheets
    drawing: Drawing | None = None
    problem: str = ""  # why the part was left out; empty if it was made
    failed: bool = False  # whether an error in this program is the reason


@attrs.frozen(kw_only=True)
class Source:
    """The input from which the report of one study is made."""

    results: str  # the folder, file or URI of the records
    several: bool  # whether `results` has more than one study
    # The records of all studies: relative metrics can need runs of another study.
    all_records: pd.DataFrame
    columns: Columns  # the columns of the records
    facts: about.StudyFacts  # the facts about this study, with its records

    @functools.cached_property
    def measure(self) -> str:
        """The measure of the problems of the study: see `common_measure`."""
        return common_measure(map(str, self.facts.records["problem"].unique()))

    def measure_option(self) -> list[str]:
        """Return the option --measure if a command needs it, else nothing."""
        return ["--measure", self.measure] if self.measure != MEASURE else []

    def command(self, name: str, *options: str) -> str:
        """Return the shell command for an analysis command with these arguments."""
        return shlex.join(["python", "-m", "analysis", name, *options])

    def command_where(self, name: str, *options: str) -> str:
        """Return the shell command for the records of this study only."""
        quoted = self.facts.study.replace("'", "''")
        condition = ["--where", f"study = '{quoted}'"] if self.several else []
        return self.command(name, self.results, *options, *condition)

    def study_option(self) -> list[str]:
        """Return the option --study NAME if there are several studies, else nothing."""
        return ["--study", self.facts.study] if self.several else []


Content = dict[str, Any]  # the attributes of a `Part`, by name


def build_parts(source: Source) -> list[Part]:
    """Return all parts of the report of one study."""
    return [_build(key, source) for key in PARTS]


def _build(key: str, source: Source) -> Part:
    title, make = PARTS[key]
    try:
        if source.facts.records.empty and key not in ("about", "definitions"):
            raise UsageError("there are no records yet")
        return Part(key=key, title=title, **make(source))
    except UsageError as error:
        return Part(key=key, title=title, problem=str(error))
    except Exception as error:  # an error must not stop the other parts
        traceback.print_exc(file=sys.stderr)
        reason = f"this program failed ({type(error).__name__}: {error})"
        return Part(key=key, title=title, problem=reason, failed=True)


def _about(source: Source) -> Content:
    return {
        "command": source.command_where("about"),
        "sheets": tuple(about.about_sheets(source.facts)),
        "explanation": about.EXPLANATION,
    }


def _table(source: Source) -> Content:
    table, measure = TABLES["accuracy"], source.measure
    return {
        "command": source.command_where("table", *source.measure_option()),
        "sheets": tuple(table.sheets(table.data(source.facts.records, measure))),
        "explanation": table.explanation,
    }


def _question(source: Source) -> Question:
    study = source.facts.study if source.several else None
    metric = METRICS[DEFAULT].of(source.measure)
    return Question(metric=metric, baseline=BASELINE, study=study)


def _compare_command(source: Source) -> str:
    options = *source.study_option(), *source.measure_option()
    return source.command("compare", source.results, *options)


def _answer(source: Source) -> Content:
    question = _question(source)
    winners = confirm(source.all_records, question)
    return {
        "command": _compare_command(source),
        "findings": tuple(headlines(winners, question)),
    }


def _claims(source: Source) -> Content:
    data = claims(source.facts.records, source.results)
    if (data["verdict"] == UNMEASURED).all():
        raise UsageError(
            "the claims are about SGD, SAM and GNP at two learning rates, and this "
            "study does not have all of them: run python -m study.sweep paper"
        )
    return {
        "lead": "What these records say of the claims of Koster & Kukla 2024.",
        "command": source.command("claims", source.results),
        "sheets": (claim_tables.verdict_sheet(data), claim_tables.number_sheet(data)),
        "explanation": claim_tables.EXPLANATION,
    }


def _compare(source: Source) -> Content:
    question = _question(source)
    data = compare(source.all_records, question)
    if data.empty:
        raise UsageError(f"there is nothing to compare: all settings use {BASELINE}")
    winners = confirm(source.all_records, question)
    metric = question.metric
    return {
        "lead": f"Every setting is compared with {BASELINE.upper()}, seed by seed. The "
        f"metric is {metric.words}: {metric.definition}.",
        "command": _compare_command(source),
        "findings": (
            *comparison.describe_verdicts(data, question),
            *comparison.describe_power(data, question),
        ),
        "sheets": (
            *comparison.comparison_sheets(data, question),
            *comparison.method_sheets(winners, data, question),
        ),
        "explanation": tuple(comparison.explain(data, question)),
    }


def _relate(source: Source) -> Content:
    records = source.facts.records
    _check_labels(source)
    if records[PROBES].isna().all(axis=None):
        raise UsageError(
            "sharpness before a task was not measured: run the study with "
            "--landscape-every 1"
        )
    return {
        "command": source.command_where("relate", "--probe", *PROBES),
        "sheets": (
            *relations.indicator_sheets(indicators(records, PROBES)),
            *relations.relation_sheets(relation(records, PROBES)),
        ),
        "explanation": (*relations.INDICATORS_EXPLANATION, *relations.EXPLANATION),
    }


def _figure(name: str, source: Source) -> Content:
    """Return the content of the part that shows a figure from `FIGURES`."""
    picture, records = FIGURES[name], source.facts.records
    lead = f"{picture.meaning[0].upper()}{picture.meaning[1:]}."
    options, measure = source.study_option(), source.measure
    if picture.any_measure:
        options += source.measure_option()
    elif picture.needs_labels:
        _check_labels(source)
    view = View(metrics=picture.metrics, measure=measure)
    shown = records
    if picture.compares:  # the baselines are not among the settings of the figure
        compared = picture.data(records, view, source.columns)["setting_id"]
        shown = records[records["setting_id"].isin(compared)]
    chosen = settings_to_draw(shown, picture.most, measure) if picture.most else []
    if chosen:
        options += ["--setting", *chosen]
        lead += (
            f" There are {shown['setting_id'].nunique()} settings, too many for one "
            "figure. For each optimizer, the figure shows the settings with the best "
            f"mean {MEASURES[measure].words}. It leaves out settings with a diverged "
            "run."
        )
        if not picture.compares:
            records = records[records["setting_id"].isin(chosen)]
    _check_worth(name, records)
    data = picture.data(records, view, source.columns)
    if chosen and picture.compares:
        data = data[data["setting_id"].isin(chosen)]
    alt = [f"{picture.meaning}, study {source.facts.study}."]
    if picture.most:
        for problem, part in data.groupby("problem", sort=False):
            alt.append(f"{problem}: {', '.join(part['label'].unique())}.")
    alt.append("The numbers are in the table that follows.")
    options += ["-o", f"{name}.svg"]
    return {
        "lead": lead,
        "command": source.command("figure", name, source.results, *options),
        "drawing": Drawing(
            figure=name,
            data=data,
            alt=" ".join(alt),
            numbers=picture.numbers(data),
            wide=_draw(name, data),
            narrow=_draw(name, data, SIZES["one-column"]),
        ),
    }


def _check_labels(source: Source) -> None:
    """Raise a UsageError if the study has only problems of control."""
    if source.measure != MEASURE:
        raise UsageError(
            "this part is about tasks with labels, and this study has only problems of "
            "control"
        )


def _check_worth(name: str, records: pd.DataFrame) -> None:
    """Raise a UsageError if a figure of rho has one rho, or one of sharpness none."""
    rhos = sorted(records["rho"].dropna().unique().tolist())
    if name in ("dose", "rho") and len(rhos) < 2:
        known = f"only one, {rhos[0]:g}" if rhos else "none"
        raise UsageError(
            f"a picture of rho needs several values of rho, but there is {known}: run "
            "a study with several, for example python -m study.sweep rho-small"
        )
    sharpness = records[["sharpness", "start_sharpness"]]
    if name == "sharpness" and sharpness.isna().all(axis=None):
        raise UsageError(
            "sharpness was not measured: run the study with --landscape-every N to "
            "measure it at every Nth task"
        )


def _draw(name: str, data: pd.DataFrame, width: float | None = None) -> Svg:
    """Draw a figure that is `width` inches wide; None means its default width."""
    content, inches = FIGURES[name].render(data, "svg", width)
    return Svg(content.decode("utf-8"), inches)


def settings_to_draw(
    frame: pd.DataFrame, most: int, measure: str = MEASURE
) -> list[str]:
    """Return the IDs of the settings to draw; an empty list means all settings.

    A panel can show `most` settings of a problem. If there are more, choose about half
    of `most` for each problem: settings without a diverged run that have the best mean
    of the measure. Each optimizer gets the same share.

    Raises:
        UsageError: Each setting has a diverged run or no complete run.
    """
    settings = frame.drop_duplicates("setting_id")
    if settings.groupby("problem", observed=True).size().max() <= most:
        return []
    chosen: list[str] = []
    sign = -1 if MEASURES[measure].higher else 1
    for _, group, _ in by_problem(by_setting(frame, measure)):
        good = [runs for runs in group if runs.seeds and not runs.diverged]
        good.sort(key=lambda runs: sign * float(runs.matrix.mean()))
        kinds = list(dict.fromkeys(runs.setting["optimizer"] for runs in good))
        each = max(1, most // 2 // max(1, len(kinds)))
        for kind in kinds[:most]:
            own = [r.setting_id for r in good if r.setting["optimizer"] == kind]
            chosen += own[:each]
    if not chosen:
        raise UsageError(
            f"{len(settings)} settings are too many for one figure, and the report "
            "cannot choose the best of them, because each has a diverged run or no "
            "complete run: choose settings with python -m analysis figure --setting ID"
        )
    return chosen


def _replication(source: Source) -> Content:
    data = published.replication(source.facts.records)
    return {
        **_figure("replication", source),
        "findings": tuple(replication_tables.verdicts(data)),
        "sheets": tuple(replication_tables.replication_sheets(data)),
        "explanation": replication_tables.EXPLANATION,
    }


def _lost_runs(source: Source) -> Content:
    counts = source.facts.counts
    incomplete = counts[counts["complete"] < counts["expected"]]
    if incomplete.empty:
        return {"lead": "No run is missing: every requested run is complete."}
    sheets = [
        about.runs_sheet(source.facts.study, str(problem), part)
        for problem, part in incomplete.groupby("problem", sort=False)
    ]
    return {
        "lead": f"{len(incomplete)} of {len(counts)} settings have diverged, "
        "incomplete or missing runs. The means in this report leave these runs out.",
        "command": source.command_where("about"),
        "sheets": tuple(sheets),
    }


def _definitions(source: Source) -> Content:
    measured = source.all_records.notna().any()
    columns = {
        name: column
        for name, column in source.columns.items()
        if column.role == "measure" and measured.get(name, default=False)
    }
    return {"sheets": tuple(definition_sheets(columns))}


def _figure_part(name: str) -> tuple[str, Callable[[Source], Content]]:
    return FIGURES[name].title, functools.partial(_figure, name)


PARTS: dict[str, tuple[str, Callable[[Source], Content]]] = {
    "answer": ("The answer", _answer),
    "forest": _figure_part("forest"),
    "claims": ("The claims of the paper", _claims),
    "table": ("Accuracy along the stream (Tables 1 and 2)", _table),
    "accuracy": _figure_part("accuracy"),
    "difference": _figure_part("difference"),
    "compare": ("Every setting against SGD", _compare),
    "dose": _figure_part("dose"),
    "rho": _figure_part("rho"),
    "sharpness": _figure_part("sharpness"),
    "relate": ("Does sharpness predict the accuracy that follows?", _relate),
    "capacity": _figure_part("capacity"),
    "tasks": _figure_part("tasks"),
    "forgetting": _figure_part("forgetting"),
    "replication": (FIGURES["replication"].title, _replication),
    "lost": ("Diverged and missing runs", _lost_runs),
    "about": ("What was run", _about),
    "definitions": ("What every number means", _definitions),
}
"""The title of each part by key, and the function that makes its content."""
