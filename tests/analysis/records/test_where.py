"""The filter: what it keeps, what it refuses, and that it is like SQL's."""

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.records.load import load
from analysis.records.where import parse
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

NUMBERS = st.sampled_from(["0", "1", "0.01", "5e-2", "-1", ".1"])
COMPARISONS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["lr", "rho", "alpha", "seed"]),
        st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="]),
        NUMBERS.filter(lambda text: text in "01"),
    ),
    st.builds(
        "{} {} ({})".format,
        st.sampled_from(["lr", "rho", "alpha"]),
        st.sampled_from(["in", "not in", "NOT  IN"]),
        st.lists(NUMBERS, min_size=1, max_size=3).map(", ".join),
    ),
    st.builds(
        "{} {}".format,
        st.sampled_from(["rho", "alpha", "intervention", "lr"]),
        st.sampled_from(["is null", "is not null", "IS NULL"]),
    ),
    st.sampled_from(
        ["optimizer = 'sam'", "optimizer <> 'sgd'", "study='it''s'", "diverged = false"]
    ),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("not ({})".format, inner),
        st.builds("not {} and {}".format, inner, inner),
    ),
    max_leaves=5,
)


@given(text=FILTERS)
def test_it_keeps_what_sql_keeps(text):
    connection = duckdb.connect()
    connection.register("records", TABLE)
    query = f"SELECT run_id, task FROM records WHERE {text} ORDER BY ALL"
    expected = connection.execute(query).fetchall()
    kept = TABLE.filter(parse(text).keeps).select(["run_id", "task"]).to_pylist()
    assert sorted((row["run_id"], row["task"]) for row in kept) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimiser = 'sam'", "unknown column 'optimiser': did you mean 'optimizer'?"),
        ("optimizer = sam", "has sam where text in quotes, as 'sam', should be"),
        ("lr = 'x'", r"has 'x' where a number \(lr is one\) should be"),
        ("seed = 1.5", "has 1.5 where a whole number"),
        ("seed = 1e30", "has 1e30 where a whole number"),
        ("diverged = 1", "has 1 where true or false should be"),
        ("(lr = 1", "has its end where a closing parenthesis should be"),
        ("lr in 1", r"has 1 where \( should be"),
        ("lr = 0.01 rho", "has rho where and, or, or the end should be"),
        ("rho is 0", "has 0 where null should be"),
        ("not", "has its end where a column should be"),
        ("", "has its end where a column should be"),
        ("lr ~ 3", "cannot be read from '~ 3' on"),
        ("__import__('os')", "unknown column '__import__'"),
        ("lr = 0x10", "cannot be read from '0x10' on"),
    ],
)
def test_what_it_cannot_read_it_names(text, said):
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_rows_are_kept_though_the_columns_are_not_asked_for(tmp_path):
    write_study(tmp_path, SETTINGS, (0, 1))
    kept = load(str(tmp_path), ["lr"], "optimizer = 'sam' and seed = 1")
    assert list(kept) == ["study", "run_id", "lr", "task"]
    assert kept["lr"].tolist() == [0.01, 0.01]
    every = load(str(tmp_path))
    chosen = every[(every["optimizer"] == "sam") & (every["seed"] == 1)]
    pd.testing.assert_frame_equal(
        load(str(tmp_path), None, "optimizer = 'sam' and seed = 1"),
        chosen.reset_index(drop=True),
    )


def test_a_filter_that_keeps_nothing_says_what_there_is(tmp_path):
    write(tmp_path, "x", *(make_run(setting, 0) for setting in SETTINGS))
    with pytest.raises(UsageError, match=r"keeps none.*: there optimizer is gnp, sam,"):
        load(str(tmp_path), None, "optimizer = 'asam'")
    with pytest.raises(UsageError, match="intervention is null everywhere"):
        load(str(tmp_path), None, "intervention = 'fresh'")
