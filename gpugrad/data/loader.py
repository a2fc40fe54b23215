"""Batches of a data set, as tuples of Tensors, in an order that a seed repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import as_array, device_of, made_beside, resolve_device
from ..errors import DataError, DTypeError
from ..ops.random import default_generator
from ..tensor import Tensor, asarray
from .dataset import Dataset, Subset, TensorDataset, checked_seed, generator
from .prefetch import on_their_way

__all__ = ["DataLoader", "collate"]


class DataLoader:
    """Batches of a data set, to be iterated once per epoch.

    Parameters
    ----------
    dataset : Dataset
        What to take samples from. A `TensorDataset`, or a `Subset` of one, gives each batch by one fancy index per
        array; any other data set is asked for its samples one by one.
    batch_size : int
        Samples in a batch, at least 1.
    shuffle : bool
        Whether each epoch goes through the samples in a new random order (NumPy's Philox generator).
    drop_last : bool
        Whether to leave out the last batch if it is short.
    seed : int, optional
        Not negative. Two loaders with the same seed give the same batches, epoch by epoch. Without it a seed is drawn
        from the generator that `gpugrad.manual_seed` sets, kept in `seed` and saved by `state_dict`.
    collate_fn : callable, optional
        Makes a batch from a list of samples, and is returned as it is; `collate` if not given.
    device : str, optional
        Where the batches' arrays are to be; where they come from, if not given. To a GPU they are copied one batch ahead,
        through page-locked memory, while it computes. A data set that fits on the GPU is better kept there, by
        ``TensorDataset(...).to("cuda")``: then batches are cut out there.

    Attributes
    ----------
    epoch : int
        Number of epochs started. A new epoch starts with each `iter(loader)`, also after a `break`.

    Raises
    ------
    DataError
        If an argument is not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad.data import DataLoader, TensorDataset
    >>> dataset = TensorDataset(np.zeros((5, 3), "float32"), np.arange(5))
    >>> loader = DataLoader(dataset, batch_size=2, shuffle=True, seed=0)
    >>> len(loader)
    3
    >>> [x.shape for x, y in loader]
    [(2, 3), (2, 3), (1, 3)]
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        device: str | None = None,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"DataLoader: dataset is of type {type(dataset).__name__}, expected one with __len__ and __getitem__; "
                "wrap arrays in TensorDataset"
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise DataError(f"DataLoader: batch_size is {batch_size!r}, expected an integer of at least 1")
        for name, flag in (("shuffle", shuffle), ("drop_last", drop_last)):
            if not isinstance(flag, bool | np.bool_):
                raise DataError(f"DataLoader: {name} is {flag!r}, expected True or False")
        if collate_fn is not None and not callable(collate_fn):
            raise DataError(f"DataLoader: collate_fn is {collate_fn!r}, expected a function of a list of samples")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.seed = int(default_generator().integers(2**63)) if seed is None else checked_seed(seed)
        self.collate_fn = collate_fn
        self.device = None if device is None else resolve_device(device)
        self.epoch = 0

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Any]:
        """Start an epoch: its order is drawn here, so that epochs may overlap or break off."""
        count = len(self.dataset)
        order = generator(self.seed, self.epoch).permutation(count) if self.shuffle else np.arange(count)
        self.epoch += 1
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        batches = (self._batch(order[start : start + self.batch_size]) for start in starts)
        return batches if self.device is None else on_their_way(batches, self.device)

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs to go on with the same order: the seed, and the number of epochs started.

        Saved between epochs it is exact. Saved within one, the resumed run goes on with the next epoch.

        Returns
        -------
        dict of str to int
            ``{"seed": ..., "epoch": ...}``

        Examples
        --------
        >>> from gpugrad.data import DataLoader
        >>> loader = DataLoader([1.0, 2.0], seed=3)
        >>> for (batch,) in loader:
        ...     pass
        >>> loader.state_dict()
        {'seed': 3, 'epoch': 1}
        """
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the loader that gave `state` was.

        Parameters
        ----------
        state : mapping of str to int
            From `state_dict`.

        Raises
        ------
        DataError
            If the keys are not ``seed`` and ``epoch``, or a value is not a non-negative integer. The loader is then
            as it was.

        Examples
        --------
        >>> from gpugrad.data import DataLoader
        >>> loader = DataLoader([1.0, 2.0], shuffle=True)
        >>> loader.load_state_dict({"seed": 3, "epoch": 1})
        >>> loader.seed, loader.epoch
        (3, 1)
        """
        if set(state) != {"seed", "epoch"}:
            raise DataError(f"DataLoader.load_state_dict: got keys {sorted(map(str, state))}, expected epoch and seed")
        for name, value in state.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise DataError(f"DataLoader.load_state_dict: {name} is {value!r}, expected a non-negative integer")
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])

    def _batch(self, numbers: NDArray[np.intp]) -> Any:
        if self.collate_fn is None:
            dataset, index = _through_subsets(self.dataset, numbers)
            # A subclass with an indexing of its own, such as one that augments, must have it called.
            if isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__:
                return dataset.gather(index)
        samples = [self.dataset[int(number)] for number in numbers]
        return collate(samples) if self.collate_fn is None else self.collate_fn(samples)


def collate(samples: Sequence[Any]) -> tuple[Tensor, ...]:
    """Stack samples, field by field.

    Parameters
    ----------
    samples : sequence
        At least one. Each is a tuple or list of fields, or is itself the only field; a field is an array, a Tensor or
        a number, of one shape in all samples.

    Returns
    -------
    tuple of Tensor
        One of shape (samples, ...) for each field, on the fields' device and on no tape. Arrays keep their dtype;
        Python floats give the default dtype (float32), Python integers int64.

    Raises
    ------
    DataError
        If there are no samples, they differ in number of fields, or a field's values cannot be stacked.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad.data import collate
    >>> x, y = collate([(np.ones(3), 5), (np.zeros(3), 7)])
    >>> x.shape, y.numpy()
    ((2, 3), array([5, 7]))
    """
    rows = [sample if isinstance(sample, tuple | list) else (sample,) for sample in samples]
    widths = sorted({len(row) for row in rows})
    if len(widths) != 1:
        raise DataError(f"collate: got {len(rows)} samples with {widths} fields, expected the same number in each")
    return tuple(_stack(field, values) for field, values in enumerate(zip(*rows, strict=True)))


def _stack(field: int, values: tuple[Any, ...]) -> Tensor:
    if all(isinstance(value, bool | int | float) for value in values):
        return asarray(list(values))  # together, so that 1 and 2.5 make floats of the default dtype
    try:
        raws = [as_array(value.data if isinstance(value, Tensor) else value) for value in values]
    except DTypeError as error:
        raise DataError(f"collate: field {field}: {error}; give a collate_fn that makes the batch") from error
    for what, found in (("shapes", {raw.shape for raw in raws}), ("devices", {device_of(raw) for raw in raws})):
        if len(found) > 1:
            raise DataError(
                f"collate: field {field} has {what} {', '.join(map(str, sorted(found)))}, expected one; "
                "give a collate_fn that pads or moves them"
            )
    return asarray(made_beside(raws[0], "stack", raws))


def _through_subsets(dataset: Dataset[Any], index: NDArray[np.intp]) -> tuple[Dataset[Any], NDArray[np.intp]]:
    """The data set at the bottom of nested subsets, and the numbers that the samples have there."""
    while isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        index = dataset.indices[index]
        dataset = dataset.dataset
    return dataset, index
