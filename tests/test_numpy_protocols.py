"""Every public function of NumPy on a Tensor: the answer and the gradient of the call on arrays, or a refusal by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_calls import FUNCTIONS, INPUTS, LINALG, METHODS, MORE, UFUNCS, calls, name_of, parts, run

import gpugrad as gg
from gpugrad.numpy_rules import functions, is_dispatched, own, rule_for, ufunc_rules


def present(call: str) -> bool:
    return own(name_of(call)) is not None


CALLS = [*calls(FUNCTIONS), *calls(MORE), *calls(UFUNCS), *calls(METHODS), *filter(present, calls(LINALG))]
MANY_VALUED = {"linalg.eig", "linalg.eigh", "linalg.svd", "linalg.qr"}
"""Factors that are defined up to signs: their values are tested where they are made."""


def tensors(requires_grad: bool = False) -> dict[str, gg.Tensor]:
    return {name: gg.tensor(value, requires_grad=requires_grad and value.dtype.kind in "fc") for name, value in INPUTS.items()}


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")
@pytest.mark.parametrize("namespace", [np, gg.numpy], ids=["numpy", "gpugrad.numpy"])
@pytest.mark.parametrize("call", CALLS)
def test_the_value_is_that_of_numpy(call: str, namespace: Any) -> None:
    expected = parts(run(call, np, INPUTS))
    found = parts(run(call, namespace, tensors()))
    if name_of(call) == "linalg.lstsq":
        expected, found = expected[:1], found[:1]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, gg.Tensor)
        assert ours.shape == np.shape(theirs)
        if name_of(call) in ("linalg.eig", "linalg.eigvals", "roots"):
            theirs = np.asarray(theirs, complex)  # as NumPy gives from 2.5 on
        assert ours.dtype == np.asarray(theirs).dtype
        if name_of(call) not in MANY_VALUED:
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6 if ours.dtype == np.float32 else 1e-12, atol=1e-14)


@pytest.mark.parametrize("call", CALLS)
def test_it_is_recorded_and_its_gradient_is_right(call: str) -> None:
    """Along one random direction of all inputs, against central differences."""

    def total(inputs: dict[str, Any]) -> Any:
        result = 0.0
        for k, part in enumerate(parts(run(call, np, inputs))):
            array = part if isinstance(part, gg.Tensor) else np.asarray(part)
            if array.dtype.kind in "fc" and array.size:
                if name_of(call) in MANY_VALUED:
                    array = array * np.conj(array)
                weight = np.cos(np.arange(array.size) + k).reshape(array.shape)
                result = result + np.real(np.sum(array * weight))
        return result

    inputs = tensors(requires_grad=True)
    out = total(inputs)
    if not isinstance(out, gg.Tensor) or not out.requires_grad:
        if all(p.dtype.kind not in "fc" for p in parts(run(call, np, tensors()))):
            return
        assert name_of(call) in FLAT, f"{call} was not recorded"
        return
    out.backward()
    if name_of(call) in STEPS:  # differences across a jump say nothing
        assert all(t.grad is None or not t.grad.numpy().any() for t in inputs.values())
        return
    rng = np.random.default_rng(1)
    step = 1e-2 if "float32" in call else 1e-6
    slope, moved = 0.0, ({}, {})
    for name, value in INPUTS.items():
        direction = rng.standard_normal(value.shape) + (1j * rng.standard_normal(value.shape) if value.dtype.kind == "c" else 0)
        direction = direction + direction.T if name == "p" else direction  # of symmetric matrices NumPy reads one triangle
        if value.dtype.kind not in "fc":
            moved[0][name] = moved[1][name] = value
            continue
        if inputs[name].grad is not None:
            slope += float(np.vdot(inputs[name].grad.numpy(), direction).real)
        else:
            direction = direction * 0
        for side, sign in zip(moved, (1, -1), strict=True):
            side[name] = value + sign * step * direction
    numeric = float(total(moved[0]) - total(moved[1])) / (2 * step)
    assert slope == pytest.approx(numeric, rel=1e-3 if "float32" in call else 1e-6, abs=1e-3 if "float32" in call else 1e-7)


FLAT = {"astype", "full_like", "ones_like", "zeros_like", "nextafter", "spacing"}
"""Floating results that are not recorded: none of them depends on values in a way that has a derivative."""

STEPS = {"around", "fix", "round", "ceil", "floor", "floor_divide", "rint", "heaviside", "sign", "trunc"}
"""Those that are recorded, and have a gradient of 0."""


# --- every function -----------------------------------------------------------------------------------------------

DISPATCHED = [(name, f) for name, f in functions() if is_dispatched(f)]


def test_every_answered_function_has_a_call_here() -> None:
    have = {name_of(call) for call in [*calls(FUNCTIONS), *calls(MORE), *calls(UFUNCS), *calls(LINALG)]}
    have |= {"empty_like"}  # its values are nobody's
    objects = {getattr(np, name, None) for name in have}
    missing = []
    for name, function in DISPATCHED:
        answered = ufunc_rules().get(function) is not None if isinstance(function, np.ufunc) else rule_for(function).kind == "op"
        if answered and name not in have and function not in objects:
            missing.append(name)
    assert not missing


@pytest.mark.parametrize(("name", "function"), DISPATCHED, ids=[name for name, _ in DISPATCHED])
def test_a_function_is_answered_or_refused_by_name(name: str, function: Any) -> None:
    t = gg.tensor(np.ones((2, 2)), requires_grad=True)
    if isinstance(function, np.ufunc):
        if ufunc_rules()[function] is None:
            with pytest.raises(TypeError, match=rf"numpy\.{function.__name__} has no rule"):
                function(*[t] * function.nin)
        if function.nout == 1 and function.signature is None:
            with pytest.raises(TypeError, match=rf"numpy\.{function.__name__}\.at has no rule"):
                function.at(t, [0], *[1] * (function.nin - 1))
        return
    rule = rule_for(function)
    assert rule.kind in ("op", "about", "counting", "in place", "refused")
    if rule.kind in ("refused", "in place"):
        with pytest.raises(TypeError, match=rf"numpy\.{rule.name[6:]} has no rule for Tensors"):
            t.__array_function__(function, (gg.Tensor,), (t,), {})


# Functions that NumPy does not ask its arguments about: they make arrays of what they get, read files, or set options.
MAKES_ARRAYS = {
    "array": (), "asanyarray": (), "asarray": (), "asarray_chkfinite": (), "ascontiguousarray": (), "asfortranarray": (),
    "require": (),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKES_ARRAYS)
def test_making_an_array_of_a_tensor_that_needs_a_gradient_is_refused(name: str) -> None:
    t = gg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(gg.GradientError, match="would drop its gradient"):
        getattr(np, name)(t)
    with gg.no_grad():
        assert type(getattr(np, name)(t)) is np.ndarray
    assert type(getattr(np, name)(t.detach())) is np.ndarray


def test_storing_a_tensor_in_an_array_says_what_to_store_it_in() -> None:
    t, out = gg.tensor([1.0, 2.0], requires_grad=True), np.zeros(2)
    with pytest.raises(gg.GradientError, match=r"np.zeros_like\(t\)"):
        out[:] = t
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        out[0] = t[0]
    assert "np.zeros_like(t)" in str(caught.value.__cause__)


UNDISPATCHED = {name for name, f in functions() if not is_dispatched(f)}


@pytest.mark.parametrize("name", sorted(UNDISPATCHED - set(MAKES_ARRAYS)))
def test_no_other_function_turns_a_tensor_into_a_plain_array(name: str) -> None:
    prefix, _, base = name.rpartition(".")
    if base in {"test", "info", "show_config", "show_runtime", "printoptions", "set_printoptions", "get_printoptions", "seterr"}:
        return
    t = gg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    try:
        result = getattr(getattr(np, prefix) if prefix else np, base)(t)
    except Exception:
        return
    if isinstance(result, np.ndarray) and base not in {"empty", "zeros", "ones", "eye", "identity"}:
        assert not (result.dtype.kind in "fc" and result.size and np.isin(result, t.data).all())


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: np.sum(t, out=np.zeros(())), r"numpy\.sum with out="),
        (lambda t: np.max(t, where=[[True], [False]]), r"numpy\.max with where="),
        (lambda t: np.reshape(t, 4, order="K"), "order="),
        (lambda t: np.max(t, where=t.data > 1), "where="),
        (lambda t: np.add(t, 1, where=[True, False]), r"numpy\.add with where="),
        (lambda t: np.add.reduceat(t, [0, 1]), r"numpy\.add\.reduceat"),
        (lambda t: np.savetxt("nowhere", t), r"numpy\.savetxt has no rule"),
        (lambda t: np.histogram(t), r"numpy\.histogram of what requires a gradient"),
        (lambda t: np.add(t, 1, out=np.zeros((2, 2))), r"numpy\.add with out="),
        (lambda t: np.sin.at(t, [0]), r"numpy\.sin\.at"),
        (lambda t: np.copyto(np.zeros((2, 2)), t), r"numpy\.copyto(.|\n)*gpugrad\.where"),
        (lambda t: np.bincount([0, 1], weights=t[0]), "weights"),
        (lambda t: np.fft.fft(t, out=np.zeros((2, 2), complex)), "fft"),
    ],
)
def test_an_option_without_meaning_is_refused_by_name(call: Any, says: str) -> None:
    t = gg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with pytest.raises(TypeError, match=f"{says}(.|\n)*at .*test_numpy_protocols"):
        call(t)


def test_wrong_arguments_are_a_type_error_with_the_name() -> None:
    t = gg.tensor([1.0])
    with pytest.raises(TypeError, match="sum"):
        np.sum(t, no_such_option=1)


def test_a_static_argument_that_needs_a_gradient_is_refused() -> None:
    n = gg.tensor(1.0, requires_grad=True)
    with pytest.raises(gg.GradientError, match=r"numpy\.roll has no gradient by shift="):
        np.roll(gg.tensor([1.0, 2.0]), n)
    np.testing.assert_array_equal(np.roll(gg.tensor([1.0, 2.0]), gg.tensor(1)), [2, 1])


def test_in_place_on_an_array_needs_a_tensor_without_gradient() -> None:
    a = np.ones(3)
    t = gg.tensor([1.0, 2.0, 3.0], dtype="float64", requires_grad=True)
    with pytest.raises(TypeError, match=r"a \+= t(.|\n)*a = a \+ t"):
        a += t
    with gg.no_grad():
        a += t
    a *= t.detach()
    np.testing.assert_array_equal(a, [2, 6, 12])
    assert type(a) is np.ndarray
    plain = gg.tensor(np.zeros(3))
    assert np.multiply(a, 2, out=plain) is plain
    np.testing.assert_array_equal(plain.numpy(), [4, 12, 24])
    np.add.reduce(gg.tensor(np.ones((2, 3))), axis=0, out=a)
    np.testing.assert_array_equal(a, [2, 2, 2])


def test_functions_that_change_an_array_do_so_where_no_gradient_is_needed() -> None:
    t, leaf = gg.tensor(np.zeros((2, 2))), gg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    with pytest.raises(TypeError, match=r"numpy\.copyto(.|\n)*gpugrad\.where"):
        np.copyto(t, leaf)
    with gg.no_grad():
        np.copyto(t, leaf)
    np.fill_diagonal(t, 5)
    np.put(t, [1], gg.tensor(7.0))
    np.putmask(t, t == 5, 0)
    np.put_along_axis(t, gg.tensor(np.array([[0], [1]])), -1.0, axis=1)
    np.testing.assert_array_equal(t, [[-1, 7], [1, -1]])
    plain = np.zeros(2)
    np.copyto(plain, leaf.detach())
    np.testing.assert_array_equal(plain, [1, 2])


@pytest.mark.parametrize("change", [lambda held: np.add(held, 1, out=held), lambda held: np.copyto(held, 1)])
def test_a_saved_array_written_by_numpy_is_seen_at_backward(change: Any) -> None:
    t = gg.tensor([1.0, 2.0], requires_grad=True)
    held = gg.tensor([3.0, 4.0])
    out = (t * held).sum()
    change(held)
    with pytest.raises(gg.GradientError, match="changed"):
        out.backward()


def test_questions_about_a_tensor_are_answered_with_plain_values() -> None:
    t = gg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    assert (np.shape(t), np.ndim(t), np.size(t), np.size(t, 1)) == ((2, 3), 2, 6, 3)
    assert np.result_type(t, np.float64) == np.float64
    assert np.result_type(t, 1.0) == np.float32
    assert np.can_cast(t.dtype, np.float64)
    assert not np.iscomplexobj(t)
    assert np.isrealobj(t)
    assert not np.isscalar(t)
    assert np.iterable(t)
    assert np.common_type(t) is np.float32
    assert np.broadcast_shapes(t.shape, (1, 3)) == (2, 3)
    assert np.array_repr(t) == np.array_repr(np.ones((2, 3), np.float32))
    assert np.array2string(t) == np.array2string(np.ones((2, 3)))
    assert np.shares_memory(t, t.detach().numpy())
    assert not np.may_share_memory(t, np.ones(3))
    assert np.einsum_path("ij,jk", t, np.ones((3, 2)))[0]
    assert all(isinstance(i, np.ndarray) for i in np.tril_indices_from(gg.tensor(np.eye(3))))


def test_counting_functions_give_tensors_without_gradients() -> None:
    t = gg.tensor([3.0, 1.0, 2.0], requires_grad=True)
    assert sorted(np.argpartition(t, 1).tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(np.digitize(t, [1.5, 2.5]), [2, 0, 1])
    np.testing.assert_array_equal(np.bincount(gg.tensor(np.array([0, 2, 2]))), [1, 0, 2])
    np.testing.assert_array_equal(np.lexsort((t, t)), [1, 2, 0])
    assert isinstance(np.digitize(t, [1.5]), gg.Tensor)
    counts, edges = np.histogram(t.detach(), 2)
    np.testing.assert_array_equal(counts, [1, 2])
    np.testing.assert_array_equal(edges, [1, 2, 3])


def test_operators_with_an_array_on_the_left() -> None:
    t = gg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    a = np.ones((2, 3))
    for out in (a @ t, a.T + t, a.T - t, a.T * t, a.T / (t + 1), t < a.T, 2.0**t, np.float64(2) * t, np.float32(2) ** t):
        assert isinstance(out, gg.Tensor)
    (a @ t).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full((3, 2), 2.0))
