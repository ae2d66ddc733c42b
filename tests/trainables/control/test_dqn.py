"""DQN against a naive loop with one network, torch.optim, gymnasium and a deque."""

import copy
import functools
import itertools
import math
from collections import deque

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from study.plan.cost import run_cost
from tests.support import control
from tests.support.control import check_resumed_and_alone, finish
from trainables.bases import Adam
from trainables.control.dqn import dqn_gradient, dqn_loss
from trainables.control.dqn_run import DQNRun, Replay, random_share
from trainables.control.gradients import SLOPES
from trainables.control.play import COPIES
from trainables.interventions import ContinualBackprop, ReDo
from trainables.learners import DQN
from trainables.networks.network import initial_network
from trainables.optimizers import SAM, SGD
from trainables.problems import CartPole, Grid
from trainables.randomness import generator
from trainables.setting import Setting
from trainables.steps.reference import loss_gradient
from trainables.usage import UsageError

FIELDS = {
    "problem": CartPole(level_iterations=3, iteration_steps=80),
    "learner": DQN(replay_size=64, replay_start=40, target_steps=48),
    "tasks": 2,
    "batch_size": 12,
    "hidden": (16, 12),
    "optimizer": SGD(lr=0.003),
    "base": Adam(),
    "initialization": "pytorch",
}


def new_run(seeds=(0,), dtype=torch.float64, every=0, **fields):
    return control.new_run({**FIELDS, **fields}, seeds, dtype, every)


class Naive:
    """DQN for one seed. It draws the same random numbers as a run."""

    def __init__(self, setting, seed):
        self.setting, self.seed = setting, seed
        random = generator("weights", seed)
        sizes, layers = [4, *setting.hidden, 2], []
        for a, b in itertools.pairwise(sizes):
            layer = nn.Linear(a, b, dtype=torch.float64)
            bound = 1 / math.sqrt(a)
            with torch.no_grad():
                weights = random.uniform(-bound, bound, (a, b))
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(random.uniform(-bound, bound, b)))
            layers += [layer, nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])
        self.adam = torch.optim.Adam(self.net.parameters(), lr=setting.optimizer.lr)

    def level(self, level):
        problem, learner = self.setting.problem, self.setting.learner
        offset = problem.offset(self.seed, level)
        replay, made, copied, updates = deque(maxlen=learner.replay_size), 0, 0, 0
        target, means, counts = copy.deepcopy(self.net), [], []
        envs = [gymnasium.make("CartPole-v1").unwrapped for _ in range(COPIES)]
        times, ticks = [0] * COPIES, problem.iteration_steps // COPIES
        for env in envs:
            env.reset()
        for iteration in range(problem.level_iterations):
            random = generator("play", self.seed, level, iteration)
            chances = random.random((ticks, COPIES))
            moves = random.integers(2, size=(ticks, COPIES))
            firsts = random.uniform(-0.05, 0.05, ((ticks + 1) * COPIES, 4))
            order = generator("order", self.seed, level, iteration)
            draws = order.random((ticks, self.setting.epochs, 12))
            if not iteration:
                for place, env in enumerate(envs):
                    env.state = firsts[place]
            returns = []
            for tick in range(ticks):
                part = (iteration + tick / ticks) / problem.level_iterations
                share = max(0.05, 1 - 0.95 * part / 0.5)
                for place, env in enumerate(envs):
                    seen = (np.float32(env.state) + offset).astype(np.float32)
                    with torch.no_grad():
                        action = self.net(torch.from_numpy(seen).double()).argmax()
                    if chances[tick, place] < share:
                        action = moves[tick, place]
                    after, reward, ended, _, _ = env.step(int(action))
                    following = (after + offset).astype(np.float32)
                    step = seen, int(action), reward, following, float(ended)
                    replay.append((*step, made % learner.replay_size))
                    made, times[place] = made + 1, times[place] + 1
                    if ended:
                        returns.append(times[place])
                        times[place] = 0
                        env.reset()
                        env.state = firsts[(tick + 1) * COPIES + place]
                if made >= learner.replay_start:
                    slots = sorted(replay, key=lambda own: own[-1])
                    for numbers in draws[tick]:
                        chosen = [slots[int(u * len(slots))] for u in numbers]
                        self.update(target, chosen)
                        updates += 1
                if made - copied >= learner.target_steps:
                    target, copied = copy.deepcopy(self.net), made
            counts.append(len(returns))
            if returns:
                means.append(np.mean(returns))
        return means, counts, updates

    def update(self, target, steps):
        seen, actions, rewards, following, ended, _ = zip(*steps, strict=True)
        x, after = (torch.from_numpy(np.stack(s)).double() for s in (seen, following))
        with torch.no_grad():
            best = target(after).max(dim=1).values
        y = torch.tensor(rewards) + 0.99 * best * (1 - torch.tensor(ended))
        chosen = self.net(x).gather(1, torch.tensor(actions)[:, None]).squeeze(1)
        self.adam.zero_grad()
        nn.functional.mse_loss(chosen, y).backward()
        self.adam.step()


def test_a_run_is_that_of_a_naive_loop():
    problem = CartPole(level_iterations=2, iteration_steps=80)
    run = new_run(seeds=(4, 7), epochs=2, problem=problem)
    assert isinstance(run, DQNRun)
    naive = [Naive(run.setting, seed) for seed in run.seeds]
    for level in range(2):
        for record, own in zip(run.next_task(), naive, strict=True):
            means, counts, updates = own.level(level)
            assert record["mean_return"] == pytest.approx(np.mean(means), rel=1e-9)
            assert record["last_return"] == pytest.approx(means[-1], rel=1e-9)
            assert record["episodes"] == sum(counts)
            assert record["steps"] == updates > 0
    for place, own in enumerate(naive):
        expected = list(own.net.parameters())
        for layer, (w, b) in enumerate(
            zip(run.network.weights, run.network.biases, strict=True)
        ):
            close = {"rtol": 1e-6, "atol": 1e-9}
            torch.testing.assert_close(w[place].T, expected[2 * layer].data, **close)
            bias = expected[2 * layer + 1].data
            torch.testing.assert_close(b[place, 0], bias, **close)


@pytest.mark.parametrize("activation", [*SLOPES, "tanh"])
def test_the_gradient_is_that_of_autograd(activation):
    random = np.random.default_rng(0)
    inputs = torch.from_numpy(random.normal(size=(2, 9, 4)))
    columns = random.integers(3, size=(2, 9)), random.normal(size=(2, 9))
    targets = torch.from_numpy(np.stack(columns, axis=-1))
    network = initial_network(
        [4, 6, 5, 3], [0, 1], dtype=torch.float64, activation=activation
    )
    got, outputs = dqn_gradient(network, inputs, targets)
    expected, expected_outputs = loss_gradient(network, inputs, targets, dqn_loss)
    torch.testing.assert_close(outputs, expected_outputs)
    for a, b in zip(got.tensors(), expected.tensors(), strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_full_replay_loses_its_oldest_steps():
    replay = Replay.empty(10, 1, 1, torch.zeros(1))
    for first in range(0, 24, 8):
        numbers = torch.arange(first, first + 8.0).view(1, 8, 1)
        replay.add(numbers, numbers + 1, numbers.expand(-1, -1, 3))
        assert replay.filled == min(10, first + 8)
    seen, following, others = replay.take(torch.arange(10).unsqueeze(0))
    assert sorted(seen.flatten().tolist()) == list(range(14, 24))
    assert (following == seen + 1).all()
    assert (others == seen).all()


METHODS = [
    {"optimizer": SAM(lr=0.003, rho=0.05)},
    {"intervention": ReDo()},
    {"intervention": ContinualBackprop(maturity=3, replacement_rate=0.1)},
    {"problem": Grid(level_iterations=3, iteration_steps=80)},
]


@pytest.mark.parametrize("fields", METHODS)
def test_a_stack_resumes_and_is_the_same_as_single_runs(fields):
    """A checkpoint is made at a level's end, where the replay is empty."""
    check_resumed_and_alone(functools.partial(new_run, **fields))


def test_each_level_begins_with_random_actions():
    assert [random_share(x) for x in (0, 0.1, 0.6)] == [1, pytest.approx(0.81), 0.05]
    assert DQN.steps_per_update == COPIES


def test_the_landscape_is_that_of_the_first_batch():
    first, second = finish(new_run(every=1))
    assert first["start_critic_sharpness"] > 0
    assert second["start_critic_sharpness"] > 0


def test_the_learner_is_part_of_a_setting_and_of_its_cost():
    setting = Setting(**FIELDS)
    assert Setting.from_row(setting.row()) == setting
    changes = {"replay_size": 65}, {"replay_start": 41}, {"target_steps": 49}
    others = [Setting.from_row(setting.row() | change) for change in changes]
    ids = {own.setting_id for own in (setting, *others)}
    assert len(ids) == 4
    assert run_cost(setting).examples == 2 * 240 * 12 / 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learner": "sarsa"}, "unknown learner 'sarsa'"),
        ({"problem": "td", "learner": "dqn"}, "the setting has learner dqn, but in pr"),
        ({"problem": "permuted", "dataset": "mnist", "learner": "dqn"}, "the setting "),
        ({"learner": "dqn", "replay_size": 7}, "replay_size is 7: it must be a whole"),
        ({"replay_size": 70}, "the setting has replay_size, but neither its problem"),
    ],
)
def test_bad_options_get_one_line(fields, message):
    with pytest.raises(UsageError) as error:
        Setting.from_row({"problem": "cartpole", **fields})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
