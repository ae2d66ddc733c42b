"""Declare the columns of loss and accuracy.

No probe computes these columns, because training and testing already do.
"""

from trainables.probes.measure import declare

KOSTER = "Koster & Kukla 2024 (arXiv 2409.17300)"

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
