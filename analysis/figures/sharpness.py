"""The figure of sharpness by task, beside other signs of lost plasticity.

Source: Lyle et al. 2023 (arXiv 2303.01486): sharpness grows as plasticity is lost.
"""

from analysis.figures.by_task import by_task, by_task_sheets, draw_by_task, titles_of
from analysis.figures.picture import Picture

SHOWN = (
    "test_accuracy",
    "start_sharpness",
    "sharpness",
    "dormant_fraction",
    "effective_rank",
    "weight_norm",
)

FIGURE = Picture(
    title="Sharpness by task",
    meaning="sharpness, dormant units, rank and weight norm by task, beside accuracy",
    columns=SHOWN,
    data=lambda frame, metrics, columns: by_task(frame, titles_of(SHOWN, columns)),
    draw=draw_by_task,
    numbers=by_task_sheets,
    line_per_setting=True,
)
