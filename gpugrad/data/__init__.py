"""Data sets: files in the IDX format, in-memory arrays, and batches of Tensors."""

from .dataset import Dataset as Dataset
from .dataset import Subset as Subset
from .dataset import TensorDataset as TensorDataset
from .dataset import random_split as random_split
from .idx import read_idx as read_idx
from .idx import write_idx as write_idx
from .loader import DataLoader as DataLoader
from .loader import collate as collate
from .mnist import MNIST as MNIST
from .mnist import load_mnist as load_mnist

__all__ = [
    "MNIST",
    "DataLoader",
    "Dataset",
    "Subset",
    "TensorDataset",
    "collate",
    "load_mnist",
    "random_split",
    "read_idx",
    "write_idx",
]
