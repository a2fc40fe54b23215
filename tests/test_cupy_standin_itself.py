"""The stand-in for CuPy is no kinder than CuPy: it refuses what CuPy refuses, and has no name that CuPy lacks."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from cupy_standin.functions import API


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


A = np.arange(6.0).reshape(2, 3)
REFUSED: dict[str, tuple[type[Exception], Callable[[Any, Any], Any]]] = {
    "implicit conversion": (TypeError, lambda cupy, x: np.asarray(x)),
    "a NumPy operand": (TypeError, lambda cupy, x: x + A),
    "a NumPy operand in front": (TypeError, lambda cupy, x: A + x),
    "a 0-d NumPy operand": (TypeError, lambda cupy, x: x * np.array(2.0)),
    "a NumPy function with both": (TypeError, lambda cupy, x: np.concatenate([x, A])),
    "matmul with both": (TypeError, lambda cupy, x: x @ A.T),
    "assigning NumPy": (ValueError, lambda cupy, x: x.__setitem__(0, np.ones(3))),
    "copyto of NumPy": (ValueError, lambda cupy, x: cupy.copyto(x, A)),
    "a list for an array": (AttributeError, lambda cupy, x: cupy.sum([1.0])),
    "a number for a condition": (AttributeError, lambda cupy, x: cupy.where(True, x, 0)),
    "a NumPy index for take_along_axis": (TypeError, lambda cupy, x: cupy.take_along_axis(x, np.array([[0]]), 1)),
    "maximum.reduce": (NotImplementedError, lambda cupy, x: cupy.maximum.reduce(x)),
    "minimum.accumulate": (NotImplementedError, lambda cupy, x: cupy.minimum.accumulate(x)),
    "multiply.at": (NotImplementedError, lambda cupy, x: cupy.multiply.at(x, 0, 2.0)),
    "add.at of int64": (TypeError, lambda cupy, x: cupy.add.at(cupy.zeros(3, "int64"), 0, 1)),
    "add.at of complex": (TypeError, lambda cupy, x: cupy.add.at(cupy.zeros(3, complex), 0, 1)),
    "where=": (TypeError, lambda cupy, x: cupy.sum(x, where=x > 0)),
    "initial=": (TypeError, lambda cupy, x: cupy.max(x, initial=0)),
    "stable=": (TypeError, lambda cupy, x: cupy.argsort(x, stable=True)),
    "correction=": (TypeError, lambda cupy, x: cupy.var(x, correction=1)),
    "einsum_path": (AttributeError, lambda cupy, x: cupy.einsum_path),
    "spacing": (AttributeError, lambda cupy, x: cupy.spacing),
    "vecdot": (AttributeError, lambda cupy, x: cupy.vecdot),
    "svdvals": (AttributeError, lambda cupy, x: cupy.linalg.svdvals),
    "stacks in solve": (ValueError, lambda cupy, x: cupy.linalg.solve(cupy.zeros((2, 3, 3)), cupy.zeros((1, 3, 3)))),
    "float16 in linalg": (TypeError, lambda cupy, x: cupy.linalg.inv(cupy.zeros((2, 2), "float16"))),
    "an array as an index": (TypeError, lambda cupy, x: [1, 2][cupy.asarray(np.array(1))]),
    "hash": (TypeError, lambda cupy, x: hash(x)),
    "strings": (ValueError, lambda cupy, x: cupy.asarray(np.array(["a"]))),
    "another device": (ValueError, lambda cupy, x: _elsewhere(cupy, lambda: x + 1)),
    "another device in a function": (ValueError, lambda cupy, x: _elsewhere(cupy, lambda: cupy.sum(x))),
    "a device too many": (RuntimeError, lambda cupy, x: cupy.cuda.Device(2).use()),
}


def _elsewhere(cupy: Any, call: Callable[[], Any]) -> Any:
    with cupy.cuda.Device(1):
        return call()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cupy_refuses_is_refused(cupy: Any, name: str) -> None:
    kind, call = REFUSED[name]
    with pytest.raises(kind):
        call(cupy, cupy.asarray(A))


def test_what_cupy_does_otherwise(cupy: Any) -> None:
    x = cupy.asarray(A)
    assert type(x.sum()) is cupy.ndarray  # no scalars
    assert x[cupy.asarray(np.array([2]))][0, 0].item() == 0  # an index beyond the end comes in again
    spread = cupy.broadcast_to(x[:1], (2, 3))
    spread[0, 0] = 9  # broadcast views can be written to
    assert spread[1, 0].item() == 9
    assert x[0, 0].item() == 9
    assert not hasattr(x.flags, "writeable")
    assert np.isnan(cupy.linalg.inv(cupy.zeros((2, 2))).get()).all()  # nobody looked whether it could be done
    assert np.isnan(cupy.empty(3).get()).all()
    assert cupy.power(cupy.asarray([True]), cupy.asarray([True])).dtype == "int8"
    np.testing.assert_array_equal((2 - x[1] ** 2).get(), 2 - A[1] ** 2)


def test_it_has_no_name_that_cupy_lacks(cupy: Any) -> None:
    assert {name for name in dir(cupy) if not name.startswith("_")} <= set(API["names"])
    assert {name for name in dir(cupy.ndarray) if not name.startswith("_")} <= {*API["ndarray"]}
    assert {name for name in dir(cupy.fft) if not name.startswith("_")} <= set(API["fft"])
    assert {name for name in dir(cupy.linalg) if not name.startswith("_")} <= {*API["linalg"], "LinAlgError"}


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_record_is_of_this_cupy() -> None:
    import cupy
    from cupy_standin.record import record

    if cupy.__version__ != API["version"]:
        pytest.skip(f"the record is of CuPy {API['version']}, this is {cupy.__version__}")
    assert json.loads(json.dumps(record())) == API
