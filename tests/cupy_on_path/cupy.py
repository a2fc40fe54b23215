"""Under the name CuPy for processes that a test starts: the stand-in, with kernels that run on the CPU. Test code.

With ``CUPY_ABORTS_AT=NAME`` the process ends where a kernel of that name is asked for, as it does when CUDA itself crashes.
"""

from __future__ import annotations

import os
from typing import Any

import cuda_cpu
import cupy_standin
from cupy_standin.kernels import memory_of

cupy = cupy_standin.install()


class Function(cuda_cpu.Function):
    """Takes the stand-in's arrays."""

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        super().__call__(grid, block, list(map(memory_of, args)), shared_mem=shared_mem)


class RawModule(cuda_cpu.RawModule):
    """`cupy.RawModule`."""

    def get_function(self, name: str) -> Function:
        if os.environ.get("CUPY_ABORTS_AT", "no kernel") in name:
            os.abort()
        return Function(self._library, self._names.index(name), name)


cupy.RawModule = RawModule
