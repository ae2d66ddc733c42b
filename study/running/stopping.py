"""Stop a study cleanly on Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from study.console import say

GRACE = 10.0
"""Seconds that the trials have to finish their task and save it."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM stop Tune after the tasks that are running.

    A second signal, or `GRACE` seconds, stop it at once: the last checkpoints remain.
    """
    requested = threading.Event()
    interrupt = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGINT))
    # if the whole process group got the signal, Ray is gone and Tune waits for ever
    force = threading.Timer(1.5 * GRACE, os._exit, (128 + signal.SIGINT,))
    interrupt.daemon = force.daemon = True

    def stop(signum: int, frame: object) -> None:
        # Tune handles SIGUSR1 only while it runs
        if requested.is_set() or not callable(signal.getsignal(signal.SIGUSR1)):
            raise KeyboardInterrupt
        requested.set()
        say("Stopping. Progress is saved; run the same command to resume.")
        interrupt.start()
        force.start()
        os.kill(os.getpid(), signal.SIGUSR1)

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        interrupt.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
