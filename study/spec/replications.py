"""Settings of other people's experiments, to reproduce their published numbers.

The settings follow the authors' code, which each docstring cites.
"""

from __future__ import annotations

from typing import Any

from trainables.bases import Adam
from trainables.interventions import (
    ContinualBackprop,
    Fresh,
    L2Init,
    LayerNorm,
    ReDo,
    StepShrinkPerturb,
)
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import CartPole, RandomLabels
from trainables.setting import Setting


def dohare_2024() -> tuple[Setting, ...]:
    """Return SGD, SAM and GNP on online permuted MNIST of Dohare et al. 2024.

    The paper is Nature 632, 768-774. The first setting is the network of width 100 in
    Extended Data Figure 3b. The authors' code (shibhansh/loss-of-plasticity@63c35f3)
    has these values:

        SGD, step size 0.003, 3 x 100 units    lop/permuted_mnist/cfg/bp/width.json
        60,000 examples a task, batch size 1   lop/permuted_mnist/online_expr.py:31-35
        new pixel order and example order      lop/permuted_mnist/online_expr.py:136-139
        pixels in [0, 1]                       lop/permuted_mnist/load_mnist.py:10
        Kaiming-uniform weights, zero biases   lop/nets/deep_ffnn.py:27-28

    The authors measure what our column `online_accuracy` has: each prediction is made
    before the update on that example. For a new task, they permute the pixels of the
    previous task again, and we permute the original pixels. In both cases, the
    permutations are uniform and independent.

    The authors have no sharpness-aware optimizers. SAM and GNP have a smaller rho than
    usual, because with batch size 1 and rho 0.1, SAM makes most units of this network
    dormant.
    """
    optimizers = (
        SGD(lr=0.003),
        SAM(lr=0.003, rho=0.02),
        GNP(lr=0.003, rho=0.02, alpha=0.8),
    )
    return tuple(
        Setting(optimizer=optimizer, dataset="mnist", tasks=101, batch_size=1)
        for optimizer in optimizers
    )


# MLP with two hidden layers, nn.Linear's initial weights, pixels in [-1, 1], batch 16
# (skumar9876/L2_Init@3f86d26: nets/mlp.py:28-51, utils/load_data.py:17-18,
# utils/commands/train/parallel_runs_permuted_mnist.py:32-35)
KUMAR: dict[str, Any] = {
    "dataset": "mnist",
    "batch_size": 16,
    "hidden": (100, 100),
    "initialization": "pytorch",
    "input_low": -1.0,
    "base": Adam(),
}


def kumar_2023() -> tuple[Setting, ...]:
    """Return 20 tasks of permuted MNIST of Kumar et al. 2023 (arXiv 2308.11958).

    All settings have Adam with step size 0.001, and each task has 10,000 images, drawn
    anew (skumar9876/L2_Init@3f86d26:environments/permuted_mnist.py:105-112). The first
    setting is from Table 2: L2-init with lambda 0.001. The other settings are a network
    without a remedy, and the remedies of Figures 1 and 2 with the values that the
    authors found best under Adam (Table 3, see docs/remedies.md). In these figures, a
    stream has 500 tasks, and the network without a remedy has its best step size,
    0.0001. Here all streams have 20 tasks and the same step size.

    The network with CReLU has 91 units a layer, so that it has as many parameters as
    the other networks (appendix A.1.3).

    The authors' first task is not permuted, and ours is. The difference does not
    matter, because a network whose initial weights all have the same distribution
    treats all orders of the pixels alike. The authors' last batch of a task repeats 16
    of the 10,000 examples (permuted_mnist.py:144-145). Our last batch repeats no
    examples.
    """
    shared: dict[str, Any] = {**KUMAR, "tasks": 20, "examples": 10_000}
    plain: dict[str, Any] = {"optimizer": SGD(lr=0.001), **shared}
    remedies = (
        L2Init(init_decay=0.01),
        StepShrinkPerturb(step_shrink=0.001, step_perturb=0.01),
        ContinualBackprop(replacement_rate=0.001),
        ReDo(redo_tau=0.0, redo_every=625),
        LayerNorm(),
    )
    return (
        Setting(intervention=L2Init(init_decay=0.001), **plain),
        Setting(**plain),
        Setting(**{**plain, "optimizer": SGD(lr=0.001, weight_decay=0.01)}),
        *(Setting(intervention=remedy, **plain) for remedy in remedies),
        Setting(**{**plain, "hidden": (91, 91), "activation": "crelu"}),
    )


def random_labels() -> tuple[Setting, ...]:
    """Return a shorter random-label MNIST of Kumar et al. 2023 (arXiv 2308.11958).

    In each task, the network memorizes new random labels of the same 1,200 images. The
    authors have 50 tasks of 30,000 updates, which are about 400 epochs
    (skumar9876/L2_Init@3f86d26:config/env/random_label_mnist.yaml), and their epochs
    leave out 16 of the images (environments/random_label_envs.py:76-77). A run then
    takes an hour (appendix A.1.1). Here a stream has 10 tasks of 50 epochs, so that a
    study takes minutes. In 50 epochs, a network without a remedy memorizes about half
    of the labels of the first task (docs/results.md).

    The authors report that a network without a remedy and a network with weight decay
    lose plasticity, and that a network with L2-init keeps it (Figure 1, Adam). In their
    Table 3, the best strength of L2-init and of weight decay is 0.01. Their best step
    size is 0.0001 for the three networks. Here it is 0.001, because tasks are short.
    """
    shared: dict[str, Any] = {**KUMAR, "problem": RandomLabels()}
    shared |= {"tasks": 10, "epochs": 50, "examples": 1_200}
    settings = [Setting(optimizer=SGD(lr=0.001), **shared)]
    for decay in (0.01, 0.001):
        settings += [
            Setting(
                optimizer=SGD(lr=0.001), intervention=L2Init(init_decay=decay), **shared
            ),
            Setting(optimizer=SGD(lr=0.001, weight_decay=decay), **shared),
        ]
    return tuple(settings)


# PPO with Adam, and networks with nn.Linear's initial weights and LeakyReLU(0.1)
# (bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control,
# control_train_aligned_vanilla.py:43-61, networks.py:12-24)
TANG: dict[str, Any] = {
    "problem": CartPole(),
    "epochs": 5,
    "batch_size": 32,
    "hidden": (256, 256, 256),
    "optimizer": SGD(lr=0.001),
    "base": Adam(),
    "initialization": "pytorch",
    "activation": "leaky_relu_tenth",
}


def control_calibration(**fields: Any) -> tuple[Setting, ...]:
    """Return continual CartPole of Tang et al. 2025 (arXiv 2506.00592) with PPO.

    All settings get the values in `fields`. Ten levels of 200 iterations add a vector
    to all observations. The settings are a network that is never reset, a network that
    is reset before each level (the authors' oracle), and L2-init. Table 1 gives the
    mean return of six seeds: 61.8 +- 6.9, 299.9 +- 6.0 and 266.1 +- 5.3.

    The authors' code has 256 units in each of the three hidden layers. It comes from
    the notebook of Muppidi et al. 2024 (arXiv 2405.16642, ComputationalRobotics/TRAC),
    which has 128 units and takes a third of the time. The authors' code has no L2-init.
    Here, L2-init has the strength that Kumar et al. 2023 found best. With 0.001, which
    docs/data/control_l2_long.py adds, the mean return is close to that of Table 1.
    """
    remedies = None, Fresh(), L2Init(init_decay=0.01)
    shared: dict[str, Any] = {**TANG, **fields}
    return tuple(Setting(intervention=remedy, **shared) for remedy in remedies)


def control_laptop() -> tuple[Setting, ...]:
    """Return the settings of `control_calibration`, for a laptop.

    A level has 50 iterations, which are enough to learn it, and a layer has 128 units.
    """
    problem = CartPole(level_iterations=50)
    return control_calibration(problem=problem, hidden=(128, 128, 128))
