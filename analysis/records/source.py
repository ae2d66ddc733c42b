"""Open the file system that has the results of a path or a URI."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import fs

from trainables.usage import UsageError, check_no_keys, printable

PATIENCE = 20.0
"""How long to wait for the first answer of a bucket, in seconds.

Without a network or credentials, the libraries of some object stores retry for a
quarter of an hour.
"""


def open_results(results: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URI, and the path in this file system.

    Raises:
        UsageError: The URI contains access keys.
        OSError, pyarrow.ArrowException: The URI has an unknown or unreachable file
            system, or the file system does not answer within `PATIENCE`.
    """
    if "://" in results:
        check_no_keys([results])
        return _open_uri(results)
    return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(results))


def _open_uri(uri: str) -> tuple[fs.FileSystem, str]:
    """Open a URI in a thread, because the call has no time limit of its own."""
    answers: queue.Queue[tuple[fs.FileSystem, str] | BaseException] = queue.Queue()

    def connect() -> None:
        try:
            filesystem, root = fs.FileSystem.from_uri(uri)
            root = root.rstrip("/")
            filesystem.get_file_info(root)  # the first access to the network
            answers.put((filesystem, root))
        except BaseException as error:
            answers.put(error)

    # A daemon, so that the program can end while the thread still waits.
    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise TimeoutError(
            f"no answer within {PATIENCE:g} seconds; check the name of the bucket, the "
            "network and the credentials"
        ) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


@contextlib.contextmanager
def translate_errors(results: str) -> Iterator[None]:
    """Turn errors of the file system that has `results` into a `UsageError`."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """Return the text of an error as one line without a full stop."""
    return printable(" ".join(str(error).split()).rstrip("."))
