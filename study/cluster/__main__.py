"""The cluster command: check cluster.yaml; create and delete what it needs on AWS."""

from __future__ import annotations

import tyro

from study.cluster import checks, summary
from study.cluster.cluster_file import ClusterFile
from study.console import Flag, say
from trainables.command_line import run_command

File = tyro.conf.Positional[str]


def check(file: File = "cluster.yaml", aws: Flag = False) -> int:
    """Show the problems of a cluster file, the versions it runs and its hourly cost.

    Starts and changes nothing. The exit code is 1 if there is a problem.

    Args:
        file: The cluster file, as for `ray up`.
        aws: Also ask AWS whether the image, group, roles and bucket exist.
    """
    cluster = ClusterFile.read(file)
    version_line, version_problems = summary.versions(cluster)
    cost_line, cost_problems = summary.cost(cluster)
    problems = checks.problems(cluster) + version_problems + cost_problems
    if aws:
        from study.cluster.aws import problems as aws_problems

        problems += aws_problems(cluster)
    for line in [*(f"{file}: {problem}" for problem in problems), version_line]:
        say(line)
    say(cost_line)
    count = f"{len(problems)} problems" if problems else "no problems found"
    say(count if aws else f"{count} (AWS not asked; use --aws)")
    return 1 if problems else 0


def prepare(file: File = "cluster.yaml") -> int:
    """Create the token, the roles and the security group, and fill in the cluster file.

    Uses what exists already. None of it costs anything; `remove` deletes it.

    Args:
        file: The cluster file; its placeholders for group and image are replaced.
    """
    from study.cluster.prepare import prepare

    prepare(ClusterFile.read(file))
    return 0


def remove(file: File = "cluster.yaml") -> int:
    """Delete the roles and the security group that `prepare` created.

    Args:
        file: The cluster file, which names the cluster.
    """
    from study.cluster.prepare import remove

    remove(ClusterFile.read(file))
    return 0


if __name__ == "__main__":
    run_command(
        {"check": check, "prepare": prepare, "remove": remove},
        prog="python -m study.cluster",
        description="Prepare a Ray cluster on AWS and check its file.",
    )
