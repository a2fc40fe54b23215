"""The example of the README, as a user runs it: its claim, its files, its resume, its errors."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg

SCRIPT = Path(__file__).parent.parent / "examples" / "digits_mlp.py"


@pytest.fixture(scope="module")
def digits_mlp() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_mlp", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_picture(path: Path) -> bool:
    """A PNG of a sensible size that is not all one colour."""
    from matplotlib.image import imread

    pixels = imread(path)
    return pixels.shape[0] > 300 and pixels.shape[1] > 600 and pixels[..., :3].std() > 0.05


def test_the_main_job_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path / "made"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.split("test accuracy ")[1].split("%")[0])
    assert accuracy >= 97
    assert "accuracy=" in done.stderr  # the progress bar
    assert "loss=" in done.stderr
    assert is_picture(tmp_path / "made" / "digits_mlp_curves.png")
    assert is_picture(tmp_path / "made" / "digits_mlp_predictions.png")
    assert len(gg.load(tmp_path / "made" / "digits_mlp.safetensors")) == 6 + 6 * 3


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_resumed_run_gives_the_numbers_of_an_unbroken_one(digits_mlp: ModuleType, tmp_path: Path, optimizer: str) -> None:
    arguments = ["--optimizer", optimizer, "--seed", "4", "--out", str(tmp_path)]
    unbroken = digits_mlp.main([*arguments, "--epochs", "5"])
    whole = gg.load(tmp_path / "digits_mlp.safetensors")
    digits_mlp.main([*arguments, "--epochs", "2"])
    resumed = digits_mlp.main([*arguments, "--epochs", "5", "--resume", str(tmp_path / "digits_mlp.safetensors")])
    assert resumed == unbroken
    parts = gg.load(tmp_path / "digits_mlp.safetensors")
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name].numpy(), value.numpy(), err_msg=name)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(digits_mlp: ModuleType, tmp_path: Path) -> None:
    digits_mlp.main(["--epochs", "1", "--out", str(tmp_path)])
    path = tmp_path / "digits_mlp.safetensors"
    with pytest.raises(gg.CheckpointError, match="--optimizer adam --seed 0"):
        digits_mlp.main(["--epochs", "2", "--seed", "1", "--out", str(tmp_path), "--resume", str(path)])
    with pytest.raises(SystemExit, match="already has 1 epochs"):
        digits_mlp.main(["--epochs", "1", "--out", str(tmp_path), "--resume", str(path)])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(gg.CheckpointError, match=r"digits_mlp\.safetensors"):
        digits_mlp.main(["--epochs", "2", "--out", str(tmp_path), "--resume", str(path)])


def write_mnist(folder: Path, digits_mlp: ModuleType) -> None:
    """The four IDX files, with the small digits at the size of MNIST's."""
    digits = digits_mlp.sklearn_digits(0)
    for name, x, y in (("train", digits.train_x, digits.train_y), ("t10k", digits.test_x, digits.test_y)):
        images = np.zeros((len(x), 28, 28), np.uint8)
        images[:, 2:26, 2:26] = np.kron((x * 255).astype(np.uint8).reshape(-1, 8, 8), np.ones((1, 3, 3), np.uint8))
        header = struct.pack(">HBBIII", 0, 8, 3, *images.shape)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, len(y)) + y.astype(np.uint8).tobytes())


def test_it_trains_on_mnist_files(digits_mlp: ModuleType, tmp_path: Path) -> None:
    write_mnist(tmp_path, digits_mlp)
    history = digits_mlp.main(["--epochs", "8", "--mnist", str(tmp_path), "--out", str(tmp_path / "made")])
    assert history["accuracy"][-1] > 0.93
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(gg.DataError, match="train-labels-idx1-ubyte"):
        digits_mlp.main(["--epochs", "1", "--mnist", str(tmp_path), "--out", str(tmp_path / "made")])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_trains_on_the_stand_in_for_a_gpu(digits_mlp: ModuleType, tmp_path: Path, optimizer: str) -> None:
    """The whole program with ``--device cuda`` gives the numbers of the CPU, and goes on from its checkpoint."""
    arguments = ["--optimizer", optimizer, "--epochs", "3", "--dtype", "float32", "--out", str(tmp_path)]
    here = digits_mlp.main(arguments)
    weights = gg.load(tmp_path / "digits_mlp.safetensors")
    with cupy_standin.installed():
        there = digits_mlp.main([*arguments, "--device", "cuda"])
    for name, values in here.items():
        np.testing.assert_allclose(there[name], values, rtol=1e-4, err_msg=name)
    for name, value in gg.load(tmp_path / "digits_mlp.safetensors").items():
        np.testing.assert_allclose(value.numpy(), weights[name].numpy(), rtol=2e-2, atol=1e-4, err_msg=name)
    with cupy_standin.installed():
        resumed = [*arguments, "--resume", str(tmp_path / "digits_mlp.safetensors"), "--device", "auto"]
        assert len(digits_mlp.main([*resumed, "--epochs", "4"])["accuracy"]) == 4


def test_cuda_without_a_gpu_says_what_to_install(digits_mlp: ModuleType, tmp_path: Path) -> None:
    if gg.cuda_is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(gg.DeviceError, match=r"device 'cuda' was asked for"):
        digits_mlp.main(["--device", "cuda", "--out", str(tmp_path)])
