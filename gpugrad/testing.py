"""Checks of derivatives against finite differences, and the samples that an op's tests are generated from.

A derivative is checked along random directions (as JAX's `check_grads` does), not entry by entry: a few calls of the
function, whatever the size of its inputs, and a wrong entry still shows, since a random direction touches all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from . import half
from .errors import DTypeError, GradientError, describe
from .modes import no_grad
from .op import Op, Sample, registry
from .tensor import Tensor, asarray
from .transforms import jvp, vjp
from .tree import flatten

__all__ = ["gradcheck", "gradgradcheck", "iterate_samples", "sample_function"]

MODES = ("rev", "fwd")


# --- against finite differences -----------------------------------------------------------------------------------


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    modes: Sequence[str] = MODES,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    seed: int = 0,
) -> bool:
    """Check the first derivatives of a function against central finite differences.

    For each input, a random direction ``d`` and random cotangents ``c`` of the outputs are drawn. The slope of
    ``<c, f(x + s * d)>`` at ``s = 0`` is measured, and compared with ``<vjp(c), d>`` and with ``<c, jvp(d)>``.

    Parameters
    ----------
    f : callable
        Takes Tensors; returns an array, or a nested tuple, list or dict of arrays. Must give the same values each time.
    inputs : array or sequence of arrays
        Where to check: float64 or complex128 arrays or Tensors. Integer and boolean ones are passed on as constants.
    modes : sequence of {"rev", "fwd"}
        Which to check: reverse mode (`vjp`), forward mode (`jvp`), or both.
    eps : float
        Step of the differences. The function must be smooth within it: no kink of a ReLU, no tie of a maximum.
    atol, rtol : float
        An error up to ``atol + rtol * |measured|`` is accepted.
    seed : int
        Of the random directions.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradientError
        If a derivative is wrong; the message names the input, the mode, the error and the tolerance.
    DTypeError
        If an input is of another floating dtype than float64 or complex128: the differences would be mostly rounding error.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> from gpugrad.testing import gradcheck
    >>> gradcheck(lambda x, w: gg.tanh(x @ w), (np.ones((2, 3)), np.full((3, 2), 0.1)))
    True
    """
    values = _checked_inputs("gradcheck", inputs)
    return _check("gradcheck", f, values, _names(values), modes, eps, atol, rtol, seed)


def gradgradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    modes: Sequence[str] = MODES,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    seed: int = 0,
) -> bool:
    """Check the second derivatives of a function: `gradcheck` of its vjp, by the inputs and by the cotangents.

    Parameters, result and errors are those of `gradcheck`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> from gpugrad.testing import gradgradcheck
    >>> gradgradcheck(lambda x: gg.exp(x) * x, np.array([0.5, 1.0]))
    True
    """
    values = _checked_inputs("gradgradcheck", inputs)
    moving = _floating(values)
    rng = numpy.random.default_rng(seed + 1)
    cotangents = [_random_like(output, rng) for output in _evaluate(f, values)]

    def pulled(*arguments: Any) -> tuple[Any, ...]:
        def inner(*moved: Any) -> list[Any]:
            full = list(arguments[: len(values)])
            for i, value in zip(moving, moved, strict=True):
                full[i] = value
            return _differentiable_outputs(f(*full))

        return vjp(inner, *[arguments[i] for i in moving])[1](list(arguments[len(values) :]))

    names = _names(values) + [f"the cotangent of output {i}" for i in range(len(cotangents))]
    return _check("gradgradcheck", pulled, values + cotangents, names, modes, eps, atol, rtol, seed)


def _checked_inputs(name: str, inputs: Any) -> list[Any]:
    """The inputs as a list of raw arrays."""
    given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    values = [value.numpy() if isinstance(value, Tensor) else numpy.asarray(value) for value in given]
    for i, value in enumerate(values):
        if value.dtype.kind not in "iub" and value.dtype not in (numpy.float64, numpy.complex128):
            raise DTypeError(f"{name}: finite differences need float64 or complex128; input {i} is {describe(value)}")
    if not _floating(values):
        raise GradientError(f"{name}: none of the {len(values)} inputs is floating: there is nothing to check")
    return values


def _floating(values: Sequence[Any]) -> list[int]:
    return [i for i, value in enumerate(values) if half.is_inexact(value.dtype)]


def _random_like(value: Any, rng: numpy.random.Generator) -> Any:
    direction = rng.standard_normal(value.shape)
    return direction + 1j * rng.standard_normal(value.shape) if value.dtype.kind == "c" else direction


def _names(values: Sequence[Any]) -> list[str]:
    return [f"input {i}" for i in range(len(values))]


def _differentiable_outputs(result: Any) -> list[Any]:
    """The floating outputs: no derivative of the others exists."""
    return [output for output in map(asarray, flatten(result)[0]) if half.is_inexact(output.dtype)]


def _evaluate(f: Callable[..., Any], values: Sequence[Any]) -> list[Any]:
    with no_grad():
        return [output.numpy() for output in _differentiable_outputs(f(*[asarray(value.copy()) for value in values]))]


def _check(
    name: str,
    f: Callable[..., Any],
    values: list[Any],
    names: list[str],
    modes: Sequence[str],
    eps: float,
    atol: float,
    rtol: float,
    seed: int,
) -> bool:
    unknown = set(modes) - set(MODES)
    if unknown or not modes:
        raise ValueError(f"{name}: modes must be some of {MODES}, got {tuple(modes)}")
    rng = numpy.random.default_rng(seed)
    base = _evaluate(f, values)
    if not base:
        raise GradientError(f"{name}: the function returns no floating array")
    for first, second in zip(base, _evaluate(f, values), strict=True):
        if not numpy.array_equal(first, second, equal_nan=True):
            raise GradientError(f"{name}: two calls with the same inputs gave different values; fix the random state in f")
    cotangents = [_random_like(output, rng) for output in base]
    moving = _floating(values)

    def of_moving(*moved: Any) -> list[Any]:
        full: list[Any] = [asarray(value) for value in values]
        for i, value in zip(moving, moved, strict=True):
            full[i] = value
        return _differentiable_outputs(f(*full))

    primals = [values[i] for i in moving]
    pulled = vjp(of_moving, *primals)[1](cotangents) if "rev" in modes else ()
    for k, i in enumerate(moving):
        direction = _random_like(values[i], rng)
        ahead, behind = (_evaluate(f, [*values[:i], values[i] + step * direction, *values[i + 1 :]]) for step in (eps, -eps))
        slopes = [(a - b) / (2 * eps) for a, b in zip(ahead, behind, strict=True)]
        measured = _inner(cotangents, slopes)
        found: dict[str, float] = {}
        if "rev" in modes:
            gradient = pulled[k]
            if gradient.shape != values[i].shape or gradient.dtype != values[i].dtype:
                raise GradientError(f"{name}: the gradient by {names[i]}, {describe(values[i])}, is {describe(gradient)}")
            found["rev"] = _inner([gradient], [direction])
        if "fwd" in modes:
            tangents = [direction if j == i else numpy.zeros_like(values[j]) for j in moving]
            found["fwd"] = _inner(cotangents, jvp(of_moving, primals, tangents)[1])
        for mode, value in found.items():
            error, tolerance = abs(value - measured), atol + rtol * abs(measured)
            if not error <= tolerance:  # also where it is nan
                raise GradientError(
                    f"{name}: the derivative by {names[i]}, {describe(values[i])}, in mode {mode!r} is wrong: {value:.9g} along "
                    f"a random direction, measured {measured:.9g}; the error {error:.3g} exceeds the tolerance {tolerance:.3g}"
                )
    return True


def _inner(left: Sequence[Any], right: Sequence[Any]) -> float:
    return float(sum(numpy.vdot(a, b).real for a, b in zip(left, right, strict=True)))


# --- samples ------------------------------------------------------------------------------------------------------


def iterate_samples(op: Op | str, seed: int = 0) -> Iterator[tuple[Sample, tuple[int, ...]]]:
    """The sample calls that an op declares, and which of their arrays can be differentiated by.

    Parameters
    ----------
    op : Op or str
        From `gpugrad.op.registry`, or its name there.
    seed : int
        Of the random values.

    Yields
    ------
    Sample
        Arguments ``args`` and ``kwargs`` of one call.
    tuple of int
        Positions among the arguments (those of a list argument counted one by one) of floating arrays that have a rule.

    Examples
    --------
    >>> from gpugrad.testing import iterate_samples
    >>> for sample, positions in iterate_samples("where"):
    ...     print([getattr(a, "shape", a) for a in sample.args], positions)
    [(3, 4), (3, 4), (3, 4)] (1, 2)
    [(3, 1), (4,), (3, 1)] (1, 2)
    [(4,), (4,), 0.5] (1,)
    """
    op = registry[op] if isinstance(op, str) else op
    if op.samples is None:
        return
    composed = op.reference is not None and not op.has_aux
    names = list(op.signature.parameters)
    for sample in op.samples(numpy.random.default_rng(seed)):
        positions, place = [], 0
        for name, argument in zip(names, sample.args, strict=False):  # the last ones may be in kwargs, or left out
            for value in argument if isinstance(argument, list) else [argument]:
                if name in op.inputs and isinstance(value, numpy.ndarray) and half.is_inexact(value.dtype):
                    rule = 0 if op.joint else op.inputs.index(name)
                    if composed or (rule < len(op.rules) and op.rules[rule] is not None):
                        positions.append(place)
                place += 1
        yield sample, tuple(positions)


def sample_function(op: Op | str, sample: Sample, positions: Sequence[int]) -> tuple[Callable[..., Any], list[Any]]:
    """A sample call as a function of the arrays at `positions` alone, and those arrays.

    Examples
    --------
    >>> from gpugrad.testing import gradcheck, iterate_samples, sample_function
    >>> all(gradcheck(*sample_function("tanh", *case)) for case in iterate_samples("tanh"))
    True
    """
    op = registry[op] if isinstance(op, str) else op
    leaves = [value for a in sample.args for value in (a if isinstance(a, list) else [a])]

    def function(*arrays: Any) -> Any:
        filled = list(leaves)
        for position, array in zip(positions, arrays, strict=True):
            filled[position] = array
        rest = iter(filled)
        args = [[next(rest) for _ in a] if isinstance(a, list) else next(rest) for a in sample.args]
        return op.public(*args, **sample.kwargs)

    return function, [leaves[position] for position in positions]
