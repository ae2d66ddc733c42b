"""Stopping a study by Ctrl-C or SIGTERM, and keeping Ray's own words off the screen."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from rich.console import Console

GRACE = 10.0
"""Seconds that a study that is stopped has to keep its last state."""


@contextlib.contextmanager
def alone_on_standard_output(console: Console) -> Iterator[None]:
    """Let only the console write there: of each killed worker Ray prints a page."""
    console.file = console.file  # where standard output leads now
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def stoppable(console: Console) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop Tune cleanly, but not let it take long.

    Tune waits for the tasks under way, so that the trials keep their last state. A
    second signal, or `GRACE` seconds, end that: the last checkpoints stand.
    """
    asked = threading.Event()
    soft = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGINT))
    # where a whole process group was told to end, Ray has, and waits for itself
    hard = threading.Timer(1.5 * GRACE, os._exit, (128 + signal.SIGINT,))
    soft.daemon = hard.daemon = True

    def stop(signum: int, frame: object) -> None:
        if asked.is_set() or not callable(signal.getsignal(signal.SIGUSR1)):
            raise KeyboardInterrupt
        asked.set()
        console.print("Stopping. What is done is kept; the same command goes on.")
        soft.start()
        hard.start()
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's handler

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        soft.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
