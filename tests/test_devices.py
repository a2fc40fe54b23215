"""``device="cuda"`` as a user meets it, on the stand-in for CuPy: moving, training, loading data, sharing arrays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.data import DataLoader, Subset, TensorDataset


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


# --- making and moving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "device"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("auto", "cuda:0")])
def test_tensors_are_made_where_they_are_asked_for(cupy: Any, name: str, device: str) -> None:
    made = [
        gg.tensor([1.0, 2.0], device=name),
        gg.asarray(np.ones(2), device=name),
        gg.zeros(2, device=name),
        gg.ones((2,), device=name, requires_grad=True),
        gg.empty(2, device=name),
        gg.full(2, 7.0, device=name),
        gg.full(2, np.array([1.0, 2.0]), device=name),
        gg.arange(2, device=name),
        gg.linspace(0, 1, 2, device=name),
        gg.eye(2, device=name),
        gg.tensor([1.0, 2.0]).to(name),
        gg.tensor([1.0, 2.0]).cuda(name),
        gg.fft.fftfreq(2, device=name),
    ]
    assert {t.device for t in made} == {device}
    assert {gg.zeros_like(t).device for t in made} == {device}
    assert {copy.deepcopy(t.detach()).device for t in made} == {device}
    assert {pickle.loads(pickle.dumps(t.detach())).device for t in made} == {device}
    assert {t.cpu().device for t in made} == {"cpu"}
    assert all(type(t.numpy()) is np.ndarray for t in made)
    np.testing.assert_array_equal(made[0].numpy(), [1, 2])
    assert f"device='{device}'" in repr(made[0])
    assert gg.device_count() == 2
    assert gg.cuda_is_available()


def test_the_current_gpu_is_the_default_one_and_is_left_alone(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        assert gg.zeros(2, device="cuda").device == "cuda:1"
        assert gg.tensor([1.0]).cuda(0).device == "cuda:0"
        assert cupy.cuda.runtime.getDevice() == 1
    x = gg.ones(3, device="cuda:1", requires_grad=True)
    (gg.exp(x) * x).sum().backward()
    assert x.grad is not None
    assert x.grad.device == "cuda:1"
    assert cupy.cuda.runtime.getDevice() == 0


def test_a_copy_only_where_one_is_asked_for(cupy: Any) -> None:
    a = cupy.asarray(np.ones(3))
    assert gg.asarray(a).data is a
    assert gg.asarray(a, device="cuda:0").data is a
    assert gg.tensor(a).data is not a
    assert gg.asarray(a).to("cuda").data is a
    assert TensorDataset(a).to("cuda:0").arrays[0] is a


def test_gradients_flow_between_devices(cupy: Any) -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    w = gg.tensor([3.0, 4.0], device="cuda:1", requires_grad=True)
    y = (x * x).to("cuda:0")
    z = ((y * 2.0).to("cuda:1") * w).cpu()
    (z + x).sum().backward()
    assert x.grad is not None
    assert w.grad is not None
    assert (x.grad.device, w.grad.device) == ("cpu", "cuda:1")
    np.testing.assert_array_equal(x.grad.numpy(), [13, 33])
    np.testing.assert_array_equal(w.grad.numpy(), [2, 8])


@pytest.mark.parametrize("back", [True, False])
def test_every_derivative_of_a_function_that_crosses_devices(cupy: Any, back: bool) -> None:
    """Rules make arrays, such as the zeros around a slice, beside the cotangents and tangents that they are given."""

    def function(x: Any, device: str) -> Any:
        y = x.to(device)
        values, vectors = gg.linalg.eigh(gg.diag(y) + gg.outer(y, y))
        z = gg.concatenate([y[1:] ** 3 * y[:-1], gg.cumsum(y)[::2], values * vectors[0] ** 2]).sum()
        return z.cpu() if back else z

    def numbers(value: Any) -> Any:
        return gg.asarray(value).cpu().detach().numpy()

    x, v = np.arange(1.0, 5), np.array([0.5, -1, 2, 0.25])
    derivatives = {
        "grad": lambda f: gg.grad(f)(x),
        "jacobian": lambda f: gg.jacobian(f)(x),
        "hessian": lambda f: gg.hessian(f)(x),
        "jvp": lambda f: gg.jvp(f, (x,), (v,))[1],
        "hvp": lambda f: gg.jvp(gg.grad(f), (x,), (v,))[1],
        "grad of grad": lambda f: gg.grad(lambda x: (gg.grad(f)(x) ** 2).sum())(x),
    }
    for name, derivative in derivatives.items():
        here, there = (derivative(lambda x, d=d: function(x, d)) for d in ("cpu", "cuda:1"))
        np.testing.assert_allclose(numbers(there), here, rtol=1e-12, err_msg=name)
    leaf = gg.tensor(x, requires_grad=True)
    function(leaf, "cuda:1").backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), gg.grad(lambda x: function(x, "cpu"))(x), rtol=1e-12)
    z = gg.tensor(np.array([1 + 2j, 3 - 1j]), device="cuda:1", requires_grad=True)
    gg.square(gg.abs(z[1:])).sum().cpu().backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), [0, 6 - 2j], rtol=1e-12)


def test_numbers_and_lists_go_with_any_device(cupy: Any) -> None:
    x = gg.tensor([1.0, 2.0], device="cuda:1", requires_grad=True)
    y = x * 2 + np.float32(1) - gg.tensor(0.5) + [1.0, 2.0]
    y = gg.maximum(y, np.array(0.0, "float32")) ** 2
    assert (y.device, y.dtype) == ("cuda:1", "float32")
    y.backward(gg.ones(2, device="cuda:1"))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [14, 26])
    assert range(3)[gg.tensor(1, device="cuda")] == 1
    assert float(y[0]) == 12.25
    assert bool(y[0] > 0)


# --- CuPy's arrays and other libraries ----------------------------------------------------------------------------


def test_cupy_in_cupy_out(cupy: Any) -> None:
    x = cupy.asarray(np.array([1.0, 2.0]))

    def f(x: Any) -> Any:
        return (x**3).sum()

    found = [gg.grad(f)(x), gg.grad(lambda x: gg.grad(f)(x).sum())(x), gg.hvp(f, (x,), (x,)), gg.jacobian(gg.exp)(x)]
    found += [gg.hessian(f)(x), *gg.value_and_grad(f)(x), *gg.jvp(gg.sin, (x,), (x,)), gg.elementwise_grad(gg.tanh)(x)]
    value, pull = gg.vjp(gg.sin, x)
    found += [value, *pull(x)]
    assert {type(a) for a in found} == {cupy.ndarray}
    np.testing.assert_array_equal(found[0].get(), [3, 12])
    np.testing.assert_array_equal(found[1].get(), [6, 12])


def test_functions_of_cupy_and_operators_with_its_arrays_are_recorded(cupy: Any) -> None:
    a = cupy.asarray(np.array([1.0, 2.0]))
    gradient = gg.grad(lambda x: (a * cupy.exp(x) + a @ x - a / x + np.sin(x) * (a > 1)).sum())(a)
    expected = gg.grad(lambda x: (a.get() * np.exp(x) + a.get() @ x - a.get() / x + np.sin(x) * (a.get() > 1)).sum())(a.get())
    assert type(gradient) is cupy.ndarray
    np.testing.assert_allclose(gradient.get(), expected)
    total = cupy.zeros(2)
    total += gg.tensor([1.0, 2.0], device="cuda")
    np.testing.assert_array_equal(total.get(), [1, 2])
    with pytest.raises(gg.DTypeError, match="lose its gradient"):
        total += gg.ones(2, device="cuda", requires_grad=True)


def test_memory_is_shared_by_the_cuda_array_interface(cupy: Any) -> None:
    t = gg.ones((2, 3), device="cuda")
    assert t.__cuda_array_interface__["data"][0] == t.data.data.ptr
    assert t.__cuda_array_interface__["shape"] == (2, 3)

    class Other:
        """An array of another library."""

        __cuda_array_interface__ = t.__cuda_array_interface__

    shared = gg.asarray(Other())
    assert shared.data.data.ptr == t.data.data.ptr
    assert not hasattr(gg.ones(2), "__cuda_array_interface__")
    with pytest.raises(gg.GradientError, match="detach"):
        t.requires_grad_().__cuda_array_interface__


def test_no_copy_to_the_host_goes_unseen(cupy: Any) -> None:
    with pytest.raises(gg.DeviceError, match=r"\.numpy\(\) or \.cpu\(\)"):
        np.asarray(gg.ones(2, device="cuda"))


# --- modules, optimisers, data ------------------------------------------------------------------------------------


def make_net() -> nn.Sequential:
    gg.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}
DATA = TensorDataset(np.random.default_rng(0).normal(size=(20, 4)).astype("float32"), np.arange(20) % 3)


def trained(net: nn.Module, optimizer: optim.Optimizer, loader: Any, epochs: int = 2) -> list[float]:
    losses = []
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = gg.cross_entropy(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(list(net.parameters()), 1.0)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_gives_the_numbers_of_the_cpu(cupy: Any, name: str) -> None:
    results = {}
    for device in ("cpu", "cuda:1"):
        net = make_net().to(device)
        optimizer = OPTIMIZERS[name](net.parameters())
        losses = trained(net, optimizer, DataLoader(DATA, 8, shuffle=True, seed=1, device=device))
        state = optimizer.state_dict()["state"]
        assert {v.device for values in state.values() for n, v in values.items() if n != "step"} <= {device}
        results[device] = losses, [p.detach().numpy() for p in net.parameters()]
    np.testing.assert_allclose(results["cuda:1"][0], results["cpu"][0], rtol=1e-5)
    for a, b in zip(results["cuda:1"][1], results["cpu"][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_model_moves_with_its_optimiser_and_its_checkpoint(cupy: Any, tmp_path: Path) -> None:
    net = make_net()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    trained(net, optimizer, DataLoader(DATA, 8))
    assert {p.device for p in net.cuda().parameters()} == {"cuda:0"}
    trained(net, optimizer, DataLoader(DATA, 8, device="cuda"))
    assert {p.device for p in net.cuda(1).parameters()} == {"cuda:1"}
    trained(net, optimizer, DataLoader(DATA, 8, device="cuda:1"))
    gg.save(net.state_dict(), tmp_path / "net.safetensors")
    saved = optimizer.state_dict()
    other = make_net().cpu()
    again = OPTIMIZERS["adam"](other.parameters())
    other.load_state_dict(gg.load(tmp_path / "net.safetensors"))
    again.load_state_dict(saved)
    here = trained(other, again, DataLoader(DATA, 8))
    np.testing.assert_allclose(trained(net, optimizer, DataLoader(DATA, 8, device="cuda:1")), here, rtol=1e-5)
    assert {p.device for p in net.cpu().parameters()} == {"cpu"}
    assert make_net().to("cuda", "float16").state_dict()["0.weight"].dtype == "float16"


def test_an_optimiser_of_parameters_on_several_devices(cupy: Any) -> None:
    params = [gg.ones(2, device=d, requires_grad=True) for d in ("cpu", "cuda:0", "cuda:1", "cuda:0")]
    optimizer = optim.Adam(params, lr=0.5)
    for _ in range(2):
        for p in params:
            p.grad = gg.ones(2, device=p.device)
        optimizer.step()
    assert [p.device for p in params] == ["cpu", "cuda:0", "cuda:1", "cuda:0"]
    for p in params[1:]:
        np.testing.assert_array_equal(p.detach().numpy(), params[0].detach().numpy())
    assert {float(state["step"]) for state in optimizer.state_dict()["state"].values()} == {2.0}


@pytest.mark.parametrize("kind", ["on the CPU", "on the GPU", "subset", "samples", "own collate", "left early"])
def test_loaders_bring_batches_to_the_gpu(cupy: Any, kind: str) -> None:
    data: Any = DATA
    options: dict[str, Any] = {}
    if kind == "on the GPU":
        data = DATA.to("cuda:1")
    elif kind == "subset":
        data = Subset(DATA, [3, 1, 4, 1, 5, 9, 2, 6])
    elif kind == "samples":
        data = [(np.full(3, float(i)), i) for i in range(7)]
    elif kind == "own collate":
        options["collate_fn"] = lambda rows: {"x": np.stack([r[0] for r in rows]), "names": [str(r[1]) for r in rows]}
    batches = list(DataLoader(data, 3, shuffle=True, seed=2, device="cuda:1", **options))
    plain = list(DataLoader(data.to("cpu") if kind == "on the GPU" else data, 3, shuffle=True, seed=2, **options))
    if kind == "left early":
        loader = iter(DataLoader(DATA, 3, device="cuda:1"))
        first = next(loader)
        loader.close()
        np.testing.assert_array_equal(first[0].numpy(), DATA.arrays[0][:3])
    assert len(batches) == len(plain)
    for there, here in zip(batches, plain, strict=True):
        if kind == "own collate":
            assert type(there["x"]) is cupy.ndarray
            assert there["names"] == here["names"]
            np.testing.assert_array_equal(there["x"].get(), here["x"])
            continue
        for a, b in zip(there, here, strict=True):
            assert (a.device, a.dtype) == ("cuda:1", b.dtype)
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert {t.device for batch in DataLoader(DATA.to("cuda"), 3, device="cpu") for t in batch} == {"cpu"}
    assert cupy.cuda.runtime.getDevice() == 0


def test_autocast_on_the_gpu(cupy: Any) -> None:
    net = make_net().to("cuda:1")
    optimizer, scaler = optim.Adam(net.parameters(), lr=0.02), gg.GradScaler(init_scale=1024.0)
    losses = []
    x, y = (gg.asarray(a, device="cuda:1") for a in DATA.arrays)
    for _ in range(60):
        optimizer.zero_grad()
        with gg.autocast("float16"):
            out = net(x)
            loss = gg.cross_entropy(out, y)
        assert (out.dtype, loss.dtype) == ("float16", "float32")
        scaler.scale(loss).backward()
        assert scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert {(p.dtype.name, p.device) for p in net.parameters()} == {("float32", "cuda:1")}
    assert losses[-1] < 0.7 * losses[0]


def test_a_training_step_waits_for_the_gpu_only_where_a_value_is_asked_for(cupy: Any) -> None:
    from cupy_standin import cuda

    net = make_net().cuda()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = gg.ones((8, 4), device="cuda")
    before = cuda.synchronizations
    gg.mse_loss(net(x), gg.zeros((8, 3), device="cuda")).backward()
    optimizer.step()
    assert cuda.synchronizations == before


def test_checkpoint_and_function_and_recording(cupy: Any) -> None:
    class Double(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * ctx.saved_tensors[0] * 2

    x = gg.tensor([1.0, 2.0], device="cuda:1", requires_grad=True)
    y = gg.checkpoint(lambda x: Double.apply(gg.sin(x)) * x, x)
    y.sum().backward()
    expected = gg.grad(lambda x: gg.sum(gg.sin(x) ** 2 * x))(np.array([1.0, 2.0], "float32"))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)
    x.grad = None
    y = gg.exp(x)
    y.sum().backward(create_graph=True)
    assert x.grad is not None
    assert x.grad.device == "cuda:1"
    with x.data.device:
        x.data -= 0.5
    assert x.device == "cuda:1"


@pytest.mark.parametrize(
    "name", sorted(name for name in optim.__dict__ if name[0].isupper() and name not in ("LBFGS", "Optimizer"))
)
def test_every_optimiser_steps_on_the_gpu_as_on_the_cpu(cupy: Any, name: str) -> None:
    params = [gg.ones((3, 2), device=d, requires_grad=True) for d in ("cpu", "cuda:1")]
    for p in params:
        optimizer = getattr(optim, name)([p], lr=0.01)
        for step in range(3):
            p.grad = gg.full((3, 2), step - 0.5, device=p.device)
            optimizer.step()
    np.testing.assert_allclose(params[1].detach().numpy(), params[0].detach().numpy(), rtol=1e-6)


def test_lbfgs_on_the_gpu(cupy: Any) -> None:
    found = []
    for device in ("cpu", "cuda:1"):
        x = gg.tensor([-1.0, 2.0], "float64", device, requires_grad=True)
        optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe")

        def closure(x: gg.Tensor = x, optimizer: Any = optimizer) -> gg.Tensor:
            optimizer.zero_grad()
            loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        found.append(x.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


# --- tools, on a GPU that is not the current one ----------------------------------------------------------------------


def test_detect_anomaly_on_another_gpu(cupy: Any) -> None:
    x = gg.tensor([-1.0, 4.0], device="cuda:1", requires_grad=True)
    with gg.detect_anomaly():
        (x * 2).sum().backward()
        gg.tensor([1.0]).to("cuda:1")
        gg.tensor([1.0], device="cuda:0").to("cuda:1")
    with pytest.raises(gg.AnomalyError, match="log produced nan"), gg.detect_anomaly():
        gg.log(x + gg.exp(gg.tensor([1.0], device="cuda:0")).to("cuda:1") * 0)
    assert cupy.cuda.runtime.getDevice() == 0


def test_profile_on_two_gpus(cupy: Any, tmp_path: Path) -> None:
    inputs = [gg.ones(3, device=f"cuda:{i}", requires_grad=True) for i in (0, 1)]
    with gg.profile() as profile:
        for x in inputs:
            gg.exp(x).sum().backward()
    profile.save_trace(tmp_path / "trace.json")
    assert {row.calls for row in profile.by_op()} == {2}


def test_draw_on_another_gpu(cupy: Any) -> None:
    drawing = gg.draw(lambda x: (gg.sin(x) * 2).sum(), gg.tensor([0.0, 1.0], device="cuda:1"), local=True)
    assert drawing.text == gg.draw(lambda x: (gg.sin(x) * 2).sum(), gg.tensor([0.0, 1.0]), local=True).text
    assert cupy.cuda.runtime.getDevice() == 0


def test_causal_attention_on_another_gpu(cupy: Any) -> None:
    x = gg.ones((2, 3, 4), device="cuda:1", requires_grad=True)
    assert gg.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).device == "cuda:1"
