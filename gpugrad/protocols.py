"""NumPy's protocols: a NumPy function called on a Tensor is the op of its name, or an error, never a lost gradient.

``np.sum(t, axis=0)`` comes in through `__array_function__`, ``np.sin(t)`` and ``a @ t`` through `__array_ufunc__`. The
table of what answers what is in `numpy_rules`; here the arguments are read by NumPy's own signature, options that stand
at their defaults are dropped, and an option with no meaning for us is refused by its name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy

from . import backend
from .dtypes import can_cast
from .errors import DTypeError, GradientError, ShapeError, describe, format_site, user_site
from .modes import current_mode
from .mutations import log_mutation
from .numpy_rules import RENAMED, WITH_OPTIONS, Rule, known_ufuncs, rule_for, scipy_ufunc, ufunc_rules
from .ops import comparison, elementwise, reduction, scan, shape
from .public import explain
from .tensor import Tensor, asarray

__all__ = ["call", "call_ufunc", "parameters_without_place"]

_HARMLESS = {"subok", "overwrite_input", "overwrite_a", "copy", "like", "casting", "sorted", "optimize", "stable", "kind"}
"""Options that say nothing about the values."""
_STATIC = {"axis", "indices", "k", "obj", "offset", "pad_width", "repeats", "reps", "shift", "shape", "sections"}
"""Parameters that take no gradient: a Tensor there counts as its values."""


def _no_rule(what: str, hint: str = "") -> DTypeError:
    return DTypeError(
        f"{what} has no rule for Tensors, and its gradient must not be lost unseen\n"
        f"  {hint or 'use x.numpy() where no gradient is wanted, or a gpugrad function'}\n  at {format_site(user_site())}"
    )


def _explain(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> None:
    """Raise the error of a composition with what an op's error has: what it was given, and the user's line."""
    assert rule.function is not None
    itself = f"{getattr(rule.function, '__name__', '')}: " if hasattr(rule.function, "op") else f"{rule.name}: "
    if str(error).startswith((f"{rule.name} ", itself)) and "\n  at " in str(error):
        return
    theirs = [] if rule.signature is None else list(rule.signature.parameters.values())
    star = next((i for i, p in enumerate(theirs) if p.kind is p.VAR_POSITIONAL), len(theirs))
    given: dict[str, Any] = {}
    for i, value in enumerate(args):
        name = theirs[i].name if i < star else f"argument {i}" if star == len(theirs) else f"{theirs[star].name}[{i - star}]"
        listed = isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value)
        given |= {f"{name}[{j}]": v for j, v in enumerate(value)} if listed else {name: value}
    explain(rule.name, given, kwargs, error)


def _tensors(value: Any) -> list[Tensor]:
    """All Tensors among arguments, also in lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return _tensors(list(value.values())) if isinstance(value, dict) else []


def _mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """Arguments with all Tensors changed, also in lists."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(_mapped(change, part) for part in value)
    return value


def _raw(tensor: Tensor) -> Any:
    return tensor._array


def _standing_for(tensor: Tensor) -> Any:
    """A NumPy array of the same shape and dtype, for questions about those."""
    array = tensor._array
    return array if isinstance(array, numpy.ndarray) else numpy.broadcast_to(numpy.empty((), array.dtype), array.shape)


# --- functions ----------------------------------------------------------------------------------------------------


def call(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer a function of NumPy on Tensors, arrays and numbers, by its rule."""
    if rule.kind == "op":
        out = kwargs.pop("out", None)
        try:
            result = _call_ours(rule, args, kwargs)
        except Exception as error:
            _explain(rule, args, kwargs, error)
            raise
        return result if out is None else _assign(rule.name, out, result)
    if rule.kind == "about":
        assert rule.function is not None
        if rule.name in ("numpy.array_repr", "numpy.array_str", "numpy.array2string"):
            return rule.function(*_mapped(lambda t: t.detach().numpy(), args), **kwargs)
        change = _raw if "memory" in rule.name else _standing_for
        if rule.name.endswith(("_index", "_indices_from")):
            change = _raw
        return rule.function(*_mapped(change, args), **{name: _mapped(change, value) for name, value in kwargs.items()})
    if rule.kind == "counting":
        return _call_counting(rule, args, kwargs)
    if rule.kind == "in place":
        return _call_in_place(rule, args, kwargs)
    raise _no_rule(rule.name, rule.target)


def _assign(what: str, out: Any, result: Any) -> Any:
    """Give `out=` the result: a Tensor keeps its gradient, as in ``out[...] = result``; an array could not."""
    if isinstance(out, tuple):
        if len(out) == 1:
            return _assign(what, out[0], result)
        return tuple(map(functools.partial(_assign, what), out, result))
    if out is not None and not isinstance(out, Tensor) and result.requires_grad:
        raise DTypeError(
            f"{what} with out=, as in `a += t`, would write {describe(result)} into an array and lose its gradient: "
            f"this has no rule for Tensors\n  write a = a + t, or do it under gpugrad.no_grad()\n  at {format_site(user_site())}"
        )
    if out is None:
        return result
    if out.shape != result.shape:
        raise ShapeError(f"{what}: out= has shape {out.shape}, the result {result.shape}\n  at {format_site(user_site())}")
    if not can_cast(result.dtype, out.dtype, "same_kind"):
        raise DTypeError(f"{what}: out= has dtype {out.dtype}, the result {result.dtype}\n  at {format_site(user_site())}")
    out[...] = result if isinstance(out, Tensor) else result._array
    if not isinstance(out, Tensor):
        log_mutation([out])
    return out


def _call_in_place(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A function that changes its first argument: possible only where no gradient would be lost."""
    if current_mode().grad and any(tensor.requires_grad for tensor in _tensors([args, kwargs])):
        raise _no_rule(rule.name, rule.target)
    if current_mode().records is not None:
        raise _no_rule(f"{rule.name} while a program is recorded", rule.target)
    assert rule.function is not None
    raws = [_mapped(_raw, part) for part in args]
    function = getattr(backend.namespace_of(raws[0]), rule.name.removeprefix("numpy.")) if raws else rule.function
    function(*raws, **{name: _mapped(_raw, value) for name, value in kwargs.items()})
    log_mutation(raws[:1])


def _call_counting(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function with no gradient, on raw arrays by their own library."""
    weights = kwargs.get("weights", args[1] if rule.name == "numpy.bincount" and len(args) > 1 else None)
    if isinstance(weights, Tensor) and weights.requires_grad:
        raise _no_rule(f"{rule.name} with weights that require a gradient", "use gpugrad.scatter_add")
    tensors = _tensors([args, kwargs])
    if "histogram" in rule.name and current_mode().grad and any(tensor.requires_grad for tensor in tensors):
        raise _no_rule(f"{rule.name} of what requires a gradient", "counts have none, edges would: use x.detach()")
    xp: Any = backend.namespace_of(tensors[0]._array) if tensors else numpy
    for part in rule.name.split(".")[1:]:
        xp = getattr(xp, part)
    result = xp(*_mapped(_raw, args), **{name: _mapped(_raw, value) for name, value in kwargs.items()})
    return tuple(map(asarray, result)) if isinstance(result, tuple) else asarray(result)


@functools.cache
def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@functools.cache
def _places(rule: Rule) -> dict[str, str]:
    """Which of our parameters takes which of NumPy's: the one of its name, or for the first ones, the arrays, of its place."""
    assert rule.signature is not None
    assert rule.function is not None
    ours = _parameters(rule.function)
    theirs = list(rule.signature.parameters.values())
    renamed = {name: to for name, to in RENAMED.get(rule.name.rpartition(".")[2], {}).items() if to in ours}
    places = {p.name: p.name for p in theirs if p.name in ours} | renamed
    positional = [p.name for p in ours.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = set(places.values())
    for theirs_at, name in zip(theirs, positional, strict=False):
        if theirs_at.name in places or name in taken or theirs_at.kind is theirs_at.VAR_POSITIONAL:
            break_here = theirs_at.kind is theirs_at.VAR_POSITIONAL
            if break_here:
                break
            continue
        if theirs_at.default is theirs_at.empty or "ArrayLike" in str(ours[name].annotation):
            places[theirs_at.name] = name
    return places


def parameters_without_place(rule: Rule) -> list[inspect.Parameter]:
    """Parameters of our function that no argument of NumPy's goes to."""
    assert rule.function is not None
    assert rule.signature is not None
    taken = {*_places(rule).values(), *rule.signature.parameters}
    ours = _parameters(rule.function).values()
    return [p for p in ours if p.name not in taken and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _is_default(value: Any, parameter: inspect.Parameter | None) -> bool:
    """Whether an option says no more than leaving it out."""
    default = None if parameter is None else parameter.default
    if value is default or value is numpy._NoValue or value is None:
        return True
    return type(value) in (bool, int, float, str) and type(value) is type(default) and bool(value == default)


@functools.cache
def _plan(rule: Rule, count: int, names: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[tuple[str, int], ...], Any] | None:
    """How to hand on a call with `count` positional arguments and those names, where each has a place with us.

    Returns
    -------
    tuple
        Which argument goes to each of our first parameters, by what name the others go, and which must hold no Tensor.
    """
    assert rule.signature is not None
    places, theirs = _places(rule), rule.signature.parameters.values()
    first = [p.name for p in theirs if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = (*first[:count], *names)
    needed = [p.name for p in theirs if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if count > len(first) or len({*given}) < len(given) or not {*needed} <= {*given} <= {*places}:
        return None
    sources = {places[name]: i for i, name in enumerate(given)}
    ordered = []
    for p in _parameters(rule.function).values() if rule.function is not None else ():
        if p.name not in sources or p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            break
        ordered.append(sources.pop(p.name))
    return tuple(ordered), tuple(sources.items()), tuple((i, name) for i, name in enumerate(given) if name in _STATIC)


_NO_TENSORS = (int, type(None), str, bool)


def _call_ours(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Hand a call on to our function, by a plan if all that is given has a place there."""
    assert rule.function is not None
    if rule.signature is None or (len(args) == 1 and not kwargs):
        return rule.function(*args, **kwargs)
    plan = _plan(rule, len(args), tuple(kwargs))
    if plan is None:
        return _call_adapted(rule, args, kwargs)
    ordered, named, static = plan
    values = [*args, *kwargs.values()] if kwargs else list(args)
    for i, name in static:
        if type(values[i]) not in _NO_TENSORS:
            values[i] = _static(rule, name, values[i])
    return rule.function(*[values[i] for i in ordered], **{name: values[i] for name, i in named})


@functools.cache
def _with_more_options(rule: Rule) -> Rule | None:
    """The rule for a function when it is given options that an op lacks, where there is another."""
    function = WITH_OPTIONS.get(rule.name)
    return None if function in (None, rule.function) else dataclasses.replace(rule, function=function)


def _call_adapted(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Hand a call on to our function, with options that ours lacks."""
    other = _with_more_options(rule)
    if other is not None and any(kwargs.get(name, numpy._NoValue) is not numpy._NoValue for name in ("where", "mean")):
        return _call_adapted(other, args, kwargs)
    assert rule.function is not None
    assert rule.signature is not None
    try:
        bound = rule.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise DTypeError(f"{rule.name}: {error}\n  at {format_site(user_site())}") from None
    ours, places = _parameters(rule.function), _places(rule)
    given: dict[str, Any] = {}
    several: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        parameter = rule.signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            several = value
        elif parameter.kind is parameter.VAR_KEYWORD:
            given |= {name: v for name, v in value.items() if name in ours}
            options |= {name: v for name, v in value.items() if name not in ours and name not in _HARMLESS}
        elif name in places and value is not numpy._NoValue:
            given[places[name]] = _static(rule, name, value) if name in _STATIC else value
        elif not _is_default(value, parameter) and name not in _HARMLESS:
            options[name] = value
    finish = _options(rule, options, given) if options else None
    ordered: list[Any] = []
    for p in ours.values():  # by position as far as there is no gap: our inputs may not be named by keyword
        if p.kind is p.VAR_POSITIONAL:
            ordered += several
        elif p.name in given and p.kind is not p.KEYWORD_ONLY and (p.default is p.empty or p.kind is p.POSITIONAL_ONLY):
            ordered.append(given.pop(p.name))
    result = rule.function(*ordered, **given)
    return result if finish is None else finish(result)


def _static(rule: Rule, name: str, value: Any) -> Any:
    """A parameter that takes no gradient, with numbers and raw arrays for Tensors."""
    for tensor in _tensors(value):
        if tensor.requires_grad and current_mode().grad:
            raise GradientError(
                f"{rule.name} has no gradient by {name}=, which is {describe(tensor)}\n"
                f"  use {name}.detach() where that is meant\n  at {format_site(user_site())}"
            )
    return _mapped(lambda tensor: tensor._array if tensor.ndim else tensor._array.item(), value)


_START: dict[str, tuple[Any, Any]] = {
    "numpy.sum": (0, elementwise.add),
    "numpy.prod": (1, elementwise.multiply),
    "numpy.max": (None, elementwise.maximum),
    "numpy.min": (None, elementwise.minimum),
    "numpy.amax": (None, elementwise.maximum),
    "numpy.amin": (None, elementwise.minimum),
    "numpy.any": (False, comparison.logical_or),
    "numpy.all": (True, comparison.logical_and),
}
"""Of a reduction: its value over no elements, and how a start is joined to it."""


def _options(rule: Rule, options: dict[str, Any], given: dict[str, Any]) -> Any:
    """Options that ours lack: dtype= casts the arrays, initial= and where= of reductions; all others are refused."""
    assert rule.function is not None
    dtype, order = options.pop("dtype", None), options.pop("order", None)
    initial, where = options.pop("initial", None), options.pop("where", None)
    if order not in (None, "C", "K", "A"):
        options["order"] = order
    start = _START.get(rule.name)
    if start is None or (where is not None and start[0] is None and initial is None):
        options |= {name: value for name, value in (("initial", initial), ("where", where)) if value is not None}
    if options:
        names = ", ".join(f"{name}={value!r}"[:60] for name, value in options.items())
        raise _no_rule(f"{rule.name} with {names}")
    if dtype is not None:
        for name, parameter in _parameters(rule.function).items():
            if name in given and "ArrayLike" in str(parameter.annotation):
                value = given[name]
                listed = isinstance(value, list | tuple) and len(_tensors(value)) > 0
                given[name] = [asarray(v).astype(dtype) for v in value] if listed else asarray(value).astype(dtype)
    if start is not None and where is not None:
        first = next(iter(_parameters(rule.function)))
        given[first] = elementwise.where(where, given[first], initial if start[0] is None else start[0])

    def finish(result: Any) -> Any:
        if start is not None and initial is not None:
            result = start[1](result, _of_dtype(initial, result.dtype))
        return result if dtype is None else _narrowed(result, dtype)

    return finish


def _narrowed(result: Any, dtype: Any) -> Any:
    """An integer result in the dtype asked for: sums and products of small integers are in 64 bits."""
    small = isinstance(result, Tensor) and result.dtype.kind in "iu" and numpy.dtype(dtype).kind in "iub"
    return result.astype(dtype) if small else result


def _of_dtype(value: Any, dtype: Any) -> Any:
    """A number, where it is one, as NumPy takes a start: of the dtype of what it starts."""
    return value if isinstance(value, Tensor) else numpy.asarray(value).astype(dtype)[()]


# --- ufuncs -------------------------------------------------------------------------------------------------------


def _reduce(
    array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any: ...


def _accumulate(array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any: ...


def _method_rules(signature: inspect.Signature, functions: dict[Any, tuple[str, Callable[..., Any]]]) -> dict[Any, Rule]:
    return {ufunc: Rule(name, "op", function, signature, "") for ufunc, (name, function) in functions.items()}


_METHODS = {
    "reduce": _method_rules(
        inspect.signature(_reduce),
        {
            numpy.add: ("numpy.sum", reduction.sum),
            numpy.multiply: ("numpy.prod", scan.prod),
            numpy.maximum: ("numpy.max", reduction.max),
            numpy.minimum: ("numpy.min", reduction.min),
            numpy.logical_and: ("numpy.all", reduction.all),
            numpy.logical_or: ("numpy.any", reduction.any),
            numpy.logaddexp: ("numpy.logaddexp.reduce", reduction.logsumexp),
        },
    ),
    "accumulate": _method_rules(
        inspect.signature(_accumulate),
        {
            numpy.add: ("numpy.add.accumulate", scan.cumsum),
            numpy.multiply: ("numpy.multiply.accumulate", scan.cumprod),
            numpy.maximum: ("numpy.maximum.accumulate", scan.cummax),
            numpy.minimum: ("numpy.minimum.accumulate", scan.cummin),
            numpy.logaddexp: ("numpy.logaddexp.accumulate", scan.logcumsumexp),
        },
    ),
}
"""Methods of ufuncs that are ops; their axis is 0 where none is given."""


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer a ufunc of NumPy, or a method of one, on Tensors, arrays and numbers."""
    rules = ufunc_rules()
    function = rules.get(ufunc)
    if function is None and ufunc not in rules:
        function = rules[ufunc] = scipy_ufunc(ufunc)
    name: str = ufunc.__name__
    what = f"numpy.{name}" if getattr(numpy, name, None) is ufunc else f"ufunc {name}"
    what += "" if method == "__call__" else f".{method}"
    if kwargs.get("out") is not None:
        out = kwargs["out"] if isinstance(kwargs["out"], tuple) else (kwargs["out"],)
        kwargs = {name: value for name, value in kwargs.items() if name != "out"}
        if any(part is not None for part in out):
            return _assign(what, out, call_ufunc(ufunc, method, inputs, kwargs))
    if method == "__call__":
        if function is None:
            raise _no_rule(what)
        return function(*inputs) if not kwargs else _with_options(what, function, inputs, kwargs)
    if method == "outer" and function is not None and not kwargs and ufunc.nin == 2:
        left, right = map(asarray, inputs)
        return function(shape.reshape(left, left.shape + (1,) * right.ndim), right)
    rule = _METHODS.get(method, {}).get(ufunc)
    if rule is not None:
        return _call_ours(rule, inputs, kwargs if len(inputs) > 1 else {"axis": 0} | kwargs)
    hint = "it changes its argument: use gpugrad.index_add or gpugrad.scatter_add" if method == "at" else ""
    raise _no_rule(what, hint)


def _with_options(what: str, function: Callable[..., Any], inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc with options: dtype= casts the inputs, as NumPy computes; those that ours have are passed on."""
    dtype = kwargs.get("dtype")
    accepted = {name: value for name, value in kwargs.items() if name in ("axis",) and name in _parameters(function)}
    defaults = {"where": True, "subok": True, "casting": "same_kind", "order": "K", "keepdims": False}
    for name, value in kwargs.items():
        if name in accepted or name in ("dtype", "subok") or value is None or (name in defaults and value is defaults[name]):
            continue
        if name in defaults and isinstance(value, str) and value in (defaults[name], "C", "A", "unsafe"):
            continue
        raise _no_rule(f"{what} with {name}={value!r}")
    if dtype is not None:
        inputs = tuple(asarray(x).astype(dtype) for x in inputs)
    return function(*inputs, **accepted)


# --- the protocols ------------------------------------------------------------------------------------------------


def _array_function(self: Tensor, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return call(rule_for(function), args, kwargs)


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if not kwargs and method == "__call__":  # the common case, by one lookup
        function = known_ufuncs.get(ufunc)
        if function is not None:
            return function(*inputs)
    return call_ufunc(ufunc, method, inputs, kwargs)


def _override_kernel(self: Tensor, kernel: Any, *args: Any, **kwargs: Any) -> Any:
    """What CuPy calls when one of its ufuncs, ``cupy.exp``, or kernels meets a Tensor."""
    ufunc = getattr(numpy, kernel.name.removeprefix("cupy_"), None)
    if not isinstance(ufunc, numpy.ufunc):
        raise _no_rule(f"CuPy's kernel {kernel.name}")
    if len(args) > kernel.nin:  # in place: ``a += t``
        kwargs["out"], args = args[kernel.nin :], args[: kernel.nin]
    return _array_ufunc(self, ufunc, "__call__", *args, **kwargs)


class _ArrayUfunc:
    """`_array_ufunc` for NumPy, which asks the class for it. CuPy's operators ask the tensor, and leave it to its own if None."""

    __call__ = staticmethod(_array_ufunc)

    def __get__(self, tensor: Tensor | None, cls: Any = None) -> Any:
        if tensor is None:
            return self
        on_cpu = isinstance(tensor._array, numpy.ndarray)
        return functools.partial(_array_ufunc, tensor) if on_cpu else None


Tensor.__cupy_override_elementwise_kernel__ = _override_kernel  # type: ignore[attr-defined]
Tensor.__array_ufunc__ = _ArrayUfunc()  # type: ignore[attr-defined]
Tensor.__array_function__ = _array_function  # type: ignore[attr-defined]
