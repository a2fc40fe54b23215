"""Starting kernels: compiled when first used, arguments checked, launches sized by what they work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ..errors import DTypeError, ShapeError, describe
from .compiler import CTYPES, OPTIONS, source

__all__ = [
    "THREADS",
    "Launcher",
    "Tiles",
    "cover",
    "ctype_of",
    "matrix_sizes",
    "power_of_2",
    "real_of",
    "row_launch",
    "same_shapes",
    "tiles_of",
]

THREADS = 256
"""Threads of a block, at most, in every kernel."""


class Launcher:
    """Starts kernels on the arrays of one library.

    Parameters
    ----------
    xp : module
        CuPy, or what stands in for it: `RawModule`, `empty` and `zeros` are used.
    processors : int
        Multiprocessors of the device; launches are sized by it.
    stream : callable
        A name of the stream that is launched on. Kernels that count their blocks must not share counters between streams.
    """

    def __init__(self, xp: Any, processors: int = 132, stream: Callable[[], Any] = lambda: None) -> None:
        self.xp, self.processors, self._stream = xp, processors, stream
        self._functions: dict[tuple[str, str], Any] = {}
        self._counters: dict[Any, Any] = {}

    def counters(self, count: int) -> Any:
        """At least so many zeros for a kernel to count its blocks in; each launch leaves them at zero."""
        stream = self._stream()
        found = self._counters.get(stream)
        if found is None or found.size < count:
            found = self._counters[stream] = self.xp.zeros(max(1024, 2 * count), numpy.uint32)
        return found

    def function(self, file: str, kernel: str) -> Any:
        """The kernel of a file by its name expression; compiled when first asked for."""
        found = self._functions.get((file, kernel))
        if found is None:
            found = self._functions[file, kernel] = self._compiled(source(file), kernel)
        return found

    def text(self, code: str, kernel: str) -> Any:
        """The kernel of a text that is in no file; compiled when first asked for."""
        found = self._functions.get((code, kernel))
        if found is None:
            found = self._functions[code, kernel] = self._compiled(code, kernel)
        return found

    def _compiled(self, code: str, kernel: str) -> Any:
        return self.xp.RawModule(code=code, options=OPTIONS, name_expressions=(kernel,)).get_function(kernel)

    def __call__(self, file: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any) -> None:
        """Start a kernel. Numbers are NumPy scalars of the declared type; None is a null pointer."""
        self.function(file, kernel)(grid, block, tuple(numpy.uintp(0) if a is None else a for a in arguments))


# --- arguments ----------------------------------------------------------------------------------------------------


def ctype_of(name: str, *arrays: Any) -> str:
    """C++'s name of the arrays' dtype; refused unless they share one that the kernels take, and are contiguous."""
    dtype = arrays[0].dtype
    for array in arrays:
        if array.dtype != dtype or dtype.name not in CTYPES:
            got = ", ".join(a.dtype.name for a in arrays)
            raise DTypeError(f"{name}: the CUDA kernel takes arrays of one dtype of {', '.join(CTYPES)}; got {got}")
        if not array.flags.c_contiguous:
            raise ShapeError(
                f"{name}: the CUDA kernel takes C-contiguous arrays; got strides {array.strides} for {describe(array)}"
            )
    return CTYPES[dtype.name]


def same_shapes(name: str, *arrays: Any) -> None:
    """Refuse arrays of different shapes."""
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ShapeError(f"{name}: shapes differ: {', '.join(str(array.shape) for array in arrays)}")


def real_of(dtype: Any) -> type[numpy.floating[Any]]:
    """What arithmetic on arrays of a dtype is done in, and so the type of a kernel's numbers."""
    return numpy.float64 if dtype == numpy.float64 else numpy.float32


def cover(launch: Launcher, work: int, per_block: int) -> tuple[int]:
    """A grid that covers the work, or fills the device and strides."""
    return (min(-(-work // per_block), 8 * launch.processors),)


# --- launch shapes ---


class Tiles(NamedTuple):
    """How columns.cuh divides a matrix: the launch, and room for what its blocks leave each other."""

    grid: tuple[int, int]
    block: tuple[int, int]
    partials: Any
    counters: Any


def tiles_of(launch: Launcher, x: Any, sums: int = 1, width: int = 0) -> Tiles:
    """Tiles for the matrix `x`, of which `sums` sums over the rows are made, `width` columns to a thread, by default 16 bytes."""
    rows, columns = x.shape
    width = width or 16 // x.dtype.itemsize
    threads = -(-columns // (width if columns % width == 0 else 1))
    across = min(32, power_of_2(threads))
    down = THREADS // across
    tiles = -(-threads // across)
    parts = max(1, min(-(-rows // (8 * down)), 8 * launch.processors // tiles, 1024))
    if parts == 1:
        return Tiles((tiles, 1), (across, down), None, None)
    partials = launch.xp.empty(parts * sums * columns, real_of(x.dtype))
    return Tiles((tiles, parts), (across, down), partials, launch.counters(-(-columns // across)))


def power_of_2(n: int) -> int:
    """The least power of 2 that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def matrix_sizes(name: str, x: Any, **vectors: Any) -> tuple[numpy.int64, numpy.int64]:
    """Rows and columns of a matrix; refused unless the vectors have one number for each column."""
    if x.ndim != 2:
        raise ShapeError(f"{name}: the CUDA kernel takes a matrix, got {describe(x)}; reshape it")
    for vector_name, vector in vectors.items():
        if vector.shape != x.shape[1:]:
            raise ShapeError(f"{name}: {vector_name} must have shape {x.shape[1:]} for rows of {x.shape}, got {vector.shape}")
    return numpy.int64(x.shape[0]), numpy.int64(x.shape[1])


def row_launch(launch: Launcher, x: Any) -> tuple[tuple[int], tuple[int, int]]:
    """A launch for rows.cuh: about two vectors of a row to a thread; several rows to a block where a row is a warp or less."""
    rows, columns = x.shape
    across = min(THREADS, power_of_2(-(-columns * x.dtype.itemsize // 32)))
    down = 128 // across if across <= 32 else 1
    return cover(launch, rows, down), (across, down)
