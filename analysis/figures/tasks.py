"""The figure of tasks: images of the first tasks of each problem.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 2 and 3. The tasks are those of
the smallest seed in the records, made again from the seed; they must have the labels
that the records have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.picture import NARROW, Picture, escape_text
from analysis.tables.formats import Column, Sheet
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainables.data import Dataset

BUNDLED = "mnist-5k"  # the bundled subset of MNIST, for when its files are missing
SHOWN = 4  # the number of tasks shown of each problem
CLASSES = (3, 5, 8)  # the classes shown of a permuted task
ORIGINAL = -1  # stands for the task of an image that is not permuted


def pictured_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the images of the first tasks of each problem.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and task_label.

    Returns:
        One row per image: study, problem, dataset, drawn_from (the dataset of the
        image), seed, task (-1: the image as it is), task_label, label (the class) and
        pixels (784 values from 0 to 255, as text).

    Raises:
        UsageError: The dataset's files are missing, or this program makes other tasks
            than the one that made the records.
    """
    rows: list[dict[str, Any]] = []
    for problem, part in frame.groupby("problem", sort=False):
        first = part[part["seed"] == part["seed"].min()]
        labels = first.drop_duplicates("task").set_index("task")["task_label"]
        images = _load_images(first["dataset"].iloc[0])
        common = {
            "study": first["study"].iloc[0],
            "problem": problem,
            "dataset": first["dataset"].iloc[0],
            "drawn_from": images.name,
            "seed": first["seed"].iloc[0],
        }
        shown = labels.sort_index().head(SHOWN).to_dict()
        pictured = _images(str(problem), int(common["seed"]), shown, images)
        rows += [{**common, **row} for row in pictured]
    return pd.DataFrame(rows)


def _images(
    problem: str, seed: int, labels: Mapping[Any, str], digits: Dataset
) -> Iterator[dict[str, Any]]:
    """Yield the images of the tasks that have labels in the records."""
    from trainables.problems import PROBLEMS

    if problem not in PROBLEMS:
        raise UsageError(f"this program does not know the problem {problem}")
    stream = PROBLEMS[problem]()
    for index, recorded in labels.items():
        task = stream.task(seed, int(index))
        if task.label != recorded:
            raise UsageError(
                f"task {index} of seed {seed} is {recorded} in the records and "
                f"{task.label} in this program, so it cannot be shown"
            )
        permuted = task.pixels is not None
        order = task.pixels if permuted else slice(None)
        for label in CLASSES if permuted else task.classes:
            image = np.asarray(digits.train_images[digits.train_labels == label][0])
            if permuted and index == min(labels):
                yield _row(ORIGINAL, "as it is", label, image)
            yield _row(index, recorded, label, image[order])


def _row(task: int, task_label: str, label: int, image: Any) -> dict[str, Any]:
    pixels = " ".join(map(str, image.tolist()))
    return {"task": task, "task_label": task_label, "label": label, "pixels": pixels}


def _load_images(name: str) -> Dataset:
    """Return a dataset from the disk, or the bundled one in the place of MNIST."""
    from trainables.data import load

    if not os.environ.get("PLASTICITY_DATA"):
        if name not in (BUNDLED, "mnist"):
            raise UsageError(
                f"the images of {name} are missing: set PLASTICITY_DATA to the folder "
                "that has its files"
            )
        name = BUNDLED
    return load(name)


def draw_tasks(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `pictured_tasks`: a block per problem, a column per task."""
    from matplotlib.figure import Figure

    width = width or 6.0
    parts = [part for _, part in data.groupby("problem", sort=False)]
    images = [part.groupby("task").size().max() for part in parts]
    heights = [0.45 + width / (SHOWN + 1) * count for count in images]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
    for part, block, count in zip(parts, blocks[:, 0], images, strict=True):
        first = part.iloc[0]
        names = dict.fromkeys((first["dataset"], first["drawn_from"]))
        head = f"{first['problem']} ({', '.join(names)}, seed {first['seed']})"
        block.suptitle(escape_text(head), x=0.02, ha="left", size=9.5)
        grid = block.subplots(count, SHOWN + 1, squeeze=False)
        for ax in grid.ravel():
            ax.set_axis_off()
        for column, (task, rows) in zip(grid.T, part.groupby("task"), strict=False):
            name = "the image" if task == ORIGINAL else f"task {task}"
            if task != ORIGINAL and width >= NARROW:
                name = f"{name}: {rows['task_label'].iloc[0]}"
            column[0].set_title(name, size=7.5, color="0.35", loc="center")
            for pixels, ax in zip(rows["pixels"], column, strict=False):
                values = np.array(pixels.split(), dtype=np.uint8).reshape(28, 28)
                ax.imshow(values, cmap="gray_r", vmin=0, vmax=255)
    return figure


def task_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet of the tasks that are shown."""
    columns = [Column("problem"), Column("seed", right=True), Column("tasks' labels")]
    shown = data.drop_duplicates(["problem", "seed", "task"])
    rows = [
        [str(problem), str(seed), ", ".join(part["task_label"])]
        for (problem, seed), part in shown.groupby(["problem", "seed"], sort=False)
    ]
    return [Sheet("Tasks shown", "", columns, rows, [])]


FIGURE = Picture(
    title="What the tasks look like (Figures 2 and 3)",
    meaning="what a permuted and a pairwise task look like (Figures 2 and 3)",
    columns=("task_label",),
    data=lambda frame, metrics, columns: pictured_tasks(frame),
    draw=draw_tasks,
    numbers=task_sheets,
)
