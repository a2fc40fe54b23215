"""Batches copied to a GPU ahead of their use, through page-locked memory, while the GPU computes on those before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..backend import device_of, on_device, out_of_memory, to_device
from ..errors import OutOfMemoryError, format_site, user_site
from ..tensor import Tensor, wrap
from ..tree import flatten

__all__ = ["on_their_way"]


def on_their_way(batches: Iterable[Any], device: str) -> Iterator[Any]:
    """Batches with their arrays on `device`; those for a GPU are copied one batch ahead.

    Arrays and Tensors are moved, wherever in nested tuples, lists and dicts they are; all else is handed on.
    """
    if device == "cpu":
        for batch in batches:
            leaves, rebuild = flatten(batch)
            yield rebuild([_moved(leaf, device) for leaf in leaves])
        return
    courier = _Courier(device)
    sent: list[_Sent] = []
    try:
        for batch in batches:
            sent.append(courier.send(batch))
            if len(sent) == 2:
                yield courier.receive(sent.pop(0))
        while sent:
            yield courier.receive(sent.pop(0))
    finally:
        for rest in sent:  # the loop was left early: nobody may get this memory while it is written to
            courier.receive(rest)


def _moved(leaf: Any, device: str) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().to(device)
    is_array = (isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc") or device_of(leaf) != "cpu"
    return to_device(leaf, device) if is_array else leaf


class _Sent:
    """A batch whose arrays may still be under way, and the event that tells when they are there."""

    def __init__(self, batch: Any, event: Any) -> None:
        self.batch, self.event = batch, event


class _Courier:
    """A stream for copies beside that of the computation, and two sets of page-locked buffers, used by turns."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.cupy, there = on_device(device)
        with there:
            self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.buffers: list[dict[int, Any]] = [{}, {}]
        self.events: list[Any] = [None, None]
        self.turn = 0

    def send(self, batch: Any) -> _Sent:
        """Begin to copy a batch."""
        self.turn = 1 - self.turn
        if self.events[self.turn] is not None:
            self.events[self.turn].synchronize()  # the copy before the last: its buffers are written to again
        leaves, rebuild = flatten(batch)
        with on_device(self.device)[1]:
            try:
                moved = [self._send(number, leaf) for number, leaf in enumerate(leaves)]
            except MemoryError as error:
                full = f"DataLoader: a batch does not fit: {out_of_memory([], error)}"
                raise OutOfMemoryError(f"{full}\n  at {format_site(user_site())}") from error
            event = self.events[self.turn] = self.stream.record()
        return _Sent(rebuild(moved), event)

    def _send(self, number: int, leaf: Any) -> Any:
        raw = leaf._array if isinstance(leaf, Tensor) else leaf
        if not isinstance(raw, np.ndarray) or not raw.size or raw.dtype.kind not in "biufc":
            return _moved(leaf, self.device) if device_of(raw) != self.device else leaf
        target = self.cupy.empty(raw.shape, raw.dtype)
        # The memory may be that of an array that was freed while kernels still read it: the copy waits for those.
        self.stream.wait_event(self.cupy.cuda.get_current_stream().record())
        target.set(self._locked(number, raw), self.stream)
        return wrap(target) if isinstance(leaf, Tensor) else target

    def _locked(self, number: int, raw: Any) -> Any:
        """A copy of an array in page-locked memory, from which the GPU can fetch it by itself."""
        buffers = self.buffers[self.turn]
        if number not in buffers or buffers[number].nbytes < raw.nbytes:
            memory = self.cupy.cuda.alloc_pinned_memory(raw.nbytes)
            buffers[number] = np.frombuffer(memory, np.uint8, raw.nbytes)
        locked = buffers[number][: raw.nbytes].view(raw.dtype).reshape(raw.shape)
        np.copyto(locked, raw)
        return locked

    def receive(self, sent: _Sent) -> Any:
        """A batch that the computation may use: what it does from now on waits for the copy."""
        with on_device(self.device)[1]:
            self.cupy.cuda.get_current_stream().wait_event(sent.event)
        return sent.batch
