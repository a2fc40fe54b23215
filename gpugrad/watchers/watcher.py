"""What a watcher is, how it is turned on, and what it needs to look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import numpy

from .. import backend
from ..modes import current_mode, mode_with
from ..parts import Parts
from ..tape import Node

__all__ = ["Watcher", "arrays_in", "library_of", "watched_by"]

AnyWatcher = TypeVar("AnyWatcher", bound="Watcher")


class Watcher:
    """Calls what it is handed and returns what that returns. To be overridden."""

    def forward(self, op: Any, forward: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        """Run ``forward(*arrays, **params)`` of an op."""
        return forward(*arrays, **params)

    def backward(self, node: Node, rule: Callable[..., Any], t: Any, saved: tuple[Any, ...]) -> Any:
        """Run ``rule(t, saved)``, which gives a cotangent per input of a node; raw or as Tensors."""
        return rule(t, saved)

    def push(self, push: Callable[..., Any], F: Any, node: Node, tangents: list[Any]) -> Any:
        """Run ``push(F, node, tangents)``, which gives the tangent of a node's result."""
        return push(F, node, tangents)

    @staticmethod
    def rules(F: Any, watchers: Sequence[Watcher]) -> Any:
        """The interpreter for a walk, through some watchers."""
        return _WatchedRules(F, watchers)

    def walked(self, found: Mapping[Node, Any]) -> None:
        """A walk is over, and found these cotangents of leaves."""


class _WatchedRules:
    """An interpreter that lets watchers see each rule run."""

    raw = False  # so that the walk calls `pull`

    def __init__(self, F: Any, watchers: Sequence[Watcher]) -> None:
        self._F, self._watchers = F, watchers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._F, name)

    def pull(self, node: Node, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The cotangents of a node's inputs."""
        F = self._F.beside(t) if self._F.raw and backend.libraries else self._F
        rule = functools.partial(F.pull, node, pullback)
        for watcher in self._watchers:
            rule = functools.partial(watcher.backward, node, rule)
        grads: tuple[Any, ...] = rule(t, saved)
        return grads


@contextmanager
def watched_by(watcher: AnyWatcher) -> Iterator[AnyWatcher]:
    """Run a block under the eyes of a watcher; this thread and this task only."""
    backend.detours.append(watcher)
    try:
        with mode_with(watchers=(*current_mode().watchers, watcher)):
            yield watcher
    finally:
        backend.detours.remove(watcher)


def arrays_in(values: Iterable[Any]) -> Iterator[Any]:
    """The raw arrays among values, which may be Tensors, parts, and nested tuples and lists."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from arrays_in(value)
        elif isinstance(value, Parts):
            yield from arrays_in(value.items)
        elif value is not None:
            array = getattr(value, "_array", value)
            if hasattr(array, "dtype") and hasattr(array, "nbytes"):
                yield array


def library_of(arrays: Iterable[Any]) -> ModuleType:
    """CuPy where one of its arrays is among them, else NumPy."""
    if backend.libraries:
        return next((xp for xp in map(backend.namespace_of, arrays) if xp is not numpy), numpy)
    return numpy
