"""The heading of a figure by task: what its lines are, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.figures.curves.data import SEEDS
from analysis.figures.curves.panel import Kind, Panel
from analysis.figures.picture import Heading, escape_text
from analysis.tables.words import count_range


def make_heading(
    data: pd.DataFrame, titles: Mapping[str, str], width: float, kind: Kind
) -> Heading:
    """Return the heading of a figure: its study, its lines, and what it leaves out."""
    study = data["study"].iloc[0]
    title = f"Study {study}"
    if len(titles) == 1:
        words = next(iter(titles.values())).partition(" (")[0]
        comma = "," if "," in words else ""
        title = f"{words[0].upper()}{words[1:]}{comma} by task, study {study}"
    sentences = [kind.note, _describe_lines(data, kind)]
    panels = [
        Panel(part=part, kind=kind)
        for _, part in data.groupby(["problem", "measure"], sort=False)
    ]
    if any(panel.wide for panel in panels):
        sentences.append("Bands wider than two thirds of a panel are left out.")
    if any(panel.crowded - panel.wide for panel in panels):
        words = "Bands that cover the lines of two other settings are left out."
        sentences.append(words)
    if any(
        panel.is_cut(own)
        for panel in panels
        for name, own in panel.curves()
        if name not in panel.without_band
    ):
        sentences.append("Bands are cut off at the edge of a panel.")
    if (data["lo"].isna() & (data["runs"] > 1)).any():
        sentences.append("No band: a run of the setting or of its baseline diverged.")
    survivors = data[(data["runs"] > 0) & (data["diverged"] > 0)]
    if names := escape_text(", ".join(dict.fromkeys(survivors["label"]))):
        text = "Some runs diverged, so the mean of the other runs is too good"
        sentences.append(f"{text}: {names}.")
    missing = data[data["runs"] == 0]
    for problem, part in missing.groupby("problem", sort=False):
        pairs = zip(part["label"], part["diverged"], strict=True)
        names = ", ".join(f"{name} ({count} diverged)" for name, count in pairs)
        text = f"{problem}, not drawn because no run is complete: {names}."
        sentences.append(escape_text(text))
    return Heading(title, " ".join(filter(None, sentences)), width)


def _describe_lines(data: pd.DataFrame, kind: Kind) -> str:
    """Return a sentence that explains the lines and the bands of a figure."""
    counts = set(data.loc[data["runs"] > 0, "runs"])
    if not counts:
        return "No setting has a complete run."
    if counts == {1}:
        return "One run per setting, so there is no interval."
    text = f"Line: mean over {count_range(counts)} seeds. Band: {kind.band}."
    return f"{text} Thin lines: single seeds." if min(counts) < SEEDS else text
