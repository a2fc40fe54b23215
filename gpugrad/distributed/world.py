"""All processes of a job, and what they do together."""

from __future__ import annotations

import math
import pickle
import warnings
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy
from numpy.typing import NDArray

from ..backend import device_of, namespace_of
from ..checkpoints import Checkpoints, Restored
from ..errors import DataError, DistributedError, describe
from ..modes import no_grad
from ..nn import Module
from ..ops.random import default_generator
from ..ops.updates import assign_
from ..tensor import Tensor, wrap
from .links import Link

__all__ = ["DistributedSampler", "World"]


class World:
    """The processes of a job, seen from one of them; `init` makes it, and without arguments it is one process alone.

    What is called here must be called by all ranks, in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    device : str
        Where this rank's model and batches should be.

    Examples
    --------
    >>> from gpugrad import distributed
    >>> world = distributed.World()
    >>> world.rank, world.size
    (0, 1)
    """

    def __init__(self, host: Link | None = None, gpu: Link | None = None, device: str = "cpu") -> None:
        self._host, self._gpu, self.device = host, gpu, device
        self.rank, self.size = (host.rank, host.size) if host is not None else (0, 1)

    # --- the model ---

    def broadcast(self, model: Module | Iterable[Tensor]) -> None:
        """Give all ranks the parameters and buffers of rank 0.

        Parameters
        ----------
        model : Module, or Tensors

        Raises
        ------
        DistributedError
            If they are not of the same shapes and dtypes on all ranks.
        """
        tensors = list(model.state_dict().values()) if isinstance(model, Module) else list(model)
        self._agree("broadcast", [(t.shape, t.dtype.name) for t in tensors])
        if self.size == 1:
            return
        with no_grad():
            for tensor in tensors:
                array = namespace_of(tensor._array).array(tensor._array, order="C")
                self._link(array).broadcast(array)
                assign_(tensor, wrap(array))

    def average_gradients(self, parameters: Iterable[Tensor], weight: float = 1.0, bucket_bytes: int = 4 << 20) -> None:
        """Replace each gradient by its average over the ranks.

        Gradients travel many together, in buckets, and are summed in the order of the ranks.

        Parameters
        ----------
        parameters : iterable of Tensor
            The same on all ranks. A gradient that some ranks lack counts as zeros there; one that all lack stays None.
        weight : float
            This rank's share: the number of samples, where the loss is a mean over them.
        bucket_bytes : int
            Size of a bucket.

        Raises
        ------
        DistributedError
            If the parameters are not of the same shapes and dtypes on all ranks.
        ValueError
            If a weight is negative or not finite, or all are 0.
        """
        params = list(parameters)
        layout = zlib.crc32(repr([(p.shape, p.dtype.name) for p in params]).encode())
        missing = [p.grad is None for p in params]
        rows = self._rows([weight, layout, sum(missing)])
        total = _total(rows[:, 0])
        if len(set(rows[:, 1])) > 1:
            self._agree("average_gradients", [(p.shape, p.dtype.name) for p in params])
        if self.size == 1:
            return
        if rows[:, 2].any():
            everywhere = self._rows([float(is_missing) for is_missing in missing]).min(axis=0)
            params = [p for p, lacking in zip(params, everywhere, strict=True) if not lacking]
        for bucket in _buckets(params, bucket_bytes):
            self._average(bucket, weight / total)

    def _average(self, params: list[Tensor], share: float) -> None:
        """One bucket: each rank sums one part of it, in the order of the ranks, and gives it to all."""
        xp = namespace_of(params[0]._array)
        sizes = [p.size for p in params]
        each = -(-sum(sizes) // self.size)
        packed = xp.zeros(each * self.size, params[0].dtype)
        ends = numpy.cumsum(sizes)
        for p, end in zip(params, ends, strict=True):
            if p.grad is not None and share:  # a rank without samples may have nan, which 0 would not hide
                xp.multiply(p.grad._array.reshape(-1), share, out=packed[end - p.size : end])
        parts = self._link(packed).all_to_all(packed.reshape(self.size, each))
        mine = parts[0]
        for part in parts[1:]:
            mine += part
        packed = self._link(packed).all_gather(mine).reshape(-1)
        for p, end in zip(params, ends, strict=True):
            p.grad = wrap(packed[end - p.size : end].reshape(p.shape))

    # --- numbers and objects ---

    def average(self, value: float, weight: float = 1.0) -> float:
        """The average of a number over the ranks: of a loss, say, with the number of samples as `weight`."""
        rows = self._rows([value, weight])
        total = _total(rows[:, 1])
        return math.fsum(v * w for v, w in rows if w) / total

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, of any kind that can be pickled."""
        if self._host is None:
            return [value]
        data = numpy.frombuffer(pickle.dumps(value), numpy.uint8)
        lengths = self._host.all_gather(numpy.array([data.size]))[:, 0]
        rows = self._host.all_gather(numpy.concatenate([data, numpy.zeros(lengths.max() - data.size, numpy.uint8)]))
        return [pickle.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self._rows([0.0])

    # --- checkpoints ---

    def save(self, checkpoints: Checkpoints, step: int, *, extra: Any = None, **parts: Any) -> None:
        """`Checkpoints.save` on rank 0, with the random generators of all ranks; all wait until it is done."""
        generators = self.gather(default_generator().bit_generator.state)
        problem = None
        if self.rank == 0:
            try:
                checkpoints.save(step, extra={"extra": extra, "generators": generators}, **parts)
            except Exception as error:  # the others wait for it
                problem = error
        failed = self.gather(None if problem is None else f"{type(problem).__name__}: {problem}")[0]
        if problem is not None:
            raise problem
        if failed is not None:
            raise DistributedError(f"rank 0 could not save: {failed}")

    def restore(self, checkpoints: Checkpoints, **parts: Any) -> Restored | None:
        """`Checkpoints.restore` on all ranks, of what `save` wrote: they must all see the folder.

        Rank 0 chooses the file. With another number of ranks than it was saved by, the random generators stay as they are.
        """
        state = default_generator().bit_generator.state
        found = checkpoints.restore(**parts) if self.rank == 0 else None
        step = self.gather(None if found is None else found.step)[0]
        if step is None:
            return None
        if self.rank:
            found = checkpoints.restore(step, **parts)
        assert found is not None
        if not isinstance(found.extra, dict) or found.extra.keys() != {"extra", "generators"}:
            raise DistributedError(f"{found.path}: not written by World.save; restore it with Checkpoints.restore")
        generators = found.extra["generators"]
        if len(generators) == self.size:
            state = _plain_state(generators[self.rank])
        else:
            warnings.warn(
                f"{found.path} was saved by {len(generators)} ranks, and this job has {self.size}: the random generators stay as "
                "they are",
                RuntimeWarning,
                stacklevel=2,
            )
        default_generator().bit_generator.state = state
        return found._replace(extra=found.extra["extra"])

    # --- underneath ---

    def _link(self, array: Any) -> Link:
        link = self._host if device_of(array) == "cpu" else self._gpu
        if link is None:
            raise DistributedError(f"{describe(array)}: this job has no NCCL; call distributed.init(device='cuda')")
        return link

    def _rows(self, numbers: list[float]) -> NDArray[numpy.float64]:
        """These numbers of every rank, a row each."""
        row = numpy.array(numbers, numpy.float64)
        return row[None] if self._host is None else self._host.all_gather(row)

    def _agree(self, what: str, layout: list[Any]) -> None:
        """Raise, on all ranks, if the tensors of some rank are others than those of rank 0."""
        first, *others = self.gather(layout)
        for rank, other in enumerate(others, start=1):
            if other != first:
                pairs = enumerate(zip(first, other, strict=False))
                where = next((f"number {i} is {a} on rank 0 and {b}" for i, (a, b) in pairs if a != b), None)
                where = where or f"there are {len(first)} on rank 0 and {len(other)}"
                raise DistributedError(f"{what}: the tensors differ between ranks: {where} on rank {rank}")


class DistributedSampler:
    """Shares each batch of a `gpugrad.data.DataLoader` among the ranks, in nearly equal parts.

    All ranks must make the loader with the same seed; `batch_size` is that of all together.

    Parameters
    ----------
    world : World

    Raises
    ------
    DataError
        When the loader is made, if a batch has fewer samples than there are ranks.

    Examples
    --------
    >>> import numpy as np
    >>> from gpugrad import distributed
    >>> distributed.DistributedSampler(distributed.World())(np.array([4, 7, 1]))
    array([4, 7, 1])
    """

    def __init__(self, world: World) -> None:
        self.rank, self.size = world.rank, world.size

    def __call__(self, numbers: NDArray[numpy.intp]) -> NDArray[numpy.intp]:
        """This rank's part."""
        return numpy.array_split(numbers, self.size)[self.rank]

    def check(self, smallest: int) -> None:
        """Refuse batches that leave a rank without samples."""
        if smallest < self.size:
            raise DataError(
                f"DistributedSampler: a batch of {smallest} samples cannot be shared by {self.size} ranks; if it is the last "
                "one, use drop_last=True or another batch_size"
            )


def _buckets(params: list[Tensor], most: int) -> Iterator[list[Tensor]]:
    """Parameters of one device and dtype each, that together take at most so many bytes."""
    kinds: dict[tuple[str, str], list[Tensor]] = {}
    for p in params:
        kinds.setdefault((p.device, p.dtype.name), []).append(p)
    for kind in kinds.values():
        bucket: list[Tensor] = []
        for p in kind:
            if bucket and sum(q.nbytes for q in bucket) + p.nbytes > most:
                yield bucket
                bucket = []
            bucket.append(p)
        yield bucket


def _total(weights: NDArray[numpy.float64]) -> float:
    if not (numpy.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(f"the ranks' weights are {weights.tolist()}, expected numbers of 0 or more, not all 0")
    return math.fsum(weights)


def _plain_state(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain_state(value) for key, value in state.items()}
    return state.numpy() if isinstance(state, Tensor) else state
