"""The command that checks cluster.yaml and manages the cluster's roles on AWS."""

from __future__ import annotations

from study.cluster.check import check
from study.cluster.prepare import prepare, remove
from trainables.usage import run_command

if __name__ == "__main__":
    run_command(
        {"check": check, "prepare": prepare, "remove": remove},
        prog="python -m study.cluster",
        description="Prepare a Ray cluster on AWS, and check its cluster file.",
    )
