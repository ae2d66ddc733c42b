"""Read and write a study's files, in a local or shared folder or an object store.

A reader never sees a file that is only partly written. Every storage error is an
OSError.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pyarrow as pa
import pyarrow.fs

from study.console import say
from study.results.objects import (
    ANSWER_SECONDS,
    ATTEMPTS,
    CONNECT_SECONDS,
    Objects,
    s3_options,
)
from trainables.patience import (
    NOTICE_SECONDS,
    PERMANENT,
    Patience,
    first_line,
    message_line,
)
from trainables.usage import UsageError, check_no_keys

if TYPE_CHECKING:
    from study.results.claim import Claim

T = TypeVar("T")

PARTIAL_FILE_AGE = 60.0  # seconds; an older partial file is no longer being written
DAMAGED = "damaged"  # the folder of damaged files, beside the folder of the records
OLD_SUFFIX = ".damaged"  # the suffix that older versions gave to a damaged file


def _check_results(results: str) -> str:
    """Return a URI without access keys unchanged, or the absolute path of a folder."""
    if not results:
        raise UsageError("--results is empty: give a folder or a URI")
    if "://" not in results:
        return str(Path(results).expanduser().absolute())
    check_no_keys([results])
    return results


@attrs.frozen
class Files:
    """Read and write the files of one study, by their paths in the study's folder.

    Every method raises OSError if the storage fails. Methods that read a file raise
    FileNotFoundError if there is no such file.

    Attributes:
        results: A folder, or a URI that pyarrow accepts, such as s3://bucket/prefix.
            An object store is opened with the access keys that its own tools use.
        study: The study's name.
        claim: The claim that this process holds on the files. It is None if there is no
            claim, or if a file lock in the folder is enough.
    """

    results: str = attrs.field(converter=_check_results)
    study: str
    # equality ignores the claim; in other processes, it is None (`Claim.__reduce__`)
    claim: Claim | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)

    def location(self, path: str = "") -> str:
        """Return the full path or URI of a file, or of the study's folder.

        >>> Files("s3://bucket/a?scheme=http", "mine").location("records")
        's3://bucket/a/mine/records?scheme=http'
        """
        base, mark, query = split_query(self.results)
        parts = [base.rstrip("/"), self.study, *([path] if path else [])]
        return "/".join(parts) + mark + query

    @property
    def local(self) -> bool:
        """Whether the files are in a local or shared folder, not in an object store."""
        return isinstance(self.root()[0], pyarrow.fs.LocalFileSystem)

    @property
    def folder(self) -> Path:
        """The path of the study's folder. Use it only if `local` is true."""
        return Path(self.root()[1])

    def check_access(self) -> None:
        """Check, without writing anything, that results can be written.

        Raises:
            UsageError: The bucket does not exist, or the folder cannot be written to.
        """
        if not self.local:
            fs, root = self.root()
            bucket = root.split("/")[0]
            if fs.get_file_info(bucket).type == pyarrow.fs.FileType.NotFound:
                raise _unusable(
                    self.results, f"bucket {bucket} does not exist, so create it"
                )
            return
        folders = (self.folder, *self.folder.parents)
        parent = next(folder for folder in folders if folder.exists())
        if not parent.is_dir():
            raise UsageError(f"{parent} is a file: give --results a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(
                f"{parent} is write-protected: choose another folder with --results"
            )

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names of the visible files that end with `suffix`.

        If the folder does not exist, return [].
        """
        fs, root = self.root()
        selector = pyarrow.fs.FileSelector(f"{root}/{folder}", allow_not_found=True)
        names = sorted(f.base_name for f in fs.get_file_info(selector) if f.is_file)
        return [n for n in names if n.endswith(suffix) and n[0] not in "._"]

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        fs, root = self.root()
        with fs.open_input_stream(f"{root}/{path}", compression=None) as source:
            return bytes(source.read())

    def put(self, path: str, content: bytes) -> None:
        """Write a file. A reader never sees a file that is only partly written."""
        fs, root = self.root()
        target = f"{root}/{path}"
        if fs.type_name == "s3":
            objects(self.results).put(target, content)
            return
        folder, name = os.path.split(target)
        partial = f"{folder}/.{name}.{uuid.uuid4().hex}"
        if not self.local:
            # a signal can leave an object with a part of the content, so first write an
            # object with another name
            with fs.open_output_stream(partial, compression=None) as sink:
                sink.write(content)
            fs.move(partial, target)
            return
        os.makedirs(folder, exist_ok=True)
        try:
            write_to_disk(partial, content)
            os.replace(partial, target)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def sync(self, folder: str) -> None:
        """Wait until the names in a local folder are on the disk."""
        if self.local:
            descriptor = os.open(self.folder / folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def load(self, path: str) -> bytes:
        """Read a file that only the process with the claim (a lock) may write."""
        return self.claim.read(path) if self.claim else self.read(path)

    def save(self, path: str, content: bytes) -> None:
        """Write a file that only the process with the claim (a lock) may write.

        If another process has taken over the claim, this process ends.

        Raises:
            ConflictError: A process without a claim has written the file since `load`.
        """
        (self.claim.put if self.claim else self.put)(path, content)

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        fs, root = self.root()
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(f"{root}/{path}")

    def set_aside(self, path: str) -> str:
        """Move a damaged file to the folder `DAMAGED`, and return its new location.

        If this folder already has a file of this name, add a number to the name.
        """
        if self.claim:
            self.claim.check()  # another sweep has possibly written the file again
        fs, root = self.root()
        name = path.rpartition("/")[2].removesuffix(OLD_SUFFIX)
        taken, numbers = self.names(DAMAGED, ""), itertools.count(2)
        new = name
        while new in taken:
            new = f"{name}-{next(numbers)}"
        if self.local:
            (self.folder / DAMAGED).mkdir(exist_ok=True)
        fs.move(f"{root}/{path}", f"{root}/{DAMAGED}/{new}")
        return self.location(f"{DAMAGED}/{new}")

    def move_old_damaged_files(self) -> None:
        """Move to `DAMAGED` each file that an older version renamed to NAME.damaged."""
        for path in self._old_damaged_files():
            self.set_aside(path)

    def count_damaged_files(self) -> int:
        """Return the number of damaged files that were set aside."""
        return len(self.names(DAMAGED, "")) + len(self._old_damaged_files())

    def _old_damaged_files(self) -> list[str]:
        return [
            f"{folder}{name}"
            for folder in ("", "records/", "checkpoints/")
            for name in self.names(folder.rstrip("/"), OLD_SUFFIX)
        ]

    def delete_partial_files(self) -> None:
        """Delete old files in subfolders that killed processes have partly written."""
        if self.local:
            for partial in self.folder.glob("*/.*.*"):
                with contextlib.suppress(OSError):
                    if time.time() - partial.stat().st_mtime > PARTIAL_FILE_AGE:
                        partial.unlink()

    def root(self) -> tuple[Any, str]:
        """Return pyarrow's filesystem, and the path of the study's folder in it."""
        fs, path = open_results(self.results)
        return fs, f"{path}/{self.study}"


def write_to_disk(path: str | Path, content: bytes) -> None:
    """Write a local file, and wait until its content is on the disk."""
    with open(path, "wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())


def split_query(results: str) -> tuple[str, str, str]:
    """Split a URI into its path, '?' and its query; a folder has only a path."""
    return results.partition("?") if "://" in results else (results, "", "")


def open_results(results: str) -> tuple[Any, str]:
    """Return pyarrow's filesystem for a folder or URI, and the path in it.

    Raises:
        UsageError: pyarrow does not accept the URI, or the URI has no bucket.
    """
    if "://" not in results:
        results = str(Path(results).expanduser().absolute())
    try:
        fs, path = _from_uri(results)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unusable(results, message_line(error)) from None
    if not path:
        raise _unusable(results, "it has no bucket name")
    return fs, path.rstrip("/")


def _unusable(results: str, reason: str) -> UsageError:
    return UsageError(f"{results} cannot be used for results: {reason}")


@functools.cache
def _from_uri(uri: str) -> tuple[Any, str]:
    fs, path = pyarrow.fs.FileSystem.from_uri(uri)
    if fs.type_name == "s3":
        limits = {"connect_timeout": CONNECT_SECONDS, "request_timeout": ANSWER_SECONDS}
        attempts = pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        options = s3_options(fs) | limits
        fs = pyarrow.fs.S3FileSystem(**options, retry_strategy=attempts)
    return fs, path


@functools.cache
def objects(results: str) -> Objects:
    """Return the objects of the S3 store with this URI."""
    return Objects.connect(open_results(results)[0])


@contextlib.contextmanager
def repeat(action: Callable[[], object], pause: float, name: str) -> Iterator[None]:
    """Call `action` every `pause` seconds in a thread while this context lasts.

    If the storage fails, ignore the error, because the next call can succeed.
    """
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(pause):
            with contextlib.suppress(OSError):
                action()

    thread = threading.Thread(target=loop, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def notice(seconds: float = NOTICE_SECONDS) -> Iterator[None]:
    """Print a line if the `with` block takes longer than `seconds`."""
    line = f"The storage has not answered for {seconds:g} s. Waiting for it."
    timer = threading.Timer(seconds, say, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def retry(action: Callable[[], T], limit: float = 60.0) -> T:
    """Call `action` and return its result; retry if the storage fails.

    Print a line before the first retry, and whenever one call of `action` takes longer
    than `NOTICE_SECONDS`.

    Raises:
        OSError: The storage fails for more than `limit` seconds, or with an error that
            a retry cannot fix.
    """
    patience, warned = Patience(limit), False
    while True:
        try:
            with notice():
                return action()
        except OSError as error:
            if not warned and not isinstance(error, PERMANENT):
                say(f"Storage error, retrying for {limit:g} s: {first_line(error)}")
            warned = True
            patience.wait(error)
