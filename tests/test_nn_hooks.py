"""Hooks of tensors and of modules: when they are called, with what, and what they may change."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_nets import mlp, real

import gpugrad as gg
from gpugrad import nn
from gpugrad.modes import recording

# --- hooks of tensors ---------------------------------------------------------------------------------------------


def tensor_hooks(lib: Any) -> tuple[Any, ...]:
    log: list[Any] = []
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    h = x * 3
    y = h * h
    z = (y + h).sum()
    h.register_hook(lambda g: log.append(("h", g.tolist())))
    h.register_hook(lambda g: g * 2)
    handle = y.register_hook(lambda g: (log.append(("y", g.tolist())), g + 1)[1])
    x.register_hook(lambda g: (log.append(("x", g.tolist())), g * 10)[1])
    z.register_hook(lambda g: log.append(("z", g.tolist())))
    z.backward(retain_graph=True)
    handle.remove()
    handle.remove()
    z.backward()
    return log, x.grad.tolist()


def test_tensor_hooks_see_and_change_summed_gradients() -> None:
    log, grad = tensor_hooks(gg)
    assert log[:4] == [("z", 1), ("y", [1, 1]), ("h", [13, 25]), ("x", [78, 150])]
    assert grad == [780 + 420, 1500 + 780]


def test_tensor_hooks_follow_pytorch() -> None:
    torch = pytest.importorskip("torch")
    assert tensor_hooks(gg) == tensor_hooks(torch)


def test_hooks_in_the_second_order_are_differentiated() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    h = x * x
    h.register_hook(lambda g: g * h)
    (h * h).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.sum().backward()
    assert first.tolist() == [4, 128]  # 2 h * h * 2 x
    assert x.grad.tolist() == [4 + 16, 64 + 1024]  # 4 h**2, and by way of h, where the hook is met again, 8 h x * h * 2 x


def test_a_hook_is_called_once_also_where_walks_are_inside_walks() -> None:
    x, calls = gg.tensor(real(2, 3), requires_grad=True), []
    x.register_hook(lambda g: calls.append(g.shape))
    gg.cross_entropy(x * 1.0, np.array([0, 1])).backward(create_graph=True)
    gg.checkpoint(gg.sin, x).sum().backward()
    gg.nn.functional.layer_norm(x, (3,)).sum().backward(create_graph=True)
    assert calls == [(2, 3)] * 3
    gg.jvp(lambda v: gg.sin(v) * x, (np.ones((2, 3)),), (np.ones((2, 3)),))
    assert len(calls) == 3


def test_hooks_see_complex_gradients_as_users_do_and_what_they_keep_is_theirs() -> None:
    z, kept = gg.tensor([1 + 2j], requires_grad=True), []
    z.register_hook(kept.append)
    gg.real(z * z).sum().backward()
    assert kept[0].tolist() == z.grad.tolist() == [2 - 4j]
    kept[0] *= 0
    assert z.grad.tolist() == [2 - 4j]
    x, y = gg.tensor([1.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    x.register_hook(lambda g: (g.__imul__(0), None)[1])
    (x + y).backward()  # one array is on its way to both
    assert (x.grad.item(), y.grad.item()) == (1, 1)


def test_hooks_and_their_tapes_are_freed() -> None:
    x = gg.tensor([1.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g, y=y: y)
    node = weakref.ref(y._node)
    del y
    gc.collect()
    assert node() is None


HOOK_ERRORS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("shape", lambda g: g.sum(), r"result of multiply failed: it returned a gradient of shape \(\) in place of one of \(2,\)"),
    ("raises", lambda g: {}["no"], r"hook .*<lambda> on the gradient of the result of multiply failed: KeyError: 'no'"),
]


@pytest.mark.parametrize(("hook", "message"), [pytest.param(*e[1:], id=e[0]) for e in HOOK_ERRORS])
def test_hooks_that_fail_are_named_with_the_forwards_line(hook: Callable[[Any], Any], message: str) -> None:
    y = gg.tensor([1.0, 2.0], requires_grad=True) * 2
    y.register_hook(hook)
    with pytest.raises(gg.GradientError, match=message + r"(.|\n)*test_nn_hooks.py"):
        y.sum().backward()
    with pytest.raises(gg.GradientError, match="no gradient will reach"):
        gg.ones(2).register_hook(hook)


# --- hooks of modules ---------------------------------------------------------------------------------------------


def module_hooks(lib: Any, arrays: Any, state: Any) -> list[Any]:
    """What hooks are given, and what comes of what they return."""
    tensor = gg.tensor if lib is nn else __import__("torch").tensor
    model = lib.Sequential(lib.Linear(3, 4), lib.ReLU(), lib.Linear(4, 2)).double()
    model.load_state_dict({name: tensor(value) for name, value in state.items()})
    log: list[Any] = []

    def note(*what: Any) -> None:
        log.append([np.asarray(v.detach().numpy()) if hasattr(v, "detach") else v for v in what])

    def before(module: Any, args: Any) -> Any:
        note("before", *args)
        return args[0] * 2

    def after(module: Any, args: Any, output: Any) -> Any:
        note("after", *args, output)
        return output + 1

    def backward(module: Any, grad_input: Any, grad_output: Any) -> Any:
        note("backward", *grad_input, *grad_output)
        return (None,) if grad_input[0] is None else (grad_input[0] * 3,)

    def begin(module: Any, grad_output: Any) -> Any:
        note("begin", *grad_output)
        return (grad_output[0] * 5,)

    handles = [model[2].register_forward_pre_hook(before), model[0].register_forward_hook(after)]
    handles += [layer.register_full_backward_hook(backward) for layer in (model[0], model[1], model[2], model)]
    handles += [model[1].register_full_backward_pre_hook(begin)]
    for given in (arrays, arrays + 1):
        x = tensor(given, requires_grad=given is not arrays)
        model.zero_grad()
        (model(x) ** 2).sum().backward()
        note("grads", x.grad, *[p.grad for p in model.parameters()])
        for handle in handles[::2]:
            handle.remove()
    return log


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_module_hooks_follow_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, state = real(5, 3), {name: real(*value.shape) for name, value in mlp().state_dict().items()}
    ours, theirs = module_hooks(nn, x, state), module_hooks(torch.nn, x, state)
    assert [entry[0] for entry in ours] == [entry[0] for entry in theirs]
    for got, want in zip(ours, theirs, strict=True):
        assert len(got) == len(want)
        for a, b in zip(got[1:], want[1:], strict=True):
            assert (a is None) == (b is None), got[0]
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=got[0])


def test_a_module_with_hooks_is_not_fused_until_they_are_gone() -> None:
    model, x = mlp(), gg.zeros((2, 3))

    def ops() -> list[str]:
        with recording() as records:
            model(x)
        return [record.op.name for record in records]

    alone = ops()
    handle = model[1].register_forward_hook(lambda module, args, output: None)
    assert ops() == ["linear", "relu", "linear"]
    handle.remove()
    assert ops() == alone == ["linear_layers"]


def test_backward_hooks_are_called_by_backwards_alone_and_once_in_the_second_order() -> None:
    model, log = mlp().double(), []
    x, v = real(2, 3), real(2, 3)
    expected = gg.jvp(model, (x,), (v,)), gg.hessian(lambda x: gg.tanh(model(x)).sum())(x)
    model[1].register_full_backward_hook(lambda m, into, out: log.append("end"))
    model[1].register_full_backward_pre_hook(lambda m, out: log.append("begin"))
    for got, want in zip(gg.jvp(model, (x,), (v,)), expected[0], strict=True):
        np.testing.assert_allclose(got, want)
    assert log == []
    np.testing.assert_allclose(gg.hessian(lambda x: gg.tanh(model(x)).sum())(x), expected[1])
    assert log == ["begin", "end"]
    gg.checkpoint(model, gg.tensor(x, requires_grad=True)).sum().backward()
    assert log == ["begin", "end"] * 2


def test_hooks_with_keywords_and_with_several_inputs_and_outputs() -> None:
    class Pair(nn.Module):
        def forward(self, x: Any, scale: Any = 1.0, *, shift: Any = 0.0) -> Any:
            return {"sum": x[0] + x[1] * scale + shift, "first": x[0], "none": 3}

    model, log = Pair(), []
    model.register_forward_pre_hook(lambda m, args, kwargs: (args, kwargs | {"shift": 10.0}), with_kwargs=True)
    model.register_forward_hook(lambda m, args, kwargs, out: log.append(kwargs), with_kwargs=True)
    model.register_full_backward_hook(lambda m, into, out: log.append((into, out)))
    a, b = gg.tensor(1.0, requires_grad=True), gg.tensor(2.0, requires_grad=True)
    out = model((a, b), 3.0)
    assert list(out) == ["sum", "first", "none"]
    assert out["sum"].item() == 17
    (out["sum"] * 2 + out["first"]).backward()
    assert log[0] == {"shift": 10.0}
    (da, db, dscale), (dsum, dfirst, dnone) = log[1]
    assert (da.item(), db.item(), dscale) == (3, 6, None)
    assert (dsum.item(), dfirst.item(), dnone) == (2, 1, None)
    assert (a.grad.item(), b.grad.item()) == (3, 6)
    with gg.no_grad():
        assert not model((a, b))["sum"].requires_grad
    model.register_full_backward_hook(lambda m, into, out: into[:2])
    with pytest.raises(gg.GradientError, match=r"returned 2 gradient\(s\) in place of 3"):
        model((a, b), 3.0)["sum"].backward()
    log.clear()
    bilinear = nn.Bilinear(1, 1, 1)
    bilinear.forward = lambda x, mask, y: (nn.Bilinear.forward(bilinear, x, y), None)
    bilinear.register_full_backward_hook(lambda m, into, out: log.append((len(into), into[1], out[1])))
    bilinear(a.reshape(1), None, b.reshape(1))[0].backward()
    assert log == [(3, None, None)]
    layer = nn.Linear(1, 1)
    layer.register_full_backward_hook(lambda m, into, out: out)
    with pytest.raises(gg.GradientError, match="returned a gradient for what gets none"):
        layer(gg.ones((1, 1))).backward()
