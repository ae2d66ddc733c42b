"""Runs: the records of each setting as a matrix, and which of its seeds are not in it.

Only a run that went through its whole stream without diverging has a row in the matrix.
The others are not dropped in silence: their seeds are kept, by what befell them.

A setting should have the seeds that at least half of its peers have. One that fewer
have was given to these few in addition, as `--confirm-seeds` gives some to a winner: it
is `extra` there, and the others do not miss it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainables.record import WHAT

NEEDED = ["study", "setting_id", "run_id", "seed", *WHAT, "task", "diverged"]
"""The columns that `by_setting` needs besides the measurement."""

PROBLEMS = ("permuted", "pairwise")
FATES = ("seeds", "diverged", "incomplete", "missing", "extra", "unmatched")
"""The fields of `Runs` that hold seeds."""

OPTIMIZERS = ("sgd", "sam", "gnp")
"""The paper's order; others follow by name."""

PARTS = ("optimizer", "base", "intervention")
"""What a setting's name says in one word each."""


@dataclass(frozen=True)
class Runs:
    """The runs of one setting in one study."""

    study: str
    setting_id: str
    setting: dict[str, Any]
    """The columns `WHAT`; None where one does not apply."""
    seeds: tuple[int, ...]
    """Of the rows of `matrix`: complete and not diverged."""
    matrix: npt.NDArray[np.float64]
    """Shape (runs, tasks)."""
    diverged: tuple[int, ...]
    incomplete: tuple[int, ...]
    """Seeds with fewer tasks than the stream has (or with a null on one)."""
    missing: tuple[int, ...] = ()
    """Seeds without any record, which at least half of its `peers` have."""
    extra: tuple[int, ...] = ()
    """Seeds that it has and fewer than half of its `peers` have."""
    unmatched: tuple[int, ...] = ()
    """Seeds of whole runs that have no fresh network to be compared with."""

    @property
    def key(self) -> tuple[str, str]:
        """Which setting of which study."""
        return self.study, self.setting_id

    @property
    def present(self) -> set[int]:
        """The seeds that have any record."""
        return {*self.seeds, *self.diverged, *self.incomplete, *self.unmatched}

    @property
    def expected(self) -> int:
        """How many runs it should have, with those it was given in addition."""
        return len(self.present) + len(self.missing)

    @property
    def peers(self) -> tuple[Any, ...]:
        """What settings share that should have the same seeds."""
        return (self.study, *(self.setting[c] for c in ("problem", "dataset", "tasks")))

    def on(self, seeds: Collection[int]) -> Runs:
        """Return the runs of these seeds only."""

        def only(of: Sequence[int]) -> tuple[int, ...]:
            return tuple(seed for seed in of if seed in seeds)

        rows = np.array([seed in seeds for seed in self.seeds], dtype=bool)
        fates: dict[str, Any] = {name: only(getattr(self, name)) for name in FATES}
        return replace(self, matrix=self.matrix[rows], **fates)


def by_setting(frame: pd.DataFrame, measure: str = "test_accuracy") -> list[Runs]:
    """Return the runs of each setting, in the paper's order.

    Args:
        frame: Records with the columns `NEEDED` and `measure`, each row once.
        measure: The column that fills the matrices.
    """
    firsts = frame.drop_duplicates(["study", "setting_id"])
    whats = firsts[list(WHAT)].astype(object)
    settings = whats.where(whats.notna(), None).to_dict("records")
    rows = frame.groupby(["study", "setting_id"], sort=False).indices
    columns = {
        name: frame[name].to_numpy() for name in ("seed", "task", "diverged", measure)
    }
    found = []
    for who, what in zip(firsts.to_dict("records"), settings, strict=True):
        at = rows[who["study"], who["setting_id"]]
        setting = {str(name): value for name, value in what.items()}
        part = {name: column[at] for name, column in columns.items()}
        found.append(_sort_out(who["study"], who["setting_id"], setting, part, measure))
    return sorted(_compare(found), key=_order)


def _sort_out(
    study: str,
    setting_id: str,
    setting: dict[str, Any],
    part: dict[str, npt.NDArray[Any]],
    measure: str,
) -> Runs:
    """Return one setting's runs, sorted by seed and by what became of them."""
    seeds, row = np.unique(part["seed"], return_inverse=True)
    length = max(setting["tasks"], int(part["task"].max()) + 1)
    matrix = np.full((len(seeds), length), np.nan)
    matrix[row, part["task"]] = part[measure].astype(np.float64)
    diverged = np.zeros(len(seeds), dtype=bool)
    diverged[row[part["diverged"].astype(bool)]] = True
    # A null on a task, or a task too many, is as little a whole run as a task too few.
    whole = ~np.isnan(matrix).any(axis=1) & (length == setting["tasks"])
    good = whole & ~diverged

    def names(which: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(seed) for seed in seeds[which])

    return Runs(
        study,
        setting_id,
        setting,
        seeds=names(good),
        matrix=matrix[good],
        diverged=names(diverged),
        incomplete=names(~whole & ~diverged),
    )


def _compare(found: Iterable[Runs]) -> list[Runs]:
    """Return the runs with the seeds that each lacks, and has beyond its peers'."""
    found = list(found)
    peers = Counter(runs.peers for runs in found)
    held: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for runs in found:
        held[runs.peers].update(runs.present)

    def common(runs: Runs) -> set[int]:
        need = peers[runs.peers] / 2
        return {seed for seed, count in held[runs.peers].items() if count >= need}

    usual = {runs.peers: common(runs) for runs in found}
    return [
        replace(
            runs,
            missing=tuple(sorted(usual[runs.peers] - runs.present)),
            extra=tuple(sorted(runs.present - usual[runs.peers])),
        )
        for runs in found
    ]


def _order(runs: Runs) -> tuple[Any, ...]:
    """Return the place of a setting: the paper's, then that of its values."""

    def place(name: str, known: Sequence[str]) -> tuple[int, str]:
        return (known.index(name) if name in known else len(known), name)

    rest = [
        (value is not None, value if value is not None else 0)
        for name, value in runs.setting.items()
        if name not in ("problem", "optimizer", "lr")
    ]
    return (
        runs.study,
        place(runs.setting["problem"], PROBLEMS),
        place(runs.setting["optimizer"], OPTIMIZERS),
        -runs.setting["lr"],
        *rest,
    )


def varying(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of `WHAT` in which the settings differ.

    >>> varying([{"lr": 0.1, "tasks": 5}, {"lr": 0.2, "tasks": 5}])
    ['lr']
    """
    return [
        name for name in WHAT if len({setting.get(name) for setting in settings}) > 1
    ]


def labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return a short name for each setting that tells it from the others.

    Its `PARTS` and learning rate, and what else differs between two settings of these
    parts: that SAM has a rho and SGD has none needs no saying.

    >>> same = {"optimizer": "sam", "lr": 0.01}
    >>> labels([{**same, "rho": 0.05}, {**same, "rho": 0.1}])
    ['SAM lr 0.01 rho 0.05', 'SAM lr 0.01 rho 0.1']
    >>> labels([same, {**same, "base": "adam"}, {**same, "intervention": "redo"}])
    ['SAM lr 0.01', 'SAM adam lr 0.01', 'SAM lr 0.01 redo']
    """
    differ = {kind: varying(same) for kind, same in _by_parts(settings).items()}
    names = []
    for setting in settings:
        optimizer, base, intervention = kind = _parts(setting)
        words = [optimizer.upper(), base, f"lr {setting['lr']:g}", intervention]
        words += [
            f"{name} {show(setting[name])}"
            for name in differ[kind]
            if name not in ("problem", "lr") and setting[name] is not None
        ]
        names.append(" ".join(word for word in words if word))
    return names


def implied(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns that the `PARTS` imply, with the value where there is one.

    >>> implied([{"intervention": "redo", "redo_tau": 0.1}, {"redo_tau": None}])
    {'redo_tau': 0.1}
    """
    found: dict[str, Any] = {}
    for name in varying(settings):
        values = {setting.get(name) for setting in settings} - {None}
        same = _by_parts(settings).values()
        if len(values) == 1 and all(name not in varying(some) for some in same):
            found |= {} if name in PARTS else {name: values.pop()}
    return found


def _parts(setting: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(setting.get(part) for part in PARTS)


def _by_parts(
    settings: Sequence[dict[str, Any]],
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    kinds = defaultdict(list)
    for setting in settings:
        kinds[_parts(setting)].append(setting)
    return kinds


def show(value: Any) -> str:
    """Return a setting's value as a reader wants it.

    >>> [show(value) for value in (None, 0.05, 1e-05, "100-100", 16)]
    ['–', '0.05', '1e-05', '100-100', '16']
    """
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def matrices(
    frame: pd.DataFrame, found: Sequence[Runs], measures: Sequence[str]
) -> list[dict[str, npt.NDArray[np.float64]]]:
    """Return other measurements of the same runs, with NaN where one was not made.

    Args:
        frame: The records that `found` was made from, with the columns `measures`.
        found: The runs of some settings.
        measures: Which.

    Returns:
        For each of `found`, a matrix of the shape of its own for each measurement.
    """
    rows = frame.groupby(["study", "setting_id"], sort=False).indices
    columns = {
        name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in measures
    }
    seeds, tasks = frame["seed"].to_numpy(), frame["task"].to_numpy()
    every = []
    for runs in found:
        every_row = np.asarray(rows[runs.study, runs.setting_id])
        at = every_row[np.isin(seeds[every_row], runs.seeds)]
        place = np.searchsorted(np.array(runs.seeds, dtype=np.int64), seeds[at])
        filled = {}
        for name, values in columns.items():
            filled[name] = np.full(runs.matrix.shape, np.nan)
            filled[name][place, tasks[at]] = values[at]
        every.append(filled)
    return every
