"""Show what was run: settings, seeds, code, machines, time and missing runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.records.load import Records, RecordsFile, load_records
from analysis.records.measure import OWN_MEASURES, own_measure
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
from trainables.usage import UsageError, format_duration

COLUMNS = ("steps", "seconds", "device", "engine")
"""The columns that this module reads, besides `NEEDED` and the problems' measures."""

MADE_WITH = {
    "commit": "code",
    **{n: n for n in ("python", "torch", "numpy", "ray", "pyarrow")},
    "plasticity-study": "plasticity-study",
    "cpu": "processor",
    "gpu": "GPU",
    "schema_version": "schema",
}
"""The metadata keys of the records files, and the name of each key in the table."""

OUTCOMES = ("complete", "diverged", "incomplete", "missing")
"""The states of a run, explained in `EXPLANATION`."""

COUNTS = (
    *("study", "setting_id", "problem", "label", "expected", *OUTCOMES),
    *(f"{outcome}_seeds" for outcome in OUTCOMES[1:]),
)
"""The columns of the table that `run_counts` returns."""

EXPLANATION = (
    "complete: the run finished all its tasks and did not diverge. The means in all "
    "tables are over complete runs only. diverged: the loss or a weight became "
    "infinite or not a number. incomplete: some tasks of the run have no records. "
    "missing: the run was requested, but it has no records. If the study has no "
    "study.json, a seed counts as requested if at least half of the settings have it.",
    "training time: wall time of the tasks, summed over all runs. Runs that train "
    "together (a stack) share the time equally. examples: updates times the batch "
    "size.",
)


@attrs.frozen
class StudyFacts:
    """The facts about one study that the tables and the report show."""

    study: str
    records: pd.DataFrame  # its records with `COLUMNS`; can be empty
    files: Sequence[RecordsFile]  # the files that contain the records
    request: RequestedStudy | None  # None if it has no study.json
    counts: pd.DataFrame  # the result of `run_counts`


def print_about(results: str, format: str = "rich", where: str | None = None) -> None:
    """Print what was run. In the format csv, print only the table of `run_counts`.

    Raises:
        UsageError: There are no readable records and no study.json, the filter leaves
            no records, or a file of records is damaged.
    """
    requests = read_requests(results)
    records = load_or_empty(results, COLUMNS, where, requests)
    if where is not None:
        # Requested runs that the filter leaves out must not count as missing.
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
    """Load records, with the measures of all problems.

    If no run of the studies has records yet, return an empty table.

    Raises:
        UsageError: The records cannot be loaded. If there is a study.json and no
            filter, missing records are no error.
    """
    try:
        return load_records(results, [*columns, *OWN_MEASURES], where)
    except UsageError as error:
        if where is None and requests and str(error).startswith("no records in "):
            names = [*NEEDED, *columns, *OWN_MEASURES]
            empty = pa.table({name: [] for name in names})
            return Records(empty, [], dict(KNOWN_COLUMNS))
        raise


def study_facts(
    frame: pd.DataFrame,
    files: Sequence[RecordsFile],
    requests: Mapping[str, RequestedStudy],
) -> list[StudyFacts]:
    """Return the facts of each study with records or a study.json, sorted by name."""
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
    """Return one row per setting of a study: its number of runs with each outcome.

    The columns of the result are `COUNTS`. The columns that end in _seeds list the
    seeds as text, for example "0 3". The arguments are as in `StudyFacts`.
    """
    settings: list[Runs] = []
    if len(frame):
        measures = frame["problem"].astype(str).map(own_measure)
        for measure, part in frame.groupby(measures, sort=False):
            settings += by_setting(part, str(measure))
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
    labels = {
        runs.setting_id: label
        for _, group, names in by_problem(settings)
        for runs, label in zip(group, names, strict=True)
    }
    rows = []
    for runs in settings:
        row: dict[str, Any] = {"study": study, "setting_id": runs.setting_id}
        row["problem"], row["label"] = runs.setting["problem"], labels[runs.setting_id]
        seeds = (runs.seeds, runs.diverged, runs.incomplete, runs.missing)
        row["expected"] = sum(map(len, seeds))
        for outcome, own in zip(OUTCOMES, seeds, strict=True):
            row[outcome], row[f"{outcome}_seeds"] = len(own), " ".join(map(str, own))
        rows.append(row)
    return pd.DataFrame(rows, columns=COUNTS)


def _compare_with_request(runs: Runs, request: RequestedStudy) -> Runs:
    """Return the runs, with `missing` set to the requested seeds without records."""
    if requested := request.seeds.get(runs.setting_id):
        return attrs.evolve(runs, missing=tuple(sorted(requested - runs.present)))
    return runs


def about_sheets(facts: StudyFacts) -> list[Sheet]:
    """Return a sheet of facts about a study, then a sheet of runs for each problem."""
    columns = [Column("what"), Column("is")]
    sheet = Sheet(f"Study {facts.study}", "", columns, list(_facts(facts)))
    parts = facts.counts.groupby("problem", sort=False)
    return [sheet, *(runs_sheet(facts.study, str(p), part) for p, part in parts)]


def _facts(facts: StudyFacts) -> Iterator[list[str]]:
    """Yield one row of text per fact: its name and its value."""
    counts, request, records = facts.counts, facts.request, facts.records
    sums = counts[["expected", *OUTCOMES]].sum()
    numbers = ", ".join(f"{sums[outcome]:,} {outcome}" for outcome in OUTCOMES[1:])
    complete = f"{sums['complete']:,} of {sums['expected']:,} complete"
    yield ["runs", f"{complete}, {numbers}"]
    stacks = "stacks (runs that train together)"
    if request and request.checkpoints:
        yield ["running", f"{request.checkpoints} {stacks} have a checkpoint"]
    if request and request.failed:
        stack, reason = next(iter(request.failed.items()))
        example = f"for example {stack}: {reason}"
        yield ["failed", f"{len(request.failed)} {stacks}, {example}"]
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
    # The results of other programs can lack steps and times.
    if records["steps"].notna().any():
        yield ["updates", f"{int(records['steps'].sum()):,}"]
    examples = records["steps"] * records["batch_size"]
    if examples.notna().any():
        yield ["examples", f"{int(examples.sum()):,}"]
    if records["seconds"].notna().any():
        yield ["training time", format_duration(float(records["seconds"].sum()))]
    if devices := sorted(set(records["device"].dropna().tolist())):
        yield ["device", ", ".join(devices)]
    engines = records.dropna(subset=["engine"]).groupby("setting_id")["engine"].unique()
    if names := sorted(set(chain.from_iterable(engines))):
        yield ["engine", ", ".join(names)]
    if changed := sum(len(own) > 1 for own in engines):
        text = f"{changed:,} of {len(counts):,} settings have runs of several engines"
        yield ["mixed engines", text]
    for key, name in MADE_WITH.items():
        values = [file.metadata.get(key, "unknown") for file in facts.files]
        if set(values) != {"unknown"}:
            yield [name, _with_counts(values)]


def _with_counts(values: Sequence[str]) -> str:
    """Return the value that all files share, or each value with its number of files.

    >>> _with_counts(["a", "a"]), _with_counts(["a", "b", "a"])
    ('a', 'a (2 files), b (1 file)')
    """
    if len(counts := Counter(sorted(values)).most_common()) == 1:
        return values[0]
    return ", ".join(f"{v} ({n} file{'s' if n > 1 else ''})" for v, n in counts)


def runs_sheet(study: str, problem: str, counts: pd.DataFrame) -> Sheet:
    """Return a sheet of the run counts of one problem, with one row per setting."""
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
