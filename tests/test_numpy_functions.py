"""Functions of NumPy's that are composed of ops: values against NumPy, gradients against finite differences, both orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpugrad as gg
from gpugrad.testing import gradcheck, gradgradcheck

NAN = np.nan


def grid(*shape: int) -> np.ndarray:
    """Values in random order, all of them apart from each other and from zero."""
    n = int(np.prod(shape))
    values = (np.arange(n) - n / 2 + 0.3) / 3
    return np.random.default_rng(3).permutation(values).reshape(shape)


def positive(*shape: int) -> np.ndarray:
    return np.abs(grid(*shape)) + 0.1


class Call(NamedTuple):
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = MappingProxyType({})

    def __str__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, np.ndarray):
                return value.dtype.char + "x".join(map(str, value.shape))
            return f"[{','.join(map(show, value))}]" if isinstance(value, list | tuple) else str(value)

        shown = [*map(show, self.args), *(f"{k}={show(v)}" for k, v in self.kwargs.items())]
        return f"{self.name}({','.join(shown)})"


V, M, S = grid(5), grid(3, 4), grid(4, 4)
T = grid(2, 3, 4)
HOLES = np.where(np.arange(12).reshape(3, 4) % 5 == 2, NAN, M)

CALLS = [
    # statistics
    *[Call(name, (T,), {"axis": a}) for name in ("ptp", "median", "nansum", "nanmean") for a in (None, 1, -1, (0, 2))],
    *[Call(name, (HOLES,), {"axis": a}) for name in ("nansum", "nanprod", "nanmean", "nanmax", "nanmin") for a in (None, 0, 1)],
    *[Call(name, (HOLES,), {"axis": 1, "ddof": 1}) for name in ("nanvar", "nanstd")],
    Call("nanmedian", (HOLES,), {"axis": 1}),
    Call("nanmedian", (HOLES,), {"keepdims": True}),
    Call("nancumsum", (HOLES,), {"axis": 1}),
    Call("nancumprod", (HOLES,), {"axis": 0}),
    Call("average", (M,)),
    Call("average", (M,), {"axis": 1, "weights": positive(4)}),
    Call("average", (M,), {"weights": positive(3, 4)}),
    *[Call("quantile", (T, q), {"axis": a}) for q in (0.3, np.array([0.0, 0.25, 1.0])) for a in (None, 1, (0, 2))],
    *[
        Call("quantile", (M, 0.37), {"axis": 1, "method": m})
        for m in ("lower", "higher", "nearest", "midpoint", "hazen", "weibull", "median_unbiased", "normal_unbiased")
    ],
    Call("quantile", (M, np.array([[0.1, 0.2]])), {"axis": 0, "keepdims": True}),
    Call("percentile", (V, 40.0)),
    Call("cov", (M,)),
    Call("cov", (M, grid(2, 4)), {"bias": True}),
    Call("cov", (M,), {"rowvar": False}),
    Call("cov", (V,)),
    Call("corrcoef", (M,)),
    Call("trapezoid", (M,)),
    Call("trapezoid", (M, np.sort(grid(3))), {"axis": 0}),
    Call("gradient", (V,)),
    Call("gradient", (M,), {"axis": 1}),
    Call("gradient", (M,)),
    Call("interp", (grid(4), np.linspace(-2, 2, 6), grid(6))),
    Call("interp", (grid(4) * 9, np.linspace(-2, 2, 6), grid(6), 7.0, 8.0)),
    *[Call("convolve", (grid(a), grid(b), m)) for a, b in ((5, 3), (3, 5), (4, 4), (1, 1)) for m in ("full", "same", "valid")],
    *[Call("correlate", (grid(a), grid(b), m)) for a, b in ((5, 3), (3, 5), (4, 4), (3, 6)) for m in ("full", "same", "valid")],
    # order
    *[Call("sort", (M,), {"axis": a}) for a in (-1, 0, None)],
    Call("unique", (np.array([3.0, 1.0, 2.0]),)),
    # shapes
    Call("ravel", (M,)),
    *[Call(name, (value,)) for name in ("atleast_1d", "atleast_2d", "atleast_3d") for value in (np.array(2.0), V, M, T)],
    *[Call(name, ([M, grid(3, 4)],)) for name in ("hstack", "vstack", "dstack", "column_stack")],
    *[Call(name, ([V, grid(5)],)) for name in ("hstack", "vstack", "dstack", "column_stack")],
    Call("append", (M, V)),
    Call("append", (M, grid(1, 4)), {"axis": 0}),
    *[Call("array_split", (M, part), {"axis": a}) for part, a in ((2, 0), (3, 1), ([1, 3], 1))],
    Call("split", (M, 2), {"axis": 1}),
    Call("split", (V, [1, 3])),
    Call("hsplit", (M, 2)),
    Call("vsplit", (M, 3)),
    Call("dsplit", (T, 2)),
    Call("unstack", (M,), {"axis": 1}),
    Call("delete", (M, 1), {"axis": 0}),
    Call("delete", (M, [0, 3]), {"axis": 1}),
    Call("delete", (M, slice(0, 5))),
    *[Call("tile", (M, reps)) for reps in (2, (2, 1), (2, 1, 3), ())],
    Call("repeat", (M, 2)),
    Call("repeat", (M, np.array([1, 0, 2])), {"axis": 0}),
    *[Call("flip", (T,), {"axis": a}) for a in (None, 0, (0, -1))],
    Call("fliplr", (M,)),
    Call("flipud", (M,)),
    *[Call("rot90", (T, k), {"axes": (2, 0)}) for k in range(-1, 5)],
    *[Call("roll", (T, s), {"axis": a}) for s, a in ((1, None), (-2, 1), ((1, -1), (0, 2)), (7, 0), (0, 1))],
    *[Call(name, (T, k)) for name in ("tril", "triu") for k in (-1, 0, 2)],
    *[Call("diagonal", (T,), {"offset": k, "axis1": a, "axis2": b}) for k, a, b in ((0, 0, 1), (1, 1, 2), (-1, 2, 0), (9, 0, 1))],
    *[Call("trace", (T,), {"offset": 1, "axis1": 2, "axis2": 1}), Call("trace", (S,))],
    *[Call("diag", (value, k)) for value in (V, M) for k in (-2, 0, 1)],
    Call("diagflat", (M, 1)),
    *[Call("diff", (T,), {"n": n, "axis": a}) for n, a in ((1, -1), (2, 1), (0, 0))],
    Call("diff", (V,), {"prepend": 0.0, "append": grid(2)}),
    *[
        Call("pad", (M, w), {"mode": m})
        for m in ("constant", "edge", "reflect", "symmetric", "wrap")
        for w in (1, (2, 1), ((0, 2), (3, 0)))
    ],
    Call("pad", (M, 1), {"constant_values": 5.0}),
    Call("pad", (M, ((1, 2), (0, 1))), {"constant_values": ((1.0, 2.0), (3.0, 4.0))}),
    *[Call("meshgrid", (V, grid(3)), {"indexing": i, "sparse": s}) for i in ("xy", "ij") for s in (False, True)],
    Call("meshgrid", (V, grid(3), grid(2))),
    Call("broadcast_arrays", (grid(3, 1), grid(4))),
    Call("matrix_transpose", (T,)),
    # picking
    *[Call("take", (M, i), {"axis": a}) for i, a in (([0, 2, 0], 1), (np.array([[1], [-1]]), 0), (5, None))],
    *[Call("take", (V, [7, -1]), {"mode": m}) for m in ("wrap", "clip")],
    Call("compress", ([True, False, True], M), {"axis": 0}),
    Call("extract", (M > 0, M)),
    Call("choose", (np.array([1, 0, 1]), [grid(3), grid(3) * 2])),
    Call("select", ([M > 1, M > 0], [M, M * 2], 7.0)),
    # products
    Call("vdot", (M, grid(3, 4))),
    *[Call("inner", (a, b)) for a, b in ((V, V), (M, grid(2, 4)), (T, grid(4)), (np.array(2.0), M))],
    Call("outer", (V, grid(2, 2))),
    *[Call("kron", (a, b)) for a, b in ((V, grid(2)), (M, grid(2, 3)), (M, grid(2)), (np.array(2.0), M))],
    *[
        Call("tensordot", (a, b), {"axes": x})
        for a, b, x in ((T, grid(4, 3), 1), (T, grid(3, 4, 5), 2), (V, grid(2), 0), (T, grid(4, 2), ((0, 2), (1, 0))))
    ],
    *[Call("cross", (a, b)) for a, b in ((grid(3), grid(3)[::-1]), (grid(2, 3), grid(3)))],
    Call("cross", (grid(3, 2), grid(3, 2)[::-1]), {"axis": 0}),
    *[
        Call("einsum", (s, *ops))
        for s, ops in (
            ("ij,jk->ik", (M, S)),
            ("ij,jk", (M, S)),
            ("ij->ji", (M,)),
            ("ij->", (M,)),
            ("ii->i", (S,)),
            ("ii", (S,)),
            ("iij->j", (grid(2, 2, 3),)),
            ("i,j,k->kij", (grid(2), grid(3), grid(4))),
            ("ab,bc,cd->ad", (M, S, grid(4, 2))),
            ("ab,cb,db->acd", (M, grid(2, 4), grid(2, 4))),
            ("...ij,...jk->...ik", (T, grid(2, 4, 2))),
            ("...ij,jk->ik...", (T, grid(4, 2))),
            ("ij...,j...->i...", (T, grid(3, 4))),
            ("i...->...", (T,)),
            ("...", (T,)),
            ("bij,bjk,bk->b", (T, grid(2, 4, 3), grid(2, 3))),
            ("ij,ik->ij", (M, grid(3, 2))),
            ("ii,ij->j", (S, S)),
            (",ij->ij", (np.array(2.0), M)),
            ("ij , jk -> ik", (M, S)),
            ("...i,...i->...", (grid(2, 1, 4), grid(3, 4))),
        )
    ],
    Call("einsum", (M, [0, 1], S, [1, 2], [0, 2])),
    Call("einsum", (M, [0, 1], S, [1, 2])),
    Call("einsum", (T, [Ellipsis, 0], [Ellipsis])),
]

if np.lib.NumpyVersion(np.__version__) >= "2.2.0":
    CALLS += [Call("matvec", (T, grid(2, 4))), Call("vecmat", (grid(2, 3), T)), Call("vecdot", (T, grid(4)))]
    CALLS += [Call("vecdot", (T, grid(2, 3, 4)), {"axis": 1})]


def parts(value: Any) -> list[Any]:
    return [part for v in value for part in parts(v)] if isinstance(value, list | tuple) else [value]


def as_function(call: Call) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """The call as a function of its floating arrays without nan, and those."""
    leaves: list[np.ndarray] = []

    def place(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == float:
            leaves.append(value)
            return len(leaves) - 1, "leaf"
        if isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value):
            return [place(v) for v in value]
        return value

    constant = call.name in ("quantile", "percentile")  # by q, there is no gradient
    template = [a if constant and i == 1 else place(a) for i, a in enumerate(call.args)]
    keywords = {k: place(v) if k == "weights" else v for k, v in call.kwargs.items()}

    def fill(value: Any, given: Any) -> Any:
        if isinstance(value, tuple) and len(value) == 2 and value[1] == "leaf":
            return given[value[0]]
        return [fill(v, given) for v in value] if isinstance(value, list) else value

    def function(*given: Any) -> Any:
        named = {k: fill(v, given) if k == "weights" else v for k, v in keywords.items()}
        result = getattr(gg, call.name)(*[fill(v, given) for v in template], **named)
        return list(result) if isinstance(result, tuple) else result

    return function, leaves


calls = pytest.mark.parametrize("call", [pytest.param(call, id=str(call)) for call in CALLS])


@calls
def test_value(call: Call) -> None:
    if call.name == "unstack" and not hasattr(np, "unstack"):
        pytest.skip("this NumPy has none")
    found, expected = (
        parts(getattr(gg, call.name)(*call.args, **call.kwargs)),
        parts(getattr(np, call.name)(*call.args, **call.kwargs)),
    )
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert isinstance(got, gg.Tensor)
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


@calls
def test_gradients(call: Call) -> None:
    function, leaves = as_function(call)
    if any(np.isnan(leaf).any() for leaf in leaves):
        holes = np.isnan(leaves[0])

        def through_numbers(x: Any) -> Any:
            return function(gg.where(holes, NAN, x))

        leaves, checked = [np.nan_to_num(leaves[0], nan=1.0)], through_numbers
    else:
        checked = function
    assert gradcheck(checked, leaves, atol=1e-8, rtol=1e-7)
    assert gradgradcheck(checked, leaves, atol=1e-8, rtol=1e-7)


@calls
def test_float32_stays(call: Call) -> None:
    function, leaves = as_function(call)
    if call.name in ("quantile", "percentile", "interp", "average") or "append" in call.kwargs:
        return  # other arguments are float64
    inputs = [gg.asarray(leaf.astype("float32")).requires_grad_() for leaf in leaves]
    for out in parts(function(*inputs)):
        assert out.dtype == "float32"


BY_OTHERS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (np.interp, ([-1.0, 0.5, 9.0], [0.1, 1.2, 2.3], [1.0, 3.0, 2.0])),
    (lambda x, q: np.nanquantile(x, q, axis=1), (grid(3, 4), [[0.3, 0.8]])),
    (np.nanpercentile, (grid(5), 33.0)),
]
"""Functions with arguments beside the first by which they are differentiable too."""


@pytest.mark.parametrize(("function", "args"), BY_OTHERS)
def test_by_all_arguments(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    leaves = [np.asarray(value) for value in args]
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


# --- PyTorch's names ----------------------------------------------------------------------------------------------


def test_gather_and_scatter_by_hand() -> None:
    x = grid(3, 4)
    index = np.array([[0, 1, 2, 0], [2, 0, 0, 1]])
    by_hand = np.array([[x[index[i, j], j] for j in range(4)] for i in range(2)])
    np.testing.assert_array_equal(gg.gather(x, 0, index).numpy(), by_hand)
    src = grid(2, 4)
    added, placed = x.copy(), x.copy()
    for i in range(2):
        for j in range(4):
            added[index[i, j], j] += src[i, j]
            placed[index[i, j], j] = src[i, j]
    np.testing.assert_allclose(gg.scatter_add(x, 0, index, src).numpy(), added)
    np.testing.assert_array_equal(gg.scatter(x, 0, index, src).numpy(), placed)
    for f in (
        lambda x, src: gg.scatter_add(x, 0, index, src),
        lambda x, src: gg.scatter(x, 0, index, src),
        lambda x, src: gg.gather(x, 0, index) * src,
        lambda x, src: gg.index_add(x, 0, [2, 0], src, alpha=3),
        lambda x, src: gg.masked_fill(x, x > 0, 2.0) + gg.masked_select(src, src > 0).sum(),
    ):
        assert gradcheck(f, (x, src))
        assert gradgradcheck(f, (x, src))
    np.testing.assert_array_equal(gg.index_select(x, 1, [3, 0]).numpy(), x[:, [3, 0]])


def test_products_under_torchs_names() -> None:
    a, b, c = grid(2, 3, 4), grid(2, 4, 2), grid(3, 2)
    np.testing.assert_allclose(gg.bmm(a, b).numpy(), a @ b)
    np.testing.assert_allclose(gg.baddbmm(c, a, b, beta=2, alpha=3).numpy(), 2 * c + 3 * (a @ b))
    np.testing.assert_allclose(gg.addmm(c, a[0], b[0]).numpy(), c + a[0] @ b[0])
    np.testing.assert_allclose(gg.mv(a[0], b[0][:, 0]).numpy(), a[0] @ b[0][:, 0])
    assert gradcheck(lambda a, b, c: gg.baddbmm(c, a, b, beta=2, alpha=3), (a, b, c))


def test_topk() -> None:
    x = grid(3, 5)
    for axis in (0, 1):
        for largest in (True, False):
            values, indices = gg.topk(x, 2, axis, largest)
            order = np.argsort(-x if largest else x, axis=axis)
            np.testing.assert_array_equal(indices.numpy(), order.take([0, 1], axis))
            np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, indices.numpy(), axis))
    assert gradcheck(lambda x: gg.topk(x, 2).values, x)
    with pytest.raises(ValueError, match="k must be in"):
        gg.topk(x, 6)


def test_sets_and_places() -> None:
    x = np.array([[3.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    for got, want in zip(gg.nonzero(x), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(gg.argwhere(x).numpy(), np.argwhere(x))
    np.testing.assert_array_equal(gg.flatnonzero(x).numpy(), np.flatnonzero(x))
    np.testing.assert_array_equal(gg.unique(x).numpy(), np.unique(x))
    np.testing.assert_array_equal(gg.grad(lambda x: (gg.unique(x) * np.array([1.0, 2, 3])).sum())(x), [[3, 1, 2], [0, 0, 0]])


# --- special values -----------------------------------------------------------------------------------------------


def test_a_quantile_of_nan_is_nan_and_infinities_are_numbers() -> None:
    assert np.isnan(gg.median([1.0, NAN, 2.0]).item())
    np.testing.assert_array_equal(gg.quantile(np.array([-np.inf, 1, 2, np.inf]), [0.0, 1.0]).numpy(), [-np.inf, np.inf])
    with pytest.raises(ValueError, match="no elements"):
        gg.median(np.zeros((0,)))
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\]"):
        gg.quantile(V, 1.5)


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_products_with_zeros(zeros: int) -> None:
    x = np.array([2.0, 3.0, 4.0, 5.0])
    x[:zeros] = 0
    by_hand = [np.prod(np.delete(x, i)) for i in range(4)]
    np.testing.assert_array_equal(gg.grad(gg.prod)(x), by_hand)
    assert gradgradcheck(gg.prod, x)
    assert gradcheck(lambda x: gg.cumprod(x) ** 2, x)
    assert gradgradcheck(lambda x: gg.cumprod(x) ** 2, x)


def test_a_product_of_nothing() -> None:
    assert gg.prod(np.zeros((0, 3))).item() == 1
    np.testing.assert_array_equal(gg.cumprod(np.zeros((0,))).numpy(), np.zeros(0))
    assert gg.grad(gg.prod)(np.zeros((0,))).shape == (0,)


def test_logcumsumexp_does_not_overflow() -> None:
    x = np.array([-1000.0, 1000.0, 1000.0, -np.inf])
    np.testing.assert_allclose(gg.logcumsumexp(x).numpy(), [-1000, 1000, 1000 + np.log(2), 1000 + np.log(2)])
    np.testing.assert_allclose(gg.grad(lambda x: gg.logcumsumexp(x)[2])(x), [0, 0.5, 0.5, 0])


def test_of_tied_running_extrema_the_last_counts() -> None:
    np.testing.assert_array_equal(gg.grad(lambda x: gg.cummax(x)[-1])(np.array([2.0, 2.0, 1.0])), [0, 1, 0])


# --- einsum and indexing, at random -------------------------------------------------------------------------------


@st.composite
def sums_of_products(draw: st.DrawFn) -> tuple[str, list[np.ndarray]]:
    lengths = {c: draw(st.integers(1, 3)) for c in "abcd"}
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    out = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
    return ",".join(terms) + "->" + out, [grid(*[lengths[c] for c in term]) for term in terms]


@settings(max_examples=60)
@given(sums_of_products())
def test_einsum_of_anything(case: tuple[str, list[np.ndarray]]) -> None:
    subscripts, operands = case
    np.testing.assert_allclose(gg.einsum(subscripts, *operands).numpy(), np.einsum(subscripts, *operands), atol=1e-10)
    assert gradcheck(lambda *ops: gg.einsum(subscripts, *ops), operands, atol=1e-7)


@pytest.mark.parametrize(
    ("operands", "message"),
    [
        (("ij,jk->ik", M), "2 terms for 1 operands"),
        (("ij->ik", M), "output 'ik'"),
        (("ij->ijj", M), "each once"),
        (("ijk->i", M), "does not fit an operand with 2 axes"),
        (("i,i->", V, grid(4)), "axes of length 5 and 4"),
        (("i1->i", M), "letters, commas"),
    ],
)
def test_einsum_says_what_is_wrong(operands: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gg.einsum(*operands)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gg.take(V, [5]), "indices must be in -5..4"),
        (lambda: gg.take(V, [0.5]), "must be integers"),
        (lambda: gg.gather(M, 1, [[0]] * 4), "does not fit"),
        (lambda: gg.pad(M, 1, mode="linear"), "mode must be one of"),
        (lambda: gg.pad(M, -1), "at least 0"),
        (lambda: gg.split(V, 2), "equal parts"),
        (lambda: gg.cross(V, V), "length 3"),
        (lambda: gg.tensordot(M, M, 1), "differ in length"),
        (lambda: gg.polygamma(1.0, -1), "integer of at least 0"),
        (lambda: gg.bmm(M, M), "3 axes"),
        (lambda: gg.choose([3], [V, V]), "indices must be in"),
    ],
)
def test_wrong_arguments_are_told(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        call()
