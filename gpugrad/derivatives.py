"""Whole derivatives from the two walks: jacobian, hessian, hvp, elementwise_grad. Each is a short composition."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from . import backend
from .errors import GradientError, format_site, user_site
from .interpret import TENSORS, push_tangents, raw_for
from .ops import complex_numbers, reduction, shape
from .tape import mode_with
from .tensor import Tensor, wrap
from .transforms import _as_output, _positions, _Trace, grad, jvp
from .tree import flatten

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


def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """All derivatives of a function, as arrays of shape ``value.shape + argument.shape``.

    The function runs once. Its tape is then walked back once per element of the value, or forward once per element of the
    arguments, whichever are fewer; each walk gives a row or a column.

    Parameters
    ----------
    function : callable
        Returns an array, or a nested tuple, list or dict of arrays.
    argnums : int or sequence of int
        By which positional arguments to differentiate. Each may be a nested tuple, list or dict of floating arrays.

    Returns
    -------
    callable
        With the arguments of `function`; returns an array, or, as `jax.jacobian`, the structure of the value with, in place
        of each array, a tuple over `argnums` (where that is a sequence) of the structure of the argument.

    Raises
    ------
    GradientError
        For a complex value of a complex argument, if the function is not holomorphic: then no complex number is its
        derivative.

    Notes
    -----
    For a complex value the entries are its complex derivatives. For a real value of a complex argument z = x + iy they are,
    as in `grad`, derivatives by x plus i times those by y.

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
        positions = _positions(argnums, len(args), "jacobian")
        leaves, rebuild = flatten([args[i] for i in positions])
        trace = _Trace("jacobian", leaves)
        inputs = list(args)
        for position, value in zip(positions, rebuild(list(trace.aliases)), strict=True):
            inputs[position] = value
        values, rebuild_out = flatten(trace.run(function, inputs, kwargs))
        outputs = [_as_output("jacobian", value) for value in values]
        fewer_rows = sum(_directions(o) for o in outputs) < sum(_directions(a) for a in trace.aliases)
        blocks = (_by_rows if fewer_rows else _by_columns)(trace, outputs)

        def inside(block: list[Any]) -> Any:
            parts = rebuild(block)
            return parts[0] if isinstance(argnums, int) else tuple(parts)

        return rebuild_out([inside(block) for block in blocks])

    return wrapped


def hessian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """All second derivatives, of shape ``argument.shape + argument.shape``: forward over reverse.

    Parameters
    ----------
    function : callable
        Returns one element.
    argnums : int or sequence of int
        By which positional arguments to differentiate. Each may be a nested tuple, list or dict of floating arrays.

    Returns
    -------
    callable
        Returns an array; for several or nested arguments their structure, with that structure again in place of each array
        (`jax.hessian`).

    Raises
    ------
    GradientError
        For a complex argument, if the gradient is not a holomorphic function of it: take the real and the imaginary part
        as two arguments then.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.hessian(lambda x, y: x * y**2, (0, 1))(3.0, 2.0)
    ((np.float64(0.0), np.float64(4.0)), (np.float64(4.0), np.float64(6.0)))
    """
    return jacobian(grad(function, argnums), argnums)


def _directions(tensor: Tensor) -> int:
    """How many real directions an array has."""
    return tensor.size * (2 if tensor.dtype.kind == "c" else 1)


def _basis(like: Tensor, scale: complex = 1) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Every index, and an array that is `scale` there and zero elsewhere."""
    for index in numpy.ndindex(like.shape):
        direction = numpy.zeros(like.shape, like.dtype)
        direction[index] = scale
        direction = backend.beside(direction, like._array)
        yield index, direction


def _by_rows(trace: _Trace, outputs: list[Tensor]) -> list[list[Any]]:
    """For each output the derivatives by each leaf: reverse mode."""
    blocks = []
    for output in outputs:
        is_complex = output.dtype.kind == "c"
        rows: list[list[Any]] = [[] for _ in trace.aliases]
        turned: list[list[Any]] = [[] for _ in trace.aliases]
        for (_, direction), (_, quarter) in zip(_basis(output), _basis(output, 1j if is_complex else 0), strict=True):
            for row, gradient in zip(rows, trace.pull([output], [direction], retain=True), strict=True):
                row.append(gradient)
            if is_complex:
                for row, gradient in zip(turned, trace.pull([output], [quarter], retain=True), strict=True):
                    row.append(gradient)
        block = []
        for leaf, row, other in zip(trace.aliases, rows, turned, strict=True):
            part = _assembled(trace, row, (*output.shape, *leaf.shape), 0, leaf)
            if is_complex:  # rows of the real part, and of the imaginary part
                imaginary = _assembled(trace, other, (*output.shape, *leaf.shape), 0, leaf)
                if leaf.dtype.kind == "c":
                    _check_holomorphic(imaginary, part * 1j)
                    part = complex_numbers.conjugate(part)
                else:
                    part = part + imaginary * 1j
            block.append(trace.out(part))
        blocks.append(block)
    return blocks


def _by_columns(trace: _Trace, outputs: list[Tensor]) -> list[list[Any]]:
    """For each output the derivatives by each leaf: forward mode."""
    blocks: list[list[Any]] = [[] for _ in outputs]
    for number, leaf in enumerate(trace.aliases):
        columns: list[list[Any]] = [[] for _ in outputs]
        turned: list[list[Any]] = [[] for _ in outputs]
        is_complex = leaf.dtype.kind == "c"
        for (_, direction), (_, quarter) in zip(_basis(leaf), _basis(leaf, 1j if is_complex else 0), strict=True):
            for column, tangent in zip(columns, _pushed(trace, outputs, number, direction), strict=True):
                column.append(tangent)
            if is_complex:
                for column, tangent in zip(turned, _pushed(trace, outputs, number, quarter), strict=True):
                    column.append(tangent)
        for block, output, column, other in zip(blocks, outputs, columns, turned, strict=True):
            part = _assembled(trace, column, (*output.shape, *leaf.shape), -1, output)
            if is_complex:
                quarter_part = _assembled(trace, other, (*output.shape, *leaf.shape), -1, output)
                if output.dtype.kind == "c":
                    _check_holomorphic(quarter_part, part * 1j)
                else:
                    part = part + quarter_part * 1j
            block.append(trace.out(part))
    return blocks


def _pushed(trace: _Trace, outputs: list[Tensor], number: int, direction: Any) -> list[Any]:
    """The tangents of the outputs for one direction of one leaf; the tape stays."""
    raw = not trace.nested and not trace.recorded
    known: dict[Any, Any] = {trace.nodes[number]: direction if raw else wrap(direction)}
    roots = [output._node for output in outputs if output._node is not None]
    with mode_with(grad=trace.nested):
        push_tangents(raw_for(direction) if raw else TENSORS, roots, known, trace.floor)
    return [known[output._node] if output._node in known else trace.zeros(output) for output in outputs]


def _assembled(trace: _Trace, parts: list[Any], full_shape: tuple[int, ...], axis: int, like: Tensor) -> Tensor:
    """Rows or columns as one Tensor, on the tape where they are."""
    if not parts:
        return wrap(backend.made_beside(like._array, "zeros", full_shape, like.dtype))
    with mode_with(grad=trace.nested):
        return shape.reshape(shape.stack([p if isinstance(p, Tensor) else wrap(p) for p in parts], axis), full_shape)


def _check_holomorphic(found: Tensor, expected: Tensor) -> None:
    """Raise unless a turn of the argument by i turns the value by i."""
    difference = abs((found.detach() - expected.detach())._array)
    scale = float(abs(expected._array).max()) if expected.size else 0.0
    if difference.size and float(difference.max()) > 1e3 * float(numpy.finfo(found.dtype).eps) * (
        scale + float(difference.max())
    ):
        raise GradientError(
            "jacobian: the function takes complex numbers to complex numbers and is not holomorphic, so no complex number is "
            "its derivative\n  take real and imaginary parts as arguments or values of their own: "
            f"lambda x, y: f(x + 1j * y)\n  at {format_site(user_site())}"
        )
