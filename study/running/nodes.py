"""Messages about nodes that join and leave, and about trials that wait for nodes."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import ray
from ray import tune

from study.console import say
from study.results.files import Files
from study.running.capacity import capacity
from study.running.reach import ReachTest, live_nodes, warn_of_versions

INTERVAL = 1.0
"""Seconds between two checks."""

WAIT = 5.0
"""Seconds that trials wait for nodes before this is said."""


class NodeWatcher(tune.Callback):
    """Says which nodes join and leave, and when trials wait for nodes.

    A node that joins is tested for reaching the results. If it does not, its trials
    wait and retry as for any storage failure.
    """

    def __init__(self, files: Files, slots: int) -> None:
        """Remember the nodes of now.

        Args:
            files: The study's results.
            slots: Concurrent trials.
        """
        self._files, self._slots = files, slots
        self._nodes = live_nodes()
        self._last_check = time.monotonic()
        self._waiting_since: float | None = None
        self._waiting_said = False
        self._tests: dict[Any, ReachTest] = {}  # Ray's reference to an answer -> test

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks, and this one starts afresh."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check once an interval."""
        now = time.monotonic()
        if now - self._last_check >= INTERVAL:
            self._last_check = now
            self._compare_nodes()
            self._read_answers()
            self._check_waiting(trials, now)

    def _compare_nodes(self) -> None:
        """Say which nodes have joined and left; test the new ones."""
        nodes = live_nodes()
        for node, address in self._nodes.items():
            if node not in nodes:
                say(f"Node {address} has left; its trials resume elsewhere.")
        new = [node for node in nodes if node not in self._nodes]
        if new:
            addresses = ", ".join(nodes[node] for node in new)
            say(f"Node {addresses} has joined: {capacity()}")
        for node in new:
            with contextlib.suppress(OSError):  # the trials say that storage fails
                test = ReachTest.start(self._files)
                self._tests[test.ask(node)] = test
        self._nodes = nodes

    def _read_answers(self) -> None:
        """Say which new nodes do not reach the results, or have other versions."""
        if not self._tests:
            return
        ready, _ = ray.wait(list(self._tests), num_returns=1, timeout=0)
        for answer in ready:
            test = self._tests.pop(answer)
            fault, versions = test.result(answer)
            node = test.nodes[answer]
            address = self._nodes.get(node, node)
            test.clean_up()
            if fault:
                say(f"Node {address} does not reach the results: {fault}")
            elif versions:
                warn_of_versions(address, versions)

    def _check_waiting(self, trials: list[Any], now: float) -> None:
        """Say when trials wait for nodes, and when they no longer do."""
        states = [trial.status for trial in trials]
        running = states.count("RUNNING")
        if "PENDING" not in states or running >= self._slots:
            if self._waiting_said:
                say(f"All {self._slots} concurrent trials run: {capacity()}")
            self._waiting_since, self._waiting_said = None, False
            return
        if self._waiting_since is None:
            self._waiting_since = now
        if self._waiting_said or now - self._waiting_since < WAIT:
            return
        cluster = capacity()
        if cluster.can_grow:
            self._waiting_said = True
            say(
                f"Waiting for nodes: {running} of {self._slots} concurrent trials run; "
                f"Ray has {cluster} and may start nodes up to {cluster.max_text}"
            )
