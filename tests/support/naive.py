"""A run of one network in torch.nn, as anyone would write it, to compare with a run."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Dataset
from trainables.networks.network import Network
from trainables.optimizers import SAM
from trainables.probes import LANDSCAPE, MEASURES, START, Landscape
from trainables.randomness import generator
from trainables.record import Record
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting


class Model(nn.Module):
    """A network that keeps the outputs of its hidden layers, as (rows, units)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: list[Tensor] = []

    def keep(self, layer: Tensor) -> Tensor:
        """Keep a layer, whose units are the channels of images or the last axis."""
        channels_last = layer.movedim(1, -1) if layer.dim() == 4 else layer
        self.hidden.append(channels_last.detach().flatten(0, -2))
        return layer


def naive_records(
    model: Model, setting: Setting, seed: int, data: Dataset
) -> list[Record]:
    """Train `model` on the stream, and return some columns of its records.

    The optimizer is SGD or SAM. Running statistics of batch normalization stand still
    in the second pass, as in davda54/sam (example/train.py).
    """
    parameters, o = list(model.parameters()), setting.optimizer
    form = setting.form
    options = {"momentum": o.momentum, "weight_decay": o.weight_decay}
    sgd = torch.optim.SGD(parameters, lr=o.lr, **options)

    def set_momentum(momentum: float) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum

    def passes(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, ...], Tensor, float]:
        logits = model(x)[:, : max(labels) + 1]
        loss = functional.cross_entropy(logits, y)
        return torch.autograd.grad(loss, parameters), logits.detach(), loss.item()

    def norm(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        return torch.cat([tensor.detach().flatten() for tensor in tensors]).norm()

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
        set_momentum(0.1)
        slope, logits, loss = passes(x, y)
        if isinstance(o, SAM):
            climb = [o.rho * g / norm(slope) for g in slope]
            set_momentum(0.0)
            with torch.no_grad():
                torch._foreach_add_(parameters, climb)
            slope, _, _ = passes(x, y)
            with torch.no_grad():
                torch._foreach_sub_(parameters, climb)
        for parameter, g in zip(parameters, slope, strict=True):
            parameter.grad = g
        sgd.step()
        return logits, loss

    def examples(images: np.ndarray, of: np.ndarray) -> tuple[Tensor, Tensor]:
        mine = [i for i, label in enumerate(of) if label in labels.values()]
        shape = (-1, form.height, form.width, form.channels)
        x = torch.tensor(images[mine] / 255).view(shape).permute(0, 3, 1, 2)
        label_of = {label: i for i, label in labels.items()}
        return x, torch.tensor([label_of[of[i]] for i in mine])

    rows: list[Record] = []
    for index in range(setting.tasks):
        task = setting.problem.task(seed, index, form)
        labels = dict(enumerate(task.classes))
        x, y = examples(data.train_images, data.train_labels)
        if setting.examples is not None:
            drawn = generator("examples", seed, index).permutation(len(y))
            chosen = np.sort(drawn[: setting.examples])
            x, y = x[chosen], y[chosen]
        model.train()
        correct = loss_sum = 0.0
        for epoch in range(setting.epochs):
            order = generator("order", seed, index, epoch).permutation(len(y))
            for batch in torch.tensor(order).split(setting.batch_size):
                logits, loss = step(x[batch], y[batch])
                correct += (logits.argmax(1) == y[batch]).sum().item()
                loss_sum += loss * len(batch)
        model.eval()
        seen = setting.epochs * len(y)
        test_x, test_y = examples(data.test_images, data.test_labels)
        logits = model(test_x)[:, : len(labels)].detach()
        probed = generator("probe", seed, index).permutation(len(y))
        probed = probed[: len(labels) * min(np.bincount(data.train_labels))]
        model.hidden.clear()
        slope, _, _ = passes(x[probed], y[probed])
        silent = [(h == 0).all(0).double() for h in model.hidden]
        values = torch.linalg.svdvals(model.hidden[-1])
        share = values[values > 0] / values.sum()
        rows.append(
            {
                "seed": seed,
                "task": index,
                "online_accuracy": correct / seen,
                "train_loss": loss_sum / seen,
                "test_loss": functional.cross_entropy(logits, test_y).item(),
                "test_accuracy": (logits.argmax(1) == test_y).double().mean().item(),
                "weight_norm": norm(parameters).item(),
                "gradient_norm": norm(slope).item(),
                "effective_rank": (-(share * share.log()).sum()).exp().item(),
                "layer_dormant_fraction": [units.mean().item() for units in silent],
                "dormant_fraction": torch.cat(silent).mean().item(),
            }
        )
    return rows


SHORT = {"tasks": 2, "batch_size": 8, "examples": 20, "dataset": "mnist-5k"}
"""The stream and training of a setting that takes a second with a tiny network."""


def run_of(setting: Setting, seeds: list[int], data: Dataset) -> ContinualRun:
    """Return a run in float64, without the probes of the landscape."""
    options = RunOptions(landscape_every=0)
    return ContinualRun(setting, seeds, data, options=options, dtype=torch.float64)


def rows_of(run: ContinualRun) -> list[Record]:
    """Train all tasks that are left, and return the measures of each seed and task."""
    rows: list[Record] = []
    while not run.finished:
        rows += run.next_task()
    return only_measures(rows)


def only_measures(rows: list[Record]) -> list[Record]:
    """Return the measures of the rows, with seed and task."""
    return [{n: row[n] for n in (*MEASURES, "seed", "task")} for row in rows]


def check_stopped(setting: Setting, data: Dataset) -> None:
    """Check that a run that is stopped after a task goes on to the last bit."""
    one, other = (run_of(setting, [5, 0], data) for _ in range(2))
    one.next_task()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert rows_of(other) == rows_of(one)


def check_curvature(network: Network, x: Tensor, y: Tensor) -> None:
    """Check a product of the Hessian with differences of gradients, for one network.

    Also check that all probes of the landscape are finite.
    """
    landscape = Landscape(network, x, y, [3], 0)
    random = torch.Generator().manual_seed(2)
    v = torch.randn(1, landscape.hessian.size, generator=random, dtype=torch.float64)
    shapes = [t.mT.shape for t in network.tensors()]
    parts = v[0].split([shape.numel() for shape in shapes])
    step = network.like([p.view(s).mT for p, s in zip(parts, shapes, strict=True)])
    sides = [landscape.gradient_at(network + sign * 1e-6 * step) for sign in (1, -1)]
    slope = (sides[0] - sides[1]) * 5e5
    own = torch.cat([t.mT.flatten() for t in slope.tensors()])
    product = landscape.hessian.product(v)[0]
    torch.testing.assert_close(product, own, rtol=1e-5, atol=1e-6)
    for name, probe in (LANDSCAPE | START).items():
        assert probe(landscape).isfinite().all(), name
