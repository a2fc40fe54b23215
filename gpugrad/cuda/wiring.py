"""Where the CUDA kernels come in: as the fast paths of ops on raw CuPy arrays.

`FORWARDS` has kernel forwards by the op's name, called as the op's own forward with the array library in front; `RULES` has
kernel backwards, for all inputs of a node at once. Each returns NotImplemented for what its kernels do not take: dtypes,
layouts, options, and arguments that are an error. The op's composition, or its rules, then do the work, or raise. So they
define the op; nothing here does.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from .. import half
from . import chains, kernels, optimizers, products
from .compiler import ACTIVATIONS
from .late import ClassIds
from .launcher import Launcher, real_of

__all__ = ["FORWARDS", "RULES", "forward", "has_kernels", "philox_blocks", "rules"]

FORWARDS: dict[str, Callable[..., Any]] = {}
"""``FORWARDS[name](xp, *arrays, **params)``: the result, with what the backward needs where the op has aux."""

RULES: dict[str, Callable[..., Any]] = {}
"""``RULES[name](F, node, t, saved)``: a cotangent per input, from what the node saved, by name; `F` is as for the op's rules."""


_broken: set[ModuleType] = set()
"""Libraries whose compiler refused a kernel, as where CUDA's headers are missing."""


def has_kernels(xp: ModuleType) -> bool:
    """Whether an array library compiles CUDA."""
    return hasattr(xp, "RawModule")


def _tried(call: Callable[..., Any], xp: ModuleType, *args: Any, **kwargs: Any) -> Any:
    """What a kernel form gives; NotImplemented, after a warning, where its kernel cannot be compiled."""
    if xp in _broken:
        return NotImplemented
    try:
        return call(*args, **kwargs)
    except Exception as error:
        if type(error).__name__ != "CompileException":
            raise
        _broken.add(xp)
        warnings.warn(
            f"gpugrad's CUDA kernels cannot be compiled here, and CuPy's slower functions take their place: {str(error)[:500]}\n"
            "  CUDA's headers come with `pip install gpugrad[cuda13]` (or `gpugrad[cuda12]` for a CUDA 12 driver)",
            RuntimeWarning,
            stacklevel=2,
        )
        return NotImplemented


def forward(name: str, xp: ModuleType, composition: Callable[..., Any]) -> Callable[..., Any]:
    """The forward of an op on the arrays of a library: by its kernels where they take the arguments, else the composition."""
    if name not in FORWARDS or not has_kernels(xp):
        return composition
    by_kernel = FORWARDS[name]

    def fast(*arrays: Any, **params: Any) -> Any:
        out = _tried(by_kernel, xp, xp, *arrays, **params)
        return in_their_own(*arrays, **params) if out is NotImplemented else out

    updates = name.endswith("_")  # in place, so not on casts
    in_their_own = composition if updates else functools.partial(half.in_float32, composition)
    return fast


def takes_bfloat16(name: str, xp: ModuleType) -> bool:
    """Whether an op runs by kernels, or as a product, on a library's arrays of bfloat16: both sum in float32."""
    return name in FORWARDS and has_kernels(xp) and xp not in _broken


def rules(xp: ModuleType) -> dict[str, Callable[..., Any]]:
    """The kernel backwards for the arrays of a library, by the names of ops: ``rule(F, node, t, saved)``."""
    return {name: functools.partial(_tried, rule, xp) for name, rule in RULES.items()} if has_kernels(xp) else {}


def _launch(x: Any, xp: ModuleType) -> Launcher:
    return _launcher(xp, x.data.device_id)


@functools.cache
def _launcher(xp: ModuleType, device: int) -> Launcher:
    processors = xp.cuda.runtime.getDeviceProperties(device)["multiProcessorCount"]
    return Launcher(xp, int(processors), lambda: xp.cuda.get_current_stream().ptr)


def _takes(xp: Any, *arrays: Any) -> bool:
    """Whether kernels take arrays together: C-contiguous, and of one dtype of half, single or double precision."""
    for array in arrays:
        if not isinstance(array, xp.ndarray) or array.dtype != arrays[0].dtype or not array.flags.c_contiguous:
            return False
    return arrays[0].dtype.char in "efdE"


def _packed(xp: Any, x: Any) -> Any:
    """An array that is C-contiguous; CuPy's function of that purpose would make vectors of numbers."""
    return x if x.flags.c_contiguous else xp.ascontiguousarray(x)


def _rows(x: Any, axes: int = 1) -> Any:
    """An array as a matrix, whose rows are what its last axes hold."""
    cut = x.ndim - axes
    return x.reshape(math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))


# --- activations --------------------------------------------------------------------------------------------------

_ACTIVATIONS = tuple(name for name in ACTIVATIONS if name != "gelu_tanh")
_FROM_INPUT = kernels.FROM_INPUT | {"leaky_relu", "hardtanh"}
"""Those whose op saves its input. Of these two the kernels take either: input and result lie on the same side of each kink."""


def _functor(name: str, options: Sequence[Any]) -> tuple[str, Sequence[float]] | None:
    """The kernels' name of a function with options of an op, and its parameters."""
    if name == "gelu":
        named = {(): "gelu", ("none",): "gelu", ("tanh",): "gelu_tanh"}.get(tuple(options))
        return None if named is None else (named, ())
    if not all(isinstance(option, int | float) for option in options):
        return None
    if len(options) not in (0, len(kernels.DEFAULTS.get(name, ()))):
        return None
    refused = options and (not options[0] >= 0 if name in kernels.AT_LEAST_0 else name == "celu" and options[0] == 0)
    return None if refused else (name, options)


def _activation(name: str) -> None:
    slot = "x" if name in _FROM_INPUT else "out"

    def forward(xp: Any, x: Any, *options: Any, **named: Any) -> Any:
        functor = _functor(name, (*options, *named.values()))
        if functor is None or not _takes(xp, x):
            return NotImplemented
        return kernels.activation(_launch(x, xp), functor[0], x, *functor[1])

    def rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
        xp = F.library
        functor, kept = _functor(name, tuple(node.params.values())), saved[slot]
        if functor is None or not _takes(xp, kept):
            return NotImplemented
        return (kernels.activation_backward(_launch(t, xp), functor[0], _packed(xp, t), kept, *functor[1]),)

    FORWARDS[name], RULES[name] = forward, rule


for _name in _ACTIVATIONS:
    _activation(_name)


# --- sums ---------------------------------------------------------------------------------------------------------


def _sum(xp: Any, x: Any, axis: Any = None, keepdims: bool = False, mean: bool = False) -> Any:
    """A sum, or a mean, over leading or trailing axes, or all."""
    if not isinstance(x, xp.ndarray):
        return NotImplemented
    given = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not _takes(xp, x) or x.size == 0 or not all(isinstance(a, int) and -x.ndim <= a < x.ndim for a in given):
        return NotImplemented
    axes = sorted({a % x.ndim for a in given})
    n = len(axes)
    if n != len(given) or n == 0:
        return NotImplemented
    launch, kept = _launch(x, xp), tuple(1 if i in axes else length for i, length in enumerate(x.shape))
    shape = kept if keepdims else tuple(length for i, length in enumerate(x.shape) if i not in axes)
    scale = math.prod(kept) / x.size if mean else 1.0
    if axes == list(range(x.ndim - n, x.ndim)):
        return kernels.sum_rows(launch, _rows(x, n), scale).reshape(shape)
    if axes == list(range(n)):
        return kernels.sum_columns(launch, _rows(x, x.ndim - n), scale).reshape(shape)
    return NotImplemented


def _sum_to(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    lead = getattr(x, "ndim", 0) - len(shape)
    if lead <= 0 or x.shape[lead:] != tuple(shape):
        return NotImplemented
    return _sum(xp, x, tuple(range(lead)))


FORWARDS["sum"], FORWARDS["mean"], FORWARDS["sum_to"] = _sum, functools.partial(_sum, mean=True), _sum_to


# --- softmax and cross-entropy ------------------------------------------------------------------------------------


def _softmax(name: str, log: bool) -> None:
    def forward(xp: Any, x: Any, axis: Any = -1) -> Any:
        if not _takes(xp, x) or x.size == 0 or x.ndim == 0 or axis not in (-1, x.ndim - 1):
            return NotImplemented
        return kernels.softmax(_launch(x, xp), _rows(x), log=log).reshape(x.shape)

    def rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
        xp, out = F.library, saved["out"]
        if not _takes(xp, out) or out.size == 0 or node.params["axis"] not in (-1, out.ndim - 1):
            return NotImplemented
        t = _rows(_packed(xp, t))
        return (kernels.softmax_backward(_launch(t, xp), t, _rows(out), log=log).reshape(out.shape),)

    FORWARDS[name], RULES[name] = forward, rule


_softmax("softmax", False)
_softmax("log_softmax", True)


class _Reduced(NamedTuple):
    """What a loss is a sum with: an array of one number, 1 / the rows that count, or None; and a number.

    The backward reads the logits again, which is less than to write a gradient, read and scale it.
    """

    mean: Any
    scale: float


def _cross_entropy(
    xp: Any, x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
) -> Any:
    if reduction not in ("mean", "sum", "none") or not _takes(xp, x) or x.ndim != 2 or x.size == 0:
        return NotImplemented
    if not isinstance(target, xp.ndarray) or not target.flags.c_contiguous or not 0 <= label_smoothing <= 1:
        return NotImplemented
    options: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    aux, each = _Reduced(None, 1.0), reduction == "none"
    if target.dtype.kind != "i":
        if target.dtype != x.dtype or target.shape != x.shape:
            return NotImplemented
        if reduction == "mean":
            aux = _Reduced(None, 1 / x.shape[0])
    elif target.dtype.itemsize < 4 or target.shape != x.shape[:1]:
        return NotImplemented
    else:
        if reduction == "mean":
            aux = _Reduced(xp.empty((), real_of(x.dtype)), 1.0)
        ids = ClassIds.of(xp)
        options["report"] = ids.address, ids.enter("cross_entropy", x.shape[1])
    found = kernels.cross_entropy(
        _launch(x, xp), x, target, mean=aux.mean, scale=aux.scale, losses=each, total=not each, **options
    )
    return (found.losses if each else found.total).astype(x.dtype, copy=False), aux


def _cross_entropy_rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    aux, x, params = saved["aux"], saved["x"], node.params
    if not isinstance(aux, _Reduced):
        return NotImplemented
    weights = _packed(F.library, t).astype(real_of(x.dtype), copy=False)
    options: dict[str, Any] = {"ignore_index": params["ignore_index"], "label_smoothing": params["label_smoothing"]}
    found = kernels.cross_entropy(
        _launch(x, F.library), x, saved["target"], weights=weights, mean=aux.mean, scale=aux.scale, gradient=True, **options
    )
    if node.parents[1] is None:
        return found.gradient, None
    return found.gradient, node.op.rules[1](F, t, x, params["reduction"], params["label_smoothing"])


FORWARDS["cross_entropy"], RULES["cross_entropy"] = _cross_entropy, _cross_entropy_rule


# --- normalisation ------------------------------------------------------------------------------------------------


def _norm(xp: Any, x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float | None, centered: bool) -> Any:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    given = [p for p in (weight, bias) if p is not None]
    if not _takes(xp, x, *given) or x.size == 0 or not shape or any(p.shape != shape for p in given):
        return NotImplemented
    if len(shape) > x.ndim or x.shape[x.ndim - len(shape) :] != shape:
        return NotImplemented
    eps = float(numpy.finfo(real_of(x.dtype)).eps) if eps is None else eps
    flat = [None if p is None else p.reshape(-1) for p in (weight, bias)]
    found = kernels.norm(_launch(x, xp), _rows(x, len(shape)), *flat, eps=eps, centered=centered)
    return found.y.reshape(x.shape), found._replace(y=None)


def _norm_rule(centered: bool, F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    aux, x, weight = saved["aux"], saved["x"], saved["weight"]
    if not isinstance(aux, kernels.Normalized):
        return NotImplemented
    xp, count = F.library, aux.scales.size
    rows, t, launch = x.reshape(count, -1), _packed(xp, t).reshape(count, -1), _launch(x, xp)
    wanted = [parent is not None for parent in node.parents]
    wants_weight, wants_bias = wanted[1], centered and wanted[2]
    grads: list[Any] = [None] * len(wanted)
    if wanted[0]:
        flat = None if weight is None else weight.reshape(-1)
        grads[0] = kernels.norm_backward(launch, t, rows, flat, aux.means, aux.scales).reshape(x.shape)
    if wants_weight or wants_bias:
        found = kernels.norm_backward_parameters(launch, t, rows, aux.means, aux.scales, weight=wants_weight, bias=wants_bias)
        for i, grad in enumerate(found, 1):
            if grad is not None:
                grads[i] = grad.reshape(node.parents[i].shape)
    return grads


def _layer_norm(xp: Any, x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> Any:
    return _norm(xp, x, weight, bias, normalized_shape, eps, True)


def _rms_norm(xp: Any, x: Any, weight: Any, normalized_shape: Any, eps: float | None) -> Any:
    return _norm(xp, x, weight, None, normalized_shape, eps, False)


FORWARDS["layer_norm"], RULES["layer_norm"] = _layer_norm, functools.partial(_norm_rule, True)
FORWARDS["rms_norm"], RULES["rms_norm"] = _rms_norm, functools.partial(_norm_rule, False)


# --- dropout ------------------------------------------------------------------------------------------------------


def _dropout_from(xp: Any, x: Any, state: Any, p: float = 0.5) -> Any:
    if not _takes(xp, x) or not isinstance(state, xp.ndarray) or state.dtype != numpy.uint64 or state.shape != (6,):
        return NotImplemented
    return kernels.dropout(_launch(x, xp), x, state, p)


def _dropout_from_rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    out = _dropout_from(F.library, _packed(F.library, t), saved["state"], node.params["p"])
    return out if out is NotImplemented else (out, None)


FORWARDS["dropout_from"], RULES["dropout_from"] = _dropout_from, _dropout_from_rule


def _bias_activation_dropout(xp: Any, x: Any, bias: Any, state: Any, activation: str = "relu", p: float = 0.5) -> Any:
    functor = _functor(activation, ()) if activation in _ACTIVATIONS else None
    if functor is None or not _takes(xp, x, bias) or not isinstance(state, xp.ndarray):
        return NotImplemented
    if x.ndim == 0 or x.size == 0 or bias.shape != x.shape[-1:] or state.dtype != numpy.uint64 or state.shape != (6,):
        return NotImplemented
    out = kernels.bias_activation_dropout(_launch(x, xp), functor[0], _rows(x), bias, state, p)
    return out.reshape(x.shape), None


def _bias_activation_dropout_rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    if saved["aux"] is not None:
        return NotImplemented
    x, bias, state = saved["x"], saved["bias"], saved["state"]
    functor, t = _functor(node.params["activation"], ()), _rows(_packed(F.library, t))
    assert functor is not None
    found = kernels.bias_activation_dropout_backward(
        _launch(x, F.library), functor[0], t, _rows(x), bias, state, node.params["p"]
    )
    return found[0].reshape(x.shape), found[1], None


FORWARDS["bias_activation_dropout_from"] = _bias_activation_dropout
RULES["bias_activation_dropout_from"] = _bias_activation_dropout_rule


def philox_blocks(xp: Any, counter: int, key: Sequence[int], blocks: int) -> Any:
    """The generator's blocks after a counter, on the current device."""
    if not has_kernels(xp):
        return NotImplemented
    return _tried(kernels.philox_words, xp, _launcher(xp, xp.cuda.Device().id), counter, key, blocks)


# --- products -----------------------------------------------------------------------------------------------------


def _dot(xp: Any, a: Any, b: Any) -> Any:
    out = products.product(xp, a, b)
    return _packed(xp, xp.dot(a, b)) if out is NotImplemented else out


def _linear(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    if getattr(x, "ndim", 0) < 2 or getattr(weight, "ndim", 0) != 2 or not _takes(xp, x):
        return NotImplemented
    out = products.product(xp, _rows(x), weight.T, bias)
    return out if out is NotImplemented else out.reshape(*x.shape[:-1], weight.shape[0])


def _linear_rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    """As the op's rules; the bias gradient is summed in the pass of the weight's."""
    xp, x, weight = F.library, saved["x"], saved["weight"]
    if node.parents[1] is None or t.ndim < 2 or not t.size or not _takes(xp, x) or not x.size:
        return NotImplemented
    rows = _rows(_packed(xp, t))
    grads = _affine_gradients(F, node, 1, rows, _rows(x))
    return (None if node.parents[0] is None else _dot(xp, rows, weight).reshape(x.shape), *grads)


def _affine_gradients(F: Any, node: Any, at: int, t: Any, x: Any, wants_bias: bool | None = None) -> tuple[Any, Any]:
    """Gradients of a node's inputs `at`, a weight, and behind it, a bias; None for those that are not wanted.

    A weight's may be added to its `grad` at once, and then is None too.
    """
    xp, wants_bias = F.library, node.parents[at + 1] is not None if wants_bias is None else wants_bias
    grad = sums = into = None
    if node.parents[at] is not None:
        into = _sum_so_far(F, node.parents[at], t, x)
        found = products.affine_gradients(xp, t, x, wants_bias, into)
        if found is NotImplemented and wants_bias and into is not None:
            found = products.affine_gradients(xp, t, x, False, into)
        if found is NotImplemented:
            into, found = None, (_dot(xp, t.T, x), None)
        grad, sums = found
    if wants_bias and sums is None:
        sums = kernels.sum_columns(_launch(t, xp), t)
    return grad if into is None else None, sums


def _sum_so_far(F: Any, leaf: Any, t: Any, x: Any) -> Any:
    """The gradient that a leaf has from earlier backwards, if this one is to be added, and nobody else holds the array."""
    if not F.adds or leaf.op is not None or leaf.grad is None or F.library.cuda.get_current_stream().ptr:
        return None
    array = leaf.grad._array
    alone = sys.getrefcount(leaf.grad) == 2 and sys.getrefcount(array) == 3
    fits = isinstance(array, F.library.ndarray) and array.dtype == t.dtype and array.shape == (t.shape[1], x.shape[1])
    return array if alone and fits and array.flags.c_contiguous and array.base is None else None


FORWARDS["mm"] = FORWARDS["matmul"] = products.product
FORWARDS["linear"], RULES["linear"] = _linear, _linear_rule


# --- linear layers ------------------------------------------------------------------------------------------------


class _Layers(NamedTuple):
    """The results of all layers, as matrices, and what entered each GELU, or a mask for a ReLU if there is one."""

    values: list[Any]
    kept: list[Any]


def _layers_fit(xp: Any, arrays: Sequence[Any], activations: Sequence[str | None]) -> bool:
    x = arrays[0]
    if not _takes(xp, *(a for a in arrays if a is not None)) or x.ndim < 2:
        return False
    if any(name not in (None, "relu", "tanh", "sigmoid", "gelu_tanh") for name in activations):
        return False
    width, sizes = x.shape[-1], x.size
    for weight, bias in zip(arrays[1::2], arrays[2::2], strict=True):
        if (
            weight is None
            or weight.ndim != 2
            or weight.shape[1] != width
            or (bias is not None and bias.shape != weight.shape[:1])
        ):
            return False
        width, sizes = weight.shape[0], sizes * weight.size
    return sizes > 0


def _linear_layers(xp: Any, *arrays: Any, activations: Sequence[str | None]) -> Any:
    if not _layers_fit(xp, arrays, activations):
        return NotImplemented
    x, launch = _rows(arrays[0]), _launch(arrays[0], xp)
    values: list[Any] = []
    kept: list[Any] = []
    for name, weight, bias in zip(activations, arrays[1::2], arrays[2::2], strict=True):
        fused, entered = products.activated(xp, x, weight, bias, name), None
        if fused is not NotImplemented:
            x, entered = fused
        elif name is None or name in kernels.FROM_INPUT:
            x = _dot(xp, x, weight.T)
            if bias is not None:
                x += bias
            if name is not None:
                entered, x = x, kernels.activation(launch, name, x)
        else:
            x = _dot(xp, x, weight.T)
            if bias is None:
                kernels.activation(launch, name, x, out=x)
            else:
                kernels.bias_activation(launch, name, x, bias, out=x)
        values.append(x)
        kept.append(entered)
    return x.reshape(*arrays[0].shape[:-1], x.shape[1]), _Layers(values, kept)


def _linear_layers_rule(F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    """As the composition's rule; an activation's backward is part of the product before it, or is written over the cotangent."""
    aux, arrays, activations = saved["aux"], saved["arrays"], node.params["activations"]
    if not isinstance(aux, _Layers):
        return NotImplemented
    xp, values = F.library, aux.values
    wanted = [parent is not None for parent in node.parents]
    grads: list[Any] = [None] * len(wanted)
    t, fresh, done = _packed(xp, t).reshape(values[-1].shape), False, False
    for i in range(len(activations) - 1, -1, -1):
        at, name = 2 * i + 1, activations[i]
        if name is not None and not done:
            t, grads[at + 1] = _through_activation(xp, t, i, aux, name, arrays[at + 1], wanted[at + 1], fresh)
        needs = wanted[at + 1] and grads[at + 1] is None
        grads[at], sums = _affine_gradients(F, node, at, t, values[i - 1] if i else _rows(arrays[0]), needs)
        grads[at + 1] = sums if needs else grads[at + 1]
        if not any(wanted[:at]):
            return grads
        below, done = NotImplemented, False
        if i and activations[i - 1] is not None and aux.kept[i - 1] is not None:
            below = products.through_activation(xp, t, arrays[at], activations[i - 1], aux.kept[i - 1], wanted[at - 1])
        if below is NotImplemented:
            t = _dot(xp, t, arrays[at])
        else:
            (t, grads[at - 1]), done = below, True
        fresh = True
    grads[0] = t.reshape(arrays[0].shape)
    return grads


def _through_activation(xp: Any, t: Any, i: int, aux: _Layers, name: str, bias: Any, wants_bias: bool, fresh: bool) -> Any:
    """The cotangent of what enters an activation, and that of its bias or None; written over `t` where that is `fresh`."""
    launch, over = _launch(t, xp), t if fresh else None
    if name in kernels.FROM_INPUT:
        return kernels.activation_backward(launch, name, t, aux.kept[i], out=over), None
    if wants_bias:
        return kernels.bias_activation_backward(launch, name, t, aux.values[i], bias, out=over)
    return kernels.activation_backward(launch, name, t, aux.values[i], out=over), None


FORWARDS["linear_layers"], RULES["linear_layers"] = _linear_layers, _linear_layers_rule
FORWARDS["chain"], RULES["chain"] = functools.partial(chains.forward, _launch), functools.partial(chains.rule, _launch)


# --- optimisers' steps --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _number(xp: Any, device: int, stream: int, value: float) -> Any:
    """A number in device memory, written by a kernel, so that nobody waits; the learning rate's stays from step to step."""
    return xp.full((1,), value, numpy.float64)


_tables: OrderedDict[Any, optimizers.TensorTable] = OrderedDict()
"""Tables of the last steps by the addresses in them: gradients mostly come to lie where they lay before."""


def _step(states: int, step: Callable[..., None], numbers: int) -> Callable[..., Any]:
    """The kernel form of an optimiser's op: `numbers` of its inputs are numbers, then come runs of arrays."""

    def forward(xp: Any, *inputs: Any, **options: Any) -> Any:
        tensors = inputs[numbers:]
        if not tensors or not _takes(xp, *tensors):
            return NotImplemented
        n = len(tensors) // (2 + states)
        runs = [tensors[i * n : (i + 1) * n] for i in range(2 + states)]
        if any(a.shape != p.shape for run in runs for a, p in zip(run, runs[0], strict=True)):
            return NotImplemented
        launch = _launch(tensors[0], xp)
        device, stream = tensors[0].data.device_id, xp.cuda.get_current_stream().ptr
        scalars = [_number(xp, device, stream, float(value)) for value in inputs[:numbers]]
        key = (xp, device, stream, states, tensors[0].dtype, *((a.data.ptr, a.size) for a in tensors))
        table = _tables.pop(key, None) or optimizers.tensor_table(launch, *runs)._replace(arrays=())
        _tables[key] = table
        if len(_tables) > 32:
            _tables.popitem(last=False)
        step(launch, table, *scalars, **options)
        return None

    return forward


FORWARDS["sgd_"] = _step(0, optimizers.sgd, 1)
FORWARDS["sgd_momentum_"] = _step(1, optimizers.sgd_momentum, 2)
FORWARDS["adam_"] = _step(2, optimizers.adam, 2)
FORWARDS["amsgrad_"] = _step(3, optimizers.adam, 2)
