"""The command that checks every file of some results, and sets bad ones aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from study.results.claim import claim
from study.results.file_check import FileCheck
from study.results.find import find_stores
from study.results.repair import check_results, set_aside_damaged
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
                with claim(store):
                    bad += check(store, fix=True)
            else:
                bad += check(store, fix=False)
        except OSError as error:
            raise UsageError(
                f"{store.location()}: storage fails: {first_line(error)}"
            ) from None
    return 1 if bad else 0


def check(store: Store, fix: bool) -> int:
    """Name what is bad in one study's results; return how many files are."""
    checks = check_results(store)
    if fault := _journal_fault(store):
        checks.append(FileCheck(JOURNAL, (fault,)))
    bad = [check for check in checks if check.faults]
    for check in bad:
        print(f"bad: {store.location(check.path)}: {check.faults[0]}")
    if fix:
        set_aside_damaged(store, checks)
    good = sum(len(check.runs) for check in checks if not check.faults)
    states = sum(check.path.startswith("checkpoints/") for check in checks)
    what = f"{len(bad)} files are bad" if bad else "nothing is bad"
    hint = "" if fix or not bad else "; --fix sets them aside"
    print(f"{store.location()}: {good} runs whole, {states} checkpoints, {what}{hint}")
    return len(bad)


def _journal_fault(store: Store) -> str | None:
    """Return why a search's journal cannot be read, or None."""
    if JOURNAL not in store.names("", JOURNAL):
        return None
    from study.searching.journal import found_study

    try:
        found_study(store)
    except UsageError as error:
        why = first_line(error.__cause__ or error)
        return f"cannot be read as Optuna's journal: {why}"
    return None


if __name__ == "__main__":
    run_command(doctor, prog="python -m study.doctor")
