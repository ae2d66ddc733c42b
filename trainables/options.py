"""Options of a run: how it is driven, not what it computes."""

from __future__ import annotations

from typing import Any

import attrs

from trainables.hyperparameter import check_whole


def _check(low: int) -> Any:
    def check(options: RunOptions, field: attrs.Attribute[int], value: Any) -> None:
        check_whole(field.name, value, low)

    return check


@attrs.frozen(kw_only=True)
class RunOptions:
    """How runs are driven. No option changes weights, accuracy or loss.

    Attributes:
        checkpoint_every: Tasks between checkpoints; None: about one a minute.
        patience: Seconds to wait for storage that fails before the trial fails.
        landscape_every: Tasks between measurements of the loss landscape (sharpness and
            the like); 0: never. The first and the last task are always measured.
        look_back: After each task, test on this many of the previous tasks too.

    Raises:
        UsageError: A number is out of range.
    """

    checkpoint_every: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check(1))
    )
    patience: float = 600.0
    landscape_every: int = attrs.field(default=10, validator=_check(0))
    look_back: int = attrs.field(default=0, validator=_check(0))
