"""Sums of products beyond matmul: einsum, tensordot, outer, inner, kron, cross and PyTorch's batched forms."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy

from ..errors import ShapeError
from ..op import ArrayLike, as_tensor, as_tensors, multilinear
from . import complex_numbers, elementwise, indexing, linalg, manipulation, reduction, shape
from .axes import axes_of, axis_of
from .samples import array, calls

# --- einsum -------------------------------------------------------------------------------------------------------


def _einsum_x(F: Any, t: Any, y: Any, subscripts: str) -> Any:
    terms, out = subscripts.split("->")
    x, other = terms.split(",")
    return F.einsum_pair(t, y, f"{out},{other}->{x}")


def _einsum_y(F: Any, t: Any, x: Any, subscripts: str) -> Any:
    terms, out = subscripts.split("->")
    other, y = terms.split(",")
    return F.einsum_pair(t, x, f"{out},{other}->{y}")


@multilinear(
    transposes=(_einsum_x, _einsum_y),
    samples=calls(
        lambda rng: ((array(rng, 3, 4), array(rng, 4, 5), "ab,bc->ac"), {}),
        lambda rng: ((array(rng, 2, 3, 4), array(rng, 2, 4), "abc,ac->ba"), {}),
        lambda rng: ((array(rng, 3), array(rng, 4), "a,b->ba"), {}),
        lambda rng: ((array(rng, 3), array(rng, 3), "a,a->"), {}),
    ),
)
def einsum_pair(xp: Any, x: ArrayLike, y: ArrayLike, subscripts: str) -> Any:
    """Sum of products of two arrays, ``"ab,bc->ac"``: each letter once in a term, and in two of the three terms.

    The transpose by one operand is the same sum over the other and the cotangent. `einsum` brings all else to this form.

    >>> import gpugrad as gg
    >>> gg.einsum_pair([[1.0, 2.0]], [[3.0], [4.0]], "ab,bc->ac")
    tensor([[11.]])
    """
    return xp.einsum(subscripts, x, y, optimize=True)


def _explicit(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Terms and output as letters alone: no ellipsis, an output where none was given."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, out = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} has {len(terms)} terms for {len(ndims)} operands")
    if not set(subscripts) <= set(string.ascii_letters) | set(".,->"):
        raise ValueError(f"einsum: {subscripts!r} may hold letters, commas, '...' and '->'")
    free = [c for c in string.ascii_letters if c not in subscripts]
    hidden = [n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True)]
    for term, n, more in zip(terms, ndims, hidden, strict=True):
        if more < 0 or (more and "..." not in term):
            raise ValueError(f"einsum: the term {term!r} does not fit an operand with {n} axes")
    dots = "".join(free[: max((more for more, term in zip(hidden, terms, strict=True) if "..." in term), default=0)])
    full = [term.replace("...", dots[len(dots) - more :]) for term, more in zip(terms, hidden, strict=True)]
    if arrow:
        target = out.replace("...", dots)
    else:
        letters = "".join(full)
        target = dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    if len(set(target)) != len(target) or not set(target) <= set("".join(full)):
        raise ValueError(f"einsum: the output {out!r} of {subscripts!r} must name letters of the terms, each once")
    return full, target


def _from_lists(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """``einsum(a, [0, 1], b, [1], [0])`` as subscripts and operands."""

    def term(axes: Any) -> str:
        return "".join("..." if axis is Ellipsis else string.ascii_letters[axis] for axis in axes)

    arrays, lists = operands[0 : len(operands) // 2 * 2 : 2], operands[1::2]
    text = ",".join(term(axes) for axes in lists[: len(arrays)])
    return (text + "->" + term(operands[-1]) if len(operands) % 2 else text), arrays


def _without_repeats(x: Any, term: str) -> tuple[Any, str]:
    """Repeated letters of a term replaced by diagonals: ``ii`` by ``i``."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            if x.shape[first] != x.shape[second]:
                lengths = sorted((x.shape[first], x.shape[second]))
                raise ValueError(f"einsum: the letter {letter!r} stands for axes of length {lengths[0]} and {lengths[1]}")
            x = manipulation.diagonal(x, 0, first, second)
            term = "".join(c for i, c in enumerate(term) if i not in (first, second)) + letter
    return x, term


def _summed(x: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """Letters that nobody else needs summed away."""
    lone = tuple(i for i, c in enumerate(term) if c not in needed)
    return (reduction.sum(x, lone), "".join(c for c in term if c in needed)) if lone else (x, term)


def einsum(*operands: Any, optimize: Any = "greedy") -> Any:
    """Sum of products in Einstein's notation (`numpy.einsum`), of any number of operands.

    Takes all of NumPy's forms: ellipses, repeated letters (diagonals), an output left out, operands with lists of axes.
    More than two operands are multiplied two at a time, in the order of `numpy.einsum_path`.

    Parameters
    ----------
    subscripts : str
    *operands : arrays
    optimize : bool or str
        For the order of the products: False (left to right), ``"greedy"`` or ``"optimal"``.

    >>> import gpugrad as gg
    >>> gg.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    tensor([3., 7.])
    """
    if not operands:
        raise ValueError("einsum: subscripts and operands are needed")
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0], operands[1:]
    else:
        subscripts, arrays = _from_lists(operands)
    tensors = as_tensors(*arrays)
    terms, out = _explicit(subscripts, [t.ndim for t in tensors])
    pairs = [_without_repeats(x, term) for x, term in zip(tensors, terms, strict=True)]
    for step in _path(pairs, out, optimize):
        picked = [pairs[i] for i in step]
        pairs = [pair for i, pair in enumerate(pairs) if i not in step]
        needed = set(out).union(*(term for _, term in pairs))
        pairs.append(_pair(picked[0], picked[1], needed) if len(picked) == 2 else picked[0])
    ((x, term),) = pairs
    x, term = _summed(x, term, set(out))
    return shape.transpose(x, tuple(term.index(c) for c in out)) if term != out else x


def _path(pairs: list[tuple[Any, str]], out: str, optimize: Any) -> list[tuple[int, ...]]:
    """Which operands to multiply, step by step; results go to the end."""
    if len(pairs) < 3 or optimize is False:
        return [(0, 1)] * (len(pairs) - 1)
    text = ",".join(term for _, term in pairs) + "->" + out
    shapes = [numpy.broadcast_to(numpy.zeros((), "f"), x.shape) for x, _ in pairs]
    path = numpy.einsum_path(text, *shapes, optimize=optimize if isinstance(optimize, str) else "greedy")[0][1:]
    steps = []
    for step in path:  # a path may multiply several at once; two at a time then, the last result being the last operand
        steps.append(tuple(step[:2]))
        count = len(pairs) - len(steps)
        steps += [(0, count - 1 - i) for i in range(len(step) - 2)]
    return steps if len(steps) == len(pairs) - 1 and all(len(s) <= 2 for s in path) else [(0, 1)] * (len(pairs) - 1)


def _pair(left: tuple[Any, str], right: tuple[Any, str], needed: set[str]) -> tuple[Any, str]:
    """The product of two operands, summed over the letters that nobody else needs."""
    x, x_term = _summed(*left, needed | set(right[1]))
    y, y_term = _summed(*right, needed | set(left[1]))
    lengths: dict[str, int] = {}
    for tensor, term in ((x, x_term), (y, y_term)):
        for letter, n in zip(term, tensor.shape, strict=True):
            if lengths.setdefault(letter, n) != n and 1 not in (n, lengths[letter]):
                raise ValueError(f"einsum: the letter {letter!r} stands for axes of length {lengths[letter]} and {n}")
            lengths[letter] = max(lengths[letter], n)
    x, y = (
        shape.broadcast_to(tensor, tuple(lengths[c] for c in term)) if 1 in tensor.shape else tensor
        for tensor, term in ((x, x_term), (y, y_term))
    )
    out = "".join(c for c in dict.fromkeys(x_term + y_term) if c in needed)
    return einsum_pair(x, y, f"{x_term},{y_term}->{out}"), out


# --- NumPy's products ---------------------------------------------------------------------------------------------


def tensordot(a: ArrayLike, b: ArrayLike, axes: Any = 2) -> Any:
    """Sum of products over some axes of both (`numpy.tensordot`), as one matrix product.

    >>> import gpugrad as gg
    >>> gg.tensordot([[1.0, 2.0]], [[3.0], [4.0]], 1)
    tensor([[11.]])
    """
    a, b = as_tensors(a, b)
    if isinstance(axes, int | numpy.integer):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ValueError(f"tensordot: axes={axes} of arrays with {a.ndim} and {b.ndim} axes")
        left, right = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        left, right = (tuple(x) if isinstance(x, Sequence) else (x,) for x in axes)
        left, right = axes_of(left, a.ndim), axes_of(right, b.ndim)
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ValueError(f"tensordot: axes {left} of shape {a.shape} and {right} of shape {b.shape} differ in length")
    keep_a = tuple(i for i in range(a.ndim) if i not in left)
    keep_b = tuple(i for i in range(b.ndim) if i not in right)
    inner = math.prod(a.shape[i] for i in left)
    rows, columns = [a.shape[i] for i in keep_a], [b.shape[i] for i in keep_b]
    x = shape.reshape(shape.transpose(a, (*keep_a, *left)), (math.prod(rows), inner))
    y = shape.reshape(shape.transpose(b, (*right, *keep_b)), (inner, math.prod(columns)))
    return shape.reshape(linalg.matmul(x, y), (*rows, *columns))


def inner(a: ArrayLike, b: ArrayLike) -> Any:
    """Sum of products over the last axes (`numpy.inner`).

    >>> import gpugrad as gg
    >>> gg.inner([1.0, 2.0], [3.0, 4.0])
    tensor(11.)
    """
    a, b = as_tensors(a, b)
    return elementwise.multiply(a, b) if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, ((-1,), (-1,)))


def outer(a: ArrayLike, b: ArrayLike) -> Any:
    """All products of the elements of two flattened arrays (`numpy.outer`).

    >>> import gpugrad as gg
    >>> gg.outer([1.0, 2.0], [3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]])
    """
    return elementwise.multiply(shape.reshape(a, (-1, 1)), shape.reshape(b, (1, -1)))


def vdot(a: ArrayLike, b: ArrayLike) -> Any:
    """Dot product of two flattened arrays, the first conjugated (`numpy.vdot`).

    >>> import gpugrad as gg
    >>> gg.vdot([[1.0, 2.0]], [3.0, 4.0])
    tensor(11.)
    """
    a, b = as_tensors(a, b)
    return linalg.matmul(shape.reshape(complex_numbers.conjugate(a) if a.dtype.kind == "c" else a, -1), shape.reshape(b, -1))


def vecdot(x1: ArrayLike, x2: ArrayLike, axis: int = -1) -> Any:
    """Dot products of vectors along an axis, the first conjugated (`numpy.vecdot`).

    >>> import gpugrad as gg
    >>> gg.vecdot([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    tensor([3., 7.])
    """
    x, y = as_tensors(x1, x2)
    x = complex_numbers.conjugate(x) if x.dtype.kind == "c" else x
    if x.shape[axis_of(axis, x.ndim)] != y.shape[axis_of(axis, y.ndim)]:
        raise ValueError(f"vecdot: axis {axis} has length {x.shape[axis]} in x1 and {y.shape[axis]} in x2")
    x, y = (shape.moveaxis(v, axis, -1) for v in (x, y))
    return indexing.getitem(linalg.matmul(shape.expand_dims(x, -2), shape.expand_dims(y, -1)), (Ellipsis, 0, 0))


def matvec(x1: ArrayLike, x2: ArrayLike) -> Any:
    """Matrices times vectors, both with axes in front (`numpy.matvec`).

    >>> import gpugrad as gg
    >>> gg.matvec([[1.0, 2.0]], [3.0, 4.0])
    tensor([11.])
    """
    return indexing.getitem(linalg.matmul(x1, shape.expand_dims(x2, -1)), (Ellipsis, 0))


def vecmat(x1: ArrayLike, x2: ArrayLike) -> Any:
    """Conjugated vectors times matrices, both with axes in front (`numpy.vecmat`).

    >>> import gpugrad as gg
    >>> gg.vecmat([3.0, 4.0], [[1.0], [2.0]])
    tensor([11.])
    """
    x = as_tensor(x1)
    x = complex_numbers.conjugate(x) if x.dtype.kind == "c" else x
    return indexing.getitem(linalg.matmul(shape.expand_dims(x, -2), x2), (Ellipsis, 0, slice(None)))


def kron(a: ArrayLike, b: ArrayLike) -> Any:
    """Kronecker product (`numpy.kron`).

    >>> import gpugrad as gg
    >>> gg.kron([1.0, 2.0], [1.0, 10.0])
    tensor([ 1., 10.,  2., 20.])
    """
    a, b = as_tensors(a, b)
    ndim = max(a.ndim, b.ndim)
    m, n = ((1,) * (ndim - x.ndim) + x.shape for x in (a, b))
    left = shape.reshape(a, [k for size in m for k in (size, 1)])
    right = shape.reshape(b, [k for size in n for k in (1, size)])
    return shape.reshape(elementwise.multiply(left, right), tuple(i * j for i, j in zip(m, n, strict=True)))


def cross(
    a: ArrayLike,
    b: ArrayLike,
    axis: int | None = None,
    *,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
) -> Any:
    """Cross product of vectors of three along an axis, or one for each of `a`, `b` and the result (`numpy.cross`).

    >>> import gpugrad as gg
    >>> gg.cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    tensor([0., 0., 1.])
    """
    x, y = as_tensors(a, b)
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    if x.shape[axis_of(axisa, x.ndim)] != 3 or y.shape[axis_of(axisb, y.ndim)] != 3:
        raise ValueError(f"cross: axes {axisa} and {axisb} must have length 3, the shapes are {x.shape} and {y.shape}")
    x, y = shape.moveaxis(x, axisa, -1), shape.moveaxis(y, axisb, -1)
    ahead, behind = (Ellipsis, numpy.array([1, 2, 0])), (Ellipsis, numpy.array([2, 0, 1]))
    out = indexing.getitem(x, ahead) * indexing.getitem(y, behind) - indexing.getitem(x, behind) * indexing.getitem(y, ahead)
    return shape.moveaxis(out, -1, axisc)


# --- PyTorch's names ----------------------------------------------------------------------------------------------


def _with_axes(name: str, ndim: int, *arrays: Any) -> list[Any]:
    tensors = list(as_tensors(*arrays))
    if any(t.ndim != ndim for t in tensors):
        raise ValueError(f"{name}: arrays with {ndim} axes are needed, got shapes {', '.join(str(t.shape) for t in tensors)}")
    return tensors


def bmm(x: ArrayLike, y: ArrayLike) -> Any:
    """Products of two stacks of matrices (`torch.bmm`).

    >>> import gpugrad as gg
    >>> gg.bmm(gg.ones((2, 3, 4)), gg.ones((2, 4, 5))).shape
    (2, 3, 5)
    """
    left, right = _with_axes("bmm", 3, x, y)
    if left.shape[0] != right.shape[0]:
        raise ValueError(f"bmm: stacks of {left.shape[0]} and {right.shape[0]} matrices")
    return linalg.matmul(left, right)


def mv(x: ArrayLike, vector: ArrayLike) -> Any:
    """A matrix times a vector (`torch.mv`).

    >>> import gpugrad as gg
    >>> gg.mv([[1.0, 2.0]], [3.0, 4.0])
    tensor([11.])
    """
    (matrix,), (v,) = _with_axes("mv", 2, x), _with_axes("mv", 1, vector)
    return linalg.matmul(matrix, v)


def _times(factor: Any, x: Any) -> Any:
    """``factor * x``; without a product for the number 1, but not for a tensor that is 1 now, which may be a parameter."""
    return x if isinstance(factor, int | float) and factor == 1 else elementwise.multiply(x, factor)


def addmm(x: ArrayLike, mat1: ArrayLike, mat2: ArrayLike, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * x + alpha * mat1 @ mat2`` (`torch.addmm`).

    >>> import gpugrad as gg
    >>> gg.addmm([1.0], [[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[12.]])
    """
    product = linalg.matmul(*_with_axes("addmm", 2, mat1, mat2))
    return elementwise.add(_times(beta, x), _times(alpha, product))


def baddbmm(x: ArrayLike, batch1: ArrayLike, batch2: ArrayLike, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * x + alpha * bmm(batch1, batch2)`` (`torch.baddbmm`).

    >>> import gpugrad as gg
    >>> gg.baddbmm(gg.ones((2, 3, 5)), gg.ones((2, 3, 4)), gg.ones((2, 4, 5)))[0, 0, 0]
    tensor(5.)
    """
    product = bmm(batch1, batch2)
    return elementwise.add(_times(beta, x), _times(alpha, product))


def bilinear(x1: ArrayLike, x2: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Any:
    """``x1 @ weight[k] @ x2 + bias[k]`` for each k, of the last axes (`torch.nn.functional.bilinear`).

    Parameters
    ----------
    x1, x2 : arrays of shape (..., in1) and (..., in2)
    weight : array of shape (out, in1, in2)
    bias : array of shape (out,), optional

    >>> import gpugrad as gg
    >>> gg.nn.functional.bilinear([1.0, 2.0], [3.0], gg.tensor([[[1.0], [1.0]]]))
    tensor([9.])
    """
    x1, x2, weight = as_tensors(x1, x2, weight)
    if weight.ndim != 3 or x1.ndim == 0 or x1.shape[:-1] != x2.shape[:-1] or weight.shape[1:] != (x1.shape[-1], x2.shape[-1]):
        raise ShapeError(
            "bilinear: x1 (..., in1), x2 (..., in2) and weight (out, in1, in2) do not fit: "
            f"got {x1.shape}, {x2.shape} and {weight.shape}"
        )
    out = einsum("...i,oij,...j->...o", x1, weight, x2)
    return out if bias is None else out + bias


__all__ = [
    "addmm",
    "baddbmm",
    "bilinear",
    "bmm",
    "cross",
    "einsum",
    "einsum_pair",
    "inner",
    "kron",
    "matvec",
    "mv",
    "outer",
    "tensordot",
    "vdot",
    "vecdot",
    "vecmat",
]
