"""Linear algebra under NumPy's names (`numpy.linalg`) and those of the array API.

Everything takes stacks of matrices and complex dtypes, and is differentiable to any order unless it says otherwise.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from . import backend, half
from .dispatch import constant
from .op import ArrayLike, as_tensor, as_tensors, raw
from .ops import comparison, complex_numbers, elementwise, indexing, manipulation, reduction, shape
from .ops.axes import kept_shape
from .ops.decompositions import (
    EighResult,
    EigResult,
    QRResult,
    SlogdetResult,
    SVDResult,
    det,
    eig,
    inv,
    norm2,
    qr_reduced,
    slogdet,
    solve,
    svd_reduced,
)
from .ops.decompositions import cholesky as _cholesky_lower
from .ops.decompositions import eigh as _eigh
from .ops.decompositions import pinv as _pinv
from .ops.distance import length
from .ops.linalg import matmul
from .ops.manipulation import diagonal as _diagonal
from .ops.manipulation import matrix_transpose
from .ops.manipulation import trace as _trace
from .ops.products import cross, outer, tensordot, vecdot

__all__ = [
    "EigResult",
    "EighResult",
    "LstsqResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]


class LstsqResult(NamedTuple):
    """What `lstsq` returns."""

    x: Any
    residuals: Any
    rank: Any
    s: Any


def _matrices(name: str, a: Any) -> Any:
    x = as_tensor(a)
    if x.ndim < 2:
        raise ValueError(f"{name}: matrices are needed, got shape {x.shape}")
    return x if half.is_inexact(x.dtype) else x.astype("float64")


def _plain(x: Any, name: str, *args: Any) -> tuple[Any, ...]:
    """The results of a function of NumPy's or CuPy's `linalg`, off the tape."""
    with backend.on_device_of(raw(x)):
        return tuple(map(as_tensor, getattr(backend.namespace_of(raw(x)).linalg, name)(raw(x), *args)))


def _from_triangle(a: Any, which: str) -> Any:
    """Hermitian matrices from one triangle, "L" or "U": the other is not looked at and gets no gradient."""
    if which not in ("L", "U"):
        raise ValueError(f"UPLO must be 'L' or 'U', got {which!r}")
    x = _matrices("a Hermitian matrix", a)
    part, strict = (manipulation.tril, -1) if which == "L" else (manipulation.triu, 1)
    beyond = part(x, strict)
    diagonal = manipulation.diag_part(x)
    diagonal = complex_numbers.real(diagonal).astype(x.dtype) if x.dtype.kind == "c" else diagonal
    return beyond + matrix_transpose(_conjugated(beyond)) + manipulation.diag_embed(diagonal)


def cholesky(a: ArrayLike, upper: bool | None = None) -> Any:
    """Cholesky factor of Hermitian positive definite matrices, ``L @ L.conj().T``, or its adjoint (`numpy.linalg.cholesky`).

    Without `upper`, both triangles must be given, and the gradient is Hermitian; with it, only the one that it names is
    looked at, and gets the gradient.

    >>> import gpugrad as gg
    >>> gg.linalg.cholesky([[4.0, 2.0], [2.0, 2.0]], upper=True)
    tensor([[2., 1.],
            [0., 1.]])
    """
    a = a if upper is None else _from_triangle(a, "U" if upper else "L")
    if upper:  # the conjugate goes first: of the factor it would make -0 of the zeros below the diagonal
        return matrix_transpose(_cholesky_lower(_conjugated(as_tensor(a))))
    return _cholesky_lower(a)


def eigh(a: ArrayLike, UPLO: str | None = None) -> EighResult:
    """Eigenvalues, rising, and eigenvectors of Hermitian matrices (`numpy.linalg.eigh`).

    Without `UPLO`, both triangles must be given, and the gradient is Hermitian; with "L" or "U", only that one is looked at,
    and gets the gradient. Where eigenvalues are equal, that of the eigenvectors does not exist: functions of the eigenvalues
    alone, or that do not depend on the choice of vectors between equal ones, still get theirs.

    >>> import gpugrad as gg
    >>> gg.linalg.eigh([[2.0, 9.0], [0.0, 1.0]], UPLO="L").eigenvalues
    tensor([1., 2.])
    """
    return _eigh(a if UPLO is None else _from_triangle(a, UPLO))


def _conjugated(x: Any) -> Any:
    return complex_numbers.conjugate(x) if x.dtype.kind == "c" else x


def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """QR decomposition (`numpy.linalg.qr`), by modes ``"reduced"``, ``"complete"`` and ``"r"``.

    The first min(rows, columns) columns must be independent. A complete Q of a tall matrix has no derivative: its last
    columns are any basis of a null space.

    >>> import gpugrad as gg
    >>> gg.linalg.qr(gg.ones((3, 2)) + gg.eye(3)[:, :2]).R.shape
    (2, 2)
    """
    x = _matrices("qr", a)
    rows, columns = x.shape[-2:]
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    if mode == "complete" and rows > columns:
        if x.requires_grad:
            raise ValueError("qr: a complete Q of a tall matrix has no derivative; use mode='reduced', or x.detach()")
        return QRResult(*_plain(x, "qr", "complete"))
    if rows >= columns:
        result = qr_reduced(x)
    else:  # the rest of R follows from the square part
        q, left = qr_reduced(indexing.getitem(x, (Ellipsis, slice(0, rows))))
        right = matmul(matrix_transpose(_conjugated(q)), indexing.getitem(x, (Ellipsis, slice(rows, None))))
        result = QRResult(q, shape.concatenate([left, right], -1))
    return result.R if mode == "r" else result


def eigvalsh(a: ArrayLike, UPLO: str | None = None) -> Any:
    """Eigenvalues of Hermitian matrices, rising (`numpy.linalg.eigvalsh`).

    >>> import gpugrad as gg
    >>> gg.linalg.eigvalsh([[2.0, 0.0], [0.0, 1.0]])
    tensor([1., 2.])
    """
    return eigh(a, UPLO).eigenvalues


def eigvals(a: ArrayLike) -> Any:
    """Eigenvalues of square matrices, complex (`numpy.linalg.eigvals`).

    >>> import gpugrad as gg
    >>> gg.linalg.eigvals([[2.0, 0.0], [0.0, 1.0]])
    tensor([2.+0.j, 1.+0.j], dtype=complex64)
    """
    return eig(a).eigenvalues


def svd(a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """Singular value decomposition, ``U @ diag(S) @ Vh`` (`numpy.linalg.svd`).

    Singular values must differ for the gradients of the vectors. Of matrices that are not square, ``full_matrices=True``
    has no derivative: the further vectors are any basis of a null space.

    >>> import gpugrad as gg
    >>> gg.linalg.svd([[3.0, 0.0], [0.0, 4.0]]).S
    tensor([4., 3.])
    """
    x = _from_triangle(a, "L") if hermitian else _matrices("svd", a)
    if not compute_uv:
        return svdvals(x)
    if not full_matrices or x.shape[-1] == x.shape[-2]:
        return svd_reduced(x)
    if x.requires_grad:
        raise ValueError("svd: full_matrices=True has no derivative for matrices that are not square; use full_matrices=False")
    return SVDResult(*_plain(x, "svd"))


def svdvals(x: ArrayLike) -> Any:
    """Singular values, falling (`numpy.linalg.svdvals`).

    >>> import gpugrad as gg
    >>> gg.linalg.svdvals([[3.0, 0.0], [0.0, 4.0]])
    tensor([4., 3.])
    """
    return svd_reduced(_matrices("svdvals", x)).S


def lstsq(a: ArrayLike, b: ArrayLike, rcond: float | None = None) -> LstsqResult:
    """Least squares solution of ``a @ x = b`` (`numpy.linalg.lstsq`), by the pseudo-inverse.

    Differentiable by both where the rank of `a` does not change.

    >>> import gpugrad as gg
    >>> gg.linalg.lstsq([[1.0], [1.0]], [1.0, 3.0]).x
    tensor([2.])
    """
    matrix, right = as_tensors(_matrices("lstsq", a), b)
    if matrix.ndim != 2 or right.ndim not in (1, 2) or right.shape[0] != matrix.shape[0]:
        raise ValueError(f"lstsq: a must be (m, n) and b (m,) or (m, k), got {matrix.shape} and {right.shape}")
    limit = rcond if rcond is not None else numpy.finfo(matrix.dtype).eps * max(matrix.shape)
    x = matmul(_pinv(matrix, limit), right)
    s = svdvals(matrix)
    largest = reduction.max(s.detach()) if s.size else 0.0
    rank = reduction.sum(comparison.greater(s.detach(), elementwise.multiply(limit, largest)))
    rows, columns = matrix.shape
    if int(rank) == columns and rows > columns:
        error = elementwise.abs(right - matmul(matrix, x))
        residuals = reduction.sum(elementwise.square(error), 0)
        residuals = shape.reshape(residuals, (1,)) if right.ndim == 1 else residuals
    else:
        residuals = as_tensor(backend.made_beside(raw(matrix), "zeros", 0, matrix.dtype))
    return LstsqResult(x, residuals, rank, s)


def matrix_power(a: ArrayLike, n: int) -> Any:
    """A square matrix times itself, `n` times; of the inverse for negative `n` (`numpy.linalg.matrix_power`).

    >>> import gpugrad as gg
    >>> gg.linalg.matrix_power([[1.0, 1.0], [0.0, 1.0]], 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    x = _matrices("matrix_power", a)
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: square matrices are needed, got shape {x.shape}")
    if n < 0:
        x, n = inv(x), -n
    result = None
    while n:
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        x = matmul(x, x) if n else x
    if result is None:
        one = numpy.broadcast_to(numpy.eye(x.shape[-1], dtype=x.dtype), x.shape).copy()
        result = as_tensor(backend.beside(one, raw(x)))
    return result


def multi_dot(arrays: Sequence[ArrayLike]) -> Any:
    """Product of several matrices, in the order that costs least (`numpy.linalg.multi_dot`).

    >>> import gpugrad as gg
    >>> gg.linalg.multi_dot([gg.ones((2, 3)), gg.ones((3, 4)), gg.ones(4)])
    tensor([12., 12.])
    """
    tensors = [as_tensor(a) for a in arrays]
    if len(tensors) < 2:
        raise ValueError(f"multi_dot: at least two arrays are needed, got {len(tensors)}")
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    tensors[0] = shape.expand_dims(tensors[0], 0) if first else tensors[0]
    tensors[-1] = shape.expand_dims(tensors[-1], 1) if last else tensors[-1]
    if any(t.ndim != 2 for t in tensors):
        raise ValueError(f"multi_dot: matrices are needed, got shapes {', '.join(str(t.shape) for t in tensors)}")
    sizes = [tensors[0].shape[0], *(t.shape[1] for t in tensors)]
    cost: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(tensors))}
    for span in range(1, len(tensors)):  # Cormen et al., matrix-chain multiplication
        for i in range(len(tensors) - span):
            j = i + span
            cost[i, j] = min((cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))

    def product(i: int, j: int) -> Any:
        k = cost[i, j][1]
        return tensors[i] if i == j else matmul(product(i, k), product(k + 1, j))

    out = product(0, len(tensors) - 1)
    out = indexing.getitem(out, 0) if first else out
    return indexing.getitem(out, (Ellipsis, 0)) if last else out


def pinv(a: ArrayLike, rcond: Any = None, hermitian: bool = False) -> Any:
    """Pseudo-inverse (`numpy.linalg.pinv`); differentiable where the rank does not change (Golub and Pereyra, 1973).

    >>> import gpugrad as gg
    >>> gg.linalg.pinv([[2.0], [0.0]])
    tensor([[0.5, 0. ]])
    """
    return _pinv(_from_triangle(a, "L") if hermitian else a, rcond)


# --- norms --------------------------------------------------------------------------------------------------------


def vector_norm(x: ArrayLike, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Norm of vectors over axes (`numpy.linalg.vector_norm`): any power, 0, inf and -inf.

    The gradient at 0 is 0, and so is an element's where it is 0; that of ``ord=0``, a count, is 0 everywhere.

    >>> import gpugrad as gg
    >>> gg.linalg.vector_norm([3.0, -4.0], ord=1)
    tensor(7.)
    """
    x = as_tensor(x)
    x = x if half.is_inexact(x.dtype) else x.astype("float64")
    ord = constant("vector_norm", "ord", ord)
    if ord == 2:
        return norm2(x, axis, keepdims)
    size = elementwise.abs(x)
    if ord == numpy.inf:
        return reduction.max(size, axis, keepdims)
    if ord == -numpy.inf:
        return reduction.min(size, axis, keepdims)
    if ord == 0:
        return reduction.sum(shape.cast(comparison.not_equal(raw(x), 0), size.dtype), axis, keepdims)
    if ord == 1:
        return reduction.sum(size, axis, keepdims)
    return length(x, float(ord), axis, keepdims)


def matrix_norm(x: ArrayLike, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of the matrices in the last two axes (`numpy.linalg.matrix_norm`): fro, nuc, 1, -1, 2, -2, inf, -inf.

    >>> import gpugrad as gg
    >>> gg.linalg.matrix_norm([[3.0, 0.0], [0.0, 4.0]], ord=2)
    tensor(4.)
    """
    x = _matrices("matrix_norm", x)
    if ord in (None, "fro"):
        return norm2(x, (-2, -1), keepdims)
    if ord in ("nuc", 2, -2):
        s = svdvals(x)
        pick: Any = {"nuc": reduction.sum, 2: reduction.max, -2: reduction.min}[ord]
        out = pick(s, -1)
    elif ord in (1, -1, numpy.inf, -numpy.inf):
        sums = reduction.sum(elementwise.abs(x), -2 if builtins.abs(ord) == 1 else -1)
        out = (reduction.max if ord > 0 else reduction.min)(sums, -1)
    else:
        raise ValueError(f"matrix_norm: ord must be fro, nuc, 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return shape.reshape(out, (*out.shape, 1, 1)) if keepdims else out


def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norm of vectors or matrices (`numpy.linalg.norm`): of vectors over one axis, of matrices over two.

    >>> import gpugrad as gg
    >>> gg.linalg.norm([3.0, 4.0])
    tensor(5.)
    """
    x = as_tensor(x)
    if axis is None:
        if ord is None or (ord in ("fro", 2) and x.ndim == (2 if ord == "fro" else 1)):
            return norm2(x if half.is_inexact(x.dtype) else x.astype("float64"), None, keepdims)
        axis = tuple(range(x.ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 1:
        return vector_norm(x, axes[0], keepdims, 2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(f"norm: one axis for vectors or two for matrices, got {axes} of an array with {x.ndim} axes")
    out = matrix_norm(shape.moveaxis(x, axes, (-2, -1)), False, ord)
    if not keepdims:
        return out
    return shape.reshape(out, kept_shape(x.shape, axes))


def cond(x: ArrayLike, p: Any = None) -> Any:
    """Condition number (`numpy.linalg.cond`).

    >>> import gpugrad as gg
    >>> gg.linalg.cond([[4.0, 0.0], [0.0, 2.0]])
    tensor(2.)
    """
    x = _matrices("cond", x)
    if p in (None, 2, -2):
        s = svdvals(x)
        ends = [indexing.getitem(s, (Ellipsis, i)) for i in (0, -1)]
        return elementwise.divide(*(ends[::-1] if p == -2 else ends))
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


def matrix_rank(A: ArrayLike, tol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """Number of singular values above a tolerance (`numpy.linalg.matrix_rank`); has no gradient.

    >>> import gpugrad as gg
    >>> gg.linalg.matrix_rank([[1.0, 1.0], [1.0, 1.0]])
    tensor(1)
    """
    x = as_tensor(A).detach()
    if x.ndim < 2:
        return shape.cast(reduction.any(comparison.not_equal(x, 0)), "int64")
    s = svdvals(_from_triangle(x, "L") if hermitian else x)
    if tol is None:
        share = max(x.shape[-2:]) * numpy.finfo(s.dtype).eps if rtol is None else rtol
        tol = elementwise.multiply(reduction.max(s, -1), share)
    return reduction.sum(comparison.greater(s, shape.expand_dims(as_tensor(tol), -1)), -1)


# --- tensors as matrices ------------------------------------------------------------------------------------------


def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Any = None) -> Any:
    """Solution of ``tensordot(a, x, x.ndim) = b`` (`numpy.linalg.tensorsolve`).

    >>> import gpugrad as gg
    >>> gg.linalg.tensorsolve(gg.eye(4).reshape(2, 2, 4), gg.ones((2, 2))).shape
    (4,)
    """
    a, b = as_tensors(a, b)
    if axes is not None:
        order = [i for i in range(a.ndim) if i not in axes] + list(axes)
        a = shape.transpose(a, tuple(order))
    rest = a.shape[b.ndim :]
    n = math.prod(rest)
    if a.size != n * n:
        raise ValueError(f"tensorsolve: a of shape {a.shape} is not square against b of shape {b.shape}")
    return shape.reshape(solve(shape.reshape(a, (n, n)), shape.reshape(b, -1)), rest)


def tensorinv(a: ArrayLike, ind: int = 2) -> Any:
    """Inverse under `tensordot` over the first `ind` axes (`numpy.linalg.tensorinv`).

    >>> import gpugrad as gg
    >>> gg.linalg.tensorinv(gg.eye(4).reshape(2, 2, 4), 2).shape
    (4, 2, 2)
    """
    a = as_tensor(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    front, back = a.shape[:ind], a.shape[ind:]
    return shape.reshape(inv(shape.reshape(a, (math.prod(front), math.prod(back)))), (*back, *front))


def diagonal(x: ArrayLike, offset: int = 0) -> Any:
    """Diagonals of the matrices in the last two axes (`numpy.linalg.diagonal`).

    >>> import gpugrad as gg
    >>> gg.linalg.diagonal([[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, offset: int = 0) -> Any:
    """Sums of the diagonals of the matrices in the last two axes (`numpy.linalg.trace`).

    >>> import gpugrad as gg
    >>> gg.linalg.trace([[1.0, 2.0], [3.0, 4.0]])
    tensor(5.)
    """
    return _trace(x, offset, -2, -1)
