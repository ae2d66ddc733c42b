"""Chance: the networks that learned nothing, so that they show nothing.

A network that never learns loses no plasticity, and two such networks are alike. No
verdict should rest on that.
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
"""How far chance may exceed 1 / labels, because classes differ in size.

The answer that is always the same is right for 11.35% of MNIST's test digits, and for
56% of the digits 1 and 5.
"""


def at_chance(runs: Runs, measure: str = MEASURE) -> bool:
    """Return whether a setting never learned more than chance.

    That is so if the mean over its complete runs is no better than `UNEVEN` / labels in
    any tenth of the stream. Of a loss, chance is the loss of such a probability. A
    network that learned something and lost it is not at chance.

    Args:
        runs: The setting, with the values of `measure`.
        measure: A key of `MEASURES`.

    Returns:
        False also if there is no complete run, or if the problem is unknown, as in
        results of other programs: then the number of labels is unknown too.
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
    """Return the level of a network that guesses; None if the problem is unknown.

    It is right with a probability of `uneven` / labels. Of a loss, chance is the loss
    of such a probability. A dataset that is unknown is one of ten classes, as MNIST is.

    >>> chance_level({"problem": "pairwise", "dataset": "mnist"}, "test_accuracy")
    0.5
    """
    if setting["problem"] not in PROBLEMS:
        return None
    source = DATASETS.get(str(setting.get("dataset")))
    classes = (source.form if source else MNIST).classes
    probability = uneven / (PROBLEMS[setting["problem"]].outputs or classes)
    return probability if MEASURES[measure].higher else float(-np.log(probability))
