"""Modules that hold others, or parameters, by number or by name: Sequential, lists and dicts."""

from __future__ import annotations

import operator
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, ClassVar, TypeVar

from ..errors import BoundsError, DTypeError, GpugradError, describe, format_site, user_site
from ..modes import current_mode
from ..ops import linalg
from ..ops.dropout import draws_on_device
from . import functional
from .layers import Linear
from .module import Module, Parameter
from .of_functions import GELU, SELU, Dropout, Mish, ReLU, Sigmoid, SiLU, Tanh

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]

AnyList = TypeVar("AnyList", bound="_List")


class _Holder(Module):
    """What lists and dicts share: what they hold are those attributes that are of a kind, in order."""

    kind: ClassVar[type] = Module

    @property
    def _held(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, self.kind)}

    def _checked(self, where: Any, value: Any) -> Any:
        """A value to hold, of the right kind."""
        if isinstance(value, Module):
            return value
        name = getattr(value, "__name__", None)
        hint = f"{name}: use its module, as nn.ReLU() for relu" if name else describe(value)
        raise DTypeError(f"{type(self).__name__} takes modules; layer {where} is {hint}\n  at {format_site(user_site())}")

    def __len__(self) -> int:
        return len(self._held)


class _Parameters(_Holder):
    """What lists and dicts of parameters share."""

    kind = Parameter

    def _checked(self, where: Any, value: Any) -> Any:
        return value if isinstance(value, Parameter) else Parameter(value)

    def extra_repr(self) -> str:
        """One line for each."""
        return "\n".join(f"({name}): {describe(p).removesuffix(', requires_grad')}" for name, p in self._held.items())


# --- lists --------------------------------------------------------------------------------------------------------


class _List(_Holder):
    """A list whose entries are attributes named ``"0"``, ``"1"``, ..."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.extend(values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._held.values())

    def __contains__(self, value: object) -> bool:
        return any(held is value for held in self)

    def _name(self, index: Any) -> str:
        names = list(self._held)
        try:
            return names[operator.index(index)]
        except IndexError:
            raise BoundsError(
                f"{type(self).__name__} has {len(names)} entries, none at {index}\n  at {format_site(user_site())}"
            ) from None

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(dict(list(self._held.items())[index]))
        return self._held[self._name(index)]

    def _part(self, held: dict[str, Any]) -> Any:
        return type(self)(held.values())

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name(index), self._checked(index, value))

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._held)[index] if isinstance(index, slice) else [self._name(index)]
        self._become({name: value for name, value in self._held.items() if name not in names})

    def _become(self, held: dict[str, Any]) -> None:
        """Hold these instead; numbers are given anew."""
        for name in self._held:
            delattr(self, name)
        for i, (name, value) in enumerate(held.items()):
            setattr(self, str(i) if name.isdecimal() else name, value)

    def append(self: AnyList, value: Any) -> AnyList:
        """Add one at the end."""
        return self.extend([value])

    def extend(self: AnyList, values: Iterable[Any]) -> AnyList:
        """Add some at the end."""
        start = len(self)
        for i, value in enumerate([self._checked(start + i, value) for i, value in enumerate(values)], start):
            setattr(self, str(i), value)
        return self

    def insert(self, index: int, value: Any) -> None:
        """Put one before another."""
        held = list(self._held.values())
        held.insert(index, self._checked(index, value))
        self._become({str(i): value for i, value in enumerate(held)})

    def pop(self, index: int = -1) -> Any:
        """Take one out."""
        value = self[index]
        del self[index]
        return value

    def __iadd__(self: AnyList, values: Iterable[Any]) -> AnyList:
        return self.extend(values)


class ModuleList(_List):
    """A list of modules that are found: an attribute that is a plain list hides them (`torch.nn.ModuleList`).

    Examples
    --------
    >>> from gpugrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = x + layer(x)
    ...         return x
    >>> list(Net().state_dict())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """


class ParameterList(_Parameters, _List):
    """A list of parameters that are found; arrays become parameters (`torch.nn.ParameterList`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.ParameterList([gg.zeros(2), gg.ones((2, 3))])
    ParameterList(
      (0): float32[2] on cpu
      (1): float32[2, 3] on cpu
    )
    """


class Sequential(_List):
    """Modules one after another; each gets the output of the one before. A dict gives them names.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad import nn
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> net(gg.zeros((5, 4))).shape
    (5, 2)
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    fuse = True
    """Whether neighbouring Linear, ReLU, Tanh, Sigmoid and GELU (by tanh) modules run as one op, and on a GPU the bias,
    activation and dropout of a layer; set to False to see each on the tape."""
    _plan: tuple[tuple[Module, ...], list[_Run]] | None = None

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(name, module))
        else:
            self.extend(modules)

    def _part(self, held: dict[str, Any]) -> Sequential:
        return Sequential(held)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module) or isinstance(vars(self).get(name), Module):
            vars(self).pop("_plan", None)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        vars(self).pop("_plan", None)
        super().__delattr__(name)

    def forward(self, x: Any) -> Any:
        """Run the modules in order."""
        if self._plan is None:
            layers = tuple(self)
            vars(self)["_plan"] = layers, _runs(layers)
        layers, runs = self._plan  # type: ignore[misc]
        apart = not self.fuse or current_mode().apart or (self._some_hooked and any(layer._hooks for layer in layers))
        if apart:
            for layer in layers:
                x = layer(x)
            return x
        for run in runs:
            x = run(x)
        return x


_ACTIVATIONS: dict[type[Module], str] = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}
"""Those that run as one op with the Linears around them."""
_WITH_DROPOUT = _ACTIVATIONS | {GELU: "gelu", SiLU: "silu", SELU: "selu", Mish: "mish"}
"""Those that on a GPU run as one op with the bias before and the dropout behind them."""


def _name_in_run(module: Any) -> str | None:
    """What `linear_layers` calls an activation, if it takes it."""
    return (
        "gelu_tanh" if type(module) is GELU and getattr(module, "approximate", "") == "tanh" else _ACTIVATIONS.get(type(module))
    )


class _Run:
    """A module alone; or Linears and the activation after each, with what may come behind: an activation, a dropout."""

    def __init__(self, module: Module) -> None:
        self.members = [module]
        self.linears: list[Any] = [module] if type(module) is Linear else []
        self.activations: tuple[str | None, ...] = (None,) if self.linears else ()
        self.rest: list[Module] = []

    def takes(self, module: Module) -> bool:
        """Whether a module that comes next runs with these; it then belongs to them."""
        if not self.linears or isinstance(self.members[-1], Dropout):
            return False
        name, last = _name_in_run(module), type(self.members[-1])
        if type(module) is Linear and not self.rest:
            self.linears, self.activations = [*self.linears, module], (*self.activations, None)
        elif name is not None and last is Linear:
            self.activations = (*self.activations[:-1], name)
        elif (type(module) in _WITH_DROPOUT and last is Linear) or (type(module) is Dropout and last in _WITH_DROPOUT):
            self.rest.append(module)
        else:
            return False
        self.members.append(module)
        return True

    def __call__(self, x: Any) -> Any:
        if not self.linears:
            return self.members[0](x)
        try:
            return self._as_one(x)
        except GpugradError as error:
            failure = error
        for module in self.members:  # one of them fails again, and says which it is
            x = module(x)
        raise failure

    def _as_one(self, x: Any) -> Any:
        arrays = [x]
        for linear in self.linears:
            arrays += (linear.weight, linear.bias)
        if self.rest and self._drops(*arrays[-2:]):
            x = linalg.linear_layers([*arrays[:-1], None], (*self.activations[:-1], None))
            bias = arrays[-1] if arrays[-1].dtype == x.dtype else arrays[-1].astype(x.dtype)  # differs under autocast
            dropout: Any = self.members[-1]
            return functional.bias_activation_dropout(x, bias, _WITH_DROPOUT[type(self.members[-2])], dropout.p)
        x = linalg.linear_layers(arrays, self.activations)
        for module in self.rest:
            x = module(x)
        return x

    def _drops(self, weight: Any, bias: Any) -> bool:
        """Whether bias, activation and dropout at the end are one kernel."""
        if not isinstance(self.members[-1], Dropout):
            return False
        activation: Any = self.members[-2]
        dropout: Any = self.members[-1]
        drops = dropout.training and dropout.p > 0 and getattr(activation, "approximate", "none") == "none"
        return drops and bias is not None and bias.dtype == weight.dtype and draws_on_device(weight)


def _runs(modules: tuple[Module, ...]) -> list[_Run]:
    """The modules one by one, but each run of Linears and their activations together."""
    runs: list[_Run] = []
    for module in modules:
        if not runs or not runs[-1].takes(module):
            runs.append(_Run(module))
    return runs


# --- dicts --------------------------------------------------------------------------------------------------------


class _Dict(_Holder):
    """A dict whose entries are attributes."""

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self.update(values)

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Set some entries."""
        for name, value in values.items() if isinstance(values, Mapping) else values:
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, self._new_name(name), self._checked(name, value))

    def __getitem__(self, name: str) -> Any:
        held = self._held
        if name not in held:
            raise KeyError(f"{type(self).__name__} has no {name!r}; it has {', '.join(held) or 'nothing'}")
        return held[name]

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._held.keys()

    def values(self) -> ValuesView[Any]:
        """What has the names."""
        return self._held.values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of both."""
        return self._held.items()

    def pop(self, name: str) -> Any:
        """Take one out."""
        value = self[name]
        del self[name]
        return value


class ModuleDict(_Dict):
    """Modules by name, that are found (`torch.nn.ModuleDict`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad import nn
    >>> heads = nn.ModuleDict({"mean": nn.Linear(3, 1), "scale": nn.Linear(3, 2)})
    >>> heads["scale"](gg.zeros((5, 3))).shape
    (5, 2)
    """


class ParameterDict(_Parameters, _Dict):
    """Parameters by name, that are found; arrays become parameters (`torch.nn.ParameterDict`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.ParameterDict({"mean": gg.zeros(2)})["mean"]
    tensor([0., 0.], requires_grad=True)
    """
