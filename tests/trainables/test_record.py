"""The record's columns, types and nulls."""

from __future__ import annotations

import pyarrow as pa
import pytest

from trainables.record import (
    COLUMNS,
    HOW,
    MEASURED,
    SCHEMA_VERSION,
    WHAT,
    WHERE,
    WHO,
    schema,
    to_table,
)

PUBLIC = """
study setting_id run_id trial_id seed
problem dataset tasks epochs batch_size hidden optimizer lr momentum rho alpha
weight_decay intervention base eta beta1 beta2 adam_eps init_decay spectral_bound shrink
perturb replacement_rate maturity utility_decay redo_tau redo_every
task task_label
online_accuracy train_loss test_loss test_accuracy dormant_fraction effective_rank
stable_rank weight_norm gradient_norm sharpness
hessian_trace hessian_trace_error sam_sharpness lipschitz
start_sharpness start_sam_sharpness start_lipschitz start_gradient_norm
start_dormant_fraction start_effective_rank
dormant_fraction_tau srank approximate_rank participation_ratio initial_distance
update_norm
layer_dormant_fraction layer_weight_norm layer_initial_distance layer_update_norm
backward_accuracy
diverged steps seconds device
"""

WHOLE = "seed tasks epochs batch_size maturity redo_every task steps"
TEXT = """
study setting_id run_id trial_id problem dataset hidden optimizer intervention base
task_label device
"""

LISTS = """
layer_dormant_fraction layer_weight_norm layer_initial_distance layer_update_norm
backward_accuracy
"""

VALUES = {
    pa.string(): "x",
    pa.int64(): 3,
    pa.float64(): 0.5,
    pa.bool_(): False,
    pa.list_(pa.float64()): [0.5, None, 2.0],
}


def record(**changes):
    return {name: VALUES[c.type] for name, c in COLUMNS.items()} | changes


def test_public_columns_keep_their_name_and_order():
    """New ones are appended: add their names at the end of a line."""
    assert list(COLUMNS) == PUBLIC.split()
    assert SCHEMA_VERSION == 3


def test_public_columns_keep_their_type():
    kinds = {kind: {n for n, c in COLUMNS.items() if c.type == kind} for kind in VALUES}
    assert kinds[pa.bool_()] == {"diverged"}
    assert kinds[pa.int64()] == {*WHOLE.split()}
    assert kinds[pa.string()] == {*TEXT.split()}
    assert kinds[pa.list_(pa.float64())] == {*LISTS.split()}


def test_only_what_may_not_apply_is_null():
    nulls = {name for name, column in COLUMNS.items() if column.null}
    parts = [*WHAT][[*WHAT].index("intervention") :]  # and their hyperparameters
    assert nulls == {"rho", "alpha", *parts, *MEASURED}


def test_groups_share_no_column():
    groups = (WHO, WHAT, WHERE, MEASURED, HOW)
    assert sum(map(len, groups)) == len(COLUMNS)
    assert all(column.meaning for column in COLUMNS.values())


def test_records_become_a_table_of_the_schema():
    table = to_table([record(), record(seed=4, rho=None)], {"git_commit": "abc"})
    assert table.schema.names == list(COLUMNS)
    assert table.schema.equals(schema())
    assert table.schema.metadata[b"schema_version"] == b"3"
    assert table.schema.metadata[b"git_commit"] == b"abc"
    assert table.to_pylist() == [record(), record(seed=4, rho=None)]


def test_no_records_are_an_empty_table():
    assert to_table([]).schema.equals(schema())
    assert to_table([]).num_rows == 0


def test_a_column_too_many_or_too_few_is_refused():
    with pytest.raises(ValueError, match=r"unknown columns \['acuracy'\]"):
        to_table([record(acuracy=1.0)])
    short = record()
    del short["lr"]
    with pytest.raises(ValueError, match=r"missing .* \['lr'\]"):
        to_table([record(), short])


@pytest.mark.parametrize("name", [n for n, c in COLUMNS.items() if not c.null])
def test_a_null_where_there_may_be_none_is_refused(name):
    with pytest.raises(ValueError, match=f"null in {name}$"):
        to_table([record(**{name: None})])


@pytest.mark.parametrize(("name", "value"), [("seed", "x"), ("lr", "fast")])
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        to_table([record(**{name: value})])
