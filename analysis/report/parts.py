"""The parts of a report: each a title, the command that makes it, and what it shows.

A part takes its numbers from the functions that its command calls. One that cannot be
made says why, and the others stand. To add one: a function and a line in `PARTS`; a
figure of `analysis.figures.registry` needs only the line.
"""

from __future__ import annotations

import functools
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.comparing import relations as relate
from analysis.comparing.compare import compare, confirm
from analysis.figures.registry import FIGURES, figure_data
from analysis.figures.style import LINES
from analysis.records.load import Held
from analysis.records.request import Asked
from analysis.records.runs import by_setting
from analysis.statistics.metrics import find_metric
from analysis.tables import about, comparison
from analysis.tables import accuracy as accuracy_table
from analysis.tables.comparison_table import comparison_sheets
from analysis.tables.definitions import definition_sheets
from analysis.tables.formats import Sheet
from analysis.tables.winners import winner_sheets
from trainables.record import MEASURED
from trainables.usage import UsageError

BASELINE, METRIC = "sgd", "plasticity_loss"
RELATED = ("start_sharpness",)
CROWDED = ("accuracy", "sharpness", "capacity", "forgetting")
"""Figures with a line a setting: of many settings the report draws the best."""


@dataclass(frozen=True)
class Drawing:
    """A figure: which, and its data."""

    figure: str
    data: pd.DataFrame
    alt: str


@dataclass
class Part:
    """A part of a report."""

    key: str
    title: str
    lead: str = ""
    """What it is, in a sentence."""
    findings: list[str] = field(default_factory=list)
    """What came out, in words."""
    command: str = ""
    """What makes it, to be typed."""
    sheets: list[Sheet] = field(default_factory=list)
    explanation: tuple[str, ...] = ()
    drawing: Drawing | None = None
    numbers: list[Sheet] = field(default_factory=list)
    """Of the drawing."""
    why: str = ""
    """If it could not be made."""
    broken: bool = False
    """Whether that is a fault of this program."""


@dataclass(frozen=True)
class Source:
    """What a report is made from: one study, and all that lies beside it."""

    results: str
    study: str
    several: bool
    """Whether there are other studies."""
    frame: pd.DataFrame
    """Of all studies: a network to be compared with may be of another."""
    held: list[Held]
    asked: Mapping[str, Asked]

    @functools.cached_property
    def mine(self) -> pd.DataFrame:
        """The records of this study."""
        return (
            self.frame[self.frame["study"] == self.study]
            if self.several
            else self.frame
        )

    @functools.cached_property
    def standing(self) -> pd.DataFrame:
        """How the runs of each setting stand."""
        known = {name: one for name, one in self.asked.items() if name == self.study}
        return about.standing(self.mine, known)

    @functools.cached_property
    def few(self) -> list[str]:
        """The settings to draw where there are too many of them."""
        return few_of(self.mine)

    def command(self, *words: str) -> str:
        """Return a command of this program, as a shell takes it."""
        return shlex.join(["python", "-m", "analysis", *words])

    def only(self) -> list[str]:
        """Return the words that name this study, where there are several."""
        if not self.several:
            return []
        quoted = self.study.replace("'", "''")
        return ["--where", f"study = '{quoted}'"]

    def named(self) -> list[str]:
        """Return the option that names this study, where there are several."""
        return ["--study", self.study] if self.several else []


def make_parts(source: Source) -> list[Part]:
    """Return every part of a study's report, made or with the reason why not."""
    return [_make(key, title, make, source) for key, (title, make) in PARTS.items()]


def _make(
    key: str, title: str, make: Callable[[Source, Part], None], source: Source
) -> Part:
    """Return one part."""
    part = Part(key, title)
    try:
        if source.mine.empty and key not in ("about", "definitions"):
            raise UsageError("there are no records yet")
        make(source, part)
    except UsageError as why:
        part.why = str(why)
    except Exception as error:  # a fault in one part must not take the others along
        traceback.print_exc(file=sys.stderr)
        part.why = f"this program failed at it ({type(error).__name__}: {error})"
        part.broken = True
    if part.why:
        part.sheets, part.numbers, part.findings, part.drawing = [], [], [], None
    return part


def _about(source: Source, part: Part) -> None:
    part.command = source.command("about", source.results, *source.only())
    part.sheets = about.about_sheets(
        source.mine, source.held, source.asked, source.standing, source.study
    )
    part.explanation = about.EXPLANATION


def _table(source: Source, part: Part) -> None:
    part.command = source.command("table", source.results, *source.only())
    data = accuracy_table.accuracy_table(source.mine)
    part.sheets = accuracy_table.accuracy_sheets(data)
    part.explanation = accuracy_table.EXPLANATION


def _compare(source: Source, part: Part) -> None:
    part.lead = (
        f"Every setting against {BASELINE.upper()}, paired by seed, by "
        f"{METRIC.replace('_', ' ')}: {find_metric(METRIC).definition}."
    )
    part.command = source.command(
        "compare", source.results, "--baseline", BASELINE, *source.named()
    )
    study = source.study if source.several else None
    data = compare(source.frame, METRIC, BASELINE, study)
    if data.empty:
        raise UsageError(f"all settings have {BASELINE}: there is nothing to compare")
    won = confirm(source.frame, METRIC, BASELINE, study)
    part.sheets = [
        *comparison_sheets(data, BASELINE),
        *winner_sheets(won, data, BASELINE),
    ]
    part.findings = [*comparison.verdicts(data, BASELINE)]
    part.explanation = (*comparison.EXPLANATION, comparison.family(data))


def _relate(source: Source, part: Part) -> None:
    part.command = source.command("relate", source.results, *source.only())
    if source.mine[list(RELATED)].isna().all(axis=None):
        raise UsageError(
            "sharpness before a task was not measured: run the study with "
            "--probe-every 1"
        )
    data = relate.relation(source.mine, RELATED)
    part.sheets = relate.relation_sheets(data)
    part.explanation = relate.EXPLANATION


def _figure(name: str, source: Source, part: Part) -> None:
    """Make the part of a figure."""
    picture = FIGURES[name]
    part.lead = f"{picture.meaning[0].upper()}{picture.meaning[1:]}."
    frame, words = source.mine, list(source.named())
    if name in CROWDED and (chosen := source.few):
        words += ["--setting", *chosen]
        part.lead += (
            f" There are {frame['setting_id'].nunique()} settings: shown are those of "
            "each optimizer with the highest mean accuracy and no run that diverged."
        )
        frame = frame[frame["setting_id"].isin(chosen)]
    command = ["figure", name, source.results, *words, "-o", f"{name}.svg"]
    part.command = source.command(*command)
    _worth_drawing(name, frame)
    data = figure_data(name, frame, picture.metrics)
    part.drawing = Drawing(name, data, _describe(name, data))
    part.numbers = picture.numbers(data)


def _worth_drawing(name: str, frame: pd.DataFrame) -> None:
    """Refuse a figure that would show nothing.

    Raises:
        UsageError: It would.
    """
    if name in ("rho", "profile"):
        rhos = sorted(frame["rho"].dropna().unique().tolist())
        if len(rhos) < 2:
            held = f"only one, {rhos[0]:g}" if rhos else "none"
            raise UsageError(
                f"a map over rho needs several values of it, and there is {held} "
                "(python -m study.sweep rho-small has five)"
            )
    if name == "sharpness":
        columns = ["sharpness", "start_sharpness"]
        if frame[columns].isna().all(axis=None):
            raise UsageError(
                "sharpness was measured on no task (--probe-every N of the sweep "
                "measures it on every Nth)"
            )


def few_of(frame: pd.DataFrame) -> list[str]:
    """Return the settings to draw where a panel would have too many; none else.

    Of each problem and optimizer those of the highest mean test accuracy of which no
    run diverged, as many as can be told apart in a panel.
    """
    problems = frame.drop_duplicates("setting_id").groupby("problem")["setting_id"]
    if problems.size().max() <= LINES:
        return []
    chosen = []
    found = by_setting(frame)
    for problem in dict.fromkeys(runs.setting["problem"] for runs in found):
        group = [
            runs
            for runs in found
            if runs.setting["problem"] == problem and runs.seeds and not runs.diverged
        ]
        group.sort(key=lambda runs: -float(runs.matrix.mean()))
        kinds = list(dict.fromkeys(runs.setting["optimizer"] for runs in group))
        each = max(1, LINES // 2 // max(1, len(kinds)))
        for kind in kinds[:LINES]:
            best = [r.setting_id for r in group if r.setting["optimizer"] == kind]
            chosen += best[:each]
    if not chosen:
        raise UsageError("no setting has whole runs without one that diverged")
    return chosen


def _describe(name: str, data: pd.DataFrame) -> str:
    """Return a figure in words, for those who do not see it."""
    said = [f"{FIGURES[name].meaning}, study {data['study'].iloc[0]}."]
    for problem, part in data.groupby("problem", sort=False):
        if "label" in data and data["label"].dtype != int and name != "tasks":
            names = list(dict.fromkeys(part["label"]))
            said.append(f"{problem}: {', '.join(map(str, names[:LINES]))}.")
    return " ".join([*said, "The numbers stand in the table that follows."])


def _lost(source: Source, part: Part) -> None:
    part.command = source.command("about", source.results, *source.only())
    data = source.standing
    lost = data[data["whole"] < data["expected"]]
    if lost.empty:
        part.lead = "None: every run that was asked for is whole."
        return
    part.lead = (
        f"{len(lost)} of {len(data)} settings have runs that are averaged nowhere."
    )
    for problem, rows in lost.groupby("problem", sort=False):
        part.sheets.append(about.runs_sheet(source.study, str(problem), rows))


def _definitions(source: Source, part: Part) -> None:
    there = [n for n in MEASURED if n in source.frame and source.frame[n].notna().any()]
    part.sheets = definition_sheets(there)


PARTS: dict[str, tuple[str, Callable[[Source, Part], None]]] = {
    "about": ("What was run", _about),
    "table": ("Accuracy along the stream (Tables 1 and 2)", _table),
    "accuracy": (
        "Accuracy by task (Figures 4 and 5)",
        functools.partial(_figure, "accuracy"),
    ),
    "compare": ("Against SGD", _compare),
    "rho": ("Over rho and the learning rate", functools.partial(_figure, "rho")),
    "profile": ("Against rho", functools.partial(_figure, "profile")),
    "sharpness": ("Sharpness by task", functools.partial(_figure, "sharpness")),
    "relate": ("Does sharpness tell the accuracy that follows?", _relate),
    "capacity": ("Capacity by task", functools.partial(_figure, "capacity")),
    "tasks": (
        "What the tasks look like (Figures 2 and 3)",
        functools.partial(_figure, "tasks"),
    ),
    "forgetting": ("Forgetting (Figure 1)", functools.partial(_figure, "forgetting")),
    "lost": ("Diverged and missing runs", _lost),
    "definitions": ("What every number means", _definitions),
}
