"""Write a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from trainables.usage import UsageError


def write_file(file: str, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        UsageError: The file cannot be written.
    """
    target = Path(os.path.realpath(file))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if target.exists() and not target.is_file():  # /dev/stdout cannot be renamed
            target.write_bytes(content)
            return
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
