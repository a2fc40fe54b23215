"""Errors of public functions that are composed of ops: each names the function that the user called, and what it was given.

An op explains its own errors, in `apply`. A composition may fail in any of its ops, or in Python and NumPy between them; the
user called none of these. So public functions are called through a function with the same signature and a ``try``, which
costs nothing but one more frame. It is made as text, as those of ops are, but not before the first call: `import gpugrad`
makes hundreds of them, most of them for nobody.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy

from .errors import PACKAGE, AnomalyError, CheckpointError, DataError, GpugradError, op_error

__all__ = ["explain", "explain_errors", "plain"]

_MOST_LISTED = 8
_EXPLAINED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
_LEFT = (AnomalyError, CheckpointError, DataError, FloatingPointError)
"""Those that say all there is to say, or that a user turned on."""
_PACKAGE = __name__.partition(".")[0]
_OURS = {_PACKAGE, "numpy", "cupy", *sys.stdlib_module_names}

_plain: dict[Callable[..., Any], FunctionType] = {}
_explained: dict[FunctionType, Callable[..., Any]] = {}


def plain(function: Any) -> Any:
    """The function itself, for one that `explain_errors` has put another before."""
    return _plain.get(function, function) if isinstance(function, FunctionType) else function


def explain_errors(*namespaces: dict[str, Any]) -> None:
    """Have the errors of all public functions of some namespaces, and of the modules that define them, say who was called."""
    for namespace in namespaces:
        for name in namespace.get("__all__", list(namespace)):
            value = namespace[name]
            if type(value) is FunctionType and value.__module__.startswith(_PACKAGE) and not name.startswith("_"):
                namespace[name] = _before(value)


def _before(function: FunctionType) -> Callable[..., Any]:
    """The function to call in place of this one; itself if its errors are explained already."""
    op = getattr(function, "op", None)
    if function in _plain or (op is not None and not op.variadic and (op.reference is None or op.has_aux)):
        return function
    if function not in _explained:
        before = FunctionType(_FIRST, function.__globals__, function.__name__, None, (CellType(_prepare), CellType(function)))
        functools.update_wrapper(before, function)
        _plain[before], _explained[function] = function, before
        if op is not None:
            op.public = before
        module: ModuleType | None = sys.modules.get(function.__module__)
        if getattr(module, function.__name__, None) is function:  # so that it can be pickled, and is one function everywhere
            setattr(module, function.__name__, before)
    return _explained[function]


def _first() -> CodeType:
    prepare_: Any = None
    target_: Any = None

    def first(*args: Any, **kwargs: Any) -> Any:
        return prepare_(target_)(*args, **kwargs)

    return first.__code__


_FIRST = _first()


def _prepare(function: FunctionType) -> Any:
    """Give what stands before a function its signature, at the first call."""
    before: Any = _explained[function]
    parameters = list(inspect.signature(function).parameters.values())
    declared, given, star = [], [], ""
    for i, p in enumerate(parameters):
        if p.kind is not p.POSITIONAL_ONLY and i and parameters[i - 1].kind is p.POSITIONAL_ONLY:
            declared.append("/")
        if p.kind is p.KEYWORD_ONLY and not star:
            declared.append(star := "*")
        star = f"*{p.name}" if p.kind is p.VAR_POSITIONAL else star
        stars = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        declared.append(stars + p.name + ("" if p.default is p.empty else "=None"))
        given.append(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else stars + p.name)
    if parameters and parameters[-1].kind is inspect.Parameter.POSITIONAL_ONLY:
        declared.append("/")
    names = "".join(f"{p.name}, " for p in parameters)
    source = (
        f"def _make(prepare_, target_):\n"
        f"    def {before.__name__}({', '.join(declared)}):\n"
        f"        try:\n"
        f"            return target_({', '.join(given)})\n"
        f"        except Exception as error_:\n"
        f"            prepare_.explain(target_, ({names}), error_)\n"
        f"            raise\n"
        f"    return {before.__name__}\n"
    )
    scope: dict[str, Any] = {}
    exec(compile(source, PACKAGE + f"<{before.__name__}>", "exec"), scope)
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    before.__defaults__ = tuple(
        p.default for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is not p.empty
    )
    before.__kwdefaults__ = keywords or None
    before.__code__ = scope["_make"](_prepare, function).__code__  # last: until then another thread may call it
    return before


def _explain(function: FunctionType, values: tuple[Any, ...], error: Exception) -> None:
    """`explain` for a function of ours, by its signature."""
    arrays: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for p, value in zip(inspect.signature(function).parameters.values(), values, strict=True):
        if p.kind is p.VAR_KEYWORD:
            options |= value
        elif isinstance(value, list | tuple) and (p.kind is p.VAR_POSITIONAL or any(hasattr(v, "shape") for v in value)):
            arrays |= {f"{p.name}[{i}]": v for i, v in enumerate(value[:_MOST_LISTED])}
        elif hasattr(value, "shape") or p.default is p.empty:
            arrays[p.name] = value
        elif value is not p.default:
            options[p.name] = value
    explain(function.__name__, arrays, options, error)


def explain(name: str, arrays: dict[str, Any], options: dict[str, Any], error: Exception) -> None:
    """Raise the error of a function as one that says who was called, with what, where; return if there is nothing to add."""
    if (
        not isinstance(error, _EXPLAINED)
        or isinstance(error, _LEFT)
        or _is_the_users(error)
        or getattr(error, "of_earlier", False)
    ):
        return
    reason = _reason(error, name.rpartition(".")[2])
    told = isinstance(error, GpugradError)
    cause = type(error)(reason) if told else _like(error)(reason)
    explained = op_error(name, tuple(arrays), tuple(arrays.values()), options, cause)
    explained.reason = reason
    raise explained from (None if told else error)


_prepare.explain = _explain  # type: ignore[attr-defined]


def _is_the_users(error: Exception) -> bool:
    """Whether code of others raised it, or called what did: a function that ours was given."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            return True
        trace = trace.tb_next
    return False


def _reason(error: Exception, name: str) -> str:
    """What an error says, without the lists of what inner functions were given and the place, which ours has better."""
    if isinstance(error, GpugradError) and error.reason is not None:
        return error.reason
    if isinstance(error, KeyError):
        return f"{error} is unknown"
    lines = str(error).split("\n")
    kept = [line for line in lines if not line.startswith(("  at ", "    ")) and line != "  got"]
    return "\n".join(kept).removeprefix(f"{name}: ")


def _like(error: Exception) -> type[Exception]:
    """The plainest built-in exception of a kind."""
    if isinstance(error, numpy.linalg.LinAlgError):
        return numpy.linalg.LinAlgError
    if isinstance(error, IndexError):
        return IndexError
    return TypeError if isinstance(error, TypeError | AttributeError) else ValueError
