"""bfloat16 on a GPU, which is the stand-in for CuPy with its kernels on the CPU: what runs on it as it is, and the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from cupy_standin import cuda
from kernel_cases import needs_cpu_runner
from op_cases import Case, cotangent_for, params
from test_ops_cupy import DEVICE, on_gpu

import gpugrad as gg
from gpugrad import nn
from gpugrad.cuda import wiring

pytest.importorskip("ml_dtypes")

from test_bfloat16 import BFLOAT16, LOOSE, SAMPLES, close, gradients, in_dtype, narrowed

pytestmark = needs_cpu_runner


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2, kernels=True) as library:
        yield library


FAST = {*LOOSE, *wiring.FORWARDS}
"""Kernels and products keep bfloat16 between them, so their backwards read rounded results."""


@params(SAMPLES)
def test_ops(case: Case) -> None:
    low, exact = on_gpu(in_dtype(case, BFLOAT16)), in_dtype(case, np.float64)
    got, want = (each.op.public(*each.sample.args, **each.sample.kwargs) for each in (low, exact))
    close(on_cpu(got), want, case.op.name in {*LOOSE, "linear_layers", "chain"})


def on_cpu(value: Any) -> Any:
    return tuple(map(on_cpu, value)) if isinstance(value, tuple) else value.cpu()


@params([case for case in SAMPLES if case.positions])
def test_gradients(case: Case) -> None:
    function, arrays = in_dtype(case, np.float64).function()
    cotangent = narrowed(cotangent_for(function(*arrays)), np.float64)
    got = gradients(on_gpu(in_dtype(case, BFLOAT16)), gg.asarray(cotangent, device=DEVICE))
    close([g.cpu() for g in got], gradients(in_dtype(case, np.float64), cotangent), case.op.name in FAST)


def launched(function: Any) -> Counter[str]:
    cuda.launches.clear()
    function()
    return Counter(name.partition("<")[2].rpartition(">")[0] for name in cuda.launches)


def test_kernels_get_bfloat16_itself() -> None:
    x = gg.tensor([[1.0, -2.0, 3.0]], dtype="bfloat16", device=DEVICE, requires_grad=True)
    for function in (gg.relu, gg.tanh, gg.softmax, lambda v: gg.sum(v, axis=0)):
        names = launched(lambda f=function: f(x).backward(gg.ones_like(f(x))))
        assert names, "no kernel ran"
        assert all("__nv_bfloat16" in name for name in names)
    assert not launched(lambda: gg.sinh(x)), "an op without a kernel"


def test_no_kernels_no_difference() -> None:
    """Where CuPy cannot compile, the same ops run by way of float32."""
    with cupy_standin.installed(devices=2):
        x = gg.tensor(np.ones((3, 512)), dtype="bfloat16", device="cuda", requires_grad=True)
        layer = nn.Linear(512, 4).to("cuda", "bfloat16")
        out = gg.sum(gg.relu(layer(x)), axis=0)
        out.sum().backward()
        assert (out.dtype, out.device, x.grad.dtype) == (BFLOAT16, "cuda:0", BFLOAT16)
        assert gg.sum(x).item() == 1536.0
    cupy_standin.install(devices=2, kernels=True)


def digits() -> tuple[np.ndarray, np.ndarray]:
    found = pytest.importorskip("sklearn.datasets").load_digits()
    return (found.data / 16).astype("float32"), found.target


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_autocast_trains_a_net_with_weights_in_float32_and_no_scaler(device: str) -> None:
    images, labels = digits()
    gg.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)).to(device)
    optimizer = gg.optim.Adam(net.parameters(), lr=5e-3)
    x, y = gg.asarray(images, device=device), gg.asarray(labels, device=device)
    for step in range(90 if device == "cpu" else 12):
        part = slice(step % 6 * 256, (step % 6 + 1) * 256)
        optimizer.zero_grad()
        with gg.autocast("bfloat16"):
            out = net(x[part])
            loss = gg.cross_entropy(out, y[part])
        assert (out.dtype, loss.dtype) == (BFLOAT16, "float32")
        loss.backward()
        optimizer.step()
    assert {p.dtype for p in net.parameters()} == {np.dtype("float32")}
    with gg.no_grad(), gg.autocast("bfloat16"):
        assert gg.metrics.accuracy(net(x[1536:]), y[1536:]) > (0.85 if device == "cpu" else 0.6)
