"""The records' columns, what their files say, and which rows they accept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.columns import with_tables
from trainables.record import (
    IDENTITY_COLUMNS,
    KNOWN_COLUMNS,
    KNOWN_MEASURES,
    OUTCOME_COLUMNS,
    POSITION_COLUMNS,
    SCHEMA_VERSION,
    SETTING_COLUMNS,
    Column,
    all_columns,
    file_columns,
    measure_columns,
    schema,
    schema_error,
    schema_version,
    to_table,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "records.md"

PUBLIC = """
study setting_id run_id trial_id seed
problem dataset tasks epochs batch_size hidden optimizer lr momentum rho alpha
weight_decay intervention base eta beta1 beta2 adam_eps init_decay spectral_bound shrink
perturb replacement_rate maturity utility_decay redo_tau redo_every
fresh_share step_shrink step_perturb step_noise utility ascent_scaled
spectral_strength spectral_power parseval_strength upgd_decay upgd_noise
hare_ema hare_every
rho_warmup rho_decay rho_follows wsam_gamma wsam_form gsam_alpha fsam_sigma fsam_lambda
vasso_theta looksam_every looksam_alpha gam_rho gam_beta0 gam_beta1 gam_gamma
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
diverged steps seconds device engine
"""

WHOLE = """
seed tasks epochs batch_size maturity redo_every spectral_power hare_every task steps
rho_warmup looksam_every
"""
TEXT = """
study setting_id run_id trial_id problem dataset hidden optimizer intervention base
step_noise utility ascent_scaled rho_decay rho_follows wsam_form
task_label device engine
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


COLUMNS = all_columns()


def record(**changes):
    return {name: VALUES[c.type] for name, c in COLUMNS.items()} | changes


def test_public_columns_keep_their_name():
    """People's queries use them. New ones need not be added here."""
    assert set(PUBLIC.split()) <= set(COLUMNS)
    assert SCHEMA_VERSION == 3


def test_public_columns_keep_their_type():
    kinds = {
        kind: {n for n in PUBLIC.split() if COLUMNS[n].type == kind} for kind in VALUES
    }
    assert kinds[pa.bool_()] == {"diverged"}
    assert kinds[pa.int64()] == {*WHOLE.split()}
    assert kinds[pa.string()] == {*TEXT.split()}
    assert kinds[pa.list_(pa.float64())] == {*LISTS.split()}


def test_only_what_may_not_apply_is_nullable():
    required = {name for name, column in COLUMNS.items() if not column.nullable}
    setting = "problem dataset tasks epochs batch_size hidden optimizer lr momentum"
    outcome = "diverged steps seconds device"
    assert required == {
        *IDENTITY_COLUMNS,
        *setting.split(),
        "weight_decay",
        *POSITION_COLUMNS,
        *outcome.split(),
    }


def test_groups_share_no_column():
    groups = {
        "identity": IDENTITY_COLUMNS,
        "setting": SETTING_COLUMNS,
        "position": POSITION_COLUMNS,
        "measure": measure_columns(),
        "outcome": OUTCOME_COLUMNS,
    }
    assert [n for group in groups.values() for n in group] == list(COLUMNS)
    for role, group in groups.items():
        assert {column.role for column in group.values()} == {role}
    assert all(column.meaning for column in COLUMNS.values())


def test_files_from_before_metadata_have_the_meanings_of_today():
    declared = measure_columns()
    shared = KNOWN_MEASURES.keys() & declared.keys()
    assert len(shared) == len(KNOWN_MEASURES) == 31
    for name in shared:
        assert KNOWN_MEASURES[name] == declared[name]


def test_the_document_lists_the_columns():
    """To update it: python -m trainables.columns docs/records.md"""
    text = DOCUMENT.read_text()
    assert "| `sharpness` | measure |" in text
    assert with_tables(text) == text


def test_importing_the_columns_does_not_import_torch():
    program = "import sys, trainables.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# ---- rows


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


def test_a_nullable_column_may_be_missing():
    row = record()
    del row["rho"], row["sharpness"], row["engine"]
    assert to_table([row]).to_pylist() == [
        record(rho=None, sharpness=None, engine=None)
    ]


def test_a_run_outside_of_a_study_has_no_study_and_no_trial():
    row = record()
    del row["study"], row["trial_id"]
    assert to_table([row]).to_pylist() == [record(study="", trial_id="")]


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match=r"unknown columns \['acuracy'\]"):
        to_table([record(acuracy=1.0)])


@pytest.mark.parametrize("name", [n for n, c in COLUMNS.items() if not c.nullable])
def test_a_row_without_a_required_value_is_refused(name):
    with pytest.raises(ValueError, match=f"value in required columns \\['{name}'\\]$"):
        to_table([record(), record(**{name: None})])


@pytest.mark.parametrize(("name", "value"), [("seed", "x"), ("lr", "fast")])
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        to_table([record(**{name: value})])


# ---- files


def bare(*names: str, version: int = 3, **types: pa.DataType) -> pa.Schema:
    """Return a schema as in files from before fields had metadata."""
    fields = [
        pa.field(n, types.get(n, KNOWN_COLUMNS[n].type), KNOWN_COLUMNS[n].nullable)
        for n in names or KNOWN_COLUMNS
    ]
    return pa.schema(fields, metadata={"schema_version": str(version)})


def test_a_file_describes_its_columns(tmp_path):
    file = tmp_path / "x.parquet"
    pq.write_table(to_table([record()]), file)
    assert file_columns(pq.read_schema(file)) == COLUMNS


def test_a_file_describes_columns_that_this_program_does_not_know():
    column = Column(pa.float64(), True, "setting", "updates", "of another optimizer")
    other = schema().append(column.to_field("temperature"))
    assert file_columns(other) == COLUMNS | {"temperature": column}
    assert schema_error(other) is None


def test_an_older_file_has_the_known_columns():
    assert file_columns(bare()) == KNOWN_COLUMNS
    assert list(file_columns(bare("seed", "sharpness"))) == ["seed", "sharpness"]
    foreign = bare().append(pa.field("temperature", pa.float64()))
    assert "temperature" not in file_columns(foreign)


def test_text_may_be_encoded_as_a_dictionary():
    encoded = bare(optimizer=pa.dictionary(pa.int32(), pa.string()))
    assert schema_error(encoded) is None
    assert file_columns(encoded)["optimizer"].type == pa.string()


def test_a_file_may_lack_nullable_columns():
    required = [n for n, column in KNOWN_COLUMNS.items() if not column.nullable]
    assert schema_error(bare(*required)) is None
    assert schema_error(bare(*required[1:])) == (
        "is not a file of records: it has no column study"
    )
    assert schema_error(bare(*required[1:], version=2)) is None


def test_what_cannot_be_read_is_explained():
    assert schema_version(bare(version=2)) == 2
    assert schema_version(pa.schema([])) == 0
    assert "have no schema_version" in schema_error(pa.schema([]))
    assert "this program reads only versions up to 3" in schema_error(bare(version=4))
    assert schema_error(bare(lr=pa.string())) == (
        "is not a file of records: column lr has type string, not double"
    )
