"""A CuPy that is NumPy in another class: for what must hold of programs on a GPU and needs none to be seen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from gpugrad import backend


class Array(np.ndarray):
    """An array that says it is on a GPU."""

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)


class Event:
    def record(self) -> None:
        self.at = perf_counter()


def on_gpu(values: Any) -> Any:
    return np.array(values).view(Array)


@contextmanager
def fake_cupy() -> Iterator[SimpleNamespace]:
    """Run a block as if CuPy were there; gives what its user asked of the device."""
    seen = SimpleNamespace(ranges=[], synchronized=0, fetched=0)

    def asnumpy(array: Any) -> Any:
        seen.fetched += 1
        return np.asarray(array).view(np.ndarray)

    def synchronize() -> None:
        seen.synchronized += 1

    library = ModuleType("cupy")
    library.__getattr__ = lambda name: getattr(np, name)  # type: ignore[method-assign]
    library.ndarray, library.asnumpy = Array, asnumpy  # type: ignore[attr-defined]
    library.zeros = lambda *args, **kwargs: on_gpu(np.zeros(*args, **kwargs))  # type: ignore[attr-defined]
    library.ones = lambda *args, **kwargs: on_gpu(np.ones(*args, **kwargs))  # type: ignore[attr-defined]
    library.stack = lambda arrays: on_gpu(np.stack(arrays))  # type: ignore[attr-defined]
    library.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        Event=Event,
        Device=lambda: SimpleNamespace(synchronize=synchronize),
        get_elapsed_time=lambda a, b: 1e3 * (b.at - a.at),
        nvtx=SimpleNamespace(RangePush=seen.ranges.append, RangePop=lambda: seen.ranges.append("pop")),
    )
    before = list(backend.libraries), list(backend.detours)
    with mock.patch.dict(sys.modules, cupy=library):
        backend._note(library)
        try:
            yield seen
        finally:
            backend.libraries[:], backend.detours[:] = before
