"""The command that shows the results of a search."""

from __future__ import annotations

from typing import Annotated

import attrs
import tyro

from study.console import Options, Text, say
from study.results.store import find_stores
from study.searching.journal import load_search
from study.searching.report import print_report, write_front
from trainables.patience import first_line
from trainables.usage import UsageError, run_command


@attrs.frozen
class SearchReportOptions:
    """Show the best trials of a search, and the importance of each hyperparameter.

    Attributes:
        results: The folder or URI with the results of all studies, or of one search.
        study: The name of one search. By default, show every search in the results.
        output: Also draw the Pareto front to this .png, .svg or .pdf file. The search
            must have two objectives.
    """

    results: tyro.conf.Positional[str] = "results"
    study: Text = None
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None


def search_report(options: Options[SearchReportOptions]) -> None:
    """Print a report of each search; draw the Pareto front if there is an output."""
    stores = find_stores(options.results, options.study)
    try:
        loaded = [(store, load_search(store)) for store in stores]
    except OSError as error:
        raise UsageError(
            f"{options.results}: storage error: {first_line(error)}"
        ) from None
    searches = [(store, search) for store, search in loaded if search is not None]
    if not searches:
        raise UsageError(
            f"no search in {options.results}: run python -m study.sweep search first"
        )
    if options.output and len(searches) > 1:
        names = ", ".join(store.study for store, _ in searches)
        raise UsageError(
            f"--output draws one search, but {options.results} has {len(searches)}: "
            f"choose one with --study ({names})"
        )
    for store, search in searches:
        print_report(store.location(), search)
        if options.output:
            write_front(search, options.output)
            say(f"wrote {options.output}")


if __name__ == "__main__":
    run_command(search_report, prog="python -m study.search_report")
