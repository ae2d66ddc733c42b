"""Metrics of a study for Prometheus, which Ray serves on the driver's node.

The driver sets them, from what the trials last said: what a killed trial had done and
not kept is taken back when it starts again, so that the sums are those of the records.
No tag has more values than there are nodes, or settings' kinds; never a trial's name.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from ray import tune
from ray.util.metrics import Gauge

from study.plan.cost import run_cost
from study.running.progress import Tally

BEFORE = "before"
"""The node of tasks that an earlier session did."""

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plasticity_runs": (
        "Runs by state: done, running, failed, waiting",
        ("study", "state"),
    ),
    "plasticity_tasks": (
        "Tasks learned, by the node that did it; the rows of the records in the end",
        ("study", "node"),
    ),
    "plasticity_runs_diverged": ("Runs of this session that diverged", ("study",)),
    "plasticity_examples_per_second": (
        "Examples trained on, by the trials that run on a node now",
        ("study", "node"),
    ),
    "plasticity_test_accuracy": (
        "Test accuracy after the last task of each run, mean over runs, in [0, 1]",
        ("study", "problem", "optimizer"),
    ),
    "plasticity_gpu_memory_bytes": (
        "Most memory of a GPU that a stack has held, by node",
        ("study", "node"),
    ),
}
"""What each metric is, and its tags; Ray puts `ray_` before the names."""

EVERY = 1.0
"""Seconds between settings; Ray hands them on every ten."""


class Metrics(tune.Callback):
    """Sets the metrics as Tune's results come in."""

    def __init__(self, tally: Tally, study: str) -> None:
        """Set what is known before the first result.

        Args:
            tally: Counts what the trials report.
            study: The study's name.
        """
        self._tally, self._study = tally, study
        self._gauges = {
            name: Gauge(name, description=about, tag_keys=tags)
            for name, (about, tags) in METRICS.items()
        }
        self._nodes: dict[str, list[str]] = {}
        self._tasks: Counter[str] = Counter({BEFORE: tally.tasks_found})
        self._running: set[str] = set()
        self._accuracy: dict[str, tuple[float, int]] = {}
        self._speed: dict[str, tuple[str, float]] = {}
        self._memory: Counter[str] = Counter()
        self._set: set[tuple[str, tuple[str, ...]]] = set()
        self._last = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks, and there is nothing to keep."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Take a report."""
        name, node, tasks = result["name"], result["node_ip"], result["tasks_done"]
        runs, did = (
            len(self._tally.trials[name].seeds),
            self._nodes.setdefault(name, []),
        )
        # another session's come with the first report, and what was lost goes
        lost, new = did[max(0, tasks - 1) :], [BEFORE] * (tasks - 1 - len(did))
        new += [node] * (tasks > 0)
        did[len(did) - len(lost) :] = new
        self._tasks.update({n: runs * count for n, count in Counter(new).items()})
        self._tasks.subtract({n: runs * count for n, count in Counter(lost).items()})
        self._take(name, node, result)
        self._refresh()

    def _take(self, name: str, node: str, result: Any) -> None:
        """Take what a report says of speed, accuracy and memory."""
        stack = self._tally.trials[name]
        alive = len(stack.seeds) - result["runs_diverged"]
        if result["test_accuracy"] is not None and alive:
            self._accuracy[name] = result["test_accuracy"], alive
        seconds = result["time_this_iter_s"]
        if result["done"] or result["waiting"] or not seconds:
            self._speed.pop(name, None)
        else:
            examples = run_cost(stack.setting).examples / stack.setting.tasks
            self._speed[name] = node, alive * examples / seconds
        self._memory[node] = max(self._memory[node], result["gpu_memory"] or 0)

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Forget the speed of a trial that has to start again."""
        self._speed.pop(trial.config["trial"]["name"], None)

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a trial that Tune has given up."""
        self._speed.pop(trial.config["trial"]["name"], None)
        self._refresh()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look who runs, and set the metrics also while nothing is reported."""
        if time.monotonic() - self._last >= EVERY:
            known = [t.config["trial"]["name"] for t in trials if t.status == "RUNNING"]
            self._running = set(known)
            self._refresh()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Set them to what stands in the end."""
        self._speed.clear()
        self._running.clear()
        self._last = 0.0
        self._refresh()

    def _refresh(self) -> None:
        """Set every metric, now and then."""
        if time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        now = self.values()
        for name, tags in self._set - now.keys():
            now[name, tags] = 0.0  # as the speed of a node that has gone
        for (name, tags), value in now.items():
            keys = METRICS[name][1]
            self._gauges[name].set(value, dict(zip(keys, tags, strict=True)))
        self._set |= now.keys()

    def values(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return each metric's values, by name and tags."""
        study, lost = self._study, sum(self._tally.diverged.values())
        parts: dict[str, dict[tuple[str, ...], float]] = {
            "plasticity_runs": {(k,): v for k, v in self._states().items()},
            "plasticity_tasks": {(n,): v for n, v in self._tasks.items() if v},
            "plasticity_runs_diverged": {(): lost},
            "plasticity_examples_per_second": self._speeds(),
            "plasticity_test_accuracy": self._accuracies(),
            "plasticity_gpu_memory_bytes": {(n,): v for n, v in self._memory.items()},
        }
        return {
            (name, (study, *tags)): float(value)
            for name, part in parts.items()
            for tags, value in part.items()
        }

    def _states(self) -> dict[str, int]:
        """Return how many runs are done, failed, running, and wait."""
        tally = self._tally
        counts = Counter(done=tally.found, failed=0, running=0, waiting=0)
        for name, trial in tally.trials.items():
            if tally.tasks_done[name] >= trial.setting.tasks:
                state = "done"
            elif name in tally.failed:
                state = "failed"
            else:
                state = "running" if name in self._running else "waiting"
            counts[state] += len(trial.seeds)
        return dict(counts)

    def _speeds(self) -> dict[tuple[str, ...], float]:
        speeds: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for node, rate in self._speed.values():
            speeds[node,] += rate
        return dict(speeds)

    def _accuracies(self) -> dict[tuple[str, ...], float]:
        """Return the mean over the runs that have not diverged."""
        kinds: defaultdict[tuple[str, ...], list[tuple[float, int]]] = defaultdict(list)
        for name, told in self._accuracy.items():
            setting = self._tally.trials[name].setting
            kinds[setting.problem.name, setting.optimizer.name].append(told)
        return {
            kind: sum(mean * runs for mean, runs in told)
            / sum(runs for _, runs in told)
            for kind, told in kinds.items()
        }
