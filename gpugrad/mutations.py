"""Arrays that were changed after the tape saved them.

Nodes and mutations draw their index from one counter, so "changed since it was saved" is one comparison, and an op that
saves an array pays nothing. Arrays are known by the array that owns their memory, so views need no bookkeeping.
"""

from __future__ import annotations

import itertools
import operator
import weakref
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy

from .errors import GradientError, Site, format_site, user_site

if TYPE_CHECKING:
    from .tape import Node

__all__ = ["Mutations", "check_unchanged", "hand_out", "log_mutation", "next_index", "owner_of"]

next_index = itertools.count(1).__next__

last_change = 0
"""Index of the last mutation or hand-out: what was saved after it needs no check."""
_mutations: dict[int, tuple[weakref.ref[Any], Change]] = {}
_handed_out: dict[int, tuple[weakref.ref[Any], int, Site, int]] = {}


class Change:
    """When an array was last changed in place, and where."""

    __slots__ = ("index", "site")

    index: int
    site: Site


_entries = 0
"""How often the tables below were added to, `Mutations` apart."""


def owner_of(array: Any) -> Any:
    """The array that owns the memory of a (possibly viewing) array."""
    base = array.base
    while base is not None and hasattr(base, "base") and hasattr(base, "dtype"):
        array, base = base, base.base
    return array


def log_mutation(arrays: Iterable[Any]) -> None:
    """Note that arrays are changed in place now, by the user's current line."""
    global last_change, _entries
    change = Change()
    last_change = change.index = next_index()
    change.site = user_site()
    _entries += 1
    _enter(arrays, change)


def _enter(arrays: Iterable[Any], change: Change) -> None:
    for array in arrays:
        owner = array if array.base is None else owner_of(array)
        key = id(owner)
        known = _mutations.get(key)
        reference = known[0] if known is not None and known[0]() is owner else _watch(owner, key)
        _mutations[key] = (reference, change)
        if _handed_out:
            _handed_out.pop(key, None)


class Mutations:
    """The changes that one optimiser makes to the same arrays again and again, noted by one assignment a step.

    All its arrays share a `Change`. They are entered anew where somebody else changed an array, handed one out, or gave it
    to a Tensor, since their last step.
    """

    __slots__ = ("_arrays", "_at", "_change")

    def __init__(self) -> None:
        self._arrays: tuple[Any, ...] = ()
        self._at = -1
        self._change = Change()

    def __reduce__(self) -> Any:
        return Mutations, ()

    def over(self, arrays: tuple[Any, ...]) -> Mutations:
        """These changes, now of `arrays`."""
        if len(arrays) != len(self._arrays) or any(map(operator.is_not, arrays, self._arrays)):
            self._arrays, self._at = arrays, -1
        return self

    def note(self) -> None:
        """Note that the arrays are changed now, by the user's current line."""
        global last_change
        fresh = self._at != _entries
        if fresh:
            self._change = Change()  # others may still hold the old one
        last_change = self._change.index = next_index()
        self._change.site = user_site()
        if fresh:
            _enter(self._arrays, self._change)
            self._at = _entries


def _watch(owner: Any, key: int) -> weakref.ref[Any]:
    def forget(reference: weakref.ref[Any]) -> None:
        for table in (_mutations, _handed_out):
            entry = table.get(key)
            if entry is not None and entry[0] is reference:
                del table[key]

    return weakref.ref(owner, forget)


def hand_out(array: Any) -> None:
    """Note that the user got hold of an array that others hold too (a tape, perhaps), so may write to it unseen.

    Its checksum is what tells later whether that happened. Arrays that only one Tensor holds never come here.
    """
    global last_change, _entries
    owner = owner_of(array)
    if not isinstance(owner, numpy.ndarray) or owner.dtype.hasobject:
        return
    checksum = _checksum(owner)
    known = _handed_out.get(id(owner))
    if known is not None and known[0]() is owner:
        if known[3] == checksum:
            return
        log_mutation([owner])
    _entries += 1
    last_change = index = next_index()
    _handed_out[id(owner)] = (_watch(owner, id(owner)), index, user_site(), checksum)


def _checksum(array: Any) -> int:
    return zlib.crc32(numpy.ascontiguousarray(array).view(numpy.uint8).data) if array.size else 0


def check_unchanged(node: Node, saved: tuple[Any, ...]) -> None:
    """Raise if a value that `node` saved was changed in place after it was saved."""
    for value in itertools.chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in saved):
        if not hasattr(value, "base"):
            continue
        owner = owner_of(value)
        entry = _mutations.get(id(owner))
        if entry is not None and entry[0]() is owner and entry[1].index > node.index:
            raise _changed(node, value, f"was changed in place at {format_site(entry[1].site)}")
        handed = _handed_out.get(id(owner))
        if handed is not None and handed[0]() is owner and handed[1] > node.index and _checksum(owner) != handed[3]:
            raise _changed(node, value, f"was written to through the raw array taken at {format_site(handed[2])}")


def _changed(node: Node, value: Any, what: str) -> GradientError:
    return GradientError(
        f"backward of {node.op.name}: {value.dtype}{list(value.shape)}, which it had saved, {what}\n"
        f"  {node.op.name} ran at {format_site(node.site)}\n"
        f"  change a copy instead (x = x + 1 makes a new tensor), or change it after backward()"
    )
