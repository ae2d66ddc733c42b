"""What a person is told of nodes: who comes and goes, and what is waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import tune

from study.results.files import Files
from study.running import reach
from study.running.capacity import capacity

EVERY = 1.0
"""Seconds between looks."""

SOON = 5.0
"""Seconds that a trial may wait for a place before anything is said."""


class Nodes(tune.Callback):
    """Says which nodes join and leave, and when trials wait for them.

    A node that joins later is asked too whether it reaches the results; trials on one
    that does not wait for storage, as they do when it fails.
    """

    def __init__(self, files: Files, slots: int, say: Callable[[str], None]) -> None:
        """Look at the nodes that are there.

        Args:
            files: The study's results.
            slots: How many trials are to run at once.
            say: Is told.
        """
        self._files, self._slots, self._say = files, slots, say
        self._known = reach.alive()
        self._looked = time.monotonic()
        self._short: float | None = None
        self._told = False
        self._asked: dict[Any, reach.Question] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks, and this one speaks."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, now and then; Tune calls this at each of its steps."""
        now = time.monotonic()
        if now - self._looked < EVERY:
            return
        self._looked = now
        self._see()
        self._hear()
        self._wait(trials, now)

    def _see(self) -> None:
        """Say which nodes have come and gone."""
        there = reach.alive()
        for node, address in self._known.items():
            if node not in there:
                self._say(f"node {address} has left; its trials go on elsewhere")
        new = [node for node in there if node not in self._known]
        if new:
            self._say(
                f"node {', '.join(there[n] for n in new)} has joined: {capacity()}"
            )
        for node in new:
            with contextlib.suppress(OSError):  # then trials say so
                question = reach.Question.put(self._files)
                self._asked[question.ask(node)] = question
        self._known = there

    def _hear(self) -> None:
        """Say which of the nodes that joined do not reach the results."""
        if not self._asked:
            return
        ready, _ = ray.wait(list(self._asked), num_returns=1, timeout=0)
        for ref in ready:
            why, odd = self._asked[ref].heard(ref)
            (node,) = self._asked[ref].nodes
            self._asked.pop(ref).forget()
            address = self._known.get(node, node)
            if why:
                self._say(f"node {address} does not reach the results: {why}")
            elif odd:
                self._say(f"node {address} has other versions than this machine: {odd}")

    def _wait(self, trials: list[Any], now: float) -> None:
        """Say when trials wait for nodes, and when no longer."""
        running = sum(trial.status == "RUNNING" for trial in trials)
        waiting = sum(trial.status == "PENDING" for trial in trials)
        if not waiting or running >= self._slots:
            if self._told:
                self._say(f"all trials at once have a place: {capacity()}")
            self._short, self._told = None, False
            return
        self._short = self._short or now
        if self._told or now - self._short < SOON:
            return
        there = capacity()
        if there.grows:
            self._told = True
            self._say(
                f"waiting for nodes: {running} of {self._slots} trials at once have a "
                f"place; Ray has {there} and may start nodes up to {there.later}"
            )
