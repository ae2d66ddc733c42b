"""The names of records files, and the choice of the files of a folder to read.

A finished trial writes a small file. `python -m study.status RESULTS --compact` merges
small files: it writes their rows to one merged file, and then deletes the small files.
The metadata of the merged file list the files that it replaces. A reader ignores a
replaced file that still exists.

A merged file can itself be replaced. Then the list of the new file also has the files
that the old file replaced. The name of a merged file contains a hash of its list. If
the list is damaged or the file was renamed, the hash does not match, and the file
replaces nothing.

An object store lists its files in the order of their names. The name of a merged file
sorts after the names of all files that it replaces. So a listing during a merge finds
the merged file if it misses a replaced file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

# the key of the replaced files in a merged file's metadata, one name per line
REPLACES = "replaces"
# the name of a merged file; other names start with 0-9 or a-f, so they sort first
MERGED = re.compile(r"merged-([0-9]{6})-[0-9a-f]{16}\.parquet")


def merged_name(replaced: Collection[str]) -> str:
    """Return the name of the merged file that replaces these files.

    >>> one = merged_name(["f00d-seeds-0.parquet", "f00d-seeds-1.parquet"])
    >>> one, merged_name([one, "f00d-seeds-2.parquet"])[:14]
    ('merged-000001-1a047fd6cc327ec5.parquet', 'merged-000002-')
    """
    matches = (MERGED.fullmatch(name) for name in replaced)
    last = max((int(match[1]) for match in matches if match), default=0)
    names_hash = hashlib.sha256("\n".join(sorted(replaced)).encode()).hexdigest()
    return f"merged-{last + 1:06d}-{names_hash[:16]}.parquet"


def is_merged(path: str) -> bool:
    """Return whether a path belongs to a merged file."""
    return bool(MERGED.fullmatch(os.path.basename(path)))


def replaced_names(path: str, metadata: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """Return the names of the files that the file `path` replaces, if it is merged."""
    text = (metadata or {}).get(REPLACES.encode(), b"")
    names = frozenset(text.decode(errors="replace").split("\n"))
    return names if os.path.basename(path) == merged_name(names) else frozenset()


def read_current(
    list_paths: Callable[[], Sequence[str]],
    read: Callable[[Sequence[str]], Iterable[T | None]],
    replaced: Callable[[T], Collection[str]],
) -> dict[str, T]:
    """Read each row of a folder once, although another process can merge its files.

    A file can be merged and deleted between the listing and the reading. The merged
    file exists before the file is deleted, so a new listing finds it. This function
    therefore lists and reads again until it has read all merged files. It does not wait
    for new small files, which a running sweep writes.

    Args:
        list_paths: Returns the paths of all files in one or more folders.
        read: Reads some files. The result of a file that does not exist is None.
        replaced: Returns the names of the files that a file replaces.

    Returns:
        The result of each file that exists and is not replaced, by path.
    """
    results: dict[str, T | None] = {}
    while unread := [path for path in list_paths() if path not in results]:
        if results and not any(map(is_merged, unread)):
            break
        results.update(zip(unread, read(unread), strict=True))
    current = {path: result for path, result in results.items() if result is not None}
    replaced_files = {
        os.path.join(os.path.dirname(path), name)
        for path, result in current.items()
        for name in replaced(result)
    }
    return {p: result for p, result in current.items() if p not in replaced_files}
