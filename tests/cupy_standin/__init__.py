"""A stand-in for CuPy, for tests on machines without a GPU. Test code: nothing of it is installed or imported by gpugrad.

Arrays of the stand-in hold NumPy arrays out of reach: they refuse to become NumPy arrays, refuse NumPy arrays as operands,
and refuse to be used while another device is current, so that a program that works with it mixes the two libraries
nowhere. What there is of CuPy is read from api.json, which record.py takes from CuPy itself: functions, keywords, dtypes
and methods that CuPy lacks are missing here too. Values are NumPy's, and so are all rounding errors: what a kernel of CuPy
computes is not tested.

    with cupy_standin.installed(devices=2):
        import cupy

or, for a whole process, ``cupy_standin.install()``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from . import cuda
from .modules import make_modules


def install(
    devices: int = 1, available: bool = True, memory: int = 1 << 33, driver: int = 13000, kernels: bool = False
) -> ModuleType:
    """Put the stand-in in place of CuPy, with this many devices of this much memory, or, not available, without a driver.

    With `kernels`, it compiles and launches CUDA, on the CPU, where g++ can; otherwise it has no `RawModule`.
    """
    cuda.reset(devices, available, memory, driver)
    sys.modules.update(make_modules())
    if kernels:
        from .kernels import RawModule

        sys.modules["cupy"].RawModule = RawModule  # type: ignore[attr-defined]
    return sys.modules["cupy"]


def uninstall() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
        del sys.modules[name]


@contextmanager
def installed(
    devices: int = 1, available: bool = True, memory: int = 1 << 33, driver: int = 13000, kernels: bool = False
) -> Iterator[ModuleType]:
    """The stand-in in place of CuPy within the block; afterwards gpugrad has forgotten it too."""
    cupy = install(devices, available, memory, driver, kernels)
    try:
        yield cupy
    finally:
        uninstall()
        from gpugrad import backend

        backend.forget_cupy()
