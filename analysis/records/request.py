"""Read what a study requested and how far it is, from the files beside its records.

    RESULTS/STUDY/study.json     the settings and seeds that were requested
    RESULTS/STUDY/checkpoints/   runs that are not finished
    RESULTS/STUDY/failed.json    what failed in the last sweep

The sweep writes these, and each may be absent: then the records alone show which runs
are missing.
"""

from __future__ import annotations

import json
import os

import attrs
import pyarrow as pa
from pyarrow import fs

from analysis.records.load import one_line, open_results
from trainables.request import REQUEST_FILE, Request
from trainables.usage import UsageError

CHECKPOINTS, FAILED_FILE = "checkpoints", "failed.json"


@attrs.frozen(kw_only=True)
class RequestedStudy(Request):
    """A study's request, and how far it is."""

    checkpoints: int = 0  # how many stacks of runs have one
    failed: dict[str, str] = attrs.field(factory=dict)  # reasons, by the stacks' names


def read_requests(results: str) -> dict[str, RequestedStudy]:
    """Return the requests by study, of all studies with a readable study.json.

    Raises:
        UsageError: The path cannot be read.
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


def _study_folders(filesystem: fs.FileSystem, root: str) -> list[str]:
    """Return the folders that may be a study's."""
    if root.endswith(".parquet"):
        return [os.path.dirname(os.path.dirname(root))]
    if os.path.basename(root) == "records":
        return [os.path.dirname(root)]
    infos = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    folders = [info.path for info in infos if info.type == fs.FileType.Directory]
    return [root, *sorted(folders)]


def _read_request(filesystem: fs.FileSystem, folder: str) -> RequestedStudy | None:
    """Return the request of a folder, if it has a readable study.json."""
    try:
        content = _read_bytes(filesystem, f"{folder}/{REQUEST_FILE}")
        request = Request.from_bytes(content, os.path.basename(folder))
    except (FileNotFoundError, ValueError, UsageError):
        return None
    selector = fs.FileSelector(f"{folder}/{CHECKPOINTS}", allow_not_found=True)
    checkpoints = sum(
        info.extension == "pt" and not info.base_name.startswith(".")
        for info in filesystem.get_file_info(selector)
    )
    try:
        content = json.loads(_read_bytes(filesystem, f"{folder}/{FAILED_FILE}"))
        failed = {str(stack): str(reason) for stack, reason in content.items()}
    except (FileNotFoundError, ValueError, AttributeError):  # absent or corrupt
        failed = {}
    fields = attrs.asdict(request, recurse=False)
    return RequestedStudy(**fields, checkpoints=checkpoints, failed=failed)


def _read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path) as source:
        return bytes(source.read())
