"""`apply`, which everything that computes passes: it runs an op on raw arrays, and records it where the mode says so.

Eager execution, recording for gradients and recording of a whole step differ only here. The functions below it make Tensors of
array-likes, for functions that are composed of ops.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from . import backend, half
from .errors import PACKAGE, DeviceError, GradientError, describe, format_site, op_error, user_site
from .modes import Record, current_mode
from .mutations import Mutations, log_mutation, next_index
from .parts import Lifted, pick
from .tape import Node

if TYPE_CHECKING:
    from .op import Op

__all__ = [
    "NO_PARAMS",
    "apply",
    "apply_update",
    "as_tensor",
    "as_tensors",
    "autocasting",
    "constant",
    "first_input",
    "noting_base",
    "raw",
    "refuse_in_place",
    "refuse_lost_write",
    "tensor_of",
]

NO_PARAMS: dict[str, Any] = {}

Tensor: Any = None
"""The class of results; set by tensor.py, which cannot be imported from here."""

autocasting: list[Callable[[Op, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...] | None, Any]]] = []
"""What casts inputs in `gpugrad.amp.autocast`, and for bfloat16; or runs the op itself, and gives None and the result."""

_detours = backend.detours
_getframe = sys._getframe
_ndarray = numpy.ndarray


FIRST = (0,)


def first_input(count: int) -> tuple[int, ...]:
    """What an update of its first input `mutates`."""
    return FIRST


def apply(op: Op, inputs: tuple[Any, ...], params: dict[str, Any] = NO_PARAMS) -> Any:
    """Run an op on Tensors, raw arrays and scalars, and record it where the mode says so.

    Parameters
    ----------
    op : Op
    inputs : tuple
        Array inputs, in the declared order; None for one that is left out.
    params : dict
        Static parameters, all of them.

    Returns
    -------
    Tensor, tuple of Tensors, or None for an update
    """
    if autocasting:
        given, out = autocasting[-1](op, inputs, params)
        if given is None:
            return out
        inputs = given
    if len(inputs) == 2 and isinstance(inputs[0], Tensor) and isinstance(inputs[1], Tensor):  # the commonest case, unrolled
        x, y = inputs
        p, q = x._node, y._node
        mask = (0 if p is None else 1) | (0 if q is None else 2)
        arrays: Sequence[Any] = (x._array, y._array)
        parents: Sequence[Node | None] = (p, q)
    elif len(inputs) == 3 and isinstance(inputs[0], Tensor) and isinstance(inputs[1], Tensor) and isinstance(inputs[2], Tensor):
        x, y, z = inputs
        p, q, r = x._node, y._node, z._node
        mask = (0 if p is None else 1) | (0 if q is None else 2) | (0 if r is None else 4)
        arrays, parents = (x._array, y._array, z._array), (p, q, r)
    elif len(inputs) == 1 and isinstance(inputs[0], Tensor):
        (x,) = inputs
        p = x._node
        mask = 0 if p is None else 1
        arrays, parents = (x._array,), (p,)
    else:
        try:
            mask, arrays, parents, instead = _unwrapped(op, inputs)
        except (ValueError, TypeError) as error:
            raise _explain(op, inputs, params, error) from None
        if instead is not None:
            return instead(op, inputs, params)
    mode = current_mode()
    try:
        forward = op.numpy
        if _detours:
            arrays = list(arrays)  # numbers may move to where the others are
            forward = op.forward_on(arrays, mask)
        if params:
            for value in params.values():
                if isinstance(value, Tensor):
                    params = _constants(op, params)
                    break
            out = forward(*arrays, **params)
        else:
            out = forward(*arrays)
    except (ValueError, TypeError, IndexError, MemoryError, RuntimeError, ImportError, AttributeError) as error:
        raise _explain(op, inputs, params, error) from None
    aux = None
    if type(out) is not _ndarray:
        if op.mutates is not None:
            changed = op.mutates(len(arrays))
            log_mutation(arrays[:1] if changed is FIRST else map(arrays.__getitem__, changed))  # a comprehension would make cells
            if mode.records is not None:
                mode.records.append(Record(op, tuple(arrays), params, None))
            return None
        if op.returns is not None:
            return _several(op, arrays, parents, mask, params, out)
        if op.has_aux:
            out, aux = out
        out = backend.as_result(out)
    if mode.records is not None:
        mode.records.append(Record(op, tuple(arrays), params, out))
    result = Tensor()
    result._array = out
    if mask and mode.grad:
        try:
            pullback = op.pullbacks[mask]
        except KeyError:
            pullback = op.pullback(mask)
        if pullback is not None:
            result._node = node = Node()
            node.index = next_index()
            node.op = op
            node.params = params
            node.parents = parents
            node.pullback = pullback
            save = pullback.save
            node.saved = () if save is None else save(arrays, out, params, aux)
            node.shape = out.shape
            node.dtype = out.dtype
            frame = _getframe(2)
            code = frame.f_code
            while code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
                frame = frame.f_back
                code = frame.f_code
            node.site = (code, frame.f_lasti)
            return result
    result._node = None
    return result


def _constants(op: Op, params: dict[str, Any]) -> dict[str, Any]:
    return {name: constant(op.name, name, value) for name, value in params.items()}


def constant(function: str, name: str, value: Any) -> Any:
    """A static parameter as it is, but raw if it is a Tensor; that must need no gradient, since none would flow to it."""
    if not isinstance(value, Tensor):
        return value
    if value._node is not None and current_mode().grad:
        raise GradientError(
            f"{function}: {name} is a constant of this op, no gradient would flow to it; got {describe(value)}\n"
            f"  give {name}.detach(), or write the formula with ops of which it is an operand\n"
            f"  at {format_site(user_site())}"
        )
    return value._array


def apply_update(op: Op, arrays: tuple[Any, ...], params: dict[str, Any], changes: Mutations) -> None:
    """`apply` for an optimiser's step on raw arrays: no node is made, and what it changes is noted all at once."""
    if autocasting and autocasting[-1](op, arrays, params)[0] is None:  # run by way of float32
        changes.note()
        return
    forward = op.numpy if not _detours else op.forward_on(arrays)
    forward(*arrays, **params)
    changes.note()
    records = current_mode().records
    if records is not None:
        records.append(Record(op, arrays, params, None))


def _several(op: Op, arrays: Any, parents: Any, mask: int, params: dict[str, Any], outs: Any) -> Any:
    """The second half of `apply`, for an op with several results."""
    assert op.returns is not None
    mode = current_mode()
    outs = tuple(map(backend.as_result, outs))
    if mode.records is not None:
        mode.records.append(Record(op, tuple(arrays), params, outs))
    results = [tensor_of(out) for out in outs]
    pullback = op.pullback(mask) if mask and mode.grad else None
    if pullback is not None:
        node = Node()
        node.index, node.op, node.params, node.parents, node.pullback = next_index(), op, params, parents, pullback
        node.saved = () if pullback.save is None else pullback.save(arrays, outs, params, None)
        node.shape, node.dtype, node.site = tuple(out.shape for out in outs), tuple(out.dtype for out in outs), user_site()
        for i, (result, out) in enumerate(zip(results, outs, strict=True)):
            if half.is_inexact(out.dtype):
                result._node = pick(node, i)
    return op.returns(*results)


def _unwrapped(
    op: Op, inputs: tuple[Any, ...]
) -> tuple[int, list[Any], list[Node | None], Callable[[Op, tuple[Any, ...], dict[str, Any]], Any] | None]:
    """Which inputs need a gradient, as bits; the raw arrays; the nodes; and what is to run the op instead of `apply`, if any."""
    mask, bit = 0, 1
    arrays: list[Any] = []
    parents: list[Node | None] = []
    for x in inputs:
        if isinstance(x, Tensor):
            arrays.append(x._array)
            node = x._node
            parents.append(node)
            if node is not None:
                mask |= bit
        elif x.__class__ is float or x.__class__ is int:
            arrays.append(x)
            parents.append(None)
        elif isinstance(x, Lifted):
            return mask, arrays, parents, x.apply
        elif hasattr(x, "dtype") and half.is_half(x) and not half.asked_for:
            half.bfloat16()  # the first array of it anywhere: now that ops know of it, this one begins again
            return mask, arrays, parents, apply
        else:
            kind = type(x)
            if kind is list or kind is tuple or kind is str or (kind is _ndarray and x.dtype.kind in "OSUMm"):
                x = backend.as_weak(x, inputs, op.kind in ("elementwise", "multilinear"))  # refuses what is no numbers
            elif x is None and not op.takes_none:
                raise TypeError("an array is needed, got None")
            arrays.append(x)
            parents.append(None)
        bit += bit
    return mask, arrays, parents, None


def _explain(op: Op, inputs: Sequence[Any], params: dict[str, Any], error: Exception) -> Exception:
    names = [f"{op.inputs[0]}[{i}]" for i in range(len(inputs))] if op.variadic else op.inputs
    error = backend.translated(error, inputs)
    if isinstance(error, RuntimeError | ImportError) and not isinstance(error, DeviceError):
        return error
    return op_error(op.name, names, inputs, params, error)


def refuse_in_place(target: Any, what: str) -> None:
    """Raise if an in-place change of `target`, a leaf that requires a gradient, is tried while recording."""
    if target._node is not None and target._node.op is None and current_mode().grad:
        raise GradientError(
            f"{what} on a leaf that requires a gradient: {describe(target)}\n"
            f"  wrap the update in `with gg.no_grad():`, or make a new tensor (w = w - step)\n  at {format_site(user_site())}"
        )


def tensor_of(array: Any, node: Node | None = None) -> Any:
    """A Tensor around a raw array, as the result of `node`."""
    tensor = Tensor()
    tensor._array, tensor._node = array, node
    return tensor


def as_tensor(value: Any) -> Any:
    """A Tensor from any array-like; a Tensor as it is. For functions that are composed of ops."""
    return value if isinstance(value, Tensor) else tensor_of(backend.as_array(value))


def as_tensors(*values: Any) -> tuple[Any, ...]:
    """Tensors from array-likes that meet in arithmetic: numbers and lists take the dtype of the others, as in ``x * 0.1``."""
    if all(isinstance(value, Tensor) for value in values):
        return values
    kinds = (int, float, complex, bool, list, tuple)
    return tuple(as_tensor(backend.as_weak(value, values, True) if type(value) in kinds else value) for value in values)


def raw(value: Any) -> Any:
    """The raw array of a Tensor, and other values as they are: for indices and other constants."""
    return value._array if isinstance(value, Tensor) else value


def noting_base(function: Callable[..., Any]) -> Callable[..., Any]:
    """The public function of an op that gives views, whose recorded results know of what they are one."""

    @functools.wraps(function)
    def view(x: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(x, *args, **kwargs)
        recorded = result.__class__ is Tensor and result._node is not None and isinstance(x, Tensor)
        if recorded and (result._array.base is not None or result._array is x._array):  # squeeze may give the array itself
            result._base = getattr(x, "_base", None) or weakref.ref(x)
        return result

    return view


def refuse_lost_write(view: Any, what: str) -> None:
    """Raise if NumPy would write through a recorded view to an array that somebody still has; the tape does not."""
    base = getattr(view, "_base", None)
    whole = base() if base is not None else None
    if whole is not None:
        raise GradientError(
            f"{what} on a view, {describe(view)}, of {describe(whole)}: NumPy would change both, the tape cannot\n"
            f"  write to the whole, whole[index] = values or whole[index] *= 2, or to a copy: view = view.copy()"
            f"\n  at {format_site(user_site())}"
        )
