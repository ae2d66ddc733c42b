"""A run of control with DQN: networks learn the values of actions from stored steps.

A level is a task of the stream. A run does this:

    for each level:
        let the intervention change the networks (not before the first level)
        empty the replay, copy the network to the target network, begin new episodes
        for each iteration, and for each COPIES steps in it:
            make one step in each of COPIES copies of the environment
            put the steps into the replay
            if the level has had at least `replay_start` steps:
                for each epoch: update the network on a batch from the replay
            every `target_steps` steps: copy the network to the target network
        run the probes on steps of the replay
        make one record per seed

The replay is empty at the start of a level for two reasons: the level can be compared
with the same level learned by a new network, and a checkpoint needs only the network
and its memory. In each level, the share of random actions begins at 1 and falls as in
CleanRL (vwxyzjn/cleanrl@fe8d8a0, cleanrl/dqn.py:67-72 and 106-108).

Our code plays COPIES episodes side by side, so by default one update follows every
COPIES steps of the environment. In CleanRL, an update follows every 10 steps
(dqn.py:71), and in the paper every 4 steps. `trainables.control.dqn` says where the
loss differs.

`Setting.epochs` is the number of updates after every COPIES steps, and
`Setting.batch_size` is the number of steps in the batch of an update. Episodes go on
from one iteration to the next, and belong to the iteration in which they end.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
import torch
from torch import Tensor

from trainables.control.dqn import aims, dqn_gradient, dqn_loss
from trainables.control.levels import LevelsRun, Tally
from trainables.control.play import COPIES, World
from trainables.learners import DQN
from trainables.networks.network import Network, dense_forward
from trainables.probes import EXAMPLES
from trainables.randomness import generator

FIRST_SHARE, LAST_SHARE, FALL = 1.0, 0.05, 0.5
"""The share of random actions at the start and at the end of a level, and the part of
the level during which this share falls (cleanrl/dqn.py:67-72)."""


def random_share(done: float) -> float:
    """Return the share of random actions when a part `done` of the level is over.

    `done` is in [0, 1].

    >>> [round(random_share(done), 3) for done in (0.0, 0.25, 0.5, 1.0)]
    [1.0, 0.525, 0.05, 0.05]
    """
    return max(LAST_SHARE, FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) / FALL * done)


@attrs.define(eq=False)
class Replay:
    """The last steps of S seeds. When it is full, new steps replace the oldest."""

    size: int
    columns: list[Tensor]  # observations before and after steps; other numbers
    added: int = 0

    @classmethod
    def empty(cls, size: int, seeds: int, pixels: int, like: Tensor) -> Replay:
        """Return a replay without steps, with the dtype and the device of `like`."""
        widths = pixels, pixels, 3  # action, reward, whether the episode ended
        return cls(size, [like.new_zeros(seeds, size, width) for width in widths])

    @property
    def filled(self) -> int:
        """The number of steps that can be drawn."""
        return min(self.added, self.size)

    def add(self, *values: Tensor) -> None:
        """Add one step of each copy.

        `values` has one tensor for each column, of shape (S, copies, numbers).
        """
        places = (self.added + torch.arange(values[0].shape[1])) % self.size
        for column, value in zip(self.columns, values, strict=True):
            column[:, places.to(column.device)] = value.to(column)
        self.added += len(places)

    def take(self, places: Tensor) -> list[Tensor]:
        """Return the columns of each seed's steps at `places`, of shape (S, n)."""
        seeds = torch.arange(len(places), device=places.device).unsqueeze(-1)
        return [column[seeds, places] for column in self.columns]


@attrs.define(eq=False)
class Episodes:
    """The episodes that S seeds play. Each seed plays COPIES of them side by side."""

    world: World
    state: np.ndarray  # (S, COPIES, numbers)
    factor: float  # the network learns from the rewards times this number
    times: np.ndarray = attrs.field(init=False)  # (S, COPIES): steps so far
    totals: np.ndarray = attrs.field(init=False)  # (2, S, COPIES): rewards and losses
    sums: np.ndarray = attrs.field(init=False)  # (2, S): totals of the ended episodes
    ends: np.ndarray = attrs.field(init=False)  # (S,): number of ended episodes

    def __attrs_post_init__(self) -> None:
        self.times = np.zeros(self.state.shape[:2], int)
        self.totals = np.zeros((2, *self.times.shape))
        self.sums, self.ends = 0 * self.totals[..., 0], 0 * self.times[:, 0]

    def take_tally(self) -> Tally:
        """Return the sums over the episodes that have ended, and begin new sums."""
        rewards, losses = self.sums
        tally = Tally(rewards, losses, self.ends)
        self.sums, self.ends = np.zeros_like(self.sums), np.zeros_like(self.ends)
        return tally

    def step(self, actions: np.ndarray, firsts: np.ndarray) -> list[np.ndarray]:
        """Make one step in each copy, and return it as columns of the replay.

        Where an episode ends or is cut, the next one begins in a state of `firsts`.
        """
        problem, world = self.world.problem, self.world
        after, ended = world.step(self.state, actions)
        paid = problem.pay(after, ended, world.goals)
        lost = problem.lose(self.state, after, world.goals)
        others = np.stack([actions, self.factor * paid, ended], axis=-1)
        columns = [world.observe(self.state), world.observe(after), others]
        self.times += 1
        last = ended | (self.times >= problem.episode_steps)
        self.totals += paid, np.nan * paid if lost is None else lost
        self.sums += np.where(last, self.totals, 0.0).sum(axis=-1)
        self.ends += last.sum(axis=-1)
        self.totals[:, last] = self.times[last] = 0
        self.state = np.where(last[..., None], firsts, after)
        return columns


class DQNRun(LevelsRun):
    """A run of levels: networks learn the values of actions with DQN."""

    @property
    def learner(self) -> DQN:
        """The learner of the setting."""
        assert isinstance(self.setting.learner, DQN)
        return self.setting.learner

    def _train_on_task(self) -> tuple[dict[str, Tensor], Tensor, int]:
        """Play and learn on the next level: see `ControlRun`."""
        problem, learner, seeds = self.problem, self.learner, self.alive
        update = self._make_update(dqn_gradient)
        world = World.of(problem, seeds, self.task)
        weights, pixels = self.stack.network.weights[0], self.setting.form.pixels
        replay = Replay.empty(learner.replay_size, len(seeds), pixels, weights)
        target, copied = self.stack.network.map(torch.clone), 0
        ticks = math.ceil(problem.iteration_steps / COPIES)
        measures: dict[str, Tensor] = {}
        tallies, updates = [], 0
        for iteration in range(problem.level_iterations):
            self._start_phase("playing")
            chances, moves, firsts, draws = self._draw_numbers(world, iteration, ticks)
            if not iteration:
                episodes = Episodes(world, firsts[:, 0], problem.factor(self.task))
            for tick in range(ticks):
                done = (iteration + tick / ticks) / problem.level_iterations
                greedy = self._values(world.observe(episodes.state)).argmax(axis=-1)
                wanders = chances[:, tick] < random_share(done)
                actions = np.where(wanders, moves[:, tick], greedy)
                columns = episodes.step(actions, firsts[:, tick + 1])
                replay.add(*map(torch.from_numpy, columns))
                if replay.added >= learner.replay_start:
                    if not updates and self._with_landscape:
                        sharpness = self._start_sharpness(replay, target)
                        measures["start_critic_sharpness"] = sharpness
                    for own in draws[:, tick].swapaxes(0, 1):
                        places = torch.from_numpy((own * replay.filled).astype(int))
                        batch = self._batch(replay, target, places.to(self.device))
                        update(*batch)
                        updates += 1
                if replay.added - copied >= learner.target_steps:
                    target, copied = self.stack.network.map(torch.clone), replay.added
            tallies.append(episodes.take_tally())
        measures |= self._returns(tallies)
        inputs = replay.columns[0][:, : replay.filled]
        return measures, inputs[:, -EXAMPLES:], updates

    def _draw_numbers(
        self, world: World, iteration: int, ticks: int
    ) -> tuple[np.ndarray, ...]:
        """Return the random numbers of an iteration, as four arrays.

        - uniform numbers that decide which actions are random: (S, ticks, copies)
        - random actions: (S, ticks, copies)
        - the first states of episodes: (S, ticks + 1, copies, numbers)
        - uniform numbers that choose batches: (S, ticks, epochs, batch size)
        """
        setting, drawn = self.setting, []
        batches = ticks, setting.epochs, setting.batch_size
        for place, seed in enumerate(self.alive):
            random = generator("play", seed, self.task, iteration)
            chances = random.random((ticks, COPIES))
            moves = random.integers(setting.outputs, size=(ticks, COPIES))
            firsts = world.start(place, random, (ticks + 1) * COPIES)
            firsts = firsts.reshape(ticks + 1, COPIES, -1)
            uniform = generator("order", seed, self.task, iteration).random(batches)
            drawn.append((chances, moves, firsts, uniform))
        return tuple(np.stack(each) for each in zip(*drawn, strict=True))

    def _values(self, seen: np.ndarray) -> np.ndarray:
        """Return the values of the actions, of shape (S, copies, actions)."""
        inputs = torch.from_numpy(seen).to(self.device, self.dtype)
        return np.asarray(dense_forward(self.stack.network, inputs)[1].cpu().numpy())

    def _batch(
        self, replay: Replay, target: Network, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of the steps at `places`.

        Their shapes are (S, n, pixels) and (S, n, 2).
        """
        inputs, following, others = replay.take(places)
        actions, rewards, ended = others.unbind(-1)
        wanted = aims(target, rewards, following, ended)
        return inputs, torch.stack([actions, wanted], dim=-1)

    def _start_sharpness(self, replay: Replay, target: Network) -> Tensor:
        """Return each seed's sharpness of the loss on the first steps in the replay."""
        count = min(EXAMPLES, replay.filled)
        places = torch.arange(count, device=self.device).expand(len(self.alive), -1)
        batch = self._batch(replay, target, places)
        return self._sharpness(self.stack.network, *batch, dqn_loss)
