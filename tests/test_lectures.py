"""The worked examples of the lectures on backpropagation, to full precision: what a student checks first."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg


def leaf(value: Any) -> gg.Tensor:
    """A float64 leaf that wants a gradient."""
    return gg.tensor(np.asarray(value, np.float64), requires_grad=True)


def value_of(tensor: gg.Tensor | None) -> Any:
    """The raw array of a gradient that must be there."""
    assert tensor is not None
    return tensor.data


def close(actual: gg.Tensor | None, expected: Any, rtol: float = 1e-12) -> None:
    """Equal to rounding, with the shape and dtype of the expected value."""
    array = value_of(actual)
    expected = np.asarray(expected, np.float64)
    assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(array, expected, rtol=rtol, atol=0)


# --- scalars ------------------------------------------------------------------------------------------------------


def test_a_simple_example() -> None:
    """Lecture 'Neural networks and backpropagation', a simple example: f = (x + y) z at (-2, 5, -4)."""
    x, y, z = leaf(-2.0), leaf(5.0), leaf(-4.0)
    q = x + y
    f = q * z
    f.backward()
    assert (q.item(), f.item()) == (3.0, -12.0)
    assert (value_of(x.grad), value_of(y.grad), value_of(z.grad)) == (-4.0, -4.0, 3.0)


def test_a_simple_example_by_transform() -> None:
    """Lecture 'Neural networks and backpropagation', a simple example, as a function of its three arguments."""
    value, grads = gg.value_and_grad(lambda x, y, z: (x + y) * z, argnums=(0, 1, 2))(-2.0, 5.0, -4.0)
    assert value == -12.0
    assert grads == (-4.0, -4.0, 3.0)


W, X = (2.0, -3.0, -3.0), (-1.0, -2.0)
SIGMA = 1 / (1 + math.exp(-1.0))


def through(gate: Callable[..., gg.Tensor], upstream: float, *inputs: float) -> tuple[float, list[float]]:
    """The result of one gate and its downstream gradients, for one upstream gradient."""
    leaves = [leaf(value) for value in inputs]
    out = gate(*leaves)
    out.backward(np.float64(upstream))
    return out.item(), [float(value_of(x.grad)) for x in leaves]


def test_sigmoid_neuron_gate_by_gate() -> None:
    """Lecture 'Neural networks and backpropagation', another example: each gate's upstream times local gradient."""
    s0, s1 = W[0] * X[0], W[1] * X[1]
    s = s0 + s1 + W[2]
    assert (s0, s1, s) == (-2.0, 6.0, 1.0)
    e = math.exp(-1.0)

    inverse, (d_inverse,) = through(lambda v: 1 / v, 1.0, 1 + e)
    assert (round(1 + e, 2), round(inverse, 2), round(d_inverse, 2)) == (1.37, 0.73, -0.53)
    _, (d_plus_one,) = through(lambda v: v + 1, d_inverse, e)
    assert round(d_plus_one, 2) == -0.53
    exponential, (d_exp,) = through(gg.exp, d_plus_one, -s)
    assert (round(exponential, 2), round(d_exp, 2)) == (0.37, -0.20)
    _, (d_negative,) = through(lambda v: v * -1.0, d_exp, s)
    assert round(d_negative, 2) == 0.20
    _, (d_sum, d_w2) = through(lambda u, v: u + v, d_negative, s0 + s1, W[2])
    _, (d_s0, d_s1) = through(lambda u, v: u + v, d_sum, s0, s1)
    assert [round(d, 2) for d in (d_w2, d_s0, d_s1)] == [0.20, 0.20, 0.20]
    _, (d_w0, d_x0) = through(lambda u, v: u * v, d_s0, W[0], X[0])
    _, (d_w1, d_x1) = through(lambda u, v: u * v, d_s1, W[1], X[1])
    assert [round(d, 2) for d in (d_w0, d_x0, d_w1, d_x1)] == [-0.20, 0.39, -0.39, -0.59]

    local = SIGMA * (1 - SIGMA)
    np.testing.assert_allclose(
        [inverse, d_inverse, d_plus_one, d_exp, d_negative, d_w2, d_w0, d_x0, d_w1, d_x1],
        [SIGMA, -(SIGMA**2), -(SIGMA**2), -e * SIGMA**2, local, local, X[0] * local, W[0] * local, X[1] * local, W[1] * local],
        rtol=1e-12,
    )


def neuron(sigmoid: Callable[[gg.Tensor], gg.Tensor]) -> tuple[gg.Tensor, list[gg.Tensor]]:
    """The neuron's output and its five leaves, in the order w0, x0, w1, x1, w2."""
    w0, x0, w1, x1, w2 = leaves = [leaf(v) for v in (W[0], X[0], W[1], X[1], W[2])]
    return sigmoid(w0 * x0 + w1 * x1 + w2), leaves


@pytest.mark.parametrize("sigmoid", [lambda s: 1 / (1 + gg.exp(-s)), gg.sigmoid], ids=["gates", "one gate"])
def test_sigmoid_neuron(sigmoid: Callable[[gg.Tensor], gg.Tensor]) -> None:
    """Lecture 'Neural networks and backpropagation', another example: the granularity of the gates does not matter."""
    out, leaves = neuron(sigmoid)
    out.backward()
    local = (1 - SIGMA) * SIGMA
    close(out, SIGMA)
    assert round(out.item(), 2) == 0.73
    assert [round(float(value_of(v.grad)), 2) for v in leaves] == [-0.20, 0.39, -0.39, -0.59, 0.20]
    for tensor, factor in zip(leaves, (X[0], W[0], X[1], W[1], 1.0), strict=True):
        close(tensor.grad, factor * local)


def test_flat_backprop_code() -> None:
    """Lecture 'Neural networks and backpropagation', backprop implementation: the flat code and the tape agree."""
    out, leaves = neuron(gg.sigmoid)
    out.backward()
    (w0, w1, w2), (x0, x1) = W, X
    s0 = w0 * x0
    s1 = w1 * x1
    s2 = s0 + s1
    s3 = s2 + w2
    L = 1 / (1 + math.exp(-s3))
    grad_L = 1.0
    grad_s3 = grad_L * (1 - L) * L
    grad_w2 = grad_s3
    grad_s2 = grad_s3
    grad_s0 = grad_s2
    grad_s1 = grad_s2
    grad_w1 = grad_s1 * x1
    grad_x1 = grad_s1 * w1
    grad_w0 = grad_s0 * x0
    grad_x0 = grad_s0 * w0
    for tensor, expected in zip(leaves, (grad_w0, grad_x0, grad_w1, grad_x1, grad_w2), strict=True):
        close(tensor.grad, expected)


def test_logarithm_sine_and_max() -> None:
    """Lecture 'Machine learning and data mining', modern autograd frameworks: 2 log10(x1 + sin x1) max(x2, x3)."""
    x = leaf([5.0, -2.0, -5.0])
    y = 2 * gg.log(x[0] + gg.sin(x[0])) / np.log(10) * x[1:].max()
    y.backward()
    np.testing.assert_allclose(value_of(x.grad), [-0.5518, 1.2130, 0], atol=5e-5)
    inside = 5 + math.sin(5)
    close(y, -4 * math.log10(inside))
    close(x.grad, [-4 * (1 + math.cos(5)) / (inside * math.log(10)), 2 * math.log10(inside), 0.0])


def test_logarithm_sine_and_max_as_printed() -> None:
    """Lecture 'Machine learning and data mining', modern autograd frameworks: the slide's code with its default dtype."""
    x = gg.tensor([5.0, -2.0, -5.0], requires_grad=True)
    y = 2 * gg.log(x[0] + gg.sin(x[0])) / np.log(10) * gg.max(x[1:])
    y.backward()
    assert x.dtype == np.float32
    assert repr(gg.tensor(np.round(value_of(x.grad), 4))) == "tensor([-0.5518,  1.213 ,  0.    ])"


def test_scalar_chain() -> None:
    """Lecture 'Introduction to neural networks', autodiff example: 5 * 1 * 2 * 8 = 80."""
    x, w1, w2, y = 5.0, leaf(3.0), leaf(2.0), 22.0
    f = w1 * x
    g = gg.relu(f)
    y_hat = w2 * g
    loss = 0.5 * (y_hat - y) ** 2
    loss.backward()
    assert y_hat.item() - y == 8.0
    assert value_of(w1.grad) == 80.0
    assert value_of(w2.grad) == g.item() * 8.0


def test_squared_error() -> None:
    """Lecture 'How to train a multi-layer network', chain rule: e = (y - w.x)^2 has gradient -2 (y - w.x) x."""
    x, y, w = np.array([0.5, -1.0, 2.0]), 1.5, leaf([0.3, 0.2, -0.7])
    ((y - w @ x) ** 2).backward()
    close(w.grad, -2 * (y - w.data @ x) * x)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_log_loss(scale: float) -> None:
    """Lecture 'How to train a multi-layer network', chain rule: e = -log(sigmoid(w.x)) has gradient (sigmoid - 1) x."""
    x, w = np.array([0.5, -1.0, 2.0]), leaf([0.3 * scale, 0.2, -0.7])
    e = -gg.log(gg.sigmoid(w @ x))
    e.backward()
    z = float(w.data @ x)
    sigma = 1 / (1 + math.exp(-z))
    close(e, math.log1p(math.exp(-z)))
    close(w.grad, (sigma - 1) * x, rtol=1e-11)


# --- patterns in gradient flow ------------------------------------------------------------------------------------


def test_add_gate_distributes() -> None:
    """Lecture 'Neural networks and backpropagation', patterns in gradient flow: each input gets the upstream gradient."""
    assert through(lambda x, y: x + y, 2.0, 3.0, 4.0) == (7.0, [2.0, 2.0])


def test_multiply_gate_swaps() -> None:
    """Lecture 'Neural networks and backpropagation', patterns in gradient flow: each input gets the other's value."""
    assert through(lambda x, y: x * y, 5.0, 2.0, 3.0) == (6.0, [15.0, 10.0])


def test_max_gate_routes() -> None:
    """Lecture 'Neural networks and backpropagation', patterns in gradient flow: only the larger input gets a gradient."""
    assert through(gg.maximum, 9.0, 4.0, 5.0) == (5.0, [0.0, 9.0])


def test_copy_gate_adds() -> None:
    """Lecture 'Neural networks and backpropagation', patterns in gradient flow: a value used twice gets both gradients."""
    x = leaf(7.0)
    (4.0 * x + 2.0 * x).backward()
    assert value_of(x.grad) == 6.0
    y = leaf(7.0)
    (y + y).backward()
    assert value_of(y.grad) == 2.0


class Multiply(gg.Function):
    """The gate as the slide has it, its base class renamed."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        z = x * y
        return z  # noqa: RET504 -- the slide

    @staticmethod
    def backward(ctx, grad_z):
        x, y = ctx.saved_tensors
        grad_x = y * grad_z  # dz/dx * dL/dz
        grad_y = x * grad_z  # dz/dy * dL/dz
        return grad_x, grad_y


def test_multiply_gate_of_ones_own() -> None:
    """Lecture 'Neural networks and backpropagation', modularized implementation: actual PyTorch code, base class renamed."""
    x, y = leaf(3.0), leaf(-4.0)
    z = Multiply.apply(x, y)
    (z * 2.0).backward()
    assert (z.item(), value_of(x.grad), value_of(y.grad)) == (-12.0, -8.0, 6.0)


# --- vectors and matrices -----------------------------------------------------------------------------------------


def test_relu_with_vectors() -> None:
    """Lecture 'Neural networks and backpropagation', backprop with vectors: the Jacobian is never formed."""
    x = leaf([1.0, -2.0, 3.0, -1.0])
    z = gg.relu(x)
    z.backward(np.array([4.0, -1.0, 5.0, 9.0]))
    np.testing.assert_array_equal(z.data, [1, 0, 3, 0])
    np.testing.assert_array_equal(value_of(x.grad), [4, 0, 5, 0])


def test_matrix_multiply() -> None:
    """Lecture 'Neural networks and backpropagation', backprop with matrices: dL/dx = dL/dy w^T, dL/dw = x^T dL/dy."""
    x = leaf([[2, 1, -3], [-3, 4, 2]])
    w = leaf([[3, 2, 1, -1], [2, 1, 3, 2], [3, 2, 1, -2]])
    upstream = np.array([[2.0, 3.0, -3.0, 9.0], [-8.0, 1.0, 4.0, 6.0]])
    y = x @ w
    y.backward(upstream)
    # The slide prints y as [[13, 9, -2, -6], [5, 2, 17, 1]], which differs from its own x times w in the first row's
    # first, second and last element, and in the last element of the second.
    np.testing.assert_array_equal(y.data, [[-1, -1, 2, 6], [5, 2, 11, 7]])
    np.testing.assert_array_equal(value_of(x.grad), [[0, 16, -9], [-24, 9, -30]])
    np.testing.assert_array_equal(value_of(w.grad), [[28, 3, -18, 0], [-30, 7, 13, 33], [-22, -7, 17, -15]])


def test_squared_norm() -> None:
    """Lecture 'Neural networks and backpropagation', a vectorized example: ||W x||^2."""
    w, x = leaf([[0.1, 0.5], [-0.3, 0.8]]), leaf([0.2, 0.4])
    q = w @ x
    f = (q**2).sum()
    f.backward()
    close(q, [0.22, 0.26])
    close(f, 0.116)
    close(w.grad, [[0.088, 0.176], [0.104, 0.208]])
    close(x.grad, [-0.112, 0.636])


def test_matrix_example_of_the_discussion() -> None:
    """Lecture 'Neural networks and backpropagation', in discussion section: L = ||relu(X W1) W2||^2."""
    rng = np.random.default_rng(0)
    X_, W1, W2 = rng.standard_normal((6, 5)), leaf(rng.standard_normal((5, 4))), leaf(rng.standard_normal((4, 3)))
    z1 = X_ @ W1
    h1 = gg.relu(z1)
    y_hat = h1 @ W2
    (y_hat**2).sum().backward()
    close(W2.grad, 2 * h1.data.T @ y_hat.data)
    close(W1.grad, X_.T @ (2 * y_hat.data @ W2.data.T * (z1.data > 0)))


def test_flat_backprop_of_the_svm() -> None:
    """Lecture 'Neural networks and backpropagation', flat backprop of assignment 1: the SVM and its regularisation."""
    rng = np.random.default_rng(3)
    x, y, w = rng.standard_normal((7, 5)), rng.integers(0, 4, 7), rng.standard_normal((5, 4))
    rows, lam = np.arange(7), 0.1
    scores = x @ w
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    loss = margins.sum() / 7 + lam * (w * w).sum()
    dmargins = (margins > 0) / 7
    dscores = dmargins.copy()
    dscores[rows, y] = -dmargins.sum(axis=1)
    dw = x.T @ dscores + 2 * lam * w

    weights = leaf(w)
    staged = gg.asarray(x) @ weights
    apart = gg.maximum(0, staged - staged[rows, y].reshape(-1, 1) + 1)
    ((apart.sum() - 7) / 7 + lam * (weights**2).sum()).backward()  # the right classes have a margin of 1 each
    close(weights.grad, dw, rtol=1e-11)
    weights.grad = None
    total = gg.nn.functional.multiclass_svm_loss(gg.asarray(x) @ weights, y) + lam * (weights**2).sum()
    total.backward()
    assert total.item() == pytest.approx(loss, rel=1e-12)
    close(weights.grad, dw, rtol=1e-11)


def test_flat_backprop_of_a_two_layer_net_with_softmax() -> None:
    """Lecture 'Neural networks and backpropagation', flat backprop, the two-layer net: each of the slide's gradients."""
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((6, 5)), rng.integers(0, 3, 6)
    w1, b1, w2, b2 = (rng.standard_normal(shape) for shape in ((5, 8), 8, (8, 3), 3))
    h1 = np.maximum(0, x @ w1 + b1)
    scores = h1 @ w2 + b2
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dscores = (p - np.eye(3)[y]) / 6
    dh1, dw2, db2 = dscores @ w2.T, h1.T @ dscores, dscores.sum(axis=0)
    dw1, db1 = x.T @ (dh1 * (h1 > 0)), (dh1 * (h1 > 0)).sum(axis=0)

    leaves = [leaf(value) for value in (w1, b1, w2, b2)]
    hidden = gg.relu(x @ leaves[0] + leaves[1])
    loss = gg.nn.functional.cross_entropy(hidden @ leaves[2] + leaves[3], y)
    loss.backward()
    assert loss.item() == pytest.approx(-np.log(p[np.arange(6), y]).mean(), rel=1e-12)
    for tensor, expected in zip(leaves, (dw1, db1, dw2, db2), strict=True):
        close(tensor.grad, expected, rtol=1e-10)


def test_three_layers_and_a_neuron() -> None:
    """Lecture 'Neural networks and backpropagation': the forward pass of a 3-layer net, and the class Neuron, on Tensors."""

    class Neuron:
        def __init__(self, weights: gg.Tensor, bias: gg.Tensor) -> None:
            self.weights, self.bias = weights, bias

        def neuron_tick(self, inputs: Any) -> Any:
            cell_body_sum = np.sum(inputs * self.weights) + self.bias
            return 1.0 / (1.0 + np.exp(-cell_body_sum))  # the slide's math.exp takes a float, from which no gradient comes

    rng = np.random.default_rng(5)
    W1, W2, W3, b1, b2, b3 = map(leaf, (*map(rng.standard_normal, ((4, 3), (4, 4), (1, 4), (4, 1), (4, 1), (1, 1))),))
    f = lambda x: 1.0 / (1.0 + np.exp(-x))  # noqa: E731 - the slide's
    x = rng.standard_normal((3, 1))
    h1 = f(np.dot(W1, x) + b1)
    h2 = f(np.dot(W2, h1) + b2)
    out = np.dot(W3, h2) + b3
    out.sum().backward()
    close(W3.grad, h2.data.T)
    d2 = W3.data.T * h2.data * (1 - h2.data)
    close(W2.grad, d2 @ h1.data.T, rtol=1e-11)
    close(W1.grad, (W2.data.T @ d2 * h1.data * (1 - h1.data)) @ x.T, rtol=1e-11)

    weights, bias = leaf([2.0, -3.0]), leaf(-3.0)
    rate = Neuron(weights, bias).neuron_tick(np.array([-1.0, -2.0]))
    rate.backward()
    s = 1 / (1 + math.exp(-1.0))
    close(weights.grad, s * (1 - s) * np.array([-1.0, -2.0]))
    close(bias.grad, s * (1 - s))


def by_hand(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray, steps: int) -> list[float]:
    """The slide's loop; changes the weights in place and returns the losses."""
    losses = []
    for _ in range(steps):
        h = 1 / (1 + np.exp(-x.dot(w1)))
        y_pred = h.dot(w2)
        losses.append(np.square(y_pred - y).sum())
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h.T.dot(grad_y_pred)
        grad_h = grad_y_pred.dot(w2.T)
        grad_w1 = x.T.dot(grad_h * h * (1 - h))
        w1 -= 1e-4 * grad_w1
        w2 -= 1e-4 * grad_w2
    return losses


@pytest.fixture(scope="module")
def twenty_lines() -> tuple[tuple[np.ndarray, ...], list[float], np.ndarray, np.ndarray]:
    """Data and weights at the start, and the losses and weights after 500 steps by hand."""
    rng = np.random.default_rng(0)
    start = tuple(rng.standard_normal(shape) for shape in ((64, 1000), (64, 10), (1000, 100), (100, 10)))
    x, y, w1, w2 = (a.copy() for a in start)
    losses = by_hand(x, y, w1, w2, 500)
    return start, losses, w1, w2


@pytest.mark.parametrize("sigmoid", [lambda s: 1 / (1 + gg.exp(-s)), gg.sigmoid], ids=["exp", "sigmoid"])
def test_twenty_line_net(sigmoid: Callable[[gg.Tensor], gg.Tensor], twenty_lines: Any) -> None:
    """Lecture 'Neural networks and backpropagation', a 2-layer network in ~20 lines: 500 steps follow the hand-written loop."""
    (x, y, *weights), expected, w1_by_hand, w2_by_hand = twenty_lines
    w1, w2 = map(leaf, weights)
    losses = []
    for _ in range(500):
        h = sigmoid(x @ w1)
        loss = gg.square(h @ w2 - y).sum()
        w1.grad = w2.grad = None
        loss.backward()
        with gg.no_grad():
            w1 -= 1e-4 * w1.grad
            w2 -= 1e-4 * w2.grad
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-8)
    for actual, wanted in ((w1.data, w1_by_hand), (w2.data, w2_by_hand)):
        assert np.linalg.norm(actual - wanted) <= 1e-8 * np.linalg.norm(wanted)


def test_no_jacobian_is_formed() -> None:
    """Lecture 'Neural networks and backpropagation', backprop with matrices: N=64, D=M=4096; a Jacobian takes 256 GB."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        x = gg.tensor(rng.random((64, 4096), np.float32), requires_grad=True)
        w = gg.tensor(rng.random((4096, 4096), np.float32), requires_grad=True)
        (x @ w).sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert value_of(x.grad).shape == (64, 4096)
    assert value_of(w.grad).shape == (4096, 4096)
    assert w.nbytes < peak < 1 << 30
