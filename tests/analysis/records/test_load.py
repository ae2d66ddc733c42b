import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.records.load import load, load_records
from analysis.records.runs import NEEDED, by_problem, by_setting
from analysis.report import build
from analysis.report.report import make_page, make_reports
from analysis.tables import print_tables
from tests.support.synthetic import (
    hash_of,
    make_run,
    make_setting,
    write,
    write_request,
    write_study,
)
from trainables.record import (
    REAL,
    SCHEMA_VERSION,
    SETTING_COLUMNS,
    Column,
    all_columns,
)
from trainables.usage import CONTROL, UsageError

SHORT = make_setting(tasks=4)


def replace(table, name, values, null=False):
    """Return the table with other values in one column, whatever their type."""
    field = pa.field(name, values.type, nullable=null)
    return table.set_column(table.schema.get_field_index(name), field, [values])


@pytest.fixture
def results(tmp_path):
    write_study(tmp_path / "r", [SHORT], (0, 1), study="a")
    write_study(tmp_path / "r", [SHORT], (0,), study="b")
    return tmp_path / "r"


@pytest.mark.parametrize(
    ("under", "rows"),
    [("", 12), ("a", 8), ("a/records", 8), ("b/", 4)],
)
def test_results_are_found_at_every_level(results, under, rows):
    assert len(load(f"{results}/{under}")) == rows


def test_one_file_is_enough(results):
    (file,) = (results / "b" / "records").iterdir()
    assert len(load(str(file))) == 4


def test_a_uri_is_as_good_as_a_path(results):
    assert load(results.as_uri()).equals(load(str(results)))


def test_the_place_may_be_relative(results, monkeypatch):
    monkeypatch.chdir(results / "a" / "records")
    assert len(load(".")) == 8


def test_the_rows_are_those_written(results):
    frame = load(str(results / "b"))
    expected = make_run(SHORT, 0, "b").to_pandas()
    assert list(frame) == list(all_columns())
    assert frame.equals(expected)


def test_other_measurements_are_not_read(results):
    frame = load(str(results), ["weight_norm"])
    assert set(frame) == {*NEEDED, *SETTING_COLUMNS, "weight_norm"}


def test_a_new_hyperparameter_and_a_new_probe_need_no_change(results):
    """Files describe their columns, so an unknown one has a role all the same."""
    new = {
        "twist": Column(REAL, True, "setting", "rad", "a new hyperparameter"),
        "knots": Column(REAL, True, "measure", "", "a new probe"),
    }
    for twist in (0.5, 1.0):
        setting = {**SHORT, "lr": twist}  # for another setting_id
        run = replace(make_run(setting, 0, "b"), "lr", pa.array([0.01] * 4))
        for name, column in new.items():
            value = [twist if name == "twist" else 7.0] * 4
            run = run.append_column(column.to_field(name), pa.array(value))
        write(results, f"twist-{twist}", run)
    records = load_records(str(results / "b"), ["test_accuracy", "knots"])
    assert records.columns["knots"] == new["knots"]
    frame = records.to_frame()
    assert frame["knots"].count() == 8
    settings = by_setting(frame)
    assert {runs.setting["twist"] for runs in settings} == {None, 0.5, 1.0}
    (names,) = [names for *_, names in by_problem(settings)]
    assert set(names) == {
        "SGD lr 0.01",
        "SGD lr 0.01 twist 0.5",
        "SGD lr 0.01 twist 1",
    }
    where = "twist > 0.7 and knots = 7"
    assert len(load(str(results), ["test_accuracy"], where)) == 4


def test_files_that_differ_in_a_type_are_named(results):
    for name, values in (("one", [1.0] * 4), ("two", ["1"] * 4)):
        values = pa.array(values)
        column = Column(values.type, True, "measure", "", "a new probe")
        run = make_run(SHORT, 7, "b")
        write(results, name, run.append_column(column.to_field("knots"), values))
    with pytest.raises(
        UsageError, match=r"column knots has type string in .*two\.parquet"
    ):
        load(str(results))


def test_an_unknown_column_is_refused(results):
    with pytest.raises(UsageError, match="did you mean 'test_accuracy'"):
        load(str(results), ["test_acuracy"])


def test_nothing_else_is_opened(results):
    before = load(str(results))
    for other in (
        "a/records/.half.parquet",
        "a/records/_half.parquet",
        "a/records/notes.txt",
        "a/records/deeper/x.parquet",
        "a/checkpoints/x.parquet",
        "a/checkpoints/records/x.parquet",
        "a/x.parquet",
        "x.parquet",
        ".hidden/records/x.parquet",
        "_hidden/records/x.parquet",
    ):
        place = results / other
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"not Parquet")
    assert load(str(results)).equals(before)


def test_equal_rows_count_once(results, capsys):
    (file,) = (results / "b" / "records").iterdir()
    before = load(str(results))
    assert capsys.readouterr().err == ""
    shutil.copy(file, file.with_name("zz.parquet"))
    assert load(str(results)).equals(before)
    assert "note: 4 rows are repeated" in (said := capsys.readouterr().err)
    assert "zz.parquet" in said


def test_rows_that_differ_in_time_only_are_equal(results):
    run = make_run(SHORT, 0, "b")
    write(results, "zz", replace(run, "seconds", pa.array([9.0] * 4)))
    assert len(load(str(results / "b"))) == 4


def test_nulls_are_equal(tmp_path):
    lost = make_run(SHORT, 0, diverged_at=2)
    write(tmp_path, "one", lost)
    write(tmp_path, "two", lost)
    assert len(load(str(tmp_path))) == 4


def test_rows_that_contradict_each_other_are_refused(results):
    other = make_run(SHORT, 0, "b", accuracy=[0.1] * 4).slice(2, 1)
    write(results, "zz", other)
    run_id = other["run_id"][0].as_py()
    with pytest.raises(
        UsageError,
        match=f"task 2 of run {run_id} .study b. has two different results, "
        r"in .*\.parquet and .*zz\.parquet",
    ):
        load(str(results))


def test_the_same_run_in_two_studies_is_no_contradiction(tmp_path):
    write(tmp_path, "x", make_run(SHORT, 0, "a"))
    write(tmp_path, "x", make_run(SHORT, 0, "b", accuracy=[0.1] * 4))
    assert len(load(str(tmp_path))) == 8


def test_an_older_file_has_nulls_in_newer_columns(results, monkeypatch):
    monkeypatch.setattr("trainables.record.SCHEMA_VERSION", 99)
    (file,) = (results / "b" / "records").iterdir()
    old = pq.read_table(file).drop_columns(["sharpness"])
    pq.write_table(old, file)
    frame = load(str(results))
    assert frame.groupby("study")["sharpness"].count().to_dict() == {"a": 8, "b": 0}


FIRST = """
study setting_id run_id trial_id seed problem dataset tasks epochs batch_size hidden
optimizer lr momentum rho alpha weight_decay intervention task task_label
online_accuracy train_loss test_loss test_accuracy dormant_fraction effective_rank
stable_rank weight_norm gradient_norm sharpness diverged steps seconds device
"""
"""The columns of version 1."""


def test_a_file_of_version_1_is_read(results):
    (file,) = (results / "b" / "records").iterdir()
    old = pq.read_table(file).select(FIRST.split())
    pq.write_table(old.replace_schema_metadata({"schema_version": "1"}), file)
    frame = load(str(results))
    known = frame.groupby("study")[["lr", "start_sharpness", "layer_weight_norm"]]
    assert known.count().to_numpy().tolist() == [[8, 8, 8], [4, 0, 0]]
    assert len(by_setting(frame)) == 2


def test_a_file_whose_words_are_dictionaries_is_read(results):
    before = load(str(results))
    for file in results.rglob("*.parquet"):
        table = pq.read_table(file)
        metadata = table.schema.metadata
        for name in ("optimizer", "run_id"):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, table[name].dictionary_encode())
        pq.write_table(table.replace_schema_metadata(metadata), file)
    pd.testing.assert_frame_equal(load(str(results)), before)


def test_rows_that_differ_in_a_list_contradict_each_other(results):
    run = make_run(SHORT, 0, "b")
    name = "layer_weight_norm"
    write(results, "zz", run)
    assert len(load(str(results / "b"))) == 4
    other = pa.array([[1.0, 2.0, 3.0, 5.0]] * 4)
    write(results, "zz", replace(run, name, other))
    with pytest.raises(UsageError, match="two different results"):
        load(str(results / "b"))


def write_newer(run):
    return run.replace_schema_metadata({"schema_version": "99"})


def write_without_version(run):
    return run.replace_schema_metadata({})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            write_newer,
            f"version 99, but this program reads only versions up to {SCHEMA_VERSION}",
        ),
        (write_without_version, "no schema_version"),
        (lambda run: run.drop_columns(["steps"]), "it has no column steps"),
        (
            lambda run: replace(run, "lr", pa.array(["0.1"] * 4)),
            "column lr has type string, not double",
        ),
        (
            lambda run: replace(run, "seed", pa.nulls(4, pa.int64()), null=True),
            "has missing values in column seed, .*: restore the file",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named(results, change, complaint):
    run = change(make_run(SHORT, 7, "b"))
    folder = results / "b" / "records"
    pq.write_table(run, folder / "odd.parquet")
    with pytest.raises(UsageError, match=rf"odd\.parquet .*{complaint}"):
        load(str(results))


def test_control_characters_of_a_file_are_replaced(tmp_path, capsys, monkeypatch):
    """A terminal would obey them."""
    keep_parts = {name: build.PARTS[name] for name in ("table", "accuracy", "about")}
    monkeypatch.setattr(build, "PARTS", keep_parts)
    evil = "sg\x1b[2Jd\x9b\x07"
    run = make_run(make_setting(tasks=3), 0, study="evil")
    for name in ("optimizer", "task_label"):
        index = run.schema.get_field_index(name)
        values = pa.array([evil] * len(run), run.schema.field(name).type)
        field = run.schema.field(name).with_metadata(
            (run.schema.field(name).metadata or {}) | {b"meaning": evil.encode()}
        )
        run = run.set_column(index, field, values)
    run = run.replace_schema_metadata((run.schema.metadata or {}) | {b"cpu": evil})
    write(tmp_path, "x", run)
    records = load_records(str(tmp_path))
    clean = "sg\ufffd[2Jd\ufffd\ufffd"
    assert set(records.to_frame()["optimizer"]) == {clean}
    assert set(records.to_frame()["task_label"]) == {clean}
    assert records.files[0].metadata["cpu"] == clean
    print_tables(str(tmp_path))
    (report,) = make_reports(str(tmp_path))
    for text in (capsys.readouterr().out, make_page([report])):
        assert not re.search(CONTROL, text)
        assert clean in text


@pytest.mark.parametrize("content", [b"", b"not Parquet", b"PAR1" * 9])
def test_a_damaged_file_is_named(results, content):
    (results / "a" / "records" / "bad.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.parquet is damaged .*: move the file"):
        load(str(results))


def test_a_file_cut_short_is_named(results):
    (file,) = (results / "b" / "records").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UsageError, match="is damaged") as caught:
        load(str(results))
    assert "\n" not in str(caught.value)


def test_a_file_with_a_hole_is_named(results):
    (file,) = (results / "b" / "records").iterdir()
    content = bytearray(file.read_bytes())
    content[10:400] = np.random.default_rng(0).bytes(390)
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is damaged"):
        load(str(results))


@pytest.mark.parametrize(
    ("values", "ends"),
    [([91.0, 90.0, 89.5, 90.2], "89.5 to 91"), ([-0.1, 0.5, 0.5, 0.5], "-0.1 to 0.5")],
)
def test_accuracies_that_are_no_fractions_are_refused(tmp_path, values, ends):
    """In per cent they would be averaged with fractions."""
    write(tmp_path, "odd", make_run(SHORT, 7, accuracy=values))
    message = f"^column test_accuracy has values from {ends}, but must be a fraction"
    with pytest.raises(UsageError, match=message):
        load(str(tmp_path), ["test_accuracy"])


@pytest.mark.parametrize("under", ["", "a", "a/records"])
def test_the_seeds_that_confirm_are_read_from_the_request(results, under):
    best = hash_of(SHORT)
    write_request(results, [SHORT], (0, 1), "a", confirming=([best], (1, 2)))
    frame = load(f"{results}/{under}")
    assert frame.attrs["confirming"]["a"] == {1, 2}
    (runs,) = [runs for runs in by_setting(frame) if runs.study == "a"]
    assert (runs.seeds, runs.extra) == ((0, 1), (1,))
    # The study itself asks for seed 1 now, for every setting.
    write_request(results, [SHORT], (0, 1), "a", confirming=([best], (2,)))
    assert load(f"{results}/{under}").attrs["confirming"]["a"] == {2}


def test_a_damaged_request_names_no_seeds(results):
    (results / "a" / "study.json").write_text("{")
    assert load(str(results)).attrs["confirming"] == {}


def test_a_place_that_does_not_exist_is_named():
    with pytest.raises(UsageError, match="nowhere does not exist"):
        load("nowhere")


@pytest.mark.parametrize("there", ["", "x/records", "x/y/records"])
def test_a_place_without_records_says_how_to_make_some(tmp_path, there):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match=r"no records .* python -m study\.sweep"):
        load(str(tmp_path))


def test_files_without_rows_are_no_records(tmp_path):
    write(tmp_path, "x", make_run(SHORT, 0)).unlink()
    empty = make_run(SHORT, 0, rows=0)
    pq.write_table(empty, tmp_path / "paper" / "records" / "x.parquet")
    with pytest.raises(UsageError, match="no records"):
        load(str(tmp_path))


@pytest.mark.parametrize("measure", ["mean_return", "value_error"])
def test_a_measure_that_no_run_has_is_named(results, measure):
    load(str(results), measure="online_accuracy")
    with pytest.raises(UsageError, match=f"no {measure}: choose another measure"):
        load(str(results), measure=measure)


def test_problems_without_a_measure_are_left_out(tmp_path):
    run, other = make_run(SHORT, 0), make_run(make_setting("pairwise", tasks=4), 0)
    null = pa.nulls(len(other), other.schema.field("train_loss").type)
    write(tmp_path, "a", run)
    write(tmp_path, "b", replace(other, "train_loss", null, null=True))
    assert set(load(str(tmp_path), measure="train_loss")["problem"]) == {"permuted"}
    assert len(load(str(tmp_path), measure="online_accuracy")) == 8
