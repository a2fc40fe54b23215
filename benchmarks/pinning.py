"""How many cores and threads the libraries may use. Must run before any of them is imported."""

from __future__ import annotations

import os
import sys

__all__ = ["pin"]

# NPROC and PJRT_NPROC size XLA's thread pools on the CPU; the rest are OpenMP and the BLAS libraries.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NPROC",
    "PJRT_NPROC",
)


def pin(threads: int) -> list[int]:
    """Hold this process to `threads` cores and tell every library to start that many threads.

    Parameters
    ----------
    threads : int
        Number of cores, and of threads for each library.

    Returns
    -------
    list of int
        The cores the process may run on; empty where the system cannot pin a process.

    Raises
    ------
    RuntimeError
        If NumPy is already imported: its BLAS has then read its thread count, and the figures would not be for
        the number that was asked for.
    ValueError
        If there are fewer than `threads` cores to run on.
    """
    if "numpy" in sys.modules:
        raise RuntimeError("pin() must be called before numpy is imported; run `python -m benchmarks`")
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return _hold_to_cores(threads)


def _hold_to_cores(threads: int) -> list[int]:
    if not hasattr(os, "sched_setaffinity"):  # only Linux has it
        return []
    available = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(available):
        raise ValueError(f"--threads {threads}, but this process may use {len(available)} core(s)")
    # The last cores, because the system tends to put its own work and its interrupts on the first.
    cores = available[-threads:]
    os.sched_setaffinity(0, cores)
    return cores
