"""bfloat16: the upper half of a float32, with its range and 8 bits of precision. NumPy lacks it; ml_dtypes has it.

ml_dtypes is imported when bfloat16 is first asked for, by name or by an array of it. Its dtype is an extension of NumPy's, and
is of no floating `kind` there, so questions about dtypes are asked here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy

__all__ = [
    "asked_for",
    "bfloat16",
    "dtype_from",
    "in_float32",
    "is_bfloat16",
    "is_floating",
    "is_half",
    "is_inexact",
    "promoted",
    "when_asked",
    "widened",
]

asked_for = False
"""Whether arrays of bfloat16 may be about."""

when_asked: list[Callable[[], None]] = []
"""What is to be done when that becomes true."""


def bfloat16() -> numpy.dtype[Any]:
    """The dtype, ml_dtypes'.

    Raises
    ------
    ImportError
        If ml_dtypes is not installed.
    """
    global asked_for
    try:
        dtype = numpy.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError as error:
        raise ImportError("bfloat16 needs the ml_dtypes package: pip install gpugrad[bfloat16]", name="ml_dtypes") from error
    if not asked_for:
        asked_for = True
        for prepare in when_asked:
            prepare()
    return dtype


def is_bfloat16(dtype: numpy.dtype[Any]) -> bool:
    """Whether a dtype is bfloat16; of NumPy's own, none has this letter."""
    return dtype.char == "E"


def is_floating(dtype: numpy.dtype[Any]) -> bool:
    """Whether a dtype is of real floating numbers."""
    return dtype.kind == "f" or dtype.char == "E"


def is_inexact(dtype: numpy.dtype[Any]) -> bool:
    """Whether a dtype is of real or complex floating numbers: those that have derivatives."""
    return dtype.kind in "fc" or dtype.char == "E"


def is_half(value: Any) -> bool:
    """Whether a value is an array, or a Tensor, of bfloat16."""
    return getattr(getattr(value, "dtype", None), "char", None) == "E"


def dtype_from(value: Any) -> numpy.dtype[Any]:
    """A dtype from a dtype-like; ``"bfloat16"`` is ml_dtypes'."""
    if isinstance(value, str) and value == "bfloat16":
        return bfloat16()
    dtype: numpy.dtype[Any] = numpy.dtype(value)
    return bfloat16() if dtype.char == "E" else dtype


def promoted(dtypes: Iterable[numpy.dtype[Any]]) -> numpy.dtype[Any]:
    """The dtype that arrays have together, by NumPy's rules; bfloat16 stays with integers, and is float32 with float16."""
    dtypes = list(dtypes)
    others = [dtype for dtype in dtypes if dtype.char != "E"]
    if len(others) == len(dtypes):
        return numpy.result_type(*dtypes)
    floating = [dtype for dtype in others if dtype.kind in "fc"]
    return numpy.result_type(numpy.float32, *floating) if floating else bfloat16()


def widened(value: Any) -> Any:
    """Raw arrays of bfloat16, also in a tuple or list, in float32; all else as it is."""
    if type(value) in (tuple, list):
        return type(value)(map(widened, value))
    return value.astype(numpy.float32) if is_half(value) else value


def in_float32(function: Callable[..., Any], /, *arrays: Any, **params: Any) -> Any:
    """A forward on raw arrays: where some are bfloat16, in float32 and rounded."""
    if not any(map(is_half, _flat(arrays))):
        return function(*arrays, **params)
    out = function(*map(widened, arrays), **params)
    return (_narrowed(out[0]), *out[1:]) if isinstance(out, tuple) else _narrowed(out)


def _flat(values: Any) -> list[Any]:
    return [v for value in values for v in (value if type(value) in (tuple, list) else (value,))]


def _narrowed(out: Any) -> Any:
    return out.astype(bfloat16()) if getattr(out, "dtype", None) == numpy.float32 else out
