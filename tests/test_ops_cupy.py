"""Every op on the stand-in for CuPy: values, both modes and second order are those of NumPy, and nothing falls back to it.

The stand-in refuses NumPy arrays as operands, implicit conversion, and arrays of a GPU that is not the current one. All of
this runs on the second of two, while the first is current.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from op_cases import CASES, DIFFERENTIABLE, PURE, Case, cotangent_for, params, random_like
from test_functional import CALLS as FUNCTIONAL
from test_numpy_functions import CALLS, Call, as_function
from test_ops import DRAWS

import gpugrad as gg

DEVICE = "cuda:1"


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


def moved(value: Any) -> Any:
    """Arrays, in lists and tuples too, as raw arrays of the GPU; all else as it is."""
    if isinstance(value, np.ndarray):
        return gg.asarray(value, device=DEVICE).data
    if isinstance(value, list | tuple):
        return type(value)(map(moved, value))
    return value


def on_gpu(case: Case) -> Case:
    kwargs = {name: moved(value) for name, value in case.sample.kwargs.items()}
    args = tuple(
        value if name == "device" else moved(value) for value, name in zip(case.sample.args, case.op.signature.parameters)
    )
    if case.op.name == "to_device":
        args = (args[0], DEVICE)
    args += tuple(map(moved, case.sample.args[len(args) :]))
    return case._replace(sample=case.sample._replace(args=args, kwargs=kwargs))


def same(got: Any, want: Any, rtol: float = 1e-12) -> None:
    """A result on the GPU has the dtype, shape and values of NumPy's."""
    if isinstance(got, tuple | list):
        for a, b in zip(got, want, strict=True):
            same(a, b, rtol)
        return
    got, want = gg.asarray(got), gg.asarray(want)
    assert got.device == DEVICE
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    found, values = (t.detach().numpy().astype("f" if t.dtype == "bfloat16" else t.dtype) for t in (got, want))
    scale = np.abs(values).max(initial=1.0, where=np.isfinite(values))
    np.testing.assert_allclose(found, values, rtol=rtol, atol=rtol / 10 * scale)


@params(PURE)
def test_value(case: Case) -> None:
    there = on_gpu(case)
    same(there.op.public(*there.sample.args, **there.sample.kwargs), case.op.public(*case.sample.args, **case.sample.kwargs))


def derivatives(case: Case) -> list[Any]:
    """By both modes, and of the squares of the gradients."""
    function, arrays = case.function()
    rng = np.random.default_rng(3)
    to = moved if isinstance(case.sample, type(case.sample)) and gg.asarray(arrays[0]).device == DEVICE else (lambda v: v)
    tangents = [to(random_like(gg.asarray(a).numpy(), rng)) for a in arrays]
    value, pull = gg.vjp(function, *arrays)
    cotangent = to(cotangent_for(value))
    gradients = pull(cotangent)
    _, tangent = gg.jvp(function, arrays, tangents)

    def squares(*inputs: Any) -> Any:
        pulled = gg.vjp(function, *inputs)[1](cotangent)
        return sum(gg.sum(gg.real(g * gg.conjugate(g))) for g in pulled)

    second = gg.grad(squares, tuple(range(len(arrays))))(*arrays)
    leaves = [gg.asarray(a).detach().requires_grad_() for a in arrays]
    function(*leaves).backward(cotangent)
    return [value, tangent, *gradients, *second, *[leaf.grad for leaf in leaves]]


@params(DIFFERENTIABLE)
def test_derivatives(case: Case) -> None:
    same(derivatives(on_gpu(case)), derivatives(case))


@params([case for case in CASES if case.op.mutates is not None])
def test_updates(case: Case) -> None:
    here = [gg.asarray(v.copy()) if isinstance(v, np.ndarray) else v for v in case.sample.args]
    there = [gg.asarray(v, device=DEVICE if v.ndim else None) if isinstance(v, np.ndarray) else v for v in case.sample.args]
    for args in (here, there):
        case.op.public(*args, **case.sample.kwargs)
    for got, want in zip(there, here, strict=True):
        if isinstance(want, gg.Tensor) and want.ndim:
            same(got, want)


def test_all_ops_are_here() -> None:
    assert {case.op.name for case in CASES} | DRAWS == set(gg.op.registry)


# --- functions composed of ops ------------------------------------------------------------------------------------


def parts(value: Any) -> list[Any]:
    return [part for v in value for part in parts(v)] if isinstance(value, list | tuple) else [value]


numpy_calls = pytest.mark.parametrize("call", [pytest.param(call, id=str(call)) for call in CALLS])


@numpy_calls
def test_numpy_functions(call: Call) -> None:
    there = call._replace(args=tuple(map(moved, call.args)), kwargs={name: moved(value) for name, value in call.kwargs.items()})
    same(parts(getattr(gg, there.name)(*there.args, **there.kwargs)), parts(getattr(gg, call.name)(*call.args, **call.kwargs)))


def constants_moved(call: Call) -> Call:
    """The call with all that is not differentiated on the GPU."""

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(v) for v in value]
        return moved(value) if isinstance(value, np.ndarray) and value.dtype != float else value

    kwargs = {name: value if name == "weights" else moved(value) for name, value in call.kwargs.items()}
    return call._replace(args=tuple(map(place, call.args)), kwargs=kwargs)


def gradients(call: Call) -> tuple[Any, list[Any]]:
    """First and second derivatives of the squares of a call's results, and where they are taken."""
    function, leaves = as_function(call)
    numbers = tuple(range(len(leaves)))

    def squares(*arrays: Any) -> Any:
        return sum(gg.sum(gg.nan_to_num(part * part)) for part in parts(function(*arrays)))

    def second(*arrays: Any) -> Any:
        return sum(gg.sum(gg.nan_to_num(g * g)) for g in gg.grad(squares, numbers)(*arrays))

    return lambda *arrays: (*gg.grad(squares, numbers)(*arrays), *gg.grad(second, numbers)(*arrays)), leaves


@numpy_calls
def test_gradients_of_numpy_functions(call: Call) -> None:
    (here, leaves), (there, _) = gradients(call), gradients(constants_moved(call))
    same(there(*moved(leaves)), here(*leaves))


functional_calls = pytest.mark.parametrize("number", range(len(FUNCTIONAL)))


@functional_calls
def test_functional(number: int) -> None:
    """What `nn.functional` composes: values, gradients, and the gradients of their squares, with the seed's random numbers."""
    call = FUNCTIONAL[number]
    kwargs = {name: moved(value) for name, value in call.kwargs.items()}
    constants = [moved(a) if i not in call.moving() else a for i, a in enumerate(call.args)]
    there, results = call._replace(args=tuple(constants), kwargs=kwargs, constants=call.constants), []
    for version, arrays in ((call, call.arrays()), (there, moved(call.arrays()))):
        numbers = tuple(range(len(arrays)))

        def squares(*inputs: Any, version: Any = version) -> Any:
            gg.manual_seed(0)
            return sum(gg.sum(part * part) for part in parts(version.ours(*inputs)))

        def second(*inputs: Any, squares: Any = squares, numbers: Any = numbers) -> Any:
            return sum(gg.sum(g * g) for g in gg.grad(squares, numbers)(*inputs))

        with gg.backend.on_device_of(arrays[0] if arrays else None):
            first = [*parts(version.ours(*arrays)), *gg.grad(squares, numbers)(*arrays)]
            results.append([*first, *gg.grad(second, numbers)(*arrays)])
    same(results[1], results[0], 1e-9)


# --- linear algebra and Fourier transforms, real and complex ------------------------------------------------------


def matrices(complex_: bool, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, shape) + (1j * rng.uniform(-1, 1, shape) if complex_ else 0)
    return x + np.eye(*shape[-2:]) * np.arange(2, shape[-1] + 2)


def hermitian(a: Any) -> Any:
    return (a + gg.conjugate(gg.matrix_transpose(a))) * 0.5


SQUARE, WIDE, TALL = (2, 3, 3), (2, 3, 4), (4, 3)
ALGEBRA: dict[str, tuple[tuple[int, ...], Any]] = {
    "cholesky": (SQUARE, lambda a: gg.linalg.cholesky(gg.matmul(hermitian(a), hermitian(a)), upper=True)),
    "eigh": (SQUARE, lambda a: gg.linalg.eigvalsh(hermitian(a))),
    "eig": ((3, 3), lambda a: gg.abs(gg.linalg.eigvals(a))),
    "svdvals": (WIDE, gg.linalg.svdvals),
    "svd": (TALL, lambda a: gg.abs(gg.linalg.svd(a, full_matrices=False).U)),
    "qr": (WIDE, lambda a: tuple(gg.linalg.qr(a))),
    "solve": (SQUARE, lambda a: gg.linalg.solve(a, a[0])),
    "solve_vector": (SQUARE, lambda a: gg.linalg.solve(a, a[0, 0])),
    "solve_stack": (SQUARE, lambda a: gg.linalg.solve(a[0], a)),
    "slogdet": (SQUARE, lambda a: tuple(gg.linalg.slogdet(a))),
    "det": (SQUARE, gg.linalg.det),
    "matrix_power": (SQUARE, lambda a: gg.linalg.matrix_power(a, -2) + gg.linalg.matrix_power(a, 0)),
    "pinv": (TALL, gg.linalg.pinv),
    "lstsq": (TALL, lambda a: gg.linalg.lstsq(a, a[:, :2]).x),
    "multi_dot": ((3, 3), lambda a: gg.linalg.multi_dot([a, a, a[0]])),
    "nuc": (WIDE, lambda a: gg.linalg.norm(a, "nuc", (-2, -1))),
    "norm_3": (WIDE, lambda a: gg.linalg.norm(a, 3, -1)),
    "norm_0": (WIDE, lambda a: gg.linalg.norm(a, 0, -1) * gg.linalg.norm(a, np.inf, -1)),
    "cond": (SQUARE, gg.linalg.cond),
    "tensorinv": ((4, 4), lambda a: gg.linalg.tensorinv(gg.reshape(a, (2, 2, 4)))),
    "take": ((4, 4), lambda a: a[np.array([0, 2, 0])]),
    "take_twice": ((4, 4), lambda a: a[np.array([0, 2, 0]), np.array([1, 1, 1])]),
    **{
        name: (WIDE, lambda a, name=name: getattr(gg.fft, name)(a))
        for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "irfft", "irfft2", "irfftn", "hfft", "fftshift")
    },
    **{name: (WIDE, lambda a, name=name: getattr(gg.fft, name)(gg.real(a))) for name in ("rfft", "rfft2", "rfftn", "ihfft")},
    "cumsum": (WIDE, lambda a: gg.cumsum(a, 1) * gg.cumprod(a, 2)),
    "angle": (WIDE, lambda a: gg.angle(a) * gg.sign(gg.real(a))),
}


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", ALGEBRA)
def test_linear_algebra(name: str, complex_: bool) -> None:
    shape, function = ALGEBRA[name]
    a = matrices(complex_, *shape)

    def squares(a: Any) -> Any:
        return sum(gg.sum(gg.abs(part) ** 2) for part in parts(function(a)))

    def both(a: Any) -> Any:
        second = gg.grad(lambda a: gg.sum(gg.abs(gg.grad(squares)(a)) ** 2))
        return [*parts(gg.vjp(function, a)[0]), gg.grad(squares)(a), gg.jvp(squares, (a,), (a * 0.5,))[1], second(a)]

    with gg.backend.on_device_of(moved(a)):
        there = both(moved(a))
    same(there, both(a))


# --- picking and placing ------------------------------------------------------------------------------------------

X, IDS = np.random.default_rng(6).uniform(-1, 1, (3, 4)), np.array([[0, 2, 1, 0]])
ROWS = np.array([2, 0, -1])


def assigned(x: Any, index: Any, value: Any) -> Any:
    x = gg.tensor(x)
    x[index] = value
    return x


PICKING: dict[str, Any] = {
    "gather": lambda x, ids, rows: gg.gather(x, 0, ids),
    "scatter": lambda x, ids, rows: gg.scatter(x, 0, ids, 2.0),
    "scatter_add": lambda x, ids, rows: gg.scatter_add(x, 1, ids[:, :3], x),
    "index_add": lambda x, ids, rows: gg.index_add(x, 0, rows, x, 2),
    "index_add_integers": lambda x, ids, rows: gg.index_add(gg.zeros_like(ids), 0, rows * 0, ids[:, :] * 1),
    "masked_fill": lambda x, ids, rows: gg.masked_fill(x, x > 0, 7.0),
    "masked_select": lambda x, ids, rows: gg.masked_select(x, x > 0),
    "masked_select_list": lambda x, ids, rows: gg.masked_select(x, [True, False, True, False]),
    "topk": lambda x, ids, rows: tuple(gg.topk(x, 2)),
    "nonzero": lambda x, ids, rows: gg.nonzero(x > 0),
    "argwhere": lambda x, ids, rows: gg.argwhere(x > 0),
    "flatnonzero": lambda x, ids, rows: gg.flatnonzero(x > 0),
    "searchsorted": lambda x, ids, rows: gg.searchsorted(gg.sort(x[0]), x),
    "unique": lambda x, ids, rows: gg.unique(ids),
    "list": lambda x, ids, rows: gg.asarray(x)[[0, 2]],
    "tensors": lambda x, ids, rows: gg.asarray(x)[gg.asarray(rows), gg.asarray(rows)],
    "mask": lambda x, ids, rows: gg.asarray(x)[gg.asarray(x) > 0],
    "set_rows": lambda x, ids, rows: assigned(x, rows[:2], 5.0),
    "set_mask": lambda x, ids, rows: assigned(x, gg.asarray(x) > 0, gg.asarray(x)[gg.asarray(x) > 0] * 2),
    "set_recorded": lambda x, ids, rows: gg.grad(lambda x: gg.sum(assigned(x * 2, 1, x[0] * x[2])))(x),
    "lists": lambda x, ids, rows: gg.asarray(x) * [1.0, 2.0, 3.0, 4.0] + gg.concatenate([x[0], [1.0]])[:4],
    "embedding": lambda x, ids, rows: gg.grad(lambda x: gg.sum(gg.asarray(x)[rows] ** 2))(x),
    "tie": lambda x, ids, rows: gg.median(x, axis=0) + gg.nanmedian(x, axis=0),
}


@pytest.mark.parametrize("name", PICKING)
def test_picking(name: str) -> None:
    with gg.backend.on_device_of(moved(X)):
        same(PICKING[name](*moved((X, IDS, ROWS))), PICKING[name](X, IDS, ROWS))


@pytest.mark.parametrize("where", [moved, np.asarray], ids=["on the GPU", "on the CPU"])
@pytest.mark.parametrize(
    "pick",
    [
        lambda x, i: x[i],
        lambda x, i: x[:, None, i],
        lambda x, i: x[..., i],
        lambda x, i: x[x[:, 0] > -9, i],
        lambda x, i: assigned(x, i, 1.0),
        lambda x, i: gg.index_set(x, 1.0, i),
        lambda x, i: gg.take(x, i),
        lambda x, i: gg.take_along_axis(x, i[None, :], -1),
        lambda x, i: gg.index_add(x, 0, i, x),
    ],
)
def test_an_index_out_of_bounds_does_not_come_in_again_at_the_other_end(pick: Any, where: Any) -> None:
    for index in ([0, 12, 1], [0, -13, 1]):
        with pytest.raises(IndexError, match=r"12|13"):
            pick(gg.asarray(X, device=DEVICE), where(np.array(index)))


@pytest.mark.parametrize("call", [gg.linalg.inv, gg.linalg.cholesky, lambda a: gg.linalg.solve(a, a)])
def test_a_matrix_that_is_not_what_it_should_be(call: Any) -> None:
    with pytest.raises(gg.LinearAlgebraError, match=r"float64\[2, 2\] on cuda:1"):
        call(gg.asarray(-np.ones((2, 2)), device=DEVICE))
