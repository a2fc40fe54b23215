"""What a call of a module does beside `forward`: hooks, and saying in an error which module it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import GpugradError, GradientError, describe
from ..function import Context, Function
from ..modes import current_mode
from ..parts import Parts
from ..tape import Node
from ..tensor import Tensor
from ..tree import flatten

if TYPE_CHECKING:
    from .module import Module

__all__ = ["Hook", "say_where", "through_hooks"]


class Hook(NamedTuple):
    """A function that a module calls: `kind` is when."""

    kind: str
    function: Callable[..., Any]
    with_kwargs: bool = False


def _hooks(module: Module, kind: str) -> list[Hook]:
    return [hook for hook in module._hooks.values() if hook.kind == kind]


def through_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``module.forward(*args, **kwargs)`` with the module's hooks around it."""
    for hook in _hooks(module, "before"):
        if hook.with_kwargs:
            changed = hook.function(module, args, kwargs)
            args, kwargs = (args, kwargs) if changed is None else changed
        else:
            changed = hook.function(module, args)
            args = args if changed is None else changed if isinstance(changed, tuple) else (changed,)
    backward = current_mode().grad and (_hooks(module, "backward") or _hooks(module, "before backward"))
    crossing = _Crossing(module) if backward else None
    if crossing is not None:
        args = crossing.enter(args)
    output = module.forward(*args, **kwargs)
    for hook in _hooks(module, "after"):
        given = (args, kwargs, output) if hook.with_kwargs else (args, output)
        changed = hook.function(module, *given)
        output = output if changed is None else changed
    return output if crossing is None else crossing.leave(output)


# --- backward hooks -----------------------------------------------------------------------------------------------


class _Crossing:
    """One call of a module with backward hooks: its inputs, and its outputs, each pass the tape together."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.inputs, self.outputs = _Places([], 0), _Places([], 0)
        self.grad_output: tuple[Any, ...] | None = None

    def enter(self, args: tuple[Any, ...]) -> Any:
        """The arguments, passed on by `_Entrance` where they need gradients."""
        args, self.inputs = _passed(_Entrance, self, args)
        return args

    def leave(self, output: Any) -> Any:
        """The output, passed on by `_Exit`."""
        output, self.outputs = _passed(_Exit, self, output)
        return output

    def begin(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the outputs after the hooks before a backward."""
        for hook in _hooks(self.module, "before backward"):
            grads = self.outputs.changed(grads, hook, hook.function(self.module, self.outputs.spread(grads)))
        self.grad_output = self.outputs.spread(grads)
        if not self.inputs.numbers:  # nothing before this module waits for a gradient
            self.end(())
        return grads

    def end(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the inputs after the hooks after a backward."""
        if self.grad_output is None:  # a second backward came to the inputs, and not by way of the outputs
            return grads
        for hook in _hooks(self.module, "backward"):
            grads = self.inputs.changed(grads, hook, hook.function(self.module, self.inputs.spread(grads), self.grad_output))
        self.grad_output = None
        return grads


class _Places(NamedTuple):
    """Which of several values get gradients."""

    numbers: list[int]
    size: int

    def spread(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients at their places among all values, with None elsewhere: as a hook sees them."""
        found = dict(zip(self.numbers, grads, strict=True))
        return tuple(found.get(i) for i in range(self.size))

    def changed(self, grads: tuple[Any, ...], hook: Hook, returned: Any) -> tuple[Any, ...]:
        """Gradients, or what a hook returned in their place."""
        if returned is None:
            return grads
        returned = returned if isinstance(returned, tuple) else (returned,)
        name = getattr(hook.function, "__qualname__", hook.function)
        if len(returned) != self.size:
            raise GradientError(f"the backward hook {name} returned {len(returned)} gradient(s) in place of {self.size}")
        if any(g is not None and i not in self.numbers for i, g in enumerate(returned)):
            raise GradientError(f"the backward hook {name} returned a gradient for what gets none; return None there")
        return tuple(returned[i] for i in self.numbers)


_NOTHING = object()


def _passed(function: type[Function], crossing: _Crossing, values: Any) -> tuple[Any, _Places]:
    """Values, nested as they are, of which those that need gradients went through a function."""
    several = values if isinstance(values, tuple) else (values,)
    leaves, rebuild = flatten([_NOTHING if value is None else value for value in several])  # None has its place too
    numbers = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf._node is not None]
    if numbers:
        for i, passed in zip(numbers, function.apply(crossing, *[leaves[i] for i in numbers]), strict=True):
            leaves[i] = passed
    several = tuple(None if value is _NOTHING else value for value in rebuild(leaves))
    if not isinstance(values, tuple):
        return several[0], _Places(numbers, len(leaves))
    return type(values)(*several) if hasattr(values, "_fields") else several, _Places(numbers, len(leaves))


class _Entrance(Function):
    """Arguments as they are; in the backward, the last of the module."""

    @staticmethod
    def forward(ctx: Context, crossing: _Crossing, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Pass them on."""
        ctx.done = crossing.end  # type: ignore[attr-defined]
        return tensors

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> tuple[Any, ...]:
        """Call the hooks, on copies: a gradient may be on its way to others too."""
        return None, *ctx.done(tuple(g.clone() for g in grads))  # type: ignore[attr-defined]

    @staticmethod
    def _push(node: Node, tangents: list[Any]) -> Parts:
        """In forward mode, tangents go through: hooks see gradients only."""
        return Parts(tuple(tangents[1:]), node.shape, node.dtype)


class _Exit(_Entrance):
    """Outputs as they are; in the backward, the first of the module."""

    @staticmethod
    def forward(ctx: Context, crossing: _Crossing, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Pass them on."""
        ctx.done = crossing.begin  # type: ignore[attr-defined]
        return tensors


# --- errors -------------------------------------------------------------------------------------------------------


class _Where(NamedTuple):
    """Which module an error came from: the path to it, from the last module that it has passed."""

    message: str
    innermost: Module
    passed: Module
    path: str


def say_where(error: GpugradError, module: Module) -> None:
    """Say in its message from which module's forward an error comes; the path grows as the error passes the modules around."""
    where: _Where | None = getattr(error, "where", None)
    if where is None:
        where = _Where(str(error), module, module, "")
    elif where.passed is not module:
        found = next((name for name, inside in module.named_modules() if inside is where.passed), type(where.passed).__name__)
        where = where._replace(passed=module, path=f"{found}.{where.path}" if where.path else found)
    error.where = where  # type: ignore[attr-defined]
    inner = where.innermost
    shown = type(inner).__name__ if any(True for _ in inner.children()) else repr(inner)
    text = f"{where.message}\n  in {f'module {where.path}: ' if where.path else ''}{shown}"
    own = {name: value for name, value in inner.named_parameters() if "." not in name}
    for name, value in own.items():
        text += f"\n    {where.path + '.' if where.path else ''}{name} = {describe(value).removesuffix(', requires_grad')}"
    error.args = (text,)
