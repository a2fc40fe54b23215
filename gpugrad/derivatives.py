"""Whole derivatives from the two walks: jacobian, hessian, hvp, elementwise_grad. Each is a short composition."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from . import backend
from .batching import Batched, batched_values, batches_of
from .errors import GradientError, format_site, user_site
from .interpret import TENSORS, push_tangents, raw_for
from .modes import mode_with
from .op import as_tensor
from .ops import complex_numbers, reduction, shape
from .parts import has_parts
from .tape import ancestors, conjugate, walk
from .tensor import Tensor, wrap
from .transforms import _as_output, _Trace, _traced, grad, jvp
from .tree import flatten

__all__ = ["elementwise_grad", "hessian", "hvp", "jacobian"]

CHUNK_BYTES = 16 << 20
"""So large may the arrays be that a walk in chunks makes of the largest on the tape, unless the caller says otherwise."""


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


def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None) -> Callable[..., Any]:
    """All derivatives of a function, as arrays of shape ``value.shape + argument.shape``.

    The function runs once. Its tape is then walked back for each element of the value, or forward for each element of the
    arguments, whichever are fewer. One walk gives a whole chunk of rows or columns: every array that it makes has an axis
    more, of `chunk_size`, and each op runs once for all of the chunk.

    Parameters
    ----------
    function : callable
        Returns an array, or a nested tuple, list or dict of arrays.
    argnums : int or sequence of int
        By which positional arguments to differentiate. Each may be a nested tuple, list or dict of floating arrays.
    chunk_size : int, optional
        How many rows or columns one walk gives (`torch.func.jacrev`). Less takes less memory, more mostly less time. The
        default is as many as keep `chunk_size` times the largest array on the tape within 16 MiB.

    Returns
    -------
    callable
        With the arguments of `function`; returns an array, or, as `jax.jacobian`, the structure of the value with, in place
        of each array, a tuple over `argnums` (where that is a sequence) of the structure of the argument.

    Raises
    ------
    ValueError
        If `chunk_size` is no positive integer.
    GradientError
        For a complex value of a complex argument, if the function is not holomorphic: then no complex number is its
        derivative.

    Notes
    -----
    For a complex value the entries are its complex derivatives. For a real value of a complex argument z = x + iy they are,
    as in `grad`, derivatives by x plus i times those by y.

    Hooks and the backward of a `Function` see one gradient at a time, and so run once for each row.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    >>> gg.jacobian(gg.cumsum, chunk_size=2)(np.ones(3))
    array([[1., 0., 0.],
           [1., 1., 0.],
           [1., 1., 1.]])
    """
    if chunk_size is not None and (not isinstance(chunk_size, int | numpy.integer) or chunk_size < 1):
        raise ValueError(
            f"jacobian: chunk_size must be a positive integer, or None for what fits into {CHUNK_BYTES >> 20} MiB; "
            f"got {chunk_size!r}\n  at {format_site(user_site())}"
        )

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        trace, rebuild, result = _traced("jacobian", function, argnums, args, kwargs)
        values, rebuild_out = flatten(result)
        outputs = [_as_output("jacobian", value) for value in values]
        fewer_rows = sum(map(_count, outputs)) < sum(map(_count, trace.aliases))
        chunk = max(CHUNK_BYTES // max(_largest(trace, outputs), 1), 1) if chunk_size is None else chunk_size
        blocks = (_by_rows if fewer_rows else _by_columns)(trace, outputs, chunk)

        def inside(block: list[Any]) -> Any:
            parts = rebuild(block)
            return parts[0] if isinstance(argnums, int) else tuple(parts)

        return rebuild_out([inside(block) for block in blocks])

    return wrapped


def hessian(function: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None) -> Callable[..., Any]:
    """All second derivatives, of shape ``argument.shape + argument.shape``: forward over reverse.

    Parameters
    ----------
    function : callable
        Returns one element.
    argnums : int or sequence of int
        By which positional arguments to differentiate. Each may be a nested tuple, list or dict of floating arrays.
    chunk_size : int, optional
        How many columns one walk gives, as for `jacobian`.

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
    return jacobian(grad(function, argnums), argnums, chunk_size)


def _count(tensor: Tensor) -> int:
    """How many real directions an array has."""
    return tensor.size * (2 if tensor.dtype.kind == "c" else 1)


def _largest(trace: _Trace, outputs: list[Tensor]) -> int:
    """Bytes of the largest array on a tape."""
    nodes = ancestors([output._node for output in outputs if output._node is not None], trace.floor)
    sizes = [math.prod(alias.shape) * alias.dtype.itemsize for alias in trace.aliases]
    for node in nodes:
        results = zip(node.shape, node.dtype, strict=True) if has_parts(node) else ((node.shape, node.dtype),)
        sizes += [math.prod(shape) * dtype.itemsize for shape, dtype in results]
    return max(sizes, default=1)


def _directions(like: Tensor, chunk: int) -> Iterator[Any]:
    """The unit arrays of a shape, up to `chunk` of them at a time along a new first axis."""
    for start in range(0, like.size, chunk):
        count = min(chunk, like.size - start)
        with backend.on_device_of(like._array):
            units = backend.namespace_of(like._array).zeros(count * like.size, like.dtype)
            units[start :: like.size + 1] = 1  # row i has its one at start + i
            yield units.reshape(count, *like.shape)


def _by_rows(trace: _Trace, outputs: list[Tensor], chunk: int) -> list[list[Any]]:
    """For each output the derivatives by each leaf: reverse mode."""
    blocks = []
    for output in outputs:
        rows: list[list[Any]] = [[] for _ in trace.aliases]
        turned: list[list[Any]] = [[] for _ in trace.aliases]
        for directions in _directions(output, chunk):
            for row, part in zip(rows, _pulled(trace, output, directions), strict=True):
                row.append(part)
            if output.dtype.kind == "c":
                for row, part in zip(turned, _pulled(trace, output, directions * 1j), strict=True):
                    row.append(part)
        block = []
        for leaf, row, other in zip(trace.aliases, rows, turned, strict=True):
            part = _assembled(trace, row, (*output.shape, *leaf.shape), 0, leaf)
            if output.dtype.kind == "c":  # rows of the real part, and of the imaginary part
                imaginary = _assembled(trace, other, (*output.shape, *leaf.shape), 0, leaf)
                if leaf.dtype.kind == "c":
                    _check_holomorphic(imaginary, part * 1j)
                    part = complex_numbers.conjugate(part)
                else:
                    part = part + imaginary * 1j
            block.append(trace.out(part))
        blocks.append(block)
    return blocks


def _by_columns(trace: _Trace, outputs: list[Tensor], chunk: int) -> list[list[Any]]:
    """For each output the derivatives by each leaf: forward mode."""
    blocks: list[list[Any]] = [[] for _ in outputs]
    for leaf in trace.aliases:
        columns: list[list[Any]] = [[] for _ in outputs]
        turned: list[list[Any]] = [[] for _ in outputs]
        for directions in _directions(leaf, chunk):
            for column, part in zip(columns, _pushed(trace, outputs, leaf, directions), strict=True):
                column.append(part)
            if leaf.dtype.kind == "c":
                for column, part in zip(turned, _pushed(trace, outputs, leaf, directions * 1j), strict=True):
                    column.append(part)
        for block, output, column, other in zip(blocks, outputs, columns, turned, strict=True):
            part = _assembled(trace, column, (*output.shape, *leaf.shape), -1, output)
            if leaf.dtype.kind == "c":
                quarter_part = _assembled(trace, other, (*output.shape, *leaf.shape), -1, output)
                if output.dtype.kind == "c":
                    _check_holomorphic(quarter_part, part * 1j)
                else:
                    part = part + quarter_part * 1j
            block.append(trace.out(part))
    return blocks


def _pulled(trace: _Trace, output: Tensor, directions: Any) -> list[Any]:
    """Gradients by the leaves for some cotangents of one output, in one walk: as many along a first axis."""
    count = len(directions)
    if count == 1:
        return [_one(trace, gradient) for gradient in trace.pull([output], [directions[0]], retain=True)]
    found: dict[Any, Any] = {}
    if output._node is not None and output._node.index >= trace.floor:
        F, batch = _batch(trace, directions)
        with mode_with(grad=trace.nested):
            found = walk(F, [(output._node, conjugate(F, batch))], set(trace.nodes), retain=True).conjugated(F).by_node
    return [batched_values(found.get(leaf._node), leaf, count) for leaf in trace.aliases]


def _pushed(trace: _Trace, outputs: list[Tensor], leaf: Tensor, directions: Any) -> list[Any]:
    """The tangents of the outputs for some directions of one leaf, in one walk: as many along a first axis."""
    count = len(directions)
    roots = [output._node for output in outputs if output._node is not None]
    if count == 1:
        raw = not trace.nested and not trace.recorded
        F: Any = raw_for(directions) if raw else TENSORS
        tangent: Any = directions[0] if raw else wrap(directions[0])
    else:
        F, tangent = _batch(trace, directions)
    known: dict[Any, Any] = {leaf._node: tangent}
    with mode_with(grad=trace.nested):
        push_tangents(F, roots, known, trace.floor)
    if count == 1:
        return [_one(trace, known.get(output._node, trace.zeros(output))) for output in outputs]
    return [batched_values(known.get(output._node), output, count) for output in outputs]


def _batch(trace: _Trace, directions: Any) -> tuple[Any, Batched]:
    """The interpreter for several directions at once, and those as it takes them."""
    raw = not trace.nested and not trace.recorded
    batch = Batched(directions if raw else wrap(directions))
    return batches_of(batch.inner), batch


def _one(trace: _Trace, value: Any) -> Any:
    """What was found for one direction, with an axis for it."""
    with mode_with(grad=trace.nested):
        return shape.expand_dims(value, 0)


def _assembled(trace: _Trace, parts: list[Any], full_shape: tuple[int, ...], axis: int, like: Tensor) -> Tensor:
    """Chunks of rows or columns as one Tensor, on the tape where they are."""
    if not parts:
        return wrap(backend.made_beside(like._array, "zeros", full_shape, like.dtype))
    with mode_with(grad=trace.nested):
        whole: Any = shape.concatenate(parts) if len(parts) > 1 else as_tensor(parts[0])
        whole = shape.reshape(shape.moveaxis(whole, 0, axis), full_shape)
    array = whole._array
    if trace.nested or trace.recorded or (len(parts) > 1 and array.flags.c_contiguous):
        return whole
    return wrap(backend.copied(array))  # what a walk found may be shared, or a view that cannot be written to


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
