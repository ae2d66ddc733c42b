"""The processor of this machine, and its training speeds from the benchmark."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from study.plan.trials import Trial
from trainables.setting import Setting

# the optimizers whose speed the benchmark measures by default
MEASURED = {"sgd", "sam", "gnp"}


def processor() -> str:
    """Return the name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if "model name" in line:
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def rates_file() -> Path:
    """Return the path of the file that has the measured training speeds."""
    return platformdirs.user_cache_path("plasticity-study") / "rates.json"


def save_rates(work_per_second: Mapping[str, float]) -> None:
    """Save the work (`study.plan.cost.Cost`) that a CPU does in a second.

    The keys of `work_per_second` are names from `rate_name`.
    """
    content = {"processor": processor(), "work_per_second": dict(work_per_second)}
    rates_file().parent.mkdir(parents=True, exist_ok=True)
    rates_file().write_text(json.dumps(content))


def load_rates() -> dict[str, float]:
    """Return the speeds that `save_rates` saved, or {} if there are none.

    The speeds of another processor do not count.
    """
    try:
        content: dict[str, Any] = json.loads(rates_file().read_text())
        if content["processor"] == processor():
            rates = content["work_per_second"].items()
            return {name: float(rate) for name, rate in rates}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    return {}


def rate_name(setting: Setting) -> str:
    """Return the name of the training speed that a setting has.

    It is the name of the optimizer. If the network is not mlp, its name comes first.
    """
    network = f"{setting.network.name} " if setting.network else ""
    return f"{network}{setting.optimizer.name}"


def benchmark_command(rates: Iterable[str]) -> str:
    """Return the command that measures training speeds on a CPU, by `rate_name`.

    Each network needs its own command.

    >>> benchmark_command(["sam"])
    'python -m study.benchmark --device cpu'
    >>> benchmark_command(["sam", "gam"])
    'python -m study.benchmark --device cpu --optimizers gam,sam'
    >>> benchmark_command(["conv gam"])
    'python -m study.benchmark --device cpu --network conv --optimizers gam'
    """
    networks: dict[str, list[str]] = {}
    for name in sorted(rates):
        network, _, optimizer = name.rpartition(" ")
        networks.setdefault(network, []).append(optimizer)
    commands = []
    for network, names in networks.items():
        command = "python -m study.benchmark --device cpu"
        if network:
            command += f" --network {network}"
        if not set(names) <= MEASURED:
            command += f" --optimizers {','.join(names)}"
        commands.append(command)
    return " and ".join(commands)


def estimate_seconds(
    trials: list[Trial], slots: int, rates: Mapping[str, float]
) -> float | None:
    """Return how many seconds trials take, or None if a speed is missing.

    The estimate divides the work evenly among `slots` CPUs. But it is never shorter
    than the time of the longest trial, because each trial runs on one CPU. `rates` has
    the work per second of one CPU, by `rate_name`.
    """
    try:
        work = [t.cost.work / rates[rate_name(t.setting)] for t in trials]
    except KeyError:
        return None
    return max(sum(work) / slots, *work, 0.0)
