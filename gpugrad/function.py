"""User-defined functions with a forward and a backward of their own, after the lectures' gates."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import backend, half
from .dispatch import NO_PARAMS, tensor_of
from .errors import GradientError, ShapeError, describe, format_site, user_site
from .interpret import TENSORS
from .modes import current_mode, mode_with
from .mutations import next_index
from .parts import Parts, has_parts, pick
from .tape import Node, conjugate
from .tensor import Tensor, asarray, wrap

__all__ = ["Context", "Function"]


class Context:
    """What a forward keeps for its backward.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        Per argument of `apply`, whether a gradient for it is wanted.
    saved_tensors : tuple of Tensor
        What `save_for_backward` got.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep Tensors (or None) for the backward. Other things may be set as attributes of the context."""
        for value in tensors:
            if value is not None and not isinstance(value, Tensor):
                raise GradientError(
                    f"save_for_backward takes Tensors, got {describe(value)}; set other values as attributes: ctx.name = value"
                )
        # Tensors of their own: the user's may move on, by x += 1.
        self.saved_tensors = tuple([None if value is None else tensor_of(value._array, value._node) for value in tensors])


class _FunctionOp:
    """Stands in a node's `op` for a Function class."""

    kind = "function"
    variadic = True
    inputs: tuple[str, ...] = ()
    jvp = None

    def __init__(self, cls: type[Function]) -> None:
        self.cls, self.name = cls, cls.__name__
        self.push = getattr(cls, "_push", None)


class Function:
    """A differentiable operation of your own: a static `forward` and `backward`, called through `apply`.

    `forward(ctx, *args)` gets Tensors and returns one, or a tuple; nothing in it is recorded. `backward(ctx, *grads)` gets the
    upstream gradient of each result and returns one gradient per argument of `apply` (None where there is none). It is
    written in differentiable operations, so it can be differentiated again. The interface is PyTorch's `torch.autograd.Function`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> class Multiply(gg.Function):
    ...     @staticmethod
    ...     def forward(ctx, x, y):
    ...         ctx.save_for_backward(x, y)
    ...         z = x * y
    ...         return z
    ...     @staticmethod
    ...     def backward(ctx, grad_z):
    ...         x, y = ctx.saved_tensors
    ...         grad_x = y * grad_z  # dz/dx * dL/dz
    ...         grad_y = x * grad_z  # dz/dy * dL/dz
    ...         return grad_x, grad_y
    >>> x = gg.tensor(3.0, requires_grad=True)
    >>> y = gg.tensor(-4.0, requires_grad=True)
    >>> Multiply.apply(x, y).backward()
    >>> x.grad, y.grad
    (tensor(-4.), tensor(3.))
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the result, or a tuple of results. To be overridden."""
        raise NotImplementedError("a Function needs a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Any:
        """The gradient of each argument, from that of the result, or of each result. To be overridden."""
        raise NotImplementedError("a Function needs a static method backward(ctx, grad)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the function on some arguments and record it."""
        parents = tuple(a._node if isinstance(a, Tensor) else None for a in args)
        wanted = current_mode().grad and any(p is not None for p in parents)
        ctx = Context(tuple(wanted and p is not None for p in parents))
        with mode_with(grad=False):
            out = cls.forward(ctx, *args)
        several = isinstance(out, tuple)
        outs = tuple(map(asarray, out if several else (out,)))
        if not wanted:
            return outs if several else outs[0]
        results = tuple(wrap(out._array) for out in outs)
        node = Node()
        node.index, node.op, node.params, node.parents = next_index(), _FunctionOp(cls), NO_PARAMS, parents
        node.site = user_site()
        if several:
            node.shape, node.dtype = tuple(out.shape for out in outs), tuple(out.dtype for out in outs)
        else:
            node.shape, node.dtype = outs[0].shape, outs[0].dtype
        for i, result in enumerate(results):
            result._node = None if not half.is_inexact(result.dtype) else pick(node, i) if several else node
        by_array: dict[int, Any] = {id(a._array): p for a, p in zip(args, parents, strict=True) if isinstance(a, Tensor)} | {
            id(out._array): _Out(i) for i, out in enumerate(outs)
        }
        saved, ctx.saved_tensors = ctx.saved_tensors, ()
        node.saved = tuple(None if value is None else value._array for value in saved)
        sources = tuple(None if value is None else by_array.get(id(value._array)) for value in saved)
        node.pullback = _FunctionPullback(cls, ctx, parents, sources, node.site)
        return results if several else results[0]


class _Out(NamedTuple):
    """Marks a saved tensor that is a result itself; its node would make a cycle."""

    number: int


class _FunctionPullback:
    """Calls a Function's backward with Tensors, whatever the walk runs under."""

    def __init__(self, cls: type[Function], ctx: Context, parents: tuple[Any, ...], sources: tuple[Any, ...], site: Any) -> None:
        self.cls, self.ctx, self.parents, self.sources, self.site = cls, ctx, parents, sources, site

    def call(self, F: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of the arguments: raw under raw `F`, where `saved` are raw arrays, else Tensors."""
        ctx = self.ctx
        ctx.saved_tensors = tuple(None if v is None else wrap(v) for v in saved) if F.raw else saved
        try:
            with mode_with(grad=current_mode().grad and not F.raw):
                given = t.filled(F) if isinstance(t, Parts) else (t,)
                given = tuple(None if g is None else conjugate(F, g) for g in given)
                grads = self.cls.backward(ctx, *[wrap(g) if F.raw and g is not None else g for g in given])
        finally:
            ctx.saved_tensors = ()
        grads = grads if isinstance(grads, tuple | list) else (grads,)
        if len(grads) != len(self.parents):
            raise GradientError(
                f"{self.cls.__name__}.backward returned {len(grads)} gradient(s) for {len(self.parents)} argument(s) of apply; "
                f"return None for an argument without one\n  apply was called at {format_site(self.site)}"
            )
        return tuple(self._checked(i, g, parent, F.raw) for i, (g, parent) in enumerate(zip(grads, self.parents, strict=True)))

    def _checked(self, i: int, g: Any, parent: Node | None, raw: bool) -> Any:
        if g is None or parent is None:
            return None
        g = asarray(g)
        if g.shape != parent.shape:
            raise ShapeError(
                f"{self.cls.__name__}.backward returned a gradient of shape {g.shape} for argument {i}, which has shape "
                f"{parent.shape}\n  apply was called at {format_site(self.site)}"
            )
        g = conjugate(TENSORS, g)
        return backend.copied(g._array) if raw else g  # a backward may return an array that it saved, or one array twice

    def restore(self, node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The saved arrays as the Tensors they were, connected to the tape."""
        return tuple(
            None if value is None else tensor_of(value, self._source(node, source))
            for value, source in zip(saved, self.sources, strict=True)
        )

    @staticmethod
    def _source(node: Node, source: Any) -> Any:
        if not isinstance(source, _Out):
            return source
        return pick(node, source.number) if has_parts(node) else node
