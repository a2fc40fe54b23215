"""Products of layers through a stand-in for cuBLASLt that works on memory: epilogues against NumPy, and ops against the CPU's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import cupy_standin
import numpy as np
import pytest
from cupy_standin import cublaslt, cuda
from kernel_cases import DTYPES, EPS, dtype_of, needs_cpu_runner
from test_kernels_wiring import first_order, rows
from test_ops_cupy import DEVICE, moved, same

import gpugrad as gg
from gpugrad import nn
from gpugrad.cuda import gemm, products
from gpugrad.cuda.gemm import Epilogue

pytestmark = needs_cpu_runner


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2, kernels=True) as library:
        yield library


@pytest.fixture
def lt() -> Iterator[cublaslt.CublasLt]:
    with cublaslt.installed() as library:
        yield library


# --- epilogues ----------------------------------------------------------------------------------------------------


def near(got: Any, want: np.ndarray, dtype: str) -> None:
    found = got.get().astype(np.float64)
    np.testing.assert_allclose(found, want, rtol=4 * EPS[dtype], atol=16 * EPS[dtype] * np.abs(want).max(initial=1.0))


def operands(dtype: str, *shapes: tuple[int, ...]) -> tuple[list[Any], list[np.ndarray]]:
    made = [np.random.default_rng(i).standard_normal(shape).astype(dtype_of(dtype)) for i, shape in enumerate(shapes)]
    with gg.backend.on_device(DEVICE)[1]:
        return [moved(a) for a in made], [a.astype(np.float64) for a in made]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float64"])
@pytest.mark.parametrize("n", [128, 256])
def test_relu(dtype: str, n: int, lt: cublaslt.CublasLt, cupy: Any) -> None:
    (x, w, b, t, v), (x_, w_, b_, t_, v_) = operands(dtype, (6, 5), (n, 5), (n,), (6, 9), (9, n))
    with cupy.cuda.Device(1):
        y, mask = products.activated(cupy, x, w, b, "relu")
        entered = x_ @ w_.T + b_
        near(y, np.maximum(entered, 0), dtype)
        assert mask.shape == (6, n // 8)
        bits = np.unpackbits(mask.get(), axis=1, bitorder="little").astype(bool)
        np.testing.assert_array_equal(bits, y.get().astype(float) > 0)
        dz, db = products.through_activation(cupy, t, v, "relu", mask, True)
        want = (t_ @ v_) * bits
        near(dz, want, dtype)
        near(db, want.sum(0), dtype)
        alone, none = products.through_activation(cupy, t, v, "relu", mask, False)
        near(alone, want, dtype)
        assert none is None
    assert [epilogue for epilogue, _ in lt.ran] == [Epilogue.RELU_AUX_BIAS, Epilogue.DRELU_BGRAD, Epilogue.DRELU]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float64"])
def test_gelu(dtype: str, lt: cublaslt.CublasLt, cupy: Any) -> None:
    (x, w, b, t, v), (x_, w_, b_, t_, v_) = operands(dtype, (6, 5), (24, 5), (24,), (6, 9), (9, 24))
    with cupy.cuda.Device(1):
        y, entered = products.activated(cupy, x, w, b, "gelu_tanh")
        near(entered, x_ @ w_.T + b_, dtype)
        near(y, cublaslt.gelu(entered.get().astype(float))[0], dtype)
        dz, db = products.through_activation(cupy, t, v, "gelu_tanh", entered, True)
        want = (t_ @ v_) * cublaslt.gelu(entered.get().astype(float))[1]
        near(dz, want, dtype)
        near(db, want.sum(0), dtype)
    assert [epilogue for epilogue, _ in lt.ran] == [Epilogue.GELU_AUX_BIAS, Epilogue.DGELU_BGRAD]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float64"])
def test_weight_and_bias_gradients_and_their_sums(dtype: str, lt: cublaslt.CublasLt, cupy: Any) -> None:
    (t, x, so_far), (t_, x_, so_far_) = operands(dtype, (7, 5), (7, 4), (5, 4))
    with cupy.cuda.Device(1):
        dw, db = products.affine_gradients(cupy, t, x, True)
        near(dw, t_.T @ x_, dtype)
        near(db, t_.sum(0), dtype)
        into, _ = products.affine_gradients(cupy, t, x, False, so_far)
        assert into is so_far
        near(so_far, so_far_ + t_.T @ x_, dtype)
        sums = cupy.empty(4, t.dtype)
        near(gemm.matmul(t.T, x, sums, Epilogue.BGRADA), t_.T @ x_, dtype)
        near(sums, x_.sum(0), dtype)
    assert lt.ran == [(Epilogue.BGRADB, 0.0), (Epilogue.NONE, 1.0), (Epilogue.BGRADA, 0.0)]


def test_widths_that_an_auxiliary_matrix_would_need_padding_for_do_without(lt: cublaslt.CublasLt, cupy: Any) -> None:
    (x, w, b, v), (x_, w_, b_, _) = operands("float32", (6, 5), (10, 5), (10,), (12, 5))
    with cupy.cuda.Device(1):
        y, mask = products.activated(cupy, x, w, b, "relu")
        assert mask is None
        near(y, np.maximum(x_ @ w_.T + b_, 0), "float32")
        assert products.activated(cupy, x, w, b, "gelu_tanh") is NotImplemented
        assert products.activated(cupy, x, v, None, "relu")[1] is None
        assert products.activated(cupy, x, w, b, "tanh") is NotImplemented
    assert [epilogue for epilogue, _ in lt.ran] == [Epilogue.RELU_BIAS, Epilogue.RELU]


def test_addresses_of_views_are_told_to_the_heuristic(lt: cublaslt.CublasLt, cupy: Any) -> None:
    (x, w, long), (x_, w_, long_) = operands("float32", (9, 5), (5, 8), (10,))
    with cupy.cuda.Device(1):
        for start in range(3):
            near(gemm.matmul(x[start:], w, long[start : start + 8]), x_[start:] @ w_ + long_[start : start + 8], "float32")
    assert len(lt.asked) >= 2, "an algorithm for aligned operands must not be taken for others"


def test_what_was_refused_is_remembered(cupy: Any) -> None:
    (x, w, b, out), (x_, w_, b_, _) = operands("float32", (6, 5), (128, 5), (128,), (6, 128))
    with cupy.cuda.Device(1), cublaslt.installed(refuses=lambda m, n, k, epilogue: epilogue != Epilogue.RELU_BIAS) as lt:
        y, mask = products.activated(cupy, x, w, b, "relu")
        assert mask is None
        near(y, np.maximum(x_ @ w_.T + b_, 0), "float32")
        assert products.product(cupy, x, w.T) is NotImplemented
        lt.asked.clear()
        for _ in range(3):
            with pytest.raises(gg.DeviceError, match="no algorithm"):
                gemm.matmul(x, w.T, b, out=out)
            gemm.matmul(x, w.T, b, Epilogue.RELU_BIAS, out)
        assert Counter(lt.asked) <= Counter((Epilogue.BIAS, Epilogue.RELU_BIAS))
        for aux in (None, cupy.empty((6, 10), "u1"), cupy.empty((6, 16), "i1")):
            with pytest.raises(gg.ShapeError, match="aux= must be"):
                gemm.matmul(x, w.T, b, Epilogue.RELU_AUX_BIAS, aux=aux)


# --- ops ----------------------------------------------------------------------------------------------------------


def layers(*activations: str | None) -> Callable[..., Any]:
    return lambda x, *arrays: gg.ops.linalg.linear_layers([x, *arrays], activations)


def of_layers(*widths: int, dtype: str = "float32") -> list[Any]:
    arrays = [rows(3, widths[0], dtype=dtype)]
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        arrays += [rows(fan_out, fan_in, dtype=dtype, seed=i + 1), rows(fan_out, dtype=dtype, seed=i + 9)]
    return arrays


E = Epilogue
PRODUCTS: dict[str, tuple[Callable[..., Any], list[Any], list[int]]] = {
    "mm": (gg.mm, [rows(3, 4), rows(4, 5, seed=1)], [1, 1, 1]),
    "matmul": (gg.matmul, [rows(3, 4), rows(4, 5, seed=1)], [1, 1, 1]),
    "matmul of a transpose": (lambda x, y: x.T @ y, [rows(4, 3), rows(4, 5, seed=1)], [1, 1, 1]),
    "linear": (nn.functional.linear, [rows(3, 4), rows(5, 4, seed=1), rows(5, seed=2)], [E.BIAS, E.BGRADB, 1]),
    "linear of a stack": (nn.functional.linear, [rows(2, 3, 4), rows(5, 4, seed=1)], [1, 1, 1]),
    "double precision with a bias": (nn.functional.linear, [rows(3, 4, dtype="float64"), rows(5, 4, dtype="float64"),
                                                            rows(5, dtype="float64")], [1, 1]),
    "a stack": (gg.matmul, [rows(2, 3, 4), rows(2, 4, 5)], []),
    "vectors": (gg.matmul, [rows(4), rows(4)], []),
    "nothing": (gg.matmul, [rows(0, 4), rows(4, 5)], []),
    "no algorithm": (gg.matmul, [rows(3, 4), rows(4, 13)], [1]),
    "rows that lie apart both ways": (lambda x, y: x[:, ::2] @ y, [rows(3, 8), rows(4, 5)], [1]),
    "relu": (layers("relu", None), of_layers(4, 128, 5), [E.RELU_AUX_BIAS, E.BIAS, E.BGRADB, E.DRELU_BGRAD, 1, 1]),
    "relu, narrow": (layers("relu", None), of_layers(4, 6, 5), [E.RELU_BIAS, E.BIAS, E.BGRADB, 1, 1, 1]),
    "relu on top": (layers("relu"), of_layers(4, 128), [E.RELU_AUX_BIAS, 1, 1]),
    "three relus": (layers("relu", "relu", "relu"), of_layers(4, 128, 256, 128),
                    [E.RELU_AUX_BIAS] * 3 + [1, E.DRELU_BGRAD, 1, E.DRELU_BGRAD, 1, 1]),
    "gelu": (layers("gelu_tanh", None), of_layers(4, 8, 5), [E.GELU_AUX_BIAS, E.BIAS, E.BGRADB, E.DGELU_BGRAD, 1, 1]),
    "gelu, narrow": (layers("gelu_tanh", "gelu_tanh"), of_layers(4, 6, 5), [1, 1, E.BGRADB, 1, E.BGRADB, 1]),
    "tanh": (layers("tanh", "sigmoid"), of_layers(4, 128, 128), [1] * 6),
    "double precision": (layers("relu", "gelu_tanh"), of_layers(4, 128, 8, dtype="float64"), [1] * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_ops(name: str) -> None:
    function, arrays, expected = PRODUCTS[name]
    with cublaslt.installed(refuses=lambda m, n, k, epilogue: m == 13) as lt:
        got = first_order(function, arrays, DEVICE)
    assert [epilogue for epilogue, _ in lt.ran] == expected
    same(got, first_order(function, arrays, "cpu"), 1e-5)


@pytest.mark.parametrize("refused", [E.RELU_AUX_BIAS, E.DRELU_BGRAD, E.BGRADB, E.BIAS, E.DGELU_BGRAD, E.GELU_AUX_BIAS])
def test_each_epilogue_can_be_done_without(refused: int) -> None:
    function, arrays = layers("relu", "gelu_tanh", None), of_layers(4, 128, 8, 5)
    with cublaslt.installed(refuses=lambda m, n, k, epilogue: epilogue == refused) as lt:
        got = first_order(function, arrays, DEVICE)
    assert refused not in {epilogue for epilogue, _ in lt.ran}
    same(got, first_order(function, arrays, "cpu"), 1e-5)


def test_second_order_and_forward_mode(lt: cublaslt.CublasLt) -> None:
    function, arrays = layers("relu", "gelu_tanh", None), of_layers(4, 128, 8, 5)

    def loss(*inputs: Any) -> Any:
        return gg.sum(gg.square(function(*inputs)))

    def slope(*inputs: Any) -> Any:
        return gg.sum(gg.square(gg.grad(loss, 1)(*inputs)))

    there = [moved(a) for a in arrays]
    same(gg.grad(slope)(*there), gg.grad(slope)(*arrays), 1e-3)
    same(gg.jvp(function, there, there)[1], gg.jvp(function, arrays, arrays)[1], 1e-4)


# --- gradients that are added up ----------------------------------------------------------------------------------


def net_on(device: str) -> nn.Sequential:
    gg.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 3)).to(device)


def two_backwards(device: str, between: Callable[[Any], Any] = lambda net: None) -> tuple[Any, list[Any]]:
    net = net_on(device)
    for seed in range(2):
        net(gg.asarray(rows(5, 4, seed=seed), device=device)).sum().backward()
        if seed == 0:
            kept = between(net)
    return kept, [p.grad for p in net.parameters()]


def test_a_second_backward_adds_in_the_product(lt: cublaslt.CublasLt) -> None:
    _, got = two_backwards(DEVICE)
    same(got, two_backwards("cpu")[1], 1e-5)
    assert [beta for _, beta in lt.ran if beta] == [1.0, 1.0]


def test_gradients_that_others_hold_are_left_alone(lt: cublaslt.CublasLt) -> None:
    def hold(net: Any) -> Any:
        return [p.grad for p in net.parameters()]

    def hold_arrays(net: Any) -> Any:
        return [p.grad.data for p in net.parameters()]

    for how in (hold, hold_arrays):
        kept, got = two_backwards(DEVICE, how)
        first, want = two_backwards("cpu", how)
        same(got, want, 1e-5)
        same([gg.asarray(k) for k in kept], [gg.asarray(f) for f in first], 1e-5)
    assert not any(beta for _, beta in lt.ran)


def test_transforms_and_hooks_never_add(lt: cublaslt.CublasLt) -> None:
    net = net_on(DEVICE)
    x = gg.asarray(rows(5, 4), device=DEVICE)
    net(x).sum().backward()
    before = [p.grad.cpu().tolist() for p in net.parameters()]
    gg.grad(lambda v: net(v).sum())(x)
    gg.vjp(lambda v: net(v).sum(), x)[1](gg.asarray(1.0, device=DEVICE))
    assert [p.grad.cpu().tolist() for p in net.parameters()] == before
    net(x).sum().backward(retain_graph=True)
    net(x).sum().backward(create_graph=True)
    assert not any(beta for _, beta in lt.ran)


# --- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_net_trains_as_on_the_cpu(precision: str, lt: cublaslt.CublasLt) -> None:
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes")

    def losses(device: str) -> list[float]:
        gg.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, 16), nn.GELU("tanh"), nn.Linear(16, 3)).to(device)
        optimizer = gg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x, y = gg.asarray(rows(24, 6), device=device), gg.asarray(np.arange(24) % 3, device=device)
        found = []
        for _ in range(8):
            optimizer.zero_grad()
            with gg.autocast(precision if precision != "float32" else "float16", enabled=precision != "float32"):
                loss = gg.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    cuda.launches.clear()
    got = losses(DEVICE)
    assert {E.RELU_AUX_BIAS, E.DRELU_BGRAD, E.GELU_AUX_BIAS, E.DGELU_BGRAD, E.BGRADB} <= {epilogue for epilogue, _ in lt.ran}
    assert not any(name.startswith(("bias_activation", "activation", "sum_columns")) for name in cuda.launches)
    np.testing.assert_allclose(got, losses("cpu"), rtol={"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}[precision])
    assert got[-1] < got[0]
