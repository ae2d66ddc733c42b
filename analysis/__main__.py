"""The command: python -m analysis table, figure NAME or compare, and RESULTS.

Nothing heavy is imported before the arguments are known to be right, so that help and
mistakes answer at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from trainables.command_line import UsageError, run_command

Results = Annotated[str, tyro.conf.arg(metavar="RESULTS")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


def table(
    results: Results = "results",
    /,
    format: Literal["rich", "markdown", "latex", "csv"] = "rich",
) -> None:
    """Print how test accuracy goes along the stream, a row a setting (Tables 1 and 2).

    Beside the paper's mean change from task to task stand the least-squares slope, the
    ends of the stream, the number of runs and how many diverged; 95% t-intervals are
    over seeds. Seeds that are missing are named, never averaged over in silence.

    Args:
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        format: rich is for the terminal; csv has plain fractions in full precision.
    """
    from analysis.tables import print_tables

    print_tables(results, format)


def figure(
    name: Name = None,
    results: Results = "results",
    /,
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None,
    study: Name = None,
    problem: Name = None,
    metric: Name = None,
    setting: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = (),
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Draw a figure into a file.

    The figure accuracy is test accuracy by task, a panel a problem, a line a setting:
    the mean over seeds with its 95% t-band (Figures 4 and 5). The figure sharpness
    has sharpness, dormant units, rank and weight norm by task beside accuracy. Of a
    sweep of rho, the figure rho is a heat map over rho and learning rate, and profile
    a line a rate.

    Args:
        name: Which figure; --list has them.
        results: Studies, a study, its records or one .parquet; or s3://bucket/prefix.
        output: The file to write; its suffix (.png, .svg, .pdf) is its format.
        study: Draw this study, where there are several.
        problem: Draw this problem only.
        metric: Draw this one instead, in rho and profile: plasticity_loss,
            accuracy_slope, relative_plasticity_loss and so on.
        setting: Draw only these, by setting_id (table --format csv has them).
        list: List the figures, and draw none.
    """
    from analysis import figures

    if list:
        for key, entry in figures.FIGURES.items():
            print(f"{key}  {entry.meaning}")
    elif not name:
        raise UsageError("no figure named: python -m analysis figure --list has them")
    elif not output:
        raise UsageError("nowhere to draw to: give a file with --output FILE.png")
    else:
        figures.draw_to_file(name, results, output, study, problem, setting, metric)
        print(f"wrote {output}")


def compare(
    results: Results = "results",
    /,
    baseline: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sgd",
    metric: Annotated[str, tyro.conf.arg(metavar="NAME")] = "plasticity_loss",
    format: Literal["rich", "markdown", "latex", "csv"] = "rich",
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
    from analysis.comparison import print_comparison

    print_comparison(results, baseline, metric, format, study, problem)


def relate(
    results: Results = "results",
    /,
    probe: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (
        "start_sharpness",
    ),
    skip: int = 1,
    format: Literal["rich", "markdown", "latex", "csv"] = "rich",
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
    """
    from analysis.relate import print_relation

    print_relation(results, probe, skip, format)


if __name__ == "__main__":
    run_command(
        {"table": table, "figure": figure, "compare": compare, "relate": relate},
        prog="python -m analysis",
        description="Tables, figures and comparisons from the records of a study.",
    )
