"""The stack of networks."""

from __future__ import annotations

import math

import jaxtyping
import pytest
import torch

from trainables.networks.network import Network, cross_entropy, forward, initial_network

SIZES = [784, 100, 100, 10]


def test_weights_are_kaiming_uniform_and_biases_zero():
    network = initial_network(SIZES, range(5), dtype=torch.float64)
    layers = zip(network.weights, network.biases, SIZES, SIZES[1:], strict=False)
    for i, (w, b, fan_in, fan_out) in enumerate(layers):
        gain = 1 if i == 2 else math.sqrt(2)
        bound = gain * math.sqrt(3 / fan_in)
        assert w.shape == (5, fan_in, fan_out)
        assert b.shape == (5, 1, fan_out)
        assert (b == 0).all()
        assert 0.99 * bound < w.abs().max() <= bound
        assert w.mean().abs() < 0.02 * bound
        assert w.var() == pytest.approx(gain**2 / fan_in, rel=0.05)


def test_weights_and_biases_of_pytorch_are_those_of_its_layers():
    sizes = [50, 40, 10]
    network = initial_network(
        sizes, range(60), dtype=torch.float64, initialization="pytorch"
    )
    for w, b, fan_in in zip(network.weights, network.biases, sizes, strict=False):
        torch.manual_seed(0)
        layer = torch.nn.Linear(fan_in, 1000, dtype=torch.float64)
        for own, theirs in ((w, layer.weight), (b, layer.bias)):
            bound = theirs.abs().max().item()  # of many draws
            assert 0.95 * bound < own.abs().max() <= 1.01 * bound
            assert own.var() == pytest.approx(theirs.var().item(), rel=0.15)


def test_only_the_last_of_layers_of_one_shape_is_an_output():
    network = initial_network([50, 50, 50, 50], range(20), dtype=torch.float64)
    largest = [w.abs().max().item() for w in network.weights]
    hidden, output = math.sqrt(6 / 50), math.sqrt(3 / 50)
    assert largest == pytest.approx([hidden, hidden, output], rel=0.01)


def test_a_seeds_weights_do_not_depend_on_the_stack():
    together = initial_network(SIZES, [7, 3, 2**32 - 1])
    for place, seed in enumerate([7, 3, 2**32 - 1]):
        alone = initial_network(SIZES, [seed])
        mine = together.part(place, place + 1)
        for one, other in zip(mine.tensors(), alone.tensors(), strict=True):
            assert torch.equal(one, other)


def test_seeds_and_layers_differ():
    network = initial_network([20, 20, 20], [0, 1])
    firsts = {w[s].flatten()[0].item() for w in network.weights for s in range(2)}
    assert len(firsts) == 4


def test_float32_weights_are_the_float64_ones_rounded():
    exact = initial_network(SIZES, [4], dtype=torch.float64)
    for one, other in zip(
        initial_network(SIZES, [4]).tensors(), exact.tensors(), strict=True
    ):
        assert torch.equal(one, other.float())


def test_forward_is_each_seeds_own_network():
    network = initial_network([6, 5, 4, 3], [0, 1], dtype=torch.float64)
    for tensor in network.biases:
        tensor += torch.rand(tensor.shape, dtype=torch.float64)
    inputs = torch.rand(2, 7, 6, dtype=torch.float64)
    layers, logits = forward(network, inputs)
    assert [tuple(x.shape) for x in layers] == [(2, 7, 6), (2, 7, 5), (2, 7, 4)]
    for seed in range(2):
        x = inputs[seed]
        for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
            torch.testing.assert_close(layers[i][seed], x)
            x = x @ w[seed] + b[seed]
            if i < 2:
                x = x.clamp_min(0)
        torch.testing.assert_close(logits[seed], x)


def test_the_loss_is_torchs():
    logits = torch.randn(3, 8, 10, dtype=torch.float64) * 10
    labels = torch.randint(0, 10, (3, 8))
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none"
    )
    torch.testing.assert_close(cross_entropy(logits, labels).flatten(), expected)


def test_the_loss_of_large_logits_is_finite():
    loss = cross_entropy(torch.tensor([[1e30, 0.0], [0.0, -1e4]]), torch.tensor([1, 0]))
    assert loss.tolist() == pytest.approx([1e30, 0])


def test_parts_are_views_and_takes_are_copies():
    network = initial_network([4, 3, 2], [0, 1, 2])
    before = network.map(torch.clone)
    taken = network.take([2, 0])
    for tensor in taken.tensors():
        tensor += 1
    for tensor in network.part(1, 2).tensors():
        tensor += 5
    for now, then, moved in zip(
        network.tensors(), before.tensors(), taken.tensors(), strict=True
    ):
        assert torch.equal(now[[0, 2]], then[[0, 2]])
        assert torch.equal(now[1], then[1] + 5)
        assert torch.equal(moved, then[[2, 0]] + 1)
    assert [network.seeds, taken.seeds, network.take([]).seeds] == [3, 2, 0]


def test_the_rows_of_the_first_layer_are_the_inputs():
    network = initial_network([6, 5, 3], [0, 1], dtype=torch.float64)
    orders = torch.stack([torch.randperm(6), torch.randperm(6)])
    inputs = torch.rand(2, 7, 6, dtype=torch.float64)
    permuted = inputs.gather(2, orders[:, None].expand(2, 7, 6))
    _, expected = forward(network, permuted)
    before = network.map(torch.clone)
    network.permute_inputs(orders.argsort(dim=1))
    torch.testing.assert_close(forward(network, inputs)[1], expected)
    network.permute_inputs(orders)
    for one, other in zip(network.tensors(), before.tensors(), strict=True):
        assert torch.equal(one, other)


def test_shapes_are_checked_when_tests_run():
    jaxtyping.config.update("jaxtyping_disable", False)
    network = Network([torch.zeros(1, 4, 2)], [torch.zeros(1, 1, 2)])
    with pytest.raises(TypeError, match="S n inputs"):
        forward(network, torch.zeros(7, 4))


def test_a_seeds_inner_product_does_not_depend_on_the_other_seeds():
    """To the last bit, however many layers and seeds there are."""
    network = initial_network([7, *range(3, 23)], list(range(16)))
    whole = network.dot(network)
    for seeds in (1, 2, 3, 5):
        part = network.part(0, seeds)
        assert torch.equal(part.dot(part), whole[:seeds])
