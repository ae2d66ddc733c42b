"""Noise for all weights and biases, drawn anew at each update."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.networks.network import Network, initial_bound
from trainables.networks.stack import Stack
from trainables.randomness import generator


def draw_noise(stack: Stack, updates: Tensor, *, like_initial: bool = False) -> Network:
    """Return noise in the shape of the networks of a stack.

    The numbers of a seed depend only on the seed, the task and the update. They are
    drawn in the precision of the networks.

    Args:
        stack: The networks.
        updates: The number of the update of each seed, of shape (S,).
        like_initial: Whether the noise has the distribution of the initial weights.
            Otherwise, it is drawn from N(0, 1).
    """
    network = stack.network
    # the memory of weights has the layout (S, outputs, inputs): see `Network`
    shapes = [w.mT.shape for w in network.weights] + [b.shape for b in network.biases]
    sizes = [shape[1] * shape[2] for shape in shapes]
    dtype = torch.empty(0, dtype=network.weights[0].dtype).numpy().dtype
    numbers = np.empty((network.seeds, sum(sizes)), dtype)
    for row, seed, update in zip(numbers, stack.seeds, updates.tolist(), strict=True):
        random = generator("perturb", seed, stack.task, int(update))
        if like_initial:
            random.random(out=row, dtype=dtype)
        else:
            random.standard_normal(out=row, dtype=dtype)
    noise = torch.from_numpy(numbers).to(network.weights[0].device)
    parts = torch.split(noise, sizes, dim=1)
    tensors = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    layers = len(network.weights)
    if like_initial:
        for tensor, bound in zip(tensors, _initial_bounds(network), strict=True):
            tensor.mul_(2 * bound).sub_(bound)
    weights = [tensor.mT for tensor in tensors[:layers]]
    return network.like(weights + tensors[layers:])


def _initial_bounds(network: Network) -> list[float]:
    """Return the bound of the initial numbers in each of `network.tensors()`."""
    last = network.weights[-1]
    bounds = [
        initial_bound(w.shape[1], network.initialization, output=w is last)
        for w in network.weights
    ]
    return bounds + [0.0 if network.initialization is None else b for b in bounds]
