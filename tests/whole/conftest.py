"""What tests of survival share: a cluster, and the records that nothing disturbed."""

import pytest

from study.spec.study_file import find_study
from tests.support.chaos import SHORT, TASKS, Nodes
from trainables.run import ContinualRun
from trainables.setting import RunOptions


@pytest.fixture(scope="module")
def nodes():
    """A cluster of a head and two nodes."""
    cluster = Nodes()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def expected(digits):
    """The records of runs that nobody has disturbed, and Ray never saw."""
    study = find_study(SHORT)
    options = RunOptions(landscape_every=study.landscape_every)
    rows = []
    for setting in study.settings:
        run = ContinualRun(setting, study.seeds, digits, options=options)
        rows += [row for _ in range(TASKS) for row in run.next_task()]
    return sorted(rows, key=lambda row: (row["run_id"], row["task"]))
