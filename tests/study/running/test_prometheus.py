"""Metrics are what the trials last said: the sums are those of the records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.plan.trials import Trial
from study.running.capacity import Capacity, bound
from study.running.progress import Tally
from study.running.prometheus import BEFORE, METRICS, Metrics
from trainables.optimizers import GNP
from trainables.setting import Setting

DOCS = Path(__file__).resolve().parents[3] / "docs"
ONE = Trial(Setting(tasks=8), (0, 1, 2))
TWO = Trial(Setting(tasks=8, optimizer=GNP()), (0,))


def said(trial, tasks, node="a", **more):
    return {
        "name": trial.name,
        "node_ip": node,
        "tasks_done": tasks,
        "runs_diverged": 0,
        "test_accuracy": 0.5,
        "time_this_iter_s": 2.0,
        "gpu_memory": None,
        "waiting": None,
        "done": tasks == trial.setting.tasks,
    } | more


class Told:
    """Metrics that are told what trials report, as Tune tells them."""

    def __init__(self, trials=(ONE, TWO), found=(0, 0)):
        self.tally = Tally(trials, *found)
        self.metrics = Metrics(self.tally, "mine")

    def tell(self, *told, **more):
        result = said(*told, **more)
        self.tally.report(result)
        self.metrics.on_trial_result(0, [], None, result)

    def get(self, name, *tags):
        return self.metrics.values().get((f"plasticity_{name}", ("mine", *tags)))

    def tasks(self):
        return {
            tags[1]: value
            for (name, tags), value in self.metrics.values().items()
            if name == "plasticity_tasks"
        }


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ONE, TWO]), st.integers(0, 8), st.sampled_from("ab")
        ),
        max_size=30,
    )
)
def test_tasks_are_those_that_stand_whatever_was_reported_twice(reports):
    told, last = Told(found=(4, 32)), {ONE.name: 0, TWO.name: 0}
    for trial, tasks, node in reports:
        told.tell(trial, tasks, node)
        last[trial.name] = tasks
    assert sum(told.tasks().values()) == 32 + 3 * last[ONE.name] + last[TWO.name]
    assert all(value >= 0 for value in told.tasks().values())


def test_tasks_belong_to_the_node_that_did_them():
    told = Told()
    for tasks in (1, 2, 3, 4):
        told.tell(ONE, tasks, "a")
    told.tell(TWO, 6, "b")  # a checkpoint brought five
    assert told.tasks() == {"a": 12, BEFORE: 5, "b": 1}
    told.tell(ONE, 3, "b")  # it was killed, and had kept two
    assert told.tasks() == {"a": 6, BEFORE: 5, "b": 4}


def test_every_run_has_one_state():
    told = Told(found=(5, 40))
    told.tell(ONE, 8)
    alive = SimpleNamespace(config={"trial": {"name": TWO.name}}, status="RUNNING")
    told.metrics._last = 0.0
    told.metrics.on_step_end(0, [alive])
    states = {s: told.get("runs", s) for s in ("done", "running", "waiting", "failed")}
    assert states == {"done": 8, "running": 1, "waiting": 0, "failed": 0}
    told.tally.failed[TWO.name] = "x"
    told.metrics.on_experiment_end([])
    assert told.get("runs", "failed") == 1
    assert told.get("runs", "running") == 0


def test_accuracy_is_the_mean_over_runs_and_not_over_trials():
    told = Told((ONE, TWO, Trial(Setting(tasks=8), (7,))))
    told.tell(ONE, 1, test_accuracy=0.9)
    told.tell(Trial(Setting(tasks=8), (7,)), 1, test_accuracy=0.5)
    assert told.get("test_accuracy", "permuted", "sgd") == pytest.approx(0.8)
    told.tell(ONE, 2, test_accuracy=0.7, runs_diverged=2)
    assert told.get("test_accuracy", "permuted", "sgd") == pytest.approx(0.6)
    assert told.get("runs_diverged") == 2
    told.tell(TWO, 1, test_accuracy=None, runs_diverged=1)
    assert told.get("test_accuracy", "permuted", "gnp") is None


def test_speed_is_of_what_runs_and_memory_of_the_largest_stack():
    told = Told()
    told.tell(ONE, 1, gpu_memory=100)
    examples = ONE.cost.examples / 8
    assert told.get("examples_per_second", "a") == pytest.approx(examples / 2)
    told.tell(ONE, 8, gpu_memory=70)
    assert told.get("examples_per_second", "a") is None
    assert told.get("gpu_memory_bytes", "a") == 100


def test_the_pages_know_each_metric_and_no_other():
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    asked = " ".join(t["expr"] for panel in panels for t in panel["targets"])
    for text in (asked, (DOCS / "metrics.md").read_text()):
        named = set(re.findall(r"ray_(plasticity_\w+)", text))
        assert named == set(METRICS)
    for _, tags in METRICS.values():
        assert set(tags) <= {"study", "state", "node", "problem", "optimizer"}


def test_a_cluster_grows_up_to_what_its_file_says():
    kinds = {
        "head": {"max_workers": 0, "resources": {"CPU": 2}},
        "big": {"max_workers": 2, "resources": {"CPU": 8, "GPU": 1}},
        "small": {"max_workers": 9, "resources": {"CPU": 1}},
    }
    config = {"max_workers": 4, "available_node_types": kinds}
    assert bound(config, "CPU") == 18
    assert bound(config, "GPU") == 2
    assert bound({}, "CPU") == 0
    assert Capacity(2, 0, 18, 2).grows
    assert not Capacity(2, 0, 2, 0).grows
    assert Capacity(2, 0, 18, 2).later == "18 CPU, 2 GPU"
