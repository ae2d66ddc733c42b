"""The measures of a stack as values of its seeds' records."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from trainables.record import Record, measure_columns


def by_seed(measures: dict[str, Tensor]) -> list[Record]:
    """Return the measures of each seed, in the order of the stack.

    Args:
        measures: By column; shape (S,) for numbers, (S, n) for lists.
    """
    columns = [values.reshape(len(values), -1) for values in measures.values()]
    table = torch.cat(columns, dim=1).tolist()  # one transfer from a GPU
    rows = []
    for row in table:
        numbers = iter(row)
        rows.append(
            {
                name: list(itertools.islice(numbers, values.shape[1]))
                if values.dim() > 1
                else next(numbers)
                for name, values in measures.items()
            }
        )
    return rows


def is_finite(measures: Record) -> bool:
    """Return whether a seed's losses and weights are finite."""
    losses = (measures["train_loss"], measures["test_loss"])
    return measures["finite"] == 1 and all(map(math.isfinite, losses))


def measure_values(measures: Record) -> Record:
    """Return a value for each measure column; null: missing or not finite."""
    return {name: null_if_not_finite(measures.get(name)) for name in measure_columns()}


def null_if_not_finite(value: Any) -> Any:
    """Return a number, or each number of a list; None in place of NaN and infinity."""
    if isinstance(value, list):
        return [null_if_not_finite(number) for number in value]
    return value if value is not None and math.isfinite(value) else None
