"""The command that shows the progress of a study, or checks the study's files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import attrs
import tyro
from rich.table import Table

from study.console import Flag, Options, Text, Whole, console, say
from study.plan.trials import SETTING_HEADER, setting_cells
from study.results.claim import claim, is_claimed
from study.results.compaction import compact
from study.results.file_check import FileCheck
from study.results.files import DAMAGED
from study.results.store import Store, find_stores
from study.running.survey import SettingProgress, survey, time_left
from study.spec.search import JOURNAL
from trainables.hyperparameter import check_whole
from trainables.patience import first_line
from trainables.request import REQUEST_FILE, Request, parse_stack_name, seeds_text
from trainables.setting import digest
from trainables.usage import UsageError, run_command


@attrs.frozen
class StatusOptions:
    """Show the progress of each setting of a study, and estimate the time left.

    Attributes:
        results: The folder or URI with the results of all studies, or of one study.
        study: The name of one study. By default, show every study in the results.
        slots: How many trials run at the same time, to estimate the time left. The
            default is the number in the last sweep.
        check: Check every file instead of showing the progress. If any file is bad,
            list the bad files and exit with 1.
        fix: Check every file, and move each bad file to the folder damaged/ of the
            study. The next sweep repeats the lost work and writes the file again.
        compact: Merge the many small records files of each study into few large files.
            The rows stay the same, and all commands read them faster than before.
    """

    results: tyro.conf.Positional[str] = "results"
    study: Text = None
    slots: Whole = None
    check: Flag = False
    fix: Flag = False
    compact: Flag = False

    def __attrs_post_init__(self) -> None:
        """Check the options; raise UsageError if one is wrong or if two conflict."""
        if self.slots is not None:
            check_whole("--slots", self.slots)
        if self.compact and (self.check or self.fix):
            raise UsageError(
                "--compact cannot be combined with --check or --fix: run --fix first, "
                "then --compact"
            )


def status(options: Options[StatusOptions]) -> int:
    """Show the progress of studies, or check their files; return the exit code."""
    bad = 0
    for store in find_stores(options.results, options.study):
        try:
            if options.compact:
                with claim(store) as claimed:
                    before, after = compact(claimed)
                say(f"{store.location()}: merged {before} records files into {after}")
            elif options.fix or options.check:
                context = claim(store) if options.fix else contextlib.nullcontext(store)
                with context as claimed:
                    bad += _check(claimed, fix=options.fix)
            else:
                _show(store, options.slots)
        except OSError as error:
            raise UsageError(
                f"{store.location()}: storage error: {first_line(error)}"
            ) from None
    return 1 if bad else 0


def _check(store: Store, *, fix: bool) -> int:
    """Check one study's files, list the bad files, and return how many there are."""
    if fix:
        store.move_old_damaged_files()
    checks = [*store.check_files(), *_check_journal(store)]
    if fix:
        store.delete_replaced(checks)
    bad = [check for check in checks if check.faults]
    for check in bad:
        text = f"bad: {store.location(check.path)}: {check.faults[0]}"
        if check.faults[1:]:
            text += f" (and {len(check.faults) - 1} more)"
        # a file that a newer version of this program wrote is good, so leave it there
        if fix and not check.newer:
            text += f"; moved to {store.set_aside(check.path)}"
        say(text)
    runs = sum(len(check.runs) for check in checks if not check.faults)
    checkpoints = sum(check.path.startswith("checkpoints/") for check in checks)
    result = f"{len(bad)} files are bad" if bad else "no file is bad"
    if bad and not fix:
        result += f"; --fix moves them to {DAMAGED}/"
    say(
        f"{store.location()}: {runs} finished runs, {checkpoints} checkpoints, {result}"
    )
    return len(bad)


def _check_journal(store: Store) -> list[FileCheck]:
    """Check the journal, the files in which Optuna keeps the trials of a search.

    The journal can only be read as a whole. So if one of its files is bad, return all
    of them as bad; otherwise, return [].
    """
    if not any(name.startswith(JOURNAL) for name in store.names("", "")):
        return []
    from study.searching.journal import journal_parts, load_search

    try:
        load_search(store)
        return []
    except UsageError as error:
        reason = first_line(error.__cause__ or error)
        fault = f"Optuna's journal cannot be read as a whole: {reason}"
        return [FileCheck(name, (fault,)) for name in journal_parts(store)]


def _show(store: Store, slots: int | None) -> None:
    """Print one study's progress, the trials that failed, and the time left."""
    checks = store.check_records()
    good = [check for check in checks if not check.faults]
    runs = {run_id: run for check in good for run_id, run in check.runs.items()}
    request = store.load_request()
    if request.search is not None:
        # Optuna takes half a second to import
        from study.searching.report import add_trials, search_line

        request = add_trials(request, store)
    settings = survey(store, request, runs)
    is_running = is_claimed(store)
    state = "a sweep is running" if is_running else "no sweep is running"
    say(f"{store.location()}: {state}")
    console.print(_table(settings, "running" if is_running else "interrupted"))
    _print_failures(store, request, settings)
    if bad := len(checks) - len(good):
        say(
            f"{bad} files are bad; to list them, run "
            f"python -m study.status {store.location()} --check"
        )
    if request.race and request.race.stopped:
        count = len(request.race.stopped)
        say(
            f"{count} setting{' was' if count == 1 else 's were'} stopped by --refine: "
            f"{store.location(REQUEST_FILE)} says why"
        )
    if damaged := store.count_damaged_files():
        say(
            f"{store.location(DAMAGED)} keeps {damaged} damaged files, which no "
            "command reads"
        )
    slots = slots or request.slots or os.cpu_count() or 1
    if request.search is None:
        say(time_left(settings, runs, slots))
    else:
        seconds = [run.seconds for run in runs.values()]
        say(search_line(request, store, seconds, slots))


def _table(settings: Sequence[SettingProgress], started: str) -> Table:
    """Return a table with the progress of each setting and, in the last row, the sums.

    `started` is the heading of the column that counts the seeds with a checkpoint.
    """
    counted = ("runs", "done", started, "at task", "failed", "diverged", "missing")
    table = Table(*SETTING_HEADER, "tasks", *counted, box=None)
    totals = [0] * 6
    for p in settings:
        groups = (p.seeds, p.finished, p.started, p.failed, p.diverged, p.missing)
        counts = [len(group) for group in groups]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        tasks = sorted(set(p.started.values()))
        table.add_row(
            *setting_cells(p.row),
            str(p.row["tasks"]),
            *map(str, counts[:3]),
            "-".join(map(str, tasks if len(tasks) < 2 else (tasks[0], tasks[-1]))),
            *map(str, counts[3:]),
        )
    sums = [str(total) for total in totals]
    table.add_row("all", "", "", "", "", *sums[:3], "", *sums[3:])
    return table


def _print_failures(
    store: Store, request: Request, settings: Sequence[SettingProgress]
) -> None:
    """Print the errors of the last sweep's trials that are still not finished."""
    failed = {digest(progress.row): progress.failed for progress in settings}
    for name, reason in store.load_failures().items():
        stack_id, seeds = parse_stack_name(name)
        setting_ids = [
            own
            for own in request.settings_of(stack_id)
            if not failed.get(own, {}).keys().isdisjoint(seeds)
        ]
        if setting_ids:
            kind = "Settings" if setting_ids[1:] else "Setting"
            say(
                f"{kind} {', '.join(setting_ids)} failed with seeds "
                f"{seeds_text(seeds)}: "
                f"{reason.rstrip('.')}. Run the same sweep again to retry."
            )


if __name__ == "__main__":
    run_command(status, prog="python -m study.status")
