"""Convolutions, their transposes, unfold and fold: against PyTorch over their options, and without it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import inner, value_and_gradients

import gpugrad as gg
from gpugrad import nn
from gpugrad.nn import functional as F
from gpugrad.ops import convolution
from gpugrad.testing import gradcheck, gradgradcheck


def normal(*shape: int, seed: int = 0, dtype: Any = float) -> Any:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


# x, weight, options
CONV: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("conv1d", (2, 3, 7), (4, 3, 3), {}),
    ("conv1d", (2, 3, 8), (4, 3, 3), {"stride": 3}),
    ("conv1d", (2, 4, 9), (6, 2, 2), {"stride": (2,), "padding": (1,), "dilation": 3, "groups": 2}),
    ("conv1d", (3, 8), (4, 3, 4), {"padding": "same"}),
    ("conv1d", (0, 3, 7), (4, 3, 3), {}),
    ("conv2d", (2, 3, 5, 7), (4, 3, 3, 3), {}),
    ("conv2d", (2, 3, 6, 7), (4, 3, 3, 2), {"stride": 2, "padding": 1}),
    ("conv2d", (2, 3, 7, 8), (4, 3, 3, 3), {"stride": (3, 2), "padding": (0, 2), "dilation": (1, 2)}),
    ("conv2d", (2, 4, 6, 5), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    ("conv2d", (2, 4, 6, 5), (4, 1, 2, 2), {"groups": 4}),
    ("conv2d", (2, 4, 6, 5), (8, 1, 3, 3), {"groups": 4, "stride": 2, "padding": 1}),
    ("conv2d", (2, 3, 5, 5), (4, 3, 4, 3), {"padding": "same", "dilation": (1, 2)}),
    ("conv2d", (2, 3, 5, 5), (4, 3, 2, 3), {"padding": "valid"}),
    ("conv2d", (2, 3, 5, 5), (4, 3, 1, 1), {}),
    ("conv2d", (2, 3, 5, 5), (4, 3, 1, 1), {"stride": 2}),
    ("conv2d", (2, 3, 5, 5), (4, 3, 5, 5), {}),
    ("conv2d", (3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ("conv2d", (2, 1, 3, 3), (130, 1, 2, 2), {}),
    ("conv2d", (0, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ("conv_transpose1d", (2, 4, 5), (4, 3, 3), {}),
    ("conv_transpose1d", (2, 4, 5), (4, 3, 3), {"stride": 3, "padding": 1, "output_padding": 2}),
    ("conv_transpose1d", (4, 5), (4, 3, 2), {"stride": 2, "groups": 2, "dilation": 3}),
    ("conv_transpose2d", (2, 4, 3, 5), (4, 3, 3, 3), {}),
    ("conv_transpose2d", (2, 4, 3, 4), (4, 3, 3, 2), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv_transpose2d", (2, 4, 3, 4), (4, 3, 2, 3), {"stride": (3, 1), "padding": (0, 1), "dilation": (1, 2)}),
    ("conv_transpose2d", (2, 4, 3, 4), (4, 1, 3, 3), {"groups": 4, "stride": 2}),
    ("conv_transpose2d", (2, 4, 3, 4), (4, 3, 3, 3), {"groups": 2, "dilation": 3, "output_padding": (2, 1)}),
    ("conv_transpose2d", (4, 3, 4), (4, 3, 3, 3), {"stride": 2}),
    ("conv_transpose2d", (0, 4, 3, 4), (4, 3, 3, 3), {}),
]
COLUMNS: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    ("unfold", (2, 3, 5, 6), (2,), {}),
    ("unfold", (3, 5, 6), ((2, 3),), {"dilation": (2, 1), "padding": (1, 0), "stride": (2, 3)}),
    ("unfold", (0, 3, 5, 6), (2,), {}),
    ("fold", (2, 12, 20), ((5, 6), 2), {}),
    ("fold", (12, 6), ((6, 7), (2, 3)), {"dilation": (2, 1), "padding": (1, 0), "stride": (2, 3)}),
    ("fold", (0, 12, 20), ((5, 6), 2), {}),
]


def features(name: str, weight: Any, options: dict[str, Any]) -> int:
    return weight[1] * options.get("groups", 1) if "transpose" in name else weight[0]


def show(*case: Any) -> str:
    return "-".join(str(part).replace(" ", "") for part in case)


def conv_cases() -> Any:
    return pytest.mark.parametrize(("name", "x", "weight", "options"), [pytest.param(*c, id=show(*c)) for c in CONV])


# --- against PyTorch ----------------------------------------------------------------------------------------------


def against_torch(name: str, arrays: list[Any], rest: Any, options: dict[str, Any], rtol: float = 1e-11) -> None:
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = getattr(torch.nn.functional, name)(*tensors, *rest, **options)
    cotangent = normal(*expected.shape, dtype=arrays[0].dtype)
    got = value_and_gradients(lambda *inputs: getattr(F, name)(*inputs, *rest, **options), arrays, cotangent)
    expected.backward(torch.tensor(cotangent))
    assert got[0].dtype == arrays[0].dtype
    assert got[0].shape == tuple(expected.shape)
    for value, tensor in zip([got[0], *got[1]], [expected.detach(), *[t.grad for t in tensors]], strict=True):
        np.testing.assert_allclose(value, tensor.numpy(), rtol=rtol, atol=rtol * (1 + np.abs(value).max(initial=0)))


@conv_cases()
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_values_and_gradients(name: str, x: Any, weight: Any, options: dict[str, Any], with_bias: bool) -> None:
    arrays = [normal(*x), normal(*weight)] + [normal(features(name, weight, options))] * with_bias
    against_torch(name, arrays, (), options)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_values_and_gradients_in_less_precision(name: str, dtype: str) -> None:
    x, weight = (8, 16, 9, 9), (16, 16, 3, 3)
    arrays = [normal(*x, dtype=dtype), normal(*weight, dtype=dtype), normal(16, dtype=dtype)]
    against_torch(name, arrays, (), {"stride": 2, "padding": 1}, rtol=3e-6 if dtype == "float32" else 2e-3)


@pytest.mark.parametrize(("name", "x", "rest", "options"), [pytest.param(*c, id=show(*c)) for c in COLUMNS])
def test_unfold_and_fold(name: str, x: Any, rest: Any, options: dict[str, Any]) -> None:
    against_torch(name, [normal(*x)], rest, options)


def test_many_option_combinations_of_small_images() -> None:
    sizes, kernels = ((4, 5), (7, 6)), ((1, 2), (3, 3))
    for size, kernel, stride, padding, dilation in itertools.product(sizes, kernels, (1, 2, 3), (0, 1), (1, 2)):
        if all(n + 2 * padding > dilation * (k - 1) for n, k in zip(size, kernel, strict=True)):
            options = {"stride": stride, "padding": padding, "dilation": dilation}
            against_torch("conv2d", [normal(2, 2, *size), normal(3, 2, *kernel)], (), options)


# --- without it ---------------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 0.0], [0.0, -1.0]]]])
    value, (x_grad, weight_grad, bias_grad) = value_and_gradients(F.conv2d, [x, weight, np.array([0.5])], np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(value, np.full((1, 1, 2, 2), -3.5))  # x[i, j] - x[i + 1, j + 1] is -4 everywhere
    np.testing.assert_array_equal(x_grad[0, 0], [[1, 1, 0], [1, 0, -1], [0, -1, -1]])
    np.testing.assert_array_equal(weight_grad[0, 0], [[8, 12], [20, 24]])  # sums of the four 2 x 2 corners
    np.testing.assert_array_equal(bias_grad, [4])


@conv_cases()
def test_every_order_and_mode(name: str, x: Any, weight: Any, options: dict[str, Any]) -> None:
    arrays = [normal(*x), normal(*weight), normal(features(name, weight, options))]
    function = lambda *inputs: getattr(F, name)(*inputs, **options)  # noqa: E731
    assert gradcheck(function, arrays, atol=1e-7, rtol=1e-7)
    assert gradgradcheck(function, arrays, atol=1e-7, rtol=1e-7)


def test_third_order() -> None:
    x, weight = normal(1, 2, 4, 4), normal(2, 2, 2, 2)
    second = gg.grad(lambda x, w: gg.sum(gg.grad(lambda x: gg.sum(F.conv2d(x, w) ** 3))(x) ** 2), (0, 1))
    assert gradcheck(second, (x, weight), atol=1e-4, rtol=1e-6)


ADJOINT: list[tuple[Any, Any, dict[str, Any]]] = [
    ((2, 3, 7, 8), (4, 3, 3, 2), {"stride": 2, "padding": 1}),
    ((2, 4, 7, 8), (4, 2, 3, 2), {"stride": (3, 2), "groups": 2, "dilation": (2, 1)}),
    ((1, 3, 5, 5), (4, 3, 5, 5), {"padding": 2}),
]


@pytest.mark.parametrize(("x", "weight", "options"), ADJOINT)
def test_the_transpose_is_the_adjoint(x: Any, weight: Any, options: dict[str, Any]) -> None:
    x, weight = normal(*x), normal(*weight)
    out = F.conv2d(x, weight, **options).numpy()
    y = normal(*out.shape)
    back = F.conv_transpose2d(y, weight, **options)
    extra = tuple(a - b for a, b in zip(x.shape[2:], back.shape[2:], strict=True))
    back = F.conv_transpose2d(y, weight, **options, output_padding=extra).numpy()
    assert inner(out, y) == pytest.approx(inner(x, back), rel=1e-12)
    columns = F.unfold(x, 3, stride=2).numpy()
    t = normal(*columns.shape)
    assert inner(columns, t) == pytest.approx(inner(x, F.fold(t, x.shape[2:], 3, stride=2).numpy()), rel=1e-12)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [normal(7, 3, 6, 6), normal(4, 3, 3, 3), normal(4)]
    function = lambda *inputs: F.conv2d(*inputs, stride=2, padding=1)  # noqa: E731
    value, gradients = value_and_gradients(function, arrays)
    for images in (1, 2, 3):
        monkeypatch.setattr(convolution, "_CACHED", images * 27 * 9 * 8)
        other, other_gradients = value_and_gradients(function, arrays)
        for a, b in zip([value, *gradients], [other, *other_gradients], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_layouts_and_dtypes() -> None:
    x, weight = normal(2, 3, 6, 6), normal(4, 3, 3, 3)
    expected = F.conv2d(x, weight, padding=1).numpy()
    for view in (np.asfortranarray, lambda a: a[..., ::-1].copy()[..., ::-1], lambda a: a.repeat(2, 1)[:, ::2]):
        np.testing.assert_allclose(F.conv2d(view(x), view(weight), padding=1).numpy(), expected, rtol=1e-13)
    half = F.conv2d(x.astype("float16"), weight.astype("float16"), padding=1)
    assert half.dtype == "float16"
    np.testing.assert_allclose(half.numpy(), expected, atol=0.02)
    mixed = F.conv2d(x.astype("float32"), weight, padding=1)
    assert mixed.dtype == "float64"
    ids = np.arange(18).reshape(1, 2, 3, 3)
    assert F.conv2d(ids, np.ones((1, 2, 3, 3), int)).numpy().tolist() == [[[[ids.sum()]]]]


def test_sums_of_float16_do_not_overflow_or_stall() -> None:
    x = np.ones((1, 64, 8, 8), "float16")
    weight = np.ones((1, 64, 8, 8), "float16")
    assert F.conv2d(x, weight).item() == 4096
    big = F.conv2d(x, np.full((1, 64, 8, 8), 8, "float16"), gg.tensor([-30000.0], dtype="float16"))
    assert big.item() == 32768 - 30000, "the bias is added before rounding"


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("channels", lambda: F.conv2d(gg.zeros((1, 3, 5, 5)), gg.zeros((4, 2, 3, 3))), "x has 3 channels.*is for 2"),
    ("groups", lambda: F.conv2d(gg.zeros((1, 4, 5, 5)), gg.zeros((3, 2, 3, 3)), groups=2), "groups=2 does not divide the 3"),
    ("no groups", lambda: F.conv1d(gg.zeros((1, 4, 5)), gg.zeros((3, 2, 3)), groups=0), "groups must be an int"),
    ("kernel", lambda: F.conv2d(gg.zeros((1, 1, 3, 3)), gg.zeros((1, 1, 4, 2))), "kernel of 4 x 2 is larger than .*3 x 3"),
    ("dilated", lambda: F.conv1d(gg.zeros((1, 1, 4)), gg.zeros((1, 1, 3)), dilation=2), "kernel of 3, dilated 5, is larger"),
    ("axes", lambda: F.conv2d(gg.zeros((5, 5)), gg.zeros((1, 1, 3, 3))), r"x must be \(N, C, H, W\) or \(C, H, W\)"),
    ("weight", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((1, 3, 3))), "weight must have 4 axes"),
    ("bias", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((2, 1, 3, 3)), gg.zeros(3)), r"bias must have shape \(2,\)"),
    ("stride", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((1, 1, 3, 3)), stride=0), "stride must be at least 1"),
    ("pair", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((1, 1, 3, 3)), padding=(1, 2, 3)), "padding must be an int or 2"),
    ("half", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((1, 1, 3, 3)), padding=0.5), "padding must be an int or 2"),
    ("word", lambda: F.conv2d(gg.zeros((1, 5, 5)), gg.zeros((1, 1, 3, 3)), padding="full"), "'same' or 'valid'"),
    ("same", lambda: F.conv1d(gg.zeros((1, 5)), gg.zeros((1, 1, 3)), stride=2, padding="same"), "needs stride 1"),
    ("extra", lambda: F.conv_transpose1d(gg.zeros((1, 5)), gg.zeros((1, 1, 3)), output_padding=1), "output_padding must be"),
    ("nothing", lambda: F.conv_transpose1d(gg.zeros((1, 1)), gg.zeros((1, 1, 3)), padding=2), "would have size"),
    ("transposed", lambda: F.conv_transpose2d(gg.zeros((2, 5, 5)), gg.zeros((3, 1, 3, 3))), "x has 2 channels.*is for 3"),
    ("unfold", lambda: F.unfold(gg.zeros((1, 3, 3)), 4), "kernel of 4 x 4 is larger"),
    ("fold", lambda: F.fold(gg.zeros((1, 8, 5)), (3, 3), 2), r"x must be \(N, C x 4, 4\)"),
]


@pytest.mark.parametrize(("call", "message"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(gg.ShapeError, match=f"(?s){message}.*float32.*\n  at .*test_convolution.py"):
        call()


def test_autocast_runs_convolutions_in_half_precision() -> None:
    x, weight = gg.ones((1, 2, 4, 4)), gg.ones((3, 2, 3, 3), requires_grad=True)
    with gg.autocast():
        out = F.conv2d(x, weight)
    assert out.dtype == "float16"
    out.astype("float32").sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == "float32"


# --- modules ------------------------------------------------------------------------------------------------------

MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = [
    ("Conv1d", (3, 4, 3), {}, (2, 3, 7)),
    ("Conv1d", (4, 6, 2), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}, (2, 4, 9)),
    ("Conv2d", (3, 4, (3, 2)), {"padding": "same"}, (2, 3, 6, 7)),
    ("Conv2d", (3, 4, 3), {"padding": (1, 2), "padding_mode": "reflect"}, (2, 3, 6, 7)),
    ("Conv2d", (3, 4, 3), {"padding": 2, "padding_mode": "replicate", "stride": 2}, (2, 3, 6, 7)),
    ("Conv2d", (3, 4, 3), {"padding": 1, "padding_mode": "circular"}, (2, 3, 6, 7)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1, "groups": 2}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 3, (3, 2)), {"stride": 2, "padding": (1, 0), "dilation": 2}, (2, 4, 5, 3)),
    ("Unfold", (2,), {"stride": 2}, (2, 3, 6, 7)),
    ("Fold", ((5, 6), 2), {}, (2, 12, 20)),
]


@pytest.mark.parametrize(("name", "args", "options", "x"), [pytest.param(*case, id=show(*case[:3])) for case in MODULES])
def test_modules(name: str, args: Any, options: dict[str, Any], x: Any) -> None:
    torch = pytest.importorskip("torch")
    gg.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    state = theirs.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in state.items()}
    for parameter in ours.parameters():  # the same bounds as theirs, and spread over them
        fan_in = np.prod(ours.weight.shape[1:])
        assert float(gg.abs(parameter).max().item()) <= fan_in**-0.5
        assert float(gg.abs(parameter).max().item()) > 0.5 * fan_in**-0.5
    ours.load_state_dict({k: v.numpy() for k, v in state.items()})
    data = normal(*x, dtype="float32")
    np.testing.assert_allclose(ours(data).detach().numpy(), theirs(torch.tensor(data)).detach().numpy(), rtol=1e-4, atol=1e-5)
    if list(ours.parameters()):
        assert repr(ours) == repr(theirs)


def test_a_transposed_layer_to_a_given_size() -> None:
    down, up = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    for size in ((7, 8), (8, 7)):
        x = gg.zeros((2, 3, *size))
        assert up(down(x), output_size=size).shape == x.shape
    with pytest.raises(gg.ShapeError, match=r"output_size.*between"):
        up(down(x), output_size=(20, 20))


def test_a_layer_refuses_sizes_that_do_not_fit() -> None:
    with pytest.raises(gg.ShapeError, match="groups=2"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(gg.ShapeError, match="padding_mode"):
        nn.Conv2d(3, 4, 3, padding_mode="mirror")
