import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context, rcParams
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.figures.accuracy import accuracy_by_task
from analysis.figures.curves.data import SEEDS, by_task, smooth, window_of
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.looks import line_looks
from analysis.figures.curves.panel import LINES, draw_measure
from analysis.figures.labels import spread
from analysis.figures.picture import COLORS, FORMATS, STYLE
from analysis.figures.to_file import FigureRequest, draw_to_file
from analysis.statistics.intervals import mean_interval
from tests.support.synthetic import (
    frame,
    make_run,
    make_setting,
    paper_settings,
    write,
    write_study,
)
from trainables.usage import UsageError


def six(problem="permuted", seeds=(0, 1, 2)):
    return [make_run(s, seed) for s in paper_settings(problem) for seed in seeds]


def request_of(results, name="accuracy", **options):
    return FigureRequest(name=name, results=str(results), **options)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def draw_panel(data, ax):
    draw_measure(data, "test_accuracy", ax)


def drawn_lines(ax):
    """Return the lines of data, without those that name them."""
    return [line for line in ax.lines if line.get_transform() == ax.transData]


def test_the_data_is_a_row_a_point():
    data = accuracy_by_task(frame(*six(), *six("pairwise")))
    assert len(data) == 6 * 100 + 6 * 45
    assert data["problem"].unique().tolist() == ["permuted", "pairwise"]
    points = data.groupby("setting_id")["task"].apply(list)
    assert set(map(tuple, points)) == {tuple(range(100)), tuple(range(45))}


def test_a_measure_that_is_always_zero_has_an_axis_that_can_be_read():
    runs = [
        make_run(make_setting(tasks=3), seed, accuracy=[0.0] * 3) for seed in (0, 1)
    ]
    ax = Figure().subplots()
    draw_panel(accuracy_by_task(frame(*runs)), ax)
    assert ax.get_ylim() == (0.0, 1.0)


def test_the_band_is_the_interval_over_runs():
    setting = make_setting(tasks=3)
    values = np.array([[0.5, 0.6, 0.7], [0.7, 0.6, 0.9]])
    runs = [make_run(setting, seed, accuracy=v) for seed, v in enumerate(values)]
    data = accuracy_by_task(frame(*runs))
    for name, expected in mean_interval(values)._asdict().items():
        assert data[name].tolist() == expected.tolist()
    assert data["mean"].tolist() == pytest.approx([0.6, 0.6, 0.8])


def test_runs_that_diverged_or_stopped_are_counted_and_not_drawn():
    setting = make_setting(tasks=3)
    lost = [make_run(setting, s, diverged_at=1) for s in (1, 2)]
    stopped = make_run(setting, 3, rows=2)
    data = accuracy_by_task(frame(make_run(setting, 0), *lost, stopped))
    assert data[
        ["runs", "expected", "diverged"]
    ].drop_duplicates().to_numpy().tolist() == [[1, 4, 2]]
    assert data["lo"].isna().all()


def test_a_setting_without_a_whole_run_is_one_empty_row():
    setting = make_setting(tasks=3)
    data = accuracy_by_task(frame(make_run(setting, 0, diverged_at=0)))
    assert data[["runs", "diverged", "task"]].to_numpy().tolist() == [[0, 1, 0]]
    assert data["mean"].isna().all()


def test_a_panel_is_drawn_on_axes_of_ones_own():
    ax = Figure().subplots()
    draw_panel(accuracy_by_task(frame(*six())), ax)
    lines = drawn_lines(ax)
    assert len(lines) == 6
    first = accuracy_by_task(frame(*six()))["mean"][:100]
    assert lines[0].get_ydata() == pytest.approx(100 * first)


def test_a_panel_a_problem_says_what_it_measures():
    figure = draw_by_task(accuracy_by_task(frame(*six(), *six("pairwise"))))
    assert [len(drawn_lines(ax)) for ax in figure.axes] == [6, 6]
    assert [ax.get_title().replace("\n", " ") for ax in figure.axes] == [
        "permuted (mnist, 100 tasks): test accuracy (%), moving mean over 5 tasks",
        "pairwise (mnist, 45 tasks): test accuracy (%)",
    ]
    assert [ax.get_xlabel() for ax in figure.axes] == ["task", "task"]


def test_names_stand_beside_the_data_and_apart():
    with rc_context(STYLE):
        figure = draw_by_task(accuracy_by_task(frame(*six("pairwise"))))
        figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = [text.get_window_extent() for text in ax.texts]
    assert sorted(texts(ax)) == sorted(
        f"{o} lr {lr}" for o in ("SGD", "SAM", "GNP") for lr in ("0.01", "0.001")
    )
    assert min(box.x0 for box in boxes) > ax.get_window_extent().x1
    ordered = sorted(boxes, key=lambda box: box.y0)
    assert all(a.y1 <= b.y0 for a, b in itertools.pairwise(ordered))


def test_an_axis_of_accuracy_ends_at_100_and_the_lines_fill_it():
    setting = make_setting(tasks=4)
    runs = [
        make_run(setting, seed, accuracy=[0.99, 0.98, low, 0.99])
        for seed, low in enumerate((0.2, 0.99))
    ]
    data = accuracy_by_task(frame(*runs))
    assert data["hi"].max() > 1
    figure = draw_by_task(data)
    bottom, top = figure.axes[0].get_ylim()
    assert top < 101
    assert bottom >= 0
    low, high = 100 * data["mean"].min(), 100 * data["mean"].max()
    assert (high - low) / (top - bottom) > 0.4
    # The band is far wider than the axis, so it would hide the lines.
    text = figure.texts[1].get_text().replace("\n", " ")
    assert "Bands wider than two thirds of a panel are left out." in text
    assert not bands_of(figure.axes[0])


def test_missing_runs_are_said_beside_the_line():
    runs = [*six(seeds=(0, 1)), *(make_run(s, 2) for s in paper_settings()[:3])]
    ax = Figure().subplots()
    draw_panel(accuracy_by_task(frame(*runs)), ax)
    names = ax.get_legend_handles_labels()[1]
    assert "SGD lr 0.01" in names
    assert "SAM lr 0.001 (2 of 3)" in names


def test_a_line_over_the_runs_that_survived_is_said_to_look_too_good():
    first, second, *_ = paper_settings()
    runs = [make_run(first, 0), make_run(first, 1, diverged_at=3), make_run(second, 0)]
    texts = draw_by_task(accuracy_by_task(frame(*runs))).texts
    words = " ".join(text.get_text() for text in texts).replace("\n", " ")
    assert "so the mean of the other runs is too good: SGD lr 0.01." in words
    alone = draw_by_task(accuracy_by_task(frame(runs[0], runs[2]))).texts
    assert not any("optimistic" in text.get_text() for text in alone)


def test_what_cannot_be_drawn_is_said():
    lost = make_run(make_setting(lr=0.5), 0, diverged_at=3)
    figure = draw_by_task(accuracy_by_task(frame(*six(seeds=(0,)), lost)))
    (ax,) = figure.axes
    note = "permuted, not drawn because no run is complete: SGD lr 0.5 (1 diverged)."
    assert note in figure.texts[1].get_text().replace("\n", " ")
    assert len(drawn_lines(ax)) == 6
    # The rate that is not drawn takes no dashes from those that are.
    assert drawn_lines(ax)[0].get_linestyle() == "-"


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((0,), "One run per setting"),
        ((0, 1), "Line: mean over 2 seeds. Band: 95% t-interval"),
    ],
)
def test_the_figure_says_what_its_band_is(seeds, said):
    figure = draw_by_task(accuracy_by_task(frame(*six(seeds=seeds))))
    assert figure.texts[1].get_text().startswith(said)


def test_a_single_task_is_a_dot():
    setting = make_setting(tasks=1)
    figure = draw_by_task(
        accuracy_by_task(frame(*(make_run(setting, s, accuracy=[0.5]) for s in (0, 1))))
    )
    (ax,) = figure.axes
    assert drawn_lines(ax)[0].get_marker() == "o"
    assert any(isinstance(item, LineCollection) for item in ax.collections)
    assert ax.get_xticks().tolist() == [0]


def test_nothing_but_divergence_still_draws():
    lost = make_run(make_setting(), 0, diverged_at=3)
    figure = draw_by_task(accuracy_by_task(frame(lost)))
    assert drawn_lines(figure.axes[0]) == []
    assert "No setting has a complete run" in figure.texts[1].get_text()


def settings_of(count):
    return [make_setting(tasks=3, weight_decay=i * 1e-3) for i in range(count)]


def test_as_many_lines_as_can_be_told_apart_and_no_more():
    runs = [make_run(s, 0, accuracy=[0.5, 0.6, 0.7]) for s in settings_of(LINES + 1)]
    ax = Figure().subplots()
    draw_panel(accuracy_by_task(frame(*runs[:-1])), ax)
    assert len(drawn_lines(ax)) == LINES
    with pytest.raises(
        UsageError, match=r"13 settings.*choose settings with --setting"
    ):
        draw_panel(accuracy_by_task(frame(*runs)), ax)


PAIRS = st.lists(
    st.tuples(
        st.sampled_from(["sgd", "sam", "gnp", "asam", "x", "y", "z", "u", "v", "w"]),
        st.sampled_from([1.0, 0.1, 0.01, 0.001, 0.0001]),
    ),
    min_size=1,
    max_size=LINES,
)


@given(pairs=PAIRS)
def test_no_two_lines_look_the_same(pairs):
    rates = sorted({lr for _, lr in pairs}, reverse=True)
    looks = line_looks(pairs, rates)
    assert len({(look["color"], look["linestyle"]) for look in looks}) == len(pairs)


def test_color_is_the_optimizer_and_dashes_the_rate():
    pairs = [(name, lr) for name in ("sgd", "sam", "gnp") for lr in (0.01, 0.001)]
    looks = line_looks(pairs, [0.01, 0.001])
    assert [look["color"] for look in looks[::2]] == list(COLORS.values())
    assert [look["color"] for look in looks[1::2]] == list(COLORS.values())
    assert {look["linestyle"] for look in looks[::2]} == {"-"}
    assert "-" not in {look["linestyle"] for look in looks[1::2]}


def test_the_papers_colors_differ_in_grey():
    greys = sorted(
        float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))
        for color in COLORS.values()
    )
    assert min(np.diff([*greys, 1.0])) > 0.25


@given(
    places=st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted),
    gap=st.floats(0.01, 0.08),
)
def test_names_are_spread_within_the_axes(places, gap):
    found = spread(places, gap)
    assert len(found) == len(places)
    assert min(np.diff(found), default=gap) >= gap - 1e-9
    assert -1e-9 <= found[0] <= found[-1] <= 1 + 1e-9


@given(places=st.lists(st.integers(0, 10), unique=True, min_size=1).map(sorted))
def test_names_with_room_stay_where_they_are(places):
    apart = [place / 10 for place in places]
    assert spread(apart, 0.099) == pytest.approx(apart)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    short = [
        make_setting(p, tasks=5, optimizer=o)
        for p in ("permuted", "pairwise")
        for o in COLORS
    ]
    write_study(folder, short, (0, 1))
    return folder


MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
TEXT = {"png": b"", "svg": b">GNP lr 0.01</text>", "pdf": b"/FontFile2"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_records_give_the_same_file_and_matplotlib_stays_as_it_was(
    results, tmp_path, suffix
):
    files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    before = dict(rcParams)
    for file in files:
        draw_to_file(request_of(results, problem="permuted"), str(file))
    assert dict(rcParams) == before
    one, two = (file.read_bytes() for file in files)
    assert one.startswith(MAGIC[suffix])
    assert TEXT[suffix] in one  # what is written stays text, in a font that is there
    assert one == two
    assert b"CreationDate" not in one
    assert b"dc:date" not in one


def test_a_problem_or_a_setting_can_be_chosen(results, tmp_path):
    setting_id = make_run(make_setting("pairwise", tasks=5), 0)["setting_id"][0].as_py()
    file = tmp_path / "f.svg"
    draw_to_file(request_of(results, problem="pairwise"), str(file))
    text = file.read_text("utf-8")
    assert "pairwise (mnist" in text
    assert "permuted (mnist" not in text
    draw_to_file(request_of(results, settings=[setting_id]), str(file))
    text = file.read_text("utf-8")
    assert "SGD lr" in text
    assert "SAM lr" not in text


def test_of_several_studies_one_must_be_chosen(tmp_path):
    for study in ("a", "b"):
        write(tmp_path, "x", make_run(make_setting(tasks=2), 0, study))
    file = tmp_path / "f.svg"
    with pytest.raises(UsageError, match=r"choose one with --study \(a, b\)"):
        draw_to_file(request_of(tmp_path), str(file))
    draw_to_file(request_of(tmp_path, study="b"), str(file))
    assert "study b" in file.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "acuracy"}, "unknown figure 'acuracy': did you mean 'accuracy'"),
        ({"file": "f.jpg"}, r"f\.jpg: its suffix must be one of \.png, \.svg, \.pdf"),
        ({"file": "f"}, "its suffix must be"),
        ({"study": "papr"}, "unknown study 'papr': did you mean 'paper'"),
        ({"problem": "permutd"}, "unknown problem 'permutd'"),
        ({"settings": ["abc"]}, "unknown setting 'abc'"),
        ({"file": "no/such/f.png"}, r"cannot write no/such/f\.png: No such file"),
    ],
)
def test_mistakes_are_named(results, tmp_path, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    options = dict(options)
    file = options.pop("file", "f.png")
    with pytest.raises(UsageError, match=complaint):
        draw_to_file(request_of(results, **options), file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "at_ends"), [(3.35, True), (1.4, False)])
def test_names_stand_at_the_lines_where_they_fit(width, at_ends):
    figure = draw_by_task(accuracy_by_task(frame(*six("pairwise"))), width)
    assert ("SGD lr 0.01" in texts(figure.axes[0])) == at_ends
    legends = figure.subfigs[0].legends
    names = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert ("SGD lr 0.01" in names) != at_ends


def bands_of(ax):
    return [item for item in ax.collections if isinstance(item, PolyCollection)]


def seeds_of(ax):
    lines = [item for item in ax.collections if isinstance(item, LineCollection)]
    return [segment for item in lines for segment in item.get_segments()]


@pytest.mark.parametrize("seeds", [2, SEEDS - 1, SEEDS])
def test_fewer_than_ten_seeds_have_lines_of_their_own(seeds):
    setting = make_setting(tasks=5)
    runs = [make_run(setting, seed) for seed in range(seeds)]
    figure = draw_by_task(accuracy_by_task(frame(*runs)))
    lines = seeds_of(figure.axes[0])
    assert len(lines) == (seeds if seeds < SEEDS else 0)
    if lines:
        values = [100 * run["test_accuracy"].to_numpy() for run in runs]
        drawn = [line[:, 1].tolist() for line in lines]
        assert drawn == [pytest.approx(row.tolist()) for row in values]
    said = "single seeds" in figure.texts[1].get_text()
    assert said == (seeds < SEEDS)


@pytest.mark.parametrize(("noise", "drawn"), [(0.001, 1), (0.2, 0)])
def test_a_band_that_would_fill_the_axis_is_left_out(noise, drawn):
    setting, random = make_setting(tasks=5), np.random.default_rng(0)
    level = np.linspace(0.9, 0.6, 5)
    runs = [
        make_run(setting, seed, accuracy=level + random.normal(0, noise, 5))
        for seed in range(3)
    ]
    figure = draw_by_task(accuracy_by_task(frame(*runs)))
    assert len(bands_of(figure.axes[0])) == drawn
    assert ("are left out" in figure.texts[1].get_text()) != bool(drawn)


def test_long_streams_are_smoothed_seed_by_seed():
    assert [window_of(tasks) for tasks in (1, 60, 61, 200)] == [1, 1, 3, 11]
    setting = make_setting(tasks=100)
    data = accuracy_by_task(frame(*(make_run(setting, s) for s in range(3))))
    values = np.stack(
        [make_run(setting, s)["test_accuracy"].to_numpy() for s in range(3)]
    )
    middle = [values[:, t - 2 : t + 3].mean() for t in range(2, 98)]
    assert data["mean"].tolist()[2:98] == pytest.approx(middle)
    expected = mean_interval(smooth(values, 5))
    assert data["hi"].tolist() == pytest.approx(expected.hi.tolist())
    assert set(data["window"]) == {5}


@given(tasks=st.integers(1, 500))
def test_a_window_is_odd_and_a_twentieth_of_the_tasks(tasks):
    window = window_of(tasks)
    assert window % 2 == 1
    assert window == 1 if tasks <= 60 else abs(window - tasks / 20) <= 1.5
    constant = np.full((2, tasks), 0.7)
    assert smooth(constant, window) == pytest.approx(constant)


@pytest.mark.parametrize("measure", ["online_accuracy", "train_loss"])
def test_another_measure_can_be_drawn(results, tmp_path, measure):
    file = tmp_path / "f.csv"
    draw_to_file(request_of(results, measure=measure), str(file))
    data = pd.read_csv(file)
    assert set(data["measure"]) == {measure}
    unit = "nats" if measure == "train_loss" else "%"
    assert set(data["title"]) == {f"{measure.replace('_', ' ')} ({unit})"}
    run = make_run(make_setting(tasks=5), 0)
    others = make_run(make_setting(tasks=5), 1)
    mean = (run[measure][0].as_py() + others[measure][0].as_py()) / 2
    own = data[data["setting_id"] == run["setting_id"][0].as_py()]
    assert own["mean"].iloc[0] == pytest.approx(mean)


def test_a_measure_that_was_not_made_or_not_shown_is_named(tmp_path):
    run = make_run(make_setting(tasks=2), 0)
    place = run.column_names.index("online_accuracy")
    empty = pa.array([None, None], run.schema.field(place).type)
    write(tmp_path, "x", run.set_column(place, run.schema.field(place), empty))
    with pytest.raises(UsageError, match="the records have no online_accuracy"):
        draw_to_file(request_of(tmp_path, measure="online_accuracy"), "f.svg")
    with pytest.raises(UsageError, match="has no effect on the figure capacity"):
        draw_to_file(
            request_of(tmp_path, name="capacity", measure="online_accuracy"), "f.svg"
        )


def test_numbers_below_zero_stay_on_the_axis():
    records = frame(*(make_run(make_setting(tasks=3), s) for s in range(2)))
    records["hessian_trace"] = [-5.0, -4.0, -3.0] * 2
    figure = draw_by_task(by_task(records, {"hessian_trace": "hessian trace"}))
    low, high = figure.axes[0].get_ylim()
    assert low < -5 < -3 < high


def test_every_figure_says_what_it_shows():
    assert all(picture.meaning for picture in FIGURES.values())
