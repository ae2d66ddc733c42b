"""The figure of capacity by task: dormant units, ranks, norms and distances."""

from analysis.figures.by_task import by_task, by_task_sheets, draw_by_task, titles_of
from analysis.figures.picture import Picture

SHOWN = (
    "dormant_fraction",
    "dormant_fraction_tau",
    "effective_rank",
    "stable_rank",
    "srank",
    "gradient_norm",
    "weight_norm",
    "initial_distance",
    "update_norm",
)

FIGURE = Picture(
    title="Capacity by task",
    meaning="dormant units, ranks, norms and distances by task",
    columns=("test_accuracy", *SHOWN),
    data=lambda frame, metrics, columns: by_task(frame, titles_of(SHOWN, columns)),
    draw=draw_by_task,
    numbers=by_task_sheets,
    line_per_setting=True,
)
