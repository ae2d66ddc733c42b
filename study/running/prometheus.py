"""Metrics of a study for Prometheus; Ray serves them on the driver's node.

The driver computes them from the latest report of each trial. What a killed trial
learned after its last checkpoint is taken back when the trial resumes, so in the end
the sums are those of the records. No tag is a trial's name: Ray keeps a series for
every value that a tag has ever had.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from ray import tune
from ray.util.metrics import Gauge

from study.plan.cost import run_cost
from study.running.progress import Tally

EARLIER = "before"
"""The node of tasks that an earlier session learned."""

METRICS: dict[str, tuple[str, ...]] = {
    "plasticity_runs": ("study", "state"),
    "plasticity_tasks": ("study", "node"),
    "plasticity_runs_diverged": ("study",),
    "plasticity_examples_per_second": ("study", "node"),
    "plasticity_test_accuracy": ("study", "problem", "optimizer"),
    "plasticity_gpu_memory_bytes": ("study", "node"),
}
"""The tags of each metric, which docs/cluster.md describes; Ray prepends `ray_`."""

UPDATE_SECONDS = 1.0
"""Least time between two updates; Ray exports the values every ten seconds."""

Values = dict[tuple[str, ...], float]
"""Values by tags."""


class Metrics(tune.Callback):
    """Updates the metrics from Tune's results."""

    def __init__(self, tally: Tally, study: str) -> None:
        """Create the metrics of a study, of which `tally` has the latest reports."""
        self._tally, self._study = tally, study
        self._gauges = {
            name: Gauge(name, tag_keys=tags) for name, tags in METRICS.items()
        }
        # by trial: the node of each task, the mean accuracy and its runs, the speed
        self._node_of_task: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self._accuracy: dict[str, tuple[float, int]] = {}
        self._speed: dict[str, tuple[str, float]] = {}
        self._memory: Counter[str] = Counter()  # by node
        self._running: set[str] = set()
        self._exported: dict[str, Values] = {name: {} for name in METRICS}
        self._last_update = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks, but a gauge cannot be pickled."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Take a report."""
        name, node, tasks = result["name"], result["node_ip"], result["tasks_done"]
        nodes = self._node_of_task[name]
        # no report: learned before this session; above `tasks`: lost when it was killed
        self._node_of_task[name] = {t: nodes.get(t, EARLIER) for t in range(tasks)}
        if tasks:
            self._node_of_task[name][tasks - 1] = node
        setting, alive = self._tally.trials[name].setting, self._alive(name)
        if result["test_accuracy"] is not None and alive:
            self._accuracy[name] = result["test_accuracy"], alive
        self._speed.pop(name, None)
        seconds = result["time_this_iter_s"]
        if seconds and not (result["done"] or result["waiting"]):
            examples = alive * run_cost(setting).examples / setting.tasks
            self._speed[name] = node, examples / seconds
        self._memory[node] = max(self._memory[node], result["gpu_memory"] or 0)

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Drop the speed of a trial that restarts."""
        self._speed.pop(trial.config["trial"]["name"], None)

    on_trial_error = on_trial_recover

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update the metrics, at most once in UPDATE_SECONDS."""
        if time.monotonic() - self._last_update >= UPDATE_SECONDS:
            running = (trial for trial in trials if trial.status == "RUNNING")
            self._running = {trial.config["trial"]["name"] for trial in running}
            self._update()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Set the metrics to the final values."""
        self._speed.clear()
        self._running.clear()
        self._update()

    def _update(self) -> None:
        self._last_update = time.monotonic()
        for name, values in self.values().items():
            # a node that has left keeps its series, at zero
            self._exported[name] = dict.fromkeys(self._exported[name], 0.0) | values
            for tags, value in self._exported[name].items():
                named = dict(zip(METRICS[name], (self._study, *tags), strict=True))
                self._gauges[name].set(value, named)

    def values(self) -> dict[str, Values]:
        """Return the values of each metric, by its tags after `study`."""
        speeds: Values = defaultdict(float)
        for node, speed in self._speed.values():
            speeds[node,] += speed
        return {
            "plasticity_runs": self._runs(),
            "plasticity_tasks": self._tasks(),
            "plasticity_runs_diverged": {(): sum(self._tally.diverged.values())},
            "plasticity_examples_per_second": dict(speeds),
            "plasticity_test_accuracy": self._accuracies(),
            "plasticity_gpu_memory_bytes": {(n,): v for n, v in self._memory.items()},
        }

    def _runs(self) -> Values:
        counts = Counter(done=self._tally.runs_before, failed=0, running=0, waiting=0)
        for name, trial in self._tally.trials.items():
            if self._tally.tasks_done[name] >= trial.setting.tasks:
                state = "done"
            elif name in self._tally.failed:
                state = "failed"
            else:
                state = "running" if name in self._running else "waiting"
            counts[state] += len(trial.seeds)
        return {(state,): count for state, count in counts.items()}

    def _tasks(self) -> Values:
        tasks = Counter({EARLIER: self._tally.tasks_before})
        for name, nodes in self._node_of_task.items():
            for node, count in Counter(nodes.values()).items():
                tasks[node] += count * len(self._tally.trials[name].seeds)
        return {(node,): count for node, count in tasks.items() if count}

    def _accuracies(self) -> Values:
        """Return the mean over the runs that have not diverged."""
        sums: Values = defaultdict(float)
        counts: Values = defaultdict(float)
        for name, (mean, runs) in self._accuracy.items():
            setting = self._tally.trials[name].setting
            tags = setting.problem.name, setting.optimizer.name
            sums[tags] += mean * runs
            counts[tags] += runs
        return {tags: total / counts[tags] for tags, total in sums.items()}

    def _alive(self, name: str) -> int:
        """Return how many runs of a trial have not diverged."""
        return len(self._tally.trials[name].seeds) - self._tally.diverged[name]
