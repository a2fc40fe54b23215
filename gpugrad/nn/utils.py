"""Helpers around gradients and parameters (`torch.nn.utils`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from ..errors import GradientError, ShapeError, describe
from ..linalg import vector_norm
from ..modes import no_grad
from ..ops import elementwise, shape
from ..ops.updates import assign_, multiply_
from ..tensor import Tensor, asarray

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def _gradients(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    grads = [p.grad for p in ([parameters] if isinstance(parameters, Tensor) else parameters)]
    present = [g for g in grads if g is not None]
    if not present:
        raise ValueError(f"{name}: no parameter has a gradient; call backward() first")
    return present


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients down together so that their joint norm is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
    max_norm : float
    norm_type : float
        2 is the Euclidean norm, ``inf`` the largest magnitude.
    error_if_nonfinite : bool
        Raise `GradientError` where the norm is nan or infinite, instead of spreading that.
    foreach : bool, optional
        PyTorch's, of no effect.

    Returns
    -------
    Tensor
        The norm before scaling, 0-d.

    Examples
    --------
    >>> import gpugrad as gg
    >>> p = gg.tensor([3.0, 4.0], requires_grad=True)
    >>> (p * p).sum().backward()
    >>> gg.nn.utils.clip_grad_norm_([p], 1.0)
    tensor(10.)
    >>> p.grad
    tensor([0.6, 0.8])
    """
    grads = _gradients("clip_grad_norm_", parameters)
    total = vector_norm(shape.stack([vector_norm(g, ord=norm_type) for g in grads]), ord=norm_type)
    if error_if_nonfinite and not numpy.isfinite(total.item()):
        raise GradientError(f"clip_grad_norm_: the norm of the gradients is {total.item()}; they were left as they are")
    scale = elementwise.minimum(max_norm / (total + 1e-6), 1.0)
    for g in grads:
        multiply_(g, scale)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients into ``[-clip_value, clip_value]``.

    >>> import gpugrad as gg
    >>> p = gg.tensor([3.0, 0.25], requires_grad=True)
    >>> (p * p).sum().backward()
    >>> gg.nn.utils.clip_grad_value_([p], 1.0)
    >>> p.grad
    tensor([1. , 0.5])
    """
    for g in _gradients("clip_grad_value_", parameters):
        assign_(g, elementwise.clip(g, -clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened and joined.

    >>> import gpugrad as gg
    >>> gg.nn.utils.parameters_to_vector([gg.ones((2, 1)), gg.zeros(3)])
    tensor([1., 1., 0., 0., 0.])
    """
    return shape.concatenate([shape.reshape(p, (-1,)) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Write the pieces of a vector into parameters: the inverse of `parameters_to_vector`.

    >>> import gpugrad as gg
    >>> a, b = gg.ones((1, 2)), gg.zeros(3)
    >>> gg.nn.utils.vector_to_parameters(gg.arange(5.0), [a, b])
    >>> a, b
    (tensor([[0., 1.]]), tensor([2., 3., 4.]))
    """
    vector, targets = asarray(vec), list(parameters)
    size = sum(p.size for p in targets)
    if vector.shape != (size,):
        raise ShapeError(f"vector_to_parameters: got {describe(vector)} for parameters of {size} elements")
    start = 0
    for p in targets:
        assign_(p, shape.reshape(vector[start : start + p.size], p.shape))
        start += p.size
