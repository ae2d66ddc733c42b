"""Which studies lie under some results."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.fs

from study.results.files import open_results
from study.results.store import Store
from study.spec.search import JOURNAL
from trainables.patience import first_line
from trainables.usage import UsageError

OURS = ("records", "checkpoints", "study.json", JOURNAL)
"""What a study's folder has at least one of."""


def find_stores(results: str, study: str | None = None) -> list[Store]:
    """Return the studies under a folder or URI, which may also be one study's own.

    Raises:
        UsageError: There is none, or not the one asked for.
    """
    place, mark, options = results, "", ""
    if "://" in results:
        place, mark, options = results.partition("?")
    place = place.rstrip("/")
    try:
        if study is None and _is_study(results):
            above, _, name = str(Store(place, "x").results).rpartition("/")
            return [Store(above + mark + options, name)]
        fs, root = open_results(results)
        selector = pyarrow.fs.FileSelector(root, allow_not_found=True)
        names = [info.base_name for info in fs.get_file_info(selector)]
        stores = [
            Store(results, name)
            for name in sorted(names)
            if study in (None, name) and _is_study(Store(results, name).place)
        ]
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {first_line(error)}") from None
    if not stores:
        wanted = "no study" if study is None else f"no study {study}"
        raise UsageError(f"{wanted} in {results}: give the folder of results")
    return stores


def _is_study(place: str) -> bool:
    """Tell whether a folder is a study's."""
    fs, root = open_results(place)
    infos = fs.get_file_info([f"{root}/{name}" for name in OURS])
    return any(info.type != pyarrow.fs.FileType.NotFound for info in infos)
