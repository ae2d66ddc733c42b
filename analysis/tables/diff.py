"""Difference: the same settings, other code or another machine, and what moved.

Runs of one setting and seed are paired, so that what the seed decides cancels. Where
the two have no seed in common, their means are compared as those of two samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.records.load import RecordsFile, load_with_files
from analysis.records.runs import NEEDED, Runs, by_setting, labels
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from analysis.tables.words import LONGEST, PER, percent
from trainables.record import KNOWN_COLUMNS, KNOWN_MEASURES
from trainables.usage import UsageError, choose

SHOWN = ("accuracy_change", "accuracy_slope", "mean_accuracy", "plasticity_loss")
NUMBERS = [
    n
    for n in KNOWN_MEASURES
    if KNOWN_COLUMNS[n].type == KNOWN_COLUMNS["test_accuracy"].type
]

EXPLANATION = (
    "A and B: mean over the runs of each. difference: B less A, run by run with the "
    "same setting and seed, mean ± half of its 95% t-interval over the n seeds that "
    "both have; where they have none in common, Welch's interval of the two means. "
    "same: no run differs. moved: by more than the interval. By chance alone one "
    "difference in twenty of those that are not the same would move so.",
)


def print_difference(
    one: str, other: str, format: str = "rich", where: str | None = None
) -> None:
    """Print what differs between the records under two places.

    Args:
        one: What `analysis.records.load.load` takes.
        other: The same; differences are these less the first.
        format: One of `analysis.tables.formats.FORMATS`, or csv.
        where: Which records of both, in the language of `analysis.records.where`.

    Raises:
        UsageError: There are no records, or no setting is in both.
    """
    choose("format", format, [*FORMATS, "csv"])
    needed = {*NEEDED, *NUMBERS}
    columns = [name for name in KNOWN_COLUMNS if name in needed]
    a, held_a = load_with_files(one, columns, where)
    b, held_b = load_with_files(other, columns, where)
    for place, frame in ((one, a), (other, b)):
        if len(studies := frame["study"].unique().tolist()) > 1:
            raise UsageError(
                f"{place} has several studies ({', '.join(studies)}): give the folder "
                "of one"
            )
    data = difference(a, b)
    if data.empty:
        raise UsageError(f"no setting is in both {one} and {other}: nothing to compare")
    sheets = [
        made_sheet(held_a, held_b),
        equal_sheet(a, b),
        *(
            _sheet(str(problem), part)
            for problem, part in data.groupby("problem", sort=False)
        ),
    ]
    words = [verdict(data, a, b)]
    print_sheets(data, sheets, [*words, *EXPLANATION], format)


def difference(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each setting that is in both, and each metric.

    Settings are the same by setting_id, whatever the study's name. Columns:
    setting_id, problem, label, metric; runs_a, runs_b, pairs; a, b (means over the runs
    of each), difference, lo, hi (NaN where there are too few runs), verdict (same,
    moved, within, or n/a).

    Args:
        a: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        b: The same.
    """
    first = {runs.setting_id: runs for runs in by_setting(a)}
    second = {runs.setting_id: runs for runs in by_setting(b)}
    both = [name for name in first if name in second]
    rows = []
    for problem in dict.fromkeys(first[name].setting["problem"] for name in both):
        mine = [name for name in both if first[name].setting["problem"] == problem]
        names = labels([first[name].setting for name in mine])
        for name, label in zip(mine, names, strict=True):
            who = {"setting_id": name, "problem": problem, "label": label}
            rows += [
                who | {"metric": metric} | _moved(first[name], second[name], metric)
                for metric in SHOWN
            ]
    return pd.DataFrame(rows)


def _moved(one: Runs, other: Runs, name: str) -> dict[str, Any]:
    """Return how a metric of a setting differs."""
    a, b = (METRICS[name](runs.matrix) for runs in (one, other))
    common = sorted(set(one.seeds) & set(other.seeds))
    if common:
        pairs = np.array(
            [b[other.seeds.index(seed)] - a[one.seeds.index(seed)] for seed in common]
        )
        mean, lo, hi = (float(v) for v in mean_interval(pairs))
        same = bool((pairs == 0).all())
    else:
        mean, lo, hi = welch_interval(a, b)
        same = False
    if same:
        said = "same"
    elif np.isnan(lo):
        said = "n/a"
    else:
        said = "moved" if lo > 0 or hi < 0 else "within"
    return {
        "runs_a": len(a),
        "runs_b": len(b),
        "pairs": len(common),
        "a": float(mean_interval(a).mean),
        "b": float(mean_interval(b).mean),
        "difference": mean,
        "lo": lo,
        "hi": hi,
        "verdict": said,
    }


def welch_interval(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return mean(b) - mean(a) with its 95% interval; NaN where there are too few.

    With v = s_a^2 / n_a + s_b^2 / n_b it is ± t(0.975; f) sqrt(v), and f = v^2 /
    ((s_a^2 / n_a)^2 / (n_a - 1) + (s_b^2 / n_b)^2 / (n_b - 1)). Source: Welch 1947.

    >>> mean, lo, hi = welch_interval(np.array([1.0, 2, 3]), np.array([3.0, 4, 5]))
    >>> round(mean, 3), round(lo, 3), round(hi, 3)
    (2.0, -0.267, 4.267)
    """
    from scipy.special import stdtrit

    mean = float(mean_interval(b).mean - mean_interval(a).mean)
    if min(len(a), len(b)) < 2:
        return mean, np.nan, np.nan
    parts = [values.var(ddof=1) / len(values) for values in (a, b)]
    v = sum(parts)
    if not v > 0:
        return mean, mean if v == 0 else np.nan, mean if v == 0 else np.nan
    freedom = v**2 / sum(
        p**2 / (len(values) - 1) for p, values in zip(parts, (a, b), strict=True)
    )
    half = float(stdtrit(freedom, 0.975) * np.sqrt(v))
    return mean, mean - half, mean + half


def made_sheet(a: Sequence[RecordsFile], b: Sequence[RecordsFile]) -> Sheet:
    """Return what made the two, where that differs."""

    def held(files: Sequence[RecordsFile]) -> Mapping[str, str]:
        names = dict.fromkeys(name for file in files for name in file.metadata)
        return {
            name: ", ".join(sorted({file.metadata.get(name, "–") for file in files}))
            for name in names
        }

    one, other = held(a), held(b)
    rows = [
        [name, one.get(name, "–"), other.get(name, "–")]
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]
    caption = "" if rows else "the same code, versions and hardware"
    return Sheet("Made by", caption, [Column(n) for n in ("what", "A", "B")], rows, [])


def equal_sheet(a: pd.DataFrame, b: pd.DataFrame) -> Sheet:
    """Return how many records are equal, column by column, and how far others are."""
    keys = ["run_id", "task"]
    both = a.merge(b, on=keys, suffixes=("_a", "_b"))
    rows = []
    for name in NUMBERS:
        one, other = both[f"{name}_a"].to_numpy(), both[f"{name}_b"].to_numpy()
        known = ~(np.isnan(one) & np.isnan(other))
        if not known.any():
            continue
        equal = (one == other)[known]
        apart = np.abs(other - one)[known]
        largest = np.nanmax(apart, initial=0.0)
        halves = int((np.isnan(one) != np.isnan(other)).sum())
        cells = [name, f"{equal.sum():,} of {len(equal):,}", f"{largest:.3g}"]
        rows.append([*cells, str(halves) if halves else "–"])
    columns = [
        Column("column"),
        Column("equal", "to the last bit", right=True),
        Column("largest difference", right=True),
        Column("null in one", right=True),
    ]
    lone = [len(frame.drop_duplicates(keys)) - len(both) for frame in (a, b)]
    caption = (
        f"{len(both):,} records of the same run and task; {lone[0]:,} more in A only, "
        f"{lone[1]:,} in B only"
    )
    return Sheet("Records", caption, columns, rows, [])


def _sheet(problem: str, part: pd.DataFrame) -> Sheet:
    """Return what moved on one problem."""
    columns = [
        Column("setting"),
        Column("metric"),
        Column("n", right=True),
        Column("A", right=True),
        Column("B", right=True),
        Column("difference", right=True),
        Column("verdict"),
    ]
    cells = []
    for row in part.to_dict("records"):
        metric = METRICS[row["metric"]]
        scale = PER if metric.per_task else 1
        unit = "pp/100 tasks" if metric.per_task else "pp"
        told = {
            n: percent(None if pd.isna(row[n]) else scale * row[n])
            for n in ("a", "b", "difference")
        }
        half = None if pd.isna(row["lo"]) else scale * (row["hi"] - row["lo"]) / 2
        count = row["pairs"] or f"{row['runs_a']} and {row['runs_b']}"
        name = f"{row['metric'].replace('_', ' ')} ({unit})"
        spread = f"{told['difference']} ± {percent(half)}"
        cells.append(
            [
                row["label"],
                name,
                str(count),
                told["a"],
                told["b"],
                spread,
                row["verdict"],
            ]
        )
    return Sheet(f"{problem}: B less A", "", columns, cells, [])


def verdict(data: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame) -> str:
    """Return what came out, in a sentence."""
    counts = data["verdict"].value_counts()
    told = ", ".join(
        f"{counts.get(name, 0)} {words}"
        for name, words in (
            ("same", "are the same"),
            ("within", "differ within their interval"),
            ("moved", "moved by more than it"),
            ("n/a", "cannot be told"),
        )
        if name in counts or name in ("same", "moved")
    )
    lone = sorted(set(a["setting_id"]) ^ set(b["setting_id"]))
    more = f" and {len(lone) - LONGEST} more" if len(lone) > LONGEST else ""
    only = f" Only in one: {', '.join(lone[:LONGEST])}{more}." if lone else ""
    settings = data["setting_id"].nunique()
    return f"Of {len(data)} numbers of {settings} settings {told}.{only}"
