"""Make contenders that compute the steps of SGD, SAM and GNP with JAX or torch.func.

All contenders compute the equations of GNP with automatic differentiation, for all
seeds at once (vmap). None has code that is written for this step alone. JAX makes all
steps of a round in one call (scan), and torch.func makes one step per call, with or
without torch.compile.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.benchmark.steps import Contender, Maker
from trainables.data import Dataset
from trainables.optimizers import EPSILON
from trainables.setting import Setting
from trainables.usage import UsageError


def layer_sizes(setting: Setting) -> list[tuple[int, int]]:
    """Return the numbers of inputs and outputs of each layer."""
    sizes = [setting.form.pixels, *setting.hidden, setting.outputs]
    return list(itertools.pairwise(sizes))


def jax_loop(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return a contender that trains with JAX, on the device that JAX prefers.

    Raises:
        UsageError: JAX is not installed.
    """
    try:
        jax: Any = importlib.import_module("jax")
    except ImportError as error:
        raise UsageError(
            "JAX is not installed: run pip install jax, or leave out --peers jax"
        ) from error
    jnp = jax.numpy
    optimizer, random = setting.optimizer, np.random.default_rng(0)
    images, answers = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    batches = jnp.asarray(
        random.integers(0, len(answers), (stack, steps, setting.batch_size))
    )

    def loss(layers: Any, x: Any, y: Any) -> Any:
        for w, b in layers[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = layers[-1]
        log_p = jax.nn.log_softmax(x @ w + b)
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    def step(layers: Any, positions: Any) -> tuple[Any, None]:
        x = images[positions].astype(jnp.float32) / 255
        y = answers[positions].astype(jnp.int32)
        gradient = jax.grad(loss)(layers, x, y)
        if optimizer.rho:
            squares = sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient))
            s = optimizer.rho / (jnp.sqrt(squares) + EPSILON)
            point = jax.tree.map(lambda w, g: w + s * g, layers, gradient)
            a, uphill = optimizer.alpha, jax.grad(loss)(point, x, y)
            gradient = jax.tree.map(
                lambda g1, g2: (1 - a) * g1 + a * g2, gradient, uphill
            )
        move = jax.tree.map(lambda w, g: w - optimizer.lr * g, layers, gradient)
        return move, None

    train = jax.jit(
        jax.vmap(lambda layers, batch: jax.lax.scan(step, layers, batch)[0])
    )
    layers = [
        (
            jnp.asarray(random.normal(0, i**-0.5, (stack, i, o)), jnp.float32),
            jnp.zeros((stack, o), jnp.float32),
        )
        for i, o in layer_sizes(setting)
    ]

    def contender() -> int:
        nonlocal layers
        layers = jax.block_until_ready(train(layers, batches))
        return steps * stack

    return contender


def function_loop(
    setting: Setting,
    stack: int,
    steps: int,
    device: str,
    data: Dataset,
    *,
    compiled: bool = False,
) -> Contender:
    """Return a contender that trains with torch.func.vmap, and maybe torch.compile."""
    optimizer, random = setting.optimizer, np.random.default_rng(0)
    rows = random.integers(
        0, len(data.train_labels), (steps, stack, setting.batch_size)
    )
    images = torch.from_numpy(data.train_images).to(device)
    batches = torch.from_numpy(rows).to(device)
    answers = torch.from_numpy(data.train_labels.astype(int)).to(device)

    def loss(layers: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        *hidden, (w, b) = zip(layers[::2], layers[1::2], strict=True)
        for weights, biases in hidden:
            x = torch.relu(x @ weights + biases)
        return nn.functional.cross_entropy(x @ w + b, y)

    def train(layers: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
        gradient = torch.func.grad(loss)(layers, x, y)
        if optimizer.rho:
            norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
            s = optimizer.rho / (norm + EPSILON)
            point = [w + s * g for w, g in zip(layers, gradient, strict=True)]
            uphill = torch.func.grad(loss)(point, x, y)
            pairs = zip(gradient, uphill, strict=True)
            gradient = [torch.lerp(g1, g2, optimizer.alpha) for g1, g2 in pairs]
        pairs = zip(layers, gradient, strict=True)
        return [w - optimizer.lr * g for w, g in pairs]

    step: Any = torch.func.vmap(train)
    if compiled:
        step = torch.compile(step, dynamic=False)
    layers = []
    for i, o in layer_sizes(setting):
        layers.append(torch.randn(stack, i, o, device=device) * i**-0.5)
        layers.append(torch.zeros(stack, o, device=device))

    def contender() -> int:
        nonlocal layers
        for positions in batches:
            layers = step(layers, images[positions] / 255, answers[positions])
        return steps * stack

    return contender


PEERS: dict[str, Maker] = {
    "jax": jax_loop,
    "torch.compile": functools.partial(function_loop, compiled=True),
    "torch.func": function_loop,
}
