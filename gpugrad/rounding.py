"""How ops treat bfloat16: they compute in float32 and round once, at the end.

So an op on bfloat16 is the op on float32 with rounded inputs and a rounded result: sums lose nothing on the way, and what
ml_dtypes or CuPy lack is no gap. The casts are recorded, so derivatives of any order are those of the float32 op, rounded too.
Ops that only move elements keep the dtype throughout. On a GPU, ops with CUDA kernels and matrix products do so too: those sum in
float32 by themselves.
"""

from __future__ import annotations

from typing import Any

import numpy

from . import dispatch, half
from .backend import first_on_gpu, namespace_of
from .cuda import takes_bfloat16
from .modes import mode_with
from .mutations import log_mutation
from .op import Op, registry
from .ops.indexing import is_basic

__all__ = ["rounded"]

_MOVES = {
    "alias", "astype", "cast", "copy", "expand_dims", "moveaxis", "reshape", "setitem_", "squeeze", "swapaxes", "to_device",
    "transpose",
}  # fmt: skip
"""Ops whose elements only change their places, in the backward too: the transpose of `broadcast_to` is a sum."""

_NEIGHBOURS = {"nextafter", "spacing"}
"""Ops that ask for the numbers of a dtype themselves."""


def rounded(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...] | None, Any]:
    """The inputs to go on with; or None and the result, where an op had to be run in float32."""
    halves = [half.is_half(x) for x in inputs]
    if not any(halves) or _as_it_is(op, inputs, params):
        return inputs, None
    if op.mutates is not None:
        _update(op, inputs, params)
        return None, None
    wide = tuple([_wide(x) if narrow else x for x, narrow in zip(inputs, halves, strict=True)])
    with mode_with(autocast=None):
        result = dispatch.apply(op, wide, params)
    others = [x.dtype for x, narrow in zip(inputs, halves, strict=True) if not narrow and hasattr(x, "dtype")]
    if any(map(half.is_inexact, others)) or params.get("dtype") is not None:
        return None, result
    return None, result if op.name == "float_power" else _narrowed(result)  # that is float64 by definition


def _as_it_is(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> bool:
    """Whether an op is run on bfloat16 itself."""
    name = op.name
    if name in _MOVES or name in _NEIGHBOURS or (name == "getitem" and is_basic(params["index"])):
        return True
    like = first_on_gpu(inputs)
    if like is None or not takes_bfloat16(name, namespace_of(like)):
        return False
    others = [x for x in inputs if hasattr(x, "dtype") and not half.is_half(x)]
    return not any(x.ndim and half.is_inexact(x.dtype) for x in others)


def _wide(x: Any) -> Any:
    """An input in float32, by a cast that is on the tape."""
    return registry["astype"].public(x, numpy.float32)


def _narrowed(result: Any) -> Any:
    """Floating results as bfloat16: in float32, or in float64 where integers took part."""
    if isinstance(result, tuple):
        parts = [_narrowed(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if isinstance(result, dispatch.Tensor) and result.dtype.kind == "f":
        return registry["astype"].public(result, half.bfloat16())
    return result


def _update(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
    """Run an update on copies in float32, and round what it made back into the arrays."""
    raw = [getattr(x, "_array", x) for x in inputs]
    wide = [x.astype(numpy.float32) if half.is_half(x) else x for x in raw]
    dispatch.apply(op, tuple(wide), params)
    assert op.mutates is not None
    for i in op.mutates(len(raw)):
        if half.is_half(raw[i]):
            raw[i][...] = wide[i].astype(raw[i].dtype)
            log_mutation([raw[i]])


def _prepare() -> None:
    dispatch.autocasting.insert(0, rounded)


half.when_asked.append(_prepare)
