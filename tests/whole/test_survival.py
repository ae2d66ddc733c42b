"""A study is disturbed, its records are not.

All sweeps here join one cluster of a head and two nodes, which saves starting a Ray
each time. The moments are where it hurts; test_faults has random ones. The trials wait
at a gate until the fault has come.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from study.results.store import Store
from tests.support import chaos
from tests.support.chaos import SHORT, Bucket, Counts, Sweep
from tests.support.gate import Gate


@pytest.fixture
def gate(tmp_path):
    """A gate at which every stack waits after its first task."""
    made = Gate(tmp_path / "gate")
    made.close(tasks=1)
    return made


@pytest.fixture
def counts(request, capsys):
    name = request.node.name.removeprefix("test_").replace("_", " ")
    return Counts(name, capsys)


def command(module, *words):
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True,
        text=True,
        env=chaos.environment(),
        timeout=60,
    )


@pytest.mark.chaos
def test_killed_workers_a_killed_driver_a_lost_node_and_damaged_files(
    tmp_path, nodes, expected, counts, gate
):
    words = (SHORT, tmp_path, "--address", nodes.address)
    with Sweep(*words, gate=gate) as sweep:
        assert sweep.until(lambda: chaos.checkpoints(tmp_path))
        os.kill(chaos.workers(nodes.process.pid)[0], signal.SIGKILL)
        counts.kills += 1
        killed = time.time()
        assert sweep.until(lambda: chaos.saved_since(tmp_path, killed))
        sweep.kill()
        counts.kills += 1
    half, *_ = chaos.checkpoints(tmp_path)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (tmp_path / "survivor" / "records").mkdir(exist_ok=True)
    bad = command("study.status", tmp_path, "--check")
    assert bad.returncode == 1
    assert f"bad: {half}: cannot be read as a checkpoint" in bad.stdout

    gate.close(tasks=3)
    with Sweep(*words, gate=gate) as sweep:  # at once: the claim died with its driver
        assert sweep.until(sweep.training)
        second = command(
            "study.sweep", SHORT, "--results", tmp_path, "--address", nodes.address
        )
        assert (second.returncode, second.stdout) == (2, "")
        (line,) = second.stderr.splitlines()
        assert line.startswith(f"error: another sweep is running on {tmp_path}")
        assert sweep.running
        said = command("study.status", tmp_path).stdout
        assert "a sweep is running" in said
        nodes.tell("remove")
        counts.kills += 1
        nodes.tell("add")
        gate.open()
        assert sweep.end() == 0, (sweep.text, sweep.err)
    assert sweep.err == []
    assert "restarted, because the checkpoint cannot be used: BadZipFile" in sweep.text
    counts.restarts += 1 + chaos.printed_restarts(sweep)
    counts.check(expected, chaos.read(tmp_path))

    half, empty, other, _ = chaos.finished_files(tmp_path)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    empty.write_bytes(b"")
    pq.write_table(pq.read_table(other).drop_columns(["task"]), other)
    bad = command("study.status", tmp_path, "--check")
    assert (bad.returncode, bad.stderr) == (1, "")
    assert [n.partition(": ")[0] for n in bad.stdout.splitlines()[:3]] == ["bad"] * 3
    for path in (half, empty, other):
        assert f"bad: {path}: " in bad.stdout
    with Sweep(*words) as sweep:
        assert sweep.end() == 0, (sweep.text, sweep.err)
    assert sweep.text.count("; missing runs will be repeated. ") == 3
    counts.restarts += 1
    counts.check(expected, chaos.read_whole(tmp_path))
    assert command("study.status", tmp_path, "--check").returncode == 0
    study = tmp_path / "survivor"  # beside it are the files of the gate
    left = {p.suffix for p in study.rglob("*") if p.is_file()}
    assert left == {".parquet", ".json"}
    assert len(list((tmp_path / "survivor" / "damaged").iterdir())) == 3
    held = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert os.uname().nodename.encode() not in held


@pytest.fixture
def disk(tmp_path):
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    if not chaos.mount(*words):
        pytest.skip("needs root, to mount a small disk")
    yield folder
    chaos.mount("umount", str(folder))


@pytest.mark.chaos
def test_a_disk_that_is_full_for_a_while(disk, nodes, expected, counts, gate):
    with Sweep(SHORT, disk, "--address", nodes.address, gate=gate) as sweep:
        assert sweep.until(lambda: chaos.checkpoints(disk))
        ballast = chaos.fill(disk)
        counts.kills += 1
        gate.open()
        assert sweep.until(lambda: "The storage fails. Retrying" in sweep.text)
        ballast.unlink()
        assert sweep.end() == 0, (sweep.text, sweep.err)
    (line,) = [n for n in sweep.out if n.startswith("The storage fails")]
    assert "No space left on device" in line
    assert "The storage works again.\n" in sweep.out
    counts.check(expected, chaos.read(disk))


@pytest.mark.chaos
def test_a_disk_that_stays_full_until_the_sweep_gives_up(
    disk, nodes, expected, counts, gate
):
    words = (SHORT, disk, "--address", nodes.address)
    with Sweep(*words, "--patience", 1, gate=gate) as sweep:
        assert sweep.until(lambda: chaos.checkpoints(disk))
        ballast = chaos.fill(disk)
        counts.kills += 1
        gate.open()
        assert sweep.end() == 1, sweep.text
    assert "No space left on device" in sweep.text
    assert "Traceback" not in sweep.text
    assert sweep.err == []
    ballast.unlink()
    with Sweep(*words) as sweep:
        assert sweep.end() == 0, (sweep.text, sweep.err)
    counts.restarts += 1
    counts.check(expected, chaos.read(disk))


@pytest.mark.chaos
def test_a_sweep_that_starts_before_ray_notices_that_a_node_is_dead(
    tmp_path, nodes, expected, counts
):
    nodes.tell("remove")
    try:
        with Sweep(SHORT, tmp_path, "--address", nodes.address) as sweep:
            assert sweep.end() == 0, (sweep.text, sweep.err)
    finally:
        nodes.tell("add")  # the other tests use the same nodes
    counts.check(expected, chaos.read(tmp_path))


@pytest.mark.chaos
def test_an_object_store_that_fails_for_a_while(
    nodes, expected, counts, gate, monkeypatch
):
    for name, value in chaos.KEYS.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket()
    try:
        words = (SHORT, bucket.uri, "--address", nodes.address)
        with Sweep(*words, gate=gate) as sweep:
            begun = sweep.until(lambda: bucket.has("prefix/survivor/checkpoints"))
            assert begun, (sweep.text, sweep.err)
            bucket.down.set()
            counts.kills += 1
            gate.open()
            fails = sweep.until(lambda: "The storage fails. Retrying" in sweep.text)
            assert fails, (sweep.text, sweep.err)
            bucket.down.clear()
            assert sweep.end() == 0, (sweep.text, sweep.err)
        assert bucket.errors > 0
        rows = chaos.read("bucket/prefix", filesystem=bucket.filesystem)
        counts.check(expected, rows)
        table = command("analysis", "table", bucket.uri)
        assert (table.returncode, table.stderr) == (0, "")
        assert "gnp" in table.stdout
        store = Store(bucket.uri, "survivor")
        assert store.names("", "") == ["study.json"]
        assert len(store.names("records", "")) == 4
        for held in (*store.names("records", ""), "../study.json"):
            content = store.read(f"records/{held}".replace("records/../", ""))
            for secret in chaos.KEYS.values():
                assert secret == "true" or secret.encode() not in content
    finally:
        bucket.close()
