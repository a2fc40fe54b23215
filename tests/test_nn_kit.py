"""The kit around modules: containers, paths, moves, copies, summaries, errors; states that PyTorch reads and writes."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy_standin
import numpy as np
import pytest
from nn_nets import Block, mlp, real, rng

import gpugrad as gg
from gpugrad import nn

# --- every function is a module -----------------------------------------------------------------------------------

FUNCTIONS_ALONE = {"bias_activation_dropout", "normalize", "one_hot", "pdist", "scaled_dot_product_attention"}
"""Functions that PyTorch too has no module for, of that kind."""
OTHER_NAMES = {
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "cross_entropy": "CrossEntropyLoss",
    "kl_div": "KLDivLoss",
    "interpolate": "Upsample",
    "batch_norm": "BatchNorm1d",
    "instance_norm": "InstanceNorm1d",
}
FUNCTIONS = sorted(name for name, value in vars(nn.functional).items() if inspect.isfunction(value) and not name.startswith("_"))


def module_of(function: str) -> type[nn.Module] | None:
    by_name = {name.lower(): value for name, value in vars(nn).items() if isinstance(value, type)}
    return by_name.get(OTHER_NAMES.get(function, function).replace("_", "").lower())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_a_module(name: str) -> None:
    assert (module_of(name) is None) == (name in FUNCTIONS_ALONE)


UNARY = [
    n for n in FUNCTIONS if getattr(nn.functional, n).__module__.split(".")[-1] in ("activation", "piecewise", "elementwise")
]


@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("prelu", "threshold", "maxout")])
def test_an_activation_module_is_its_function(name: str) -> None:
    x = real(4, 6)
    np.testing.assert_array_equal(module_of(name)().eval()(x).numpy(), getattr(nn.functional, name)(x).numpy())


# --- states that PyTorch reads and writes -------------------------------------------------------------------------


class ConvNet:
    """The same net in both libraries."""

    @staticmethod
    def of(lib: Any) -> Any:
        return lib.Sequential(
            lib.Conv2d(1, 4, 3, padding=1), lib.BatchNorm2d(4), lib.ReLU(), lib.MaxPool2d(2),
            lib.Sequential(lib.Conv2d(4, 6, 3, bias=False), lib.GroupNorm(2, 6)), lib.Flatten(), lib.Linear(24, 3),
        )  # fmt: skip


def text_net(lib: Any) -> Any:
    class Net(lib.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = lib.Embedding(11, 6, padding_idx=0)
            self.blocks = lib.ModuleList([lib.Linear(6, 6) for _ in range(2)])
            self.heads = lib.ModuleDict({"mean": lib.Linear(6, 1), "scale": lib.PReLU()})
            self.shifts = lib.ParameterList([lib.Parameter(np_or_torch(lib, (6,))) for _ in range(2)])
            self.norm = lib.LayerNorm(6)
            self.register_buffer("steps", np_or_torch(lib, (2,)))
            self.register_buffer("scratch", np_or_torch(lib, (2,)), persistent=False)

        def forward(self, ids: Any) -> Any:
            x = self.embed(ids)
            for block, shift in zip(self.blocks, self.shifts):
                x = x + block(x) + shift
            return self.heads["scale"](self.heads["mean"](self.norm(x))) + self.steps.sum()

    return Net()


def np_or_torch(lib: Any, shape: tuple[int, ...]) -> Any:
    values = rng.normal(size=shape).astype("float32")
    if lib is nn:
        return gg.tensor(values)
    import torch

    return torch.tensor(values)


NETS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "mlp": (lambda lib: lib.Sequential(lib.Linear(3, 8), lib.Tanh(), lib.Linear(8, 2, bias=False)), real(5, 3).astype("float32")),
    "conv net": (ConvNet.of, real(5, 1, 8, 8).astype("float32")),
    "text": (text_net, rng.integers(0, 11, (4, 5))),
}


@pytest.mark.parametrize("name", NETS)
def test_states_pass_through_files_from_pytorch_and_back(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    build, x = NETS[name]
    ours, theirs, fresh = build(nn), build(torch.nn), build(torch.nn)
    theirs(torch.tensor(x))  # so that running statistics are no longer where they start
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    assert ours.load_state_dict(gg.load(tmp_path / "theirs.safetensors")) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for training in (True, False):
        ours.train(training), theirs.train(training)
        np.testing.assert_allclose(ours(x).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=2e-5, atol=2e-6)
    gg.save(ours.state_dict(), tmp_path / "ours.safetensors")
    fresh.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
    np.testing.assert_allclose(ours(x).detach().numpy(), fresh.eval()(torch.tensor(x)).detach().numpy(), rtol=2e-5, atol=2e-6)


def test_a_module_under_two_names_is_in_the_state_under_both_and_loads_from_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(2, 2)
            self.again = self.first

    model = Tied()
    names = ["first.weight", "first.bias", "again.weight", "again.bias"]
    assert list(model.state_dict()) == names
    one = {name: gg.ones_like(value) for name, value in model.state_dict().items() if name.startswith("again")}
    assert model.load_state_dict(one) == ([], [])
    assert model.first.weight.numpy().sum() == 4
    with pytest.raises(gg.CheckpointError, match=r"tied: first.bias and again.bias are one tensor here, two in the state"):
        model.load_state_dict({name: gg.full(v.shape, i) for i, (name, v) in enumerate(model.state_dict().items())})
    assert model.first.weight.numpy().sum() == 4


# --- containers ---------------------------------------------------------------------------------------------------


def widths(model: Any) -> list[int]:
    return [layer.weight.shape[0] for layer in model]


LIST_CHANGES: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("append", lambda lib, m: m.append(lib.Linear(1, 9))),
    ("extend", lambda lib, m: m.extend([lib.Linear(1, 8), lib.Linear(1, 9)])),
    ("insert", lambda lib, m: m.insert(1, lib.Linear(1, 9))),
    ("set", lambda lib, m: m.__setitem__(-1, lib.Linear(1, 9))),
    ("delete", lambda lib, m: m.__delitem__(0)),
    ("delete slice", lambda lib, m: m.__delitem__(slice(0, 3, 2))),
    ("pop", lambda lib, m: m.pop(1)),
    ("add", lambda lib, m: m.__iadd__(lib.ModuleList([lib.Linear(1, 9)]) if type(m) is lib.ModuleList else lib.Sequential())),
]


@pytest.mark.parametrize("kind", ["ModuleList", "Sequential"])
@pytest.mark.parametrize(("change", "apply"), [pytest.param(*c, id=c[0]) for c in LIST_CHANGES])
def test_lists_of_modules_change_as_pytorchs_do(kind: str, change: str, apply: Callable[[Any, Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for lib in (nn, torch.nn):
        layers = [lib.Linear(1, i) for i in (3, 4, 5)]
        model = lib.ModuleList(layers) if kind == "ModuleList" else lib.Sequential(*layers)
        apply(lib, model)
        found.append((widths(model), widths(model[1:]), len(model), list(model.state_dict()), list(model[1:].state_dict())))
    assert found[0] == found[1]


def test_a_sequential_runs_what_it_holds_now() -> None:
    model, x = mlp(), gg.tensor(real(2, 3).astype("float32"))
    before = model(x)
    model.append(nn.Sigmoid())
    np.testing.assert_allclose(model(x).numpy(), gg.sigmoid(before).numpy(), rtol=1e-6)
    model[-1] = nn.Identity()
    np.testing.assert_array_equal(model(x).numpy(), before.numpy())
    del model[1:]
    assert model(x).shape == (2, 4)
    named = nn.Sequential({"in": nn.Linear(3, 2), "act": nn.ReLU()})
    assert [name for name, _ in named.named_parameters()] == ["in.weight", "in.bias"]
    assert named(x).shape == (2, 2)
    assert named[0] is named.get_submodule("in")


def test_dicts_and_parameter_lists() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    heads.update([("a", nn.Linear(2, 3))])
    assert (list(heads), list(heads.keys()), len(heads), "b" in heads) == (["a", "b"], ["a", "b"], 2, True)
    assert [value.shape for value in heads.state_dict().values()] == [(3, 2), (3,)]
    assert isinstance(heads.pop("b"), nn.ReLU)
    assert dict(heads.items()) == dict(zip(heads, heads.values(), strict=True)) == {"a": heads["a"]}
    shifts = nn.ParameterList([np.zeros(2), gg.ones(3)])
    shifts.append([1.0])
    assert [name for name, _ in shifts.named_parameters()] == ["0", "1", "2"]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in shifts)
    shifts[0] = np.zeros(5)
    assert [p.shape for p in shifts[:2]] == [(5,), (3,)]
    assert list(nn.ParameterDict({"w": [1.0]}).state_dict()) == ["w"]


# --- attributes ---------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    (
        "tensor for parameter",
        lambda m: setattr(m, "scale", gg.ones(1)),
        gg.DTypeError,
        r"Block.scale is a Parameter, float32\[1\]",
    ),
    ("number for buffer", lambda m: setattr(m, "mean", 1.0), gg.DTypeError, r"Block.mean is a Buffer.*cannot become float 1.0"),
    (
        "function for module",
        lambda m: setattr(m, "inner", gg.relu),
        gg.DTypeError,
        "is a module, Sequential; it cannot become relu",
    ),
    ("missing", lambda m: m.scal, AttributeError, "Block has no attribute 'scal'; did you mean 'scale'"),
    ("missing below", lambda m: m.get_parameter("inner.0.wight"), AttributeError, "'inner.0.wight': Linear has no.*'weight'"),
    ("no parameter", lambda m: m.get_parameter("inner"), AttributeError, "'inner' is no Parameter"),
    ("no module", lambda m: m.get_submodule("scale"), AttributeError, "'scale' is no Module"),
    ("dot", lambda m: m.register_buffer("a.b", [0.0]), KeyError, "'a.b' is no name"),
    ("taken", lambda m: m.add_module("training", nn.ReLU()), KeyError, "'training' is an attribute already"),
    ("a method", lambda m: nn.ModuleDict({"keys": nn.ReLU()}), KeyError, "'keys' is an attribute already"),
    ("no parameter to register", lambda m: m.register_parameter("w", gg.ones(1)), gg.DTypeError, "takes a Parameter"),
    ("no entry", lambda m: m.inner[2], IndexError, "Sequential has 2 entries, none at 2"),
    ("no key", lambda m: nn.ModuleDict({"a": nn.ReLU()})["b"], KeyError, "ModuleDict has no 'b'; it has a"),
    ("dtype", lambda m: m.to(dtype=int), gg.DTypeError, "Block.to: dtype must be floating, got int64"),
]


@pytest.mark.parametrize(("act", "kind", "message"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
def test_refusals(act: Callable[[Any], Any], kind: type[Exception], message: str) -> None:
    model = Block()
    with pytest.raises(kind, match=message):
        act(model)
    assert (type(model.scale), type(model.mean), type(model.inner)) == (nn.Parameter, nn.Buffer, nn.Sequential)


def test_attributes_that_may_be_set() -> None:
    model = Block()
    state = model.scale * 3
    model.mean = state
    assert isinstance(model.mean, nn.Buffer)
    assert model.mean.requires_grad  # an array that is computed stays on the tape, as in PyTorch
    model.seen = np.ones(2)
    assert "seen" not in model.state_dict()
    model.scale = None
    model.inner = nn.Identity()
    assert list(model.state_dict()) == ["mean"]
    with pytest.warns(
        UserWarning, match=r"the parameters in Block.layers, a list, will not be found: use nn.ModuleList"
    ) as caught:
        model.layers = [nn.Linear(1, 1)]
    assert caught[0].filename == __file__
    model._hidden = [nn.Linear(1, 1)]


def test_a_property_that_fails_says_why() -> None:
    class Broken(nn.Module):
        @property
        def width(self) -> int:
            return self.missing

    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        Broken().width


def test_errors_name_the_path_of_the_module() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.body = nn.ModuleList([Block(), Block(4)])

        def forward(self, x: Any) -> Any:
            for block in self.body:
                x = block(x)
            return x

    expected = r"nn_nets.py:(.|\n)*in module body.1.inner.0: Linear\(in_features=4, out_features=4, bias=True\)"
    for model in (Net(), nn.Sequential(nn.ReLU(), Net())):
        if isinstance(model, nn.Sequential):
            expected = expected.replace("body", "1.body")
        with pytest.raises(gg.ShapeError, match=expected) as caught:
            model(gg.zeros((2, 3)))
        assert str(caught.value).count("in module") == 1
        path = re.search(r"in module (\S+):", str(caught.value))[1]
        assert f"{path}.weight = float32[4, 4] on cpu" in str(caught.value)


# --- paths, moves, copies -----------------------------------------------------------------------------------------


def test_paths() -> None:
    model = nn.Sequential(Block(), nn.ReLU())
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    assert list(model.children()) == [model[0], model[1]]
    assert [name for name, _ in model.named_modules()] == ["", "0", "0.inner", "0.inner.0", "0.inner.1", "1"]
    assert model.get_submodule("0.inner.1") is model[0].inner[1]
    assert model.get_submodule("") is model
    assert model.get_parameter("0.inner.0.bias") is model[0].inner[0].bias
    assert model.get_buffer("0.mean") is model[0].mean
    assert [b.item() for b in model.buffers()] == [0.5, 0.0]
    order: list[str] = []
    assert model.apply(lambda module: order.append(type(module).__name__)) is model
    assert order == ["Linear", "Tanh", "Sequential", "Block", "ReLU", "Sequential"]


def test_moves_keep_gradients_hooks_and_what_optimisers_hold() -> None:
    model = nn.Sequential(Block(), nn.BatchNorm1d(3))
    held, calls = list(model.parameters()), []
    handle = held[0].register_hook(lambda g: calls.append(g.dtype.name))
    model(gg.tensor(real(4, 3).astype("float32"))).sum().backward()
    for move, dtype in ((model.double, "float64"), (model.half, "float16"), (model.float, "float32")):
        assert move() is model
        assert {p.dtype.name for p in held} == {p.grad.dtype.name for p in held} == {model[1].running_var.dtype.name} == {dtype}
        assert model[1].num_batches_tracked.dtype == "int64"
        model(gg.tensor(real(4, 3).astype(dtype))).sum().backward()
        assert calls[-1] == dtype
    assert all(p is q for p, q in zip(held, model.parameters(), strict=True))
    nodes = [p._node for p in held]
    assert [p._node for p in model.cpu().parameters()] == nodes  # nothing moved: nothing changed
    handle.remove()
    count = len(calls)
    model(gg.tensor(real(4, 3).astype("float32"))).sum().backward()
    assert len(calls) == count
    model.zero_grad(set_to_none=False)
    assert {p.grad.numpy().any() for p in held} == {np.False_}
    model.zero_grad()
    assert {p.grad for p in held} == {None}
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())


def test_hooks_and_summaries_on_a_gpu() -> None:
    """With several, and the module's not the current one."""
    with cupy_standin.installed(devices=2):
        x, found = real(4, 3), []
        for device in ("cpu", "cuda:1"):
            model, log = mlp().double(), []
            model[0].weight.register_hook(lambda g, log=log: log.append((g.device, g.cpu().numpy())))
            model[0].bias.register_hook(lambda g: g * 2)
            model[1].register_full_backward_hook(lambda m, into, out, log=log: log.append((out[0].device, into[0].cpu().numpy())))
            model.to(device)
            assert "(4, 2)" in model.summary((4, 3))
            out = model(gg.tensor(x, device=device))
            out.register_hook(lambda g: g * 3)
            gg.nn.functional.binary_cross_entropy(gg.sigmoid(out * 1000), out.detach() * 0, reduction="sum").backward()
            found.append((log, [p.grad.cpu().numpy() for p in model.parameters()]))
            assert {where for where, _ in log} == {device}
        for a, b in zip(*[[array for _, array in log] + grads for log, grads in found], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def called(module: Any, args: Any, output: Any) -> Any:
    return output * 0 + 7


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_whole_and_independent(again: Callable[[Any], Any]) -> None:
    model = nn.Sequential(Block(), nn.ModuleDict({"head": nn.Linear(3, 3)})["head"], nn.BatchNorm1d(3))
    model[1].weight = model[0].inner[0].weight
    model(gg.ones((2, 3)))
    model[1].register_forward_hook(called)
    other = again(model.eval())
    x = gg.tensor(real(2, 3).astype("float32"))
    np.testing.assert_array_equal(other(x).numpy(), model(x).numpy())
    assert other[1].weight is other[0].inner[0].weight  # ties stay
    assert other[1](x).tolist() == [[7, 7, 7]] * 2  # hooks too
    assert list(other.state_dict()) == list(model.state_dict())
    assert isinstance(other[0].seen, nn.Buffer)
    with gg.no_grad():
        other[1].weight += 1
    other[2] = nn.Identity()
    assert not np.array_equal(other[1].weight.numpy(), model[1].weight.numpy())
    assert isinstance(model[2], nn.BatchNorm1d)


# --- summary and repr ---------------------------------------------------------------------------------------------


def test_summary() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(8, 1))
    model[4].weight.requires_grad_(False)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    table = model.summary((5, 1, 4, 4)).splitlines()
    cells = {line.split()[0]: re.split(r"\s{2,}", line) for line in table[2:8]}
    assert cells["0"] == ["0", "Conv2d", "(5, 2, 2, 2)", "20", "80", "160"]
    assert cells["1"] == ["1", "BatchNorm2d", "(5, 2, 2, 2)", "4", "40", "160"]
    assert cells["."] == [".", "Sequential", "(5, 1)", "0", "0", "20"]
    assert table[-3:] == [
        "parameters: 33 (25 trained), 132 bytes",
        "buffers: 5, 24 bytes",
        "outputs of modules without others inside: 660 bytes",
    ]
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert all(module.training and not module._hooks for module in model.modules())
    assert "(4, 5, 6)" in nn.Sequential(nn.Embedding(9, 6)).summary(np.zeros((4, 5), int))
    assert "output" not in model.summary()


def test_repr_of_what_holds_others() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            self.act = nn.ReLU()

        def extra_repr(self) -> str:
            return "width=3"

    assert repr(Both()) == "Both(\n  width=3\n  (act): ReLU()\n)"
    assert repr(nn.ModuleList([nn.Sequential(nn.ReLU())])) == "ModuleList(\n  (0): Sequential(\n    (0): ReLU()\n  )\n)"
