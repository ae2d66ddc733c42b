"""Datasets, and the batches that a stack trains on."""

from trainables.data.datasets import DATASETS, Dataset, load

__all__ = ["DATASETS", "Dataset", "load"]
