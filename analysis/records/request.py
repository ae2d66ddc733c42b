"""What a study was asked to hold, and how far it is: what lies beside the records.

    RESULTS/STUDY/study.json     settings and seeds that were asked for
    RESULTS/STUDY/checkpoints/   runs under way
    RESULTS/STUDY/failed.json    what failed in the last sweep

The sweep writes these; here they are only read, and all of them may be absent: then
what is missing is told from the records alone.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import fs

from trainables.record import WHAT
from trainables.usage import UsageError

FILE, CHECKPOINTS, FAILED = "study.json", "checkpoints", "failed.json"

MOST = 1_000_000
"""Seeds in a row that a file is believed to mean."""


@dataclass(frozen=True)
class Asked:
    """What was asked for under a study's name.

    Attributes:
        study: Its name.
        settings: Their columns `WHAT`, by setting_id.
        seeds: By setting_id.
        under_way: Stacks of runs that have a checkpoint.
        failed: Why stacks failed in the last sweep, by their names.
    """

    study: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    under_way: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """How many runs were asked for; 0: it is not known."""
        return sum(len(seeds) for seeds in self.seeds.values())


def read_asked(results: str) -> dict[str, Asked]:
    """Return what was asked for, by study; a study without a study.json has none.

    Args:
        results: What `analysis.records.load.load` takes.

    Raises:
        UsageError: The place cannot be read.
    """
    try:
        if "://" in results:
            filesystem, root = fs.FileSystem.from_uri(results)
        else:
            root = os.path.abspath(os.path.expanduser(results))
            filesystem = fs.LocalFileSystem()
        return {
            asked.study: asked
            for folder in _folders(filesystem, root.rstrip("/"))
            if (asked := _read(filesystem, folder))
        }
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"cannot read {results}: {said}") from None


def _folders(filesystem: fs.FileSystem, root: str) -> list[str]:
    """Return the folders that may be a study's: this one, those above and below it."""
    above = [root, os.path.dirname(root), os.path.dirname(os.path.dirname(root))]
    if root.endswith(".parquet"):
        return above[2:]
    if os.path.basename(root) == "records":
        return above[1:2]
    inside = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    below = [info.path for info in inside if info.type == fs.FileType.Directory]
    return [root, *sorted(below)]


def _read(filesystem: fs.FileSystem, folder: str) -> Asked | None:
    """Return what a folder's study.json says, if there is one that can be read."""
    found = _json(filesystem, f"{folder}/{FILE}")
    try:
        entries = {str(entry["setting_id"]): entry for entry in found["settings"]}
        settings = {
            name: dict.fromkeys(WHAT) | dict(entry["setting"])
            for name, entry in entries.items()
        }
        seeds = {name: parse_seeds(entry["seeds"]) for name, entry in entries.items()}
        if any(None in (row["optimizer"], row["lr"]) for row in settings.values()):
            return None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    failed = _json(filesystem, f"{folder}/{FAILED}")
    selector = fs.FileSelector(f"{folder}/{CHECKPOINTS}", allow_not_found=True)
    states = [
        info
        for info in filesystem.get_file_info(selector)
        if info.extension == "pt" and not info.base_name.startswith(".")
    ]
    return Asked(
        str(found.get("study", os.path.basename(folder))),
        settings,
        seeds,
        len(states),
        {str(k): str(v) for k, v in failed.items()} if isinstance(failed, dict) else {},
    )


def _json(filesystem: fs.FileSystem, path: str) -> Any:
    """Return what a file of JSON holds; None: it is not there, or is none."""
    try:
        with filesystem.open_input_stream(path) as source:
            return json.loads(source.read())
    except (FileNotFoundError, ValueError):
        return None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that a text names.

    >>> parse_seeds("0-2+7")
    (0, 1, 2, 7)

    Raises:
        ValueError: It names none.
    """
    seeds: list[int] = []
    for span in str(text).split("+"):
        if not (found := re.fullmatch(r"(\d+)(?:-(\d+))?", span, re.ASCII)):
            raise ValueError(f"seeds {text}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last - first >= MOST:
            raise ValueError(f"seeds {text}")
        seeds.extend(range(first, last + 1))
    return tuple(seeds)
