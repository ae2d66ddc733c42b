"""The figure of tasks, with images that are not digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures.tasks import MOST, _images, draw_tasks
from trainables.data import DATASETS, Dataset
from trainables.problems import LabelPermuted, Problem, Rotating


def rows_of(name: str, stream: Problem) -> tuple[np.ndarray, pd.DataFrame]:
    """Return one image per class of a dataset, and the rows of the first two tasks."""
    form, random = DATASETS[name].form, np.random.default_rng(0)
    images = random.integers(0, 256, (form.classes, form.pixels), np.uint8)
    labels = np.arange(form.classes, dtype=np.uint8)
    data = Dataset(name, images, labels, images, labels)
    names = {index: stream.task(0, index, form).label for index in (0, 1)}
    same = {"problem": stream.name, "dataset": name, "drawn_from": name, "seed": 0}
    return images, pd.DataFrame([same | r for r in _images(stream, 0, names, data)])


def test_color_images_are_drawn_as_they_are_turned():
    images, rows = rows_of("cifar-10", Rotating(degrees=90))
    figure = draw_tasks(rows)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 2 * MOST
    colors = images.reshape(-1, 32, 32, 3)
    for label in (0, 7):
        here = [a for a in drawn if np.array_equal(a, colors[label])]
        turned = [a for a in drawn if np.array_equal(a, np.rot90(colors[label]))]
        assert (len(here), len(turned)) == (1, 1)


@pytest.mark.parametrize("name", ["cifar-100", "mnist-1d"])
def test_a_task_shows_few_of_many_classes(name):
    _, rows = rows_of(name, LabelPermuted())
    assert rows.groupby("task").size().tolist() == [MOST, MOST]
    assert len(draw_tasks(rows).axes) == MOST * 5
