"""NumPy's protocols: a NumPy function called on a Tensor is the op of its name, or an error, never a lost gradient."""

from __future__ import annotations

import inspect
from typing import Any

import numpy

from .errors import DTypeError, format_site, user_site
from .op import registry
from .ops.linalg import dot
from .tensor import Tensor

_by_ufunc = {getattr(numpy, op.ufunc): op.public for op in registry.values() if op.ufunc is not None} | {
    numpy.matmul: registry["matmul"].public
}


_by_function = {getattr(numpy, name): op.public for name, op in registry.items() if hasattr(numpy, name)} | {
    numpy.dot: dot,
    numpy.shape: lambda a: a.shape,
    numpy.ndim: lambda a: a.ndim,
    numpy.size: lambda a: a.size,
}


def _no_rule(what: str) -> DTypeError:
    return DTypeError(
        f"{what} has no rule for Tensors, and its gradient must not be lost unseen\n"
        f"  use x.numpy() where no gradient is wanted, or a gpugrad function\n  at {format_site(user_site())}"
    )


def _array_function(self: Tensor, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    ours = _by_function.get(function)
    what = f"{function.__module__}.{function.__name__}"
    if ours is None:
        raise _no_rule(what)
    try:
        inspect.signature(ours).bind(*args, **kwargs)
    except TypeError as error:
        raise _no_rule(f"{what} with these arguments ({error})") from None
    return ours(*args, **kwargs)


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    function = _by_ufunc.get(ufunc)
    if function is None or method != "__call__" or kwargs:
        what = f"numpy.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        options = f" with {', '.join(kwargs)}=" if kwargs else ""
        raise _no_rule(f"{what}{options}")
    return function(*inputs)


Tensor.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = _array_function  # type: ignore[attr-defined]
