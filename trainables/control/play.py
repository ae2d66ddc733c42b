"""Play episodes of a level with the policies of several seeds, all at once.

An iteration of PPO consists of episodes one after the other, until there are enough
steps. The last episode is cut. No episode depends on another, because the weights do
not change during an iteration. So each seed plays `COPIES` episodes side by side (a
wave), and then the next wave. Afterwards, the steps are put in the order of the
episodes. The distribution of the steps is the same as if the episodes were played one
after the other. But a pass through the networks reads their weights once for all
copies, which takes less time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import attrs
import numpy as np

from trainables.problems import Levels

COPIES = 8
"""How many episodes a seed plays side by side; equal to `DQN.steps_per_update`."""

Policy = Callable[[np.ndarray], np.ndarray]
"""The type of a policy: observations (S, copies, _) to logits (S, copies, actions)."""


class Steps(NamedTuple):
    """The n steps of an iteration for each of S seeds, in the order of the episodes."""

    observations: np.ndarray  # (S, n, pixels), float32
    actions: np.ndarray  # (S, n), int64
    before: np.ndarray  # (S, n, numbers), float64: the states before the actions
    states: np.ndarray  # (S, n, numbers), float64: the states after the actions
    following: np.ndarray  # (S, n, pixels), float32: the observations after them
    ended: np.ndarray  # (S, n): whether the step ended the episode
    last: np.ndarray  # (S, n): whether the episode ended or was cut after the step


@attrs.frozen(kw_only=True, eq=False)
class World:
    """A level of each of S seeds."""

    problem: Levels
    offsets: np.ndarray  # (S, 1, pixels): what is added to the observations
    goals: np.ndarray | None = None  # (S, 1, ...), if the environment has goals

    @classmethod
    def of(cls, problem: Levels, seeds: Sequence[int], index: int) -> World:
        """Return level number `index` of these seeds."""
        offsets = np.stack([problem.offset(seed, index) for seed in seeds])[:, None]
        goals = problem.goals(seeds, index)
        return cls(problem=problem, offsets=offsets, goals=goals)

    def start(self, place: int, random: np.random.Generator, copies: int) -> np.ndarray:
        """Return first states of the seed at this place, of shape (copies, numbers)."""
        goal = None if self.goals is None else self.goals[place, 0]
        return self.problem.start(random, copies, goal)

    def step(
        self, state: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the states after the actions, of shape (S, copies, numbers).

        Also return which of these states end their episode, of shape (S, copies).
        """
        return self.problem.step(state, actions, self.goals)

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the observations of states, of shape (S, copies, pixels), float32.

        The offset is added to the float32 observation, as in C-CHAIN's code.
        """
        seen = self.problem.observe(state)
        return np.asarray(seen + self.offsets, np.float32)


def play(
    policy: Policy,
    world: World,
    randoms: Sequence[np.random.Generator],
    steps: int,
    longest: int,
) -> Steps:
    """Play episodes until each of the S seeds has made enough steps.

    Args:
        policy: Takes the observations of all copies of all seeds.
        world: The level of each seed.
        randoms: A random generator for each seed, which draws the first states and the
            actions of this iteration.
        steps: The number of steps n of each seed.
        longest: The number of steps after which an episode is cut.
    """
    seeds, places = len(randoms), np.arange(COPIES)
    state = np.zeros((seeds, COPIES, 0))
    draws = np.zeros((seeds, longest, COPIES))
    running = np.zeros((seeds, COPIES), bool)
    lengths = np.zeros((seeds, COPIES), int)
    collected, clock = np.zeros(seeds, int), np.zeros(seeds, int)
    waves, rows = np.full(seeds, -1), np.arange(seeds)
    done = np.zeros(seeds, bool)
    log: list[tuple[np.ndarray, ...]] = []
    while True:
        for s in np.flatnonzero(~done & ~running.any(axis=1)).tolist():  # a wave
            collected[s] += lengths[s].sum()
            first = world.start(s, randoms[s], COPIES)
            if not state.size:
                state = np.zeros((seeds, *first.shape))
            state[s] = first
            draws[s] = randoms[s].random((longest, COPIES))
            running[s], lengths[s], clock[s] = True, 0, 0
            waves[s] += 1
        observations = world.observe(state)
        actions = choose(policy(observations), draws[rows, clock])
        after, ended = world.step(state, actions)
        lengths += running
        clock += 1
        episode = np.where(running, waves[:, None] * COPIES + places, -1)
        last = ended | (lengths >= longest)
        log.append((observations, actions, state, after, ended, last, episode))
        state = np.where(running[..., None], after, state)
        running &= ~last
        # an episode counts only if all episodes before it have ended
        before = np.logical_and.accumulate(~running, axis=1)
        counts = np.concatenate([np.ones((seeds, 1), bool), before[:, :-1]], axis=1)
        done |= collected + (lengths * counts).sum(axis=1) >= steps
        running &= ~done[:, None]
        clock[done] = 0
        if done.all():
            break
    arrays = [np.stack(parts, axis=1) for parts in zip(*log, strict=True)]
    return _in_order(arrays, world, steps)


def choose(logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return actions with the probabilities softmax(logits).

    `draws` are uniform in [0, 1), of shape (...) for logits of shape (..., actions).
    """
    weights = np.exp(logits.astype(float) - logits.max(axis=-1, keepdims=True))
    bounds = weights.cumsum(axis=-1)
    passed: np.ndarray = draws[..., None] * bounds[..., -1:] >= bounds[..., :-1]
    return np.asarray(passed.sum(axis=-1))


def _in_order(arrays: list[np.ndarray], world: World, steps: int) -> Steps:
    """Return the first steps of each seed, in the order of the episodes.

    The arrays have the shape (S, times, copies, ...). The last array has the number of
    the episode, or -1 where no episode was played.
    """
    *values, episodes = arrays
    taken: list[list[np.ndarray]] = []
    for s, own in enumerate(episodes):
        times, copies = np.nonzero(own >= 0)
        order = np.argsort(own[times, copies], kind="stable")[:steps]
        where = times[order], copies[order]
        taken.append([v[s][where] for v in values])
    stacked = (np.stack(each) for each in zip(*taken, strict=True))
    observations, actions, before, after, ended, last = stacked
    last[:, -1] = True  # the iteration cuts the last episode
    following = world.observe(after)
    return Steps(observations, actions, before, after, following, ended, last)
