"""Streams of tasks on which the paper's claims can be judged, and their commands.

The paper is Koster & Kukla 2024 (arXiv 2409.17300). Its settings are SGD, SAM and GNP
with two learning rates, on permuted and on pairwise MNIST.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pandas as pd

from analysis.comparing.baselines import part_of
from analysis.comparing.compare import MARGIN, Question, compare
from analysis.comparing.evidence import POINTS, POINTS_OVER_STREAM, Number
from analysis.records.runs import Runs, by_setting, labels, show
from analysis.statistics.metrics import Metric

METHODS = ("sgd", "sam", "gnp")
"""The optimizers of the paper."""

SETUP: dict[str, Any] = {
    "dataset": "mnist",
    "epochs": 1,
    "batch_size": 16,
    "hidden": "100-100-100",
    "momentum": 0.0,
    "rho": 0.05,
    "alpha": 0.8,
    **dict.fromkeys(("examples", "network", "initialization", "activation")),
    **dict.fromkeys(("input_low", "normalization")),
}
"""The values of the study `paper`. The text of the paper does not give all of them."""

LENGTHS = {"permuted": 100, "pairwise": 45}
"""The number of tasks of each problem in the study `paper`."""

TUNED = ("optimizer", "lr", "rho", "alpha")
"""The columns in which the settings of one stream differ."""


@attrs.frozen(kw_only=True)
class Stream:
    """The records of SGD, SAM and GNP on one stream of tasks, in one study."""

    frame: pd.DataFrame  # the records
    settings: list[Runs]  # the runs of each setting
    conditions: tuple[str, ...]  # the SQL conditions that choose them from the study
    several: bool  # whether the results have more studies than this one
    results: str  # the folder, file or URI of the records, for the commands

    @property
    def study(self) -> str:
        """The name of the study."""
        return self.settings[0].study

    @property
    def problem(self) -> str:
        """The name of the problem."""
        return str(self.settings[0].setting["problem"])

    @property
    def steps(self) -> int:
        """The number of steps from the first to the last task."""
        return max(1, int(self.settings[0].setting["tasks"]) - 1)

    @property
    def setup(self) -> str:
        """How the stream and the settings differ from the study `paper`."""
        usual = SETUP | {"tasks": LENGTHS.get(self.problem)}
        names: dict[str, None] = {}
        for runs in self.settings:
            for name, value in usual.items():
                if runs.setting.get(name) not in (value, None):
                    names[f"{name} {runs.setting[name]}"] = None
        return ", ".join(names)

    def rates(self, optimizer: str) -> list[float]:
        """Return the learning rates of an optimizer, the largest first."""
        settings = [runs.setting for runs in self.settings]
        rates = {s["lr"] for s in settings if s["optimizer"] == optimizer}
        return sorted(rates - {None}, reverse=True)

    def named(self, optimizer: str) -> Iterator[tuple[Runs, str]]:
        """Yield each setting of an optimizer and its label, without extra seeds."""
        names = labels([runs.setting for runs in self.settings])
        for runs, name in zip(self.settings, names, strict=True):
            if runs.setting["optimizer"] == optimizer:
                yield runs.select_seeds(runs.usual_seeds), name

    def compare(
        self, metric: Metric, baseline: str, margin: float
    ) -> Iterator[tuple[Number, dict[Any, Any]]]:
        """Compare SAM and GNP with a baseline of the same learning rate.

        Yield each difference as a `Number` without p-values, and its row of `compare`.
        """
        question = Question(metric=metric, baseline=baseline, margin=margin)
        data = compare(self.frame, question)
        rows = data[
            (data["against"] == "matched")
            & data["baseline_id"].notna()
            & data["optimizer"].isin(METHODS[METHODS.index(baseline) + 1 :])
        ]
        options = ["--metric", metric.name, "--problem", self.problem]
        options += ["--baseline", baseline] if baseline != "sgd" else []
        options += ["--margin", f"{100 * margin:g}"] if margin != MARGIN else []
        options += ["--study", self.study] if self.several else []
        command = self.command("compare", *options, *self._where(self.conditions))
        for row in rows.to_dict("records"):
            untested = {
                "diverged": "a run diverged",
                "at chance": "neither setting learned more than chance",
                "n/a": "too few seeds, or equal differences",
            }.get(row["verdict"], "")
            if metric.trend and row["at_chance"] and not untested:
                # A setting at chance has no plasticity to lose, so it would always win.
                untested = f"the {row['at_chance']} learned no more than chance"
            steps = metric.steps(row["tasks"])
            number = Number(
                subject=f"{row['label']} minus {row['baseline_label']}",
                mean=steps * row["difference"],
                sd=steps * row["sd"],
                n=row["pairs"],
                unit=POINTS_OVER_STREAM if metric.per_task else POINTS,
                command=command,
                untested=untested,
            )
            yield number, row

    def command(self, name: str, *options: str) -> str:
        """Return the shell command of an analysis command, with these options."""
        return shlex.join(["python", "-m", "analysis", name, self.results, *options])

    def command_where(self, name: str) -> str:
        """Return the shell command of an analysis command, for this stream only."""
        return self.command(name, *self._where(self.in_study))

    @property
    def in_study(self) -> tuple[str, ...]:
        """The SQL conditions that choose these records from all studies."""
        own = (f"study = {quote(self.study)}",) if self.several else ()
        return (*own, *self.conditions)

    def _where(self, conditions: Sequence[str]) -> list[str]:
        return ["--where", " AND ".join(conditions)] if conditions else []


def split_streams(frame: pd.DataFrame, results: str) -> Iterator[Stream]:
    """Yield the streams of tasks that have settings of the paper, in the paper's order.

    Settings of the paper are SGD, SAM and GNP without another base and without a
    remedy. If settings have several values of rho or alpha, the stream gets only the
    settings with the values of the study `paper`.
    """
    groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
    everything = by_setting(frame)
    for runs in everything:
        setting = runs.setting
        plain = all(part_of(setting, part) is None for part in ("base", "remedy"))
        if setting["optimizer"] in METHODS and plain:
            shared = [value for name, value in setting.items() if name not in TUNED]
            groups[runs.study, *shared].append(runs)
    for group in groups.values():
        chosen = _with_paper_values(group)
        if not chosen:
            continue
        study, problem = chosen[0].study, chosen[0].setting["problem"]
        ids = [runs.setting_id for runs in chosen]
        part = frame[(frame["study"] == study) & frame["setting_id"].isin(ids)]
        others = [
            runs
            for runs in everything
            if runs.study == study and runs.setting["problem"] == problem
        ]
        yield Stream(
            frame=part,
            settings=by_setting(part),
            conditions=tuple(_conditions(chosen, others)),
            several=len(frame["study"].unique()) > 1,
            results=results,
        )


def _with_paper_values(group: list[Runs]) -> list[Runs]:
    """Return the settings whose rho and alpha are the values of the study `paper`.

    If all settings with a rho have the same rho, its value does not matter. A setting
    without a rho is not tested for rho. The same is true of alpha.
    """
    for name in ("rho", "alpha"):
        values = {runs.setting.get(name) for runs in group} - {None}
        if len(values) > 1:
            allowed = (None, SETUP[name])
            group = [runs for runs in group if runs.setting.get(name) in allowed]
    return group


def _conditions(chosen: list[Runs], others: list[Runs]) -> Iterator[str]:
    """Yield SQL conditions that choose some settings from all settings of a problem."""
    for name in chosen[0].setting:
        values = {runs.setting.get(name) for runs in chosen}
        if name == "lr" or {runs.setting.get(name) for runs in others} == values:
            continue
        texts = sorted(map(quote, values - {None}))
        equal = [f"{name} IN ({', '.join(texts)})"] if texts else []
        null = [f"{name} IS NULL"] if None in values else []
        condition = " OR ".join(equal + null)
        yield f"({condition})" if equal and null else condition


def quote(value: Any) -> str:
    """Return a value as a literal in SQL.

    >>> quote("it's"), quote(0.05)
    ("'it''s'", '0.05')
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return show(value)
