"""The forest plot of a comparison: a row per setting, against its matched baseline.

A row shows the difference, its 95% interval and the verdict. The pale bar behind a row
shows which true differences the test would find with a probability below 80%.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.comparing.baselines import method_of
from analysis.comparing.compare import Question, compare
from analysis.comparing.verdicts import VERDICTS
from analysis.figures.picture import (
    NARROW,
    Heading,
    Picture,
    View,
    describe_stream,
    escape_text,
    legend_columns,
    text_width,
    wrap_text,
)
from analysis.records.runs import plain_rows
from analysis.statistics.metrics import DEFAULT, MEASURE, MEASURES, Metric, find_metric
from analysis.tables.formats import Cells, Column, Row, Sheet, make_sheet, number
from analysis.tables.words import (
    baseline_words,
    metric_cell,
    unit_of_difference,
    value_cell,
    write_difference,
    write_value,
)
from trainables.usage import UsageError

MOST = 40
"""The maximum number of rows of a problem that stays readable."""

LOOKS: dict[str, tuple[str, str]] = {
    "better": ("#009E73", ">"),
    "worse": ("#D55E00", "<"),
    "flatter but lower": ("#CC79A7", "v"),
    "flatter, level open": ("#56B4E9", "D"),
    "steeper but higher": ("#E69F00", "^"),
    "the same": ("#0072B2", "s"),
    "undecided": ("0.35", "o"),
    "diverged": ("0.6", "X"),
    "at chance": ("0.6", "*"),
    "n/a": ("0.6", "o"),
}
"""The color and the marker of each verdict. The markers can be told apart in grey."""

UNTESTED = ("diverged", "at chance")
"""The verdicts whose names in the legend begin with "not tested"."""

HOLLOW = ("undecided", "n/a")
"""The verdicts with a hollow marker."""

PALE = "0.9"  # the color of the bar of differences that would not be found
FAR = 3.0  # rows beyond this many times the reach of most rows are drawn at the edge


def differences(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return how each setting differs from its matched baseline.

    For a relative metric, the records of fresh networks must come last.

    Returns:
        The rows of `analysis.comparing.compare.compare` against the matched baseline,
        and the columns measure, baseline and margin of the question.

    Raises:
        UsageError: The baseline is unknown, or no setting has a matched baseline with
            complete runs of the same seeds.
    """
    (name,) = view.metrics or (DEFAULT,)
    question = Question(
        metric=find_metric(name, view.measure),
        baseline=view.baseline,
        study=frame["study"].iloc[0],
    )
    data = compare(frame, question)
    if len(data):
        data = data[data["against"] == "matched"].reset_index(drop=True)
    if data.empty or data["difference"].isna().all():
        raise no_baseline(view.baseline)
    margin = question.margin
    return data.assign(measure=view.measure, baseline=view.baseline, margin=margin)


def no_baseline(name: str) -> UsageError:
    """Return the error if no setting has a matched baseline; `name` is as in `View`."""
    return UsageError(
        f"no setting can be compared with the baseline {name}: the baseline needs "
        "otherwise equal values and complete runs with the same seeds. Choose another "
        "baseline with --baseline, for example none (no remedy)"
    )


@attrs.frozen(eq=False)
class Forest:
    """The rows of one problem, from top to bottom, in the unit of the axis."""

    rows: pd.DataFrame  # rows of `differences`, with the columns method and y
    metric: Metric
    hidden: int  # the number of settings that are left out because there are too many
    unmatched: int  # the number of settings without a difference

    @classmethod
    def arrange(cls, part: pd.DataFrame) -> Forest:
        """Sort the rows of a problem by method, and by difference within a method.

        The best row of a method is its first row. If there are more than `MOST` rows,
        only the best and the worst rows of each method stay.
        """
        first = part.iloc[0]
        metric = find_metric(first["metric"], first["measure"])
        scale = MEASURES[metric.measure].scale
        rows = part[part["difference"].notna()].copy()
        steps = np.array([metric.steps(tasks) for tasks in rows["tasks"]])
        for name in ("difference", "lo", "hi", "detectable"):
            rows[name] = scale * steps * rows[name]
        rows["margin"] *= scale
        methods = [method_of(row) for row in plain_rows(rows)]
        order = {method: i for i, method in enumerate(dict.fromkeys(methods))}
        rows["method"] = [order[method] for method in methods]
        ascending = [True, not metric.higher]
        rows = rows.sort_values(["method", "difference"], ascending=ascending)
        shown = rows
        if len(rows) > MOST:
            each = max(1, MOST // (2 * len(order)))
            groups = rows.groupby("method", sort=False)
            place, back = groups.cumcount(), groups.cumcount(ascending=False)
            shown = rows[(place < each) | (back < each)]
        gaps = shown["method"].rank(method="dense") - 1
        shown = shown.assign(y=np.arange(len(shown)) + 0.5 * gaps)
        return cls(shown, metric, len(rows) - len(shown), len(part) - len(rows))

    @property
    def limits(self) -> tuple[float, float]:
        """The limits of the axis, which contain zero, the margin, most rows and bars.

        A few rows can be much farther from zero than the others, for example that of a
        network that learns nothing. They are drawn at the edge, so that the other rows
        stay readable.
        """
        rows = self.rows
        ends = rows[["lo", "hi"]].to_numpy()
        ends = np.where(np.isnan(ends), rows[["difference"]].to_numpy(), ends)
        reach = np.abs(ends).max(axis=1)
        sign = 1 if self.metric.higher else -1
        good = sign * rows["difference"].to_numpy()
        margin = 1.3 * rows["margin"].iloc[0]
        most = FAR * max(margin, np.median(reach[good >= np.median(good)]))
        near = ends[reach <= most]
        near = near if len(near) else ends
        bars = rows["detectable"].fillna(0).to_numpy()
        bar = max(margin, bars[bars <= most].max(initial=0))
        low, high = min(-bar, near[:, 0].min()), max(bar, near[:, 1].max())
        room = 0.05 * (high - low)
        return float(low - room), float(high + room)

    @property
    def height(self) -> float:
        """The height of the panel, in rows. Gaps between methods add to it."""
        return float((self.rows["y"] + _more_rows(self.rows["label"]) / 2).max()) + 1

    def wrap_labels(self, width: float, size: float) -> Forest:
        """Return a copy whose labels leave half of a figure of this width to the plot.

        `width` is in inches, and `size`, the font size, in points.
        """
        rows = self.rows.assign(
            label=[
                wrap_text(escape_text(label), width / 2, size)
                for label in self.rows["label"]
            ]
        )
        more = _more_rows(rows["label"])
        return attrs.evolve(
            self, rows=rows.assign(y=rows["y"] + more.cumsum() - more / 2)
        )

    @property
    def title(self) -> str:
        """What the panel shows, and the unit."""
        row = self.rows.iloc[0]
        name = baseline_words(row["baseline"])
        text = f"difference in {self.metric.words} to {name}, all else equal"
        unit = unit_of_difference(self.metric)
        return f"{describe_stream(self.rows)}: {escape_text(text)} ({unit})"


def _more_rows(labels: pd.Series[str]) -> pd.Series[float]:
    """Return how many rows each label is higher than a label of one line."""
    return 0.85 * labels.str.count("\n")


def draw_forest(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the forest plot: a panel per problem, a row per setting.

    `data` is as `differences` returns it.
    """
    width = width or 7.5
    narrow = width < NARROW
    size = 7 if narrow else 8
    forests = [
        Forest.arrange(part).wrap_labels(width, size)
        for _, part in data.groupby("problem", sort=False)
        if part["difference"].notna().any()
    ]
    titles = [wrap_text(f.title, width - 0.2, size + 1, bold=True) for f in forests]
    row = 0.135 if narrow else 0.165
    heights = [
        0.65 + 0.17 * title.count("\n") + row * forest.height
        for title, forest in zip(titles, forests, strict=True)
    ]
    handles = _legend(forests, data["margin"].iloc[0])
    widest = max(text_width(str(h.get_label()), size) for h in handles) + 0.5
    columns = legend_columns(len(handles), widest, width)
    foot = 0.1 + 0.02 * size * -(-len(handles) // columns)
    head = _heading(forests, data, width)
    figure = head.make_figure(sum(heights) + foot)
    blocks = figure.subfigures(
        len(forests) + 1, 1, squeeze=False, height_ratios=[*heights, foot]
    )[:, 0]
    for block, forest, title in zip(blocks, forests, titles, strict=False):
        block.suptitle(title, x=0.1 / width, ha="left", size=size + 1, weight="bold")
        draw_panel(forest, block.subplots(), size)
    blocks[-1].legend(
        handles=handles,
        loc="center left",
        ncols=columns,
        frameon=False,
        fontsize=size,
        handlelength=1.5,
        columnspacing=1,
        borderaxespad=0.1,
    )
    head.draw(figure)
    return figure


def draw_panel(forest: Forest, ax: Axes, size: float) -> None:
    """Draw the rows of one problem on axes; `size` is the font size in points."""
    rows, (low, high) = forest.rows, forest.limits
    tested = rows[~rows["verdict"].isin([*UNTESTED, "n/a"])]
    bar = tested["detectable"]
    ax.barh(tested["y"], 2 * bar, 0.9, -bar, color=PALE)
    ax.axvline(0, color="0.35", linewidth=0.8)
    margin = rows["margin"].iloc[0]
    for x in (-margin, margin):
        ax.axvline(x, color="0.35", linewidth=0.7, linestyle=(0, (2, 2)))
    for verdict, part in rows.groupby("verdict", sort=False):
        color, marker = LOOKS[str(verdict)]
        inside = part[part["difference"].between(low, high)]
        ax.hlines(inside["y"], inside["lo"], inside["hi"], color=color, linewidth=1.1)
        face = "white" if verdict in HOLLOW else color
        style: Any = {"linestyle": "none", "color": color, "markersize": 0.55 * size}
        ax.plot(inside["difference"], inside["y"], marker=marker, mfc=face, **style)
        for row in part[~part.index.isin(inside.index)].to_dict("records"):
            _draw_far(row, ax, (low, high), color, size)
    ax.set_xlim(low, high)
    ax.set_ylim(forest.height - 0.4, -0.6)
    ax.set_yticks(rows["y"], rows["label"])
    ax.tick_params(labelsize=size)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    higher = "right" if forest.metric.higher else "left"
    unit = unit_of_difference(forest.metric)
    ax.set_xlabel(f"difference ({unit}), {higher} is better", size=size)


def _draw_far(
    row: Row, ax: Axes, limits: tuple[float, float], color: str, size: float
) -> None:
    """Draw an arrow at the edge for a row beyond it, with the row's difference."""
    left = row["difference"] < limits[0]
    edge, sign = (limits[0], 1) if left else (limits[1], -1)
    text = f"{row['difference']:.1f}"
    ax.annotate(
        text,
        (edge, row["y"]),
        (sign * 1.8 * size, 0),
        textcoords="offset points",
        ha="left" if left else "right",
        va="center",
        size=size - 0.5,
        color=color,
        arrowprops={"arrowstyle": "-|>", "color": color, "shrinkA": 1, "shrinkB": 0},
    )


def _legend(forests: Sequence[Forest], margin: float) -> list[Any]:
    """Return the handles of the legend: verdicts that occur, the bar, the margin."""
    verdicts = {verdict for forest in forests for verdict in forest.rows["verdict"]}
    handles: list[Any] = []
    for verdict, (color, marker) in LOOKS.items():
        if verdict in verdicts:
            face = "white" if verdict in HOLLOW else color
            style: Any = {"color": color, "marker": marker, "mfc": face, "ms": 4}
            untested = verdict in UNTESTED
            label = f"not tested: {verdict}" if untested else VERDICTS[verdict]
            handles.append(Line2D([], [], label=label, linewidth=1.1, **style))
    handles.append(Patch(color=PALE, label="smaller than detectable"))
    metric = forests[0].metric
    text = f"margin, ± {write_value(margin, metric)} {unit_of_difference(metric)}"
    style = {"color": "0.35", "linewidth": 0.7, "linestyle": (0, (2, 2))}
    return [*handles, Line2D([], [], label=text, **style)]


def _heading(forests: Sequence[Forest], data: pd.DataFrame, width: float) -> Heading:
    """Return the heading, which explains the signs and says what is left out."""
    row = data.iloc[0]
    sentences = [
        "Mean difference over seeds with its 95% interval; the verdicts are corrected "
        "for all tests of a problem (Holm). Pale bar: true differences that the test "
        "would find with a probability below 80%."
    ]
    for forest in forests:
        problem = forest.rows["problem"].iloc[0]
        if forest.hidden:
            sentences.append(
                f"{problem}: only the best and the worst settings of each method are "
                f"drawn, and {forest.hidden} settings are left out."
            )
        if forest.unmatched:
            sentences.append(
                f"{problem}: {forest.unmatched} settings are not drawn, because they "
                "have no baseline with otherwise equal values, or because no seed has "
                "complete runs of the setting and of its baseline."
            )
    name = baseline_words(row["baseline"])
    title = f"Every setting against {name}, study {row['study']}"
    return Heading(title, escape_text(" ".join(sentences)), width)


def forest_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table of the differences for each problem."""
    sheets = []
    for problem, part in data.groupby("problem", sort=False):
        first = part.iloc[0]
        metric = find_metric(first["metric"], first["measure"])
        unit = unit_of_difference(metric)
        cells: Cells = {
            Column("setting"): value_cell("label"),
            Column("baseline"): value_cell("baseline_label"),
            number("n"): value_cell("pairs"),
            number("difference", unit): partial(write_difference, metric=metric),
            number("detectable", unit): metric_cell("detectable", metric),
            Column("verdict"): value_cell("verdict"),
        }
        name = baseline_words(first["baseline"])
        title = f"{problem}: difference in {metric.words} to {name}, all else equal"
        sheets.append(make_sheet(title, "", cells, plain_rows(part)))
    return sheets


FIGURE = Picture(
    title="Every setting against the baseline",
    meaning="difference to the baseline with all else equal, with interval and "
    "verdict: a row per setting",
    columns=(MEASURE,),
    data=lambda frame, view, columns: differences(frame, view),
    draw=draw_forest,
    numbers=forest_sheets,
    metrics=(DEFAULT,),
    any_measure=True,
    compares=True,
)
