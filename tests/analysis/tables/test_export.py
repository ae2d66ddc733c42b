"""Export: what is written is what was read, and other programs can go on from it."""

import json

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.records.load import Selection, load
from analysis.statistics.metrics import METRICS
from analysis.tables.export import write_export
from tests.support.synthetic import (
    make_run,
    make_setting,
    paper_settings,
    write,
    write_study,
)
from trainables.record import KNOWN_COLUMNS, all_columns
from trainables.usage import UsageError

QUERIES = {
    "which settings end highest": """
        SELECT optimizer, lr, avg(last_accuracy) AS last, count(*) AS runs
        FROM 'runs.parquet' WHERE problem = 'permuted' AND outcome = 'complete'
        GROUP BY ALL ORDER BY last DESC
    """,
    "what SAM gains, seed by seed": """
        SELECT lr, avg(sam.mean_accuracy - sgd.mean_accuracy) AS gain,
               stddev(sam.mean_accuracy - sgd.mean_accuracy) AS spread
        FROM 'runs.parquet' sam JOIN 'runs.parquet' sgd USING (problem, lr, seed)
        WHERE sam.optimizer = 'sam' AND sgd.optimizer = 'sgd' AND problem = 'permuted'
        GROUP BY ALL ORDER BY lr
    """,
    "whether dormant units go with accuracy": """
        SELECT optimizer, lr, corr(dormant_fraction, test_accuracy) AS together
        FROM 'records.parquet' WHERE problem = 'permuted' GROUP BY ALL ORDER BY ALL
    """,
}
"""Those that README shows."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_study(folder, paper_settings(tasks=6), (0, 1, 2))
    lost = make_setting(tasks=6, lr=0.5)
    write(folder, "lost", make_run(lost, 0, diverged_at=2), make_run(lost, 1, rows=4))
    return folder


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_records_come_back(results, tmp_path, suffix):
    file = tmp_path / f"records{suffix}"
    said = write_export(str(results), str(file))
    assert said == f"wrote {file}: 118 records, {len(all_columns())} columns"
    expected = load(str(results))
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(load(str(file)), expected)
        return
    text = {"task_label": str}
    found = pd.read_csv(file, dtype=text)
    held = list(expected.dropna(axis="columns", how="all"))
    lists = [n for n in held if pa.types.is_list(KNOWN_COLUMNS[n].type)]
    for name in lists:  # of which NaN is nobody's
        read = [None if pd.isna(v) else json.loads(v) for v in found[name]]
        assert read == [None if v is None else v.tolist() for v in expected[name]]
    held = [name for name in held if name not in lists]
    pd.testing.assert_frame_equal(
        found[held], expected[held], check_dtype=False, check_exact=True
    )
    assert found.drop(columns=[*held, *lists]).isna().all(axis=None)


def test_measures_can_be_left_out_and_the_origin_stays(results, tmp_path):
    file, patterns = str(tmp_path / "records.parquet"), ("layer_*", "hessian_trace")
    write_export(str(results), file, without=patterns)
    left_out = set(all_columns()) - set(pq.read_schema(file).names)
    assert left_out == {
        "hessian_trace",
        *(name for name in all_columns() if name.startswith("layer_")),
    }
    assert pq.read_schema(file).metadata[b"commit"] == b"synthetic"
    loaded = load(file)
    assert loaded[list(left_out)].isna().all(axis=None)
    kept = loaded.columns.drop(list(left_out))
    pd.testing.assert_frame_equal(loaded[kept], load(str(results))[kept])


def test_measures_can_be_rounded_but_not_fractions(results, tmp_path):
    file = str(tmp_path / "records.parquet")
    write_export(str(results), file, digits=2)
    rounded, exact = load(file), load(str(results))
    loss = exact["train_loss"].to_numpy()
    size = 10 ** np.floor(np.log10(loss))
    expected = np.round(loss / size, 1) * size
    assert rounded["train_loss"].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert (np.abs(expected - loss) > 1e-4).any()
    kept = ["test_accuracy", "dormant_fraction", "lr", "seed", "steps"]
    pd.testing.assert_frame_equal(rounded[kept], exact[kept])
    with pytest.raises(UsageError, match="--digits is 0"):
        write_export(str(results), file, digits=0)


@pytest.mark.parametrize("pattern", ["layers_*", "lr", "diverged"])
def test_only_measures_can_be_left_out(pattern, results, tmp_path):
    with pytest.raises(UsageError, match="matches no measure"):
        write_export(str(results), str(tmp_path / "a.csv"), without=(pattern,))
    with pytest.raises(UsageError, match="have no effect on runs"):
        write_export(str(results), str(tmp_path / "a.csv"), True, without=("layer_*",))


def test_a_run_has_its_metrics_and_its_outcome(results, tmp_path):
    file = tmp_path / "runs.parquet"
    write_export(str(results), str(file), runs=True)
    frame = pd.read_parquet(file)
    assert len(frame) == frame["run_id"].nunique() == 20
    assert frame["outcome"].value_counts().to_dict() == {
        "complete": 18,
        "diverged": 1,
        "incomplete": 1,
    }
    assert frame.loc[frame["outcome"] == "incomplete", "tasks_done"].tolist() == [4]
    records = load(str(results))
    whole = frame[frame["outcome"] == "complete"]
    # the earlier name of the column, for queries that exist
    assert frame["fate"].equals(frame["outcome"].replace("complete", "whole"))
    for row in whole.to_dict("records"):
        mine = records[records["run_id"] == row["run_id"]].sort_values("task")
        accuracy = mine["test_accuracy"].to_numpy()[None]
        for name, metric in METRICS.items():
            assert row[name] == metric(accuracy)[0]
        assert row["steps"] == mine["steps"].sum()
    assert (
        frame.loc[frame["outcome"] != "complete", list(METRICS)].isna().all(axis=None)
    )
    assert pq.read_schema(file).field("rho").type == KNOWN_COLUMNS["rho"].type


def test_the_same_records_give_the_same_bytes(results, tmp_path):
    files = [tmp_path / f"{name}.parquet" for name in "ab"]
    for file in files:
        write_export(str(results), str(file))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_lists_are_json_in_csv(tmp_path):
    run = make_run(make_setting(tasks=2), 0)
    lists = [n for n, c in KNOWN_COLUMNS.items() if pa.types.is_list(c.type)]
    place = run.schema.get_field_index(lists[0])
    values = pa.array([[1.0, 2.5], None], run.schema.field(place).type)
    write(tmp_path, "x", run.set_column(place, run.schema.field(place), values))
    write_export(str(tmp_path), str(tmp_path / "r.csv"))
    assert pd.read_csv(tmp_path / "r.csv")[lists[0]].fillna("").tolist() == [
        "[1.0, 2.5]",
        "",
    ]


def test_a_filter_chooses_what_is_written(results, tmp_path):
    file = tmp_path / "x.csv"
    gnp = Selection("optimizer = 'gnp' and seed < 2")
    write_export(str(results), str(file), selection=gnp)
    assert set(pd.read_csv(file)["optimizer"]) == {"gnp"}
    with pytest.raises(UsageError, match="matches no record"):
        write_export(str(results), str(file), selection=Selection("seed = 99"))


@pytest.mark.parametrize("file", ["x.xlsx", "x", "no/such/folder/x.csv"])
def test_where_it_cannot_write_is_said(results, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot write"):
        write_export(str(results), file)


def test_readmes_queries_run(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_export(str(results), "records.parquet")
    write_export(str(results), "runs.parquet", runs=True)
    found = {name: duckdb.sql(query).fetchall() for name, query in QUERIES.items()}
    best, gains, together = found.values()
    assert best[0][:2] == ("gnp", 0.01)
    runs = pd.read_parquet("runs.parquet").set_index(["optimizer", "lr", "seed"])
    gain = runs.loc["sam"]["mean_accuracy"] - runs.loc["sgd"]["mean_accuracy"]
    expected = gain.dropna().groupby("lr").agg(["mean", "std"])
    assert np.allclose([row[1:] for row in gains], expected)
    assert len(together) == 7
