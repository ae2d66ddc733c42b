"""Filters and queries: what they match, refuse and cannot reach."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.records.load import load
from analysis.records.query import matching_rows, run_query
from tests.support.synthetic import make_run, make_setting, write, write_study
from trainables.usage import UsageError

SETTINGS = [
    make_setting(tasks=2),
    make_setting(tasks=2, lr=0.001),
    make_setting(tasks=2, optimizer="sam", rho=0.05),
    make_setting(tasks=2, optimizer="gnp", rho=0.1, alpha=0.8),
]
TABLE = pa.concat_tables(
    [make_run(setting, seed, "it's") for setting in SETTINGS for seed in (0, 1)]
)
FRAME = TABLE.to_pandas()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("optimizer = 'sam' and lr = 0.01", FRAME["optimizer"] == "sam"),
        ("rho in (0.05, 0.1)", FRAME["rho"].isin([0.05, 0.1])),
        ("rho is null or alpha > 0.5", FRAME["rho"].isna() | (FRAME["alpha"] > 0.5)),
        ("not rho = 0.05", FRAME["rho"] == 0.1),  # null is neither equal nor unequal
        ("study = 'it''s' and not diverged and LR < 0.01", FRAME["lr"] < 0.01),
        ("lr = (select min(lr) from records)", FRAME["lr"] == 0.001),
        ("layer_weight_norm[1] = 4 -- the first", FRAME["seed"] >= 0),
    ],
)
def test_a_filter_matches_the_rows_that_it_describes(where, expected):
    rows = matching_rows(TABLE, where, TABLE.column_names)
    assert rows.tolist() == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("optimiser = 'sam'", "unknown column 'optimiser': did you mean 'optimizer'?"),
        ("optimizer = sam", "text needs single quotes: 'sam'"),
        ("lr = 'x'", "Could not convert string 'x' to DOUBLE"),
        ("(lr = 1", "syntax error"),
        ("lr ~", "syntax error"),
        ("not", "syntax error"),
        ("", "without selection list"),
        ("lr = 1, seed = 0", "single expression"),
        ("lr = 1; drop view records", "modifiers"),
        ("lr = 1 union select 1", "modifiers"),
        ("true) or (true", "syntax error"),
        ("sum(lr) > 0", "aggregates"),
        ("lr = ?", "parameter"),
        ("__import__('os')", "does not exist"),
    ],
)
def test_what_is_no_filter_is_one_line(where, message):
    with pytest.raises(UsageError) as caught:
        matching_rows(TABLE, where, TABLE.column_names)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f'--where "{where}": ')
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '{file}'",
        "COPY records TO '{file}'",
        "ATTACH '{file}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM FRAME",
    ],
)
def test_neither_files_nor_variables_can_be_reached(tmp_path, query):
    file = tmp_path / "x.csv"
    with pytest.raises(UsageError, match="the query: "):
        run_query(query.format(file=file), {"records": TABLE})
    assert not file.exists()


def test_a_query_returns_its_rows():
    query = "SELECT optimizer, count(*) AS n FROM records GROUP BY ALL ORDER BY ALL"
    assert run_query(query, {"records": TABLE}).to_dict("list") == {
        "optimizer": ["gnp", "sam", "sgd"],
        "n": [4, 4, 8],
    }
    with pytest.raises(UsageError, match="did you mean 'optimizer'"):
        run_query("SELECT optimiser FROM records", {"records": TABLE})
    with pytest.raises(UsageError, match="use a SELECT"):
        run_query("-- nothing", {"records": TABLE})


def test_a_filter_may_name_columns_that_are_not_loaded(tmp_path):
    write_study(tmp_path, SETTINGS, (0, 1))
    where = "optimizer = 'sam' and seed = 1 and weight_norm > 0"
    chosen = load(str(tmp_path), ["test_accuracy"], where)
    assert "weight_norm" not in chosen
    assert (len(chosen), set(chosen["optimizer"])) == (2, {"sam"})
    complete = load(str(tmp_path))
    rows = (complete["optimizer"] == "sam") & (complete["seed"] == 1)
    pd.testing.assert_frame_equal(
        load(str(tmp_path), None, where), complete[rows].reset_index(drop=True)
    )


def test_a_filter_without_a_match_lists_the_values(tmp_path):
    write(tmp_path, "x", *(make_run(setting, 0) for setting in SETTINGS))
    with pytest.raises(
        UsageError, match=r"matches no record.*: in these records optimizer is gnp,"
    ):
        load(str(tmp_path), None, "optimizer = 'asam'")
    with pytest.raises(UsageError, match="intervention is null everywhere"):
        load(str(tmp_path), None, "intervention = 'fresh'")
