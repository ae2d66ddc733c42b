"""Options of a run: how it is driven, not what it computes."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class RunOptions:
    """How runs are driven. No option changes weights, accuracy or loss.

    Attributes:
        checkpoint_every: Tasks between checkpoints; None: about one a minute.
        patience: Seconds to wait for storage that fails before the trial fails.
        landscape_every: Tasks between measurements of the loss landscape (sharpness and
            the like); 0: never. The first and the last task are always measured.
        look_back: After each task, test on this many of the previous tasks too.
    """

    checkpoint_every: int | None = None
    patience: float = 600.0
    landscape_every: int = 10
    look_back: int = 0
