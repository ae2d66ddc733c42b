"""Which bands a panel of curves shows."""

import numpy as np
import pandas as pd

from analysis.figures.accuracy import accuracy_by_task
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import BY_TASK, Panel
from tests.support.synthetic import hash_of, make_frame, make_setting


def test_bands_on_top_of_each_other_are_left_out():
    """The difficulty of a seed's tasks makes the bands of equal settings wide."""
    hard = np.random.default_rng(0).normal(0, 0.02, (10, 20))
    rates = {0.1: 0.9, 0.03: 0.901, 0.01: 0.902, 0.001: 0.7}
    kinds = [make_setting(tasks=20, lr=lr) for lr in rates]
    levels = [level + hard for level in rates.values()]
    data = accuracy_by_task(make_frame(list(zip(kinds, levels, strict=True))))
    equal = {hash_of(kind) for kind in kinds[:3]}
    assert Panel(part=data, kind=BY_TASK).crowded == equal
    figure = draw_by_task(data)
    (ax,) = figure.axes
    text = " ".join(part.get_text() for part in figure.texts).replace("\n", " ")
    assert "Bands that cover the lines of two other settings are left out." in text
    bands = [c for c in ax.collections if "FillBetween" in type(c).__name__]
    assert len(bands) == 1
    # Two bands on top of each other can still be told apart.
    two = data[data["setting_id"] != hash_of(kinds[0])]
    assert not Panel(part=pd.DataFrame(two), kind=BY_TASK).crowded
