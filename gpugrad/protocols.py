"""NumPy's protocols: a NumPy ufunc called on a Tensor is the op that declared it."""

from __future__ import annotations

from typing import Any

import numpy

from .errors import DTypeError, format_site, user_site
from .op import registry
from .tensor import Tensor

_by_ufunc = {getattr(numpy, op.ufunc): op.public for op in registry.values() if op.ufunc is not None} | {
    numpy.matmul: registry["matmul"].public
}


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    function = _by_ufunc.get(ufunc)
    if function is None or method != "__call__" or kwargs:
        what = f"numpy.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        options = f" with {', '.join(kwargs)}=" if kwargs else ""
        raise DTypeError(
            f"{what}{options} has no rule for Tensors, and its gradient must not be lost unseen\n"
            f"  use x.numpy() where no gradient is wanted, or a gpugrad function\n  at {format_site(user_site())}"
        )
    return function(*inputs)


Tensor.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
