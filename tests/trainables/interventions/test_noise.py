"""The noise of each update: published words, distributions, and independence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from trainables.interventions.noise import (
    DISTRIBUTIONS,
    GENERATORS,
    Noise,
    draw_noise,
    draw_words,
    threefry,
    xoshiro,
)
from trainables.networks.network import initial_network
from trainables.networks.stack import Memory, Stack

CDF = {"uniform": stats.uniform(-1, 2).cdf, "normal": stats.norm.cdf}
VARIANCE = {"uniform": 1 / 3, "normal": 1}

distributions = pytest.mark.parametrize("distribution", CDF)


def drawn(distribution, *, seed=0, update=1, layer=0, rows=100, count=785):
    words = draw_words(np.array([seed]), np.array([update]), layer, rows, count)
    numbers = DISTRIBUTIONS[distribution](words, np.dtype(float))
    return numbers.reshape(rows, -1)[:, :count]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 4, "9c6ca96a e17eae66 fc10ecd4 5256a7d8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 4, "2a881696 57012287 f6c7446e a16a6732"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89],
            "59cd1dbb b8879579 86b5d00c ac8b6d84",
        ),
    ],
)
def test_threefry_gives_the_published_words(counter, key, words):
    """Known answers of Random123, tests/kat_vectors."""
    made = threefry(*(np.array(part, np.uint32)[:, None] for part in (counter, key)))
    assert [f"{word[0]:08x}" for word in made] == words.split()


def test_xoshiro_gives_the_published_words():
    """From the states 1, 2, 3, 4, as in the tests of rust-random's rand_xoshiro."""
    states = [np.array([n], np.uint32) for n in (1, 2, 3, 4)]
    words = []
    for _ in range(6):
        word, states = xoshiro(states)
        words.append(int(word[0]))
    assert words == [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768]


@distributions
def test_numbers_have_their_distribution(distribution):
    """78,500 numbers: Kolmogorov-Smirnov, the moments, and the tail."""
    numbers = drawn(distribution).ravel()
    assert stats.kstest(numbers, CDF[distribution]).pvalue > 0.01
    assert abs(numbers.mean()) < 4 * (VARIANCE[distribution] / numbers.size) ** 0.5
    assert numbers.var() == pytest.approx(VARIANCE[distribution], rel=0.02)
    if distribution == "normal":
        for size in (2, 3, 4):
            share = 2 * stats.norm.sf(size)
            expected = numbers.size * share
            assert abs((abs(numbers) > size).sum() - expected) < 4 * expected**0.5
        assert 4 < abs(numbers).max() < 5.8


@distributions
def test_every_place_has_its_own_numbers(distribution):
    """Seeds, updates, layers, rows, generators: no correlation, not even of squares."""
    base = drawn(distribution)
    others = {
        "seed": drawn(distribution, seed=1),
        "update": drawn(distribution, update=2),
        "layer": drawn(distribution, layer=1),
        "seed and update": drawn(distribution, seed=1, update=0),
        "row": np.roll(base, 1, axis=0),
        "column": np.roll(base, 1, axis=1),
        "generator": np.roll(base, GENERATORS, axis=1),
    }
    limit = 4 / base.size**0.5
    for name, other in others.items():
        assert not (base == other).any(1).all(), name
        for power in (1, 2):
            pair = (x.ravel() ** power for x in (base, other))
            assert abs(np.corrcoef(*pair)[0, 1]) < limit, (name, power)


def test_numbers_depend_only_on_their_place():
    for rows, count in itertools.product((1, 7), (1, 16, 33)):
        part = drawn("normal", rows=rows, count=count)
        assert np.array_equal(part, drawn("normal")[:rows, :count])


def test_noise_has_the_sizes_and_the_shapes_of_the_network():
    """A seed gets the same numbers in any stack, and the bias ends its row."""
    network = initial_network([5, 4, 3], [8, 9], dtype=torch.float64)
    noise = Noise("normal", [2, 1, 0.5, 0])
    stack = Stack([8, 9], 0, network, Memory())
    both = draw_noise(stack, torch.tensor([3, 4]), noise)
    one = draw_noise(stack.take([1]), torch.tensor([4]), noise)
    for tensor, other, w in zip(
        both.tensors(), one.tensors(), network.tensors(), strict=True
    ):
        assert tensor.shape == w.shape
        assert torch.equal(tensor[1:], other)
    numbers = torch.from_numpy(drawn("normal", seed=9, update=4, rows=4, count=6))
    assert torch.equal(both.weights[0][1], 2 * numbers[:, :5].T)
    assert torch.equal(both.biases[0][1, 0], 0.5 * numbers[:, 5])
    assert (both.biases[1] == 0).all()
