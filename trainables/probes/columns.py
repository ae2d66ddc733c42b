"""Declare the columns that no probe computes.

Training and testing compute loss and accuracy. The runs in `trainables.control` compute
returns, the errors of values, and the sharpness of the critic's loss.
"""

from trainables.probes.measure import declare

KOSTER = "Koster & Kukla 2024 (arXiv 2409.17300)"
TANG = "Tang et al. 2025 (arXiv 2506.00592)"

declare(
    "online_accuracy",
    unit="fraction",
    source="Dohare et al. 2023 (arXiv 2306.13812)",
    meaning="mean accuracy on the training examples, measured before each batch's "
    "update",
)
declare(
    "train_loss",
    unit="nats",
    source="cross-entropy",
    meaning="mean loss on the training examples, measured before each batch's update",
)
declare(
    "test_loss",
    unit="nats",
    source="cross-entropy",
    meaning="mean loss on the task's test examples, after the task",
)
declare(
    "test_accuracy",
    unit="fraction",
    source=KOSTER,
    meaning="accuracy on the task's test examples, after the task",
)
declare(
    "backward_accuracy",
    unit="fraction",
    source=f"{KOSTER}, Figure 1",
    meaning="test accuracy on each of the previous tasks, the latest first",
    is_list=True,
)
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
    "start_policy_entropy",
    unit="nats",
    source="Schulman et al. 2017 (arXiv 1707.06347), eq. 9",
    meaning="control: mean entropy of PPO's actions on the first steps of the level, "
    "before the first update; with equally likely actions, the log of their number",
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
