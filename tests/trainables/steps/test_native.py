"""The steps in C compute what the reference engine does, to rounding, for any shape."""

from __future__ import annotations

import itertools

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dead import dead_middle, nearly_even
from trainables import measuring
from trainables.bases import Adam
from trainables.data.examples import Block, Examples, Reader
from trainables.interventions import (
    SNR,
    UPGD,
    ContinualBackprop,
    HareTortoise,
    Intervention,
    L2Init,
    LayerNorm,
    Parseval,
    ReDo,
    SpectralNorm,
    SpectralRegularization,
    StepShrinkPerturb,
)
from trainables.networks.network import Network, initial_network
from trainables.networks.stack import Memory, Stack
from trainables.optimizers import (
    ASAM,
    FSAM,
    GAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    SGD,
    WSAM,
    LookSAM,
    Optimizer,
    VaSSO,
)
from trainables.run import ContinualRun
from trainables.setting import REGISTRIES, RunOptions, Setting
from trainables.steps import native, training
from trainables.steps.update import initial_memory, make_update

OPTIMIZERS = [
    SGD(lr=0.05),
    SGD(lr=0.01, momentum=0.9, weight_decay=0.01),
    SAM(lr=0.05, rho=0.2),
    SAM(lr=0.01, rho=0.1, momentum=0.9),
    GNP(lr=0.05, rho=0.2, alpha=0.3, weight_decay=0.01),
    GNP(lr=0.01, rho=0.1, alpha=0.7, momentum=0.5, weight_decay=0.1),
    GNP(lr=0.01, rho=0.05, alpha=2),
    WSAM(lr=0.01, rho=0.05, wsam_form="coupled", wsam_gamma=0.75, momentum=0.5),
    ASAM(lr=0.05, rho=0.3, eta=0.05),
    ASAM(lr=0.01, rho=0.5, momentum=0.9, ascent_scaled="all"),
]


MIXED = OPTIMIZERS[5]

REGULARIZED = SpectralRegularization(spectral_strength=0.01, spectral_power=3)

ORTHOGONAL = Parseval(parseval_strength=1e-5)

SETTINGS = [
    Setting(optimizer=SGD(lr=0.01, weight_decay=0.01), base=Adam(beta1=0.7)),
    Setting(optimizer=GNP(lr=0.01, rho=0.1, alpha=0.7), base=Adam()),
    Setting(optimizer=SGD(lr=0.05), intervention=L2Init(init_decay=0.1)),
    Setting(optimizer=MIXED, intervention=L2Init(init_decay=0.1)),
    Setting(optimizer=SGD(lr=0.01), base=Adam(), intervention=L2Init(init_decay=0.1)),
    Setting(optimizer=MIXED, intervention=HareTortoise(hare_ema=0.8, hare_every=3)),
    Setting(optimizer=SGD(lr=0.05), intervention=StepShrinkPerturb(step_perturb=0.1)),
    Setting(
        optimizer=OPTIMIZERS[5],
        initialization="pytorch",
        intervention=StepShrinkPerturb(step_shrink=0.01),
    ),
    Setting(
        optimizer=VaSSO(lr=0.01, rho=0.1),
        base=Adam(),
        intervention=StepShrinkPerturb(step_shrink=0, step_noise="normal"),
    ),
    Setting(optimizer=SGD(lr=0.05, weight_decay=0.1), intervention=UPGD()),
    Setting(optimizer=OPTIMIZERS[5], intervention=UPGD(upgd_decay=0.9)),
    Setting(optimizer=WSAM(lr=0.01, momentum=0.5), intervention=UPGD(upgd_noise=0.5)),
    Setting(optimizer=GSAM(lr=0.01), base=Adam(), intervention=UPGD(upgd_decay=0.5)),
    Setting(optimizer=SGD(lr=0.05), intervention=SpectralRegularization()),
    Setting(optimizer=MIXED, activation="crelu", intervention=REGULARIZED),
    Setting(optimizer=VaSSO(lr=0.01), base=Adam(), intervention=REGULARIZED),
    Setting(optimizer=WSAM(lr=0.01, momentum=0.5), intervention=REGULARIZED),
    Setting(optimizer=GSAM(lr=0.01), base=Adam(), intervention=REGULARIZED),
    Setting(optimizer=LookSAM(lr=0.05), intervention=REGULARIZED),
    Setting(optimizer=SGD(lr=0.05), intervention=ORTHOGONAL),
    Setting(optimizer=MIXED, activation="crelu", intervention=ORTHOGONAL),
    Setting(optimizer=WSAM(lr=0.01, momentum=0.5), intervention=ORTHOGONAL),
    Setting(optimizer=GSAM(lr=0.01), base=Adam(), intervention=ORTHOGONAL),
    Setting(optimizer=SGD(lr=0.05), intervention=SpectralNorm()),
    Setting(optimizer=MIXED, intervention=SpectralNorm(spectral_bound=0.5)),
    Setting(
        optimizer=GAM(lr=0.01),
        activation="crelu",
        base=Adam(),
        intervention=SpectralNorm(spectral_bound=0.5),
    ),
    Setting(optimizer=SGD(lr=0.05), intervention=SNR(snr_threshold=2)),
    Setting(optimizer=MIXED, intervention=SNR(snr_threshold=1, snr_limit=1)),
    Setting(
        optimizer=GSAM(lr=0.01),
        base=Adam(),
        activation="tanh",
        intervention=SNR(snr_threshold=3, snr_limit=3),
    ),
    Setting(
        optimizer=SGD(lr=0.05),
        intervention=ContinualBackprop(replacement_rate=0.03, maturity=2),
    ),
    Setting(
        optimizer=MIXED,
        intervention=ContinualBackprop(
            replacement_rate=0.3, maturity=1, utility="printed"
        ),
    ),
    Setting(
        optimizer=LookSAM(lr=0.05),
        base=Adam(),
        activation="tanh",
        intervention=ContinualBackprop(replacement_rate=0.3, maturity=2),
    ),
    Setting(
        optimizer=SGD(lr=0.01),
        base=Adam(beta1=0.7),
        intervention=ContinualBackprop(replacement_rate=0.03, maturity=2),
    ),
    Setting(optimizer=SGD(lr=0.05), intervention=LayerNorm()),
    Setting(optimizer=OPTIMIZERS[-1], intervention=LayerNorm()),
    Setting(optimizer=MIXED, intervention=LayerNorm(), activation="tanh"),
    Setting(optimizer=SGD(lr=0.05), activation="leaky_relu"),
    Setting(optimizer=MIXED, activation="crelu", input_low=-1.0),
    Setting(optimizer=MIXED, activation="sine_cosine"),
    Setting(optimizer=SAM(lr=0.01, rho=0.1), activation="crelu", base=Adam()),
    Setting(optimizer=VaSSO(lr=0.05, rho=0.1, vasso_theta=0.4)),
    Setting(optimizer=FSAM(lr=0.05, rho=0.1, fsam_sigma=0.5, momentum=0.5)),
    Setting(optimizer=FSAM(lr=0.05, rho_warmup=5, rho_follows="lr", rho=0.1)),
    Setting(optimizer=MSAM(lr=0.01, rho=0.1, weight_decay=0.1)),
    Setting(optimizer=MSAM(lr=0.01, rho=0.1, momentum=0), base=Adam()),
    Setting(optimizer=GSAM(lr=0.05, rho=0.1), intervention=LayerNorm()),
    Setting(optimizer=GSAM(lr=0.01, rho=0.1), base=Adam(), activation="crelu"),
    Setting(optimizer=LookSAM(lr=0.05, looksam_every=3, rho_warmup=9)),
    Setting(optimizer=LookSAM(lr=0.05, momentum=0.5), intervention=LayerNorm()),
    Setting(optimizer=LookSAM(lr=0.05), intervention=UPGD(upgd_decay=0.9)),
    Setting(optimizer=GAM(lr=0.05, gam_gamma=0.2, momentum=0.5)),
    Setting(optimizer=GAM(lr=0.05, rho_warmup=9), intervention=L2Init()),
    Setting(optimizer=WSAM(lr=0.01, momentum=0.5, weight_decay=0.1)),
    Setting(
        optimizer=WSAM(lr=0.01, momentum=0.5),
        intervention=HareTortoise(hare_ema=0.8, hare_every=3),
    ),
    Setting(optimizer=WSAM(lr=0.01, wsam_gamma=0), base=Adam()),
    Setting(optimizer=WSAM(lr=0.01, weight_decay=0.1), intervention=L2Init()),
    Setting(optimizer=GNP(lr=0.05, rho=0.1, rho_decay="cosine", rho_warmup=3)),
    Setting(
        optimizer=SAM(lr=0.01, rho=0.1),
        activation="crelu",
        intervention=LayerNorm(),
        base=Adam(),
    ),
]
"""What the C steps do besides the optimizers."""


def block(sizes: list[int], seeds: int, batch: int, steps: int) -> tuple:
    """Return images and batches that a network of these sizes can learn."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (500, sizes[0]), generator=random, dtype=torch.uint8)
    teacher = torch.randn(sizes[0], sizes[-1], generator=random)
    answers = ((images / 255 - 0.5) @ teacher).argmax(1)
    positions = torch.randint(500, (steps, seeds, batch), generator=random)
    return images, Block(0, seeds, positions, answers[positions])


def new_stack(
    setting: Setting, sizes: list[int], seeds: list[int], dtype: torch.dtype
) -> Stack:
    network = initial_network(
        sizes,
        seeds,
        dtype=dtype,
        normalized=bool(setting.intervention and setting.intervention.normalizes),
        activation=setting.activation,
        initialization=setting.initialization,
    )
    return Stack(seeds, 0, network, initial_memory(setting, network))


@torch.no_grad()
def trained(
    engine: str,
    setting: Setting | Optimizer,
    sizes: list[int],
    images,
    batches: list[Block],
    prepare=lambda network: None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Stack, list]:
    if isinstance(setting, Optimizer):
        setting = Setting(optimizer=setting)
    stack = new_stack(setting, sizes, list(range(batches[0].stop)), dtype)
    prepare(stack.network)
    reader, sums = Reader(images, dtype, setting.input_low), []
    for each in batches:
        if engine == "native":
            sums.append(native.train(setting, stack, reader, each))
        else:
            update = make_update(setting, engine, stack)
            sums.append(training.train(update, reader, each))
    return stack, sums


def train_with(optimizer: Optimizer, network: Network, images, batches: Block):
    """Train networks without a memory with the C steps."""
    stack = Stack(list(range(network.seeds)), 0, network, Memory())
    reader = Reader(images, network.weights[0].dtype)
    return native.train(Setting(optimizer=optimizer), stack, reader, batches)


def assert_same(one, other, tolerance: float, ties: int = 0) -> None:
    """Compare weights, memory and what was summed; `ties` logits may be equal."""
    for a, b in zip(one[0].tensors(), other[0].tensors(), strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().max() < tolerance
    for mine, theirs in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(mine[0], theirs[0], rtol=1e-9, atol=1e-9)
        assert (mine[1] - theirs[1]).abs().max() <= ties


@pytest.mark.parametrize(
    ("optimizer", "seeds"), [*zip(OPTIMIZERS, itertools.cycle([5, 1]))], ids=str
)
def test_many_steps_are_the_same(optimizer, seeds):
    sizes = [30, 20, 20, 6]
    images, most = block(sizes, seeds, 16, 29)
    _, last = block(sizes, seeds, 7, 1)
    runs = [
        trained(engine, optimizer, sizes, images, [most, last])
        for engine in ("native", "reference")
    ]
    assert_same(*runs, 1e-9)
    start = initial_network(sizes, range(seeds), dtype=torch.float64)
    pairs = zip(runs[0][0].network.tensors(), start.tensors(), strict=True)
    assert max((a - b).abs().max() for a, b in pairs) > 0.05


@pytest.mark.parametrize(
    ("batch", "optimizer"),
    [
        (batch, OPTIMIZERS[1::2][(i + j) % 5])
        for i, batch in enumerate([1, 2, 5, 6, 8, 16, 17, 40, 64, 200])
        for j in (0, 2)
    ],
    ids=str,
)
def test_any_batch(batch, optimizer):
    """Few examples, lanes left over, panels in pairs and alone, a first layer that is
    written out (200)."""
    sizes = [784, 100, 100, 100, 10]
    images, batches = block(sizes, 2, batch, 4)
    runs = (
        trained(engine, optimizer, sizes, images, [batches])
        for engine in ("native", "reference")
    )
    assert_same(*runs, 1e-11)


@given(
    inputs=st.integers(1, 40),
    # narrower layers die: then logits are equal, or gradients cancel
    hidden=st.lists(st.integers(8, 40), min_size=1, max_size=4),
    outputs=st.integers(2, 12),
    batch=st.integers(1, 40),
    setting=st.sampled_from([*OPTIMIZERS, *SETTINGS]),
)
def test_any_shape(inputs, hidden, outputs, batch, setting):
    shape = [inputs, *hidden, outputs]
    images, batches = block(shape, 2, batch, 5)
    runs = (
        trained(engine, setting, shape, images, [batches])
        for engine in ("native", "reference")
    )
    # Adam divides by the size of a gradient, which may be a rounding error
    assert_same(*runs, 1e-11 if isinstance(setting, Optimizer) else 1e-7)


@pytest.mark.parametrize(
    ("setting", "batch"), [*zip(SETTINGS, itertools.cycle([1, 3, 17]))], ids=str
)
def test_everything_is_the_same(setting, batch):
    """Two blocks, so that counts of updates go on.

    check.py has all sizes of batches for each part, and `test_any_shape` draws some.
    """
    sizes = [30, 20, 20, 6]
    images, batches = block(sizes, 2, batch, 5)
    runs = [
        trained(engine, setting, sizes, images, [batches, batches])
        for engine in ("native", "reference")
    ]
    assert_same(*runs, 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_dead_hidden_layer(optimizer):
    optimizer = evolve(optimizer, weight_decay=0)
    sizes = [30, 20, 20, 6]
    images, batches = block(sizes, 2, 16, 15)
    runs = [
        trained(engine, optimizer, sizes, images, [batches], dead_middle)
        for engine in ("native", "reference")
    ]
    assert_same(*runs, 1e-9, ties=5)  # all examples have the same logits
    start = initial_network(sizes, range(2), dtype=torch.float64)
    for learned, first in zip(runs[0][0].network.weights, start.weights, strict=True):
        assert torch.equal(learned, first)
    assert runs[0][0].network.biases[-1].abs().max() > 0.01


@pytest.mark.parametrize("batch", [1, 8, 64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_gradient_of_zero_moves_nothing(optimizer, batch):
    def sure(network: Network) -> None:
        dead_middle(network)
        network.biases[-1][..., 0] = 1e4

    optimizer = evolve(optimizer, weight_decay=0)
    sizes = [30, 20, 20, 6]
    images, batches = block(sizes, 2, batch, 3)
    batches.labels.zero_()
    for dtype in (torch.float32, torch.float64):
        stack, _ = trained("native", optimizer, sizes, images, [batches], sure, dtype)
        before = initial_network(sizes, range(2), dtype=dtype)
        sure(before)
        pairs = zip(stack.network.tensors(), before.tensors(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert all((v == 0).all() for v in stack.memory.named().values())


@pytest.mark.parametrize("batch", [2, 10, 16])
def test_gradients_that_cancel_do_not_lengthen_the_ascent_step(batch):
    """Two classes as often in a dead network: in float32 the norm is rounding error."""
    images, batches = block([784, 2], 1, batch, 1)
    labels = (torch.arange(batch) % 2)[None, None]
    for seed in range(40):
        network = nearly_even(2, seed)
        bias = network.biases[-1]
        before = bias.clone()
        each = batches._replace(labels=labels)
        train_with(SAM(rho=0.05, lr=1.0), network, images, each)
        g1 = (before.flatten().softmax(0) - 0.5).norm().item()
        assert (bias - before).norm().item() <= g1 + 0.05 / 2 * 1.5


@pytest.mark.parametrize("outputs", [3, 5, 7, 10])
def test_a_first_layer_whose_gradients_cancel(outputs):
    """The same image with every label: in float32 the norm's square is rounding error,
    and may be below 0."""
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        images = torch.randint(256, (1, 784), generator=random, dtype=torch.uint8)
        network = initial_network([784, outputs], [seed])
        network.weights[0].zero_()
        positions = torch.zeros(1, 1, outputs, dtype=int)
        each = Block(0, 1, positions, torch.arange(outputs)[None, None])
        train_with(SAM(rho=0.05, lr=1.0), network, images, each)
        moved = torch.cat([t.flatten() for t in network.tensors()]).norm()
        # the gradient is 0, and its slope at most half of an example's square
        assert moved <= 0.05 / 2 * (1 + (images / 255).square().sum())


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1), SAM(lr=0.1), GNP(lr=0.1)])
@pytest.mark.parametrize("batch", [1, 16])
def test_what_is_not_finite_stays_so(optimizer, batch):
    """A ReLU that made 0 of NaN would hide that a run diverged."""
    sizes = [30, 20, 6]
    images, batches = block(sizes, 2, batch, 3)

    def broken(network: Network) -> None:
        network.weights[0][0, 3, 4] = float("nan")

    stack, [(losses, _)] = trained(
        "native", optimizer, sizes, images, [batches], broken, torch.float32
    )
    network = stack.network
    assert not losses[0].isfinite()
    assert losses[1].isfinite()
    assert not network.weights[-1][0].isfinite().all()
    assert all(t[1].isfinite().all() for t in network.tensors())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_seed_alone_is_the_same_to_the_last_bit(optimizer):
    """Whoever shares its stack, and however many threads it has."""
    sizes = [784, 30, 30, 10]
    images, batches = block(sizes, 4, 16, 20)
    together = trained(
        "native", optimizer, sizes, images, [batches], dtype=torch.float32
    )
    setting = Setting(optimizer=optimizer)
    alone = new_stack(setting, sizes, [2], torch.float32)
    mine = Block(
        0,
        1,
        batches.positions[:, 2:3].contiguous(),
        batches.labels[:, 2:3].contiguous(),
    )
    sums = native.train(setting, alone, Reader(images, torch.float32), mine)
    for a, b in zip(together[0].tensors(), alone.tensors(), strict=True):
        assert torch.equal(a[2], b[0])
    assert sums[0][0] == together[1][0][0][2]
    torch.set_num_threads(3)
    try:
        threaded = trained(
            "native", optimizer, sizes, images, [batches], dtype=torch.float32
        )
    finally:
        torch.set_num_threads(1)
    pairs = zip(together[0].tensors(), threaded[0].tensors(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_out_of_range_is_refused():
    sizes = [30, 20, 6]
    images, batches = block(sizes, 2, 4, 3)
    network = initial_network(sizes, [0, 1])
    for name, value in (("positions", 500), ("positions", -1), ("labels", 6)):
        wrong = getattr(batches, name).clone()
        wrong[1, 1, 1] = value
        with pytest.raises(ValueError, match=f"{name} must be at least 0"):
            train_with(SGD(), network, images, batches._replace(**{name: wrong}))


@pytest.mark.parametrize(
    "singular", [[1] * 20, [0] * 20, [1, 1 - 1e-6, 1 - 2e-6] * 6, [1] + [0] * 19]
)
def test_the_spectral_norm_is_limited_whatever_the_other_singular_values(singular):
    sizes = [30, 24, 20, 6]
    images, batches = block(sizes, 1, 4, 1)
    random = torch.Generator().manual_seed(1)
    left, right = (
        torch.linalg.qr(
            torch.randn(n, len(singular), generator=random, dtype=torch.float64)
        )[0]
        for n in (24, 20)
    )
    w = left @ torch.tensor(singular, dtype=torch.float64).diag() @ right.mT
    bound = 0.3

    def fill(network: Network) -> None:
        network.weights[-2][0] = w

    setting = Setting(
        optimizer=SGD(lr=1e-30), intervention=SpectralNorm(spectral_bound=bound)
    )
    stack, _ = trained("native", setting, sizes, images, [batches], fill)
    mine = stack.network.weights[-2][0]
    torch.testing.assert_close(mine, bound * w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 4, 63, 64, 67, 200])
def test_testing_is_that_of_torch(count):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (300, 30), generator=random, dtype=torch.uint8)
    network = initial_network([30, 20, 20, 6], [0, 1], dtype=torch.float64)
    stack = [
        Examples(
            torch.randint(300, (count,), generator=random).numpy(),
            torch.randint(6, (count,), generator=random).numpy(),
        )
        for _ in range(2)
    ]
    reader = Reader(images, torch.float64)
    mine = native.test(network, stack, reader)
    theirs = measuring.measure_tests(network, stack, reader)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-12, atol=1e-12)


def run_of(setting: Setting, seeds: list[int], data, engine: str) -> ContinualRun:
    """Without the probes of the landscape, which take longer than all the rest."""
    options = RunOptions(landscape_every=0)
    return ContinualRun(
        setting, seeds, data, options=options, dtype=torch.float64, engine=engine
    )


def test_whole_runs_are_those_of_torch(few):
    """Both problems; a run takes C by itself where it can."""
    for problem in ("permuted", "pairwise"):
        setting = Setting.from_row(
            Setting(tasks=2, hidden=(20, 20), optimizer=GNP(lr=0.05, rho=0.1)).row()
            | {"problem": problem, "dataset": few.name}
        )
        made = [
            run_of(setting, [0, 1, 2], few, engine) for engine in ("native", "torch")
        ]
        assert [run.engine for run in made] == ["native", "torch"]
        for _ in range(2):
            one, other = (run.next_task() for run in made)
            for mine, theirs in zip(one, other, strict=True):
                assert mine["steps"] == theirs["steps"]
                assert mine["online_accuracy"] == theirs["online_accuracy"]
                assert mine["train_loss"] == pytest.approx(theirs["train_loss"], 1e-9)
                assert mine["test_loss"] == pytest.approx(theirs["test_loss"], 1e-9)


def test_an_intervention_that_rests_acts_in_torch(few, monkeypatch):
    setting = Setting(
        tasks=2,
        hidden=(20, 20),
        batch_size=2,
        dataset=few.name,
        intervention=ReDo(redo_every=40, redo_tau=0.5),
    )
    runs = [run_of(setting, [0, 1], few, engine) for engine in ("native", "torch")]
    in_c, train = [], native.train
    monkeypatch.setattr(
        native, "train", lambda *args: in_c.append(args[-1]) or train(*args)
    )
    for _ in range(2):
        one, other = (run.next_task() for run in runs)
        for mine, theirs in zip(one, other, strict=True):
            assert mine["train_loss"] == pytest.approx(theirs["train_loss"], 1e-9)
            assert mine["dormant_fraction"] == theirs["dormant_fraction"]
    assert all(len(block.positions) <= 8 for block in in_c)
    assert sum(len(block.positions) for block in in_c) == 3 * 8


def test_adam_keeps_the_digits_of_its_shares():
    """1 - beta2 in float32 would have three of them."""
    setting = Setting(base=Adam(beta2=0.99999))
    images = torch.arange(27, dtype=torch.uint8).reshape(3, 9)
    block = Block(0, 1, torch.arange(3)[None, None], torch.arange(3)[None, None])
    moments = []
    for dtype in (torch.float32, torch.float64):
        network = initial_network([9, 7, 3], [0], dtype=dtype)
        stack = Stack([0], 0, network, initial_memory(setting, network))
        native.train(setting, stack, Reader(images, dtype, None), block)
        moments.append(stack.memory.moments["second"].weights[-1].double())
    torch.testing.assert_close(*moments, rtol=1e-4, atol=0)


def test_what_it_does_not_cover_goes_by_torch(monkeypatch):
    network = initial_network([784, 20, 10], [0])
    assert native.supports(Setting(), network)
    assert native.supports(Setting(optimizer=ASAM()), network)
    # an optimizer that is not in C, as a new one
    scaled = type("Scaled", (SAM,), {"ascent": lambda self, *_: None})
    monkeypatch.setitem(REGISTRIES["optimizer"], "scaled", scaled)
    assert not native.supports(Setting(normalization="dataset"), network)
    assert not native.supports(Setting(optimizer=scaled()), network)
    assert native.supports(Setting(intervention=Parseval()), network)
    other = type("Other", (Parseval,), {})
    assert not native.supports(Setting(intervention=other()), network)
    assert native.supports(Setting(base=Adam()), network)
    assert not native.supports(Setting(base=type("Other", (Adam,), {})()), network)
    penalizing = type("Other", (ReDo,), {"penalize": lambda self, *_: None})
    assert native.supports(Setting(intervention=ReDo()), network)
    assert not native.supports(Setting(intervention=penalizing()), network)
    large = [784, 2000, 2000, 10]
    assert not native.supports(Setting(), initial_network(large, [0]))


def test_an_intervention_that_c_lacks_changes_no_step(few):
    """`noise` and `replace` are parts of the steps that the C code has."""
    new = type(
        "New",
        (Intervention,),
        {
            "name": "new",
            "noise": lambda own, network: StepShrinkPerturb().noise(network),
            "replace": lambda own, stack: stack.network.biases[0].fill_(9),
        },
    )
    network = initial_network([784, 20, 10], [0], dtype=torch.float64)
    expected = network.map(torch.clone)
    images = torch.from_numpy(few.train_images)
    positions = torch.arange(8).reshape(4, 1, 2)
    block = Block(0, 1, positions, torch.from_numpy(few.train_labels[positions]))
    for own, intervention in ((network, new()), (expected, None)):
        setting = Setting(intervention=intervention)
        stack = Stack([0], 0, own, initial_memory(setting, own))
        assert native.supports(setting, own)
        native.train(setting, stack, Reader(images, torch.float64), block)
    assert all(map(torch.equal, network.tensors(), expected.tensors()))
