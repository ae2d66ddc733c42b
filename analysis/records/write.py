"""Write a file in one step, so that no half-written file is ever visible."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from trainables.usage import UsageError


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
