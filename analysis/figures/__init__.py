"""All figures by name. A figure makes data from records and draws the data.

To add a figure, write a module with a `Picture` and add a line to `FIGURES`.
"""

from analysis.figures import (
    accuracy,
    capacity,
    difference,
    dose,
    forest,
    forgetting,
    relation,
    replication,
    rho,
    sharpness,
    tasks,
)
from analysis.figures.picture import Picture

FIGURES: dict[str, Picture] = {
    "accuracy": accuracy.FIGURE,
    "forest": forest.FIGURE,
    "difference": difference.FIGURE,
    "dose": dose.FIGURE,
    "rho": rho.FIGURE,
    "sharpness": sharpness.FIGURE,
    "capacity": capacity.FIGURE,
    "relate": relation.FIGURE,
    "tasks": tasks.FIGURE,
    "forgetting": forgetting.FIGURE,
    "replication": replication.FIGURE,
}
