"""The optimisers' kernels on the CPU, against the CPU's ops in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import DTYPES, assert_close, dtype_of, launcher, needs_cpu_runner, run

from gpugrad.cuda import optimizers
from gpugrad.errors import DTypeError, ShapeError
from gpugrad.op import registry

pytestmark = needs_cpu_runner
SIZES = [5, 0, 1, 4096, 4097, 10001, 64]
DECAYED = {"weight_decay": 0.125, "maximize": True}
BETAS = {"betas": (0.75, 0.875)}


def sgd(*args: Any, **options: Any) -> None:
    launch, table, rate, _ = args
    optimizers.sgd(launch, table, rate, **options)


CASES: dict[str, tuple[str, Callable[..., None], int, dict[str, Any]]] = {
    "sgd": ("sgd_", sgd, 0, {}),
    "sgd, decay": ("sgd_", sgd, 0, DECAYED),
    "momentum": ("sgd_momentum_", optimizers.sgd_momentum, 1, {"momentum": 0.5, "dampening": 0.25, **DECAYED}),
    "nesterov": ("sgd_momentum_", optimizers.sgd_momentum, 1, {"momentum": 0.5, "nesterov": True}),
    "adam": ("adam_", optimizers.adam, 2, BETAS),
    "adam, decay": ("adam_", optimizers.adam, 2, {**BETAS, **DECAYED, "eps": 0.125}),
    "adamw": ("adam_", optimizers.adam, 2, {**BETAS, **DECAYED, "decoupled_weight_decay": True}),
    "amsgrad": ("amsgrad_", optimizers.adam, 3, {**BETAS, "weight_decay": 0.125}),
}
"""The op on the CPU, the kernel, the states of a parameter, options."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", [0, 7])
def test_steps(name: str, dtype: str, step: int) -> None:
    op, call, states, options = CASES[name]
    rng = np.random.default_rng(0)
    start = [
        [rng.uniform(0.25, 2, size) * (rng.choice([-1, 1], size) if group == 1 else 1) for size in SIZES]
        for group in range(2 + states)
    ]
    offsets = [dtype_of(dtype).itemsize * (i == len(SIZES) - 1) for i in range(len(SIZES))]  # the last is not aligned
    rounded = [[np.asarray(a, dtype_of(dtype)) for a in group] for group in start]
    rate, count = cuda_cpu.array(np.array(0.125)), cuda_cpu.array(np.array(float(step)))

    def stepped() -> tuple[Any, ...]:
        groups = [[cuda_cpu.array(a, offset=o) for a, o in zip(group, offsets, strict=True)] for group in rounded]
        launch = launcher()
        call(launch, optimizers.tensor_table(launch, *groups), *((rate, count)), **options)
        return tuple(a for group in groups for a in group)

    got = run(stepped)
    exact = [a.astype(float) for group in rounded for a in group]
    scalars = (np.array(0.125),) if op == "sgd_" else (np.array(0.125), np.array(float(step)))
    registry[op].numpy(*scalars, *exact, **options)
    for one, expected in zip(got, exact, strict=True):
        assert_close(one, expected, dtype, 4, 8)


def test_a_tensor_is_changed_by_nobody_else() -> None:
    """The gradients stay, and so does what is not in the table."""
    p, g = (cuda_cpu.array(np.ones(100, np.float32)) for _ in range(2))
    rate = cuda_cpu.array(np.array(0.5))
    optimizers.sgd(launcher(), optimizers.tensor_table(launcher(), [p[:90]], [g[:90]]), rate)
    assert p.tolist() == [0.5] * 90 + [1] * 10
    assert (g == 1).all()


def test_what_the_optimisers_do_not_take_is_refused() -> None:
    launch, p, rate = launcher(), cuda_cpu.array(np.ones(4, np.float32)), cuda_cpu.array(np.array(0.5))
    table = optimizers.tensor_table(launch, [p], [p])
    with pytest.raises(ValueError, match="adam: takes 2 states of each parameter, the table has 0"):
        optimizers.adam(launch, table, rate, rate)
    with pytest.raises(DTypeError, match="float64 arrays of one number"):
        optimizers.sgd(launch, table, p)
    with pytest.raises(DTypeError, match="one dtype"):
        optimizers.tensor_table(launch, [p], [p.astype(float)])
    with pytest.raises(ShapeError, match="shapes differ"):
        optimizers.tensor_table(launch, [p], [p[:3]])
    optimizers.sgd(launch, optimizers.tensor_table(launch, [], []), rate)
