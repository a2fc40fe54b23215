"""Options of NumPy's functions and reading by parts, on tensors of a GPU: on the stand-in for CuPy, against the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from test_numpy_options import ALL, CONSTANTS, DIFFERENTIABLE, INPUTS, evaluated, tokens
from test_placed import PROGRAMS, X

import gpugrad as gg
import gpugrad.numpy as gnp

DEVICE = "cuda:1"


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


def tensors(device: str) -> dict[str, gg.Tensor]:
    made = {name: gg.tensor(value, device=device, requires_grad=True) for name, value in INPUTS.items()}
    return made | {name: gg.tensor(value, device=device) for name, value in CONSTANTS.items()}


@pytest.mark.parametrize("call", ALL)
def test_options(call: str) -> None:
    on_cpu, on_gpu = tensors("cpu"), tensors(DEVICE)
    expected, found = evaluated(gnp, call, **on_cpu), evaluated(gnp, call, **on_gpu)
    for got, want in zip(found, expected, strict=True):
        if isinstance(want, gg.Tensor):
            assert (got.device, got.dtype, got.shape) == (DEVICE, want.dtype, want.shape)
            np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-12)
            if want.requires_grad and call in DIFFERENTIABLE and want.dtype.kind == "f":
                got.sum().backward(retain_graph=True)
                want.sum().backward(retain_graph=True)
    for name in tokens(call) & {*INPUTS}:
        if on_cpu[name].grad is not None:
            np.testing.assert_allclose(on_gpu[name].grad.numpy(), on_cpu[name].grad.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in ("masks and lists", "broadcast", "a recurrence")])
def test_reading_by_parts(name: str) -> None:
    x, y = gg.tensor(X, device=DEVICE, requires_grad=True), gg.tensor(X, requires_grad=True)
    PROGRAMS[name](x).backward()
    PROGRAMS[name](y).backward()
    assert x.grad.device == DEVICE
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
