"""The results of a study: whole files, named after their content.

    RESULTS/STUDY/study.json                            the settings and seeds requested
    RESULTS/STUDY/records/SETTING-seeds-0-9.parquet     the rows of finished runs
    RESULTS/STUDY/checkpoints/SETTING-seeds-0-9.pt      unfinished runs and their rows
    RESULTS/STUDY/failed.json                           what failed in the last sweep

Writing a file twice is harmless, and the records themselves say which runs are
finished, so nothing else has to survive a kill.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from study.console import say
from study.results import file_check
from study.results.file_check import FileCheck
from study.results.files import Files, open_results, split_query
from study.results.provenance import hardware
from study.spec.search import JOURNAL
from trainables.patience import first_line
from trainables.record import Record, to_table
from trainables.request import REQUEST_FILE, Request, parse_stack_name, stack_name
from trainables.usage import UsageError

FAILED = "failed.json"

# a study's folder has at least one of these
STUDY_FILES = ("records", "checkpoints", REQUEST_FILE, JOURNAL)


@attrs.frozen
class Store(Files):
    """A study's files by what they hold: request, records, checkpoints, failures.

    Every method raises OSError when storage fails.

    Attributes:
        made_by: Metadata of each records file beside the hardware: `software()`.
    """

    made_by: Mapping[str, str] = attrs.field(factory=dict)

    def load_request(self, *, repair: bool = False) -> Request:
        """Return what was requested; nothing if the file is missing or damaged.

        If `repair`, set a damaged file aside.

        Raises:
            UsageError: A newer version of this program wrote it.
        """
        try:
            content = self.read(REQUEST_FILE)
            request = Request.from_bytes(content, self.study)
            return attrs.evolve(request, study=self.study)
        except UsageError as error:
            raise UsageError(f"{self.location()}: {error}") from None
        except FileNotFoundError:
            pass
        except ValueError:
            if repair:
                say(f"Unreadable, set aside: {self.set_aside(REQUEST_FILE)}")
        return Request(study=self.study)

    def save_request(self, request: Request) -> None:
        """Write what is requested, if it has changed."""
        content = request.to_bytes()
        with contextlib.suppress(FileNotFoundError):
            if self.read(REQUEST_FILE) == content:
                return
        self.put(REQUEST_FILE, content)

    def write_records(self, records: Sequence[Record]) -> None:
        """Write the records of one setting's finished runs, as one file."""
        table = to_table(records, {**self.made_by, **hardware()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        name = stack_name(records[0]["setting_id"], {row["seed"] for row in records})
        self.put(f"records/{name}.parquet", sink.getvalue().to_pybytes())

    def read_records(self, setting_id: str, seeds: Collection[int]) -> list[Record]:
        """Return the records of a setting's finished runs with these seeds."""
        stack = f"{stack_name(setting_id, seeds)}.parquet"
        names = self.names("records", ".parquet")
        records: dict[tuple[int, int], Record] = {}
        for name in [stack] if stack in names else names:
            file_setting, file_seeds = parse_stack_name(name.removesuffix(".parquet"))
            if file_setting == setting_id and not set(seeds).isdisjoint(file_seeds):
                source = pa.BufferReader(self.read(f"records/{name}"))
                for row in pq.read_table(source, use_threads=False).to_pylist():
                    records[row["seed"], row["task"]] = row
        return [row for (seed, _), row in records.items() if seed in seeds]

    def check_records(self) -> list[FileCheck]:
        """Check each records file, by itself and against the others."""

        def check(name: str) -> FileCheck | None:
            path = f"records/{name}"
            try:
                return file_check.check_records_file(path, self.read(path))
            except FileNotFoundError:  # deleted since it was listed
                return None

        with ThreadPoolExecutor(8) as pool:
            checks = pool.map(check, self.names("records", ".parquet"))
            return file_check.reject_duplicates(check for check in checks if check)

    def check_files(self) -> list[FileCheck]:
        """Check the records, the checkpoints and study.json."""
        checks = self.check_records()
        for name in self.names("checkpoints", ".pt"):
            # a checkpoint is deleted when its trial ends
            if (content := self.load_state(name.removesuffix(".pt"))) is not None:
                checks.append(
                    file_check.check_checkpoint(f"checkpoints/{name}", content)
                )
        try:
            Request.from_bytes(self.read(REQUEST_FILE), self.study)
        except FileNotFoundError:
            pass
        except UsageError as error:
            checks.append(FileCheck(REQUEST_FILE, (str(error),), newer=True))
        except ValueError as error:
            checks.append(FileCheck(REQUEST_FILE, (first_line(error),)))
        return checks

    def finished_runs(self, *, repair: bool = False) -> set[str]:
        """Return the run_ids that have all their records.

        If `repair`, set damaged files aside, so that their runs are trained again.

        Raises:
            UsageError: A newer version of this program wrote a file.
        """
        run_ids: set[str] = set()
        for check in self.check_records():
            if check.newer:
                raise UsageError(f"{self.location(check.path)} {check.faults[0]}")
            if not check.faults:
                run_ids |= check.runs.keys()
            elif repair:
                new = self.set_aside(check.path)
                say(f"Damaged, set aside to be made again: {new}: {check.faults[0]}")
        return run_ids

    def save_state(self, name: str, state: bytes) -> None:
        """Save the checkpoint of a stack, by its name."""
        self.put(f"checkpoints/{name}.pt", state)

    def load_state(self, name: str) -> bytes | None:
        """Return the last checkpoint of a stack, or None."""
        try:
            return self.read(f"checkpoints/{name}.pt")
        except FileNotFoundError:
            return None

    def drop_state(self, name: str) -> None:
        """Delete the checkpoint of a stack."""
        self.delete(f"checkpoints/{name}.pt")

    def interrupted_stacks(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return setting_id and seeds of each stack that has a checkpoint."""
        names = self.names("checkpoints", ".pt")
        return [parse_stack_name(name.removesuffix(".pt")) for name in names]

    def save_failures(self, reasons: Mapping[str, str]) -> None:
        """Save why stacks failed in the last sweep, by their names."""
        if reasons:
            self.put(FAILED, json.dumps(dict(reasons), indent=1).encode())
        else:
            self.delete(FAILED)

    def load_failures(self) -> dict[str, str]:
        """Return why stacks failed in the last sweep, by their names."""
        try:
            reasons = json.loads(self.read(FAILED))
            return {str(name): str(reason) for name, reason in reasons.items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}


def find_stores(results: str, study: str | None = None) -> list[Store]:
    """Return the studies under a folder or URI, sorted by name.

    Args:
        results: A folder or URI of results, or of one study in them.
        study: The name of the study; None: all.

    Raises:
        UsageError: There is no study, or none of this name.
    """
    base, mark, query = split_query(results)
    base = base.rstrip("/")
    try:
        if study is None and _is_study(results):
            parent, _, name = Store(base, "").results.rpartition("/")
            return [Store(parent + mark + query, name)]
        fs, root = open_results(results)
        selector = pyarrow.fs.FileSelector(root, allow_not_found=True)
        names = [info.base_name for info in fs.get_file_info(selector)]
        stores = [Store(results, n) for n in sorted(names) if study in (None, n)]
        stores = [store for store in stores if _is_study(store.location())]
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {first_line(error)}") from None
    if not stores:
        what = "no study" if study is None else f"no study {study}"
        raise UsageError(f"{what} in {results}: give the folder of results")
    return stores


def _is_study(location: str) -> bool:
    fs, root = open_results(location)
    infos = fs.get_file_info([f"{root}/{name}" for name in STUDY_FILES])
    return any(info.type != pyarrow.fs.FileType.NotFound for info in infos)
