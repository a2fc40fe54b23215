"""Complex numbers: parts, conjugates, angles.

Gradients follow PyTorch's convention: that of a real value by z = x + iy is dx + i dy. In rules cotangents are the
conjugates of that (see `gpugrad.tape.conjugate`), and a cotangent that meets a real input is replaced by its real part.
"""

from __future__ import annotations

from math import pi
from typing import Any

from ..op import ArrayLike, elementwise, elementwise_function
from .samples import calls, complex_array, unary


def _sample(rng: Any) -> Any:
    return (complex_array(rng, 3, 4),), {}


@elementwise(ufunc="conjugate", cuda="conj({x})", d=(lambda F, t: F.conjugate(t),), samples=calls(_sample))
def conjugate(x: ArrayLike) -> Any:
    """Complex conjugate, elementwise (`numpy.conjugate`).

    >>> import gpugrad as gg
    >>> gg.conjugate(gg.tensor([1 + 2j]))
    tensor([1.-2.j], dtype=complex64)
    """


@elementwise_function(d=(lambda F, t: t,), samples=calls(_sample))
def real(xp: Any, x: ArrayLike) -> Any:
    """Real part, elementwise (`numpy.real`).

    >>> import gpugrad as gg
    >>> gg.real(gg.tensor([1 + 2j]))
    tensor([1.])
    """
    return xp.real(xp.asarray(x))


@elementwise_function(d=(lambda F, t: t * -1j,), samples=calls(_sample))
def imag(xp: Any, x: ArrayLike) -> Any:
    """Imaginary part, elementwise (`numpy.imag`); zeros for real input.

    >>> import gpugrad as gg
    >>> gg.imag(gg.tensor([1 + 2j]))
    tensor([2.])
    """
    return xp.imag(xp.asarray(x))


def _angle_rule(F: Any, t: Any, x: Any, deg: bool) -> Any:
    t = t * (180 / pi) if deg else t
    squared = F.real(x * F.conjugate(x))
    return t * (F.conjugate(x) * -1j / F.where(squared == 0, 1.0, squared))


@elementwise_function(d=(_angle_rule,), samples=calls(_sample, lambda rng: (*unary(0.5, 2)(rng),)[0]))
def angle(xp: Any, x: ArrayLike, deg: bool = False) -> Any:
    """Argument of a complex number in (-pi, pi], or in degrees (`numpy.angle`). Its gradient at 0 is 0.

    >>> import gpugrad as gg
    >>> gg.angle(gg.tensor([1j]))
    tensor([1.5708])
    """
    return xp.angle(x, deg)


__all__ = ["angle", "conjugate", "imag", "real"]
