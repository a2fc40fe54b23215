"""Every op, on every sample it declares: values, gradients of both modes and orders, layouts, dtypes, mutation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from op_cases import (
    CASES,
    DIFFERENTIABLE,
    PURE,
    REFERENCES,
    Case,
    cotangent_for,
    inner,
    numpy_function,
    params,
    random_like,
    value_and_gradients,
)

import gpugrad as gg
from gpugrad.errors import DTypeError, GradientError
from gpugrad.op import Op, Sample, registry
from gpugrad.testing import gradcheck, gradgradcheck, iterate_samples, sample_function

DRAWS = {"random_normal", "random_uniform"}
by_name = pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in registry.items()])


# --- the registry -------------------------------------------------------------------------------------------------


@by_name
def test_an_op_has_samples_and_a_documented_example(op: Op) -> None:
    assert op.doc
    if op.name not in DRAWS:
        assert op.samples is not None
        assert list(op.samples(np.random.default_rng(0))), "samples() yields nothing"
        assert ">>>" in op.doc


@by_name
def test_an_op_with_rules_is_differentiated_by_each_in_some_sample(op: Op) -> None:
    if op.variadic or op.kind == "update":
        return
    reached = {position for _, positions in iterate_samples(op) for position in positions}
    assert {i for i, rule in enumerate(op.rules) if rule is not None} <= reached


@pytest.mark.parametrize("name", sorted(DRAWS))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_draws(name: str, dtype: str) -> None:
    draw = registry[name].public
    first = draw((200, 100), dtype, np.random.Generator(np.random.Philox(3)))
    again = draw((200, 100), dtype, np.random.Generator(np.random.Philox(3)))
    assert first.dtype == dtype
    assert not first.requires_grad
    np.testing.assert_array_equal(first.numpy(), again.numpy())
    values = first.numpy().astype(float)
    mean, std = (0, 1) if name == "random_normal" else (0.5, 12**-0.5)
    assert values.mean() == pytest.approx(mean, abs=4 * std / len(values.ravel()) ** 0.5)
    assert values.std() == pytest.approx(std, rel=0.03)
    assert not np.array_equal(draw((5,), dtype).numpy(), draw((5,), dtype).numpy())


# --- values -------------------------------------------------------------------------------------------------------


@params(PURE)
def test_value(case: Case) -> None:
    reference = REFERENCES.get(case.op.name) or numpy_function(case.op)
    assert reference is not None, f"write a reference for {case.op.name} into op_cases.REFERENCES"
    result = case.op.public(*case.sample.args, **case.sample.kwargs)
    expected = reference(*case.sample.args, **case.sample.kwargs)
    several = case.op.returns is not None
    for got, want in zip(result if several else [result], expected if several else [expected], strict=True):
        assert isinstance(got, gg.Tensor)
        assert (got.shape, got.dtype) == (np.shape(want), np.asarray(want).dtype)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-14)


@params(PURE)
def test_inputs_are_left_alone(case: Case) -> None:
    before = [value.copy() if isinstance(value, np.ndarray) else value for value in case.sample.args]
    case.op.public(*case.sample.args, **case.sample.kwargs)
    if case.positions:
        value_and_gradients(*case.function())
    for old, new in zip(before, case.sample.args, strict=True):
        if isinstance(new, np.ndarray):
            np.testing.assert_array_equal(old, new)


@params([case for case in PURE if not case.positions])
def test_results_without_a_rule_need_no_gradient(case: Case) -> None:
    arguments = [
        gg.asarray(value).requires_grad_() if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        for value in case.sample.args
    ]
    assert not case.op.public(*arguments, **case.sample.kwargs).requires_grad


# --- gradients ----------------------------------------------------------------------------------------------------


@params(DIFFERENTIABLE)
def test_both_modes_against_finite_differences(case: Case) -> None:
    assert gradcheck(*case.function(), eps=3e-6, atol=1e-9, rtol=1e-8)


@params(DIFFERENTIABLE)
def test_forward_mode_against_reverse_mode(case: Case) -> None:
    function, arrays = case.function()
    rng = np.random.default_rng(5)
    value, pull = gg.vjp(function, *arrays)
    cotangent = random_like(value, rng)
    pulled = pull(cotangent)
    for i, array in enumerate(arrays):
        tangents = [np.zeros_like(other) for other in arrays]
        tangents[i] = random_like(array, rng)
        pushed = gg.jvp(function, arrays, tangents)[1]
        scale = float(np.abs(np.asarray(pulled[i])).sum()) + 1
        assert inner(cotangent, pushed) == pytest.approx(inner(pulled[i], tangents[i]), abs=1e-11 * scale)


@params([case for case in DIFFERENTIABLE if len(case.positions) > 1])
def test_one_input_alone(case: Case) -> None:
    """The others are then constants: other values are saved, and other tangents are missing."""
    value, gradients = value_and_gradients(*case.function())
    cotangent = cotangent_for(value)
    for position, gradient in zip(case.positions, gradients, strict=True):
        function, (array,) = case._replace(positions=(position,)).function()
        np.testing.assert_array_equal(value_and_gradients(function, [array])[1][0], gradient)
        direction = random_like(array, np.random.default_rng(3))
        pushed = gg.jvp(function, (array,), (direction,))[1]
        assert np.shape(pushed) == value.shape
        assert inner(cotangent, pushed) == pytest.approx(inner(gradient, direction), rel=1e-10, abs=1e-12)


@params(DIFFERENTIABLE)
def test_second_order_against_finite_differences(case: Case) -> None:
    assert gradgradcheck(*case.function(), eps=3e-6, atol=1e-9, rtol=1e-8)


@params(DIFFERENTIABLE)
def test_rules_agree_on_raw_arrays_and_on_tensors(case: Case) -> None:
    function, arrays = case.function()
    value, raw = value_and_gradients(function, arrays)
    again, recorded = value_and_gradients(function, arrays, create_graph=True)
    np.testing.assert_array_equal(value, again)
    for a, b in zip(raw, recorded, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


@params([case for case in DIFFERENTIABLE if case.op.has_aux])
def test_fused_forward_and_rules_agree_with_the_composition(case: Case) -> None:
    op, reference = case.op, case.op.reference
    assert reference is not None
    function, arrays = case.function()
    value, gradients = value_and_gradients(function, arrays)
    namespace = type("Public", (), {name: staticmethod(other.public) for name, other in registry.items()})

    composition = SimpleNamespace(public=partial(reference, namespace))
    expected, expected_gradients = value_and_gradients(*sample_function(composition, case.sample, case.positions))  # type: ignore[arg-type]
    np.testing.assert_allclose(value, expected, rtol=1e-13, err_msg=op.name)
    for a, b in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15, err_msg=op.name)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_targets_that_do_not_sum_to_one(reduction: str) -> None:
    x, target = np.random.default_rng(1).uniform(0, 2, (2, 3, 4))
    case = Case(registry["cross_entropy"], Sample((x, target), {"reduction": reduction}), (0,))
    expected = -(target * (x - np.log(np.exp(x).sum(axis=1, keepdims=True)))).sum(axis=1)
    value = case.function()[0](x).numpy()
    np.testing.assert_allclose(value, {"mean": np.mean, "sum": np.sum, "none": np.array}[reduction](expected), rtol=1e-12)
    assert gradcheck(*case.function(), atol=1e-8, rtol=1e-8)
    assert gradgradcheck(*case.function(), atol=1e-8, rtol=1e-8)


# --- layouts ------------------------------------------------------------------------------------------------------


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.full(tuple(2 * n for n in x.shape), np.nan, x.dtype)
    view = wide[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


def backwards(x: np.ndarray) -> np.ndarray:
    index = (slice(None, None, -1),) * x.ndim
    return x[index].copy()[index]


def read_only(x: np.ndarray) -> np.ndarray:
    view = x.view()
    view.flags.writeable = False
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1),
    "strided": strided,
    "backwards": backwards,
    "offset": lambda x: np.concatenate([x[:1], x])[1:],
    "read-only": read_only,
}


@params([case for case in DIFFERENTIABLE if any(a.ndim for a in case.function()[1])])
def test_layouts_give_the_same(case: Case) -> None:
    function, arrays = case.function()
    value, gradients = value_and_gradients(function, arrays)
    for name, layout in LAYOUTS.items():
        laid_out = [layout(array) if array.ndim else array for array in arrays]
        other, other_gradients = value_and_gradients(function, laid_out)
        np.testing.assert_allclose(other, value, rtol=1e-13, atol=1e-15, err_msg=name)
        for a, b in zip(other_gradients, gradients, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15, err_msg=name)


LINEAR_ALGEBRA = {name for name, op in registry.items() if op.function.__module__.endswith("decompositions")} - {"norm2"}


@params([c for c in DIFFERENTIABLE if c.op.name not in LINEAR_ALGEBRA and any(a.ndim for a in c.function()[1])])
def test_broadcast_views_give_the_same_as_copies(case: Case) -> None:
    function, arrays = case.function()
    views = [np.broadcast_to(array[:1], array.shape) if array.ndim else array for array in arrays]
    value, gradients = value_and_gradients(function, [view.copy() for view in views])
    other, other_gradients = value_and_gradients(function, views)
    np.testing.assert_allclose(other, value, rtol=1e-13, atol=1e-15)
    for a, b in zip(other_gradients, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


# --- dtypes -------------------------------------------------------------------------------------------------------

TOLERANCE = {"float16": 1e-2, "float32": 2e-6, "float64": 1e-14}


@pytest.mark.parametrize("dtype", TOLERANCE)
@params([case for case in DIFFERENTIABLE if not any(map(np.iscomplexobj, case.function()[1]))])
def test_dtypes(case: Case, dtype: str) -> None:
    sample = case.sample
    if case.op.name.endswith("dropout_from"):
        pytest.skip("in another dtype it draws other numbers")
    cast = [
        [v if v is None else v.astype(dtype) for v in value]
        if isinstance(value, list)
        else value.astype(dtype)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else value
        for value in sample.args
    ]
    low = case._replace(sample=sample._replace(args=tuple(cast)))
    function, arrays = low.function()
    if case.op.name in LINEAR_ALGEBRA and dtype == "float16":
        with pytest.raises(DTypeError, match=case.op.name):
            function(*arrays)
        return
    reference = getattr(np.fft, case.op.name, None) or numpy_function(case.op)
    if case.op.returns is None:
        expected = np.asarray(reference(*cast, **sample.kwargs)).dtype if reference is not None else np.dtype(dtype)
        assert function(*arrays).dtype == expected

    value, gradients = value_and_gradients(function, arrays)
    assert [g.dtype for g in gradients] == [a.dtype for a in arrays]
    precise, precise_gradients = value_and_gradients(function, [array.astype(float) for array in arrays])
    loss = 10 if case.op.name in LINEAR_ALGEBRA else 1  # conditions of the sampled matrices
    for got, want in zip([value, *gradients], [precise, *precise_gradients], strict=True):
        size = float(np.abs(want).max(initial=0))
        np.testing.assert_allclose(got.astype(want.dtype), want, rtol=0, atol=loss * TOLERANCE[dtype] * (1 + size))


def test_the_other_operand_may_have_another_dtype() -> None:
    a = gg.tensor([1.0, 2.0], dtype="float32", requires_grad=True)
    b = gg.tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    c = np.array([2, 3])
    out = a * b * c
    assert out.dtype == "float64"
    out.sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.dtype, b.grad.dtype) == ("float32", "float64")
    np.testing.assert_array_equal(a.grad.numpy(), [6, 12])
    np.testing.assert_array_equal(b.grad.numpy(), [2, 6])


# --- ops that change arrays ---------------------------------------------------------------------------------------


@params([case for case in CASES if case.op.mutates is not None])
def test_an_update_changes_what_it_says_and_nothing_else(case: Case) -> None:
    count = sum(isinstance(value, np.ndarray) for value in case.sample.args)
    before = [value.copy() if isinstance(value, np.ndarray) else value for value in case.sample.args]
    tensors = [gg.asarray(v.copy()) if isinstance(v, np.ndarray) else v for v in case.sample.args]
    assert case.op.mutates is not None
    assert case.op.public(*tensors, **case.sample.kwargs) is None
    changed = {
        i
        for i, (old, new) in enumerate(zip(before, tensors, strict=True))
        if isinstance(new, gg.Tensor) and not np.array_equal(old, new.numpy())
    }
    assert changed == set(case.op.mutates(count))


@params([case for case in CASES if case.op.name[:-1] in registry and case.op.mutates is not None])
def test_an_update_writes_what_its_pure_op_returns(case: Case) -> None:
    x, *rest = case.sample.args
    target = gg.asarray(x.copy())
    with np.errstate(invalid="ignore"):  # roots of negative numbers
        case.op.public(target, *rest)
        expected = registry[case.op.name[:-1]].public(x, *rest)
    np.testing.assert_array_equal(target.numpy(), expected.numpy())


# --- the checks themselves ----------------------------------------------------------------------------------------


class Wrong(gg.Function):
    """A square whose backward forgets the factor two."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.saved_tensors[0]


def test_a_wrong_gradient_is_found_and_named() -> None:
    inputs = (np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    with pytest.raises(GradientError, match=r"input 1, float64\[2\] on cpu, in mode 'rev' is wrong.*error.*tolerance"):
        gradcheck(lambda x, y: x * Wrong.apply(y), inputs, modes=("rev",))
    with pytest.raises(GradientError, match="mode 'fwd'"):
        gradcheck(lambda x, y: x * Wrong.apply(y), inputs, modes=("fwd",))
    with pytest.raises(GradientError, match="gradgradcheck: the derivative by input 0"):
        gradgradcheck(lambda x: gg.where(x > 0, x, x).detach() * x, inputs[:1])


def test_what_a_check_refuses() -> None:
    with pytest.raises(DTypeError, match=r"finite differences need float64 or complex128; input 1 is float32\[2\]"):
        gradcheck(gg.add, (np.ones(2), np.ones(2, "float32")))
    with pytest.raises(GradientError, match="none of the 1 inputs is floating"):
        gradcheck(gg.negative, np.array([1, 2]))
    with pytest.raises(GradientError, match="returns no floating array"):
        gradcheck(lambda x: x > 0, np.ones(2))
    with pytest.raises(GradientError, match="fix the random state"):
        gradcheck(lambda x: x * gg.random.uniform((2,)), np.ones(2))
    with pytest.raises(ValueError, match="modes"):
        gradcheck(gg.negative, np.ones(2), modes=("forward",))
    with pytest.raises(GradientError, match="nan"):
        gradcheck(lambda x: x * float("nan"), np.ones(2))


def test_what_a_check_takes() -> None:
    x, ids = np.array([[0.1, 0.2], [0.3, 0.5]]), np.array([1, 0])
    assert gradcheck(gg.cross_entropy, (x, ids))
    assert gradgradcheck(gg.cross_entropy, (gg.tensor(x), ids))
    assert gradcheck(lambda x: {"a": gg.sin(x), "b": (gg.cos(x), gg.argmax(x))}, x)
    assert gradcheck(gg.exp, gg.tensor(0.5, dtype="float64", requires_grad=True))
    assert cotangent_for(x).shape == x.shape
