"""Options of NumPy's functions, on Tensors: values and dtypes by NumPy's own, gradients of both orders by finite differences."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck, gradgradcheck

rng = np.random.default_rng(5)
_NAN = np.array([[0.5, np.nan, 2.0, 1.0], [1.5, 0.25, np.nan, -0.75], [0.1, 0.2, 0.4, 0.7]])
INPUTS: dict[str, Any] = {
    "t": rng.permutation(np.linspace(-2, 2, 12)).reshape(3, 4),
    "c": rng.permutation(np.linspace(-3, 3, 24)).reshape(2, 3, 4),
    "s": rng.normal(size=(3, 3)),
    "p": rng.normal(size=(3, 3)) * 0.3 + 2 * np.eye(3),
    "v": np.array([0.3, -1.2, 2.1, 0.7]),
    "w": np.array([1.1, 0.4, 0.6, 0.2]),
    "z": np.array([0.0, 0.0, 1.5, 0.0, -2.0, 0.0]),
    "q": rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)),
}
"""What is differentiated; other names are constants."""
CONSTANTS: dict[str, Any] = {
    "m": np.array([[True, False, True, True], [False, True, True, False], [True, True, True, True]]),
    "n": _NAN,
    "i": np.array([[3, -1, 2], [5, 0, 7]]),
    "g": np.abs(rng.normal(size=(3, 4))),
    "h": np.array([1.1, 0.0, 0.6, 0.2]),
    "r": np.array([[1, 2, 1], [1, 2, 1], [0, 0, 4]]),
}

PAD = "; ".join(
    f"pad({x}, {width}, mode={mode!r}{more})"
    for x, width in (("t", 2), ("t", "((1, 0), (0, 9))"), ("c", "((0, 0), (3, 1), (1, 2))"))
    for mode, more in (
        ("linear_ramp", ""), ("linear_ramp", ", end_values=(3, -2)"), ("maximum", ""), ("minimum", ", stat_length=(1, 3)"),
        ("mean", ""), ("mean", ", stat_length=2"), ("median", ""), ("reflect", ', reflect_type="odd"'),
        ("symmetric", ', reflect_type="odd"'), ("constant", ", constant_values=(1, 2)"),
    )
)  # fmt: skip

CALLS = f"""
{PAD}; pad(i, 2, mode="linear_ramp", end_values=20); pad(i, 2, mode="mean"); pad(i, 4, mode="symmetric", reflect_type="odd")
mean(t, where=m); mean(t, axis=1, where=m); mean(t, axis=0, keepdims=True, where=m); mean(t, where=m[:1]); mean(i, where=i > 0)
var(t, where=m); var(t, axis=1, ddof=1, where=m); std(t, axis=0, where=m); std(t, where=m, keepdims=True); var(q, where=m[:2, :3])
var(t, axis=1, mean=mean(t, axis=1, keepdims=True)); std(t, mean=0.5); var(t, axis=1, correction=1, where=m); std(t, 1, where=m)
sum(t, where=m); sum(t, axis=1, initial=2.0, where=m); prod(t, axis=0, where=m); prod(t, initial=2.0); max(t, axis=1, initial=0.5)
max(t, initial=-1.0, where=m, axis=0); min(t, initial=1.0, where=m, axis=0); any(t > 0, where=m, axis=0)
all(t > 0, where=m, axis=0); nansum(n, axis=1, where=m); nansum(n, initial=2.0)
nanprod(n, axis=0, where=m, initial=3.0); nanmean(n, axis=1, where=m)
nanmax(n, axis=1, initial=-9.0, where=m); nanmin(n, initial=0.3); nanvar(n, axis=1, where=m); nanstd(n, axis=0, ddof=1, where=m)
nanvar(n, axis=1, mean=v[:3, None]); nanmax(i, axis=1, initial=-9, where=i > 0); nansum(i, where=i > 0); nanmean(i, where=i > 0)
linspace(t, 3.0, 4, axis=1); linspace(v, w, 3, axis=-1); linspace(v, w, 3, endpoint=False, axis=1)
linspace(v, w, 4, retstep=True)
logspace(v, w, 3, axis=-1); logspace(v, w, 3, base=w + 1); logspace(v, w, 3, base=(w + 1)[:, None], axis=-1)
geomspace(w, w + 2, 3, axis=-1); geomspace(w, w * 9, 4, axis=1)
unique(r, axis=0); unique(r, axis=1); unique(r, return_index=True, return_inverse=True, return_counts=True, axis=0)
unique(t, axis=0); unique(t, axis=-1, return_counts=True); unique(t, return_index=True); unique(n); unique(n, equal_nan=False)
unique(n, return_counts=True); unique(c, axis=1)
linalg.eigvalsh(s, UPLO="L"); linalg.eigvalsh(s, UPLO="U"); abs(linalg.eigh(s, UPLO="U")[1]); abs(linalg.eigh(s, "L")[1])
linalg.cholesky(p, upper=False); linalg.cholesky(p, upper=True); linalg.pinv(p + p.T, hermitian=True)
linalg.svd(p + p.T, compute_uv=False, hermitian=True); linalg.matrix_rank(p + p.T, hermitian=True)
angle(q, deg=True); angle(q, True); average(t, axis=1, weights=w, returned=True)
average(t, returned=True); average(t, 0, returned=True)
average(t, 1, weights=w, keepdims=True, returned=True); choose(r % 2, [p, s]); choose(r + 5, [p, s], mode="wrap")
choose(r - 2, [p, s], mode="clip"); cov(t, fweights=[1, 2, 0, 3]); cov(t, aweights=w); cov(t, fweights=[1, 2, 1, 3], aweights=w)
cov(t, aweights=w, bias=True); cov(t, aweights=w, ddof=0); cross(c, t.T, axisa=1, axisb=1, axisc=0); cross(c, c * c, axis=1)
cross(c, c * c, 1, 1); cross(c, c * c, 1, 1, 0); interp(v * 8.3, v, w, period=3.0); interp(v, [0.0, 4.0, 2.5], w[:3], period=-5)
intersect1d(i, r, return_indices=True); intersect1d(v, w + [0.0, 0, 0, 0.5], return_indices=True)
insert(v, [1, 3], w[:2]); insert(v, [3, 1, 1], w[:3]); insert(v, slice(0, 3), 9.0); insert(t, [0, -1], v, axis=0)
insert(t, [1], c[0, :, :2], axis=1); insert(t, 1, c[0, 0, :3], axis=1); insert(t, [], v[:0]); insert(v, [2], w)
trim_zeros(z); trim_zeros(z, "f"); trim_zeros(z[None] * z[:, None]); trim_zeros(z[None] * z[:, None], axis=0); trim_zeros(z[:2])
polyfit(v, w, 2, full=True); polyfit(v, w, 1, cov=True); polyfit(v, w, 1, w=w, cov="unscaled"); polyfit(v, t.T, 1, cov=True)
polyfit(v, w, 3, full=True); polyfit(v, t.T, 1, full=True)
"""
QUANTILES = "; ".join(
    f'quantile(t, {q}, axis={axis}, method="{method}"); nanquantile(n, {q}, axis={axis}, method="{method}")'
    for method in ("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf")
    for q in ("0.4", "[0.0, 0.25, 0.5, 0.7, 1.0]")
    for axis in (None, 1)
)
WEIGHTS = """
quantile(t, 0.4, method="inverted_cdf", weights=g); quantile(t, [0.0, 0.3, 1.0], axis=1, method="inverted_cdf", weights=h)
percentile(t, 30, axis=0, method="inverted_cdf", weights=g + 1, keepdims=True)
nanquantile(n, [0.0, 0.6], axis=1, method="inverted_cdf", weights=g)
nanpercentile(n, 80, method="inverted_cdf", weights=g)
"""
ALL = [call.strip() for text in (CALLS, QUANTILES, WEIGHTS) for call in text.replace("\n", "; ").split("; ") if call.strip()]


def evaluated(xp: Any, call: str, **values: Any) -> tuple[Any, ...]:
    """The results of a call by the functions of some library."""
    name, _, arguments = call.removeprefix("abs(").partition("(")
    names = {"abs": np.abs, "mean": np.mean, "function": function(xp, name)} | CONSTANTS | INPUTS | values
    result = eval(("abs(" if call.startswith("abs(") else "") + f"function({arguments}", names)
    return result if isinstance(result, tuple) else (result,)


def function(xp: Any, name: str) -> Any:
    for part in name.split("."):
        xp = getattr(xp, part)
    return xp


def tensors(**more: Any) -> dict[str, Any]:
    return {name: gg.tensor(value, requires_grad=True) for name, value in INPUTS.items()} | {
        name: gg.tensor(value) for name, value in CONSTANTS.items() if name != "m"
    }


@pytest.mark.parametrize("call", ALL)
def test_values(call: str) -> None:
    expected = evaluated(np, call)
    for xp in (np, gg.numpy):
        found = evaluated(xp, call, **tensors())
        assert len(found) == len(expected)
        for got, want in zip(found, expected, strict=True):
            assert isinstance(got, gg.Tensor | int | float)
            assert np.shape(got) == np.shape(want)
            np.testing.assert_allclose(got.detach().numpy() if isinstance(got, gg.Tensor) else got, want, rtol=1e-9, atol=1e-12)
            assert not isinstance(got, gg.Tensor) or got.dtype == np.asarray(want).dtype


def tokens(call: str) -> set[str]:
    return {token.string for token in tokenize.generate_tokens(io.StringIO(call).readline)}


STEPS = {"any", "all", "matrix_rank", "intersect1d", "trim_zeros"}
"""Functions that are not continuous where they are called."""
DIFFERENTIABLE = [call for call in ALL if tokens(call) & {*INPUTS} and not tokens(call) & STEPS and "[:0]" not in call]


@pytest.mark.parametrize("call", DIFFERENTIABLE)
def test_gradients(call: str) -> None:
    names = [name for name in INPUTS if name in tokens(call)]

    def program(*leaves: gg.Tensor) -> Any:
        found = evaluated(np, call, **tensors() | dict(zip(names, map(gg.asarray, leaves), strict=True)))
        results = [x for x in found if isinstance(x, gg.Tensor) and x.dtype.kind in "fc"]
        return sum(((gg.real(x * gg.conj(x)) * (k + 1)).sum() for k, x in enumerate(results)), 0.0)

    leaves = [INPUTS[name] for name in names]
    assert gradcheck(program, leaves, atol=1e-6, rtol=1e-5)
    assert gradgradcheck(program, leaves, atol=1e-5, rtol=1e-4)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("pad(t, 1, mode='nonsense')", "linear_ramp"),
        ("pad(t, 1, mode='reflect', reflect_type='strange')", "'even' or 'odd'"),
        ("pad(t, 1, mode='mean', stat_length=0)", "at least one element"),
        ("nanmax(n, where=m)", "initial="),
        ("linalg.eigh(s)", "UPLO="),
        ("linalg.cholesky(s)", "upper="),
        ("linalg.eigh(s, UPLO='X')", "'L' or 'U'"),
        ("mean(t, where=[True, False])", "broadcast"),
        ("quantile(t, 0.5, weights=w, axis=1)", "inverted_cdf"),
        ("quantile(t, 0.5, weights=t * t, axis=1, method='inverted_cdf')", "no gradient by the weights"),
        ("nanquantile(t, w[0] / 9, weights=g, method='inverted_cdf')", "no gradient by q"),
        ("choose([[-1, 0, 0]], [p, s])", "0..1"),
        ("cov(t, fweights=[0.5, 1, 1, 1])", "whole numbers"),
        ("cov(t, aweights=[-1, 1, 1, 1])", "at least 0"),
        ("interp(v, v, w, period=0)", "period"),
        ("insert(t, [9], 1.0, axis=0)", "out of bounds"),
        ("insert(t, [0.5], 1.0, axis=0)", "integer"),
        ("trim_zeros(z, 'x')", "'f'"),
        ("unique(t, axis=2)", "axis 2"),
    ],
)
def test_what_is_refused(call: str, words: str) -> None:
    with pytest.raises((ValueError, TypeError, IndexError), match=words) as caught:
        evaluated(np, call, **tensors())
    assert isinstance(caught.value, gg.GpugradError)
    assert "float64[" in str(caught.value) or "int64[" in str(caught.value)
    assert __file__ in str(caught.value) or "<string>" in str(caught.value)


def test_the_triangle_that_is_not_read_gets_no_gradient() -> None:
    a = gg.tensor([[2.0, 99.0], [0.5, 1.0]], dtype="float64", requires_grad=True)
    (np.linalg.eigvalsh(a, UPLO="L") ** 2).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4.0, 0.0], [2.0, 2.0]])  # of a00**2 + a11**2 + 2 * a10**2


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda a, b: np.array([a, b]), lambda a, b: gg.stack([a, b])),
        (lambda a, b: np.asarray([a, b]), lambda a, b: gg.asarray([a, b])),
        (lambda a, b: np.r_[a, b], lambda a, b: gg.concatenate([a, b])),
        (lambda a, b: np.c_[a, b], lambda a, b: gg.column_stack([a, b])),
    ],
)
def test_arrays_of_tensors_say_what_to_use(make: Any, instead: Any) -> None:
    arrays = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    a, b = (gg.tensor(x, requires_grad=True) for x in arrays)
    with pytest.raises(gg.GradientError, match=r"gpugrad\.stack(.|\n)*gpugrad\.concatenate(.|\n)*column_stack") as caught:
        make(a, b)
    assert __file__ in str(caught.value)
    out = instead(a, b)
    np.testing.assert_array_equal(out.detach().numpy(), make(*arrays))
    out.sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), [1.0, 1.0])
    with pytest.raises(AttributeError, match=r"gpugrad\.column_stack"):
        gg.numpy.c_
