"""What the parts are, how long each may take, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

__all__ = ["PARTS", "OutOfTime", "Part", "Row", "Settings", "attempt"]

Row = dict[str, Any]
"""A result with a ``"name"``; where it has a ``"fault"``, that says what is wrong or why there is none."""

T = TypeVar("T")


class Part(NamedTuple):
    """A module of this package: `rows(settings)` yields results, `table(rows)` gives those to show as cells by header.

    What is not timed is mostly spent compiling, and shared among processes, up to `shares` of them.
    """

    name: str
    title: str
    seconds: float
    shares: int = 1


PARTS = {
    part.name: part
    for part in (
        Part("registry", "Every op on CuPy against NumPy", 90, 6),
        Part("accuracy", "Every kernel against float64", 75, 3),
        Part("sanitizer", "Kernels under compute-sanitizer", 65),
        Part("bandwidth", "Bandwidth of the kernels", 50),
        Part("training", "Training steps and small programs, eager, beside other libraries", 170),
    )
}
"""In the order in which they run. Together 450 seconds; the rest of the eight minutes is for starting them."""


class OutOfTime(Exception):
    """A part's time was up before it was through."""


@dataclass
class Settings:
    """How a part is to run.

    `small` takes tiny sizes, to try the command or to run under a slow tool; the figures then mean nothing. `peers` are the
    other libraries to compare with, as far as they are installed. `share` is which of how many processes this is.
    """

    seconds: float = 60.0
    small: bool = False
    peers: tuple[str, ...] = ("torch", "torch-compile", "jax")
    share: tuple[int, int] = (0, 1)
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until the part should come to its end; a tenth is kept for ending."""
        return 0.9 * self.seconds - (time.monotonic() - self.started)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items of this process's share, while there is time for them."""
        number, count = self.share
        items = list(items)[number::count]
        for number, item in enumerate(items):
            if self.left() <= 0:
                raise OutOfTime(f"out of time: {len(items) - number} of {len(items)} were left out")
            yield item


def attempt(name: str, call: Callable[[], Row]) -> Row:
    """A row, also where the call fails: one kernel that breaks is a result, and the others should still be looked at."""
    try:
        return {"name": name} | call()
    except Exception as error:
        return {"name": name, "fault": reason(error)}


def reason(error: BaseException) -> str:
    """An exception on one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300]
