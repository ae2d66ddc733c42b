"""Each remedy beside a loop after its authors' code: same weights, same batches.

The loops are in our own words. `docs/remedies.md` has the authors' repositories and
lines. Everything is in float64, and after 50 steps all weights agree within 1e-9.
Where this project differs from the code, a test says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.bases import Adam
from trainables.interventions import (
    SNR,
    UPGD,
    ContinualBackprop,
    HareTortoise,
    L2Init,
    Parseval,
    SpectralRegularization,
    StepShrinkPerturb,
    WarmStart,
)
from trainables.interventions.noise import draw_words, normal, uniform
from trainables.networks.architecture import initial_bound
from trainables.networks.network import initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import ASAM, SGD
from trainables.randomness import generator
from trainables.setting import Setting
from trainables.steps.update import initial_memory, make_update

SIZES = [20, 12, 9, 5]
SEED = 3
STEPS = 50
LIMIT = 1e-9

Batch = tuple[Tensor, Tensor]


class Model:
    """One network of torch.nn, and what the authors' loops need of it."""

    def __init__(self, initialization: str | None = None) -> None:
        """Give it the weights that this project draws for the seed."""
        start = initial_network(
            SIZES, [SEED], dtype=torch.float64, initialization=initialization
        )
        self.layers = [
            nn.Linear(*w.shape[1:], dtype=torch.float64) for w in start.weights
        ]
        with torch.no_grad():
            for layer, w, b in zip(
                self.layers, start.weights, start.biases, strict=True
            ):
                layer.weight.copy_(w[0].T)
                layer.bias.copy_(b[0, 0])
        self.hidden: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.hidden = []
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
            self.hidden.append(x.detach())
        return self.layers[-1](x)

    def parameters(self) -> list[Tensor]:
        return [p for layer in self.layers for p in (layer.weight, layer.bias)]


def stream(steps: int = STEPS) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.rand(8, SIZES[0], generator=random, dtype=torch.float64)
        yield x, torch.randint(0, SIZES[-1], (8,), generator=random)


def stack_of(setting: Setting) -> Stack:
    network = initial_network(
        SIZES, [SEED], dtype=torch.float64, initialization=setting.initialization
    )
    return Stack([SEED], 0, network, initial_memory(setting, network))


def trained(setting: Setting, engine: str = "torch") -> Stack:
    stack = stack_of(setting)
    update = make_update(setting, engine, stack)
    for x, y in stream():
        update(x[None], y[None])
    return stack


@torch.no_grad()
def distance(stack: Stack, model: Model) -> float:
    """Return the largest difference of a weight or bias."""
    network = stack.network
    mine = [
        tensor
        for w, b in zip(network.weights, network.biases, strict=True)
        for tensor in (w[0].T, b[0, 0])
    ]
    pairs = zip(mine, model.parameters(), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def optimizer_of(setting: Setting, model: Model) -> torch.optim.Optimizer:
    kind = torch.optim.SGD if setting.base is None else torch.optim.Adam
    return kind(model.parameters(), lr=setting.optimizer.lr)


def fresh_model(
    random: np.random.Generator, initialization: str | None = None
) -> list[Tensor]:
    """Return the parameters of a new model: the authors' networks are nn.Linear's."""
    parameters = []
    for layer in Model().layers:
        is_output = layer.out_features == SIZES[-1]
        bound = initial_bound(layer.in_features, initialization, output=is_output)
        drawn = random.uniform(-bound, bound, (layer.in_features, layer.out_features))
        bias = np.zeros(layer.out_features)
        if initialization == "pytorch":
            bias = random.uniform(-bound, bound, layer.out_features)
        parameters += [torch.from_numpy(drawn.T), torch.from_numpy(bias)]
    return parameters


def noise(count: int, initialization: str | None = "normal") -> list[Tensor]:
    """Return the noise of an update, in the order of the parameters of a model.

    A row has the numbers of an output's weights, then the one of its bias.
    """
    parameters = []
    for number, layer in enumerate(Model().layers):
        outputs, inputs = layer.weight.shape
        words = draw_words(
            np.array([SEED]), np.array([count]), number, outputs, inputs + 1
        )
        is_normal = initialization == "normal"
        numbers = (normal if is_normal else uniform)(words, np.dtype(float))
        rows = torch.from_numpy(numbers.reshape(outputs, -1))
        if not is_normal:
            is_output = outputs == SIZES[-1]
            rows *= initial_bound(inputs, initialization, output=is_output)
        bias = rows[:, inputs] * (initialization is not None)
        parameters += [rows[:, :inputs], bias]
    return parameters


INITIALIZATIONS = pytest.mark.parametrize("initialization", [None, "pytorch"])
BASES = pytest.mark.parametrize("base", [None, Adam()], ids=["sgd", "adam"])


# ---- penalties in the loss


def penalized(setting: Setting, penalty: Callable[[Model], Tensor]) -> Model:
    """Train with the authors' way of adding a penalty to the loss."""
    model = Model()
    optimizer = optimizer_of(setting, model)
    for x, y in stream():
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) + penalty(model)).backward()
        optimizer.step()
    return model


@BASES
def test_l2_init_is_kumars(base):
    """agents.py:282-297: half of lambda times the squared distance."""
    setting = Setting(
        optimizer=SGD(lr=0.01), base=base, intervention=L2Init(init_decay=0.5)
    )
    start = [p.detach().clone() for p in Model().parameters()]

    def penalty(model: Model) -> Tensor:
        pairs = zip(model.parameters(), start, strict=True)
        return 0.5 * 0.5 * sum(((p - p0) ** 2).sum() for p, p0 in pairs)

    assert distance(trained(setting), penalized(setting, penalty)) < LIMIT


@BASES
def test_weight_decay_is_kumars_l2(base):
    """agents.py:231-239: half of lambda times the squared weights and biases."""
    setting = Setting(optimizer=SGD(lr=0.01, weight_decay=0.5), base=base)

    def penalty(model: Model) -> Tensor:
        return 0.5 * 0.5 * sum((p**2).sum() for p in model.parameters())

    assert distance(trained(setting), penalized(setting, penalty)) < LIMIT


# ---- penalties on singular values and products


def test_spectral_regularization_is_the_papers():
    """Section 4: one iteration of the power method per update, through the loss."""
    strength, power = 0.05, 2
    setting = Setting(
        optimizer=SGD(lr=0.01),
        intervention=SpectralRegularization(
            spectral_strength=strength, spectral_power=power
        ),
    )
    directions: dict[nn.Linear, Tensor] = {}

    def penalty(model: Model) -> Tensor:
        total = torch.zeros(())
        for layer in model.layers:
            with torch.no_grad():
                u = directions.get(layer, torch.ones(layer.out_features).double())
                v = F.normalize(layer.weight.T @ u, dim=0)
                u = directions[layer] = F.normalize(layer.weight @ v, dim=0)
            size = u @ layer.weight @ v
            total = total + (size**power - 1) ** 2 + (layer.bias.norm() ** power) ** 2
        return strength * total

    assert distance(trained(setting), penalized(setting, penalty)) < LIMIT


@BASES
def test_parseval_is_chungs(base):
    """agent.py:280-319: products of the rows of each hidden layer against 2 I."""
    setting = Setting(
        optimizer=SGD(lr=0.01), base=base, intervention=Parseval(parseval_strength=1e-4)
    )

    def penalty(model: Model) -> Tensor:
        total = torch.zeros(())
        for layer in model.layers[:-1]:
            w, width = layer.weight, layer.out_features
            products = w @ w.T - 2 * torch.eye(width)
            total = total + (64 / width) ** 2 * torch.norm(products, p="fro") ** 2
        return 1e-4 * total

    assert distance(trained(setting), penalized(setting, penalty)) < LIMIT


# ---- UPGD


def test_upgd_is_elsayeds():
    """first_order.py:80-111: utility, its largest value, and gated steps with noise."""
    beta, sigma, lr, decay = 0.9, 0.1, 0.01, 0.01
    setting = Setting(
        optimizer=SGD(lr=lr, weight_decay=decay),
        intervention=UPGD(upgd_decay=beta, upgd_noise=sigma),
    )
    model = Model()
    parameters = list(model.parameters())
    utility = [torch.zeros_like(p) for p in parameters]
    for count, (x, y) in enumerate(stream(), start=1):
        gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
        with torch.no_grad():
            for u, g, p in zip(utility, gradients, parameters, strict=True):
                u.mul_(beta).add_(-g * p, alpha=1 - beta)
            most = max(float(u.max()) for u in utility)
            for u, g, p, xi in zip(
                utility, gradients, parameters, noise(count), strict=True
            ):
                gate = torch.sigmoid(u / (1 - beta**count) / most)
                p.mul_(1 - lr * decay).add_((g + sigma * xi) * (1 - gate), alpha=-lr)
    assert distance(trained(setting), model) < LIMIT


# ---- Hare and Tortoise


@BASES
def test_hare_and_tortoise_is_lees(base):
    """base.py:151-188, with networks that never share their memory."""
    setting = Setting(
        optimizer=SGD(lr=0.01),
        base=base,
        intervention=HareTortoise(hare_ema=0.9, hare_every=7),
    )
    model = Model()
    optimizer = optimizer_of(setting, model)
    slow = [p.detach().clone() for p in model.parameters()]
    for count, (x, y) in enumerate(stream(), start=1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for average, fast in zip(slow, model.parameters(), strict=True):
                average.copy_(0.9 * average + 0.1 * fast)
                if count % 7 == 0:
                    fast.copy_(average)
    assert distance(trained(setting), model) < LIMIT


# ---- shrink and perturb


@BASES
@INITIALIZATIONS
def test_step_shrink_perturb_is_kumars(base, initialization):
    """agents.py:651-668: after every update, towards 0 and towards a random model."""
    setting = Setting(
        optimizer=SGD(lr=0.01),
        base=base,
        initialization=initialization,
        intervention=StepShrinkPerturb(step_shrink=0.01, step_perturb=0.1),
    )
    model = Model(initialization)
    optimizer = optimizer_of(setting, model)
    for count, (x, y) in enumerate(stream(), start=1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        random_parameters = noise(count, initialization)
        with torch.no_grad():
            for p, random_p in zip(model.parameters(), random_parameters, strict=True):
                p.mul_(1 - 0.01)
                p.add_(0.1 * random_p)
    assert distance(trained(setting), model) < LIMIT


def test_step_shrink_perturb_is_dohares():
    """bp.py:16 and 51-57: weight decay shrinks, and normal noise is added."""
    setting = Setting(
        optimizer=SGD(lr=0.01, weight_decay=0.1),
        intervention=StepShrinkPerturb(
            step_shrink=0, step_perturb=0.01, step_noise="normal"
        ),
    )
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.1)
    for count, (x, y) in enumerate(stream(), start=1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for p, xi in zip(model.parameters(), noise(count), strict=True):
                p += 0.01 * xi
    assert distance(trained(setting), model) < LIMIT


@BASES
@INITIALIZATIONS
def test_warm_start_is_ash_and_adams(base, initialization):
    """run.py:126-136 and 155-161: a mixed network, and a new optimizer."""
    setting = Setting(
        optimizer=SGD(lr=0.01, momentum=0 if base else 0.9),
        base=base,
        initialization=initialization,
        intervention=WarmStart(),
    )
    stack, model = stack_of(setting), Model(initialization)
    update = make_update(setting, "torch", stack)
    for task, batches in enumerate((stream(steps=25), stream(steps=25))):
        if task:
            stack.task = task
            setting.intervention.begin_task(stack)
            random = generator("perturb", SEED, task)
            random_parameters = fresh_model(random, initialization)
            with torch.no_grad():
                for p, p1 in zip(model.parameters(), random_parameters, strict=True):
                    p.copy_(0.4 * p + 0.1 * p1)
        if base:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for x, y in batches:
            update(x[None], y[None])
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert distance(stack, model) < LIMIT


# ---- units that are replaced


class AdamGnT(torch.optim.Optimizer):
    """AdamGnT.py:48-111: Adam with a count of steps for each weight."""

    def __init__(self, parameters: list[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        for p in parameters:
            names = ("exp_avg", "exp_avg_sq", "step")
            self.state[p] = {name: torch.zeros_like(p) for name in names}

    @torch.no_grad()
    def step(self) -> None:
        for p, (m, v, step) in ((p, s.values()) for p, s in self.state.items()):
            step += 1
            m += 0.1 * (p.grad - m)
            v += 0.001 * (p.grad**2 - v)
            rate = (1 - 0.999**step).sqrt() / (1 - 0.9**step)
            p -= self.defaults["lr"] * rate * m / (v.sqrt() + TINY)


TINY = 1e-30
"""Adam's epsilon: the code adds it before it corrects v, and this project after."""


def forget(
    optimizer: torch.optim.Optimizer, layer: nn.Linear, after: nn.Linear, units: Tensor
) -> None:
    """Set the moments of the weights of some units, and AdamGnT's counts, to 0."""
    names = ["exp_avg", "exp_avg_sq"]
    if isinstance(optimizer, AdamGnT):
        names.append("step")
    for name in names if optimizer.state else ():
        optimizer.state[layer.weight][name][units] = 0
        optimizer.state[layer.bias][name][units] = 0
        optimizer.state[after.weight][name][:, units] = 0


class GenerateAndTest:
    """gnt.py:79-204, for one model: which units go, and what takes their place."""

    def __init__(self, model: Model, rate: float, maturity: int, init: str) -> None:
        self.model, self.rate = model, rate
        self.maturity, self.decay, self.init = maturity, 0.99, init
        widths = [layer.out_features for layer in model.layers[:-1]]
        self.utility, self.mean, self.age = (
            [torch.zeros(width, dtype=torch.float64) for width in widths]
            for _ in range(3)
        )
        self.account = [0.0 for _ in widths]
        self.replaced = 0

    def __call__(self, count: int, optimizer: torch.optim.Optimizer) -> None:
        replace = [self.choose(i, h) for i, h in enumerate(self.model.hidden)]
        random = generator("replace", SEED, 0, count)
        for i, units in enumerate(replace):
            layer, following = self.model.layers[i : i + 2]
            gain = 1 if self.init == "default" else 6  # gnt.py:65-75
            bound = (gain / layer.in_features) ** 0.5
            forget(optimizer, layer, following, units)
            drawn = random.uniform(-bound, bound, (len(units), layer.in_features))
            layer.weight[units] = torch.from_numpy(drawn)
            layer.bias[units] = 0
            following.weight[:, units] = 0
            self.age[i][units] = 0
            self.replaced += len(units)

    def choose(self, i: int, features: Tensor) -> Tensor:
        layer, following = self.model.layers[i : i + 2]
        self.age[i] += 1
        correction = 1 - self.decay ** self.age[i]
        self.mean[i] *= self.decay
        self.mean[i] += (1 - self.decay) * features.mean(dim=0)
        distance = (features - self.mean[i] / correction).abs().mean(dim=0)
        output_size = following.weight.abs().mean(dim=0)
        input_size = layer.weight.abs().mean(dim=1)
        self.utility[i] *= self.decay
        self.utility[i] += (1 - self.decay) * output_size * distance / input_size
        eligible = torch.where(self.age[i] > self.maturity)[0]
        self.account[i] += self.rate * len(eligible)
        number = int(self.account[i])
        self.account[i] -= number
        ranked = (self.utility[i] / correction)[eligible].argsort()
        units = eligible[ranked[:number]].sort().values
        self.utility[i][units] = 0
        self.mean[i][units] = 0
        return units


@pytest.mark.parametrize("base", [None, Adam(adam_eps=TINY)], ids=["sgd", "adam"])
@pytest.mark.parametrize("init", ["kaiming", "default"])
def test_continual_backprop_is_dohares(base, init):
    """cbp.py:60-80: a step, then generate and test with the features before it."""
    rate, maturity, lr = 0.03, 7, 0.03 if base is None else 0.003
    initialization = "pytorch" if init == "default" else None
    setting = Setting(
        optimizer=SGD(lr=lr),
        base=base,
        initialization=initialization,
        intervention=ContinualBackprop(replacement_rate=rate, maturity=maturity),
    )
    model = Model(initialization)
    generate_and_test = GenerateAndTest(model, rate, maturity, init)
    kind = torch.optim.SGD if base is None else AdamGnT
    optimizer = kind(model.parameters(), lr=lr)
    for count, (x, y) in enumerate(stream(), start=1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            generate_and_test(count, optimizer)
    assert generate_and_test.replaced > 15
    assert distance(trained(setting), model) < LIMIT


def test_without_new_units_the_counts_of_steps_are_those_of_the_run():
    intervention = ContinualBackprop(replacement_rate=0)
    one, other = (
        trained(Setting(optimizer=SGD(lr=0.01), base=Adam(), intervention=i))
        for i in (intervention, None)
    )
    for a, b in zip(one.network.tensors(), other.network.tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


class SelfNormalizedResets:
    """snr.py:47-150 and 192-333, for one model: ages and thresholds in examples."""

    def __init__(self, model: Model, first: int, least: int, most: int) -> None:
        self.model, self.least, self.most = model, least, most
        widths = [layer.out_features for layer in model.layers[:-1]]
        self.ages = [torch.zeros(width, dtype=int) for width in widths]
        self.thresholds = [torch.full((width,), first) for width in widths]
        self.hist = [torch.zeros(width, most + 1).double() for width in widths]
        self.resets = 0

    def grow_old(self) -> None:
        for ages, hist, h in zip(self.ages, self.hist, self.model.hidden, strict=True):
            for unit, is_negative in enumerate((h <= 0).all(dim=0)):
                if is_negative:
                    ages[unit] += len(h)
                else:
                    hist[unit, ages[unit]] += 1
                    ages[unit] = 0

    def reset(self, task: int, count: int, optimizer: torch.optim.Optimizer) -> None:
        random = generator("silence", SEED, task, count)
        for i, (ages, hist) in enumerate(zip(self.ages, self.hist, strict=True)):
            layer, following = self.model.layers[i : i + 2]
            units = torch.where(ages >= self.thresholds[i])[0]
            hist[units, ages[units]] += 1
            ages[units] = 0
            bound = (6 / layer.in_features) ** 0.5
            drawn = random.uniform(-bound, bound, (len(units), layer.in_features))
            layer.weight[units] = torch.from_numpy(drawn)
            layer.bias[units] = 0
            following.weight[:, units] = 0
            forget(optimizer, layer, following, units)
            self.resets += len(units)

    def update_thresholds(self, percentile: float) -> None:
        for thresholds, hist in zip(self.thresholds, self.hist, strict=True):
            for unit, counts in enumerate(hist[:, 1:]):
                shares = counts.cumsum(0) / counts.sum()  # NaN without any silence
                reached = torch.where(shares >= percentile)[0].tolist()
                index, old = (reached or [0])[0] + 1, int(thresholds[unit])
                new = index if index < old else 2 * old
                thresholds[unit] = max(self.least, min(new, self.most))
            hist.zero_()


@BASES
def test_snr_is_farias_and_jozefiaks(base):
    """pm_experiment.py:71-94: silence, a step, resets; thresholds every second task."""
    lr = 0.03 if base is None else 0.003
    setting = Setting(
        optimizer=SGD(lr=lr),
        base=base,
        intervention=SNR(
            snr_percentile=0.8, snr_every=2, snr_threshold=3, snr_least=1, snr_limit=5
        ),
    )
    stack, model = stack_of(setting), Model()
    for tensor in (stack.network.biases[0][0, 0], model.layers[0].bias.data):
        tensor -= torch.linspace(0, 2, 12)  # from always active to always silent
    update = make_update(setting, "torch", stack)
    optimizer = optimizer_of(setting, model)
    snr = SelfNormalizedResets(model, first=24, least=8, most=40)
    batches = enumerate(stream(), start=1)
    for task in range(5):
        stack.task = task
        if task:
            setting.intervention.begin_task(stack)
        for count, (x, y) in itertools.islice(batches, STEPS // 5):
            update(x[None], y[None])
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            snr.grow_old()
            optimizer.step()
            with torch.no_grad():
                snr.reset(task, count, optimizer)
        if (task + 1) % 2 == 0:
            snr.update_thresholds(0.8)
    assert snr.resets > 15
    assert len({int(t) for t in torch.cat(snr.thresholds)}) > 1
    assert distance(stack, model) < LIMIT


# ---- ASAM


@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_asam_is_its_authors(engine):
    """asam.py:13-47: weights are scaled and biases not, then both lie on one sphere."""
    setting = Setting(optimizer=ASAM(lr=0.05, rho=0.5, eta=0.01))
    model = Model()
    optimizer = optimizer_of(setting, model)
    for x, y in stream():
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            scales = [
                p.abs() + 0.01 if p.dim() == 2 else torch.ones_like(p)
                for p in model.parameters()
            ]
            pairs = zip(scales, model.parameters(), strict=True)
            scaled = [t * p.grad for t, p in pairs]
            norm = torch.stack([g.norm() for g in scaled]).norm() + 1e-16
            ascent = [0.5 / norm * t * g for t, g in zip(scales, scaled, strict=True)]
            for p, e in zip(model.parameters(), ascent, strict=True):
                p.add_(e)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, e in zip(model.parameters(), ascent, strict=True):
                p.sub_(e)
        optimizer.step()
        optimizer.zero_grad()
    assert distance(trained(setting, engine), model) < LIMIT


# ---- the comparison itself


def test_the_loops_are_not_all_alike():
    """Training moves the weights, and the penalty matters."""
    plain, decayed = (
        trained(Setting(optimizer=SGD(lr=0.01, weight_decay=decay)))
        for decay in (0, 0.5)
    )
    assert distance(plain, Model()) > 1e-3
    moved = plain.network.weights[0] - decayed.network.weights[0]
    assert moved.abs().max() > 1e-3
