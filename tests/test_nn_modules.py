"""Modules made of functions, next to PyTorch's: values, states, running statistics."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from nn_arrays import ids, real, rng, share, signs, spread, words

import gpugrad as gg
from gpugrad import nn
from gpugrad.modes import recording
from gpugrad.nn import functional as F
from gpugrad.ops import updates

# --- running statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["batch_norm", "instance_norm"])
def test_running_statistics_follow_pytorch(kind: str, momentum: float) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (gg.zeros(3, "float64"), gg.ones(3, "float64")), (torch.zeros(3).double(), torch.ones(3).double())
    for _ in range(3):
        x = real(4, 3, 5)
        getattr(F, kind)(x, *ours, None, None, True, momentum)
        getattr(torch.nn.functional, kind)(torch.tensor(x), *theirs, None, None, True, momentum)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    value = getattr(F, kind)(x, *ours, None, None, False).numpy()
    expected = getattr(torch.nn.functional, kind)(torch.tensor(x), *theirs, None, None, False)
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-12)


def test_a_step_with_batch_norm_and_class_weights_is_recorded() -> None:
    """Running statistics change by recorded updates, and class ids are operands: a replay reads those of the day."""
    layer, weight = nn.BatchNorm1d(3), nn.Buffer([1.0, 2.0, 3.0])
    x, y = np.ones((4, 3), np.float32), np.array([0, 1, 2, 0])
    with recording() as records:
        F.cross_entropy(layer(x), y, weight).backward()
    names = [record.op.name for record in records]
    assert names.count("lerp_") == 2
    assert {"add_", "standardize_batch", "nll_loss"} <= set(names)
    (nll,) = [record for record in records if record.op.name == "nll_loss"]
    assert nll.inputs[1] is y
    (mean, *_) = [record for record in records if record.op.name == "lerp_"]
    assert mean.inputs[0] is layer.running_mean.data
    known = {id(x), id(y), id(weight.data), id(layer.running_mean.data), id(layer.running_var.data)}
    known |= {id(p.data) for p in layer.parameters()}
    for record in records:
        found = [v for v in record.inputs if isinstance(v, np.ndarray) and v.size > 1 and id(v) not in known]
        assert all(v.tolist() == [0, 1, 2] for v in found), (record, found)  # the numbers of the classes
        known |= {id(out) for out in (record.out if isinstance(record.out, tuple) else (record.out,))}


def test_batch_norm_changes_its_statistics_in_place() -> None:
    mean, var = np.zeros(2), np.ones(2)
    F.batch_norm(np.array([[1.0, 0.0], [3.0, 4.0]]), mean, var, training=True, momentum=0.5)
    np.testing.assert_allclose(mean, [1, 1])
    np.testing.assert_allclose(var, [1.5, 4.5])
    x = gg.zeros(2)
    updates.lerp_(x, gg.ones(2), gg.tensor(0.25))
    assert x.tolist() == [0.25, 0.25]


# --- modules ------------------------------------------------------------------------------------------------------

MODULES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    *[(name, {}, (spread(4, 6),)) for name in words("ReLU6 SELU CELU Mish Softsign Hardtanh Hardsigmoid Hardswish")],
    *[(name, {}, (spread(4, 6),)) for name in words("Softshrink Hardshrink Tanhshrink GLU GELU PReLU")],
    ("Threshold", {"threshold": 0.5, "value": 2.0}, (spread(4, 6),)),
    ("SmoothL1Loss", {"beta": 0.5}, (spread(4), spread(4))),
    ("CrossEntropyLoss", {"weight": np.array([1.0, 2, 3]), "label_smoothing": 0.1}, (real(4, 3), ids(3, 4))),
    ("NLLLoss", {"ignore_index": 1}, (real(4, 3), ids(3, 4))),
    ("BCEWithLogitsLoss", {"pos_weight": np.array([1.0, 2, 3])}, (real(4, 3), rng.uniform(size=(4, 3)))),
    ("KLDivLoss", {"reduction": "batchmean"}, (np.log(share(4, 3)), share(4, 3))),
    ("PoissonNLLLoss", {"full": True}, (real(4), np.array([0.0, 1, 2, 3]))),
    ("GaussianNLLLoss", {}, (real(4), real(4), np.ones(4))),
    ("HingeEmbeddingLoss", {"margin": 2.0}, (spread(4), signs(4))),
    ("SoftMarginLoss", {}, (spread(4), signs(4))),
    ("MultiMarginLoss", {"p": 2}, (spread(4, 3), ids(3, 4))),
    ("MultiLabelMarginLoss", {}, (spread(1, 3), np.array([[0, -1, 1]]))),
    ("MultiLabelSoftMarginLoss", {}, (spread(4, 3), ids(2, 4, 3).astype(float))),
    ("MarginRankingLoss", {"margin": 0.5}, (spread(4), spread(4), signs(4))),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (real(4, 3), real(4, 3), signs(4))),
    ("TripletMarginLoss", {"swap": True}, (real(4, 3), real(4, 3), real(4, 3))),
    ("PairwiseDistance", {"p": 1.0}, (real(4, 3), real(4, 3))),
    ("LocalResponseNorm", {"size": 2}, (real(2, 4, 3),)),
    ("LayerNorm", {"normalized_shape": (3,)}, (real(4, 3),)),
    ("RMSNorm", {"normalized_shape": (3,)}, (real(4, 3),)),
    ("GroupNorm", {"num_groups": 2, "num_channels": 4}, (real(3, 4, 2),)),
    ("BatchNorm1d", {"num_features": 3}, (real(5, 3),)),
    ("BatchNorm2d", {"num_features": 3, "momentum": None}, (real(5, 3, 2, 2),)),
    ("BatchNorm3d", {"num_features": 3, "track_running_stats": False}, (real(5, 3, 2, 2, 2),)),
    ("InstanceNorm1d", {"num_features": 3, "affine": True, "track_running_stats": True}, (real(5, 3, 4),)),
    ("InstanceNorm2d", {"num_features": 3}, (real(5, 3, 4, 2),)),
    ("Embedding", {"num_embeddings": 5, "embedding_dim": 3, "padding_idx": -2}, (ids(5, 2, 3),)),
    ("Bilinear", {"in1_features": 2, "in2_features": 3, "out_features": 4}, (real(5, 2), real(5, 3))),
    ("Flatten", {"start_dim": 0, "end_dim": 1}, (real(2, 3, 4),)),
    ("Softplus", {"beta": 2.0, "threshold": 1e6}, (spread(4, 6),)),
    ("Softmax", {"dim": 0}, (real(4, 3),)),
    ("CosineSimilarity", {"dim": 0}, (real(4, 3), real(4, 3))),
    ("LeakyReLU", {"negative_slope": 0.2, "inplace": True}, (spread(4, 6),)),
]


@pytest.mark.parametrize(("name", "options", "inputs"), [pytest.param(*m, id=m[0]) for m in MODULES])
def test_modules_follow_pytorch_in_values_and_state(name: str, options: dict[str, Any], inputs: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours = getattr(nn, name)(**options).to(dtype="float64")
    theirs = getattr(torch.nn, name)(**{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()})
    theirs = theirs.double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert ours.state_dict()[key].shape == tuple(value.shape), key
        assert str(ours.state_dict()[key].dtype) == str(value.dtype).removeprefix("torch."), key
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        value, expected = ours(*inputs), theirs(*map(torch.tensor, inputs))  # copies: "inplace" changes them
        np.testing.assert_allclose(value.detach().numpy(), expected.detach().numpy(), rtol=1e-6, atol=1e-7)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-6, err_msg=key)


def test_modules_made_of_functions_are_ordinary_ones() -> None:
    loss = nn.CrossEntropyLoss(np.array([1.0, 2.0]), label_smoothing=0.1)
    again = pickle.loads(pickle.dumps(copy.deepcopy(loss)))
    x, y = real(4, 2), ids(2, 4)
    assert loss(x, y).item() == again(x, y).item()
    again.reduction = "sum"
    assert again(x, y).item() != loss(x, y).item()
    assert [name for name, _ in loss.named_buffers()] == ["weight"]
    assert repr(nn.TripletMarginLoss(swap=True)).startswith("TripletMarginLoss(margin=1.0, p=2.0, eps=1e-06, swap=True")
    assert str(inspect.signature(nn.Hardtanh)) == "(min_val: 'float' = -1.0, max_val: 'float' = 1.0)"
    with pytest.raises(TypeError, match=r"Hardtanh\(min_val.*: too many positional arguments"):
        nn.Hardtanh(1, 2, 3)
    assert nn.Dropout(0.5).eval()(x).tolist() == x.tolist()
    assert not nn.Dropout(1.0)(x).numpy().any()


def test_a_table_of_rows_that_are_given() -> None:
    torch = pytest.importorskip("torch")
    rows, picked = real(5, 3), ids(5, 4)
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(rows), padding_idx=1)
    ours = nn.Embedding.from_pretrained(rows, padding_idx=1)
    np.testing.assert_array_equal(ours(picked).numpy(), theirs(torch.tensor(picked)).numpy())
    assert not ours.weight.requires_grad
    assert nn.Embedding.from_pretrained(gg.asarray(rows), freeze=False).weight.requires_grad
    with pytest.raises(gg.ShapeError, match=r"expected rows, of 2 axes, got float64\[3\]"):
        nn.Embedding.from_pretrained(rows[0])


@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [("BatchNorm2d", (3,), (5, 3, 2, 2)), ("GroupNorm", (2, 4), (3, 4, 2)), ("InstanceNorm1d", (3,), (5, 3, 4))],
)
def test_norms_may_scale_without_a_shift(name: str, sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    layer, other = (getattr(nn, name)(*sizes, affine=True, bias=bias).to(dtype="float64") for bias in (False, True))
    assert list(layer.state_dict()) == [key for key in other.state_dict() if key != "bias"]
    with gg.no_grad():
        layer.weight[...] = other.weight[...] = np.arange(1.0, 1 + len(layer.weight))
    x = real(*shape)
    np.testing.assert_array_equal(layer(x).detach().numpy(), other(x).detach().numpy())
