"""Random programs of NumPy's functions against PyTorch: the value, the gradient and second order, by every way to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg

torch = pytest.importorskip("torch")
F, TF = gg.nn.functional, torch.nn.functional
I3 = torch.eye(3, dtype=torch.float64)


def _assigned(a: Any) -> Any:
    b = a * 1.0
    b[1, 1:3] = a[0, :2] * 2
    b[0] = b[1] * 0.5
    return b


def _updated(a: Any) -> Any:
    b = a * 1.0
    b[:, 0] += a[:, 1]
    b *= 0.9
    return b


# each on an array of shape (3, 4), and giving one
STEPS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sin": (np.sin, torch.sin),
    "tanh": (np.tanh, torch.tanh),
    "gauss": (lambda a: np.exp(-a * a), lambda a: torch.exp(-a * a)),
    "gelu": (F.gelu, TF.gelu),
    "softplus": (F.softplus, TF.softplus),
    "softmax": (lambda a: gg.softmax(a, 0), lambda a: a.softmax(0)),
    "transposed": (lambda a: np.reshape(a.T, (3, 4)), lambda a: a.T.reshape(3, 4)),
    "flipped": (lambda a: a[::-1, ::-1], lambda a: a.flip(0, 1)),
    "rows": (lambda a: a[[2, 0, 2]], lambda a: a[[2, 0, 2]]),
    "cumprod": (lambda a: np.cumprod(a, 1), lambda a: a.cumprod(1)),
    "layer_norm": (lambda a: F.layer_norm(a, 4), lambda a: TF.layer_norm(a, (4,))),
    "where": (lambda a: np.where(a > 0, a, 0.1 * a * a), lambda a: torch.where(a > 0, a, 0.1 * a * a)),
    "clip": (lambda a: np.clip(a, -1, 0.8), lambda a: a.clamp(-1, 0.8)),
    "power": (lambda a: (a * a + 0.5) ** 1.7, lambda a: (a * a + 0.5) ** 1.7),
    "below max": (lambda a: a - np.max(a, axis=0), lambda a: a - a.amax(0)),
    "sort": (lambda a: np.sort(a, axis=1), lambda a: a.sort(1)[0]),
    "std": (lambda a: a * np.std(a), lambda a: a * a.std(correction=0)),
    "logsumexp": (lambda a: a - gg.logsumexp(a, 1, True), lambda a: a - a.logsumexp(1, keepdim=True)),
    "gram": (lambda a: (a @ a.T) @ a * 0.1, lambda a: (a @ a.T) @ a * 0.1),
    "solve": (lambda a: np.linalg.solve(a @ a.T + 2 * np.eye(3), a), lambda a: torch.linalg.solve(a @ a.T + 2 * I3, a)),
    "cholesky": (lambda a: np.linalg.cholesky(a @ a.T + np.eye(3)) @ a, lambda a: torch.linalg.cholesky(a @ a.T + I3) @ a),
    "det": (lambda a: a * np.tanh(np.linalg.det(a[:, :3])), lambda a: a * torch.tanh(torch.linalg.det(a[:, :3]))),
    "svdvals": (lambda a: a / (1 + np.linalg.svdvals(a)[0]), lambda a: a / (1 + torch.linalg.svdvals(a)[0])),
    "einsum": (lambda a: np.einsum("ij,kj,kl", a, a, a) * 0.1, lambda a: torch.einsum("ij,kj,kl", a, a, a) * 0.1),
    "fft": (lambda a: np.real(np.fft.fft(a)) * 0.3, lambda a: torch.fft.fft(a).real * 0.3),
    "pad": (lambda a: np.pad(a, ((0, 0), (1, 1)), "reflect")[:, :4], lambda a: TF.pad(a[None], (1, 1), "reflect")[0, :, :4]),
    "pool": (lambda a: np.repeat(F.max_pool1d(a, 2), 2, 1), lambda a: TF.max_pool1d(a, 2).repeat_interleave(2, 1)),
    "assigned": (_assigned, _assigned),
    "updated": (_updated, _updated),
}


def _program(rng: np.random.Generator, torchs: bool) -> Callable[[Any, Any], Any]:
    """A loss: six steps, each on an earlier result, taken as it is, or added to or multiplied with another one."""
    names = list(STEPS)
    steps = [(names[rng.integers(len(names))], *map(int, rng.integers(60, size=3))) for _ in range(6)]

    def loss(x: Any, weights: Any) -> Any:
        results = [x]
        for name, i, j, how in steps:
            new, other = STEPS[name][torchs](results[i % len(results)]), results[j % len(results)]
            results.append((new, new + other, new * other * 0.5)[how % 3])
        return (results[-1] * weights).sum() + 0.1 * (results[-2] * results[-2]).sum()

    return loss


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    x, v, weights = np.random.default_rng(seed).normal(size=(3, 3, 4))
    theirs, t = _program(np.random.default_rng(seed), True), torch.tensor(x, requires_grad=True)
    value = theirs(t, torch.tensor(weights))
    (slope,) = torch.autograd.grad(value, t, create_graph=True)
    (bend,) = torch.autograd.grad((slope * torch.tensor(v)).sum(), t)
    slope, bend = slope.detach().numpy(), bend.numpy()

    def close(ours: Any, wanted: Any, scale: float = 1.0) -> bool:
        return np.allclose(ours, wanted, rtol=0, atol=1e-9 * scale * (1 + np.abs(wanted).max()))

    ours = _program(np.random.default_rng(seed), False)
    f = lambda x: ours(x, weights)  # noqa: E731
    leaf = gg.tensor(x, requires_grad=True)
    f(leaf).backward()
    assert close(f(gg.asarray(x)).item(), value.item())
    assert close(gg.grad(f)(x), slope)
    assert close(leaf.grad.numpy(), slope)
    assert close(gg.jvp(f, (x,), (v,))[1], (slope * v).sum(), 1 + np.abs(slope).max())
    assert close(gg.jvp(gg.grad(f), (x,), (v,))[1], bend, 10)  # forward over reverse
    assert close(gg.grad(lambda x: (gg.grad(f)(x) * v).sum())(x), bend, 10)  # reverse over reverse
    assert close(gg.hvp(f, (x,), (v,)), bend, 10)
