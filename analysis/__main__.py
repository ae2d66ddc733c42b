"""The command: python -m analysis report, table, figure NAME and so on, and RESULTS.

Nothing heavy is imported before the arguments are known to be right, so that help and
mistakes answer at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from trainables.command_line import run_command
from trainables.usage import UsageError

Results = Annotated[str, tyro.conf.arg(metavar="RESULTS")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
Output = Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
Where = Annotated[str | None, tyro.conf.arg(metavar="FILTER")]
Format = Literal["rich", "markdown", "latex", "csv"]


def table(
    results: Results = "results",
    /,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Print how test accuracy goes along the stream, a row a setting (Tables 1 and 2).

    Beside the paper's mean change from task to task stand the least-squares slope, the
    ends of the stream, the number of runs and how many diverged; 95% t-intervals are
    over seeds. Seeds that are missing are named, never averaged over in silence.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        format: rich is for the terminal; csv has plain fractions in full precision.
        where: Only these records, as "optimizer = 'sam' and lr = 0.01".
    """
    from analysis.tables.printing import print_tables

    print_tables(results, format, where)


def figure(
    name: Name = None,
    results: Results = "results",
    /,
    output: Output = None,
    study: Name = None,
    problem: Name = None,
    metric: Name = None,
    setting: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = (),
    where: Where = None,
    size: Literal["one-column", "two-column"] | None = None,
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Draw a figure into a file; --list says what there is to draw.

    Lines are means over seeds with their 95% t-bands. A file that ends in .csv gets
    the numbers that are drawn.

    Args:
        name: Which figure; --list has them.
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        output: The file; its suffix (.png, .svg, .pdf or .csv) is its format.
        study: Draw this study, where there are several.
        problem: Draw this problem only.
        metric: Draw this metric, in the figure rho: plasticity_loss, accuracy_slope,
            relative_plasticity_loss and so on.
        setting: Draw only these, by setting_id (table --format csv has them).
        where: Draw only these records, as "optimizer = 'sam' and lr = 0.01".
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
    baseline: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sgd",
    metric: Annotated[str, tyro.conf.arg(metavar="NAME")] = "plasticity_loss",
    format: Format = "rich",
    study: Name = None,
    problem: Name = None,
) -> None:
    """Compare every setting with a baseline, paired by seed, and confirm the winner.

    Each setting stands against the baseline with all else equal, and against its best:
    the difference with its 95% t-interval, a paired t-test with Holm's correction over
    all that is compared, and the effect size. The winner is judged on seeds that did
    not choose it, where there are any. Runs that diverged or are missing are named.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        baseline: An optimizer, an intervention, or none: no intervention.
        metric: plasticity_loss, accuracy_slope, mean_accuracy and so on; relative_...:
            of accuracy less that of a network that is fresh on every task.
        format: rich is for the terminal; csv has plain fractions in full precision.
        study: Compare within this study only.
        problem: Compare on this problem only.
    """
    from analysis.tables.comparison import print_comparison

    print_comparison(results, baseline, metric, format, study, problem)


def relate(
    results: Results = "results",
    /,
    probe: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (
        "start_sharpness",
    ),
    skip: int = 1,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Tell whether a probe goes with test accuracy, as sharpness before a task.

    Spearman's rank correlation within each setting, over the tasks of each run, and
    between settings, over each seed's means: apart, so that what differs between
    settings cannot pass for a cause. 95% t-intervals are over seeds.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        probe: Columns of the records, as start_sharpness or start_effective_rank.
        skip: First tasks to leave out: before task 0 nothing has been learned yet.
        format: rich is for the terminal; csv has plain numbers in full precision.
        where: Only these records, as "optimizer = 'sam' and lr = 0.01".
    """
    from analysis.comparing.relations import print_relation

    print_relation(results, probe, skip, format, where)


def about(
    results: Results = "results",
    /,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Print what was run: settings, seeds, code, machines, time, and what is missing.

    Of a study that is still running it says how much is there.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        format: rich is for the terminal; csv has how each setting's runs stand.
        where: Only these records, as "optimizer = 'sam' and lr = 0.01".
    """
    from analysis.tables.about import print_about

    print_about(results, format, where)


def report(results: Results = "results", /, output: Output = None) -> int:
    """Write one page with all results: what was run and what came out.

    It has tables, figures with their numbers, the comparison with intervals and
    corrected tests, the runs that diverged or are missing, the meaning of every number,
    and beside each part the command that makes it.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
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
    runs: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    where: Where = None,
) -> None:
    """Write the records into one file, for R, DuckDB or a spreadsheet.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        output: The file; its suffix (.csv or .parquet) is its format.
        runs: A row a run, with every metric, instead of a row a run and task.
        where: Only these records, as "optimizer = 'sam' and lr = 0.01".
    """
    from analysis.tables.export import write_export

    if not output:
        raise UsageError("nowhere to write to: give a file with --output FILE.csv")
    print(write_export(results, output, runs, where))


def diff(
    one: Annotated[str, tyro.conf.arg(metavar="A")],
    other: Annotated[str, tyro.conf.arg(metavar="B")],
    /,
    format: Format = "rich",
    where: Where = None,
) -> None:
    """Say what differs between two results of the same settings.

    Other code, another machine: which records are equal to the bit, which numbers
    moved, and whether by more than the 95% t-interval of the difference over seeds.

    Args:
        one: Results, as of any other command.
        other: Results to hold against them; differences are these less the others.
        format: rich is for the terminal; csv has plain numbers in full precision.
        where: Only these records of both, as "optimizer = 'sam' and lr = 0.01".
    """
    from analysis.tables.diff import print_difference

    print_difference(one, other, format, where)


if __name__ == "__main__":
    run_command(
        {
            "report": report,
            "table": table,
            "figure": figure,
            "compare": compare,
            "relate": relate,
            "about": about,
            "export": export,
            "diff": diff,
        },
        prog="python -m analysis",
        description="Reports, tables, figures and comparisons from a study's records.",
    )
