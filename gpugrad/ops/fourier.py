"""Discrete Fourier transforms along one axis. A Fourier matrix is symmetric, so the transforms are their own transposes."""

from __future__ import annotations

from typing import Any

from ..op import ArrayLike, linear
from .axes import axis_of, cut
from .samples import array, calls, complex_array


def _fitted(F: Any, x: Any, n: int, axis: int) -> Any:
    """Cut or filled with zeros to length `n` along an axis: the transpose of doing so the other way."""
    have = x.shape[axis]
    if have == n:
        return x
    if have > n:
        return F.getitem(x, cut(x.ndim, axis, slice(0, n)))
    along = axis_of(axis, x.ndim)
    full = tuple(n if i == along else m for i, m in enumerate(x.shape))
    return F.index_add_zeros(x, cut(x.ndim, axis, slice(0, have)), full)


def _fft_transpose(F: Any, t: Any, x_shape: tuple[int, ...], n: int | None, axis: int, norm: str | None) -> Any:
    return _fitted(F, F.fft(t, n, axis, norm), x_shape[axis], axis)


def _ifft_transpose(F: Any, t: Any, x_shape: tuple[int, ...], n: int | None, axis: int, norm: str | None) -> Any:
    return _fitted(F, F.ifft(t, n, axis, norm), x_shape[axis], axis)


_COMPLEX = calls(
    lambda rng: ((complex_array(rng, 3, 4),), {}),
    lambda rng: ((array(rng, 5),), {"norm": "ortho"}),
    lambda rng: ((complex_array(rng, 4, 2), 6), {"axis": 0, "norm": "forward"}),
    lambda rng: ((complex_array(rng, 5), 3), {}),
)


@linear(transpose=_fft_transpose, samples=_COMPLEX)
def fft(xp: Any, x: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Discrete Fourier transform along an axis (`numpy.fft.fft`).

    >>> import gpugrad as gg
    >>> gg.fft.fft([1.0, 0.0])
    tensor([1.+0.j, 1.+0.j], dtype=complex64)
    """
    return xp.fft.fft(xp.asarray(x), n, axis, norm)


@linear(transpose=_ifft_transpose, samples=_COMPLEX)
def ifft(xp: Any, x: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Inverse of `fft` (`numpy.fft.ifft`).

    >>> import gpugrad as gg
    >>> gg.fft.ifft([2.0, 0.0])
    tensor([1.+0.j, 1.+0.j], dtype=complex64)
    """
    return xp.fft.ifft(xp.asarray(x), n, axis, norm)


def _rfft_transpose(F: Any, t: Any, x_shape: tuple[int, ...], n: int | None, axis: int, norm: str | None) -> Any:
    length = x_shape[axis] if n is None else n
    return _fitted(F, F.real(F.fft(_fitted(F, t, length, axis), length, axis, norm)), x_shape[axis], axis)


@linear(
    transpose=_rfft_transpose,
    samples=calls(
        lambda rng: ((array(rng, 3, 4),), {}),
        lambda rng: ((array(rng, 5),), {"norm": "ortho"}),
        lambda rng: ((array(rng, 4, 2), 7), {"axis": 0, "norm": "forward"}),
        lambda rng: ((array(rng, 5), 3), {}),
    ),
)
def rfft(xp: Any, x: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The first half of the transform of a real array (`numpy.fft.rfft`).

    >>> import gpugrad as gg
    >>> gg.fft.rfft([1.0, 0.0, 0.0])
    tensor([1.+0.j, 1.+0.j], dtype=complex64)
    """
    return xp.fft.rfft(xp.asarray(x), n, axis, norm)


def _irfft_transpose(F: Any, t: Any, x_shape: tuple[int, ...], n: int | None, axis: int, norm: str | None) -> Any:
    length = t.shape[axis]
    opposite = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}[norm]
    half = F.conjugate(F.rfft(t, length, axis, opposite))
    inner = cut(t.ndim, axis, slice(1, (length + 1) // 2))  # all but the first, and of an even length the last, stand for two
    half = half + F.index_add_zeros(F.getitem(half, inner), inner, half.shape)
    return _fitted(F, half, x_shape[axis], axis)


@linear(
    transpose=_irfft_transpose,
    samples=calls(
        lambda rng: ((complex_array(rng, 3, 4),), {}),
        lambda rng: ((complex_array(rng, 4), 7), {"norm": "ortho"}),
        lambda rng: ((complex_array(rng, 4, 2), 4), {"axis": 0, "norm": "forward"}),
        lambda rng: ((complex_array(rng, 3), 9), {}),
        lambda rng: ((array(rng, 3), 4), {}),
    ),
)
def irfft(xp: Any, x: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The real array of which `x` is the first half of the transform (`numpy.fft.irfft`).

    >>> import gpugrad as gg
    >>> gg.fft.irfft([4.0, 0.0, 0.0])
    tensor([1., 1., 1., 1.])
    """
    return xp.fft.irfft(xp.asarray(x), n, axis, norm)


__all__ = ["fft", "ifft", "irfft", "rfft"]
