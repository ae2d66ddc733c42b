"""Print the claims ledger: what the data say of each claim of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.comparing.claims import BETWEEN, CLAIMS, COLUMNS, claims
from analysis.records.load import load
from analysis.records.runs import plain_rows
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

EXPLANATION = (
    "The paper is Koster & Kukla 2024 (arXiv 2409.17300). Differences are paired by "
    "seed. The number that decides is the number that shows the verdict. If a claim "
    "about every number is undecided, it is the number that supports the claim least. "
    "If a claim about at least one number is undecided, it is the number that supports "
    "the claim most. Its interval is the 95% t-interval over the n seeds.",
    "undecided: the data show neither the claim nor its opposite, so undecided does "
    "not mean that the claim is false. detectable: the smallest true difference that "
    "the test would find with a probability of 80%.",
    "by the slope: claims on a change are judged by the paper's own measure, in which "
    "only the first and the last task count. The column by the slope has the verdict "
    "if the change is measured by the slope, in which every task counts.",
    "The tests of one claim on one stream are corrected together, where the rule says "
    "so. They are not corrected for the number of claims.",
    'setup: how the stream differs from the stream of the study "paper". The text of '
    'the publication does not give all its numbers, so the study "paper" takes the '
    "others from the sources that the publication cites.",
)


def print_claims(results: str, format: str = "rich") -> None:
    """Print what the data say of each claim; the arguments are as in `print_tables`.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    data = claims(load(results, COLUMNS), results)
    print_sheets(data, claim_sheets(data), EXPLANATION, format)


def claim_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return four sheets: verdicts, rules, numbers, and claims that data cannot judge.

    `data` is as `analysis.comparing.claims.claims` returns it.
    """
    return [verdict_sheet(data), rule_sheet(), number_sheet(data), unjudged_sheet()]


def verdict_sheet(data: pd.DataFrame) -> Sheet:
    """Return a sheet of the verdicts, with a line per claim and problem."""
    rows = plain_rows(data)
    cells: Cells = {
        Column("claim"): value_cell("claim"),
        Column("the paper says"): lambda row: f"{row['text']} ({row['section']})",
        Column("problem"): value_cell("problem"),
        Column("setup"): value_cell("setup"),
        Column("study"): value_cell("study"),
        Column("verdict"): value_cell("verdict"),
        Column("by the slope"): lambda row: row["by_slope"] or "",
        number("number", "95% interval"): _interval,
        Column("unit"): value_cell("unit"),
        Column("of"): lambda row: " ".join(
            filter(None, [row["subject"] or "–", row["note"] and f"({row['note']})"])
        ),
        number("n"): lambda row: str(row["n"]),
        number("detectable"): lambda row: _two(row["detectable"]),
    }
    if len({row["study"] for row in rows} - {None}) < 2:
        del cells[Column("study")]
    if not any(row["setup"] for row in rows):
        del cells[Column("setup")]
    return make_sheet(
        "The claims of the paper",
        "what these records say of each claim, and the number that decides",
        cells,
        rows,
        _notes(rows),
    )


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the commands that measure the claims that are not measured yet."""
    commands: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == "not measured":
            name = f"{row['claim']} ({row['problem']})"
            commands.setdefault(row["command"], []).append(name)
    for command, names in commands.items():
        yield f"Not measured: {', '.join(names)}. To measure: {command}"


def rule_sheet() -> Sheet:
    """Return a sheet that says how each claim is judged."""
    return Sheet(
        "How each claim is judged",
        "a line per claim",
        [Column("claim"), Column("rule")],
        [[claim.id, claim.how] for claim in CLAIMS.values() if claim.judge],
    )


def number_sheet(data: pd.DataFrame) -> Sheet:
    """Return a sheet of all numbers, and the commands for the deciding numbers."""
    rows: list[Row] = []
    for row in plain_rows(data):
        command = row["command"] if row["verdict"] != "not measured" else ""
        for line in filter(None, row["evidence"].split(BETWEEN)):
            rows.append({**row, "evidence": line, "command": command})
            command = ""
    cells: Cells = {
        Column("claim"): value_cell("claim"),
        Column("problem"): value_cell("problem"),
        Column("study"): value_cell("study"),
        Column("numbers"): value_cell("evidence"),
        Column("command"): value_cell("command"),
    }
    if len({row["study"] for row in rows}) < 2:
        del cells[Column("study")]
    return make_sheet(
        "What the verdicts rest on",
        "all numbers of each claim with their 95% intervals, and the command that "
        "prints the number that decides",
        cells,
        rows,
    )


def unjudged_sheet() -> Sheet:
    """Return a sheet of the claims that data cannot judge, with the reasons."""
    rows = [claim for claim in CLAIMS.values() if claim.judge is None]
    return Sheet(
        "Claims that are not judged by data",
        "with the reason",
        [Column("claim"), Column("the paper says"), Column("reason")],
        [[claim.id, f"{claim.text} ({claim.section})", claim.how] for claim in rows],
    )


def _interval(row: Row) -> str:
    """Return the number with the ends of its interval.

    >>> row = {"value": -0.314, "lo": -0.5, "hi": -0.1, "unit": "pp"}
    >>> _interval(row)
    '-0.31 (-0.50 to -0.10)'
    """
    if row["value"] is None:
        return "n/a"
    ends = f"{_two(row['lo'])} to {_two(row['hi'])}"
    return f"{_two(row['value'])} ({'no interval' if row['lo'] is None else ends})"


def _two(value: float | None) -> str:
    return "n/a" if value is None else f"{round(value, 2) + 0.0:.2f}"
