"""Load the datasets, and make the batches on which several seeds train together."""

from trainables.data.datasets import DATASETS, Dataset, load

__all__ = ["DATASETS", "Dataset", "load"]
