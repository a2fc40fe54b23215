"""How arrays get from one process to another: MPI from CPU to CPU, NCCL from GPU to GPU.

A link knows three movements, of contiguous arrays of one size on every rank, and does no arithmetic: what is summed, and in which
order, is decided in `world`.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy

from ..backend import namespace_of
from ..errors import DistributedError

__all__ = ["Link", "MPILink", "NCCLLink"]


class Link(Protocol):
    """Between the processes of a job."""

    rank: int
    size: int

    def all_gather(self, array: Any) -> Any:
        """Every rank's array, stacked."""
        ...

    def all_to_all(self, rows: Any) -> Any:
        """Row `i` of every rank's `rows`, stacked, on rank `i`."""
        ...

    def broadcast(self, array: Any) -> None:
        """Rank 0's array, into that of the others."""
        ...


class MPILink:
    """MPI, between NumPy arrays.

    MPI itself waits without end for a rank that will not come. So whoever leaves the program says so to all others, who look for
    such notices while they wait.
    """

    GRACE = 3.0
    """Seconds in which the last messages of a rank that has left must be there: it sent them before its notice."""

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm, self._notices = mpi, mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
        self.rank, self.size = int(self._comm.rank), int(self._comm.size)
        nothing = numpy.empty(0, numpy.uint8)
        self._others = [rank for rank in range(self.size) if rank != self.rank]
        self._left = {rank: self._notices.Irecv([nothing, mpi.BYTE], source=rank) for rank in self._others}

    def all_gather(self, array: Any) -> Any:
        """Every rank's array, stacked."""
        out = numpy.empty((self.size, *array.shape), array.dtype)
        self._wait(self._comm.Iallgather(self._bytes(array), self._bytes(out)))
        return out

    def all_to_all(self, rows: Any) -> Any:
        """Row `i` of every rank's `rows`, stacked, on rank `i`."""
        out = numpy.empty_like(rows)
        self._wait(self._comm.Ialltoall(self._bytes(rows), self._bytes(out)))
        return out

    def broadcast(self, array: Any) -> None:
        """Rank 0's array, into that of the others."""
        data, most = array.reshape(-1).view(numpy.uint8), 1 << 30  # MPI counts in 32 bits
        for start in range(0, data.size, most):
            self._wait(self._comm.Ibcast([data[start : start + most], self._mpi.BYTE], root=0))

    def leave(self) -> None:
        """Tell all others that this rank is done, and wait until they are."""
        nothing = numpy.empty(0, numpy.uint8)
        notices = [self._notices.Isend([nothing, self._mpi.BYTE], dest=rank) for rank in self._others]
        self._mpi.Request.Waitall([*notices, *self._left.values()])

    def abort(self) -> None:
        """End the job, on all ranks, now."""
        self._mpi.COMM_WORLD.Abort(1)

    def _bytes(self, array: Any) -> list[Any]:
        return [array.reshape(-1).view(numpy.uint8), self._mpi.BYTE]

    def _wait(self, request: Any) -> None:
        until = None
        while True:
            for _ in range(100):
                if request.Test():
                    return
            gone = [rank for rank, notice in self._left.items() if notice.Test()]
            if gone:
                until = until or time.monotonic() + self.GRACE
                if time.monotonic() > until:
                    raise DistributedError(
                        f"rank {self.rank} waits for rank {', '.join(map(str, gone))}, which has left the program: "
                        "did it exit, or run through fewer batches?"
                    )
            time.sleep(0)


class NCCLLink:
    """NCCL, between CuPy arrays, through `cupyx.distributed`. What goes through it is queued on the current stream."""

    def __init__(self, communicator: Any, rank: int, size: int) -> None:
        self._communicator, self.rank, self.size = communicator, rank, size

    def all_gather(self, array: Any) -> Any:
        """Every rank's array, stacked."""
        out = namespace_of(array).empty((self.size, *array.shape), array.dtype)
        sent = self._bytes(array)
        self._communicator.all_gather(sent, self._bytes(out), sent.size)
        return out

    def all_to_all(self, rows: Any) -> Any:
        """Row `i` of every rank's `rows`, stacked, on rank `i`."""
        out = namespace_of(rows).empty_like(rows)
        self._communicator.all_to_all(self._bytes(rows).reshape(self.size, -1), self._bytes(out).reshape(self.size, -1))
        return out

    def broadcast(self, array: Any) -> None:
        """Rank 0's array, into that of the others."""
        self._communicator.broadcast(self._bytes(array), 0)

    def _bytes(self, array: Any) -> Any:
        return array.reshape(-1).view(numpy.uint8)
