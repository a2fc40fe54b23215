"""Products for cuBLASLt: what is asked for every layout, worked out by a model of the library; descriptors read back."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from gpugrad.cuda import gemm
from gpugrad.cuda.gemm import Epilogue, Plan, Problem, problem_of
from gpugrad.errors import ShapeError

needs_library = pytest.mark.skipif(not gemm.is_available(), reason="cuBLASLt is not installed (pip install nvidia-cublas)")


def by_columns(memory: np.ndarray, rows: int, columns: int, stride: int) -> np.ndarray:
    """What cuBLASLt sees in memory: element (i, j) at ``i + j * stride``."""
    return np.array([[memory[i + j * stride] for j in range(columns)] for i in range(rows)]).reshape(rows, columns)


def memory_of(x: np.ndarray) -> np.ndarray:
    """All elements from the first of `x` on, in the order of addresses."""
    base = x
    while isinstance(base.base, np.ndarray):
        base = base.base
    flat = np.ascontiguousarray(base if base.flags.c_contiguous else base.T).reshape(-1)
    start = (x.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // x.itemsize
    return flat[start:]


def modelled(problem: Problem, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product that a library which does as its manual says would store, as a matrix by rows."""
    first, second, result = problem.layouts
    left, right = by_columns(memory_of(b), *first), by_columns(memory_of(a), *second)
    product = (left if problem.b_by_rows else left.T) @ (right if problem.a_by_rows else right.T)
    assert product.shape == result[:2]
    stored = product.T.reshape(-1)  # by columns
    return stored.reshape(problem.m, problem.n)


LAYOUTS: dict[str, Any] = {
    "rows": lambda rng, m, n: rng.random((m, n)),
    "columns": lambda rng, m, n: rng.random((n, m)).T,
    "wide rows": lambda rng, m, n: rng.random((m, n + 3))[:, :n],
    "wide rows, offset": lambda rng, m, n: rng.random((m, n + 3))[:, 2 : n + 2],
    "wide columns": lambda rng, m, n: rng.random((n, m + 2)).T[:m],
}


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize(("m", "k", "n"), [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_every_layout_gives_the_product(left: str, right: str, m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(0)
    a, b = LAYOUTS[left](rng, m, k), LAYOUTS[right](rng, k, n)
    problem = problem_of(a, b)
    assert problem is not None
    np.testing.assert_allclose(modelled(problem, a, b), a @ b)
    for rows, _, stride in problem.layouts:
        assert stride >= rows  # or cuBLASLt refuses it


def test_operands_that_must_be_copied_are_told() -> None:
    a = np.zeros((6, 8))
    assert problem_of(a[:, ::2], np.zeros((4, 3))) is None
    assert problem_of(a, np.zeros((16, 3))[::2]) is not None  # rows apart are fine
    assert problem_of(a[::-1], np.zeros((8, 3))) is None
    assert problem_of(np.broadcast_to(np.zeros(8), (6, 8)), np.zeros((8, 3))) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((3, 4)), np.zeros((3, 4))),
        (np.zeros(3), np.zeros((3, 4))),
        (np.zeros((3, 4), "f"), np.zeros((4, 3))),
        (np.zeros((3, 4), int), np.zeros((4, 3), int)),
    ],
)
def test_what_is_no_product_is_refused(a: Any, b: Any) -> None:
    with pytest.raises(ShapeError, match="gemm: "):
        problem_of(a, b)


@needs_library
@pytest.mark.parametrize("dtype", ["e", "f", "d"])
@pytest.mark.parametrize("epilogue", [v for k, v in vars(Epilogue).items() if isinstance(v, int)])
def test_descriptors_say_what_was_asked(dtype: str, epilogue: int) -> None:
    a, b = np.zeros((64, 100), dtype), np.zeros((17, 100), dtype).T
    problem = problem_of(a, b, epilogue)
    assert problem is not None
    made = Plan(problem)
    assert made.read(3) == 1  # the first operand, b, is stored by columns
    assert made.read(4) == 0
    assert made.read(7) == epilogue
    assert [made.read_layout(i) for i in range(3)] == [(100, 17, 100), (100, 64, 100), (17, 64, 17)]
    assert made.read(0) == {"e": 68, "f": 68, "d": 70}[dtype]
    if epilogue in Epilogue.WITH_AUX:
        stride = made.read(12, ctypes.c_int64)
        assert stride >= 17
        assert stride % (128 if epilogue in (Epilogue.RELU_AUX_BIAS, Epilogue.DRELU_BGRAD) else 8) == 0


@needs_library
def test_tf32_is_asked_for_only_where_chosen() -> None:
    a = np.zeros((4, 4), "f")
    for tf32, compute in ((False, 68), (True, 77)):
        problem = problem_of(a, a, tf32=tf32)
        assert problem is not None
        assert Plan(problem).read(0) == compute
    wide = problem_of(a.astype("d"), a.astype("d"), tf32=True)
    assert wide is not None
    assert Plan(wide).read(0) == 70


@needs_library
def test_plans_are_kept() -> None:
    a = np.zeros((4, 4), "f")
    assert gemm.plan(problem_of(a, a)) is gemm.plan(problem_of(a, a))
    assert gemm.plan(problem_of(a, a)) is not gemm.plan(problem_of(a, a, Epilogue.BIAS))
