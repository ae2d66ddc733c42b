"""Whether every node reaches the results: each is asked, by a file written and read.

A folder of one machine looks like a shared one until its records are missing; and a
node may lack the right to write to a bucket. So the driver writes a word, each node
reads it and writes it back under a name of its own, and the driver reads that.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.results.files import Files
from study.results.provenance import software
from study.running.capacity import capacity
from trainables.patience import first_line
from trainables.usage import UsageError

FOLDER = "reach"
"""Beside the records, while nodes are asked."""

PATIENCE = 120.0
"""Seconds that a node has to answer; the first task there starts a Python."""

COMPARED = ("commit", "python", "torch", "numpy")
"""What is to be the same on every node, for records to be what they say."""


@ray.remote(num_cpus=0, max_retries=2)
def answer(files: Files, name: str, node: str) -> tuple[str, str, dict[str, str]]:
    """Read the driver's word, and write it back under the node's own name.

    Returns:
        The node, what went wrong or nothing, and the node's versions.
    """
    why = ""
    try:
        files.put(f"{FOLDER}/{name}-{node}", files.read(f"{FOLDER}/{name}"))
    except OSError as error:
        why = first_line(error)
    return node, why, software()


def alive() -> dict[str, str]:
    """Return the addresses of the nodes that are there, by id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["NodeManagerAddress"] for n in nodes if n["Alive"]}


@dataclass(frozen=True)
class Question:
    """A word that the driver has written, for nodes to read.

    Attributes:
        files: The study's.
        name: Of the file.
        word: What it holds.
        nodes: Those that were asked, by what `ray.wait` waits for.
    """

    files: Files
    name: str
    word: bytes
    nodes: list[str] = field(default_factory=list)

    @classmethod
    def put(cls, files: Files) -> Question:
        """Write a new word.

        Raises:
            OSError: Storage fails.
        """
        made = cls(files, uuid.uuid4().hex, os.urandom(16))
        files.put(f"{FOLDER}/{made.name}", made.word)
        return made

    def ask(self, node: str) -> Any:
        """Ask a node; return what `ray.wait` waits for."""
        self.nodes.append(node)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked = answer.options(scheduling_strategy=there)
        return asked.remote(self.files, self.name, node)

    def heard(self, ref: Any) -> tuple[str, str]:
        """Return why a node does not reach the results, and which versions differ."""
        try:
            node, why, theirs = ray.get(ref)
        except ray.exceptions.RayError as error:
            return first_line(getattr(error, "cause", None) or error), ""
        if not why and self._read(node) != self.word:
            why = "what it writes is not seen here"
        return why, differences(theirs)

    def _read(self, node: str) -> bytes | None:
        try:
            return self.files.read(f"{FOLDER}/{self.name}-{node}")
        except OSError:
            return None

    def forget(self) -> None:
        """Delete what was written to ask."""
        for name in (self.name, *(f"{self.name}-{node}" for node in self.nodes)):
            with contextlib.suppress(OSError):
                self.files.delete(f"{FOLDER}/{name}")
        if self.files.local:
            with contextlib.suppress(OSError):
                (self.files.folder / FOLDER).rmdir()


def check(files: Files, tell: Callable[[str], None]) -> None:
    """Refuse results that a node does not reach; on one machine there is no question.

    Raises:
        UsageError: A node does not reach them, or has no such program.
        OSError: Storage fails.
    """
    nodes = alive()
    if files.local and capacity().grows:
        raise UsageError(
            f"--results is {files.results}, a folder, and this cluster starts nodes "
            "that cannot be asked yet whether they share it: give s3://bucket/prefix"
        )
    if len(nodes) < 2:
        return
    question = Question.put(files)
    try:
        wrong = _answers(question, nodes, tell)
    finally:
        question.forget()
    if wrong:
        raise UsageError(
            f"--results is {files.results}, which not every node reaches: "
            f"{'; '.join(wrong)}: give a folder that all share, or s3://bucket/prefix"
        )


def _answers(
    question: Question, nodes: Mapping[str, str], tell: Callable[[str], None]
) -> list[str]:
    """Return what is wrong, node by node."""
    asked = {question.ask(node): address for node, address in nodes.items()}
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
    wrong = [f"{asked[ref]} does not answer" for ref in late]
    for ref in ready:
        why, odd = question.heard(ref)
        if why:
            wrong.append(f"{asked[ref]}: {why}")
        elif odd:
            tell(f"node {asked[ref]} has other versions than this machine: {odd}")
    return wrong


def differences(theirs: Mapping[str, str]) -> str:
    """Return which versions of a node are not those of this machine."""
    mine = software()
    return ", ".join(
        f"{name} {theirs[name]} (here {mine[name]})"
        for name in COMPARED
        if name in theirs and theirs[name] != mine[name]
    )
