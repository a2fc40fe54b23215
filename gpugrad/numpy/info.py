"""What the array API asks a namespace about itself."""

from __future__ import annotations

from typing import Any

import numpy

from .. import backend
from ..dtypes import isdtype

__all__ = ["__array_namespace_info__"]

_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip


class Info:
    """Capabilities, devices and dtypes; the same on every device."""

    def capabilities(self) -> dict[str, Any]:
        """What a program may rely on."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where new arrays are."""
        return "cpu"

    def devices(self) -> list[str]:
        """All devices that work here."""
        return ["cpu", *(f"cuda:{i}" for i in range(backend.device_count()))]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, numpy.dtype[Any]]:
        """Dtypes of new arrays that are given none."""
        real = backend.default_dtype()
        return {
            "real floating": real,
            "complex floating": numpy.result_type(real, numpy.complex64),
            "integral": numpy.dtype(numpy.int64),
            "indexing": numpy.dtype(numpy.intp),
        }

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, numpy.dtype[Any]]:
        """The standard's dtypes by name, or those of a kind."""
        found = {name: numpy.dtype(name) for name in _DTYPES}
        return {name: dtype for name, dtype in found.items() if kind is None or isdtype(dtype, kind)}


def __array_namespace_info__() -> Info:  # noqa: N807
    """Capabilities, devices and dtypes, as the array API asks for them.

    >>> import gpugrad.numpy as np
    >>> np.__array_namespace_info__().default_dtypes()["real floating"]
    dtype('float32')
    """
    return Info()
