"""The tape: modes, lifetimes, depth, memory and threads."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.modes import current_mode
from gpugrad.tape import Node


def leaf(value: Any) -> gg.Tensor:
    return gg.tensor(np.asarray(value, np.float64), requires_grad=True)


def gradient(tensor: gg.Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return tensor.grad.data


@contextmanager
def without_gc() -> Iterator[None]:
    """Only reference counting frees anything in the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def nodes() -> int:
    """Number of tape nodes alive."""
    return sum(type(thing) is Node for thing in gc.get_objects())


# --- modes --------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf([1.0])

    def records() -> bool:
        return (x * 2).requires_grad

    assert records()
    with gg.no_grad():
        assert not records()
        with gg.enable_grad():
            assert records()
            with gg.no_grad():
                assert not records()
            assert records()
        assert not records()
    assert records()


def test_one_switch_can_be_entered_twice() -> None:
    off = gg.no_grad()
    with off:
        with off:
            assert not current_mode().grad
        assert not current_mode().grad
    assert current_mode().grad


def test_an_exception_leaves_the_mode_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError), gg.no_grad():
        _ = 1 / 0
    assert current_mode().grad


def test_switches_as_decorators() -> None:
    @gg.no_grad()
    def evaluate(x: gg.Tensor, depth: int = 0) -> bool:
        """What it does."""
        return evaluate(x, depth - 1) if depth else (x * 2).requires_grad

    @gg.enable_grad()
    def train(x: gg.Tensor) -> bool:
        return (x * 2).requires_grad

    x = leaf([1.0])
    assert (evaluate.__name__, evaluate.__doc__) == ("evaluate", "What it does.")
    assert not evaluate(x, depth=3)
    with gg.no_grad():
        assert train(x)
        assert not current_mode().grad
    assert current_mode().grad


def test_modes_are_per_thread() -> None:
    seen: dict[str, bool] = {}
    inside, done = threading.Event(), threading.Event()

    def off() -> None:
        with gg.no_grad():
            inside.set()
            done.wait(10)
            seen["off"] = current_mode().grad

    thread = threading.Thread(target=off)
    thread.start()
    assert inside.wait(10)
    seen["here"] = current_mode().grad
    done.set()
    thread.join()
    assert seen == {"off": False, "here": True}


def test_modes_are_per_asyncio_task() -> None:
    async def main() -> dict[str, bool]:
        seen: dict[str, bool] = {}
        inside, done = asyncio.Event(), asyncio.Event()

        async def off() -> None:
            with gg.no_grad():
                inside.set()
                await done.wait()
                seen["off"] = current_mode().grad

        async def on() -> None:
            await inside.wait()
            seen["on"] = current_mode().grad
            done.set()

        await asyncio.gather(off(), on())
        return seen

    assert asyncio.run(main()) == {"off": False, "on": True}


# --- backward, again and again ------------------------------------------------------------------------------------


def test_backward_twice_needs_retain_graph() -> None:
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(gradient(x), [4.0, 8.0])
    with pytest.raises(gg.GradientError, match=r"a second time(.|\n)*retain_graph=True"):
        y.backward()


def test_a_freed_part_of_a_shared_graph_is_refused() -> None:
    x = leaf([1.0, 2.0])
    shared = gg.exp(x)
    one, two = shared.sum(), (shared * 2).sum()
    one.backward()
    with pytest.raises(gg.GradientError, match="backward through exp a second time"):
        two.backward()


def test_create_graph_differentiates_the_gradient() -> None:
    x = leaf([1.0, 2.0])
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first is not None
    assert first.requires_grad
    x.grad = None
    (first * first).sum().backward()
    np.testing.assert_allclose(gradient(x), 2 * (3 * x.data**2) * (6 * x.data), rtol=1e-14)
    assert not x.grad.requires_grad  # type: ignore[union-attr]


def test_without_create_graph_the_gradient_is_a_constant() -> None:
    x = leaf([1.0, 2.0])
    (x**3).sum().backward()
    assert x.grad is not None
    assert not x.grad.requires_grad


# --- depth and lifetimes ------------------------------------------------------------------------------------------


def test_a_chain_of_100_000_ops() -> None:
    x = leaf(1.0)
    with without_gc():
        before = nodes()
        y = x
        for _ in range(50_000):
            y = y * 1.00001 + 1e-9
        assert nodes() == before + 100_000
        y.backward()
        assert gradient(x) == pytest.approx(1.00001**50_000)
        del y
        assert nodes() == before
        y = x  # and dropped without a backward
        for _ in range(100_000):
            y = y + 1.0
        del y
        assert nodes() == before


def test_a_dropped_graph_is_freed_at_once() -> None:
    with without_gc():
        before = nodes()
        x = leaf(np.ones(3))
        hidden = gg.tanh(x * 2)
        arrays = [weakref.ref(hidden.data), weakref.ref((hidden * hidden).data)]
        loss = (hidden * hidden).sum()
        assert nodes() > before
        assert arrays[0]() is not None
        del hidden
        assert arrays[0]() is not None, "the tape still holds it"
        del loss, x
        assert nodes() == before
        assert [array() for array in arrays] == [None, None]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: gg.softmax(x).sum(),
        lambda x: gg.cross_entropy(x, np.array([0, 1])),
        lambda x: gg.grad(lambda v: (v**3).sum())(x).sum(),
        lambda x: gg.vjp(gg.exp, x)[1](np.ones((2, 3)))[0].sum(),
        lambda x: gg.jvp(gg.exp, (x,), (np.ones((2, 3)),))[1].sum(),
        lambda x: gg.concatenate([x, x]).max(),
    ],
    ids=["softmax", "cross_entropy", "grad", "vjp", "jvp", "concatenate"],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_no_op_makes_a_reference_cycle(function: Callable[[gg.Tensor], gg.Tensor], create_graph: bool) -> None:
    def step(backward: bool) -> None:
        x = leaf(np.arange(6.0).reshape(2, 3) / 7)
        loss = function(x)
        if backward:
            loss.backward(create_graph=create_graph)
            x.grad = None  # with create_graph the leaf's gradient reaches the leaf: the one cycle there is

    step(True)
    with without_gc():
        before = nodes()
        for backward in (False, True):
            step(backward)
            assert nodes() == before


def test_backward_frees_what_was_saved() -> None:
    x = leaf(np.ones(3))
    hidden = x * 2
    saved = weakref.ref(hidden.data)
    loss = (hidden * hidden).sum()
    del hidden
    with without_gc():
        assert saved() is not None
        loss.backward()
        assert saved() is None


def test_a_training_loop_does_not_grow() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    w = leaf(rng.standard_normal((3, 2)))

    def steps(count: int) -> None:
        for _ in range(count):
            loss = gg.square(gg.tanh(x @ w) - y).mean()
            w.grad = None
            loss.backward()
            with gg.no_grad():
                w.__isub__(0.01 * w.grad)

    steps(1000)
    with without_gc():
        before = nodes()
        tracemalloc.start()
        try:
            steps(100)
            start = tracemalloc.get_traced_memory()[0]
            steps(8900)
            end = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert nodes() == before
    assert end - start < 4096


# --- threads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter can, so that a race shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
def test_threads_go_backward_on_graphs_of_their_own_that_share_parameters() -> None:
    w = leaf(np.linspace(0.1, 1.0, 50))

    def work(seed: int) -> np.ndarray:
        x = leaf(np.random.default_rng(seed).standard_normal((4, 50)))
        for _ in range(50):
            x.grad = None
            gg.tanh(x * w).sum().backward()
        return gradient(x)

    expected = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for actual, wanted in zip(pool.map(work, range(8)), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)


@pytest.mark.usefixtures("eager_switching")
def test_threads_lose_no_gradient_of_a_shared_parameter() -> None:
    w = leaf([0.0, 0.0])

    def work(scale: int) -> None:
        for _ in range(500):
            (w * float(scale)).sum().backward()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, (1, 2, 3, 4)))
    np.testing.assert_array_equal(gradient(w), [5000.0, 5000.0])


@pytest.mark.usefixtures("eager_switching")
def test_threads_update_arrays_of_their_own() -> None:
    def work(seed: int) -> float:
        w = leaf([1.0, 2.0])
        for _ in range(100):
            loss = (w * w).sum()
            w.grad = None
            loss.backward()
            with gg.no_grad():
                w.__isub__(0.1 * w.grad)
            assert w.data.shape == (2,)
        return loss.item()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(work, range(8)))) == 1
