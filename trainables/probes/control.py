"""Declare the columns of control: returns, and the sharpness of the critic's loss.

No probe computes these columns: the runs in `trainables.control` do.
"""

from trainables.probes.measure import declare

TANG = "Tang et al. 2025 (arXiv 2506.00592)"

declare(
    "mean_return",
    source=TANG,
    meaning="control: mean return of an iteration's episodes (with PPO, also of "
    "those cut at its end), as a mean over the level's iterations",
)
declare(
    "last_return",
    source=TANG,
    meaning="control: mean_return, but only over the last tenth of the iterations",
)
declare(
    "return_gap",
    source="this program",
    meaning="grid: mean over the level's iterations of the mean return of an "
    "iteration's episodes less the optimal return from the same first states; 0 is "
    "perfect",
)
declare(
    "episodes",
    unit="episodes",
    source=TANG,
    meaning="control: episodes that the level began (with PPO) or ended (with DQN)",
)
declare(
    "threshold_episodes",
    unit="episodes",
    source="this program",
    meaning="control: episodes before the first iteration whose mean return is at "
    "least 200 (cartpole), -200 (acrobot) or -20 (grid); null if there is none",
)
declare(
    "start_critic_sharpness",
    source="Lyle et al. 2023 (arXiv 2303.01486)",
    meaning="control: largest eigenvalue of the Hessian of the critic's loss on the "
    "first steps of the level, before the first update",
)
declare(
    "value_error",
    source="this program",
    meaning="td: root mean square error of the values of all places, after the task, "
    "divided by the root mean square of the true values",
)
declare(
    "mean_value_error",
    source="this program",
    meaning="td: mean of value_error after each tenth of the steps of each pass",
)
