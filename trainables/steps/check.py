"""Check the loaded C steps against the reference engine before a run uses them.

A library that loads can still be wrong, for example if the compiler has a bug, or if
the file was changed. Each process therefore trains and tests tiny networks with
everything that the C steps can do, which takes about half a second.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import attrs
import numpy as np
import torch
from torch import Tensor

from trainables.bases import Adam
from trainables.data.examples import Block, Examples, Reader
from trainables.interventions import (
    SNR,
    UPGD,
    ContinualBackprop,
    HareTortoise,
    L2Init,
    LayerNorm,
    Parseval,
    SpectralNorm,
    SpectralRegularization,
    StepShrinkPerturb,
)
from trainables.networks import ActorCritic, Conv
from trainables.networks.network import cross_entropy, forward, initial_network
from trainables.networks.stack import Stack
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
    VaSSO,
)
from trainables.problems import Form
from trainables.setting import Setting
from trainables.steps import convolved, extension, native, reference, training
from trainables.steps.extension import ACTIVATIONS, Library, Unavailable
from trainables.steps.ppo_loss import ppo_loss
from trainables.steps.update import initial_memory, make_update

WIDTHS = (9, 7, 6, 3)
BATCHES = (1, 3, 17)
"""Batch sizes for which the C code takes different branches."""

DECAY = SGD(lr=0.3, weight_decay=0.1)
MIXED = GNP(lr=0.3, rho=0.5, alpha=0.6, momentum=0.9, weight_decay=0.1)

CASES: dict[str, Setting] = {
    "sgd": Setting(optimizer=DECAY),
    "momentum": Setting(optimizer=attrs.evolve(DECAY, momentum=0.9)),
    "sam": Setting(optimizer=SAM(lr=0.3, rho=0.5)),
    "gnp": Setting(optimizer=MIXED),
    "warm-up": Setting(optimizer=SAM(lr=0.3, rho=0.5, rho_warmup=3)),
    "following": Setting(
        optimizer=VaSSO(lr=0.3, rho_warmup=3, rho_follows="lr", vasso_theta=0.4)
    ),
    "fsam": Setting(
        optimizer=FSAM(lr=0.3, fsam_sigma=0.5, fsam_lambda=0.4), base=Adam(adam_eps=0.1)
    ),
    "msam": Setting(optimizer=MSAM(lr=0.3)),
    "wsam": Setting(optimizer=WSAM(lr=0.03, momentum=0.9)),
    "gsam": Setting(optimizer=GSAM(lr=0.3)),
    "looksam": Setting(optimizer=LookSAM(lr=0.3, looksam_every=1)),
    "reuse": Setting(optimizer=LookSAM(lr=0.3, looksam_every=2)),
    "gam": Setting(optimizer=GAM(lr=0.3, rho=0.2, gam_gamma=0.5)),
    "asam": Setting(optimizer=ASAM(lr=0.3, rho=0.5, eta=0.1)),
    "asam of biases": Setting(optimizer=ASAM(lr=0.3, ascent_scaled="all")),
    "adam": Setting(optimizer=DECAY, base=Adam(beta1=0.7, adam_eps=0.1)),
    "l2_init": Setting(optimizer=MIXED, intervention=L2Init(init_decay=0.2)),
    "hare_tortoise": Setting(
        optimizer=DECAY, intervention=HareTortoise(hare_ema=0.7, hare_every=2)
    ),
    "uniform noise": Setting(
        optimizer=DECAY,
        intervention=StepShrinkPerturb(step_shrink=0.2, step_perturb=0.5),
        initialization="pytorch",
    ),
    "normal noise": Setting(
        optimizer=MIXED, intervention=StepShrinkPerturb(step_noise="normal")
    ),
    "upgd": Setting(optimizer=MIXED, intervention=UPGD(upgd_decay=0.7)),
    "spectral_regularization": Setting(
        optimizer=MIXED, intervention=SpectralRegularization(spectral_strength=0.1)
    ),
    "spectral_norm": Setting(
        optimizer=MIXED, intervention=SpectralNorm(spectral_bound=0.3)
    ),
    "parseval": Setting(optimizer=MIXED, intervention=Parseval(parseval_strength=1e-4)),
    "snr": Setting(optimizer=MIXED, intervention=SNR(snr_threshold=2, snr_limit=2)),
    "continual_backprop": Setting(
        optimizer=MIXED,
        intervention=ContinualBackprop(replacement_rate=0.3, maturity=1),
    ),
    "layer_norm": Setting(optimizer=MIXED, intervention=LayerNorm()),
    **{str(a): Setting(optimizer=MIXED, activation=a) for a in ACTIVATIONS[1:]},
    "input_low": Setting(optimizer=DECAY, input_low=-1.0),
}
"""A setting for everything that the C steps can do."""

WITH_ALL_BATCHES = ("sgd", "gnp")
"""The settings that are tried with all of `BATCHES`; the others with one of them."""


@functools.cache
def load(dtype: torch.dtype) -> Library:
    """Load the fastest C library that this processor supports, and check its results.

    Raises:
        Unavailable: The C extension cannot be used on this machine, or its results are
            wrong.
    """
    library = extension.load(dtype)
    checks = _wrong_results, _wrong_actor_critics, _wrong_convolutions
    wrong = itertools.chain.from_iterable(check(dtype) for check in checks)
    if name := next(wrong, None):
        raise Unavailable(
            f"the C extension computes wrong results ({name}): "
            "install this package again"
        )
    return library


@torch.no_grad()
def _wrong_results(dtype: torch.dtype) -> Iterator[str]:
    """Yield what the C steps compute differently from the reference engine."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, WIDTHS[0]), np.uint8)
    images, zero = torch.from_numpy(pixels), torch.zeros(1)
    rounding = torch.finfo(dtype).eps ** 0.5
    for name, batch in _names_and_batches():
        setting, shape = CASES[name], (2, 1, batch)
        positions = random.integers(0, len(images), shape)
        labels = random.integers(0, WIDTHS[-1], shape)
        block = Block(0, 1, torch.from_numpy(positions), torch.from_numpy(labels))
        reader = Reader(images, dtype, setting.input_low)
        start = _new_stack(setting, dtype)
        in_c, by_reference = (start.take([0]) for _ in range(2))
        sums = native.train(setting, in_c, reader, block)
        update = make_update(setting, "reference", by_reference)
        expected = training.train(update, reader, block)
        stacks = (in_c, by_reference, start)
        tensors = zip(*(stack.tensors() for stack in stacks), strict=True)
        if not all(_is_close(c, right, old, rounding) for c, right, old in tensors):
            yield f"weights with {name}, batch size {batch}"
        pairs = zip(sums, expected, strict=True)
        if not all(_is_close(*pair, zero, rounding) for pair in pairs):
            yield f"losses with {name}, batch size {batch}"
        examples = Examples(positions.ravel(), labels.ravel())
        if not _tests_alike(by_reference, reader, examples, rounding):
            yield f"tests with {name}, {len(examples.labels)} examples"


def _names_and_batches() -> Iterator[tuple[str, int]]:
    """Yield the names of `CASES`, each with a batch size with which it is tried."""
    sizes = itertools.cycle(BATCHES)
    for name in CASES:
        for _ in range(len(BATCHES) if name in WITH_ALL_BATCHES else 1):
            yield name, next(sizes)


@torch.no_grad()
def _wrong_actor_critics(dtype: torch.dtype) -> Iterator[str]:
    """Yield what C computes differently for an actor and a critic.

    The cases of `_wrong_results` have the same updates of the weights.
    """
    random = torch.Generator().manual_seed(0)
    setting, kind = Setting(optimizer=MIXED), ActorCritic()
    widths, form = WIDTHS, Form(1, WIDTHS[0], 1, WIDTHS[-1])
    rounding = torch.finfo(dtype).eps ** 0.5
    network = initial_network(widths, [1], dtype=dtype, kind=kind, form=form)
    start = Stack([1], 0, network, initial_memory(setting, network))
    inputs = torch.rand((1, 40, widths[0]), generator=random, dtype=dtype)
    targets = torch.rand((1, 40, 4), generator=random, dtype=dtype) - 0.5
    targets[..., 0] = torch.randint(widths[-1], (1, 40), generator=random)
    targets[..., 2] -= 1  # so that some ratios are clipped
    gradient_of = functools.partial(reference.loss_gradient, loss=ppo_loss)
    for batch in BATCHES:
        positions = torch.randint(40, (1, 2, batch), generator=random)
        in_c, by_reference = (start.take([0]) for _ in range(2))
        native.train_on_steps(setting, in_c, inputs, targets, positions)
        update = make_update(setting, "reference", by_reference, gradient_of)
        for own in positions[0]:
            update(inputs[:, own], targets[:, own])
        stacks = (in_c, by_reference, start)
        tensors = zip(*(stack.tensors() for stack in stacks), strict=True)
        if not all(_is_close(c, right, old, rounding) for c, right, old in tensors):
            yield f"an actor and a critic, batch size {batch}"


@torch.no_grad()
def _wrong_convolutions(dtype: torch.dtype) -> Iterator[str]:
    """Yield what C computes differently for a convolutional network."""
    random = torch.Generator().manual_seed(0)
    form = Form(9, 8, 2, WIDTHS[-1])  # the squares of 2 x 2 pixels leave out a row
    network = initial_network(
        [form.pixels, *WIDTHS[-2:]],
        [1, 2],
        dtype=dtype,
        kind=Conv(conv_channels="5-3"),
        form=form,
        initialization="pytorch",
    )
    rounding, zero = torch.finfo(dtype).eps ** 0.5, torch.zeros(1)
    for batch in BATCHES:
        shape = (2, batch, form.pixels)
        inputs = torch.rand(shape, generator=random, dtype=dtype)
        labels = torch.randint(WIDTHS[-1], shape[:2], generator=random)
        gradient, logits = convolved.loss_gradient(network, inputs, labels)
        expected, right = reference.loss_gradient(network, inputs, labels)
        pairs = zip(gradient.tensors(), expected.tensors(), strict=True)
        if not all(_is_close(*p, zero, rounding) for p in [*pairs, (logits, right)]):
            yield f"convolutions, batch size {batch}"


def _new_stack(setting: Setting, dtype: torch.dtype) -> Stack:
    """Return a stack of one tiny network, with the initial memory of the setting."""
    network = initial_network(
        WIDTHS,
        [1],
        dtype=dtype,
        normalized=bool(setting.intervention and setting.intervention.normalizes),
        activation=setting.activation,
        initialization=setting.initialization,
    )
    return Stack([1], 0, network, initial_memory(setting, network))


def _is_close(value: Tensor, expected: Tensor, start: Tensor, rounding: float) -> bool:
    """Return whether the difference is small compared with `expected` - `start`."""
    largest = (expected - start).abs().max()
    return bool((value - expected).abs().max() <= rounding * largest)


def _tests_alike(
    stack: Stack, reader: Reader, examples: Examples, rounding: float
) -> bool:
    """Return whether both engines get the same test loss and test accuracy."""
    results = native.test(stack.network, [examples], reader)
    positions, labels = map(torch.from_numpy, examples)
    logits = forward(stack.network, reader.read(positions[None]))[1][0]
    # in float32, small losses round to 0
    loss = cross_entropy(logits.double(), labels).mean()
    accuracy = (logits.argmax(-1) == labels).double().mean()
    is_accurate = bool(results["test_accuracy"][0] == accuracy)
    return is_accurate and _is_close(results["test_loss"], loss, 0 * loss, rounding)
