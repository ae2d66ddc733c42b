"""The command that makes ready for a cluster on AWS, and says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from study.cluster import rules as cluster_rules
from study.cluster.file import read
from study.cluster.outlook import cost, versions
from trainables.command_line import run_command

Flag = tyro.conf.FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Check:
    """Say all that is wrong with a cluster's file, what would run, and what it costs.

    Attributes:
        file: As `ray up` has it.
        aws: Ask AWS too whether what the file names is there; changes nothing.
    """

    file: tyro.conf.Positional[str] = "cluster.yaml"
    aws: Flag = False


@dataclass(frozen=True)
class File:
    """A cluster's file.

    Attributes:
        file: As `ray up` has it.
    """

    file: tyro.conf.Positional[str] = "cluster.yaml"


def check(
    options: Annotated[tyro.conf.OmitArgPrefixes[Check], tyro.conf.arg(name="")],
) -> int:
    """Say all that is wrong with a cluster's file, what would run, and what it costs.

    Nothing is started or changed. The exit code is 1 where anything is wrong.
    """
    file = read(options.file)
    found = cluster_rules.findings(file)
    ran, clashes = versions(file)
    costs, unknown = cost(file)
    found += clashes + unknown
    if options.aws:
        from study.cluster import aws as cluster_aws

        found += cluster_aws.findings(file)
    for line in found:
        print(f"{file.path}: {line}")
    print(ran)
    print(costs)
    asked = "AWS was asked" if options.aws else "AWS was not asked, --aws does"
    print(f"{len(found) or 'nothing'} wrong; {asked}")
    return 1 if found else 0


def prepare(
    options: Annotated[tyro.conf.OmitArgPrefixes[File], tyro.conf.arg(name="")],
) -> int:
    """Make the token, the roles and the security group, and fill the file in.

    What is there already is used. None of it costs anything; `remove` deletes it.
    """
    from study.cluster import prepare as cluster_prepare

    cluster_prepare.prepare(read(options.file), print)
    return 0


def remove(
    options: Annotated[tyro.conf.OmitArgPrefixes[File], tyro.conf.arg(name="")],
) -> int:
    """Delete the roles and the security group that `prepare` made."""
    from study.cluster import prepare as cluster_prepare

    cluster_prepare.remove(read(options.file), print)
    return 0


if __name__ == "__main__":
    run_command(
        {"check": check, "prepare": prepare, "remove": remove},
        prog="python -m study.cluster",
        description="A Ray cluster on AWS: check its file, make what it needs.",
    )
