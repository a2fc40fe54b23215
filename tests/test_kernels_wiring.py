"""``device="cuda"`` through the CUDA kernels: CuPy is the stand-in, the kernels run on the CPU, and NumPy is the reference.

What was launched is counted, so that it is known to be kernels that gave the numbers, and not the compositions.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from cupy_standin import cuda
from kernel_cases import needs_cpu_runner
from op_cases import CASES, DIFFERENTIABLE, PURE, Case, params
from test_ops_cupy import DEVICE, derivatives, moved, on_gpu, same

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.cuda import late, wiring

pytestmark = needs_cpu_runner


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2, kernels=True) as library:
        yield library


@pytest.fixture(autouse=True)
def launches() -> Counter[str]:
    """What is launched, by the names of kernels without their types; counted when it is looked at."""
    cuda.launches.clear()
    return Launches()


class Launches(Counter[str]):
    """Launches since the test began, or since `clear`."""

    def __missing__(self, kernel: str) -> int:
        return sum(name.startswith(kernel) for name in cuda.launches)

    def clear(self) -> None:
        cuda.launches.clear()


# --- the registry's samples ---------------------------------------------------------------------------------------


def with_kernels(cases: list[Case], names: Any) -> list[Case]:
    return [case for case in cases if case.op.name in names]


def stays(case: Case) -> bool:
    """Whether a sample is one that its kernel does not take: an axis in the middle, an empty array, an option."""
    array, axis = case.sample.args[0], case.sample.kwargs.get("axis")
    if case.op.name in ("softmax", "log_softmax"):
        return axis not in (None, -1, array.ndim - 1)
    if case.op.name in ("sum", "mean"):
        axes = (axis,) if isinstance(axis, int) else axis
        return array.size == 0 or array.ndim == 0 or (axes is not None and sorted(a % array.ndim for a in axes) in ([1], [0, 2]))
    if case.op.name in ("mm", "matmul", "linear"):  # by cuBLASLt, see test_products
        return True
    return case.op.name == "sum_to" and case.sample.args[1] == (3, 1)


@params(with_kernels(PURE, wiring.FORWARDS))
def test_forward(case: Case) -> None:
    there = on_gpu(case)
    cuda.launches.clear()
    got = there.op.public(*there.sample.args, **there.sample.kwargs)
    launched = len(cuda.launches)
    same(got, case.op.public(*case.sample.args, **case.sample.kwargs))
    if not stays(case):
        assert launched >= 1, "the composition ran"


@params(with_kernels(DIFFERENTIABLE, wiring.FORWARDS))
def test_derivatives(case: Case) -> None:
    same(derivatives(on_gpu(case)), derivatives(case), 1e-11)


@params(with_kernels(CASES, [name for name in wiring.FORWARDS if name.endswith("_")]))
def test_updates(case: Case) -> None:
    here = [gg.asarray(v.copy()) for v in case.sample.args]
    there = [gg.asarray(v, device=DEVICE if v.ndim else None) for v in case.sample.args]
    for args in (here, there):
        case.op.public(*args, **case.sample.kwargs)
    assert len(cuda.launches) == 1, "all parameters in one launch"
    for got, want in zip(there, here, strict=True):
        if want.ndim:
            same(got, want)


def test_every_kernel_file_has_its_ops() -> None:
    assert set(wiring.RULES) <= set(wiring.FORWARDS) <= set(gg.op.registry)


# --- backwards are kernels too ------------------------------------------------------------------------------------


def rows(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


IDS = np.array([3, 0, 2, 4, 1, 1, 0])
BACKWARDS: dict[str, tuple[Callable[..., Any], list[Any], dict[str, int]]] = {
    **{name: (gg.op.registry[name].public, [rows(7, 5)], {"activation_forward": 1, "activation_backward": 1})
       for name in wiring.RULES if name in wiring._ACTIVATIONS},
    "gelu, tanh": (lambda x: gg.gelu(x, "tanh"), [rows(7, 5)], {"activation_backward": 1}),
    "relu6": (nn.functional.relu6, [rows(7, 5)], {"activation_forward": 1, "activation_backward": 1}),
    "leaky_relu, 0": (lambda x: gg.leaky_relu(x, 0.0), [rows(7, 5)], {"activation_backward": 1}),
    "hardtanh, limits": (lambda x: gg.op.registry["hardtanh"].public(x, -0.5, 0.25), [rows(7, 5)], {"activation_backward": 1}),
    "softmax": (gg.softmax, [rows(7, 5)], {"softmax_forward": 1, "softmax_backward": 1}),
    "log_softmax of a stack": (gg.log_softmax, [rows(2, 3, 5)], {"softmax_forward": 1, "softmax_backward": 1}),
    **{f"cross_entropy, {how}": (lambda x, how=how: gg.cross_entropy(x, _beside(IDS, x), reduction=how), [rows(7, 5)],
                                 {"cross_entropy": 2}) for how in ("mean", "sum", "none")},
    "cross_entropy, int32": (lambda x: gg.cross_entropy(x, _beside(IDS.astype("int32"), x)), [rows(7, 5)], {"cross_entropy": 2}),
    "cross_entropy, probabilities": (lambda x, p: gg.cross_entropy(x, gg.softmax(p)), [rows(7, 5), rows(7, 5, seed=1)],
                                     {"cross_entropy": 2}),
    "cross_entropy, options": (lambda x: gg.cross_entropy(x, _beside(IDS, x), ignore_index=1, label_smoothing=0.1), [rows(7, 5)],
                               {"cross_entropy": 2, "mean_weight": 0}),
    "layer_norm": (lambda x, w, b: nn.functional.layer_norm(x, 5, w, b), [rows(7, 5), rows(5, seed=1), rows(5, seed=2)],
                   {"norm_forward": 1, "norm_backward<": 1, "norm_backward_parameters": 1}),
    "rms_norm": (lambda x, w: nn.functional.rms_norm(x, (2, 5), w), [rows(7, 2, 5), rows(2, 5, seed=1)],
                 {"norm_forward": 1, "norm_backward<": 1, "norm_backward_parameters": 1}),
    "linear": (nn.functional.linear, [rows(7, 5), rows(3, 5, seed=1), rows(3, seed=2)], {"sum_columns": 1}),
    "sum": (lambda x: gg.sum(x, axis=0), [rows(7, 5)], {"sum_columns": 1}),
    "mean": (lambda x: gg.mean(x, axis=(-1, 1), keepdims=True), [rows(7, 5, 3)], {"sum_rows": 1}),
}  # fmt: skip


def _beside(array: Any, like: Any) -> Any:
    return gg.asarray(array, device=like.device)


def first_order(function: Callable[..., Any], arrays: list[Any], device: str) -> list[Any]:
    leaves = [gg.asarray(a, device=device).requires_grad_() for a in arrays]
    out = function(*leaves)
    out.backward(gg.asarray(rows(*out.shape, dtype=out.dtype.name, seed=9), device=device))
    return [out, *[leaf.grad for leaf in leaves]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", BACKWARDS)
def test_backward(name: str, dtype: str, launches: Counter[str]) -> None:
    function, arrays, expected = BACKWARDS[name]
    got = first_order(function, [a.astype(dtype) for a in arrays], DEVICE)
    assert {kernel: launches[kernel] for kernel in expected} == expected
    same(
        got,
        first_order(function, [a.astype(dtype) for a in arrays], "cpu"),
        {"float32": 3e-6, "float16": 8e-3, "bfloat16": 6e-2}[dtype],
    )


# --- what kernels do not take -------------------------------------------------------------------------------------

FALLBACKS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "a transpose": (lambda x: gg.sigmoid(x.T), [rows(3, 4)]),
    "a slice": (lambda x: gg.gelu(x[:, ::2]), [rows(3, 4)]),
    "a negative slope": (lambda x: gg.leaky_relu(x, -0.5), [rows(3, 4)]),
    "an axis in the middle": (lambda x: gg.softmax(x, axis=1), [rows(2, 3, 4)]),
    "the first axis": (lambda x: gg.log_softmax(x, axis=0), [rows(2, 3)]),
    "a sum over an axis in the middle": (lambda x: x.sum(axis=1), [rows(2, 3, 4)]),
    "a sum of nothing": (lambda x: x.sum(axis=0), [rows(0, 4)]),
    "a weight in double precision": (lambda x, w: nn.functional.layer_norm(x, 4, w), [rows(3, 4), rows(4, dtype="float64")]),
    "short ids": (lambda x: gg.cross_entropy(x, _beside(IDS.astype("uint8"), x)), [rows(7, 5)]),
    "probabilities in double precision": (
        lambda x: gg.cross_entropy(x, _beside(np.full((3, 5), 0.2), x)), [rows(3, 5)]),
    "a transposed weight": (lambda x, w: gg.ops.linalg.linear_layers([x, w.T, None], ("relu",)), [rows(3, 4), rows(4, 5)]),
    "one sample": (lambda x, w: gg.ops.linalg.linear_layers([x, w, None], ("relu",)), [rows(4), rows(5, 4)]),
    "no samples": (lambda x, w: gg.ops.linalg.linear_layers([x, w, None], ("tanh",)), [rows(0, 4), rows(5, 4)]),
}  # fmt: skip


@pytest.mark.parametrize("name", FALLBACKS)
def test_fallback(name: str) -> None:
    function, arrays = FALLBACKS[name]
    there = [gg.asarray(a, device=DEVICE).requires_grad_() for a in arrays]
    cuda.launches.clear()
    out = function(*there)
    assert not cuda.launches
    assert out.device == DEVICE
    same(first_order(function, arrays, DEVICE), first_order(function, arrays, "cpu"), 3e-6)


def test_integers_numbers_and_complex_arrays() -> None:
    for value in (np.arange(6).reshape(2, 3) - 3, np.array([[1 + 1j, 0.5j]])):
        same(gg.tanh(moved(value)), gg.tanh(value))
        same(gg.sum(moved(value), axis=0), gg.sum(value, axis=0))
    assert not cuda.launches


def test_ignored_ids_count_for_nothing() -> None:
    for some in ([-100, 2, 1], [-100, -100, -100]):
        here, there = ([rows(3, 5), np.array(some)], [moved(rows(3, 5)), moved(np.array(some))])
        for options in ({}, {"reduction": "sum"}, {"label_smoothing": 0.1}):
            same(gg.cross_entropy(*there, **options), gg.cross_entropy(*here, **options), 1e-6)
            same(gg.grad(gg.cross_entropy)(*there, **options), gg.grad(gg.cross_entropy)(*here, **options), 1e-6)
    assert {name.split("<")[0] for name in cuda.launches} == {"cross_entropy"}


READS: dict[str, Callable[[Any, Any], Any]] = {
    "item": lambda loss, _: loss.item(),
    "float": lambda loss, _: float(loss),
    "numpy": lambda loss, _: loss.detach().numpy(),
    "cpu": lambda loss, _: loss.cpu().item(),
    "bool": lambda loss, _: bool(loss > 0),
    "tolist": lambda _, x: x.grad.tolist(),
    "the next loss": lambda _, x: gg.cross_entropy(x, _beside(np.array([0, 1]), x)),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("ids", [[0, 5], [-1, 0]])
def test_an_id_that_is_no_class_gives_nan_and_an_error_where_the_value_is_read(ids: list[int], read: str, reduction: str) -> None:
    x = gg.asarray(rows(2, 5), device=DEVICE).requires_grad_()
    before = cuda.synchronizations
    loss = gg.cross_entropy(x, gg.asarray(np.array(ids), device=DEVICE), reduction=reduction)  # the line of the error
    loss = loss if reduction != "none" else loss.sum()
    loss.backward()
    assert cuda.synchronizations == before, "the GPU was waited for"
    with pytest.raises(gg.ShapeError) as caught:
        READS[read](loss, x)
    wrong = next(i for i in ids if not 0 <= i < 5)
    assert str(caught.value).startswith(f"cross_entropy: class ids must be in 0..4 for 5 logits; got {wrong}\n")
    assert "# the line of the error" in str(caught.value)
    assert np.isnan(loss.item()), "raised once; what was computed stays nan"
    assert np.isnan(x.grad.numpy()).any(axis=1).tolist() == [not 0 <= i < 5 for i in ids]
    assert gg.cross_entropy(x, moved(np.array([0, 4]))).item() > 0


def test_a_report_of_long_ago_names_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_KEPT", 2)
    loss, x = gg.cross_entropy(moved(rows(1, 5)), moved(np.array([7]))), moved(rows(2, 5))
    for _ in range(3):
        gg.op.apply(gg.op.registry["cross_entropy"], (x, moved(np.array([0, 1]))), {"reduction": "mean", "ignore_index": -100})
    with pytest.raises(gg.ShapeError, match=r"got 7\n  at an unknown line"):
        loss.item()


def test_arrays_that_miss_16_bytes() -> None:
    flat = moved(rows(64))
    for start in (1, 2, 3):
        same(gg.sigmoid(flat[start:]), gg.sigmoid(rows(64)[start:]), 1e-6)
    assert len(cuda.launches) == 3


def test_a_cotangent_that_is_a_view(launches: Counter[str]) -> None:
    def function(x: Any) -> Any:
        return gg.sum(gg.tanh(x).T * gg.asarray(rows(4, 3, seed=1), device=x.device)) + gg.sigmoid(x).sum()

    leaves = [gg.asarray(rows(3, 4), device=device).requires_grad_() for device in (DEVICE, "cpu")]
    for leaf in leaves:
        function(leaf).backward()
    assert launches["activation_backward"] == 2
    same(leaves[0].grad, leaves[1].grad, 1e-6)


def test_a_walk_that_begins_on_the_cpu(launches: Counter[str]) -> None:
    grads = []
    for device in (DEVICE, "cpu"):
        x = gg.asarray(rows(7, 5), device="cpu").requires_grad_()
        y = nn.functional.layer_norm(gg.exp(x).to(device), 5)
        loss = gg.cross_entropy(y, _beside(IDS, y)).cpu() * 2
        loss.backward()
        grads.append(x.grad)
    assert launches["norm_backward"] == 1
    np.testing.assert_allclose(grads[0].numpy(), grads[1].numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dropout_draws_what_the_cpu_draws_and_leaves_the_generator_where_it_does(dtype: str, launches: Counter[str]) -> None:
    results = []
    for device in ("cpu", DEVICE):
        gg.manual_seed(0)
        found = []
        for shape in ((3, 7), (5,), (8, 8)):
            x = gg.ones(shape, dtype=dtype, device=device, requires_grad=True)
            y = nn.functional.dropout(x, 0.3)
            (y * y).sum().backward()
            found += [y.detach().numpy(), x.grad.numpy(), gg.random.uniform((3,), device=device).numpy()]
        results.append(found)
    assert launches["dropout<"] == 6
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_drawn_by_one_kernel(dtype: str, launches: Counter[str]) -> None:
    results = []
    for device in ("cpu", DEVICE):
        gg.manual_seed(3)
        results.append([gg.random.uniform(n, -1, 1, dtype, device=device).numpy() for n in (3, 1, 1000)])
    assert launches["philox_words"] == 2, "the second draw is of what was left of the first block"
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


def dropping_net(fuse: bool = True) -> nn.Sequential:
    gg.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, 16), nn.GELU(), nn.Dropout(),
        nn.Linear(16, 5, bias=False), nn.Sigmoid(), nn.Dropout(0.1), nn.Linear(5, 5), nn.Dropout(0.1),
    )  # fmt: skip
    net.fuse = fuse
    return net


def dropped(net: nn.Sequential, device: str, dtype: str = "float32") -> list[Any]:
    net = net.to(device, dtype)
    gg.manual_seed(1)
    x = gg.asarray(rows(3, 2, 6, dtype=dtype), device=device).requires_grad_()
    y = net(x)
    (y * y).sum().backward()
    grads = [p.grad.numpy() for p in (x, *net.parameters()) if p.grad is not None]
    return [y.detach().numpy(), *grads, gg.random.uniform((3,)).numpy()]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bias_activation_and_dropout_are_one_kernel_each_way(dtype: str, launches: Counter[str]) -> None:
    there = dropped(dropping_net(), DEVICE, dtype)
    assert launches["bias_activation_dropout_forward"] == launches["bias_activation_dropout_backward"] == 2
    assert launches["dropout<"] == 4, "where there is no bias or no activation"
    apart = dropped(dropping_net(fuse=False), DEVICE, dtype)
    assert launches["dropout<"] == 4 + 8
    for got, other, want in zip(there, apart, dropped(dropping_net(), "cpu", dtype), strict=True):
        scale = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-13}[dtype]
        np.testing.assert_allclose(got, want, rtol=scale, atol=scale * np.abs(want).max())
        np.testing.assert_allclose(other, want, rtol=scale, atol=scale * np.abs(want).max())
        np.testing.assert_array_equal(got == 0, want == 0)


def test_dropout_is_not_part_of_a_layer_in_evaluation_or_where_gelu_is_its_tanh_form(launches: Counter[str]) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Dropout()).to(DEVICE)
    x = moved(rows(3, 4))
    net.eval()(x)
    net.train()[1].approximate = "tanh"
    net(x)
    assert not launches["bias_activation_dropout_forward"]
    net[1].approximate = "none"
    with gg.autocast("float16"):
        assert net(x).dtype == np.float16
    assert launches["bias_activation_dropout_forward<Gelu, __half"] == 1
    with pytest.raises(gg.ShapeError, match=r"bias must have shape \(4,\).*got \(3,\)"):
        nn.functional.bias_activation_dropout(x, moved(rows(3)))
    with pytest.raises(ValueError, match="one array, got 'add'"):
        nn.functional.bias_activation_dropout(x, moved(rows(4)), "add")


def test_where_kernels_cannot_be_compiled(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class CompileException(Exception):
        """As CuPy's."""

    def refused(**_: Any) -> Any:
        raise CompileException("cuda_fp16.h: no such file")

    def function(x: Any, w: Any) -> Any:
        return nn.functional.layer_norm(gg.tanh(x) @ w, 5)

    monkeypatch.setattr(cupy, "RawModule", refused)
    monkeypatch.setattr(wiring, "_launcher", functools.cache(wiring._launcher.__wrapped__))
    arrays = [rows(7, 4), rows(4, 5)]
    try:
        with pytest.warns(RuntimeWarning, match=r"cannot be compiled here.*cuda_fp16\.h") as warned:
            same(first_order(function, arrays, DEVICE), first_order(function, arrays, "cpu"), 3e-6)
        assert len(warned) == 1
    finally:
        wiring._broken.clear()


# --- training -----------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, tuple[Callable[..., Any], str]] = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01), "sgd<"),
    "momentum": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1), "sgd_momentum<"),
    "nesterov": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True), "sgd_momentum<"),
    "adam": (lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01), "adam<float, false>"),
    "amsgrad": (lambda p: optim.Adam(p, lr=0.01, amsgrad=True), "adam<float, true>"),
    "adamw": (lambda p: optim.AdamW(p, lr=0.01), "adam<float, false>"),
}


def make_net(dtype: str = "float32") -> nn.Sequential:
    gg.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, 9, bias=False),
        nn.Sigmoid(), nn.Linear(9, 5),
    )  # fmt: skip
    return net.to("cpu", dtype)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training(name: str, launches: Counter[str]) -> None:
    make, kernel = OPTIMIZERS[name]
    results = {}
    for device in ("cpu", DEVICE):
        launches.clear()
        net = make_net().to(device)
        optimizer, losses = make(net.parameters()), []
        x, y = gg.asarray(rows(7, 6), device=device), gg.asarray(IDS, device=device)
        for step in range(4):
            optimizer.param_groups[0]["lr"] *= 0.9**step
            optimizer.zero_grad()
            loss = gg.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results[device] = losses, [p.detach().numpy() for p in net.parameters()]
    assert launches[kernel] == 4, "one launch a step"
    assert launches["bias_activation_forward"] == launches["bias_activation_backward"] == 8
    assert launches["cross_entropy"] == 8
    np.testing.assert_allclose(results[DEVICE][0], results["cpu"][0], rtol=1e-5)
    for a, b in zip(results[DEVICE][1], results["cpu"][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_of_training_does_not_wait_for_the_gpu(launches: Counter[str]) -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 5)).to(DEVICE)
    optimizer = optim.AdamW(net.parameters(), lr=0.1)
    x, y = gg.asarray(rows(7, 6), device=DEVICE), gg.asarray(IDS, device=DEVICE)
    for _ in range(3):
        before = cuda.synchronizations
        optimizer.zero_grad()
        gg.cross_entropy(net(x), y, ignore_index=1, label_smoothing=0.1).backward()
        optimizer.step()
        assert cuda.synchronizations == before
    assert launches["cross_entropy"] == 6


def test_the_digits_mlp_learns(launches: Counter[str]) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    results = {}
    for device in ("cpu", DEVICE):
        launches.clear()
        gg.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).to(device)
        optimizer = optim.Adam(net.parameters(), lr=0.02)
        x, y = gg.asarray(images, device=device), gg.asarray(labels, device=device)
        losses = []
        for step in range(100):
            batch = slice(step % 16 * 64, step % 16 * 64 + 64)
            optimizer.zero_grad()
            loss = gg.cross_entropy(net(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with gg.no_grad():
            accuracy = (net(x[1024:]).argmax(axis=1) == y[1024:]).astype("float32").mean().item()
        results[device] = losses, accuracy
    assert launches["adam<"] == 100
    assert launches["bias_activation_forward<Relu"] == 101
    assert results[DEVICE][1] > 0.8
    np.testing.assert_allclose(results[DEVICE][0], results["cpu"][0], rtol=1e-3)
