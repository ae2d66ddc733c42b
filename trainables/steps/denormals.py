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
    """Count denormal numbers as 0 in this thread.

    Use it with `with`, or as a decorator. It also holds in threads that torch starts
    meanwhile. Afterwards, the thread returns to its previous state, because NumPy and
    other libraries warn if denormal numbers are switched off. On processors without
    this setting, nothing changes.
    """
    was_flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
