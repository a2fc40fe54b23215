"""The ambient state that `apply` reads, and what it records for a program.

It is one object in a context variable, so that threads and asyncio tasks do not see each other's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

import numpy

__all__ = ["Mode", "Record", "current_mode", "enable_grad", "mode_with", "no_grad", "recording"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Mode:
    """What `apply` must know of its surroundings.

    Attributes
    ----------
    grad : bool
        Whether to make nodes.
    records : list of Record, or None
        Where to record what runs.
    tracing : bool
        Whether a transform traces.
    autocast : dtype or None
        In what products are computed, see `gpugrad.amp`.
    watchers : tuple of Watcher
        Who sees each op run, see `gpugrad.watch`.
    apart : bool
        Whether modules run layer by layer, also where they could run several as one op: for pictures and for blame.
    """

    __slots__ = ("apart", "autocast", "grad", "records", "tracing", "watchers")

    def __init__(
        self,
        grad: bool = True,
        records: list[Record] | None = None,
        tracing: bool = False,
        autocast: Any = None,
        watchers: tuple[Any, ...] = (),
        apart: bool = False,
    ) -> None:
        self.grad, self.records, self.tracing, self.autocast, self.watchers = grad, records, tracing, autocast, watchers
        self.apart = apart

    def but(self, **changes: Any) -> Mode:
        """This mode with some fields changed."""
        return Mode(**{name: getattr(self, name) for name in Mode.__slots__} | changes)


_DEFAULT, _NO_GRAD = Mode(), Mode(grad=False)
_mode: ContextVar[Mode] = ContextVar("gpugrad_mode", default=_DEFAULT)
current_mode = _mode.get


@contextmanager
def mode_with(**changes: Any) -> Iterator[Mode]:
    """Run a block under the current mode with some fields changed; seen by this thread and this task only."""
    mode = _mode.get().but(**changes)
    token = _mode.set(mode)
    try:
        yield mode
    finally:
        _mode.reset(token)


class _GradSwitch:
    """A context manager and decorator that sets gradient recording; instances may be nested and reused."""

    _grad: bool

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        mode = _mode.get()
        changed = _NO_GRAD if mode is _DEFAULT and not self._grad else mode.but(grad=self._grad)
        self._tokens.append(_mode.set(changed))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _mode.reset(self._tokens.pop())

    def __call__(self, function: AnyFunction) -> AnyFunction:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradSwitch):
    """Record nothing inside the block or the decorated function (`torch.no_grad`).

    Seen by the current thread and asyncio task only.

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0], requires_grad=True)
    >>> with gg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    >>> @gg.no_grad()
    ... def evaluate(x):
    ...     return x * 2
    >>> evaluate(x).requires_grad
    False
    """

    _grad = False


class enable_grad(_GradSwitch):
    """Record inside the block or the decorated function, also within `no_grad` (`torch.enable_grad`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0], requires_grad=True)
    >>> with gg.no_grad(), gg.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _grad = True


# --- a program as a flat list -------------------------------------------------------------------------------------


class Record:
    """One op that ran: what a straight-line program is made of.

    Operands are the raw arrays themselves, so that a later record that reads an earlier one's result holds the same
    object. Ops that mutate name their targets in ``op.mutates``.
    """

    __slots__ = ("inputs", "op", "out", "params")

    def __init__(self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any], out: Any) -> None:
        self.op, self.inputs, self.params, self.out = op, inputs, params, out

    def __repr__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, numpy.ndarray):
                return f"%{id(value) & 0xFFFFFF:06x}:{value.dtype}{list(value.shape)}"
            if isinstance(value, tuple):
                return f"({', '.join(map(show, value))})"
            return repr(value)

        arguments = [show(value) for value in self.inputs] + [f"{k}={show(v)}" for k, v in self.params.items()]
        outs = self.out if isinstance(self.out, tuple) else (self.out,)
        target = (
            ", ".join(map(show, outs))
            if self.out is not None
            else "mutates " + ", ".join(show(self.inputs[i]) for i in self.op.mutates(len(self.inputs)))
        )
        return f"{target} = {self.op.name}({', '.join(arguments)})"


@contextmanager
def recording() -> Iterator[list[Record]]:
    """Collect a `Record` of everything that passes `dispatch.apply` in the block: forward, backward, updates and draws.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad.modes import recording
    >>> x = gg.tensor([2.0], requires_grad=True)
    >>> with recording() as records:
    ...     (x * x).sum().backward()
    >>> [record.op.name for record in records]
    ['multiply', 'sum', 'broadcast_to', 'multiply', 'multiply', 'add']
    """
    records: list[Record] = []
    with mode_with(records=records):
        yield records
