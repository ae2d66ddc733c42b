"""Build the parts of a report, from the functions that the commands call.

A part that cannot be made says why, and the others stand. To add one, write a function
and add a line to `PARTS`; a figure of `FIGURES` needs the line only.
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

from analysis.comparing.compare import compare, confirm
from analysis.comparing.relations import relation
from analysis.figures import FIGURES
from analysis.figures.by_task import LINES
from analysis.figures.picture import Columns
from analysis.records.runs import by_problem, by_setting
from analysis.statistics.metrics import METRICS
from analysis.tables import TABLES, about, comparison, relations
from analysis.tables.definitions import definition_sheets
from analysis.tables.formats import Sheet
from analysis.tables.words import too_many
from trainables.usage import UsageError

BASELINE, METRIC = "sgd", "plasticity_loss"
PROBES = ("start_sharpness",)


@attrs.frozen
class Drawing:
    """A figure in a report."""

    figure: str  # one of `analysis.figures.FIGURES`
    data: pd.DataFrame  # what it draws
    alt: str  # what it shows, in words
    numbers: list[Sheet]  # the data as text


@attrs.frozen(kw_only=True)
class Part:
    """A section of a report: its content, or the reason why there is none."""

    key: str  # unique in the report
    title: str
    command: str = ""  # prints or draws the same
    lead: str = ""  # a sentence on what the part shows
    findings: tuple[str, ...] = ()  # sentences on what came out
    sheets: tuple[Sheet, ...] = ()
    explanation: tuple[str, ...] = ()  # what a reader of the sheets needs to know
    drawing: Drawing | None = None
    problem: str = ""  # why the part could not be made; empty if it was
    failed: bool = False  # whether that is a fault of this program


@attrs.frozen(kw_only=True)
class Source:
    """What the report of a study is made from."""

    results: str  # where the records are
    several: bool  # whether there are other studies
    all_records: pd.DataFrame  # of all studies: another may have the fresh networks
    columns: Columns
    facts: about.StudyFacts  # of this study, with its records

    def command(self, name: str, *options: str) -> str:
        """Return the command that makes a part, as a shell reads it."""
        return shlex.join(["python", "-m", "analysis", name, *options])

    def command_where(self, name: str) -> str:
        """Return a command for the records of this study."""
        quoted = self.facts.study.replace("'", "''")
        where = ["--where", f"study = '{quoted}'"] if self.several else []
        return self.command(name, self.results, *where)

    def study_option(self) -> list[str]:
        """Return the option that names this study, if there are several."""
        return ["--study", self.facts.study] if self.several else []


Content = dict[str, Any]  # attributes of a `Part`


def build_parts(source: Source) -> list[Part]:
    """Return all parts of a study's report."""
    return [_build(key, source) for key in PARTS]


def _build(key: str, source: Source) -> Part:
    """Return one part, or the reason why it could not be made."""
    title, make = PARTS[key]
    try:
        if source.facts.records.empty and key not in ("about", "definitions"):
            raise UsageError("there are no records yet")
        return Part(key=key, title=title, **make(source))
    except UsageError as error:
        return Part(key=key, title=title, problem=str(error))
    except Exception as error:  # a fault in one part must not lose the others
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
    table = TABLES["accuracy"]
    return {
        "command": source.command_where("table"),
        "sheets": tuple(table.sheets(table.data(source.facts.records))),
        "explanation": table.explanation,
    }


def _compare(source: Source) -> Content:
    study, metric = source.facts.study if source.several else None, METRICS[METRIC]
    data = compare(source.all_records, metric, BASELINE, study)
    if data.empty:
        raise UsageError(f"all settings have {BASELINE}: there is nothing to compare")
    winners = confirm(source.all_records, metric, BASELINE, study)
    options = ["--baseline", BASELINE, *source.study_option()]
    name = METRIC.replace("_", " ")
    return {
        "lead": f"Every setting against {BASELINE.upper()}, paired by seed, by {name}: "
        f"{metric.definition}.",
        "command": source.command("compare", source.results, *options),
        "findings": tuple(comparison.describe_verdicts(data, BASELINE)),
        "sheets": (
            *comparison.comparison_sheets(data, BASELINE),
            *comparison.winner_sheets(winners, data, BASELINE),
        ),
        "explanation": (*comparison.EXPLANATION, comparison.describe_correction(data)),
    }


def _relate(source: Source) -> Content:
    records = source.facts.records
    if records[list(PROBES)].isna().all(axis=None):
        raise UsageError(
            "sharpness before a task was not measured: run the study with "
            "--landscape-every 1"
        )
    return {
        "command": source.command_where("relate"),
        "sheets": tuple(relations.relation_sheets(relation(records, PROBES))),
        "explanation": relations.EXPLANATION,
    }


def _figure(name: str, source: Source) -> Content:
    """Return the part of a figure of `FIGURES`."""
    picture, records = FIGURES[name], source.facts.records
    lead = f"{picture.meaning[0].upper()}{picture.meaning[1:]}."
    options = source.study_option()
    if picture.line_per_setting and (chosen := settings_to_draw(records)):
        options += ["--setting", *chosen]
        lead += (
            f" There are {records['setting_id'].nunique()} settings; the figure shows "
            "those of each optimizer with the highest mean accuracy and no diverged "
            "run."
        )
        records = records[records["setting_id"].isin(chosen)]
    _check_worth(name, records)
    data = picture.data(records, picture.metrics, source.columns)
    alt = [f"{picture.meaning}, study {source.facts.study}."]
    if picture.line_per_setting:
        for problem, part in data.groupby("problem", sort=False):
            alt.append(f"{problem}: {', '.join(part['label'].unique()[:LINES])}.")
    alt.append("The numbers are in the table that follows.")
    options += ["-o", f"{name}.svg"]
    return {
        "lead": lead,
        "command": source.command("figure", name, source.results, *options),
        "drawing": Drawing(name, data, " ".join(alt), picture.numbers(data)),
    }


def _check_worth(name: str, records: pd.DataFrame) -> None:
    """Check that there are several values of rho, or that sharpness was measured."""
    rhos = sorted(records["rho"].dropna().unique().tolist())
    if name == "rho" and len(rhos) < 2:
        known = f"only one, {rhos[0]:g}" if rhos else "none"
        raise UsageError(
            f"a map over rho needs several values of rho, and there is {known} "
            "(python -m study.sweep rho-small has five)"
        )
    sharpness = records[["sharpness", "start_sharpness"]]
    if name == "sharpness" and sharpness.isna().all(axis=None):
        raise UsageError(
            "sharpness was not measured: run the study with --landscape-every N to "
            "measure it at every Nth task"
        )


def settings_to_draw(frame: pd.DataFrame) -> list[str]:
    """Return the settings to draw if a panel would have too many lines; else none.

    They are those of each problem and optimizer with the highest mean test accuracy
    and no diverged run, about half of `LINES` in all.

    Raises:
        UsageError: All settings have diverged or incomplete runs only.
    """
    settings = frame.drop_duplicates("setting_id")
    if settings.groupby("problem", observed=True).size().max() <= LINES:
        return []
    chosen: list[str] = []
    for _, group, _ in by_problem(by_setting(frame)):
        good = [runs for runs in group if runs.seeds and not runs.diverged]
        good.sort(key=lambda runs: -float(runs.matrix.mean()))
        kinds = list(dict.fromkeys(runs.setting["optimizer"] for runs in good))
        each = max(1, LINES // 2 // max(1, len(kinds)))
        for kind in kinds[:LINES]:
            own = [r.setting_id for r in good if r.setting["optimizer"] == kind]
            chosen += own[:each]
    if not chosen:
        raise too_many(len(settings), "settings, each with a diverged run", LINES)
    return chosen


def _lost_runs(source: Source) -> Content:
    counts = source.facts.counts
    lost = counts[counts["complete"] < counts["expected"]]
    if lost.empty:
        return {"lead": "None: every requested run is complete."}
    sheets = [
        about.runs_sheet(source.facts.study, str(problem), part)
        for problem, part in lost.groupby("problem", sort=False)
    ]
    return {
        "lead": f"{len(lost)} of {len(counts)} settings have runs that are in no mean.",
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
    "about": ("What was run", _about),
    "table": ("Accuracy along the stream (Tables 1 and 2)", _table),
    "accuracy": _figure_part("accuracy"),
    "compare": ("Against SGD", _compare),
    "rho": _figure_part("rho"),
    "sharpness": _figure_part("sharpness"),
    "relate": ("Does sharpness predict the accuracy that follows?", _relate),
    "capacity": _figure_part("capacity"),
    "tasks": _figure_part("tasks"),
    "forgetting": _figure_part("forgetting"),
    "lost": ("Diverged and missing runs", _lost_runs),
    "definitions": ("What every number means", _definitions),
}
"""The title of each part, and the function that makes its content."""
