"""Settings of control in which the rewards change (docs/control.md)."""

from __future__ import annotations

from typing import Any

from study.spec.replications import TANG
from trainables.bases import Adam
from trainables.interventions import Fresh, Intervention, L2Init, LayerNorm
from trainables.optimizers import GNP, SAM, SGD, Optimizer
from trainables.problems import TD, CartPole
from trainables.setting import Setting

RHOS = (0.005, 0.02, 0.05, 0.2)
ALPHA = 0.8  # the best value in section 5 of Zhao et al. 2022 (arXiv 2202.03599)


def over_rho(lr: float) -> list[Optimizer]:
    """Return the plain gradient, SAM and GNP with each rho, and this learning rate."""
    return [
        SGD(lr=lr),
        *(SAM(lr=lr, rho=rho) for rho in RHOS),
        *(GNP(lr=lr, rho=rho, alpha=ALPHA) for rho in RHOS),
    ]


def control() -> tuple[Setting, ...]:
    """Return settings of CartPole with goals that move: Adam, SAM, GNP and remedies.

    Observations stay as they are. The networks are small and the levels short, so that
    a laptop can run all settings.
    """
    problem = CartPole(level_iterations=30, observation_offset=0.0, goal_range=1.5)
    shared: dict[str, Any] = {**TANG, "problem": problem, "hidden": (64, 64)}
    remedies = Fresh(), L2Init(init_decay=0.01), LayerNorm()
    return (
        *(Setting(**{**shared, "optimizer": own}) for own in over_rho(0.001)),
        *(Setting(**shared, intervention=remedy) for remedy in remedies),
    )


def policy_evaluation() -> tuple[Setting, ...]:
    """Return settings of TD on random walks: SGD and Adam, SAM and GNP, and `Fresh`."""
    shared: dict[str, Any] = {"problem": TD(td_steps=5000), "hidden": (50, 50)}
    shared |= {"tasks": 30, "batch_size": 16}
    settings = []
    for base, lr in ((None, 0.1), (Adam(), 0.001)):
        remedies: tuple[Intervention | None, ...] = None, Fresh()
        for own in over_rho(lr):
            for remedy in remedies[: 2 if isinstance(own, SGD) else 1]:
                settings.append(
                    Setting(optimizer=own, base=base, intervention=remedy, **shared)
                )
    return tuple(settings)
