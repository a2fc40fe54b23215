"""`RawModule` of the stand-in: kernels run on the CPU, by cuda_cpu, on the arrays' hidden memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cuda_cpu
import numpy as np

from . import cuda
from .arrays import here, ndarray


class RawModule:
    """`cupy.RawModule`."""

    def __init__(self, *, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = ()) -> None:
        cuda.check_driver()
        self._module = cuda_cpu.RawModule(code=code, options=options, name_expressions=name_expressions)

    def get_function(self, name: str) -> Any:
        function = self._module.get_function(name)

        def launch(grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
            cuda.launches.append(name)
            function(grid, block, list(map(memory_of, args)), shared_mem=shared_mem)

        return launch


def memory_of(argument: Any) -> Any:
    """An argument of a launch as cuda_cpu takes it: addresses of page-locked memory are those of words of 64 bits."""
    if isinstance(argument, ndarray):
        return here(argument)._hidden
    if isinstance(argument, np.uintp) and int(argument) in cuda.pinned:
        memory = cuda.pinned[int(argument)]()
        assert memory is not None, "the memory was freed"
        return memory.view(np.int64)
    return argument
