"""Play episodes of a level with the policies of several seeds, all at once.

An iteration of PPO consists of episodes one after the other, until there are enough
steps. The last episode is cut. No episode depends on another, because the weights do
not change during an iteration. So each seed plays `COPIES` episodes side by side (a
wave), and then the next wave. Afterwards, the steps are put in the order of the
episodes. Their distribution is the same as if the episodes were played one after the
other, but waves take less time, because a pass through the networks reads their weights
once for all copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import attrs
import numpy as np

from trainables.problems import Levels
from trainables.problems.control.levels import Array, Goals

COPIES = 8
"""How many episodes a seed plays side by side; equal to `DQN.steps_per_update`."""

Policy = Callable[[Array], Array]
"""The type of a policy: observations (S, copies, _) to logits (S, copies, actions)."""


class Steps(NamedTuple):
    """The n steps of an iteration for each of S seeds, in the order of the episodes."""

    observations: Array  # (S, n, pixels), float32
    actions: Array  # (S, n), int64
    before: Array  # (S, n, numbers), float64: the states before the actions
    states: Array  # (S, n, numbers), float64: the states after the actions
    following: Array  # (S, n, pixels), float32: the observations after them
    ended: Array  # (S, n): whether the step ended the episode
    last: Array  # (S, n): whether the episode ended or was cut after the step


@attrs.frozen(kw_only=True, eq=False)
class World:
    """A level of each of S seeds."""

    problem: Levels
    offsets: Array  # (S, 1, pixels): what is added to the observations
    goals: Goals = None  # (S, 1, ...)

    @classmethod
    def of(cls, problem: Levels, seeds: Sequence[int], index: int) -> World:
        """Return level number `index` of these seeds."""
        offsets = np.stack([problem.offset(seed, index) for seed in seeds])[:, None]
        goals = problem.goals(seeds, index)
        return cls(problem=problem, offsets=offsets, goals=goals)

    def start(self, place: int, random: np.random.Generator, copies: int) -> Array:
        """Return first states for the seed with index `place`: (copies, numbers)."""
        goal = None if self.goals is None else self.goals[place, 0, ...]
        return self.problem.start(random, copies, goal)

    def step(self, state: Array, actions: Array) -> tuple[Array, Array]:
        """Return the states after the actions, of shape (S, copies, numbers).

        Also return which of these states end their episode, of shape (S, copies).
        """
        return self.problem.step(state, actions, self.goals)

    def observe(self, state: Array) -> Array:
        """Return the observations of states, of shape (S, copies, pixels), float32."""
        # as in C-CHAIN's code, the offset is added to the float32 observation
        return np.asarray(self.problem.observe(state) + self.offsets, np.float32)


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
        randoms: The generator of each seed's first states and actions.
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
    log: list[tuple[Array, ...]] = []
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


def choose(logits: Array, draws: Array) -> Array:
    """Return actions with the probabilities softmax(logits).

    `draws` are uniform in [0, 1), of shape (...) for logits of shape (..., actions).
    """
    weights = np.exp(logits.astype(float) - logits.max(axis=-1, keepdims=True))
    bounds = weights.cumsum(axis=-1)
    passed: Array = draws[..., None] * bounds[..., -1:] >= bounds[..., :-1]
    return np.asarray(passed.sum(axis=-1))


def _in_order(arrays: list[Array], world: World, steps: int) -> Steps:
    """Return the first `steps` steps of each seed, in the order of the episodes.

    The arrays have the shape (S, times, copies, ...). The last array has the number of
    the episode, or -1 where no episode was played.
    """
    *values, episodes = arrays
    taken: list[list[Array]] = []
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
