"""Watching ops run, forward and backward: `detect_anomaly` and `profile`. What they do is in `gpugrad.watchers`.

A watcher that is on stands in `backend.detours`, so that `apply` looks forwards up instead of calling them, and in the mode,
so that a walk lets it see the rules. Otherwise nothing is asked, nothing loaded, and nothing paid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .modes import mode_with

if TYPE_CHECKING:
    from .watchers.profiler import Profile

__all__ = ["detect_anomaly", "profile"]


@contextmanager
def detect_anomaly(nan_only: bool = False) -> Iterator[None]:
    """Raise at the first op, forward or backward, that produces nan or an infinity (`torch.autograd.detect_anomaly`).

    An op that is given an infinity, as masks are, may return one; one that returns nan never passes. On a GPU nothing is
    waited for after each op: the error comes at the end of the backward or of the block, and names the first op all the same.
    Seen by the current thread and asyncio task only.

    Parameters
    ----------
    nan_only : bool
        Let infinities pass, as gradients in float16 have while a `GradScaler` looks for its scale.

    Raises
    ------
    AnomalyError
        A FloatingPointError that names the op, its line, and the shapes and ranges of its inputs.

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([0.0, 4.0], requires_grad=True)
    >>> with gg.detect_anomaly():
    ...     gg.sqrt(x).sum().backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    gpugrad.errors.AnomalyError: backward of sqrt produced inf in 1 of 2 elements of the gradient of x
      got
        gradient of the result = float32[2] on cpu, all 1
        out = float32[2] on cpu, from 0 to 2
      sqrt ran at ...
    """
    from .watchers.anomaly import Anomalies
    from .watchers.watcher import watched_by

    watcher = Anomalies(nan_only)
    with watched_by(watcher), mode_with(apart=True):
        yield
        watcher.settle()


@contextmanager
def profile() -> Iterator[Profile]:
    """Measure each op in the block, forward and backward: time, bytes, and who holds the memory at its peak.

    Time is that of the ops themselves; the rest of the block is Python's and yours. Bytes are those of arrays that ops
    made, or were given, and somebody holds; what an op uses for itself meanwhile is not seen. On a GPU, times are the GPU's,
    and each op is an NVTX range. Seen by the current thread and asyncio task only.

    Returns
    -------
    Profile
        To print, or to save for chrome://tracing, once the block is over.

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.ones((64, 64)).requires_grad_()
    >>> with gg.profile() as profile:
    ...     (w @ w).sum().backward()
    >>> sorted((row.name, row.phase, row.calls) for row in profile.by_op())
    [('matmul', 'backward', 1), ('matmul', 'forward', 1), ('sum', 'backward', 1), ('sum', 'forward', 1)]
    >>> profile.peak >= 3 * w.nbytes  # w and its gradient's two parts
    True
    """
    from .watchers.profiler import Profile
    from .watchers.watcher import watched_by

    measured = Profile()
    with watched_by(measured):
        measured.start()
        try:
            yield measured
        finally:
            measured.stop()
