"""Keep freed memory in the process, so that steps need not ask the system for it again.

The torch engine allocates tensors in each step and frees them again. The C library of
Linux (glibc) can return such memory to the system after every step. The next step then
waits while the system fills thousands of pages with zeros. Whether this happens depends
on the addresses of the tensors, that is, on chance. If it happens, steps of ASAM take
up to twice as long.
"""

from __future__ import annotations

import ctypes
import functools

# numbers of parameters in malloc.h of glibc, see `man mallopt`
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

KEPT_BYTES = 2**30
"""The process keeps up to 1 GiB of free memory."""

LARGEST_BYTES = 2**25
"""Only tensors above 32 MiB get their own memory mapping.

32 MiB is the largest limit that glibc accepts.
"""


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
