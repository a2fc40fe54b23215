"""bfloat16: every op on it is the op on exact numbers, rounded once; promotion, exports, optimisers, and training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_cases import PURE, Case, cotangent_for, params

import gpugrad as gg
from gpugrad import nn

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
EPS = 2.0**-8
"""What rounding to 8 bits changes a number by, at most, relatively."""


def bf16(values: Any, **options: Any) -> gg.Tensor:
    return gg.tensor(values, dtype="bfloat16", **options)


# --- every op -----------------------------------------------------------------------------------------------------


def narrowed(value: Any, dtype: Any) -> Any:
    """Floating arrays rounded to bfloat16, and in the dtype given."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(BFLOAT16).astype(dtype)
    return type(value)(narrowed(v, dtype) for v in value) if isinstance(value, list | tuple) else value


def in_dtype(case: Case, dtype: Any) -> Case:
    sample = case.sample
    kwargs = {name: narrowed(value, dtype) for name, value in sample.kwargs.items()}
    return case._replace(sample=sample._replace(args=tuple(narrowed(v, dtype) for v in sample.args), kwargs=kwargs))


def close(got: Any, want: Any, loose: bool) -> None:
    """Of one shape, and as near as one rounding of the result, or several, and those of float32 on the way, bring it."""
    if isinstance(got, tuple | list):
        for a, b in zip(got, want, strict=True):
            close(a, b, loose)
        return
    got, want = (gg.asarray(v).detach().numpy() for v in (got, want))
    assert got.shape == want.shape
    assert (got.dtype == BFLOAT16) == (want.dtype == np.float64)
    if got.dtype != BFLOAT16:
        assert got.dtype.kind == want.dtype.kind
    wide = got.astype(np.float32) if got.dtype == BFLOAT16 else got
    largest = np.abs(want).max(initial=0.0, where=np.isfinite(want)) if want.dtype.kind in "fc" else 0
    roundings, rest = (6, 3 * EPS) if loose else (1.01, 1e-5)
    np.testing.assert_allclose(wide, want, rtol=roundings * EPS, atol=rest * largest)


def takes(case: Case) -> bool:
    arrays = [v for arg in case.sample.args for v in (arg if isinstance(arg, list | tuple) else [arg])]
    return any(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in arrays)


OTHERWISE = {"astype", "cast", "zeros_of", "float_power", "nextafter", "spacing", "dropout_from", "bias_activation_dropout_from"}
"""Ops that ask for a dtype or its neighbours, and one that draws other numbers for every dtype."""
SAMPLES = [case for case in PURE if takes(case) and case.op.name not in OTHERWISE]
LOOSE = {case.op.name for case in SAMPLES if case.op.reference is not None and not case.op.has_aux}
"""Compositions: each part is rounded."""


@params(SAMPLES)
def test_every_op_is_rounded_once(case: Case) -> None:
    low, exact = in_dtype(case, BFLOAT16), in_dtype(case, np.float64)
    got, want = (each.op.public(*each.sample.args, **each.sample.kwargs) for each in (low, exact))
    close(got, want, case.op.name in LOOSE)


def gradients(case: Case, cotangent: Any) -> list[Any]:
    function, arrays = case.function()
    inputs = [gg.asarray(a).detach().requires_grad_() for a in arrays]
    out = function(*inputs)
    out.backward(gg.asarray(cotangent).astype(out.dtype))
    return [leaf.grad for leaf in inputs]


@params([case for case in SAMPLES if case.positions])
def test_gradients_are_rounded_once(case: Case) -> None:
    function, arrays = in_dtype(case, np.float64).function()
    cotangent = narrowed(cotangent_for(function(*arrays)), np.float64)
    got, want = (gradients(in_dtype(case, dtype), cotangent) for dtype in (BFLOAT16, np.float64))
    close(got, want, case.op.name in LOOSE)


# --- dtypes -------------------------------------------------------------------------------------------------------

X = bf16([1.0, -2.5, 3.1])
PROMOTED: dict[str, tuple[Any, Any]] = {
    "a float": (lambda: X + 1.5, BFLOAT16),
    "an integer": (lambda: 3 - X, BFLOAT16),
    "a complex number": (lambda: X * 1j, "complex64"),
    "a list": (lambda: X * [1.0, 2.0, 3.0], BFLOAT16),
    "integers": (lambda: X * np.arange(3), BFLOAT16),
    "booleans": (lambda: X * (X > 0), BFLOAT16),
    "bfloat16 as a raw array": (lambda: X * X.numpy(), BFLOAT16),
    "float16": (lambda: X + np.ones(3, "float16"), "float32"),
    "float32": (lambda: X + gg.ones(3), "float32"),
    "float32 in front": (lambda: np.ones(3, "float32") / X, "float32"),
    "float64": (lambda: X + np.ones(3), "float64"),
    "in where": (lambda: gg.where(X > 0, X, 0.0), BFLOAT16),
    "in maximum": (lambda: np.maximum(X, 0.5), BFLOAT16),
    "a sum": (lambda: X.sum(), BFLOAT16),
    "a mean": (lambda: np.mean(X), BFLOAT16),
    "a product of matrices": (lambda: X[:, None] @ X[None], BFLOAT16),
    "a comparison": (lambda: X > 1, "bool"),
    "an argmax": (lambda: gg.argmax(X), "int64"),
    "a Fourier transform": (lambda: gg.fft.fft(X), "complex64"),
    "an in-place sum": (lambda: X.clone().__iadd__(np.ones(3, "float32")), BFLOAT16),
}


@pytest.mark.parametrize("name", PROMOTED)
def test_promotion(name: str) -> None:
    make, dtype = PROMOTED[name]
    assert make().dtype == dtype


def test_questions_about_the_dtype() -> None:
    assert gg.bfloat16 is ml_dtypes.bfloat16
    assert float(gg.finfo("bfloat16").eps) == 2.0**-7
    assert gg.isdtype(gg.bfloat16, "real floating")
    assert gg.isdtype("bfloat16", ("bool", "numeric"))
    assert not gg.isdtype(gg.bfloat16, "integral")
    assert gg.isdtype(gg.bfloat16, gg.bfloat16)
    assert gg.result_type(X, 1.0, gg.int64) == BFLOAT16
    assert gg.result_type("bfloat16", "float16") == "float32"
    assert gg.result_type(X, 1j) == "complex64"
    assert gg.can_cast("bfloat16", "float32")
    assert not gg.can_cast("float32", "bfloat16")
    assert gg.can_cast("float64", "bfloat16", "same_kind")
    assert gg.can_cast("bfloat16", "float16", "same_kind")
    assert not gg.can_cast("complex64", "bfloat16", "same_kind")


def test_making_casting_and_showing() -> None:
    assert repr(X[:2]) == "tensor([ 1. , -2.5], dtype=bfloat16)"
    assert X[1].item() == -2.5
    assert X.tolist() == [1.0, -2.5, 3.09375]
    for made in (gg.zeros(3, "bfloat16"), gg.ones_like(X), gg.full((2,), 1.5, gg.bfloat16), gg.arange(3, dtype="bfloat16"),
                 gg.random.normal((2,), dtype="bfloat16"), gg.asarray(X.numpy()), gg.eye(2, dtype="bfloat16"),
                 gg.ones(2).astype("bfloat16"), gg.ones(2).to(dtype=gg.bfloat16), gg.astype([1.0], "bfloat16"),
                 gg.tensor([1 + 2j]).real.astype("bfloat16")):  # fmt: skip
        assert made.dtype == BFLOAT16
    assert X.astype("float32").tolist() == X.tolist()
    assert X.astype("int32").tolist() == [1, -2, 3]
    assert gg.full((2,), gg.tensor(2.0), "bfloat16").dtype == BFLOAT16
    with pytest.raises(gg.DTypeError, match="set_default_dtype: got bfloat16"):
        gg.set_default_dtype("bfloat16")
    row = bf16([[1.0, 2.0], [3.0, 4.0]])
    assert row.T.data.base is not None
    assert np.shares_memory(row.data, row.reshape(4)[1:].data)


def test_neighbours_are_those_of_the_dtype() -> None:
    assert (gg.nextafter(bf16([1.0]), bf16([2.0])) - 1).item() == 2.0**-7
    assert gg.spacing(bf16([1.0])).item() == 2.0**-7


def test_sums_are_in_float32() -> None:
    ones = gg.ones(100_000, "bfloat16")
    assert float(ones.sum()) == 99840  # 100000 rounded; summed in bfloat16 it would be 256
    assert float(ones @ ones) == 99840
    assert float(gg.var(gg.arange(0, 512, dtype="bfloat16"))) == pytest.approx((512**2 - 1) / 12, rel=EPS)


def test_elements_can_be_changed() -> None:
    x = bf16([1.0, 2.0, 3.0])
    x[0], x[1:] = 7.0, np.array([0.1, 0.2])
    x *= 2
    assert x.tolist() == bf16([14.0, bf16(0.1).item() * 2, bf16(0.2).item() * 2]).tolist()
    assert x.dtype == BFLOAT16
    w = bf16([1.0, 2.0], requires_grad=True)
    y = w * 1.0
    y[0] = 0.0
    y.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0.0, 1.0]
    y = w * w
    w.grad = None
    with gg.no_grad():
        w += 1
    y.sum().backward()  # it saved its inputs in float32, as they were
    assert w.tolist() == [2.0, 3.0]
    assert w.grad.tolist() == [2.0, 4.0]


# --- derivatives --------------------------------------------------------------------------------------------------


def test_gradients_have_the_dtype_of_what_they_are_by() -> None:
    low, wide = bf16([[0.5, -1.0]], requires_grad=True), gg.tensor([[2.0], [3.0]], requires_grad=True)
    (low @ wide).sum().backward()
    assert low.grad is not None
    assert wide.grad is not None
    assert (low.grad.dtype, wide.grad.dtype) == (BFLOAT16, "float32")
    assert low.grad.tolist() == [[2.0, 3.0]]
    low.backward(np.ones((1, 2)))
    assert low.grad.tolist() == [[3.0, 4.0]]


def test_every_order_and_both_modes() -> None:
    x = X.numpy()
    assert gg.grad(lambda t: (t**3.0).sum())(x).dtype == BFLOAT16
    np.testing.assert_allclose(gg.grad(gg.grad(lambda t: t**3.0))(bf16(2.0)).item(), 12.0)
    value, tangent = gg.jvp(lambda t: gg.concatenate([gg.exp(t), t.reshape(-1)]), (x,), (np.ones_like(x),))
    assert value.dtype == tangent.dtype == BFLOAT16
    np.testing.assert_allclose(tangent.astype(float), [*np.exp(x.astype(float)), 1, 1, 1], rtol=2 * EPS)
    np.testing.assert_allclose(
        gg.hessian(lambda t: (t**4.0).sum())(x).astype(float), np.diag(12 * x.astype(float) ** 2), rtol=0.02
    )
    assert gg.checkpoint(lambda t: gg.tanh(t), X.clone().requires_grad_()).dtype == BFLOAT16


def test_functions_of_ones_own() -> None:
    class Double(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, t: Any) -> Any:
            return t * 2

    x = X.clone().requires_grad_()
    Double.apply(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


# --- out and in ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    gg.save({"x": X, "nested": {"y": X[0]}}, path)
    back = gg.load(path)
    assert back["x"].dtype == BFLOAT16
    assert back["x"].tolist() == X.tolist()
    assert back["nested"]["y"].item() == 1.0
    layer = nn.Linear(3, 1, bias=False)
    layer.load_state_dict({"weight": bf16([[1.0, 2.0, 3.1]])})
    assert layer.weight.dtype == "float32"
    assert layer.weight.tolist() == [[1.0, 2.0, 3.09375]]


def test_other_libraries_share_its_memory() -> None:
    torch = pytest.importorskip("torch")
    x = bf16([[1.0, 2.0], [3.0, 4.0]])
    theirs = torch.from_dlpack(x.T)
    assert theirs.dtype == torch.bfloat16
    theirs[0, 1] = 9.0
    assert x.tolist() == [[1.0, 2.0], [9.0, 4.0]]
    back = gg.from_dlpack(torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T)
    assert back.dtype == BFLOAT16
    assert back.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def fresh(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def test_without_ml_dtypes_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["ml_dtypes"] = None
import gpugrad as gg
assert not hasattr(gg, "bfloat16")
x = gg.ones(2)
for ask in (lambda: gg.zeros(2, "bfloat16"), lambda: gg.autocast("bfloat16").__enter__(), lambda: x.to(dtype="bfloat16")):
    try:
        ask()
    except ImportError as error:
        print(error)
"""
    assert fresh(program).splitlines() == ["bfloat16 needs the ml_dtypes package: pip install gpugrad[bfloat16]"] * 3


@pytest.mark.parametrize("call", ["gg.sum(a)", "gg.multiply(a, 1.0).sum()", "gg.tensor(a).sum()", "gg.vdot(a, a)"])
def test_an_array_of_it_may_come_unannounced(call: str) -> None:
    program = f"""
import ml_dtypes, numpy as np, gpugrad as gg
a = np.ones(512, ml_dtypes.bfloat16)
r = {call}
print(float(r), r.dtype)
"""
    assert fresh(program) == "512.0 bfloat16"


# --- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_parameters_of_it_can_be_trained(kind: str) -> None:
    gg.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3)).to(dtype="bfloat16")
    x, y = gg.random.normal((32, 8), dtype="bfloat16"), gg.tensor(np.arange(32) % 3)
    options = {"lr": 0.2, "momentum": 0.9} if kind == "SGD" else {"lr": 0.02}
    optimizer: Any = getattr(gg.optim, kind)(net.parameters(), **options)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = gg.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.dtype == BFLOAT16 for p in net.parameters())
    assert 0 <= gg.metrics.accuracy(net(x), y) <= 1
