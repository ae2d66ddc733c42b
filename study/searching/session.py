"""One session of a search: run what is left of it, and say what became of it."""

from __future__ import annotations

import contextlib

import attrs
from rich.console import Console

from study.results.files import retry
from study.results.store import Store
from study.running.session import FAILED, STOPPED, Tell, finished
from study.searching.proposals import Proposals
from study.spec.options import Options
from study.spec.search import Search
from trainables import datasets
from trainables.request import Request, stack_name

AGAIN = "give the same command again to go on."


def run_search(
    options: Options, search: Search, store: Store, console: Console, tell: Tell
) -> int:
    """Run what is left of a search, whose results are ours; return the exit code.

    Raises:
        UsageError: The results hold another search.
        OSError: Storage fails.
    """
    asked = retry(lambda: store.load_request(repair=True))
    store.delete_partial_files()
    proposals = retry(lambda: Proposals(search, store, tell, options.patience))
    proposals.resume(finished(store, tell))
    drop_states(proposals, store)
    if not proposals.left:
        tell(f"All {proposals.over} trials of {search.name} are done: none is left.")
        return 0
    now = attrs.evolve(asked, search=search.asked() | {"trials": search.trials})
    try:
        failed = _run(options, proposals, store, now, console, tell)
    except KeyboardInterrupt:
        tell(f"Stopped: {proposals.left} of {search.trials} trials are left; {AGAIN}")
        return STOPPED
    finally:
        with contextlib.suppress(OSError):
            drop_states(proposals, store)
    with contextlib.suppress(OSError):
        store.save_failures(failed)
    if failed:
        return FAILED
    if proposals.over < search.trials:
        tell(f"Stopped: {proposals.left} of {search.trials} trials are left; {AGAIN}")
        return STOPPED
    return 0


def drop_states(proposals: Proposals, store: Store) -> None:
    """Delete the checkpoints of trials that have ended, as those stopped early.

    Raises:
        OSError: Storage fails.
    """
    there = {stack_name(*stack) for stack in store.interrupted_stacks()}
    for name in there.intersection(proposals.ended()):
        store.drop_state(name)


def _run(
    options: Options,
    proposals: Proposals,
    store: Store,
    asked: Request,
    console: Console,
    tell: Tell,
) -> dict[str, str]:
    """Run what is left; return why trials failed, by their names.

    Raises:
        KeyboardInterrupt: It was stopped.
    """
    search = proposals.search
    data = {name: datasets.load(name, options.data_dir) for name in search.datasets}
    # Ray takes a second to import, which no wrong call should wait for
    from ray import tune

    from study.running import reach, tuning
    from study.running.shares import share_out
    from study.searching.searcher import Halving, Proposer, SearchedTrainable
    from study.searching.tally import SearchTally
    from trainables.trainable import ContinualTrainable

    with tuning.connected(options.address, console, search.name):
        reach.check(store, tell)
        shares = share_out(
            options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent
        )
        now = attrs.evolve(asked, slots=max(asked.slots, shares.slots))
        retry(lambda: store.save_request(now))
        console.print(
            f"{search.name}: {proposals.left} of {search.trials} trials, "
            f"{len(search.seeds)} seeds each, {shares.told}",
            soft_wrap=True,
        )
        tally = SearchTally(search.trials, lambda: proposals.over)
        config = tune.TuneConfig(
            search_alg=Proposer(proposals, tally, shares.cpus, shares.gpus),
            scheduler=Halving(proposals, tally) if search.asha else None,
            num_samples=-1,  # the proposer says when there are no more
            max_concurrent_trials=shares.slots,
            reuse_actors=True,
        )
        shared = {
            "datasets": data,
            "keeper": store,
            "checkpoint_every": options.checkpoint_every,
            "patience": options.patience,
            "probe_every": options.probe_every,
            "look_back": options.look_back or 0,
        }
        trainable = SearchedTrainable if search.asha else ContinualTrainable
        outcome = tuning.fit(trainable, shared, config, tally, console)
        return tuning.failures(tally, outcome, console)
