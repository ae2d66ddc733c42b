"""A matrix of faults: random ones, one after another, in a folder, on sshfs and on S3.

    CHAOS_SEED=7 pytest -m chaos -s tests/whole/test_faults.py

The seed determines the faults and how many tasks lie between them. So each fault comes
at a point of progress: when so many tasks are learned, the trials wait at a gate. Then
either the fault comes while they wait, or while they learn a few more tasks.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from study.results.claim import claim
from study.results.compaction import compact
from study.results.exclusion import ENTRY
from study.results.store import Store
from tests.support import chaos
from tests.support.chaos import SHORT, Bucket, Counts, Sweep
from tests.support.gate import Gate
from tests.support.mounts import Mounts, lacking

pytestmark = pytest.mark.chaos

MORE = 3
"""How many faults come in addition to one of each kind."""

BETWEEN = 3
"""The most tasks between two faults, so that the study does not end before the last."""

BESIDE = 2
"""The most tasks that trials learn during a fault, even if the fault takes long."""


class Folder:
    """Results in a folder of this machine."""

    def __init__(self, tmp_path):
        self.results = str(tmp_path / "results")
        self.folders = [Path(self.results, "survivor", n) for n in KEPT]

    def fail(self):
        """Let each write fail."""
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            assert chaos.freeze(folder), "needs root, to mount a folder read-only"

    def work(self):
        for folder in self.folders:
            assert chaos.mount("umount", "-l", str(folder))

    def rows(self):
        return chaos.read(self.results)

    def close(self):
        pass


class Shared(Folder):
    """Results in an sshfs mount, whose locks no other machine sees."""

    def __init__(self, tmp_path):
        self.mounts = Mounts(tmp_path / "origin", [tmp_path / "mount"])
        super().__init__(tmp_path / "mount")

    def close(self):
        self.mounts.close()


class S3:
    """Results in moto's S3, which answers some requests with an error."""

    def __init__(self, tmp_path):
        self.bucket = Bucket()
        self.results = self.bucket.uri
        self.fail, self.work = self.bucket.down.set, self.bucket.down.clear
        self.bucket.flaky = 0.02

    def rows(self):
        self.bucket.flaky = 0.0
        return chaos.read("bucket/prefix", filesystem=self.bucket.filesystem)

    def close(self):
        self.bucket.close()


KEPT = ("records", "checkpoints")
PLACES = {"folder": Folder, "sshfs": Shared, "s3": S3}


class Disturbed:
    """A study that goes on through all faults, in as many sweeps as they make it."""

    def __init__(self, place, gate, nodes, counts):
        self.place, self.gate, self.nodes, self.counts = place, gate, nodes, counts
        self.store = Store(place.results, "survivor")
        self.sweep = self.begin()

    def begin(self):
        words = ("--stack", 1, "--address", self.nodes.address)
        return Sweep(SHORT, self.place.results, *words, gate=self.gate)

    def go_on(self):
        self.counts.restarts += 1
        self.sweep = self.begin()

    def wait(self, condition):
        assert self.sweep.until(condition), (self.sweep.text, self.sweep.err)

    def saved(self):
        """Return the paths of all checkpoints and files of records."""
        return [f"{f}/{n}" for f in KEPT for n in self.store.names(f, "")]

    # the faults, by name

    def worker(self):
        """Return the process of a trial that runs."""
        self.wait(lambda: chaos.workers(self.nodes.process.pid))
        return self.counts.random.choice(chaos.workers(self.nodes.process.pid))

    def worker_dies(self):
        os.kill(self.worker(), signal.SIGKILL)

    def worker_pauses(self):
        worker = self.worker()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2)
        os.kill(worker, signal.SIGCONT)

    def driver_dies(self):
        self.sweep.kill()
        self.go_on()

    def driver_is_interrupted(self, number=signal.SIGINT):
        self.sweep.process.send_signal(number)
        # False if the sweep ends at once, because it has not yet started a trial
        self.sweep.until(lambda: "Stopping." in self.sweep.text)
        self.gate.open()  # a trial that waits could not be saved
        assert self.sweep.end() == 130, (self.sweep.text, self.sweep.err)
        self.go_on()

    def driver_is_terminated(self):
        self.driver_is_interrupted(signal.SIGTERM)

    def node_leaves(self):
        self.nodes.tell("remove")
        self.nodes.tell("add")

    def is_waiting_for_storage(self):
        text = self.sweep.text
        return text.count("The storage fails.") > text.count("The storage works again.")

    def storage_fails(self):
        self.place.fail()
        try:
            self.gate.open()
            self.wait(self.is_waiting_for_storage)
        finally:
            self.place.work()

    def file_is_damaged(self):
        self.gate.open()
        self.wait(self.saved)
        self.sweep.kill()
        path = self.counts.random.choice(self.saved())
        content = self.store.read(path)
        quarter = len(content) // 4
        damaged = [b"", content[: 2 * quarter]]
        if path.endswith(".parquet"):  # one bit is another
            other = bytes([content[quarter] ^ 1])
            damaged.append(content[:quarter] + other + content[quarter + 1 :])
        self.store.put(path, self.counts.random.choice(damaged))
        self.go_on()

    def files_are_merged(self):
        self.sweep.kill()
        with claim(self.store) as claimed:
            compact(claimed)
        self.go_on()


FAULTS = (
    Disturbed.worker_dies,
    Disturbed.worker_pauses,
    Disturbed.driver_dies,
    Disturbed.driver_is_interrupted,
    Disturbed.driver_is_terminated,
    Disturbed.node_leaves,
    Disturbed.storage_fails,
    Disturbed.file_is_damaged,
    Disturbed.files_are_merged,
)


@pytest.mark.parametrize("name", PLACES)
def test_random_faults_change_no_record(
    name, tmp_path, nodes, expected, capsys, monkeypatch
):
    if name == "sshfs" and lacking():
        pytest.skip(lacking())
    for variable, value in chaos.KEYS.items():
        monkeypatch.setenv(variable, value)
    counts = Counts(f"random faults, {name}", capsys)
    faults = [*FAULTS, *counts.random.choices(FAULTS, k=MORE)]
    counts.random.shuffle(faults)
    steps = [counts.random.randint(1, BETWEEN) for _ in faults]
    first = [counts.random.random() < 0.5 for _ in faults]
    listed = ", ".join(f"+{n} {f.__name__}" for n, f in zip(steps, faults, strict=True))
    with capsys.disabled():
        print(f"\n{name}, CHAOS_SEED={chaos.SEED}, tasks and faults: {listed}")
    place, gate = PLACES[name](tmp_path), Gate(tmp_path / "gate")
    gate.close(learned=steps[0])
    study = Disturbed(place, gate, nodes, counts)
    try:
        for fault, step, is_first in zip(faults, steps, first, strict=True):
            moment = gate.learned + step
            gate.close(learned=moment)
            study.wait(lambda moment=moment: gate.learned >= moment)
            if not is_first:
                gate.close(learned=gate.learned + BESIDE)
            fault(study)
            counts.kills += 1
        gate.open()
        assert study.sweep.end() == 0, (study.sweep.text, study.sweep.err)
        assert study.sweep.err == []
        counts.check(expected, place.rows())
        left = [n for n in study.store.names("", "") if not n.startswith(ENTRY)]
        assert left == ["study.json"]
        assert study.store.names("checkpoints", "") == []
        assert all(not check.faults for check in study.store.check_files())
    finally:
        study.sweep.__exit__()
        place.close()
