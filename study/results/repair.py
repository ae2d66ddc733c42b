"""Check every file of a study's results, and set damaged ones aside."""

from __future__ import annotations

from collections.abc import Iterable

from study.results.file_check import FileCheck
from study.results.store import Store
from trainables.patience import first_line
from trainables.request import REQUEST_FILE, Request, parse_stack_name
from trainables.usage import UsageError


def check_results(store: Store) -> list[FileCheck]:
    """Check the records, the checkpoints and study.json.

    Raises:
        OSError: Storage fails.
    """
    checks = store.check_records()
    for name in store.names("checkpoints", ".pt"):
        # a checkpoint is deleted when its trial ends
        if (content := store.load_state(name.removesuffix(".pt"))) is not None:
            fault = _checkpoint_fault(name.removesuffix(".pt"), content)
            faults = () if fault is None else (fault,)
            checks.append(FileCheck(f"checkpoints/{name}", faults))
    if store.names("", REQUEST_FILE):
        try:
            Request.from_bytes(store.read(REQUEST_FILE), store.study)
        except UsageError as error:
            checks.append(FileCheck(REQUEST_FILE, (str(error),), newer=True))
        except ValueError as error:
            checks.append(FileCheck(REQUEST_FILE, (first_line(error),)))
    return checks


def set_aside_damaged(store: Store, checks: Iterable[FileCheck]) -> None:
    """Rename damaged files to NAME.damaged: the next sweep makes them again.

    Raises:
        OSError: Storage fails.
    """
    for check in checks:
        if check.faults and not check.newer:
            store.set_aside(check.path)


def _checkpoint_fault(name: str, content: bytes) -> str | None:
    """Return why a stack's checkpoint cannot be used, or None."""
    from trainables.checkpoint import read

    try:
        state = read(content)
        setting_id, seeds = parse_stack_name(name)
        setting_ids = {row["setting_id"] for row in state["records"]}
        if sorted(state["run"]["seeds"]) != list(seeds) or setting_ids - {setting_id}:
            return "belongs to another stack"
    except Exception as error:  # corrupt input can raise anything
        return f"cannot be read as a checkpoint: {first_line(error)}"
    return None
