"""The figure of sharpness by task, beside other signs of lost plasticity.

Source: Lyle et al. 2023 (arXiv 2303.01486): sharpness grows as plasticity is lost.
"""

from analysis.figures.by_task import picture_by_task

SHOWN = (
    "test_accuracy",
    "start_sharpness",
    "sharpness",
    "dormant_fraction",
    "effective_rank",
    "weight_norm",
)

FIGURE = picture_by_task(
    "Sharpness by task",
    "sharpness, dormant units, rank and weight norm by task, beside accuracy",
    SHOWN,
)
