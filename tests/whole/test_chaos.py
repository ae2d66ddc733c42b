"""Whatever happens to a study, its records are those of an undisturbed one.

Real processes, a real Ray, to the last bit. The long forms: `pytest -m chaos`; they
print what was done. The short forms are in test_survival.py.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.results.store import Store
from tests.support import chaos
from tests.support.chaos import LONG, RUNS, TASKS, Bucket, Counts, Nodes, Sweep

pytestmark = pytest.mark.chaos

KILLS = 10


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The records of a study that nobody has disturbed."""
    results = tmp_path_factory.mktemp("undisturbed")
    with Sweep(LONG, results) as sweep:
        assert sweep.end() == 0, sweep.text
    rows = chaos.read(results)
    assert len(rows) == RUNS * TASKS
    return rows


@pytest.fixture
def counts(request, capsys):
    name = request.node.name.removeprefix("test_").replace("_", " ")
    return Counts(name, capsys)


def finish(results, counts, *words, **variables):
    """Give the same command again, and wait for its end."""
    with Sweep(LONG, results, *words, **variables) as sweep:
        assert sweep.end() == 0, (sweep.text, sweep.err)
    counts.restarts += 1
    assert sweep.err == []
    return sweep


def nothing_else_is_left(results):
    files = [p for p in Path(results).rglob("*") if p.is_file()]
    kept = {p.name for p in files if p.parent.name not in ("records", "damaged")}
    assert kept == {"study.json"}


def disturbed_until(results, counts, number):
    """Begin the study and end it by a signal at a random moment, in training or not."""
    with Sweep(LONG, results) as sweep:
        if counts.random.random() < 0.2:
            time.sleep(counts.random.uniform(0, 6))
        else:
            assert sweep.until(sweep.training)
            time.sleep(counts.random.uniform(0, 3))
        if not sweep.running:
            return None
        return sweep.kill(number), sweep


def test_kill_9_of_the_driver(tmp_path, expected, counts):
    while counts.kills < KILLS and disturbed_until(tmp_path, counts, signal.SIGKILL):
        counts.kills += 1
        counts.restarts += counts.kills > 1
    assert counts.kills == KILLS
    finish(tmp_path, counts)
    counts.check(expected, chaos.read(tmp_path))
    nothing_else_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_driver(tmp_path, expected, counts, number):
    for _ in range(3):
        code, sweep = disturbed_until(tmp_path, counts, number)
        if sweep.training():
            assert code == 130, (code, sweep.text)
        counts.kills += 1
        counts.restarts += counts.kills > 1
    finish(tmp_path, counts)
    counts.check(expected, chaos.read(tmp_path))
    nothing_else_is_left(tmp_path)


def test_kill_9_of_workers(tmp_path, expected, counts):
    with Sweep(LONG, tmp_path) as sweep:
        while counts.kills < KILLS:
            time.sleep(counts.random.uniform(1, 4))
            assert sweep.running, (counts.kills, sweep.text)
            victims = chaos.workers(sweep.process.pid)
            if victims:
                os.kill(counts.random.choice(victims), signal.SIGKILL)
                counts.kills += 1
        assert sweep.end() == 0, sweep.text
    counts.restarts = chaos.printed_restarts(sweep)
    counts.check(expected, chaos.read(tmp_path))
    nothing_else_is_left(tmp_path)


def test_a_node_is_taken_away_and_another_added(tmp_path, expected, counts):
    nodes = Nodes()
    try:
        with Sweep(LONG, tmp_path, "--address", nodes.address) as sweep:
            for _ in range(2):
                assert sweep.until(lambda: len(chaos.checkpoints(tmp_path)) > 0)
                time.sleep(counts.random.uniform(0, 3))
                nodes.tell("remove")
                counts.kills += 1
                time.sleep(counts.random.uniform(0, 3))
                nodes.tell("add")
            assert sweep.end() == 0, sweep.text
        counts.restarts = chaos.printed_restarts(sweep)
    finally:
        nodes.close()
    counts.check(expected, chaos.read(tmp_path))
    nothing_else_is_left(tmp_path)


def test_files_are_damaged(tmp_path, expected, counts):
    with Sweep(LONG, tmp_path) as sweep:
        assert sweep.until(
            lambda: chaos.finished_files(tmp_path) and chaos.checkpoints(tmp_path)
        )
        sweep.kill()
        counts.kills += 1
    for path in chaos.checkpoints(tmp_path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        counts.kills += 1
    finish(tmp_path, counts)
    half, empty, other, flipped = chaos.finished_files(tmp_path)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    empty.write_bytes(b"")
    pq.write_table(pq.read_table(other).drop_columns(["task"]), other)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 4] ^= 1
    flipped.write_bytes(content)
    counts.kills += 4
    said = finish(tmp_path, counts).text
    assert said.count("; missing runs will be repeated. ") == 4
    counts.check(expected, chaos.read_whole(tmp_path))
    store = Store(str(tmp_path), "survivor")
    assert len(store.finished_runs()) == RUNS
    assert all(not check.faults for check in store.check_records())


def test_the_disk_is_full(tmp_path, expected, counts):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not chaos.mount("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)):
        pytest.skip("needs root, to mount a small disk")
    try:
        with Sweep(LONG, disk) as sweep:
            assert sweep.until(lambda: len(chaos.checkpoints(disk)) > 0)
            ballast = chaos.fill(disk)
            counts.kills += 1
            assert sweep.until(lambda: "The storage fails. Retrying" in sweep.text)
            time.sleep(counts.random.uniform(5, 10))
            ballast.unlink()
            assert sweep.end() == 0, sweep.text
        assert "The storage works again" in sweep.text
        counts.check(expected, chaos.read(disk))
        nothing_else_is_left(disk)
    finally:
        chaos.mount("umount", str(disk))


def test_the_disk_stays_full_until_the_sweep_gives_up(tmp_path, expected, counts):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not chaos.mount("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)):
        pytest.skip("needs root, to mount a small disk")
    try:
        with Sweep(LONG, disk, "--patience", 1) as sweep:
            assert sweep.until(lambda: len(chaos.checkpoints(disk)) > 1)
            ballast = chaos.fill(disk)
            counts.kills += 1
            assert sweep.end() == 1, sweep.text
        assert "No space left on device" in sweep.text
        assert "Traceback" not in sweep.text
        assert sweep.err == []
        ballast.unlink()
        finish(disk, counts)
        counts.check(expected, chaos.read(disk))
        nothing_else_is_left(disk)
    finally:
        chaos.mount("umount", str(disk))


def test_the_folder_becomes_read_only(tmp_path, expected, counts):
    with Sweep(LONG, tmp_path) as sweep:
        assert sweep.until(lambda: chaos.finished_files(tmp_path))
        folders = [tmp_path / "survivor" / n for n in ("records", "checkpoints")]
        for folder in folders:
            if not chaos.freeze(folder):
                pytest.skip("needs root, to mount a folder read-only")
        counts.kills += 1
        try:
            assert sweep.until(lambda: "The storage fails. Retrying" in sweep.text)
            time.sleep(counts.random.uniform(5, 10))
        finally:
            for folder in folders:
                chaos.mount("umount", str(folder))
        assert sweep.end() == 0, sweep.text
    assert "Read-only file system" in sweep.text
    counts.check(expected, chaos.read(tmp_path))
    nothing_else_is_left(tmp_path)


def test_an_object_store_that_fails(expected, counts):
    bucket = Bucket()
    try:
        bucket.flaky = 0.1
        with Sweep(LONG, bucket.uri) as sweep:
            assert sweep.until(sweep.training)
            time.sleep(counts.random.uniform(1, 3))
            bucket.down.set()
            counts.kills += 1
            assert sweep.until(lambda: "The storage fails. Retrying" in sweep.text)
            time.sleep(counts.random.uniform(5, 15))
            bucket.down.clear()
            for _ in range(2):
                time.sleep(counts.random.uniform(1, 3))
                for pid in chaos.workers(sweep.process.pid)[:1]:
                    os.kill(pid, signal.SIGKILL)
                    counts.kills += 1
            assert sweep.running
            sweep.kill()
            counts.kills += 1
        with Sweep(LONG, bucket.uri) as sweep:
            assert sweep.end() == 0, (sweep.text, sweep.err)
        counts.restarts += 1
        bucket.flaky = 0.0
        assert bucket.errors > 10
        rows = chaos.read("bucket/prefix", filesystem=bucket.filesystem)
        counts.check(expected, rows)
    finally:
        bucket.close()
