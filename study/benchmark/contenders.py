"""What the benchmark times: the floor, our step, and the loop that people write.

A contender is a function that runs some steps and returns how many, times the runs
that took each. All take the same shapes, on real digits.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from study.benchmark.step_times import Contender
from trainables.datasets import Dataset
from trainables.examples import Examples
from trainables.optimizers import EPSILON
from trainables.problems import CLASSES, PIXELS
from trainables.run import ContinualRun
from trainables.setting import Setting


def large(data: Dataset, name: str, train: int, test: int) -> Dataset:
    """Return a dataset of these sizes: the images over and over, under a name."""
    rows = np.resize(np.arange(len(data.train_labels)), train)
    others = np.resize(np.arange(len(data.test_labels)), test)
    return Dataset(
        name,
        data.train_images[rows],
        data.train_labels[rows],
        data.test_images[others],
        data.test_labels[others],
    )


def products(
    setting: Setting, stack: int, steps: int, device: str, _: Dataset
) -> Contender:
    """Return the floor of SGD: one step's matrix products and nothing else.

    Forward, backward to every layer but the first, and the update fused into the
    gradient's product, in the layout that the step has.
    """
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    batch = setting.batch_size
    h = [torch.rand(stack, batch, n, device=device) for n in sizes]
    d = [torch.rand(stack, batch, n, device=device) for n in sizes]
    out = [torch.empty(stack, batch, n, device=device) for n in sizes]
    # as Network lays them out: (outputs, inputs), seen transposed
    weights = [
        torch.rand(stack, b, a, device=device).mT for a, b in itertools.pairwise(sizes)
    ]
    layers = range(len(weights))

    def run() -> int:
        for _ in range(steps):
            for i in layers:
                torch.bmm(h[i], weights[i], out=out[i + 1])
            for i in layers[:0:-1]:
                torch.bmm(d[i + 1], weights[i].mT, out=out[i])
            for i in layers:
                weights[i].mT.baddbmm_(d[i + 1].mT, h[i], alpha=1e-9)
        return steps * stack

    return run


def ours(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return what a real run does in training: draw, step, count what was right."""
    run = ContinualRun(setting, range(stack), data, device)
    random = np.random.default_rng(0)
    size = steps * setting.batch_size
    examples = []
    for _ in range(stack):
        rows = random.choice(len(data.train_labels), size)
        examples.append(Examples(rows, data.train_labels[rows].astype(int)))

    def contender() -> int:
        run.train(examples)
        return steps * stack

    return contender


def usual(setting: Setting, steps: int, device: str, data: Dataset) -> Contender:
    """Return the loop that people write, with SAM's two passes where it has them.

    nn.Sequential, torch.optim.SGD and a DataLoader over a TensorDataset of permuted
    images; SAM as it is usually written, in place and back, over the parameters.
    """
    sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.optimizer.lr)
    rows = np.random.default_rng(0).choice(
        len(data.train_labels), steps * setting.batch_size
    )
    pixels = np.random.default_rng(0).permutation(PIXELS)
    images = torch.from_numpy(data.train_images[rows][:, pixels]).float() / 255
    labels = torch.from_numpy(data.train_labels[rows].astype(int)) % CLASSES
    dataset = torch.utils.data.TensorDataset(images.to(device), labels.to(device))
    loader = torch.utils.data.DataLoader(dataset, setting.batch_size, shuffle=True)
    rho = setting.optimizer.radius

    def run() -> int:
        correct = torch.zeros((), device=device)
        with torch.enable_grad():
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                nn.functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
                if rho:
                    _usual_ascent(model, optimizer, rho, x, y)
                optimizer.step()
                correct += (logits.argmax(1) == y).sum()
        return steps

    return run


def _usual_ascent(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rho: float,
    x: torch.Tensor,
    y: torch.Tensor,
) -> None:
    """Put the gradient at the perturbed weights in the place of the plain one."""
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm(2) for g in gradients]).norm(2)
    with torch.no_grad():
        moves = [g * (rho / (norm + EPSILON)) for g in gradients]
        for p, move in zip(parameters, moves, strict=True):
            p.add_(move)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.sub_(move)
