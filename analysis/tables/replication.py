"""Print published numbers beside our numbers, and say which are reproduced."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.comparing.published import (
    COLUMNS,
    DIFFERENT,
    PUBLICATIONS,
    REPRODUCED,
    UNDECIDED,
    Publication,
    replication,
)
from analysis.records.load import EVERYTHING, Selection, load
from analysis.records.runs import plain_rows
from analysis.statistics.metrics import MEASURES
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import value_cell

LISTED = 11
"""The table shows about this many tasks, and the task with the largest difference."""

KEY = ["publication", "study", "setting_id"]
"""The columns that identify a publication and the setting that repeats it."""

EXPLANATION = (
    "ours: the mean over the complete runs ± half of its 95% t-interval. published: ± "
    "half of the 95% interval that follows from the published standard error and, if "
    "the number was read from a picture, from the reading error.",
    "within: yes if the difference is within the tolerance; no if its whole 95% "
    "interval, which combines the intervals of both numbers, is outside the tolerance; "
    "else undecided. The table shows some tasks of a curve, and the task with the "
    "largest difference. --format csv prints all tasks.",
)


def print_replication(
    results: str, format: str = "rich", selection: Selection = EVERYTHING
) -> None:
    """Print published numbers beside the numbers of the runs that repeat them.

    The arguments are as in `print_tables`.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    data = replication(load(results, COLUMNS, *selection))
    explanation = () if data.empty else EXPLANATION
    print_sheets(data, replication_sheets(data), explanation, format)
    if format != "csv":
        print("\n".join([*verdicts(data), *unrepeated(data)]))


def verdicts(data: pd.DataFrame) -> list[str]:
    """Return for each repeated publication whether its numbers are reproduced.

    Here and below, `data` is as `analysis.comparing.published.replication` returns it.
    """
    return [
        f"{name}: {_verdict(part, PUBLICATIONS[str(name)])}"
        for (name, _, _), part in data.groupby(KEY, sort=False)
    ]


def unrepeated(data: pd.DataFrame) -> list[str]:
    """Return the commands that repeat the publications that no setting repeats yet."""
    return [
        f"{name}: not repeated in these results. To repeat it: python -m study.sweep "
        f"{publication.study}"
        for name, publication in PUBLICATIONS.items()
        if name not in set(data["publication"])
    ]


def _verdict(part: pd.DataFrame, publication: Publication) -> str:
    """Return the sentences on the numbers of one publication and one setting."""
    measure = MEASURES[publication.measure]
    unit, scale = measure.unit_of_difference, measure.scale
    difference = scale * part["difference"].to_numpy(dtype=float)
    worst = int(np.abs(difference).argmax())
    counted = part["verdict"].value_counts()
    wrong, open_, right = (
        int(counted.get(verdict, 0)) for verdict in (DIFFERENT, UNDECIDED, REPRODUCED)
    )
    within = f"reproduced within {scale * publication.tolerance:.2f} {unit}"
    counts = f"{part['runs'].iloc[0]} runs here, {publication.runs} published"
    if len(part) == 1:
        beginning = {DIFFERENT: "not ", UNDECIDED: "it is undecided whether this is "}
        return (
            f"{beginning.get(part['verdict'].iloc[0], '')}{within}: the difference is "
            f"{difference[0]:+.2f} {unit} ({counts})."
        )
    if wrong:
        within = f"not {within} at {wrong} of {len(part)} tasks"
    elif open_:
        widest = f"{scale * part['noise'].max():.2f} {unit}"
        noise = f"the 95% interval of a difference is up to ± {widest}"
        if part["lo"].isna().any():
            noise = "one run does not show how much runs differ"
        within = (
            f"it is undecided whether the curve is {within}: {right} of {len(part)} "
            "tasks are. At the other tasks, the measured difference is above the "
            f"tolerance, but the true difference is possibly below it, because {noise}"
        )
    tasks = part["task"].to_numpy(dtype=float)
    peaks = [int(tasks[part[name].argmax()]) for name in ("mean", "published")]
    near = [f"{t:.0f}" for t in tasks[part["near_peak"].astype(bool)] if t != peaks[0]]
    open_peak = f" (or, because of noise, at task {' or '.join(near)})" if near else ""
    known = part[part["lo"].notna()]
    nonzero = int((known["difference"].abs() > known["noise"]).sum())
    outside = (
        f" At {nonzero} of {len(known)} tasks, the 95% interval of the difference does "
        f"not contain 0; noise alone would cause about {0.05 * len(known):.0f} such "
        "tasks."
        if len(known)
        else ""
    )
    return (
        f"{within}. The largest difference is {difference[worst]:+.2f} {unit}, at task "
        f"{tasks[worst]:.0f}; the mean difference over {len(part)} tasks is "
        f"{difference.mean():+.2f} {unit} ({counts}).{outside} The peak "
        f"is at task {peaks[0]} here{open_peak} and at task {peaks[1]} in the "
        "publication."
    )


def replication_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table for each setting that repeats a publication."""
    return [
        _sheet(part, PUBLICATIONS[str(name)], str(study))
        for (name, study, _), part in data.groupby(KEY, sort=False)
    ]


def _sheet(part: pd.DataFrame, publication: Publication, study: str) -> Sheet:
    measure = MEASURES[publication.measure]

    def level(row: Row, name: str, lo: str, hi: str) -> str:
        half = "n/a"
        if row[lo] is not None:
            half = f"{measure.scale * (row[hi] - row[lo]) / 2:.2f}"
        return f"{measure.scale * row[name]:.2f} ± {half}"

    cells: Cells = {
        number("task"): lambda row: (
            "all" if row["task"] is None else f"{row['task']:.0f}"
        ),
        number("ours", measure.unit): lambda row: level(row, "mean", "lo", "hi"),
        number("published", measure.unit): lambda row: level(
            row, "published", "published_lo", "published_hi"
        ),
        number("difference", measure.unit_of_difference): lambda row: (
            f"{measure.scale * row['difference']:+.2f}"
        ),
        Column("within"): value_cell("verdict"),
    }
    return make_sheet(
        f"{publication.name}, study {study}",
        f"{measure.words} of {publication.source}; {publication.method}",
        cells,
        plain_rows(part.iloc[list(_shown(part))]),
    )


def _shown(part: pd.DataFrame) -> Iterator[int]:
    """Yield the positions of the rows to show: at equal distances, and the worst one.

    A curve changes most at its first tasks, so tasks 1 and 2 are shown too.
    """
    places = np.linspace(0, len(part) - 1, min(LISTED, len(part))).round().astype(int)
    worst = int(part["difference"].abs().to_numpy().argmax())
    early = range(min(3, len(part)))
    yield from sorted({*places.tolist(), *early, worst})
