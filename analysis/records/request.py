"""Read which runs a study requested, and which of them are unfinished or failed.

    RESULTS/STUDY/study.json     the settings and seeds that were requested
    RESULTS/STUDY/checkpoints/   the checkpoints of unfinished runs
    RESULTS/STUDY/failed.json    the trials that failed in the last sweep, with reasons

`study.sweep` writes these files. Each file can be missing. If study.json is missing,
only the records can show which runs are missing.
"""

from __future__ import annotations

import json
import os

import attrs
import pyarrow as pa
from pyarrow import fs

from analysis.records.source import one_line, open_results
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

    A request has the settings and seeds that a study was told to run.

    Raises:
        UsageError: The folder or bucket `results` cannot be read.
    """
    try:
        filesystem, root = open_results(results)
        requests = [
            request
            for folder in _study_folders(filesystem, root)
            if (request := _read_request(filesystem, folder))
        ]
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {one_line(error)}") from None
    return {request.study: request for request in requests}


def read_study_files(filesystem: fs.FileSystem, root: str) -> dict[str, Request]:
    """Return the request of each study by name; see `read_requests`.

    A study without a readable study.json is left out.
    """
    folders = _study_folders(filesystem, root)
    requests = (_read_study_file(filesystem, folder) for folder in folders)
    return {request.study: request for request in requests if request}


def _study_folders(filesystem: fs.FileSystem, root: str) -> list[str]:
    """Return the folders that can be the folder of a study."""
    if root.endswith(".parquet"):
        return [os.path.dirname(os.path.dirname(root))]
    if os.path.basename(root) == "records":
        return [os.path.dirname(root)]
    infos = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    folders = [info.path for info in infos if info.type == fs.FileType.Directory]
    return [root, *sorted(folders)]


def _read_request(filesystem: fs.FileSystem, folder: str) -> RequestedStudy | None:
    """Return the request in `folder`, or None if it has no readable study.json."""
    request = _read_study_file(filesystem, folder)
    if request is None:
        return None
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


def _read_study_file(filesystem: fs.FileSystem, folder: str) -> Request | None:
    try:
        content = _read_bytes(filesystem, f"{folder}/{REQUEST_FILE}")
        return Request.from_bytes(content, os.path.basename(folder))
    except (FileNotFoundError, NotADirectoryError, ValueError, UsageError):
        return None


def _read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path) as source:
        return bytes(source.read())
