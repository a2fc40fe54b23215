"""Module: parameters and modules found among an object's attributes. No registration, no metaclass."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy
from numpy.typing import DTypeLike

from .. import backend, half
from ..dtypes import can_cast
from ..errors import CheckpointError, DTypeError, GpugradError, describe, format_site, user_site
from ..hooks import RemovableHandle, move_hooks
from ..modes import no_grad
from ..ops.updates import assign_
from ..tape import leaf
from ..tensor import Tensor, asarray, wrap
from . import calls

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

    With ``persistent=False`` it moves with the module, and is left out of its `state_dict`.

    Examples
    --------
    >>> from gpugrad import nn
    >>> nn.Buffer([0.0])
    tensor([0.])
    """

    __slots__ = ()

    def __new__(cls, data: Any, persistent: bool = True) -> Buffer:
        """Wrap an array, without a copy."""
        self: Buffer = object.__new__(cls if persistent else _Transient)
        self._array, self._node = asarray(data)._array, None
        return self


class _Transient(Buffer):
    """A Buffer that is not saved: a class, so that copies and pickles know it."""

    __slots__ = ()


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` found in one place and not in the other."""

    missing_keys: list[str]
    unexpected_keys: list[str]


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
    _hooks: dict[int, calls.Hook] = MappingProxyType({})  # type: ignore[assignment]
    _some_hooked = False
    """Whether any module of the process has had a hook: where none has, nobody looks for them."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. To be overridden."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`, and the hooks if there are any."""
        try:
            if self._hooks:
                return calls.through_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except GpugradError as error:
            calls.say_where(error, self)
            raise

    # --- its attributes ---

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter | Buffer | Module):
            value = self._successor(name, old, value)
        elif isinstance(value, list | tuple | dict) and not name.startswith("_"):
            self._warn_of_hidden(name, value)
        object.__setattr__(self, name, value)

    def _successor(self, name: str, old: Any, value: Any) -> Any:
        """What may take the place of a parameter, a buffer or a module: its like, or None; arrays become buffers."""
        if value is None or isinstance(value, Parameter | Buffer | Module):
            return value
        what = f"{type(self).__name__}.{name}"
        if isinstance(old, Buffer) and hasattr(value, "dtype"):
            buffer = type(old)(value)
            buffer._node = getattr(value, "_node", None)
            return buffer
        if isinstance(old, Module):
            raise DTypeError(f"{what} is a module, {type(old).__name__}; it cannot become {_shown(value)}\n  at {_here()}")
        raise DTypeError(
            f"{what} is a {type(old).__name__}, {describe(old)}; it cannot become {_shown(value)}\n"
            f"  to change its values: with gg.no_grad(): module.{name}[...] = values; "
            f"to replace it: module.{name} = nn.{type(old).__name__.lstrip('_')}(values)\n  at {_here()}"
        )

    def _warn_of_hidden(self, name: str, value: Any) -> None:
        """Warn of modules and parameters in a plain list or dict, where nobody will find them."""
        inside = next(
            (v for v in (value.values() if isinstance(value, dict) else value) if isinstance(v, Module | Parameter)), None
        )
        if inside is not None:
            kind = "Module" if isinstance(inside, Module) else "Parameter"
            made = "Dict" if isinstance(value, dict) else "List"
            warnings.warn(
                f"the parameters in {type(self).__name__}.{name}, a {type(value).__name__}, will not be found: use "
                f"nn.{kind}{made}, or a name that begins with _ if that is meant",
                UserWarning,
                stacklevel=3,
            )

    if not TYPE_CHECKING:  # else every attribute would seem to exist

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that raised AttributeError itself: let that be seen
                return object.__getattribute__(self, name)
            near = [] if name.startswith("__") else difflib.get_close_matches(name, dir(self), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Set an attribute that is a `Buffer`, or None: ``self.name = nn.Buffer(tensor, persistent)``."""
        setattr(self, self._new_name(name), None if tensor is None else Buffer(tensor, persistent))

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set an attribute that is a `Parameter`, or None."""
        if not (param is None or isinstance(param, Parameter)):
            raise DTypeError(f"register_parameter({name!r}) takes a Parameter, got {describe(param)}\n  at {_here()}")
        setattr(self, self._new_name(name), param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set an attribute that is a module, or None."""
        if not (module is None or isinstance(module, Module)):
            raise DTypeError(f"add_module({name!r}) takes a module, got {_shown(module)}\n  at {_here()}")
        setattr(self, self._new_name(name), module)

    def _new_name(self, name: str) -> str:
        taken = hasattr(self, name) and not isinstance(getattr(self, name), Parameter | Buffer | Module | None)
        if not isinstance(name, str) or not name or "." in name or taken:
            why = "is an attribute already" if taken else "is no name: text without a dot is wanted"
            raise KeyError(f"{type(self).__name__}: {name!r} {why}")
        return name

    # --- what it is made of ---

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and modules directly inside this one, each once."""
        seen: set[int] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one."""
        return (module for _, module in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Paths and modules, of this one (under ``""``) and all inside it, each once: ``"encoder.0"``."""
        return ((prefix.removesuffix("."), module) for prefix, module in self._named_modules("", set()))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self._named_modules("", set()))

    def _named_modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
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

    def buffers(self) -> Iterator[Buffer]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def _at(self, path: str, kind: Any) -> Any:
        """What is at a path; AttributeError, with the part of it that is wrong, where that is not of a kind."""
        value: Any = self
        for name in path.split(".") if path else ():
            try:
                value = getattr(value, name)
            except AttributeError as error:
                raise AttributeError(f"{path!r}: {error}") from None
        if not isinstance(value, kind):
            raise AttributeError(f"{path!r} is no {kind.__name__}: {_shown(value)}")
        return value

    def get_submodule(self, target: str) -> Module:
        """The module at a path: ``net.get_submodule("encoder.0")``."""
        module: Module = self._at(target, Module)
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path: ``net.get_parameter("encoder.0.weight")``."""
        parameter: Parameter = self._at(target, Parameter)
        return parameter

    def get_buffer(self, target: str) -> Buffer:
        """The buffer at a path."""
        buffer: Buffer = self._at(target, Buffer)
        return buffer

    def apply(self: AnyModule, function: Callable[[Module], Any]) -> AnyModule:
        """Call a function with every module inside, and then with this one: ``net.apply(initialise)``."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def __repr__(self) -> str:
        lines = self.extra_repr().splitlines()
        inside = [f"({name}): {value!r}" for name, value in vars(self).items() if isinstance(value, Module)]
        if not inside and len(lines) < 2:
            return f"{type(self).__name__}({''.join(lines)})"
        body = "".join("\n" + line for line in (*lines, *inside)).replace("\n", "\n  ")
        return f"{type(self).__name__}({body}\n)"

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                with no_grad():
                    assign_(parameter.grad, 0)

    def to(self: AnyModule, device: str | None = None, dtype: DTypeLike | None = None) -> AnyModule:
        """Move parameters and buffers to a device, and floating ones to a dtype, in place; with gradients and hooks."""
        target = backend.resolve_device(device) if device is not None else None
        dtype = None if dtype is None else half.dtype_from(dtype)
        if dtype is not None and not half.is_inexact(dtype):
            raise DTypeError(f"{type(self).__name__}.to: parameters can only be floating, got dtype {dtype}\n  at {_here()}")
        for _, tensor in self._named((Parameter, Buffer)):
            array = tensor._array if target is None else backend.to_device(tensor._array, target)
            if dtype is not None and half.is_floating(array.dtype):
                with backend.on_device_of(array):
                    array = array.astype(dtype, copy=False)
            if array is tensor._array:
                continue
            old, tensor._array = tensor._node, array
            if old is not None and old.op is None:
                tensor._node = leaf(array)
                if old.grad is not None:
                    tensor._node.grad = old.grad.detach().to(target, array.dtype)
                move_hooks(old, tensor._node)
            else:
                tensor._node = None
        return self

    def cpu(self: AnyModule) -> AnyModule:
        """Move parameters and buffers to the CPU, in place."""
        return self.to("cpu")

    def cuda(self: AnyModule, device: str | int = "cuda") -> AnyModule:
        """Move parameters and buffers to a GPU, in place: the current one, or that of a name or number."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    def double(self: AnyModule) -> AnyModule:
        """Floating parameters and buffers as float64."""
        return self.to(dtype=numpy.float64)

    def float(self: AnyModule) -> AnyModule:
        """Floating parameters and buffers as float32."""
        return self.to(dtype=numpy.float32)

    def half(self: AnyModule) -> AnyModule:
        """Floating parameters and buffers as float16."""
        return self.to(dtype=numpy.float16)

    # --- hooks ---

    def _hooked(self, kind: str, function: Callable[..., Any], with_kwargs: bool = False) -> RemovableHandle:
        Module._some_hooked = True
        return RemovableHandle(self.__dict__.setdefault("_hooks", {}), calls.Hook(kind, function, with_kwargs))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Module._some_hooked = Module._some_hooked or bool(self._hooks)

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> RemovableHandle:
        """Have each call begin with ``hook(module, args)``; what it returns, if not None, is given to `forward` instead.

        With `with_kwargs`, it is called with ``(module, args, kwargs)`` and returns both (`torch.nn.Module`'s).
        """
        return self._hooked("before", hook, with_kwargs)

    def register_forward_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> RemovableHandle:
        """Have each call end with ``hook(module, args, output)``; what it returns, if not None, is the output instead.

        With `with_kwargs`, it is called with ``(module, args, kwargs, output)``.

        >>> import gpugrad as gg
        >>> net = gg.nn.Sequential(gg.nn.Linear(2, 3), gg.nn.ReLU())
        >>> with net[0].register_forward_hook(lambda module, args, output: print(output.shape)):
        ...     _ = net(gg.zeros((5, 2)))
        (5, 3)
        """
        return self._hooked("after", hook, with_kwargs)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have each backward through a call end with ``hook(module, grad_input, grad_output)``.

        These are tuples, with None for what is no Tensor or gets no gradient. What the hook returns, if not None, is passed on
        as the gradients of the arguments.
        """
        return self._hooked("backward", hook)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have each backward through a call begin with ``hook(module, grad_output)``; what it returns takes its place."""
        return self._hooked("before backward", hook)

    # --- its state ---

    def summary(self, *inputs: Any) -> str:
        """A table of the modules inside: parameters, bytes, and the shapes that they return for some input.

        Parameters
        ----------
        *inputs : arrays, or shapes as tuples of ints
            What to call it with; of shapes, zeros are made. It runs in evaluation mode, and nothing is recorded. If nothing
            is given, it is not run.

        Examples
        --------
        >>> from gpugrad import nn
        >>> print(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).summary((32, 4)))
        module  type        output   parameters  bytes  output bytes
        ------  ----------  -------  ----------  -----  ------------
        .       Sequential  (32, 2)           0      0           256
        0       Linear      (32, 8)          40    160         1,024
        1       ReLU        (32, 8)           0      0         1,024
        2       Linear      (32, 2)          18     72           256
        <BLANKLINE>
        parameters: 58 (58 trained), 232 bytes
        outputs of modules without others inside: 2,304 bytes
        """
        from .summary import summary

        return summary(self, inputs)

    def _states(self, prefix: str, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Tensor]]:
        """Names and values of parameters, buffers, and then of the modules inside; under each of its names, if it has several."""
        for kind in (Parameter, Buffer):
            for name, value in vars(self).items():
                if isinstance(value, kind) and not isinstance(value, _Transient):
                    yield prefix + name, value
        for name, value in vars(self).items():
            if isinstance(value, Module) and value is not self and value not in above:
                yield from value._states(f"{prefix}{name}.", (*above, self))

    def state_dict(self) -> dict[str, Tensor]:
        """Names and values of parameters and buffers, sharing memory with them."""
        return {name: wrap(value._array) for name, value in self._states("")}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
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
        missing_keys, unexpected_keys : lists of str

        Raises
        ------
        CheckpointError
            If the state does not fit; it lists every name that does not.
        """
        own = self.state_dict()
        given = {id(target._array) for name, target in own.items() if name in state}
        missing = [name for name, target in own.items() if id(target._array) not in given]
        unexpected = [name for name in state if name not in own]
        problems = [f"missing: {name}, {describe(own[name])}" for name in missing if strict]
        problems += [f"unexpected: {name}" for name in unexpected if strict]
        values: dict[str, Tensor] = {}
        for name, target in own.items():
            if name not in state:
                continue
            values[name] = value = asarray(state[name])
            if value.shape != target.shape:
                problems.append(f"shape: {name} is {target.shape}, the state has {value.shape}")
            elif not can_cast(value.dtype, target.dtype, "same_kind"):
                problems.append(f"dtype: {name} is {target.dtype}, the state has {value.dtype}")
        problems += _split_ties(own, values)
        if problems:
            raise CheckpointError(f"the state does not fit {type(self).__name__}; nothing was loaded\n  " + "\n  ".join(problems))
        with no_grad():
            for name, value in values.items():
                assign_(own[name], value.to(own[name].device))
        return IncompatibleKeys(missing, unexpected)


def _split_ties(own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[str]:
    """Tensors that have several names in a module, and different values under them in a state."""
    first: dict[int, str] = {}
    for name, value in values.items():
        other = first.setdefault(id(own[name]._array), name)
        if other != name and not numpy.array_equal(values[other].numpy(), value.numpy(), equal_nan=True):
            yield f"tied: {other} and {name} are one tensor here, two in the state"


def _here() -> str:
    return format_site(user_site())


def _shown(value: Any) -> str:
    """A value as an error shows it; a class or function by its name."""
    return getattr(value, "__name__", None) or describe(value)
