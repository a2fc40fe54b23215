"""nn.functional's activations, losses, distances and norms: against PyTorch, by finite differences, at extremes, and errors.

Against PyTorch every case is run in float64 with a random cotangent, values and all gradients, and its second derivative
along a random direction.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from nn_arrays import ids, real, rng, share, signs, spread, words

import gpugrad as gg
from gpugrad import nn
from gpugrad.nn import functional as F
from gpugrad.testing import gradcheck, gradgradcheck

REDUCTIONS = ("mean", "sum", "none")


class Call(NamedTuple):
    """One call: floating arrays in `args` are differentiated by, unless they are in `constants`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    constants: tuple[int, ...] = ()
    smooth: bool = True
    """Whether second derivatives of PyTorch can be had and compared."""

    def moving(self) -> list[int]:
        return [
            i for i, a in enumerate(self.args) if isinstance(a, np.ndarray) and a.dtype.kind == "f" and i not in self.constants
        ]

    def ours(self, *moved: Any) -> Any:
        return getattr(F, self.name)(*self._filled(moved, lambda a: a), **self.kwargs)

    def torchs(self, torch: Any, *moved: Any) -> Any:
        def convert(value: Any) -> Any:
            return torch.tensor(value) if isinstance(value, np.ndarray) else value

        renamed = {"axis": "dim", "keepdims": "keepdim"}
        kwargs = {renamed.get(k, k): convert(v) for k, v in self.kwargs.items()}
        function = torch.pdist if self.name == "pdist" else getattr(torch.nn.functional, self.name)
        return function(*self._filled(moved, convert), **kwargs)

    def _filled(self, moved: tuple[Any, ...], convert: Callable[[Any], Any]) -> list[Any]:
        filled = [convert(a) for a in self.args]
        for i, value in zip(self.moving(), moved, strict=True):
            filled[i] = value
        return filled

    def arrays(self) -> list[np.ndarray]:
        return [self.args[i] for i in self.moving()]


def activations() -> list[Call]:
    x = spread(4, 6)
    plain = "relu6 selu celu mish softsign hardtanh hardsigmoid hardswish softshrink hardshrink tanhshrink rrelu gelu glu"
    calls = [Call(name, (x,), {}, (), name != "hardsigmoid") for name in plain.split()]
    calls += [
        Call("celu", (x,), {"alpha": 0.5}),
        Call("gelu", (x,), {"approximate": "tanh"}),
        Call("hardtanh", (x, -0.5, 2.0), {}),
        Call("softshrink", (x,), {"lambd": 1.0}),
        Call("hardshrink", (x,), {"lambd": 1.0}),
        Call("threshold", (x, 0.5, -2.0), {}),
        Call("rrelu", (x,), {"lower": 0.2, "upper": 0.6}),
        Call("prelu", (x, np.array([0.3])), {}),
        Call("prelu", (x, real(6)), {}),
        Call("prelu", (spread(2, 3, 4), real(3)), {}),
        Call("glu", (x,), {"axis": 0}),
        Call("softmin", (x,), {"axis": 1}),
        Call("softmin", (x,), {"axis": 0}),
    ]
    return calls


def losses() -> list[Call]:
    def with_each(name: str, args: Any, constants: tuple[int, ...] = (), smooth: bool = True, **kwargs: Any) -> list[Call]:
        return [Call(name, args, {"reduction": r} | kwargs, constants, smooth) for r in REDUCTIONS]

    x, y = spread(4, 5), spread(4, 5)
    logits, image, classes = real(6, 5), real(2, 5, 3, 2), ids(5, 6)
    weight, few = rng.uniform(0.2, 2, 5), classes.copy()
    few[:2] = -100
    pixels = ids(5, 2, 3, 2)
    pixels[0, 0] = 2
    labels = np.array([[0, 2, -1, 3, 4], [1, 1, 3, -1, 0], [-1, 0, 1, 2, 3], [4, 3, 2, 1, -1]])
    calls = []
    for beta in (0.0, 0.7, 1.0):
        calls += with_each("smooth_l1_loss", (x, y), beta=beta)
    calls += with_each("huber_loss", (x, y), delta=0.6)
    for options in ({}, {"weight": weight}, {"label_smoothing": 0.2}, {"weight": weight, "label_smoothing": 0.1}):
        calls += with_each("cross_entropy", (logits, classes), **options)
        calls += with_each("cross_entropy", (logits, few), **options)
        calls += with_each("cross_entropy", (logits, classes), ignore_index=2, **options)
        calls += with_each("cross_entropy", (image, pixels), ignore_index=2, **options)
        calls += with_each("cross_entropy", (logits, share(6, 5)), **options)
        calls += with_each("cross_entropy", (image, share(2, 5, 3, 2)), **options)
        calls += with_each("cross_entropy", (real(5), np.array(3)), **options)
    for options in ({}, {"weight": weight}, {"weight": weight, "ignore_index": 2}):
        calls += with_each("nll_loss", (logits, few if "ignore_index" not in options else classes), **options)
        calls += with_each("nll_loss", (image, pixels), **options)
        calls += with_each(
            "multi_margin_loss", (spread(6, 5), classes), (), False, **{k: v for k, v in options.items() if k == "weight"}
        )
    calls += with_each("multi_margin_loss", (spread(6, 5), classes), (), False)
    calls += with_each("multi_margin_loss", (spread(6, 5), classes), (), False, weight=weight)
    calls += with_each("multi_margin_loss", (spread(6, 5), classes), (), False, p=2, margin=0.75, weight=weight)
    calls += with_each("multi_margin_loss", (spread(5), np.array(3)), (), False, p=2)
    calls += with_each("multilabel_margin_loss", (spread(4, 5), labels), smooth=False)
    calls += with_each("multilabel_margin_loss", (spread(5), labels[0]), smooth=False)
    probable, truth = rng.uniform(0.05, 0.95, (4, 5)), rng.uniform(size=(4, 5))
    calls += with_each("binary_cross_entropy", (probable, truth), (1,))
    calls += with_each("binary_cross_entropy", (probable, truth), (1,), weight=weight)
    for options in ({}, {"weight": weight}, {"pos_weight": weight}, {"weight": truth + 1, "pos_weight": weight}):
        calls += with_each("binary_cross_entropy_with_logits", (x, truth), (1,), **options)
    calls += with_each("hinge_embedding_loss", (spread(4, 5), signs(4, 5)), (1,), margin=1.25)
    calls += with_each("soft_margin_loss", (real(4, 5), signs(4, 5)), (1,))
    calls += with_each("multilabel_soft_margin_loss", (x, truth.round()), (1,))
    calls += with_each("multilabel_soft_margin_loss", (x, truth.round()), (1,), weight=weight)
    calls += with_each("kl_div", (np.log(probable), share(4, 5)))
    calls += with_each("kl_div", (np.log(probable), np.log(share(4, 5))), log_target=True)
    calls += [Call("kl_div", (np.log(probable), share(4, 5)), {"reduction": "batchmean"})]
    calls += with_each("cosine_embedding_loss", (real(6, 3), real(6, 3), signs(6)), (2,), margin=-0.3)
    calls += with_each("cosine_embedding_loss", (real(3), real(3), np.array(1.0)), (2,))
    calls += with_each("margin_ranking_loss", (spread(5), spread(5), signs(5)), (2,), margin=0.2)
    for options in ({}, {"p": 1.0, "margin": 2.0}, {"swap": True}, {"p": 3.0, "swap": True}):
        calls += with_each("triplet_margin_loss", (spread(6, 3), spread(6, 3), spread(6, 3)), **options)
    counts = np.array([0.0, 1, 2, 5, 9])
    calls += with_each("poisson_nll_loss", (real(5), counts), (1,), full=True)
    calls += with_each("poisson_nll_loss", (rng.uniform(0.5, 2, 5), counts), (1,), log_input=False, eps=0.1)
    for var in (rng.uniform(0.5, 2, (4, 5)), rng.uniform(0.5, 2, (4, 1)), rng.uniform(0.5, 2, 4)):
        calls += with_each("gaussian_nll_loss", (x, y, var), full=var.ndim == 2)
    return calls


def others() -> list[Call]:
    calls = []
    for p in (0.5, 1.0, 1.5, 2.0, 3.0, float("inf")):
        calls.append(Call("normalize", (spread(3, 4),), {"p": p}))
        calls.append(Call("pairwise_distance", (spread(3, 4), spread(3, 4)), {"p": p, "eps": 0.01, "keepdims": True}))
        calls.append(Call("pdist", (spread(4, 3),), {"p": p}, (), False))
    calls += [
        Call("normalize", (spread(2, 3, 4),), {"axis": -1, "eps": 5.0}),
        Call("cosine_similarity", (real(3, 4), real(3, 4)), {}),
        Call("cosine_similarity", (real(3, 1, 4), real(2, 4)), {"axis": -1, "eps": 1.5}),
        Call("bilinear", (real(5, 2), real(5, 3), real(4, 2, 3), real(4)), {}),
        Call("bilinear", (real(5, 6, 2), real(5, 6, 3), real(4, 2, 3)), {}),
        Call("embedding", (ids(7, 2, 3), real(7, 4)), {}),
        Call("embedding", (np.array([1, 6, 6, 0]), real(7, 4)), {"padding_idx": -1}),
        Call("layer_norm", (real(3, 4, 5), (5,), real(5), real(5)), {"eps": 1e-3}),
        Call("layer_norm", (real(3, 4, 5), (4, 5), real(4, 5)), {}),
        Call("layer_norm", (real(3, 4, 5), (5,)), {}),
        Call("rms_norm", (real(3, 4, 5), (5,), real(5)), {}),
        Call("rms_norm", (real(3, 4, 5), (4, 5)), {"eps": 1e-3}),
        Call("group_norm", (real(3, 6, 5), 2, real(6), real(6)), {}),
        Call("group_norm", (real(3, 6), 3), {"eps": 1e-3}),
        Call("instance_norm", (real(3, 2, 5, 2), None, None, real(2), real(2)), {}),
        Call("local_response_norm", (real(2, 7, 3), 3), {"alpha": 0.5}),
        Call("local_response_norm", (real(2, 7, 3, 2), 4), {"alpha": 0.5, "beta": 0.5, "k": 2.0}),
    ]
    for shape in ((6, 3), (4, 3, 5), (2, 3, 4, 2)):
        stats = (real(3), rng.uniform(0.5, 2, 3))
        for weights in ((real(3), real(3)), (None, None)):
            calls.append(Call("batch_norm", (real(*shape), *stats, *weights), {}, (1, 2)))
            calls.append(Call("batch_norm", (real(*shape), None, None, *weights), {"training": True, "eps": 1e-3}))
    return calls


CALLS = activations() + losses() + others()


def label(call: Call) -> str:
    arguments = [f"{a.dtype.kind}{'x'.join(map(str, a.shape))}" if isinstance(a, np.ndarray) else str(a) for a in call.args]
    arguments += [f"{k}={'array' if isinstance(v, np.ndarray) else v}" for k, v in call.kwargs.items()]
    return f"{call.name}({','.join(arguments)})"


def params(calls: list[Call]) -> Any:
    return pytest.mark.parametrize("call", [pytest.param(call, id=label(call)) for call in calls])


# --- against PyTorch ----------------------------------------------------------------------------------------------

LOW_CONSTANTS = {"hardsigmoid": 1e4, "cosine_embedding_loss": 1e4}
"""Functions in which PyTorch has a constant in float32 (1/6, 1e-12), and how many digits that costs it."""


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@params(CALLS)
def test_values_and_gradients_follow_pytorch(call: Call) -> None:
    torch = pytest.importorskip("torch")
    ours = [gg.tensor(a, requires_grad=True) for a in call.arrays()]
    theirs = [torch.tensor(a, requires_grad=True) for a in call.arrays()]
    value, expected = call.ours(*ours), call.torchs(torch, *theirs)
    assert value.shape == tuple(expected.shape)
    loss_of_digits = LOW_CONSTANTS.get(call.name, 1)
    np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), rtol=1e-11 * loss_of_digits, atol=1e-13)
    draws = np.random.default_rng(3)
    cotangent = draws.normal(size=value.shape)
    first = gg.grad(lambda *xs: (call.ours(*xs) * cotangent).sum(), argnums=tuple(range(len(ours))))(*ours)
    wanted = torch.autograd.grad(expected, theirs, torch.tensor(cotangent), create_graph=True, allow_unused=True)
    for got, want in zip(first, wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=1e-9 * loss_of_digits, atol=1e-12)
    if call.smooth and any(w.requires_grad for w in wanted):
        directions = [draws.normal(size=a.shape) for a in call.arrays()]
        slope = sum((w * torch.tensor(d)).sum() for w, d in zip(wanted, directions, strict=True))
        second = torch.autograd.grad(slope, theirs, allow_unused=True)

        def along(*xs: Any) -> Any:
            grads = gg.grad(lambda *ys: (call.ours(*ys) * cotangent).sum(), argnums=tuple(range(len(xs))))(*xs)
            return sum((g * d).sum() for g, d in zip(grads, directions, strict=True))

        for got, want in zip(gg.grad(along, argnums=tuple(range(len(ours))))(*ours), second, strict=True):
            expected_second = 0 if want is None else want.numpy(force=True)
            np.testing.assert_allclose(got.numpy(), expected_second, rtol=1e-8 * loss_of_digits, atol=1e-10)


KINKS = [-1000.0, -6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 1000.0]
AT_KINKS = [
    *[Call(n, (np.array(KINKS),), {}) for n in words("relu6 selu celu mish softsign hardtanh hardsigmoid softshrink")],
    *[Call(n, (np.array(KINKS),), {}) for n in ["hardshrink", "tanhshrink", "rrelu", "gelu", "glu"]],
    Call("gelu", (np.array(KINKS),), {"approximate": "tanh"}),
    Call("threshold", (np.array(KINKS), 0.5, 7.0), {}),
    Call("prelu", (np.array(KINKS), np.array([0.3])), {}),
    Call("softmin", (np.array(KINKS),), {"axis": 0}),
    Call("normalize", (np.array([[0.0, 0.0], [1000.0, -1000.0]]),), {}),
    Call("smooth_l1_loss", (np.array(KINKS), np.zeros(12)), {"reduction": "sum"}),
    Call("huber_loss", (np.array(KINKS), np.zeros(12)), {"reduction": "sum"}),
    Call("cross_entropy", (np.array([[1000.0, -1000.0, 0.0]] * 3), np.array([0, 1, 2])), {"label_smoothing": 0.1}),
    Call("binary_cross_entropy_with_logits", (np.array(KINKS), np.array([0.0, 1.0] * 6)), {"pos_weight": np.array(3.0)}, (1,)),
    Call("hinge_embedding_loss", (np.array(KINKS), np.array([-1.0] * 12)), {"reduction": "none"}, (1,)),
    Call("margin_ranking_loss", (np.array(KINKS), np.zeros(12), np.ones(12)), {"reduction": "none"}, (1, 2)),
    Call("multi_margin_loss", (np.array([[0.0, -1.0, 1000.0], [-1000.0, 0.0, 1.0]]), np.array([0, 2])), {}),
    Call("multilabel_margin_loss", (np.array([[1.0, 0.0, 1000.0, -1000.0]]), np.array([[0, 0, -1, 2]])), {}),
    Call("multilabel_soft_margin_loss", (np.array([KINKS]), np.array([[0.0, 1.0] * 6])), {}, (1,)),
    Call("kl_div", (np.array([-1000.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.5])), {"reduction": "sum"}, (1,)),
    Call("cosine_embedding_loss", (np.zeros((2, 3)), np.ones((2, 3)), np.array([1.0, -1.0])), {}, (2,)),
    Call("cosine_similarity", (np.zeros((2, 3)), np.ones((2, 3))), {}),
    Call("triplet_margin_loss", (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))), {}),
    Call("gaussian_nll_loss", (np.ones(3), np.zeros(3), np.array([0.0, 1e-9, 1.0])), {"reduction": "none"}),
    Call("layer_norm", (np.array([[0.0, 0.0], [1000.0, 1000.0], [-1000.0, 1000.0]]), (2,)), {}),
    Call("rms_norm", (np.array([[0.0, 0.0], [1000.0, 1000.0], [-1000.0, 1000.0]]), (2,)), {}),
    Call("batch_norm", (np.array([[0.0, 5.0], [0.0, 1000.0], [0.0, -1000.0]]), None, None), {"training": True}),
    Call("local_response_norm", (np.array([[[0.0], [1000.0], [-1000.0]]]), 3), {}),
    *[Call("pdist", (np.array([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]]),), {"p": p}) for p in (1.0, 1.5, 2.0, 3.0)],
    *[Call("pairwise_distance", (np.zeros((2, 3)), np.zeros((2, 3))), {"p": p, "eps": 0.0}) for p in (0.5, 1.0, 2.0, 3.0)],
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@params(AT_KINKS)
def test_kinks_zeros_and_tails_follow_pytorch(call: Call, dtype: str) -> None:
    torch = pytest.importorskip("torch")

    def cast(value: Any) -> Any:
        return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

    call = call._replace(args=tuple(map(cast, call.args)), kwargs={k: cast(v) for k, v in call.kwargs.items()})
    ours = [gg.tensor(a, requires_grad=True) for a in call.arrays()]
    theirs = [torch.tensor(a, requires_grad=True) for a in call.arrays()]
    value, expected = call.ours(*ours), call.torchs(torch, *theirs)
    assert value.dtype == dtype
    rtol = 1e-11 * LOW_CONSTANTS.get(call.name, 1) if dtype == "float64" else 3e-6
    np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=rtol)
    value.backward(np.ones(value.shape, dtype))
    expected.backward(torch.ones_like(expected))
    for got, want in zip(ours, theirs, strict=True):
        size = float(np.abs(want.grad.numpy()).max())
        np.testing.assert_allclose(got.grad.numpy(), want.grad.numpy(), rtol=rtol, atol=rtol * max(size, 1))


HALF = [
    "relu6",
    "selu",
    "celu",
    "mish",
    "softsign",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "softshrink",
    "hardshrink",
    "tanhshrink",
    "gelu",
    "glu",
]


@pytest.mark.parametrize("name", [*HALF, *words("layer_norm rms_norm normalize batch_norm group_norm local_response_norm")])
def test_half_precision_neither_overflows_nor_warns(name: str) -> None:
    x = np.array([KINKS, KINKS[::-1]])
    options: dict[str, tuple[Any, ...]] = {
        "layer_norm": ((12,),),
        "rms_norm": ((12,),),
        "group_norm": (3,),
        "local_response_norm": (2,),
    }
    arguments = (None, None, None, None, True) if name == "batch_norm" else options.get(name, ())
    if name == "local_response_norm":
        x = x[..., None]

    def run(dtype: str) -> Any:
        tensor = gg.tensor(x.astype(dtype), requires_grad=True)
        value = getattr(F, name)(tensor, *arguments)
        value.backward(np.ones(value.shape, dtype))
        assert (value.dtype, tensor.grad.dtype) == (np.dtype(dtype), np.dtype(dtype))
        return value.detach().numpy().astype(float), tensor.grad.numpy().astype(float)

    for got, want in zip(run("float16"), run("float64"), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


# --- without PyTorch ----------------------------------------------------------------------------------------------

CHECKED = [c for c in CALLS if "padding_idx" not in c.kwargs and not (c.name == "cosine_similarity" and "eps" in c.kwargs)]
"""All but those whose gradient is not the slope, as in PyTorch: a row held still, a length clamped out of sight."""


@params([c for c in CHECKED if c.kwargs.get("reduction", "none") == "none"])
def test_derivatives_by_finite_differences(call: Call) -> None:
    assert gradcheck(call.ours, call.arrays(), atol=1e-7, rtol=1e-6)
    assert gradgradcheck(call.ours, call.arrays(), atol=1e-6, rtol=1e-5)


@params([c for c in losses() if c.kwargs["reduction"] == "sum"])
def test_a_sum_is_the_sum_of_single_losses(call: Call) -> None:
    total = call.ours(*call.arrays()).numpy()
    single = call._replace(kwargs=call.kwargs | {"reduction": "none"}).ours(*call.arrays()).numpy()
    np.testing.assert_allclose(total, single.sum(), rtol=1e-12)


def test_class_weights_and_ignored_ids_by_hand() -> None:
    logs = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    target, weight = np.array([0, 1, -100]), np.array([1.0, 3.0, 5.0])
    expected = (np.log(2) - 3 * np.log(0.8)) / 4
    assert F.nll_loss(logs, target, weight).item() == pytest.approx(expected, rel=1e-14)
    assert F.cross_entropy(logs, target, weight).item() == pytest.approx(expected, rel=1e-12)
    assert np.isnan(F.nll_loss(logs, np.full(3, -100)).item())
    assert F.nll_loss(logs, np.full(3, -100), reduction="sum").item() == 0


def test_second_derivatives_of_squares_near_zero() -> None:
    for loss in (F.huber_loss, F.smooth_l1_loss):
        hessian = gg.hessian(lambda x, loss=loss: loss(x, np.zeros(3), reduction="sum"))(np.array([0.0, 0.5, 2.0]))
        np.testing.assert_array_equal(hessian, np.diag([1.0, 1.0, 0.0]))


def test_extreme_values_are_finite() -> None:
    x = gg.tensor([-1000.0, 0.0, 1000.0], requires_grad=True)
    for loss in (
        F.soft_margin_loss(x, np.ones(3), reduction="sum"),
        F.nll_loss(gg.log_softmax(x)[None], np.array([0])),
        F.multilabel_soft_margin_loss(x, np.array([1.0, 0.0, 0.0])),
        F.mish(x).sum(),
    ):
        x.grad = None
        loss.backward()
        assert np.isfinite(loss.item())
        assert np.isfinite(x.grad.numpy()).all()


def test_the_gradient_of_a_padding_row_is_zero() -> None:
    table = gg.tensor(real(5, 2), requires_grad=True)
    F.embedding(np.array([[1, 4], [4, 1]]), table, padding_idx=4).sum().backward()
    np.testing.assert_array_equal(table.grad.numpy(), [[0, 0], [2, 2], [0, 0], [0, 0], [0, 0]])


def test_one_hot() -> None:
    np.testing.assert_array_equal(F.one_hot(np.array([[1], [0]])).numpy(), [[[0, 1]], [[1, 0]]])
    assert F.one_hot(np.array([0, 2]), 5).shape == (2, 5)
    assert F.one_hot([1]).dtype == np.int64
    with pytest.raises(IndexError, match=r"0..1 for a table of 2 rows; got 0..2"):
        F.one_hot([0, 2], 2)
    with pytest.raises(IndexError, match="got -1"):
        F.one_hot([-1, 2])


def test_random_activations_and_dropout_follow_the_seed() -> None:
    x = gg.tensor(-np.ones((100, 200)), requires_grad=True)
    gg.manual_seed(1)
    first = F.rrelu(x, 0.2, 0.4, training=True)
    gg.manual_seed(1)
    np.testing.assert_array_equal(first.detach().numpy(), F.rrelu(x, 0.2, 0.4, training=True).detach().numpy())
    slopes = -first.detach().numpy()
    assert slopes.min() >= 0.2
    assert slopes.max() < 0.4
    assert slopes.mean() == pytest.approx(0.3, abs=0.002)
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dropout_keeps_the_mean_and_its_mask_is_its_gradient(dtype: str) -> None:
    x = gg.tensor(np.ones((200, 300)), dtype=dtype, requires_grad=True)
    out = F.dropout(x, 0.2)
    assert out.dtype == dtype
    values = out.detach().numpy().astype(float)
    assert set(np.unique(values)) == {0, np.dtype(dtype).type(1.25)}
    assert (values == 0).mean() == pytest.approx(0.2, abs=0.01)
    out.backward(np.ones(out.shape, dtype))
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert F.dropout(x, 0.5, training=False) is x
    assert not F.dropout(x, 1.0).numpy().any()


@pytest.mark.parametrize(("name", "shape", "spatial"), [("dropout1d", (50, 40, 3), (2,)), ("dropout2d", (50, 40, 3, 2), (2, 3))])
def test_dropout_of_channels(name: str, shape: tuple[int, ...], spatial: tuple[int, ...]) -> None:
    values = getattr(F, name)(np.ones(shape), 0.5).numpy()
    assert (values.min(axis=spatial) == values.max(axis=spatial)).all()
    assert (values[:, :, 0] == 0).mean() == pytest.approx(0.5, abs=0.1)
    with pytest.raises(gg.ShapeError, match=name):
        getattr(F, name)(np.ones(3))


@pytest.mark.parametrize("name", ["silu", "gelu", "mish", "softsign", "hardswish", "softplus", "sigmoid", "tanh", "elu", "relu"])
def test_infinities_go_through_without_a_warning(name: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1e3, -1e3, 0.0])
    function = getattr(F, name)
    assert np.isnan(function(x)[2].item())
    assert np.isfinite(function(x)[3:].numpy()).all()
    assert np.isfinite(gg.grad(lambda x: function(x)[3:].sum())(x)[3:]).all()
    assert np.isfinite(gg.jvp(function, (x,), (np.ones(6),))[1][3:]).all()


def test_extreme_values_beside_others_without_a_warning() -> None:
    assert gg.logsumexp(np.array([1000.0, np.inf])).item() == np.inf
    assert np.isnan(gg.logsumexp(np.array([1000.0, np.nan])).item())
    np.testing.assert_array_equal(F.celu(np.array([-1000.0, -6e4], "float16"), 0.01).numpy(), np.full(2, -0.01, "float16"))
    np.testing.assert_allclose(F.softplus(np.array([-1e4, 0, 1e4]), beta=4.0, threshold=1).numpy(), [0, np.log(2) / 4, 1e4])


# --- errors -------------------------------------------------------------------------------------------------------

Z = gg.zeros
ERRORS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("glu", lambda: F.glu(Z(3)), gg.ShapeError, r"glu: axis -1 of \(3,\) cannot be halved"),
    ("celu", lambda: F.celu(Z(3), 0.0), ValueError, "alpha cannot be 0"),
    ("softshrink", lambda: F.softshrink(Z(3), -1.0), ValueError, "cannot be negative"),
    ("rrelu", lambda: F.rrelu(Z(3), 0.5, 0.1), ValueError, "lower"),
    ("prelu", lambda: F.prelu(Z((2, 3)), Z(2)), gg.ShapeError, r"one per channel.*\(2, 3\); got \(2,\)"),
    ("dropout", lambda: F.dropout(Z(3), 1.5), ValueError, "probability"),
    ("gelu", lambda: F.gelu(Z(3), "erf"), ValueError, "'none' or 'tanh'"),
    ("ids range", lambda: F.cross_entropy(Z((2, 3, 2)), np.full((2, 2), 3)), gg.ShapeError, r"0..2 for 3 logits; got 3"),
    ("nll range", lambda: F.nll_loss(Z((2, 3)), np.array([0, -1])), gg.ShapeError, r"0..2 for 3 logits; got -1"),
    ("nll floats", lambda: F.nll_loss(Z((2, 3)), Z((2, 3))), gg.DTypeError, "class ids must be integers"),
    ("nll shape", lambda: F.nll_loss(Z((2, 3, 4)), np.zeros((2, 3), int)), gg.ShapeError, r"\(2, 4\), got \(2, 3\)"),
    ("nll weight", lambda: F.nll_loss(Z((2, 3)), np.zeros(2, int), Z(2)), gg.ShapeError, r"one entry per class, \(3,\)"),
    ("smoothing", lambda: F.cross_entropy(Z((2, 3)), [0, 1], label_smoothing=1.5), ValueError, "label_smoothing"),
    ("smooth l1", lambda: F.smooth_l1_loss(Z(2), Z(2), beta=-1.0), ValueError, "beta"),
    ("margin p", lambda: F.multi_margin_loss(Z((2, 3)), [0, 1], p=3), ValueError, "1 or 2"),
    ("margin range", lambda: F.multi_margin_loss(Z((2, 3)), [0, 3]), gg.ShapeError, "got 3"),
    ("margin float", lambda: F.multi_margin_loss(Z((2, 3)), [0.0, 1.0]), gg.DTypeError, "integers"),
    ("labels", lambda: F.multilabel_margin_loss(Z((2, 3)), [[0], [1]]), gg.ShapeError, r"\(2, 1\) for \(2, 3\)"),
    ("labels range", lambda: F.multilabel_margin_loss(Z((1, 3)), [[0, 5, -1]]), gg.ShapeError, "got 5"),
    ("cosine", lambda: F.cosine_embedding_loss(Z((2, 3)), Z((2, 3)), Z((2, 1))), gg.ShapeError, r"targets \(N,\)"),
    ("triplet", lambda: F.triplet_margin_loss(Z(2), Z(2), Z(2), margin=0), ValueError, "margin must be positive"),
    ("variance", lambda: F.gaussian_nll_loss(Z(2), Z(2), [-1.0, 1.0]), ValueError, "cannot be negative"),
    ("variance shape", lambda: F.gaussian_nll_loss(Z((2, 3)), Z((2, 3)), Z(3)), gg.ShapeError, r"\(2, 3\) or \(2,\)"),
    ("pdist", lambda: F.pdist(Z(3)), gg.ShapeError, r"\(N, features\)"),
    ("bilinear", lambda: F.bilinear(Z(2), Z(3), Z((1, 3, 2))), gg.ShapeError, "do not fit"),
    ("embedding", lambda: F.embedding([0, 5], Z((5, 2))), IndexError, r"0..4 for a table of 5 rows; got 0..5"),
    ("embedding float", lambda: F.embedding([0.5], Z((5, 2))), gg.DTypeError, "must be integers"),
    ("padding", lambda: F.embedding([0], Z((5, 2)), 7), IndexError, "padding_idx"),
    ("layer norm", lambda: F.layer_norm(Z((2, 3)), (2,)), gg.ShapeError, r"last axes of x \(2, 3\), got \(2,\)"),
    ("layer norm weight", lambda: F.layer_norm(Z((2, 3)), 3, Z(2)), gg.ShapeError, r"weight must have shape \(3,\)"),
    ("rms norm", lambda: F.rms_norm(Z((2, 3)), (5, 2, 3)), gg.ShapeError, "last axes"),
    ("batch norm", lambda: F.batch_norm(Z((2, 3)), Z(2), Z(2)), gg.ShapeError, r"running_mean .* per channel, \(3,\)"),
    ("batch norm eval", lambda: F.batch_norm(Z((2, 3)), None, None), ValueError, "training=True"),
    ("batch norm one", lambda: F.batch_norm(Z((1, 3)), None, None, training=True), gg.ShapeError, "more than one value"),
    ("group norm", lambda: F.group_norm(Z((2, 3)), 2), gg.ShapeError, "3 channels cannot be cut into 2 groups"),
    ("instance norm", lambda: F.instance_norm(Z((2, 3, 1))), gg.ShapeError, "more than one value"),
    ("response norm", lambda: F.local_response_norm(Z((2, 3)), 2), gg.ShapeError, "3 axes or more"),
]


@pytest.mark.parametrize(("call", "kind", "message"), [pytest.param(*e[1:], id=e[0]) for e in ERRORS])
def test_errors_say_what_was_wrong(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


@params([c for c in losses() if c.kwargs["reduction"] == "mean"])
def test_an_unknown_reduction_is_refused(call: Call) -> None:
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none, got 'average'"):
        call._replace(kwargs=call.kwargs | {"reduction": "average"}).ours(*call.arrays())


@pytest.mark.parametrize("name", ["smooth_l1_loss", "hinge_embedding_loss", "soft_margin_loss", "kl_div", "poisson_nll_loss"])
def test_targets_that_would_broadcast_are_warned_of_at_the_users_line(name: str) -> None:
    with pytest.warns(UserWarning, match=rf"{name}: prediction \(3, 1\) and target \(3,\)") as caught:
        getattr(F, name)(gg.zeros((3, 1)), np.zeros(3, np.float32))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="prediction") as caught:
        nn.SmoothL1Loss()(gg.zeros((3, 1)), np.zeros(3, np.float32))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(F, name)(gg.zeros((3, 1)), np.zeros((3, 1), np.float32))
