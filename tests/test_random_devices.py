"""One random stream for all devices: a GPU draws the bits that NumPy's Philox generator would, and moves it on as far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpugrad as gg
from gpugrad import nn
from gpugrad.ops import philox


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


def at(counter: int, key: tuple[int, int], drawn: int, half: bool) -> np.random.Generator:
    """A generator anywhere in its stream: at a counter, some words into a block, with a half word left or not."""
    bits = np.random.Philox(key=np.array(key, np.uint64), counter=counter)
    generator = np.random.Generator(bits)
    bits.random_raw(drawn)
    if half:
        generator.random(dtype=np.float32)
    return generator


words = st.sampled_from([0, 1, 2**64 - 1, 2**64 - 2, 0x0123456789ABCDEF, 2**63])


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([np.float32, np.float64])), min_size=1, max_size=5),
    st.tuples(words, words, words, words),
    st.tuples(words, words),
    st.integers(0, 7),
    st.booleans(),
)
def test_any_draws_are_numpys(draws: Any, counter: Any, key: tuple[int, int], drawn: int, half: bool) -> None:
    start = sum(word << 64 * i for i, word in enumerate(counter)) % (2**256 - 100)
    ours, theirs = (at(start, key, drawn, half) for _ in range(2))
    for count, dtype in draws:
        got = philox.uniform(np, ours.bit_generator, count, np.dtype(dtype))
        want = theirs.random(count, dtype=dtype)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
        assert str(ours.bit_generator.state) == str(theirs.bit_generator.state)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_numbers_are_those_of_the_cpu(cupy: Any, device: str, dtype: str) -> None:
    results = []
    for where in ("cpu", device):
        gg.manual_seed(5)
        drawn = [gg.random.uniform((3, 5), -1, 2, dtype, device=where), gg.random.normal((7,), 1.0, 2.0, dtype, device=where)]
        drawn += [gg.random.uniform(3, dtype=dtype, device=where), gg.random.uniform((0, 2), device=where)]
        drawn += [gg.random.uniform((), device=where), gg.random.uniform((2,), generator=np.random.default_rng(3), device=where)]
        assert {t.device for t in drawn} == {where}
        results.append([t.numpy() for t in drawn] + [gg.random.uniform(4).numpy()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_initial_weights_are_the_same_everywhere(cupy: Any) -> None:
    def made(device: str) -> list[Any]:
        gg.manual_seed(1)
        layers = [nn.Linear(5, 3, device=device), nn.Linear(3, 3, device=device)]
        nn.init.kaiming_normal_(layers[1].weight)
        return [p for layer in layers for p in layer.parameters()]

    for there, here in zip(made("cuda:1"), made("cpu"), strict=True):
        assert there.device == "cuda:1"
        np.testing.assert_array_equal(there.detach().numpy(), here.detach().numpy())


def test_a_draw_does_not_wait_for_the_gpu(cupy: Any) -> None:
    before = cupy_standin.cuda.synchronizations
    gg.random.uniform((33,), device="cuda")
    gg.random.uniform((33,), dtype="float64", device="cuda")
    assert cupy_standin.cuda.synchronizations == before


def test_a_checkpoint_draws_again_what_it_drew(cupy: Any) -> None:
    x = gg.ones((64,), device="cuda", requires_grad=True)
    y = gg.checkpoint(lambda x: x * (gg.random.uniform((64,), device="cuda") < 0.5), x)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
