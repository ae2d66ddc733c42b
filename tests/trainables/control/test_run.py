"""Whole runs of control against a naive loop with one network and torch.optim."""

import functools
import math

import attrs
import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from tests.support import control
from tests.support.control import check_resumed_and_alone, finish, measures
from trainables.bases import Adam
from trainables.control.levels import Tally
from trainables.control.play import COPIES
from trainables.control.ppo_run import PPORun
from trainables.interventions import (
    Fresh,
    HeadReset,
    HeadZero,
    L2Init,
    LayerNorm,
    StepShrinkPerturb,
)
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Acrobot, CartPole, Grid, Permuted
from trainables.randomness import generator
from trainables.setting import Setting
from trainables.usage import UsageError

SMALL = CartPole(level_iterations=3, iteration_steps=70)
LONGEST = CartPole.episode_steps
FIELDS = {
    "problem": SMALL,
    "tasks": 2,
    "epochs": 2,
    "batch_size": 32,  # the last batch of a pass has 6 steps
    "hidden": (16, 12),
    "optimizer": SGD(lr=0.003),
    "base": Adam(),
    "activation": "leaky_relu_tenth",
    "initialization": "pytorch",
}


def new_run(seeds=(0,), dtype=torch.float64, every=0, **fields):
    return control.new_run({**FIELDS, **fields}, seeds, dtype, every)


class Naive:
    """C-CHAIN's loop for one seed, with torch.optim and gymnasium, in float64.

    It draws the same random numbers as a run, so that the numbers can be compared.
    """

    def __init__(self, setting, seed):
        self.setting, self.seed = setting, seed
        self.env = gymnasium.make("CartPole-v1").unwrapped
        self.reset()
        self.start = [p.detach().clone() for p in self.parameters()]

    def reset(self):
        layers, random = [], generator("weights", self.seed)
        sizes = [4, *self.setting.hidden]
        for outputs in (2, 1):
            own = []
            for a, b in zip(sizes, [*sizes[1:], outputs], strict=True):
                own += [nn.Linear(a, b, dtype=torch.float64), nn.LeakyReLU(0.1)]
            layers.append(nn.Sequential(*own[:-1]))
        self.policy, self.value = layers
        linears = [m for net in layers for m in net if isinstance(m, nn.Linear)]
        with torch.no_grad():
            draws = []
            for layer in linears:
                bound = 1 / math.sqrt(layer.in_features)
                shape = layer.in_features, layer.out_features
                draws.append(random.uniform(-bound, bound, shape).T)
                draws.append(random.uniform(-bound, bound, layer.out_features))
            for parameter, numbers in zip(self.parameters(), draws, strict=True):
                parameter.copy_(torch.from_numpy(numbers))
        self.adam = torch.optim.Adam(self.parameters(), lr=self.setting.optimizer.lr)

    def parameters(self):
        return [*self.policy.parameters(), *self.value.parameters()]

    def level(self, level):
        intervention = self.setting.intervention
        if level and isinstance(intervention, Fresh):
            self.reset()
        problem, returns, counts = self.setting.problem, [], []
        for iteration in range(problem.level_iterations):
            mean, count, data = self.play(level, iteration)
            returns.append(mean)
            counts.append(count)
            for epoch in range(self.setting.epochs):
                number = iteration * self.setting.epochs + epoch
                random = generator("order", self.seed, level, number)
                order = torch.from_numpy(random.permutation(len(data[0])))
                for batch in order.split(self.setting.batch_size):
                    self.update(*(column[batch] for column in data))
        return returns, counts

    def play(self, level, iteration):
        problem = self.setting.problem
        random = generator("play", self.seed, level, iteration)
        offset = problem.offset(self.seed, level)
        data, totals, made = [[] for _ in range(5)], [], 0
        while made < problem.iteration_steps:
            if len(totals) % COPIES == 0:
                starts = problem.start(random, COPIES)
                draws = random.random((LONGEST, COPIES))
            copy = len(totals) % COPIES
            self.env.reset()
            self.env.state = starts[copy]
            observation = (starts[copy].astype(np.float32) + offset).astype(np.float32)
            rewards, values, total = [], [], 0.0
            for time in range(LONGEST):
                x = torch.from_numpy(observation).double()
                with torch.no_grad():
                    policy = torch.distributions.Categorical(logits=self.policy(x))
                    values.append(self.value(x).item())
                action = int(draws[time, copy] >= policy.probs[0])
                data[0].append(x)
                data[1].append(action)
                data[2].append(policy.log_prob(torch.tensor(action)).item())
                after, reward, ended, _, _ = self.env.step(action)
                observation = (after + offset).astype(np.float32)
                rewards.append(reward / 20)
                total += reward
                made += 1
                if ended or time == LONGEST - 1 or made == problem.iteration_steps:
                    break
            with torch.no_grad():
                x = torch.from_numpy(observation).double()
                final = 0.0 if ended else self.value(x).item()
            rewards, values = [*rewards, final], [*values, final]
            advantage, target, own = 0.0, final, []
            for t in reversed(range(len(rewards) - 1)):
                delta = rewards[t] + 0.99 * values[t + 1] - values[t]
                advantage = delta + 0.99 * 0.95 * advantage
                target = rewards[t] + 0.99 * target
                own.append((advantage, target))
            for advantage, target in reversed(own):
                data[3].append(advantage)
                data[4].append(target)
            totals.append(total)
        columns = [torch.stack(data[0]), *map(torch.tensor, data[1:])]
        columns[2:] = [c.double() for c in columns[2:]]
        spread = columns[3].std(correction=0) + 1e-5
        columns[3] = (columns[3] - columns[3].mean()) / spread
        return np.mean(totals), len(totals), columns

    def update(self, x, actions, before, advantages, returns):
        policy = torch.distributions.Categorical(logits=self.policy(x))
        ratio = (policy.log_prob(actions) - before).exp()
        clipped = ratio.clamp(0.8, 1.2)
        gain = torch.min(ratio * advantages, clipped * advantages).mean()
        value = nn.functional.mse_loss(self.value(x).squeeze(1), returns)
        loss = -gain - 0.01 * policy.entropy().mean() + 0.5 * value
        if isinstance(self.setting.intervention, L2Init):
            pairs = zip(self.parameters(), self.start, strict=True)
            distance = sum((p - start).square().sum() for p, start in pairs)
            loss = loss + self.setting.intervention.init_decay / 2 * distance
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


@pytest.mark.parametrize("intervention", [None, Fresh(), L2Init(init_decay=0.1)])
def test_a_run_is_that_of_a_naive_loop(intervention):
    run = new_run(seeds=(4, 7), intervention=intervention)
    naive = [Naive(run.setting, seed) for seed in run.seeds]
    for level in range(2):
        records = run.next_task()
        for record, own in zip(records, naive, strict=True):
            returns, counts = own.level(level)
            assert record["mean_return"] == pytest.approx(np.mean(returns), rel=1e-9)
            assert record["last_return"] == pytest.approx(returns[-1], rel=1e-9)
            assert record["episodes"] == sum(counts)
            assert record["steps"] == 3 * 2 * 3
    for place, own in enumerate(naive):
        count = len(run.network.weights)
        for layer in range(count):
            w, b = (t[layer][place] for t in (run.network.weights, run.network.biases))
            expected = own.parameters()[2 * layer : 2 * layer + 2]
            torch.testing.assert_close(w.T, expected[0].data, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(b[0], expected[1].data, rtol=1e-5, atol=1e-7)


METHODS = [
    {"optimizer": SAM(lr=0.003, rho=0.05), "hidden": (4,), "every": 1},
    {"optimizer": GNP(lr=0.01, rho=0.05, alpha=0.8), "base": None},
    {"intervention": LayerNorm()},
    {"intervention": StepShrinkPerturb()},
]


@pytest.mark.parametrize("fields", METHODS)
def test_a_stack_resumes_to_the_bit_and_is_the_same_as_single_runs(fields):
    check_resumed_and_alone(functools.partial(new_run, **fields))


def test_a_seed_never_depends_on_its_neighbours():
    run, other = (new_run(seeds=(0, 1), dtype=torch.float32) for _ in range(2))
    with torch.no_grad():
        other.network.weights[0][1] *= 100
    for _ in range(2):
        (first, second), (same, changed) = run.next_task(), other.next_task()
        assert measures([first]) == measures([same])
        assert measures([second]) != measures([changed])


def test_a_seed_that_diverges_leaves_the_others_alone():
    run = new_run(seeds=(0, 1))
    with torch.no_grad():
        run.network.weights[0][1] = math.nan
    records = finish(run)
    assert [r["diverged"] for r in records] == [False, True] * 2
    assert records[1]["mean_return"] is None
    assert run.alive == [0]


def test_the_seeds_fix_what_the_optimizer_does_not():
    plain, sam = new_run(), new_run(optimizer=SAM(lr=0.1, rho=0.5))
    for run in (plain, sam):
        assert isinstance(run, PPORun)
        assert run.engine == "native"
    first, other = plain._play(0), sam._play(0)
    for a, b in zip(first, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_sharpness_is_that_of_the_critics_loss():
    run = new_run(every=1, tasks=1, hidden=(3,), activation="tanh")
    steps = run._play(0)
    inputs, targets, _ = run._examples(steps)
    record = new_run(every=1, tasks=1, hidden=(3,), activation="tanh").next_task()[0]
    network = run.network
    parts = [network.weights[2][0], network.biases[2][0]]
    parts += [network.weights[3][0], network.biases[3][0]]

    def loss(w1, b1, w2, b2):
        value = (inputs[0] @ w1 + b1).tanh() @ w2 + b2
        return 0.5 * (value.squeeze(1) - targets[0, :, 3]).square().mean()

    blocks = torch.autograd.functional.hessian(loss, tuple(parts))
    rows = [
        torch.cat(
            [
                block.reshape(a.numel(), b.numel())
                for block, b in zip(row, parts, strict=True)
            ],
            1,
        )
        for row, a in zip(blocks, parts, strict=True)
    ]
    largest = torch.linalg.eigvalsh(torch.cat(rows)).max().item()
    assert record["start_critic_sharpness"] == pytest.approx(largest, rel=1e-3)


def test_the_entropy_is_that_of_the_policy_on_its_first_steps():
    run = new_run(tasks=1, hidden=(3,), activation="tanh")
    inputs, _, _ = run._examples(run._play(0))
    network, h = run.network, inputs[0]
    for i in range(2):
        h = (h.tanh() if i else h) @ network.weights[i][0] + network.biases[i][0]
    entropy = torch.distributions.Categorical(logits=h).entropy().mean()
    record = run.next_task()[0]
    assert record["start_policy_entropy"] == pytest.approx(entropy.item(), rel=1e-6)


@pytest.mark.parametrize("intervention", [HeadZero(), HeadReset()])
def test_both_heads_are_reset_and_nothing_else(intervention):
    run = new_run(tasks=2, intervention=intervention)
    run.next_task()
    learned = run.network.map(torch.clone)
    intervention.begin_task(run.stack)
    assert [*run.network.heads] == [
        len(learned.weights) // 2 - 1,
        len(learned.weights) - 1,
    ]
    for i, (now, then) in enumerate(
        zip(run.network.weights, learned.weights, strict=True)
    ):
        assert torch.equal(now, then) == (i not in run.network.heads)
    record = run.next_task()[0]
    entropy = record["start_policy_entropy"]
    if isinstance(intervention, HeadZero):
        assert entropy == pytest.approx(math.log(2))
    assert entropy < math.log(2) + 1e-12


def test_episodes_before_the_threshold_are_counted():
    run = new_run()
    returns = np.array([[10.0, 250.0, 20.0], [1.0, 2.0, 3.0]])
    counts = np.array([[7, 3, 5], [9, 8, 7]])
    tallies = [
        Tally.of(own[:, None], None, number)
        for own, number in zip((returns * counts).T, counts.T, strict=True)
    ]
    got = run._returns(tallies)
    assert got["threshold_episodes"][0] == 7
    assert got["threshold_episodes"][1].isnan()
    assert got["mean_return"].tolist() == pytest.approx([280 / 3, 2])
    assert got["last_return"].tolist() == [20, 3]
    assert got["return_gap"].isnan().all()
    assert got["episodes"].tolist() == [15, 24]


def test_the_levels_differ_in_their_offset():
    stream = [CartPole().offset(3, level) for level in range(400)]
    assert not stream[0].any()
    assert np.std(stream[1:]) == pytest.approx(2, rel=0.05)
    assert (CartPole().offset(3, 7) == stream[7]).all()
    assert (CartPole().offset(4, 7) != stream[7]).all()
    assert len({CartPole().task(3, level).label for level in range(400)}) == 400


def test_a_goal_changes_only_the_rewards():
    goals = CartPole(observation_offset=0.0, goal_range=1.5)
    plain = CartPole(observation_offset=0.0)
    drawn = [goals.goal(2, level) for level in range(200)]
    assert max(map(abs, drawn)) <= 1.5
    assert np.std(drawn) == pytest.approx(1.5 / math.sqrt(3), rel=0.1)
    assert not any(goals.offset(2, level).any() for level in range(9))
    at = np.zeros((1, 3, 4))
    at[..., 0] = [drawn[3], drawn[3] + 0.5, drawn[3] - 0.5]
    never = np.zeros((1, 3), bool)
    (paid,) = goals.pay(at, never, goals.goals([2], 3))
    assert paid == pytest.approx([1, math.exp(-0.5), math.exp(-0.5)])
    assert plain.pay(at, never, plain.goals([2], 3)).tolist() == [[1, 1, 1]]
    runs = [
        new_run(problem=attrs.evolve(p, level_iterations=2, iteration_steps=70))
        for p in (goals, plain)
    ]
    steps = [run._play(0) for run in runs]
    np.testing.assert_array_equal(steps[0].states, steps[1].states)
    examples = [run._examples(own) for run, own in zip(runs, steps, strict=True)]
    assert (examples[0][1][..., 3] != examples[1][1][..., 3]).any()
    rewards = goals.pay(steps[0].states, steps[0].ended, goals.goals([0], 0))
    assert examples[0][2].rewards[0] == pytest.approx(rewards.sum())


@pytest.mark.parametrize("factor", [-1.0, 10.0])
def test_the_rewards_of_every_second_level_have_another_factor(factor):
    problem = attrs.evolve(SMALL, odd_reward=factor, observation_offset=0.0)
    plain = attrs.evolve(problem, odd_reward=None)
    assert [problem.factor(level) for level in range(4)] == [1, factor, 1, factor]
    assert problem.task(0, 1).label.endswith(f"reward {factor:g}")
    runs = [new_run(problem=each) for each in (problem, plain)]
    first = [run.next_task()[0] for run in runs]
    assert first[0]["mean_return"] == first[1]["mean_return"]
    steps = runs[0]._play(0)
    targets = [run._examples(steps)[1][..., 3] for run in runs]
    ends = torch.from_numpy(steps.ended & steps.last)  # nothing follows
    assert ends.any()
    torch.testing.assert_close(targets[0][ends], factor * targets[1][ends])
    second = runs[0].next_task()[0]
    assert (second["mean_return"] < 0) == (factor < 0)
    assert 5 < abs(second["mean_return"]) < 70  # not ten times as large


@pytest.mark.parametrize("problem", [Acrobot, Grid])
def test_other_environments_run_and_resume(problem):
    small = problem(level_iterations=1, iteration_steps=130)
    for record in check_resumed_and_alone(functools.partial(new_run, problem=small)):
        assert -130 <= record["mean_return"] < 0
        gap = record["return_gap"]
        assert gap is None if problem is Acrobot else gap < 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "mnist"}, "dataset is mnist, but problem cartpole has no images"),
        ({"examples": 5}, "the setting has examples, but problem cartpole has no imag"),
        ({"intervention": "redo"}, "intervention redo needs a network in which each l"),
        (
            {"network": "conv"},
            "the setting has network, but problem cartpole has no im",
        ),
        ({"problem": "grid", "odd_reward": -1}, "odd_reward is -1: it must be a numb"),
        ({"level_iterations": 0}, "level_iterations is 0: it must be a whole number"),
        (
            {"problem": "permuted", "dataset": "none"},
            "dataset is none, but problem permuted needs images: choose another",
        ),
    ],
)
def test_bad_options_get_one_line(fields, message):
    with pytest.raises(UsageError) as error:
        Setting.from_row({"problem": "cartpole", **fields})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_setting_without_images_has_its_own_defaults():
    setting = Setting(problem=CartPole())
    assert (setting.dataset, setting.tasks, setting.outputs) == ("none", 10, 2)
    assert Setting.from_row(setting.row()) == setting
    assert Setting(problem=Permuted()).dataset == "mnist"
    assert attrs.evolve(setting, tasks=3).tasks == 3
