"""What the benchmark times: the floor, our step, and the loop that people write.

A contender is a function that makes some steps and returns their number, times the
runs that made each. All have the same shapes and train on real digits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from trainables.data import Dataset, datasets
from trainables.data.examples import Examples
from trainables.optimizers import EPSILON
from trainables.problems import CLASSES, PIXELS
from trainables.run import ContinualRun
from trainables.setting import Setting

Contender = Callable[[], int]


def digits() -> Dataset:
    """Return as many real digits as MNIST has."""
    source = datasets.DATASETS["mnist"]
    data = datasets.load("mnist-5k")
    return repeat_images(data, "mnist", source.train, source.test)


def repeat_images(data: Dataset, name: str, train: int, test: int) -> Dataset:
    """Return a dataset with these numbers of images, which repeat."""
    train_rows = np.resize(np.arange(len(data.train_labels)), train)
    test_rows = np.resize(np.arange(len(data.test_labels)), test)
    return Dataset(
        name,
        data.train_images[train_rows],
        data.train_labels[train_rows],
        data.test_images[test_rows],
        data.test_labels[test_rows],
    )


def products(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return the floor of SGD: the matrix products of a step and nothing else.

    Forward, backward to every layer but the first, and the update fused into the
    product that makes the gradient, in the memory layout of the real step.
    """
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    shape = stack, setting.batch_size
    activations = [torch.rand(*shape, size, device=device) for size in sizes]
    errors = [torch.rand(*shape, size, device=device) for size in sizes]
    out = [torch.empty(*shape, size, device=device) for size in sizes]
    # a network keeps (outputs, inputs), and uses the transpose
    weights = [
        torch.rand(stack, outputs, inputs, device=device).mT
        for inputs, outputs in itertools.pairwise(sizes)
    ]

    def contender() -> int:
        for _ in range(steps):
            for i, weight in enumerate(weights):
                torch.bmm(activations[i], weight, out=out[i + 1])
            for i in reversed(range(1, len(weights))):
                torch.bmm(errors[i + 1], weights[i].mT, out=out[i])
            for i, weight in enumerate(weights):
                weight.mT.baddbmm_(errors[i + 1].mT, activations[i], alpha=1e-9)
        return steps * stack

    return contender


def our_loop(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return the training of a real run: draw, step, count correct answers."""
    run = ContinualRun(setting, range(stack), data, device)
    random = np.random.default_rng(0)
    examples = []
    for _ in range(stack):
        rows = random.choice(len(data.train_labels), steps * setting.batch_size)
        examples.append(Examples(rows, data.train_labels[rows].astype(int)))

    def contender() -> int:
        run.train(examples)
        return steps * stack

    return contender


def usual_loop(
    setting: Setting, steps: int, device: str, data: Dataset
) -> tuple[Contender, nn.Sequential]:
    """Return the loop that people write, and its model.

    nn.Sequential, torch.optim.SGD and a DataLoader over a TensorDataset of permuted
    images; for two passes SAM as it is usually written, in place over the parameters.
    """
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.optimizer.lr)
    random = np.random.default_rng(0)
    rows = random.choice(len(data.train_labels), steps * setting.batch_size)
    pixels = random.permutation(PIXELS)
    images = torch.from_numpy(data.train_images[rows][:, pixels]).float() / 255
    labels = torch.from_numpy(data.train_labels[rows].astype(int)) % CLASSES
    dataset = torch.utils.data.TensorDataset(images.to(device), labels.to(device))
    loader = torch.utils.data.DataLoader(dataset, setting.batch_size, shuffle=True)
    rho = setting.optimizer.rho

    def contender() -> int:
        correct = torch.zeros((), device=device)
        with torch.enable_grad():
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                _backward(logits, y)
                if rho:
                    _sam_gradient(model, optimizer, rho, x, y)
                optimizer.step()
                correct += (logits.argmax(1) == y).sum()
        return steps

    return contender, model


def _backward(logits: torch.Tensor, labels: torch.Tensor) -> None:
    nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]


def _sam_gradient(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    rho: float,
    x: torch.Tensor,
    y: torch.Tensor,
) -> None:
    """Replace the gradient by that at the perturbed weights."""
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm(2) for g in gradients]).norm(2)
    with torch.no_grad():
        moves = [g * (rho / (norm + EPSILON)) for g in gradients]
        for p, move in zip(parameters, moves, strict=True):
            p.add_(move)
    optimizer.zero_grad()
    _backward(model(x), y)
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.sub_(move)
