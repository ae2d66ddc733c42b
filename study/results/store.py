"""Where a study's results live: whole files, under names made from what they hold.

    RESULTS/STUDY/study.json                            what was asked for
    RESULTS/STUDY/records/SETTING-seeds-0-9.parquet     the rows of finished runs
    RESULTS/STUDY/checkpoints/SETTING-seeds-0-9.pt      runs under way, rows included

A file appears whole or not at all, so writing it twice is harmless, and the records
themselves say what is done: nothing else has to survive a kill.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from study.plan.stacks import parse_stack_name, stack_name
from study.results.examine import Held, against_each_other, examine
from study.results.files import Files
from study.results.provenance import hardware
from trainables.record import Record, to_table
from trainables.usage import UsageError

FAILED = "failed.json"


@dataclass(frozen=True)
class Store:
    """The results of one study, on a local or shared folder or in an object store.

    Attributes:
        results: A folder, or a URI that pyarrow knows, as s3://bucket/prefix.
        study: The study's name.
        made_by: What goes into each file's metadata beside the hardware.
        files: Its files.
    """

    results: str
    study: str
    made_by: Mapping[str, str] = field(default_factory=dict)
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        """Check where the results are to be."""
        object.__setattr__(self, "files", Files(self.results, self.study))
        object.__setattr__(self, "results", self.files.results)

    @property
    def place(self) -> str:
        """Where the study's results are, for a reader."""
        return self.files.where()

    def write(self, records: Sequence[Record]) -> None:
        """Write the records of one setting's finished runs, as one file."""
        table = to_table(records, dict(self.made_by) | hardware())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        seeds = sorted({row["seed"] for row in records})
        name = stack_name(records[0]["setting_id"], seeds)
        self.files.put(f"records/{name}.parquet", sink.getvalue().to_pybytes())

    def read(self, setting_id: str, seeds: Collection[int]) -> list[Record]:
        """Return the records of a setting's finished runs with these seeds.

        Raises:
            OSError: Storage fails.
        """
        whole = f"{stack_name(setting_id, seeds)}.parquet"
        names = self.files.names("records", ".parquet")
        found: dict[tuple[int, int], Record] = {}
        for name in [whole] if whole in names else names:
            held, theirs = parse_stack_name(name.removesuffix(".parquet"))
            if held == setting_id and not set(seeds).isdisjoint(theirs):
                source = pa.BufferReader(self.files.read(f"records/{name}"))
                for row in pq.read_table(source, use_threads=False).to_pylist():
                    found[row["seed"], row["task"]] = row
        return [row for (seed, _), row in found.items() if seed in seeds]

    def examine(self) -> list[Held]:
        """Return what each file of records holds, and what is wrong with it.

        Raises:
            OSError: Storage fails.
        """
        names = self.files.names("records", ".parquet")
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(self._examine, names)
            return against_each_other(held for held in found if held)

    def _examine(self, name: str) -> Held | None:
        """Return what one file holds; None: it has gone."""
        with contextlib.suppress(FileNotFoundError):
            return examine(name, self.files.read(f"records/{name}"))
        return None

    def finished(self, repair: bool = True) -> tuple[set[str], list[str]]:
        """Return the run_ids that have all their rows, and the files set aside.

        A file that is not whole is renamed (if `repair`), so that its runs are made
        again and nobody reads it by mistake. Storage that fails is no such reason.

        Raises:
            UsageError: A file was written by a newer version.
            OSError: Storage fails.
        """
        done: set[str] = set()
        aside = []
        for held in self.examine():
            path = f"records/{held.name}"
            if held.newer:
                raise UsageError(f"{self.files.where(path)} {held.faults[0]}")
            if not held.faults:
                done |= held.runs.keys()
            elif repair:
                new = self.files.where(self.files.set_aside(path))
                aside.append(f"{new}: {held.faults[0]}")
        return done, aside

    def save_state(self, name: str, state: bytes) -> None:
        """Keep the state of runs under way."""
        self.files.put(f"checkpoints/{name}.pt", state)

    def load_state(self, name: str) -> bytes | None:
        """Return the last state kept, or None."""
        try:
            return self.files.read(f"checkpoints/{name}.pt")
        except FileNotFoundError:
            return None

    def drop_state(self, name: str) -> None:
        """Forget the state of runs that are finished."""
        self.files.delete(f"checkpoints/{name}.pt")

    def interrupted(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the setting_id and the seeds of each stack that has a checkpoint."""
        names = self.files.names("checkpoints", ".pt")
        return [parse_stack_name(name.removesuffix(".pt")) for name in names]

    def keep_failed(self, reasons: Mapping[str, str]) -> None:
        """Keep, or forget, why stacks failed in the last sweep."""
        if reasons:
            self.files.put(FAILED, json.dumps(dict(reasons), indent=1).encode())
        else:
            self.files.delete(FAILED)

    def failed(self) -> dict[str, str]:
        """Return why stacks failed in the last sweep, by their names."""
        try:
            return {str(k): str(v) for k, v in json.loads(self._failed()).items()}
        except (ValueError, AttributeError):
            return {}

    def _failed(self) -> bytes:
        try:
            return self.files.read(FAILED)
        except FileNotFoundError:
            return b"{}"
