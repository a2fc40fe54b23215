"""Fourier transforms under NumPy's names (`numpy.fft`), with its arguments `n` or `s`, `axis` or `axes`, and `norm`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import DTypeLike

from . import backend
from .op import ArrayLike, as_tensor
from .ops import complex_numbers, manipulation
from .ops.axes import axes_of
from .ops.fourier import fft, ifft, irfft, rfft

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Axes = Sequence[int] | None


def _plan(x: Any, s: Any, axes: Axes) -> tuple[list[int | None], list[int]]:
    """Lengths and axes, worked out as NumPy does."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(-len(s), 0)
    lengths: list[int | None] = [None] * len(axes) if s is None else list(s)
    if len(lengths) != len(axes):
        raise ValueError(f"fft: {len(lengths)} lengths for {len(axes)} axes")
    return lengths, list(axes)


def _each(transform: Callable[..., Any], a: ArrayLike, s: Any, axes: Axes, norm: str | None) -> Any:
    x = as_tensor(a)
    for n, axis in reversed(list(zip(*_plan(x, s, axes), strict=True))):
        x = transform(x, n, axis, norm)
    return x


def fftn(a: ArrayLike, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """Transform over several axes (`numpy.fft.fftn`).

    >>> import gpugrad as gg
    >>> gg.fft.fftn(gg.ones((2, 2)))[0, 0]
    tensor(4.+0.j, dtype=complex64)
    """
    return _each(fft, a, s, axes, norm)


def ifftn(a: ArrayLike, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """Inverse of `fftn` (`numpy.fft.ifftn`).

    >>> import gpugrad as gg
    >>> gg.fft.ifftn(gg.ones((2, 2)))[0, 0]
    tensor(1.+0.j, dtype=complex64)
    """
    return _each(ifft, a, s, axes, norm)


def fft2(a: ArrayLike, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """Transform over two axes (`numpy.fft.fft2`).

    >>> import gpugrad as gg
    >>> gg.fft.fft2(gg.ones((2, 2)))[0, 0]
    tensor(4.+0.j, dtype=complex64)
    """
    return fftn(a, s, axes, norm)


def ifft2(a: ArrayLike, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """Inverse of `fft2` (`numpy.fft.ifft2`).

    >>> import gpugrad as gg
    >>> gg.fft.ifft2(gg.ones((2, 2)))[0, 0]
    tensor(1.+0.j, dtype=complex64)
    """
    return ifftn(a, s, axes, norm)


def rfftn(a: ArrayLike, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """Transform of a real array over several axes, the last by `rfft` (`numpy.fft.rfftn`).

    >>> import gpugrad as gg
    >>> gg.fft.rfftn(gg.ones((2, 4))).shape
    (2, 3)
    """
    x = as_tensor(a)
    lengths, places = _plan(x, s, axes)
    x = rfft(x, lengths[-1], places[-1], norm)
    return _each(fft, x, lengths[:-1], places[:-1], norm)


def irfftn(a: ArrayLike, s: Any = None, axes: Axes = None, norm: str | None = None) -> Any:
    """Inverse of `rfftn` (`numpy.fft.irfftn`).

    >>> import gpugrad as gg
    >>> gg.fft.irfftn(gg.ones((2, 3))).shape
    (2, 4)
    """
    x = as_tensor(a)
    lengths, places = _plan(x, s, axes)
    x = _each(ifft, x, lengths[:-1], places[:-1], norm)
    return irfft(x, lengths[-1], places[-1], norm)


def rfft2(a: ArrayLike, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """Transform of a real array over two axes (`numpy.fft.rfft2`).

    >>> import gpugrad as gg
    >>> gg.fft.rfft2(gg.ones((2, 4))).shape
    (2, 3)
    """
    return rfftn(a, s, axes, norm)


def irfft2(a: ArrayLike, s: Any = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """Inverse of `rfft2` (`numpy.fft.irfft2`).

    >>> import gpugrad as gg
    >>> gg.fft.irfft2(gg.ones((2, 3))).shape
    (2, 4)
    """
    return irfftn(a, s, axes, norm)


_OPPOSITE = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def hfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Transform of a signal with Hermitian symmetry, of which the first half is given (`numpy.fft.hfft`).

    >>> import gpugrad as gg
    >>> gg.fft.hfft([1.0, 0.0]).shape
    (2,)
    """
    return irfft(complex_numbers.conjugate(a), n, axis, _OPPOSITE[norm])


def ihfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Inverse of `hfft` (`numpy.fft.ihfft`).

    >>> import gpugrad as gg
    >>> gg.fft.ihfft([1.0, 0.0]).shape
    (2,)
    """
    return complex_numbers.conjugate(rfft(a, n, axis, _OPPOSITE[norm]))


def _shifts(x: Any, axes: Any, sign: int) -> tuple[list[int], list[int]]:
    places = axes_of(axes, x.ndim)
    lengths = [x.shape[i] for i in places]
    return [n // 2 if sign > 0 else -(n // 2) for n in lengths], list(places)


def fftshift(x: ArrayLike, axes: Any = None) -> Any:
    """Frequency zero moved to the middle (`numpy.fft.fftshift`).

    >>> import gpugrad as gg
    >>> gg.fft.fftshift([0.0, 1.0, -1.0])
    tensor([-1.,  0.,  1.])
    """
    x = as_tensor(x)
    return manipulation.roll(x, *_shifts(x, axes, 1))


def ifftshift(x: ArrayLike, axes: Any = None) -> Any:
    """Inverse of `fftshift` (`numpy.fft.ifftshift`).

    >>> import gpugrad as gg
    >>> gg.fft.ifftshift([-1.0, 0.0, 1.0])
    tensor([ 0.,  1., -1.])
    """
    x = as_tensor(x)
    return manipulation.roll(x, *_shifts(x, axes, -1))


def fftfreq(n: int, d: float = 1.0, dtype: DTypeLike | None = None, device: str | None = None) -> Any:
    """Frequencies of `fft` (`numpy.fft.fftfreq`), of the default dtype.

    >>> import gpugrad as gg
    >>> gg.fft.fftfreq(2)
    tensor([ 0. , -0.5])
    """
    return as_tensor(numpy.fft.fftfreq(n, d).astype(dtype or backend.default_dtype())).to(device)


def rfftfreq(n: int, d: float = 1.0, dtype: DTypeLike | None = None, device: str | None = None) -> Any:
    """Frequencies of `rfft` (`numpy.fft.rfftfreq`), of the default dtype.

    >>> import gpugrad as gg
    >>> gg.fft.rfftfreq(2)
    tensor([0. , 0.5])
    """
    return as_tensor(numpy.fft.rfftfreq(n, d).astype(dtype or backend.default_dtype())).to(device)
