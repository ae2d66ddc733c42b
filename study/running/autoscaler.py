"""Ask Ray's autoscaler why nodes do not start.

`ray up` and KubeRay start the same autoscaler. Clusters without an autoscaler, and the
older autoscaler of Ray, give no answer.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status

from study.console import say

WAIT = 5.0  # seconds of a wait for nodes before the first message
REPEAT = 60.0  # seconds between two messages of one wait

RECENT = 300.0
"""Seconds for which a failed launch is reported.

Ray lists a failure for longer, even after a later launch has succeeded. While the cloud
refuses nodes, the autoscaler tries again, and fails again, within seconds. So the
newest failure is recent as long as the cloud refuses nodes.
"""

LOG_BYTES = 200_000  # bytes at the end of the autoscaler's log, with its last minutes


def launch_state() -> str:
    """Return what the autoscaler says about nodes that do not run yet, or ""."""
    try:
        address = ray.get_runtime_context().gcs_address
        return describe(get_cluster_status(address), _log())
    except Exception:  # a message must never stop a study
        return ""


def _log() -> str:
    """Return the end of the autoscaler's log, which only the head node has."""
    with contextlib.suppress(Exception):  # a later Ray can lack this private object
        node: Any = ray._private.worker._global_node
        path = Path(node.get_logs_dir_path(), "monitor.log")
        with open(path, "rb") as source:
            source.seek(max(0, path.stat().st_size - LOG_BYTES))
            return source.read().decode(errors="replace")
    return ""


def describe(status: ClusterStatus, log: str = "", now: float | None = None) -> str:
    """Return a sentence about the nodes of a cluster that do not run yet.

    The sentence has the latest failure of each node type, if this failure is recent,
    and the cloud's reason. Ray 2.60 (`NodeProviderAdapter._launch_nodes_by_type`)
    writes the reason only to `log`, the log of the autoscaler. `now` is the time in
    seconds since 1970, or None to use the clock.
    """
    oldest = (time.time() if now is None else now) - RECENT
    parts = []
    pending = sum(launch.count for launch in status.pending_launches)
    if pending := pending + len(status.pending_nodes):
        nodes = "node is" if pending == 1 else "nodes are"
        parts.append(f"{pending} {nodes} starting")
    failures = sorted(status.failed_launches, key=lambda f: f.failed_ts_s or 0)
    recent = [f for f in failures if (f.failed_ts_s or 0) >= oldest]
    latest = {failure.ray_node_type_name: failure for failure in recent}
    for name, failure in latest.items():
        failed = rf"Failed to launch \d+ nodes of type {re.escape(name)}: (.*)"
        reasons = re.findall(failed, log)
        texts = [*reasons[-1:], failure.details or "", "no reason given"]
        reason = next(" ".join(t.split()).rstrip(".") for t in texts if t.strip())
        parts.append(f"{name} ({failure.instance_type_name}) cannot start: {reason}")
    return f"The autoscaler says: {'; '.join(parts)}." if parts else ""


class WaitingNews:
    """Shows what a study waits for: first after `WAIT` seconds, then every minute."""

    def __init__(self) -> None:
        """Start without a wait."""
        self._since: float | None = None  # the start of the wait
        self._last: float | None = None  # the time of the last message

    @property
    def said(self) -> bool:
        """Whether a message about this wait was shown."""
        return self._last is not None

    def end(self) -> None:
        """End the wait."""
        self._since = self._last = None

    def update(self, text: str, now: float | None = None) -> None:
        """Show `text` and the state of the autoscaler, if a message is due.

        `text` is a sentence that says what the study waits for. `now` is the local time
        in seconds, or None to use the clock.
        """
        now = time.monotonic() if now is None else now
        if self._since is None:
            self._since = now
        if now - self._since < WAIT:
            return
        if self._last is None or now - self._last >= REPEAT:
            self._last = now
            say(f"{text} {launch_state()}".rstrip())
