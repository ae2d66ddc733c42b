"""Probes of the loss around the weights: against the dense Hessian, and by hand."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from trainables.data.examples import Examples, Reader
from trainables.measuring import ProbeBatch, measure_landscape
from trainables.networks.network import Network, cross_entropy, forward, initial_network
from trainables.networks.stack import Memory
from trainables.optimizers import SAM, SGD, Optimizer
from trainables.probes import LANDSCAPE, START, Landscape, curvature
from trainables.probes import landscape as landscapes
from trainables.probes.ascent import RADIUS
from trainables.probes.curvature import TOLERANCE, hessian_rank, sharpness
from trainables.randomness import generator
from trainables.steps import fast

SIZES = [10, 12, 8, 4]
"""272 weights and biases."""

SEEDS = [3, 0, 7]


def batch(seeds: list[int], n: int = 60) -> tuple[Tensor, Tensor]:
    """Noisy points around a centre for each class, for each seed its own."""
    drawn = [np.random.default_rng([1, seed]) for seed in seeds]
    labels = np.stack([random.integers(SIZES[-1], size=n) for random in drawn])
    centres = [random.normal(size=(SIZES[-1], SIZES[0])) for random in drawn]
    x = [
        c[y] + random.normal(size=(n, SIZES[0]))
        for c, y, random in zip(centres, labels, drawn, strict=True)
    ]
    return torch.from_numpy(np.stack(x)), torch.from_numpy(labels)


def look(network: Network, seeds: list[int] = SEEDS) -> Landscape:
    return Landscape(network, *batch(seeds), seeds, task=2)


def trained(optimizer: Optimizer, steps: int, seeds: list[int] = SEEDS) -> Network:
    network = initial_network(SIZES, seeds, dtype=torch.float64)
    x, y = batch(seeds)
    for i in range(steps):
        some = slice(10 * (i % 6), 10 * (i % 6) + 10)
        fast.step(network, Memory(), optimizer, x[:, some], y[:, some])
    return network


def dead_units(seeds: list[int] = SEEDS) -> Network:
    network = trained(SGD(lr=0.1), 30, seeds)
    network.biases[0][..., :6] = -100
    network.biases[1][..., 5:] = -100
    return network


def by_autograd(network: Network) -> Network:
    """The same networks, for which the probes use autograd instead of a `Chain`."""
    return replace(network, outputs=SIZES[-1])


CASES = {
    "initialisation": lambda: initial_network(SIZES, SEEDS, dtype=torch.float64),
    "sgd": functools.partial(trained, SGD(lr=0.1), 200),
    # after these, eigenvalues of both signs are close
    "sam rho 2": functools.partial(trained, SAM(lr=0.1, rho=2.0), 60),
    "sam rho 5": functools.partial(trained, SAM(lr=0.1, rho=5.0), 200),
    "dead units": dead_units,
    "autograd": lambda: by_autograd(trained(SAM(lr=0.1, rho=2.0), 60)),
    "autograd, dead units": lambda: by_autograd(dead_units()),
}

cases = pytest.mark.parametrize("case", CASES)


def flat(network: Network, seed: int) -> Tensor:
    return torch.cat([tensor[seed].flatten() for tensor in network.tensors()])


def loss_of(network: Network, x: Tensor, y: Tensor, place: int, vector: Tensor):
    """The mean loss of one network as torch's own operations, of a flat vector."""
    tensors, at = [], 0
    for tensor in network.tensors():
        tensors.append(vector[at : at + tensor[0].numel()].view(tensor[0].shape))
        at += tensor[0].numel()
    half = len(tensors) // 2
    h = x[place]
    for i, (w, b) in enumerate(zip(tensors[:half], tensors[half:], strict=True)):
        h = (h if i == 0 else h.relu()) @ w + b
    return torch.nn.functional.cross_entropy(h, y[place])


def dense(seen: Landscape, place: int) -> Tensor:
    """The whole Hessian of one network."""
    loss = functools.partial(loss_of, seen.network, seen.inputs, seen.labels, place)
    vector = flat(seen.network, place)
    return torch.autograd.functional.hessian(loss, vector, vectorize=True)


@functools.cache
def network_of(case: str) -> Network:
    """The networks of a case, which no test may change."""
    return CASES[case]()


@functools.cache
def hessian_of(case: str, place: int) -> Tensor:
    """The whole Hessian of one network of a case."""
    return dense(look(network_of(case)), place)


@cases
def test_sharpness_is_the_dense_hessians_largest_eigenvalue(case):
    seen = look(network_of(case))
    got = sharpness(seen)
    for place in range(len(SEEDS)):
        hessian = hessian_of(case, place)
        expected = torch.linalg.eigvalsh(hessian)[-1].item()
        assert got[place].item() == pytest.approx(expected, rel=1e-6, abs=1e-12)
        by_scipy = eigsh(
            LinearOperator(hessian.shape, matvec=hessian.numpy().__matmul__),
            k=1, which="LA", v0=np.ones(len(hessian)), return_eigenvectors=False,
        )  # fmt: skip
        assert got[place].item() == pytest.approx(by_scipy[0], rel=1e-6, abs=1e-12)


def test_the_cases_are_hard_for_power_iteration():
    """Or they would prove little: the least eigenvalue is near minus the largest."""
    ratios = []
    for case in ("sam rho 2", "sam rho 5"):
        for place in range(len(SEEDS)):
            values = torch.linalg.eigvalsh(hessian_of(case, place))
            ratios.append(-(values[0] / values[-1]).item())
    assert max(ratios) > 0.8


@cases
def test_products_are_the_dense_hessians(case):
    seen = look(network_of(case))
    sizes = [tensor[0].numel() for tensor in seen.network.tensors()]
    vector = torch.from_numpy(np.random.default_rng(0).normal(size=(3, sum(sizes))))
    got = seen.hessian.product(vector)
    assert seen.hessian.size == sum(sizes) == 272

    def transposed(row: Tensor) -> Tensor:
        """From the order of a product's vectors to that of `flat`."""
        tensors = seen.network.tensors()
        parts = zip(row.split(sizes), tensors, strict=True)
        return torch.cat([p.view(t[0].mT.shape).mT.flatten() for p, t in parts])

    for place in range(3):
        expected = hessian_of(case, place) @ transposed(vector[place])
        torch.testing.assert_close(transposed(got[place]), expected)


def test_products_of_a_seed_that_is_not_finite_harm_no_other():
    network = trained(SGD(lr=0.1), 30)
    expected = sharpness(look(network))
    network.weights[1][1, 0, 0] = torch.nan
    got = sharpness(look(network))
    assert got[1].isnan()
    torch.testing.assert_close(got[[0, 2]], expected[[0, 2]], rtol=1e-9, atol=0)


def test_the_first_vector_is_the_seeds_and_the_tasks_own(monkeypatch):
    """What a stopped run finds does not depend on what it had found before."""
    network = trained(SAM(lr=0.1, rho=2.0), 60)
    probes = (*LANDSCAPE.values(), *START.values())
    values = [probe(look(network)) for probe in probes for _ in range(2)]
    for one, other in zip(values[::2], values[1::2], strict=True):
        assert torch.equal(one, other)
    seen = look(network)
    later = Landscape(seen.network, seen.inputs, seen.labels, SEEDS, task=3)
    assert not torch.equal(seen.quadratic_forms, later.quadratic_forms)
    assert not torch.equal(
        *(START["start_hessian_rank"](each) for each in (seen, later))
    )


@cases
def test_the_trace_is_the_dense_hessians_within_its_error(case, monkeypatch):
    monkeypatch.setattr(landscapes, "SAMPLES", 150)
    seen = look(network_of(case))
    off = []
    for place in range(len(SEEDS)):
        hessian = hessian_of(case, place)
        forms = seen.quadratic_forms[place]
        # the variance that Hutchinson's estimate has
        apart = hessian - hessian.diagonal().diag()
        expected = (2 * apart.square().sum()).item()
        assert forms.var().item() == pytest.approx(expected, rel=0.5)
        off.append((forms.mean() - hessian.trace()).item() / (expected / 150) ** 0.5)
    assert max(map(abs, off)) < 3


@cases
def test_the_rank_counts_the_dense_hessians_eigenvalues(case, monkeypatch):
    """By its own standard error, which the random vectors give."""
    monkeypatch.setattr(curvature, "RANK_STEPS", 60)
    network = network_of(case)
    x, y = batch(SEEDS)
    tasks = [Landscape(network, x, y, SEEDS, task) for task in range(5)]
    got = torch.stack([hessian_rank(each) for each in tasks]).mean(dim=0)
    for place in range(len(SEEDS)):
        values = torch.linalg.eigvalsh(hessian_of(case, place))
        count = (values.abs() > 0.1).sum().item()
        near = ((values.abs() > 0.08) & (values.abs() < 0.13)).sum().item()
        error = (2 * count * (1 - count / len(values)) / 5) ** 0.5
        assert got[place].item() == pytest.approx(count, abs=4 * error + near)


def test_a_vector_of_the_rank_stands_for_all_of_its_directions(monkeypatch):
    """With all steps: P times the vector's part along the counted eigenvectors."""
    monkeypatch.setattr(curvature, "RANK_STEPS", 272)
    seen = look(dead_units())
    got = hessian_rank(seen)
    matrix = torch.stack([seen.hessian.product(row.expand(3, -1)) for row in EYE])
    start = torch.from_numpy(
        np.stack([generator("spectrum", s, 2).standard_normal(272) for s in SEEDS])
    )
    for place in range(3):
        values, vectors = torch.linalg.eigh(matrix[:, place])
        overlaps = (start[place] @ vectors).square() / start[place].square().sum()
        expected = 272 * overlaps[values.abs() > 0.1].sum().item()
        assert got[place].item() == pytest.approx(expected, rel=1e-6)


EYE = torch.eye(272, dtype=torch.float64)

PARTS = [slice(0, 16), slice(16, 32), slice(32, 48)]
"""The batches of 60 examples, of which 12 are left out."""


@cases
def test_gradients_of_batches_and_a_step_downhill_by_hand(case):
    network = network_of(case)
    seen = look(network)
    names = ("gradient_noise", "optimization_readiness", "step_gain")
    noise, readiness, gain = (START[f"start_{name}"](seen) for name in names)
    for place in range(3):
        w = flat(network, place)
        slopes = torch.stack(
            [
                torch.func.grad(
                    functools.partial(
                        loss_of, network, seen.inputs[:, p], seen.labels[:, p], place
                    )
                )(w)
                for p in PARTS
            ]
        )
        mean = slopes.mean(dim=0)
        square = mean.square().sum()
        variance = slopes.var(dim=0).sum()
        assert noise[place].item() == pytest.approx((variance / square).item())
        expected = square**2 / slopes.square().sum(dim=1).mean()
        assert readiness[place].item() == pytest.approx(expected.item())
        loss = functools.partial(loss_of, network, seen.inputs, seen.labels, place)
        lost = loss(w) - loss(w - 0.01 * torch.func.grad(loss)(w))
        assert gain[place].item() == pytest.approx(lost.item(), rel=1e-6, abs=1e-12)


@cases
def test_the_volatility_of_the_curvature_along_the_gradient_by_hand(case):
    network = network_of(case)
    seen = look(network)
    got = START["start_curvature_volatility"](seen)
    for place in range(3):
        w = flat(network, place)
        losses = [
            functools.partial(
                loss_of, network, seen.inputs[:, p], seen.labels[:, p], place
            )
            for p in PARTS
        ]
        u = torch.stack([torch.func.grad(loss)(w) for loss in losses]).mean(dim=0)
        u /= u.norm()
        curves = torch.stack(
            [u @ torch.autograd.functional.hvp(loss, w, u)[1] for loss in losses]
        )
        expected = (curves.std() / curves.mean().abs()).item()
        assert got[place].item() == pytest.approx(expected, rel=1e-6)


def test_equal_networks_before_training_are_measured_once():
    """All that determines the measures counts: one weight, label, task or probe."""
    calls = []

    def probe(landscape: Landscape) -> Tensor:
        calls.append(landscape.task)
        return landscape.loss

    def measured(name: str = "a", task: int = 0, weight: float = 0, label: int = 0):
        network = initial_network(SIZES, [3])
        network.weights[0][0, 0, 0] += weight
        examples = Examples(np.arange(4), np.array([label, 1, 2, 3]))
        batch = ProbeBatch([3], task, [examples])
        (loss,) = measure_landscape({name: probe}, network, batch, reader).values()
        return loss.item()

    images = torch.from_numpy(np.random.default_rng(5).integers(256, size=(4, 10)))
    reader = Reader(images.to(torch.uint8), torch.float32)
    first = measured()
    assert measured() == first
    assert len(calls) == 1
    assert measured(weight=1) != first
    assert measured(label=3) != first
    assert measured(name="b") == measured(task=1) == measured(task=1) == first
    assert calls == [0, 0, 0, 0, 1, 1]


def test_pixels_that_are_always_dark_do_not_change_the_measures():
    images = np.random.default_rng(6).integers(1, 256, size=(60, SIZES[0]))
    images[:, [0, 3, 9]] = 0
    reader = Reader(torch.from_numpy(images).to(torch.uint8), torch.float64)
    examples = Examples(np.arange(60), np.arange(60) % SIZES[-1])
    batch = ProbeBatch([3], 1, [examples])
    network = initial_network(SIZES, [3], dtype=torch.float64)
    probes = START | LANDSCAPE
    got = measure_landscape(probes, network, batch, reader)
    seen = Landscape(network, *batch.read(reader), [3], task=1)
    del probes["start_hessian_rank"]  # an estimate: its random vector is shorter
    for name, probe in probes.items():
        torch.testing.assert_close(got[name], probe(seen), rtol=1e-6, atol=1e-12)


def test_equal_batches_have_no_noise():
    seen = look(trained(SGD(lr=0.1), 30))
    same = Landscape(
        seen.network,
        seen.inputs[:, :16].repeat(1, 3, 1),
        seen.labels[:, :16].repeat(1, 3),
        SEEDS,
        task=2,
    )
    for name in ("gradient_noise", "curvature_volatility"):
        assert START[f"start_{name}"](same).tolist() == pytest.approx(
            [0] * 3, abs=1e-12
        )
    strength = START["start_optimization_readiness"](same)
    expected = sum(t.square().sum((1, 2)) for t in same.gradient.tensors())
    torch.testing.assert_close(strength, expected)


@cases
def test_the_trace_of_plain_relus_is_exact(case):
    seen = look(network_of(case))
    trace, error = (
        LANDSCAPE[n](seen) for n in ("hessian_trace", "hessian_trace_error")
    )
    assert (error == 0).all() == (not case.startswith("autograd"))
    for place in range(len(SEEDS)):
        expected = hessian_of(case, place).trace().item()
        away = 4 * error[place].item()
        assert trace[place].item() == pytest.approx(expected, rel=1e-9, abs=away)


def test_the_traces_error_is_that_of_a_mean():
    seen = look(by_autograd(trained(SGD(lr=0.1), 30)))
    forms = seen.quadratic_forms
    assert forms.shape == (3, landscapes.SAMPLES)
    mean, error = (LANDSCAPE[n](seen) for n in ("hessian_trace", "hessian_trace_error"))
    for place in range(3):
        sample = forms[place].numpy()
        assert mean[place].item() == pytest.approx(sample.mean())
        expected = sample.std(ddof=1) / np.sqrt(len(sample))
        assert error[place].item() == pytest.approx(expected)


@cases
def test_sam_sharpness_and_the_lipschitz_estimate_by_hand(case):
    network = network_of(case)
    seen = look(network)
    sam, steepest = (LANDSCAPE[name](seen) for name in ("sam_sharpness", "lipschitz"))
    for place in range(3):
        loss = functools.partial(loss_of, network, seen.inputs, seen.labels, place)
        at = [flat(network, place)]
        slopes = []
        for _ in range(3):
            slopes.append(torch.func.grad(loss)(at[-1]))
            at.append(at[0] + 0.05 * slopes[-1] / slopes[-1].norm())
        risen = (loss(at[1]) - loss(at[0])).item()
        assert sam[place].item() == pytest.approx(risen, rel=1e-6, abs=1e-12)
        expected = max(slope.norm().item() for slope in slopes)
        assert steepest[place].item() == pytest.approx(expected, rel=1e-6)
    assert RADIUS == 0.05


def test_the_lipschitz_estimate_bounds_what_sam_sees():
    """L(w + d) - L(w) <= Lipschitz constant * ||d||, where the estimate is good."""
    seen = look(trained(SGD(lr=0.1), 30))
    sam, steepest = (LANDSCAPE[name](seen) for name in ("sam_sharpness", "lipschitz"))
    assert (sam <= RADIUS * steepest * (1 + 1e-9)).all()
    assert (sam > 0).all()


@pytest.mark.parametrize(
    "optimizer", [SGD(lr=0.01), SAM(lr=0.05, rho=1.0)], ids=["sgd", "sam rho 1"]
)
def test_in_float32_sharpness_is_near_on_the_real_network(optimizer, digits):
    network = initial_network([784, 100, 100, 100, 10], [0])
    x = torch.from_numpy(digits.train_images[:4000]).float()[None] / 255
    y = torch.from_numpy(digits.train_labels[:4000]).long()[None]
    for i in range(0, 4000, 16):
        fast.step(network, Memory(), optimizer, x[:, i : i + 16], y[:, i : i + 16])
    x, y = x[:, :512], y[:, :512]
    exact = Landscape(network.map(Tensor.double), x.double(), y, [0], 0)
    size = exact.hessian.size
    assert size == 99710

    def product(vector: np.ndarray) -> np.ndarray:
        row = torch.from_numpy(vector).reshape(1, -1)
        return exact.hessian.product(row)[0].numpy()

    (by_scipy,) = eigsh(
        LinearOperator((size, size), product, dtype=np.float64),
        k=1, which="LA", v0=np.random.default_rng(0).normal(size=size),
        tol=1e-6, return_eigenvectors=False,
    )  # fmt: skip
    got = sharpness(Landscape(network, x, y, [0], 0)).item()
    assert got == pytest.approx(by_scipy, rel=1e-4)
    assert TOLERANCE[torch.float32] == 1e-3


def test_a_loss_that_does_not_curve_is_not_sharp():
    network = initial_network(SIZES, SEEDS, dtype=torch.float64)
    for tensor in network.tensors():
        tensor.zero_()
    network.biases[-1][..., 0] = 1e4  # sure of one class: softmax is exactly 0 and 1
    seen = look(network)
    assert cross_entropy(forward(network, seen.inputs)[1], seen.labels).isfinite().all()
    for name in ("sharpness", "hessian_trace"):
        assert LANDSCAPE[name](seen).tolist() == [0, 0, 0]
