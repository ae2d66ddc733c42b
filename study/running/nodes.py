"""Check that the nodes reach the results; say when nodes join, leave or are awaited.

A folder of one machine looks like a shared one until records are missing, and a node
may lack the right to write to a bucket. So the driver writes a file, each node copies
it, and the driver reads the copies.
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
"""The folder of these files, beside the records."""

TIMEOUT = 120.0
"""Seconds that a node has to answer; its first task starts a Python process."""

COMPARED_VERSIONS = ("commit", "python", "torch", "numpy")
"""What must be the same on every node for the records' metadata to be true."""

INTERVAL = 1.0
"""Seconds between two checks of a `NodeWatcher`."""

WAIT = 5.0
"""Seconds that trials wait for nodes before this is said."""


def live_nodes() -> dict[str, str]:
    """Return the addresses of the nodes that are alive, by node id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["NodeManagerAddress"] for n in nodes if n["Alive"]}


def copy_file(files: Files, source: str, target: str) -> tuple[str, dict[str, str]]:
    """Copy the driver's file on a node; return the error, or "", and its versions."""
    try:
        files.put(target, files.read(source))
    except OSError as error:
        return first_line(error), software()
    return "", software()


@attrs.frozen
class ReachTest:
    """A file that the driver has written and that a node copies to PATH-copy."""

    files: Files
    address: str  # the node's
    path: str = attrs.field(factory=lambda: f"{FOLDER}/{uuid.uuid4().hex}")
    content: bytes = attrs.field(factory=lambda: os.urandom(16))

    def start(self, node: str) -> Any:
        """Write the file and ask the node; return Ray's reference to its answer.

        Raises:
            OSError: Storage fails.
        """
        self.files.put(self.path, self.content)
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=2)(copy_file)
        return task.options(scheduling_strategy=strategy).remote(
            self.files, self.path, f"{self.path}-copy"
        )

    def fault(self, answer: Any) -> str:
        """Return why the node does not reach the results, or ""; do not wait for it."""
        try:
            fault, versions = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            return "it does not answer"
        except ray.exceptions.RayError as error:
            return first_line(getattr(error, "cause", None) or error)
        if not fault and not self.is_copied():
            fault = "its writes are not visible to the driver"
        if not fault and (differences := version_differences(versions)):
            say(f"Node {self.address} has other versions: {differences}")
        return str(fault)

    def is_copied(self) -> bool:
        """Return whether the driver can read the copy."""
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
    """Return which versions of a node differ from this machine's, as text."""
    here = software()
    return ", ".join(
        f"{name} {versions[name]} (here {here[name]})"
        for name in COMPARED_VERSIONS
        if name in versions and versions[name] != here[name]
    )


def check_reach(files: Files) -> None:
    """Check that every node reaches the results; one node alone is not asked.

    Raises:
        UsageError: A node does not reach the results, or cannot run this program.
        OSError: Storage fails.
    """
    if files.local and capacity().can_grow:
        raise UsageError(
            f"--results is {files.results}, a folder, and this cluster starts more "
            "nodes, which may not share it: give s3://bucket/prefix"
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
            f"--results is {files.results}, which not every node reaches: "
            f"{'; '.join(faults)}: give a folder that all share, or s3://bucket/prefix"
        )


class NodeWatcher(NotPickled, tune.Callback):
    """Says which nodes join and leave, and when trials wait for nodes.

    A node that joins is tested for reaching the results. If it does not, its trials
    wait and retry as for any storage failure.
    """

    def __init__(self, files: Files, slots: int) -> None:
        """Watch the nodes of now, on which `slots` trials may run at once."""
        self._files, self._slots = files, slots
        self._nodes = live_nodes()
        self._last_check = time.monotonic()
        self._waiting_since: float | None = None
        self._waiting_said = False
        self._tests: dict[Any, ReachTest] = {}  # Ray's reference to an answer -> test

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check once an interval."""
        now = time.monotonic()
        if now - self._last_check >= INTERVAL:
            self._last_check = now
            self._compare_nodes()
            self._read_answers()
            self._check_waiting([trial.status for trial in trials], now)

    def _compare_nodes(self) -> None:
        """Say which nodes have joined and left; test the new ones."""
        before, self._nodes = self._nodes, live_nodes()
        for node, address in before.items():
            if node not in self._nodes:
                say(f"Node {address} has left; its trials resume elsewhere.")
        new = {node: a for node, a in self._nodes.items() if node not in before}
        if new:
            say(f"Node {', '.join(new.values())} has joined: {capacity()}")
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
        """Say when trials wait for nodes, and when they no longer do."""
        running = states.count("RUNNING")
        if "PENDING" not in states or running >= self._slots:
            if self._waiting_said:
                say(f"All {self._slots} concurrent trials run: {capacity()}")
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
