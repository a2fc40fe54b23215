"""Where the first nan or infinity came from: what `gpugrad.detect_anomaly` turns on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isinf
from typing import Any, NamedTuple

import numpy

from ..backend import as_result, device_of, first_on_gpu, made_beside, namespace_of, on_device_of, to_device
from ..errors import AnomalyError, Site, describe, format_site, user_site
from ..parts import Parts
from ..tape import Node
from .watcher import Watcher, arrays_in, library_of

__all__ = ["Anomalies"]

MOST_PENDING = 1000
"""So many questions are asked of a GPU before the answers are waited for."""


class _Report(NamedTuple):
    """What to say: `text` with a place for what is wrong; what the op was given; where."""

    text: str
    given: dict[str, Any]
    at: str
    site: Site | None
    params: Mapping[str, Any] = {}

    def error(self, wrong: str, given: Mapping[str, str]) -> AnomalyError:
        """The exception, once everything is known."""
        got = [f"\n    {label} = {text}" for label, text in given.items()]
        got += [f"\n    {label} = {value!r}"[:120] for label, value in self.params.items()]
        listed = f"\n  got{''.join(got)}" if got else ""
        return AnomalyError(f"{self.text.format(wrong)}{listed}\n  {self.at} {format_site(self.site)}")


class Anomalies(Watcher):
    """Looks at all that an op returned before anybody else gets it."""

    def __init__(self, nan_only: bool) -> None:
        self.nan_only = nan_only
        self.nodes: list[Node] = []
        """Whose rules are running."""
        self.pending: list[tuple[Any, Callable[[], AnomalyError]]] = []
        """What a GPU was asked, and what to say if the answer is yes."""

    def forward(self, op: Any, forward: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
        """Run an op and look at its results, or at what it changed."""
        out = forward(*arrays, **params)
        changed = [] if op.mutates is None else list(op.mutates(len(arrays)))
        if suspects := _suspects([arrays[i] for i in changed] or (out[0] if op.has_aux else out)):
            given = {_input_name(op, i): value for i, value in enumerate(arrays) if i not in changed}
            text = f"{op.name} produced {{}}"
            if self.nodes:
                text += f" in the backward of {self.nodes[-1].op.name}"
            if self.nodes and self.nodes[-1].op.kind != "function":  # that one's backward is the user's own program
                self._judge(suspects, _Report(text, given, "which ran at", self.nodes[-1].site, params))
            else:
                self._judge(suspects, _Report(text, given, "at", user_site(), params))
        return out

    def backward(self, node: Node, rule: Callable[..., Any], t: Any, saved: tuple[Any, ...]) -> Any:
        """Run a rule and look at the gradients that came and that go."""
        name, ran = node.op.name, f"{node.op.name} ran at"
        if suspects := _suspects([t]):
            text = f"the gradient that arrived at {name}, given to backward or summed, has {{}}"
            self._judge(suspects, _Report(text, _saved_by(node, saved), ran, node.site), ())
        self.nodes.append(node)
        try:
            grads = rule(t, saved)
        finally:
            self.nodes.pop()
        for i, grad in enumerate(grads):
            if suspects := _suspects([grad]):
                given = _gradients_of("gradient", t) | _saved_by(node, saved)
                report = _Report(f"backward of {name} produced {{}} of {_gradient_name(node, i)}", given, ran, node.site)
                self._judge(suspects, report, [t])
        return grads

    def push(self, push: Callable[..., Any], F: Any, node: Node, tangents: list[Any]) -> Any:
        """Run a rule forward and look at the tangent."""
        tangent = push(F, node, tangents)
        if suspects := _suspects([tangent]):
            given = {f"tangent of input {i}": _raw(t) for i, t in enumerate(tangents) if t is not None}
            text = f"the tangent of the result of {node.op.name} has {{}}"
            report = _Report(text, given | _saved_by(node, node.saved), f"{node.op.name} ran at", node.site)
            self._judge(suspects, report, tangents)
        return tangent

    def walked(self, found: Mapping[Node, Any]) -> None:
        """Look at the sums of gradients at the leaves, and wait for a GPU."""
        for node, t in found.items():
            if suspects := _suspects([t]):
                report = _Report("the summed gradient of a leaf has {}", {}, "the leaf was made at", node.site)
                self._judge(suspects, report)
        self.settle()

    def _judge(self, suspects: list[Any], report: _Report, sources: Iterable[Any] | None = None) -> None:
        """Raise if arrays have nan, or an infinity that none of `sources` has; on a GPU, ask, and raise later."""
        sources = list(report.given.values() if sources is None else sources)
        like = first_on_gpu(suspects)
        with on_device_of(like):
            bad = _any("isnan", suspects, like)
            if not self.nan_only and not any(isinstance(s, float) and isinf(s) for s in sources):
                bad = bad | (_any("isinf", suspects, like) & ~_any("isinf", _floating(sources), like))
        if like is None:
            if bad:
                given = {name: _described(value) for name, value in report.given.items()}
                raise report.error(_counted(suspects), given)
            return
        size = sum(array.size for array in suspects)
        ranges = {name: _range_of(value) for name, value in report.given.items()}  # no array is kept alive

        def explain() -> AnomalyError:
            return report.error(f"nan or inf ({size} elements)", {name: text() for name, text in ranges.items()})

        self.pending.append((bad, explain))
        if len(self.pending) > MOST_PENDING:
            self.settle()

    def settle(self) -> None:
        """Wait for the GPU's answers; raise for the first that is yes."""
        pending, self.pending = self.pending, []
        asked: dict[str, list[int]] = {}
        for i, (answer, _) in enumerate(pending):
            asked.setdefault(device_of(answer), []).append(i)
        wrong: list[int] = []
        for numbers in asked.values():
            answers = made_beside(pending[numbers[0]][0], "stack", [pending[i][0] for i in numbers])
            wrong += [numbers[k] for k in numpy.flatnonzero(to_device(answers, "cpu"))]
        if wrong:
            raise pending[min(wrong)][1]()


def _floating(values: Iterable[Any]) -> list[Any]:
    return [array for array in arrays_in(values) if array.dtype.kind in "fc" and array.size]


def _suspects(values: Iterable[Any]) -> list[Any]:
    """Floating arrays of which one is not finite all through; all of them on a GPU, where that is not known yet."""
    arrays = _floating(values if isinstance(values, tuple | list) else [values])
    on_cpu = library_of(arrays) is numpy
    return [] if on_cpu and all(numpy.isfinite(array).all() for array in arrays) else arrays


def _any(test: str, arrays: Iterable[Any], like: Any) -> Any:
    """Whether a test holds anywhere in some arrays, wherever they are, as a 0-d array beside `like`, or on the CPU."""
    answer = made_beside(like, "zeros", (), bool)
    for array in arrays:
        with on_device_of(array):
            found = as_result(getattr(namespace_of(array), test)(array).any())
        answer = answer | to_device(found, device_of(like))
    return answer


def _raw(value: Any) -> Any:
    return getattr(value, "_array", value)


def _input_name(op: Any, i: int) -> str:
    """What input `i` of an op is called; the last name may stand for a list."""
    last = len(op.inputs) - 1
    return op.inputs[i] if i < last or not op.variadic else f"{op.inputs[last]}[{i - last}]"


def _gradient_name(node: Node, i: int) -> str:
    if node.op.kind == "pick":
        return "its results"
    return f"the gradient of {_input_name(node.op, i) if node.op.kind != 'function' else f'argument {i}'}"


def _gradients_of(what: str, t: Any) -> dict[str, Any]:
    """A cotangent, or those of several results, as an error calls them."""
    if isinstance(t, Parts):
        return {f"{what} of result {i}": _raw(item) for i, item in enumerate(t.items) if item is not None}
    return {f"{what} of the result": _raw(t)}


def _saved_by(node: Node, saved: Any) -> dict[str, Any]:
    """What a node saved, by name, as far as it is arrays."""
    slots = getattr(node.op, "slots", ()) if node.op.kind not in ("function", "pick") else ()
    return {name: value for name, value in zip(slots, saved or (), strict=False) if hasattr(value, "nbytes")}


def _counted(arrays: Sequence[Any]) -> str:
    """What is wrong with arrays: ``nan in 2, -inf in 1 of 6 elements``."""
    tests: dict[str, Callable[[Any], Any]] = {
        "nan": numpy.isnan,
        "inf": lambda a: numpy.isinf(a) & ~(a.real < 0),
        "-inf": lambda a: numpy.isinf(a) & (a.real < 0),
    }
    counts = {name: sum(int(test(array).sum()) for array in arrays) for name, test in tests.items()}
    size = sum(array.size for array in arrays)
    found = ", ".join(f"{name} in {count}" for name, count in counts.items() if count)
    return f"{found} of {size} element{'s' if size > 1 else ''}"


def _described(value: Any) -> str:
    """An input as an error shows it, with the range of what is finite in it, and what is not."""
    text = describe(value)
    if not hasattr(value, "nbytes") or not value.size or value.dtype.kind not in "iufc":
        return text
    good = numpy.isfinite(value)
    finite = numpy.abs(value[good]) if value.dtype.kind == "c" else value[good]
    if finite.size:
        text += (", modulus " if value.dtype.kind == "c" else ", ") + _span(float(finite.min()), float(finite.max()))
    return text if good.all() else f"{text}, already {_counted([value])}"


def _range_of(value: Any) -> Callable[[], str]:
    """The same for an array that may be on a GPU: computed there now, fetched when asked for."""
    text = describe(value)
    if not hasattr(value, "nbytes") or not value.size or value.dtype.kind not in "iuf":
        return lambda: text
    low, high = (made_beside(value, name, value) for name in ("min", "max"))
    return lambda: f"{text}, {_span(float(low), float(high))}"


def _span(low: float, high: float) -> str:
    return f"all {low:.6g}" if low == high else f"from {low:.6g} to {high:.6g}"
