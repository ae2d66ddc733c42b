"""Check that every node of the cluster reaches the results.

A folder of one machine looks like a shared one until records are missing, and a node
may lack the right to write to a bucket. So the driver writes a file, each node copies
it, and the driver reads the copies.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.console import say
from study.results.files import Files
from study.results.provenance import software
from study.running.capacity import capacity
from trainables.patience import first_line
from trainables.usage import UsageError

FOLDER = "reach"
"""The folder of these files, beside the records."""

TIMEOUT = 120.0
"""Seconds that a node has to answer; its first task starts a Python process."""

COMPARED_VERSIONS = ("commit", "python", "torch", "numpy")
"""What must be the same on every node for the records' metadata to be true."""


@ray.remote(num_cpus=0, max_retries=2)
def copy_file(files: Files, name: str, node: str) -> tuple[str, dict[str, str]]:
    """Copy the driver's file; return the error, or "", and the node's versions."""
    error_text = ""
    try:
        files.put(f"{FOLDER}/{name}-{node}", files.read(f"{FOLDER}/{name}"))
    except OSError as error:
        error_text = first_line(error)
    return error_text, software()


def live_nodes() -> dict[str, str]:
    """Return the addresses of the nodes that are alive, by node id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["NodeManagerAddress"] for n in nodes if n["Alive"]}


@attrs.frozen
class ReachTest:
    """A file that the driver has written, and the nodes that copy it.

    Attributes:
        files: The study's files.
        name: The file's name.
        content: Its content.
        nodes: The nodes that were asked, by Ray's reference to their answer.
    """

    files: Files
    name: str
    content: bytes
    nodes: dict[Any, str] = attrs.field(factory=dict)

    @classmethod
    def start(cls, files: Files) -> ReachTest:
        """Write a new file.

        Raises:
            OSError: Storage fails.
        """
        test = cls(files, uuid.uuid4().hex, os.urandom(16))
        files.put(f"{FOLDER}/{test.name}", test.content)
        return test

    def ask(self, node: str) -> Any:
        """Have a node copy the file; return Ray's reference to its answer."""
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        task = copy_file.options(scheduling_strategy=strategy)
        answer = task.remote(self.files, self.name, node)
        self.nodes[answer] = node
        return answer

    def result(self, answer: Any) -> tuple[str, str]:
        """Return why a node does not reach the results, and its other versions."""
        try:
            fault, versions = ray.get(answer)
        except ray.exceptions.RayError as error:
            return first_line(getattr(error, "cause", None) or error), ""
        if not fault and self.read_copy(self.nodes[answer]) != self.content:
            fault = "its writes are not visible to the driver"
        return fault, version_differences(versions)

    def read_copy(self, node: str) -> bytes | None:
        """Return a node's copy; None: the driver cannot read it."""
        try:
            return self.files.read(f"{FOLDER}/{self.name}-{node}")
        except OSError:
            return None

    def clean_up(self) -> None:
        """Delete the file and its copies."""
        copies = (f"{self.name}-{node}" for node in self.nodes.values())
        for name in (self.name, *copies):
            with contextlib.suppress(OSError):
                self.files.delete(f"{FOLDER}/{name}")
        if self.files.local:
            with contextlib.suppress(OSError):
                (self.files.folder / FOLDER).rmdir()


def check_reach(files: Files) -> None:
    """Check that every node reaches the results; one node alone is not asked.

    Raises:
        UsageError: A node does not reach the results, or cannot run this program.
        OSError: Storage fails.
    """
    nodes = live_nodes()
    if files.local and capacity().can_grow:
        raise UsageError(
            f"--results is {files.results}, a folder, and this cluster starts more "
            "nodes, which may not share it: give s3://bucket/prefix"
        )
    if len(nodes) < 2:
        return
    test = ReachTest.start(files)
    try:
        faults = _ask_all(test, nodes)
    finally:
        test.clean_up()
    if faults:
        raise UsageError(
            f"--results is {files.results}, which not every node reaches: "
            f"{'; '.join(faults)}: give a folder that all share, or s3://bucket/prefix"
        )


def _ask_all(test: ReachTest, nodes: Mapping[str, str]) -> list[str]:
    """Return a fault for each node that does not reach the results."""
    answers = {test.ask(node): address for node, address in nodes.items()}
    ready, late = ray.wait(list(answers), num_returns=len(answers), timeout=TIMEOUT)
    faults = [f"{answers[answer]} does not answer" for answer in late]
    for answer in ready:
        fault, versions = test.result(answer)
        if fault:
            faults.append(f"{answers[answer]}: {fault}")
        elif versions:
            warn_of_versions(answers[answer], versions)
    return faults


def warn_of_versions(address: str, versions: str) -> None:
    """Warn that a node has other versions."""
    say(f"Node {address} has other versions than this machine: {versions}")


def version_differences(versions: Mapping[str, str]) -> str:
    """Return which versions of a node differ from this machine's, as text."""
    here = software()
    return ", ".join(
        f"{name} {versions[name]} (here {here[name]})"
        for name in COMPARED_VERSIONS
        if name in versions and versions[name] != here[name]
    )
