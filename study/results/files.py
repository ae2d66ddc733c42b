"""The files of a study, on a local or shared folder or in an object store.

A file appears whole or not at all. Any error of the storage is an OSError; what a file
holds is judged by others, from bytes that have been read whole.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs

from study.console import say
from trainables.patience import Patience, first_line
from trainables.usage import UsageError

T = TypeVar("T")

DRIVER_PATIENCE = 60.0
"""Seconds that a command waits for storage that fails, before it begins."""

OLD_PART = 60.0
"""Seconds after which a half-written file is one whose writer was killed."""


@dataclass(frozen=True)
class Files:
    """The files of one study.

    Attributes:
        results: A folder, or a URI that pyarrow knows, as s3://bucket/prefix; where
            an object store's keys come from, its own documentation says.
        study: The study's name.
    """

    results: str
    study: str

    def __post_init__(self) -> None:
        """Make a folder's path absolute: a trial runs in a folder of its own."""
        if not self.results:
            raise UsageError("--results is empty: give a folder or a URI")
        if "://" not in self.results:
            path = str(Path(self.results).expanduser().absolute())
            object.__setattr__(self, "results", path)
        elif urllib.parse.urlsplit(self.results).username:
            raise UsageError(
                "--results has keys in it, which would be seen: leave them out and "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )

    def where(self, path: str = "") -> str:
        """Return where a file is, for a reader or another command.

        >>> Files("s3://bucket/a?scheme=http", "mine").where("records")
        's3://bucket/a/mine/records?scheme=http'
        """
        place, mark, options = self.results, "", ""
        if "://" in place:
            place, mark, options = place.partition("?")
        parts = [place.rstrip("/"), self.study, *([path] if path else [])]
        return "/".join(parts) + mark + options

    @property
    def local(self) -> bool:
        """Whether this is a folder, of this machine or a shared one."""
        return isinstance(self._root()[0], pyarrow.fs.LocalFileSystem)

    @property
    def folder(self) -> Path:
        """The folder, if it is one."""
        return Path(self._root()[1])

    def check(self) -> None:
        """Refuse a place where nothing can be written, without writing.

        Raises:
            UsageError: A part of the path is a file, or may not be written to, or a
                URI leads nowhere.
            OSError: Storage fails.
        """
        if not self.local:
            fs, root = self._root()
            bucket = root.split("/")[0]
            if fs.get_file_info(bucket).type == pyarrow.fs.FileType.NotFound:
                raise _no_place(self.results, f"there is no {bucket}")
            return
        for parent in (self.folder, *self.folder.parents):
            if parent.exists():
                if not parent.is_dir():
                    raise UsageError(f"{parent} is a file: give --results a folder")
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise UsageError(f"{parent} may not be written to: choose another")
                return

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none if there is none."""
        fs, root = self._root()
        selector = pyarrow.fs.FileSelector(f"{root}/{folder}", allow_not_found=True)
        names = [f.base_name for f in fs.get_file_info(selector) if f.is_file]
        return sorted(
            n for n in names if n.endswith(suffix) and not n.startswith((".", "_"))
        )

    def read(self, path: str) -> bytes:
        """Return what a file holds.

        Raises:
            FileNotFoundError: There is none.
        """
        fs, root = self._root()
        with fs.open_input_stream(f"{root}/{path}", compression=None) as source:
            return bytes(source.read())

    def put(self, path: str, content: bytes) -> None:
        """Write a file so that it is seen whole or not at all."""
        fs, root = self._root()
        whole = f"{root}/{path}"
        if not self.local:
            # an object store shows an object only when it is complete
            with fs.open_output_stream(whole, compression=None) as sink:
                sink.write(content)
            return
        folder, name = os.path.split(whole)
        os.makedirs(folder, exist_ok=True)
        part = f"{folder}/.{name}.{uuid.uuid4().hex}"
        try:
            with open(part, "wb") as sink:
                sink.write(content)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(part, whole)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        fs, root = self._root()
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(f"{root}/{path}")

    def set_aside(self, path: str) -> str:
        """Rename a file so that nobody reads it by mistake; return its new name."""
        fs, root = self._root()
        fs.move(f"{root}/{path}", f"{root}/{path}.damaged")
        return f"{path}.damaged"

    def clear_parts(self) -> None:
        """Delete what writers that were killed have left half-written."""
        if self.local:
            for part in self.folder.glob("*/.*.*"):
                with contextlib.suppress(OSError):
                    if time.time() - part.stat().st_mtime > OLD_PART:
                        part.unlink()

    def _root(self) -> tuple[Any, str]:
        """Return the filesystem, and the study's path in it."""
        fs, path = open_results(self.results)
        return fs, f"{path}/{self.study}"


def open_results(results: str) -> tuple[Any, str]:
    """Return pyarrow's filesystem for a folder or URI, and the path in it.

    Raises:
        UsageError: It leads nowhere.
    """
    if "://" not in results:
        results = str(Path(results).expanduser().absolute())
    try:
        fs, path = _filesystem(results)
    except (pa.ArrowInvalid, OSError) as error:
        raise _no_place(results, str(error).splitlines()[0]) from None
    if not path:
        raise _no_place(results, "it names no bucket")
    return fs, path.rstrip("/")


def _no_place(results: str, reason: str) -> UsageError:
    return UsageError(f"{results}: no place for results: {reason}")


@functools.cache
def _filesystem(results: str) -> tuple[Any, str]:
    """Return pyarrow's filesystem and the path in it."""
    fs, path = pyarrow.fs.FileSystem.from_uri(results)
    return fs, path


def patiently(action: Callable[[], T], limit: float | None = None) -> T:
    """Return what an action returns, tried again while storage fails.

    Args:
        action: Reads or writes.
        limit: Seconds; None: `DRIVER_PATIENCE`.

    Raises:
        OSError: Storage has failed for too long.
    """
    patience = Patience(DRIVER_PATIENCE if limit is None else limit)
    told = False
    while True:
        try:
            return action()
        except OSError as error:
            if not told:
                why = first_line(error)
                say(f"waiting for storage, up to {patience.limit:g} s: {why}")
            told = True
            patience.wait(error)
