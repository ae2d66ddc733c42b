import numpy as np
import pyarrow as pa
import pytest
from matplotlib import rc_context

from analysis.figures.curves.data import by_task, titles_of
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import LINES
from analysis.figures.picture import STYLE
from analysis.figures.sharpness import SHOWN
from analysis.figures.to_file import FigureRequest, draw_to_file
from analysis.statistics.intervals import mean_interval
from tests.support.synthetic import frame, make_run, make_setting, paper_settings, write
from trainables.record import KNOWN_COLUMNS, Column
from trainables.usage import UsageError

SHORT = make_setting(tasks=4)
MEASURES = titles_of(SHOWN, KNOWN_COLUMNS)


def measures_by_task(records):
    return by_task(records, MEASURES)


def six(problem="permuted", seeds=(0, 1, 2)):
    settings = paper_settings(problem, tasks=5)
    return [make_run(setting, seed) for setting in settings for seed in seeds]


def test_the_data_is_the_interval_of_each_measure_and_task():
    records = frame(*(make_run(SHORT, seed) for seed in range(3)))
    random = np.random.default_rng(0)
    records["sharpness"] = random.uniform(1, 9, len(records))
    data = measures_by_task(records)
    assert len(data) == 4 * len(MEASURES)
    assert data["measure"].unique().tolist() == list(MEASURES)
    values = records.pivot_table("sharpness", "seed", "task").to_numpy()
    got = data[data["measure"] == "sharpness"]
    for name, expected in mean_interval(values)._asdict().items():
        assert got[name].tolist() == pytest.approx(expected.tolist())


def test_tasks_that_were_not_measured_have_no_point():
    records = frame(*(make_run(SHORT, seed) for seed in range(2)))
    records.loc[records["task"].isin([1, 2]), "start_sharpness"] = np.nan
    data = measures_by_task(records)
    counts = data.groupby("measure")["task"].apply(list)
    assert counts["start_sharpness"] == [0, 3]
    assert counts["sharpness"] == [0, 1, 2, 3]


def test_runs_that_diverged_or_stopped_are_counted_and_not_drawn():
    runs = [make_run(SHORT, 0), make_run(SHORT, 1, diverged_at=2)]
    data = measures_by_task(frame(*runs, make_run(SHORT, 2, rows=3)))
    assert data[["runs", "expected"]].drop_duplicates().to_numpy().tolist() == [[1, 3]]
    with pytest.raises(UsageError, match="no setting has a complete run"):
        measures_by_task(frame(runs[1]))


def test_six_panels_a_problem_and_a_line_a_setting():
    data = measures_by_task(frame(*six(), *six("pairwise")))
    with rc_context(STYLE):
        figure = draw_by_task(data)
    assert len(figure.axes) == 2 * len(MEASURES)
    for ax in figure.axes:
        assert len(ax.lines) == 6
        low, high = ax.get_ylim()
        for line in ax.lines:
            assert (low <= line.get_ydata()).all()
            assert (line.get_ydata() <= high).all()
    assert [ax.get_title("left") for ax in figure.axes[:6]] == list(MEASURES.values())
    assert figure.axes[1].get_yscale() == "log"
    names = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert names[:2] == ["SGD lr 0.01", "SGD lr 0.001"]


def test_what_was_not_measured_is_said():
    """Nowhere: no panel; on one problem: so in its panel."""
    records = frame(make_run(SHORT, 0)).assign(sharpness=np.nan)
    figure = draw_by_task(measures_by_task(records))
    assert MEASURES["sharpness"] not in [ax.get_title() for ax in figure.axes]
    assert len(figure.axes) == len(MEASURES) - 1

    both = frame(*six(seeds=(0,))[:1], *six("pairwise", seeds=(0,))[:1])
    both.loc[both["problem"] == "pairwise", "sharpness"] = np.nan
    figure = draw_by_task(measures_by_task(both))
    said = [
        ax.get_title()
        for ax in figure.axes
        if [text.get_text() for text in ax.texts] == ["no data"]
    ]
    assert said == [MEASURES["sharpness"]]


def test_more_lines_than_can_be_told_apart_are_refused():
    runs = [make_run(make_setting(tasks=4, lr=0.01 + i), 0) for i in range(LINES + 1)]
    with pytest.raises(UsageError, match="choose settings with --setting"):
        draw_by_task(measures_by_task(frame(*runs)))


def test_it_is_drawn_into_a_file(tmp_path):
    write(tmp_path, "x", *(make_run(SHORT, seed) for seed in range(2)))
    request = FigureRequest(name="sharpness", results=str(tmp_path))
    draw_to_file(request, str(tmp_path / "one.svg"))
    assert b"sharpness before the task" in (tmp_path / "one.svg").read_bytes()


def test_a_panels_title_comes_from_the_columns_of_the_file():
    columns = {
        "new_probe": Column(pa.float64(), True, "measure", "fraction", "meaning"),
        "start_new_probe": Column(pa.float64(), True, "measure", "nats", "meaning"),
    }
    titles = titles_of(list(columns), columns)
    assert titles == {
        "new_probe": "new probe (%)",
        "start_new_probe": "new probe before the task (nats)",
    }
    records = frame(make_run(SHORT, 0)).assign(new_probe=0.25, start_new_probe=2.0)
    figure = draw_by_task(by_task(records, titles))
    assert [ax.get_title() for ax in figure.axes] == list(titles.values())
    assert [ax.lines[0].get_ydata()[0] for ax in figure.axes] == [25, 2]
