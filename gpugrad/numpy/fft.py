"""Fourier transforms on Tensors under NumPy's names and the array API's: see `gpugrad.fft`."""

from __future__ import annotations

from typing import Any

from .namespace import lookup, names

__all__ = names("fft.")


def __getattr__(name: str) -> Any:
    value = globals()[name] = lookup("fft.", name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
