"""The vision transformer against torch.nn's blocks, and what works on it."""

from __future__ import annotations

import copy

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
from tests.support.updates import only
from trainables.bases import Adam
from trainables.interventions import INTERVENTIONS, StepShrinkPerturb
from trainables.networks import ViT
from trainables.networks.network import Network, initial_network
from trainables.optimizers import OPTIMIZERS, SAM, SGD, Optimizer
from trainables.problems import Form, LabelPermuted, Pairwise
from trainables.setting import ONE_OUTPUT, PLAIN_LAYERS, Setting
from trainables.usage import UsageError

TINY = ViT(vit_patch=14, vit_dim=6, vit_depth=2, vit_heads=2)


class Plain(Model):
    """A pre-norm transformer of torch.nn, with a class token and positions."""

    def __init__(self, network: Network, seed: int) -> None:
        super().__init__()
        kind, form = network.kind, network.form
        self.side, d = kind.vit_patch, kind.vit_dim
        self.patches = nn.Linear(self.side**2 * form.channels, d)
        w, b = network.weights[1], network.biases[1]
        self.positions = nn.Parameter(w[seed].clone())
        self.token = nn.Parameter(b[seed].clone())
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                *(d, kind.vit_heads, 4 * d, 0.0, "gelu"),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(kind.vit_depth)
        )
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, form.classes)
        self.double()
        own = [self.patches.weight, self.patches.bias]
        for block in self.blocks:
            attention = block.self_attn
            own += [block.norm1.weight, block.norm1.bias]
            own += [attention.in_proj_weight, attention.in_proj_bias]
            own += [attention.out_proj.weight, attention.out_proj.bias]
            for layer in (block.norm2, block.linear1, block.linear2):
                own += [layer.weight, layer.bias]
            block.linear2.register_forward_pre_hook(
                lambda _, inputs: self.hidden.append(inputs[0].detach().flatten(0, 1))
            )
        own += [self.norm.weight, self.norm.bias, self.head.weight, self.head.bias]
        theirs = list(zip(network.weights, network.biases, strict=True))
        del theirs[1]
        for i, (w, b) in enumerate(theirs):
            weight, bias = own[2 * i : 2 * i + 2]
            weight.data.copy_(w[seed].T.reshape(weight.shape))
            bias.data.copy_(b[seed, 0])

    def forward(self, x: Tensor) -> Tensor:
        n, channels = x.shape[:2]
        cut = x.unfold(2, self.side, self.side).unfold(3, self.side, self.side)
        cut = cut.permute(0, 2, 3, 4, 5, 1)  # each patch by row, column and channel
        tokens = self.patches(cut.reshape(n, -1, self.side**2 * channels))
        z = torch.cat([self.token.expand(n, 1, -1), tokens], 1) + self.positions
        for block in self.blocks:
            z = block(z)
        return self.head(self.keep(self.norm(z[:, 0])))


def setting_of(optimizer: Optimizer, **more) -> Setting:
    return Setting(optimizer=optimizer, network=TINY, **(SHORT | more))


@pytest.mark.parametrize(
    "optimizer",
    [SGD(lr=0.05, momentum=0.5, weight_decay=0.01), SAM(lr=0.05, rho=0.1)],
    ids=["sgd", "sam"],
)
def test_a_run_is_the_naive_loop(optimizer, few):
    setting = setting_of(optimizer, problem=LabelPermuted())
    run = run_of(setting, [5], few)
    model = Plain(run.network, 0)
    rows = rows_of(run)
    for row, own in zip(rows, naive_records(model, setting, 5, few), strict=True):
        for name, value in own.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def test_patches_of_colors_are_those_of_torch():
    form, kind = Form(4, 6, 3, 3), ViT(vit_patch=2, vit_dim=4, vit_depth=1, vit_heads=1)
    network = initial_network(
        [72, 3], [0, 1], dtype=torch.float64, kind=kind, form=form
    )
    random = torch.Generator().manual_seed(1)
    x = torch.rand(2, 5, 72, generator=random, dtype=torch.float64)
    logits = kind.forward(network, x)[1]
    for seed in range(2):
        images = x[seed].view(5, 4, 6, 3).permute(0, 3, 1, 2)
        own = Plain(network, seed).eval()(images)
        torch.testing.assert_close(logits[seed], own, rtol=1e-12, atol=1e-12)


def test_gains_are_1_at_first_and_positions_small():
    network = initial_network([784, 10], [0], kind=TINY, initialization="pytorch")
    assert (network.weights[2] == 1).all()
    assert not network.biases[1].any()
    assert not network.biases[2].any()
    assert 0.01 < network.weights[1].abs().max() < 0.035
    assert network.biases[3].any()


@pytest.mark.parametrize("name", only({"sam", "looksam"}, OPTIMIZERS))
def test_a_stack_is_its_seeds_and_goes_on_to_the_bit(name, few):
    base = Adam() if name == "sam" else None
    setting = setting_of(OPTIMIZERS[name](lr=0.01), base=base, problem=Pairwise())
    run, again = (run_of(setting, [5, 0, 3], few) for _ in range(2))
    rows = run.next_task()
    again.load_state_dict(copy.deepcopy(run.state_dict()))
    rows += run.next_task()
    rows = only_measures(rows)
    assert rows_of(again) == rows[3:]
    assert rows_of(run_of(setting, [3], few)) == [r for r in rows if r["seed"] == 3]


WORKING = sorted({*INTERVENTIONS} - {*PLAIN_LAYERS, *ONE_OUTPUT})


@pytest.mark.parametrize("name", only({"hare_tortoise", "upgd", "warm_start"}, WORKING))
def test_a_run_with_an_intervention_can_be_stopped(name, few):
    more = {"step_noise": "normal"} if name == "step_shrink_perturb" else {}
    setting = setting_of(SGD(lr=0.05), intervention=INTERVENTIONS[name](**more))
    check_stopped(setting, few)


def test_its_curvature_is_that_of_its_hessian():
    form, kind = Form(2, 4, 1, 2), ViT(vit_patch=2, vit_dim=2, vit_depth=1, vit_heads=1)
    network = initial_network([8, 2], [3], dtype=torch.float64, kind=kind, form=form)
    random = torch.Generator().manual_seed(1)
    x = torch.rand(1, 9, 8, generator=random, dtype=torch.float64)
    check_curvature(network, x, torch.arange(9)[None] % 2)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        *(
            ({}, {"intervention": INTERVENTIONS[n]()}, f"{n} changes")
            for n in PLAIN_LAYERS
        ),
        *(
            ({}, {"intervention": INTERVENTIONS[n]()}, f"{n} needs a network")
            for n in ONE_OUTPUT
        ),
        ({}, {"intervention": StepShrinkPerturb()}, "set step_noise to normal"),
        ({}, {"activation": "tanh"}, "leave out activation"),
        ({"vit_patch": 5}, {}, "vit_patch is 5, .* side of 28 pixels: use a number"),
        ({"vit_dim": 10}, {}, "vit_dim is 10: use a multiple of vit_heads"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_does_not_work_is_refused_in_one_line(kind, values, words):
    with pytest.raises(UsageError, match=words) as error:
        Setting(network=ViT(**kind), **values)
    assert "\n" not in str(error.value)
