"""What every entry of the registries must do.

The tests run over the registries. A new optimizer, base, intervention or probe needs
one case in a table here, and an intervention a closed form in test_interventions.py.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from tests.support.rules import RULES, follow
from trainables.bases import BASES, Adam
from trainables.data import Dataset
from trainables.hyperparameter import hyperparameters
from trainables.interventions import (
    INTERVENTIONS,
    SNR,
    UPGD,
    ContinualBackprop,
    Fresh,
    HareTortoise,
    HeadReset,
    HeadZero,
    Intervention,
    L2Init,
    LayerNorm,
    Parseval,
    ReDo,
    SpectralNorm,
    SpectralRegularization,
    StepShrinkPerturb,
    WarmStart,
)
from trainables.learners import LEARNERS
from trainables.networks import MLP, NETWORKS, Architecture, Conv, ResNet18, ViT
from trainables.networks.network import Network, forward, initial_network
from trainables.networks.stack import Memory
from trainables.optimizers import (
    ASAM,
    FSAM,
    GAM,
    GNP,
    GSAM,
    MSAM,
    OPTIMIZERS,
    SAM,
    SGD,
    WSAM,
    LookSAM,
    Optimizer,
    Surface,
    VaSSO,
)
from trainables.probes import LANDSCAPE, MEASURES, PROBES, START, Landscape, Snapshot
from trainables.problems import (
    PROBLEMS,
    TD,
    Accumulating,
    Acrobot,
    CartPole,
    ClassPairs,
    Form,
    Gradual,
    Grid,
    Growing,
    LabelPermuted,
    Pairwise,
    PairwiseOriented,
    Permuted,
    Problem,
    RandomLabels,
    Rotating,
)
from trainables.record import (
    IDENTITY_COLUMNS,
    OUTCOME_COLUMNS,
    POSITION_COLUMNS,
    SETTING_COLUMNS,
    Record,
    measure_columns,
)
from trainables.run import ContinualRun
from trainables.setting import REGISTRIES, RunOptions, Setting
from trainables.start import LEARNER_RUNS, RUNS
from trainables.steps import fast, reference
from trainables.steps.reference import loss_gradient
from trainables.steps.update import initial_memory

COMMON: dict[str, float] = {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.01}

OPTIMIZER_CASES: dict[str, Optimizer] = {
    "sgd": SGD(**COMMON),
    "sam": SAM(rho=0.1, **COMMON),
    "gnp": GNP(rho=0.1, alpha=0.6, **COMMON),
    "asam": ASAM(rho=0.5, eta=0.1, **COMMON),
    "wsam": WSAM(rho=0.02, wsam_gamma=0.6, **COMMON),
    "gsam": GSAM(rho=0.02, **COMMON),
    "fsam": FSAM(rho=0.1, **COMMON),
    "vasso": VaSSO(rho=0.1, vasso_theta=0.4, **COMMON),
    "msam": MSAM(rho=0.1, **COMMON),
    "looksam": LookSAM(rho=0.1, looksam_every=3, **COMMON),
    "gam": GAM(gam_rho=0.05, gam_gamma=0.2, **COMMON),
}
"""Each optimizer. `tests.support.rules` has its rule for one network as one vector."""


def adam_steps(base: Adam, lr: float, w: Tensor, gradients: list[Tensor]) -> Tensor:
    m = v = torch.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = base.beta1 * m + (1 - base.beta1) * g
        v = base.beta2 * v + (1 - base.beta2) * g**2
        size = (v / (1 - base.beta2**t)).sqrt() + base.adam_eps
        w = w - lr * m / (1 - base.beta1**t) / size
    return w


BASE_CASES: dict[str, tuple[Adam, Callable[..., Tensor]]] = {
    "adam": (Adam(beta1=0.8, beta2=0.95), adam_steps),
}
"""Each base with its paper's steps along given gradients."""

INTERVENTION_CASES: dict[str, Intervention] = {
    "l2_init": L2Init(init_decay=0.5),
    "layer_norm": LayerNorm(),
    "spectral_norm": SpectralNorm(spectral_bound=0.8),
    "spectral_regularization": SpectralRegularization(
        spectral_strength=0.1, spectral_power=1
    ),
    "parseval": Parseval(parseval_strength=1e-4),
    "upgd": UPGD(upgd_decay=0.9),
    "step_shrink_perturb": StepShrinkPerturb(step_shrink=0.01, step_perturb=0.1),
    "warm_start": WarmStart(shrink=0.5, fresh_share=0.5),
    "continual_backprop": ContinualBackprop(replacement_rate=0.1, maturity=1),
    "redo": ReDo(redo_tau=0.8, redo_every=3),
    "snr": SNR(snr_every=1, snr_threshold=3, snr_least=1, snr_limit=4),
    "head_reset": HeadReset(),
    "head_zero": HeadZero(),
    "fresh": Fresh(),
    "hare_tortoise": HareTortoise(hare_ema=0.5, hare_every=3),
}
"""So strong that they act in runs of a few steps."""

UNDER: dict[str, Setting] = {
    "sgd": Setting(optimizer=SGD(lr=0.03, momentum=0.8)),
    "sam": Setting(optimizer=SAM(lr=0.03, rho=0.1)),
    "adam": Setting(optimizer=FSAM(lr=0.01, weight_decay=0.01), base=Adam()),
}
"""What interventions are composed with."""

PROBLEM_CASES: dict[str, Problem] = {
    "permuted": Permuted(),
    "pairwise": Pairwise(),
    "pairwise-oriented": PairwiseOriented(),
    "gradual": Gradual(pixel_share=0.25),
    "label-permuted": LabelPermuted(),
    "random-labels": RandomLabels(),
    "accumulating": Accumulating(chunks=4),
    "class-pairs": ClassPairs(),
    "rotating": Rotating(degrees=30),
    "growing": Growing(new_classes=3),
    "cartpole": CartPole(),
    "acrobot": Acrobot(),
    "grid": Grid(),
    "td": TD(),
}
WITH_IMAGES = [name for name, p in PROBLEM_CASES.items() if p.control is None]
"""tests/trainables/control has the tests of the others."""

NETWORK_CASES: dict[str, Architecture] = {
    "mlp": MLP(),
    "conv": Conv(conv_channels="2-3"),
    "resnet18": ResNet18(resnet_width=1),
    "vit": ViT(vit_patch=14, vit_dim=6, vit_depth=1, vit_heads=2),
}
"""Each architecture. tests/trainables/networks has a test of its forward pass."""

PROBE_CASES: dict[str, list[float]] = {
    "dormant_fraction": [1],
    "dormant_fraction_tau": [1],
    "effective_rank": [0],
    "stable_rank": [0],
    "srank": [0],
    "approximate_rank": [0],
    "participation_ratio": [0],
    "sign_entropy": [0],
    "weight_norm": [20],
    "initial_distance": [20],
    "update_norm": [20],
    "gradient_norm": [0],
    "layer_dormant_fraction": [1, 1],
    "layer_weight_norm": [12**0.5, 10**0.5, 378**0.5],
    "layer_initial_distance": [12**0.5, 10**0.5, 378**0.5],
    "layer_update_norm": [12**0.5, 10**0.5, 378**0.5],
}
"""Each probe's value of a dead network: weights zero, biases -1, but one of 20.

It was all zero before.
"""

LANDSCAPE_CASES: dict[str, list[float]] = {
    "sharpness": [0],
    "hessian_trace": [0],
    "hessian_trace_error": [0],
    "sam_sharpness": [0],
    "lipschitz": [0],
    "start_hessian_rank": [0],
    "start_gradient_noise": [0],
    "start_optimization_readiness": [0],
    "start_curvature_volatility": [0],
    "start_step_gain": [0],
}
"""The same, on examples that the network is sure of, and right."""

AROUND = LANDSCAPE | {
    name: probe
    for name, probe in START.items()
    if name.removeprefix("start_") not in {**PROBES, **LANDSCAPE}
}
"""The probes of the landscape after a task, and those that measure only before it."""

ENGINES = {"torch": fast.step, "reference": reference.step}
SIZES = [784, 12, 10, 10]
SEEDS = [5, 0, 2]

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS, indirect=True)
problems = pytest.mark.parametrize("problem", WITH_IMAGES, indirect=True)
# every optimizer and every problem, but not each with each, to save time
runs = pytest.mark.parametrize(
    ("optimizer", "problem"),
    [*((name, "permuted") for name in OPTIMIZERS), *(("sgd", p) for p in WITH_IMAGES)][
        1:
    ],
    indirect=True,
)
probes = pytest.mark.parametrize("name", [*PROBES, *AROUND])
interventions = pytest.mark.parametrize("name", INTERVENTIONS)
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    return OPTIMIZER_CASES[request.param]


@pytest.fixture
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEM_CASES[request.param]


@pytest.mark.parametrize(
    ("registry", "cases"),
    [
        (OPTIMIZERS, OPTIMIZER_CASES),
        (OPTIMIZERS, RULES),
        (PROBLEMS, PROBLEM_CASES),
        (PROBES, PROBE_CASES),
        (AROUND, LANDSCAPE_CASES),
        (BASES, BASE_CASES),
        (INTERVENTIONS, INTERVENTION_CASES),
        (NETWORKS, NETWORK_CASES),
    ],
    ids=[
        "optimizers",
        "rules",
        "problems",
        "probes",
        "landscape",
        "bases",
        "interventions",
        "networks",
    ],
)
def test_every_entry_has_a_case(registry, cases):
    assert set(registry) == set(cases)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_parts_of_a_setting_are_frozen_and_named(kind):
    for name, part in REGISTRIES[kind].items():
        assert part.name == name
        assert part.__doc__
        assert "__attrs_attrs__" in vars(part)  # else its own defaults have no effect
        assert set(hyperparameters(part)) <= set(SETTING_COLUMNS)
        assert part() == part()
        assert hash(part()) == hash(part())
        with pytest.raises(AttributeError):
            part().lr = 1


def test_a_column_means_one_thing():
    """Only optimizers and problems share hyperparameters, with equal declarations."""
    names = [(kind, name) for kind in REGISTRIES for name in REGISTRIES[kind]]
    for one, other in itertools.combinations(names, 2):
        mine, theirs = (hyperparameters(REGISTRIES[k][n]) for k, n in (one, other))
        shared = mine.keys() & theirs.keys()
        assert not shared or (one[0] == other[0] and one[0] in ("optimizer", "problem"))
        assert all(mine[name] == theirs[name] for name in shared)
    parts = {n for kind, name in names for n in hyperparameters(REGISTRIES[kind][name])}
    assert parts.isdisjoint(hyperparameters(Setting))
    others = IDENTITY_COLUMNS | POSITION_COLUMNS | OUTCOME_COLUMNS | measure_columns()
    assert SETTING_COLUMNS.keys().isdisjoint(others)


def test_every_problem_of_control_and_every_learner_has_a_run():
    assert set(LEARNER_RUNS) == {None, *LEARNERS}
    assert set(RUNS) == {n for n, p in PROBLEMS.items() if p.control and not p.acts}


@pytest.mark.parametrize("name", [n for n, kind in NETWORKS.items() if kind.is_plain])
def test_a_plain_network_has_its_activation_and_is_normalized(name):
    kind = Setting(network=NETWORK_CASES[name]).network  # None for the MLP
    form = Form(8, 8, 1, 3)
    x = torch.rand(1, 5, form.pixels, generator=torch.Generator().manual_seed(0))
    of = functools.partial(
        initial_network, [form.pixels, 6, 3], [0], kind=kind, form=form
    )
    networks = of(), of(activation="tanh"), of(normalized=True)
    plain, *others = (forward(network, x)[1] for network in networks)
    assert not any(torch.equal(plain, logits) for logits in others)
    forward(of(activation="crelu"), x)  # two outputs of each unit


def test_every_hyperparameter_says_what_it_means():
    for column in SETTING_COLUMNS.values():
        assert column.meaning
        assert column.role == "setting"


# ---- closed forms


@optimizers
def test_an_optimizers_steps_are_its_closed_form(optimizer):
    """On L(w) = w^T A w / 2 of three networks with four weights and a bias."""
    random = torch.Generator().manual_seed(2)
    a = torch.randn(3, 5, 5, generator=random, dtype=torch.float64)
    matrix = a + a.mT
    w = torch.randn(3, 5, 1, generator=random, dtype=torch.float64)

    def slope_at(network: Network) -> tuple[Network, Tensor]:
        slope = matrix @ torch.cat(network.tensors(), dim=1)
        return Network([slope[:, :4]], [slope[:, 4:]]), slope

    network = Network([w[:, :4].clone()], [w[:, 4:].clone()])
    memory = memory_of(optimizer, network)
    for _ in range(5):
        surface = Surface(network, slope_at)
        slope = reference.slope_on(surface, optimizer, memory)
        reference.move(network, memory, optimizer, slope)
    is_bias = torch.arange(5)[:, None] == 4
    for seed in range(3):
        slopes = [matrix[seed].matmul] * 5
        expected = follow(optimizer, None, w[seed], slopes, is_bias)
        got = torch.cat([tensor[seed] for tensor in network.tensors()])
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", BASES)
def test_a_bases_steps_are_its_closed_form(name):
    base, closed_form = BASE_CASES[name]
    random = torch.Generator().manual_seed(3)
    w, *gradients = torch.randn(6, 2, 4, 1, generator=random, dtype=torch.float64)
    network = Network([w.clone()], [torch.zeros(2, 1, 1, dtype=torch.float64)])
    memory = Memory()
    base.begin(network, memory)
    for gradient in gradients:
        base.descend(network, memory, Network([gradient], network.biases), lr=0.1)
    expected = closed_form(base, 0.1, w, gradients)
    torch.testing.assert_close(network.weights[0], expected, rtol=1e-10, atol=1e-10)


# ---- optimizers: a few steps (steps/test_fast.py has a dead network, and one engine
# against the other)


def batches(seeds: int, steps: int = 4) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(seeds, 16, 784, generator=random, dtype=torch.float64),
            torch.randint(0, 10, (seeds, 16), generator=random),
        )
        for _ in range(steps)
    ]


def memory_of(optimizer: Optimizer, network: Network) -> Memory:
    return initial_memory(Setting(optimizer=optimizer), network)


def stepped(
    engine: str,
    optimizer: Optimizer,
    network: Network,
    stream: list[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    memory = memory_of(optimizer, network)
    logits = [ENGINES[engine](network, memory, optimizer, x, y) for x, y in stream]
    return [*network.tensors(), *memory.named().values(), *logits]


def assert_same(one: list[Tensor], other: list[Tensor], tolerance: float) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@engines
@optimizers
def test_steps_are_the_same_to_the_last_bit(optimizer, engine):
    runs = [
        stepped(
            engine,
            optimizer,
            initial_network(SIZES, SEEDS, dtype=torch.float64),
            batches(3),
        )
        for _ in range(2)
    ]
    assert_same(*runs, 0)


@engines
@optimizers
def test_steps_of_a_seed_are_its_own(optimizer, engine):
    together = initial_network(SIZES, SEEDS, dtype=torch.float64)
    stream = batches(3)
    of_all = stepped(engine, optimizer, together, stream)
    for place, seed in enumerate(SEEDS):
        part = slice(place, place + 1)
        mine = [(x[part], y[part]) for x, y in stream]
        alone = initial_network(SIZES, [seed], dtype=torch.float64)
        of_one = stepped(engine, optimizer, alone, mine)
        assert_same([t[part] for t in of_all], of_one, 1e-12)


@engines
@optimizers
def test_a_seed_that_is_not_finite_touches_no_other(optimizer, engine):
    sick = initial_network(SIZES, SEEDS, dtype=torch.float64)
    sick.weights[1][1, 0, 0] = torch.nan
    well = initial_network(SIZES, SEEDS, dtype=torch.float64)
    rest = [0, 2]
    assert_same(
        [t[rest] for t in stepped(engine, optimizer, sick, batches(3))],
        [t[rest] for t in stepped(engine, optimizer, well, batches(3))],
        1e-12,
    )


@engines
@optimizers
def test_steps_descend(optimizer, engine):
    network = initial_network(SIZES, SEEDS, dtype=torch.float64)
    (batch,) = batches(3, steps=1)
    losses = []
    still = attrs.evolve(optimizer, momentum=0)
    memory = memory_of(still, network)
    for _ in range(30):
        ENGINES[engine](network, memory, still, *batch)
        logits = forward(network, batch[0])[1].flatten(0, 1)
        losses.append(torch.nn.functional.cross_entropy(logits, batch[1].flatten()))
    assert losses[-1] < 0.9 * losses[0]


# ---- optimizers and problems: whole runs


def setting(optimizer: Optimizer, problem: Problem) -> Setting:
    return Setting(
        optimizer=optimizer,
        problem=problem,
        dataset="mnist-5k",
        tasks=3,
        batch_size=16,
        hidden=(12, 10),
    )


def told(rows: list[Record]) -> list[list[Any]]:
    columns = ("seed", "task", "task_label", "steps", "diverged", *measure_columns())
    return [[row[name] for name in columns] for row in rows]


def run_of(setting: Setting, seeds: list[int], data: Dataset, **more) -> ContinualRun:
    """Without the probes of the landscape, which take longer than all the rest."""
    return ContinualRun(
        setting, seeds, data, options=RunOptions(landscape_every=0), **more
    )


@runs
def test_a_run_is_the_same_when_stopped_and_gone_on_with(
    optimizer, problem, few: Dataset
):
    one = setting(optimizer, problem)
    assert stopped_after_each_task(one, few) == told(through(one, SEEDS, few))


def stopped_after_each_task(setting: Setting, data: Dataset) -> list[list[Any]]:
    """Return what is told of a run that is saved and read again after each task."""
    one, got = run_of(setting, SEEDS, data), []
    for _ in range(3):
        got += told(one.next_task())
        file = io.BytesIO()
        torch.save(one.state_dict(), file)
        file.seek(0)
        one = run_of(setting, SEEDS, data)
        one.load_state_dict(torch.load(file, weights_only=True))
    return got


@optimizers
def test_a_run_is_the_same_with_the_fastest_engine(optimizer, few):
    one = attrs.evolve(setting(optimizer, Permuted()), tasks=1)
    fastest, expected = (
        told(through(one, SEEDS, few, dtype=torch.float64, engine=engine))
        for engine in (None, "reference")
    )
    assert fastest == near(expected)


@runs
def test_a_seeds_tasks_and_weights_do_not_depend_on_the_optimizer(
    optimizer, problem, few
):
    mine, theirs = (
        run_of(attrs.evolve(setting(o, problem), examples=8), SEEDS, few)
        for o in (optimizer, SGD())
    )
    assert_same(mine.network.tensors(), theirs.network.tensors(), 0)
    labels = [
        [row["task_label"] for _ in range(3) for row in one.next_task()]
        for one in (mine, theirs)
    ]
    assert labels[0] == labels[1]


# ---- interventions and bases: whole runs


def remedied(name: str | None, under: str, problem: Problem) -> Setting:
    return attrs.evolve(
        UNDER[under],
        intervention=None if name is None else INTERVENTION_CASES[name],
        problem=problem,
        dataset="mnist-5k",
        tasks=3,
        batch_size=6,
        hidden=(12, 10),
    )


def through(setting: Setting, seeds: list[int], data: Dataset, **more) -> list[Record]:
    one = run_of(setting, seeds, data, **more)
    return [row for _ in range(setting.tasks) for row in one.next_task()]


def near(rows: list[list[Any]]) -> list[list[Any]]:
    def one(value: Any) -> Any:
        if isinstance(value, float | list):
            return pytest.approx(value, rel=1e-8, abs=1e-8)
        return value

    return [[one(value) for value in row] for row in rows]


@pytest.mark.parametrize("name", [None, *INTERVENTIONS])
def test_a_run_with_it_is_the_same_when_stopped_and_gone_on_with(name, few):
    setting = remedied(name, "adam", Permuted())
    expected = told(through(setting, SEEDS, few))
    assert stopped_after_each_task(setting, few) == expected


@pytest.mark.parametrize("name", [None, *INTERVENTIONS])
def test_a_seed_with_it_is_its_own(name, few):
    """Alone, in a stack, and in a stack of which a seed diverges."""
    setting = remedied(name, "adam", Pairwise())
    sick = run_of(setting, SEEDS, few, dtype=torch.float64)
    rows = sick.next_task()
    sick.network.weights[1][sick.alive.index(0), 0, 0] = torch.nan
    while not sick.finished:
        rows += sick.next_task()
    healed = name == "fresh"
    assert sorted(sick.alive) == ([0, 2, 5] if healed else [2, 5])
    alone = through(setting, [2], few, dtype=torch.float64)
    assert told(alone) == near(told([row for row in rows if row["seed"] == 2]))


STREAMS = ("permuted", "pairwise")


@pytest.fixture(scope="module")
def plain_runs(few: Dataset) -> dict[str, tuple[list[Tensor], list[Record]]]:
    """The first weights and the records of a run without intervention, by problem."""
    runs = {}
    for name in STREAMS:
        run = run_of(remedied(None, "sgd", PROBLEM_CASES[name]), SEEDS, few)
        weights = [tensor.clone() for tensor in run.network.tensors()]
        runs[name] = weights, [row for _ in range(3) for row in run.next_task()]
    return runs


# each intervention on one of two streams, in turn, to save time
@pytest.mark.parametrize(
    ("name", "problem"),
    [*zip(INTERVENTIONS, itertools.cycle(STREAMS))],
    indirect=["problem"],
)
def test_it_is_paired_with_sgd_and_does_something(name, problem, few, plain_runs):
    run = run_of(remedied(name, "sgd", problem), SEEDS, few)
    weights, plain_rows = plain_runs[problem.name]
    assert_same(run.network.tensors(), weights, 0)
    rows = [row for _ in range(3) for row in run.next_task()]
    assert [r["task_label"] for r in rows] == [r["task_label"] for r in plain_rows]
    assert told(rows) != told(plain_rows)
    intervention = INTERVENTION_CASES[name]
    if not (intervention.steps or intervention.penalizes or intervention.normalizes):
        # what acts between tasks leaves the first one as it was
        assert told(rows[:3]) == told(plain_rows[:3])


@pytest.mark.parametrize(
    ("name", "under"), [*zip(INTERVENTIONS, itertools.cycle(UNDER))]
)
def test_a_dead_network_with_it_stays_finite(name, under, few):
    setting = remedied(name, under, Permuted())
    one = run_of(setting, SEEDS, few)
    for tensor in one.network.tensors():
        tensor.zero_()
    one.network.biases[0].fill_(-1000)
    one.network.biases[-1][..., 3] = 1e4
    rows = [row for _ in range(3) for row in one.next_task()]
    assert not any(row["diverged"] for row in rows)


@interventions
def test_it_composes_with_all_engines(name, few):
    setting = remedied(name, "adam", Pairwise())
    fastest, by_torch, expected = (
        told(through(setting, SEEDS, few, dtype=torch.float64, engine=engine))
        for engine in (None, "torch", "reference")
    )
    assert fastest == near(expected)
    assert by_torch == near(expected)


# ---- probes


PROBED = [20, *SIZES[1:]]
"""Few inputs: the probes of the landscape take long with many weights."""


def examples_for(seeds: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    shape = (seeds, 40, PROBED[0])
    x = torch.rand(shape, generator=random, dtype=torch.float64)
    return x, torch.randint(0, 10, shape[:2], generator=random)


def probed(
    name: str, network: Network, x: Tensor, y: Tensor, seeds: list[int] = SEEDS
) -> Tensor:
    """Measure with a probe of any kind, against a network that is all zero."""
    with torch.no_grad():
        if name in AROUND:
            return AROUND[name](Landscape(network, x, y, seeds, 1))
        return PROBES[name](snapshot_of(network, x, y))


def snapshot_of(network: Network, x: Tensor, y: Tensor) -> Snapshot:
    layers, _ = forward(network, x)
    gradient, _ = loss_gradient(network, x, y)
    nothing = network.zeros_like()
    return Snapshot(network, layers[1:], gradient, nothing, nothing)


def test_what_is_measured_before_a_task_is_a_probe_and_a_column():
    for column in START:
        name = column.removeprefix("start_")
        if column not in AROUND:
            assert name in PROBES or name in LANDSCAPE
            assert MEASURES[column].unit == MEASURES[name].unit
        assert column in measure_columns()


@probes
def test_a_probe_gives_its_columns_numbers_and_changes_nothing(name):
    network = initial_network(PROBED, SEEDS, dtype=torch.float64)
    before = network.map(torch.clone)
    batch = examples_for(3)
    values = probed(name, network, *batch)
    listed = pa.types.is_list(measure_columns()[name].type)
    assert listed == name.startswith("layer_")
    assert values.shape[0] == 3
    assert values.dim() == 1 + listed
    assert values.dtype == torch.float64
    assert values.isfinite().all()
    assert torch.equal(probed(name, network, *batch), values)
    assert_same(network.tensors(), before.tensors(), 0)


@probes
def test_a_probe_of_a_seed_is_its_own(name):
    network = initial_network(PROBED, SEEDS, dtype=torch.float64)
    x, y = examples_for(3)
    values = probed(name, network, x, y)
    for i, seed in enumerate(SEEDS):
        part = slice(i, i + 1)
        alone = probed(name, network.part(i, i + 1), x[part], y[part], [seed])
        torch.testing.assert_close(alone, values[part], rtol=1e-9, atol=0)


@probes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probe_of_a_dead_network_is_finite(name, dtype):
    network = initial_network(PROBED, [0], dtype=dtype)
    for tensor in network.tensors():
        tensor.zero_()
    for bias in network.biases[:-1]:
        bias.fill_(-1)
    network.biases[-1][..., 3] = (400 - 12 - 10) ** 0.5  # 20 in all
    x, y = torch.rand(1, 40, PROBED[0], dtype=dtype), torch.full((1, 40), 3)
    value = probed(name, network, x, y, [0])[0]
    cases = PROBE_CASES | LANDSCAPE_CASES
    assert value.reshape(-1).tolist() == pytest.approx(cases[name], abs=1e-6)


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"vit"}))
def test_the_probes_of_a_dead_network_of_any_kind_are_finite(name):
    """The closed forms of the test above, with as many layers as the network has.

    A unit of a transformer is not dead if its input is -1: its GELU is not 0.
    """
    kind = Setting(network=NETWORK_CASES[name]).network  # None for the MLP
    form = Form(10, 10, 1, 10)
    network = initial_network([form.pixels, *SIZES[1:]], [0], kind=kind, form=form)
    for tensor in network.tensors():
        tensor.zero_()
    units = [bias.shape[2] for bias in network.biases[:-1]]
    for bias in network.biases[:-1]:
        bias.fill_(-1)
    network.biases[-1][..., 3] = (400 - sum(units)) ** 0.5
    x, y = torch.rand(1, 40, form.pixels), torch.full((1, 40), 3)
    norms = [width**0.5 for width in [*units, 400 - sum(units)]]
    layered = {"layer_dormant_fraction": [1] * (len(forward(network, x)[0]) - 1)}
    cases = {
        n: layered.get(n, norms if n.startswith("layer_") else value)
        for n, value in (PROBE_CASES | LANDSCAPE_CASES).items()
    }
    with torch.no_grad():
        snapshot = snapshot_of(network, x, y)
        landscape = Landscape(network, x, y, [0], 1)
        values = {name: probe(snapshot) for name, probe in PROBES.items()}
        values |= {name: probe(landscape) for name, probe in AROUND.items()}
    assert values.keys() == cases.keys()
    for probe, expected in cases.items():
        value = values[probe].reshape(-1).tolist()
        assert value == pytest.approx(expected, abs=1e-6), probe


@pytest.mark.parametrize(
    ("name", "poison"),
    [*zip([*PROBES, *AROUND], itertools.cycle([torch.inf, torch.nan]))],
)
def test_a_probe_of_a_network_that_is_not_finite_harms_no_other(name, poison):
    network = initial_network(PROBED, SEEDS, dtype=torch.float64)
    expected = probed(name, network, *examples_for(3))
    network.biases[0][1] = poison
    values = probed(name, network, *examples_for(3))
    torch.testing.assert_close(values[[0, 2]], expected[[0, 2]])
