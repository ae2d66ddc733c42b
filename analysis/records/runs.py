"""Group records by setting: a matrix of the complete runs, and the other seeds.

Only a run that finished all tasks without diverging has a row in the matrix. The seeds
of all other runs are listed by outcome: diverged, incomplete or missing.

The settings with the same study, problem, dataset and number of tasks should have the
same seeds. If at least half of these settings have a seed, it counts as `missing` in
the settings that lack it. If fewer settings have a seed, it counts as `extra` in the
settings that have it. A seed that the study ran only to confirm its best settings
(`--confirm-seeds`) always counts as `extra`. Tables, heat maps and comparisons of
settings leave extra seeds out.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

import trainables.setting
from trainables.hyperparameter import hyperparameters
from trainables.record import SETTING_COLUMNS

NEEDED = ("study", "setting_id", "run_id", "seed", "task", "diverged")
"""The columns that `by_setting` needs, besides those of the setting and the measure."""

PROBLEMS = ("permuted", "pairwise")
"""The problems in the order of the paper. Other problems follow, sorted by name."""

OPTIMIZERS = ("sgd", "sam", "gnp")
"""The optimizers in the order of the paper. Others follow, sorted by name."""

PARTS = ("optimizer", "base", "intervention")
"""The columns whose values are names, for example "sam" or "redo"."""

GENERAL = hyperparameters(trainables.setting.Setting).keys() - PARTS
"""The columns that belong to none of `PARTS`. In these columns null is a value: for
example, a network whose activation is null has ReLU. In other columns null means that
the setting does not have the hyperparameter."""

Setting = dict[str, Any]
"""The values of a setting by column name. None means that a column does not apply."""

Reals = npt.NDArray[np.float64]


@attrs.frozen(kw_only=True, eq=False)
class Runs:
    """The runs of one setting in one study, and their seeds by outcome."""

    study: str
    setting_id: str
    setting: Setting  # the values of the setting, by column name
    seeds: tuple[int, ...] = ()  # of the complete runs, ascending
    matrix: Reals  # a measurement of the complete runs, shape (seeds, tasks)
    diverged: tuple[int, ...] = ()  # of the runs that diverged
    incomplete: tuple[int, ...] = ()  # of the runs that lack a task or its measurement
    missing: tuple[int, ...] = ()  # seeds without records; see the module's docstring
    extra: tuple[int, ...] = ()  # seeds that most other settings do not have
    # Of complete runs for which there is no fresh network (reset at every task) to
    # subtract. These seeds are not in `seeds`.
    unmatched: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The study and the setting_id. No two `Runs` have the same key."""
        return self.study, self.setting_id

    @property
    def present(self) -> set[int]:
        """The seeds that have at least one record."""
        return {*self.seeds, *self.diverged, *self.incomplete, *self.unmatched}

    @property
    def usual_seeds(self) -> set[int]:
        """The seeds that all settings with equal `peers` should have."""
        return (self.present | {*self.missing}) - {*self.extra}

    @property
    def expected(self) -> int:
        """The number of runs with records plus the number of missing runs."""
        return len(self.present) + len(self.missing)

    @property
    def peers(self) -> tuple[Any, ...]:
        """The study, problem, dataset and number of tasks.

        Settings with equal `peers` should have the same seeds.
        """
        return (self.study, *(self.setting[c] for c in ("problem", "dataset", "tasks")))

    def select_seeds(self, seeds: Collection[int]) -> Runs:
        """Return a copy with only the runs of the given seeds."""
        chosen = set(seeds)
        rows = np.array([seed in chosen for seed in self.seeds], dtype=bool)
        names = ("seeds", "diverged", "incomplete", "missing", "extra", "unmatched")
        fields: dict[str, Any] = {
            name: tuple(seed for seed in getattr(self, name) if seed in chosen)
            for name in names
        }
        return attrs.evolve(self, matrix=self.matrix[rows], **fields)


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns of records that describe the setting."""
    # `Records.to_frame` saves the names in the attributes of the frame.
    names = frame.attrs.get("setting_columns", SETTING_COLUMNS)
    return [name for name in names if name in frame]


def plain_rows(frame: pd.DataFrame) -> list[Setting]:
    """Return the rows of a frame as dicts of plain values, with None for null."""
    names = [str(name) for name in frame]
    # This is several times as fast as `to_dict`.
    values = frame.to_numpy(dtype=object)
    values[frame.isna().to_numpy()] = None
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def by_setting(frame: pd.DataFrame, measure: str = "test_accuracy") -> list[Runs]:
    """Return the runs of each setting, sorted in the order of the paper.

    Args:
        frame: Records without repeated rows, with the columns `NEEDED`, the columns of
            the setting and the column `measure`.
        measure: The column whose values fill `Runs.matrix`.
    """
    groups = frame.groupby(["study", "setting_id"], sort=False, observed=True)
    number = groups.ngroup().to_numpy()
    stops = np.cumsum(np.bincount(number))
    rows = np.split(np.argsort(number, kind="stable"), stops)[: len(stops)]
    firsts = frame.iloc[[own[0] for own in rows]]
    settings = plain_rows(firsts[setting_columns(frame)])
    columns = {n: frame[n].to_numpy() for n in ("seed", "task", "diverged", measure)}
    all_runs = []
    for study, setting_id, setting, chosen in zip(
        firsts["study"], firsts["setting_id"], settings, rows, strict=True
    ):
        part = {name: column[chosen] for name, column in columns.items()}
        fields = _sort_by_outcome(part, measure, setting["tasks"])
        all_runs.append(
            Runs(study=study, setting_id=setting_id, setting=setting, **fields)
        )
    confirming = frame.attrs.get("confirming", {})
    return sorted(_compare_seeds(all_runs, confirming), key=_order)


def _sort_by_outcome(
    part: Mapping[str, npt.NDArray[Any]], measure: str, tasks: int
) -> dict[str, Any]:
    """Return the fields `seeds`, `matrix`, `diverged` and `incomplete` of `Runs`.

    `part` has the columns seed, task, diverged and `measure` of the setting's records,
    and `tasks` is the number of tasks of a complete run.
    """
    seeds, row = np.unique(part["seed"], return_inverse=True)
    length = max(tasks, int(part["task"].max()) + 1)
    matrix = np.full((len(seeds), length), np.nan)
    matrix[row, part["task"]] = part[measure].astype(np.float64)
    diverged = np.zeros(len(seeds), dtype=bool)
    diverged[row[part["diverged"].astype(bool)]] = True
    # A run is incomplete if a task or its measurement is missing. If any run has a
    # task number that is too large, all runs of the setting are incomplete.
    complete = ~np.isnan(matrix).any(axis=1) & (length == tasks)
    chosen = complete & ~diverged
    return {
        "seeds": tuple(seeds[chosen].tolist()),
        "matrix": matrix[chosen],
        "diverged": tuple(seeds[diverged].tolist()),
        "incomplete": tuple(seeds[~complete & ~diverged].tolist()),
    }


def _compare_seeds(
    settings: Sequence[Runs], confirming: Mapping[str, frozenset[int]]
) -> list[Runs]:
    """Fill in `missing` and `extra`: compare the seeds of settings with equal `peers`.

    `confirming` has, by study, the seeds that only confirm the best settings.
    """
    totals = Counter(runs.peers for runs in settings)
    counts: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for runs in settings:
        counts[runs.peers].update(runs.present)
    usual: dict[tuple[Any, ...], set[int]] = {}
    for peers, seeds in counts.items():
        most = {seed for seed in seeds if seeds[seed] >= totals[peers] / 2}
        # A filter can leave only confirming seeds. Then all seeds are usual.
        usual[peers] = most - confirming.get(peers[0], set()) or set(seeds)
    return [
        attrs.evolve(
            runs,
            missing=tuple(sorted(usual[runs.peers] - runs.present)),
            extra=tuple(sorted(runs.present - usual[runs.peers])),
        )
        for runs in settings
    ]


def _order(runs: Runs) -> tuple[Any, ...]:
    """Return the sort key of a setting: the order of the paper, then its values."""
    rest = [
        (value is not None, 0 if value is None else value)
        for name, value in runs.setting.items()
        if name not in ("problem", "optimizer", "lr")
    ]
    return (
        runs.study,
        rank_problem(runs.setting["problem"]),
        _rank(runs.setting["optimizer"], OPTIMIZERS),
        -(runs.setting["lr"] or 0.0),
        *rest,
    )


def rank_problem(name: str) -> tuple[int, str]:
    """Return the sort key of a problem; see `PROBLEMS`."""
    return _rank(name, PROBLEMS)


def _rank(name: str, names: Sequence[str]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names), name)


def by_problem(
    settings: Iterable[Runs],
) -> Iterator[tuple[str, list[Runs], list[str]]]:
    """Yield each problem, the runs of its settings, and the label of each setting.

    The label of a setting depends only on the settings of its own study. So it stays
    the same if the folder gets another study.
    """
    groups: dict[str, list[Runs]] = defaultdict(list)
    studies: dict[tuple[str, str], list[Runs]] = defaultdict(list)
    for runs in settings:
        groups[runs.setting["problem"]].append(runs)
        studies[runs.setting["problem"], runs.study].append(runs)
    names = {
        runs.key: label
        for own in studies.values()
        for runs, label in zip(own, labels([r.setting for r in own]), strict=True)
    }
    for problem, group in groups.items():
        yield problem, group, [names[runs.key] for runs in group]


def varying_columns(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns in which the settings differ.

    >>> varying_columns([{"lr": 0.1, "tasks": 5}, {"lr": 0.2, "tasks": 5}])
    ['lr']
    """
    names = dict.fromkeys(itertools.chain.from_iterable(settings))
    return [name for name in names if len({s.get(name) for s in settings}) > 1]


def labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a short name for each setting, different from all other names.

    A name has the values of `PARTS`, and the learning rate if it is known. The name
    also has the columns that differ between the settings with the same values of
    `PARTS`. So rho is in the names of the SAM settings only if SAM occurs with
    different values of rho. A column that all settings have is also in the names if it
    differs between any two settings. But if it differs only between settings with
    different values of `PARTS`, a name leaves out a value of 0.

    >>> sam = {"optimizer": "sam", "lr": 0.01}
    >>> labels([{**sam, "rho": 0.05}, {**sam, "rho": 0.1}])
    ['SAM lr 0.01 rho 0.05', 'SAM lr 0.01 rho 0.1']
    >>> labels([sam, {**sam, "base": "adam"}, {**sam, "intervention": "redo"}])
    ['SAM lr 0.01', 'SAM adam lr 0.01', 'SAM lr 0.01 redo']
    >>> sgd = {"optimizer": "sgd", "lr": 0.01, "weight_decay": 0.001}
    >>> labels([{**sam, "weight_decay": 0.0}, sgd])
    ['SAM lr 0.01', 'SGD lr 0.01 weight_decay 0.001']
    """
    groups = _by_parts(settings)
    varying = {parts: varying_columns(group) for parts, group in groups.items()}
    shared = [
        name
        for name in varying_columns(settings)
        if name in GENERAL or all(s.get(name) is not None for s in settings)
    ]
    names = []
    for setting in settings:
        optimizer, base, intervention = parts = _parts(setting)
        rate = "" if setting.get("lr") is None else f"lr {setting['lr']:g}"
        words = [optimizer.upper(), base, rate, intervention]
        words += [
            f"{name} {show(setting[name])}"
            for name in dict.fromkeys([*varying[parts], *shared])
            if name not in ("problem", "lr", *PARTS)
            and setting.get(name) is not None
            and (setting[name] or name in varying[parts])
        ]
        names.append(" ".join(word for word in words if word))
    return names


def implied_values(settings: Sequence[Mapping[str, Any]]) -> Setting:
    """Return the values that need no column of their own in a table of settings.

    A column is returned if it has one value in all settings that use it, and if `PARTS`
    (optimizer, base and intervention) tell which settings use it. All settings use the
    columns of `GENERAL`.

    >>> implied_values([{"intervention": "redo", "redo_tau": 0.1}, {"redo_tau": None}])
    {'redo_tau': 0.1}
    """
    varying = {n for g in _by_parts(settings).values() for n in varying_columns(g)}
    implied: Setting = {}
    for name in varying_columns(settings):
        values = {setting.get(name) for setting in settings} - {None}
        if len(values) == 1 and name not in (*PARTS, *varying, *GENERAL):
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
    """Return one value of a setting as text.

    >>> [show(value) for value in (None, 0.05, 1e-05, "100-100", 16)]
    ['–', '0.05', '1e-05', '100-100', '16']
    """
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def matrices(
    frame: pd.DataFrame, settings: Sequence[Runs], measures: Sequence[str]
) -> list[dict[str, Reals]]:
    """Return the matrices of more measurements, for the complete runs of each setting.

    Args:
        frame: The records from which `settings` was made.
        settings: The runs of each setting.
        measures: The columns of the measurements.

    Returns:
        For each setting, a dict from a column to its matrix, in the shape of
        `Runs.matrix`. NaN where the column has no value.
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
