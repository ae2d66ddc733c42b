"""Noise for all weights and biases, drawn anew at each update.

A random number depends only on the seed, the update and the position of the weight. So
any part of a network can draw its numbers without the other parts. The C code
(`trainables/steps/c/noise.c`) draws the same numbers, except for rounding, in much less
time.

Each output of a layer has a row of numbers: one for each input, and one for the bias. A
row has 16 generators. Generator j makes the 32-bit words j, j + 16, j + 32, ... of the
row. The generators are xoshiro128++ (Blackman & Vigna 2021, arXiv 1805.01407;
prng.di.unimi.it/xoshiro128plusplus.c). Their first states are the outputs of Threefry
4x32 in 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3";
DEShawResearch/random123, include/Random123/threefry.h) for the key (seed, 0, 0, 0) and
the counter (16 row + j, layer, update, 0).

A uniform number uses the upper 24 bits of a word. Normal numbers come in pairs, from 16
words for the radius and the next 16 for the angle (Box & Muller 1958).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Stack

GENERATORS = 16
"""The number of generators of a row."""

ROTATIONS = (
    *((10, 26), (11, 21), (13, 27), (23, 5)),
    *((6, 20), (17, 11), (25, 10), (18, 20)),
)
"""By how many bits Threefry rotates two words, in each of eight rounds."""


class Noise(NamedTuple):
    """The distribution of the noise of a network."""

    distribution: str  # "uniform": in [-1, 1), or "normal": N(0, 1)
    sizes: list[float]  # factors, in the order of `Network.tensors`


def draw_noise(stack: Stack, updates: Tensor, noise: Noise) -> Network:
    """Return noise in the shape of the networks of a stack.

    `updates` has the number of the update of each seed, of shape (S,).
    """
    network, layers = stack.network, len(stack.network.weights)
    seeds, counts = np.array(stack.seeds), updates.cpu().numpy()
    dtype = np.dtype(str(network.weights[0].dtype).removeprefix("torch."))
    weights, biases = [], []
    for layer, w in enumerate(network.weights):
        inputs, outputs = w.shape[1:]
        words = draw_words(seeds, counts, layer, outputs, inputs + 1)
        rows = w.new_tensor(DISTRIBUTIONS[noise.distribution](words, dtype))
        rows = rows.flatten(2)
        weights.append(rows[:, :, :inputs].mT * noise.sizes[layer])
        biases.append(rows[:, None, :, inputs] * noise.sizes[layers + layer])
    return network.like(weights + biases)


def draw_words(
    seeds: np.ndarray, updates: np.ndarray, layer: int, rows: int, count: int
) -> np.ndarray:
    """Return random 32-bit words for each row of a layer, at least `count` per row.

    `seeds` and `updates` have one number for each of S seeds. The result has the shape
    (S, rows, groups, 2, 16). In a group, each of the 16 generators makes two words.
    """
    counters = np.arange(rows * GENERATORS).reshape(rows, GENERATORS)
    update, key = (n.astype(np.uint32)[:, None, None] for n in (updates, seeds))
    zero = np.zeros_like(key)
    states = threefry(
        (counters, zero + np.uint32(layer), update, zero), (key, *[zero] * 3)
    )
    groups = -(-count // (2 * GENERATORS))
    words = np.empty((len(seeds), rows, groups, 2, GENERATORS), np.uint32)
    for group in range(groups):
        for half in range(2):
            words[:, :, group, half], states = xoshiro(states)
    return words


def threefry(
    counter: Sequence[np.ndarray], key: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return four words: Threefry 4x32 of the counter, encrypted with the key.

    `counter` and `key` have four arrays each. The function works elementwise. The key
    has the dtype uint32.
    """
    keys = [*key, functools.reduce(np.bitwise_xor, key) ^ np.uint32(0x1BD11BDA)]
    pairs = zip(counter, key, strict=True)
    sums = np.broadcast_arrays(*(word.astype(np.uint32) + k for word, k in pairs))
    x = [word.copy() for word in sums]
    for turn in range(5):
        for i in range(4):
            a, b = (3, 1) if i % 2 else (1, 3)
            turns = ROTATIONS[turn % 2 * 4 + i]
            x[0] += x[a]
            x[2] += x[b]
            x[a] = _rotate(x[a], turns[0]) ^ x[0]
            x[b] = _rotate(x[b], turns[1]) ^ x[2]
        for i in range(4):
            x[i] += keys[(turn + 1 + i) % 5]
        x[3] += np.uint32(turn + 1)
    return x


def xoshiro(states: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the next words of generators xoshiro128++, and their next states."""
    a, b, c, d = states
    words = _rotate(a + d, 7) + a
    c, d, shifted = c ^ a, d ^ b, b << np.uint32(9)
    return words, [a ^ d, b ^ c, c ^ shifted, _rotate(d, 11)]


def uniform(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return numbers in [-1, 1), which are multiples of 2^-23."""
    return (words >> 8).astype(dtype) * 2.0**-23 - 1


def normal(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return N(0, 1) numbers from words of shape (..., 2, n), in the same shape.

    The word [..., 0, j] gives a radius, and [..., 1, j] an angle.
    """
    share = ((words[..., 0, :] >> 8) + 1).astype(dtype) * 2.0**-24  # in (0, 1]
    radius = np.sqrt(-2 * np.log(share))
    angle = words[..., 1, :].view(np.int32).astype(dtype) * (2.0**-31 * np.pi)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-2)


DISTRIBUTIONS = {"uniform": uniform, "normal": normal}


def _rotate(words: np.ndarray, bits: int) -> np.ndarray:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))
