"""Merge the small records files of a study into few large ones.

The process writes one merged file at a time, reads the merged file again, and then
deletes the small files. `trainables.record_files` says how readers see each row only
once. A process can be killed at any moment: the merged file appears whole or not at
all, and the next compaction or sweep deletes the small files that still exist.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from study.results.file_check import FileCheck, check_records_file
from study.results.files import repeat
from study.results.store import Store, to_bytes
from trainables.record_files import REPLACES, is_merged, merged_name

ROWS = 100_000  # the most rows of a merged file; in memory, they take about 100 MB
FILES = 1_000  # the most files that one file replaces; sweeps merge this many at once
PAUSE = 60.0  # seconds between two counts of the small files during a sweep

# files with equal columns and metadata, and their rows
_Group = tuple[list[FileCheck], list[pa.Table]]


def compact(
    store: Store, known: MutableMapping[str, FileCheck] | None = None
) -> tuple[int, int]:
    """Merge the good records files; return the number of files before and after.

    Files are merged only if they have the same columns and the same metadata, such as
    the commit and the hardware. This process must have claimed the study. `known` is
    as in `Store.check_records`.

    Raises:
        OSError: The storage fails, or does not keep what was written.
    """
    checks = store.check_records(known)
    store.delete_replaced(checks)
    count = len(checks)
    for group in _groups(store, [check for check in checks if not check.faults]):
        merged = _merge(store, *group)
        if known is not None:
            known[merged.path] = merged
        count -= len(group[0]) - 1
    return len(checks), count


def _groups(store: Store, checks: Sequence[FileCheck]) -> Iterator[_Group]:
    """Yield groups of two or more files.

    Leave out large files, because merging them saves little: files with more than half
    of `ROWS` rows, and files that replace at least half of `FILES` files.
    """
    groups: dict[bytes, _Group] = {}  # by the columns and metadata of the files
    for check in checks:
        if 2 * check.rows > ROWS or 2 * len(check.replaces) >= FILES:
            continue
        source = pa.BufferReader(store.read(check.path))
        table = pq.read_table(source, use_threads=False)
        metadata = dict(table.schema.metadata or {})
        metadata.pop(REPLACES.encode(), None)
        table = table.replace_schema_metadata(metadata)
        key = table.schema.serialize().to_pybytes()
        if key in groups and not _fit_one_file([*groups[key][0], check]):
            yield groups.pop(key)
        group_checks, tables = groups.setdefault(key, ([], []))
        group_checks.append(check)
        tables.append(table)
    yield from (group for group in groups.values() if len(group[0]) > 1)


def _fit_one_file(checks: Sequence[FileCheck]) -> bool:
    """Return whether one merged file can replace these files."""
    names = sum(1 + len(check.replaces) for check in checks)
    return sum(check.rows for check in checks) <= ROWS and names <= FILES


def _merge(
    store: Store, checks: Sequence[FileCheck], tables: Sequence[pa.Table]
) -> FileCheck:
    """Write the rows of some files to one file, then delete these files."""
    replaced = {os.path.basename(check.path) for check in checks}
    replaced.update(*(check.replaces for check in checks))
    table = pa.concat_tables(tables)
    metadata = {**table.schema.metadata, REPLACES: "\n".join(sorted(replaced))}
    path = f"records/{merged_name(replaced)}"
    content = to_bytes(table.replace_schema_metadata(metadata))
    if store.claim:
        store.claim.check()  # a new holder has possibly merged these files already
    store.put(path, content)
    store.sync("records")
    merged = check_records_file(path, store.read(path))
    run_ids = {run_id for check in checks for run_id in check.runs}
    if merged.faults or merged.runs.keys() != run_ids or not merged.replaces:
        store.delete(path)
        raise OSError(
            f"{store.location(path)} does not contain what was written to it; the "
            "small files are kept"
        )
    store.delete_replaced([merged])
    return merged


@contextlib.contextmanager
def background_compaction(store: Store, pause: float = PAUSE) -> Iterator[None]:
    """Merge small files while this context lasts, whenever there are `FILES` of them.

    So a study of many trials has few files at any time, and a sweep that was killed
    restarts quickly. This process must have claimed the study.
    """
    known: dict[str, FileCheck] = {}

    def compact_if_many() -> None:
        names = store.names("records", ".parquet")
        if len(names) - sum(map(is_merged, names)) >= FILES:
            compact(store, known)

    with repeat(compact_if_many, pause, "compaction"):
        yield
