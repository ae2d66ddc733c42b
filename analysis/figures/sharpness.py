"""The figure of sharpness by task, with other signs that a network loses plasticity.

Source: Lyle et al. 2023 (arXiv 2303.01486), who find that sharpness grows while a
network loses plasticity.
"""

from analysis.figures.curves.figure import picture_by_task

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
    "accuracy, sharpness, dormant units, effective rank and weight norm, by task",
    SHOWN,
)
