"""Functions that make tensors from shapes and numbers, as NumPy's; `dtype` None is the default dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import DTypeLike

from . import backend, dlpack, half
from .aligned import aligned_empty
from .errors import DTypeError, OutOfMemoryError, format_site, user_site
from .op import as_tensors, raw
from .ops.elementwise import exp, log, multiply, power
from .ops.shape import broadcast_to, moveaxis
from .ops.shape import copy as copied
from .tensor import Tensor, asarray, wrap

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "geomspace",
    "identity",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "tri",
    "zeros",
    "zeros_like",
]

Shape = int | tuple[int, ...] | list[int]


def _made(make: Callable[[Any], Any], device: str | None, requires_grad: bool) -> Tensor:
    xp, there = backend.on_device(backend.resolve_device(device))
    with there:
        try:
            result = wrap(make(xp))
        except MemoryError as error:
            full = backend.out_of_memory([] if xp is numpy else [xp.empty(0)], error)
            raise OutOfMemoryError(f"{full}\n  at {format_site(user_site())}") from error
    return result.requires_grad_() if requires_grad else result


def _moved(array: Any, device: str | None) -> Tensor:
    """What is computed on the CPU and then moved, so that all devices get the same digits."""
    return wrap(backend.to_device(array, device))


def _default_for(complex_numbers: bool) -> DTypeLike:
    """The default dtype, or the complex one of its precision."""
    return numpy.result_type(backend.default_dtype(), numpy.complex64) if complex_numbers else backend.default_dtype()


def zeros(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros (`numpy.zeros`).

    >>> import gpugrad as gg
    >>> gg.zeros((2,))
    tensor([0., 0.])
    """
    return _made(lambda xp: xp.zeros(shape, half.dtype_from(dtype or backend.default_dtype())), device, requires_grad)


def ones(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones (`numpy.ones`).

    >>> import gpugrad as gg
    >>> gg.ones((2,))
    tensor([1., 1.])
    """
    return _made(lambda xp: xp.ones(shape, half.dtype_from(dtype or backend.default_dtype())), device, requires_grad)


def empty(shape: Shape, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Whatever was in the memory (`numpy.empty`).

    >>> import gpugrad as gg
    >>> gg.empty((2, 3)).shape
    (2, 3)
    """
    kind = half.dtype_from(dtype or backend.default_dtype())
    return _made(lambda xp: (aligned_empty if xp is numpy else xp.empty)(shape, kind), device, requires_grad)


def full(
    shape: Shape, fill_value: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere (`numpy.full`); differentiable by a Tensor.

    >>> import gpugrad as gg
    >>> gg.full((2,), 7.0)
    tensor([7., 7.])
    """
    if isinstance(fill_value, Tensor):
        return copied(broadcast_to(fill_value.to(device or fill_value.device, dtype), shape))
    if dtype is None and isinstance(fill_value, float | complex):
        dtype = _default_for(isinstance(fill_value, complex))
    if not isinstance(fill_value, bool | int | float | complex | numpy.generic):
        made = _moved(numpy.full(shape, fill_value, dtype), device)
        return made.requires_grad_() if requires_grad else made
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
    return _moved(numpy.arange(first, last, step, dtype=dtype), device)


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    axis: int = 0,
    retstep: bool = False,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop` (`numpy.linspace`), along a new axis; differentiable by Tensors.

    >>> import gpugrad as gg
    >>> gg.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        first, last = as_tensors(start, stop)
        steps = numpy.linspace(0, 1, num, endpoint=endpoint).reshape(-1, *(1,) * max(first.ndim, last.ndim))
        like = first if isinstance(start, Tensor) else last
        first, last = first.to(device or like.device), last.to(device or like.device)
        common = numpy.result_type(first.dtype, last.dtype)
        ramp = asarray(steps, common if common.kind in "fc" else "float64", device or like.device)
        out = moveaxis(first * (1 - ramp) + last * ramp, 0, axis)
        out = out if dtype is None else out.astype(dtype)
        parts = num - 1 if endpoint else num
        return (out, (last - first) / parts if parts > 0 else (last - first) * numpy.nan) if retstep else out
    if dtype is None:
        typed = [part.dtype for part in (start, stop) if isinstance(part, numpy.ndarray | numpy.generic)]
        default = _default_for(numpy.iscomplexobj(start) or numpy.iscomplexobj(stop))
        dtype = numpy.result_type(*typed, *(() if any(t.kind in "fc" for t in typed) else (default,))) if typed else default
    made, step = numpy.linspace(start, stop, num, endpoint, retstep=True, dtype=dtype, axis=axis)
    return (_moved(made, device), _moved(numpy.asarray(step, made.dtype), device)) if retstep else _moved(made, device)


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: DTypeLike | None = None, axis: int = 0
) -> Tensor:
    """``base ** linspace(start, stop, num)`` (`numpy.logspace`); differentiable by Tensors among those.

    >>> import gpugrad as gg
    >>> gg.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    out = linspace(start, stop, num, endpoint)
    if numpy.ndim(base):  # it meets the ends, not the steps
        base = asarray(base)
        out = out.reshape((num, *(1,) * (base.ndim + 1 - out.ndim), *out.shape[1:]))
    out = moveaxis(power(base, out), 0, axis)
    return out if dtype is None else out.astype(dtype)


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: DTypeLike | None = None, axis: int = 0
) -> Tensor:
    """`num` numbers from `start` to `stop`, each the same multiple of the last (`numpy.geomspace`), of one sign.

    >>> import gpugrad as gg
    >>> gg.geomspace(1, 4, 3)
    tensor([1., 2., 4.])
    """
    if not isinstance(start, Tensor) and not isinstance(stop, Tensor):
        made = numpy.geomspace(start, stop, num, endpoint, dtype, axis)
        return asarray(made if dtype or backend.is_typed(start) or backend.is_typed(stop) else made.tolist())
    sign = numpy.sign(backend.on_host(raw(start)))
    if not numpy.all(sign * numpy.sign(backend.on_host(raw(stop))) == 1):
        raise ValueError("geomspace: start and stop must be real numbers of the same sign, and not 0")
    out = multiply(backend.beside(sign, raw(start)), exp(linspace(log(abs(start)), log(abs(stop)), num, endpoint)))
    out = moveaxis(out, 0, axis)
    return out if dtype is None else out.astype(dtype)


def eye(n: int, m: int | None = None, k: int = 0, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones on a diagonal, zeros elsewhere (`numpy.eye`).

    >>> import gpugrad as gg
    >>> gg.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _made(lambda xp: xp.eye(n, m, k=k, dtype=half.dtype_from(dtype or backend.default_dtype())), device, False)


def _like(name: str, x: Any, *args: Any, dtype: DTypeLike | None, shape: Any, device: str | None) -> Tensor:
    array = asarray(x)._array
    options = {} if shape is None else {"shape": shape}
    return wrap(backend.to_device(backend.made_beside(array, name, array, *args, dtype=dtype, **options), device))


def zeros_like(x: Any, dtype: DTypeLike | None = None, shape: Any = None, device: str | None = None) -> Tensor:
    """Zeros with the shape, dtype and device of `x` (`numpy.zeros_like`).

    >>> import gpugrad as gg
    >>> gg.zeros_like([1.0, 2.0])
    tensor([0., 0.])
    """
    return _like("zeros_like", x, dtype=dtype, shape=shape, device=device or asarray(x).device)


def ones_like(x: Any, dtype: DTypeLike | None = None, shape: Any = None, device: str | None = None) -> Tensor:
    """Ones with the shape, dtype and device of `x` (`numpy.ones_like`).

    >>> import gpugrad as gg
    >>> gg.ones_like([1.0, 2.0])
    tensor([1., 1.])
    """
    return _like("ones_like", x, dtype=dtype, shape=shape, device=device or asarray(x).device)


def empty_like(x: Any, dtype: DTypeLike | None = None, shape: Any = None, device: str | None = None) -> Tensor:
    """Whatever was in the memory, with the shape, dtype and device of `x` (`numpy.empty_like`).

    >>> import gpugrad as gg
    >>> gg.empty_like([1.0, 2.0]).shape
    (2,)
    """
    return _like("empty_like", x, dtype=dtype, shape=shape, device=device or asarray(x).device)


def full_like(x: Any, fill_value: Any, dtype: DTypeLike | None = None, shape: Any = None, device: str | None = None) -> Tensor:
    """One value everywhere, with the shape, dtype and device of `x` (`numpy.full_like`).

    A `fill_value` that needs a gradient gets it.

    >>> import gpugrad as gg
    >>> gg.full_like([1.0, 2.0], 3.0)
    tensor([3., 3.])
    """
    if isinstance(fill_value, Tensor):
        like = empty_like(x, dtype, shape, device)
        return copied(broadcast_to(fill_value.to(like.device, like.dtype), like.shape))
    return _like("full_like", x, fill_value, dtype=dtype, shape=shape, device=device or asarray(x).device)


def identity(n: int, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """The identity matrix (`numpy.identity`).

    >>> import gpugrad as gg
    >>> gg.identity(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return eye(n, dtype=dtype, device=device)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones on and below a diagonal, zeros above (`numpy.tri`).

    >>> import gpugrad as gg
    >>> gg.tri(2)
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _made(lambda xp: xp.tri(N, M, k, dtype=half.dtype_from(dtype or backend.default_dtype())), device, False)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor that shares the memory of another library's array, by DLPack (`numpy.from_dlpack`).

    Parameters
    ----------
    x : object with ``__dlpack__`` and ``__dlpack_device__``
        Of PyTorch, JAX, CuPy, NumPy; on the CPU or a CUDA GPU.
    device : str, optional
        Moved there afterwards.
    copy : bool, optional
        True for memory of its own, False for an error where the device calls for a copy.

    Raises
    ------
    DTypeError
        If `x` does not speak DLPack or its elements are no numbers.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.from_dlpack(np.array([1.0, 2.0], dtype="float32"))
    tensor([1., 2.])
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise DTypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__ and __dlpack_device__")
    kind = x.__dlpack_device__()[0]
    cpu = int(kind) == 1
    if copy is False and device is not None and (backend.resolve_device(device) == "cpu") != cpu:
        raise ValueError(f"from_dlpack: copy=False, but moving to {device} is a copy")
    array = dlpack.imported(x) if cpu else backend.from_dlpack(x)
    result = wrap(array if device is None else backend.to_device(array, device))
    return asarray(result, copy=True) if copy else result
