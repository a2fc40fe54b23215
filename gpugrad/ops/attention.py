"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from .. import backend, half
from ..errors import op_error
from ..op import ArrayLike, as_tensor, as_tensors
from . import activation, dropout, elementwise, linalg, reduction
from . import shape as shapes


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """``softmax(query @ key.T * scale + mask) @ value`` (`torch.nn.functional.scaled_dot_product_attention`).

    Parameters
    ----------
    query : array of shape (..., L, E)
    key : array of shape (..., S, E)
    value : array of shape (..., S, V)
    attn_mask : array, optional
        Of a shape that is broadcast to (..., L, S). Booleans say which keys a query may see; floats are added to the scores.
        A query that may see none gets zeros.
    dropout_p : float
        Share of the weights that are set to zero, at random; 0 when not training.
    is_causal : bool
        Whether query i sees the keys up to i only.
    scale : float, optional
        ``1 / sqrt(E)`` if left out.

    >>> import gpugrad as gg
    >>> x = gg.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> gg.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    tensor([[1.    , 0.    ],
            [0.3302, 0.6698]])
    """
    query, key, value = as_tensors(query, key, value)
    try:
        _check(query, key, value, attn_mask, dropout_p, is_causal)
        scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
        scores = linalg.matmul(query * scale, shapes.swapaxes(key, -1, -2))
        if attn_mask is not None:
            weights = _masked(scores, as_tensor(attn_mask))
        else:
            weights = activation.softmax(scores + _causal(scores) if is_causal else scores, -1)
        return linalg.matmul(dropout.dropout(weights, dropout_p), value)
    except ValueError as error:
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        named = {"query": query, "key": key, "value": value, "attn_mask": attn_mask}
        raise op_error("scaled_dot_product_attention", tuple(named), tuple(named.values()), options, error) from None


def _check(query: Any, key: Any, value: Any, mask: Any, dropout_p: float, is_causal: bool) -> None:
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ValueError("query must be (..., L, E), key (..., S, E) and value (..., S, V)")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError("query and key must have as many features, and key and value be as many: (..., S, E) and (..., S, V)")
    if is_causal and mask is not None:
        raise ValueError("give either attn_mask or is_causal=True")
    if not 0 <= dropout_p <= 1:
        raise ValueError("dropout_p must be in 0..1")


def _causal(scores: Any) -> Any:
    """0 for the keys up to a query's own, -inf for those after it."""
    xp = backend.namespace_of(scores._array)
    with backend.on_device_of(scores._array):
        return as_tensor(xp.where(xp.tri(*scores.shape[-2:], dtype=bool), 0, -xp.inf).astype(scores.dtype))


def _masked(scores: Any, mask: Any) -> Any:
    """Softmax over the keys that are to be seen; a row of which none is, is zero, not nan."""
    if mask.dtype == bool:
        seen, bias = mask, elementwise.where(mask, 0.0, -math.inf).astype(scores.dtype)
    elif half.is_floating(mask.dtype):
        seen, bias = mask > -math.inf, mask
    else:
        raise ValueError(f"attn_mask must be boolean or floating, got {mask.dtype}")
    alive = reduction.any(seen, axis=-1, keepdims=True)
    weights = activation.softmax(scores + elementwise.where(alive, bias, 0.0), -1)
    return weights * alive.astype(scores.dtype)


__all__ = ["scaled_dot_product_attention"]
