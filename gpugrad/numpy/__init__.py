"""NumPy's names on Tensors by one import, and the namespace of the array API standard, version 2024.12.

>>> import gpugrad.numpy as np
>>> x = np.linspace(0, 1, 3)
>>> np.sum(np.sin(x), axis=0, keepdims=True).shape
(1,)

Every name takes NumPy's arguments, and those of the array API where it has more; results are Tensors. Names are made when
they are first asked for, from the table that answers NumPy's own functions on Tensors. What is left out says so: the
AttributeError tells what to do instead.

New arrays without a dtype have `gpugrad.default_dtype()`, which is float32 unless set otherwise, not NumPy's float64.
"""

from __future__ import annotations

import importlib
from typing import Any

from .info import __array_namespace_info__ as __array_namespace_info__
from .namespace import lookup, names

__array_api_version__ = "2024.12"
__all__ = ["__array_api_version__", "__array_namespace_info__", *names("")]


def __getattr__(name: str) -> Any:
    if name in ("fft", "linalg"):
        return importlib.import_module(f"{__name__}.{name}")
    value = globals()[name] = lookup("", name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
