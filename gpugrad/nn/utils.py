"""Helpers around gradients (`torch.nn.utils`)."""

from __future__ import annotations

from collections.abc import Iterable

from ..ops import elementwise, reduction
from ..ops.updates import multiply_
from ..tape import no_grad
from ..tensor import Tensor

__all__ = ["clip_grad_norm_"]


@no_grad()
def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients down together so that their joint Euclidean norm is at most `max_norm`.

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
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        raise ValueError("clip_grad_norm_: no parameter has a gradient; call backward() first")
    total = elementwise.sqrt(sum((reduction.sum(elementwise.square(g)) for g in grads[1:]), reduction.sum(grads[0] * grads[0])))
    scale = elementwise.minimum(max_norm / (total + 1e-6), 1.0)
    for g in grads:
        multiply_(g, scale)
    return total
