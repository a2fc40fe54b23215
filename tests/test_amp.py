"""Mixed precision: what runs in which dtype, master weights in float32, and a scale that finds its level."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.amp import IN_FLOAT32, IN_LOW
from gpugrad.modes import recording


def small_net() -> tuple[nn.Sequential, gg.Tensor, gg.Tensor]:
    gg.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    return net, gg.random.normal((32, 8)), gg.tensor(np.arange(32) % 3)


def test_products_are_low_and_losses_are_not() -> None:
    net, x, y = small_net()
    with gg.autocast("float16"), recording() as records:
        out = net(x)
        loss = gg.cross_entropy(out, y)
    assert out.dtype == "float16"
    assert loss.dtype == "float32"
    kinds = {record.op.name: {i.dtype.name for i in record.inputs if i is not None} for record in records}
    assert kinds["linear_layers"] == {"float16"}
    assert "float32" in kinds["cross_entropy"]
    loss.backward()
    for p in net.parameters():
        assert p.dtype == "float32"
        assert p.grad is not None
        assert p.grad.dtype == "float32"


def test_gradients_are_close_to_those_in_float32() -> None:
    net, x, y = small_net()
    gg.cross_entropy(net(x), y).backward()
    full = [p.grad.numpy().copy() for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    with gg.autocast():
        loss = gg.cross_entropy(net(x), y)
    loss.backward()
    for p, want in zip(net.parameters(), full, strict=True):
        assert not np.array_equal(p.grad.numpy(), want)
        np.testing.assert_allclose(p.grad.numpy(), want, atol=2e-3)


def test_it_ends_with_the_block_and_with_the_thread() -> None:
    a = gg.ones((2, 2))
    seen: dict[str, Any] = {}
    with gg.autocast():
        worker = threading.Thread(target=lambda: seen.update(other=(a @ a).dtype))
        worker.start()
        worker.join()
        seen["here"] = (a @ a).dtype
        with gg.autocast(enabled=False):
            seen["off"] = (a @ a).dtype
        seen["again"] = (a @ a).dtype
        assert (a.astype("float64") @ a.astype("float64")).dtype == "float64"
    seen["after"] = (a @ a).dtype
    assert seen == {"other": "float32", "here": "float16", "off": "float32", "again": "float16", "after": "float32"}
    from gpugrad import amp, dispatch

    assert amp._cast not in dispatch.autocasting


@pytest.mark.parametrize("dtype", ["float32", "int16", "complex64"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(gg.DTypeError, match="autocast: got"), gg.autocast(dtype):
        pass


def test_ops_that_are_named_exist() -> None:
    from gpugrad.op import registry

    later = {"bmm", "einsum_two", "conv1d", "conv2d", "layer_norm", "rms_norm"}
    assert (IN_LOW | IN_FLOAT32) - later <= set(registry)


def test_small_gradients_survive_by_the_scale() -> None:
    w = gg.tensor(np.full((4, 1), 1e-3, "float32"), requires_grad=True)
    x = gg.tensor(np.full((2, 4), 1e-4, "float32"))

    def gradient(scale: float) -> np.ndarray:
        w.grad = None
        with gg.autocast():
            loss = ((x @ w) * 1e-4).sum()
        (loss * scale).backward()
        assert w.grad is not None
        return w.grad.numpy() / scale

    assert (gradient(1.0) == 0).all()  # 1e-8 is below float16's smallest number
    np.testing.assert_allclose(gradient(4096.0), 2e-8, rtol=1e-2)


def test_a_step_with_an_overflow_is_left_out_and_the_scale_falls() -> None:
    w = gg.tensor([1.0], requires_grad=True)
    optimizer = gg.optim.SGD([w], lr=0.1)
    scaler = gg.GradScaler(init_scale=4.0, growth_interval=2)
    scales = []
    for factor in (1.0, float("inf"), 1.0, 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((w * factor).sum()).backward()
        before = w.item()
        made = scaler.step(optimizer)
        scaler.update()
        assert made == np.isfinite(factor)
        assert w.item() == pytest.approx(before - 0.1 * made)
        scales.append(scaler.get_scale())
    assert scales == [4.0, 2.0, 2.0, 4.0, 4.0]
    other = gg.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 4.0


def test_clipping_between_backward_and_step() -> None:
    w = gg.tensor([1.0], requires_grad=True)
    optimizer, scaler = gg.optim.SGD([w], lr=1.0), gg.GradScaler(init_scale=8.0)
    scaler.scale((w * 3).sum()).backward()
    assert scaler.unscale_(optimizer)
    assert w.grad is not None
    assert w.grad.item() == 3.0
    nn.utils.clip_grad_norm_([w], 1.0)
    scaler.step(optimizer)
    assert w.item() == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(gg.GradientError, match="unscale_ was called twice"):
        scaler.unscale_(optimizer)
    scaler.update()
    with pytest.raises(gg.GradientError, match="no step"):
        scaler.update()
    with pytest.raises(ValueError, match="growth_factor above 1"):
        gg.GradScaler(growth_factor=0.5)


def test_training_in_float16_learns() -> None:
    net, x, y = small_net()
    optimizer, scaler = gg.optim.Adam(net.parameters(), lr=0.02), gg.GradScaler(init_scale=1024.0)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        with gg.autocast():
            loss = gg.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_bfloat16_has_the_range_of_float32() -> None:
    pytest.importorskip("ml_dtypes")
    w, x = gg.tensor([[1e-3]], requires_grad=True), gg.tensor([[1e-20]])
    with gg.autocast("bfloat16"), recording() as records:
        out = x @ w
        loss = (out * 1e-10).sum()
    assert (out.dtype, loss.dtype) == ("bfloat16", "float32")
    assert "softmax" not in {record.op.name for record in records}
    loss.backward()
    assert w.grad is not None
    assert w.grad.dtype == "float32"
    assert w.grad.item() == pytest.approx(1e-30, rel=1e-2)


def test_autocast_casts_as_pytorchs_does() -> None:
    """For each op, the dtype of its result under bfloat16, from the same inputs in float32 and bfloat16."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    functions = {
        "matmul": (lambda m, a: a @ a, lambda a: a @ a),
        "linear": (lambda m, a: m.linear(a, a, a[0]), lambda a: torch.nn.functional.linear(a, a, a[0])),
        "relu": (lambda m, a: gg.relu(a), torch.relu),
        "add": (lambda m, a: a + a, lambda a: a + a),
        "mse_loss": (lambda m, a: m.mse_loss(a, a * 2), lambda a: torch.nn.functional.mse_loss(a, a * 2)),
        "conv1d": (lambda m, a: m.conv1d(a[None], a[:, :, None]), lambda a: torch.nn.functional.conv1d(a[None], a[:, :, None])),
        "tanh": (lambda m, a: gg.tanh(a), torch.tanh),
    }
    for dtype in ("float32", "bfloat16"):
        ours, theirs = gg.tensor(values, dtype=dtype), torch.tensor(values).to(getattr(torch, dtype))
        for name, (mine, other) in functions.items():
            with gg.autocast("bfloat16"), torch.autocast("cpu", torch.bfloat16):
                got, want = mine(nn.functional, ours), other(theirs)
            assert str(got.dtype) == str(want.dtype).removeprefix("torch."), (name, dtype)
            np.testing.assert_allclose(got.astype("f").numpy(), want.float().numpy(), rtol=0.02, atol=0.02)
