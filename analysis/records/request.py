"""Read which runs a study requested, and which of them are unfinished or failed.

    RESULTS/STUDY/study.json     the settings and seeds that were requested
    RESULTS/STUDY/checkpoints/   the checkpoints of unfinished runs
    RESULTS/STUDY/failed.json    the trials that failed in the last sweep, with reasons

`study.sweep` writes these files. Each file can be missing. If study.json is missing,
only the records can show which runs are missing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

import attrs
from pyarrow import fs

from analysis.records.source import open_results, translate_errors
from trainables.request import REQUEST_FILE, Request
from trainables.usage import UsageError

CHECKPOINTS, FAILED_FILE = "checkpoints", "failed.json"


@attrs.frozen(kw_only=True)
class RequestedStudy(Request):
    """The settings and seeds that a study requested, and its unfinished trials."""

    checkpoints: int = 0  # the number of trials that have a checkpoint
    failed: dict[str, str] = attrs.field(factory=dict)  # trial -> reason


def read_requests(results: str) -> dict[str, RequestedStudy]:
    """Return the request of each study that has a readable study.json, by study name.

    Raises:
        UsageError: The folder or bucket `results` cannot be read.
    """
    with translate_errors(results):
        filesystem, root = open_results(results)
        return {
            request.study: _add_trials(filesystem, folder, request)
            for folder, request in _read_study_files(filesystem, root)
        }


def read_study_files(filesystem: fs.FileSystem, root: str) -> dict[str, Request]:
    """Return the content of each readable study.json, by study name."""
    requests = (request for _, request in _read_study_files(filesystem, root))
    return {request.study: request for request in requests}


def _read_study_files(
    filesystem: fs.FileSystem, root: str
) -> Iterator[tuple[str, Request]]:
    """Yield the folder and the request of each study."""
    if root.endswith(".parquet"):
        folders = [os.path.dirname(os.path.dirname(root))]
    elif os.path.basename(root) == "records":
        folders = [os.path.dirname(root)]
    else:
        infos = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
        folders = [info.path for info in infos if info.type == fs.FileType.Directory]
        folders = [root, *sorted(folders)]
    for folder in folders:
        with contextlib.suppress(
            FileNotFoundError, NotADirectoryError, ValueError, UsageError
        ):
            content = _read_bytes(filesystem, f"{folder}/{REQUEST_FILE}")
            yield folder, Request.from_bytes(content, os.path.basename(folder))


def _add_trials(
    filesystem: fs.FileSystem, folder: str, request: Request
) -> RequestedStudy:
    """Return the request with the unfinished and the failed trials of the study."""
    selector = fs.FileSelector(f"{folder}/{CHECKPOINTS}", allow_not_found=True)
    checkpoints = sum(
        info.extension == "pt" and not info.base_name.startswith(".")
        for info in filesystem.get_file_info(selector)
    )
    try:
        content = json.loads(_read_bytes(filesystem, f"{folder}/{FAILED_FILE}"))
        failed = {str(stack): str(reason) for stack, reason in content.items()}
    except (FileNotFoundError, ValueError, AttributeError):  # missing or damaged
        failed = {}
    fields = attrs.asdict(request, recurse=False)
    return RequestedStudy(**fields, checkpoints=checkpoints, failed=failed)


def _read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path) as source:
        return bytes(source.read())
