"""ResNet-18 against the field's in torch.nn, and what works on it."""

from __future__ import annotations

import copy
import functools
import itertools

import pytest
import torch
from torch import Tensor, nn

from tests.support.naive import (
    SHORT,
    Model,
    check_curvature,
    check_stopped,
    naive_records,
    only_measures,
    rows_of,
    run_of,
)
from tests.support.rules import follow
from tests.support.updates import only
from trainables.bases import Adam
from trainables.interventions import INTERVENTIONS, StepShrinkPerturb
from trainables.networks import ResNet18
from trainables.networks.network import Network, forward, initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import OPTIMIZERS, SAM, SGD, Optimizer
from trainables.problems import Form, Growing, LabelPermuted, Pairwise
from trainables.setting import ONE_OUTPUT, PLAIN_LAYERS, Setting
from trainables.steps.reference import loss_gradient
from trainables.steps.update import begin_task, initial_memory, make_update
from trainables.usage import UsageError

TINY = ResNet18(resnet_width=2)
SMALL = Form(8, 6, 3, 4)


class Plain(Model):
    """ResNet-18 of kuangliu/pytorch-cifar, in the order of its layers."""

    def __init__(self, network: Network, seed: int) -> None:
        super().__init__()
        self.read, self.width = network.form.channels, network.weights[0].shape[2]
        self.steps = nn.ModuleList()
        self._add(self.width, 3, 1)
        for stage, block in itertools.product(range(4), range(2)):
            units, stride = self.width * 2**stage, 2 if stage and not block else 1
            read = self.read
            self._add(units, 3, stride)
            self._add(units, 3, 1)
            if stride == 2:
                self.read = read
                self._add(units, 1, 2)
        self.head = nn.Linear(self.read, network.weights[-1].shape[2])
        self.double()
        *pairs, (w, b) = zip(network.weights, network.biases, strict=True)
        for (conv, norm), (rows, shift) in zip(self.steps, pairs, strict=True):
            shape = conv.weight.shape[0], *conv.weight.shape[2:], conv.weight.shape[1]
            kernels = rows[seed, :-1].T.reshape(shape).permute(0, 3, 1, 2)
            conv.weight.data.copy_(kernels)
            norm.weight.data.copy_(rows[seed, -1])
            norm.bias.data.copy_(shift[seed, 0])
        self.head.weight.data.copy_(w[seed].T)
        self.head.bias.data.copy_(b[seed, 0])

    def _add(self, units: int, side: int, stride: int) -> None:
        options = {"padding": side // 2, "bias": False}
        conv = nn.Conv2d(self.read, units, side, stride, **options)
        self.steps.append(nn.Sequential(conv, nn.BatchNorm2d(units)))
        self.read = units

    def forward(self, x: Tensor) -> Tensor:
        steps = iter(self.steps)
        x = self.keep(next(steps)(x).relu())
        for step in steps:
            inner = next(steps)(self.keep(step(x).relu()))
            x = inner + (x if x.shape == inner.shape else next(steps)(x))
            x = self.keep(x.relu())
        x = x.mean((2, 3))
        self.hidden[-1] = x.detach()
        return self.head(x)


def small(seeds: list[int], **more) -> Network:
    options = {"kind": TINY, "form": SMALL, "dtype": torch.float64} | more
    return initial_network([SMALL.pixels, SMALL.classes], seeds, **options)


def images(seeds: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(1)
    shape = (seeds, 7, SMALL.pixels)
    return torch.rand(shape, generator=random, dtype=torch.float64)


def setting_of(optimizer: Optimizer, **more) -> Setting:
    return Setting(optimizer=optimizer, network=TINY, **(SHORT | more))


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        (SGD(lr=0.05, momentum=0.5, weight_decay=0.01), LabelPermuted()),
        (SAM(lr=0.05, rho=0.1), Growing(new_classes=5)),
    ],
    ids=["sgd", "sam"],
)
def test_a_run_is_the_naive_loop(optimizer, problem, few):
    setting = setting_of(optimizer, problem=problem)
    run = run_of(setting, [5], few)
    model = Plain(run.network, 0)
    rows = rows_of(run)
    naive = naive_records(model, setting, 5, few)
    for row, own in zip(rows, naive, strict=True):
        for name, value in own.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    for (_, norm), (mean, variance) in zip(
        model.steps, (s[0] for s in run.network.statistics), strict=True
    ):
        torch.testing.assert_close(mean, norm.running_mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(variance, norm.running_var, rtol=1e-9, atol=1e-12)


def test_its_sizes_are_those_of_resnet_18():
    """11,173,962 parameters for ten classes, as kuangliu/pytorch-cifar has."""
    form = Form(32, 32, 3, 10)
    layers = ResNet18().layers(form, [10])
    biases = sum(layer.units for layer in layers)
    assert sum(n.inputs * n.units for n in layers) + biases == 11_173_962
    assert [layer.positions for layer in layers[::5]] == [1024, 256, 64, 16, 1]


def test_initial_gains_are_1_and_shifts_0():
    network = small([0, 1], initialization="pytorch")
    for w, b in zip(network.weights[:-1], network.biases[:-1], strict=True):
        assert (w[:, -1] == 1).all()
        assert not b.any()
        bound = (w.shape[1] - 1) ** -0.5
        assert 0.5 * bound < w[:, :-1].abs().max() < bound
    assert network.biases[-1].any()


def test_a_stack_is_its_seeds_and_goes_on_to_the_bit(few):
    """Pairs differ in size, so the seeds are sorted, and some batches have one seed."""
    setting = setting_of(SAM(lr=0.05, momentum=0.5), problem=Pairwise(), examples=None)
    run, seeds = run_of(setting, [5, 0, 3], few), [5, 0, 3]
    rows = run.next_task()
    state = copy.deepcopy(run.state_dict())
    rows += run.next_task()
    rows = only_measures(rows)
    again = run_of(setting, seeds, few)
    again.load_state_dict(state)
    assert rows_of(again) == rows[3:]
    for own, other in zip(run.stack.tensors(), again.stack.tensors(), strict=True):
        assert torch.equal(own, other)
    alone = run_of(setting, [3], few)
    for row, own in zip(
        rows_of(alone), (r for r in rows if r["seed"] == 3), strict=True
    ):
        # the losses are summed in blocks, which end where a seed of the stack does
        assert row.pop("train_loss") == pytest.approx(own.pop("train_loss"), rel=1e-12)
        assert row == own
    where = run.alive.index(3)
    for own, other in zip(run.stack.tensors(), alone.stack.tensors(), strict=True):
        assert torch.equal(own[where], other[0])


def as_vector(network: Network, seed: int) -> Tensor:
    return torch.cat([t[seed].flatten() for t in network.tensors()])


def slope_of(network: Network, seed: int, x: Tensor, y: Tensor, vector: Tensor):
    """Return the gradient of a network with these numbers, which learns nothing."""
    shapes = [t[:1].shape for t in network.tensors()]
    parts = vector.split([shape.numel() for shape in shapes])
    numbers = [p.view(s) for p, s in zip(parts, shapes, strict=True)]
    own = network.part(seed, seed + 1).like(numbers).in_mode("climb")
    gradient, _ = loss_gradient(own, x[seed, None], y[seed, None])
    return as_vector(gradient, 0)


@pytest.mark.parametrize(
    ("optimizer", "base"),
    [
        *((kind(lr=0.05, momentum=0.8), None) for kind in OPTIMIZERS.values()),
        (SAM(lr=0.01), Adam()),
    ],
    ids=lambda part: part and part.name,
)
def test_an_optimizer_steps_by_its_rule_and_counts_only_batches_at_the_weights(
    optimizer, base
):
    setting = Setting(optimizer=optimizer, base=base, network=TINY)
    network, x, y = small([3, 5]), images(), torch.arange(14).reshape(2, 7) % 4
    start, counted = network.map(torch.clone), network.map(torch.clone)
    stack = Stack([3, 5], 0, network, initial_memory(setting, network))
    update = make_update(setting, "reference", stack)
    for _ in range(2):
        at_weights = network.map(torch.clone)
        at_weights.statistics = counted.statistics
        forward(at_weights.in_mode("learn"), x)
        update(x, y)
    for own, other in zip(network.statistics, counted.statistics, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)
    weights = sum(w[0].numel() for w in start.weights)
    is_bias = torch.arange(len(as_vector(start, 0))) >= weights
    slope = functools.partial(slope_of, network, 1, x, y)
    expected = follow(optimizer, base, as_vector(start, 1), [slope] * 2, is_bias)
    torch.testing.assert_close(as_vector(network, 1), expected, rtol=1e-9, atol=1e-9)


def test_its_curvature_is_that_of_its_hessian():
    """Tests and probes use the running statistics, here of one batch."""
    form = Form(4, 4, 1, 2)
    kind = ResNet18(resnet_width=1)
    network = initial_network([16, 2], [3], dtype=torch.float64, kind=kind, form=form)
    random = torch.Generator().manual_seed(1)
    x = torch.rand(1, 9, 16, generator=random, dtype=torch.float64)
    y = torch.arange(9)[None] % 2
    forward(network.in_mode("learn"), torch.cat([x, -x], 1))
    check_curvature(network, x, y)


WORKING = sorted({*INTERVENTIONS} - {*PLAIN_LAYERS, *ONE_OUTPUT})


@pytest.mark.parametrize("name", only({"hare_tortoise", "upgd", "warm_start"}, WORKING))
def test_a_run_with_an_intervention_can_be_stopped(name, few):
    more = {"step_noise": "normal"} if name == "step_shrink_perturb" else {}
    setting = setting_of(SGD(lr=0.05), intervention=INTERVENTIONS[name](**more))
    check_stopped(setting, few)


@pytest.mark.parametrize("name", ["fresh", "warm_start"])
def test_a_network_that_begins_anew_forgets_earlier_batches(name, few):
    setting = setting_of(SGD(lr=0.05), intervention=INTERVENTIONS[name]())
    run = run_of(setting, [5], few)
    run.next_task()
    assert run.network.statistics[0][:, 0].any()
    run.stack.task = 1
    begin_task(setting, run.stack)
    for mean, variance in (s[0] for s in run.network.statistics):
        assert not mean.any()
        assert (variance == 1).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        *(({"intervention": INTERVENTIONS[n]()}, f"{n} changes") for n in PLAIN_LAYERS),
        *(
            ({"intervention": INTERVENTIONS[n]()}, f"{n} needs a network")
            for n in ONE_OUTPUT
        ),
        ({"intervention": StepShrinkPerturb()}, "set step_noise to normal"),
        ({"activation": "tanh"}, "leave out activation"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_does_not_work_is_refused_in_one_line(values, words):
    with pytest.raises(UsageError, match=words) as error:
        Setting(network=ResNet18(), **values)
    assert "\n" not in str(error.value)
