"""The figure of tasks: example images of the first tasks of each problem.

The figure shows the tasks of the smallest seed in the records. Records have no images,
so the tasks are made again from the seed. The labels of the tasks must be equal to the
labels in the records. Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.picture import NARROW, Picture, escape_text
from analysis.records.runs import rank_problem
from analysis.tables.formats import Column, Sheet, number
from trainables.usage import UsageError

if TYPE_CHECKING:
    from trainables.data import Dataset
    from trainables.problems import Problem

BUNDLED = "mnist-5k"  # a subset of MNIST that needs no download
SHOWN = 4  # the number of tasks to show for each problem
CLASSES = (3, 5, 8)  # the classes to show for a permuted task
MOST = 10  # the largest number of images to show for a task
ORIGINAL = -1  # the task number of an image that is not permuted


def pictured_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Return example images of the first tasks of each problem.

    Returns:
        One row per image, with the columns study, problem, dataset, drawn_from, seed,
        task, task_label, label and pixels. drawn_from is the dataset from which the
        image was loaded. task is -1 for an image that is not permuted. label is the
        class of the image. pixels is a text of the image's values, from 0 to 255.

    Raises:
        UsageError: The dataset's files are missing, the problem is unknown, or a task
            made from the seed differs from the task in the records.
    """
    rows: list[dict[str, Any]] = []
    groups = list(frame.groupby("problem", sort=False))
    for problem, part in sorted(groups, key=lambda group: rank_problem(str(group[0]))):
        first = part[part["seed"] == part["seed"].min()]
        stream: Any = _first_stream(str(problem), first)
        for name, value in attrs.asdict(stream).items():
            first = first[first[name] == value]
        labels = first.drop_duplicates("task").set_index("task")["task_label"]
        # With the option --tasks, task 0 of the records is the first of these tasks.
        labels.index += frame.attrs.get("first_task", 0)
        images = _load_images(first["dataset"].iloc[0])
        common = {
            "study": first["study"].iloc[0],
            "problem": problem,
            "dataset": first["dataset"].iloc[0],
            "drawn_from": images.name,
            "seed": first["seed"].iloc[0],
        }
        shown = labels.sort_index().head(SHOWN).to_dict()
        pictured = _images(stream, int(common["seed"]), shown, images)
        rows += [{**common, **row} for row in pictured]
    return pd.DataFrame(rows)


def _first_stream(problem: str, records: pd.DataFrame) -> Problem:
    """Return the problem with the hyperparameters of the first record."""
    from trainables.hyperparameter import hyperparameters
    from trainables.problems import PROBLEMS

    if problem not in PROBLEMS:
        raise UsageError(
            f"cannot show the tasks of problem {problem}, because this version of the "
            "program does not have this problem: choose another problem with "
            "--problem, or use the version of the program that made the records"
        )
    own = {name: records[name].iloc[0] for name in hyperparameters(PROBLEMS[problem])}
    return PROBLEMS[problem](**own)


def _images(
    stream: Problem, seed: int, labels: Mapping[Any, str], digits: Dataset
) -> Iterator[dict[str, Any]]:
    """Yield a row of `pictured_tasks` for each image of some tasks of one problem.

    `labels` has the label of each task in the records, by the task's number.
    """
    from trainables.data.rotation import rotated

    for index, recorded in labels.items():
        task = stream.task(seed, int(index), digits.form)
        if task.label != recorded:
            raise UsageError(
                f"cannot show task {index} of seed {seed}: the records have the task "
                f"{recorded}, but this version of the program makes the task "
                f"{task.label}; use the version that made the records"
            )
        permuted = task.pixels is not None
        order = task.pixels if permuted else slice(None)
        for label in CLASSES if permuted else task.classes[:MOST]:
            first = digits.train_images[digits.train_labels == label][:1]
            image = rotated(first, digits.form, task.angle)[0]
            if permuted and index == min(labels):
                yield _row(ORIGINAL, "as it is", label, image)
            yield _row(index, recorded, label, image[order])


def _row(task: int, task_label: str, label: int, image: Any) -> dict[str, Any]:
    pixels = " ".join(map(str, image.tolist()))
    return {"task": task, "task_label": task_label, "label": label, "pixels": pixels}


def _load_images(name: str) -> Dataset:
    """Load a dataset without a download; `BUNDLED` can stand for all of MNIST."""
    from trainables.data import DATASETS, find_folder, load

    if find_folder(name) is None:
        if name == "mnist":
            name = BUNDLED
        elif name not in DATASETS or DATASETS[name].hint:
            raise UsageError(
                f"cannot show images of {name}, because PLASTICITY_DATA is not set: "
                f"set it to the folder that has the files of {name}"
            )
    return load(name)


def draw_tasks(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure of example images: a block per problem, a column per task.

    `data` is as `pictured_tasks` returns it.
    """
    from trainables.data import DATASETS

    width = width or 6.0
    parts = [part for _, part in data.groupby("problem", sort=False)]
    images = [part.groupby("task").size().max() for part in parts]
    heights = [0.45 + width / (SHOWN + 1) * count for count in images]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
    for part, block, count in zip(parts, blocks[:, 0], images, strict=True):
        first = part.iloc[0]
        form = DATASETS[first["drawn_from"]].form
        shape = (form.height, form.width, form.channels)
        head = f"{first['problem']} ({first['dataset']}, seed {first['seed']})"
        if first["drawn_from"] != first["dataset"]:
            head += f", images from {first['drawn_from']}"
        block.suptitle(escape_text(head), x=0.02, ha="left", size=9.5)
        grid = block.subplots(count, SHOWN + 1, squeeze=False)
        for ax in grid.ravel():
            ax.set_axis_off()
        for column, (task, rows) in zip(grid.T, part.groupby("task"), strict=False):
            name = "original" if task == ORIGINAL else f"task {task}"
            if task != ORIGINAL and width >= NARROW:
                name = f"{name}: {rows['task_label'].iloc[0]}"
            column[0].set_title(name, size=7.5, color="0.35", loc="center")
            for pixels, ax in zip(rows["pixels"], column, strict=False):
                values = np.array(pixels.split(), dtype=np.uint8).reshape(shape)
                ax.imshow(values, cmap="gray_r", vmin=0, vmax=255)
    return figure


def task_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table with the labels of the tasks in the figure."""
    columns = [Column("problem"), number("seed"), Column("task labels")]
    shown = data.drop_duplicates(["problem", "seed", "task"])
    rows = [
        [str(problem), str(seed), ", ".join(part["task_label"])]
        for (problem, seed), part in shown.groupby(["problem", "seed"], sort=False)
    ]
    return [Sheet("Tasks in the figure", "", columns, rows)]


FIGURE = Picture(
    title="Images of the tasks (the paper's Figures 2 and 3)",
    meaning="example images of the first tasks of each problem (as in Figures 2 and 3 "
    "of Koster & Kukla 2024)",
    columns=("task_label",),
    data=lambda frame, view, columns: pictured_tasks(frame),
    draw=draw_tasks,
    numbers=task_sheets,
    needs_labels=True,
)
