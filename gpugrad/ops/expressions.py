"""The interpreter whose values are CUDA expressions: what `gpugrad.fuse` traces functions and runs their rules under.

An `Expression` stands where an array would: it has a shape and a dtype, and names a number in a `Program`. `Expressions` is
a namespace of ops on them, as others are of ops on arrays or Tensors; so the rules of the ops, run by the ordinary walk, write
the statements of the gradients.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .. import backend
from ..cuda.compiler import ACTIVATIONS
from ..cuda.generated import Program, ctype_in, storage_of
from ..errors import DTypeError, FusionError, format_site, user_site
from ..half import is_floating
from ..op import Op, registry

__all__ = ["Expression", "Expressions"]

_ADVICE = "compute it before or after, on arrays, and fuse the elementwise operations around it"


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: Expression, *others: Any) -> Any:
        arguments = (*others, self) if swapped else (self, *others)
        return self.F.run(registry[name], arguments, {})

    return method


def _unreadable(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise FusionError(
        f"{self.F.name}: it reads the values of an array, and what it does with them could not be in one kernel\n"
        f"  choose between two values with gpugrad.where(condition, x, y); {_ADVICE}\n  at {format_site(user_site())}"
    )


class Expression:
    """A number of a program, for each element of an array that is not there.

    Attributes
    ----------
    F : Expressions
    name : str
        Of the value among the program's statements.
    shape, dtype
        Those that the array would have.
    """

    __slots__ = ("F", "dtype", "name", "shape")
    __array_priority__ = 1000

    def __init__(self, F: Expressions, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.F, self.name, self.shape, self.dtype = F, name, shape, dtype

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"

    __add__, __radd__ = _operator("add"), _operator("add", True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", True)
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _operator("floor_divide", True)
    __mod__, __rmod__ = _operator("remainder"), _operator("remainder", True)
    __pow__, __rpow__ = _operator("power"), _operator("power", True)
    __and__, __rand__ = _operator("bitwise_and"), _operator("bitwise_and", True)
    __or__, __ror__ = _operator("bitwise_or"), _operator("bitwise_or", True)
    __xor__, __rxor__ = _operator("bitwise_xor"), _operator("bitwise_xor", True)
    __neg__, __pos__, __abs__, __invert__ = (_operator(n) for n in ("negative", "positive", "absolute", "invert"))
    __lt__, __le__, __gt__ = _operator("less"), _operator("less_equal"), _operator("greater")
    __ge__, __eq__, __ne__ = _operator("greater_equal"), _operator("equal"), _operator("not_equal")
    __hash__ = object.__hash__

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """With another dtype, as an array's method: rules use it."""
        return self if dtype == self.dtype else self.F.run(registry["astype"], (self,), {"dtype": dtype})

    __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = __array__ = _unreadable
    item = tolist = get = __dlpack__ = __getitem__ = __setitem__ = _unreadable


backend.other_arrays += (Expression,)


class Expressions:
    """Ops as functions on expressions: ``F.tanh(x)`` writes a statement.

    Parameters
    ----------
    name : str
        What errors call the function that is traced.
    """

    raw = False

    def __init__(self, name: str) -> None:
        self.name, self.program = name, Program()

    def input(self, name: str, shape: tuple[int, ...], dtype: Any) -> Expression:
        """The expression for the elements of an array that is an argument; refused for dtypes that no kernel takes."""
        if storage_of(dtype) is None:
            raise DTypeError(f"{self.name}: {dtype} is no dtype of the CUDA kernels; fuse takes real numbers and booleans")
        return Expression(self, name, shape, dtype)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in registry:
            raise AttributeError(f"no op is called {name!r}")
        op = registry[name]
        if op.reference is not None:
            return functools.partial(op.reference, self)

        def function(*args: Any, **kwargs: Any) -> Any:
            bound = op.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return self.run(op, [bound.arguments[n] for n in op.inputs], {n: bound.arguments[n] for n in op.params})

        return function

    def run(self, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """The result of an op: an expression, or a number where nothing else went in."""
        inputs = [_number(x) for x in inputs]
        if not any(isinstance(x, Expression) for x in inputs):
            out = op.numpy(*inputs, **params)
            weak = all(type(x) in (bool, int, float) for x in inputs) and op.name not in ("astype", "cast")
            return out.item() if weak else out[()]
        self._check(op, inputs, params)
        write = _SPECIAL.get(op.name, _written)
        return write(self, op, inputs, params)

    def _check(self, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> None:
        if (op.kind != "elementwise" and op.name not in _SPECIAL) or op.variadic:
            raise FusionError(f"it is not elementwise, so {self.name} cannot be one kernel; {_ADVICE}")
        for value in (*inputs, *params.values()):
            if isinstance(getattr(value, "shape", None), tuple) and value.shape and not isinstance(value, Expression):
                raise FusionError(f"{self.name} takes an array of shape {value.shape} from outside; make it an argument")

    def pull(self, node: Any, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of a node's inputs: by the activation's own functor, where it has one, else by the op's rules."""
        functor = _functor(node.op, node.params)
        if functor is None:
            found: tuple[Any, ...] = pullback.call(self, t, saved)
            return found
        kept = dict(zip(node.op.slots, saved, strict=True))
        slot = "x" if functor[2] or "out" not in kept else "out"
        return (self._functor_call(functor, "backward", (t, kept[slot]), t.shape, kept[slot].dtype),)

    # --- writing ---

    def let(self, text: str, operands: Sequence[str], shape: tuple[int, ...], dtype: Any) -> Expression:
        """A statement's result."""
        return Expression(self, self.program.let(ctype_in(dtype), text, operands), shape, dtype)

    def operand(self, value: Any, ctype: str) -> str:
        """A value as an operand of some type: its name, converted where it is of another."""
        if not isinstance(value, Expression):
            return self.program.number(value, ctype)
        if ctype_in(value.dtype) == ctype:
            return value.name
        return self.program.let(ctype, f"static_cast<{ctype}>({value.name})", (value.name,))

    def _functor_call(self, functor: Any, method: str, values: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> Expression:
        ctype = ctype_in(dtype)
        operands = [self.operand(value, ctype) for value in (*values, *functor[1])]
        return self.let(f"{functor[0]}::{method}({', '.join(operands)})", operands, shape, dtype)


_ON_INTEGERS = {
    "add",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "square",
    "subtract",
}


def _number(x: Any) -> Any:
    """A 0-d array as its number."""
    return x[()] if isinstance(x, numpy.ndarray) and x.ndim == 0 else x


def _shape(inputs: Sequence[Any]) -> tuple[int, ...]:
    return numpy.broadcast_shapes(*(getattr(x, "shape", ()) for x in inputs))


def _dtype(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """The dtype of an op's result, by running it on ones; bfloat16, which NumPy knows little of, promotes as float16 does."""
    with numpy.errstate(all="ignore"):
        return _of_stand_ins(lambda *given: op.numpy(*given, **params).dtype, inputs)


def _of_stand_ins(dtype_of: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    bfloat16 = next((x.dtype for x in inputs if getattr(getattr(x, "dtype", None), "name", "") == "bfloat16"), None)
    half: Any = numpy.dtype(numpy.float16)
    if bfloat16 is not None and any(getattr(x, "dtype", None) == half for x in inputs):
        half = numpy.dtype(numpy.float32)  # what holds both
    dtypes = {
        id(x): half if bfloat16 is not None and x.dtype == bfloat16 else x.dtype for x in inputs if isinstance(x, Expression)
    }
    found = dtype_of(*[numpy.ones(1, dtypes[id(x)]) if isinstance(x, Expression) else x for x in inputs])
    return bfloat16 if bfloat16 is not None and found == numpy.float16 else found


def _functor(op: Op, params: dict[str, Any]) -> tuple[str, Sequence[Any], bool] | None:
    """An activation's functor, its parameters, and whether its gradient is computed from the input."""
    from ..cuda import kernels, wiring

    if op.name not in wiring.RULES or op.name not in ACTIVATIONS:
        return None
    found = wiring._functor(op.name, tuple(params.values()))
    if found is None:
        return None
    name, options = found
    return ACTIVATIONS[name], options or kernels.DEFAULTS.get(name, ()), name in kernels.FROM_INPUT


def _written(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    """An elementwise op by its functor or its CUDA text; operands are converted to the dtype of the result, as NumPy does."""
    dtype, shape = _dtype(op, inputs, params), _shape(inputs)
    functor = _functor(op, params)
    if functor is not None and is_floating(dtype):
        return F._functor_call(functor, "forward", inputs, shape, dtype)
    if op.cuda is None or storage_of(dtype) is None or (dtype.kind in "iu" and op.name not in _ON_INTEGERS):
        raise FusionError(f"it has no CUDA text for {dtype}, so {F.name} cannot be one kernel; {_ADVICE}")
    common = _of_stand_ins(numpy.result_type, inputs) if dtype.kind == "b" else dtype
    names = {name: F.operand(x, ctype_in(common)) for name, x in zip(op.inputs, inputs, strict=True)}
    operands = list(names.values())
    for name, value in params.items():
        if isinstance(value, numbers.Real):
            names[name] = F.operand(value, ctype_in(common))
            operands.append(names[name])
    return F.let(op.cuda.format(C=ctype_in(common), **names), operands, shape, dtype)


# --- ops whose text depends on more than their operands -----------------------------------------------------------


def _astype(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    (x,), dtype = inputs, numpy.dtype(params["dtype"])
    if storage_of(dtype) is None:
        raise FusionError(f"{dtype} is no dtype of the CUDA kernels")
    name = F.operand(x, ctype_in(dtype))
    if dtype.itemsize == 2 and is_floating(dtype) and x.dtype != dtype and x.dtype.kind != "b":
        name = F.program.let(ctype_in(dtype), f"rounded<{storage_of(dtype)}>({name})", (name,))
    return Expression(F, name, x.shape, dtype)


def _same(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    return Expression(F, inputs[0].name, inputs[0].shape, inputs[0].dtype)


def _zeros(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    (x,) = inputs
    return F.let(F.program.number(0, ctype_in(x.dtype)), (), x.shape, x.dtype)


def _other_shape(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    """Broadcast, which is only another place to read from; or summed, which the caller does at the end.

    Cotangents keep one number for each element of the result until then: what comes after the sum is linear.
    """
    return Expression(F, inputs[0].name, tuple(params["shape"]), inputs[0].dtype)


def _where(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    dtype = _dtype(op, inputs, params)
    operands = [F.operand(x, ctype) for x, ctype in zip(inputs, ("bool", ctype_in(dtype), ctype_in(dtype)), strict=True)]
    return F.let(str(op.cuda).format(**dict(zip(op.inputs, operands, strict=True))), operands, _shape(inputs), dtype)


def _clip(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    x = inputs[0]
    if is_floating(x.dtype):
        for name, limit in (("maximum", params["a_min"]), ("minimum", params["a_max"])):
            x = x if limit is None else getattr(F, name)(x, limit)
    elif params["a_min"] is not None or params["a_max"] is not None:
        raise FusionError(f"it has no CUDA text for {x.dtype}, so {F.name} cannot be one kernel; {_ADVICE}")
    return x


def _power(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    """Small whole powers are products, and a power of one half is a root."""
    x, y = inputs
    dtype = _dtype(op, inputs, params)
    if not is_floating(dtype) or not isinstance(y, numbers.Real) or y not in (0, 0.5, 1, 2, 3, 4, -1):
        return _written(F, op, inputs, params)
    name = F.operand(x, ctype_in(dtype))
    square = f"({name} * {name})"
    text = {0: F.operand(1.0, ctype_in(dtype)), 0.5: f"sqrt({name})", 1: name, 2: square, -1: f"1 / {name}"}
    text |= {3: f"{square} * {name}", 4: f"{square} * {square}"}
    return F.let(text[float(y)], (name,), _shape(inputs), dtype)


def _small_power(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    return _power(F, registry["power"], (inputs[0], params["n"]), {})


def _invert(F: Expressions, op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Expression:
    (x,) = inputs
    return F.let(f"{'!' if x.dtype.kind == 'b' else '~'}{x.name}", (x.name,), x.shape, x.dtype)


_SPECIAL: dict[str, Callable[..., Expression]] = {
    "alias": _same,
    "astype": _astype,
    "broadcast_to": _other_shape,
    "cast": _astype,
    "clip": _clip,
    "conjugate": _same,
    "copy": _same,
    "invert": _invert,
    "positive": _same,
    "power": _power,
    "small_power": _small_power,
    "sum_to": _other_shape,
    "where": _where,
    "zeros_of": _zeros,
}
