"""The convolutional network against the authors' in torch.nn, and by hand."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

from tests.support.rules import follow
from trainables.bases import Adam
from trainables.data import Dataset
from trainables.interventions import INTERVENTIONS
from trainables.networks import Conv
from trainables.networks.activations import ACTIVATIONS
from trainables.networks.network import Network, forward, initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import OPTIMIZERS, SAM, SGD
from trainables.probes import LANDSCAPE, MEASURES, Landscape
from trainables.problems import MNIST, Form, Pairwise
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps.reference import loss_gradient
from trainables.steps.update import initial_memory, make_update
from trainables.usage import UsageError

SMALL = Form(14, 12, 2, 3)
CONV = Conv(conv_channels="2-3-4")


def small(seeds=(0, 1), form: Form = SMALL, kind: Conv = CONV, **more) -> Network:
    sizes = [form.pixels, 6, 5, form.classes]
    return initial_network(
        sizes, seeds, dtype=torch.float64, kind=kind, form=form, **more
    )


def images(form: Form = SMALL, seeds: int = 2) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    shape = (seeds, 7, form.pixels)
    return torch.rand(shape, generator=random, dtype=torch.float64)


def in_torch(network: Network, seed: int) -> nn.Sequential:
    """Return one network as Dohare et al. write it (conv_net.py:10-44)."""
    layers: list[nn.Module] = []
    read, sides = network.form.channels, [5, 3, 3]
    for w, b in zip(network.weights, network.biases, strict=True):
        layer: nn.Module
        if sides:
            side = sides.pop(0)
            layer = nn.Conv2d(read, w.shape[2], side, dtype=w.dtype)
            kernels = w[seed].T.reshape(-1, side, side, read)
            layer.weight.data = kernels.permute(0, 3, 1, 2).clone()
            layers += [layer, nn.ReLU(), nn.MaxPool2d(2)]
        else:
            layer = nn.Linear(*w[seed].shape, dtype=w.dtype)
            layer.weight.data = w[seed].T.clone()
            layers += [layer, nn.ReLU()]
        layer.bias.data = b[seed, 0].clone()
        read = w.shape[2]
    layers.insert(9, nn.Flatten())
    return nn.Sequential(*layers[:-1])


def test_it_is_the_authors_network():
    """The last convolution leaves one position, in whose order nothing can go wrong."""
    form = Form(28, 28, 2, 3)
    network, x = small(form=form, initialization="pytorch"), images(form)
    labels = torch.arange(14).reshape(2, 7) % 3
    hidden, logits = forward(network, x)
    gradient, _ = loss_gradient(network, x, labels)
    for seed in range(2):
        model = in_torch(network, seed)
        image = x[seed].reshape(7, 28, 28, 2).permute(0, 3, 1, 2)
        out = model(image)
        torch.testing.assert_close(logits[seed], out, rtol=1e-12, atol=1e-12)
        first = model[:3](image).permute(0, 2, 3, 1).reshape(-1, 2)
        torch.testing.assert_close(hidden[1][seed], first, rtol=1e-12, atol=1e-12)
        nn.functional.cross_entropy(out, labels[seed]).backward()
        convolutions = [m for m in model if isinstance(m, nn.Conv2d)]
        for layer, w in zip(convolutions, gradient.weights, strict=False):
            own = layer.weight.grad.permute(0, 2, 3, 1).reshape(len(layer.weight), -1)
            torch.testing.assert_close(w[seed].T, own, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "positions", "pooled", "inputs"),
    [
        (MNIST, [24 * 24, 10 * 10, 3 * 3], [144, 25, 1], [25, 32 * 9, 64 * 9, 128]),
        # as in the authors' code: 128 channels at 2 x 2 positions
        (
            Form(32, 32, 3, 2),
            [28 * 28, 12 * 12, 4 * 4],
            [196, 36, 4],
            [75, 288, 576, 512],
        ),
        # the kernels are cut to the one row of the image
        (Form(1, 40, 1, 10), [36, 16, 6], [18, 8, 3], [5, 96, 192, 384]),
    ],
)
def test_the_sizes_of_the_layers_follow_from_the_image(form, positions, pooled, inputs):
    layers = Conv().layers(form, [128, 128, form.classes])
    assert [layer.positions for layer in layers] == [*positions, 1, 1, 1]
    assert [layer.inputs for layer in layers] == [*inputs, 128, 128]
    kinds = {"kind": Conv(), "form": form}
    network = initial_network([form.pixels, 128, 128, form.classes], [0], **kinds)
    hidden, logits = forward(network, torch.rand(1, 2, form.pixels))
    assert [h.shape[1] for h in hidden[1:4]] == [2 * p for p in pooled]
    assert [h.shape[2] for h in hidden[1:]] == [32, 64, 128, 128, 128]
    assert logits.shape == (1, 2, form.classes)


def first_layer(network: Network, x: torch.Tensor) -> torch.Tensor:
    """Return what the first convolution of the first network computes."""
    image = x[0].reshape(7, 14, 12, 2).permute(0, 3, 1, 2)
    kernels = network.weights[0][0].T.reshape(-1, 5, 5, 2).permute(0, 3, 1, 2)
    return nn.functional.conv2d(image, kernels)


def assert_first_output(network: Network, x: torch.Tensor, z: torch.Tensor) -> None:
    """Assert that the first layer's output is the maximum of z, channel by channel."""
    expected = nn.functional.max_pool2d(z, 2).permute(0, 2, 3, 1).flatten(0, 2)
    got = forward(network, x)[0][1][0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_layer_is_normalized_over_its_channels_and_positions():
    network, x = small(normalized=True), images()
    network.biases[0].fill_(0.5)
    z = first_layer(network, x)
    z = z - z.mean((1, 2, 3), keepdim=True)
    z = z / (z.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
    assert_first_output(network, x, (z + 0.5).relu())


ACTIVATED = {
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.01 * z),
    "leaky_relu_tenth": lambda z: torch.where(z > 0, z, 0.1 * z),
    "tanh": torch.tanh,
    "crelu": lambda z: torch.cat([z.relu(), (-z).relu()], 1),
    "sine_cosine": lambda z: torch.cat([z.sin(), z.cos()], 1),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_comes_before_the_maximum(activation):
    network, x = small(activation=activation), images()
    assert_first_output(network, x, ACTIVATED[activation](first_layer(network, x)))


@pytest.mark.parametrize("channels", ["", "8-", "8-0", "a"])
def test_channels_that_are_no_numbers_are_refused(channels):
    with pytest.raises(UsageError, match="conv_channels"):
        Conv(conv_channels=channels)


def test_channels_may_be_given_as_a_list():
    assert Conv(conv_channels=[8, 16]) == Conv(conv_channels="08-16")
    assert Conv(conv_channels="8-16").front == 2


# ---- what works on it


TINY = Form(8, 8, 1, 3)
TINY_CONV = Conv(conv_channels="2-3")
COMMON = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01}


def tiny(seeds: list[int]) -> Network:
    sizes = [TINY.pixels, 4, TINY.classes]
    return initial_network(sizes, seeds, dtype=torch.float64, kind=TINY_CONV, form=TINY)


def tiny_batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(3)
    x = torch.rand(steps, 2, 6, TINY.pixels, generator=random, dtype=torch.float64)
    y = torch.randint(0, TINY.classes, (steps, 2, 6), generator=random)
    return list(zip(x, y, strict=True))


def as_vector(network: Network, seed: int) -> torch.Tensor:
    """Return one network's numbers in the order of the memory of its tensors."""
    return torch.cat([t[seed].mT.flatten() for t in network.tensors()])


def loss_of(vector: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of one tiny network, in torch's functions."""
    shapes = [(2, 25), (3, 8), (4, 3), (3, 4), (2,), (3,), (4,), (3,)]
    parts = vector.split([math.prod(shape) for shape in shapes])
    w1, w2, w3, w4, *biases = (p.view(s) for p, s in zip(parts, shapes, strict=True))
    z = x.view(-1, 1, 8, 8)
    for w, side, read, b in ((w1, 5, 1, biases[0]), (w2, 2, 2, biases[1])):
        kernels = w.view(-1, side, side, read).permute(0, 3, 1, 2)
        z = nn.functional.conv2d(z, kernels, b)
        z = nn.functional.max_pool2d(z, min(2, z.shape[2])).relu()
    h = nn.functional.linear(z.flatten(1), w3, biases[2]).relu()
    return nn.functional.cross_entropy(nn.functional.linear(h, w4, biases[3]), y)


@pytest.mark.parametrize(
    ("optimizer", "base"),
    [
        *((kind(**COMMON), None) for kind in OPTIMIZERS.values()),
        (SAM(lr=0.01), Adam()),
    ],
    ids=lambda part: part and part.name,
)
def test_an_optimizers_steps_on_it_are_its_rule(optimizer, base):
    setting = Setting(optimizer=optimizer, base=base, network=TINY_CONV)
    network, batches = tiny([3, 5]), tiny_batches(4)
    start = network.map(torch.clone)
    stack = Stack([3, 5], 0, network, initial_memory(setting, network))
    update = make_update(setting, "reference", stack)
    for x, y in batches:
        update(x, y)
    is_bias = torch.arange(len(as_vector(start, 0))) >= sum(
        w[0].numel() for w in start.weights
    )
    for seed in range(2):
        slopes = [
            torch.func.grad(functools.partial(loss_of, x=x[seed], y=y[seed]))
            for x, y in batches
        ]
        expected = follow(optimizer, base, as_vector(start, seed), slopes, is_bias)
        torch.testing.assert_close(
            as_vector(network, seed), expected, rtol=1e-10, atol=1e-10
        )


def test_its_curvature_is_that_of_its_hessian():
    network, ((x, y),) = tiny([3, 5]), tiny_batches(1)
    landscape = Landscape(network, x, y, [3, 5], 0)
    sharpness = LANDSCAPE["sharpness"](landscape)
    size = landscape.hessian.size
    trace = landscape.quadratic_forms.mean(dim=1)
    for seed in range(2):
        exact = torch.autograd.functional.hessian(
            functools.partial(loss_of, x=x[seed], y=y[seed]), as_vector(network, seed)
        )
        basis = torch.eye(size, dtype=torch.float64)[:20]
        rows = [landscape.hessian.product(v.expand(2, size))[seed] for v in basis]
        torch.testing.assert_close(torch.stack(rows), exact[:20], rtol=0, atol=1e-12)
        values = torch.linalg.eigvalsh(exact)
        assert sharpness[seed].item() == pytest.approx(values[-1].item(), rel=1e-6)
        error = exact.square().sum().sqrt().item()
        assert trace[seed].item() == pytest.approx(exact.trace().item(), abs=error)


def run_of(name: str, few: Dataset) -> ContinualRun:
    setting = Setting(
        problem=Pairwise(),
        dataset="mnist-5k",
        tasks=2,
        batch_size=8,
        network=TINY_CONV,
        hidden=(6,),
        optimizer=SGD(lr=0.05, momentum=0.5),
        intervention=INTERVENTIONS[name](),
    )
    return ContinualRun(setting, [5, 0], few, options=RunOptions(landscape_every=0))


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_a_run_with_an_intervention_can_be_stopped(name, few):
    one, other = run_of(name, few), run_of(name, few)
    one.next_task()
    state = one.state_dict()
    other.load_state_dict(state)
    for row, own in zip(other.next_task(), one.next_task(), strict=True):
        assert not row["diverged"]
        assert {n: row[n] for n in MEASURES} == {n: own[n] for n in MEASURES}
    assert not torch.equal(state["network"][0], other.network.weights[0])
