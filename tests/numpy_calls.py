"""Calls of NumPy's functions, written once: run on arrays by NumPy, on Tensors through the protocols, and by gg.numpy.

Every function of NumPy that is answered by an op has at least one call here (a test says which is missing). The names:
`t`, `u` (2, 3), `s`, `p` (3, 3), `p` positive definite, `v`, `w` (3,), `x` 0-d, `z` complex (2, 3), `n` with a nan,
`c` (2, 3, 4), and integers `i`, `b` (2, 3) and a mask `m` (2, 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

rng = np.random.default_rng(3)
INPUTS: dict[str, Any] = {
    "t": np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]),
    "u": np.array([[1.25, 0.5, -2.0], [-1.0, 0.75, 3.0]]),
    "s": np.array([[2.0, 0.5, -1.0], [0.25, 3.0, 0.5], [-0.5, 1.0, 4.0]]),
    "p": np.array([[3.0, 0.5, -0.5], [0.5, 2.0, 0.25], [-0.5, 0.25, 4.0]]),
    "v": np.array([0.3, -1.2, 2.1]),
    "w": np.array([1.1, 0.4, -0.6]),
    "x": np.array(1.5),
    "z": np.array([[1 + 2j, -0.5j, 2.0], [0.5 - 1j, 3 + 1j, -1 + 0.25j]]),
    "n": np.array([[0.5, np.nan, 2.0], [1.5, 0.25, -0.75]]),
    "c": rng.uniform(-2, 2, (2, 3, 4)),
    "i": np.array([[0, 2, 1], [2, 2, 0]]),
    "m": np.array([[True, False, True], [False, True, True]]),
    "b": np.array([[3, 5, 12], [6, 9, 2]]),
}

FUNCTIONS = """
all(t); all(t > 0, axis=0); all(t > 0, 1, keepdims=True); allclose(t, t + 1e-12); allclose(t, u, rtol=1e-3, atol=1.0); amax(t)
amax(t, 1); amin(t, axis=(0, 1), keepdims=True); amin(t); angle(z); any(t > 1, axis=1); any(t, where=m); append(t, u)
append(t, u, axis=0); argmax(t); argmax(t, 1); argmax(t, axis=0, keepdims=True); argmin(t, 0); argsort(t); argsort(t, axis=0)
argsort(t, kind="stable"); argsort(t, stable=True); sort(t, stable=True); argwhere(t > 0); around(t, 1); around(t, decimals=0)
array_equal(t, t); array_equal(t, u); array_equiv(t, u); array_split(v, 2); array_split(t, [1, 2], axis=1); astype(t, "float32")
astype(t, "int64"); atleast_1d(x); atleast_2d(v); atleast_3d(t); average(t); average(t, 1); average(t, weights=w, axis=1)
average(t, 0, weights=np.abs(u)); block([[t, u], [u, t]]); broadcast_arrays(v, t); broadcast_to(v, (2, 3))
broadcast_to(v, shape=(2, 3), subok=False); choose(i, [t, u, t * 2]); clip(t, -0.6, 0.9); clip(t, a_min=0, a_max=None)
clip(t, min=-0.5, max=1); clip(t, v, w + 3); column_stack([v, w]); compress([True, False, True], t, axis=1); concat([t, u])
concatenate([t, u], axis=1); concatenate((t, u), 0); concatenate([t, v], axis=None); concatenate([t, u], dtype="float32")
convolve(v, w); convolve(v, w, mode="same"); copy(t); copy(t, order="K"); corrcoef(t); correlate(v, w)
count_nonzero(t > 0, axis=1); cov(t); cov(t, ddof=0); cov(v, w); cross(v, w); cross(s, v); cumprod(t); cumprod(t, axis=1)
cumsum(t); cumsum(t, 0); cumsum(t, axis=1, dtype="float32"); cumulative_prod(v); cumulative_sum(t, axis=1, include_initial=True)
delete(t, 1, axis=1); delete(v, [0, 2]); diag(s); diag(v, k=1); diagflat(v); diagonal(s, 1); diagonal(c, axis1=1, axis2=2)
diff(v); diff(t, n=2, axis=1); diff(t, prepend=0.0); dot(s, v); dot(v, w); dot(t, s); dsplit(c, 2); dstack([t, u]); ediff1d(t)
ediff1d(v, to_end=1.0, to_begin=v); einsum("ij,jk->ik", t, s); einsum("ij->j", t); einsum("ii", s); einsum("...i,i", t, v)
einsum(t, [0, 1], v, [1], [0]); einsum("ij,jk,k->i", t, s, v, optimize=True); expand_dims(t, 0); expand_dims(t, axis=(0, -1))
extract(m, t); fix(t); flatnonzero(t > 0); flip(t); flip(t, axis=1); fliplr(t); flipud(t); full_like(t, 3.0)
full_like(t, 2, dtype="int64"); gradient(v); gradient(t, axis=1); gradient(v, 0.5); gradient(t, 0.5, v.cumsum(), edge_order=1)
hsplit(t, 3); hstack([t, u]); hstack([v, w]); i0(t); imag(z); inner(t, u); inner(v, w); insert(v, 1, 2.0)
insert(t, 1, v, axis=0); interp(v, [0.0, 1.0, 2.0], w); isclose(t, u, atol=1.0); iscomplex(z); isin(i, [0, 2]); isneginf(t)
isposinf(t); isreal(z); kron(t, u); kron(v, w); linspace(0.0, x, 5); matrix_transpose(c); max(t); max(t, axis=1)
max(t, 0, keepdims=True); max(t, initial=1.0, axis=1); max(t, initial=-5.0, where=m); mean(t); mean(t, (0, 1))
mean(t, axis=1, keepdims=True); mean(t, axis=0, dtype="float64"); median(t); median(t, axis=1); median(t, 0, keepdims=True)
meshgrid(v, w); meshgrid(v, w, indexing="ij", sparse=True); min(t); min(t, axis=0); moveaxis(c, 0, -1)
moveaxis(c, [0, 1], [1, 2]); nan_to_num(n); nan_to_num(n, nan=2.0); nanargmax(n, axis=1); nanargmin(n); nancumprod(n, axis=1)
nancumsum(n); nanmax(n, axis=0); nanmean(n, axis=1); nanmedian(n, axis=1); nanmin(n); nanprod(n, axis=0)
nanquantile(n, 0.3, axis=1); nanquantile(n, [0.0, 0.4, 1.0])
nanquantile(n, [[0.1, 0.5]], axis=0, method="weibull", keepdims=True); nanpercentile(n, 45, axis=1, method="nearest")
nanpercentile(n, [20, 60], keepdims=True); sum(t, axis=0, out=w.copy()); clip(t, -0.6, 0.6, out=u + 0); nanstd(n)
nanstd(n, axis=1, ddof=1); nansum(n, axis=0, keepdims=True); nanvar(n, axis=1); nonzero(t > 0); ones_like(t)
ones_like(t, dtype="float32"); outer(v, w); outer(t, u); pad(t, 1); pad(t, ((0, 1), (2, 0)), mode="edge"); pad(v, 2, "reflect")
pad(t, 1, constant_values=3.0); pad(v, (1, 2), mode="wrap"); partition(v, 1); percentile(t, 30); percentile(t, [20, 70], axis=1)
permute_dims(c, (2, 0, 1)); polyval(v, w); prod(t); prod(t, axis=1); prod(t, 0, keepdims=True); prod(t, initial=2.0); ptp(t)
ptp(t, axis=1); quantile(t, 0.3); quantile(t, [0.25, 0.6], axis=0); ravel(t); ravel(t, order="C"); real(z); real_if_close(z)
repeat(t, 2); repeat(t, [1, 2, 0], axis=1); reshape(t, (3, 2)); reshape(t, -1); reshape(t, shape=(6,)); resize(t, (4, 2))
roll(t, 1); roll(t, 2, axis=1); roll(t, (1, 1), axis=(0, 1)); rollaxis(c, 2); rollaxis(c, 0, 3); rot90(t); rot90(t, 2)
rot90(t, k=3, axes=(1, 0)); round(t, 1); round(t, decimals=1); searchsorted([0.0, 1.0, 2.0], v)
searchsorted([2.0, 1.0, 0.0], v, sorter=[2, 1, 0]); searchsorted([0.0, 1.0, 2.0], v, side="right")
select([t > 1, t > 0], [t, u], 0.5); sinc(t); sort(t); sort(t, axis=0); sort(t, axis=None); split(v, 3); split(t, [1], axis=1)
squeeze(t[:1]); squeeze(t[:, :1], axis=1); stack([t, u]); stack([t, u], axis=-1); std(t); std(t, axis=1, ddof=1)
std(t, axis=0, correction=1); std(t, 1, keepdims=True); sum(t); sum(t, 0); sum(t, axis=(0, 1), keepdims=True)
sum(t, 1, None, None, True); sum(t, where=m); sum(t, axis=0, initial=2.0); sum(t, dtype="float32"); swapaxes(c, 0, 2)
take(t, [0, 2], axis=1); take(t, i); take_along_axis(t, i, axis=1); tensordot(t, s, axes=1)
tensordot(c, c, axes=([0, 2], [0, 2])); tile(t, 2); tile(v, (2, 2)); trace(s); trace(s, offset=1); transpose(t)
transpose(c, (1, 0, 2)); trapezoid(t); trapezoid(t, axis=0); trapezoid(v, dx=0.5); trapezoid(v, w.cumsum()); tril(s)
tril(s, -1); triu(s, k=1); triu(s); unique(i * t * 0 + t); unique(i, return_counts=True); unique_all(i); unique_counts(i)
unique_inverse(i); unique_values(t); unstack(t); unstack(t, axis=1); vander(v); vander(v, 2, increasing=True); var(t)
var(t, axis=0); var(t, ddof=1); var(t, axis=1, correction=0.5, keepdims=True); vdot(v, w); vdot(z, z); vsplit(t, 2)
vstack([t, v]); where(m, t, u); where(m, t, 0.0); where(t > 0); zeros_like(t); zeros_like(t, dtype="int64"); linalg.cross(s, s)
linalg.diagonal(c); linalg.diagonal(c, offset=1); linalg.matmul(t, s); linalg.matrix_transpose(c); linalg.outer(v, w)
linalg.tensordot(t, s, axes=1); linalg.trace(s, offset=-1); linalg.vecdot(t, u)
"""

MORE = """
poly(v); poly(p); polyadd(v, w); polyadd(v, t[0, :2]); polysub(t[0, :2], w); polymul(v, w); polydiv(v, t[0, :2])
polydiv(v[:1], w); polyder(v); polyder(v, 2); polyint(v); polyint(v, m=2, k=[1.0, 2.0]); polyfit(w, v, 1)
polyfit(w, s, 1, w=v.cumsum()); roots(v); roots(np.append(v * w, 0.0)); intersect1d(i, [0, 2, 7]); setdiff1d(t, [9.0])
setdiff1d(i, [2]); setxor1d(i, [1, 5]); setxor1d(t, u + 10); union1d(t, v); trim_zeros(v); trim_zeros(v * [0, 1, 0], "f")
ix_(v, m[0]); unwrap(4 * t); unwrap(v, period=2.0); apply_along_axis(np.cumsum, 1, t); apply_along_axis(np.sum, 0, c)
apply_over_axes(np.sum, c, [0, 2]); sort_complex(t); geomspace(x, 5.0, 4); logspace(0.0, x, 3)
logspace(x, 2 * x, 3, endpoint=False, base=2.0); apply_along_axis(np.outer, 1, t, w)
piecewise(t, [t > 1, t < -0.9], [np.sin, 2.0, np.square]); piecewise(v, v > 0, [np.negative])
piecewise(x, [x > 0], [lambda x, k: x * k, 0], 3.0)
"""
"""Compositions that only NumPy has names for."""

LINALG = """
linalg.cholesky(p); linalg.det(s); linalg.eig(s); linalg.eigvals(p); linalg.matrix_rank(s); linalg.eigvalsh(p); linalg.inv(s)
linalg.matrix_norm(s); linalg.matrix_norm(s, ord=1); linalg.matrix_power(s, 3); linalg.multi_dot([t, s, v]); linalg.norm(t)
linalg.norm(v, 1); linalg.norm(t, axis=1); linalg.pinv(t); linalg.norm(t, axis=0, keepdims=True); linalg.slogdet(s)
linalg.solve(s, v); linalg.solve(s, p); linalg.svdvals(t); linalg.lstsq(s, v); linalg.qr(s); linalg.eigh(p); linalg.svd(s)
linalg.vector_norm(t); linalg.vector_norm(t, axis=1, ord=3); linalg.cond(s); linalg.tensorinv(s, ind=1)
linalg.tensorsolve(s, v); fft.fft(v); fft.fft(t, axis=0); fft.fft(v, n=5, norm="ortho"); fft.fft2(t); fft.fftn(c)
fft.fftshift(v); fft.ifftshift(t, axes=1); fft.hfft(z[0]); fft.ifft(z); fft.ifft2(z); fft.ifftn(z); fft.ihfft(v); fft.irfft(z)
fft.irfft(z, n=5); fft.irfft2(z); fft.irfftn(z); fft.rfft(v); fft.rfft2(t); fft.rfftn(c)
"""
"""Run only where gpugrad.linalg and gpugrad.fft have the function."""

UFUNCS = """
abs(t); add(t, v); arccos(t / 3); arccosh(t + 4); arcsin(t / 3); arcsinh(t); arctan(t); arctan2(t, u); arctanh(t / 3)
bitwise_and(b, 6); bitwise_count(b); bitwise_or(b, 1); bitwise_xor(b, b + 1); cbrt(t); ceil(t); conjugate(z); copysign(t, u)
cos(t); cosh(t); deg2rad(t); degrees(t); divide(t, u); divmod(t, 0.7); equal(t, t); exp(t); exp2(t); expm1(t); fabs(t)
float_power(abs(t), 2); floor(t); floor_divide(t, 0.7); fmax(t, u); fmin(t, u); fmod(t, 0.7); gcd(b, 6); greater(t, u)
greater_equal(t, 0.5); heaviside(t, 0.5); hypot(t, u); invert(b); isfinite(n); isinf(n); isnan(n); lcm(b, 6); ldexp(t, 2)
left_shift(b, 2); less(t, u); less_equal(t, u); log(abs(t)); log10(abs(t)); log1p(abs(t)); log2(abs(t)); logaddexp(t, u)
logaddexp2(t, u); logical_and(t, m); logical_not(t); logical_or(m, t); logical_xor(m, t); matmul(t, s); matvec(s, v)
maximum(t, u); minimum(t, 0.3); modf(t + 0.1); multiply(t, v); negative(t); nextafter(t, u); not_equal(t, u); positive(t)
power(abs(t), u); rad2deg(t); radians(t); reciprocal(t); remainder(t, 0.7); right_shift(b, 1); rint(t); sign(t); signbit(t)
sin(t); sinh(t); spacing(t); frexp(t * 1.1); sqrt(abs(t)); square(t); subtract(t, v); tan(t); tanh(t); trunc(t); vecdot(t, u)
vecmat(v, s); add(t, u, out=u + 0); sin(t, out=(u + 0,)); add.reduce(t, axis=0, out=w.copy()); add(t, v, dtype="float32")
multiply(t, u, where=True); sin(t, casting="same_kind"); vecdot(c, c, axis=1)
"""

METHODS = """
add.reduce(t); add.reduce(t, 1); add.reduce(t, axis=None); multiply.reduce(t, axis=1, keepdims=True); maximum.reduce(t)
minimum.reduce(t, axis=(0, 1)); logical_and.reduce(t > 0); logical_or.reduce(t > 0, axis=1); logaddexp.reduce(t, axis=1)
add.reduce(t, axis=0, initial=1.5); add.accumulate(t); add.accumulate(t, 1); multiply.accumulate(t, axis=1)
maximum.accumulate(t); minimum.accumulate(t, axis=1); logaddexp.accumulate(t, axis=1); multiply.outer(v, w); add.outer(t, v)
subtract.outer(v, 2.0); hypot.outer(v, w)
"""


def calls(text: str) -> list[str]:
    """The calls of a table, one string each."""
    return [call.strip() for line in text.splitlines() for call in line.split(";") if call.strip()]


def name_of(call: str) -> str:
    """The function that a call calls first."""
    return call.partition("(")[0]


def run(call: str, namespace: Any, inputs: dict[str, Any]) -> Any:
    """A call by a namespace, on inputs; names inside the call are of the same namespace."""
    code = f"np.{call}"
    return eval(code, {"np": namespace, "abs": abs, **inputs})


def parts(result: Any) -> list[Any]:
    """The arrays of a result: tuples, lists and named tuples taken apart."""
    return [part for value in result for part in parts(value)] if isinstance(result, list | tuple) else [result]
