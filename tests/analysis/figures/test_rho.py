"""The figures of a sweep of rho: their data, and what is drawn of it."""

import itertools
import re

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.picture import SIZES, STYLE
from analysis.figures.rho import (
    MOST,
    PANELS,
    READABLE,
    RING,
    Grid,
    colors_of,
    draw_panel,
    draw_rho_figure,
    panels_of,
    rho_grid,
    scale_limits,
)
from analysis.figures.to_file import FigureRequest, draw_to_file
from analysis.records.runs import by_setting
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from tests.support.synthetic import frame, hash_of, make_run, make_setting, write
from tests.support.synthetic_rho import rho_run, rho_runs, rho_settings
from trainables.usage import UsageError

SMALL = {"rates": (0.1, 0.01), "rhos": (0.001, 0.1, 2.0), "tasks": 10}


@pytest.fixture(scope="module")
def records():
    problems = ("permuted", "pairwise")
    return frame(*(run for p in problems for run in rho_runs(p, range(4), **SMALL)))


@pytest.fixture(scope="module")
def grid(records):
    return rho_grid(records)


@pytest.fixture(scope="module")
def figure(grid):
    """The figure of all data, with the places of its texts."""
    with rc_context(STYLE):
        figure = draw_rho_figure(grid)
        figure.draw_without_rendering()
    return figure


def test_the_data_is_a_row_a_setting_and_metric(records, grid):
    assert len(grid) == 2 * 2 * 20
    assert not grid.duplicated(["setting_id", "metric"]).any()
    assert grid["panel"].unique().tolist() == [
        "SGD",
        "SAM",
        "GNP alpha 0.5",
        "GNP alpha 0.8",
    ]
    runs = by_setting(records)[0]
    (row,) = grid[
        (grid["setting_id"] == runs.setting_id) & (grid["metric"] == "plasticity_loss")
    ].to_dict("records")
    expected = mean_interval(METRICS["plasticity_loss"](runs.matrix))
    assert (row["mean"], row["lo"], row["hi"]) == tuple(map(float, expected))


def test_what_diverged_is_counted(grid):
    lost = grid[(grid["rho"] == 2) & (grid["lr"] == 0.1) & (grid["optimizer"] == "sam")]
    assert set(lost["diverged"]) == {4}
    assert lost["mean"].isna().all()
    assert set(grid["expected"]) == {4}


def test_the_ring_is_at_the_best_late_level_for_every_metric(grid):
    whole = grid[grid["diverged"] == 0]
    for _, part in whole.groupby("problem"):
        late = part[part["metric"] == "late_accuracy"]
        (level,) = late[late["best"]].to_dict("records")
        assert level["mean"] == late["mean"].max()
        trend = part[part["metric"] == "plasticity_loss"]
        (ringed,) = trend[trend["best"]].to_dict("records")
        assert ringed["setting_id"] == level["setting_id"]
    # The flattest setting learns nothing, and has no ring.
    flattest = trend.loc[trend["mean"].idxmin()]
    assert not flattest["best"]


def test_a_network_that_learns_nothing_has_no_ring():
    """On 450562d the best plasticity loss had the ring, here that of 10%."""
    good = make_setting(tasks=10, optimizer="sam", rho=0.05)
    dead = make_setting(tasks=10, optimizer="sam", rho=2.0)
    falls, flat = np.linspace(0.95, 0.9, 10), np.full(10, 0.1)
    runs = [make_run(good, s, accuracy=falls) for s in range(2)]
    runs += [make_run(dead, s, accuracy=flat) for s in range(2)]
    data = rho_grid(frame(*runs), ["plasticity_loss"])
    assert data[data["best"]]["rho"].tolist() == [0.05]


def words_of(figure):
    texts = (text.get_text() for text in figure.texts)
    return " ".join(texts).replace("\n", " ")


def test_seeds_without_a_complete_run_are_not_counted_as_seeds():
    """The map once said "mean over 4 seeds" of a mean over two."""
    settings = [make_setting(tasks=10, optimizer="sam", rho=rho) for rho in (0.1, 0.2)]
    runs = [make_run(settings[0], seed) for seed in range(4)]
    runs += [make_run(settings[1], s, rows=None if s < 2 else 5) for s in range(4)]
    words = words_of(draw_rho_figure(rho_grid(frame(*runs), ["mean_accuracy"])))
    said = "Mean over 2 to 4 seeds of 4 (the other seeds have no complete run);"
    assert said in words
    assert "nothing to lose" not in words


def test_a_map_of_a_trend_says_that_no_level_is_no_loss(figure):
    words = words_of(figure)
    assert "Mean over 4 seeds; lighter is better;" in words
    assert "a network that never learns has nothing to lose" in words


def test_a_panel_names_the_base_of_its_settings():
    """SAM on Adam stood as "SAM" beside "SGD"."""
    adam = {"base": "adam", "beta1": 0.9, "beta2": 0.999, "adam_eps": 1e-8}
    settings = [
        make_setting(tasks=4),
        make_setting(tasks=4, **adam),
        make_setting(tasks=4, optimizer="sam", rho=0.1, **adam),
    ]
    data = rho_grid(frame(*(make_run(s, 0) for s in settings)), ["mean_accuracy"])
    assert data["panel"].tolist() == ["SGD", "SGD adam", "SAM adam"]


def test_a_cell_with_a_diverged_run_is_grey():
    """On 450562d the mean of the one surviving run of ten shone as the best."""
    sam = make_setting(tasks=4, optimizer="sam", rho=2.0)
    runs = [make_run(sam, s, diverged_at=1) for s in range(9)]
    runs.append(make_run(sam, 9, accuracy=np.full(4, 0.99)))
    data = rho_grid(frame(*runs), ["mean_accuracy"])
    ax = Figure().subplots()
    draw_panel(data, ax, [2.0], [0.01], colors_of(data))
    red, green, blue, _ = ax.patches[0].get_facecolor()
    assert red == green == blue
    assert [text.get_text() for text in ax.texts] == ["9/10"]
    assert not data["best"].any()


def test_another_measure_has_its_own_unit_and_direction(records):
    data = rho_grid(records, ["mean_accuracy"], "train_loss")
    figure = draw_rho_figure(data)
    head = figure.texts[0].get_text().replace("\n", " ")
    assert head == (
        "permuted (mnist, 10 tasks): mean train loss (nats), lower is better"
    )
    late = rho_grid(records, ["late_accuracy"], "train_loss")
    for _, part in late[late["diverged"] == 0].groupby("problem"):
        assert part[part["best"]]["mean"].tolist() == [part["mean"].min()]


def test_seeds_that_confirm_move_no_cell(records, grid):
    best = grid[grid["best"] & (grid["problem"] == "permuted")]["setting_id"].iloc[0]
    settings = {hash_of(s): s for s in rho_settings("permuted", **SMALL)}
    more = frame(*(rho_run(settings[best], seed) for seed in (8, 9)))
    both = rho_grid(pd.concat([records, more], ignore_index=True))
    pd.testing.assert_frame_equal(both, grid)


@given(
    values=st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=30),
    higher=st.booleans(),
)
def test_a_scale_ends_at_the_best_and_holds_most(values, higher):
    low, high = scale_limits(values, higher)
    assert low < high
    assert (high == max(values)) if higher else (low == min(values))
    beyond = [not low <= value <= high for value in values]
    assert sum(beyond) <= np.ceil(0.15 * len(values))
    turned = scale_limits([-value for value in values], not higher)
    assert turned == (-high, -low)


def drawn(data, **keys):
    """Return the axes with one panel, and its cells' texts and rings."""
    part = data
    for name, value in keys.items():
        part = part[part[name] == value]
    row = data[
        (data["problem"] == keys["problem"]) & (data["metric"] == keys["metric"])
    ]
    ax = Figure().subplots()
    rates = sorted(set(data["lr"]))
    draw_panel(part, ax, panels_of(data)[keys["panel"]], rates, colors_of(row))
    return ax, part


def test_a_panel_is_drawn_on_axes_of_ones_own(grid):
    ax, part = drawn(grid, problem="permuted", metric="late_accuracy", panel="SAM")
    words = {text.get_position(): text.get_text() for text in ax.texts}
    for cell in part.to_dict("records"):
        place = (
            [0.001, 0.1, 2.0].index(cell["rho"]) + 0.5,
            [0.01, 0.1].index(cell["lr"]) + 0.47,
        )
        lost = f"{cell['diverged']}/{cell['expected']}"
        expected = lost if cell["diverged"] else f"{100 * cell['mean']:.1f}"
        assert words[place] == expected
    hatched = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()]
    assert len(hatched) == (part["diverged"] > 0).sum() > 0
    assert ax.get_title() == "SAM"


def rings(figure):
    return [
        patch
        for ax in figure.axes
        for patch in ax.patches
        if patch.get_edgecolor()[:3] == pytest.approx(to_rgb(RING))
    ]


def test_a_row_has_one_ring_and_one_scale(figure):
    assert len(rings(figure)) == 4
    assert len(figure.axes) == 4 * (4 + 1)  # the panels, and the scale
    heads = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert heads[:2] == [
        "permuted (mnist, 10 tasks): late accuracy (%), higher is better",
        "permuted (mnist, 10 tasks): plasticity loss (pp), lower is better",
    ]


def test_a_cell_that_was_not_run_is_empty(records):
    some = records[(records["rho"].isna()) | (records["lr"] == 0.01)]
    data = rho_grid(some)
    ax, _ = drawn(data, problem="permuted", metric="late_accuracy", panel="SAM")
    assert len(ax.texts) == 3
    assert ax.get_ylim() == (0, 2)


def test_light_is_better_both_ways_and_grey_tells_it(grid):
    for metric, sign in (("late_accuracy", 1), ("plasticity_loss", -1)):
        row = grid[(grid["problem"] == "permuted") & (grid["metric"] == metric)]
        colors = colors_of(row)
        low, high = colors.get_clim()
        shades = colors.to_rgba(np.linspace(low, high, 20))[:, :3]
        grey = shades @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(sign * grey) > 0).all()


def test_no_words_overlap(figure):
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
    for ax in figure.axes:
        boxes += [text.get_window_extent() for text in ax.texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_many_values_make_no_grid():
    kinds = [
        make_setting(tasks=2, optimizer="sam", rho=0.01 * i) for i in range(1, MOST + 2)
    ]
    data = frame(*(make_run(kind, 0, accuracy=[0.5, 0.5]) for kind in kinds))
    with pytest.raises(UsageError, match=rf"{MOST + 1} values of rho"):
        rho_grid(data)
    kinds = [
        make_setting(tasks=2, optimizer="sam", rho=0.1, momentum=0.1 * i)
        for i in range(PANELS + 1)
    ]
    data = frame(*(make_run(kind, 0, accuracy=[0.5, 0.5]) for kind in kinds))
    with pytest.raises(UsageError, match=rf"{PANELS + 1} panels"):
        rho_grid(data)


def test_without_a_rho_there_is_nothing_to_draw():
    with pytest.raises(UsageError, match="no setting has a rho"):
        rho_grid(frame(make_run(make_setting(tasks=2), 0, accuracy=[0.5, 0.5])))


def test_nothing_but_divergence_still_draws():
    sam = make_setting(tasks=3, optimizer="sam", rho=0.1)
    kinds = (make_setting(tasks=3), sam)
    data = rho_grid(frame(*(make_run(kind, 0, diverged_at=0) for kind in kinds)))
    figure = draw_rho_figure(data)
    figure.draw_without_rendering()
    assert figure.axes[0].texts


def test_a_single_cell_draws():
    sam = make_setting(tasks=3, optimizer="sam", rho=0.1)
    data = rho_grid(frame(make_run(sam, 0, accuracy=[0.5, 0.5, 0.5])))
    figure = draw_rho_figure(data)
    figure.draw_without_rendering()
    assert figure.axes[0].texts


def test_in_a_narrow_paper_panels_stand_below_each_other(grid):
    figure = draw_rho_figure(grid, SIZES["one-column"])
    assert figure.get_figwidth() == SIZES["one-column"]
    assert len(figure.axes) == 4 * (4 + 1)
    for ax in figure.axes:
        box = ax.get_position()
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1
    boxes = [ax.get_position() for ax in figure.axes]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_they_are_drawn_into_files(tmp_path):
    write(tmp_path, "x", *rho_runs("permuted", range(2), **SMALL))
    plain = {**SMALL, "rhos": ()}
    fresh = rho_settings("permuted", **plain, intervention="fresh")
    write(tmp_path, "y", *(rho_run(k, s, "fresh") for k in fresh for s in (0, 1)))
    request = FigureRequest(name="rho", results=str(tmp_path), study="rho")
    draw_to_file(request, str(tmp_path / "f.svg"))
    drawn = (tmp_path / "f.svg").read_text("utf-8")
    words = " ".join(re.sub("<[^>]+>", " ", drawn).split())
    # a title may have several lines
    assert "plasticity loss (pp), lower is better" in words
    for metric, said in (
        ("accuracy_slope", "accuracy slope (pp over stream)"),
        ("relative_plasticity_loss", "relative plasticity loss"),
    ):
        draw_to_file(attrs.evolve(request, metric=metric), str(tmp_path / "f.csv"))
        assert said in words_of(draw_rho_figure(pd.read_csv(tmp_path / "f.csv")))


def panel_data(*names, rhos):
    rows = [{"panel": name, "lr": 0.1, "rho": rho} for name in names for rho in rhos]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("count", range(1, 25))
def test_cells_of_a_line_that_was_made_for_numbers_have_room_for_numbers(count):
    data = panel_data("SAM", "GNP", rhos=range(1, count + 1))
    grid = Grid.arrange(data, SIZES["two-column"])
    fits = READABLE * count <= SIZES["two-column"] - 1.5
    assert (grid.cell >= READABLE) == fits


def test_a_long_name_has_several_lines_and_leaves_the_cells_as_wide():
    name = "SAM adam shrink_and_perturb beta1 0.9 perturb 0.01 shrink 0.5"
    grid = Grid.arrange(panel_data("SGD", name, rhos=[0.1, 0.2]), SIZES["one-column"])
    assert grid.cell >= READABLE
    assert grid.names[name].replace("\n", " ") == name
    assert "\n" in grid.names[name]
    assert grid.name_room > 0


def test_a_metric_is_only_for_figures_of_metrics(tmp_path):
    def request_of(name, metric):
        return FigureRequest(name=name, results=str(tmp_path), metric=metric)

    with pytest.raises(UsageError, match="has no effect on the figure accuracy"):
        draw_to_file(request_of("accuracy", "mean_accuracy"), "f.svg")
    with pytest.raises(UsageError, match=r"unknown metric 'loss'"):
        draw_to_file(request_of("rho", "loss"), "f.svg")


def test_only_relative_rows_need_a_fresh_network(records):
    with pytest.raises(UsageError, match="needs runs with the intervention fresh"):
        rho_grid(records, ["relative_accuracy_slope"])
