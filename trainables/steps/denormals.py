"""Count denormal numbers as 0 while a network trains.

Without a gradient, momentum and the moments of Adam shrink at every step. In float32
they become denormal below 1e-38, and rounding then keeps them from becoming 0.
Arithmetic with denormal numbers takes up to a hundred times as long, so that tasks
became slower and slower along a stream.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count denormal numbers as 0 in this thread, in a `with` statement or function.

    Threads that torch starts meanwhile do the same. Afterwards, the thread returns to
    its previous state, because NumPy and others warn if they find no denormal numbers.
    Processors without this setting go on as before.
    """
    was_flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
