"""Batches made ahead of their use, by threads or by processes; they come in order, and so does what one raises."""

from __future__ import annotations

import contextvars
import pickle
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backend import default_dtype, set_default_dtype
from ..errors import DataError
from ..ops.random import manual_seed

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["by_processes", "by_threads"]

Numbers = NDArray[np.intp]
Make = Callable[[Numbers], Any]


def by_threads(make: Make, parts: Iterable[Numbers], workers: int, ahead: int) -> Iterator[Any]:
    """What `make` gives for each part; threads are up to `ahead` parts further."""
    from concurrent.futures import ThreadPoolExecutor  # most programs make none

    # Modes such as no_grad are a context's: a thread gets those that the loop has now.
    tasks = ((contextvars.copy_context().run, make, part) for part in parts)
    return _in_order(ThreadPoolExecutor(workers, "DataLoader"), tasks, ahead)


def by_processes(make: Make, parts: Iterable[Numbers], seeds: Iterable[int], workers: int, ahead: int) -> Iterator[Any]:
    """The same by processes. Before each part, random generators are started from its seed, whichever process has it.

    The processes are new ones, not forks, which would inherit locks of other threads, and CUDA's state, in the middle of things.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    try:
        sent = pickle.dumps(make)
    except Exception as error:
        raise DataError(
            f"DataLoader: what makes the batches cannot be sent to processes: {type(error).__name__}: {error}; let data set and "
            "collate_fn be of a module's own level, without open files, or use threads (processes=False)"
        ) from error
    start = (sent, str(default_dtype()))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, start)
    try:
        yield from _in_order(pool, ((_made, part, seed) for part, seed in zip(parts, seeds)), ahead)
    except BrokenProcessPool as error:
        raise DataError(
            "DataLoader: a worker process ended before its time. It was killed (out of memory?), or crashed, or could not start: "
            "what it wrote is above. A script that uses processes must do its work under `if __name__ == '__main__':`"
        ) from error


def _in_order(pool: Executor, tasks: Iterable[tuple[Any, ...]], ahead: int) -> Iterator[Any]:
    pending: deque[Future[Any]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(*task))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the loop is broken off: nothing reads the data set after that
        pool.shutdown(cancel_futures=True)


# --- in a process

_make: Make | None = None


def _begin(sent: bytes, dtype: str) -> None:
    global _make
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent decides what becomes of the others
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    set_default_dtype(dtype)
    _make = pickle.loads(sent)


def _end_with_the_parent() -> None:
    """A parent that is killed tells nobody."""
    import multiprocessing
    import os

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _made(part: Numbers, seed: int) -> Any:
    assert _make is not None
    manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for data sets that use it
    try:
        return _make(part)
    except Exception as error:
        raise _that_travels(error) from error


def _that_travels(error: Exception) -> Exception:
    """The error, or one that says the same, if its kind cannot be taken apart and put together again."""
    try:
        same = pickle.loads(pickle.dumps(error))
    except Exception:
        same = None
    if type(same) is type(error) and str(same) == str(error):
        return error
    told = DataError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", ()):
        told.add_note(note)
    return told
