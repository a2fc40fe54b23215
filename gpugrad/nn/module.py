"""Module: parameters and modules found among an object's attributes. No registration, no metaclass, no hooks to learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy
from numpy.typing import DTypeLike

from .. import backend
from ..errors import CheckpointError, describe
from ..ops.updates import assign_
from ..tape import leaf, no_grad
from ..tensor import Tensor, asarray, wrap

__all__ = ["Buffer", "Module", "Parameter"]

AnyModule = TypeVar("AnyModule", bound="Module")


class Parameter(Tensor):
    """A Tensor that a module trains: a leaf that requires a gradient.

    Parameters
    ----------
    data : array or Tensor
        Shared, not copied. Python numbers and lists get the default dtype.
    requires_grad : bool

    Examples
    --------
    >>> from gpugrad import nn
    >>> nn.Parameter([1.0, 2.0])
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any, requires_grad: bool = True) -> Parameter:
        """Wrap an array, without a copy."""
        self = object.__new__(cls)
        self._array, self._node = asarray(data)._array, None
        if requires_grad:
            self.requires_grad_()
        return self


class Buffer(Tensor):
    """A Tensor that belongs to a module's state, and is not trained: a running mean, say.

    Examples
    --------
    >>> from gpugrad import nn
    >>> nn.Buffer([0.0])
    tensor([0.])
    """

    __slots__ = ()

    def __new__(cls, data: Any) -> Buffer:
        """Wrap an array, without a copy."""
        self = object.__new__(cls)
        self._array, self._node = asarray(data)._array, None
        return self


class Module:
    """Base of all layers and models: define `forward`, and keep parameters and modules as attributes.

    Attributes that are a `Parameter`, a `Buffer` or a `Module` are found when they are needed, in the order in which they
    were set; names in `state_dict` are PyTorch's.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden = nn.Linear(3, 4)
    ...         self.out = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.out(gg.relu(self.hidden(x)))
    >>> net = Net()
    >>> net(gg.zeros((5, 3))).shape
    (5, 2)
    >>> list(net.state_dict())
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. To be overridden."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`."""
        return self.forward(*args, **kwargs)

    # --- what it is made of ---

    def children(self) -> Iterator[tuple[str, Module]]:
        """Names and modules directly inside this one."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self._named_modules("", set()))

    def _named_modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.children():
            yield from child._named_modules(f"{prefix}{name}.", seen)

    def _named(self, kinds: Any) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for prefix, module in self._named_modules("", set()):
            for name, value in vars(module).items():
                if isinstance(value, kinds) and id(value) not in seen:
                    seen.add(id(value))
                    yield prefix + name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters, of this module and all inside it, each once."""
        return self._named(Parameter)  # type: ignore[return-value]

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Names and buffers."""
        return self._named(Buffer)  # type: ignore[return-value]

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        body = "".join(f"\n  {line}" for line in lines) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({body})"

    def extra_repr(self) -> str:
        """What the repr shows between the parentheses."""
        return ""

    # --- its mode and place ---

    def train(self: AnyModule, mode: bool = True) -> AnyModule:
        """Set training mode, here and in all modules inside."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: AnyModule) -> AnyModule:
        """Set evaluation mode, here and in all modules inside."""
        return self.train(False)

    def requires_grad_(self: AnyModule, value: bool = True) -> AnyModule:
        """Make all parameters require gradients, or none: freezing."""
        for parameter in self.parameters():
            parameter.requires_grad_(value)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self: AnyModule, device: str | None = None, dtype: DTypeLike | None = None) -> AnyModule:
        """Move parameters and buffers to a device, and floating ones to a dtype, in place; gradients are forgotten."""
        target = backend.resolve_device(device) if device is not None else None
        for _, tensor in self._named((Parameter, Buffer)):
            array = tensor._array if target is None else backend.to_device(tensor._array, target)
            if dtype is not None and array.dtype.kind == "f":
                with backend.on_device_of(array):
                    array = array.astype(numpy.dtype(dtype), copy=False)
            tensor._array = array
            if tensor._node is not None:
                tensor._node = leaf(array)
        return self

    def cpu(self: AnyModule) -> AnyModule:
        """Move parameters and buffers to the CPU, in place."""
        return self.to("cpu")

    def cuda(self: AnyModule, device: str | int = "cuda") -> AnyModule:
        """Move parameters and buffers to a GPU, in place: the current one, or that of a name or number."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    # --- its state ---

    def state_dict(self) -> dict[str, Tensor]:
        """Names and values of parameters and buffers, sharing memory with them."""
        names: dict[str, Tensor] = {}
        for prefix, module in self._named_modules("", set()):
            for name, value in vars(module).items():
                if isinstance(value, Parameter | Buffer):
                    names[prefix + name] = wrap(value._array)
        return names

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copy values into parameters and buffers.

        Everything is checked before anything is copied: a state that does not fit leaves the module as it was.

        Parameters
        ----------
        state : mapping of str to array or Tensor
        strict : bool
            Whether names that are missing or unexpected are an error; other shapes and kinds of dtype always are. Values of the
            same kind are cast to the parameter's dtype.

        Returns
        -------
        missing, unexpected : lists of str

        Raises
        ------
        CheckpointError
            If the state does not fit; it lists every name that does not.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems = [f"missing: {name}, {describe(own[name])}" for name in missing if strict]
        problems += [f"unexpected: {name}" for name in unexpected if strict]
        values: dict[str, Tensor] = {}
        for name, target in own.items():
            if name in missing:
                continue
            values[name] = value = asarray(state[name])
            if value.shape != target.shape:
                problems.append(f"shape: {name} is {target.shape}, the state has {value.shape}")
            elif not numpy.can_cast(value.dtype, target.dtype, "same_kind"):
                problems.append(f"dtype: {name} is {target.dtype}, the state has {value.dtype}")
        if problems:
            raise CheckpointError(f"the state does not fit {type(self).__name__}; nothing was loaded\n  " + "\n  ".join(problems))
        with no_grad():
            for name, value in values.items():
                assign_(own[name], value.to(own[name].device))
        return missing, unexpected
