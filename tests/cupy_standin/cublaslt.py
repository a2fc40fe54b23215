"""A stand-in for cuBLASLt, which works on the memory that it is given pointers to, as NVIDIA's header says.

It refuses what the header forbids: leading dimensions that are too small or not multiples of what they must be, pointers
that are aligned worse than an algorithm was asked for, attributes that an epilogue needs and that were not set.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy

SUCCESS, INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 0, 7, 13, 15
RELU, BIAS, DRELU, GRADIENT, GELU, DGELU, AUX, BGRADA, BGRADB = 2, 4, 8, 16, 32, 64, 128, 256, 512
_DESC = {0: 4, 1: 4, 3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8}
_PREFERENCE = {1: 8, 5: 4, 6: 4, 7: 4, 8: 4}
"""Attributes, and the bytes that they take."""


def dtype_of(code: int) -> Any:
    if code == 14:
        from ml_dtypes import bfloat16

        return numpy.dtype(bfloat16)
    return numpy.dtype({0: "f4", 1: "f8", 2: "f2"}[code])


def memory(address: int, dtype: Any, size: int) -> numpy.ndarray:
    """Elements at an address."""
    room = (ctypes.c_uint8 * (dtype.itemsize * size)).from_address(address)
    return numpy.frombuffer(room, numpy.uint8).view(dtype)


def columns(address: int, layout: dict[str, int]) -> numpy.ndarray:
    """The matrix at an address: element (i, j) at ``i + j * ld``."""
    dtype, rows, cols, ld = dtype_of(layout["type"]), layout["rows"], layout["cols"], layout["ld"]
    flat = memory(address, dtype, ld * (cols - 1) + rows)
    return numpy.lib.stride_tricks.as_strided(flat, (rows, cols), (dtype.itemsize, ld * dtype.itemsize))


def gelu(x: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The function by tanh, and its slope."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    th = numpy.tanh(inner)
    return 0.5 * x * (1 + th), 0.5 * (1 + th) + 0.5 * x * (1 - th**2) * slope


class CublasLt:
    """The functions of the library that gpugrad calls.

    Parameters
    ----------
    refuses : callable
        Whether a product of rows, columns, depth (by columns) and epilogue has no algorithm.
    """

    def __init__(self, refuses: Callable[[int, int, int, int], bool] = lambda m, n, k, epilogue: False) -> None:
        self.refuses = refuses
        self.numbers = itertools.count(1)
        self.objects: dict[int, dict[Any, Any]] = {}
        self.asked: list[int] = []
        """The epilogues for which an algorithm was asked."""
        self.ran: list[tuple[int, float]] = []
        """Epilogue and beta of each product."""

    # --- objects ---

    def _make(self, result: Any, **fields: Any) -> int:
        number = next(self.numbers)
        self.objects[number] = fields
        result._obj.value = number
        return SUCCESS

    def cublasLtCreate(self, result: Any) -> int:
        return self._make(result, kind="handle")

    def cublasLtMatmulDescCreate(self, result: Any, compute: int, scale: int) -> int:
        return self._make(result, kind="description", **{"0": compute, "1": scale})

    def cublasLtMatrixLayoutCreate(self, result: Any, type: int, rows: int, cols: int, ld: int) -> int:
        return INVALID_VALUE if ld < rows else self._make(result, type=type, rows=rows, cols=cols, ld=ld)

    def cublasLtMatmulPreferenceCreate(self, result: Any) -> int:
        return self._make(result, kind="preference")

    def _destroy(self, number: Any) -> int:
        del self.objects[number.value]
        return SUCCESS

    cublasLtMatmulDescDestroy = cublasLtMatrixLayoutDestroy = cublasLtMatmulPreferenceDestroy = _destroy

    def _set(self, sizes: dict[int, int], number: Any, attribute: int, value: Any, size: int) -> int:
        if sizes.get(attribute) != size:
            return INVALID_VALUE
        self.objects[number.value][str(attribute)] = value._obj.value
        return SUCCESS

    def cublasLtMatmulDescSetAttribute(self, *args: Any) -> int:
        return self._set(_DESC, *args)

    def cublasLtMatmulPreferenceSetAttribute(self, *args: Any) -> int:
        return self._set(_PREFERENCE, *args)

    # --- products ---

    def cublasLtMatmulAlgoGetHeuristic(self, handle, desc, a, b, c, d, preference, wanted, best, count) -> int:  # type: ignore[no-untyped-def]
        about, left, result = (self.objects[v.value] for v in (desc, a, d))
        epilogue, depth = about["7"], left["rows"] if about["3"] else left["cols"]
        self.asked.append(epilogue)
        count._obj.value = 0
        halves_only = epilogue & (AUX | GRADIENT | BGRADA | BGRADB) and left["type"] == 1
        if halves_only or self.refuses(result["rows"], result["cols"], depth, epilogue):
            return NOT_SUPPORTED
        chosen = best._obj
        for i, attribute in enumerate(("5", "6", "8")):
            chosen.algorithm.data[i] = self.objects[preference.value].get(attribute, 256)
        for i, attribute in ((3, "8"), (4, "11")):
            chosen.algorithm.data[i] = _alignment(about.get(attribute) or 0)
        chosen.workspace, chosen.state, count._obj.value = 1024, 0, 1
        return SUCCESS

    def cublasLtMatmul(  # type: ignore[no-untyped-def]
        self, handle, desc, alpha, a, layout_a, b, layout_b, beta, c, layout_c, d, layout_d, algorithm, workspace, room, stream
    ) -> int:
        about = self.objects[desc.value]
        left, right, result = (self.objects[v.value] for v in (layout_a, layout_b, layout_d))
        addresses = a, b, d, about.get("8") or 0, about.get("11") or 0
        if any(address % taken for address, taken in zip(addresses, algorithm._obj.data, strict=False)):
            return EXECUTION_FAILED
        if not workspace or room < 1024:
            return EXECUTION_FAILED
        wide = numpy.float64 if left["type"] == 1 else numpy.float32
        first, second = (columns(at, layout).astype(wide) for at, layout in ((a, left), (b, right)))
        first, second = first.T if about["3"] else first, second.T if about["4"] else second
        into = columns(d, result)
        total = alpha._obj.value * (first @ second)
        if total.shape != into.shape:
            return INVALID_VALUE
        if beta._obj.value:
            total += beta._obj.value * columns(c, self.objects[layout_c.value]).astype(wide)
        status = self._finish(about, total, first, second, into)
        if status == SUCCESS:
            self.ran.append((about["7"], beta._obj.value))
        return status

    def _finish(self, about: Any, total: Any, first: Any, second: Any, into: Any) -> int:
        """Apply the epilogue, and store."""
        epilogue, (rows, cols) = about["7"], into.shape
        gradient = epilogue & (GRADIENT | BGRADA | BGRADB)
        if (gradient or epilogue & BIAS) and not about.get("8"):
            return INVALID_VALUE
        if epilogue & BIAS:
            total += memory(about["8"], into.dtype, rows).astype(total.dtype)[:, None]
        if epilogue & AUX:
            ld, address = about.get("12", 0), about.get("11") or 0
            unit = 8 if epilogue & (GELU | DGELU) else 128
            if ld < rows or ld % unit or not address or address % 16:
                return INVALID_VALUE
            total = self._auxiliary(epilogue, total, address, ld, into.dtype)
        elif epilogue & RELU:
            total = numpy.maximum(total, 0)
        elif epilogue & GELU:
            total = gelu(total)[0]
        into[...] = total.astype(into.dtype)
        if gradient:
            size = cols if epilogue & BGRADB else rows
            sums = first.sum(1) if epilogue & BGRADA else second.sum(0) if epilogue & BGRADB else total.sum(1)
            memory(about["8"], into.dtype, size)[...] = sums.astype(into.dtype)
        return SUCCESS

    def _auxiliary(self, epilogue: int, total: Any, address: int, ld: int, dtype: Any) -> Any:
        rows, cols = total.shape
        if epilogue & (RELU | DRELU):
            mask = memory(address, numpy.dtype("u1"), ld * cols // 8).reshape(cols, ld // 8)
            if epilogue & RELU:
                bits = numpy.zeros((cols, ld), bool)
                bits[:, :rows] = total.T > 0
                mask[...] = numpy.packbits(bits, axis=1, bitorder="little")
                return numpy.maximum(total, 0)
            return total * numpy.unpackbits(mask, axis=1, bitorder="little")[:, :rows].T
        entered = numpy.lib.stride_tricks.as_strided(
            memory(address, dtype, ld * (cols - 1) + rows), (rows, cols), (dtype.itemsize, ld * dtype.itemsize)
        )
        if epilogue & GELU:
            entered[...] = total.astype(dtype)
            return gelu(total)[0]
        return total * gelu(entered.astype(total.dtype))[1]


def _alignment(address: int) -> int:
    return min(address & -address or 256, 256)


@contextmanager
def installed(**options: Any) -> Iterator[CublasLt]:
    """The stand-in in place of the library, within the block."""
    from gpugrad.cuda import gemm

    library, found = CublasLt(**options), gemm.find_library
    caches = gemm.plan, gemm.runs_on, gemm._handle, gemm._workspace

    def forget() -> None:
        for cache in caches:
            cache.cache_clear()
        gemm.refused.clear()

    forget()
    gemm.find_library = lambda: library  # type: ignore[assignment]
    try:
        yield library
    finally:
        forget()
        gemm.find_library = found
