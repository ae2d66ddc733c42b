"""Synthetic records of a sweep of rho, similar to the records of the study `rho`.

As a script, this module writes such a study:
python -m tests.support.synthetic_rho RESULTS [--confirm-seeds 10].
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support.synthetic import (
    LENGTH,
    hash_of,
    make_run,
    make_setting,
    write,
    write_request,
)

RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
RHOS = tuple(float(f"{rho:.2g}") for rho in np.geomspace(0.001, 2, 9))
KINDS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sam"},
    {"optimizer": "gnp", "alpha": 0.5},
    {"optimizer": "gnp", "alpha": 0.8},
)


def rho_settings(
    problem: str,
    rates: Sequence[float] = RATES,
    rhos: Sequence[float] = RHOS,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Return SGD at every step size, and each of `KINDS` at every rho and step size."""
    plain = [make_setting(problem, lr=lr, **changes) for lr in rates]
    return plain + [
        make_setting(problem, lr=lr, rho=rho, **kind, **changes)
        for kind in KINDS
        for rho in rhos
        for lr in rates
    ]


def strength(setting: Mapping[str, Any]) -> float:
    """Return alpha * rho, which is rho for SAM and 0 for SGD."""
    mixing = {"sgd": 0.0, "sam": 1.0}.get(setting["optimizer"], setting["alpha"])
    return float(mixing * (setting["rho"] or 0.0))


def accuracy_of(setting: Mapping[str, Any], seed: int) -> np.ndarray:
    """Return random accuracies along a stream, for this step size and rho."""
    own = np.random.default_rng([seed, zlib.crc32(hash_of(dict(setting)).encode())])
    shared = np.random.default_rng([seed, LENGTH[setting["problem"]]])
    tasks, rate, reach = setting["tasks"], math.log10(setting["lr"]), strength(setting)
    t = np.linspace(0, 1, tasks)
    first = 0.945 - 0.02 * (rate + 1.7) ** 2 - 0.25 * reach**1.5
    drop = 0.09 * 10 ** (0.6 * (rate + 1)) / (1 + 25 * reach) - 0.005
    own_drop = drop * (1 + own.normal(0, 0.15)) + own.normal(0, 0.002)
    noise = shared.normal(0, 0.003, tasks) + own.normal(0, 0.003, tasks)
    if setting["problem"] == "pairwise":
        first, own_drop = first + 0.045, 0.5 * own_drop
        noise = noise - shared.exponential(0.012, tasks)
    if setting["intervention"] == "fresh":
        own_drop = 0.0
    return np.clip(first - own_drop * t + noise, 0.1, 1)


def ends_at(setting: Mapping[str, Any], seed: int) -> int | None:
    """Return the task on which a run diverges, or None.

    A run is more likely to diverge if its step size times its alpha * rho is large.
    """
    own = np.random.default_rng([seed, 7, zlib.crc32(hash_of(dict(setting)).encode())])
    excess = math.log10(max(setting["lr"] * strength(setting), 1e-9) / 0.05)
    chance = 1 / (1 + math.exp(-9 * excess))
    return int(own.integers(setting["tasks"])) if own.random() < chance else None


def rho_run(setting: Mapping[str, Any], seed: int, study: str = "rho") -> pa.Table:
    return make_run(
        setting, seed, study, accuracy_of(setting, seed), ends_at(setting, seed)
    )


def rho_runs(problem: str, seeds: Sequence[int], **changes: Any) -> Iterator[pa.Table]:
    """Yield the records of each run of the sweep on one problem."""
    for setting in rho_settings(problem, **changes):
        yield from (rho_run(setting, seed) for seed in seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a synthetic sweep of rho.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--confirm-seeds", type=int, default=0)
    parser.add_argument("--problems", nargs="+", default=list(LENGTH))
    parser.add_argument(
        "--fresh", action="store_true", help="add SGD with the intervention fresh"
    )
    args = parser.parse_args()
    seeds = range(args.seeds)
    for problem in args.problems:
        write(args.results, problem, *rho_runs(problem, seeds))
        if args.fresh:
            fresh = rho_settings(problem, rhos=(), intervention="fresh")
            runs = [
                rho_run(setting, seed, "fresh") for setting in fresh for seed in seeds
            ]
            write(args.results, problem, *runs)
    if args.confirm_seeds:
        confirm(args.results, range(args.seeds, args.seeds + args.confirm_seeds))


def confirm(results: Path, seeds: Sequence[int], **changes: Any) -> None:
    """Add the seeds to the best settings, as the sweep's --confirm-seeds does."""
    from analysis.comparing.compare import best_settings
    from analysis.records.load import load

    frame = load(str(results / "rho"))
    settings = {
        hash_of(setting): setting
        for problem in frame["problem"].unique()
        for setting in rho_settings(problem, **changes)
    }
    best = [name for names in best_settings(frame).values() for name in names]
    for name in best:
        runs = [rho_run(settings[name], seed) for seed in seeds]
        write(results, f"confirm-{name}", *runs)
    own = sorted(frame["seed"].unique().tolist())
    write_request(
        results, settings.values(), own, "rho", confirming=(best, list(seeds))
    )


if __name__ == "__main__":
    main()
