"""The learning curve of our PPO on plain CartPole beside that of stable-baselines3.

    pip install stable-baselines3
    python docs/data/ppo_beside_sb3.py

Both have the same network, learning rate, batches and constants of PPO. They differ in
the points that trainables/control/ppo.py lists, and in that our iterations begin new
episodes. A number is the mean return of an iteration's episodes over the seeds.
docs/control.md has the result.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor

from trainables.bases import Adam
from trainables.control.ppo_run import REWARD_SCALE, PPORun
from trainables.data import load
from trainables.optimizers import SGD
from trainables.problems import CartPole
from trainables.setting import RunOptions, Setting

STEPS, BATCH, EPOCHS, RATE, WIDTHS = 800, 32, 5, 0.001, (64, 64)


def our_curves(seeds: range, iterations: int) -> np.ndarray:
    """Return the mean returns of shape (seeds, iterations)."""
    curves = []

    class Watched(PPORun):
        def _returns(self, tallies: Any) -> Any:
            curves.append([tally.rewards / tally.episodes for tally in tallies])
            return super()._returns(tallies)

    problem = CartPole(
        level_iterations=iterations, iteration_steps=STEPS, observation_offset=0.0
    )
    setting = Setting(
        problem=problem,
        tasks=1,
        batch_size=BATCH,
        epochs=EPOCHS,
        hidden=WIDTHS,
        optimizer=SGD(lr=RATE),
        base=Adam(),
        activation="leaky_relu_tenth",
        initialization="pytorch",
    )
    options = RunOptions(landscape_every=0)
    Watched(setting, seeds, load("none"), options=options).next_task()
    return np.array(curves[0]).T


class Episodes(BaseCallback):
    """Collects the mean return of the episodes that end in each iteration."""

    def __init__(self) -> None:
        """Begin with no episodes."""
        super().__init__()
        self.means: list[float] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        ended = [info["episode"] for info in self.locals["infos"] if "episode" in info]
        self.returns += [episode["r"] for episode in ended]
        return True

    def _on_rollout_end(self) -> None:
        self.means.append(float(np.mean(self.returns)))
        self.returns = []


def their_curve(seed: int, iterations: int) -> list[float]:
    """Return the mean return of each iteration with stable-baselines3."""
    longest = CartPole.episode_steps
    env: Any = Monitor(gymnasium.make("CartPole-v1", max_episode_steps=longest))
    env = gymnasium.wrappers.TransformReward(env, lambda r: r / REWARD_SCALE)
    model = stable_baselines3.PPO(
        "MlpPolicy",
        env,
        learning_rate=RATE,
        n_steps=STEPS,
        batch_size=BATCH,
        n_epochs=EPOCHS,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
        max_grad_norm=1e9,
        seed=seed,
        device="cpu",
        policy_kwargs={
            "net_arch": list(WIDTHS),
            "activation_fn": partial(torch.nn.LeakyReLU, 0.1),
            "ortho_init": False,
            "optimizer_kwargs": {"eps": 1e-8},
        },
    )
    watch = Episodes()
    model.learn(STEPS * iterations, callback=watch)
    return watch.means


def main(seeds: int = 3, iterations: int = 20) -> None:
    """Print the two curves, in means over four iterations."""
    theirs = np.array([their_curve(seed, iterations) for seed in range(seeds)])
    ours = our_curves(range(seeds), iterations)
    print("iterations   this program   stable-baselines3")
    for start in range(0, iterations, 4):
        a, b = (c[:, start : start + 4].mean(axis=1) for c in (ours, theirs))
        cells = (f"{x.mean():6.1f} (sd {x.std(ddof=1):4.1f})" for x in (a, b))
        print(f"{start:3d} to {start + 3:2d}   ", "   ".join(cells), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
