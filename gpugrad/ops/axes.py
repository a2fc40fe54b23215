"""Axes, counted as NumPy counts them: from the end where negative, and never round and round."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

from ..errors import BoundsError, ShapeError, format_site, user_site

Axis: TypeAlias = "int | tuple[int, ...] | None"


def axis_of(axis: Any, ndim: int) -> int:
    """An axis as a number from 0.

    Raises
    ------
    BoundsError
        If an array of `ndim` axes does not have it.
    """
    try:
        place = operator.index(axis)
    except TypeError:
        raise TypeError(f"an axis must be an integer, got {axis!r}") from None
    if not -ndim <= place < ndim:
        axes = "no axes" if ndim == 0 else f"axes {-ndim} to {ndim - 1}"
        raise BoundsError(f"axis {place} is out of bounds: the array has {axes}\n  at {format_site(user_site())}")
    return place % ndim


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """One axis, several, or with None all, as numbers from 0.

    Raises
    ------
    BoundsError
        If an array of `ndim` axes lacks one.
    ShapeError
        If one is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis_of(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ShapeError(f"an axis is named twice in axis={axis}\n  at {format_site(user_site())}")
    return axes


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` with the reduced axes as ones: what keepdims=True gives."""
    if axis is None or not shape:
        return (1,) * len(shape)
    reduced = axes_of(axis, len(shape))
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def cut(ndim: int, axis: int, part: Any) -> tuple[Any, ...]:
    """An index that takes a part of one axis and all of the others."""
    return (slice(None),) * axis_of(axis, ndim) + (part,)
