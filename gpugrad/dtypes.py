"""Dtypes and questions about them, under the names of the array API and NumPy."""

from __future__ import annotations

import importlib
from typing import Any

import numpy
from numpy import (
    bool,  # noqa: A004
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from numpy.typing import DTypeLike

from . import half

__all__ = [
    "bool",
    "can_cast",
    "complex64",
    "complex128",
    "finfo",
    "float16",
    "float32",
    "float64",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "result_type",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


def _dtype(value: Any) -> numpy.dtype[Any]:
    """A dtype, or that of an array."""
    return value.dtype if _is_array(value) else half.dtype_from(value)


def _is_array(value: Any) -> Any:
    return hasattr(value, "shape") and not isinstance(value, type | numpy.dtype)


def finfo(type: Any, /) -> Any:
    """Limits of a floating dtype, or of that of an array (`numpy.finfo`).

    >>> import gpugrad as gg
    >>> float(gg.finfo(gg.float32).eps) == 2**-23
    True
    """
    dtype = _dtype(type)
    return importlib.import_module("ml_dtypes").finfo(dtype) if half.is_bfloat16(dtype) else numpy.finfo(dtype)


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype, or of that of an array (`numpy.iinfo`).

    >>> import gpugrad as gg
    >>> gg.iinfo("int8").max
    127
    """
    return numpy.iinfo(_dtype(type))


def isdtype(dtype: DTypeLike, kind: Any) -> Any:
    """Whether a dtype is of a kind (`numpy.isdtype`), such as ``"real floating"`` or a tuple of kinds.

    >>> import gpugrad as gg
    >>> gg.isdtype(gg.float32, ("integral", "real floating"))
    True
    """
    dtype = half.dtype_from(dtype)
    if not half.is_bfloat16(dtype):
        return numpy.isdtype(dtype, kind)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any(k in ("real floating", "numeric") if isinstance(k, str) else half.dtype_from(k) == dtype for k in kinds)


def can_cast(from_: Any, to: DTypeLike, /, casting: Any = "safe") -> Any:
    """Whether a dtype, or that of an array, can be cast (`numpy.can_cast`).

    >>> import gpugrad as gg
    >>> gg.can_cast(gg.int32, gg.float64)
    True
    """
    given, wanted = _dtype(from_), half.dtype_from(to)
    if given != wanted and casting == "same_kind":  # for NumPy, bfloat16 is a kind of its own
        given, wanted = (numpy.dtype(float16) if half.is_bfloat16(d) else d for d in (given, wanted))
    return numpy.can_cast(given, wanted, casting)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that arrays, numbers and dtypes have together (`numpy.result_type`).

    >>> import gpugrad as gg
    >>> gg.result_type(gg.ones(3), 1.0)
    dtype('float32')
    """
    given = [x.dtype if _is_array(x) else half.dtype_from(x) if isinstance(x, str) else x for x in arrays_and_dtypes]
    typed = [numpy.dtype(x) for x in given if not isinstance(x, int | float | complex)]
    if not any(map(half.is_bfloat16, typed)):
        return numpy.result_type(*given)
    common = half.promoted(typed)
    return numpy.result_type(common, complex64) if any(isinstance(x, complex) for x in given) else common
