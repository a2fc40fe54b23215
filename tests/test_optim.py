"""Optimisers: PyTorch's update rules to rounding, options, groups, state, errors."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import optim

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.02}),
    ("SGD", {"lr": 0.02, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.0002, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.0002, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.005, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.002, "centered": True, "momentum": 0.5, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.001, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    ("Adadelta", {"maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adamax", {"maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "momentum_decay": 0.02}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
]


def quadratic(a: Any, b: Any, matrix: Any) -> Any:
    """A loss that is not separable, on two parameters of different shapes."""
    return ((a @ matrix - 1) ** 2).sum() + ((b * b).sum() - 2) ** 2


@pytest.mark.parametrize(("name", "options"), CASES)
def test_two_hundred_steps_follow_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, other, matrix = rng.normal(size=(3, 4)), rng.normal(size=5), rng.normal(size=(4, 4)) / 4
    a, b = gg.tensor(start, requires_grad=True), gg.tensor(other, requires_grad=True)
    ta, tb = torch.tensor(start, requires_grad=True), torch.tensor(other, requires_grad=True)
    ours, theirs = getattr(optim, name)([a, b], **options), getattr(torch.optim, name)([ta, tb], **options)
    sign = -1 if options.get("maximize") else 1
    for i in range(200):
        ours.zero_grad()
        theirs.zero_grad()
        (sign * quadratic(a, b, matrix)).backward()
        (sign * quadratic(ta, tb, torch.tensor(matrix))).backward()
        if i % 5 == 3:  # a step that leaves one parameter out
            b.grad = tb.grad = None
        ours.step()
        theirs.step()
    np.testing.assert_allclose(a.numpy(), ta.detach().numpy(), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(b.numpy(), tb.detach().numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_large_parameters_are_updated_as_small_ones(name: str, options: dict[str, Any]) -> None:
    """Blocks that fit the cache, against one pass: more elements than a block, a number that it does not divide."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=70_001)
    whole = gg.tensor(values, requires_grad=True)
    pieces = [gg.tensor(part, requires_grad=True) for part in np.array_split(values, 7)]
    many, few = getattr(optim, name)(pieces, **options), getattr(optim, name)([whole], **options)
    for _ in range(3):
        grads = rng.normal(size=70_001)
        whole.grad = grads
        for piece, grad in zip(pieces, np.array_split(grads, 7), strict=True):
            piece.grad = grad
        many.step()
        few.step()
    np.testing.assert_allclose(np.concatenate([p.numpy() for p in pieces]), whole.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[0] != "SGD" or "momentum" in case[1]])
def test_parameters_are_updated_together_as_one_by_one(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    values = [rng.normal(size=shape) for shape in ((3,), (40_000,), (7, 5), (), (0, 3), (200, 150), (2, 3, 4))]
    values[2] = np.asfortranarray(values[2])

    def run(saved: dict[str, Any] | None = None) -> tuple[list[np.ndarray], dict[str, Any]]:
        rng = np.random.default_rng(3)
        parameters = [gg.tensor(value, requires_grad=True) for value in values]
        optimizer = getattr(optim, name)(parameters, **options)
        if saved is not None:
            optimizer.load_state_dict(saved)
        for step in range(4):
            for i, p in enumerate(parameters):
                p.grad = None if step == 2 and i == 1 else rng.normal(size=p.shape)
            optimizer.step()
        state = optimizer.state_dict()["state"]
        kept = [state[i][name].numpy() for i in state for name in sorted(state[i])]
        return [*[p.numpy() for p in parameters], *kept], optimizer.state_dict()

    together, state = run()
    again, _ = run(state)
    monkeypatch.setattr("gpugrad.optim.optimizers.arranged", lambda arrays: arrays)
    alone, _ = run()
    once_more, _ = run(state)
    for got, want in zip([*together, *again], [*alone, *once_more], strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_parameter_of_another_shape_than_what_is_kept_of_it_is_refused() -> None:
    parameters = [gg.tensor(np.ones(n), requires_grad=True) for n in (3, 4)]
    optimizer = optim.Adam(parameters)
    for p in parameters:
        p.grad = np.ones(p.shape)
    optimizer.step()
    for p, n in zip(parameters, (4, 3), strict=True):
        p.grad = None
        p.data = np.ones(n)
        p.grad = np.ones(n)
    with pytest.raises(ValueError, match="shape"):
        optimizer.step()


def test_groups_have_options_of_their_own_that_may_change() -> None:
    a, b = gg.tensor([1.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    (a + b).sum().backward()
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([0.9, 0.5])
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([0.8, 0.25])


def test_groups_may_be_added_and_a_step_may_compute_the_loss() -> None:
    a, b = gg.tensor([1.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    optimizer = optim.RMSprop([a], lr=0.1, alpha=0.0)

    def closure() -> gg.Tensor:
        optimizer.zero_grad()
        loss = (a + b).sum()
        loss.backward()
        return loss

    with gg.no_grad():  # the closure records all the same
        assert optimizer.step(closure).item() == 2
    optimizer.add_param_group({"params": b, "lr": 0.5, "momentum": 0.9})
    assert optimizer.step(closure).item() == pytest.approx(1.9)
    assert [a.item(), b.item()] == pytest.approx([0.8, 0.5])
    optimizer.param_groups[0]["momentum"] = 0.9  # a state that its first steps did not keep
    optimizer.step(closure)
    optimizer.step(closure)
    assert [a.item(), b.item()] == pytest.approx([0.8 - 0.1 - 0.19, 0.5 - 0.95 - 1.355])


def test_a_variance_that_rounds_below_zero_is_zero() -> None:
    gradients = np.linspace(0.1, 2.0, 200, dtype=np.float32)
    w = gg.tensor(np.zeros_like(gradients), requires_grad=True)
    optimizer = optim.RMSprop([w], lr=0.1, centered=True, alpha=0.9, eps=1.0)
    for _ in range(200):
        w.grad = gradients
        optimizer.step()
    w.data[...] = 0
    optimizer.step()  # the variance of gradients that stay the same is 0, so only eps divides them
    np.testing.assert_allclose(w.numpy(), -0.1 * gradients, rtol=1e-2)


def test_weight_decay_is_l2_regularisation() -> None:
    """The lectures' loss + lambda * sum(w**2) has the gradient that weight_decay = 2 lambda adds."""
    w, v = gg.tensor([2.0, -1.0], requires_grad=True), gg.tensor([2.0, -1.0], requires_grad=True)
    (w.sum() + 0.05 * (w * w).sum()).backward()
    v.sum().backward()
    optim.SGD([w], lr=0.1).step()
    optim.SGD([v], lr=0.1, weight_decay=0.1).step()
    np.testing.assert_allclose(w.numpy(), v.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_saved_state_goes_on_where_it_stopped(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    def run(w: gg.Tensor, optimizer: optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()

    w = gg.tensor([1.0, -2.0], requires_grad=True)
    optimizer = getattr(optim, name)([w], **options)
    run(w, optimizer, 5)
    gg.save({"w": w, "optimizer": optimizer.state_dict()}, tmp_path / "state")
    run(w, optimizer, 5)
    saved = gg.load(tmp_path / "state")
    again = gg.tensor(saved["w"], requires_grad=True)
    other = getattr(optim, name)([again], **options | {"lr": 0.9})
    other.load_state_dict(saved["optimizer"])
    run(again, other, 5)
    np.testing.assert_array_equal(w.numpy(), again.numpy())
    assert other.param_groups[0] | {"params": 0} == optimizer.param_groups[0] | {"params": 0}


def test_a_state_of_other_shapes_is_refused_whole() -> None:
    w, v = gg.tensor([1.0, 2.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    first, second = optim.Adam([w]), optim.Adam([v])
    w.grad = [1.0, 1.0]
    first.step()
    with pytest.raises(gg.CheckpointError, match="state of parameter 0"):
        second.load_state_dict(first.state_dict())
    with pytest.raises(gg.CheckpointError, match="other parameter groups"):
        optim.Adam([{"params": [v]}, {"params": [w]}]).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.SGD([], lr=0.1), "no parameters"),
        (lambda w: optim.SGD([w], lr=-1), "lr must be 0 or more, got -1"),
        (lambda w: optim.SGD([w], lr=float("nan")), "lr must be 0 or more, got nan"),
        (lambda w: optim.SGD([w, w], lr=1), "appears twice"),
        (lambda w: optim.SGD([w * 2], lr=1), "takes leaves"),
        (lambda w: optim.SGD([3.0], lr=1), "takes Tensors, got float"),
        (lambda w: optim.SGD([w], lr=1, nesterov=True), "nesterov=True needs momentum"),
        (lambda w: optim.Adam([w], betas=(0.9, 1.0)), r"betas must be in \[0, 1\)"),
        (lambda w: optim.RMSprop([w], alpha=2), r"alpha must be in \[0, 1\], got 2"),
        (lambda w: optim.Adagrad([w], lr_decay=-1), "lr_decay must be 0 or more"),
        (lambda w: optim.Adam([w], differentiable=True), "Adam: differentiable=True is not there"),
        (
            lambda w: optim.NAdam([w]).add_param_group({"params": gg.ones(1), "momentum_decay": -1}),
            "momentum_decay must be 0 or more",
        ),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ValueError, gg.GpugradError), match=message):
        make(gg.tensor([1.0], requires_grad=True))


# --- update rules written down a second time, one number at a time, from the papers ------------------------------------


def by_hand(name: str, p: float, gradient: Any, steps: int, o: dict[str, Any]) -> float:
    """One parameter under an update rule, in Python's own floats."""
    b1, b2 = o.get("betas", (0.9, 0.999))
    lr = o.get("lr", {"RMSprop": 1e-2, "Adagrad": 1e-2, "Adadelta": 1, "Adamax": 2e-3, "NAdam": 2e-3}.get(name, 1e-3))
    eps = o.get("eps", {"Adagrad": 1e-10, "Adadelta": 1e-6}.get(name, 1e-8))
    decay = o.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
    decoupled = name == "AdamW" or o.get("decoupled_weight_decay", False)
    m = v = top = buffer = 0.0
    product, total = 1.0, o.get("initial_accumulator_value", 0.0)
    for t in range(1, steps + 1):
        g = gradient(p) * (-1 if o.get("maximize") else 1)
        if decoupled:
            p -= lr * decay * p
        else:
            g += decay * p
        if name == "SGD":
            if o.get("momentum"):
                buffer = g if t == 1 else o["momentum"] * buffer + (1 - o.get("dampening", 0)) * g
                g = g + o["momentum"] * buffer if o.get("nesterov") else buffer
            p -= lr * g
        elif name == "RMSprop":
            a = o.get("alpha", 0.99)
            v, m = a * v + (1 - a) * g * g, a * m + (1 - a) * g
            step = g / ((v - m * m if o.get("centered") else v) ** 0.5 + eps)
            buffer = o.get("momentum", 0) * buffer + step
            p -= lr * buffer
        elif name == "Adagrad":
            total += g * g
            p -= lr / (1 + (t - 1) * o.get("lr_decay", 0)) * g / (total**0.5 + eps)
        elif name == "Adadelta":
            rho = o.get("rho", 0.9)
            v = rho * v + (1 - rho) * g * g
            step = (m + eps) ** 0.5 / (v + eps) ** 0.5 * g
            m = rho * m + (1 - rho) * step * step
            p -= lr * step
        elif name == "Adamax":
            m, v = b1 * m + (1 - b1) * g, max(b2 * v, abs(g) + eps)
            p -= lr / (1 - b1**t) * m / v
        else:
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            top = max(top, v)
            root = ((top if o.get("amsgrad") else v) / (1 - b2**t)) ** 0.5
            if name == "NAdam":
                psi = o.get("momentum_decay", 4e-3)
                mu, after = b1 * (1 - 0.96 ** (t * psi) / 2), b1 * (1 - 0.96 ** ((t + 1) * psi) / 2)
                product *= mu
                p -= lr * (after * m / (1 - product * after) + (1 - mu) * g / (1 - product)) / (root + eps)
            elif name == "RAdam":
                limit = 2 / (1 - b2) - 1
                rho = limit - 2 * t * b2**t / (1 - b2**t)
                step = m / (1 - b1**t)
                if rho > 5:
                    r = ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) ** 0.5
                    step *= r / (root + eps / (1 - b2**t) ** 0.5)
                p -= lr * step
            else:
                p -= lr * m / (1 - b1**t) / (root + eps)
    return p


@pytest.mark.parametrize(("name", "options"), CASES)
def test_forty_steps_follow_the_rule_written_by_hand(name: str, options: dict[str, Any]) -> None:
    options = options | ({"weight_decay": 0.0} if options.get("maximize") and "weight_decay" not in options else {})
    starts = [0.7, -1.3]
    w = gg.tensor(np.array(starts), requires_grad=True)
    optimizer = getattr(optim, name)([w], **options)
    for _ in range(40):
        optimizer.zero_grad()
        (gg.cos(w) + w**2).sum().backward()
        optimizer.step()
    expected = [by_hand(name, p, lambda x: -np.sin(x) + 2 * x, 40, options) for p in starts]
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "SGD"])
def test_complex_parameters_follow_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    start, goal = (rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2)) for _ in range(2))
    z, tz = gg.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    ours, theirs = getattr(optim, name)([z], lr=0.05), getattr(torch.optim, name)([tz], lr=0.05)
    for _ in range(20):
        ours.zero_grad()
        theirs.zero_grad()
        (gg.abs(z - goal) ** 2).sum().backward()
        ((tz - torch.tensor(goal)).abs() ** 2).sum().backward()
        ours.step()
        theirs.step()
    np.testing.assert_allclose(z.numpy(), tz.detach().numpy(), rtol=1e-7)  # PyTorch keeps NAdam's mu_product in float32


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_of_pytorch_is_taken_over(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    start = np.array([0.3, -0.8, 1.2])
    t = torch.tensor(start, requires_grad=True)
    theirs = getattr(torch.optim, name)([t], **options)

    def go(w: Any, optimizer: Any, library: Any) -> None:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = (library.cos(w) + w**2 * (w - 1) ** 2).sum()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)

    go(t, theirs, torch)
    w = gg.tensor(t.detach().numpy().copy(), requires_grad=True)
    ours = getattr(optim, name)([w])
    ours.load_state_dict(theirs.state_dict())
    go(t, theirs, torch)
    go(w, ours, gg)
    np.testing.assert_allclose(w.numpy(), t.detach().numpy(), rtol=1e-8)


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_every_argument_of_pytorch_is_taken(name: str) -> None:
    torch = pytest.importorskip("torch")
    parameters = inspect.signature(getattr(torch.optim, name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    ours = getattr(optim, name)([gg.ones(2, requires_grad=True)], **defaults).param_groups[0]
    plain = getattr(optim, name)([gg.ones(2, requires_grad=True)]).param_groups[0]
    for option in plain.keys() - {"params", "decoupled_weight_decay"}:
        assert plain[option] == ours[option] == defaults[option], option
    with pytest.raises(TypeError, match=f"{name} takes no argument 'momentums'"):
        getattr(optim, name)([gg.ones(2, requires_grad=True)], momentums=0.9)
