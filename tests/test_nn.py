"""Modules, initialisers and losses: state, names and errors; against PyTorch where it is installed."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.modes import recording
from gpugrad.nn import functional as F


def net() -> nn.Sequential:
    gg.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))


class Shared(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.scale = nn.Parameter([2.0])
        self.mean = nn.Buffer([0.5])

    def forward(self, x: gg.Tensor) -> gg.Tensor:
        return self.again(self.first(x)) * self.scale - self.mean


def test_parameters_are_found_once_and_named_as_in_pytorch() -> None:
    assert [name for name, _ in net().named_parameters()] == ["0.weight", "0.bias", "2.weight"]
    assert [name for name, _ in Shared().named_parameters()] == ["scale", "first.weight", "first.bias"]
    assert [name for name, _ in Shared().named_buffers()] == ["mean"]
    assert sum(p.size for p in net().parameters()) == 4 * 3 + 3 + 6


def test_train_eval_and_freezing_reach_every_module() -> None:
    model = net().eval()
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())
    model.requires_grad_(False)
    assert not model(gg.zeros((1, 4))).requires_grad


def test_state_dict_round_trip_through_a_file(tmp_path: Path) -> None:
    first, second = net(), nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    gg.save(first.state_dict(), tmp_path / "model.safetensors")
    second.load_state_dict(gg.load(tmp_path / "model.safetensors"))
    x = np.ones((5, 4), np.float32)
    np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), "missing: 0.bias"),
        (lambda s: s.update(extra=gg.zeros(1)), "unexpected: extra"),
        (lambda s: s.update({"2.weight": gg.zeros((2, 4))}), r"shape: 2.weight is \(2, 3\), the state has \(2, 4\)"),
        (lambda s: s.update({"2.weight": gg.zeros((2, 3), "complex64")}), "dtype: 2.weight is float32, the state has complex64"),
    ],
)
def test_a_state_that_does_not_fit_leaves_the_model_as_it_was(change, message: str) -> None:
    model = net()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    state = {k: gg.ones_like(v) for k, v in before.items()}
    change(state)
    with pytest.raises(gg.CheckpointError, match=message):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_loading_keeps_the_parameters_that_an_optimizer_holds() -> None:
    model = net()
    held = list(model.parameters())
    arrays = [p.data for p in held]
    model.load_state_dict({k: gg.ones_like(v) for k, v in model.state_dict().items()})
    assert all(p.data is a and (a == 1).all() for p, a in zip(held, arrays, strict=True))


def test_copies_and_pickles_are_independent() -> None:
    model = net()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        x = np.ones((1, 4), np.float32)
        np.testing.assert_array_equal(model(x).numpy(), other(x).numpy())
        with gg.no_grad():
            next(iter(other.parameters())).data[...] = 0
        assert next(iter(model.parameters())).numpy().any()
        assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in other.parameters())


def test_to_changes_the_dtype_in_place() -> None:
    model = net().to(dtype="float64")
    assert {p.dtype for p in model.parameters()} == {np.dtype("float64")}
    model(np.ones((2, 4))).sum().backward()
    assert next(iter(model.parameters())).grad.dtype == np.float64


def test_repr_shows_the_structure() -> None:
    assert repr(net()) == (
        "Sequential(\n  (0): Linear(in_features=4, out_features=3, bias=True)\n  (1): ReLU()\n"
        "  (2): Linear(in_features=3, out_features=2, bias=False)\n)"
    )


def test_linear_names_shapes_that_do_not_fit() -> None:
    message = r"linear(.|\n)*x = float32\[2, 5\](.|\n)*test_nn.py(.|\n)*in module 0: Linear(.|\n)*0.weight = float32\[3, 4\]"
    model = net()
    for model.fuse in (True, False):
        with pytest.raises(gg.ShapeError, match=message) as caught:
            model(gg.zeros((2, 5)))
        assert caught.value.__cause__ is caught.value.__context__ is None or caught.value.__suppress_context__


def test_sequential_gives_the_same_layer_by_layer() -> None:
    fused, apart = net(), net()
    apart.load_state_dict(fused.state_dict())
    apart.fuse = False
    x = gg.random.normal((5, 4))
    for model in (fused, apart):
        gg.square(model(x)).sum().backward()
    np.testing.assert_array_equal(fused(x).detach(), apart(x).detach())
    for p, q in zip(fused.parameters(), apart.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_layers_that_are_frozen_get_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Sigmoid(), nn.Linear(2, 1))
    frozen = [*model[0].parameters(), model[2].weight]
    for p in frozen:
        p.requires_grad_(False)
    model(gg.random.normal((5, 3))).sum().backward()
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in (model[2].bias, *model[4].parameters()))


@pytest.mark.parametrize(
    ("fill", "variance"),
    [
        (nn.init.xavier_uniform_, 2 / 700),
        (nn.init.xavier_normal_, 2 / 700),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), 2 / 300),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), 2 / 400),
        (lambda t: nn.init.normal_(t, 3.0, 0.5), 0.25),
        (lambda t: nn.init.uniform_(t, -1, 1), 1 / 3),
    ],
)
def test_initialisers_have_the_variance_of_their_formula(fill, variance: float) -> None:
    gg.manual_seed(0)
    t = fill(gg.zeros((400, 300)))
    assert t.numpy().var() == pytest.approx(variance, rel=0.02)
    gg.manual_seed(0)
    np.testing.assert_array_equal(fill(gg.zeros((400, 300))).numpy(), t.numpy())


def test_initialisers_refuse_what_has_no_fan() -> None:
    with pytest.raises(gg.ShapeError, match="fan-in"):
        nn.init.xavier_uniform_(gg.zeros(3))
    with pytest.raises(ValueError, match="no gain is known for 'wave'"):
        nn.init.calculate_gain("wave")


# --- losses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.huber_loss, F.hinge_loss, F.binary_cross_entropy_with_logits])
def test_a_lost_axis_is_warned_of_at_the_users_line(loss) -> None:
    with pytest.warns(UserWarning, match=r"prediction \(3, 1\) and target \(3,\)") as caught:
        loss(gg.zeros((3, 1)), np.zeros(3, np.float32))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(gg.zeros((3, 1)), np.zeros((3, 1), np.float32))


@pytest.mark.parametrize("target", [[0, 3], [0, -1], [-5, 0]])
def test_class_ids_out_of_range_are_refused(target: list[int]) -> None:
    with pytest.raises(gg.ShapeError, match=r"class ids must be in 0..2 for 3 logits; got -?\d"):
        F.cross_entropy(gg.zeros((2, 3)), np.array(target))
    with pytest.raises(gg.ShapeError, match=r"class ids must be in 0..2"):
        F.multiclass_svm_loss(gg.zeros((2, 3)), np.array(target))


def test_cross_entropy_names_targets_that_do_not_fit() -> None:
    with pytest.raises(gg.ShapeError, match=r"class ids must have shape \(2,\), got \(3,\)"):
        F.cross_entropy(gg.zeros((2, 3)), np.array([0, 1, 2]))
    with pytest.raises(gg.ShapeError, match="class ids must be integers"):
        F.cross_entropy(gg.zeros((2, 3)), np.array([0.0, 1.0]))
    with pytest.raises(gg.ShapeError, match=r"logits must be \(N, classes, ...\)"):
        F.cross_entropy(gg.zeros(()), np.array(1))


def test_binary_cross_entropy_takes_probabilities_only() -> None:
    with pytest.raises(ValueError, match="for logits use binary_cross_entropy_with_logits"):
        F.binary_cross_entropy(gg.tensor([2.0]), [1.0])


def test_the_lectures_svm_loss() -> None:
    """Three classes, scores 3.2, 5.1, -1.7 and right class 0: max(0, 2.9) + max(0, -3.9)."""
    scores = gg.tensor(np.array([[3.2, 5.1, -1.7]]), requires_grad=True)
    loss = F.multiclass_svm_loss(scores, np.array([0]))
    loss.backward()
    assert loss.item() == pytest.approx(2.9, rel=1e-12)
    assert scores.grad.tolist() == [[-1, 1, 0]]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("MSELoss", "MSELoss", "real"),
        ("L1Loss", "L1Loss", "real"),
        ("HuberLoss", "HuberLoss", "real"),
        ("BCEWithLogitsLoss", "BCEWithLogitsLoss", "real"),
        ("BCELoss", "BCELoss", "probability"),
        ("CrossEntropyLoss", "CrossEntropyLoss", "ids"),
        ("CrossEntropyLoss", "CrossEntropyLoss", "soft"),
    ],
)
def test_losses_follow_pytorch(ours: str, theirs: str, kind: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    x = rng.uniform(0.05, 0.95, (6, 4)) if kind == "probability" else rng.normal(size=(6, 4)) * 3
    target = {"ids": rng.integers(0, 4, 6), "soft": rng.dirichlet(np.ones(4), 6)}.get(kind, rng.uniform(size=(6, 4)))
    a, b = gg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    value = getattr(nn, ours)(reduction=reduction)(a, target)
    expected = getattr(torch.nn, theirs)(reduction=reduction)(b, torch.tensor(target))
    np.testing.assert_allclose(value.numpy(), expected.detach().numpy(), rtol=1e-12)
    weights = rng.normal(size=value.shape)
    value.backward(weights)
    expected.backward(torch.tensor(weights))
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_clip_grad_norm_scales_all_gradients_together() -> None:
    a, b = gg.tensor([3.0], requires_grad=True), gg.tensor([4.0], requires_grad=True)
    (a * 3 + b * 4).sum().backward()
    assert nn.utils.clip_grad_norm_([a, b], 1.0).item() == pytest.approx(5)
    assert [a.grad.item(), b.grad.item()] == pytest.approx([0.6, 0.8], rel=1e-5)
    assert nn.utils.clip_grad_norm_([a, b], 10.0).item() == pytest.approx(1, rel=1e-5)
    assert a.grad.item() == pytest.approx(0.6, rel=1e-5)


def test_lists_serve_as_class_ids() -> None:
    assert F.cross_entropy([[0.0, 0.0]], [1]).item() == pytest.approx(np.log(2), rel=1e-6)


def test_a_function_in_place_of_a_layer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"layer 1 is relu: use its module, as nn\.ReLU\(\)"):
        nn.Sequential(nn.Linear(2, 2), gg.relu)


def test_sequential_runs_a_gelu_by_tanh_with_its_layer() -> None:
    gg.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.GELU("tanh"), nn.Linear(5, 3), nn.GELU())
    x = gg.random.normal((2, 4))
    with recording() as records:
        out = net(x)
    assert [record.op.name for record in records] == ["linear_layers", "gelu"]
    for layer in net:
        x = layer(x)
    np.testing.assert_allclose(out.numpy(), x.numpy(), rtol=1e-6)


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize("last", [nn.ReLU, nn.Identity])
def test_wide_layers_in_one_op_are_layers_one_by_one(rows: int, last: type[nn.Module]) -> None:
    gg.manual_seed(0)
    kinds = (nn.Tanh, nn.Sigmoid, nn.ReLU, last)
    model = nn.Sequential(*[module for kind in kinds for module in (nn.Linear(64, 64, dtype=np.float64), kind())])
    x = np.random.default_rng(0).standard_normal((rows, 64))
    cotangent = gg.tensor(np.ones((rows, 64)))

    def run(fuse: bool) -> list[np.ndarray]:
        model.fuse = fuse
        model.zero_grad()
        given = gg.tensor(x, requires_grad=True)
        out = model(given)
        kept = out.numpy().copy()
        out.backward(cotangent)
        np.testing.assert_array_equal(out.numpy(), kept)
        np.testing.assert_array_equal(cotangent.numpy(), 1)
        return [kept, *[t.grad.numpy() for t in (given, *model.parameters())]]

    for together, apart in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-14)
