"""Chance: find the networks that learned nothing.

A network that never learns loses no plasticity, and two networks that never learn are
alike. No verdict should rest on such networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.records.runs import Runs
from analysis.statistics.metrics import MEASURE, MEASURES, tenths
from trainables.data import DATASETS
from trainables.problems import MNIST, PROBLEMS

UNEVEN = 1.15
"""The accuracy of guessing is at most this many times 1 / labels.

Classes differ in size, so guessing can be better than 1 / labels. A network that always
gives the same answer is right for 11.35% of MNIST's test digits, and for 56% of the
digits 1 and 5.
"""

SAME_GUESS = {"last_return": "mean_return"}
"""Maps a measure to the `Problem.measure` that has the same value for random actions,
because random actions do not improve within a level."""


def at_chance(runs: Runs, measure: str = MEASURE) -> bool:
    """Return whether a setting never learned more than chance.

    For each tenth of the stream, the mean of `measure` over the complete runs is
    compared with `chance_level` for `UNEVEN`. The setting is at chance if no mean is
    better. So a network that learned something and lost it is not at chance. Return
    False if there is no complete run, or if `chance_level` is unknown.
    """
    chance = chance_level(runs.setting, measure, UNEVEN)
    if chance is None or not runs.seeds:
        return False
    means = tenths(runs.matrix).mean(axis=0)
    if MEASURES[measure].higher:
        return bool(means.max() <= chance)
    return bool(means.min() >= chance)


def chance_level(
    setting: Mapping[str, Any], measure: str, uneven: float = 1.0
) -> float | None:
    """Return the value of a measure for a network that guesses; None if unknown.

    The network is right with a probability of `uneven` / labels. If the measure is a
    loss, the value is the loss of a network that gives the true label this probability.
    In a problem of control, the value is `Problem.guess`, made better by the factor
    `uneven`. The value is unknown for a problem of another program, and for a measure
    or a problem of control without a guess. An unknown dataset counts as a dataset of
    ten classes, like MNIST.

    >>> chance_level({"problem": "pairwise", "dataset": "mnist"}, "test_accuracy")
    0.5
    >>> chance_level({"problem": "td", "dataset": "none"}, "value_error")
    1.0
    >>> chance_level({"problem": "cartpole", "dataset": "none"}, "last_return")
    22.1
    """
    known = PROBLEMS.get(str(setting["problem"]))
    if known is None:
        return None
    higher = MEASURES[measure].higher
    if known.control is not None:
        if known.guess is None or SAME_GUESS.get(measure, measure) != known.measure:
            return None
        # a return below 0 is better if it is smaller in size
        grows = higher == (known.guess > 0)
        return known.guess * uneven if grows else known.guess / uneven
    source = DATASETS.get(str(setting.get("dataset")))
    classes = (source.form if source else MNIST).classes
    probability = uneven / (known.outputs or classes)
    return probability if higher else float(-np.log(probability))
