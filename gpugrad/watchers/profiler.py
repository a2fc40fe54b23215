"""Where the time and the memory of a program go, by op and by line: what `gpugrad.profile` turns on."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy

from ..backend import first_on_gpu, namespace_of, on_device_of
from ..errors import Site, format_site, short_site, user_site
from ..mutations import owner_of
from ..tape import Node
from .watcher import Watcher, arrays_in

__all__ = ["Profile", "Row"]

MOST_ROWS = 15


class Event(NamedTuple):
    """One run of an op. Times are in nanoseconds since the start; `own` leaves out ops that ran inside it."""

    name: str
    phase: str
    site: Site | None
    start: int
    duration: int
    own: int
    nbytes: int
    device: tuple[int, Any, Any] | None
    """A GPU's number, and its events before and after."""


class Row(NamedTuple):
    """A line of a table: an op or a line of the program, and what it cost.

    Attributes
    ----------
    name, phase : str
        Of the op; of a line, `phase` is empty.
    calls : int
    seconds : float
        On a GPU where the ops ran there, else on the CPU.
    nbytes : int
        Of the arrays that it made.
    """

    name: str
    phase: str
    calls: int
    seconds: float
    nbytes: int


class Holder(NamedTuple):
    """Who made arrays that were alive at the peak."""

    name: str
    phase: str
    site: Site | None


class Profile(Watcher):
    """What `profile` measured.

    Attributes
    ----------
    seconds : float
        Length of the block.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0
        self._events: list[Event] = []
        self._inside: list[int] = []  # per op that is running, the time spent in ops inside it
        self._rule: Holder | None = None
        """Whose rule is running: ops that it consists of count as it."""
        self._made = 0
        self._live: dict[int, weakref.ref[Any]] = {}
        self._changes: list[tuple[int, int, Holder]] = []  # when, bytes more or less, whose
        self._bases: dict[int, tuple[int, Any]] = {}
        """When the first event of each GPU was, and that event: events of several cannot be compared."""
        self._library: Any = numpy

    def start(self) -> None:
        """Start the clock."""
        self._began = perf_counter_ns()

    def stop(self) -> None:
        """Stop the clock, and wait for a GPU."""
        self.seconds = (perf_counter_ns() - self._began) * 1e-9
        self._live.clear()
        for number in self._bases:
            self._library.cuda.Device(number).synchronize()

    # --- watching ---

    def forward(self, op: Any, forward: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        """Run and time an op."""
        if self._rule is not None:
            out = forward(*arrays, **params)
            self._made += self._note([out], self._rule)
            return out
        who = Holder(op.name, "forward" if op.mutates is None else "update", user_site())
        return self._timed(who, arrays, forward, arrays, params)

    def backward(self, node: Node, rule: Callable[..., Any], t: Any, saved: tuple[Any, ...]) -> Any:
        """Run and time a rule."""
        return self._timed_rule(Holder(node.op.name, "backward", node.site), node, [t, saved], rule, (t, saved))

    def push(self, push: Callable[..., Any], F: Any, node: Node, tangents: list[Any]) -> Any:
        """Run and time a rule of forward mode."""
        return self._timed_rule(Holder(node.op.name, "tangent", node.site), node, tangents, push, (F, node, tangents))

    def _timed_rule(self, who: Holder, node: Node, given: Any, rule: Callable[..., Any], args: Any) -> Any:
        if node.op.kind == "pick" or self._rule is not None:
            return rule(*args)
        if node.op.kind == "function":  # its backward is a program of the user's own, or a checkpoint's forward
            return self._timed(who, given, rule, args, {})
        self._rule, self._made = who, 0
        try:
            return self._timed(who, given, rule, args, {})
        finally:
            self._rule, self._made = None, 0

    def _timed(self, who: Holder, given: Any, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        like = first_on_gpu(list(arrays_in(given)))
        self._note(given, who._replace(name="given"))
        device = None if like is None else self._device_started(like, who)
        self._inside.append(0)
        start = perf_counter_ns()
        try:
            out = function(*args, **kwargs)
        finally:
            duration = perf_counter_ns() - start
            inside = self._inside.pop()
            if device is not None:
                with on_device_of(like):
                    device[2].record()
                self._library.cuda.nvtx.RangePop()
        if self._inside:
            self._inside[-1] += duration
        made = self._note([out], who) + self._made
        alone = device if not inside else None  # a GPU's time is counted once, in the innermost op
        self._events.append(Event(*who, start - self._began, duration, duration - inside, made, alone))
        return out

    def _device_started(self, like: Any, who: Holder) -> tuple[int, Any, Any]:
        self._library = xp = namespace_of(like)
        xp.cuda.nvtx.RangePush(f"{who.name} {who.phase}")
        with on_device_of(like):
            before, after = xp.cuda.Event(), xp.cuda.Event()
            before.record()
        number = int(like.device.id)
        if number not in self._bases:
            self._bases[number] = perf_counter_ns() - self._began, before
        return number, before, after

    def _note(self, values: Any, who: Holder) -> int:
        """Take in arrays that were not seen before: their bytes, with a note for when they go."""
        total = 0
        for array in arrays_in(values):
            if isinstance(array, numpy.generic):
                continue
            owner = owner_of(array)
            key, nbytes = id(owner), owner.nbytes
            if key in self._live:
                continue

            def gone(reference: Any, key: int = key, nbytes: int = nbytes) -> None:
                if self._live.get(key) is reference:
                    del self._live[key]
                    self._changes.append((perf_counter_ns() - self._began, -nbytes, who))

            self._live[key] = weakref.ref(owner, gone)
            self._changes.append((perf_counter_ns() - self._began, nbytes, who))
            total += nbytes
        return total

    # --- what came of it ---

    def _seconds_of(self, event: Event) -> float:
        if event.device is None:
            return event.own * 1e-9
        return float(self._library.cuda.get_elapsed_time(*event.device[1:])) * 1e-3

    def _rows(self, key: Callable[[Event], tuple[str, str]]) -> list[Row]:
        sums: dict[tuple[str, str], list[Any]] = {}
        for event in self._events:
            entry = sums.setdefault(key(event), [0, 0.0, 0])
            entry[0] += 1
            entry[1] += self._seconds_of(event)
            entry[2] += event.nbytes
        return sorted((Row(*names, *entry) for names, entry in sums.items()), key=lambda row: -row.seconds)

    def by_op(self) -> list[Row]:
        """One row for each op and phase (forward, backward, update, tangent), most time first."""
        return self._rows(lambda event: (event.name, event.phase))

    def by_line(self) -> list[Row]:
        """One row for each line of your program, most time first; a backward counts where the forward ran."""
        return self._rows(lambda event: (short_site(event.site), ""))

    @property
    def peak(self) -> int:
        """The most bytes that were alive at one time."""
        return sum(nbytes for _, nbytes in self.at_peak())

    def at_peak(self) -> list[tuple[str, int]]:
        """Who held how many bytes when they were most; most first. What ops were given, and did not make, is "given"."""
        total, most, end = 0, 0, 0
        for i, (_, change, _) in enumerate(self._changes):
            total += change
            if total > most:
                most, end = total, i + 1
        held: dict[str, int] = {}
        for _, change, who in self._changes[:end]:
            name = "given to ops" if who.name == "given" else f"{who.name} {who.phase}, {short_site(who.site)}"
            held[name] = held.get(name, 0) + change
        return sorted(((name, nbytes) for name, nbytes in held.items() if nbytes), key=lambda item: -item[1])

    def __str__(self) -> str:
        inside = sum(map(self._seconds_of, self._events))
        lines = [
            f"{len(self._events):,} ops took {_time(inside)} of {_time(self.seconds)}; "
            f"at most {_bytes(self.peak)} were held by arrays"
        ]
        for title, rows in {"op": self.by_op(), "line": self.by_line()}.items():
            table: list[tuple[str, ...]] = [(title, "", "calls", "time", "share", "made")]
            table += [_cells(row, inside) for row in rows[:MOST_ROWS]]
            lines += ["", *_aligned(table)]
            if len(rows) > MOST_ROWS:
                lines.append(f"… {len(rows) - MOST_ROWS} more")
        held = [(_bytes(nbytes), name) for name, nbytes in self.at_peak()]
        lines += ["", "held at the peak", *(f"{size:>9}  {name[:120]}" for size, name in held[:MOST_ROWS])]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Profile of {len(self._events):,} ops in {_time(self.seconds)}>"

    def save_trace(self, path: str | Path) -> None:
        """Write a JSON file for chrome://tracing or https://ui.perfetto.dev: ops in time, and the memory under them."""
        events: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}}
            for tid, name in ((1, "CPU"), (2, "GPU"))[: 2 if self._bases else 1]
        ]
        for event in self._events:
            common = {"name": event.name, "cat": event.phase, "ph": "X", "pid": 1}
            common["args"] = {"phase": event.phase, "line": format_site(event.site), "bytes": event.nbytes}
            events.append(common | {"tid": 1, "ts": event.start / 1e3, "dur": event.duration / 1e3})
            if event.device is not None:
                began, first = self._bases[event.device[0]]
                since = self._library.cuda.get_elapsed_time(first, event.device[1]) * 1e3
                events.append(common | {"tid": 2, "ts": began / 1e3 + since, "dur": self._seconds_of(event) * 1e6})
        total = 0
        for when, change, _ in self._changes:
            total += change
            events.append({"name": "memory", "ph": "C", "pid": 1, "ts": when / 1e3, "args": {"bytes": total}})
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


def _cells(row: Row, total: float) -> tuple[str, ...]:
    share = f"{100 * row.seconds / total:.0f}%" if total else ""
    return row.name[:100], row.phase, f"{row.calls:,}", _time(row.seconds), share, _bytes(row.nbytes)


def _aligned(table: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows of a table: the first two columns to the left, figures to the right."""
    table = list(table)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)) if w]
        yield "  ".join(cells).rstrip()


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} B"
