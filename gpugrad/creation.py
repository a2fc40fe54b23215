"""Functions that make tensors from shapes and numbers, as NumPy's; `dtype` None is the default dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import DTypeLike

from . import backend
from .tensor import Tensor, asarray, wrap

__all__ = ["arange", "empty", "eye", "full", "full_like", "linspace", "ones", "ones_like", "zeros", "zeros_like"]

Shape = int | tuple[int, ...] | list[int]


def _made(make: Callable[[Any], Any], device: str | None, requires_grad: bool) -> Tensor:
    result = wrap(backend.to_device(make(numpy), device))
    return result.requires_grad_() if requires_grad else result


def zeros(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros (`numpy.zeros`).

    >>> import gpugrad as gg
    >>> gg.zeros((2,))
    tensor([0., 0.])
    """
    return _made(lambda xp: xp.zeros(shape, dtype or backend.default_dtype()), device, requires_grad)


def ones(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones (`numpy.ones`).

    >>> import gpugrad as gg
    >>> gg.ones((2,))
    tensor([1., 1.])
    """
    return _made(lambda xp: xp.ones(shape, dtype or backend.default_dtype()), device, requires_grad)


def empty(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Whatever was in the memory (`numpy.empty`).

    >>> import gpugrad as gg
    >>> gg.empty((2, 3)).shape
    (2, 3)
    """
    return _made(lambda xp: xp.empty(shape, dtype or backend.default_dtype()), device, requires_grad)


def full(
    shape: Shape, fill_value: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere (`numpy.full`).

    >>> import gpugrad as gg
    >>> gg.full((2,), 7.0)
    tensor([7., 7.])
    """
    if dtype is None and isinstance(fill_value, float):
        dtype = backend.default_dtype()
    return _made(lambda xp: xp.full(shape, fill_value, dtype), device, requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """Evenly spaced numbers below `stop` (`numpy.arange`).

    >>> import gpugrad as gg
    >>> gg.arange(3)
    tensor([0, 1, 2])
    """
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = backend.default_dtype()
    first, last = (0, start) if stop is None else (start, stop)
    return _made(lambda xp: xp.arange(first, last, step, dtype=dtype), device, False)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop` (`numpy.linspace`).

    >>> import gpugrad as gg
    >>> gg.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    return _made(
        lambda xp: xp.linspace(start, stop, num, endpoint=endpoint, dtype=dtype or backend.default_dtype()), device, False
    )


def eye(n: int, m: int | None = None, k: int = 0, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones on a diagonal, zeros elsewhere (`numpy.eye`).

    >>> import gpugrad as gg
    >>> gg.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _made(lambda xp: xp.eye(n, m, k=k, dtype=dtype or backend.default_dtype()), device, False)


def _like(name: str, x: Any, *args: Any, dtype: DTypeLike | None) -> Tensor:
    array = asarray(x)._array
    return wrap(getattr(backend.namespace_of(array), name)(array, *args, dtype=dtype))


def zeros_like(x: Any, dtype: DTypeLike | None = None) -> Tensor:
    """Zeros with the shape, dtype and device of `x` (`numpy.zeros_like`).

    >>> import gpugrad as gg
    >>> gg.zeros_like([1.0, 2.0])
    tensor([0., 0.])
    """
    return _like("zeros_like", x, dtype=dtype)


def ones_like(x: Any, dtype: DTypeLike | None = None) -> Tensor:
    """Ones with the shape, dtype and device of `x` (`numpy.ones_like`).

    >>> import gpugrad as gg
    >>> gg.ones_like([1.0, 2.0])
    tensor([1., 1.])
    """
    return _like("ones_like", x, dtype=dtype)


def full_like(x: Any, fill_value: Any, dtype: DTypeLike | None = None) -> Tensor:
    """One value everywhere, with the shape, dtype and device of `x` (`numpy.full_like`).

    >>> import gpugrad as gg
    >>> gg.full_like([1.0, 2.0], 3.0)
    tensor([3., 3.])
    """
    return _like("full_like", x, fill_value, dtype=dtype)
