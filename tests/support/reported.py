"""A study with the data for every table and figure, and an odd name of a study."""

from __future__ import annotations

import pyarrow as pa

from tests.support.synthetic import hash_of, make_run, make_setting, write
from trainables.problems import PROBLEMS

ODD = "<script>alert('x')</script> & $\\frac{1}$ \u202eäö | ``` [a](b)"


def rho_settings(problem, tasks):
    return [
        make_setting(problem, tasks=tasks, lr=lr, **kind)
        for lr in (0.01, 0.001)
        for kind in (
            {"optimizer": "sgd"},
            {"optimizer": "sam", "rho": 0.05},
            {"optimizer": "sam", "rho": 0.2},
        )
    ]


def with_real_tasks(run):
    """Return the records of a run with the task labels of a real stream."""
    row = run.slice(0, 1).to_pylist()[0]
    stream = PROBLEMS[row["problem"]]()
    names = [stream.task(row["seed"], t).label for t in run["task"].to_pylist()]
    index = run.schema.get_field_index("task_label")
    return run.set_column(index, run.schema.field(index), pa.array(names))


UNMEASURED = (
    *("dormant_fraction", "dormant_fraction_tau", "effective_rank", "srank"),
    *("gradient_norm", "initial_distance"),
)
"""Measures that the study lacks: each panel of a figure takes a second to draw."""


def without(run, names):
    """Return the records of a run with nulls in some columns."""
    for name in names:
        index, field = run.schema.get_field_index(name), run.schema.field(name)
        run = run.set_column(index, field, pa.nulls(len(run), field.type))
    return run


def put_whole(folder, study="paper"):
    """Write a study that has data for every table and figure."""
    for setting in rho_settings("permuted", 8):
        runs = [make_run(setting, seed, study) for seed in range(3)]
        runs = [without(with_real_tasks(run), UNMEASURED) for run in runs]
        write(folder, hash_of(setting), *runs)
