"""Settings of the process without which training steps can take twice as long or more.

Denormal numbers: if the gradient of a weight stays 0, its velocity and its moments of
Adam shrink at every step. In float32, numbers below 1e-38 are denormal. Rounding then
keeps them from becoming 0. Arithmetic with denormal numbers takes up to a hundred times
as long, so the tasks of a stream would become slower and slower.

Freed memory: the torch engine allocates tensors in each step and frees them again. The
C library of Linux (glibc) can return such memory to the system after every step. The
next step then waits while the system fills thousands of pages with zeros. Whether this
happens depends on the addresses of the tensors, that is, on chance. If it happens,
steps of ASAM take up to twice as long.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

# numbers of parameters in malloc.h of glibc, see `man mallopt`
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

KEPT_BYTES = 2**30
"""The process keeps up to 1 GiB of free memory."""

LARGEST_BYTES = 2**25
"""Tensors above 32 MiB get their own memory mapping: glibc accepts no larger limit."""


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count denormal numbers as 0 in this thread.

    Use this in a `with` statement, or as a decorator. Threads that torch starts in the
    meantime count denormal numbers as 0 too. At the end, the thread returns to its
    previous state, because NumPy and other libraries warn if denormal numbers count as
    0. On processors without such a mode, nothing changes.
    """
    import torch

    was_flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory; return whether it has such a setting."""
    try:
        set_parameter = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and Windows have no mallopt
        return False
    return bool(
        set_parameter(M_TRIM_THRESHOLD, KEPT_BYTES)
        and set_parameter(M_MMAP_THRESHOLD, LARGEST_BYTES)
    )
