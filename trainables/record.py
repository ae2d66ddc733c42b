"""The record: one row per (run, task), and the schema that everybody reads.

Column names are public: people write SQL and pandas against them. New columns are
appended; old ones keep their name, type and meaning. Fractions lie in [0, 1], losses
are in nats, times in seconds. A measurement is null where it was not made, and on
every task from the one in which the run diverged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

Record = dict[str, Any]

SCHEMA_VERSION = 3


class Column(NamedTuple):
    """A column's Arrow type, whether it may be null, and what it means."""

    type: pa.DataType
    null: bool
    meaning: str


_TEXT, _WHOLE, _REAL, _TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_REALS = pa.list_(_REAL)

WHO: dict[str, Column] = {
    "study": Column(_TEXT, False, "the study's name"),
    "setting_id": Column(_TEXT, False, "hash of the setting"),
    "run_id": Column(_TEXT, False, "hash of setting and seed"),
    "trial_id": Column(_TEXT, False, "the Ray Tune trial that wrote the row"),
    "seed": Column(_WHOLE, False, "initial weights, task stream, order of examples"),
}
"""Whose row it is."""

WHAT: dict[str, Column] = {
    "problem": Column(_TEXT, False, "how the stream is made"),
    "dataset": Column(_TEXT, False, "what the tasks are made from"),
    "tasks": Column(_WHOLE, False, "length of the stream"),
    "epochs": Column(_WHOLE, False, "passes over each task's training examples"),
    "batch_size": Column(_WHOLE, False, "examples per update"),
    "hidden": Column(_TEXT, False, "widths of the hidden layers, as 100-100-100"),
    "optimizer": Column(_TEXT, False, "sgd, sam, gnp or asam"),
    "lr": Column(_REAL, False, "learning rate"),
    "momentum": Column(_REAL, False, "heavy-ball momentum"),
    "rho": Column(_REAL, True, "radius of the ascent step"),
    "alpha": Column(_REAL, True, "GNP's mixing weight"),
    "weight_decay": Column(_REAL, False, "L2 coefficient added to the gradient"),
    "intervention": Column(_TEXT, True, "what else is done to keep plasticity"),
    "base": Column(_TEXT, True, "adam: makes the step of the optimizer's gradient"),
    "eta": Column(_REAL, True, "ASAM's: added to the weights' sizes"),
    "beta1": Column(_REAL, True, "Adam's decay of the first moment"),
    "beta2": Column(_REAL, True, "Adam's decay of the second moment"),
    "adam_eps": Column(_REAL, True, "Adam's: added to the second moment's root"),
    "init_decay": Column(_REAL, True, "L2 coefficient towards the initial weights"),
    "spectral_bound": Column(_REAL, True, "of the last hidden layer's spectral norm"),
    "shrink": Column(_REAL, True, "what the weights are multiplied by at a task"),
    "perturb": Column(_REAL, True, "standard deviation of the noise at a task"),
    "replacement_rate": Column(_REAL, True, "of mature units an update, a layer"),
    "maturity": Column(_WHOLE, True, "updates before a unit may be replaced"),
    "utility_decay": Column(_REAL, True, "of the running average of a unit's use"),
    "redo_tau": Column(_REAL, True, "score at which a unit is dormant and reset"),
    "redo_every": Column(_WHOLE, True, "updates between resets of dormant units"),
}
"""The setting, flat: all that fixes a run but its seed."""

WHERE: dict[str, Column] = {
    "task": Column(_WHOLE, False, "position in the stream, from 0"),
    "task_label": Column(_TEXT, False, "the classes (3v7), or the permutation's CRC"),
}
"""Where in the stream."""

MEASURED: dict[str, Column] = {
    "online_accuracy": Column(_REAL, True, "before each update, mean over the task"),
    "train_loss": Column(_REAL, True, "before each update, mean over the task"),
    "test_loss": Column(_REAL, True, "on the task's test examples, after it"),
    "test_accuracy": Column(_REAL, True, "on the task's test examples, after it"),
    "dormant_fraction": Column(_REAL, True, "hidden units that are 0 on every probe"),
    "effective_rank": Column(_REAL, True, "exp(entropy) of the singular values"),
    "stable_rank": Column(_REAL, True, "||A||_F^2 / ||A||_2^2"),
    "weight_norm": Column(_REAL, True, "L2 norm of all weights and biases"),
    "gradient_norm": Column(_REAL, True, "L2 norm of the probe loss's gradient"),
    "sharpness": Column(_REAL, True, "largest eigenvalue of the Hessian"),
    "hessian_trace": Column(_REAL, True, "sum of its eigenvalues, estimated"),
    "hessian_trace_error": Column(_REAL, True, "standard error of hessian_trace"),
    "sam_sharpness": Column(_REAL, True, "L(w + 0.05 g / ||g||) - L(w)"),
    "lipschitz": Column(_REAL, True, "largest gradient norm within 0.05 of w"),
    "start_sharpness": Column(_REAL, True, "sharpness, before the task"),
    "start_sam_sharpness": Column(_REAL, True, "sam_sharpness, before the task"),
    "start_lipschitz": Column(_REAL, True, "lipschitz, before the task"),
    "start_gradient_norm": Column(_REAL, True, "gradient_norm, before the task"),
    "start_dormant_fraction": Column(_REAL, True, "dormant_fraction, before the task"),
    "start_effective_rank": Column(_REAL, True, "effective_rank, before the task"),
    "dormant_fraction_tau": Column(_REAL, True, "hidden units of ReDo score <= 0.025"),
    "srank": Column(_REAL, True, "singular values that sum to 99% of all"),
    "approximate_rank": Column(_REAL, True, "their squares that sum to 99% of all"),
    "participation_ratio": Column(_REAL, True, "(tr C)^2 / tr(C^2), C the covariance"),
    "initial_distance": Column(_REAL, True, "L2 distance from the initial weights"),
    "update_norm": Column(_REAL, True, "L2 distance from the weights before the task"),
    "layer_dormant_fraction": Column(_REALS, True, "dormant_fraction by hidden layer"),
    "layer_weight_norm": Column(_REALS, True, "weight_norm by layer"),
    "layer_initial_distance": Column(_REALS, True, "initial_distance by layer"),
    "layer_update_norm": Column(_REALS, True, "update_norm by layer"),
    "backward_accuracy": Column(
        _REALS, True, "test accuracy on the tasks before, the last one first"
    ),
}
"""How it learned and how the network is: after the task but for `start_`, before it.

A list named `layer_` has a number for each layer, from the inputs to the outputs.
"""

HOW: dict[str, Column] = {
    "diverged": Column(_TRUTH, False, "the loss or a weight is no longer finite"),
    "steps": Column(_WHOLE, False, "updates made in this task"),
    "seconds": Column(_REAL, False, "wall time of this task, the run's share of it"),
    "device": Column(_TEXT, False, "cpu, or the GPU's name"),
}
"""How it went."""

COLUMNS: dict[str, Column] = WHO | WHAT | WHERE | MEASURED | HOW


def schema(metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema of a file of records.

    Args:
        metadata: What made the file: commit, versions, hardware.
    """
    fields = [pa.field(n, c.type, nullable=c.null) for n, c in COLUMNS.items()]
    marks = {"schema_version": str(SCHEMA_VERSION), **(metadata or {})}
    return pa.schema(fields, metadata=marks)


def to_table(
    records: Iterable[Record], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Return records as a table, refusing what the schema does not say.

    Raises:
        ValueError: A record has a column too many, too few, or null where it may not.
    """
    rows = list(records)
    for row in rows:
        if odd := set(row) ^ set(COLUMNS):
            raise ValueError(f"record with missing or unknown columns {sorted(odd)}")
        for name, column in COLUMNS.items():
            if row[name] is None and not column.null:
                raise ValueError(f"record with a null in {name}")
    return pa.Table.from_pylist(rows, schema=schema(metadata))


def version(held: pa.Schema) -> int:
    """Return the version of a file's schema; 0: it is no file of records."""
    text = (held.metadata or {}).get(b"schema_version", b"").decode(errors="replace")
    return int(text) if text.isdecimal() and text.isascii() else 0


def misfit(held: pa.Schema, names: Iterable[str] = COLUMNS) -> str | None:
    """Return why a file of this schema cannot be read, or None if it can.

    Columns are appended over the versions, so a file of an earlier version may lack
    some: they are then null.

    Args:
        held: The file's schema.
        names: The columns to read.
    """
    if not (made := version(held)):
        return "is no file of records: its metadata has no schema_version"
    if made > SCHEMA_VERSION:
        return (
            f"has records of version {made}, this program reads up to "
            f"{SCHEMA_VERSION}: upgrade it"
        )
    for name in names:
        index = held.get_field_index(name)
        if index >= 0:
            kind = held.field(index).type
            # text that is written or read as a dictionary is text all the same
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if kind != COLUMNS[name].type:
                return (
                    f"is no file of records: column {name} is {kind}, "
                    f"not {COLUMNS[name].type}"
                )
        elif made == SCHEMA_VERSION:
            return f"is no file of records: it has no column {name}"
    return None
