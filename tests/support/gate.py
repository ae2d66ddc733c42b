"""A sweep whose trials wait at a gate, so that a test can inject a fault meanwhile.

As a script, this module is `study.sweep` with trials that wait after each task while
the gate is closed. A fault then comes at a known point of progress, on any machine:

    gate = Gate(tmp_path / "gate")
    gate.close(tasks=3)      # each stack stops after its third task
    gate.close(learned=20)   # or: all stop when they have learned 20 tasks in total
    ...                      # start `python -m tests.support.gate`, inject a fault
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
    """A file that says at which task trials must wait. Without it, no trial waits."""

    def __init__(self, file):
        self.file = Path(file)

    def close(self, tasks=0, after_files=0, records="", learned=0):
        """Let each stack wait after `tasks` tasks.

        If `after_files` is given, stacks wait only if the folder `records` has at least
        so many files: if at least so many stacks have finished. If `learned` is given,
        stacks wait only if all together have learned at least so many tasks. A task
        that was learned again after a fault counts again.
        """
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps([tasks, after_files, str(records), learned]))
        os.replace(new, self.file)

    @property
    def learned(self):
        """How many tasks all stacks together have learned, with repetitions."""
        return count(self.file)

    def open(self):
        self.file.unlink(missing_ok=True)


def add_one(file):
    """Count one more task: add a byte to the file beside the gate's."""
    with open(f"{file}.learned", "ab") as sink:
        sink.write(b".")


def count(file):
    """Return how many tasks were counted."""
    try:
        return os.path.getsize(f"{file}.learned")
    except FileNotFoundError:
        return 0


def is_closed(file, tasks_done):
    """Return whether a stack with `tasks_done` finished tasks must wait."""
    try:
        tasks, after_files, records, learned = json.loads(Path(file).read_text())
    except FileNotFoundError:
        return False
    files = len(list(Path(records).glob("*.parquet"))) if after_files else 0
    return tasks_done >= tasks and files >= after_files and count(file) >= learned


def gated(trainable, file):
    """Return a trainable that waits at the gate after each task except the last."""

    class Gated(trainable):
        def step(self):
            report = super().step()
            add_one(file)
            while not report["done"] and is_closed(file, report["tasks_done"]):
                time.sleep(0.01)
            return report

    return Gated


def main():
    from ray import tune

    from study.sweep import sweep
    from trainables.usage import run_command

    with_parameters = tune.with_parameters
    # Tune pickles classes of a script by value, so the workers get this class
    tune.with_parameters = lambda trainable, **shared: with_parameters(
        gated(trainable, os.environ[VARIABLE]), **shared
    )
    run_command(sweep, prog="python -m study.sweep", args=sys.argv[1:])


if __name__ == "__main__":
    main()
