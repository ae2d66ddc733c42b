"""Import the results of other programs, so that every command here can read them.

The input is a CSV file of accuracies in one of two forms. The long form has a row per
run and task, with the columns run (or seed), task and accuracy. The wide form has a row
per run, with a column per task named 0, 1, 2, ... Both forms can have more columns,
for example the optimizer and the learning rate. The import writes
RESULTS/STUDY/records/*.parquet. The metadata of these files describe the columns.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.records.load import REQUIRED, check_fractions
from analysis.records.runs import plain_rows
from analysis.records.write import to_parquet, write_file
from trainables.hyperparameter import TEXT, TRUTH, WHOLE
from trainables.record import KNOWN_COLUMNS, REAL, SCHEMA_VERSION, Column
from trainables.request import REQUEST_FILE
from trainables.setting import digest
from trainables.usage import UsageError

ACCURACY = "test_accuracy"
"""The name that the column accuracy of the CSV file has in the records."""

PROBLEM = "imported"
"""The default name of the problem (the stream of tasks)."""

UNKNOWN = "unknown"
"""The value of the columns dataset and optimizer if the file lacks them."""

MADE_HERE = ("study", "setting_id", "run_id", "trial_id")
"""The columns that the import computes, and that the file must not have."""

FORMS = (
    "use the columns run (or seed), task and accuracy with a row per run and task, or "
    "a row per run with a column per task named 0, 1, 2, ..."
)


def import_csv(
    file: str, results: str, study: str | None = None, problem: str = PROBLEM
) -> str:
    """Write the accuracies in a CSV file as records, and return a message.

    The same file gives the same records, so a second import changes nothing. Notes on
    what the import assumes go to standard error.

    Args:
        file: The path of the CSV file.
        results: The folder of results. The records are written to its subfolder STUDY.
        study: The name of the study; None means the name of the file.
        problem: The name of the stream of tasks, if the file has no column problem.

    Raises:
        UsageError: The file cannot be read, a column is missing, a value is wrong, or
            the records cannot be written.
    """
    name = Path(file).stem if study is None else study
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise UsageError(
            f"{name!r} is not a valid name of a study: use --study to give a name of "
            "letters, digits, '-' and '_' that begins with a letter or a digit"
        )
    folder = Path(results).expanduser() / name
    if "://" in results:
        raise UsageError(f"cannot import into {results}: give a folder on this machine")
    if (folder / REQUEST_FILE).exists():
        raise UsageError(
            f"{folder} is a study that this program runs: import under another name "
            "with --study"
        )
    frame = _to_long(_read(file), file)
    frame, columns = _convert(frame, file, problem)
    frame = _identify(frame, columns, file).assign(study=name)
    table = _to_table(frame, columns, Path(file).name)
    check_fractions(table, KNOWN_COLUMNS | columns, f"correct {file}")
    content = to_parquet(table)
    records = folder / "records"
    try:
        records.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {records}: {error.strerror}") from None
    key = hashlib.sha256(content).hexdigest()[:16]
    write_file(str(records / f"imported-{key}.parquet"), content)
    counts = ", ".join(
        f"{count:,} {word}{'' if count == 1 else 's'}"
        for count, word in (
            (frame["setting_id"].nunique(), "setting"),
            (frame["run_id"].nunique(), "run"),
            (len(frame), "record"),
        )
    )
    return f"imported {counts} from {file} into {folder}"


def _read(file: str) -> pd.DataFrame:
    """Return the cells of a CSV file as text; an empty cell is null."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as source:
            frame = pd.read_csv(source, dtype=str, skipinitialspace=True)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # from pandas, or because the text is not UTF-8
        reason = " ".join(str(error).split())
        raise UsageError(f"{file} is not a CSV file: {reason}") from None
    if frame.empty:
        raise UsageError(f"{file} has no rows: {FORMS}")
    return frame.rename(columns=str.strip).rename(columns={"accuracy": ACCURACY})


def _to_long(frame: pd.DataFrame, file: str) -> pd.DataFrame:
    """Return the file in the long form, with the column run or seed."""
    tasks = [name for name in frame.columns.astype(str) if name.isdecimal()]
    if tasks and not {"task", ACCURACY} & set(frame):
        if not {"run", "seed"} & set(frame):
            frame = frame.assign(run=[str(row) for row in range(len(frame))])
        others = [name for name in frame if name not in tasks]
        frame = frame.melt(others, tasks, var_name="task", value_name=ACCURACY)
    absent = [name for name in ("task", ACCURACY) if name not in frame]
    absent += [] if {"run", "seed"} & set(frame) else ["run"]
    if absent:
        names = ", ".join(absent).replace(ACCURACY, "accuracy")
        raise UsageError(f"{file} has no column {names}: {FORMS}")
    lists = [n for n, c in KNOWN_COLUMNS.items() if pa.types.is_list(c.type)]
    for name in (*MADE_HERE, *lists):
        if name in frame:
            raise UsageError(
                f"{file} has a column {name}, which the import cannot read: remove "
                "this column"
            )
    return frame


def _convert(
    frame: pd.DataFrame, file: str, problem: str
) -> tuple[pd.DataFrame, dict[str, Column]]:
    """Return the rows with text converted to the types of records, and the columns.

    A column that is not in `KNOWN_COLUMNS` is a measure if it has numbers that change
    within a run, and if the other columns tell the runs apart. Otherwise it describes
    the setting.
    """
    given = [n for n in frame.columns.astype(str) if n not in ("run", "seed")]
    defaults = {"dataset": UNKNOWN, "problem": problem, "optimizer": UNKNOWN}
    for name, value in defaults.items():
        frame[name] = frame[name].fillna(value) if name in frame else value
    if "optimizer" not in given:
        _note(
            f"{file} has no column named optimizer, so the optimizer of all runs is "
            f"{UNKNOWN}: to compare methods, add this column with each run's method"
        )
    columns = {
        name: KNOWN_COLUMNS.get(name) or _describe(frame[name], file)
        for name in dict.fromkeys([*given, *defaults])
    }
    for name, column in columns.items():
        frame[name] = _parse(frame[name], column, file)
    new = [n for n in given if n not in KNOWN_COLUMNS and columns[n].type == REAL]
    keys = [n for n, c in columns.items() if c.role == "setting" and n not in new]
    keys += [n for n in ("run", "seed") if n in frame]
    if not frame.duplicated([*keys, "task"]).any():
        values = frame.groupby(keys, dropna=False)[new].nunique(dropna=False)
        for name in new:
            if (values[name] > 1).any():
                columns[name] = attrs.evolve(columns[name], role="measure")
    return frame, columns


def _describe(values: pd.Series[str], file: str) -> Column:
    """Return the description of a column that is not in `KNOWN_COLUMNS`."""
    numbers = pd.to_numeric(values, errors="coerce")
    kind = TEXT if (numbers.isna() & values.notna()).any() else REAL
    return Column(kind, True, "setting", "", f"imported from {Path(file).name}")


def _parse(values: pd.Series[str], column: Column, file: str) -> pd.Series:
    """Return the text of a column as values of its type."""
    name = "accuracy" if values.name == ACCURACY else values.name
    if values.name in REQUIRED and values.isna().any():
        raise UsageError(f"column {name} of {file} has an empty cell: fill it")
    if column.type == TEXT:
        return values
    if column.type == TRUTH:
        truths = {"true": True, "1": True, "false": False, "0": False}
        parsed = values.str.lower().map(truths)
        kind = "true or false"
    else:
        parsed = pd.to_numeric(values, errors="coerce")
        kind = "a number"
        if column.type == WHOLE:
            parsed = parsed.where((parsed >= 0) & (parsed % 1 == 0))
            kind = "a whole number, at least 0"
    wrong = values[parsed.isna() & values.notna()]
    if len(wrong):
        raise UsageError(
            f"column {name} of {file} has the value {wrong.iloc[0]!r}: it must be "
            f"{kind}; correct it or leave it empty"
        )
    types: dict[pa.DataType, Any] = {TRUTH: "boolean", WHOLE: "Int64", REAL: "float64"}
    return parsed.astype(types[column.type])


def _identify(
    frame: pd.DataFrame, columns: dict[str, Column], file: str
) -> pd.DataFrame:
    """Return the rows with the columns that identify a setting, a run and a task."""
    if first := int(frame["task"].min()):
        _note(f"the first task in {file} has number {first}, and gets the number 0")
        frame["task"] -= first
    if "tasks" not in columns:
        columns["tasks"] = KNOWN_COLUMNS["tasks"]
        frame["tasks"] = frame.groupby(["problem", "dataset"])["task"].transform("max")
        frame["tasks"] += 1
    settings = sorted(n for n, c in columns.items() if c.role == "setting")
    groups = frame.groupby(settings, dropna=False, sort=False)
    number = groups.ngroup().to_numpy(np.int64)
    frame["seed"] = _seeds(frame, number, file)
    if frame.assign(setting=number).duplicated(["setting", "seed", "task"]).any():
        raise UsageError(
            f"{file} has two rows for the same task of a run: give each run its own "
            "number in the column run or seed, or add the columns in which the "
            "settings of the runs differ"
        )
    firsts = frame[settings].loc[~pd.Series(number).duplicated().to_numpy()]
    rows = plain_rows(firsts)
    runs = pd.DataFrame({"setting": number, "seed": frame["seed"].to_numpy()})
    run = runs.groupby(["setting", "seed"], sort=False).ngroup().to_numpy()
    run_ids = [
        digest({**rows[setting], "seed": int(seed)})
        for setting, seed in runs.drop_duplicates().itertuples(index=False)
    ]
    setting_ids = pd.Series([digest(row) for row in rows])
    if (np.bincount(run)[run] < frame["tasks"]).all():
        raise UsageError(
            f"no run in {file} has all its tasks, from number 0 to "
            f"{frame['tasks'].min() - 1}. Number the tasks 0, 1, 2, ... If the tasks "
            "already have these numbers, a column that identifies a setting changes "
            "within a run, so that one run is read as several: remove this column. The "
            f"columns that identify a setting are {', '.join(settings)}"
        )
    return frame.assign(
        setting_id=setting_ids.iloc[number].to_numpy(),
        run_id=pd.Series(run_ids).iloc[run].to_numpy(),
        trial_id="imported",
    )


def _seeds(frame: pd.DataFrame, setting: npt.NDArray[Any], file: str) -> pd.Series:
    """Return the seed of each row; `setting` has the number of each row's setting.

    Without a column seed, the seed is the number in the column run. But if no number
    occurs in two settings, the runs of each setting are numbered from 0.
    """
    name = "seed" if "seed" in frame else "run"
    if frame[name].isna().any():
        raise UsageError(f"column {name} of {file} has an empty cell: fill it")
    if name == "seed":
        return _parse(frame["seed"], KNOWN_COLUMNS["seed"], file)
    if all(re.fullmatch("[0-9]{1,18}", run) for run in frame["run"].unique()):
        seeds = frame["run"].astype("int64")
    else:
        seeds = pd.Series(pd.factorize(frame["run"])[0], index=frame.index)
    pairs = pd.DataFrame({"setting": setting, "seed": seeds.to_numpy()})
    distinct = pairs.drop_duplicates()
    if setting.max() == 0 or distinct["seed"].duplicated().any():
        return seeds
    _note(
        f"no value of the column run in {file} occurs in two settings. So the runs of "
        "each setting get the seeds 0, 1, 2, ... in the order of the file, and runs "
        "with equal seeds are compared: add a column seed if the runs have other seeds"
    )
    numbers = distinct.assign(number=distinct.groupby("setting").cumcount().to_numpy())
    merged = pairs.merge(numbers, on=["setting", "seed"], how="left")
    return pd.Series(merged["number"].to_numpy(), index=frame.index)


def _to_table(frame: pd.DataFrame, columns: dict[str, Column], source: str) -> pa.Table:
    """Return rows as a table of records; columns that the file lacks are null."""
    frame = frame.reset_index(drop=True)
    if "task_label" not in columns:
        frame["task_label"] = frame["task"].astype(str)
    if "diverged" not in columns:
        frame["diverged"] = False
    needed = {n: c for n, c in KNOWN_COLUMNS.items() if not c.nullable}
    known = {n: c for n, c in KNOWN_COLUMNS.items() if n in {**columns, **needed}}
    arrays, fields = [], []
    for name, column in (known | columns).items():
        column = attrs.evolve(column, nullable=name not in REQUIRED)
        fields.append(column.to_field(name))
        values = frame[name] if name in frame else [None] * len(frame)
        arrays.append(pa.array(values, column.type, from_pandas=True))
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "commit": f"imported from {source}",
    }
    return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
