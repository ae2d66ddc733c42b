"""Shut down a node of a cluster that nobody needs any more, so that it costs nothing.

    watchdog.py worker HEAD_ADDRESS   if the head has not answered for ten minutes
    watchdog.py head                  if no job has run for metadata.head_idle_minutes

cluster.yaml starts this file on each node, so that the program also runs if the project
cannot be imported. Without this program, only `ray down` would end the workers of a
head that has died. In cluster.yaml, InstanceInitiatedShutdownBehavior is "terminate".
So a shutdown terminates a node, and does not only stop the node.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

WORKER_MINUTES = 10.0  # a worker shuts down after this time without an answer
HEAD_MINUTES = 60.0  # the head shuts down after this time without a job, by default
INTERVAL = 15.0  # seconds between two checks
TIMEOUT = 10.0  # seconds to wait for an answer
GCS_PORT = 6379  # the port of Ray's head process in cluster.yaml
JOBS = "http://127.0.0.1:8265/api/jobs/"  # Ray's list of jobs, on the head node
CONFIG = "~/ray_bootstrap_config.yaml"  # `ray up` copies the cluster file to it
# the process ID of a node's newest watchdog; older watchdogs end
PID_FILE = "~/.plasticity-study-watchdog"


def answers(host: str, port: int = GCS_PORT) -> bool:
    """Return whether a program accepts connections at a port of a host."""
    try:
        socket.create_connection((host, port), TIMEOUT).close()
    except OSError:
        return False
    return True


def has_jobs(url: str = JOBS, port: int = GCS_PORT) -> bool:
    """Return whether a job runs or waits on the head node, which is this machine.

    If Ray runs but does not list its jobs, a job possibly runs, so return True. If Ray
    does not run, return False.
    """
    try:
        token = Path("~/.ray/auth_token").expanduser().read_text().strip()
        request = urllib.request.Request(
            url, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            jobs = json.load(answer)
        return any(job["status"] in ("PENDING", "RUNNING") for job in jobs)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return answers("127.0.0.1", port)


def idle_minutes(path: str = CONFIG) -> float:
    """Return metadata.head_idle_minutes of the cluster file, or `HEAD_MINUTES`."""
    import yaml  # only the head needs it, and Ray installs it

    try:
        config = yaml.safe_load(Path(path).expanduser().read_text())
        return float(config["metadata"]["head_idle_minutes"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        print(
            f"{path}: no metadata.head_idle_minutes ({error!r}); the head shuts down "
            f"after {HEAD_MINUTES:g} minutes without a job"
        )
        return HEAD_MINUTES


def watch(
    is_needed: Callable[[], bool],
    limit: float,
    *,
    interval: float = INTERVAL,
    is_newest: Callable[[], bool] = lambda: True,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait until the node has not been needed for `limit` seconds; return True.

    Return False if a newer watchdog has started, so that `is_newest()` is False.
    """
    last = clock()
    while is_newest():
        if is_needed():
            last = clock()
        elif clock() - last >= limit:
            return True
        sleep(interval)
    return False


def main() -> None:
    """Watch until the node is not needed, then run the command that shuts it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("worker", "head"))
    parser.add_argument("address", nargs="?", help="the address of the head node")
    parser.add_argument(
        "--minutes", type=float, help="shut down if nothing needs the node for so long"
    )
    parser.add_argument("--interval", type=float, default=INTERVAL, help="seconds")
    parser.add_argument("--port", type=int, default=GCS_PORT, help="the head's port")
    parser.add_argument("--command", default="sudo shutdown -h now")
    options = parser.parse_args()
    if options.kind == "worker" and not options.address:
        parser.error("a worker needs the address of the head node")
    pid, pid_file = str(os.getpid()), Path(PID_FILE).expanduser()
    pid_file.write_text(pid)
    if options.kind == "worker":
        needed, minutes = lambda: answers(options.address, options.port), WORKER_MINUTES
    else:
        needed, minutes = has_jobs, idle_minutes()
    minutes = minutes if options.minutes is None else options.minutes
    when = f"after {minutes:g} minutes in which nothing needs it"
    print(f"{time.ctime()}: this {options.kind} will shut down {when}")
    if watch(
        needed,
        60 * minutes,
        interval=options.interval,
        is_newest=lambda: pid_file.read_text() == pid,
    ):
        print(f"{time.ctime()}: not needed for {minutes:g} minutes; shutting down")
        subprocess.run(shlex.split(options.command), check=True)


if __name__ == "__main__":
    main()
