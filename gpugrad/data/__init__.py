"""Data sets: files in the IDX, CSV and NPZ formats, in-memory arrays, and batches of Tensors."""

from .csv import read_csv as read_csv
from .dataset import ConcatDataset as ConcatDataset
from .dataset import Dataset as Dataset
from .dataset import Subset as Subset
from .dataset import TensorDataset as TensorDataset
from .dataset import random_split as random_split
from .idx import read_idx as read_idx
from .idx import write_idx as write_idx
from .loader import DataLoader as DataLoader
from .loader import Sampler as Sampler
from .loader import collate as collate
from .mnist import MNIST as MNIST
from .mnist import load_mnist as load_mnist
from .npz import read_npz as read_npz

__all__ = [
    "MNIST",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Sampler",
    "Subset",
    "TensorDataset",
    "collate",
    "load_mnist",
    "random_split",
    "read_csv",
    "read_idx",
    "read_npz",
    "write_idx",
]
