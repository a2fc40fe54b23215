"""The array API standard, version 2024.12, on Tensors: its names, the answers that NumPy's namespace gives, its refusals."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


NAMES = words("""
__array_namespace_info__ abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh
bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool broadcast_arrays broadcast_to
can_cast ceil clip complex128 complex64 concat conj copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e
empty empty_like equal exp expand_dims expm1 eye fft finfo flip float32 float64 floor floor_divide from_dlpack full full_like
greater greater_equal hypot iinfo imag inf int16 int32 int64 int8 isdtype isfinite isinf isnan less less_equal linalg linspace
log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid
min minimum moveaxis multiply nan negative newaxis nextafter nonzero not_equal ones ones_like permute_dims pi positive pow prod
real reciprocal remainder repeat reshape result_type roll round searchsorted sign signbit sin sinh sort sqrt square squeeze
stack std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8 unique_all
unique_counts unique_inverse unique_values unstack var vecdot where zeros zeros_like linalg.cholesky linalg.cross linalg.det
linalg.diagonal linalg.eigh linalg.eigvalsh linalg.inv linalg.matmul linalg.matrix_norm linalg.matrix_power linalg.matrix_rank
linalg.matrix_transpose linalg.outer linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd linalg.svdvals
linalg.tensordot linalg.trace linalg.vecdot linalg.vector_norm fft.fft fft.ifft fft.fftn fft.ifftn fft.rfft fft.irfft fft.rfftn
fft.irfftn fft.hfft fft.ihfft fft.fftfreq fft.rfftfreq fft.fftshift fft.ifftshift
""")

ATTRIBUTES = words("""
T device dtype mT ndim shape size to_device __abs__ __add__ __and__ __array_namespace__ __bool__ __complex__ __dlpack__
__dlpack_device__ __eq__ __float__ __floordiv__ __ge__ __getitem__ __gt__ __index__ __int__ __invert__ __le__ __lshift__ __lt__
__matmul__ __mod__ __mul__ __ne__ __neg__ __or__ __pos__ __pow__ __rshift__ __setitem__ __sub__ __truediv__ __xor__ __iadd__
__isub__ __imul__ __itruediv__ __ifloordiv__ __ipow__ __imod__ __imatmul__ __iand__ __ior__ __ixor__ __ilshift__ __irshift__
__radd__ __rsub__ __rmul__ __rtruediv__ __rfloordiv__ __rpow__ __rmod__ __rmatmul__ __rand__ __ror__ __rxor__ __rlshift__
__rrshift__
""")

xp = gg.ones(1).__array_namespace__()


def find(namespace: Any, name: str) -> Any:
    return operator.attrgetter(name)(namespace)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """NumPy's default dtype, so that new arrays can be compared, and no warnings of its reference results."""
    gg.set_default_dtype("float64")
    with np.errstate(all="ignore"):
        yield
    gg.set_default_dtype("float32")


# --- names --------------------------------------------------------------------------------------------------------


def test_every_name_is_there_in_both_places() -> None:
    assert xp is gg.numpy is sys.modules["gpugrad.numpy"]
    for name in NAMES:
        find(xp, name)
        if name != "__array_namespace_info__":
            find(gg, name)
    assert not [name for name in ATTRIBUTES if not hasattr(gg.Tensor, name)]


def test_the_names_and_keywords_are_those_of_the_strict_implementation() -> None:
    strict = pytest.importorskip("array_api_strict")
    strict.set_array_api_strict_flags(api_version="2024.12")
    later = {"broadcast_shapes", "isin", "Device", "ArrayAPIStrictFlags"}
    for prefix, module in (("", strict), ("linalg.", strict.linalg), ("fft.", strict.fft)):
        public = {name for name in module.__all__ if not name.startswith("__") and "strict_flags" not in name} - later
        assert {prefix + name for name in public} <= set(NAMES)
        for name in sorted(public):
            function = getattr(module, name)
            if not inspect.isfunction(function):
                continue
            ours = inspect.signature(find(xp, prefix + name)).parameters
            for p in inspect.signature(function).parameters.values():
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                    assert p.name in ours, f"{prefix}{name} lacks {p.name}="


def test_every_public_name_is_made_and_can_be_imported() -> None:
    for module in (xp, xp.linalg, xp.fft):
        names: dict[str, Any] = {}
        exec(f"from {module.__name__} import *", names)
        assert set(module.__all__) <= set(names)
        assert set(module.__all__) <= set(dir(module))
    import gpugrad.numpy.linalg as linalg

    assert linalg is xp.linalg
    assert xp.ndarray is gg.Tensor
    assert repr(xp.add) == "<ufunc 'add' on Tensors>"
    assert xp.add(np.ones(2), [1.0, 2.0], np.zeros(2)).tolist() == [2, 3]
    assert xp.hanning(3).tolist() == [0, 1, 0]
    with pytest.raises(TypeError, match=r"numpy\.add\.at has no rule"):
        xp.add.at(xp.ones(2), [0], 1)
    with pytest.raises(TypeError, match=r"numpy\.add\.reduceat has no rule"):
        xp.add.reduceat(xp.ones(2), [0])


def test_unknown_names_and_versions_are_refused() -> None:
    t = gg.ones(1)
    assert t.__array_namespace__(api_version="2024.12") is t.__array_namespace__(api_version="2021.12") is xp
    with pytest.raises(ValueError, match="1999"):
        t.__array_namespace__(api_version="1999.12")
    with pytest.raises(AttributeError, match="no_such_name"):
        xp.no_such_name
    with pytest.raises(AttributeError, match=r"savez(.|\n)*gpugrad\.save"):
        xp.savez


def test_info() -> None:
    info = xp.__array_namespace_info__()
    assert info.capabilities() == {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}
    assert info.default_device() == "cpu"
    assert "cpu" in info.devices()
    assert info.default_dtypes()["real floating"] == xp.float64
    gg.set_default_dtype("float32")
    assert info.default_dtypes() == {
        "real floating": xp.float32, "complex floating": xp.complex64, "integral": xp.int64, "indexing": xp.int64,
    }  # fmt: skip
    assert set(info.dtypes(kind="complex floating")) == {"complex64", "complex128"}
    assert len(info.dtypes()) == 13
    assert set(info.dtypes(kind=("bool", "unsigned integer"))) == {"bool", "uint8", "uint16", "uint32", "uint64"}


# --- elementwise functions ------------------------------------------------------------------------------------------

FLOATS, COMPLEX = ("float32", "float64"), ("complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REAL, NUMERIC = FLOATS + INTEGERS, FLOATS + INTEGERS + COMPLEX
ALL = (*NUMERIC, "bool")

UNARY = {
    "abs": NUMERIC, "acos": FLOATS + COMPLEX, "acosh": FLOATS + COMPLEX, "asin": FLOATS + COMPLEX, "asinh": FLOATS + COMPLEX,
    "atan": FLOATS + COMPLEX, "atanh": FLOATS + COMPLEX, "bitwise_invert": (*INTEGERS, "bool"), "ceil": REAL, "conj": COMPLEX,
    "cos": FLOATS + COMPLEX, "cosh": FLOATS + COMPLEX, "exp": FLOATS + COMPLEX, "expm1": FLOATS + COMPLEX, "floor": REAL,
    "imag": COMPLEX, "isfinite": NUMERIC, "isinf": NUMERIC, "isnan": NUMERIC, "log": FLOATS + COMPLEX, "log10": FLOATS + COMPLEX,
    "log1p": FLOATS + COMPLEX, "log2": FLOATS + COMPLEX, "logical_not": ("bool",), "negative": NUMERIC, "positive": NUMERIC,
    "real": COMPLEX, "reciprocal": FLOATS + COMPLEX, "round": NUMERIC, "sign": NUMERIC, "signbit": FLOATS,
    "sin": FLOATS + COMPLEX, "sinh": FLOATS + COMPLEX, "sqrt": FLOATS + COMPLEX, "square": NUMERIC, "tan": FLOATS + COMPLEX,
    "tanh": FLOATS + COMPLEX, "trunc": REAL,
}  # fmt: skip
BINARY = {
    "add": NUMERIC, "atan2": FLOATS, "bitwise_and": (*INTEGERS, "bool"), "bitwise_left_shift": INTEGERS,
    "bitwise_or": (*INTEGERS, "bool"), "bitwise_right_shift": INTEGERS, "bitwise_xor": (*INTEGERS, "bool"), "copysign": FLOATS,
    "divide": FLOATS + COMPLEX, "equal": ALL, "floor_divide": REAL, "greater": REAL, "greater_equal": REAL, "hypot": FLOATS,
    "less": REAL, "less_equal": REAL, "logaddexp": FLOATS, "logical_and": ("bool",), "logical_or": ("bool",),
    "logical_xor": ("bool",), "maximum": REAL, "minimum": REAL, "multiply": NUMERIC, "nextafter": FLOATS, "not_equal": ALL,
    "pow": NUMERIC, "remainder": REAL, "subtract": NUMERIC,
}  # fmt: skip
SHAPES = ((), (0,), (5,), (2, 0, 3), (3, 4))
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, 1e30, -3.5]


def sample(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Numbers of a dtype: small ones, for floats zeros, infinities and nan among them."""
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        return rng.integers(-3 if kind == "i" else 0, 6, shape).astype(dtype)
    values = rng.choice(SPECIAL, size) if kind == "f" else rng.uniform(-2, 2, size) + 1j * rng.uniform(-2, 2, size)
    return values.reshape(shape).astype(dtype)


def agree(ours: Any, theirs: Any) -> None:
    """The same arrays in the same tuples, of the same shapes and dtypes."""
    if isinstance(theirs, list | tuple):
        assert isinstance(ours, list | tuple)
        assert len(ours) == len(theirs)
        for field in getattr(theirs, "_fields", ()):
            assert hasattr(ours, field)
        for one, other in zip(ours, theirs, strict=True):
            agree(one, other)
        return
    assert isinstance(ours, gg.Tensor)
    assert ours.shape == np.shape(theirs)
    assert ours.dtype == np.asarray(theirs).dtype
    single = np.dtype(ours.dtype).name in ("float32", "complex64")
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=3e-6 if single else 1e-12, atol=1e-6 if single else 1e-13)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    for dtype in UNARY[name]:
        for shape in SHAPES:
            x = sample(dtype, shape)
            agree(getattr(xp, name)(xp.asarray(x)), getattr(np, name)(x))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    for dtype in BINARY[name]:
        for shapes in [*((shape, shape) for shape in SHAPES), ((3, 1), (4,)), ((), (2, 3))]:
            x, y = sample(dtype, shapes[0]), sample(dtype, shapes[1], 1)
            if np.dtype(dtype).kind in "iu" and name in (
                "pow",
                "floor_divide",
                "remainder",
                "bitwise_left_shift",
                "bitwise_right_shift",
            ):
                y = np.abs(y) + np.ones((), dtype)
            agree(getattr(xp, name)(xp.asarray(x), xp.asarray(y)), getattr(np, name)(x, y))
            scalar: Any = True if dtype == "bool" else 2 if dtype in INTEGERS else 0.5
            agree(getattr(xp, name)(xp.asarray(x), scalar), getattr(np, name)(x, scalar))
            agree(getattr(xp, name)(scalar, xp.asarray(y)), getattr(np, name)(scalar, y))


OPERATORS = {
    "add": NUMERIC, "sub": NUMERIC, "mul": NUMERIC, "truediv": FLOATS + COMPLEX, "floordiv": REAL, "mod": REAL, "pow": NUMERIC,
    "and_": (*INTEGERS, "bool"), "or_": (*INTEGERS, "bool"), "xor": (*INTEGERS, "bool"), "lshift": INTEGERS, "rshift": INTEGERS,
    "lt": REAL, "le": REAL, "gt": REAL, "ge": REAL, "eq": ALL, "ne": ALL,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_reflected_and_in_place(name: str) -> None:
    function = getattr(operator, name)
    in_place = getattr(operator, "i" + name.rstrip("_"), None)
    for dtype in OPERATORS[name]:
        x, y = sample(dtype, (3, 4)), sample(dtype, (4,), 1)
        if np.dtype(dtype).kind in "iu":
            y = np.abs(y) + np.ones((), dtype)
        scalar: Any = True if dtype == "bool" else 2 if dtype in INTEGERS else 0.5
        agree(function(xp.asarray(x), xp.asarray(y)), function(x, y))
        agree(function(xp.asarray(x), scalar), function(x, scalar))
        agree(function(scalar, xp.asarray(y)), function(scalar, y))
        if in_place is not None:
            for other in (y, scalar):
                mine, theirs = xp.asarray(x, copy=True), x.copy()
                before = mine
                mine = in_place(mine, xp.asarray(other) if other is y else other)
                assert mine is before
                agree(mine, in_place(theirs, other))


def test_matrix_product_in_place() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.eye(3) * 2
    mine = xp.asarray(x, copy=True)
    mine @= xp.asarray(y)
    agree(mine, x @ y)
    agree(x @ xp.asarray(y), x @ y)


# --- everything else: calls, run by both ----------------------------------------------------------------------------

CALLS = """
all(m); all(m, axis=1); any(m, axis=(0, 1), keepdims=True); all(e); any(e); all(f, axis=0); arange(5); arange(2, 9, 2)
arange(1.0, 2.0, step=0.25); arange(3, dtype="int8"); arange(5, 0, -2); arange(0); argmax(f); argmax(f, axis=1, keepdims=True)
argmin(i, axis=0); argsort(f); argsort(i, axis=0); argsort(f[0], stable=False); asarray([1, 2]); asarray([[1.5]])
asarray([True, False]); asarray(3); asarray(1j); asarray(f, copy=True); asarray(i, dtype="float32"); astype(f, "int64")
astype(i, "bool"); astype(m, "float32", copy=False); astype(f, "complex64"); broadcast_arrays(v, f); broadcast_to(v, (4, 3))
broadcast_to(s, (2, 2)); clip(f, 0.0, 1.0); clip(f, None, 1.0); clip(f, min=-1.0); clip(i, 1, 3); clip(f, v, v + 1); clip(f)
concat([f, f]); concat((f, i), axis=1); concat([f, v], axis=None); concat([i, m]); concat([e, v]); count_nonzero(i)
count_nonzero(i, axis=1, keepdims=True); cumulative_prod(v); cumulative_sum(f, axis=1)
cumulative_sum(i, axis=0, dtype="float64"); cumulative_sum(f, axis=1, include_initial=True)
cumulative_prod(i, axis=-1, include_initial=True); diff(f); diff(f, axis=0, n=1)
diff(v, prepend=xp.zeros(2), append=xp.ones(1)); empty((2, 0)); empty_like(e); expand_dims(f, axis=1); expand_dims(s, axis=0)
eye(3); eye(2, 3, k=1); eye(3, 2, k=-1, dtype="int8"); flip(f); flip(f, axis=-1); full(3, 1.5); full((2, 2), 7); full((), True)
full((2,), 1j); full((2,), s); full((2,), 3, dtype="float32"); full_like(i, 4); full_like(f, 1, dtype="int16"); linspace(0, 1, 5)
linspace(0.0, 1.0, num=4, endpoint=False); linspace(1, 5, 5, dtype="float32"); linspace(0, 1j, 3); linspace(0, 1, 0)
matmul(f, k); matmul(t, k); matmul(v, v); matmul(t, v); matmul(v, b); matrix_transpose(t); max(f); max(i, axis=0)
max(t, axis=(0, 2)); max(f, axis=1, keepdims=True); mean(f); mean(t, axis=(0, 1)); mean(z, axis=0)
meshgrid(v, v, indexing="ij"); meshgrid(v); meshgrid(v, i[0], e); min(f, axis=-1); moveaxis(t, 0, 2)
moveaxis(t, (0, 1), (1, 2)); nonzero(i); nonzero(f > 0); nonzero(e); ones(3); ones((2, 1), dtype="uint8"); ones_like(m)
permute_dims(t, (2, 0, 1)); prod(v); prod(i, axis=1); prod(m); prod(e); prod(z, axis=0, keepdims=True); prod(i, dtype="float32")
repeat(f, 2); repeat(f, 3, axis=1); repeat(v, xp.asarray([1, 0, 2])); reshape(f, (3, 2)); reshape(f, (-1,))
reshape(f, shape=(6, 1), copy=True); reshape(e, (0, 3)); reshape(s, (1, 1)); roll(f, 1); roll(f, -1, axis=0)
roll(f, (1, 2), axis=(0, 1)); searchsorted(v, f); searchsorted(v, f, side="right"); sort(f); sort(i, axis=0)
searchsorted(v[::-1], f, sorter=xp.asarray([2, 1, 0])); sort(t, axis=1, stable=True); squeeze(f[:1], axis=0)
squeeze(f[None, None], axis=(0, 1)); stack([v, v]); stack((v, i[0]), axis=-1); stack([s, s]); std(f)
std(f, axis=0, correction=1); std(f, axis=(0, 1), keepdims=True); sum(f); sum(i); sum(m); sum(e); sum(e.reshape((0, 2)), axis=1)
sum(u8, dtype="uint8"); sum(i, axis=0, dtype="int16"); sum(u8, dtype="bool"); prod(u8, dtype="int16"); prod(m, dtype="uint8")
cumulative_sum(u8, dtype="uint8"); cumulative_prod(i8, axis=1, dtype="int8", include_initial=True); linalg.trace(i, dtype="int8")
sum(u8, dtype="uint8", initial=3)
sum(f, axis=0, dtype="float32"); sum(u8); sum(i8, axis=0); sum(z, axis=(0, 1), keepdims=True); sum(f32); sum(s)
take(f, xp.asarray([1, 0]), axis=0); take(v, xp.asarray([0, 2, 2])); take_along_axis(f, i % 3, axis=1)
take_along_axis(f, i % 2, axis=0); tensordot(f, f); tensordot(f, k, axes=1); tensordot(t, t, axes=((0, 1), (0, 1)))
tensordot(v, v, axes=0); tile(f, (2,)); tile(v, (2, 1, 2)); tile(f, (1,)); tril(k); tril(t, k=-1); triu(k, k=1); triu(m)
unique_all(i); unique_all(v); unique_counts(i); unique_inverse(i); unique_values(f); unique_values(m); unique_values(e)
unique_counts(z); unstack(f); unstack(t, axis=-1); var(f); var(t, axis=1, correction=0.5); vecdot(f, f); vecdot(t, t, axis=0)
vecdot(z, z); where(m, f, i); where(m, f, 0.0); where(m, 1, i); where(s > 0, v, v); zeros(()); zeros((2, 3), dtype="complex64")
zeros_like(f); zeros_like(i, dtype="float64"); max(s); mean(f32, axis=0); linalg.cholesky(p); linalg.cholesky(p, upper=True)
linalg.cross(v, w); linalg.cross(k, k, axis=0); linalg.det(k); linalg.det(b); linalg.diagonal(t); linalg.diagonal(t, offset=1)
linalg.eigvalsh(p); linalg.inv(k); linalg.inv(b); linalg.matmul(f, k); linalg.matrix_norm(k)
linalg.matrix_norm(t, ord=1, keepdims=True); linalg.matrix_norm(k, ord="nuc"); linalg.matrix_norm(k, ord=-2)
linalg.matrix_power(k, 3); linalg.matrix_power(k, -2); linalg.matrix_power(k, 0); linalg.matrix_rank(k); linalg.matrix_rank(t)
linalg.matrix_rank(b, rtol=0.1); linalg.matrix_transpose(t); linalg.outer(v, w); linalg.pinv(f); linalg.pinv(f, rtol=1e-3)
linalg.qr(k); linalg.qr(f, mode="complete"); linalg.slogdet(k); linalg.slogdet(b); linalg.solve(k, v); linalg.solve(b, b)
linalg.svdvals(f); linalg.svdvals(t); linalg.tensordot(f, k, axes=1); linalg.trace(k); linalg.trace(t, offset=1)
linalg.trace(i, dtype="float64"); linalg.vecdot(f, f, axis=0); linalg.vector_norm(f); linalg.vector_norm(t, axis=(0, 1), ord=1)
linalg.vector_norm(v, ord=xp.inf); linalg.vector_norm(f, axis=1, keepdims=True, ord=3); linalg.vector_norm(z, axis=0)
fft.fft(v); fft.fft(z, n=5, axis=0); fft.fft(f32, norm="ortho"); fft.ifft(z); fft.fftn(t, axes=(0, 1))
fft.fftn(z, s=(4, 4), axes=(0, 1)); fft.ifftn(z, norm="forward"); fft.rfft(f); fft.rfft(f32, n=4); fft.irfft(z)
fft.irfft(z, n=5, axis=0); fft.rfftn(t); fft.irfftn(z); fft.hfft(z[0]); fft.hfft(z, n=6); fft.ihfft(f); fft.fftfreq(5)
fft.fftfreq(4, d=0.5); fft.rfftfreq(6); fft.fftshift(f); fft.fftshift(v, axes=0); fft.ifftshift(f, axes=(0, 1)); fft.ifft(f32)
"""

rng = np.random.default_rng(5)
ARRAYS = {
    "f": rng.normal(size=(2, 3)), "i": rng.integers(0, 4, (2, 3)), "m": rng.integers(0, 2, (2, 3)).astype(bool),
    "z": rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)), "v": np.array([-0.5, 0.25, 2.0]),
    "w": np.array([1.0, -2.0, 0.5]),
    "k": rng.normal(size=(3, 3)), "p": np.array([[3.0, 0.5, 0.0], [0.5, 2.0, 0.25], [0.0, 0.25, 1.0]]),
    "t": rng.normal(size=(2, 4, 3)),
    "b": rng.normal(size=(2, 3, 3)), "e": np.zeros((0,)), "s": np.array(1.5), "f32": rng.normal(size=(2, 3)).astype("float32"),
    "u8": np.array([250, 250], "uint8"), "i8": np.array([[100, 100]], "int8"),
}  # fmt: skip


def run(call: str, namespace: Any, arrays: dict[str, Any]) -> Any:
    return eval(f"xp.{call}", {"xp": namespace, **arrays})


@pytest.mark.parametrize("call", [c.strip() for line in CALLS.splitlines() for c in line.split(";") if c.strip()])
def test_a_call_gives_what_numpy_gives(call: str) -> None:
    agree(run(call, xp, {name: xp.asarray(a) for name, a in ARRAYS.items()}), run(call, np, ARRAYS))


def test_every_function_is_called_above() -> None:
    constants = {"e", "pi", "nan", "inf", "newaxis", "linalg", "fft", "__array_namespace_info__"}
    about = {"can_cast", "finfo", "iinfo", "isdtype", "result_type", "from_dlpack", "linalg.eigh", "linalg.svd"}
    called = {c.strip().partition("(")[0] for line in CALLS.splitlines() for c in line.split(";")} | {*UNARY, *BINARY}
    assert {name for name in NAMES if not isinstance(find(np, name), type)} - constants - about <= called


def test_elements_are_taken_along_the_last_axis_unless_told_otherwise() -> None:
    x, last = xp.asarray([[1.0, 2.0], [3.0, 4.0]]), xp.asarray([[1], [0]])
    assert xp.take_along_axis(x, last).tolist() == gg.take_along_axis(x, last).tolist() == [[2], [3]]


def test_the_zeros_of_an_upper_cholesky_factor_are_positive() -> None:
    a = np.array([[4, 2j], [-2j, 2]])
    upper = xp.linalg.cholesky(xp.asarray(a), upper=True).numpy()
    np.testing.assert_allclose(upper.conj().T @ upper, a, atol=1e-15)
    assert not np.signbit(np.tril(upper, -1).imag).any()


def test_decompositions_put_together_again() -> None:
    k, p = xp.asarray(ARRAYS["k"]), xp.asarray(ARRAYS["p"])
    u, s, vh = xp.linalg.svd(k)
    np.testing.assert_allclose((u * s) @ vh, k, atol=1e-14)
    f = xp.asarray(ARRAYS["f"])
    found = xp.linalg.svd(f, full_matrices=False)
    np.testing.assert_allclose((found.U * found.S) @ found.Vh, f, atol=1e-14)
    assert xp.linalg.svd(f).Vh.shape == (3, 3)
    values, vectors = xp.linalg.eigh(p)
    np.testing.assert_allclose((vectors * values) @ vectors.mT, p, atol=1e-14)
    assert xp.linalg.eigh(p).eigenvalues.dtype == xp.float64
    assert xp.linalg.qr(k).Q.shape == (3, 3)
    assert xp.linalg.slogdet(k).logabsdet.shape == ()


# --- dtypes ---------------------------------------------------------------------------------------------------------


def test_questions_about_dtypes() -> None:
    x = xp.zeros(2, dtype=xp.float32)
    assert xp.result_type(x, xp.float64) == xp.float64
    assert xp.result_type(x, 1.0) == xp.result_type(x) == xp.float32
    assert xp.result_type(xp.int8, xp.uint8) == xp.int16
    assert xp.can_cast(x, xp.float64)
    assert not xp.can_cast(xp.float64, xp.float32)
    assert xp.finfo(x).bits == xp.finfo(xp.float32).bits == 32
    assert xp.finfo(xp.complex64).dtype == xp.float32
    assert (xp.iinfo(xp.int8).min, xp.iinfo(xp.zeros(1, dtype=xp.uint16)).max) == (-128, 65535)
    assert xp.isdtype(x.dtype, "real floating")
    assert xp.isdtype(xp.bool, ("bool", "integral"))
    assert not xp.isdtype(xp.uint8, "signed integer")
    with pytest.raises(ValueError, match="nonsense"):
        xp.isdtype(xp.uint8, "nonsense")
    with pytest.raises(ValueError, match=r"int64|inexact"):
        xp.finfo(xp.int64)


@pytest.mark.parametrize("dtype", ALL)
def test_a_dtype_makes_arrays_of_itself(dtype: str) -> None:
    of = getattr(xp, dtype)
    assert getattr(gg, dtype) is of
    for made in (xp.zeros(2, dtype=of), xp.ones((), dtype=of), xp.empty(0, dtype=of), xp.full(2, 1, dtype=of)):
        assert made.dtype == of
    x = sample(dtype, (2, 3))
    agree(xp.asarray(x)[0], x[0])
    agree(xp.asarray(x)[..., 1:], x[..., 1:])
    agree(xp.asarray(x)[xp.asarray(x) == xp.asarray(x)], x[x == x])
    agree(xp.asarray(x)[:, None, ::-1], x[:, None, ::-1])
    y = xp.asarray(x, copy=True)
    y[0, :] = y[1, :]
    agree(y, np.stack([x[1], x[1]]))
    agree(xp.asarray(x).T, x.T)
    agree(xp.asarray(x).mT, x.mT)


def test_new_arrays_have_the_default_dtype() -> None:
    gg.set_default_dtype("float32")
    made = [xp.zeros(2), xp.ones(2), xp.empty(2), xp.full(2, 1.0), xp.eye(2), xp.linspace(0, 1, 3), xp.arange(2.0)]
    made += [xp.asarray([1.0]), xp.fft.fftfreq(4), xp.fft.rfftfreq(4)]
    assert {x.dtype for x in made} == {np.dtype("float32")}
    assert xp.asarray([1j]).dtype == xp.full(1, 1j).dtype == xp.linspace(0, 1j, 2).dtype == xp.complex64
    assert xp.arange(3).dtype == xp.asarray([1]).dtype == xp.full(2, 1).dtype == xp.int64
    assert xp.full(2, False).dtype == xp.bool


# --- arrays as objects ----------------------------------------------------------------------------------------------


def test_scalars_and_devices() -> None:
    x = xp.asarray(2.5)
    assert (float(x), int(x), complex(x), bool(x), operator.index(xp.asarray(3))) == (2.5, 2, 2.5 + 0j, True, 3)
    assert complex(xp.asarray(1 + 2j)) == 1 + 2j
    assert (x.device, x.ndim, x.size, x.shape) == ("cpu", 0, 1, ())
    assert x.to_device("cpu") is x
    assert xp.zeros(2, device="cpu").device == xp.asarray(1, device=x.device).device == "cpu"
    with pytest.raises(gg.DeviceError, match="nowhere"):
        x.to_device("nowhere")
    with pytest.raises(ValueError, match="stream"):
        x.to_device("cpu", stream=1)
    with pytest.raises(gg.DeviceError, match="nowhere"):
        xp.ones(2, device="nowhere")


def test_dlpack_shares_memory_both_ways() -> None:
    array = np.arange(3.0)
    x = xp.from_dlpack(array)
    assert np.shares_memory(x.numpy(), array)
    assert x.__dlpack_device__()[0] == 1
    assert np.shares_memory(np.from_dlpack(x), array)
    assert not np.shares_memory(xp.from_dlpack(array, copy=True).numpy(), array)
    torch = pytest.importorskip("torch")
    tensor = torch.arange(3.0)
    gg.from_dlpack(tensor).data[0] = 7
    assert tensor[0] == 7
    assert torch.from_dlpack(gg.ones(3)).sum() == 3
    with pytest.raises(gg.GradientError, match="drop its gradient"):
        torch.from_dlpack(gg.ones(3, requires_grad=True))


@pytest.mark.parametrize(
    "call",
    [
        "nonzero(xp.asarray(1.0))", "concat([xp.asarray(1.0), xp.asarray(2.0)])", "matmul(xp.asarray(1.0), xp.ones(2))",
        "matmul(xp.ones((2, 3)), xp.ones((2, 3)))", "reshape(xp.ones(4), (3,))", "reshape(xp.ones(4), (-1, -1))",
        "expand_dims(xp.ones(2), axis=3)", "squeeze(xp.ones((2, 1)), axis=0)", "squeeze(xp.ones(2), axis=4)",
        "cumulative_sum(xp.ones((2, 2)))", "vecdot(xp.ones(2), xp.ones(3))", "asarray([1.0], copy=False)",
        "sum(xp.ones(2), axis=1)", "max(xp.ones((0,)))", "argmax(xp.ones((0,)))", "stack([xp.ones(2), xp.ones(3)])",
        "broadcast_to(xp.ones(3), (2,))", "broadcast_arrays(xp.ones(3), xp.ones(2))", "take(xp.ones(2), xp.asarray([5]))",
        "permute_dims(xp.ones((2, 2)), (0, 0))", "permute_dims(xp.ones((2, 2)), (0,))", "flip(xp.ones(2), axis=1)",
        "roll(xp.ones(2), 1, axis=1)", "linalg.inv(xp.ones((2, 3)))", "linalg.cholesky(-xp.eye(2))",
        "linalg.inv(xp.zeros((2, 2)))",
        "linalg.cross(xp.ones(2), xp.ones(2))", "linalg.det(xp.ones(3))", "linalg.outer(xp.ones((2, 2)), xp.ones(2))",
        "linalg.solve(xp.ones((2, 2)), xp.ones(3))", "linalg.qr(xp.ones((2, 2)), mode='other')", "add(xp.ones(2), xp.ones(3))",
        "meshgrid(xp.ones(2), indexing='other')", "unstack(xp.asarray(1.0))",
        "tril(xp.asarray(1.0))", "ones(2)[5]", "ones(2)[0, 0]",
        "bitwise_and(xp.ones(2), xp.ones(2))", "tensordot(xp.ones((2, 3)), xp.ones((2, 3)), axes=1)", "fft.fft(xp.ones(2), n=0)",
        "ones(2).__bool__()", "ones(2).__int__()", "ones(2).__float__()", "ones(2).__complex__()", "ones(()).__index__()",
        "ones(2).__index__()", "ones(-1)", "searchsorted(xp.ones((2, 2)), xp.ones(2))", "diff(xp.ones(2), n=-1)",
        "from_dlpack([1.0])", "repeat(xp.ones(2), xp.asarray([1, 2, 3]))", "moveaxis(xp.ones((2, 2)), 0, 5)",
    ],
)  # fmt: skip
def test_what_has_no_answer_is_refused(call: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError, np.linalg.LinAlgError)):
        run(call, xp, {})


def test_in_place_never_changes_shape_or_kind() -> None:
    x = xp.ones(3)
    with pytest.raises((ValueError, TypeError)):
        x += xp.ones((2, 3))
    i = xp.ones(3, dtype=xp.int64)
    with pytest.raises((ValueError, TypeError)):
        i += 0.5
    with pytest.raises((ValueError, TypeError)):
        i /= 2
    agree(i, np.ones(3, dtype=np.int64))


def test_a_function_written_for_any_namespace_is_differentiated() -> None:
    def soft_sum(x: Any) -> Any:
        xp = x.__array_namespace__()
        y = xp.astype(xp.concat([x, xp.flip(x)]), xp.float64)
        y = xp.where(y > 0, y, xp.expm1(y)) + xp.linalg.vector_norm(x) + xp.asarray(1.0, dtype=x.dtype)
        return xp.sum(xp.real(xp.fft.ifft(xp.fft.fft(y))) * xp.arange(y.shape[0], dtype=x.dtype))

    x = np.array([0.5, -1.5, 2.0])
    slope = gg.grad(soft_sum)(x)
    for i, unit in enumerate(np.eye(3) * 1e-6):
        assert slope[i] == pytest.approx((soft_sum(x + unit) - soft_sum(x - unit)) / 2e-6, rel=1e-7)
