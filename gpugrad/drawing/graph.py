"""The tape as a list of gates: leaves, constants and ops, with what is known of their values and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy

from .. import backend
from ..errors import short_site
from ..nn.module import Module
from ..parts import Parts, has_parts
from ..tape import Node, ancestors
from ..tensor import Tensor

__all__ = ["Gate", "Known", "Names", "Shown", "gates_of", "show"]

MOST_SHOWN, MOST_ROWS = 9, 3
"""Arrays of up to so many elements, in so many rows, are shown in full, larger ones as their shape."""

SYMBOLS = {
    "add": "+", "subtract": "−", "multiply": "*", "divide": "/", "matmul": "@", "negative": "*−1", "reciprocal": "1/x",
    "maximum": "max", "minimum": "min", "sum": "Σ", "square": "x²", "sqrt": "√x", "sigmoid": "σ", "power": "x^y", "abs": "|x|",
}  # fmt: skip
WITH_CONSTANT = {
    "add": ("+{c}", "+{c}"), "subtract": ("{c}−x", "−{c}"), "multiply": ("*{c}", "*{c}"), "divide": ("{c}/x", "/{c}"),
    "power": ("{c}^x", "x^{c}"), "maximum": ("max({c}, x)", "max(x, {c})"), "minimum": ("min({c}, x)", "min(x, {c})"),
}  # fmt: skip
"""What a gate is called whose first, or second, input is a constant number."""


class Shown(NamedTuple):
    """An array as a picture shows it: a few lines on the wire, one short text for a table, a detail for the tooltip."""

    lines: tuple[str, ...]
    short: str
    detail: str


class Gate:
    """A leaf, a constant, an op, or a fold of several, with strings instead of arrays: nothing is kept alive by it.

    Attributes
    ----------
    kind : {"leaf", "constant", "op", "fold"}
    label, name, module, site, detail : str
        What stands in it; what the user calls its result; the module it belongs to; the user's line; op and parameters.
    inputs : list of Gate
    locals : list of (Shown or None)
        Per input, the local gradient.
    value, gradient : Shown or None
    owned : bool
        Whether it is a parameter of a module.
    """

    __slots__ = ("detail", "gradient", "inputs", "kind", "label", "locals", "module", "name", "owned", "site", "value")

    def __init__(self, kind: str, label: str, name: str = "", detail: str = "", site: str = "") -> None:
        self.kind, self.label, self.name, self.detail, self.site = kind, label, name, detail, site
        self.inputs: list[Gate] = []
        self.locals: list[Shown | None] = []
        self.value: Shown | None = None
        self.gradient: Shown | None = None
        self.module = ""
        self.owned = False

    def __repr__(self) -> str:
        return f"<Gate {self.kind} {self.label!r} {self.name}>"


class Known(NamedTuple):
    """What is known beside the tape, by node; `inputs` are the raw inputs of the op, `modules` the module it ran in."""

    values: dict[Node, Any]
    gradients: dict[Node, Any]
    locals: dict[Node, tuple[Any, ...]]
    inputs: dict[Node, tuple[Any, ...]]
    modules: dict[Node, str]


class Names:
    """What the user calls tensors, arrays and modules, and the values that these hold now."""

    def __init__(self) -> None:
        self.by_node: dict[Node, str] = {}
        self.by_array: dict[int, str] = {}
        self.owners: dict[Node, str] = {}
        self.values: dict[Node, Any] = {}

    def collect(self, namespace: Mapping[str, Any]) -> None:
        """Learn from variables. What has a name keeps it."""
        for name, value in list(namespace.items()):
            if name.startswith("_"):
                continue
            if isinstance(value, Tensor):
                if value._node is not None:
                    self.by_node.setdefault(value._node, name)
                    self.values[value._node] = value._array
                self.by_array.setdefault(id(value._array), name)
            elif isinstance(value, numpy.ndarray):
                self.by_array.setdefault(id(value), name)
            elif isinstance(value, Module):
                self.collect_module(value, name)

    def collect_module(self, module: Module, name: str) -> None:
        """Learn the names of parameters; the module's own name leads them where it is given."""
        for path, parameter in module.named_parameters():
            if parameter._node is not None:
                self.by_node.setdefault(parameter._node, path)
                self.values[parameter._node] = parameter._array
                owner = ".".join(part for part in (name, path.rpartition(".")[0]) if part)
                self.owners.setdefault(parameter._node, owner or type(module).__name__)

    def collect_function(self, function: Callable[..., Any]) -> None:
        """Learn from what a function closes over."""
        if isinstance(function, Module):
            self.collect_module(function, "")
        elif inspect.isfunction(function):
            self.collect(inspect.getclosurevars(function).nonlocals)


# --- arrays as text -----------------------------------------------------------------------------------------------


def number(value: Any) -> str:
    """A number with two decimals, as on a blackboard; with an exponent where those would say nothing."""
    if isinstance(value, complex | numpy.complexfloating):
        return f"{value:.2f}"
    if not isinstance(value, float | numpy.floating):
        return str(value)
    size: Any = abs(value)
    return f"{value:.2f}" if size == 0 or 0.005 <= size < 1e5 or not numpy.isfinite(value) else f"{value:.1e}"


def show(value: Any) -> Shown | None:
    """An array, a number, or the cotangents of several results, for a wire and a tooltip."""
    if value is None:
        return None
    if isinstance(value, Parts | tuple):
        shown = map(show, value.items if isinstance(value, Parts) else value)
        parts = [part for part in shown if part is not None]
        lines, details = tuple(line for part in parts for line in part.lines), "; ".join(part.detail for part in parts)
        return Shown(lines, ", ".join(part.short for part in parts), details)
    if not hasattr(value, "dtype"):
        return Shown((number(value),), number(value), number(value))
    described = f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    shape = _shape(value.shape)
    if value.size == 0 or value.dtype.kind not in "biufc":
        return Shown((shape,), shape, described)
    with backend.on_device_of(value):
        if value.dtype.kind == "c":
            described += f", modulus up to {number(float(abs(value).max()))}"
        elif value.size > 1:
            described += f", {number(value.min().item())} to {number(value.max().item())}"
    if value.size > MOST_SHOWN or value.ndim > 2 or (value.ndim == 2 and value.shape[0] > MOST_ROWS):
        return Shown((shape,), shape, described)
    rows = backend.to_device(value, "cpu")
    if value.size == 1:
        text = number(rows.reshape(())[()])
        return Shown((text,), text, described)
    texts = ["[" + "  ".join(map(number, row)) + "]" for row in rows.reshape(-1, rows.shape[-1])]
    return Shown(tuple(texts), texts[0] if len(texts) == 1 else shape, described)


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if len(shape) != 1 else f"({shape[0]},)"


# --- the graph ----------------------------------------------------------------------------------------------------


def gates_of(roots: Iterable[Node], known: Known, names: Names) -> list[Gate]:
    """The gates that lead to `roots`, inputs before what they lead to."""
    gates: dict[Node, Gate] = {}
    constants: dict[int, Gate] = {}
    order: list[Gate] = []
    for node in ancestors(roots):
        gate = _leaf(node, names) if node.op is None else _op_gate(node, known, names, gates, constants, order)
        gate.value = show(known.values.get(node, names.values.get(node)))
        gate.gradient = show(known.gradients.get(node))
        gates[node] = gate
        order.append(gate)
    for node, gate in gates.items():
        if gate.value is None and not has_parts(node):  # the tape always knows the shape
            shape = _shape(node.shape) if node.shape else ""
            gate.value = Shown((shape,), shape, f"{node.dtype}[{', '.join(map(str, node.shape))}], value not kept")
    return order


def _leaf(node: Node, names: Names) -> Gate:
    name = names.by_node.get(node, "")
    gate = Gate("leaf", name or "leaf", name, "leaf that requires a gradient", short_site(node.site))
    gate.module, gate.owned = names.owners.get(node, ""), node in names.owners
    return gate


def _op_gate(
    node: Node, known: Known, names: Names, gates: dict[Node, Gate], constants: dict[int, Gate], order: list[Gate]
) -> Gate:
    """The gate of an op, wired to its inputs; constant arrays get gates of their own, numbers go into its label."""
    inputs = known.inputs.get(node, ())
    local = known.locals.get(node, ())
    numbers: dict[int, str] = {}
    gate = Gate("op", "", names.by_node.get(node, ""), _call(node), short_site(node.site))
    for i, parent in enumerate(node.parents):
        constant: Any = inputs[i] if i < len(inputs) else None
        if parent is not None:
            source = gates[parent]
        elif hasattr(constant, "dtype") and constant.size > 1:
            if id(constant) not in constants:
                constants[id(constant)] = made = Gate("constant", names.by_array.get(id(constant), "constant"))
                made.name, made.value, made.detail = names.by_array.get(id(constant), ""), show(constant), "constant"
                order.append(made)
            source = constants[id(constant)]
        else:
            if constant is not None:
                numbers[i] = f"{float(constant):g}" if _is_real_number(constant) else str(constant)[:8]
            elif node.op.kind == "elementwise":
                numbers[i] = "c"
            continue
        gate.inputs.append(source)
        gate.locals.append(show(local[i]) if i < len(local) else None)
    gate.label = _label(node, numbers)
    owners = [names.owners[parent] for parent in node.parents if parent in names.owners]
    ran_in = known.modules.get(node, "")
    gate.module = max([ran_in, *owners], key=len) if ran_in or owners else ""
    return gate


def _is_real_number(value: Any) -> bool:
    return not isinstance(value, complex) and getattr(value, "dtype", numpy.dtype(float)).kind in "biuf"


def _label(node: Node, numbers: dict[int, str]) -> str:
    op = node.op
    if op.kind == "pick":
        return f"[{node.params['number']}]"
    if op.name in WITH_CONSTANT and len(numbers) == 1:
        ((i, c),) = numbers.items()
        if c == "-1" and op.name == "multiply":
            return "*−1"
        return WITH_CONSTANT[op.name][i].format(c=c.replace("-", "−"))
    if op.name == "linear_layers":
        return " > ".join("linear" if name is None else f"linear, {name}" for name in node.params["activations"])
    if op.name == "chain":
        return str(node.params["function"].name)
    return SYMBOLS.get(op.name, op.name)


def _call(node: Node) -> str:
    params = ", ".join(f"{k}={v!r}"[:60] for k, v in node.params.items())
    return f"{node.op.name}({params})" if params else node.op.name


def known_to_tape(roots: Iterable[Node]) -> Known:
    """What nodes themselves still hold: saved inputs and results, and the gradients of leaves."""
    known = Known({}, {}, {}, {}, {})
    for node in ancestors(roots):
        if node.op is None:
            if node.grad is not None:
                known.gradients[node] = node.grad._array
        elif node.saved and node.op.kind not in ("function", "pick"):
            named = dict(zip(node.op.slots, node.saved, strict=True))
            if named.get("out") is not None:
                known.values[node] = named["out"]
            saved = named.get(node.op.inputs[0], ()) if node.op.variadic else map(named.get, node.op.inputs)
            known.inputs[node] = inputs = tuple(saved or ())
            note_inputs(node, inputs, known)
    return known


def note_inputs(node: Node, inputs: Iterable[Any], known: Known) -> None:
    """The inputs of an op are the values of its parents."""
    for parent, value in zip(node.parents, inputs, strict=False):
        if parent is not None and value is not None:
            known.values.setdefault(parent, value)


def consumers_of(gates: Iterable[Gate]) -> dict[Gate, list[Gate]]:
    """Which gates each one leads to."""
    found: dict[Gate, list[Gate]] = {}
    for gate in gates:
        for source in gate.inputs:
            found.setdefault(source, []).append(gate)
    return found
