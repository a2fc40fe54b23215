"""Functions of `gpugrad.numpy`, made from the table in `numpy_rules` when they are first asked for."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy

from .. import dtypes, special
from ..numpy_rules import HINTS, MODULES, SIGNATURES, Rule, classify, functions, is_dispatched, own, ufunc_rules
from ..ops import random
from ..protocols import call, call_ufunc, parameters_without_place
from ..tensor import Tensor, asarray

__all__ = ["Ufunc", "lookup", "names"]

_AS_NUMPY = {
    "False_", "True_", "broadcast_shapes", "diag_indices", "dtype", "e", "errstate", "euler_gamma", "generic", "geterr",
    "index_exp", "inf", "isscalar", "issubdtype", "iterable", "linalg.LinAlgError", "mask_indices", "nan", "ndindex", "newaxis",
    "pi", "printoptions", "promote_types", "s_", "set_printoptions", "seterr", "tril_indices", "triu_indices", "typename",
}  # fmt: skip
"""Names that have to do with no array, or only make indices: NumPy's own."""

_MADE = {"bartlett", "blackman", "hamming", "hanning", "indices", "kaiser"}
"""Functions that make an array from numbers: NumPy's, as Tensors."""

_OURS: dict[str, Any] = {name: getattr(dtypes, name) for name in dtypes.__all__} | {
    "ndarray": Tensor,
    "random": random,
    "special": special,
}


class Ufunc:
    """A function elementwise with NumPy's arguments, and the methods `reduce`, `accumulate` and `outer` of NumPy's ufuncs."""

    def __init__(self, theirs: numpy.ufunc, ours: Callable[..., Any]) -> None:
        self.theirs, self.ours = theirs, ours
        self.nin, self.nout, self.identity = theirs.nin, theirs.nout, theirs.identity
        self.__name__, self.__doc__ = theirs.__name__, ours.__doc__
        axis = ", axis=-1" if "axis" in inspect.signature(ours).parameters else ""
        names = ", ".join(["x"] if self.nin == 1 else [f"x{i + 1}" for i in range(self.nin)])
        self.__signature__ = _signature(
            f"({names}, /, out=None, *, where=True, casting='same_kind', order='K', dtype=None{axis})"
        )

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} on Tensors>"

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """NumPy's arguments: out, where, dtype."""
        if not options and len(inputs) <= self.nin:
            return self.ours(*inputs)
        if len(inputs) > self.nin:
            inputs, options["out"] = inputs[: self.nin], inputs[self.nin :]
        return call_ufunc(self.theirs, "__call__", inputs, options)

    def reduce(self, array: Any, *args: Any, **options: Any) -> Any:
        """Along an axis, the first one if none is given."""
        return call_ufunc(self.theirs, "reduce", (array, *args), options)

    def accumulate(self, array: Any, *args: Any, **options: Any) -> Any:
        """All partial results along an axis."""
        return call_ufunc(self.theirs, "accumulate", (array, *args), options)

    def outer(self, x: Any, y: Any, **options: Any) -> Any:
        """Of all pairs."""
        return call_ufunc(self.theirs, "outer", (x, y), options)

    def at(self, *args: Any) -> Any:
        """Refused: it changes its argument."""
        return call_ufunc(self.theirs, "at", args, {})

    def reduceat(self, *args: Any, **options: Any) -> Any:
        """Refused: it has no rule."""
        return call_ufunc(self.theirs, "reduceat", args, options)


def _signature(text: str) -> inspect.Signature:
    scope: dict[str, Any] = {}
    exec(f"def f{text}: ...", scope)
    return inspect.signature(scope["f"])


def _widened(rule: Rule) -> Rule:
    """A rule that also takes, by keyword, what our function takes beyond NumPy's."""
    if rule.signature is None or rule.function is None:
        return rule
    theirs = list(rule.signature.parameters.values())
    more = [p.replace(kind=p.KEYWORD_ONLY, annotation=p.empty) for p in parameters_without_place(rule)]
    end = len(theirs) - bool(theirs and theirs[-1].kind is inspect.Parameter.VAR_KEYWORD)
    return dataclasses.replace(rule, signature=rule.signature.replace(parameters=[*theirs[:end], *more, *theirs[end:]]))


def _function(name: str, rule: Rule) -> Callable[..., Any]:
    wide = _widened(rule) if rule.kind == "op" else rule

    def answer(*args: Any, **kwargs: Any) -> Any:
        return call(wide, args, kwargs)

    answer.__name__ = answer.__qualname__ = name.rpartition(".")[2]
    answer.__doc__ = rule.function.__doc__
    answer.__module__ = getattr(rule.function, "__module__", __name__)
    if wide.signature is not None:
        answer.__signature__ = wide.signature  # type: ignore[attr-defined]
    return answer


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        return asarray(function(*args, **kwargs))

    return make


def _is_number(value: Any) -> bool:
    """Whether a type of NumPy's is one of numbers or truth values."""
    return isinstance(value, type) and issubclass(value, numpy.number | numpy.bool) and value is not numpy.timedelta64


def lookup(prefix: str, name: str) -> Any:
    """What stands under a name of numpy (prefix ``""``), ``"linalg."`` or ``"fft."``; AttributeError with a hint if nothing."""
    full = prefix + name
    theirs: Any = getattr(MODULES[prefix], name, None)
    if name.startswith("_") or (theirs is None and own(full) is None and full not in _OURS and full not in _AS_NUMPY):
        raise AttributeError(f"gpugrad.numpy has no {full!r}")
    if full in _OURS:
        return _OURS[full]
    if full in _AS_NUMPY or _is_number(theirs):
        return theirs
    if full in _MADE:
        return _made(theirs)
    if isinstance(theirs, numpy.ufunc):
        ours = ufunc_rules()[theirs]
        if ours is not None:
            return Ufunc(theirs, ours)
    elif theirs is None:  # NumPy got it in a later version
        return own(full)[0]  # type: ignore[index]
    elif callable(theirs) and not isinstance(theirs, type):
        rule = classify(full)
        if rule.kind != "refused":
            return _function(full, rule)
    raise AttributeError(f"gpugrad.numpy leaves out {full!r}: {HINTS.get(full, 'it has no rule for Tensors')}")


def names(prefix: str) -> list[str]:
    """All names of one namespace."""
    found = {full for full, f in functions() if _is_answered(full, f)} | {*_AS_NUMPY, *_MADE, *_OURS}
    found |= {name for name, value in vars(numpy).items() if _is_number(value)}
    found |= {name for name in SIGNATURES if own(name) is not None}
    return sorted(name.removeprefix(prefix) for name in found if name.rpartition(".")[0] == prefix.rstrip("."))


def _is_answered(name: str, function: Any) -> bool:
    if isinstance(function, numpy.ufunc):
        return ufunc_rules()[function] is not None
    return (is_dispatched(function) or own(name) is not None) and classify(name).kind != "refused"
