"""What was run: settings, seeds, code, machines, time, and which runs are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import pandas as pd
import pyarrow as pa

from analysis.records.load import Records, RecordsFile, load_records
from analysis.records.request import RequestedStudy, read_requests
from analysis.records.runs import NEEDED, by_setting, labels
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from analysis.tables.words import name_seeds
from trainables.record import KNOWN_COLUMNS
from trainables.usage import UsageError, choose

COLUMNS = ("test_accuracy", "steps", "seconds", "device")
"""The columns of the records that are needed."""

MADE_WITH = {
    "commit": "code",
    **{n: n for n in ("python", "torch", "numpy", "ray", "pyarrow")},
    "plasticity-study": "plasticity-study",
    "cpu": "processor",
    "gpu": "GPU",
    "schema_version": "schema",
}
"""Entries of the files' metadata, and their names in the table."""

OUTCOMES = ("complete", "diverged", "incomplete", "missing")

EXPLANATION = (
    "complete: the run finished the stream without diverging; means are over these "
    "only. diverged: the loss or a weight became infinite or not a number. incomplete: "
    "there are records of some tasks only. missing: the run was requested and has no "
    "records (without a study.json: at least half of the settings have the seed).",
    "training time: wall time of the tasks, each run's share of its stack's, summed "
    "over all runs. examples: updates times the batch size.",
)


@attrs.frozen
class StudyFacts:
    """What is known about one study.

    Attributes:
        study: Its name.
        records: Its records, with `COLUMNS`; may be empty.
        files: The files they came from.
        request: Its study.json, if there is one.
        counts: Its `run_counts`.
    """

    study: str
    records: pd.DataFrame
    files: Sequence[RecordsFile]
    request: RequestedStudy | None
    counts: pd.DataFrame


def print_about(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print what was run.

    Args:
        results: As for `analysis.records.load.load`.
        format: One of `FORMATS`, or csv: the `run_counts`.
        where: A filter of the records; all if None.

    Raises:
        UsageError: There is neither a readable record nor a study.json.
    """
    choose("format", format, [*FORMATS, "csv"])
    requests = read_requests(results)
    records = load_or_empty(results, COLUMNS, where, requests)
    if where is not None:  # the runs that the filter leaves out are not missing
        requests = {}
    facts = study_facts(records.to_frame(), records.files, requests)
    sheets = [sheet for study in facts for sheet in about_sheets(study)]
    counts = pd.concat([study.counts for study in facts], ignore_index=True)
    print_sheets(counts, sheets, EXPLANATION, format)


def load_or_empty(
    results: str,
    columns: Sequence[str],
    where: str | None,
    requests: Mapping[str, RequestedStudy],
) -> Records:
    """Load records; there may be none if a study was requested.

    Raises:
        UsageError: As for `load_records`, unless there are only requests.
    """
    try:
        return load_records(results, columns, where)
    except UsageError as error:
        if where is None and requests and str(error).startswith("no records in "):
            empty = pa.table({name: [] for name in [*NEEDED, *columns]})
            return Records(empty, [], dict(KNOWN_COLUMNS))
        raise


def study_facts(
    frame: pd.DataFrame,
    files: Sequence[RecordsFile],
    requests: Mapping[str, RequestedStudy],
) -> list[StudyFacts]:
    """Return the facts of each study that has records or was requested, by name."""
    facts = []
    for study in sorted({*frame["study"].unique(), *requests}):
        own, request = frame[frame["study"] == study], requests.get(study)
        own_files = [file for file in files if study in file.studies]
        counts = run_counts(own, {study: request} if request else {})
        facts.append(StudyFacts(study, own, own_files, request, counts))
    return facts


def run_counts(
    frame: pd.DataFrame, requests: Mapping[str, RequestedStudy]
) -> pd.DataFrame:
    """Return one row per setting: how many of its runs had each outcome.

    Columns: study, setting_id, problem, label; expected, complete, diverged,
    incomplete, missing; diverged_seeds, incomplete_seeds and missing_seeds ("0 3").

    Args:
        frame: Records with `COLUMNS`; may be empty.
        requests: What was requested, by study, as far as is known.
    """
    rows: list[dict[str, Any]] = []
    settings: list[Mapping[str, Any]] = []
    for runs in by_setting(frame) if len(frame) else []:
        request = requests.get(runs.study)
        requested = set(request.seeds.get(runs.setting_id, ())) if request else set()
        seeds = {
            "complete": runs.seeds,
            "diverged": runs.diverged,
            "incomplete": runs.incomplete,
            "missing": sorted(requested - runs.present) if requested else runs.missing,
        }
        rows.append(_count(runs.study, runs.setting_id, seeds))
        settings.append(runs.setting)
    recorded = {(row["study"], row["setting_id"]) for row in rows}
    for study, request in requests.items():
        for name, setting in request.settings.items():
            if (study, name) not in recorded:
                missing = {"missing": sorted(request.seeds[name])}
                rows.append(_count(study, name, missing))
                settings.append(setting)
    problems = [str(setting["problem"]) for setting in settings]
    for problem in dict.fromkeys(problems):
        same = [i for i, other in enumerate(problems) if other == problem]
        names = labels([settings[i] for i in same])
        for i, label in zip(same, names, strict=True):
            rows[i] |= {"problem": problem, "label": label}
    data = pd.DataFrame(rows)
    first = ["study", "setting_id", "problem", "label"]
    return data[first + [name for name in data if name not in first]]


def _count(
    study: str, setting_id: str, seeds: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Return a row of `run_counts` from the seeds of each outcome."""
    counts = {outcome: len(seeds.get(outcome, ())) for outcome in OUTCOMES}
    names = {
        f"{outcome}_seeds": " ".join(map(str, seeds.get(outcome, ())))
        for outcome in OUTCOMES[1:]
    }
    expected = sum(counts.values())
    who = {"study": study, "setting_id": setting_id, "expected": expected}
    return {**who, **counts, **names}


def about_sheets(facts: StudyFacts) -> list[Sheet]:
    """Return the facts of a study, and the counts of its runs by problem."""
    columns = [Column("what"), Column("is")]
    sheet = Sheet(f"Study {facts.study}", "", columns, list(_facts(facts)), [])
    parts = facts.counts.groupby("problem", sort=False)
    return [sheet, *(runs_sheet(facts.study, str(p), part) for p, part in parts)]


def _facts(facts: StudyFacts) -> Iterator[list[str]]:
    """Yield the name and the value of each fact."""
    counts, request, records = facts.counts, facts.request, facts.records
    sums = counts[["expected", *OUTCOMES]].sum()
    numbers = ", ".join(f"{sums[outcome]:,} {outcome}" for outcome in OUTCOMES[1:])
    yield [
        "runs",
        f"{sums['complete']:,} of {sums['expected']:,} complete, {numbers}",
    ]
    if request and request.checkpoints:
        yield ["running", f"{request.checkpoints} stacks of runs have a checkpoint"]
    if request and request.failed:
        stack, reason = next(iter(request.failed.items()))
        yield ["failed", f"{len(request.failed)} stacks, for example {stack}: {reason}"]
    yield ["settings", f"{len(counts):,}"]
    if records.empty:
        return
    streams = records[["problem", "dataset", "tasks"]].drop_duplicates()
    for problem, part in streams.groupby("problem", sort=False):
        pairs = zip(part["tasks"], part["dataset"], strict=True)
        yield [str(problem), "; ".join(f"{n} tasks of {name}" for n, name in pairs)]
    seeds = sorted(set(records["seed"].tolist()))
    spans = name_seeds(" ".join(map(str, seeds))).partition(" ")[2]
    yield ["seeds", f"{len(seeds)} ({spans})"]
    files = len(facts.files)
    yield ["records", f"{len(records):,} (one per run and task) in {files:,} files"]
    yield ["updates", f"{int(records['steps'].sum()):,}"]
    yield ["examples", f"{int((records['steps'] * records['batch_size']).sum()):,}"]
    yield ["training time", clock(float(records["seconds"].sum()))]
    yield ["device", ", ".join(sorted(set(records["device"].tolist())))]
    for key, name in MADE_WITH.items():
        values = [file.metadata.get(key, "unknown") for file in facts.files]
        if set(values) != {"unknown"}:
            yield [name, _with_counts(values)]


def _with_counts(values: Sequence[str]) -> str:
    """Return the values of files, with the number of files where they differ.

    >>> _with_counts(["a", "a"]), _with_counts(["a", "b", "a"])
    ('a', 'a (2 files), b (1 file)')
    """
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return ", ".join(
        f"{value} ({count} file{'s' if count > 1 else ''})"
        for value, count in counts.most_common()
    )


def runs_sheet(study: str, problem: str, counts: pd.DataFrame) -> Sheet:
    """Return the counts of the settings of one problem."""
    numbers = ("expected", *OUTCOMES)
    columns = [
        Column("setting"),
        Column("setting_id"),
        *(Column(name, right=True) for name in numbers),
        Column("seeds without a complete run"),
    ]
    cells = []
    for row in counts.to_dict("records"):
        seeds = [
            f"{outcome}: {name_seeds(row[f'{outcome}_seeds'])}"
            for outcome in OUTCOMES[1:]
            if row[f"{outcome}_seeds"]
        ]
        numbers_of_row = [str(row[name]) for name in numbers]
        start = [row["label"], row["setting_id"]]
        cells.append([*start, *numbers_of_row, "; ".join(seeds) or "–"])
    return Sheet(f"Runs on {problem}, study {study}", "", columns, cells, [])


def clock(seconds: float) -> str:
    """Return a duration in one or two units.

    >>> clock(4.21), clock(200), clock(3700)
    ('4.2 s', '3 min 20 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600):,} h {int(seconds % 3600 // 60)} min"
