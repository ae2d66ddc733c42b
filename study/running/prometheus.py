"""Export metrics of a study to Prometheus. Ray serves the metrics on the driver's node.

The driver is the process of the sweep command. It computes the metrics from the latest
report of each trial. If a trial is killed, it loses the tasks after its last
checkpoint, and its next report does not count these tasks. So the final numbers are
equal to the numbers in the records. Prometheus keeps a time series for every value of a
tag. So no tag contains the name of a trial.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from ray import tune
from ray.util.metrics import Gauge

from study.plan.cost import run_cost
from study.plan.trials import hyperparameter_text
from study.running.progress import SHARE, NotPickled, Tally
from trainables.problems import PROBLEMS

EARLIER = "before"  # the value of `node` for tasks that earlier sessions completed
ALL_SETTINGS = "all"  # the value of `setting` for the mean over an optimizer's settings

MOST_SETTINGS = 48
"""If a study has more settings, export only the mean of each optimizer.

Nobody can read a chart of hundreds of lines.
"""

LEVELS = {p.measure: f"plasticity_{p.measure}" for p in PROBLEMS.values()}
"""The metric of each measure of how well a network has learned a task."""

METRICS: dict[str, tuple[str, ...]] = {
    "plasticity_runs": ("study", "state"),
    "plasticity_tasks": ("study", "node"),
    "plasticity_runs_diverged": ("study",),
    "plasticity_examples_per_second": ("study", "node"),
    "plasticity_gpu_memory_bytes": ("study", "node"),
    **dict.fromkeys(LEVELS.values(), ("study", "problem", "optimizer", "setting")),
}
"""The tags of each metric, by the name of the metric.

In Prometheus the names start with `ray_`. docs/cluster.md explains the metrics.
"""

UPDATE_SECONDS = 1.0  # the least time between two updates; Ray exports every 10 s

Values = dict[tuple[str, ...], float]
"""The values of one metric. Each key has the values of the tags, without `study`."""


class Metrics(NotPickled, tune.Callback):
    """Updates the Prometheus metrics of a study from the reports of its trials."""

    def __init__(self, tally: Tally, study: str) -> None:
        """Create the metrics of `study`. `tally` has the counts of the runs."""
        self._tally = tally
        # a search, which has no trials yet, will have many settings: show only means
        trials = tally.trials.values()
        count = len({setting for trial in trials for setting in trial.settings})
        self._by_setting = 0 < count <= MOST_SETTINGS
        self._gauges = {
            name: Gauge(name, tag_keys=tags) for name, tags in METRICS.items()
        }
        for gauge in self._gauges.values():
            gauge.set_default_tags({"study": study})
        self._reports: dict[str, Any] = {}  # trial -> latest report
        self._nodes: dict[str, list[str]] = {}  # trial -> node of each task
        self._memory: Counter[str] = Counter()  # node -> GPU memory in bytes
        self._running: set[str] = set()
        self._exported: dict[str, Values] = {name: {} for name in METRICS}
        self._last_update = self._pause = 0.0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Store a report of a trial, and the node that ran its latest task."""
        name, node, tasks = result["name"], result["node_ip"], result["tasks_done"]
        self._reports[name] = result
        # If tasks have no report yet, an earlier session completed them. If there were
        # reports of more than `tasks` tasks, the trial was killed and lost the rest.
        nodes = (self._nodes.get(name, []) + [EARLIER] * tasks)[:tasks]
        self._nodes[name] = [*nodes[:-1], node] if tasks else []
        self._memory[node] = max(self._memory[node], result["gpu_memory"] or 0)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update the metrics, at most once every `UPDATE_SECONDS` seconds."""
        if time.monotonic() - self._last_update >= max(UPDATE_SECONDS, self._pause):
            self._update(trials)
            # update less often if the sums over very many trials take long
            self._pause = (time.monotonic() - self._last_update) / SHARE

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Set the metrics to their final values when the study ends."""
        self._update([])

    def _update(self, trials: list[Any]) -> None:
        self._last_update = time.monotonic()
        running = (trial for trial in trials if trial.status == "RUNNING")
        self._running = {trial.config["trial"]["name"] for trial in running}
        for name, values in self.values().items():
            # if a node has left, set its metrics to zero
            self._exported[name] = dict.fromkeys(self._exported[name], 0.0) | values
            for tags, value in self._exported[name].items():
                named = dict(zip(METRICS[name][1:], tags, strict=True))
                self._gauges[name].set(value, named)

    def values(self) -> dict[str, Values]:
        """Return the values of each metric, by the name of the metric."""
        tasks: Values = defaultdict(float, {(EARLIER,): self._tally.tasks_before})
        speeds: Values = defaultdict(float)
        levels: dict[str, Values] = {name: {} for name in LEVELS.values()}
        counts: Values = defaultdict(float)
        for name, report in self._reports.items():
            trial = self._tally.trials[name]
            for node, count in Counter(self._nodes[name]).items():
                tasks[node,] += count * trial.runs
            for setting, level, alive in zip(
                trial.settings, report["levels"], report["alive"], strict=True
            ):
                if level is None or not alive:
                    continue
                row = setting.row()
                label = hyperparameter_text(row) if self._by_setting else ALL_SETTINGS
                tags = setting.problem.name, setting.optimizer.name, label
                means = levels[LEVELS[setting.problem.measure]]
                counts[tags] += alive
                mean = means.setdefault(tags, 0.0)
                means[tags] += (level - mean) * alive / counts[tags]
            seconds = report["time_this_iter_s"]
            if seconds and name in self._running and not report["waiting"]:
                setting = trial.setting
                examples_per_task = run_cost(setting).examples / setting.tasks
                examples = sum(report["alive"]) * examples_per_task
                speeds[report["node_ip"],] += examples / seconds
        return {
            "plasticity_runs": self._runs(),
            "plasticity_tasks": {tags: n for tags, n in tasks.items() if n},
            "plasticity_runs_diverged": {(): sum(self._tally.diverged.values())},
            "plasticity_examples_per_second": speeds,
            "plasticity_gpu_memory_bytes": {(n,): v for n, v in self._memory.items()},
            **levels,
        }

    def _runs(self) -> Values:
        counts = Counter(
            done=self._tally.runs_before, failed=0, running=0, waiting=0, retrying=0
        )
        for name, trial in self._tally.trials.items():
            if self._tally.tasks_done[name] >= trial.tasks:
                state = "done"
            elif name in self._tally.failed:
                state = "failed"
            elif name not in self._running:
                state = "waiting"
            else:
                state = "retrying" if name in self._tally.waiting else "running"
            counts[state] += trial.runs
        return {(state,): count for state, count in counts.items()}
