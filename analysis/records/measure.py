"""Choose the measure that says how well the networks of a study have learned.

For streams of images, it is the test accuracy. Problems of control have no accuracy,
but a measure of their own, for example the return.
"""

from __future__ import annotations

from collections.abc import Iterable

from analysis.records.request import read_requests
from trainables.problems import PROBLEMS, Levels, Problem

OWN_MEASURES = tuple(dict.fromkeys(kind.measure for kind in PROBLEMS.values()))
"""The measures of all problems. Each is a column of the records."""


def own_measure(problem: str) -> str:
    """Return the measure of a problem. The default is for other programs' problems.

    >>> own_measure("td"), own_measure("permuted"), own_measure("my stream")
    ('value_error', 'test_accuracy', 'test_accuracy')
    """
    known = PROBLEMS.get(problem)
    return (known or Problem).measure


def common_measure(problems: Iterable[str]) -> str:
    """Return the measure that shows as many of the problems as possible.

    Levels of all environments have a mean return. If a problem has an accuracy, the
    measure is the accuracy, which leaves out problems of control.

    >>> common_measure(["grid"]), common_measure(["grid", "cartpole"])
    ('return_gap', 'mean_return')
    >>> common_measure([]), common_measure(["td", "permuted"])
    ('test_accuracy', 'test_accuracy')
    """
    measures = set(map(own_measure, problems)) or {Problem.measure}
    if len(measures) == 1:
        return measures.pop()
    return (Problem if Problem.measure in measures else Levels).measure


def default_measure(results: str) -> str:
    """Return `common_measure` of the problems that the studies in `results` requested.

    Raises:
        UsageError: The folder or bucket `results` cannot be read.
    """
    requests = read_requests(results).values()
    rows = (row for request in requests for row in request.settings.values())
    return common_measure({str(row["problem"]) for row in rows})
