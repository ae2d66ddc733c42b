"""What was measured on a stack, told seed by seed as the records have it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.record import Record


def rows_of(measured: dict[str, Tensor]) -> list[Record]:
    """Return what was measured on each seed, as numbers and lists of numbers.

    Args:
        measured: By column, of shape (S,) for a number a seed or (S, n) for a list.

    Returns:
        S rows, in the order of the stack.
    """
    columns = [values.reshape(len(values), -1) for values in measured.values()]
    # one transfer for everything that was measured
    table = torch.cat(columns, dim=1).tolist()
    found = []
    for numbers in table:
        left = iter(numbers)
        found.append(
            {
                name: list(itertools.islice(left, values.shape[1]))
                if values.dim() > 1
                else next(left)
                for name, values in measured.items()
            }
        )
    return found


def told(value: Any) -> Any:
    """Return a measurement as the record has it: null where it is no finite number."""
    if isinstance(value, list):
        return [told(one) for one in value]
    return value if value is None or np.isfinite(value) else None


def is_finite(measured: Record) -> bool:
    """Tell whether the losses and the weights still are numbers."""
    losses = (measured["train_loss"], measured["test_loss"])
    return measured["finite"] == 1 and all(np.isfinite(losses))
