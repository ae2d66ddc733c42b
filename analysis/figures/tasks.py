"""The figure of tasks: what a network is shown, the paper's Figures 2 and 3.

Source: Koster & Kukla 2024 (arXiv 2409.17300). The tasks are those that the records'
smallest seed met: made anew from the seed, and held against the records' labels.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.figures.style import NARROW, plain
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from trainables.datasets import Dataset

SHIPPED = "mnist-5k"
"""Digits that need no files: of MNIST, and so shown for it where its files are not."""

SHOWN = 4
"""Tasks of a problem that are shown."""

CLASSES = (3, 5, 8)
"""Of a permuted task, which are shown."""


def pictured_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the images of the first tasks of each problem.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and task_label.

    Returns:
        One row an image: study, problem, dataset, drawn_from (the dataset the image is
        of), seed, task (-1: the image as it is), task_label, label (the class), and
        pixels (784 values from 0 to 255, as text).

    Raises:
        UsageError: The dataset's files are not at hand, or the records were made by
            a program whose streams are others.
    """
    import pandas as pd

    from trainables.problems import PROBLEMS

    rows: list[dict[str, Any]] = []
    for problem, part in frame.groupby("problem", sort=False):
        if problem not in PROBLEMS:
            raise UsageError(f"the problem {problem} is not one of this program")
        first = part[part["seed"] == part["seed"].min()]
        dataset = str(first["dataset"].iloc[0])
        digits = _dataset(dataset)
        met = first.drop_duplicates("task").set_index("task")["task_label"]
        same = {
            "study": first["study"].iloc[0],
            "problem": problem,
            "dataset": dataset,
            "drawn_from": digits.name,
            "seed": int(first["seed"].iloc[0]),
        }
        stream = PROBLEMS[str(problem)]()
        for index in sorted(met.index)[:SHOWN]:
            task = stream.task(same["seed"], int(index))
            if task.label != met[index]:
                raise UsageError(
                    f"task {index} of seed {same['seed']} is {met[index]} in the "
                    f"records and {task.label} in this program, which so cannot show it"
                )
            classes = CLASSES if task.pixels is not None else task.classes
            for label in classes:
                image = _image(digits, label)
                if task.pixels is not None and index == min(met.index):
                    rows.append(_row(same, -1, "as it is", label, image))
                seen = image if task.pixels is None else image[task.pixels]
                rows.append(_row(same, int(index), task.label, label, seen))
    return pd.DataFrame(rows)


def _row(
    same: dict[str, Any], task: int, name: str, label: int, image: npt.NDArray[Any]
) -> dict[str, Any]:
    """Return the row of one image."""
    pixels = " ".join(map(str, image.tolist()))
    return {**same, "task": task, "task_label": name, "label": label, "pixels": pixels}


def _dataset(name: str) -> Dataset:
    """Return the images to show of a dataset, without a download.

    Raises:
        UsageError: There are none at hand.
    """
    from trainables.datasets import load

    folder = os.environ.get("PLASTICITY_DATA")
    if name == SHIPPED:
        return load(SHIPPED)
    if folder:
        return load(name, folder)
    if name == "mnist":
        return load(SHIPPED)
    raise UsageError(
        f"the images of {name} are not at hand: set PLASTICITY_DATA to the folder that "
        "has its files"
    )


def _image(digits: Dataset, label: int) -> npt.NDArray[np.uint8]:
    """Return the first training image of a class, shape (784,)."""
    return np.asarray(digits.train_images[digits.train_labels == label][0])


def draw_tasks(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `pictured_tasks`: a block a problem, a column a task."""
    from matplotlib.figure import Figure

    wide = width or 6.0
    narrow = wide < NARROW
    blocks = [part for _, part in data.groupby("problem", sort=False)]
    side = (wide - 0.3) / (SHOWN + 1)
    heads = [0.62 if not narrow else 0.5] * len(blocks)
    tall = [part.groupby("task").size().max() * side for part in blocks]
    height = sum(heads) + sum(tall) + 0.1
    figure = Figure(figsize=(wide, height))
    top = height
    for part, head, rows in zip(blocks, heads, tall, strict=True):
        of = part.iloc[0]
        drawn = "" if of["drawn_from"] == of["dataset"] else f", {of['drawn_from']}"
        title = plain(f"{of['problem']} ({of['dataset']}{drawn}, seed {of['seed']})")
        figure.text(0.15 / wide, (top - 0.1) / height, title, size=9.5, va="top")
        for column, (task, images) in enumerate(part.groupby("task")):
            left = 0.15 + column * side
            name = "the image" if task == -1 else f"task {task}"
            label = images["task_label"].iloc[0]
            said = name if task == -1 or narrow else f"{name}: {label}"
            figure.text(
                (left + side / 2) / wide,
                (top - head + 0.05) / height,
                said,
                size=7.5,
                ha="center",
                color="0.35",
            )
            for row, pixels in enumerate(images["pixels"]):
                bottom = top - head - (row + 1) * side
                inner = 0.92 * side
                ax = figure.add_axes(
                    (left / wide, bottom / height, inner / wide, inner / height)
                )
                values = np.array(pixels.split(), dtype=np.uint8).reshape(28, 28)
                ax.imshow(values, cmap="gray_r", vmin=0, vmax=255)
                ax.set_axis_off()
        top -= head + rows
    return figure
