"""Write a file in one step, so that nobody ever sees a half-written file."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.usage import UsageError


def to_parquet(table: pa.Table) -> bytes:
    """Return the content of a Parquet file that has this table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def write_file(file: str, content: bytes) -> None:
    """Write a file under a temporary name and then rename it.

    If writing fails, an existing file stays unchanged.

    Raises:
        UsageError: The file cannot be written.
    """
    target = Path(os.path.realpath(file))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if target.exists() and not target.is_file():  # for example /dev/stdout
            target.write_bytes(content)
            return
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
