"""The metrics come from the latest reports; at the end, they equal the records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.plan.trials import Trial
from study.running.progress import Tally
from study.running.prometheus import (
    ALL_SETTINGS,
    EARLIER,
    METRICS,
    MOST_SETTINGS,
    Metrics,
)
from study.running.shares import Capacity, max_of_workers
from trainables.optimizers import GNP, SGD
from trainables.problems import TD
from trainables.setting import Setting

DOCS = Path(__file__).resolve().parents[3] / "docs"
SGD_TRIAL = Trial(Setting(tasks=8), (0, 1, 2))
GNP_TEXT = "lr=0.01 rho=0.05 alpha=0.8"
GNP_TRIAL = Trial(Setting(tasks=8, optimizer=GNP()), (0,))


class Session:
    """Metrics that get reports as Tune's callbacks do."""

    def __init__(self, trials=(SGD_TRIAL, GNP_TRIAL), **before):
        self.tally = Tally(trials, **before)
        self.metrics = Metrics(self.tally, "mine")

    def report(self, trial, tasks, node="a", **changes):
        result = {
            "name": trial.name,
            "node_ip": node,
            "tasks_done": tasks,
            "runs_diverged": 0,
            "alive": [len(trial.seeds) - changes.get("runs_diverged", 0)],
            "levels": [0.5],
            "time_this_iter_s": 2.0,
            "gpu_memory": None,
            "waiting": None,
            "done": tasks == trial.setting.tasks,
        } | changes
        self.tally.report(result)
        self.metrics.on_trial_result(0, [], None, result)

    def step(self, *running):
        """End a step of Tune in which these trials run."""
        self.metrics._last_update = 0.0
        configs = [{"trial": {"name": trial.name}} for trial in running]
        trials = [SimpleNamespace(config=c, status="RUNNING") for c in configs]
        self.metrics.on_step_end(0, trials)

    def get(self, name, *tags):
        return self.metrics.values()[f"plasticity_{name}"].get(tags)

    def tasks(self):
        values = self.metrics.values()["plasticity_tasks"]
        return {node: value for (node,), value in values.items()}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SGD_TRIAL, GNP_TRIAL]),
            st.integers(0, 8),
            st.sampled_from("ab"),
        ),
        max_size=30,
    )
)
def test_repeated_reports_count_no_task_twice(reports):
    session = Session(runs_before=4, tasks_before=32)
    latest = {SGD_TRIAL.name: 0, GNP_TRIAL.name: 0}
    for trial, tasks, node in reports:
        session.report(trial, tasks, node)
        latest[trial.name] = tasks
    expected = 32 + 3 * latest[SGD_TRIAL.name] + latest[GNP_TRIAL.name]
    assert sum(session.tasks().values()) == expected
    assert all(value >= 0 for value in session.tasks().values())


def test_a_task_belongs_to_the_node_that_learned_it_last():
    session = Session()
    for tasks in (1, 2, 3, 4):
        session.report(SGD_TRIAL, tasks, "a")
    session.report(GNP_TRIAL, 6, "b")  # five come from a checkpoint
    assert session.tasks() == {"a": 12, EARLIER: 5, "b": 1}
    session.report(SGD_TRIAL, 3, "b")  # killed; its checkpoint had two tasks
    assert session.tasks() == {"a": 6, EARLIER: 5, "b": 4}


def test_every_run_has_one_state():
    session = Session(runs_before=5, tasks_before=40)
    session.report(SGD_TRIAL, 8)
    session.step(GNP_TRIAL)
    names = ("done", "running", "waiting", "failed")
    states = {name: session.get("runs", name) for name in names}
    assert states == {"done": 8, "running": 1, "waiting": 0, "failed": 0}
    session.report(GNP_TRIAL, 1, waiting="OSError: down")
    assert (session.get("runs", "running"), session.get("runs", "retrying")) == (0, 1)
    session.tally.failed.add(GNP_TRIAL.name)
    session.metrics.on_experiment_end([])
    assert session.get("runs", "failed") == 1
    assert session.get("runs", "running") == 0


def test_accuracy_is_the_mean_over_runs_and_not_over_trials():
    other = Trial(Setting(tasks=8), (7,))
    session = Session((SGD_TRIAL, GNP_TRIAL, other))
    session.report(SGD_TRIAL, 1, levels=[0.9])
    session.report(other, 1, levels=[0.5])
    sgd, gnp = ("permuted", "sgd", "lr=0.01"), ("permuted", "gnp", GNP_TEXT)
    assert session.get("test_accuracy", *sgd) == pytest.approx(0.8)
    session.report(SGD_TRIAL, 2, levels=[0.7], runs_diverged=2)
    assert session.get("test_accuracy", *sgd) == pytest.approx(0.6)
    assert session.get("runs_diverged") == 2
    session.report(GNP_TRIAL, 1, levels=[None], runs_diverged=1)
    assert session.get("test_accuracy", *gnp) is None
    session.report(GNP_TRIAL, 2, levels=[0.25], runs_diverged=0)
    assert session.get("test_accuracy", *gnp) == 0.25


def test_a_problem_of_control_has_the_metric_of_its_measure():
    walk = Trial(Setting(problem=TD(), tasks=8), (0, 1))
    session = Session((SGD_TRIAL, walk))
    session.report(SGD_TRIAL, 1, levels=[0.9])
    session.report(walk, 1, levels=[0.3])
    values = session.metrics.values()
    for metric, problem, level in (
        ("plasticity_value_error", "td", 0.3),
        ("plasticity_test_accuracy", "permuted", 0.9),
    ):
        ((tags, value),) = values[metric].items()
        assert (tags[0], value) == (problem, pytest.approx(level))
    assert not values["plasticity_mean_return"]


@pytest.mark.parametrize("count", [0, 1, MOST_SETTINGS, MOST_SETTINGS + 1])
def test_settings_that_are_too_many_to_read_share_one_accuracy(count):
    settings = [Setting(tasks=8, optimizer=SGD(lr=1 / (i + 2))) for i in range(count)]
    session = Session([Trial(setting, (0,)) for setting in settings])
    added = Trial(Setting(tasks=8), (0,))
    session.tally.trials[added.name] = added  # as a search adds its trials
    session.tally.tasks_done[added.name] = 0
    session.report(added, 1)
    label = "lr=0.01" if 0 < count <= MOST_SETTINGS else ALL_SETTINGS
    accuracies = session.metrics.values()["plasticity_test_accuracy"]
    assert accuracies == {("permuted", "sgd", label): 0.5}


def test_speed_is_that_of_running_trials_and_memory_the_largest():
    session = Session()
    session.step(SGD_TRIAL)
    session.report(SGD_TRIAL, 1, gpu_memory=100)
    examples = SGD_TRIAL.cost.examples / 8
    assert session.get("examples_per_second", "a") == pytest.approx(examples / 2)
    session.report(SGD_TRIAL, 8, gpu_memory=70)
    session.step()
    assert session.get("examples_per_second", "a") is None
    assert session.get("gpu_memory_bytes", "a") == 100


def test_the_docs_and_the_dashboard_name_every_metric_and_no_other():
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    queries = " ".join(t["expr"] for panel in panels for t in panel["targets"])
    for text in (queries, (DOCS / "cluster.md").read_text()):
        assert set(re.findall(r"ray_(plasticity_\w+)", text)) == set(METRICS)
    for tags in METRICS.values():
        assert set(tags) <= {
            "study",
            "state",
            "node",
            "problem",
            "optimizer",
            "setting",
        }


def test_a_cluster_grows_up_to_the_limits_of_its_file():
    kinds = {
        "head": {"max_workers": 0, "resources": {"CPU": 2}},
        "big": {"max_workers": 2, "resources": {"CPU": 8, "GPU": 1}},
        "small": {"max_workers": 9, "resources": {"CPU": 1}},
    }
    config = {"max_workers": 4, "available_node_types": kinds}
    assert max_of_workers(config, "CPU") == 18
    assert max_of_workers(config, "GPU") == 2
    assert max_of_workers({}, "CPU") == 0
    assert Capacity(2, 0, 18, 2).can_grow
    assert not Capacity(2, 0, 2, 0).can_grow
    assert Capacity(2, 0, 18, 2).max_text == "18 CPU, 2 GPU"
