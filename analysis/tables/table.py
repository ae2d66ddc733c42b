"""What a table is: its data, and the text made from it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pandas as pd

from analysis.tables.formats import Sheet


@attrs.frozen
class Table:
    """A table of a study's records.

    Attributes:
        columns: The columns of the records that it needs.
        data: From the records to a frame of plain numbers, which `csv` prints.
        sheets: From that frame to text.
        explanation: What a reader needs to understand the text.
    """

    columns: tuple[str, ...]
    data: Callable[[pd.DataFrame], pd.DataFrame]
    sheets: Callable[[pd.DataFrame], list[Sheet]]
    explanation: tuple[str, ...]
