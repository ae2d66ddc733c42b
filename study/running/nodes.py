"""Check that each node can read and write the results. Say when nodes join or leave.

If the results folder is not shared between the nodes, records would be lost. If a node
has no right to write to a bucket, its trials would fail. So each node is tested. The
driver, which is the process of the sweep command, writes a test file. Each node copies
the file, and the driver reads the copies.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.console import say
from study.results.files import Files, retry
from study.results.provenance import software
from study.running.autoscaler import WAIT, WaitingNews
from study.running.progress import NotPickled
from study.running.shares import capacity
from trainables.patience import first_line
from trainables.usage import UsageError

FOLDER = "reach"  # the folder for test files, in the results folder of a study
TIMEOUT = 120.0  # seconds that a node has to start Python and to copy a file
COPY_SECONDS = 5.0  # seconds for which a node tries again to copy a file
INTERVAL = 1.0  # seconds between two checks of the nodes by a `NodeWatcher`

COMPARED_VERSIONS = ("commit", "python", "torch", "numpy")
"""The versions that should be equal on all nodes."""


def live_nodes() -> dict[str, str]:
    """Return the address of each live node, by the node's ID."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["NodeManagerAddress"] for n in nodes if n["Alive"]}


def copy_file(files: Files, source: str, target: str) -> tuple[str, dict[str, str]]:
    """Copy a file on a node; return the error ("" for none) and the node's versions."""
    try:
        retry(lambda: files.put(target, files.read(source)), COPY_SECONDS)
    except OSError as error:
        return first_line(error), software()
    return "", software()


@attrs.frozen
class ReachTest:
    """Tests whether a node can read and write the results."""

    files: Files
    node: str  # the ID of the node
    address: str  # the address of the node
    # the path of the test file; the path of the copy is this path followed by "-copy"
    path: str = attrs.field(factory=lambda: f"{FOLDER}/{uuid.uuid4().hex}")
    content: bytes = attrs.field(factory=lambda: os.urandom(16))

    def start(self) -> Any:
        """Write the test file and start a Ray task that copies the file on the node.

        Return Ray's reference to the result of the task. If the storage fails, raise
        OSError.
        """
        retry(lambda: self.files.put(self.path, self.content), COPY_SECONDS)
        strategy = NodeAffinitySchedulingStrategy(self.node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=2)(copy_file)
        return task.options(scheduling_strategy=strategy).remote(
            self.files, self.path, f"{self.path}-copy"
        )

    def fault(self, answer: Any) -> str:
        """Return why the node cannot use the results, or "" if it can use them.

        `answer` is the reference that `start` returned. If the task is not finished,
        the node does not answer. If the node has left the cluster, return "".
        """
        try:
            fault, versions = ray.get(answer, timeout=0)
        except ray.exceptions.RayError as error:
            if self.node not in live_nodes():
                return ""
            if isinstance(error, ray.exceptions.GetTimeoutError):
                return "the node does not answer"
            return first_line(getattr(error, "cause", None) or error)
        if not fault and not self.is_copied():
            fault = "the driver cannot read the file that the node wrote"
        if not fault and (differences := version_differences(versions)):
            say(
                f"Node {self.address} has other versions than this machine: "
                f"{differences}. Install the same versions on all nodes."
            )
        return str(fault)

    def is_copied(self) -> bool:
        """Return whether this process can read the copy that the node wrote."""
        try:
            copy = retry(lambda: self.files.read(f"{self.path}-copy"), COPY_SECONDS)
        except OSError:
            return False
        return copy == self.content

    def clean_up(self) -> None:
        """Delete the test file and its copy."""
        delete_test_files(self.files, [self.path, f"{self.path}-copy"])


def delete_test_files(files: Files, paths: Sequence[str] | None = None) -> None:
    """Delete some test files, or all that an earlier session or a slow node has left.

    If the storage fails, ignore the error.
    """
    with contextlib.suppress(OSError):
        if paths is None:
            paths = [f"{FOLDER}/{name}" for name in files.names(FOLDER, "")]
        for path in paths:
            files.delete(path)
        if files.local:  # `rmdir` deletes only an empty folder
            (files.folder / FOLDER).rmdir()


def version_differences(versions: Mapping[str, str]) -> str:
    """Return how the versions of a node differ from this machine's; "" for equal."""
    own = software()
    return ", ".join(
        f"{name} {versions[name]} (here {own[name]})"
        for name in COMPARED_VERSIONS
        if name in versions and versions[name] != own[name]
    )


def check_reach(files: Files) -> None:
    """Check that every node of the Ray cluster can read and write the results.

    If the cluster has only one node, no test file is written.

    Raises:
        UsageError: A node cannot use the results or cannot run this program; or the
            results are in a folder, and the cluster can start more nodes.
        OSError: The storage fails.
    """
    delete_test_files(files)
    if files.local and capacity().can_grow:
        raise UsageError(
            f"--results is the folder {files.results}, but this cluster can start "
            "nodes that possibly do not have this folder. Use --results s3://bucket/prefix"
        )
    nodes = live_nodes()
    if len(nodes) < 2:
        return
    tests: dict[Any, ReachTest] = {}  # Ray's reference to a task's result -> test
    try:
        for node, address in nodes.items():
            test = ReachTest(files, node, address)
            tests[test.start()] = test
        ray.wait(list(tests), num_returns=len(tests), timeout=TIMEOUT)
        faults = [
            f"{test.address}: {fault}"
            for answer, test in tests.items()
            if (fault := test.fault(answer))
        ]
    finally:
        for test in tests.values():
            test.clean_up()
    if faults:
        raise UsageError(
            f"some nodes cannot use --results {files.results}: {'; '.join(faults)}. "
            "Repair these nodes, or use a folder that all nodes share or s3://bucket/prefix"
        )


class NodeWatcher(NotPickled, tune.Callback):
    """Says which nodes join or leave the cluster, and when trials wait for nodes.

    The watcher also tests whether each new node can read and write the results. If the
    test fails, the watcher shows a message, and the study continues.
    """

    def __init__(self, files: Files, slots: int) -> None:
        """Start to watch the live nodes. At most `slots` trials run at once."""
        self._files, self._slots = files, slots
        self._nodes = live_nodes()
        self._last_check = time.monotonic()
        self._news = WaitingNews()
        self._tests: dict[Any, ReachTest] = {}  # Ray's reference to a result -> test

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the nodes and the trials once every `INTERVAL` seconds."""
        now = time.monotonic()
        if now - self._last_check >= INTERVAL:
            self._last_check = now
            self._compare_nodes()
            self._read_answers()
            self._check_waiting([trial.status for trial in trials], now)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait a little for the tests that still run, and delete the test files."""
        if self._tests:
            ray.wait(list(self._tests), num_returns=len(self._tests), timeout=WAIT)
            delete_test_files(self._files)

    def _compare_nodes(self) -> None:
        """Say which nodes have joined or left, and start a test of each new node."""
        before, self._nodes = self._nodes, live_nodes()
        for node, address in before.items():
            if node not in self._nodes:
                say(
                    f"Node {address} has left the cluster. The trials of this node "
                    "resume on other nodes."
                )
        if new := {node: a for node, a in self._nodes.items() if node not in before}:
            nodes, have = ("Node", "has") if len(new) == 1 else ("Nodes", "have")
            say(
                f"{nodes} {', '.join(new.values())} {have} joined the cluster. "
                f"Ray now has {capacity()}."
            )
        for node, address in new.items():
            # if the storage fails here, it also fails in the trials, which report it
            with contextlib.suppress(OSError):
                test = ReachTest(self._files, node, address)
                self._tests[test.start()] = test

    def _read_answers(self) -> None:
        """Read the finished tests; say which new nodes cannot use the results."""
        ready = ray.wait(list(self._tests), timeout=0)[0] if self._tests else []
        for answer in ready:
            test = self._tests.pop(answer)
            if fault := test.fault(answer):
                say(
                    f"Node {test.address} cannot use the results: {fault}. "
                    "Give the node access to the results, or remove the node."
                )
            test.clean_up()

    def _check_waiting(self, states: list[str], now: float) -> None:
        """Say when trials wait for new nodes, and when they no longer wait."""
        running = states.count("RUNNING")
        if "PENDING" not in states or running >= self._slots:
            if self._news.said:
                say(
                    "Trials no longer wait for nodes. "
                    f"Up to {self._slots} trials run at once. Ray has {capacity()}."
                )
            self._news.end()
            return
        cluster = capacity()
        if cluster.can_grow:
            self._news.update(
                f"Waiting for nodes: {running} of {self._slots} concurrent trials run. "
                f"Ray has {cluster} and can start nodes up to {cluster.max_text}.",
                now,
            )
