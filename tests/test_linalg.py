"""gg.linalg and gg.fft: values against NumPy, gradients of both modes and orders, real and complex, degenerate and refused."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.ops.decompositions import positive, well
from gpugrad.testing import gradcheck, gradgradcheck

RNG = np.random.default_rng(2)


def made(*shape: int, kind: str = "f") -> np.ndarray:
    x = RNG.uniform(-1, 1, shape)
    return x + 1j * RNG.uniform(-1, 1, shape) if kind == "c" else x


def hermitian(n: int, kind: str, *stack: int) -> np.ndarray:
    x = made(*stack, n, n, kind=kind)
    return x + x.swapaxes(-1, -2).conj() + np.diag(np.arange(n) * 3.0)


def definite(n: int, kind: str, *stack: int) -> np.ndarray:
    x = made(*stack, n, n, kind=kind)
    return x @ x.swapaxes(-1, -2).conj() + np.diag(np.arange(1.0, n + 1))


def symmetrised(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of Hermitian matrices as one of any: finite differences leave the Hermitian ones."""
    return lambda a: f((a + gg.conjugate(gg.matrix_transpose(a))) * 0.5)


def check(f: Callable[..., Any], *inputs: Any) -> None:
    assert gradcheck(f, inputs, eps=1e-6, atol=2e-7, rtol=1e-6)
    assert gradgradcheck(f, inputs, eps=1e-6, atol=5e-6, rtol=1e-5)


kinds = pytest.mark.parametrize("kind", ["f", "c"])


# --- decompositions -----------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("stack", [(), (2,)])
def test_cholesky(kind: str, stack: tuple[int, ...]) -> None:
    a = definite(3, kind, *stack)
    np.testing.assert_allclose(gg.linalg.cholesky(a).numpy(), np.linalg.cholesky(a), atol=1e-12)
    upper = np.linalg.cholesky(a).swapaxes(-1, -2).conj()
    np.testing.assert_allclose(gg.linalg.cholesky(a, upper=True).numpy(), upper, atol=1e-12)
    check(symmetrised(gg.linalg.cholesky), a)
    gradient = gg.grad(lambda a: gg.sum(gg.abs(gg.linalg.cholesky(a)) ** 2))(a)
    np.testing.assert_allclose(gradient, gradient.swapaxes(-1, -2).conj(), atol=1e-12)


@kinds
@pytest.mark.parametrize("stack", [(), (2,)])
def test_eigh(kind: str, stack: tuple[int, ...]) -> None:
    a = hermitian(3, kind, *stack)
    w, v = gg.linalg.eigh(a)
    np.testing.assert_allclose(w.numpy(), np.linalg.eigvalsh(a), atol=1e-12)
    np.testing.assert_allclose((v * gg.expand_dims(w, -2) @ gg.conjugate(v.mT)).numpy(), a, atol=1e-12)
    check(symmetrised(gg.linalg.eigvalsh), a)

    def without_phase(a: Any) -> Any:
        w, v = gg.linalg.eigh(a)
        return gg.abs(v) ** 2, w

    check(symmetrised(without_phase), a)


def test_equal_eigenvalues() -> None:
    gradient = gg.grad(lambda a: gg.sum(gg.linalg.eigvalsh(a) ** 2))(np.eye(3) * 2)
    np.testing.assert_allclose(gradient, np.eye(3) * 4, atol=1e-12)
    gradient = gg.grad(lambda a: gg.sum(gg.linalg.svdvals(a) ** 2))(np.eye(3) * 2)
    np.testing.assert_allclose(gradient, np.eye(3) * 4, atol=1e-12)


@kinds
@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4), (2, 3, 2)])
def test_svd(kind: str, shape: tuple[int, ...]) -> None:
    a = made(*shape, kind=kind) + np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)
    u, s, vh = gg.linalg.svd(a, full_matrices=False)
    np.testing.assert_allclose((u * gg.expand_dims(s, -2) @ vh).numpy(), a, atol=1e-12)
    np.testing.assert_allclose(gg.linalg.svdvals(a).numpy(), np.linalg.svd(a, compute_uv=False), atol=1e-12)
    check(gg.linalg.svdvals, a)

    def without_phase(a: Any) -> Any:
        u, s, vh = gg.linalg.svd(a, full_matrices=False)
        return gg.abs(u), s, gg.abs(vh), u @ vh

    check(without_phase, a)


@kinds
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 4, 3), (2, 2, 3)])
def test_qr(kind: str, shape: tuple[int, ...]) -> None:
    a = made(*shape, kind=kind) + 2 * np.eye(*shape[-2:])
    q, r = gg.linalg.qr(a)
    expected = np.linalg.qr(a)
    np.testing.assert_allclose(q.numpy(), expected[0], atol=1e-12)
    np.testing.assert_allclose(r.numpy(), expected[1], atol=1e-12)
    check(lambda a: tuple(gg.linalg.qr(a)), a)
    check(lambda a: gg.linalg.qr(a, mode="r"), a)


def test_eig() -> None:
    a = np.array([[1.0, 2.0, 0.0], [-2.0, 1.5, 0.3], [0.1, 0.2, 4.0]])
    np.testing.assert_allclose(np.sort_complex(gg.linalg.eigvals(a).numpy()), np.sort_complex(np.linalg.eigvals(a)))
    check(lambda a: gg.abs(gg.linalg.eigvals(a)), a)
    check(lambda a: gg.abs(gg.linalg.eig(a).eigenvectors), a)
    c = made(3, 3, kind="c") + np.diag([1.0, 3.0, 6.0])
    check(lambda a: gg.linalg.eigvals(a), c)


# --- inverses, powers, products -----------------------------------------------------------------------------------


@kinds
def test_solutions_and_inverses(kind: str) -> None:
    a, b = made(2, 3, 3, kind=kind) + 2 * np.eye(3), made(3, kind=kind)
    check(gg.linalg.solve, a, b)
    equations, sides = a[:, None], made(4, 3, 2, kind=kind)  # stacks of shapes (2, 1) and (4,)
    np.testing.assert_allclose(gg.linalg.solve(equations, sides).numpy(), np.linalg.solve(equations, sides))
    check(gg.linalg.solve, equations, sides)
    check(gg.linalg.inv, a)
    check(lambda a: gg.linalg.matrix_power(a, -3), a)
    check(lambda a: gg.linalg.matrix_power(a, 5), a * 0.3)
    np.testing.assert_allclose(gg.linalg.matrix_power(a, -3).numpy(), np.linalg.matrix_power(a, -3), atol=1e-12)
    np.testing.assert_array_equal(gg.linalg.matrix_power(a, 0).numpy(), np.linalg.matrix_power(a, 0))
    check(gg.linalg.det, a)
    check(lambda a: tuple(gg.linalg.slogdet(a)), a)
    for got, want in zip(gg.linalg.slogdet(a), np.linalg.slogdet(a), strict=True):
        np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


@kinds
@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3)])
def test_least_squares(kind: str, shape: tuple[int, ...]) -> None:
    a, b = made(*shape, kind=kind) + np.eye(*shape), made(shape[0], 2, kind=kind)
    found, expected = gg.linalg.lstsq(a, b), np.linalg.lstsq(a, b, rcond=None)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.numpy(), want, atol=1e-12)
    check(lambda a, b: gg.linalg.lstsq(a, b).x, a, b)
    check(gg.linalg.pinv, a)


def test_chains_of_products() -> None:
    arrays = [made(3), made(3, 5), made(5, 2), made(2, 4), made(4)]
    for part in (arrays, arrays[1:], arrays[:-1], arrays[1:-1], arrays[:2]):
        np.testing.assert_allclose(gg.linalg.multi_dot(part).numpy(), np.linalg.multi_dot(part))
        assert gradcheck(lambda *a: gg.linalg.multi_dot(a), part)


def test_tensors_as_matrices() -> None:
    a, b = well(RNG, 4, 4).reshape(2, 2, 4), made(2, 2)
    np.testing.assert_allclose(gg.linalg.tensorsolve(a, b).numpy(), np.linalg.tensorsolve(a, b))
    np.testing.assert_allclose(gg.linalg.tensorinv(a).numpy(), np.linalg.tensorinv(a))
    check(gg.linalg.tensorsolve, a, b)


class ArrayLike:
    """What another library may give: a matrix that becomes an array when asked."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.ndim, self.dtype = values, values.shape, values.ndim, values.dtype

    @property
    def T(self) -> ArrayLike:
        return ArrayLike(self.values.T)

    def dot(self, other: Any) -> Any:
        raise TypeError("vectors only, as PyTorch's")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values


@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("product", [gg.matmul, gg.mm, lambda x, w: gg.nn.functional.linear(x, w.T), lambda x, w: x @ w])
@pytest.mark.parametrize("kind", [ArrayLike, memoryview])
def test_matrices_of_other_libraries(kind: Any, product: Callable[..., Any], n: int) -> None:
    rng = np.random.default_rng(n)
    values, weight = rng.normal(size=(n, 4)), rng.normal(size=(4, n))
    w = gg.tensor(weight, requires_grad=True)
    out = product(kind(values), w)
    np.testing.assert_allclose(out.detach().numpy(), values @ weight)
    if kind is ArrayLike:  # a view of bytes has no transpose
        out.sum().backward()
        np.testing.assert_allclose(gg.asarray(w.grad).numpy(), values.T @ np.ones((n, n)))


@pytest.mark.parametrize("n", [5, 200])
def test_matrices_that_do_not_fit(n: int) -> None:
    for product in (gg.matmul, gg.mm):
        with pytest.raises(gg.ShapeError, match=rf"shapes \({n},3\) and \(4,{n}\) not aligned: 3 \(dim 1\) != 4"):
            product(gg.ones((n, 3)), gg.ones((4, n)))


def test_the_layout_of_a_matrix_does_not_make_its_product_slow() -> None:
    x = np.random.default_rng(0).normal(size=(400, 400))

    def seconds(a: Any) -> float:
        def once() -> float:
            start = perf_counter()
            gg.mm(a, x)
            return perf_counter() - start

        return min(once() for _ in range(5))

    plain = seconds(x)
    for a in (np.broadcast_to(1.0, x.shape), np.repeat(x, 2, axis=1)[:, ::2], x[::-1]):
        assert seconds(a) < 15 * plain


# --- norms --------------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, 0.5, -1, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_vector_norms(kind: str, ord: Any, axis: int | None) -> None:
    x = made(3 if axis is None else 12, kind=kind) + 0.3
    x = x if axis is None else x.reshape(3, 4)
    np.testing.assert_allclose(gg.linalg.norm(x, ord, axis).numpy(), np.linalg.norm(x, ord, axis), rtol=1e-12)
    if ord != 0:
        check(lambda x: gg.linalg.norm(x, ord, axis, keepdims=True), x)


@kinds
@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [None, (0, 1), (2, 0)])
def test_matrix_norms(kind: str, ord: Any, axis: Any) -> None:
    x = made(2, 3, 4, kind=kind) if axis else made(3, 4, kind=kind)
    np.testing.assert_allclose(gg.linalg.norm(x, ord, axis).numpy(), np.linalg.norm(x, ord, axis), rtol=1e-12)
    assert gg.linalg.norm(x, ord, axis, keepdims=True).shape == np.linalg.norm(x, ord, axis, keepdims=True).shape
    check(lambda x: gg.linalg.norm(x, ord, axis), x)


def test_the_gradient_of_a_norm_at_zero_is_zero() -> None:
    np.testing.assert_array_equal(gg.grad(gg.linalg.norm)(np.zeros(3)), np.zeros(3))


def test_conditions_and_ranks() -> None:
    x = well(RNG, 3, 3)
    for p in (None, 2, -2, 1, np.inf, "fro"):
        np.testing.assert_allclose(gg.linalg.cond(x, p).item(), np.linalg.cond(x, p))
    check(gg.linalg.cond, x)
    assert gg.linalg.matrix_rank(np.ones((3, 3))).item() == 1


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gg.linalg.inv(np.zeros((2, 2))), "inv: Singular matrix"),
        (lambda: gg.linalg.cholesky(-np.eye(2)), "cholesky: Matrix is not positive definite"),
        (lambda: gg.linalg.solve(np.zeros((2, 2)), np.ones(2)), "solve: Singular matrix"),
        (lambda: gg.linalg.inv(np.zeros((2, 3))), "inv: .*square"),
    ],
)
def test_numpys_errors_name_the_op_and_the_line(call: Any, message: str) -> None:
    with pytest.raises(gg.LinearAlgebraError, match=rf"{message}(.|\n)*test_linalg\.py"):
        call()
    with pytest.raises(np.linalg.LinAlgError):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gg.linalg.eigh(np.array([[1.0, 2.0], [0.0, 1.0]])), "not symmetric"),
        (lambda: gg.linalg.cholesky(np.tril(np.ones((2, 2)))), "not symmetric"),
        (lambda: gg.linalg.svd(gg.tensor(np.ones((3, 2)), requires_grad=True)), "full_matrices=False"),
        (lambda: gg.linalg.qr(gg.tensor(np.ones((3, 2)), requires_grad=True), "complete"), "no derivative"),
        (lambda: gg.linalg.qr(np.eye(2), "raw"), "mode must be"),
        (lambda: gg.linalg.norm(np.ones((2, 2)), "max"), "ord must be"),
        (lambda: gg.linalg.norm(np.ones((2, 2, 2)), 2), "one axis for vectors or two"),
        (lambda: gg.linalg.matrix_power(np.ones((2, 3)), 2), "square"),
        (lambda: gg.linalg.multi_dot([np.ones(2)]), "at least two"),
        (lambda: gg.linalg.lstsq(np.ones((3, 2)), np.ones(2)), "a must be"),
        (lambda: gg.linalg.eigvalsh(np.ones(3)), "square matrices"),
    ],
)
def test_arguments_that_have_no_answer(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "eigvalsh", "svdvals", "pinv"])
def test_empty_stacks(name: str) -> None:
    out = getattr(gg.linalg, name)(np.zeros((0, 3, 3)))
    assert out.shape == getattr(np.linalg, name)(np.zeros((0, 3, 3))).shape if name != "svdvals" else (0, 3)


def test_samples_are_what_they_say() -> None:
    assert np.linalg.eigvalsh(positive(RNG, 4, 4)).min() > 0


# --- Fourier ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("name", ["fft", "ifft", "hfft", "ihfft", "rfft", "irfft"])
@pytest.mark.parametrize("n", [None, 3, 4, 7])
def test_transforms_along_one_axis(name: str, n: int | None, norm: str | None) -> None:
    x = made(2, 5) if name in ("rfft", "ihfft") else made(2, 5, kind="c")
    transform = getattr(gg.fft, name)
    np.testing.assert_allclose(transform(x, n, norm=norm).numpy(), getattr(np.fft, name)(x, n, norm=norm), atol=1e-12)
    check(lambda x: transform(x, n, norm=norm), x)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("fftn", {}),
        ("fftn", {"axes": (0, 2), "norm": "ortho"}),
        ("ifftn", {"s": (3, 5), "axes": (1, 2)}),
        ("fft2", {}),
        ("ifft2", {"s": (2, 6)}),
        ("rfftn", {}),
        ("rfftn", {"s": (4, 3), "axes": (0, 1)}),
        ("irfftn", {}),
        ("irfftn", {"s": (3, 5), "axes": (0, 1)}),
        ("rfft2", {"norm": "forward"}),
        ("irfft2", {}),
    ],
)
def test_transforms_over_several_axes(name: str, kwargs: dict[str, Any]) -> None:
    x = made(2, 3, 4) if name.startswith("rfft") else made(2, 3, 4, kind="c")
    np.testing.assert_allclose(getattr(gg.fft, name)(x, **kwargs).numpy(), getattr(np.fft, name)(x, **kwargs), atol=1e-12)
    assert gradcheck(lambda x: getattr(gg.fft, name)(x, **kwargs), x, atol=1e-7)


@pytest.mark.parametrize("axes", [None, 0, (0, 1)])
def test_shifts(axes: Any) -> None:
    x = made(4, 5)
    for name in ("fftshift", "ifftshift"):
        np.testing.assert_array_equal(getattr(gg.fft, name)(x, axes).numpy(), getattr(np.fft, name)(x, axes))
    assert gradcheck(lambda x: gg.fft.fftshift(x, axes), x)
    for name in ("fftfreq", "rfftfreq"):
        np.testing.assert_array_equal(getattr(gg.fft, name)(5, 0.1).numpy(), getattr(np.fft, name)(5, 0.1))


def test_a_filter_learns_through_the_transform() -> None:
    """A real program: the gradient of a spectrum's loss by the signal."""
    signal = made(32)

    def loss(x: Any) -> Any:
        return gg.sum(gg.abs(gg.fft.rfft(x * np.hanning(32))) ** 2)

    check(loss, signal)


def test_against_torch() -> None:
    torch = pytest.importorskip("torch")
    a = definite(3, "c")
    for name in ("cholesky", "eigvalsh", "svdvals", "inv", "det"):

        def value(x: Any, name: str = name) -> Any:
            return gg.sum(gg.abs(getattr(gg.linalg, name)(x)) ** 3)

        t = torch.tensor(a, requires_grad=True)
        (getattr(torch.linalg, name)(t).abs() ** 3).sum().backward()
        gradient, expected = gg.grad(value)(a), t.grad.numpy()
        symmetric = name in ("cholesky", "eigvalsh")
        expected = (expected + expected.conj().T) / 2 if symmetric else expected
        np.testing.assert_allclose(gradient, expected, atol=1e-9, err_msg=name)
