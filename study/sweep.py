"""The command that runs a study on Ray, then shows the study's results."""

from __future__ import annotations

import shlex

import attrs

from study.console import Options, console, say
from study.plan import dry_run
from study.plan.trials import Trial
from study.racing.rule import CONFIRM_SEEDS
from study.results.claim import claim
from study.results.files import retry
from study.results.provenance import software
from study.results.store import Store
from study.running.session import FAILED, STOPPED, ConfirmationSession, StudySession
from study.spec.options import SweepOptions
from study.spec.search import Search
from study.spec.studies import Study
from trainables.patience import first_line
from trainables.problems import Problem
from trainables.usage import UsageError, run_command


def sweep(options: Options[SweepOptions]) -> int:
    """Run a study, and skip the runs that are already finished."""
    if options.list:
        console.print(dry_run.study_table())
        return 0
    study = options.load_study()
    store = Store(options.results, study.name, software())
    try:
        retry(store.check_access)
        if options.dry_run:
            _dry_run(options, study, store)
            return 0
        with claim(store) as claimed:
            code = _run(options, study, claimed)
        if code != STOPPED:
            _print_results(study, store)
    except KeyboardInterrupt:
        say("Stopped. Finished runs are saved; run the same command to continue.")
        return STOPPED
    except BrokenPipeError:  # the program that read the output has ended
        raise
    except OSError as error:
        say(
            f"Stopped: storage error: {first_line(error)}. Saved progress is kept; run "
            "the same command again."
        )
        return FAILED
    return code


def _run(options: SweepOptions, study: Study | Search, store: Store) -> int:
    """Run the study, then its best settings with new seeds if an option asks for it.

    Return the exit code of the command.
    """
    seeds, count = study.seeds, options.confirm_seeds
    if isinstance(study, Search):
        # Optuna takes half a second to import
        from study.searching.session import SearchSession

        code, setting_ids = SearchSession(options, study, store).run(), None
    elif options.refine:
        # pandas takes half a second to import
        from study.racing.session import RaceSession

        race = RaceSession(options, study, store)
        code, seeds, count = race.run(), race.seeds, count or CONFIRM_SEEDS
        setting_ids = frozenset(setting.setting_id for setting in race.settings)
    else:
        session = StudySession(options, study, store)
        if session.other_settings:
            say(
                f"{store.location()} also has {session.other_settings} settings of "
                "earlier commands. This command does not run them. If some of their "
                "runs are unfinished, run the earlier commands again."
            )
        code, setting_ids = session.run(), frozenset(study.rows())
    if code or count is None:
        return code
    from study.running.confirm import confirmation

    winners = confirmation(store, seeds=seeds, count=count, setting_ids=setting_ids)
    if winners is None:
        say(
            "No setting is confirmed on new seeds: there are no two methods with "
            "finished runs to compare."
        )
        return 0
    winners = attrs.evolve(winners, landscape_every=study.landscape_every)
    for setting in winners.settings:
        say(f"Will run with new seeds: {Trial(setting, winners.seeds).label}")
    return ConfirmationSession(options, winners, store).run()


def _dry_run(options: SweepOptions, study: Study | Search, store: Store) -> None:
    """Show the unfinished runs and their cost; write nothing."""
    slots = options.local_slots
    if isinstance(study, Search):
        sample = dry_run.sample_trials(study)
        console.print(dry_run.search_table(study))
        say(
            f"The search has {study.trials} trials of {len(study.seeds)} runs each. "
            "The time below is an estimate for all trials, including finished ones. It "
            "assumes that the search tries random settings."
        )
        say(dry_run.duration_line(sample, slots, study.trials / len(sample)))
        return
    session = StudySession(options, study, store, read_only=True)
    trials = session.plan(slots)
    console.print(dry_run.cost_table(study, trials))
    say(f"{session.left} of {session.total} runs are left to run.")
    for line in dry_run.power_lines(study):
        say(line)
    if options.refine:
        say(
            "The table assumes that every setting runs to its end. With --refine, bad "
            "settings stop early. But the best settings run with twice as many seeds, "
            "new values of rho around them are tried, and the winners also run with "
            f"{options.confirm_seeds or CONFIRM_SEEDS} new seeds."
        )
    say(dry_run.duration_line(trials, slots))
    for line in dry_run.gpu_lines(trials):
        say(line)


def _print_results(study: Study | Search, store: Store) -> None:
    """Print the results, and the commands that show more results."""
    location = shlex.quote(store.location())
    if isinstance(study, Search):
        from study.searching.journal import load_search
        from study.searching.report import print_report, save_pareto_front

        if (search := load_search(store)) is not None:
            print_report(store.location(), search)
            save_pareto_front(store, search)
        say(f"python -m study.search_report {location}")
        say(f"python -m analysis table {location}{_measure_option(study.measure)}")
    elif store.finished_runs():
        from analysis.tables import print_tables

        say(f"\nRecords: {store.location('records')}\n")
        for measure in sorted({s.problem.measure for s in study.settings}):
            own = location + _measure_option(measure)
            try:
                print_tables(store.location(), measure=measure)
            except UsageError as error:  # no run with this measure is finished
                say(first_line(error))
            say(f"python -m analysis table {own}")
            say(f"python -m analysis figure accuracy {own} -o accuracy.png")
        say(f"python -m analysis report {location} -o report.html")


def _measure_option(measure: str) -> str:
    """Return the option --measure, with a space before it, if it is needed."""
    return "" if measure == Problem.measure else f" --measure {measure}"


if __name__ == "__main__":
    run_command(sweep, prog="python -m study.sweep")
