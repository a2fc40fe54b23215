"""The calls that `python -m benchmarks.ops` times: about a hundred, each at 1e5 to 1e6 elements or a layer's usual size.

A call is one function for both libraries, of a namespace, its `nn.functional` and the inputs, where they agree on the
names; two where they do not. Inputs of a floating dtype take part in the backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy import ndarray
from numpy.random import Generator

__all__ = ["CASES", "Case"]

Inputs = Callable[[Generator], tuple[Any, ...]]
Call = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One call: its inputs in float64 (or integers, booleans), made by a generator, and the call in each library.

    Attributes
    ----------
    kind : str
        Heading of the table.
    ours, theirs : callable
        ``(namespace, functional, *inputs)``; in gpugrad and in PyTorch.
    by_hand : callable, optional
        ``(*arrays, cotangent)`` in NumPy and SciPy: the result and the gradients, as somebody would write them.
    """

    name: str
    kind: str
    inputs: Inputs
    ours: Call
    theirs: Call
    by_hand: Callable[..., Any] | None = field(default=None)


CASES: dict[str, Case] = {}


def case(kind: str, name: str, inputs: Inputs, ours: Call, theirs: Call | None = None, by_hand: Any = None) -> None:
    """Add a call to the table."""
    if name in CASES:
        raise ValueError(f"two cases are called {name!r}")
    CASES[name] = Case(name, kind, inputs, ours, theirs or ours, by_hand)


def normal(*shapes: tuple[int, ...]) -> Inputs:
    """Arrays of normal numbers."""
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def between(low: float, high: float, *shapes: tuple[int, ...]) -> Inputs:
    """Arrays of uniform numbers."""
    return lambda rng: tuple(rng.uniform(low, high, shape) for shape in shapes)


def with_integers(below: int, shape: tuple[int, ...], *others: tuple[int, ...]) -> Inputs:
    """Arrays of normal numbers, and last one of integers."""
    return lambda rng: (*[rng.standard_normal(other) for other in others], rng.integers(0, below, shape))


LINE, PLANE, IMAGES = (300_000,), (512, 512), (8, 32, 32, 32)

# --- activations --------------------------------------------------------------------------------------------------


def _gelu_by_hand(x: ndarray[Any, Any], t: ndarray[Any, Any]) -> Any:
    from scipy.special import ndtr

    below = ndtr(x)
    return x * below, t * (below + x * numpy.exp(-0.5 * x * x) * 0.3989422804014327)


def _sigmoid_by_hand(x: ndarray[Any, Any], t: ndarray[Any, Any]) -> Any:
    y = 1 / (1 + numpy.exp(-x))
    return y, t * (y * (1 - y))


case("activation", "gelu", normal(LINE), lambda m, F, x: F.gelu(x), by_hand=_gelu_by_hand)
case("activation", "gelu, tanh", normal(LINE), lambda m, F, x: F.gelu(x, approximate="tanh"))
case("activation", "sigmoid", normal(LINE), lambda m, F, x: m.sigmoid(x), by_hand=_sigmoid_by_hand)
for _name in [
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "silu",
    "mish",
    "softplus",
    "logsigmoid",
    "softsign",
    "tanhshrink",
    "tanh",
    "relu6",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "hardshrink",
    "softshrink",
]:
    case("activation", _name, normal(LINE), lambda m, F, x, name=_name: getattr(F, name)(x))
for _name in ("softmax", "log_softmax"):
    case("activation", _name, normal((256, 1000)), lambda m, F, x, name=_name: getattr(F, name)(x, -1))
case("activation", "glu", normal(PLANE), lambda m, F, x: F.glu(x, -1))
case("activation", "dropout", normal(LINE), lambda m, F, x: F.dropout(x, 0.5))

# --- losses -------------------------------------------------------------------------------------------------------

for _name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"):
    case("loss", _name, normal(LINE, LINE), lambda m, F, x, y, name=_name: getattr(F, name)(x, y))
case("loss", "cross_entropy", with_integers(1000, (256,), (256, 1000)), lambda m, F, x, ids: F.cross_entropy(x, ids))
case("loss", "nll_loss", with_integers(1000, (256,), (256, 1000)), lambda m, F, x, ids: F.nll_loss(x, ids))
case("loss", "binary_cross_entropy", between(0.01, 0.99, LINE, LINE), lambda m, F, x, y: F.binary_cross_entropy(x, y))
case("loss", "bce_with_logits", normal(LINE, LINE), lambda m, F, x, y: F.binary_cross_entropy_with_logits(x, y))
case("loss", "kl_div", normal(LINE, LINE), lambda m, F, x, y: F.kl_div(x, m.exp(y), reduction="sum"))
case("loss", "triplet_margin_loss", normal(*[(1024, 256)] * 3), lambda m, F, a, p, n: F.triplet_margin_loss(a, p, n))
case("loss", "cosine_similarity", normal((1024, 256), (1024, 256)), lambda m, F, x, y: F.cosine_similarity(x, y))

# --- normalisation, embedding, attention, linear layers -----------------------------------------------------------


def _layer_norm_by_hand(x: Any, w: Any, b: Any, t: Any) -> Any:
    centered = x - x.mean(-1, keepdims=True)
    scale = 1 / numpy.sqrt((centered * centered).mean(-1, keepdims=True) + 1e-5)
    unit, tw = centered * scale, t * w
    back = scale * (tw - tw.mean(-1, keepdims=True) - unit * (tw * unit).mean(-1, keepdims=True))
    return unit * w + b, back, (t * unit).sum(0), t.sum(0)


_CHANNELS = (32,)
case("layer", "layer_norm", normal(PLANE, (512,), (512,)), lambda m, F, x, w, b: F.layer_norm(x, (512,), w, b),
     by_hand=_layer_norm_by_hand)  # fmt: skip
case("layer", "rms_norm", normal(PLANE, (512,)), lambda m, F, x, w: F.rms_norm(x, (512,), w))
case("layer", "batch_norm", normal(IMAGES, _CHANNELS, _CHANNELS),
     lambda m, F, x, w, b: F.batch_norm(x, None, None, w, b, True))  # fmt: skip
case("layer", "group_norm", normal(IMAGES, _CHANNELS, _CHANNELS), lambda m, F, x, w, b: F.group_norm(x, 8, w, b))
case("layer", "instance_norm", normal(IMAGES), lambda m, F, x: F.instance_norm(x))
case("layer", "local_response_norm", normal(IMAGES), lambda m, F, x: F.local_response_norm(x, 5))
case("layer", "embedding", with_integers(10_000, (64, 64), (10_000, 64)), lambda m, F, w, ids: F.embedding(ids, w))
case("layer", "linear", normal((256, 512), (512, 512), (512,)), lambda m, F, x, w, b: F.linear(x, w, b))
case("layer", "attention", normal(*[(4, 4, 128, 64)] * 3), lambda m, F, q, k, v: F.scaled_dot_product_attention(q, k, v))

# --- convolution and pooling --------------------------------------------------------------------------------------

case("convolution", "conv2d, 1 to 32, 5x5", normal((64, 1, 28, 28), (32, 1, 5, 5)), lambda m, F, x, w: F.conv2d(x, w))
case("convolution", "conv2d, 32 to 32, 3x3", normal(IMAGES, (32, 32, 3, 3)), lambda m, F, x, w: F.conv2d(x, w, padding=1))
case("convolution", "conv2d, 64 to 64, 3x3", normal((4, 64, 28, 28), (64, 64, 3, 3), (64,)),
     lambda m, F, x, w, b: F.conv2d(x, w, b, padding=1))  # fmt: skip
case("convolution", "conv2d, 256 to 256, 3x3", normal((8, 256, 8, 8), (256, 256, 3, 3)),
     lambda m, F, x, w: F.conv2d(x, w, padding=1))  # fmt: skip
case("convolution", "conv2d, stride 2", normal(IMAGES, (64, 32, 3, 3)), lambda m, F, x, w: F.conv2d(x, w, stride=2, padding=1))
case("convolution", "conv2d, 1x1", normal((8, 64, 28, 28), (128, 64, 1, 1)), lambda m, F, x, w: F.conv2d(x, w))
case("convolution", "conv2d, depthwise 3x3", normal(IMAGES, (32, 1, 3, 3)),
     lambda m, F, x, w: F.conv2d(x, w, padding=1, groups=32))  # fmt: skip
case("convolution", "conv2d, 4 groups", normal(IMAGES, (32, 8, 3, 3)),
     lambda m, F, x, w: F.conv2d(x, w, padding=1, groups=4))  # fmt: skip
case("convolution", "conv1d", normal((16, 32, 512), (64, 32, 5)), lambda m, F, x, w: F.conv1d(x, w, padding=2))
case("convolution", "conv1d, depthwise", normal((16, 64, 512), (64, 1, 5)),
     lambda m, F, x, w: F.conv1d(x, w, padding=2, groups=64))  # fmt: skip
case("convolution", "conv_transpose2d", normal((8, 64, 16, 16), (64, 32, 4, 4)),
     lambda m, F, x, w: F.conv_transpose2d(x, w, stride=2, padding=1))  # fmt: skip
case("convolution", "unfold", normal(IMAGES), lambda m, F, x: F.unfold(x, 3, padding=1))
case("pooling", "max_pool2d, 2x2", normal(IMAGES), lambda m, F, x: F.max_pool2d(x, 2))
case("pooling", "max_pool2d, 3x3 stride 2", normal(IMAGES), lambda m, F, x: F.max_pool2d(x, 3, 2, 1))
case("pooling", "max_pool1d", normal((16, 32, 512)), lambda m, F, x: F.max_pool1d(x, 2))
case("pooling", "avg_pool2d, 2x2", normal(IMAGES), lambda m, F, x: F.avg_pool2d(x, 2))
case("pooling", "avg_pool2d, 3x3 stride 2", normal(IMAGES), lambda m, F, x: F.avg_pool2d(x, 3, 2, 1))
case("pooling", "adaptive_avg_pool2d, 1", normal(IMAGES), lambda m, F, x: F.adaptive_avg_pool2d(x, 1))
case("pooling", "adaptive_max_pool2d, 4", normal(IMAGES), lambda m, F, x: F.adaptive_max_pool2d(x, 4))
case("pooling", "interpolate, nearest", normal(IMAGES), lambda m, F, x: F.interpolate(x, scale_factor=2))
case("pooling", "interpolate, bilinear", normal(IMAGES), lambda m, F, x: F.interpolate(x, scale_factor=2, mode="bilinear"))
case("pooling", "pixel_shuffle", normal(IMAGES), lambda m, F, x: F.pixel_shuffle(x, 2))

# --- arithmetic, reductions, scans, sorting -----------------------------------------------------------------------

for _name in ("exp", "sin", "tan", "arctan", "cosh", "sqrt", "square", "abs", "expm1"):
    case("elementwise", _name, between(0.1, 1.5, LINE), lambda m, F, x, name=_name: getattr(m, name)(x))
for _name in ("log", "log1p", "rsqrt", "reciprocal", "log2"):
    case("elementwise", _name, between(0.1, 5, LINE), lambda m, F, x, name=_name: getattr(m, name)(x))
for _name in ("add", "multiply", "divide", "maximum", "arctan2", "hypot", "logaddexp"):
    case("elementwise", _name, normal(LINE, LINE), lambda m, F, x, y, name=_name: getattr(m, name)(x, y))
case("elementwise", "power, array", between(0.5, 2, LINE, LINE), lambda m, F, x, y: x**y)
case("elementwise", "power, 3", normal(LINE), lambda m, F, x: x**3)
case("elementwise", "where", normal(LINE, LINE), lambda m, F, x, y: m.where(x > 0, x, y))
case("elementwise", "clip", normal(LINE), lambda m, F, x: m.clip(x, -1, 1))
case("reduction", "sum, axis 0", normal(PLANE), lambda m, F, x: m.sum(x, 0))
case("reduction", "mean, axis 1", normal(PLANE), lambda m, F, x: m.mean(x, 1))
case("reduction", "max, axis 1", normal(PLANE), lambda m, F, x: m.max(x, 1), lambda m, F, x: m.amax(x, 1))
case("reduction", "max, axis 0", normal(PLANE), lambda m, F, x: m.max(x, 0), lambda m, F, x: m.amax(x, 0))
case("reduction", "prod, axis 1", between(0.9, 1.1, PLANE), lambda m, F, x: m.prod(x, 1))
case("reduction", "var, axis 1", normal(PLANE), lambda m, F, x: m.var(x, 1), lambda m, F, x: m.var(x, 1, correction=0))
case("reduction", "std, axis 0", normal(PLANE), lambda m, F, x: m.std(x, 0), lambda m, F, x: m.std(x, 0, correction=0))
case("reduction", "logsumexp", normal(PLANE), lambda m, F, x: m.logsumexp(x, 1))
case("reduction", "norm", normal(PLANE), lambda m, F, x: m.linalg.norm(x), lambda m, F, x: m.linalg.norm(x))
case("scan", "cumsum, axis 1", normal(PLANE), lambda m, F, x: m.cumsum(x, 1),
     by_hand=lambda x, t: (numpy.cumsum(x, 1), numpy.cumsum(t[:, ::-1], 1)[:, ::-1]))  # fmt: skip
case("scan", "cumsum, axis 0", normal(PLANE), lambda m, F, x: m.cumsum(x, 0))
case("scan", "cumprod", between(0.9, 1.1, PLANE), lambda m, F, x: m.cumprod(x, 1))
case("scan", "cummax", normal(PLANE), lambda m, F, x: m.cummax(x, 1), lambda m, F, x: m.cummax(x, 1).values)
case("scan", "logcumsumexp", normal(PLANE), lambda m, F, x: m.logcumsumexp(x, 1))


def distinct(*shape: int) -> Inputs:
    """Numbers without ties, of which libraries sort either one first."""
    return lambda rng: (rng.permutation(shape[0] * shape[1]).reshape(shape) / 1000.0,)


case("sorting", "sort", distinct(512, 512), lambda m, F, x: m.sort(x), lambda m, F, x: m.sort(x).values)
case("sorting", "sort, one row", distinct(300_000, 1), lambda m, F, x: m.sort(x, 0), lambda m, F, x: m.sort(x, 0).values)
case("sorting", "topk", distinct(512, 512), lambda m, F, x: m.topk(x, 5).values)
case("sorting", "median", distinct(512, 511), lambda m, F, x: m.median(x, 1), lambda m, F, x: m.median(x, 1).values)
case("sorting", "quantile", distinct(512, 512), lambda m, F, x: m.quantile(x, 0.3, 1))

# --- indexing, shapes ---------------------------------------------------------------------------------------------

_ROWS = with_integers(5000, (2000,), (5000, 128))
case("indexing", "x[rows]", _ROWS, lambda m, F, x, rows: x[rows])
case("indexing", "x[:, 1:-1]", normal(PLANE), lambda m, F, x: x[:, 1:-1])
case("indexing", "x[mask]", normal(PLANE), lambda m, F, x: x[x > 0])
case("indexing", "index_select, axis 1", with_integers(512, (300,), PLANE), lambda m, F, x, i: m.index_select(x, 1, i))
case("indexing", "gather", with_integers(512, (512, 300), PLANE), lambda m, F, x, i: m.gather(x, 1, i))
case("indexing", "take_along_axis", with_integers(512, (512, 300), PLANE), lambda m, F, x, i: m.take_along_axis(x, i, 1),
     lambda m, F, x, i: m.take_along_dim(x, i, 1))  # fmt: skip
case("indexing", "scatter_add", with_integers(512, PLANE, PLANE, PLANE), lambda m, F, x, y, i: m.scatter_add(x, 1, i, y))
case("indexing", "index_add", with_integers(1000, (20_000,), (1000, 16), (20_000, 16)),
     lambda m, F, x, y, i: m.index_add(x, 0, i, y))  # fmt: skip
case("indexing", "x[i], one element each", with_integers(300_000, (300_000,), LINE), lambda m, F, x, i: x[i],
     by_hand=lambda x, i, t: (x[i], numpy.bincount(i, t, len(x))))  # fmt: skip
case("shape", "concatenate", normal(PLANE, PLANE), lambda m, F, x, y: m.concatenate([x, y], 1))
case("shape", "stack", normal(PLANE, PLANE), lambda m, F, x, y: m.stack([x, y], 1))
case("shape", "transpose, contiguous", normal(PLANE), lambda m, F, x: x.T * 1.0)
case("shape", "flip", normal(PLANE), lambda m, F, x: m.flip(x, (1,)))
case("shape", "roll", normal(PLANE), lambda m, F, x: m.roll(x, 3, 1))
case("shape", "tile", normal(PLANE), lambda m, F, x: m.tile(x, (2, 2)))
case("shape", "repeat", normal(PLANE), lambda m, F, x: m.repeat(x, 3, 1), lambda m, F, x: m.repeat_interleave(x, 3, 1))
case("shape", "pad", normal(PLANE), lambda m, F, x: m.pad(x, ((0, 0), (2, 2))), lambda m, F, x: F.pad(x, (2, 2)))
case("shape", "tril", normal(PLANE), lambda m, F, x: m.tril(x))

# --- products, linear algebra, Fourier transforms, special functions ----------------------------------------------

_BATCH = (8, 128, 64)
case("product", "matmul", normal((256, 256), (256, 256)), lambda m, F, x, y: m.matmul(x, y))
case("product", "matmul, batched", normal(_BATCH, (8, 64, 128)), lambda m, F, x, y: m.matmul(x, y))
case("product", "einsum bij,bjk", normal(_BATCH, (8, 64, 128)), lambda m, F, x, y: m.einsum("bij,bjk->bik", x, y))
case("product", "einsum bhqd,bhkd", normal(*[(4, 4, 128, 64)] * 2), lambda m, F, x, y: m.einsum("bhqd,bhkd->bhqk", x, y))
case("product", "einsum ij,ij->i", normal(PLANE, PLANE), lambda m, F, x, y: m.einsum("ij,ij->i", x, y))
case("product", "einsum bi,bj,ij->b", normal((256, 128), (256, 128), (128, 128)),
     lambda m, F, x, y, w: m.einsum("bi,bj,ij->b", x, y, w))  # fmt: skip
case("product", "outer", normal((500,), (500,)), lambda m, F, x, y: m.outer(x, y))
_SQUARE = (96, 96)


def _regular(rng: Generator) -> tuple[Any, ...]:
    return (rng.standard_normal(_SQUARE) + 20 * numpy.eye(96),)


case("linalg", "inv", _regular, lambda m, F, x: m.linalg.inv(x))
case("linalg", "solve", lambda rng: (*_regular(rng), rng.standard_normal((96, 8))), lambda m, F, x, y: m.linalg.solve(x, y))
case("linalg", "slogdet", _regular, lambda m, F, x: m.linalg.slogdet(x)[1])
case("linalg", "cholesky", _regular, lambda m, F, x: m.linalg.cholesky(x @ x.T))
case("linalg", "eigh", _regular, lambda m, F, x: m.linalg.eigh(x @ x.T)[0])
case("linalg", "qr", _regular, lambda m, F, x: m.linalg.qr(x)[1])
case("linalg", "svd", _regular, lambda m, F, x: m.linalg.svd(x)[1])
case("fourier", "fft", normal((256, 1024)), lambda m, F, x: m.abs(m.fft.fft(x)))
case("fourier", "rfft", normal((256, 1024)), lambda m, F, x: m.abs(m.fft.rfft(x)))
case("fourier", "fft2", normal((8, 128, 128)), lambda m, F, x: m.abs(m.fft.fft2(x)))
_TWO_OVER_SQRT_PI = 1.1283791670955126


def _erf_by_hand(x: Any, t: Any) -> Any:
    from scipy.special import erf

    return erf(x), t * (numpy.exp(-x * x) * _TWO_OVER_SQRT_PI)


def _lgamma_by_hand(x: Any, t: Any) -> Any:
    from scipy.special import digamma, gammaln

    return gammaln(x), t * digamma(x)


def _erfinv_by_hand(x: Any, t: Any) -> Any:
    from scipy.special import erfinv

    y = erfinv(x)
    return y, t * numpy.exp(y * y) / _TWO_OVER_SQRT_PI


case("special", "erf", normal(LINE), lambda m, F, x: m.special.erf(x), by_hand=_erf_by_hand)
case("special", "erfc", normal(LINE), lambda m, F, x: m.special.erfc(x))
case("special", "erfinv", between(-0.999, 0.999, LINE), lambda m, F, x: m.special.erfinv(x), by_hand=_erfinv_by_hand)
case("special", "lgamma", between(0.1, 20, LINE), lambda m, F, x: m.special.gammaln(x), by_hand=_lgamma_by_hand)
case("special", "digamma", between(0.1, 20, LINE), lambda m, F, x: m.special.digamma(x))
case("special", "trigamma", between(0.1, 20, LINE), lambda m, F, x: m.special.polygamma(1, x))
case("special", "i0", normal(LINE), lambda m, F, x: m.special.i0(x))
case("special", "xlogy", between(0.1, 2, LINE, LINE), lambda m, F, x, y: m.special.xlogy(x, y))
case("special", "logit", between(0.01, 0.99, LINE), lambda m, F, x: m.special.logit(x))
case("special", "ndtr", normal(LINE), lambda m, F, x: m.special.ndtr(x))
case("special", "sinc", normal(LINE), lambda m, F, x: m.sinc(x))
