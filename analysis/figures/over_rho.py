"""What a sweep of rho found, as data: a metric of each setting by rho and lr.

The heat map and the profile are two drawings of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from analysis.statistics.metrics import Metric

CELL = ("problem", "lr", "rho")
"""What a panel shows beside each other; the rest of a setting is the panel's."""


def over_rho(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return a row for each metric and setting: its mean over the seeds.

    The seeds are those that the settings of a problem should all have: the few that
    were given more of them, to confirm them, look no better or worse for it.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        metrics: Of `METRICS` or `RELATIVE`.

    Returns:
        Columns: study, problem, dataset, tasks, setting_id, optimizer, lr, rho (NaN
        where there is none), panel (what else tells the setting, as "GNP alpha 0.5"),
        metric, mean, lo, hi (of the 95% t-interval over seeds; NaN where there are too
        few), runs, expected, diverged, and best: whether it is the best of its problem
        by this metric (see `analysis.comparing.winners.winner`).

    Raises:
        UsageError: A metric is unknown, or is relative to fresh networks and there are
            none.
    """
    import pandas as pd

    from analysis.comparing.fresh import runs_for
    from analysis.comparing.winners import common_seeds, winner
    from analysis.statistics.intervals import mean_interval
    from analysis.statistics.metrics import find_metric

    rows: list[dict[str, Any]] = []
    for name in metrics:
        metric = find_metric(name)
        found = runs_for(frame, metric)
        common = common_seeds(found)
        problems = dict.fromkeys(runs.setting["problem"] for runs in found)
        for problem in problems:
            group = [runs for runs in found if runs.setting["problem"] == problem]
            best = winner(group, metric, set.union(*(common[r.peers] for r in group)))
            panels = panel_names([runs.setting for runs in group])
            for whole, panel in zip(group, panels, strict=True):
                runs = whole.on((whole.present | set(whole.missing)) - set(whole.extra))
                mean, lo, hi = mean_interval(metric(runs.matrix))
                kept = ("problem", "dataset", "tasks", "optimizer", "lr", "rho")
                rows.append(
                    {
                        "study": runs.study,
                        "setting_id": runs.setting_id,
                        **{column: runs.setting[column] for column in kept},
                        "panel": panel,
                        "metric": name,
                        "mean": float(mean),
                        "lo": float(lo),
                        "hi": float(hi),
                        "runs": len(runs.seeds),
                        "expected": runs.expected,
                        "diverged": len(runs.diverged),
                        "best": best is not None and whole.key == best.key,
                    }
                )
    return pd.DataFrame(rows).astype({"rho": float})


def panel_names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return what tells a setting from others but for rho and learning rate.

    >>> gnp = {"optimizer": "gnp", "lr": 0.1, "rho": 0.05}
    >>> panel_names([{**gnp, "alpha": 0.5}, {**gnp, "alpha": 0.8, "rho": 0.1}])
    ['GNP alpha 0.5', 'GNP alpha 0.8']
    """
    from analysis.records.runs import show, varying

    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for setting in settings:
        kinds[setting["optimizer"]].append(setting)
    names = []
    for setting in settings:
        told = [n for n in varying(kinds[setting["optimizer"]]) if n not in CELL]
        parts = [f"{n} {show(setting[n])}" for n in told if setting[n] is not None]
        names.append(" ".join([setting["optimizer"].upper(), *parts]))
    return names


def told_in(metric: Metric) -> tuple[float, str]:
    """Return by what a metric is multiplied for a reader, and the unit it then has."""
    if metric.per_task:
        return 1e4, "pp per 100 tasks"
    return 100.0, "pp" if metric.relative or not metric.higher else "%"


def limits(values: Sequence[float], higher: bool) -> tuple[float, float]:
    """Return the ends of a scale on which what is good can be told apart.

    A large rho ruins a network, and a scale that reaches down to it shows nothing
    else. So on the bad side it reaches no further from the best value than 1.5 times
    as far as the best 85% of the values do; what is worse has the look of the end.

    >>> limits([10.0, *range(80, 100)], higher=True)
    (73.5, 99.0)
    """
    import numpy as np

    sign = 1 if higher else -1
    good = sign * np.asarray(values, dtype=float)
    if not len(good):
        return 0.0, 1.0
    best, worst = float(good.max()), float(good.min())
    end = max(worst, best - 1.5 * (best - float(np.quantile(good, 0.15))))
    if end == best:  # all the same, or most of it
        end = worst if worst < best else best - 1
    return (end, best) if higher else (-best, -end)
