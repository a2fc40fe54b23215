"""Cotangents of parts: what reading ``x[index]`` sends back, put into zeros only when all that read `x` have sent theirs.

A loop over the rows of an array reads it row by row. If each row's cotangent became an array of the whole shape, to be added
to the others, the backward would take the square of the time of the forward. So the rule of indexing only says what belongs
where; the walk collects it, and the sum is made by one op when the cotangent of `x` is needed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Placed"]


class Placed:
    """A cotangent that is zero but for some values at some indices, which add up where they meet."""

    __slots__ = ("dtype", "indices", "items", "whole")

    shape = None
    """Unlike that of any array: so the walk finds it where it looks for cotangents of another shape."""

    def __init__(self, value: Any, index: Any, whole: tuple[int, ...]) -> None:
        self.items, self.indices, self.whole, self.dtype = [value], [index], whole, value.dtype

    def __add__(self, other: Any) -> Placed:
        """With another one, or a whole cotangent, added to it, in place: a walk alone holds it."""
        if other.__class__ is Placed:
            self.items += other.items
            self.indices += other.indices
        else:
            self.items.append(other)
            self.indices.append(Ellipsis)
        return self

    def dense(self, F: Any) -> Any:
        """The sum, as an array or a Tensor of the whole shape."""
        if len(self.items) == 1:
            out = F.index_add_zeros(self.items[0], self.indices[0], self.whole)
        else:
            out = F.index_sum(self.items, tuple(self.indices), self.whole)
        return out if out.dtype == self.dtype else F.astype(out, self.dtype)
