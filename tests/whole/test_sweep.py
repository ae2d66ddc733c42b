"""The command as a person gives it: real processes, a real Ray, real signals.

Records are compared with those of `ContinualRun` driven without Ray, to the last bit.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch

from study.plan.machine import processor
from study.plan.trials import plan
from study.results.store import Store
from study.spec.study_file import find_study
from study.sweep import _print_results, run_command
from study.sweep import sweep as sweep_command
from tests.support.chaos import Sweep
from tests.support.gate import Gate
from trainables.record import SCHEMA_VERSION, all_columns, schema
from trainables.request import stack_name
from trainables.run import ContinualRun

HERE = Path(__file__).resolve().parents[2]
STUDIES = HERE / "tests" / "whole" / "studies"
CHAIN = str(STUDIES / "chain.py")
MIXED = str(STUDIES / "mixed.py")
NOT_BITS = {"seconds", "trial_id"}
"""The columns in which two sessions may differ."""

STOPPING = "Stopping. Progress is saved; run the same command to resume.\n"

NOISE = re.compile(
    r"warning|traceback|trial (status|name)|== status|resource usage|gcs|raylet|tune\.|"
    r"\berror\b|deprecat|\x1b",
    re.IGNORECASE,
)
"""What Ray, Tune and others would say, and what belongs to a terminal."""


def environment():
    clean = {k: v for k, v in os.environ.items() if k not in {"RAY_ADDRESS", "COLUMNS"}}
    return clean | {
        "PYTHONPATH": str(HERE),
        "TERM": "xterm-256color",
        "RAY_AUTH_MODE": "token",  # as for every cluster that a person joins
        "RAY_worker_niceness": "0",  # the other tests give way to these
    }


SWEEP = ("-m", "study.sweep")


def command(*words, program=SWEEP):
    return [sys.executable, *program, *map(str, words)]


def sweep(*words, program=SWEEP):
    """Run the command to its end."""
    return subprocess.run(
        command(*words, program=program),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(),
        timeout=120,
    )


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command in this process, in a folder, which saves its imports."""

    def call(*words, cwd):
        monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as stop:
            run_command(sweep_command, "python -m study.sweep", args=[*map(str, words)])
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, stop.value.code, said.out, said.err)

    return call


def read(results, study):
    """Return all records, in a fixed order."""
    table = pyarrow.dataset.dataset(Path(results, study, "records")).to_table()
    return sorted(table.to_pylist(), key=lambda row: (row["run_id"], row["task"]))


def bits(rows):
    return [{k: v for k, v in row.items() if k not in NOT_BITS} for row in rows]


@pytest.fixture(scope="module")
def cluster():
    """A Ray that several sweeps join, in place of starting one each."""
    code = (
        "import ray, sys\n"
        "ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    head = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # this driver has no work for the processes that Ray would start at once
        env=environment() | {"RAY_prestart_worker_first_driver": "0"},
    )
    try:
        yield head.stdout.readline().strip()
    finally:
        head.stdin.close()
        try:
            head.wait(timeout=30)
        finally:
            head.kill()
            head.stdout.close()


# what writes nothing and starts no Ray


def test_help_needs_neither_torch_nor_ray(tmp_path):
    code = (
        "import sys\n"
        "from study.sweep import run_command, sweep\n"
        "try: run_command(sweep, prog='python -m study.sweep', args=['--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert said.stdout.splitlines()[-1] == "set()"
    for option in ("--results", "--tasks", "--seeds", "--dry-run", "--list", "--stack"):
        assert option in said.stdout
    assert said.stderr == ""


def test_the_list_names_the_studies_and_writes_nothing(tmp_path, call):
    said = call("--list", cwd=tmp_path)
    assert said.returncode == 0
    assert re.search(r"paper +120 +8,700 ", said.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_and_writes_nothing(tmp_path, call):
    words = (MIXED, "--seeds", 4, "--tasks", 3, "--epochs", 1, "--stack", 2)
    said = call(*words, "--dry-run", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert "24 of 24 runs are left to run." in said.stdout
    assert re.search(r"all +12 +72 ", said.stdout)
    row = r"permuted +gnp +lr=0.01 rho=0.05 alpha=0.8 +mnist-5k +4 +2 +12 +5.15e\+04 "
    assert re.search(row, said.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_how_long_if_the_machine_was_measured(
    tmp_path, call, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("rho-small", "--max-concurrent", 1, "--dry-run")
    said = call(*words, cwd=tmp_path)
    assert said.stdout.splitlines()[-1] == (
        "Time: unknown. Run python -m study.benchmark --device cpu to measure this "
        "machine."
    )
    assert "330 of 330 runs are left to run." in said.stdout
    work = sum(
        trial.cost.work
        for trial in plan(find_study("rho-small"), set(), [], stack_size=None, slots=1)
    )
    known = {name: work / 3700 for name in ("sgd", "sam", "gnp")}
    kept = {"processor": processor(), "work_per_second": known}
    rates = tmp_path / "cache" / "plasticity-study" / "rates.json"
    rates.parent.mkdir(parents=True)
    rates.write_text(json.dumps(kept))
    said = call(*words, cwd=tmp_path)
    assert said.stdout.splitlines()[-1].startswith(
        "Time: about 1 h 1 min on this machine's"
    )


def test_a_search_can_be_shown_without_running_it(tmp_path, call):
    said = call("search", "--trials", 7, "--lr", 1, "--dry-run", cwd=tmp_path)
    assert said.returncode == 2
    said = call("search", "--trials", 7, "--seeds", 2, "--dry-run", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert re.search(
        r"rho +log 0.001 to 2 when optimizer in \['sam', 'gnp'\]", said.stdout
    )
    assert "7 trials of 2 runs each" in said.stdout
    assert list(tmp_path.iterdir()) == []


def idx(array):
    """Return an array of uint8 as an IDX file."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A folder of files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file").touch()
    (folder / "none.py").write_text("x = 1\n")
    (folder / "syntax.py").write_text("x = 1\ny = (\n")
    (folder / "typo.py").write_text(
        "from study.spec.studies import Study, grid\n"
        "from trainables.optimizers import SAM\n"
        "from trainables.problems import Permuted\n"
        "STUDY = Study('typo', grid((Permuted(),), (SAM(roh=0.1),)), (0,))\n"
    )
    (folder / "idx").mkdir()
    images = idx(np.zeros((100, 28, 28), np.uint8))
    (folder / "idx" / "train-images-idx3-ubyte").write_bytes(images[: len(images) // 2])
    for name in ("t10k-images-idx3", "train-labels-idx1", "t10k-labels-idx1"):
        shape = (100, 28, 28) if "images" in name else (100,)
        (folder / "idx" / f"{name}-ubyte").write_bytes(idx(np.zeros(shape, np.uint8)))
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--tasks 0", "--tasks is 0: it must be a whole number, at least 1"),
        ("--seeds -1", "--seeds is -1: it must be a whole number, at least 1"),
        ("--dataset mnst", "unknown dataset 'mnst': did you mean 'mnist'?"),
        (
            "--dataset mnist --data-dir idx",
            "-idx3-ubyte is damaged: it has 39208 bytes too few",
        ),
        ("--results file", "file is a file: give --results a folder"),
        ("--results foo://bar", "foo://bar cannot be used for results: Unrecognized"),
        ("typo.py", "typo.py:4: SAM: unknown keyword 'roh': did you mean 'rho'?"),
        ("none.py", "none.py must define STUDY = Study(name, settings, seeds)"),
        ("syntax.py", "syntax.py:2: SyntaxError: '(' was never closed"),
        ("--stack 0", "--stack is '0': it must be auto or a whole number, at least 1"),
        ("--stack x", "--stack is 'x': it must be auto or a whole number, at least 1"),
        ("--hidden 10-x", "hidden is '10-x': give widths joined by '-', e.g. 100-100"),
        ("--cpus-per-trial 0", "--cpus-per-trial is 0.0: it must be a number above 0"),
        ("--gpus-per-trial 1.5", "--gpus-per-trial is 1.5: above 1 it must be a whole"),
        ("--max-concurrent 0", "--max-concurrent is 0: it must be a whole number"),
        ("--checkpoint-every 0", "--checkpoint-every is 0: it must be a whole number"),
        (
            "--look-back -1",
            "--look-back is -1: it must be a whole number, at least 0",
        ),
        (
            "--landscape-every -1",
            "--landscape-every is -1: it must be a whole number, at least 0",
        ),
        ("--patience -1", "--patience is -1.0: it must be a number at least 0"),
        (
            "--results s3://me:hidden@b/x",
            "a URI contains access keys, which other people could see",
        ),
        (
            "--trials 5",
            "--trials is for a search, but quickstart is not a search: leave",
        ),
        ("search --trials 0", "--trials is 0: it must be a whole number, at least 1"),
        ("search --stack 2", "--stack is 2: a search trains all seeds of a setting"),
        ("search --refine", "--refine is for a study, but search is a search"),
        ("search --objective acc", "unknown objective 'acc'"),
        (
            "search --asha --objective mean_accuracy,plasticity_loss",
            "--asha stops trials before the end of their stream, so it works only with",
        ),
        ("search --hidden 3-x", "hidden is '3-x': give widths joined by '-'"),
        ("--confirm-seeds 0", "--confirm-seeds is 0: it must be a whole number"),
        ("--epochs 0", "--epochs is 0: it must be a whole number, at least 1"),
        ("quikstart", "unknown study 'quikstart': did you mean 'quickstart'?"),
        ("--address ray://here:10001", "Ray's client cannot run a study"),
        (
            "--address 127.0.0.1:1",
            "cannot connect to Ray at 127.0.0.1:1: [Errno 111] Connection refused",
        ),
        ("paper --tasks 46", "tasks is 46: pairwise has only 45"),
    ],
)
def test_a_wrong_call_is_one_line_and_does_nothing(
    wrong, words, message, monkeypatch, call
):
    before = sorted(wrong.rglob("*"))
    # where a Ray that starts writes first
    monkeypatch.setenv("RAY_TMPDIR", str(wrong / "ray"))
    said = call(*words.split(), cwd=wrong)
    assert (said.returncode, said.stdout) == (2, "")
    (line,) = said.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert sorted(wrong.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ("--batch-size abc", ["--batch-size", "abc"]),
        ("--seed 3", ["--seed", "Perhaps you meant", "--seeds"]),
    ],
)
def test_a_call_that_cannot_be_parsed_says_which_option(
    tmp_path, words, messages, call
):
    said = call(*words.split(), cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    for message in messages:
        assert message in said.stderr
    assert list(tmp_path.iterdir()) == []


# what runs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole study, and what was said."""
    results = tmp_path_factory.mktemp("whole")
    words = (MIXED, "--seeds", 2, "--epochs", 1)
    return results, words, sweep(*words, "--results", results)


def test_a_study_has_a_record_for_each_run_and_task(whole):
    results, _, said = whole
    assert said.returncode == 0
    rows = pd.read_parquet(results / "mixed" / "records")
    assert len(rows) == 2 * 3 * 2 * 2
    assert not rows.duplicated(["run_id", "task"]).any()
    assert rows.groupby(["problem", "optimizer"]).ngroups == 6
    assert set(rows["seed"]) == {0, 1}
    for name in ("online_accuracy", "test_accuracy", "dormant_fraction"):
        assert rows[name].between(0, 1).all()
    assert (rows["dataset"] == "mnist-5k").all()
    assert not rows["diverged"].any()


def test_everybody_reads_the_records(whole):
    folder = whole[0] / "mixed" / "records"
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == list(all_columns())
    for name, column in all_columns().items():
        kind = {"int64": "int64", "double": "float64", "bool": "bool"}.get(
            str(column.type)
        )
        if kind == "int64" and column.nullable:
            kind = "float64"  # pandas has no whole numbers beside nulls
        assert kind is None or frame[name].dtype == kind, name
    table = pyarrow.dataset.dataset(folder).to_table()
    assert table.schema.equals(schema(), check_metadata=False)
    counted = duckdb.sql(
        f"select count(*), count(distinct run_id) from '{folder}/*.parquet'"
    ).fetchall()
    assert counted == [(24, 12)]
    assert table.num_rows == 24
    described = duckdb.sql(f"describe select * from '{folder}/*.parquet'").fetchall()
    kinds = {name: kind for name, kind, *_ in described}
    assert kinds["seed"] == "BIGINT"
    assert kinds["lr"] == kinds["test_accuracy"] == "DOUBLE"
    assert kinds["diverged"] == "BOOLEAN"
    assert kinds["hidden"] == kinds["optimizer"] == "VARCHAR"


def test_only_records_are_left(whole):
    names = [p.name for p in whole[0].rglob("*") if p.is_file()]
    names.remove("study.json")
    assert len(names) == 6
    assert all(re.fullmatch(r"[0-9a-f]{16}-seeds-0-1\.parquet", n) for n in names)
    metadata = pq.read_schema(next(whole[0].rglob("*.parquet"))).metadata
    assert metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


def test_what_is_said_off_a_terminal_is_plain(whole):
    results, _, said = whole
    assert said.stderr == ""
    assert not NOISE.search(said.stdout)
    lines = said.stdout.splitlines()
    assert re.match(
        r"Ray dashboard: http://\S+:\d+( \(to show the token, |$)", lines[0]
    )
    assert lines[1].startswith("mixed: 12 runs in 6 trials, ")
    assert lines[2].startswith("runs ")
    last = [line for line in lines if line.startswith("runs ")][-1]
    assert re.fullmatch(
        r"runs 12/12, tasks 24/24, \d+\.\d tasks/s, left 0 s, diverged 0, failed 0",
        last,
    )
    assert f"Records: {results}/mixed/records" in lines
    assert sum(line.split()[:1] == ["gnp"] for line in lines) == 2
    assert f"python -m analysis table {results}/mixed" in lines


def snapshot(folder):
    return {
        p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes())
        for p in folder.rglob("*.parquet")
    }


def test_the_same_command_again_trains_nothing(whole, call, tmp_path):
    results, words, _ = whole
    before = snapshot(results)
    # an address where there is no Ray: it is not even asked for
    words = (*words, "--results", results, "--address", "127.0.0.1:1")
    again = call(*words, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "earlier commands" not in again.stdout
    assert "All 12 runs of mixed are finished." in again.stdout
    assert "dashboard" not in again.stdout
    assert sum(line.split()[:1] == ["gnp"] for line in again.stdout.splitlines()) == 2
    assert snapshot(results) == before


@pytest.mark.chaos  # tests/study/racing has the same in one process
def test_a_race_stops_what_is_clearly_worse(tmp_path, cluster):
    words = [STUDIES / "racers.py", "--refine", "--results", tmp_path]
    said = sweep(*words, "--address", cluster)
    assert said.returncode == 0
    assert "Stage 1 of 12 has ended: 1 of 2 settings go on\n" in said.stdout
    assert "No setting is confirmed on new seeds" in said.stdout
    assert said.stderr == ""  # what has stopped has no whole runs to leave out
    rows = read(tmp_path, "racers")
    assert {row["lr"] for row in rows} == {0.1}
    assert {row["seed"] for row in rows} == {0, 1, 2, 3}
    again = sweep(*words, "--address", "127.0.0.1:1")
    assert "All 4 runs of racers are finished." in again.stdout
    progress = subprocess.run(
        [sys.executable, "-m", "study.status", tmp_path],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert "1 setting was stopped by --refine: " in progress.stdout


def on_a_terminal(*words, columns=90, timeout=120):
    """Run the command on a terminal; return its exit code and all that it sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        command(*words), stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    sent = io.BytesIO()
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while part := os.read(ours, 65536):
            sent.write(part)
    os.close(ours)
    code = process.wait()
    killer.cancel()
    return code, sent.getvalue().decode()


def assert_one_live_line(sent):
    """Check a screen: one line that is written over and over, and the last state."""
    assert "chain: 6 runs in 4 trials" in sent
    screen = sent.replace("\r\n", "\n")
    live = [line for line in screen.split("\n") if "\x1b[2K" in line and "%" in line]
    assert len(live) == 1
    states = re.findall(r"runs (\d+)/6, tasks (\d+)/\d+,", live[0])
    assert len(set(states)) > 1
    assert re.search(r"\x1b\[2Kruns 6/6, tasks (\d+)/\1, .* failed 0\n", screen)
    assert "\x1b[?25h" in sent  # the cursor is back
    words_alone = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert not NOISE.search(words_alone)


def test_what_stops_a_study_changes_no_record(tmp_path, whole, cluster, digits):
    """Ctrl-C, then a kill; the last session has a terminal, and one seed more.

    One trial at a time, which saves processes; test_survival has several.
    """
    results, gate = tmp_path / "results", Gate(tmp_path / "gate")
    words = (CHAIN, results, "--max-concurrent", 1)
    # runs that are done, but are not this study's
    strange = next((whole[0] / "mixed" / "records").glob("*-seeds-0-1.parquet"))
    (results / "chain" / "records").mkdir(parents=True)
    shutil.copy(strange, results / "chain" / "records")
    done_before = snapshot(results)
    study = find_study(CHAIN)
    checkpoints = {
        s.setting_id: results.joinpath(
            "chain", "checkpoints", f"{stack_name(s.setting_id, study.seeds)}.pt"
        )
        for s in study.settings
    }

    def saved():
        """How many tasks each stack's checkpoint has, and their rows."""
        states = {}
        for setting, path in checkpoints.items():
            with contextlib.suppress(FileNotFoundError):
                state = torch.load(path, weights_only=True)
                states[setting] = state["run"]["task"], state["records"]
        return states

    def stop(number, tasks):
        """Stop a session once the first stack has saved so many tasks."""
        gate.close(tasks)
        # pytest clears what a killed sweep leaves behind; Ray wants short paths
        folders = {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}
        with Sweep(*words, "--address", cluster, gate=gate, **folders) as session:
            assert session.until(
                lambda: [count for count, _ in saved().values()] == [tasks]
            ), session.text
            session.process.send_signal(number)
            if number != signal.SIGKILL:
                assert session.until(lambda: STOPPING in session.text)
                gate.close(tasks + 1)
            return session.end(20), session

    code, session = stop(signal.SIGINT, 4)
    assert (code, session.err) == (130, [])
    assert not NOISE.search(session.text)
    assert session.out[-1] == (
        "Stopped: 4 of 4 runs are not finished. Progress is saved; "
        "run the same command to resume.\n"
    )
    sessions = [saved()]
    stop(signal.SIGKILL, 8)
    sessions.append(saved())

    gate.open()
    more = ("--results", results, "--address", cluster, "--seeds", 3)
    code, sent = on_a_terminal(*words[:1], *words[2:], *more)
    assert code == 0
    assert_one_live_line(sent)
    assert [p.name for p in results.rglob("*.pt")] == []
    after = snapshot(results)
    assert {name: after.get(name) for name in done_before} == done_before
    new = after.keys() - done_before.keys()
    stacks = {
        stack_name(s.setting_id, n) for s in study.settings for n in ([0, 1], [2])
    }
    assert new == {f"{name}.parquet" for name in stacks}

    rows = read(results, "chain")
    for setting in study.settings:
        # what nobody stopped, and Ray never saw
        undisturbed = []
        for seeds in (study.seeds, [2]):
            run = ContinualRun(setting, seeds, digits)
            undisturbed += [r for _ in range(setting.tasks) for r in run.next_task()]
        undisturbed.sort(key=lambda row: (row["run_id"], row["task"]))
        mine = [row for row in rows if row["setting_id"] == setting.setting_id]
        assert bits(mine) == [{"study": "chain"} | row for row in bits(undisturbed)]
        # each session went on from where the one before was: the rows of tasks that
        # were done already are those of that session, down to the time they took
        done = 0
        for session in sessions:
            count, before = session.get(setting.setting_id, (0, []))
            assert done < count < setting.tasks or not before
            done = count
            for row in before:
                assert row in mine
        stopped = [row for row in mine if row["seed"] in study.seeds]
        assert len({row["trial_id"] for row in stopped}) == (3 if done else 1)
    assert len({name for session in sessions for name in session}) == 1


RESTART_ONCE = """
import sys
from study.running import tuning
from study.sweep import sweep
from trainables.usage import run_command

tuning.MAX_ERRORS = 1
run_command(sweep, prog="python -m study.sweep", args=sys.argv[1:])
"""
"""The command with fewer restarts of a failed trial: each starts a new process."""


def test_a_trial_that_fails_is_named_and_the_others_go_on(tmp_path, cluster):
    study = find_study(CHAIN).modify(tasks=2)
    good, bad = (stack_name(s.setting_id, study.seeds) for s in study.settings)
    records = tmp_path / "chain" / "records"
    # a folder lies where the records' file of one stack would go
    (records / f"{bad}.parquet" / "in the way").mkdir(parents=True)
    words = (CHAIN, "--results", tmp_path, "--tasks", 2, "--address", cluster)
    words += ("--max-concurrent", 1)
    said = sweep(*words, program=("-c", RESTART_ONCE))
    assert (said.returncode, said.stderr) == (1, "")
    lines = said.stdout.splitlines()
    (line,) = [n for n in lines if n.startswith("Failed: ")]
    label = "pairwise gnp lr=0.01 rho=0.05 alpha=0.8, seeds 0-1"
    assert line.startswith(f"Failed: {label}: IsADirectoryError: ")
    assert "Traceback" not in said.stdout
    assert any(
        n.startswith("runs 2/4, ") and n.endswith("failed 1, restarted 1")
        for n in lines
    )
    assert json.loads((tmp_path / "chain" / "failed.json").read_text()) == {
        bad: line.partition(", seeds 0-1: ")[2]
    }
    # what there is, is shown
    assert f"{tmp_path}/chain/records" in said.stdout
    assert [n.split()[0] for n in lines if n.split()[:1] in (["sgd"], ["gnp"])] == [
        "sgd"
    ]
    files = [p.name for p in records.iterdir() if p.is_file()]
    assert files == [f"{good}.parquet"]


def test_where_all_has_failed_there_are_no_tables(tmp_path, capsys):
    _print_results(find_study(CHAIN), Store(str(tmp_path), "chain"))
    assert capsys.readouterr().out == ""
