"""How fast this machine trains, as the benchmark measured it last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.plan.trials import Trial
from study.results.provenance import processor
from trainables import cache


def path() -> Path:
    """Return where the rates are kept between commands."""
    return cache.folder() / "rates.json"


def keep(flops_per_second: Mapping[str, float]) -> None:
    """Keep the rate of one CPU for each optimizer, in a whole task."""
    known = {"processor": processor(), "flops_per_second": dict(flops_per_second)}
    path().parent.mkdir(parents=True, exist_ok=True)
    path().write_text(json.dumps(known))


def recall() -> dict[str, float]:
    """Return the rates kept, if it was on this kind of machine; else none."""
    try:
        known: dict[str, Any] = json.loads(path().read_text())
        if known["processor"] == processor():
            return {name: float(r) for name, r in known["flops_per_second"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    return {}


def seconds(
    trials: list[Trial], slots: int, rates: Mapping[str, float]
) -> float | None:
    """Return how long trials take side by side on CPUs; None: not measured.

    The work is shared evenly, but no trial is shared.
    """
    if not all(trial.setting.optimizer.name in rates for trial in trials):
        return None
    work = [trial.cost.flops / rates[trial.setting.optimizer.name] for trial in trials]
    return max(sum(work) / slots, max(work, default=0.0))


def clock(seconds: float) -> str:
    """Return a time to read.

    >>> clock(5), clock(65), clock(7384)
    ('5 s', '1 min 5 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
