"""Load and save the results of a study. The name of a file tells its content.

    RESULTS/STUDY/study.json                            the requested settings and seeds
    RESULTS/STUDY/records/SETTING-seeds-0-9.parquet     the rows of finished runs
    RESULTS/STUDY/records/merged-*.parquet              the rows of many such files
    RESULTS/STUDY/checkpoints/SETTING-seeds-0-9.pt      unfinished runs and their rows
    RESULTS/STUDY/failed.json                           the errors of the last sweep
    RESULTS/STUDY/stopped/SETTING-seeds-0-1.parquet     rows of runs that a race stopped
    RESULTS/STUDY/damaged/                              files that could not be read

Writing a file twice does no harm, and the records show which runs are finished.
Therefore a process can be killed at any time. A study resumes from these files alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
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
from trainables.record import Record, check_records, to_table
from trainables.record_files import is_merged, read_current
from trainables.request import (
    REQUEST_FILE,
    STOPPED,
    Request,
    parse_stack_name,
    stack_name,
)
from trainables.usage import UsageError

FAILED = "failed.json"

# the most rows of a row group; reading one setting reads only the groups that have it
GROUP_ROWS = 50_000

# a folder is the folder of a study if it has at least one of these
STUDY_FILES = ("records", "checkpoints", REQUEST_FILE, JOURNAL)


@attrs.frozen
class Store(Files):
    """Load and save the request, records, checkpoints and failures of a study.

    The request is the settings and seeds that the user asked for. Every method raises
    OSError if the storage fails.

    Attributes:
        made_by: Metadata for each records file, from `software()`. `write_records` adds
            the hardware.
    """

    made_by: Mapping[str, str] = attrs.field(factory=dict)

    def load_request(self) -> Request:
        """Return the settings and seeds that the user asked for in this study.

        If the file is missing, return an empty request.

        Raises:
            UsageError: The file is damaged, or a newer version of this program wrote
                the file.
        """
        request = self._read_request()
        while self.claim and request.claim != self.claim.stamp:
            # after this save, an earlier holder of the claim cannot overwrite the file
            request = attrs.evolve(request, claim=self.claim.stamp)
            try:
                self.save(REQUEST_FILE, request.to_bytes())
            except FileExistsError:  # an earlier holder has just overwritten the file
                request = self._read_request()
        return request

    def _read_request(self) -> Request:
        try:
            content = self.load(REQUEST_FILE)
            request = Request.from_bytes(content, self.study)
            return attrs.evolve(request, study=self.study)
        except UsageError as error:
            raise UsageError(f"{self.location()}: {error}") from None
        except FileNotFoundError:
            return Request(study=self.study)
        except ValueError as error:
            raise UsageError(
                f"{self.location(REQUEST_FILE)} cannot be read ({first_line(error)}): "
                f"run python -m study.status {self.results} --fix to move the file "
                "away, then run the study again"
            ) from None

    def save_request(self, request: Request) -> None:
        """Save the request, unless the file already has this content."""
        content = request.to_bytes()
        with contextlib.suppress(FileNotFoundError):
            if self.read(REQUEST_FILE) == content:
                return
        self.save(REQUEST_FILE, content)

    def write_records(self, records: Sequence[Record]) -> None:
        """Write the records of finished runs of one setting to one file."""
        table = to_table(records, {**self.made_by, **hardware()})
        name = stack_name(records[0]["setting_id"], {row["seed"] for row in records})
        self.put(f"records/{name}.parquet", to_bytes(table))

    def write_stopped(self, name: str) -> None:
        """Write the records in the checkpoint of a trial to the folder `STOPPED`.

        A race has stopped the trial before the end of its stream, so these records must
        not be mixed with the records of complete runs. The metadata do not name the
        hardware, because the trial possibly ran on another machine. If the checkpoint
        is damaged, write nothing.
        """
        if records := self.checkpoint_records(name):
            content = to_bytes(to_table(records, self.made_by))
            self.put(f"{STOPPED}/{name}.parquet", content)

    def checkpoint_records(self, name: str) -> list[Record]:
        """Return the records in the checkpoint of a trial; [] if it is damaged."""
        from trainables import checkpoint

        try:
            content = checkpoint.read(self.load_state(name) or b"")
            records: list[Record] = content["records"]
            check_records(records)
        except OSError:
            raise
        except Exception:  # corrupt input can raise anything
            return []
        return records

    def read_records(self, setting_id: str, seeds: Collection[int]) -> list[Record]:
        """Return the records of one setting's finished runs with the given seeds."""
        stack = f"records/{stack_name(setting_id, seeds)}.parquet"
        filters = [("setting_id", "==", setting_id), ("seed", "in", set(seeds))]

        def read(path: str) -> list[Record] | None:
            name = path.removeprefix("records/").removesuffix(".parquet")
            file_setting, file_seeds = parse_stack_name(name)
            is_stack = file_setting == setting_id and set(seeds) & set(file_seeds)
            if not is_stack and not is_merged(path):
                return []
            try:
                source = pa.BufferReader(self.read(path))
            except FileNotFoundError:  # merged after its name was listed
                return None
            table = pq.read_table(source, use_threads=False, filters=filters)
            return list(table.to_pylist())

        # first try the stack's own file, because a search reads the records of each
        # trial, and listing all files each time would be slow
        if (rows := read(stack)) is None:
            files = read_current(
                self._records_paths, lambda paths: map(read, paths), lambda rows: ()
            )
            rows = [row for file_rows in files.values() for row in file_rows]
        return list({(row["seed"], row["task"]): row for row in rows}.values())

    def _records_paths(self) -> list[str]:
        return [f"records/{name}" for name in self.names("records", ".parquet")]

    def check_records(
        self, known: MutableMapping[str, FileCheck] | None = None
    ) -> list[FileCheck]:
        """Check each records file, and that no run is in two files.

        Files that a good merged file replaces are skipped. `known` has the results of
        earlier checks of merged files, by path, and gets the new results. A merged file
        is not checked again, because its name tells its content.
        """
        known = {} if known is None else known

        def check(path: str) -> FileCheck | None:
            if path in known:
                return known[path]
            try:
                return file_check.check_records_file(path, self.read(path))
            except FileNotFoundError:  # deleted after its name was listed
                return None

        with ThreadPoolExecutor(8) as pool:
            checks = read_current(
                self._records_paths,
                lambda paths: pool.map(check, paths),
                lambda check: () if check.faults else check.replaces,
            )
        merged = (c for c in checks.values() if c.replaces and not c.faults)
        known.update({check.path: check for check in merged})
        return file_check.reject_duplicates(checks.values())

    def delete_replaced(self, checks: Iterable[FileCheck]) -> None:
        """Delete the records files that good merged files in `checks` replace."""
        good = (check for check in checks if not check.faults)
        replaced = {name for check in good for name in check.replaces}
        names = replaced and replaced.intersection(self.names("records", ".parquet"))
        if self.claim:
            self.claim.check()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.delete(f"records/{name}"), sorted(names)))

    def check_files(self) -> list[FileCheck]:
        """Check the records, the checkpoints and study.json."""
        checks = self.check_records()
        for name in self.names("checkpoints", ".pt"):
            # skip a checkpoint that its trial has just deleted
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
        """Return the run_ids of the runs that have a record for every task.

        If `repair` is true, move each damaged file to the folder of damaged files, and
        delete the files that merged files replace.

        Raises:
            UsageError: A newer version of this program wrote one of the files.
        """
        run_ids: set[str] = set()
        checks = self.check_records()
        for check in checks:
            if check.newer:
                raise UsageError(f"{self.location(check.path)} {check.faults[0]}")
            if not check.faults:
                run_ids |= check.runs.keys()
            elif repair:
                new = self.set_aside(check.path)
                say(
                    f"Damaged file moved to {new}; missing runs will be repeated. The "
                    f"damage: {check.faults[0]}"
                )
        if repair:
            self.delete_replaced(checks)
        return run_ids

    def save_state(self, name: str, state: bytes) -> None:
        """Save the checkpoint of the trial with this name."""
        self.put(f"checkpoints/{name}.pt", state)

    def load_state(self, name: str) -> bytes | None:
        """Return the last checkpoint of a trial, or None if the trial has none."""
        try:
            return self.read(f"checkpoints/{name}.pt")
        except FileNotFoundError:
            return None

    def drop_state(self, name: str) -> None:
        """Delete the checkpoint of the trial with this name, if there is one."""
        self.delete(f"checkpoints/{name}.pt")

    def split_state(self, name: str) -> None:
        """Replace a checkpoint of several settings by one checkpoint for each of them.

        If the checkpoint is damaged, leave it as it is.
        """
        from trainables import checkpoint

        try:
            parts = checkpoint.split(self.load_state(name) or b"")
        except OSError:
            raise
        except Exception:  # corrupt input can raise anything
            return
        for own, content in parts.items():
            self.save_state(own, content)
        self.drop_state(name)

    def interrupted_stacks(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the setting_id or `joint_id`, and the seeds, of each checkpoint."""
        names = self.names("checkpoints", ".pt")
        return [parse_stack_name(name.removesuffix(".pt")) for name in names]

    def save_failures(self, reasons: Mapping[str, str]) -> None:
        """Save the error of each trial that failed in this sweep, by trial name.

        Without errors, delete the file of the errors of the last sweep.
        """
        if reasons:
            self.put(FAILED, json.dumps(dict(reasons), indent=1).encode())
        else:
            self.delete(FAILED)

    def load_failures(self) -> dict[str, str]:
        """Return the error of each trial that failed in the last sweep, by trial name.

        Return {} if the file of the errors is missing or damaged.
        """
        try:
            reasons = json.loads(self.read(FAILED))
            return {str(name): str(reason) for name, reason in reasons.items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}


def to_bytes(table: pa.Table) -> bytes:
    """Return the content of a records file, with checksums that reveal damage."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        write_page_checksum=True,
        row_group_size=GROUP_ROWS,
    )
    return bytes(sink.getvalue().to_pybytes())


def find_stores(results: str, study: str | None = None) -> list[Store]:
    """Return a store for each study in a folder or URI, sorted by name.

    `results` has the results of all studies, or of one study. With `study`, return only
    the store of the study with this name.

    Raises:
        UsageError: No study is found, or the storage cannot be read.
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
        raise UsageError(
            f"cannot read {results}: {first_line(error)}. Check the path, your right "
            "to read it, and the network"
        ) from None
    if not stores:
        problem = "no study" if study is None else f"no study {study}"
        raise UsageError(f"{problem} in {results}: give a folder that has results")
    return stores


def _is_study(location: str) -> bool:
    fs, root = open_results(location)
    infos = fs.get_file_info([f"{root}/{name}" for name in STUDY_FILES])
    return any(info.type != pyarrow.fs.FileType.NotFound for info in infos)
