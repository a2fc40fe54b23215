"""Every public function, called with what it cannot take: the error names it, what it was given, and the user's line.

The bad calls are made from the signatures: arrays have shape (3, 4), and one argument at a time is replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.public import plain

NAMESPACES = ("gpugrad", "gpugrad.nn.functional", "gpugrad.linalg", "gpugrad.fft", "gpugrad.special")
NO_ARRAYS = ["abc", [[1.0, 2.0], [3.0]], np.array(["a", "b"])]
ANY_SHAPES = {
    "append", "array_equal", "array_equiv", "intersect1d", "isin", "kron", "outer", "polyadd", "polymul", "polysub", "setdiff1d",
    "setxor1d", "union1d",
}  # fmt: skip
"""Functions of two arrays that need not fit."""


def public_functions() -> dict[str, Callable[..., Any]]:
    """All public functions by their full names, each once; those that a class or a module only re-exports too."""
    found: dict[Callable[..., Any], str] = {}
    for space in NAMESPACES:
        module = importlib.import_module(space)
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            if isinstance(value, FunctionType) and not name.startswith("_"):
                found.setdefault(value, f"{space}.{name}")
    return {name: function for function, name in found.items()}


FUNCTIONS = public_functions()
assert len(FUNCTIONS) > 450
pytestmark = pytest.mark.filterwarnings("ignore:.*which is rarely meant")


def arrays_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if "ArrayLike" in str(p.annotation)]


def arguments(function: Callable[..., Any], changed: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """What fits the signature, more or less, with some arguments changed."""
    x = gg.tensor(np.arange(12.0).reshape(3, 4) + 1)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for p in inspect.signature(function).parameters.values():
        if p.name not in changed and (p.default is not p.empty or p.kind is p.VAR_KEYWORD):
            continue
        is_array, listed = "ArrayLike" in str(p.annotation), "Sequence" in str(p.annotation)
        value = changed.get(p.name, x if is_array else {"axis": 0, "shape": (3, 4)}.get(p.name, 1))
        value = [x, value] if listed and is_array else value
        if p.kind is p.VAR_POSITIONAL:
            args += [x, value] if is_array else []
        elif p.kind is p.KEYWORD_ONLY or p.default is not p.empty or kwargs:
            kwargs[p.name] = value
        else:
            args.append(value)
    return args, kwargs


def check(function: Callable[..., Any], changed: dict[str, Any]) -> None:
    """Call it; the error must be complete."""
    args, kwargs = arguments(function, changed)
    with pytest.raises(gg.GpugradError) as caught:
        function(*args, **kwargs)  # HERE
    message = str(caught.value)
    assert message.startswith(f"{function.__name__}: "), message
    assert f"{__file__}:" in message
    assert "# HERE" in message
    assert message.count("\n  at ") == 1
    assert isinstance(caught.value, ValueError | TypeError | IndexError)
    if any(isinstance(value, gg.Tensor) for value in [*args, *kwargs.values()]):
        assert "float64[3, 4] on cpu" in message


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if arrays_of(function)])
def test_no_arrays(name: str) -> None:
    function = FUNCTIONS[name]
    for p in arrays_of(function):
        may_be_none = p.default is None or p.kind is p.VAR_POSITIONAL or "Sequence" in str(p.annotation)
        for value in NO_ARRAYS if may_be_none else [*NO_ARRAYS, None]:
            check(function, {p.name: value})


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if {"axis", "axes"} & {*inspect.signature(f).parameters}])
def test_axes_that_are_not_there(name: str) -> None:
    for parameter in {"axis", "axes"} & {*inspect.signature(FUNCTIONS[name]).parameters}:
        for value in (7, -4, "abc", 0.5):
            check(FUNCTIONS[name], {parameter: value})


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if len(arrays_of(f)) > 1 and f.__name__ not in ANY_SHAPES])
def test_shapes_that_do_not_fit(name: str) -> None:
    check(FUNCTIONS[name], {arrays_of(FUNCTIONS[name])[1].name: gg.ones((2, 5))})


@pytest.mark.parametrize("name", ["concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "einsum"])
def test_a_list_that_is_none(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: .*(.|\n)*{__file__}"):
        getattr(gg, name)(5)


def test_any_number_of_arguments_are_numbered() -> None:
    t = gg.ones((2, 3))
    with pytest.raises(ValueError, match=r"operands\[0\] = str ij,jk\n    operands\[1\] = float32\[2, 3\]"):
        np.einsum("ij,jk", t, t)


# --- what else the functions are ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_stay_what_they_are(name: str) -> None:
    function = FUNCTIONS[name]
    before = inspect.signature(function), function.__doc__, function.__module__
    assert pickle.loads(pickle.dumps(function)) is function
    assert function.__globals__ is plain(function).__globals__, "doctests are looked for by it"
    with contextlib.suppress(Exception):
        function(object())  # the first call gives it its code
    assert (inspect.signature(function), function.__doc__, function.__module__) == before
    own = inspect.signature(function, follow_wrapped=False)
    assert [(p.name, p.kind, p.default) for p in own.parameters.values()] == [
        (p.name, p.kind, p.default) for p in before[0].parameters.values()
    ]


def test_arguments_that_do_not_bind() -> None:
    with pytest.raises(TypeError, match=r"trapezoid\(\) missing 1 required positional argument: 'y'"):
        gg.trapezoid()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"trapezoid\(\) got an unexpected keyword argument 'no'"):
        gg.trapezoid([1.0, 2.0], no=1)  # type: ignore[call-arg]


def test_the_reason_is_kept_and_told_once() -> None:
    x = gg.ones((3, 4))
    with pytest.raises(ValueError, match=r"^hsplit: 4 elements cannot be cut into 3 equal parts") as caught:
        gg.hsplit(x, 3)
    assert str(caught.value).split("\n")[1:4] == ["  got", "    ary = float32[3, 4] on cpu", "    indices_or_sections = int 3"]
    with pytest.raises(ValueError, match=r"^mse_loss: subtract: operands could not be broadcast") as caught:
        gg.nn.functional.mse_loss(x, np.ones((2, 5)))
    assert "target = float64[2, 5] on cpu" in str(caught.value)
    with pytest.raises(gg.LinearAlgebraError, match=r"^matrix_power: inv: Singular"):
        gg.linalg.matrix_power(gg.zeros((2, 2)), -1)


def test_errors_of_the_users_own_functions_are_left_alone() -> None:
    def fails(row: Any) -> Any:
        raise KeyError("mine")

    def adds(row: Any) -> Any:
        return gg.pad(row, -1)  # HERE

    with pytest.raises(KeyError, match=r"^'mine'$"):
        gg.apply_along_axis(fails, 0, gg.ones((3, 4)))
    with pytest.raises(gg.ShapeError, match=r"^pad: ") as caught:
        gg.apply_along_axis(adds, 0, gg.ones((3, 4)))
    assert "in adds: return gg.pad(row, -1)  # HERE" in str(caught.value)
