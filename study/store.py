"""Where a study's results live: whole files, under names made from what they hold.

    RESULTS/STUDY/records/SETTING-seeds-0-9.parquet     the rows of finished runs
    RESULTS/STUDY/checkpoints/SETTING-seeds-0-9.pt      runs under way, rows included

A file appears whole or not at all, so writing it twice is harmless, and the records
themselves say what is done: nothing else has to survive a kill.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from study.provenance import hardware
from trainables.command_line import UsageError
from trainables.record import SCHEMA_VERSION, Record, to_table


@dataclass(frozen=True)
class Store:
    """The results of one study, on a local or shared folder or in an object store.

    Attributes:
        results: A folder, or a URI that pyarrow knows, as s3://bucket/prefix.
        study: The study's name.
        made_by: What goes into each file's metadata beside the hardware.
    """

    results: str
    study: str
    made_by: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make a folder's path absolute: a trial runs in a folder of its own."""
        if not self.results:
            raise UsageError("--results is empty: give a folder or a URI")
        if "://" not in self.results:
            path = str(Path(self.results).expanduser().absolute())
            object.__setattr__(self, "results", path)

    @property
    def place(self) -> str:
        """Where the study's results are, for a reader."""
        return f"{self.results.rstrip('/')}/{self.study}"

    def check(self) -> None:
        """Refuse a place where nothing can be written, without writing.

        Raises:
            UsageError: A part of the path is a file, or may not be written to, or a
                URI leads nowhere.
        """
        if "://" in self.results:
            fs, root = self._root()
            try:
                fs.get_file_info(root)
            except OSError as error:
                raise self._no_place(error) from None
            return
        folder = Path(self.place)
        for parent in (folder, *folder.parents):
            if parent.exists():
                if not parent.is_dir():
                    raise UsageError(f"{parent} is a file: give --results a folder")
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise UsageError(f"{parent} may not be written to: choose another")
                return

    def write(self, records: Sequence[Record]) -> None:
        """Write the records of one setting's finished runs, as one file."""
        table = to_table(records, dict(self.made_by) | hardware())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        seeds = sorted({row["seed"] for row in records})
        name = stack_name(records[0]["setting_id"], seeds)
        self._put(f"records/{name}.parquet", sink.getvalue().to_pybytes())

    def finished(self, repair: bool = True) -> tuple[set[str], list[str]]:
        """Return the run_ids that have all their rows, and the files set aside.

        A file that cannot be read as records is renamed (if `repair`), so that its
        runs are made again and nobody reads it by mistake.
        """
        done: set[str] = set()
        aside = []
        for name in self._names("records", ".parquet"):
            try:
                done |= self._runs(f"records/{name}")
            except (pa.ArrowException, OSError, KeyError):
                if repair:
                    self._rename(f"records/{name}", f"records/{name}.damaged")
                    aside.append(f"{self.place}/records/{name}.damaged")
        return done, aside

    def _runs(self, path: str) -> set[str]:
        """Return the run_ids in a file that have a row for each task.

        Raises:
            UsageError: The file was written by a newer version.
        """
        fs, root = self._root()
        columns = ["run_id", "task", "tasks"]
        with fs.open_input_file(f"{root}/{path}") as source:
            table = pq.read_table(source, columns=columns)
        version = int((table.schema.metadata or {})[b"schema_version"])
        if version > SCHEMA_VERSION:
            raise UsageError(
                f"{self.place}/{path} has schema {version}, written by a newer version "
                f"than this one, which knows {SCHEMA_VERSION}: update this program"
            )
        counted = table.group_by("run_id").aggregate(
            [("task", "count_distinct"), ("tasks", "max")]
        )
        return {
            row["run_id"]
            for row in counted.to_pylist()
            if row["task_count_distinct"] == row["tasks_max"]
        }

    def save_state(self, name: str, state: bytes) -> None:
        """Keep the state of runs under way."""
        self._put(f"checkpoints/{name}.pt", state)

    def load_state(self, name: str) -> bytes | None:
        """Return the last state kept, or None."""
        fs, root = self._root()
        try:
            with fs.open_input_stream(f"{root}/checkpoints/{name}.pt") as source:
                return bytes(source.read())
        except FileNotFoundError:
            return None

    def drop_state(self, name: str) -> None:
        """Forget the state of runs that are finished."""
        fs, root = self._root()
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(f"{root}/checkpoints/{name}.pt")

    def interrupted(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the setting_id and the seeds of each stack that has a checkpoint."""
        names = self._names("checkpoints", ".pt")
        return [parse_stack_name(name.removesuffix(".pt")) for name in names]

    def _root(self) -> tuple[Any, str]:
        """Return the filesystem, and the study's path in it."""
        try:
            fs, path = pyarrow.fs.FileSystem.from_uri(self.results)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._no_place(error) from None
        if not path:
            raise self._no_place("it names no bucket")
        return fs, f"{path.rstrip('/')}/{self.study}"

    def _no_place(self, reason: object) -> UsageError:
        line = str(reason).splitlines()[0]
        return UsageError(f"{self.results}: no place for results: {line}")

    def _names(self, folder: str, suffix: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none if there is none."""
        fs, root = self._root()
        selector = pyarrow.fs.FileSelector(f"{root}/{folder}", allow_not_found=True)
        names = [f.base_name for f in fs.get_file_info(selector) if f.is_file]
        return sorted(
            n for n in names if n.endswith(suffix) and not n.startswith((".", "_"))
        )

    def _put(self, path: str, content: bytes) -> None:
        """Write a file so that it is seen whole or not at all."""
        fs, root = self._root()
        whole = f"{root}/{path}"
        if not isinstance(fs, pyarrow.fs.LocalFileSystem):
            # an object store shows an object only when it is complete
            with fs.open_output_stream(whole) as sink:
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
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def _rename(self, old: str, new: str) -> None:
        fs, root = self._root()
        fs.move(f"{root}/{old}", f"{root}/{new}")


def stack_name(setting_id: str, seeds: Iterable[int]) -> str:
    """Return the name of one setting's stack of seeds.

    >>> stack_name("f00d", [2, 0, 1, 7])
    'f00d-seeds-0-2+7'
    """
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    return f"{setting_id}-seeds-" + "+".join("-".join(map(str, r)) for r in runs)


def parse_stack_name(name: str) -> tuple[str, tuple[int, ...]]:
    """Return what `stack_name` was given; no seeds for another name.

    >>> parse_stack_name("f00d-seeds-0-2+7")
    ('f00d', (0, 1, 2, 7))
    """
    part = r"\d+(?:-\d+)?"
    found = re.fullmatch(rf"([0-9a-f]+)-seeds-({part}(?:\+{part})*)", name, re.ASCII)
    if not found:
        return name, ()
    seeds: list[int] = []
    for run in found[2].split("+"):
        first, _, last = run.partition("-")
        seeds.extend(range(int(first), int(last or first) + 1))
    return found[1], tuple(seeds)
