"""Many trials that train nothing, with the real store, plan, status and search.

    SCALE=100000 pytest -m chaos -s tests/study/results/test_scale.py

The command prints the processor time and the memory of this process after each tenth of
the trials, and how long a restart takes to find the finished runs. These numbers should
stay flat.
"""

from __future__ import annotations

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from study.plan.trials import plan
from study.results import compaction
from study.results.claim import claim
from study.results.provenance import software
from study.results.store import Store
from study.running.progress import Tally
from study.running.survey import survey
from study.searching.proposals import Proposals
from study.spec.search import Search
from study.spec.studies import Study
from tests.study.results.test_store import records
from tests.study.searching.test_proposals import SPACE
from trainables.optimizers import SGD
from trainables.record_files import is_merged
from trainables.request import Request
from trainables.setting import Setting

TRIALS = int(os.environ.get("SCALE", "1000"))
SEEDS = 10

pytestmark = pytest.mark.chaos


def memory():
    """Return the memory of this process in MB."""
    with open("/proc/self/statm") as source:
        return int(source.read().split()[1]) * resource.getpagesize() / 1e6


def measure(action, *words):
    """Return the result of an action, and its wall and processor time in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = action(*words)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def show(text, wall, cpu):
    print(f"{text}: {wall:.1f} s, {cpu:.1f} s of processor, {memory():.0f} MB")


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_time_and_memory_of_a_study_stay_flat(place, tmp_path, request, monkeypatch):
    # so there are as many merged files as in a large study
    files = min(compaction.FILES, TRIALS // 10)
    monkeypatch.setattr(compaction, "FILES", files)
    results = str(tmp_path)
    if place == "s3":
        results = request.getfixturevalue("bucket").uri
    store = Store(results, "scale", software())
    settings = [
        Setting(dataset="mnist-5k", tasks=1, optimizer=SGD(lr=1e-6 * (i + 1)))
        for i in range(TRIALS // SEEDS)
    ]
    study = Study("scale", settings, range(SEEDS))
    print(f"\n{TRIALS} trials of one run in a {place}, {memory():.0f} MB")
    trials, *times = measure(lambda: plan(study, set(), [], stack_size=1, slots=16))
    show(f"plan of {len(trials)} trials", *times)
    asked = Request(study="scale").with_settings(study.rows(), study.seeds)
    store.save_request(
        asked.with_stacks(study.rows(), [trial.name for trial in trials], 16)
    )
    tally, known = Tally(trials), {}

    def run(trial):
        store.write_records(records(trial.seeds, 1, trial.setting))

    def run_block(block):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, block))
        for trial in block:
            report = {"name": trial.name, "tasks_done": 1, "waiting": None}
            tally.report({**report, "runs_diverged": 0})
        names = store.names("records", ".parquet")
        if len(names) - sum(map(is_merged, names)) >= files:
            compaction.compact(claimed, known)

    size = TRIALS // 10
    with claim(store) as claimed:
        for start in range(0, TRIALS, size):
            _, wall, cpu = measure(run_block, trials[start : start + size])
            show(f"trials {start} to {start + size}", wall, cpu)
    names = store.names("records", ".parquet")
    assert len(names) - sum(map(is_merged, names)) < files + size
    print(tally.line())

    again = Store(results, "scale", software())
    done, wall, cpu = measure(lambda: again.finished_runs(repair=True))
    show(f"restart: {len(done)} finished runs", wall, cpu)
    assert len(done) == TRIALS
    saved, wall, cpu = measure(again.load_request)
    show("restart: study.json", wall, cpu)
    left, wall, cpu = measure(
        lambda: plan(study, done, saved.stacks_to_resume(16), stack_size=1, slots=16)
    )
    show(f"restart: plan of {len(left)} trials", wall, cpu)
    assert left == []
    runs = {i: run for check in again.check_records() for i, run in check.runs.items()}
    _, *times = measure(lambda: survey(again, saved, runs))
    show("status", *times)


def test_time_of_a_search(tmp_path):
    """Optuna's sampler compares each new trial with all earlier trials."""
    count = TRIALS // 10
    store = Store(str(tmp_path), "mine", software())
    proposals = Proposals(Search("mine", SPACE, (0,), count), store, set(), patience=0)
    print(f"\na search of {count} trials")

    def run_some(number):
        for _ in range(number):
            trial = proposals.next()
            store.write_records(records(trial.seeds, 2, trial.setting))
            proposals.complete(trial)

    for start in range(0, count, count // 5):
        _, *times = measure(run_some, count // 5)
        show(f"trials from {start}", *times)
    finished = store.finished_runs()
    _, *times = measure(
        lambda: Proposals(proposals.search, store, finished, patience=0)
    )
    show("restart of the search", *times)
