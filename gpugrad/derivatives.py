"""Whole derivatives from the two walks: jacobian, hessian, hvp, elementwise_grad. Each is a short composition."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .errors import GradientError, describe, format_site, user_site
from .ops import reduction, shape
from .tensor import Tensor
from .transforms import grad, jvp, vjp

__all__ = ["elementwise_grad", "hessian", "hvp", "jacobian"]


def elementwise_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The derivative of a function that acts on each element alone, at every element (HIPS autograd's `elementwise_grad`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.elementwise_grad(gg.tanh)(np.array([0.0, 1.0]))
    array([1.  , 0.42])
    """
    return grad(lambda *args, **kwargs: reduction.sum(function(*args, **kwargs)), argnums)


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Product of a Hessian and a direction, forward over reverse; no Hessian is formed.

    Parameters
    ----------
    function : callable
        Returns one element.
    primals, tangents : tuples
        The arguments, and one direction for each.

    Returns
    -------
    array, or tuple of arrays where there are several arguments

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.hvp(lambda x: (x**3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(function, argnums), primals, tangents)[1]


def jacobian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The matrix of all derivatives of a function, as an array of shape ``value.shape + argument.shape``.

    By rows in reverse mode, or by columns in forward mode, whichever are fewer.

    Parameters
    ----------
    function : callable
        Returns an array.
    argnums : int
        By which argument, an array, to differentiate.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def of_one(x: Any) -> Any:
            return function(*args[:argnums], x, *args[argnums:][1:], **kwargs)

        x = args[argnums]
        value, pull = vjp(of_one, x)
        if not hasattr(value, "shape"):
            raise GradientError(
                f"jacobian takes a function that returns one array, this one returned {describe(value)}\n"
                f"  at {format_site(user_site())}"
            )
        in_shape, out_shape = numpy.shape(x), value.shape
        in_size, out_size = int(numpy.prod(in_shape)), int(numpy.prod(out_shape))
        if out_size < in_size:
            rows = [pull(direction)[0] for direction in _basis(out_shape, value.dtype)]
            return _assembled(rows, (*out_shape, *in_shape), 0)
        columns = [jvp(of_one, (x,), (direction,))[1] for direction in _basis(in_shape, getattr(x, "dtype", float))]
        return _assembled(columns, (*out_shape, *in_shape), -1)

    return wrapped


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """All second derivatives, of shape ``argument.shape + argument.shape``: forward over reverse.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.hessian(lambda x: x[0] * x[1] ** 2)(np.array([3.0, 2.0]))
    array([[0., 4.],
           [4., 6.]])
    """
    return jacobian(grad(function, argnums), argnums)


def _basis(of_shape: tuple[int, ...], dtype: Any) -> Any:
    """Arrays that are one at one place and zero elsewhere, for every place in C order."""
    for i in range(int(numpy.prod(of_shape))):
        direction = numpy.zeros(of_shape, dtype)
        direction.flat[i] = 1
        yield direction


def _assembled(parts: list[Any], full_shape: tuple[int, ...], axis: int) -> Any:
    """Rows or columns as one array; differentiable where they are Tensors."""
    if not parts:
        return numpy.zeros(full_shape)
    if any(isinstance(part, Tensor) for part in parts):
        return shape.reshape(shape.stack(parts, axis), full_shape)
    return numpy.stack(parts, axis).reshape(full_shape)
