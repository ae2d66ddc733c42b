"""One session of a search: Optuna proposes new trials while other trials run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from study.results.store import Store
from study.running.session import Session
from study.searching.proposals import Proposals
from study.spec.options import SweepOptions
from study.spec.search import Search
from trainables.request import Request, stack_name

if TYPE_CHECKING:
    from study.running.progress import Tally
    from study.running.shares import Shares
    from study.running.tuning import TrialSource
    from study.searching.searcher import SearchTally


class SearchSession(Session):
    """Runs the trials of a search that are left, in one call of the sweep command."""

    unit = "trials"
    study: Search

    def __init__(self, options: SweepOptions, search: Search, store: Store) -> None:
        """Load the results and the trials of earlier sessions of the search."""
        super().__init__(options, search, store)
        self.proposals = Proposals(
            search, store, self.finished, patience=options.patience
        )

    @property
    def total(self) -> int:
        """The number of trials of the search."""
        return self.study.trials

    @property
    def left(self) -> int:
        """The number of trials that are left to run."""
        return self.proposals.left

    def _dataset_names(self) -> tuple[str, ...]:
        return self.study.datasets

    def _prepare(self, shares: Shares) -> tuple[SearchTally, TrialSource, Request]:
        from study.running.tuning import TrialSource
        from study.searching import searcher

        search, tally = self.study, searcher.SearchTally(self.proposals)
        source = TrialSource(
            searcher=searcher.ProposalSearcher(self.proposals, tally, shares)
        )
        if search.asha:
            source = attrs.evolve(
                source,
                scheduler=searcher.Halving(self.proposals, tally),
                trainable=searcher.SearchedTrainable,
            )
        request = attrs.evolve(
            self.request,
            search=search.request() | {"trials": search.trials},
            slots=max(self.request.slots, shares.slots),
        )
        return tally, source, request

    def _headline(self, tally: Tally) -> str:
        search = self.study
        return (
            f"{search.name}: {self.left} of {search.trials} trials are left, "
            f"{len(search.seeds)} seeds each"
        )

    def _ended_stacks(self) -> set[str]:
        stacks = {stack_name(*stack) for stack in self.store.interrupted_stacks()}
        return stacks & self.proposals.ended_stacks()
