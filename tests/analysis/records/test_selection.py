"""The options --tasks and --where: what they keep, and what they say."""

import numpy as np
import pandas as pd
import pytest

from analysis.comparing.relations import relation
from analysis.figures.to_file import FigureRequest, draw_to_file
from analysis.records.load import Selection, load
from analysis.records.runs import by_setting
from analysis.statistics.metrics import METRICS
from analysis.tables import print_tables
from analysis.tables.export import write_export
from tests.support.synthetic import (
    make_run,
    make_setting,
    paper_settings,
    write,
    write_study,
)
from trainables.usage import UsageError

SHORT = make_setting(tasks=8)


@pytest.fixture
def results(tmp_path):
    write_study(tmp_path / "r", paper_settings(tasks=8), (0, 1, 2))
    return str(tmp_path / "r")


@pytest.mark.parametrize(
    ("tasks", "part"),
    [
        ("1:", slice(1, 8)),
        (":5", slice(0, 5)),
        ("2:4", slice(2, 4)),
        ("0:99", slice(8)),
    ],
)
def test_metrics_are_of_the_tasks_alone(results, tasks, part):
    complete, chosen = by_setting(load(results)), by_setting(load(results, tasks=tasks))
    for runs, own in zip(complete, chosen, strict=True):
        assert own.seeds == runs.seeds == (0, 1, 2)
        assert np.array_equal(own.matrix, runs.matrix[:, part])
        assert own.setting["tasks"] == own.matrix.shape[1]
        for metric in METRICS.values():
            assert np.array_equal(metric(own.matrix), metric(runs.matrix[:, part]))


def test_the_table_leaves_out_the_first_task(results, capsys):
    print_tables(results, "csv", Selection(tasks="1:"))
    rows = capsys.readouterr().out.splitlines()
    column = rows[0].split(",").index("first_accuracy")
    expected = by_setting(load(results))[0].matrix[:, 1].mean()
    assert float(rows[1].split(",")[column]) == pytest.approx(expected, abs=1e-12)


def test_a_run_needs_the_chosen_tasks_only(tmp_path):
    write(tmp_path, "x", make_run(SHORT, 0), make_run(SHORT, 1, rows=5))
    (runs,) = by_setting(load(str(tmp_path), tasks="1:5"))
    assert (runs.seeds, runs.incomplete) == ((0, 1), ())
    (runs,) = by_setting(load(str(tmp_path), tasks="1:6"))
    assert (runs.seeds, runs.incomplete) == ((0,), (1,))


def test_a_run_that_diverged_stays_diverged(tmp_path):
    """Also one that stopped before the chosen tasks: it must not look as if absent."""
    lost = [
        make_run(SHORT, 1, diverged_at=2),
        make_run(SHORT, 2, diverged_at=2, rows=4),
        make_run(SHORT, 3, diverged_at=1, rows=3),
        make_run(SHORT, 4, diverged_at=6),
    ]
    write(tmp_path, "x", make_run(SHORT, 0), *lost)
    (runs,) = by_setting(load(str(tmp_path), tasks="4:6"))
    assert (runs.seeds, runs.diverged) == ((0, 4), (1, 2, 3))


def test_streams_of_other_lengths_keep_theirs(tmp_path):
    write_study(tmp_path, [SHORT, make_setting("pairwise", tasks=5)], (0,))
    lengths = [r.matrix.shape[1] for r in by_setting(load(str(tmp_path), tasks="2:7"))]
    assert lengths == [5, 3]
    with pytest.raises(UsageError, match="a stream that has only 5 tasks"):
        load(str(tmp_path), tasks="5:")


@pytest.mark.parametrize("tasks", ["3", "", "5:5", "5:2", ":0", "-3:", "a:", "1:2:3"])
def test_what_is_no_range_is_one_line(results, tasks):
    with pytest.raises(UsageError, match="give START:STOP") as caught:
        load(results, tasks=tasks)
    assert "\n" not in str(caught.value)


def test_relations_skip_after_the_choice(results):
    frame = load(results, None, tasks="2:")
    rows = relation(frame, ["start_sharpness"], 1)
    assert set(rows["tasks"]) == {6}
    assert rows["points"].iloc[0] == 5


def test_an_export_can_be_read_again(results, tmp_path):
    file = str(tmp_path / "x.parquet")
    write_export(results, file, selection=Selection(tasks="3:6"))
    pd.testing.assert_frame_equal(load(file), load(results, tasks="3:6"))


def test_a_figure_shows_the_numbers_of_the_stream(results, tmp_path):
    file = tmp_path / "f.csv"
    request = FigureRequest(name="accuracy", results=results, tasks="3:6")
    draw_to_file(request, str(file))
    data = pd.read_csv(file)
    assert sorted(data["task"].unique()) == [3, 4, 5]
    first = by_setting(load(results))[0]
    own = data[data["setting_id"] == first.setting_id]
    assert np.allclose(own["mean"], first.matrix[:, 3:6].mean(axis=0))
    draw_to_file(request, str(tmp_path / "f.svg"))
    axis = (tmp_path / "f.svg").read_text()
    assert ">5</text>" in axis
    assert ">0</text>" not in axis


def test_images_of_tasks_are_those_of_the_stream(tmp_path):
    from trainables.problems import Pairwise

    setting = make_setting("pairwise", dataset="mnist-5k", tasks=6)
    labels = [Pairwise().task(0, t).label for t in range(6)]
    run = make_run(setting, 0)
    at = run.schema.get_field_index("task_label")
    write(tmp_path, "x", run.set_column(at, run.schema.field(at), [labels]))
    file = tmp_path / "f.csv"
    request = FigureRequest(name="tasks", results=str(tmp_path), tasks="2:4")
    draw_to_file(request, str(file))
    data = pd.read_csv(file)
    assert data["task_label"].unique().tolist() == labels[2:4]


def test_a_filter_says_what_it_kept(results, capsys):
    load(results, None, "optimizer = 'sgd' and seed < 2")
    assert capsys.readouterr().err == "where: kept 32 of 144 records, 2 of 6 settings\n"
    load(results, None, "true")
    assert capsys.readouterr().err.startswith("where: kept 144 of 144 records, 6 of 6")


def test_a_filter_on_the_task_names_the_option_for_that(results, capsys):
    load(results, None, "optimizer = 'sgd' and task < 4")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "where: kept 24 of 144 records, 2 of 6 settings"
    assert "of 6 of 6 runs, so these runs count as incomplete" in second
    assert "use --tasks START:STOP" in second


def test_both_options_go_together(results):
    both = load(results, None, "optimizer = 'sam'", "1:")
    assert set(both["optimizer"]) == {"sam"}
    assert {len(runs.seeds) for runs in by_setting(both)} == {3}
