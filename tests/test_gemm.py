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


DTYPES = {"float16": (2, 68, 0), "bfloat16": (14, 68, 0), "float32": (0, 68, 0), "float64": (1, 70, 1)}
"""cudaDataType_t, cublasComputeType_t and the scale's cudaDataType_t: half types are summed, and scaled, in float32."""
EPILOGUES = {name: value for name, value in vars(Epilogue).items() if isinstance(value, int)}


def empty(dtype: str, *shape: int) -> np.ndarray:
    if dtype == "bfloat16":
        return np.zeros(shape, pytest.importorskip("ml_dtypes").bfloat16)
    return np.zeros(shape, dtype)


def test_epilogues_are_those_of_the_header() -> None:
    """Its bits: ReLU 2, bias 4, ReLU's slope 8, bias gradient 16, GELU 32, GELU's slope 64, auxiliary matrix 128."""
    relu, bias, slope, gradient, gelu, gelu_slope, aux = (2 << i for i in range(7))
    expected = {
        "NONE": 1, "BIAS": bias, "BGRADA": 256, "BGRADB": 512,
        "RELU": relu, "RELU_AUX": relu | aux, "RELU_BIAS": relu | bias, "RELU_AUX_BIAS": relu | aux | bias,
        "DRELU": slope | aux, "DRELU_BGRAD": slope | aux | gradient,
        "GELU": gelu, "GELU_AUX": gelu | aux, "GELU_BIAS": gelu | bias, "GELU_AUX_BIAS": gelu | aux | bias,
        "DGELU": gelu_slope | aux, "DGELU_BGRAD": gelu_slope | aux | gradient,
    }  # fmt: skip
    assert expected == EPILOGUES
    assert {value for value in EPILOGUES.values() if value & aux} == Epilogue.WITH_AUX
    assert {value for value in Epilogue.WITH_AUX if value & (relu | slope)} == Epilogue.WITH_MASK


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_descriptors_say_what_was_asked(dtype: str, epilogue: str) -> None:
    number, (kind, compute, scale) = EPILOGUES[epilogue], DTYPES[dtype]
    problem = problem_of(empty(dtype, 64, 100), empty(dtype, 17, 100).T, number)
    assert problem is not None
    made = Plan(problem)
    assert (made.read(0), made.read(1)) == (compute, scale)
    assert made.read(3) == 1  # the first operand, b, is stored by columns
    assert made.read(4) == 0
    assert made.read(7) == number
    assert [made.read_layout(i) for i in range(3)] == [(100, 17, 100), (100, 64, 100), (17, 64, 17)]
    assert [made.read_layout(i, type_too=True)[3] for i in range(3)] == [kind] * 3
    assert made.read(12, ctypes.c_int64) == {True: 128, False: 24}[number in Epilogue.WITH_MASK] * (number in Epilogue.WITH_AUX)
    for attribute, pointer in ((8, 0x1000), (11, 0x2000)):
        made._set(attribute, ctypes.c_void_p(pointer))
        assert made.read(attribute, ctypes.c_void_p) == pointer
    assert made.scalar is (ctypes.c_double if dtype == "float64" else ctypes.c_float)


@needs_library
def test_preferences_say_how_memory_is_aligned() -> None:
    problem = problem_of(np.zeros((4, 4), "f"), np.zeros((4, 4), "f"))
    assert problem is not None
    made = Plan(problem._replace(alignments=(4, 8, 16, 32, 64)))
    preference = made.preference()
    read = {}
    for attribute, kind in {
        1: ctypes.c_uint64,
        5: ctypes.c_uint32,
        6: ctypes.c_uint32,
        7: ctypes.c_uint32,
        8: ctypes.c_uint32,
    }.items():
        value, written = kind(), ctypes.c_size_t()
        get = made.lib.cublasLtMatmulPreferenceGetAttribute
        assert get(preference, attribute, ctypes.byref(value), ctypes.sizeof(value), ctypes.byref(written)) == 0
        read[attribute] = value.value
    made.lib.cublasLtMatmulPreferenceDestroy(preference)
    assert read == {1: 32 << 20, 5: 8, 6: 4, 7: 16, 8: 16}  # its A is our b


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
