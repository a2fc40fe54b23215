"""`RawModule` of the stand-in: kernels run on the CPU, by cuda_cpu, on the arrays' hidden memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cuda_cpu

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
            function(grid, block, [here(a)._hidden if isinstance(a, ndarray) else a for a in args], shared_mem=shared_mem)

        return launch
