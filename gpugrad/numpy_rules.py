"""What answers NumPy's functions when they are called on Tensors: a table, name by name.

Most functions are answered by the op, or the composition of ops, that has their name. Here stand the other spellings, the
functions that only ask about an array, those whose results are indices and counts, those that need a word of adapting,
and why some are refused. `protocols` does the calling.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy

from .errors import PACKAGE
from .op import as_tensor, registry
from .ops import statistics
from .ops.placing import tensor_beside
from .ops.shape import reshape_in_order
from .public import plain

__all__ = ["MODULES", "Rule", "classify", "functions", "known_ufuncs", "rule_for", "scipy_ufunc", "ufunc_rules"]

_PACKAGE = __name__.partition(".")[0]

MODULES: dict[str, Any] = {"": numpy, "linalg.": numpy.linalg, "fft.": numpy.fft}

SPELLINGS = {
    "amax": "max",
    "amin": "min",
    "row_stack": "vstack",
    "asanyarray": "asarray",
    "ascontiguousarray": "asarray",
    "linalg.outer": "linalg_outer",
}
"""NumPy functions that do what ours of another name does. (`numpy.acos` and `numpy.arccos` are one object.)"""

UFUNC_SPELLINGS = {
    "invert": "invert",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "true_divide": "divide",
    "absolute": "abs",
}

ABOUT = {
    "array2string", "array_repr", "array_str", "broadcast_shapes", "can_cast", "common_type", "diag_indices_from",
    "einsum_path", "iscomplexobj", "isfortran", "isrealobj", "may_share_memory", "min_scalar_type", "ndim",
    "ravel_multi_index", "result_type", "shape", "shares_memory", "size", "tril_indices_from", "triu_indices_from",
    "unravel_index",
}  # fmt: skip
"""Functions that ask about an array: answered by NumPy, with no gradient to lose."""

COUNTING = {
    "argpartition": "indices", "bincount": "counts", "digitize": "indices", "lexsort": "indices", "packbits": "bits",
    "unpackbits": "bits", "histogram": "counts", "histogram2d": "counts", "histogramdd": "counts",
    "histogram_bin_edges": "places",
}  # fmt: skip
"""Functions whose results are never differentiable, computed on raw arrays by the library that holds them."""

IN_PLACE = {"copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"}

_ASSIGN = "it changes its argument: assign with t[index] = value, or use gpugrad.where or gpugrad.index_set"
HINTS = {
    "c_": "use gpugrad.column_stack",
    "r_": "use gpugrad.concatenate",
    "save": "use gpugrad.save",
    "savez": "use gpugrad.save",
    "savez_compressed": "use gpugrad.save",
}  # fmt: skip
"""What to do instead of a function that is refused."""

SIGNATURES = {
    "bincount": "(x, /, weights=None, minlength=0)",
    "can_cast": "(from_, to, casting='safe')",
    "concatenate": "(arrays, /, axis=0, out=None, *, dtype=None, casting='same_kind')",
    "copyto": "(dst, src, casting='same_kind', where=True)",
    "datetime_as_string": "(arr, unit=None, timezone='naive', casting='same_kind')",
    "dot": "(a, b, out=None)",
    "empty_like": "(prototype, dtype=None, order='K', subok=True, shape=None, *, device=None)",
    "inner": "(a, b, /)",
    "lexsort": "(keys, axis=-1)",
    "may_share_memory": "(a, b, max_work=0)",
    "min_scalar_type": "(a, /)",
    "packbits": "(a, /, axis=None, bitorder='big')",
    "putmask": "(a, mask, values)",
    "ravel_multi_index": "(multi_index, dims, mode='raise', order='C')",
    "result_type": "(*arrays_and_dtypes)",
    "shares_memory": "(a, b, max_work=-1)",
    "unpackbits": "(a, /, axis=None, count=None, bitorder='big')",
    "unravel_index": "(indices, shape, order='C')",
    "vdot": "(a, b, /)",
    "where": "(condition, x=None, y=None, /)",
}
"""Signatures of functions written in C, which NumPy before 2.4 does not tell."""

RENAMED: dict[str, dict[str, str]] = {
    "clip": {"a_min": "a_min", "a_max": "a_max", "min": "a_min", "max": "a_max"},
    "nanstd": {"correction": "ddof"},
    "nanvar": {"correction": "ddof"},
    "reshape": {"newshape": "shape"},
    "eye": {"M": "m"},
    "pinv": {"rtol": "rcond"},
}
"""Parameters of NumPy that ours call otherwise, beyond the arrays, which go by position."""


# --- functions that need a word of adapting -----------------------------------------------------------------------


def _ours(name: str) -> Callable[..., Any]:
    """A public function of ours by name, ``linalg.norm`` in gpugrad.linalg; KeyError if there is none."""
    value: Any = sys.modules[_PACKAGE]
    for part in name.split("."):
        value = vars(value)[part]
    return plain(value)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """`numpy.where` with one argument is `numpy.nonzero`."""
    return _ours("nonzero")(condition) if x is None and y is None else _ours("where")(condition, x, y)


def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    """`numpy.clip`, by limits that may be Tensors too."""
    if not isinstance(a_min, type(as_tensor(0))) and not isinstance(a_max, type(as_tensor(0))):
        return _ours("clip")(a, a_min, a_max)
    out = as_tensor(a) if a_min is None else _ours("maximum")(a, a_min)
    return out if a_max is None else _ours("minimum")(out, a_max)


def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """`numpy.copy`: layouts are ours to choose."""
    return _ours("copy")(a)


def reshape(a: Any, /, shape: Any = None, order: str = "C", *, copy: bool | None = None) -> Any:
    """`numpy.reshape`."""
    out = reshape_in_order(a, shape, order)
    return _ours("copy")(out) if copy else out


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """`numpy.astype`."""
    tensor = as_tensor(x)
    tensor = tensor if device is None else tensor.to(device)
    return tensor.astype(dtype) if copy or tensor.dtype != numpy.dtype(dtype) else tensor


def array(object: Any, dtype: Any = None, *, copy: bool | None = True, device: Any = None) -> Any:
    """`numpy.array`: a copy unless told otherwise."""
    return _ours("asarray")(object, dtype, device, copy=copy)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """`numpy.searchsorted`, also in an array that `sorter` brings into order."""
    a = tensor_beside(a, as_tensor(v)) if hasattr(v, "dtype") else a
    return _ours("searchsorted")(a if sorter is None else _ours("take")(a, sorter), v, side)


def linalg_outer(x1: Any, x2: Any, /) -> Any:
    """`numpy.linalg.outer`: of vectors only."""
    if as_tensor(x1).ndim != 1 or as_tensor(x2).ndim != 1:
        raise ValueError("outer takes two vectors")
    return _ours("outer")(x1, x2)


def real_if_close(a: Any, tol: float = 100) -> Any:
    """`numpy.real_if_close`: the real part where the imaginary one is negligible."""
    tensor = as_tensor(a)
    close = numpy.isrealobj(numpy.real_if_close(tensor.detach().numpy(), tol))
    return _ours("real")(tensor) if close and tensor.dtype.kind == "c" else tensor


WITH_OPTIONS: dict[str, Callable[..., Any]] = {
    "numpy.mean": statistics.mean_where,
    "numpy.std": statistics.std_where,
    "numpy.var": statistics.var_where,
}
"""What answers a function that is an op when it is given options that the op lacks."""

ADAPTED: dict[str, Callable[..., Any]] = {
    "array": array,
    "searchsorted": searchsorted,
    "where": where,
    "clip": clip,
    "copy": copy,
    "reshape": reshape,
    "astype": astype,
    "linalg_outer": linalg_outer,
    "real_if_close": real_if_close,
}


# --- from a name to a rule ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rule:
    """What answers one function of NumPy."""

    name: str
    kind: str
    """``"op"``, ``"about"``, ``"counting"``, ``"in place"`` or ``"refused"``."""
    function: Callable[..., Any] | None
    """Ours, for an op; NumPy's, to be called on raw arrays, for the others."""
    signature: inspect.Signature | None
    """NumPy's."""
    target: str
    """Our name, as the documentation shows it; for a refusal, what to do instead."""


def own(name: str) -> tuple[Callable[..., Any], str] | None:
    """Our function for a NumPy name, and how we call it."""
    spelled = SPELLINGS.get(name, name)
    if spelled in ADAPTED:
        base = spelled.replace("linalg_", "")
        return ADAPTED[spelled], base if base in registry or hasattr(sys.modules[_PACKAGE], base) else "a Tensor's own method"
    try:
        function = _ours(spelled)
    except KeyError:
        return None
    module = getattr(function, "__module__", "") or ""
    inside = module.startswith(tuple(f"{_PACKAGE}.{part}" for part in ("ops", "linalg", "fft", "creation", "tensor")))
    if not callable(function) or isinstance(function, type) or not (inside or getattr(function, "op", None) is not None):
        return None
    return function, spelled


def _signature(name: str, function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        text = SIGNATURES.get(getattr(function, "__name__", name))
    if text is None:
        return None
    scope: dict[str, Any] = {}
    exec(compile(f"def f{text}: ...", PACKAGE + "<signature>", "exec"), scope)
    return inspect.signature(scope["f"])


def classify(name: str) -> Rule:
    """The rule for a function of NumPy by its name: ``"sum"``, ``"linalg.norm"``, ``"fft.fft"``."""
    prefix, _, base = name.rpartition(".")
    function = getattr(MODULES[prefix + "." if prefix else ""], base)
    full = f"numpy.{name}"
    signature = _signature(base, function)
    if name in ABOUT:
        return Rule(full, "about", function, signature, "")
    canonical = name if own(name) is not None else f"{prefix}.{function.__name__}" if prefix else function.__name__
    found = own(canonical)
    if found is not None:
        return Rule(full, "op", found[0], signature, found[1])
    if name in IN_PLACE:
        return Rule(full, "in place", function, signature, _ASSIGN)
    if name in COUNTING:
        return Rule(full, "counting", function, signature, COUNTING[name])
    return Rule(full, "refused", None, signature, HINTS.get(name, ""))


def functions() -> Iterator[tuple[str, Any]]:
    """Every public function of numpy, numpy.linalg and numpy.fft, by name."""
    for prefix, module in MODULES.items():
        for name in sorted(dir(module)):
            value = getattr(module, name)
            if not name.startswith("_") and callable(value) and not isinstance(value, type | ModuleType):
                yield prefix + name, value


def is_dispatched(function: Any) -> bool:
    """Whether NumPy asks its arguments what to do: functions with `__array_function__`, and ufuncs."""
    return isinstance(function, numpy.ufunc) or hasattr(function, "_implementation")


_rules: dict[Any, Rule] = {}


def rule_for(function: Any) -> Rule:
    """The rule for a function object of NumPy; the table is made at the first call."""
    if not _rules:
        for name, value in functions():
            if is_dispatched(value) and not isinstance(value, numpy.ufunc) and (value not in _rules or value.__name__ == name):
                _rules[value] = classify(name)
    found = _rules.get(function)
    if found is None:
        name = f"{function.__module__}.{function.__name__}"
        found = _rules[function] = Rule(name, "refused", None, None, "")
    return found


def own_ufunc(ufunc: Any) -> Callable[..., Any] | None:
    """Our function for a ufunc of NumPy."""
    name = UFUNC_SPELLINGS.get(ufunc.__name__, ufunc.__name__)
    for op in registry.values():
        if op.ufunc is not None and getattr(numpy, op.ufunc) is ufunc:
            return op.public
    found = own(name)
    return None if found is None else found[0]


known_ufuncs: dict[Any, Callable[..., Any] | None] = {}
"""What `ufunc_rules` has made; empty before its first call."""


def scipy_ufunc(ufunc: Any) -> Callable[..., Any] | None:
    """Our function for a ufunc of scipy.special, by its name."""
    theirs = sys.modules.get("scipy.special._ufuncs")
    name: str = ufunc.__name__
    special: Any = importlib.import_module(f"{_PACKAGE}.special")
    return plain(getattr(special, name)) if name in special.__all__ and getattr(theirs, name, None) is ufunc else None


def ufunc_rules() -> dict[Any, Callable[..., Any] | None]:
    """Ours for every public ufunc, None where there is none; made at the first call."""
    if not known_ufuncs:
        for value in vars(numpy).values():
            if isinstance(value, numpy.ufunc):
                known_ufuncs[value] = own_ufunc(value)
    return known_ufuncs
