"""The figure of network capacity by task: dormant units, ranks, norms, distances."""

from analysis.figures.curves.figure import picture_by_task

FIGURE = picture_by_task(
    "Capacity by task",
    "dormant units, ranks, norms and distances of the network, by task",
    (
        "dormant_fraction",
        "dormant_fraction_tau",
        "effective_rank",
        "stable_rank",
        "srank",
        "gradient_norm",
        "weight_norm",
        "initial_distance",
        "update_norm",
    ),
)
