"""Hooks: functions that a tensor calls with its gradient in a backward, and what takes them off again.

Nobody pays for hooks but those who have some: a node's are in a slot that is empty until the first, and a walk looks for
hooked nodes only once there has been one in this process.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import backend, dispatch, tape
from .dispatch import as_tensor, tensor_of
from .errors import GradientError, ShapeError, describe, format_site, user_site
from .modes import mode_with
from .parts import Lifted
from .tape import Node

__all__ = ["RemovableHandle", "hook_gradient", "move_hooks"]

Hook = Callable[[Any], Any]
_next_key = itertools.count().__next__


class RemovableHandle:
    """What registering a hook returns: `remove` takes the hook off; as a context manager, at the end of the block.

    >>> import gpugrad as gg
    >>> x = gg.tensor(3.0, requires_grad=True)
    >>> with x.register_hook(lambda gradient: 10 * gradient):
    ...     (x * x).backward()
    >>> (x * x).backward()
    >>> x.grad
    tensor(66.)
    """

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks, self._key = hooks, _next_key()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook off; nothing where that was done before."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()


def hook_gradient(tensor: Any, hook: Hook) -> RemovableHandle:
    """Have every walk that reaches a tensor call ``hook(gradient)``; see `Tensor.register_hook`."""
    node = tensor._node
    if node is None:
        raise GradientError(
            f"register_hook: no gradient will reach {describe(tensor)}, which requires none\n  at {format_site(user_site())}"
        )
    return RemovableHandle(_hooks_of(node), hook)


def move_hooks(old: Node, new: Node) -> None:
    """Let the hooks of a leaf be those of the node that takes its place; their handles still remove them."""
    hooks = getattr(old, "hooks", None)
    if hooks:
        new.hooks = hooks
        _hooked.nodes.add(new)


def _hooks_of(node: Node) -> dict[int, Hook]:
    hooks: dict[int, Hook] | None = getattr(node, "hooks", None)
    if hooks is None:
        hooks = node.hooks = {}
        _hooked.nodes.add(node)
        tape.hooked = _hooked
    return hooks


class _Hooked:
    """What `walk` asks: whether there are hooked nodes, and to run their hooks."""

    def __init__(self) -> None:
        self.nodes: weakref.WeakSet[Node] = weakref.WeakSet()

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def rules(self, F: Any) -> Any:
        """The interpreter, with hooks; itself if there are none."""
        return _HookedRules(F) if self.nodes else F

    @staticmethod
    def finish(found: dict[Node, Any], borrowed: set[Node]) -> None:
        """Run the hooks of those nodes where a walk ended."""
        for node in found:
            if getattr(node, "hooks", None):
                found[node] = _hooked_cotangent(node, found[node])
                borrowed.add(node)  # the hook may have kept what it returned


_hooked = _Hooked()


class _HookedRules:
    """An interpreter that runs the hooks of a node before its rules."""

    raw = False  # so that the walk calls `pull`

    def __init__(self, F: Any) -> None:
        self._F = F

    def __getattr__(self, name: str) -> Any:
        return getattr(self._F, name)

    def pull(self, node: Node, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The cotangents of a node's inputs."""
        if getattr(node, "hooks", None):
            t = _hooked_cotangent(node, t)
        F = self._F.beside(t) if self._F.raw and backend.libraries else self._F
        grads: tuple[Any, ...] = F.pull(node, pullback, t, saved)
        return grads


def _hooked_cotangent(node: Node, t: Any) -> Any:
    """A cotangent after the hooks of its node, which see and return gradients as users do: Tensors, conjugate where complex.

    On raw arrays each gets a copy, since the array may be on its way to other nodes too.
    """
    if isinstance(t, Lifted):
        return t.each(lambda one: _hooked_cotangent(node, one))
    raw = not isinstance(t, dispatch.Tensor)
    for hook in list(node.hooks.values()):
        if raw:
            with backend.on_device_of(t):
                given = tensor_of(t.copy())
        else:
            given = t
        try:
            if raw:
                with mode_with(grad=False):
                    returned = hook(given.conj() if node.dtype.kind == "c" else given)
            else:
                returned = hook(given.conj() if node.dtype.kind == "c" else given)
            if returned is not None:
                returned = as_tensor(returned)
                if returned.shape != t.shape:
                    raise ShapeError(f"it returned a gradient of shape {returned.shape} in place of one of {t.shape}")
                returned = returned.conj() if node.dtype.kind == "c" else returned
                returned = returned if returned.dtype == node.dtype else returned.astype(node.dtype)
                t = returned._array if raw else returned
        except Exception as error:
            raise _failed(node, hook, error) from error
    return t


def _failed(node: Node, hook: Hook, error: Exception) -> GradientError:
    """The error for a hook that raised, or returned what does not fit."""
    cause = str(error) if isinstance(error, ShapeError) else f"{type(error).__name__}: {error}"
    of = "a leaf" if node.op is None else f"the result of {node.op.name}"
    return GradientError(
        f"the hook {getattr(hook, '__qualname__', hook)} on the gradient of {of} failed: {cause}"
        f"\n  that is {node.dtype}{list(node.shape)}, made\n  at {format_site(node.site)}"
    )
