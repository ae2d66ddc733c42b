"""Tell whether a process of this machine is dead.

A process is identified by the boot of its machine, its PID namespace (containers of one
machine have several), its PID, and its start time, because PIDs are used again. See
proc_pid_stat(5), pid_namespaces(7) and /proc/sys/kernel/random/boot_id in random(4).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def this_process() -> str:
    """Return the identity of this process, or "" if the system has no /proc.

    The text names neither the machine nor the user.
    """
    try:
        return f"{_machine()}-{os.getpid()}-{_state_and_start(os.getpid())[1]}"
    except (OSError, IndexError):
        return ""


def is_dead(process: str) -> bool:
    """Return whether the process with this identity is certainly dead.

    Return False if it is possibly alive, or if it ran on another machine.
    """
    try:
        machine, pid, start = process.split("-")
        if machine != _machine():
            return False
        try:
            os.kill(int(pid), 0)  # sends no signal
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's process, which /proc can hide
            pass
        state, own_start = _state_and_start(int(pid))
        # a zombie has ended, unless the process has other threads
        threads = os.listdir(f"/proc/{pid}/task")
        return own_start != start or (state == "Z" and len(threads) < 2)
    except (OSError, ValueError, IndexError, OverflowError):
        return False


def _machine() -> str:
    """Return a hash of this boot of the machine and the PID namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:16]


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state of a process, and its start time in ticks after the boot."""
    # the name of the program, which comes before ")", can contain spaces
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
