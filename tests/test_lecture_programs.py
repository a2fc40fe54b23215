"""The lectures' programs in examples/, as a user runs them with few steps: what each claims, and its pictures."""

from __future__ import annotations

import importlib.util
import random
import struct
import sys
from graphlib import CycleError
from pathlib import Path
from types import ModuleType

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = (
    *("two_layer_net", "gates", "linear_classifiers", "classify2d"),
    *("mnist_mlp", "inpainting", "activations", "differentiation"),
    *("denoise_conv", "conv_net", "neural_turing_machine", "scipy_inverse", "cupy_script"),
)


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples.{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def check_pictures(folder: Path, *names: str) -> None:
    """The PNGs that were written are these, of a sensible size and not all one colour."""
    from matplotlib.image import imread

    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.png" for name in names)
    for name in names:
        pixels = imread(folder / f"{name}.png")
        assert pixels.shape[0] > 300, name
        assert pixels.shape[1] > 600, name
        assert pixels[..., :3].std() > 0.05, name


def test_two_layer_net_three_ways_have_the_same_losses(tmp_path: Path) -> None:
    losses = program("two_layer_net").main(["--steps", "150", "--out", str(tmp_path)])
    hand = losses["by hand"]
    assert len(hand) == 150
    assert hand[-1] < 0.1 * hand[0]
    for name in ("Tensor.backward", "nn and optim"):
        np.testing.assert_allclose(losses[name], hand, rtol=1e-12, err_msg=name)
    check_pictures(tmp_path, "two_layer_net")


def test_gates_give_the_numbers_of_the_lecture_and_of_the_tape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = program("gates").main(["--out", str(tmp_path)])
    simple, neuron = (graph for graph, _ in results.values())
    assert simple.values == {"x": -2, "y": 5, "z": -4, "q": 3, "f": -12}
    assert simple.grads == {"x": -4, "y": -4, "z": 3, "q": -4, "f": 1}
    rounded = {name: (round(neuron.values[name], 2), round(neuron.grads[name], 2)) for name in neuron.order}
    assert rounded == {
        "w0": (2, -0.2),
        "x0": (-1, 0.39),
        "w1": (-3, -0.39),
        "x1": (-2, -0.59),
        "w2": (-3, 0.2),
        "s0": (-2, 0.2),
        "s1": (6, 0.2),
        "s2": (4, 0.2),
        "s3": (1, 0.2),
        "minus": (-1, -0.2),
        "exp": (0.37, -0.53),
        "plus 1": (1.37, -0.53),
        "L": (0.73, 1),
    }
    for graph, tape in results.values():
        assert tape.keys() == set(graph.inputs)
        for name, gradient in tape.items():
            np.testing.assert_allclose(graph.grads[name], gradient, rtol=1e-14)
    assert "1/x    of plus 1          0.73      1.00" in capsys.readouterr().out
    check_pictures(tmp_path, "gates")


def test_a_graph_of_gates_may_be_given_in_any_order_and_use_a_value_twice() -> None:
    gates = program("gates")
    items = list(gates.NEURON.items())
    for seed in range(10):
        random.Random(seed).shuffle(items)
        graph = gates.ComputationalGraph(dict(items))
        assert graph.forward(w0=2.0, x0=-1.0, w1=-3.0, x1=-2.0, w2=-3.0) == pytest.approx(0.7310585786300049, rel=1e-15)
        assert graph.backward()["x1"] == pytest.approx(-3 * 0.19661193324148185, rel=1e-14)
    twice = gates.ComputationalGraph({"cube": (gates.Multiply(), "square", "x"), "square": (gates.Multiply(), "x", "x")})
    assert twice.forward(x=3.0) == 27
    assert twice.backward()["x"] == 27  # 3 x^2
    with pytest.raises(CycleError):
        gates.ComputationalGraph({"a": (gates.Add(), "b", "x"), "b": (gates.Add(), "a", "x")}).forward(x=1.0)


def test_linear_classifiers_read_digits_but_fail_where_a_two_layer_net_does_not(tmp_path: Path) -> None:
    accuracies = program("linear_classifiers").main(["--steps", "300", "--epochs", "5", "--out", str(tmp_path)])
    linear = ("perceptron", "logistic regression", "multiclass SVM", "softmax")
    for name in (*linear, "two-layer net"):
        assert accuracies["digits"][name] > 0.88, name
    for data in ("XOR", "disc in a ring"):
        for name in linear:
            assert 0.4 < accuracies[data][name] < 0.6, (data, name)
        assert accuracies[data]["two-layer net"] > 0.97, data
        assert accuracies[data]["softmax on φ(x)"] > 0.97, data
    check_pictures(tmp_path, "linear_classifiers_templates", "linear_classifiers_failures")


def test_the_perceptron_separates_what_a_line_can_separate() -> None:
    """Rosenblatt's rule ends with no mistake on separable data; so do its failures on XOR say something."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2)).astype(np.float32)
    x = x[np.abs(x.sum(axis=1) - 0.5) > 0.2]
    y = (x.sum(axis=1) > 0.5).astype(int)
    w, b = program("linear_classifiers").perceptron(gg.asarray(x), gg.asarray(y), 2, 30)
    assert ((x @ w.numpy().T + b.numpy()).argmax(axis=1) == y).all()


def test_classify2d_widths_add_capacity_and_regularisation_takes_it(tmp_path: Path) -> None:
    results = program("classify2d").main(["--steps", "700", "--out", str(tmp_path)])
    assert len(results) == 18
    spirals = [results["spirals", width, 0.0].train for width in (3, 6, 20)]
    assert spirals == sorted(spirals)
    assert spirals[0] < 0.9
    assert spirals[2] > 0.97
    for name in ("spirals", "moons", "circles"):
        norms = [results[name, 20, penalty].norm for penalty in (0.0, 0.001, 0.01, 0.1)]
        assert norms == sorted(norms, reverse=True), name
        steepness = [np.abs(np.diff(results[name, 20, penalty].plane)).max() for penalty in (0.001, 0.01, 0.1)]
        assert steepness == sorted(steepness, reverse=True), name
    assert results["circles", 20, 0.1].test > 0.95
    check_pictures(tmp_path, "classify2d")


def test_mnist_mlp_trains_both_nets_on_enlarged_digits(tmp_path: Path) -> None:
    histories = program("mnist_mlp").main(["--epochs", "8", "--out", str(tmp_path)])
    (_, small), (_, large) = (histories[name][-1] for name in ("784-16-16-10", "784-512-512-10"))
    assert small > 0.8
    assert large > 0.96
    check_pictures(tmp_path, "mnist_mlp")


def write_mnist(folder: Path, count: int) -> None:
    """The four IDX files: a bright square whose place is the label, in noise."""
    rng = np.random.default_rng(0)
    for name in ("train", "t10k"):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 100, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[14 * (label // 5) :, 5 * (label % 5) :][:8, :5] = 255
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes())


def test_mnist_files_are_read(tmp_path: Path) -> None:
    write_mnist(tmp_path, 300)
    histories = program("mnist_mlp").main(["--mnist", str(tmp_path), "--epochs", "3", "--out", str(tmp_path / "made")])
    assert histories["784-512-512-10"][-1][1] > 0.9
    errors = program("inpainting").main(["--mnist", str(tmp_path), "--steps", "200", "--out", str(tmp_path / "filled")])
    assert errors["net"] < errors["mean image"]
    check_pictures(tmp_path / "filled", "inpainting")
    quality = program("denoise_conv").main(["--mnist", str(tmp_path), "--steps", "20", "--out", str(tmp_path / "sharp")])
    assert quality["degraded"] < quality["net"]
    check_pictures(tmp_path / "sharp", "denoise_conv")
    history = program("conv_net").main(["--mnist", str(tmp_path), "--epochs", "2", "--out", str(tmp_path / "read")])
    assert history[1][0] < history[0][0]
    check_pictures(tmp_path / "read", "conv_net")


def test_inpainting_beats_the_mean_digit(tmp_path: Path) -> None:
    errors = program("inpainting").main(["--steps", "600", "--out", str(tmp_path)])
    assert errors["net"] < 0.6 * errors["mean image"]
    check_pictures(tmp_path, "inpainting")


def test_activations_and_what_they_do_to_gradients(tmp_path: Path) -> None:
    curves, results = program("activations").main(["--width", "128", "--out", str(tmp_path)])
    for name, (y, slope) in curves.items():  # derivatives are those of the curves
        x = np.linspace(-5, 5, 1001)
        smooth = np.abs(np.diff(slope)) < 0.02  # not across a kink
        np.testing.assert_allclose(
            (np.diff(y) / np.diff(x))[smooth], ((slope[1:] + slope[:-1]) / 2)[smooth], atol=1e-4, err_msg=name
        )
    first = {name: result.size[0] / result.size[-1] for name, result in results.items()}
    assert first["tanh, N(0, 1)"] > 100
    assert first["tanh, N(0, 0.01²)"] < 1e-5
    assert first["sigmoid, Glorot"] < 1e-4
    assert 0.1 < first["tanh, Glorot"] < 1
    assert first["ReLU, Glorot"] < 0.2
    assert 0.5 < first["ReLU, He"] < 2
    assert results["tanh, N(0, 1)"].zero[0] > 0.3  # saturated beyond float32
    assert results["ReLU, He, bias -0.25"].dead[-1] > 0.5
    assert results["leaky ReLU, He, bias -0.25"].dead.max() == 0
    check_pictures(tmp_path, "activations", "activations_deep")


def test_differentiation_numerical_symbolic_automatic(tmp_path: Path) -> None:
    pytest.importorskip("sympy")
    errors, gradients, jacobians = program("differentiation").main(["--symbols", "16", "--out", str(tmp_path)])
    forward, central = errors["(f(x + h) - f(x)) / h"], errors["(f(x + h) - f(x - h)) / 2h"]
    assert max(errors["automatic"].max(), errors["symbolic"].max()) < 4e-16
    assert forward.min() > 1e-12
    assert central.min() > 1e-14
    step = errors["step"]
    for error, order in ((forward, 1), (central, 2)):  # too large a step: the error of the formula; too small: rounding
        large = (step > 1e-4) & (step < 1e-1)
        slope = np.polyfit(np.log(step[large]), np.log(error[large]), 1)[0]
        assert slope == pytest.approx(order, abs=0.1)
        assert error[step < 1e-13].max() > 1e-4
    assert gradients["numerical"][1024] > 20 * gradients["automatic"][1024]
    assert gradients["automatic"][1024] < 10 * gradients["automatic"][4]
    assert gradients["numerical"][1024] > 30 * gradients["numerical"][4]
    assert gradients["symbolic, deriving"][16] > 3 * gradients["symbolic, deriving"][4]
    columns, rows = jacobians["forward mode, by columns"], jacobians["reverse mode, by rows"]
    assert columns[0] > 10 * rows[0]  # 256 inputs, one output
    assert rows[-1] > 10 * columns[-1]  # one input, 256 outputs
    chosen = jacobians["gg.jacobian, which chooses"]
    assert chosen[0] < columns[0] / 5
    assert chosen[-1] < rows[-1] / 5
    check_pictures(tmp_path, "differentiation")


def test_denoise_conv_beats_the_best_linear_filter(tmp_path: Path) -> None:
    module = program("denoise_conv")
    quality = module.main(["--steps", "150", "--out", str(tmp_path)])
    assert quality["degraded"] + 5 < quality["Wiener"] < quality["net"]
    check_pictures(tmp_path, "denoise_conv")
    images, _ = module.digits(None, 0)
    noise = module.Degradation(24, 0.0, 0.3)
    observed = noise.apply(images, np.random.default_rng(0))
    assert module.psnr(observed, images) == pytest.approx(-20 * np.log10(0.3), abs=0.05)
    scaled = [module.psnr(images.mean(axis=0) * (1 - s) + s * noise.wiener(observed, images), images) for s in (0.95, 1, 1.05)]
    assert scaled[1] == max(scaled)


def test_conv_net_reads_digits(tmp_path: Path) -> None:
    history = program("conv_net").main(["--epochs", "5", "--out", str(tmp_path)])
    assert history[-1][2] > 0.97
    check_pictures(tmp_path, "conv_net")


def test_conv_net_shifts_by_a_pixel_and_its_blocks_begin_as_what_they_add_to() -> None:
    module, rng = program("conv_net"), np.random.default_rng(0)
    images = rng.random((200, 1, 8, 8)).astype(np.float32)
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = np.zeros((3, 3), int)
    for image, frame in zip(module.shifted(images, rng), framed, strict=True):
        places = [(i, j) for i in range(3) for j in range(3) if np.array_equal(frame[:, i : i + 8, j : j + 8], image)]
        assert len(places) == 1
        found[places[0]] += 1
    assert found.min() > 8
    block = module.Block(1, 1)
    block.bn2.weight.data[:] = 0
    np.testing.assert_array_equal(block(gg.asarray(images)).numpy(), images)


def test_neural_turing_machine_copies_longer_sequences_than_it_saw(tmp_path: Path) -> None:
    options = "--bits 4 --length 4 --rows 12 --test-length 8 --steps 400"
    wrong = program("neural_turing_machine").main([*options.split(), "--out", str(tmp_path)])
    assert list(wrong) == list(range(1, 9))
    assert max(wrong[length] for length in (1, 2, 3, 4)) < 0.1
    assert wrong[8] < 0.25
    check_pictures(tmp_path, "neural_turing_machine")


def test_a_head_of_the_neural_turing_machine_finds_moves_and_sharpens() -> None:
    attend = program("neural_turing_machine").attend
    memory, before = gg.asarray(np.eye(5)[None]), gg.asarray(np.array([[[0, 0.5, 0.5, 0, 0]]]))
    one = gg.ones((1, 1, 1), dtype="float64")
    stay, ahead = gg.asarray(np.array([[[0.0, 1, 0]]])), gg.asarray(np.array([[[0.0, 0, 1]]]))
    key = gg.asarray(3 * np.eye(5)[None, 3:4])
    found = attend(memory, before, key, 50 * one, one, stay, one)
    np.testing.assert_allclose(found.numpy()[0, 0], np.eye(5)[3], atol=1e-5)
    found = attend(memory, before, key, 50 * one, one, ahead, one)
    np.testing.assert_allclose(found.numpy()[0, 0], np.eye(5)[4], atol=1e-5)
    kept = attend(memory, before, key, 50 * one, 0 * one, ahead, one)
    np.testing.assert_allclose(kept.numpy()[0, 0], [0, 0, 0.5, 0.5, 0], atol=1e-5)
    uneven = gg.asarray(np.array([[[0, 0.2, 0.4, 0.4, 0]]]))
    sharp = attend(memory, uneven, key, one, 0 * one, stay, 2 * one)
    np.testing.assert_allclose(sharp.numpy()[0, 0], [0, 1 / 9, 4 / 9, 4 / 9, 0], atol=1e-4)


def test_scipy_inverse_needs_fewer_runs_than_finite_differences_and_has_exact_derivatives(tmp_path: Path) -> None:
    fits = program("scipy_inverse").main(["--out", str(tmp_path)])
    for name, fewer in (("rod", 20), ("peaks", 5)):
        automatic, differences = fits[f"{name}, automatic"], fits[f"{name}, finite differences"]
        assert automatic.cost == pytest.approx(differences.cost, rel=1e-8)
        assert automatic.error < 1e-12
        assert differences.error > 1e-9
        assert fewer * (automatic.runs + automatic.derivatives) < differences.runs
    check_pictures(tmp_path, "scipy_inverse")


def test_cupy_script_finds_the_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--side", "40", "--pulses", "4", "--runs", "15"]
    results = program("cupy_script").main([*options, "--out", str(tmp_path)])
    assert results["after"] < results["before"] / 300
    assert results["wrong after"] < results["wrong before"] / 3
    assert capsys.readouterr().out.startswith("on NumPy: as asked")
    check_pictures(tmp_path, "cupy_script")


def test_the_gradient_of_the_cupy_script_is_that_of_its_differences() -> None:
    module, rng = program("cupy_script"), np.random.default_rng(0)
    heard = [now for _, now in module.ultrasound(module.body(24), 2)]
    speed = module.WATER + 0.01 * rng.random((24, 24))
    gradient = gg.grad(lambda s: module.misfit(s, heard))(speed)
    direction = rng.standard_normal((24, 24))
    ends = [module.misfit(speed + sign * 1e-5 * direction, heard) for sign in (1, -1)]
    assert (gradient * direction).sum() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("denoise_conv", "--steps 3 --depth 3"),
        ("conv_net", "--epochs 1 --batch-size 200"),
        ("neural_turing_machine", "--steps 3 --length 2 --test-length 3 --rows 6"),
        ("cupy_script", "--side 40 --pulses 4 --runs 3"),
    ],
)
def test_on_the_stand_in_for_a_gpu_the_numbers_are_those_of_the_cpu(name: str, options: str, tmp_path: Path) -> None:
    main = program(name).main
    here = main([*options.split(), "--device", "cpu", "--out", str(tmp_path)])
    with cupy_standin.installed():
        there = main([*options.split(), "--device", "cuda", "--out", str(tmp_path)])
    numbers = [run if isinstance(run, list) else [[v for k, v in run.items() if k != "ratio"]] for run in (here, there)]
    np.testing.assert_allclose(*numbers, rtol=1e-3)


def test_scipy_inverse_differentiates_on_the_stand_in_for_a_gpu() -> None:
    module = program("scipy_inverse")
    for case, function, transform in zip(
        module.measure(np.random.default_rng(0)), (module.misfit, module.residuals), (gg.value_and_grad, gg.jacobian), strict=True
    ):
        here = module.on("cpu", function, transform, case["data"])(case["start"])
        with cupy_standin.installed():
            there = module.on("cuda", function, transform, case["data"])(case["start"])
        for left, right in zip(here, there, strict=True):
            assert type(right) is np.ndarray
            np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_cuda_without_a_gpu_is_an_error(name: str, tmp_path: Path) -> None:
    if gg.cuda_is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(gg.DeviceError, match="device 'cuda' was asked for"):
        program(name).main(["--device", "cuda", "--out", str(tmp_path)])


def test_the_page_lists_every_program() -> None:
    page = (EXAMPLES.parent / "docs" / "lectures.md").read_text()
    for name in PROGRAMS:
        assert page.count(f"python examples/{name}.py") == 1
