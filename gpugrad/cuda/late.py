"""Errors that only a kernel sees, while Python has gone on: they are raised where the GPU is waited for anyway.

A kernel writes what is wrong into page-locked memory of the host, which it reaches by itself, and only then; so nothing is
copied and nobody waits. Results that it could not compute are nan meanwhile.
"""

from __future__ import annotations

import functools
import itertools
from types import ModuleType

import numpy

from .. import backend
from ..errors import ShapeError, Site, format_site, user_site

__all__ = ["ClassIds"]

_KEPT = 4096
"""Calls whose lines are known; far more than a GPU can be behind."""


class ClassIds:
    """Class ids that are none, reported by the kernels of one array library: an id, and the number of the call."""

    def __init__(self, xp: ModuleType) -> None:
        self._words = numpy.frombuffer(xp.cuda.alloc_pinned_memory(16), numpy.int64, 2)
        self._words[:] = 0
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[int, str, int, Site]] = {}
        self.address = numpy.uintp(self._words.ctypes.data)
        backend.reports[xp] = self.check

    @staticmethod
    @functools.cache
    def of(xp: ModuleType) -> ClassIds:
        """That of a library."""
        return ClassIds(xp)

    def enter(self, op: str, classes: int) -> numpy.int64:
        """The number of a call, by which the user's line is found again."""
        number = next(self._numbers)
        self._calls[number % _KEPT] = number, op, classes, user_site()
        return numpy.int64(number)

    def check(self) -> None:
        """Raise what was reported; once."""
        if not self._words[1]:
            return
        wrong, number = map(int, self._words)
        self._words[1] = 0
        entered, op, classes, site = self._calls[number % _KEPT]
        line = format_site(site if entered == number else None)
        error = ShapeError(
            f"{op}: class ids must be in 0..{classes - 1} for {classes} logits; got {wrong}\n  at {line}\n"
            "  the GPU was not waited for there: what came of it since is nan, parameters too if they were updated"
        )
        error.of_earlier = True
        raise error
