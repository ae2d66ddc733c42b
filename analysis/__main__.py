"""Command line: python -m analysis report, table, figure NAME and so on, and RESULTS.

Slow packages are imported inside the commands, so that help and wrong calls answer at
once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from trainables.usage import UsageError, run_command

Results = Annotated[
    str,
    tyro.conf.arg(
        metavar="RESULTS",
        help="Studies, a study, its records or one .parquet; or s3://bucket/prefix.",
    ),
]
Where = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="FILTER",
        help="Only these records, for example \"optimizer = 'sam' and lr = 0.01\".",
    ),
]
Format = Annotated[
    Literal["rich", "markdown", "latex", "csv"],
    tyro.conf.arg(
        help="rich is for the terminal; csv has fractions and other numbers in full "
        "precision."
    ),
]
Study = Annotated[str | None, tyro.conf.arg(metavar="NAME", help="Only this study.")]
Problem = Annotated[
    str | None, tyro.conf.arg(metavar="NAME", help="Only this problem.")
]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
RequiredName = Annotated[str, tyro.conf.arg(metavar="NAME")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")]
Output = Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def table(
    results: Results = "results", /, format: Format = "rich", where: Where = None
) -> None:
    """Print how test accuracy changes along the stream, a row per setting.

    These are Tables 1 and 2 of the paper: beside the mean change from task to task,
    the least-squares slope, the ends of the stream, the number of runs and how many
    diverged. 95% t-intervals are over seeds. Seeds that are missing are named.
    """
    from analysis.tables.printing import print_tables

    print_tables(results, format, where)


def figure(
    name: Name = None,
    results: Results = "results",
    /,
    output: Output = None,
    study: Study = None,
    problem: Problem = None,
    metric: Name = None,
    setting: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = (),
    where: Where = None,
    size: Literal["one-column", "two-column"] | None = None,
    list: Flag = False,
) -> None:
    """Draw a figure into a file; --list lists the figures.

    Lines are means over seeds with their 95% t-bands. A file whose name ends in .csv
    gets the numbers of the figure.

    Args:
        name: The figure; --list lists them.
        output: The file; its suffix (.png, .svg, .pdf or .csv) is its format.
        metric: Draw this metric, in the figure rho: plasticity_loss, accuracy_slope,
            relative_plasticity_loss and so on.
        setting: Draw only these, by setting_id (table --format csv lists the IDs).
        size: As wide as one column of a paper (3.35 inches), or as two (7).
        list: List the figures, and draw none.
    """
    from analysis.figures import FIGURES
    from analysis.figures.to_file import FigureRequest, draw_to_file

    if list:
        for key, entry in FIGURES.items():
            print(f"{key}  {entry.meaning}")
    elif not name:
        raise UsageError("no figure named: python -m analysis figure --list lists them")
    elif not output:
        raise UsageError("no output file: give one with --output FILE.png")
    else:
        request = FigureRequest(
            name=name,
            results=results,
            study=study,
            problem=problem,
            metric=metric,
            settings=setting,
            where=where,
            size=size,
        )
        draw_to_file(request, output)
        print(f"wrote {output}")


def compare(
    results: Results = "results",
    /,
    baseline: RequiredName = "sgd",
    metric: RequiredName = "plasticity_loss",
    format: Format = "rich",
    study: Study = None,
    problem: Problem = None,
) -> None:
    """Compare every setting with a baseline, paired by seed, and confirm the winner.

    Each setting is compared with the baseline with all else equal, and with the best of
    the baseline: the difference with its 95% t-interval, a paired t-test with Holm's
    correction over all comparisons, and the effect size. The winner is judged on seeds
    that did not choose it, if there are any. Runs that diverged or are missing are
    named.

    Args:
        baseline: An optimizer, an intervention, or none: no intervention.
        metric: plasticity_loss, accuracy_slope, mean_accuracy and so on; relative_...:
            of accuracy minus that of a network that is fresh on every task.
    """
    from analysis.tables.comparison import print_comparison

    print_comparison(results, baseline, metric, format, study, problem)


def relate(
    results: Results = "results",
    /,
    probe: Names = ("start_sharpness",),
    skip: int = 1,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Correlate a probe, such as sharpness before a task, with test accuracy.

    Spearman's rank correlation within each setting, over the tasks of each run, and
    between settings, over each seed's means: apart, so that a difference between
    settings does not look like a cause. 95% t-intervals are over seeds.

    Args:
        probe: Columns of the records: start_sharpness, start_effective_rank and so on.
        skip: How many first tasks to leave out: before task 0 nothing is learned yet.
    """
    from analysis.tables.relations import print_relation

    print_relation(results, probe, skip, format, where)


def about(
    results: Results = "results", /, format: Format = "rich", where: Where = None
) -> None:
    """Print what was run: settings, seeds, code, machines, time, and what is missing.

    For a running study it says how many of the runs are finished. With --format csv it
    is the number of runs by outcome, a row per setting.
    """
    from analysis.tables.about import print_about

    print_about(results, format, where)


def report(results: Results = "results", /, output: Output = None) -> int:
    """Write one page with all results: what was run and what came out.

    It has tables, figures with their numbers, the comparison with intervals and
    corrected tests, the runs that diverged or are missing, the meaning of every number,
    and beside each part the command that makes it.

    Args:
        output: The page, as report.html: one file that needs no network.
    """
    from analysis.report.report import write_report

    if not output:
        raise UsageError("no output file: give one with --output report.html")
    return write_report(results, output)


def export(
    results: Results = "results",
    /,
    output: Output = None,
    runs: Flag = False,
    where: Where = None,
) -> None:
    """Write the records into one file, for R, DuckDB or a spreadsheet.

    Args:
        output: The file; its suffix (.csv or .parquet) is its format.
        runs: A row per run, with every metric, instead of a row per run and task.
    """
    from analysis.tables.export import write_export

    if not output:
        raise UsageError("no output file: give one with --output FILE.csv")
    print(write_export(results, output, runs, where))


def sql(
    results: Results,
    query: Annotated[str, tyro.conf.arg(metavar="SELECT")],
    /,
    format: Format = "rich",
) -> None:
    """Print the rows of a SELECT over the tables records and runs.

    records has a row per run and task, runs a row per run with every metric, as in
    export --runs. The SQL is DuckDB's; it cannot read or write files.

    Args:
        query: For example "SELECT optimizer, avg(mean_accuracy) FROM runs GROUP BY 1".
    """
    from analysis.tables.export import print_query

    print_query(results, query, format)


def diff(
    a: Annotated[str, tyro.conf.arg(metavar="A")],
    b: Annotated[str, tyro.conf.arg(metavar="B")],
    /,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Show what differs between two results of the same settings.

    With other code or on another machine: which records are equal to the bit, which
    numbers moved, and whether by more than the 95% t-interval of the difference over
    seeds.

    Args:
        a: Results, as for any other command.
        b: Results to compare with them; the differences are B less A.
    """
    from analysis.tables.diff import print_difference

    print_difference(a, b, format, where)


if __name__ == "__main__":
    commands = (report, table, figure, compare, relate, about, export, sql, diff)
    run_command(
        {command.__name__: command for command in commands},
        prog="python -m analysis",
        description="Reports, tables, figures and comparisons of recorded results.",
    )
