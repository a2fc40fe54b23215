"""Functions of functions: grad, value_and_grad, vjp, jvp. They nest, to any order, in both modes.

There is one tape and two walks over it: `vjp` pulls cotangents along falling index, `jvp` pushes tangents along rising
index. Inside another transform, or on Tensors that need gradients, the walk itself is recorded.

NumPy in, NumPy out; CuPy in, CuPy out; Tensor in, Tensor out. Arguments and results may be nested tuples, lists and dicts
of arrays. A Python number counts as NumPy's float64 here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from . import backend, half
from .errors import DeviceError, DTypeError, GradientError, ShapeError, describe, format_site, user_site
from .interpret import RAW, TENSORS, push_tangents, raw_for
from .modes import current_mode, mode_with
from .mutations import next_index
from .op import apply, registry
from .tape import Node, conjugate, leaf, walk
from .tensor import Tensor, wrap
from .tree import flatten

__all__ = ["grad", "jvp", "value_and_grad", "vjp"]


class _Trace:
    """A call of f on aliases of its primals, and what is needed to walk its tape.

    Aliases are leaves, or, where a primal itself needs a gradient, results of the identity on it: then what is computed from
    the walk stays connected to what came before. Nodes older than `floor` are constants of this trace.
    """

    def __init__(self, name: str, primals: list[Any]) -> None:
        self.name = name
        mode = current_mode()
        self.floor = next_index()
        self.aliases = [_alias(name, primal) for primal in primals]
        self.nodes: list[Node] = [alias._node for alias in self.aliases]
        self.given_tensors = any(isinstance(p, Tensor) for p in primals)
        needs = any(isinstance(p, Tensor) and p._node is not None for p in primals)
        self.recorded = mode.records is not None
        self.nested = mode.grad and (mode.tracing or needs)

    def run(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        with mode_with(grad=True, tracing=True):
            return function(*args, **kwargs)

    def pull(self, outputs: list[Tensor], cotangents: list[Any], retain: bool) -> list[Any]:
        """Cotangents of the primals, zeros where nothing flows, as Tensors or raw arrays to the taste of the caller."""
        raw = not self.nested and not self.recorded
        roots = []
        for output, cotangent in zip(outputs, cotangents, strict=True):
            if output._node is not None and output._node.index >= self.floor:
                value = cotangent if isinstance(cotangent, Tensor) else wrap(cotangent)
                roots.append((output._node, value._array if raw else value))
        F: Any = raw_for(outputs[0]._array, once=not retain) if raw and outputs else TENSORS
        with mode_with(grad=self.nested):
            roots = [(node, conjugate(F, t)) for node, t in roots]
            found = walk(F, roots, set(self.nodes), retain).conjugated(F)
        return [
            found.owned(node) if node in found.by_node else self.zeros(alias)
            for node, alias in zip(self.nodes, self.aliases, strict=True)
        ]

    @staticmethod
    def zeros(like: Tensor) -> Any:
        return backend.made_beside(like._array, "zeros", like.shape, like.dtype)

    def out(self, value: Any) -> Any:
        """A result as the caller expects it: raw where the primals were raw and nothing is lost by it."""
        if not isinstance(value, Tensor):
            if self.given_tensors:
                return wrap(numpy.asarray(value) if isinstance(value, numpy.generic) else value)
            return value[()] if value.__class__ is numpy.ndarray and value.ndim == 0 else value
        if self.given_tensors or (self.nested and value._node is not None):
            return value
        return value._array[()] if value.ndim == 0 else value._array

    def kept(self, value: Any) -> Any:
        """An output of f as a value: cut from this trace, but not from an outer one."""
        if not isinstance(value, Tensor):
            return value
        return self.out(value if self.nested else value.detach())


def _alias(name: str, primal: Any) -> Tensor:
    """A primal as a Tensor of its own, differentiable."""
    if isinstance(primal, Tensor):
        value = primal
    else:
        value = wrap(numpy.asarray(primal) if isinstance(primal, float | complex) else backend.as_array(primal))
    if not half.is_inexact(value.dtype):
        raise DTypeError(
            f"{name}: cannot differentiate by {describe(value)}: use floating-point values, for instance "
            f"{'x.astype(float)' if value.shape else 'float(x)'}\n  at {format_site(user_site())}"
        )
    if value._node is not None:
        with mode_with(grad=True):
            return apply(registry["alias"], (value,))
    result = wrap(value._array)
    result._node = leaf(value._array)
    return result


def _as_output(name: str, value: Any) -> Tensor:
    """What f returned, as a Tensor; a constant is fine."""
    if isinstance(value, Tensor):
        return value
    try:
        return wrap(backend.as_array(value))
    except DTypeError as error:
        raise GradientError(f"{name}: the function returned {describe(value)}, which is not an array") from error


def _positions(argnums: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not -count <= number < count:
            raise GradientError(
                f"{name}: argnums={argnums!r}, but the function was called with {count} positional argument(s)\n"
                f"  at {format_site(user_site())}"
            )
    return tuple(number % count for number in numbers)


def _traced(name: str, function: Any, argnums: int | Sequence[int], args: Any, kwargs: Any) -> tuple[_Trace, Any, Any]:
    """A call traced in some of its arguments: the trace, what gives a list of leaves their structure again, the result."""
    positions = _positions(argnums, len(args), name)
    leaves, rebuild = flatten([args[i] for i in positions])
    trace = _Trace(name, leaves)
    inputs = list(args)
    for position, value in zip(positions, rebuild(list(trace.aliases)), strict=True):
        inputs[position] = value
    return trace, rebuild, trace.run(function, inputs, kwargs)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the value of `function` and its gradient.

    Parameters
    ----------
    function : callable
        Returns one element (a scalar); with `has_aux`, a pair of that and anything else.
    argnums : int or sequence of int
        By which positional arguments to differentiate. Each may be a nested tuple, list or dict of floating arrays.
    has_aux : bool
        Whether `function` returns something else beside the value.

    Returns
    -------
    callable
        With the arguments of `function`; returns ``(value, gradient)``, or ``((value, aux), gradient)``. The gradient is
        shaped as the argument, or is a tuple of such where `argnums` is a sequence.

    Raises
    ------
    GradientError
        If the value has more than one element.
    DTypeError
        If an argument is not floating.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        trace, rebuild, result = _traced("grad", function, argnums, args, kwargs)
        result, aux = result if has_aux else (result, None)
        output = _as_output("grad", result)
        if output.size != 1:
            raise GradientError(
                f"grad takes a function that returns one element, this one returned {describe(output)}\n"
                f"  reduce it with .sum() or .mean(), or use gg.vjp or gg.jacobian\n  at {format_site(user_site())}"
            )
        if output.dtype.kind == "c":
            raise GradientError(
                f"grad takes a function that returns a real value, this one returned {describe(output)}\n"
                f"  take its real part or its square of modulus, or use gg.vjp\n  at {format_site(user_site())}"
            )
        one = backend.made_beside(output._array, "ones", output.shape, output.dtype)
        grads = rebuild([trace.out(g) for g in trace.pull([output], [one], retain=trace.nested)])
        value = trace.kept(output)
        if has_aux:
            leaves_, rebuild_ = flatten(aux)
            value = value, rebuild_([trace.kept(a) for a in leaves_])
        return value, grads[0] if isinstance(argnums, int) else tuple(grads)

    return wrapped


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of `function` (HIPS autograd's and JAX's `grad`).

    Parameters are those of `value_and_grad`; with `has_aux` it returns ``(gradient, aux)``.

    Examples
    --------
    >>> import gpugrad as gg
    >>> f = lambda x: x**3
    >>> gg.grad(f)(2.0), gg.grad(gg.grad(f))(2.0)
    (np.float64(12.0), np.float64(12.0))
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of a function, and the map that pulls a cotangent of it back to its arguments (`jax.vjp`).

    Parameters
    ----------
    function : callable
        Takes the primals; returns an array or a nested tuple, list or dict of arrays.
    *primals : floating arrays, or nested tuples, lists or dicts of them

    Returns
    -------
    value
    pull : callable
        ``pull(cotangent)``, with a cotangent shaped as the value, gives a tuple of cotangents shaped as the primals. It can
        be called again.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> value, pull = gg.vjp(gg.sin, np.zeros(2))
    >>> pull(np.array([1.0, 3.0]))
    (array([1., 3.]),)
    """
    leaves, rebuild = flatten(primals)
    trace = _Trace("vjp", leaves)
    result = trace.run(function, rebuild(list(trace.aliases)), {})
    values, rebuild_out = flatten(result)
    outputs = [_as_output("vjp", value) for value in values]

    def pull(cotangent: Any) -> tuple[Any, ...]:
        given = flatten(cotangent)[0]
        if len(given) != len(outputs):
            raise ShapeError(
                f"vjp: the function has {len(outputs)} output(s), but {len(given)} cotangent(s) were given\n"
                f"  at {format_site(user_site())}"
            )
        fitted = [_fitted("cotangent", c, output) for c, output in zip(given, outputs, strict=True)]
        grads = trace.pull(outputs, fitted, retain=True)
        return tuple(rebuild([trace.out(g) for g in grads]))

    return rebuild_out([trace.kept(output) for output in outputs]), pull


def _fitted(what: str, value: Any, like: Tensor) -> Tensor:
    """A cotangent or tangent with the shape and dtype of what it belongs to."""
    given = value if isinstance(value, Tensor) else wrap(backend.as_array(value))
    if given.shape != like.shape:
        raise ShapeError(f"{what} of shape {given.shape} for a value of shape {like.shape}\n  at {format_site(user_site())}")
    if given.device != like.device:
        if given.ndim:
            raise DeviceError(
                f"{what} on {given.device} for a value on {like.device}: move it with .to({like.device!r})\n"
                f"  at {format_site(user_site())}"
            )
        given = given.to(like.device)
    return given if given.dtype == like.dtype else given.astype(like.dtype)


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of a function and its directional derivative: forward mode (`jax.jvp`).

    The time is that of a few calls of `function`, whatever the number of its outputs.

    Parameters
    ----------
    function : callable
        Takes the primals; returns an array or a nested tuple, list or dict of arrays.
    primals, tangents : tuples
        The arguments, and one direction for each, of the same structure and shapes.

    Returns
    -------
    value, tangent
        Of the same structure.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.jvp(gg.exp, (0.0,), (2.0,))
    (np.float64(1.0), np.float64(2.0))
    """
    leaves, rebuild = flatten(tuple(primals))
    directions = flatten(tuple(tangents))[0]
    if len(directions) != len(leaves):
        raise ShapeError(f"jvp: {len(leaves)} primal(s), but {len(directions)} tangent(s)\n  at {format_site(user_site())}")
    nested = any(isinstance(t, Tensor) and t._node is not None for t in directions)
    trace = _Trace("jvp", leaves)
    trace.nested = trace.nested or (nested and current_mode().grad)
    trace.given_tensors = trace.given_tensors or any(isinstance(t, Tensor) for t in directions)
    fitted = [_fitted("tangent", t, alias) for t, alias in zip(directions, trace.aliases, strict=True)]
    result = trace.run(function, rebuild(list(trace.aliases)), {})
    values, rebuild_out = flatten(result)
    outputs = [_as_output("jvp", value) for value in values]
    raw = not trace.nested and not trace.recorded
    known: dict[Node, Any] = dict(zip(trace.nodes, [t._array if raw else t for t in fitted], strict=True))
    roots = [output._node for output in outputs if output._node is not None]
    if raw:
        push_tangents(raw_for(outputs[0]._array) if outputs else RAW, roots, known, trace.floor)
    else:
        with mode_with(grad=trace.nested):
            push_tangents(TENSORS, roots, known, trace.floor)
    pushed = [known[output._node] if output._node in known else trace.zeros(output) for output in outputs]
    pushed = [t if isinstance(t, Tensor) else wrap(numpy.asarray(t) if isinstance(t, numpy.generic) else t) for t in pushed]
    return rebuild_out([trace.kept(output) for output in outputs]), rebuild_out([trace.out(t) for t in pushed])
