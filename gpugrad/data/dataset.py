"""Data sets: anything with a length and items by number; arrays of equal length; parts of either."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..backend import as_array, device_of, on_device_of, to_device
from ..errors import DataError
from ..tensor import Tensor, asarray

__all__ = ["ConcatDataset", "Dataset", "Subset", "TensorDataset", "random_split"]

Index = int | np.integer[Any] | slice | NDArray[np.integer[Any]] | Sequence[int] | Tensor
Sample = TypeVar("Sample", covariant=True)


@runtime_checkable
class Dataset(Protocol[Sample]):
    """What a `DataLoader` needs of a data set: a length, and a sample for each number below it.

    Any class with these two methods is a data set, and so is a list; nothing has to be inherited.

    Examples
    --------
    >>> from gpugrad.data import DataLoader, Dataset
    >>> class Squares:
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return float(index), float(index) ** 2
    >>> isinstance(Squares(), Dataset)
    True
    >>> [y.numpy().tolist() for x, y in DataLoader(Squares(), batch_size=2)]
    [[0.0, 1.0], [4.0, 9.0]]
    """

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """The sample with this number; an IndexError at `len(self)` and beyond."""
        ...


class TensorDataset:
    """Arrays of equal length, side by side: sample `i` is the tuple of every array's row `i`.

    Parameters
    ----------
    *arrays : numpy.ndarray, Tensor or cupy.ndarray
        At least one, of any dtypes and of shapes (length, ...). They are kept, not copied.

    Attributes
    ----------
    arrays : tuple
        The arrays, as given.

    Raises
    ------
    DataError
        If there are no arrays, one is not an array or has no dimensions, or the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad.data import TensorDataset
    >>> dataset = TensorDataset(np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]))
    >>> len(dataset)
    3
    >>> dataset[[0, 2]]
    (array([[0., 1.],
           [4., 5.]]), array([7, 9]))
    """

    arrays: tuple[Any, ...]

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise DataError("TensorDataset: got no arrays, expected at least one")
        self.arrays = tuple(_checked_array(position, array) for position, array in enumerate(arrays))
        lengths = [array.shape[0] for array in self.arrays]
        if len(set(lengths)) > 1:
            raise DataError(f"TensorDataset: got arrays of lengths {', '.join(map(str, lengths))}, expected equal lengths")

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0])

    def __getitem__(self, index: Index) -> tuple[Any, ...]:
        """Rows by number, slice or integer array: NumPy arrays give NumPy arrays or scalars, Tensors give Tensors.

        Raises
        ------
        IndexError
            If a number is out of range.
        DataError
            If `index` is something else, such as a boolean mask.
        """
        checked = _checked_index(index, len(self))
        return tuple(_rows(array, checked) for array in self.arrays)

    def to(self, device: str) -> TensorDataset:
        """A data set of the same kind with its arrays on a device: batches are then cut out there.

        Examples
        --------
        >>> import numpy as np
        >>> from gpugrad.data import TensorDataset
        >>> TensorDataset(np.array([10, 20, 30])).to("cpu")[1:]
        (array([20, 30]),)
        """
        moved = copy.copy(self)
        moved.arrays = tuple(a.to(device) if isinstance(a, Tensor) else to_device(a, device) for a in self.arrays)
        return moved

    def gather(self, index: NDArray[np.integer[Any]]) -> tuple[Tensor, ...]:
        """Rows by an integer array, as new Tensors on no tape: one fancy index per array.

        Parameters
        ----------
        index : integer array, (batch,)
            Row numbers, below the length in magnitude; not checked, since this is the loader's inner loop.

        Returns
        -------
        tuple of Tensor
            Of shapes (batch, ...), on the arrays' devices.

        Examples
        --------
        >>> import numpy as np
        >>> from gpugrad.data import TensorDataset
        >>> (x,) = TensorDataset(np.array([10, 20, 30])).gather(np.array([2, 0]))
        >>> x.numpy()
        array([30, 10])
        """
        raws = (array.data if isinstance(array, Tensor) else array for array in self.arrays)
        return tuple(asarray(_rows(raw, index)) for raw in raws)


class Subset:
    """Some of a data set's samples, in an order of their own.

    Parameters
    ----------
    dataset : Dataset
        Where the samples are.
    indices : sequence of int or integer array, (length,)
        Which ones. Negative numbers count from the end; a number may occur more than once.

    Attributes
    ----------
    dataset : Dataset
        As given.
    indices : numpy.ndarray of intp, (length,)
        As given, none negative.

    Raises
    ------
    IndexError
        If a number is out of range.
    DataError
        If `indices` are not integers.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad.data import Subset, TensorDataset
    >>> labels = np.array([3, 1, 3, 0])
    >>> threes = Subset(TensorDataset(labels), np.flatnonzero(labels == 3))
    >>> len(threes), threes.indices
    (2, array([0, 2]))
    """

    dataset: Dataset[Any]
    indices: NDArray[np.intp]

    def __init__(self, dataset: Dataset[Any], indices: NDArray[np.integer[Any]] | Sequence[int]) -> None:
        length = len(dataset)
        checked = _checked_indices(indices, length)
        self.dataset = dataset
        self.indices = np.where(checked < 0, checked + length, checked)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Index) -> Any:
        """The sample with this number in the subset; slices and integer arrays where the data set takes arrays."""
        checked = _checked_index(index, len(self))
        if isinstance(checked, int):
            return self.dataset[int(self.indices[checked])]
        return self.dataset[self.indices[checked]]  # type: ignore[index]  # as the docstring says


class ConcatDataset:
    """Data sets one after another (`torch.utils.data.ConcatDataset`).

    Parameters
    ----------
    *datasets : Dataset
        At least one.

    Examples
    --------
    >>> from gpugrad.data import ConcatDataset
    >>> both = ConcatDataset([10, 20], [30])
    >>> len(both), both[2], both[-3]
    (3, 30, 10)
    """

    datasets: tuple[Dataset[Any], ...]

    def __init__(self, *datasets: Dataset[Any]) -> None:
        for position, dataset in enumerate(datasets):
            if not isinstance(dataset, Dataset):
                raise DataError(
                    f"ConcatDataset: argument {position} is of type {type(dataset).__name__}, expected a data set, with __len__ "
                    "and __getitem__"
                )
        if not datasets:
            raise DataError("ConcatDataset: got no data sets, expected at least one")
        self.datasets = datasets
        self._ends = np.cumsum([len(dataset) for dataset in datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Any:
        """The sample with this number, counted through all the data sets."""
        checked = _checked_index(index, len(self))
        if not isinstance(checked, int):
            raise DataError(f"ConcatDataset: got the index {index!r}, expected an integer; the data sets may differ in kind")
        number = checked % len(self)
        which = int(np.searchsorted(self._ends, number, "right"))
        return self.datasets[which][int(number - self._ends[which] + len(self.datasets[which]))]


def random_split(dataset: Dataset[Any], lengths: Sequence[int] | Sequence[float], seed: int) -> list[Subset]:
    """Split a data set at random into parts that do not overlap.

    Parameters
    ----------
    dataset : Dataset
        What to split.
    lengths : sequence of int, or sequence of float
        The parts' lengths, which add up to the data set's; or their shares, which add up to 1. A part's
        length then differs from its share by less than one sample.
    seed : int
        Not negative. The same seed gives the same split.

    Returns
    -------
    list of Subset
        One for each of `lengths`.

    Raises
    ------
    DataError
        If the lengths are negative or do not add up, or the seed is not a non-negative integer.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad.data import TensorDataset, random_split
    >>> train, test = random_split(TensorDataset(np.arange(10)), [0.8, 0.2], seed=0)
    >>> len(train), len(test)
    (8, 2)
    >>> sorted([*train.indices.tolist(), *test.indices.tolist()]) == list(range(10))
    True
    """
    sizes = _part_sizes(lengths, len(dataset))
    order = generator(seed).permutation(len(dataset))
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def generator(seed: int, *key: int) -> np.random.Generator:
    """NumPy's counter-based generator for this seed; different keys give independent streams."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(checked_seed(seed), spawn_key=key)))


def checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError(f"seed: got {seed!r}, expected a non-negative integer")
    return int(seed)


def _part_sizes(lengths: Sequence[int] | Sequence[float], total: int) -> list[int]:
    if any(isinstance(length, float | np.floating) for length in lengths):
        if not all(0 <= share <= 1 for share in lengths) or not math.isclose(sum(lengths), 1, abs_tol=1e-6):
            raise DataError(f"random_split: got shares {list(lengths)} with sum {sum(lengths)}, expected shares in [0, 1], sum 1")
        # The ends are rounded, not the sizes: then the parts cannot but fit together.
        ends = np.cumsum([0.0, *lengths])
        return [int(size) for size in np.diff(np.rint(ends / ends[-1] * total))]
    try:
        sizes = [operator.index(length) for length in lengths]  # type: ignore[arg-type]  # the floats are dealt with
    except TypeError:
        raise DataError(f"random_split: got lengths {list(lengths)}, expected integers or floats") from None
    if any(size < 0 for size in sizes) or sum(sizes) != total:
        raise DataError(
            f"random_split: got lengths {sizes} with sum {sum(sizes)}, expected none negative and the data set's "
            f"length, {total}, as their sum"
        )
    return sizes


def _checked_array(position: int, array: Any) -> Any:
    if not isinstance(array, Tensor):
        if not isinstance(array, np.ndarray) and device_of(array) == "cpu":
            raise DataError(
                f"TensorDataset: argument {position} is of type {type(array).__name__}, expected an array or a Tensor; "
                "convert it with numpy.asarray or gpugrad.tensor"
            )
        array = as_array(array)  # refuses what no Tensor can be made of: strings, objects, masked arrays
    if not array.shape:
        raise DataError(f"TensorDataset: argument {position} has no dimensions, expected shape (length, ...)")
    return array


def _checked_index(index: Any, length: int) -> int | slice | NDArray[np.intp]:
    if isinstance(index, slice):
        return index
    if isinstance(index, int | np.integer) and not isinstance(index, bool):
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for a data set of length {length}")
        return int(index)
    if isinstance(index, tuple):  # to NumPy it would mean one index per dimension
        raise DataError(f"data set index: got the tuple {index}, expected an integer, a slice or a 1-D integer array")
    return _checked_indices(index, length)


def _checked_indices(index: Any, length: int) -> NDArray[np.intp]:
    """A 1-D integer array within range. CuPy would wrap a number out of range silently, so NumPy is not relied on."""
    numbers = np.asarray(index.numpy() if isinstance(index, Tensor) else index)
    if numbers.size == 0 and numbers.ndim == 1:
        return np.empty(0, np.intp)  # an empty list is an array of floats to NumPy
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        hint = "; use numpy.flatnonzero(mask)" if numbers.dtype.kind == "b" else ""
        raise DataError(
            f"data set index: got {type(index).__name__} ({numbers.dtype} of shape {numbers.shape}), "
            f"expected an integer, a slice or a 1-D integer array{hint}"
        )
    outside = (numbers < -length) | (numbers >= length)
    if outside.any():
        raise IndexError(f"index {numbers[outside][0]} is out of range for a data set of length {length}")
    return numbers.astype(np.intp, copy=False)


def _rows(array: Any, index: Any) -> Any:
    """Rows of an array, by an index that was checked, moved to the array's device."""
    if isinstance(array, Tensor):
        return array[to_device(index, array.device) if isinstance(index, np.ndarray) else index]
    with on_device_of(array):
        return array[to_device(index, device_of(array)) if isinstance(index, np.ndarray) else index]
