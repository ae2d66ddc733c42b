"""The data of a sweep of rho: metrics of each setting by rho and learning rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.fresh import runs_for
from analysis.comparing.winners import common_seeds, winner
from analysis.figures.by_task import mean_and_half
from analysis.records.runs import by_problem, show, varying_columns
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import Metric, find_metric
from analysis.tables.formats import Column, Sheet

KEPT = ("problem", "dataset", "tasks", "optimizer", "lr", "rho")
"""The columns of a setting that the data has."""


def over_rho(frame: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Return the mean of each metric and setting over the seeds.

    Seeds that only few settings have, to confirm a winner, are left out: they would
    make these settings look better or worse than the others.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        metrics: Names known to `find_metric`.

    Returns:
        One row per (metric, setting): study, setting_id, problem, dataset, tasks,
        optimizer, lr, rho (NaN if it has none), panel (the optimizer and what else
        distinguishes the setting, as "GNP alpha 0.5"), metric, mean, lo, hi (of the 95%
        t-interval; NaN where there are too few runs), runs, expected, diverged, and
        best: whether it is the `winner` of its problem by this metric.

    Raises:
        UsageError: A metric is unknown, or is relative and there are no fresh networks.
    """
    rows: list[dict[str, Any]] = []
    for name in metrics:
        metric = find_metric(name)
        settings = runs_for(frame, metric)
        common = common_seeds(settings)
        for _, group, _ in by_problem(settings):
            best = winner(group, metric, set.union(*(common[r.peers] for r in group)))
            panels = panel_names([runs.setting for runs in group])
            for all_runs, panel in zip(group, panels, strict=True):
                usual = all_runs.present | set(all_runs.missing)
                runs = all_runs.select_seeds(usual - set(all_runs.extra))
                mean, lo, hi = map(float, mean_interval(metric(runs.matrix)))
                rows.append(
                    {
                        "study": runs.study,
                        "setting_id": runs.setting_id,
                        **{column: runs.setting[column] for column in KEPT},
                        "panel": panel,
                        "metric": name,
                        "mean": mean,
                        "lo": lo,
                        "hi": hi,
                        "runs": len(runs.seeds),
                        "expected": runs.expected,
                        "diverged": len(runs.diverged),
                        "best": best is not None and runs.key == best.key,
                    }
                )
    return pd.DataFrame(rows).astype({"rho": float})


def panel_names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return what distinguishes each setting besides rho and the learning rate.

    >>> gnp = {"optimizer": "gnp", "lr": 0.1, "rho": 0.05}
    >>> panel_names([{**gnp, "alpha": 0.5}, {**gnp, "alpha": 0.8, "rho": 0.1}])
    ['GNP alpha 0.5', 'GNP alpha 0.8']
    """
    by_optimizer: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for setting in settings:
        by_optimizer[setting["optimizer"]].append(setting)
    names = []
    for setting in settings:
        differing = varying_columns(by_optimizer[setting["optimizer"]])
        parts = [
            f"{name} {show(setting[name])}"
            for name in differing
            if name not in ("problem", "lr", "rho") and setting[name] is not None
        ]
        names.append(" ".join([setting["optimizer"].upper(), *parts]))
    return names


def display_unit(metric: Metric) -> tuple[float, str]:
    """Return what a metric is multiplied by for display, and its unit then."""
    if metric.per_task:
        return 1e4, "pp per 100 tasks"
    return 100.0, "pp" if metric.relative or not metric.higher else "%"


def scale_limits(values: Sequence[float], higher: bool) -> tuple[float, float]:
    """Return the limits of a colour scale that resolves the good values.

    A large rho ruins a network; a scale down to such values would show nothing else.
    So the scale starts at the best value and is at most 1.5 times as long as the range
    of the best 85% of the values. Worse values have the colour of its end.

    Args:
        values: In any unit.
        higher: Whether more is better.

    >>> scale_limits([10.0, *range(80, 100)], higher=True)
    (73.5, 99.0)
    """
    sign = 1 if higher else -1
    good = sign * np.asarray(values, dtype=float)
    if not len(good):
        return 0.0, 1.0
    best, worst = float(good.max()), float(good.min())
    end = max(worst, best - 1.5 * (best - float(np.quantile(good, 0.15))))
    if end == best:  # most or all values are equal
        end = worst if worst < best else best - 1
    return (end, best) if higher else (-best, -end)


def rho_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return the numbers of `over_rho` as a sheet for each problem and metric."""
    sheets = []
    for (problem, name), part in data.groupby(["problem", "metric"], sort=False):
        scale, unit = display_unit(find_metric(str(name)))
        columns = [
            Column("panel"),
            Column("lr", right=True),
            Column("rho", right=True),
            Column("mean", unit, right=True),
            Column("runs", right=True),
            Column("diverged", right=True),
            Column(""),
        ]
        cells = [
            [
                row["panel"],
                show(row["lr"]),
                "–" if pd.isna(row["rho"]) else show(row["rho"]),
                mean_and_half(row, scale, ".2f"),
                f"{row['runs']} of {row['expected']}",
                str(row["diverged"]),
                "best" if row["best"] else "",
            ]
            for row in part.to_dict("records")
        ]
        title = f"{problem}: {str(name).replace('_', ' ')}"
        sheets.append(Sheet(title, "", columns, cells, []))
    return sheets
