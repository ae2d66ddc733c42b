"""A sweep whose trials wait at a gate: tests apply a fault at a chosen point of it.

As a script it is `study.sweep` with a trainable that, after each task, waits while the
gate is closed. So a fault comes at a known progress however fast the machine is:

    gate = Gate(tmp_path / "gate")
    gate.close(tasks=3)      # each stack stops after its third task
    ...                      # start `python -m tests.support.gate`, disturb it
    gate.open()
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

VARIABLE = "PLASTICITY_TEST_GATE"
"""The environment variable that names the gate's file to the sweep."""


class Gate:
    """A file that says how far trials may go; without it they do not wait."""

    def __init__(self, file):
        self.file = Path(file)

    def close(self, tasks, after_files=0, records=""):
        """Stop each stack that has this many tasks.

        With `after_files`, stacks stop only once the folder `records` has so many
        files, which is once so many stacks have finished.
        """
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps([tasks, after_files, str(records)]))
        os.replace(new, self.file)

    def open(self):
        self.file.unlink(missing_ok=True)


def is_closed(file, tasks_done):
    """Whether a stack with so many tasks has to wait."""
    try:
        tasks, after_files, records = json.loads(Path(file).read_text())
    except FileNotFoundError:
        return False
    there = len(list(Path(records).glob("*.parquet"))) if after_files else 0
    return tasks_done >= tasks and there >= after_files


def gated(trainable, file):
    """Return a trainable that waits at a gate after each task but the last."""

    class Gated(trainable):
        def step(self):
            report = super().step()
            while not report["done"] and is_closed(file, report["tasks_done"]):
                time.sleep(0.01)
            return report

    return Gated


def main():
    from ray import tune

    from study.sweep import sweep
    from trainables.usage import run_command

    with_parameters = tune.with_parameters
    # Tune sends what is defined in a script to the workers by value, not by name
    tune.with_parameters = lambda trainable, **shared: with_parameters(
        gated(trainable, os.environ[VARIABLE]), **shared
    )
    run_command(sweep, prog="python -m study.sweep", args=sys.argv[1:])


if __name__ == "__main__":
    main()
