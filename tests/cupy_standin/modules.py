"""The modules `cupy` and `cupyx` of the stand-in, put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy

from . import cuda, functions
from .arrays import ndarray

DTYPES = functions.words("""
    bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128
    newaxis pi e inf nan dtype finfo iinfo integer floating complexfloating number generic
""")


def module(name: str, members: dict[str, Any]) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    made.__file__ = __file__
    return made


@contextmanager
def errstate(*, linalg: str | None = None, **others: Any) -> Iterator[None]:
    """`cupyx.errstate`."""
    functions.check_linalg.append(linalg == "raise" or (linalg is None and functions.check_linalg[-1]))
    try:
        yield
    finally:
        functions.check_linalg.pop()


def scatter_add(a: Any, slices: Any, value: Any) -> None:
    """`cupyx.scatter_add`."""
    functions.TOP["add"].at(a, slices, value)


def make_modules() -> dict[str, ModuleType]:
    names = (
        "CUDARuntimeError", "Device", "Event", "MemoryPool", "MemoryPointer", "PinnedMemoryPool", "Stream", "alloc_pinned_memory",
        "get_current_stream", "nvtx", "get_device_id", "get_elapsed_time", "is_available", "runtime", "using_allocator",
    )  # fmt: skip
    memory = module("cupy.cuda.memory", {"OutOfMemoryError": cuda.OutOfMemoryError})
    gpu = module("cupy.cuda", {name: getattr(cuda, name) for name in names if hasattr(cuda, name)} | {"memory": memory})
    linalg = module("cupy.linalg", functions.LINALG | {"LinAlgError": numpy.linalg.LinAlgError})
    fft = module("cupy.fft", functions.FFT)
    tricks = module("cupy.lib.stride_tricks", {"as_strided": functions.as_strided})
    lib = module("cupy.lib", {"stride_tricks": tricks})
    dtypes = {name: getattr(numpy, name) for name in DTYPES}
    top = functions.TOP | dtypes | {"ndarray": ndarray, "ufunc": functions.ufunc, "__version__": functions.API["version"]}
    cupy = module("cupy", top | {"cuda": gpu, "linalg": linalg, "fft": fft, "lib": lib})
    cupyx = module("cupyx", {"errstate": errstate, "scatter_add": scatter_add})
    modules = [cupy, gpu, memory, linalg, fft, lib, tricks, cupyx]
    return {made.__name__: made for made in modules}
