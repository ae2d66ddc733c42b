"""Count denormal numbers as 0 while a network trains.

If the gradient of a weight stays 0, its velocity and its moments of Adam shrink at
every step. In float32, numbers below 1e-38 are denormal. Rounding then keeps them from
becoming 0. Arithmetic with denormal numbers takes up to a hundred times as long, so the
tasks of a stream would become slower and slower.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count denormal numbers as 0 in this thread.

    Use this in a `with` statement, or as a decorator. Threads that torch starts in the
    meantime count denormal numbers as 0 too. At the end, the thread returns to its
    previous state, because NumPy and other libraries warn if denormal numbers count as
    0. On processors without such a mode, nothing changes.
    """
    was_flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
