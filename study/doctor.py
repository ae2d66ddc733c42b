"""The command that checks every file of some results, and sets bad ones aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from study.plan.stacks import parse_stack_name
from study.results.claim import claimed
from study.results.files import Files
from study.results.find import find_stores
from study.results.store import Store
from study.spec.search import JOURNAL
from trainables.command_line import run_command
from trainables.patience import first_line
from trainables.usage import UsageError

Flag = tyro.conf.FlagCreatePairsOff[bool]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]


@dataclass(frozen=True)
class Options:
    """Check every file of records and every checkpoint, and name what is bad and why.

    Attributes:
        results: A folder or a URI of results, or one study's in it.
        study: The study's name; by default every study there.
        fix: Set bad files aside (as NAME.damaged): the next sweep makes them again.
    """

    results: tyro.conf.Positional[str] = "results"
    study: Text = None
    fix: Flag = False


def doctor(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Check every file; return 1 if one is bad, or cannot be read."""
    bad = 0
    for store in find_stores(options.results, options.study):
        try:
            if options.fix:
                with claimed(store.files):
                    bad += check(store, fix=True)
            else:
                bad += check(store, fix=False)
        except OSError as error:
            raise UsageError(
                f"{store.place}: storage fails: {first_line(error)}"
            ) from None
    return 1 if bad else 0


def check(store: Store, fix: bool) -> int:
    """Name what is bad in one study's results; return how many files are."""
    bad, good, rows = 0, 0, 0
    for held in store.examine():
        if held.faults:
            more = f" (and {len(held.faults) - 1} more)" * (len(held.faults) > 1)
            # what a newer version wrote is not bad, this program is old
            _tell(
                store.files,
                f"records/{held.name}",
                held.faults[0] + more,
                fix and not held.newer,
            )
            bad += 1
        else:
            good += len(held.runs)
    for name in store.files.names("checkpoints", ".pt"):
        if fault := _checkpoint_fault(store, name):
            _tell(store.files, f"checkpoints/{name}", fault, fix)
            bad += 1
        rows += 1
    if fault := _journal_fault(store):
        _tell(store.files, JOURNAL, fault, fix)
        bad += 1
    what = "nothing is bad" if not bad else f"{bad} files are bad"
    hint = "" if fix or not bad else "; --fix sets them aside"
    print(f"{store.place}: {good} runs whole, {rows} checkpoints, {what}{hint}")
    return bad


def _tell(files: Files, path: str, fault: str, fix: bool) -> None:
    done = f"; set aside as {files.set_aside(path)}" if fix else ""
    print(f"bad: {files.where(path)}: {fault}{done}")


def _journal_fault(store: Store) -> str | None:
    """Return why a search's journal cannot be read, or None."""
    if JOURNAL not in store.files.names("", JOURNAL):
        return None
    from study.searching.journal import found_study

    try:
        found_study(store.files)
    except UsageError as error:
        why = first_line(error.__cause__ or error)
        return f"cannot be read as Optuna's journal: {why}"
    return None


def _checkpoint_fault(store: Store, name: str) -> str | None:
    """Return why a checkpoint is of no use, or None."""
    from trainables.checkpoint import read

    content = store.load_state(name.removesuffix(".pt"))
    if content is None:  # its trial has ended
        return None
    try:
        state = read(content)
        setting, seeds = parse_stack_name(name.removesuffix(".pt"))
        held = {row["setting_id"] for row in state["records"]}
        if sorted(state["run"]["seeds"]) != list(seeds) or held - {setting}:
            return "is another stack's"
    except Exception as error:  # whatever a stranger's bytes bring about
        return f"cannot be read as a checkpoint: {first_line(error)}"
    return None


if __name__ == "__main__":
    run_command(doctor, prog="python -m study.doctor")
