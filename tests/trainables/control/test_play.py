"""CartPole for many copies against gymnasium, and the order of the steps."""

import gymnasium
import numpy as np
import pytest

from trainables.control import cartpole
from trainables.control.play import COPIES, choose, observe, play
from trainables.problems import CartPole


def test_steps_are_those_of_gymnasium():
    env = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.default_rng(3)
    states = cartpole.start(random, 5)
    assert (np.abs(states) <= cartpole.SPREAD).all()
    for place in range(5):
        env.reset()
        env.state, state = states[place], states[place : place + 1]
        for action in random.integers(2, size=60):
            observation, reward, ended, _, _ = env.step(action)
            state, own_ended = cartpole.step(state, np.array([action]))
            np.testing.assert_array_equal(state[0], env.state)
            np.testing.assert_array_equal(observe(state, np.zeros(4))[0], observation)
            assert own_ended[0] == ended
            assert reward == 1
            if ended:
                break
        assert ended


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_episode_ends_on_both_sides(axis, sign):
    state = np.zeros((2, 4))
    limit = cartpole.TRACK if axis == 0 else cartpole.ANGLE
    state[:, axis] = sign * limit * np.array([0.999, 1.001])
    _, ended = cartpole.step(state, np.array([0, 0]))
    assert ended.tolist() == [False, True]


def play_alone(policy, offset, random, steps, longest):
    """Play episodes one by one, with the environment of gymnasium, until the end."""
    env, made = gymnasium.make("CartPole-v1").unwrapped, []
    while True:
        starts = cartpole.start(random, COPIES)
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
    got = play(policy, offsets, randoms, steps, longest)
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


def test_random_actions_have_the_return_of_a_network_that_learned_nothing():
    randoms = [np.random.default_rng(seed) for seed in range(100)]
    steps = play(
        lambda seen: np.zeros((*seen.shape[:2], 2)),
        np.zeros((100, 4)),
        randoms,
        800,
        400,
    )
    returns = 800 / steps.last.sum(axis=1)
    assert returns.mean() == pytest.approx(CartPole.guess, rel=0.03)
