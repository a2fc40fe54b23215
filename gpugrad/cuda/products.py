"""Matrix products of layers by cuBLASLt, with what comes before and after them in the same launch.

Each function returns NotImplemented for what cuBLASLt is not there for, or was found not to take: shapes, dtypes and
layouts, and widths for which an auxiliary matrix would need padding. The caller then goes by plain products and kernels.
"""

from __future__ import annotations

from typing import Any

from . import gemm
from .gemm import Epilogue

__all__ = ["activated", "affine_gradients", "product", "through_activation"]

_FORWARD = {"relu": (Epilogue.RELU_AUX, Epilogue.RELU), "gelu_tanh": (Epilogue.GELU_AUX, None)}
"""Epilogues of activations, with and without what the backward wants; a ReLU's backward can do with its result."""
_BACKWARD = {"relu": Epilogue.DRELU, "gelu_tanh": Epilogue.DGELU}
_ADD_BIAS, _SUM_COLUMNS = 4, 16
"""Bits of an epilogue."""


def _run(xp: Any, a: Any, b: Any, epilogue: int, vector: Any = None, **options: Any) -> Any:
    """``a @ b`` with an epilogue, and a bias or the room for the gradient of one."""
    arrays = [array for array in (a, b, vector) if array is not None]
    if not all(isinstance(array, xp.ndarray) and array.dtype == a.dtype and array.size for array in arrays):
        return NotImplemented
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or a.dtype.char not in ("efdE" if epilogue == 1 else "efE"):
        return NotImplemented
    if any(array.data.ptr % array.dtype.itemsize for array in arrays) or not gemm.runs_on(a.data.device_id):
        return NotImplemented
    if gemm.problem_of(a, b) is None:  # a copy would be needed, which the plain product knows to make
        return NotImplemented
    try:
        return gemm.matmul(a, b, vector, epilogue, **options)
    except gemm.NoAlgorithmError:
        return NotImplemented


def product(xp: Any, a: Any, b: Any, bias: Any = None) -> Any:
    """``a @ b`` of two matrices, with a bias, by cuBLASLt: in the precision chosen, and capturable, as CuPy's are not."""
    if bias is None:
        return _run(xp, a, b, Epilogue.NONE)
    if bias.shape != getattr(b, "shape", ())[1:] or not bias.flags.c_contiguous:
        return NotImplemented
    return _run(xp, a, b, Epilogue.BIAS, bias)


def activated(xp: Any, x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
    """``activation(x @ weight.T + bias)``, and what its backward wants: a mask, the pre-activation, or None."""
    if activation is None:
        out = product(xp, x, weight.T, bias)
        return out if out is NotImplemented else (out, None)
    if activation not in _FORWARD:
        return NotImplemented
    with_aux, without = (None if e is None else e | (0 if bias is None else _ADD_BIAS) for e in _FORWARD[activation])
    assert with_aux is not None
    aux = gemm.aux_for(xp, with_aux, (x.shape[0], weight.shape[0]), x.dtype)
    out = NotImplemented if aux is None else _run(xp, x, weight.T, with_aux, bias, aux=aux)
    if out is NotImplemented and without is not None:
        aux, out = None, _run(xp, x, weight.T, without, bias)
    return out if out is NotImplemented else (out, aux)


def through_activation(xp: Any, t: Any, weight: Any, activation: str, aux: Any, wants_bias: bool) -> Any:
    """The cotangent of what enters the activation before a layer, from that of the layer's result; and its column sums."""
    if activation == "gelu_tanh" and weight.shape[1] % 8:
        return NotImplemented
    sums = xp.empty(weight.shape[1], t.dtype) if wants_bias else None
    out = _run(xp, t, weight, _BACKWARD[activation] | (_SUM_COLUMNS if wants_bias else 0), sums, aux=aux)
    return out if out is NotImplemented else (out, sums)


def affine_gradients(xp: Any, t: Any, x: Any, wants_bias: bool, into: Any = None) -> Any:
    """The cotangents of a layer's weight, added to `into` where given, and of its bias: ``t.T @ x`` and ``t.sum(0)``."""
    sums = xp.empty(t.shape[1], t.dtype) if wants_bias else None
    options = {} if into is None else {"out": into, "accumulate": True}
    out = _run(xp, t.T, x, Epilogue.BGRADB if wants_bias else Epilogue.NONE, sums, **options)
    return out if out is NotImplemented else (out, sums)
