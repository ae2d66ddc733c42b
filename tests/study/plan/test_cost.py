"""Costs against counts by hand, and against what a run really does."""

from __future__ import annotations

import pytest

from study.plan.cost import run_cost
from trainables.networks import Conv
from trainables.optimizers import ASAM, GNP, SAM, SGD
from trainables.problems import (
    CartPole,
    LabelPermuted,
    Pairwise,
    Permuted,
    RandomLabels,
)
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting


def test_operations_of_a_small_network_by_hand():
    setting = Setting(
        problem=Permuted(), dataset="mnist-5k", tasks=3, epochs=2, hidden=(5, 4)
    )
    cost = run_cost(setting)
    weights = 784 * 5 + 5 * 4 + 4 * 10
    # forward, gradient of the weights, gradient of the inputs of all layers but one
    update = 2 * weights + 2 * weights + 2 * (5 * 4 + 4 * 10)
    assert cost.examples == 3 * 2 * 4290
    assert cost.flops == 3 * 2 * 4290 * update + 3 * 710 * 2 * weights
    # the work of three more examples in each batch of 16
    assert cost.work == cost.flops + 3 * 2 * 4290 * update * 3 / 16


def test_operations_of_control_by_hand():
    problem = CartPole(level_iterations=3, iteration_steps=10)
    setting = Setting(problem=problem, tasks=2, epochs=5, batch_size=5, hidden=(7, 6))
    cost = run_cost(setting)
    weights = (4 * 7 + 7 * 6 + 6 * 2) + (4 * 7 + 7 * 6 + 6 * 1)
    update = 6 * weights - 2 * (2 * 4 * 7)
    assert cost.examples == 2 * 3 * 10 * 5
    assert cost.flops == cost.examples * update + 2 * (2 * 3 * 10) * 2 * weights
    assert cost.work == cost.flops + cost.examples * update * 3 / 5


def test_operations_of_a_convolutional_network_by_hand():
    setting = Setting(
        problem=LabelPermuted(),
        network=Conv(conv_channels="8-16-32"),
        dataset="mnist",
        tasks=1,
        hidden=(64, 64),
    )
    layers = [576 * 25 * 8, 100 * 72 * 16, 9 * 144 * 32]
    products = sum(layers) + 32 * 64 + 64 * 64 + 64 * 10
    assert layers[:2] == [115_200, 115_200]
    update = 2 * (3 * products - layers[0])
    assert run_cost(setting).flops == 60_000 * update + 10_000 * 2 * products


def test_shuffled_labels_are_tested_on_the_images_that_were_drawn():
    fields = {"dataset": "mnist-5k", "tasks": 3, "epochs": 2, "hidden": (5,)}
    cost = run_cost(Setting(problem=RandomLabels(), examples=100, **fields))
    weights = 784 * 5 + 5 * 10
    update = 4 * weights + 2 * 5 * 10
    assert cost.examples == 3 * 2 * 100
    assert cost.flops == 3 * 2 * 100 * update + 3 * 100 * 2 * weights
    tested_apart = run_cost(Setting(problem=Permuted(), examples=100, **fields))
    assert tested_apart.flops - cost.flops == 3 * 610 * 2 * weights


def test_all_pairs_of_mnist_meet_every_example_nine_times():
    setting = Setting(problem=Pairwise(), dataset="mnist", epochs=1)
    assert setting.tasks == 45
    assert run_cost(setting).examples == pytest.approx(9 * 60_000, rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "passes"), [(SGD(), 1), (SAM(), 2), (GNP(), 2), (ASAM(), 2)]
)
def test_an_ascent_step_costs_a_pass(optimizer, passes):
    once = run_cost(Setting(optimizer=SGD(), tasks=1, hidden=(10,)))
    cost = run_cost(Setting(optimizer=optimizer, tasks=1, hidden=(10,)))
    tested = 10_000 * 2 * (784 * 10 + 10 * 10)
    assert cost.flops - tested == passes * (once.flops - tested)
    assert cost.examples == once.examples


@pytest.mark.parametrize(("problem", "batch_size"), [(Permuted(), 10), (Pairwise(), 6)])
def test_examples_are_those_that_a_run_trains_on(problem, batch_size, digits):
    setting = Setting(
        problem=problem,
        dataset="mnist-5k",
        tasks=3,
        epochs=2,
        batch_size=batch_size,
        hidden=(2,),
    )
    # every batch is full: mnist-5k has 429 training examples of each class
    options = RunOptions(landscape_every=0)
    one = ContinualRun(setting, [0], digits, options=options)
    steps = one.next_task()[0]["steps"]
    assert run_cost(setting).examples == pytest.approx(3 * steps * batch_size)
