"""Check that each node reaches the results. Say when nodes join and leave.

A folder on one machine looks like a shared folder until records are missing. A node may
lack the right to write to a bucket. So the driver writes a file, each node copies the
file, and the driver reads the copies.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.console import say
from study.results.files import Files
from study.results.provenance import software
from study.running.progress import NotPickled
from study.running.shares import capacity
from trainables.patience import first_line
from trainables.usage import UsageError

FOLDER = "reach"
"""The folder of the test files, beside the folder of the records."""

TIMEOUT = 120.0
"""Seconds in which a node must answer. Its first task also starts a Python process."""

COMPARED_VERSIONS = ("commit", "python", "torch", "numpy")
"""Versions that must be equal on all nodes: the records' metadata has one of each."""

INTERVAL = 1.0
"""Seconds between two checks of a `NodeWatcher`."""

WAIT = 5.0
"""Seconds that trials wait for nodes before a message says that they wait."""


def live_nodes() -> dict[str, str]:
    """Return a dictionary from the ID of each live node to the node's address."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["NodeManagerAddress"] for n in nodes if n["Alive"]}


def copy_file(files: Files, source: str, target: str) -> tuple[str, dict[str, str]]:
    """Copy the driver's file; return the error, or "", and this node's versions."""
    try:
        files.put(target, files.read(source))
    except OSError as error:
        return first_line(error), software()
    return "", software()


@attrs.frozen
class ReachTest:
    """The driver writes the file `path`, and a node copies it to `path`-copy."""

    files: Files
    address: str  # of the node
    path: str = attrs.field(factory=lambda: f"{FOLDER}/{uuid.uuid4().hex}")
    content: bytes = attrs.field(factory=lambda: os.urandom(16))

    def start(self, node: str) -> Any:
        """Write the file and make the node copy it; return Ray's reference to the task.

        Raises:
            OSError: The storage fails.
        """
        self.files.put(self.path, self.content)
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=2)(copy_file)
        return task.options(scheduling_strategy=strategy).remote(
            self.files, self.path, f"{self.path}-copy"
        )

    def fault(self, answer: Any) -> str:
        """Return why the node does not reach the results, or "" if it reaches them.

        `answer` is Ray's reference from `start`. An unfinished task counts as a fault.
        """
        try:
            fault, versions = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            return "the node does not answer"
        except ray.exceptions.RayError as error:
            return first_line(getattr(error, "cause", None) or error)
        if not fault and not self.is_copied():
            fault = "the driver cannot read the file that the node wrote"
        if not fault and (differences := version_differences(versions)):
            say(f"Node {self.address} runs other versions: {differences}")
        return str(fault)

    def is_copied(self) -> bool:
        """Return whether the driver can read the node's copy."""
        try:
            return self.files.read(f"{self.path}-copy") == self.content
        except OSError:
            return False

    def clean_up(self) -> None:
        """Delete the file and its copy."""
        with contextlib.suppress(OSError):
            self.files.delete(self.path)
            self.files.delete(f"{self.path}-copy")
            if self.files.local:
                (self.files.folder / FOLDER).rmdir()


def version_differences(versions: Mapping[str, str]) -> str:
    """Return, as text, a node's versions that differ from this machine's versions."""
    here = software()
    return ", ".join(
        f"{name} {versions[name]} (here {here[name]})"
        for name in COMPARED_VERSIONS
        if name in versions and versions[name] != here[name]
    )


def check_reach(files: Files) -> None:
    """Check that every node reaches the results, if there are two or more nodes.

    Raises:
        UsageError: A node does not reach the results, or cannot run this program.
        OSError: The storage fails.
    """
    if files.local and capacity().can_grow:
        raise UsageError(
            f"--results is the folder {files.results}, and this cluster may start "
            "nodes that do not share the folder: use s3://bucket/prefix"
        )
    nodes = live_nodes()
    if len(nodes) < 2:
        return
    tests: dict[Any, ReachTest] = {}  # Ray's reference to an answer -> test
    try:
        for node, address in nodes.items():
            test = ReachTest(files, address)
            tests[test.start(node)] = test
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
            f"not every node reaches --results {files.results}: {'; '.join(faults)}: "
            "use a folder that all nodes share, or s3://bucket/prefix"
        )


class NodeWatcher(NotPickled, tune.Callback):
    """Says which nodes join and leave, and when trials wait for nodes.

    It also tests whether a node that joins reaches the results. If the node does not
    reach them, its trials wait and retry as they do whenever the storage fails.
    """

    def __init__(self, files: Files, slots: int) -> None:
        """Watch the live nodes, where at most `slots` trials run at once."""
        self._files, self._slots = files, slots
        self._nodes = live_nodes()
        self._last_check = time.monotonic()
        self._waiting_since: float | None = None
        self._waiting_said = False
        self._tests: dict[Any, ReachTest] = {}  # Ray's reference to an answer -> test

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the nodes and the trials if `INTERVAL` seconds have passed."""
        now = time.monotonic()
        if now - self._last_check >= INTERVAL:
            self._last_check = now
            self._compare_nodes()
            self._read_answers()
            self._check_waiting([trial.status for trial in trials], now)

    def _compare_nodes(self) -> None:
        """Say which nodes have joined or left; start a test of each new node."""
        before, self._nodes = self._nodes, live_nodes()
        for node, address in before.items():
            if node not in self._nodes:
                say(f"Node {address} has left; its trials resume on other nodes.")
        new = {node: a for node, a in self._nodes.items() if node not in before}
        if new:
            say(f"Node {', '.join(new.values())} has joined. Ray has {capacity()}.")
        for node, address in new.items():
            with contextlib.suppress(OSError):  # the trials say that storage fails
                test = ReachTest(self._files, address)
                self._tests[test.start(node)] = test

    def _read_answers(self) -> None:
        """Say which new nodes do not reach the results."""
        ready = ray.wait(list(self._tests), timeout=0)[0] if self._tests else []
        for answer in ready:
            test = self._tests.pop(answer)
            if fault := test.fault(answer):
                say(f"Node {test.address} does not reach the results: {fault}")
            test.clean_up()

    def _check_waiting(self, states: list[str], now: float) -> None:
        """Say when trials start to wait for nodes, and when all of them run."""
        running = states.count("RUNNING")
        if "PENDING" not in states or running >= self._slots:
            if self._waiting_said:
                say(f"All {self._slots} concurrent trials run. Ray has {capacity()}.")
            self._waiting_since, self._waiting_said = None, False
            return
        self._waiting_since = self._waiting_since or now
        if self._waiting_said or now - self._waiting_since < WAIT:
            return
        cluster = capacity()
        if cluster.can_grow:
            self._waiting_said = True
            say(
                f"Waiting for nodes: {running} of {self._slots} concurrent trials run; "
                f"Ray has {cluster} and may start nodes up to {cluster.max_text}"
            )
