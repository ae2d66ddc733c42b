"""Units of convolutions are channels: replaced, ranked and aged over all positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.bases import Adam
from trainables.interventions import INTERVENTIONS, SNR, ContinualBackprop, ReDo
from trainables.interventions.units.replacement import replace_units
from trainables.networks import Conv
from trainables.networks.network import forward, initial_network
from trainables.networks.stack import Stack
from trainables.problems import Form
from trainables.setting import ONE_OUTPUT, Setting
from trainables.steps.update import initial_memory, make_update
from trainables.usage import UsageError

FORM = Form(20, 20, 2, 3)
"""The second convolution leaves 3 x 3 positions of each of its three channels."""

UNITS = [2, 3, 5]
READ = [2 * 25, 2 * 9, 3 * 9, 5]


def stack_of(**parts) -> Stack:
    conv = Conv(conv_channels="2-3")
    setting = Setting(network=conv, hidden=(5,), **parts)
    network = initial_network(
        [FORM.pixels, 5, 3], [4, 7], dtype=torch.float64, kind=conv, form=FORM
    )
    assert [w.shape[1] for w in network.weights] == READ
    return Stack([4, 7], 1, network, initial_memory(setting, network))


def images(count: int = 6) -> Tensor:
    random = torch.Generator().manual_seed(5)
    return torch.rand(2, count, FORM.pixels, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_nothing_reads_a_channel_that_is_new(layer_by_layer):
    stack, x = stack_of(), images()
    before = stack.network.map(torch.clone)
    chosen = [torch.zeros(2, units, dtype=torch.bool) for units in UNITS]
    chosen[0][0, 1] = chosen[1][0, 2] = True
    steps = torch.ones(2).long()
    replace_units(stack, chosen, "recycle", steps, layer_by_layer=layer_by_layer)
    logits = forward(stack.network, x)[1]
    network = stack.network
    for layer, unit in ((0, 1), (1, 2)):
        assert not torch.equal(
            network.weights[layer][0, :, unit], before.weights[layer][0, :, unit]
        )
        rows = network.weights[layer + 1][0]
        is_read = torch.arange(len(rows)) % UNITS[layer] == unit
        drawn = torch.arange(rows.shape[1]) == (2 if layer == 0 else -1)
        assert (rows[is_read][:, ~drawn] == 0).all()
        assert (rows[~is_read][:, ~drawn] != 0).all()
        network.weights[layer][0, :, unit] += 1
    if not layer_by_layer:  # the weights that join two new channels are 0 too
        torch.testing.assert_close(forward(network, x)[1], logits, rtol=0, atol=0)
    for mine, old in zip(network.tensors(), before.tensors(), strict=True):
        assert torch.equal(mine[1], old[1])


def test_the_utility_of_a_channel_is_the_authors():
    """As in convGnT.py:86-142, which sees images as (examples, channels, positions)."""
    intervention = ContinualBackprop(maturity=10**6, utility_decay=0.9)
    stack = stack_of(intervention=intervention)
    batches = images(4), images(8)[:, 4:]
    hidden = [forward(stack.network, x)[0][1:] for x in batches]
    for outputs in hidden:
        intervention.judge(stack, outputs)
    weights, eta = stack.network.weights, 0.9
    got = torch.split(stack.memory.marks["utility"], UNITS, dim=1)
    for seed in range(2):
        for layer, units in enumerate(UNITS):
            utility = mean = torch.zeros(units, dtype=torch.float64)
            incoming = weights[layer][seed].abs().mean(0)
            outgoing = weights[layer + 1][seed].abs().mean(1)
            for t, outputs in enumerate(hidden, start=1):
                h = outputs[layer][seed].reshape(4, -1, units)
                mean = eta * mean + (1 - eta) * h.mean((0, 1))
                change = (h - mean / (1 - eta**t)).abs()
                if layer == 0:  # to a convolution
                    use = change.mean((0, 1)) * outgoing.view(9, units).mean(0)
                else:  # each position of the image has weights of its own
                    use = (change.mean(0) * outgoing.view(-1, units)).mean(0)
                utility = eta * utility + (1 - eta) * use / incoming
            torch.testing.assert_close(got[layer][seed], utility)


def test_a_weight_of_a_channel_is_as_old_as_the_channel():
    """A weight's first step has the size lr, and its later ones are smaller."""
    stack = stack_of(base=Adam(), intervention=ContinualBackprop())
    network, marks = stack.network, stack.memory.marks
    marks["updates"] += 100
    marks["age"] += 100
    marks["age"][:, 1] = marks["age"][:, 2 + 2] = 0  # a channel of each convolution
    before, ones = network.map(torch.clone), network.map(torch.ones_like)
    Adam().descend(network, stack.memory, ones, lr=0.1)
    steps = before - network
    for layer, (w, units) in enumerate(zip(steps.weights, [2, *UNITS], strict=True)):
        row, column = (torch.arange(n) for n in w.shape[1:])
        new = [{1: 1, 2: 2}.get(layer, -1), {0: 1, 1: 2}.get(layer, -1)]
        young = (row % units == new[0])[:, None] | (column == new[1])
        torch.testing.assert_close(w[0][young], torch.full_like(w[0][young], 0.1))
        assert (w[0][~young] < 0.099).all()


@pytest.mark.parametrize(
    "intervention",
    [
        ReDo(redo_tau=0.8, redo_every=2),
        SNR(snr_every=1, snr_threshold=1, snr_least=1, snr_limit=4),
        ContinualBackprop(replacement_rate=0.5, maturity=1),
    ],
    ids=lambda part: part.name,
)
def test_a_channel_is_replaced_in_a_run(intervention):
    stack = stack_of(intervention=intervention)
    network = stack.network
    network.biases[0][0, 0, 1] = -100  # this channel is dead
    setting = Setting(network=network.kind, hidden=(5,), intervention=intervention)
    update = make_update(setting, "reference", stack)
    labels = torch.arange(12).reshape(2, 6) % 3
    for _ in range(3):
        update(images(), labels)
    assert network.biases[0][0, 0, 1] > -1


class Tangled(Conv):
    """A network whose layers are in no chain."""

    is_chain = False


@pytest.mark.parametrize("name", ONE_OUTPUT)
def test_units_of_layers_that_are_in_no_chain_are_not_replaced(name):
    with pytest.raises(UsageError, match=f"{name} needs a network in which each layer"):
        Setting(network=Tangled(), intervention=INTERVENTIONS[name]())
