"""Pooling, resizing and attention: against PyTorch over their options, and without it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import inner, value_and_gradients

import gpugrad as gg
from gpugrad import nn
from gpugrad.modes import recording
from gpugrad.nn import functional as F
from gpugrad.ops import taps
from gpugrad.testing import gradcheck, gradgradcheck


def normal(*shape: int, seed: int = 0, dtype: Any = float) -> Any:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def positive(*shape: int) -> Any:
    return np.random.default_rng(shape).uniform(0.5, 2, shape)


# name, shape of x, arguments after it
CASES: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    ("max_pool1d", (2, 3, 9), (2,), {}),
    ("max_pool1d", (2, 3, 9), (3,), {"stride": 2, "padding": 1}),
    ("max_pool1d", (3, 9), (3,), {"stride": 2, "dilation": 2, "ceil_mode": True}),
    ("max_pool1d", (0, 3, 9), (2,), {}),
    ("max_pool2d", (2, 3, 6, 7), (2,), {}),
    ("max_pool2d", (2, 3, 6, 7), ((3, 2),), {"stride": (2, 1), "padding": (1, 0)}),
    ("max_pool2d", (2, 3, 7, 6), (3,), {"stride": 2, "padding": 1, "ceil_mode": True}),
    ("max_pool2d", (3, 7, 6), (2,), {"stride": 1, "dilation": (2, 3)}),
    ("max_pool2d", (2, 3, 5, 5), (5,), {}),
    ("max_pool2d", (0, 3, 6, 7), (2,), {}),
    ("avg_pool1d", (2, 3, 9), (2,), {}),
    ("avg_pool1d", (3, 9), (4,), {"stride": 3, "padding": 2, "ceil_mode": True}),
    ("avg_pool1d", (2, 3, 9), (3,), {"stride": 2, "padding": 1, "count_include_pad": False}),
    ("avg_pool2d", (2, 3, 6, 7), (2,), {}),
    ("avg_pool2d", (2, 3, 6, 7), ((3, 2),), {"stride": (1, 3), "padding": 1}),
    ("avg_pool2d", (2, 3, 6, 7), (3,), {"stride": 2, "padding": 1, "ceil_mode": True}),
    ("avg_pool2d", (2, 3, 6, 7), (3,), {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    ("avg_pool2d", (3, 6, 7), (3,), {"stride": 2, "padding": 1, "divisor_override": 5}),
    ("avg_pool2d", (0, 3, 6, 7), (2,), {}),
    ("adaptive_avg_pool1d", (2, 3, 9), (4,), {}),
    ("adaptive_avg_pool1d", (3, 9), (3,), {}),
    ("adaptive_avg_pool2d", (2, 3, 6, 7), ((2, 3),), {}),
    ("adaptive_avg_pool2d", (2, 3, 6, 7), ((None, 1),), {}),
    ("adaptive_avg_pool2d", (3, 4, 5), (7,), {}),
    ("adaptive_max_pool1d", (2, 3, 9), (4,), {}),
    ("adaptive_max_pool2d", (2, 3, 6, 7), ((4, 3),), {}),
    ("adaptive_max_pool2d", (3, 4, 5), ((7, None),), {}),
    ("lp_pool1d", (2, 3, 9), (2, 3), {"stride": 2}),
    ("lp_pool2d", (2, 3, 6, 7), (3.0, (2, 3)), {"ceil_mode": True}),
    ("pixel_shuffle", (2, 8, 3, 4), (2,), {}),
    ("pixel_shuffle", (9, 2, 2), (3,), {}),
    ("pixel_unshuffle", (2, 3, 6, 9), (3,), {}),
    ("interpolate", (2, 3, 5), (9,), {}),
    ("interpolate", (2, 3, 5), (), {"scale_factor": 2.5}),
    ("interpolate", (2, 3, 9), (4,), {"mode": "nearest-exact"}),
    ("interpolate", (2, 3, 5), (9,), {"mode": "linear"}),
    ("interpolate", (2, 3, 5), (9,), {"mode": "linear", "align_corners": True}),
    ("interpolate", (2, 3, 5, 6), (), {"scale_factor": (1.7, 0.6), "mode": "bilinear"}),
    ("interpolate", (2, 3, 5, 6), (), {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}),
    ("interpolate", (2, 3, 5, 6), ((3, 11),), {"mode": "bilinear", "align_corners": True}),
    ("interpolate", (2, 3, 5, 6), ((1, 1),), {"mode": "bilinear", "align_corners": True}),
    ("interpolate", (2, 3, 5, 6), ((8, 4),), {"mode": "nearest"}),
    ("interpolate", (2, 3, 5, 6), ((8, 4),), {"mode": "bicubic"}),
    ("interpolate", (2, 3, 5, 6), ((8, 4),), {"mode": "bicubic", "align_corners": True}),
    ("interpolate", (2, 3, 5, 6), ((2, 4),), {"mode": "area"}),
    ("channel_shuffle", (2, 6, 3, 2), (3,), {}),
]


def show(*case: Any) -> str:
    return "-".join(str(part).replace(" ", "") for part in case)


def cases(chosen: Callable[[str], bool] = lambda name: True) -> Any:
    return pytest.mark.parametrize(
        ("name", "shape", "rest", "options"), [pytest.param(*c, id=show(*c)) for c in CASES if chosen(c[0])]
    )


def data(name: str, shape: Any, dtype: Any = float) -> Any:
    return (positive(*shape) if name.startswith("lp") else normal(*shape)).astype(dtype)


# --- against PyTorch ----------------------------------------------------------------------------------------------


@cases()
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients(name: str, shape: Any, rest: Any, options: dict[str, Any], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    x = data(name, shape, dtype)
    tensor = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(tensor, *rest, **options)
    cotangent = normal(*expected.shape, dtype=dtype)
    expected.backward(torch.tensor(cotangent))
    value, (gradient,) = value_and_gradients(lambda x: getattr(F, name)(x, *rest, **options), [x], cotangent)
    assert (value.shape, value.dtype) == (tuple(expected.shape), x.dtype)
    tolerance = {"float64": 1e-11, "float32": 5e-6}[dtype]
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=tolerance, atol=tolerance)


@cases(lambda name: "max" in name)
def test_indices(name: str, shape: Any, rest: Any, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    for x in (normal(*shape), np.zeros(shape), np.full(shape, -np.inf), np.floor(normal(*shape))):  # with many ties too
        values, indices = getattr(F, name)(x, *rest, **options, return_indices=True)
        expected = getattr(torch.nn.functional, name)(torch.tensor(x), *rest, **options, return_indices=True)
        np.testing.assert_array_equal(values.numpy(), expected[0].numpy())
        np.testing.assert_array_equal(indices.numpy(), expected[1].numpy())
        assert indices.dtype == np.int64


def test_a_nan_wins() -> None:
    torch = pytest.importorskip("torch")
    x = normal(1, 1, 6, 6)
    x[0, 0, 1, 1] = x[0, 0, 2, 3] = x[0, 0, 2, 4] = np.nan
    values, indices = F.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
    expected = torch.nn.functional.max_pool2d(torch.tensor(x), 3, stride=2, padding=1, return_indices=True)
    np.testing.assert_array_equal(values.numpy(), expected[0].numpy())
    np.testing.assert_array_equal(indices.numpy(), expected[1].numpy())


def test_sizes_of_interpolation_agree_exactly() -> None:
    """A nearest neighbour that is one off, because of one rounding, would be a whole pixel off."""
    torch = pytest.importorskip("torch")
    for size, mode, dtype in itertools.product(range(1, 40, 3), ("nearest", "nearest-exact"), ("float32", "float64")):
        x = np.arange(size, dtype=dtype).reshape(1, 1, size)
        for wanted in range(1, 80, 7):
            expected = torch.nn.functional.interpolate(torch.tensor(x), wanted, mode=mode).numpy()
            np.testing.assert_array_equal(F.interpolate(x, wanted, mode=mode).numpy(), expected)
        for factor in (0.3, 0.7, 1.3, 2.0, 3.1):
            if int(size * factor):
                expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=factor, mode=mode).numpy()
                np.testing.assert_array_equal(F.interpolate(x, scale_factor=factor, mode=mode).numpy(), expected)


def test_pooled_sizes_agree() -> None:
    torch = pytest.importorskip("torch")
    for size, kernel, stride, padding, ceil_mode in itertools.product(range(1, 9), (1, 2, 3), (1, 2, 3), (0, 1), (False, True)):
        options: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        for name, x in itertools.product(("max_pool1d", "avg_pool1d"), [normal(1, 1, size)]):
            try:
                expected = getattr(torch.nn.functional, name)(torch.tensor(x), kernel, **options).numpy()
            except RuntimeError:
                with pytest.raises(gg.ShapeError, match=name):
                    getattr(F, name)(x, kernel, **options)
                continue
            got = getattr(F, name)(x, kernel, **options).numpy()
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=f"{name} {size} {kernel} {options}")


# --- without it ---------------------------------------------------------------------------------------------------


@cases(lambda name: True)
def test_every_order_and_mode(name: str, shape: Any, rest: Any, options: dict[str, Any]) -> None:
    function = lambda x: getattr(F, name)(x, *rest, **options)  # noqa: E731
    assert gradcheck(function, data(name, shape), atol=1e-8, rtol=1e-7)
    assert gradgradcheck(function, data(name, shape), atol=1e-8, rtol=1e-7)


def test_by_hand() -> None:
    x = np.array([[[1.0, 2.0, 5.0], [4.0, 3.0, 5.0]]])
    value, (gradient,) = value_and_gradients(lambda x: F.max_pool2d(x, 2, stride=1), [x], np.array([[[1.0, 10.0]]]))
    assert value.tolist() == [[[4, 5]]]
    assert gradient.tolist() == [[[0, 0, 10], [1, 0, 0]]], "the first of the two fives has it all"
    value, (gradient,) = value_and_gradients(lambda x: F.avg_pool2d(x, 2, stride=1), [x], np.array([[[4.0, 8.0]]]))
    assert value.tolist() == [[[2.5, 3.75]]]
    assert gradient.tolist() == [[[1, 3, 2], [1, 3, 2]]]
    value, (gradient,) = value_and_gradients(lambda x: F.interpolate(x, 4), [x], np.ones((1, 2, 4)))
    assert value[0, 0].tolist() == [1, 1, 2, 5]
    assert gradient[0, 0].tolist() == [2, 1, 1]


def test_windows_that_overlap_add_up() -> None:
    x = np.array([[0.0, 9.0, 0.0, 0.0]])
    _, (gradient,) = value_and_gradients(lambda x: F.max_pool1d(x, 2, stride=1), [x], np.array([[1.0, 2.0, 4.0]]))
    assert gradient.tolist() == [[0, 3, 4, 0]]


def test_the_transpose_of_taps_is_the_adjoint() -> None:
    makers = [
        taps.averages(9, 3, 2, 1, True, False),
        taps.averages(9, 2, 3, 0, False, True),
        taps.adaptive_averages(5, 8),
        taps.linear_taps(4, 9, 4 / 9, False, "float64"),
        taps.cubic_taps(4, 9, 3 / 8, True, "float64"),
        taps.nearest_taps(3, 7, 3 / 7, 0.0, "float64"),
        taps.nearest_taps(7, 3, 7 / 3, 0.0, "float64"),
    ]
    for made in makers:
        np.testing.assert_allclose(made.transposed.matrix, made.matrix.T)
        x, y = normal(2, made.size, 3), normal(2, made.length, 3)
        there, back = (taps.resample(a, 1, t).numpy() for a, t in ((x, made), (y, made.transposed)))
        assert inner(there, y) == pytest.approx(inner(x, back), rel=1e-12)


def test_an_infinity_stays_where_it_is() -> None:
    x = np.zeros((1, 1, 8))
    x[0, 0, 0] = np.inf
    assert np.isfinite(F.adaptive_avg_pool1d(x, 4).numpy()[0, 0, 1:]).all()
    assert np.isfinite(F.interpolate(x, 16, mode="linear").numpy()[0, 0, 4:]).all()
    assert F.avg_pool1d(x, 3, stride=2, padding=1).numpy()[0, 0].tolist() == [np.inf, 0, 0, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes_are_kept(dtype: str) -> None:
    x = gg.asarray(np.ones((2, 4, 64, 64), dtype)).requires_grad_()
    results = [
        F.avg_pool2d(x, 64),
        F.max_pool2d(x, 3, 2, 1),
        F.adaptive_avg_pool2d(x, 1),
        F.interpolate(x, (70, 30), mode="bilinear"),
    ]
    for result in results:
        assert result.dtype == dtype
        np.testing.assert_allclose(result.detach().numpy(), 1, rtol=1e-3)
        x.grad = None
        result.sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == dtype


def test_integers() -> None:
    x = np.arange(16).reshape(1, 4, 4)
    assert F.max_pool2d(x, 2).numpy().tolist() == [[[5, 7], [13, 15]]]
    assert F.interpolate(x[None], 2).dtype == x.dtype
    assert F.avg_pool2d(x, 2).numpy().tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("kernel", lambda: F.max_pool2d(gg.zeros((1, 3, 3)), 4), "kernel of 4 is larger than the padded input of 3"),
    ("axes", lambda: F.max_pool2d(gg.zeros((3, 3)), 2), r"x must be \(N, C, H, W\) or \(C, H, W\)"),
    ("padding", lambda: F.avg_pool1d(gg.zeros((1, 9)), 2, padding=2), "padding must be at most half the kernel"),
    ("stride", lambda: F.avg_pool1d(gg.zeros((1, 9)), 2, stride=0), "stride must be at least 1"),
    ("divisor", lambda: F.avg_pool2d(gg.zeros((1, 9, 9)), 2, divisor_override=0), "must not be 0"),
    ("empty", lambda: F.max_pool1d(gg.zeros((1, 1)), 2, padding=1, dilation=2), "in the padding alone"),
    ("adaptive", lambda: F.adaptive_avg_pool2d(gg.zeros((1, 9, 9)), (1, 2, 3)), "output_size must be an int or 2"),
    ("nothing", lambda: F.adaptive_max_pool1d(gg.zeros((1, 0)), 1), "nothing to pool"),
    ("both", lambda: F.interpolate(gg.zeros((1, 1, 9)), 3, 2.0), "either size or scale_factor"),
    ("mode", lambda: F.interpolate(gg.zeros((1, 1, 9)), 3, mode="sinc"), "mode must be one of"),
    ("mode axes", lambda: F.interpolate(gg.zeros((1, 1, 9)), 3, mode="bilinear"), "'bilinear' is for x of 4 axes, got 3"),
    ("corners", lambda: F.interpolate(gg.zeros((1, 1, 9)), 3, align_corners=True), "align_corners is for"),
    ("small", lambda: F.interpolate(gg.zeros((1, 1, 3)), scale_factor=0.1), "sizes must be at least 1"),
    ("factor", lambda: F.interpolate(gg.zeros((1, 1, 3)), scale_factor=-1), "scale_factor must be positive"),
    ("shuffle", lambda: F.pixel_shuffle(gg.zeros((1, 6, 3, 3)), 2), "6 channels cannot be cut into squares of 2 x 2"),
    ("unshuffle", lambda: F.pixel_unshuffle(gg.zeros((1, 6, 3, 4)), 2), "3 x 4 cannot be cut"),
    ("groups", lambda: F.channel_shuffle(gg.zeros((1, 6, 3)), 4), "6 channels cannot be cut into 4 groups"),
]


@pytest.mark.parametrize(("call", "message"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(gg.ShapeError, match=f"(?s){message}.*float32.*\n  at .*test_pooling.py"):
        call()


# --- modules ------------------------------------------------------------------------------------------------------

MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = [
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (2, 4, 9)),
    ("MaxPool2d", (2,), {"ceil_mode": True}, (2, 4, 7, 6)),
    ("AvgPool1d", (3, 2), {"count_include_pad": False}, (2, 4, 9)),
    ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 4, 7, 6)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 4, 7)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 4, 7, 6)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 4, 7)),
    ("AdaptiveMaxPool2d", ((3, 2),), {}, (2, 4, 7, 6)),
    ("LPPool1d", (2, 3), {}, (2, 4, 9)),
    ("LPPool2d", (2, 3), {"stride": 2}, (2, 4, 7, 6)),
    ("PixelShuffle", (2,), {}, (2, 4, 7, 6)),
    ("PixelUnshuffle", (2,), {}, (2, 4, 8, 6)),
    ("ChannelShuffle", (2,), {}, (2, 4, 8, 6)),
    ("Upsample", (), {"scale_factor": 2.0, "mode": "bilinear"}, (2, 4, 7, 6)),
    ("Upsample", ((3, 4),), {}, (2, 4, 7, 6)),
]


@pytest.mark.parametrize(("name", "args", "options", "x"), [pytest.param(*case, id=show(*case[:3])) for case in MODULES])
def test_modules(name: str, args: Any, options: dict[str, Any], x: Any) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    array = normal(*x, dtype="float32")
    np.testing.assert_allclose(ours(array).numpy(), theirs(torch.tensor(array)).numpy(), rtol=1e-5, atol=1e-6)
    assert repr(ours).startswith(name)


def test_max_pooling_layers_return_indices() -> None:
    x = gg.tensor([[1.0, 3.0, 2.0, 0.0]])
    assert nn.MaxPool1d(2, return_indices=True)(x).indices.numpy().tolist() == [[1, 2]]
    assert nn.AdaptiveMaxPool1d(1, return_indices=True)(x).indices.numpy().tolist() == [[1]]


def test_a_recorded_step_replays_on_other_images() -> None:
    """What depends on the data, as the places of maxima do, is an operand and no constant."""
    gg.manual_seed(0)
    x, mask, layer = normal(3, 2, 6, 6), np.ones((9, 9), bool), nn.Conv2d(2, 3, 3, padding=1, dtype="float64")

    def step() -> Any:
        pooled = F.max_pool2d(layer(x), 2).reshape(3, 3, 9).swapaxes(1, 2)
        loss = (F.scaled_dot_product_attention(pooled, pooled, pooled, mask) ** 2).sum()
        layer.zero_grad()
        loss.backward()
        return layer.weight.grad

    with recording() as records:
        recorded = step()
    x[...], mask[...] = normal(*x.shape, seed=1), np.tri(9, dtype=bool)
    made: dict[int, Any] = {}
    for record in records:
        outs = record.op.numpy(*[made.get(id(value), value) for value in record.inputs], **record.params)
        many = isinstance(record.out, tuple)
        for old, new in zip(record.out if many else [record.out], outs if many else [np.asarray(outs)], strict=True):
            made[id(old)] = new
    assert not np.allclose(made[id(recorded.data)], recorded.numpy())
    np.testing.assert_allclose(made[id(recorded.data)], step().numpy(), rtol=1e-12)


# --- attention ----------------------------------------------------------------------------------------------------

BOOLS = np.random.default_rng(0).random((4, 5)) > 0.4
ATTENTION: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("scale", {"scale": 0.3}),
    ("causal", {"is_causal": True}),
    ("bool", {"attn_mask": BOOLS}),
    ("bool for each head", {"attn_mask": np.random.default_rng(1).random((2, 3, 4, 5)) > 0.5}),
    ("float", {"attn_mask": normal(4, 5)}),
    ("float with -inf", {"attn_mask": np.where(BOOLS, normal(4, 5), -np.inf)}),
    ("a query that sees nothing", {"attn_mask": BOOLS & (np.arange(4) != 2)[:, None]}),
]


@pytest.mark.parametrize("options", [pytest.param(options, id=name) for name, options in ATTENTION])
def test_attention(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    arrays = [normal(2, 3, 4, 6), normal(2, 3, 5, 6), normal(2, 3, 5, 7)]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, **theirs)
    cotangent = normal(*expected.shape)
    expected.backward(torch.tensor(cotangent))
    function = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)  # noqa: E731
    value, gradients = value_and_gradients(function, arrays, cotangent)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("options", [pytest.param(options, id=name) for name, options in ATTENTION])
def test_attention_to_every_order(options: dict[str, Any]) -> None:
    arrays = [normal(2, 3, 4, 2), normal(2, 3, 5, 2), normal(2, 3, 5, 2)]
    function = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)  # noqa: E731
    assert gradcheck(function, arrays, atol=1e-8, rtol=1e-7)
    assert gradgradcheck(function, arrays, atol=1e-8, rtol=1e-7)


def test_the_mask_has_a_gradient() -> None:
    q, mask = normal(4, 2), normal(4, 4)
    assert gradcheck(lambda mask: F.scaled_dot_product_attention(q, q, q, mask), mask, rtol=1e-6)


def test_dropout_of_attention() -> None:
    q, value = np.zeros((200, 2), "float32"), np.ones((100, 1), "float32")
    gg.manual_seed(0)
    out = F.scaled_dot_product_attention(q, np.zeros((100, 2), "float32"), value, dropout_p=0.25).numpy()
    assert out.mean() == pytest.approx(1, abs=0.01), "the weights that are kept are larger for it"
    assert out.std() == pytest.approx((0.25 / 0.75 / 100) ** 0.5, rel=0.2)
    assert (F.scaled_dot_product_attention(q, q, q, dropout_p=1.0).numpy() == 0).all()


ATTENTION_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"key": gg.zeros((5, 3))}, "as many features"),
    ({"value": gg.zeros((4, 2))}, "key and value be as many"),
    ({"query": gg.zeros(2)}, r"query must be \(..., L, E\)"),
    ({"is_causal": True, "attn_mask": gg.zeros((3, 5))}, "either attn_mask or is_causal"),
    ({"dropout_p": 2.0}, r"dropout_p must be in 0\.\.1"),
    ({"attn_mask": np.ones((3, 5), int)}, "boolean or floating, got int64"),
    ({"attn_mask": gg.zeros((4, 5))}, r"query = float32\[3, 2\]"),
]


@pytest.mark.parametrize(("options", "message"), ATTENTION_REFUSED)
def test_what_attention_refuses(options: dict[str, Any], message: str) -> None:
    arguments = {"query": gg.zeros((3, 2)), "key": gg.zeros((5, 2)), "value": gg.zeros((5, 2))} | options
    with pytest.raises(gg.ShapeError, match=f"(?s)scaled_dot_product_attention: .*{message}"):
        F.scaled_dot_product_attention(**arguments)
