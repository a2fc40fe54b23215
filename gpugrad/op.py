"""The Op record, the registry, and the decorators that make ops.

An op is declared once. Its record holds the forward, the derivative rules, the CUDA text, the docstring and the samples
that its tests are generated from; the public function is made from the declared signature.

A **rule** is ``lambda F, t, <names>``: given the interpreter `F` and the cotangent `t` of the result, the cotangent of one
input. Its parameter names say what it needs, and that is what the tape saves: an input's name, ``out``, a parameter of the
op, ``NAME_shape``, ``NAME_dtype`` or ``NAME_device`` of an input, ``aux`` (what a fused forward returned beside its result),
for ops on a list of arrays the list's name and ``shapes``; a rule that is joint for all inputs may also ask for ``wanted``,
which of them need a cotangent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar

import numpy

from . import backend
from .cuda import kernel_forward
from .dispatch import NO_PARAMS, apply, as_tensor, noting_base
from .dispatch import as_tensors as as_tensors
from .dispatch import first_input as first_input
from .dispatch import raw as raw
from .errors import PACKAGE
from .modes import current_mode
from .tape import Pullback

if TYPE_CHECKING:
    from .tensor import Tensor as TensorType

__all__ = [
    "ArrayLike",
    "Op",
    "Sample",
    "apply",
    "as_tensor",
    "as_tensors",
    "composed",
    "elementwise",
    "elementwise_function",
    "first_input",
    "fused",
    "linear",
    "multilinear",
    "needed",
    "primitive",
    "raw",
    "registry",
    "several",
    "update",
]

P = ParamSpec("P")
R = TypeVar("R")
ArrayLike: TypeAlias = Any
"""A Tensor, a NumPy or CuPy array, a number, or a nested list of numbers. Marks the array inputs of an op."""
Rule: TypeAlias = Callable[..., Any]
Declared: TypeAlias = Callable[Concatenate[Any, P], Any]
Public: TypeAlias = Callable[P, "TensorType"]

registry: dict[str, Op] = {}
"""Every op by name, in order of declaration."""


class Sample(NamedTuple):
    """Arguments for one call of an op; arrays among `args` of a floating dtype are differentiated in tests."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}


Samples: TypeAlias = Callable[[numpy.random.Generator], Iterable[Sample]]


class Op:
    """What is known of an operation. Made by the decorators below, kept in `registry`.

    Attributes
    ----------
    name, kind, doc : str
    inputs, params : tuple of str
        Names of the array inputs and of the static parameters.
    variadic : bool
        The inputs are one list of arrays.
    body : callable
        The forward, ``body(xp, *arrays, **params)``, or without `xp` where it needs none.
    numpy : callable
        The forward on raw NumPy arrays; `forwards` has those of other libraries.
    library_name : str or None
        The function of NumPy and CuPy that computes it on raw arrays, if it is one alone.
    unchecked : callable or None
        The forward on raw arrays that fit, without the checks of the body: what rules call.
    rules : tuple of callables or None
        One vjp rule per input (one for all where `joint`); empty where nothing is differentiable.
    joint : bool
        The one rule gives the cotangents of all inputs, as a tuple.
    reference : callable or None
        For fused ops: the composition ``reference(F, *inputs, **params)`` that defines the op.
    returns : callable or None
        For ops with several results: what makes one object of them, a named tuple's class.
    mutates : callable or None
        For updates: which of n inputs are changed in place.
    """

    def __init__(self, name: str, kind: str, function: Callable[..., Any], samples: Samples | None = None) -> None:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        self.takes_namespace = bool(parameters) and parameters[0].name in ("xp", "F")
        parameters = parameters[self.takes_namespace :]
        self.name, self.kind, self.samples = name, kind, samples
        self.doc = inspect.getdoc(function) or ""
        self.signature = signature.replace(parameters=parameters)
        is_input = {p.name: "ArrayLike" in str(p.annotation) for p in parameters}
        self.inputs = tuple(name for name, yes in is_input.items() if yes)
        self.params = tuple(name for name, yes in is_input.items() if not yes)
        lists = [p.name for p in parameters if is_input[p.name] and (p.kind is p.VAR_POSITIONAL or "Sequence" in p.annotation)]
        self.variadic = bool(lists)
        self.takes_none = any(p.default is None or "None" in str(p.annotation) for p in parameters if is_input[p.name])
        self.function = self.body = function
        self.ufunc: str | None = None
        self.library_name: str | None = None
        self.unchecked: Callable[..., Any] | None = None
        self.cuda: str | None = None
        self.rules: tuple[Rule | None, ...] = ()
        self.jvp: Rule | None = None
        self.reference: Callable[..., Any] | None = None
        self.joint = self.variadic
        self.has_aux = False
        self.returns: Callable[..., Any] | None = None
        self.mutates: Callable[[int], Iterable[int]] | None = None
        self.numpy: Callable[..., Any] = self.forward_in(numpy)
        self.forwards: dict[ModuleType, Callable[..., Any]] = {}
        self.public: Callable[..., Any] = self._make_public()
        self.pullbacks: dict[int, Pullback | None] = {}
        if name in registry:
            raise ValueError(f"op {name!r} is declared twice")
        registry[name] = self

    def __repr__(self) -> str:
        return f"<Op {self.name}{self.signature} {self.kind}>"

    def _make_public(self) -> Callable[..., Any]:
        """The public function with the declared signature; made as text, as dataclasses are, so that a call is one frame."""
        defaults, parts, star = {}, [], False
        for p in self.signature.parameters.values():
            if p.kind is p.KEYWORD_ONLY and not star:
                parts.append("*")
                star = True
            star = star or p.kind is p.VAR_POSITIONAL
            text = f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name
            if p.default is not p.empty:
                defaults[f"_{p.name}"] = p.default
                text += f"=_{p.name}"
            parts.append(text)
        if self.variadic and len(self.inputs) == 1:
            inputs = f"tuple({self.inputs[0]})"
        else:
            star_names = {p.name for p in self.signature.parameters.values() if p.kind is p.VAR_POSITIONAL}
            inputs = "(" + "".join(f"*{name}, " if name in star_names else f"{name}, " for name in self.inputs) + ")"
        params = "{" + ", ".join(f"{name!r}: {name}" for name in self.params) + "}" if self.params else "_no_params"
        source = (
            f"def _make(_apply, _op, _no_params, {', '.join(defaults)}):\n"
            f"    def {self.name}({', '.join(parts)}):\n"
            f"        return _apply(_op, {inputs}, {params})\n"
            f"    return {self.name}\n"
        )
        scope: dict[str, Any] = {}
        exec(compile(source, PACKAGE + f"<{self.name}>", "exec"), self.function.__globals__, scope)
        public: Callable[..., Any] = scope["_make"](apply, self, NO_PARAMS, **defaults)
        functools.update_wrapper(public, self.function)
        public.__signature__ = self.signature  # type: ignore[attr-defined]
        public.op = self  # type: ignore[attr-defined]
        return public

    def forward_on(self, arrays: Sequence[Any], mask: int = 0) -> Callable[..., Any]:
        """The forward for raw arrays of any library, through whoever watches; asked only where `backend.detours` has some."""
        kept = () if self.mutates is None else self.mutates(len(arrays))
        xp = backend.common_namespace(arrays, mask, kept) if backend.libraries else numpy
        forward = self.numpy
        if xp is not numpy:
            self.forwards[xp] = self.forwards.get(xp) or kernel_forward(self.name, xp, self.forward_in(xp))
            forward = backend.guarded(self.forwards[xp])
        for watcher in current_mode().watchers:
            forward = functools.partial(watcher.forward, self, forward)
        return forward

    def forward_in(self, xp: ModuleType) -> Callable[..., Any]:
        """The forward on raw arrays of one library."""
        if self.ufunc is not None and hasattr(xp, self.ufunc):
            return getattr(xp, self.ufunc)
        forward = functools.partial(self.body, xp) if self.takes_namespace else self.body
        gathers = self.variadic and "Sequence" in str(self.signature.parameters[self.inputs[0]].annotation)
        return functools.partial(_gathered, forward) if gathers else forward

    def pullback(self, mask: int) -> Pullback | None:
        """The joined rules for the inputs whose bits are set in `mask`; None where no gradient flows."""
        try:
            return self.pullbacks[mask]
        except KeyError:
            self.pullbacks[mask] = joined = self._join(mask)
            return joined

    def _join(self, mask: int) -> Pullback | None:
        if self.joint:
            active = {0: self.rules[0]} if self.rules and self.rules[0] is not None else {}
        else:
            active = {i: rule for i, rule in enumerate(self.rules) if rule is not None and mask >> i & 1}
        if not active:
            return None
        static = () if self.jvp is None else tuple(name for name in needed(self.jvp) if name in self.params)
        everything = [name for rule in self.rules if rule is not None for name in needed(rule)]
        slots = list(dict.fromkeys(name for name in (*everything, *static) if name != "wanted"))
        wanted = {name for rule in active.values() for name in needed(rule)}.union(static)
        if self.has_aux:  # higher order goes through the reference, on the inputs
            slots = list(dict.fromkeys((*self.inputs, *slots)))
            wanted |= set(self.inputs)
        scope: dict[str, Any] = {"shape": backend.shape_of, "dtype": backend.dtype_of, "device": backend.device_of}
        saves = [self._save_text(name) if name in wanted else "None" for name in slots]
        flags = str(tuple(bool(mask >> i & 1) for i in range(max(len(self.inputs), mask.bit_length()))))
        calls = []
        for i in range(len(self.inputs)):
            if i in active:
                scope[f"r{i}"] = active[i]
                arguments = [flags if n == "wanted" else f"s[{slots.index(n)}]" for n in needed(active[i])]
                calls.append(f"r{i}(" + ", ".join(["F", "t", *arguments]) + ")")
            else:
                calls.append("None")
        body = calls[0] if self.joint else "(" + ", ".join(calls) + ",)"
        if self.returns is not None:  # rules of an op with several results get all their cotangents
            body = f"(lambda t: {body})(t.filled(F))"
        self.slots = tuple(slots)
        save = eval(
            compile(f"lambda a, out, p, aux: ({', '.join(saves)}{',' if saves else ''})", PACKAGE + "<save>", "eval"), scope
        )
        call = eval(compile(f"lambda F, t, s: {body}", PACKAGE + f"<vjp of {self.name}>", "eval"), scope)
        return Pullback(save if saves else None, call)

    def _save_text(self, name: str) -> str:
        base, _, property_ = name.rpartition("_")
        if name in ("out", "aux"):
            return name
        if name in self.params:
            return f"p[{name!r}]"
        if self.variadic:
            if name == self.inputs[0]:
                return "tuple(a)"
            if name == "shapes":
                return "tuple(map(shape, a))"
        elif name in self.inputs:
            return f"a[{self.inputs.index(name)}]"
        elif base in self.inputs and property_ in ("shape", "dtype", "device"):
            return f"{property_}(a[{self.inputs.index(base)}])"
        raise TypeError(f"a rule of op {self.name!r} asks for {name!r}: neither an input, a parameter, nor out")


def _gathered(forward: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
    """Call a forward that takes its arrays as one list."""
    return forward(arrays, **params)


@functools.cache
def needed(rule: Rule) -> tuple[str, ...]:
    """What a rule wants saved: its parameter names after `F` and `t`."""
    return tuple(inspect.signature(rule).parameters)[2:]


# --- decorators ---------------------------------------------------------------------------------------------------


def _declare(
    kind: str, rules: tuple[Rule | None, ...], samples: Samples | None, **attributes: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        op = Op(function.__name__, kind, function, samples)
        op.rules = rules
        for name, value in attributes.items():
            setattr(op, name, value)
        if op.ufunc is not None:
            op.library_name = op.ufunc
            op.numpy = op.forward_in(numpy)
        if attributes.get("views"):
            op.public = noting_base(op.public)
        return op.public

    return decorate


def elementwise(
    *,
    d: tuple[Rule | None, ...] = (),
    samples: Samples,
    ufunc: str | None = None,
    cuda: str | None = None,
    jvp: Rule | None = None,
) -> Callable[[Callable[P, Any]], Callable[P, TensorType]]:
    """Declare an elementwise op. Each rule of `d` is ``t -> d_i * t``: its Jacobian is diagonal, so it is vjp and jvp.

    With `ufunc`, the forward is that NumPy ufunc and the body is only a docstring; `cuda` is the scalar CUDA expression.
    Only a function that is not holomorphic and has complex results needs a `jvp` of its own.
    """
    return _declare("elementwise", d, samples, ufunc=ufunc, cuda=cuda, jvp=jvp)


def elementwise_function(
    *, d: tuple[Rule | None, ...] = (), samples: Samples, cuda: str | None = None
) -> Callable[[Declared[P]], Public[P]]:
    """Declare an elementwise op whose forward is the body, ``body(xp, *inputs, **params)`` on raw arrays."""
    return _declare("elementwise", d, samples, cuda=cuda)


def linear(*, transpose: Rule, samples: Samples, views: bool = False) -> Callable[[Declared[P]], Public[P]]:
    """Declare an op that is linear in its array input(s): its jvp is itself, its vjp the transpose.

    With `views`, its result is in NumPy a view of its first input, so that writing to one changes the other.
    """
    return _declare("linear", (transpose,), samples, views=views)


def multilinear(
    *, transposes: tuple[Rule, ...], samples: Samples, unchecked: Callable[..., Any] | None = None
) -> Callable[[Declared[P]], Public[P]]:
    """Declare an op that is linear in each input: one transpose per input, each naming the other inputs.

    With `unchecked`, rules on raw arrays call that function of them, without the checks of the body.
    """
    return _declare("multilinear", transposes, samples, unchecked=unchecked)


def primitive(
    *, vjp: tuple[Rule | None, ...] = (), jvp: Rule | None = None, samples: Samples
) -> Callable[[Declared[P]], Public[P]]:
    """Declare any other op by its vjp rules; its jvp is got by transposing them, unless given."""
    return _declare("primitive", vjp, samples, jvp=jvp)


def several(
    *, returns: Callable[..., R], vjp: tuple[Rule | None, ...] | Rule = (), jvp: Rule | None = None, samples: Samples
) -> Callable[[Declared[P]], Callable[P, R]]:
    """Declare an op with several results: the body returns a tuple of arrays, and users get ``returns(*tensors)``.

    In a rule, ``t`` is the tuple of their cotangents (zeros where none came, None for integers) and ``out`` that of the
    results. A `jvp` returns a tuple of tangents. One `vjp` that is not in a tuple is joint, as in `fused`.
    """
    rules = vjp if isinstance(vjp, tuple) else (vjp,)
    return _declare("primitive", rules, samples, jvp=jvp, returns=returns, joint=rules is not vjp)


def fused(
    *,
    samples: Samples,
    forward: Callable[..., Any] | None = None,
    vjp: tuple[Rule | None, ...] | Rule = (),
) -> Callable[[Declared[P]], Public[P]]:
    """Declare an op by a composition ``body(F, *inputs, **params)`` of others.

    Alone, calling it runs the composition. With `forward` (raw arrays to ``(out, aux)``) and `vjp` rules, first order runs
    those; higher order and jvp still come from the composition, and tests hold the two equal. One `vjp` that is not in a
    tuple is joint: it returns the cotangents of all inputs, which share most of their work.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        rules = vjp if isinstance(vjp, tuple) else (vjp,)
        public = _declare("fused", rules, samples, reference=function, has_aux=forward is not None)(function)
        op = registry[function.__name__]
        op.joint = op.joint or rules is not vjp
        if forward is not None:
            op.body = forward
            op.numpy = op.forward_in(numpy)
            return public
        op.public = _composed(op)
        return op.public

    return decorate


class Composed:
    """Namespace under which a composition runs on Tensors: attribute access gives public functions."""

    raw = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in registry:
            raise AttributeError(f"no op is called {name!r}")
        setattr(self, name, function := registry[name].public)
        return function


composed = Composed()


def _composed(op: Op) -> Callable[..., Any]:
    """The public function of a fused op without kernels: its composition, on Tensors."""
    source = (
        f"def _make(F, reference, weak, as_tensor):\n    def {op.name}(*args, **kwargs):\n"
        f"        return as_tensor(reference(F, *[weak(a, args, False) if type(a) is list else a for a in args], **kwargs))\n"
        f"    return {op.name}\n"
    )
    scope: dict[str, Any] = {}
    exec(compile(source, PACKAGE + f"<{op.name}>", "exec"), op.function.__globals__, scope)
    made: Callable[..., Any] = scope["_make"](composed, op.function, backend.as_weak, as_tensor)
    functools.update_wrapper(made, op.function)
    made.__signature__ = op.signature  # type: ignore[attr-defined]
    made.op = op  # type: ignore[attr-defined]
    return made


def update(*, mutates: Callable[[int], Iterable[int]], samples: Samples | None = None) -> Callable[[Declared[P]], Public[P]]:
    """Declare an op that changes some of its inputs in place and returns None: assignments and optimiser steps."""
    return _declare("update", (), samples, mutates=mutates)
