"""Synthetic records of studies, to test the analysis and to measure its speed.

As a script, this module writes a big study: python -m tests.support.synthetic RESULTS.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.record import SETTING_COLUMNS, schema
from trainables.request import REQUEST_FILE, Request, stack_name
from trainables.setting import digest

LENGTH = {"permuted": 100, "pairwise": 45}
FIRST = {"sgd": 0.93, "sam": 0.935, "gnp": 0.94}
DROP = {"sgd": 0.06, "sam": 0.03, "gnp": 0.012}


def make_setting(problem: str = "permuted", **changes: Any) -> dict[str, Any]:
    """Return the row of a setting: SGD as in the paper, with these changes."""
    setting = (
        dict.fromkeys(SETTING_COLUMNS)
        | {
            "problem": problem,
            "dataset": "mnist",
            "tasks": LENGTH[problem],
            "epochs": 1,
            "batch_size": 16,
            "hidden": "100-100-100",
            "optimizer": "sgd",
            "lr": 0.01,
            "momentum": 0.0,
            "weight_decay": 0.0,
        }
        | changes
    )
    assert setting.keys() == SETTING_COLUMNS.keys()
    return setting


def paper_settings(problem: str = "permuted", **changes: Any) -> list[dict[str, Any]]:
    """Return the six settings of the paper for a problem, with these changes."""
    return [
        make_setting(problem, lr=lr, **kind, **changes)
        for kind in (
            {"optimizer": "sgd"},
            {"optimizer": "sam", "rho": 0.05},
            {"optimizer": "gnp", "rho": 0.05, "alpha": 0.7},
        )
        for lr in (0.01, 0.001)
    ]


def hash_of(*what: Any) -> str:
    """Return a hash that ignores null values, so new columns do not change it."""
    what = tuple(
        {k: v for k, v in each.items() if v is not None}
        if isinstance(each, Mapping)
        else each
        for each in what
    )
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def draw_accuracy(setting: Mapping[str, Any], seed: int) -> np.ndarray:
    """Return random accuracies along a stream, similar to real ones, shape (tasks,)."""
    salt = zlib.crc32(hash_of(setting).encode())
    own = np.random.default_rng([seed, salt])
    shared = np.random.default_rng(seed)
    tasks, kind = setting["tasks"], setting["optimizer"]
    fast = setting["lr"] > 0.005
    t = np.linspace(0, 1, tasks)
    if setting["problem"] == "permuted":
        first = FIRST[kind] - (0 if fast else 0.05)
        drop = DROP[kind] * (1 if fast else 0.3)
        rise = 0.02 * (1 - np.exp(-15 * t))
        noise = shared.normal(0, 0.002, tasks) + own.normal(0, 0.003, tasks)
        return np.clip(first + rise - drop * t + noise, 0, 1)
    hard = shared.exponential(0.012, tasks)
    drop = DROP[kind] * (0.4 if fast else 0.15)
    noise = np.abs(own.normal(0, 0.004, tasks))
    return np.clip(0.998 - hard - drop * t - noise, 0, 1)


def make_run(
    setting: Mapping[str, Any],
    seed: int,
    study: str = "paper",
    accuracy: Sequence[float] | np.ndarray | None = None,
    diverged_at: int | None = None,
    rows: int | None = None,
) -> pa.Table:
    """Return the records of one run.

    Args:
        setting: The setting, from `make_setting`.
        seed: The seed of the run.
        study: The study's name.
        accuracy: The test accuracy on each task. None draws it.
        diverged_at: The task on which the run diverges, or None.
        rows: The number of finished tasks. None means all tasks.
    """
    tasks = setting["tasks"]
    task = np.arange(tasks)
    values = draw_accuracy(setting, seed) if accuracy is None else np.array(accuracy)
    has_diverged = task >= (tasks if diverged_at is None else diverged_at)
    setting_id = hash_of(dict(setting))
    measured: dict[str, Any] = {
        "online_accuracy": np.clip(values - 0.02, 0, None),
        "train_loss": -np.log(np.clip(values, 0.01, 1)),
        "test_loss": -np.log(np.clip(values, 0.01, 1)),
        "test_accuracy": values,
        "dormant_fraction": 0.1 * task / tasks,
        "effective_rank": np.full(tasks, 30.0),
        "stable_rank": np.full(tasks, 5.0),
        "weight_norm": 10 + 0.1 * task,
        "gradient_norm": np.full(tasks, 0.5),
        "sharpness": np.full(tasks, 20.0),
        "hessian_trace": np.full(tasks, 80.0),
        "hessian_trace_error": np.full(tasks, 4.0),
        "sam_sharpness": np.full(tasks, 0.05),
        "lipschitz": np.full(tasks, 1.5),
        "start_sharpness": 25 + 10 * task / tasks,
        "start_sam_sharpness": np.full(tasks, 0.2),
        "start_lipschitz": np.full(tasks, 5.0),
        "start_gradient_norm": np.full(tasks, 4.0),
        "start_dormant_fraction": 0.1 * task / tasks,
        "start_effective_rank": np.full(tasks, 29.0),
        "dormant_fraction_tau": 0.2 * task / tasks,
        "srank": np.full(tasks, 40.0),
        "approximate_rank": np.full(tasks, 12.0),
        "participation_ratio": np.full(tasks, 6.0),
        "initial_distance": 0.1 * task,
        "update_norm": np.full(tasks, 0.3),
        "layer_dormant_fraction": [[0.0, 0.1, 0.2]] * tasks,
        "layer_weight_norm": [[4.0, 3.0, 2.0, 1.0]] * tasks,
        "layer_initial_distance": [[0.4, 0.3, 0.2, 0.1]] * tasks,
        "layer_update_norm": [[0.04, 0.03, 0.02, 0.01]] * tasks,
        "backward_accuracy": [None if t == 0 else [0.8, 0.7][:t] for t in task],
    }
    same = {
        "study": study,
        "setting_id": setting_id,
        "run_id": hash_of(setting_id, seed),
        "trial_id": hash_of("trial", setting_id),
        "seed": seed,
        **setting,
        "steps": 3750,
        "seconds": 1.5,
        "device": "cpu",
        "engine": "torch",
    }
    labels = [str(t) for t in task]
    varying = {"task": task, "task_label": labels, "diverged": has_diverged}
    columns = []
    for field in _schema():
        if field.name in measured:
            column = pa.array(measured[field.name], field.type, mask=has_diverged)
        elif field.name in varying:
            column = pa.array(varying[field.name], field.type)
        else:
            # all other measures are null
            column = _repeat(field.name, same.get(field.name), tasks)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=_schema()).slice(0, rows)


@functools.cache
def _schema() -> pa.Schema:
    return schema({"commit": "synthetic"})


@functools.lru_cache(maxsize=10_000)  # runs differ in few of a hundred columns
def _repeat(name: str, value: Any, tasks: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, _schema().field(name).type), tasks)


def frame(*runs: pa.Table) -> pd.DataFrame:
    """Return the records of runs as one data frame."""
    records: pd.DataFrame = pa.concat_tables(runs).to_pandas()
    return records


def make_frame(
    settings: Iterable[tuple[Mapping[str, Any], np.ndarray]], study: str = "paper"
) -> pd.DataFrame:
    """Return the records that a comparison needs, much faster than `make_run`.

    Args:
        settings: Pairs of a setting and its test accuracies, of shape (seeds, tasks).
            The seeds are 0, 1, 2, ...
        study: The study's name.
    """
    kinds, matrices = zip(*settings, strict=True)
    rows = pd.DataFrame(
        {"study": study, "setting_id": hash_of(dict(kind)), **kind} for kind in kinds
    )
    repeated = np.repeat(np.arange(len(rows)), [matrix.size for matrix in matrices])
    places = np.hstack([np.indices(matrix.shape).reshape(2, -1) for matrix in matrices])
    frame = rows.iloc[repeated].reset_index(drop=True)
    frame["seed"], frame["task"] = places
    frame["run_id"] = frame["setting_id"] + frame["seed"].astype(str)
    frame["test_accuracy"] = np.hstack([matrix.ravel() for matrix in matrices])
    return frame.assign(diverged=False)


def with_real_ids(run: pa.Table, setting: Mapping[str, Any], seed: int) -> pa.Table:
    """Return the records of a run with the IDs that `study.status --check` expects."""
    ids = {
        "setting_id": digest(dict(setting)),
        "run_id": digest({**setting, "seed": seed}),
    }
    for name, value in ids.items():
        index = run.schema.get_field_index(name)
        column = pa.array([value] * run.num_rows)
        run = run.set_column(index, run.schema.field(index), column)
    return run


def write_request(
    results: str | Path,
    settings: Iterable[Mapping[str, Any]],
    seeds: Sequence[int],
    study: str = "paper",
    *,
    confirming: tuple[Iterable[str], Sequence[int]] = ((), ()),
) -> None:
    """Write the study.json of a study, as the sweep does.

    Args:
        results: The folder of the studies.
        settings: The settings of the study.
        seeds: The seeds of the study.
        study: The study's name.
        confirming: The IDs of the best settings, and the seeds that confirm them.
    """
    rows = {hash_of(dict(setting)): dict(setting) for setting in settings}
    best = {name: rows[name] for name in confirming[0]}
    request = (
        Request(study=study)
        .with_settings(rows, seeds)
        .with_settings(best, confirming[1], confirming=True)
    )
    (Path(results) / study / REQUEST_FILE).write_bytes(request.to_bytes())


def write(results: str | Path, name: str, *runs: pa.Table) -> Path:
    """Write runs of one study to RESULTS/<study>/records/NAME.parquet."""
    folder = Path(results) / runs[0]["study"][0].as_py() / "records"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(runs), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def write_study(
    results: str | Path,
    settings: Iterable[Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    study: str = "paper",
) -> list[Path]:
    """Write the records of a study, with one file per setting; return the files.

    If `settings` is None, the study has the settings of the paper on both problems.
    """
    if settings is None:
        settings = [s for problem in LENGTH for s in paper_settings(problem)]
    return [
        write(
            results,
            hash_of(dict(setting), list(seeds)),
            *(make_run(setting, seed, study) for seed in seeds),
        )
        for setting in settings
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a big synthetic study.")
    parser.add_argument("results")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    settings = [
        {**setting, "weight_decay": i * 1e-6}
        for i in range(-(-args.runs // (6 * args.seeds)))
        for setting in paper_settings()
    ][: args.runs // args.seeds]
    for setting in settings:
        runs = [
            with_real_ids(make_run(setting, seed, "big"), setting, seed)
            for seed in range(args.seeds)
        ]
        file = write(
            args.results, stack_name(digest(setting), range(args.seeds)), *runs
        )
    print(f"{len(settings)} files in {file.parent}")


if __name__ == "__main__":
    main()
