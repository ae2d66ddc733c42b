"""Whole runs: against a naive loop, alone and stacked, stopped and gone on with.

The golden numbers are made anew, after a change that is meant to change them, by

    PYTHONPATH=.:tests python tests/trainables/test_run.py
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import rotate

from trainables import measuring
from trainables.data import Dataset, examples
from trainables.networks import Conv
from trainables.networks.activations import ACTIVATIONS
from trainables.networks.network import initial_network
from trainables.optimizers import ASAM, GNP, SAM, SGD, Optimizer, VaSSO
from trainables.probes import LANDSCAPE, MEASURES, START, Landscape
from trainables.probes.lanczos import ROOM
from trainables.probes.landscape import BATCH
from trainables.problems import (
    PROBLEMS,
    LabelPermuted,
    Pairwise,
    Permuted,
    Problem,
    RandomLabels,
)
from trainables.randomness import generator
from trainables.record import (
    OUTCOME_COLUMNS,
    Record,
    all_columns,
    to_table,
)
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps import training
from trainables.usage import UsageError

GOLDEN = Path(__file__).parents[1] / "golden" / "run.json"

OWN = [
    name
    for name, column in MEASURES.items()
    if not column.meaning.startswith(("control: ", "td: ", "grid: "))
]
"""The measures of runs with images; the others are null."""

BITS = [*OWN, "diverged", "steps", "task", "task_label", "seed"]
"""What two equal runs have in common to the last bit."""

AROUND = [*LANDSCAPE, *START]
"""What is null where the loss's landscape is not looked at."""

STREAMS = (Permuted, Pairwise)
OTHERS = [
    p for p in PROBLEMS.values() if not p.control and not p.grows and p not in STREAMS
]
"""networks/test_resnet.py has the naive loop of a problem that grows."""
MIXTURES = (SGD, SAM, GNP, ASAM)
"""The optimizers that C can step. test_conformance.py has runs of the others."""

EVERY = [
    pytest.param(o(lr=0.05, momentum=0.5), p(), id=f"{o.name}-{p.name}")
    for o, p in (
        *itertools.product(MIXTURES, STREAMS),
        *itertools.product([SGD], OTHERS),  # one optimizer, to save time
    )
]

SOME = [case for case in EVERY if isinstance(case.values[0], SGD)]
SOME += [
    case
    for case in EVERY
    if case.id in ("sam-permuted", "gnp-pairwise", "asam-permuted")
]
"""Every problem and every optimizer, but not each with each, to save time."""

MIXED = len(MIXTURES) * len(STREAMS)
"""`EVERY` begins with as many cases: each of `MIXTURES` on each of `STREAMS`."""


def small(optimizer: Optimizer, problem: Problem, **more) -> Setting:
    values = {"tasks": 3, "batch_size": 8, "hidden": (12, 10)} | more
    return Setting(optimizer=optimizer, problem=problem, dataset="mnist-5k", **values)


def records_of(
    setting: Setting,
    seeds: list[int],
    data: Dataset,
    *,
    landscape_every: int = 0,
    look_back: int = 0,
    **more,
) -> list[Record]:
    options = RunOptions(landscape_every=landscape_every, look_back=look_back)
    one = ContinualRun(setting, seeds, data, options=options, **more)
    return [row for _ in range(setting.tasks) for row in one.next_task()]


UNPROBED = RunOptions(landscape_every=0)
"""Without the probes of the landscape, which take longer than all the rest."""


def probed_under(optimizer: Optimizer) -> dict[str, int]:
    """Return how often to measure the landscape: under one optimizer, to save time."""
    return {"landscape_every": 10 if isinstance(optimizer, GNP) else 0}


def only(rows: list[Record], columns=BITS) -> list[Record]:
    return [{name: row[name] for name in columns} for row in rows]


def of(rows: list[Record], *seeds: int) -> list[Record]:
    return [row for row in rows if row["seed"] in seeds]


def assert_close(rows: list[Record], others: list[Record], tolerance=1e-9) -> None:
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
        for name in BITS:
            value = other[name]
            if isinstance(value, float | list):
                value = pytest.approx(value, rel=tolerance, abs=tolerance)
            assert row[name] == value, (name, row["seed"], row["task"])


# ---- what a run computes


LOOK_BACK = 2

BILINEAR = {"reshape": False, "order": 1, "mode": "grid-constant"}


class Activated(torch.nn.Module):
    """An activation, in the words of its definition."""

    def __init__(self, name: str | None) -> None:
        super().__init__()
        self.name = name

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        if self.name == "crelu":
            return torch.cat([F.relu(z), F.relu(-z)], dim=1)
        if self.name == "sine_cosine":
            return torch.cat([torch.sin(z), torch.cos(z)], dim=1)
        if self.name == "leaky_relu_tenth":
            return torch.where(z > 0, z, 0.1 * z)
        if self.name == "leaky_relu":
            return torch.where(z > 0, z, 0.01 * z)
        return torch.tanh(z) if self.name == "tanh" else F.relu(z)


class Rows(torch.nn.Module):
    """All numbers of an image in a row: the channels of a pixel side by side."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z if z.dim() == 2 else z.permute(0, 2, 3, 1).flatten(1)


def naive(setting: Setting, seed: int, data: Dataset) -> list[Record]:
    """One network as anyone would write it: permute the images, loop, measure."""
    sizes = [784, *setting.hidden, setting.outputs]
    start = initial_network(
        sizes,
        [seed],
        dtype=torch.float64,
        initialization=setting.initialization,
        activation=setting.activation,
        kind=setting.network,
        form=setting.form,
    )
    layers: list[torch.nn.Module] = [torch.nn.Identity()]
    convolutions = setting.network.front if setting.network else 0
    for i, (w, b) in enumerate(zip(start.weights, start.biases, strict=True)):
        layer: torch.nn.Module
        if i < convolutions:
            layers[0] = torch.nn.Unflatten(1, (1, 28, 28))
            side, read = (3 if i else 5), (start.weights[i - 1].shape[2] if i else 1)
            layer = torch.nn.Conv2d(read, w.shape[2], side, dtype=torch.float64)
            kernels = w[0].T.reshape(-1, side, side, read)
            layer.weight.data = kernels.permute(0, 3, 1, 2).clone()
            layers += [layer, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        else:
            layer = torch.nn.Linear(*w[0].shape, dtype=torch.float64)
            layer.weight.data = w[0].T.clone()
            layers += [Rows(), layer, Activated(setting.activation)]
        layer.bias.data = b[0, 0].clone()
    model = torch.nn.Sequential(*layers[:-1])
    parameters = list(model.parameters())
    o = setting.optimizer
    sgd = torch.optim.SGD(
        parameters, lr=o.lr, momentum=o.momentum, weight_decay=o.weight_decay
    )

    low = setting.input_low or 0

    def task_data(task, images, labels, index=None):
        mine = [i for i, label in enumerate(labels) if label in task.classes]
        if index is not None and task.share is not None:
            order = generator("share", seed).permutation(len(mine))
            share = max(1, round(task.share * len(mine)))
            mine = [mine[i] for i in sorted(order[:share])]
        if index is not None and setting.examples is not None:
            draw = generator("examples", seed, 0 if task.shuffled else index)
            order = draw.permutation(len(mine))[: setting.examples]
            mine = [mine[i] for i in sorted(order)]
        images = images[mine]
        if task.angle:
            turned = [
                rotate(image.reshape(28, 28).astype(float), task.angle, **BILINEAR)
                for image in images
            ]
            images = np.rint(turned).reshape(-1, 784)
        x = torch.tensor(low + (1 - low) * images / 255)
        if setting.normalization:  # the digits have one channel
            x = (x - np.mean(data.train_images / 255)) / np.std(data.train_images / 255)
        if task.pixels is not None:
            x = x[:, task.pixels]
        y = [task.classes.index(labels[i]) for i in mine]
        if task.shuffled:
            y = generator("labels", seed, index).permutation(y)
        return x, torch.tensor(y)

    def gradients(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        return torch.autograd.grad(loss, parameters), logits.detach(), loss.item()

    def total(tensors):
        return torch.cat([t.detach().flatten() for t in tensors]).norm()

    def distances(tensors):
        """Of each layer, and of all: how far the parameters are from these."""
        gone = [p.detach() - t for p, t in zip(parameters, tensors, strict=True)]
        layers = [
            total(pair).item() for pair in zip(gone[::2], gone[1::2], strict=True)
        ]
        return layers, total(gone).item()

    rows, tests = [], []
    first = [p.detach().clone() for p in parameters]
    for index in range(setting.tasks):
        before = [p.detach().clone() for p in parameters]
        task = setting.problem.task(seed, index)
        x, y = task_data(task, data.train_images, data.train_labels, index)
        correct = loss_sum = steps = 0
        for epoch in range(setting.epochs):
            order = generator("order", seed, index, epoch).permutation(len(y))
            for batch in torch.tensor(order).split(setting.batch_size):
                here, logits, loss = gradients(x[batch], y[batch])
                correct += (logits.argmax(1) == y[batch]).sum().item()
                loss_sum += loss * len(batch)
                steps += 1
                if isinstance(o, SAM | GNP):
                    climb = [o.rho * g / total(here) for g in here]
                    for p, c in zip(parameters, climb, strict=True):
                        p.data += c
                    there, _, _ = gradients(x[batch], y[batch])
                    for p, c in zip(parameters, climb, strict=True):
                        p.data -= c
                    alpha = o.alpha if isinstance(o, GNP) else 1
                    here = [
                        (1 - alpha) * a + alpha * b
                        for a, b in zip(here, there, strict=True)
                    ]
                for p, g in zip(parameters, here, strict=True):
                    p.grad = g
                sgd.step()
        seen = setting.epochs * len(y)
        test_x, test_y = x, y
        if not task.shuffled:
            test_x, test_y = task_data(task, data.test_images, data.test_labels)
        earlier = [
            (model(old_x).argmax(1) == old_y).double().mean().item()
            for old_x, old_y in tests[: -1 - LOOK_BACK : -1]
        ]
        tests.append((test_x, test_y))
        logits = model(test_x).detach()
        size = min(
            measuring.EXAMPLES, len(task.classes) * min(np.bincount(data.train_labels))
        )
        probed = generator("probe", seed, index).permutation(len(y))[:size]
        hidden, z = [], x[probed]
        for layer in model[:-1]:
            z = layer(z)
            if isinstance(layer, Activated):
                hidden.append(z.detach())
            if isinstance(layer, torch.nn.MaxPool2d):  # a row for each position
                hidden.append(z.detach().permute(0, 2, 3, 1).flatten(0, 2))
        values = torch.linalg.svdvals(hidden[-1])
        share = values[values > 0] / values.sum()
        of_all, of_squares = (v.cumsum(0) / v.sum() for v in (values, values**2))
        covariance = torch.cov(hidden[-1].T)
        scores = [h.abs().mean(0) / h.abs().mean() for h in hidden]
        active = torch.cat([(h > 0).double().mean(0) for h in hidden])
        signs = torch.stack([active, 1 - active])
        bits = -torch.xlogy(signs, signs).sum(0) / math.log(2)
        silent = [(h == 0).all(0).double().mean().item() for h in hidden]
        rows.append(
            {
                "seed": seed,
                "task": index,
                "task_label": task.label,
                "online_accuracy": correct / seen,
                "train_loss": loss_sum / seen,
                "test_loss": F.cross_entropy(logits, test_y).item(),
                "test_accuracy": (logits.argmax(1) == test_y).double().mean().item(),
                "dormant_fraction": torch.cat([(h == 0).all(0) for h in hidden])
                .double()
                .mean()
                .item(),
                "effective_rank": (-(share * share.log()).sum()).exp().item(),
                "stable_rank": (values.square().sum() / values[0] ** 2).item(),
                "weight_norm": total(parameters).item(),
                "gradient_norm": total(gradients(x[probed], y[probed])[0]).item(),
                **dict.fromkeys(AROUND),
                "sign_entropy": bits.mean().item(),
                "dormant_fraction_tau": (torch.cat(scores) <= 0.025)
                .double()
                .mean()
                .item(),
                "srank": 1 + (of_all < 0.99).sum().item(),
                "approximate_rank": 1 + (of_squares < 0.99).sum().item(),
                "participation_ratio": (
                    covariance.trace() ** 2 / (covariance @ covariance).trace()
                ).item(),
                "initial_distance": distances(first)[1],
                "update_norm": distances(before)[1],
                "layer_dormant_fraction": silent,
                "layer_weight_norm": distances([0 * p for p in first])[0],
                "layer_initial_distance": distances(first)[0],
                "layer_update_norm": distances(before)[0],
                "backward_accuracy": earlier or None,
                "diverged": False,
                "steps": steps,
            }
        )
    return rows


@pytest.mark.parametrize(
    ("optimizer", "problem", "epochs", "batch"),
    [
        (SGD(lr=0.05), Permuted(), 1, 8),
        (SGD(lr=0.02, momentum=0.8, weight_decay=0.01), Permuted(), 2, 7),
        (SAM(lr=0.05, rho=0.1), Pairwise(), 1, 8),
        (SAM(lr=0.02, rho=0.1, momentum=0.8), Permuted(), 2, 50),
        (GNP(lr=0.05, rho=0.1, alpha=0.6), Permuted(), 1, 16),
        (GNP(lr=0.02, momentum=0.5, weight_decay=0.01), Pairwise(), 3, 5),
        (SGD(lr=0.01), Pairwise(), 2, 1),
        (GNP(lr=0.01), Pairwise(), 1, 1),
        (SAM(lr=0.05), Pairwise(), 2, 1000),
    ],
)
def test_a_run_is_the_naive_loop(
    optimizer, problem, epochs, batch, few, monkeypatch: pytest.MonkeyPatch
):
    setting = small(optimizer, problem, epochs=epochs, batch_size=batch)
    check_naive(setting, few, monkeypatch)


@pytest.mark.parametrize("problem", [problem() for problem in OTHERS], ids=str)
def test_a_run_on_another_stream_is_the_naive_loop(problem, few, monkeypatch):
    if problem.name == "accumulating":
        problem = attrs.evolve(problem, chunks=5)  # of 100 chunks, one has one image
    check_naive(small(SGD(lr=0.05), problem), few, monkeypatch)


@pytest.mark.parametrize(
    ("problem", "protocol"),
    [
        (Permuted(), {"examples": 60}),
        (RandomLabels(), {"examples": 60}),
        (Permuted(), {"initialization": "pytorch"}),
        (Permuted(), {"input_low": -1.0}),
        (Permuted(), {"normalization": "dataset"}),
        *((Permuted(), {"activation": name}) for name in ACTIVATIONS),
        (Pairwise(), {"input_low": -0.5, "initialization": "pytorch", "examples": 55}),
    ],
    ids=str,
)
def test_a_run_with_another_protocol_is_the_naive_loop(
    problem, protocol, few, monkeypatch
):
    setting = small(SAM(lr=0.01, rho=0.02), problem, **protocol)
    check_naive(setting, few, monkeypatch)


CONV = Conv(conv_channels="2-3")


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        (SGD(lr=0.02, momentum=0.5), LabelPermuted()),
        (SAM(lr=0.05, rho=0.1, momentum=0.5), Pairwise()),
        (GNP(lr=0.02, rho=0.1, weight_decay=0.01), Permuted()),
    ],
)
def test_a_run_of_a_convolutional_network_is_the_naive_loop(
    optimizer, problem, few, monkeypatch
):
    setting = small(optimizer, problem, network=CONV, batch_size=16, examples=24)
    check_naive(setting, few, monkeypatch, 1e-9)


def check_naive(setting, few, monkeypatch: pytest.MonkeyPatch, tolerance=1e-8):
    # so that testing and gathering take several pieces, and probes not every example
    monkeypatch.setattr(measuring, "TEST_BATCH", 7)
    monkeypatch.setattr(measuring, "EXAMPLES", 50)
    monkeypatch.setattr(examples, "BLOCK_EXAMPLES", 60)
    monkeypatch.setattr(training, "READ_EXAMPLES", 30)
    rows = records_of(setting, [3, 5], few, dtype=torch.float64, look_back=LOOK_BACK)
    assert_close(of(rows, 5), naive(setting, 5, few), tolerance)


def test_looking_back_changes_nothing_else(few):
    setting = small(SGD(lr=0.05, momentum=0.5), Permuted())
    rest = [name for name in BITS if name != "backward_accuracy"]
    plain_rows = records_of(setting, [0, 1], few)
    rows = records_of(setting, [0, 1], few, look_back=1)
    assert only(rows, rest) == only(plain_rows, rest)
    assert {row["backward_accuracy"] for row in plain_rows} == {None}
    lengths = [
        row["backward_accuracy"] and len(row["backward_accuracy"]) for row in rows
    ]
    assert lengths == [None, None, 1, 1, 1, 1]


def test_all_engines_make_the_same_run(few):
    setting = small(GNP(lr=0.05, momentum=0.5), Pairwise())
    runs = [
        records_of(
            setting,
            [0, 1],
            few,
            dtype=torch.float64,
            engine=engine,
            landscape_every=10,
        )
        for engine in ("native", "reference")
    ]
    assert_close(*runs)


def test_a_run_learns(digits):
    setting = small(SGD(lr=0.05), Permuted(), tasks=1, hidden=(50,))
    row = records_of(setting, [0], digits)[0]
    assert row["test_accuracy"] > 0.85
    assert 0.5 < row["online_accuracy"] < row["test_accuracy"]
    assert 0 < row["test_loss"] < row["train_loss"] < 2


def test_the_last_short_batch_is_kept(few):
    rows = records_of(small(SGD(), Permuted(), epochs=2, tasks=1), [0], few)
    assert len(few.train_labels) == 116
    assert rows[0]["steps"] == 2 * 15


# ---- the landscape of the loss


def seen_by_hand(run: ContinualRun, seed: int, data: Dataset, task: int) -> Landscape:
    """What a run's network, as it stands, meets in a task: its images permuted."""
    told = run.setting.problem.task(seed, task)
    mine = np.flatnonzero(np.isin(data.train_labels, told.classes))
    size = len(told.classes) * min(np.bincount(data.train_labels))
    drawn = mine[generator("probe", seed, task).permutation(len(mine))[:size]]
    images = data.train_images[drawn] / 255
    if told.pixels is not None:
        images = images[:, told.pixels]
    labels = np.searchsorted(told.classes, data.train_labels[drawn])
    alone = run.network.take([run.alive.index(seed)])
    return Landscape(
        alone, torch.from_numpy(images)[None], torch.from_numpy(labels)[None], [8], 0
    )


@pytest.mark.parametrize(("optimizer", "problem"), EVERY[:2])
def test_the_landscape_is_that_before_and_after_each_task(optimizer, problem, few):
    """On the task's own examples, and its own permutation of the pixels."""
    setting = small(optimizer, problem, tasks=2)
    one = ContinualRun(
        setting, [4, 2], few, dtype=torch.float64, options=RunOptions(landscape_every=1)
    )
    for task in range(setting.tasks):
        before = {seed: seen_by_hand(one, seed, few, task) for seed in (4, 2)}
        for row in one.next_task():
            seed = row["seed"]
            after = seen_by_hand(one, seed, few, task)
            for name in ("sharpness", "sam_sharpness", "lipschitz"):
                for column, seen in ((f"start_{name}", before[seed]), (name, after)):
                    expected = pytest.approx(LANDSCAPE[name](seen).item(), rel=1e-6)
                    assert row[column] == expected, column
            slope = torch.cat([t.flatten() for t in before[seed].gradient.tensors()])
            assert row["start_gradient_norm"] == pytest.approx(slope.norm().item())
            error = 5 * row["hessian_trace_error"]
            trace = LANDSCAPE["hessian_trace"](after).item()
            assert trace == pytest.approx(row["hessian_trace"], rel=1e-9, abs=error)


@pytest.mark.parametrize(
    ("every", "looked_at"), [(0, []), (2, [0, 2, 4]), (3, [0, 3, 4])]
)
def test_the_landscape_is_looked_at_every_few_tasks(every, looked_at, few):
    setting = small(SGD(), Pairwise(), tasks=5, hidden=(3,))
    rows = records_of(setting, [0], few, landscape_every=every)
    for row in rows:
        known = {name for name in AROUND if row[name] is not None}
        assert known == (set(AROUND) if row["task"] in looked_at else set())


def test_looking_changes_nothing_else(few):
    columns = [name for name in BITS if name not in AROUND]
    setting = small(GNP(lr=0.05, momentum=0.5), Pairwise(), tasks=2)
    runs = [
        only(records_of(setting, [1, 0], few, landscape_every=every), columns)
        for every in (0, 1)
    ]
    assert runs[0] == runs[1]


def test_what_is_looked_at_does_not_depend_on_parts(few, monkeypatch):
    setting = small(SAM(), Pairwise(), tasks=1)
    looks = {"dtype": torch.float64, "landscape_every": 10}
    whole = records_of(setting, [1, 0, 5], few, **looks)
    looked: list[int] = []

    def counted(network, *seen) -> Landscape:
        looked.append(network.seeds)
        return Landscape(network, *seen)

    monkeypatch.setattr(measuring, "Landscape", counted)
    for seeds_at_once in (1, 2):
        looked.clear()
        copies = max(2 * ROOM, 5 * measuring.EXAMPLES // BATCH)
        each = 8 * (copies * 9572 + 10 * 2 * 24 * 16)
        memory = each * seeds_at_once + 1
        monkeypatch.setitem(measuring.CHUNK_MEMORY, "cpu", memory)
        parts = records_of(setting, [1, 0, 5], few, **looks)
        assert max(looked) == seeds_at_once
        if seeds_at_once > 1:  # then no pixels are left out: another random vector
            for row, own in zip(parts, whole, strict=True):
                row["start_hessian_rank"] = own["start_hessian_rank"]
        assert_close(parts, whole)


@pytest.mark.parametrize("networks", [2, 10])
@pytest.mark.parametrize("problem", [Permuted(), Pairwise()], ids=lambda p: p.name)
def test_networks_are_tested_together_as_alone(networks, problem, few, monkeypatch):
    """As on a GPU. Pairs of digits have different numbers of test examples."""
    setting = small(SAM(lr=0.05), problem)
    options = {"dtype": torch.float64, "engine": "torch", "landscape_every": 0}
    options["look_back"] = 1
    alone = records_of(setting, [1, 0, 5, 2, 8], few, **options)
    monkeypatch.setitem(measuring.TEST_NETWORKS, "cpu", networks)
    monkeypatch.setattr(measuring, "TEST_BATCH", 7)
    assert_close(records_of(setting, [1, 0, 5, 2, 8], few, **options), alone)


def test_what_is_looked_at_does_not_depend_on_stops(few):
    setting = small(SAM(), Permuted())
    straight = records_of(setting, [1, 0], few, landscape_every=2)
    one = ContinualRun(setting, [1, 0], few, options=RunOptions(landscape_every=2))
    rows = one.next_task()
    while not one.finished:
        state = one.state_dict()
        one = ContinualRun(setting, [1, 0], few, options=RunOptions(landscape_every=2))
        one.load_state_dict(state)
        rows += one.next_task()
    assert only(rows) == only(straight)


@pytest.mark.parametrize("every", [-1, True])
def test_landscape_every_is_checked(every):
    with pytest.raises(UsageError, match="landscape_every is"):
        RunOptions(landscape_every=every)


# ---- who shares the stack


@pytest.mark.parametrize(("optimizer", "problem"), SOME)
def test_a_stack_is_its_single_runs(optimizer, problem, few):
    setting = small(optimizer, problem)
    options = {"dtype": torch.float64, **probed_under(optimizer)}
    together = records_of(setting, [4, 2, 9, 0], few, **options)
    for seed in (2, 0):
        alone = records_of(setting, [seed], few, **options)
        assert_close(of(together, seed), alone)
    if problem == Pairwise():
        assert len({row["steps"] for row in together if row["task"] == 0}) > 1


def test_a_stack_of_convolutional_networks_is_its_single_runs(few):
    """Also if one of them diverges, and however often the run is stopped."""
    fields = {"network": CONV, "hidden": (6, 5), "examples": 12}
    setting = small(VaSSO(lr=0.05, momentum=0.5), Permuted(), **fields)
    seeds, fields = [4, 2, 9, 0], {"dtype": torch.float64}
    together = records_of(setting, seeds, few, **fields)
    for seed in (2, 0):
        assert_close(of(together, seed), records_of(setting, [seed], few, **fields))

    def begun() -> ContinualRun:
        return ContinualRun(setting, seeds, few, options=UNPROBED, **fields)

    one, rows = begun(), []
    while not one.finished:
        rows += one.next_task()
        state, one = one.state_dict(), begun()
        one.load_state_dict(state)
    assert only(rows) == only(together)
    sick = begun()
    rows = sick.next_task()
    sick.network.weights[0][sick.alive.index(2), 0, 0] = torch.nan
    while not sick.finished:
        rows += sick.next_task()
    assert [row["diverged"] for row in of(rows, 2)] == [False, True, True]
    assert_close(of(rows, 4, 9, 0), of(together, 4, 9, 0))


@pytest.mark.parametrize(
    ("optimizer", "problem"), [case for case in SOME if case in EVERY[:MIXED]]
)
def test_a_seed_that_diverges_touches_no_other(optimizer, problem, few):
    poison = math.nan if isinstance(optimizer, SGD) else math.inf
    setting = small(optimizer, problem)
    every = probed_under(optimizer)
    options = RunOptions(**every)
    sick = ContinualRun(setting, [4, 2, 9], few, dtype=torch.float64, options=options)
    rows = sick.next_task()
    sick.network.weights[1][sick.alive.index(2), 0, 0] = poison
    while not sick.finished:
        rows += sick.next_task()
    well = records_of(setting, [4, 9], few, dtype=torch.float64, **every)
    assert_close(of(rows, 4, 9), well)
    first, lost, after = of(rows, 2)
    assert not first["diverged"]
    assert (lost["diverged"], after["diverged"]) == (True, True)
    assert (lost["steps"] > 0, after["steps"]) == (True, 0)
    for row in (lost, after):
        assert [row[name] for name in MEASURES] == [None] * len(MEASURES)
    assert sorted(sick.alive) == [4, 9]


@pytest.mark.parametrize(("optimizer", "problem"), EVERY[:MIXED])
def test_all_may_diverge(optimizer, problem, few):
    """Infinite activations are no error, and the stream goes on to its end."""
    lr = 1e10 if isinstance(problem, Permuted) else 1e30
    hot = type(optimizer)(lr=lr, momentum=0.9)
    rows = records_of(small(hot, problem), [0, 1], few, **probed_under(hot))
    assert [row["diverged"] for row in rows] == [True] * 6
    assert [row["task"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row["steps"] > 0 for row in rows] == [True, True, *[False] * 4]
    assert [row["seconds"] > 0 for row in rows] == [True, True, *[False] * 4]


def test_what_is_large_but_finite_has_not_diverged(few):
    run_ = ContinualRun(small(SGD(lr=1e-30), Permuted(), tasks=1), [0], few)
    run_.network.weights[-1] *= 1e25
    (row,) = run_.next_task()
    assert not row["diverged"]
    # the square of such a number, which curvature has, is too large
    large = {name for name in OWN if row[name] is None}
    assert large <= {
        "sharpness",
        "hessian_trace",
        "hessian_trace_error",
        "start_step_gain",
        "backward_accuracy",  # on the tasks before the first
    }
    flat = [np.ravel(row[name]) for name in OWN if name not in large]
    assert np.isfinite(np.concatenate(flat)).all()


# ---- the same again: test_conformance.py has each problem and optimizer


GONE_ON = [case for case in SOME if case.values[0].name != "sgd"]
GONE_ON += [
    case for case in SOME if case.id in ("sgd-accumulating", "sgd-random-labels")
]
"""tests/whole/test_sweep.py has two runs that go on in another process, with Ray."""

GO_ON = """
import json, sys, numpy, torch
from trainables.data import Dataset
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting

torch.set_num_threads(1)
data = Dataset("mnist-5k", *numpy.load(sys.argv[1]).values())
rows = {}
for path in sys.argv[2:]:
    state = torch.load(path, weights_only=True)
    setting = Setting.from_row(state["setting"])
    every = 10 if setting.optimizer.name == "gnp" else 0
    options = RunOptions(landscape_every=every)
    run = ContinualRun(setting, state["seeds"], data, options=options)
    run.load_state_dict(state)
    rows[path] = run.next_task()
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def gone_on(few: Dataset, tmp_path_factory) -> dict[str, list[Record]]:
    """Third tasks, in a new process, of runs that were stopped after two."""
    folder = tmp_path_factory.mktemp("states")
    arrays = few.train_images, few.train_labels, few.test_images, few.test_labels
    np.savez(folder / "data.npz", *arrays)
    paths = {}
    for case in GONE_ON:
        options = RunOptions(**probed_under(case.values[0]))
        stopped = ContinualRun(small(*case.values), [4, 2, 9], few, options=options)
        stopped.next_task()
        stopped.next_task()
        paths[case.id] = str(folder / f"{case.id}.pt")
        torch.save(stopped.state_dict(), paths[case.id])
    command = [sys.executable, "-c", GO_ON, str(folder / "data.npz"), *paths.values()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    return {name: rows[path] for name, path in paths.items()}


@pytest.mark.chaos
@pytest.mark.parametrize(("optimizer", "problem"), GONE_ON)
def test_a_run_goes_on_in_another_process(optimizer, problem, few, gone_on):
    looks = probed_under(optimizer)
    straight = records_of(small(optimizer, problem), [4, 2, 9], few, **looks)[-3:]
    assert only(gone_on[f"{optimizer.name}-{problem.name}"]) == only(straight)


def test_a_state_is_a_copy(few):
    setting = small(SGD(momentum=0.9), Permuted())
    one = ContinualRun(setting, [0, 1], few, options=UNPROBED)
    one.next_task()
    state = one.state_dict()
    rows = [one.next_task(), one.next_task()]
    for _ in range(2):
        one.load_state_dict(state)
        assert [only(one.next_task()), only(one.next_task())] == [*map(only, rows)]


def test_a_run_goes_on_after_a_seed_diverged(few, tmp_path):
    setting = small(SAM(momentum=0.5), Pairwise(), tasks=4)
    one = ContinualRun(setting, [4, 2, 9], few, options=UNPROBED)
    one.network.biases[0][1] = torch.inf
    one.next_task()
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other = ContinualRun(setting, [4, 2, 9], few, options=UNPROBED)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.alive == one.alive
    assert 2 not in other.alive
    assert only(other.next_task()) == only(one.next_task())
    for seed in (4, 9):
        one.network.biases[0][one.alive.index(seed)] = torch.nan
    one.next_task()
    other.load_state_dict(one.state_dict())
    assert other.alive == []
    assert [row["diverged"] for row in other.next_task()] == [True] * 3
    assert other.finished


def test_a_state_of_another_run_is_refused(few):
    state = ContinualRun(small(SGD(), Permuted()), [0, 1], few).state_dict()
    with pytest.raises(
        UsageError, match=r"state has optimizer sgd, but .* optimizer sam"
    ):
        ContinualRun(small(SAM(), Permuted()), [0, 1], few).load_state_dict(state)
    with pytest.raises(UsageError, match=r"\[0, 1\], but this run has seeds \[1\]"):
        ContinualRun(small(SGD(), Permuted()), [1], few).load_state_dict(state)


def test_a_state_from_before_a_hyperparameter_was_added_is_used(few):
    setting = small(SGD(), Permuted())
    one = ContinualRun(setting, [0], few, options=UNPROBED)
    one.next_task()
    state = one.state_dict()
    state["setting"] = {k: v for k, v in state["setting"].items() if v is not None}
    other = ContinualRun(setting, [0], few, options=UNPROBED)
    other.load_state_dict(state)
    assert only(other.next_task()) == only(one.next_task())


# ---- the frame


def test_a_stream_ends(few):
    setting = small(SGD(), Pairwise(), tasks=2)
    one = ContinualRun(setting, [0], few, options=UNPROBED)
    assert [one.finished, one.task] == [False, 0]
    one.next_task()
    one.next_task()
    assert [one.finished, one.task] == [True, 2]
    with pytest.raises(StopIteration, match="all 2 tasks are finished"):
        one.next_task()


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([-1], "seed is -1"),
        ([2**32], "seed is 4294967296"),
        ([0, 1, 0], "no seed twice"),
        ([], "at least one"),
        ([True], "seed is True"),
    ],
)
def test_seeds_are_checked(seeds, words, few):
    with pytest.raises(UsageError, match=words):
        ContinualRun(small(SGD(), Permuted()), seeds, few)


def test_the_largest_seed_runs(few):
    records_of(small(SGD(), Pairwise(), tasks=1), [2**32 - 1], few)


def test_another_dataset_is_refused(few):
    with pytest.raises(UsageError, match="but the setting has mnist"):
        ContinualRun(Setting(), [0], few)


def test_records_fit_the_schema(few):
    setting = small(GNP(), Pairwise())
    rows = records_of(setting, [9, 4], few, landscape_every=10)
    assert [row["seed"] for row in rows] == [9, 4] * 3
    assert set(all_columns()) - set(rows[0]) == {"study", "trial_id"}
    table = to_table({"study": "s", "trial_id": "t"} | row for row in rows)
    assert table.num_rows == 6
    for row in rows:
        assert {name: row[name] for name in setting.row()} == setting.row()
        assert row["setting_id"] == setting.setting_id
        assert row["run_id"] == setting.run_id(row["seed"])
        assert row["task_label"] == Pairwise().task(row["seed"], row["task"]).label
        assert row["device"] == "cpu"
        assert set(OUTCOME_COLUMNS) <= set(row)


def test_the_images_are_not_written_to(few):
    before = [few.train_images.copy(), few.test_images.copy()]
    records_of(small(SAM(), Permuted()), [0], few, landscape_every=10)
    for now, then in zip((few.train_images, few.test_images), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_read_only_images_do(few):
    """As they come out of Ray's object store."""
    arrays = few.train_images, few.train_labels, few.test_images, few.test_labels
    frozen = [array.copy() for array in arrays]
    for array in frozen:
        array.flags.writeable = False
    setting = small(SGD(), Permuted(), tasks=1)
    rows = [records_of(setting, [0], d) for d in (few, Dataset("mnist-5k", *frozen))]
    assert only(rows[0]) == only(rows[1])


# ---- numbers that do not change by themselves


def golden_rows(data: Dataset) -> dict[str, list[Record]]:
    rows = {}
    for case in EVERY:
        setting = small(*case.values, epochs=2)
        looks = probed_under(case.values[0]) | {"look_back": LOOK_BACK}
        made = records_of(setting, [0, 1], data, dtype=torch.float64, **looks)
        rows[str(case.id)] = only(made)
    return rows


def test_golden(few):
    expected = json.loads(GOLDEN.read_text())
    got = golden_rows(few)
    assert list(got) == list(expected)
    for name, rows in got.items():
        assert_close(rows, expected[name])


if __name__ == "__main__":
    from conftest import cut

    from trainables.data import load

    made = golden_rows(cut(load("mnist-5k")))
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
