"""Generated kernels of elementwise chains: compiled by NVRTC, run on the CPU against float64, and through ``device="cuda"``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import cuda_cpu
import cupy_standin
import numpy as np
import pytest
from cupy_standin import cuda
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_cases import DTYPES, EPS, assert_close, dtype_of, launcher, needs_cpu_runner, run

import gpugrad as gg
from gpugrad import nn
from gpugrad.cuda import chains, compiler
from gpugrad.cuda.generated import Kernel, Layout, Slot, layout_of
from gpugrad.errors import DeviceError
from gpugrad.interpret import RAW
from gpugrad.modes import recording
from gpugrad.nn import functional
from gpugrad.op import registry
from gpugrad.ops.chain import Fused
from gpugrad.ops.expressions import Expressions


def e1(F: Any, x: Any) -> Any:
    return F.sigmoid(x) * F.tanh(x) + F.relu(x)


def gated(F: Any, x: Any, y: Any) -> Any:
    return F.gelu(x) * F.silu(y) - 0.3 * x**3


def affine(F: Any, x: Any, scale: Any, row: Any, column: Any) -> Any:
    return F.softplus(x * scale + row) * F.exp(-column) / (1.7 + column**2)


def chosen(F: Any, x: Any, mask: Any, y: Any) -> Any:
    return F.where(mask, F.maximum(x, y), F.leaky_relu(x - 1, 0.07)) * F.clip(y, -0.9, 0.8) + F.elu(F.hardtanh(x, -2.0, 1.5), 0.6)


def everything(F: Any, x: Any, y: Any) -> Any:
    """One long chain, for its registers."""
    out = F.erf(x) + F.log1p(F.abs(y)) * F.rsqrt(F.square(x) + 1.1) - F.power(F.abs(x) + 0.5, y)
    out = out + F.sin(x) * F.cos(y) + F.arctan2(x, y + 5.0) + F.hypot(x, y) + F.logaddexp(x, y) + F.sinh(x) * F.expm1(-y)
    return out * F.logsigmoid(x) + F.gelu(y, "tanh") * F.softsign(x) + F.minimum(x, y) * F.sign(x) + F.floor(y * 3) + x % 0.7


CHAINS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...] | str, ...], list[str]]] = {
    "e1": (e1, ("x",), DTYPES),
    "gated": (gated, ("x", "x"), ["float16", "float32"]),
    "affine": (affine, ("x", "one", "row", "column"), ["float32", "float64"]),
    "chosen": (chosen, ("x", "mask", "x"), ["float32"]),
    "everything": (everything, ("x", "x"), ["float32", "float64"]),
}
"""Functions, how their arguments lie, and for which dtypes they are tested."""

SHAPES = [((0, 5), 0), ((1, 1), 0), ((37, 27), 0), ((37, 27), 1), ((37, 32), 0), ((170, 124), 0)]
"""Shapes of the result, and by how many elements its arrays miss a multiple of 16 bytes."""


def shape_of(kind: str, over: tuple[int, int]) -> tuple[int, ...]:
    return {"x": over, "mask": over, "one": (), "row": over[1:], "column": (over[0], 1)}[kind]


def arrays_for(name: str, over: tuple[int, int], dtype: str, offset: int = 0) -> list[Any]:
    rng = np.random.default_rng(over)
    arrays = []
    for kind in CHAINS[name][1]:
        values = rng.standard_normal(shape_of(kind, over)) * 1.5
        size = dtype_of(dtype).itemsize
        if kind == "mask":
            arrays.append(cuda_cpu.array(values > 0, offset=offset))
        else:
            arrays.append(cuda_cpu.array(values, dtype_of(dtype), offset=offset * size))
    return arrays


XP = SimpleNamespace(
    ndarray=np.ndarray, empty=cuda_cpu.empty, broadcast_to=np.broadcast_to, ascontiguousarray=lambda a: cuda_cpu.array(a)
)


def launch(_: Any, xp: Any) -> Any:
    made = launcher()
    made.xp = cuda_cpu
    return made


def call_of(name: str) -> Any:
    function, kinds, _ = CHAINS[name]
    return Fused(function)._call((None,) * len(kinds), ())


def run_kernels(call: Any, arrays: list[Any], t: Any) -> tuple[Any, list[Any]]:
    """What both kernels give, under every schedule of threads."""
    held: dict[str, Any] = {}

    def forward() -> Any:
        out, held["trace"] = chains.forward(launch, XP, *arrays, function=call)
        return out

    def backward() -> Any:
        node = SimpleNamespace(parents=[a if a.dtype.kind != "b" else None for a in arrays])
        F = SimpleNamespace(library=XP, sum_to=RAW.sum_to)
        return tuple(chains.rule(launch, F, node, t, {"arrays": tuple(arrays), "aux": held["trace"]}))

    return run(forward), list(run(backward))


def exact(name: str, arrays: list[Any], t: Any) -> tuple[Any, list[Any]]:
    """The composition in float64."""
    leaves = [gg.tensor(np.asarray(a) if a.dtype.kind == "b" else np.asarray(a).astype(np.float64)) for a in arrays]
    leaves = [leaf if leaf.dtype.kind == "b" else leaf.requires_grad_() for leaf in leaves]
    out = CHAINS[name][0](gg.op.composed, *leaves)
    out.backward(np.array(np.asarray(t).astype(np.float64)))
    return out.numpy(), [None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


CASES = [(name, dtype) for name, (_, _, dtypes) in CHAINS.items() for dtype in dtypes if dtype in DTYPES]


@needs_cpu_runner
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_kernels_against_float64(name: str, dtype: str) -> None:
    call = call_of(name)
    for shape, offset in SHAPES:
        arrays = arrays_for(name, shape, dtype, offset)
        t = cuda_cpu.array(np.random.default_rng(9).standard_normal(shape), dtype_of(dtype))
        out, grads = run_kernels(call, arrays, t)
        want, slopes = exact(name, arrays, t)
        assert out.dtype == dtype_of(dtype)
        assert_close(out, want, dtype, 8, 16 * np.abs(want).max(initial=1))
        for a, g, slope in zip(arrays, grads, slopes, strict=True):
            if a.dtype.kind == "b":
                assert g is None
                continue
            assert g.dtype == a.dtype
            terms = 1 if a.shape == shape else max(1, np.prod(shape) / max(a.size, 1))
            assert_close(g, slope, dtype, 8, 16 * np.abs(slope).max(initial=1) * np.sqrt(terms))


@needs_cpu_runner
def test_a_cotangent_that_is_one_number_is_read_once() -> None:
    call, (x,) = call_of("e1"), arrays_for("e1", (9, 7), "float32")
    t = np.broadcast_to(cuda_cpu.array(np.float32(0.7)), x.shape)
    _, (got,) = run_kernels(call, [x], t)
    _, (want,) = run_kernels(call, [x], cuda_cpu.array(t))
    np.testing.assert_array_equal(got, want)
    texts = [kernel.code for kernel in call.trace([x]).kernels.values()]
    assert sum("const float t = to_real(*t_at);" in text for text in texts) == 1


def test_layouts() -> None:
    assert layout_of((4, 5), (4, 5)) == Layout("whole")
    assert layout_of((), (4, 5)) == layout_of((1, 1), (4, 5)) == Layout("one")
    assert layout_of((5,), (4, 5)) == layout_of((1, 5), (4, 5)) == Layout("repeated", 1, 5)
    assert layout_of((4, 1), (4, 5)) == Layout("repeated", 5, 4)
    assert layout_of((3, 1, 1), (2, 3, 4, 5)) == Layout("repeated", 20, 3)
    assert layout_of((2, 1, 4), (2, 3, 4)) is None
    assert layout_of((2, 1, 4), (2, 1, 4)) == Layout("whole")


# --- the CUDA text of each op ---------------------------------------------------------------------------------------

EDGES = np.array([0.0, -0.0, 0.3, -0.3, 0.999, 1, -1, 1.5, -2.5, 7, -7, 40, -40, 800, -800, np.inf, -np.inf, np.nan])


def texts(dtype: str, left_out: tuple[str, ...] = ()) -> tuple[Any, list[tuple[Any, tuple[Any, ...], Any]]]:
    """A program of every op of one or two floating numbers that has a text, or several; the ops, their inputs and results."""
    F = Expressions("every op")
    inputs = [F.input(name, (4,), np.dtype(dtype)) for name in ("x", "y")]
    made = []
    for op in registry.values():
        if op.kind != "elementwise" or op.cuda is None or op.name in ("conjugate", *left_out) or len(op.inputs) > 2:
            continue
        try:
            with np.errstate(all="ignore"):
                op.numpy(*[np.ones(1, dtype)] * len(op.inputs))
        except TypeError:  # of integers
            continue
        out = getattr(F, op.name)(*inputs[: len(op.inputs)])
        made.append((op, inputs[: len(op.inputs)], out))
    assert len(made) > 60
    return F, made


def every_op(dtype: str, left_out: tuple[str, ...] = ()) -> tuple[Kernel, list[Any]]:
    F, made = texts(dtype, left_out)
    slots = [Slot(name, np.dtype(dtype), "whole") for name in ("x", "y")]
    return Kernel("generated_forward", F.program, slots, [(out.name, out.dtype) for _, _, out in made]), made


@needs_cpu_runner
def test_the_text_of_each_op_is_what_the_op_computes() -> None:
    kernel, made = every_op("float64", left_out=("erfinv",))  # CUDA has it, C++ has not
    x, y = (cuda_cpu.array(a.ravel()) for a in np.meshgrid(EDGES, EDGES))
    outs = [cuda_cpu.empty(x.shape, out.dtype) for _, _, out in made]
    kernel(launcher(), [x, y], [Layout("whole")] * 2, outs)
    wrong = []
    for (op, inputs, _), got in zip(made, outs, strict=True):
        with np.errstate(all="ignore"):
            want = op.numpy(*(x, y)[: len(inputs)])
        near = 1e-9 if op.name in ("gelu", "lgamma") else 1e-11
        if op.name == "gelu":  # of minus infinity the functor is nan, as PyTorch's; the op is 0
            got = np.where(np.isneginf(x), want, got)
        if not (good := np.isclose(got, want, near, 1e-14, equal_nan=True)).all():
            wrong.append((op.name, x[~good][:3], y[~good][:3], got[~good][:3], want[~good][:3]))
    assert not wrong


def test_the_text_of_each_op_compiles(nvrtc: Any) -> None:
    for dtype in ("float32", "float64"):
        kernel, _ = every_op(dtype)
        doubles = [line for line in kernel.code.splitlines() if re.search(r"const float.*(?<![\w.(])\d+\.\d+(?![\df])", line)]
        assert dtype == "float64" or not doubles
        compiler.compile_text("texts", kernel.code, "sm_90", [kernel.name])


# --- NVRTC ----------------------------------------------------------------------------------------------------------


def kernel_texts(name: str, dtype: str) -> list[Any]:
    """The kernels of a chain, made without launching any."""
    call, made = call_of(name), []
    arrays = [np.asarray(a) for a in arrays_for(name, (4, 8), dtype)]
    t = np.ones((4, 8), dtype_of(dtype))
    trace = call.trace(arrays)

    class Told(dict[Any, Any]):
        def __setitem__(self, key: Any, kernel: Any) -> None:
            made.append(kernel)
            super().__setitem__(key, kernel)

    trace.kernels = Told()
    idle = SimpleNamespace(text=lambda code, kernel: lambda grid, block, arguments: None, processors=1)
    chains.forward(lambda out, xp: idle, XP, *arrays, function=call)
    node = SimpleNamespace(parents=[a if a.dtype.kind != "b" else None for a in arrays])
    F = SimpleNamespace(library=XP, sum_to=lambda g, shape: g)
    chains.rule(lambda out, xp: idle, F, node, t, {"arrays": tuple(arrays), "aux": trace})
    return made


@pytest.fixture(scope="module")
def nvrtc() -> None:
    try:
        compiler._nvrtc()
    except DeviceError as error:
        pytest.skip(str(error))
    if compiler.include_folder() is None:
        pytest.skip("CUDA's headers are not installed")


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "compute_75"])
@pytest.mark.parametrize("name", CHAINS)
def test_compiles_without_spills(name: str, arch: str) -> None:
    for dtype in DTYPES if name == "e1" and arch == "sm_90" else CHAINS[name][2][:1] if arch != "sm_90" else CHAINS[name][2]:
        kernels = kernel_texts(name, dtype)
        assert [kernel.name for kernel in kernels] == ["generated_forward", "generated_backward"]
        for kernel in kernels:
            assert " double" not in kernel.code.split('"chain.cu"')[1] or dtype == "float64"
            compiled = compiler.compile_text(name, kernel.code, arch, [kernel.name])
            assert "warning" not in compiled.log
            if arch.startswith("sm_"):
                assert sum(map(int, re.findall(r"(\d+) bytes spill", compiled.log))) == 0, compiled.log
                (registers,) = re.findall(r"Used (\d+) registers", compiled.log)
                print(f"{arch} {name} {dtype} {kernel.name}: {registers} registers")


# --- device="cuda" --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    if cuda_cpu.missing() is not None:
        pytest.skip(str(cuda_cpu.missing()))
    with cupy_standin.installed(devices=2, kernels=True) as library:
        yield library


def values_and_grads(function: Callable[..., Any], arrays: list[Any], device: str) -> list[Any]:
    leaves = [gg.asarray(a, device=device) for a in arrays]
    leaves = [leaf.requires_grad_() if leaf.dtype.kind == "f" else leaf for leaf in leaves]
    out = function(*leaves)
    seed = np.random.default_rng(5).standard_normal(out.shape).astype(out.dtype)
    out.backward(gg.asarray(seed, device=device))
    return [out.numpy(), *[leaf.grad.numpy() for leaf in leaves if leaf.grad is not None]]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", CHAINS)
def test_one_launch_each_way(name: str) -> None:
    function, _, dtypes = CHAINS[name]
    arrays = [np.array(a) for a in arrays_for(name, (6, 10), dtypes[-1])]
    public = gg.fuse(lambda *args: function(gg.op.composed, *args))
    here = values_and_grads(public, arrays, "cpu")
    cuda.launches.clear()
    there = values_and_grads(public, arrays, "cuda")
    assert [n for n in cuda.launches if "sum" not in n] == ["generated_forward", "generated_backward"]
    assert sum("sum" in n for n in cuda.launches) <= sum(a.shape != (6, 10) for a in arrays)
    for got, want in zip(there, here, strict=True):
        np.testing.assert_allclose(got, want, rtol=3e-5 if dtypes[-1] == "float32" else 1e-11, atol=1e-5)


@pytest.mark.usefixtures("gpu")
def test_higher_orders_and_forward_mode() -> None:
    x = np.random.default_rng(0).normal(size=7)
    function = gg.fuse(lambda x: gg.sigmoid(x) * gg.tanh(x) + x**3)
    for order in (1, 2):
        grads = []
        for device in ("cpu", "cuda"):
            f: Any = function
            for _ in range(order):
                f = gg.grad(lambda x, f=f: f(x).sum())
            grads.append(f(gg.asarray(x, device=device)).numpy())
        np.testing.assert_allclose(*grads, rtol=1e-12)
    for device in ("cpu", "cuda"):
        there = gg.asarray(x, device=device)
        got = gg.jvp(function, (there,), (there,))
        want = gg.jvp(function.function, (gg.asarray(x),), (gg.asarray(x),))
        np.testing.assert_allclose([v.numpy() for v in got], [v.numpy() for v in want], rtol=1e-12)


@pytest.mark.usefixtures("gpu")
def test_it_is_one_op_on_the_tape() -> None:
    function = gg.fuse(lambda x, scale: gg.exp(x) * scale)
    x = gg.asarray(np.ones((3, 2)), device="cuda:0").requires_grad_()
    with recording() as records:
        out = function(x, 0.3)
    assert [record.op.name for record in records] == ["chain"]
    assert "<lambda>(..., 0.3)" in repr(records[0])
    assert list(out._node.parents) == [x._node]
    assert out.device == "cuda:0"
    (record,) = records
    again = record.op.forward_on(list(record.inputs))(*record.inputs, **record.params)[0]
    np.testing.assert_array_equal(again.get(), out.numpy())
    with pytest.raises(gg.AnomalyError, match="exp produced"), gg.detect_anomaly():  # for blame, operation by operation
        function(x * 1e6, 0.3)


@pytest.mark.usefixtures("gpu")
def test_other_layouts_and_dtypes() -> None:
    rng = np.random.default_rng(0)
    function = gg.fuse(lambda x, y: gg.tanh(x * y) + y)
    for left, right in (((4, 3), (2, 1, 3)), ((2, 1, 3), (2, 5, 3)), ((3, 1), (1, 4)), ((), ()), ((0, 3), (3,)), ((1,), (1, 1))):
        arrays = [rng.normal(size=left), rng.normal(size=right)]
        for got, want in zip(*[values_and_grads(function, arrays, d) for d in ("cuda", "cpu")], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11)
    x = gg.asarray(rng.normal(size=(4, 6)), device="cuda")
    np.testing.assert_allclose(function(x.T, x.T).numpy(), function(x.cpu().T, x.cpu().T).numpy(), rtol=1e-12)
    half = gg.asarray(rng.normal(size=5).astype("f2"), device="cuda").requires_grad_()
    full = gg.asarray(rng.normal(size=5).astype("f4"), device="cuda").requires_grad_()
    out = function(half, full)
    out.sum().backward()
    assert (out.dtype, half.grad.dtype, full.grad.dtype) == ("float32", "float16", "float32")
    counts = gg.asarray(np.array([3, -7, 2]), device="cuda")
    mixed = gg.fuse(lambda n, x: gg.where(n > 2, n * 2, -n) * x.astype("float16").astype(np.float64))
    third = np.array([0.1, 0.2, 0.3])
    got = mixed(counts, gg.asarray(third, device="cuda")).numpy()
    np.testing.assert_array_equal(got, np.array([6, 7, -2]) * third.astype("f2").astype("f8"))


@pytest.mark.usefixtures("gpu")
def test_nan_and_ties_are_as_in_the_composition() -> None:
    x = np.array([np.nan, 1.0, -np.inf, np.inf, 0.0, -0.0, 2.0])
    y = np.array([1.0, np.nan, 3.0, np.inf, 0.0, 0.0, 2.0])
    function = gg.fuse(
        lambda x, y: gg.where(gg.maximum(x, y) > 0, gg.minimum(x, y), gg.logaddexp(x, y)) + gg.clip(x, -1, 1.5) + gg.sign(y)
    )
    with np.errstate(all="ignore"):
        for got, want in zip(*[values_and_grads(function, [x, y], d) for d in ("cuda", "cpu")], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.usefixtures("gpu")
def test_a_rule_without_cuda_text_is_run_by_cupy() -> None:
    function = gg.fuse(lambda x: gg.special.gammaln(x) * 2)
    x = np.array([0.5, 1.5, 3.0])
    for got, want in zip(*[values_and_grads(function, [x], d) for d in ("cuda", "cpu")], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.usefixtures("gpu")
def test_another_number_is_no_other_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    from cupy_standin.kernels import RawModule

    made = RawModule.__init__
    monkeypatch.setattr(RawModule, "__init__", lambda self, **kw: (texts.add(kw["code"]), made(self, **kw))[1])
    function = gg.fuse(lambda x, slope: gg.exp(x * slope))
    x = gg.asarray(np.ones(3), device="cuda")
    got = [function(x, slope).numpy()[0] for slope in (0.1, 0.123, 1e300, 0.1)]
    np.testing.assert_allclose(got, [np.exp(0.1), np.exp(0.123), np.inf, np.exp(0.1)])
    assert len(texts) == 1


def test_a_kernel_that_cannot_be_compiled_is_a_warning(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class CompileException(Exception):
        pass

    def refuse(**_: Any) -> None:
        raise CompileException("no such file")

    monkeypatch.setattr(gpu, "RawModule", refuse)
    x = gg.asarray(np.ones(3), device="cuda").requires_grad_()
    function = gg.fuse(lambda x: gg.exp(x) * 0.71 + 0.2)
    with pytest.warns(RuntimeWarning, match="it runs unfused: no such file"):
        out = function(x)
    out.backward(gg.asarray(np.ones(3), device="cuda"))
    np.testing.assert_allclose(x.grad.numpy(), np.exp(1.0) * 0.71)


LOSSES: dict[str, Callable[..., Any]] = {
    "mse_loss": gg.mse_loss,
    "l1_loss": gg.l1_loss,
    "huber_loss": lambda x, y: gg.huber_loss(x, y, delta=0.7),
    "smooth_l1_loss": lambda x, y: functional.smooth_l1_loss(x, y, beta=0.3),
    "binary_cross_entropy_with_logits": lambda x, y: gg.binary_cross_entropy_with_logits(x, gg.sigmoid(y.detach())),
    "with weights": lambda x, y: gg.binary_cross_entropy_with_logits(
        x, (y.detach() > 0).astype(x.dtype), weight=y.detach() ** 2, pos_weight=y.detach()[0] ** 2
    ),
    "hinge_loss": lambda x, y: gg.hinge_loss(x, gg.sign(y.detach())),
    "poisson_nll_loss": lambda x, y: functional.poisson_nll_loss(x, gg.abs(y.detach()), full=True),
    "kl_div": lambda x, y: functional.kl_div(gg.logsigmoid(x), gg.sigmoid(y.detach())),
    "gaussian_nll_loss": lambda x, y: functional.gaussian_nll_loss(x, y.detach(), y.detach() ** 2 + 0.1),
}


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_one_kernel_and_a_mean(name: str) -> None:
    arrays = [np.random.default_rng(i).normal(size=(5, 4)) for i in range(2)]
    function = LOSSES[name]
    here = values_and_grads(function, arrays, "cpu")
    cuda.launches.clear()
    there = values_and_grads(function, arrays, "cuda")
    assert cuda.launches.count("generated_forward") == cuda.launches.count("generated_backward") == 1
    for got, want in zip(there, here, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-15)


@pytest.mark.usefixtures("gpu")
def test_in_a_net() -> None:
    """Trained with a fused activation and a fused loss, on both devices alike."""
    mish = gg.fuse(lambda x, b: x * gg.tanh(gg.softplus(x + b)))
    ends = []
    for device in ("cpu", "cuda"):
        gg.manual_seed(0)
        layer, bias = nn.Linear(4, 3).to(device), gg.tensor(np.zeros(3, np.float32), device=device, requires_grad=True)
        x = gg.asarray(np.random.default_rng(1).normal(size=(8, 4)).astype("f4"), device=device)
        optimizer = gg.optim.SGD([*layer.parameters(), bias], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            gg.mse_loss(mish(layer(x), bias), x[:, :3]).backward()
            optimizer.step()
        ends.append([p.numpy() for p in (*layer.parameters(), bias)])
    for got, want in zip(*ends, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


# --- expressions drawn at random ------------------------------------------------------------------------------------

UNARY = ["tanh", "sigmoid", "relu", "gelu", "softplus", "abs", "square", "cos", "arctan", "sign", "silu", "erf", "expm1", "floor"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "hypot", "logaddexp", "arctan2"]
LEAVES = ["x", "row", "one", 0.3, 2.0, -1.25]


def trees(deeper: Any) -> Any:
    return st.one_of(
        st.tuples(st.sampled_from(UNARY), deeper),
        st.tuples(st.sampled_from(BINARY), deeper, deeper),
        st.tuples(st.just("divide"), deeper, deeper),
        st.tuples(st.just("power"), deeper, st.sampled_from([2, 3, 0.5, -1, 2.5])),
        st.tuples(st.just("where"), deeper, deeper, deeper),
    )


def evaluated(F: Any, tree: Any, values: dict[str, Any]) -> Any:
    if not isinstance(tree, tuple):
        return values.get(tree, tree)
    name, *parts = tree
    parts = [evaluated(F, part, values) for part in parts]
    if name == "divide":
        return F.divide(parts[0], F.abs(parts[1]) + 1.5)
    if name == "power":
        return F.power(F.abs(parts[0]) + 0.7, parts[1])
    if name == "where":
        return F.where(F.greater(parts[0], 0.1), parts[1], parts[2])
    return getattr(F, name)(*parts)


@pytest.mark.usefixtures("gpu")
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.recursive(st.sampled_from(LEAVES), trees, max_leaves=14))
def test_random_expressions(tree: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in ((5, 6), (6,), ())]

    def compute(x: Any, row: Any, one: Any) -> Any:  # the first term uses all of them, and keeps the shape
        F = gg.op.composed
        return x * 0.5 + row * one + F.tanh(evaluated(F, tree, {"x": x, "row": row, "one": one}))

    here = values_and_grads(compute, arrays, "cpu")
    cuda.launches.clear()
    there = values_and_grads(gg.fuse(compute), arrays, "cuda")
    assert cuda.launches.count("generated_forward") == cuda.launches.count("generated_backward") == 1
    for got, want in zip(there, here, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=EPS["float64"] * 2**10 * np.abs(want).max(initial=1))
