"""CartPole for many copies against gymnasium, and the order of the steps."""

import gymnasium
import numpy as np
import pytest

from trainables.control.play import COPIES, World, choose, play
from trainables.problems import Acrobot, CartPole, Grid
from trainables.problems.control.cartpole import ANGLE, SPREAD, TRACK

PROBLEM = CartPole()


def world(offsets, problem=PROBLEM):
    return World(problem=problem, offsets=np.asarray(offsets)[:, None])


def observe(state, offset):
    return world([offset]).observe(state[None, None])[0, 0]


def test_steps_are_those_of_gymnasium():
    env = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.default_rng(3)
    states = PROBLEM.start(random, 5)
    assert (np.abs(states) <= SPREAD).all()
    for place in range(5):
        env.reset()
        env.state, state = states[place], states[place : place + 1]
        for action in random.integers(2, size=60):
            observation, reward, ended, _, _ = env.step(action)
            state, own_ended = PROBLEM.step(state, np.array([action]), None)
            np.testing.assert_array_equal(state[0], env.state)
            np.testing.assert_array_equal(observe(state[0], np.zeros(4)), observation)
            assert own_ended[0] == ended
            assert reward == 1
            if ended:
                break
        assert ended


def test_acrobot_is_that_of_gymnasium():
    env = gymnasium.make("Acrobot-v1").unwrapped
    problem, random = Acrobot(), np.random.default_rng(3)
    states = problem.start(random, 4) * [10, 10, 40, 90]  # fast ones are clipped
    ends = 0
    for state in states:
        env.reset()
        env.state = state
        for action in random.integers(3, size=40):
            before = np.array(env.state)[None]
            observation, reward, ended, _, _ = env.step(action)
            after, own_ended = problem.step(before, np.array([action]), None)
            np.testing.assert_allclose(after[0], env.state, rtol=1e-9, atol=1e-12)
            seen = problem.observe(after)[0]
            np.testing.assert_allclose(seen, observation, rtol=1e-6, atol=1e-7)
            assert seen.dtype == np.float32
            assert own_ended[0] == ended
            assert problem.pay(after, own_ended, None)[0] == reward
            ends += ended
    assert 0 < ends < 160
    assert (np.abs(problem.start(random, 99)) <= 0.1).all()


def test_the_best_actions_on_a_grid_lose_nothing():
    """Value iteration finds the same values, and what each action loses."""
    problem = Grid()
    goal = problem.goal(2, 5)
    goals, side = goal[None], 7
    places = np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1)
    places = places.reshape(-1, 2).astype(float)
    moves = [problem.step(places, np.full(49, a), goals) for a in range(4)]
    values = np.zeros(49)
    for _ in range(40):
        nexts = [(side * after[:, 0] + after[:, 1]).astype(int) for after, _ in moves]
        gains = np.stack(
            [
                -1 + np.where(ended, 0, values[to])
                for (_, ended), to in zip(moves, nexts, strict=True)
            ]
        )
        values = gains.max(axis=0)
    away = (places != goal).any(axis=1)  # an episode does not go on from the goal
    for (after, ended), gain in zip(moves, gains, strict=True):
        lost = problem.lose(places, after, goals)
        np.testing.assert_array_equal(lost[away], (gain - values)[away])
        assert (problem.pay(after, ended, goals) == -1).all()
    distance = problem.distance(places, goals)
    np.testing.assert_array_equal(-distance[away], values[away])
    first = problem.start(np.random.default_rng(0), 2000, goal)
    counts = np.bincount((first @ (side, 1)).astype(int), minlength=49)
    assert (counts > 0).tolist() == away.tolist()  # everywhere but at the goal
    seen = problem.observe(places[None])[0]
    assert (seen.argmax(1) == places[:, 0]).all()
    assert seen.sum(axis=1).tolist() == [2] * 49
    assert (seen[:, side:].argmax(1) == places[:, 1]).all()


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_episode_ends_on_both_sides(axis, sign):
    state = np.zeros((2, 4))
    limit = TRACK if axis == 0 else ANGLE
    state[:, axis] = sign * limit * np.array([0.999, 1.001])
    _, ended = PROBLEM.step(state, np.array([0, 0]), None)
    assert ended.tolist() == [False, True]


def play_alone(policy, offset, random, steps, longest):
    """Play episodes one by one, with the environment of gymnasium, until the end."""
    env, made = gymnasium.make("CartPole-v1").unwrapped, []
    while True:
        starts = PROBLEM.start(random, COPIES)
        draws = random.random((longest, COPIES))
        for copy in range(COPIES):
            env.reset()
            env.state = starts[copy]
            observation = observe(starts[copy], offset)
            for time in range(longest):
                action = choose(
                    policy(observation[None, None]), draws[None, time, copy]
                )
                after, _, ended, _, _ = env.step(int(action[0, 0]))
                following = (after + offset).astype(np.float32)
                is_last = ended or time == longest - 1 or len(made) == steps - 1
                made.append((observation, action[0, 0], following, ended, is_last))
                observation = following
                if len(made) == steps:
                    return [np.stack(each) for each in zip(*made, strict=True)]
                if is_last:
                    break


@pytest.mark.parametrize(("steps", "longest"), [(500, 400), (300, 30), (7, 400)])
def test_the_steps_are_those_of_episodes_in_turn(steps, longest):
    # the second policy is good, and the third is bad
    weights = np.array([[0, 0.1, 0, 0], [0.3, 1, 8, 3], [0, 0, -20, 0]])
    offsets = np.array([[0, 0, 0, 0], [1.0, -0.5, 0, 2], [0, 0, 0, 0]])

    def policy_of(seed):
        def logits(observations):
            push = (observations - offsets[seed]) @ weights[seed]
            return np.stack([-push, push], axis=-1)

        return logits

    def policy(observations):
        return np.stack([policy_of(s)(own) for s, own in enumerate(observations)])

    randoms = [np.random.default_rng(seed) for seed in range(3)]
    got = play(policy, world(offsets), randoms, steps, longest)
    for seed in range(3):
        random = np.random.default_rng(seed)
        expected = play_alone(policy_of(seed), offsets[seed], random, steps, longest)
        own = got.observations, got.actions, got.following, got.ended, got.last
        for a, b in zip(own, expected, strict=True):
            np.testing.assert_array_equal(a[seed], b)
    if longest == 30:
        assert not got.ended[1].any()  # cut, not ended


def test_actions_have_their_probabilities():
    logits = np.log(np.array([[0.2, 0.5, 0.3]])).repeat(4, axis=0)
    assert choose(logits, np.array([0.0, 0.199, 0.201, 0.701])).tolist() == [0, 0, 1, 2]
    assert choose(np.array([[1e4, 0.0]]), np.array([0.999])).tolist() == [0]


@pytest.mark.parametrize(
    ("problem", "seeds", "steps"),
    [(CartPole(), 100, 800), (Acrobot(), 20, 800), (Grid(), 60, 800)],
)
def test_random_actions_have_the_return_of_a_network_that_learned_nothing(
    problem, seeds, steps
):
    randoms = [np.random.default_rng(seed) for seed in range(seeds)]
    level = World.of(problem, range(seeds), 0)
    actions = problem.control.classes
    played = play(
        lambda seen: np.zeros((*seen.shape[:2], actions)),
        level,
        randoms,
        steps,
        problem.episode_steps,
    )
    paid = problem.pay(played.states, played.ended, level.goals)
    lost = problem.lose(played.before, played.states, level.goals)
    means = (paid if lost is None else lost).sum(axis=1) / played.last.sum(axis=1)
    assert means.mean() == pytest.approx(problem.guess, rel=0.03)
