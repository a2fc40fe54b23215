"""Linear algebra that is not a product: inverses, determinants, decompositions. All take stacks of matrices.

Rules are derived in the pairing ``Re(sum(t * dx))`` of the walk, without conjugates; where a formula of the literature has
them, `_adjoint` and a conjugated cotangent do. Sources: Giles, "Collected matrix derivative results" (2008); Seeger et al.,
"Auto-differentiating linear algebra" (2017).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

from ..backend import checking_linalg
from ..op import ArrayLike, primitive, several
from ..tape import conjugate
from .samples import array, calls, complex_array


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Any
    eigenvectors: Any


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Any
    S: Any
    Vh: Any


def _T(F: Any, x: Any) -> Any:
    return F.swapaxes(x, -1, -2)


def _adjoint(F: Any, x: Any) -> Any:
    return conjugate(F, F.swapaxes(x, -1, -2))


def well(rng: Any, *shape: int) -> Any:
    """Random square matrices far from singular."""
    return array(rng, *shape) + 3 * numpy.identity(shape[-1])


def positive(rng: Any, *shape: int) -> Any:
    """Random symmetric positive definite matrices with eigenvalues apart."""
    x = array(rng, *shape)
    return x @ x.swapaxes(-1, -2) + numpy.diag(numpy.arange(1.0, shape[-1] + 1) * 2)


_SQUARE = calls(
    lambda rng: ((well(rng, 3, 3),), {}),
    lambda rng: ((well(rng, 2, 4, 4),), {}),
    lambda rng: ((well(rng, 1, 1),), {}),
)
_POSITIVE = calls(lambda rng: ((positive(rng, 3, 3),), {}), lambda rng: ((positive(rng, 2, 4, 4),), {}))


# --- inverses and determinants ------------------------------------------------------------------------------------


def _inv_rule(F: Any, t: Any, out: Any) -> Any:
    transposed = _T(F, out)
    return -F.matmul(F.matmul(transposed, t), transposed)


@primitive(vjp=(_inv_rule,), samples=_SQUARE)
def inv(xp: Any, a: ArrayLike) -> Any:
    """Inverse of square matrices (`numpy.linalg.inv`).

    >>> import gpugrad as gg
    >>> gg.linalg.inv([[2.0, 0.0], [0.0, 4.0]])
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    with checking_linalg(xp):
        return xp.linalg.inv(xp.asarray(a))


def _matrix(F: Any, t: Any) -> Any:
    """A number per matrix, to be multiplied with matrices."""
    return F.reshape(t, (*t.shape, 1, 1))


@primitive(vjp=(lambda F, t, a, out: _matrix(F, t * out) * _T(F, F.inv(a)),), samples=_SQUARE)
def det(xp: Any, a: ArrayLike) -> Any:
    """Determinant (`numpy.linalg.det`); its gradient needs an invertible matrix.

    >>> import gpugrad as gg
    >>> gg.linalg.det([[2.0, 0.0], [0.0, 4.0]])
    tensor(8.)
    """
    return xp.linalg.det(xp.asarray(a))


def _slogdet_rule(F: Any, t: Any, a: Any, out: Any) -> Any:
    transposed = _T(F, F.inv(a))
    total = _matrix(F, t[1]) * transposed
    if a.dtype.kind != "c":
        return total
    return total + _matrix(F, F.real(t[0] * out[0] * 1j)) * (transposed * -1j)


@several(returns=SlogdetResult, vjp=(_slogdet_rule,), samples=_SQUARE)
def slogdet(xp: Any, a: ArrayLike) -> Any:
    """Sign and logarithm of the absolute determinant (`numpy.linalg.slogdet`).

    >>> import gpugrad as gg
    >>> gg.linalg.slogdet([[2.0, 0.0], [0.0, -4.0]]).sign
    tensor(-1.)
    """
    return tuple(xp.linalg.slogdet(xp.asarray(a)))


def _solve_b(F: Any, t: Any, a: Any) -> Any:
    return F.solve(_T(F, a), t)


def _solve_a(F: Any, t: Any, a: Any, b_shape: tuple[int, ...], out: Any) -> Any:
    if len(b_shape) == 1:
        g = F.solve(_T(F, a), F.expand_dims(t, -1))
        return -F.matmul(g, F.expand_dims(out, -2))
    return -F.matmul(F.solve(_T(F, a), t), _T(F, out))


def _solve_b_any(F: Any, t: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    if len(b_shape) == 1 and t.ndim > 1:
        return F.getitem(F.solve(_T(F, a), F.expand_dims(t, -1)), (Ellipsis, 0))
    return _solve_b(F, t, a)


@primitive(
    vjp=(_solve_a, _solve_b_any),
    samples=calls(
        lambda rng: ((well(rng, 3, 3), array(rng, 3)), {}),
        lambda rng: ((well(rng, 3, 3), array(rng, 3, 2)), {}),
        lambda rng: ((well(rng, 2, 3, 3), array(rng, 2, 3, 2)), {}),
        lambda rng: ((well(rng, 2, 3, 3), array(rng, 3, 2)), {}),
        lambda rng: ((well(rng, 2, 3, 3), array(rng, 3)), {}),
    ),
)
def solve(xp: Any, a: ArrayLike, b: ArrayLike) -> Any:
    """Solution of ``a @ x = b`` (`numpy.linalg.solve`); `b` is a vector only if it has one axis, else a stack of matrices.

    >>> import gpugrad as gg
    >>> gg.linalg.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0])
    tensor([1. , 0.5])
    """
    a, b = xp.asarray(a), xp.asarray(b)
    if b.ndim == 1 and a.ndim > 2:
        with checking_linalg(xp):
            return xp.linalg.solve(a, xp.broadcast_to(b[:, None], (*a.shape[:-1], 1)))[..., 0]
    if xp is not numpy and a.shape[:-2] != b.shape[:-2] and b.ndim > 1:  # NumPy broadcasts stacks, CuPy does not
        stack = numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (xp.ascontiguousarray(xp.broadcast_to(m, (*stack, *m.shape[-2:]))) for m in (a, b))
    with checking_linalg(xp):
        return xp.linalg.solve(a, b)


def _pinv_rule(F: Any, t: Any, a: Any, out: Any) -> Any:
    t, p = conjugate(F, t), out
    ph, th = _adjoint(F, p), _adjoint(F, t)
    g = -F.matmul(F.matmul(ph, t), ph)
    left = F.matmul(th, F.matmul(p, ph))
    g = g + left - F.matmul(a, F.matmul(p, left))
    right = F.matmul(F.matmul(ph, p), th)
    return conjugate(F, g + right - F.matmul(F.matmul(right, p), a))


@primitive(
    vjp=(_pinv_rule,),
    samples=calls(*[lambda rng, s=s: ((array(rng, *s) + numpy.eye(*s[-2:]) * 3,), {}) for s in ((4, 3), (3, 4), (2, 3, 3))]),
)
def pinv(xp: Any, a: ArrayLike, rcond: Any = None) -> Any:
    """Pseudo-inverse (`numpy.linalg.pinv`); differentiable where the rank does not change (Golub and Pereyra, 1973).

    >>> import gpugrad as gg
    >>> gg.linalg.pinv([[2.0], [0.0]])
    tensor([[0.5, 0. ]])
    """
    a = xp.asarray(a)
    with checking_linalg(xp):
        return xp.linalg.pinv(a) if rcond is None else xp.linalg.pinv(a, rcond)


# --- decompositions -----------------------------------------------------------------------------------------------


def _hermitian(xp: Any, a: Any) -> Any:
    """A Hermitian matrix, checked: NumPy would read one triangle, and the gradient belongs to both."""
    a = xp.asarray(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"square matrices are needed, got shape {a.shape}")
    adjoint = xp.conjugate(xp.swapaxes(a, -1, -2))
    if a.size and not float(xp.max(xp.abs(a - adjoint))) <= 1e-3 * float(xp.max(xp.abs(a))):
        raise ValueError(
            "the matrix is not symmetric (Hermitian); give all of it, or say which triangle counts: UPLO=, or upper= of cholesky"
        )
    return (a + adjoint) / 2


def _cholesky_rule(F: Any, t: Any, out: Any) -> Any:
    t = conjugate(F, t)
    product = F.tril(F.matmul(_adjoint(F, out), t))
    product = product - F.diag_embed(F.diag_part(product)) * 0.5
    inverse = F.inv(out)
    g = F.matmul(F.matmul(_adjoint(F, inverse), product), inverse)
    return conjugate(F, (g + _adjoint(F, g)) * 0.5)


@primitive(vjp=(_cholesky_rule,), samples=_POSITIVE)
def cholesky(xp: Any, a: ArrayLike) -> Any:
    """Lower triangular ``L`` with ``L @ L.conj().T = a``, of Hermitian positive definite matrices (`numpy.linalg.cholesky`).

    The gradient is Hermitian, as in PyTorch. Unlike NumPy's, both triangles must be given.

    >>> import gpugrad as gg
    >>> gg.linalg.cholesky([[4.0, 0.0], [0.0, 9.0]])
    tensor([[2., 0.],
            [0., 3.]])
    """
    with checking_linalg(xp):
        return xp.linalg.cholesky(_hermitian(xp, a))


def _gaps(F: Any, w: Any) -> Any:
    """``1 / (w_j - w_i)``, and 0 where they are equal."""
    difference = F.expand_dims(w, -2) - F.expand_dims(w, -1)
    same = difference == 0
    return F.where(same, 0.0, 1 / F.where(same, 1.0, difference))


def _eigh_rule(F: Any, t: Any, out: Any) -> Any:
    w, v = out
    tw, tv = t[0], conjugate(F, t[1])
    vh = _adjoint(F, v)
    inner = F.matmul(vh, tv) * _gaps(F, w) + F.diag_embed(tw)
    g = F.matmul(F.matmul(v, inner), vh)
    return conjugate(F, (g + _adjoint(F, g)) * 0.5)


@several(returns=EighResult, vjp=(_eigh_rule,), samples=_POSITIVE)
def eigh(xp: Any, a: ArrayLike) -> Any:
    """Eigenvalues, rising, and eigenvectors of Hermitian matrices (`numpy.linalg.eigh`).

    The gradient is Hermitian. Where eigenvalues are equal, that of the eigenvectors does not exist: functions of the
    eigenvalues alone, or that do not depend on the choice of vectors between equal ones, still get theirs.

    >>> import gpugrad as gg
    >>> gg.linalg.eigh([[2.0, 0.0], [0.0, 1.0]]).eigenvalues
    tensor([1., 2.])
    """
    with checking_linalg(xp):
        return tuple(xp.linalg.eigh(_hermitian(xp, a)))


def _eig_rule(F: Any, t: Any, out: Any) -> Any:
    w, v = out
    tw, tv = conjugate(F, t[0]), conjugate(F, t[1])
    vh = _adjoint(F, v)
    inner = F.matmul(vh, tv)
    inner = inner - F.matmul(vh, v) * F.expand_dims(F.real(F.diag_part(inner)), -2)
    inner = inner * conjugate(F, _gaps(F, w)) + F.diag_embed(tw)
    return conjugate(F, F.solve(vh, F.matmul(inner, vh)))


@several(
    returns=EigResult,
    vjp=(_eig_rule,),
    samples=calls(lambda rng: ((numpy.diag([1.0, 4.0, 9.0]) + array(rng, 3, 3, low=-0.5, high=0.5),), {})),
)
def eig(xp: Any, a: ArrayLike) -> Any:
    """Eigenvalues and eigenvectors of square matrices (`numpy.linalg.eig`), the eigenvalues apart from each other.

    Complex, also where the imaginary parts are 0, as in PyTorch and from NumPy 2.5 on.

    >>> import gpugrad as gg
    >>> gg.linalg.eig([[2.0, 0.0], [0.0, 1.0]]).eigenvalues
    tensor([2.+0.j, 1.+0.j], dtype=complex64)
    """
    with checking_linalg(xp):
        w, v = xp.linalg.eig(xp.asarray(a))
    dtype = xp.result_type(v.dtype, xp.complex64)
    return w.astype(dtype, copy=False), v.astype(dtype, copy=False)


def _apart(rng: Any, *shape: int) -> Any:
    """Random matrices with singular values apart."""
    return array(rng, *shape, low=-0.5, high=0.5) + numpy.eye(shape[-2], shape[-1]) * (1 + 2 * numpy.arange(shape[-1]))


def _svd_rule(F: Any, t: Any, out: Any) -> Any:
    u, s, vh = out
    tu, ts, tvh = conjugate(F, t[0]), t[1], conjugate(F, t[2])
    uh, v, tv = _adjoint(F, u), _adjoint(F, vh), _adjoint(F, tvh)
    zero = s == 0
    inverse = F.where(zero, 0.0, 1 / F.where(zero, 1.0, s))
    gaps = _gaps(F, s * s)
    left, right = F.matmul(uh, tu), F.matmul(vh, tv)
    row = F.expand_dims(s, -2)
    inner = (left - _adjoint(F, left)) * gaps * row + F.expand_dims(s, -1) * ((right - _adjoint(F, right)) * gaps)
    inner = inner + F.diag_embed(ts)
    if u.dtype.kind == "c":  # the phases of singular vectors
        phase = F.diag_part(left)
        inner = inner + F.diag_embed((phase - conjugate(F, phase)) * (0.5 * inverse))
    g = F.matmul(F.matmul(u, inner), vh)
    scaled = tu * F.expand_dims(inverse, -2)
    g = g + F.matmul(scaled - F.matmul(u, F.matmul(uh, scaled)), vh)
    scaled = F.expand_dims(inverse, -1) * tvh
    g = g + F.matmul(u, scaled - F.matmul(F.matmul(scaled, v), vh))
    return conjugate(F, g)


@several(
    returns=SVDResult,
    vjp=(_svd_rule,),
    samples=calls(lambda rng: ((_apart(rng, 4, 3),), {}), lambda rng: ((_apart(rng, 2, 3, 4),), {})),
)
def svd_reduced(xp: Any, a: ArrayLike) -> Any:
    """Singular value decomposition without the vectors of the null space (`numpy.linalg.svd`, ``full_matrices=False``).

    >>> import gpugrad as gg
    >>> gg.ops.decompositions.svd_reduced([[3.0, 0.0], [0.0, 4.0]]).S
    tensor([4., 3.])
    """
    with checking_linalg(xp):
        return tuple(xp.linalg.svd(xp.asarray(a), full_matrices=False))


def _qr_rule(F: Any, t: Any, out: Any) -> Any:
    q, r = out
    tq, tr = conjugate(F, t[0]), conjugate(F, t[1])
    m = F.triu(F.matmul(tr, _adjoint(F, r)) - F.matmul(_adjoint(F, q), tq))
    diagonal = F.diag_part(m)
    m = m + _adjoint(F, m) - F.diag_embed(F.astype(F.real(diagonal) if m.dtype.kind == "c" else diagonal, m.dtype))
    g = tq + F.matmul(q, m)
    return conjugate(F, _adjoint(F, F.solve(r, _adjoint(F, g))))


def _tall(rng: Any, *shape: int) -> Any:
    return array(rng, *shape) + 3 * numpy.eye(shape[-2], shape[-1])


@several(
    returns=QRResult,
    vjp=(_qr_rule,),
    samples=calls(lambda rng: ((_tall(rng, 4, 3),), {}), lambda rng: ((_tall(rng, 2, 3, 3),), {})),
)
def qr_reduced(xp: Any, a: ArrayLike) -> Any:
    """QR decomposition of matrices with no more columns than rows (`numpy.linalg.qr`).

    >>> import gpugrad as gg
    >>> q, r = gg.ops.decompositions.qr_reduced([[3.0], [4.0]])
    >>> gg.abs(r)
    tensor([[5.]])
    """
    a = xp.asarray(a)
    if a.ndim < 2 or a.shape[-2] < a.shape[-1]:
        raise ValueError(f"matrices with no more columns than rows are needed, got shape {a.shape}")
    with checking_linalg(xp):
        return tuple(xp.linalg.qr(a))


# --- the Euclidean norm -------------------------------------------------------------------------------------------


def _norm_rule(F: Any, t: Any, x: Any, out: Any, axis: Any) -> Any:
    from .axes import kept_shape

    kept = kept_shape(x.shape, axis)
    flat = out == 0
    scale = F.where(flat, 0.0, t / F.where(flat, 1.0, out))
    return conjugate(F, x) * F.reshape(scale, kept)


@primitive(
    vjp=(_norm_rule,),
    samples=calls(
        lambda rng: ((array(rng, 3, 4),), {}),
        lambda rng: ((array(rng, 2, 3, 4),), {"axis": (0, 2), "keepdims": True}),
        lambda rng: ((array(rng, 3, 4),), {"axis": -1}),
        lambda rng: ((complex_array(rng, 3, 4),), {"axis": 0}),
    ),
)
def norm2(xp: Any, x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Any:
    """Root of the sum of squares of absolute values over axes. Its gradient at 0 is 0, as in PyTorch.

    >>> import gpugrad as gg
    >>> gg.ops.decompositions.norm2([3.0, 4.0])
    tensor(5.)
    """
    x = xp.asarray(x)
    squares = xp.real(x) ** 2 + xp.imag(x) ** 2 if x.dtype.kind == "c" else x * x
    return xp.sqrt(xp.sum(squares, axis=axis, keepdims=keepdims))


__all__ = [
    "EigResult",
    "EighResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "det",
    "eig",
    "eigh",
    "inv",
    "norm2",
    "pinv",
    "qr_reduced",
    "slogdet",
    "solve",
    "svd_reduced",
]
