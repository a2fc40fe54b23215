"""Every NumPy function that is answered by an op, called on tensors of a GPU: on the stand-in for CuPy, against the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from numpy_calls import FUNCTIONS, INPUTS, LINALG, METHODS, MORE, UFUNCS, calls, name_of, parts, run

import gpugrad as gg
import gpugrad.numpy as gnp

DEVICE = "cuda:1"
CALLS = [c for table in (FUNCTIONS, MORE, UFUNCS, LINALG) for c in calls(table) if hasattr(gnp, name_of(c).split(".")[0])]


@pytest.fixture(autouse=True, scope="module")
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


def results(call: str, device: str, namespace: Any) -> list[Any]:
    return parts(run(call, namespace, {name: gg.tensor(value, device=device) for name, value in INPUTS.items()}))


def compare(call: str, namespace: Any) -> None:
    found, expected = results(call, DEVICE, namespace), results(call, "cpu", namespace)
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        if not isinstance(want, gg.Tensor):
            assert got == want or (got != got and want != want)
            continue
        assert got.device == DEVICE
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("call", CALLS)
def test_by_gpugrads_numpy(call: str) -> None:
    compare(call, gnp)


@pytest.mark.parametrize("call", calls(METHODS))
def test_methods_of_ufuncs(call: str) -> None:
    compare(call, np)
