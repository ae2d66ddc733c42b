"""The command line `python -m analysis COMMAND RESULTS`, for example `table results`.

Each command imports slow packages itself, so that `--help` and error messages appear at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trainables.usage import UsageError, run_command

if TYPE_CHECKING:
    from analysis.comparing.compare import Question
    from analysis.statistics.metrics import Metric

Results = Annotated[
    str,
    tyro.conf.arg(
        metavar="RESULTS",
        help="One of: a folder of studies, the folder of one study, the folder records "
        "in it, a .parquet file. RESULTS is a path, or a URI such as s3://bucket/a.",
    ),
]
Where = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="FILTER",
        help="Use only the records that match this SQL condition, for example "
        "\"optimizer = 'sam' and lr = 0.01\".",
    ),
]
Tasks = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="START:STOP",
        help="Use only the tasks from START to STOP - 1, as if the stream had no other "
        "tasks. '1:' leaves out the first task, '0:10' uses the first ten.",
    ),
]
Format = Annotated[
    Literal["rich", "markdown", "latex", "csv"],
    tyro.conf.arg(
        help="Output format. rich is for the terminal. csv has all numbers in full "
        "precision, and fractions instead of percent."
    ),
]
Study = Annotated[
    str | None, tyro.conf.arg(metavar="NAME", help="Use only this study.")
]
Problem = Annotated[
    str | None, tyro.conf.arg(metavar="NAME", help="Use only this problem.")
]
Measure = Annotated[
    Literal[
        "test_accuracy",
        "online_accuracy",
        "train_loss",
        "mean_return",
        "last_return",
        "return_gap",
        "value_error",
    ]
    | None,
    tyro.conf.arg(
        help="The measure from which the metrics are computed. The default is "
        "test_accuracy, or in problems of control the measure of the problem: "
        "mean_return, return_gap or value_error. online_accuracy is measured while the "
        "network learns a task, before each update. last_return is the return in the "
        "last tenth of a level."
    ),
]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
RequiredName = Annotated[str, tyro.conf.arg(metavar="NAME")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
Output = Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def table(
    results: Results = "results",
    /,
    measure: Measure = None,
    format: Format = "rich",
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Print how accuracy changes along the stream of tasks, one row per setting.

    The tables are Tables 1 and 2 of Koster & Kukla 2024 with more columns. Columns: the
    change of accuracy from the first task to the last, the least-squares slope, the
    accuracy on the first task, on the last task and in the last tenth of the tasks, the
    number of runs, and the number of runs that diverged. The 95% t-intervals are over
    seeds. A note lists missing seeds.
    """
    from analysis.records.load import Selection
    from analysis.records.measure import default_measure
    from analysis.tables import print_tables

    shown = measure or default_measure(results)
    print_tables(results, format, Selection(where, tasks), shown)


def figure(
    name: Name = None,
    results: Results = "results",
    /,
    output: Output = None,
    study: Study = None,
    problem: Problem = None,
    metric: Name = None,
    measure: Measure = None,
    baseline: RequiredName = "sgd",
    setting: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = (),
    where: Where = None,
    tasks: Tasks = None,
    size: Literal["one-column", "two-column"] | None = None,
    list: Flag = False,
) -> None:
    """Draw a figure and save it as a file.

    Each line is a mean over seeds, and the band around the line is its 95% interval.
    If the file name ends in .csv, the file gets the numbers of the figure.

    Args:
        name: The name of the figure; --list lists all names.
        output: The file to write. The suffix (.png, .svg, .pdf or .csv) sets the
            format.
        metric: The metric to draw, for example plasticity_loss, accuracy_slope or
            relative_plasticity_loss. Only the figures rho and forest use this option.
        baseline: The baseline of the figures forest and difference, as in compare.
        setting: Draw only the settings with these setting_ids (table --format csv
            lists the IDs).
        size: The width: one column of a paper (3.35 inches) or two columns (7 inches).
        list: List the figures and draw nothing.
    """
    from analysis.figures import FIGURES
    from analysis.figures.to_file import FigureRequest, draw_to_file

    if list:
        for key, entry in FIGURES.items():
            print(f"{key}  {entry.meaning}")
    elif not name:
        raise UsageError(
            "the command needs the name of a figure, for example accuracy "
            "(python -m analysis figure --list lists all names)"
        )
    elif not output:
        raise UsageError("no output file: give one with --output FILE.png")
    else:
        request = FigureRequest(
            name=name,
            results=results,
            study=study,
            problem=problem,
            metric=metric,
            measure=measure,
            baseline=baseline,
            settings=setting,
            where=where,
            tasks=tasks,
            size=size,
        )
        draw_to_file(request, output)
        print(f"wrote {output}")


def compare(
    results: Results = "results",
    /,
    baseline: RequiredName = "sgd",
    metric: RequiredName = "late_accuracy",
    measure: Measure = None,
    margin: Number = None,
    detect: Number = None,
    format: Format = "rich",
    study: Study = None,
    problem: Problem = None,
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Compare every setting, and the best of each method, with a baseline.

    Runs with the same seed are compared. Each setting is compared with the baseline
    whose other values are all equal, and with the best baseline. The best setting of
    each method is compared with the best baseline on seeds that were not used to choose
    these two. The tables show the difference with its 95% t-interval, a paired t-test
    with Holm's correction over each study and problem, and the smallest true difference
    that the test finds with a probability of 80%.

    Args:
        baseline: An optimizer (sgd), a base (adam, or plain for none), or a remedy
            (redo, weight_decay, or none for no remedy).
        metric: The metric to compare: late_accuracy, plasticity_loss, peak_loss,
            accuracy_slope, mean_accuracy and so on. relative_NAME is the same metric
            after the accuracy of a network that is reset at every task is subtracted.
        margin: Differences smaller than this number, in the unit of the table, count as
            zero. The default is 0.5 points, 0.005 nats or a return of 5.
        detect: Print how many seeds are needed to find a difference of this size, in
            the unit of the table.
    """
    from analysis.records.load import Selection
    from analysis.tables.comparison import print_comparison

    _check_positive("--detect", detect)
    chosen = _metric(results, metric, measure)
    question = _question(chosen, baseline, study, problem, margin)
    selection = Selection(where, tasks)
    print_comparison(results, question, format, detect=detect, selection=selection)


def dose(
    results: Results = "results",
    /,
    metric: RequiredName = "late_accuracy",
    measure: Measure = None,
    margin: Number = None,
    format: Format = "rich",
    study: Study = None,
    problem: Problem = None,
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Print up to which rho an optimizer is as good as SGD, and from which it is worse.

    The settings that differ only in rho form a curve. Each setting is compared with
    SGD, which has no ascent step, with all other values equal and on the same seeds.
    With a probability of 95%, all intervals of a curve contain their true differences.

    Args:
        metric: The level to compare: late_accuracy, mean_accuracy, last_accuracy and so
            on. The slope is shown beside it.
        margin: A loss smaller than this number, in the unit of the table, counts as
            zero. The default is 0.5 points, 0.005 nats or a return of 5.
    """
    from analysis.records.load import Selection
    from analysis.tables.dose import print_dose

    chosen = _metric(results, metric, measure)
    question = _question(chosen, "sgd", study, problem, margin)
    print_dose(results, question, format, Selection(where, tasks))


def law(
    results: Results = "results",
    /,
    metric: RequiredName = "late_accuracy",
    measure: Measure = None,
    format: Format = "rich",
    study: Study = None,
    problem: Problem = None,
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Print from which rho networks fail, and whether a good rho depends on the lr.

    The first table has the rho at which half of SGD's accuracy above chance is lost,
    for each batch size and learning rate. The second table shows how well one curve
    over a variable, for example rho / lr, predicts the lost share of accuracy for all
    batch sizes and learning rates. The third table has the exponents of the learning
    rate and of the batch size that predict this share best, with 95% intervals.

    Args:
        metric: The level of which a share is lost: late_accuracy, mean_accuracy,
            last_accuracy and so on.
    """
    from analysis.records.load import Selection
    from analysis.tables.law import print_law

    chosen = _metric(results, metric, measure)
    question = _question(chosen, "sgd", study, problem)
    print_law(results, question, format, Selection(where, tasks))


def claims(results: Results = "results", /, format: Format = "rich") -> None:
    """Print for each claim of Koster & Kukla 2024 whether the records support it.

    A claim is supported, contradicted, undecided or not measured. The tables have the
    number that decides with its 95% t-interval, the command that prints this number,
    and the rule of the decision. For an undecided claim, they also have the smallest
    true difference that would have been found.
    """
    from analysis.tables.claims import print_claims

    print_claims(results, format)


def replication(
    results: Results = "results",
    /,
    format: Format = "rich",
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Print published numbers beside our numbers, and say which are reproduced.

    A setting is compared with a publication if all its values equal the values of the
    published experiment. The studies dohare-2024 and kumar-2023 have such settings.
    """
    from analysis.records.load import Selection
    from analysis.tables.replication import print_replication

    print_replication(results, format, Selection(where, tasks))


def relate(
    results: Results = "results",
    /,
    probe: Names = (),
    skip: int = 1,
    format: Format = "rich",
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Correlate probes before a task, such as sharpness, with accuracy on the task.

    A probe is a measurement of the network. The first table shows which probes announce
    that the next task is learned worse than the trend along the stream predicts. Then a
    table of each probe shows Spearman's rank correlation in two ways. "Within" is over
    the tasks of each run of one setting. "Between" is over the settings, from the mean
    of each run. "Within" and "between" are separate, because a difference between
    settings is no evidence of a cause. The intervals are over seeds.

    Args:
        probe: Columns of the records to correlate, for example start_sharpness or
            start_effective_rank. By default, the first table has all measured probes,
            and start_sharpness has a table of its own.
        skip: How many tasks to leave out at the start of the stream. The default leaves
            out task 0, because before task 0 the network has learned nothing.
    """
    from analysis.records.load import Selection
    from analysis.tables.relations import print_relation

    print_relation(results, probe or None, skip, format, Selection(where, tasks))


def about(
    results: Results = "results", /, format: Format = "rich", where: Where = None
) -> None:
    """Print the settings, seeds, code, machines and time of a study, and missing runs.

    While a study is running, the output also shows how many of its runs are finished.
    With --format csv the output has one row per setting, with the number of runs that
    are complete, diverged, incomplete or missing.
    """
    from analysis.tables.about import print_about

    print_about(results, format, where)


def report(results: Results = "results", /, output: Output = None) -> int:
    """Write one HTML page with all settings and results.

    The page has the tables, the figures with their numbers, and the comparison with
    intervals and corrected tests. It lists the runs that diverged or are missing and
    explains every number. Each part shows the command that prints this part alone.

    Args:
        output: The page to write, for example report.html. The page is one file that
            opens without a network.
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
    without: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN")] = (),
    digits: int | None = None,
    where: Where = None,
    tasks: Tasks = None,
) -> None:
    """Write the records to one file, for R, DuckDB or a spreadsheet.

    Args:
        output: The file to write. The suffix (.csv or .parquet) sets the format.
        runs: Write one row per run, with every metric. Without this option the file
            has one row per run and task.
        without: Leave out the measures whose names match these patterns, for example
            'layer_*', which makes the file half as large.
        digits: Round the measures, but not fractions such as accuracy, to this many
            significant digits. With 4, the file is much smaller than with all digits.
    """
    from analysis.records.load import Selection
    from analysis.tables.export import write_export

    if not output:
        raise UsageError("no output file: give one with --output FILE.csv")
    selection = Selection(where, tasks)
    print(write_export(results, output, runs, selection, without, digits))


def import_(
    file: Annotated[str, tyro.conf.arg(metavar="FILE.csv")],
    /,
    output: Annotated[
        str, tyro.conf.arg(aliases=["-o"], metavar="RESULTS")
    ] = "results",
    study: Name = None,
    problem: RequiredName = "imported",
) -> None:
    """Read accuracies that another program measured, so that all commands work on them.

    FILE.csv has the columns run (or seed), task and accuracy, and a row per run and
    task. Other columns, for example optimizer and lr, describe the setting. But a
    column of numbers that change within a run is a measure. The file can also have a
    row per run and a column per task, named 0, 1, 2, ... Accuracies are fractions from
    0 to 1. Two settings are compared by their runs with the same seed.

    Args:
        output: The folder of results. The records are written to RESULTS/STUDY/records.
        study: The name of the study. The default is the name of the file.
        problem: The name of the stream of tasks, if there is no column problem.
    """
    from analysis.records.csv_import import import_csv

    print(import_csv(file, output, study, problem))


def sql(
    results: Results,
    query: Annotated[str, tyro.conf.arg(metavar="SELECT")],
    /,
    format: Format = "rich",
) -> None:
    """Run a SELECT on the results and print its rows.

    There are two tables. The table records has one row per run and task. The table runs
    has one row per run, with every metric (as in export --runs). The query is in
    DuckDB's SQL and cannot read or write files.

    Args:
        query: The SELECT, for example
            "SELECT optimizer, avg(mean_accuracy) FROM runs GROUP BY 1".
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

    Use this command after a change of the code or on another machine. The output shows
    which records are equal bit for bit and which numbers changed. For each metric, it
    shows the mean difference over seeds with its 95% t-interval.

    Args:
        a: The first results: a folder, a .parquet file or a URI.
        b: The second results. The differences are B minus A.
    """
    from analysis.tables.diff import print_difference

    print_difference(a, b, format, where)


def _metric(results: str, name: str, measure: str | None) -> Metric:
    """Return a metric of a measure; None means the measure of the problems.

    Raises:
        UsageError: The metric is unknown, or the results cannot be read.
    """
    from analysis.records.measure import default_measure
    from analysis.statistics.metrics import find_metric

    return find_metric(name, measure or default_measure(results))


def _question(
    metric: Metric,
    baseline: str,
    study: str | None,
    problem: str | None,
    margin: float | None = None,
) -> Question:
    """Return the question that the options of a command ask.

    Raises:
        UsageError: --margin is not above 0.
    """
    from analysis.comparing.compare import Question
    from analysis.statistics.metrics import MEASURES

    _check_positive("--margin", margin)
    scale = MEASURES[metric.measure].scale
    return Question(
        metric=metric,
        baseline=baseline,
        study=study,
        problem=problem,
        **({} if margin is None else {"margin": margin / scale}),
    )


def _check_positive(option: str, value: float | None) -> None:
    """Raise a UsageError if an option is given but is not above 0."""
    if value is not None and not value > 0:
        raise UsageError(f"{option} is {value:g}: give a number above 0")


if __name__ == "__main__":
    commands = (
        *(report, claims, table, figure, compare, dose, law, replication, relate),
        *(about, export, import_, sql, diff),
    )
    run_command(
        {command.__name__.rstrip("_"): command for command in commands},
        prog="python -m analysis",
        description="Make reports, tables, figures and comparisons of results.",
    )
