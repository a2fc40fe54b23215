"""Pictures of the tape: what stands in them, that nothing overlaps, and that large graphs fold."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.drawing.layout import layered
from gpugrad.drawing.picture import Drawing
from gpugrad.drawing.svg import BLUE, GREEN, RED

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def xyz(x: Any, y: Any, z: Any) -> Any:
    return (x + y) * z


def neuron(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    return 1 / (1 + gg.exp(-(w0 * x0 + w1 * x1 + w2)))


def texts(drawing: Drawing, colour: str) -> list[str]:
    root = ElementTree.fromstring(drawing.svg)
    return [element.text or "" for element in root.iter(f"{SVG}text") if element.get("fill") == colour]


def titles(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(drawing.svg)
    return [element.text or "" for group in root.iter(f"{SVG}g") for element in group.findall(f"{SVG}title")]


# --- the lectures' examples ---------------------------------------------------------------------------------------


def test_text_of_the_sigmoid_neuron() -> None:
    assert gg.draw(neuron, 2.0, -1.0, -3.0, -2.0, -3.0).text.splitlines() == [
        "                 value  gradient",
        "w0   leaf        2.00   -0.20",
        "x0   leaf        -1.00  0.39",
        "w1   leaf        -3.00  -0.39",
        "x1   leaf        -2.00  -0.59",
        "w2   leaf        -3.00  0.20",
        "%5   * (w0, x0)  -2.00  0.20",
        "%6   * (w1, x1)  6.00   0.20",
        "%7   + (%5, %6)  4.00   0.20",
        "%8   + (%7, w2)  1.00   0.20",
        "%9   *−1 (%8)    -1.00  -0.20",
        "%10  exp (%9)    0.37   -0.53",
        "%11  +1 (%10)    1.37   -0.53",
        "%12  1/x (%11)   0.73   1.00",
    ]


def test_dot() -> None:
    dot = re.sub(r', tooltip="(\\.|[^"\\])*"', "", gg.draw(xyz, -2.0, 5.0, -4.0).dot)
    assert dot.splitlines() == [
        'digraph "xyz" {',
        "  rankdir=LR; node [fontsize=11]; edge [fontsize=10];",
        '  n0 [label="x", shape=plaintext];',
        '  n1 [label="y", shape=plaintext];',
        '  n2 [label="z", shape=plaintext];',
        '  n3 [label="+", shape=ellipse];',
        '  n0 -> n3 [label="-2.00\\n-4.00"];',
        '  n1 -> n3 [label="5.00\\n-4.00"];',
        '  n4 [label="*", shape=ellipse];',
        '  n3 -> n4 [label="3.00\\n-4.00"];',
        '  n2 -> n4 [label="-4.00\\n3.00"];',
        "}",
    ]


def test_svg_has_values_gradients_and_the_users_line() -> None:
    drawing = gg.draw(xyz, -2.0, 5.0, -4.0)
    assert sorted(texts(drawing, GREEN)) == sorted(["-2.00", "5.00", "-4.00", "3.00", "-12.00"])
    assert sorted(texts(drawing, RED)) == sorted(["-4.00", "-4.00", "3.00", "-4.00", "1.00"])
    assert texts(drawing, BLUE) == []
    line = xyz.__code__.co_firstlineno + 1
    found = [title for title in titles(drawing) if title.startswith("multiply")]
    assert found == [f"multiply\nvalue float64[]\ngradient float64[]\nat test_draw.py:{line}, in xyz: return (x + y) * z"]


def test_local_gradients_on_request() -> None:
    drawing = gg.draw(xyz, -2.0, 5.0, -4.0, local=True)
    assert sorted(texts(drawing, BLUE)) == sorted(["1.00", "1.00", "-4.00", "3.00"])
    elementwise = gg.draw(lambda x: gg.exp(x), np.zeros(3), local=True)
    assert "local gradient of input 0: float64[3], 1.00 to 1.00" in titles(elementwise)[-1]


def test_arrays_show_their_range_and_shape() -> None:
    x = np.arange(12.0).reshape(3, 4)
    drawing = gg.draw(lambda x: (x * 2).sum(), x)
    assert texts(drawing, GREEN) == ["3 × 4", "3 × 4", "132.00"]
    assert any("value float64[3, 4], 0.00 to 11.00" in title for title in titles(drawing))


def test_gradients_are_those_of_backward_and_touch_no_grad() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    drawing = gg.draw(net, x)
    assert all(p.grad is None for p in net.parameters())
    net(gg.tensor(x)).sum().backward()
    details = {gate.name: gate.gradient.detail for gate in drawing.gates if gate.owned and gate.gradient}
    for name, p in net.named_parameters():
        low, high = (f"{v:.2f}" for v in (float(p.grad.min()), float(p.grad.max())))  # type: ignore[union-attr]
        if p.size > 1 and min(abs(float(p.grad.min())), abs(float(p.grad.max()))) > 0.01:  # type: ignore[union-attr]
            assert details[name] == f"float32[{', '.join(map(str, p.shape))}], {low} to {high}"
    assert set(details) == dict(net.named_parameters()).keys()


def test_modules_are_grouped() -> None:
    drawing = gg.draw(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), np.ones((5, 3), np.float32))
    assert {"0", "2"} <= set(texts(drawing, BLUE))
    assert [gate.module for gate in drawing.gates if gate.kind == "op"] == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["neuron", "neuron_local", "xyz", "mlp"])
def test_pictures_in_the_docs_are_up_to_date(name: str) -> None:
    spec = importlib.util.spec_from_file_location("make", PICTURES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    drawn = make.pictures()[name]
    assert drawn == (PICTURES / f"{name}.svg").read_text(encoding="utf-8"), "run python docs/pictures/make.py"


# --- the tape of a tensor -----------------------------------------------------------------------------------------


def test_a_tensor_shows_what_its_tape_knows() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    y = gg.exp(x)
    loss = y.sum()
    before = gg.draw(loss)
    assert [gate.name for gate in before.gates] == ["x", "y", "loss"]
    assert texts(before, GREEN) == ["[1.00  2.00]", "[2.72  7.39]", "10.11"]
    assert texts(before, RED) == []
    loss.backward()
    assert texts(gg.draw(loss), RED) == ["[2.72  7.39]"]


def test_notebooks_show_computed_tensors_and_leave_others_to_text() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    assert x._repr_svg_() is None  # type: ignore[attr-defined]
    ElementTree.fromstring((x * 2)._repr_svg_())  # type: ignore[attr-defined]


class Double(gg.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2


@pytest.mark.parametrize(
    ("function", "label"),
    [
        (lambda x: gg.linalg.eigh(x * x[:, None])[0].sum(), "eigh"),
        (lambda x: Double.apply(x).sum(), "Double"),
        (lambda x: gg.checkpoint(lambda x: gg.exp(x) * 2, x).sum(), "checkpoint(<lambda>)"),
        (lambda x: gg.concatenate([x, x]).sum(), "concatenate"),
        (lambda x: gg.real(gg.fft.fft(x)).sum(), "real"),
    ],
)
def test_all_kinds_of_ops_are_drawn(function: Callable[[Any], Any], label: str) -> None:
    drawing = gg.draw(function, np.array([3.0, 1.0, 2.0]), local=True)
    assert label in [gate.label for gate in drawing.gates]
    assert drawing.gates[0].gradient is not None
    ElementTree.fromstring(drawing.svg)


# --- folding ------------------------------------------------------------------------------------------------------


def loop(x: Any) -> Any:
    for _ in range(300):
        x = gg.sin(x) * 1.01 + 0.1
    return x


def test_repetitions_fold() -> None:
    drawing = gg.draw(loop, 1.0)
    assert [gate.label for gate in drawing.gates] == ["x", "300 × (sin, *1.01, +0.1)"]
    assert drawing.note == "900 ops in 1 box"

    def growing(x: Any) -> Any:
        for i in range(50):
            x = gg.sin(x) * (1 + i)
        return x

    assert gg.draw(growing, 1.0).gates[-1].label == "50 × (sin, multiply)"


class Block(nn.Module):
    def __init__(self) -> None:
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return x + self.second(gg.tanh(self.first(x)) * 2)


def test_modules_fold_and_take_their_parameters_with_them() -> None:
    x = np.ones((2, 4), np.float32)
    drawing = gg.draw(nn.Sequential(*[Block() for _ in range(20)]), x)
    assert [gate.label for gate in drawing.gates] == ["x", *map(str, range(20))]
    assert [gate.inputs for gate in drawing.gates[1:]] == [[gate] for gate in drawing.gates[:-1]]
    assert "with 0.first.weight, 0.first.bias, 0.second.weight, 0.second.bias" in drawing.gates[1].detail
    assert drawing.note == "100 ops in 20 boxes"
    assert len(gg.draw(nn.Sequential(Block()), x).gates) == 10  # few: nothing folds


def test_at_last_the_oldest_fold() -> None:
    steps = np.random.default_rng(0).integers(0, 3, 90)

    def irregular(x: Any) -> Any:
        for i in steps:
            x = (gg.sin, gg.tanh, gg.exp)[i](x)
        return x

    drawing = gg.draw(irregular, 1.0, limit=20)
    assert len(drawing.gates) == 21
    assert re.fullmatch("… [67][0-9] earlier ops", drawing.gates[1].label)


def test_folded_graphs_have_no_cycle() -> None:
    def tangled(x: Any) -> Any:
        values = [x]
        for i in range(100):
            values.append(gg.sin(values[i // 2]) + values[-1] * values[i // 3])
        return values[-1]

    for limit in (5, 30, 100):
        gates = gg.draw(tangled, 0.5, limit=limit).gates
        place = {gate: i for i, gate in enumerate(gates)}
        assert all(place[source] < place[gate] for gate in gates for source in gate.inputs)


# --- layout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_boxes_do_not_overlap_and_wires_run_to_the_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs: list[list[int]] = []
    for i in range(40):
        inputs.append(sorted(set(rng.integers(0, i, rng.integers(0, 4)).tolist())) if i else [])
    leaves = [i for i, sources in enumerate(inputs) if not sources]
    sizes = [tuple(map(float, rng.uniform(10, 120, 2))) for _ in inputs]
    layout = layered(inputs, sizes, set(leaves[::3]), set(leaves[1::3]))  # type: ignore[arg-type]
    boxes = [(x, y - h / 2, x + w, y + h / 2) for (x, y), (w, h) in zip(layout.places, sizes, strict=True)]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] - 1e-6 or b[1] >= a[3] - 1e-6
    for routes in layout.routes:
        for route in routes:
            assert [x for x, _ in route] == sorted(x for x, _ in route)
            assert len(route) % 2 == 0
    assert all(x >= 0 and top + 1e-6 >= 0 and right <= layout.width + 1e-6 for x, top, right, _ in boxes)


# --- edges --------------------------------------------------------------------------------------------------------


def test_names_are_escaped() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    drawing = gg.draw(x * 2, names={'a<b&"c"\\': x})
    assert 'a<b&"c"\\' in {element.text for element in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")}
    assert 'label="a<b&\\"c\\"\\\\"' in drawing.dot
    ElementTree.fromstring(gg.draw(lambda x: x * 2, 1.0).svg)  # the title is <lambda>


def test_saving(tmp_path: Path) -> None:
    drawing = gg.draw(xyz, -2.0, 5.0, -4.0)
    for suffix, text in {".svg": drawing.svg, ".dot": drawing.dot, ".gv": drawing.dot, ".txt": drawing.text}.items():
        drawing.save(tmp_path / f"picture{suffix}")
        assert (tmp_path / f"picture{suffix}").read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match=r"cannot write picture\.png"):
        drawing.save(tmp_path / "picture.png")


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(gg.GradientError, match=r"computed from nothing that requires a gradient[\s\S]*test_draw\.py"):
        gg.draw(gg.tensor([1.0]))
    with pytest.raises(gg.GradientError, match="no tape to draw"):
        gg.draw(lambda x: 1.0, 2.0)
    with pytest.raises(gg.GradientError, match="go with a function"):
        gg.draw(gg.tensor([1.0], requires_grad=True) * 2, local=True)


def test_drawing_is_loaded_when_it_is_used() -> None:
    program = "import gpugrad, sys; assert not [n for n in sys.modules if 'drawing' in n or 'watchers' in n]"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(gg.__file__).parent.parent, timeout=60)
