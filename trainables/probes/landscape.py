"""What a landscape probe sees: the networks, and the loss around their weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.network import Network, cross_entropy, forward
from trainables.optimizers import EPSILON
from trainables.probes.hessian import Hessian
from trainables.probes.snapshot import Snapshot
from trainables.randomness import generator
from trainables.steps.reference import loss_gradient, norm

SAMPLES = 10
"""Random vectors that estimate the trace."""

RADIUS = 0.05
"""Length of the step to `Landscape.ascended`: the same for all settings, whatever their
rho, so that they can be compared. Foret et al.'s choice (arXiv 2010.01412)."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """The networks w, and the loss L around them on a fixed batch.

    Attributes:
        network: The S networks.
        inputs: The probe examples, of shape (S, n, inputs).
        labels: Their labels, of shape (S, n).
        seeds: Of the networks; with `task` they fix the random vectors.
        task: Its number.
    """

    network: Network
    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    task: int

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """The networks as probes of the network see them, before a task."""
        layers, _ = forward(self.network, self.inputs)
        network = self.network
        return Snapshot(network, layers[1:], self.gradient, network, network)

    @functools.cached_property
    def hessian(self) -> Hessian:
        """The Hessian of L at w."""
        return Hessian(self.network, self.inputs, self.labels)

    @functools.cached_property
    def quadratic_forms(self) -> Tensor:
        """z^T H z for `SAMPLES` random sign vectors z: shape (S, SAMPLES), float64."""
        shape = (SAMPLES, self.hessian.size)
        signs = np.stack(
            [
                2 * generator("hutchinson", seed, self.task).integers(2, size=shape) - 1
                for seed in self.seeds
            ],
            axis=1,
        )
        vectors = torch.from_numpy(signs).to(self.inputs.device, self.inputs.dtype)
        forms = [
            (row.double() * self.hessian.product(row)).sum(dim=1) for row in vectors
        ]
        return torch.stack(forms, dim=1)

    @functools.cached_property
    def gradient(self) -> Network:
        """The gradient of L at w."""
        return self.gradient_at(self.network)

    @functools.cached_property
    def ascended(self) -> Network:
        """SAM's point, w + RADIUS grad L(w) / ||grad L(w)||."""
        return self.climb(self.gradient)

    def climb(self, direction: Network) -> Network:
        """Return w after a step of length `RADIUS` in a direction."""
        size = RADIUS / (norm(direction) + EPSILON)
        steps = iter(direction.tensors())
        return self.network.map(lambda tensor: tensor + size * next(steps))

    def gradient_at(self, network: Network) -> Network:
        """Return the gradient of L at a network."""
        return loss_gradient(network, self.inputs, self.labels)[0]

    def loss_at(self, network: Network) -> Tensor:
        """Return L at a network, of shape (S,), summed in float64."""
        _, logits = forward(network, self.inputs)
        return cross_entropy(logits, self.labels).double().mean(dim=1)
