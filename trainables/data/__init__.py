"""Datasets, and the batches on which a stack trains."""

from trainables.data.datasets import DATASETS, Dataset, load

__all__ = ["DATASETS", "Dataset", "load"]
