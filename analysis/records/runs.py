"""Runs: the records of each setting as a matrix, and the seeds that are not in it.

Only a run that finished its stream without diverging has a row in the matrix. The seeds
of all other runs are kept beside it, by what happened to them.

A setting should have the seeds that at least half of its peers have. A seed that fewer
have was added to these few, as `--confirm-seeds` adds some to a winner: it is `extra`
there, and the other settings do not miss it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

from trainables.record import SETTING_COLUMNS

NEEDED = ("study", "setting_id", "run_id", "seed", "task", "diverged")
"""The columns that `by_setting` needs besides the settings and the measurement."""

PROBLEMS = ("permuted", "pairwise")
OPTIMIZERS = ("sgd", "sam", "gnp")
"""The paper's order; others follow by name."""

PARTS = ("optimizer", "base", "intervention")
"""The columns whose value names a part of the setting in one word."""

Setting = dict[str, Any]
"""The columns of a setting by name; None where one does not apply."""

Reals = npt.NDArray[np.float64]


@attrs.frozen(kw_only=True, eq=False)
class Runs:
    """The runs of one setting in one study."""

    study: str
    setting_id: str
    setting: Setting
    seeds: tuple[int, ...] = ()  # of the complete runs, ascending
    matrix: Reals  # a measurement of the complete runs, shape (seeds, tasks)
    diverged: tuple[int, ...] = ()
    incomplete: tuple[int, ...] = ()  # lack a task, or the measurement on one
    missing: tuple[int, ...] = ()  # no record here, but in half of the `peers` or more
    extra: tuple[int, ...] = ()  # records here, and in fewer than half of the `peers`
    unmatched: tuple[int, ...] = ()  # complete, without a fresh network to compare with

    @property
    def key(self) -> tuple[str, str]:
        """The study and the setting_id, which together are unique."""
        return self.study, self.setting_id

    @property
    def present(self) -> set[int]:
        """The seeds that have any record."""
        return {*self.seeds, *self.diverged, *self.incomplete, *self.unmatched}

    @property
    def expected(self) -> int:
        """The number of runs that the setting should have, extra ones included."""
        return len(self.present) + len(self.missing)

    @property
    def peers(self) -> tuple[Any, ...]:
        """The values that are equal in all settings that should have the same seeds."""
        return (self.study, *(self.setting[c] for c in ("problem", "dataset", "tasks")))

    def select_seeds(self, seeds: Collection[int]) -> Runs:
        """Return the runs of these seeds only."""
        rows = np.isin(self.seeds, list(seeds))
        names = ("seeds", "diverged", "incomplete", "missing", "extra", "unmatched")
        fields: dict[str, Any] = {
            name: tuple(seed for seed in getattr(self, name) if seed in seeds)
            for name in names
        }
        return attrs.evolve(self, matrix=self.matrix[rows], **fields)


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame of records that describe the setting.

    `Records.to_frame` notes in the frame which they are; of other frames they are those
    that this program writes.
    """
    names = frame.attrs.get("setting_columns", SETTING_COLUMNS)
    return [name for name in names if name in frame]


def by_setting(frame: pd.DataFrame, measure: str = "test_accuracy") -> list[Runs]:
    """Return the runs of each setting, in the paper's order.

    The frame has each record once, with `NEEDED`, the columns of the setting, and
    `measure`, which fills the matrices.
    """
    firsts = frame.drop_duplicates(["study", "setting_id"])
    values = firsts[setting_columns(frame)].astype(object)
    settings: list[Any] = values.where(values.notna(), None).to_dict("records")
    rows = frame.groupby(["study", "setting_id"], sort=False, observed=True).indices
    columns = {n: frame[n].to_numpy() for n in ("seed", "task", "diverged", measure)}
    all_runs = []
    for study, setting_id, setting in zip(
        firsts["study"], firsts["setting_id"], settings, strict=True
    ):
        chosen = rows[study, setting_id]
        part = {name: column[chosen] for name, column in columns.items()}
        fields = _sort_by_outcome(part, measure, setting["tasks"])
        all_runs.append(
            Runs(study=study, setting_id=setting_id, setting=setting, **fields)
        )
    return sorted(_compare_seeds(all_runs), key=_order)


def _sort_by_outcome(
    part: Mapping[str, npt.NDArray[Any]], measure: str, tasks: int
) -> dict[str, Any]:
    """Return the matrix of one setting, and its seeds by outcome."""
    seeds, row = np.unique(part["seed"], return_inverse=True)
    length = max(tasks, int(part["task"].max()) + 1)
    matrix = np.full((len(seeds), length), np.nan)
    matrix[row, part["task"]] = part[measure].astype(np.float64)
    diverged = np.zeros(len(seeds), dtype=bool)
    diverged[row[part["diverged"].astype(bool)]] = True
    # A run with a null, or with a task too many, is as incomplete as a shorter one.
    complete = ~np.isnan(matrix).any(axis=1) & (length == tasks)
    chosen = complete & ~diverged
    return {
        "seeds": tuple(seeds[chosen].tolist()),
        "matrix": matrix[chosen],
        "diverged": tuple(seeds[diverged].tolist()),
        "incomplete": tuple(seeds[~complete & ~diverged].tolist()),
    }


def _compare_seeds(settings: Sequence[Runs]) -> list[Runs]:
    """Return the runs with the seeds that each misses, or has beyond its peers."""
    totals = Counter(runs.peers for runs in settings)
    counts: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for runs in settings:
        counts[runs.peers].update(runs.present)
    usual = {
        peers: {seed for seed, count in counts[peers].items() if count >= total / 2}
        for peers, total in totals.items()
    }
    return [
        attrs.evolve(
            runs,
            missing=tuple(sorted(usual[runs.peers] - runs.present)),
            extra=tuple(sorted(runs.present - usual[runs.peers])),
        )
        for runs in settings
    ]


def _order(runs: Runs) -> tuple[Any, ...]:
    """Return the sort key of a setting: the paper's order, then by its values."""

    def rank(name: str, names: Sequence[str]) -> tuple[int, str]:
        return (names.index(name) if name in names else len(names), name)

    rest = [
        (value is not None, 0 if value is None else value)
        for name, value in runs.setting.items()
        if name not in ("problem", "optimizer", "lr")
    ]
    return (
        runs.study,
        rank(runs.setting["problem"], PROBLEMS),
        rank(runs.setting["optimizer"], OPTIMIZERS),
        -runs.setting["lr"],
        *rest,
    )


def by_problem(
    settings: Iterable[Runs],
) -> Iterator[tuple[str, list[Runs], list[str]]]:
    """Yield each problem, the runs of its settings, and a label for each of these."""
    groups: dict[str, list[Runs]] = defaultdict(list)
    for runs in settings:
        groups[runs.setting["problem"]].append(runs)
    for problem, group in groups.items():
        yield problem, group, labels([runs.setting for runs in group])


def varying_columns(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns in which the settings differ.

    >>> varying_columns([{"lr": 0.1, "tasks": 5}, {"lr": 0.2, "tasks": 5}])
    ['lr']
    """
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({s.get(name) for s in settings}) > 1]


def labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a short name for each setting that differs from the names of the others.

    It has the `PARTS`, the learning rate, and what else differs between settings with
    these parts: that SAM has a rho and SGD has none is not worth saying.

    >>> sam = {"optimizer": "sam", "lr": 0.01}
    >>> labels([{**sam, "rho": 0.05}, {**sam, "rho": 0.1}])
    ['SAM lr 0.01 rho 0.05', 'SAM lr 0.01 rho 0.1']
    >>> labels([sam, {**sam, "base": "adam"}, {**sam, "intervention": "redo"}])
    ['SAM lr 0.01', 'SAM adam lr 0.01', 'SAM lr 0.01 redo']
    """
    groups = _by_parts(settings)
    varying = {parts: varying_columns(group) for parts, group in groups.items()}
    names = []
    for setting in settings:
        optimizer, base, intervention = parts = _parts(setting)
        words = [optimizer.upper(), base, f"lr {setting['lr']:g}", intervention]
        words += [
            f"{name} {show(setting[name])}"
            for name in varying[parts]
            if name not in ("problem", "lr") and setting.get(name) is not None
        ]
        names.append(" ".join(word for word in words if word))
    return names


def implied_values(settings: Sequence[Mapping[str, Any]]) -> Setting:
    """Return the columns that follow from the `PARTS`, with their only value.

    >>> implied_values([{"intervention": "redo", "redo_tau": 0.1}, {"redo_tau": None}])
    {'redo_tau': 0.1}
    """
    groups = _by_parts(settings).values()
    implied: Setting = {}
    for name in varying_columns(settings):
        values = {setting.get(name) for setting in settings} - {None}
        constant = all(name not in varying_columns(group) for group in groups)
        if len(values) == 1 and constant and name not in PARTS:
            implied[name] = values.pop()
    return implied


def _parts(setting: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(setting.get(part) for part in PARTS)


def _by_parts(
    settings: Sequence[Mapping[str, Any]],
) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    groups = defaultdict(list)
    for setting in settings:
        groups[_parts(setting)].append(setting)
    return groups


def show(value: Any) -> str:
    """Return a setting's value as text.

    >>> [show(value) for value in (None, 0.05, 1e-05, "100-100", 16)]
    ['–', '0.05', '1e-05', '100-100', '16']
    """
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def matrices(
    frame: pd.DataFrame, settings: Sequence[Runs], measures: Sequence[str]
) -> list[dict[str, Reals]]:
    """Return other measurements of the same runs; NaN where one was not made.

    The frame has the records that `settings` was made from, with the columns
    `measures`. The result has for each setting the matrix of each measurement, in the
    shape of `Runs.matrix`.
    """
    rows = frame.groupby(["study", "setting_id"], sort=False, observed=True).indices
    columns = {n: frame[n].to_numpy(np.float64, na_value=np.nan) for n in measures}
    seeds, tasks = frame["seed"].to_numpy(), frame["task"].to_numpy()
    results = []
    for runs in settings:
        all_rows = np.asarray(rows[runs.study, runs.setting_id])
        chosen = all_rows[np.isin(seeds[all_rows], runs.seeds)]
        row = np.searchsorted(np.array(runs.seeds, dtype=np.int64), seeds[chosen])
        filled = {name: np.full(runs.matrix.shape, np.nan) for name in columns}
        for name, values in columns.items():
            filled[name][row, tasks[chosen]] = values[chosen]
        results.append(filled)
    return results
