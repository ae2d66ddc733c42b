"""Support for tests of survival: a study, ways to disturb it, and a comparison."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.dataset
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.gate import VARIABLE
from trainables.record import measure_columns

HERE = Path(__file__).resolve().parents[2]
SHORT = str(HERE / "tests" / "whole" / "studies" / "survivor.py")
LONG = str(HERE / "tests" / "whole" / "studies" / "survivor_long.py")
RUNS, TASKS = 12, 6

SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 10**6))
"""The seed of the random faults: their times and their victims. Each test prints it."""

SECRET = "no-key-that-is-one-9f3b"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test-id-51c7",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def environment(**variables):
    clean = {k: v for k, v in os.environ.items() if k not in {"RAY_ADDRESS", "COLUMNS"}}
    own = {"PYTHONPATH": str(HERE), "RAY_AUTH_MODE": "token", "COLUMNS": "200"}
    own["RAY_worker_niceness"] = "0"  # keep the normal priority
    return clean | own | KEYS | variables


class Sweep:
    """A process of `study.sweep`. If `gate` is given, its trials wait at the gate."""

    def __init__(self, study, results, *words, gate=None, **variables):
        module = "study.sweep" if gate is None else "tests.support.gate"
        if gate is not None:
            variables[VARIABLE] = str(gate.file)
        command = [sys.executable, "-m", module, str(study)]
        command += ["--results", str(results), "--checkpoint-every", "1"]
        self.process = subprocess.Popen(
            [*command, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**variables),
        )
        self.out, self.err = [], []
        self.readers = [
            threading.Thread(target=lambda f=f, to=to: to.extend(f), daemon=True)
            for f, to in (
                (self.process.stdout, self.out),
                (self.process.stderr, self.err),
            )
        ]
        for reader in self.readers:
            reader.start()

    @property
    def text(self):
        return "".join(self.out)

    @property
    def running(self):
        return self.process.poll() is None

    def until(self, condition, seconds=600):
        """Wait until `condition()` is true; return False if the sweep ends first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.running:
                return False
            assert time.monotonic() < deadline, f"the condition is false: {self.text}"
            time.sleep(0.1)  # some conditions read a whole checkpoint
        return True

    def training(self):
        return " at once (" in self.text

    def end(self, seconds=900):
        """Wait for the end of the process; return its exit code."""
        try:
            code = self.process.wait(timeout=seconds)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        for reader in self.readers:
            reader.join(timeout=20)
        if not any(reader.is_alive() for reader in self.readers):
            self.process.stdout.close()
            self.process.stderr.close()
        return code

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.running:
            self.process.kill()
        self.end()


def parents():
    """Return the parent and the command line of each process, by process id."""
    processes = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (folder / "stat").read_text()
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
                parent = int(stat.rpartition(")")[2].split()[1])
                processes[int(folder.name)] = parent, words
    return processes


def workers(ancestor):
    """Return the ids of the processes of trials that a process has started."""
    processes = parents()
    below = {ancestor}
    while True:
        children = {pid for pid, (parent, _) in processes.items() if parent in below}
        more = children - below
        if not more:
            break
        below |= more
    return sorted(
        p for p in below if processes[p][1].startswith("ray::ContinualTrainable.")
    )


def read(results, study="survivor", filesystem=None):
    """Return all rows of the records, sorted by run and task."""
    folder = f"{results}/{study}/records"
    dataset = pyarrow.dataset.dataset(
        folder, filesystem=filesystem, format="parquet", exclude_invalid_files=False
    )
    rows = dataset.to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["run_id"], row["task"]))


def compare(expected, rows):
    """Return how many values differ, after checking that each row exists once."""
    keys = [(row["run_id"], row["task"]) for row in rows]
    assert len(set(keys)) == len(keys), "a row is repeated"
    assert keys == [(row["run_id"], row["task"]) for row in expected], "rows missing"
    names = [
        *measure_columns(),
        "diverged",
        "steps",
        "task_label",
        "seed",
        "setting_id",
    ]
    return sum(a[n] != b[n] for a, b in zip(expected, rows, strict=True) for n in names)


class Counts:
    """Counts kills and restarts, compares the records, and prints the result."""

    def __init__(self, what, capsys):
        self.what, self.capsys = what, capsys
        self.kills = self.restarts = 0
        self.random = random.Random(f"{SEED} {what}")

    def check(self, expected, rows):
        assert len(rows) == RUNS * TASKS
        differences = compare(expected, rows)
        line = (
            f"chaos: {self.what}: kills {self.kills}, restarts {self.restarts}, "
            f"records compared {len(rows)}, differences {differences}, seed {SEED}"
        )
        with self.capsys.disabled():
            print(f"\n{line}", flush=True)
        assert differences == 0


def printed_restarts(sweep):
    """Return the last number of restarts that a sweep has printed."""
    counts = re.findall(r"restarted (\d+)", sweep.text)
    return int(counts[-1]) if counts else 0


def checkpoints(results, study="survivor"):
    return sorted(Path(results, study, "checkpoints").glob("*.pt"))


def saved_since(results, start):
    """Return whether a checkpoint was saved after the time `start`."""
    with contextlib.suppress(FileNotFoundError):
        return any(p.stat().st_mtime > start for p in checkpoints(results))
    return False


def finished_files(results, study="survivor"):
    return sorted(Path(results, study, "records").glob("*.parquet"))


class Bucket:
    """A local object store that can fail or be slow."""

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app

        inner = DomainDispatcherApplication(create_backend_app)
        one_put = threading.Lock()  # moto checks the condition of a put, then writes
        self.down, self.flaky = threading.Event(), 0.0
        self.errors, self.random = 0, random.Random(SEED)
        self.delay = 0.0  # the mean wait in seconds, before a put and after it
        self.posts = 0  # the number of multipart uploads so far
        self.see = lambda moment: None  # called with "before" and "after" for each put

        def app(environ, start):
            self.posts += environ["REQUEST_METHOD"] == "POST"
            if self.down.is_set() or self.random.random() < self.flaky:
                self.errors += 1
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [b"<Error><Code>SlowDown</Code></Error>"]
            if environ["REQUEST_METHOD"] != "PUT":
                return inner(environ, start)
            # read the whole put first, so that no request waits for a client that left
            size = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(size))
            # delay the request and the answer, as a network does
            time.sleep(self.random.uniform(0, 2 * self.delay))
            self.see("before")
            with one_put:
                answer = inner(environ, start)
            self.see("after")
            time.sleep(self.random.uniform(0, 2 * self.delay))
            return answer

        class Silent(WSGIRequestHandler):
            def log(self, *words):
                pass

        self.server = make_server(
            "127.0.0.1", 0, app, threaded=True, request_handler=Silent
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"127.0.0.1:{self.server.server_port}"
        import pyarrow.fs

        self.filesystem = pyarrow.fs.S3FileSystem(
            access_key=KEYS["AWS_ACCESS_KEY_ID"],
            secret_key=SECRET,
            endpoint_override=self.endpoint,
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        self.filesystem.create_dir("bucket")
        # all buckets of this process have the same objects
        self.filesystem.delete_dir_contents("bucket")
        self.posts = 0
        options = f"endpoint_override={self.endpoint}&scheme=http&region=us-east-1"
        self.uri = f"s3://bucket/prefix?{options}"

    def has(self, folder):
        """Return whether a folder of the bucket has a file."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(f"bucket/{folder}", allow_not_found=True)
        return bool(self.filesystem.get_file_info(selector))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


NODES = """
import json, sys
from ray._common.utils import reset_ray_address
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
reset_ray_address()  # otherwise, sweeps without an address would join this cluster
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
print(json.dumps(cluster.address), flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
    elif line.strip() == "add":
        nodes.append(cluster.add_node(num_cpus=1))
    print(json.dumps(len(nodes)), flush=True)
cluster.shutdown()
"""


class Nodes:
    """A Ray cluster of a head and two nodes, on this machine."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )
        self.address = self._answer()

    def _answer(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                return json.loads(line)
        raise AssertionError("the cluster has ended")

    def tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def mount(*words):
    """Run a command (mount or umount); return whether it succeeds on this machine."""
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode == 0


def freeze(folder):
    """Make a folder read-only, by a mount; return whether this succeeds."""
    if not mount("mount", "--bind", str(folder), str(folder)):
        return False
    return mount("mount", "-o", "remount,bind,ro", str(folder))


def fill(disk):
    """Fill a disk; return the file that fills it."""
    ballast = Path(disk) / "ballast"
    with open(ballast, "wb", buffering=0) as sink, contextlib.suppress(OSError):
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while sink.write(b"0" * size):
                    pass
    return ballast


def read_whole(results, study="survivor"):
    """Return the rows of all finished files, read one by one."""
    rows = []
    for path in finished_files(results, study):
        rows += pyarrow.dataset.dataset(path).to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["run_id"], row["task"]))
