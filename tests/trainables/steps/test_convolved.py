"""Convolutional networks in C against the reference engine, in float64."""

from __future__ import annotations

import pytest
import torch

from trainables.networks import Conv
from trainables.networks.network import Network, forward, initial_network
from trainables.problems import Form
from trainables.setting import Setting
from trainables.steps import check, convolved, extension, reference
from trainables.steps.engine import choose_engine

try:
    check.load(torch.float64)
except extension.Unavailable as error:
    pytest.skip(f"the C steps cannot run: {error}", allow_module_level=True)

FORMS = [
    (Form(28, 28, 1, 10), "8-16-32", 16),
    (Form(14, 12, 2, 3), "2-3-4", 7),  # the last convolution leaves one position
    (Form(1, 40, 1, 10), "5-6-9", 19),  # a signal; two lines and a part of a third
    (Form(33, 30, 3, 10), "5-6-9", 9),  # squares leave out a row
    (Form(3, 3, 2, 4), "3-5", 1),  # kernels are cut to the image
]
forms = pytest.mark.parametrize(("form", "channels", "batch"), FORMS)


def some(
    form: Form, channels: str, batch: int, dtype: torch.dtype = torch.float64
) -> tuple[Network, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    network = initial_network(
        [form.pixels, 6, 5, form.classes],
        [0, 1, 2],
        dtype=dtype,
        kind=Conv(conv_channels=channels),
        form=form,
        initialization="pytorch",
    )
    x = torch.rand(3, batch, form.pixels, generator=random, dtype=dtype)
    return network, x, torch.randint(form.classes, x.shape[:2], generator=random)


@forms
def test_gradients_are_those_of_the_reference_engine(form, channels, batch):
    network, x, y = some(form, channels, batch)
    mine, logits = convolved.loss_gradient(network, x, y)
    theirs, expected = reference.loss_gradient(network, x, y)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-13)
    for got, right in zip(mine.tensors(), theirs.tensors(), strict=True):
        torch.testing.assert_close(got, right, rtol=1e-10, atol=1e-13)
        assert got.abs().max() > 0


@forms
def test_hidden_layers_are_those_of_the_reference_engine(form, channels, batch):
    network, x, y = some(form, channels, batch)
    layers, logits = forward(network, x)
    gradient, hidden, _ = convolved.both_passes(network, x, y)
    for got, right in zip(hidden, layers[1:], strict=True):
        torch.testing.assert_close(got, right, rtol=1e-12, atol=1e-13)
    alone, _ = convolved.loss_gradient(network, x, y)
    assert all(map(torch.equal, gradient.tensors(), alone.tensors()))
    tested = convolved.forward_logits(network, x)
    torch.testing.assert_close(tested, logits, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@forms
def test_a_seed_alone_is_the_same_to_the_last_bit(form, channels, batch, dtype):
    network, x, y = some(form, channels, batch, dtype)
    together, logits = convolved.loss_gradient(network, x, y)
    for seed in range(3):
        own = slice(seed, seed + 1)
        alone, own_logits = convolved.loss_gradient(
            network.part(seed, seed + 1), x[own], y[own]
        )
        assert torch.equal(own_logits, logits[own])
        for got, right in zip(alone.tensors(), together.tensors(), strict=True):
            assert torch.equal(got, right[own])


def test_of_equal_outputs_the_first_gets_the_error():
    """As in torch's maximum, and a ReLU of exactly 0 gets none."""
    network, x, y = some(Form(8, 8, 1, 3), "2", 4)
    x.fill_(0.5)
    mine, _ = convolved.loss_gradient(network, x, y)
    theirs, _ = reference.loss_gradient(network, x, y)
    torch.testing.assert_close(mine.weights[0], theirs.weights[0])
    network.biases[0].zero_()
    silent, _ = convolved.loss_gradient(network, 0 * x, y)
    assert silent.biases[0].abs().max() == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_diverged_network_has_logits_that_are_not_finite(value):
    network, x, y = some(*FORMS[0])
    network.weights[0][1, 3, 0] = value
    _, logits = convolved.loss_gradient(network, x + 0.1, y)
    assert logits.isfinite().all(2).all(1).tolist() == [True, False, True]


def test_c_does_not_have_the_layers_of_a_new_convolutional_network():
    new = type("New", (Conv,), {})(conv_channels="2-3")
    form = Form(8, 8, 1, 3)
    for kind, is_in_c in ((Conv(conv_channels="2-3"), True), (new, False)):
        network = initial_network([form.pixels, 5, 3], [0], kind=kind, form=form)
        assert convolved.supports(network) == is_in_c


def test_the_engine_is_chosen_by_what_c_can_do():
    network, *_ = some(*FORMS[1])
    assert choose_engine(Setting(), network) == "native"
    assert choose_engine(Setting(), network, "torch") == "reference"
    network.activation = "tanh"
    assert choose_engine(Setting(), network) == "reference"
    network.activation, network.normalized = None, True
    assert choose_engine(Setting(), network) == "reference"
