"""What was run: settings, seeds, code, machines, time, and how much of it is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.records.load import Held, load_held
from analysis.records.request import Asked, read_asked
from analysis.records.runs import NEEDED, Runs, by_setting, labels
from analysis.tables.accuracy import name_seeds
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from trainables.usage import UsageError, choose

COLUMNS = (*NEEDED, "test_accuracy", "steps", "seconds", "device")
"""Of the records, what is read."""

VERSIONS = ("python", "torch", "numpy", "ray", "pyarrow", "plasticity-study")
MACHINES = {"cpu": "processor", "gpu": "GPU"}

EXPLANATION = (
    "whole: through the whole stream without diverging; only these are averaged "
    "anywhere. diverged: the loss or a weight became infinite or not a number. "
    "incomplete: fewer tasks than the stream has. missing: asked for (or, where no "
    "study.json says so, run by at least half of the other settings), and no record.",
    "training time: wall time of each task, a run's share of its stack's, summed over "
    "all runs; examples: updates times the batch size.",
)


def print_about(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print what was run on standard output.

    Args:
        results: What `analysis.records.load.load` takes.
        format: One of `analysis.tables.formats.FORMATS`, or csv: how runs stand.
        where: Of these records only.

    Raises:
        UsageError: There are no records, nor anything that says what was asked for.
    """
    choose("format", format, [*FORMATS, "csv"])
    asked = read_asked(results)
    frame, held = load_or_none(results, COLUMNS, where, asked)
    data = standing(frame, asked if where is None else {})
    sheets = [
        sheet
        for study in data["study"].unique().tolist()
        for sheet in about_sheets(frame, held, asked, data, study)
    ]
    print_sheets(data, sheets, EXPLANATION, format)


def load_or_none(
    results: str,
    columns: Sequence[str],
    where: str | None,
    asked: Mapping[str, Asked],
) -> tuple[pd.DataFrame, list[Held]]:
    """Return the records, which a study that has only begun need not have.

    Raises:
        UsageError: As `load_held`, unless something was asked for there.
    """
    try:
        return load_held(results, columns, where)
    except UsageError as error:
        if where is None and asked and str(error).startswith("no records in "):
            return pd.DataFrame(columns=list(columns)), []
        raise


def standing(frame: pd.DataFrame, asked: Mapping[str, Asked]) -> pd.DataFrame:
    """Return one row a setting: how its runs stand.

    Columns: study, setting_id, problem, label; expected, whole, diverged, incomplete,
    missing (counts); missing_seeds, incomplete_seeds, diverged_seeds (as "0 3").

    Args:
        frame: Records with `COLUMNS`; may be empty.
        asked: What was asked for, by study, as far as is known.
    """
    found = by_setting(frame) if len(frame) else []
    there = {(runs.study, runs.setting_id) for runs in found}
    rows = [_stands(runs, asked.get(runs.study)) for runs in found]
    for study, wanted in asked.items():
        for name, setting in wanted.settings.items():
            if (study, name) not in there:
                seeds = wanted.seeds[name]
                empty = Runs(study, name, setting, (), None, (), (), seeds)  # type: ignore[arg-type]
                rows.append(_stands(empty, wanted))
    settings = [row.pop("setting") for row in rows]
    problems = [str(setting.get("problem")) for setting in settings]
    for problem in dict.fromkeys(problems):
        at = [i for i, one in enumerate(problems) if one == problem]
        for i, label in zip(at, labels([settings[i] for i in at]), strict=True):
            rows[i] |= {"problem": problem, "label": label}
    columns = ["study", "setting_id", "problem", "label"]
    data = pd.DataFrame(rows)
    return data[columns + [name for name in data if name not in columns]]


def _stands(runs: Runs, asked: Asked | None) -> dict[str, Any]:
    """Return how one setting's runs stand."""
    known = set(asked.seeds.get(runs.setting_id, ())) if asked else set()
    missing = sorted(known - runs.present) if known else runs.missing
    fates = {
        "missing": missing,
        "incomplete": runs.incomplete,
        "diverged": runs.diverged,
    }
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        "setting": runs.setting,
        "expected": len(runs.present) + len(missing),
        "whole": len(runs.seeds),
        **{fate: len(seeds) for fate, seeds in fates.items()},
        **{f"{fate}_seeds": " ".join(map(str, seeds)) for fate, seeds in fates.items()},
    }


def about_sheets(
    frame: pd.DataFrame,
    held: Sequence[Held],
    asked: Mapping[str, Asked],
    data: pd.DataFrame,
    study: str,
) -> list[Sheet]:
    """Return what is known of a study, and how its runs stand."""
    mine = data[data["study"] == study]
    rows = frame[frame["study"] == study]
    files = [file for file in held if study in file.studies]
    facts = list(_facts(mine, rows, files, asked.get(study)))
    columns = [Column("what"), Column("is")]
    sheet = Sheet(f"Study {study}", "", columns, facts, [])
    return [sheet, *(runs_sheet(study, *part) for part in _by_problem(mine))]


def _by_problem(data: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for problem, part in data.groupby("problem", sort=False):
        yield str(problem), part


def _facts(
    data: pd.DataFrame, rows: pd.DataFrame, files: Sequence[Held], asked: Asked | None
) -> Iterator[list[str]]:
    """Yield what is known, in rows of two cells."""
    counts = data[["expected", "whole", "diverged", "incomplete", "missing"]].sum()
    yield [
        "runs",
        f"{counts['whole']:,} of {counts['expected']:,} whole, "
        f"{counts['diverged']:,} diverged, {counts['incomplete']:,} incomplete, "
        f"{counts['missing']:,} missing",
    ]
    if asked and asked.under_way:
        yield ["under way", f"{asked.under_way} stacks of runs have a checkpoint"]
    if asked and asked.failed:
        first = next(iter(asked.failed.items()))
        yield ["failed", f"{len(asked.failed)} stacks, as {first[0]}: {first[1]}"]
    yield ["settings", f"{len(data):,}"]
    if not len(rows):
        return
    streams = rows[["problem", "dataset", "tasks"]].drop_duplicates()
    for problem, part in streams.groupby("problem", sort=False):
        several = zip(part["dataset"], part["tasks"], strict=True)
        said = "; ".join(f"{tasks} tasks of {name}" for name, tasks in several)
        yield [str(problem), said]
    seeds = sorted(set(rows["seed"].tolist()))
    spans = name_seeds(" ".join(map(str, seeds))).partition(" ")[2]
    yield ["seeds", f"{len(seeds)} ({spans})"]
    yield ["records", f"{len(rows):,} (a run and a task each) in {len(files):,} files"]
    updates, batch = rows["steps"], rows["batch_size"]
    yield ["updates", f"{int(updates.sum()):,}"]
    yield ["examples", f"{int((updates * batch).sum()):,}"]
    yield ["training time", clock(float(rows["seconds"].sum()))]
    yield ["device", ", ".join(sorted(set(rows["device"].tolist())))]
    made = [file.metadata for file in files]
    yield ["code", _several([m.get("commit", "unknown") for m in made])]
    for name in VERSIONS:
        if any(name in m for m in made):
            yield [name, _several([m.get(name, "unknown") for m in made])]
    for name, said in MACHINES.items():
        if any(name in m for m in made):
            yield [said, _several([m.get(name, "unknown") for m in made])]
    yield ["schema", _several([m.get("schema_version", "unknown") for m in made])]


def _several(values: Sequence[str]) -> str:
    """Return what files say, and how many say it where they differ.

    >>> _several(["a", "a"]), _several(["a", "b", "a"])
    ('a', 'a (2 files), b (1 file)')
    """
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return ", ".join(
        f"{value} ({count} file{'s' if count > 1 else ''})"
        for value, count in counts.most_common()
    )


def runs_sheet(study: str, problem: str, part: pd.DataFrame) -> Sheet:
    """Return how the runs of the settings on one problem stand."""
    names = ("expected", "whole", "diverged", "incomplete", "missing")
    columns = [
        Column("setting"),
        Column("setting_id"),
        *(Column(name, right=True) for name in names),
        Column("which are not whole"),
    ]
    cells = []
    for row in part.to_dict("records"):
        lost = [
            f"{fate}: {name_seeds(row[f'{fate}_seeds'])}"
            for fate in ("diverged", "incomplete", "missing")
            if row[f"{fate}_seeds"]
        ]
        cells.append(
            [row["label"], row["setting_id"]]
            + [str(row[name]) for name in names]
            + ["; ".join(lost) or "–"]
        )
    return Sheet(f"Runs on {problem}, study {study}", "", columns, cells, [])


def clock(seconds: float) -> str:
    """Return a time as a reader wants it.

    >>> clock(4.21), clock(200), clock(3700)
    ('4.2 s', '3 min 20 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600):,} h {int(seconds % 3600 // 60)} min"
