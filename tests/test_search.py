"""Searches as a person gives them: a real Ray, a real kill, and what they come to."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
from test_proposals import trials_of
from test_sweep import HERE, cluster, command, environment, sweep, wait_until

from study.journal import found_study
from study.objectives import objective_values
from study.proposals import SETTING
from study.store import Store
from trainables.command_line import UsageError
from trainables.setting import Setting

FINDER = str(HERE / "tests" / "studies" / "finder.py")
BOTH = "mean_accuracy,plasticity_loss"

__all__ = ["cluster"]


def trials(results):
    with contextlib.suppress(UsageError):
        if found := Store(str(results), "finder"):
            return (
                trials_of(found) if Path(found.place, "optuna.journal").exists() else []
            )
    return []


def test_a_search_that_is_killed_has_the_same_trials_and_goes_on(tmp_path, cluster):
    words = (FINDER, "--results", tmp_path, "--address", cluster, "--objective", BOTH)

    def in_the_middle():
        """Some trials have ended, and others are under way and have a checkpoint."""
        ended = [number for number, _, _, values in trials(tmp_path) if values]
        return len(ended) > 1 and list(tmp_path.glob("finder/checkpoints/*.pt"))

    process = subprocess.Popen(
        command(*words, "--checkpoint-every", 1),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"},
    )
    try:
        wait_until(in_the_middle, process)
    finally:
        process.kill()
        process.communicate()
    time.sleep(1)  # its workers are told
    before = trials(tmp_path)
    ended = {number for number, state, *_ in before if state == "COMPLETE"}
    assert 2 <= len(ended) < len(before) <= 6
    files = {p.name: p.read_bytes() for p in tmp_path.glob("finder/records/*")}
    kept = {p.stem for p in tmp_path.glob("finder/checkpoints/*.pt")}
    status = subprocess.run(
        [command()[0], "-m", "study.status", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
    ).stdout
    assert f"search: {len(ended)} of 6 trials have ended, " in status
    assert f"{len(before) - len(ended)} are under way" in status

    last = sweep(*words)
    assert (last.returncode, last.stderr) == (0, "")
    assert (
        f"finder: {6 - len(ended)} of 6 trials, 2 seeds each, 2 at once" in last.stdout
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
    study = found_study(Store(str(tmp_path), "finder").files)
    for trial in study.get_trials():
        setting = Setting.from_row(trial.user_attrs[SETTING])
        mine = rows[rows["setting_id"] == setting.setting_id].to_dict("records")
        names = BOTH.split(",")
        assert tuple(trial.values) == objective_values(names, setting, mine)
    # the front is drawn and listed, and nothing is left to do
    assert (tmp_path / "finder" / "pareto.svg").read_bytes().startswith(b"<?xml")
    assert "Pareto front" in last.stdout
    # an address where there is no Ray: it is not even asked for
    again = sweep(*words[:3], "--objective", BOTH, "--address", "127.0.0.1:1")
    assert (again.returncode, again.stderr) == (0, "")
    assert "All 6 trials of finder are done: none is left." in again.stdout
    assert trials(tmp_path) == after
