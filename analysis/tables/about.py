"""What was run: settings, seeds, code, machines, time, and which runs are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.records.load import Records, RecordsFile, load_records
from analysis.records.request import RequestedStudy, read_requests
from analysis.records.runs import NEEDED, Runs, by_problem, by_setting
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import name_seeds, value_cell
from trainables.record import KNOWN_COLUMNS
from trainables.usage import UsageError

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

COUNTS = (
    *("study", "setting_id", "problem", "label", "expected", *OUTCOMES),
    *(f"{outcome}_seeds" for outcome in OUTCOMES[1:]),
)
"""The columns of `run_counts`."""

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
    """What is known about one study."""

    study: str
    records: pd.DataFrame  # with `COLUMNS`; may be empty
    files: Sequence[RecordsFile]  # those of the records
    request: RequestedStudy | None  # its study.json, if there is one
    counts: pd.DataFrame  # its `run_counts`


def print_about(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print what was run; as csv, the `run_counts`.

    Raises:
        UsageError: There is neither a readable record nor a study.json.
    """
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
        counts = run_counts(study, own, request)
        facts.append(StudyFacts(study, own, own_files, request, counts))
    return facts


def run_counts(
    study: str, frame: pd.DataFrame, request: RequestedStudy | None
) -> pd.DataFrame:
    """Return one row per setting of a study: how many runs had each outcome.

    The columns are `COUNTS`, with seeds as text ("0 3"). The frame has the records of
    the study with `COLUMNS`; it may be empty.
    """
    settings = by_setting(frame) if len(frame) else []
    if request:
        recorded = {runs.setting_id for runs in settings}
        settings = [_compare_with_request(runs, request) for runs in settings]
        settings += [
            Runs(
                study=study,
                setting_id=setting_id,
                setting=setting,
                matrix=np.empty((0, setting["tasks"])),
                missing=tuple(sorted(request.seeds[setting_id])),
            )
            for setting_id, setting in request.settings.items()
            if setting_id not in recorded
        ]
    names = {
        runs.setting_id: {"problem": problem, "label": label}
        for problem, group, labels in by_problem(settings)
        for runs, label in zip(group, labels, strict=True)
    }
    rows = []
    for runs in settings:
        seeds = {
            "complete": runs.seeds,
            "diverged": runs.diverged,
            "incomplete": runs.incomplete,
            "missing": runs.missing,
        }
        rows.append(
            {
                "study": study,
                "setting_id": runs.setting_id,
                **names[runs.setting_id],
                "expected": sum(map(len, seeds.values())),
                **{outcome: len(own) for outcome, own in seeds.items()},
                **{
                    f"{outcome}_seeds": " ".join(map(str, seeds[outcome]))
                    for outcome in OUTCOMES[1:]
                },
            }
        )
    return pd.DataFrame(rows, columns=COUNTS)


def _compare_with_request(runs: Runs, request: RequestedStudy) -> Runs:
    """Return the runs with the requested seeds that are missing."""
    requested = request.seeds.get(runs.setting_id)
    if not requested:
        return runs
    return attrs.evolve(runs, missing=tuple(sorted(requested - runs.present)))


def about_sheets(facts: StudyFacts) -> list[Sheet]:
    """Return the facts of a study, and the counts of its runs by problem."""
    columns = [Column("what"), Column("is")]
    sheet = Sheet(f"Study {facts.study}", "", columns, list(_facts(facts)))
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
    if len(counts := Counter(values).most_common()) == 1:
        return values[0]
    return ", ".join(f"{v} ({n} file{'s' if n > 1 else ''})" for v, n in counts)


def runs_sheet(study: str, problem: str, counts: pd.DataFrame) -> Sheet:
    """Return the counts of the settings of one problem."""
    cells: Cells = {
        Column("setting"): value_cell("label"),
        Column("setting_id"): value_cell("setting_id"),
        **{number(name): value_cell(name) for name in ("expected", *OUTCOMES)},
        Column("seeds without a complete run"): _incomplete_seeds,
    }
    rows = counts.to_dict("records")
    return make_sheet(f"Runs on {problem}, study {study}", "", cells, rows)


def _incomplete_seeds(row: Row) -> str:
    seeds = {outcome: row[f"{outcome}_seeds"] for outcome in OUTCOMES[1:]}
    names = [f"{outcome}: {name_seeds(own)}" for outcome, own in seeds.items() if own]
    return "; ".join(names) or "–"


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
