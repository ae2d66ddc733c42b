"""One session of a study: run what is left of it, and say what became of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

from rich.console import Console

from study.plan.trials import plan
from study.results.files import retry
from study.results.store import Store
from study.spec.options import Options
from study.spec.studies import Study
from trainables import datasets
from trainables.request import Request, stack_name
from trainables.setting import Setting, digest

Tell = Callable[[str], None]

FAILED = 1
"""The exit code of a study of which some runs failed."""

STOPPED = 130
"""The exit code of a study that was interrupted, as a shell has it for Ctrl-C."""


def run_ids(study: Study) -> set[str]:
    """Return the run_ids of a study."""
    return {setting.run_id(seed) for setting, seed in runs_of(study)}


def runs_of(study: Study) -> Iterator[tuple[Setting, int]]:
    """Yield the setting and the seed of each run of a study."""
    yield from itertools.product(study.settings, study.seeds)


def stacks(
    options: Options, store: Store, asked: Request, slots: int
) -> list[tuple[str, tuple[int, ...]]]:
    """Return the stacks that go on as they are."""
    planned = [] if options.stack_size else asked.stacks_to_resume(slots)
    return store.interrupted_stacks() + planned


def run_left(
    options: Options,
    study: Study,
    store: Store,
    console: Console,
    tell: Tell,
    *,
    part: bool = False,
) -> int:
    """Run what is left of a study, whose results are ours alone; return the exit code.

    Args:
        options: How to run it.
        study: What to run.
        store: Where its results are.
        console: Where to say how it goes.
        tell: Is told what a person should know.
        part: Whether it is known that other settings lie there too.

    Raises:
        OSError: Storage fails.
    """
    asked = retry(lambda: store.load_request(repair=True))
    others = len(asked.settings.keys() - study.rows().keys())
    if others and not part:
        tell(
            f"{store.location()} also holds {others} other settings, asked for before."
        )
    store.delete_partial_files()
    runs = run_ids(study)
    done = finished(store, tell) & runs  # there may be others, with other options
    if len(done) == len(runs):
        tell(f"All {len(runs)} runs of {study.name} are done: nothing to train.")
        return 0
    try:
        failed = _run(options, study, store, asked, done, console, tell)
    except KeyboardInterrupt:
        left = len(runs - store.finished_runs())
        tell(
            f"Stopped: {left} of {len(runs)} runs are left. Progress is saved; "
            "run the same command to resume."
        )
        return STOPPED
    done = finished(store, tell) & runs
    _forget_states(store, done)
    if not failed and len(done) < len(runs):
        tell(f"{len(runs) - len(done)} runs are not there: give the command again.")
    return 0 if len(done) == len(runs) else FAILED


def finished(store: Store, tell: Tell) -> set[str]:
    """Return the run_ids that are done; set aside what is not whole, and say so."""
    return retry(lambda: store.finished_runs(repair=True))


def _forget_states(store: Store, done: set[str]) -> None:
    """Delete the checkpoints of runs that are done, which a killed sweep has left."""
    asked = store.load_request()
    for setting_id, seeds in store.interrupted_stacks():
        row = asked.settings.get(setting_id)
        if row and seeds and all(digest(row | {"seed": s}) in done for s in seeds):
            store.drop_state(stack_name(setting_id, seeds))


def _run(
    options: Options,
    study: Study,
    store: Store,
    asked: Request,
    done: set[str],
    console: Console,
    tell: Tell,
) -> dict[str, str]:
    """Run what is left; return why stacks failed, by their names."""
    names = sorted({setting.dataset for setting in study.settings})
    data = {name: datasets.load(name, options.data_dir) for name in names}
    # Ray takes a second to import, which no wrong call should wait for
    from study.running import reach, tuning
    from study.running.shares import share_out

    with tuning.connected(options.address, console, study.name):
        reach.check(store, tell)
        shares = share_out(
            options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent
        )
        slots = shares.slots
        there = retry(lambda: stacks(options, store, asked, slots))
        size, memory = options.stack_size, shares.gpu_memory
        trials = plan(study, done, there, size, slots, memory)
        rows, names = study.rows(), [trial.name for trial in trials]
        now = asked.with_settings(rows, study.seeds).with_stacks(rows, names, slots)
        retry(lambda: store.save_request(now))
        retry(lambda: store.save_failures({}))
        every, wait = options.checkpoint_every, options.patience
        found = sum(s.tasks * (s.run_id(i) in done) for s, i in runs_of(study))
        failed = tuning.run(
            trials,
            store,
            data,
            shares,
            every,
            console,
            len(done),
            wait,
            study.probe_every if options.probe_every is None else options.probe_every,
            found,
            options.look_back or 0,
        )
    with contextlib.suppress(OSError):
        store.save_failures(failed)
    return failed
