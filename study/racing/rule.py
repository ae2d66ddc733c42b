"""The rule of a race: when each setting trains, and when it stops.

The settings of one method on one stream are in one race, which looks for the best of
them. Its stages train more and more tasks, then more and more seeds:

    the first 2 seeds, the shares `SHARES` of the tasks
    3, 4, ... seeds, all tasks

After each stage, the settings are compared with the leader, the setting with the best
mean so far of the problem's measure (e.g. test accuracy, or the return in control). A
setting stops if two numbers are clearly worse than the leader's, by more than `ERRORS`
standard errors of the mean difference over the seeds:

- its mean so far
- its predicted mean over the whole stream, if its difference from the leader
  continues along a straight line

The second number keeps a setting that begins low and catches up. After all tasks, the
two numbers are equal, and then only the best `KEPT` of the settings go on. A race ends
when one setting is left.

The rule only saves time. Other seeds judge the winners. So a wrong decision can lead to
a worse winner, but not to a wrong verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from analysis.statistics.metrics import MEASURE, MEASURES, Measure

Reals = npt.NDArray[np.float64]

# a setting stops if it is worse than the leader by more standard errors than this
ERRORS = 2.0
# the shares of the tasks after which the first seeds are compared
SHARES = (0.1, 0.3, 0.6, 1.0)
# the largest share of the settings that go on after all tasks, rounded up
KEPT = 2 / 3
# the number of seeds in the first stages; one seed would show no spread
FIRST_SEEDS = 2
# the number of new seeds that judge the winners, unless --confirm-seeds is given
CONFIRM_SEEDS = 10
# the smallest number of tasks to which a straight line is fitted
LEAST_TASKS = 5


@attrs.frozen
class Stage:
    """A stage of a race: the seeds to train, and the share of the tasks."""

    seeds: tuple[int, ...]
    share: float

    def tasks(self, tasks: int) -> int:
        """Return how many tasks to train of a stream that has `tasks` tasks.

        >>> Stage((0, 1), 0.1).tasks(45)
        5
        """
        return min(tasks, max(LEAST_TASKS, math.ceil(self.share * tasks)))


def stages(seeds: Sequence[int]) -> list[Stage]:
    """Return the stages of a race with these seeds, at least `FIRST_SEEDS`.

    >>> [(len(stage.seeds), stage.share) for stage in stages(range(4))]
    [(2, 0.1), (2, 0.3), (2, 0.6), (2, 1.0), (3, 1.0), (4, 1.0)]
    """
    first = [Stage(tuple(seeds[:FIRST_SEEDS]), share) for share in SHARES]
    more = range(FIRST_SEEDS + 1, len(seeds) + 1)
    return [*first, *(Stage(tuple(seeds[:count]), 1.0) for count in more)]


def judge(
    values: Sequence[Reals | None],
    tasks: int,
    *,
    measure: str = MEASURE,
    only_best: bool = False,
) -> list[str | None]:
    """Return for each setting why it stops, or None if it goes on.

    At least one setting goes on, unless a run of every setting diverged.

    Args:
        values: The measure of each setting so far, of shape (seeds, tasks so far), or
            None if a run of the setting diverged. All settings have the same seeds.
        tasks: The number of tasks of the whole stream.
        measure: A key of `MEASURES`, which says whether a higher value is better.
        only_best: Whether only one setting goes on after all tasks.
    """
    reasons: list[str | None] = [
        "a run diverged" if own is None else None for own in values
    ]
    left = [i for i, own in enumerate(values) if own is not None]
    if len(left) < 2:
        return reasons
    # shape (settings, seeds, tasks so far)
    kind = MEASURES[measure]
    matrix = np.stack([own for own in values if own is not None])
    if not kind.higher:
        matrix = -matrix
    done, order = matrix.shape[2], np.argsort(-matrix.mean((1, 2)), kind="stable")
    differences = matrix - matrix[order[0]]
    scores = np.stack([differences.mean(2), _at_middle(differences, (tasks - 1) / 2)])
    means, errors = scores.mean(2), _standard_errors(scores, order[0])
    worse = (means < -ERRORS * errors).all(0)
    if done == tasks:
        worse[order[1 if only_best else math.ceil(KEPT * len(order)) :]] = True
    side = "below" if kind.higher else "above"
    for i in np.flatnonzero(worse):
        reasons[left[i]] = (
            f"after {done} of {tasks} tasks with {matrix.shape[1]} seeds, its mean "
            f"{kind.words} was {_amount(-means[0, i], kind)} {side} the best"
        )
    return reasons


def _amount(difference: float, kind: Measure) -> str:
    unit = f" {kind.unit_of_difference}" if kind.scale == 100 else ""
    return f"{kind.scale * difference:.2f}{unit}"


def _at_middle(values: Reals, middle: float) -> Reals:
    """Fit a line to the last axis, the tasks so far; return its value at `middle`.

    At the middle of a stream, a line has its mean over the stream.
    """
    task = np.arange(values.shape[-1], dtype=float)
    task -= task.mean()
    if len(task) == 1:  # a point has no slope
        return np.asarray(values[..., 0])
    slopes = values @ task / (task @ task)
    ahead = middle - (values.shape[-1] - 1) / 2
    return np.asarray(values.mean(-1) + ahead * slopes)


def _standard_errors(scores: Reals, leader: int) -> Reals:
    """Return the standard error of each mean over the seeds, the last axis.

    With few seeds, a variance can be too small by chance. So each variance is at least
    the median of the variances of all settings but the leader.
    """
    variances = scores.var(2, ddof=1)
    others = np.delete(variances, leader, axis=1)
    typical = np.median(others, axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.maximum(variances, typical) / scores.shape[2]))
