"""Load the datasets, and make the batches on which several seeds train together."""

from trainables.data.dataset import Dataset
from trainables.data.datasets import DATASETS, find_folder, load

__all__ = ["DATASETS", "Dataset", "find_folder", "load"]
