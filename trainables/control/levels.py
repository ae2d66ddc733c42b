"""The base class of runs of levels, which measures the returns.

A return is the sum of the rewards of an episode. It is not multiplied by the size of
`Levels.odd_reward`, so that levels can be compared. But it is multiplied by the sign of
`Levels.odd_reward`: a negative number turns a high return into a low one.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from trainables.control.base import ControlRun
from trainables.problems import Levels


@attrs.frozen(eq=False)
class Tally:
    """Sums over the episodes that end in an iteration, for each of S seeds."""

    rewards: np.ndarray  # (S,): the sum of the rewards
    losses: np.ndarray  # (S,): the sum of `Levels.lose`; NaN if it is not known
    episodes: np.ndarray  # (S,): how many episodes ended or were cut

    @classmethod
    def of(
        cls, rewards: np.ndarray, losses: np.ndarray | None, episodes: np.ndarray
    ) -> Tally:
        """Return the sums. The rewards and losses of n steps have the shape (S, n)."""
        unknown = np.full(len(rewards), np.nan)
        lost = unknown if losses is None else losses.sum(axis=1)
        return cls(rewards.sum(axis=1), lost, episodes)


class LevelsRun(ControlRun):
    """Base class: a run in which the network chooses actions."""

    @property
    def problem(self) -> Levels:
        """The problem of the setting."""
        assert isinstance(self.setting.problem, Levels)
        return self.setting.problem

    def _returns(self, tallies: Sequence[Tally]) -> dict[str, Tensor]:
        """Return the measures of a level's returns, from the tally of each iteration.

        The means leave out iterations in which no episode ends. If no episode ends in
        the level, the means are NaN.
        """
        counts = np.stack([tally.episodes for tally in tallies], axis=1)
        sign = np.sign(self.problem.factor(self.task))
        rewards = np.stack([tally.rewards for tally in tallies], axis=1)
        losses = np.stack([tally.losses for tally in tallies], axis=1)
        returns, gaps = sign * _share(rewards, counts), _share(losses, counts)
        reached = returns >= self.problem.threshold
        waited = np.where(np.logical_or.accumulate(reached, axis=1), 0, counts)
        episodes = np.where(reached.any(axis=1), waited.sum(axis=1), np.nan)
        last = max(1, len(tallies) // 10)
        measures = {
            "mean_return": _mean(returns),
            "last_return": _mean(returns[:, -last:]),
            "return_gap": _mean(gaps),
            "episodes": counts.sum(axis=1),
            "threshold_episodes": episodes,
        }
        return {
            name: torch.from_numpy(numbers.astype(float)).to(self.device)
            for name, numbers in measures.items()
        }


def _share(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the sums divided by the counts, or NaN where the count is 0."""
    return np.asarray(np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1))


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the numbers in each row, or NaN if all of them are NaN."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))
