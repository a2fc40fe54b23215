"""Batches of a data set, as tuples of Tensors, in an order that a seed repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend import as_array, device_of, made_beside, resolve_device
from ..errors import DataError, DTypeError
from ..ops.random import default_generator
from ..tensor import Tensor, asarray
from .dataset import Dataset, Subset, TensorDataset, checked_seed, generator
from .prefetch import on_their_way
from .workers import by_processes, by_threads

__all__ = ["DataLoader", "Sampler", "collate"]


class Sampler(Protocol):
    """What picks this process's share of each batch: `gpugrad.distributed.DistributedSampler`, say."""

    def __call__(self, numbers: NDArray[np.intp], /) -> NDArray[np.intp]:
        """The share, not empty, of a batch given by the numbers of its samples."""
        ...

    def check(self, smallest: int, /) -> None:
        """Raise a DataError if a batch of `smallest` samples is too small to be shared."""
        ...


class DataLoader:
    """Batches of a data set, to be iterated once per epoch (`torch.utils.data.DataLoader`).

    With `workers`, threads make batches ahead of time; they come in the same order, and are the same, as without. Threads
    are enough where reading files, decompressing and copying take the time, which they do outside Python's lock. Where
    Python itself does, ``processes=True`` makes the workers processes. They are started for each epoch, with a copy of the
    data set (some tenths of a second), and batches are copied back: a script must have its work under
    ``if __name__ == "__main__":``, and data set and `collate_fn` must be such as `pickle` takes.

    A data set that draws random numbers should draw them from generators made from a seed, the epoch and the sample's number:
    threads that share one generator take turns at it in an order of their own. In processes the generators of `gpugrad`,
    `random` and `numpy.random` are started anew for each batch, from `seed` and the epoch: draws from them are the same for any
    number of processes.

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
    workers : int
        Threads, or processes, that make batches; 0 makes each when it is asked for.
    prefetch : int
        Batches that each worker is ahead.
    device : str, optional
        Where the batches' arrays are to be; where they come from, if not given. To a GPU they are copied one batch ahead,
        through page-locked memory, while it computes. A data set that fits on the GPU is better kept there, by
        ``TensorDataset(...).to("cuda")``: then batches are cut out there.
    sampler : Sampler, optional
        Picks the part of each batch that this process is to have; `batch_size` is that of all processes together.
    processes : bool
        Whether the workers are processes.

    Attributes
    ----------
    epoch : int
        Number of epochs started. Each `iter(loader)` is a new epoch, also after a `break`; it starts with its first batch.

    Raises
    ------
    DataError
        If an argument is not as described above; in the loop, if a worker process dies. An error of the data set is raised in
        the loop, at the batch that it concerns, with the sample's number as a note.

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
        *,
        workers: int = 0,
        prefetch: int = 2,
        device: str | None = None,
        sampler: Sampler | None = None,
        processes: bool = False,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"DataLoader: dataset is of type {type(dataset).__name__}, expected one with __len__ and __getitem__; "
                "wrap arrays in TensorDataset"
            )
        for name, number, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("prefetch", prefetch, 1)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
                raise DataError(f"DataLoader: {name} is {number!r}, expected an integer of at least {least}")
        for name, flag in (("shuffle", shuffle), ("drop_last", drop_last), ("processes", processes)):
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
        if processes and not workers:
            raise DataError("DataLoader: processes=True with workers=0; say how many, such as workers=2")
        self.workers, self.prefetch, self.processes = int(workers), int(prefetch), bool(processes)
        self.device = None if device is None else resolve_device(device)
        self.sampler = sampler
        self.epoch = 0
        self._resume = 0
        self._latest: _Epoch | None = None
        if sampler is not None and len(self):
            rest = len(dataset) % self.batch_size
            sampler.check(rest if rest and not drop_last else self.batch_size)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch, or what is left of the one of a loaded state.

        It starts when its first batch is asked for: tqdm, for one, makes iterators that it does not use.
        """
        count = len(self.dataset)
        order = generator(self.seed, self.epoch).permutation(count) if self.shuffle else np.arange(count)
        epoch = self._latest = _Epoch(self.epoch, self._resume)
        self.epoch, self._resume = self.epoch + 1, 0
        end = count - count % self.batch_size if self.drop_last else count
        parts = [order[start : min(start + self.batch_size, end)] for start in range(epoch.samples, end, self.batch_size)]
        batches = self._batches(parts, epoch.number)
        batches = batches if self.device is None else on_their_way(batches, self.device)
        for part, batch in zip(parts, batches, strict=True):
            epoch.samples += len(part)
            yield batch
        epoch.over = True

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs to go on with the next batch, in the same order.

        It speaks of the epoch that was started last: ``samples`` of it have been given, also if it was broken off.
        Batches that workers hold ready do not count. When the epoch is over it says that the next one is to begin.

        Returns
        -------
        dict of str to int
            ``{"seed": ..., "epoch": ..., "samples": ..., "length": ...}``, the last that of the data set.

        Examples
        --------
        >>> from gpugrad.data import DataLoader
        >>> loader = DataLoader([1.0, 2.0, 3.0], seed=3)
        >>> for (batch,) in loader:
        ...     if batch.item() == 2:
        ...         print(loader.state_dict())
        {'seed': 3, 'epoch': 0, 'samples': 2, 'length': 3}
        >>> loader.state_dict()
        {'seed': 3, 'epoch': 1, 'samples': 0, 'length': 3}
        """
        number, samples = self.epoch, self._resume
        if self._latest is not None and not self._latest.over:
            number, samples = self._latest.number, self._latest.samples
        return {"seed": self.seed, "epoch": number, "samples": samples, "length": len(self.dataset)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the loader that gave `state` was: the next `iter` gives the rest of its epoch.

        Parameters
        ----------
        state : mapping of str to int
            From `state_dict`. Without ``samples`` and ``length``, an epoch is begun.

        Raises
        ------
        DataError
            If the keys are others, a value is not a non-negative integer, or an epoch is to be gone on with in a data set
            of another length. The loader is then as it was.

        Examples
        --------
        >>> from gpugrad.data import DataLoader
        >>> loader = DataLoader([1.0, 2.0, 3.0])
        >>> loader.load_state_dict({"seed": 3, "epoch": 1, "samples": 2, "length": 3})
        >>> [batch.item() for (batch,) in loader], loader.epoch
        ([3.0], 2)
        """
        if not {"seed", "epoch"} <= set(state) <= {"seed", "epoch", "samples", "length"}:
            raise DataError(
                f"DataLoader.load_state_dict: got keys {sorted(map(str, state))}, expected epoch and seed, and perhaps "
                "length and samples"
            )
        for name, value in state.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise DataError(f"DataLoader.load_state_dict: {name} is {value!r}, expected a non-negative integer")
        samples, length = int(state.get("samples", 0)), state.get("length")
        if samples and (length != len(self.dataset) or samples > len(self.dataset)):
            raise DataError(
                f"DataLoader.load_state_dict: {samples} of {length} samples of an epoch were given, and the data set now has "
                f"{len(self.dataset)}: its order would be another; load it with the same data set, or without samples and length"
            )
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        self._resume, self._latest = samples, None

    def _batches(self, parts: list[NDArray[np.intp]], epoch: int) -> Iterator[Any]:
        shares = parts if self.sampler is None else map(self.sampler, parts)
        make = _Batches(self.dataset, self.collate_fn)
        ahead = self.workers * self.prefetch
        if not self.workers:
            return map(make, shares)
        if not self.processes:
            return by_threads(make, shares, self.workers, ahead)
        shares = list(shares)
        seeds = (int(generator(self.seed, epoch, int(share[0])).integers(2**32)) for share in shares)
        return by_processes(make, shares, seeds, self.workers, ahead)


@dataclass
class _Batches:
    """How a batch is made from the numbers of its samples."""

    dataset: Dataset[Any]
    collate_fn: Callable[[list[Any]], Any] | None

    def __call__(self, numbers: NDArray[np.intp]) -> Any:
        if self.collate_fn is None:
            dataset, index = _through_subsets(self.dataset, numbers)
            # A subclass with an indexing of its own, such as one that augments, must have it called.
            if isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__:
                return dataset.gather(index)
        samples = [self.sample(int(number)) for number in numbers]
        return collate(samples) if self.collate_fn is None else self.collate_fn(samples)

    def sample(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except Exception as error:
            error.add_note(f"raised by the data set for sample {number}")
            raise


@dataclass
class _Epoch:
    """How far an epoch is."""

    number: int
    samples: int
    over: bool = False


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
