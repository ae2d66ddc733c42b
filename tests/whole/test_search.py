"""Searches as a person gives them: a real Ray, a real kill, and what they come to."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pandas as pd
import pytest

from study.results.store import Store
from study.searching.journal import load_search, setting_of
from study.spec.objectives import objective_values
from study.status import StatusOptions, status
from tests.study.searching.test_proposals import trials_of
from tests.study.test_status import call
from tests.support.chaos import Sweep, parents
from tests.support.gate import Gate
from tests.whole.test_sweep import (
    HERE,
    cluster,
    sweep,
)
from trainables.usage import UsageError

FINDER = str(HERE / "tests" / "whole" / "studies" / "finder.py")
BOTH = "mean_accuracy,plasticity_loss"

__all__ = ["cluster"]


def trials(results):
    with contextlib.suppress(UsageError):
        store = Store(str(results), "finder")
        if Path(store.location(), "optuna.journal").exists():
            return trials_of(store)
    return []


def running_trials():
    """Return the processes of trials on this machine, also of other studies."""
    name = "ray::ContinualTrainable."
    return {pid for pid, (_, words) in parents().items() if words.startswith(name)}


def wait_for_the_end_of_trials(others):
    """Wait until Ray has ended the trials of a driver that was killed."""
    deadline = time.monotonic() + 60
    while running_trials() - others:
        assert time.monotonic() < deadline, "Ray did not end the trials"
        time.sleep(0.1)


@pytest.mark.chaos  # tests/study/searching has the same in one process
def test_a_search_that_is_killed_has_the_same_trials_and_goes_on(tmp_path, cluster):
    words = (FINDER, "--results", tmp_path, "--address", cluster, "--objective", BOTH)

    def in_the_middle():
        """Some trials have ended, and others are under way and have a checkpoint."""
        ended = [number for number, _, _, values in trials(tmp_path) if values]
        return len(ended) > 1 and list(tmp_path.glob("finder/checkpoints/*.pt"))

    others = running_trials()
    gate = Gate(tmp_path / "gate")
    gate.close(tasks=1, after_files=2, records=tmp_path / "finder" / "records")
    folders = {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    more = ("--address", cluster, "--objective", BOTH)
    with Sweep(FINDER, tmp_path, *more, gate=gate, **folders) as killed:
        assert killed.until(in_the_middle), killed.text
        killed.kill()
    wait_for_the_end_of_trials(others)  # only then can no trial end any more
    gate.open()
    before = trials(tmp_path)
    ended = {number for number, state, *_ in before if state == "COMPLETE"}
    assert 2 <= len(ended) < len(before) <= 6
    files = {p.name: p.read_bytes() for p in tmp_path.glob("finder/records/*")}
    kept = {p.stem for p in tmp_path.glob("finder/checkpoints/*.pt")}
    said = "\n".join(call(status, StatusOptions(str(tmp_path)))[1])
    assert f"search: {len(ended)} of 6 trials have ended, " in said
    assert f"{len(before) - len(ended)} have started" in said

    last = sweep(*words)
    assert (last.returncode, last.stderr) == (0, "")
    assert (
        f"finder: {6 - len(ended)} of 6 trials are left, 2 seeds each, 2 trials at once"
        in last.stdout
    )
    assert re.search(r"^trials 6/6, .* diverged 0, failed 0$", last.stdout, re.M)
    after = trials(tmp_path)
    assert [number for number, *_ in after] == list(range(6))
    assert {state for _, state, *_ in after} == {"COMPLETE"}
    for old, new in zip(before, after, strict=False):
        assert old[2] == new[2]  # the same parameters
        assert old == new or old[0] not in ended
    for name, content in files.items():
        assert Path(tmp_path, "finder", "records", name).read_bytes() == content
    assert list(tmp_path.glob("finder/checkpoints/*.pt")) == []
    # trials under way went on from their checkpoints
    rows = pd.read_parquet(tmp_path / "finder" / "records")
    went_on = rows.groupby("setting_id")["trial_id"].nunique()
    assert {name.split("-")[0] for name in kept} - {
        Path(name).stem.split("-")[0] for name in files
    } == set(went_on[went_on == 2].index)
    # what Optuna was told is what the records say
    assert len(rows) == 6 * 2 * 8
    study = load_search(Store(str(tmp_path), "finder"))
    for trial in study.get_trials():
        setting = setting_of(trial)
        mine = rows[rows["setting_id"] == setting.setting_id].to_dict("records")
        names = BOTH.split(",")
        assert tuple(trial.values) == objective_values(names, setting, mine)
    # the front is drawn and listed, and nothing is left to do
    assert (tmp_path / "finder" / "pareto.svg").read_bytes().startswith(b"<?xml")
    assert "Pareto front" in last.stdout
    # an address where there is no Ray: it is not even asked for
    again = sweep(*words[:3], "--objective", BOTH, "--address", "127.0.0.1:1")
    assert (again.returncode, again.stderr) == (0, "")
    assert "All 6 trials of finder are finished." in again.stdout
    assert trials(tmp_path) == after


def test_what_does_badly_is_stopped(tmp_path, cluster):
    words = (FINDER, "--results", tmp_path, "--address", cluster, "--asha")
    said = sweep(*words, "--trials", 8, "--max-concurrent", 1)
    assert (said.returncode, said.stderr) == (0, "")
    states = [state for _, state, *_ in trials(tmp_path)]
    early = states.count("PRUNED")
    assert early > 0
    assert states.count("COMPLETE") == 8 - early
    assert (
        f"{8 - early} trials finished, {early} stopped early, 0 started but not ended"
        in said.stdout
    )
    # those stopped have left nothing but a line in the journal
    assert list(tmp_path.glob("finder/checkpoints/*")) == []
    assert len(list(tmp_path.glob("finder/records/*"))) == 8 - early
    said = "\n".join(call(status, StatusOptions(str(tmp_path)))[1])
    assert f"8 of 8 trials have ended ({early} of them stopped early)" in said
