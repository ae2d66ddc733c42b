"""Compare two results (A and B) of the same settings, from other code or machines.

Two runs with the same setting and seed are a pair, so the effect of the seed cancels.
If A and B share no seed of a setting, the means over all its runs are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.load import RecordsFile, join_metadata, load_records
from analysis.records.runs import Runs, by_problem, by_setting
from analysis.statistics.intervals import mean_interval, welch_interval
from analysis.statistics.metrics import METRICS, Metric
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import (
    first_and_count,
    metric_cell,
    unit_of_difference,
    value_cell,
    write_difference,
)
from trainables.usage import UsageError

METRIC_NAMES = ("accuracy_change", "accuracy_slope", "mean_accuracy", "plasticity_loss")
"""The metrics that `difference` compares."""

VERDICTS = {
    "same": "are the same",
    "within": "differ, but the 95% interval of the difference includes 0",
    "moved": "moved (the 95% interval of the difference excludes 0)",
    "n/a": "cannot be compared",
}
"""The words for each verdict. "same" and "moved" are shown even if their count is 0."""

EXPLANATION = (
    "A and B: the mean over the runs in each result. difference: B minus A, from pairs "
    "of runs with the same setting and seed. It is the mean ± half of its 95% "
    "t-interval over the n shared seeds. If A and B share no seed, it is the "
    "difference of the two means with Welch's interval. same: all pairs are equal. "
    "within: the interval includes 0. moved: the interval excludes 0. If nothing "
    "really changed, about one in twenty differences that are not the same still "
    "counts as moved.",
)


def print_difference(
    a: str, b: str, format: str = "rich", where: str | None = None
) -> None:
    """Print how the records under `b` differ from the records under `a`.

    Raises:
        UsageError: `a` or `b` has no records or has several studies, or no setting is
            in both.
    """
    records = [load_records(results, None, where) for results in (a, b)]
    for results, each in zip((a, b), records, strict=True):
        if len(studies := each.table["study"].unique().to_pylist()) > 1:
            raise UsageError(
                f"{results} has several studies ({', '.join(studies)}): give the "
                "folder of one study"
            )
    first, second = records
    frames = first.to_frame(), second.to_frame()
    data = difference(*frames)
    if data.empty:
        raise UsageError(
            f"no setting is in both {a} and {b}, so there is nothing to compare: give "
            "two results that have settings in common"
        )
    measures = [m for m in first.number_columns if m in second.number_columns]
    sheets = [
        metadata_sheet(first.files, second.files),
        equality_sheet(*frames, measures),
        *(
            make_sheet(f"{problem}: B minus A", "", CELLS, part.to_dict("records"))
            for problem, part in data.groupby("problem", sort=False)
        ),
    ]
    summary = describe_difference(data, *frames)
    print_sheets(data, sheets, [summary, *EXPLANATION], format)


def difference(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one row per metric for each setting that is in both frames.

    Settings with the same setting_id are equal, even if their studies differ. The
    columns are:

    - setting_id, problem, label, metric, tasks
    - runs_a, runs_b, pairs: the number of complete runs in `a`, in `b`, and of pairs
    - a, b: the mean over the runs in `a` and in `b`
    - difference, lo, hi: the mean of B minus A over the seeds that both have, and the
      ends of its 95% interval. If they share no seed, it is the difference of the
      columns b and a. The ends are NaN if there are too few runs.
    - verdict: a key of `VERDICTS`
    """
    others = {runs.setting_id: runs for runs in by_setting(b)}
    shared = [runs for runs in by_setting(a) if runs.setting_id in others]
    return pd.DataFrame(
        {
            "setting_id": runs.setting_id,
            "problem": problem,
            "label": label,
            "metric": name,
            "tasks": runs.setting["tasks"],
            **_compare_runs(runs, others[runs.setting_id], METRICS[name]),
        }
        for problem, group, labels in by_problem(shared)
        for runs, label in zip(group, labels, strict=True)
        for name in METRIC_NAMES
    )


def _compare_runs(one: Runs, other: Runs, metric: Metric) -> dict[str, Any]:
    """Return how one metric of a setting differs between two results."""
    a, b = metric(one.matrix), metric(other.matrix)
    shared = set(one.seeds) & set(other.seeds)
    before, after = (metric(r.select_seeds(shared).matrix) for r in (one, other))
    pairs = after - before
    mean, lo, hi = mean_interval(pairs) if shared else welch_interval(a, b)
    if shared and not pairs.any():
        verdict = "same"
    elif np.isnan(lo):
        verdict = "n/a"
    else:
        verdict = "moved" if lo > 0 or hi < 0 else "within"
    return {
        "runs_a": len(a),
        "runs_b": len(b),
        "pairs": len(shared),
        "a": float(mean_interval(a).mean),
        "b": float(mean_interval(b).mean),
        "difference": float(mean),
        "lo": float(lo),
        "hi": float(hi),
        "verdict": verdict,
    }


def metadata_sheet(a: Sequence[RecordsFile], b: Sequence[RecordsFile]) -> Sheet:
    """Return a sheet of the metadata (code, versions, hardware) that differ."""
    one, other = join_metadata(a, "–"), join_metadata(b, "–")
    rows = [
        [name, one.get(name, "–"), other.get(name, "–")]
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]
    caption = "" if rows else "the same code, versions and hardware"
    return Sheet("Provenance", caption, [Column(n) for n in ("what", "A", "B")], rows)


def equality_sheet(a: pd.DataFrame, b: pd.DataFrame, measures: Sequence[str]) -> Sheet:
    """Return a sheet of the equal values and the largest difference per measurement."""
    keys = ["run_id", "task"]
    shared = a.merge(b, on=keys, suffixes=("_a", "_b"))
    rows = []
    for name in measures:
        one, other = shared[f"{name}_a"].to_numpy(), shared[f"{name}_b"].to_numpy()
        measured = ~(np.isnan(one) & np.isnan(other))
        if not measured.any():
            continue
        equal = (one == other)[measured]
        largest = np.nanmax(np.abs(other - one)[measured], initial=0.0)
        unpaired = int((np.isnan(one) != np.isnan(other)).sum())
        cells = [name, f"{equal.sum():,} of {len(equal):,}", f"{largest:.3g}"]
        rows.append([*cells, str(unpaired or "–")])
    columns = [
        Column("column"),
        number("equal", "to the last bit"),
        number("largest difference"),
        number("null in one"),
    ]
    in_a, in_b = (len(frame.drop_duplicates(keys)) - len(shared) for frame in (a, b))
    caption = (
        f"{len(shared):,} records (one per run and task) are in A and B, "
        f"{in_a:,} in A only, {in_b:,} in B only"
    )
    return Sheet("Records", caption, columns, rows)


def _metric(row: Row) -> Metric:
    return METRICS[row["metric"]]


CELLS: Cells = {
    Column("setting"): value_cell("label"),
    Column("metric"): lambda row: (
        f"{_metric(row).words} ({unit_of_difference(_metric(row))})"
    ),
    number("n"): lambda row: str(
        row["pairs"] or f"{row['runs_a']} and {row['runs_b']}"
    ),
    number("A"): lambda row: metric_cell("a", _metric(row))(row),
    number("B"): lambda row: metric_cell("b", _metric(row))(row),
    number("difference"): lambda row: write_difference(row, _metric(row)),
    Column("verdict"): value_cell("verdict"),
}


def describe_difference(data: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame) -> str:
    """Return a sentence that counts the compared numbers by verdict."""
    counts = data["verdict"].value_counts()
    clauses = ", ".join(
        f"{counts.get(verdict, 0)} {words}"
        for verdict, words in VERDICTS.items()
        if verdict in counts or verdict in ("same", "moved")
    )
    only_in = sorted(set(a["setting_id"]) ^ set(b["setting_id"]))
    ending = f" Settings in A or B only: {first_and_count(only_in)}." if only_in else ""
    settings = data["setting_id"].nunique()
    return f"Of {len(data)} numbers of {settings} settings, {clauses}.{ending}"
