"""Import: the numbers of a CSV file give the metrics that they define."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.comparing.compare import Question, compare
from analysis.figures.picture import Picture
from analysis.records.csv_import import import_csv
from analysis.records.load import load, load_records
from analysis.records.runs import by_setting
from analysis.report.report import write_report
from analysis.statistics.metrics import METRICS
from analysis.tables import print_tables
from analysis.tables.export import write_export
from tests.support.command import call
from trainables.hyperparameter import TEXT
from trainables.record import REAL
from trainables.usage import UsageError

TASKS = 12
METHODS = {"naive": 0.9, "ewc": 0.92, "replay": 0.95}


def accuracy(method, seed):
    noise = np.random.default_rng(seed).normal(0, 0.002, TASKS)
    own = np.random.default_rng([seed, len(method)]).normal(0, 0.001, TASKS)
    return METHODS[method] - 0.01 * np.arange(TASKS) + noise + own


def rows(methods=METHODS, seeds=range(4)):
    return pd.DataFrame(
        [
            {"optimizer": m, "buffer": 100.0, "seed": s, "task": t, "accuracy": a}
            for m in methods
            for s in seeds
            for t, a in enumerate(accuracy(m, s))
        ]
    )


def put(folder, frame, name="matrix.csv"):
    file = folder / name
    file.write_text(frame if isinstance(frame, str) else frame.to_csv(index=False))
    return str(file)


@pytest.fixture
def results(tmp_path):
    import_csv(put(tmp_path, rows()), str(tmp_path / "results"))
    return str(tmp_path / "results")


def test_the_table_has_the_metrics_of_the_numbers(results, capsys):
    capsys.readouterr()
    print_tables(results, "csv")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("optimizer")
    assert set(table.index) == set(METHODS)
    assert (table["study"] == "matrix").all()
    assert (table[["runs", "tasks", "buffer"]] == [4, TASKS, 100]).all(axis=None)
    for method in METHODS:
        matrix = np.array([accuracy(method, seed) for seed in range(4)])
        for name in ("accuracy_change", "accuracy_slope", "late_accuracy"):
            expected = METRICS[name](matrix).mean()
            assert table.loc[method, name] == pytest.approx(expected, abs=1e-12)


def test_methods_are_compared_seed_by_seed(results):
    data = compare(load(results), Question(baseline="naive"))
    matched = data[data["against"] == "matched"].set_index("optimizer")
    assert set(matched.index) == {"ewc", "replay"}
    late = METRICS["late_accuracy"]
    for method, row in matched.iterrows():
        differences = [
            late(accuracy(method, s)[None]) - late(accuracy("naive", s)[None])
            for s in range(4)
        ]
        assert row["pairs"] == 4
        assert row["difference"] == pytest.approx(np.mean(differences), abs=1e-12)
        assert row["verdict"] == "better"


def test_a_report_is_made(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Picture, "render", lambda *_, **__: (b"<svg></svg>", 7.0))
    assert write_report(results, str(tmp_path / "r.html")) == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "12 of 12 runs are complete" in said.out
    assert "does not have this problem" in said.out  # images of tasks that nobody knows
    page = (tmp_path / "r.html").read_text()
    assert "REPLAY" in page
    assert not re.search(r"\bnan\b", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))


def test_the_command_says_what_it_imported(tmp_path):
    put(tmp_path, rows())
    names = ("-o", "results", "--study", "mine", "--problem", "stream")
    done = call("import", "matrix.csv", *names, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "imported 3 settings, 12 runs, 144 records from matrix.csv into results/mine\n"
    )
    assert set(load(str(tmp_path / "results"))["problem"]) == {"stream"}


@pytest.mark.parametrize(
    "words",
    [
        ("table",),
        ("compare", "--baseline", "naive"),
        ("about",),
        ("figure", "accuracy", "-o", "f.svg"),
        ("sql", "SELECT optimizer, avg(mean_accuracy) FROM runs GROUP BY 1"),
        ("export", "-o", "x.parquet", "--runs"),
        ("export", "-o", "x.parquet"),
    ],
)
def test_every_command_works(results, tmp_path, words):
    name, *options = words
    place = [results]
    if name in ("figure", "sql"):
        place = [options.pop(0), results] if name == "figure" else [results]
    done = call(name, *place, *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_exported_records_can_be_read_again(results, tmp_path):
    write_export(results, str(tmp_path / "x.parquet"))
    pd.testing.assert_frame_equal(load(str(tmp_path / "x.parquet")), load(results))


def test_the_fields_describe_themselves(results):
    records = load_records(results)
    assert records.columns["buffer"].role == "setting"
    assert records.columns["buffer"].meaning == "imported from matrix.csv"
    assert records.columns["test_accuracy"].unit == "fraction"
    (runs, *_) = by_setting(records.to_frame())
    assert runs.setting["lr"] is None
    assert runs.setting["problem"] == "imported"
    (file,) = records.files
    assert file.metadata["commit"] == "imported from matrix.csv"


def test_a_second_import_of_the_same_file_changes_nothing(results, tmp_path):
    before = load(results)
    import_csv(put(tmp_path, rows()), results)
    pd.testing.assert_frame_equal(load(results), before)


def test_more_methods_can_be_added_to_a_study(tmp_path):
    place = str(tmp_path / "results")
    for name, methods in (("a.csv", ["naive"]), ("b.csv", ["replay"])):
        import_csv(put(tmp_path, rows(methods), name), place, study="both")
    data = compare(load(place), Question(baseline="naive"))
    assert data["verdict"].tolist()[0] == "better"


def test_a_plain_matrix_has_a_row_a_run(tmp_path, capsys):
    matrix = pd.DataFrame([accuracy("ewc", seed) for seed in range(3)])
    import_csv(put(tmp_path, matrix), str(tmp_path), "plain", "stream")
    assert "no column named optimizer" in capsys.readouterr().err
    (runs,) = by_setting(load(str(tmp_path / "plain")))
    assert runs.seeds == (0, 1, 2)
    assert np.allclose(runs.matrix, matrix)
    assert runs.setting["problem"] == "stream"


def test_a_matrix_may_have_columns_of_settings(tmp_path):
    wide = rows().pivot_table("accuracy", ["optimizer", "seed"], "task")
    import_csv(put(tmp_path, wide.reset_index()), str(tmp_path))
    found = {
        runs.setting["optimizer"]: runs for runs in by_setting(load(str(tmp_path)))
    }
    assert found.keys() == METHODS.keys()
    assert np.allclose(found["ewc"].matrix[2], accuracy("ewc", 2))


def test_known_columns_keep_their_types_and_new_numbers_are_numbers(tmp_path):
    frame = rows().assign(hidden="100", lr=0.1, epochs=2, note="x", train_loss=0.5)
    import_csv(put(tmp_path, frame), str(tmp_path))
    records = load_records(str(tmp_path))
    first = records.to_frame().iloc[0]
    assert (first["hidden"], first["lr"], first["epochs"]) == ("100", 0.1, 2)
    assert (records.columns["note"].type, records.columns["buffer"].type) == (
        TEXT,
        REAL,
    )
    assert records.columns["train_loss"].role == "measure"


@pytest.mark.parametrize("identity", ["run", "seed"])
def test_a_number_that_changes_within_a_run_is_a_measure(tmp_path, identity):
    frame = rows().rename(columns={"seed": identity})
    frame["drift"] = 0.5 * frame["task"]
    import_csv(put(tmp_path, frame), str(tmp_path))
    records = load_records(str(tmp_path))
    assert records.columns["drift"].role == "measure"
    assert records.columns["buffer"].role == "setting"
    assert "drift" in records.number_columns


def test_a_number_that_tells_settings_apart_is_a_setting(tmp_path):
    frame = pd.concat([rows(["ewc"]).assign(buffer=size) for size in (10, 20)])
    import_csv(put(tmp_path, frame), str(tmp_path))
    sizes = [runs.setting["buffer"] for runs in by_setting(load(str(tmp_path)))]
    assert sorted(sizes) == [10, 20]


def test_runs_with_names_of_their_own_are_numbered_by_setting(tmp_path, capsys):
    frame = rows()
    frame["run"] = frame["optimizer"] + frame.pop("seed").astype(str)
    import_csv(put(tmp_path, frame), str(tmp_path))
    assert "and runs with equal seeds are compared" in capsys.readouterr().err
    for runs in by_setting(load(str(tmp_path))):
        assert runs.seeds == (0, 1, 2, 3)
        assert np.allclose(runs.matrix[1], accuracy(runs.setting["optimizer"], 1))


def test_run_names_that_settings_share_are_shared_seeds(tmp_path, capsys):
    frame = rows().assign(run=lambda f: "run-" + f.pop("seed").astype(str))
    import_csv(put(tmp_path, frame), str(tmp_path))
    assert capsys.readouterr().err == ""
    assert {runs.seeds for runs in by_setting(load(str(tmp_path)))} == {(0, 1, 2, 3)}


def test_tasks_may_begin_at_1(tmp_path, capsys):
    import_csv(
        put(tmp_path, rows().assign(task=lambda f: f["task"] + 1)), str(tmp_path)
    )
    assert "the first task in" in capsys.readouterr().err
    assert all(len(runs.seeds) == 4 for runs in by_setting(load(str(tmp_path))))


def test_a_run_without_its_last_tasks_is_incomplete(tmp_path):
    frame = rows()
    short = (frame["optimizer"] == "ewc") & (frame["seed"] == 1) & (frame["task"] > 8)
    import_csv(put(tmp_path, frame[~short]), str(tmp_path))
    found = {
        runs.setting["optimizer"]: runs for runs in by_setting(load(str(tmp_path)))
    }
    assert found["ewc"].incomplete == (1,)
    assert found["naive"].incomplete == ()


HEAD = "seed,task,accuracy\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEAD + "0,0,93.5\n0,1,12\n", "from 12 to 93.5, .*divide percentages by 100"),
        (HEAD + "0,0,-0.1\n", "from -0.1 to -0.1"),
        (HEAD + "0,0,good\n", "column accuracy of .* has the value 'good'"),
        (HEAD + "0,one,0.5\n", "column task of .* has the value 'one'"),
        (HEAD + "0.5,0,0.5\n", "column seed of .* has the value '0.5'"),
        (HEAD + "0,,0.5\n", "column task of .* has an empty cell"),
        (HEAD + ",0,0.5\n", "column seed of .* has an empty cell"),
        (HEAD + "0,0,0.5\n0,0,0.6\n", "two rows for the same task"),
        (HEAD + "0,0,0.5\n0,2,0.6\n", "no run in .* has all its tasks"),
        (HEAD, "has no rows"),
        ("", "is not a CSV file"),
        ("task,accuracy\n0,0.5\n", "has no column run"),
        ("seed,accuracy\n0,0.5\n", "has no column task"),
        ("a,b\n1,2\n", "has no column task, accuracy, run"),
        ("study,seed,task,accuracy\nx,0,0,1\n", "remove this column"),
        (
            "seed,task,when,accuracy\n0,0,may,0.5\n0,1,june,0.5\n",
            "a column that identifies a setting changes within a run.*when",
        ),
        ("seed,task,diverged,accuracy\n0,0,maybe,0.5\n", "must be true or false"),
        (
            "seed,task,online_accuracy,accuracy\n0,0,55,0.5\n",
            "online_accuracy has values from 55 to 55",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, content, said):
    with pytest.raises(UsageError, match=said) as caught:
        import_csv(put(tmp_path, content), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "matrix").exists()


def test_places_that_do_not_fit_are_one_line(tmp_path):
    file = put(tmp_path, rows())
    with pytest.raises(UsageError, match=r"cannot read nowhere\.csv"):
        import_csv("nowhere.csv", str(tmp_path))
    with pytest.raises(UsageError, match="give a name of letters"):
        import_csv(put(tmp_path, rows(), "two words.csv"), str(tmp_path))
    with pytest.raises(UsageError, match="give a folder on this machine"):
        import_csv(file, "s3://bucket/results")
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "study.json").write_text("{}")
    with pytest.raises(UsageError, match="import under another name"):
        import_csv(file, str(tmp_path), "paper")
    with pytest.raises(UsageError, match="cannot write"):
        import_csv(file, file)


def test_the_file_is_named_by_its_content(results):
    (file,) = Path(results).rglob("*.parquet")
    assert re.fullmatch(r"imported-[0-9a-f]{16}\.parquet", file.name)
    assert pq.read_schema(file).metadata[b"schema_version"] == b"3"
