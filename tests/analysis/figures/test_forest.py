"""The forest plot: its rows, their order and what is drawn of them."""

import zlib

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.comparing.compare import Question, compare
from analysis.comparing.verdicts import VERDICTS
from analysis.figures.forest import (
    LOOKS,
    MOST,
    PALE,
    Forest,
    differences,
    draw_forest,
    draw_panel,
    forest_sheets,
)
from analysis.figures.picture import STYLE, View
from analysis.figures.to_file import FigureRequest, draw_to_file
from tests.support.boxes import cut_texts, text_boxes
from tests.support.synthetic import frame, make_run, make_setting, write
from trainables.usage import UsageError

NOISE = np.random.default_rng(0).normal(0, 0.002, (8, 10))


def runs_of(level, seeds=range(8), **changes):
    """Return runs whose accuracy differs from `level` by noise of each seed."""
    setting = make_setting(tasks=10, **changes)
    own = np.random.default_rng(zlib.crc32(str(sorted(changes.items())).encode()))
    return [
        make_run(setting, s, accuracy=level + NOISE[s] + own.normal(0, 0.001, 10))
        for s in seeds
    ]


@pytest.fixture(scope="module")
def records():
    return frame(
        *runs_of(0.9),
        *runs_of(0.9, optimizer="sam", rho=0.1),
        *runs_of(0.95, optimizer="sam", rho=0.05),
        *runs_of(0.85, optimizer="sam", rho=0.5),
        *runs_of(0.93, optimizer="gnp", rho=0.05, alpha=0.7),
    )


def test_the_rows_are_those_of_compare(records):
    data = differences(records, View())
    expected = compare(records, Question())
    expected = expected[expected["against"] == "matched"].reset_index(drop=True)
    columns = expected.columns.tolist()
    pd.testing.assert_frame_equal(data[columns], expected)
    assert set(data.columns) - set(columns) == {"measure", "baseline", "margin"}


def test_rows_are_sorted_by_difference_within_a_method(records):
    forest = Forest.arrange(differences(records, View()))
    rows = forest.rows
    assert rows["optimizer"].tolist() == ["sam"] * 3 + ["gnp"]
    assert rows["rho"].tolist() == [0.05, 0.1, 0.5, 0.05]
    assert rows["y"].tolist() == [0, 1, 2, 3.5]
    assert rows["difference"].tolist() == pytest.approx([5, 0, -5, 3], abs=0.1)
    # Of a loss, less is better, and the best is at the top again.
    loss = Forest.arrange(differences(records, View(measure="train_loss")))
    assert loss.rows["rho"].tolist() == rows["rho"].tolist()
    assert loss.rows["difference"].tolist()[0] < 0


def test_a_row_shows_interval_verdict_and_what_was_detectable(records):
    forest = Forest.arrange(differences(records, View()))
    ax = Figure().subplots()
    draw_panel(forest, ax, 8)
    row = forest.rows.iloc[0]
    assert row["verdict"] == "better"
    points = {
        (float(x), float(y)): to_hex(line.get_color())
        for line in ax.lines
        for x, y in line.get_xydata()
        if line.get_linestyle() == "None"
    }
    assert points[row["difference"], row["y"]] == to_hex(LOOKS["better"][0])
    assert len(points) == 4
    segments = [s for c in ax.collections for s in c.get_segments()]
    assert [[row["lo"], row["y"]], [row["hi"], row["y"]]] in [
        segment.tolist() for segment in segments
    ]
    bars = {bar.get_y() + 0.45: bar for bar in ax.patches}
    bar = bars[row["y"]]
    assert to_hex(bar.get_facecolor()) == to_hex(PALE)
    assert (bar.get_x(), bar.get_width()) == pytest.approx(
        (-row["detectable"], 2 * row["detectable"])
    )
    lines = sorted(float(line.get_xdata()[0]) for line in ax.lines[:3])
    assert lines == pytest.approx([-0.5, 0, 0.5])
    assert [label.get_text() for label in ax.get_yticklabels()] == (
        forest.rows["label"].tolist()
    )


def test_every_verdict_has_a_look_of_its_own():
    assert LOOKS.keys() == VERDICTS.keys()
    drawn = [look for name, look in LOOKS.items() if name not in ("diverged", "n/a")]
    assert len({color for color, _ in drawn}) == len(drawn)
    assert len({marker for _, marker in drawn}) == len(drawn)


def test_of_many_settings_the_best_and_the_worst_of_each_method_are_drawn():
    runs = runs_of(0.9, range(3))
    for i in range(MOST + 10):
        runs += runs_of(0.8 + 0.004 * i, range(3), optimizer="sam", rho=0.01 + i)
    runs += runs_of(0.93, range(3), optimizer="gnp", rho=0.05, alpha=0.7)
    data = differences(frame(*runs), View())
    forest = Forest.arrange(data)
    sam = forest.rows[forest.rows["optimizer"] == "sam"]["rho"].round(2).tolist()
    each = MOST // 4
    best = [round(MOST + 9 - i + 0.01, 2) for i in range(each)]
    assert sam == best + [round(each - 1 - i + 0.01, 2) for i in range(each)]
    assert forest.hidden == MOST + 10 - 2 * each
    with rc_context(STYLE):
        figure = draw_forest(data)
        assert cut_texts(figure) == []
    words = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert f"are drawn, and {forest.hidden} settings are left out" in words


@pytest.mark.parametrize("width", [3.35, 7.5])
def test_long_labels_leave_half_of_the_figure_to_the_plot(width):
    shared = {"network": "conv", "conv_channels": "128-256-512"}
    runs = [
        run
        for channels in ({}, shared)
        for kind, rho in (("sgd", None), ("sam", 0.05))
        for run in runs_of(0.9, range(3), optimizer=kind, rho=rho, **channels)
    ]
    data = differences(frame(*runs), View())
    with rc_context(STYLE):
        figure = draw_forest(data, width)
        boxes = text_boxes(figure)
        (ax,) = figure.subfigs[0].axes
        assert cut_texts(figure) == []
    share = ax.get_position().width
    assert share > 0.45
    # no label covers another one
    labels = {label.get_text() for label in ax.get_yticklabels()}
    assert any("\n" in label for label in labels) == (width < 5)
    own = [box for text, box in boxes if text in labels]
    assert len(own) == 2
    assert not own[0].overlaps(own[1])


def test_a_network_that_learns_nothing_leaves_the_others_readable(records):
    dead = frame(*runs_of(0.1, optimizer="sam", rho=5.0))
    forest = Forest.arrange(differences(pd.concat([records, dead]), View()))
    low, high = forest.limits
    assert -20 < low < -5
    assert 5 < high < 20
    ax = Figure().subplots()
    draw_panel(forest, ax, 8)
    assert [text.get_text() for text in ax.texts] == ["-80.0"]


def test_an_interval_just_beyond_the_margin_is_not_cut():
    """Rows with tiny differences once cut an interval of a point, and its bar."""
    runs = [*runs_of(0.9), *runs_of(0.9001, optimizer="gnp", rho=0.05, alpha=0.7)]
    setting = make_setting(tasks=10, optimizer="sam", rho=0.1)
    wide = np.linspace(-0.012, 0.002, 8)
    runs += [make_run(setting, s, accuracy=0.9 + NOISE[s] + wide[s]) for s in range(8)]
    forest = Forest.arrange(differences(frame(*runs), View()))
    low, high = forest.limits
    assert low < forest.rows["lo"].min() < -0.65
    assert high > forest.rows["detectable"].max() > 0.65


def test_what_is_not_tested_has_no_bar_and_what_has_no_difference_no_row(records):
    setting = make_setting(tasks=10, optimizer="sam", rho=2.0)
    lost = [make_run(setting, s, diverged_at=3) for s in range(2)]
    some = [make_run(setting, s, accuracy=0.8 + NOISE[s]) for s in range(2, 8)]
    none = make_setting(tasks=10, optimizer="sam", rho=3.0)
    gone = [make_run(none, s, diverged_at=0) for s in range(8)]
    data = differences(pd.concat([records, frame(*lost, *some, *gone)]), View())
    forest = Forest.arrange(data)
    assert forest.unmatched == 1
    assert set(forest.rows["rho"]) == {0.05, 0.1, 0.5, 2.0}
    ax = Figure().subplots()
    draw_panel(forest, ax, 8)
    assert len(forest.rows) == 5
    assert len(ax.patches) == 4
    words = " ".join(t.get_text() for t in draw_forest(data).texts).replace("\n", " ")
    assert "1 settings are not drawn" in words


def test_the_table_has_a_line_per_setting(records):
    (sheet,) = forest_sheets(differences(records, View()))
    verdicts = [row[-1] for row in sheet.rows]
    assert verdicts == ["better", "the same", "worse", "better"]
    trend = differences(records, View(metrics=("accuracy_slope",)))
    (sheet,) = forest_sheets(trend)
    assert "pp over stream" in {column.unit for column in sheet.columns}


def test_a_trend_is_shown_over_the_stream(records):
    forest = Forest.arrange(differences(records, View(metrics=("accuracy_slope",))))
    data = differences(records, View(metrics=("accuracy_slope",)))
    for row in forest.rows.to_dict("records"):
        (own,) = data[data["setting_id"] == row["setting_id"]].to_dict("records")
        assert row["difference"] == pytest.approx(100 * 9 * own["difference"])
        assert row["margin"] == pytest.approx(0.5)


def test_without_a_matched_baseline_it_says_what_to_do(records):
    with pytest.raises(UsageError, match="Choose another baseline with --baseline"):
        differences(records[records["optimizer"] == "sgd"], View())
    other = records[(records["optimizer"] == "sam") | (records["seed"] < 0)]
    with pytest.raises(UsageError, match="unknown baseline 'sgd'"):
        differences(other, View())


def test_settings_are_chosen_after_the_comparison(tmp_path):
    runs = [*runs_of(0.9), *runs_of(0.95, optimizer="sam", rho=0.05)]
    runs += runs_of(0.93, optimizer="gnp", rho=0.05, alpha=0.7)
    write(tmp_path, "x", *runs)
    (name,) = {run["setting_id"][0].as_py() for run in runs[8:16]}
    for figure in ("forest", "difference"):
        file = tmp_path / f"{figure}.csv"
        request = FigureRequest(name=figure, results=str(tmp_path), settings=[name])
        draw_to_file(request, str(file))
        data = pd.read_csv(file)
        assert set(data["setting_id"]) == {name}
        if figure == "forest":  # SAM and GNP are tested, against two baselines each.
            assert data["tests"].tolist() == [4]
