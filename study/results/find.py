"""Find the studies under a folder or URI of results."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.fs

from study.results.files import open_results, split_query
from study.results.store import Store
from study.spec.search import JOURNAL
from trainables.patience import first_line
from trainables.request import REQUEST_FILE
from trainables.usage import UsageError

STUDY_FILES = ("records", "checkpoints", REQUEST_FILE, JOURNAL)
"""A study's folder has at least one of these."""


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
        stores = [
            Store(results, name) for name in sorted(names) if study in (None, name)
        ]
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
