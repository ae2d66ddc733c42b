"""Loss and accuracy: columns that training and testing compute, not a probe."""

from __future__ import annotations

from trainables.probes.measure import Measure, declare

_COLUMNS = [
    (
        "online_accuracy",
        "fraction",
        "Dohare et al. 2023 (arXiv 2306.13812)",
        "accuracy on each batch before its update, mean over the task",
    ),
    (
        "train_loss",
        "nats",
        "cross-entropy",
        "loss on each batch before its update, mean over the task",
    ),
    (
        "test_loss",
        "nats",
        "cross-entropy",
        "mean loss on the task's test examples, after the task",
    ),
    (
        "test_accuracy",
        "fraction",
        "Koster & Kukla 2024 (arXiv 2409.17300)",
        "accuracy on the task's test examples, after the task",
    ),
    (
        "backward_accuracy",
        "fraction",
        "Koster & Kukla 2024 (arXiv 2409.17300), Figure 1",
        "test accuracy on each of the previous tasks, the latest first",
    ),
]

for _column, _unit, _source, _meaning in _COLUMNS:
    _is_list = _column == "backward_accuracy"
    declare(Measure(_column, None, _unit, _source, _meaning, is_list=_is_list))
